//! RADIUS clients for operators: what they are, what was learned of them, what went wrong, and whether
//! anything would keep one from being served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::admin::api::{
    ApiError, ClientRow, ClientView, ErrorKind, Finding, ForgetRequest, Forgotten, Grade, LearnedView, StrangerView,
    TestReport, TroubleView,
};
use crate::clock;
use crate::config::{self, CertificateRule, Config, Profile, RadiusListener, Requirement, Transport};
use crate::engine::event::{AuditEvent, Outcome};
use crate::radius::client::{ClientTable, Known};
use crate::radius::observed::{Stranger, Trouble};
use crate::radius::probe;
use crate::server::Node;
use crate::server::learned::ForgetError;
use crate::server::parts;
use crate::tls::client::{Fingerprint, Settings, Trust};

impl Node {
    pub(super) fn client_rows(&self) -> Vec<ClientRow> {
        let (config, table) = (self.config.load_full(), self.clients.load_full());
        let mut known = self.learned.all();
        known.sort_by_key(|(address, _)| *address);
        let row = |client: &config::Client| {
            let own = known.iter().filter(|(_, known)| *known.client == *client.name);
            row(client, &table, own)
        };
        config.clients.iter().map(row).collect()
    }

    pub(super) fn client_view(&self, name: &str) -> Result<ClientView, ApiError> {
        let (config, table) = (self.config.load_full(), self.clients.load_full());
        let client = configured(&config, name)?;
        let troubles = table.named(name).map(|client| client.seen.troubles());
        Ok(ClientView {
            client: row(client, &table, self.learned.of(name).iter()),
            troubles: troubles.into_iter().flatten().map(trouble).collect(),
        })
    }

    pub(super) fn stranger_views(&self) -> Vec<StrangerView> {
        let view = |stranger: Stranger| StrangerView {
            address: stranger.address,
            packets: stranger.packets,
            first: stranger.first,
            last: stranger.last,
        };
        self.strangers.all().into_iter().map(view).collect()
    }

    /// A client that is configured no more may have been learned of.
    pub(super) async fn forget_learned(&self, request: ForgetRequest, operator: String) -> Result<Forgotten, ApiError> {
        let ForgetRequest { client, address } = request;
        let address = address.map(|address| address.to_canonical());
        if self.learned.of(&client).is_empty() {
            configured(&self.config.load(), &client)?;
        }
        let audit = |forgotten: &[IpAddr]| AuditEvent {
            at: clock::now(),
            action: "client.forget".into(),
            actor: operator,
            target: None,
            via: "admin".into(),
            client: Some(client.clone()),
            source: None,
            rule: None,
            factors: Vec::new(),
            outcome: Outcome::Accept,
            reason: Some(match (address, forgotten) {
                (_, []) => "nothing had been learned".to_owned(),
                (_, [one]) => format!("what was learned of {one}"),
                (_, many) => format!("what was learned of {} addresses", many.len()),
            }),
            context: None,
        };
        match self.learned.forget(&client, address, audit).await {
            Ok(addresses) => Ok(Forgotten { addresses }),
            Err(error @ (ForgetError::Store(_) | ForgetError::Stopping)) => {
                Err(ApiError::new(ErrorKind::Unavailable, parts::describe(error))
                    .with_remedy("see `portcullis status`, then forget it again"))
            }
        }
    }

    /// Looks at everything between a packet of the client and its answer that can be looked at from here.
    pub(super) async fn test(&self, name: &str) -> Result<TestReport, ApiError> {
        let (config, table) = (self.config.load_full(), self.clients.load_full());
        let client = configured(&config, name)?;
        let mut findings = Findings::default();
        addresses(client, &table, &mut findings);
        integrity(client, &mut findings);
        self.directory_of(client, &mut findings);
        self.experience(name, &table, &mut findings);
        for listener in &config.radius {
            self.ask_listener(client, listener, &table, &mut findings).await;
        }
        Ok(TestReport { findings: findings.0 })
    }

    fn directory_of(&self, client: &config::Client, findings: &mut Findings) {
        let name = client.directory.as_deref().unwrap_or_default();
        let about = format!("directory \"{name}\"");
        match self.verifier.directories().get(name) {
            None => findings.add(Grade::Fault, about, "there is no such directory"),
            Some(directory) if directory.status().servers.iter().any(|server| server.healthy) => {
                findings.add(Grade::Good, about, "healthy");
            }
            Some(_) => findings.add(
                Grade::Fault,
                about,
                "none of its servers answers: see `portcullis status --probe`",
            ),
        }
    }

