//! `portcullis.toml`: read, validated, every fault named with file, line and key.
//!
//! [`Config::load`] reports all faults it can find, not only the first one. Paths in the file are
//! relative to the folder that the file is in.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use crate::engine::Split;
use crate::engine::policy::AsksManager;
use crate::secret::Secret;

pub use crate::document::{Fault, Faults};
pub use crate::engine::Transport;
pub use application::Application;
pub use audit::Audit;
pub use audit_stream::{AuditStream, Facility, StreamKind, StreamStart, StreamTransport};
pub use delivery::{Delivery, DeliveryKind, Method, ServedKind, SmtpTls};
pub use dialogs::{Dialogs, Recover};
pub use dynauth::{DynamicAuthorization, Identifier};
pub use four_eyes::{Approvals, Passcodes};
pub use generated::{Class, GeneratedPasswords};
pub use operator::{AdminTls, Confirm, Operator, TOKEN_LIVES};
pub use privileged::Privileged;
pub use proxy_protocol::ProxyProtocol;
pub use restrict::{Operation, Restrict, ServiceAccount, WrittenDn};
pub use upstream::{Names, RadiusDirectory, RadiusVersion, Upstream, UpstreamServer, UpstreamTransport};

/// A whole configuration.
#[derive(Debug)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[log]`
    pub log: Log,
    /// `[store]`
    pub store: Store,
    /// `[audit]`
    pub audit: Audit,
    /// `[admin]`
    pub admin: Admin,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[policies]`
    pub policies: Policies,
    /// `[dialogs]`
    pub dialogs: Dialogs,
    /// `[dictionary]`
    pub dictionary: Dictionary,
    /// `[limits]`
    pub limits: Limits,
    /// `[accounting]`
    pub accounting: Accounting,
    /// `[passcodes]`
    pub passcodes: Passcodes,
    /// `[approvals]`
    pub approvals: Approvals,
    /// `[[approval]]`
    pub approval: Vec<approval::Approval>,
    /// `[generated_passwords]`
    pub generated_passwords: GeneratedPasswords,
    /// `[privileged]`
    pub privileged: Privileged,
    /// `[[operator]]`
    pub operators: Vec<Operator>,
    /// `[[directory]]`, at least one.
    pub directories: Vec<Directory>,
    /// `[[upstream]]`
    pub upstreams: Vec<Upstream>,
    /// `[[delivery]]`
    pub deliveries: Vec<Delivery>,
    /// `[[audit_stream]]`
    pub audit_streams: Vec<AuditStream>,
    /// `[[radius]]`
    pub radius: Vec<RadiusListener>,
    /// `[[client]]`
    pub clients: Vec<Client>,
    /// `[[ldap]]`
    pub ldap: Vec<LdapListener>,
}

/// `[node]`: this process.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Node {
    /// Name in logs and status; the host's name when absent.
    pub name: Option<String>,
    /// Folder for everything the process writes.
    pub state: PathBuf,
    /// How long a stopping process waits for requests in flight.
    #[serde(with = "crate::document::span")]
    pub drain: Duration,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: None,
            state: "/var/lib/portcullis".into(),
            drain: Duration::from_secs(10),
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Log {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// A `tracing` filter: `info`, or `portcullis=debug,info`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".into(),
        }
    }
}

/// `log.format`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[store]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Store {
    /// Which implementation.
    pub kind: StoreKind,
    /// Folder of the sled database; `<node.state>/store` when absent.
    pub path: Option<PathBuf>,
    /// The key file; the systemd credential `portcullis.key` or `<node.state>/portcullis.key` when absent.
    pub key_file: Option<PathBuf>,
    /// Memory for sled's page cache, in MiB.
    pub cache_mb: u32,
    /// How often a checksummed export is written.
    #[serde(with = "crate::document::span")]
    pub export_every: Duration,
    /// How many exports are kept; 0 writes none.
    pub export_keep: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: StoreKind::Sled,
            path: None,
            key_file: None,
            cache_mb: 64,
            export_every: Duration::from_secs(24 * 3600),
            export_keep: 7,
        }
    }
}

/// `store.kind`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// An embedded database on disk.
    Sled,
    /// Nothing survives the process: for tests.
    Memory,
}

/// `[admin]`: the socket that the CLI speaks to, and its operators.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Admin {
    /// Path of the Unix socket, mode 0660; `/run/portcullis/admin.sock` when absent, or
    /// `<node.state>/admin.sock` where the state folder is not the default one.
    pub socket: Option<PathBuf>,
    /// Group that owns the socket; the process's own when absent.
    pub group: Option<String>,
    /// Local accounts that may do everything, by name; root and the process's own account always may.
    pub operators: Vec<String>,
    /// The directory that operators have their tokens in; all are asked when absent.
    pub directory: Option<String>,
    /// Who confirms sensitive verbs with a code.
    pub confirm: Confirm,
    /// How long an API token lives at most: 1 minute to 366 days.
    #[serde(with = "crate::document::span")]
    pub token_life: Duration,
    /// The same API over TLS.
    pub tls: Option<AdminTls>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            socket: None,
            group: None,
            operators: Vec::new(),
            directory: None,
            confirm: Confirm::default(),
            token_life: operator::TOKEN_LIFE,
            tls: None,
        }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize, PartialEq, Default)]
#[serde(default)]
pub struct Metrics {
    /// Address of a plain HTTP listener for `/metrics`; only the admin socket serves it when absent.
    pub listen: Option<SocketAddr>,
}

/// `[policies]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Policies {
    /// Folder of `*.toml` policy files, read in the order of their names.
    pub path: PathBuf,
    /// Versions of the policies that are kept; at least one is.
    pub keep_versions: usize,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            path: "policies".into(),
            keep_versions: 100,
        }
    }
}

