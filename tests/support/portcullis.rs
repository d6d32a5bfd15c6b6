//! The built binary as an installation of its own: configuration, policies, key, state, CLI.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

use nix::sys::signal::Signal;
use portcullis::keyring::Keyring;
use serde_json::Value;
use tempfile::TempDir;

use super::certificates::Certificates;
use super::process::{Process, free_port, run, text, until};
use super::radclient::{Radclient, SECRET};
use super::slapd::{SERVICE_DN, SERVICE_PASSWORD, SUFFIX, Slapd};

/// Loopback addresses of RADIUS clients, one for each profile.
pub(crate) const DIALOG: &str = "127.0.0.1";
pub(crate) const APPEND: &str = "127.0.0.2";
pub(crate) const PASSWORD_ONLY: &str = "127.0.0.3";
/// The client whose users are in the second directory, where there is one.
pub(crate) const OTHER: &str = "127.0.0.4";

/// What the tests' own policy says: the service decides what is asked for.
const POLICY: &str = r#"
[[rule]]
name = "service accounts"
when = { dn_suffix = ["cn=svc,dc=example,dc=org"], protocol = ["ldap"] }
require = "password"

[[rule]]
name = "two factors"
when = { service = ["vpn", "append", "wiki"] }
require = { all = ["password", { any = ["totp", "hotp", "recovery-code", "passcode"] }] }

[[rule]]
name = "password alone"
when = { service = ["door", "other"] }
require = "password"
"#;

/// An installation; everything goes with it.
pub(crate) struct Portcullis {
    folder: TempDir,
    process: Option<Process>,
    radius: u16,
    ldap: u16,
    ldaps: u16,
    certificates: Certificates,
}

impl Portcullis {
    /// An installation in front of `main`, not started.
    pub(crate) fn install(main: &Slapd) -> Self {
        Self::install_with(main, None)
    }

    /// An installation in front of two directories, not started.
    pub(crate) fn install_between(main: &Slapd, other: &Slapd) -> Self {
        Self::install_with(main, Some(other))
    }

    /// An installation in front of `main`, serving.
    pub(crate) fn start(main: &Slapd) -> Self {
        let mut site = Self::install(main);
        site.serve();
        site
    }

    fn install_with(main: &Slapd, other: Option<&Slapd>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        let certificates = Certificates::make(path);
        fs::create_dir(path.join("policies")).expect("a folder");
        fs::create_dir(path.join("state")).expect("a folder");
        Keyring::create(&path.join("state/portcullis.key")).expect("a key file");
        let site = Self {
            process: None,
            radius: free_port(),
            ldap: free_port(),
            ldaps: free_port(),
            certificates,
            folder,
        };
        let mut configuration = site.configuration();
        configuration.push_str(&directory("main", main));
        if let Some(other) = other {
            configuration.push_str(&directory("other", other));
            configuration.push_str(&client("other", OTHER, "none", "directory = \"other\""));
        }
        site.configure(&configuration);
        site.write_policy(POLICY);
        site
    }

    fn configuration(&self) -> String {
        let Self {
            radius, ldap, ldaps, ..
        } = self;
        let chain = self.certificates.chain.display();
        let key = self.certificates.key.display();
        let listeners = format!(
            r#"
[node]
name = "test"
state = "state"

[log]
level = "portcullis=debug,info"

[[radius]]
listen = "127.0.0.1:{radius}"

[[ldap]]
name = "wiki"
listen = "127.0.0.1:{ldap}"
tls = "starttls"
certificate = "{chain}"
key = "{key}"
allow_plaintext = true
directory = "main"

[[ldap]]
name = "wiki-tls"
service = "wiki"
listen = "127.0.0.1:{ldaps}"
certificate = "{chain}"
key = "{key}"
directory = "main"
"#
        );
        [
            listeners,
            client(
                "vpn",
                DIALOG,
                "dialog",
                "directory = \"main\"\nrequire_message_authenticator = \"no\"",
            ),
            client("append", APPEND, "append", "directory = \"main\""),
            client("door", PASSWORD_ONLY, "none", "directory = \"main\""),
        ]
        .concat()
    }

    /// Starts it and waits until it serves.
    pub(crate) fn serve(&mut self) {
        let mut command = self.command();
        command.args(["serve", "-c"]).arg(self.configuration_file());
        let mut process = Process::start(&command, &self.path("portcullis.log"));
        let status = || self.cli(&["status", "--json"]).status.success();
        until("portcullis serves", || {
            assert!(process.ended().is_none(), "portcullis ended: {}", process.log());
            self.path("state/admin.sock").exists() && status()
        });
        self.process = Some(process);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// `kill -9`, then starts it on the same ports with the same state.
    pub(crate) fn kill_and_serve(&mut self) {
        self.kill();
        self.serve();
    }

    /// Sends SIGTERM, and waits until it has ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("portcullis runs");
        process.signal(Signal::SIGTERM);
        process.wait()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("portcullis runs").signal(signal);
    }

