//! CHAP and MS-CHAPv2, as radclient and FreeRADIUS speak them.

use std::fs;

use portcullis::engine::response::Peer;
use portcullis::secret::Secret;

use crate::support::eap_server::{EapServer, OWN_PASSWORD, OWN_USER, Supplicant};
use crate::support::portcullis::{DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::process::{run, text};
use crate::support::radclient::{Radclient, Reply, SECRET};
use crate::support::slapd::{Slapd, password, user};

/// Where the people of the local directory come from, and those who may prove themselves by a passcode alone.
const HOUSE: &str = "127.0.0.5";
const HELPDESK: &str = "127.0.0.6";

/// Clear text, an NT hash beside a salted one, and a salted one alone.
const PEOPLE: &str = "\
dn: dc=house
objectClass: domain
dc: house

dn: uid=User,dc=house
objectClass: inetOrgPerson
uid: User
userPassword: {CLEARTEXT}clientPass

dn: uid=nora,dc=house
objectClass: inetOrgPerson
uid: nora
userPassword: {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
sambaNTPassword: 44EBBA8D5312B8D611474411F56989AE

dn: uid=saul,dc=house
objectClass: inetOrgPerson
uid: saul
userPassword: {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
";

const RULES: &str = r#"
[[rule]]
name = "the house"
when = { service = ["house"] }
require = "password"

[[rule]]
name = "by a passcode alone"
when = { service = ["helpdesk"] }
require = "passcode"
"#;

/// An installation before `main` with a local directory beside it, serving.
fn start(main: &Slapd) -> Portcullis {
    let mut site = install(main);
    site.serve();
    site
}

fn install(main: &Slapd) -> Portcullis {
    let site = Portcullis::install(main);
    fs::write(site.path("house.ldif"), PEOPLE).unwrap();
    let client = |name: &str, address: &str, directory: &str| {
        format!(
            "[[client]]\nname = \"{name}\"\naddress = [\"{address}\"]\nsecret = \"{SECRET}\"\n\
             directory = \"{directory}\"\nprofile = \"none\"\nreject_delay = \"10ms\"\n\
             require_message_authenticator = \"no\"\nlimit_proxy_state = \"no\"\n"
        )
    };
    let configuration = [
        "[[directory]]\nname = \"house\"\nkind = \"local\"\nldif = \"house.ldif\"\ncleartext = true\n".to_owned(),
        client("house", HOUSE, "house"),
        client("helpdesk", HELPDESK, "main"),
    ];
    site.add(&configuration.join("\n"), RULES);
    site
}

fn chap(user: &str, password: &str) -> String {
    format!("User-Name = \"{user}\"\nCHAP-Password = \"{password}\"\nMessage-Authenticator = 0x00\n")
}

/// Attributes of an MS-CHAPv2 login, always to the same challenges.
fn ms_chap2(user: &str, password: &str) -> String {
    let peer = Peer {
        user: user.as_bytes(),
        password: &Secret::new(password),
        challenge: &[0x31; 16],
        peer_challenge: &[0x47; 16],
    };
    // As radclient wants it written.
    let user = user.replace('\\', "\\\\");
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    format!(
        "User-Name = \"{user}\"\nMS-CHAP-Challenge = 0x{}\nMS-CHAP2-Response = 0x{}\nMessage-Authenticator = 0x00\n",
        hex(peer.challenge),
        hex(&peer.response(8).unwrap())
    )
}

#[test]
fn a_local_directory_judges_by_what_it_keeps() {
    let main = Slapd::start(3);
    let site = start(&main);
    let house = site.radclient(HOUSE);
    assert_eq!(house.ask(&chap("User", "clientPass")), Reply::Accept);
    assert_eq!(
        house.ask(&chap("user", "clientPass")),
        Reply::Accept,
        "the name is not in it"
    );
    assert_eq!(house.ask(&chap("User", "clientpass")), Reply::Reject);
    assert_eq!(house.login("User", "clientPass"), Reply::Accept, "PAP as well");
    assert_eq!(house.ask(&ms_chap2("User", "clientPass")), Reply::Accept);
    assert_eq!(house.ask(&ms_chap2("HOUSE\\User", "clientPass")), Reply::Accept);
    assert_eq!(house.ask(&ms_chap2("User", "secret")), Reply::Reject);

    assert_eq!(
        house.ask(&ms_chap2("nora", "clientPass")),
        Reply::Accept,
        "by the NT hash"
    );
    assert_eq!(house.ask(&chap("nora", "clientPass")), Reply::Reject);
    assert_eq!(house.ask(&chap("saul", "secret")), Reply::Reject);
    assert_eq!(house.login("saul", "secret"), Reply::Accept);
    let log = site.log();
    assert_eq!(log.matches("method-impossible").count(), 2, "{log}");
    assert!(log.contains("cleartext = true"), "the log says what to change");
    assert!(!log.contains("clientPass"), "no password in the log");
}

#[test]
fn a_directory_behind_a_bind_cannot_judge() {
    let main = Slapd::start(3);
    let site = start(&main);
    let door = site.radclient(PASSWORD_ONLY);
    for _ in 0..10 {
        assert_eq!(door.ask(&chap(&user(1), &password(1))), Reply::Reject);
        assert_eq!(door.ask(&ms_chap2(&user(1), &password(1))), Reply::Reject);
    }
    assert_eq!(door.login(&user(1), &password(1)), Reply::Accept, "nothing was counted");
    assert_eq!(main.failures(1), 0);
    assert!(site.log().contains("configure the client for PAP"), "{}", site.log());
    let shown = site.json(&["client", "show", "door"]).to_string();
    assert!(
        shown.contains("CHAP or MS-CHAPv2 that cannot be judged") && shown.contains("configure the client for PAP"),
        "{shown}"
    );
    let vpn = site.radclient(DIALOG);
    assert_eq!(vpn.ask(&chap(&user(1), &password(1))), Reply::Reject);
    assert!(site.log().contains("method-one-proof"), "{}", site.log());
    // Nobody learns from the answer whether the person exists.
    let of = |name: &str| {
        let printed = door.print(&ms_chap2(name, "guess"));
        let reply = printed.split_once("Received").unwrap().1;
        let kept = reply.lines().skip(1).filter(|line| !line.contains("0x"));
        // The challenge is new every time.
        let kept = kept.map(|line| line.split(" C=").next().unwrap());
        kept.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(of(&user(2)), of("nobody"));
}

#[test]
fn a_passcode_works_when_it_was_issued_for_it() {
    let main = Slapd::start(3);
    let site = start(&main);
    let desk = site.radclient(HELPDESK);
    let issue = |name: &str, more: &[&str]| {
        let issued = site.json(&[&["passcode", "issue", name], more].concat());
        issued["code"].as_str().unwrap().to_owned()
    };
    let plain = issue(&user(1), &[]);
    assert_eq!(
        desk.ask(&chap(&user(1), &plain)),
        Reply::Reject,
        "there is only a digest of it"
    );
    assert_eq!(desk.login(&user(1), &plain), Reply::Accept);

    let code = issue(&user(1), &["--chap"]);
    assert_eq!(desk.ask(&chap(&user(1), "AAAAA-AAAAA")), Reply::Reject);
    assert_eq!(desk.ask(&chap(&user(1), &code)), Reply::Accept);
    assert_eq!(desk.ask(&chap(&user(1), &code)), Reply::Reject, "once");
    let code = issue(&user(1), &["--chap"]);
    assert_eq!(desk.ask(&ms_chap2(&user(1), &code)), Reply::Accept);
    assert_eq!(desk.login(&user(1), &code), Reply::Reject, "spent for every method");

    let code = issue(&user(3), &["--chap"]);
    let submissions: Vec<String> = (0..60)
        .map(|number| match number % 2 {
            0 => chap(&user(3), &code),
            _ => ms_chap2(&user(3), &code),
        })
        .collect();
    let replies = desk.ask_at_once(&submissions);
    let accepted = replies.iter().filter(|reply| **reply == Reply::Accept).count();
    assert_eq!((accepted, replies.len()), (1, 60), "once, at the same time");

    let code = issue(&user(2), &["--chap"]);
    for _ in 0..3 {
        assert_eq!(desk.ask(&ms_chap2(&user(2), "AAAAA-AAAAA")), Reply::Reject);
    }
    assert_eq!(
        desk.ask(&ms_chap2(&user(2), &code)),
        Reply::Reject,
        "revoked by guesses"
    );
    let audit = site.audit().join("\n");
    assert!(audit.contains("for CHAP") && !audit.contains(&code), "{audit}");
}

#[test]
fn guesses_count_over_all_methods() {
    let main = Slapd::start(3);
    let site = start(&main);
    let house = site.radclient(HOUSE);
    for _ in 0..2 {
        assert_eq!(house.ask(&chap("User", "guess")), Reply::Reject);
        assert_eq!(house.ask(&ms_chap2("User", "guess")), Reply::Reject);
    }
    assert_eq!(house.login("User", "guess"), Reply::Reject);
    let right = [chap("User", "clientPass"), ms_chap2("User", "clientPass")];
    for attributes in &right {
        assert_eq!(house.ask(attributes), Reply::Reject, "refused unheard");
    }
    assert_eq!(house.login("User", "clientPass"), Reply::Reject);
    assert!(site.cli(&["user", "unlock", "User"]).status.success());
    // At once, one after the other: more than five guesses are never judged.
    let guesses = vec![ms_chap2("User", "guess"); 20];
    assert!(house.ask_at_once(&guesses).iter().all(|reply| *reply == Reply::Reject));
    assert_eq!(house.ask(&right[0]), Reply::Reject);
    let log = site.log();
    assert_eq!(log.matches("wrong-password").count(), 10, "{log}");
}

#[test]
fn the_proof_and_the_keys_are_those_of_freeradius() {
    let main = Slapd::start(3);
    let site = start(&main);
    let peer = EapServer::before(site.radius(), HOUSE);
    let request = ms_chap2(OWN_USER, OWN_PASSWORD);
    let told = |radclient: &Radclient| {
        let printed = radclient.print(&request);
        assert!(printed.contains("Received Access-Accept"), "{printed}");
        ["MS-CHAP2-Success", "MS-MPPE-Send-Key", "MS-MPPE-Recv-Key"].map(|name| {
            let line = printed
                .lines()
                .find(|line| line.trim().starts_with(&format!("{name} = 0x")));
            line.unwrap_or_else(|| panic!("no {name}: {printed}")).trim().to_owned()
        })
    };
    assert_eq!(told(&site.radclient(HOUSE)), told(&peer.own()));
}

#[test]
fn supplicants_log_in_through_tunnels_that_freeradius_ends() {
    let main = Slapd::start(3);
    let site = start(&main);
    let tunnels = EapServer::before(site.radius(), HOUSE);
    for (outer, inner) in [
        ("PEAP", "auth=MSCHAPV2"),
        ("TTLS", "auth=MSCHAPV2"),
        ("TTLS", "auth=CHAP"),
    ] {
        let login = |password| {
            tunnels.login(Supplicant {
                outer,
                inner,
                user: "User",
                password,
            })
        };
        let (success, printed) = login("clientPass");
        assert!(success, "{outer} {inner}: {printed}");
        let (success, printed) = login("wrong");
        assert!(!success && printed.contains("FAILURE"), "{outer} {inner}: {printed}");
        assert!(site.cli(&["user", "unlock", "User"]).status.success());
    }
    let log = site.log();
    assert_eq!(log.matches("outcome=\"accept\"").count(), 3, "{log}");
    assert_eq!(log.matches("wrong-password").count(), 3, "{log}");
}

#[test]
fn our_own_client_speaks_both_to_us_and_to_freeradius() {
    let main = Slapd::start(3);
    let mut site = install(&main);
    // The command asks from 127.0.0.1.
    let configuration = fs::read_to_string(site.configuration_file()).unwrap();
    let moved = |from: &str, to: &str, text: &str| {
        let address = |of: &str| format!("address = [\"{of}\"]");
        assert!(text.contains(&address(from)));
        text.replace(&address(from), &address(to))
    };
    site.configure(&moved(HOUSE, DIALOG, &moved(DIALOG, "127.0.0.9", &configuration)));
    site.serve();
    let peer = EapServer::before(site.radius(), HOUSE);
    let login = |port: u16, method: &str, more: &[&str], password: &str| {
        let mut command = site.command();
        let server = format!("127.0.0.1:{port}");
        command.args(["login", "radius", &server, "--secret", SECRET, "--user", "User"]);
        command.args(["--method", method]).args(more);
        run(&mut command, &format!("{password}\n")).status.code()
    };
    // FreeRADIUS 3.2 does not sign its Access-Accept.
    let unsigned = ["--allow-unsigned"];
    assert_eq!(login(peer.own_port(), "mschapv2", &unsigned, "clientPass"), Some(0));
    assert_eq!(login(peer.own_port(), "mschapv2", &unsigned, "wrong"), Some(1));
    for method in ["pap", "chap", "mschapv2"] {
        assert_eq!(login(site.radius(), method, &[], "clientPass"), Some(0), "{method}");
        assert_eq!(login(site.radius(), method, &[], "wrong"), Some(1), "{method}");
    }
}

#[test]
fn check_warns_of_passwords_in_clear() {
    let main = Slapd::start(3);
    let site = start(&main);
    let output = site
        .command()
        .args(["check", "-c"])
        .arg(site.configuration_file())
        .output()
        .unwrap();
    let printed = text(&output);
    assert!(output.status.success(), "{printed}");
    assert!(
        printed.contains("cleartext: passwords may stand in the file as they are"),
        "{printed}"
    );
}
