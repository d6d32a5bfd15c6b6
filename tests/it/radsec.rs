//! RADIUS over TLS with the clients of others before Portcullis, and slapd behind it.

use std::fs;

use nix::sys::signal::Signal;
use portcullis::radius::exchange::{Exchange, Patience, Request, Target, TlsTarget, Transport, Version, radsec_secret};
use portcullis::tls::client::{Settings, Trust};
use portcullis::tls::server_name;

use crate::support::pki::{Authority, Leaf};
use crate::support::portcullis::{Portcullis, find};
use crate::support::process::{free_port, run, text, until};
use crate::support::radclient::{Reply, request};
use crate::support::radsec_peers::Proxy;
use crate::support::slapd::{Slapd, password, user};
use crate::support::tap::Tap;
use crate::support::totp::code;

/// An installation that serves RADIUS over TLS to clients of an authority.
struct Site {
    portcullis: Portcullis,
    authority: Authority,
    port: u16,
}

impl Site {
    fn start(directory: &Slapd, listener: &str) -> Self {
        let mut portcullis = Portcullis::install(directory);
        let authority = Authority::make(portcullis.folder(), "radsec");
        authority.server("radsec");
        let port = free_port();
        let before = fs::read_to_string(portcullis.configuration_file()).unwrap();
        portcullis.configure(&format!(
            "{before}\n[[radius]]\nname = \"radsec\"\ntransport = \"tls\"\nlisten = \"127.0.0.1:{port}\"\n\
             certificate = \"radsec.pem\"\nkey = \"radsec.key\"\nclient_ca = \"radsec.ca.pem\"\n{listener}\n\
             [[client]]\nname = \"gateway\"\nservice = \"vpn\"\nprofile = \"dialog\"\ndirectory = \"main\"\n\
             certificate = {{ san = [\"dns:gateway.example.org\"] }}\n\
             [[client]]\nname = \"portal\"\nservice = \"door\"\ndirectory = \"main\"\n\
             certificate = {{ san = [\"dns:portal.example.org\"] }}\n"
        ));
        portcullis.serve();
        Self {
            portcullis,
            authority,
            port,
        }
    }
}

fn a_password_and_a_dialog_through(proxy: impl Fn(u16, &Authority, &Leaf) -> Proxy) {
    let directory = Slapd::start(20);
    let site = Site::start(&directory, "");
    let seed = site.portcullis.enrol(&user(1));
    let leaf = |name: &str| site.authority.client(name, &[&format!("{name}.example.org")], &[], 5);

    let portal = proxy(site.port, &site.authority, &leaf("portal"));
    assert_eq!(portal.radclient().login(&user(2), &password(2)), Reply::Accept);
    assert_eq!(portal.radclient().login(&user(2), "wrong"), Reply::Reject);

    let gateway = proxy(site.port, &site.authority, &leaf("gateway"));
    let challenge = gateway.radclient().login(&user(1), &password(1));
    assert!(matches!(challenge, Reply::Challenge { .. }), "{challenge:?}");
    let stolen = portal.radclient().answer(&user(1), &code(&seed, 0), &challenge);
    assert_eq!(stolen, Reply::Reject, "another client's dialog");
    let answered = gateway.radclient().answer(&user(1), &code(&seed, 0), &challenge);
    assert_eq!(answered, Reply::Accept);

    // A certificate with the right name of another authority gets nowhere.
    let other = Authority::make(site.portcullis.folder(), "other");
    let forged = other.client("forged", &["portal.example.org"], &[], 5);
    let stranger = proxy(site.port, &site.authority, &forged);
    let asked = request(&user(2), &password(2), None);
    // FreeRADIUS says no by itself when it reaches nobody.
    let answer = stranger.radclient().ask_in_vain(&asked, 2);
    assert!(matches!(answer, Reply::Silence | Reply::Reject), "{answer:?}");
    until("the refusal is in the log", || {
        site.portcullis.log().contains("tls-handshake")
    });
}

#[test]
fn a_password_and_a_dialog_through_radsecproxy() {
    a_password_and_a_dialog_through(Proxy::radsecproxy);
}

#[test]
fn a_password_and_a_dialog_through_freeradius() {
    a_password_and_a_dialog_through(Proxy::freeradius);
}

