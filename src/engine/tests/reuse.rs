//! Codes that count for more than one login: when they do, and everything that ends it.

use super::*;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::reuse::{Change as Reused, Entry, WORD};
use crate::reuse::{Reuse, Whose};

const REUSING: &str = r#"
[[rule]]
name = "wiki"
when = { service = ["wiki"] }
require = { all = ["password", { any = ["totp", "recovery-code", "passcode"] }] }
reuse = "10m"

[[rule]]
name = "mail"
when = { service = ["mail"] }
require = { all = ["password", "recovery-code"] }
reuse = "10m"

[[rule]]
name = "impatient"
when = { service = ["impatient"] }
require = { all = ["password", "totp"] }
reuse = "1m"

[[rule]]
name = "never"
when = { service = ["never"] }
require = { all = ["password", "totp"] }

[[rule]]
name = "quiet"
when = { service = ["quiet"] }
require = { all = ["password", "totp"] }
reuse = "10m"
audit = "failures"
user_failures = 0
"#;

const MINUTE: Duration = Duration::from_secs(60);

/// A world with a table of entries, as the verifier has it.
struct Site {
    world: World,
    table: Reuse,
    service: &'static str,
    client: &'static str,
    source: &'static str,
    password: &'static str,
}

impl Site {
    fn new() -> Self {
        let mut world = World::new();
        let mut faults = Faults::default();
        let source = Source::new(Path::new("reuse.toml"), REUSING);
        let policy = policy::parse(&[source], Dictionary::shipped(), &mut faults);
        assert_eq!(faults, Faults::default());
        assert!(policy.reuses() && !world.engine.policy.reuses());
        world.engine.policy = Arc::new(policy);
        Self {
            world,
            table: Reuse::default(),
            service: "wiki",
            client: "wiki",
            source: "192.0.2.1",
            password: PASSWORD,
        }
    }

    /// After a login with a code.
    fn proven() -> (Self, String) {
        let mut site = Self::new();
        let typed = format!("{PASSWORD},{}", site.world.code());
        site.accepted(&typed);
        assert_eq!(site.live(), 1);
        site.world.audit.clear();
        (site, typed)
    }

    fn request(&self, typed: &str) -> AuthnRequest {
        let capability = Capability::Append(Split::Separator(','));
        let mut request = self.world.request(self.service, "ana", typed, None, capability);
        request.origin.protocol = Protocol::Ldap;
        request.origin.client = self.client.into();
        request.origin.source = self.source.parse().unwrap();
        request
    }

    fn facts(&self, request: &AuthnRequest) -> Facts {
        Facts {
            reused: self.table.find(&self.world.person.key, &request.origin),
            ..self.world.facts("ana")
        }
    }

    /// Runs a bind to its end; `meanwhile` happens while the directory is asked.
    fn run(&mut self, request: &AuthnRequest, meanwhile: impl FnOnce(&mut Self)) -> Verdict {
        let began = self.table.moment();
        let engine = self.world.engine.clone();
        let now = self.world.now;
        let nonce = self.world.revision;
        let decision = match engine.begin(request, &self.facts(request), now, nonce) {
            Step::Decided(decision) => decision,
            Step::Do(Effect::VerifyPassword { password, reserve, .. }, attempt) => {
                assert!(self.world.commit(reserve));
                self.world.binds += 1;
                meanwhile(self);
                let outcome = match password.matches(self.password.as_bytes()) {
                    true => PasswordOutcome::Right,
                    false => PasswordOutcome::Wrong,
                };
                let outcome = self.world.outcome.clone().unwrap_or(outcome);
                match attempt.resume(Evidence::Password(outcome), &self.facts(request), now) {
                    Step::Decided(decision) => decision,
                    other => panic!("{other:?}"),
                }
            }
            Step::Do(Effect::VerifyNobody { .. }, attempt) => {
                let nobody = Evidence::Password(PasswordOutcome::Unknown);
                match attempt.resume(nobody, &self.facts(request), now) {
                    Step::Decided(decision) => decision,
                    other => panic!("{other:?}"),
                }
            }
            other => panic!("{other:?}"),
        };
        let denied = matches!(decision.verdict, Verdict::Reject(_));
        if matches!(decision.reuse, Some(Reused::Used { .. })) {
            let key = Key::user(&self.world.person.key);
            let heard = decision.batch.expect.iter().any(|(expected, _)| *expected == key);
            assert!(heard, "a denial that comes now must be heard");
        }
        assert!(self.world.commit(decision.batch));
        if let Some(change) = decision.reuse {
            assert!(!(denied && matches!(change, Reused::Remember(_) | Reused::Used { .. })));
            self.table.apply(change, began);
        }
        decision.verdict
    }

