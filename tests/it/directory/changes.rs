//! Accounts changed in the directory: on OpenLDAP with ppolicy, and on a Samba domain controller.

use std::sync::Arc;

use portcullis::config;
use portcullis::directory::Directory;
use portcullis::directory::ldap::LdapDirectory;
use portcullis::engine::account::{AccountChange, AccountState, Changed, PasswordRefusal, StateAnswer};
use portcullis::engine::{Lookup, PasswordOutcome, Person};
use portcullis::secret::Secret;

use super::{PLAIN, ldap, name, person, verify};
use crate::support::samba::{ADMIN_DN, ADMIN_PASSWORD, Samba};
use crate::support::slapd::Slapd;

pub(super) async fn change(directory: &dyn Directory, person: &Person, change: AccountChange<'_>) -> Changed {
    directory.change(person, change).await
}

pub(super) async fn own(directory: &dyn Directory, person: &Person, old: &str, new: &str) -> Changed {
    let (old, new) = (Secret::new(old), Secret::new(new));
    let own = AccountChange::Password { old: &old, new: &new };
    change(directory, person, own).await
}

pub(super) async fn reset(directory: &dyn Directory, person: &Person, new: &str, must_change: bool) -> Changed {
    let new = Secret::new(new);
    change(directory, person, AccountChange::Reset { new: &new, must_change }).await
}

pub(super) async fn known(directory: &dyn Directory, person: &Person) -> AccountState {
    let answer = directory.state(person).await;
    let StateAnswer::Known(state) = answer else {
        panic!("{answer:?}");
    };
    state
}

/// A slapd whose service account may change accounts.
fn writable() -> Slapd {
    let configuration = include_str!("entries/slapd.conf")
        .replace(
            "by anonymous auth by * none",
            "by dn.exact=\"cn=svc,dc=example,dc=org\" write by self write by anonymous auth by * none",
        )
        .replace(
            "by dn.exact=\"cn=svc,dc=example,dc=org\" read",
            "by dn.exact=\"cn=svc,dc=example,dc=org\" write by self write",
        );
    let policies = include_str!("entries/policies.ldif").replace(
        "pwdMaxAge: 315360000",
        "pwdMaxAge: 315360000\npwdInHistory: 3\npwdMinLength: 8\npwdCheckQuality: 2\npwdAllowUserChange: TRUE",
    );
    Slapd::serving(&configuration, &[include_str!("entries/people.ldif"), &policies])
}

#[tokio::test]
async fn openldap_passwords() {
    let slapd = writable();
    let directory = ldap(&[slapd.url()], PLAIN);
    let directory: &dyn Directory = &*directory;
    let ana = person(directory, &name("ana")).await;
    assert_eq!(
        own(directory, &ana, "wrong", "correct-horse").await,
        Changed::WrongPassword
    );
    assert_eq!(
        own(directory, &ana, "secret", "short").await,
        Changed::Refused(PasswordRefusal::TooShort)
    );
    assert!(matches!(
        own(directory, &ana, "secret", "").await,
        Changed::Forbidden(_)
    ));
    assert_eq!(own(directory, &ana, "secret", "correct-horse").await, Changed::Done);
    assert_eq!(verify(directory, &ana, "secret").await, PasswordOutcome::Wrong);
    assert_eq!(verify(directory, &ana, "correct-horse").await, PasswordOutcome::Right);
    assert_eq!(
        own(directory, &ana, "correct-horse", "correct-horse").await,
        Changed::Refused(PasswordRefusal::UsedBefore)
    );

    // Set by an administrator: to be changed at the next login, or not.
    assert_eq!(reset(directory, &ana, "battery-staple", true).await, Changed::Done);
    assert_eq!(
        verify(directory, &ana, "battery-staple").await,
        PasswordOutcome::MustChange
    );
    assert_eq!(
        own(directory, &ana, "battery-staple", "another-horse").await,
        Changed::Done
    );
    assert_eq!(verify(directory, &ana, "another-horse").await, PasswordOutcome::Right);
    assert_eq!(reset(directory, &ana, "battery-stable", false).await, Changed::Done);
    assert_eq!(verify(directory, &ana, "battery-stable").await, PasswordOutcome::Right);
    // History holds for resets, too.
    assert_eq!(
        reset(directory, &ana, "another-horse", false).await,
        Changed::Refused(PasswordRefusal::UsedBefore)
    );

    // An expired password cannot even bind: it is changed all the same, by who knows it.
    let expired = person(directory, &name("expired")).await;
    assert_eq!(
        own(directory, &expired, "wrong", "correct-horse").await,
        Changed::WrongPassword
    );
    assert_eq!(own(directory, &expired, "secret", "correct-horse").await, Changed::Done);
    assert_eq!(
        verify(directory, &expired, "correct-horse").await,
        PasswordOutcome::Right
    );
}

