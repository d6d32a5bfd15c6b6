//! What operators get to see of security questions: never an answer.

use serde::{Deserialize, Serialize};

use super::moment;
use crate::clock::Timestamp;
use crate::engine::questions::{QuestionKind, Questions};
use crate::engine::texts::Texts;

/// The question policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuestionsView {
    /// How many answers, of the questions that dialogs ask, a person defines at least.
    pub define: usize,
    /// How many are asked in one round.
    pub ask: usize,
    /// How many of them have to be right.
    pub correct: usize,
    /// Fewest characters of an answer.
    pub min_length: usize,
    /// Most characters of an answer.
    pub max_length: usize,
    /// Wrong rounds in a row that lock the answers; 0 never does.
    pub lock_after: u32,
    /// Days after which they are to be defined anew; 0 is never.
    pub reconfirm_days: u32,
    /// The questions, in the order of the file.
    pub questions: Vec<QuestionView>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuestionView {
    /// Its name.
    pub id: String,
    /// Who answers it, and who asks for it.
    pub kind: QuestionWord,
    /// Its wording; of a user-defined question what asks for the wording.
    pub text: String,
}

/// Who answers a question, and who asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionWord {
    /// Everybody defines an answer.
    Mandatory,
    /// One of those that people choose from.
    Optional,
    /// In the person's own wording.
    UserDefined,
    /// Asked by helpdesk only.
    Helpdesk,
}

impl QuestionWord {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mandatory => "mandatory",
            Self::Optional => "optional",
            Self::UserDefined => "user-defined",
            Self::Helpdesk => "helpdesk",
        }
    }
}

impl From<QuestionKind> for QuestionWord {
    fn from(kind: QuestionKind) -> Self {
        match kind {
            QuestionKind::Mandatory => Self::Mandatory,
            QuestionKind::Optional => Self::Optional,
            QuestionKind::UserDefined => Self::UserDefined,
            QuestionKind::Helpdesk => Self::Helpdesk,
        }
    }
}

/// A person's answers, without the answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswersView {
    /// Key of the person.
    pub user: String,
    /// Login name of the person.
    pub login: String,
    /// The questions that have an answer, in the order in which they were defined.
    pub defined: Vec<DefinedView>,
    /// When they were last defined or confirmed; absent when there are none.
    #[serde(with = "moment::option")]
    pub confirmed: Option<Timestamp>,
    /// Whether they count in a dialog.
    pub usable: bool,
    /// Locked, by too many wrong rounds or by an operator.
    pub locked: bool,
    /// Wrong rounds in a row.
    pub failures: u32,
    /// Why they are to be defined anew after the next full login: `missing`, `must-update`, `policy-changed`,
    /// `reconfirm`.
    pub due: Option<String>,
}

/// A question that has an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DefinedView {
    /// The question's name.
    pub question: String,
    /// Absent when the question policy has it no more.
    pub kind: Option<QuestionWord>,
}

/// What came of defining answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DefinedAnswers {
    /// Key of the person.
    pub user: String,
    /// Login name of the person.
    pub login: String,
    /// How many answers there are.
    pub answers: usize,
    /// Whether they take the place of others.
    pub replaced: bool,
    /// False when they were only looked at.
    pub stored: bool,
}

/// What helpdesk asks a caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskView {
    /// Key of the person.
    pub user: String,
    /// Login name of the person.
    pub login: String,
    /// What to ask, in this order.
    pub questions: Vec<AskedView>,
    /// How many of the answers have to be right.
    pub correct: usize,
}

/// One question for a caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedView {
    /// The question's name.
    pub question: String,
    /// Its wording, or the caller's own.
    pub text: String,
}

/// Whether a caller has proven who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedUser {
    /// Key of the person.
    pub user: String,
    /// Login name of the person.
    pub login: String,
    /// Whether what the caller said is right. Nothing tells what was wrong.
    pub matched: bool,
}

impl QuestionsView {
    pub(in crate::accounts) fn of(questions: &Questions, language: Option<&str>, texts: &Texts) -> Self {
        let view = |question: &crate::engine::questions::Question| QuestionView {
            id: question.id.to_string(),
            kind: question.kind.into(),
            text: question.text(language.unwrap_or_default(), texts).to_owned(),
        };
        Self {
            define: questions.define,
            ask: questions.ask,
            correct: questions.correct,
            min_length: questions.shortest,
            max_length: questions.longest,
            lock_after: questions.lock_after,
            reconfirm_days: questions.reconfirm_days,
            questions: questions.questions.iter().map(view).collect(),
        }
    }
}
