//! Writing an export to a file, which appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::super::{Entry, sled};
use super::encoder::Encoder;
use super::{ExportError, Head, Summary, reader};

/// An export being written. Dropped before [`Writer::finish`], it leaves nothing behind.
pub(super) struct Writer {
    file: Unfinished,
    encoder: Encoder,
    octets: Vec<u8>,
}

impl Writer {
    /// Begins an export next to `path`.
    pub(super) fn create(path: &Path, head: &Head) -> io::Result<Self> {
        let mut octets = Vec::new();
        let encoder = Encoder::begin(head, &mut octets)?;
        let mut file = Unfinished::create(path)?;
        file.write(&octets)?;
        Ok(Self { file, encoder, octets })
    }

    /// Adds an entry.
    pub(super) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.octets.clear();
        self.encoder.entry(entry, &mut self.octets)?;
        self.file.write(&self.octets)
    }

    /// Ends the export, makes it durable and gives it its name.
    pub(super) fn finish(mut self) -> io::Result<Summary> {
        self.octets.clear();
        let summary = self.encoder.finish(&mut self.octets)?;
        self.file.write(&self.octets)?;
        self.file.sync()?;
        self.file.name()?;
        Ok(summary)
    }
}

/// An export that somebody else encodes, received piece by piece. Dropped before [`Receiver::finish`], it leaves
/// nothing behind.
pub struct Receiver(Unfinished);

impl Receiver {
    /// Begins next to `path`, mode 0600.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> Result<Self, ExportError> {
        let made = Unfinished::create(path).map_err(|error| ExportError::Io(path.to_owned(), error))?;
        Ok(Self(made))
    }

    /// The next octets.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.0.write(octets)
    }

    /// Makes the file durable, reads it back and checks it, and gives it its name: one that was there before is
    /// replaced by a whole one only.
    ///
    /// # Errors
    /// [`ExportError::Damaged`] for an export that did not arrive whole.
    pub fn finish(mut self) -> Result<Summary, ExportError> {
        let path = self.0.path.clone();
        let failed = |error| ExportError::Io(path.clone(), error);
        self.0.sync().map_err(failed)?;
        let summary = reader::verify(&self.0.unfinished)?;
        self.0.name().map_err(failed)?;
        Ok(summary)
    }
}

/// A file that has not got its name yet, and is removed when it is given up.
struct Unfinished {
    path: PathBuf,
    unfinished: PathBuf,
    file: BufWriter<File>,
}

impl Unfinished {
    fn create(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".unfinished");
        let unfinished = PathBuf::from(name);
        // What an earlier run left goes. A file, or a link, that somebody else has put there is never written to: they
        // could read it.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        Ok(Self {
            path: path.to_owned(),
            unfinished,
            file: BufWriter::with_capacity(256 * 1024, file),
        })
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.write_all(octets)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }

    fn name(&self) -> io::Result<()> {
        fs::rename(&self.unfinished, &self.path)?;
        sled::sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After it got its name there is nothing to remove.
        let _ = fs::remove_file(&self.unfinished);
    }
}
