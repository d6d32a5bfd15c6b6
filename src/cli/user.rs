//! `portcullis user`

use clap::{Args, Subcommand};

use super::answers::ask_each;
use super::output::{CliError, Out, Tone, moment, read_secret};
use super::{Exit, UserArg, deny, passcode, token};
use crate::admin::api::{
    AccountView, AskRequest, AskView, FindRequest, Found, LoginView, ManagerView, Outcome, UserView, VerifiedUser,
};
use crate::admin::client::AdminClient;
use crate::clock::Timestamp;
use crate::secret::Secret;

mod bulk;
mod helpdesk;

#[derive(Debug, Args)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Search: a whole login name in the directories, a part of one in our records
    #[command(after_help = FIND_HELP)]
    Find {
        /// A login name, or a part of one
        text: String,
        /// Ask this directory only
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
        /// Most rows, up to 1000
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
        limit: usize,
    },
    /// Show everything known of a person: directory, tokens, failures, last login
    #[command(after_help = SHOW_HELP)]
    Show(UserArg),
    /// End the locks that keep a person out: ours after too many failures, and the directory's
    #[command(after_help = helpdesk::UNLOCK_HELP)]
    Unlock(helpdesk::UnlockArgs),
    /// Set a generated password, shown once, to be changed at the next login
    #[command(after_help = helpdesk::RESET_HELP)]
    Reset(UserArg),
    /// Have a password changed at the next login: of one person, or of all whom a filter finds
    #[command(after_help = helpdesk::MUST_CHANGE_HELP)]
    MustChange(helpdesk::MustChangeArgs),
    /// Let an account log in again that was switched off in its directory
    #[command(after_help = helpdesk::ENABLE_HELP)]
    Enable(UserArg),
    /// Switch an account off in its directory, and end what its person has open
    #[command(after_help = helpdesk::DISABLE_HELP)]
    Disable(helpdesk::DisableArgs),
    /// Take away all that a person has enrolled: tokens, recovery codes, answers, passcode
    #[command(after_help = helpdesk::UNREGISTER_HELP)]
    Unregister(helpdesk::UnregisterArgs),
    /// Find out whether a caller is who they say: by a code, or by answers to security questions
    #[command(after_help = VERIFY_HELP)]
    Verify {
        #[command(flatten)]
        user: UserArg,
        /// Ask security questions instead of a code
        #[arg(long)]
        questions: bool,
        /// Language of the questions, such as de [default: the policy's]
        #[arg(long, value_name = "LANGUAGE", requires = "questions")]
        language: Option<String>,
    },
}

pub(super) async fn run(args: UserArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Find { text, directory, limit } => {
            let request = FindRequest {
                text,
                directory,
                limit: Some(limit),
            };
            let found: Found = client.get("/v1/users", &request).await?;
            print_found(&found, out)
        }
        Verb::Show(user) => {
            let view: UserView = client.get("/v1/user", &user.to_request()).await?;
            print_user(&view, out)
        }
        Verb::Verify {
            user,
            questions,
            language,
        } => verify(&user, questions, language, client, out).await,
        Verb::Unlock(args) => helpdesk::unlock(args, client, out).await,
        Verb::Reset(user) => helpdesk::reset(&user, client, out).await,
        Verb::MustChange(args) => helpdesk::must_change(args, client, out).await,
        Verb::Enable(user) => helpdesk::enable(&user, client, out).await,
        Verb::Disable(args) => helpdesk::disable(args, client, out).await,
        Verb::Unregister(args) => helpdesk::unregister(args, client, out).await,
    }
}

async fn verify(
    user: &UserArg,
    questions: bool,
    language: Option<String>,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let (name, directory) = (&user.user, &user.directory);
    let request = if questions {
        let ask = AskRequest {
            user: user.user.clone(),
            directory: user.directory.clone(),
            language,
        };
        let asked: AskView = client.get("/v1/user/verify", &ask).await?;
        let said = ask_each(asked.questions.iter().map(|one| one.text.as_str()))?;
        if said.iter().all(Secret::is_empty) {
            return Err(nothing_said());
        }
        let pairs = asked.questions.iter().zip(&said);
        let answers: Vec<serde_json::Value> = pairs
            .map(|(asked, said)| serde_json::json!({ "question": asked.question, "answer": said.expose_str() }))
            .collect();
        serde_json::json!({ "user": name, "directory": directory, "answers": answers })
    } else {
        let code = read_secret("Code: ")?;
        if code.is_empty() {
            return Err(nothing_said());
        }
        serde_json::json!({ "user": name, "directory": directory, "code": code.expose_str() })
    };
    let verified: VerifiedUser = client.post("/v1/user/verify", &request).await?;
    let exit = if verified.matched { Exit::Done } else { Exit::Refused };
    if out.json {
        out.json(&verified)?;
        return Ok(exit);
    }
    let word = if verified.matched { "match" } else { "no match" };
    let word = out.news(verified.matched, word);
    out.line(word)?;
    Ok(exit)
}

