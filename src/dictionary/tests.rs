use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::document::{Severity, Source};

fn read(text: &str) -> (Dictionary, Vec<String>) {
    let mut faults = Faults::default();
    let dictionary = Dictionary::parse(&Source::new(FilePath::new("site"), text), &mut faults);
    (dictionary, faults.0.iter().map(ToString::to_string).collect())
}

fn encoded(name: &str, value: &str) -> Result<Vec<u8>, String> {
    Dictionary::shipped().pair(name, value).map(|pair| pair.value)
}

fn shown(attributes: &[u8]) -> Vec<String> {
    let names = Dictionary::shipped().name(attributes);
    names.map(|named| named.to_string()).collect()
}

#[test]
fn the_shipped_dictionaries_are_sound() {
    let mut faults = Faults::default();
    let mut builder = parse::Builder::default();
    builder.read_shipped(&mut faults);
    let dictionary = builder.finish(&mut faults);
    assert!(faults.0.is_empty(), "{faults}");
    assert!(dictionary.names.len() > 700);
}

/// The second opinion on every number, type and flag, where FreeRADIUS is installed.
#[test]
fn the_shipped_dictionaries_agree_with_freeradius() {
    let Ok(entries) = fs::read_dir("/usr/share/freeradius") else {
        return;
    };
    let shipped = Dictionary::shipped();
    let essence = |of: &Attribute| {
        let vendor = of.vendor().map(|vendor| (vendor.number, vendor.format));
        (
            vendor,
            of.carrier(),
            of.number,
            of.kind,
            of.size,
            of.tagged,
            of.encryption,
        )
    };
    let mut confirmed = HashSet::new();
    for entry in entries {
        let file = entry.unwrap().path();
        // Numbers that were in use before the RFCs gave them out.
        if ["iana", "illegal", "dictionary"]
            .iter()
            .any(|old| file.to_string_lossy().ends_with(old))
        {
            continue;
        }
        let mut builder = parse::Builder::default();
        let rfc = file.with_file_name("dictionary.rfc2865");
        builder.read(&rfc, &mut Faults::default());
        builder.read(&file, &mut Faults::default());
        for theirs in builder.finish(&mut Faults::default()).attributes() {
            let Some(ours) = shipped.names.get(theirs.name.to_ascii_lowercase().as_str()) else {
                continue;
            };
            if ours.vendor().map(|vendor| vendor.number) != theirs.vendor().map(|vendor| vendor.number) {
                continue;
            }
            assert_eq!(essence(ours), essence(theirs), "{} in {}", ours.name, file.display());
            confirmed.insert(ours.name.to_ascii_lowercase());
            for (number, name) in theirs.value_names() {
                let known = ours.value_number(name);
                assert!(
                    known.is_none_or(|known| known == number),
                    "{} {name}: {known:?}",
                    ours.name
                );
            }
        }
    }
    let alone: Vec<&Box<str>> = shipped
        .names
        .keys()
        .filter(|name| !confirmed.contains(&***name))
        .collect();
    assert!(alone.len() * 20 < shipped.names.len(), "{alone:?}");
}