    fn bind(&mut self, typed: &str) -> Verdict {
        let request = self.request(typed);
        self.run(&request, |_| {})
    }

    fn accepted(&mut self, typed: &str) {
        let verdict = self.bind(typed);
        assert!(matches!(verdict, Verdict::Accept(_)), "{verdict:?}");
    }

    fn refused(&mut self, typed: &str, expected: Denial) {
        assert_eq!(denial(self.bind(typed)), expected);
    }

    fn live(&self) -> usize {
        self.entries().len()
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.table.list(Whose::All, 100, self.world.now).0
    }

    fn change(&mut self, change: impl FnOnce(&mut UserRecord)) {
        let mut user = self.world.user();
        change(&mut user);
        self.world.put(&user);
    }
}

#[test]
fn a_code_counts_for_its_time_and_no_longer() {
    let (mut site, typed) = Site::proven();
    let step = site.world.user().tokens[0].kind;
    let binds = site.world.binds;
    for _ in 0..10 {
        site.accepted(&typed);
        site.accepted(PASSWORD);
        site.world.now = site.world.now + Duration::from_secs(50);
    }
    assert_eq!(site.world.binds, binds + 20, "the directory judges every one");
    assert_eq!(site.world.user().tokens[0].kind, step, "no code is judged");
    let event = site.world.audit.last().unwrap();
    assert_eq!(
        (event.factors.join("+"), event.reason.as_deref()),
        ("password+totp".into(), Some(WORD))
    );
    assert_eq!(site.world.audit.len(), 20);
    // Since the code was given, not since it was used.
    site.world.now = Timestamp::from_secs(START) + 10 * MINUTE;
    site.refused(PASSWORD, Denial::MissingCode);
    for _ in 0..20 {
        site.refused(&typed, Denial::ReuseOver);
    }
    assert_eq!(
        site.world.failures(),
        0,
        "nobody is locked out by an application that goes on"
    );
    site.refused(&format!("{PASSWORD},000000"), Denial::WrongCode);
    assert_eq!(site.world.failures(), 1, "guessing a code is something else");
    let fresh = format!("{PASSWORD},{}", site.world.code());
    site.accepted(&fresh);
    site.accepted(PASSWORD);
}

#[test]
fn several_browsers_behind_one_application() {
    let mut site = Site::new();
    let texts: Vec<String> = (0..Entry::TEXTS)
        .map(|_| {
            site.world.now = site.world.now + MINUTE;
            let typed = format!("{PASSWORD},{}", site.world.code());
            site.accepted(&typed);
            typed
        })
        .collect();
    assert_eq!(site.live(), 1);
    for typed in &texts {
        site.accepted(typed);
    }
    site.world.now = site.world.now + 10 * MINUTE;
    for typed in texts.iter().chain(&texts).chain(&texts) {
        site.refused(typed, Denial::ReuseOver);
    }
    assert_eq!(site.world.failures(), 0);
}

#[test]
fn a_token_that_is_revoked_while_the_directory_is_asked_leaves_no_entry() {
    let mut site = Site::new();
    let request = site.request(&format!("{PASSWORD},{}", site.world.code()));
    // Not by an operator: nobody tells the table.
    let verdict = site.run(&request, |site| site.change(|user| user.tokens[0].disabled = true));
    assert!(matches!(verdict, Verdict::Accept(_)));
    assert_eq!(site.live(), 0);
}

#[test]
fn nothing_is_kept_of_password_and_code_but_digests() {
    let (site, typed) = Site::proven();
    let entry = format!("{:?}", site.entries());
    assert!(!entry.contains(PASSWORD) && !entry.contains(typed.rsplit(',').next().unwrap()));
    assert_eq!(site.entries()[0].kinds, KindSet::of(Kind::Totp));
}

#[test]
fn another_source_application_or_protocol_is_asked_as_always() {
    let (mut site, typed) = Site::proven();
    for (client, source) in [("wiki", "192.0.2.2"), ("other", "192.0.2.1")] {
        (site.client, site.source) = (client, source);
        site.refused(&typed, Denial::CodeReplayed);
        site.refused(PASSWORD, Denial::MissingCode);
    }
    (site.client, site.source) = ("wiki", "192.0.2.1");
    let mut request = site.request(&typed);
    request.origin.protocol = Protocol::Radius;
    assert_eq!(denial(site.run(&request, |_| {})), Denial::CodeReplayed);
    let mut request = site.request(&typed);
    request.purpose = Purpose::NewPassword(Secret::new("new"));
    assert_eq!(denial(site.run(&request, |_| {})), Denial::CodeReplayed);
    assert_eq!(site.world.failures(), 4);
    let request = site.request(&typed);
    let mut elsewhere = request;
    elsewhere.origin.directory = "other".into();
    assert_eq!(denial(site.run(&elsewhere, |_| {})), Denial::CodeReplayed);
}

