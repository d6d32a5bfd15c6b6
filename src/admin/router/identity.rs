//! Who asks: the account at the other end, or the API token that is shown, with what it may be and do.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::{info, warn};

use super::AdminState;
use crate::accounts::{AccountError, Actor, Subject};
use crate::admin::api::{ApiError, CONFIRM_HEADER, ErrorKind};
use crate::admin::operator::{Book, Caller, Confirmation, Operator};
use crate::causes::in_full;
use crate::clock;
use crate::config::Confirm;
use crate::engine::event::Outcome;
use crate::engine::operator::{ApiToken, Grant, account_of, limited};
use crate::secret::Secret;

/// Judges with every request anew who the caller is: a reload, a revocation or the directory may have changed that.
pub(super) async fn identify(
    State((state, caller)): State<(AdminState, Caller)>,
    mut request: Request,
    next: Next,
) -> Response {
    let operator = match state.identity(&caller, request.headers()).await {
        Ok(operator) => operator,
        Err(error) => return error.into_response(),
    };
    let path = request.uri().path();
    if !operator.is_known() {
        warn!(account = operator.name, path, "not an operator");
    } else if let Some(source) = caller.address() {
        info!(operator = operator.name, %source, path, "asked over TLS");
    }
    request.extensions_mut().insert(operator);
    next.run(request).await
}

impl AdminState {
    async fn identity(&self, caller: &Caller, headers: &HeaderMap) -> Result<Operator, ApiError> {
        let book = self.control.book();
        let code = confirmation_code(headers)?;
        let mut operator = match (bearer(headers)?, caller) {
            // Who shows a token acts by it alone: what the account may do besides counts no more.
            (Some(shown), _) => self.by_token(&book, caller, &shown).await?,
            (None, Caller::Local { name, own }) => {
                let (grants, unresolved) = self.grants_of(&book, name, *own).await;
                Operator {
                    name: name.clone(),
                    grants,
                    own: *own,
                    lent: false,
                    unresolved,
                    confirmation: Confirmation::NotNeeded,
                }
            }
            (None, Caller::Remote(_)) => {
                let error = ApiError::new(ErrorKind::Unauthenticated, "an API token is needed here");
                return Err(error
                    .with_remedy("send it as `Authorization: Bearer …`; `portcullis operator token issue` makes one"));
            }
        };
        // Root of this machine has the key file and the store; a code would guard nothing.
        let exempt = matches!(caller, Caller::Local { own: true, .. }) && !operator.name.contains('/');
        if operator.is_known() && !exempt {
            operator.confirmation = self.confirmation(&book, &operator.name, code.as_ref()).await?;
        }
        Ok(operator)
    }

    /// Who somebody is now who has asked for something before: by the roles that they have now, where what it takes
    /// was confirmed then. `own` says that it was root or the process's own account. A token that has ended has none.
    pub(super) async fn operator_again(&self, name: &str, own: bool) -> Result<Operator, AccountError> {
        let book = self.control.book();
        let account = account_of(name);
        let (held, unresolved) = self.grants_of(&book, account, own).await;
        let grants = match name.split_once('/') {
            None => held,
            Some((account, token)) => match self.accounts.find_api_token(account, token, clock::now()).await? {
                Some(token) => limited(&token.grants, &held),
                None => Vec::new(),
            },
        };
        Ok(Operator {
            name: name.to_owned(),
            grants,
            own,
            lent: false,
            unresolved,
            confirmation: Confirmation::Given,
        })
    }

    /// The roles of an account, and why they may not be all.
    pub(super) async fn grants_of(&self, book: &Book, account: &str, own: bool) -> (Vec<Grant>, Option<String>) {
        let mut local = book.local(account).await;
        local.own |= own;
        let named = book.grants(account, &local, &[]);
        if local.own || book.admin.operators.iter().any(|named| named == account) {
            return (named, None);
        }
        let (mut people, mut unresolved) = (Vec::new(), None);
        for directory in book.directories() {
            match self.accounts.people_of(account, Some(directory)).await {
                Ok(found) => people.extend(found.into_iter().filter_map(|subject| subject.person)),
                Err(error) => unresolved = Some(in_full(&error)),
            }
        }
        (book.grants(account, &local, &people), unresolved)
    }

