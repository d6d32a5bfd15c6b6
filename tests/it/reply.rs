//! Attributes that rules add, as radclient decodes and decrypts them.

use crate::support::portcullis::{DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::process::text;
use crate::support::radclient::{Reply, request};
use crate::support::slapd::{Slapd, password, user};
use crate::support::totp::code;

const RULES: &str = r#"
[[rule]]
name = "with attributes"
when = { service = ["door"] }
require = "password"
message = "Welcome {givenName} {sn}"

[rule.reply]
Filter-Id = "{memberOf:rdn}"
Framed-IP-Address = "192.0.2.7"
Framed-IPv6-Prefix = "2001:db8:1::/48"
Session-Timeout = 3600
Service-Type = "Framed-User"
"Tunnel-Type:1" = "VLAN"
"Tunnel-Medium-Type:1" = "IEEE-802"
"Tunnel-Private-Group-Id:1" = "{vlan|42}"
"Tunnel-Password:1" = "a tunnel's secret of 32 octets..."
MS-MPPE-Send-Key = "0x000102030405060708090a0b0c0d0e0f"
MS-MPPE-Recv-Key = "0x101112131415161718191a1b1c1d1e1f"
Cisco-AVPair = ["shell:priv-lvl=15", "user={login}"]
Callback-Number = "{telephoneNumber}"
SN-DNS-Proxy-Use-Subscr-Addr = 7
Site-Word = "of the site"
"Attr-26.32473.9" = "0x00ff"

[[rule]]
name = "a code, and attributes"
when = { service = ["vpn"] }
require = { all = ["password", "totp"] }
reply = { Class = "{mail}", Session-Timeout = "{sn}" }
"#;

/// Vendors whose attributes are laid out in other ways.
const SITE: &str = "VENDOR Starent 8164 format=2,2
BEGIN-VENDOR Starent
ATTRIBUTE SN-DNS-Proxy-Use-Subscr-Addr 25 integer
END-VENDOR Starent
VENDOR Site 32473
BEGIN-VENDOR Site
ATTRIBUTE Site-Word 1 string
END-VENDOR Site
";

fn site(directory: &Slapd) -> Portcullis {
    let mut site = Portcullis::install(directory);
    site.add("[dictionary]\npath = \"dictionary\"\n", RULES);
    std::fs::create_dir(site.path("dictionary")).unwrap();
    std::fs::write(site.path("dictionary/site.dictionary"), SITE).unwrap();
    site.serve();
    site
}

/// The attributes of the reply, in order.
fn reply(printed: &str) -> Vec<String> {
    let (_, reply) = printed.split_once("Received ").expect("a reply");
    let lines = reply.lines().skip(1).filter(|line| line.starts_with('\t'));
    lines.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn radclient_reads_what_a_rule_adds() {
    let directory = Slapd::start(20);
    let site = site(&directory);
    let printed = site
        .radclient(PASSWORD_ONLY)
        .print(&request(&user(1), &password(1), None));
    assert!(printed.contains("Received Access-Accept"), "{printed}\n{}", site.log());
    let lines = reply(&printed);
    let expected = [
        "Reply-Message = \"Welcome User 00001\"",
        "Filter-Id = \"group1\"",
        "Framed-IP-Address = 192.0.2.7",
        "Framed-IPv6-Prefix = 2001:db8:1::/48",
        "Session-Timeout = 3600",
        "Service-Type = Framed-User",
        "Tunnel-Type:1 = VLAN",
        "Tunnel-Medium-Type:1 = IEEE-802",
        "Tunnel-Private-Group-Id:1 = \"42\"",
        "Tunnel-Password:1 = \"a tunnel's secret of 32 octets...\"",
        "MS-MPPE-Send-Key = 0x000102030405060708090a0b0c0d0e0f",
        "MS-MPPE-Recv-Key = 0x101112131415161718191a1b1c1d1e1f",
        "Cisco-AVPair = \"shell:priv-lvl=15\"",
        "Attr-26.32473.1 = 0x6f66207468652073697465",
        "Attr-26.32473.9 = 0x00ff",
        "SN-DNS-Proxy-Use-Subscr-Addr = 7",
    ];
    for line in expected {
        assert!(lines.iter().any(|found| found == line), "{line} is not in {lines:#?}");
    }
    assert!(
        lines.contains(&format!("Cisco-AVPair = \"user={}\"", user(1))),
        "{lines:#?}"
    );
    assert!(
        !printed.contains("Callback-Number"),
        "the entry has no telephone number"
    );

    let log = site.log();
    assert!(
        log.contains("NAS-Identifier = \"test\""),
        "requests are listed in the debug log"
    );
    assert!(log.contains("User-Password = (16 octets)"));
    assert!(!log.contains(&password(1)) && !log.contains("a tunnel's secret"));

    let explained = text(&site.cli(&["policy", "explain", &user(1), "--client", "door"]));
    for line in [
        "Filter-Id = \"group1\"",
        "Tunnel-Password:1 = (33 octets)",
        "Site-Word = \"of the site\"",
    ] {
        assert!(explained.contains(line), "{line} is not in {explained}");
    }
}

#[test]
fn a_challenge_carries_none_and_a_wrong_value_refuses() {
    let directory = Slapd::start(20);
    let site = site(&directory);
    let seed = site.enrol(&user(1));
    let vpn = site.radclient(DIALOG);
    let first = vpn.print(&request(&user(1), &password(1), None));
    assert!(
        first.contains("Received Access-Challenge") && !first.contains("Class ="),
        "{first}"
    );

    let challenge = vpn.login(&user(1), &password(1));
    let Reply::Challenge { ref state, .. } = challenge else {
        panic!("{challenge:?}")
    };
    let accept = vpn.print(&request(&user(1), &code(&seed, 0), Some(state)));
    let lines = reply(&accept);
    assert!(lines.contains(&"Session-Timeout = 1".to_owned()), "{accept}");

    site.write_policy(
        "[[rule]]\nname = \"door\"\nwhen = { service = [\"door\"] }\nrequire = \"password\"\nreply = { Session-Timeout = \"{mail}\" }\n",
    );
    let reloaded = site.cli(&["reload"]);
    assert!(reloaded.status.success(), "{}", text(&reloaded));
    let door = site.radclient(PASSWORD_ONLY);
    for _ in 0..6 {
        assert_eq!(door.login(&user(2), &password(2)), Reply::Reject);
    }
    assert_eq!(directory.failures(2), 0);
    let audit = site.audit().join("\n");
    assert!(
        audit.contains("reply-attribute: Session-Timeout is neither a number"),
        "{audit}"
    );
    assert!(
        !audit.contains("throttled"),
        "a fault of the policy is nobody's failure: {audit}"
    );
    assert!(
        site.log().contains("reply-attribute: Session-Timeout"),
        "{}",
        site.log()
    );
}

#[test]
fn wrong_replies_are_refused_with_their_place() {
    let directory = Slapd::start(5);
    let site = site(&directory);
    site.write_policy(
        "[[rule]]\nname = \"door\"\nrequire = \"password\"\nreply = { Sesion-Timeout = 1, Site-Word = \"\" }\n",
    );
    let checked = site.cli(&["policy", "check"]);
    let printed = text(&checked);
    assert!(!checked.status.success());
    assert!(printed.contains("10-test.toml:4:28"), "{printed}");
    assert!(printed.contains("did you mean `Session-Timeout`?"), "{printed}");
    assert!(printed.contains("rule[0].reply.Site-Word"), "{printed}");
}
