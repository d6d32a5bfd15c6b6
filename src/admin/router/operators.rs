//! The routes of `/v1/operator…`.

use std::time::Duration;

use axum::extract::{Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{AdminState, Answer, MAX_ROWS};
use crate::accounts::{Actor, ApiTokenWish};
use crate::admin::api::{
    ApiError, ApiTokenIssued, ApiTokenRef, ApiTokenView, ApiTokensRequest, ErrorKind, GrantView, IssueApiTokenRequest,
    OperatorList, OperatorRow, OperatorView, RegenerateApiTokenRequest,
};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Book, Confirmation, Operator, Target, Verb, authorize, judge};
use crate::clock;
use crate::engine::operator::{Grant, Role, Scope, account_of, limited};

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/operator", get(show))
        .route("/v1/operators", get(list))
        .route("/v1/operator/tokens", get(tokens))
        .route("/v1/operator/token/issue", post(issue))
        .route("/v1/operator/token/regenerate", post(regenerate))
        .route("/v1/operator/token/revoke", post(revoke))
}

async fn show(Extension(operator): Extension<Operator>) -> Answer<OperatorView> {
    authorize(&operator, Verb::ReadOwn, Target::Nobody)?;
    let may = |verb: &&Verb| judge(&operator, **verb, Target::Nobody).is_ok();
    let verbs = Verb::ALL.iter().filter(may).map(|verb| verb.word().to_owned());
    let confirmation = match &operator.confirmation {
        Confirmation::NotNeeded => "not-needed",
        Confirmation::Due | Confirmation::Given => "needed",
        Confirmation::Impossible => "impossible",
        Confirmation::Unknown(_) => "unknown",
    };
    Ok(Json(OperatorView {
        verbs: verbs.collect(),
        grants: operator.grants.iter().map(GrantView::of).collect(),
        confirmation: confirmation.to_owned(),
        name: operator.name,
        unresolved: operator.unresolved,
    }))
}

async fn list(State(state): State<AdminState>, Extension(operator): Extension<Operator>) -> Answer<OperatorList> {
    authorize(&operator, Verb::ReadOperators, Target::Nobody)?;
    let book = state.control.book();
    let administrator = |name: &str| OperatorRow {
        kind: "account".into(),
        name: name.to_owned(),
        directory: None,
        grants: vec![GrantView::of(&Grant::of(Role::Administrator))],
    };
    let root = std::iter::once("root");
    let named = root.chain(
        book.admin
            .operators
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "root"),
    );
    let mut operators: Vec<OperatorRow> = named.map(administrator).collect();
    for entry in &book.entries {
        let named = [
            ("account", &entry.account),
            ("unix-group", &entry.unix_group),
            ("group", &entry.group),
        ];
        let Some((kind, name)) = named.into_iter().find_map(|(kind, name)| Some((kind, name.as_ref()?))) else {
            continue;
        };
        operators.push(OperatorRow {
            kind: kind.to_owned(),
            name: name.clone(),
            directory: entry.directory.clone(),
            grants: entry.grants().iter().map(GrantView::of).collect(),
        });
    }
    Ok(Json(OperatorList { operators }))
}

async fn tokens(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<ApiTokensRequest>,
) -> Answer<Vec<ApiTokenView>> {
    let own = account_of(&operator.name);
    let account = match (&request.account, request.all) {
        (Some(_), true) => {
            let error = "either `account` or `all` says whose tokens";
            return Err(ApiError::new(ErrorKind::Invalid, error));
        }
        (Some(account), false) => Some(account.as_str()),
        (None, true) => None,
        (None, false) => Some(own),
    };
    let verb = match account == Some(own) {
        true => Verb::ReadOwn,
        false => Verb::ReadOperators,
    };
    authorize(&operator, verb, Target::Nobody)?;
    Ok(Json(state.accounts.api_tokens(account, MAX_ROWS, clock::now()).await?))
}

async fn issue(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<IssueApiTokenRequest>,
) -> Answer<ApiTokenIssued> {
    let own = account_of(&operator.name);
    let account = request.account.clone().unwrap_or_else(|| own.to_owned());
    may_change(&operator, &account)?;
    by_no_token(&operator)?;
    let book = state.control.book();
    let wanted = wanted(&request)?;
    // An administrator may be all that others are; what counts is what the account is.
    let held = if account == own {
        operator.grants.clone()
    } else {
        let local = book.local(&account).await;
        let (held, unresolved) = state.grants_of(&book, &account, local.own).await;
        if let Some(reason) = unresolved {
            return Err(ApiError::new(ErrorKind::Unavailable, reason).with_remedy("see `portcullis status`"));
        }
        held
    };
    for grant in &wanted {
        if limited(std::slice::from_ref(grant), &held).is_empty() {
            let error = format!("`{account}` is not {}, so no token of that account can be", grant.role);
            return Err(
                ApiError::new(ErrorKind::Denied, error).with_remedy("`portcullis operator show` tells your roles")
            );
        }
    }
    let wish = ApiTokenWish {
        account,
        name: request.name,
        grants: wanted,
        life: life(&book, request.life_secs)?,
    };
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.issue_api_token(wish, by).await?))
}

