//! Policies as operators work with them: checked, compared, kept, taken back, tried on what was.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::clock::{self, Timestamp};
use portcullis::engine::batch::Batch;
use portcullis::engine::event::{AuditEvent, Context, Outcome};
use portcullis::engine::request::Transport;
use portcullis::keyring::Keyring;
use portcullis::store::sled::SledStore;
use portcullis::store::{Durability, Store as _};
use serde_json::Value;

use crate::support::portcullis::{PASSWORD_ONLY, Portcullis, find};
use crate::support::process::{text, until};
use crate::support::radclient::Reply;
use crate::support::slapd::{Slapd, password, user};

const OPEN: &str = "[[rule]]\nname = \"open\"\nrequire = \"password\"\n";
const CLOSED: &str = "[[rule]]\nname = \"closed\"\ndeny = true\n";

fn succeeds(site: &Portcullis, arguments: &[&str]) -> String {
    let output = site.cli(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn enters(site: &Portcullis) -> bool {
    site.radclient(PASSWORD_ONLY).login(&user(1), &password(1)) == Reply::Accept
}

/// Number, why and by whom of each version, the newest first.
fn versions(site: &Portcullis) -> Vec<(u64, String, bool)> {
    let listed = site.json(&["policy", "versions"]);
    let row = |version: &Value| {
        let why = version["why"].as_str().unwrap().to_owned();
        (
            version["version"].as_u64().unwrap(),
            why,
            version["in_force"].as_bool().unwrap(),
        )
    };
    listed.as_array().unwrap().iter().map(row).collect()
}

fn row(number: u64, why: &str, in_force: bool) -> (u64, String, bool) {
    (number, why.to_owned(), in_force)
}

/// A folder of policies beside the installation's own.
fn draft(site: &Portcullis, name: &str, rules: &str) -> PathBuf {
    let folder = site.path(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("10-draft.toml"), rules).unwrap();
    folder
}

fn as_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_version_is_kept_and_can_be_put_back() {
    let directory = Slapd::start(3);
    let mut site = Portcullis::install(&directory);
    site.write_policy(OPEN);
    fs::write(site.path("policies/README"), "not a policy").unwrap();
    site.serve();
    assert_eq!(versions(&site), [row(1, "start", true)]);
    assert!(enters(&site));

    site.write_policy(CLOSED);
    succeeds(&site, &["reload"]);
    assert!(!enters(&site));
    succeeds(&site, &["reload"]);
    assert_eq!(versions(&site), [row(2, "reload", true), row(1, "start", false)]);
    site.write_policy("[[rule]]\nname = \"broken\"\nrequire = \"pasword\"\n");
    assert!(!site.cli(&["reload"]).status.success());
    assert_eq!(versions(&site).len(), 2, "what was refused was never in force");

    let shown = succeeds(&site, &["policy", "show", "1"]);
    assert!(
        shown.contains("== 10-test.toml") && shown.contains("name = \"open\""),
        "{shown}"
    );
    let told = succeeds(&site, &["policy", "diff", "1", "2"]);
    assert!(
        told.contains("rule \"closed\" added") && told.contains("rule \"open\" removed"),
        "{told}"
    );
    let difference = site.json(&["policy", "diff", "1", "2"]);
    assert_eq!(difference["rules"].as_array().unwrap().len(), 2, "{difference}");

    // The broken files were in no version: they are kept.
    let rolled = site.json(&["policy", "rollback", "1", "--yes"]);
    let kept = PathBuf::from(rolled["kept"].as_str().unwrap());
    assert!(
        fs::read_to_string(kept.join("10-test.toml"))
            .unwrap()
            .contains("pasword")
    );
    assert!(enters(&site));
    assert_eq!(fs::read_to_string(site.path("policies/10-test.toml")).unwrap(), OPEN);
    assert_eq!(
        fs::read_to_string(site.path("policies/README")).unwrap(),
        "not a policy"
    );
    let listed = site.json(&["policy", "versions"]);
    assert_eq!(
        (&listed[0]["why"], &listed[0]["of"]),
        (&"rollback".into(), &1.into()),
        "{listed}"
    );
    let audit = site.audit().join("\n");
    assert!(
        audit.contains("policy.change") && audit.contains("rollback to version 1: policies "),
        "{audit}"
    );
    assert!(
        audit.contains("-> "),
        "the reload names the policies before and after: {audit}"
    );

    site.kill_and_serve();
    assert!(enters(&site), "a restart keeps it");
    assert_eq!(
        versions(&site)[0],
        row(3, "rollback", true),
        "the same is not kept again"
    );
    let back = site.json(&["policy", "rollback", "2", "--yes"]);
    assert!(back["kept"].is_null(), "{back}");
    assert!(!enters(&site));
}

#[test]
fn a_rollback_that_cannot_be_changes_nothing() {
    let directory = Slapd::start(3);
    let mut site = Portcullis::install(&directory);
    let configuration = fs::read_to_string(site.configuration_file()).unwrap();
    let by_mail = "[[rule]]\nname = \"mail\"\nrequire = { all = [\"password\", \"email-code\"] }\n";
    let delivery = "[[delivery]]\nname = \"mail\"\nkind = \"smtp\"\nserver = \"localhost:2525\"\ntls = \"none\"\n\
                    from = \"codes@example.org\"\n";
    site.configure(&format!("{configuration}\n{delivery}"));
    site.write_policy(by_mail);
    site.serve();
    site.write_policy(CLOSED);
    succeeds(&site, &["reload"]);
    assert_eq!(site.cli(&["policy", "rollback", "9", "--yes"]).status.code(), Some(5));
    let unasked = site.cli(&["policy", "rollback", "1"]);
    assert_eq!(
        unasked.status.code(),
        Some(2),
        "nobody is there to be asked: {}",
        text(&unasked)
    );
    // Nothing sends codes any more.
    site.configure(&configuration);
    succeeds(&site, &["reload"]);
    let refused = site.cli(&["policy", "rollback", "1", "--yes"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    let said = text(&refused);
    assert!(
        said.contains("does not fit the configuration") && said.contains("no [[delivery]]"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(site.path("policies/10-test.toml")).unwrap(), CLOSED);
    assert!(!enters(&site));
    assert_eq!(versions(&site).len(), 2);
    let left: Vec<String> = fs::read_dir(site.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("policies"))
        .collect();
    assert_eq!(left, ["policies"]);
}

/// Whenever the process dies in a rollback, the folder is that of one version, it starts with it, and the audit is whole.
#[test]
fn a_rollback_that_is_killed_leaves_one_version_or_the_other() {
    let directory = Slapd::start(3);
    let mut site = Portcullis::install(&directory);
    let set = |site: &Portcullis, rule: &str| {
        for number in 10..40 {
            let name = format!("policies/{number}-more.toml");
            fs::write(
                site.path(&name),
                rule.replace("name = \"", &format!("name = \"{number} ")),
            )
            .unwrap();
        }
        site.write_policy(rule);
    };
    set(&site, OPEN);
    site.serve();
    set(&site, CLOSED);
    succeeds(&site, &["reload"]);
    let mut target = 1;
    for round in 0..12_u64 {
        let mut command = site.command();
        let socket = site.path("state/admin.sock");
        command
            .args(["policy", "rollback", &target.to_string(), "--yes", "--socket"])
            .arg(socket);
        let asking = std::thread::spawn(move || command.output().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(round * 7));
        site.kill();
        let answered = asking.join().unwrap().status.success();
        site.serve();
        let files = fs::read_dir(site.path("policies")).unwrap();
        let texts: Vec<String> = files
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        let open = texts.iter().filter(|text| text.contains("require")).count();
        assert!(
            texts.len() == 31 && (open == 0 || open == 31),
            "a part of each: {open} of {}",
            texts.len()
        );
        assert_eq!(enters(&site), open > 0, "what is in the folder is in force");
        if answered {
            assert_eq!(open > 0, target == 1, "what was answered is kept");
        }
        if open > 0 && target == 1 || open == 0 && target == 2 {
            let audit = site.audit().join("\n");
            assert!(audit.contains(&format!("rollback to version {target}")), "{audit}");
            target = 3 - target;
        }
        succeeds(&site, &["audit", "verify"]);
    }
}

#[test]
fn folders_are_checked_and_compared_without_being_taken() {
    let directory = Slapd::start(3);
    let mut site = Portcullis::install(&directory);
    site.write_policy(OPEN);
    site.serve();
    let faulty = draft(
        &site,
        "draft",
        "[[rule]]\nname = \"a\"\nwhen = { service = [\"vnp\"] }\nrequire = \"pasword\"\n",
    );
    let checked = site.cli(&["policy", "check", as_text(&faulty)]);
    assert_eq!(checked.status.code(), Some(2), "{}", text(&checked));
    let place = format!("{}/10-draft.toml:4:11: rule[0].require", faulty.display());
    assert!(text(&checked).contains(&place), "{}", text(&checked));
    let sound = draft(
        &site,
        "sound",
        "[[rule]]\nname = \"a\"\nwhen = { service = [\"appendd\"] }\nrequire = \"password\"\n",
    );
    let checked = succeeds(&site, &["policy", "check", as_text(&sound)]);
    assert!(
        checked
            .contains("10-draft.toml:3:21: warning: rule[0].when.service[0]: rule \"a\" is about service \"appendd\"")
            && checked.contains("did you mean `append`?"),
        "{checked}"
    );
    let told = succeeds(&site, &["policy", "diff", as_text(&sound)]);
    assert!(
        told.contains("--- in force (") && told.contains("rule \"a\" added"),
        "{told}"
    );
    assert!(succeeds(&site, &["policy", "diff"]).contains("are the same"));
    let nowhere = site.cli(&["policy", "check", "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", text(&nowhere));
    assert!(enters(&site));
    // What was written out is what was kept.
    succeeds(&site, &["policy", "show", "1", "--to", as_text(&site.path("written"))]);
    assert_eq!(fs::read_to_string(site.path("written/10-test.toml")).unwrap(), OPEN);
    let again = site.cli(&["policy", "show", "1", "--to", as_text(&site.path("written"))]);
    assert_eq!(again.status.code(), Some(2), "it is not empty: {}", text(&again));
}

#[test]
fn an_explanation_is_a_tree_that_says_what_is_missing() {
    let directory = Slapd::start(3);
    let mut site = Portcullis::install(&directory);
    site.write_policy(
        "[[rule]]\nname = \"gate\"\nwhen = { nas_identifier = [\"gate-2\"] }\nrequire = { all = [\"password\", \"totp\"] }\n\
         max_sessions = 1\n[rule.reply]\nSession-Timeout = 60\n",
    );
    site.serve();
    let asked = ["policy", "explain", &user(1), "--client", "vpn"];
    let with = |more: &[&'static str]| [&asked[..], more].concat();
    let told = succeeds(&site, &asked);
    assert!(
        told.contains("`- - nas_identifier is gate-2: missing [(not known)]"),
        "{told}"
    );
    let gate = ["--nas-identifier", "gate-2"];
    let explained = site.json(&with(&[&gate[..], &["--with", "password"]].concat()));
    assert_eq!(
        (&explained["decision"], &explained["enough"]),
        (&"deny".into(), &false.into()),
        "{explained}"
    );
    let told = succeeds(&site, &with(&[&gate[..], &["--with", "password"]].concat()));
    assert!(
        told.contains("- password and totp: totp missing (not enrolled: totp)"),
        "{told}"
    );
    assert!(told.contains("Session-Timeout = 60"), "{told}");
    site.enrol(&user(1));
    let explained = site.json(&with(&[&gate[..], &["--with", "password,totp"]].concat()));
    assert_eq!(
        (&explained["decision"], &explained["enough"]),
        (&"allow".into(), &true.into()),
        "{explained}"
    );
    assert_eq!(explained["proofs"][0]["proofs"][1]["enrolled"], true, "{explained}");
    assert!(!site.cli(&with(&["--with", "passwort"])).status.success());
    for _ in 0..20 {
        site.radclient("127.0.0.1").login(&user(1), "wrong,000000");
    }
}

const OLD: &str = r#"
[[rule]]
name = "visitors"
when = { user = ["user00005"] }
deny = true

[[rule]]
name = "staff"
when = { service = ["vpn"] }
require = { all = ["password", { any = ["totp", "recovery-code"] }] }

[[rule]]
name = "door"
when = { service = ["door"] }
require = "password"
"#;

/// The door wants a code of everybody but one; visitors may come, one of the staff may not, recovery codes are no more.
const NEW: &str = r#"
[[rule]]
name = "gone"
when = { user = ["user00002"] }
deny = true

[[rule]]
name = "staff"
when = { service = ["vpn"] }
require = { all = ["password", "totp"] }

[[rule]]
name = "porter"
when = { service = ["door"], user = ["user00003"], source = ["127.0.0.0/8"] }
require = "password"

[[rule]]
name = "door with a code"
when = { service = ["door"] }
require = { all = ["password", "totp"] }
"#;

/// A month of logins whose differences are known: ten people, every ninety minutes one of them.
#[test]
fn a_month_of_logins_is_decided_again() {
    let directory = Slapd::start(12);
    let mut site = Portcullis::install(&directory);
    site.write_policy(OLD);
    site.serve();
    let keys: Vec<String> = (1..=8)
        .map(|number| {
            let shown = site.json(&["user", "show", &user(number)]);
            find(&shown, "key").and_then(Value::as_str).expect("a key").to_owned()
        })
        .collect();
    site.terminate();

    let now = clock::now();
    let of = |number: usize, index: u64, service: &str, factors: &[&str], outcome: Outcome, reason: Option<&str>| {
        AuditEvent {
            at: Timestamp::from_millis(now.millis() - 29 * 86_400_000 + index * 200_000),
            action: "login".into(),
            actor: user(number),
            target: Some(keys[number - 1].clone()),
            via: "radius".into(),
            client: Some(service.into()),
            source: Some([127, 0, 0, 1].into()),
            rule: None,
            factors: factors.iter().map(|word| (*word).to_owned()).collect(),
            outcome,
            reason: reason.map(ToOwned::to_owned),
            context: Some(Box::new(Context {
                directory: "main".into(),
                service: service.into(),
                transport: Transport::Udp,
                listener: None,
                application: None,
                nas_identifier: None,
                called_station: None,
                calling_station: None,
            })),
        }
    };
    let accept = |number, index, service, factors: &[&str]| of(number, index, service, factors, Outcome::Accept, None);
    let mut events = Vec::new();
    for round in 0..600 {
        let index = round * 7;
        events.extend([
            accept(1, index, "vpn", &["password", "totp"]),
            accept(2, index + 1, "vpn", &["password", "totp"]),
            accept(3, index + 2, "door", &["password"]),
            accept(4, index + 3, "door", &["password"]),
            of(5, index + 4, "vpn", &[], Outcome::Reject, Some("policy")),
            accept(6, index + 5, "vpn", &["password", "recovery-code"]),
            of(7, index + 6, "vpn", &[], Outcome::Reject, Some("wrong-code")),
        ]);
    }
    // What cannot be decided: no details, a name of nobody, somebody who is gone, and records about something else.
    let plain = accept(1, 0, "vpn", &["password", "totp"]);
    events.push(AuditEvent {
        context: None,
        ..plain.clone()
    });
    events.push(AuditEvent {
        target: None,
        ..plain.clone()
    });
    events.push(AuditEvent {
        actor: "left-last-week".into(),
        target: Some("main:left".into()),
        ..plain.clone()
    });
    events.push(AuditEvent {
        target: Some("main:somebody-else".into()),
        ..plain.clone()
    });
    events.push(AuditEvent {
        action: "token.enrol".into(),
        ..plain
    });
    let total = events.len();
    write(&site, events);

    site.serve();
    let new = draft(&site, "draft", NEW);
    let report = site.json(&["policy", "replay", "--since", "30d", as_text(&new)]);
    let counts = &report["counts"];
    for (name, expected) in [
        ("logins", 7 * 600 + 4),
        ("decided", 7 * 600),
        ("loses", 600),
        ("gains", 600),
        ("needs_more", 1200),
        ("still_enough", 600),
        ("other_proofs", 600),
        ("other_rule", 600),
        ("same", 0),
    ] {
        assert_eq!(counts[name], expected, "{name}: {counts}");
    }
    assert!(counts["records"].as_u64().unwrap() >= total as u64, "{counts}");
    for (name, expected) in [
        ("no_context", 1),
        ("nobody", 1),
        ("gone", 2),
        ("unreachable", 0),
        ("unknown", 0),
    ] {
        assert_eq!(counts["undecidable"][name], expected, "{name}: {counts}");
    }
    assert_eq!(counts["since_then"]["now_refused"], 0, "{counts}");
    let people = report["people"].as_array().unwrap();
    let told: Vec<(&str, &str, &str, u64)> = people
        .iter()
        .map(|one| {
            let word = |key: &str| one[key].as_str().unwrap_or("none");
            (
                word("user"),
                word("effect"),
                word("new_rule"),
                one["logins"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [
        (user(2), "loses", "gone", 600),
        (user(5), "gains", "staff", 600),
        (user(4), "needs-more", "door with a code", 600),
        (user(6), "needs-more", "staff", 600),
        (user(1), "still-enough", "staff", 600),
        (user(7), "other-proofs", "staff", 600),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (one, (name, effect, rule, logins)) in told.iter().zip(&expected) {
        assert_eq!(one, &(name.as_str(), *effect, *rule, *logins), "{told:?}");
    }

    let one = site.json(&["policy", "replay", "--since", "30d", "--user", &user(2), as_text(&new)]);
    assert_eq!(
        (&one["counts"]["logins"], &one["counts"]["loses"]),
        (&600.into(), &600.into()),
        "{one}"
    );
    let none = site.json(&["policy", "replay", "--since", "60d", "--until", "40d", as_text(&new)]);
    assert_eq!(none["counts"]["logins"], 0, "{none}");
    let shown = succeeds(&site, &["policy", "replay", "--since", "30d", as_text(&new)]);
    assert!(
        shown.contains("loses access") && shown.contains("door with a code: password and totp"),
        "{shown}"
    );
    // What has changed meanwhile is told apart from what would change.
    site.write_policy(CLOSED);
    succeeds(&site, &["reload"]);
    let since = site.json(&["policy", "replay", "--since", "30d", as_text(&new)]);
    assert_eq!(since["counts"]["since_then"]["now_refused"], 5 * 600, "{since}");
    let broken = draft(&site, "broken", "[[rule]]\nname = \"a\"\n");
    let refused = site.cli(&["policy", "replay", "--since", "30d", as_text(&broken)]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    until("it still serves", || site.cli(&["status"]).status.success());
}

/// Appends to the audit of an installation that does not run.
fn write(site: &Portcullis, events: Vec<AuditEvent>) {
    let keyring = Arc::new(Keyring::load(&site.path("state/portcullis.key")).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SledStore::open(&site.path("state/store"), 1 << 24, keyring).unwrap();
        for few in events.chunks(100) {
            let batch = Batch {
                audit: few.to_vec(),
                ..Batch::default()
            };
            store.commit(batch, Durability::Durable).await.unwrap();
        }
        store.close().await.unwrap();
    });
}
