//! `portcullis operator`

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::{Args, Subcommand};

use super::Exit;
use super::output::{CliError, Out, moment, moment_or_never, read_secret};
use crate::admin::api::{
    ApiTokenIssued, ApiTokenRef, ApiTokenView, ApiTokensRequest, GrantView, IssueApiTokenRequest, OperatorList,
    OperatorView, RegenerateApiTokenRequest, Role, Scope,
};
use crate::admin::client::AdminClient;
use crate::secret::Secret;

#[derive(Debug, Args)]
pub(super) struct OperatorArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show who asks: the name in the audit, roles, scopes, and what may be done
    #[command(after_help = SHOW_HELP)]
    Show,
    /// List who may do what, as the configuration says
    #[command(after_help = LIST_HELP)]
    List,
    /// API tokens: issue, list, make anew, revoke
    Token(TokenArgs),
}

#[derive(Debug, Args)]
struct TokenArgs {
    #[command(subcommand)]
    verb: TokenVerb,
}

#[derive(Debug, Subcommand)]
enum TokenVerb {
    /// Issue an API token, shown this once
    #[command(after_help = ISSUE_HELP)]
    Issue {
        /// Its name: letters, digits, dots, dashes and underscores
        name: String,
        /// A role that it has; several may be given
        #[arg(long, value_name = "ROLE", required = true, value_parser = role)]
        role: Vec<Role>,
        /// The account that it acts as; one's own when left out
        #[arg(long = "for", value_name = "ACCOUNT")]
        account: Option<String>,
        /// Only for members of this group; several may be given
        #[arg(long, value_name = "GROUP")]
        group: Vec<String>,
        /// Only for people below this distinguished name; several may be given
        #[arg(long, value_name = "DN")]
        dn_suffix: Vec<String>,
        /// A verb that it may, for the role automation; several may be given
        #[arg(long = "verb", value_name = "VERB")]
        verbs: Vec<String>,
        #[command(flatten)]
        life: Life,
    },
    /// List API tokens, one's own or others', without the tokens
    #[command(after_help = TOKENS_HELP)]
    List {
        /// The account whose tokens; one's own when left out
        account: Option<String>,
        /// Everybody's
        #[arg(long, conflicts_with = "account")]
        all: bool,
    },
    /// Make an API token anew, shown this once; the one before is void at once
    #[command(after_help = REGENERATE_HELP)]
    Regenerate {
        /// ACCOUNT/NAME, or NAME of one's own
        token: String,
        #[command(flatten)]
        life: Life,
    },
    /// Revoke an API token
    #[command(after_help = REVOKE_HELP)]
    Revoke {
        /// ACCOUNT/NAME, or NAME of one's own
        token: String,
    },
}

#[derive(Debug, Args)]
struct Life {
    /// How long it lives, in days; as long as configured when left out, which is 90
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=366))]
    days: Option<u64>,
}

impl Life {
    fn secs(&self) -> Option<u64> {
        self.days.map(|days| days * 86_400)
    }
}

fn role(word: &str) -> Result<Role, String> {
    let known = || Role::ALL.map(Role::word).join(", ");
    Role::parse(word).ok_or_else(|| format!("there are {}", known()))
}

pub(super) async fn run(args: OperatorArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Show => {
            let operator: OperatorView = client.get("/v1/operator", &()).await?;
            print_operator(&operator, out)
        }
        Verb::List => {
            let list: OperatorList = client.get("/v1/operators", &()).await?;
            print_list(&list, out)
        }
        Verb::Token(args) => token(args.verb, client, out).await,
    }
}

async fn token(verb: TokenVerb, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match verb {
        TokenVerb::Issue {
            name,
            role,
            account,
            group,
            dn_suffix,
            verbs,
            life,
        } => {
            let request = IssueApiTokenRequest {
                name,
                account,
                roles: role,
                scope: Scope { group, dn_suffix },
                verbs,
                life_secs: life.secs(),
            };
            let issued: ApiTokenIssued = client.post("/v1/operator/token/issue", &request).await?;
            print_issued(&issued, out)
        }
        TokenVerb::Regenerate { token, life } => {
            let request = RegenerateApiTokenRequest {
                token,
                life_secs: life.secs(),
            };
            let issued: ApiTokenIssued = client.post("/v1/operator/token/regenerate", &request).await?;
            print_issued(&issued, out)
        }
        TokenVerb::List { account, all } => {
            let tokens: Vec<ApiTokenView> = client
                .get("/v1/operator/tokens", &ApiTokensRequest { account, all })
                .await?;
            print_tokens(&tokens, out)
        }
        TokenVerb::Revoke { token } => {
            let revoked: ApiTokenView = client.post("/v1/operator/token/revoke", &ApiTokenRef { token }).await?;
            if out.json {
                return out.json(&revoked);
            }
            out.line(format!("API token {}/{} is revoked", revoked.account, revoked.name))?;
            Ok(Exit::Done)
        }
    }
}

