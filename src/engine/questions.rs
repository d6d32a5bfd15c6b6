//! Security questions: which there are, how answers must look, how many are asked (`policies/questions.toml`).
//!
//! What is stored of answers and how they are judged is in [`answers`], which questions somebody is asked in
//! [`asking`], how an answer is read in [`normalise`].

pub mod answers;
pub mod asking;
pub mod normalise;
mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use crate::engine::texts::Texts;

pub use parse::{FILE, parse};

/// The question policy. The default has no questions: nobody is asked any, and no answer is ever right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Questions {
    /// The questions, in the order of the file.
    pub questions: Vec<Question>,
    /// How many answers of those that dialogs ask for a person defines, at least.
    pub define: usize,
    /// How many are asked in one round of a dialog.
    pub ask: usize,
    /// How many of them have to be right.
    pub correct: usize,
    /// Which of a person's questions are asked.
    pub selection: Selection,
    /// Fewest characters of a normalised answer.
    pub shortest: usize,
    /// Most characters of a normalised answer.
    pub longest: usize,
    /// Answers that nobody may have, normalised.
    pub blocked: BTreeSet<String>,
    /// Wrong rounds in a row that lock the answers; zero never does.
    pub lock_after: u32,
    /// Days after which a person is asked to define them anew; zero never does.
    pub reconfirm_days: u32,
    /// Whether questions may be the only proof of a workflow or of a rule.
    pub only_proof: bool,
    /// Whether dialogs ask questions of a person's own wording: the wording tells that somebody exists.
    pub ask_user_defined: bool,
    /// Whether answers may be defined over a transport that does not encrypt.
    pub unprotected: bool,
    /// Tells a policy under which answers must be defined anew from the one that they were defined under.
    pub digest: u32,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its name: what answers are stored under. Another wording with another meaning needs another name.
    pub id: Arc<str>,
    /// Who defines an answer to it, and who asks for it.
    pub kind: QuestionKind,
    /// Its wording by language; never empty. For a user-defined question: what asks for its wording.
    pub texts: BTreeMap<Arc<str>, Arc<str>>,
}

/// Who defines an answer to a question, and who asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionKind {
    /// Everybody defines an answer.
    Mandatory,
    /// One of those that people choose from.
    #[default]
    Optional,
    /// In the person's own wording.
    UserDefined,
    /// Asked by helpdesk only.
    Helpdesk,
}

/// Which of a person's questions are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// Any, other ones after each round that was right.
    #[default]
    Random,
    /// The first, in the order of the file.
    Fixed,
}

impl Questions {
    /// Most answers that one person may have.
    pub const MAX_ANSWERS: usize = 20;
    /// Most questions in one round: a dialog has 12 challenges at most.
    pub const MAX_ASKED: usize = 8;
    /// Most questions that a dialog has somebody define answers to.
    pub const MAX_DEFINED: usize = 10;

    /// Whether there are any questions.
    pub fn are_configured(&self) -> bool {
        !self.questions.is_empty()
    }

    /// The question of this name.
    pub fn find(&self, id: &str) -> Option<&Question> {
        self.questions.iter().find(|question| &*question.id == id)
    }

    /// Whether dialogs ask questions of this kind.
    pub const fn is_asked(&self, kind: QuestionKind) -> bool {
        match kind {
            QuestionKind::Mandatory | QuestionKind::Optional => true,
            QuestionKind::UserDefined => self.ask_user_defined,
            QuestionKind::Helpdesk => false,
        }
    }
}

impl Question {
    /// Its wording in a language, else in the default one, in English, or in any.
    pub fn text(&self, language: &str, texts: &Texts) -> &str {
        let languages = [language, texts.default_language(), "en"];
        let known = languages.iter().find_map(|language| self.texts.get(*language));
        known.or_else(|| self.texts.values().next()).map_or("", |text| text)
    }
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            questions: Vec::new(),
            define: 5,
            ask: 3,
            correct: 3,
            selection: Selection::Random,
            shortest: 3,
            longest: 40,
            blocked: BTreeSet::new(),
            lock_after: 5,
            reconfirm_days: 0,
            only_proof: false,
            ask_user_defined: false,
            unprotected: false,
            digest: 0,
        }
    }
}

#[cfg(test)]
pub(in crate::engine) mod tests {
    use super::*;

    /// One mandatory question, three others, one of one's own, one of helpdesk's.
    pub(in crate::engine) fn policy() -> Questions {
        let question = |(id, kind, english, german): (&str, QuestionKind, &str, &str)| Question {
            id: id.into(),
            kind,
            texts: [("en", english), ("de", german)]
                .map(|(language, text)| (language.into(), text.into()))
                .into(),
        };
        let questions = [
            ("school", QuestionKind::Mandatory, "First school?", "Erste Schule?"),
            ("street", QuestionKind::Optional, "First street?", "Erste Strasse?"),
            ("book", QuestionKind::Optional, "First book?", "Erstes Buch?"),
            ("concert", QuestionKind::Optional, "First concert?", "Erstes Konzert?"),
            ("own", QuestionKind::UserDefined, "Your question:", "Eigene Frage:"),
            ("word", QuestionKind::Helpdesk, "A word:", "Ein Wort:"),
        ];
        Questions {
            questions: questions.map(question).into(),
            define: 3,
            ask: 2,
            correct: 2,
            lock_after: 2,
            blocked: ["pass word".to_owned()].into(),
            ..Questions::default()
        }
    }

    #[test]
    fn wordings_by_language() {
        let policy = policy();
        let school = policy.find("school").unwrap();
        let texts = Texts::default();
        assert_eq!(school.text("en", &texts), "First school?");
        assert_eq!(school.text("de", &texts), "Erste Schule?");
        assert_eq!(school.text("fr", &texts), "First school?");
    }

    #[test]
    fn without_a_file_there_are_none() {
        assert!(!Questions::default().are_configured());
    }
}
