//! The same on 389 Directory Server.

use std::sync::Arc;

use portcullis::config;
use portcullis::directory::Directory;
use portcullis::directory::ldap::LdapDirectory;
use portcullis::engine::account::{AccountChange, AccountState, Changed, PasswordRefusal, StateAnswer};
use portcullis::engine::{Lookup, PasswordOutcome, Person};

use super::changes::{change, known, own, reset};
use super::{battery_with_key, name, person, verify};
use crate::support::ds389::{ADMIN_PASSWORD, Ds389};

/// A server with the people of the battery, and a service account that may change them.
fn start() -> Ds389 {
    let people = include_str!("entries/people.ldif");
    let server = Ds389::serving(&[people, ENTRIES]);
    server.modify(RIGHTS);
    server.modify(POLICY);
    server
}

const ENTRIES: &str = "\
dn: cn=svc,dc=example,dc=org
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: svc
userPassword: svcpw

dn: uid=lena,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: lena
cn: L
sn: L
manager: uid=ana,ou=people,dc=example,dc=org
userPassword: Old-secret.1
";

const RIGHTS: &str = "\
dn: dc=example,dc=org
changetype: modify
add: aci
aci: (targetattr=\"*\")(version 3.0; acl \"read\"; allow (read, search, compare) userdn=\"ldap:///all\";)
aci: (targetattr=\"userPassword || accountUnlockTime || passwordRetryCount || retryCountResetTime || passwordExpirationTime || nsAccountLock\")(version 3.0; acl \"service\"; allow (write) userdn=\"ldap:///cn=svc,dc=example,dc=org\";)
aci: (targetattr=\"userPassword\")(version 3.0; acl \"self\"; allow (write) userdn=\"ldap:///self\";)
";

const POLICY: &str = "\
dn: cn=config
changetype: modify
replace: passwordLockout
passwordLockout: on
-
replace: passwordMaxFailure
passwordMaxFailure: 3
-
replace: passwordMustChange
passwordMustChange: on
-
replace: passwordExp
passwordExp: on
-
replace: passwordHistory
passwordHistory: on
-
replace: passwordInHistory
passwordInHistory: 3
-
replace: passwordCheckSyntax
passwordCheckSyntax: on
-
replace: passwordMinLength
passwordMinLength: 8
-
replace: passwordMinDigits
passwordMinDigits: 1
-
replace: passwordSendExpiringTime
passwordSendExpiringTime: off
";

fn directory(server: &Ds389, more: &str) -> Arc<LdapDirectory> {
    let text = format!(
        "name = \"corp\"\nserver = \"389ds\"\nurls = [{:?}]\nca_file = {:?}\n\
         base_dn = \"ou=people,dc=example,dc=org\"\nbind_dn = \"cn=svc,dc=example,dc=org\"\nbind_password = \"svcpw\"\n\
         login_attributes = [\"uid\", \"mail\"]\nattributes = [\"telephoneNumber\"]\ncache = \"0s\"\n\
         key_attribute = \"nsUniqueId\"\n{more}",
        server.tls_url(),
        server.authority(),
    );
    let config: config::LdapDirectory = toml::from_str(&text).unwrap();
    LdapDirectory::new(&config).unwrap()
}

#[tokio::test]
async fn the_battery() {
    let server = start();
    let directory = directory(&server, "disabled_by = [\"employeeType\"]\n");
    let ana = person(&*directory, &name("ana")).await;
    let key = ana.key.as_str().strip_prefix("corp:").unwrap();
    assert_eq!((key.len(), key.matches('-').count()), (35, 3), "{key}");
    battery_with_key(&*directory, ana.key.as_str()).await;
}

#[tokio::test]
async fn passwords() {
    let server = start();
    let directory = directory(&server, "");
    let directory: &dyn Directory = &*directory;
    let lena = person(directory, &name("lena")).await;
    let refused = [
        ("short", PasswordRefusal::TooShort),
        ("longbutnodigit", PasswordRefusal::TooSimple),
    ];
    assert_eq!(
        own(directory, &lena, "wrong", "correct-horse1").await,
        Changed::WrongPassword
    );
    for (password, why) in refused {
        assert_eq!(
            own(directory, &lena, OLD, password).await,
            Changed::Refused(why),
            "{password}"
        );
    }
    assert_eq!(own(directory, &lena, OLD, "correct-horse1").await, Changed::Done);
    assert_eq!(
        own(directory, &lena, "correct-horse1", OLD).await,
        Changed::Refused(PasswordRefusal::UsedBefore)
    );
    assert_eq!(verify(directory, &lena, "correct-horse1").await, PasswordOutcome::Right);

    // By an administrator: to be changed.
    assert_eq!(reset(directory, &lena, "battery-staple1", true).await, Changed::Done);
    assert_eq!(
        verify(directory, &lena, "battery-staple1").await,
        PasswordOutcome::MustChange
    );
    assert_eq!(verify(directory, &lena, "wrong").await, PasswordOutcome::Wrong);
    assert!(known(directory, &lena).await.must_change);
    assert_eq!(
        own(directory, &lena, "battery-staple1", "another-horse1").await,
        Changed::Done
    );
    assert_eq!(verify(directory, &lena, "another-horse1").await, PasswordOutcome::Right);
    assert!(!known(directory, &lena).await.must_change);
    // Its owner's own, proved in another way: not to be changed, whatever the server's policy says of resets.
    assert_eq!(reset(directory, &lena, "battery-stable2", false).await, Changed::Done);
    assert_eq!(
        verify(directory, &lena, "battery-stable2").await,
        PasswordOutcome::Right
    );
    assert_eq!(
        reset(directory, &lena, "another-horse1", false).await,
        Changed::Refused(PasswordRefusal::UsedBefore)
    );

    // Too old to log in with, and changed all the same by who knows it.
    server.modify(
        "dn: uid=lena,ou=people,dc=example,dc=org\nchangetype: modify\n\
         replace: passwordExpirationTime\npasswordExpirationTime: 20200101000000Z\n",
    );
    assert_eq!(
        verify(directory, &lena, "battery-stable2").await,
        PasswordOutcome::Expired
    );
    let state = known(directory, &lena).await;
    assert!(
        state.expired && !state.must_change && state.password_expires.is_some(),
        "{state:?}"
    );
    assert_eq!(
        own(directory, &lena, "wrong", "third-horse3").await,
        Changed::WrongPassword
    );
    assert_eq!(
        own(directory, &lena, "battery-stable2", "third-horse3").await,
        Changed::Done
    );
    assert_eq!(verify(directory, &lena, "third-horse3").await, PasswordOutcome::Right);
}

#[tokio::test]
async fn a_reset_that_no_history_holds_for_is_not_made() {
    let server = start();
    let text = |more: &str| {
        format!(
            "name = \"corp\"\nserver = \"389ds\"\nurls = [{:?}]\nca_file = {:?}\n\
             base_dn = \"ou=people,dc=example,dc=org\"\nbind_dn = \"CN = directory manager\"\n\
             bind_password = {ADMIN_PASSWORD:?}\ncache = \"0s\"\nkey_attribute = \"nsUniqueId\"\n{more}",
            server.tls_url(),
            server.authority(),
        )
    };
    let by = |more: &str| {
        let config: config::LdapDirectory = toml::from_str(&text(more)).unwrap();
        LdapDirectory::new(&config).unwrap()
    };
    let manager = by("");
    let lena = person(&*manager, &name("lena")).await;
    let refused = reset(&*manager, &lena, "correct-horse1", false).await;
    assert!(matches!(refused, Changed::Forbidden(_)), "{refused:?}");
    assert_eq!(verify(&*manager, &lena, OLD).await, PasswordOutcome::Right);
    assert_eq!(reset(&*manager, &lena, "correct-horse1", true).await, Changed::Done);
    let regardless = by("reset_without_history = true\n");
    assert_eq!(reset(&*regardless, &lena, "correct-horse2", false).await, Changed::Done);
}

#[tokio::test]
async fn accounts() {
    let server = start();
    let directory = directory(&server, "disabled_by = [\"nsAccountLock\"]\n");
    let directory: &dyn Directory = &*directory;
    let lena = person(directory, &name("lena")).await;
    let manager = directory.manager(&lena).await;
    assert!(
        matches!(&manager, Lookup::Found(ana) if ana.login == "ana"),
        "{manager:?}"
    );
    assert_eq!(known(directory, &lena).await, AccountState::default());

    assert_eq!(
        change(directory, &lena, AccountChange::MustChange(true)).await,
        Changed::Done
    );
    assert_eq!(verify(directory, &lena, OLD).await, PasswordOutcome::MustChange);
    // And says nothing of who is next on the same connection.
    let ana = person(directory, &name("ana")).await;
    assert_eq!(verify(directory, &ana, "secret").await, PasswordOutcome::Right);
    assert_eq!(
        change(directory, &lena, AccountChange::MustChange(false)).await,
        Changed::Done
    );
    assert_eq!(verify(directory, &lena, OLD).await, PasswordOutcome::Right);

    for _ in 0..3 {
        assert_eq!(verify(directory, &lena, "wrong").await, PasswordOutcome::Wrong);
    }
    assert_eq!(verify(directory, &lena, OLD).await, PasswordOutcome::Locked);
    let state = known(directory, &lena).await;
    assert!(state.locked && state.locked_until.is_some(), "{state:?}");
    assert_eq!(change(directory, &lena, AccountChange::Unlock).await, Changed::Done);
    assert!(!known(directory, &lena).await.locked);
    assert_eq!(verify(directory, &lena, OLD).await, PasswordOutcome::Right);

    assert_eq!(
        change(directory, &lena, AccountChange::Enabled(false)).await,
        Changed::Done
    );
    assert_eq!(verify(directory, &lena, OLD).await, PasswordOutcome::Disabled);
    assert!(!person(directory, &name("lena")).await.enabled);
    assert!(known(directory, &lena).await.disabled);
    assert_eq!(
        change(directory, &lena, AccountChange::Enabled(true)).await,
        Changed::Done
    );
    assert_eq!(verify(directory, &lena, OLD).await, PasswordOutcome::Right);
    let mut gone = Person::clone(&lena);
    gone.dn = "uid=gone,ou=people,dc=example,dc=org".into();
    // What is not there is nobody's to change.
    let changed = change(directory, &gone, AccountChange::Unlock).await;
    assert!(matches!(changed, Changed::Forbidden(_)), "{changed:?}");
    assert_eq!(directory.state(&gone).await, StateAnswer::Unknown);
}

#[tokio::test]
async fn groups_in_groups_and_roles() {
    let server = start();
    server.modify(GROUPS);
    let more = "group_base_dn = \"ou=groups,dc=example,dc=org\"\nnested_groups = true\n";
    let nested = directory(&server, more);
    let groups = person(&*nested, &name("ana")).await.groups.clone();
    let named = |name: &str| format!("cn={name},ou=groups,dc=example,dc=org");
    assert_eq!(groups, ["all", "staff"].map(named));

    // Inactivated by a role instead of an attribute of the entry.
    server.modify(ROLES);
    let directory = directory(&server, "disabled_by = [\"nsAccountLock\"]\n");
    let lena = person(&*directory, &name("lena")).await;
    assert!(!lena.enabled);
    assert!(known(&*directory, &lena).await.disabled);
    assert_eq!(verify(&*directory, &lena, OLD).await, PasswordOutcome::Disabled);
}

/// The password of `lena`.
const OLD: &str = "Old-secret.1";

const GROUPS: &str = "\
dn: cn=all,ou=groups,dc=example,dc=org
changetype: add
objectClass: groupOfNames
cn: all
member: cn=staff,ou=groups,dc=example,dc=org
";

const ROLES: &str = "\
dn: cn=nsManagedDisabledRole,dc=example,dc=org
changetype: add
objectClass: LDAPsubentry
objectClass: nsRoleDefinition
objectClass: nsSimpleRoleDefinition
objectClass: nsManagedRoleDefinition
cn: nsManagedDisabledRole

dn: cn=nsAccountInactivationTmp,dc=example,dc=org
changetype: add
objectClass: nsContainer
cn: nsAccountInactivationTmp

dn: cn=\"cn=nsManagedDisabledRole,dc=example,dc=org\",cn=nsAccountInactivationTmp,dc=example,dc=org
changetype: add
objectClass: extensibleObject
objectClass: costemplate
objectClass: LDAPsubentry
cosPriority: 1
nsAccountLock: true

dn: cn=nsAccountInactivation_cos,dc=example,dc=org
changetype: add
objectClass: LDAPsubentry
objectClass: cosSuperDefinition
objectClass: cosClassicDefinition
cosTemplateDn: cn=nsAccountInactivationTmp,dc=example,dc=org
cosSpecifier: nsRole
cosAttribute: nsAccountLock operational

dn: uid=lena,ou=people,dc=example,dc=org
changetype: modify
add: nsRoleDN
nsRoleDN: cn=nsManagedDisabledRole,dc=example,dc=org
";
