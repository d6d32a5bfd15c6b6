//! Changes of accounts: each server's own way to set a password, to unlock, to switch off.

mod active_directory;
mod ds389;
mod openldap;

use tracing::warn;

use crate::config::ServerKind;
use crate::directory::filter::Filter;
use crate::directory::ldap::look_up::run;
use crate::directory::ldap::{LdapDirectory, bind_on};
use crate::directory::modify::{Answer, Modification, Operation, encode_modify, encode_password_modify};
use crate::directory::pool::{Lease, Progress};
use crate::directory::search::{FoundEntry, Scope, Search};
use crate::directory::wire::{Connection, WireError};
use crate::engine::account::{AccountChange, Changed};
use crate::engine::{PasswordOutcome, Person};
use crate::secret::Secret;

impl LdapDirectory {
    /// Performs one change, within the directory's time-out. It is sent once: a change whose answer does not
    /// come is unavailable, not repeated.
    pub(super) async fn change_account(&self, person: &Person, change: AccountChange<'_>) -> Changed {
        if person.dn.is_empty() {
            return Changed::Unknown;
        }
        let empty = match change {
            AccountChange::Password { old, new } => old.is_empty() || new.is_empty(),
            AccountChange::Reset { new, .. } => new.is_empty(),
            AccountChange::Unlock | AccountChange::MustChange(_) | AccountChange::Enabled(_) => false,
        };
        if empty {
            // An empty new password would have the server make one up (RFC 3062 section 2).
            return Changed::Forbidden("an empty password".into());
        }
        let mut progress = Progress::default();
        let changing = async {
            match change {
                AccountChange::Password { old, new } => self.change_password(&mut progress, person, old, new).await,
                AccountChange::Reset { .. }
                | AccountChange::Unlock
                | AccountChange::MustChange(_)
                | AccountChange::Enabled(_) => self.as_service(&mut progress, person, change).await,
            }
        };
        let changed = tokio::time::timeout(self.settings.timeout, changing).await;
        // What was remembered of the person may not be so any more.
        self.cache.forget();
        changed.unwrap_or_else(|_| {
            let asked = progress.asked;
            unanswered(asked, progress.timed_out(self.settings.timeout))
        })
    }

    /// The owner's own change. Active Directory takes old and new together from anybody who is bound, and
    /// from the owner not while the password has expired; the others want the owner to be bound.
    async fn change_password(&self, progress: &mut Progress, person: &Person, old: &Secret, new: &Secret) -> Changed {
        match self.settings.server {
            ServerKind::ActiveDirectory => {
                self.as_service(progress, person, AccountChange::Password { old, new })
                    .await
            }
            ServerKind::Openldap | ServerKind::Ds389 => self.as_owner(progress, person, old, new).await,
        }
    }

    async fn as_owner(&self, progress: &mut Progress, person: &Person, old: &Secret, new: &Secret) -> Changed {
        let mut lease = match self.binds.lease(true, progress).await {
            Ok(lease) => lease,
            Err(error) => return Changed::Unavailable(error.to_string()),
        };
        let outcome = match bind_on(lease.connection(), &person.dn, old).await {
            Ok((_, outcome)) => outcome,
            Err(error) => return Changed::Unavailable(lease.failed(&error)),
        };
        match outcome {
            PasswordOutcome::Right | PasswordOutcome::MustChange => {}
            PasswordOutcome::Wrong => {
                lease.give_back();
                return Changed::WrongPassword;
            }
            // The password is right, but its owner may not even bind: the service account sets the new one,
            // with the old one given, so that history and quality are judged all the same.
            PasswordOutcome::Expired => {
                lease.give_back();
                return self
                    .as_service(progress, person, AccountChange::Password { old, new })
                    .await;
            }
            PasswordOutcome::Unknown => {
                lease.give_back();
                return Changed::Unknown;
            }
            PasswordOutcome::Locked => return Changed::Locked,
            PasswordOutcome::Disabled => return Changed::Disabled,
            PasswordOutcome::Unavailable(why) => return Changed::Unavailable(why),
        }
        progress.asked = true;
        let changed = match self.settings.server {
            ServerKind::Ds389 => ds389::own_password(lease.connection(), &person.dn, None, Some(old), new).await,
            ServerKind::Openldap | ServerKind::ActiveDirectory => {
                let answer = password_modify(lease.connection(), None, Some(old), new).await;
                answer.map(|answer| answer.changed(true))
            }
        };
        match changed {
            Ok(changed) => {
                lease.give_back();
                changed
            }
            Err(error) => unanswered(!matches!(error, WireError::NothingSent(_)), lease.failed(&error)),
        }
    }

