//! RFC 6614: RADIUS over TLS: who is let in, as whom, and what of it a reload changes.

use std::fs;
use std::time::Duration;

use portcullis::config::Fingerprint;
use portcullis::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_CHALLENGE, ACCESS_REQUEST, ACCOUNTING_RESPONSE, EAP_MESSAGE, PROXY_STATE, STATE, USER_NAME,
    USER_PASSWORD,
};
use portcullis::radius::packet::Packet;
use portcullis::tls::peer::Peer;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::pki::{Authority, Leaf, Offer, client_config, connect};
use crate::rfc2866::{SESSION, START, accounting};
use crate::server::{PATIENCE, request, values};
use crate::stream::{ANYWHERE, Line, Server, Site, Tls, clients};

const BY_NAME: &str = "certificate = { san = ['dns:nas1.example.org'] }";

/// A TLS 1.3 client learns that it was refused when it reads.
async fn refused(server: &Server, site: &Site, leaf: Option<&Leaf>, tls12: bool) -> bool {
    let offer = Offer {
        alpn: Vec::new(),
        tls12,
    };
    let stream = TcpStream::connect(server.address).await.unwrap();
    let config = client_config(&site.authority.file(), leaf, &offer);
    let Ok(stream) = connect(config, stream).await else {
        return true;
    };
    let mut line = Line::new(stream, "radsec");
    let status = line.status(1);
    line.send_anyway(&status).await;
    let mut first = [0];
    !matches!(timeout(PATIENCE, line.stream.read(&mut first)).await, Ok(Ok(1)))
}

async fn works(line: &mut Line<Tls>) {
    let login = line.login(1, "ana", "hunter2", &[]);
    assert_eq!(line.ask(&login).await[0], ACCESS_ACCEPT);
}

#[tokio::test]
async fn a_dialog_over_both_versions_of_tls_and_both_families() {
    let site = Site::make();
    let nas = site.nas();
    for (address, tls12) in [("127.0.0.1:0", true), ("127.0.0.1:0", false), ("[::1]:0", false)] {
        let server = Server::tls_at(address, &site, "", clients(&[("nas", BY_NAME)]));
        let offer = Offer {
            alpn: Vec::new(),
            tls12,
        };
        let mut line = site.offering(&server, &nas, &offer).await;
        let asked = line.login(1, "bob", "hunter2", &[]);
        let challenge = line.ask(&asked).await;
        assert_eq!(challenge[0], ACCESS_CHALLENGE);
        let state = values(&challenge, STATE).remove(0);
        let answer = line.login(2, "bob", "492039", &[(STATE, &state)]);
        assert_eq!(line.ask(&answer).await[0], ACCESS_ACCEPT);
        let origin = server.stub.last().origin;
        assert!(origin.encrypted() && &*origin.client == "nas" && origin.source.is_loopback());
    }
}

#[tokio::test]
async fn a_certificate_of_the_authority_is_a_must() {
    let site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", ANYWHERE)]));
    let other = Authority::make(site.path(), "other");
    let (stranger, not_for_clients) = (
        other.client("stranger", &["nas1.example.org"], &[], 7),
        site.server.clone(),
    );
    for tls12 in [false, true] {
        for (leaf, why) in [
            (None, "none"),
            (Some(&stranger), "foreign"),
            (Some(&not_for_clients), "a server's"),
        ] {
            assert!(refused(&server, &site, leaf, tls12).await, "{why}");
        }
        assert!(!refused(&server, &site, Some(&site.nas()), tls12).await);
    }
    assert_eq!(server.counted("tls-handshake"), 6);
    // Something that is not TLS at all.
    let mut plain = server.connect().await;
    let login = plain.login(1, "ana", "hunter2", &[]);
    plain.send(&login).await;
    let mut answer = Vec::new();
    let _ = plain.stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer[0] == 21, "an alert at most: {answer:02x?}");
}

