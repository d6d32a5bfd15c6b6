//! The directory as a whole, on a file of its own.

use std::time::Duration;

use super::*;
use crate::engine::response::{Chap, MsChapV2, Peer};

fn config() -> config::LocalDirectory {
    config::LocalDirectory {
        name: "site".into(),
        ldif: "site.ldif".into(),
        login_attributes: vec!["uid".into(), "employeeNumber".into(), "mail".into()],
        attributes: vec!["Mail".into()],
        language_attribute: None,
        disabled_by: vec!["nsAccountLock".into()],
        sso_managed_by: Vec::new(),
        sso_managed_groups: Vec::new(),
        remember: Duration::from_secs(60),
        cleartext: false,
        password_check: None,
    }
}

fn site(hash: &str) -> String {
    format!(
        "dn: dc=x\nobjectClass: domain\ndc: x\n\n\
         dn: uid=Ana,dc=x\nobjectClass: inetOrgPerson\nuid: Ana\nmail: Ana@Example.org\n\
         entryUUID: 0F0E0D0C-0000-4000-8000-000000000001\nuserPassword: {hash}\n\n\
         dn: uid=bo,dc=x\nobjectClass: inetOrgPerson\nuid: bo\nemployeeNumber: ana2\n\
         nsAccountLock: TRUE\nuserPassword: {SHA_SECRET}\n\n\
         dn: uid=ana2,dc=x\nobjectClass: inetOrgPerson\nuid: ana2\nuserPassword: {SHA_SECRET}\n\n\
         dn: uid=none,dc=x\nobjectClass: inetOrgPerson\nuid: none\n\n\
         dn: cn=staff,dc=x\nobjectClass: groupOfNames\ncn: staff\nmember: uid=ana,dc=x\n"
    )
}

const SHA_SECRET: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

fn load(hash: &str) -> Arc<LocalDirectory> {
    LocalDirectory::parse(&config(), site(hash).as_bytes()).unwrap()
}

fn found(directory: &LocalDirectory, login: LoginName) -> Arc<Person> {
    let lookup = directory.find(&login);
    let Lookup::Found(person) = lookup else {
        panic!("{login}: {lookup:?}");
    };
    person
}

#[test]
fn people_are_found_by_every_form_of_name() {
    let directory = load(SHA_SECRET);
    for name in ["ana", " ANA", "EX\\ana", "ana@EXAMPLE.org"] {
        let ana = found(&directory, LoginName::parse(name).unwrap());
        assert_eq!(ana.dn, "uid=Ana,dc=x");
        assert_eq!(ana.key.as_str(), "site:0f0e0d0c-0000-4000-8000-000000000001");
        assert_eq!(ana.login, "Ana");
        assert_eq!(ana.groups, ["cn=staff,dc=x"]);
        assert_eq!(ana.attributes["mail"], ["Ana@Example.org"]);
        assert!(ana.enabled);
    }
    assert!(!found(&directory, LoginName::parse("bo").unwrap()).enabled);
    assert_eq!(
        found(&directory, LoginName::parse_dn("UID=bo, DC=x").unwrap()).dn,
        "uid=bo,dc=x"
    );
}

#[test]
fn a_mail_address_is_a_name_only_where_it_is_configured() {
    let config = config::LocalDirectory {
        login_attributes: vec!["uid".into()],
        ..config()
    };
    let directory = LocalDirectory::parse(&config, site(SHA_SECRET).as_bytes()).unwrap();
    let lookup = directory.find(&LoginName::parse("ana@example.org").unwrap());
    assert!(matches!(lookup, Lookup::Unknown), "{lookup:?}");
}

#[test]
fn who_is_not_found() {
    let directory = load(SHA_SECRET);
    for name in ["none", "nobody", "*", "ana)(uid=*", "staff", "cn=staff,dc=x"] {
        let lookup = directory.find(&LoginName::parse(name).unwrap());
        assert!(matches!(lookup, Lookup::Unknown), "{name}: {lookup:?}");
    }
    let group = LoginName::parse_dn("cn=staff,dc=x").unwrap();
    assert!(matches!(directory.find(&group), Lookup::Unknown));
    let two = directory.find(&LoginName::parse("ana2").unwrap());
    assert!(matches!(two, Lookup::Ambiguous), "{two:?}");
}

