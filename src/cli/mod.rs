//! The command line: noun, then verb. What concerns a running server goes over its admin socket.
//!
//! Answers go to standard output, as tables for people or with `--json` as one JSON document; everything
//! else goes to standard error. Secrets are printed by the command that makes them, once.

mod answers;
mod audit;
mod backup;
mod client;
mod delegation;
mod delivery;
mod deny;
mod ending;
mod health;
mod key;
mod login;
mod manual;
mod offline;
mod operator;
mod output;
mod passcode;
mod password_hash;
mod policy;
pub(crate) mod qr;
mod radius;
mod recovery_codes;
mod rekey;
mod reload;
mod report;
mod request;
mod restore;
mod reuse;
mod schedule;
mod session;
mod status;
mod store;
mod token;
mod top;
mod user;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::admin::api::DEFAULT_SOCKET;
use crate::admin::client::AdminClient;
use output::{CliError, Out};

/// RADIUS and LDAP front door that puts passcode and second-factor policies before the directory you
/// already have.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Args)]
struct Global {
    /// Print one JSON document instead of tables
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// The running server's admin socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "PORTCULLIS_SOCKET",
        hide_env_values = true,
        default_value = DEFAULT_SOCKET,
        help_heading = "Everywhere"
    )]
    socket: PathBuf,
    /// Do it under this approved request, which is used up by it
    #[arg(long, global = true, value_name = "ID", help_heading = "Everywhere")]
    under: Option<String>,
    /// The running server's TLS listener instead, https://HOST[:PORT]; takes an API token
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "PORTCULLIS_URL",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    url: Option<String>,
    /// PEM file of the authorities to verify that listener with; the system's when left out
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        requires = "url",
        help_heading = "Everywhere"
    )]
    ca: Option<PathBuf>,
    /// File with an API token to act by; the token itself may be in PORTCULLIS_TOKEN
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    token_file: Option<PathBuf>,
}

impl Global {
    /// Whom to ask, as whom.
    fn client(&self) -> Result<AdminClient, CliError> {
        let client = match &self.url {
            Some(url) => AdminClient::remote(url, self.ca.as_deref()).map_err(|error| {
                CliError::File(
                    output::in_full(&error),
                    Some("see `portcullis --help` for --url and --ca"),
                )
            })?,
            None => AdminClient::new(&self.socket),
        };
        let client = client
            .confirmed_by(Arc::new(operator::ask_code))
            .under(self.under.clone());
        match operator::own_token(self.token_file.as_deref())? {
            Some(token) => Ok(client.with_token(token)),
            None if self.url.is_some() => Err(CliError::Usage(
                "the TLS listener takes an API token".into(),
                Some("put it into PORTCULLIS_TOKEN, or into a file named by --token-file"),
            )),
            None => Ok(client),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until it is told to stop
    #[command(after_help = SERVE_HELP)]
    Serve(ConfigArgs),
    /// Check a configuration and its policies, and name every fault with its place
    #[command(after_help = CHECK_HELP)]
    Check(ConfigArgs),
    /// Run everything on loopback with made-up users, to try it out
    #[command(after_help = DEMO_HELP)]
    Demo(DemoArgs),
    /// People: find, look at, unlock, reset, switch off and on, verify
    User(user::UserArgs),
    /// Keep a person or a group out for now, show who is kept out, lift it
    #[command(after_help = deny::HELP)]
    Deny(deny::DenyArgs),
    /// What is done later, or to many: list, show, cancel
    Schedule(schedule::ScheduleArgs),
    /// One-time-password tokens: enrol, list, revoke, switch, resynchronise
    Token(token::TokenArgs),
    /// Answers to security questions: define, import, look at, lock
    Answers(answers::AnswersArgs),
    /// Recovery codes: make a new set
    RecoveryCodes(recovery_codes::RecoveryCodesArgs),
    /// Machines that cannot reach a server: keys, responses, and the question there
    Offline(offline::OfflineArgs),
    /// Passcodes for people who cannot log in: issue, release, list, revoke
    Passcode(passcode::PasscodeArgs),
    /// What takes somebody else's approval: ask, list, show, deny, cancel
    Request(request::RequestArgs),
    /// Approve a request
    #[command(after_help = request::APPROVE_HELP)]
    Approve(request::ApproveArgs),
    /// Have somebody else approve in your place: add, list, end
    Delegation(delegation::DelegationArgs),
    /// Policies: check the files, explain a decision, compare, take back
    Policy(policy::PolicyArgs),
    /// RADIUS clients: list, look at, test, forget what was learned
    Client(client::ClientArgs),
    /// Open sessions, as RADIUS accounting tells of them: list, show, end, refresh
    Session(session::SessionArgs),
    /// Codes that count for more than one LDAP bind: list, clear
    Reuse(reuse::ReuseArgs),
    /// How codes reach people: test
    Delivery(delivery::DeliveryArgs),
    /// How the running server is doing
    Status(status::StatusArgs),
    /// Try whether parts work, as those would who use them
    Test(health::TestArgs),
    /// Watch the running server on a live screen
    Top(top::TopArgs),
    /// Count what the audit and people's records say: enrolment, logins, helpdesk, factors
    Report(report::ReportArgs),
    /// The audit: follow, search, export, verify
    Audit(audit::AuditArgs),
    /// Operators: who may do what, API tokens
    Operator(operator::OperatorArgs),
    /// Have the running server read its configuration and policies again
    #[command(after_help = reload::HELP)]
    Reload,
    /// Copy the whole store into one file, while logins go on; check such a file
    #[command(after_help = backup::HELP)]
    Backup(backup::BackupArgs),
    /// Make a store from a backup, while no server runs
    #[command(after_help = restore::HELP)]
    Restore(restore::RestoreArgs),
    /// Put the store under a new key file, while no server runs
    #[command(after_help = rekey::HELP)]
    Rekey(rekey::RekeyArgs),
    /// The store's exports: make, verify, restore, while no server runs
    Store(store::StoreArgs),
    /// Log in as a RADIUS or LDAP client would, to see what happens
    Login(login::LoginArgs),
    /// RADIUS packets: take them apart
    Radius(radius::RadiusArgs),
    /// Key files
    Key(key::KeyArgs),
    /// Write manual pages
    Man(manual::ManArgs),
    /// Print completions for a shell
    Completions(manual::CompletionsArgs),
    /// Hash a password for a local directory's LDIF file
    #[command(after_help = password_hash::HELP)]
    PasswordHash,
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "PORTCULLIS_CONFIG",
        hide_env_values = true,
        default_value = "/etc/portcullis/portcullis.toml"
    )]
    pub config: PathBuf,
}

