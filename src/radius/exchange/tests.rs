use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_REJECT, ACCOUNTING_RESPONSE, COA_NAK, DISCONNECT_ACK, MESSAGE_AUTHENTICATOR, REPLY_MESSAGE,
    STATE, USER_NAME, USER_PASSWORD,
};
use crate::radius::crypto::Signature;
use crate::radius::packet::{Packet, Writer};
use crate::tls::client::{Settings, Trust};

const SECRET: &str = "s3cret";

fn secret() -> SharedSecret {
    SharedSecret::new(&Secret::new(SECRET))
}

fn quick() -> Patience {
    Patience::steady(Duration::from_millis(80), 3)
}

fn over_udp(address: SocketAddr) -> Target {
    Target {
        address,
        transport: Transport::Udp(secret()),
        signed_replies: true,
    }
}

fn over_tcp(address: SocketAddr) -> Target {
    Target {
        transport: Transport::Tcp(secret()),
        ..over_udp(address)
    }
}

fn named(name: &str) -> Request {
    let mut request = Request::access();
    request.push(USER_NAME, name.as_bytes()).unwrap();
    request.push_password(&Secret::new("hunter2"));
    request
}

/// A reply that repeats the name as its message.
fn reply(request: &[u8], code: u8, sign: bool, secret: &SharedSecret) -> Vec<u8> {
    let packet = Packet::parse(request).unwrap();
    let mut octets = Vec::new();
    let mut writer = Writer::begin(&mut octets, code, packet.identifier(), packet.authenticator(), sign);
    writer
        .push(REPLY_MESSAGE, packet.find(USER_NAME).unwrap_or(b"-"))
        .unwrap();
    writer.finish_reply(secret);
    octets
}

async fn datagram(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 5000];
    let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
    buffer.truncate(length);
    (buffer, from)
}

async fn server() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn a_question_is_repeated_octet_for_octet_until_it_is_answered() {
    let (socket, address) = server().await;
    let exchange = Exchange::connect(over_udp(address), quick());
    let asked = tokio::spawn({
        let exchange = exchange.clone();
        async move { exchange.ask(&named("ana")).await }
    });
    let (first, source) = datagram(&socket).await;
    assert_eq!(datagram(&socket).await, (first.clone(), source), "the same octets");
    let packet = Packet::parse(&first).unwrap();
    assert!(packet.signed_first());
    assert_eq!(secret().request_signature(&packet), Signature::Valid);
    let typed = secret().reveal(packet.find(USER_PASSWORD).unwrap(), packet.authenticator());
    assert!(typed.unwrap().matches(b"hunter2"));
    socket
        .send_to(&reply(&first, ACCESS_ACCEPT, true, &secret()), source)
        .await
        .unwrap();
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(
        (answer.code(), answer.messages()),
        (ACCESS_ACCEPT, vec!["ana".to_owned()])
    );
    assert_eq!(answer.channel(), Channel::Udp);
    let figures = exchange.figures();
    assert_eq!((figures.asked, figures.answered, figures.in_flight), (1, 1, 0));
    assert!(figures.retransmitted >= 1);
}

#[tokio::test]
async fn replies_that_prove_nothing_are_counted_and_ignored() {
    let (socket, address) = server().await;
    let exchange = Exchange::connect(over_udp(address), Patience::steady(Duration::from_millis(400), 1));
    let asked = tokio::spawn({
        let exchange = exchange.clone();
        async move { exchange.ask(&named("ana")).await }
    });
    let (request, source) = datagram(&socket).await;
    let sound = reply(&request, ACCESS_ACCEPT, true, &secret());
    let other = SharedSecret::new(&Secret::new("other"));
    let mut altered = sound.clone();
    *altered.last_mut().unwrap() ^= 1;
    let mut misnumbered = sound.clone();
    misnumbered[1] ^= 1;
    // A right Response Authenticator around a wrong Message-Authenticator.
    let mut forged = sound.clone();
    forged[4..20].copy_from_slice(&request[4..20]);
    forged[22] ^= 1;
    let authenticator = secret().response_authenticator(&forged);
    forged[4..20].copy_from_slice(&authenticator);
    let unproven = [
        reply(&request, ACCESS_ACCEPT, true, &other),
        reply(&request, ACCESS_ACCEPT, false, &secret()),
        reply(&request, ACCOUNTING_RESPONSE, true, &secret()),
        altered,
        forged,
    ];
    for octets in unproven.iter().chain([&misnumbered, &vec![2, 1, 0]]) {
        socket.send_to(octets, source).await.unwrap();
    }
    let failure = asked.await.unwrap().unwrap_err();
    assert!(matches!(failure, Failure::Silence { unproven: 5, .. }), "{failure:?}");
    assert_eq!(exchange.figures().unproven, 7);
}

