//! `portcullis offline verify`: asks for the response that helpdesk says. Needs the key file and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::key_file::KeyFile;
use super::terminal::Terminal;
use super::tries::Tries;
use crate::cli::output::{CliError, Out, grouped};
use crate::cli::{Exit, qr};
use crate::clock;
use crate::engine::ocra::Input;
use crate::engine::offline::{self, Asked};

/// Wrong responses until there is another challenge.
const TRIES: usize = 3;

/// Challenges until it gives up.
const CHALLENGES: usize = 3;

/// How long a challenge can be answered.
const LIFE: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The machine's key file
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Ask on standard input and output, also where they are no terminal
    #[arg(long)]
    stdio: bool,
    /// Show no QR code
    #[arg(long)]
    no_qr: bool,
}

pub(super) fn run(args: &VerifyArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        let what = "this command talks to somebody, and has no JSON";
        return Err(CliError::Usage(what.into(), None));
    }
    let key = KeyFile::read(&args.key_file)?;
    let mut terminal = if args.stdio {
        Terminal::standard()
    } else {
        Terminal::find()?
    };
    let tries = Tries::beside(&args.key_file);
    for _ in 0..CHALLENGES {
        match ask(&key, &tries, args.no_qr, &mut terminal)? {
            Some(exit) => return Ok(exit),
            None => terminal.say("\n")?,
        }
    }
    terminal.say("Too many wrong responses.\n")?;
    Ok(Exit::Refused)
}

/// One challenge; nothing when it was not answered right and there may be another.
fn ask(key: &KeyFile, tries: &Tries, no_qr: bool, terminal: &mut Terminal) -> Result<Option<Exit>, CliError> {
    let challenge = offline::challenge(clock::random());
    let asked = clock::monotonic();
    terminal.say(&format!(
        "Challenge for {} at {}: {}\n",
        key.user,
        key.machine,
        grouped(&challenge)
    ))?;
    if !no_qr {
        let picture = qr::blocks(&Asked::uri(&key.machine, &challenge))?;
        terminal.say(&format!("{picture}\n"))?;
    }
    terminal.say("Tell it to helpdesk.\n")?;
    for _ in 0..TRIES {
        terminal.say("Response: ")?;
        let Some(typed) = terminal.line()? else {
            return Ok(Some(Exit::Refused));
        };
        let typed: String = typed.chars().filter(|character| !character.is_whitespace()).collect();
        if typed.is_empty() {
            continue;
        }
        // Counted first: whoever ends this process now has had their try.
        if let Err(wait) = tries.count(clock::now()).map_err(CliError::Io)? {
            let minutes = wait.as_secs().div_ceil(60);
            terminal.say(&format!("Too many wrong responses. Try again in {minutes} minutes.\n"))?;
            return Ok(Some(Exit::Refused));
        }
        if asked.elapsed() > LIFE {
            terminal.say("That took too long: here is another challenge.\n")?;
            return Ok(None);
        }
        let input = Input {
            question: &challenge,
            ..Input::default()
        };
        let expected = key.suite.response(&key.key, &input);
        let expected = expected.map_err(|error| CliError::Local(error.to_string()))?;
        if expected.matches(typed.as_bytes()) {
            tries.forget().map_err(CliError::Io)?;
            terminal.say("Right.\n")?;
            return Ok(Some(Exit::Done));
        }
        terminal.say("That is not the response.\n")?;
    }
    Ok(None)
}

pub(super) const HELP: &str = "\
Shows a challenge and its QR code at the terminal and asks for the response; exit code 0 only when
it is right. Three wrong responses bring another challenge, nine end it; what was wrong is counted
in FILE.tries for 15 minutes, over all terminals. No server and no configuration are needed.

For a login, in /etc/pam.d:
  auth required pam_exec.so /usr/bin/portcullis offline verify --key-file /etc/portcullis/offline.key

Example:
  portcullis offline verify --key-file /etc/portcullis/offline.key";