#[tokio::test]
async fn passwords() {
    let hash = hash_password(&Secret::new("hunter2"));
    let directory = load(&hash);
    let ana = found(&directory, LoginName::parse("ana").unwrap());
    let verify = async |password: &str| directory.verify(&ana, &Secret::new(password)).await;
    assert_eq!(verify("hunter3").await, PasswordOutcome::Wrong);
    assert_eq!(verify("hunter2").await, PasswordOutcome::Right);
    assert_eq!(verify("").await, PasswordOutcome::Wrong);
    directory.verify_nobody(&Secret::new("hunter2")).await;
    let mut gone = Person::clone(&ana);
    gone.dn = "uid=gone,dc=x".into();
    let outcome = directory.verify(&gone, &Secret::new("hunter2")).await;
    assert_eq!(outcome, PasswordOutcome::Unknown);
}

#[test]
fn a_right_password_is_remembered_without_the_workers() {
    let directory = load(&hash_password(&Secret::new("hunter2")));
    let ana = found(&directory, LoginName::parse("ana").unwrap());
    let right = Secret::new("hunter2");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(directory.verify(&ana, &right)), PasswordOutcome::Right);
    // Polled once, outside any runtime: a trip to another thread would not be ready, or panic.
    let poll = |password: &Secret| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        directory.verify(&ana, password).as_mut().poll(&mut context)
    };
    assert_eq!(poll(&right), std::task::Poll::Ready(PasswordOutcome::Right));
    let remembered = directory.remembered.as_ref().unwrap();
    let stored = &directory.people[directory.by_normalised_dn["uid=ana,dc=x"]].password;
    let changed = StoredPassword::parse(hash_password(&right).as_bytes(), Clear::Refused).unwrap();
    assert!(
        remembered
            .right
            .contains_key(&remembered.digest(&ana.key, stored, &right))
    );
    assert!(
        !remembered
            .right
            .contains_key(&remembered.digest(&ana.key, &changed, &right))
    );
    assert!(
        !remembered
            .right
            .contains_key(&remembered.digest(&ana.key, stored, &Secret::new("x")))
    );
}

#[tokio::test]
async fn responses_are_judged_by_what_is_kept() {
    const CHALLENGE: [u8; 16] = [1; 16];
    let password = Secret::new("clientPass");
    let chap = Chap::new(3, &CHALLENGE, Chap::response(3, &password, &CHALLENGE)).unwrap();
    let peer = Peer {
        user: b"ana",
        password: &password,
        challenge: &CHALLENGE,
        peer_challenge: &[2; 16],
    };
    let modern = MsChapV2::new(&peer.response(4).unwrap(), &CHALLENGE, b"ana").unwrap();
    let (chap, modern) = (Response::Chap(chap), Response::MsChapV2(modern));
    let config = config::LocalDirectory {
        cleartext: true,
        ..config()
    };
    let nt = "44ebba8d5312b8d611474411f56989ae";
    let beside = format!("{SHA_SECRET}\nsambaNTPassword: {nt}");
    for (stored, by_chap, by_modern) in [
        ("clientPass".to_owned(), "Right(None)", "Right(Some"),
        ("{CLEARTEXT}clientPass".into(), "Right(None)", "Right(Some"),
        ("{CLEARTEXT}clientpass".into(), "Wrong", "Wrong"),
        (format!("{{NT}}{nt}"), "Impossible", "Right(Some"),
        (beside, "Impossible", "Right(Some"),
        (SHA_SECRET.into(), "Impossible", "Impossible"),
    ] {
        let directory = LocalDirectory::parse(&config, site(&stored).as_bytes()).unwrap();
        let ana = found(&directory, LoginName::parse("ana").unwrap());
        for (response, expected) in [(&chap, by_chap), (&modern, by_modern)] {
            let outcome = directory.verify_response(&ana, response).await;
            assert!(format!("{outcome:?}").starts_with(expected), "{stored}: {outcome:?}");
        }
        let mut gone = Person::clone(&ana);
        gone.dn = "uid=gone,dc=x".into();
        let outcome = directory.verify_response(&gone, &chap).await;
        assert!(matches!(outcome, ResponseOutcome::Unknown));
    }
}

#[test]
fn faults_name_file_and_line() {
    let text = site("hunter2");
    let Err(faults) = LocalDirectory::parse(&config(), text.as_bytes()) else {
        panic!()
    };
    assert!(
        faults.to_string().starts_with("site.ldif:10:1: userPassword: "),
        "{faults}"
    );
    let Err(faults) = LocalDirectory::load(&config()) else {
        panic!()
    };
    assert!(faults.to_string().starts_with("site.ldif: cannot be read"), "{faults}");
}
