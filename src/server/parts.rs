//! From a configuration file to everything that can be built before a socket is opened.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::causes::in_full;
use crate::clock;
use crate::config::{self, Config, Directory as DirectoryConfig, LdapTls, Profile, StoreKind, Transport};
use crate::delivery::Deliveries;
use crate::dictionary::Dictionary;
use crate::directory::Directory;
use crate::directory::ldap::{LdapDirectory, SetupFault};
use crate::directory::local::LocalDirectory;
use crate::directory::upstream::{Checked, Everybody};
use crate::document::{Document, Faults, Source};
use crate::engine::authenticator::enrolling::TotpKey;
use crate::engine::dialog::Lifetime;
use crate::engine::policy::check::{self, Place, Site};
use crate::engine::policy::{self, Policy, Rule};
use crate::engine::questions::{self as question_policy, Questions};
use crate::engine::request::Protocol;
use crate::engine::throttle::Limit;
use crate::engine::{Engine, Settings};
use crate::keyring::Keyring;
use crate::policies::files::PolicyFiles;
use crate::radius::client::ClientTable;
use crate::secret::Secret;
use crate::server::{certificates, deliveries, dialogs, operators, questions, untyped, upstreams};
use crate::sessions;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::sled::SledStore;
use crate::stream::Streams;
use crate::tls::TlsServer;
use crate::tls::mutual::MutualServer;
use crate::verifier::Directories;

/// Everything that a configuration comes to, short of store and sockets.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its policies.
    pub policy: Arc<Policy>,
    /// The files that they were read from.
    pub files: Arc<PolicyFiles>,
    /// The RADIUS attributes that it knows.
    pub dictionary: Arc<Dictionary>,
    /// Its directories, by name.
    pub directories: Directories,
    /// Its RADIUS clients.
    pub clients: Arc<ClientTable>,
    /// The certificates of its LDAP listeners, by the listener's name.
    pub certificates: Vec<(String, Arc<TlsServer>)>,
    /// The certificates of its RADIUS listeners with TLS, by the listener's name.
    pub radius_certificates: Vec<(String, Arc<MutualServer>)>,
    /// The certificate of the admin listener, if there is one.
    pub admin_certificate: Option<Arc<TlsServer>>,
    /// How codes reach people.
    pub deliveries: Arc<Deliveries>,
    /// What works but is probably not meant.
    pub warnings: Faults,
}

/// What a reload can keep.
pub struct Running<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// The directories in force; those whose configuration stays the same keep their connections.
    pub directories: &'a Directories,
}

impl Parts {
    /// Reads everything and builds what needs no connection. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong, with its place.
    pub fn check(file: &Path) -> Result<Self, Faults> {
        Self::check_with(file, None)
    }