/// `[dictionary]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Dictionary {
    /// Folder of dictionaries in FreeRADIUS' format, on top of those that are part of the program.
    pub path: Option<PathBuf>,
}

/// `[limits]`: failures before someone is refused unheard. Zero means no limit.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Limits {
    /// Failures of one person within `window`, over all protocols and factors.
    pub user_failures: u32,
    /// Failures from one source address within `window`.
    pub source_failures: u32,
    /// The window that failures are counted in.
    #[serde(with = "crate::document::span")]
    pub window: Duration,
    /// Seconds a challenge may wait for its answer.
    #[serde(with = "crate::document::span")]
    pub challenge: Duration,
    /// Seconds a whole dialog may take.
    #[serde(with = "crate::document::span")]
    pub dialog: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            user_failures: 5,
            source_failures: 30,
            window: Duration::from_secs(15 * 60),
            challenge: Duration::from_secs(120),
            dialog: Duration::from_secs(300),
        }
    }
}

/// `[accounting]`: sessions that RADIUS clients report.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Accounting {
    /// A session of which nothing was heard for this long is closed; zero closes none.
    #[serde(with = "crate::document::span")]
    pub stale_after: Duration,
    /// Most open sessions of one client; reports of more are not acknowledged.
    pub max_sessions: usize,
    /// How long a login counts as a session before its Accounting-Start comes.
    #[serde(with = "crate::document::span")]
    pub start_within: Duration,
}

impl Default for Accounting {
    fn default() -> Self {
        Self {
            stale_after: Duration::from_secs(24 * 3600),
            max_sessions: 100_000,
            start_within: Duration::from_secs(60),
        }
    }
}

/// `[[directory]]`
#[derive(Clone, Debug, PartialEq)]
pub enum Directory {
    /// `kind = "ldap"`
    Ldap(Box<LdapDirectory>),
    /// `kind = "local"`
    Local(LocalDirectory),
    /// `kind = "radius"`
    Radius(RadiusDirectory),
}

