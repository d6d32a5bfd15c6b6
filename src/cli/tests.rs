use clap::{CommandFactory as _, Parser as _};

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

/// The help of every command, as people see it.
#[test]
fn help_texts() {
    let mut command = Cli::command().term_width(100).max_term_width(100);
    command.build();
    let mut text = String::new();
    collect(&mut command, &mut text);
    insta::with_settings!({ filters => vec![(r"portcullis(-\S+)? \d+\.\d+\.\d+", "portcullis [version]")] }, {
        insta::assert_snapshot!("help", text);
    });
}

fn collect(command: &mut clap::Command, text: &mut String) {
    let help = command.render_long_help().to_string();
    let name = command.get_bin_name().unwrap_or_default().to_owned();
    text.push_str(&format!("$ {name} --help\n{}\n\n", help.trim_end()));
    for verb in command.get_subcommands_mut() {
        collect(verb, text);
    }
}

#[test]
fn every_command_has_an_example_or_a_sibling_that_does() {
    fn check(command: &clap::Command) {
        if command.has_subcommands() {
            command.get_subcommands().for_each(check);
            return;
        }
        let name = command.get_name();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(
            help.contains("Example") || matches!(name, "enable" | "disable"),
            "{name} teaches nothing"
        );
    }
    check(&Cli::command());
}

#[test]
fn numbers_out_of_bounds_are_usage_faults() {
    for line in [
        "portcullis token enrol ana --digits 5",
        "portcullis passcode issue ana --minutes 481",
        "portcullis passcode issue ana --minutes 0",
        "portcullis audit search --since yesterday",
        "portcullis user",
    ] {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert_eq!(error.exit_code(), Exit::Usage as i32, "{line}");
    }
}

#[test]
fn without_a_server_the_exit_code_says_so() {
    struct None;
    impl Programs for None {
        fn serve(&self, _: &ConfigArgs) -> Exit {
            Exit::Usage
        }
        fn check(&self, _: &ConfigArgs, _: bool) -> Exit {
            Exit::Usage
        }
        fn demo(&self, _: &DemoArgs) -> Exit {
            Exit::Usage
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let line = ["portcullis", "status", "--socket", socket.to_str().unwrap()];
    assert_eq!(run(Cli::try_parse_from(line).unwrap(), &None), Exit::Unreachable);
}

/// `docs/cli.md` names every command with all of its options.
#[test]
fn the_manual_is_complete() {
    fn check(command: &clap::Command, path: &str, manual: &str, missing: &mut Vec<String>) {
        for verb in command.get_subcommands() {
            let path = format!("{path} {}", verb.get_name());
            if !verb.has_subcommands() && !manual.contains(&format!("`{path}")) {
                missing.push(path.clone());
            }
            let options = verb.get_arguments().filter_map(clap::Arg::get_long);
            missing.extend(
                options
                    .filter(|option| !matches!(*option, "help" | "version"))
                    .filter(|option| !manual.contains(&format!("--{option}")))
                    .map(|option| format!("{path} --{option}")),
            );
            check(verb, &path, manual, missing);
        }
    }
    let manual = include_str!("../../docs/cli.md");
    let mut missing = Vec::new();
    check(&Cli::command(), "portcullis", manual, &mut missing);
    assert!(missing.is_empty(), "{missing:#?}");
}
