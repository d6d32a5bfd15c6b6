//! SASL mechanisms that a real slapd judges, relayed step by step.

use std::process::Output;

use super::peers::{Front, Setup, run};
use super::wire::{ANA, BEN, START_TLS, WHO_AM_I, Wire, bind, extended, sasl, search};
use crate::support::slapd::Slapd;

/// Mechanisms name people by `uid`, and find their passwords as nobody.
fn start() -> Slapd {
    let configuration = include_str!("entries/slapd.conf")
        .replace("loglevel none\n", MAPPING)
        .replace(
            "by users read by * none\n",
            "by users read by anonymous auth by * none\n",
        );
    Slapd::serving(&configuration, &[include_str!("entries/base.ldif")])
}

const MAPPING: &str = r#"loglevel none
sasl-auxprops slapd
authz-regexp "^uid=([^,]+),(cn=[^,]+,)*cn=auth$" "uid=$1,ou=people,dc=example,dc=org"
"#;

fn front(slapd: &Slapd) -> Front {
    let lines = "sasl_relay = [\"digest-md5\", \"scram-sha-256\"]\nanonymous = \"yes\"\n";
    Setup::before(slapd.address()).and(lines).start()
}

fn who(url: &str, mechanism: &str, password: &str, properties: &str) -> Output {
    let arguments = [
        "-Q", "-H", url, "-Y", mechanism, "-U", "ana", "-w", password, "-O", properties,
    ];
    run("ldapwhoami", &arguments, "", &[])
}

const WITHOUT_LAYER: &str = "maxssf=0";

#[test]
fn the_directory_lets_in_and_its_answer_is_relayed() {
    let slapd = start();
    let front = front(&slapd);
    for mechanism in ["DIGEST-MD5", "SCRAM-SHA-256"] {
        let direct = who(&slapd.url(), mechanism, "anapw", WITHOUT_LAYER);
        assert!(direct.status.success(), "{direct:?}");
        let asked = front.asked();
        let relayed = who(&front.url(), mechanism, "anapw", WITHOUT_LAYER);
        assert_eq!(relayed, direct, "{mechanism}");
        assert_eq!(String::from_utf8_lossy(&relayed.stdout).trim(), format!("dn:{ANA}"));
        assert_eq!(front.asked(), asked + 1, "the engine has the last word");
    }
    let refused = who(&front.url(), "DIGEST-MD5", "wrong", WITHOUT_LAYER);
    assert_eq!(refused.status.code(), Some(49), "{refused:?}");
    let other = who(&front.url(), "SCRAM-SHA-1", "anapw", WITHOUT_LAYER);
    assert_eq!(other.status.code(), Some(7), "{other:?}");
}

#[test]
fn what_the_engine_refuses_has_no_rights() {
    let slapd = start();
    let lines = "sasl_relay = [\"digest-md5\"]\nanonymous = \"yes\"\n";
    let front = Setup::before(slapd.address()).and(lines).refusing_anyway().start();
    let refused = who(&front.url(), "DIGEST-MD5", "anapw", WITHOUT_LAYER);
    assert_eq!(refused.status.code(), Some(49), "{refused:?}");
}

/// Behind a layer of the mechanism's own, nothing could be relayed: that is found out before anybody is bound.
#[test]
fn a_security_layer_is_refused() {
    let slapd = start();
    let front = front(&slapd);
    let direct = who(&slapd.url(), "DIGEST-MD5", "anapw", "minssf=1");
    assert!(direct.status.success(), "{direct:?}");
    let relayed = who(&front.url(), "DIGEST-MD5", "anapw", "minssf=1");
    assert!(!relayed.status.success() && relayed.stdout.is_empty(), "{relayed:?}");
    assert_eq!(front.asked(), 0, "nobody was let in");
}

#[test]
fn a_mechanism_given_up_half_way_leaves_nothing() {
    let slapd = start();
    let front = front(&slapd);
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    for next in [
        bind(3, BEN, "benpw"),
        sasl(3, "", None),
        extended(3, START_TLS),
        search(3, "", 0),
    ] {
        let challenge = wire.ask(&sasl(2, "DIGEST-MD5", None));
        assert_eq!((challenge.operation, challenge.code()), (0x61, 14));
        assert!(challenge.octets.windows(6).any(|octets| octets == b"nonce="));
        assert_eq!(wire.ask_all(&next).last().unwrap().id, 3);
        // A response to the challenge comes too late.
        let late = wire.ask(&sasl(4, "DIGEST-MD5", Some(b"username=\"ana\",response=0")));
        assert_ne!(late.code(), 0);
        assert_eq!(wire.ask(&extended(5, WHO_AM_I)).identity(), "");
        assert_eq!(wire.ask(&bind(6, ANA, "anapw")).code(), 0);
        assert_eq!(wire.who_am_i(7).identity(), format!("dn:{ANA}"));
    }
}

/// A mechanism leads to a service account's entry under a name that no bind gives.
#[test]
fn a_service_account_is_itself_by_any_mechanism() {
    let slapd = start();
    let front = |source: &str| {
        let account = format!(
            "sasl_relay = [\"digest-md5\"]\n[[service_account]]\ndn = \"{ANA}\"\nsource = [\"{source}\"]\n\
             [service_account.restrict]\noperations = [\"who-am-i\"]\n"
        );
        Setup::before(slapd.address()).and(&account).start()
    };
    let elsewhere = front("192.0.2.0/24");
    let refused = who(&elsewhere.url(), "DIGEST-MD5", "anapw", WITHOUT_LAYER);
    assert_eq!(refused.status.code(), Some(49), "{refused:?}");
    let here = front("127.0.0.1");
    assert!(who(&here.url(), "DIGEST-MD5", "anapw", WITHOUT_LAYER).status.success());
    let url = here.url();
    let arguments = [
        "-Q",
        "-H",
        &url,
        "-Y",
        "DIGEST-MD5",
        "-U",
        "ana",
        "-w",
        "anapw",
        "-O",
        WITHOUT_LAYER,
        "-b",
        BEN,
    ];
    let searched = run("ldapsearch", &arguments, "", &[]);
    assert_eq!(searched.status.code(), Some(53), "{searched:?}");
}
