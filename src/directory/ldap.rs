//! An LDAP directory: look-ups as a service account, passwords tried by binds on connections of their
//! own, over several servers in order of preference.

mod cache;
mod change;
mod discovery;
mod look_up;
mod people;
mod ranges;
mod settings;
mod state;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::causes::in_full;
use crate::clock;
use crate::config::{self, ServerKind};
use crate::directory::bind::{self, BindResponse, encode_bind};
use crate::directory::filter::Filter;
use crate::directory::pool::{Pool, Progress, Purpose};
use crate::directory::servers::{Servers, Terms};
use crate::directory::wire::{Connection, WireError};
use crate::directory::{ConnectError, Directory, DirectoryStatus, Link, PasswordModify, ServerStatus, Standing};
use crate::engine::account::{AccountChange, Changed, StateAnswer};
use crate::engine::{BoxFuture, LoginName, Lookup, PasswordOutcome, Person};
use crate::secret::Secret;

use cache::LookUpCache;
use look_up::ServiceAccount;
use settings::{Account, Settings};
use targets::Whence;

pub use settings::{SetupFault, SetupFaults};

/// A directory behind LDAP servers.
pub struct LdapDirectory {
    settings: Settings,
    servers: Arc<Servers>,
    /// Keeps the servers what DNS says they are.
    _discovery: Option<AbortOnDropHandle<()>>,
    look_ups: Pool,
    /// Connections that, once a user has bound on them, are used for nothing but the next bind.
    binds: Pool,
    /// Places for connections that are relayed over.
    relay: Arc<Semaphore>,
    cache: LookUpCache,
    service_account: ServiceAccount,
    /// A name below the base that nobody has.
    nobody: String,
}

