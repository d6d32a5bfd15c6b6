//! Policies as a whole: every condition held against subjects, and what holds for all policies.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::dictionary::Dictionary;
use crate::document::{Faults, Source};
use crate::engine::account::AccountState;
use crate::engine::facts::{Manager, UserKey};
use crate::engine::record::UserRecord;
use crate::engine::request::{Manner, Transport};

/// 2026-01-05, a Monday, 08:00 UTC.
const NOW: Timestamp = Timestamp::from_secs(1_767_600_000);

fn read(text: &str) -> (Policy, Vec<String>) {
    let mut faults = Faults::default();
    let source = [Source::new(Path::new("p.toml"), text)];
    let policy = parse(&source, Dictionary::shipped(), &mut faults);
    (policy, faults.0.iter().map(ToString::to_string).collect())
}

/// Everything that a subject is made of.
#[derive(Clone, Debug)]
struct Everything {
    origin: Origin,
    person: Option<Person>,
    account: Option<AccountState>,
    record: Option<UserRecord>,
    failures: Option<usize>,
    sessions: Option<usize>,
}

impl Everything {
    fn new() -> Self {
        Self {
            origin: Origin {
                protocol: Protocol::Radius,
                service: "vpn".into(),
                client: "gate".into(),
                directory: "corp".into(),
                source: [192, 0, 2, 1].into(),
                nas_identifier: Some("door1".into()),
                calling_station: Some("00-11-22-33-44-55".into()),
                called_station: Some("AA-BB:guest".into()),
                listener: Some("outside".into()),
                application: Some("wiki".into()),
                transport: Transport::Tls,
                service_account: None,
                manner: Manner::default(),
            },
            person: Some(Person {
                key: UserKey::new("corp", "1"),
                directory: "corp".into(),
                dn: "uid=ana,ou=People,dc=example,dc=org".into(),
                login: "Ana".into(),
                groups: vec!["cn=staff,ou=groups,dc=example,dc=org".into()],
                attributes: [("department".to_owned(), vec!["IT".to_owned(), "Sales".to_owned()])].into(),
                enabled: true,
                manager: Some(Manager {
                    dn: "uid=ben,ou=people,dc=example,dc=org".into(),
                    login: Some("ben".into()),
                }),
                sso_managed: Some(false),
            }),
            account: Some(AccountState::default()),
            record: Some(UserRecord::default()),
            failures: Some(2),
            sessions: Some(1),
        }
    }

