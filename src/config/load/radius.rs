//! Whether a `[[radius]]` fits together.

use super::Reader;
use crate::config::{RadiusListener, Transport};

/// Looks at one listener.
pub(super) fn check(reader: &mut Reader<'_, '_, '_>, index: &str, listener: &RadiusListener) {
    let at = |key: &'static str| ["radius", index, key];
    if !(5..=30).contains(&listener.replay.as_secs()) {
        reader.error(&at("replay"), "must be 5s to 30s (RFC 5080 section 2.2.2)");
    }
    if listener.in_flight == 0 {
        reader.error(&at("in_flight"), "must be above zero");
    }
    if !(1..=64).contains(&listener.workers) {
        reader.error(&at("workers"), "must be 1 to 64");
    }
    match listener.transport {
        Transport::Udp => strangers(reader, index, &[TCP_ONLY, TLS_ONLY, STREAMS_ONLY], "udp"),
        Transport::Tcp => {
            strangers(reader, index, &[UDP_ONLY, TLS_ONLY], "tcp");
            if !listener.allow_plaintext_tcp {
                reader.error(
                    &at("transport"),
                    "is \"tcp\": RADIUS over bare TCP hides nothing but passwords, and those with MD5 alone (RFC 6613 section 1); use \"tls\", or say allow_plaintext_tcp = true if the network protects it",
                );
            }
            if listener.allow_plaintext_tcp && !listener.listen.ip().is_loopback() {
                reader.warn(
                    &at("allow_plaintext_tcp"),
                    "requests travel unencrypted on this listener",
                );
            }
        }
        Transport::Tls => {
            strangers(reader, index, &[UDP_ONLY, TCP_ONLY], "tls");
            tls(reader, index, listener);
        }
    }
    limits(reader, index, listener);
}

fn tls(reader: &mut Reader<'_, '_, '_>, index: &str, listener: &RadiusListener) {
    let at = |key: &'static str| ["radius", index, key];
    for (key, given, what) in [
        ("certificate", &listener.certificate, "the server's own certificate"),
        ("key", &listener.key, "its private key"),
        (
            "client_ca",
            &listener.client_ca,
            "the authorities that client certificates are verified against",
        ),
    ] {
        if given.is_none() {
            reader.error(
                &at(key),
                format!(
                    "is missing: transport = \"tls\" needs a PEM file of {what}; certs/README.md shows how to make it"
                ),
            );
        }
    }
    let twice = listener
        .versions
        .iter()
        .enumerate()
        .any(|(index, version)| listener.versions.iter().take(index).any(|before| before == version));
    if listener.versions.is_empty() || twice {
        reader.error(&at("versions"), "must list \"1.0\", \"1.1\", or both");
    }
}

fn limits(reader: &mut Reader<'_, '_, '_>, index: &str, listener: &RadiusListener) {
    if listener.transport == Transport::Udp {
        return;
    }
    for (key, value) in [
        ("connections", listener.connections),
        ("connections_per_source", listener.connections_per_source),
        ("in_flight_per_connection", listener.in_flight_per_connection),
    ] {
        if value == 0 || value > 65_536 {
            reader.error(&["radius", index, key], "must be 1 to 65536");
        }
    }
    if listener.handshakes_per_source == 0 || listener.handshakes_per_source > 10_000 {
        reader.error(&["radius", index, "handshakes_per_source"], "must be 1 to 10000");
    }
    for (key, value) in [("handshake", listener.handshake), ("idle", listener.idle)] {
        if value.is_zero() {
            reader.error(&["radius", index, key], "must be above zero");
        }
    }
}

/// Warns of keys that do nothing with this transport.
fn strangers(reader: &mut Reader<'_, '_, '_>, index: &str, keys: &[&[&str]], transport: &str) {
    for key in keys.iter().flat_map(|keys| keys.iter()) {
        let path = ["radius", index, key];
        if reader.document.has(&path) {
            reader.warn(&path, format!("does nothing with transport = \"{transport}\""));
        }
    }
}

const UDP_ONLY: &[&str] = &["workers"];
const TCP_ONLY: &[&str] = &["allow_plaintext_tcp"];
const TLS_ONLY: &[&str] = &["certificate", "key", "client_ca", "crl", "versions"];
const STREAMS_ONLY: &[&str] = &[
    "connections",
    "connections_per_source",
    "handshakes_per_source",
    "handshake",
    "idle",
    "in_flight_per_connection",
];
