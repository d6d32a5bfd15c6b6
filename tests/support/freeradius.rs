//! FreeRADIUS as a server that is asked: one person, whose password it knows; a port that asks for a code
//! after the password; and RADIUS over TLS. This version signs no Access-Accept.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::pki::{Authority, Leaf};
use super::process::{Process, free_port, until};

/// What it shares with its clients.
pub(crate) const SHARED: &str = "shared-with-freeradius";
/// Whom it knows.
pub(crate) const ANA: &str = "ana";
pub(crate) const ANAS_PASSWORD: &str = "correct horse";
/// What she gets with her Access-Accept.
const GRANTED: &str = "\tFilter-Id := \"theirs\", Session-Timeout := 600, Class := 0x636c617373,\n\
    \tTunnel-Password:1 := \"swordfish\", MS-MPPE-Send-Key := 0x00112233445566778899aabbccddeeff,\n\
    \tCallback-Number := \"not passed on\"";
/// Somebody whom the directory knows as well, under another password.
pub(crate) const SHARED_USER: &str = "user00001";
/// What this server wants to hear of them.
pub(crate) const TOKEN: &str = "token-42";
/// What it wants to hear after the password.
pub(crate) const CODE: &str = "424242";

/// A server; everything goes with it.
pub(crate) struct FreeRadius {
    folder: TempDir,
    process: Option<Process>,
    /// Judges passwords.
    pub(crate) password: u16,
    /// Asks for the code after the password.
    pub(crate) challenge: u16,
    /// Judges passwords over TLS; wants a certificate of [`FreeRadius::client`]'s authority.
    pub(crate) tls: u16,
    /// A certificate to come with.
    pub(crate) client: Leaf,
    /// The authority of its own certificate.
    pub(crate) authority: PathBuf,
}

impl FreeRadius {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::make(folder.path(), "radius");
        let own = authority.server("server");
        let client = authority.client("client", &["localhost"], &[], 7);
        let mut server = Self {
            process: None,
            password: free_port(),
            challenge: free_port(),
            tls: free_port(),
            client,
            authority: authority.file(),
            folder,
        };
        let path = server.folder.path();
        fs::create_dir(path.join("raddb")).expect("a folder");
        let users = format!(
            "{ANA} Cleartext-Password := \"{ANAS_PASSWORD}\"\n{GRANTED}\n{SHARED_USER} Cleartext-Password := \"{TOKEN}\"\n"
        );
        fs::write(path.join("raddb/users"), users).expect("writing users");
        let text = CONFIGURATION
            .replace("@DIR@", &path.display().to_string())
            .replace("@SECRET@", SHARED)
            .replace("@CODE@", CODE)
            .replace("@PASSWORD@", &server.password.to_string())
            .replace("@CHALLENGE@", &server.challenge.to_string())
            .replace("@TLS@", &server.tls.to_string())
            .replace("@CHAIN@", &own.chain.display().to_string())
            .replace("@KEY@", &own.key.display().to_string())
            .replace("@CA@", &server.authority.display().to_string());
        fs::write(path.join("raddb/radiusd.conf"), text).expect("writing the configuration");
        server.serve();
        server
    }

    /// Starts it, and waits until it has its sockets.
    pub(crate) fn serve(&mut self) {
        let path = self.folder.path();
        let mut command = Command::new("/usr/sbin/freeradius");
        command.arg("-f").arg("-d").arg(path.join("raddb"));
        command.arg("-l").arg(path.join("radius.log"));
        let mut process = Process::start(&command, &path.join("freeradius.out"));
        let log = path.join("radius.log");
        until("FreeRADIUS serves", || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            assert!(process.ended().is_none(), "FreeRADIUS ended: {said}{}", process.log());
            let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, self.password)).is_err();
            taken && said.contains("Ready to process requests")
        });
        self.process = Some(process);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process = None;
        // The next one's readiness must not be read from the last one's log.
        let _ = fs::remove_file(self.folder.path().join("radius.log"));
    }
}

/// radsecproxy in front of a RADIUS server: TLS on one side, UDP on the other.
pub(crate) struct RadsecProxy {
    _process: Process,
    _folder: TempDir,
    pub(crate) port: u16,
    pub(crate) client: Leaf,
    pub(crate) authority: PathBuf,
}

