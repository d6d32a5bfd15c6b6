//! Keys that type Yubico OTP, with `ykgenerate` of libyubikey as the key; offline tokens; and machines that cannot
//! reach us, with `script` as the terminal and pam_exec as the login program.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use portcullis::engine::ocra::{Input, Suite};
use portcullis::secret::Secret;

use crate::support::portcullis::{APPEND, DIALOG, Portcullis, find};
use crate::support::process::{run, text};
use crate::support::radclient::{Reply, request};
use crate::support::slapd::{Slapd, password, user};

const RULES: &str = r#"
[[rule]]
name = "keys and pads"
when = { service = ["vpn", "append"] }
require = { all = ["password", { any = ["yubico-otp", "ocra"] }] }
"#;

const AES: &str = "ecde18dbe76fbd0c33330f1c354871db";
const PRIVATE: &str = "8792ebfe26cc";

/// A key, as Yubico's own library simulates one.
struct Key {
    public: &'static str,
}

impl Key {
    /// What it types at the given touch (session counter) after having been plugged in so often.
    fn typed(&self, usage: u16, session: u8) -> String {
        let mut command = Command::new("ykgenerate");
        command.args([
            AES,
            PRIVATE,
            &format!("{usage:04x}"),
            "1234",
            "56",
            &format!("{session:02x}"),
        ]);
        let output = run(&mut command, "");
        assert!(output.status.success(), "{}", text(&output));
        format!("{}{}", self.public, String::from_utf8_lossy(&output.stdout).trim())
    }

    fn enrol(&self, site: &Portcullis, user: &str) {
        let lines = format!("{}\n{PRIVATE}\n{AES}\n", self.public);
        let output = site.cli_with(&["token", "enrol", user, "--yubico", "--label", "key"], &lines);
        assert!(output.status.success(), "{}", text(&output));
    }
}

const KEY: Key = Key { public: "vvccccccbcde" };

fn site(directory: &Slapd) -> Portcullis {
    let mut site = Portcullis::install(directory);
    site.write_policy(RULES);
    site.serve();
    site
}

#[test]
fn a_key_types_what_is_right_once_and_nothing_from_before_it() {
    let directory = Slapd::start(20);
    let mut site = site(&directory);
    KEY.enrol(&site, &user(1));
    let vpn = site.radclient(DIALOG);
    let try_code = |code: &str| vpn.answer(&user(1), code, &vpn.login(&user(1), &password(1)));
    assert_eq!(try_code(&KEY.typed(3, 2)), Reply::Accept);
    assert_eq!(try_code(&KEY.typed(3, 2)), Reply::Reject, "a code is right once");
    assert_eq!(try_code(&KEY.typed(3, 1)), Reply::Reject, "one from before it");
    assert_eq!(
        try_code(&KEY.typed(2, 9)),
        Reply::Reject,
        "one from before it was plugged in"
    );
    site.kill_and_serve();
    let vpn = site.radclient(DIALOG);
    let append = site.radclient(APPEND);
    let used = format!("{},{}", password(1), KEY.typed(3, 2));
    assert_eq!(append.login(&user(1), &used), Reply::Reject, "used, over a restart");
    // The fifth failure locked the person out.
    assert!(site.cli(&["user", "unlock", &user(1)]).status.success());
    let separated = format!("{},{}", password(1), KEY.typed(3, 3));
    assert_eq!(append.login(&user(1), &separated), Reply::Accept);
    let adjoining = format!("{}{}", password(1), KEY.typed(3, 4).to_uppercase());
    assert_eq!(append.login(&user(1), &adjoining), Reply::Accept);
    let challenge = vpn.login(&user(1), "wrong");
    assert_eq!(vpn.answer(&user(1), &KEY.typed(4, 0), &challenge), Reply::Reject);
    assert_eq!(directory.failures(1), 1, "a right code brings one try of the password");
    assert!(!site.log().contains(AES) && !site.audit().concat().contains(AES));
}

