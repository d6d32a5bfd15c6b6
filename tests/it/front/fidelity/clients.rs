//! Real clients: ldap-utils by the octets that they are sent, python3-ldap3 with each of its strategies by what it
//! prints.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use super::super::peers::{Setup, run};
use super::super::wire::{ANA, BEN};
use super::{ADMIN, Pair};

const SUFFIX: &str = "dc=example,dc=org";

/// Every tool, as people call it.
const COMMANDS: &[(&str, &[&str], &str)] = &[
    ("ldapsearch", &["-b", SUFFIX], ""),
    (
        "ldapsearch",
        &["-b", SUFFIX, "-E", "pr=2/noprompt", "(objectClass=*)", "*", "+"],
        "",
    ),
    (
        "ldapsearch",
        &["-b", SUFFIX, "-E", "sync=ro", "(objectClass=person)"],
        "",
    ),
    (
        "ldapsearch",
        &["-b", SUFFIX, "-E", "!sss=-uid", "-E", "!vlv=1/1/2/0", "(uid=*)", "uid"],
        "",
    ),
    (
        "ldapsearch",
        &["-b", SUFFIX, "-E", "deref=member:uid,mail", "(cn=staff)"],
        "",
    ),
    (
        "ldapsearch",
        &["-b", SUFFIX, "-E", "mv=(mail=ana@example.org)", "(uid=ana)"],
        "",
    ),
    ("ldapsearch", &["-b", SUFFIX, "-E", "subentries=true"], ""),
    (
        "ldapsearch",
        &["-b", SUFFIX, "-a", "always", "-z", "2", "-l", "5", "-A"],
        "",
    ),
    (
        "ldapsearch",
        &["-M", "-b", "ou=elsewhere,dc=example,dc=org", "-s", "base", "*", "ref"],
        "",
    ),
    ("ldapsearch", &["-b", "uid=x,ou=elsewhere,dc=example,dc=org"], ""),
    ("ldapsearch", &["-b", SUFFIX, "-e", "!assert=(objectClass=person)"], ""),
    (
        "ldapsearch",
        &[
            "-b",
            SUFFIX,
            "-e",
            "!authzid=dn:uid=ben,ou=people,dc=example,dc=org",
            "(uid=ana)",
        ],
        "",
    ),
    (
        "ldapadd",
        &[],
        "dn: ou=tree,dc=example,dc=org\nobjectClass: organizationalUnit\nou: tree\n\n\
         dn: ou=branch,ou=tree,dc=example,dc=org\nobjectClass: organizationalUnit\nou: branch\n\n\
         dn: ou=leaf,ou=branch,ou=tree,dc=example,dc=org\nobjectClass: organizationalUnit\nou: leaf\n",
    ),
    (
        "ldapmodify",
        &["-c", "-e", "postread=description", "-e", "preread=description"],
        "dn: ou=tree,dc=example,dc=org\nchangetype: modify\nreplace: description\ndescription:: /9j/AAD/2Q==\n\n\
         dn: ou=tree,dc=example,dc=org\nchangetype: modify\nreplace: nothing\nnothing: x\n\n\
         dn: uid=ben,ou=people,dc=example,dc=org\nchangetype: modify\nincrement: uidNumber\nuidNumber: 3\n\n\
         dn: ou=leaf,ou=branch,ou=tree,dc=example,dc=org\nchangetype: moddn\nnewrdn: ou=needle\ndeleteoldrdn: 1\n",
    ),
    (
        "ldapmodrdn",
        &[
            "-r",
            "-s",
            "ou=tree,dc=example,dc=org",
            "ou=needle,ou=branch,ou=tree,dc=example,dc=org",
            "ou=cone",
        ],
        "",
    ),
    ("ldapcompare", &[ANA, "cn:Ana"], ""),
    ("ldapcompare", &[ANA, "cn:Ben"], ""),
    ("ldapcompare", &[ANA, "nothing:x"], ""),
    ("ldapdelete", &["ou=tree,dc=example,dc=org"], ""),
    ("ldapdelete", &["-r", "ou=tree,dc=example,dc=org"], ""),
    ("ldapwhoami", &[], ""),
    (
        "ldapwhoami",
        &["-e", "!authzid=dn:uid=ben,ou=people,dc=example,dc=org"],
        "",
    ),
    (
        "ldapadd",
        &[],
        "dn: cn=short,dc=example,dc=org\nobjectClass: organizationalRole\nobjectClass: dynamicObject\ncn: short\n",
    ),
    ("ldapexop", &["refresh", "cn=short,dc=example,dc=org", "600"], ""),
    ("ldapexop", &["cancel", "77"], ""),
    ("ldapexop", &["whoami"], ""),
    ("ldapexop", &["1.2.3.4:value"], ""),
    ("ldapdelete", &["cn=short,dc=example,dc=org"], ""),
];