impl RadsecProxy {
    /// Passes on to the UDP port `to` of loopback.
    pub(crate) fn start(to: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::make(folder.path(), "radsec");
        let own = authority.server("server");
        let client = authority.client("client", &["localhost"], &[], 7);
        let port = free_port();
        let text = format!(
            "ListenTLS 127.0.0.1:{port}\nLogLevel 3\n\
             tls default {{\n CACertificateFile {ca}\n CertificateFile {chain}\n CertificateKeyFile {key}\n}}\n\
             client nas {{\n host 127.0.0.1\n type tls\n secret radsec\n certificateNameCheck off\n}}\n\
             server behind {{\n host 127.0.0.1\n type udp\n port {to}\n secret {SHARED}\n}}\n\
             realm * {{\n server behind\n}}\n",
            ca = authority.file().display(),
            chain = own.chain.display(),
            key = own.key.display(),
        );
        let file = folder.path().join("radsecproxy.conf");
        fs::write(&file, text).expect("writing the configuration");
        let mut command = Command::new("/usr/sbin/radsecproxy");
        command.arg("-f").arg("-c").arg(&file);
        let mut process = Process::start(&command, &folder.path().join("radsecproxy.out"));
        until("radsecproxy listens", || {
            assert!(process.ended().is_none(), "radsecproxy ended: {}", process.log());
            super::process::listening(port)
        });
        Self {
            _process: process,
            port,
            client,
            authority: authority.file(),
            _folder: folder,
        }
    }
}

const CONFIGURATION: &str = r#"
prefix = /usr
localstatedir = @DIR@
logdir = @DIR@
raddbdir = @DIR@/raddb
confdir = ${raddbdir}
libdir = /usr/lib/freeradius
run_dir = @DIR@
pidfile = @DIR@/freeradius.pid
name = freeradius
max_request_time = 30
cleanup_delay = 2
hostname_lookups = no
log {
  destination = files
  file = @DIR@/radius.log
}
security {
  reject_delay = 0
  status_server = yes
}
proxy_requests = no
thread pool {
  start_servers = 2
  max_servers = 4
  min_spare_servers = 1
  max_spare_servers = 2
}
client loopback {
  ipaddr = 127.0.0.0/8
  secret = @SECRET@
  require_message_authenticator = yes
}
modules {
  pap {
  }
  always reject {
    rcode = reject
  }
  always handled {
    rcode = handled
  }
  always ok {
    rcode = ok
  }
  files {
    key = "%{User-Name}"
    usersfile = ${confdir}/users
  }
}
server password {
  listen {
    type = auth
    ipaddr = 127.0.0.1
    port = @PASSWORD@
  }
  authorize {
    files
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
  }
}
server challenge {
  listen {
    type = auth
    ipaddr = 127.0.0.1
    port = @CHALLENGE@
  }
  authorize {
    if (!State) {
      files
      update control {
        Auth-Type := First
      }
    } else {
      update control {
        Auth-Type := Second
      }
    }
  }
  authenticate {
    Auth-Type First {
      pap
      update session-state {
        Tmp-String-0 := "%{User-Name}"
      }
      update reply {
        Reply-Message := "Enter the code of your app"
      }
      update control {
        Response-Packet-Type := Access-Challenge
      }
      handled
    }
    Auth-Type Second {
      if (&session-state:Tmp-String-0 != "%{User-Name}") {
        reject
      }
      elsif (&User-Password == "@CODE@") {
        ok
      }
      else {
        reject
      }
    }
  }
}
listen {
  type = auth
  ipaddr = 127.0.0.1
  port = @TLS@
  proto = tcp
  virtual_server = password
  clients = radsec
  tls {
    private_key_file = @KEY@
    certificate_file = @CHAIN@
    ca_file = @CA@
    require_client_cert = yes
    tls_min_version = "1.2"
    tls_max_version = "1.3"
  }
}
clients radsec {
  client loopback {
    ipaddr = 127.0.0.0/8
    proto = tls
    secret = radsec
  }
}
"#;
