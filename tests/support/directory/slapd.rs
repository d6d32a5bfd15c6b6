//! A private slapd on loopback, with ppolicy, memberOf and certificates of its own; ended when dropped.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A running server.
pub(crate) struct Slapd {
    child: Option<Child>,
    folder: TempDir,
    pub(crate) ldap: u16,
    pub(crate) ldaps: u16,
}

impl Slapd {
    /// Starts one with the people of `people.ldif` and `policies.ldif`.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/directory");
        let configuration = fs::read_to_string(support.join("slapd.conf")).unwrap();
        let configuration = configuration.replace("@DIR@", folder.path().to_str().unwrap());
        fs::write(folder.path().join("slapd.conf"), configuration).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        make_certificates(folder.path());
        for file in ["people.ldif", "policies.ldif"] {
            let mut load = Command::new("/usr/sbin/slapadd");
            load.arg("-f").arg(folder.path().join("slapd.conf"));
            load.arg("-l").arg(support.join(file));
            let output = load.output().expect("slapd is installed (tests/run does that)");
            assert!(
                output.status.success(),
                "{file}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let mut slapd = Self {
            child: None,
            folder,
            ldap: free_port(),
            ldaps: free_port(),
        };
        slapd.start_again();
        // The overlay fills memberOf when a member is added to the running server.
        slapd.modify(
            "dn: cn=staff,ou=groups,dc=example,dc=org\nchangetype: modify\n\
             delete: member\nmember: uid=ana,ou=people,dc=example,dc=org\n-\n\
             add: member\nmember: uid=ana,ou=people,dc=example,dc=org\n",
        );
        slapd
    }

    /// Starts the process on the same ports with the same data.
    pub(crate) fn start_again(&mut self) {
        let child = Command::new("/usr/sbin/slapd")
            .arg("-h")
            .arg(format!(
                "ldap://127.0.0.1:{} ldaps://127.0.0.1:{}",
                self.ldap, self.ldaps
            ))
            .arg("-f")
            .arg(self.folder.path().join("slapd.conf"))
            .args(["-d", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        for port in [self.ldap, self.ldaps] {
            for _ in 0..500 {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Ends the process.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A stopped process is killed as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process with SIGSTOP: it still accepts connections (the kernel does), and answers nothing.
    pub(crate) fn stall(&self) {
        let id = self.signal(Signal::SIGSTOP);
        // Its threads stop one after the other.
        let stopped = |task: std::io::Result<fs::DirEntry>| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        };
        for _ in 0..500 {
            if fs::read_dir(format!("/proc/{id}/task")).unwrap().all(stopped) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the server does not stop");
    }

    /// Lets a stalled process go on.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) -> i32 {
        let id = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
        id
    }

    /// Applies LDIF changes as the administrator.
    pub(crate) fn modify(&self, ldif: &str) {
        let file = self.folder.path().join("change.ldif");
        fs::write(&file, ldif).unwrap();
        let output = Command::new("ldapmodify")
            .args(["-x", "-H", &format!("ldap://127.0.0.1:{}", self.ldap)])
            .args(["-D", "cn=admin,dc=example,dc=org", "-w", "adminpw", "-f"])
            .arg(&file)
            .output()
            .expect("ldap-utils are installed (tests/run does that)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The authority that the server's certificate is from.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// `ca.pem`, and `server.pem` with `server.key` for `ldap.example.org` and 127.0.0.1.
pub(crate) fn make_certificates(folder: &Path) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "Test CA");
    let certificate = authority.self_signed(&authority_key).unwrap();
    fs::write(folder.join("ca.pem"), certificate.pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);

    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["ldap.example.org".to_owned(), "127.0.0.1".to_owned()];
    let server = rcgen::CertificateParams::new(names).unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}
