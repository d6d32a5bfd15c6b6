//! Reading and validating the file.

mod approval;
mod audit;
mod audit_stream;
mod delivery;
mod four_eyes;
mod generated;
mod operator;
mod privileged;
mod upstream;

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{
    Accounting, Admin, Approvals, Audit, AuditStream, Client, Config, Delivery, Dialogs, Dictionary, Directory,
    DynamicAuthorization, GeneratedPasswords, LdapDirectory, LdapListener, LdapTls, Limits, LocalDirectory, Log,
    Metrics, Node, Operator, Passcodes, Policies, Privileged, Profile, ProxyProtocol, RadiusDirectory, RadiusListener,
    Store, Transport, Upstream,
};
use crate::document::{Document, Faults, Source};
use crate::secret::Secret;

const SECTIONS: &[&str] = &[
    "node",
    "log",
    "store",
    "audit",
    "admin",
    "metrics",
    "policies",
    "dialogs",
    "dictionary",
    "limits",
    "accounting",
    "passcodes",
    "approvals",
    "approval",
    "generated_passwords",
    "privileged",
    "operator",
    "directory",
    "upstream",
    "delivery",
    "audit_stream",
    "radius",
    "client",
    "ldap",
];

impl Config {
    /// Reads and validates a file. Warnings go to the second part of the result.
    ///
    /// # Errors
    /// All faults, with their places, when any of them is an error.
    pub fn load(file: &Path) -> Result<(Self, Faults), Faults> {
        let mut faults = Faults::default();
        let Some(source) = Source::read(file, &mut faults) else {
            return Err(faults);
        };
        let Some(document) = Document::parse(&source, &mut faults) else {
            return Err(faults);
        };
        document.only(SECTIONS, &mut faults);
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut reader = Reader {
            document: &document,
            folder,
            faults: &mut faults,
        };
        let mut config = Self {
            node: reader.section::<Node>("node"),
            log: reader.section::<Log>("log"),
            store: reader.section::<Store>("store"),
            audit: reader.section::<Audit>("audit"),
            admin: reader.section::<Admin>("admin"),
            metrics: reader.section::<Metrics>("metrics"),
            policies: reader.section::<Policies>("policies"),
            dialogs: reader.section::<Dialogs>("dialogs"),
            dictionary: reader.section::<Dictionary>("dictionary"),
            limits: reader.section::<Limits>("limits"),
            accounting: reader.section::<Accounting>("accounting"),
            passcodes: reader.section::<Passcodes>("passcodes"),
            approvals: reader.section::<Approvals>("approvals"),
            approval: reader.items("approval"),
            generated_passwords: reader.section::<GeneratedPasswords>("generated_passwords"),
            privileged: reader.section::<Privileged>("privileged"),
            operators: reader.items::<Operator>("operator"),
            directories: reader.directories(),
            upstreams: reader.items::<Upstream>("upstream"),
            deliveries: reader.items::<Delivery>("delivery"),
            audit_streams: reader.items::<AuditStream>("audit_stream"),
            radius: reader.items::<RadiusListener>("radius"),
            clients: reader.items::<Client>("client"),
            ldap: reader.items::<LdapListener>("ldap"),
        };
        // What is named by its index, or refers to others, is looked at only where everything could be
        // read: a client whose directory did not parse has nothing wrong with its reference.
        if !reader.faults.any_errors() {
            reader.resolve(&mut config);
        }
        if !reader.faults.any_errors() {
            reader.cross_check(&mut config);
        }
        if faults.any_errors() {
            Err(faults)
        } else {
            Ok((config, faults))
        }
    }

    /// Path of the admin socket: as configured, else where the command line looks for it, else, for an
    /// installation with a state folder of its own, in that folder.
    pub fn admin_socket(&self) -> PathBuf {
        match &self.admin.socket {
            Some(socket) => socket.clone(),
            None if self.node.state == Node::default().state => "/run/portcullis/admin.sock".into(),
            None => self.node.state.join("admin.sock"),
        }
    }

    /// Folder of the store.
    pub fn store_path(&self) -> PathBuf {
        self.store.path.clone().unwrap_or_else(|| self.node.state.join("store"))
    }

    /// Folder of the store's exports.
    pub fn export_path(&self) -> PathBuf {
        self.node.state.join("exports")
    }

    /// Path of the key file: as configured, else the systemd credential `portcullis.key` in the folder
    /// `credentials` (`$CREDENTIALS_DIRECTORY`), else in the state folder.
    pub fn key_file(&self, credentials: Option<&Path>) -> PathBuf {
        let credential = credentials
            .map(|folder| folder.join("portcullis.key"))
            .filter(|path| path.exists());
        self.store
            .key_file
            .clone()
            .or(credential)
            .unwrap_or_else(|| self.node.state.join("portcullis.key"))
    }
}

