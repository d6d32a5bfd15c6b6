//! Backups under load, restored; another key file; tokens of other systems.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::portcullis::{APPEND, PASSWORD_ONLY, Portcullis};
use crate::support::process::{text, until};
use crate::support::radclient::Reply;
use crate::support::slapd::{Slapd, password, user};
use crate::support::totp::{code, counted};

/// Enrols a token by counter.
fn enrol_counted(site: &Portcullis, name: &str) -> String {
    let enrolled = site.json(&["token", "enrol", name, "--kind", "hotp", "--no-qr"]);
    enrolled["seed"].as_str().unwrap().to_owned()
}

fn login(site: &Portcullis, number: usize, code: &str) -> Reply {
    let typed = format!("{},{code}", password(number));
    site.radclient(APPEND).login(&user(number), &typed)
}

#[test]
fn a_backup_under_load_is_restored_with_counters_and_chain() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::start(&directory);
    let seed = enrol_counted(&site, &user(1));
    let by_time = site.enrol(&user(2));
    let spent = code(&by_time, 0);
    assert_eq!(login(&site, 2, &spent), Reply::Accept);
    let door = site.radclient(PASSWORD_ONLY);
    for _ in 0..2 {
        assert_eq!(door.login(&user(3), "wrong"), Reply::Reject);
    }
    let failures = site.json(&["user", "show", &user(3)])["failures"]["count"].clone();

    let (over, logins, counter) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let backup = site.path("all.backup").display().to_string();
    let configuration = site.configuration_file().display().to_string();
    let mut before = 0;
    thread::scope(|scope| {
        for number in 4..8 {
            let (site, over, logins) = (&site, &over, &logins);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let reply = site.radclient(PASSWORD_ONLY).login(&user(number), &password(number));
                    assert_eq!(reply, Reply::Accept);
                    logins.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) && counter.load(Ordering::Relaxed) < 40 {
                let next = counter.load(Ordering::Relaxed);
                assert_eq!(login(&site, 1, &counted(&seed, next as u64)), Reply::Accept);
                counter.store(next + 1, Ordering::Relaxed);
            }
        });
        until("logins go on", || counter.load(Ordering::Relaxed) > 2);
        for round in 0..3 {
            let (logged_in, used) = (logins.load(Ordering::Relaxed), counter.load(Ordering::Relaxed));
            let made = site.cli(&["backup", &backup, "--with-config", "-c", &configuration]);
            assert!(made.status.success(), "round {round}: {}", text(&made));
            before = used;
            until("logins go on", || logins.load(Ordering::Relaxed) > logged_in + 4);
        }
        over.store(true, Ordering::Relaxed);
    });
    let audited = site.json(&["audit", "search", "--oldest-first", "--action", "backup"]);
    assert_eq!(audited.as_array().unwrap().len(), 3);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&backup).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let copied = fs::read_to_string(format!("{backup}.config/portcullis.toml")).unwrap();
    assert!(
        copied.contains("secret = \"\"") && !copied.contains("testing123"),
        "{copied}"
    );
    assert!(fs::exists(format!("{backup}.config/policies")).unwrap());

    let verified = site.json(&["backup", "verify", &backup, "-c", &configuration]);
    assert!(verified["audit"].as_u64().unwrap() > 10);
    let busy = site.cli(&["restore", &backup, "--replace", "--yes", "-c", &configuration]);
    assert_eq!(busy.status.code(), Some(2), "{}", text(&busy));
    assert!(text(&busy).contains("in use by another process"), "{}", text(&busy));

    site.kill();
    let refused = site.cli(&["restore", &backup, "-c", &configuration]);
    assert!(text(&refused).contains("is not empty"), "{}", text(&refused));
    site.json(&["restore", &backup, "--replace", "--yes", "-c", &configuration]);
    assert!(site.path("state/store.former").is_dir());
    site.serve();
    let chain = site.cli(&["audit", "verify"]);
    assert!(chain.status.success(), "{}", text(&chain));
    let restored = site.json(&["audit", "search", "--oldest-first", "--action", "restore"]);
    assert_eq!(restored[0]["actor"], "root");
    assert_eq!(site.json(&["user", "show", &user(3)])["failures"]["count"], failures);
    // What was used before the backup stays used.
    assert_eq!(login(&site, 2, &spent), Reply::Reject);
    for used in [0, before - 1] {
        assert_eq!(login(&site, 1, &counted(&seed, used as u64)), Reply::Reject, "{used}");
    }
    let after = counter.load(Ordering::Relaxed) as u64;
    let kept = site.json(&["token", "list", &user(1)])[0]["counter"].as_u64().unwrap();
    assert!((before as u64..=after).contains(&kept), "{before} {kept} {after}");
    assert_eq!(login(&site, 1, &counted(&seed, kept)), Reply::Accept);
}

