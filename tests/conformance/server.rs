//! A real listener before a table of users, and a client that speaks octets.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis::clock;
use portcullis::config;
use portcullis::dictionary::Dictionary;
use portcullis::engine::authenticator::KindSet;
use portcullis::engine::dialog::Dialog;
use portcullis::engine::response::{Kept, MsChapSuccess, Response, ResponseOutcome};
use portcullis::engine::texts::Texts;
use portcullis::engine::{
    AuthnRequest, BoxFuture, Check, Denial, Given, Grant, Keep, Outage, Person, Prompt, Report, UserKey, Verdict,
    Verify,
};
use portcullis::keyring::Keyring;
use portcullis::metrics::Metrics;
use portcullis::radius::attribute::{ACCESS_ACCEPT, ACCESS_REQUEST, STATUS_SERVER, USER_NAME, USER_PASSWORD};
use portcullis::radius::client::{ClientTable, Habits, Learned};
use portcullis::radius::crypto::{SharedSecret, Signature};
use portcullis::radius::intake::Service;
use portcullis::radius::observed::Strangers;
use portcullis::radius::packet::{Packet, Writer};
use portcullis::radius::udp;
use portcullis::secret::Secret;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) const SECRET: &str = "testing123";

/// Far longer than anything here takes: reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Answers from a table: `ana`/`hunter2` is let in; `bob`/`hunter2` is asked for the code `492039`;
/// `down` cannot be judged; `slow`/`hunter2` waits for [`Stub::release`]; `panic` panics; `long` gets a
/// dialog that does not fit; `chatty` is accepted with a long text. Others are refused.
pub(crate) struct Stub {
    calls: Mutex<HashMap<String, usize>>,
    gate: Semaphore,
    waiting: AtomicUsize,
    last: Mutex<Option<AuthnRequest>>,
    reports: Mutex<Vec<Report>>,
}

impl Stub {
    pub(crate) fn new() -> Self {
        Self {
            calls: Mutex::default(),
            gate: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            last: Mutex::default(),
            reports: Mutex::default(),
        }
    }

    /// How often somebody was judged.
    pub(crate) fn calls(&self, user: &str) -> usize {
        self.calls.lock().get(user).copied().unwrap_or_default()
    }

    /// What accounting was kept, oldest first.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.lock().clone()
    }

    /// Lets `count` waiting requests go on.
    pub(crate) fn release(&self, count: usize) {
        self.gate.add_permits(count);
    }

    /// What was asked last.
    pub(crate) fn last(&self) -> AuthnRequest {
        self.last.lock().take().expect("something was asked")
    }

    /// Waits until `count` requests for `slow` have come.
    pub(crate) async fn until_waiting(&self, count: usize) {
        let reached = async {
            while self.waiting.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reached).await.expect("the requests arrive");
    }

    async fn judge(&self, request: AuthnRequest) -> Verdict {
        let user = request.login.as_str().to_owned();
        *self.calls.lock().entry(user.clone()).or_default() += 1;
        let typed = match &request.given {
            Given::Typed(typed) => typed.clone(),
            Given::Proven(_) => panic!("RADIUS has nothing that is proven before"),
            Given::Response(response) => {
                let verdict = respond(&user, response);
                *self.last.lock() = Some(request);
                return verdict;
            }
        };
        let continued = request.dialog.is_some();
        *self.last.lock() = Some(request);
        if user == "slow" {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.expect("the gate stays").forget();
        }
        match (user.as_str(), continued) {
            ("ana" | "slow", false) if typed.matches(b"hunter2") => accept(None),
            ("chatty", false) => accept(Some("ä".repeat(300))),
            ("bob", false) if typed.matches(b"hunter2") => challenge(128),
            ("bob", true) if typed.matches(b"492039") => accept(Some("Welcome.".into())),
            ("long", false) => challenge(300),
            ("down", _) => Verdict::Unavailable(Outage {
                reason: "the table says so".into(),
            }),
            ("panic", _) => panic!("the table says so"),
            _ => Verdict::Reject(Denial::WrongPassword),
        }
    }
}

impl Verify for Stub {
    fn verify<'a>(&'a self, request: AuthnRequest, check: Check<'a>) -> BoxFuture<'a, Verdict> {
        assert!(matches!(check, Check::Directory));
        Box::pin(self.judge(request))
    }
}

/// Keeps all reports but those about `down`.
impl Keep for Stub {
    fn keep(&self, report: Report) -> BoxFuture<'_, Result<(), Outage>> {
        let down = report.details.user_name.as_deref() == Some("down");
        self.reports.lock().push(report);
        let kept = if down {
            Err(Outage {
                reason: "the table says so".into(),
            })
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(kept))
    }
}