#[test]
fn of_many_submissions_of_what_a_key_typed_one_is_accepted() {
    let directory = Slapd::start(20);
    let site = site(&directory);
    KEY.enrol(&site, &user(1));
    let typed = format!("{}{}", password(1), KEY.typed(1, 0));
    let requests: Vec<String> = (0..40).map(|_| request(&user(1), &typed, None)).collect();
    let replies = site.radclient(APPEND).ask_at_once(&requests);
    assert_eq!(replies.len(), 40);
    assert_eq!(replies.iter().filter(|reply| **reply == Reply::Accept).count(), 1);
}

#[test]
fn a_list_of_keys_is_enrolled_whole_or_not_at_all() {
    let directory = Slapd::start(20);
    let site = site(&directory);
    KEY.enrol(&site, &user(9));
    let list = site.path("keys.csv");
    let line = |public: &str, user: &str| format!("4711,{public},{PRIVATE},{AES},,2024-01-01T00:00:00,,{user}\n");
    let faulty = [
        line("vvccccccbcdf", &user(1)),
        line("vvccccccbcde", &user(2)),
        line("vvccccccbcdg", "nobody"),
        line("vvcccccc", &user(3)),
    ];
    fs::write(&list, format!("# ykksm 1\n{}", faulty.concat())).unwrap();
    let path = list.display().to_string();
    let refused = site.cli(&["token", "import-yubico", &path, "--user-column", "8"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    let told = text(&refused);
    for place in [
        ":3: the key `vvccccccbcde` is enrolled already",
        ":4: nobody is called",
        ":5: the public identity",
    ] {
        assert!(told.contains(&format!("{path}{place}")), "{told}");
    }
    assert!(!told.contains(AES), "{told}");
    let tokens = site.json(&["token", "list", &user(1)]);
    assert_eq!(tokens.as_array().unwrap().len(), 0, "nothing was enrolled: {tokens}");

    let sound = [line("vvccccccbcdf", &user(1)), line("vvccccccbcdg", &user(2))];
    fs::write(&list, sound.concat()).unwrap();
    let tried = site.cli(&["token", "import-yubico", &path, "--user-column", "8", "--dry-run"]);
    assert!(tried.status.success(), "{}", text(&tried));
    assert_eq!(site.json(&["token", "list", &user(1)]).as_array().unwrap().len(), 0);
    let done = site.cli(&["token", "import-yubico", &path, "--user-column", "8"]);
    assert!(done.status.success(), "{}", text(&done));
    let other = Key { public: "vvccccccbcdg" };
    let typed = format!("{}{}", password(2), other.typed(1, 1));
    assert_eq!(site.radclient(APPEND).login(&user(2), &typed), Reply::Accept);
}

/// The response to the digits of a prompt, with a key in base32.
fn respond(suite: &str, key: &str, prompt: &str) -> String {
    let challenge: String = prompt.chars().filter(char::is_ascii_digit).collect();
    let key = data_encoding::BASE32_NOPAD.decode(key.as_bytes()).unwrap();
    let suite: Suite = suite.parse().unwrap();
    let input = Input {
        question: &challenge,
        ..Input::default()
    };
    let response = suite.response(&Secret::new(key), &input).unwrap();
    response.expose_str().unwrap().to_owned()
}

#[test]
fn an_offline_token_answers_each_challenge_once() {
    let directory = Slapd::start(20);
    let mut site = site(&directory);
    let enrolled = site.json(&["token", "enrol", &user(1), "--kind", "ocra", "--algorithm", "sha256"]);
    let seed = find(&enrolled, "seed").unwrap().as_str().unwrap().to_owned();
    assert!(
        enrolled["uri"].as_str().unwrap().starts_with("otpauth://ocra/"),
        "{enrolled}"
    );
    let suite = enrolled["token"]["suite"].as_str().unwrap().to_owned();
    let vpn = site.radclient(DIALOG);
    let challenge = vpn.login(&user(1), &password(1));
    let Reply::Challenge { text: ref prompt, .. } = challenge else {
        panic!("{challenge:?}")
    };
    // The other challenge is for somebody who does not exist; only its digits are others.
    let Reply::Challenge { text: strange, .. } = vpn.login("nobody", "x") else {
        panic!("no challenge")
    };
    let shape = |text: &str| text.replace(|character: char| character.is_ascii_digit(), "#");
    assert_eq!(shape(prompt), shape(&strange));
    assert_ne!(*prompt, strange);
    let response = respond(&suite, &seed, prompt);
    site.kill_and_serve();
    let vpn = site.radclient(DIALOG);
    assert_eq!(
        vpn.answer(&user(1), &response, &challenge),
        Reply::Accept,
        "over a restart"
    );
    site.kill_and_serve();
    let vpn = site.radclient(DIALOG);
    assert_eq!(vpn.answer(&user(1), &response, &challenge), Reply::Reject, "once");
    let next = vpn.login(&user(1), &password(1));
    assert_eq!(
        vpn.answer(&user(1), &response, &next),
        Reply::Reject,
        "a response to another challenge"
    );
}

/// A machine with a key file, and the installation that answers for it.
struct Machine {
    site: Portcullis,
    key_file: PathBuf,
}

impl Machine {
    fn enrol(site: Portcullis) -> Self {
        let key_file = site.path("machine.key");
        let path = key_file.display().to_string();
        let made = site.cli(&["offline", "enrol", &user(1), "--machine", "lab-7", "--key-file", &path]);
        assert!(made.status.success(), "{}", text(&made));
        assert!(text(&made).contains("█"), "a QR code: {}", text(&made));
        Self { site, key_file }
    }

    /// What helpdesk is told.
    fn response(&self, challenge: &str) -> String {
        let given = self.site.json(&["offline", "respond", &user(1), challenge]);
        given["response"].as_str().unwrap().to_owned()
    }

    fn verify(&self) -> String {
        let binary = env!("CARGO_BIN_EXE_portcullis");
        format!("{binary} offline verify --key-file {}", self.key_file.display())
    }
}

/// A program at a pseudo-terminal.
struct AtTerminal {
    child: Child,
    shown: BufReader<std::process::ChildStdout>,
    seen: String,
}

impl AtTerminal {
    fn start(command: &str) -> Self {
        let mut child = Command::new("script")
            .args(["-qefc", command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script, of bsdutils");
        let shown = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            shown,
            seen: String::new(),
        }
    }

    /// Reads until the challenge has been shown; its digits.
    fn challenge(&mut self) -> String {
        loop {
            let line = self.line();
            if let Some((_, digits)) = line.split_once("at lab-7: ") {
                return digits.trim().to_owned();
            }
        }
    }

    /// The next line that is shown.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let read = self.shown.read_until(b'\n', &mut line).unwrap();
        assert!(read > 0, "it ended: {}", self.seen);
        let line = String::from_utf8_lossy(&line).into_owned();
        self.seen.push_str(&line);
        line
    }

    fn type_in(&mut self, text: &str) {
        let mut input = self.child.stdin.as_ref().unwrap();
        input.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    /// How it ended, and everything that was shown.
    fn end(mut self) -> (ExitStatus, String) {
        let mut rest = Vec::new();
        self.shown.read_to_end(&mut rest).unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().unwrap(), self.seen)
    }
}

fn wrong(right: &str) -> &'static str {
    if right == "00000000" { "00000001" } else { "00000000" }
}

#[test]
fn a_machine_lets_in_who_knows_the_response() {
    let directory = Slapd::start(20);
    let mut machine = Machine::enrol(site(&directory));
    let mut terminal = AtTerminal::start(&machine.verify());
    let challenge = terminal.challenge();
    let response = machine.response(&challenge);
    // From here on there is no server.
    machine.site.kill();
    terminal.type_in(wrong(&response));
    terminal.type_in(&format!("{} {}", &response[..4], &response[4..]));
    let (status, shown) = terminal.end();
    assert!(status.success(), "{shown}");
    assert!(
        shown.contains("█") && shown.contains("That is not the response."),
        "{shown}"
    );

    let mut terminal = AtTerminal::start(&machine.verify());
    assert_ne!(terminal.challenge(), challenge);
    terminal.type_in(&response);
    terminal.type_in("\u{4}");
    let (status, shown) = terminal.end();
    assert!(!status.success(), "a response to another challenge: {shown}");
}

#[test]
fn nine_wrong_responses_end_it_for_a_while_on_every_terminal() {
    let directory = Slapd::start(20);
    let machine = Machine::enrol(site(&directory));
    let mut terminals: Vec<AtTerminal> = (0..3).map(|_| AtTerminal::start(&machine.verify())).collect();
    for terminal in &mut terminals {
        let challenge = terminal.challenge();
        let right = machine.response(&challenge);
        for _ in 0..3 {
            terminal.type_in(wrong(&right));
        }
        assert_ne!(
            terminal.challenge(),
            challenge,
            "three wrong ones bring another challenge"
        );
    }
    // Nine were wrong, three at each: even the right one is not heard.
    for mut terminal in terminals {
        terminal.type_in("00000000");
        let (status, shown) = terminal.end();
        assert_eq!(status.code(), Some(1), "{shown}");
        assert!(shown.contains("Try again in 15 minutes"), "{shown}");
    }
    let tries = fs::read_to_string(machine.site.path("machine.key.tries")).unwrap();
    assert_eq!(tries.lines().count(), 9, "{tries}");
}

#[test]
fn helpdesk_gives_so_many_responses_and_every_one_is_in_the_audit() {
    let directory = Slapd::start(20);
    let machine = Machine::enrol(site(&directory));
    for _ in 0..10 {
        machine.response("1234 5678");
    }
    let site = &machine.site;
    let refused = site.cli(&["offline", "respond", &user(1), "12345678"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    let told = site
        .audit()
        .iter()
        .filter(|line| line.contains("offline.respond"))
        .count();
    assert_eq!(told, 11, "ten given, one refused");
    let other = site.cli(&["offline", "respond", &user(1), "portcullis:offline/lab-8/12345678"]);
    assert_eq!(other.status.code(), Some(5), "{}", text(&other));
    let gone = site.cli(&["offline", "revoke", &user(1), "--machine", "lab-7", "--yes"]);
    assert!(gone.status.success(), "{}", text(&gone));
    let none = site.cli(&["offline", "respond", &user(1), "12345678"]);
    assert_eq!(none.status.code(), Some(5), "{}", text(&none));
}

/// A PAM service of its own, removed with this value.
struct PamExec(PathBuf);

impl PamExec {
    fn new(command: &str) -> Self {
        let file = Path::new("/etc/pam.d").join(format!("portcullis-offline-{}", std::process::id()));
        let text = format!("auth required pam_exec.so quiet {command}\naccount required pam_permit.so\n");
        fs::write(&file, text).unwrap_or_else(|error| panic!("{} (only root can): {error}", file.display()));
        Self(file)
    }
}

impl Drop for PamExec {
    fn drop(&mut self) {
        // Nothing can be done about a file that does not go.
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn pam_exec_asks_at_the_terminal_of_the_login() {
    let directory = Slapd::start(20);
    let machine = Machine::enrol(site(&directory));
    let pam = PamExec::new(&machine.verify());
    let service = pam.0.file_name().unwrap().to_str().unwrap().to_owned();
    let login = format!(
        "sh -c 'exec pamtester -I tty=$(tty) {service} {} authenticate'",
        user(1)
    );
    let mut terminal = AtTerminal::start(&login);
    let response = machine.response(&terminal.challenge());
    terminal.type_in(&response);
    let (status, shown) = terminal.end();
    assert!(status.success(), "{shown}");
    let mut terminal = AtTerminal::start(&login);
    terminal.challenge();
    terminal.type_in(&response);
    terminal.type_in("\u{4}");
    let (status, shown) = terminal.end();
    assert!(!status.success(), "{shown}");
}
