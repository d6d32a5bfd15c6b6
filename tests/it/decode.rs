//! `portcullis radius decode` on the documents' vectors, on captures, and on nonsense.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::support::process::{run, text};

fn decode(arguments: &[&str], input: &str) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.env("NO_COLOR", "1").args(["radius", "decode"]).args(arguments);
    run(&mut command, input)
}

fn json(arguments: &[&str], input: &str) -> Vec<Value> {
    let output = decode(&[arguments, &["--json"]].concat(), input);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}

/// The packets of a vector file as the command reads them: each by itself, without their names.
fn vectors(file: &str) -> String {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("secret"));
    lines
        .map(|line| if line.starts_with('[') { "\n" } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_vectors_of_the_documents_verify() {
    for (file, packets) in [("rfc2865.txt", 8), ("rfc3579.txt", 6), ("rfc5997.txt", 4)] {
        let output = decode(&["--secret", "xyzzy5461"], &vectors(file));
        assert!(output.status.success(), "{file}: {}", text(&output));
        let decoded = json(&["--secret", "xyzzy5461"], &vectors(file));
        assert_eq!(decoded.len(), packets, "{file}");
        let checks = decoded
            .iter()
            .map(|packet| packet["authenticator_check"].as_str().unwrap());
        let replies = checks.filter(|check| *check == "valid").count();
        let asked = decoded
            .iter()
            .filter(|packet| [1, 12].contains(&packet["code"].as_u64().unwrap()));
        assert_eq!(
            replies + asked.count(),
            packets,
            "{file}: every reply is proven, none by chance"
        );
        let wrong = decode(&["--secret", "another"], &vectors(file));
        assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    }
    let shown = text(&decode(
        &["--secret", "xyzzy5461", "--show-passwords"],
        &vectors("rfc2865.txt"),
    ));
    for found in [
        "\"arctangent\"",
        "\"challenge\"",
        "\"99101462\"",
        "Service-Type",
        "Framed-Protocol",
        "Login-IP-Host",
    ] {
        assert!(shown.contains(found), "{found}\n{shown}");
    }
    let hidden = text(&decode(&["--secret", "xyzzy5461"], &vectors("rfc2865.txt")));
    assert!(
        !hidden.contains("arctangent") && hidden.contains("not shown"),
        "{hidden}"
    );
}

/// As `tcpdump -X` prints RFC 5997's Status-Server over IPv4 and its answer.
const CAPTURE: &str = "\
20:00:00.000000 IP 192.0.2.1.4096 > 192.0.2.2.1812: RADIUS, Status-Server (12), id: 0xda length: 38
\t0x0000:  4500 0042 0000 4000 4011 0000 c000 0201  E..B..@.@.......
\t0x0010:  c000 0202 1000 0714 002e 0000 0cda 0026  ...............&
\t0x0020:  8a54 f468 6fb3 94c5 2866 e302 185d 0623  .T.ho...(f...].#
\t0x0030:  5012 5a66 5e2e 1e84 11f3 e243 8220 97c8  P.Zf^......C....
\t0x0040:  4fa3                                     O.
20:00:00.000100 IP 192.0.2.2.1812 > 192.0.2.1.4096: RADIUS, Access-Accept (2), id: 0xda length: 20
\t0x0000:  4500 0030 0000 4000 4011 0000 c000 0202  E..0..@.@.......
\t0x0010:  c000 0201 0714 1000 001c 0000 02da 0014  ................
\t0x0020:  ef0d 552a 4bf2 d693 ec2b 6fe8 b541 1d66  ..U*K....+o..A.f
";

#[test]
fn a_capture_is_taken_apart_and_replies_find_their_requests() {
    let decoded = json(&["--secret", "xyzzy5461"], CAPTURE);
    assert_eq!(decoded.len(), 2);
    assert_eq!(
        (&decoded[0]["name"], &decoded[0]["source"]),
        (&"Status-Server".into(), &"192.0.2.1:4096".into())
    );
    assert_eq!(decoded[0]["message_authenticator"], "valid");
    assert_eq!(
        (&decoded[1]["authenticator_check"], &decoded[1]["destination"]),
        (&"valid".into(), &"192.0.2.1:4096".into())
    );

    // The reply alone needs the request; another's request does not do.
    let (request, reply) = CAPTURE.split_once("20:00:00.000100").unwrap();
    assert_eq!(
        json(&["--secret", "xyzzy5461"], reply)[0]["authenticator_check"],
        "needs-request"
    );
    let given = json(&["--secret", "xyzzy5461", "--request", request], reply);
    assert_eq!(given[0]["authenticator_check"], "valid");
    let elsewhere = format!("{}20:00:00.000100{reply}", request.replace("1000 0714", "1001 0714"));
    assert_eq!(
        json(&["--secret", "xyzzy5461"], &elsewhere)[1]["authenticator_check"],
        "needs-request"
    );
}

#[test]
fn what_is_malformed_is_named_by_its_octet() {
    let head = "01 2a 00 1a 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f";
    let output = decode(&[head, "01 05 61 6e 61 02"], "");
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output);
    assert!(
        shown.contains("User-Name") && shown.contains("\"ana\""),
        "what comes before it is read: {shown}"
    );
    assert!(
        shown.contains("malformed at octet 25: type 2 is the last octet"),
        "{shown}"
    );
    for (input, place) in [
        ("01 0g", "line 1, column 5"),
        ("", "no octets"),
        ("0x0000: 0102\n0x0010: 03", "line 2"),
    ] {
        let output = decode(&[], input);
        assert_eq!(output.status.code(), Some(2), "{input}");
        assert!(text(&output).contains(place), "{}", text(&output));
    }
}

#[test]
fn dictionaries_of_the_site_name_what_the_shipped_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let text_of = "ATTRIBUTE Site-Floor 225 integer\nVALUE Site-Floor Cellar 7\n";
    fs::write(folder.path().join("dictionary.site"), text_of).unwrap();
    let packet = "01 2a 00 1a 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f e1 06 00 00 00 07";
    let named = json(&["--dictionary", folder.path().to_str().unwrap(), packet], "");
    assert_eq!(named[0]["attributes"][0]["name"], "Site-Floor");
    assert_eq!(named[0]["attributes"][0]["value"], "Cellar");
    fs::write(
        folder.path().join("dictionary.site"),
        "ATTRIBUTE Site-Floor 225 nonsense\n",
    )
    .unwrap();
    let faulty = decode(&["--dictionary", folder.path().to_str().unwrap(), packet], "");
    assert_eq!(faulty.status.code(), Some(2));
    assert!(text(&faulty).contains("dictionary.site:1:"), "{}", text(&faulty));
}