/// The table as a directory that keeps passwords.
fn respond(user: &str, response: &Response) -> Verdict {
    let password = match user {
        "ana" => "hunter2",
        "flopsy" => "arctangent",
        "liar" => return let_in(None),
        _ => return Verdict::Reject(Denial::UnknownUser),
    };
    match response.judge(Kept::Clear(&Secret::new(password))) {
        ResponseOutcome::Right(ms_chap) => let_in(ms_chap),
        ResponseOutcome::Wrong | ResponseOutcome::Impossible | ResponseOutcome::Unknown => {
            Verdict::Reject(Denial::WrongPassword)
        }
    }
}

/// Somebody who was let in, by MS-CHAPv2 if there is something to tell.
pub(crate) fn let_in(ms_chap: Option<Arc<MsChapSuccess>>) -> Verdict {
    let mut verdict = accept(None);
    if let Verdict::Accept(grant) = &mut verdict {
        grant.ms_chap = ms_chap;
    }
    verdict
}

fn accept(message: Option<String>) -> Verdict {
    let person = Arc::new(Person {
        key: UserKey::new("table", "ana"),
        directory: "table".into(),
        dn: "uid=ana,dc=example,dc=org".into(),
        login: "ana".into(),
        groups: Vec::new(),
        attributes: BTreeMap::new(),
        enabled: true,
        manager: None,
        sso_managed: None,
    });
    Verdict::Accept(Grant {
        person,
        id: 1,
        message,
        reply: Vec::new(),
        ms_chap: None,
        proven: Default::default(),
    })
}

fn challenge(password: usize) -> Verdict {
    let now = clock::now();
    Verdict::Challenge(Prompt {
        text: "Enter the 6-digit code".into(),
        echo: false,
        dialog: Dialog {
            user: [7; 16],
            started: now,
            expires: now + Duration::from_secs(120),
            round: 1,
            proven: KindSet::EMPTY,
            password: Some(Secret::new(vec![b'x'; password])),
            outdated: false,
            asking: None,
            approval: None,
            sent: None,
            course: None,
        },
        untold: None,
    })
}

/// A listener on loopback.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stub: Arc<Stub>,
    pub(crate) clients: Arc<ArcSwap<ClientTable>>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) metrics: Metrics,
    pub(crate) learned: Arc<Habits>,
    pub(crate) strangers: Arc<Strangers>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    /// With the lines added to the client entry for loopback; rejects are not delayed.
    pub(crate) fn start(client: &str) -> Self {
        Self::listen("127.0.0.1:0", "", client)
    }

    pub(crate) fn listen(address: &str, listener: &str, client: &str) -> Self {
        let sockets = udp::bind(address.parse().unwrap(), 1).unwrap();
        let bound = sockets[0].local_addr().unwrap();
        let config: config::RadiusListener = toml::from_str(&format!("listen = '{bound}'\n{listener}")).unwrap();
        let clients = Arc::new(ArcSwap::from_pointee(table(client, SECRET)));
        let (stub, keyring) = (Arc::new(Stub::new()), Arc::new(Keyring::from_root(&[5; 32])));
        let (metrics, shutdown) = (Metrics::default(), CancellationToken::new());
        let (learned, strangers) = (Arc::new(Habits::default()), Arc::new(Strangers::default()));
        let service = Service {
            clients: Arc::clone(&clients),
            verify: Arc::clone(&stub) as Arc<dyn Verify>,
            keep: Arc::clone(&stub) as Arc<dyn Keep>,
            keyring: Arc::clone(&keyring),
            learned: Arc::clone(&learned) as Arc<dyn Learned>,
            dictionary: Arc::new(ArcSwap::new(Arc::clone(Dictionary::shipped()))),
            metrics: metrics.clone(),
            strangers: Arc::clone(&strangers),
        };
        let task = tokio::spawn(udp::serve(
            sockets,
            config,
            service,
            shutdown.clone(),
            Duration::from_secs(15),
        ));
        Self {
            address: bound,
            stub,
            clients,
            keyring,
            metrics,
            learned,
            strangers,
            shutdown,
            task,
        }
    }

    pub(crate) async fn wire(&self) -> Wire {
        let local = if self.address.is_ipv4() { "127.0.0.1" } else { "::1" };
        self.wire_from(local).await
    }

    pub(crate) async fn wire_from(&self, local: &str) -> Wire {
        let local: IpAddr = local.parse().unwrap();
        let socket = UdpSocket::bind((local, 0)).await.unwrap();
        let mut server = self.address;
        if server.ip().is_unspecified() {
            server.set_ip(socket.local_addr().unwrap().ip());
        }
        socket.connect(server).await.unwrap();
        Wire {
            socket,
            secret: SharedSecret::new(&Secret::new(SECRET)),
        }
    }

    /// Waits until `count` requests for `slow` are being judged.
    pub(crate) async fn until_waiting(&self, count: usize) {
        self.stub.until_waiting(count).await;
    }

    /// How often something was counted, by a fragment of the line in the metrics.
    pub(crate) fn counted(&self, fragment: &str) -> u64 {
        counted(&self.metrics, fragment)
    }
}

