//! Reading `questions.toml`, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use crate::document::{Document, Faults, Source};
use crate::engine::policy::MAX_PROMPT;
use crate::engine::questions::normalise::normalise;
use crate::engine::questions::{Question, QuestionKind, Questions, Selection};

/// The name of the file in the folder of policies.
pub const FILE: &str = "questions.toml";

/// Reads the question policy; every fault goes to `faults`, and then the policy is not to be used.
pub fn parse(source: &Source, faults: &mut Faults) -> Questions {
    let Some(document) = Document::parse(source, faults) else {
        return Questions::default();
    };
    document.only(&["questions", "question"], faults);
    let raw: RawQuestions = document.section("questions", faults);
    let mut questions: Vec<Question> = Vec::new();
    for (index, raw) in document.items::<RawQuestion>("question", faults) {
        let index = index.to_string();
        let mut say = |keys: &[&str], message: &str| {
            let path: Vec<&str> = ["question", &index].into_iter().chain(keys.iter().copied()).collect();
            faults.0.push(document.fault(&path, message));
        };
        if raw.id.is_empty() || raw.id.len() > MAX_ID || !raw.id.bytes().all(is_of_an_id) {
            say(&["id"], "must have 1 to 32 of the characters a-z, 0-9 and -");
        }
        if questions.iter().any(|other| *other.id == *raw.id) {
            say(&["id"], "is the id of another question already");
        }
        if raw.text.is_empty() {
            say(&["text"], "has no language; write { en = \"...\" }");
        }
        for (language, text) in &raw.text {
            if text.trim().is_empty() || text.chars().count() > MAX_PROMPT || text.chars().any(char::is_control) {
                say(&["text", language], "must be one line of 1 to 120 characters");
            }
        }
        questions.push(Question {
            id: raw.id.into(),
            kind: raw.kind,
            texts: raw
                .text
                .into_iter()
                .map(|(language, text)| (language, text.into()))
                .collect(),
        });
    }
    let policy = raw.with(questions);
    policy.find_faults(&document, faults);
    policy
}

impl Questions {
    fn find_faults(&self, document: &Document<'_>, faults: &mut Faults) {
        let mut say = |key: &str, message: String| faults.0.push(document.fault(&["questions", key], message));
        if self.ask == 0 || self.ask > Self::MAX_ASKED {
            say("ask", format!("must be 1 to {}", Self::MAX_ASKED));
        }
        if self.correct == 0 || self.correct > self.ask {
            say("correct", format!("must be 1 to {}, as many as are asked", self.ask));
        }
        if self.define < self.ask || self.define > Self::MAX_DEFINED {
            let most = Self::MAX_DEFINED;
            say(
                "define",
                format!("must be {} (as many as are asked) to {most}", self.ask),
            );
        }
        if self.shortest == 0 {
            say("min_length", "must be at least 1".to_owned());
        }
        if self.longest < self.shortest || self.longest > MAX_ANSWER {
            let least = self.shortest;
            say("max_length", format!("must be {least} (`min_length`) to {MAX_ANSWER}"));
        }
        let count = |kind| self.questions.iter().filter(|question| question.kind == kind).count();
        let (mandatory, optional) = (count(QuestionKind::Mandatory), count(QuestionKind::Optional));
        if mandatory > self.define {
            let message = format!("is {}, but {mandatory} questions are mandatory", self.define);
            say("define", message);
        } else if mandatory + optional < self.define {
            let there = mandatory + optional;
            let message = format!(
                "is {}, but only {there} questions are mandatory or optional; write more of them",
                self.define
            );
            say("define", message);
        }
        if self.questions.len() > Self::MAX_ANSWERS * 5 {
            say("define", "there are more than 100 questions".to_owned());
        }
    }

    /// What answers have to be defined anew for when it changes: what is asked and how many, not its wording.
    fn marked(mut self) -> Self {
        let mut names: Vec<String> = self
            .questions
            .iter()
            .map(|question| format!("{}\n{:?}\n", question.id, question.kind))
            .collect();
        names.sort();
        names.push(format!("{} {} {}", self.define, self.shortest, self.longest));
        self.digest = crc32fast::hash(names.concat().as_bytes());
        self
    }
}

#[derive(Deserialize)]
struct RawQuestions {
    #[serde(default = "RawQuestions::define")]
    define: usize,
    #[serde(default = "RawQuestions::ask")]
    ask: usize,
    #[serde(default)]
    correct: Option<usize>,
    #[serde(default)]
    selection: Selection,
    #[serde(default = "RawQuestions::min_length")]
    min_length: usize,
    #[serde(default = "RawQuestions::max_length")]
    max_length: usize,
    #[serde(default)]
    blocked: Vec<String>,
    #[serde(default = "RawQuestions::lock_after")]
    lock_after: u32,
    #[serde(default)]
    reconfirm_days: u32,
    #[serde(default)]
    only_proof: bool,
    #[serde(default)]
    ask_user_defined: bool,
    #[serde(default)]
    unprotected: bool,
}

