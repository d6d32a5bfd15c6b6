//! Restricted listeners: what a client tries that wants to see more.

use std::process::Output;

use super::peers::{Front, Setup, run};
use super::start;
use super::wire::{ANA, BEN, WHO_AM_I, Wire, extended, modify_description, search};
use crate::support::slapd::Slapd;

const PEOPLE: &str = "ou=people,dc=example,dc=org";
const ADMIN: &str = "cn=admin,dc=example,dc=org";

fn restricted(slapd: &Slapd, table: &str) -> Front {
    Setup::before(slapd.address())
        .and(&format!("[restrict]\n{table}"))
        .start()
}

/// Exit status and output of `ldapsearch` as the directory's administrator, whom no access rule holds back.
fn found(front: &Front, arguments: &[&str]) -> (Option<i32>, String) {
    let url = front.url();
    let login = [
        "-x",
        "-LLL",
        "-o",
        "ldif-wrap=no",
        "-H",
        url.as_str(),
        "-D",
        ADMIN,
        "-w",
        "adminpw",
    ];
    let output = run("ldapsearch", &[&login[..], arguments].concat(), "", &[]);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// The result code; `ldappasswd` has it in its output only.
fn told(output: &Output) -> Option<i32> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("Result: "));
    line.and_then(|line| line.rsplit_once('(')?.1.trim_end_matches(')').parse().ok())
        .or(output.status.code())
}

#[test]
fn a_read_only_listener_changes_nothing() {
    let slapd = start();
    let front = restricted(&slapd, "read_only = true");
    let mut wire = Wire::bound(front.address, ADMIN, "adminpw");
    assert_eq!(wire.ask_all(&search(2, ANA, 0)).len(), 2);
    assert_eq!(wire.who_am_i(3).identity(), format!("dn:{ADMIN}"));
    assert_eq!(wire.ask(&modify_description(4, ANA, b"x")).code(), 53);
    // Password Modify, transactions, and what nobody knows.
    for number in ["1.3.6.1.4.1.4203.1.11.1", "1.3.6.1.1.21.1", "1.2.3.4"] {
        assert_eq!(wire.ask(&extended(5, number)).code(), 53, "{number}");
    }
    assert_eq!(wire.ask(&extended(6, WHO_AM_I)).code(), 0);
    let url = front.url();
    let login = ["-x", "-H", url.as_str(), "-D", ADMIN, "-w", "adminpw"];
    for (program, arguments, input) in [
        ("ldapdelete", vec![BEN], ""),
        ("ldapmodrdn", vec!["-r", BEN, "uid=bob"], ""),
        ("ldappasswd", vec!["-s", "other", BEN], ""),
        (
            "ldapadd",
            vec![],
            "dn: ou=new,dc=example,dc=org\nobjectClass: organizationalUnit\nou: new\n",
        ),
    ] {
        let output = run(program, &[&login[..], &arguments].concat(), input, &[]);
        assert_eq!(told(&output), Some(53), "{program}: {output:?}");
    }
    let (code, text) = found(&front, &["-b", PEOPLE, "(uid=ben)", "1.1"]);
    assert_eq!((code, text.trim()), (Some(0), format!("dn: {BEN}").as_str()));
}