#[tokio::test]
async fn unsigned_replies_are_believed_where_they_are_allowed() {
    let (socket, address) = server().await;
    let target = Target {
        signed_replies: false,
        ..over_udp(address)
    };
    let exchange = Exchange::connect(target, quick());
    let asked = tokio::spawn(async move { exchange.ask(&named("ana")).await });
    let (request, source) = datagram(&socket).await;
    let unsigned = reply(&request, ACCESS_REJECT, false, &secret());
    socket.send_to(&unsigned, source).await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap().code(), ACCESS_REJECT);
}

#[tokio::test]
async fn more_questions_than_identifiers_take_more_sockets() {
    let (socket, address) = server().await;
    let patience = Patience {
        in_flight: 600,
        waiting: 0,
        ..Patience::default()
    };
    let exchange = Exchange::connect(over_udp(address), patience);
    let all: Vec<_> = (0..600)
        .map(|number| {
            let exchange = exchange.clone();
            tokio::spawn(async move { (number, exchange.ask(&named(&number.to_string())).await) })
        })
        .collect();
    let mut requests = Vec::new();
    let mut seen = HashSet::new();
    while seen.len() < 600 {
        let (request, source) = datagram(&socket).await;
        if seen.insert((source, request[1])) {
            requests.push((request, source));
        }
    }
    let ports: HashSet<_> = requests.iter().map(|(_, source)| source.port()).collect();
    assert_eq!(ports.len(), 3);
    assert!(matches!(
        exchange.ask(&named("one too many")).await,
        Err(Failure::Busy(_))
    ));
    for (request, source) in requests.iter().rev() {
        let answer = reply(request, ACCESS_ACCEPT, true, &secret());
        socket.send_to(&answer, *source).await.unwrap();
    }
    for one in all {
        let (number, answer) = one.await.unwrap();
        assert_eq!(answer.unwrap().messages(), [number.to_string()]);
    }
}

#[tokio::test]
async fn authenticators_of_the_other_kinds() {
    let (socket, address) = server().await;
    let exchange = Exchange::connect(over_udp(address), quick());
    type Make = fn() -> Request;
    let cases: [(Make, u8, bool); 3] = [
        (Request::accounting, ACCOUNTING_RESPONSE, false),
        (Request::disconnect, DISCONNECT_ACK, true),
        (Request::change_of_authorization, COA_NAK, true),
    ];
    for (make, code, signed) in cases {
        let mut request = make();
        request.push(USER_NAME, b"ana").unwrap();
        let asked = tokio::spawn({
            let exchange = exchange.clone();
            async move { exchange.ask(&request).await }
        });
        let (octets, source) = datagram(&socket).await;
        let mut zeroed = octets.clone();
        zeroed[4..20].fill(0);
        assert_eq!(
            secret().response_authenticator(&zeroed),
            octets[4..20],
            "RFC 2866 section 3"
        );
        let packet = Packet::parse(&zeroed).unwrap();
        assert_eq!(packet.has(MESSAGE_AUTHENTICATOR), signed);
        assert_eq!(packet.signed_first(), signed);
        if signed {
            assert_eq!(
                secret().request_signature(&packet),
                Signature::Valid,
                "RFC 5176 section 2.3"
            );
        }
        let answer = reply(&octets, code, false, &secret());
        socket.send_to(&answer, source).await.unwrap();
        assert_eq!(asked.await.unwrap().unwrap().code(), code);
    }
}