    fn experience(&self, name: &str, table: &ClientTable, findings: &mut Findings) {
        let Some(client) = table.named(name) else { return };
        match client.seen.last() {
            Some(last) => findings.add(Grade::Good, "packets", format!("the last came through at {last}")),
            None => findings.add(
                Grade::Untold,
                "packets",
                "none has come through since the server started; `portcullis client list --unknown` shows who is not recognised",
            ),
        }
        for trouble in client.seen.troubles().into_iter().take(3) {
            let text = format!(
                "{} from {}, last at {}: {}",
                trouble.what.text(),
                trouble.source,
                trouble.last,
                trouble.what.remedy()
            );
            // What came through later has got over it.
            let over = client.seen.last() > Some(trouble.last);
            let grade = if over { Grade::Untold } else { Grade::Warning };
            findings.add(grade, times(trouble.times), text);
        }
    }

    /// Sends Status-Server to one of our own listeners with the client's secret, from an address of this
    /// machine that is the client's.
    async fn ask_listener(
        &self,
        client: &config::Client,
        listener: &RadiusListener,
        table: &ClientTable,
        findings: &mut Findings,
    ) {
        let about = format!("listener \"{}\" at {}", listener.name, listener.listen);
        let over_tls = match listener.transport {
            Transport::Udp | Transport::Tcp => false,
            Transport::Tls => true,
        };
        if over_tls {
            return self.ask_over_tls(client, listener, table, about, findings).await;
        }
        if client.certificate.is_some() {
            let text = "serves nobody who is known by a certificate";
            return findings.add(Grade::Untold, about, text);
        }
        let family = |net: &IpNet| net.addr().is_ipv4() == listener.listen.is_ipv4();
        if !client.address.iter().any(|net| family(&net.0)) {
            return findings.add(Grade::Untold, about, "the client has no address of this family");
        }
        let Some(secret) = &client.secret else {
            return findings.add(Grade::Untold, about, "the client has no shared secret");
        };
        let Some(source) = own_address_of(client, listener.listen, table) else {
            let text = "not asked, because this machine has no address of the client: on the client, try \
                        `portcullis login radius`, or radclient";
            return findings.add(Grade::Untold, about, text);
        };
        let mut server = listener.listen;
        if server.ip().is_unspecified() {
            // The socket answers on every address; where the question comes from is one.
            server.set_ip(source);
        }
        let from = format!("from {source}");
        let asked = match listener.transport {
            Transport::Udp | Transport::Tls => probe::status(server, source, secret, PATIENCE).await,
            Transport::Tcp => probe::status_over_tcp(server, source, secret, PATIENCE).await,
        };
        match asked {
            Ok(probe::Answer::Signed) => findings.add(
                Grade::Good,
                about,
                format!("answers Status-Server {from} with the client's secret, signed with Message-Authenticator"),
            ),
            Ok(probe::Answer::Unsigned) if !client.send_message_authenticator => findings.add(
                Grade::Good,
                about,
                format!("answers Status-Server {from} with the client's secret, unsigned as configured"),
            ),
            Ok(probe::Answer::Unsigned) => findings.add(
                Grade::Fault,
                about,
                format!("answers Status-Server {from} without Message-Authenticator as the first attribute"),
            ),
            Ok(probe::Answer::Silence { unproven: 0 }) => {
                findings.add(Grade::Fault, about, format!("does not answer Status-Server {from}"));
            }
            Ok(probe::Answer::Silence { unproven }) => findings.add(
                Grade::Fault,
                about,
                format!(
                    "{unproven} answers to Status-Server {from} did not prove themselves: another server on that port?"
                ),
            ),
            Err(error) => findings.add(Grade::Untold, about, format!("not asked {from}: {error}")),
        }
    }
}

