//! FreeRADIUS as others run it before a server that knows no EAP: it ends the TLS tunnels of PEAP and TTLS,
//! and asks a home server what the tunnels carry. Beside that it judges MS-CHAPv2 itself, for comparison.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::certificates::Certificates;
use super::process::{Process, free_port, run, text, until};
use super::radclient::{Radclient, SECRET};

/// Whom it knows by itself.
pub(crate) const OWN_USER: &str = "User";
/// Their password: that of RFC 2759 section 9.2.
pub(crate) const OWN_PASSWORD: &str = "clientPass";

/// A running FreeRADIUS.
pub(crate) struct EapServer {
    folder: TempDir,
    process: Process,
    tunnels: u16,
    own: u16,
    certificates: Certificates,
}

/// What a supplicant speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Supplicant<'a> {
    /// `PEAP` or `TTLS`.
    pub(crate) outer: &'a str,
    /// `auth=MSCHAPV2`, `auth=CHAP`, …
    pub(crate) inner: &'a str,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

impl EapServer {
    /// Starts it before the RADIUS server on the loopback port `home`, which it asks from `address`.
    pub(crate) fn before(home: u16, address: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificates = Certificates::make(folder.path());
        let (tunnels, own) = (free_port(), free_port());
        let configuration = configuration(folder.path(), &certificates, (address, home), tunnels, own);
        fs::write(folder.path().join("radiusd.conf"), configuration).expect("a configuration");
        let mut command = Command::new("/usr/sbin/freeradius");
        command.args(["-f", "-d"]).arg(folder.path());
        command.arg("-l").arg(folder.path().join("radius.log"));
        let mut process = Process::start(&command, &folder.path().join("output.log"));
        until("FreeRADIUS serves", || {
            assert!(process.ended().is_none(), "FreeRADIUS ended: {}", log(folder.path()));
            log(folder.path()).contains("Ready to process requests")
        });
        Self {
            folder,
            process,
            tunnels,
            own,
            certificates,
        }
    }

    /// The port where it judges by itself.
    pub(crate) fn own_port(&self) -> u16 {
        self.own
    }

    /// radclient before its own judgement.
    pub(crate) fn own(&self) -> Radclient {
        Radclient::to(self.own)
    }

    /// One login of a supplicant: whether it ended in success, the supplicant having found everything right,
    /// and what it printed.
    pub(crate) fn login(&self, supplicant: Supplicant<'_>) -> (bool, String) {
        let Supplicant {
            outer,
            inner,
            user,
            password,
        } = supplicant;
        let network = format!(
            "network={{\n ssid=\"x\"\n key_mgmt=WPA-EAP\n eap={outer}\n identity=\"{user}\"\n \
             anonymous_identity=\"anonymous\"\n password=\"{password}\"\n phase2=\"{inner}\"\n ca_cert=\"{}\"\n}}\n",
            self.certificates.authority.display()
        );
        let file = self.folder.path().join(format!("{outer}.conf"));
        fs::write(&file, network).expect("a supplicant's configuration");
        let mut command = Command::new("eapol_test");
        command.args(["-t", "20", "-a", "127.0.0.1", "-s", SECRET]);
        command.args(["-p", &self.tunnels.to_string(), "-c"]).arg(&file);
        let output = run(&mut command, "");
        (output.status.success(), text(&output))
    }
}

impl Drop for EapServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- FreeRADIUS: {}", log(self.folder.path()));
        }
        self.process.signal(Signal::SIGTERM);
    }
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("radius.log")).unwrap_or_default()
}

fn configuration(
    folder: &Path,
    certificates: &Certificates,
    (address, home): (&str, u16),
    tunnels: u16,
    own: u16,
) -> String {
    let folder = folder.display();
    let (chain, key) = (certificates.chain.display(), certificates.key.display());
    format!(
        r#"
prefix = /usr
raddbdir = {folder}
libdir = /usr/lib/freeradius
run_dir = {folder}
pidfile = {folder}/freeradius.pid
name = freeradius
max_request_time = 30
log {{
  destination = files
  file = {folder}/radius.log
}}
security {{
  reject_delay = 0
}}
proxy_requests = yes
proxy server {{
}}
home_server portcullis {{
  type = auth
  ipaddr = 127.0.0.1
  port = {home}
  secret = {SECRET}
  src_ipaddr = {address}
  response_window = 10
  status_check = none
}}
home_server_pool portcullis {{
  home_server = portcullis
}}
realm portcullis {{
  auth_pool = portcullis
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
  eap {{
    default_eap_type = peap
    tls-config common {{
      private_key_file = {key}
      certificate_file = {chain}
      tls_min_version = "1.2"
      tls_max_version = "1.2"
      ecdh_curve = ""
    }}
    ttls {{
      tls = common
      default_eap_type = mschapv2
      virtual_server = inner
    }}
    peap {{
      tls = common
      default_eap_type = mschapv2
      proxy_tunneled_request_as_eap = no
      virtual_server = inner
    }}
    mschapv2 {{
    }}
  }}
  mschap {{
  }}
}}
server tunnels {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {tunnels}
  }}
  authorize {{
    eap
  }}
  authenticate {{
    eap
  }}
  post-proxy {{
    eap
  }}
}}
server inner {{
  authorize {{
    update control {{
      &Proxy-To-Realm := portcullis
    }}
  }}
  authenticate {{
    eap
  }}
  post-proxy {{
    eap
  }}
}}
server own {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {own}
  }}
  authorize {{
    if (&User-Name == "{OWN_USER}") {{
      update control {{
        &Cleartext-Password := "{OWN_PASSWORD}"
      }}
    }}
    mschap
  }}
  authenticate {{
    mschap
  }}
}}
"#
    )
}
