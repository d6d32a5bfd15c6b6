//! A directory without a server behind it, used by real clients.

use std::path::PathBuf;

use portcullis::config::LocalDirectory;
use portcullis::directory::local;

use super::peers::{Front, Setup, run};
use super::wire::{ANA, WHO_AM_I, Wire, bind, control, extended, modify_description, search, search_with};

fn front() -> Front {
    let config = LocalDirectory {
        name: "demo".into(),
        ldif: PathBuf::from("demo.ldif"),
        login_attributes: vec!["uid".into()],
        attributes: Vec::new(),
        language_attribute: None,
        disabled_by: Vec::new(),
        sso_managed_by: Vec::new(),
        sso_managed_groups: Vec::new(),
        remember: std::time::Duration::ZERO,
        cleartext: false,
        password_check: None,
    };
    let password = local::hash_password(&portcullis::secret::Secret::new("anapw"));
    let text = format!(
        "dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n\n\
         dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: {ANA}\nobjectClass: inetOrgPerson\nuid: ana\ncn: Ana\nsn: Example\nuserPassword: {password}\n"
    );
    let directory = local::LocalDirectory::parse(&config, text.as_bytes()).unwrap();
    Setup::with(directory).start()
}

#[test]
fn real_clients_bind_and_search() {
    let front = front();
    let url = front.url();
    let login = ["-x", "-H", url.as_str(), "-D", ANA, "-w", "anapw"];
    let who = run("ldapwhoami", &login, "", &[]);
    assert_eq!(
        String::from_utf8_lossy(&who.stdout).trim(),
        format!("dn:{ANA}"),
        "{who:?}"
    );
    let search = [
        &login[..],
        &[
            "-LLL",
            "-b",
            "dc=example,dc=org",
            "(&(uid=A*)(!(cn=Ben)))",
            "cn",
            "userPassword",
        ],
    ]
    .concat();
    let found = run("ldapsearch", &search, "", &[]);
    assert_eq!(
        String::from_utf8_lossy(&found.stdout).trim(),
        format!("dn: {ANA}\ncn: Ana"),
        "{found:?}"
    );
}

#[test]
fn rights_and_refusals() {
    let front = front();
    let mut wire = Wire::connect(front.address);
    assert_eq!(wire.ask_all(&search(1, "", 0)).len(), 2, "the root DSE and its end");
    assert_eq!(wire.ask(&search(2, ANA, 0)).code(), 8);
    assert_eq!(wire.ask(&bind(3, ANA, "wrong")).result(), (49, String::new()));
    assert_eq!(wire.ask(&bind(4, "ana", "anapw")).code(), 0);
    assert_eq!(wire.who_am_i(5).identity(), format!("dn:{ANA}"));
    assert_eq!(wire.ask(&modify_description(6, ANA, b"x")).code(), 53);
    assert_eq!(wire.ask(&extended(7, "1.2.3.4")).code(), 2);
    assert_eq!(wire.ask(&search_with(8, ANA, 0, &control("1.2.3", true))).code(), 12);
    assert_eq!(wire.ask_all(&search_with(9, ANA, 0, &control("1.2.3", false))).len(), 2);
    wire.send(
        &[
            search(10, ANA, 0),
            extended(11, WHO_AM_I),
            search(12, "dc=example,dc=org", 2),
        ]
        .concat(),
    );
    let ids: Vec<i32> = (0..7).map(|_| wire.expect().id).collect();
    assert_eq!(ids, [10, 10, 11, 12, 12, 12, 12]);
    assert_eq!(wire.ask(&bind(13, ANA, "wrong")).code(), 49);
    assert_eq!(wire.who_am_i(14).code(), 8);
}