    /// The same with other policies than those of the configured folder, where some are given.
    ///
    /// # Errors
    /// Everything that is wrong, with its place.
    pub fn check_with(file: &Path, files: Option<PolicyFiles>) -> Result<Self, Faults> {
        let (mut config, mut faults) = Config::load(file)?;
        let Some(source) = Source::read(file, &mut faults) else {
            return Err(faults);
        };
        let Some(document) = Document::parse(&source, &mut faults) else {
            return Err(faults);
        };
        let dictionary = load_dictionary(&config, &mut faults);
        let files = files.unwrap_or_else(|| PolicyFiles::read(&config.policies.path, &mut faults));
        let (policy, deliveries) = settle(&mut config, &files, &dictionary, &document, &mut faults);
        upstreams::check(&config, &dictionary, &document, &mut faults);
        operators::check(&config, &document, &mut faults);
        if let Err((index, error)) = Streams::check(&config.audit_streams) {
            faults
                .0
                .push(document.fault(&["audit_stream", &index.to_string()], describe(error)));
        }
        let mut directories = Directories::new();
        for (index, directory) in config.directories.iter().enumerate() {
            match directory {
                DirectoryConfig::Ldap(ldap) => {
                    let found = LdapDirectory::check(ldap)
                        .err()
                        .map(|found| found.0)
                        .unwrap_or_default();
                    let placed = |fault: SetupFault| {
                        document.fault(&["directory", &index.to_string(), fault.key], fault.message)
                    };
                    faults.0.extend(found.into_iter().map(placed));
                }
                DirectoryConfig::Local(local) => match LocalDirectory::load(local) {
                    Ok(built) => {
                        directories.insert(local.name.clone(), checked(built, directory));
                    }
                    Err(found) => faults.0.extend(found.0),
                },
                DirectoryConfig::Radius(radius) => {
                    let everybody = Everybody::new(&radius.name, &radius.upstream, radius.names);
                    directories.insert(radius.name.clone(), everybody);
                }
            }
        }
        let certificates = certificates::ldap(&config, &document, &mut faults);
        let radius_certificates = certificates::radius(&config, &document, &mut faults);
        let admin_certificate = certificates::admin(&config, &document, &mut faults);
        let no_secret = Secret::default();
        let entries = config.clients.iter().filter_map(|client| {
            let directory = client.directory.as_deref().unwrap_or_default();
            let secret = client
                .secret
                .as_ref()
                .or(client.certificate.as_ref().map(|_| &no_secret));
            Some((client, secret?, Arc::from(directory)))
        });
        let clients = ClientTable::build(entries, &policy.texts)
            .map_err(|error| faults.0.push(document.fault(&["client"], error.to_string())))
            .unwrap_or_default();
        if faults.any_errors() {
            return Err(faults);
        }
        Ok(Self {
            config: Arc::new(config),
            policy: Arc::new(policy),
            files: Arc::new(files),
            dictionary,
            directories,
            clients: Arc::new(clients),
            certificates,
            radius_certificates,
            admin_certificate,
            deliveries,
            warnings: faults,
        })
    }

    /// Reads and builds everything. Blocks; within the runtime, which the directories' connections live in.
    ///
    /// # Errors
    /// Everything that is wrong, with its place.
    pub fn load(file: &Path, running: Option<&Running<'_>>) -> Result<Self, Faults> {
        let mut parts = Self::check(file)?;
        for directory in &parts.config.directories {
            let DirectoryConfig::Ldap(ldap) = directory else {
                continue;
            };
            let unchanged = running.filter(|running| running.config.directories.contains(directory));
            let built: Arc<dyn Directory> = match unchanged.and_then(|running| running.directories.get(&ldap.name)) {
                Some(kept) => Arc::clone(kept),
                None => {
                    let built = LdapDirectory::new(ldap).map_err(|error| {
                        let mut faults = Faults::default();
                        faults.file(file, format!("directory \"{}\": {}", ldap.name, describe(error)));
                        faults
                    })?;
                    checked(built, directory)
                }
            };
            parts.directories.insert(ldap.name.clone(), built);
        }
        Ok(parts)
    }

    /// What the verifier works with.
    pub fn judging(&self, keyring: &Arc<Keyring>) -> (Engine, Directories, Limit) {
        let limits = &self.config.limits;
        let settings = Settings {
            limit: Limit {
                failures: limits.user_failures,
                window: limits.window,
            },
            lifetime: Lifetime {
                step: limits.challenge,
                whole: limits.dialog,
            },
            start_within: self.config.accounting.start_within,
            approval_life: self.config.approvals.life,
            four_eyes: self.config.passcodes.four_eyes,
        };
        let engine = Engine {
            policy: Arc::clone(&self.policy),
            keyring: Arc::clone(keyring),
            settings,
            draw: || TotpKey::new(clock::random()),
        };
        let source_limit = Limit {
            failures: limits.source_failures,
            window: limits.window,
        };
        (engine, self.directories.clone(), source_limit)
    }
}

/// The directory, with its passwords judged by an upstream where the configuration says so.
fn checked(built: Arc<dyn Directory>, config: &DirectoryConfig) -> Arc<dyn Directory> {
    match config.password_check() {
        Some(by) => Checked::new(built, by),
        None => built,
    }
}

/// Limits of sessions.
pub fn session_settings(config: &Config) -> sessions::Settings {
    let common = sessions::Limits {
        stale_after: config.accounting.stale_after,
        most: config.accounting.max_sessions,
    };
    let own = |client: &config::Client| {
        let limits = sessions::Limits {
            stale_after: client.stale_after.unwrap_or(common.stale_after),
            most: client.max_sessions.unwrap_or(common.most),
        };
        (client.name.clone(), limits)
    };
    sessions::Settings {
        common,
        clients: config.clients.iter().map(own).collect(),
    }
}