impl Directory {
    /// The configured name.
    pub fn name(&self) -> &str {
        match self {
            Self::Ldap(directory) => &directory.name,
            Self::Local(directory) => &directory.name,
            Self::Radius(directory) => &directory.name,
        }
    }

    /// The attribute that names people's languages.
    pub fn language_attribute(&self) -> Option<&str> {
        match self {
            Self::Ldap(directory) => directory.language_attribute.as_deref(),
            Self::Local(directory) => directory.language_attribute.as_deref(),
            Self::Radius(_) => None,
        }
    }

    /// Whether it says by what people are known whom another system signs in.
    pub fn marks_sso(&self) -> bool {
        let (by, groups) = match self {
            Self::Ldap(directory) => (&directory.sso_managed_by, &directory.sso_managed_groups),
            Self::Local(directory) => (&directory.sso_managed_by, &directory.sso_managed_groups),
            Self::Radius(_) => return false,
        };
        !(by.is_empty() && groups.is_empty())
    }

    /// The upstream that judges passwords in its place.
    pub fn password_check(&self) -> Option<&str> {
        match self {
            Self::Ldap(directory) => directory.password_check.as_deref(),
            Self::Local(directory) => directory.password_check.as_deref(),
            Self::Radius(directory) => Some(&directory.upstream),
        }
    }
}

