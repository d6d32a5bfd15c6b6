//! FreeRADIUS as the other side of Dynamic Authorization (RFC 5176): it takes Disconnect-Request and
//! CoA-Request as a NAS does, and shows what it got.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::process::{Process, free_port, run, text, until};
use super::radclient::SECRET;

/// A NAS that ends and changes every session but those of people whom it is told to refuse.
pub(crate) struct Nas {
    folder: TempDir,
    process: Process,
    address: &'static str,
    port: u16,
}

impl Nas {
    /// Starts it at a loopback address; requests about `refused` get a NAK with this Error-Cause.
    pub(crate) fn start(address: &'static str, refused: &str, cause: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let configuration = configuration(folder.path(), address, port, refused, cause);
        fs::write(folder.path().join("radiusd.conf"), configuration).expect("a configuration");
        let mut command = Command::new("/usr/sbin/freeradius");
        // In the foreground, every packet printed.
        command.args(["-X", "-d"]).arg(folder.path());
        let output = folder.path().join("output.log");
        let mut process = Process::start(&command, &output);
        until("FreeRADIUS serves", || {
            let printed = fs::read_to_string(&output).unwrap_or_default();
            assert!(process.ended().is_none(), "FreeRADIUS ended: {printed}");
            printed.contains("Ready to process requests")
        });
        Self {
            folder,
            process,
            address,
            port,
        }
    }

    /// Where it takes requests.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The packets that it got, each as it printed it.
    pub(crate) fn got(&self) -> Vec<String> {
        let printed = fs::read_to_string(self.folder.path().join("output.log")).unwrap_or_default();
        let mut packets = Vec::new();
        for line in printed.lines() {
            let line = line.split_once(") ").map_or(line, |(_, line)| line);
            if line.contains("Received Disconnect-Request") || line.contains("Received CoA-Request") {
                packets.push(line.to_owned());
            } else if let (Some(packet), true) = (packets.last_mut(), line.starts_with("  ") && line.contains(" = "))
                && packet.lines().count() < 40
            {
                packet.push('\n');
                packet.push_str(line.trim());
            }
        }
        packets
    }

    /// Reports a session to a RADIUS server; whether it was acknowledged.
    pub(crate) fn account(&self, server: u16, kind: &str, id: &str, user: &str) -> bool {
        self.account_saying(server, kind, id, user, "")
    }

    /// The same with more attributes, each on a line of its own.
    pub(crate) fn account_saying(&self, server: u16, kind: &str, id: &str, user: &str, more: &str) -> bool {
        let address = self.address;
        let attributes = format!(
            "Acct-Status-Type = {kind}\nAcct-Session-Id = \"{id}\"\nUser-Name = \"{user}\"\n\
             NAS-Identifier = \"edge\"\nNAS-Port = 7\nCalling-Station-Id = \"02-00-00-00-00-01\"\n\
             Framed-IP-Address = 192.0.2.77\n{more}Packet-Src-IP-Address = {address}\n\n"
        );
        let mut command = Command::new("radclient");
        command.args(["-x", "-t", "10", "-r", "1"]);
        command.args([&format!("127.0.0.1:{server}"), "acct", SECRET]);
        let output = run(&mut command, &attributes);
        let printed = text(&output);
        assert!(!printed.contains("Failed to parse"), "radclient: {printed}");
        printed.contains("Received Accounting-Response")
    }
}

impl Drop for Nas {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let printed = fs::read_to_string(self.folder.path().join("output.log")).unwrap_or_default();
            let tail: Vec<&str> = printed.lines().rev().take(80).collect();
            for line in tail.iter().rev() {
                eprintln!("-- FreeRADIUS: {line}");
            }
        }
        self.process.signal(Signal::SIGTERM);
    }
}

fn configuration(folder: &Path, address: &str, port: u16, refused: &str, cause: &str) -> String {
    let folder = folder.display();
    format!(
        r#"
prefix = /usr
raddbdir = {folder}
libdir = /usr/lib/freeradius
run_dir = {folder}
name = freeradius
max_request_time = 10
log {{
  destination = stdout
}}
proxy_requests = no
client portcullis {{
  ipaddr = 127.0.0.0/8
  secret = {SECRET}
  require_message_authenticator = yes
}}
modules {{
  always reject {{
    rcode = reject
  }}
  always ok {{
    rcode = ok
  }}
}}
server nas {{
  listen {{
    type = coa
    ipaddr = {address}
    port = {port}
  }}
  recv-coa {{
    if (&User-Name == "{refused}") {{
      update reply {{
        &Error-Cause := {cause}
        &Reply-Message := "not while the backup runs"
      }}
      reject
    }}
    ok
  }}
  send-coa {{
    ok
  }}
}}
"#
    )
}