fn print_operator(operator: &OperatorView, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(operator);
    }
    let roles: Vec<String> = operator.grants.iter().map(in_words).collect();
    let confirmation = match operator.confirmation.as_str() {
        "needed" => "sensitive verbs take a code of your token",
        "impossible" => "sensitive verbs take a code, and you have no token",
        "unknown" => "whether sensitive verbs take a code is not known now",
        _ => "no code is asked for",
    };
    out.pairs(&[
        ("operator", Some(operator.name.clone())),
        ("roles", Some(roles.join("\n"))),
        ("code", Some(confirmation.to_owned())),
        ("verbs", Some(operator.verbs.join(" "))),
        ("not known", operator.unresolved.clone()),
    ])?;
    Ok(Exit::Done)
}

fn print_list(list: &OperatorList, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(list);
    }
    let rows = list.operators.iter().map(|row| {
        let name = match &row.directory {
            Some(directory) => format!("{} in {directory}", row.name),
            None => row.name.clone(),
        };
        let roles: Vec<String> = row.grants.iter().map(in_words).collect();
        vec![row.kind.clone(), name, roles.join("; ")]
    });
    let rows = rows.collect();
    out.table(&["KIND", "NAME", "ROLES"], rows)?;
    Ok(Exit::Done)
}

fn print_issued(issued: &ApiTokenIssued, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(issued);
    }
    let token = &issued.token;
    let roles: Vec<String> = token.grants.iter().map(in_words).collect();
    out.pairs(&[
        ("token", Some(format!("{}/{}", token.account, token.name))),
        ("roles", Some(roles.join("\n"))),
        ("expires", Some(moment(token.expires))),
        ("secret", Some(issued.secret.clone())),
    ])?;
    out.line("Shown this once. Send it as `Authorization: Bearer …`, or give it to the CLI in PORTCULLIS_TOKEN.")?;
    Ok(Exit::Done)
}

fn print_tokens(tokens: &[ApiTokenView], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(&tokens);
    }
    if tokens.is_empty() {
        out.line("no API tokens")?;
    }
    let rows = tokens.iter().map(|token| {
        let roles: Vec<String> = token.grants.iter().map(in_words).collect();
        let from = token.used_from.map(|from| from.to_string());
        vec![
            format!("{}/{}", token.account, token.name),
            roles.join("; "),
            token.issued_by.clone(),
            moment(token.expires),
            moment_or_never(token.last_used),
            from.unwrap_or_default(),
        ]
    });
    let rows = rows.collect();
    out.table(&["TOKEN", "ROLES", "ISSUED BY", "EXPIRES", "LAST USED", "FROM"], rows)?;
    Ok(Exit::Done)
}

fn in_words(grant: &GrantView) -> String {
    let mut text = grant.role.to_string();
    for scope in &grant.scope {
        text.push_str(&format!(" for {scope}"));
    }
    if !grant.verbs.is_empty() {
        text.push_str(&format!(": {}", grant.verbs.join(", ")));
    }
    text
}

/// Asks for the operator's own code, unseen; from standard input where that is no terminal.
pub(super) fn ask_code(why: &str) -> Option<Secret> {
    let code = read_secret(&format!("{why}: ")).ok()?;
    let text = code.expose_str()?.trim();
    (!text.is_empty()).then(|| Secret::new(text))
}

/// The API token to act by: of the file, else of the environment.
pub(super) fn own_token(file: Option<&Path>) -> Result<Option<Secret>, CliError> {
    let Some(file) = file else {
        let token = std::env::var_os("PORTCULLIS_TOKEN").filter(|token| !token.is_empty());
        return Ok(token.map(|token| Secret::new(token.as_encoded_bytes().trim_ascii())));
    };
    let shown = file.display();
    let failed = |error: std::io::Error| CliError::File(format!("{shown} cannot be read: {error}"), None);
    let mode = std::fs::metadata(file).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let what = format!(
            "{shown} holds an API token and is readable by others (mode {:o})",
            mode & 0o777
        );
        return Err(CliError::File(what, Some("run `chmod 600` on it")));
    }
    let octets = zeroize::Zeroizing::new(std::fs::read(file).map_err(failed)?);
    let token = octets.trim_ascii();
    if token.is_empty() {
        return Err(CliError::File(format!("{shown} holds no API token"), None));
    }
    Ok(Some(Secret::new(token)))
}

const SHOW_HELP: &str = "\
Example:
  portcullis operator show";

const LIST_HELP: &str = "\
Example:
  portcullis operator list";

const ISSUE_HELP: &str = "\
A token acts as its account, and may no more than the account may at that moment. The role automation
has the verbs that are listed with --verb, and no others.

Examples:
  portcullis operator token issue laptop --role helpdesk --days 30
  portcullis operator token issue backup --role automation --verb backup --verb status
  portcullis operator token issue desk --for carol --role helpdesk --group staff";

const TOKENS_HELP: &str = "\
Example:
  portcullis operator token list --all";

const REGENERATE_HELP: &str = "\
Example:
  portcullis operator token regenerate laptop --days 30";

const REVOKE_HELP: &str = "\
Example:
  portcullis operator token revoke carol/laptop";
