//! The key file: the key in place, and what is carried on of former ones.
//!
//! | line | what it holds, in base64 |
//! | --- | --- |
//! | `portcullis-key-1:` | the root key, 32 octets |
//! | `portcullis-pepper-1:` | the pepper of answers, 32 octets, where it is not the root key's own |
//! | `portcullis-former-1:<number>:` | of a former key: fingerprint (8 octets), key of the audit up to that record (32), key of codes (32) |

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use data_encoding::BASE64;
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::hmac;
use zeroize::Zeroizing;

use super::{Former, KeyError, Keyring, expand};
use crate::clock;

/// What a key file holds.
#[derive(Clone)]
pub struct KeyFile {
    root: Zeroizing<[u8; 32]>,
    pepper: Option<Zeroizing<[u8; 32]>>,
    /// Oldest first.
    former: Vec<FormerKeys>,
}

#[derive(Clone)]
struct FormerKeys {
    until: u64,
    /// Fingerprint, audit, codes.
    octets: Zeroizing<[u8; FORMER]>,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyFile([secret])")
    }
}

impl Keyring {
    /// Reads a key file, mode 0600 or 0400.
    ///
    /// # Errors
    /// [`KeyError`] names the file and what to do.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Ok(KeyFile::read(path)?.keyring())
    }

    /// Makes a key file with a fresh random key, mode 0600; an existing file is never replaced.
    ///
    /// # Errors
    /// [`KeyError::Write`] when the file exists or cannot be written.
    pub fn create(path: &Path) -> Result<(), KeyError> {
        KeyFile::random().write(path)
    }
}

impl KeyFile {
    /// A fresh random key.
    pub fn random() -> Self {
        Self {
            root: Zeroizing::new(clock::random::<32>()),
            pepper: None,
            former: Vec::new(),
        }
    }

    /// A fresh random key that takes the place of this one after the audit record `until`. `same_pepper` carries on
    /// the pepper, without which no answer that is stored can be judged.
    pub fn successor(&self, until: u64, same_pepper: bool) -> Self {
        let prk = self.expanded();
        let mut octets = Zeroizing::new([0; FORMER]);
        let parts = [b"fingerprint".as_slice(), b"audit", b"codes"].map(|info| expand(&prk, &[info]));
        let [fingerprint, audit, codes] = &parts;
        let all = fingerprint
            .iter()
            .take(FINGERPRINT)
            .chain(audit.iter())
            .chain(codes.iter());
        for (octet, part) in octets.iter_mut().zip(all) {
            *octet = *part;
        }
        let pepper = || self.pepper.clone().unwrap_or_else(|| expand(&prk, &[b"pepper"]));
        let mut former = self.former.clone();
        former.push(FormerKeys { until, octets });
        Self {
            pepper: same_pepper.then(pepper),
            former,
            ..Self::random()
        }
    }

    /// Whether it came in place of `other`.
    pub fn follows(&self, other: &Self) -> bool {
        let fingerprint = other.keyring().fingerprint();
        let last = self.former.last();
        last.is_some_and(|last| last.octets.starts_with(&fingerprint))
    }

    /// The keys in it.
    pub fn keyring(&self) -> Keyring {
        let mut keyring = Keyring::from_root(self.root.as_slice());
        if let Some(pepper) = &self.pepper {
            keyring.pepper = hmac::Key::new(hmac::HMAC_SHA256, pepper.as_slice());
        }
        let former = self.former.iter().map(|former| {
            let (_, keys) = former.octets.split_at(FINGERPRINT);
            let (audit, codes) = keys.split_at(32);
            Former {
                until: former.until,
                audit: hmac::Key::new(hmac::HMAC_SHA256, audit),
                codes: hmac::Key::new(hmac::HMAC_SHA256, codes),
            }
        });
        keyring.former = former.collect();
        keyring
    }

