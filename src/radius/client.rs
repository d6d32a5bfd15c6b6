//! RADIUS clients: which entry a source address belongs to, and what integrity its requests must have.

mod certified;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use ipnet::IpNet;
use parking_lot::RwLock;

use crate::clock::Timestamp;
use crate::config::{self, Profile, Requirement};
use crate::engine::texts::{Text, Texts};
use crate::engine::{Capability, Manner};
use crate::radius::attribute::{ACCESS_REQUEST, EAP_MESSAGE, PROXY_STATE, STATUS_SERVER};
use crate::radius::channel::Channel;
use crate::radius::crypto::{SharedSecret, Signature};
use crate::radius::dynauth;
use crate::radius::observed::Sightings;
use crate::radius::packet::Packet;
use crate::secret::Secret;
use crate::tls::peer::Peer;

use certified::Certified;
pub use certified::Stranger;

/// One `[[client]]`, ready for use.
#[derive(Debug)]
pub struct Client {
    /// Name in policies, logs and the audit; dialogs are sealed to it.
    pub name: Arc<str>,
    /// Service name for policies.
    pub service: Arc<str>,
    /// The directory that its users are in.
    pub directory: Arc<str>,
    /// What conversation it can hold.
    pub capability: Capability,
    /// What its dialogs are like; without a packet.
    pub manner: Manner,
    /// What every Access-Reject says that has nothing else to say.
    pub refused: Arc<str>,
    /// Whether replies carry a Message-Authenticator.
    pub sign_replies: bool,
    /// How long an Access-Reject is held back, counted from the request's arrival.
    pub reject_delay: Duration,
    /// Whether an Access-Accept carries a Class that names the person and the login.
    pub class: bool,
    /// Whether an Access-Accept carries the login name as the directory has it.
    pub user_name_in_accept: bool,
    /// What has been seen of it.
    pub seen: Sightings,
    /// How it takes requests about its sessions; none when it takes none.
    pub dynamic: Option<dynauth::Settings>,
    secret: SharedSecret,
    /// The secret of RADIUS over TLS, which proves nothing and is usually the same for all (RFC 6614
    /// section 2.3).
    over_tls: SharedSecret,
    require_message_authenticator: Requirement,
    limit_proxy_state: Requirement,
}

/// What integrity a client's requests have turned out to have. Kept over restarts, for one source address
/// each, so that a client entry for a prefix judges every address by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Habit {
    /// It has sent a valid Message-Authenticator.
    Signs,
    /// Its first request had neither Message-Authenticator nor Proxy-State.
    Plain,
    /// Its first request was an unsigned one with Proxy-State: an old proxy.
    UnsignedProxy,
}

impl Habit {
    /// The stable word for the store and for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Signs => "signs",
            Self::Plain => "plain",
            Self::UnsignedProxy => "unsigned-proxy",
        }
    }

    /// Reads [`Habit::word`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Signs, Self::Plain, Self::UnsignedProxy]
            .into_iter()
            .find(|habit| habit.word() == word)
    }
}

/// Remembers habits for clients with an `auto` requirement. Called on the reactor: must not block.
pub trait Learned: Send + Sync {
    /// What is known of this address of this client.
    fn habit(&self, client: &str, address: IpAddr) -> Option<Habit>;

    /// Remembers; a later habit replaces an earlier one. Whether it is durable before this returns does
    /// not matter.
    fn learn(&self, client: &str, address: IpAddr, habit: Habit);
}

/// Habits in memory, bounded; what persists them restores them at the start.
#[derive(Debug, Default)]
pub struct Habits(RwLock<HashMap<IpAddr, Vec<Known>>>);

/// What is known of an address as one client entry's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The client.
    pub client: Box<str>,
    /// What it does.
    pub habit: Habit,
    /// Since when that is known; none for what was written down without it.
    pub since: Option<Timestamp>,
}

impl Habits {
    /// Addresses remembered from requests that nothing proves. Signed requests are always remembered.
    const MAX_UNPROVEN: usize = 65_536;

