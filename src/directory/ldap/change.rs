//! Changes of accounts: each server's own way to set a password, to unlock, to switch off.

use tracing::warn;

use crate::config::ServerKind;
use crate::directory::filter::Filter;
use crate::directory::ldap::look_up::run;
use crate::directory::ldap::{LdapDirectory, bind_on};
use crate::directory::modify::{
    Answer, Modification, Operation, POLICY_HINTS, encode_modify, encode_password_modify, unicode_password,
};
use crate::directory::pool::{Lease, Progress};
use crate::directory::search::{FoundEntry, Scope, Search};
use crate::directory::wire::{Connection, WireError};
use crate::engine::account::{AccountChange, Changed, PasswordRefusal};
use crate::engine::{PasswordOutcome, Person};
use crate::secret::Secret;

use Operation::{Delete, Replace};

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
        changed.unwrap_or_else(|_| Changed::Unavailable(progress.timed_out(self.settings.timeout)))
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
        let changed = match self.settings.server {
            ServerKind::Ds389 => ds389_password(lease.connection(), &person.dn, None, Some(old), new).await,
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
            Err(error) => Changed::Unavailable(lease.failed(&error)),
        }
    }

    /// On a connection of the account for look-ups.
    async fn as_service(&self, progress: &mut Progress, person: &Person, change: AccountChange<'_>) -> Changed {
        let mut lease = match self.service_lease(progress).await {
            Ok(lease) => lease,
            Err(why) => return Changed::Unavailable(why),
        };
        let done = match self.settings.server {
            ServerKind::Openldap => openldap(lease.connection(), &person.dn, change).await,
            ServerKind::Ds389 => ds389(lease.connection(), &person.dn, change).await,
            ServerKind::ActiveDirectory if !self.settings.encrypted && sets_password(change) => {
                lease.give_back();
                let why = "Active Directory takes new passwords over TLS only; use `ldaps://` or StartTLS";
                return Changed::Forbidden(why.into());
            }
            ServerKind::ActiveDirectory => active_directory(lease.connection(), &person.dn, change).await,
        };
        match done {
            Ok(changed) => {
                lease.give_back();
                changed
            }
            Err(error) => Changed::Unavailable(lease.failed(&error)),
        }
    }

    async fn service_lease(&self, progress: &mut Progress) -> Result<Lease, String> {
        if self.settings.account.is_none() {
            return Err("changing accounts takes an account: set `bind_dn`".into());
        }
        self.reader(false, progress).await
    }
}

const fn sets_password(change: AccountChange<'_>) -> bool {
    match change {
        AccountChange::Password { .. } | AccountChange::Reset { .. } => true,
        AccountChange::Unlock | AccountChange::MustChange(_) | AccountChange::Enabled(_) => false,
    }
}

/// OpenLDAP with the ppolicy overlay.
async fn openldap(connection: &mut Connection, dn: &str, change: AccountChange<'_>) -> Result<Changed, WireError> {
    let must_change = |wanted: bool| Modification {
        operation: Replace,
        attribute: "pwdReset",
        values: if wanted { &[b"TRUE"] } else { &[] },
    };
    match change {
        AccountChange::Password { old, new } => {
            let answer = password_modify(connection, Some(dn), Some(old), new).await?;
            aside(connection, dn, answer.changed(true), must_change(false)).await
        }
        AccountChange::Reset {
            new,
            must_change: wanted,
        } => {
            let changed = password_modify(connection, Some(dn), None, new).await?.changed(false);
            if wanted {
                return then(connection, dn, changed, &[must_change(true)]).await;
            }
            aside(connection, dn, changed, must_change(false)).await
        }
        AccountChange::Unlock | AccountChange::Enabled(true) => {
            modify(connection, dn, &[cleared("pwdAccountLockedTime")]).await
        }
        AccountChange::MustChange(wanted) => modify(connection, dn, &[must_change(wanted)]).await,
        AccountChange::Enabled(false) => {
            // Locked until an administrator unlocks it (draft-behera-ldap-password-policy-10 section 5.3.3).
            let locked = Modification {
                operation: Replace,
                attribute: "pwdAccountLockedTime",
                values: &[b"000001010000Z"],
            };
            modify(connection, dn, &[locked]).await
        }
    }
}

