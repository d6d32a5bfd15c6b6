//! Security questions, and whether a caller is who they say.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// `GET /v1/questions`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionsRequest {
    /// The language of the wordings; the default one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// `POST /v1/answers/define`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefineAnswersRequest {
    /// Whose.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default)]
    pub directory: Option<String>,
    /// All of the person's answers.
    pub answers: Vec<AnswerGiven>,
    /// Whether answers that there are may be replaced.
    #[serde(default)]
    pub replace: bool,
    /// Look only, store nothing.
    #[serde(default)]
    pub check: bool,
}

/// One answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerGiven {
    /// The question's name.
    pub question: String,
    /// The wording, for a user-defined question and no other.
    #[serde(default)]
    pub own: Option<String>,
    /// The answer.
    pub answer: Secret,
}

/// `GET /v1/user/verify`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskRequest {
    /// Whom.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The language of the wordings; the default one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// `POST /v1/user/verify`: with a code or with answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyUserRequest {
    /// Whom.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default)]
    pub directory: Option<String>,
    /// The code that the caller says.
    #[serde(default)]
    pub code: Option<Secret>,
    /// What the caller answers to each of the questions that `GET /v1/user/verify` names.
    #[serde(default)]
    pub answers: Option<Vec<AnswerSaid>>,
}

/// A caller's answer to one question.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerSaid {
    /// The question's name.
    pub question: String,
    /// What the caller said.
    pub answer: Secret,
}