/// The dictionary that a configuration names.
pub fn load_dictionary(config: &Config, faults: &mut Faults) -> Arc<Dictionary> {
    match &config.dictionary.path {
        Some(folder) => Dictionary::load(folder, faults),
        None => Arc::clone(Dictionary::shipped()),
    }
}

/// Has the directories fetch what rules take values from, and the languages that people are spoken to in.
fn fetch(policy: &Policy, config: &mut Config) {
    for directory in &mut config.directories {
        let language = directory.language_attribute().map(ToOwned::to_owned);
        let attributes = match directory {
            DirectoryConfig::Ldap(ldap) => {
                ldap.fetch_manager = policy.asks_manager();
                &mut ldap.attributes
            }
            DirectoryConfig::Local(local) => &mut local.attributes,
            DirectoryConfig::Radius(_) => continue,
        };
        for name in policy.attributes().into_iter().chain(language.as_deref()) {
            if !attributes.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                attributes.push(name.to_owned());
            }
        }
    }
}

/// The policies of these files, fitted into a configuration; what does not fit, and what is probably not meant, goes to
/// `faults`. The directories of `config` are told which attributes are wanted. Blocks.
pub(super) fn settle(
    config: &mut Config,
    files: &PolicyFiles,
    dictionary: &Dictionary,
    document: &Document<'_>,
    faults: &mut Faults,
) -> (Policy, Arc<Deliveries>) {
    let mut policy = load_policies(files, dictionary, faults);
    policy.privileged = config.privileged.class();
    let deliveries = deliveries::prepare(config, &mut policy, document, faults);
    fetch(&policy, config);
    upstreams::settle(config, &mut policy, faults);
    untyped::check(config, &policy, faults);
    questions::check(config, &policy, faults);
    dialogs::settle(config, &mut policy, document, faults);
    warn_of_the_unsaid(config, &policy, faults);
    check::check(&files.rules(), &policy, &site(config), faults);
    (policy, deliveries)
}

/// Warns of rules that ask for what the configuration says of nobody.
fn warn_of_the_unsaid(config: &Config, policy: &Policy, faults: &mut Faults) {
    let marked = config.directories.iter().any(DirectoryConfig::marks_sso);
    for (_, clause) in policy.rules.iter().flat_map(Rule::conditions) {
        let message = match clause.condition.key() {
            "privileged" if policy.privileged.is_empty() => {
                "asks who is privileged, and [privileged] of the configuration names nobody"
            }
            "sso_managed" if !marked => "is never known: no directory has `sso_managed_by` or `sso_managed_groups`",
            _ => continue,
        };
        faults.0.push(clause.spot.warning(message));
    }
}

/// What rules can be about.
fn site(config: &Config) -> Site {
    let client = |client: &config::Client| Place {
        protocol: Protocol::Radius,
        client: client.name.clone(),
        service: client.service.clone().unwrap_or_else(|| client.name.clone()),
        directory: client.directory.clone().unwrap_or_default(),
        transports: match client.certificate {
            Some(_) => vec![Transport::Udp, Transport::Tcp, Transport::Tls],
            None => vec![Transport::Udp, Transport::Tcp],
        },
        sources: client.address.iter().map(|net| net.0).collect(),
        dialog: matches!(client.profile, Profile::Dialog | Profile::SingleChallenge),
    };
    let listener = |listener: &config::LdapListener| Place {
        protocol: Protocol::Ldap,
        client: listener.name.clone(),
        service: listener.service.clone().unwrap_or_else(|| listener.name.clone()),
        directory: listener.directory.clone().unwrap_or_default(),
        transports: match listener.tls {
            LdapTls::None => vec![Transport::Tcp],
            LdapTls::Starttls => vec![Transport::Tcp, Transport::Tls],
            LdapTls::Ldaps => vec![Transport::Tls],
        },
        sources: Vec::new(),
        dialog: false,
    };
    let clients = config.clients.iter().map(client);
    let radius = config.radius.iter().map(|listener| listener.name.clone());
    let ldap = config.ldap.iter().map(|listener| listener.name.clone());
    Site {
        places: clients.chain(config.ldap.iter().map(listener)).collect(),
        directories: config
            .directories
            .iter()
            .map(|directory| directory.name().to_owned())
            .collect(),
        listeners: radius.chain(ldap).collect(),
        applications: config
            .ldap
            .iter()
            .flat_map(|listener| &listener.applications)
            .map(|application| application.name.clone())
            .collect(),
    }
}

