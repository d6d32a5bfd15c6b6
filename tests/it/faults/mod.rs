//! Every fault of a directory server for every operation: an outage is told as an outage, truth stays truth,
//! nobody else is harmed, and service comes back by itself.

mod neighbours; // other servers, other connections, limits
mod site; // the installed server: codes and counters

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use portcullis::ber::{self, OCTET_STRING};
use portcullis::config;
use portcullis::directory::Directory;
use portcullis::directory::ldap::LdapDirectory;
use portcullis::engine::{LoginName, Lookup, PasswordOutcome, Person, UserKey};
use portcullis::secret::Secret;
use tokio::runtime::Runtime;

use crate::front::peers::{Front, Setup};
use crate::front::wire::{Wire, bind, message, modify_description};
use crate::support::faults::{BIND, COMPARE, Fault, Faults, MODIFY, SEARCH};
use crate::support::process::until;
use crate::support::slapd::{SERVICE_DN, SERVICE_PASSWORD, SUFFIX, Slapd, password, user, user_dn};

/// What may become of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// Busy, unavailable or unwilling.
    Outage,
    /// The server's own answer.
    Truth,
    /// One of the two.
    Either,
    /// The connection is closed without a word: something had begun to be said.
    Closed,
    /// No answer: clients of the relay wait as long as they like.
    Waiting,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Saw {
    Code(i32),
    Closed,
    Waiting,
}

const SLOWER_THAN_THE_TIME_OUT: Fault = Fault::Drip(Duration::from_millis(100));

/// All faults, with what they mean to an operation that is relayed.
const ALL: [(Fault, Want); 17] = [
    (Fault::Refuse, Want::Outage),
    (Fault::Hang, Want::Waiting),
    (Fault::Lost, Want::Waiting),
    (Fault::Reset, Want::Outage),
    (Fault::ResetAmid, Want::Outage),
    (Fault::ResetAfter, Want::Either),
    (Fault::Close, Want::Outage),
    (Fault::Cut, Want::Outage),
    (Fault::WrongId, Want::Outage),
    (Fault::OthersBind, Want::Outage),
    (Fault::Duplicate, Want::Truth),
    (Fault::Garbage, Want::Outage),
    (Fault::Endless, Want::Closed),
    (Fault::Notice, Want::Outage),
    (Fault::FloodNotices, Want::Outage),
    (Fault::FloodGarbage, Want::Outage),
    (SLOWER_THAN_THE_TIME_OUT, Want::Truth),
];

/// What a fault means to an exchange that has to be over within the directory's time-out.
fn timed(fault: Fault, relayed: Want) -> Want {
    match relayed {
        Want::Waiting | Want::Closed => Want::Outage,
        Want::Truth if fault == SLOWER_THAN_THE_TIME_OUT => Want::Outage,
        Want::Truth | Want::Either | Want::Outage => relayed,
    }
}

/// A real server behind the proxy of faults, and Portcullis' two ways to it.
struct Rig {
    slapd: Slapd,
    faults: Faults,
    directory: Arc<LdapDirectory>,
    front: Front,
    runtime: Runtime,
}

impl Rig {
    fn start() -> Self {
        let slapd = Slapd::start(5);
        let faults = Faults::before(slapd.address());
        let runtime = Runtime::new().unwrap();
        let directory = directory(&runtime, &[faults.url()], "");
        let front = Setup::with(Arc::clone(&directory) as Arc<dyn Directory>).start();
        Self {
            slapd,
            faults,
            directory,
            front,
            runtime,
        }
    }

    fn verify(&self, password: &str) -> PasswordOutcome {
        verify(&self.runtime, &self.directory, password)
    }

    fn look_up(&self) -> Lookup {
        let login = LoginName::parse(&user(1)).unwrap();
        self.runtime.block_on(self.directory.look_up(&login))
    }

    fn bind(&self) -> Saw {
        let mut wire = Wire::connect(self.front.address);
        ask(&mut wire, 1, &bind(1, &user_dn(1), &password(1)))
    }

    /// After a fault, without a restart of anything.
    fn expect_service(&self, after: &str) {
        until(&format!("service after {after}"), || {
            self.verify(&password(1)) == PasswordOutcome::Right
                && matches!(self.look_up(), Lookup::Found(_))
                && self.bind() == Saw::Code(0)
        });
    }

