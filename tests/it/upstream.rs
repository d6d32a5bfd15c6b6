//! Other RADIUS servers that judge: FreeRADIUS over UDP and TLS, radsecproxy in front of it, and an impostor.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Output;
use std::thread;

use crate::support::freeradius::{ANA, ANAS_PASSWORD, CODE, FreeRadius, RadsecProxy, SHARED, SHARED_USER, TOKEN};
use crate::support::pki::Leaf;
use crate::support::portcullis::{APPEND, DIALOG, OTHER, PASSWORD_ONLY, Portcullis};
use crate::support::process::{run, text, until};
use crate::support::radclient::{Reply, SECRET, request};
use crate::support::slapd::{Slapd, password, user};

/// An installation whose client at [`OTHER`] has its people from the upstream `tokens`.
fn install(directory: &Slapd, upstream: &str, profile: &str) -> Portcullis {
    let site = Portcullis::install(directory);
    let before = fs::read_to_string(site.configuration_file()).unwrap();
    let more = format!(
        r#"
[[directory]]
name = "everybody"
kind = "radius"
upstream = "tokens"

[[client]]
name = "other"
address = ["{OTHER}"]
secret = "a-secret-of-the-tests"
profile = "{profile}"
directory = "everybody"
reject_delay = "10ms"

[[upstream]]
name = "tokens"
timeout = "2s"
tries = 2
status_interval = "5s"
{upstream}
"#
    );
    site.configure(&(before + &more));
    site
}

fn udp(ports: &[u16]) -> String {
    let server = |port: &u16| format!("{{ address = \"127.0.0.1:{port}\", secret = \"{SHARED}\" }}");
    let servers: Vec<String> = ports.iter().map(server).collect();
    format!(
        "require_message_authenticator = false\nservers = [{}]\n",
        servers.join(", ")
    )
}

fn over_tls(port: u16, authority: &Path, own: &Leaf) -> String {
    format!(
        "servers = [{{ address = \"127.0.0.1:{port}\", transport = \"tls\", \
         ca_file = \"{}\", certificate = \"{}\", key = \"{}\" }}]\n",
        authority.display(),
        own.chain.display(),
        own.key.display()
    )
}

fn assert_judges(site: &Portcullis) {
    let door = site.radclient(OTHER);
    until("the upstream judges", || {
        door.login(ANA, ANAS_PASSWORD) == Reply::Accept
    });
    assert_eq!(door.login(ANA, "wrong"), Reply::Reject);
    assert_eq!(door.login("nobody", ANAS_PASSWORD), Reply::Reject);
    assert_eq!(door.login(ANA, ANAS_PASSWORD), Reply::Accept);
    let status = site.json(&["status"]);
    let server = &status["upstreams"][0]["servers"][0];
    assert_eq!(server["healthy"], true, "{status}");
    assert!(!site.log().contains(ANAS_PASSWORD), "no password in the log");
}

#[test]
fn freeradius_judges_passwords() {
    let (directory, upstream) = (Slapd::start(20), FreeRadius::start());
    let mut site = install(&directory, &udp(&[upstream.password]), "none");
    let checked = site.cli(&["check", "-c", "portcullis.toml"]);
    assert!(text(&checked).contains("CVE-2024-3596"), "{}", text(&checked));
    site.serve();
    assert_judges(&site);
    // Five wrong ones, whoever judges them, and nobody is asked any more.
    for _ in 0..6 {
        site.radclient(OTHER).login("ben", "wrong");
    }
    assert!(site.audit().join("\n").contains("throttled"));
}

#[test]
fn a_reply_without_message_authenticator_is_not_believed_by_default() {
    let (directory, upstream) = (Slapd::start(20), FreeRadius::start());
    let strict = udp(&[upstream.password]).replace("false", "true");
    let mut site = install(&directory, &strict, "none");
    site.serve();
    let asked = request(ANA, ANAS_PASSWORD, None);
    assert_eq!(site.radclient(OTHER).ask_in_vain(&asked, 6), Reply::Silence);
    let status = site.json(&["status"]);
    let unproven = status["upstreams"][0]["servers"][0]["unproven"].as_u64();
    assert!(unproven > Some(0), "{status}");
}