/// An LDAP server or several that hold the same entries.
#[derive(Clone, Debug, Deserialize)]
pub struct LdapDirectory {
    /// Name that clients and listeners refer to.
    pub name: String,
    /// `ldap://host:port` or `ldaps://host:port`, in order of preference.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Instead of them, the SRV record that names the servers (RFC 2782).
    #[serde(default)]
    pub srv: Option<String>,
    /// DNS servers, `address[:port]`, to ask for it and for the servers' addresses; the system's when empty.
    #[serde(default)]
    pub dns_servers: Vec<String>,
    /// Whose software the servers run: how accounts are changed, and what the defaults of other keys are.
    #[serde(default)]
    pub server: ServerKind,
    /// StartTLS on `ldap://` URLs. Default: yes, unless `allow_plaintext`.
    #[serde(default)]
    pub starttls: Option<bool>,
    /// Passwords may travel to the server unencrypted.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// PEM file of the authorities that server certificates are verified against; the system's when absent.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Name to verify certificates for, instead of the URL's host or the SRV record's target.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Account for look-ups; anonymous when absent.
    #[serde(default)]
    pub bind_dn: Option<String>,
    /// Its password.
    #[serde(default)]
    pub bind_password: Option<Secret>,
    /// File that holds its password.
    #[serde(default)]
    pub bind_password_file: Option<PathBuf>,
    /// The account acts as people who were let in without their password (RFC 4370).
    #[serde(default)]
    pub proxy_authorization: bool,
    /// The account may set passwords that people choose where the server would not hold them against their history.
    #[serde(default)]
    pub reset_without_history: bool,
    /// Where people are looked for.
    pub base_dn: String,
    /// Attributes that a plain login name may stand in.
    #[serde(default = "default::login_attributes")]
    pub login_attributes: Vec<String>,
    /// Domains whose people these are, as in `DOMAIN\user`: others' are nobody. Any when empty.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Which entries are people, as an LDAP filter.
    #[serde(default = "default::person_filter")]
    pub filter: String,
    /// Attribute that never changes for an entry and keys its records.
    #[serde(default = "default::key_attribute")]
    pub key_attribute: String,
    /// Attribute that several accounts of one person share, to share their records.
    #[serde(default)]
    pub person_key: Option<String>,
    /// Attribute of a person that lists their groups.
    #[serde(default = "default::group_attribute")]
    pub group_attribute: String,
    /// Where groups are searched by `group_filter`, when the directory has no such attribute.
    #[serde(default)]
    pub group_base_dn: Option<String>,
    /// Filter for that search; `{dn}` is the person's name.
    #[serde(default = "default::group_filter")]
    pub group_filter: String,
    /// Groups that groups are in count as well.
    #[serde(default)]
    pub nested_groups: bool,
    /// Attribute of a person that names the language of what is said to them.
    #[serde(default)]
    pub language_attribute: Option<String>,
    /// Attribute of a person that names their manager.
    #[serde(default = "default::manager_attribute")]
    pub manager_attribute: String,
    /// Entry of OpenLDAP's default password policy: how long locks last and passwords live.
    #[serde(default)]
    pub password_policy: Option<String>,
    /// Attributes of which a true one blocks: boolean, `name&mask` for a bit, or `name=value`.
    #[serde(default)]
    pub disabled_by: Vec<String>,
    /// Attributes of which a false one blocks: likewise.
    #[serde(default)]
    pub enabled_by: Vec<String>,
    /// Attributes of which a true one says that another system signs the person in: likewise.
    #[serde(default)]
    pub sso_managed_by: Vec<String>,
    /// Groups of the people whom another system signs in.
    #[serde(default)]
    pub sso_managed_groups: Vec<String>,
    /// What is fetched of managers. Not configured: what rules ask for.
    #[serde(skip)]
    pub fetch_manager: AsksManager,
    /// Further attributes to fetch.
    #[serde(default)]
    pub attributes: Vec<String>,
    /// Longest time to connect, TLS included.
    #[serde(default = "default::connect_timeout", with = "crate::document::span")]
    pub connect_timeout: Duration,
    /// Longest time for one answer, waiting for a connection included.
    #[serde(default = "default::timeout", with = "crate::document::span")]
    pub timeout: Duration,
    /// Connections for look-ups.
    #[serde(default = "default::look_ups")]
    pub look_up_connections: usize,
    /// Connections for trying passwords.
    #[serde(default = "default::binds")]
    pub bind_connections: usize,
    /// Requests that may wait for a connection; more are turned away as unavailable.
    #[serde(default = "default::queue")]
    pub queue: usize,
    /// How long a look-up is remembered; zero remembers nothing.
    #[serde(default = "default::cache", with = "crate::document::span")]
    pub cache: Duration,
    /// How often an unused or failed server is tried.
    #[serde(default = "default::health", with = "crate::document::span")]
    pub health_interval: Duration,
    /// Longest life of a connection, less up to a fifth by chance.
    #[serde(default = "default::max_connection_age", with = "crate::document::span")]
    pub max_connection_age: Duration,
    /// Longest time that a connection lies idle.
    #[serde(default = "default::max_connection_idle", with = "crate::document::span")]
    pub max_connection_idle: Duration,
    /// Connections of LDAP clients that are relayed to the directory at once; more are told that it is busy.
    #[serde(default = "default::relay_connections")]
    pub relay_connections: usize,
    /// The upstream that judges passwords in place of the directory.
    #[serde(default)]
    pub password_check: Option<String>,
}

impl LdapDirectory {
    /// Takes the defaults that go with [`LdapDirectory::server`] for keys that are not `written`.
    fn take_defaults(&mut self, written: impl Fn(&str) -> bool) {
        let (logins, key, filter, disabled_by): (&str, &str, &str, &str) = match self.server {
            ServerKind::Openldap => return,
            ServerKind::Ds389 => ("uid", "nsUniqueId", "(objectClass=person)", "nsAccountLock"),
            ServerKind::ActiveDirectory => (
                "sAMAccountName",
                "objectGUID",
                "(&(objectCategory=person)(objectClass=user))",
                "userAccountControl&2",
            ),
        };
        if !written("login_attributes") {
            self.login_attributes = vec![logins.into()];
        }
        if !written("key_attribute") {
            self.key_attribute = key.into();
        }
        if !written("filter") {
            self.filter = filter.into();
        }
        if !written("disabled_by") {
            self.disabled_by = vec![disabled_by.into()];
        }
    }
}