/// How often something was counted, by a fragment of the line in the metrics.
pub(crate) fn counted(metrics: &Metrics, fragment: &str) -> u64 {
    let text = metrics.render();
    let lines = text
        .lines()
        .filter(|line| line.contains(fragment) && !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// A client table with one entry for loopback.
pub(crate) fn table(lines: &str, secret: &str) -> ClientTable {
    let delay = if lines.contains("reject_delay") {
        ""
    } else {
        "reject_delay = '0s'"
    };
    let profile = if lines.contains("profile") {
        ""
    } else {
        "profile = 'dialog'"
    };
    let text = format!("name = 'vpn'\naddress = ['127.0.0.0/8', '::1']\n{delay}\n{profile}\n{lines}");
    let client: config::Client = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    ClientTable::build([(&client, &Secret::new(secret), "table".into())], &Texts::default()).unwrap()
}

/// One source port that speaks octets.
pub(crate) struct Wire {
    pub(crate) socket: UdpSocket,
    pub(crate) secret: SharedSecret,
}

impl Wire {
    pub(crate) async fn send(&self, octets: &[u8]) {
        self.socket.send(octets).await.unwrap();
    }

    pub(crate) async fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 5000];
        let length = timeout(PATIENCE, self.socket.recv(&mut buffer))
            .await
            .expect("a reply")
            .unwrap();
        buffer.truncate(length);
        buffer
    }

    /// Sends a request and takes its reply, which must prove itself and carry Message-Authenticator first.
    pub(crate) async fn ask(&self, request: &[u8]) -> Vec<u8> {
        self.send(request).await;
        let reply = self.receive().await;
        self.check(request, &reply);
        reply
    }

    pub(crate) fn check(&self, request: &[u8], reply: &[u8]) {
        let (request, reply) = (Packet::parse(request).unwrap(), Packet::parse(reply).unwrap());
        assert_eq!(reply.identifier(), request.identifier());
        assert!(self.secret.proves_response(&reply, request.authenticator()));
        assert_eq!(
            self.secret.reply_signature(&reply, request.authenticator()),
            Signature::Valid
        );
        assert!(reply.signed_first());
    }

    /// Sends octets that must not be answered: the answer to a later Status-Server comes first.
    pub(crate) async fn expect_silence(&self, octets: &[u8]) {
        self.send(octets).await;
        self.expect_nothing_before_status().await;
    }

    pub(crate) async fn expect_nothing_before_status(&self) {
        let probe = request(STATUS_SERVER, 255, clock::random(), &self.secret, &[], true);
        let reply = self.ask(&probe).await;
        assert_eq!(reply.first(), Some(&ACCESS_ACCEPT));
    }

    /// A signed Access-Request with a name, a password and what is added.
    pub(crate) fn login(&self, identifier: u8, user: &str, password: &str, more: &[(u8, &[u8])]) -> Vec<u8> {
        login(identifier, user, password, more, &self.secret)
    }

    /// A signed Access-Request of just these attributes.
    pub(crate) fn request(&self, identifier: u8, attributes: &[(u8, &[u8])]) -> Vec<u8> {
        request(ACCESS_REQUEST, identifier, [9; 16], &self.secret, attributes, true)
    }

    /// The value of User-Password for requests made with [`Wire::request`].
    pub(crate) fn hidden(&self, password: &str) -> Vec<u8> {
        self.secret.hide(&Secret::new(password), &[9; 16]).unwrap()
    }
}

/// A signed Access-Request with a name, a password and what is added.
pub(crate) fn login(
    identifier: u8,
    user: &str,
    password: &str,
    more: &[(u8, &[u8])],
    secret: &SharedSecret,
) -> Vec<u8> {
    let authenticator = clock::random();
    let hidden = secret.hide(&Secret::new(password), &authenticator).unwrap();
    let mut attributes = vec![(USER_NAME, user.as_bytes()), (USER_PASSWORD, hidden.as_slice())];
    attributes.extend_from_slice(more);
    request(ACCESS_REQUEST, identifier, authenticator, secret, &attributes, true)
}

pub(crate) fn request(
    code: u8,
    identifier: u8,
    authenticator: [u8; 16],
    secret: &SharedSecret,
    attributes: &[(u8, &[u8])],
    sign: bool,
) -> Vec<u8> {
    let mut buffer = Vec::new();
    let mut writer = Writer::begin(&mut buffer, code, identifier, &authenticator, sign);
    for (kind, value) in attributes {
        writer.push(*kind, value).unwrap();
    }
    writer.finish_request(secret);
    buffer
}

/// Attribute values of one type.
pub(crate) fn values(octets: &[u8], kind: u8) -> Vec<Vec<u8>> {
    Packet::parse(octets).unwrap().all(kind).map(<[u8]>::to_vec).collect()
}

/// Attribute types in order.
pub(crate) fn kinds(octets: &[u8]) -> Vec<u8> {
    Packet::parse(octets)
        .unwrap()
        .attributes()
        .map(|attribute| attribute.kind)
        .collect()
}
