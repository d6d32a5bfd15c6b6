//! The forms in which people are named, by simple bind and by PLAIN, before real directories.

use std::sync::Arc;

use portcullis::config;
use portcullis::directory::ldap::LdapDirectory;
use tokio::runtime::Runtime;

use super::peers::Setup;
use super::start;
use super::wire::{ANA, Wire, bind, plain, search};
use crate::support::samba::{ADMIN_DN, ADMIN_PASSWORD, Samba};

/// Asserts that each of these names is `dn`, by either way to bind, and that the others are nobody.
fn check(setup: Setup, dn: &str, password: &str, names: &[&str], nobody: &[&str]) {
    let front = setup.and("reject_delay = \"1ms\"").start();
    for name in names {
        for request in [bind(1, name, password), plain(1, ["", name, password])] {
            let mut wire = Wire::connect(front.address);
            assert_eq!(wire.ask(&request).code(), 0, "{name}");
            // Whoever is bound reads the own entry; a domain controller has no WhoAmI.
            assert_eq!(wire.ask_all(&search(2, dn, 0)).len(), 2, "{name}");
        }
        for request in [bind(1, name, "wrong"), plain(1, ["", name, "wrong"])] {
            let mut wire = Wire::connect(front.address);
            assert_eq!(wire.ask(&request).result(), (49, String::new()), "{name}");
        }
        let acting = plain(1, [&format!("u:{}", names[0]), name, password]);
        assert_eq!(Wire::connect(front.address).ask(&acting).code(), 0, "{name}");
    }
    for name in nobody {
        for request in [bind(1, name, password), plain(1, ["", name, password])] {
            let refused = Wire::connect(front.address).ask(&request).result();
            assert_eq!(refused, (49, String::new()), "{name}");
        }
    }
}

#[test]
fn openldap() {
    let slapd = start();
    let text = format!(
        "name = \"corp\"\nurls = [{:?}]\nallow_plaintext = true\nbase_dn = \"dc=example,dc=org\"\n\
         bind_dn = \"cn=admin,dc=example,dc=org\"\nbind_password = \"adminpw\"\nlogin_attributes = [\"uid\", \"mail\"]\n",
        slapd.url()
    );
    slapd.modify(&format!(
        "dn: {ANA}\nchangetype: modify\nadd: mail\nmail: ana@example.org\n"
    ));
    let config: config::LdapDirectory = toml::from_str(&text).unwrap();
    let runtime = Runtime::new().unwrap();
    let directory = {
        let _within = runtime.enter();
        LdapDirectory::new(&config).unwrap()
    };
    let names = [
        "ana",
        "ANA",
        ANA,
        "UID=Ana, OU=people,DC=example,DC=org",
        "ana@example.org",
        "EXAMPLE\\ana",
    ];
    let nobody = [
        "anna",
        "ana@example.com",
        "uid=ana,dc=example,dc=org",
        "*",
        "uid=ana",
        "an\u{0}a",
        "ana)(uid=ben",
    ];
    check(Setup::with(directory), ANA, "anapw", &names, &nobody[..5]);
    let front = Setup::with({
        let _within = runtime.enter();
        LdapDirectory::new(&config).unwrap()
    })
    .and("reject_delay = \"1ms\"")
    .start();
    for name in nobody {
        assert_eq!(
            Wire::connect(front.address).ask(&bind(1, name, "anapw")).code(),
            49,
            "{name:?}"
        );
    }
}

#[test]
fn active_directory() {
    let samba = Samba::start();
    let dn = samba.add("ana", "Passw0rd.one");
    let text = format!(
        "name = \"corp\"\nserver = \"active-directory\"\nurls = [{:?}]\nca_file = {:?}\nbase_dn = \"dc=example,dc=org\"\n\
         bind_dn = {ADMIN_DN:?}\nbind_password = {ADMIN_PASSWORD:?}\nlogin_attributes = [\"sAMAccountName\"]\n\
key_attribute = \"objectGUID\"\nfilter = \"(objectClass=user)\"\n",
        samba.url(),
        samba.authority(),
    );
    let config: config::LdapDirectory = toml::from_str(&text).unwrap();
    let runtime = Runtime::new().unwrap();
    let directory: Arc<LdapDirectory> = {
        let _within = runtime.enter();
        LdapDirectory::new(&config).unwrap()
    };
    let names = ["ana", dn.as_str(), "ana@example.org", "EXAMPLE\\ana", "Example\\Ana"];
    let nobody = ["ben", "ana@example.com", "CN=ana,DC=example,DC=org"];
    check(Setup::with(directory), &dn, "Passw0rd.one", &names, &nobody);
}
