//! A private OpenLDAP server with ppolicy and memberOf.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use data_encoding::BASE64;
use nix::sys::signal::Signal;
use sha1::{Digest as _, Sha1};
use tempfile::TempDir;

use super::certificates::Certificates;
use super::clients::ldap_command;
use super::process::{Process, free_port, listening, run, text as text_of, until};

pub(crate) const SUFFIX: &str = "dc=example,dc=org";
pub(crate) const SERVICE_DN: &str = "cn=svc,dc=example,dc=org";
pub(crate) const SERVICE_PASSWORD: &str = "svcpw";
/// As `slapd.conf` says.
const ADMIN_DN: &str = "cn=admin,dc=example,dc=org";
const ADMIN_PASSWORD: &str = "adminpw";
/// Wrong passwords that the directory's own policy allows: more than Portcullis does.
const LOCKED_AFTER: usize = 10;

/// `user00007`
pub(crate) fn user(number: usize) -> String {
    format!("user{number:05}")
}

/// The password of that user: `pw00007`
pub(crate) fn password(number: usize) -> String {
    format!("pw{number:05}")
}

/// The distinguished name of that user.
pub(crate) fn user_dn(number: usize) -> String {
    format!("uid={},ou=people,{SUFFIX}", user(number))
}

/// Group 0 to 9: its members are the users whose number ends in that digit.
pub(crate) fn group_dn(group: usize) -> String {
    format!("cn=group{group},ou=groups,{SUFFIX}")
}

/// The server. Its files are in a folder that goes with it.
pub(crate) struct Slapd {
    folder: TempDir,
    process: Option<Process>,
    port: u16,
    tls_port: u16,
    certificates: Certificates,
}

impl Slapd {
    /// Starts a server with users 1 to `users`.
    pub(crate) fn start(users: usize) -> Self {
        Self::serving(CONFIGURATION, &[&ldif(users)])
    }

    /// Starts a server with users 1 to `users`, where the service account may change accounts, and new passwords
    /// have 8 characters and are none of the last three.
    pub(crate) fn writable(users: usize) -> Self {
        Self::aging(users, &[])
    }

    /// The same, where the passwords of some users have expired.
    pub(crate) fn aging(users: usize, expired: &[usize]) -> Self {
        let service = "by dn.exact=\"cn=svc,dc=example,dc=org\" write by";
        let configuration = CONFIGURATION
            .replace("by self =xw by", &format!("{service} self =xw by"))
            .replace("by self write by", &format!("{service} self write by"));
        let mut entries = ldif(users).replace(
            "pwdMinLength: 5",
            "pwdMinLength: 8\npwdInHistory: 3\npwdCheckQuality: 2\npwdMaxAge: 31536000",
        );
        // Who has no such time has a password that never expires.
        for number in expired {
            let entry = format!("dn: {}\n", user_dn(*number));
            entries = entries.replace(&entry, &format!("{entry}pwdChangedTime: 20000101000000Z\n"));
        }
        Self::serving(&configuration, &[&entries])
    }

    /// Starts a server with users 1 to `users`, where the service account may write passwords and nothing else.
    pub(crate) fn resetting(users: usize) -> Self {
        let service = "by dn.exact=\"cn=svc,dc=example,dc=org\" =xw by self =xw by";
        Self::serving(&CONFIGURATION.replace("by self =xw by", service), &[&ldif(users)])
    }

    /// Starts a server with a configuration of its own for the suffix `dc=example,dc=org`, and LDIF texts.
    ///
    /// `@DIR@` stands for a folder with `data`, and with `authority.pem`, `server.pem` and `server.key`.
    pub(crate) fn serving(configuration: &str, entries: &[&str]) -> Self {
        let mut slapd = Self::filled(configuration, entries);
        slapd.start_again();
        slapd
    }

    /// Starts two servers like [`Slapd::serving`] that cannot be told apart: the second has a copy of the first's
    /// database, so that entryUUIDs, times and change numbers are the same.
    pub(crate) fn twins(configuration: &str, entries: &[&str]) -> (Self, Self) {
        let (mut one, mut other) = (Self::filled(configuration, entries), Self::filled(configuration, &[]));
        let data = |slapd: &Self| slapd.folder.path().join("data/data.mdb");
        fs::copy(data(&one), data(&other)).expect("copying the database");
        one.start_again();
        other.start_again();
        (one, other)
    }

    /// A server with its entries, not started.
    fn filled(configuration: &str, entries: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificates = Certificates::make(folder.path());
        let path = folder.path();
        fs::create_dir(path.join("data")).expect("a folder");
        let configuration = configuration.replace("@DIR@", &path.display().to_string());
        fs::write(path.join("slapd.conf"), configuration).expect("writing slapd.conf");
        for text in entries {
            fs::write(path.join("entries.ldif"), text).expect("writing the LDIF");
            let mut add = Command::new("/usr/sbin/slapadd");
            add.arg("-q").arg("-w").arg("-f").arg(path.join("slapd.conf"));
            add.arg("-l").arg(path.join("entries.ldif")).args(["-b", SUFFIX]);
            let output = run(&mut add, "");
            assert!(output.status.success(), "slapadd: {}", text_of(&output));
        }
        Self {
            folder,
            process: None,
            port: free_port(),
            tls_port: free_port(),
            certificates,
        }
    }