#[test]
fn nothing_outside_of_the_bases_is_reached_in_any_spelling() {
    let slapd = start();
    slapd.modify(&format!(
        "dn: cn=way out,{PEOPLE}\nchangetype: add\nobjectClass: alias\nobjectClass: extensibleObject\ncn: way out\n\
         aliasedObjectName: cn=default,dc=example,dc=org\n"
    ));
    let front = restricted(&slapd, &format!("bases = [\"{PEOPLE}\"]"));
    for inside in [
        PEOPLE,
        "OU = People , 0.9.2342.19200300.100.1.25=example,DC=org",
        "ou=p\\65ople,domainComponent=e\\78ample,dc=org",
    ] {
        let (code, text) = found(&front, &["-b", inside, "(uid=ana)", "1.1"]);
        assert_eq!(
            (code, text.trim()),
            (Some(0), format!("dn: {ANA}").as_str()),
            "{inside}"
        );
    }
    for (outside, code) in [
        ("dc=example,dc=org", 32),
        ("cn=default,dc=example,dc=org", 32),
        ("cn=config", 32),
        ("", 32),
        ("cn=default\\,ou=people,dc=example,dc=org", 32),
        ("cn=default,dc=example,dc=org;ou=people,dc=example,dc=org", 34),
        ("\"cn=x,ou=people\",dc=example,dc=org", 34),
    ] {
        assert_eq!(
            found(&front, &["-b", outside, "(cn=default)"]),
            (Some(code), String::new()),
            "{outside}"
        );
    }
    // Clients need these two.
    assert!(
        found(&front, &["-b", "", "-s", "base", "+"])
            .1
            .contains("namingContexts")
    );
    assert!(
        found(&front, &["-b", "cn=Subschema", "-s", "base", "+"])
            .1
            .contains("attributeTypes")
    );
    // An alias leads nowhere, not even by the number of what it leads to.
    let (code, text) = found(&front, &["-a", "always", "-b", PEOPLE, "-z", "1", "(cn=default)"]);
    assert_eq!((code, text.as_str()), (Some(0), ""));

    let url = front.url();
    let login = ["-x", "-H", url.as_str(), "-D", ADMIN, "-w", "adminpw"];
    for (program, arguments, input) in [
        ("ldapdelete", vec!["cn=default,dc=example,dc=org"], ""),
        ("ldapcompare", vec!["cn=default,dc=example,dc=org", "cn:default"], ""),
        ("ldapmodrdn", vec!["-r", "-s", "dc=example,dc=org", BEN, "uid=ben"], ""),
        ("ldapmodrdn", vec!["-r", PEOPLE, "ou=folk"], ""),
        ("ldappasswd", vec!["-s", "x", "cn=default,dc=example,dc=org"], ""),
        (
            "ldapadd",
            vec![],
            "dn: ou=new,dc=example,dc=org\nobjectClass: organizationalUnit\nou: new\n",
        ),
        (
            "ldapmodify",
            vec![],
            "dn: dc=example,dc=org\nreplace: description\ndescription: x\n",
        ),
    ] {
        let output = run(program, &[&login[..], &arguments].concat(), input, &[]);
        assert_eq!(told(&output), Some(32), "{program} {arguments:?}: {output:?}");
    }
    let renamed = run("ldapmodrdn", &[&login[..], &["-r", BEN, "uid=bob"]].concat(), "", &[]);
    assert!(renamed.status.success(), "{renamed:?}");
}