impl LdapDirectory {
    /// Makes the directory and starts watching its servers; connections are opened when needed. Reads
    /// the files that the configuration names: blocks for a moment.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration. That no server answers is none of it.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(config: &config::LdapDirectory) -> Result<Arc<Self>, SetupFaults> {
        let settings = Settings::read(config)?;
        let terms = Terms {
            look_ups: settings.look_up_connections,
            binds: settings.bind_connections,
            timeout: settings.timeout,
            health_interval: settings.health_interval,
            max_age: settings.max_connection_age,
            max_idle: settings.max_connection_idle,
        };
        let (servers, discovery) = match &settings.servers {
            Whence::Listed(targets) => (Arc::new(Servers::new(targets.clone(), terms)), None),
            Whence::Found(record) => {
                let servers = Arc::new(Servers::unknown(terms));
                let follow = discovery::follow(Arc::clone(&settings.name), record.clone(), Arc::clone(&servers));
                (servers, Some(AbortOnDropHandle::new(tokio::spawn(follow))))
            }
        };
        let random = data_encoding::HEXLOWER.encode(&clock::random::<16>());
        Ok(Arc::new(Self {
            look_ups: Pool::new(Arc::clone(&servers), Purpose::LookUps, settings.queue),
            binds: Pool::new(Arc::clone(&servers), Purpose::Binds, settings.queue),
            relay: Arc::new(Semaphore::new(settings.relay_connections)),
            cache: LookUpCache::new(settings.cache),
            service_account: ServiceAccount::default(),
            nobody: format!("cn=nobody-{random},{}", settings.base_dn),
            settings,
            servers,
            _discovery: discovery,
        }))
    }

    /// Checks the configuration as [`LdapDirectory::new`] does, and connects nowhere.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(config: &config::LdapDirectory) -> Result<(), SetupFaults> {
        Settings::read(config).map(|_| ())
    }

    async fn try_password(&self, dn: &str, password: &Secret) -> PasswordOutcome {
        // Either would make an unauthenticated or anonymous bind of it, which succeeds (RFC 4513 section 5.1).
        if password.is_empty() {
            return PasswordOutcome::Wrong;
        }
        if dn.is_empty() {
            return PasswordOutcome::Unknown;
        }
        let mut progress = Progress::default();
        let bind = self.bind_once(&mut progress, dn, password);
        match tokio::time::timeout(self.settings.timeout, bind).await {
            Ok(outcome) => outcome,
            Err(_) => PasswordOutcome::Unavailable(progress.timed_out(self.settings.timeout)),
        }
    }

    /// One bind, and another only when the first has certainly not left this machine.
    async fn bind_once(&self, progress: &mut Progress, dn: &str, password: &Secret) -> PasswordOutcome {
        let mut fresh = false;
        loop {
            let mut lease = match self.binds.lease(fresh, progress).await {
                Ok(lease) => lease,
                Err(error) => return PasswordOutcome::Unavailable(error.to_string()),
            };
            match bind_on(lease.connection(), dn, password).await {
                Ok((code, outcome)) => {
                    if code == bind::UNAVAILABLE {
                        lease.server().give_up("the server says that it is unavailable");
                    }
                    lease.give_back();
                    return outcome;
                }
                Err(error @ WireError::NothingSent(_)) if lease.reused => {
                    lease.failed(&error);
                    fresh = true;
                }
                Err(error) => return PasswordOutcome::Unavailable(lease.failed(&error)),
            }
        }
    }

    async fn connect_in_time(&self, account: Option<&Account>) -> Result<Link, ConnectError> {
        let mut progress = Progress::default();
        let connect = self.connect_somewhere(&mut progress, account);
        match tokio::time::timeout(self.settings.timeout, connect).await {
            Ok(connected) => connected,
            Err(_) => Err(ConnectError::Unreachable(progress.timed_out(self.settings.timeout))),
        }
    }

    /// Connects to the best server, and binds as `account` if there is one.
    async fn connect_somewhere(
        &self,
        progress: &mut Progress,
        account: Option<&Account>,
    ) -> Result<Link, ConnectError> {
        let most = self.settings.relay_connections;
        let Ok(place) = Arc::clone(&self.relay).try_acquire_owned() else {
            return Err(ConnectError::Busy(most));
        };
        if self.servers.best().is_none() {
            self.servers.wait_until_settled().await;
        }
        while let Some(server) = self.servers.best() {
            let life = server.life();
            progress.busy_with(&server);
            match server.open().await {
                Ok(mut connection) => {
                    if let Some(account) = account {
                        let name = &self.settings.name;
                        let bound = self.service_account.bind_alone(name, account, &server, &mut connection);
                        bound.await.map_err(ConnectError::Unreachable)?;
                    }
                    return Ok(Link::Remote(connection.relayed(server, &self.servers, life, place)));
                }
                Err(error) => server.give_up(&in_full(&error)),
            }
        }
        Err(ConnectError::Unreachable(self.servers.why_none()))
    }

    /// Of each server; where DNS has named none yet, one for what is asked for.
    fn server_statuses(&self) -> Vec<ServerStatus> {
        let servers: Vec<_> = self.servers.all().iter().map(|listed| listed.server.status()).collect();
        match &self.settings.servers {
            Whence::Found(record) if servers.is_empty() => vec![ServerStatus {
                address: format!("srv {}", record.name),
                standing: Standing::GivenUp,
                error: Some(self.servers.why_none()),
                ..ServerStatus::default()
            }],
            Whence::Found(_) | Whence::Listed(_) => servers,
        }
    }

    fn current(&self) -> DirectoryStatus {
        DirectoryStatus {
            name: self.settings.name.to_string(),
            kind: "ldap".into(),
            servers: self.server_statuses(),
            queue: self.look_ups.waiting() + self.binds.waiting(),
            max_connection_age: Some(self.settings.max_connection_age),
        }
    }
}

