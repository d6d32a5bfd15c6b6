//! haproxy before the LDAP listeners, and others who would like to be it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::front::wire;
use crate::support::clients::{ldap_command, ldapsearch, python, trusting};
use crate::support::haproxy::{BALANCER, Haproxy, connect_from};
use crate::support::portcullis::Portcullis;
use crate::support::process::{free_port, run, text, until};
use crate::support::slapd::{Slapd, password, user_dn};

const RULES: &str = r#"
[[rule]]
name = "the true client"
when = { service = ["front"], source = ["127.0.0.0/29"] }
require = "password"
"#;

/// A site with two listeners that haproxy may stand before: without TLS (and StartTLS), and with.
struct Site {
    site: Portcullis,
    plain: u16,
    tls: u16,
    metrics: u16,
    _directory: Slapd,
}

impl Site {
    fn start() -> Self {
        let directory = Slapd::start(20);
        let mut site = Portcullis::install(&directory);
        let (plain, tls, metrics) = (free_port(), free_port(), free_port());
        let made = site.certificates();
        let (chain, key) = (made.chain.display(), made.key.display());
        let listener = |name: &str, port: u16, kind: &str| {
            format!(
                "[[ldap]]\nname = \"{name}\"\nservice = \"front\"\nlisten = \"127.0.0.1:{port}\"\ntls = \"{kind}\"\n\
                 allow_plaintext = true\nanonymous = \"yes\"\ncertificate = \"{chain}\"\nkey = \"{key}\"\n\
                 directory = \"main\"\nproxy_protocol = {{ from = [\"{BALANCER}\"] }}\n\n"
            )
        };
        let listeners = listener("front", plain, "starttls") + &listener("front-tls", tls, "ldaps");
        let metrics_table = format!("[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n");
        site.add(&(listeners + &metrics_table), RULES);
        site.serve();
        Self {
            site,
            plain,
            tls,
            metrics,
            _directory: directory,
        }
    }

    fn sources(&self) -> Vec<String> {
        let found = self
            .site
            .json(&["audit", "search", "--oldest-first", "--action", "login", "-n", "1000"]);
        let of = |record: &Value| {
            format!(
                "{} {}",
                record["source"].as_str().unwrap(),
                record["outcome"].as_str().unwrap()
            )
        };
        found.as_array().unwrap().iter().map(of).collect()
    }

    /// How many connections were closed for a reason.
    fn dropped(&self, reason: &str) -> u64 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.metrics)).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let label = format!("portcullis_dropped_total{{protocol=\"ldap\",reason=\"{reason}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(label.as_str()));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

/// Searches over whatever the address says, from a source of its own, and prints how many entries there were.
const SEARCH: &str = "
import sys, ssl, ldap3
url, source, start_tls, dn, password, authority = sys.argv[1:]
tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=authority)
connection = ldap3.Connection(ldap3.Server(url, tls=tls), dn, password, source_address=source)
connection.open()
if start_tls == 'yes':
    assert connection.start_tls()
print('bound' if connection.bind() else connection.result['result'])
connection.search('ou=people,dc=example,dc=org', '(uid=*)')
print(len(connection.entries))
";

