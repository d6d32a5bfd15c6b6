//! Lists of names and patterns that conditions compare with, prepared once. Capitals never matter; nothing is
//! allocated when they are asked.

use std::cmp::Ordering;
use std::fmt;

/// Names of which any may be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// As they are written.
    written: Vec<String>,
    /// In lower case and in order, where there are so many that looking through all of them is slow.
    sorted: Option<Vec<String>>,
}

impl Names {
    /// Takes a list as it is written.
    pub fn new(written: Vec<String>) -> Self {
        let sorted = (written.len() > FEW).then(|| {
            let mut folded: Vec<String> = written.iter().map(|name| letters(name).collect()).collect();
            folded.sort_unstable();
            folded
        });
        Self { written, sorted }
    }

    /// Whether `name` is one of them.
    pub fn contains(&self, name: &str) -> bool {
        match &self.sorted {
            None => self.written.iter().any(|known| is_same(known, name)),
            Some(sorted) => sorted.binary_search_by(|known| compare(known, name)).is_ok(),
        }
    }

    /// Whether every one of `others` is among them.
    pub fn covers(&self, others: &Self) -> bool {
        others.written.iter().all(|name| self.contains(name))
    }

    /// As they are written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.written.iter().map(String::as_str)
    }
}

/// Texts with `*` for any number of letters, of which any may fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns {
    /// Those without a `*`.
    names: Names,
    /// The others, as they are written and cut at each `*`.
    patterns: Vec<(String, Vec<String>)>,
}

impl Patterns {
    /// Takes a list as it is written.
    pub fn new(written: Vec<String>) -> Self {
        let (patterns, names): (Vec<String>, Vec<String>) = written.into_iter().partition(|text| text.contains('*'));
        let cut = |text: String| {
            let pieces = text.split('*').map(|piece| letters(piece).collect()).collect();
            (text, pieces)
        };
        Self {
            names: Names::new(names),
            patterns: patterns.into_iter().map(cut).collect(),
        }
    }

    /// Whether `text` fits one of them.
    pub fn fit(&self, text: &str) -> bool {
        self.names.contains(text) || self.patterns.iter().any(|(_, pieces)| fits(pieces, text))
    }

    /// Whether whatever fits one of `others` fits one of these.
    pub fn cover(&self, others: &Self) -> bool {
        let known = |text: &str| self.patterns.iter().any(|(written, _)| is_same(written, text));
        others.names.iter().all(|name| self.fit(name)) && others.patterns.iter().all(|(written, _)| known(written))
    }

    /// As they are written, those without a `*` first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let patterns = self.patterns.iter().map(|(written, _)| written.as_str());
        self.names.iter().chain(patterns)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, self.iter())
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, self.iter())
    }
}

/// Several, of which any is enough.
pub(super) fn joined(f: &mut fmt::Formatter<'_>, items: impl IntoIterator<Item = impl fmt::Display>) -> fmt::Result {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            f.write_str(" or ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

/// Whether two names are the same but for capitals.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || (!one.is_ascii() && !other.is_ascii() && letters(one).eq(letters(other)))
}

/// How `folded`, in lower case, stands to a name.
pub(super) fn compare(folded: &str, name: &str) -> Ordering {
    folded.chars().cmp(letters(name))
}

/// The letters of a name in lower case.
pub(super) fn letters(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_lowercase)
}

/// Whether a text begins with the first piece, ends with the last, and has the others in between in their order.
fn fits(pieces: &[String], text: &str) -> bool {
    let [first, between @ .., last] = pieces else {
        return false;
    };
    let Some(mut rest) = after(text, first) else {
        return false;
    };
    for piece in between {
        let Some(found) = starts(rest).find_map(|at| after(at, piece)) else {
            return false;
        };
        rest = found;
    }
    // The last piece may begin anywhere, as long as nothing follows it.
    starts(rest).any(|at| after(at, last).is_some_and(str::is_empty))
}

/// What follows `piece`, in lower case, if `text` begins with it.
fn after<'t>(text: &'t str, piece: &str) -> Option<&'t str> {
    let mut wanted = piece.chars();
    let mut rest = text.chars();
    while !wanted.as_str().is_empty() {
        let letter = rest.next()?;
        if !letter.to_lowercase().all(|lower| wanted.next() == Some(lower)) {
            return None;
        }
    }
    Some(rest.as_str())
}

/// What begins at each letter of `text`, and at its end.
fn starts(text: &str) -> impl Iterator<Item = &str> {
    let all = text.char_indices().map(|(at, _)| at);
    all.chain([text.len()]).filter_map(|at| text.get(at..))
}

/// As many names are looked through one by one.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(list: &[&str]) -> Vec<String> {
        list.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn names_are_found_whatever_their_capitals() {
        let many: Vec<String> = (0..100)
            .map(|number| format!("Svc-{number}"))
            .chain(["Ärztin".into()])
            .collect();
        for names in [Names::new(owned(&["svc-7", "ÄRZTIN"])), Names::new(many)] {
            for name in ["svc-7", "SVC-7", "ärztin", "ÄRZTIN"] {
                assert!(names.contains(name), "{name}");
            }
            for name in ["svc-", "svc-700", "arztin", ""] {
                assert!(!names.contains(name), "{name}");
            }
        }
        assert!(Names::new(owned(&["a", "b"])).covers(&Names::new(owned(&["B"]))));
        assert!(!Names::new(owned(&["a"])).covers(&Names::new(owned(&["a", "b"]))));
    }

    #[test]
    fn patterns_fit_the_whole_text() {
        for (pattern, fitting, others) in [
            (
                "*:guest",
                &["00-11-22:guest", ":GUEST"][..],
                &["guest", "00:guest2", ""][..],
            ),
            ("00-11-*", &["00-11-22", "00-11-"], &["100-11-2", "00-1"]),
            ("a*b*c", &["abc", "A--b--c", "abcbc"], &["ab", "acb", "abcd"]),
            ("*", &["", "x"], &[]),
            ("**x*", &["x", "axb"], &["", "y"]),
            ("Ä*ß", &["äß", "ÄxSß"], &["ass", "ä"]),
            ("aa*a", &["aaa", "aaba"], &["aa"]),
        ] {
            let patterns = Patterns::new(vec![pattern.to_owned()]);
            for text in fitting {
                assert!(patterns.fit(text), "{pattern} {text}");
            }
            for text in others {
                assert!(!patterns.fit(text), "{pattern} {text}");
            }
        }
        let all = Patterns::new(owned(&["*:guest", "x"]));
        assert!(all.fit("X") && all.cover(&Patterns::new(owned(&["a:guest", "*:GUEST"]))));
        assert!(!all.cover(&Patterns::new(owned(&["*:staff"]))));
        assert_eq!(all.to_string(), "x or *:guest");
    }
}
