//! Before slapd with ppolicy.

use super::{bound, changes, is_password, login, passcode, session, start, start_before, unbound};
use crate::support::process::text;
use crate::support::slapd::{SERVICE_DN, SERVICE_PASSWORD, Slapd, password, user, user_dn};
use crate::support::totp::code;

#[test]
fn who_is_bound_asks_the_directory_and_the_audit_has_the_result() {
    let (directory, site) = start();
    let change = |old: &str, new: &str| bound(&site, &user_dn(1), old, &["-a", old, "-s", new]);
    let refused = change(&password(1), "short");
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(
        text(&refused).contains("Constraint violation (19)"),
        "{}",
        text(&refused)
    );
    assert!(
        text(&refused).contains("short"),
        "slapd's own words: {}",
        text(&refused)
    );
    let done = change(&password(1), "battery-staple");
    assert!(done.status.success(), "{}", text(&done));
    assert!(is_password(&directory, 1, "battery-staple") && !is_password(&directory, 1, &password(1)));
    // The directory makes one up when none is given.
    let made = bound(&site, &user_dn(1), "battery-staple", &[]);
    let printed = text(&made);
    let made = printed.split("New password: ").nth(1).expect("a password").trim();
    assert!(is_password(&directory, 1, made));
    assert_eq!(
        changes(&site, &login(1)),
        [
            "reject one factor the directory answered 19",
            "accept one factor",
            "accept one factor"
        ]
    );
}

#[test]
fn the_service_account_resets_passwords_of_others_as_the_directory_lets_it() {
    let (directory, site) = start();
    let reset = bound(
        &site,
        SERVICE_DN,
        SERVICE_PASSWORD,
        &["-s", "battery-staple", &user_dn(8)],
    );
    assert!(reset.status.success(), "{}", text(&reset));
    // pwdMustChange: who was reset has to change it, and may do so.
    let session = session(&site, &user_dn(8), "battery-staple", true, &[]);
    assert_eq!(session, ["bind 49 None"], "there is no rule for a password alone");
    let refused = bound(&site, &user_dn(1), &password(1), &["-s", "another-staple", &user_dn(8)]);
    assert!(
        text(&refused).contains("Insufficient access (50)"),
        "{}",
        text(&refused)
    );
    assert_eq!(changes(&site, "svc"), ["accept service accounts"]);
    assert_eq!(
        changes(&site, &login(1)),
        ["reject one factor the directory answered 50"]
    );
    assert!(!is_password(&directory, 8, &password(8)));
}

#[test]
fn a_rule_that_denies_changes_is_heard_before_the_directory() {
    let (directory, site) = start();
    let refused = bound(
        &site,
        &user_dn(9),
        &password(9),
        &["-a", &password(9), "-s", "battery-staple"],
    );
    assert!(text(&refused).contains("(53)"), "{}", text(&refused));
    let refused = unbound(&site, &user_dn(9), &format!("{},123456", password(9)), "battery-staple");
    assert!(text(&refused).contains("(49)"), "{}", text(&refused));
    assert!(is_password(&directory, 9, &password(9)));
    assert_eq!(
        changes(&site, &login(9)),
        ["reject  policy", "reject no changes for some policy"]
    );
}

#[test]
fn a_rule_that_asks_for_more_than_the_bind_proved_is_met_with_the_change() {
    let (directory, site) = start();
    let seed = site.enrol(&user(5));
    let change = |old: &str| bound(&site, &user_dn(5), &password(5), &["-a", old, "-s", "battery-staple"]);
    let refused = change(&password(5));
    assert!(text(&refused).contains("(53)"), "{}", text(&refused));
    let refused = bound(&site, &user_dn(5), &password(5), &["-s", "battery-staple"]);
    assert!(text(&refused).contains("(53)"), "{}", text(&refused));
    assert!(is_password(&directory, 5, &password(5)));
    let done = change(&format!("{},{}", password(5), code(&seed, 0)));
    assert!(done.status.success(), "{}", text(&done));
    assert!(is_password(&directory, 5, "battery-staple"));
    assert_eq!(
        changes(&site, &login(5)),
        ["reject changes take a code missing-code", "accept changes take a code"]
    );
}

