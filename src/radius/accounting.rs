//! An Accounting-Request (RFC 2866) becomes a [`Report`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::Report;
use crate::engine::session::{Class, Details, Kind, Usage};
use crate::keyring::Keyring;
use crate::radius::attribute::{
    ACCT_DELAY_TIME, ACCT_INPUT_GIGAWORDS, ACCT_INPUT_OCTETS, ACCT_INPUT_PACKETS, ACCT_MULTI_SESSION_ID,
    ACCT_OUTPUT_GIGAWORDS, ACCT_OUTPUT_OCTETS, ACCT_OUTPUT_PACKETS, ACCT_SESSION_ID, ACCT_SESSION_TIME,
    ACCT_STATUS_TYPE, ACCT_TERMINATE_CAUSE, CALLED_STATION_ID, CALLING_STATION_ID, CHARGEABLE_USER_IDENTITY, CLASS,
    EVENT_TIMESTAMP, FRAMED_INTERFACE_ID, FRAMED_IP_ADDRESS, FRAMED_IPV6_ADDRESS, FRAMED_IPV6_PREFIX, NAS_IDENTIFIER,
    NAS_IP_ADDRESS, NAS_IPV6_ADDRESS, NAS_PORT, NAS_PORT_ID, NAS_PORT_TYPE, ORIGINATING_LINE_INFO, USER_NAME,
};
use crate::radius::intake::Sender;
use crate::radius::packet::Packet;

/// Why an Accounting-Request cannot be written down, and so must not be answered (RFC 2866 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Acct-Status-Type says what is reported; there must be one (RFC 2866 section 5.13).
    #[error("Acct-Status-Type is not there once, with 4 octets")]
    StatusType,
    /// Acct-Session-Id says of which session; there must be one (RFC 2866 section 5.5).
    #[error("Acct-Session-Id is not there once")]
    SessionId,
}

/// The longest delay that is believed, whether Acct-Delay-Time or Event-Timestamp tells it.
const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

/// The attributes that name a NAS, or a session to it (RFC 5176 section 3), but for Class, of which there may
/// be many: it comes last, so that it takes room from nothing else.
const IDENTITY: [u8; 16] = [
    USER_NAME,
    NAS_IP_ADDRESS,
    NAS_PORT,
    FRAMED_IP_ADDRESS,
    CALLED_STATION_ID,
    CALLING_STATION_ID,
    NAS_IDENTIFIER,
    ACCT_SESSION_ID,
    ACCT_MULTI_SESSION_ID,
    NAS_PORT_TYPE,
    NAS_PORT_ID,
    CHARGEABLE_USER_IDENTITY,
    NAS_IPV6_ADDRESS,
    FRAMED_INTERFACE_ID,
    FRAMED_IPV6_PREFIX,
    ORIGINATING_LINE_INFO,
];

/// Reads an Accounting-Request whose integrity was checked. An optional attribute of the wrong length
/// counts as absent.
///
/// # Errors
/// [`Unreadable`]: drop silently.
pub fn report(
    packet: &Packet<'_>,
    sender: Sender<'_>,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<Report, Unreadable> {
    let client = sender.client;
    let source = sender.source.ip().to_canonical();
    let mut status = packet.all(ACCT_STATUS_TYPE);
    let (Some(value), None) = (status.next(), status.next()) else {
        return Err(Unreadable::StatusType);
    };
    let kind = match u32::from_be_bytes(value.try_into().map_err(|_| Unreadable::StatusType)?) {
        1 => Kind::Start,
        2 => Kind::Stop,
        3 => Kind::Interim,
        7 => Kind::On,
        8 => Kind::Off,
        other => Kind::Noted(other),
    };
    let mut ids = packet.all(ACCT_SESSION_ID);
    let id = match (kind, ids.next(), ids.next()) {
        (_, Some(id), None) if !id.is_empty() => text(id),
        (Kind::Start | Kind::Interim | Kind::Stop, _, _) => return Err(Unreadable::SessionId),
        (Kind::On | Kind::Off | Kind::Noted(_), _, _) => String::new(),
    };
    Ok(Report {
        kind,
        client: Arc::clone(&client.name),
        service: Arc::clone(&client.service),
        directory: Arc::clone(&client.directory),
        source,
        encrypted: sender.channel.encrypted(),
        nas: nas(packet).unwrap_or_else(|| source.to_string()),
        id,
        class: packet
            .all(CLASS)
            .find_map(|octets| Class::read(octets, keyring, &client.name)),
        details: details(packet),
        at: happened(packet, kind, now),
        usage: usage(packet),
        terminate_cause: number(packet, ACCT_TERMINATE_CAUSE),
    })
}