/// The policies of a set of files.
pub(super) fn load_policies(files: &PolicyFiles, dictionary: &Dictionary, faults: &mut Faults) -> Policy {
    let sources = files.rules();
    let mut policy = policy::parse(&sources, dictionary, faults);
    faults.0.extend(policy.outdated(clock::now()));
    let questions = files.questions();
    policy.questions = questions.map_or_else(Questions::default, |source| question_policy::parse(&source, faults));
    dialogs::load(files, &sources, &mut policy, faults);
    policy
}

/// Opens the key file and the store. Blocks. Both are made where neither is there yet.
///
/// # Errors
/// One text that says what is wrong and what to do.
pub fn open_state(config: &Config) -> Result<(Arc<Keyring>, Arc<dyn Store>), String> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let key_file = config.key_file(credentials.as_deref());
    let path = config.store_path();
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.node.state);
    made.map_err(|error| format!("cannot make {}: {error}", config.node.state.display()))?;
    if !key_file.exists() {
        if config.store.kind == StoreKind::Sled && path.exists() {
            return Err(format!(
                "the store {} is there, but its key file {} is not; put the key file back: without it the secrets in the store cannot be read",
                path.display(),
                key_file.display()
            ));
        }
        Keyring::create(&key_file).map_err(describe)?;
        tracing::warn!(file = %key_file.display(), "made a new key file; keep a copy of it apart from the store");
    }
    let keyring = Arc::new(Keyring::load(&key_file).map_err(describe)?);
    let store: Arc<dyn Store> = match config.store.kind {
        StoreKind::Memory => Arc::new(MemoryStore::new(Arc::clone(&keyring))),
        StoreKind::Sled => {
            let cache = u64::from(config.store.cache_mb.max(1)) << 20;
            SledStore::open(&path, cache, Arc::clone(&keyring)).map_err(describe)?
        }
    };
    Ok((keyring, store))
}

/// An error with everything behind it, in one line.
pub fn describe(error: impl std::error::Error) -> String {
    in_full(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The small working file of the documentation, with the files that it names.
    #[test]
    fn the_documented_configuration_is_sound() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let guide = include_str!("../../docs/configuration.md");
        let text = guide.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        for name in ["tls", "policies"] {
            fs::create_dir(at(name)).unwrap();
        }
        let made = rcgen::generate_simple_self_signed(vec!["door.example.org".to_owned()]).unwrap();
        fs::write(at("ca.pem"), made.cert.pem()).unwrap();
        fs::write(at("tls/server.pem"), made.cert.pem()).unwrap();
        fs::write(at("tls/server.key"), made.signing_key.serialize_pem()).unwrap();
        fs::write(at("directory.password"), "a password\n").unwrap();
        fs::write(at("vpn.secret"), "a secret of more than 16 octets\n").unwrap();
        let rule = "[[rule]]\nname = \"staff\"\nwhen = { service = [\"vpn\", \"wifi\"] }\nrequire = \"password\"\n";
        fs::write(at("policies/staff.toml"), rule).unwrap();
        fs::write(at("portcullis.toml"), text).unwrap();

        let parts = Parts::check(&at("portcullis.toml"))
            .map_err(|faults| faults.to_string())
            .unwrap();
        let warnings = parts.warnings.to_string();
        assert!(
            warnings.contains("is about service \"wifi\", which there is none of"),
            "{warnings}"
        );

        fs::write(at("tls/server.key"), "no key\n").unwrap();
        let faults = Parts::check(&at("portcullis.toml"))
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(faults.contains("portcullis.toml:23:7: ldap[0].key: "), "{faults}");
    }
}
