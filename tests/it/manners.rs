//! The command line itself: manual pages, completions, JSON everywhere, the live screen, prompts on a terminal.

use std::fs;
use std::process::Command;

use clap::CommandFactory as _;
use portcullis::cli::Cli;

use crate::support::portcullis::{PASSWORD_ONLY, Portcullis};
use crate::support::process::{run, text};
use crate::support::slapd::{Slapd, password, user};
use crate::support::tmux::Tmux;

fn portcullis() -> Command {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
}

/// Every command that does something, as `user show`.
fn leaves() -> Vec<String> {
    fn walk(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for verb in command.get_subcommands() {
            let path = format!("{path} {}", verb.get_name()).trim().to_owned();
            if verb.has_subcommands() {
                walk(verb, &path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Cli::command(), "", &mut found);
    found
}

#[test]
fn manual_pages_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    let written = run(portcullis().arg("man").arg(folder.path()), "");
    assert!(written.status.success(), "{}", text(&written));
    for leaf in leaves() {
        let page = folder.path().join(format!("portcullis-{}.1", leaf.replace(' ', "-")));
        let said = fs::read_to_string(&page).unwrap_or_else(|_| panic!("{leaf} has no page"));
        assert!(
            said.contains(".SH EXAMPLE") || matches!(&*leaf, "token enable" | "token disable"),
            "{leaf} shows no example"
        );
    }
    let mut pages: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|page| page.unwrap().path())
        .collect();
    pages.sort();
    assert!(pages.len() > 60, "{}", pages.len());
    // Warnings of groff are about what it would not show; those of mandoc about what others would not.
    let linted = run(
        Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .args(&pages),
        "",
    );
    let faults = text(&linted);
    let faults: Vec<&str> = faults
        .lines()
        .filter(|line| {
            !line.contains("STYLE") && !line.contains("missing date") && !line.contains("skipping paragraph macro")
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let shown = run(Command::new("groff").args(["-man", "-ww", "-Tutf8"]).args(&pages), "");
    assert!(shown.stderr.is_empty(), "{}", String::from_utf8_lossy(&shown.stderr));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("portcullis audit verify --checkpoint"));
}

#[test]
fn completions_complete() {
    let folder = tempfile::tempdir().unwrap();
    let script = |shell: &str| {
        let printed = run(portcullis().args(["completions", shell]), "");
        assert!(printed.status.success(), "{}", text(&printed));
        let file = folder.path().join(shell);
        fs::write(&file, &printed.stdout).unwrap();
        (file.display().to_string(), text(&printed))
    };
    let (bash, _) = script("bash");
    let line = format!(
        "set -e; bash -n {bash}; . {bash}; complete -p portcullis >/dev/null; COMP_WORDS=(portcullis audit ''); COMP_CWORD=2; \
         _portcullis portcullis '' audit; echo \"${{COMPREPLY[@]}}\""
    );
    let completed = text(&run(Command::new("bash").args(["--norc", "-c", &line]), ""));
    assert!(
        completed.contains("tail") && completed.contains("export"),
        "{completed}"
    );
    let (zsh, _) = script("zsh");
    let loaded = run(
        Command::new("zsh").args([
            "-f",
            "-c",
            &format!("autoload -U compinit; compinit -D; . {zsh}; whence -w _portcullis"),
        ]),
        "",
    );
    assert!(text(&loaded).contains("_portcullis: function"), "{}", text(&loaded));
    let (fish, _) = script("fish");
    let line = format!("source {fish}; complete -C 'portcullis report '");
    let completed = text(&run(
        Command::new("fish")
            .env("HOME", folder.path())
            .args(["--no-config", "-c", &line]),
        "",
    ));
    assert!(
        completed.contains("enrolment") && completed.contains("helpdesk"),
        "{completed}"
    );
    for shell in ["elvish", "powershell"] {
        let (_, text) = script(shell);
        assert!(text.contains("portcullis;audit;tail"), "{shell}");
    }
}

/// Whatever else it says, standard output is one JSON document, or nothing where the command failed.
#[test]
fn every_command_speaks_json() {
    let directory = Slapd::start(9);
    let site = Portcullis::start(&directory);
    site.enrol(&user(1));
    let file = site.path("records").display().to_string();
    let (one, two) = (user(1), user(2));
    let lines: &[&[&str]] = &[
        &["check", "-c", "portcullis.toml"],
        &["status"],
        &["test", "store"],
        &["reload"],
        &["top", "--interval", "1"],
        &["report", "enrolment"],
        &["report", "logins"],
        &["report", "helpdesk"],
        &["report", "factors"],
        &["audit", "tail"],
        &["audit", "search"],
        &["audit", "verify"],
        &["audit", "export", "-o", &file],
        &["user", "find", "user"],
        &["user", "show", &one],
        &["user", "unlock", &two],
        &["deny", "--list"],
        &["token", "list", &one],
        &["token", "disable", &one, "1"],
        &["token", "enable", &one, "1"],
        &["recovery-codes", "new", &one, "--yes"],
        &["passcode", "issue", &two],
        &["passcode", "list"],
        &["passcode", "revoke", &two],
        &["request", "list"],
        &["policy", "check"],
        &["client", "list"],
        &["client", "show", "door"],
        &["client", "test", "door"],
        &["session", "list"],
        &["reuse", "list"],
        &["reuse", "clear", &one],
        &["answers", "questions"],
        &["radius", "decode", "010100140000000000000000000000000000000000"],
        &["man"],
        &["completions", "bash"],
    ];
    for line in lines {
        let printed = site.cli(&[*line, &["--json"]].concat());
        let read: Result<serde_json::Value, _> = serde_json::from_slice(&printed.stdout);
        assert!(read.is_ok(), "{line:?}: {}", text(&printed));
    }
    // And what fails says so in JSON, with the same exit code.
    for line in [
        &["user", "show", "nobody"][..],
        &["token", "list", "nobody"],
        &["test", "nothing"],
    ] {
        let failed = site.cli(&[line, &["--json"]].concat());
        assert_eq!(failed.status.code(), Some(5), "{line:?}: {}", text(&failed));
        let error: serde_json::Value = serde_json::from_slice(&failed.stderr).unwrap();
        assert!(
            error["error"].is_string() && failed.stdout.is_empty(),
            "{line:?}: {error}"
        );
    }
    // What says nothing in JSON is a program of its own.
    for leaf in leaves() {
        let mut words: Vec<&str> = leaf.split(' ').collect();
        words.push("--help");
        let help = text(&run(portcullis().args(&words), ""));
        assert!(help.contains("--json"), "{leaf}");
    }
}

#[test]
fn the_live_screen_on_a_terminal() {
    let directory = Slapd::start(9);
    let mut site = Portcullis::start(&directory);
    let door = site.radclient(PASSWORD_ONLY);
    door.login(&user(1), &password(1));
    door.login(&user(2), "wrong");
    let refused = site.cli(&["top"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("--once"), "{}", text(&refused));

    let command = format!(
        "echo before; {} top --interval 1 --socket {}; echo ended $?; stty -a | grep -o -e '-*echo ' -e '-*icanon'; sleep 1000",
        env!("CARGO_BIN_EXE_portcullis"),
        site.path("state/admin.sock").display()
    );
    let terminal = Tmux::start(80, 24, &command);
    terminal.wait("what was refused", |screen| {
        screen.contains("wrong-password") && screen.contains("tab sort")
    });
    door.login(&user(1), &password(1));
    let filters = vec![
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "[moment............]"),
        (r"\d\d:\d\d:\d\d", "[moment]"),
        (r"\d+\.\d+\.\d+ +up +\d+m? ?\d*s?", "[version] up [span]"),
        (r"ldaps://127\.0\.0\.1:\d+", "[server]"),
        (r"[▁▂▃▄▅▆▇█]", " "),
        (r"\b\d+(\.\d+)?\b", "N"),
        (r"[ ]{2,}", "  "),
        (r"[ ]+\n", "\n"),
    ];
    terminal.press(&["p"]);
    terminal.wait("that it holds", |screen| screen.contains("paused"));
    insta::with_settings!({ filters => filters, omit_expression => true }, {
        insta::assert_snapshot!("top_on_a_terminal", terminal.screen());
    });
    terminal.press(&["p"]);
    terminal.press(&["Tab"]);
    terminal.wait("another order", |screen| screen.contains("BUSIEST"));
    terminal.press(&["?"]);
    terminal.wait("help", |screen| screen.contains("hold the screen"));
    terminal.press(&["x"]);
    terminal.resize(120, 40);
    terminal.wait("a greater screen", |screen| {
        screen.lines().count() == 40 && !screen.contains("hold the screen")
    });
    // The server goes and comes back; the screen stays.
    site.kill();
    terminal.wait("that nobody answers", |screen| screen.contains("no server answers"));
    site.serve();
    terminal.wait("that it goes on", |screen| screen.contains("tab sort"));
    terminal.press(&["q"]);
    terminal.wait("the end", |screen| {
        screen.contains("before") && screen.contains("ended 0") && screen.contains("icanon")
    });
    assert!(terminal.is_given_back());
    assert!(
        !terminal.screen().contains("-icanon") && !terminal.screen().contains("-echo"),
        "{}",
        terminal.screen()
    );
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let directory = Slapd::start(3);
    let site = Portcullis::start(&directory);
    // The number of the program is in a file, so that it alone is told to end.
    let pid = site.path("top.pid").display().to_string();
    let top = format!(
        "{} top --socket {}",
        env!("CARGO_BIN_EXE_portcullis"),
        site.path("state/admin.sock").display()
    );
    let command =
        format!("sh -c 'echo $$ > {pid}; exec {top}'; echo ended $?; stty -a | grep -o -e '-*icanon'; sleep 1000");
    let terminal = Tmux::start(80, 24, &command);
    terminal.wait("the screen", |screen| screen.contains("tab sort"));
    let number: i32 = fs::read_to_string(site.path("top.pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), nix::sys::signal::Signal::SIGTERM).unwrap();
    terminal.wait("the end", |screen| {
        screen.contains("ended 0") && screen.contains("icanon")
    });
    assert!(terminal.is_given_back());
    assert!(!terminal.screen().contains("-icanon"), "{}", terminal.screen());
}

#[test]
fn secrets_are_typed_unseen_and_what_cannot_be_undone_is_asked_about() {
    let directory = Slapd::start(3);
    let site = Portcullis::start(&directory);
    let program = env!("CARGO_BIN_EXE_portcullis");
    let terminal = Tmux::start(100, 24, &format!("{program} password-hash; echo ended $?; sleep 1000"));
    terminal.wait("a prompt", |screen| screen.contains(':'));
    terminal.press(&["-l", "correct-horse"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!terminal.screen().contains("horse"), "{}", terminal.screen());
    terminal.press(&["Enter"]);
    terminal.wait("an answer", |screen| {
        screen.contains("{ARGON2}") || screen.contains("gain") || screen.contains("epeat")
    });
    assert!(!terminal.screen().contains("horse"), "{}", terminal.screen());

    site.enrol(&user(1));
    let socket = site.path("state/admin.sock").display().to_string();
    let command = format!(
        "{program} token revoke {} 1 --socket {socket}; echo ended $?; sleep 1000",
        user(1)
    );
    let terminal = Tmux::start(100, 24, &command);
    terminal.wait("a question", |screen| screen.contains("[y/N]"));
    terminal.press(&["n", "Enter"]);
    terminal.wait("the end", |screen| screen.contains("ended"));
    assert_eq!(
        site.json(&["token", "list", &user(1)]).as_array().unwrap().len(),
        1,
        "it is still there"
    );
    let unasked = site.cli(&["token", "revoke", &user(1), "1"]);
    assert_eq!(unasked.status.code(), Some(2), "{}", text(&unasked));
    assert!(text(&unasked).contains("--yes"), "{}", text(&unasked));
}