async fn regenerate(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<RegenerateApiTokenRequest>,
) -> Answer<ApiTokenIssued> {
    let (account, name) = split(&operator, &request.token);
    may_change(&operator, account)?;
    by_no_token(&operator)?;
    let (life, by) = (
        life(&state.control.book(), request.life_secs)?,
        Actor::now(&operator.name),
    );
    Ok(Json(
        state.accounts.regenerate_api_token(account, name, life, by).await?,
    ))
}

async fn revoke(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ApiTokenRef>,
) -> Answer<ApiTokenView> {
    let (account, name) = split(&operator, &request.token);
    may_change(&operator, account)?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.revoke_api_token(account, name, by).await?))
}

fn may_change(operator: &Operator, account: &str) -> Result<(), ApiError> {
    let verb = match account == account_of(&operator.name) {
        true => Verb::ChangeOwn,
        false => Verb::ChangeOperators,
    };
    authorize(operator, verb, Target::Nobody)
}

/// Whoever has got hold of a token must not be able to make it last.
fn by_no_token(operator: &Operator) -> Result<(), ApiError> {
    if !operator.name.contains('/') {
        return Ok(());
    }
    let error = ApiError::new(ErrorKind::Denied, "an API token makes no API tokens");
    Err(error.with_remedy("use the admin socket, from the account itself"))
}

fn split<'t>(operator: &'t Operator, token: &'t str) -> (&'t str, &'t str) {
    token
        .split_once('/')
        .unwrap_or_else(|| (account_of(&operator.name), token))
}

fn wanted(request: &IssueApiTokenRequest) -> Result<Vec<Grant>, ApiError> {
    let invalid = |error: String| ApiError::new(ErrorKind::Invalid, error);
    if request.roles.is_empty() {
        return Err(invalid("a token needs a role".into()));
    }
    if request.roles.contains(&Role::Automation) == request.verbs.is_empty() {
        return Err(invalid("`verbs` go with the role \"automation\"".into()));
    }
    if let Some(word) = request.verbs.iter().find(|word| Verb::parse(word).is_none()) {
        return Err(invalid(format!("there is no verb `{word}`")).with_remedy("docs/cli.md lists them"));
    }
    let scope = request.scope.normalised();
    let names = || scope.group.iter().chain(&scope.dn_suffix);
    if names().any(String::is_empty) || names().count() > Scope::MOST {
        return Err(invalid(format!(
            "a scope is up to {} names, none of them empty",
            Scope::MOST
        )));
    }
    if !scope.is_everybody() {
        if let Some(role) = request.roles.iter().find(|role| !role.takes_scope()) {
            return Err(invalid(format!("a scope means nothing to {role}")));
        }
        let is_run = |verb: &Verb| !verb.manner().is_about_people();
        if let Some(verb) = request.verbs.iter().filter_map(|word| Verb::parse(word)).find(is_run) {
            let error = format!("{} is not about people: it goes with no scope", verb.word());
            return Err(invalid(error));
        }
    }
    let mut roles = request.roles.clone();
    roles.sort_unstable();
    roles.dedup();
    let grant = |role: Role| Grant {
        role,
        within: match scope.is_everybody() {
            true => Vec::new(),
            false => vec![scope.clone()],
        },
        verbs: match role == Role::Automation {
            true => request.verbs.clone(),
            false => Vec::new(),
        },
    };
    Ok(roles.into_iter().map(grant).collect())
}

fn life(book: &Book, secs: Option<u64>) -> Result<Duration, ApiError> {
    let most = book.admin.token_life;
    match secs.map(Duration::from_secs) {
        None => Ok(most),
        Some(life) if (Duration::from_secs(60)..=most).contains(&life) => Ok(life),
        Some(_) => {
            let error = format!("a token lives from a minute to {} seconds", most.as_secs());
            Err(ApiError::new(ErrorKind::Invalid, error).with_remedy("`admin.token_life` is the longest"))
        }
    }
}