fn accounting_through(proxy: impl Fn(u16, &Authority, &Leaf) -> Proxy) {
    let directory = Slapd::start(20);
    let site = Site::start(&directory, "");
    let leaf = site.authority.client("portal", &["portal.example.org"], &[], 5);
    let proxy = proxy(site.port, &site.authority, &leaf);
    // Through the proxy and back: the Class of the login names the person.
    let class = proxy.radclient().class(&user(2), &password(2)).expect("a Class");
    let report = |kind: &str, more: &str| {
        format!(
            "Acct-Status-Type = {kind}\nAcct-Session-Id = \"T1\"\nUser-Name = \"00-11-22\"\n\
             NAS-Identifier = \"edge\"\nClass = {class}\n{more}\n"
        )
    };
    assert!(proxy.accounting().account(&report("Start", ""), 20));
    let session = site.portcullis.json(&["session", "show", "portal/edge/T1"]);
    assert_eq!(session["encrypted"], true, "{session}");
    let of = site.portcullis.json(&["session", "list", &user(2)]);
    assert_eq!(of["sessions"].as_array().unwrap().len(), 1, "{of}");
    assert!(
        proxy
            .accounting()
            .account(&report("Interim-Update", "Acct-Input-Octets = 4711"), 20)
    );
    let session = site.portcullis.json(&["session", "show", "T1"]);
    assert_eq!(session["octets_in"], 4711);
    assert!(
        proxy
            .accounting()
            .account(&report("Stop", "Acct-Terminate-Cause = User-Request"), 20)
    );
    let audit = site.portcullis.audit().join("\n");
    assert!(audit.contains("portal/edge/T1: user-request"), "{audit}");
}

#[test]
fn accounting_through_radsecproxy() {
    accounting_through(Proxy::radsecproxy);
}

#[test]
fn accounting_through_freeradius() {
    accounting_through(Proxy::freeradius);
}

/// No other client speaks RADIUS/1.1: the command line's own does.
#[test]
fn a_dialog_over_both_versions_with_our_own_client() {
    let directory = Slapd::start(20);
    let site = Site::start(&directory, "");
    let leaf = site.authority.client("gateway", &["gateway.example.org"], &[], 5);
    let login = |version: &str, number: usize, seed: &str| {
        let mut command = site.portcullis.command();
        command.args([
            "login",
            "radius",
            &format!("127.0.0.1:{}", site.port),
            "--transport",
            "tls",
        ]);
        command.arg("--ca").arg(site.authority.file());
        command
            .arg("--certificate")
            .arg(&leaf.chain)
            .arg("--key")
            .arg(&leaf.key);
        command.args(["--radius-version", version, "--user", &user(number), "--json"]);
        let output = run(&mut command, &format!("{}\n{}\n", password(number), code(seed, 0)));
        let printed = text(&output);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_else(|error| panic!("{error}: {printed}"))
    };
    for (number, version, channel) in [
        (1, "1.1", "tls (RADIUS/1.1)"),
        (2, "1.0", "tls"),
        (3, "auto", "tls (RADIUS/1.1)"),
    ] {
        let seed = site.portcullis.enrol(&user(number));
        let ended = login(version, number, &seed);
        assert_eq!(ended["outcome"], "accepted", "{version}: {ended}");
        assert_eq!(
            (&ended["channel"], ended["challenges"].as_array().map(Vec::len)),
            (&channel.into(), Some(1))
        );
    }
}

