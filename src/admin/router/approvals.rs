//! What takes an approval: the deeds that the routes do, what a request says of one, and whether it may be done now.
//!
//! This stands beside [`authorize`](crate::admin::operator::authorize): that says whether an operator may do something at
//! all, this whether somebody else has to agree first. Every route that does something to a person asks both by
//! [`AdminState::person`].

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use zeroize::Zeroize as _;

use super::AdminState;
use crate::accounts::view::moment;
use crate::accounts::{AccountError, Actor, Doing, Subject};
use crate::admin::api::{ApiError, ErrorKind, MAX_REQUEST, REQUEST_HEADER};
use crate::admin::operator::{Operator, Verb};
use crate::engine::approval::Action;
use crate::engine::event::Outcome;

/// Something that an operator can ask for.
#[derive(Debug)]
pub(super) struct Deed {
    /// What.
    pub(super) action: Action,
    /// Who may do it at all.
    pub(super) verb: Verb,
    /// The route that does it.
    path: &'static str,
    /// Its parameters with what they are when nothing is said.
    parameters: &'static [(&'static str, &'static str)],
    /// Whether it is done outside the store: the request is spent before, and not with it.
    outside: bool,
}

const fn deed(
    action: Action,
    verb: Verb,
    path: &'static str,
    parameters: &'static [(&'static str, &'static str)],
) -> Deed {
    Deed {
        action,
        verb,
        path,
        parameters,
        outside: false,
    }
}

/// The same for what is done in the directory.
const fn outside(
    action: Action,
    verb: Verb,
    path: &'static str,
    parameters: &'static [(&'static str, &'static str)],
) -> Deed {
    Deed {
        outside: true,
        ..deed(action, verb, path, parameters)
    }
}

/// All of them. A route that is not here does, by one verb, what takes the approval of any of its deeds.
static DEEDS: [Deed; 23] = [
    deed(
        Action::Passcode,
        Verb::IssuePasscode,
        "/v1/passcode/issue",
        &[("minutes", ""), ("chap", "false"), ("replaces_factor", "false")],
    ),
    deed(
        Action::PasscodeRevoke,
        Verb::RevokePasscode,
        "/v1/passcode/revoke",
        &[("id", "")],
    ),
    deed(
        Action::TokenEnrol,
        Verb::EnrolToken,
        "/v1/token/enrol",
        &[
            ("kind", "totp"),
            ("algorithm", "sha1"),
            ("digits", "6"),
            ("period", "30"),
            ("counter", "0"),
            ("label", ""),
            ("issuer", "Portcullis"),
        ],
    ),
    deed(
        Action::KeyEnrol,
        Verb::EnrolToken,
        "/v1/token/enrol-yubico",
        &[("public", ""), ("label", "")],
    ),
    deed(
        Action::TokenRevoke,
        Verb::ChangeToken,
        "/v1/token/revoke",
        &[("token", "")],
    ),
    deed(
        Action::TokenDisable,
        Verb::ChangeToken,
        "/v1/token/disable",
        &[("token", "")],
    ),
    deed(
        Action::TokenRename,
        Verb::ChangeToken,
        "/v1/token/rename",
        &[("token", ""), ("label", "")],
    ),
    deed(
        Action::MachineRevoke,
        Verb::ChangeToken,
        "/v1/offline/revoke",
        &[("machine", "")],
    ),
    deed(
        Action::TokenEnable,
        Verb::EnableToken,
        "/v1/token/enable",
        &[("token", "")],
    ),
    deed(
        Action::TokenResync,
        Verb::ResyncToken,
        "/v1/token/resync",
        &[("token", "")],
    ),
    deed(
        Action::RecoveryCodes,
        Verb::NewRecoveryCodes,
        "/v1/recovery-codes/new",
        &[],
    ),
    deed(
        Action::MachineEnrol,
        Verb::EnrolMachine,
        "/v1/offline/enrol",
        &[("machine", "")],
    ),
    deed(
        Action::MachineRespond,
        Verb::RespondOffline,
        "/v1/offline/respond",
        &[("machine", "")],
    ),
    outside(
        Action::Unlock,
        Verb::Unlock,
        "/v1/user/unlock",
        &[("account", "false"), ("profile", "false"), ("answers", "false")],
    ),
    deed(
        Action::Deny,
        Verb::Deny,
        "/v1/user/deny",
        &[("until", ""), ("reason", "")],
    ),
    deed(Action::Undeny, Verb::LiftDenial, "/v1/user/undeny", &[("reason", "")]),
    deed(
        Action::AnswersDefine,
        Verb::DefineAnswers,
        "/v1/answers/define",
        &[("replace", "false")],
    ),
    deed(Action::AnswersUnlock, Verb::DefineAnswers, "/v1/answers/unlock", &[]),
    // The record is changed, and the request spent, before the directory is asked.
    deed(Action::PasswordReset, Verb::ResetPassword, "/v1/user/reset", &[]),
    deed(
        Action::MustChange,
        Verb::ForceChange,
        "/v1/user/must-change",
        &[("undo", "false")],
    ),
    outside(Action::Enable, Verb::EnableUser, "/v1/user/enable", &[]),
    outside(Action::Disable, Verb::DisableUser, "/v1/user/disable", &[]),
    deed(
        Action::Unregister,
        Verb::Unregister,
        "/v1/user/unregister",
        &[("as_new", "false")],
    ),
];

