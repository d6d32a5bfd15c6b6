//! `portcullis answers import`: the answers of many people, each person whole or not at all.

mod read;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use super::{ImportArgs, request};
use crate::admin::api::{DefinedAnswers, ErrorKind};
use crate::admin::client::{AdminClient, ClientError};
use crate::cli::Exit;
use crate::cli::output::{CliError, Out};

/// What came of an import.
#[derive(Debug, Serialize)]
struct Report {
    /// People in the file.
    people: usize,
    /// Whose answers are stored now.
    defined: Vec<String>,
    /// Whose answers are in order, and not stored.
    checked: Vec<String>,
    /// What is wrong, in the order of the file.
    faults: Vec<Fault>,
}

/// Something wrong with a line, or with the person that begins there.
#[derive(Debug, Serialize)]
struct Fault {
    /// The file, as it was named.
    file: String,
    /// From 1.
    line: usize,
    /// Who is meant, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// What is wrong. Never an answer.
    error: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(user) = &self.user {
            write!(f, "{user}: ")?;
        }
        f.write_str(&self.error)
    }
}

pub(super) async fn run(args: &ImportArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let text = contents(&args.file)?;
    let (people, faults) = read::people(&text);
    let name = args.file.display().to_string();
    let mut report = Report {
        people: people.len(),
        defined: Vec::new(),
        checked: Vec::new(),
        faults: faults
            .into_iter()
            .map(|(line, error)| Fault {
                file: name.clone(),
                line,
                user: None,
                error: error.to_owned(),
            })
            .collect(),
    };
    let mut sound = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for person in &people {
        match ask(client, person, args.replace, true).await? {
            Ok(found) => match known.insert(found.user, person.line) {
                None => sound.push(person),
                // Which of the two is meant would be a guess: neither is stored.
                Some(line) => {
                    sound.retain(|other: &&read::Person| other.line != line);
                    report
                        .faults
                        .push(fault(&name, person, format!("is the same person as in line {line}")));
                }
            },
            Err(error) => report.faults.push(fault(&name, person, error)),
        }
    }
    report.faults.sort_by_key(|fault| fault.line);
    let checked = |person: &&read::Person| person.user.clone();
    if args.dry_run || (!report.faults.is_empty() && !args.skip_faulty) {
        report.checked = sound.iter().map(checked).collect();
        return told(&report, args, out);
    }
    for person in sound {
        match ask(client, person, args.replace, false).await? {
            Ok(defined) => report.defined.push(defined.login),
            Err(error) => report.faults.push(fault(&name, person, error)),
        }
    }
    told(&report, args, out)
}

/// Has a person's answers looked at or defined; the inner error is about this person, the outer one about the server.
async fn ask(
    client: &AdminClient,
    person: &read::Person,
    replace: bool,
    check: bool,
) -> Result<Result<DefinedAnswers, String>, CliError> {
    let body = request(
        &person.user,
        person.directory.as_deref(),
        &person.answers,
        replace,
        check,
    );
    let mut tries = 0;
    loop {
        match client.post("/v1/answers/define", &body).await {
            Ok(defined) => return Ok(Ok(defined)),
            Err(ClientError::Api(error)) => match error.kind {
                // What is hashed for others takes its time, and a directory may come back.
                ErrorKind::Unavailable if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                // None of these is about one person.
                ErrorKind::Unauthenticated | ErrorKind::Confirm | ErrorKind::Throttled => {
                    return Err(ClientError::Api(error).into());
                }
                ErrorKind::Denied
                | ErrorKind::Unavailable
                | ErrorKind::Invalid
                | ErrorKind::NotFound
                | ErrorKind::Refused
                | ErrorKind::Faulty
                | ErrorKind::Internal => return Ok(Err(error.error)),
            },
            Err(
                error @ (ClientError::Unreachable(..)
                | ClientError::Forbidden(_)
                | ClientError::Broken(..)
                | ClientError::Taken(_)),
            ) => return Err(error.into()),
        }
    }
}

fn told(report: &Report, args: &ImportArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let exit = match (report.faults.is_empty(), report.defined.is_empty()) {
        (true, _) => Exit::Done,
        (false, false) => Exit::Refused,
        (false, true) => Exit::Usage,
    };
    if out.json {
        out.json(report)?;
        return Ok(exit);
    }
    for fault in &report.faults {
        out.line(fault.to_string())?;
    }
    let (people, defined, checked) = (report.people, report.defined.len(), report.checked.len());
    out.line(if args.dry_run {
        format!("{checked} of {people} people are without fault; nothing was stored")
    } else if defined == 0 && !report.faults.is_empty() {
        format!("{checked} of {people} people are without fault; nothing was stored because of the others")
    } else {
        format!("{defined} of {people} people have answers now; delete the file, it holds them in the clear")
    })?;
    Ok(exit)
}

fn fault(file: &str, person: &read::Person, error: String) -> Fault {
    Fault {
        file: file.to_owned(),
        line: person.line,
        user: Some(person.user.clone()),
        error,
    }
}

/// The file, bounded.
fn contents(file: &Path) -> Result<Zeroizing<String>, CliError> {
    let failed = |error: io::Error| CliError::File(format!("cannot read {}: {error}", file.display()), None);
    let opened = File::open(file).map_err(failed)?;
    let size = usize::try_from(opened.metadata().map_err(failed)?.len()).unwrap_or(usize::MAX);
    // All of it at once: a buffer that grows leaves what it held behind.
    let mut text = Zeroizing::new(String::with_capacity(size.min(MAX_OCTETS) + 1));
    let most = u64::try_from(MAX_OCTETS + 1).unwrap_or(u64::MAX);
    opened.take(most).read_to_string(&mut text).map_err(failed)?;
    if text.len() > MAX_OCTETS {
        let remedy = "divide it into several";
        let what = format!("{} is larger than {} MiB", file.display(), MAX_OCTETS >> 20);
        return Err(CliError::File(what, Some(remedy)));
    }
    Ok(text)
}

/// Largest file read, in octets.
const MAX_OCTETS: usize = 64 << 20;

/// Times that a person is tried again while the server is too busy.
const TRIES: u32 = 20;

/// How long to wait before that.
const PAUSE: Duration = Duration::from_millis(500);
