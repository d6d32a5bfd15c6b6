//! Codes that count for more than one login, as the verifier keeps them: nothing that happens while the
//! directory is asked slips through.

use std::path::Path;

use super::*;
use crate::accounts::fixture::{CAROL, Fixture, LIMIT};
use crate::accounts::{DenyWish, Subject};
use crate::dictionary::Dictionary;
use crate::document::{Faults, Source};
use crate::engine::authenticator::enrolling::TotpKey;
use crate::engine::dialog::Lifetime;
use crate::engine::login::Settings;
use crate::engine::request::Claims;
use crate::engine::{
    Capability, Given, LoginName, Manner, Origin, PasswordCheck, Person, Protocol, Purpose, Split, Transport, policy,
};
use crate::secret::Secret;

const RULE: &str = r#"
[[rule]]
name = "wiki"
require = { all = ["password", "recovery-code"] }
reuse = "10m"
"#;

/// Sources have no limit here.
const SOURCES: Limit = Limit { failures: 0, ..LIMIT };

struct Site {
    fixture: Fixture,
    verifier: Verifier,
    ana: Subject,
}

/// What happens while the directory is asked.
enum Meanwhile<'s> {
    Nothing,
    Deny(&'s Site),
    NewCodes(&'s Site),
    Clear(&'s Site),
    Reload(&'s Site),
}

impl PasswordCheck for Meanwhile<'_> {
    fn check<'a>(&'a mut self, _: &'a Person, password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(async move {
            // Something to wait for, as a directory is.
            tokio::task::yield_now().await;
            let wish = DenyWish {
                until: None,
                reason: "stolen".into(),
            };
            match self {
                Self::Nothing => {}
                Self::Deny(site) => drop(site.fixture.accounts.deny(&site.ana, &wish, CAROL).await.unwrap()),
                Self::NewCodes(site) => drop(site.codes().await),
                Self::Clear(site) => drop(site.verifier.reuse().forget(Whose::All, clock::now())),
                Self::Reload(site) => {
                    let directories = Directories::clone(&site.verifier.directories());
                    site.verifier.replace(site.engine(), directories, SOURCES);
                }
            }
            match password.matches(b"right") {
                true => PasswordOutcome::Right,
                false => PasswordOutcome::Wrong,
            }
        })
    }
}

impl Site {
    async fn new() -> Self {
        let fixture = Fixture::new();
        let ana = fixture.subject("ana").await;
        let main: Arc<dyn Directory> = Arc::clone(&fixture.main) as _;
        let verifier = Verifier::new(
            Arc::clone(&fixture.store) as _,
            engine(&fixture),
            Directories::from([("main".to_owned(), main)]),
            SOURCES,
            Metrics::default(),
        );
        Self { fixture, verifier, ana }
    }

    /// After a login with a code, and the text of it.
    async fn proven() -> (Self, String) {
        let site = Self::new().await;
        let typed = format!("right,{}", site.codes().await);
        assert_eq!(site.bind(&typed, Meanwhile::Nothing).await, "accept");
        (site, typed)
    }

    fn engine(&self) -> Engine {
        engine(&self.fixture)
    }

    async fn codes(&self) -> String {
        let made = self
            .fixture
            .accounts
            .new_recovery_codes(&self.ana, CAROL)
            .await
            .unwrap();
        made.codes.first().unwrap().clone()
    }