    fn relayed(&self, operation: u8, truth: i32, request: impl Fn(i32) -> Vec<u8>) {
        self.expect_service("the start");
        for (fault, want) in ALL {
            let mut wire = Wire::bound(self.front.address, &user_dn(1), &password(1));
            self.faults.set(fault, Some(operation));
            if want == Want::Waiting {
                let patience = Duration::from_millis(300);
                wire.stream.set_read_timeout(Some(patience)).unwrap();
            }
            let saw = ask(&mut wire, 2, &request(2));
            judge(fault, want, &saw, truth);
            self.faults.clear();
            self.expect_service(&format!("{fault:?}"));
        }
    }
}

/// Behind a proxy that passes TLS on without understanding it: a connection that is cut there ends without a
/// closure alert (RFC 8446 section 6.1), as after an attack on the network.
#[test]
fn connections_over_tls_that_are_cut() {
    let slapd = Slapd::start(1);
    let address = slapd.tls_url().trim_start_matches("ldaps://").parse().unwrap();
    let faults = Faults::before(address);
    let runtime = Runtime::new().unwrap();
    let url = format!("ldaps://127.0.0.1:{}", faults.port());
    let more = format!("ca_file = {:?}", slapd.certificates().authority);
    let directory = directory(&runtime, &[url], &more);
    let front = Setup::with(Arc::clone(&directory) as Arc<dyn Directory>).start();
    for fault in [Fault::Close, Fault::Cut, Fault::Reset, Fault::ResetAmid, Fault::Garbage] {
        let again = || verify(&runtime, &directory, &password(1)) == PasswordOutcome::Right;
        until(&format!("service before {fault:?}"), again);
        let mut wire = Wire::bound(front.address, &user_dn(1), &password(1));
        faults.set(fault, None);
        let outcome = verify(&runtime, &directory, &password(1));
        assert!(
            matches!(outcome, PasswordOutcome::Unavailable(_)),
            "{fault:?}: {outcome:?}"
        );
        judge(fault, Want::Outage, &ask(&mut wire, 2, &search(2)), 0);
        faults.clear();
    }
}

fn directory(runtime: &Runtime, urls: &[String], more: &str) -> Arc<LdapDirectory> {
    let text = format!(
        "name = \"corp\"\nurls = {urls:?}\nbase_dn = \"{SUFFIX}\"\nallow_plaintext = true\n\
         bind_dn = \"{SERVICE_DN}\"\nbind_password = \"{SERVICE_PASSWORD}\"\ncache = \"0s\"\n\
         connect_timeout = \"500ms\"\nhealth_interval = \"100ms\"\n{}{more}",
        if more.contains("timeout") {
            ""
        } else {
            "timeout = \"1s\"\n"
        }
    );
    let config: config::LdapDirectory = toml::from_str(&text).unwrap();
    runtime.block_on(async { LdapDirectory::new(&config).unwrap() })
}

fn first_user() -> Person {
    Person {
        key: UserKey::new("corp", "1"),
        directory: "corp".into(),
        dn: user_dn(1),
        login: user(1),
        groups: Vec::new(),
        attributes: Default::default(),
        enabled: true,
        manager: None,
        sso_managed: None,
    }
}

fn verify(runtime: &Runtime, directory: &LdapDirectory, password: &str) -> PasswordOutcome {
    runtime.block_on(directory.verify(&first_user(), &Secret::new(password)))
}

/// Sends a request and reads until its final response, or until the connection is over.
fn ask(wire: &mut Wire<std::net::TcpStream>, id: i32, request: &[u8]) -> Saw {
    // The connection may be over by now.
    let _ = wire.stream.write_all(request);
    loop {
        let reply = match wire.next_or_silence() {
            Ok(Some(reply)) => reply,
            Ok(None) => return Saw::Closed,
            Err(()) => return Saw::Waiting,
        };
        if reply.is_notice_of_disconnection() {
            return Saw::Code(reply.code());
        }
        if reply.id == id && reply.operation != 0x64 {
            return Saw::Code(reply.code());
        }
        assert!(
            reply.id == id || reply.id == 0,
            "an answer to something else: {reply:?}"
        );
    }
}