#[test]
fn what_fits_no_packet_is_not_sent() {
    let encode = |request: &Request| request.encode(request::Mark::Identifier(1, &secret())).is_some();
    let mut request = named("ana");
    assert_eq!(request.push(STATE, &[0; 254]), Err(crate::radius::packet::Overflow));
    for _ in 0..15 {
        request.push(STATE, &[0; 253]).unwrap();
    }
    assert!(encode(&request));
    request.push(STATE, &[0; 253]).unwrap();
    assert!(!encode(&request));
    let mut long = Request::access();
    long.push_password(&Secret::new([b'x'; 129]));
    assert!(!encode(&long));
}

#[test]
fn values_made_when_sent_stand_in_their_places() {
    let mut request = Request::access();
    request.push(USER_NAME, b"a").unwrap();
    request.push_made(|secret, _| Some(vec![200, 3, u8::from(secret.is_some())]));
    request.push_password(&Secret::new("p"));
    request.push(STATE, b"s").unwrap();
    request.push_made(|_, _| Some(vec![201, 2]));
    let secret = secret();
    let kinds = |mark| {
        let octets = request.encode(mark).unwrap().octets;
        let packet = Packet::parse(&octets).unwrap();
        assert_eq!(
            packet.find(200),
            Some(&[u8::from(packet.has(MESSAGE_AUTHENTICATOR))][..])
        );
        packet.attributes().map(|attribute| attribute.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(request::Mark::Identifier(1, &secret)), [80, 1, 200, 2, 24, 201]);
    assert_eq!(kinds(request::Mark::Token(1)), [1, 200, 2, 24, 201]);
}

#[test]
fn pauses_grow_as_rfc_5080_has_them() {
    let mut pauses = Pauses::new(&Patience::default());
    let seconds: Vec<f64> = (0..5).map(|_| pauses.next(127).as_secs_f64().round()).collect();
    assert_eq!(seconds, [2.0, 4.0, 8.0, 16.0, 16.0]);
    for chance in [0, 255] {
        let pause = Pauses::new(&Patience::default()).next(chance);
        assert!((Duration::from_millis(1800)..=Duration::from_millis(2200)).contains(&pause));
    }
}

async fn frame(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut octets = vec![0; 4];
    stream.read_exact(&mut octets).await.ok()?;
    let length = u16::from_be_bytes([octets[2], octets[3]]);
    octets.resize(length.into(), 0);
    stream.read_exact(&mut octets[4..]).await.ok()?;
    Some(octets)
}

#[tokio::test]
async fn over_tcp_answers_come_in_any_order_and_torn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let exchange = Exchange::connect(over_tcp(listener.local_addr().unwrap()), Patience::default());
    let all: Vec<_> = (0..300)
        .map(|number| {
            let exchange = exchange.clone();
            tokio::spawn(async move { (number, exchange.ask(&named(&number.to_string())).await) })
        })
        .collect();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut requests = Vec::new();
    for _ in 0..256 {
        requests.push(frame(&mut stream).await.unwrap());
    }
    let identifiers: HashSet<u8> = requests.iter().map(|request| request[1]).collect();
    assert_eq!(identifiers.len(), 256, "none twice");
    for request in requests.iter().rev() {
        let octets = reply(request, ACCESS_ACCEPT, true, &secret());
        for piece in octets.chunks(13) {
            stream.write_all(piece).await.unwrap();
        }
    }
    for _ in 256..300 {
        let request = frame(&mut stream).await.unwrap();
        stream
            .write_all(&reply(&request, ACCESS_ACCEPT, true, &secret()))
            .await
            .unwrap();
    }
    for one in all {
        let (number, answer) = one.await.unwrap();
        assert_eq!(answer.unwrap().messages(), [number.to_string()]);
    }
    assert_eq!(exchange.channel(), Channel::Tcp);
}