#[tokio::test]
async fn the_client_is_found_by_its_certificate() {
    let site = Site::make();
    let (nas, other) = (site.nas(), site.authority.client("nas2", &["nas2.example.org"], &[], 8));
    let print = Fingerprint(Peer::read(&nas.certificates()).unwrap().fingerprint);
    let pinned = format!("certificate = {{ fingerprint = ['{print}'] }}");
    let issuer = "certificate = { issuer = 'CN=main, O=Tests' }";
    for (entries, expected) in [
        (&[("name", BY_NAME), ("all", ANYWHERE)][..], ["name", "all"]),
        (
            &[("uri", "certificate = { san = ['uri:urn:nas:1'] }"), ("issuer", issuer)],
            ["uri", "issuer"],
        ),
        (
            &[
                ("pin", &pinned),
                ("domain", "certificate = { san = ['dns:*.example.org'] }"),
            ],
            ["pin", "domain"],
        ),
    ] {
        let server = Server::tls(&site, "", clients(entries));
        for (leaf, expected) in [(&nas, expected[0]), (&other, expected[1])] {
            works(&mut site.line(&server, leaf).await).await;
            assert_eq!(&*server.stub.last().origin.client, expected);
        }
    }
    // Known to the authority, and still nobody's.
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    assert!(refused(&server, &site, Some(&other), false).await);
    assert_eq!(server.counted("unknown-client"), 1);
    // The address counts as well where it is given.
    let far = format!("address = ['192.0.2.1']\n{BY_NAME}");
    let server = Server::tls(&site, "", clients(&[("nas", &far)]));
    assert!(refused(&server, &site, Some(&nas), false).await);
    assert_eq!(
        server.counted("tls-handshake"),
        0,
        "closed before anything is negotiated"
    );
}

#[tokio::test]
async fn the_secret_is_radsec_unless_another_is_set() {
    let site = Site::make();
    let nas = site.nas();
    let own = format!("secret = 'another secret'\n{BY_NAME}");
    let server = Server::tls(&site, "", clients(&[("nas", &own)]));
    let mut line = site.line(&server, &nas).await;
    let status = line.status(1);
    line.send(&status).await;
    line.expect_close().await;
    assert_eq!(server.counted("bad-message-authenticator"), 1);
    let Line { stream, .. } = site.line(&server, &nas).await;
    works(&mut Line::new(stream, "another secret")).await;
}

#[tokio::test]
async fn a_signature_is_not_asked_for_but_for_eap() {
    let site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let mut line = site.line(&server, &site.nas()).await;
    let hidden = line
        .secret
        .hide(&portcullis::secret::Secret::new("hunter2"), &[3; 16])
        .unwrap();
    let mut attributes = vec![(USER_NAME, &b"ana"[..]), (USER_PASSWORD, &hidden)];
    let unsigned = request(ACCESS_REQUEST, 1, [3; 16], &line.secret, &attributes, false);
    assert_eq!(line.ask(&unsigned).await[0], ACCESS_ACCEPT);
    attributes[1] = (EAP_MESSAGE, &[2, 1, 0, 5, 1]);
    let unsigned = request(ACCESS_REQUEST, 1, [3; 16], &line.secret, &attributes, false);
    line.send(&unsigned).await;
    line.expect_close().await;
}

#[tokio::test]
async fn certificates_and_authorities_are_exchanged_while_connections_are_open() {
    let mut site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let nas = site.nas();
    let mut open = site.line(&server, &nas).await;
    works(&mut open).await;
    let before = open.stream.get_ref().1.peer_certificates().unwrap().to_vec();
    // A new certificate of the same authority: new connections see it, open ones go on.
    site.server = site.authority.server("server");
    let tls = server.tls.as_ref().unwrap();
    tls.reload().unwrap();
    let mut new = site.line(&server, &nas).await;
    works(&mut new).await;
    assert_ne!(new.stream.get_ref().1.peer_certificates().unwrap(), before);
    server.clients.store(clients(&[("nas", BY_NAME)]).into());
    works(&mut open).await;
    // Files that are no good change nothing.
    let good = fs::read(site.authority.file()).unwrap();
    fs::write(site.authority.file(), "nothing\n").unwrap();
    tls.reload().unwrap_err();
    fs::write(site.authority.file(), &good).unwrap();
    works(&mut site.line(&server, &nas).await).await;
    // Another authority for clients: who is open is closed before anything more is judged.
    let other = Authority::make(site.path(), "other");
    fs::copy(other.file(), site.path().join("trusted.pem")).unwrap();
    fs::copy(site.authority.file(), site.path().join("server-ca.pem")).unwrap();
    fs::copy(other.file(), site.authority.file()).unwrap();
    tls.reload().unwrap();
    server.clients.store(clients(&[("nas", BY_NAME)]).into());
    let calls = server.stub.calls("ana");
    let login = open.login(9, "ana", "hunter2", &[]);
    open.send(&login).await;
    open.expect_close().await;
    assert_eq!((server.counted("client-removed"), server.stub.calls("ana")), (1, calls));
    let stream = TcpStream::connect(server.address).await.unwrap();
    let leaf = other.client("nas1-new", &["nas1.example.org"], &[], 9);
    let config = client_config(&site.path().join("server-ca.pem"), Some(&leaf), &Offer::default());
    works(&mut Line::new(connect(config, stream).await.unwrap(), "radsec")).await;
}