    fn ask<T>(&self, operation: Operation, ask: impl FnOnce(&Subject<'_>) -> T) -> T {
        let login = LoginName::parse("ana").unwrap();
        ask(&Subject {
            login: &login,
            origin: &self.origin,
            person: self.person.as_ref().map_or(Who::Decoy, Who::Known),
            operation,
            sessions: self.sessions,
            known: Known {
                account: self.account.as_ref(),
                record: self.record.as_ref(),
                failures: self.failures,
            },
            now: NOW,
        })
    }

    fn decided(&self, policy: &Policy) -> Option<String> {
        self.ask(Operation::Login, |subject| {
            let decided = policy.decide(subject).map(|rule| rule.name.to_string());
            assert_eq!(policy.explain(subject).decided_by, decided, "explain and decide agree");
            decided
        })
    }

    fn holds(&self, condition: &str) -> Holds {
        let (policy, faults) = read(&format!(
            "[[rule]]\nname = \"r\"\nwhen = {{ {condition} }}\ndeny = true\n"
        ));
        let told: Vec<_> = faults.iter().filter(|fault| !fault.contains("warning")).collect();
        assert!(told.is_empty(), "{condition}: {told:?}");
        self.ask(Operation::Login, |subject| {
            policy.rules[0].when[0].holds(&policy.view(subject))
        })
    }

    /// The same with nothing that anybody need say.
    fn bare() -> Self {
        let mut bare = Self::new();
        let origin = &mut bare.origin;
        (origin.nas_identifier, origin.calling_station, origin.called_station) = (None, None, None);
        (origin.listener, origin.application) = (None, None);
        let person = bare.person.as_mut().unwrap();
        (person.manager, person.sso_managed) = (None, None);
        person.attributes.clear();
        (bare.account, bare.record, bare.failures, bare.sessions) = (None, None, None, None);
        bare
    }
}

/// A condition that holds for [`Everything::new`], one that does not, and whether the datum can be missing and is the
/// person's.
const CONDITIONS: &[(&str, &str, bool, bool)] = &[
    ("operation = ['login']", "operation = ['recovery']", false, false),
    ("protocol = ['radius']", "protocol = ['ldap']", false, false),
    ("transport = ['udp', 'tls']", "transport = ['tcp']", false, false),
    ("encrypted = true", "encrypted = false", false, false),
    ("service = ['VPN']", "service = ['wifi']", false, false),
    ("client = ['gate']", "client = ['other']", false, false),
    ("listener = ['outside']", "listener = ['inside']", true, false),
    ("application = ['wiki']", "application = ['git']", true, false),
    ("directory = ['corp']", "directory = ['lab']", false, false),
    ("source = ['192.0.2.0/24']", "source = ['10.0.0.0/8']", false, false),
    ("nas_identifier = ['DOOR1']", "nas_identifier = ['door2']", true, false),
    (
        "called_station = ['*:guest']",
        "called_station = ['*:staff']",
        true,
        false,
    ),
    (
        "calling_station = ['00-11-*']",
        "calling_station = ['00-12-*']",
        true,
        false,
    ),
    (
        "date = { until = '2026-01-05' }",
        "date = { from = '2026-01-06' }",
        false,
        false,
    ),
    ("time = ['mon 08:00-09:00']", "time = ['tue 08:00-09:00']", false, false),
    ("user = ['ana']", "user = ['ben']", false, true),
    ("sso_managed = false", "sso_managed = true", true, true),
    ("sessions = { at_least = 1 }", "sessions = { at_least = 2 }", true, true),
    ("failures = { at_least = 2 }", "failures = { at_least = 3 }", true, true),
    ("group = ['staff']", "group = ['cn=staff,dc=example']", false, true),
    ("privileged = false", "privileged = true", false, true),
    (
        "dn_suffix = ['ou=people,dc=example,dc=org']",
        "dn_suffix = ['ou=admins,dc=example,dc=org']",
        false,
        true,
    ),
    ("manager = ['Ben']", "manager = ['eve', 'uid=eve,dc=x']", true, true),
    (
        "manager = ['UID=ben, ou=people,dc=example,dc=org']",
        "manager = ['uid=eve,dc=x']",
        true,
        true,
    ),
    (
        "credential = ['good', 'locked']",
        "credential = ['expired', 'must-change']",
        true,
        true,
    ),
    (
        "enrolment = ['never']",
        "enrolment = ['totp', 'recovery-code']",
        true,
        true,
    ),
    (
        "attribute = { Department = ['it'] }",
        "attribute = { department = ['hr'] }",
        true,
        true,
    ),
    (
        "filter = ['(&(department=it)(!(department=hr)))']",
        "filter = ['(department=hr)']",
        true,
        true,
    ),
];

#[test]
fn every_condition_holds_fails_and_is_missing() {
    let all = Everything::new();
    let bare = Everything::bare();
    let nobody = Everything {
        person: None,
        ..Everything::new()
    };
    for (holds, fails, can_miss, personal) in CONDITIONS {
        assert_eq!(all.holds(holds), Holds::Yes, "{holds}");
        assert_eq!(all.holds(fails), Holds::No, "{fails}");
        for condition in [holds, fails] {
            if *can_miss {
                assert_eq!(bare.holds(condition), Holds::Missing, "{condition}");
            }
            let assumed = nobody.holds(condition) == Holds::Assumed;
            assert_eq!(assumed, *personal, "{condition}");
        }
    }
}

#[test]
fn explanations_show_every_condition_with_its_value() {
    for (holds, _, can_miss, _) in CONDITIONS {
        let (policy, _) = read(&format!(
            "[[rule]]\nname = \"r\"\nwhen = {{ {holds} }}\nrequire = \"password\"\n"
        ));
        let explained = |subject: &Everything| subject.ask(Operation::Login, |subject| policy.explain(subject));
        let step = &explained(&Everything::new()).steps[0];
        assert!(step.matched, "{holds}");
        let condition = &step.conditions[0];
        assert!(
            condition.value.as_ref().is_some_and(|value| !value.is_empty()),
            "{holds}"
        );
        let key = holds.split(' ').next().unwrap();
        assert!(condition.condition.starts_with(key), "{}", condition.condition);
        assert_eq!(policy.rules[0].when[0].key(), key);
        if *can_miss {
            assert_eq!(
                explained(&Everything::bare()).steps[0].conditions[0].value,
                None,
                "{holds}"
            );
        }
    }
}

#[test]
fn a_condition_covers_itself_and_no_other() {
    let of = |text: &str| {
        let (policy, _) = read(&format!("[[rule]]\nname = \"r\"\nwhen = {{ {text} }}\ndeny = true\n"));
        policy.rules[0].when[0].clone()
    };
    for (index, (text, other, ..)) in CONDITIONS.iter().enumerate() {
        assert!(of(text).covers(&of(text)), "{text}");
        assert!(!of(other).covers(&of(text)), "{other} {text}");
        for (place, (further, ..)) in CONDITIONS.iter().enumerate().filter(|(place, _)| *place != index) {
            let alike = ["transport", "encrypted", "manager"];
            let alike = |text: &str| alike.iter().any(|key| text.starts_with(key));
            assert!(
                alike(text) || !of(text).covers(&of(further)),
                "{text} {further} {place}"
            );
        }
    }
    assert!(of("called_station = ['*:guest']").covers(&of("called_station = ['a:guest']")));
    assert!(of("encrypted = true").covers(&of("transport = ['tls']")));
    assert!(of("failures = { at_least = 1 }").covers(&of("failures = { at_least = 2 }")));
    assert!(of("date = { until = '2026-12-31' }").covers(&of("date = { until = '2026-01-31' }")));
    assert!(of("group = ['staff']").covers(&of("group = ['cn=staff,dc=x']")));
}

#[test]
fn clauses_know_where_they_stand() {
    let (policy, _) = read(
        "[[rule]]\nname = \"r\"\ndeny = true\n[rule.when]\nservice = [\"vpn\"]\n\n[rule.when.attribute]\ntitle = [\"x\"]\n\
         [rule.unless]\nuser = [\"ana\"]\n",
    );
    let clauses: Vec<_> = policy.rules[0]
        .conditions()
        .map(|(unless, clause)| {
            (
                unless,
                clause.condition.key(),
                clause.spot.line,
                clause.spot.key.as_str(),
            )
        })
        .collect();
    assert_eq!(
        clauses,
        [
            (false, "service", 5, "rule[0].when.service"),
            (false, "attribute", 8, "rule[0].when.attribute.title"),
            (true, "user", 10, "rule[0].unless.user"),
        ]
    );
}

#[test]
fn rules_that_deny_are_tried_first_and_the_default_last() {
    let (policy, faults) = read(
        "[[rule]]\nname = \"default\"\ndeny = true\n\
         [[rule]]\nname = \"staff\"\nwhen = { group = [\"staff\"] }\nrequire = \"password\"\n\
         [[rule]]\nname = \"not from outside\"\nwhen = { source = [\"192.0.2.0/24\"] }\ndeny = true\n\
         [[rule]]\nname = \"others\"\nwhen = { service = [\"vpn\"] }\nrequire = \"password\"\n",
    );
    assert_eq!(
        faults,
        [
            "p.toml:2:8: warning: rule[0].name: rule \"default\" denies everybody and so is tried last, after the 3 that stand behind it; put it at the end, or say in `when` whom it denies"
        ]
    );
    let names: Vec<&str> = policy.rules.iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["not from outside", "staff", "others", "default"]);
    let mut subject = Everything::new();
    assert_eq!(subject.decided(&policy).as_deref(), Some("not from outside"));
    subject.origin.source = [10, 0, 0, 1].into();
    assert_eq!(subject.decided(&policy).as_deref(), Some("staff"));
    subject.person.as_mut().unwrap().groups.clear();
    assert_eq!(subject.decided(&policy).as_deref(), Some("others"));
    subject.origin.service = "wifi".into();
    assert_eq!(subject.decided(&policy).as_deref(), Some("default"));
}

