//! Putting a version back into the folder of the policies, so that whoever reads it finds the old files or the new
//! ones, never a part of each.
//!
//! A folder with the new files is made beside the old one, and the two change places in one step of the kernel
//! (renameat2 with RENAME_EXCHANGE). Whatever else lies in the folder comes along as hard links.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::policies::files::{self, PolicyFiles};

/// Why a folder was not replaced. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Something cannot be read or written.
    #[error("cannot {1} {0}")]
    Io(PathBuf, &'static str, #[source] io::Error),
    /// Something lies in the folder that cannot be taken along.
    #[error("{0} is neither a file, a folder nor a link")]
    Strange(PathBuf),
    /// A folder of policy files is a link: what it leads to would change before the rest, and stay changed.
    #[error("{0} is a link to a folder elsewhere, whose files cannot be replaced together with the others")]
    Link(PathBuf),
    /// The folder has no other beside it.
    #[error("{0} is the root of a file system")]
    Root(PathBuf),
}

/// A folder made ready, and not in place yet. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {
    folder: PathBuf,
    staged: PathBuf,
    armed: bool,
}

impl Staged {
    /// Makes a folder with these files and whatever else lies in `folder`, beside it. What an earlier attempt has left
    /// is removed. Blocks.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn make(folder: &Path, files: &PolicyFiles) -> Result<Self, FolderError> {
        let folder = fs::canonicalize(folder).map_err(failed(folder, "open"))?;
        let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
            return Err(FolderError::Root(folder));
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".portcullis-new");
        let staged = parent.join(hidden);
        remove(&staged)?;
        let made = Self {
            armed: true,
            staged: staged.clone(),
            folder: folder.clone(),
        };
        copy_folder(&folder, &staged, Path::new(""))?;
        for (name, text) in files.iter() {
            write(&folder, &staged, name, text)?;
        }
        for below in std::iter::once("").chain(files::FOLDERS) {
            let path = staged.join(below);
            if path.is_dir() {
                sync(&path)?;
            }
        }
        Ok(made)
    }

    /// Puts it in place, durably. The folder that was there before goes to the returned place beside it. Blocks.
    ///
    /// # Errors
    /// [`FolderError`]; nothing has changed then.
    pub fn exchange(mut self) -> Result<Exchanged, FolderError> {
        exchange(&self.folder, &self.staged)?;
        self.armed = false;
        Ok(Exchanged {
            folder: self.folder.clone(),
            before: self.staged.clone(),
        })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.armed {
            // The next attempt removes it as well.
            let _ = remove(&self.staged).is_ok();
        }
    }
}

/// A folder in its new place, with the one of before beside it.
#[derive(Debug)]
#[must_use = "the folder of before is to be removed, kept, or put back"]
pub struct Exchanged {
    folder: PathBuf,
    before: PathBuf,
}

impl Exchanged {
    /// Where the files of before are now.
    pub fn before(&self) -> &Path {
        &self.before
    }

    /// Puts the folder of before back, and removes the other. Blocks.
    ///
    /// # Errors
    /// [`FolderError`]; the new files are in place then.
    pub fn undo(self) -> Result<(), FolderError> {
        exchange(&self.folder, &self.before)?;
        remove(&self.before)
    }

    /// Removes the files of before. Blocks.
    ///
    /// # Errors
    /// [`FolderError`]; what is left is hidden beside the folder, and goes with the next attempt.
    pub fn forget(self) -> Result<(), FolderError> {
        remove(&self.before)
    }

    /// Keeps the files of before under a name that tells the moment. Returns it. Blocks.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn keep(self, moment: &str) -> Result<PathBuf, FolderError> {
        let mut name = self.folder.file_name().unwrap_or_default().to_owned();
        name.push(format!(".before-{moment}"));
        let kept = self.folder.with_file_name(name);
        fs::rename(&self.before, &kept).map_err(failed(&kept, "make"))?;
        Ok(kept)
    }
}

