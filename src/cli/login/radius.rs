//! `portcullis login radius`

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::Exit;
use crate::cli::output::{CliError, Out, in_full, read_secret};
use crate::radius::login::{Challenge, Exchange, LoginError, Outcome};
use crate::secret::Secret;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct RadiusArgs {
    /// Address and port of the server
    server: SocketAddr,
    /// Login name
    #[arg(long)]
    user: String,
    /// The shared secret; others on this machine see it in the list of processes
    #[arg(long, conflicts_with = "secret_file", required_unless_present = "secret_file")]
    secret: Option<String>,
    /// File that holds the shared secret
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// NAS-Identifier to send
    #[arg(long, value_name = "NAME", default_value = "portcullis")]
    nas_identifier: String,
    /// Seconds to wait for each reply, three times
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

pub(super) async fn run(args: &RadiusArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let secret = args.secret()?;
    let password = read_secret("Password: ")?;
    let exchange = Exchange::new(args.server, &secret)
        .patience(Duration::from_secs(args.timeout), 3)
        .nas_identifier(&args.nas_identifier);
    let mut asked = Vec::new();
    let outcome = exchange.login(&args.user, &password, |challenge| {
        asked.push(challenge.messages.join(" "));
        answer(challenge)
    });
    let outcome = outcome.await.map_err(|error| match error {
        LoginError::TooLong => CliError::Usage(in_full(&error), None),
        LoginError::Socket(..) | LoginError::Endless => CliError::Local(in_full(&error)),
    })?;
    let (word, messages, exit) = match &outcome {
        Outcome::Accept(messages) => ("accepted", messages.as_slice(), Exit::Done),
        Outcome::Reject(messages) => ("rejected", messages.as_slice(), Exit::Refused),
        Outcome::Abandoned => ("given up", &[][..], Exit::Refused),
        Outcome::Timeout { .. } => ("no reply", &[][..], Exit::Unreachable),
    };
    if out.json {
        out.json(&serde_json::json!({ "outcome": word, "challenges": asked, "messages": messages }))?;
        return Ok(exit);
    }
    let text = out.news(exit == Exit::Done, word);
    out.line(text)?;
    for message in messages {
        out.line(message)?;
    }
    match outcome {
        Outcome::Timeout { unproven: 0 } => {
            out.line("Nothing came back. Is the server up, the address right, this machine one of its clients, the shared secret the same on both sides? To requests that do not verify it says nothing.")?;
        }
        Outcome::Timeout { unproven } => {
            out.line(format!(
                "{unproven} replies did not prove themselves: the shared secret is wrong, most likely."
            ))?;
        }
        Outcome::Accept(_) | Outcome::Reject(_) | Outcome::Abandoned => {}
    }
    Ok(exit)
}

impl RadiusArgs {
    fn secret(&self) -> Result<Secret, CliError> {
        match (&self.secret, &self.secret_file) {
            (Some(secret), _) => Ok(Secret::new(secret.as_bytes())),
            (None, Some(file)) => {
                let text = std::fs::read(file).map(zeroize::Zeroizing::new);
                let text = text.map_err(|error| CliError::File(format!("{}: {error}", file.display()), None))?;
                Ok(Secret::new(text.trim_ascii_end()))
            }
            (None, None) => Err(CliError::Usage(
                "a shared secret is needed".into(),
                Some("give --secret-file"),
            )),
        }
    }
}

/// Shows the question and reads the answer; the end of the input gives up.
fn answer(challenge: &Challenge) -> Option<Secret> {
    let prompt = challenge.messages.join(" ");
    let prompt: String = prompt.chars().filter(|character| !character.is_control()).collect();
    let answer = if challenge.echo || !io::stdin().is_terminal() {
        let mut stderr = io::stderr();
        write!(stderr, "{prompt} ").and_then(|()| stderr.flush()).ok()?;
        let mut line = zeroize::Zeroizing::new(String::new());
        io::stdin().read_line(&mut line).ok().filter(|octets| *octets > 0)?;
        Secret::new(line.trim_end_matches(['\r', '\n']))
    } else {
        read_secret(&format!("{prompt} ")).ok()?
    };
    (!answer.is_empty()).then_some(answer)
}

const HELP: &str = "\
The password is typed unseen, or read as the first line of standard input; the answers to challenges are
the lines after it. The server must know this machine as a client. Exit code 0 when accepted, 1 when
rejected, 3 when nothing came back.

Examples:
  portcullis login radius 127.0.0.1:1812 --secret-file radius.secret --user ana
  printf 'correct-horse\\n492811\\n' | portcullis login radius 127.0.0.1:1812 --secret-file s --user ana";
