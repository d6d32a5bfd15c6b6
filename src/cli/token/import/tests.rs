use super::*;

const SEED: &[u8] = b"12345678901234567890";

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(format!("tests/vectors/tokens/{name}")).unwrap()
}

fn seed_of(token: &Given) -> &[u8] {
    match &token.material {
        Material::Seed(seed) => seed,
        Material::Uri(uri) => uri.as_bytes(),
    }
}

fn never(_: &str) -> Result<Secret, CliError> {
    panic!("nothing is to be asked")
}

fn pskc(text: &[u8], secret: &'static str) -> Result<Read, CliError> {
    pskc::read(text, &mut |_| Ok(Secret::new(secret)))
}

#[test]
fn containers_of_every_make_are_read() {
    for (file, secret) in [
        ("pskc-plain.xml", ""),
        ("pskc-pbe.xml", "qwerty"),
        ("pskc-psk.xml", "12345678901234567890123456789012"),
    ] {
        let read = pskc(&vector(file), secret).unwrap();
        assert!(read.faults.is_empty() && read.skipped.is_empty(), "{file}: {read:?}");
        let [counted, timed] = &read.tokens[..] else {
            panic!("{file}")
        };
        assert_eq!(seed_of(counted), SEED);
        assert_eq!((counted.kind, counted.digits, counted.counter), (Kind::Hotp, 8, 3));
        assert_eq!(
            (counted.user.as_deref(), counted.serial.as_deref()),
            (Some("ana"), Some("RFC0001"))
        );
        assert_eq!(seed_of(timed), b"12345678901234567890123456789012");
        assert_eq!(
            (timed.kind, timed.digits, timed.period, timed.drift),
            (Kind::Totp, 6, 30, 2)
        );
        assert_eq!(timed.algorithm, Some(Algorithm::Sha256));
    }
}

#[test]
fn a_wrong_key_or_a_changed_container_is_told() {
    for (file, secret) in [
        ("pskc-pbe.xml", "qwertz"),
        ("pskc-psk.xml", "12345678901234567890123456789013"),
    ] {
        // By chance the padding may read, and then no code is right.
        if let Ok(read) = pskc(&vector(file), secret) {
            assert!(read.tokens.is_empty() && read.faults.len() == 2, "{read:?}");
        }
    }
    assert!(pskc(&vector("pskc-psk.xml"), "short").is_err());
    let text = String::from_utf8(vector("pskc-psk.xml")).unwrap();
    let start = text.rfind("<xenc:CipherValue>").unwrap() + 18;
    let changed = format!("{}AAAA{}", &text[..start], &text[start + 4..]);
    let read = pskc(changed.as_bytes(), "12345678901234567890123456789012").unwrap();
    assert_eq!((read.tokens.len(), read.faults.len()), (1, 1));
    assert_eq!(read.faults[0].at, 2);
    let unprotected = text.replace("pskc:MACMethod", "pskc:Other");
    let read = pskc(unprotected.as_bytes(), "12345678901234567890123456789012").unwrap();
    assert_eq!((read.tokens.len(), read.faults.len()), (0, 2));
}

#[test]
fn documents_with_entities_or_types_are_refused() {
    let key = r#"<KeyPackage><Key Algorithm="x:hotp"><Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue></Secret></Data></Key></KeyPackage>"#;
    let good = format!("<KeyContainer>{key}</KeyContainer>");
    assert_eq!(pskc(good.as_bytes(), "").unwrap().tokens.len(), 1);
    let deep = format!("<KeyContainer>{}", "<a>".repeat(40));
    for bad in [
        format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{good}"),
        good.replace("MTIz", "&a;MTIz"),
        good.replace("</Key>", "</Kez>"),
        "<html/>".to_owned(),
        String::new(),
        deep,
        format!("<KeyContainer a=\"{}\"/>", "x".repeat(20_000)),
    ] {
        assert!(pskc(bad.as_bytes(), "").is_err(), "{}", bad.len());
    }
}

#[test]
fn what_privacyidea_exports_is_read() {
    let key = "aJXz4GVxbnMb2g4g9a_SVj3wiG2FIKSZNGHPWJgg-O8=";
    let sealed = vector("privacyidea.pi");
    let own = privacyidea::read(&sealed[..], &mut |_| Ok(Secret::new(key))).unwrap();
    let container = pskc(&vector("privacyidea.pskc"), "a0b97271287e8a3fc3d945c8b3b140a4").unwrap();
    let list = lists::csv(&vector("privacyidea.csv")[..], None, None).unwrap();
    for (read, in_file) in [(&own, "pi"), (&container, "pskc"), (&list, "csv")] {
        assert!(read.faults.is_empty() && read.skipped.is_empty(), "{in_file}: {read:?}");
        let of = |serial: &str| {
            read.tokens
                .iter()
                .find(|token| token.serial.as_deref() == Some(serial))
                .unwrap()
        };
        let (counted, timed) = (of("OATH0001"), of("TOTP0002"));
        assert_eq!((counted.kind, counted.digits, seed_of(counted)), (Kind::Hotp, 6, SEED));
        assert_eq!(
            (timed.kind, timed.digits, timed.period, timed.drift),
            (Kind::Totp, 8, 60, 0)
        );
        // The list says neither counter nor algorithm, the container not whose they are.
        if in_file != "csv" {
            assert_eq!(
                (counted.counter, timed.algorithm),
                (7, Some(Algorithm::Sha256)),
                "{in_file}"
            );
        }
        if in_file != "pskc" {
            assert!(counted.user.as_deref().unwrap().starts_with("ana"), "{in_file}");
        }
    }
    let mut changed = sealed.clone();
    changed[100] ^= 1;
    for (octets, key) in [
        (&changed, key),
        (&sealed, "aJXz4GVxbnMb2g4g9a_SVj3wiG2FIKSZNGHPWJgg-O9="),
    ] {
        assert!(privacyidea::read(&octets[..], &mut |_| Ok(Secret::new(key))).is_err());
    }
    let plain = br#"[{"serial":"A","type":"totp","otpkey":"3132","otplen":6,"active":false,
        "info_list":{"timeShift":"-61.0","timeStep":"30"}},{"serial":"B","type":"pw","otpkey":"x","otplen":6}]"#;
    let read = privacyidea::read(&plain[..], &mut never).unwrap();
    assert_eq!((read.tokens[0].drift, read.tokens[0].disabled), (-2, true));
    assert_eq!(read.skipped[0].at, 2);
}

