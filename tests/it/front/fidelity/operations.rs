//! One operation after the other, on one connection.

use super::super::wire::{ANA, BEN, WHO_AM_I};
use super::requests::*;
use super::{ADMIN, Pair};
use portcullis::ber::OCTET_STRING;

const SUFFIX: &str = "dc=example,dc=org";
const CY: &str = "uid=cy\\2C jr,ou=people,dc=example,dc=org";

#[test]
fn searches_of_every_scope_filter_and_selection() {
    let mut all = Vec::new();
    for scope in 0..=4 {
        for base in [SUFFIX, "ou=people,dc=example,dc=org", "", "dc=nowhere", "no dn", ANA] {
            for types_only in [false, true] {
                let mut search = Search::of(base, "(objectClass=*)");
                (search.scope, search.types_only) = (scope, types_only);
                all.push(search.request());
            }
        }
    }
    for filter in FILTERS {
        all.push(find(filter));
    }
    for names in SELECTIONS {
        all.push(read(ANA, names));
        all.push(read("", names));
    }
    for aliases in -1..=4 {
        let mut search = Search::of("ou=alias,dc=example,dc=org", "(objectClass=*)");
        search.aliases = aliases;
        all.push(search.request());
    }
    for (size, time) in [(0, 0), (1, 0), (3, 1), (-1, 0), (0, -1), (i32::MAX, i32::MAX)] {
        let mut search = Search::of(SUFFIX, "(objectClass=*)");
        (search.size, search.time) = (size, time);
        all.push(search.request());
    }
    all.push(read("cn=Subschema", &["*", "+"]));
    all.push(read(CY, &["*", "+"]));
    let pair = Pair::start();
    for (dn, password) in [(ADMIN, "adminpw"), (ANA, "anapw"), (BEN, "benpw")] {
        pair.compare(dn, password, &all);
    }
}

#[test]
fn filters_as_no_client_writes_them() {
    let mut deep = element(0x87, b"cn");
    for _ in 0..200 {
        deep = element(0xa2, &deep);
    }
    let filters: [&[u8]; 12] = [
        &deep,
        b"\xa0\x00",
        b"\xa1\x00",
        b"\x87\x00",
        b"\x87\x02\xff\xfe",
        b"\xa3\x06\x04\x02cn\x04\x00",
        b"\xa3\x08\x04\x02cn\x04\x02\xff\x00",
        b"\xa3\x09\x04\x05c n=*\x04\x00",
        b"\xa4\x06\x04\x02cn\x30\x00",
        b"\xa4\x0a\x04\x02cn\x30\x04\x81\x00\x81\x00",
        b"\xa9\x04\x83\x02\x41\x6e",
        b"\xa9\x0c\x81\x03x.y\x82\x02cn\x83\x01x",
    ];
    let requests: Vec<Request> = filters
        .iter()
        .map(|filter| {
            let mut search = Search::of(SUFFIX, "(cn=x)");
            search.filter = filter.to_vec();
            search.request()
        })
        .collect();
    Pair::start().compare(ANA, "anapw", &requests);
}

#[test]
fn limits_that_a_search_meets() {
    let mut limited = Search::of(SUFFIX, "(objectClass=*)");
    limited.size = 2;
    let slow = read("cn=slow,ou=codes,dc=example,dc=org", &[]);
    let requests = [
        limited.request(),
        limited.request().demanding(PAGED, Some(&page(1, b""))),
        find("(description=unindexed)"),
        find("(objectClass=*)"),
        slow,
    ];
    let pair = Pair::start();
    pair.compare(BEN, "benpw", &requests);
    pair.compare(ANA, "anapw", &requests);
}