#[tokio::test]
async fn a_connection_that_ends_is_made_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let exchange = Exchange::connect(over_tcp(listener.local_addr().unwrap()), Patience::default());
    let server = tokio::spawn(async move {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = frame(&mut stream).await.unwrap();
            let octets = reply(&request, ACCESS_ACCEPT, true, &secret());
            stream.write_all(&octets).await.unwrap();
            // The next question is read and never answered.
            frame(&mut stream).await;
        }
    });
    for name in ["one", "two", "three"] {
        assert_eq!(exchange.ask(&named(name)).await.unwrap().messages(), [name]);
    }
    server.abort();
}

#[tokio::test]
async fn a_server_that_only_hangs_up_is_left_alone_for_a_while() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let exchange = Exchange::connect(over_tcp(listener.local_addr().unwrap()), Patience::default());
    let accepted = Arc::new(Mutex::new(0));
    let server = tokio::spawn({
        let accepted = Arc::clone(&accepted);
        async move {
            loop {
                drop(listener.accept().await);
                *accepted.lock().unwrap() += 1;
            }
        }
    });
    assert!(matches!(exchange.ask(&named("ana")).await, Err(Failure::Lost { .. })));
    for _ in 0..20 {
        assert!(matches!(
            exchange.ask(&named("ana")).await,
            Err(Failure::Connect { .. })
        ));
    }
    assert_eq!(*accepted.lock().unwrap(), 1);
    server.abort();
}

#[tokio::test]
async fn a_connection_with_unproven_replies_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let exchange = Exchange::connect(over_tcp(listener.local_addr().unwrap()), Patience::default());
    let asked = tokio::spawn({
        let exchange = exchange.clone();
        async move { exchange.ask(&named("ana")).await }
    });
    let (mut stream, _) = listener.accept().await.unwrap();
    let request = frame(&mut stream).await.unwrap();
    let forged = reply(&request, ACCESS_ACCEPT, true, &SharedSecret::new(&Secret::new("other")));
    stream.write_all(&forged).await.unwrap();
    assert!(matches!(
        asked.await.unwrap(),
        Err(Failure::Silence { unproven: 1, .. })
    ));
    assert_eq!(frame(&mut stream).await, None, "closed");
    assert_eq!(exchange.figures().unproven, 1);
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let exchange = Exchange::connect(over_tcp(address), quick());
    assert!(matches!(
        exchange.ask(&named("ana")).await,
        Err(Failure::Connect { .. })
    ));
    let exchange = Exchange::connect(over_udp(address), quick());
    assert!(matches!(
        exchange.status().await,
        Err(Failure::Silence { unproven: 0, .. })
    ));
}

struct Authority {
    _folder: tempfile::TempDir,
    certificate: std::path::PathBuf,
    key: std::path::PathBuf,
}

fn authority() -> Authority {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["radius.example.org".to_owned()]).unwrap();
    let made = Authority {
        certificate: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        _folder: folder,
    };
    std::fs::write(&made.certificate, parameters.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&made.key, key.serialize_pem()).unwrap();
    made
}

fn over_tls(address: SocketAddr, ca: &Path, version: Version) -> Target {
    let settings = Settings {
        trust: Trust::Authorities(Some(ca)),
        identity: None,
        protocols: version.alpn(),
    };
    Target {
        address,
        transport: Transport::Tls(TlsTarget {
            config: settings.config().unwrap(),
            name: crate::tls::server_name("radius.example.org").unwrap(),
            secret: radsec_secret(),
            version,
        }),
        signed_replies: true,
    }
}

