//! The files of a policy folder as one set: rules, prompts, workflows and questions.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::document::{Faults, Source};
use crate::engine::questions;

/// All files of a policy folder that say something, each with its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    folder: PathBuf,
    /// By their names below the folder, with `/` between.
    texts: BTreeMap<String, String>,
}

/// One file of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Its name below the folder: `10-staff.toml`, `workflows/recover.toml`.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl PolicyFiles {
    /// Most octets of all texts together that are taken from elsewhere or kept as a version.
    pub const MAX_OCTETS: usize = 3 << 20;

    /// Most files of a set that is taken from elsewhere or kept as a version.
    pub const MAX_FILES: usize = 1000;

    /// Reads a folder. What cannot be read goes to `faults`; a folder without rules is one. When the folder is
    /// replaced meanwhile, it is read again: what comes back is never a part of each. Blocks.
    pub fn read(folder: &Path, faults: &mut Faults) -> Self {
        for _ in 0..TRIES {
            let before = identity(folder);
            let mut found = Faults::default();
            let read = Self::read_once(folder, &mut found);
            if identity(folder) == before {
                faults.0.extend(found.0);
                return read;
            }
        }
        faults.file(folder, "is replaced all the time");
        Self::default()
    }

    fn read_once(folder: &Path, faults: &mut Faults) -> Self {
        let mut set = Self {
            folder: folder.to_owned(),
            texts: BTreeMap::new(),
        };
        let mut names = match files_of(folder) {
            Ok(names) => names,
            Err(error) => {
                faults.file(folder, format!("the policies cannot be read: {error}"));
                return set;
            }
        };
        if names.is_empty() {
            faults.file(folder, NO_RULES);
        }
        // A link to nothing is not a file or folder that nobody made: what is shipped is not to stand in for it.
        if may_be_there(&folder.join(questions::FILE)) {
            names.push(questions::FILE.to_owned());
        }
        for below in FOLDERS {
            let path = folder.join(below);
            match files_of(&path) {
                Ok(found) => names.extend(found.into_iter().map(|name| format!("{below}/{name}"))),
                Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => {}
                Err(error) => faults.file(&path, format!("cannot be read: {error}")),
            }
        }
        for name in names {
            if let Some(source) = Source::read(&folder.join(&name), faults) {
                set.texts.insert(name, source.text().to_owned());
            }
        }
        set
    }

    /// Takes files that somebody else has read, as those of `folder`.
    ///
    /// # Errors
    /// What is wrong with them: a name that no policy file has, one that stands twice, too many or too large.
    pub fn taken(folder: &Path, files: Vec<PolicyFile>) -> Result<Self, String> {
        if files.len() > Self::MAX_FILES {
            return Err(format!("more than {} files", Self::MAX_FILES));
        }
        let octets: usize = files.iter().map(|file| file.text.len()).sum();
        if octets > Self::MAX_OCTETS {
            return Err(format!("{octets} octets are more than {}", Self::MAX_OCTETS));
        }
        let mut texts = BTreeMap::new();
        for file in files {
            if !is_name(&file.name) {
                return Err(format!("`{}` is no name of a policy file", file.name));
            }
            let name = file.name.clone();
            if texts.insert(file.name, file.text).is_some() {
                return Err(format!("`{name}` stands there twice"));
            }
        }
        let taken = Self {
            folder: folder.to_owned(),
            texts,
        };
        if taken.rules().is_empty() {
            return Err(NO_RULES.to_owned());
        }
        Ok(taken)
    }

    /// The same files, as those of another folder.
    #[must_use]
    pub fn at(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.folder);
        self
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names and texts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The text of a file.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Octets of all texts together.
    pub fn octets(&self) -> usize {
        self.texts.values().map(String::len).sum()
    }

    /// The files as they are handed on.
    pub fn to_files(&self) -> Vec<PolicyFile> {
        let file = |(name, text): (&str, &str)| PolicyFile {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        self.iter().map(file).collect()
    }

    /// Names the contents of all files: SHA-256 in hexadecimal over names and texts, each with its length before it.
    /// The folder makes no difference.
    pub fn digest(&self) -> String {
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        for part in self.iter().flat_map(|(name, text)| [name, text]) {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        HEXLOWER.encode(digest.finish().as_ref())
    }

    /// The files with rules, in the order in which they are read.
    pub fn rules(&self) -> Vec<Source> {
        let is_rules = |name: &str| !name.contains('/') && name != questions::FILE;
        self.sources(is_rules)
    }

    /// The files of a folder below, such as `prompts`, in order.
    pub fn below(&self, folder: &str) -> Vec<Source> {
        self.sources(|name| name.split_once('/').is_some_and(|(below, _)| below == folder))
    }

    /// The question policy, if there is one.
    pub fn questions(&self) -> Option<Source> {
        self.sources(|name| name == questions::FILE).into_iter().next()
    }

    /// The paths of all files, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.texts.keys().map(|name| self.folder.join(name)).collect()
    }

    fn sources(&self, wanted: impl Fn(&str) -> bool) -> Vec<Source> {
        let wanted = self.iter().filter(|(name, _)| wanted(name));
        wanted
            .map(|(name, text)| Source::new(&self.folder.join(name), text))
            .collect()
    }
}

/// Folder of prompt files, in that of the policies.
pub const PROMPTS: &str = "prompts";

/// Folder of workflow files, in that of the policies.
pub const WORKFLOWS: &str = "workflows";

/// Folders below that of the policies whose files belong to them.
pub const FOLDERS: [&str; 2] = [PROMPTS, WORKFLOWS];