#[test]
fn controls_of_searches() {
    let everything = || find("(objectClass=*)");
    let sort_by = |key: &str, reverse: bool| {
        let mut fields = string(key);
        if reverse {
            fields.extend(element(0x81, &[0xff]));
        }
        sequence(&[&sequence(&[&fields])])
    };
    // One entry before and two after the second of an unknown number.
    let window = sequence(&[
        &integer(1),
        &integer(2),
        &element(0xa0, &[integer(2), integer(0)].concat()),
    ]);
    let beyond = sequence(&[&integer(0), &integer(2), &element(0x81, b"B")]);
    let refresh = |mode: u8, cookie: &[u8]| sequence(&[&element(0x0a, &[mode]), cookie]);
    let members = sequence(&[&sequence(&[&string("member"), &selection(&["uid", "mail", "nothing"])])]);
    let values = sequence(&[&element(0xa3, &[string("mail"), string("ana@example.org")].concat())]);
    let people = || find("(objectClass=person)");
    let mut requests = vec![
        everything().with(PAGED, false, Some(&page(2, b""))),
        everything().demanding(PAGED, Some(&page(0, b""))),
        everything().demanding(PAGED, Some(&page(2, b"nonsense"))),
        everything().demanding(PAGED, Some(&page(-1, b""))),
        everything().demanding(PAGED, Some(b"\x30\x80")),
        everything().demanding(PAGED, None),
        people().demanding(SORT, Some(&sort_by("cn", false))),
        people().demanding(SORT, Some(&sort_by("sn:2.5.13.3", true))),
        people().demanding(SORT, Some(&sort_by("nothing", false))),
        people().with(SORT, false, Some(&sort_by("nothing", false))),
        people()
            .demanding(SORT, Some(&sort_by("cn", false)))
            .demanding(LIST_VIEW, Some(&beyond)),
        people().demanding(LIST_VIEW, Some(&window)),
        people().demanding(SYNC, Some(&refresh(1, b""))),
        people().demanding(SYNC, Some(&refresh(1, &string("rid=000,csn=garbage")))),
        people().demanding(SYNC, Some(&refresh(0, b""))),
        people()
            .demanding(SYNC, Some(&refresh(1, b"")))
            .demanding(SYNC, Some(&refresh(1, b""))),
        find("(objectClass=groupOfNames)").with(DEREF, false, Some(&members)),
        find("(objectClass=groupOfNames)").demanding(DEREF, Some(b"\x30\x02\x30\x00")),
        everything().with(MANAGE, false, None),
        everything().demanding(MANAGE, None),
        everything().demanding(MANAGE, Some(b"")),
        everything().demanding(DOMAIN_SCOPE, None),
        everything().demanding(NO_COPY, None),
        everything().demanding(SUBENTRIES, Some(b"\x01\x01\xff")),
        everything().with(SUBENTRIES, false, Some(b"\x01\x01\x00")),
        find("(uid=ana)").demanding(MATCHED_VALUES, Some(&values)),
        find("(uid=ana)").demanding(ASSERTION, Some(&element(0x87, b"mail"))),
        find("(uid=ana)").demanding(PROXIED, Some(format!("dn:{BEN}").as_bytes())),
        find("(uid=ana)").demanding(PROXIED, Some(b"u:nobody")),
        find("(uid=ana)").demanding(PROXIED, Some(b"")),
        find("(uid=ana)").with("1.2.3.4", false, Some(b"x")),
        find("(uid=ana)").demanding("1.2.3.4", Some(b"x")),
        find("(uid=ana)").with_octets(b"\x30\x00"),
        find("(uid=ana)").with("1.2.3.4", false, Some(&[0xff; 70_000])),
    ];
    // A list view keeps its place from one request to the next.
    requests.push(
        people()
            .demanding(SORT, Some(&sort_by("cn", false)))
            .demanding(LIST_VIEW, Some(&window)),
    );
    let pair = Pair::start();
    pair.compare(ANA, "anapw", &requests);
    pair.compare(ADMIN, "adminpw", &requests);
}

#[test]
fn pages_one_after_the_other() {
    let pair = Pair::start();
    let [mut direct, mut behind] = pair.bound(ADMIN, "adminpw");
    let mut cookie = Vec::new();
    for id in 2..20 {
        let request = find("(objectClass=*)")
            .demanding(PAGED, Some(&page(2, &cookie)))
            .message(id);
        let replies = direct.ask_all(&request);
        assert_eq!(replies, behind.ask_all(&request), "page {id}");
        let done = &replies.last().unwrap().octets;
        let at = done.windows(PAGED.len()).position(|window| window == PAGED.as_bytes());
        let value = &done[at.expect("a paged results control") + PAGED.len()..];
        let mut fields = portcullis::ber::Reader::new(value);
        let inner = fields.expect(OCTET_STRING).unwrap();
        let mut fields = portcullis::ber::Reader::new(inner);
        let mut fields = portcullis::ber::Reader::new(fields.expect(0x30).unwrap());
        fields.integer(0x02).unwrap();
        cookie = fields.expect(OCTET_STRING).unwrap().to_vec();
        if cookie.is_empty() {
            assert!(id > 3, "there was more than one page");
            return;
        }
    }
    panic!("pages without end");
}

