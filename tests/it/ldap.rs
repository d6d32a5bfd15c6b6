//! Applications that bind and search through the LDAP front end.

use crate::support::clients::{ldap_command, ldapsearch, ldapwhoami, python, trusting};
use crate::support::portcullis::Portcullis;
use crate::support::process::{run, text};
use crate::support::slapd::{SERVICE_DN, SERVICE_PASSWORD, SUFFIX, Slapd, password, user, user_dn};
use crate::support::totp::code;

const INVALID_CREDENTIALS: Option<i32> = Some(49);
const UNWILLING_TO_PERFORM: Option<i32> = Some(53);

#[test]
fn a_bind_carries_the_code_behind_the_password() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let whoami = |typed: &str| ldapwhoami(&site.ldaps_url(), &user_dn(1), typed, site.certificates());

    assert_eq!(whoami(&password(1)).status.code(), INVALID_CREDENTIALS);
    let right = format!("{},{}", password(1), code(&seed, 0));
    let output = whoami(&right);
    assert_eq!(text(&output).trim(), format!("dn:{}", user_dn(1)));
    assert_eq!(
        whoami(&right).status.code(),
        INVALID_CREDENTIALS,
        "a code is right once"
    );
    assert_eq!(directory.failures(1), 0);

    // A password that is empty once the code is cut off is an unauthenticated bind, not a login.
    let empty = format!(",{}", code(&seed, 1));
    let output = whoami(&empty);
    assert!(
        [INVALID_CREDENTIALS, UNWILLING_TO_PERFORM].contains(&output.status.code()),
        "{}",
        text(&output)
    );
    assert_eq!(whoami("").status.code(), UNWILLING_TO_PERFORM);
}

#[test]
fn starttls_and_python() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let seed = site.enrol(&user(2));
    let typed = format!("{},{}", password(2), code(&seed, 0));
    let mut command = trusting(
        ldap_command("ldapwhoami", &site.ldap_url(), &user_dn(2), &typed),
        site.certificates(),
    );
    command.arg("-ZZ");
    let output = run(&mut command, "");
    assert_eq!(text(&output).trim(), format!("dn:{}", user_dn(2)));

    // Several operations on one connection, a second bind, and a failed one that leaves nobody bound.
    let script = "
import sys, ldap3
url, dn, password, service, service_password, base = sys.argv[1:]
connection = ldap3.Connection(ldap3.Server(url), dn, password)
print(connection.bind(), connection.extend.standard.who_am_i())
connection.search(base, '(uid=user00002)', attributes=['cn'])
print([str(entry.cn) for entry in connection.entries])
print(connection.rebind(service, service_password), connection.extend.standard.who_am_i())
print(connection.rebind(service, 'wrong'), connection.result['result'])
connection.search(base, '(uid=user00002)', attributes=['cn'])
print(connection.result['result'], len(connection.entries))
";
    let typed = format!("{},{}", password(2), code(&seed, 1));
    let output = python(
        script,
        &[
            &site.ldap_url(),
            &user_dn(2),
            &typed,
            SERVICE_DN,
            SERVICE_PASSWORD,
            SUFFIX,
        ],
    );
    let printed = text(&output);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], format!("True dn:{}", user_dn(2)), "{printed}");
    assert_eq!(lines[1], "['User 00002']", "{printed}");
    assert_eq!(lines[2], format!("True dn:{SERVICE_DN}"), "{printed}");
    assert_eq!(lines[3], "False 49", "{printed}");
    assert!(lines[4].ends_with(" 0"), "nobody is bound, and nobody reads: {printed}");
}

#[test]
fn a_listed_service_account_searches_as_if_it_spoke_to_the_directory() {
    let directory = Slapd::start(10_000);
    let site = Portcullis::start(&directory);
    let searches: [&[&str]; 6] = [
        &["(uid=user00042)"],
        &["(uid=user00042)", "*", "+"],
        &["(objectClass=groupOfNames)"],
        &["(uid=user001*)", "cn", "mail"],
        &["-E", "pr=500/noprompt", "(uid=user0*)", "uid"],
        &["-s", "base", "(objectClass=*)", "1.1"],
    ];
    for rest in searches {
        let ask = |url: &str, certificates| ldapsearch(url, SERVICE_DN, SERVICE_PASSWORD, certificates, SUFFIX, rest);
        let direct = ask(&directory.tls_url(), directory.certificates());
        let relayed = ask(&site.ldaps_url(), site.certificates());
        assert_eq!(
            direct.status.code(),
            relayed.status.code(),
            "{rest:?}: {}",
            text(&relayed)
        );
        assert!(direct.stdout == relayed.stdout, "{rest:?} differs");
        assert!(!direct.stdout.is_empty(), "{rest:?} finds something");
    }
}

#[test]
fn what_the_directory_refuses_is_refused_in_its_own_words() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    for arguments in [
        ["-b", "ou=nowhere,dc=example,dc=org", "(uid=*)"],
        ["-b", SUFFIX, "(uid=user00001)(("],
        ["-b", "not a dn", "(uid=*)"],
    ] {
        let ask = |url: &str, certificates| {
            let mut command = trusting(
                ldap_command("ldapsearch", url, SERVICE_DN, SERVICE_PASSWORD),
                certificates,
            );
            command.arg("-LLL").args(arguments);
            let output = run(&mut command, "");
            (output.status.code(), text(&output))
        };
        let direct = ask(&directory.tls_url(), directory.certificates());
        assert_eq!(ask(&site.ldaps_url(), site.certificates()), direct, "{arguments:?}");
    }
}

#[test]
fn a_bind_that_succeeds_with_must_change_is_not_a_login() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let seed = site.enrol(&user(3));
    directory.require_change(3);
    let direct = ldapwhoami(&directory.url(), &user_dn(3), &password(3), directory.certificates());
    assert_ne!(
        direct.status.code(),
        INVALID_CREDENTIALS,
        "the directory itself lets the bind through"
    );
    let typed = format!("{},{}", password(3), code(&seed, 0));
    let output = ldapwhoami(&site.ldaps_url(), &user_dn(3), &typed, site.certificates());
    assert_eq!(output.status.code(), INVALID_CREDENTIALS, "{}", text(&output));
    // Nor is it over RADIUS, where no factor but the password is asked for.
    let door = site.radclient(crate::support::portcullis::PASSWORD_ONLY);
    assert_eq!(
        door.login(&user(3), &password(3)),
        crate::support::radclient::Reply::Reject
    );
}

#[test]
fn a_stranger_reads_the_root_entry_and_nothing_else() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let script = "
import sys, ldap3
connection = ldap3.Connection(ldap3.Server(sys.argv[1], get_info=ldap3.NONE))
connection.open()
connection.search('', '(objectClass=*)', search_scope='BASE', attributes=['namingContexts'])
print(connection.result['result'], len(connection.response))
connection.search(sys.argv[2], '(uid=user00001)', attributes=['cn'])
print(connection.result['result'], [entry for entry in connection.response if entry['type'] == 'searchResEntry'])
";
    let output = python(script, &[&site.ldap_url(), SUFFIX]);
    let printed = text(&output);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "0 1", "{printed}");
    assert!(lines[1].ends_with("[]") && !lines[1].starts_with("0 "), "{printed}");
}