#[test]
fn haproxy_before_every_kind_of_listener() {
    let here = Site::start();
    let site = &here.site;
    let haproxy = Haproxy::start(&[
        (here.plain, "send-proxy"),
        (here.plain, "send-proxy-v2"),
        (here.tls, "send-proxy"),
        (here.tls, "send-proxy-v2-ssl-cn"),
    ]);
    let ldap = |number| format!("ldap://127.0.0.1:{}", haproxy.port(number));
    let ldaps = |number| format!("ldaps://127.0.0.1:{}", haproxy.port(number));
    let base = "ou=people,dc=example,dc=org";
    let urls = [ldap(0), ldap(1), ldaps(2), ldaps(3)];
    for url in &urls {
        let found = ldapsearch(
            url,
            &user_dn(1),
            &password(1),
            site.certificates(),
            base,
            &["(uid=*)", "uid"],
        );
        assert!(found.status.success(), "{url}: {}", text(&found));
        assert_eq!(text(&found).matches("\nuid: ").count(), 20, "{url}");
    }
    for url in &urls[..2] {
        let mut whoami = trusting(
            ldap_command("ldapwhoami", url, &user_dn(1), &password(1)),
            site.certificates(),
        );
        let output = run(whoami.arg("-ZZ"), "");
        assert!(output.status.success(), "StartTLS at {url}: {}", text(&output));
    }
    let sources = here.sources();
    assert_eq!(sources, ["127.0.0.1 accept"; 6], "never {BALANCER}");

    let authority = site.certificates().authority.display().to_string();
    for (number, (url, start_tls)) in urls.iter().zip(["yes", "no", "no", "no"]).enumerate() {
        let source = format!("127.0.0.{}", number + 2);
        let arguments = [url, &source, start_tls, &user_dn(2), &password(2), &authority];
        let output = python(SEARCH, &arguments);
        assert!(output.status.success(), "{url}: {}", text(&output));
        assert_eq!(text(&output), "bound\n20\n", "{url}");
        assert_eq!(here.sources().last().unwrap(), &format!("{source} accept"));
    }
    // The rule's `source` is about the client, so this one is not of it.
    let output = python(
        SEARCH,
        &[&ldap(1), "127.0.0.8", "no", &user_dn(2), &password(2), &authority],
    );
    assert!(text(&output).starts_with("49"), "{}", text(&output));
    assert_eq!(here.sources().last().unwrap(), "127.0.0.8 reject");
    assert!(!site.log().contains(BALANCER), "{}", site.log());
}

#[test]
fn checks_of_balancers_are_no_faults() {
    let here = Site::start();
    let checks = "check inter 50 fastinter 50 downinter 50 rise 2 fall 2";
    let haproxy = Haproxy::start(&[
        (here.plain, &format!("send-proxy-v2 {checks}")),
        (here.tls, &format!("send-proxy-v2 {checks}")),
        (here.tls, &format!("send-proxy-v2 check-send-proxy {checks}")),
        // Without a header: up, because the connection is taken.
        (here.plain, checks),
    ]);
    thread::sleep(Duration::from_secs(1));
    let log = here.site.log();
    // What the configuration is warned of stands there before.
    let (_, served) = log.split_once(" ready ").unwrap();
    assert!(!served.contains(" WARN ") && !served.contains(BALANCER), "{log}");
    assert!(!haproxy.log().contains("DOWN"), "{}", haproxy.log());
    for reason in ["nothing", "cut", "missing", "malformed", "late"] {
        assert_eq!(here.dropped(&format!("proxy-header-{reason}")), 0, "{reason}");
    }
}

/// What comes back until the connection is closed.
fn answer(mut stream: TcpStream, octets: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    // It may be closed while we write.
    let _ = stream.write_all(octets);
    let _ = stream.read_to_end(&mut said);
    said
}

/// A bind, and the goodbye behind it.
fn bind(number: usize) -> Vec<u8> {
    let unbind = b"\x30\x05\x02\x01\x02\x42\x00";
    [wire::bind(1, &user_dn(number), &password(number)), unbind.to_vec()].concat()
}

const V1: &[u8] = b"PROXY TCP4 127.0.0.5 127.0.0.1 40000 389\r\n";
const SUCCESS: &[u8] = &[0x0a, 1, 0];