    /// Starts the same server, on the same ports with the same data, after [`Slapd::kill`].
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new("/usr/sbin/slapd");
        command.arg("-f").arg(self.folder.path().join("slapd.conf"));
        command.args(["-h", &format!("{} {}", self.url(), self.tls_url()), "-d", "0"]);
        let mut process = Process::start(&command, &self.folder.path().join("slapd.log"));
        until("slapd listens", || {
            assert!(process.ended().is_none(), "slapd ended: {}", process.log());
            listening(self.port) && listening(self.tls_port)
        });
        self.process = Some(process);
    }

    /// Ends it: from now on connections are refused.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Has it shut down as an operator does (SIGTERM), and waits until it has.
    pub(crate) fn terminate(&mut self) {
        let mut process = self.process.take().expect("slapd runs");
        process.signal(Signal::SIGTERM);
        process.wait();
    }

    /// Halts it (SIGSTOP): connections are accepted by the kernel, and nothing ever comes back.
    pub(crate) fn halt(&self) {
        let process = self.process.as_ref().expect("slapd runs");
        process.signal(Signal::SIGSTOP);
        // Its threads halt one after the other.
        until("slapd is halted", || process.is_halted());
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.process.as_ref().expect("slapd runs").signal(Signal::SIGCONT);
    }

    /// Where it listens without TLS.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    pub(crate) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// How many wrong passwords the directory's own policy remembers of a user.
    pub(crate) fn failures(&self, number: usize) -> usize {
        let mut command = ldap_command("ldapsearch", &self.url(), ADMIN_DN, ADMIN_PASSWORD);
        command.args(["-LLL", "-s", "base", "-b", &user_dn(number), "pwdFailureTime"]);
        let output = run(&mut command, "");
        assert!(output.status.success(), "ldapsearch: {}", text_of(&output));
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        found.lines().filter(|line| line.starts_with("pwdFailureTime:")).count()
    }

    /// Changes entries as the directory's administrator, by LDIF.
    pub(crate) fn modify(&self, changes: &str) {
        let output = run(
            &mut ldap_command("ldapmodify", &self.url(), ADMIN_DN, ADMIN_PASSWORD),
            changes,
        );
        assert!(output.status.success(), "ldapmodify: {}", text_of(&output));
    }

    /// Makes the directory demand a new password of a user, who can still bind (a bind that succeeds,
    /// with a control that says so).
    pub(crate) fn require_change(&self, number: usize) {
        self.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: pwdReset\npwdReset: TRUE\n",
            user_dn(number)
        ));
    }
}

const CONFIGURATION: &str = include_str!("slapd.conf");

fn ldif(users: usize) -> String {
    let mut text = format!(
        "dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n\
         dn: ou=people,{SUFFIX}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=groups,{SUFFIX}\nobjectClass: organizationalUnit\nou: groups\n\n\
         dn: ou=policies,{SUFFIX}\nobjectClass: organizationalUnit\nou: policies\n\n\
         dn: cn=default,ou=policies,{SUFFIX}\nobjectClass: applicationProcess\nobjectClass: pwdPolicy\ncn: default\n\
         pwdAttribute: userPassword\npwdLockout: TRUE\npwdMaxFailure: {LOCKED_AFTER}\npwdLockoutDuration: 300\n\
         pwdFailureCountInterval: 900\npwdMustChange: TRUE\npwdAllowUserChange: TRUE\npwdMinLength: 5\n\n\
         dn: {SERVICE_DN}\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\ncn: svc\n\
         userPassword: {}\n\n",
        hash(SERVICE_PASSWORD)
    );
    for number in 1..=users {
        // slapadd does not run the overlay, so the back link is given.
        let _ = write!(
            text,
            "dn: {}\nobjectClass: inetOrgPerson\nuid: {}\ncn: User {number:05}\nsn: {number:05}\ngivenName: User\n\
             mail: {}@example.org\nuserPassword: {}\nmemberOf: {}\n\n",
            user_dn(number),
            user(number),
            user(number),
            hash(&password(number)),
            group_dn(number % 10),
        );
    }
    for group in 0..10 {
        let members = (1..=users).filter(|number| number % 10 == group).map(user_dn);
        // A group must have a member: the service account, where no user falls into it.
        let members: Vec<String> = members.collect();
        let members = if members.is_empty() {
            vec![SERVICE_DN.to_owned()]
        } else {
            members
        };
        let _ = writeln!(
            text,
            "dn: {}\nobjectClass: groupOfNames\ncn: group{group}",
            group_dn(group)
        );
        for member in members {
            let _ = writeln!(text, "member: {member}");
        }
        text.push('\n');
    }
    text
}

/// `{SSHA}` with a fixed salt: these passwords protect nothing.
fn hash(password: &str) -> String {
    const SALT: &[u8] = b"portcullis";
    let digest = Sha1::new().chain_update(password).chain_update(SALT).finalize();
    format!("{{SSHA}}{}", BASE64.encode(&[digest.as_slice(), SALT].concat()))
}