#[test]
fn what_freeradius_says_is_passed_on() {
    const NAMES: &str =
        "pass_reply = [\"Filter-Id\", \"Session-Timeout\", \"Tunnel-Password\", \"MS-MPPE-Send-Key\"]\n";
    let (directory, upstream) = (Slapd::start(1), FreeRadius::start());
    let tls = over_tls(upstream.tls, &upstream.authority, &upstream.client);
    for servers in [udp(&[upstream.password]), tls] {
        let mut site = install(&directory, &(NAMES.to_owned() + &servers), "none");
        site.write_policy("[[rule]]\nname = \"all\"\nrequire = \"password\"\nreply = { Filter-Id = \"ours\" }\n");
        site.serve();
        let printed = site.radclient(OTHER).print(&request(ANA, ANAS_PASSWORD, None));
        for line in [
            "Filter-Id = \"ours\"",
            "Session-Timeout = 600",
            "Tunnel-Password:1 = \"swordfish\"",
            "MS-MPPE-Send-Key = 0x00112233445566778899aabbccddeeff",
        ] {
            assert!(printed.contains(line), "{line}: {printed}\n{}", site.log());
        }
        for absent in ["theirs", "not passed on", "636c617373"] {
            assert!(!printed.contains(absent), "{absent}: {printed}");
        }
        assert!(!site.log().contains("swordfish"));
    }
    let site = install(
        &directory,
        &format!("pass_reply = [\"Filter-Idd\", \"State\"]\n{}", udp(&[1])),
        "none",
    );
    let checked = site.cli(&["check", "-c", "portcullis.toml"]);
    let said = text(&checked);
    assert!(
        said.contains("upstream[0].pass_reply[0]: `Filter-Idd` cannot be passed on"),
        "{said}"
    );
    assert!(
        said.contains("upstream[0].pass_reply[1]: `State` belongs to the conversation"),
        "{said}"
    );
}

#[test]
fn a_probe_asks_at_once() {
    let (directory, mut upstream) = (Slapd::start(1), FreeRadius::start());
    let mut site = install(&directory, &udp(&[upstream.password]), "none");
    let never = fs::read_to_string(site.configuration_file()).unwrap();
    site.configure(&never.replace("status_interval = \"5s\"", "status_interval = \"0s\""));
    site.serve();
    let server = |arguments: &[&str]| site.json(arguments)["upstreams"][0]["servers"][0].clone();
    assert!(server(&["status"])["latency_ms"].is_null(), "nobody has been asked");
    let probed = server(&["status", "--probe"]);
    assert!(
        probed["latency_ms"].is_number() && probed["healthy"] == true,
        "{probed}"
    );
    upstream.kill();
    server(&["status", "--probe"]);
    let probed = server(&["status", "--probe"]);
    assert!(probed["healthy"] == false && probed["error"].is_string(), "{probed}");
}

#[test]
fn freeradius_asks_for_more() {
    let (directory, upstream) = (Slapd::start(20), FreeRadius::start());
    let mut site = install(&directory, &udp(&[upstream.challenge]), "dialog");
    site.serve();
    let door = site.radclient(OTHER);
    let challenge = door.login(ANA, ANAS_PASSWORD);
    let Reply::Challenge { text, .. } = &challenge else {
        panic!("{challenge:?}")
    };
    assert_eq!(text, "Enter the code of your app");
    // The dialog survives us: what has to be remembered is in the store.
    site.kill_and_serve();
    let door = site.radclient(OTHER);
    assert_eq!(door.answer(ANA, CODE, &challenge), Reply::Accept);
    assert_eq!(door.answer(ANA, CODE, &challenge), Reply::Reject, "answered once");
    let again = door.login(ANA, ANAS_PASSWORD);
    assert_eq!(door.answer("ben", CODE, &again), Reply::Reject, "another's");
    assert_eq!(door.answer(ANA, "000000", &again), Reply::Reject);
    assert_eq!(door.login(ANA, "wrong"), Reply::Reject);
}

#[test]
fn a_client_that_cannot_show_a_challenge_is_refused() {
    let (directory, upstream) = (Slapd::start(20), FreeRadius::start());
    let mut site = install(&directory, &udp(&[upstream.challenge]), "none");
    site.serve();
    assert_eq!(site.radclient(OTHER).login(ANA, ANAS_PASSWORD), Reply::Reject);
    assert!(site.audit().join("\n").contains("client-cannot-ask"));
}

#[test]
fn another_server_takes_over_and_an_outage_is_silence() {
    let directory = Slapd::start(20);
    let (mut first, mut second) = (FreeRadius::start(), FreeRadius::start());
    let mut site = install(&directory, &udp(&[first.password, second.password]), "none");
    site.serve();
    assert_judges(&site);
    first.kill();
    let door = site.radclient(OTHER);
    assert_eq!(door.login(ANA, ANAS_PASSWORD), Reply::Accept, "by the second server");
    second.kill();
    let asked = request(ANA, ANAS_PASSWORD, None);
    for _ in 0..6 {
        assert_eq!(door.ask_in_vain(&asked, 1), Reply::Silence, "never a refusal");
    }
    // The directory's users are served meanwhile.
    let main = site.radclient(PASSWORD_ONLY);
    assert_eq!(main.login(&user(1), &password(1)), Reply::Accept);
    first.serve();
    until("the first server is back", || {
        door.ask_in_vain(&asked, 3) == Reply::Accept
    });
    assert!(!site.audit().join("\n").contains("throttled"), "nothing was counted");
}