#[test]
fn who_is_not_bound_proves_it_with_the_change() {
    let (directory, site) = start();
    let seed = site.enrol(&user(2));
    let typed = |typed: &str| unbound(&site, &user_dn(2), typed, "battery-staple");
    let nobody = unbound(
        &site,
        "uid=nobody,ou=people,dc=example,dc=org",
        "x,123456",
        "battery-staple",
    );
    let wrong = typed("wrong,123456");
    let said = |output| text(output).replace(&user_dn(2), "").to_owned();
    assert!(text(&wrong).contains("Invalid credentials (49)"), "{}", text(&wrong));
    assert_eq!(said(&wrong), said(&nobody), "nobody is told from somebody");
    let done = typed(&format!("{},{}", password(2), code(&seed, 0)));
    assert!(done.status.success(), "{}", text(&done));
    assert!(is_password(&directory, 2, "battery-staple"));
    let again = unbound(
        &site,
        &format!("u:{}", user(2)),
        &format!("battery-staple,{}", code(&seed, 1)),
        "battery-staple",
    );
    assert!(text(&again).contains("(19)"), "{}", text(&again));
    // Nothing without the old password.
    let mut command = std::process::Command::new("ldappasswd");
    command.args(["-x", "-H", &site.ldap_url(), "-s", "battery-staple", &user_dn(2)]);
    let output = crate::support::process::run(&mut command, "");
    assert!(text(&output).contains("(8)"), "{}", text(&output));
}

#[test]
fn a_passcode_sets_a_new_password_once() {
    let (directory, site) = start();
    let code = passcode(&site, &user(3));
    let set = |new: &str| unbound(&site, &user_dn(3), &code, new);
    let short = set("short");
    let said = text(&short);
    assert!(
        said.contains("Constraint violation (19)") && said.contains("it is too short"),
        "{said}"
    );
    let done = set("battery-staple");
    assert!(done.status.success(), "{}", text(&done));
    assert!(is_password(&directory, 3, "battery-staple") && !is_password(&directory, 3, &password(3)));
    assert!(text(&set("another-staple")).contains("(49)"));
    // One is made up where none is given.
    let code = passcode(&site, &user(4));
    let mut command = std::process::Command::new("ldappasswd");
    command.args(["-x", "-H", &site.ldap_url(), "-a", &code, &user_dn(4)]);
    let printed = text(&crate::support::process::run(&mut command, ""));
    let made = printed.split("New password: ").nth(1).expect(&printed).trim();
    assert!(is_password(&directory, 4, made), "{printed}");
    assert_eq!(
        changes(&site, &login(3)),
        [
            "reject forgotten new-password-too-short",
            "accept forgotten",
            "reject forgotten missing-code"
        ]
    );
}

#[test]
fn a_passcode_survives_an_outage_and_is_not_used_twice_over_a_kill() {
    let (mut directory, mut site) = start();
    let code = passcode(&site, &user(4));
    directory.kill();
    // Known from a moment ago, so that it comes to the change.
    let output = unbound(&site, &user_dn(4), &code, "battery-staple");
    assert!(text(&output).contains("(52)"), "{}", text(&output));
    directory.start_again();
    site.kill_and_serve();
    let output = unbound(&site, &user_dn(4), &code, "battery-staple");
    assert!(output.status.success(), "{}", text(&output));
    site.kill_and_serve();
    let output = unbound(&site, &user_dn(4), &code, "another-staple");
    assert!(text(&output).contains("(49)"), "{}", text(&output));
    assert!(is_password(&directory, 4, "battery-staple"));
}

#[test]
fn a_password_that_must_be_changed_opens_a_session_for_that_and_slapd_frees_it() {
    let (directory, site) = start();
    directory.require_change(6);
    let dn = user_dn(6);
    // Who does not ask is not let in.
    assert_eq!(
        session(&site, &dn, &password(6), false, &["whoami"]),
        ["bind 49 None", "whoami 8"]
    );
    let steps = [
        "search",
        "whoami",
        "other uid=user00001,ou=people,dc=example,dc=org battery-staple",
        "change user00006 short",
        "search",
        "change pw00006 battery-staple",
        "search",
        "whoami",
    ];
    let done = session(&site, &dn, &password(6), true, &steps);
    // changeAfterReset is 2.
    assert_eq!(done[0], "bind 0 2");
    assert_eq!(done[1..4], ["search 50", "whoami 50", "other 50"]);
    assert!(done[4] == "change 53" || done[4] == "change 19", "{done:?}");
    assert_eq!(done[5..], ["search 50", "change 0", "search 0", "whoami 0"]);
    assert!(is_password(&directory, 6, "battery-staple"));
    let records = site.audit();
    assert!(
        records
            .iter()
            .any(|record| record.contains("\"restricted\"") && record.contains("password-must-change")),
        "{records:?}"
    );
}

