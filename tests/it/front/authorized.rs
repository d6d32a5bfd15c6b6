//! Who was let in without a password acts with the rights of their own (RFC 4370), before a real slapd.

use portcullis::ber::{self, BOOLEAN, ENUMERATED, Message, OCTET_STRING, SEQUENCE};
use portcullis::config;
use portcullis::directory::ldap::LdapDirectory;
use tokio::runtime::Runtime;

use super::peers::{Front, Setup};
use super::wire::{
    ANA, BEN, START_TLS, WHO_AM_I, Wire, abandon, bind, control, control_with_value, extended, message,
    modify_description, search, search_with,
};
use crate::support::slapd::Slapd;

const PROXIED: &str = "2.16.840.1.113730.3.4.18";
const SERVICE: &str = "cn=svc,dc=example,dc=org";

/// A service account that may act as the people, and that may itself write everything.
fn start(may_act: bool) -> Slapd {
    let configuration = include_str!("entries/slapd.conf")
        .replace("loglevel none\n", "loglevel none\nauthz-policy to\n")
        .replace(
            "by users read",
            &format!("by dn.exact=\"{SERVICE}\" write by users read"),
        );
    let right = if may_act {
        "authzTo: dn.regex:^uid=[^,]+,ou=people,dc=example,dc=org$\n"
    } else {
        ""
    };
    let service = format!(
        "\n\ndn: {SERVICE}\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\ncn: svc\n\
         userPassword: svcpw\n{right}"
    );
    Slapd::serving(
        &configuration,
        &[&format!("{}{service}", include_str!("entries/base.ldif"))],
    )
}

/// A front end that lets everybody in without a password.
fn front(slapd: &Slapd, runtime: &Runtime) -> Front {
    let text = format!(
        "name = \"corp\"\nurls = [{:?}]\nallow_plaintext = true\nbase_dn = \"dc=example,dc=org\"\n\
         bind_dn = {SERVICE:?}\nbind_password = \"svcpw\"\nproxy_authorization = true\n",
        slapd.url()
    );
    let config: config::LdapDirectory = toml::from_str(&text).unwrap();
    let _within = runtime.enter();
    Setup::with(LdapDirectory::new(&config).unwrap())
        .accepting_unasked()
        .start()
}

#[test]
fn every_operation_has_the_rights_of_the_person() {
    let (slapd, runtime) = (start(true), Runtime::new().unwrap());
    let front = front(&slapd, &runtime);
    let mut wire = Wire::bound(front.address, "ana", "anything");
    assert_eq!(wire.who_am_i(2).identity(), format!("dn:{ANA}"));
    assert_eq!(wire.ask(&modify_description(3, ANA, b"mine")).code(), 0);
    assert_eq!(wire.ask(&modify_description(4, BEN, b"not mine")).code(), 50);
    let direct = Wire::bound(slapd.address(), ANA, "anapw").ask_all(&search(5, "dc=example,dc=org", 2));
    assert_eq!(wire.ask_all(&search(5, "dc=example,dc=org", 2)), direct);
    // Controls of the client's own go with it, in one write with others.
    let paged = control_with_value("1.2.840.113556.1.4.319", b"\x30\x05\x02\x01\x01\x04\x00");
    wire.send(&[search_with(6, ANA, 0, &paged), abandon(7, 99), extended(8, WHO_AM_I)].concat());
    let mut replies: Vec<_> = (0..3).map(|_| wire.expect()).collect();
    replies.sort_by_key(|reply| (reply.id, reply.operation));
    assert_eq!((replies[0].operation, replies[1].code()), (0x64, 0));
    assert_eq!(replies[2].identity(), format!("dn:{ANA}"));
    // Somebody else on the same connection.
    assert_eq!(wire.ask(&bind(9, "ben", "anything")).code(), 0);
    assert_eq!(wire.who_am_i(10).identity(), format!("dn:{BEN}"));
    assert_eq!(wire.ask(&modify_description(11, ANA, b"not mine")).code(), 50);
    // Nobody: the account's rights are gone with the person's.
    assert_eq!(wire.ask(&bind(12, "nobody", "x")).code(), 49);
    assert_eq!(wire.who_am_i(13).code(), 8);
    assert_eq!(wire.ask(&modify_description(14, ANA, b"nobody's")).code(), 8);
}