/// `directory.server`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerKind {
    /// OpenLDAP, with the ppolicy overlay for locks and expiry; others that follow the same draft.
    #[default]
    Openldap,
    /// 389 Directory Server and FreeIPA.
    #[serde(rename = "389ds")]
    Ds389,
    /// Active Directory and Samba.
    #[serde(rename = "active-directory")]
    ActiveDirectory,
}

/// Equal when a reload would change nothing: secrets do not print, so they are compared beside the rest.
impl PartialEq for LdapDirectory {
    fn eq(&self, other: &Self) -> bool {
        same_secret(self.bind_password.as_ref(), other.bind_password.as_ref())
            && format!("{self:?}") == format!("{other:?}")
    }
}

/// As for [`LdapDirectory`].
impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        same_secret(self.secret.as_ref(), other.secret.as_ref())
            && same_secret(self.dynamic_secret(), other.dynamic_secret())
            && format!("{self:?}") == format!("{other:?}")
    }
}

impl Client {
    fn dynamic_secret(&self) -> Option<&Secret> {
        self.dynamic_authorization.as_ref()?.secret.as_ref()
    }
}

fn same_secret(one: Option<&Secret>, other: Option<&Secret>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.matches(other.expose()),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// `kind = "local"`: an LDIF file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct LocalDirectory {
    /// Name that clients and listeners refer to.
    pub name: String,
    /// The LDIF file (RFC 2849): entries with `userPassword` as `{ARGON2}`, `{SSHA}`, `{SSHA256}` or `{SSHA512}`;
    /// as `{NT}`, or with `sambaNTPassword`, where MS-CHAPv2 is to work.
    pub ldif: PathBuf,
    /// Attributes that a plain login name may stand in.
    #[serde(default = "default::login_attributes")]
    pub login_attributes: Vec<String>,
    /// Further attributes that policies and templates may use.
    #[serde(default)]
    pub attributes: Vec<String>,
    /// Attribute that names the language of what is said to a person.
    #[serde(default)]
    pub language_attribute: Option<String>,
    /// Attributes of which a true one blocks.
    #[serde(default)]
    pub disabled_by: Vec<String>,
    /// Attributes of which a true one says that another system signs the person in.
    #[serde(default)]
    pub sso_managed_by: Vec<String>,
    /// Groups of the people whom another system signs in.
    #[serde(default)]
    pub sso_managed_groups: Vec<String>,
    /// How long a right password is remembered (as a keyed digest in memory, dropped when the entry's
    /// hash changes), so that it costs no second Argon2; zero remembers nothing.
    #[serde(default = "default::remember", with = "crate::document::span")]
    pub remember: Duration,
    /// Allows passwords in clear in the file (`{CLEARTEXT}` or no scheme), which CHAP needs.
    #[serde(default)]
    pub cleartext: bool,
    /// The upstream that judges passwords in place of the file.
    #[serde(default)]
    pub password_check: Option<String>,
}

