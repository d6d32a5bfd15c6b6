//! RADIUS logins, as radclient sees them.

use std::fs;

use crate::support::portcullis::{APPEND, DIALOG, PASSWORD_ONLY, Portcullis, find};
use crate::support::process::free_port;
use crate::support::radclient::{Radclient, Reply, request};
use crate::support::slapd::{Slapd, password, user};
use crate::support::totp::{code, wrong_code};

#[test]
fn a_password_alone_is_judged_by_the_directory() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let door = site.radclient(PASSWORD_ONLY);
    assert_eq!(door.login(&user(1), &password(1)), Reply::Accept);
    assert_eq!(door.login(&user(2), "wrong"), Reply::Reject);
    assert_eq!(door.login("nobody", "wrong"), Reply::Reject);
    assert_eq!(door.login(&user(2), &password(1)), Reply::Reject, "another's password");
    // One person, however the name is written; and nobody's name is a filter.
    assert_eq!(door.login("  USER00003 ", &password(3)), Reply::Accept);
    assert_eq!(door.login("user0000*", &password(4)), Reply::Reject);
    assert_eq!(door.login("user00005)(uid=*", &password(5)), Reply::Reject);
    assert_eq!(directory.failures(2), 2);
    assert!(!site.log().contains(&password(1)), "no password in the log");
}

#[test]
fn a_code_is_asked_for_and_then_both_are_judged() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let vpn = site.radclient(DIALOG);

    let challenge = vpn.login(&user(1), &password(1));
    let Reply::Challenge { ref text, .. } = challenge else {
        panic!("{challenge:?}")
    };
    assert_eq!(text, "Enter the 6-digit code");
    let right = code(&seed, 0);
    assert_eq!(vpn.answer(&user(1), &right, &challenge), Reply::Accept);

    let again = vpn.login(&user(1), &password(1));
    assert_ne!(
        vpn.answer(&user(1), &right, &again),
        Reply::Accept,
        "a code is right once"
    );
    let again = vpn.login(&user(1), &password(1));
    assert_eq!(vpn.answer(&user(1), &code(&seed, 1), &again), Reply::Accept);
}

#[test]
fn the_dialog_tells_nobody_what_was_wrong() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let vpn = site.radclient(DIALOG);
    let text = |reply: &Reply| {
        let Reply::Challenge { text, .. } = reply else {
            panic!("no challenge: {reply:?}")
        };
        text.clone()
    };
    let right = text(&vpn.login(&user(1), &password(1)));
    for (name, typed) in [
        (user(1), "wrong".to_owned()),
        (user(2), password(2)),
        ("nobody".to_owned(), password(1)),
    ] {
        let challenge = vpn.login(&name, &typed);
        assert_eq!(text(&challenge), right, "{name}");
        assert_ne!(vpn.answer(&name, "000000", &challenge), Reply::Accept, "{name}");
    }
    assert_eq!(directory.failures(1), 0, "a wrong code never reaches the directory");

    // With the right code, the wrong password is tried once.
    let challenge = vpn.login(&user(1), "wrong");
    assert_eq!(vpn.answer(&user(1), &code(&seed, 0), &challenge), Reply::Reject);
    assert_eq!(directory.failures(1), 1);
}

#[test]
fn a_dialog_goes_on_for_its_owner_only() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let (one, two) = (site.enrol(&user(1)), site.enrol(&user(2)));
    let vpn = site.radclient(DIALOG);
    let challenge = vpn.login(&user(1), &password(1));
    let right = code(&two, 0);
    assert_eq!(vpn.answer(&user(2), &right, &challenge), Reply::Reject);
    // Nothing was consumed by that: neither the other's code nor the dialog.
    let theirs = vpn.login(&user(2), &password(2));
    assert_eq!(vpn.answer(&user(2), &right, &theirs), Reply::Accept);
    assert_eq!(vpn.answer(&user(1), &code(&one, 0), &challenge), Reply::Accept);
    // From another client's address it means nothing.
    let challenge = vpn.login(&user(1), &password(1));
    let stolen = site.radclient(APPEND).answer(&user(1), &code(&one, 1), &challenge);
    assert_eq!(stolen, Reply::Reject);
    // Nor does one that nobody made.
    let made_up = Reply::Challenge {
        state: format!("0x{}", "ab".repeat(80)),
        text: String::new(),
    };
    assert_eq!(vpn.answer(&user(1), &code(&one, 1), &made_up), Reply::Reject);
}

