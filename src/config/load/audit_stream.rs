//! Validating `[[audit_stream]]`.

use std::path::Path;
use std::time::Duration;

use super::Reader;
use super::delivery::is_loopback;
use crate::config::{AuditStream, Config, StreamKind, StreamTransport};

impl Reader<'_, '_, '_> {
    /// Makes paths absolute.
    pub(super) fn resolve_streams(&self, streams: &mut [AuditStream], folder: &Path) {
        for stream in streams {
            [&mut stream.ca_file, &mut stream.certificate, &mut stream.key]
                .into_iter()
                .flatten()
                .for_each(|path| *path = folder.join(&*path));
        }
    }

    pub(super) fn audit_streams(&mut self, config: &Config) {
        let names: Vec<String> = config.audit_streams.iter().map(|stream| stream.name.clone()).collect();
        self.unique("audit_stream", &names);
        for (index, stream) in config.audit_streams.iter().enumerate() {
            self.audit_stream(&index.to_string(), stream);
        }
    }

    fn audit_stream(&mut self, index: &str, stream: &AuditStream) {
        let at = |key: &'static str| ["audit_stream", index, key];
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if stream.name.is_empty() || stream.name.len() > 64 || !stream.name.chars().all(plain) {
            self.error(&at("name"), "must be 1 to 64 letters, digits, `-`, `_` or `.`");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&stream.timeout) {
            self.error(&at("timeout"), "must be 1s to 60s");
        }
        if stream.certificate.is_some() != stream.key.is_some() {
            self.error(&at("certificate"), "`certificate` and `key` go together");
        }
        if stream.kind == StreamKind::Json && stream.transport == StreamTransport::Udp {
            self.error(
                &at("transport"),
                "is \"udp\", which \"json\" is not sent over; use \"tls\" or \"tcp\"",
            );
        }
        let Some((host, _)) = stream.host_and_port() else {
            self.error(&at("server"), "must be a host and a port: logs.example.org:6514");
            return;
        };
        let (protected, lost) = match stream.transport {
            StreamTransport::Tls => (true, false),
            StreamTransport::Tcp => (false, false),
            StreamTransport::Udp => (false, true),
        };
        let of_tls = [
            ("ca_file", stream.ca_file.is_some()),
            ("server_name", stream.server_name.is_some()),
            ("certificate", stream.certificate.is_some()),
        ];
        for (key, _) in of_tls.into_iter().filter(|(_, given)| *given && !protected) {
            self.error(&at(key), "is about TLS, which this transport does without");
        }
        if lost {
            self.warn(
                &at("transport"),
                "is \"udp\": records that get lost on the way are not sent again",
            );
        }
        if protected || is_loopback(host) {
            return;
        }
        if stream.allow_plaintext {
            self.warn(
                &at("transport"),
                "records travel to the collector unencrypted, and anybody can make up others",
            );
        } else {
            self.error(
                &at("transport"),
                "would let records travel unencrypted; use \"tls\", or say allow_plaintext = true",
            );
        }
    }
}
