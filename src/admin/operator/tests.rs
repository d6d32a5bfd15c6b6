use std::fmt::Write as _;

use super::*;
use crate::accounts::Relation;
use crate::admin::api::ErrorKind;
use crate::config;
use crate::engine::operator::{Rank, Scope};
use crate::engine::{Person, UserKey};

/// What every role may do to whom, written out for people who have to be sure of it.
const MATRIX: &str = include_str!("../../../tests/operators/matrix.txt");

/// The same without the targets, for those who hand out roles.
const MANUAL: &str = include_str!("../../../docs/operators.md");

fn person(groups: &[&str]) -> Person {
    Person {
        key: UserKey::new("main", "1"),
        directory: "main".into(),
        dn: "uid=ana,ou=people,dc=example".into(),
        login: "ana".into(),
        groups: groups.iter().map(|group| format!("cn={group},dc=example")).collect(),
        attributes: Default::default(),
        enabled: true,
        manager: None,
        sso_managed: None,
    }
}

fn scoped(role: Role, verbs: &[Verb]) -> Operator {
    let staff = Scope {
        group: vec!["staff".into()],
        ..Scope::default()
    };
    Operator {
        grants: vec![Grant {
            role,
            within: match role.takes_scope() {
                true => vec![staff],
                false => Vec::new(),
            },
            verbs: verbs.iter().map(|verb| verb.word().to_owned()).collect(),
        }],
        ..Operator::administrator("carol")
    }
}

/// The kinds of target, each with its letter.
fn targets<'p>(inside: &'p Person, outside: &'p Person) -> [(char, Target<'p>); 9] {
    let seen = Seen {
        relation: Relation::Other,
        report: true,
        rank: Rank::None,
        person: Some(inside),
    };
    let related = |relation| Target::Person(Seen { relation, ..seen });
    [
        ('n', Target::Nobody),
        (
            's',
            Target::Person(Seen {
                relation: Relation::Oneself,
                report: false,
                ..seen
            }),
        ),
        ('i', Target::Person(Seen { report: false, ..seen })),
        (
            'o',
            Target::Person(Seen {
                person: Some(outside),
                ..seen
            }),
        ),
        (
            'p',
            Target::Person(Seen {
                rank: Rank::Highest,
                ..seen
            }),
        ),
        (
            'h',
            Target::Person(Seen {
                rank: Rank::High,
                ..seen
            }),
        ),
        ('r', Target::Person(seen)),
        ('v', related(Relation::Second)),
        ('f', related(Relation::Issuer)),
    ]
}