    /// Whether such a habit of a new address would be remembered. What keeps habits elsewhere asks first, so
    /// as not to be filled by requests from made-up addresses.
    pub fn has_room_for(&self, habit: Habit) -> bool {
        habit == Habit::Signs || self.0.read().len() < Self::MAX_UNPROVEN
    }

    /// All that is remembered, in no order.
    pub fn all(&self) -> Vec<(IpAddr, Known)> {
        let all = self.0.read();
        all.iter()
            .flat_map(|(&address, habits)| habits.iter().map(move |known| (address, known.clone())))
            .collect()
    }

    /// Remembers, as [`Learned::learn`] does, and since when.
    pub fn learn_at(&self, client: &str, address: IpAddr, habit: Habit, since: Option<Timestamp>) {
        if !self.has_room_for(habit) {
            return;
        }
        let mut all = self.0.write();
        let habits = all.entry(address).or_default();
        match habits.iter_mut().find(|known| *known.client == *client) {
            Some(known) if known.habit == habit => {}
            Some(known) => (known.habit, known.since) = (habit, since),
            None => habits.push(Known {
                client: client.into(),
                habit,
                since,
            }),
        }
    }

    /// Forgets what is known of a client, of one address or of all; which addresses that were.
    pub fn forget(&self, client: &str, address: Option<IpAddr>) -> Vec<IpAddr> {
        let mut forgotten = Vec::new();
        self.0.write().retain(|&known_address, habits| {
            if address.is_none_or(|address| address == known_address) {
                let before = habits.len();
                habits.retain(|known| *known.client != *client);
                if habits.len() < before {
                    forgotten.push(known_address);
                }
            }
            !habits.is_empty()
        });
        forgotten
    }
}

impl Learned for Habits {
    fn habit(&self, client: &str, address: IpAddr) -> Option<Habit> {
        let all = self.0.read();
        let habits = all.get(&address)?;
        habits
            .iter()
            .find(|known| *known.client == *client)
            .map(|known| known.habit)
    }

    fn learn(&self, client: &str, address: IpAddr, habit: Habit) {
        self.learn_at(client, address, habit, None);
    }
}

/// Why a request's integrity does not suffice. Such a request is dropped silently and touches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// Its Message-Authenticator is wrong: another secret, or altered on the way.
    BadMessageAuthenticator,
    /// It must have one, and has none.
    MissingMessageAuthenticator,
    /// It has Proxy-State and no Message-Authenticator, which is how CVE-2024-3596 forges replies.
    UnsignedProxyState,
    /// The Request Authenticator of an Accounting-Request is wrong: another secret, or altered on the way.
    BadRequestAuthenticator,
}

impl Unsound {
    /// What to do about it, for the log and the list of a client's troubles.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::BadMessageAuthenticator | Self::BadRequestAuthenticator => {
                "the shared secret differs; enter the same one on both sides, without spaces or line ends around it"
            }
            Self::MissingMessageAuthenticator => {
                "update the client or have it send Message-Authenticator; else set require_message_authenticator = \"auto\" for it, and if it once signed and no longer does: `portcullis client forget`"
            }
            Self::UnsignedProxyState => {
                "a proxy stands between that does not sign; update it or have it send Message-Authenticator; else set limit_proxy_state = \"no\" for it (CVE-2024-3596), or `portcullis client forget` if the proxy is new"
            }
        }
    }
}