#[test]
fn changes_and_what_is_wrong_with_them() {
    let eve = "uid=eve,ou=people,dc=example,dc=org";
    let gone = "uid=nobody,ou=none,dc=example,dc=org";
    let requests = [
        add_person("eve"),
        add_person("eve"),
        add(gone, &[("objectClass", &[b"person"]), ("cn", &[b"x"]), ("sn", &[b"x"])]),
        add(
            "uid=x,ou=people,dc=example,dc=org",
            &[("objectClass", &[b"inetOrgPerson"])],
        ),
        add("uid=x,ou=people,dc=example,dc=org", &[("objectClass", &[b"nothing"])]),
        add("uid=x,ou=people,dc=example,dc=org", &[]),
        add("uid=x,dc=elsewhere", &[("objectClass", &[b"person"])]),
        add("uid=x,ou=elsewhere,dc=example,dc=org", &[("objectClass", &[b"person"])]),
        add("nonsense", &[("objectClass", &[b"person"])]),
        add("", &[("objectClass", &[b"person"])]),
        modify(eve, &[(ADD, "mail", &[b"eve@example.org", b"e@example.org"])]),
        modify(eve, &[(ADD, "mail", &[b"eve@example.org"])]),
        modify(eve, &[(ADD, "mail", &[b"x@example.org", b"x@example.org"])]),
        modify(eve, &[(DELETE, "mail", &[b"never@example.org"])]),
        modify(eve, &[(DELETE, "jpegPhoto", &[])]),
        modify(eve, &[(DELETE, "sn", &[])]),
        modify(eve, &[(DELETE, "uid", &[b"eve"])]),
        modify(eve, &[(REPLACE, "nothingLikeThis", &[b"x"])]),
        modify(eve, &[(ADD, "uidNumber", &[b"7"])]),
        modify(eve, &[(ADD, "objectClass", &[b"posixAccount"])]),
        modify(eve, &[(REPLACE, "objectClass", &[b"organizationalUnit"])]),
        modify(eve, &[(ADD, "telephoneNumber", &[b""])]),
        modify(eve, &[(ADD, "telephoneNumber", &[b"\xff\xfe"])]),
        modify(eve, &[(ADD, "description", &[b"\xff\xfe"])]),
        modify(eve, &[(ADD, "description", &[b""])]),
        modify(eve, &[(REPLACE, "jpegPhoto", &[b"\x00\xff\xd8", b""])]),
        modify(eve, &[(ADD, "displayName", &[b"one", b"two"])]),
        modify(eve, &[(ADD, "entryUUID", &[b"x"])]),
        modify(eve, &[(7, "sn", &[b"x"])]),
        modify(eve, &[]),
        modify(BEN, &[(INCREMENT, "uidNumber", &[b"5"])]),
        modify(BEN, &[(INCREMENT, "uidNumber", &[b"x"])]),
        modify(BEN, &[(INCREMENT, "cn", &[b"1"])]),
        modify(gone, &[(REPLACE, "sn", &[b"x"])]),
        modify("ou=elsewhere,dc=example,dc=org", &[(REPLACE, "description", &[b"x"])]),
        modify(
            "uid=x,ou=elsewhere,dc=example,dc=org",
            &[(REPLACE, "description", &[b"x"])],
        ),
        modify("ou=elsewhere,dc=example,dc=org", &[(REPLACE, "description", &[b"x"])]).demanding(MANAGE, None),
        rename(eve, "uid=eva", true, None),
        rename("uid=eva,ou=people,dc=example,dc=org", "uid=ana", true, None),
        rename(
            "uid=eva,ou=people,dc=example,dc=org",
            "uid=eva",
            false,
            Some("dc=nowhere"),
        ),
        rename("uid=eva,ou=people,dc=example,dc=org", "nonsense", true, None),
        rename(
            "uid=eva,ou=people,dc=example,dc=org",
            "uid=eva+cn=eve",
            false,
            Some("ou=secret,dc=example,dc=org"),
        ),
        rename(gone, "uid=x", true, None),
        rename("ou=people,dc=example,dc=org", "ou=folk", true, None),
        rename("ou=folk,dc=example,dc=org", "ou=people", true, None),
        rename(SUFFIX, "dc=x", true, None),
        delete("ou=people,dc=example,dc=org"),
        delete("ou=people,dc=example,dc=org").demanding(TREE_DELETE, None),
        delete("ou=people,dc=example,dc=org").with(TREE_DELETE, false, None),
        delete(gone),
        delete("nonsense"),
        delete("ou=elsewhere,dc=example,dc=org"),
        delete("uid=eva+cn=eve,ou=secret,dc=example,dc=org"),
        delete("cn=eve+uid=eva,ou=secret,dc=example,dc=org"),
        delete(SUFFIX),
        compare(ANA, "cn", b"ana"),
        compare(ANA, "cn", b"ben"),
        compare(ANA, "jpegPhoto", b"x"),
        compare(ANA, "nothing", b"x"),
        compare(ANA, "description", b"x"),
        compare(ANA, "telephoneNumber", b"\xff"),
        compare(ANA, "userPassword", b"anapw"),
        compare(ANA, "employeeNumber", b"7"),
        compare(BEN, "employeeNumber", b"12"),
        compare(gone, "cn", b"x"),
        compare("uid=x,ou=elsewhere,dc=example,dc=org", "cn", b"x"),
        compare("ou=secret,dc=example,dc=org", "ou", b"secret"),
        read(BEN, &[]),
        find("(objectClass=*)"),
    ];
    for (dn, password) in [(ADMIN, "adminpw"), (ANA, "anapw")] {
        Pair::start().compare(dn, password, &requests);
    }
}

