//! Validating `[[upstream]]`, and who refers to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Reader;
use crate::config::{Config, Directory, Upstream, UpstreamServer, UpstreamTransport};

/// An attempt that takes longer counts as lost (see [`crate::engine::throttle`]).
const LONGEST: Duration = Duration::from_secs(50);

impl Reader<'_, '_, '_> {
    /// Makes paths absolute, and reads secrets from their files.
    pub(super) fn resolve_upstreams(&mut self, upstreams: &mut [Upstream], folder: &Path) {
        let fix = |path: &mut PathBuf| *path = folder.join(&*path);
        for (index, upstream) in upstreams.iter_mut().enumerate() {
            for (position, server) in upstream.servers.iter_mut().enumerate() {
                [
                    &mut server.secret_file,
                    &mut server.certificate,
                    &mut server.key,
                    &mut server.ca_file,
                ]
                .into_iter()
                .flatten()
                .for_each(fix);
                let path = ["upstream", &index.to_string(), "servers", &position.to_string()];
                let (secret, file) = (server.secret.take(), server.secret_file.take());
                server.secret = self.secret(&path, "secret", secret, file.as_deref());
            }
        }
    }

    pub(super) fn upstreams(&mut self, config: &Config) {
        let names: Vec<String> = config.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        self.unique("upstream", &names);
        for (index, upstream) in config.upstreams.iter().enumerate() {
            self.upstream(&index.to_string(), upstream);
        }
        for (index, directory) in config.directories.iter().enumerate() {
            let key = match directory {
                Directory::Ldap(_) | Directory::Local(_) => "password_check",
                Directory::Radius(_) => "upstream",
            };
            let Some(name) = directory.password_check() else {
                continue;
            };
            if !names.iter().any(|known| known == name) {
                let path = ["directory", &index.to_string(), key];
                self.error(&path, format!("there is no [[upstream]] named \"{name}\""));
            }
        }
        for (index, listener) in config.ldap.iter().enumerate() {
            let directory = listener.directory.as_deref();
            let behind = config.directories.iter().find(|known| Some(known.name()) == directory);
            if behind.is_some_and(|behind| behind.password_check().is_some()) {
                self.error(
                    &["ldap", &index.to_string(), "directory"],
                    "its passwords are judged by an upstream RADIUS server, so nobody could be bound to it for an application",
                );
            }
        }
    }

    fn upstream(&mut self, index: &str, upstream: &Upstream) {
        let at = |key: &'static str| ["upstream", index, key];
        if upstream.servers.is_empty() {
            self.error(&at("servers"), "is empty; list one server or several");
        }
        if !(Duration::from_secs(1)..=LONGEST).contains(&upstream.timeout) {
            self.error(&at("timeout"), "must be 1s to 50s");
        }
        if !(1..=20).contains(&upstream.tries) {
            self.error(&at("tries"), "must be 1 to 20");
        }
        if !upstream.status_interval.is_zero() && upstream.status_interval < Duration::from_secs(5) {
            self.error(&at("status_interval"), "must be 5s or more, or 0s for never");
        }
        if !(1..=65_536).contains(&upstream.in_flight) || upstream.queue > 65_536 {
            self.error(&at("in_flight"), "must be 1 to 65536, and `queue` at most 65536");
        }
        if upstream
            .nas_identifier
            .as_ref()
            .is_some_and(|name| name.is_empty() || name.len() > 253)
        {
            self.error(&at("nas_identifier"), "must have 1 to 253 octets");
        }
        let udp = upstream
            .servers
            .iter()
            .any(|server| server.transport == UpstreamTransport::Udp);
        if !upstream.require_message_authenticator && udp {
            self.warn(
                &at("require_message_authenticator"),
                "is false: replies of servers over UDP can be forged (CVE-2024-3596), so that anybody on the way lets himself in",
            );
        }
        let mut before: Vec<&UpstreamServer> = Vec::new();
        for (position, server) in upstream.servers.iter().enumerate() {
            let path = ["upstream", index, "servers", &position.to_string()];
            if before
                .iter()
                .any(|other| other.address == server.address && other.transport == server.transport)
            {
                self.error(&path, format!("{} stands here twice", server.address));
            }
            self.upstream_server(&path, server);
            before.push(server);
        }
    }

    fn upstream_server(&mut self, path: &[&str; 4], server: &UpstreamServer) {
        let [table, index, list, position] = *path;
        let at = |key: &'static str| [table, index, list, position, key];
        match (server.transport, server.secret.as_ref().map(crate::secret::Secret::len)) {
            (UpstreamTransport::Udp, None) => self.error(path, "has no `secret` and no `secret_file`"),
            (_, Some(0)) => self.error(&at("secret"), "is empty"),
            (UpstreamTransport::Udp, Some(1..=15)) => self.warn(
                &at("secret"),
                "is shorter than 16 octets; RADIUS over UDP is only as strong as this secret",
            ),
            (UpstreamTransport::Udp | UpstreamTransport::Tls, _) => {}
        }
        let for_tls = [
            ("certificate", server.certificate.is_some()),
            ("key", server.key.is_some()),
            ("ca_file", server.ca_file.is_some()),
            ("fingerprint", server.fingerprint.is_some()),
            ("server_name", server.server_name.is_some()),
        ];
        if server.transport == UpstreamTransport::Udp {
            for (key, _) in for_tls.into_iter().filter(|(_, given)| *given) {
                self.warn(&at(key), "does nothing without transport = \"tls\"");
            }
        }
        if server.certificate.is_some() != server.key.is_some() {
            self.error(&at("certificate"), "`certificate` and `key` go together");
        }
        if server.fingerprint.is_some() && (server.ca_file.is_some() || server.server_name.is_some()) {
            self.error(
                &at("fingerprint"),
                "says it all; take away `ca_file` and `server_name`, or the fingerprint",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::{Config, UpstreamTransport};

    const GOOD: &str = r#"
[[directory]]
name = "everybody"
kind = "radius"
upstream = "tokens"

[[upstream]]
name = "tokens"
servers = [
  { address = "10.0.0.1:1812", secret = "sixteen octets or more" },
  { address = "10.0.0.2:2083", transport = "tls", ca_file = "ca.pem" },
]

[[radius]]
listen = "127.0.0.1:1812"

[[client]]
name = "vpn"
address = ["192.0.2.1"]
secret = "sixteen octets or more"
"#;

    fn load(text: &str) -> Result<(Config, String), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.toml");
        fs::write(&file, text).unwrap();
        let prefix = format!("{}/", folder.path().display());
        match Config::load(&file) {
            Ok((config, faults)) => Ok((config, faults.to_string().replace(&prefix, ""))),
            Err(faults) => Err(faults.to_string().replace(&prefix, "")),
        }
    }

    #[test]
    fn a_small_one_is_enough() {
        let (config, warnings) = load(GOOD).unwrap();
        assert_eq!(warnings, "");
        let upstream = &config.upstreams[0];
        assert!(upstream.require_message_authenticator);
        assert_eq!(upstream.servers[1].transport, UpstreamTransport::Tls);
        assert!(upstream.servers[1].ca_file.as_ref().unwrap().is_absolute());
        assert_eq!(config.directories[0].password_check(), Some("tokens"));
    }

    #[test]
    fn unsigned_replies_are_a_warning() {
        let text = GOOD.replace("servers = [", "require_message_authenticator = false\nservers = [");
        let (_, warnings) = load(&text).unwrap();
        assert!(
            warnings.contains("portcullis.toml:9:33: warning: upstream[0].require_message_authenticator: is false"),
            "{warnings}"
        );
    }

    #[test]
    fn faults_have_their_places() {
        for (from, to, fault) in [
            (
                "upstream = \"tokens\"",
                "upstream = \"tokes\"",
                "portcullis.toml:5:12: directory[0].upstream: there is no [[upstream]] named \"tokes\"",
            ),
            (
                ", secret = \"sixteen octets or more\" }",
                " }",
                "upstream[0].servers[0]: has no `secret` and no `secret_file`",
            ),
            (
                "servers = [",
                "timeout = \"2m\"\nservers = [",
                "portcullis.toml:9:11: upstream[0].timeout: must be 1s to 50s",
            ),
            (
                "ca_file = \"ca.pem\"",
                "ca_file = \"ca.pem\", fingerprint = \"00\"",
                "fingerprint: says it all",
            ),
            (
                "10.0.0.2:2083\", transport = \"tls\", ca_file = \"ca.pem\"",
                "10.0.0.1:1812\", secret = \"sixteen octets or more\"",
                "10.0.0.1:1812 stands here twice",
            ),
            (
                "[[radius]]",
                "[[ldap]]\nname = \"wiki\"\nlisten = \"127.0.0.1:636\"\ntls = \"none\"\nallow_plaintext = true\n\n[[radius]]",
                "ldap[0].directory: its passwords are judged by an upstream",
            ),
        ] {
            let faults = load(&GOOD.replace(from, to)).map(|_| ()).unwrap_err();
            assert!(faults.contains(fault), "{to}: {faults}");
        }
    }
}
