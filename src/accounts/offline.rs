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
            .filter(|token| token.is_of_machine())
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
                .position(|token| token.is_of_machine() && token.label == machine);
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
            self.spend(subject, &mut batch, by).await?;
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

/// The machine that is meant: the one that is named, or the only one.
fn machine_of<'a>(record: &'a UserRecord, subject: &Subject, named: Option<&str>) -> Result<&'a Token, AccountError> {
    let mut machines = record
        .tokens
        .iter()
        .filter(|token| token.is_of_machine() && !token.disabled && named.is_none_or(|machine| token.label == machine));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::accounts::fixture::{CAROL, Fixture, NOW};

    fn later(secs: u64) -> Actor<'static> {
        Actor {
            now: NOW + Duration::from_secs(secs),
            ..CAROL
        }
    }

    #[tokio::test]
    async fn a_response_is_what_the_machine_expects() {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        let made = site.accounts.enrol_machine(&ana, "lab-7", CAROL).await.unwrap();
        let key = Secret::new(BASE32_NOPAD.decode(made.key.as_bytes()).unwrap());
        assert_eq!(key.len(), offline::KEY_OCTETS);
        let given = site.accounts.respond(&ana, "1234 5678", None, CAROL).await.unwrap();
        let input = Input {
            question: "12345678",
            ..Input::default()
        };
        let suite: Suite = made.suite.parse().unwrap();
        let expected = suite.response(&key, &input).unwrap();
        assert_eq!(
            (given.machine.as_str(), given.response.as_bytes()),
            ("lab-7", expected.expose())
        );
        let view = site.accounts.show(&ana, NOW).await.unwrap();
        assert!(!view.ever_enrolled, "it is no second factor");
    }

    #[tokio::test]
    async fn which_machine_is_never_guessed() {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        let respond = async |challenge: &str, machine| site.accounts.respond(&ana, challenge, machine, CAROL).await;
        let none = respond("12345678", None).await;
        assert!(matches!(none, Err(AccountError::NoSuchMachine(..))));
        for machine in ["lab-7", "lab-8"] {
            site.accounts.enrol_machine(&ana, machine, CAROL).await.unwrap();
        }
        assert!(matches!(respond("12345678", None).await, Err(AccountError::Invalid(_))));
        let seven = respond("12345678", Some("lab-7")).await.unwrap();
        let eight = respond("portcullis:offline/lab-8/12345678", None).await.unwrap();
        assert_eq!((seven.machine.as_str(), eight.machine.as_str()), ("lab-7", "lab-8"));
        assert_ne!(seven.response, eight.response);
        let both = respond("portcullis:offline/lab-8/12345678", Some("lab-7")).await;
        assert!(matches!(both, Err(AccountError::Invalid(_))));
        let same = site.accounts.enrol_machine(&ana, "lab-7", CAROL).await;
        assert!(matches!(same, Err(AccountError::LabelTaken(..))));
        let bad = site.accounts.enrol_machine(&ana, "lab 9", CAROL).await;
        assert!(matches!(bad, Err(AccountError::Invalid(_))));
    }

    #[tokio::test]
    async fn responses_are_counted_over_the_hour_also_at_the_same_time() {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        site.accounts.enrol_machine(&ana, "lab-7", CAROL).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..15 {
            let (accounts, ana) = (Arc::clone(&site.accounts), ana.clone());
            tasks.spawn(async move { accounts.respond(&ana, "12345678", None, CAROL).await.is_ok() });
        }
        let given = tasks.join_all().await.into_iter().filter(|given| *given).count();
        assert_eq!(given, Responses::MOST);
        let refused = site.accounts.respond(&ana, "12345678", None, later(3599)).await;
        assert!(matches!(refused, Err(AccountError::TooManyResponses(_))));
        assert!(site.accounts.respond(&ana, "12345678", None, later(3600)).await.is_ok());
    }

    #[tokio::test]
    async fn a_revoked_machine_gets_no_response() {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        site.accounts.enrol_machine(&ana, "lab-7", CAROL).await.unwrap();
        assert_eq!(site.accounts.machines(&ana, NOW).await.unwrap().len(), 1);
        site.accounts.revoke_machine(&ana, "lab-7", CAROL).await.unwrap();
        assert!(site.accounts.machines(&ana, NOW).await.unwrap().is_empty());
        let none = site.accounts.respond(&ana, "12345678", Some("lab-7"), CAROL).await;
        assert!(matches!(none, Err(AccountError::NoSuchMachine(..))));
    }
}
