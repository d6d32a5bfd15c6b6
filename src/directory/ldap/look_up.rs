//! Look-ups: one search for the one entry that a name means, and the person made of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{error, info, warn};

use crate::causes::in_full;
use crate::clock;
use crate::directory::bind;
use crate::directory::filter::Filter;
use crate::directory::ldap::settings::Account;
use crate::directory::ldap::{LdapDirectory, bind_on};
use crate::directory::person::{Flag, format_guid, format_uuid};
use crate::directory::pool::{Lease, Progress};
use crate::directory::search::{Answer, FoundEntry, Scope, Search};
use crate::directory::servers::Server;
use crate::directory::wire::{Connection, WireError};
use crate::engine::facts::{Manager, dn_is_under, normalise_dn};
use crate::engine::policy::AsksManager;
use crate::engine::request::LoginForm;
use crate::engine::{Lookup, PasswordOutcome, Person, UserKey};

/// Why a look-up on one connection came to nothing.
#[derive(Debug)]
enum Trouble {
    Wire(WireError),
    /// The service account cannot bind; the text says why.
    Account(String),
}

impl Trouble {
    fn words(self) -> String {
        match self {
            Self::Wire(error) => in_full(&error),
            Self::Account(why) => why,
        }
    }
}

impl From<WireError> for Trouble {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

pub(super) struct Results {
    pub(super) entries: Vec<FoundEntry>,
    pub(super) code: i32,
    pub(super) diagnostic: Vec<u8>,
}

impl LdapDirectory {
    /// Asks the servers for the entry that `form` names.
    pub(super) async fn find(&self, form: &LoginForm) -> Lookup {
        let Some(question) = self.question(form) else {
            return Lookup::Unknown;
        };
        let mut progress = Progress::default();
        let find = self.find_unbounded(&mut progress, &question);
        match tokio::time::timeout(self.settings.timeout, find).await {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(why)) => Lookup::Unavailable(why),
            Err(_) => Lookup::Unavailable(progress.timed_out(self.settings.timeout)),
        }
    }

    /// A connection that reads as the account for look-ups.
    pub(super) async fn reader(&self, fresh: bool, progress: &mut Progress) -> Result<Lease, String> {
        let mut lease = self
            .look_ups
            .lease(fresh, progress)
            .await
            .map_err(|error| error.to_string())?;
        if !lease.reused
            && let Some(account) = &self.settings.account
        {
            let bound = self
                .service_account
                .bind(&self.settings.name, account, &mut lease)
                .await;
            bound.map_err(Trouble::words)?;
        }
        Ok(lease)
    }

    /// What to search for `form`; `None` when the answer is known to be nobody.
    fn question<'a>(&'a self, form: &'a LoginForm) -> Option<Question<'a>> {
        let settings = &self.settings;
        let any = |attributes: &[String], name: &str| -> Vec<Filter> {
            let equal = attributes.iter().map(|attribute| Filter::equal(attribute, name));
            equal.collect()
        };
        let named = |mut any: Vec<Filter>| {
            let name = match any.len() {
                1 => any.remove(0),
                _ => Filter::Or(any),
            };
            Some(Question {
                base: &settings.base_dn,
                scope: Scope::Subtree,
                filter: Filter::And(vec![settings.filter.clone(), name]),
            })
        };
        match form {
            LoginForm::Plain(name) => named(any(&settings.login_attributes, name)),
            // Another domain's people may be called the same.
            LoginForm::Domain { domain, .. } if !settings.domains.is_empty() && !settings.has_domain(domain) => None,
            LoginForm::Domain { user, .. } => named(any(&settings.login_attributes, user)),
            LoginForm::Principal(name) => {
                let mut any = any(&settings.principal_attributes, name);
                any.extend(settings.implicit_principal(name));
                named(any)
            }
            LoginForm::Dn(dn) if dn_is_under(&normalise_dn(dn), &settings.normalised_base) => Some(Question {
                base: dn,
                scope: Scope::Base,
                filter: settings.filter.clone(),
            }),
            LoginForm::Dn(_) => None,
            // Listed by name in the configuration: it may lie anywhere, and need not be a person.
            LoginForm::Account(dn) => Some(Question {
                base: dn,
                scope: Scope::Base,
                filter: Filter::Present("objectClass".into()),
            }),
        }
    }

