//! Machines that cannot reach us: their keys, and responses to what they ask.

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use super::tokens::Made;
use super::view::{Kind, OfflineEnrolled, OfflineResponse, TokenView};
use super::{AccountError, Accounts, Actor, RETRIES, Subject, event};
use crate::clock::{self, Timestamp};
use crate::engine::authenticator::oath;
use crate::engine::batch::{Batch, Change, Key};
use crate::engine::event::Outcome;
use crate::engine::ocra::{Input, Suite};
use crate::engine::offline::{self, Asked, Responses};
use crate::engine::record::{Algorithm, Token, TokenKind, UserRecord, decode, encode};
use crate::secret::Secret;

impl Accounts {
    /// Makes the key of a person's machine. The answer holds it, this once.
    ///
    /// # Errors
    /// When the person has left the directory, has too many tokens or one of that name.
    pub async fn enrol_machine(
        &self,
        subject: &Subject,
        machine: &str,
        by: Actor<'_>,
    ) -> Result<OfflineEnrolled, AccountError> {
        subject.present()?;
        if !offline::is_machine(machine) {
            let most = offline::MAX_MACHINE;
            let what = format!("a machine is called by 1 to {most} letters, digits, `.`, `_` or `-`");
            return Err(AccountError::Invalid(what));
        }
        let key = Secret::new(Zeroizing::new(clock::random::<{ offline::KEY_OCTETS }>()).as_slice());
        let suite = Suite::from(offline::SUITE);
        let made = Made {
            kind: TokenKind::Ocra {
                suite: offline::SUITE,
                offline: true,
            },
            algorithm: Algorithm::Sha256,
            digits: suite.digits(),
            seed: &key,
            label: Some(machine),
        };
        let token = self
            .change("offline.enrol", subject, by, |record| {
                let token = self.add_token(record, subject, &made, by)?;
                let what = format!("{} token {} `{machine}`", Kind::Offline.word(), token.id);
                Ok((token, what))
            })
            .await?;
        let account = format!("{} {machine}", subject.login.replace(':', " "));
        let uri = oath::uri(&key, &token, &account, ISSUER)
            .map_err(|error| AccountError::Invalid(format!("no URI can name this machine: {error}")))?;
        Ok(OfflineEnrolled {
            uri: uri.expose_str().unwrap_or_default().to_owned(),
            token: TokenView::of(&token),
            login: subject.login.clone(),
            suite: suite.to_string(),
            key: BASE32_NOPAD.encode(key.expose()),
        })
    }

    /// A person's machines.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn machines(&self, subject: &Subject, now: Timestamp) -> Result<Vec<TokenView>, AccountError> {
        let ((record, _), _) = self.load(subject, now).await?;
        Ok(record
            .tokens
            .iter()
            .filter(|token| is_machine(token))
            .map(TokenView::of)
            .collect())
    }

    /// Takes a machine's key away.
    ///
    /// # Errors
    /// [`AccountError::NoSuchMachine`].
    pub async fn revoke_machine(
        &self,
        subject: &Subject,
        machine: &str,
        by: Actor<'_>,
    ) -> Result<TokenView, AccountError> {
        self.change("offline.revoke", subject, by, |record| {
            let index = record
                .tokens
                .iter()
                .position(|token| is_machine(token) && token.label == machine);
            let Some(index) = index else {
                return Err(AccountError::NoSuchMachine(subject.login.clone(), machine.to_owned()));
            };
            let token = record.tokens.remove(index);
            let what = format!("token {} `{machine}`", token.id);
            Ok((TokenView::of(&token), what))
        })
        .await
    }

    /// The response to what a machine asks, counted and audited before it is given. `machine` may be absent where
    /// the challenge says which, or the person has only one.
    ///
    /// # Errors
    /// For what is no challenge; when there is no such machine or more than one; when too many were given within the
    /// hour, which is audited.
    pub async fn respond(
        &self,
        subject: &Subject,
        challenge: &str,
        machine: Option<&str>,
        by: Actor<'_>,
    ) -> Result<OfflineResponse, AccountError> {
        let Some(asked) = Asked::parse(challenge) else {
            let what = "a challenge is eight digits, or what the QR code says";
            return Err(AccountError::Invalid(what.into()));
        };
        if let (Some(said), Some(machine)) = (&asked.machine, machine)
            && said != machine
        {
            let what = format!("the challenge is of machine `{said}`, not of `{machine}`");
            return Err(AccountError::Invalid(what));
        }
        let named = machine.or(asked.machine.as_deref());
        let place = Key::offline(&subject.key);
        for _ in 0..RETRIES {
            let ((record, version), _) = self.load(subject, by.now).await?;
            let token = machine_of(&record, subject, named)?;
            let found = self.store.read(std::slice::from_ref(&place), by.now).await?;
            let before = found.first().map(|found| found.version).unwrap_or_default();
            let given = found.first().and_then(|found| found.value.as_deref());
            let given = given.map(decode::<Responses>).transpose();
            let given = given.map_err(|error| AccountError::BadRecord(subject.login.clone(), error))?;
            let Some(counted) = given.unwrap_or_default().with(by.now) else {
                let what = format!("{}: machine `{}`: too many responses", subject.login, token.label);
                self.note("offline.respond", by, Some(subject), Outcome::Reject, &what)
                    .await?;
                return Err(AccountError::TooManyResponses(subject.login.clone()));
            };
            let response = self.response_of(subject, token, &asked.challenge)?;
            let mut batch = Batch::default();
            batch.expect.push((Key::user(&subject.key), version));
            let expires = Some(by.now + Responses::WINDOW);
            batch.replace(place.clone(), before, Change::Put(encode(&counted), expires));
            let what = format!(
                "{}: machine `{}`, challenge {}",
                subject.login, token.label, asked.challenge
            );
            batch.audit.push(event("offline.respond", by, Some(subject), &what));
            if self.commit(batch).await? {
                return Ok(OfflineResponse {
                    login: subject.login.clone(),
                    machine: token.label.clone(),
                    response: response.expose_str().unwrap_or_default().to_owned(),
                });
            }
        }
        Err(AccountError::Busy(subject.login.clone()))
    }

    fn response_of(&self, subject: &Subject, token: &Token, challenge: &str) -> Result<Secret, AccountError> {
        let key = self
            .keyring
            .open(&Token::place(subject.key.as_str(), token.id), &token.seed)?;
        let input = Input {
            question: challenge,
            ..Input::default()
        };
        Suite::from(offline::SUITE)
            .response(&key, &input)
            .map_err(|error| AccountError::Invalid(error.to_string()))
    }
}

/// Whose key it is, in the URI.
const ISSUER: &str = "Portcullis";

fn is_machine(token: &Token) -> bool {
    matches!(token.kind, TokenKind::Ocra { offline: true, .. })
}

/// The machine that is meant: the one that is named, or the only one.
fn machine_of<'a>(record: &'a UserRecord, subject: &Subject, named: Option<&str>) -> Result<&'a Token, AccountError> {
    let mut machines = record
        .tokens
        .iter()
        .filter(|token| is_machine(token) && !token.disabled && named.is_none_or(|machine| token.label == machine));
    match (machines.next(), machines.next()) {
        (Some(token), None) => Ok(token),
        (None, _) => {
            let machine = named.unwrap_or("any").to_owned();
            Err(AccountError::NoSuchMachine(subject.login.clone(), machine))
        }
        (Some(_), Some(_)) => {
            let what = format!("`{}` has several machines: say which", subject.login);
            Err(AccountError::Invalid(what))
        }
    }
}
