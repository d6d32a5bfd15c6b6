//! Active Directory and Samba.

use crate::directory::ldap::change::{
    Rights, answer, aside, change_of, modify, read_entry, read_value, send_modify, then,
};
use crate::directory::modify::{Modification, Operation, POLICY_HINTS, encode_modify, unicode_password};
use crate::directory::wire::{Connection, WireError};
use crate::engine::account::{AccountChange, Changed};

use Operation::{Delete, Replace};

pub(super) async fn change(
    connection: &mut Connection,
    dn: &str,
    change: AccountChange<'_>,
    rights: Rights<'_>,
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
            if hints.is_none() && !must_change && !rights.past_history {
                let why = "the server knows no control by which a reset heeds the password history; where that may \
                           be so, write `reset_without_history = true`";
                return Ok(Changed::Forbidden(why.into()));
            }
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

/// ADS_UF_ACCOUNTDISABLE.
const ACCOUNT_DISABLE: u32 = 2;
