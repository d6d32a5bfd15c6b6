//! A private rsyslog that receives over TLS (RFC 5425) or TCP and writes what its own parser made of each message.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::certificates::Certificates;
use super::process::{Process, free_port, listening, until};

pub(crate) struct Rsyslog {
    folder: TempDir,
    process: Option<Process>,
    port: u16,
    certificates: Certificates,
}

impl Rsyslog {
    /// Has its port, and does not run yet.
    pub(crate) fn install() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificates = Certificates::make(folder.path());
        Self {
            process: None,
            port: free_port(),
            certificates,
            folder,
        }
    }

    pub(crate) fn run(&mut self) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let configuration = format!(
            r#"
global(workDirectory="{folder}" maxMessageSize="64k" defaultNetstreamDriverCAFile="{authority}"
  defaultNetstreamDriverCertFile="{chain}" defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
template(name="parsed" type="string" string="%app-name%|%msgid%|%hostname%|%syslogseverity-text%|%structured-data%|%msg%\n")
ruleset(name="ours") {{ action(type="omfile" file="{out}" template="parsed") }}
input(type="imtcp" port="{port}" ruleset="ours")
"#,
            folder = self.folder.path().display(),
            authority = self.certificates.authority.display(),
            chain = self.certificates.chain.display(),
            key = self.certificates.key.display(),
            out = path("out.log"),
            port = self.port,
        );
        fs::write(path("rsyslog.conf"), configuration).expect("writing the configuration");
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.args(["-n", "-iNONE", "-f"]).arg(path("rsyslog.conf"));
        self.process = Some(Process::start(&command, &self.folder.path().join("rsyslogd.log")));
        until("rsyslog listens", || listening(self.port));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// What it has written, a message a line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("out.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The sequence numbers of the audit records that it has, in the order in which they came.
    pub(crate) fn sequences(&self) -> Vec<u64> {
        let number = |line: &String| {
            let (_, rest) = line.split_once("sequence=\"")?;
            rest.split('"').next()?.parse().ok()
        };
        self.lines().iter().filter_map(number).collect()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn certificates(&self) -> &Certificates {
        &self.certificates
    }
}
