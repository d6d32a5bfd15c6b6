//! An LDAP directory: look-ups as a service account, passwords tried by binds on connections of their
//! own, over several servers in order of preference.

mod cache;
mod change;
mod look_up;
mod settings;
mod state;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use crate::clock;
use crate::config;
use crate::directory::bind::{self, BindResponse, encode_bind};
use crate::directory::filter::Filter;
use crate::directory::pool::{Pool, Progress, Server};
use crate::directory::search::{Answer, Scope, Search};
use crate::directory::wire::{Connection, WireError, chain};
use crate::directory::{Directory, DirectoryStatus, Link};
use crate::engine::account::{AccountChange, Changed, StateAnswer};
use crate::engine::{BoxFuture, LoginName, Lookup, PasswordOutcome, Person};
use crate::secret::Secret;

use cache::LookUpCache;
use look_up::ServiceAccount;
use settings::Settings;

pub use settings::{SetupFault, SetupFaults};

/// A directory behind LDAP servers.
pub struct LdapDirectory {
    settings: Settings,
    servers: Arc<[Arc<Server>]>,
    look_ups: Pool,
    /// Connections that, once a user has bound on them, are used for nothing but the next bind.
    binds: Pool,
    cache: LookUpCache,
    service_account: ServiceAccount,
    /// A name below the base that nobody has.
    nobody: String,
    watchers: Vec<AbortHandle>,
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
        let servers: Arc<[Arc<Server>]> = settings
            .targets
            .iter()
            .map(|target| Arc::new(Server::new(target.clone())))
            .collect();
        let watch = |server: &Arc<Server>| {
            let watch = watch(Arc::clone(server), settings.health_interval, settings.timeout);
            tokio::spawn(watch).abort_handle()
        };
        let random = data_encoding::HEXLOWER.encode(&clock::random::<16>());
        Ok(Arc::new(Self {
            look_ups: Pool::new(Arc::clone(&servers), settings.look_up_connections, settings.queue),
            binds: Pool::new(Arc::clone(&servers), settings.bind_connections, settings.queue),
            cache: LookUpCache::new(settings.cache),
            service_account: ServiceAccount::default(),
            nobody: format!("cn=nobody-{random},{}", settings.base_dn),
            watchers: servers.iter().map(watch).collect(),
            settings,
            servers,
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

    async fn connect_somewhere(&self) -> Result<Link, String> {
        let mut why = String::from("no server is reachable");
        while let Some(server) = self.servers.iter().find(|server| server.is_healthy()) {
            match server.open().await {
                Ok(connection) => return Ok(Link::Remote(connection.into_stream())),
                Err(error) => {
                    why = format!("{}: {}", server.url(), chain(&error));
                    server.give_up(&chain(&error));
                }
            }
        }
        Err(why)
    }

    fn current(&self) -> DirectoryStatus {
        DirectoryStatus {
            name: self.settings.name.to_string(),
            kind: "ldap".into(),
            servers: self.servers.iter().map(|server| server.status()).collect(),
            queue: self.look_ups.waiting() + self.binds.waiting(),
        }
    }
}

impl Drop for LdapDirectory {
    fn drop(&mut self) {
        self.watchers.iter().for_each(AbortHandle::abort);
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
        Box::pin(self.read_state(person))
    }

    fn manager<'a>(&'a self, person: &'a Person) -> BoxFuture<'a, Lookup> {
        Box::pin(self.read_manager(person))
    }

    fn connect(&self) -> BoxFuture<'_, Result<Link, String>> {
        Box::pin(async {
            tokio::time::timeout(self.settings.timeout, self.connect_somewhere())
                .await
                .unwrap_or_else(|_| Err(format!("no connection within {:?}", self.settings.timeout)))
        })
    }

    fn forget_look_ups(&self) {
        self.cache.forget();
    }

    fn probe(&self) -> BoxFuture<'_, DirectoryStatus> {
        Box::pin(async {
            let mut probes = JoinSet::new();
            for server in self.servers.iter() {
                let server = Arc::clone(server);
                let timeout = self.settings.timeout;
                probes.spawn(async move { try_server(&server, timeout).await });
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

/// Tries a server that failed, or that was not needed, again and again.
async fn watch(server: Arc<Server>, interval: Duration, timeout: Duration) {
    loop {
        if server.next_try(interval).await {
            try_server(&server, timeout).await;
        }
    }
}

/// Asks the server for its root entry over a new connection, and judges it by the answer.
async fn try_server(server: &Server, timeout: Duration) {
    let started = clock::monotonic();
    let ask = async {
        let mut connection = server.open().await?;
        read_root(&mut connection).await
    };
    let error = match tokio::time::timeout(timeout, ask).await {
        Ok(Ok(None)) => return server.take_back(clock::monotonic().saturating_duration_since(started)),
        Ok(Ok(Some(refusal))) => format!("the server answered {refusal}"),
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("no answer within {timeout:?}"),
    };
    server.give_up(&error);
}

/// Whether the server is at work: any answer will do, except that it is busy or unavailable.
async fn read_root(connection: &mut Connection) -> Result<Option<String>, WireError> {
    let (id, out) = connection.request();
    let search = Search {
        base: "",
        scope: Scope::Base,
        size_limit: 1,
        time_limit: 0,
        filter: &Filter::Present("objectClass".into()),
        attributes: &["1.1".to_owned()],
    };
    search.encode(id, out);
    connection.send().await?;
    loop {
        let message = connection.receive().await?;
        match Answer::read(&message)? {
            Answer::Entry(_) | Answer::Reference => {}
            Answer::Done { code, diagnostic } => {
                let not_now = matches!(code, bind::BUSY | bind::UNAVAILABLE);
                return Ok(not_now.then(|| bind::describe(code, diagnostic)));
            }
        }
    }
}