    /// A search changes nothing, so that it is sent again over a new connection when one that lay idle
    /// turns out to be closed.
    async fn find_unbounded(&self, progress: &mut Progress, question: &Question<'_>) -> Result<Lookup, String> {
        let mut fresh = false;
        loop {
            let mut lease = self
                .look_ups
                .lease(fresh, progress)
                .await
                .map_err(|error| error.to_string())?;
            match self.find_on(&mut lease, question).await {
                Ok(answer) => {
                    lease.give_back();
                    return answer;
                }
                Err(Trouble::Account(why)) => return Err(why),
                Err(Trouble::Wire(error)) => {
                    let was_idle = lease.reused && error.is_closed();
                    let why = lease.failed(&error);
                    if !was_idle {
                        return Err(why);
                    }
                    fresh = true;
                }
            }
        }
    }

    async fn find_on(&self, lease: &mut Lease, question: &Question<'_>) -> Result<Result<Lookup, String>, Trouble> {
        if !lease.reused
            && let Some(account) = &self.settings.account
        {
            self.service_account.bind(&self.settings.name, account, lease).await?;
        }
        let search = Search {
            base: question.base,
            scope: question.scope,
            size_limit: 2,
            time_limit: self.time_limit(),
            filter: &question.filter,
            attributes: &self.settings.requested,
        };
        let results = run(lease.connection(), &search, 2).await?;
        match (results.code, results.entries.as_slice()) {
            (SUCCESS, []) => return Ok(Ok(Lookup::Unknown)),
            (SUCCESS, [_]) => {}
            // RFC 4511 section 4.5.2: no entry comes twice. One that does is no second person.
            (SUCCESS, [entry, other]) if entry.dn == other.dn => {
                return Ok(Err(format!("the server sent the entry {} twice", entry.dn)));
            }
            (SUCCESS | SIZE_LIMIT_EXCEEDED, _) => return Ok(Ok(Lookup::Ambiguous)),
            (NO_SUCH_OBJECT, _) => {
                if question.scope == Scope::Subtree {
                    warn!(
                        directory = &*self.settings.name,
                        base_dn = question.base,
                        "the directory has no entry `base_dn`, or hides it from the account that look-ups are done as"
                    );
                }
                return Ok(Ok(Lookup::Unknown));
            }
            (INVALID_DN_SYNTAX, _) if question.scope == Scope::Base => return Ok(Ok(Lookup::Unknown)),
            (code, _) => {
                if code == bind::UNAVAILABLE {
                    lease.server().give_up("the server says that it is unavailable");
                }
                let told = bind::describe(code, &results.diagnostic);
                return Ok(Err(format!("the server answered {told} to a look-up")));
            }
        }
        let mut entry = results.entries.into_iter().next().unwrap_or_default();
        if let Err(why) = self.complete(lease.connection(), &mut entry).await? {
            return Ok(Err(why));
        }
        let entry = &entry;
        let mut groups: Vec<String> = entry.texts(&self.settings.group_attribute).map(normalise_dn).collect();
        if let Err(why) = self.search_groups(lease, entry, &mut groups).await? {
            return Ok(Err(why));
        }
        let manager = match self.manager_of(lease, entry).await? {
            Ok(manager) => manager,
            Err(why) => return Ok(Err(why)),
        };
        let person = self.person(entry, groups, manager);
        Ok(person.map(|person| Lookup::Found(Arc::new(person))))
    }

    /// Whom the entry names as manager, as far as rules ask. Of several it is not known which is meant.
    async fn manager_of(
        &self,
        lease: &mut Lease,
        entry: &FoundEntry,
    ) -> Result<Result<Option<Manager>, String>, Trouble> {
        let settings = &self.settings;
        let mut named = entry.texts(&settings.manager_attribute);
        let dn = match (settings.fetch_manager, named.next(), named.next()) {
            (AsksManager::Dn | AsksManager::Login, Some(dn), None) => dn,
            (AsksManager::No | AsksManager::Dn | AsksManager::Login, _, _) => return Ok(Ok(None)),
        };
        let normal = normalise_dn(dn);
        let among_people = dn_is_under(&normal, &settings.normalised_base);
        let mut manager = Manager {
            dn: normal,
            login: None,
        };
        if settings.fetch_manager == AsksManager::Login && among_people {
            let search = Search {
                base: dn,
                scope: Scope::Base,
                size_limit: 1,
                time_limit: self.time_limit(),
                filter: &settings.filter,
                attributes: &settings.login_attributes,
            };
            let found = run(lease.connection(), &search, 1).await?;
            match found.code {
                SUCCESS => manager.login = found.entries.first().map(|entry| self.login(entry).to_owned()),
                NO_SUCH_OBJECT | INVALID_DN_SYNTAX => {}
                code => {
                    let told = bind::describe(code, &found.diagnostic);
                    return Ok(Err(format!("the server answered {told} to the look-up of a manager")));
                }
            }
        }
        Ok(Ok(Some(manager)))
    }

