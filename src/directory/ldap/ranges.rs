//! Attributes with more values than Active Directory sends at once: the rest is asked for, part by part
//! ([MS-ADTS] 3.1.1.3.1.3.3). A person with some of their groups would be judged wrongly.

use crate::directory::bind;
use crate::directory::filter::Filter;
use crate::directory::ldap::LdapDirectory;
use crate::directory::ldap::look_up::{MOST_GROUPS, SUCCESS, run};
use crate::directory::search::{FoundEntry, Scope, Search, from_value};
use crate::directory::wire::{Connection, WireError};

impl LdapDirectory {
    /// Asks for what is missing of `entry`, over the connection that it came by.
    ///
    /// # Errors
    /// The connection's; within, why the rest is not to be had: an outage, because half an entry is none.
    pub(super) async fn complete(
        &self,
        connection: &mut Connection,
        entry: &mut FoundEntry,
    ) -> Result<Result<(), String>, WireError> {
        let mut rounds = 0;
        for (name, mut next) in entry.parts() {
            loop {
                rounds += 1;
                if rounds > MOST_ROUNDS || next > MOST_GROUPS {
                    return Ok(Err(format!("{} has too many values of `{name}`", entry.dn)));
                }
                let wanted = [from_value(&name, next)];
                let search = Search {
                    base: &entry.dn,
                    scope: Scope::Base,
                    size_limit: 1,
                    time_limit: self.time_limit(),
                    filter: &Filter::Present("objectClass".into()),
                    attributes: &wanted,
                };
                let results = run(connection, &search, 1).await?;
                if results.code != SUCCESS {
                    let told = bind::describe(results.code, &results.diagnostic);
                    return Ok(Err(format!(
                        "the server answered {told} when asked for more of `{name}`"
                    )));
                }
                let part = results.entries.into_iter().next().unwrap_or_default();
                let Some((range, count)) = entry.append(&name, next, part) else {
                    return Ok(Err(format!(
                        "the server did not send the rest of `{name}` of {}",
                        entry.dn
                    )));
                };
                if range.is_last {
                    break;
                }
                // Those that came count, not those that the server says it sent: none is passed over.
                next += count;
            }
        }
        Ok(Ok(()))
    }
}

/// Most further parts of one entry: with 10,000 values, fifty at once.
const MOST_ROUNDS: usize = 200;