#[tokio::test]
async fn openldap_accounts() {
    let slapd = writable();
    let more = format!("{PLAIN}password_policy = \"cn=default,dc=example,dc=org\"\n");
    let directory = ldap(&[slapd.url()], &more);
    let directory: &dyn Directory = &*directory;
    let lena = person(directory, &name("lena")).await;
    for _ in 0..3 {
        assert_eq!(verify(directory, &lena, "wrong").await, PasswordOutcome::Wrong);
    }
    assert_eq!(verify(directory, &lena, "secret").await, PasswordOutcome::Locked);
    let state = known(directory, &lena).await;
    assert!(
        state.locked && state.locked_until.is_some() && !state.disabled,
        "{state:?}"
    );
    assert_eq!(change(directory, &lena, AccountChange::Unlock).await, Changed::Done);
    assert!(!known(directory, &lena).await.locked);
    assert_eq!(verify(directory, &lena, "secret").await, PasswordOutcome::Right);
    assert_eq!(
        change(directory, &lena, AccountChange::MustChange(true)).await,
        Changed::Done
    );
    assert_eq!(verify(directory, &lena, "secret").await, PasswordOutcome::MustChange);
    assert!(known(directory, &lena).await.must_change);
    assert_eq!(
        change(directory, &lena, AccountChange::MustChange(false)).await,
        Changed::Done
    );
    assert_eq!(
        change(directory, &lena, AccountChange::Enabled(false)).await,
        Changed::Done
    );
    assert_eq!(verify(directory, &lena, "secret").await, PasswordOutcome::Locked);
    let state = known(directory, &lena).await;
    assert!(
        state.disabled && state.locked && state.locked_until.is_none(),
        "{state:?}"
    );
    assert_eq!(
        change(directory, &lena, AccountChange::Enabled(true)).await,
        Changed::Done
    );
    assert_eq!(verify(directory, &lena, "secret").await, PasswordOutcome::Right);
    let mut gone = Person::clone(&lena);
    gone.dn = "uid=gone,ou=people,dc=example,dc=org".into();
    assert_eq!(change(directory, &gone, AccountChange::Unlock).await, Changed::Unknown);
    assert_eq!(directory.state(&gone).await, StateAnswer::Unknown);

    let expired = person(directory, &name("expired")).await;
    let state = known(directory, &expired).await;
    assert!(
        state.expired && state.password_expires > state.password_set,
        "{state:?}"
    );
    drop(slapd);
    let answer = directory.state(&lena).await;
    assert!(matches!(answer, StateAnswer::Unavailable(_)), "{answer:?}");
    assert!(matches!(directory.manager(&lena).await, Lookup::Unavailable(_)));
}

/// The domain as a directory, by the given account.
fn domain(samba: &Samba, dn: &str, password: &str) -> Arc<LdapDirectory> {
    domain_with(samba, dn, password, "")
}

fn domain_with(samba: &Samba, dn: &str, password: &str, more: &str) -> Arc<LdapDirectory> {
    let text = format!(
        "name = \"corp\"\nserver = \"active-directory\"\nurls = [{:?}]\nca_file = {:?}\n\
         base_dn = \"dc=example,dc=org\"\nbind_dn = {dn:?}\nbind_password = {password:?}\ncache = \"0s\"\n\
         login_attributes = [\"sAMAccountName\", \"mail\"]\ndomains = [\"EXAMPLE\", \"example.org\"]\nkey_attribute = \"objectGUID\"\nfilter = \"(objectClass=user)\"\n\
         disabled_by = [\"userAccountControl&2\"]\nnested_groups = true\n{more}",
        samba.url(),
        samba.authority(),
    );
    let config: config::LdapDirectory = toml::from_str(&text).unwrap();
    LdapDirectory::new(&config).unwrap()
}