#[test]
fn nothing_goes_on_without_the_control() {
    let (slapd, runtime) = (start(true), Runtime::new().unwrap());
    let front = front(&slapd, &runtime);
    let bound = || Wire::bound(front.address, "ana", "anything");
    // An identity of the client's own, whatever it says.
    for own in [
        control(PROXIED, true),
        control(PROXIED, false),
        control_with_value(PROXIED, format!("dn:{BEN}").as_bytes()),
        control_with_value(PROXIED, b""),
        control_with_value("2.16.840.1.113730.3.4.12", b"\x30\x02\x04\x00"),
    ] {
        let mut wire = bound();
        assert_eq!(wire.ask(&search_with(2, ANA, 0, &own)).code(), 123);
        let with_another = [control("1.2.3", false), own].concat();
        assert_eq!(wire.ask(&search_with(3, ANA, 0, &with_another)).code(), 123);
        assert_eq!(wire.who_am_i(4).identity(), format!("dn:{ANA}"));
    }
    // Controls that could swallow ours, and what is no message.
    for controls in [&b"\x30\x28\x04\x071.2.3.4\x04\x1d"[..], b"\x30\x00", b"\x04\x00"] {
        let mut wire = bound();
        wire.send(&search_with(2, ANA, 0, controls));
        wire.expect_goodbye(2);
    }
    // Too large to be read whole: refused, and what follows is served.
    let mut wire = bound();
    let large = modify_description(2, ANA, &vec![b'x'; 200_000]);
    wire.send(&large);
    assert_eq!(wire.expect().code(), 11);
    assert_eq!(wire.who_am_i(3).identity(), format!("dn:{ANA}"));
    // The largest that is read whole arrives whole.
    let fits = modify_description(4, ANA, &vec![b'y'; 60_000]);
    assert_eq!(wire.ask(&fits).code(), 0);
    // Extended operations that know no authorization are refused, not done as the account.
    let cancel = message(5, 0x77, &[], |out| {
        out.extend(b"\x80\x0c1.3.6.1.1.8\0\x81\x05\x30\x03\x02\x01\x01")
    });
    assert_eq!(wire.ask(&cancel).code(), 53);
    assert_eq!(wire.ask(&extended(6, START_TLS)).code(), 2);
    assert_eq!(wire.who_am_i(7).identity(), format!("dn:{ANA}"));
}

/// slapd reads on where an operation ends too early for its content: what follows must not be our control.
#[test]
fn no_operation_swallows_the_control() {
    let (slapd, runtime) = (start(true), Runtime::new().unwrap());
    let front = front(&slapd, &runtime);
    let mut ours = Vec::new();
    ber::write_with(0xa0, &mut ours, |out| {
        ber::write_with(SEQUENCE, out, |out| {
            ber::write(OCTET_STRING, PROXIED.as_bytes(), out);
            ber::write(BOOLEAN, &[0xff], out);
            ber::write(OCTET_STRING, format!("dn:{ANA}").as_bytes(), out);
        });
    });
    // A value that goes on to the end of the message that we would write.
    let whole = message(2, 0x66, &[], |out| {
        ber::write(OCTET_STRING, BEN.as_bytes(), out);
        ber::write_with(SEQUENCE, out, |out| {
            ber::write_with(SEQUENCE, out, |out| {
                ber::write_integer(ENUMERATED, 2, out);
                ber::write_with(SEQUENCE, out, |out| {
                    ber::write(OCTET_STRING, b"audio", out);
                    let value = [&b"not mine"[..], &ours].concat();
                    ber::write_with(0x31, out, |out| ber::write(OCTET_STRING, &value, out));
                });
            });
        });
    });
    let body = Message::read(&whole).unwrap().operation.content;
    let modify = message(2, 0x66, &[], |out| out.extend(&body[..body.len() - ours.len()]));
    // No attributes: the controls are taken for them.
    let whole = search(2, BEN, 0);
    let body = Message::read(&whole).unwrap().operation.content;
    let without = message(2, 0x63, &[], |out| out.extend(&body[..body.len() - 2]));
    for request in [modify, without] {
        let mut wire = Wire::bound(front.address, "ana", "anything");
        wire.send(&request);
        wire.expect_goodbye(2);
    }
    let direct = Wire::bound(slapd.address(), ANA, "anapw").ask_all(&search(5, BEN, 0));
    assert!(!direct[0].octets.windows(8).any(|octets| octets == b"not mine"));
}

#[test]
fn an_account_that_may_not_act_as_others_gives_nobody_its_rights() {
    let (slapd, runtime) = (start(false), Runtime::new().unwrap());
    let front = front(&slapd, &runtime);
    let mut wire = Wire::bound(front.address, "ana", "anything");
    for request in [
        extended(2, WHO_AM_I),
        search(2, ANA, 0),
        modify_description(2, ANA, b"x"),
        modify_description(2, BEN, b"x"),
    ] {
        assert_eq!(wire.ask(&request).code(), 123);
    }
}
