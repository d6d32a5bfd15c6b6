//! Failures are counted per person over all protocols, and the directory's own lock-out is never reached.

use crate::support::clients::ldapwhoami;
use crate::support::portcullis::{APPEND, PASSWORD_ONLY, Portcullis};
use crate::support::process::text;
use crate::support::radclient::Reply;
use crate::support::slapd::{Slapd, password, user, user_dn};
use crate::support::totp::{code, wrong_code};

#[test]
fn the_sixth_try_is_refused_unheard_until_an_operator_unlocks() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let door = site.radclient(PASSWORD_ONLY);
    for _ in 0..5 {
        assert_eq!(door.login(&user(1), "wrong"), Reply::Reject);
    }
    assert_eq!(directory.failures(1), 5);
    for typed in ["wrong", &password(1)] {
        assert_eq!(door.login(&user(1), typed), Reply::Reject);
    }
    // However the name is written, it is the same person.
    assert_eq!(door.login(" USER00001", "wrong"), Reply::Reject);
    assert_eq!(directory.failures(1), 5, "the directory was not asked again");
    assert_eq!(
        door.login(&user(2), &password(2)),
        Reply::Accept,
        "nobody else is locked"
    );

    let unlocked = site.cli(&["user", "unlock", &user(1)]);
    assert!(unlocked.status.success(), "{}", text(&unlocked));
    assert_eq!(door.login(&user(1), &password(1)), Reply::Accept);
}

#[test]
fn failures_over_both_protocols_and_of_both_factors_are_one_count() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let over_radius = |site: &Portcullis, typed: &str| site.radclient(APPEND).login(&user(1), typed);
    let over_ldap = |site: &Portcullis, typed: &str| {
        let output = ldapwhoami(&site.ldaps_url(), &user_dn(1), typed, site.certificates());
        output.status.code()
    };
    let wrong = format!("{},{}", password(1), wrong_code(&seed));
    for _ in 0..2 {
        assert_eq!(over_radius(&site, &wrong), Reply::Reject);
        assert_eq!(over_ldap(&site, &wrong), Some(49));
    }
    let wrong_password = format!("wrong,{}", code(&seed, 0));
    assert_eq!(over_ldap(&site, &wrong_password), Some(49));
    assert_eq!(directory.failures(1), 1);
    // Five in all: neither front end listens any more, nor after a restart.
    site.kill_and_serve();
    let right = format!("{},{}", password(1), code(&seed, 1));
    assert_eq!(over_radius(&site, &right), Reply::Reject);
    assert_eq!(over_ldap(&site, &right), Some(49));
    assert_eq!(directory.failures(1), 1);
    site.json(&["user", "unlock", &user(1)]);
    assert_eq!(
        over_radius(&site, &right),
        Reply::Accept,
        "what was refused unheard was not spent"
    );
}
