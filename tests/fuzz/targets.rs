//! What the fuzz targets do, one function each: panic when something is wrong with `data`.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use portcullis::clock::Timestamp;
use portcullis::config;
use portcullis::engine::Given;
use portcullis::engine::batch::Key;
use portcullis::engine::record;
use portcullis::engine::response::{Kept, ResponseOutcome};
use portcullis::engine::session::{self, Change, Details, Kind, Owner, SessionRecord};
use portcullis::engine::texts::Texts;
use portcullis::keyring::Keyring;
use portcullis::radius::accounting;
use portcullis::radius::attribute::{ACCESS_REJECT, MESSAGE_AUTHENTICATOR, PROXY_STATE, REPLY_MESSAGE, STATUS_SERVER};
use portcullis::radius::channel::Channel;
use portcullis::radius::client::{Client, ClientTable, Habits};
use portcullis::radius::crypto::{SharedSecret, Signature};
use portcullis::radius::intake::Sender;
use portcullis::radius::packet::{Attributes, HEADER_LEN, MAX_LEN, MAX_VALUE, Packet, Writer};
use portcullis::radius::stream::frame::Frames;
use portcullis::radius::translate::{self, ReplyTo};
use portcullis::secret::Secret;

/// A packet from a client, on every channel all the way to its reply: whatever it is, an Access-Reject can
/// be written that proves itself and gives back every Proxy-State.
pub fn radius_packet(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else { return };
    assert!(packet.octets().len() <= data.len().min(MAX_LEN));
    let address = [192, 0, 2, 1].into();
    let client = CLIENTS.find(address).expect("the table has one client for all");
    for channel in [Channel::Udp, Channel::Tcp, Channel::Tls] {
        radius_request(&packet, client, address, channel);
    }
    let unsigned = Packet::parse_unsigned(data).expect("it asks for less");
    radius_request(&unsigned, client, address, Channel::Tls11);
}

/// A connection's octets, in pieces as long as the first octet says: however they come, the same packets are
/// cut out of them, and what is kept of them is bounded.
pub fn radius_stream(data: &[u8]) {
    let Some((&step, octets)) = data.split_first() else {
        return;
    };
    let (packets, whole) = frames(octets, usize::from(step) + 1);
    assert_eq!(
        (&packets, whole),
        (&frames(octets, usize::MAX).0, frames(octets, usize::MAX).1)
    );
    let cut: usize = packets.iter().map(Vec::len).sum();
    assert!(octets.starts_with(&packets.concat()) && cut <= octets.len());
    for packet in packets {
        assert!((HEADER_LEN..=MAX_LEN).contains(&packet.len()));
        radius_packet(&packet);
    }
}

/// The packets in `octets`, `step` of them at a time, and whether all of it could be read.
fn frames(octets: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut frames, mut packets, mut rest) = (Frames::default(), Vec::new(), octets);
    while !rest.is_empty() {
        let space = frames.space();
        assert!(!space.is_empty() && space.len() <= 2 * MAX_LEN);
        let (piece, after) = rest.split_at(rest.len().min(step).min(space.len()));
        space[..piece.len()].copy_from_slice(piece);
        frames.filled(piece.len());
        rest = after;
        loop {
            match frames.packet() {
                Ok(Some(packet)) => packets.push(packet.to_vec()),
                Ok(None) => break,
                Err(_) => return (packets, false),
            }
        }
    }
    (packets, true)
}

fn radius_request(packet: &Packet<'_>, client: &Arc<Client>, address: IpAddr, channel: Channel) {
    let secret = client.secret(channel);
    let sound = client.check_integrity(packet, channel, address, &Habits::default());
    if let Some(secret) = secret.filter(|_| packet.code() == STATUS_SERVER && sound.is_ok()) {
        assert_eq!(secret.request_signature(packet), Signature::Valid);
    }
    let now = Timestamp::from_secs(1_700_000_000);
    let sender = Sender {
        client,
        channel,
        source: (address, 1812).into(),
        listener: None,
    };
    if let Ok(request) = translate::request(packet, sender, &KEYRING, now) {
        assert!(!matches!(&request.given, Given::Typed(typed) if typed.is_empty()));
        assert!(!request.login.as_str().chars().any(char::is_control));
        let mut buffer = Vec::new();
        let reply_to = ReplyTo::new(packet, client.clone(), channel);
        if let Given::Response(response) = &request.given {
            let outcome = response.judge(Kept::Clear(&Secret::new("clientPass")));
            assert!(!matches!(
                outcome,
                ResponseOutcome::Impossible | ResponseOutcome::Unknown
            ));
        }
        reply_to.reject(&mut buffer);
        let reply = Packet::parse(&buffer).expect("we write packets");
        // RADIUS/1.1 has a Token in its place, and sends zero (RFC 9765 section 4.1).
        let identifier = secret.map_or(0, |_| packet.identifier());
        assert_eq!((reply.code(), reply.identifier()), (ACCESS_REJECT, identifier));
        match secret {
            Some(secret) => {
                assert!(secret.proves_response(&reply, packet.authenticator()));
                assert!(reply.signed_first());
            }
            None => {
                assert_eq!(
                    (reply.token(), &reply.authenticator()[4..]),
                    (packet.token(), &[0; 12][..])
                );
                assert!(!reply.has(MESSAGE_AUTHENTICATOR));
            }
        }
        assert!(reply.all(PROXY_STATE).eq(packet.all(PROXY_STATE)));
    }
}