#[test]
fn a_hidden_attribute_is_not_seen_and_not_guessed() {
    let slapd = start();
    slapd.modify(&format!(
        "dn: {ANA}\nchangetype: modify\nreplace: mail\nmail: ana@example.org\n"
    ));
    let front = restricted(&slapd, "hide_attributes = [\"userPassword\", \"mail\", \"sn\"]");
    for selection in [
        &["*", "+"][..],
        &["mail", "userPassword", "uid"],
        &["2.5.4.35", "0.9.2342.19200300.100.1.3", "rfc822Mailbox", "uid"],
        &["@inetOrgPerson"],
        &["name", "uid"],
        &["userPassword;x-foo", "uid"],
        &["-A", "*"],
    ] {
        let (code, text) = found(
            &front,
            &[&["-b", ANA, "-s", "base", "(objectClass=*)"][..], selection].concat(),
        );
        assert_eq!(code, Some(0), "{selection:?}");
        assert!(text.contains("uid:"), "{selection:?}: {text}");
        for hidden in ["userPassword", "mail", "sn:", "surname", "example.org\n"] {
            let shown = text.lines().filter(|line| !line.starts_with("dn:"));
            assert!(
                !shown.clone().any(|line| line.starts_with(hidden)),
                "{selection:?}: {text}"
            );
        }
    }
    for filter in [
        "(mail=a*)",
        "(MAIL=ana@example.org)",
        "(rfc822Mailbox>=a)",
        "(0.9.2342.19200300.100.1.3=*)",
        "(mail;lang-de=*)",
        "(&(uid=ana)(!(mail=*)))",
        "(|(uid=ana)(&(cn=*)(mail~=x)))",
        "(mail:caseExactMatch:=ana@example.org)",
        "(:caseIgnoreIA5Match:=ana@example.org)",
        "(:dn:caseIgnoreMatch:=Example)",
        "(name=Example)",
        "(2.5.4.41=Example)",
        "(1.2.3.4=x)",
    ] {
        assert_eq!(
            found(&front, &["-b", PEOPLE, filter, "uid"]),
            (Some(50), String::new()),
            "{filter}"
        );
    }
    for (control, code) in [
        ("sss=mail", 50),
        ("sss=uid/sn", 50),
        ("!sss=-2.5.4.4", 50),
        ("!1.3.6.1.4.1.4203.1.10.2", 12),
        ("!sync=ro", 12),
        ("!mv=(mail=a*)", 12),
        ("!deref=member:mail", 12),
    ] {
        assert_eq!(
            found(&front, &["-b", PEOPLE, "-E", control, "(uid=*)", "uid"]).0,
            Some(code),
            "{control}"
        );
    }
    for control in ["sss=-uid:caseIgnoreOrderingMatch", "pr=1/noprompt"] {
        let (code, text) = found(&front, &["-b", PEOPLE, "-E", control, "(uid=*)", "uid", "mail"]);
        assert!(
            code == Some(0) && text.contains("uid: ana") && !text.contains("mail"),
            "{control}: {code:?} {text}"
        );
    }
    let asserting = found(&front, &["-b", ANA, "-s", "base", "-e", "!assert=(mail=a*)"]);
    assert_eq!(asserting, (Some(12), String::new()));
    // Not critical: it is left out, and tells nothing.
    let read = found(
        &front,
        &["-b", ANA, "-s", "base", "-e", "postread=mail", "(uid=ana)", "uid"],
    );
    assert!(read.0 == Some(0) && !read.1.contains("mail"), "{read:?}");

    let url = front.url();
    let login = ["-x", "-H", url.as_str(), "-D", ADMIN, "-w", "adminpw"];
    for (program, arguments, input) in [
        ("ldapcompare", vec![ANA, "mail:ana@example.org"], String::new()),
        ("ldapcompare", vec![ANA, "2.5.4.4:Example"], String::new()),
        ("ldapcompare", vec![ANA, "name:Example"], String::new()),
        (
            "ldapmodify",
            vec![],
            format!("dn: {ANA}\ndelete: mail\nmail: ana@example.org\n"),
        ),
        (
            "ldapmodify",
            vec![],
            format!("dn: {ANA}\nadd: description\ndescription: x\n-\nadd: mail\nmail: x@y\n"),
        ),
        ("ldapmodrdn", vec![ANA, "mail=x"], String::new()),
        (
            "ldapadd",
            vec![],
            format!("dn: uid=eve,{PEOPLE}\nobjectClass: inetOrgPerson\nuid: eve\ncn: E\nsn: E\n"),
        ),
    ] {
        let output = run(program, &[&login[..], &arguments].concat(), &input, &[]);
        assert_eq!(told(&output), Some(50), "{program} {arguments:?}: {output:?}");
    }
}

#[test]
fn a_limit_holds_over_all_pages() {
    let slapd = start();
    let front = restricted(&slapd, "max_entries = 2\ntime_limit = \"5s\"");
    let count = |arguments: &[&str]| {
        let (code, text) = found(&front, &[&["-b", "dc=example,dc=org"][..], arguments].concat());
        (code, text.lines().filter(|line| line.starts_with("dn:")).count())
    };
    assert_eq!(count(&["(uid=*)"]), (Some(4), 2));
    assert_eq!(count(&["-z", "1", "(uid=*)"]), (Some(4), 1));
    assert_eq!(count(&["-z", "500", "(uid=*)"]), (Some(4), 2));
    assert_eq!(count(&["(|(uid=ana)(uid=ben))"]), (Some(0), 2));
    for size in [1, 2, 50] {
        let control = format!("pr={size}/noprompt");
        assert_eq!(count(&["-E", &control, "(uid=*)"]), (Some(4), 2), "{control}");
    }
    assert_eq!(count(&["-E", "pr=1/noprompt", "(|(uid=ana)(uid=ben))"]).1, 2);
}

#[test]
fn large_messages_are_looked_at_as_a_whole() {
    let slapd = start();
    let front = restricted(&slapd, "hide_attributes = [\"mail\"]");
    let mut wire = Wire::bound(front.address, ADMIN, "adminpw");
    let large = vec![b'x'; 300_000];
    assert_eq!(wire.ask(&modify_description(2, ANA, &large)).code(), 0);
    slapd.modify(&format!(
        "dn: {ANA}\nchangetype: modify\nreplace: mail\nmail: ana@example.org\n"
    ));
    for id in 3..6 {
        let replies = wire.ask_all(&search(id, ANA, 0));
        assert_eq!(replies.len(), 2);
        assert!(replies[0].octets.len() > large.len());
        assert!(!replies[0].octets.windows(4).any(|window| window == b"mail"));
    }
    assert_eq!(wire.who_am_i(7).code(), 0);
}

