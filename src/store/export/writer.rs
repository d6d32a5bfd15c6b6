//! Writing an export.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::digest;

use super::super::{Entry, sled};
use super::{AUDIT, END, FORMAT, HEADER, Head, MAGIC, RECORD, Summary};

/// An export being written. Dropped before [`Writer::finish`], it leaves nothing behind.
pub(super) struct Writer {
    path: PathBuf,
    unfinished: Unfinished,
    file: BufWriter<File>,
    hash: digest::Context,
    frame: Vec<u8>,
    summary: Summary,
}

impl Writer {
    /// Begins an export next to `path`.
    pub(super) fn create(path: &Path, head: &Head) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".unfinished");
        let unfinished = Unfinished(PathBuf::from(name));
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished.0)?;
        let mut writer = Self {
            path: path.to_owned(),
            unfinished,
            file: BufWriter::with_capacity(256 * 1024, file),
            hash: digest::Context::new(&digest::SHA256),
            frame: Vec::new(),
            summary: Summary {
                head: *head,
                records: 0,
                audit: 0,
                size: 0,
            },
        };
        writer.put(MAGIC)?;
        let parts: [&[u8]; 5] = [
            &FORMAT.to_be_bytes(),
            &head.revision.to_be_bytes(),
            &head.audit_sequence.to_be_bytes(),
            &head.audit_link,
            &head.fingerprint,
        ];
        writer.frame(HEADER, &parts)?;
        Ok(writer)
    }

    /// Adds an entry.
    pub(super) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        match entry {
            Entry::Record(record) => {
                self.summary.records += 1;
                let key = record.key.as_octets();
                let length = u16::try_from(key.len()).map_err(io::Error::other)?;
                let expires = record.expires.map_or(0, |moment| moment.millis().max(1));
                let parts: [&[u8]; 5] = [
                    &record.version.0.to_be_bytes(),
                    &expires.to_be_bytes(),
                    &length.to_be_bytes(),
                    key,
                    &record.value,
                ];
                self.frame(RECORD, &parts)
            }
            Entry::Audit(record) => {
                self.summary.audit += 1;
                self.frame(AUDIT, &[&record.sequence.to_be_bytes(), &record.link, &record.body])
            }
        }
    }

    /// Ends the export, makes it durable and gives it its name.
    pub(super) fn finish(mut self) -> io::Result<Summary> {
        let counts = [self.summary.records.to_be_bytes(), self.summary.audit.to_be_bytes()];
        self.frame(END, &[&counts[0], &counts[1]])?;
        let digest = self.hash.clone().finish();
        self.put(digest.as_ref())?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.unfinished.0, &self.path)?;
        sled::sync_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(self.summary.clone())
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u32::try_from(length).map_err(io::Error::other)?;
        frame.extend_from_slice(&length.to_be_bytes());
        frame.push(kind);
        for part in parts {
            frame.extend_from_slice(part);
        }
        let sum = crc32fast::hash(frame.get(4..).unwrap_or_default());
        frame.extend_from_slice(&sum.to_be_bytes());
        self.put(&frame)?;
        self.frame = frame;
        Ok(())
    }

    fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        self.hash.update(octets);
        self.summary.size += octets.len() as u64;
        self.file.write_all(octets)
    }
}

/// A file that is removed when it is given up. After it got its name there is nothing to remove.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