/// How to run the demonstration.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Folder that everything is kept in; made when missing, found again at the next start
    #[arg(long, value_name = "FOLDER", default_value = "portcullis-demo")]
    pub folder: PathBuf,
    /// Print the code that ana's authenticator shows right now, and nothing else
    #[arg(long)]
    pub code: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused, or the answer is no: a login was rejected, the audit's chain is broken.
    Refused = 1,
    /// The command line, the configuration or the policies have faults.
    Usage = 2,
    /// The server, or something it needs, is out of reach.
    Unreachable = 3,
    /// The account may not do that.
    Denied = 4,
    /// There is no such person, token, passcode or request.
    NotFound = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The commands that are programs of their own, wired where everything is.
pub trait Programs {
    /// Runs the server.
    fn serve(&self, args: &ConfigArgs) -> Exit;
    /// Checks a configuration.
    fn check(&self, args: &ConfigArgs, json: bool) -> Exit;
    /// Runs the demonstration.
    fn demo(&self, args: &DemoArgs) -> Exit;
}

/// Does what the command line says.
pub fn run(cli: Cli, programs: &dyn Programs) -> Exit {
    match cli.command {
        Command::Serve(args) => programs.serve(&args),
        Command::Check(args) => programs.check(&args, cli.global.json),
        Command::Demo(args) => programs.demo(&args),
        command @ (Command::User(_)
        | Command::Deny(_)
        | Command::Schedule(_)
        | Command::Token(_)
        | Command::Answers(_)
        | Command::RecoveryCodes(_)
        | Command::Offline(_)
        | Command::Passcode(_)
        | Command::Request(_)
        | Command::Approve(_)
        | Command::Delegation(_)
        | Command::Policy(_)
        | Command::Client(_)
        | Command::Session(_)
        | Command::Reuse(_)
        | Command::Delivery(_)
        | Command::Status(_)
        | Command::Test(_)
        | Command::Top(_)
        | Command::Report(_)
        | Command::Man(_)
        | Command::Completions(_)
        | Command::Audit(_)
        | Command::Operator(_)
        | Command::Reload
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Rekey(_)
        | Command::Store(_)
        | Command::Login(_)
        | Command::Radius(_)
        | Command::Key(_)
        | Command::PasswordHash) => {
            let mut stdout = std::io::stdout().lock();
            let terminal = stdout.is_terminal();
            let mut out = Out::new(&mut stdout, cli.global.json, terminal);
            let done = cli.global.client().and_then(|client| ask(command, &client, &mut out));
            done.unwrap_or_else(|error| error.report(cli.global.json))
        }
    }
}

