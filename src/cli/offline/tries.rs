//! Wrong responses at a machine, counted in a file beside its key: also those of other terminals, and of a process
//! that was killed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::clock::Timestamp;

/// Most wrong responses within [`WINDOW`].
pub(super) const MOST: usize = 9;

/// The window.
pub(super) const WINDOW: Duration = Duration::from_secs(15 * 60);

/// Most octets of the file that are read.
const MAX_FILE: u64 = 4096;

/// The file.
pub(super) struct Tries(PathBuf);

impl Tries {
    pub(super) fn beside(key_file: &Path) -> Self {
        let mut name = key_file.as_os_str().to_owned();
        name.push(".tries");
        Self(PathBuf::from(name))
    }

    /// Counts a try before it is judged. How long to wait when there were too many.
    pub(super) fn count(&self, now: Timestamp) -> io::Result<Result<(), Duration>> {
        let mut file = self.lock()?;
        let mut before = read(&mut file, now)?;
        if before.len() >= MOST {
            let oldest = before.first().copied().unwrap_or(now);
            return Ok(Err(oldest.since(now - WINDOW)));
        }
        before.push(now);
        write(&mut file, &before)?;
        Ok(Ok(()))
    }

    /// A right response: what was counted is forgotten.
    pub(super) fn forget(&self) -> io::Result<()> {
        write(&mut *self.lock()?, &[])
    }

    fn lock(&self) -> io::Result<Flock<File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // Whoever can make a link beside the key must not have another file written in its place.
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&self.0)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
    }
}

/// The moments that count, oldest first. What seems to lie ahead (the clock was set back) is of now.
fn read(file: &mut File, now: Timestamp) -> io::Result<Vec<Timestamp>> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(MAX_FILE).read_to_string(&mut text)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the count of wrong responses is damaged");
    let mut moments = Vec::new();
    for line in text.lines() {
        let secs: u64 = line.parse().map_err(|_| damaged())?;
        moments.push(Timestamp::from_secs(secs).min(now));
    }
    moments.retain(|at| *at > now - WINDOW);
    moments.sort_unstable();
    Ok(moments)
}

fn write(file: &mut File, moments: &[Timestamp]) -> io::Result<()> {
    let text: String = moments.iter().map(|at| format!("{}\n", at.secs())).collect();
    file.seek(SeekFrom::Start(0))?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[test]
    fn nine_within_a_quarter_of_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let tries = Tries::beside(&folder.path().join("key"));
        for secs in 0..9 {
            assert_eq!(tries.count(NOW + Duration::from_secs(secs)).unwrap(), Ok(()));
        }
        let wait = Duration::from_secs(900 - 9);
        assert_eq!(tries.count(NOW + Duration::from_secs(9)).unwrap(), Err(wait));
        assert_eq!(tries.count(NOW + WINDOW).unwrap(), Ok(()), "the first is over");
        assert!(tries.count(NOW + WINDOW).unwrap().is_err());
        tries.forget().unwrap();
        assert_eq!(tries.count(NOW + WINDOW).unwrap(), Ok(()));
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let tries = Tries::beside(&folder.path().join("key"));
        for _ in 0..9 {
            tries.count(NOW).unwrap().unwrap();
        }
        let early = Timestamp::from_secs(100_000);
        assert_eq!(tries.count(early).unwrap(), Err(WINDOW));
    }

    #[test]
    fn tries_at_the_same_time_are_all_counted() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| Tries::beside(&key).count(NOW).unwrap().is_ok()))
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok().filter(|ok| *ok))
                .count()
        });
        assert_eq!(taken, MOST);
    }

    #[test]
    fn a_link_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (key, other) = (folder.path().join("key"), folder.path().join("other"));
        std::os::unix::fs::symlink(&other, folder.path().join("key.tries")).unwrap();
        assert!(Tries::beside(&key).count(NOW).is_err());
        assert!(!other.exists());
    }

    #[test]
    fn a_damaged_count_is_no_count_of_none() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(folder.path().join("key.tries"), "many\n").unwrap();
        assert!(Tries::beside(&key).count(NOW).is_err());
    }
}
