//! `portcullis answers`

mod import;

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::output::{CliError, Out, confirm, moment, read_line, read_secret};
use super::{Exit, UserArg};
use crate::admin::api::{
    AnswerGiven, AnswersView, DefinedAnswers, QuestionView, QuestionWord, QuestionsRequest, QuestionsView,
};
use crate::admin::client::AdminClient;
use crate::secret::Secret;

#[derive(Debug, Args)]
pub(super) struct AnswersArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the question policy in force: what is to be defined and asked
    #[command(after_help = QUESTIONS_HELP)]
    Questions {
        /// Language of the wordings, such as de [default: the policy's]
        #[arg(long, value_name = "LANGUAGE")]
        language: Option<String>,
    },
    /// Define a person's answers, typed unseen or read from standard input
    #[command(after_help = DEFINE_HELP)]
    Define(DefineArgs),
    /// Define the answers of many people from a file
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Show which questions a person has answered, since when, and whether the answers count
    #[command(after_help = SHOW_HELP)]
    Show(UserArg),
    /// Let a person's answers count no more until they are unlocked
    #[command(after_help = LOCK_HELP)]
    Lock(UserArg),
    /// Let locked answers count again, and forget the wrong rounds
    #[command(after_help = UNLOCK_HELP)]
    Unlock(UserArg),
    /// Let answers count no more until the person has defined them anew
    #[command(after_help = MUST_UPDATE_HELP)]
    MustUpdate(UserArg),
    /// Take a person's answers away for good
    #[command(after_help = UNREGISTER_HELP)]
    Unregister {
        #[command(flatten)]
        user: UserArg,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Note that a person's answers still are right: the interval of reconfirmation begins anew
    #[command(after_help = RECONFIRM_HELP)]
    Reconfirm(UserArg),
}

#[derive(Debug, Args)]
struct DefineArgs {
    #[command(flatten)]
    user: UserArg,
    /// Read them from standard input as JSON: [{"question": "…", "answer": "…", "own": "…"}]
    #[arg(long, conflicts_with = "language")]
    stdin: bool,
    /// Replace answers that there are
    #[arg(long)]
    replace: bool,
    /// Language of the questions, such as de [default: the policy's]
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<String>,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// CSV with a line of names first, or JSON
    file: PathBuf,
    /// Look at every person and say what is wrong; store nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace answers that there are; otherwise people who have some are faults
    #[arg(long)]
    replace: bool,
    /// Define those who are without fault even when others are not
    #[arg(long, conflicts_with = "dry_run")]
    skip_faulty: bool,
}

pub(super) async fn run(args: AnswersArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Questions { language } => {
            let questions: QuestionsView = client.get("/v1/questions", &QuestionsRequest { language }).await?;
            print_questions(&questions, out)
        }
        Verb::Define(args) => define(args, client, out).await,
        Verb::Import(args) => import::run(&args, client, out).await,
        Verb::Show(user) => {
            let view: AnswersView = client.get("/v1/answers", &user.to_request()).await?;
            print_answers(&view, out)
        }
        Verb::Lock(user) => change("lock", &user, "locked", client, out).await,
        Verb::Unlock(user) => change("unlock", &user, "unlocked", client, out).await,
        Verb::MustUpdate(user) => change("must-update", &user, "to be defined anew", client, out).await,
        Verb::Unregister { user, yes } => {
            if !confirm(yes, &format!("Take the answers of {} away?", user.user))? {
                return Ok(Exit::Refused);
            }
            change("unregister", &user, "gone", client, out).await
        }
        Verb::Reconfirm(user) => change("reconfirm", &user, "confirmed", client, out).await,
    }
}

async fn change(
    verb: &str,
    user: &UserArg,
    done: &str,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let path = format!("/v1/answers/{verb}");
    let view: AnswersView = client.post(&path, &user.to_request()).await?;
    if out.json {
        return out.json(&view);
    }
    out.line(format!("the answers of {} are {done}", view.login))?;
    Ok(Exit::Done)
}