/// `[[radius]]`: a listener for RADIUS clients.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct RadiusListener {
    /// Name in logs and status.
    #[serde(default = "default::radius_name")]
    pub name: String,
    /// Address and port.
    pub listen: SocketAddr,
    /// Which requests are answered; all by default.
    #[serde(default)]
    pub serve: Serves,
    /// How long a sent reply is kept for retransmissions: 5 s to 30 s.
    #[serde(default = "default::replay", with = "crate::document::span")]
    pub replay: Duration,
    /// Requests worked on at once; more are dropped, and sent again by their clients.
    #[serde(default = "default::in_flight")]
    pub in_flight: usize,
    /// Sockets that share the address, each served by a task of its own.
    #[serde(default = "default::workers")]
    pub workers: usize,
    /// How packets travel.
    #[serde(default)]
    pub transport: Transport,
    /// Bare TCP, on which everybody on the way can read names and change requests, is meant.
    #[serde(default)]
    pub allow_plaintext_tcp: bool,
    /// PEM file of the certificate chain, for TLS.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// PEM file of the authorities that client certificates are verified against.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// PEM file of certificate revocation lists of those authorities; nothing is looked up when absent.
    #[serde(default)]
    pub crl: Option<PathBuf>,
    /// Versions of RADIUS that are spoken over TLS.
    #[serde(default = "default::versions")]
    pub versions: Vec<Version>,
    /// Connections at once; more are closed on arrival.
    #[serde(default = "default::radius_connections")]
    pub connections: usize,
    /// Connections at once from one address (IPv6: one /64).
    #[serde(default = "default::connections_per_source")]
    pub connections_per_source: usize,
    /// New connections a second from one address, on average and at once.
    #[serde(default = "default::handshakes_per_source")]
    pub handshakes_per_source: u32,
    /// Longest time until a new connection has TLS, until a packet that began to come has come, and until a
    /// client takes some of the replies that wait for it.
    #[serde(default = "default::handshake", with = "crate::document::span")]
    pub handshake: Duration,
    /// How long a connection may be idle.
    #[serde(default = "default::idle", with = "crate::document::span")]
    pub idle: Duration,
    /// Requests worked on at once for one connection; nothing more is read from it then.
    #[serde(default = "default::in_flight_per_connection")]
    pub in_flight_per_connection: usize,
}

/// One member of `radius.versions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// RADIUS as over UDP, inside TLS (RFC 6614).
    #[serde(rename = "1.0")]
    V10,
    /// RADIUS/1.1 (RFC 9765).
    #[serde(rename = "1.1")]
    V11,
}

/// `radius.serve`: which requests a listener answers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "Vec<Served>")]
pub struct Serves {
    /// Access-Requests (RFC 2865).
    pub authentication: bool,
    /// Accounting-Requests (RFC 2866).
    pub accounting: bool,
}

impl Default for Serves {
    fn default() -> Self {
        Self {
            authentication: true,
            accounting: true,
        }
    }
}

/// One member of `radius.serve`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Served {
    Authentication,
    Accounting,
}

impl TryFrom<Vec<Served>> for Serves {
    type Error = String;

    fn try_from(list: Vec<Served>) -> Result<Self, String> {
        if list.is_empty() {
            return Err("is empty; write \"authentication\", \"accounting\", or both".into());
        }
        Ok(Self {
            authentication: list.contains(&Served::Authentication),
            accounting: list.contains(&Served::Accounting),
        })
    }
}

