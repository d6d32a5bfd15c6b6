//! LDAP directories against a real slapd, and the same battery against the `local` directory.

// Servers that misbehave, played by a listener of our own.
mod faults;
// Servers found by DNS.
mod discovery;
// Attributes in parts.
mod ranges;
// Passwords and accounts changed, on each kind of server.
mod changes;
// The same on 389 Directory Server.
mod ds389;

use std::sync::Arc;
use std::time::Duration;

use portcullis::config;
use portcullis::directory::ldap::LdapDirectory;
use portcullis::directory::local::LocalDirectory;
use portcullis::directory::{Directory, Link, Standing};
use portcullis::engine::{LoginName, Lookup, PasswordOutcome, Person};
use portcullis::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::certificates::Certificates;
use crate::support::slapd::Slapd;

/// A directory on `urls` with what all the tests have in common.
fn ldap(urls: &[String], more: &str) -> Arc<LdapDirectory> {
    let text = format!(
        "name = \"corp\"\nurls = {urls:?}\nbase_dn = \"ou=people,dc=example,dc=org\"\n\
         bind_dn = \"cn=svc,dc=example,dc=org\"\nbind_password = \"svcpw\"\n\
         login_attributes = [\"uid\", \"mail\"]\n\
         attributes = [\"telephoneNumber\"]\ndisabled_by = [\"employeeType\"]\n{more}"
    );
    let config: config::LdapDirectory = toml::from_str(&text).unwrap();
    LdapDirectory::new(&config).unwrap()
}

/// A slapd with people of every kind.
fn start() -> Slapd {
    let configuration = include_str!("entries/slapd.conf");
    let entries = [
        include_str!("entries/people.ldif"),
        include_str!("entries/policies.ldif"),
    ];
    let slapd = Slapd::serving(configuration, &entries);
    // The overlay fills memberOf when a member is added to the running server.
    slapd.modify(
        "dn: cn=staff,ou=groups,dc=example,dc=org\nchangetype: modify\n\
         delete: member\nmember: uid=ana,ou=people,dc=example,dc=org\n-\n\
         add: member\nmember: uid=ana,ou=people,dc=example,dc=org\n",
    );
    slapd
}

const PLAIN: &str = "allow_plaintext = true\ncache = \"0s\"\n";

fn name(text: &str) -> LoginName {
    LoginName::parse(text).unwrap()
}

async fn person(directory: &dyn Directory, login: &LoginName) -> Arc<Person> {
    let lookup = directory.look_up(login).await;
    let Lookup::Found(person) = lookup else {
        panic!("{login}: {lookup:?}");
    };
    person
}

async fn verify(directory: &dyn Directory, person: &Person, password: &str) -> PasswordOutcome {
    directory.verify(person, &Secret::new(password)).await
}

/// Polls until `done` or ten seconds are over.
async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

/// What every directory does with the people of `people.ldif`.
async fn battery(directory: &dyn Directory) {
    battery_with_key(directory, "corp:11111111-0000-4000-8000-000000000001").await;
}

/// The same where entries have other keys; `key` is that of `ana`.
async fn battery_with_key(directory: &dyn Directory, key: &str) {
    for form in ["ana", " ANA ", "EXAMPLE\\ana", "ana@example.org"] {
        let ana = person(directory, &name(form)).await;
        assert_eq!(ana.dn, "uid=ana,ou=people,dc=example,dc=org", "{form}");
        assert_eq!(ana.key.as_str(), key);
        assert_eq!(&*ana.directory, "corp");
        assert_eq!(ana.login, "ana");
        assert_eq!(ana.groups, ["cn=staff,ou=groups,dc=example,dc=org"]);
        assert_eq!(ana.attributes["telephonenumber"], ["+1 555 1"]);
        assert!(ana.enabled);
    }
    let by_dn = LoginName::parse_dn("UID=Ana, OU=people,dc=example,dc=org").unwrap();
    let ana = person(directory, &by_dn).await;
    assert_eq!(ana.login, "ana");
    assert!(!person(directory, &name("bo")).await.enabled);

    let shared = directory.look_up(&name("shared@example.org")).await;
    assert!(matches!(shared, Lookup::Ambiguous), "{shared:?}");
    let unknown = [
        name("nobody"),
        name("*"),
        name("ana)(uid=*"),
        name("*)(objectclass=*"),
        name("staff"),
        LoginName::parse_dn("uid=nobody,ou=people,dc=example,dc=org").unwrap(),
        LoginName::parse_dn("cn=staff,ou=groups,dc=example,dc=org").unwrap(),
        LoginName::parse_dn("ou=people,dc=example,dc=org").unwrap(),
        LoginName::parse_dn("no name at all").unwrap(),
        LoginName::parse_dn("uid=ana+,,ou=people,dc=example,dc=org").unwrap(),
    ];
    for login in unknown {
        let lookup = directory.look_up(&login).await;
        assert!(matches!(lookup, Lookup::Unknown), "{login}: {lookup:?}");
    }
    // Somebody is really called that.
    let hostile = person(directory, &name("*)(uid=*,\"")).await;
    assert_eq!(hostile.login, "*)(uid=*,\"");

    for person in [&ana, &hostile] {
        assert_eq!(verify(directory, person, "secret").await, PasswordOutcome::Right);
        assert_eq!(verify(directory, person, "Secret").await, PasswordOutcome::Wrong);
        assert_eq!(verify(directory, person, "").await, PasswordOutcome::Wrong);
        assert_eq!(verify(directory, person, "secret").await, PasswordOutcome::Right);
    }
    directory.verify_nobody(&Secret::new("secret")).await;

    directory.forget_look_ups();
    let status = directory.probe().await;
    assert_eq!(status.name, "corp");
    assert!(status.servers.iter().all(|server| server.healthy), "{status:?}");
    assert_eq!(status.queue, 0);
}

