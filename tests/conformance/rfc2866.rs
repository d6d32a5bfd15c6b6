//! RFC 2866, with what RFC 2867, 2869 and 5080 add: accounting.

use std::net::IpAddr;
use std::time::Duration;

use portcullis::clock;
use portcullis::engine::session::{Details, Kind};
use portcullis::radius::attribute::{
    ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE, ACCT_DELAY_TIME, ACCT_SESSION_ID, ACCT_STATUS_TYPE, CLASS,
    EVENT_TIMESTAMP, NAS_IDENTIFIER, PROXY_STATE, STATUS_SERVER, USER_NAME,
};
use portcullis::radius::crypto::SharedSecret;
use portcullis::radius::packet::{Attributes, Packet};
use portcullis::secret::Secret;

use crate::server::{Server, Wire, kinds, request, table};
use crate::vectors::Vectors;

/// An Accounting-Request with its Request Authenticator.
pub(crate) fn accounting(id: u8, attributes: &[(u8, &[u8])], secret: &str) -> Vec<u8> {
    let key = SharedSecret::new(&Secret::new(secret));
    let mut octets = request(ACCOUNTING_REQUEST, id, [0; 16], &key, attributes, false);
    let authenticator = key.response_authenticator(&octets);
    octets[4..20].copy_from_slice(&authenticator);
    octets
}

pub(crate) const START: (u8, &[u8]) = (ACCT_STATUS_TYPE, &[0, 0, 0, 1]);
const ON: (u8, &[u8]) = (ACCT_STATUS_TYPE, &[0, 0, 0, 7]);
pub(crate) const SESSION: (u8, &[u8]) = (ACCT_SESSION_ID, b"0001");
const ANA: (u8, &[u8]) = (USER_NAME, b"ana");

fn mine(id: u8, attributes: &[(u8, &[u8])]) -> Vec<u8> {
    accounting(id, attributes, crate::server::SECRET)
}

/// Sends an Accounting-Request and takes its answer, which must prove itself.
async fn told(wire: &Wire, octets: &[u8]) -> Vec<u8> {
    wire.send(octets).await;
    let reply = wire.receive().await;
    let (asked, answered) = (Packet::parse(octets).unwrap(), Packet::parse(&reply).unwrap());
    assert_eq!(answered.identifier(), asked.identifier());
    assert!(wire.secret.proves_response(&answered, asked.authenticator()));
    reply
}

// Section 3: authenticators.

#[tokio::test]
async fn requests_are_answered_with_the_octets_of_the_vectors() {
    let vectors = Vectors::load("rfc2866.txt");
    let server = Server::start("");
    let secret = vectors.secret.expose_str().unwrap();
    server.clients.store(table("", secret).into());
    let wire = server.wire().await;
    for name in ["start", "stop", "on"] {
        wire.send(vectors.packet(name)).await;
        assert_eq!(
            wire.receive().await,
            vectors.packet(&format!("{name} response")),
            "{name}"
        );
    }
    let reports = server.stub.reports();
    let [start, stop, on] = reports.as_slice() else {
        panic!("{reports:?}");
    };
    assert_eq!(
        (start.kind, start.nas.as_str(), start.id.as_str()),
        (Kind::Start, "192.168.1.16", "0A4F21")
    );
    assert_eq!(start.details.user_name.as_deref(), Some("nemo"));
    assert_eq!(start.details.address, Some(IpAddr::from([10, 1, 2, 3])));
    assert_eq!(start.details.calling_station.as_deref(), Some("00-11-22-33-44-55"));
    let delayed = clock::now().since(start.at);
    assert!(
        delayed >= Duration::from_secs(2) && delayed < Duration::from_secs(60),
        "{delayed:?}"
    );
    assert_eq!((stop.kind, stop.terminate_cause), (Kind::Stop, Some(1)));
    let usage = stop.usage;
    assert_eq!(
        (usage.seconds, usage.octets_in, usage.octets_out),
        (Some(3600), 5_000_000_000, 1000)
    );
    assert_eq!((usage.packets_in, usage.packets_out), (12, 34));
    assert_eq!((on.kind, on.nas.as_str()), (Kind::On, "gw1"));
}

#[tokio::test]
async fn a_wrong_authenticator_is_dropped_and_counted() {
    let server = Server::start("");
    let wire = server.wire().await;
    wire.expect_silence(&accounting(1, &[START, SESSION], "another secret"))
        .await;
    let mut altered = mine(2, &[START, SESSION, ANA]);
    *altered.last_mut().unwrap() ^= 1;
    wire.expect_silence(&altered).await;
    assert!(server.stub.reports().is_empty());
    assert_eq!(server.counted("reason=\"bad-request-authenticator\""), 2);
}