#[test]
fn every_role_may_just_what_is_written_down() {
    let (inside, outside) = (person(&["staff"]), person(&["guests"]));
    let mut table = String::new();
    write!(table, "{:<19}", "verb").unwrap();
    for role in Role::ALL {
        write!(table, "{:<15}", role.word()).unwrap();
    }
    table = table.trim_end().to_owned() + "\n";
    for verb in Verb::ALL {
        let mut line = format!("{:<19}", verb.word());
        for role in Role::ALL {
            let operator = scoped(role, &[*verb]);
            let cell: String = targets(&inside, &outside)
                .into_iter()
                .take(if verb.manner().is_about_people() { 9 } else { 1 })
                .map(|(letter, target)| match authorize(&operator, *verb, target) {
                    Ok(()) => letter,
                    Err(error) => {
                        assert_eq!(error.kind, ErrorKind::Denied, "{} {role}", verb.word());
                        '-'
                    }
                })
                .collect();
            write!(line, "{cell:<15}").unwrap();
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    let (_, written) = MATRIX.split_once("\n\n").unwrap();
    assert!(
        written == table,
        "tests/operators/matrix.txt says otherwise than the code:\n{table}"
    );
}

#[test]
fn the_manual_says_who_may_do_what() {
    let mut missing = Vec::new();
    let mut lines = 0;
    for verb in Verb::ALL {
        let roles: Vec<&str> = verb.roles().iter().map(|role| role.word()).collect();
        let roles = match roles.is_empty() {
            true => "—".to_owned(),
            false => roles.join(", "),
        };
        let code = if verb.is_sensitive() { "code" } else { "" };
        let line = format!("| `{}` | {roles} | {code} |", verb.word()).replace("|  |", "| |");
        if !MANUAL.contains(&line) {
            missing.push(line);
        }
        lines += 1;
    }
    assert!(missing.is_empty(), "docs/operators.md has not:\n{}", missing.join("\n"));
    let rows = MANUAL
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches('|').count() == 4);
    let verbs = rows.filter(|line| line.split('`').nth(1).is_some_and(|word| Verb::parse(word).is_some()));
    assert_eq!(verbs.count(), lines, "no verb twice");
}

#[test]
fn words_of_verbs_are_read_again_and_are_unique() {
    for verb in Verb::ALL {
        assert_eq!(Verb::parse(verb.word()), Some(*verb));
    }
    assert_eq!(Verb::parse("user"), None);
}

#[test]
fn an_auditor_changes_nothing() {
    for verb in Verb::ALL.iter().filter(|verb| verb.roles().contains(&Role::Auditor)) {
        assert!(matches!(verb.manner(), Manner::Look | Manner::Run), "{}", verb.word());
        assert!(!verb.is_sensitive(), "{}", verb.word());
    }
}

#[test]
fn strangers_may_nothing() {
    let stranger = Operator {
        grants: Vec::new(),
        ..Operator::administrator("gus")
    };
    for verb in Verb::ALL {
        let denied = authorize(&stranger, *verb, Target::Nobody).unwrap_err();
        assert_eq!(denied.kind, ErrorKind::Denied, "{}", verb.word());
    }
}

#[test]
fn a_program_may_what_is_listed() {
    let robot = scoped(Role::Automation, &[Verb::ShowUser, Verb::IssuePasscode]);
    for verb in Verb::ALL {
        let may = matches!(verb, Verb::ShowUser | Verb::IssuePasscode | Verb::ReadOwn);
        assert_eq!(authorize(&robot, *verb, Target::Nobody).is_ok(), may, "{}", verb.word());
    }
}

#[test]
fn roles_add_up_and_none_lends_its_scope_to_another() {
    let mut operator = scoped(Role::Helpdesk, &[]);
    operator.grants.push(Grant::of(Role::Auditor));
    let guest = person(&["guests"]);
    let seen = Target::Person(Seen {
        relation: Relation::Other,
        report: false,
        rank: Rank::None,
        person: Some(&guest),
    });
    assert!(authorize(&operator, Verb::ShowUser, seen).is_ok(), "as auditor");
    let denied = authorize(&operator, Verb::IssuePasscode, seen).unwrap_err();
    assert!(denied.error.contains("scope"), "{denied}");
    assert!(operator.is_everywhere(Verb::ShowUser) && !operator.is_everywhere(Verb::Unlock));
}

#[test]
fn root_vouches_for_nobody() {
    let root = Operator {
        own: true,
        ..Operator::administrator("root")
    };
    let ana = person(&["staff"]);
    let second = Target::Person(Seen {
        relation: Relation::Second,
        report: false,
        rank: Rank::None,
        person: Some(&ana),
    });
    for verb in [Verb::ReleasePasscode, Verb::Approve] {
        assert!(authorize(&root, verb, second).is_err());
        assert!(authorize(&Operator::administrator("carol"), verb, second).is_ok());
    }
}

#[test]
fn a_code_is_asked_for_once_it_is_clear_that_it_would_be_done() {
    let ana = person(&["staff"]);
    let seen = |relation| {
        Target::Person(Seen {
            relation,
            report: false,
            rank: Rank::None,
            person: Some(&ana),
        })
    };
    let kind = |operator: &Operator, verb, target| authorize(operator, verb, target).map_err(|error| error.kind);
    let mut operator = scoped(Role::Helpdesk, &[]);
    operator.confirmation = Confirmation::Due;
    let passcode = Verb::IssuePasscode;
    assert_eq!(kind(&operator, passcode, Target::Nobody), Ok(()));
    assert_eq!(
        kind(&operator, passcode, seen(Relation::Other)),
        Err(ErrorKind::Confirm)
    );
    assert_eq!(
        kind(&operator, passcode, seen(Relation::Oneself)),
        Err(ErrorKind::Denied)
    );
    assert_eq!(kind(&operator, Verb::Unlock, seen(Relation::Other)), Ok(()));
    assert_eq!(
        kind(&operator, Verb::ForceChanges, Target::Nobody),
        Err(ErrorKind::Confirm)
    );
    for (confirmation, expected) in [
        (Confirmation::Given, Ok(())),
        (Confirmation::NotNeeded, Ok(())),
        (Confirmation::Impossible, Err(ErrorKind::Denied)),
        (Confirmation::Unknown("down".into()), Err(ErrorKind::Unavailable)),
    ] {
        operator.confirmation = confirmation;
        assert_eq!(kind(&operator, passcode, seen(Relation::Other)), expected);
    }
    // What is listed for a program is meant to be done without anybody.
    let mut robot = scoped(Role::Automation, &[passcode]);
    robot.confirmation = Confirmation::Due;
    assert_eq!(kind(&robot, passcode, seen(Relation::Other)), Ok(()));
}

#[test]
fn a_token_that_somebody_else_has_issued_speaks_for_its_account_with_a_code_only() {
    let ana = person(&["staff"]);
    let second = Target::Person(Seen {
        relation: Relation::Second,
        report: false,
        rank: Rank::None,
        person: Some(&ana),
    });
    let kind = |operator: &Operator, verb, target| authorize(operator, verb, target).map_err(|error| error.kind);
    let mut operator = Operator::administrator("ben/ci");
    let words = [
        (Verb::Approve, second),
        (Verb::ReleasePasscode, second),
        (Verb::AskRequest, Target::Nobody),
        (Verb::Delegate, Target::Nobody),
    ];
    for (verb, target) in words {
        assert_eq!(kind(&operator, verb, target), Ok(()), "its own");
        operator.lent = true;
        for (confirmation, expected) in [
            (Confirmation::NotNeeded, Err(ErrorKind::Denied)),
            (Confirmation::Due, Err(ErrorKind::Confirm)),
            (Confirmation::Given, Ok(())),
        ] {
            operator.confirmation = confirmation;
            assert_eq!(kind(&operator, verb, target), expected, "{}", verb.word());
        }
        operator.lent = false;
        operator.confirmation = Confirmation::NotNeeded;
    }
    operator.lent = true;
    assert_eq!(kind(&operator, Verb::Unlock, second), Ok(()));
    let mut robot = scoped(Role::Automation, &[Verb::AskRequest]);
    robot.lent = true;
    assert_eq!(kind(&robot, Verb::AskRequest, Target::Nobody), Err(ErrorKind::Denied));
}

#[test]
fn the_token_that_codes_are_asked_of_is_not_put_away_without_one() {
    let ana = person(&["staff"]);
    let kind = |operator: &Operator, relation| {
        let seen = Target::Person(Seen {
            relation,
            report: false,
            rank: Rank::None,
            person: Some(&ana),
        });
        authorize(operator, Verb::ChangeToken, seen).map_err(|error| error.kind)
    };
    for mut operator in [
        scoped(Role::Helpdesk, &[]),
        scoped(Role::Automation, &[Verb::ChangeToken]),
    ] {
        assert_eq!(kind(&operator, Relation::Oneself), Ok(()), "nothing is asked for");
        operator.confirmation = Confirmation::Due;
        assert_eq!(kind(&operator, Relation::Oneself), Err(ErrorKind::Confirm));
        assert_eq!(kind(&operator, Relation::Other), Ok(()));
    }
}

#[test]
fn what_is_not_known_is_an_outage_and_no_refusal() {
    let operator = Operator {
        grants: Vec::new(),
        unresolved: Some("directory `main` cannot be asked".into()),
        ..Operator::administrator("carol")
    };
    let error = authorize(&operator, Verb::Status, Target::Nobody).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn the_kernel_says_who_is_calling() {
    let (near, _far) = tokio::net::UnixStream::pair().unwrap();
    let own = Caller::of(near.peer_cred().unwrap()).await;
    let Caller::Local { name, own } = own else {
        panic!("not from this machine");
    };
    assert!(own, "the process's own account");
    assert!(Book::default().local(&name).await.own);
}

#[test]
fn accounts_and_groups_have_their_roles() {
    let entry = |text: &str| toml::from_str::<config::Operator>(text).unwrap();
    let book = Book {
        admin: toml::from_str("operators = ['carol']").unwrap(),
        entries: vec![
            entry("account = 'ben'\nroles = ['auditor']"),
            entry("unix_group = 'desk'\nroles = ['helpdesk']\nscope = { group = ['staff'] }"),
            entry("group = 'managers'\ndirectory = 'main'\nroles = ['manager', 'second-holder']"),
        ],
    };
    let roles = |account: &str, groups: &[&str], people: &[std::sync::Arc<Person>]| {
        let local = LocalAccount {
            own: false,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        };
        let grants = book.grants(account, &local, people);
        grants.iter().map(|grant| grant.role).collect::<Vec<_>>()
    };
    assert_eq!(roles("carol", &["desk"], &[]), [Role::Administrator]);
    assert_eq!(roles("carola", &[], &[]), []);
    assert_eq!(roles("ben", &["desk"], &[]), [Role::Auditor, Role::Helpdesk]);
    let manager = std::sync::Arc::new(person(&["managers"]));
    assert_eq!(
        roles("ana", &[], std::slice::from_ref(&manager)),
        [Role::Manager, Role::SecondHolder]
    );
    let mut elsewhere = Person::clone(&manager);
    elsewhere.directory = "guests".into();
    assert_eq!(
        roles("ana", &[], &[elsewhere.into()]),
        [],
        "a namesake of another directory"
    );
    let mut disabled = Person::clone(&manager);
    disabled.enabled = false;
    assert_eq!(roles("ana", &[], &[disabled.into()]), []);

    let higher = book.higher_than(Rank::Low);
    assert_eq!(higher.accounts.len(), 3, "root, carol, ben");
    assert!(higher.groups.is_empty() && higher.unix_groups.is_empty());
    assert_eq!(book.higher_than(Rank::None).in_directory(&manager), Rank::Low);
}