    /// The resident memory of the server, in octets.
    pub(crate) fn resident(&self) -> usize {
        self.process.as_ref().expect("portcullis runs").resident()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("portcullis.log")).unwrap_or_default()
    }

    /// A file of the installation.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn configuration_file(&self) -> PathBuf {
        self.path("portcullis.toml")
    }

    /// Replaces the configuration file.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.configuration_file(), text).expect("writing the configuration");
    }

    /// Adds to the configuration file, and to the policy before its other rules.
    pub(crate) fn add(&self, configuration: &str, rules: &str) {
        let read = |path: &Path| fs::read_to_string(path).expect("a file of the installation");
        self.configure(&format!("{}\n{configuration}", read(&self.configuration_file())));
        let policy = read(&self.path("policies/10-test.toml"));
        self.write_policy(&format!("{rules}\n{policy}"));
    }

    /// Replaces the one policy file.
    pub(crate) fn write_policy(&self, text: &str) {
        fs::write(self.path("policies/10-test.toml"), text).expect("writing the policy");
    }

    /// The RADIUS port.
    pub(crate) fn radius(&self) -> u16 {
        self.radius
    }

    /// radclient, sending from one of the clients' addresses.
    pub(crate) fn radclient(&self, client: &'static str) -> Radclient {
        Radclient::to(self.radius).from(client)
    }

    /// Where applications bind without TLS, or with StartTLS.
    pub(crate) fn ldap_url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.ldap)
    }

    /// The same without its scheme.
    pub(crate) fn ldap_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ldap).into()
    }

    /// Where applications bind with TLS.
    pub(crate) fn ldaps_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.ldaps)
    }

    pub(crate) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The binary, in the installation's folder.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.current_dir(self.folder.path()).env("NO_COLOR", "1");
        command
    }

    /// The CLI, speaking to this installation's admin socket.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_with(arguments, "")
    }

    /// The same with something on its standard input.
    pub(crate) fn cli_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command();
        command
            .args(arguments)
            .arg("--socket")
            .arg(self.path("state/admin.sock"));
        run(&mut command, input)
    }

    /// What the CLI says in JSON; it must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?} printed no JSON ({error}): {}", text(&output)))
    }

    /// Enrols a TOTP token for a user and returns its seed in base32.
    pub(crate) fn enrol(&self, user: &str) -> String {
        self.enrol_with(&[user])
    }

    /// The same for a user of one of two directories.
    pub(crate) fn enrol_in(&self, directory: &str, user: &str) -> String {
        self.enrol_with(&[user, "--directory", directory])
    }

    fn enrol_with(&self, arguments: &[&str]) -> String {
        let enrolled = self.json(&[&["token", "enrol"], arguments].concat());
        let uri = find(&enrolled, "uri").and_then(Value::as_str).expect("an otpauth URI");
        let (_, rest) = uri.split_once("secret=").expect("a secret in the URI");
        rest.split('&').next().unwrap_or(rest).to_owned()
    }

    /// The audit's records as text, oldest first.
    pub(crate) fn audit(&self) -> Vec<String> {
        let found = self.json(&["audit", "tail", "-n", "1000"]);
        let records = found.as_array().or_else(|| find(&found, "records")?.as_array());
        records
            .expect("a list of records")
            .iter()
            .map(Value::to_string)
            .collect()
    }
}

fn directory(name: &str, slapd: &Slapd) -> String {
    let (url, authority) = (slapd.tls_url(), slapd.certificates().authority.display());
    format!(
        r#"
[[directory]]
name = "{name}"
kind = "ldap"
urls = ["{url}"]
ca_file = "{authority}"
bind_dn = "{SERVICE_DN}"
bind_password = "{SERVICE_PASSWORD}"
base_dn = "{SUFFIX}"
filter = "(|(objectClass=person)(objectClass=simpleSecurityObject))"
"#
    )
}

fn client(name: &str, address: &str, profile: &str, rest: &str) -> String {
    format!(
        "\n[[client]]\nname = \"{name}\"\naddress = [\"{address}\"]\nsecret = \"{SECRET}\"\nprofile = \"{profile}\"\nreject_delay = \"10ms\"\n{rest}\n"
    )
}

/// The value of a key, wherever in a document it stands.
pub(crate) fn find<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    if let Some(object) = value.as_object() {
        return object
            .get(key)
            .or_else(|| object.values().find_map(|inner| find(inner, key)));
    }
    value.as_array()?.iter().find_map(|inner| find(inner, key))
}
