//! A login program with `pam_radius_auth`, played by pamtester.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::converse::converse;
use super::process::{run, text};
use super::radclient::SECRET;

/// A PAM service of its own, removed with this value.
pub(crate) struct Pam {
    service: String,
    file: PathBuf,
    _folder: TempDir,
}

impl Pam {
    /// A service whose RADIUS server listens on a loopback port.
    pub(crate) fn new(port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let servers = folder.path().join("servers");
        fs::write(&servers, format!("127.0.0.1:{port} {SECRET} 20\n")).expect("writing the server list");
        let service = format!("portcullis-test-{}-{port}", std::process::id());
        let file = PathBuf::from("/etc/pam.d").join(&service);
        let servers = servers.display();
        fs::write(
            &file,
            format!("auth required pam_radius_auth.so conf={servers}\naccount required pam_permit.so\n"),
        )
        .unwrap_or_else(|error| panic!("{} (only root can): {error}", file.display()));
        Self {
            service,
            file,
            _folder: folder,
        }
    }

    /// Its name.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// Types what `answer` says for each prompt, see [`converse`].
    pub(crate) fn converse(&self, user: &str, answer: impl FnMut(&str) -> Option<String>) -> (bool, String) {
        let mut command = Command::new("pamtester");
        command.args([&self.service, user, "authenticate"]);
        converse(&command, answer)
    }

    /// Types `lines`, one at each prompt. Whether the login succeeded, and what was shown.
    pub(crate) fn login(&self, user: &str, lines: &[&str]) -> (bool, String) {
        let mut command = Command::new("pamtester");
        command.args([&self.service, user, "authenticate"]);
        let output = run(&mut command, &format!("{}\n", lines.join("\n")));
        (output.status.success(), text(&output))
    }
}

impl Drop for Pam {
    fn drop(&mut self) {
        // Nothing can be done about a file that does not go.
        let _ = fs::remove_file(&self.file);
    }
}