/// Each of FreeRADIUS' own files can be a site's file.
#[test]
fn freeradius_files_are_read() {
    let main = FilePath::new("/usr/share/freeradius/dictionary");
    if !main.exists() {
        return;
    }
    let mut faults = Faults::default();
    let mut builder = parse::Builder::default();
    builder.read(main, &mut faults);
    let dictionary = builder.finish(&mut faults);
    let errors: Vec<String> = faults
        .0
        .iter()
        .filter(|fault| fault.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    assert!(dictionary.names.len() > 5000);
}

#[test]
fn every_kind_is_read() {
    let (dictionary, faults) = read(
        "# a site's own\n\
         VENDOR Example 32473\n\
         vendor Wide 99999 format=2,2\n\
         ATTRIBUTE Old-Style 7 string Example\n\
         BEGIN-VENDOR Example\n\
         ATTRIBUTE Ex-Text 1 string   # trailing\n\
         ATTRIBUTE Ex-Hex 0x10 octets[4]\n\
         ATTRIBUTE Ex-Key 3 octets encrypt=2,has_tag\n\
         ATTRIBUTE Ex-Tlv 4 tlv\n\
         BEGIN-TLV Ex-Tlv\n\
         ATTRIBUTE Ex-Inner 1 integer\n\
         VALUE Ex-Inner On 1\n\
         END-TLV Ex-Tlv\n\
         ATTRIBUTE Ex-Dotted 4.2 integer\n\
         ATTRIBUTE Ex-Level 5 short array\n\
         VALUE Ex-Level High 0xff\n\
         END-VENDOR Example\n\
         ATTRIBUTE Local-Thing 3000 string\n\
         VALUE Local-Thing None 0\n",
    );
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(dictionary.vendor(99999).unwrap().format.header(), 4);
    assert_eq!(dictionary.find("OLD-style").unwrap().vendor().unwrap().number, 32473);
    let hex = dictionary.vendors_attribute(32473, 16).unwrap();
    assert_eq!((&*hex.name, hex.kind, hex.size), ("Ex-Hex", Kind::Octets, Some(4)));
    let key = dictionary.find("Ex-Key").unwrap();
    assert!(key.tagged && key.secret && key.encryption == Encryption::TunnelPassword);
    assert_eq!(dictionary.find("Ex-Level").unwrap().encode("HIGH").unwrap(), [0, 255]);
    assert!(dictionary.find("Ex-Inner").is_none() && dictionary.find("Ex-Dotted").is_none());
    assert!(dictionary.find("Local-Thing").is_none());
}

#[test]
fn faults_have_their_place_and_a_remedy() {
    let (_, faults) = read(
        "ATTRIBUTE A 300x string\n\
         ATTRIBUTE B 2 strnig\n\
         ATTRIBUTE C 3 integer has_tga\n\
         VALUE D On 1\n\
         ATRIBUTE E 5 string\n\
         BEGIN-VENDOR Nobody\n\
         ATTRIBUTE F 6 string\n\
         ATTRIBUTE F 7 string\n\
         VALUE F On 1\n\
         ATTRIBUTE G 26 string\n\
         ATTRIBUTE H 8 ipaddr has_tag\n\
         END-VENDOR Nobody\n\
         VENDOR V 1 format=3,1\n\
         $INCLUDE other\n\
         ATTRIBUTE I 9 byte\n\
         VALUE I Much 256\n\
         VENDOR W 77\n\
         BEGIN-VENDOR W\n",
    );
    let expected = [
        "site:1:13: is no number; write it in decimal, or in hexadecimal behind 0x",
        "site:2:15: `strnig` is no type known here; did you mean string? Where nothing else fits, octets does",
        "site:3:23: `has_tga` is neither a vendor nor a flag; there are has_tag, encrypt=1, encrypt=2, encrypt=3, array, concat, secret, virtual",
        "site:5:1: is not known here; there are ATTRIBUTE, VALUE, VENDOR, BEGIN-VENDOR, END-VENDOR, BEGIN-TLV, END-TLV, $INCLUDE, $INCLUDE-; did you mean ATTRIBUTE?",
        "site:6:14: is no vendor yet; put a line VENDOR Nobody NUMBER before this",
        "site:8:11: `F` is 6 string at site:7, and cannot be 7 string here; remove one of them, or give this one another name",
        "site:9:7: warning: is of type string: only numbers have named values, and this line does nothing",
        "site:10:16: warning: is not the type of this number: 26 is vsa, 241 to 244 are extended, 245 and 246 long-extended, and no others are (RFC 6929); this line does nothing",
        "site:11:22: has_tag goes with string, octets and integer only (RFC 2868)",
        "site:12:1: has no BEGIN-VENDOR before it",
        "site:13:12: must be format=T,L with T 1, 2 or 4 and L 0, 1 or 2",
        "site:14:1: cannot be used here",
        "site:16:14: is above 255, the most that byte holds here",
        "site:18:1: `W` is not closed; end it with END-VENDOR W",
        "site:4:1: warning: no dictionary has an attribute `D`: this line does nothing",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn a_folder_is_read_on_top_of_what_is_shipped() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "dictionary",
        "$INCLUDE dictionary.inner\n$INCLUDE- missing\nATTRIBUTE user-NAME 1 string\n",
    );
    write("dictionary.inner", "VALUE Service-Type Site-Login 4711\n");
    write(
        "site.dictionary",
        "ATTRIBUTE Site-Thing 230 string\nATTRIBUTE Filter-Id 11 integer\n",
    );
    write("readme.txt", "nonsense");
    let mut faults = Faults::default();
    let dictionary = Dictionary::load(folder.path(), &mut faults);
    let prefix = format!("{}/", folder.path().display());
    let faults: Vec<String> = faults
        .0
        .iter()
        .map(|fault| fault.to_string().replace(&prefix, ""))
        .collect();
    let place = "(shipped) standard.dictionary";
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].starts_with(&format!("site.dictionary:2:11: `Filter-Id` is 11 string at {place}:")),
        "{faults:?}"
    );
    assert!(dictionary.find("site-thing").is_some());
    let service = dictionary.find("Service-Type").unwrap();
    assert_eq!(
        (service.value_number("site-login"), service.value_number("Login-User")),
        (Some(4711), Some(1))
    );

    let mut faults = Faults::default();
    Dictionary::load(&folder.path().join("nowhere"), &mut faults);
    assert!(faults.any_errors());
}

