//! RADIUS over TLS with the clients of others before Portcullis, and slapd behind it.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::pki::{Authority, Leaf};
use crate::support::portcullis::{Portcullis, find};
use crate::support::process::{free_port, run, text, until};
use crate::support::radclient::{Reply, request};
use crate::support::radsec_peers::Proxy;
use crate::support::slapd::{Slapd, password, user};
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