impl Client {
    /// Takes over a configuration entry whose secret and directory have been resolved.
    pub fn new(config: &config::Client, secret: &Secret, directory: Arc<str>, texts: &Texts) -> Self {
        let service = config.service.as_deref().unwrap_or(&config.name);
        let dialogs = config.profile == Profile::Dialog;
        let manner = Manner {
            recover: config.recover.0.clone().filter(|_| dialogs),
            language: config
                .language
                .as_deref()
                .and_then(|name| texts.language(name))
                .cloned(),
            ascii: config.ascii,
            packet: None,
        };
        Self {
            name: config.name.as_str().into(),
            service: service.into(),
            directory,
            secret: SharedSecret::new(secret),
            over_tls: SharedSecret::new(config.secret.as_ref().unwrap_or(&Secret::new(RADSEC))),
            capability: match config.profile {
                Profile::Dialog => Capability::Dialog,
                Profile::SingleChallenge => Capability::SingleChallenge,
                Profile::Append => Capability::Append(config.append.0),
                Profile::None => Capability::None,
            },
            refused: texts.voice(&manner, None).say(Text::Refused, &[]).into(),
            manner,
            sign_replies: config.send_message_authenticator,
            reject_delay: config.reject_delay,
            dynamic: config
                .dynamic_authorization
                .as_ref()
                .map(|dynamic| dynauth::Settings::new(dynamic, secret)),
            class: config.class,
            user_name_in_accept: config.user_name_in_accept,
            seen: Sightings::default(),
            require_message_authenticator: config.require_message_authenticator,
            limit_proxy_state: config.limit_proxy_state,
        }
    }

    /// The secret that packets of this client are signed with; none where nothing is signed.
    pub const fn secret(&self, channel: Channel) -> Option<&SharedSecret> {
        match channel {
            Channel::Udp | Channel::Tcp => Some(&self.secret),
            Channel::Tls => Some(&self.over_tls),
            Channel::Tls11 => None,
        }
    }

    /// Judges the integrity of a request (RFC 3579 section 3.2, RFC 5997 section 3, CVE-2024-3596).
    ///
    /// A Message-Authenticator that is there must be right, whatever the client's settings. Where
    /// `require_message_authenticator` is `auto`, an address that has sent a right one must go on. Where
    /// `limit_proxy_state` is `auto`, the first request from an address decides whether it is an old proxy
    /// that sends Proxy-State unsigned. Over TLS nothing can be forged on the way, so none of this asks for
    /// a signature there; in RADIUS/1.1 it means nothing (RFC 9765 section 5.2).
    ///
    /// # Errors
    /// [`Unsound`] when the request must be dropped.
    pub fn check_integrity(
        &self,
        packet: &Packet<'_>,
        channel: Channel,
        source: IpAddr,
        learned: &dyn Learned,
    ) -> Result<(), Unsound> {
        let Some(secret) = self.secret(channel) else {
            return Ok(());
        };
        let encrypted = channel.encrypted();
        let learns = !encrypted
            && (self.require_message_authenticator == Requirement::Auto || self.limit_proxy_state == Requirement::Auto);
        match secret.request_signature(packet) {
            Signature::Invalid => Err(Unsound::BadMessageAuthenticator),
            Signature::Valid => {
                // Status-Server and EAP are signed by everybody (RFC 5997 section 3, RFC 3579 section 3.2), which
                // tells nothing of other requests: a monitor must not lock out what does not sign beside it.
                if learns
                    && packet.code() == ACCESS_REQUEST
                    && !packet.has(EAP_MESSAGE)
                    && self.require_message_authenticator != Requirement::Yes
                    && learned.habit(&self.name, source) != Some(Habit::Signs)
                {
                    learned.learn(&self.name, source, Habit::Signs);
                }
                Ok(())
            }
            Signature::Absent => {
                let required = self.require_message_authenticator == Requirement::Yes && !encrypted;
                if required || packet.code() == STATUS_SERVER || packet.has(EAP_MESSAGE) {
                    return Err(Unsound::MissingMessageAuthenticator);
                }
                if encrypted {
                    return Ok(());
                }
                let habit = if learns {
                    learned.habit(&self.name, source)
                } else {
                    None
                };
                self.check_unsigned(packet, source, habit, learned)
            }
        }
    }