#[tokio::test]
async fn active_directory() {
    let samba = Samba::start();
    samba.add("ana", "Passw0rd.one");
    let svc = samba.add("svc", "Passw0rd.svc");
    samba.modify(&format!(
        "dn: CN=ana,CN=Users,DC=example,DC=org\nchangetype: modify\nadd: mail\nmail: ana.mail@example.net\n-\n\
         add: manager\nmanager: {svc}\n"
    ));
    for (group, member) in [("inner", "ana"), ("outer", "inner")] {
        samba.modify(&format!(
            "dn: CN={group},CN=Users,DC=example,DC=org\nchangetype: add\nobjectClass: group\n\
             sAMAccountName: {group}\nmember: CN={member},CN=Users,DC=example,DC=org\n"
        ));
    }

    // An account without any rights is enough for people to change their own passwords.
    let plain = domain(&samba, &svc, "Passw0rd.svc");
    let plain: &dyn Directory = &*plain;
    let ana = person(plain, &name("EXAMPLE\\ana")).await;
    assert_eq!(person(plain, &name("ana@example.org")).await.key, ana.key);
    assert!(ana.enabled);
    let groups = [
        "cn=inner,cn=users,dc=example,dc=org",
        "cn=outer,cn=users,dc=example,dc=org",
    ];
    assert_eq!(ana.groups, groups);
    assert_eq!(verify(plain, &ana, "Passw0rd.one").await, PasswordOutcome::Right);
    assert_eq!(verify(plain, &ana, "wrong").await, PasswordOutcome::Wrong);
    assert_eq!(
        own(plain, &ana, "Passw0rd.one", "Passw0rd.two").await,
        Changed::Refused(PasswordRefusal::TooSoon)
    );
    let refused = reset(plain, &ana, "Passw0rd.two", false).await;
    assert!(matches!(refused, Changed::Forbidden(_)), "{refused:?}");

    let admin = domain(&samba, ADMIN_DN, ADMIN_PASSWORD);
    let admin: &dyn Directory = &*admin;
    assert_eq!(
        change(admin, &ana, AccountChange::MustChange(true)).await,
        Changed::Done
    );
    assert_eq!(verify(plain, &ana, "Passw0rd.one").await, PasswordOutcome::MustChange);
    assert_eq!(verify(plain, &ana, "wrong").await, PasswordOutcome::Wrong);
    // Who must change it cannot bind, and changes it all the same.
    assert_eq!(own(plain, &ana, "wrong", "Passw0rd.two").await, Changed::WrongPassword);
    assert_eq!(
        own(plain, &ana, "Passw0rd.one", "a").await,
        Changed::Refused(PasswordRefusal::TooShort)
    );
    assert_eq!(
        own(plain, &ana, "Passw0rd.one", "passwordpassword").await,
        Changed::Refused(PasswordRefusal::TooSimple)
    );
    assert_eq!(own(plain, &ana, "Passw0rd.one", "Passw0rd.two").await, Changed::Done);
    assert_eq!(verify(plain, &ana, "Passw0rd.two").await, PasswordOutcome::Right);

    assert_eq!(reset(admin, &ana, "Passw0rd.three", true).await, Changed::Done);
    assert_eq!(verify(plain, &ana, "Passw0rd.three").await, PasswordOutcome::MustChange);
    // Samba knows no control for the history, so that the person's own choice is not set as if it did.
    let refused = reset(admin, &ana, "Passw0rd.four", false).await;
    assert!(
        matches!(&refused, Changed::Forbidden(why) if why.contains("reset_without_history")),
        "{refused:?}"
    );
    let regardless = domain_with(&samba, ADMIN_DN, ADMIN_PASSWORD, "reset_without_history = true\n");
    assert_eq!(reset(&*regardless, &ana, "Passw0rd.four", false).await, Changed::Done);
    assert_eq!(verify(plain, &ana, "Passw0rd.four").await, PasswordOutcome::Right);

    // Too old to log in with, which is said of the right password alone, and changed by who knows it.
    samba.modify("dn: DC=example,DC=org\nchangetype: modify\nreplace: minPwdAge\nminPwdAge: 0\n");
    samba.expire(&ana.dn);
    assert_eq!(verify(plain, &ana, "wrong").await, PasswordOutcome::Wrong);
    assert_eq!(verify(plain, &ana, "Passw0rd.four").await, PasswordOutcome::Expired);
    assert!(known(plain, &ana).await.expired);
    assert_eq!(own(plain, &ana, "wrong", "Passw0rd.five").await, Changed::WrongPassword);
    assert_eq!(
        own(plain, &ana, "Passw0rd.four", "Passw0rd.two").await,
        Changed::Refused(PasswordRefusal::UsedBefore)
    );
    assert_eq!(own(plain, &ana, "Passw0rd.four", "Passw0rd.five").await, Changed::Done);
    assert_eq!(verify(plain, &ana, "Passw0rd.five").await, PasswordOutcome::Right);

    // Names: every form is one person, and another domain's ana is not.
    for form in [
        "ana",
        "ANA",
        "EXAMPLE\\ana",
        "example\\Ana",
        "ana@example.org",
        "ana.mail@example.net",
    ] {
        assert_eq!(person(plain, &name(form)).await.key, ana.key, "{form}");
    }
    let other = plain.look_up(&name("OTHER\\ana")).await;
    assert!(matches!(other, Lookup::Unknown), "{other:?}");
    // Without an attribute for it the principal is the account's name in this domain; with one it is not.
    let principal = |change: &str| {
        samba.modify(&format!("dn: {}\nchangetype: modify\n{change}\n", ana.dn));
    };
    principal("delete: userPrincipalName");
    assert_eq!(person(plain, &name("Ana@Example.org")).await.key, ana.key);
    for nobody in ["ana@example.net", "an*@example.org"] {
        let lookup = plain.look_up(&name(nobody)).await;
        assert!(matches!(lookup, Lookup::Unknown), "{nobody}: {lookup:?}");
    }
    principal("add: userPrincipalName\nuserPrincipalName: a.example@example.org");
    assert_eq!(person(plain, &name("a.example@example.org")).await.key, ana.key);
    let lookup = plain.look_up(&name("ana@example.org")).await;
    assert!(matches!(lookup, Lookup::Unknown), "{lookup:?}");

    let manager = plain.manager(&ana).await;
    assert!(
        matches!(&manager, Lookup::Found(svc) if svc.login == "svc"),
        "{manager:?}"
    );
    let good = known(plain, &ana).await;
    assert!(
        !good.locked && !good.must_change && !good.disabled && !good.expired,
        "{good:?}"
    );
    assert!(
        good.password_set.is_some() && good.password_expires > good.password_set,
        "{good:?}"
    );
    samba.lock_out_after(3);
    for _ in 0..3 {
        assert_eq!(verify(plain, &ana, "wrong").await, PasswordOutcome::Wrong);
    }
    assert_eq!(verify(plain, &ana, "Passw0rd.five").await, PasswordOutcome::Locked);
    assert!(known(plain, &ana).await.locked);
    assert_eq!(change(admin, &ana, AccountChange::Unlock).await, Changed::Done);
    assert!(!known(plain, &ana).await.locked);
    assert_eq!(
        change(admin, &ana, AccountChange::MustChange(true)).await,
        Changed::Done
    );
    assert!(known(plain, &ana).await.must_change);
    assert_eq!(
        change(admin, &ana, AccountChange::MustChange(false)).await,
        Changed::Done
    );
    assert!(!known(plain, &ana).await.must_change);

    assert_eq!(change(admin, &ana, AccountChange::Enabled(false)).await, Changed::Done);
    assert_eq!(verify(plain, &ana, "Passw0rd.five").await, PasswordOutcome::Disabled);
    assert!(known(plain, &ana).await.disabled);
    assert!(!person(plain, &name("ana")).await.enabled);
    assert_eq!(change(admin, &ana, AccountChange::Enabled(true)).await, Changed::Done);
    assert_eq!(change(admin, &ana, AccountChange::Unlock).await, Changed::Done);
    assert_eq!(verify(plain, &ana, "Passw0rd.five").await, PasswordOutcome::Right);
}