#[test]
fn a_rule_behind_one_that_denies_more_is_never_reached() {
    let (_, faults) = read(
        "[[rule]]\nname = \"vpn\"\nwhen = { service = [\"vpn\"], group = [\"staff\"] }\nrequire = \"password\"\n\
         [[rule]]\nname = \"closed\"\nwhen = { service = [\"vpn\"] }\ndeny = true\n",
    );
    assert_eq!(
        faults,
        [
            "p.toml:2:8: warning: rule[0].name: rule \"vpn\" is never reached: rule \"closed\" (p.toml:5) matches everything that it would; narrow that one, which is tried first because it denies, or remove this one"
        ]
    );
}

#[test]
fn accounts_are_exempt_by_name_and_source() {
    let (policy, faults) =
        read("[[rule]]\nname = \"apps\"\nexempt = [\"svc-wiki\", \"svc-git\"]\nwhen = { source = [\"10.0.0.5\"] }\n");
    assert!(faults.is_empty(), "{faults:?}");
    let terms = policy.rules[0].terms().unwrap();
    assert!(terms.exempt && terms.requirement == Requirement::password());
    let mut subject = Everything::new();
    subject.origin.source = [10, 0, 0, 5].into();
    assert_eq!(subject.decided(&policy), None);
    subject.person.as_mut().unwrap().login = "SVC-git".into();
    assert_eq!(subject.decided(&policy).as_deref(), Some("apps"));
    subject.origin.source = [10, 0, 0, 6].into();
    assert_eq!(subject.decided(&policy), None);
    for (rule, fault) in [
        (
            "exempt = [\"svc\"]",
            "p.toml:3:10: rule[0].exempt: lets accounts in with a password alone, and from everywhere; say where they come from: when = { source = [\"10.0.0.5\"] }",
        ),
        (
            "exempt = [\"svc\"]\nwhen = { source = [\"0.0.0.0/0\"] }",
            "from everywhere",
        ),
        ("exempt = []\nwhen = { source = [\"10.0.0.5\"] }", "names no account"),
        (
            "exempt = [\"svc\"]\nwhen = { source = [\"10.0.0.5\"], user = [\"ana\"] }",
            "stands beside `exempt`",
        ),
        (
            "exempt = [\"svc\"]\nrequire = \"totp\"\nwhen = { source = [\"10.0.0.5\"] }",
            "stands beside `deny` or `require`",
        ),
    ] {
        let (_, faults) = read(&format!("[[rule]]\nname = \"r\"\n{rule}\n"));
        assert!(faults.iter().any(|found| found.contains(fault)), "{rule}: {faults:?}");
    }
}