/// What was not said is not judged, and must not count.
fn nothing_said() -> CliError {
    CliError::Usage("nothing was said".into(), Some("type it, or give it on standard input"))
}

fn print_found(found: &Found, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let exit = if found.users.is_empty() {
        Exit::NotFound
    } else {
        Exit::Done
    };
    if out.json {
        out.json(found)?;
        return Ok(exit);
    }
    let rows = found.users.iter().map(|user| {
        vec![
            user.login.clone(),
            user.key.clone(),
            user.tokens.to_string(),
            user.recovery_codes.to_string(),
            if user.denied {
                out.news(false, "denied")
            } else if user.locked {
                out.news(false, "locked")
            } else if user.must_change {
                out.news(false, "must change")
            } else {
                String::new()
            },
            last_login(user.last_login),
            user.dn.clone().unwrap_or_default(),
        ]
    });
    let rows = rows.collect();
    let head = ["LOGIN", "KEY", "TOKENS", "RECOVERY", "STATE", "LAST LOGIN", "DN"];
    out.table(&head, rows)?;
    if found.users.is_empty() {
        out.line("nobody found")?;
    }
    if found.more {
        out.line("there are more; raise --limit or say more of the name")?;
    }
    for reason in &found.unavailable {
        let text = format!("not asked: {reason}");
        let text = out.tint(Tone::Bad, &text);
        out.line(text)?;
    }
    Ok(exit)
}

/// Logins are noted of people of whom there is a record: not knowing of one does not say that there was none.
fn last_login(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "none noted".to_owned(), moment)
}

fn print_user(user: &UserView, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(user);
    }
    let failures = &user.failures;
    let allowed = match failures.limit {
        0 => "without limit".to_owned(),
        limit => format!("of {limit} in {} min", failures.window_secs / 60),
    };
    let locked = match failures.locked_until {
        Some(until) => out.news(false, &format!("locked until {}", moment(until))),
        None if failures.locked => out.news(false, "locked"),
        None => out.news(true, "not locked"),
    };
    let second = match (user.tokens.is_empty(), user.ever_enrolled) {
        (false, _) => None,
        (true, true) => Some("none now, but once: password alone is not enough".to_owned()),
        (true, false) => Some("never enrolled".to_owned()),
    };
    let place = user.directory.as_ref();
    let enabled = place.map(|place| {
        let word = if place.enabled { "enabled" } else { "disabled" };
        out.news(place.enabled, word)
    });
    out.pairs(&[
        ("login", Some(user.login.clone())),
        ("key", Some(user.key.clone())),
        (
            "directory",
            Some(place.map_or_else(|| "in none any more".to_owned(), |place| place.name.clone())),
        ),
        ("dn", place.map(|place| place.dn.clone())),
        ("account", enabled),
        ("state", place.and_then(|place| state(&place.account, out))),
        ("password", place.and_then(|place| password(&place.account))),
        ("manager", place.and_then(|place| manager(&place.manager, out))),
        (
            "groups",
            place
                .filter(|place| !place.groups.is_empty())
                .map(|place| place.groups.join("\n")),
        ),
        ("denied", told(user.denied.iter().map(deny::told), out)),
        (
            "denied group",
            told(user.denied_groups.iter().map(deny::told_of_group), out),
        ),
        (
            "must change",
            user.must_change.as_ref().map(|forced| {
                let told = format!("password at the next login, by {}, {}", forced.by, moment(forced.at));
                out.news(false, &told)
            }),
        ),
        ("privileged", user.privileged.then(|| "yes".to_owned())),
        ("failures", Some(format!("{} {allowed}, {locked}", failures.count))),
        ("last login", Some(last_login(user.last_login))),
        ("sessions", Some(format!("{} open", user.sessions))),
        ("recovery", Some(format!("{} codes left", user.recovery_codes))),
        (
            "answers",
            user.answers.map(|locked| match locked {
                true => out.news(false, "locked"),
                false => "defined".to_owned(),
            }),
        ),
        ("tokens", second),
    ])?;
    if let Some(place) = place {
        for (name, values) in &place.attributes {
            out.line(format!("{name}: {}", values.join(", ")))?;
        }
    }
    if !user.tokens.is_empty() {
        out.line("")?;
        token::print_tokens(&user.tokens, out)?;
    }
    if let Some(passcode) = &user.passcode {
        out.line("")?;
        passcode::print_passcodes(std::slice::from_ref(passcode), out)?;
    }
    if !user.logins.is_empty() {
        out.line("")?;
        print_logins(&user.logins, out)?;
    }
    Ok(Exit::Done)
}