struct Reader<'d, 's, 'f> {
    document: &'d Document<'s>,
    folder: &'d Path,
    faults: &'f mut Faults,
}

impl Reader<'_, '_, '_> {
    fn section<T: serde::de::DeserializeOwned + Default>(&mut self, key: &str) -> T {
        self.document.section(key, self.faults)
    }

    fn items<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Vec<T> {
        self.document
            .items(key, self.faults)
            .into_iter()
            .map(|(_, item)| item)
            .collect()
    }

    fn directories(&mut self) -> Vec<Directory> {
        let mut directories = Vec::new();
        for index in 0..self.document.count("directory") {
            let at = index.to_string();
            match self.document.text(&["directory", &at, "kind"]) {
                Some("ldap") => {
                    let read: Option<LdapDirectory> = self.document.item("directory", index, &["kind"], self.faults);
                    directories.extend(read.map(|mut read| {
                        read.take_defaults(|key| self.document.has(&["directory", &at, key]));
                        Directory::Ldap(Box::new(read))
                    }));
                }
                Some("local") => {
                    let read: Option<LocalDirectory> = self.document.item("directory", index, &["kind"], self.faults);
                    if read.as_ref().is_some_and(|read| read.cleartext) {
                        self.warn(
                            &["directory", &at, "cleartext"],
                            "passwords may stand in the file as they are: whoever reads it, or a copy of it, has them",
                        );
                    }
                    directories.extend(read.map(Directory::Local));
                }
                Some("radius") => {
                    let read: Option<RadiusDirectory> = self.document.item("directory", index, &["kind"], self.faults);
                    directories.extend(read.map(Directory::Radius));
                }
                Some(other) => self.error(
                    &["directory", &at, "kind"],
                    format!("is \"{other}\"; there are \"ldap\", \"local\" and \"radius\""),
                ),
                None => self.error(
                    &["directory", &at],
                    "has no `kind`; write kind = \"ldap\", kind = \"local\" or kind = \"radius\"",
                ),
            }
        }
        directories
    }

    fn error(&mut self, path: &[&str], message: impl Into<String>) {
        self.faults.0.push(self.document.fault(path, message));
    }

    fn warn(&mut self, path: &[&str], message: impl Into<String>) {
        self.faults.0.push(self.document.warning(path, message));
    }

    /// Makes paths absolute to the file's folder, and reads secrets from their files.
    fn resolve(&mut self, config: &mut Config) {
        let folder = self.folder.to_owned();
        let fix = |path: &mut PathBuf| *path = folder.join(&*path);
        fix(&mut config.node.state);
        fix(&mut config.policies.path);
        [
            &mut config.store.path,
            &mut config.dictionary.path,
            &mut config.store.key_file,
            &mut config.admin.socket,
        ]
        .into_iter()
        .flatten()
        .for_each(fix);
        for (index, directory) in config.directories.iter_mut().enumerate() {
            match directory {
                Directory::Ldap(ldap) => {
                    [&mut ldap.ca_file, &mut ldap.bind_password_file]
                        .into_iter()
                        .flatten()
                        .for_each(fix);
                    let path = ["directory", &index.to_string()];
                    let password = ldap.bind_password.take();
                    let file = ldap.bind_password_file.take();
                    ldap.bind_password = self.secret(&path, "bind_password", password, file.as_deref());
                }
                Directory::Local(local) => fix(&mut local.ldif),
                Directory::Radius(_) => {}
            }
        }
        if let Some(tls) = &mut config.admin.tls {
            fix(&mut tls.certificate);
            fix(&mut tls.key);
            tls.client_ca.iter_mut().for_each(fix);
        }
        self.resolve_upstreams(&mut config.upstreams, &folder);
        self.resolve_deliveries(&mut config.deliveries, &folder);
        self.resolve_streams(&mut config.audit_streams, &folder);
        for (index, client) in config.clients.iter_mut().enumerate() {
            client.secret_file.iter_mut().for_each(fix);
            let path = ["client", &index.to_string()];
            let secret = client.secret.take();
            let file = client.secret_file.take();
            client.secret = self.secret(&path, "secret", secret, file.as_deref());
            if let Some(dynamic) = &mut client.dynamic_authorization {
                dynamic.secret_file.iter_mut().for_each(fix);
                let path = ["client", &index.to_string(), "dynamic_authorization"];
                let secret = dynamic.secret.take();
                let file = dynamic.secret_file.take();
                dynamic.secret = self.secret(&path, "secret", secret, file.as_deref());
            }
        }
        for listener in &mut config.radius {
            [
                &mut listener.certificate,
                &mut listener.key,
                &mut listener.client_ca,
                &mut listener.crl,
            ]
            .into_iter()
            .flatten()
            .for_each(fix);
        }
        for listener in &mut config.ldap {
            [
                &mut listener.certificate,
                &mut listener.key,
                &mut listener.client_ca,
                &mut listener.crl,
            ]
            .into_iter()
            .flatten()
            .for_each(fix);
        }
    }

    /// The secret given inline or in a file, whichever it is.
    fn secret(
        &mut self,
        path: &[&str],
        key: &'static str,
        inline: Option<Secret>,
        file: Option<&Path>,
    ) -> Option<Secret> {
        let at = [path, &[key]].concat();
        match (inline, file) {
            (Some(_), Some(_)) => {
                self.error(&at, format!("is given, and {key}_file as well; keep one of them"));
                None
            }
            (inline, None) => inline,
            (None, Some(file)) => self.secret_file(path, &format!("{key}_file"), file),
        }
    }

    /// The secret in a file that `key` names, without the line's end.
    fn secret_file(&mut self, path: &[&str], key: &str, file: &Path) -> Option<Secret> {
        let at = [path, &[key]].concat();
        match fs::read(file) {
            Ok(octets) => {
                let open = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode() & 0o007);
                if open != 0 {
                    self.warn(
                        &at,
                        format!(
                            "{} is readable by everyone; run: chmod o= {}",
                            file.display(),
                            file.display()
                        ),
                    );
                }
                let end = octets
                    .iter()
                    .rposition(|octet| !matches!(octet, b'\n' | b'\r'))
                    .map_or(0, |last| last + 1);
                Some(Secret::new(octets.get(..end).unwrap_or_default()))
            }
            Err(error) => {
                self.error(&at, format!("{} cannot be read: {error}", file.display()));
                None
            }
        }
    }

    /// Whether the parts fit together.
    fn cross_check(&mut self, config: &mut Config) {
        if config.directories.is_empty() {
            self.error(&[], "no [[directory]]: passwords need one to be checked against");
        }
        if config.radius.is_empty() && config.ldap.is_empty() {
            self.error(&[], "neither [[radius]] nor [[ldap]]: nothing would be listened on");
        }
        if !config.radius.is_empty() && config.clients.is_empty() {
            self.error(&["radius"], "no [[client]]: every RADIUS request would be dropped");
        }
        self.limits(config);
        self.accounting(config);
        self.four_eyes(config);
        self.approvals(config);
        self.generated_passwords(config);
        self.privileged(config);
        self.audit(config);
        let directories: Vec<String> = config
            .directories
            .iter()
            .map(|directory| directory.name().to_owned())
            .collect();
        self.unique("directory", &directories);
        self.operators(config, &directories);
        for (index, directory) in config.directories.iter().enumerate() {
            if let Directory::Ldap(ldap) = directory {
                self.ldap_directory(&index.to_string(), ldap);
            }
        }
        self.clients(config, &directories);
        self.radius_listeners(config);
        self.ldap_listeners(config, &directories);
        self.upstreams(config);
        self.deliveries(config);
        self.audit_streams(config);
    }

    fn limits(&mut self, config: &Config) {
        if config.limits.window.is_zero() {
            self.error(&["limits", "window"], "is zero; write a span such as 15m");
        }
        if config.limits.challenge.is_zero() || config.limits.dialog < config.limits.challenge {
            self.error(
                &["limits"],
                "`challenge` must be above zero, and `dialog` at least as long",
            );
        }
        if config.limits.user_failures == 0 {
            self.warn(
                &["limits", "user_failures"],
                "is 0: passwords and codes can be guessed without end",
            );
        }
        if config.limits.user_failures > MAX_USER_FAILURES {
            self.error(&["limits", "user_failures"], format!("is above {MAX_USER_FAILURES}"));
        }
    }

    fn accounting(&mut self, config: &Config) {
        let accounting = &config.accounting;
        if accounting.start_within.is_zero() || accounting.start_within > MAX_START_WITHIN {
            self.error(&["accounting", "start_within"], "must be above zero and at most 1h");
        }
        let clients = config.clients.iter().enumerate();
        let named = clients.map(|(index, client)| (Some(index.to_string()), client.stale_after, client.max_sessions));
        let common = (None, Some(accounting.stale_after), Some(accounting.max_sessions));
        for (index, stale_after, max_sessions) in std::iter::once(common).chain(named) {
            let at = |key: &'static str| match &index {
                Some(index) => vec!["client", index.as_str(), key],
                None => vec!["accounting", key],
            };
            if stale_after.is_some_and(|span| !span.is_zero() && span < MIN_STALE_AFTER) {
                self.error(
                    &at("stale_after"),
                    "is below 5m, which live sessions would not outlast; write 0s to close none",
                );
            }
            if max_sessions == Some(0) {
                self.error(&at("max_sessions"), "is 0: no session could be kept");
            }
        }
    }

    fn ldap_directory(&mut self, index: &str, directory: &LdapDirectory) {
        let at = |key: &'static str| ["directory", index, key];
        if directory.urls.is_empty() && directory.srv.is_none() {
            self.error(
                &at("urls"),
                "is empty; list one server or several, or write the SRV record that names them into `srv`",
            );
        }
        for (position, url) in directory.urls.iter().enumerate() {
            let position = position.to_string();
            let path = ["directory", index, "urls", &position];
            let plain = url.strip_prefix("ldap://");
            let Some(host) = plain.or_else(|| url.strip_prefix("ldaps://")) else {
                self.error(
                    &path,
                    format!("`{url}` is no LDAP URL; write ldap://host:389 or ldaps://host:636"),
                );
                continue;
            };
            if host.is_empty() || host.contains('/') {
                self.error(
                    &path,
                    format!("`{url}` must end after host and port; the base DN goes into `base_dn`"),
                );
            }
            if plain.is_some() && directory.starttls == Some(false) && !directory.allow_plaintext {
                self.error(&path, format!("`{url}` without StartTLS would send passwords in the clear; use ldaps://, or say allow_plaintext = true"));
            }
        }
        if directory.allow_plaintext
            && !directory.starttls.unwrap_or(false)
            && (directory.urls.iter().any(|url| url.starts_with("ldap://"))
                || directory.srv.as_ref().is_some_and(|name| name.starts_with("_ldap._")))
        {
            self.warn(&at("allow_plaintext"), "passwords travel to the directory unencrypted");
        }
        if directory.bind_dn.is_some() != directory.bind_password.is_some() {
            self.error(
                &at("bind_dn"),
                "`bind_dn` and `bind_password` (or `bind_password_file`) go together",
            );
        }
        if directory.login_attributes.is_empty() {
            self.error(
                &at("login_attributes"),
                "is empty; list the attributes that login names stand in, such as \"uid\"",
            );
        }
        for (key, count) in [
            ("look_up_connections", directory.look_up_connections),
            ("bind_connections", directory.bind_connections),
        ] {
            if count == 0 || count > 1024 {
                self.error(&["directory", index, key], "must be 1 to 1024");
            }
        }
        if directory.timeout.is_zero() || directory.connect_timeout.is_zero() {
            self.error(&at("timeout"), "`timeout` and `connect_timeout` must be above zero");
        }
        for (key, span) in [
            ("max_connection_age", directory.max_connection_age),
            ("max_connection_idle", directory.max_connection_idle),
        ] {
            if span < Duration::from_secs(1) || span > Duration::from_secs(30 * 86400) {
                self.error(&["directory", index, key], "must be 1s to 30d");
            }
        }
        if directory.relay_connections == 0 || directory.relay_connections > 65536 {
            self.error(&at("relay_connections"), "must be 1 to 65536");
        }
    }

    fn clients(&mut self, config: &mut Config, directories: &[String]) {
        let names: Vec<String> = config.clients.iter().map(|client| client.name.clone()).collect();
        self.unique("client", &names);
        let mut nets = HashMap::new();
        for (index, client) in config.clients.iter_mut().enumerate() {
            let index = index.to_string();
            let at = |key: &'static str| ["client", &index, key];
            client.directory = self.directory(&["client", &index], client.directory.take(), directories);
            let certified = client.certificate.is_some();
            if client.address.is_empty() && !certified {
                self.error(
                    &at("address"),
                    "is empty; list addresses or prefixes, or say what `certificate` it has",
                );
            }
            if client
                .certificate
                .as_ref()
                .is_some_and(|rule| rule.san.is_empty() && rule.fingerprint.is_empty() && rule.issuer.is_none())
            {
                self.error(
                    &at("certificate"),
                    "says nothing; give `san`, `fingerprint` or `issuer`",
                );
            }
            for net in client.address.iter().filter(|_| !certified) {
                if let Some(other) = nets.insert(net.0, client.name.clone()) {
                    self.error(
                        &at("address"),
                        format!("{} belongs to client \"{other}\" already", net.0),
                    );
                }
            }
            match client.secret.as_ref().map(Secret::len) {
                None if certified => {}
                None => self.error(&["client", &index], "has no `secret` and no `secret_file`"),
                Some(0) => self.error(&at("secret"), "is empty"),
                Some(1..=15) if !certified => self.warn(
                    &at("secret"),
                    "is shorter than 16 octets; RADIUS over UDP is only as strong as this secret",
                ),
                Some(_) => {}
            }
            if client.require_message_authenticator == crate::config::Requirement::No {
                self.warn(
                    &at("require_message_authenticator"),
                    "is \"no\": replies to this client can be forged (CVE-2024-3596); \"auto\" protects it as soon as it can do better",
                );
            }
            if let Some(dynamic) = &client.dynamic_authorization {
                self.dynamic_authorization(&index, dynamic);
                if certified && dynamic.secret.is_none() {
                    self.warn(
                        &at("dynamic_authorization"),
                        "does nothing: the client is connected over TLS, and these requests need a `secret` of their own",
                    );
                }
            }
            if client.profile != Profile::Dialog && client.recover.0.is_some() {
                self.warn(
                    &at("recover"),
                    "does nothing unless profile = \"dialog\": it takes more than one question",
                );
            }
            if client.profile != Profile::Append && self.document.has(&["client", &index, "append"]) {
                self.warn(&at("append"), "does nothing unless profile = \"append\"");
            }
        }
    }

    fn dynamic_authorization(&mut self, index: &str, dynamic: &DynamicAuthorization) {
        let at = |key: &'static str| ["client", index, "dynamic_authorization", key];
        if dynamic.port == 0 {
            self.error(&at("port"), "is 0; the port assigned to it is 3799");
        }
        if !DynamicAuthorization::TIMEOUTS.contains(&dynamic.timeout) {
            self.error(&at("timeout"), "must be 100ms to 30s");
        }
        if !(1..=DynamicAuthorization::MOST_TRIES).contains(&dynamic.tries) {
            let most = DynamicAuthorization::MOST_TRIES;
            self.error(&at("tries"), format!("must be 1 to {most}"));
        }
        if !dynamic.attributes.iter().any(|attribute| attribute.names_session()) {
            self.error(
                &at("attributes"),
                "names no session; list at least one such as \"Acct-Session-Id\"",
            );
        }
        match dynamic.secret.as_ref().map(Secret::len) {
            Some(0) => self.error(&at("secret"), "is empty"),
            Some(1..=15) => self.warn(
                &at("secret"),
                "is shorter than 16 octets; whoever finds it out can end sessions",
            ),
            Some(_) | None => {}
        }
        if !dynamic.message_authenticator {
            self.warn(
                &at("message_authenticator"),
                "is false: only the older MD5 checksum protects the requests",
            );
        }
    }

    fn radius_listeners(&mut self, config: &Config) {
        let names: Vec<String> = config.radius.iter().map(|listener| listener.name.clone()).collect();
        self.unique("radius", &names);
        for (index, listener) in config.radius.iter().enumerate() {
            radius::check(self, &index.to_string(), listener);
        }
        if let Some(index) = config.clients.iter().position(|client| client.certificate.is_some())
            && !config
                .radius
                .iter()
                .any(|listener| listener.transport == Transport::Tls)
        {
            let path = ["client", &index.to_string(), "certificate"];
            self.warn(&path, "is never seen: no [[radius]] has transport = \"tls\"");
        }
        let addresses: Vec<(Transport, SocketAddr)> = config
            .radius
            .iter()
            .map(|listener| match listener.transport {
                Transport::Udp => (Transport::Udp, listener.listen),
                Transport::Tcp | Transport::Tls => (Transport::Tcp, listener.listen),
            })
            .collect();
        self.one_listener_each("radius", &addresses);
    }

    /// Two listeners cannot share an address; datagrams and connections have addresses of their own.
    fn one_listener_each(&mut self, table: &str, addresses: &[(Transport, SocketAddr)]) {
        for (index, place) in addresses.iter().enumerate() {
            let (_, address) = place;
            if address.port() != 0 && addresses.iter().take(index).any(|before| before == place) {
                let path = [table, &index.to_string(), "listen"];
                self.error(
                    &path,
                    format!("{address} is the address of another [[{table}]] already"),
                );
            }
        }
    }

    fn ldap_listeners(&mut self, config: &mut Config, directories: &[String]) {
        let names: Vec<String> = config.ldap.iter().map(|listener| listener.name.clone()).collect();
        self.unique("ldap", &names);
        let addresses: Vec<_> = config
            .ldap
            .iter()
            .map(|listener| (Transport::Tcp, listener.listen))
            .collect();
        self.one_listener_each("ldap", &addresses);
        for (index, listener) in config.ldap.iter_mut().enumerate() {
            let index = index.to_string();
            let at = |key: &'static str| ["ldap", &index, key];
            listener.directory = self.directory(&["ldap", &index], listener.directory.take(), directories);
            match (listener.tls, &listener.certificate, &listener.key) {
                (LdapTls::Ldaps | LdapTls::Starttls, Some(_), Some(_)) | (LdapTls::None, None, None) => {}
                (LdapTls::Ldaps | LdapTls::Starttls, _, _) => {
                    self.error(
                        &at("certificate"),
                        "`certificate` and `key` are needed for TLS; certs/README.md shows how to make them",
                    );
                }
                (LdapTls::None, _, _) => self.warn(&at("certificate"), "does nothing with tls = \"none\""),
            }
            for (key, text, works) in super::sasl::faults(listener) {
                match works {
                    true => self.warn(&at(key), text),
                    false => self.error(&at(key), text),
                }
            }
            for (path, text, works) in super::restrict::faults(listener) {
                let path: Vec<&str> = ["ldap", &index]
                    .into_iter()
                    .chain(path.iter().map(String::as_str))
                    .collect();
                match works {
                    true => self.warn(&path, text),
                    false => self.error(&path, text),
                }
            }
            for (place, key, text, works) in super::application::faults(listener) {
                let path = ["ldap", &index, "application", &place.to_string(), key];
                match works {
                    true => self.warn(&path, text),
                    false => self.error(&path, text),
                }
            }
            if let Some(message) = listener.proxy_protocol.as_ref().and_then(ProxyProtocol::fault) {
                self.error(&["ldap", &index, "proxy_protocol", "from"], message);
            }
            if listener.tls == LdapTls::None && !listener.allow_plaintext {
                self.error(
                    &at("tls"),
                    "is \"none\", so nobody could bind; say allow_plaintext = true if that is meant",
                );
            }
            if listener.allow_plaintext && !listener.listen.ip().is_loopback() {
                self.warn(&at("allow_plaintext"), "passwords travel unencrypted on this listener");
            }
            if listener.connections == 0
                || listener.max_pdu_before_bind < 1024
                || listener.max_pdu < listener.max_pdu_before_bind
            {
                self.error(
                    &at("connections"),
                    "`connections` must be above zero, and 1024 <= max_pdu_before_bind <= max_pdu",
                );
            }
        }
    }

    /// The directory named, or the only one there is.
    fn directory(&mut self, path: &[&str; 2], named: Option<String>, directories: &[String]) -> Option<String> {
        let at = [path[0], path[1], "directory"];
        match (named, directories) {
            (Some(name), _) if directories.contains(&name) => Some(name),
            (Some(name), _) => {
                self.error(
                    &at,
                    format!("there is no directory \"{name}\"; there are {}", directories.join(", ")),
                );
                None
            }
            (None, [only]) => Some(only.clone()),
            (None, _) => {
                self.error(
                    &at,
                    format!("is missing; there are several: {}", directories.join(", ")),
                );
                None
            }
        }
    }

    fn unique(&mut self, table: &str, names: &[String]) {
        for (index, name) in names.iter().enumerate() {
            let at = index.to_string();
            if name.is_empty() || name.chars().any(|character| character.is_control() || character == '/') {
                self.error(
                    &[table, &at, "name"],
                    "must not be empty, nor contain `/` or control characters",
                );
            }
            if names.iter().take(index).any(|before| before == name) {
                self.error(
                    &[table, &at, "name"],
                    format!("\"{name}\" is the name of another [[{table}]]"),
                );
            }
        }
    }
}