#[test]
fn the_rule_that_decides_now_must_allow_it_and_be_met() {
    let (mut site, typed) = Site::proven();
    site.world.now = site.world.now + Duration::from_secs(50);
    site.service = "impatient";
    site.accepted(&typed);
    site.world.now = site.world.now + Duration::from_secs(20);
    site.refused(&typed, Denial::ReuseOver);
    site.service = "never";
    assert!(matches!(
        site.bind(&typed),
        Verdict::Reject(Denial::CodeReplayed | Denial::WrongCode)
    ));
    site.service = "mail";
    site.refused(PASSWORD, Denial::MissingCode);
    site.service = "wiki";
    site.accepted(&typed);
}

#[test]
fn guesses_at_the_password_count_with_or_without_a_code() {
    let (mut site, typed) = Site::proven();
    site.refused("guess", Denial::WrongPassword);
    assert_eq!(site.world.failures(), 1, "an entry is no place to try passwords at");
    let code = typed.rsplit(',').next().unwrap().to_owned();
    site.refused(&format!("guess,{code}"), Denial::CodeReplayed);
    assert_eq!(site.world.failures(), 2);
    site.accepted(&typed);
    assert_eq!(
        site.world.failures(),
        1,
        "no code was given: a failed one stays counted"
    );
    for _ in 0..4 {
        site.refused("guess", Denial::WrongPassword);
    }
    assert_eq!(site.live(), 0, "locked");
    site.refused(&typed, Denial::Throttled);
    site.world.now = site.world.now + 16 * MINUTE;
    site.refused(PASSWORD, Denial::MissingCode);
}

#[test]
fn a_wrong_password_ends_what_was_proven_with_it_and_no_more() {
    let (mut site, typed) = Site::proven();
    site.client = "intranet";
    site.world.now = site.world.now + 2 * MINUTE;
    let other = format!("{PASSWORD},{}", site.world.code());
    site.accepted(&other);
    site.client = "wiki";
    site.password = "changed in the directory itself";
    site.refused(&typed, Denial::WrongPassword);
    assert_eq!((site.live(), site.world.failures()), (1, 1));
    site.refused(&typed, Denial::ReuseOver);
    site.refused(site.password, Denial::MissingCode);
    site.refused(
        &format!("{},{}", site.password, typed.rsplit(',').next().unwrap()),
        Denial::WrongCode,
    );
    assert_eq!(site.world.failures(), 2);
}

#[test]
fn what_the_directory_says_of_the_account_ends_it() {
    for (outcome, left) in [
        (PasswordOutcome::Locked, 0),
        (PasswordOutcome::Disabled, 0),
        (PasswordOutcome::Expired, 1),
        (PasswordOutcome::MustChange, 1),
        (PasswordOutcome::Unavailable("out of reach".into()), 2),
    ] {
        let (mut site, typed) = Site::proven();
        site.client = "intranet";
        site.world.now = site.world.now + 2 * MINUTE;
        let other = format!("{PASSWORD},{}", site.world.code());
        site.accepted(&other);
        site.client = "wiki";
        site.world.outcome = Some(outcome.clone());
        assert!(!matches!(site.bind(&typed), Verdict::Accept(_)));
        assert_eq!(site.live(), left, "{outcome:?}");
        site.world.outcome = None;
        assert_eq!(
            matches!(site.bind(&typed), Verdict::Accept(_)),
            left == 2,
            "{outcome:?}"
        );
    }
}