#[test]
fn ldap_utils_are_sent_the_same_octets() {
    let pair = Pair::start();
    for (program, arguments, input) in COMMANDS {
        let [direct, behind] = [pair.direct.address(), pair.front.address].map(|address| {
            let recorder = Recorder::before(address);
            let url = format!("ldap://{}", recorder.address);
            let all = [&["-x", "-H", &url, "-D", ADMIN, "-w", "adminpw"], *arguments].concat();
            let output = run(program, &all, input, &[]);
            assert_ne!(output.status.code(), Some(255), "{program} {arguments:?}: {output:?}");
            (output.status.code(), recorder.sent())
        });
        assert!(!direct.1.is_empty(), "{program} {arguments:?} was sent nothing");
        assert_eq!(direct, behind, "{program} {arguments:?}");
    }
    // Somebody who changes their own password.
    let [direct, behind] = [pair.direct.address(), pair.front.address].map(|address| {
        let recorder = Recorder::before(address);
        let url = format!("ldap://{}", recorder.address);
        let arguments = ["-x", "-H", &url, "-D", BEN, "-w", "benpw", "-a", "benpw", "-s", "newer"];
        let output = run("ldappasswd", &arguments, "", &[]);
        assert!(output.status.success(), "{output:?}");
        recorder.sent()
    });
    assert_eq!(direct, behind);
}

#[test]
fn ldap3_sees_no_difference_with_any_of_its_strategies() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/front/entries/strategies.py");
    let printed = |url: &str, authority: &str| {
        let arguments = [script.to_str().unwrap(), url, authority];
        let output = run("/usr/bin/python3", &arguments, "", &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let pair = Pair::start();
    let direct = printed(&pair.direct.url(), "");
    assert_eq!(direct, printed(&pair.front.url(), ""));
    // And over TLS, which each connection starts before it binds.
    let front = Setup::before(pair.behind.address())
        .configured("tls = \"starttls\"\n")
        .start();
    let authority = front.authority.to_str().unwrap();
    assert_eq!(
        direct,
        printed(&front.url().replace("127.0.0.1", "localhost"), authority)
    );
}

/// Stands between a client and a server and writes down what the server sends.
struct Recorder {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&sent);
        thread::spawn(move || {
            // The tools open one connection.
            let (mut client, _) = listener.accept().unwrap();
            let mut onward = TcpStream::connect(server).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), onward.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            let mut octets = vec![0; 65536];
            let mut record = record.lock().unwrap();
            while let Ok(count @ 1..) = onward.read(&mut octets) {
                record.extend_from_slice(&octets[..count]);
                let _ = client.write_all(&octets[..count]);
            }
            let _ = client.shutdown(Shutdown::Both);
        });
        Self { address, sent }
    }

    /// All that the server has sent, once it has closed.
    fn sent(&self) -> Vec<u8> {
        self.sent.lock().unwrap().clone()
    }
}