/// Fields that are no parameters: whom it is about is bound by itself, and what is only known or typed when it is done
/// cannot be asked for before.
const UNBOUND: [&str; 13] = [
    "user",
    "directory",
    "seed",
    "uri",
    "first",
    "second",
    "challenge",
    "private",
    "key",
    "code",
    "answers",
    "check",
    "password",
];

impl Deed {
    /// The one that is asked for by this word.
    pub(super) fn called(action: Action) -> Option<&'static Self> {
        DEEDS.iter().find(|deed| deed.action == action)
    }

    /// What a route does by asking for `verb`, if that is what the route is for.
    fn done_at(verb: Verb, path: &str) -> Option<&'static Self> {
        DEEDS.iter().find(|deed| deed.verb == verb && deed.path == path)
    }

    /// All that is done by `verb`, which another route may be a way to do as well.
    fn all_by(verb: Verb) -> impl Iterator<Item = &'static Self> {
        DEEDS.iter().filter(move |deed| deed.verb == verb)
    }

    /// Whether an approval binds the field.
    fn binds(&self, field: &str) -> bool {
        !UNBOUND.contains(&field) || self.parameters.iter().any(|(known, _)| *known == field)
    }

    /// The parameters among the fields of a request, those left out that say nothing, in the order of their names.
    fn parameters(&self, fields: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let plain = |name: &str, text: &str| {
            let usual = self.parameters.iter().find(|(known, _)| *known == name);
            usual.map_or(text.is_empty(), |(_, usual)| *usual == text)
        };
        let said = fields.iter().map(|(name, text)| (name.clone(), normal(name, text)));
        said.filter(|(name, text)| self.binds(name) && !plain(name, text))
            .collect()
    }

    /// The same for what somebody asks for.
    ///
    /// # Errors
    /// For a name that is no parameter.
    pub(super) fn asked(&self, said: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, ApiError> {
        for name in said.keys() {
            if !self.parameters.iter().any(|(known, _)| known == name) {
                let known: Vec<&str> = self.parameters.iter().map(|(known, _)| *known).collect();
                let error = format!("{} has no parameter `{name}` that is approved", self.action);
                let remedy = match known.as_slice() {
                    [] => "it has none".to_owned(),
                    known => format!("there are {}", known.join(", ")),
                };
                return Err(ApiError::new(ErrorKind::Invalid, error).with_remedy(remedy));
            }
        }
        Ok(self.parameters(said))
    }
}

/// A value as it is compared: moments in one form.
fn normal(name: &str, text: &str) -> String {
    match moment::parse(text) {
        Some(at) if name == "until" => at.to_string(),
        Some(_) | None => text.trim().to_owned(),
    }
}