/// `[[client]]`: a RADIUS client (NAS).
#[derive(Clone, Debug, Deserialize)]
pub struct Client {
    /// Name in policies, logs and the audit.
    pub name: String,
    /// Addresses and prefixes.
    #[serde(default)]
    pub address: Vec<AddressOrNet>,
    /// What its certificate must have, over TLS; any that `client_ca` verifies will do when absent.
    #[serde(default)]
    pub certificate: Option<CertificateRule>,
    /// The shared secret; over TLS "radsec" when absent.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// File that holds the shared secret.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// What conversation it can hold.
    #[serde(default)]
    pub profile: Profile,
    /// How a code is cut off the password, for `append`.
    #[serde(default)]
    pub append: Append,
    /// What is typed in place of a forgotten password, for `dialog`.
    #[serde(default)]
    pub recover: Recover,
    /// The language of its prompts; as in `[dialogs]` when absent.
    #[serde(default)]
    pub language: Option<String>,
    /// Whether it shows nothing but ASCII.
    #[serde(default)]
    pub ascii: bool,
    /// Whether requests must carry a Message-Authenticator.
    #[serde(default)]
    pub require_message_authenticator: Requirement,
    /// Whether requests with Proxy-State must carry one.
    #[serde(default = "default::auto")]
    pub limit_proxy_state: Requirement,
    /// Whether replies carry a Message-Authenticator. For old clients that reject it.
    #[serde(default = "default::yes")]
    pub send_message_authenticator: bool,
    /// Service name for policies; the client's name when absent.
    #[serde(default)]
    pub service: Option<String>,
    /// The directory of its users; may be absent when there is only one.
    #[serde(default)]
    pub directory: Option<String>,
    /// How long an Access-Reject is held back, counted from the request's arrival.
    #[serde(default = "default::reject_delay", with = "crate::document::span")]
    pub reject_delay: Duration,
    /// How it takes requests to end or change sessions; it takes none when absent.
    #[serde(default)]
    pub dynamic_authorization: Option<DynamicAuthorization>,
    /// Whether an Access-Accept carries a Class that names the person and the login to accounting.
    #[serde(default = "default::yes")]
    pub class: bool,
    /// Whether an Access-Accept carries the login name as the directory has it, for accounting.
    #[serde(default)]
    pub user_name_in_accept: bool,
    /// Closes a session of which nothing was heard for this long; as in `[accounting]` when absent.
    #[serde(default, with = "crate::document::span::option")]
    pub stale_after: Option<Duration>,
    /// Most open sessions; as in `[accounting]` when absent.
    #[serde(default)]
    pub max_sessions: Option<usize>,
}

/// `client.certificate`: what a client's certificate must have. What is given must all hold; of a list, one
/// member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRule {
    /// Names of which the certificate must have one: `dns:`, `ip:`, `uri:`, and what it is.
    #[serde(default)]
    pub san: Vec<SubjectName>,
    /// Digests of which the certificate must have one: `sha256:` and 64 hexadecimal digits.
    #[serde(default)]
    pub fingerprint: Vec<Fingerprint>,
    /// Distinguished name of its issuer.
    #[serde(default)]
    pub issuer: Option<IssuerName>,
}

/// An address, or a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AddressOrNet(pub IpNet);

impl AddressOrNet {
    /// Whether `address` is meant. An IPv4 address that is mapped into IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mapped = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().into(),
            IpAddr::V6(_) => address,
        };
        self.0.contains(&address) || self.0.contains(&mapped)
    }
}

impl TryFrom<String> for AddressOrNet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let net = text
            .parse::<IpNet>()
            .map_err(|_| format!("`{text}` is neither an address nor a prefix such as 10.1.0.0/16"))?;
        if net.trunc() != net {
            return Err(format!(
                "`{text}` has bits set beyond its prefix; did you mean {}?",
                net.trunc()
            ));
        }
        Ok(Self(net))
    }
}

/// What conversation a RADIUS client can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Any number of Access-Challenges.
    Dialog,
    /// One Access-Challenge.
    SingleChallenge,
    /// Password and code in one field.
    Append,
    /// A password and nothing else: the default, because a client that cannot show a challenge takes it
    /// for a refusal.
    #[default]
    None,
}

/// `append`: `{ separator = "," }` or `{ digits = 6 }`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "RawAppend")]
pub struct Append(pub Split);

