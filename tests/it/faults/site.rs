//! The installed server: an outage counts for nobody, and gives a spent code back.

use crate::support::clients::ldapwhoami;
use crate::support::faults::{BIND, Fault, Faults};
use crate::support::portcullis::{APPEND, OTHER, PASSWORD_ONLY, Portcullis};
use crate::support::process::{run, text, until};
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
        if fault == Fault::Refuse {
            assert_told(&site);
        }
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

/// Operators see which server is out, since when, and when it is tried again.
fn assert_told(site: &Portcullis) {
    let report = site.json(&["status"]);
    let directories = report["directories"].as_array().unwrap();
    let main = directories
        .iter()
        .find(|directory| directory["name"] == "main")
        .unwrap();
    let server = &main["servers"][0];
    assert_eq!(server["state"], "given-up", "{report}");
    assert!(
        server["since"].is_string() && server["next_try"].is_string(),
        "{report}"
    );
    assert!(server["given_up"].as_u64() > Some(0), "{report}");
    assert!(server["error"].as_str().unwrap().contains("cannot connect"), "{report}");
    let status = site.cli(&["status"]);
    assert!(text(&status).contains("given up since"), "{}", text(&status));
    let mut curl = std::process::Command::new("curl");
    curl.arg("--silent")
        .arg("--unix-socket")
        .arg(site.path("state/admin.sock"));
    let metrics = text(&run(curl.arg("http://portcullis/metrics"), ""));
    let up = |name: &str| {
        let line = |line: &&str| line.starts_with("portcullis_directory_server_up") && line.contains(name);
        metrics
            .lines()
            .find(line)
            .and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    assert_eq!(up("directory=\"main\"").as_deref(), Some("0"), "{metrics}");
    assert_eq!(up("directory=\"other\"").as_deref(), Some("1"), "{metrics}");
}
