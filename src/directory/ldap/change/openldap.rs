//! OpenLDAP with the ppolicy overlay (draft-behera-ldap-password-policy-10; slapo-ppolicy(5)).

use crate::clock;
use crate::directory::bind::PASSWORD_POLICY;
use crate::directory::ldap::change::{
    Rights, above_policy, aside, change_of, cleared, modify, password_modify, read_entry, send_modify, then,
};
use crate::directory::ldap::state::PERMANENTLY;
use crate::directory::modify::{Modification, Operation};
use crate::directory::wire::{Connection, WireError};
use crate::engine::account::{AccountChange, Changed};

use Operation::{Add, Delete, Replace};

pub(super) async fn change(
    connection: &mut Connection,
    dn: &str,
    change: AccountChange<'_>,
    rights: Rights<'_>,
) -> Result<Changed, WireError> {
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
            // A new password takes every lock with it, an administrator's too.
            match lock(connection, dn).await? {
                Lock::None | Lock::Until(_) => {}
                Lock::Permanent => return Ok(Changed::Disabled),
                Lock::Gone => return Ok(Changed::Unknown),
            }
            if !wanted && !rights.past_history && is_above_policy(connection, dn).await? {
                return Ok(above_policy());
            }
            let changed = password_modify(connection, Some(dn), None, new).await?.changed(false);
            if wanted {
                return then(connection, dn, changed, &[must_change(true)]).await;
            }
            aside(connection, dn, changed, must_change(false)).await
        }
        AccountChange::Unlock => match lock(connection, dn).await? {
            // slapd forgets the failures with it. No other lock than the one that was looked at is ended.
            Lock::Until(locked) => {
                let values = [locked.as_bytes()];
                modify(connection, dn, &[change_of(LOCKED, Delete, &values)]).await
            }
            Lock::None => Ok(Changed::Done),
            Lock::Permanent => Ok(Changed::Disabled),
            Lock::Gone => Ok(Changed::Unknown),
        },
        AccountChange::Enabled(true) => modify(connection, dn, &[cleared(LOCKED)]).await,
        AccountChange::MustChange(wanted) => modify(connection, dn, &[must_change(wanted)]).await,
        AccountChange::Enabled(false) => {
            // Locked until an administrator unlocks it (section 5.3.3).
            let locked: [&[u8]; 1] = [b"000001010000Z"];
            modify(connection, dn, &[change_of(LOCKED, Replace, &locked)]).await
        }
    }
}

/// How an account is locked.
enum Lock {
    None,
    /// After failures; the attribute's value.
    Until(String),
    /// By an administrator.
    Permanent,
    /// The entry cannot be read.
    Gone,
}

async fn lock(connection: &mut Connection, dn: &str) -> Result<Lock, WireError> {
    let Some(entry) = read_entry(connection, dn, LOCKED).await? else {
        return Ok(Lock::Gone);
    };
    Ok(match entry.texts(LOCKED).next() {
        None => Lock::None,
        Some(locked) if locked.starts_with(PERMANENTLY) => Lock::Permanent,
        Some(locked) => Lock::Until(locked.to_owned()),
    })
}

/// Whether the password policy does not hold for the account for look-ups: the rootdn, or one with `manage` on
/// passwords. Found out by a change that is never made, because it removes a password that nobody has: the overlay
/// refuses it to everybody whom it holds for, and only for others does it come to what it would remove.
async fn is_above_policy(connection: &mut Connection, dn: &str) -> Result<bool, WireError> {
    let controls = "supportedControl";
    let root = read_entry(connection, "", controls).await?;
    let known = |oid: &str| oid.as_bytes() == PASSWORD_POLICY;
    if !root.is_some_and(|root| root.texts(controls).any(known)) {
        // There is no policy to be above of.
        return Ok(false);
    }
    let nobodys = data_encoding::BASE32.encode(&clock::random::<20>());
    let values = [nobodys.as_bytes()];
    let swap = [
        change_of("userPassword", Delete, &values),
        change_of("userPassword", Add, &values),
    ];
    Ok(send_modify(connection, dn, &swap).await?.code == NO_SUCH_ATTRIBUTE)
}

const LOCKED: &str = "pwdAccountLockedTime";

/// noSuchAttribute of RFC 4511 appendix A.
const NO_SUCH_ATTRIBUTE: i32 = 16;