/// 389 Directory Server and FreeIPA.
async fn ds389(connection: &mut Connection, dn: &str, change: AccountChange<'_>) -> Result<Changed, WireError> {
    let expired = Modification {
        operation: Replace,
        attribute: EXPIRATION,
        values: &[AT_ONCE.as_bytes()],
    };
    match change {
        AccountChange::Password { old, new } => {
            let changed = password_modify(connection, Some(dn), Some(old), new)
                .await?
                .changed(true);
            let_be(connection, dn, changed).await
        }
        AccountChange::Reset { new, must_change } => {
            let changed = password_modify(connection, Some(dn), None, new).await?.changed(false);
            if must_change {
                return then(connection, dn, changed, &[expired]).await;
            }
            let_be(connection, dn, changed).await
        }
        AccountChange::Unlock => {
            let cleared = [cleared("accountUnlockTime"), cleared("passwordRetryCount")];
            modify(connection, dn, &cleared).await
        }
        AccountChange::MustChange(true) => modify(connection, dn, &[expired]).await,
        AccountChange::MustChange(false) => modify(connection, dn, &[cleared(EXPIRATION)]).await,
        AccountChange::Enabled(true) => modify(connection, dn, &[cleared("nsAccountLock")]).await,
        AccountChange::Enabled(false) => {
            let locked = Modification {
                operation: Replace,
                attribute: "nsAccountLock",
                values: &[b"TRUE"],
            };
            modify(connection, dn, &[locked]).await
        }
    }
}

/// 389 Directory Server answers a Password Modify without its reason for refusing one, and a change of the
/// attribute with it, but before it has taken note of the change. So the second only asks why the first was refused.
async fn ds389_password(
    connection: &mut Connection,
    dn: &str,
    user: Option<&str>,
    old: Option<&Secret>,
    new: &Secret,
) -> Result<Changed, WireError> {
    let changed = password_modify(connection, user, old, new)
        .await?
        .changed(old.is_some());
    match changed {
        Changed::Refused(PasswordRefusal::TooSimple | PasswordRefusal::Unspecified) => {}
        Changed::Done
        | Changed::WrongPassword
        | Changed::Refused(
            PasswordRefusal::TooShort
            | PasswordRefusal::TooLong
            | PasswordRefusal::UsedBefore
            | PasswordRefusal::TooSoon,
        )
        | Changed::Locked
        | Changed::Disabled
        | Changed::Forbidden(_)
        | Changed::Unsupported
        | Changed::Unknown
        | Changed::Unavailable(_) => return Ok(changed),
    }
    let again = modify(connection, dn, &[change_of("userPassword", Replace, &[new.expose()])]).await?;
    Ok(match again {
        Changed::Done | Changed::Refused(_) => again,
        Changed::WrongPassword
        | Changed::Locked
        | Changed::Disabled
        | Changed::Forbidden(_)
        | Changed::Unsupported
        | Changed::Unknown
        | Changed::Unavailable(_) => changed,
    })
}

/// With `passwordMustChange` 389 Directory Server has every password that somebody else set changed at the next
/// login. This one was its owner's wish.
async fn let_be(connection: &mut Connection, dn: &str, changed: Changed) -> Result<Changed, WireError> {
    if changed != Changed::Done {
        return Ok(changed);
    }
    let expires = read_value(connection, dn, EXPIRATION).await?;
    if expires.is_none_or(|expires| expires != AT_ONCE) {
        return Ok(changed);
    }
    aside(connection, dn, changed, cleared(EXPIRATION)).await
}

