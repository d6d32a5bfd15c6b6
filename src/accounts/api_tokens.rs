//! API tokens of operators: issued and shown once, listed without the token, made anew, revoked. The store has a keyed
//! digest of each; 256 random bits need no slow hash.

use std::net::IpAddr;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::view::{ApiTokenIssued, ApiTokenView};
use super::{AccountError, Accounts, Actor, RETRIES, Subject, event};
use crate::clock::{self, Timestamp};
use crate::engine::approval::Who;
use crate::engine::batch::{Batch, Change, Key, Version};
use crate::engine::operator::{ApiToken, Grant, Role, account_of};
use crate::engine::record::{decode, encode};
use crate::secret::Secret;
use crate::store::{Durability, Found};

/// What an API token is to be like.
#[derive(Clone, Debug)]
pub struct ApiTokenWish {
    /// The account that it acts as.
    pub account: String,
    /// Its name: up to 64 letters, digits, dots, dashes and underscores.
    pub name: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// How long it lives.
    pub life: Duration,
}

/// What every token begins with, so that one that was left lying about is found by those who look for such things.
const PREFIX: &str = "portcullis_";

/// The context of its digest.
const CONTEXT: &[u8] = b"api token";

/// Longest name of a token, in octets.
const MAX_NAME: usize = 64;

/// Most tokens of one account.
const MOST: usize = 100;

/// How long a note of its last use is good enough: a token that is used all the time is written down no more often.
const NOTED_FOR: Duration = Duration::from_secs(10 * 60);

impl Accounts {
    /// Issues an API token. The answer holds it, this once.
    ///
    /// # Errors
    /// [`AccountError::ApiTokenTaken`]; [`AccountError::Invalid`] for a name that is none, and for too many tokens.
    pub async fn issue_api_token(&self, wish: ApiTokenWish, by: Actor<'_>) -> Result<ApiTokenIssued, AccountError> {
        let proper = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
        if wish.name.is_empty() || wish.name.len() > MAX_NAME || !wish.name.bytes().all(proper) {
            let what = format!("a name is up to {MAX_NAME} letters, digits, dots, dashes and underscores");
            return Err(AccountError::Invalid(what));
        }
        let there = self
            .store
            .scan(&Key::api_tokens_of(&wish.account), None, MOST)
            .await?
            .len();
        if there >= MOST {
            let what = format!("`{}` has {MOST} API tokens, the most there can be", wish.account);
            return Err(AccountError::Invalid(what));
        }
        let (text, digest) = self.draw_api_token();
        let token = ApiToken {
            account: wish.account,
            name: wish.name,
            digest,
            grants: wish.grants,
            issued_by: by.name.to_owned(),
            issued: by.now,
            expires: by.now + wish.life,
            last_used: None,
        };
        let key = Key::api_token(&token.account, &token.name);
        let found = self.store.read(std::slice::from_ref(&key), by.now).await?;
        let before = found.into_iter().next().unwrap_or_default();
        if before.value.is_some() {
            return Err(AccountError::ApiTokenTaken(token.identity()));
        }
        let mut batch = Batch::default();
        put(&mut batch, key, before.version, &token);
        batch.audit.push(event("operator.token.issue", by, None, &told(&token)));
        if !self.commit(batch).await? {
            return Err(AccountError::ApiTokenTaken(token.identity()));
        }
        Ok(issued(&token, &text))
    }

    /// API tokens of one account or of all, in the order of their names, at most `limit`; never the tokens.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn api_tokens(
        &self,
        account: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<ApiTokenView>, AccountError> {
        let prefix = account.map_or_else(|| Key::API_TOKENS.to_vec(), Key::api_tokens_of);
        let mut found = Vec::new();
        for (key, octets) in self.store.scan(&prefix, None, limit).await? {
            let token: ApiToken = decode(&octets)
                .map_err(|error| AccountError::BadRecord(String::from_utf8_lossy(key.as_octets()).into(), error))?;
            if now < token.expires {
                found.push(ApiTokenView::of(&token));
            }
        }
        Ok(found)
    }

