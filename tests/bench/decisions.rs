//! Measures decisions of policies: how many a second, with how many rules.
//!
//! Rules are like those of a company: each for a service, some groups, a network, and every fourth for hours of the
//! working week; every tenth denies. People are in twenty groups. `--service one` puts all rules on one service, so
//! that no decision gets past most of them without looking.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that meets something unexpected should end there"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use portcullis::clock::{self, Timestamp};
use portcullis::dictionary::Dictionary;
use portcullis::document::{Faults, Source};
use portcullis::engine::policy::{self, Known, Policy, Subject, Who};
use portcullis::engine::{LoginName, Manner, Operation, Origin, Person, Protocol, Transport, UserKey};

#[derive(Parser)]
struct Args {
    /// How many rules.
    #[arg(long, default_value_t = 1000)]
    rules: usize,
    /// Over how many services the rules are spread; `one` for a single one.
    #[arg(long, default_value = "many")]
    service: String,
    /// Seconds to measure for.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

fn main() {
    let args = Args::parse();
    let services = if args.service == "one" {
        1
    } else {
        (args.rules / 20).max(1)
    };
    let policy = policy(args.rules, services);
    let people: Vec<Person> = (0..PEOPLE).map(|number| person(number, args.rules)).collect();
    let origins: Vec<Origin> = (0..services).map(origin).collect();
    let login = LoginName::parse("user00001").unwrap();
    let ask = |turn: usize| {
        let subject = Subject {
            login: &login,
            origin: origins.get(turn % services).unwrap(),
            person: Who::Known(people.get(turn % PEOPLE).unwrap()),
            operation: Operation::Login,
            sessions: None,
            known: Known::default(),
            now: Timestamp::from_secs(1_767_600_000 + turn as u64 % 604_800),
        };
        policy.decide(black_box(&subject)).map(|rule| rule.denies())
    };
    let (mut allowed, mut denied, mut by_default) = (0_u64, 0_u64, 0_u64);
    let mut turn = 0;
    let began = clock::monotonic();
    let end = Duration::from_secs_f64(args.seconds);
    while elapsed(began) < end {
        for _ in 0..256 {
            match ask(turn) {
                Some(false) => allowed += 1,
                Some(true) => denied += 1,
                None => by_default += 1,
            }
            turn += 1;
        }
    }
    let seconds = elapsed(began).as_secs_f64();
    println!(
        "{{\"rules\": {}, \"services\": {services}, \"per_second\": {:.0}, \"microseconds\": {:.3}, \"allowed\": {allowed}, \"denied\": {denied}, \"default\": {by_default}}}",
        args.rules,
        turn as f64 / seconds,
        seconds * 1e6 / turn as f64,
    );
}

fn elapsed(began: Instant) -> Duration {
    clock::monotonic().saturating_duration_since(began)
}

fn policy(rules: usize, services: usize) -> Policy {
    let mut text = String::new();
    for number in 0..rules {
        let service = number % services;
        let (first, second) = (number % 500, (number * 7) % 500);
        let hours = if number % 4 == 0 {
            ", time = [\"mon-fri 06:00-22:00 Europe/Berlin\"]"
        } else {
            ""
        };
        let ruling = if number % 10 == 9 {
            "deny = true"
        } else {
            "require = { all = [\"password\", \"totp\"] }"
        };
        text += &format!(
            "[[rule]]\nname = \"rule {number}\"\nwhen = {{ service = [\"service-{service}\"], source = [\"10.0.0.0/8\", \"192.0.2.0/24\"], group = [\"cn=group-{first},ou=groups,dc=example,dc=org\", \"group-{second}\"]{hours} }}\n{ruling}\n"
        );
    }
    let mut faults = Faults::default();
    let policy = policy::parse(
        &[Source::new(Path::new("bench.toml"), text)],
        Dictionary::shipped(),
        &mut faults,
    );
    assert!(!faults.any_errors(), "{faults}");
    policy
}

/// In twenty groups; only a few of them are any that rules ask about.
fn person(number: usize, rules: usize) -> Person {
    let named = |place: usize| format!("cn=other-{place},ou=groups,dc=example,dc=org");
    let mut groups: Vec<String> = (0..19).map(|place| named(number * 19 + place)).collect();
    groups.push(format!(
        "cn=group-{},ou=groups,dc=example,dc=org",
        number * 31 % rules.clamp(1, 500)
    ));
    Person {
        key: UserKey::new("corp", &number.to_string()),
        directory: "corp".into(),
        dn: format!("uid=user{number:05},ou=people,dc=example,dc=org"),
        login: format!("user{number:05}"),
        groups,
        attributes: Default::default(),
        enabled: true,
        manager: None,
        sso_managed: None,
    }
}

fn origin(service: usize) -> Origin {
    Origin {
        protocol: Protocol::Radius,
        service: format!("service-{service}").into(),
        client: format!("client-{service}").into(),
        directory: "corp".into(),
        source: [10, 1, 2, 3].into(),
        nas_identifier: None,
        calling_station: None,
        called_station: None,
        listener: None,
        application: None,
        transport: Transport::Udp,
        service_account: None,
        manner: Manner::default(),
    }
}

/// A prime, so that people and services meet in all ways.
const PEOPLE: usize = 997;
