use std::path::Path;

use super::*;
use crate::dictionary::Dictionary;
use crate::engine::policy::parse;

fn place(protocol: Protocol, name: &str, sources: &[&str]) -> Place {
    Place {
        protocol,
        client: name.into(),
        service: name.into(),
        directory: "corp".into(),
        transports: match protocol {
            Protocol::Radius => vec![Transport::Udp, Transport::Tcp],
            Protocol::Ldap => vec![Transport::Tls],
        },
        sources: sources.iter().map(|net| net.parse().unwrap()).collect(),
        dialog: protocol == Protocol::Radius,
    }
}

/// What is found in a policy, each without what stands before the rule.
fn found(text: &str) -> Vec<String> {
    let site = Site {
        places: vec![
            place(Protocol::Radius, "vpn", &["192.0.2.0/28"]),
            place(Protocol::Radius, "wifi", &["198.51.100.7/32"]),
            place(Protocol::Ldap, "wiki", &[]),
        ],
        directories: vec!["corp".into()],
        ..Site::default()
    };
    let sources = [Source::new(Path::new("p.toml"), text)];
    let mut faults = Faults::default();
    let policy = parse(&sources, Dictionary::shipped(), &mut faults);
    assert!(!faults.any_errors(), "{faults}");
    check(&sources, &policy, &site, &mut faults);
    faults.0.iter().map(ToString::to_string).collect()
}

fn rules(list: &[&str]) -> String {
    let rule = |(number, rest): (usize, &&str)| format!("[[rule]]\nname = \"r{number}\"\n{rest}\n");
    list.iter().enumerate().map(rule).collect()
}

#[track_caller]
fn finds(list: &[&str], expected: &str) {
    let found = found(&rules(list));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains(expected), "{found:#?}");
}

#[track_caller]
fn finds_nothing(list: &[&str]) {
    let found = found(&rules(list));
    assert!(found.is_empty(), "{found:#?}");
}

const PASSWORD: &str = "require = \"password\"";
const BOTH: &str = "require = { all = [\"password\", \"totp\"] }";

fn with(conditions: &str, ruling: &str) -> String {
    format!("{conditions}\n{ruling}")
}

#[test]
fn rules_that_contradict_themselves_are_found() {
    finds(
        &[&with(
            "when = { source = [\"10.0.0.0/23\"] }\nunless = { source = [\"10.0.0.0/8\"] }",
            PASSWORD,
        )],
        "p.toml:4:21: warning: rule[0].unless.source: never applies: whatever `when` lets through (source is 10.0.0.0/23), \
         `unless` leaves out (source is 10.0.0.0/8); take one of them away",
    );
    let halves = "unless = { source = [\"10.0.0.0/24\", \"10.0.1.0/24\"] }";
    finds(
        &[&with(
            &format!("when = {{ source = [\"10.0.0.0/23\"] }}\n{halves}"),
            PASSWORD,
        )],
        "never applies",
    );
    finds(
        &[&with(
            "when = { group = [\"staff\"] }\nunless = { group = [\"Staff\", \"admins\"] }",
            PASSWORD,
        )],
        "rule[0].unless.group: never applies",
    );
    finds(
        &[&with(
            "when = { protocol = [\"ldap\"], nas_identifier = [\"door\"] }",
            PASSWORD,
        )],
        "rule[0].when.nas_identifier: never applies: LDAP has no `nas_identifier`",
    );
    // What may be so, and what a missing datum makes so.
    finds_nothing(&[&with(
        "when = { source = [\"10.0.0.0/8\"] }\nunless = { source = [\"10.1.0.0/16\"] }",
        PASSWORD,
    )]);
    finds_nothing(&[&with(
        "when = { group = [\"staff\", \"guests\"] }\nunless = { group = [\"staff\"] }",
        PASSWORD,
    )]);
    finds_nothing(&["when = { nas_identifier = [\"x\"] }\nunless = { nas_identifier = [\"x\"] }\ndeny = true"]);
    finds_nothing(&["when = { protocol = [\"ldap\"], nas_identifier = [\"door\"] }\ndeny = true"]);
}

#[test]
fn names_of_nothing_are_found_with_what_was_meant() {
    finds(
        &[&with("when = { service = [\"vpn\", \"wikki\"] }", PASSWORD)],
        "p.toml:3:28: warning: rule[0].when.service[1]: rule \"r0\" is about service \"wikki\", which there is none of; did \
         you mean `wiki`?",
    );
    finds(
        &["unless = { client = [\"gate\"] }\ndeny = true"],
        "about client \"gate\", which there is none of",
    );
    finds(
        &[&with("when = { directory = [\"crop\"] }", PASSWORD)],
        "did you mean `corp`?",
    );
    finds_nothing(&[&with(
        "when = { service = [\"VPN\"], client = [\"vpn\"], directory = [\"corp\"] }",
        PASSWORD,
    )]);
}

