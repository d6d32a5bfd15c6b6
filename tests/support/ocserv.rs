//! ocserv as a VPN gateway that asks a RADIUS server, and openconnect as a person who logs in through it.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::certificates::Certificates;
use super::converse::converse;
use super::process::{Process, free_port, listening, run, text, until};
use super::radclient::SECRET;

/// Prompts of the longest conversation.
const MOST_PROMPTS: usize = 10;

/// A gateway of its own.
pub(crate) struct Ocserv {
    port: u16,
    authority: String,
    _process: Process,
    _folder: TempDir,
}

impl Ocserv {
    /// A gateway whose RADIUS server listens on a loopback port. It sends from 127.0.0.1, and its library
    /// signs nothing.
    pub(crate) fn start(radius: u16, certificates: &Certificates) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        let (port, place) = (free_port(), path.display());
        let (chain, key) = (certificates.chain.display(), certificates.key.display());
        fs::write(path.join("servers"), format!("127.0.0.1 {SECRET}\n")).expect("writing");
        fs::write(
            path.join("radcli.conf"),
            format!(
                "nas-identifier ocserv\nauthserver 127.0.0.1:{radius}\nacctserver 127.0.0.1:{radius}\n\
                 servers {place}/servers\ndictionary /etc/radcli/dictionary\ndefault_realm\n\
                 radius_timeout 10\nradius_retries 1\nbindaddr *\n"
            ),
        )
        .expect("writing");
        fs::write(
            path.join("ocserv.conf"),
            format!(
                "auth = \"radius[config={place}/radcli.conf,groupconfig=false]\"\nlisten-host = 127.0.0.1\n\
                 tcp-port = {port}\nrun-as-user = root\nrun-as-group = root\nsocket-file = {place}/sock\n\
                 server-cert = {chain}\nserver-key = {key}\nisolate-workers = false\nmax-clients = 16\n\
                 max-same-clients = 0\ndevice = vpns\nipv4-network = 10.98.0.0/24\npid-file = {place}/pid\n\
                 use-occtl = false\ncookie-timeout = 300\ntls-priorities = \"NORMAL\"\nauth-timeout = 60\n"
            ),
        )
        .expect("writing");
        let mut command = Command::new("/usr/sbin/ocserv");
        command.args(["--foreground", "--config"]).arg(path.join("ocserv.conf"));
        let process = Process::start(&command, &path.join("ocserv.log"));
        until("ocserv listens", || listening(port));
        Self {
            port,
            authority: certificates.authority.display().to_string(),
            _process: process,
            _folder: folder,
        }
    }

    /// Types `lines`, one at each prompt. Whether a session was given, and what was shown.
    pub(crate) fn login(&self, user: &str, lines: &[&str]) -> (bool, String) {
        let output = run(&mut self.openconnect(user), &format!("{}\n", lines.join("\n")));
        let shown = text(&output);
        (output.status.success() && shown.contains("COOKIE="), shown)
    }

    /// Answers each prompt by what is shown, as [`converse`] does. Whether a session was given, and what was shown.
    ///
    /// openconnect shows the gateway's message on one line, and its own `Password:`, then `Password1:` and so on, below
    /// it; after a refusal it asks from the beginning. `answer` gets both lines, at most [`MOST_PROMPTS`] times.
    pub(crate) fn converse(&self, user: &str, mut answer: impl FnMut(&str) -> String) -> (bool, String) {
        let mut prompts = 0;
        let (ended, shown) = converse(&self.openconnect(user), |screen| {
            let prompt = screen.lines().last().is_some_and(|line| line.starts_with("Password"));
            prompts += usize::from(prompt);
            assert!(prompts <= MOST_PROMPTS, "asked without end: {screen}");
            prompt.then(|| answer(screen))
        });
        (ended && shown.contains("COOKIE="), shown)
    }

    fn openconnect(&self, user: &str) -> Command {
        let mut command = Command::new("openconnect");
        command.args(["--authenticate", "--protocol=anyconnect", "--cafile", &self.authority]);
        command.args(["--user", user, &format!("https://127.0.0.1:{}/", self.port)]);
        command
    }
}