/// Serves connections over TLS with these ALPN names and versions of TLS; accepts everybody in whichever
/// version of RADIUS was agreed on.
async fn tls_server(
    own: &Authority,
    protocols: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (SocketAddr, tokio_util::task::AbortOnDropHandle<()>) {
    use rustls::pki_types::pem::PemObject as _;
    let chain = vec![rustls::pki_types::CertificateDer::from_pem_file(&own.certificate).unwrap()];
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(&own.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let newest = stream.get_ref().1.alpn_protocol() == Some(b"radius/1.1");
            while let Some(request) = frame(&mut stream).await {
                let answer = if newest {
                    let packet = Packet::parse(&request).unwrap();
                    assert_eq!(packet.find(USER_PASSWORD), Some(&b"hunter2"[..]), "as it is");
                    assert!(!packet.has(MESSAGE_AUTHENTICATOR));
                    assert_eq!((request[1], &request[8..20]), (0, &[0; 12][..]), "RFC 9765 section 4.1");
                    // Nothing is signed, and the reserved fields are ignored.
                    let mut octets = vec![ACCESS_ACCEPT, 99, 0, 20];
                    octets.extend_from_slice(&request[4..8]);
                    octets.extend_from_slice(&[7; 12]);
                    octets
                } else {
                    reply(&request, ACCESS_ACCEPT, true, &radsec_secret())
                };
                stream.write_all(&answer).await.unwrap();
            }
        }
    };
    (address, tokio_util::task::AbortOnDropHandle::new(tokio::spawn(serve)))
}

#[tokio::test]
async fn over_tls_both_sides_agree_on_a_version() {
    let own = authority();
    let both: &[&[u8]] = &[b"radius/1.1", b"radius/1.0"];
    let tls13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
    let cases = [
        (both, Version::Auto, Some(Channel::Tls11)),
        (both, Version::V1_0, Some(Channel::Tls)),
        (both, Version::V1_1, Some(Channel::Tls11)),
        (&[], Version::Auto, Some(Channel::Tls)),
        (&[], Version::V1_0, Some(Channel::Tls)),
        (&[], Version::V1_1, None),
        (&[b"radius/1.0"], Version::Auto, Some(Channel::Tls)),
        (&[b"radius/1.0"], Version::V1_1, None),
    ];
    for (offered, version, agreed) in cases {
        let (address, _server) = tls_server(&own, offered, tls13).await;
        let exchange = Exchange::connect(over_tls(address, &own.certificate, version), Patience::default());
        let answer = exchange.ask(&named("ana")).await;
        assert_eq!(
            answer.ok().map(|reply| reply.channel()),
            agreed,
            "{offered:?} {version:?}"
        );
        if let Some(agreed) = agreed {
            assert_eq!(exchange.channel(), agreed);
        }
    }
}

#[tokio::test]
async fn radius_1_1_takes_tls_1_3() {
    let own = authority();
    let (address, _server) = tls_server(&own, &[b"radius/1.1"], &[&rustls::version::TLS12]).await;
    let exchange = Exchange::connect(over_tls(address, &own.certificate, Version::Auto), Patience::default());
    let failure = exchange.ask(&named("ana")).await.unwrap_err();
    assert!(matches!(failure, Failure::Connect { .. }), "{failure:?}");
}

#[tokio::test]
async fn servers_over_tls_are_verified() {
    let (own, other) = (authority(), authority());
    let tls13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
    let (address, _server) = tls_server(&own, &[], tls13).await;
    let exchange = Exchange::connect(over_tls(address, &other.certificate, Version::Auto), quick());
    assert!(matches!(
        exchange.ask(&named("ana")).await,
        Err(Failure::Connect { .. })
    ));

    use rustls::pki_types::pem::PemObject as _;
    for (authority, believed) in [(&own, true), (&other, false)] {
        let certificate = rustls::pki_types::CertificateDer::from_pem_file(&authority.certificate).unwrap();
        let settings = Settings {
            trust: Trust::Fingerprint(crate::tls::client::Fingerprint::of(&certificate)),
            identity: None,
            protocols: &[],
        };
        let mut target = over_tls(address, &own.certificate, Version::Auto);
        if let Transport::Tls(tls) = &mut target.transport {
            tls.config = settings.config().unwrap();
            tls.name = crate::tls::server_name("127.0.0.9").unwrap();
        }
        let answer = Exchange::connect(target, Patience::default()).ask(&named("ana")).await;
        assert_eq!(answer.is_ok(), believed);
    }
}
