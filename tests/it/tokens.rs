//! Tokens of every variant: codes as oathtool computes them, seeds that come as otpauth:// URIs, pictures, names,
//! and tokens that are out of step.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use portcullis::clock;
use portcullis::engine::authenticator::oath::Generator;
use portcullis::engine::record::Algorithm;
use portcullis::secret::Secret;

use crate::support::portcullis::{APPEND, Portcullis, find};
use crate::support::process::{run, text};
use crate::support::radclient::Reply;
use crate::support::slapd::{Slapd, password, user};
use crate::support::totp::code;

/// 80, 160, 256 and 512 bits.
const SEEDS: [&str; 4] = [
    "GEZDGNBVGY3TQOJQ",
    "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
    "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA",
    "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA",
];

const ALGORITHMS: [(Algorithm, &str); 3] = [
    (Algorithm::Sha1, "SHA1"),
    (Algorithm::Sha256, "SHA256"),
    (Algorithm::Sha512, "SHA512"),
];

fn oathtool(arguments: &[&str]) -> String {
    let output = run(Command::new("oathtool").arg("--base32").args(arguments), "");
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn totp(seed: &str, algorithm: &str, digits: u8, period: u16, now: u64) -> String {
    oathtool(&[
        &format!("--totp={algorithm}"),
        &format!("--digits={digits}"),
        &format!("--time-step-size={period}"),
        &format!("--now=@{now}"),
        seed,
    ])
}

#[test]
fn every_variant_agrees_with_oathtool() {
    for (seed, (algorithm, name)) in SEEDS.into_iter().flat_map(|seed| ALGORITHMS.map(|pair| (seed, pair))) {
        let octets = data_encoding::BASE32_NOPAD.decode(seed.as_bytes()).unwrap();
        for digits in 6..=8 {
            let generator = Generator::new(&Secret::new(octets.clone()), algorithm, digits);
            for (period, now) in [(30, 59), (30, 20_000_000_000), (60, 1_234_567_890)] {
                let theirs = totp(seed, name, digits, period, now);
                let at = now / u64::from(period);
                assert!(generator.matches(&theirs, at), "{name} {digits} {period} {now} {seed}");
                assert!(
                    !generator.matches(&theirs, at + 1),
                    "{name} {digits} {period} {now} {seed}"
                );
            }
            // oathtool knows HOTP with SHA-1 only.
            if algorithm == Algorithm::Sha1 {
                let theirs = oathtool(&["--hotp", &format!("--digits={digits}"), "--counter=4294967296", seed]);
                assert!(generator.matches(&theirs, 4_294_967_296), "{digits} {seed}");
            }
        }
    }
}

#[test]
fn tokens_of_other_systems_come_as_uris() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let door = site.radclient(APPEND);
    let login = |number, code: &str| door.login(&user(number), &format!("{},{code}", password(number)));
    let tokens = [
        ("digits=8&period=60&algorithm=SHA512", SEEDS[3], "SHA512", 8, 60),
        ("digits=7&algorithm=SHA256&period=30", SEEDS[2], "SHA256", 7, 30),
        ("issuer=Old%20System", SEEDS[0], "SHA1", 6, 30),
    ];
    for (number, (rest, seed, algorithm, digits, period)) in (1..).zip(tokens) {
        let uri = format!("otpauth://totp/Old:{}?secret={seed}&{rest}", user(number));
        let arguments = ["token", "enrol", &user(number), "--uri", "--label", "old phone"];
        let enrolled = site.cli_with(&arguments, &uri);
        assert!(enrolled.status.success(), "{}", text(&enrolled));
        assert!(
            !text(&enrolled).contains(seed),
            "it is not shown again: {}",
            text(&enrolled)
        );
        let code = totp(seed, algorithm, digits, period, clock::now().secs());
        assert_eq!(login(number, &code), Reply::Accept, "{rest}");
        assert_eq!(login(number, &code), Reply::Reject, "{rest}: once");
    }

    let counted = format!("otpauth://hotp/{}?secret={}&counter=5&digits=8", user(4), SEEDS[1]);
    assert!(
        site.cli_with(&["token", "enrol", &user(4), "--uri"], &counted)
            .status
            .success()
    );
    let hotp = |counter: u64| oathtool(&["--hotp", "--digits=8", &format!("--counter={counter}"), SEEDS[1]]);
    assert_eq!(login(4, &hotp(4)), Reply::Reject, "before the counter");
    assert_eq!(login(4, &hotp(5)), Reply::Accept);

    for (uri, fault) in [
        ("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&digits=5", "6 to 8 digits"),
        ("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&period=45", "30 or 60 seconds"),
        ("otpauth://totp/x?secret=GEZDGNBV", "40 bits"),
        ("otpauth://totp/x?secret=GEZDGNBVGY3TQOJ1", "not base32"),
        (
            "otpauth://steam/x?secret=GEZDGNBVGY3TQOJQ",
            "something else than totp or hotp",
        ),
        ("nonsense", "not an otpauth"),
    ] {
        let refused = site.cli_with(&["token", "enrol", &user(5), "--uri"], uri);
        assert_eq!(refused.status.code(), Some(2), "{uri}: {}", text(&refused));
        assert!(text(&refused).contains(fault), "{uri}: {}", text(&refused));
    }
    assert_eq!(
        site.json(&["token", "list", &user(5)]).as_array().map(Vec::len),
        Some(0)
    );
}

#[test]
fn pictures_are_private_and_names_can_change() {
    let directory = Slapd::start(3);
    let site = Portcullis::start(&directory);
    let made = site.cli(&[
        "token",
        "enrol",
        &user(1),
        "--svg",
        "ana.svg",
        "--png",
        "ana.png",
        "--no-qr",
    ]);
    assert!(made.status.success(), "{}", text(&made));
    for file in ["ana.svg", "ana.png"] {
        let mode = fs::metadata(site.path(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(fs::read(site.path("ana.png")).unwrap().starts_with(b"\x89PNG"));

    site.json(&["token", "enrol", &user(1), "--label", "spare"]);
    let renamed = site.json(&["token", "rename", &user(1), "token-1", "phone"]);
    assert_eq!(find(&renamed, "label").unwrap(), "phone");
    let taken = site.cli(&["token", "rename", &user(1), "phone", "spare"]);
    assert_eq!(taken.status.code(), Some(1), "{}", text(&taken));
    let audit = site.audit().join("\n");
    assert!(audit.contains("from `token-1` to `phone`"), "{audit}");
}

#[test]
fn a_token_out_of_step_comes_back_at_two_logins() {
    let directory = Slapd::start(3);
    let mut site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    // All at one moment, so that they stay consecutive.
    let codes = [6, 7, 8].map(|steps| code(&seed, steps));
    let login = |site: &Portcullis, code: &str| {
        site.radclient(APPEND)
            .login(&user(1), &format!("{},{code}", password(1)))
    };
    assert_eq!(login(&site, &codes[0]), Reply::Reject, "three minutes fast");
    site.kill_and_serve();
    assert_eq!(login(&site, &codes[1]), Reply::Accept, "and consecutive");
    assert_eq!(login(&site, &codes[1]), Reply::Reject, "once");
    assert_eq!(login(&site, &codes[2]), Reply::Accept, "in step from now on");
}
