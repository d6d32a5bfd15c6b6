//! LDAP directories against servers that misbehave, played by a listener of our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::ber;
use portcullis::config;
use portcullis::directory::Directory;
use portcullis::directory::ldap::LdapDirectory;
use portcullis::engine::{LoginName, Lookup, PasswordOutcome, Person, UserKey};
use portcullis::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with a bind, once its probe (a search) was answered as it should be.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Silence,
    Garbage,
    Indefinite,
    Endless,
    WrongMessage,
    WrongOperation,
    HalfAnAnswer,
    Closing,
    Notice,
    Busy,
    Unsolicited,
}

/// A server with one fault, counting binds.
struct Faulty {
    url: String,
    binds: Arc<AtomicUsize>,
}

impl Faulty {
    async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let binds = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&binds);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, fault, Arc::clone(&count)));
            }
        });
        Self { url, binds }
    }

    fn binds(&self) -> usize {
        self.binds.load(Ordering::SeqCst)
    }
}

/// Answers one message after the other; each of ours comes in one piece.
async fn serve(mut stream: TcpStream, fault: Fault, binds: Arc<AtomicUsize>) {
    let mut input = [0; 4096];
    loop {
        let Ok(length @ 1..) = stream.read(&mut input).await else {
            return;
        };
        let Ok(request) = ber::Message::read(&input[..length]) else {
            return;
        };
        let mut answer = Vec::new();
        if request.operation.tag != 0x60 {
            response(request.id, 0x65, 0, &mut answer);
        } else {
            binds.fetch_add(1, Ordering::SeqCst);
            match fault {
                Fault::Silence => std::future::pending().await,
                Fault::Garbage => answer.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
                Fault::Indefinite => answer.extend_from_slice(&[0x30, 0x80, 0, 0]),
                Fault::Endless => answer.extend_from_slice(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]),
                Fault::WrongMessage => response(request.id + 1, 0x61, 0, &mut answer),
                Fault::WrongOperation => response(request.id, 0x65, 0, &mut answer),
                Fault::HalfAnAnswer => {
                    response(request.id, 0x61, 0, &mut answer);
                    answer.truncate(5);
                }
                Fault::Closing => return,
                Fault::Notice => response(0, 0x78, 52, &mut answer),
                Fault::Busy => response(request.id, 0x61, 51, &mut answer),
                Fault::Unsolicited => {
                    response(request.id, 0x61, 49, &mut answer);
                    // A success that nobody asked for: it must not answer the next bind.
                    response(request.id + 1, 0x61, 0, &mut answer);
                }
            }
        }
        if stream.write_all(&answer).await.is_err() || matches!(fault, Fault::HalfAnAnswer) {
            return;
        }
    }
}

fn response(id: i32, tag: u8, code: i32, out: &mut Vec<u8>) {
    ber::write_with(ber::SEQUENCE, out, |out| {
        ber::write_integer(ber::INTEGER, id, out);
        ber::write_with(tag, out, |out| {
            ber::write_integer(ber::ENUMERATED, code, out);
            ber::write(ber::OCTET_STRING, b"", out);
            ber::write(ber::OCTET_STRING, b"said so", out);
        });
    });
}

fn directory(url: &str, more: &str) -> Arc<LdapDirectory> {
    let text = format!(
        "name = \"corp\"\nurls = [{url:?}]\nbase_dn = \"dc=x\"\nallow_plaintext = true\ntimeout = \"1s\"\n{more}"
    );
    let config: config::LdapDirectory = toml::from_str(&text).unwrap();
    LdapDirectory::new(&config).unwrap()
}

fn ana() -> Person {
    Person {
        key: UserKey::new("corp", "1"),
        directory: "corp".into(),
        dn: "uid=ana,dc=x".into(),
        login: "ana".into(),
        groups: Vec::new(),
        attributes: Default::default(),
        enabled: true,
        manager: None,
        sso_managed: None,
    }
}

#[tokio::test]
async fn no_fault_of_a_server_is_a_wrong_password_or_a_right_one() {
    for (fault, words) in [
        (Fault::Silence, "did not answer within 1s"),
        (Fault::Garbage, "no LDAP message"),
        (Fault::Indefinite, "no LDAP message: indefinite length"),
        (Fault::Endless, "2147483653 octets"),
        (Fault::WrongMessage, "answered message 2 when asked message 1"),
        (Fault::WrongOperation, "another kind of response"),
        (Fault::HalfAnAnswer, "closed the connection"),
        (Fault::Closing, "closed the connection"),
        (Fault::Notice, "disconnected: unavailable (52): said so"),
        (Fault::Busy, "answered busy (51): said so"),
    ] {
        let server = Faulty::start(fault).await;
        let directory = directory(&server.url, "");
        let outcome = directory.verify(&ana(), &Secret::new("secret")).await;
        let PasswordOutcome::Unavailable(why) = outcome else {
            panic!("{fault:?}: {outcome:?}");
        };
        assert!(why.contains(words), "{fault:?}: {why}");
        assert!(!why.contains("secret"), "{why}");
        assert_eq!(server.binds(), 1, "{fault:?}: one password check, one bind");
        assert_eq!(directory.status().queue, 0);
        let kept = usize::from(matches!(fault, Fault::Busy));
        assert_eq!(directory.status().servers[0].connections, kept, "{fault:?}");
        assert_eq!(directory.status().servers[0].healthy, kept == 1, "{fault:?}");
    }
}