#[test]
fn controls_of_changes() {
    let wrong = element(0xa3, &[string("cn"), string("nobody")].concat());
    let replace = |value: &'static [u8]| modify(ANA, &[(REPLACE, "description", &[value])]);
    let requests = [
        replace(b"one").demanding(ASSERTION, Some(&wrong)),
        replace(b"one").demanding(ASSERTION, Some(b"\xa3")),
        replace(b"two").demanding(PRE_READ, Some(&selection(&["description", "mail"]))),
        replace(b"three").demanding(POST_READ, Some(&selection(&["description", "*"]))),
        replace(b"four")
            .with(PRE_READ, false, Some(&selection(&["description"])))
            .with(POST_READ, false, Some(&selection(&["description"]))),
        replace(b"x").demanding(POST_READ, Some(b"junk")),
        replace(b"x").demanding(NOOP, None),
        replace(b"x").with(NOOP, false, None),
        replace(b"x").demanding(RELAX, None),
        replace(b"x").demanding(PROXIED, Some(format!("dn:{BEN}").as_bytes())),
        modify(BEN, &[(REPLACE, "description", &[b"by ben"])]).demanding(PROXIED, Some(format!("dn:{BEN}").as_bytes())),
        replace(b"x").demanding(PAGED, Some(&page(1, b""))),
        replace(b"x").with(SORT, false, Some(b"")),
        replace(b"x").demanding(TRANSACTION, Some(b"none")),
        add_person("flo").demanding(POST_READ, Some(&selection(&["cn"]))),
        add_person("noop").demanding(NOOP, None),
        delete("uid=flo,ou=people,dc=example,dc=org").demanding(PRE_READ, Some(&selection(&["*"]))),
        compare(ANA, "cn", b"ana").demanding(ASSERTION, Some(&wrong)),
        read(ANA, &[]),
        read(BEN, &[]),
    ];
    for (dn, password) in [(ADMIN, "adminpw"), (ANA, "anapw")] {
        Pair::start().compare(dn, password, &requests);
    }
}

