//! Whom a broken server harms, and who takes over.

use std::sync::Arc;
use std::time::Duration;

use portcullis::directory::ldap::LdapDirectory;
use portcullis::directory::{Directory, ServerStatus, Standing};
use portcullis::engine::{LoginName, Lookup, PasswordOutcome};
use portcullis::secret::Secret;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::{ALL, Want, directory, first_user, timed, verify};
use crate::front::peers::Setup;
use crate::front::wire::{Wire, bind};
use crate::support::faults::{BIND, Fault, Faults, SEARCH};
use crate::support::process::until;
use crate::support::slapd::{Slapd, password, user, user_dn};

/// A directory of two servers, each behind a proxy of its own.
struct Pair {
    first: Faults,
    second: Faults,
    directory: Arc<LdapDirectory>,
    runtime: Runtime,
    _servers: [Slapd; 2],
}

impl Pair {
    fn start(more: &str) -> Self {
        let servers = [Slapd::start(2), Slapd::start(2)];
        let [first, second] = [0, 1].map(|number| Faults::before(servers[number].address()));
        let runtime = Runtime::new().unwrap();
        let directory = directory(&runtime, &[first.url(), second.url()], more);
        Self {
            first,
            second,
            directory,
            runtime,
            _servers: servers,
        }
    }

    fn login(&self) -> PasswordOutcome {
        verify(&self.runtime, &self.directory, &password(1))
    }

    fn login_meanwhile(&self) -> JoinHandle<PasswordOutcome> {
        let directory = Arc::clone(&self.directory);
        self.runtime
            .spawn(async move { directory.verify(&first_user(), &Secret::new(password(1))).await })
    }

    fn server(&self, number: usize) -> ServerStatus {
        self.directory.status().servers[number].clone()
    }

    /// Whether a login goes to the first server, and not to the second.
    fn is_first_asked(&self) -> bool {
        let before = (self.first.requests(BIND), self.second.requests(BIND));
        let outcome = self.login();
        assert_ne!(outcome, PasswordOutcome::Wrong);
        self.first.requests(BIND) > before.0 && self.second.requests(BIND) == before.1
    }
}

#[test]
fn another_server_serves_whatever_the_first_one_does_and_gives_back() {
    let pair = Pair::start("");
    for (fault, relayed) in ALL {
        if timed(fault, relayed) != Want::Outage {
            continue;
        }
        until(&format!("the first server is asked before {fault:?}"), || {
            pair.is_first_asked()
        });
        pair.first.set(fault, None);
        let mut failed = 0;
        let mut served = 0;
        // At first one may be told of the outage; then nobody hears of it.
        while served < 10 {
            match pair.login() {
                PasswordOutcome::Right => served += 1,
                PasswordOutcome::Unavailable(_) if served == 0 => failed += 1,
                other @ (PasswordOutcome::Unavailable(_)
                | PasswordOutcome::Wrong
                | PasswordOutcome::Expired
                | PasswordOutcome::MustChange
                | PasswordOutcome::Locked
                | PasswordOutcome::Disabled
                | PasswordOutcome::Unknown) => {
                    panic!("{fault:?}: {other:?} after {failed} outages and {served} logins")
                }
            }
            assert!(failed <= 2, "{fault:?}: {:?}", pair.server(0));
        }
        let login = LoginName::parse(&user(1)).unwrap();
        let found = pair.runtime.block_on(pair.directory.look_up(&login));
        assert!(matches!(found, Lookup::Found(_)), "{fault:?}: {found:?}");
        assert_eq!(pair.server(0).standing, Standing::GivenUp, "{fault:?}");
        pair.first.clear();
    }
    until("the first server is asked again", || pair.is_first_asked());
}