#[test]
fn to_fail_open_is_warned_of_and_needs_the_password() {
    let both = "require = { all = [\"password\", \"radius\"] }";
    let (policy, faults) = read(&format!(
        "[[rule]]\nname = \"r\"\n{both}\nfail_open = \"the shop must sell\"\n"
    ));
    assert_eq!(
        faults,
        [
            "p.toml:4:13: warning: rule[0].fail_open: rule \"r\" lets people in without radius whenever that is out of reach (the shop must sell); leave fail_open out to have them wait"
        ]
    );
    assert_eq!(
        policy.rules[0].ruling.to_string(),
        "require password and radius; open where that is out of reach (the shop must sell)"
    );
    for (rule, fault) in [
        (format!("{both}\nfail_open = \" \""), "must say why"),
        ("require = \"radius\"\nfail_open = \"why\"".into(), "without any proof"),
        (
            "require = { all = [\"password\", \"totp\"] }\nfail_open = \"why\"".into(),
            "does nothing",
        ),
        ("deny = true\nfail_open = \"why\"".into(), "does nothing"),
    ] {
        let (_, faults) = read(&format!("[[rule]]\nname = \"r\"\n{rule}\n"));
        assert!(faults.iter().any(|found| found.contains(fault)), "{rule}: {faults:?}");
    }
}