    /// Judges the integrity of an Accounting-Request: its Request Authenticator (RFC 2866 section 3), and a
    /// Message-Authenticator if there is one. Nothing asks for one there, as the authenticator proves the
    /// whole packet.
    ///
    /// # Errors
    /// [`Unsound`] when the request must be dropped.
    pub fn check_accounting(&self, packet: &Packet<'_>, channel: Channel) -> Result<(), Unsound> {
        let Some(secret) = self.secret(channel) else {
            return Ok(());
        };
        if !secret.proves_request(packet) {
            return Err(Unsound::BadRequestAuthenticator);
        }
        match secret.proven_request_signature(packet) {
            Signature::Invalid => Err(Unsound::BadMessageAuthenticator),
            Signature::Valid | Signature::Absent => Ok(()),
        }
    }

    fn check_unsigned(
        &self,
        packet: &Packet<'_>,
        source: IpAddr,
        habit: Option<Habit>,
        learned: &dyn Learned,
    ) -> Result<(), Unsound> {
        if self.require_message_authenticator == Requirement::Auto && habit == Some(Habit::Signs) {
            return Err(Unsound::MissingMessageAuthenticator);
        }
        let proxied = packet.has(PROXY_STATE);
        match self.limit_proxy_state {
            Requirement::No => Ok(()),
            Requirement::Yes if proxied => Err(Unsound::UnsignedProxyState),
            Requirement::Yes => Ok(()),
            Requirement::Auto => match (habit, proxied) {
                (Some(Habit::Signs | Habit::Plain), true) => Err(Unsound::UnsignedProxyState),
                (Some(Habit::UnsignedProxy), true) | (Some(_), false) => Ok(()),
                (None, proxied) => {
                    let habit = if proxied { Habit::UnsignedProxy } else { Habit::Plain };
                    learned.learn(&self.name, source, habit);
                    // Where there is no room to remember it, made-up addresses are at work: an exception
                    // that is not remembered is not made.
                    match learned.habit(&self.name, source) {
                        None if proxied => Err(Unsound::UnsignedProxyState),
                        Some(_) | None => Ok(()),
                    }
                }
            },
        }
    }
}

/// What everybody signs with over TLS (RFC 6614 section 2.3).
const RADSEC: &str = "radsec";

/// All clients, found by source address. Built anew at every reload and swapped as a whole.
#[derive(Debug, Default)]
pub struct ClientTable {
    by_name: HashMap<Arc<str>, Arc<Client>>,
    v4: Vec<Prefixes>,
    v6: Vec<Prefixes>,
    certified: Certified,
}

/// The clients of one prefix length.
#[derive(Debug)]
struct Prefixes {
    length: u8,
    clients: HashMap<IpAddr, Arc<Client>, RandomState>,
}

/// Why a table cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Two entries claim the same prefix.
    #[error("the clients `{first}` and `{second}` both claim {net}")]
    Twice {
        /// The prefix.
        net: IpNet,
        /// Who had it.
        first: Arc<str>,
        /// Who wants it.
        second: Arc<str>,
    },
    /// An empty secret proves nothing.
    #[error("the shared secret of client `{0}` is empty")]
    EmptySecret(String),
    /// Two entries would fit one certificate equally well.
    #[error("the clients `{first}` and `{second}` are both for certificates with {what}")]
    SameCertificate {
        /// What both name.
        what: String,
        /// Who had it.
        first: Arc<str>,
        /// Who wants it.
        second: Arc<str>,
    },
}