#[test]
fn includes_end() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("dictionary.a", "$INCLUDE b\n");
    write(
        "b",
        "$INCLUDE dictionary.a\n$INCLUDE /etc/passwd\n$INCLUDE nothing\n$INCLUDE .\n",
    );
    for level in 0..20 {
        write(&format!("deep{level}"), &format!("$INCLUDE deep{}\n", level + 1));
    }
    write("dictionary.z", "$INCLUDE deep0\n");
    let mut faults = Faults::default();
    Dictionary::load(folder.path(), &mut faults);
    let prefix = format!("{}/", folder.path().display());
    let faults: Vec<String> = faults
        .0
        .iter()
        .map(|fault| fault.to_string().replace(&prefix, ""))
        .collect();
    assert_eq!(
        faults,
        [
            "b:1:10: dictionary.a includes itself in the end; remove this line",
            "b:2:10: is an absolute path; write it relative to this file",
            "b:3:10: nothing cannot be read: No such file or directory (os error 2)",
            "b:4:10: . is no file",
            "deep8:1:1: goes deeper than 10 files",
        ]
    );
}

#[test]
fn names_are_found() {
    let dictionary = Dictionary::shipped();
    let (attribute, tag) = dictionary.find_tagged("tunnel-private-group-id:3").unwrap();
    assert_eq!((attribute.number, tag), (81, Some(3)));
    let unnamed = |name| dictionary.find_tagged(name).unwrap_err().to_string();
    assert_eq!(
        unnamed("Sesion-Timeout"),
        "no dictionary knows the attribute `Sesion-Timeout`; did you mean `Session-Timeout`?"
    );
    assert_eq!(
        unnamed("Filter-Id:1"),
        "`Filter-Id` has no tag; write it without the `:` and what follows"
    );
    assert_eq!(
        unnamed("Tunnel-Type:32"),
        "the tag of `Tunnel-Type` must be a number from 1 to 31"
    );
    assert_eq!(
        unnamed("Tunnel-Type:"),
        "the tag of `Tunnel-Type` must be a number from 1 to 31"
    );

    let raw = dictionary.find("attr-26.9.251").unwrap();
    assert_eq!((raw.vendor().unwrap().number, raw.number), (9, 251));
    let raw = dictionary.find("attr-26.9.99").unwrap();
    assert_eq!((&*raw.name, raw.number, raw.kind), ("Attr-26.9.99", 99, Kind::Octets));
    assert_eq!(dictionary.find("Attr-245.7").unwrap().carrier(), 245);
    assert!(dictionary.find("Attr-2").unwrap().secret);
    for wrong in [
        "Attr-0",
        "Attr-256",
        "Attr-26",
        "Attr-26.9",
        "Attr-26.9.256",
        "Attr-26.9.1.1",
        "Attr-1.1",
        "Attr-+1",
        "Attr-",
    ] {
        assert!(dictionary.find(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn texts_become_values() {
    let bytes = |name, value| encoded(name, value).unwrap();
    assert_eq!(bytes("Service-Type", "framed-user"), [0, 0, 0, 2]);
    assert_eq!(bytes("Session-Timeout", "3600"), [0, 0, 14, 16]);
    assert_eq!(bytes("Session-Timeout", "0x10"), [0, 0, 0, 16]);
    assert_eq!(bytes("Tunnel-Type:1", "VLAN"), [0, 0, 13]);
    assert_eq!(bytes("Framed-IP-Address", "192.0.2.7"), [192, 0, 2, 7]);
    assert_eq!(
        bytes("Framed-IPv6-Prefix", "2001:db8::/33"),
        [0, 33, 0x20, 1, 0x0d, 0xb8, 0]
    );
    assert_eq!(bytes("PMIP6-Home-IPv4-HoA", "192.0.2.7/24"), [0, 24, 192, 0, 2, 0]);
    assert_eq!(
        bytes("Framed-Interface-Id", "0:1:2ab:ffff"),
        [0, 0, 0, 1, 2, 0xab, 255, 255]
    );
    assert_eq!(
        bytes("Fortinet-WirelessController-Device-MAC", "00-00-5E-00-53-01"),
        [0, 0, 0x5e, 0, 0x53, 1]
    );
    assert_eq!(bytes("Event-Timestamp", "1970-01-02T00:00:00Z"), 86400u32.to_be_bytes());
    assert_eq!(bytes("Event-Timestamp", "7"), [0, 0, 0, 7]);
    assert_eq!(bytes("Class", "0x00fF"), [0, 255]);
    assert_eq!(bytes("Class", "staff"), b"staff");
    assert_eq!(bytes("MIP6-Feature-Vector", "18446744073709551615"), [255; 8]);
    assert_eq!(bytes("Attr-241.9", "0x01"), [1]);
    assert_eq!(bytes("Filter-Id", &"x".repeat(253)).len(), 253);

    let wrong = |name, value: &str| encoded(name, value).unwrap_err();
    assert_eq!(
        wrong("Service-Type", "Framed-Usre"),
        "the value of Service-Type is neither a number from 0 to 4294967295 nor the name of a value; did you mean `Framed-User`?"
    );
    assert!(wrong("Tunnel-Type:1", "16777216").contains("from 0 to 16777215"));
    assert!(wrong("Session-Timeout", "-1").contains("neither a number"));
    assert_eq!(
        wrong("Filter-Id", ""),
        "the value of Filter-Id is empty; a RADIUS attribute has at least one octet"
    );
    assert_eq!(
        wrong("Filter-Id", &"x".repeat(254)),
        "the value of Filter-Id has 254 octets; 253 fit in this attribute"
    );
    assert!(wrong("Cisco-AVPair", &"x".repeat(248)).ends_with("247 fit in this attribute"));
    assert!(wrong("Tunnel-Private-Group-Id:1", &"x".repeat(253)).ends_with("252 fit in this attribute"));
    assert!(wrong("Tunnel-Password:1", &"x".repeat(240)).ends_with("239 fit in this attribute"));
    assert!(wrong("MS-MPPE-Send-Key", &"x".repeat(240)).ends_with("239 fit in this attribute"));
    assert!(wrong("Originating-Line-Info", "0x010203").ends_with("has 3 octets; this attribute has 2"));
    assert!(wrong("Class", "0xabc").contains("even number"));
    assert!(wrong("Vendor-Specific", "0x00").contains("holds other attributes"));
    assert!(wrong("Framed-IPv6-Prefix", "2001:db8::/129").contains("IPv6 prefix"));
    for id in ["0:1:2", "0:1:2:3:4", "0:1:2:12345", "0:1:2:+3", ""] {
        assert!(encoded("Framed-Interface-Id", id).is_err(), "{id}");
    }
    for mac in ["0:1:2:3:4", "0:1:2:3:4:5:6", "0:1:2:3:4:100"] {
        assert!(encoded("Fortinet-WirelessController-Device-MAC", mac).is_err(), "{mac}");
    }
}

#[test]
fn what_is_encoded_is_shown_again() {
    for (name, value) in [
        ("Service-Type", "Framed-User"),
        ("Session-Timeout", "3600"),
        ("Tunnel-Type", "VLAN"),
        ("Acct-Status-Type", "Interim-Update"),
        ("Framed-IP-Address", "192.0.2.7"),
        ("NAS-IPv6-Address", "2001:db8::1"),
        ("Framed-IPv6-Prefix", "2001:db8:8000::/33"),
        ("Framed-IPv6-Prefix", "::/0"),
        ("PMIP6-Home-IPv4-HoA", "192.0.2.0/24"),
        ("Framed-Interface-Id", "0000:0001:02ab:ffff"),
        ("Fortinet-WirelessController-Device-MAC", "00:00:5e:00:53:01"),
        ("Event-Timestamp", "2030-01-31T12:00:00Z"),
        ("Class", "0x00ff"),
        ("PKM-SAID", "513"),
        ("MIP6-Feature-Vector", "18446744073709551615"),
    ] {
        let pair = Dictionary::shipped().pair(name, value).unwrap();
        assert_eq!(pair.to_string(), format!("{name} = {value}"));
    }
    let pair = |name, value| Dictionary::shipped().pair(name, value).unwrap().to_string();
    assert_eq!(
        pair("Filter-Id", "a\"b\\c\u{1b}[31m\u{202e}"),
        r#"Filter-Id = "a\"b\\c\u{1b}[31m\u{202e}""#
    );
    assert_eq!(pair("Tunnel-Password:4", "hunter2"), "Tunnel-Password:4 = (7 octets)");
    let attribute = Dictionary::shipped().find("Session-Timeout").unwrap();
    assert_eq!(attribute.show(&[1, 2, 3]).to_string(), "0x010203");
}

#[test]
fn attributes_are_named() {
    let packet = [
        &[1, 5, b'a', b'n', b'a'][..],
        &[241, 4, 9, 7],
        &[241, 7, 3, 0, 0, 1, 0],
        &[245, 5, 1, 0x80, 7],
        &[64, 6, 1, 0, 0, 13],
        &[64, 6, 0, 0, 0, 13],
        &[81, 5, 1, b'4', b'2'],
        &[81, 4, b'4', b'2'],
        &[26, 13, 0, 0, 0, 9, 1, 4, b'o', b'k', 2, 3, b'p'],
        &[26, 9, 0, 0, 1, 55, 99, 3, 1],
        // A length of zero, one that runs out, one octet too many, none at all.
        &[26, 9, 0, 0, 0, 9, 1, 0, 1],
        &[26, 9, 0, 0, 0, 9, 1, 4, 1],
        &[26, 10, 0, 0, 0, 9, 1, 3, 1, 7],
        &[26, 6, 0, 0, 0, 9],
        &[26, 4, 0, 0],
        &[26, 9, 1, 0, 0, 9, 1, 3, 1],
        &[250, 2],
    ]
    .concat();
    assert_eq!(
        shown(&packet),
        [
            "User-Name = \"ana\"",
            "Attr-241.9 = 0x07",
            "Response-Length = 256",
            "Attr-245.1 = 0x07",
            "Tunnel-Type:1 = VLAN",
            "Tunnel-Type = VLAN",
            "Tunnel-Private-Group-Id:1 = \"42\"",
            "Tunnel-Private-Group-Id = \"42\"",
            "Cisco-AVPair = \"ok\"",
            "Cisco-NAS-Port = \"p\"",
            "Attr-26.311.99 = 0x01",
            "Attr-26.9 = 0x010001",
            "Attr-26.9 = 0x010401",
            "Attr-26.9 = 0x01030107",
            "Attr-26.9 = 0x",
            "Vendor-Specific = 0x0000",
            "Vendor-Specific = 0x01000009010301",
            "Attr-250 = 0x",
        ]
    );
    assert_eq!(shown(&[1, 1, 0]), Vec::<String>::new());
}

#[test]
fn all_vendor_formats_are_read() {
    let (dictionary, faults) = read(
        "VENDOR USR 429 format=4,0\nVENDOR Starent 8164 format=2,2\nVENDOR Lucent 4846 format=2,1\n\
         VENDOR WiMAX 24757 format=1,1,c\n\
         BEGIN-VENDOR USR\nATTRIBUTE U 0x9000 string\nEND-VENDOR USR\n\
         BEGIN-VENDOR Starent\nATTRIBUTE S 300 integer\nEND-VENDOR Starent\n\
         BEGIN-VENDOR Lucent\nATTRIBUTE L 258 byte\nEND-VENDOR Lucent\n\
         BEGIN-VENDOR WiMAX\nATTRIBUTE W 1 octets\nEND-VENDOR WiMAX\n",
    );
    assert_eq!(faults, Vec::<String>::new());
    let packet = [
        &[26, 12, 0, 0, 1, 173, 0, 0, 0x90, 0, b'h', b'i'][..],
        &[26, 14, 0, 0, 0x1f, 0xe4, 1, 44, 0, 8, 0, 0, 0, 5],
        &[26, 14, 0, 0, 0x12, 0xee, 1, 2, 4, 9, 1, 3, 4, 8],
        &[26, 11, 0, 0, 0x60, 0xb5, 1, 5, 0x80, 7, 8],
        // The length must cover its own header.
        &[26, 10, 0, 0, 0x60, 0xb5, 1, 2, 1, 2],
    ]
    .concat();
    let shown: Vec<String> = dictionary.name(&packet).map(|named| named.to_string()).collect();
    assert_eq!(
        shown,
        [
            "U = \"hi\"",
            "S = 5",
            "L = 9",
            "Attr-26.4846.259 = 0x08",
            "W = 0x0708",
            "Attr-26.24757 = 0x01020102"
        ]
    );
}

#[test]
fn what_is_laid_out_is_named_again() {
    let (dictionary, faults) = read(
        "VENDOR USR 429 format=4,0\nVENDOR Starent 8164 format=2,2\nVENDOR WiMAX 24757 format=1,1,c\n\
         VENDOR Plain 32473\n\
         BEGIN-VENDOR USR\nATTRIBUTE U 0x9000 string\nEND-VENDOR USR\n\
         BEGIN-VENDOR Starent\nATTRIBUTE S 300 integer\nEND-VENDOR Starent\n\
         BEGIN-VENDOR WiMAX\nATTRIBUTE W 1 octets\nEND-VENDOR WiMAX\n\
         BEGIN-VENDOR Plain\nATTRIBUTE P 7 string\nEND-VENDOR Plain\n\
         ATTRIBUTE A 11 string\nATTRIBUTE T 81 string has_tag\nATTRIBUTE I 64 integer has_tag\n\
         ATTRIBUTE E 241.7 short\nATTRIBUTE L 245.7 octets\nATTRIBUTE C 79 octets concat\n",
    );
    assert_eq!(faults, Vec::<String>::new());
    let mut out = Vec::new();
    let lines = [
        ("U", "hi", "U = \"hi\""),
        ("S", "5", "S = 5"),
        ("W", "0x0708", "W = 0x0708"),
        ("P", "p", "P = \"p\""),
        ("A", "a", "A = \"a\""),
        ("T:3", "42", "T:3 = \"42\""),
        ("T", "42", "T = \"42\""),
        ("T", "\u{1}x", "T = \"\\u{1}x\""),
        ("I:1", "13", "I:1 = 13"),
        ("I", "13", "I = 13"),
        ("E", "9", "E = 9"),
        ("L", "0x01", "L = 0x01"),
    ];
    for (name, value, _) in lines {
        let pair = dictionary.pair(name, value).unwrap();
        let mut body = Vec::new();
        pair.push_tag(&mut body);
        body.extend_from_slice(&pair.value);
        pair.attribute.lay_out(&body, &mut out).unwrap();
    }
    let shown: Vec<String> = dictionary.name(&out).map(|named| named.to_string()).collect();
    assert_eq!(shown, lines.map(|(_, _, line)| line));

    let attribute = |name| dictionary.find(name).unwrap();
    for (name, most) in [("A", 253), ("P", 247), ("U", 245), ("S", 245), ("W", 246), ("E", 252)] {
        let mut out = vec![0];
        attribute(name).lay_out(&vec![7; most], &mut out).unwrap();
        assert_eq!(out.len(), 256, "{name}");
        assert_eq!(
            attribute(name).lay_out(&vec![7; most + 1], &mut out),
            Err(Long),
            "{name}"
        );
        assert_eq!(out.len(), 256, "{name}");
    }
    let mut out = Vec::new();
    attribute("C").lay_out(&[7; 300], &mut out).unwrap();
    assert_eq!((out[1], out[256]), (255, 49));
    let mut out = Vec::new();
    attribute("L").lay_out(&[7; 300], &mut out).unwrap();
    assert_eq!(
        (&out[..4], &out[255..259]),
        (&[245, 255, 7, 0x80][..], &[245, 53, 7, 0][..])
    );
}

#[test]
fn what_proves_or_opens_something_is_hidden_in_logs() {
    let packet = [
        &[2, 18][..],
        &[0x77; 16],
        &[3, 4, 0x77, 0x77],
        &[24, 4, 0x77, 0x77],
        &[79, 4, 0x77, 0x77],
        &[69, 5, 1, 0x77, 0x77],
        &[26, 12, 0, 0, 1, 55, 25, 6, 0x77, 0x77, 0x77, 0x77],
        &[26, 10, 0, 0, 1, 55, 17, 4, 0x77, 0x77],
        // Longer than it may be: nobody can say what it is, but a response it may be.
        &[26, 10, 0, 0, 1, 55, 25, 5, 0x77, 0x77],
    ]
    .concat();
    let lines: Vec<String> = Dictionary::shipped()
        .name(&packet)
        .map(|named| named.for_log().to_string())
        .collect();
    assert_eq!(
        lines,
        [
            "User-Password = (16 octets)",
            "CHAP-Password = (2 octets)",
            "State = (2 octets)",
            "EAP-Message = (2 octets)",
            "Tunnel-Password:1 = (2 octets)",
            "MS-CHAP2-Response = (4 octets)",
            "MS-MPPE-Recv-Key = (2 octets)",
            "Attr-26.311 = (4 octets)",
        ]
    );
}

proptest! {
    #[test]
    fn naming_never_panics_and_covers_what_is_there(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let names = Dictionary::shipped().name(&octets).collect::<Vec<_>>();
        prop_assert!(names.len() <= octets.len());
        for named in names {
            let line = named.to_string();
            prop_assert!(!line.chars().any(char::is_control), "{}", line);
        }
    }

    #[test]
    fn encoding_never_panics(index in any::<prop::sample::Index>(), text in any::<String>()) {
        let dictionary = Dictionary::shipped();
        let mut names: Vec<&Box<str>> = dictionary.names.keys().collect();
        names.sort();
        let attribute = dictionary.find(names[index.index(names.len())]).unwrap();
        if let Ok(value) = attribute.encode(&text) {
            prop_assert!(!value.is_empty() && value.len() <= attribute.capacity());
        }
    }
}
