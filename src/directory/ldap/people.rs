//! Everybody whom a filter finds, a page at a time (RFC 2696). On a connection of its own: servers keep where a search
//! stands with the connection, and no place in the pool is held meanwhile.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::ber::{self, Reader};
use crate::directory::bind;
use crate::directory::filter::Filter;
use crate::directory::ldap::LdapDirectory;
use crate::directory::ldap::look_up::{SIZE_LIMIT_EXCEEDED, SUCCESS};
use crate::directory::search::{Answer, Scope, Search};
use crate::directory::wire::{Connection, WireError};

/// A part of an answer.
struct Page {
    names: Vec<String>,
    /// Where the next begins; empty after the last.
    cookie: Vec<u8>,
    code: i32,
    diagnostic: Vec<u8>,
}

impl LdapDirectory {
    pub(super) async fn find_people(&self, wanted: &Filter, found: &mpsc::Sender<Vec<String>>) -> Result<(), String> {
        let page_time = self.settings.timeout.max(PAGE_TIME);
        let mut connection = tokio::time::timeout(self.settings.timeout, self.own_connection())
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {:?}", self.settings.timeout)))?;
        let filter = Filter::And(vec![self.settings.filter.clone(), wanted.clone()]);
        let search = Search {
            base: &self.settings.base_dn,
            scope: Scope::Subtree,
            size_limit: 0,
            time_limit: i32::try_from(page_time.as_secs()).unwrap_or(i32::MAX),
            filter: &filter,
            // No attributes (RFC 4511 section 4.5.1.8): each is looked up as at a login.
            attributes: &["1.1".to_owned()],
        };
        let mut cookie = Vec::new();
        loop {
            let asked = page(&mut connection, &search, &cookie, found);
            let page = match tokio::time::timeout(page_time, asked).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => return Err(format!("the search broke off: {}", crate::causes::in_full(&error))),
                Err(_) => return Err(format!("the search broke off: no answer within {page_time:?}")),
            };
            // Those that it gave are done with; RFC 4511 section 4.5.1.4.
            if page.code == SIZE_LIMIT_EXCEEDED {
                let _ = found.send(page.names).await;
                return Err(
                    "the server gives the account for look-ups no more entries; raise its limit there \
                            (OpenLDAP: `limits dn.exact=\"…\" size=unlimited`)"
                        .into(),
                );
            }
            if page.code != SUCCESS {
                let told = bind::describe(page.code, &page.diagnostic);
                return Err(format!("the server answered {told} to the search"));
            }
            // Whoever reads them may take their time.
            if !page.names.is_empty() && found.send(page.names).await.is_err() {
                return Ok(());
            }
            if page.cookie.is_empty() {
                return Ok(());
            }
            cookie = page.cookie;
        }
    }

    /// A connection to the best server, bound as the account for look-ups.
    async fn own_connection(&self) -> Result<Connection, String> {
        if self.servers.best().is_none() {
            self.servers.wait_until_settled().await;
        }
        let Some(server) = self.servers.best() else {
            return Err(format!("no server is reachable: {}", self.servers.why_none()));
        };
        let mut connection = server.open().await.map_err(|error| crate::causes::in_full(&error))?;
        if let Some(account) = &self.settings.account {
            let name = &self.settings.name;
            self.service_account
                .bind_alone(name, account, &server, &mut connection)
                .await?;
        }
        Ok(connection)
    }
}

/// Asks for the page at `cookie`. Of a server that sends more than a page, and so knows nothing of pages, what it sends
/// goes to `found` at once.
async fn page(
    connection: &mut Connection,
    search: &Search<'_>,
    cookie: &[u8],
    found: &mpsc::Sender<Vec<String>>,
) -> Result<Page, WireError> {
    let (id, out) = connection.request();
    search.encode_with(id, Some(&paged(cookie)), out);
    connection.send().await?;
    let mut names = Vec::new();
    loop {
        let message = connection.receive().await?;
        let controls = message.controls;
        match Answer::read(&message)? {
            Answer::Entry(entry) => {
                if let Ok(name) = std::str::from_utf8(entry.dn) {
                    names.push(name.to_owned());
                }
                if names.len() >= PAGE * 2 && found.send(std::mem::take(&mut names)).await.is_err() {
                    // Nobody wants to know any more.
                    return Err(WireError::WrongResponse);
                }
            }
            Answer::Reference => {}
            Answer::Done { code, diagnostic } => {
                return Ok(Page {
                    names,
                    cookie: next(controls.unwrap_or_default()).unwrap_or_default(),
                    code,
                    diagnostic: diagnostic.to_vec(),
                });
            }
        }
    }
}

/// The control that asks for a page (RFC 2696 section 2), as the one control of a message.
fn paged(cookie: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(cookie.len() + 16);
    ber::write_with(ber::SEQUENCE, &mut value, |out| {
        ber::write_integer(ber::INTEGER, i32::try_from(PAGE).unwrap_or(i32::MAX), out);
        ber::write(ber::OCTET_STRING, cookie, out);
    });
    let mut control = Vec::with_capacity(value.len() + 40);
    ber::write_with(ber::SEQUENCE, &mut control, |out| {
        ber::write(ber::OCTET_STRING, PAGED_RESULTS, out);
        ber::write(ber::OCTET_STRING, &value, out);
    });
    control
}

/// The cookie of the control in an answer; none where there is no such control.
fn next(controls: &[u8]) -> Option<Vec<u8>> {
    let mut list = Reader::new(controls);
    while !list.is_empty() {
        let mut control = Reader::new(list.expect(ber::SEQUENCE).ok()?);
        if control.expect(ber::OCTET_STRING).ok()? != PAGED_RESULTS {
            continue;
        }
        if control.peek() == Some(ber::BOOLEAN) {
            control.expect(ber::BOOLEAN).ok()?;
        }
        let mut value = Reader::new(control.expect(ber::OCTET_STRING).ok()?);
        let mut value = Reader::new(value.expect(ber::SEQUENCE).ok()?);
        value.integer(ber::INTEGER).ok()?;
        return Some(value.expect(ber::OCTET_STRING).ok()?.to_vec());
    }
    None
}

/// Entries in a page: Active Directory gives no more than 1000.
const PAGE: usize = 500;

/// What the search for a page may take at least: a filter may be about attributes without an index.
const PAGE_TIME: Duration = Duration::from_secs(60);

const PAGED_RESULTS: &[u8] = b"1.2.840.113556.1.4.319";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_and_the_next_one_known() {
        let control = paged(b"here");
        assert_eq!(next(&control).as_deref(), Some(&b"here"[..]));
        let mut other = Vec::new();
        ber::write_with(ber::SEQUENCE, &mut other, |out| {
            ber::write(ber::OCTET_STRING, b"1.2.3", out);
            ber::write(ber::BOOLEAN, &[0xff], out);
        });
        assert_eq!(next(&[other.clone(), paged(b"")].concat()).as_deref(), Some(&b""[..]));
        assert_eq!(next(&other), None);
        assert_eq!(next(control.get(..control.len() - 3).unwrap()), None, "cut off");
    }
}