/// Bad news, one a line; nothing where there is none.
fn told(news: impl Iterator<Item = String>, out: &Out<'_>) -> Option<String> {
    let lines: Vec<String> = news.map(|line| out.news(false, &line)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn print_logins(logins: &[LoginView], out: &mut Out<'_>) -> Result<(), CliError> {
    let rows = logins.iter().map(|login| {
        let word = login.outcome.to_string();
        vec![
            moment(login.at),
            out.news(login.outcome == Outcome::Accept, &word),
            login.reason.clone().unwrap_or_default(),
            login.client.clone().unwrap_or_default(),
            login.source.map(|source| source.to_string()).unwrap_or_default(),
            login.factors.join(" "),
        ]
    });
    let rows = rows.collect();
    out.table(&["LOGIN", "OUTCOME", "REASON", "CLIENT", "FROM", "PROVEN"], rows)
}

const FIND_HELP: &str = "\
Directories are asked for the whole name as someone would type it at a login; our own records
(people who have logged in or hold a token) are searched for parts of it. Exit code 5 when nobody
is found.

Examples:
  portcullis user find ana
  portcullis user find smi --limit 200";

const SHOW_HELP: &str = "\
Examples:
  portcullis user show ana
  portcullis user show ana@example.org --directory main
  portcullis user show main:2f0e6a5c-1d4b-4e86-9c5e-0d6d3c1f7a10
  portcullis user show ana --json | jq .failures.locked";

const VERIFY_HELP: &str = "\
The code is typed unseen, or read from standard input: of a token or a recovery code, not a
passcode. With --questions the questions to ask are shown one after the other, and the caller's
answers are typed unseen; from standard input each is a line. Only `match` or `no match` is told
(exit codes 0 and 1). It counts like a login: a right code is spent, wrong codes and answers lock
the person out. Nobody vouches for themselves.

Examples:
  portcullis user verify ana
  portcullis user verify ana --questions --language de";

/// What keeps the directory from letting the account in.
fn state(account: &AccountView, out: &Out<'_>) -> Option<String> {
    let state = match account {
        AccountView::Known(state) => state,
        AccountView::Unknown => return None,
        AccountView::Unavailable(why) => return Some(out.news(false, &format!("unavailable: {why}"))),
    };
    let locked = match state.locked_until {
        Some(until) => format!("locked until {}", moment(until)),
        None => "locked".to_owned(),
    };
    let expired = match state.grace_logins {
        Some(left) => format!("password expired, {left} grace logins left"),
        None => "password expired".to_owned(),
    };
    let said = [
        (state.disabled, "disabled".to_owned()),
        (state.locked, locked),
        (state.must_change, "password must be changed".to_owned()),
        (state.expired, expired),
    ];
    let said: Vec<String> = said
        .into_iter()
        .filter_map(|(is_so, text)| is_so.then_some(text))
        .collect();
    Some(if said.is_empty() {
        out.news(true, "good")
    } else {
        out.news(false, &said.join(", "))
    })
}

fn password(account: &AccountView) -> Option<String> {
    let AccountView::Known(state) = account else {
        return None;
    };
    let set = state.password_set.map(|set| format!("set {}", moment(set)));
    let expires = state
        .password_expires
        .map(|expires| format!("expires {}", moment(expires)));
    let said: Vec<String> = [set, expires].into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn manager(manager: &ManagerView, out: &Out<'_>) -> Option<String> {
    match manager {
        ManagerView::Known { login, dn } => Some(format!("{login} ({dn})")),
        ManagerView::None => None,
        ManagerView::Unavailable(why) => Some(out.news(false, &format!("unavailable: {why}"))),
    }
}