type Meddling = (&'static str, fn(&mut Site), Denial);

/// Everything that ends it on somebody's word.
const MEDDLING: [Meddling; 8] = [
    (
        "denied",
        |site| {
            let by = Deny {
                until: None,
                reason: "laptop stolen".into(),
                by: "helpdesk".into(),
                at: site.world.now,
            };
            site.change(|user| user.denied = Some(by));
        },
        Denial::Denied,
    ),
    (
        "token revoked",
        |site| site.change(|user| user.tokens.clear()),
        Denial::ReuseOver,
    ),
    (
        "token disabled",
        |site| site.change(|user| user.tokens[0].disabled = true),
        Denial::ReuseOver,
    ),
    (
        "token added",
        |site| {
            site.change(|user| {
                let mut token = user.tokens[0].clone();
                token.id = 2;
                user.tokens.push(token);
            });
        },
        Denial::ReuseOver,
    ),
    (
        "recovery codes made anew",
        |site| site.change(|user| user.recovery = vec![[7; 32]]),
        Denial::ReuseOver,
    ),
    (
        "passcode revoked",
        |site| site.change(|user| user.passcode = None),
        Denial::ReuseOver,
    ),
    (
        "cleared, or the password changed through us",
        |site| {
            assert_eq!(site.table.forget(Whose::Of(&site.world.person.key), site.world.now), 1);
        },
        Denial::ReuseOver,
    ),
    (
        "reloaded",
        |site| {
            site.table.forget(Whose::All, site.world.now);
        },
        Denial::ReuseOver,
    ),
];

#[test]
fn it_ends_on_somebodys_word() {
    for (name, meddle, expected) in MEDDLING {
        let (mut site, typed) = Site::proven();
        meddle(&mut site);
        let binds = site.world.binds;
        assert_eq!(denial(site.bind(&typed)), expected, "{name}");
        assert!(!matches!(site.bind(PASSWORD), Verdict::Accept(_)), "{name}");
        assert_eq!((site.world.binds, site.world.failures()), (binds, 0), "{name}");
    }
}

#[test]
fn it_ends_for_a_bind_that_is_being_judged_as_well() {
    for (name, meddle, expected) in MEDDLING {
        let (mut site, typed) = Site::proven();
        let request = site.request(&typed);
        assert_eq!(denial(site.run(&request, meddle)), expected, "{name}");
        assert_eq!(site.world.failures(), 0, "{name}: the password was right");
        assert_eq!(
            site.world.audit.last().unwrap().reason.as_deref(),
            Some(expected.word())
        );
    }
}

#[test]
fn a_login_that_is_being_judged_leaves_nothing_behind_when_all_is_forgotten() {
    let mut site = Site::new();
    let request = site.request(&format!("{PASSWORD},{}", site.world.code()));
    let verdict = site.run(&request, |site| {
        site.table.forget(Whose::All, site.world.now);
    });
    assert!(matches!(verdict, Verdict::Accept(_)));
    assert_eq!(site.live(), 0);
}

#[test]
fn a_code_of_each_kind_counts_and_a_spent_one_changes_nothing_for_its_own_entry() {
    for code in ["23456789ABCDEF", "K7QXM3RTWP"] {
        let mut site = Site::new();
        let typed = format!("{PASSWORD},{code}");
        site.accepted(&typed);
        for _ in 0..3 {
            site.accepted(&typed);
        }
    }
}

#[test]
fn a_bind_that_is_not_to_be_audited_still_hears_a_denial() {
    let mut site = Site::new();
    site.service = "quiet";
    let typed = format!("{PASSWORD},{}", site.world.code());
    site.accepted(&typed);
    assert_eq!(site.world.audit.len(), 1, "a spent code is written down all the same");
    site.accepted(&typed);
    assert_eq!(site.world.audit.len(), 1);
}

#[test]
fn only_logins_with_password_and_code_leave_an_entry() {
    let mut site = Site::new();
    site.refused(PASSWORD, Denial::MissingCode);
    let wrong = format!("guess,{}", site.world.code());
    site.refused(&wrong, Denial::WrongPassword);
    site.service = "never";
    site.world.now = site.world.now + MINUTE;
    let typed = format!("{PASSWORD},{}", site.world.code());
    site.accepted(&typed);
    assert_eq!(site.live(), 0);
}

#[test]
fn what_a_rule_may_say() {
    let said = |rule: &str| {
        let mut faults = Faults::default();
        let text = format!("[[rule]]\nname = \"r\"\n{rule}\n");
        policy::parse(
            &[Source::new(Path::new("p.toml"), &text)],
            Dictionary::shipped(),
            &mut faults,
        );
        faults.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let both = "require = { all = [\"password\", \"totp\"] }";
    assert_eq!(said(&format!("{both}\nreuse = \"12h\"")), "");
    for span in ["12h 1s", "0s", "900ms"] {
        let expected = "p.toml:4:9: rule[0].reuse: must be at least one second and at most 12 hours";
        assert_eq!(said(&format!("{both}\nreuse = \"{span}\"")), expected);
    }
    assert!(said(&format!("{both}\nreuse = 10")).starts_with("p.toml:4:9: rule[0].reuse: "));
    assert!(said("deny = true\nreuse = \"5m\"").contains("rule[0].reuse: does nothing beside `deny`"));
    for alone in ["\"password\"", "\"totp\"", "{ any = [\"password\", \"totp\"] }"] {
        let warning = said(&format!("require = {alone}\nreuse = \"5m\""));
        assert!(
            warning.contains("does nothing: the rule takes no code beside a password"),
            "{warning}"
        );
    }
    let warning = said(&format!("when = {{ protocol = [\"radius\"] }}\n{both}\nreuse = \"5m\""));
    assert!(warning.contains("does nothing: only LDAP binds"), "{warning}");
}