#[test]
fn only_listed_balancers_say_whose_a_connection_is() {
    let here = Site::start();
    let v2 = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(),
        &[127, 0, 0, 5, 127, 0, 0, 1, 0x9c, 0x40, 1, 0x85],
    ]
    .concat();
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    for header in [V1.to_vec(), v2.clone()] {
        let said = answer(connect_from(BALANCER, here.plain), &[&header[..], &bind(1)].concat());
        assert!(said.windows(3).any(|octets| octets == SUCCESS), "{said:02x?}");
        assert_eq!(here.sources().last().unwrap(), "127.0.0.5 accept");
    }
    let said = answer(connect_from(BALANCER, here.plain), &[&unknown[..], &bind(1)].concat());
    assert!(
        said.windows(3).any(|octets| octets == [0x0a, 1, 49]),
        "no rule is for the balancer itself"
    );
    assert_eq!(here.sources().last().unwrap(), &format!("{BALANCER} reject"));

    let before = here.sources().len();
    // From anybody else a header is garbage.
    for header in [V1.to_vec(), v2.clone(), unknown] {
        let said = answer(connect_from("127.0.0.2", here.plain), &[&header[..], &bind(1)].concat());
        assert!(!said.windows(3).any(|octets| octets == SUCCESS), "{said:02x?}");
        let said = answer(connect_from("127.0.0.2", here.tls), &[&header[..], &bind(1)].concat());
        assert!(!said.windows(3).any(|octets| octets == SUCCESS), "{said:02x?}");
    }
    // And a balancer that does not say it is not served, neither is one that says it twice.
    assert_eq!(answer(connect_from(BALANCER, here.plain), &bind(1)), b"");
    let twice = answer(connect_from(BALANCER, here.plain), &[V1, &v2, &bind(1)].concat());
    assert!(!twice.windows(3).any(|octets| octets == SUCCESS), "{twice:02x?}");
    assert_eq!(answer(connect_from(BALANCER, here.plain), b"PROXY TCP4 what\r\n"), b"");
    assert_eq!(
        answer(
            connect_from(BALANCER, here.tls),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"
        ),
        b""
    );
    assert_eq!(here.sources().len(), before, "nobody was judged");
    assert_eq!(here.dropped("proxy-header-missing"), 1);
    assert_eq!(here.dropped("proxy-header-malformed"), 1);
    assert_eq!(here.dropped("proxy-header-too-long"), 1);

    // Others connect as ever.
    let said = answer(connect_from("127.0.0.2", here.plain), &bind(1));
    assert!(said.windows(3).any(|octets| octets == SUCCESS));
    assert_eq!(here.sources().last().unwrap(), "127.0.0.2 accept");
    let warned = here
        .site
        .log()
        .matches("closed a connection of a load balancer")
        .count();
    assert!((1..=3).contains(&warned), "said now and then: {warned}");
}

#[test]
fn headers_in_pieces_late_and_never() {
    let here = Site::start();
    let mut pieces = connect_from(BALANCER, here.plain);
    pieces.set_nodelay(true).unwrap();
    for octet in V1 {
        pieces.write_all(&[*octet]).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    let said = answer(pieces, &bind(1));
    assert!(said.windows(3).any(|octets| octets == SUCCESS), "{said:02x?}");
    assert_eq!(here.sources(), ["127.0.0.5 accept"]);

    let mut cut = connect_from(BALANCER, here.plain);
    cut.write_all(&V1[..20]).unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answer(cut, b""), b"");
    assert_eq!(here.dropped("proxy-header-cut"), 1);

    // Those whose header does not come are closed in time, and meanwhile hurt nobody else.
    let mut waiting: Vec<TcpStream> = (0..40).map(|_| connect_from(BALANCER, here.plain)).collect();
    for stream in &mut waiting {
        stream.write_all(b"PROXY ").unwrap();
    }
    let said = answer(connect_from(BALANCER, here.plain), &[V1, &bind(2)].concat());
    assert!(said.windows(3).any(|octets| octets == SUCCESS), "{said:02x?}");
    assert_eq!(here.sources().len(), 2);
    for stream in waiting {
        assert_eq!(answer(stream, b""), b"");
    }
    until("all are counted", || here.dropped("proxy-header-late") == 40);
}