#[tokio::test]
async fn the_battery_on_slapd() {
    let slapd = start();
    battery(&*ldap(&[slapd.url()], PLAIN)).await;
    // Once more with everything remembered and one connection for each purpose.
    let small = "allow_plaintext = true\nlook_up_connections = 1\nbind_connections = 1";
    let directory = ldap(&[slapd.url()], small);
    battery(&*directory).await;
    assert!(
        directory.status().servers[0].connections <= 2,
        "{:?}",
        directory.status()
    );
}

#[tokio::test]
async fn the_battery_on_a_local_directory() {
    let text = format!(
        "name = \"corp\"\nldif = \"{}/tests/it/directory/entries/people.ldif\"\n\
         login_attributes = [\"uid\", \"mail\"]\n\
         attributes = [\"telephoneNumber\"]\ndisabled_by = [\"employeeType\"]",
        env!("CARGO_MANIFEST_DIR")
    );
    let config: config::LocalDirectory = toml::from_str(&text).unwrap();
    let directory = LocalDirectory::load(&config).unwrap();
    battery(&*directory).await;
    assert!(matches!(directory.connect().await, Ok(Link::Embedded(_))));
}

#[tokio::test]
async fn ppolicy_outcomes_are_kept_apart() {
    let slapd = start();
    let directory = ldap(&[slapd.url()], PLAIN);
    for (login, password, expected) in [
        ("expired", "secret", PasswordOutcome::Expired),
        ("expired", "wrong", PasswordOutcome::Wrong),
        ("reset", "secret", PasswordOutcome::MustChange),
        ("reset", "wrong", PasswordOutcome::Wrong),
    ] {
        let person = person(&*directory, &name(login)).await;
        let outcome = verify(&*directory, &person, password).await;
        assert_eq!(outcome, expected, "{login} {password}");
    }
    let lena = person(&*directory, &name("lena")).await;
    for _ in 0..3 {
        assert_eq!(verify(&*directory, &lena, "wrong").await, PasswordOutcome::Wrong);
    }
    assert_eq!(verify(&*directory, &lena, "secret").await, PasswordOutcome::Locked);
    // One that went away between look-up and bind: OpenLDAP calls that a wrong password.
    slapd.modify("dn: uid=cy,ou=people,dc=example,dc=org\nchangetype: delete\n");
    let mut cy = Person::clone(&lena);
    cy.dn = "uid=cy,ou=people,dc=example,dc=org".into();
    assert_eq!(verify(&*directory, &cy, "secret").await, PasswordOutcome::Wrong);
}

#[tokio::test]
async fn groups_are_searched_where_people_do_not_list_them() {
    let slapd = start();
    let more = "group_attribute = \"description\"\ngroup_base_dn = \"ou=groups,dc=example,dc=org\"\n\
                group_filter = \"(&(objectClass=groupOfNames)(member={dn}))\"\n";
    let directory = ldap(&[slapd.url()], &format!("{PLAIN}{more}"));
    let ana = person(&*directory, &name("ana")).await;
    assert_eq!(ana.groups, ["cn=staff,ou=groups,dc=example,dc=org"]);
    let hostile = person(&*directory, &name("*)(uid=*,\"")).await;
    assert!(hostile.groups.is_empty(), "{:?}", hostile.groups);
}