#[tokio::test]
async fn what_is_revoked_is_refused_and_open_connections_with_it() {
    let mut site = Site::make();
    site.authority.revoke(&[99]);
    site.crl = true;
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let nas = site.nas();
    let mut open = site.line(&server, &nas).await;
    works(&mut open).await;
    site.authority.revoke(&[99, 7]);
    server.tls.as_ref().unwrap().reload().unwrap();
    assert!(refused(&server, &site, Some(&nas), false).await);
    server.clients.store(clients(&[("nas", BY_NAME)]).into());
    let login = open.login(9, "ana", "hunter2", &[]);
    open.send(&login).await;
    open.expect_close().await;
}

#[tokio::test]
async fn handshakes_that_do_not_finish_are_bounded_in_number_and_time() {
    let site = Site::make();
    let listener = "connections = 64\nhandshake = '1s'";
    let server = Server::tls(&site, listener, clients(&[("nas", BY_NAME)]));
    let nas = site.nas();
    let mut open = site.line(&server, &nas).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    server.until_counted("too-many-handshakes", 24).await;
    works(&mut open).await;
    server.until_counted("tls-handshake", 16).await;
    for stream in &mut silent {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .expect("it closes");
    }
    works(&mut site.line(&server, &nas).await).await;
}

#[tokio::test]
async fn a_handshake_under_way_does_not_hold_up_a_stop() {
    let site = Site::make();
    let server = Server::tls(&site, "handshake = '1h'", clients(&[("nas", BY_NAME)]));
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let mut open = site.line(&server, &site.nas()).await;
    works(&mut open).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    server.shutdown.cancel();
    open.expect_close().await;
    timeout(PATIENCE, server.task).await.expect("it ends").unwrap();
}

// Section 2.2: accounting on the same port and connection.

#[tokio::test]
async fn accounting_is_proven_by_the_secret_of_the_connection() {
    let site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let mut line = site.line(&server, &site.nas()).await;
    let ours: (u8, &[u8]) = (PROXY_STATE, b"p1");
    let start = accounting(3, &[START, SESSION, ours], "radsec");
    line.send(&start).await;
    let reply = line.receive().await;
    let (asked, answered) = (Packet::parse(&start).unwrap(), Packet::parse(&reply).unwrap());
    assert_eq!((answered.code(), answered.identifier()), (ACCOUNTING_RESPONSE, 3));
    assert!(line.secret.proves_response(&answered, asked.authenticator()));
    assert_eq!(values(&reply, PROXY_STATE), [b"p1"]);
    // A login goes on the same connection, and both are of the client of the certificate.
    works(&mut line).await;
    let report = server.stub.reports().remove(0);
    assert!(report.encrypted && &*report.client == "nas" && report.source.is_loopback());

    // Whoever signs with the secret of UDP has not agreed on this one.
    line.send(&accounting(4, &[START, SESSION], crate::server::SECRET))
        .await;
    line.expect_close().await;
    assert_eq!(server.counted("bad-request-authenticator"), 1);
    assert_eq!(server.stub.reports().len(), 1);
}

#[tokio::test]
async fn accounting_that_is_not_kept_is_not_answered_and_the_connection_goes_on() {
    let site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let mut line = site.line(&server, &site.nas()).await;
    let lost = accounting(3, &[START, SESSION, (USER_NAME, b"down")], "radsec");
    line.send(&lost).await;
    works(&mut line).await;
    assert_eq!(server.stub.reports().len(), 1);
    // Said again on the same connection, it is tried again.
    line.send(&lost).await;
    works(&mut line).await;
    assert_eq!(server.stub.reports().len(), 2);
}
