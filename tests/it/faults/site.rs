//! The installed server: an outage counts for nobody, and gives a spent code back.

use crate::support::clients::ldapwhoami;
use crate::support::faults::{BIND, Fault, Faults};
use crate::support::portcullis::{APPEND, OTHER, PASSWORD_ONLY, Portcullis};
use crate::support::process::{text, until};
use crate::support::radclient::{Reply, request};
use crate::support::slapd::{Slapd, password, user, user_dn};
use crate::support::totp::code;

/// More than the five failures that a user is allowed.
const ATTEMPTS: usize = 6;

/// In front of `main` behind the proxy, and of `other` without one.
fn install(main: &Slapd, faults: &Faults, other: &Slapd) -> Portcullis {
    let mut site = Portcullis::install_between(main, other);
    let configuration = std::fs::read_to_string(site.configuration_file()).unwrap();
    let direct = format!("urls = [\"{}\"]", main.tls_url());
    assert!(configuration.contains(&direct));
    let proxied = format!(
        "urls = [\"{}\"]\nallow_plaintext = true\ntimeout = \"1s\"\nconnect_timeout = \"500ms\"\n\
         health_interval = \"200ms\"",
        faults.url()
    );
    site.configure(&configuration.replace(&direct, &proxied));
    site.serve();
    site
}

#[test]
fn codes_come_back_and_nothing_is_counted() {
    let (main, other) = (Slapd::start(10), Slapd::start(10));
    let faults = Faults::before(main.address());
    let site = install(&main, &faults, &other);
    let radius = site.radclient(APPEND);
    let serves = |number| {
        let attributes = request(&user(number), &password(number), None);
        site.radclient(PASSWORD_ONLY).ask_in_vain(&attributes, 1) == Reply::Accept
    };
    let kinds = [Fault::Lost, Fault::WrongId, Fault::Refuse];
    for (number, fault) in kinds.into_iter().enumerate().map(|(index, fault)| (index + 1, fault)) {
        let seed = site.enrol_in("main", &user(number));
        let typed = format!("{},{}", password(number), code(&seed, 0));
        assert!(serves(number));
        faults.set(fault, Some(BIND));
        for attempt in 0..ATTEMPTS {
            // The first one finds out.
            let patience = if attempt == 0 { 2 } else { 1 };
            let reply = radius.ask_in_vain(&request(&user(number), &typed, None), patience);
            assert_eq!(reply, Reply::Silence, "{fault:?}");
        }
        let bind = ldapwhoami(&site.ldaps_url(), &user_dn(number), &typed, site.certificates());
        assert!(
            matches!(bind.status.code(), Some(51..=53)),
            "{fault:?}: {}",
            text(&bind)
        );
        assert_eq!(
            site.radclient(OTHER).login(&user(number), &password(number)),
            Reply::Accept,
            "{fault:?}: the other directory's users are served"
        );
        faults.clear();
        until("the directory is asked again", || serves(number));
        // The same code, over the other protocol than most attempts; and only once.
        let bind = ldapwhoami(&site.ldaps_url(), &user_dn(number), &typed, site.certificates());
        assert!(bind.status.success(), "{fault:?}: {}", text(&bind));
        assert_eq!(radius.login(&user(number), &typed), Reply::Reject, "{fault:?}");
        assert_eq!(main.failures(number), 0, "{fault:?}");
    }
}