#[test]
fn faults_of_conditions_have_places_and_remedies() {
    for (condition, fault) in [
        (
            "filter = ['(department=x']",
            "p.toml:3:20: rule[0].when.filter[0]: at character 14 of the filter: a `)` is missing",
        ),
        (
            "filter = ['(userPassword=x)']",
            "`userpassword`: is a secret of the directory",
        ),
        (
            "filter = ['(cn:2.4.6:=x)']",
            "has a matching rule that is not known here",
        ),
        (
            "attribute = { userPassword = ['x'] }",
            "rule[0].when.attribute.userPassword: is a secret",
        ),
        ("attribute = { }", "is empty; write { name = [\"value\"] }"),
        ("attribute = { title = [] }", "is an empty list"),
        (
            "credential = ['lockd']",
            "`lockd` is no state of an account; there are good, expired, must-change, locked, disabled; did you mean `locked`?",
        ),
        (
            "enrolment = ['email-code']",
            "`email-code` is no enrolment; there are none, never, totp",
        ),
        (
            "failures = { at_least = 0 }",
            "p.toml:3:21: rule[0].when.failures: at_least is 0",
        ),
        ("date = { }", "wants `from`, `until`, or both"),
        ("date = { til = '2026-01-01', from = '2026-01-01' }", "unknown key"),
        ("transport = ['sctp']", "unknown variant `sctp`"),
        ("calling_station = []", "is an empty list"),
    ] {
        let (_, faults) = read(&format!(
            "[[rule]]\nname = \"r\"\nwhen = {{ {condition} }}\ndeny = true\n"
        ));
        assert!(
            faults.iter().any(|found| found.contains(fault)),
            "{condition}: {faults:?}"
        );
    }
}

#[test]
fn what_rules_ask_about_is_fetched() {
    let (policy, _) = read(
        "[[rule]]\nname = \"a\"\nrequire = \"password\"\n[rule.when]\nfilter = [\"(|(title=x)(!(employeeType=y)))\"]\n\
         manager = [\"uid=ben,dc=x\"]\nattribute = { Department = [\"it\"] }\n\
         [[rule]]\nname = \"b\"\nwhen = { credential = [\"locked\"], listener = [\"x\"] }\ndeny = true\n",
    );
    let wanted: Vec<&str> = policy.attributes().into_iter().collect();
    assert_eq!(wanted, ["department", "employeetype", "title"]);
    assert!(policy.asks_credential() && policy.asks_listener());
    assert_eq!(policy.asks_manager(), AsksManager::Dn);
    let (policy, _) = read("[[rule]]\nname = \"a\"\nwhen = { manager = [\"uid=b,dc=x\", \"ben\"] }\ndeny = true\n");
    assert_eq!(policy.asks_manager(), AsksManager::Login);
    let (policy, _) = read("[[rule]]\nname = \"a\"\nrequire = \"password\"\n");
    assert!(!policy.asks_credential() && policy.asks_manager() == AsksManager::No);
}

#[test]
fn a_rule_is_over_with_its_date() {
    let (policy, faults) =
        read("[[rule]]\nname = \"a\"\nwhen = { date = { until = \"2026-12-31\" } }\nrequire = \"password\"\n");
    assert!(faults.is_empty(), "{faults:?}");
    let warned = |secs: u64| policy.outdated(Timestamp::from_secs(secs)).count();
    assert_eq!((warned(1_798_761_599), warned(1_798_761_600)), (0, 1));
}

#[test]
fn more_groups_than_are_numbered_are_compared_all_the_same() {
    let names: Vec<String> = (0..3_000).map(|number| format!("\"group {number}\"")).collect();
    let (policy, _) = read(&format!(
        "[[rule]]\nname = \"r\"\nwhen = {{ group = [{}] }}\nrequire = \"password\"\n",
        names.join(", ")
    ));
    let mut subject = Everything::new();
    assert_eq!(subject.decided(&policy), None);
    for number in [0, 2_047, 2_048, 2_999] {
        subject.person.as_mut().unwrap().groups = vec![format!("cn=group {number},dc=x")];
        assert_eq!(subject.decided(&policy).as_deref(), Some("r"), "{number}");
    }
}

/// Written in one way or the other, under `when` or `unless`.
fn condition() -> impl Strategy<Value = (String, bool)> {
    (0..CONDITIONS.len(), any::<bool>(), any::<bool>()).prop_map(|(index, first, unless)| {
        let (holds, fails, ..) = CONDITIONS[index];
        (if first { holds } else { fails }.to_owned(), unless)
    })
}