    /// Makes an API token anew, with the same rights and another life: the one before is void at once. The answer
    /// holds it, this once.
    ///
    /// # Errors
    /// [`AccountError::NoSuchApiToken`].
    pub async fn regenerate_api_token(
        &self,
        account: &str,
        name: &str,
        life: Duration,
        by: Actor<'_>,
    ) -> Result<ApiTokenIssued, AccountError> {
        for _ in 0..RETRIES {
            let (mut token, version) = self.api_token(account, name, by.now).await?;
            let old = Key::api_token_shown(&token.digest);
            let (text, digest) = self.draw_api_token();
            token.digest = digest;
            (token.issued, token.expires) = (by.now, by.now + life);
            by.name.clone_into(&mut token.issued_by);
            let mut batch = Batch::default();
            batch.write.push((old, Change::Delete));
            put(&mut batch, Key::api_token(account, name), version, &token);
            batch
                .audit
                .push(event("operator.token.regenerate", by, None, &told(&token)));
            if self.commit(batch).await? {
                return Ok(issued(&token, &text));
            }
        }
        Err(AccountError::Busy(format!("{account}/{name}")))
    }

    /// Revokes an API token.
    ///
    /// # Errors
    /// [`AccountError::NoSuchApiToken`].
    pub async fn revoke_api_token(
        &self,
        account: &str,
        name: &str,
        by: Actor<'_>,
    ) -> Result<ApiTokenView, AccountError> {
        for _ in 0..RETRIES {
            let (token, version) = self.api_token(account, name, by.now).await?;
            let mut batch = Batch::default();
            batch.write.push((Key::api_token_shown(&token.digest), Change::Delete));
            batch.replace(Key::api_token(account, name), version, Change::Delete);
            batch
                .audit
                .push(event("operator.token.revoke", by, None, &token.identity()));
            if self.commit(batch).await? {
                return Ok(ApiTokenView::of(&token));
            }
        }
        Err(AccountError::Busy(format!("{account}/{name}")))
    }

    /// Whose API token somebody shows, if it is one now. Its use is noted, at most every ten minutes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open_api_token(
        &self,
        shown: &Secret,
        from: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Option<ApiToken>, AccountError> {
        // A token that was given out under a former key file lives on.
        let digests: Vec<[u8; 32]> = self.keyring.digests_of_code(CONTEXT, shown.expose()).collect();
        let keys: Vec<Key> = digests.iter().map(Key::api_token_shown).collect();
        let pointers = self.store.read(&keys, now).await?;
        let pointer = |(digest, found): (_, Found)| found.value.map(|octets| (digest, octets));
        let Some((digest, octets)) = digests.iter().zip(pointers).find_map(pointer) else {
            return Ok(None);
        };
        let key = Key::from_octets(&octets);
        let found = self.store.read(std::slice::from_ref(&key), now).await?;
        let found = found.into_iter().next().unwrap_or_default();
        let Some(octets) = found.value else { return Ok(None) };
        let mut token: ApiToken =
            decode(&octets).map_err(|error| AccountError::BadRecord("an API token".into(), error))?;
        if !bool::from(token.digest.ct_eq(digest)) || now >= token.expires {
            return Ok(None);
        }
        if token.last_used.is_none_or(|(at, _)| now.since(at) >= NOTED_FOR) {
            token.last_used = Some((now, from));
            let mut batch = Batch::default();
            batch.replace(key, found.version, Change::Put(encode(&token), Some(token.expires)));
            // Another use at the same moment notes it as well; and a note that is lost is no reason to refuse.
            let _ = self.store.commit(batch, Durability::Visible).await;
        }
        Ok(Some(token))
    }