#[tokio::test]
async fn groups_in_groups_count_where_they_are_meant_to() {
    let slapd = start();
    for (group, member) in [
        ("all", "cn=staff,ou=groups,dc=example,dc=org"),
        ("everybody", "cn=all,ou=groups,dc=example,dc=org"),
        // Round and round.
        ("loop", "cn=everybody,ou=groups,dc=example,dc=org"),
    ] {
        slapd.modify(&format!(
            "dn: cn={group},ou=groups,dc=example,dc=org\nchangetype: add\nobjectClass: groupOfNames\n\
             cn: {group}\nmember: {member}\n"
        ));
    }
    slapd.modify(
        "dn: cn=staff,ou=groups,dc=example,dc=org\nchangetype: modify\nadd: member\n\
         member: cn=loop,ou=groups,dc=example,dc=org\n",
    );
    let more = format!("{PLAIN}group_base_dn = \"ou=groups,dc=example,dc=org\"\n");
    let flat = ldap(&[slapd.url()], &more);
    assert_eq!(person(&*flat, &name("ana")).await.groups.len(), 1);
    let nested = ldap(&[slapd.url()], &format!("{more}nested_groups = true\n"));
    let groups = person(&*nested, &name("ana")).await.groups.clone();
    let named = |name: &str| format!("cn={name},ou=groups,dc=example,dc=org");
    assert_eq!(groups, ["all", "everybody", "loop", "staff"].map(named));
}

#[tokio::test]
async fn look_ups_are_remembered_until_forgotten() {
    let slapd = start();
    let directory = ldap(&[slapd.url()], "allow_plaintext = true\ncache = \"1h\"");
    person(&*directory, &name("cy")).await;
    slapd.modify("dn: uid=cy,ou=people,dc=example,dc=org\nchangetype: delete\n");
    person(&*directory, &name("cy")).await;
    directory.forget_look_ups();
    assert!(matches!(directory.look_up(&name("cy")).await, Lookup::Unknown));
}

#[tokio::test]
async fn a_service_account_that_cannot_bind_is_an_outage() {
    let slapd = start();
    let text = format!(
        "name = \"corp\"\nurls = [\"{}\"]\nbase_dn = \"dc=example,dc=org\"\nallow_plaintext = true\n\
         bind_dn = \"cn=svc,dc=example,dc=org\"\nbind_password = \"not it\"\n",
        slapd.url()
    );
    let directory = LdapDirectory::new(&toml::from_str(&text).unwrap()).unwrap();
    // More often than the policy forgives: the account is not locked by it.
    for _ in 0..10 {
        let lookup = directory.look_up(&name("ana")).await;
        let Lookup::Unavailable(why) = lookup else {
            panic!("{lookup:?}")
        };
        assert!(
            why.contains("cn=svc,dc=example,dc=org") && why.contains("bind_password"),
            "{why}"
        );
    }
    person(&*ldap(&[slapd.url()], PLAIN), &name("ana")).await;
}

#[tokio::test]
async fn encrypted_and_verified() {
    let slapd = start();
    let ca = format!("ca_file = {:?}\ncache = \"0s\"\n", slapd.certificates().authority);
    let start_tls = slapd.url();
    let ldaps = slapd.tls_url();
    for url in [&start_tls, &ldaps] {
        battery(&*ldap(std::slice::from_ref(url), &ca)).await;
        let named = format!("{ca}server_name = \"ldap.example.org\"\n");
        person(&*ldap(std::slice::from_ref(url), &named), &name("ana")).await;
    }

    let folder = tempfile::tempdir().unwrap();
    let other = Certificates::make(folder.path());
    let wrong_authority = format!("ca_file = {:?}\n", other.authority);
    let wrong_name = format!("{ca}server_name = \"other.example.org\"\n");
    for url in [&start_tls, &ldaps] {
        for more in [&wrong_authority, &wrong_name] {
            let directory = ldap(std::slice::from_ref(url), more);
            let lookup = directory.look_up(&name("ana")).await;
            let Lookup::Unavailable(why) = lookup else {
                panic!("{url} {more}: {lookup:?}")
            };
            assert!(why.contains("certificate"), "{url} {more}: {why}");
            assert!(directory.connect().await.is_err());
            assert!(!directory.probe().await.servers[0].healthy);
        }
    }
}