impl ClientTable {
    /// Builds the table from entries with their resolved secrets and directories, and what is said to their people.
    /// An entry with `certificate` is for TLS alone, and needs no secret.
    ///
    /// # Errors
    /// [`TableError`] when two entries claim one prefix or one certificate, or a secret is empty.
    pub fn build<'a>(
        entries: impl IntoIterator<Item = (&'a config::Client, &'a Secret, Arc<str>)>,
        texts: &Texts,
    ) -> Result<Self, TableError> {
        let mut table = Self::default();
        for (config, secret, directory) in entries {
            if secret.is_empty() && config.certificate.is_none() {
                return Err(TableError::EmptySecret(config.name.clone()));
            }
            let client = Arc::new(Client::new(config, secret, directory, texts));
            match &config.certificate {
                Some(rule) => {
                    let nets = config.address.iter().map(|address| address.0).collect();
                    table.certified.insert(&client, rule, nets)?;
                }
                None => {
                    for address in &config.address {
                        table.insert(address.0, &client)?;
                    }
                }
            }
            table.by_name.insert(Arc::clone(&client.name), client);
        }
        Ok(table)
    }

    /// The client of a name.
    pub fn named(&self, name: &str) -> Option<&Arc<Client>> {
        self.by_name.get(name)
    }

    /// Takes over what was seen of the clients that were there before a reload.
    pub fn continue_from(&self, earlier: &Self) {
        for (name, client) in &self.by_name {
            if let Some(old) = earlier.named(name)
                && !Arc::ptr_eq(old, client)
            {
                client.seen.continue_from(&old.seen);
            }
        }
    }

    /// The client with the longest prefix that `source` is in. An IPv4 address in IPv6 clothes
    /// (`::ffff:192.0.2.1`) counts as the IPv4 address.
    pub fn find(&self, source: IpAddr) -> Option<&Arc<Client>> {
        let source = source.to_canonical();
        let family = if source.is_ipv4() { &self.v4 } else { &self.v6 };
        family
            .iter()
            .find_map(|prefixes| prefixes.clients.get(&network(source, prefixes.length)?))
    }

    /// The client that presented a certificate over TLS: an entry that the certificate fits, else one for
    /// the address alone.
    ///
    /// # Errors
    /// [`Stranger`] when it is no client's, or more than one's.
    pub fn find_certified(&self, source: IpAddr, peer: &Peer) -> Result<&Arc<Client>, Stranger> {
        let source = source.to_canonical();
        match self.certified.find(source, peer) {
            Err(Stranger::Unknown) => self.find(source).ok_or(Stranger::Unknown),
            found => found,
        }
    }

    /// Whether a TLS connection from `source` could turn out to be a client's.
    pub fn could_be(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.find(source).is_some() || self.certified.could_be_from(source)
    }

    fn insert(&mut self, net: IpNet, client: &Arc<Client>) -> Result<(), TableError> {
        let family = if net.addr().is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        let length = net.prefix_len();
        // Longest first.
        let place = family.partition_point(|prefixes| prefixes.length > length);
        if family.get(place).is_none_or(|prefixes| prefixes.length != length) {
            family.insert(
                place,
                Prefixes {
                    length,
                    clients: HashMap::default(),
                },
            );
        }
        let Some(prefixes) = family.get_mut(place) else {
            return Ok(());
        };
        match prefixes.clients.entry(net.network()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Arc::clone(client));
                Ok(())
            }
            Entry::Occupied(occupied) => Err(TableError::Twice {
                net,
                first: Arc::clone(&occupied.get().name),
                second: Arc::clone(&client.name),
            }),
        }
    }
}