#[test]
fn a_flapping_server_is_not_flapped_to() {
    let pair = Pair::start("");
    assert!(pair.is_first_asked());
    pair.first.set(Fault::Flap(Duration::from_millis(150)), None);
    until("the first server has fallen over three times", || {
        assert_ne!(pair.login(), PasswordOutcome::Wrong);
        pair.server(0).given_up >= 3
    });
    // It would have to answer eight tries in a row now, and is up for two of them at most.
    let before = pair.first.requests(BIND);
    for _ in 0..50 {
        assert_eq!(pair.login(), PasswordOutcome::Right);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(pair.first.requests(BIND), before);
    assert_ne!(pair.server(0).standing, Standing::Healthy);
    pair.first.clear();
    until("the first server is asked again", || pair.is_first_asked());
}

#[test]
fn those_that_hang_at_one_server_take_no_place_at_the_next() {
    let pair = Pair::start("bind_connections = 2\ntimeout = \"8s\"");
    assert_eq!(pair.login(), PasswordOutcome::Right);
    pair.first.set(Fault::Hang, Some(BIND));
    let before = pair.first.requests(BIND);
    let hanging = [pair.login_meanwhile(), pair.login_meanwhile()];
    until("two hang", || pair.first.requests(BIND) == before + 2);
    let queued = [pair.login_meanwhile(), pair.login_meanwhile()];
    until("two wait for a place", || pair.directory.status().queue == 2);

    // A look-up finds out that the server is broken.
    pair.first.set(Fault::Garbage, Some(SEARCH));
    let login = LoginName::parse(&user(1)).unwrap();
    let found = pair.runtime.block_on(pair.directory.look_up(&login));
    assert!(!matches!(found, Lookup::Found(_)), "{found:?}");
    for login in queued {
        assert_eq!(pair.runtime.block_on(login).unwrap(), PasswordOutcome::Right);
    }
    assert_eq!(pair.login(), PasswordOutcome::Right);
    assert!(
        hanging.iter().all(|login| !login.is_finished()),
        "they waited for those that hang"
    );
    for login in hanging {
        let outcome = pair.runtime.block_on(login).unwrap();
        assert!(matches!(outcome, PasswordOutcome::Unavailable(_)), "{outcome:?}");
    }
    assert_eq!(pair.directory.status().queue, 0);
}

#[test]
fn nobody_waits_for_a_server_that_is_known_to_be_dead() {
    let slapd = Slapd::start(1);
    let faults = Faults::before(slapd.address());
    let runtime = Runtime::new().unwrap();
    let directory = directory(&runtime, &[faults.url()], "timeout = \"2s\"");
    assert_eq!(verify(&runtime, &directory, &password(1)), PasswordOutcome::Right);
    faults.set(Fault::Hang, None);
    assert_ne!(verify(&runtime, &directory, &password(1)), PasswordOutcome::Right);
    let before = faults.requests(BIND);
    // Each of these would take two seconds.
    let began = portcullis::clock::monotonic();
    for _ in 0..200 {
        let outcome = verify(&runtime, &directory, &password(1));
        assert!(matches!(outcome, PasswordOutcome::Unavailable(_)), "{outcome:?}");
        assert!(runtime.block_on(directory.connect()).is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(100));
    assert_eq!(faults.requests(BIND), before, "only the prober asks");
    assert!(faults.requests(SEARCH) > 0);
    let server = &directory.status().servers[0];
    assert_eq!(server.standing, Standing::GivenUp);
    assert!(server.next_try.is_some() && server.since.is_some() && server.error.is_some());
    faults.clear();
    until("service", || {
        verify(&runtime, &directory, &password(1)) == PasswordOutcome::Right
    });
}

#[test]
fn connections_that_are_relayed_are_limited_and_told_so() {
    const BUSY: i32 = 51;
    let slapd = Slapd::start(1);
    let runtime = Runtime::new().unwrap();
    let directory = directory(&runtime, &[slapd.url()], "relay_connections = 2");
    let front = Setup::with(Arc::clone(&directory) as Arc<dyn Directory>).start();
    let ask = || {
        let mut wire = Wire::connect(front.address);
        let code = wire.ask(&bind(1, &user_dn(1), &password(1))).code();
        (wire, code)
    };
    let (one, two) = (ask(), ask());
    assert_eq!((one.1, two.1), (0, 0));
    assert_eq!(directory.status().servers[0].relayed, 2);
    let (mut third, code) = ask();
    assert_eq!(code, BUSY);
    assert_eq!(
        verify(&runtime, &directory, &password(1)),
        PasswordOutcome::Right,
        "other logins have connections of their own"
    );
    drop(one);
    until("there is room again", || {
        third.ask(&bind(2, &user_dn(1), &password(1))).code() == 0
    });
}

#[test]
fn connections_end_by_age_and_by_idleness() {
    let slapd = Slapd::start(1);
    let faults = Faults::before(slapd.address());
    let runtime = Runtime::new().unwrap();
    for more in ["max_connection_age = \"1s\"", "max_connection_idle = \"1s\""] {
        let directory = directory(&runtime, &[faults.url()], more);
        assert_eq!(verify(&runtime, &directory, &password(1)), PasswordOutcome::Right);
        assert_eq!(directory.status().servers[0].connections, 1, "{more}");
        until("it is closed", || directory.status().servers[0].connections == 0);
        assert_eq!(verify(&runtime, &directory, &password(1)), PasswordOutcome::Right);
    }
}

#[test]
fn a_client_that_binds_again_comes_to_the_server_that_is_preferred_now() {
    let pair = Pair::start("");
    let front = Setup::with(Arc::clone(&pair.directory) as Arc<dyn Directory>).start();
    pair.first.set(Fault::Refuse, None);
    let mut wire = Wire::connect(front.address);
    let mut again = |id| wire.ask(&bind(id, &user_dn(1), &password(1))).code();
    assert_eq!(again(1), 0);
    assert_eq!(pair.server(1).relayed, 1);
    pair.first.clear();
    until("the first server is preferred again", || {
        pair.server(0).standing == Standing::Healthy
    });
    assert_eq!(again(2), 0);
    assert_eq!((pair.server(0).relayed, pair.server(1).relayed), (1, 0));
}