/// What a call to the server says of what it does.
#[derive(Debug, Default)]
struct Said {
    /// The route.
    path: String,
    /// The request that it is done under.
    request: Option<String>,
    /// The fields of its body, where there is such a request.
    fields: BTreeMap<String, String>,
}

tokio::task_local! {
    /// What the call under way says. Where there is none, what takes an approval is refused.
    static SAID: Said;
}

/// Writes down what a call says, for [`AdminState::warranted`]. Bodies are read only where a request is named.
pub(super) async fn listen(request: Request, next: Next) -> Response {
    let mut said = Said {
        path: request.uri().path().to_owned(),
        ..Said::default()
    };
    let Some(header) = request.headers().get(REQUEST_HEADER) else {
        return SAID.scope(said, next.run(request)).await;
    };
    said.request = Some(header.to_str().unwrap_or_default().to_owned());
    let (parts, body) = request.into_parts();
    let Ok(octets) = to_bytes(body, MAX_REQUEST).await else {
        return ApiError::new(ErrorKind::Invalid, "the body is too long, or has no end").into_response();
    };
    let Some(fields) = fields(&octets) else {
        let error =
            "what is done under a request is told by a JSON object: fields without names are bound by no approval";
        return ApiError::new(ErrorKind::Invalid, error).into_response();
    };
    said.fields = fields;
    let request = Request::from_parts(parts, Body::from(octets));
    SAID.scope(said, next.run(request)).await
}

/// The fields of a JSON object, without those that may be secrets. `None` for any other body: a list of values would be
/// read in the order of the fields, past what was approved.
fn fields(octets: &[u8]) -> Option<BTreeMap<String, String>> {
    if octets.is_empty() {
        return Some(BTreeMap::new());
    }
    let Ok(Value::Object(object)) = serde_json::from_slice(octets) else {
        return None;
    };
    let mut fields = BTreeMap::new();
    for (name, mut value) in object {
        if UNBOUND.contains(&name.as_str()) && !value.is_boolean() {
            wipe(&mut value);
            continue;
        }
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => value.to_string(),
        };
        fields.insert(name, text);
    }
    Some(fields)
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl AdminState {
    /// Asks whether somebody else has to agree first. The answer is the person, with the request that is spent by what
    /// is done to them. A request is good where its deed is done, and nowhere else. A refusal is audited.
    pub(super) async fn warranted(
        &self,
        operator: &Operator,
        verb: Verb,
        subject: Subject,
    ) -> Result<Subject, ApiError> {
        let path = SAID.try_with(|said| said.path.clone()).unwrap_or_default();
        let by = Actor::now(&operator.name);
        let Some(deed) = Deed::done_at(verb, &path) else {
            let Err(error) = self.unapproved(verb, &subject) else {
                return Ok(subject);
            };
            self.note_unwarranted(verb, by, &subject, &error).await?;
            return Err(error.into());
        };
        let said = SAID.try_with(|said| (said.request.clone(), deed.parameters(&said.fields)));
        let (request, parameters) = said.unwrap_or_default();
        let doing = Doing {
            action: deed.action,
            parameters: &parameters,
            request: request.as_deref(),
        };
        match self.accounts.warranted(subject.clone(), doing, by).await {
            Ok(subject) if deed.outside => Ok(self.accounts.spend_at_once(subject, by).await?),
            Ok(subject) => Ok(subject),
            Err(error) => {
                self.note_unwarranted(verb, by, &subject, &error).await?;
                Err(error.into())
            }
        }
    }

    /// Refuses what takes an approval where there can be none: for one of many, and beside something else.
    ///
    /// # Errors
    /// [`AccountError::NeedsApproval`].
    pub(super) fn unapproved(&self, verb: Verb, subject: &Subject) -> Result<(), AccountError> {
        let mut actions = Deed::all_by(verb).map(|deed| deed.action);
        let action = actions.find(|action| self.accounts.approval_rule(*action, subject).is_some());
        action.map_or(Ok(()), |action| {
            Err(AccountError::NeedsApproval(action, subject.login.clone()))
        })
    }

    async fn note_unwarranted(
        &self,
        verb: Verb,
        by: Actor<'_>,
        subject: &Subject,
        error: &AccountError,
    ) -> Result<(), AccountError> {
        if !refuses(error) {
            return Ok(());
        }
        let what = format!("{}: {error}", subject.login);
        self.accounts
            .note(verb.word(), by, Some(subject), Outcome::Reject, &what)
            .await
    }
}

