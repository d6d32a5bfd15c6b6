//! The key file of a machine: whose it is, how it answers, and the key.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE32_NOPAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::admin::api::OfflineEnrolled;
use crate::cli::output::CliError;
use crate::document::{Document, Faults, Source};
use crate::engine::ocra::Suite;
use crate::secret::Secret;

/// What a key file says.
pub(super) struct KeyFile {
    pub(super) user: String,
    pub(super) machine: String,
    pub(super) suite: Suite,
    pub(super) key: Secret,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOffline {
    #[serde(default)]
    user: String,
    #[serde(default)]
    machine: String,
    #[serde(default)]
    suite: String,
    #[serde(default)]
    key: Secret,
}

impl KeyFile {
    /// Reads a key file, which nobody but its owner may read or change.
    pub(super) fn read(file: &Path) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| CliError::File(format!("{}: {error}", file.display()), None);
        let about = fs::metadata(file).map_err(failed)?;
        if about.mode() & 0o077 != 0 {
            let what = format!("others than its owner may read or change {}", file.display());
            return Err(CliError::File(
                what,
                Some("chmod 600 it; if others have read it, enrol anew"),
            ));
        }
        let mut faults = Faults::default();
        let read = Source::read(file, &mut faults).and_then(|source| parse(&source, &mut faults));
        read.ok_or_else(|| CliError::File(faults.to_string(), None))
    }

    /// The file's text.
    pub(super) fn text(enrolled: &OfflineEnrolled) -> Zeroizing<String> {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        Zeroizing::new(format!(
            "[offline]\nuser = {}\nmachine = {}\nsuite = {}\nkey = {}\n",
            quoted(&enrolled.login),
            quoted(&enrolled.token.label),
            quoted(&enrolled.suite),
            quoted(&enrolled.key),
        ))
    }
}

fn parse(source: &Source, faults: &mut Faults) -> Option<KeyFile> {
    let document = Document::parse(source, faults)?;
    document.only(&["offline"], faults);
    let before = faults.0.len();
    let raw: RawOffline = document.section("offline", faults);
    let mut fault = |key: &str, what: &str| faults.0.push(document.fault(&["offline", key], what));
    let suite = raw.suite.parse::<Suite>();
    if suite.is_err() {
        fault("suite", "is not an OCRA suite");
    }
    let key = BASE32_NOPAD
        .decode(raw.key.expose())
        .map(Secret::new)
        .unwrap_or_default();
    if key.len() < LEAST_KEY {
        fault("key", "is not base32 of 128 bits or more");
    }
    let suite = suite.ok()?;
    (faults.0.len() == before).then_some(KeyFile {
        user: raw.user,
        machine: raw.machine,
        suite,
        key,
    })
}

/// Octets of the shortest key (RFC 4226 section 4, R6).
const LEAST_KEY: usize = 16;

/// A key file that was made and is still empty; it goes again unless it is filled.
pub(super) struct Fresh {
    path: Option<PathBuf>,
    file: File,
}

impl Fresh {
    pub(super) fn create(path: PathBuf) -> Result<Self, CliError> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(file) => Ok(Self { path: Some(path), file }),
            Err(error) => Err(CliError::File(format!("{}: {error}", path.display()), None)),
        }
    }

    pub(super) fn fill(mut self, text: &str) -> Result<(), CliError> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(CliError::Io)?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // An empty file is left behind at worst.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TEXT: &str = "[offline]\nuser = \"ana\"\nmachine = \"lab-7\"\nsuite = \"OCRA-1:HOTP-SHA256-8:QN08\"\nkey = \"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\"\n";

    fn write(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn is_read_where_nobody_else_may() {
        let read = KeyFile::read(write(TEXT, 0o600).path()).unwrap();
        assert_eq!((read.user.as_str(), read.machine.as_str()), ("ana", "lab-7"));
        assert!(read.key.matches(b"12345678901234567890"));
        for mode in [0o640, 0o604, 0o620] {
            assert!(KeyFile::read(write(TEXT, mode).path()).is_err(), "{mode:o}");
        }
    }

    #[test]
    fn faults_have_places_and_no_secret() {
        for (text, place) in [
            (TEXT.replace("QN08", "QN99"), ":4:9: offline.suite"),
            (TEXT.replace("GEZDGNBVGY3TQOJQ", "GEZD"), ":5:7: offline.key"),
            (TEXT.replace("machine", "maschine"), "maschine"),
            (String::new(), "offline"),
        ] {
            let Err(error) = KeyFile::read(write(&text, 0o600).path()) else {
                panic!("read: {text}");
            };
            let told = error.to_string();
            assert!(told.contains(place), "{told}");
            assert!(!told.contains("GEZD"), "{told}");
        }
    }

    #[test]
    fn a_file_that_is_not_filled_goes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        drop(Fresh::create(path.clone()).unwrap());
        assert!(!path.exists());
        Fresh::create(path.clone()).unwrap().fill(TEXT).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(Fresh::create(path.clone()).is_err(), "never replaced");
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    }
}
