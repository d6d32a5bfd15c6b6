//! The same in a Samba domain.

use serde_json::Value;

use crate::support::clients::ldapsearch;
use crate::support::portcullis::{OTHER, Portcullis};
use crate::support::process::text;
use crate::support::radclient::{Reply, SECRET};
use crate::support::samba::{ADMIN_DN, ADMIN_PASSWORD, SUFFIX, Samba};
use crate::support::slapd::Slapd;

const OLD: &str = "Passw0rd.one";

const RULE: &str = "[[rule]]\nname = \"domain\"\nwhen = { client = [\"domain\"] }\nrequire = \"password\"\n";

fn configuration(samba: &Samba) -> String {
    format!(
        "[[client]]\nname = \"domain\"\naddress = [\"{OTHER}\"]\nsecret = \"{SECRET}\"\nprofile = \"dialog\"\n\
         reject_delay = \"10ms\"\ndirectory = \"ad\"\nrequire_message_authenticator = \"no\"\n\
         [[directory]]\nname = \"ad\"\nkind = \"ldap\"\nserver = \"active-directory\"\nurls = [{:?}]\n\
         ca_file = {:?}\nbase_dn = {SUFFIX:?}\nbind_dn = {ADMIN_DN:?}\nbind_password = {ADMIN_PASSWORD:?}\n\
         login_attributes = [\"sAMAccountName\"]\nkey_attribute = \"objectGUID\"\nfilter = \"(objectClass=user)\"\n",
        samba.url(),
        samba.authority(),
    )
}

#[test]
fn reset_forced_switched_and_unlocked_one_by_one_and_many() {
    let samba = Samba::start();
    let people: Vec<String> = ["ana", "ben", "cleo"].iter().map(|name| samba.add(name, OLD)).collect();
    samba.modify(&format!(
        "dn: {SUFFIX}\nchangetype: modify\nreplace: minPwdAge\nminPwdAge: 0\n"
    ));
    samba.lock_out_after(3);
    let other = Slapd::start(1);
    let mut site = Portcullis::install(&other);
    site.add(&configuration(&samba), RULE);
    site.serve();
    let direct = |dn: &str, password: &str| {
        let options = ["-s", "base", "1.1"];
        let output = ldapsearch(&samba.url(), dn, password, samba.certificates(), SUFFIX, &options);
        output.status.success()
    };
    let login = |name: &str, password: &str| site.radclient(OTHER).login(name, password);
    let state =
        |name: &str| site.json(&["user", "show", name, "--directory", "ad"])["directory"]["account"]["known"].clone();
    let on = |arguments: &[&str]| site.json(&[arguments, &["--directory", "ad"]].concat());

    // A generated password is as complex as the domain wants it.
    let reset = on(&["user", "reset", "ana"]);
    let new = reset["password"].as_str().unwrap();
    assert_eq!(state("ana")["must_change"], true);
    let asked = login("ana", new);
    assert!(matches!(asked, Reply::Challenge { .. }), "{asked:?}");
    let again = site.radclient(OTHER).answer("ana", "Passw0rd.two", &asked);
    assert!(matches!(again, Reply::Challenge { .. }), "{again:?}");
    site.radclient(OTHER).answer("ana", "Passw0rd.two", &again);
    assert!(direct(&people[0], "Passw0rd.two"));
    assert_eq!(login("ana", "Passw0rd.two"), Reply::Accept);

    // Forced, and not any more.
    assert_eq!(on(&["user", "must-change", "ben"])["directory"], "done");
    assert!(!direct(&people[1], OLD), "the domain knows it");
    assert!(matches!(login("ben", OLD), Reply::Challenge { .. }));
    assert_eq!(on(&["user", "must-change", "ben", "--undo"])["directory"], "done");
    assert!(direct(&people[1], OLD));
    assert_eq!(login("ben", OLD), Reply::Accept);

    // Off and on.
    on(&["user", "disable", "ben"]);
    assert!(!direct(&people[1], OLD));
    assert_eq!(state("ben")["disabled"], true);
    on(&["user", "enable", "ben"]);
    assert!(direct(&people[1], OLD));

    // Locked by the domain.
    for _ in 0..3 {
        assert!(!direct(&people[2], "wrong"));
    }
    assert!(!direct(&people[2], OLD));
    assert_eq!(on(&["user", "unlock", "cleo"])["account"], "done");
    assert!(direct(&people[2], OLD));

    // Many: whom a filter finds, and not the administrator.
    let filter = "(|(sAMAccountName=ben)(sAMAccountName=cleo)(sAMAccountName=nobody))";
    let dry = site.cli(&[
        "user",
        "must-change",
        "--directory",
        "ad",
        "--filter",
        filter,
        "--dry-run",
    ]);
    assert!(text(&dry).contains("2 would be meant, 0 left out"), "{}", text(&dry));
    let job = site.json(&["user", "must-change", "--directory", "ad", "--filter", filter, "--yes"]);
    assert_eq!(
        (&job["state"], &job["progress"]["done"]),
        (&Value::from("done"), &Value::from(2))
    );
    assert_eq!(state("cleo")["must_change"], true);
    assert!(matches!(login("cleo", OLD), Reply::Challenge { .. }));
    let bad = site.cli(&["user", "must-change", "--directory", "ad", "--filter", "(uid=", "--yes"]);
    assert_eq!(bad.status.code(), Some(2), "{}", text(&bad));
}
