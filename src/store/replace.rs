//! Putting a store that was built aside in the place of another one, in one step.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::sled;

/// A folder that is being built beside the place it is for.
pub(super) struct Replacement {
    place: PathBuf,
    building: PathBuf,
}

impl Replacement {
    /// Begins: what an earlier attempt left over is removed. The folder itself is not made.
    pub(super) fn begin(place: &Path, suffix: &str) -> io::Result<Self> {
        let building = beside(place, suffix);
        match fs::remove_dir_all(&building) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        Ok(Self {
            place: place.to_owned(),
            building,
        })
    }

    /// The folder to build in.
    pub(super) fn folder(&self) -> &Path {
        &self.building
    }

    /// Gives it up.
    pub(super) fn abandon(&self) {
        // What is left over is harmless, and removed by the next attempt.
        let _ = fs::remove_dir_all(&self.building);
    }

    /// Puts it where nothing is, or an empty folder.
    pub(super) fn put(&self) -> io::Result<()> {
        let parent = parent(&self.place);
        self.given_to(parent)?;
        fs::rename(&self.building, &self.place)?;
        sled::sync_folder(parent)
    }

    /// Exchanges it with what is there, in one step, and gives that the name of [`former`].
    pub(super) fn exchange(&self) -> io::Result<PathBuf> {
        self.given_to(&self.place)?;
        exchange(&self.building, &self.place)?;
        sled::sync_folder(parent(&self.place))?;
        set_aside(&self.building, &self.place)
    }

    /// Root builds it for somebody else: for who owns what is there.
    fn given_to(&self, whose: &Path) -> io::Result<()> {
        let wanted = fs::metadata(whose)?;
        let made = fs::metadata(&self.building)?;
        if (wanted.uid(), wanted.gid()) == (made.uid(), made.gid()) {
            return Ok(());
        }
        give(&self.building, wanted.uid(), wanted.gid())
    }
}

/// Gives what was there its name as the former one.
pub(super) fn set_aside(old: &Path, place: &Path) -> io::Result<PathBuf> {
    let former = former(place);
    fs::rename(old, &former)?;
    sled::sync_folder(parent(place))?;
    Ok(former)
}

/// What the store, or the key file, that was there before is called.
pub(super) fn former(place: &Path) -> PathBuf {
    beside(place, ".former")
}

/// `place` with something after its name.
pub(super) fn beside(place: &Path, suffix: &str) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Exchanges two names in one step: at no moment is there nothing.
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE).map_err(io::Error::from)
}

/// Gives a file the owner of another one.
pub(super) fn give_like(file: &Path, like: &Path) -> io::Result<()> {
    let wanted = fs::metadata(like)?;
    let made = fs::metadata(file)?;
    if (wanted.uid(), wanted.gid()) == (made.uid(), made.gid()) {
        return Ok(());
    }
    chown(file, Some(wanted.uid()), Some(wanted.gid()))?;
    File::open(file)?.sync_all()
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn give(path: &Path, user: u32, group: u32) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user, group)?;
        }
    }
    std::os::unix::fs::lchown(path, Some(user), Some(group))
}
