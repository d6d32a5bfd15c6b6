//! What tells two sets of policy files apart: rule by rule, then line by line.

mod lines;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::document::{Document, Faults};
use crate::policies::files::PolicyFiles;

pub use lines::{Hunk, Line, Mark};

/// What tells two sets apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Rules, in the order of the newer set; those that went at the end.
    pub rules: Vec<RuleChange>,
    /// Files, by name.
    pub files: Vec<FileChange>,
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChange {
    /// Its name.
    pub rule: String,
    /// What became of it.
    pub change: Change,
    /// Whether it stands before or behind others than it did.
    pub moved: bool,
    /// As it was.
    pub old: Option<RuleText>,
    /// As it is.
    pub new: Option<RuleText>,
    /// The lines that differ, where it was changed.
    pub hunks: Vec<Hunk>,
}

/// A rule in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleText {
    /// The file.
    pub file: String,
    /// Its first line, from 1.
    pub line: usize,
    /// Its place among all rules, from 1.
    pub position: usize,
    /// What it says.
    pub text: String,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its name below the folder.
    pub file: String,
    /// What became of it.
    pub change: Change,
    /// The lines that differ.
    pub hunks: Vec<Hunk>,
}

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It says something else.
    Changed,
    /// It says the same, elsewhere in the order.
    Moved,
}

impl Change {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Moved => "moved",
        }
    }
}

impl Difference {
    /// Compares `old` with `new`.
    pub fn between(old: &PolicyFiles, new: &PolicyFiles) -> Self {
        Self {
            rules: rule_changes(rules_of(old), rules_of(new)),
            files: file_changes(old, new),
        }
    }