#[tokio::test]
async fn every_octet_is_proven() {
    let vectors = Vectors::load("rfc2866.txt");
    let secret = SharedSecret::new(&vectors.secret);
    for name in ["start", "on"] {
        let octets = vectors.packet(name);
        assert!(secret.proves_request(&Packet::parse(octets).unwrap()));
        for at in 0..octets.len() {
            let mut altered = octets.to_vec();
            altered[at] ^= 1;
            if let Ok(packet) = Packet::parse(&altered) {
                assert!(!secret.proves_request(&packet), "{name}, octet {at}");
            }
        }
    }
}

// Section 4.1: no answer to what is not written down.

#[tokio::test]
async fn what_cannot_be_written_down_is_not_acknowledged() {
    let server = Server::start("");
    let wire = server.wire().await;
    wire.expect_silence(&mine(1, &[START, SESSION, (USER_NAME, b"down")]))
        .await;
    assert_eq!(server.stub.reports().len(), 1);
    // The same octets again are not taken for a retransmission of something answered.
    wire.expect_silence(&mine(1, &[START, SESSION, (USER_NAME, b"down")]))
        .await;
    assert_eq!(server.stub.reports().len(), 2);
}

#[tokio::test]
async fn what_says_not_what_or_not_which_session_is_dropped() {
    let server = Server::start("");
    let wire = server.wire().await;
    let unreadable: [&[(u8, &[u8])]; 5] = [
        &[SESSION, ANA],
        &[START, START, SESSION],
        &[(ACCT_STATUS_TYPE, &[1]), SESSION],
        &[START, ANA],
        &[START, SESSION, SESSION],
    ];
    for (id, attributes) in (1..).zip(unreadable) {
        wire.expect_silence(&mine(id, attributes)).await;
    }
    assert!(server.stub.reports().is_empty());
    assert_eq!(server.counted("reason=\"malformed\""), 5);
}

// RFC 5080 section 2.2.2.

#[tokio::test]
async fn a_retransmission_is_kept_once_and_answered_again() {
    let server = Server::start("");
    let wire = server.wire().await;
    let start = mine(1, &[START, SESSION, ANA]);
    let first = told(&wire, &start).await;
    assert_eq!(first[0], ACCOUNTING_RESPONSE);
    assert_eq!(told(&wire, &start).await, first);
    assert_eq!(server.stub.reports().len(), 1);
}

// RFC 2867, and numbers yet to come.

#[tokio::test]
async fn other_kinds_are_written_down() {
    let server = Server::start("");
    let wire = server.wire().await;
    for (id, number) in [(1, 9), (2, 14), (3, 15), (4, 99)] {
        let status: (u8, &[u8]) = (ACCT_STATUS_TYPE, &[0, 0, 0, number]);
        assert_eq!(told(&wire, &mine(id, &[status])).await[0], ACCOUNTING_RESPONSE);
    }
    let kinds: Vec<Kind> = server.stub.reports().iter().map(|report| report.kind).collect();
    assert_eq!(kinds, [9, 14, 15, 99].map(Kind::Noted));
}

// RFC 2865 section 5.25, RFC 2866 section 5: Class comes back.

#[tokio::test]
async fn the_class_of_an_accept_names_the_person_to_accounting() {
    let server = Server::start("");
    let wire = server.wire().await;
    let accept = wire.ask(&wire.login(1, "ana", "hunter2", &[])).await;
    let class = Packet::parse(&accept).unwrap().find(CLASS).unwrap().to_vec();
    let foreign: (u8, &[u8]) = (CLASS, b"of a site's own");
    told(
        &wire,
        &mine(2, &[START, SESSION, (USER_NAME, b"00-11"), foreign, (CLASS, &class)]),
    )
    .await;
    let mut altered = class.clone();
    altered[9] ^= 1;
    told(&wire, &mine(3, &[START, SESSION, (CLASS, &altered)])).await;
    let reports = server.stub.reports();
    assert_eq!(reports[0].class.as_ref().unwrap().user.as_str(), "table:ana");
    assert!(reports[1].class.is_none());

    let quiet = Server::start("class = false\nuser_name_in_accept = true");
    let wire = quiet.wire().await;
    let accept = wire.ask(&wire.login(1, "ana", "hunter2", &[])).await;
    let accept = Packet::parse(&accept).unwrap();
    assert_eq!((accept.find(CLASS), accept.find(USER_NAME)), (None, Some(&b"ana"[..])));
}