    /// Adds the groups that `group_filter` finds. Without them policies would decide wrongly: that they
    /// cannot be read is an outage.
    async fn search_groups(
        &self,
        lease: &mut Lease,
        entry: &FoundEntry,
        groups: &mut Vec<String>,
    ) -> Result<Result<(), String>, Trouble> {
        let Some(wanted) = &self.settings.group_search else {
            return Ok(Ok(()));
        };
        // Those that the entry lists are in groups, too. Their names are looked for as they were written.
        let mut members = vec![entry.dn.clone()];
        if wanted.levels > 0 {
            members.extend(entry.texts(&self.settings.group_attribute).map(str::to_owned));
        }
        let login = self.login(entry).to_owned();
        for _ in 0..=wanted.levels {
            let mut next = Vec::new();
            for member in &members {
                let search = Search {
                    base: &wanted.base,
                    scope: Scope::Subtree,
                    size_limit: 0,
                    time_limit: self.time_limit(),
                    filter: &wanted
                        .filter
                        .filled(&[("dn", member.as_bytes()), ("login", login.as_bytes())]),
                    attributes: &["1.1".to_owned()],
                };
                let found = run(lease.connection(), &search, MOST_GROUPS).await?;
                if found.code != SUCCESS {
                    let told = bind::describe(found.code, &found.diagnostic);
                    return Ok(Err(format!("the server answered {told} to the search for groups")));
                }
                for group in found.entries {
                    let normal = normalise_dn(&group.dn);
                    if !groups.contains(&normal) {
                        groups.push(normal);
                        next.push(group.dn);
                    }
                    if groups.len() > MOST_GROUPS {
                        return Ok(Err(format!("{} is in more than {MOST_GROUPS} groups", entry.dn)));
                    }
                }
            }
            members = next;
        }
        groups.sort_unstable();
        groups.dedup();
        Ok(Ok(()))
    }

    fn person(&self, entry: &FoundEntry, groups: Vec<String>, manager: Option<Manager>) -> Result<Person, String> {
        let settings = &self.settings;
        let mut attributes = BTreeMap::new();
        for name in &settings.attributes {
            let values: Vec<String> = entry.texts(name).map(str::to_owned).collect();
            if !values.is_empty() {
                attributes.insert(name.to_lowercase(), values);
            }
        }
        let sso_managed = settings
            .sso_managed
            .on(|flag| flag.value(entry.values(&flag.attribute)), &groups);
        Ok(Person {
            key: self.key(entry)?,
            directory: Arc::clone(&settings.name),
            dn: entry.dn.clone(),
            login: self.login(entry).to_owned(),
            groups,
            attributes,
            enabled: !self.is_blocked(entry),
            manager,
            sso_managed,
        })
    }

    /// Whether the attributes that the configuration names block the account.
    pub(super) fn is_blocked(&self, entry: &FoundEntry) -> bool {
        let says = |flag: &Flag| flag.value(entry.values(&flag.attribute));
        self.settings.disabled_by.iter().any(|flag| says(flag) == Some(true))
            || self.settings.enabled_by.iter().any(|flag| says(flag) == Some(false))
    }

    fn login<'e>(&self, entry: &'e FoundEntry) -> &'e str {
        let mut attributes = self.settings.login_attributes.iter();
        attributes
            .find_map(|attribute| entry.texts(attribute).next())
            .unwrap_or(&entry.dn)
    }

    fn key(&self, entry: &FoundEntry) -> Result<UserKey, String> {
        let settings = &self.settings;
        // The attribute's name is part of the key, so that whoever can write the attribute cannot
        // make it another entry's identifier.
        let joined = settings.person_key.as_ref().and_then(|attribute| {
            let value = entry.texts(attribute).find(|value| !value.trim().is_empty())?;
            Some(format!("{attribute}={}", value.trim()))
        });
        if let Some(joined) = joined {
            return Ok(user_key(&settings.name, &joined));
        }
        let attribute = &settings.key_attribute;
        let Some(value) = entry.values(attribute).next().filter(|value| !value.is_empty()) else {
            return Err(format!(
                "the entry {} has no attribute `{attribute}` that the account for look-ups can read; \
                 correct `key_attribute`, or the account's rights",
                entry.dn
            ));
        };
        let identifier = match (<[u8; 16]>::try_from(value), std::str::from_utf8(value)) {
            (Ok(octets), _) if attribute.eq_ignore_ascii_case("objectGUID") => format_guid(octets),
            (_, Ok(text)) => text.to_owned(),
            (Ok(octets), Err(_)) => format_uuid(octets),
            (Err(_), Err(_)) => data_encoding::HEXLOWER.encode(value),
        };
        Ok(user_key(&settings.name, &identifier))
    }

    pub(super) fn time_limit(&self) -> i32 {
        i32::try_from(self.settings.timeout.as_secs().saturating_add(1)).unwrap_or(i32::MAX)
    }
}

