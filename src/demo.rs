//! The demonstration: everything on loopback, in a folder of its own, with made-up people.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::accounts::{AccountError, Actor, TokenWish};
use crate::cli::qr;
use crate::clock;
use crate::directory::local::hash_password;
use crate::engine::authenticator::oath::{Generator, step};
use crate::engine::record::Algorithm;
use crate::secret::Secret;
use crate::server::{Server, StartError};

/// A prepared demonstration.
#[derive(Debug)]
pub struct Demo {
    folder: PathBuf,
}

/// Why the demonstration did not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file of the folder cannot be written or read.
    #[error("{0}")]
    File(PathBuf, #[source] io::Error),
    /// The certificates cannot be made.
    #[error("cannot make certificates")]
    Certificate(#[from] rcgen::Error),
    /// The server does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Ana's token cannot be enrolled.
    #[error("cannot enrol the demonstration's token")]
    Enrol(#[from] AccountError),
    /// Ana's token was enrolled by other means than the demonstration.
    #[error("{0} does not hold an otpauth URI; remove the folder to start afresh")]
    NoSeed(PathBuf),
}

const SECRET: &str = "portcullis-demo-secret";
const RADIUS: &str = "127.0.0.1:11812";
const LDAP: &str = "127.0.0.1:11389";
const LDAPS: &str = "127.0.0.1:11636";
const METRICS: &str = "127.0.0.1:19464";

/// Login name, password, common name, and what can be tried with them.
const PEOPLE: [(&str, &str, &str, &str); 3] = [
    (
        "ana",
        "correct-horse",
        "Ana Sample",
        "has an authenticator: password and code",
    ),
    (
        "ben",
        "battery-staple",
        "Ben Sample",
        "has none yet: enrols one at the first login over RADIUS",
    ),
    (
        "svc-wiki",
        "wiki-service-secret",
        "Wiki Service",
        "the wiki's own account: a password is enough, over LDAP only",
    ),
];

const ANA_FILE: &str = "ana.otpauth";

impl Demo {
    /// Makes the folder and what is missing in it. Blocks.
    ///
    /// # Errors
    /// [`DemoError::File`] and [`DemoError::Certificate`].
    pub fn prepare(folder: &Path) -> Result<Self, DemoError> {
        let at = |error| DemoError::File(folder.to_owned(), error);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(at)?;
        let demo = Self {
            folder: fs::canonicalize(folder).map_err(at)?,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .create(demo.path("policies/workflows"))
            .map_err(at)?;
        demo.write_once("users.ldif", ldif)?;
        demo.write_once("policies/demo.toml", || POLICY.to_owned())?;
        demo.write_once("policies/workflows/recover.toml", || RECOVER.to_owned())?;
        demo.write_once("portcullis.toml", configuration)?;
        demo.write_certificates()?;
        Ok(demo)
    }

    /// Runs until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn run(self) -> Result<(), DemoError> {
        let server = Server::start(&self.path("portcullis.toml")).await?;
        let uri = self.enrol_ana(&server).await?;
        self.introduce(&uri)?;
        let folder = self.folder.clone();
        server.run().await.map_err(|error| DemoError::File(folder, error))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file, readable by its owner only, unless it is there.
    fn write_once(&self, name: &str, content: impl FnOnce() -> String) -> Result<(), DemoError> {
        let path = self.path(name);
        if path.exists() {
            return Ok(());
        }
        let failed = |error| DemoError::File(path.clone(), error);
        // Under another name first: a start that was broken off leaves no half file behind.
        let draft = path.with_extension("draft");
        let options = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft);
        let mut file = options.map_err(failed)?;
        file.write_all(content().as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        fs::rename(&draft, &path).map_err(failed)
    }

    fn write_certificates(&self) -> Result<(), DemoError> {
        if self.path("server.pem").exists() {
            return Ok(());
        }
        let authority_key = rcgen::KeyPair::generate()?;
        let mut authority = rcgen::CertificateParams::new(Vec::new())?;
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Portcullis demo authority");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let certificate = authority.self_signed(&authority_key)?;
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let server_key = rcgen::KeyPair::generate()?;
        let mut server = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        server.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
        server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let signed = server.signed_by(&server_key, &issuer)?;
        for name in ["ca.pem", "server.key"] {
            // Left over from a start that was broken off; the certificate comes last.
            let _ = fs::remove_file(self.path(name));
        }
        self.write_once("ca.pem", || certificate.pem())?;
        self.write_once("server.key", || server_key.serialize_pem())?;
        self.write_once("server.pem", || signed.pem())
    }

    /// Enrols ana's authenticator at the first start; finds it again later.
    async fn enrol_ana(&self, server: &Server) -> Result<Secret, DemoError> {
        let accounts = server.accounts();
        let ana = accounts.resolve("ana", None).await?;
        let path = self.path(ANA_FILE);
        let enrolled = !accounts.show(&ana, clock::now()).await?.tokens.is_empty();
        if enrolled && path.exists() {
            return read_uri(&path);
        }
        let wish = TokenWish {
            label: Some("demo".into()),
            issuer: "Portcullis demo".into(),
            ..TokenWish::default()
        };
        let uri = accounts.enrol(&ana, &wish, Actor::now("demo")).await?.uri;
        let _ = fs::remove_file(&path);
        self.write_once(ANA_FILE, || format!("{uri}\n"))?;
        Ok(Secret::new(uri))
    }

    /// Prints who there is and what to try.
    fn introduce(&self, uri: &Secret) -> Result<(), DemoError> {
        let mut out = String::new();
        let program = program();
        let folder = self.folder.display();
        let socket = self.path("state/admin.sock");
        let code = format!("$({program} demo --folder {folder} --code)");
        let text = (|| -> std::fmt::Result {
            writeln!(out, "\nPortcullis runs on loopback. Everything is kept in {folder}\n")?;
            writeln!(out, "  RADIUS        {RADIUS}  shared secret {SECRET}")?;
            writeln!(
                out,
                "  LDAP          {LDAP} (StartTLS), {LDAPS} (TLS), authority {folder}/ca.pem"
            )?;
            writeln!(out, "  metrics       http://{METRICS}/metrics\n")?;
            for (login, password, _, what) in PEOPLE {
                writeln!(out, "  {login:<9} password {password:<20} {what}")?;
            }
            writeln!(
                out,
                "\nScan ana's authenticator into an app, or let `{program} demo --folder {folder} --code` show its codes:\n"
            )?;
            if let Some(uri) = uri.expose_str() {
                match qr::blocks(uri) {
                    Ok(picture) => writeln!(out, "{picture}")?,
                    Err(error) => writeln!(out, "({error})")?,
                }
                writeln!(out, "{uri}\n")?;
            }
            writeln!(
                out,
                "Try, in another terminal (each code works once, a new one comes every 30 s):\n"
            )?;
            writeln!(out, "# a VPN login as people see it: password, then the code")?;
            writeln!(out, "{program} login radius {RADIUS} --secret {SECRET} --user ana\n")?;
            writeln!(out, "# locked out? type ?recover in place of the password, then a code")?;
            writeln!(out, "{program} login radius {RADIUS} --secret {SECRET} --user ana\n")?;
            writeln!(out, "# ben enrols an authenticator while logging in")?;
            writeln!(out, "{program} login radius {RADIUS} --secret {SECRET} --user ben\n")?;
            writeln!(
                out,
                "# an application that binds: the code behind the password, after a comma"
            )?;
            writeln!(
                out,
                "{program} login ldap ldaps://{LDAPS} --ca-file {folder}/ca.pem --user uid=ana,ou=people,dc=demo\n"
            )?;
            writeln!(out, "# the same with the tools of FreeRADIUS and OpenLDAP")?;
            writeln!(
                out,
                "echo 'User-Name = ana, User-Password = correct-horse, Message-Authenticator = 0x00' | radclient -x {RADIUS} auth {SECRET}"
            )?;
            writeln!(
                out,
                "LDAPTLS_CACERT={folder}/ca.pem ldapwhoami -x -H ldaps://{LDAPS} -D uid=ana,ou=people,dc=demo -w \"correct-horse,{code}\"\n"
            )?;
            writeln!(out, "# what an administrator sees")?;
            writeln!(out, "export PORTCULLIS_SOCKET={}", socket.display())?;
            writeln!(out, "{program} status")?;
            writeln!(out, "{program} audit tail")?;
            writeln!(out, "{program} policy explain ana --client vpn")?;
            writeln!(out, "{program} token list ben\n")?;
            writeln!(out, "Ctrl-C ends it; the next start finds everything again.\n")
        })();
        let mut stdout = io::stdout().lock();
        text.map_err(io::Error::other)
            .and_then(|()| stdout.write_all(out.as_bytes()))
            .and_then(|()| stdout.flush())
            .map_err(|error| DemoError::File(self.folder.clone(), error))
    }
}

/// Prints the code that ana's authenticator shows now.
///
/// # Errors
/// When the folder has no demonstration in it.
pub fn print_code(folder: &Path) -> Result<(), DemoError> {
    let path = folder.join(ANA_FILE);
    let uri = read_uri(&path)?;
    let seed = uri
        .expose_str()
        .and_then(|uri| uri.split_once("secret=")?.1.split('&').next())
        .and_then(|seed| data_encoding::BASE32_NOPAD.decode(seed.trim().as_bytes()).ok())
        .ok_or_else(|| DemoError::NoSeed(path.clone()))?;
    let code = Generator::new(&Secret::new(seed), Algorithm::Sha1, 6).code(step(clock::now(), 30));
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(code.expose())
        .and_then(|()| stdout.write_all(b"\n"))
        .map_err(|error| DemoError::File(path, error))
}

fn read_uri(path: &Path) -> Result<Secret, DemoError> {
    fs::read_to_string(path)
        .map(|text| Secret::new(text.trim()))
        .map_err(|error| DemoError::File(path.to_owned(), error))
}

/// How this program was called, for commands to copy.
fn program() -> String {
    let exe = std::env::current_exe().unwrap_or_else(|_| "portcullis".into());
    let here = std::env::current_dir().unwrap_or_default();
    exe.strip_prefix(&here).unwrap_or(&exe).display().to_string()
}

fn ldif() -> String {
    let mut text = String::from(
        "version: 1\n\ndn: dc=demo\nobjectClass: domain\ndc: demo\n\n\
         dn: ou=people,dc=demo\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=groups,dc=demo\nobjectClass: organizationalUnit\nou: groups\n",
    );
    for (login, password, name, _) in PEOPLE {
        let surname = name.rsplit(' ').next().unwrap_or(name);
        let hash = hash_password(&Secret::new(password));
        text.push_str(&format!(
            "\ndn: uid={login},ou=people,dc=demo\nobjectClass: inetOrgPerson\nuid: {login}\ncn: {name}\nsn: {surname}\n\
             mail: {login}@demo.example\nuserPassword: {hash}\n"
        ));
    }
    text.push_str(
        "\ndn: cn=staff,ou=groups,dc=demo\nobjectClass: groupOfNames\ncn: staff\n\
         member: uid=ana,ou=people,dc=demo\nmember: uid=ben,ou=people,dc=demo\n",
    );
    text
}

const POLICY: &str = r#"# The demonstration's rules. The first one that matches decides; when none does, the answer is no.

[[rule]]
name = "the wiki's own account"
when = { protocol = ["ldap"], user = ["svc-wiki"], source = ["127.0.0.0/8"] }
require = "password"
user_failures = 0
audit = "failures"

[[rule]]
name = "staff"
when = { group = ["staff"] }
require = { all = ["password", { any = ["totp", "hotp", "recovery-code", "passcode"] }] }
enrol = "now"               # who has never had an authenticator enrols one at the login
enrol_unprotected = true    # nobody listens on loopback; elsewhere over TLS only
"#;

const RECOVER: &str = r#"# Somebody typed ?recover in place of the password. Without this file there would be security questions as well, and a
# new password to choose, which a directory that is a file cannot be given.
[workflow]
starts = "recover"
steps = [{ prove = ["totp", "recovery-code"] }, "unlock"]
ends = "reject"
"#;

fn configuration() -> String {
    format!(
        r#"# The demonstration. docs/configuration.md explains every key.

[node]
state = "state"

[metrics]
listen = "{METRICS}"

[policies]
path = "policies"

[[directory]]
name = "demo"
kind = "local"
ldif = "users.ldif"

[[radius]]
listen = "{RADIUS}"

[[client]]
name = "vpn"
address = ["127.0.0.1"]
secret = "{SECRET}"
profile = "dialog"
recover = true
require_message_authenticator = "auto"

[[ldap]]
name = "apps"
listen = "{LDAP}"
tls = "starttls"
certificate = "server.pem"
key = "server.key"

[[ldap]]
name = "apps-tls"
listen = "{LDAPS}"
tls = "ldaps"
certificate = "server.pem"
key = "server.key"
service = "apps"
"#
    )
}
