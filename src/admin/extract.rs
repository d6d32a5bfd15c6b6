//! Requests into types, errors into JSON.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::api::{ApiError, ErrorKind};
use crate::accounts::AccountError;
use crate::audit::AuditError;
use crate::causes::in_full;
use crate::engine::account::Changed;

/// A request's JSON body. The content type does not matter, so that `curl -d` works as it is.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let octets = Bytes::from_request(request, state)
            .await
            .map_err(|error| ApiError::new(ErrorKind::Invalid, error.body_text()))?;
        serde_json::from_slice(&octets).map(Self).map_err(|error| {
            let error = ApiError::new(
                ErrorKind::Invalid,
                format!("the body is not the JSON expected: {}", unquoted(&error)),
            );
            error.with_remedy("docs/cli.md lists the requests with their fields")
        })
    }
}

/// What is wrong with a body. Names of fields are said; a value is not, it may be a code or an answer.
fn unquoted(error: &serde_json::Error) -> String {
    let told = error.to_string();
    if !error.is_data() || told.starts_with("unknown field") || told.starts_with("missing field") {
        return told;
    }
    let (line, column) = (error.line(), error.column());
    format!("a value is not of its kind at line {line} column {column}")
}

/// A request's query.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(ApiError::new(ErrorKind::Invalid, error.body_text())
                .with_remedy("docs/cli.md lists the requests with their parameters")),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self)).into_response()
    }
}

impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        Self::new(ErrorKind::Unavailable, in_full(&error)).with_remedy("see `portcullis status` and the server's log")
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        let (kind, remedy) = match &error {
            AccountError::BadName(..) | AccountError::Invalid(_) => (ErrorKind::Invalid, None),
            AccountError::NoSuchUser(_) => (
                ErrorKind::NotFound,
                Some("`portcullis user find TEXT` searches by parts of names".to_owned()),
            ),
            AccountError::NoSuchToken(..) => (
                ErrorKind::NotFound,
                Some("`portcullis token list USER` shows numbers and names".to_owned()),
            ),
            AccountError::NoSuchPasscode(_) | AccountError::NotDenied(_) => (ErrorKind::NotFound, None),
            AccountError::NoSuchDirectory(..) => (ErrorKind::NotFound, None),
            AccountError::Ambiguous(..) => (
                ErrorKind::Refused,
                Some("name the directory with --directory, or give the key of the record".to_owned()),
            ),
            AccountError::Gone(_) => (
                ErrorKind::Refused,
                Some("existing tokens and passcodes can still be listed and revoked".to_owned()),
            ),
            AccountError::TooManyTokens(_) => (
                ErrorKind::Refused,
                Some("revoke one that is not used any more".to_owned()),
            ),
            AccountError::LabelTaken(..) => (ErrorKind::Refused, Some("choose another label".to_owned())),
            AccountError::NoQuestions => (
                ErrorKind::Refused,
                Some("write `questions.toml` into the folder of policies, and reload".to_owned()),
            ),
            AccountError::NoAnswers(_) | AccountError::NothingToVerify(..) => (ErrorKind::NotFound, None),
            AccountError::AnswersDefined(_) => (
                ErrorKind::Refused,
                Some("say that they are to be replaced, with --replace".to_owned()),
            ),
            AccountError::BadAnswers(..) => (
                ErrorKind::Invalid,
                Some("`portcullis answers questions` shows what answers must be like".to_owned()),
            ),
            AccountError::AnswersLocked(_) => (
                ErrorKind::Refused,
                Some("`portcullis answers unlock USER` lets them count again".to_owned()),
            ),
            AccountError::AnswersOutdated(_) => (
                ErrorKind::Refused,
                Some("have another proof shown: `portcullis user verify USER` asks for a code".to_owned()),
            ),
            AccountError::LockedOut(_) => (
                ErrorKind::Refused,
                Some("`portcullis user show USER` tells until when".to_owned()),
            ),
            AccountError::Overloaded => (ErrorKind::Unavailable, Some("try again in a few seconds".to_owned())),
            AccountError::NoPasscode(_) => (
                ErrorKind::NotFound,
                Some("`portcullis passcode list` shows the identifiers".to_owned()),
            ),
            AccountError::NotWaiting(_) => (
                ErrorKind::Refused,
                Some("a second half is shown once; if it is lost, have a new passcode issued".to_owned()),
            ),
            AccountError::NobodySecond(_) => (
                ErrorKind::Refused,
                Some(
                    "have another operator than the person's manager do it, or configure a group that may: \
                     `second_holder_group` in [passcodes], a level by \"group\" in [[approval]]"
                        .to_owned(),
                ),
            ),
            AccountError::NoSuchRequest(_) => (
                ErrorKind::NotFound,
                Some("`portcullis request list` shows what is open".to_owned()),
            ),
            AccountError::Decided(..) => (
                ErrorKind::Refused,
                Some("`portcullis request show ID` says by whom".to_owned()),
            ),
            AccountError::NeedsApproval(action, login) => (
                ErrorKind::Denied,
                Some(format!(
                    "ask for it: `portcullis request new {action} {login} --reason WHY`; once approved, do it with \
                     `--under ID`"
                )),
            ),
            AccountError::NoApprovalNeeded(..) => (ErrorKind::Refused, Some("do it, without asking".to_owned())),
            AccountError::NotGood(..) | AccountError::NotAsked(..) => (
                ErrorKind::Denied,
                Some("`portcullis request show ID` says what it is for and whom it waits for".to_owned()),
            ),
            AccountError::OtherLevels(_) => (ErrorKind::Denied, Some("ask for it anew".to_owned())),
            AccountError::TooManyRequests(_) => (
                ErrorKind::Refused,
                Some("`portcullis request cancel ID` takes one back".to_owned()),
            ),
            AccountError::NoSuchDelegation(_) => (
                ErrorKind::NotFound,
                Some("`portcullis delegation list` shows those that count".to_owned()),
            ),
            AccountError::KeyTaken(..) => (
                ErrorKind::Refused,
                Some("a key is one person's; `portcullis token revoke` takes it from them".to_owned()),
            ),
            AccountError::NoSuchMachine(..) => (
                ErrorKind::NotFound,
                Some("`portcullis offline list` shows a person's machines".to_owned()),
            ),
            AccountError::TooManyResponses(_) => (
                ErrorKind::Refused,
                Some("make sure that it is them; wait, or give them another way in".to_owned()),
            ),
            AccountError::NotInStep => (
                ErrorKind::Refused,
                Some("wait for a new code, then give it and the one after it, in this order".to_owned()),
            ),
            AccountError::NoSuchApiToken(_) => (
                ErrorKind::NotFound,
                Some("`portcullis operator token list` shows them".to_owned()),
            ),
            AccountError::ApiTokenTaken(_) => (
                ErrorKind::Refused,
                Some("`portcullis operator token regenerate` makes it anew; or choose another name".to_owned()),
            ),
            AccountError::NotDone(reason) => not_done(&reason.came),
            AccountError::NoSuchJob(_) => (
                ErrorKind::NotFound,
                Some("`portcullis schedule list` shows the jobs".to_owned()),
            ),
            AccountError::JobOver(..) => (ErrorKind::Refused, None),
            AccountError::Busy(_) => (ErrorKind::Refused, Some("try again".to_owned())),
            AccountError::DirectoryUnavailable(..) => (
                ErrorKind::Unavailable,
                Some("see `portcullis status`; naming another directory leaves this one out".to_owned()),
            ),
            AccountError::Store(_) => (
                ErrorKind::Unavailable,
                Some("see `portcullis status`; a change may or may not have been made".to_owned()),
            ),
            AccountError::BadRecord(..) => (
                ErrorKind::Internal,
                Some("restore it: `portcullis store restore --help`".to_owned()),
            ),
            AccountError::Key(_) => (
                ErrorKind::Internal,
                Some("start the server with the key file that the store was written with".to_owned()),
            ),
        };
        Self {
            error: in_full(&error),
            kind,
            remedy,
        }
    }
}

