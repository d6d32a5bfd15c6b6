//! Programs of others that take RADIUS over UDP and pass it on over TLS: radsecproxy and FreeRADIUS.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::pki::{Authority, Leaf};
use super::process::{Process, free_port, until};
use super::radclient::{Radclient, SECRET};

/// A running proxy.
pub(crate) struct Proxy {
    _folder: TempDir,
    _process: Process,
    port: u16,
    /// Where it takes accounting.
    accounting: u16,
}

impl Proxy {
    /// radsecproxy before the TLS port `home`.
    pub(crate) fn radsecproxy(home: u16, authority: &Authority, leaf: &Leaf) -> Self {
        let port = free_port();
        let (ca, chain, key) = (authority.file(), leaf.chain.display(), leaf.key.display());
        let configuration = format!(
            "ListenUDP 127.0.0.1:{port}\nLogLevel 2\n\
             tls default {{\n CACertificateFile {ca}\n CertificateFile {chain}\n CertificateKeyFile {key}\n}}\n\
             client tests {{\n host 127.0.0.1\n type udp\n secret {SECRET}\n}}\n\
             server portcullis {{\n host 127.0.0.1\n type tls\n port {home}\n secret radsec\n statusServer on\n}}\n\
             realm * {{\n server portcullis\n accountingServer portcullis\n}}\n",
            ca = ca.display(),
        );
        Self::start("/usr/sbin/radsecproxy", (port, port), &configuration, |folder| {
            vec!["-f".into(), "-c".into(), folder.join("peer.conf").display().to_string()]
        })
    }

    /// FreeRADIUS before the TLS port `home`.
    pub(crate) fn freeradius(home: u16, authority: &Authority, leaf: &Leaf) -> Self {
        let (port, accounting) = (free_port(), free_port());
        let (ca, chain, key) = (authority.file(), leaf.chain.display(), leaf.key.display());
        let configuration = format!(
            r#"
prefix = /usr
raddbdir = @FOLDER@
libdir = /usr/lib/freeradius
run_dir = @FOLDER@
pidfile = @FOLDER@/freeradius.pid
name = freeradius
max_request_time = 30
log {{
  destination = stdout
}}
security {{
  reject_delay = 0
}}
proxy_requests = yes
proxy server {{
}}
home_server portcullis {{
  type = auth+acct
  ipaddr = 127.0.0.1
  port = {home}
  proto = tcp
  secret = radsec
  response_window = 10
  status_check = none
  tls {{
    private_key_file = {key}
    certificate_file = {chain}
    ca_file = {ca}
    tls_min_version = "1.2"
    tls_max_version = "1.2"
    ecdh_curve = ""
  }}
}}
home_server_pool portcullis {{
  home_server = portcullis
}}
realm portcullis {{
  auth_pool = portcullis
  acct_pool = portcullis
}}
thread pool {{
  start_servers = 2
  max_servers = 4
  min_spare_servers = 1
  max_spare_servers = 2
}}
client tests {{
  ipaddr = 127.0.0.0/8
  secret = {SECRET}
}}
modules {{
}}
server front {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
  }}
  listen {{
    type = acct
    ipaddr = 127.0.0.1
    port = {accounting}
  }}
  preacct {{
    update control {{
      &Proxy-To-Realm := portcullis
    }}
  }}
  authorize {{
    update control {{
      &Proxy-To-Realm := portcullis
    }}
  }}
}}
"#,
            ca = ca.display(),
        );
        Self::start("/usr/sbin/freeradius", (port, accounting), &configuration, |folder| {
            vec![
                "-f".into(),
                "-l".into(),
                "stdout".into(),
                "-d".into(),
                folder.display().to_string(),
            ]
        })
    }

    fn start(
        program: &str,
        (port, accounting): (u16, u16),
        configuration: &str,
        arguments: impl Fn(&Path) -> Vec<String>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let configuration = configuration.replace("@FOLDER@", &folder.path().display().to_string());
        for name in ["peer.conf", "radiusd.conf"] {
            fs::write(folder.path().join(name), &configuration).expect("writing a configuration");
        }
        let mut command = Command::new(program);
        command.args(arguments(folder.path()));
        let mut process = Process::start(&command, &folder.path().join("peer.log"));
        until("the proxy listens", || {
            assert!(process.ended().is_none(), "{program} ended: {}", process.log());
            bound(port) && bound(accounting)
        });
        Self {
            _folder: folder,
            _process: process,
            port,
            accounting,
        }
    }

    /// radclient before it.
    pub(crate) fn radclient(&self) -> Radclient {
        Radclient::to(self.port)
    }

    /// radclient before it, for accounting.
    pub(crate) fn accounting(&self) -> Radclient {
        Radclient::to(self.accounting)
    }
}

/// Whether somebody has this UDP port (proc(5)).
fn bound(port: u16) -> bool {
    let sockets = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    sockets.contains(&format!("0100007F:{port:04X} "))
}
