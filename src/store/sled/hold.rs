//! Keeping everybody away from a store's folder without opening the store.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::open::{DATABASE, LOCK_ATTEMPTS, LOCK_PAUSE, OpenError};
use super::tip;

/// As long as it lives nobody opens the store in a folder, and sled has let go of it: a database that was dropped may
/// go on writing files of that folder's name for a while.
pub(in super::super) struct Hold {
    _files: Vec<File>,
}

impl Hold {
    /// Takes hold of a store, whole or damaged.
    ///
    /// # Errors
    /// [`OpenError::Locked`] while a process has it open.
    pub(in super::super) fn take(path: &Path) -> Result<Self, OpenError> {
        let mut files = Vec::new();
        for name in [tip::NAME, DATABASE] {
            match fs::OpenOptions::new().read(true).write(true).open(path.join(name)) {
                Ok(file) => {
                    lock(&file, path)?;
                    files.push(file);
                }
                // Then there is nothing to open either.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(OpenError::Io(path.to_owned(), error)),
            }
        }
        Ok(Self { _files: files })
    }
}

fn lock(file: &File, path: &Path) -> Result<(), OpenError> {
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(fs::TryLockError::Error(error)) => return Err(OpenError::Io(path.to_owned(), error)),
        }
    }
    Err(OpenError::Locked(path.to_owned()))
}