impl Directory for LdapDirectory {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn look_up<'a>(&'a self, login: &'a LoginName) -> BoxFuture<'a, Lookup> {
        // A remembered answer needs no more than this.
        if let Some(known) = self.cache.known(login.form()) {
            return Box::pin(std::future::ready(known));
        }
        Box::pin(async {
            // The search has its own end, which judges the server. This one is for those who waited for
            // another's search that was given up, and have to begin it again.
            let limit = self.settings.timeout + Duration::from_millis(50);
            let look_up = self.cache.get(login.form(), self.find(login.form()));
            tokio::time::timeout(limit, look_up)
                .await
                .unwrap_or_else(|_| Lookup::Unavailable(format!("no answer within {:?}", self.settings.timeout)))
        })
    }

    fn verify<'a>(&'a self, person: &'a Person, password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(self.try_password(&person.dn, password))
    }

    fn verify_nobody<'a>(&'a self, password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(async {
            match self.try_password(&self.nobody, password).await {
                outage @ PasswordOutcome::Unavailable(_) => outage,
                PasswordOutcome::Right
                | PasswordOutcome::Wrong
                | PasswordOutcome::Expired
                | PasswordOutcome::MustChange
                | PasswordOutcome::Locked
                | PasswordOutcome::Disabled
                | PasswordOutcome::Unknown => PasswordOutcome::Unknown,
            }
        })
    }

    fn change<'a>(&'a self, person: &'a Person, change: AccountChange<'a>) -> BoxFuture<'a, Changed> {
        Box::pin(self.change_account(person, change))
    }

    fn state<'a>(&'a self, person: &'a Person) -> BoxFuture<'a, StateAnswer> {
        Box::pin(self.read_state(&person.dn))
    }

    fn state_of_nobody(&self) -> BoxFuture<'_, StateAnswer> {
        Box::pin(self.read_state(&self.nobody))
    }

    fn manager<'a>(&'a self, person: &'a Person) -> BoxFuture<'a, Lookup> {
        Box::pin(self.read_manager(person))
    }

    fn people<'a>(&'a self, filter: &'a Filter, found: Sender<Vec<String>>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { self.find_people(filter, &found).await })
    }

    fn connect(&self) -> BoxFuture<'_, Result<Link, ConnectError>> {
        Box::pin(self.connect_in_time(None))
    }

    fn authorizes(&self) -> bool {
        self.settings.proxy_authorization
    }

    fn connect_authorized(&self) -> BoxFuture<'_, Result<Link, ConnectError>> {
        Box::pin(async {
            match &self.settings.account {
                Some(account) if self.settings.proxy_authorization => self.connect_in_time(Some(account)).await,
                Some(_) | None => Err(ConnectError::Unreachable(
                    "proxy_authorization is not configured".to_owned(),
                )),
            }
        })
    }

    fn password_modify(&self) -> PasswordModify {
        match self.settings.server {
            ServerKind::Openldap | ServerKind::Ds389 => PasswordModify::Relayed,
            ServerKind::ActiveDirectory => PasswordModify::Translated,
        }
    }

    fn forget_look_ups(&self) {
        self.cache.forget();
    }

    fn probe(&self) -> BoxFuture<'_, DirectoryStatus> {
        Box::pin(async {
            let mut probes = JoinSet::new();
            for listed in self.servers.all().iter() {
                let server = Arc::clone(&listed.server);
                probes.spawn(async move { server.try_now().await });
            }
            while probes.join_next().await.is_some() {}
            self.current()
        })
    }

    fn status(&self) -> DirectoryStatus {
        self.current()
    }
}

/// Binds on a connection: one write, one read.
async fn bind_on(
    connection: &mut Connection,
    dn: &str,
    password: &Secret,
) -> Result<(i32, PasswordOutcome), WireError> {
    let (id, out) = connection.request();
    encode_bind(id, dn, password, false, out);
    connection.send().await?;
    let message = connection.receive().await?;
    let response = BindResponse::read(&message).map_err(|_| WireError::WrongResponse)?;
    Ok((response.code, bind::outcome(&response)))
}