impl RawQuestions {
    fn define() -> usize {
        Questions::default().define
    }
    fn ask() -> usize {
        Questions::default().ask
    }
    fn min_length() -> usize {
        Questions::default().shortest
    }
    fn max_length() -> usize {
        Questions::default().longest
    }
    fn lock_after() -> u32 {
        Questions::default().lock_after
    }

    fn with(self, questions: Vec<Question>) -> Questions {
        let blocked: BTreeSet<String> = self.blocked.iter().map(|word| normalise(word).to_string()).collect();
        let policy = Questions {
            questions,
            define: self.define,
            ask: self.ask,
            correct: self.correct.unwrap_or(self.ask),
            selection: self.selection,
            shortest: self.min_length,
            longest: self.max_length,
            blocked,
            lock_after: self.lock_after,
            reconfirm_days: self.reconfirm_days,
            only_proof: self.only_proof,
            ask_user_defined: self.ask_user_defined,
            unprotected: self.unprotected,
            digest: 0,
        };
        policy.marked()
    }
}

impl Default for RawQuestions {
    fn default() -> Self {
        let usual = Questions::default();
        Self {
            define: usual.define,
            ask: usual.ask,
            correct: None,
            selection: usual.selection,
            min_length: usual.shortest,
            max_length: usual.longest,
            blocked: Vec::new(),
            lock_after: usual.lock_after,
            reconfirm_days: usual.reconfirm_days,
            only_proof: false,
            ask_user_defined: false,
            unprotected: false,
        }
    }
}

#[derive(Deserialize)]
struct RawQuestion {
    id: String,
    #[serde(default)]
    kind: QuestionKind,
    #[serde(default)]
    text: BTreeMap<Arc<str>, String>,
}

fn is_of_an_id(octet: u8) -> bool {
    octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-'
}

const MAX_ID: usize = 32;

/// What still fits a RADIUS User-Password of 128 octets.
const MAX_ANSWER: usize = 120;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> (Questions, String) {
        let mut faults = Faults::default();
        let source = Source::new(Path::new("questions.toml"), text);
        let questions = parse(&source, &mut faults);
        (questions, faults.to_string())
    }

    #[test]
    fn the_shipped_questions_are_sound() {
        let (questions, faults) = read(include_str!("../../../policies/questions.toml"));
        assert_eq!(faults, "");
        assert_eq!((questions.define, questions.ask, questions.correct), (5, 3, 3));
        assert_eq!(questions.questions.len(), 10);
        for question in &questions.questions {
            let languages: Vec<&str> = question.texts.keys().map(|language| &**language).collect();
            assert_eq!(languages, ["de", "en"]);
        }
        assert!(questions.blocked.contains("password"));
    }

    #[test]
    fn faults_name_their_place() {
        let (_, faults) = read("[[question]]\nid = \"a b\"\ntext = { en = \"\" }\n");
        assert!(
            faults.contains("questions.toml:2:6: question[0].id: must have"),
            "{faults}"
        );
        assert!(
            faults.contains("questions.toml:3:15: question[0].text.en: must be one line"),
            "{faults}"
        );
        assert!(faults.contains("questions.define: is 5, but only 1"), "{faults}");
        let (_, faults) = read("[questions]\nask = 9\ncorrect = 10\nmin_length = 0\nmax_lenght = 2\n");
        for expected in [
            "questions.toml:2:7: questions.ask: must be 1 to 8",
            "questions.correct: must be 1 to 9",
            "questions.define: must be 9 (as many as are asked) to 10",
            "questions.min_length: must be at least 1",
            "questions.max_lenght: unknown key; did you mean `max_length`?",
        ] {
            assert!(faults.contains(expected), "{expected}\n{faults}");
        }
        let twice = "[[question]]\nid = \"a\"\ntext = { en = \"A?\" }\n".repeat(2);
        assert!(
            read(&twice).1.contains("question[1].id: is the id of another"),
            "{}",
            read(&twice).1
        );
    }

    #[test]
    fn another_wording_is_the_same_policy() {
        let text = include_str!("../../../policies/questions.toml");
        let digest = |text: &str| read(text).0.digest;
        assert_eq!(
            digest(&text.replace("First school you", "The first school you")),
            digest(text)
        );
        assert_ne!(
            digest(&text.replace("\"first-school\"", "\"second-school\"")),
            digest(text)
        );
        assert_ne!(digest(&text.replace("min_length = 3", "min_length = 4")), digest(text));
    }
}