fn rules() -> impl Strategy<Value = String> {
    let rule = (prop::collection::vec(condition(), 0..4), any::<bool>());
    prop::collection::vec(rule, 1..8).prop_map(|rules| {
        let mut text = String::new();
        for (index, (conditions, denies)) in rules.iter().enumerate() {
            let table = |unless: bool| {
                let mut keys = std::collections::BTreeMap::new();
                for (condition, _) in conditions.iter().filter(|(_, under)| *under == unless) {
                    keys.entry(condition.split(' ').next().unwrap())
                        .or_insert(condition.as_str());
                }
                keys.into_values().collect::<Vec<_>>().join(", ")
            };
            let ruling = if *denies {
                "deny = true"
            } else {
                "require = \"password\""
            };
            text += &format!(
                "[[rule]]\nname = \"{index}\"\nwhen = {{ {} }}\nunless = {{ {} }}\n{ruling}\n",
                table(false),
                table(true)
            );
        }
        text
    })
}

fn subjects() -> impl Strategy<Value = Everything> {
    prop::collection::vec(any::<bool>(), 11).prop_map(|missing| {
        let mut subject = Everything::new();
        let bare = Everything::bare();
        let mut missing = missing.into_iter();
        let mut is_missing = || missing.next().unwrap();
        macro_rules! drop {
            ($($field:tt)+) => {
                if is_missing() {
                    subject.$($field)+ = bare.$($field)+.clone();
                }
            };
        }
        drop!(origin.nas_identifier);
        drop!(origin.calling_station);
        drop!(origin.called_station);
        drop!(origin.listener);
        drop!(origin.application);
        drop!(account);
        drop!(record);
        drop!(failures);
        drop!(sessions);
        if is_missing() {
            subject.person = bare.person.clone();
        }
        if is_missing() {
            subject.person = None;
        }
        subject
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Nobody is let in but by a rule of which every condition is known and favours it; every rule that denies and
    /// could apply is tried before; and an explanation says the same.
    #[test]
    fn nobody_is_let_in_but_by_a_rule_that_matches(text in rules(), subject in subjects()) {
        let (policy, faults) = read(&text);
        prop_assert!(faults.iter().all(|fault| fault.contains("warning")), "{:?}", faults);
        subject.ask(Operation::Login, |subject| {
            let decided = policy.decide(subject);
            let explained = policy.explain(subject);
            prop_assert_eq!(explained.decided_by, decided.map(|rule| rule.name.to_string()));
            let view = policy.view(subject);
            let holds = |rule: &Rule| -> Vec<(bool, Holds)> {
                rule.conditions().map(|(unless, clause)| (unless, clause.condition.holds(&view))).collect()
            };
            let barring = policy.rules.iter().filter(|rule| rule.denies() && !rule.denies_everybody());
            let barred = barring.filter(|rule| holds(rule).iter().all(|(unless, holds)| match holds {
                Holds::Yes => !unless,
                Holds::No => *unless,
                Holds::Missing => true,
                Holds::Assumed => false,
            })).count();
            match decided {
                Some(rule) if !rule.denies() => {
                    prop_assert_eq!(barred, 0, "a rule that denies comes first");
                    for (unless, holds) in holds(rule) {
                        let favours = match holds {
                            Holds::Yes => !unless,
                            Holds::No => unless,
                            Holds::Missing => false,
                            Holds::Assumed => matches!(subject.person, Who::Decoy),
                        };
                        prop_assert!(favours, "{} {}", unless, holds);
                    }
                }
                Some(rule) => prop_assert!(barred > 0 || rule.denies_everybody()),
                None => prop_assert_eq!(barred, 0),
            }
            Ok(())
        })?;
    }

    /// What is not known lets nobody in who would not be let in with it known, whatever it is.
    #[test]
    fn a_missing_datum_never_opens(text in rules(), subject in subjects()) {
        let (policy, _) = read(&text);
        let person = subject.person.is_some();
        let admits = |subject: &Everything| {
            subject.ask(Operation::Login, |subject| policy.decide(subject).map(|rule| (!rule.denies(), Arc::clone(&rule.name))))
        };
        let whole = Everything { person: subject.person.as_ref().and(Everything::new().person), ..Everything::new() };
        if let (true, Some((true, rule))) = (person, admits(&subject)) {
            // The rule that lets them in rests on nothing that is missing, and so applies to the whole as well.
            let rule = policy.rules.iter().find(|known| known.name == rule).unwrap();
            whole.ask(Operation::Login, |subject| {
                prop_assert!(rule.matches(&policy.view(subject)));
                Ok(())
            })?;
        }
    }
}