/// A server that sends more than is looked at, and closes: none of it goes out unseen.
#[test]
fn what_cannot_be_looked_at_is_not_passed_on() {
    use super::peers::Scripted;
    use super::wire::message;
    use portcullis::ber::{self, OCTET_STRING, SEQUENCE};

    const DONE: &[u8] = &[0x0a, 1, 0, 4, 0, 4, 0];

    let answers = |id: i32, value: &[u8]| {
        message(id, 0x64, &[], |out| {
            ber::write(OCTET_STRING, ANA.as_bytes(), out);
            ber::write_with(SEQUENCE, out, |out| {
                ber::write_with(SEQUENCE, out, |out| {
                    ber::write(OCTET_STRING, b"mail", out);
                    ber::write_with(0x31, out, |out| ber::write(OCTET_STRING, value, out));
                });
            });
        })
    };
    // Makes the buffer large, so that all of what follows is in it at once.
    let plenty = [
        answers(2, &[b'x'; 18_000]).repeat(4),
        message(2, 0x65, &[], |out| out.extend_from_slice(DONE)),
    ]
    .concat();
    let small = answers(3, b"secret");
    let large = answers(3, &b"secret".repeat(5_000));
    for octets in [
        large.clone(),
        [small.clone(), large].concat(),
        [answers(9, b"x"), small].concat(),
    ] {
        let plenty = plenty.clone();
        let server = Scripted::start(move |stream| {
            let mut wire = Wire::on(stream);
            wire.expect();
            wire.send(&message(1, 0x61, &[], |out| out.extend_from_slice(DONE)));
            wire.expect();
            wire.send(&plenty);
            wire.expect();
            wire.send(&octets);
        });
        let front = Setup::before(server.address)
            .and("max_pdu = 20000\nmax_pdu_before_bind = 20000\n[restrict]\nhide_attributes = [\"mail\"]")
            .start();
        let mut wire = Wire::bound(front.address, ANA, "anapw");
        assert_eq!(wire.ask_all(&search(2, ANA, 0)).len(), 5);
        wire.send(&search(3, ANA, 0));
        let mut seen = Vec::new();
        while let Some(reply) = wire.next() {
            seen.extend_from_slice(&reply.octets);
        }
        assert!(!seen.windows(6).any(|window| window == b"secret"));
    }
}

/// What a restricted account had abandoned is answered when somebody else is bound, whom nothing is hidden from.
#[test]
fn late_answers_stay_behind_the_restriction_that_they_were_asked_under() {
    use super::peers::Scripted;
    use super::wire::{abandon, bind, message};
    use portcullis::ber::{self, OCTET_STRING, SEQUENCE};

    const DONE: &[u8] = &[0x0a, 1, 0, 4, 0, 4, 0];

    let server = Scripted::start(|stream| {
        let mut wire = Wire::on(stream);
        let mut asked = false;
        while let Some(request) = wire.next() {
            match request.operation {
                0x60 => {
                    let mut answers = message(request.id, 0x61, &[], |out| out.extend_from_slice(DONE));
                    if asked {
                        answers.extend(message(2, 0x64, &[], |out| {
                            ber::write(OCTET_STRING, ANA.as_bytes(), out);
                            ber::write_with(SEQUENCE, out, |out| {
                                ber::write_with(SEQUENCE, out, |out| {
                                    ber::write(OCTET_STRING, b"mail", out);
                                    ber::write_with(0x31, out, |out| ber::write(OCTET_STRING, b"secret", out));
                                });
                            });
                        }));
                    }
                    wire.send(&answers);
                }
                0x77 => wire.send(&message(request.id, 0x78, &[], |out| out.extend_from_slice(DONE))),
                _ => asked = true,
            }
        }
    });
    let account = format!(
        "[[service_account]]\ndn = \"{BEN}\"\nsource = [\"127.0.0.1\"]\n\
         [service_account.restrict]\nhide_attributes = [\"mail\"]\n"
    );
    let front = Setup::before(server.address).and(&account).start();
    let mut wire = Wire::bound(front.address, BEN, "benpw");
    wire.send(&[search(2, ANA, 0), abandon(3, 2), bind(4, ANA, "anapw")].concat());
    assert_eq!((wire.expect().code(), front.asked()), (0, 2));
    let answer = wire.who_am_i(5);
    assert_eq!((answer.id, answer.operation), (5, 0x78), "{answer:?}");
}