#[tokio::test]
async fn an_answer_ahead_of_its_question_is_not_taken() {
    let server = Faulty::start(Fault::Unsolicited).await;
    let directory = directory(&server.url, "");
    for _ in 0..5 {
        let outcome = directory.verify(&ana(), &Secret::new("guess")).await;
        assert_eq!(outcome, PasswordOutcome::Wrong);
    }
    assert_eq!(server.binds(), 5);
}

#[tokio::test]
async fn empty_passwords_and_names_never_reach_a_server() {
    let server = Faulty::start(Fault::Closing).await;
    let directory = directory(&server.url, "");
    assert_eq!(directory.verify(&ana(), &Secret::new("")).await, PasswordOutcome::Wrong);
    let mut nameless = ana();
    nameless.dn.clear();
    assert_eq!(
        directory.verify(&nameless, &Secret::new("x")).await,
        PasswordOutcome::Unknown
    );
    assert_eq!(server.binds(), 0);
}

#[tokio::test]
async fn the_queue_is_bounded_in_number_and_time() {
    let server = Faulty::start(Fault::Silence).await;
    let directory = directory(&server.url, "bind_connections = 1\nqueue = 3\n");
    let attempts: Vec<_> = (0..10)
        .map(|_| {
            let directory = Arc::clone(&directory);
            tokio::spawn(async move { directory.verify(&ana(), &Secret::new("secret")).await })
        })
        .collect();
    let mut turned_away = 0;
    for attempt in attempts {
        let PasswordOutcome::Unavailable(why) = attempt.await.unwrap() else {
            panic!()
        };
        turned_away += usize::from(why.contains("3 requests are waiting"));
    }
    assert_eq!(turned_away, 6, "one with the connection, three waiting");
    assert_eq!(server.binds(), 1);
    assert_eq!(directory.status().queue, 0);
}

#[tokio::test]
async fn an_attempt_that_is_dropped_leaves_no_connection_in_between() {
    let server = Faulty::start(Fault::Silence).await;
    let directory = directory(&server.url, "bind_connections = 1\n");
    {
        let (person, password) = (ana(), Secret::new("secret"));
        let verify = directory.verify(&person, &password);
        let sent = async {
            while server.binds() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            outcome = verify => panic!("{outcome:?}"),
            () = sent => {}
        }
    }
    let status = directory.status();
    assert_eq!((status.servers[0].connections, status.queue), (0, 0));
}

/// The front of a server that injects a BindResponse behind its StartTLS answer.
#[tokio::test]
async fn octets_before_the_handshake_are_an_attack() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut input = [0; 256];
        let length = stream.read(&mut input).await.unwrap();
        let request = ber::Message::read(&input[..length]).unwrap();
        assert_eq!(request.operation.tag, 0x77);
        let mut answer = Vec::new();
        response(request.id, 0x78, 0, &mut answer);
        response(2, 0x61, 0, &mut answer);
        stream.write_all(&answer).await.unwrap();
        // Nothing follows: no handshake is begun.
        stream.read(&mut input).await.unwrap_or(0)
    });
    let directory = directory(&url, "starttls = true\n");
    let outcome = directory.verify(&ana(), &Secret::new("secret")).await;
    let PasswordOutcome::Unavailable(why) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(why.contains("between its StartTLS answer and the handshake"), "{why}");
    assert_eq!(server.await.unwrap(), 0);
}

#[tokio::test]
async fn a_refused_start_tls_sends_no_password() {
    let server = Faulty::start(Fault::Closing).await;
    let directory = directory(&server.url, "starttls = true\n");
    let outcome = directory.verify(&ana(), &Secret::new("secret")).await;
    assert!(matches!(outcome, PasswordOutcome::Unavailable(_)), "{outcome:?}");
    let lookup = directory.look_up(&LoginName::parse("ana").unwrap()).await;
    assert!(matches!(lookup, Lookup::Unavailable(_)), "{lookup:?}");
    assert_eq!(server.binds(), 0);
}
