//! Whoever sits at a machine: the terminal, also where a login program has started us without one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use crate::cli::output::CliError;

/// Longest line that is read, in octets.
const MAX_LINE: u64 = 256;

/// Where somebody is asked.
pub(super) struct Terminal {
    reader: Box<dyn BufRead>,
    writer: Box<dyn Write>,
}

impl Terminal {
    /// Standard input and output.
    pub(super) fn standard() -> Self {
        Self {
            reader: Box::new(BufReader::new(io::stdin())),
            writer: Box::new(io::stdout()),
        }
    }

    /// The terminal that somebody sits at: standard input, else the one that we belong to, else the one that PAM
    /// says the login is at (pam_exec starts programs without one of their own).
    pub(super) fn find() -> Result<Self, CliError> {
        if io::stdin().is_terminal() {
            return Ok(Self::standard());
        }
        let said = std::env::var_os("PAM_TTY").and_then(|name| device(Path::new(&name)));
        let mut candidates = [Some(PathBuf::from("/dev/tty")), said].into_iter().flatten();
        match candidates.find_map(|path| open(&path)) {
            Some((reader, writer)) => Ok(Self {
                reader: Box::new(BufReader::new(reader)),
                writer: Box::new(writer),
            }),
            None => Err(CliError::Away(
                "there is no terminal to ask at".into(),
                Some("use --stdio to ask on standard input and output"),
            )),
        }
    }

    pub(super) fn say(&mut self, text: &str) -> Result<(), CliError> {
        let said = self
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| self.writer.flush());
        said.map_err(CliError::Io)
    }

    /// One line; `None` when nobody will say anything any more.
    pub(super) fn line(&mut self) -> Result<Option<Zeroizing<String>>, CliError> {
        let mut octets = Zeroizing::new(Vec::new());
        let read = self.reader.as_mut().take(MAX_LINE).read_until(b'\n', &mut octets);
        if read.map_err(CliError::Io)? == 0 {
            return Ok(None);
        }
        Ok(Some(Zeroizing::new(String::from_utf8_lossy(&octets).trim().to_owned())))
    }
}

/// The device that PAM names, with or without `/dev/`.
fn device(name: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(Path::new("/dev").join(name)).ok()?;
    path.starts_with("/dev").then_some(path)
}

/// A terminal to read and write, without becoming its session's.
fn open(path: &Path) -> Option<(File, File)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
    let reader = options.open(path).ok().filter(|file| file.is_terminal())?;
    let writer = reader.try_clone().ok()?;
    Some((reader, writer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminals_are_asked_at() {
        assert!(device(Path::new("../etc/passwd")).is_none());
        assert!(device(Path::new("/etc/passwd")).is_none());
        assert!(device(Path::new("ssh")).is_none());
        assert!(open(Path::new("/dev/null")).is_none());
    }
}