const NO_RULES: &str =
    "there are no *.toml files here, so everybody would be refused; policies/ in the source holds examples";

/// How often a folder is read that is replaced meanwhile.
const TRIES: usize = 100;

/// Whether a name below the folder is that of a policy file.
pub fn is_name(name: &str) -> bool {
    let plain = |name: &str| {
        name.ends_with(".toml")
            && !name.starts_with('.')
            && !name.contains(['/', '\0'])
            && !name.chars().any(char::is_control)
    };
    match name.split_once('/') {
        None => plain(name),
        Some((below, name)) => FOLDERS.contains(&below) && plain(name),
    }
}

/// What tells a folder from another that stands in its place, or stood there meanwhile.
fn identity(folder: &Path) -> Option<(u64, u64, i64, i64)> {
    let found = fs::metadata(folder).ok()?;
    Some((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
}

/// The names of the policy files right in a folder, in order; the question policy is none of them.
fn files_of(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        // Octets that are no UTF-8 are in no name that is read.
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with('.') && name.ends_with(".toml") && name != questions::FILE {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether there is something, or it cannot be told that there is nothing.
fn may_be_there(path: &Path) -> bool {
    !matches!(fs::symlink_metadata(path), Err(error) if error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> PolicyFile {
        PolicyFile {
            name: name.into(),
            text: text.into(),
        }
    }

    #[test]
    fn a_folder_is_read_with_all_that_belongs_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| fs::write(folder.path().join(name), format!("# {name}\n")).unwrap();
        for below in ["prompts", "workflows", "old"] {
            fs::create_dir(folder.path().join(below)).unwrap();
        }
        for name in [
            "20-b.toml",
            "10-a.toml",
            "questions.toml",
            "prompts/de.toml",
            "workflows/recover.toml",
            ".hidden.toml",
            "10-a.toml~",
            "old/10-a.toml",
            "README",
        ] {
            write(name);
        }
        let mut faults = Faults::default();
        let files = PolicyFiles::read(folder.path(), &mut faults);
        assert!(faults.0.is_empty(), "{faults}");
        let names: Vec<&str> = files.iter().map(|(name, _)| name).collect();
        let expected = [
            "10-a.toml",
            "20-b.toml",
            "prompts/de.toml",
            "questions.toml",
            "workflows/recover.toml",
        ];
        assert_eq!(names, expected);
        let rules: Vec<PathBuf> = files.rules().iter().map(|source| source.file().to_owned()).collect();
        assert_eq!(
            rules,
            [folder.path().join("10-a.toml"), folder.path().join("20-b.toml")]
        );
        assert_eq!(files.below(PROMPTS).len(), 1);
        assert!(files.questions().is_some());
        let taken = PolicyFiles::taken(Path::new("elsewhere"), files.to_files()).unwrap();
        assert_eq!(taken.digest(), files.digest());
        assert_eq!(taken.at(folder.path()), files);
    }

    #[test]
    fn links_to_nothing_are_faults() {
        for name in ["questions.toml", "prompts", "workflows", "10-a.toml"] {
            let folder = tempfile::tempdir().unwrap();
            let mut faults = Faults::default();
            fs::write(folder.path().join("20-b.toml"), "").unwrap();
            PolicyFiles::read(folder.path(), &mut faults);
            assert!(faults.0.is_empty(), "there need be none: {faults}");
            std::os::unix::fs::symlink("moved-away", folder.path().join(name)).unwrap();
            PolicyFiles::read(folder.path(), &mut faults);
            assert!(faults.to_string().contains("cannot be read"), "{name}: {faults}");
        }
        let mut faults = Faults::default();
        PolicyFiles::read(Path::new("/nowhere/at/all"), &mut faults);
        assert!(faults.to_string().contains("the policies cannot be read"), "{faults}");
    }

    #[test]
    fn digests_tell_names_from_texts() {
        let of = |files: &[PolicyFile]| PolicyFiles::taken(Path::new("p"), files.to_vec()).unwrap().digest();
        assert_ne!(of(&[file("a.toml", "b")]), of(&[file("b.toml", "a")]));
        assert_ne!(
            of(&[file("a.toml", "x"), file("b.toml", "y")]),
            of(&[file("a.toml", "xy"), file("b.toml", "")])
        );
        assert_eq!(
            of(&[file("a.toml", "x"), file("b.toml", "y")]),
            of(&[file("b.toml", "y"), file("a.toml", "x")])
        );
    }

    #[test]
    fn only_policy_files_are_taken() {
        for name in [
            "",
            "a",
            ".a.toml",
            "../a.toml",
            "/etc/a.toml",
            "prompts/../a.toml",
            "other/a.toml",
            "prompts/x/a.toml",
            "workflows/.a.toml",
            "a\n.toml",
        ] {
            let taken = PolicyFiles::taken(Path::new("p"), vec![file(name, "")]);
            assert!(taken.unwrap_err().contains("no name of a policy file"), "{name:?}");
        }
        let none = PolicyFiles::taken(Path::new("p"), vec![file("questions.toml", "")]);
        assert!(none.unwrap_err().contains("no *.toml files"));
        let twice = vec![file("a.toml", ""), file("a.toml", "x")];
        assert!(PolicyFiles::taken(Path::new("p"), twice).unwrap_err().contains("twice"));
        let large = vec![file("a.toml", &"#".repeat(PolicyFiles::MAX_OCTETS + 1))];
        assert!(PolicyFiles::taken(Path::new("p"), large).is_err());
    }
}