    /// Whether the sets are the same.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

fn file_changes(old: &PolicyFiles, new: &PolicyFiles) -> Vec<FileChange> {
    let mut names: Vec<&str> = old.iter().chain(new.iter()).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let changed = |name: &str| {
        let (before, after) = (old.text(name), new.text(name));
        let change = match (before, after) {
            (Some(before), Some(after)) if before == after => return None,
            (Some(_), Some(_)) => Change::Changed,
            (None, _) => Change::Added,
            (Some(_), None) => Change::Removed,
        };
        Some(FileChange {
            file: name.to_owned(),
            change,
            hunks: lines::compare(before.unwrap_or_default(), after.unwrap_or_default(), (1, 1)),
        })
    };
    names.into_iter().filter_map(changed).collect()
}

/// All rules of a set in order, by name. What does not parse has none.
fn rules_of(files: &PolicyFiles) -> Vec<(String, RuleText)> {
    let mut rules = Vec::new();
    for source in files.rules() {
        let Some(document) = Document::parse(&source, &mut Faults::default()) else {
            continue;
        };
        let file = source.file().strip_prefix(files.folder()).unwrap_or(source.file());
        let count = document.count("rule");
        let begins: Vec<usize> = (0..count)
            .map(|index| document.spot(&["rule", &index.to_string()]).line)
            .collect();
        let lines: Vec<&str> = source.text().lines().collect();
        for (index, begin) in begins.iter().enumerate() {
            let end = begins.get(index + 1).map_or(lines.len(), |next| next.saturating_sub(1));
            let name = document.text(&["rule", &index.to_string(), "name"]).unwrap_or_default();
            rules.push((
                name.to_owned(),
                RuleText {
                    file: file.display().to_string(),
                    line: *begin,
                    position: rules.len() + 1,
                    text: body(lines.get(begin.saturating_sub(1)..end).unwrap_or_default()),
                },
            ));
        }
    }
    rules
}

/// The lines of a rule, without the comments and empty lines before the next one.
fn body(lines: &[&str]) -> String {
    let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let end = lines.iter().rposition(says).map_or(0, |last| last + 1);
    let kept = lines.get(..end).unwrap_or_default().iter().map(|line| line.trim_end());
    kept.collect::<Vec<_>>().join("\n")
}

fn rule_changes(old: Vec<(String, RuleText)>, new: Vec<(String, RuleText)>) -> Vec<RuleChange> {
    let mut before: HashMap<&str, &RuleText> = HashMap::new();
    for (name, text) in &old {
        before.entry(name).or_insert(text);
    }
    let after: HashMap<&str, &RuleText> = new.iter().map(|(name, text)| (name.as_str(), text)).collect();
    let stay: Vec<&str> = old
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| after.contains_key(name))
        .collect();
    let are: Vec<&str> = new
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| before.contains_key(name))
        .collect();
    let unmoved = lines::in_order(&stay, &are);
    let mut changes = Vec::new();
    for (name, text) in &new {
        let Some(was) = before.get(name.as_str()) else {
            changes.push(RuleChange {
                rule: name.clone(),
                change: Change::Added,
                moved: false,
                old: None,
                new: Some(text.clone()),
                hunks: Vec::new(),
            });
            continue;
        };
        let moved = !unmoved.contains(name.as_str());
        let same = was.text == text.text;
        if same && !moved {
            continue;
        }
        changes.push(RuleChange {
            rule: name.clone(),
            change: if same { Change::Moved } else { Change::Changed },
            moved,
            old: Some((*was).clone()),
            new: Some(text.clone()),
            hunks: lines::compare(&was.text, &text.text, (was.line, text.line)),
        });
    }
    for (name, text) in &old {
        if !after.contains_key(name.as_str()) {
            changes.push(RuleChange {
                rule: name.clone(),
                change: Change::Removed,
                moved: false,
                old: Some(text.clone()),
                new: None,
                hunks: Vec::new(),
            });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policies::files::PolicyFile;

    fn set(files: &[(&str, &str)]) -> PolicyFiles {
        let file = |(name, text): &(&str, &str)| PolicyFile {
            name: (*name).into(),
            text: (*text).into(),
        };
        PolicyFiles::taken(Path::new("p"), files.iter().map(file).collect()).unwrap()
    }

    fn rule(name: &str, rest: &str) -> String {
        format!("[[rule]]\nname = \"{name}\"\n{rest}\n\n# about the next\n")
    }

    #[test]
    fn rules_are_added_removed_changed_and_moved() {
        let rules = |list: &[(&str, &str)]| list.iter().map(|(name, rest)| rule(name, rest)).collect::<String>();
        let old = rules(&[
            ("a", "deny = true"),
            ("b", "require = \"totp\""),
            ("c", "deny = true"),
            ("d", "deny = true"),
        ]);
        let new = rules(&[
            ("d", "deny = true"),
            ("a", "deny = true"),
            ("b", "require = \"password\""),
            ("e", "deny = true"),
        ]);
        let (old, new) = (set(&[("1.toml", &old)]), set(&[("1.toml", &new)]));
        let difference = Difference::between(&old, &new);
        let told: Vec<(&str, &str, bool)> = difference
            .rules
            .iter()
            .map(|change| (change.rule.as_str(), change.change.word(), change.moved))
            .collect();
        let expected = [
            ("d", "moved", true),
            ("b", "changed", false),
            ("e", "added", false),
            ("c", "removed", false),
        ];
        assert_eq!(told, expected);
        let changed = &difference.rules[1];
        let (was, is) = (changed.old.as_ref().unwrap(), changed.new.as_ref().unwrap());
        assert_eq!((was.position, was.line, is.position, is.line), (2, 6, 3, 11));
        assert_eq!(was.text, "[[rule]]\nname = \"b\"\nrequire = \"totp\"");
        let lines: Vec<String> = changed.hunks[0].lines.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                " [[rule]]",
                " name = \"b\"",
                "-require = \"totp\"",
                "+require = \"password\""
            ]
        );
        assert_eq!((changed.hunks[0].old, changed.hunks[0].new), (6, 11));
        assert!(Difference::between(&old, &old).is_empty());
    }

    #[test]
    fn a_rule_that_went_to_another_file_is_the_same_rule() {
        let (a, b) = (rule("a", "deny = true"), rule("b", "deny = true"));
        let old = set(&[("1.toml", &format!("{a}{b}"))]);
        let new = set(&[("1.toml", &a), ("2.toml", &b)]);
        let difference = Difference::between(&old, &new);
        assert!(difference.rules.is_empty(), "{difference:?}");
        let files: Vec<(&str, Change)> = difference
            .files
            .iter()
            .map(|change| (change.file.as_str(), change.change))
            .collect();
        assert_eq!(files, [("1.toml", Change::Changed), ("2.toml", Change::Added)]);
    }

    #[test]
    fn files_that_do_not_parse_are_compared_by_their_lines() {
        let old = set(&[
            ("1.toml", "[[rule]]\nname = \"a\"\ndeny = true\n"),
            ("workflows/x.toml", "a\n"),
        ]);
        let new = set(&[("1.toml", "[[rule]\n")]);
        let difference = Difference::between(&old, &new);
        assert_eq!(difference.rules.len(), 1, "what cannot be read has no rules");
        let files: Vec<(&str, Change)> = difference
            .files
            .iter()
            .map(|change| (change.file.as_str(), change.change))
            .collect();
        assert_eq!(
            files,
            [("1.toml", Change::Changed), ("workflows/x.toml", Change::Removed)]
        );
    }
}