fn exchange(one: &Path, other: &Path) -> Result<(), FolderError> {
    let swapped = renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE);
    swapped.map_err(|error| FolderError::Io(one.to_owned(), "replace", error.into()))?;
    match one.parent() {
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

/// Makes `to` with everything of `from` that is no policy file; `below` is where `from` lies in the folder.
fn copy_folder(from: &Path, to: &Path, below: &Path) -> Result<(), FolderError> {
    let like = fs::metadata(from).map_err(failed(from, "read"))?;
    fs::create_dir(to).map_err(failed(to, "make"))?;
    belong(to, &like)?;
    for entry in fs::read_dir(from).map_err(failed(from, "read"))? {
        let name = entry.map_err(failed(from, "read"))?.file_name();
        let (source, target, below) = (from.join(&name), to.join(&name), below.join(&name));
        let found = fs::symlink_metadata(&source).map_err(failed(&source, "read"))?;
        let name = below.to_str();
        if !found.is_dir() && name.is_some_and(files::is_name) {
            continue;
        }
        if found.is_symlink() && name.is_some_and(|name| files::FOLDERS.contains(&name)) {
            return Err(FolderError::Link(source));
        }
        if found.is_dir() {
            copy_folder(&source, &target, &below)?;
        } else if found.is_symlink() {
            let to = fs::read_link(&source).map_err(failed(&source, "read"))?;
            symlink(to, &target).map_err(failed(&target, "make"))?;
        } else if found.is_file() {
            fs::hard_link(&source, &target).map_err(failed(&target, "make"))?;
        } else {
            return Err(FolderError::Strange(source));
        }
    }
    Ok(())
}

/// Writes a policy file as the one that it replaces, durably.
fn write(folder: &Path, staged: &Path, name: &str, text: &str) -> Result<(), FolderError> {
    let path = staged.join(name);
    if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
        fs::create_dir(parent).map_err(failed(parent, "make"))?;
        let like = fs::metadata(folder).map_err(failed(folder, "read"))?;
        belong(parent, &like)?;
    }
    let mut file = File::create_new(&path).map_err(failed(&path, "make"))?;
    file.write_all(text.as_bytes()).map_err(failed(&path, "write"))?;
    match fs::metadata(folder.join(name)) {
        Ok(like) => belong(&path, &like)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Whoever may read the folder may read its files.
            let like = fs::metadata(folder).map_err(failed(folder, "read"))?;
            let mode = fs::Permissions::from_mode(like.mode() & 0o666);
            fs::set_permissions(&path, mode).map_err(failed(&path, "write"))?;
            own(&path, &like)?;
        }
        Err(error) => return Err(FolderError::Io(path, "read", error)),
    }
    file.sync_all().map_err(failed(&path, "write"))
}

/// Gives a file the mode and the owner of another.
fn belong(path: &Path, like: &Metadata) -> Result<(), FolderError> {
    own(path, like)?;
    let mode = fs::Permissions::from_mode(like.mode() & 0o7777);
    fs::set_permissions(path, mode).map_err(failed(path, "write"))
}