fn judge(fault: Fault, want: Want, saw: &Saw, truth: i32) {
    let outage = matches!(saw, Saw::Code(51..=53));
    let fits = match want {
        Want::Outage => outage,
        Want::Truth => *saw == Saw::Code(truth),
        Want::Either => outage || *saw == Saw::Code(truth),
        Want::Closed => *saw == Saw::Closed,
        Want::Waiting => *saw == Saw::Waiting,
    };
    assert!(fits, "{fault:?}: wanted {want:?}, saw {saw:?}");
}

fn search(id: i32) -> Vec<u8> {
    crate::front::wire::search(id, &user_dn(1), 0)
}

fn compare(id: i32) -> Vec<u8> {
    message(id, COMPARE, &[], |out| {
        ber::write(OCTET_STRING, user_dn(1).as_bytes(), out);
        ber::write_with(ber::SEQUENCE, out, |out| {
            ber::write(OCTET_STRING, b"uid", out);
            ber::write(OCTET_STRING, user(1).as_bytes(), out);
        });
    })
}

#[test]
fn binds() {
    let rig = Rig::start();
    rig.expect_service("the start");
    for (fault, relayed) in ALL {
        rig.faults.set(fault, Some(BIND));
        judge(fault, timed(fault, relayed), &rig.bind(), 0);
        rig.faults.clear();
        rig.expect_service(&format!("{fault:?}"));
    }
}

#[test]
fn searches() {
    Rig::start().relayed(SEARCH, 0, search);
}

#[test]
fn comparisons() {
    const COMPARE_TRUE: i32 = 6;
    Rig::start().relayed(COMPARE, COMPARE_TRUE, compare);
}

#[test]
fn changes() {
    Rig::start().relayed(MODIFY, 0, |id| modify_description(id, &user_dn(1), b"changed"));
}

#[test]
fn passwords_that_are_tried_on_pooled_connections() {
    let rig = Rig::start();
    rig.expect_service("the start");
    for (fault, relayed) in ALL {
        let want = timed(fault, relayed);
        rig.faults.set(fault, Some(BIND));
        let before = rig.faults.requests(BIND);
        let outcome = rig.verify(&password(1));
        match (want, &outcome) {
            (Want::Truth | Want::Either, PasswordOutcome::Right) => {}
            (Want::Outage | Want::Either, PasswordOutcome::Unavailable(_)) => {}
            _ => panic!("{fault:?}: wanted {want:?}, saw {outcome:?}"),
        }
        assert!(
            rig.faults.requests(BIND) <= before + 1,
            "{fault:?}: one attempt is one bind"
        );
        rig.faults.clear();
        rig.expect_service(&format!("{fault:?}"));
    }
    assert_eq!(rig.slapd.failures(1), 0);
}

#[test]
fn look_ups() {
    let rig = Rig::start();
    rig.expect_service("the start");
    let floods = [Fault::FloodEntries, Fault::FloodReferences].map(|fault| (fault, Want::Outage));
    for (fault, relayed) in ALL.into_iter().chain(floods) {
        // An entry that comes twice is no second person, and no answer either.
        let want = if fault == Fault::Duplicate {
            Want::Outage
        } else {
            timed(fault, relayed)
        };
        rig.faults.set(fault, Some(SEARCH));
        let found = rig.look_up();
        match (want, &found) {
            (Want::Truth | Want::Either, Lookup::Found(_)) => {}
            (Want::Outage | Want::Either, Lookup::Unavailable(_)) => {}
            _ => panic!("{fault:?}: wanted {want:?}, saw {found:?}"),
        }
        rig.faults.clear();
        rig.expect_service(&format!("{fault:?}"));
    }
}

#[test]
fn a_wrong_password_whose_answer_is_lost_is_still_an_outage() {
    let rig = Rig::start();
    rig.expect_service("the start");
    for fault in [Fault::Lost, Fault::ResetAmid, Fault::WrongId] {
        rig.faults.set(fault, Some(BIND));
        let outcome = rig.verify("wrong");
        assert!(
            matches!(outcome, PasswordOutcome::Unavailable(_)),
            "{fault:?}: {outcome:?}"
        );
        assert_eq!(rig.slapd.failures(1), 1, "{fault:?}: the directory has judged");
        rig.faults.clear();
        // A right password makes the directory forget the wrong one.
        rig.expect_service(&format!("{fault:?}"));
    }
    assert_eq!(rig.verify("wrong"), PasswordOutcome::Wrong);
}