#[test]
fn people_log_in_as_before_under_another_key() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::start(&directory);
    let seed = enrol_counted(&site, &user(1));
    let made = site.json(&["recovery-codes", "new", &user(2)]);
    let recovery: Vec<String> = serde_json::from_value(made["codes"].clone()).unwrap();
    site.enrol(&user(2));
    assert_eq!(login(&site, 1, &counted(&seed, 0)), Reply::Accept);
    let configuration = site.configuration_file().display().to_string();
    let running = site.cli(&["rekey", "--yes", "-c", &configuration]);
    assert!(
        text(&running).contains("in use by another process"),
        "{}",
        text(&running)
    );
    site.terminate();
    let done = site.json(&["rekey", "--yes", "-c", &configuration]);
    assert_eq!(done["resealed"]["seeds"], 2);
    site.serve();
    assert_eq!(login(&site, 1, &counted(&seed, 0)), Reply::Reject);
    assert_eq!(login(&site, 1, &counted(&seed, 1)), Reply::Accept);
    assert_eq!(login(&site, 2, &recovery[0]), Reply::Accept);
    assert_eq!(login(&site, 2, &recovery[0]), Reply::Reject);
    let chain = site.cli(&["audit", "verify"]);
    assert!(chain.status.success(), "{}", text(&chain));
    assert_eq!(
        site.json(&["audit", "search", "--oldest-first", "--action", "rekey"])[0]["actor"],
        "root"
    );
}

#[test]
fn tokens_of_another_system_are_taken_over_and_log_in() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let hex = "3132333435363738393031323334353637383930";
    let seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let list = site.path("tokens.csv");
    let names = [1, 2].map(user);
    let rows = format!(
        "owner,serial,secret,type,counter\n{}@corp,S1,{hex},hotp,7\n{},S2,{hex}00,totp,\n,S3,{hex}01,totp,\n",
        names[0], names[1]
    );
    fs::write(&list, &rows).unwrap();
    let file = list.display().to_string();
    let tried = site.json(&["token", "import", &file, "--dry-run"]);
    assert_eq!((&tried["sound"], &tried["enrolled"]), (&2.into(), &0.into()), "{tried}");
    assert_eq!(tried["skipped"][0]["at"], 4);
    assert_eq!(
        tried["warnings"].as_array().unwrap().len(),
        1,
        "the file is readable by others"
    );
    let done = site.json(&["token", "import", &file]);
    assert_eq!(done["enrolled"], 2, "{done}");
    let again = site.json(&["token", "import", &file]);
    assert_eq!((&again["enrolled"], &again["known"]), (&0.into(), &2.into()));
    assert_eq!(login(&site, 1, &counted(seed, 6)), Reply::Reject);
    assert_eq!(login(&site, 1, &counted(seed, 7)), Reply::Accept);

    // One that nobody is, and nothing is enrolled.
    fs::write(
        &list,
        format!("{rows}nobody,S4,{hex}02,totp,\n{},S5,{hex}03,totp,\n", user(3)),
    )
    .unwrap();
    let refused = site.cli(&["token", "import", &file]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused).contains("tokens.csv:5: nobody is called `nobody`"),
        "{}",
        text(&refused)
    );
    assert_eq!(site.json(&["token", "list", &user(3)]), serde_json::json!([]));
    let rest = site.cli(&["token", "import", &file, "--skip-faulty"]);
    assert_eq!(rest.status.code(), Some(1), "{}", text(&rest));
    assert_eq!(site.json(&["token", "list", &user(3)])[0]["label"], "S5");

    let container = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/tokens/pskc-pbe.xml");
    let container = site.cli_with(
        &["token", "import", container, "--skip-faulty", "--dry-run", "--json"],
        "qwerty\n",
    );
    assert!(
        text(&container).contains("nobody is called `ana`"),
        "{}",
        text(&container)
    );
    let audited = site.json(&["audit", "search", "--oldest-first", "--action", "token.import"]);
    assert_eq!(audited.as_array().unwrap().len(), 3);
}