    async fn by_token(&self, book: &Book, caller: &Caller, shown: &Secret) -> Result<Operator, ApiError> {
        let (now, source) = (clock::monotonic(), caller.address());
        if let Some(wait) = self.guesses.wait(source, now) {
            let error = format!(
                "too many wrong API tokens from there; wait {} seconds",
                wait.as_secs().max(1)
            );
            return Err(ApiError::new(ErrorKind::Throttled, error).with_remedy("mend whatever sends the wrong one"));
        }
        let token = self.accounts.open_api_token(shown, source, clock::now()).await?;
        let Some(token) = token else {
            self.note_guess(caller, now).await?;
            let error = ApiError::new(ErrorKind::Unauthenticated, "that API token is none, or not any more");
            return Err(error.with_remedy("`portcullis operator token list` shows those there are, and until when"));
        };
        let ApiToken { account, grants, .. } = &token;
        let own = book.local(account).await.own;
        let (held, unresolved) = self.grants_of(book, account, own).await;
        Ok(Operator {
            name: token.identity(),
            grants: limited(grants, &held),
            own,
            lent: account_of(&token.issued_by) != account,
            unresolved,
            confirmation: Confirmation::NotNeeded,
        })
    }

    /// Counts a wrong token; the audit has the first of each source, and how many were not written since.
    async fn note_guess(&self, caller: &Caller, now: std::time::Instant) -> Result<(), ApiError> {
        let (whose, from) = match caller {
            Caller::Local { name, .. } => (name.clone(), "the admin socket".to_owned()),
            Caller::Remote(address) => (UNKNOWN.to_owned(), address.to_string()),
        };
        let Some(unwritten) = self.guesses.count(caller.address(), now) else {
            return Ok(());
        };
        let mut what = format!("a wrong API token from {from}");
        if unwritten > 0 {
            what.push_str(&format!(", and {unwritten} before it that were not written down"));
        }
        warn!(source = from, "a wrong API token");
        let by = Actor::now(&whose);
        Ok(self
            .accounts
            .note("operator.token.wrong", by, None, Outcome::Reject, &what)
            .await?)
    }

    /// How an operator stands with confirmations. A code that came with the request is judged, and spent, now.
    async fn confirmation(&self, book: &Book, name: &str, code: Option<&Secret>) -> Result<Confirmation, ApiError> {
        let always = match book.admin.confirm {
            Confirm::Never => return Ok(Confirmation::NotNeeded),
            Confirm::Enrolled => false,
            Confirm::Always => true,
        };
        let person = match self.with_token(book, name).await {
            Ok(person) => person,
            Err(error) if code.is_some() => return Err(error.into()),
            Err(error) => return Ok(Confirmation::Unknown(in_full(&error))),
        };
        match (person, code) {
            (None, _) if always => Ok(Confirmation::Impossible),
            (None, _) => Ok(Confirmation::NotNeeded),
            (Some(_), None) => Ok(Confirmation::Due),
            (Some(person), Some(code)) => {
                if self.accounts.confirm(&person, code, Actor::now(name)).await? {
                    return Ok(Confirmation::Given);
                }
                let error = ApiError::new(ErrorKind::Denied, "that code does not count; nothing was done");
                Err(error.with_remedy("wait for a new one: each counts once"))
            }
        }
    }

    /// The first of the people behind an operator's account who has a token.
    async fn with_token(&self, book: &Book, name: &str) -> Result<Option<Subject>, AccountError> {
        let people = self
            .accounts
            .people_of(account_of(name), book.admin.directory.as_deref())
            .await?;
        for person in people {
            if self.accounts.can_confirm(&person, clock::now()).await? {
                return Ok(Some(person));
            }
        }
        Ok(None)
    }
}

/// Who the audit names where nobody is known.
const UNKNOWN: &str = "?";

/// Longest code that somebody types, in octets: of a key that types.
const MAX_CODE: usize = 128;

/// The API token shown (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, ApiError> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let octets = value.as_bytes();
    let scheme = octets
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    match octets.get(7..) {
        Some(token) if scheme => Ok(Some(Secret::new(token.trim_ascii()))),
        Some(_) | None => {
            let error = "Authorization is not `Bearer` and an API token";
            Err(ApiError::new(ErrorKind::Unauthenticated, error))
        }
    }
}

fn confirmation_code(headers: &HeaderMap) -> Result<Option<Secret>, ApiError> {
    let Some(value) = headers.get(CONFIRM_HEADER) else {
        return Ok(None);
    };
    let octets = value.as_bytes().trim_ascii();
    if octets.is_empty() || octets.len() > MAX_CODE {
        let error = format!("{CONFIRM_HEADER} is not a code");
        return Err(ApiError::new(ErrorKind::Invalid, error));
    }
    Ok(Some(Secret::new(octets)))
}