    /// Reads a key file, mode 0600 or 0400.
    ///
    /// # Errors
    /// [`KeyError`] names the file and what to do.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |error| KeyError::Read(path.to_owned(), error);
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed(path.to_owned(), mode));
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(unreadable)?);
        Self::parse(&text).ok_or_else(|| KeyError::Malformed(path.to_owned()))
    }

    /// Writes it, mode 0600; an existing file is never replaced.
    ///
    /// # Errors
    /// [`KeyError::Write`] when the file exists or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |error| KeyError::Write(path.to_owned(), error);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        file.write_all(self.text().as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::File::open(folder)?.sync_all())
            .map_err(failed)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.trim().lines().map(str::trim);
        let mut read = Self {
            root: octets(lines.next()?.strip_prefix(CURRENT)?)?,
            pepper: None,
            former: Vec::new(),
        };
        for line in lines {
            if let Some(rest) = line.strip_prefix(PEPPER) {
                if read.pepper.replace(octets(rest)?).is_some() {
                    return None;
                }
                continue;
            }
            let (until, rest) = line.strip_prefix(FORMERLY)?.split_once(':')?;
            let former = FormerKeys {
                until: until.parse().ok()?,
                octets: octets(rest)?,
            };
            // What was linked under which key has one answer.
            if read.former.last().is_some_and(|last| former.until <= last.until) {
                return None;
            }
            read.former.push(former);
        }
        Some(read)
    }

    fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(128 + self.former.len() * 160 + 128));
        let mut line = |parts: [&str; 3]| {
            for part in parts {
                text.push_str(part);
            }
            text.push('\n');
        };
        line([CURRENT, &encoded(self.root.as_slice()), ""]);
        if let Some(pepper) = &self.pepper {
            line([PEPPER, &encoded(pepper.as_slice()), ""]);
        }
        for former in &self.former {
            let until = format!("{}:", former.until);
            line([FORMERLY, &until, &encoded(former.octets.as_slice())]);
        }
        text
    }

    fn expanded(&self) -> Prk {
        Salt::new(HKDF_SHA256, super::ROOT_SALT).extract(self.root.as_slice())
    }
}

fn encoded(octets: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(BASE64.encode(octets))
}

fn octets<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let decoded = Zeroizing::new(BASE64.decode(text.as_bytes()).ok()?);
    let array: &[u8; N] = decoded.as_slice().try_into().ok()?;
    Some(Zeroizing::new(*array))
}

/// What the line of the key in place begins with.
pub(super) const CURRENT: &str = "portcullis-key-1:";
const PEPPER: &str = "portcullis-pepper-1:";
const FORMERLY: &str = "portcullis-former-1:";

const FINGERPRINT: usize = 8;
const FORMER: usize = FINGERPRINT + 32 + 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_files_round_trip_and_must_be_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.key");
        Keyring::create(&path).unwrap();
        assert!(matches!(Keyring::create(&path), Err(KeyError::Write(..))));
        Keyring::load(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Keyring::load(&path), Err(KeyError::Exposed(_, 0o644))));
        fs::write(&path, "something else").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Keyring::load(&path), Err(KeyError::Malformed(_))));
    }

    #[test]
    fn what_cannot_be_done_anew_is_carried_on_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let files = [KeyFile::random()];
        let [first] = &files;
        let second = first.successor(7, true);
        let third = second.successor(12, true);
        let path = folder.path().join("key");
        third.write(&path).unwrap();
        let read = KeyFile::read(&path).unwrap();
        assert_eq!(*read.text(), *third.text());
        // The former root keys are gone.
        let text = third.text();
        for root in [&first.root, &second.root] {
            assert!(!text.contains(&*encoded(root.as_slice())));
        }
        let [one, two, three] = [first, &second, &read].map(KeyFile::keyring);
        assert!(three.open(b"p", &one.seal(b"p", b"x")).is_err());
        let link = |ring: &Keyring, sequence| ring.audit_link(&[3; 32], sequence, b"body");
        assert_eq!(link(&three, 7), link(&one, 7));
        assert_eq!(link(&three, 8), link(&two, 8));
        assert_eq!(link(&three, 12), link(&two, 12));
        assert_ne!(link(&three, 13), link(&two, 13));
        let digest = |ring: &Keyring| ring.digest_code(b"context", b"code");
        let known: Vec<_> = three.digests_of_code(b"context", b"code").collect();
        assert_eq!(known, [digest(&three), digest(&two), digest(&one)]);
        assert_eq!(three.pepper(&[b"a"]), one.pepper(&[b"a"]));
        assert_ne!(
            second.successor(12, false).keyring().pepper(&[b"a"]),
            one.pepper(&[b"a"])
        );
        assert!(third.follows(&second) && second.follows(first));
        assert!(!third.follows(first) && !first.follows(&second) && !third.follows(&third));
    }

    #[test]
    fn a_file_with_anything_unknown_in_it_is_refused() {
        let text = KeyFile::random().successor(3, true).successor(9, true).text();
        assert!(KeyFile::parse(&text).is_some());
        let lines: Vec<&str> = text.lines().collect();
        let swapped = [lines[0], lines[1], lines[3], lines[2]].join("\n");
        for wrong in [
            swapped,
            lines[1..].join("\n"),
            format!("{}\n{}", *text, lines[1]),
            format!("{}\n{}", *text, lines[3]),
            format!("{}\nsomething", *text),
            text.replacen("former-1:3", "former-1:x", 1),
        ] {
            assert!(KeyFile::parse(&wrong).is_none(), "{}", wrong.len());
        }
    }
}