struct Question<'a> {
    base: &'a str,
    scope: Scope,
    filter: Filter,
}

/// The account that look-ups are done as, and whether the server has refused it.
#[derive(Default)]
pub(super) struct ServiceAccount {
    refused: Mutex<Option<(Instant, String)>>,
}

impl ServiceAccount {
    /// Binds as the account. A refusal stands for a while, so that a wrong password in the configuration
    /// is not tried again with every login, which would soon lock the account.
    async fn bind(&self, directory: &str, account: &Account, lease: &mut Lease) -> Result<(), Trouble> {
        let server = Arc::clone(lease.server());
        self.bind_on(directory, account, &server, lease.connection()).await
    }

    /// The same on a connection that belongs to no pool.
    pub(super) async fn bind_alone(
        &self,
        directory: &str,
        account: &Account,
        server: &Server,
        connection: &mut Connection,
    ) -> Result<(), String> {
        let bound = self.bind_on(directory, account, server, connection).await;
        bound.map_err(Trouble::words)
    }

    async fn bind_on(
        &self,
        directory: &str,
        account: &Account,
        server: &Server,
        connection: &mut Connection,
    ) -> Result<(), Trouble> {
        if let Some((since, why)) = &*self.refused.lock()
            && clock::monotonic().saturating_duration_since(*since) < REFUSAL_STANDS
        {
            return Err(Trouble::Account(why.clone()));
        }
        let (code, outcome) = bind_on(connection, &account.dn, &account.password).await?;
        let reason = match outcome {
            PasswordOutcome::Right => {
                if self.refused.lock().take().is_some() {
                    info!(
                        directory,
                        account = account.dn,
                        "the account for look-ups can bind again"
                    );
                }
                return Ok(());
            }
            PasswordOutcome::Wrong => "its password is wrong; correct `bind_password` or `bind_password_file`",
            PasswordOutcome::Expired => "its password has expired",
            PasswordOutcome::MustChange => "its password must be changed first",
            PasswordOutcome::Locked => "the directory has locked it",
            PasswordOutcome::Disabled => "the directory has disabled it",
            PasswordOutcome::Unknown => "the directory does not know it; correct `bind_dn`",
            PasswordOutcome::Unavailable(why) => {
                if code == bind::UNAVAILABLE {
                    server.give_up(&why);
                }
                return Err(Trouble::Account(why));
            }
        };
        let why = format!("the account for look-ups, {}, cannot bind: {reason}", account.dn);
        error!(
            directory,
            account = account.dn,
            reason,
            "the account for look-ups cannot bind"
        );
        *self.refused.lock() = Some((clock::monotonic(), why.clone()));
        Err(Trouble::Account(why))
    }
}

/// Sends a search and collects its answers; referrals are passed over.
pub(super) async fn run(connection: &mut Connection, search: &Search<'_>, most: usize) -> Result<Results, WireError> {
    let (id, out) = connection.request();
    search.encode(id, out);
    connection.send().await?;
    let mut entries = Vec::new();
    loop {
        let message = connection.receive().await?;
        match Answer::read(&message)? {
            Answer::Entry(_) if entries.len() >= most => return Err(WireError::TooMany(most)),
            Answer::Entry(entry) => entries.push(entry.to_owned()?),
            Answer::Reference => {}
            Answer::Done { code, diagnostic } => {
                return Ok(Results {
                    entries,
                    code,
                    diagnostic: diagnostic.to_vec(),
                });
            }
        }
    }
}

/// Keys are at most 255 octets: longer identifiers are known by their digest.
fn user_key(directory: &str, identifier: &str) -> UserKey {
    let identifier = identifier.to_lowercase();
    if directory.len() + 1 + identifier.len() <= 255 {
        return UserKey::new(directory, &identifier);
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, identifier.as_bytes());
    UserKey::new(directory, &data_encoding::HEXLOWER.encode(digest.as_ref()))
}

pub(super) const SUCCESS: i32 = 0;
pub(super) const SIZE_LIMIT_EXCEEDED: i32 = 4;
pub(super) const NO_SUCH_OBJECT: i32 = 32;
const INVALID_DN_SYNTAX: i32 = 34;

/// How long a refused service account is left in peace.
const REFUSAL_STANDS: Duration = Duration::from_secs(60);

/// Most groups of one person that are read.
pub(super) const MOST_GROUPS: usize = 10_000;