impl Default for Append {
    fn default() -> Self {
        Self(Split::Separator(','))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAppend {
    separator: Option<char>,
    digits: Option<u8>,
}

impl TryFrom<RawAppend> for Append {
    type Error = String;

    fn try_from(raw: RawAppend) -> Result<Self, String> {
        match (raw.separator, raw.digits) {
            (Some(separator), None) => Ok(Self(Split::Separator(separator))),
            (None, Some(digits @ 6..=64)) => Ok(Self(Split::Fixed(digits))),
            (None, Some(digits)) => Err(format!("append.digits is {digits}; codes have 6 characters or more")),
            _ => Err("append wants either `separator` or `digits`".into()),
        }
    }
}

/// `yes`, `auto`, or `no`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Requirement {
    /// Always.
    #[default]
    Yes,
    /// From the first time on that it was seen.
    Auto,
    /// Never.
    No,
}

/// `[[ldap]]`: a listener for applications that bind.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct LdapListener {
    /// Name in policies (as client), logs and status.
    pub name: String,
    /// Address and port.
    pub listen: SocketAddr,
    /// How the connection is encrypted.
    #[serde(default)]
    pub tls: LdapTls,
    /// PEM file of the certificate chain.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// PEM file of the authorities that clients' certificates are from.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// PEM file of those authorities' revocation lists.
    #[serde(default)]
    pub crl: Option<PathBuf>,
    /// What in a certificate is its holder's login name: the first of these that is there.
    #[serde(default = "CertificateName::usual")]
    pub certificate_login: Vec<CertificateName>,
    /// SASL mechanisms that are judged here.
    #[serde(default = "SaslMechanism::all")]
    pub sasl: Vec<SaslMechanism>,
    /// SASL mechanisms that the directory judges.
    #[serde(default)]
    pub sasl_relay: Vec<RelayedMechanism>,
    /// Passwords are accepted over an unencrypted connection.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// What anonymous connections may do.
    #[serde(default)]
    pub anonymous: Anonymous,
    /// How a code is cut off the password.
    #[serde(default)]
    pub append: Append,
    /// Who is let in to change the password where it must be changed.
    #[serde(default)]
    pub must_change: MustChange,
    /// Load balancers before it that say whose a connection is.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Service name for policies; the listener's name when absent.
    #[serde(default)]
    pub service: Option<String>,
    /// The directory behind it; may be absent when there is only one.
    #[serde(default)]
    pub directory: Option<String>,
    /// Connections at once; more are closed on arrival.
    #[serde(default = "default::connections")]
    pub connections: usize,
    /// Largest message before a bind, in octets.
    #[serde(default = "default::pdu_before")]
    pub max_pdu_before_bind: usize,
    /// Largest message after a bind, in octets.
    #[serde(default = "default::pdu_after")]
    pub max_pdu: usize,
    /// How long a connection may be idle.
    #[serde(default = "default::idle", with = "crate::document::span")]
    pub idle: Duration,
    /// How long a refused bind is held back, counted from its arrival.
    #[serde(default = "default::bind_reject_delay", with = "crate::document::span")]
    pub reject_delay: Duration,
    /// What it lets through; everything when absent.
    #[serde(default)]
    pub restrict: Option<Restrict>,
    /// `[[ldap.service_account]]`
    #[serde(default, rename = "service_account")]
    pub service_accounts: Vec<ServiceAccount>,
    /// `[[ldap.application]]`
    #[serde(default, rename = "application")]
    pub applications: Vec<Application>,
}

/// `ldap.tls`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapTls {
    /// From the first octet.
    #[default]
    Ldaps,
    /// When the client asks for it (RFC 4511 section 4.14).
    Starttls,
    /// Never.
    None,
}

/// `ldap.must_change`: who is let in to change the password, and for nothing else, where it must be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MustChange {
    /// Clients that asked for the state of the password with their bind, and so see that it must be changed.
    #[default]
    Asked,
    /// Everybody. An application that looks only at the result of a bind takes the person for logged in.
    Always,
    /// Nobody.
    Never,
}

/// What a connection may do that has not bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anonymous {
    /// Read the root DSE.
    #[default]
    RootDse,
    /// Whatever the directory allows.
    Yes,
}

mod application;
pub mod approval;
mod audit;
mod audit_stream;
mod certificate;
mod default;
mod delivery;
mod dialogs;
mod dynauth;
mod four_eyes;
mod generated;
mod load;
mod operator;
mod privileged;
mod proxy_protocol;
mod restrict;
mod sasl;
mod upstream;

pub use certificate::{Fingerprint, IssuerName, SubjectName};
pub use sasl::{CertificateName, ClientCertificate, RelayedMechanism, SaslMechanism};