fn network(address: IpAddr, length: u8) -> Option<IpAddr> {
    IpNet::new(address, length).ok().map(|net| net.network())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AddressOrNet;
    use crate::radius::attribute::ACCESS_REQUEST;
    use crate::radius::packet::Writer;

    fn config(name: &str, nets: &[&str]) -> config::Client {
        config::Client {
            name: name.into(),
            address: nets
                .iter()
                .map(|net| AddressOrNet::try_from((*net).to_owned()).unwrap())
                .collect(),
            certificate: None,
            secret: None,
            secret_file: None,
            profile: Profile::Dialog,
            append: config::Append::default(),
            recover: config::Recover::default(),
            language: None,
            ascii: false,
            require_message_authenticator: Requirement::Yes,
            limit_proxy_state: Requirement::Auto,
            send_message_authenticator: true,
            service: None,
            directory: None,
            reject_delay: Duration::from_secs(1),
            dynamic_authorization: None,
            class: true,
            user_name_in_accept: false,
            stale_after: None,
            max_sessions: None,
        }
    }

    fn client(require: Requirement, limit: Requirement) -> Client {
        let mut config = config("vpn", &[]);
        config.require_message_authenticator = require;
        config.limit_proxy_state = limit;
        Client::new(&config, &Secret::new("s3cret"), "staff".into(), &Texts::default())
    }

    /// A request, signed with `secret` if there is one.
    fn request(secret: Option<&str>, attributes: &[(u8, &[u8])]) -> Vec<u8> {
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(&mut buffer, ACCESS_REQUEST, 1, &[1; 16], secret.is_some());
        for (kind, value) in attributes {
            writer.push(*kind, value).unwrap();
        }
        writer.finish_request(&SharedSecret::new(&Secret::new(secret.unwrap_or_default())));
        buffer
    }

    fn check(client: &Client, octets: &[u8], learned: &Habits) -> Result<(), Unsound> {
        client.check_integrity(&Packet::parse(octets).unwrap(), Channel::Udp, source(), learned)
    }

    fn source() -> IpAddr {
        "192.0.2.7".parse().unwrap()
    }

    const PROXY: &[(u8, &[u8])] = &[(PROXY_STATE, b"1")];

    #[test]
    fn the_longest_prefix_wins() {
        let entries = [
            config("all", &["0.0.0.0/0", "2001:db8::/32"]),
            config("site", &["10.1.0.0/16"]),
            config("vpn", &["10.1.2.3", "2001:db8::1"]),
        ];
        let secret = Secret::new("s");
        let table = ClientTable::build(
            entries.iter().map(|entry| (entry, &secret, "staff".into())),
            &Texts::default(),
        )
        .unwrap();
        let name = |address: &str| {
            table
                .find(address.parse().unwrap())
                .map(|client| client.name.to_string())
        };
        for (address, expected) in [
            ("10.1.2.3", Some("vpn")),
            ("::ffff:10.1.2.3", Some("vpn")),
            ("10.1.2.4", Some("site")),
            ("10.2.0.1", Some("all")),
            ("2001:db8::1", Some("vpn")),
            ("2001:db8::2", Some("all")),
            ("2001:db9::1", None),
        ] {
            assert_eq!(name(address).as_deref(), expected, "{address}");
        }
        assert!(ClientTable::default().find(source()).is_none());
    }

    #[test]
    fn contradictions_are_refused() {
        let entries = [config("a", &["10.0.0.0/8"]), config("b", &["10.0.0.0/8"])];
        let secret = Secret::new("s");
        let built = ClientTable::build(
            entries.iter().map(|entry| (entry, &secret, "staff".into())),
            &Texts::default(),
        );
        assert_eq!(
            built.unwrap_err().to_string(),
            "the clients `a` and `b` both claim 10.0.0.0/8"
        );
        let built = ClientTable::build([(&entries[0], &Secret::default(), "staff".into())], &Texts::default());
        assert_eq!(built.unwrap_err(), TableError::EmptySecret("a".into()));
    }

    #[test]
    fn required_means_present_and_right() {
        let client = client(Requirement::Yes, Requirement::Auto);
        let none = Habits::default();
        assert_eq!(check(&client, &request(Some("s3cret"), PROXY), &none), Ok(()));
        assert_eq!(
            check(&client, &request(Some("wrong"), &[]), &none),
            Err(Unsound::BadMessageAuthenticator)
        );
        assert_eq!(
            check(&client, &request(None, &[]), &none),
            Err(Unsound::MissingMessageAuthenticator)
        );
        assert!(none.all().is_empty());
    }

    #[test]
    fn a_wrong_one_and_unsigned_eap_are_never_let_through() {
        let client = client(Requirement::No, Requirement::No);
        let none = Habits::default();
        assert_eq!(
            check(&client, &request(Some("wrong"), &[]), &none),
            Err(Unsound::BadMessageAuthenticator)
        );
        assert_eq!(
            check(&client, &request(None, &[(EAP_MESSAGE, &[2, 1, 0, 5, 1])]), &none),
            Err(Unsound::MissingMessageAuthenticator)
        );
        assert_eq!(check(&client, &request(None, PROXY), &none), Ok(()));
    }

    #[test]
    fn auto_learns_that_an_address_signs() {
        let client = client(Requirement::Auto, Requirement::No);
        let learned = Habits::default();
        assert_eq!(check(&client, &request(None, &[]), &learned), Ok(()));
        assert_eq!(
            check(&client, &request(Some("wrong"), &[]), &learned),
            Err(Unsound::BadMessageAuthenticator)
        );
        assert_eq!(check(&client, &request(None, &[]), &learned), Ok(()));
        assert_eq!(check(&client, &request(Some("s3cret"), &[]), &learned), Ok(()));
        assert_eq!(
            check(&client, &request(None, &[]), &learned),
            Err(Unsound::MissingMessageAuthenticator)
        );
        let other = "192.0.2.8".parse().unwrap();
        let unsigned = request(None, &[]);
        let elsewhere = client.check_integrity(&Packet::parse(&unsigned).unwrap(), Channel::Udp, other, &learned);
        assert_eq!(elsewhere, Ok(()), "each address of a prefix is judged by itself");
    }

    #[test]
    fn what_everybody_signs_teaches_nothing() {
        let client = client(Requirement::Auto, Requirement::Auto);
        let learned = Habits::default();
        let secret = SharedSecret::new(&Secret::new("s3cret"));
        let mut status = Vec::new();
        Writer::begin(&mut status, STATUS_SERVER, 1, &[7; 16], true).finish_request(&secret);
        assert_eq!(check(&client, &status, &learned), Ok(()));
        let eap = request(Some("s3cret"), &[(EAP_MESSAGE, &[2, 1, 0, 5, 1])]);
        assert_eq!(check(&client, &eap, &learned), Ok(()));
        assert!(learned.all().is_empty());
        assert_eq!(check(&client, &request(None, &[]), &learned), Ok(()));
    }

    #[test]
    fn unsigned_proxy_state_is_only_for_old_proxies() {
        let (no, auto) = (Requirement::No, Requirement::Auto);
        let proxy = client(no, auto);
        let learned = Habits::default();
        assert_eq!(check(&proxy, &request(None, PROXY), &learned), Ok(()));
        assert_eq!(check(&proxy, &request(None, PROXY), &learned), Ok(()));

        let plain = Habits::default();
        assert_eq!(check(&proxy, &request(None, &[]), &plain), Ok(()));
        assert_eq!(
            check(&proxy, &request(None, PROXY), &plain),
            Err(Unsound::UnsignedProxyState)
        );
        assert_eq!(check(&proxy, &request(Some("s3cret"), PROXY), &plain), Ok(()));
        let strict = client(no, Requirement::Yes);
        assert_eq!(
            check(&strict, &request(None, PROXY), &learned),
            Err(Unsound::UnsignedProxyState)
        );
    }

    #[test]
    fn unproven_addresses_do_not_fill_the_memory() {
        let learned = Habits::default();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..70_000 {
            learned.learn("vpn", address(number), Habit::Plain);
        }
        assert_eq!(learned.all().len(), Habits::MAX_UNPROVEN);
        assert!(!learned.has_room_for(Habit::UnsignedProxy) && learned.has_room_for(Habit::Signs));
        learned.learn("vpn", address(70_000), Habit::Signs);
        assert_eq!(learned.habit("vpn", address(70_000)), Some(Habit::Signs));
        assert_eq!(learned.habit("wifi", address(70_000)), None);
    }

    #[test]
    fn habits_have_words() {
        for habit in [Habit::Signs, Habit::Plain, Habit::UnsignedProxy] {
            assert_eq!(Habit::parse(habit.word()), Some(habit));
        }
        assert_eq!(Habit::parse("?"), None);
    }
}