/// An Accounting-Request on every channel: whatever is read of it, its texts can be shown, its names are keys of
/// the store, and the session that comes of it can be written and read again.
pub fn accounting_report(data: &[u8]) {
    let address = [192, 0, 2, 1].into();
    let client = CLIENTS.find(address).expect("the table has one client for all");
    if let Ok(packet) = Packet::parse(data) {
        for channel in [Channel::Udp, Channel::Tcp, Channel::Tls] {
            account(&packet, client, address, channel);
        }
    }
    if let Ok(packet) = Packet::parse_unsigned(data) {
        account(&packet, client, address, Channel::Tls11);
    }
}

fn account(packet: &Packet<'_>, client: &Arc<Client>, address: IpAddr, channel: Channel) {
    let proven = client.check_accounting(packet, channel);
    if let Some(secret) = client.secret(channel) {
        assert!(proven.is_err() || secret.proves_request(packet));
    }
    let now = Timestamp::from_secs(1_700_000_000);
    let sender = Sender {
        client,
        channel,
        source: (address, 1813).into(),
        listener: None,
    };
    let Ok(report) = accounting::report(packet, sender, &KEYRING, now) else {
        return;
    };
    assert_eq!(report.encrypted, channel.encrypted());
    assert!(report.at <= now && now.since(report.at) <= Duration::from_secs(24 * 3600));
    assert!(report.class.is_none(), "nobody has the key");
    let details = &report.details;
    let texts = [
        Some(&report.nas),
        Some(&report.id),
        details.user_name.as_ref(),
        details.multi_id.as_ref(),
        details.calling_station.as_ref(),
        details.called_station.as_ref(),
        details.address6.as_ref(),
        details.port_id.as_ref(),
    ];
    for text in texts.into_iter().flatten() {
        // What is no text is hexadecimal behind `0x`.
        assert!(text.len() <= 2 + 2 * MAX_VALUE && !text.chars().any(char::is_control));
    }
    assert!(!report.nas.is_empty() && details.identity.len() <= Details::MAX_IDENTITY);
    let mut identity = Attributes::new(&details.identity);
    assert!(identity.by_ref().count() <= packet.attributes().count());
    assert!(identity.rest().is_empty());

    let owner = Owner::default();
    match session::apply(None, None, &report, &owner, now) {
        Change::Opened { session, .. } | Change::Closed { session, .. } => {
            assert!(!report.id.is_empty());
            assert!(Key::session(&session.name()).as_octets().len() <= Key::MAX_OCTETS);
            let again: SessionRecord = record::decode(&record::encode(&session)).expect("as it was written");
            assert_eq!(again, session);
            // Said twice, nothing is new.
            let second = session::apply(Some(&session), None, &report, &owner, now);
            match report.kind {
                Kind::Start => assert_eq!(second, Change::None),
                Kind::Interim => assert_eq!(second, Change::Updated(session)),
                Kind::Stop | Kind::On | Kind::Off | Kind::Noted(_) => {}
            }
        }
        Change::None => assert!(matches!(report.kind, Kind::On | Kind::Off | Kind::Noted(_))),
        Change::Updated(_) => panic!("nothing was open"),
    }
}

/// Octets as attributes, read and written again; and as a text cut into Reply-Messages.
pub fn radius_attribute(data: &[u8]) {
    let secret = SharedSecret::new(&Secret::new("testing123"));
    let mut walk = Attributes::new(data);
    let mut buffer = Vec::new();
    let mut writer = Writer::begin(&mut buffer, 1, 2, &[3; 16], false);
    let mut read = Vec::new();
    for attribute in &mut walk {
        assert!(attribute.value.len() <= MAX_VALUE);
        if writer.push(attribute.kind, attribute.value).is_err() {
            break;
        }
        read.extend_from_slice(attribute.raw);
    }
    assert!(data.starts_with(&read) && data.ends_with(walk.rest()));
    writer.finish_request(&secret);
    assert!(buffer.ends_with(&read) && buffer.len() <= MAX_LEN);

    let text = String::from_utf8_lossy(data);
    let mut writer = Writer::begin(&mut buffer, 2, 2, &[3; 16], true);
    if writer.push_text(REPLY_MESSAGE, &text).is_ok() {
        writer.finish_reply(&secret);
        let packet = Packet::parse(&buffer).expect("we write packets");
        let pieces: Vec<&[u8]> = packet.all(REPLY_MESSAGE).collect();
        assert!(
            pieces
                .iter()
                .all(|piece| std::str::from_utf8(piece).is_ok_and(|text| !text.is_empty()))
        );
        assert_eq!(pieces.concat(), text.as_bytes());
    }
}

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::from_root(&[1; 32]));

static CLIENTS: LazyLock<ClientTable> = LazyLock::new(|| {
    let text = "name = 'any'\naddress = ['0.0.0.0/0']\nrequire_message_authenticator = 'no'\nlimit_proxy_state = 'no'";
    let client: config::Client = toml::from_str(text).expect("a client entry");
    ClientTable::build(
        [(&client, &Secret::new("xyzzy5461"), "staff".into())],
        &Texts::default(),
    )
    .expect("a client table")
});
