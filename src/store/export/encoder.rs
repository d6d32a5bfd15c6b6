//! Entries as the octets of an export.

use std::io;

use ring::digest;

use super::super::{Entry, schema};
use super::{AUDIT, END, HEADER, Head, MAGIC, RECORD, Summary};

/// Makes the octets of an export, in order, and keeps count of them.
pub(super) struct Encoder {
    hash: digest::Context,
    summary: Summary,
}

impl Encoder {
    /// Begins an export: appends its first octets to `out`.
    pub(super) fn begin(head: &Head, out: &mut Vec<u8>) -> io::Result<Self> {
        let mut encoder = Self {
            hash: digest::Context::new(&digest::SHA256),
            summary: Summary {
                head: *head,
                schema: schema::CURRENT,
                records: 0,
                audit: 0,
                size: 0,
            },
        };
        out.extend_from_slice(MAGIC);
        encoder.count(MAGIC);
        let parts: [&[u8]; 5] = [
            &schema::CURRENT.to_be_bytes(),
            &head.revision.to_be_bytes(),
            &head.audit_sequence.to_be_bytes(),
            &head.audit_link,
            &head.fingerprint,
        ];
        encoder.frame(HEADER, &parts, out)?;
        Ok(encoder)
    }

    /// Appends an entry.
    pub(super) fn entry(&mut self, entry: &Entry, out: &mut Vec<u8>) -> io::Result<()> {
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
                self.frame(RECORD, &parts, out)
            }
            Entry::Audit(record) => {
                self.summary.audit += 1;
                let parts: [&[u8]; 3] = [&record.sequence.to_be_bytes(), &record.link, &record.body];
                self.frame(AUDIT, &parts, out)
            }
        }
    }

    /// Appends the end.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> io::Result<Summary> {
        let counts = [self.summary.records.to_be_bytes(), self.summary.audit.to_be_bytes()];
        self.frame(END, &[&counts[0], &counts[1]], out)?;
        let digest = self.hash.clone().finish();
        out.extend_from_slice(digest.as_ref());
        self.count(digest.as_ref());
        Ok(self.summary)
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]], out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u32::try_from(length).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.push(kind);
        for part in parts {
            out.extend_from_slice(part);
        }
        let sum = crc32fast::hash(out.get(start + 4..).unwrap_or_default());
        out.extend_from_slice(&sum.to_be_bytes());
        let (_, frame) = out.split_at(start);
        self.hash.update(frame);
        self.summary.size += frame.len() as u64;
        Ok(())
    }

    fn count(&mut self, octets: &[u8]) {
        self.hash.update(octets);
        self.summary.size += octets.len() as u64;
    }
}