/// A slapd with a policy of its own, and the directory before it.
fn with_policy(policy: &str, access: &str) -> (Slapd, Arc<LdapDirectory>) {
    with_account(policy, access, "cn=svc,dc=example,dc=org", "svcpw", "")
}

fn with_account(policy: &str, access: &str, dn: &str, password: &str, more: &str) -> (Slapd, Arc<LdapDirectory>) {
    let service = |right: &str| format!("by dn.exact=\"cn=svc,dc=example,dc=org\" {right} by self write by");
    let configuration = include_str!("entries/slapd.conf")
        .replace(
            "by anonymous auth by * none",
            &format!("{} anonymous auth by * none", service(access)),
        )
        .replace("by dn.exact=\"cn=svc,dc=example,dc=org\" read by", &service("write"));
    let common = "pwdInHistory: 3\npwdMinLength: 8\npwdCheckQuality: 2\npwdAllowUserChange: TRUE\n";
    let policies = include_str!("entries/policies.ldif").replace("pwdMaxAge: 315360000", &format!("{common}{policy}"));
    let slapd = Slapd::serving(&configuration, &[include_str!("entries/people.ldif"), &policies]);
    let text = format!(
        "name = \"corp\"\nurls = [{:?}]\nbase_dn = \"ou=people,dc=example,dc=org\"\nbind_dn = {dn:?}\n\
         bind_password = {password:?}\ncache = \"0s\"\nallow_plaintext = true\n{more}\
         password_policy = \"cn=default,dc=example,dc=org\"\n",
        slapd.url(),
    );
    let config: config::LdapDirectory = toml::from_str(&text).unwrap();
    let directory = LdapDirectory::new(&config).unwrap();
    (slapd, directory)
}