/// What to do when a directory has not done something.
fn not_done(came: &Changed) -> (ErrorKind, Option<String>) {
    let remedy = match came {
        Changed::Unavailable(_) => return (ErrorKind::Unavailable, Some("see `portcullis status`".to_owned())),
        Changed::Lost(_) => {
            let remedy = "look at the account in the directory; doing it again does no harm";
            return (ErrorKind::Unavailable, Some(remedy.to_owned()));
        }
        Changed::Unknown => return (ErrorKind::NotFound, None),
        Changed::Refused(_) => Some("set `length` and `classes` of [generated_passwords] to what the directory takes"),
        Changed::Forbidden(_) => Some("give the account for look-ups (`bind_dn`) the right to do it"),
        Changed::Unsupported => {
            Some("change it where the directory is kept; `portcullis deny` keeps somebody out here")
        }
        Changed::Disabled => Some("`portcullis user enable USER` lets the account log in again"),
        Changed::Locked => Some("`portcullis user unlock USER` ends the lock"),
        Changed::Done | Changed::WrongPassword => None,
    };
    (ErrorKind::Refused, remedy.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::UserRef;

    #[test]
    fn faults_of_a_body_quote_no_value() {
        let told = |body: &str| unquoted(&serde_json::from_str::<UserRef>(body).unwrap_err());
        assert_eq!(
            told(r#"{"user": 123456}"#),
            "a value is not of its kind at line 1 column 15"
        );
        assert_eq!(told(r#""hunter2""#), "a value is not of its kind at line 1 column 9");
        assert!(told(r#"{"user": "ana", "cod": "1"}"#).starts_with("unknown field `cod`"));
        assert!(told("{}").starts_with("missing field `user`"));
        assert!(told(r#"{"user": "hunter2"#).starts_with("EOF while parsing a string"));
    }
}
