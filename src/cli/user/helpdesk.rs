//! `portcullis user unlock|reset|must-change|enable|disable|unregister`

use clap::Args;

use super::bulk::{self, BulkArgs};
use crate::admin::api::{
    ForceRequest, Forced, InDirectory, PasswordReset, ScheduledAction, SwitchReport, Switched, UnlockRequest, Unlocked,
    UnregisterRequest, Unregistered,
};
use crate::admin::client::AdminClient;
use crate::cli::output::{CliError, Out, Tone, confirm};
use crate::cli::{Exit, UserArg, deny, schedule};
use crate::clock::Timestamp;

#[derive(Debug, Args)]
pub(super) struct UnlockArgs {
    #[command(flatten)]
    user: UserArg,
    /// The directory's lock only
    #[arg(long)]
    account: bool,
    /// Our own lock only
    #[arg(long)]
    profile: bool,
    /// The answers to security questions; alone, nothing else
    #[arg(long)]
    answers: bool,
}

#[derive(Debug, Args)]
pub(super) struct MustChangeArgs {
    /// Login name, distinguished name, or key of the record
    #[arg(required_unless_present = "filter", conflicts_with = "filter")]
    user: Option<String>,
    /// Ask this directory only
    #[arg(long, value_name = "NAME")]
    directory: Option<String>,
    /// Not any more
    #[arg(long, conflicts_with_all = ["filter", "at"])]
    undo: bool,
    #[command(flatten)]
    bulk: BulkArgs,
    /// When: a moment, a date, or a span from now; at once, if left out
    #[arg(long, value_name = "TIME", value_parser = deny::parse_until)]
    at: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(super) struct DisableArgs {
    #[command(flatten)]
    user: UserArg,
    /// When: a moment, a date, or a span from now; at once, if left out
    #[arg(long, value_name = "TIME", value_parser = deny::parse_until)]
    at: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(super) struct UnregisterArgs {
    #[command(flatten)]
    user: UserArg,
    /// Let them enrol with the password alone, as if they had never had a second factor
    #[arg(long)]
    as_new: bool,
    /// Do it without being asked
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn unlock(args: UnlockArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let request = UnlockRequest {
        user: args.user.user,
        directory: args.user.directory,
        account: args.account,
        profile: args.profile,
        answers: args.answers,
    };
    let unlocked: Unlocked = client.post("/v1/user/unlock", &request).await?;
    let exit = match &unlocked.account {
        Some(InDirectory::Failed(_)) => Exit::Refused,
        Some(InDirectory::Done | InDirectory::Unsupported) | None => Exit::Done,
    };
    if out.json {
        out.json(&unlocked)?;
        return Ok(exit);
    }
    let login = &unlocked.login;
    if args.profile || !(args.account || args.answers) {
        let state = if unlocked.was_locked {
            "was locked out"
        } else {
            "was not locked out"
        };
        out.line(format!("{login} {state}; {} failures forgotten", unlocked.cleared))?;
    }
    if args.answers {
        let state = if unlocked.answers {
            "the answers were locked, and count again"
        } else {
            "the answers were not locked"
        };
        out.line(format!("{login}: {state}"))?;
    }
    if let Some(account) = &unlocked.account {
        let done = format!("{login}: no lock of the directory is left");
        print_told(account, &done, "the directory has no locks", out)?;
    }
    Ok(exit)
}

pub(super) async fn reset(user: &UserArg, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let reset: PasswordReset = client.post("/v1/user/reset", &user.to_request()).await?;
    if out.json {
        return out.json(&reset);
    }
    let password = out.tint(Tone::Bold, &reset.password);
    out.line(format!("new password of {}: {password}", reset.login))?;
    out.line("It is shown this once, and has to be changed at the next login.")?;
    Ok(Exit::Done)
}

pub(super) async fn must_change(
    args: MustChangeArgs,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let Some(user) = args.user else {
        let Some(directory) = args.directory else {
            let what = "--filter needs --directory: the one that is searched".to_owned();
            return Err(CliError::Usage(what, Some("`portcullis status` names the directories")));
        };
        return bulk::must_change(directory, args.bulk, args.at, client, out).await;
    };
    let user = UserArg {
        user,
        directory: args.directory,
    };
    if let Some(at) = args.at {
        return schedule::add(at, ScheduledAction::ForceChange(user.to_request()), client, out).await;
    }
    let request = ForceRequest {
        user: user.user,
        directory: user.directory,
        undo: args.undo,
    };
    let forced: Forced = client.post("/v1/user/must-change", &request).await?;
    let exit = match &forced.directory {
        InDirectory::Failed(_) => Exit::Refused,
        InDirectory::Done | InDirectory::Unsupported => Exit::Done,
    };
    if out.json {
        out.json(&forced)?;
        return Ok(exit);
    }
    let login = &forced.login;
    out.line(match (forced.must_change, forced.changed) {
        (true, true) => format!("{login} has to change the password at the next login"),
        (true, false) => format!("{login} had to change the password already"),
        (false, true) => format!("{login} need not change the password any more"),
        (false, false) => format!("{login} did not have to change the password"),
    })?;
    let lack = "the directory has no such thing: it holds here only";
    print_told(&forced.directory, "The directory knows it too.", lack, out)?;
    Ok(exit)
}

pub(super) async fn enable(user: &UserArg, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let enabled: Switched = client.post("/v1/user/enable", &user.to_request()).await?;
    if out.json {
        return out.json(&enabled);
    }
    out.line(format!("the account of {} is enabled", enabled.login))?;
    Ok(Exit::Done)
}

pub(super) async fn disable(args: DisableArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let request = args.user.to_request();
    if let Some(at) = args.at {
        return schedule::add(at, ScheduledAction::Disable(request), client, out).await;
    }
    let report: SwitchReport = client.post("/v1/user/disable", &request).await?;
    if out.json {
        return out.json(&report);
    }
    out.line(format!("the account of {} is disabled", report.switched.login))?;
    deny::print_ended(report.connections, &report.sessions, report.not_asked.as_deref(), out)?;
    Ok(Exit::Done)
}

pub(super) async fn unregister(
    args: UnregisterArgs,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let question = format!(
        "Take all tokens, recovery codes, answers and the passcode from `{}`?",
        args.user.user
    );
    if !confirm(args.yes, &question)? {
        out.line("nothing was done")?;
        return Ok(Exit::Refused);
    }
    let request = UnregisterRequest {
        user: args.user.user,
        directory: args.user.directory,
        as_new: args.as_new,
    };
    let taken: Unregistered = client.post("/v1/user/unregister", &request).await?;
    if out.json {
        return out.json(&taken);
    }
    let mut what = format!("{} tokens, {} recovery codes", taken.tokens, taken.recovery_codes);
    for (is_so, words) in [
        (taken.machines > 0, format!(", {} machines", taken.machines)),
        (taken.answers, ", the answers".to_owned()),
        (taken.passcode, ", the passcode".to_owned()),
    ] {
        if is_so {
            what.push_str(&words);
        }
    }
    out.line(format!("taken from {}: {what}", taken.login))?;
    out.line(match taken.as_new {
        true => "They may enrol as if they had never had a second factor.",
        false => "The password alone lets them in nowhere that a second factor is asked for: enrol one for them.",
    })?;
    Ok(Exit::Done)
}

fn print_told(told: &InDirectory, done: &str, unsupported: &str, out: &mut Out<'_>) -> Result<(), CliError> {
    match told {
        InDirectory::Done => out.line(done),
        InDirectory::Unsupported => out.line(unsupported),
        InDirectory::Failed(why) => {
            let text = out.news(false, why);
            out.line(text)
        }
    }
}

pub(super) const UNLOCK_HELP: &str = "\
Both our own lock after too many failures and the directory's are ended; --account or --profile
says which alone. Failures against the recovery codes are forgotten with our own; a token that was
switched off stays off until `portcullis token enable`. A directory's lock that an administrator
has set is none of these: `portcullis user enable`. Exit code 1 when the directory did not do it.

Examples:
  portcullis user unlock ana
  portcullis user unlock ana --account
  portcullis user unlock ana --answers";

pub(super) const RESET_HELP: &str = "\
The password is made up as [generated_passwords] says, set in the directory, and printed this once;
it is kept nowhere. It has to be changed at the next login, here and in the directory. Nobody
resets their own. When the directory did not answer it may have been set: reset it again.

Examples:
  portcullis user reset ana
  portcullis user reset ana --json | jq -r .password";

pub(super) const MUST_CHANGE_HELP: &str = "\
It holds here for every directory, and in the directory where that has such a thing, until the
password is changed through here, or --undo. With --filter it is everybody whom the filter finds
beside the directory's own; --dry-run tells who that is, and who is left out and why. More than 20
are asked about first, unless --yes. It goes on in the server when this command is ended: see
`portcullis schedule`. Exit code 1 when it could not be done with somebody.

Examples:
  portcullis user must-change ana
  portcullis user must-change ana --undo
  portcullis user must-change --directory main --filter '(department=sales)' --dry-run
  portcullis user must-change --directory main --filter '(uid=*)' --not-enrolled --at 2030-01-31";

pub(super) const ENABLE_HELP: &str = "\
Example:
  portcullis user enable ana";

pub(super) const DISABLE_HELP: &str = "\
The directory refuses the account from then on, to everybody who asks it. Open sessions and LDAP
connections are ended as `portcullis deny` does; that keeps somebody out here alone, for a time,
and where the directory cannot be written to.

Examples:
  portcullis user disable ana
  portcullis user disable ana --at 2030-01-31T18:00:00Z";

pub(super) const UNREGISTER_HELP: &str = "\
Tokens, machines, recovery codes, answers and the passcode go at once. That there was a second
factor stays known: the password alone opens nothing and enrols nothing, and another operator has
to enrol a new one, or issue a passcode. With --as-new even that is forgotten; somebody who has the
password can enrol then, where a rule lets newcomers do so. A denial stays.

Examples:
  portcullis user unregister ana
  portcullis user unregister ana --as-new --yes";