async fn define(args: DefineArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let given = if args.stdin {
        from_stdin()?
    } else {
        let request = QuestionsRequest {
            language: args.language,
        };
        let questions: QuestionsView = client.get("/v1/questions", &request).await?;
        typed(&questions)?
    };
    let request = request(
        &args.user.user,
        args.user.directory.as_deref(),
        &given,
        args.replace,
        false,
    );
    let defined: DefinedAnswers = client.post("/v1/answers/define", &request).await?;
    if out.json {
        return out.json(&defined);
    }
    let replaced = if defined.replaced { ", in place of others" } else { "" };
    out.line(format!(
        "{} has {} answers now{replaced}",
        defined.login, defined.answers
    ))?;
    Ok(Exit::Done)
}

/// The body of `POST /v1/answers/define`.
fn request(user: &str, directory: Option<&str>, given: &[AnswerGiven], replace: bool, check: bool) -> Value {
    let answers: Vec<Value> = given
        .iter()
        .map(|one| json!({ "question": one.question, "own": one.own, "answer": one.answer.expose_str() }))
        .collect();
    json!({ "user": user, "directory": directory, "answers": answers, "replace": replace, "check": check })
}

fn from_stdin() -> Result<Vec<AnswerGiven>, CliError> {
    let mut text = Zeroizing::new(String::new());
    let most = u64::try_from(MAX_INPUT).unwrap_or(u64::MAX);
    io::stdin()
        .lock()
        .take(most)
        .read_to_string(&mut text)
        .map_err(CliError::Io)?;
    serde_json::from_str(&text).map_err(|error| {
        // What serde says may quote what was read; its place does not.
        let place = format!("standard input:{}:{}", error.line(), error.column());
        let what = format!("{place}: this is not a list of answers");
        CliError::Usage(
            what,
            Some("write [{\"question\": \"first-school\", \"answer\": \"…\"}, …]"),
        )
    })
}

/// Most octets of answers read.
const MAX_INPUT: usize = 64 << 10;

/// Asks every question of the policy; those that need not be answered can be left empty.
fn typed(questions: &QuestionsView) -> Result<Vec<AnswerGiven>, CliError> {
    if questions.questions.is_empty() {
        let remedy = "write `questions.toml` into the folder of policies, and reload";
        return Err(CliError::Usage("there are no security questions".into(), Some(remedy)));
    }
    let terminal = io::stdin().is_terminal();
    if terminal {
        let mut stderr = io::stderr();
        writeln!(
            stderr,
            "At least {} answers of {} to {} characters. Leave an answer empty to skip its question.",
            questions.define, questions.min_length, questions.max_length
        )
        .map_err(CliError::Io)?;
    }
    let mut given = Vec::new();
    for question in &questions.questions {
        given.extend(typed_one(question, terminal)?);
    }
    Ok(given)
}

fn typed_one(question: &QuestionView, terminal: bool) -> Result<Option<AnswerGiven>, CliError> {
    let own = match question.kind {
        QuestionWord::UserDefined => {
            let wording = read_line(&format!("{} ", question.text))?;
            if wording.trim().is_empty() {
                return Ok(None);
            }
            Some(wording.trim().to_owned())
        }
        QuestionWord::Mandatory | QuestionWord::Optional | QuestionWord::Helpdesk => None,
    };
    let prompt = own.as_deref().unwrap_or(&question.text);
    loop {
        let answer = read_secret(&format!("{prompt} "))?;
        if answer.is_empty() {
            return Ok(None);
        }
        // What nobody sees is typed twice.
        if terminal && !read_secret("Again: ")?.matches(answer.expose()) {
            writeln!(io::stderr(), "These differ; once more.").map_err(CliError::Io)?;
            continue;
        }
        return Ok(Some(AnswerGiven {
            question: question.id.clone(),
            own,
            answer,
        }));
    }
}