impl Node {
    /// Makes a TLS connection to one of our own listeners. We have no certificate of the client's, so that no
    /// packet can be tried.
    async fn ask_over_tls(
        &self,
        client: &config::Client,
        listener: &RadiusListener,
        table: &ClientTable,
        about: String,
        findings: &mut Findings,
    ) {
        let Some(file) = listener.certificate.clone() else {
            return findings.add(Grade::Untold, about, "not asked: it has no certificate");
        };
        let own = move || own_certificate(&file);
        let tls = match tokio::task::spawn_blocking(own).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(why)) => return findings.add(Grade::Fault, about, why),
            Err(error) => return findings.add(Grade::Untold, about, format!("not asked: {error}")),
        };
        let source = own_address_of(client, listener.listen, table);
        let mut server = listener.listen;
        if server.ip().is_unspecified() {
            server.set_ip(source.unwrap_or(match server {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            }));
        }
        match probe::handshake(server, source, tls, PATIENCE).await {
            Ok(()) => {
                let ends = self.radius_ends(&listener.name);
                let until = ends.map_or(String::new(), |at| {
                    format!("; the first of what it rests on ends at {at}")
                });
                let text = format!(
                    "speaks TLS and shows the certificate that is configured{until}. Whether it takes the client's \
                     own certificate only the client can tell: there, try `portcullis login radius --transport tls`"
                );
                findings.add(Grade::Good, about, text);
            }
            Err(error) => {
                let text = format!("no TLS from this machine, with the certificate that is configured: {error}");
                // Addresses that no client could have are turned away before TLS.
                let grade = if source.is_some() || client.certificate.is_none() {
                    Grade::Fault
                } else {
                    Grade::Untold
                };
                findings.add(grade, about, text);
            }
        }
    }
}

/// A client's side of TLS that trusts the first certificate in a file. Blocks.
///
/// # Errors
/// Why it cannot be read, and what to do.
pub(super) fn own_certificate(file: &Path) -> Result<Arc<ClientConfig>, String> {
    let first = CertificateDer::pem_file_iter(file)
        .ok()
        .and_then(|mut all| all.next()?.ok());
    let first = first.ok_or_else(|| format!("{} holds no certificate", file.display()))?;
    let settings = Settings {
        trust: Trust::Fingerprint(Fingerprint::of(&first)),
        identity: None,
        protocols: &[],
    };
    settings.config().map_err(parts::describe)
}

/// How long an answer of our own may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Shortest shared secret that is not pointed out, in octets (RFC 2865 section 3).
const LONG_SECRET: usize = 16;

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, grade: Grade, about: impl Into<String>, text: impl Into<String>) {
        self.0.push(Finding {
            grade,
            about: about.into(),
            text: text.into(),
        });
    }
}

fn configured<'c>(config: &'c Config, name: &str) -> Result<&'c config::Client, ApiError> {
    let found = config.clients.iter().find(|client| client.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = config.clients.iter().map(|client| client.name.as_str()).collect();
        let error = ApiError::new(ErrorKind::NotFound, format!("there is no RADIUS client \"{name}\""));
        match names.as_slice() {
            [] => error.with_remedy("there are none at all"),
            names => error.with_remedy(format!("there are {}", names.join(", "))),
        }
    })
}

fn row<'k>(
    client: &config::Client,
    table: &ClientTable,
    known: impl Iterator<Item = &'k (IpAddr, Known)>,
) -> ClientRow {
    let seen = table.named(&client.name).map(|client| &client.seen);
    ClientRow {
        name: client.name.clone(),
        addresses: client.address.iter().map(|net| shown(&net.0)).collect(),
        certificate: client.certificate.iter().flat_map(certificate).collect(),
        service: client.service.as_deref().unwrap_or(&client.name).to_owned(),
        directory: client.directory.clone().unwrap_or_default(),
        profile: match client.profile {
            Profile::Dialog => "dialog",
            Profile::SingleChallenge => "single-challenge",
            Profile::Append => "append",
            Profile::None => "none",
        }
        .into(),
        require_message_authenticator: word(client.require_message_authenticator).into(),
        limit_proxy_state: word(client.limit_proxy_state).into(),
        send_message_authenticator: client.send_message_authenticator,
        learned: known
            .map(|(address, known)| LearnedView {
                address: *address,
                habit: known.habit.word().into(),
                since: known.since,
            })
            .collect(),
        requests: seen.map_or(0, |seen| seen.requests()),
        last_seen: seen.and_then(|seen| seen.last()),
        dropped: seen.map_or(0, |seen| seen.drops()),
        last_trouble: seen.and_then(|seen| seen.troubles().into_iter().next()).map(trouble),
    }
}

fn trouble(trouble: Trouble) -> TroubleView {
    TroubleView {
        last: trouble.last,
        first: trouble.first,
        times: trouble.times,
        source: trouble.source,
        dropped: trouble.what.is_drop(),
        what: trouble.what.text(),
        remedy: trouble.what.remedy().into(),
        user: trouble.user.map(Into::into),
    }
}

/// What a certificate must have, as the configuration says it.
fn certificate(rule: &CertificateRule) -> Vec<String> {
    let names = rule.san.iter().map(ToString::to_string);
    let digests = rule.fingerprint.iter().map(ToString::to_string);
    let issuer = rule.issuer.iter().map(|issuer| format!("issuer {issuer}"));
    names.chain(digests).chain(issuer).collect()
}