    /// On a connection of the account for look-ups.
    async fn as_service(&self, progress: &mut Progress, person: &Person, change: AccountChange<'_>) -> Changed {
        let mut lease = match self.service_lease(progress).await {
            Ok(lease) => lease,
            Err(why) => return Changed::Unavailable(why),
        };
        progress.asked = true;
        let dn = person.dn.as_str();
        let rights = Rights {
            account: self.settings.account.as_ref().map_or("", |account| &account.dn),
            past_history: self.settings.reset_without_history,
        };
        let done = match self.settings.server {
            ServerKind::Openldap => openldap::change(lease.connection(), dn, change, rights).await,
            ServerKind::Ds389 => ds389::change(lease.connection(), dn, change, rights).await,
            ServerKind::ActiveDirectory if !self.settings.encrypted && sets_password(change) => {
                lease.give_back();
                let why = "Active Directory takes new passwords over TLS only; use `ldaps://` or StartTLS";
                return Changed::Forbidden(why.into());
            }
            ServerKind::ActiveDirectory => active_directory::change(lease.connection(), dn, change, rights).await,
        };
        match done {
            Ok(changed) => {
                lease.give_back();
                changed
            }
            Err(error) => unanswered(!matches!(error, WireError::NothingSent(_)), lease.failed(&error)),
        }
    }

    async fn service_lease(&self, progress: &mut Progress) -> Result<Lease, String> {
        if self.settings.account.is_none() {
            return Err("changing accounts takes an account: set `bind_dn`".into());
        }
        self.reader(false, progress).await
    }
}

/// By what right the account for look-ups acts.
#[derive(Clone, Copy)]
struct Rights<'a> {
    /// Its distinguished name.
    account: &'a str,
    /// Whether it may set a password that its owner has chosen where the server would not hold it against the
    /// history.
    past_history: bool,
}

/// The answer where the server would take any new password from the account for look-ups.
fn above_policy() -> Changed {
    let why = "the account for look-ups stands above the server's password policy, so that the password history would \
               not be heeded; give it an ordinary account, or write `reset_without_history = true`";
    Changed::Forbidden(why.into())
}

/// What becomes of a change that has no answer.
fn unanswered(asked: bool, why: String) -> Changed {
    if asked {
        Changed::Lost(why)
    } else {
        Changed::Unavailable(why)
    }
}

const fn sets_password(change: AccountChange<'_>) -> bool {
    match change {
        AccountChange::Password { .. } | AccountChange::Reset { .. } => true,
        AccountChange::Unlock | AccountChange::MustChange(_) | AccountChange::Enabled(_) => false,
    }
}

async fn read_value(connection: &mut Connection, dn: &str, attribute: &str) -> Result<Option<String>, WireError> {
    let entry = read_entry(connection, dn, attribute).await?;
    Ok(entry.and_then(|entry| entry.texts(attribute).next().map(str::to_owned)))
}

async fn read_entry(connection: &mut Connection, dn: &str, attribute: &str) -> Result<Option<FoundEntry>, WireError> {
    let search = Search {
        base: dn,
        scope: Scope::Base,
        size_limit: 1,
        time_limit: 0,
        filter: &Filter::Present("objectClass".into()),
        attributes: &[attribute.to_owned()],
    };
    Ok(run(connection, &search, 1).await?.entries.into_iter().next())
}

/// Goes on, when a password is set, so that it need not be changed again. It is set all the same if the account may
/// not write that: what it rests on is spent, and its owner has to know.
async fn aside(
    connection: &mut Connection,
    dn: &str,
    changed: Changed,
    modification: Modification<'_>,
) -> Result<Changed, WireError> {
    if changed == Changed::Done {
        let attribute = modification.attribute;
        let after = modify(connection, dn, &[modification]).await?;
        if after != Changed::Done {
            warn!(
                dn,
                attribute,
                ?after,
                "a password is set, but the account for look-ups cannot write that it need not be changed again"
            );
        }
    }
    Ok(changed)
}

/// Goes on with modifications when what came before is done.
async fn then(
    connection: &mut Connection,
    dn: &str,
    changed: Changed,
    modifications: &[Modification<'_>],
) -> Result<Changed, WireError> {
    match changed {
        Changed::Done => modify(connection, dn, modifications).await,
        Changed::WrongPassword
        | Changed::Refused(_)
        | Changed::Locked
        | Changed::Disabled
        | Changed::Forbidden(_)
        | Changed::Unsupported
        | Changed::Unknown
        | Changed::Unavailable(_)
        | Changed::Lost(_) => Ok(changed),
    }
}

async fn modify(
    connection: &mut Connection,
    dn: &str,
    modifications: &[Modification<'_>],
) -> Result<Changed, WireError> {
    Ok(send_modify(connection, dn, modifications).await?.changed(false))
}

async fn send_modify(
    connection: &mut Connection,
    dn: &str,
    modifications: &[Modification<'_>],
) -> Result<Answer, WireError> {
    let (id, out) = connection.request();
    encode_modify(id, dn, modifications, None, out);
    answer(connection).await
}

async fn password_modify(
    connection: &mut Connection,
    user: Option<&str>,
    old: Option<&Secret>,
    new: &Secret,
) -> Result<Answer, WireError> {
    let (id, out) = connection.request();
    encode_password_modify(id, user, old, new, out);
    answer(connection).await
}

async fn answer(connection: &mut Connection) -> Result<Answer, WireError> {
    connection.send().await?;
    let message = connection.receive().await?;
    Answer::read(&message).map_err(|_| WireError::WrongResponse)
}

const fn change_of<'a>(attribute: &'a str, operation: Operation, values: &'a [&'a [u8]]) -> Modification<'a> {
    Modification {
        operation,
        attribute,
        values,
    }
}

const fn cleared(attribute: &str) -> Modification<'_> {
    Modification {
        operation: Operation::Replace,
        attribute,
        values: &[],
    }
}