#[test]
fn every_result_code_with_its_texts_and_referrals() {
    let mut requests = Vec::new();
    for name in include_str!("../entries/rich.conf")
        .lines()
        .filter(|line| line.starts_with("retcode-item") && !line.contains("flags") && !line.contains("sleep"))
    {
        let name = name.split('"').nth(1).unwrap();
        let dn = format!("{name},ou=codes,dc=example,dc=org");
        requests.extend([
            read(&dn, &[]),
            compare(&dn, "cn", b"x"),
            delete(&dn),
            modify(&dn, &[(REPLACE, "cn", &[b"x"])]),
            rename(&dn, "cn=x", true, None),
            add(&dn, &[("objectClass", &[b"device"]), ("cn", &[b"x"])]),
        ]);
    }
    Pair::start().compare(ANA, "anapw", &requests);
}

#[test]
fn extended_operations() {
    let dynamic = "cn=short,dc=example,dc=org";
    let refresh = |dn: &str, ttl: i32| {
        let mut value = element(0x80, dn.as_bytes());
        let mut seconds = Vec::new();
        portcullis::ber::write_integer(0x81, ttl, &mut seconds);
        value.extend(seconds);
        extended(REFRESH, Some(&element(0x30, &value)))
    };
    let requests = [
        extended(WHO_AM_I, None),
        extended(WHO_AM_I, Some(b"x")),
        extended(WHO_AM_I, None).demanding("1.2.3.4", None),
        extended(WHO_AM_I, None).demanding(PROXIED, Some(format!("dn:{BEN}").as_bytes())),
        extended("1.2.3.4.5.6", None),
        extended("1.2.3.4.5.6", Some(&[0xff; 70_000])),
        extended("not an oid", None),
        extended("", None),
        extended(TURN, Some(&sequence(&[b"\x01\x01\xff", &string("id")]))),
        cancel(999),
        cancel(-1),
        cancel(0),
        extended("1.3.6.1.1.8", None),
        extended("1.3.6.1.1.8", Some(b"junk")),
        add(
            dynamic,
            &[
                ("objectClass", &[b"organizationalRole", b"dynamicObject"]),
                ("cn", &[b"short"]),
            ],
        ),
        refresh(dynamic, 600),
        refresh(dynamic, 1),
        refresh(dynamic, 10_000_000),
        refresh(dynamic, -5),
        refresh(ANA, 600),
        refresh("cn=none,dc=example,dc=org", 600),
        extended(REFRESH, Some(b"\x30\x00")),
        extended(REFRESH, None),
        delete(dynamic),
        extended(END_TRANSACTION, Some(&sequence(&[&string("none")]))),
        extended(END_TRANSACTION, None),
    ];
    for (dn, password) in [(ADMIN, "adminpw"), (ANA, "anapw")] {
        Pair::start().compare(dn, password, &requests);
    }
}

#[test]
fn a_password_changed_by_its_owner() {
    let change = |old: &str, new: &str| {
        let fields = [element(0x81, old.as_bytes()), element(0x82, new.as_bytes())].concat();
        extended(PASSWORD, Some(&element(0x30, &fields)))
    };
    let requests = [
        change("anapw", "newpw"),
        change("newpw", "newer pw"),
        extended(WHO_AM_I, None),
    ];
    Pair::start().compare(ANA, "anapw", &requests);
}

/// Transactions that are given up: when one is committed, OpenLDAP 2.5 reads memory that it has freed, and ends now
/// and then.
#[test]
fn transactions() {
    let pair = Pair::start();
    let [mut direct, mut behind] = pair.bound(ADMIN, "adminpw");
    let part =
        |value: &'static [u8]| modify(ANA, &[(REPLACE, "description", &[value])]).demanding(TRANSACTION, Some(b""));
    let requests = [
        extended(START_TRANSACTION, None),
        extended(START_TRANSACTION, None),
        part(b"aborted"),
        part(b"last"),
        add_person("txn").demanding(TRANSACTION, Some(b"")),
        extended(END_TRANSACTION, Some(&sequence(&[b"\x01\x01\x00", &string("")]))),
        read(ANA, &["description"]),
        find("(uid=txn)"),
    ];
    for (number, request) in (2..).zip(&requests) {
        let octets = request.message(number);
        assert_eq!(direct.ask_all(&octets), behind.ask_all(&octets), "{request:x?}");
    }
}

