//! The fixtures without Portcullis: a test that trusts a peer should know that the peer works.

use crate::support::clients::{ldapsearch, ldapwhoami, python};
use crate::support::process::text;
use crate::support::slapd::{self, SERVICE_DN, SERVICE_PASSWORD, SUFFIX, Slapd};
use crate::support::totp;

#[test]
fn the_directory_knows_its_users_their_groups_and_its_own_lock_out() {
    let directory = Slapd::start(30);
    let trusted = directory.certificates();
    for url in [directory.url(), directory.tls_url()] {
        let output = ldapwhoami(&url, &slapd::user_dn(7), &slapd::password(7), trusted);
        assert_eq!(text(&output).trim(), format!("dn:{}", slapd::user_dn(7)), "{url}");
    }
    let groups = ldapsearch(
        &directory.tls_url(),
        SERVICE_DN,
        SERVICE_PASSWORD,
        trusted,
        SUFFIX,
        &["(uid=user00007)", "memberOf"],
    );
    assert!(text(&groups).contains(&slapd::group_dn(7)), "{}", text(&groups));

    assert_eq!(directory.failures(8), 0);
    let wrong = ldapwhoami(&directory.url(), &slapd::user_dn(8), "wrong", trusted);
    assert_eq!(wrong.status.code(), Some(49), "{}", text(&wrong));
    assert_eq!(directory.failures(8), 1);
}

#[test]
fn the_directory_demands_a_new_password_with_a_bind_that_succeeds() {
    let directory = Slapd::start(3);
    directory.require_change(3);
    let script = "
import sys, ldap3
server = ldap3.Server(sys.argv[1])
connection = ldap3.Connection(server, sys.argv[2], sys.argv[3])
control = ('1.3.6.1.4.1.42.2.27.8.5.1', False, None)
print(connection.bind(controls=[control]), connection.result['result'], sorted(connection.result.get('controls', {})))
";
    let output = python(script, &[&directory.url(), &slapd::user_dn(3), &slapd::password(3)]);
    assert_eq!(text(&output).trim(), "True 0 ['1.3.6.1.4.1.42.2.27.8.5.1']");
}

#[test]
fn the_directory_comes_back_with_its_data() {
    let mut directory = Slapd::start(3);
    directory.kill();
    let refused = ldapwhoami(
        &directory.url(),
        &slapd::user_dn(1),
        &slapd::password(1),
        directory.certificates(),
    );
    assert_ne!(refused.status.code(), Some(0));
    directory.start_again();
    directory.halt();
    directory.go_on();
    let back = ldapwhoami(
        &directory.url(),
        &slapd::user_dn(1),
        &slapd::password(1),
        directory.certificates(),
    );
    assert!(back.status.success(), "{}", text(&back));
}

#[test]
fn codes_have_six_digits_and_wrong_ones_are_wrong() {
    let seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let (now, next) = (totp::code(seed, 0), totp::code(seed, 1));
    assert!(
        now.len() == 6 && now.bytes().all(|digit| digit.is_ascii_digit()),
        "{now}"
    );
    let wrong = totp::wrong_code(seed);
    assert!(wrong != now && wrong != next);
}