#[tokio::test]
async fn openldap_policies_hold_for_what_the_owner_wants() {
    // Once a day at most, and never without the old password.
    let policy = "pwdMaxAge: 315360000\npwdMinAge: 86400\npwdSafeModify: TRUE";
    let (_slapd, directory) = with_policy(policy, "write");
    let directory: &dyn Directory = &*directory;
    let lena = person(directory, &name("lena")).await;
    assert_eq!(own(directory, &lena, "secret", "correct-horse").await, Changed::Done);
    assert_eq!(
        own(directory, &lena, "correct-horse", "battery-staple").await,
        Changed::Refused(PasswordRefusal::TooSoon)
    );
    // Safe modification forbids every reset, a helpdesk's too.
    let refused = reset(directory, &lena, "battery-staple", false).await;
    assert!(
        matches!(&refused, Changed::Forbidden(why) if why.contains("old password")),
        "{refused:?}"
    );

    // What must be changed may be changed at once.
    let reset_by_administrator = AccountChange::MustChange(true);
    assert_eq!(change(directory, &lena, reset_by_administrator).await, Changed::Done);
    assert_eq!(
        verify(directory, &lena, "correct-horse").await,
        PasswordOutcome::MustChange
    );
    assert_eq!(
        own(directory, &lena, "correct-horse", "secret-but-longer").await,
        Changed::Done
    );
    assert_eq!(
        verify(directory, &lena, "secret-but-longer").await,
        PasswordOutcome::Right
    );

    // Expired, without grace: only the account for look-ups can be asked, and history holds all the same.
    let expired = person(directory, &name("expired")).await;
    assert_eq!(verify(directory, &expired, "secret").await, PasswordOutcome::Expired);
    assert_eq!(verify(directory, &expired, "wrong").await, PasswordOutcome::Wrong);
    assert_eq!(
        own(directory, &expired, "secret", "secret").await,
        Changed::Refused(PasswordRefusal::TooShort)
    );
    assert_eq!(own(directory, &expired, "secret", "correct-horse").await, Changed::Done);
    assert_eq!(verify(directory, &expired, "secret").await, PasswordOutcome::Wrong);
    assert_eq!(
        verify(directory, &expired, "correct-horse").await,
        PasswordOutcome::Right
    );
}