#[test]
fn lists_say_their_columns_by_name_or_by_order() {
    let named = "upn,serial number,secret key,timeinterval,manufacturer,model\n\
                 ana@example.org,1234567,GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ,60,X,Y\n\
                 ben@example.org,1234568,,30,X,Y\n";
    let read = lists::csv(named.as_bytes(), None, None).unwrap();
    assert_eq!(
        (seed_of(&read.tokens[0]), read.tokens[0].period, read.tokens[0].kind),
        (SEED, 60, Kind::Totp)
    );
    assert_eq!(read.tokens[0].at, 2);
    assert_eq!(
        read.faults,
        [Told {
            at: 3,
            message: "there is no seed".into()
        }]
    );
    let linotp = "# made\nS1, 3132333435363738393031323334353637383930, hotp, 8\nS2, 31323334353637383930, ocra, X\n";
    let read = lists::csv(linotp.as_bytes(), None, None).unwrap();
    assert_eq!(
        (seed_of(&read.tokens[0]), read.tokens[0].digits, read.tokens[0].kind),
        (SEED, 8, Kind::Hotp)
    );
    assert_eq!(read.skipped.len(), 1);
    let with_owner = "S1,3132333435363738393031323334353637383930,totp,6,30,ana\n";
    let read = lists::csv(with_owner.as_bytes(), Some("6"), None).unwrap();
    assert_eq!(read.tokens[0].user.as_deref(), Some("ana"));
    assert!(lists::csv(with_owner.as_bytes(), Some("2"), None).is_err());
    assert!(lists::csv(with_owner.as_bytes(), Some("owner"), None).is_err());
    let odd = lists::csv(&b"what,is,this\n"[..], None, None).unwrap();
    assert_eq!(odd.faults.len(), 1);
}

#[test]
fn users_files_bring_their_counters() {
    let text = "# users\n\
                HOTP/T30/8\tana\t-\t3132333435363738393031323334353637383930\t-2\n\
                HOTP ben - 3132333435363738393031323334353637383930 7 969429 2024-01-01T00:00:00L\n\
                HOTP/E/8 carol 1234 31323334\n\
                MOTP dan 1 31\n\
                HOTP/T30 eve - 3x\nHOTP eve\n";
    let read = lists::users_file(text.as_bytes()).unwrap();
    let seen: Vec<_> = read
        .tokens
        .iter()
        .map(|token| {
            (
                token.at,
                token.user.as_deref().unwrap(),
                token.kind,
                token.digits,
                token.counter,
                token.drift,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (2, "ana", Kind::Totp, 8, 0, -2),
            (3, "ben", Kind::Hotp, 6, 8, 0),
            (4, "carol", Kind::Hotp, 8, 0, 0),
        ]
    );
    assert_eq!((read.skipped.len(), read.faults.len()), (1, 2));
    assert!(!format!("{:?}", read.faults).contains("3x"));
}

#[test]
fn uris_name_their_people() {
    let text = "otpauth://totp/Old%20GmbH:ana%40example.org?secret=GEZDGNBV&issuer=Old\n\notpauth://hotp/ben?secret=GEZDGNBV&counter=3\nhttps://x\n";
    let read = lists::otpauth(text.as_bytes()).unwrap();
    let people: Vec<_> = read.tokens.iter().map(|token| token.user.as_deref().unwrap()).collect();
    assert_eq!(people, ["ana@example.org", "ben"]);
    assert_eq!(read.faults[0].at, 4);
}

#[test]
fn what_is_there_twice_is_told_with_its_first_place() {
    let token = |at, user: &str, seed: &[u8]| Given {
        at,
        user: Some(user.into()),
        serial: Some("S".into()),
        material: Material::Seed(Zeroizing::new(seed.to_vec())),
        ..Given::default()
    };
    let mut read = Read {
        tokens: vec![
            token(1, "ana", b"a"),
            token(2, "ben", b"a"),
            token(3, "ana", b"b"),
            token(4, "eve", b"c"),
        ],
        ..Read::default()
    };
    twice(&mut read);
    let told: Vec<_> = read
        .faults
        .iter()
        .map(|fault| (fault.at, fault.message.as_str()))
        .collect();
    assert_eq!(told, [(2, "the same seed as at 1"), (3, "`ana` has `S` at 1 already")]);
}

#[test]
fn files_tell_what_they_are() {
    for (start, format) in [
        ("\n<?xml version='1.0'?>", Format::Pskc),
        ("OTPAUTH://totp/", Format::Otpauth),
        ("gAAAAABk", Format::Privacyidea),
        ("[\n {", Format::Privacyidea),
        ("HOTP/T30 ana", Format::Oath),
        ("hotp,serial", Format::Csv),
        ("serial,secret", Format::Csv),
    ] {
        assert_eq!(guessed(start.as_bytes()), format, "{start}");
    }
}
