//! What the tests talk to beside slapd: a server that follows a script, and the front end itself.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use portcullis::config::LdapListener;
use portcullis::directory::{ConnectError, Directory, DirectoryStatus, Link, PasswordModify};
use portcullis::engine::authenticator::{Kind, KindSet};
use portcullis::engine::relayed::{Permit, RelayedChange, RelayedResult};
use portcullis::engine::request::LoginForm;
use portcullis::engine::{
    AuthnRequest, BoxFuture, Capability, Check, Denial, Given, Grant, LoginName, Lookup, Outage, PasswordOutcome,
    Person, UserKey, Verdict, Verify,
};
use portcullis::ldap::listener::{Service, serve};
use portcullis::metrics::Metrics;
use portcullis::secret::Secret;
use portcullis::tls::TlsServer;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A server that does with each connection what the test says.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
}

impl Scripted {
    pub(crate) fn start(script: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(script);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let script = Arc::clone(&script);
                thread::spawn(move || script(stream));
            }
        });
        Self { address }
    }
}

/// The front end with one listener.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) asked: Arc<AtomicUsize>,
    pub(crate) authority: PathBuf,
    shutdown: CancellationToken,
    served: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
    _folder: tempfile::TempDir,
}

/// A front end before it is started.
pub(crate) struct Setup {
    directory: Arc<dyn Directory>,
    lines: String,
    refuse_anyway: bool,
    accept_unasked: bool,
}

impl Setup {
    pub(crate) fn before(address: SocketAddr) -> Self {
        Self::with(Arc::new(Server(address)))
    }

    pub(crate) fn with(directory: Arc<dyn Directory>) -> Self {
        Self {
            directory,
            lines: "tls = \"none\"\nallow_plaintext = true\n".into(),
            refuse_anyway: false,
            accept_unasked: false,
        }
    }

    /// Lines of the listener's configuration, instead of `tls = "none"` and `allow_plaintext = true`.
    pub(crate) fn configured(mut self, lines: &str) -> Self {
        self.lines = lines.into();
        self
    }

    /// Further lines.
    pub(crate) fn and(mut self, line: &str) -> Self {
        self.lines.push_str(line);
        self.lines.push('\n');
        self
    }

    /// The verifier refuses although the directory found the password right.
    pub(crate) fn refusing_anyway(mut self) -> Self {
        self.refuse_anyway = true;
        self
    }

    /// The verifier accepts everybody and tries no password.
    pub(crate) fn accepting_unasked(mut self) -> Self {
        self.accept_unasked = true;
        self
    }

    pub(crate) fn start(self) -> Front {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let tls = Arc::new(TlsServer::load(&certificate, &key).unwrap());

        let text = format!("name = \"front\"\nlisten = \"127.0.0.1:0\"\n{}", self.lines);
        let config: LdapListener = toml::from_str(&text).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(config.listen)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let verify = Arc::new(Truthful {
            directory: Arc::clone(&self.directory),
            refuse_anyway: self.refuse_anyway,
            accept_unasked: self.accept_unasked,
            asked: Arc::clone(&asked),
        });
        let metrics = Metrics::default();
        let shutdown = CancellationToken::new();
        let directory = self.directory;
        let served = runtime.spawn(serve(
            listener,
            config,
            Service {
                tls: Some(tls),
                verify,
                directory: Arc::new(move || Some(Arc::clone(&directory))),
                bindings: Arc::default(),
                metrics: metrics.clone(),
            },
            shutdown.clone(),
        ));
        Front {
            address,
            metrics,
            asked,
            authority: certificate,
            shutdown,
            served: Some(served),
            runtime: Some(runtime),
            _folder: folder,
        }
    }
}

impl Front {
    pub(crate) fn url(&self) -> String {
        format!("ldap://{}", self.address)
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) {
        self.shutdown.cancel();
        if let (Some(runtime), Some(served)) = (&self.runtime, self.served.take()) {
            runtime.block_on(served).unwrap();
        }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Accepts whoever the directory finds right. A code behind a comma must be 123456.
struct Truthful {
    directory: Arc<dyn Directory>,
    refuse_anyway: bool,
    accept_unasked: bool,
    asked: Arc<AtomicUsize>,
}

impl Verify for Truthful {
    fn permit<'a>(&'a self, _: &'a RelayedChange) -> BoxFuture<'a, Permit> {
        Box::pin(async { Permit::Granted("everybody".into()) })
    }

    fn relayed<'a>(&'a self, _: &'a RelayedChange, _: &'a str, _: RelayedResult) -> BoxFuture<'a, Result<(), Outage>> {
        Box::pin(async { Ok(()) })
    }