fn ask(command: Command, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Io)?;
    runtime.block_on(dispatch(command, client, out))
}

async fn dispatch(command: Command, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match command {
        Command::User(args) => user::run(args, client, out).await,
        Command::Deny(args) => deny::run(args, client, out).await,
        Command::Schedule(args) => schedule::run(args, client, out).await,
        Command::Token(args) => token::run(args, client, out).await,
        Command::Answers(args) => answers::run(args, client, out).await,
        Command::RecoveryCodes(args) => recovery_codes::run(args, client, out).await,
        Command::Offline(args) => offline::run(args, client, out).await,
        Command::Passcode(args) => passcode::run(args, client, out).await,
        Command::Request(args) => request::run(args, client, out).await,
        Command::Approve(args) => request::approve(args, client, out).await,
        Command::Delegation(args) => delegation::run(args, client, out).await,
        Command::Policy(args) => policy::run(args, client, out).await,
        Command::Client(args) => client::run(args, client, out).await,
        Command::Session(args) => session::run(args, client, out).await,
        Command::Reuse(args) => reuse::run(args, client, out).await,
        Command::Delivery(args) => delivery::run(args, client, out).await,
        Command::Status(args) => status::run(args, client, out).await,
        Command::Test(args) => health::run(args, client, out).await,
        Command::Top(args) => top::run(args, client, out).await,
        Command::Report(args) => report::run(args, client, out).await,
        Command::Man(args) => manual::man(&args, out),
        Command::Completions(args) => manual::completions(&args, out),
        Command::Audit(args) => audit::run(args, client, out).await,
        Command::Operator(args) => operator::run(args, client, out).await,
        Command::Reload => reload::run(client, out).await,
        Command::Backup(args) => backup::run(args, client, out).await,
        Command::Restore(args) => restore::run(&args, out),
        Command::Rekey(args) => rekey::run(args, out).await,
        Command::Store(args) => store::run(args, out).await,
        Command::Login(args) => login::run(args, out).await,
        Command::Radius(args) => radius::run(&args, out),
        Command::Key(args) => key::run(&args, out),
        Command::PasswordHash => password_hash::run(out),
        Command::Serve(_) | Command::Check(_) | Command::Demo(_) => {
            Err(CliError::Usage("this command does not ask a server".into(), None))
        }
    }
}

/// The local account that runs this, for the audit.
fn account() -> String {
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    user.map_or_else(|| format!("#{uid}"), |user| user.name)
}

/// Names one person.
#[derive(Clone, Debug, Args)]
struct UserArg {
    /// Login name, distinguished name, or key of the record
    user: String,
    /// Ask this directory only
    #[arg(long, value_name = "NAME")]
    directory: Option<String>,
}

impl UserArg {
    fn to_request(&self) -> crate::admin::api::UserRef {
        crate::admin::api::UserRef {
            user: self.user.clone(),
            directory: self.directory.clone(),
        }
    }
}

const AFTER_HELP: &str = "\
Examples:
  portcullis demo                             try it out, nothing else needed
  portcullis check -c portcullis.toml         is the configuration sound?
  portcullis serve -c portcullis.toml         run the server
  portcullis user show ana                    what is known of ana
  portcullis token enrol ana                  give ana a token, with a QR code
  portcullis audit tail --follow              watch what is decided
  portcullis test --all                       does everything work?
  portcullis top                              a live screen

Exit codes:
  0 done   1 refused, or the answer is no   2 faults in the command line, configuration or policies
  3 the server, or something it needs, is out of reach   4 not allowed   5 not found";

const SERVE_HELP: &str = "\
SIGHUP reads configuration and policies again, as `portcullis reload` does. SIGTERM and SIGINT end
the server after the requests in flight.

Example:
  portcullis serve -c /etc/portcullis/portcullis.toml";

const CHECK_HELP: &str = "\
Every fault is printed as FILE:LINE:COLUMN: KEY: what is wrong and what to do. Exit code 2 when
there is one; warnings alone are 0.

Example:
  portcullis check -c portcullis.toml && portcullis reload";

const DEMO_HELP: &str = "\
Nothing outside the folder is touched, and only loopback addresses are listened on. Ctrl-C ends
it.

Example:
  portcullis demo --folder /tmp/portcullis-demo";

#[cfg(test)]
mod tests;