#[test]
fn a_code_stands_behind_the_password_where_the_client_cannot_ask() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let append = site.radclient(APPEND);
    assert_eq!(append.login(&user(1), &password(1)), Reply::Reject);
    let wrong = format!("{},{}", password(1), wrong_code(&seed));
    assert_eq!(append.login(&user(1), &wrong), Reply::Reject);
    assert_eq!(directory.failures(1), 0, "neither was tried in the directory");
    let right = format!("{},{}", password(1), code(&seed, 0));
    assert_eq!(append.login(&user(1), &right), Reply::Accept);
    assert_eq!(append.login(&user(1), &right), Reply::Reject, "a code is right once");
    assert_eq!(directory.failures(1), 0);
}

#[test]
fn recovery_codes_and_passcodes_stand_in_for_a_lost_token() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    site.enrol(&user(1));
    let append = site.radclient(APPEND);
    let login = |code: &str| append.login(&user(1), &format!("{},{code}", password(1)));

    let made = site.json(&["recovery-codes", "new", &user(1)]);
    let codes = find(&made, "codes").and_then(|codes| codes.as_array()).unwrap();
    assert_eq!(codes.len(), 10);
    let first = codes[0].as_str().unwrap();
    assert_eq!(login(first), Reply::Accept);
    assert_eq!(login(first), Reply::Reject, "used once");
    assert_eq!(login(codes[1].as_str().unwrap()), Reply::Accept);

    let issued = site.json(&["passcode", "issue", &user(1)]);
    let passcode = find(&issued, "code").and_then(|code| code.as_str()).unwrap();
    assert_eq!(login(passcode), Reply::Accept);
    assert_eq!(login(passcode), Reply::Reject, "used once");
    let audit = site.audit().join("\n");
    assert!(
        !audit.contains(passcode) && !audit.contains(first),
        "no secrets in the audit"
    );
}

#[test]
fn clients_are_held_to_their_message_authenticator() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let bare = request(&user(1), &password(1), None).replace("Message-Authenticator = 0x00\n", "");
    let door = site.radclient(PASSWORD_ONLY);
    assert_eq!(door.ask_in_vain(&bare, 2), Reply::Silence, "required by default");
    assert_eq!(
        site.radclient("127.0.0.77")
            .ask_in_vain(&request(&user(1), &password(1), None), 2),
        Reply::Silence
    );
    assert_eq!(door.login(&user(1), &password(1)), Reply::Accept);
    let vpn = site.radclient(DIALOG);
    assert!(
        matches!(vpn.ask(&bare), Reply::Challenge { .. }),
        "this client's entry says no"
    );
    assert!(door.status());
}

#[test]
fn several_listeners_of_both_families_at_once() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::install(&directory);
    let (second, port) = (free_port(), site.radius());
    let configuration = fs::read_to_string(site.configuration_file()).unwrap();
    let listeners = format!(
        "[[radius]]\nname = \"six\"\nlisten = \"[::1]:{port}\"\n\n[[radius]]\nname = \"any\"\nlisten = \"0.0.0.0:{second}\"\n\n\
         [[radius]]\nname = \"any-six\"\nlisten = \"[::]:{second}\"\n\n[[radius]]\n"
    );
    let configuration = configuration.replacen("[[radius]]\n", &listeners, 1).replacen(
        "[\"127.0.0.3\"]",
        "[\"127.0.0.3\", \"::1\"]",
        1,
    );
    site.configure(&configuration);
    site.serve();
    let doors = [
        site.radclient(PASSWORD_ONLY),
        Radclient::to(port).over_ipv6(),
        Radclient::to(second).from(PASSWORD_ONLY),
        Radclient::to(second).over_ipv6(),
    ];
    for (number, door) in (1..).zip(&doors) {
        assert_eq!(door.login(&user(number), &password(number)), Reply::Accept, "{door:?}");
        assert_eq!(door.login(&user(number), "wrong"), Reply::Reject, "{door:?}");
        assert!(door.status());
    }
    let door = site.json(&["client", "show", "door"]);
    assert_eq!((&door["requests"], &door["dropped"]), (&8.into(), &0.into()));
    let tested = site.json(&["client", "test", "door"])["findings"].clone();
    let answers = |finding: &&serde_json::Value| finding["text"].as_str().unwrap().contains("answers Status-Server");
    assert_eq!(tested.as_array().unwrap().iter().filter(answers).count(), 4, "{tested}");
}