#[test]
fn over_tls_to_freeradius() {
    let (directory, upstream) = (Slapd::start(20), FreeRadius::start());
    let servers = over_tls(upstream.tls, &upstream.authority, &upstream.client);
    let mut site = install(&directory, &servers, "none");
    site.serve();
    assert_judges(&site);
}

#[test]
fn over_tls_to_radsecproxy() {
    let (directory, upstream) = (Slapd::start(20), FreeRadius::start());
    let proxy = RadsecProxy::start(upstream.password);
    let servers = over_tls(proxy.port, &proxy.authority, &proxy.client);
    let mut site = install(&directory, &servers, "none");
    site.serve();
    assert_judges(&site);
}

#[test]
fn an_impostor_lets_nobody_in() {
    let directory = Slapd::start(20);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    // Says yes to everything, and cannot prove it.
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let mut accept = vec![2, buffer[1], 0, 20];
            accept.extend_from_slice(&[0xab; 16]);
            socket.send_to(&accept, from).unwrap();
        }
    });
    let mut site = install(&directory, &udp(&[port]), "none");
    site.serve();
    let asked = request(ANA, ANAS_PASSWORD, None);
    assert_eq!(site.radclient(OTHER).ask_in_vain(&asked, 6), Reply::Silence);
}

#[test]
fn an_upstream_as_the_second_factor() {
    let (directory, upstream) = (Slapd::start(20), FreeRadius::start());
    let mut site = install(&directory, &udp(&[upstream.password]), "none");
    site.write_policy(
        "[[rule]]\nname = \"both\"\nwhen = { service = [\"vpn\", \"append\"] }\n\
         require = { all = [\"password\", \"radius\"] }\nprompt = \"Your token\"\n",
    );
    site.serve();
    let vpn = site.radclient(DIALOG);
    let challenge = vpn.login(SHARED_USER, &password(1));
    let Reply::Challenge { text, .. } = &challenge else {
        panic!("{challenge:?}")
    };
    assert_eq!(text, "Your token");
    assert_eq!(vpn.answer(SHARED_USER, "wrong", &challenge), Reply::Reject);
    assert_eq!(directory.failures(1), 0, "the directory was not asked");
    let challenge = vpn.login(SHARED_USER, &password(1));
    assert_eq!(vpn.answer(SHARED_USER, TOKEN, &challenge), Reply::Accept);
    let append = site.radclient(APPEND);
    let login = |password: &str, token: &str| append.login(SHARED_USER, &format!("{password},{token}"));
    assert_eq!(login(&password(1), TOKEN), Reply::Accept);
    assert_eq!(login("wrong", TOKEN), Reply::Reject);
    assert_eq!(
        directory.failures(1),
        1,
        "it judges the password once the token is right"
    );
}

#[test]
fn a_request_that_comes_back_is_dropped() {
    let directory = Slapd::start(1);
    let mut site = install(&directory, "servers = []\n", "none");
    // The upstream is ourselves, which asks again, and would for ever.
    let own = format!(
        "servers = [{{ address = \"127.0.0.1:{}\", secret = \"{SECRET}\" }}]",
        site.radius()
    );
    let text = fs::read_to_string(site.configuration_file()).unwrap();
    site.configure(&text.replace("servers = []", &own));
    site.serve();
    let asked = request(ANA, ANAS_PASSWORD, None);
    assert_eq!(site.radclient(OTHER).ask_in_vain(&asked, 5), Reply::Silence);
    assert!(site.log().contains("proxy-loop"), "{}", site.log());
}

#[test]
fn our_client_speaks_to_freeradius_over_tls() {
    let upstream = FreeRadius::start();
    let directory = Slapd::start(1);
    let site = Portcullis::install(&directory);
    let login = |password: &str, more: &[&str]| -> Output {
        let mut command = site.command();
        let server = format!("127.0.0.1:{}", upstream.tls);
        command.args(["login", "radius", &server, "--transport", "tls", "--user", ANA]);
        command.arg("--ca").arg(&upstream.authority);
        command.arg("--certificate").arg(&upstream.client.chain);
        command.arg("--key").arg(&upstream.client.key);
        command.args(more);
        run(&mut command, &format!("{password}\n"))
    };
    // It signs no Access-Accept, which over TLS it need not.
    let accepted = login(ANAS_PASSWORD, &[]);
    assert!(accepted.status.success(), "{}", text(&accepted));
    let rejected = login("wrong", &[]);
    assert_eq!(rejected.status.code(), Some(1), "{}", text(&rejected));
    let newest = login(ANAS_PASSWORD, &["--radius-version", "1.1"]);
    assert_eq!(newest.status.code(), Some(3), "{}", text(&newest));
    assert!(text(&newest).contains("does not speak RADIUS/1.1"), "{}", text(&newest));
}