/// Active Directory and Samba.
async fn active_directory(
    connection: &mut Connection,
    dn: &str,
    change: AccountChange<'_>,
) -> Result<Changed, WireError> {
    let last_set = |must_change: bool| Modification {
        operation: Replace,
        attribute: "pwdLastSet",
        values: if must_change { &[b"0"] } else { &[b"-1"] },
    };
    match change {
        AccountChange::Password { old, new } => {
            // No password there is anything else than text.
            let Some(old) = unicode_password(old) else {
                return Ok(Changed::WrongPassword);
            };
            let Some(new) = unicode_password(new) else {
                return Ok(Changed::Forbidden("a password that is not UTF-8".into()));
            };
            // Old and new in one request are a change, with history and minimum age; a new one alone is a reset.
            let (old, new) = ([old.as_slice()], [new.as_slice()]);
            let both = [
                change_of("unicodePwd", Delete, &old),
                change_of("unicodePwd", Operation::Add, &new),
            ];
            Ok(send_modify(connection, dn, &both).await?.changed(true))
        }
        AccountChange::Reset { new, must_change } => {
            let Some(new) = unicode_password(new) else {
                return Ok(Changed::Forbidden("a password that is not UTF-8".into()));
            };
            let password = Modification {
                operation: Replace,
                attribute: "unicodePwd",
                values: &[new.as_slice()],
            };
            // An administrator's password need not heed the history; its owner's own choice does.
            let hints = if must_change {
                None
            } else {
                policy_hints(connection).await?
            };
            let (id, out) = connection.request();
            encode_modify(id, dn, &[password], hints, out);
            let changed = answer(connection).await?.changed(false);
            if must_change {
                return then(connection, dn, changed, &[last_set(true)]).await;
            }
            aside(connection, dn, changed, last_set(false)).await
        }
        AccountChange::Unlock => {
            let unlocked = Modification {
                operation: Replace,
                attribute: "lockoutTime",
                values: &[b"0"],
            };
            modify(connection, dn, &[unlocked]).await
        }
        AccountChange::MustChange(wanted) => modify(connection, dn, &[last_set(wanted)]).await,
        AccountChange::Enabled(wanted) => switch(connection, dn, wanted).await,
    }
}

/// The control by which a reset heeds the password history, as this server knows it.
async fn policy_hints(connection: &mut Connection) -> Result<Option<&'static [u8]>, WireError> {
    let attribute = "supportedControl";
    let root = read_entry(connection, "", attribute).await?;
    let known = |oid: &str| {
        root.as_ref()
            .is_some_and(|root| root.texts(attribute).any(|known| known == oid))
    };
    Ok(POLICY_HINTS
        .iter()
        .find(|(oid, _)| known(oid))
        .map(|&(_, control)| control))
}

/// Sets or clears one bit of `userAccountControl`; only if nobody else changes it at the same time.
async fn switch(connection: &mut Connection, dn: &str, enabled: bool) -> Result<Changed, WireError> {
    let Some(before) = read_value(connection, dn, "userAccountControl").await? else {
        return Ok(Changed::Unknown);
    };
    let Ok(flags) = before.parse::<u32>() else {
        return Ok(Changed::Unavailable("userAccountControl cannot be read".into()));
    };
    let wanted = if enabled {
        flags & !ACCOUNT_DISABLE
    } else {
        flags | ACCOUNT_DISABLE
    };
    if wanted == flags {
        return Ok(Changed::Done);
    }
    let wanted = wanted.to_string();
    let (before, wanted) = ([before.as_bytes()], [wanted.as_bytes()]);
    let swap = [
        change_of("userAccountControl", Delete, &before),
        change_of("userAccountControl", Operation::Add, &wanted),
    ];
    modify(connection, dn, &swap).await
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
        | Changed::Unavailable(_) => Ok(changed),
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
        operation: Replace,
        attribute,
        values: &[],
    }
}

/// 389 Directory Server's moment from which a password is too old; in 1970 it is to be changed.
const EXPIRATION: &str = "passwordExpirationTime";
const AT_ONCE: &str = "19700101000000Z";

/// ADS_UF_ACCOUNTDISABLE.
const ACCOUNT_DISABLE: u32 = 2;
