//! Passwords of a Samba domain: expired, to be changed, and set with a passcode.

use super::{Manner, Shown, asked, lead_at, line};
use crate::support::clients::ldapsearch;
use crate::support::portcullis::{OTHER, Portcullis, find};
use crate::support::samba::{ADMIN_DN, ADMIN_PASSWORD, SUFFIX, Samba};
use crate::support::slapd::Slapd;
use crate::support::totp::code;

const EXPIRED: &str = "Password expired. New password:";
const MUST_CHANGE: &str = "The password must be changed. New password:";
const REPEAT: &str = "Repeat the new password:";
const CHANGED: &str = "Password changed. Sign in with it.";
const OLD: &str = "Passw0rd.one";

const RULES: &str = r#"
[[rule]]
name = "new passwords"
when = { service = ["domain"], operation = ["password-change"] }
require = { any = ["passcode", { all = ["password", "totp"] }] }

[[rule]]
name = "recovery"
when = { service = ["domain"], operation = ["recovery"] }
require = "totp"

[[rule]]
name = "domain"
when = { service = ["domain"] }
require = { all = ["password", "totp"] }
"#;

const WORKFLOW: &str = r#"
[workflow]
starts = "recover"
steps = [{ prove = ["totp"] }, "unlock"]
"#;

fn configuration(samba: &Samba, more: &str) -> String {
    format!(
        "[[client]]\nname = \"domain\"\naddress = [\"{OTHER}\"]\nsecret = \"{}\"\nprofile = \"dialog\"\n\
         reject_delay = \"10ms\"\ndirectory = \"ad\"\nrecover = \"?help\"\n\
         [[directory]]\nname = \"ad\"\nkind = \"ldap\"\nserver = \"active-directory\"\nurls = [{:?}]\n\
         ca_file = {:?}\nbase_dn = {SUFFIX:?}\nbind_dn = {ADMIN_DN:?}\nbind_password = {ADMIN_PASSWORD:?}\n\
         login_attributes = [\"sAMAccountName\"]\nkey_attribute = \"objectGUID\"\nfilter = \"(objectClass=user)\"\n{more}",
        crate::support::radclient::SECRET,
        samba.url(),
        samba.authority(),
    )
}

#[test]
fn expired_to_be_changed_forgotten_and_locked() {
    let samba = Samba::start();
    let dn = samba.add("ana", OLD);
    samba.modify(&format!(
        "dn: {SUFFIX}\nchangetype: modify\nreplace: minPwdAge\nminPwdAge: 0\n"
    ));
    let other = Slapd::start(1);
    let mut site = Portcullis::install(&other);
    site.add(&configuration(&samba, ""), RULES);
    let folder = site.path("policies/workflows");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("recover.toml"), WORKFLOW).unwrap();
    site.serve();
    let direct = |password: &str| {
        let output = ldapsearch(
            &samba.url(),
            &dn,
            password,
            samba.certificates(),
            SUFFIX,
            &["-s", "base", "1.1"],
        );
        output.status.success()
    };

    // Expired: a change, with the domain's history.
    let seed = site.enrol_in("ad", "ana");
    samba.expire(&dn);
    assert!(!direct(OLD));
    let lines = [
        asked(OLD, "Enter the 6-digit code"),
        asked(code(&seed, 0), EXPIRED),
        asked(OLD, REPEAT),
        asked(OLD, "Used before. New password:"),
        asked("short", REPEAT),
        asked("short", "Too short. New password:"),
        asked("Passw0rd.two", REPEAT),
        line("Passw0rd.two", Shown::EnteredOnce(CHANGED)),
    ];
    lead_at(&mut site, OTHER, Manner::Repeating, "ana", &lines);
    assert!(direct("Passw0rd.two") && !direct(OLD));

    // To be changed at the next logon, the server killed at each step.
    samba.modify(&format!(
        "dn: {dn}\nchangetype: modify\nreplace: pwdLastSet\npwdLastSet: 0\n"
    ));
    let lines = [
        asked("Passw0rd.two", "Enter the 6-digit code"),
        asked(code(&seed, 1), MUST_CHANGE),
        asked("Passw0rd.three", REPEAT),
        line("Passw0rd.three", Shown::EnteredOnce(CHANGED)),
    ];
    lead_at(&mut site, OTHER, Manner::Killing, "ana", &lines);
    assert!(direct("Passw0rd.three") && !direct("Passw0rd.two"));

    // A passcode: Samba cannot hold it against the history, so that nothing is set unless it may be.
    let passcode = |site: &Portcullis| {
        let arguments = ["passcode", "issue", "ana", "--directory", "ad", "--replaces-factor"];
        let issued = site.json(&arguments);
        find(&issued, "code").and_then(|code| code.as_str()).unwrap().to_owned()
    };
    let accepted = "Passcode accepted. New password:";
    let lines = |code: String, last: Shown| {
        [
            asked(code, accepted),
            asked("Passw0rd.four", REPEAT),
            line("Passw0rd.four", last),
        ]
    };
    let refused = lines(passcode(&site), Shown::Refused);
    lead_at(&mut site, OTHER, Manner::Plain, "ana", &refused);
    assert!(direct("Passw0rd.three"));
    assert!(
        site.audit().concat().contains("reset_without_history"),
        "it says what to do"
    );
    let file = std::fs::read_to_string(site.configuration_file()).unwrap();
    site.configure(&format!("{file}\nreset_without_history = true\n"));
    site.kill_and_serve();
    let done = lines(passcode(&site), Shown::Closed(CHANGED));
    lead_at(&mut site, OTHER, Manner::Losing, "ana", &done);
    assert!(direct("Passw0rd.four") && !direct("Passw0rd.three"));

    // Locked out, and unlocked with the same password.
    samba.lock_out_after(3);
    for _ in 0..3 {
        assert!(!direct("wrong"));
    }
    assert!(!direct("Passw0rd.four"));
    let made = site.json(&["token", "enrol", "ana", "--directory", "ad"]);
    let uri = find(&made, "uri").and_then(|uri| uri.as_str()).unwrap();
    let second = uri.split("secret=").nth(1).unwrap().split('&').next().unwrap();
    let lines = [
        line("?help", Shown::Asked("Recovery or authenticator code:", true)),
        line(code(second, 0), Shown::Closed("Unlocked. Sign in.")),
    ];
    lead_at(&mut site, OTHER, Manner::Losing, "ana", &lines);
    assert!(direct("Passw0rd.four"));
}