#[test]
fn a_denial_ends_a_session_for_a_new_password() {
    let (directory, site) = start();
    directory.require_change(7);
    let script = "
import ssl, sys, ldap3, subprocess
url, authority, dn, password, *deny = sys.argv[1:]
tls = ldap3.Tls(ca_certs_file=authority, validate=ssl.CERT_REQUIRED)
connection = ldap3.Connection(ldap3.Server(url, tls=tls, get_info=ldap3.NONE), dn, password)
connection.bind(controls=[('1.3.6.1.4.1.42.2.27.8.5.1', False, None)])
print(connection.result['result'])
subprocess.run(deny, check=True, capture_output=True)
try:
    connection.extend.standard.modify_password(old_password=password, new_password='battery-staple')
    print(connection.result['result'])
except ldap3.core.exceptions.LDAPException as fault:
    print('gone')
";
    let authority = site.certificates().authority.display().to_string();
    let socket = site.path("state/admin.sock").display().to_string();
    let mut arguments = vec![site.ldaps_url(), authority, user_dn(7), password(7)];
    let binary = env!("CARGO_BIN_EXE_portcullis");
    let deny = [binary, "deny", &user(7), "--reason", "test", "--socket", &socket];
    arguments.extend(deny.iter().map(ToString::to_string));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = crate::support::clients::python(script, &arguments);
    let printed = text(&output);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "0", "{printed}");
    assert!(["gone", "52"].contains(&lines[1]), "{printed}");
    assert!(is_password(&directory, 7, &password(7)));
}

#[test]
fn a_bind_with_a_passcode_opens_a_session_for_a_new_password() {
    let (directory, site) = start();
    let code = passcode(&site, &user(2));
    assert_eq!(session(&site, &user_dn(2), &code, false, &[]), ["bind 49 None"]);
    let steps = [
        "search",
        "change - short",
        "change - battery-staple",
        "search",
        "bind battery-staple",
    ];
    let done = session(&site, &user_dn(2), &code, true, &steps);
    // Anonymous afterwards: what follows is asked for anew.
    assert_eq!(
        done,
        ["bind 0 2", "search 50", "change 19", "change 0", "search 8", "bind 49"]
    );
    assert!(is_password(&directory, 2, "battery-staple"));
    assert_eq!(session(&site, &user_dn(2), &code, true, &[]), ["bind 49 None"], "spent");
}

#[test]
fn a_listener_can_hold_no_such_sessions_or_give_them_to_everybody() {
    let (directory, mut site) = start();
    directory.require_change(1);
    let configuration = std::fs::read_to_string(site.configuration_file()).unwrap();
    for (key, asks, expected) in [("never", true, "bind 49 None"), ("always", false, "bind 0 None")] {
        let changed = configuration.replace("[[ldap]]\n", &format!("[[ldap]]\nmust_change = \"{key}\"\n"));
        site.configure(&changed);
        site.kill_and_serve();
        let done = session(&site, &user_dn(1), &password(1), asks, &["search"]);
        let after = if expected.starts_with("bind 0") {
            "search 50"
        } else {
            "search 8"
        };
        assert_eq!(done, [expected, after], "{key}");
    }
}

/// An answer to something else with the same message id would say what became of the change.
#[test]
fn a_change_has_a_message_id_of_its_own() {
    use crate::front::peers::Setup;
    use crate::front::wire::{ANA, WHO_AM_I, Wire, extended, message};
    let slapd = crate::front::start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let change = message(2, 0x77, &[], |out| {
        out.extend(b"\x80\x171.3.6.1.4.1.4203.1.11.1\x81\x0e\x30\x0c\x81\x05anapw\x82\x03new");
    });
    wire.send(&[extended(2, WHO_AM_I), change].concat());
    let mut codes = [wire.expect().code(), wire.expect().code()];
    codes.sort_unstable();
    assert_eq!(codes, [0, 2]);
    assert_eq!(Wire::bound(slapd.address(), ANA, "anapw").who_am_i(2).code(), 0);
}

#[test]
fn a_password_that_is_set_is_set_whatever_else_the_account_may_not_write() {
    // Not `pwdReset`: whether the password must be changed again is the directory's own matter then.
    let (directory, site) = start_before(Slapd::resetting(5));
    let code = passcode(&site, &user(4));
    let done = unbound(&site, &user_dn(4), &code, "battery-staple");
    assert!(done.status.success(), "{}", text(&done));
    assert!(is_password(&directory, 4, "battery-staple"));
    let again = unbound(&site, &user_dn(4), &code, "another-staple");
    assert!(text(&again).contains("(49)"), "the passcode is spent: {}", text(&again));
    assert!(is_password(&directory, 4, "battery-staple"));
    let told = [site.log(), site.audit().concat()].concat();
    for secret in ["battery-staple", "another-staple", &code] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}