#[test]
fn a_test_says_what_a_tls_listener_shows() {
    let directory = Slapd::start(1);
    let site = Site::start(&directory, "");
    let finding = |site: &Site| {
        let output = site.portcullis.cli(&["client", "test", "gateway", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        let about = |finding: &&serde_json::Value| finding["about"].as_str().unwrap().contains("radsec");
        findings.iter().find(about).expect("a word on the listener").clone()
    };
    let found = finding(&site);
    assert_eq!(found["grade"], "good", "{found}");
    let said = found["text"].as_str().unwrap();
    assert!(
        said.contains("shows the certificate that is configured; the first"),
        "{said}"
    );
    // Renewed on disk, and not read again yet: the listener still shows the old one.
    site.authority.server("radsec");
    let found = finding(&site);
    assert_ne!(found["grade"], "good", "{found}");
}

/// What our client and our listener say to each other, octet by octet, where it is not random.
#[tokio::test(flavor = "multi_thread")]
async fn radius_1_1_on_the_wire() {
    let directory = Slapd::start(20);
    let site = Site::start(&directory, "");
    let seed = site.portcullis.enrol(&user(1));
    let leaf = |name: &str| site.authority.client(name, &[&format!("{name}.example.org")], &[], 5);
    let (own, gateway, portal) = (site.authority.server("tap"), leaf("gateway"), leaf("portal"));

    let tap = Tap::start(site.port, &site.authority, &own, &gateway).await;
    let login = |tap: &Tap, method: &str, number: usize, typed: &str| {
        let mut command = site.portcullis.command();
        let server = format!("127.0.0.1:{}", tap.port);
        command.args(["login", "radius", &server, "--transport", "tls", "--method", method]);
        command.args([
            "--radius-version",
            "1.1",
            "--nas-identifier",
            "nas1",
            "--user",
            &user(number),
        ]);
        command.arg("--ca").arg(site.authority.file());
        text(&run(&mut command, typed))
    };
    let said = login(&tap, "pap", 1, &format!("{}\n{}\n", password(1), code(&seed, 0)));
    let packets = tap.take();
    assert_eq!(packets.len(), 4, "{said}");
    // Code, Reserved-1, and Length; then the Token, and twelve octets of zero.
    let attributes = |packet: &[u8], code: u8| -> Vec<(u8, Vec<u8>)> {
        assert_eq!((packet[0], packet[1]), (code, 0), "{packet:02x?}");
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
        assert_eq!(packet[8..20], [0; 12], "{packet:02x?}");
        let mut rest = &packet[20..];
        let mut found = Vec::new();
        while let [kind, length, ..] = *rest {
            found.push((kind, rest[2..usize::from(length)].to_vec()));
            rest = &rest[usize::from(length)..];
        }
        // Neither Message-Authenticator nor Original-Packet-Code (241.4).
        assert!(!found.iter().any(|(kind, _)| matches!(kind, 80 | 241)), "{found:?}");
        found
    };
    let token = |packet: &[u8]| u32::from_be_bytes(packet[4..8].try_into().unwrap());
    let (asked, asking) = (attributes(&packets[0], 1), attributes(&packets[1], 11));
    assert!(asked.contains(&(1, user(1).into_bytes())), "{asked:?}");
    assert!(
        asked.contains(&(2, password(1).into_bytes())),
        "the password as it is: {asked:?}"
    );
    assert!(asked.contains(&(32, b"nas1".to_vec())), "{asked:?}");
    let state = asking.iter().find(|(kind, _)| *kind == 24).expect("a State");
    let (answered, accepted) = (attributes(&packets[2], 1), attributes(&packets[3], 2));
    assert!(answered.contains(state) && answered.contains(&(2, code(&seed, 0).into_bytes())));
    assert!(accepted.iter().any(|(kind, _)| *kind == 25), "Class: {accepted:?}");
    assert_eq!(token(&packets[1]), token(&packets[0]));
    assert_eq!(token(&packets[3]), token(&packets[2]));
    assert_eq!(token(&packets[2]), token(&packets[0]).wrapping_add(1), "a counter");

    // CHAP brings its challenge, as there is no Request Authenticator to take it from. The directory keeps
    // no password that could be compared with a response, and so it is refused.
    let tap = Tap::start(site.port, &site.authority, &own, &portal).await;
    let said = login(&tap, "chap", 2, &format!("{}\n", password(2)));
    let packets = tap.take();
    assert_eq!(packets.len(), 2, "{said}");
    let asked = attributes(&packets[0], 1);
    let length = |wanted: u8| {
        asked
            .iter()
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value.len())
    };
    assert_eq!(
        (length(3), length(60), length(2)),
        (Some(17), Some(16), None),
        "{asked:?}"
    );
    attributes(&packets[1], 3);
    assert_eq!(token(&packets[1]), token(&packets[0]));

    // Accounting: no Request Authenticator is computed over it either.
    let ca = site.authority.file();
    let settings = Settings {
        trust: Trust::Authorities(Some(&ca)),
        identity: None,
        protocols: Version::V1_1.alpn(),
    };
    let target = Target {
        address: ([127, 0, 0, 1], tap.port).into(),
        transport: Transport::Tls(TlsTarget {
            config: settings.config().unwrap(),
            name: server_name("127.0.0.1").unwrap(),
            secret: radsec_secret(),
            version: Version::V1_1,
        }),
        signed_replies: true,
    };
    let exchange = Exchange::connect(target, Patience::default());
    let mut request = Request::accounting();
    for (kind, value) in [(1, &b"ana"[..]), (40, &[0, 0, 0, 1]), (44, b"S1"), (32, b"nas1")] {
        request.push(kind, value).unwrap();
    }
    assert_eq!(exchange.ask(&request).await.unwrap().code(), 5);
    exchange.status().await.unwrap();
    let packets = tap.take();
    let [start, kept, status, lives] = &packets[..] else {
        panic!("{packets:02x?}")
    };
    assert_eq!(
        start[20..],
        *b"\x01\x05ana\x28\x06\0\0\0\x01\x2c\x04S1\x20\x06nas1",
        "{start:02x?}"
    );
    assert_eq!((attributes(start, 4).len(), attributes(kept, 5).len()), (4, 0));
    assert_eq!((attributes(status, 12).len(), attributes(lives, 2).len()), (0, 0));
    assert_eq!((token(kept), token(lives)), (token(start), token(status)));
    assert_eq!(token(status), token(start).wrapping_add(1));
}

#[test]
fn a_stalled_directory_and_a_new_certificate_disturb_no_connection() {
    let (directory, other) = (Slapd::start(20), Slapd::start(20));
    let mut portcullis = Portcullis::install_between(&directory, &other);
    let authority = Authority::make(portcullis.folder(), "radsec");
    authority.server("radsec");
    let port = free_port();
    let before = fs::read_to_string(portcullis.configuration_file()).unwrap();
    portcullis.configure(&format!(
        "{before}\n[[radius]]\nname = \"radsec\"\ntransport = \"tls\"\nlisten = \"127.0.0.1:{port}\"\n\
         certificate = \"radsec.pem\"\nkey = \"radsec.key\"\nclient_ca = \"radsec.ca.pem\"\n\
         [[client]]\nname = \"one\"\nservice = \"door\"\ndirectory = \"main\"\n\
         certificate = {{ san = [\"dns:one.example.org\"] }}\n\
         [[client]]\nname = \"two\"\nservice = \"other\"\ndirectory = \"other\"\n\
         certificate = {{ san = [\"dns:two.example.org\"] }}\n"
    ));
    portcullis.serve();
    let proxy = |name: &str| {
        let leaf = authority.client(name, &[&format!("{name}.example.org")], &[], 5);
        Proxy::radsecproxy(port, &authority, &leaf)
    };
    let (one, two) = (proxy("one"), proxy("two"));
    assert_eq!(one.radclient().login(&user(1), &password(1)), Reply::Accept);
    assert_eq!(two.radclient().login(&user(1), &password(1)), Reply::Accept);

    directory.halt();
    let asked = request(&user(1), &password(1), None);
    assert_eq!(one.radclient().ask_in_vain(&asked, 1), Reply::Silence);
    assert_eq!(two.radclient().login(&user(2), &password(2)), Reply::Accept);
    directory.go_on();

    let ends = || {
        let status = portcullis.json(&["status"]);
        let listeners = find(&status, "listeners")
            .and_then(|found| found.as_array())
            .unwrap()
            .clone();
        let radsec = listeners.iter().find(|listener| listener["kind"] == "radsec").unwrap();
        assert_eq!(radsec["active"], 2, "both proxies keep their connections");
        radsec["certificate_ends"].clone()
    };
    assert!(ends().is_u64() || ends().is_string(), "{:?}", ends());
    authority.server("radsec");
    portcullis.signal(Signal::SIGHUP);
    until("the reload is done", || portcullis.log().contains("reloaded"));
    assert_eq!(two.radclient().login(&user(3), &password(3)), Reply::Accept);
    ends();
    assert_eq!(proxy("one").radclient().login(&user(2), &password(2)), Reply::Accept);

    let checked = portcullis
        .command()
        .args(["check", "-c", "portcullis.toml"])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", text(&checked));
}