fn own(path: &Path, like: &Metadata) -> Result<(), FolderError> {
    let is = fs::metadata(path).map_err(failed(path, "read"))?;
    if (is.uid(), is.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    chown(path, Some(like.uid()), Some(like.gid())).map_err(failed(path, "give away"))
}

fn sync(folder: &Path) -> Result<(), FolderError> {
    let opened = File::open(folder).and_then(|folder| folder.sync_all());
    opened.map_err(failed(folder, "write"))
}

fn remove(folder: &Path) -> Result<(), FolderError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FolderError::Io(folder.to_owned(), "remove", error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |error| FolderError::Io(path, what, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Faults;
    use crate::policies::files::PolicyFile;

    fn set(files: &[(&str, &str)]) -> PolicyFiles {
        let file = |(name, text): &(&str, &str)| PolicyFile {
            name: (*name).into(),
            text: (*text).into(),
        };
        PolicyFiles::taken(Path::new(""), files.iter().map(file).collect()).unwrap()
    }

    fn everything(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_folder_changes_at_once_and_what_is_not_ours_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("policies");
        fs::create_dir_all(folder.join("prompts")).unwrap();
        fs::create_dir_all(folder.join(".git/objects")).unwrap();
        for (name, text) in [
            ("10-a.toml", "old"),
            ("20-b.toml", "goes"),
            ("README", "read me"),
            (".git/objects/x", "object"),
            ("prompts/de.toml", "goes"),
            ("prompts/notes", "stays"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        fs::set_permissions(folder.join("10-a.toml"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
        symlink("README", folder.join("link")).unwrap();
        let new = set(&[("10-a.toml", "new"), ("workflows/recover.toml", "w")]);
        let staged = Staged::make(&folder, &new).unwrap();
        assert_eq!(fs::read_to_string(folder.join("10-a.toml")).unwrap(), "old", "not yet");
        let exchanged = staged.exchange().unwrap();
        assert_eq!(
            fs::read_to_string(exchanged.before().join("20-b.toml")).unwrap(),
            "goes"
        );
        exchanged.forget().unwrap();
        assert_eq!(
            everything(&folder),
            [".git", "10-a.toml", "README", "link", "prompts", "workflows"]
        );
        assert_eq!(everything(&folder.join("prompts")), ["notes"]);
        assert_eq!(fs::read_to_string(folder.join(".git/objects/x")).unwrap(), "object");
        assert_eq!(fs::read_to_string(folder.join("link")).unwrap(), "read me");
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().mode() & 0o7777;
        assert_eq!(
            (mode("10-a.toml"), mode(""), mode("workflows/recover.toml")),
            (0o640, 0o750, 0o640)
        );
        assert_eq!(everything(root.path()), ["policies"]);
        assert_eq!(
            PolicyFiles::read(&folder, &mut Faults::default()).digest(),
            new.digest()
        );
    }

    #[test]
    fn an_exchange_can_be_taken_back_and_the_old_files_kept() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("policies");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.toml"), "old").unwrap();
        let new = set(&[("a.toml", "new")]);
        Staged::make(&folder, &new).unwrap().exchange().unwrap().undo().unwrap();
        assert_eq!(fs::read_to_string(folder.join("a.toml")).unwrap(), "old");
        let kept = Staged::make(&folder, &new)
            .unwrap()
            .exchange()
            .unwrap()
            .keep("now")
            .unwrap();
        assert_eq!(kept, fs::canonicalize(root.path()).unwrap().join("policies.before-now"));
        assert_eq!(fs::read_to_string(kept.join("a.toml")).unwrap(), "old");
        assert_eq!(fs::read_to_string(folder.join("a.toml")).unwrap(), "new");
        drop(Staged::make(&folder, &new).unwrap());
        assert_eq!(everything(root.path()), ["policies", "policies.before-now"]);
    }

    #[test]
    fn what_cannot_be_replaced_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("policies");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.toml"), "old").unwrap();
        nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let made = Staged::make(&folder, &set(&[("a.toml", "new")]));
        assert!(matches!(made, Err(FolderError::Strange(_))), "{made:?}");
        assert_eq!(everything(root.path()), ["policies"]);
        assert!(Staged::make(&root.path().join("nowhere"), &set(&[("a.toml", "")])).is_err());
    }

    #[test]
    fn a_folder_elsewhere_is_never_written_to() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("policies");
        fs::create_dir(&folder).unwrap();
        fs::create_dir(root.path().join("shared")).unwrap();
        fs::write(folder.join("a.toml"), "old").unwrap();
        symlink("../shared", folder.join("prompts")).unwrap();
        let made = Staged::make(&folder, &set(&[("a.toml", "new"), ("prompts/de.toml", "new")]));
        assert!(matches!(made, Err(FolderError::Link(_))), "{made:?}");
        assert_eq!(everything(&root.path().join("shared")), Vec::<String>::new());
        assert_eq!(everything(root.path()), ["policies", "shared"]);
    }

    /// Somebody who reads the folder all the time finds one set or the other.
    #[test]
    fn a_reader_never_sees_a_part_of_each() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("policies");
        let of = |mark: &str| {
            let names: Vec<String> = (0..20).map(|number| format!("{number}.toml")).collect();
            let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), mark)).collect();
            set(&files)
        };
        let (one, two) = (of("one"), of("two"));
        fs::create_dir(&folder).unwrap();
        let digests = [one.digest(), two.digest()];
        Staged::make(&folder, &one)
            .unwrap()
            .exchange()
            .unwrap()
            .forget()
            .unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = Vec::new();
                while seen.len() < 200 {
                    seen.push(PolicyFiles::read(&folder, &mut Faults::default()).digest());
                }
                seen
            });
            let mut turn = 0;
            while !reader.is_finished() {
                let next = if turn % 2 == 0 { &two } else { &one };
                Staged::make(&folder, next)
                    .unwrap()
                    .exchange()
                    .unwrap()
                    .forget()
                    .unwrap();
                turn += 1;
            }
            for digest in reader.join().unwrap() {
                assert!(digests.contains(&digest));
            }
        });
    }
}