#[tokio::test]
async fn openldap_grace_logins_are_enough_for_a_change() {
    let (_slapd, directory) = with_policy("pwdMaxAge: 315360000\npwdGraceAuthNLimit: 3", "write");
    let directory: &dyn Directory = &*directory;
    let expired = person(directory, &name("expired")).await;
    assert_eq!(verify(directory, &expired, "wrong").await, PasswordOutcome::Wrong);
    assert_eq!(verify(directory, &expired, "secret").await, PasswordOutcome::Right);
    assert_eq!(known(directory, &expired).await.grace_logins, Some(2));
    assert_eq!(own(directory, &expired, "secret", "correct-horse").await, Changed::Done);
    assert_eq!(
        verify(directory, &expired, "correct-horse").await,
        PasswordOutcome::Right
    );
    assert_eq!(known(directory, &expired).await.grace_logins, None);
}

/// A lock that an administrator has put on is no lock-out: neither an unlock nor a new password takes it off.
#[tokio::test]
async fn openldap_locks_of_administrators_stay() {
    let (slapd, directory) = with_policy("pwdMaxAge: 315360000", "write");
    let directory: &dyn Directory = &*directory;
    let lena = person(directory, &name("lena")).await;
    assert_eq!(
        change(directory, &lena, AccountChange::Unlock).await,
        Changed::Done,
        "not locked"
    );
    for seconds in ["", "00"] {
        slapd.modify(&format!(
            "dn: uid=lena,ou=people,dc=example,dc=org\nchangetype: modify\nreplace: pwdAccountLockedTime\n\
             pwdAccountLockedTime: 0000010100{seconds}00Z\n"
        ));
        assert_eq!(change(directory, &lena, AccountChange::Unlock).await, Changed::Disabled);
        for must_change in [false, true] {
            assert_eq!(
                reset(directory, &lena, "correct-horse", must_change).await,
                Changed::Disabled
            );
        }
        assert_eq!(verify(directory, &lena, "secret").await, PasswordOutcome::Locked);
    }
    assert_eq!(
        change(directory, &lena, AccountChange::Enabled(true)).await,
        Changed::Done
    );

    // After failures: unlocked, the failures are forgotten, and the password is what it was.
    for _ in 0..3 {
        assert_eq!(verify(directory, &lena, "wrong").await, PasswordOutcome::Wrong);
    }
    assert_eq!(verify(directory, &lena, "secret").await, PasswordOutcome::Locked);
    assert_eq!(change(directory, &lena, AccountChange::Unlock).await, Changed::Done);
    assert_eq!(verify(directory, &lena, "wrong").await, PasswordOutcome::Wrong);
    assert_eq!(verify(directory, &lena, "secret").await, PasswordOutcome::Right);
}

#[tokio::test]
async fn openldap_resets_that_no_history_holds_for_are_not_made() {
    let root = ("cn=admin,dc=example,dc=org", "adminpw");
    let manager = ("cn=svc,dc=example,dc=org", "svcpw");
    let policy = "pwdMaxAge: 315360000";
    for (access, (dn, password)) in [("write", root), ("manage", manager)] {
        let (_slapd, directory) = with_account(policy, access, dn, password, "");
        let directory: &dyn Directory = &*directory;
        let lena = person(directory, &name("lena")).await;
        let refused = reset(directory, &lena, "correct-horse", false).await;
        let said = |why: &str| why.contains("reset_without_history");
        assert!(
            matches!(&refused, Changed::Forbidden(why) if said(why)),
            "{dn}: {refused:?}"
        );
        assert_eq!(verify(directory, &lena, "secret").await, PasswordOutcome::Right, "{dn}");
        // What helpdesk sets is to be changed anyway.
        assert_eq!(
            reset(directory, &lena, "correct-horse", true).await,
            Changed::Done,
            "{dn}"
        );

        let (_slapd, directory) = with_account(policy, access, dn, password, "reset_without_history = true\n");
        let directory: &dyn Directory = &*directory;
        let lena = person(directory, &name("lena")).await;
        assert_eq!(reset(directory, &lena, "secret", false).await, Changed::Done, "{dn}");
    }
    // No more than the right to write is asked for.
    let (_slapd, directory) = with_policy(policy, "=w");
    let lena = person(&*directory, &name("lena")).await;
    assert_eq!(reset(&*directory, &lena, "correct-horse", false).await, Changed::Done);
}