mod radius;

/// A login that counts as a session for longer keeps people out for nothing.
const MAX_START_WITHIN: Duration = Duration::from_secs(3600);

/// NASes report every few minutes at most (RFC 2869 section 2.1 recommends ten).
const MIN_STALE_AFTER: Duration = Duration::from_secs(300);

/// Every failure of a person is kept with its time in one record.
const MAX_USER_FAILURES: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn load(text: &str) -> Result<(Config, Faults), Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.toml");
        fs::write(&file, text).unwrap();
        let prefix = format!("{}/", folder.path().display());
        Config::load(&file).map_err(|faults| {
            faults
                .0
                .iter()
                .map(|fault| fault.to_string().replace(&prefix, ""))
                .collect()
        })
    }

    pub(super) const GOOD: &str = r#"
[[directory]]
name = "corp"
kind = "ldap"
urls = ["ldaps://ldap.example.org"]
base_dn = "dc=example,dc=org"

[[radius]]
listen = "127.0.0.1:1812"

[[client]]
name = "vpn"
address = ["192.0.2.1", "198.51.100.0/24"]
secret = "sixteen octets or more"
"#;

    #[test]
    fn each_server_has_its_own_defaults() {
        let with = |more: &str| {
            let text = GOOD.replace("kind = \"ldap\"\n", &format!("kind = \"ldap\"\n{more}\n"));
            let Directory::Ldap(directory) = load(&text).unwrap().0.directories.remove(0) else {
                panic!()
            };
            directory
        };
        let domain = with("server = \"active-directory\"\nfilter = \"(objectClass=user)\"");
        assert_eq!(domain.key_attribute, "objectGUID");
        assert_eq!(domain.login_attributes, ["sAMAccountName"]);
        assert_eq!(domain.disabled_by, ["userAccountControl&2"]);
        assert_eq!(domain.filter, "(objectClass=user)", "what is written stands");
        assert_eq!(with("server = \"389ds\"").disabled_by, ["nsAccountLock"]);
        assert_eq!(with("").key_attribute, "entryUUID");
    }

    #[test]
    fn a_small_file_is_enough() {
        let (config, faults) = load(GOOD).unwrap();
        assert!(faults.0.is_empty(), "{faults}");
        assert_eq!(
            config.clients[0].directory.as_deref(),
            Some("corp"),
            "the only directory is everybody's"
        );
        assert_eq!(config.clients[0].profile, Profile::None);
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let text = GOOD
            .replace("base_dn =", "base_dm =")
            .replace("198.51.100.0/24", "198.51.100.1/24")
            .replace("[[radius]]", "[[radius]]\nreplay = \"1 fortnight\"")
            + "\n[limits]\nuser_failures = \"many\"\n[nodes]\n";
        let faults = load(&text).unwrap_err();
        let expected = [
            "portcullis.toml:19:2: nodes: unknown key; did you mean `node`?",
            "portcullis.toml:18:17: limits.user_failures: invalid type: string \"many\", expected a whole number from 0 to 4294967295",
            "portcullis.toml:6:1: directory[0].base_dm: unknown key; did you mean `base_dn`?",
            "portcullis.toml:2:1: directory[0]: missing field `base_dn`",
            "portcullis.toml:9:10: radius[0].replay: `1 fortnight` is not a span of time; write `30s`, `15m` or `1h 30m`",
            "portcullis.toml:14:11: client[0].address: `198.51.100.1/24` has bits set beyond its prefix; did you mean 198.51.100.0/24?",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn parts_that_do_not_fit_are_told() {
        let text = GOOD.replace("secret = \"sixteen octets or more\"", "directory = \"crop\"")
            + "\n[[ldap]]\nname = \"apps\"\nlisten = \"127.0.0.1:636\"\n"
            + "\n[[radius]]\nname = \"again\"\nlisten = \"127.0.0.1:1812\"\n";
        let faults = load(&text).unwrap_err();
        assert_eq!(
            faults,
            [
                "portcullis.toml:14:13: client[0].directory: there is no directory \"crop\"; there are corp",
                "portcullis.toml:11:1: client[0]: has no `secret` and no `secret_file`",
                "portcullis.toml:22:10: radius[1].listen: 127.0.0.1:1812 is the address of another [[radius]] already",
                "portcullis.toml:16:1: ldap[0].certificate: `certificate` and `key` are needed for TLS; certs/README.md shows how to make them",
            ]
        );
    }

    #[test]
    fn balancers_are_listed_by_address() {
        let with = |from: &str| {
            let listener =
                "[[ldap]]\nname = \"apps\"\nlisten = \"127.0.0.1:389\"\ntls = \"none\"\nallow_plaintext = true\n";
            load(&format!("{GOOD}\n{listener}proxy_protocol = {from}\n"))
        };
        let (config, warnings) = with("{ from = [\"10.0.0.0/24\", \"2001:db8::1\"] }").unwrap();
        let listed = config.ldap[0].proxy_protocol.as_ref().unwrap();
        assert!(
            listed.lists([10, 0, 0, 7].into()) && warnings.0.is_empty(),
            "{warnings}"
        );
        for (from, fault) in [
            ("{ from = [] }", "21:27: ldap[0].proxy_protocol.from: is empty"),
            (
                "{ from = [\"0.0.0.0/0\"] }",
                "21:27: ldap[0].proxy_protocol.from: lists every address",
            ),
            (
                "{ from = [\"10.0.0.300\"] }",
                "21:27: ldap[0].proxy_protocol.from: `10.0.0.300` is neither",
            ),
            (
                "{ form = [\"10.0.0.1\"] }",
                "21:20: ldap[0].proxy_protocol.form: unknown key",
            ),
            ("{}", "missing field `from`"),
        ] {
            let faults = with(from).unwrap_err().join("\n");
            assert!(faults.contains(fault), "{from}: {faults}");
        }
    }

    #[test]
    fn dynamic_authorization_is_off_unless_said_and_checked_when_it_is() {
        use crate::config::Identifier;
        let with = |lines: &str| load(&format!("{GOOD}\n[client.dynamic_authorization]\n{lines}\n"));
        let (config, _) = load(GOOD).unwrap();
        assert!(config.clients[0].dynamic_authorization.is_none());
        let (config, warnings) = with("").unwrap();
        let dynamic = config.clients[0].dynamic_authorization.as_ref().unwrap();
        assert_eq!((dynamic.port, dynamic.tries, dynamic.timeout.as_secs()), (3799, 3, 3));
        assert!(dynamic.message_authenticator && dynamic.attributes.contains(&Identifier::AcctSessionId));
        assert!(warnings.0.is_empty(), "{warnings}");
        for (lines, fault) in [
            ("port = 0", "port: is 0"),
            ("timeout = \"1ms\"", "timeout: must be 100ms to 30s"),
            ("tries = 0", "tries: must be 1 to 10"),
            ("tries = 11", "tries: must be 1 to 10"),
            ("attributes = [\"NAS-Identifier\"]", "attributes: names no session"),
            ("attributes = [\"Filter-Id\"]", "unknown variant `Filter-Id`"),
            ("secret = \"\"", "secret: is empty"),
            (
                "secret = \"a\"\nsecret_file = \"b\"",
                "secret: is given, and secret_file as well",
            ),
            ("prot = 3799", "prot: unknown key"),
        ] {
            let faults = with(lines).unwrap_err();
            let told = faults.iter().any(|told| told.contains(fault));
            assert!(told, "{lines}: {faults:?}");
        }
    }

    #[test]
    fn connections_want_what_they_need() {
        let with = |listener: &str| {
            let text = GOOD.to_owned() + "\n[[radius]]\nname = \"streams\"\nlisten = \"127.0.0.1:1812\"\n" + listener;
            load(&text)
        };
        let faults = with("transport = \"tcp\"").unwrap_err();
        assert!(
            faults[0].starts_with("portcullis.toml:19:13: radius[1].transport: is \"tcp\": RADIUS over bare TCP"),
            "{faults:?}"
        );
        let (_, warnings) = with("transport = \"tcp\"\nallow_plaintext_tcp = true\nversions = [\"1.0\"]").unwrap();
        assert_eq!(
            warnings.0.iter().map(|fault| &*fault.message).collect::<Vec<_>>(),
            ["does nothing with transport = \"tcp\""],
            "the UDP listener has the port of its own kind"
        );
        let faults =
            with("transport = \"tls\"\nversions = [\"1.1\", \"1.1\"]\nidle = \"0s\"\nconnections = 0").unwrap_err();
        for (fault, expected) in faults.iter().zip([
            "radius[1].certificate: is missing: transport = \"tls\" needs",
            "radius[1].key: is missing",
            "radius[1].client_ca: is missing",
            "radius[1].versions: must list",
            "radius[1].connections: must be 1 to 65536",
            "radius[1].idle: must be above zero",
        ]) {
            assert!(fault.contains(expected), "{expected}: {faults:?}");
        }
        assert_eq!(faults.len(), 6);
    }

    #[test]
    fn a_client_with_a_certificate_needs_neither_address_nor_secret() {
        let with = |certificate: &str| {
            load(&format!(
                "{GOOD}\n[[client]]\nname = \"campus\"\ncertificate = {{ {certificate} }}\n"
            ))
        };
        let (config, warnings) = with("san = [\"dns:nas1.example.org\"]").unwrap();
        assert!(config.clients[1].address.is_empty() && config.clients[1].secret.is_none());
        assert!(
            warnings.to_string().contains("client[1].certificate: is never seen"),
            "{warnings}"
        );
        for (certificate, expected) in [
            ("", "says nothing"),
            ("san = [\"nas1\"]", "`nas1` is no name"),
            ("fingerprint = [\"sha256:00\"]", "is no fingerprint"),
            ("issuer = \"NAS CA\"", "is no distinguished name"),
            ("cn = \"nas1\"", "unknown field `cn`"),
        ] {
            let faults = with(certificate).unwrap_err();
            assert!(faults[0].contains(expected), "{faults:?}");
        }
    }

    #[test]
    fn secrets_come_from_files_without_their_line_end() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("vpn.secret"), "from a file, 20 octets\n").unwrap();
        let file = folder.path().join("portcullis.toml");
        fs::write(
            &file,
            GOOD.replace("secret = \"sixteen octets or more\"", "secret_file = \"vpn.secret\""),
        )
        .unwrap();
        let (config, _) = Config::load(&file).unwrap();
        assert!(
            config.clients[0]
                .secret
                .as_ref()
                .unwrap()
                .matches(b"from a file, 20 octets")
        );
    }
}