#[tokio::test]
async fn the_ldap_front_end_gets_a_bare_connection() {
    let slapd = start();
    let ca = format!("ca_file = {:?}\n", slapd.certificates().authority);
    for (url, more) in [
        (slapd.url(), PLAIN),
        (slapd.url(), ca.as_str()),
        (slapd.tls_url(), ca.as_str()),
    ] {
        let directory = ldap(&[url], more);
        let Ok(Link::Remote(mut stream)) = directory.connect().await else {
            panic!()
        };
        // WhoAmI (RFC 4532): nobody is bound.
        let request = b"\x30\x1e\x02\x01\x01\x77\x19\x80\x171.3.6.1.4.1.4203.1.11.3";
        stream.write_all(request).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).await.unwrap();
        let message = portcullis::ber::Message::read(&answer[..length]).unwrap();
        assert_eq!((message.id, message.operation.tag), (1, 0x78));
        assert_eq!(&message.operation.content[..3], [0x0a, 0x01, 0x00]);
    }
}

#[tokio::test]
async fn another_server_takes_over_and_gives_back() {
    let (mut first, second) = (start(), start());
    let more = format!("{PLAIN}health_interval = \"200ms\"\n");
    let directory = ldap(&[first.url(), second.url()], &more);
    let ana = person(&*directory, &name("ana")).await;
    assert_eq!(verify(&*directory, &ana, "secret").await, PasswordOutcome::Right);
    assert_eq!(directory.status().servers[1].connections, 0, "the first is preferred");

    // The idle connections are closed by this, so that nobody notices.
    first.kill();
    assert_eq!(verify(&*directory, &ana, "secret").await, PasswordOutcome::Right);
    person(&*directory, &name("ana")).await;
    let status = directory.status();
    assert!(
        !status.servers[0].healthy && status.servers[0].error.is_some(),
        "{status:?}"
    );
    assert!(
        status.servers[1].healthy && status.servers[1].connections > 0,
        "{status:?}"
    );

    first.start_again();
    eventually("the first server is taken back", async || {
        directory.status().servers[0].standing == Standing::Healthy
    })
    .await;
    assert_eq!(verify(&*directory, &ana, "secret").await, PasswordOutcome::Right);
    let status = directory.status();
    assert!(
        status.servers[0].connections > 0 && status.servers[0].error.is_none(),
        "{status:?}"
    );

    drop((first, second));
    let outcome = verify(&*directory, &ana, "secret").await;
    assert!(matches!(outcome, PasswordOutcome::Unavailable(_)), "{outcome:?}");
    let lookup = directory.look_up(&name("ana")).await;
    assert!(matches!(lookup, Lookup::Unavailable(_)), "{lookup:?}");
    assert!(directory.connect().await.is_err());
}

#[tokio::test]
async fn a_stalled_server_holds_up_nobody_else() {
    let (stalled, other) = (start(), start());
    let more = format!("{PLAIN}timeout = \"3s\"\nhealth_interval = \"300ms\"\n");
    let directory = ldap(&[stalled.url()], &more);
    let neighbour = ldap(&[other.url()], &more);
    let ana = person(&*directory, &name("ana")).await;
    assert_eq!(verify(&*directory, &ana, "secret").await, PasswordOutcome::Right);

    stalled.halt();
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let (directory, ana) = (Arc::clone(&directory), Arc::clone(&ana));
            tokio::spawn(async move { verify(&*directory, &ana, "secret").await })
        })
        .collect();
    tokio::task::yield_now().await;
    for _ in 0..50 {
        person(&*neighbour, &name("ana")).await;
        assert_eq!(verify(&*neighbour, &ana, "secret").await, PasswordOutcome::Right);
    }
    assert!(
        waiting.iter().any(|task| !task.is_finished()),
        "the neighbour waited for the stalled server"
    );
    for task in waiting {
        let outcome = task.await.unwrap();
        assert!(matches!(outcome, PasswordOutcome::Unavailable(_)), "{outcome:?}");
    }
    assert!(!directory.status().servers[0].healthy);
    // It is not waited for a second time.
    let started = portcullis::clock::monotonic();
    assert!(matches!(directory.look_up(&name("ana")).await, Lookup::Unavailable(_)));
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(directory.status().queue, 0);

    stalled.go_on();
    eventually("the server is taken back", async || {
        verify(&*directory, &ana, "secret").await == PasswordOutcome::Right
    })
    .await;
}