// RFC 2869 section 5.3: by which clock.

#[tokio::test]
async fn a_clock_far_from_ours_is_not_believed() {
    let server = Server::start("");
    let wire = server.wire().await;
    let now = clock::now().secs();
    let near = u32::try_from(now - 600).unwrap().to_be_bytes();
    for (id, stamp) in [(1, near), (2, [0, 0, 1, 0]), (3, [0xff; 4])] {
        told(&wire, &mine(id, &[START, SESSION, (EVENT_TIMESTAMP, &stamp)])).await;
    }
    let ago: Vec<u64> = server
        .stub
        .reports()
        .iter()
        .map(|report| clock::now().since(report.at).as_secs())
        .collect();
    assert!(ago[0] >= 600 && ago[1] < 300 && ago[2] < 300, "{ago:?}");
}

/// Recorded ten minutes ago and sent again, it must not close what has begun since.
#[tokio::test]
async fn what_closes_all_sessions_goes_by_the_earlier_clock() {
    let server = Server::start("");
    let wire = server.wire().await;
    let near = u32::try_from(clock::now().secs() - 600).unwrap().to_be_bytes();
    let both: [(u8, &[u8]); 2] = [(EVENT_TIMESTAMP, &near), (ACCT_DELAY_TIME, &[0, 0, 0, 0])];
    told(&wire, &mine(1, &[ON, both[0], both[1]])).await;
    told(&wire, &mine(2, &[START, SESSION, both[0], both[1]])).await;
    let ago = server.stub.reports();
    let ago: Vec<u64> = ago
        .iter()
        .map(|report| clock::now().since(report.at).as_secs())
        .collect();
    assert!(ago[0] >= 600 && ago[1] < 300, "{ago:?}");
}

// Names that are no text.

#[tokio::test]
async fn names_of_any_octets_are_told_apart() {
    let server = Server::start("");
    let wire = server.wire().await;
    for (id, name) in [(1, &[0xff, 0][..]), (2, b"0xff00"), (3, b"gw 1")] {
        told(
            &wire,
            &mine(id, &[START, (ACCT_SESSION_ID, name), (NAS_IDENTIFIER, name)]),
        )
        .await;
    }
    let names: Vec<String> = server.stub.reports().into_iter().map(|report| report.nas).collect();
    assert_eq!(names, ["0xff00", "0x307866663030", "gw 1"]);
}

// RFC 5997 section 3, and what a listener serves.

#[tokio::test]
async fn an_accounting_port_serves_accounting_alone() {
    let server = Server::listen("127.0.0.1:0", "serve = ['accounting']", "");
    let wire = server.wire().await;
    wire.send(&wire.login(1, "ana", "hunter2", &[])).await;
    let status = request(STATUS_SERVER, 2, [3; 16], &wire.secret, &[(PROXY_STATE, b"p")], true);
    assert_eq!(wire.ask(&status).await[0], ACCOUNTING_RESPONSE, "nothing came before");
    let reply = told(
        &wire,
        &mine(3, &[START, SESSION, (PROXY_STATE, b"1"), (PROXY_STATE, b"2")]),
    )
    .await;
    assert_eq!(
        (reply[0], kinds(&reply)),
        (ACCOUNTING_RESPONSE, vec![PROXY_STATE, PROXY_STATE])
    );

    let other = Server::listen("127.0.0.1:0", "serve = ['authentication']", "");
    let wire = other.wire().await;
    wire.expect_silence(&mine(1, &[START, SESSION])).await;
    assert!(other.stub.reports().is_empty());
}

// RFC 5176 section 3: what names a session.

#[tokio::test]
async fn the_classes_of_a_session_are_kept_and_take_room_from_no_other_name() {
    let server = Server::start("");
    let wire = server.wire().await;
    let classes: Vec<[u8; 253]> = (0..9).map(|number| [number; 253]).collect();
    let mut attributes: Vec<(u8, &[u8])> = classes.iter().map(|class| (CLASS, class.as_slice())).collect();
    attributes.extend([START, SESSION, ANA, (NAS_IDENTIFIER, b"gw1")]);
    told(&wire, &mine(1, &attributes)).await;
    let identity = &server.stub.reports()[0].details.identity;
    let kept: Vec<u8> = Attributes::new(identity).map(|attribute| attribute.kind).collect();
    let names = [ACCT_SESSION_ID, USER_NAME, NAS_IDENTIFIER];
    assert_eq!(kept[..3], names);
    // As many as there is room for.
    assert_eq!(kept[3..], [CLASS; 7]);
    assert!(identity.len() <= Details::MAX_IDENTITY);
}