/// When it happened, by our clock. Acct-Delay-Time needs no clock of the NAS, so it goes before
/// Event-Timestamp. For what closes all sessions of a NAS the earlier of the two counts: a packet that
/// somebody recorded then closes none that have begun since. A clock that is a day off was not set yet, as
/// after a boot, and says nothing.
fn happened(packet: &Packet<'_>, kind: Kind, now: Timestamp) -> Timestamp {
    let delay = number(packet, ACCT_DELAY_TIME).map(|secs| Duration::from_secs(secs.into()));
    let delayed = delay.map(|delay| now - delay.min(MAX_DELAY));
    let event = number(packet, EVENT_TIMESTAMP).map(|secs| Timestamp::from_secs(secs.into()));
    let event = event.filter(|event| *event <= now && now.since(*event) <= MAX_DELAY);
    let happened = match kind {
        Kind::On | Kind::Off => [delayed, event].into_iter().flatten().min(),
        Kind::Start | Kind::Interim | Kind::Stop | Kind::Noted(_) => delayed.or(event),
    };
    happened.unwrap_or(now)
}

fn nas(packet: &Packet<'_>) -> Option<String> {
    let name = packet.find(NAS_IDENTIFIER).filter(|octets| !octets.is_empty());
    name.map(text)
        .or_else(|| ipv4(packet, NAS_IP_ADDRESS).map(|address| address.to_string()))
        .or_else(|| ipv6(packet, NAS_IPV6_ADDRESS).map(|address| address.to_string()))
}

fn details(packet: &Packet<'_>) -> Details {
    let of = |kind: u8| packet.find(kind).filter(|octets| !octets.is_empty()).map(text);
    let mut identity = Vec::new();
    let names = packet
        .attributes()
        .filter(|attribute| IDENTITY.contains(&attribute.kind));
    let classes = packet.attributes().filter(|attribute| attribute.kind == CLASS);
    for attribute in names.chain(classes) {
        if identity.len() + attribute.raw.len() <= Details::MAX_IDENTITY {
            identity.extend_from_slice(attribute.raw);
        }
    }
    let address6 = ipv6(packet, FRAMED_IPV6_ADDRESS).map(|address| address.to_string());
    Details {
        user_name: of(USER_NAME),
        multi_id: of(ACCT_MULTI_SESSION_ID),
        calling_station: of(CALLING_STATION_ID),
        called_station: of(CALLED_STATION_ID),
        address: ipv4(packet, FRAMED_IP_ADDRESS).map(IpAddr::V4),
        address6: address6.or_else(|| prefix6(packet.find(FRAMED_IPV6_PREFIX)?)),
        port: number(packet, NAS_PORT),
        port_id: of(NAS_PORT_ID),
        identity,
    }
}

fn usage(packet: &Packet<'_>) -> Usage {
    let count = |kind: u8| number(packet, kind).unwrap_or(0);
    // RFC 2869 sections 5.1 and 5.2: how often the counter of octets has wrapped.
    let wide = |low: u8, high: u8| u64::from(count(high)) << 32 | u64::from(count(low));
    Usage {
        seconds: number(packet, ACCT_SESSION_TIME),
        octets_in: wide(ACCT_INPUT_OCTETS, ACCT_INPUT_GIGAWORDS),
        octets_out: wide(ACCT_OUTPUT_OCTETS, ACCT_OUTPUT_GIGAWORDS),
        packets_in: count(ACCT_INPUT_PACKETS),
        packets_out: count(ACCT_OUTPUT_PACKETS),
    }
}

fn number(packet: &Packet<'_>, kind: u8) -> Option<u32> {
    packet.find(kind)?.try_into().ok().map(u32::from_be_bytes)
}

fn ipv4(packet: &Packet<'_>, kind: u8) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = packet.find(kind)?.try_into().ok()?;
    Some(octets.into())
}

fn ipv6(packet: &Packet<'_>, kind: u8) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = packet.find(kind)?.try_into().ok()?;
    Some(octets.into())
}

/// Framed-IPv6-Prefix: a reserved octet, the length, and as many octets as it takes (RFC 3162 section 2.3).
fn prefix6(value: &[u8]) -> Option<String> {
    let (&[_, length], rest) = value.split_first_chunk::<2>()?;
    let mut octets = [0; 16];
    octets.get_mut(..rest.len())?.copy_from_slice(rest);
    (length <= 128).then(|| format!("{}/{length}", Ipv6Addr::from(octets)))
}

/// A text as it was sent; what is none, in hexadecimal. Different octets give different texts.
fn text(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) if !text.chars().any(char::is_control) && !text.starts_with("0x") => text.to_owned(),
        Ok(_) | Err(_) => format!("0x{}", data_encoding::HEXLOWER.encode(octets)),
    }
}