#[test]
fn rules_that_no_client_can_come_to_are_found() {
    for conditions in [
        "when = { service = [\"wiki\"], client = [\"vpn\"] }",
        "when = { service = [\"wiki\"], protocol = [\"radius\"] }",
        "when = { client = [\"vpn\"], source = [\"10.0.0.0/8\"] }",
        "when = { service = [\"wifi\"], encrypted = true }",
        "when = { protocol = [\"ldap\"] }\nunless = { service = [\"wiki\"] }",
    ] {
        finds(
            &[&with(conditions, PASSWORD)],
            "never applies: no client and no listener",
        );
    }
    for conditions in [
        "when = { service = [\"wiki\"], source = [\"10.0.0.0/8\"] }",
        "when = { client = [\"vpn\"], source = [\"192.0.2.1\"] }",
        "when = { protocol = [\"radius\"] }\nunless = { service = [\"vpn\"] }",
    ] {
        finds_nothing(&[&with(conditions, PASSWORD)]);
    }
}

#[test]
fn rules_that_others_take_together_are_found() {
    let vpn = with("when = { service = [\"vpn\"], group = [\"staff\"] }", PASSWORD);
    let wiki = with(
        "when = { service = [\"wiki\"], group = [\"staff\", \"guests\"] }",
        PASSWORD,
    );
    let both = with("when = { service = [\"vpn\", \"wiki\"], group = [\"staff\"] }", BOTH);
    finds(
        &[&vpn, &wiki, &both],
        "p.toml:10:8: warning: rule[2].name: rule \"r2\" is never reached: rules \"r0\" (p.toml:1), \"r1\" (p.toml:5) \
         together match everything that it would; put it before them, or remove it",
    );
    finds_nothing(&[&vpn, &both]);
    // All values of what has few.
    let clear = with("when = { encrypted = false }", PASSWORD);
    let sealed = with("when = { encrypted = true, protocol = [\"ldap\"] }", PASSWORD);
    let radius = with("when = { protocol = [\"radius\"] }", PASSWORD);
    finds(
        &[&clear, &sealed, &radius, PASSWORD],
        "rules \"r0\" (p.toml:1), \"r1\" (p.toml:5), \"r2\" (p.toml:9) together",
    );
    finds_nothing(&[&clear, &sealed, PASSWORD]);
    // Rules that deny are tried first, wherever they stand.
    let closed = "when = { service = [\"vpn\"] }\ndeny = true";
    finds(
        &[&with("when = { service = [\"vpn\"] }", PASSWORD), closed],
        "rule \"r0\" is never reached: rule \"r1\" (p.toml:5) matches everything that it would; rules that deny are tried \
         first, so narrow that one, or remove this one",
    );
    let by_name = |ruling: &str| with("when = { nas_identifier = [\"gate\"] }", ruling);
    finds(
        &[&by_name(PASSWORD), &by_name("deny = true")],
        "rule \"r0\" is never reached: rule \"r1\"",
    );
    // Exceptions of one are exceptions of the other.
    let except = |nets: &str| {
        with(
            &format!("when = {{ service = [\"vpn\"] }}\nunless = {{ source = [{nets}] }}"),
            PASSWORD,
        )
    };
    finds(
        &[&except("\"192.0.2.1\""), &except("\"192.0.2.0/30\"")],
        "never reached",
    );
    finds_nothing(&[&except("\"192.0.2.0/30\""), &except("\"192.0.2.1\"")]);
}

#[test]
fn accounts_without_a_code_from_everywhere_are_found() {
    let account = "when = { user = [\"svc-backup\"] }";
    let staff = with("when = { group = [\"staff\"] }", BOTH);
    finds(
        &[&with(account, PASSWORD), &staff],
        "p.toml:3:17: warning: rule[0].when.user: rule \"r0\" lets listed accounts in with the password alone from \
         everywhere, where rule \"r1\" (p.toml:5) asks others for more; say where they come from",
    );
    finds_nothing(&[
        &with("when = { user = [\"svc\"], source = [\"10.0.0.7\"] }", PASSWORD),
        &staff,
    ]);
    finds_nothing(&[&with(account, PASSWORD), PASSWORD]);
    finds_nothing(&[
        &with("when = { user = [\"svc\"], service = [\"wiki\"] }", PASSWORD),
        &with("when = { service = [\"vpn\"] }", BOTH),
    ]);
}

#[test]
fn prompts_that_tell_somebody_from_nobody_are_found() {
    let staff = with("when = { group = [\"staff\"] }", BOTH);
    let admins = |prompt: &str| {
        with(
            &format!("when = {{ group = [\"admins\"], service = [\"vpn\"] }}\n{prompt}"),
            BOTH,
        )
    };
    finds(
        &[&staff, &admins("prompt = \"Touch the key\"")],
        "rule[1].prompt: rule \"r1\" asks some people in words of its own, while names of nobody are asked at client \"vpn\" \
         as by rule \"r0\"",
    );
    finds_nothing(&[&staff, &admins("")]);
    let everybody = with("prompt = \"Touch the key\"", BOTH);
    finds_nothing(&[&admins("prompt = \"Touch the key\""), &everybody]);
}