/// An address by itself, or a prefix.
fn shown(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

const fn word(requirement: Requirement) -> &'static str {
    match requirement {
        Requirement::Yes => "yes",
        Requirement::Auto => "auto",
        Requirement::No => "no",
    }
}

/// Whether packets from the client's addresses are taken for the client's.
fn addresses(client: &config::Client, table: &ClientTable, findings: &mut Findings) {
    if client.certificate.is_some() {
        let text = "it is known by its certificate, over TLS alone";
        return findings.add(Grade::Untold, "address", text);
    }
    for net in &client.address {
        let about = format!("address {}", shown(&net.0));
        let first = table.find(net.0.network());
        match first {
            Some(found) if *found.name == *client.name => findings.add(Grade::Good, about, "belongs to this client"),
            Some(other) => findings.add(
                Grade::Warning,
                about,
                format!(
                    "its first address belongs to client \"{}\", whose prefix is longer",
                    other.name
                ),
            ),
            None => findings.add(
                Grade::Fault,
                about,
                "belongs to nobody; reload, if the file has changed",
            ),
        }
    }
}

fn integrity(client: &config::Client, findings: &mut Findings) {
    if let Some(secret) = &client.secret {
        let length = secret.len();
        if length < LONG_SECRET {
            let text =
                format!("{length} octets; whoever records one login can guess it offline: use {LONG_SECRET} or more");
            findings.add(Grade::Warning, "shared secret", text);
        } else {
            findings.add(Grade::Good, "shared secret", format!("{length} octets"));
        }
    }
    if client.certificate.is_some() {
        findings.add(
            Grade::Good,
            "requests",
            "need no Message-Authenticator: TLS protects them",
        );
    } else {
        signatures(client, findings);
    }
    if client.profile == Profile::None {
        let text = "profile \"none\": only rules that ask for a password alone can let anybody in";
        findings.add(Grade::Untold, "conversation", text);
    }
}

/// What is required and sent of Message-Authenticator by a client that is found by its address.
fn signatures(client: &config::Client, findings: &mut Findings) {
    match client.require_message_authenticator {
        Requirement::Yes => findings.add(Grade::Good, "requests", "must carry Message-Authenticator"),
        Requirement::Auto => findings.add(
            Grade::Good,
            "requests",
            "must carry Message-Authenticator from each address that has once sent a valid one",
        ),
        Requirement::No => findings.add(
            Grade::Warning,
            "requests",
            "need no Message-Authenticator: over UDP they can be altered on the way (CVE-2024-3596); \"auto\" is as lenient with clients that never sign",
        ),
    }
    if client.require_message_authenticator != Requirement::Yes && client.limit_proxy_state == Requirement::No {
        let text = "unsigned ones are taken with Proxy-State too, which is how CVE-2024-3596 forges replies";
        findings.add(Grade::Warning, "requests", text);
    }
    if !client.send_message_authenticator {
        let text = "carry no Message-Authenticator: over UDP they can be forged (CVE-2024-3596)";
        findings.add(Grade::Warning, "replies", text);
    }
}

/// `one time`, `3 times`.
fn times(count: u64) -> String {
    match count {
        1 => "one time".into(),
        many => format!("{many} times"),
    }
}

/// An address of this machine that is the client's, and from which `listener` can be reached.
pub(super) fn own_address_of(client: &config::Client, listener: SocketAddr, table: &ClientTable) -> Option<IpAddr> {
    let is_clients = |address: &IpAddr| {
        address.is_ipv4() == listener.is_ipv4() && table.find(*address).is_some_and(|found| *found.name == *client.name)
    };
    let mut own: Vec<IpAddr> = Vec::new();
    // Every address of 127.0.0.0/8 is this machine's.
    let loopback = client
        .address
        .iter()
        .filter(|net| net.0.addr().is_loopback())
        .map(|net| match net.0.network() {
            // A whole prefix begins with an address that is no host's.
            IpAddr::V4(first) if net.0.prefix_len() < 31 => Ipv4Addr::from(u32::from(first) + 1).into(),
            first @ (IpAddr::V4(_) | IpAddr::V6(_)) => first,
        });
    own.extend(loopback);
    own.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    own.extend(interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    }));
    // A listener on loopback is reached from there only, and one elsewhere not from there.
    let reaches =
        |address: &IpAddr| listener.ip().is_unspecified() || listener.ip().is_loopback() == address.is_loopback();
    own.into_iter().find(|address| is_clients(address) && reaches(address))
}