    fn verify<'a>(&'a self, request: AuthnRequest, check: Check<'a>) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let (password, code) = match (request.given, request.capability) {
                (Given::Typed(typed), Capability::Append(split)) => match split.cut(&typed) {
                    Some((password, code)) => (password, Some(code)),
                    None => (typed, None),
                },
                // A service account's.
                (Given::Typed(typed), Capability::None) => (typed, None),
                (Given::Proven(_), _) => (Secret::default(), None),
                (given, _) => panic!("an LDAP bind can append and nothing else: {given:?}"),
            };
            if code.is_some_and(|code| !code.matches(b"123456")) {
                return Verdict::Reject(Denial::WrongCode);
            }
            let person = match self.directory.look_up(&request.login).await {
                Lookup::Found(person) => person,
                Lookup::Unknown | Lookup::Ambiguous => return Verdict::Reject(Denial::UnknownUser),
                Lookup::Unavailable(reason) => return Verdict::Unavailable(Outage { reason }),
            };
            if let Some(acting_as) = &request.claims.acting_as {
                match self.directory.look_up(acting_as).await {
                    Lookup::Found(other) if other.key == person.key => {}
                    Lookup::Found(_) | Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_) => {
                        return Verdict::Reject(Denial::NotThemselves);
                    }
                }
            }
            let unasked = self.accept_unasked || password.is_empty();
            if unasked && self.refuse_anyway {
                return Verdict::Reject(Denial::Throttled);
            }
            if unasked {
                return Verdict::Accept(Grant {
                    person,
                    id: 1,
                    message: None,
                    reply: Vec::new(),
                    ms_chap: None,
                    proven: KindSet::of(Kind::Password),
                });
            }
            let outcome = match check {
                Check::Directory => self.directory.verify(&person, &password).await,
                Check::Own(own) => own.check(&person, &password).await,
            };
            match outcome {
                PasswordOutcome::Right if self.refuse_anyway => Verdict::Reject(Denial::Throttled),
                PasswordOutcome::Right => Verdict::Accept(Grant {
                    person,
                    id: 1,
                    message: None,
                    reply: Vec::new(),
                    ms_chap: None,
                    proven: KindSet::of(Kind::Password),
                }),
                PasswordOutcome::Unavailable(reason) => Verdict::Unavailable(Outage { reason }),
                PasswordOutcome::MustChange => Verdict::Reject(Denial::PasswordMustChange),
                PasswordOutcome::Expired => Verdict::Reject(Denial::PasswordExpired),
                PasswordOutcome::Locked => Verdict::Reject(Denial::Locked),
                PasswordOutcome::Disabled => Verdict::Reject(Denial::Disabled),
                PasswordOutcome::Wrong | PasswordOutcome::Unknown => Verdict::Reject(Denial::WrongPassword),
            }
        })
    }
}

/// A directory server at an address; it knows everybody, and a bare name as the `uid` below `ou=people`.
struct Server(SocketAddr);

impl Directory for Server {
    fn name(&self) -> &str {
        "corp"
    }

    fn look_up<'a>(&'a self, login: &'a LoginName) -> BoxFuture<'a, Lookup> {
        let dn = match login.form() {
            LoginForm::Dn(dn) | LoginForm::Account(dn) => dn.clone(),
            LoginForm::Plain(uid) => format!("uid={uid},ou=people,dc=example,dc=org"),
            LoginForm::Domain { .. } | LoginForm::Principal(_) => return Box::pin(async { Lookup::Unknown }),
        };
        let person = Person {
            key: UserKey::new("corp", &dn),
            directory: "corp".into(),
            login: login.as_str().into(),
            dn,
            groups: Vec::new(),
            attributes: Default::default(),
            enabled: true,
            manager: None,
            sso_managed: None,
        };
        Box::pin(async move { Lookup::Found(Arc::new(person)) })
    }

    fn verify<'a>(&'a self, _: &'a Person, _: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        panic!("the front end binds on its own connection")
    }

    fn verify_nobody<'a>(&'a self, _: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(async { PasswordOutcome::Unknown })
    }

    fn password_modify(&self) -> PasswordModify {
        PasswordModify::Relayed
    }

    fn connect(&self) -> BoxFuture<'_, Result<Link, ConnectError>> {
        Box::pin(async {
            let stream = tokio::net::TcpStream::connect(self.0)
                .await
                .map_err(|fault| ConnectError::Unreachable(fault.to_string()))?;
            stream
                .set_nodelay(true)
                .map_err(|fault| ConnectError::Unreachable(fault.to_string()))?;
            Ok(Link::Remote(Box::new(stream)))
        })
    }

    fn forget_look_ups(&self) {}

    fn probe(&self) -> BoxFuture<'_, DirectoryStatus> {
        Box::pin(async { self.status() })
    }

    fn status(&self) -> DirectoryStatus {
        DirectoryStatus {
            name: "corp".into(),
            kind: "ldap".into(),
            servers: Vec::new(),
            queue: 0,
            max_connection_age: None,
        }
    }
}

/// Runs a command to its end, with `input` on its standard input and nothing of the machine's own LDAP
/// configuration.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("LDAPCONF", "/dev/null");
    command.envs(environment.iter().copied());
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|fault| panic!("{program}: {fault}"));
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    process.wait_with_output().unwrap()
}

/// Reads until there is nothing more.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    octets
}