    /// An API token by its name, if it is one now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find_api_token(
        &self,
        account: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<ApiToken>, AccountError> {
        match self.api_token(account, name, now).await {
            Ok((token, _)) => Ok(Some(token)),
            Err(AccountError::NoSuchApiToken(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who has issued the API token that an operator acts by, where that is not its account: they have seen it, and may
    /// be the one who acts.
    ///
    /// # Errors
    /// When the store cannot be read, or the directory cannot be asked.
    pub(super) async fn lender(&self, subject: &Subject, by: Actor<'_>) -> Result<Option<Who>, AccountError> {
        let Some((account, name)) = by.name.split_once('/') else {
            return Ok(None);
        };
        let token = self.find_api_token(account, name, by.now).await?;
        match token.filter(|token| account_of(&token.issued_by) != account) {
            Some(token) => Ok(Some(self.who(&token.issued_by, subject).await?)),
            None => Ok(None),
        }
    }

    async fn api_token(&self, account: &str, name: &str, now: Timestamp) -> Result<(ApiToken, Version), AccountError> {
        let found = self.store.read(&[Key::api_token(account, name)], now).await?;
        let found = found.into_iter().next().unwrap_or_default();
        let identity = || format!("{account}/{name}");
        let Some(octets) = found.value else {
            return Err(AccountError::NoSuchApiToken(identity()));
        };
        let token = decode(&octets).map_err(|error| AccountError::BadRecord(identity(), error))?;
        Ok((token, found.version))
    }

    fn draw_api_token(&self) -> (Zeroizing<String>, [u8; 32]) {
        let random = Zeroizing::new(clock::random::<32>());
        let text = Zeroizing::new(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(random.as_slice())));
        let digest = self.keyring.digest_code(CONTEXT, text.as_bytes());
        (text, digest)
    }
}

fn put(batch: &mut Batch, key: Key, version: Version, token: &ApiToken) {
    let expires = Some(token.expires);
    let pointer = Change::Put(key.as_octets().to_vec(), expires);
    batch.write.push((Key::api_token_shown(&token.digest), pointer));
    batch.replace(key, version, Change::Put(encode(token), expires));
}

fn issued(token: &ApiToken, text: &str) -> ApiTokenIssued {
    ApiTokenIssued {
        token: ApiTokenView::of(token),
        secret: text.to_owned(),
    }
}

/// What was issued, for the audit.
fn told(token: &ApiToken) -> String {
    let grants: Vec<String> = token.grants.iter().map(in_words).collect();
    format!("{}: {} until {}", token.identity(), grants.join("; "), token.expires)
}

/// A role with its scope and verbs, as it is told.
pub(super) fn in_words(grant: &Grant) -> String {
    let mut text = grant.role.word().to_owned();
    for scope in &grant.within {
        text.push_str(&format!(" for {scope}"));
    }
    if grant.role == Role::Automation {
        text.push_str(&format!(": {}", grant.verbs.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::fixture::{CAROL, Fixture, NOW};
    use crate::accounts::{PasscodeWish, Relation};

    const DAY: Duration = Duration::from_secs(86_400);

    fn wish(name: &str) -> ApiTokenWish {
        ApiTokenWish {
            account: "carol".into(),
            name: name.into(),
            grants: vec![Grant::of(Role::Helpdesk)],
            life: DAY,
        }
    }

    async fn opened(site: &Fixture, text: &str, now: Timestamp) -> Option<String> {
        let opened = site.accounts.open_api_token(&Secret::new(text), None, now).await;
        opened.unwrap().map(|token| token.identity())
    }

    #[tokio::test]
    async fn from_issue_to_the_end() {
        let site = Fixture::new();
        let first = site.accounts.issue_api_token(wish("ci"), CAROL).await.unwrap();
        assert_eq!(first.secret.len(), PREFIX.len() + 43);
        assert_eq!(opened(&site, &first.secret, NOW).await.as_deref(), Some("carol/ci"));
        for wrong in ["", PREFIX, &first.secret[1..], &format!("{}A", first.secret)] {
            assert_eq!(opened(&site, wrong, NOW).await, None, "{wrong}");
        }
        let taken = site.accounts.issue_api_token(wish("ci"), CAROL).await;
        assert!(matches!(taken, Err(AccountError::ApiTokenTaken(_))));

        let again = site
            .accounts
            .regenerate_api_token("carol", "ci", DAY, CAROL)
            .await
            .unwrap();
        assert_eq!(opened(&site, &first.secret, NOW).await, None, "void at once");
        assert!(opened(&site, &again.secret, NOW).await.is_some());
        assert_eq!(opened(&site, &again.secret, NOW + DAY).await, None, "expired");

        let listed = site.accounts.api_tokens(None, 10, NOW).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert!(!serde_json::to_string(&listed).unwrap().contains(&again.secret));
        assert!(
            site.accounts
                .api_tokens(Some("caro"), 10, NOW)
                .await
                .unwrap()
                .is_empty()
        );
        site.accounts.revoke_api_token("carol", "ci", CAROL).await.unwrap();
        assert_eq!(opened(&site, &again.secret, NOW).await, None);
        let gone = site.accounts.revoke_api_token("carol", "ci", CAROL).await;
        assert!(matches!(gone, Err(AccountError::NoSuchApiToken(_))));
        assert_eq!(
            site.audited().await,
            [
                "operator.token.issue accept",
                "operator.token.regenerate accept",
                "operator.token.revoke accept"
            ]
        );
    }

    #[tokio::test]
    async fn names_are_short_and_plain() {
        let site = Fixture::new();
        for name in ["", "a/b", "a b", "ü", &"x".repeat(65)] {
            let refused = site.accounts.issue_api_token(wish(name), CAROL).await;
            assert!(matches!(refused, Err(AccountError::Invalid(_))), "{name}");
        }
    }

    #[tokio::test]
    async fn who_has_issued_a_token_releases_nothing_that_it_issued() {
        let site = Fixture::new();
        site.four_eyes.lock().passcodes = true;
        site.main.set_manager("ana", "ben");
        let ana = site.subject("ana").await;
        let ben = Actor { name: "ben", now: NOW };
        site.accounts.issue_api_token(wish("ci"), ben).await.unwrap();
        site.accounts.issue_api_token(wish("own"), CAROL).await.unwrap();
        for (name, relation) in [("carol/ci", Relation::Issuer), ("carol/own", Relation::Second)] {
            let by = Actor { name, now: NOW };
            let issued = site
                .accounts
                .issue_passcode(&ana, PasscodeWish::default(), by)
                .await
                .unwrap();
            let found = site.accounts.find_passcode(&issued.passcode.id, ben).await.unwrap();
            assert_eq!(found.1, relation, "{name}");
        }
    }

    #[tokio::test]
    async fn its_use_is_noted_now_and_then() {
        let site = Fixture::new();
        let token = site.accounts.issue_api_token(wish("ci"), CAROL).await.unwrap();
        let used = async || site.accounts.api_tokens(None, 1, NOW).await.unwrap()[0].last_used;
        assert_eq!(used().await, None);
        for (after, noted) in [(1, 1), (599, 1), (601, 601)] {
            let now = NOW + Duration::from_secs(after);
            assert!(opened(&site, &token.secret, now).await.is_some());
            assert_eq!(used().await, Some(NOW + Duration::from_secs(noted)));
        }
    }

    #[tokio::test]
    async fn one_of_two_at_once_gets_the_name() {
        let site = Fixture::new();
        let (one, other) = tokio::join!(
            site.accounts.issue_api_token(wish("ci"), CAROL),
            site.accounts.issue_api_token(wish("ci"), CAROL)
        );
        assert!(one.is_ok() != other.is_ok());
    }
}