/// Whether somebody was refused, and it is not only that something is out of reach or written wrongly.
const fn refuses(error: &AccountError) -> bool {
    matches!(
        error,
        AccountError::NeedsApproval(..)
            | AccountError::NotGood(..)
            | AccountError::Decided(..)
            | AccountError::OtherLevels(_)
            | AccountError::NoSuchRequest(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_can_be_asked_for_is_done_somewhere() {
        for action in Action::ALL.into_iter().filter(|action| action.can_be_asked_for()) {
            let deed = Deed::called(action).unwrap_or_else(|| panic!("{action}"));
            assert_eq!(Deed::done_at(deed.verb, deed.path).unwrap().action, action);
        }
        // Other ways to do the same are not ways around.
        let all = |verb| Deed::all_by(verb).map(|deed| deed.action).collect::<Vec<_>>();
        assert!(Deed::done_at(Verb::EnrolToken, "/v1/token/import-yubico").is_none());
        assert_eq!(all(Verb::EnrolToken), [Action::TokenEnrol, Action::KeyEnrol]);
        assert_eq!(all(Verb::DefineAnswers), [Action::AnswersDefine, Action::AnswersUnlock]);
        assert_eq!(all(Verb::ShowUser), []);
    }

    #[test]
    fn fields_have_names() {
        assert_eq!(fields(br#"["ana", null, 480, true]"#), None);
        assert_eq!(fields(b"null"), None);
        assert_eq!(fields(b""), Some(BTreeMap::new()));
        let unlock = Deed::called(Action::Unlock).unwrap();
        let said = unlock.parameters(&fields(br#"{"user":"ana","answers":true}"#).unwrap());
        assert_eq!(
            said,
            [("answers".to_owned(), "true".to_owned())],
            "more than was asked for"
        );
        let define = Deed::called(Action::AnswersDefine).unwrap();
        let body = br#"{"user":"ana","answers":[{"question":"q","answer":"x"}],"check":true}"#;
        assert_eq!(define.parameters(&fields(body).unwrap()), []);
    }

    #[test]
    fn what_says_nothing_makes_no_difference() {
        let passcode = Deed::called(Action::Passcode).unwrap();
        let of = |body: &str| passcode.parameters(&fields(body.as_bytes()).unwrap());
        assert_eq!(of(r#"{"user":"ana","directory":null,"chap":false}"#), []);
        let said = [("chap", "true"), ("minutes", "15")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(of(r#"{"user":"ana","minutes":15,"chap":true}"#), said);
        let asked = passcode.asked(&said.iter().cloned().collect()).unwrap();
        assert_eq!(asked, said);
        let wrong = passcode.asked(&[("hours".to_owned(), "1".to_owned())].into());
        assert_eq!(wrong.unwrap_err().kind, ErrorKind::Invalid);

        let enrol = Deed::called(Action::TokenEnrol).unwrap();
        let body = br#"{"user":"ana","kind":"totp","digits":6,"seed":"JBSWY3DP","uri":null}"#;
        assert_eq!(enrol.parameters(&fields(body).unwrap()), []);
        // A field that nobody has thought of is bound as it is.
        let body = br#"{"user":"ana","forever":true}"#;
        assert_eq!(
            enrol.parameters(&fields(body).unwrap()),
            [("forever".to_owned(), "true".to_owned())]
        );
        let deny = Deed::called(Action::Deny).unwrap();
        let until = |text: &str| deny.parameters(&[("until".to_owned(), text.to_owned())].into());
        assert_eq!(until("2030-01-31T12:00:00Z"), until("2030-01-31T13:00:00+01:00"));
    }
}
