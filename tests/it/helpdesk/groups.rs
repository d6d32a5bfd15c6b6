//! Groups that an operator keeps out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::door;
use crate::support::nas::Nas;
use crate::support::portcullis::Portcullis;
use crate::support::process::{text, until};
use crate::support::radclient::{Reply, SECRET};
use crate::support::slapd::{Slapd, group_dn, password, user, user_dn};
use crate::support::totp::code;

/// The NAS's loopback address.
const NAS: &str = "127.0.0.7";

/// Binds, says so, waits for a line, and asks who it is.
const BOUND: &str = "
import sys, ssl, ldap3
tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=sys.argv[4])
connection = ldap3.Connection(ldap3.Server(sys.argv[1], tls=tls), sys.argv[2], sys.argv[3], auto_bind=True)
print('bound', flush=True)
sys.stdin.readline()
try:
    print('still', connection.extend.standard.who_am_i(), flush=True)
except Exception as error:
    print('ended', type(error).__name__, flush=True)
";

#[test]
fn a_groups_members_are_out_at_once_with_all_that_they_have_open() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(19), "Session-Context-Not-Removable");
    let mut site = Portcullis::install(&directory);
    let client = format!(
        "[[client]]\nname = \"nas\"\naddress = [\"{NAS}\"]\nsecret = \"{SECRET}\"\ndirectory = \"main\"\n\
         dynamic_authorization = {{ port = {} }}\n",
        nas.port()
    );
    let rule = "[[rule]]\nname = \"the NAS\"\nwhen = { client = [\"nas\"] }\nrequire = \"password\"\n";
    site.add(&client, rule);
    site.serve();
    let authority = site.certificates().authority.display().to_string();
    let bind = |number: usize| {
        let seed = site.enrol(&user(number));
        let typed = format!("{},{}", password(number), code(&seed, 0));
        let mut python = Command::new("/usr/bin/python3")
            .args(["-c", BOUND, &site.ldaps_url(), &user_dn(number), &typed, &authority])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "bound");
        (python, lines)
    };
    let (mut member, mut said_by_member) = bind(1);
    let (mut other, mut said_by_other) = bind(2);
    for (number, id) in [(1, "A1"), (11, "A11"), (2, "A2")] {
        assert!(nas.account(site.radius(), "Start", id, &user(number)));
    }
    assert_eq!(door(&site, 11, &password(11)), Reply::Accept);

    let denied = site.json(&[
        "deny",
        "--group",
        "group1",
        "--until",
        "2h",
        "--reason",
        "contract ended",
    ]);
    assert_eq!(
        (&denied["group"], &denied["connections"]),
        (&Value::from("group1"), &Value::from(1))
    );
    let mut ended: Vec<&str> = denied["sessions"]["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["session"].as_str().unwrap())
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, ["nas/edge/A1", "nas/edge/A11"]);
    assert_eq!(nas.got().len(), 2, "{:#?}", nas.got());
    for python in [&mut member, &mut other] {
        python.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    let last = said_by_member.next().unwrap().unwrap();
    assert!(last.starts_with("ended"), "{last}");
    let last = said_by_other.next().unwrap().unwrap();
    assert!(last.starts_with("still"), "{last}");
    member.wait().unwrap();
    other.wait().unwrap();
    for (number, reply) in [(1, Reply::Reject), (11, Reply::Reject), (2, Reply::Accept)] {
        assert_eq!(door(&site, number, &password(number)), reply, "{number}");
    }
    assert_eq!(directory.failures(11), 0, "the directory was not asked");
    // A session that is reported all the same is ended as well.
    assert!(nas.account(site.radius(), "Start", "A12", &user(11)));
    until("the NAS is asked about it", || nas.got().len() == 3);

    let explained = site.json(&["policy", "explain", &user(11), "--client", "door"]);
    assert_eq!(explained["decision"], "deny");
    let told = explained["text"].as_str().unwrap();
    assert!(told.contains("The group group1 was denied by root"), "{told}");
    let shown = site.json(&["user", "show", &user(11)]);
    assert_eq!(shown["denied_groups"][0]["reason"], "contract ended");

    site.kill_and_serve();
    assert_eq!(door(&site, 11, &password(11)), Reply::Reject, "over a restart");
    let again = site.json(&[
        "deny",
        "--group",
        &group_dn(3),
        "--directory",
        "main",
        "--reason",
        "another",
    ]);
    assert_eq!(again["replaced"], false);
    assert_eq!(door(&site, 3, &password(3)), Reply::Reject);
    let listed = site.json(&["deny", "--list"]);
    let mut groups: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|denial| denial["group"].as_str().unwrap())
        .collect();
    groups.sort_unstable();
    assert_eq!(groups, [group_dn(3).as_str(), "group1"]);
    site.json(&["deny", "--group", "group1", "--lift", "--reason", "renewed"]);
    assert_eq!(door(&site, 11, &password(11)), Reply::Accept);
    let none = site.cli(&["deny", "--group", "group1", "--lift"]);
    assert_eq!(none.status.code(), Some(5), "{}", text(&none));
    assert_eq!(
        super::audited(&site, "group"),
        ["group.deny accept", "group.deny accept", "group.undeny accept"]
    );
}