    async fn bind(&self, typed: &str, mut meanwhile: Meanwhile<'_>) -> &'static str {
        let request = AuthnRequest {
            login: LoginName::parse("ana").unwrap(),
            given: Given::Typed(Secret::new(typed)),
            dialog: None,
            origin: Origin {
                protocol: Protocol::Ldap,
                service: "wiki".into(),
                client: "wiki".into(),
                directory: "main".into(),
                source: "192.0.2.1".parse().unwrap(),
                nas_identifier: None,
                calling_station: None,
                called_station: None,
                listener: None,
                application: None,
                transport: Transport::Tls,
                service_account: None,
                manner: Manner::default(),
            },
            capability: Capability::Append(Split::Separator(',')),
            purpose: Purpose::Login,
            claims: Claims::default(),
        };
        match self.verifier.verify(request, Check::Own(&mut meanwhile)).await {
            Verdict::Accept(_) => "accept",
            Verdict::Reject(denial) => denial.word(),
            Verdict::Restricted(_) => "restricted",
            Verdict::Closed(_) => "closed",
            Verdict::Challenge(_) => "challenge",
            Verdict::Unavailable(_) => "unavailable",
        }
    }

    fn live(&self) -> usize {
        self.verifier.reuse().list(Whose::All, 10, clock::now()).0.len()
    }
}

fn engine(fixture: &Fixture) -> Engine {
    let mut faults = Faults::default();
    let source = Source::new(Path::new("p.toml"), RULE);
    let policy = policy::parse(&[source], Dictionary::shipped(), &mut faults);
    assert_eq!(faults, Faults::default());
    Engine {
        policy: Arc::new(policy),
        draw: || TotpKey::new([0; 20]),
        keyring: Arc::clone(&fixture.keyring),
        settings: Settings {
            limit: LIMIT,
            lifetime: Lifetime {
                step: Duration::from_secs(60),
                whole: Duration::from_secs(60),
            },
            start_within: Duration::from_secs(60),
            approval_life: Duration::from_secs(300),
            four_eyes: false,
        },
    }
}

#[tokio::test]
async fn a_bind_rests_on_the_code_of_before_and_says_so() {
    let (site, typed) = Site::proven().await;
    for typed in [typed.as_str(), "right"] {
        assert_eq!(site.bind(typed, Meanwhile::Nothing).await, "accept");
    }
    let records = site.fixture.store.audit(1, 100).await.unwrap();
    let reasons = records.iter().filter_map(|record| record.event().unwrap().reason);
    assert_eq!(reasons.filter(|reason| reason == reuse::WORD).count(), 2);
    let metrics = site.verifier.metrics.render();
    assert!(
        metrics.contains("portcullis_codes_reused_total{client=\"wiki\"} 2\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_happens_while_the_directory_is_asked_is_heard() {
    let (site, typed) = Site::proven().await;
    assert_eq!(site.bind(&typed, Meanwhile::Deny(&site)).await, "denied");
    let (site, typed) = Site::proven().await;
    assert_eq!(site.bind(&typed, Meanwhile::NewCodes(&site)).await, "reuse-over");
    let (site, typed) = Site::proven().await;
    assert_eq!(site.bind(&typed, Meanwhile::Clear(&site)).await, "reuse-over");
    let (site, typed) = Site::proven().await;
    assert_eq!(site.bind(&typed, Meanwhile::Reload(&site)).await, "reuse-over");
    assert_eq!(site.live(), 0);
    assert_eq!(site.bind("right", Meanwhile::Nothing).await, "missing-code");
}

#[tokio::test]
async fn a_login_leaves_nothing_when_all_is_forgotten_while_it_is_judged() {
    let site = Site::new().await;
    let typed = format!("right,{}", site.codes().await);
    assert_eq!(site.bind(&typed, Meanwhile::Clear(&site)).await, "accept");
    let typed = format!("right,{}", site.codes().await);
    assert_eq!(site.bind(&typed, Meanwhile::Reload(&site)).await, "accept");
    assert_eq!(site.live(), 0);
}

#[tokio::test]
async fn a_lock_forgets_it() {
    let (site, typed) = Site::proven().await;
    for _ in 0..LIMIT.failures {
        assert_eq!(site.bind("guess", Meanwhile::Nothing).await, "wrong-password");
    }
    assert_eq!(
        (site.live(), site.bind(&typed, Meanwhile::Nothing).await),
        (0, "throttled")
    );
}
