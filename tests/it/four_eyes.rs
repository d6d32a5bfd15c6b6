//! Passcodes in two halves: issued by one operator, released by another, typed at a VPN.

use serde_json::Value;

use crate::support::operators::{self, CLERK, LEAD, MANAGER, cli_as, json_as, refused_as};
use crate::support::portcullis::{DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::radclient::Reply;
use crate::support::slapd::{Slapd, password, user};

const NEW: &str = "correct horse battery";

const CONFIGURATION: &str = "[passcodes]\nfour_eyes = true\nsecond_holder_group = \"group9\"\nlife = \"20m\"\n";

const RULES: &str = r#"
[[rule]]
name = "forgotten"
when = { operation = ["password-change"], service = ["vpn"] }
require = "passcode"
"#;

fn start() -> (Slapd, Portcullis) {
    let directory = Slapd::writable(20);
    operators::hire(&directory);
    let mut site = Portcullis::install(&directory);
    site.add(&[CONFIGURATION, operators::CONFIGURATION].concat(), RULES);
    operators::let_in(&site);
    site.serve();
    (directory, site)
}

fn field<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).expect("a field")
}

#[test]
fn two_people_hand_a_passcode_over() {
    let (_directory, mut site) = start();
    let issued = json_as(&site, CLERK, &["passcode", "issue", &user(1)]);
    let (first, id) = (field(&issued, "/code"), field(&issued, "/passcode/id"));
    assert_eq!(
        (first.len(), field(&issued, "/passcode/state")),
        (5, "waiting-for-release")
    );
    assert_eq!(field(&issued, "/second/manager"), MANAGER);

    // Everybody who types half a code is asked for the other half, and before the release nothing opens.
    let vpn = site.radclient(DIALOG);
    for name in [user(1), user(2), "nobody".to_owned()] {
        let half = vpn.login(&name, first);
        half.asks("Second part");
        assert_eq!(vpn.answer(&name, "23456", &half), Reply::Reject, "{name}");
    }

    site.kill_and_serve();
    let release = ["passcode", "release", id];
    refused_as(&site, CLERK, &release, 4);
    assert_eq!(site.cli(&release).status.code(), Some(4), "root is nobody's manager");
    refused_as(&site, MANAGER, &["passcode", "release", "nothing"], 5);
    let released = json_as(&site, MANAGER, &release);
    let second = field(&released, "/second");
    assert_eq!(field(&released, "/passcode/released_by"), MANAGER);
    refused_as(&site, MANAGER, &release, 1);

    site.kill_and_serve();
    let vpn = site.radclient(DIALOG);
    let half = vpn.login(&user(1), &first.to_lowercase());
    half.asks("Second part");
    let whole = vpn.answer(&user(1), second, &half);
    whole.asks("New password");
    let repeat = vpn.answer(&user(1), NEW, &whole);
    repeat.asks("Repeat");
    assert_eq!(
        vpn.answer(&user(1), NEW, &repeat),
        Reply::Reject,
        "changed, and to sign in anew"
    );
    let door = site.radclient(PASSWORD_ONLY);
    assert_eq!(door.login(&user(1), NEW), Reply::Accept);
    assert_eq!(door.login(&user(1), &password(1)), Reply::Reject);
    // Used up.
    let half = vpn.login(&user(1), first);
    assert_eq!(vpn.answer(&user(1), second, &half), Reply::Reject);

    let audit = site.audit().join("\n");
    for secret in [first, second, &format!("{first}{second}")] {
        assert!(!audit.contains(&format!("\"{secret}\"")) && !site.log().contains(secret));
    }
    assert_eq!(audit.matches("\"passcode.release\"").count(), 3, "{audit}");
}

#[test]
fn who_may_be_the_second() {
    let (_directory, site) = start();
    let issue = |account: &str, number: usize| {
        let issued = json_as(&site, account, &["passcode", "issue", &user(number)]);
        field(&issued, "/passcode/id").to_owned()
    };
    // A member of the group, also where there is no manager.
    let id = issue(CLERK, 8);
    refused_as(&site, MANAGER, &["passcode", "release", &id], 4);
    json_as(&site, LEAD, &["passcode", "release", &id]);
    // The manager who has issued it is the first, and not the second too.
    let id = issue(MANAGER, 2);
    refused_as(&site, MANAGER, &["passcode", "release", &id], 4);
    json_as(&site, LEAD, &["passcode", "release", &id]);
    // The whole may be typed at once.
    let issued = json_as(&site, CLERK, &["passcode", "issue", &user(3)]);
    let released = json_as(&site, MANAGER, &["passcode", "release", field(&issued, "/passcode/id")]);
    let whole = format!("{}{}", field(&issued, "/code"), field(&released, "/second"));
    site.radclient(DIALOG).login(&user(3), &whole).asks("New password");
}

#[test]
fn operators_help_others_only() {
    let (_directory, site) = start();
    site.enrol(CLERK);
    let helping: [&[&str]; 7] = [
        &["user", "unlock", CLERK],
        &["deny", CLERK, "--lift"],
        &["token", "enrol", CLERK, "--no-qr"],
        &["token", "enable", CLERK, "1"],
        &["token", "resync", CLERK, "1", "111111", "222222"],
        &["recovery-codes", "new", CLERK, "--yes"],
        &["passcode", "issue", CLERK],
    ];
    for arguments in helping {
        refused_as(&site, CLERK, arguments, 4);
        let other = cli_as(&site, MANAGER, arguments);
        assert_ne!(other.status.code(), Some(4), "{arguments:?}");
    }
    let own = cli_as(&site, CLERK, &["token", "revoke", CLERK, "1", "--yes"]);
    assert!(own.status.success(), "what harms nobody else is one's own business");
    let refusals = site.json(&[
        "audit",
        "search",
        "--oldest-first",
        "--actor",
        CLERK,
        "--outcome",
        "reject",
    ]);
    assert_eq!(refusals.as_array().map(Vec::len), Some(helping.len()), "{refusals}");
}
