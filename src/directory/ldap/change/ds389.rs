//! 389 Directory Server and FreeIPA.

use crate::directory::ldap::change::{
    Rights, above_policy, aside, change_of, cleared, modify, password_modify, read_value, then,
};
use crate::directory::modify::{Modification, Operation};
use crate::directory::wire::{Connection, WireError};
use crate::engine::account::{AccountChange, Changed, PasswordRefusal};
use crate::engine::facts::normalise_dn;
use crate::secret::Secret;

use Operation::Replace;

pub(super) async fn change(
    connection: &mut Connection,
    dn: &str,
    change: AccountChange<'_>,
    rights: Rights<'_>,
) -> Result<Changed, WireError> {
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
            if !must_change && !rights.past_history && is_above_policy(connection, rights.account).await? {
                return Ok(above_policy());
            }
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
pub(super) async fn own_password(
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
        | Changed::Unavailable(_)
        | Changed::Lost(_) => return Ok(changed),
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
        | Changed::Unavailable(_)
        | Changed::Lost(_) => changed,
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

/// Whether the account for look-ups is the directory manager, for whom no policy holds. Nobody else can read its name.
async fn is_above_policy(connection: &mut Connection, account: &str) -> Result<bool, WireError> {
    let manager = read_value(connection, "cn=config", "nsslapd-rootdn").await?;
    Ok(manager.is_some_and(|manager| normalise_dn(&manager) == normalise_dn(account)))
}

/// 389 Directory Server's moment from which a password is too old; in 1970 it is to be changed.
const EXPIRATION: &str = "passwordExpirationTime";
const AT_ONCE: &str = "19700101000000Z";