/// BER that is legal and that nobody writes: lengths in longer forms, integers with leading zeros, other TRUEs.
#[test]
fn unusual_encodings() {
    let pair = Pair::start();
    let plain = find("(uid=ana)").message(5);
    let (body, name) = (&plain[2..], "unusual");
    assert!(plain[1] < 0x80, "a short message");
    let length = |octets: usize, value: usize| {
        let mut out = vec![0x80 | u8::try_from(octets).unwrap()];
        out.extend(&value.to_be_bytes()[8 - octets..]);
        out
    };
    let mut messages = Vec::new();
    for octets in 1..=8 {
        messages.push([&[0x30][..], &length(octets, body.len()), body].concat());
    }
    // The message id in two to four octets, and with every form of its length.
    let operation = &body[3..];
    for id in [&[0, 5][..], &[0, 0, 5], &[0, 0, 0, 5]] {
        for octets in 1..=4 {
            let inner = [&[0x02][..], &length(octets, id.len()), id, operation].concat();
            messages.push([&[0x30][..], &length(4, inner.len()), &inner].concat());
        }
    }
    // The operation's own length.
    for octets in 1..=4 {
        let inner = [
            &[0x02, 1, 5, 0x63][..],
            &length(octets, operation.len() - 2),
            &operation[2..],
        ]
        .concat();
        messages.push([&[0x30][..], &length(4, inner.len()), &inner].concat());
    }
    // TRUE as RFC 4511 section 5.1 does not have it; integers that are longer than need be.
    for types_only in [0x01, 0x7f, 0xfe] {
        let mut search = plain.clone();
        let at = search.windows(3).position(|octets| octets == [1, 1, 0]).unwrap();
        search[at + 2] = types_only;
        messages.push(search);
    }
    for octets in &messages {
        let [direct, behind] = pair.alone(ANA, "anapw", octets);
        assert_eq!(direct, behind, "{name} {octets:x?}");
    }
}

const FILTERS: &[&str] = &[
    "(uid=ana)",
    "(UID=ANA)",
    "(uid=*)",
    "(!(uid=*))",
    "(&(objectClass=person)(|(cn=ana)(cn=be*)))",
    "(cn=*n*)",
    "(cn=a*a)",
    "(cn=*)",
    "(cn~=Anna)",
    "(cn>=b)",
    "(cn<=b)",
    "(uidNumber>=1000)",
    "(cn;lang-de=Änne)",
    "(cn=cy the younger)",
    "(cn:caseExactMatch:=Ana)",
    "(cn:2.5.13.5:=ana)",
    "(ou:dn:=people)",
    "(:dn:2.5.13.2:=people)",
    "(:caseIgnoreMatch:=example)",
    "(uidNumber:1.2.840.113556.1.4.803:=1)",
    "(cn:1.2.3.4.5:=x)",
    "(nothing=x)",
    "(!(nothing=x))",
    "(|(nothing=x)(uid=ben))",
    "(employeeNumber=7)",
    "(userPassword=anapw)",
    "(seeAlso=UID=ana, OU=people, DC=example,DC=org)",
    "(jpegPhoto=*)",
    "(description=\\20)",
    "(entryUUID=*)",
    "(objectClass=referral)",
    "(hasSubordinates=TRUE)",
    "(entryDN=uid=ana,ou=people,dc=example,dc=org)",
];

const SELECTIONS: &[&[&str]] = &[
    &[],
    &["*"],
    &["+"],
    &["*", "+"],
    &["1.1"],
    &["1.1", "cn"],
    &["@person"],
    &["@inetOrgPerson", "uid"],
    &["@nothing"],
    &["!person"],
    &["cn"],
    &["CN", "cn"],
    &["cn;lang-de"],
    &["cn;lang-"],
    &["2.5.4.3"],
    &["name"],
    &["nothing", "mail"],
    &[""],
    &["no name at all"],
    &["userPassword", "employeeNumber", "memberOf", "entryUUID", "entryDN"],
];