fn print_questions(questions: &QuestionsView, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(questions);
    }
    if questions.questions.is_empty() {
        out.line("there are no security questions: no `questions.toml` in the folder of policies")?;
        return Ok(Exit::Done);
    }
    let every = |days: u32| match days {
        0 => "never".to_owned(),
        days => format!("every {days} days"),
    };
    let locks = match questions.lock_after {
        0 => "never".to_owned(),
        rounds => format!("after {rounds} wrong rounds"),
    };
    out.pairs(&[
        ("define", Some(format!("{} answers at least", questions.define))),
        (
            "ask",
            Some(format!("{}, {} of them right", questions.ask, questions.correct)),
        ),
        (
            "length",
            Some(format!(
                "{} to {} characters",
                questions.min_length, questions.max_length
            )),
        ),
        ("lock", Some(locks)),
        ("anew", Some(every(questions.reconfirm_days))),
    ])?;
    out.line("")?;
    let rows = questions.questions.iter().map(|question| {
        vec![
            question.id.clone(),
            question.kind.word().to_owned(),
            question.text.clone(),
        ]
    });
    let rows = rows.collect();
    out.table(&["QUESTION", "KIND", "TEXT"], rows)?;
    Ok(Exit::Done)
}

fn print_answers(view: &AnswersView, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(view);
    }
    let state = match (view.usable, view.locked) {
        (_, true) => out.news(false, "locked"),
        (true, false) => out.news(true, "they count"),
        (false, false) if view.defined.is_empty() => "none".to_owned(),
        (false, false) => out.news(false, "they do not count"),
    };
    out.pairs(&[
        ("login", Some(view.login.clone())),
        ("key", Some(view.user.clone())),
        ("answers", Some(state)),
        ("confirmed", view.confirmed.map(moment)),
        ("failures", Some(format!("{} wrong rounds in a row", view.failures))),
        ("to define", view.due.clone()),
    ])?;
    if !view.defined.is_empty() {
        out.line("")?;
        let rows = view.defined.iter().map(|one| {
            let kind = one.kind.map_or("not in the policy any more", QuestionWord::word);
            vec![one.question.clone(), kind.to_owned()]
        });
        let rows = rows.collect();
        out.table(&["QUESTION", "KIND"], rows)?;
    }
    Ok(Exit::Done)
}

/// Asks each of these questions, unseen; without a terminal a line of standard input is an answer.
pub(super) fn ask_each<'q>(texts: impl Iterator<Item = &'q str>) -> Result<Vec<Secret>, CliError> {
    texts.map(|text| read_secret(&format!("{text} "))).collect()
}

const QUESTIONS_HELP: &str = "\
Mandatory questions are answered by everybody; optional ones are there to choose from; helpdesk's,
and by default those in a person's own wording, are asked by `portcullis user verify` only.

Examples:
  portcullis answers questions
  portcullis answers questions --language de --json | jq -r '.questions[].id'";

const DEFINE_HELP: &str = "\
All answers of the person are given at once; none is stored unless all of them are in order. They
are kept as slow hashes and never shown again. Nobody defines their own here.

Examples:
  portcullis answers define ana
  portcullis answers define ana --stdin --replace < ana.json";

const IMPORT_HELP: &str = "\
CSV: the first line names the columns `user`, `question`, `answer`, and if needed `own` (the
wording of a user-defined question) and `directory`; then one answer a line, in any order.
JSON: a list, or one document a line, of
  {\"user\": \"ana\", \"answers\": [{\"question\": \"first-school\", \"answer\": \"…\"}]}
Every person is looked at first. A fault is printed with file and line, and then nothing is stored
at all, or with --skip-faulty only what is without fault. A person's answers are stored together or
not at all. The file holds the answers in the clear: delete it afterwards.

Examples:
  portcullis answers import answers.csv --dry-run
  portcullis answers import answers.csv --skip-faulty
  portcullis answers import answers.json --replace --json";

const SHOW_HELP: &str = "\
Example:
  portcullis answers show ana";

const LOCK_HELP: &str = "\
Who has no answers cannot define any until they are unlocked.

Example:
  portcullis answers lock ana";

const UNLOCK_HELP: &str = "\
Example:
  portcullis answers unlock ana";

const MUST_UPDATE_HELP: &str = "\
The person is asked for new ones after the next full login, where a workflow does that.

Example:
  portcullis answers must-update ana";

const UNREGISTER_HELP: &str = "\
A lock of the answers goes with them.

Example:
  portcullis answers unregister ana --yes";

const RECONFIRM_HELP: &str = "\
For someone who has told you that nothing has changed. Answers of an older question policy still
are to be defined anew.

Example:
  portcullis answers reconfirm ana";
