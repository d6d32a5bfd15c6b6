//! Which questions somebody is asked: the same until they are answered right, and for who does not exist as well.

use crate::engine::facts::Person;
use crate::engine::questions::{Question, QuestionKind, Questions, Selection};
use crate::engine::record::{Answer, Answers};
use crate::engine::request::{LoginForm, LoginName};
use crate::keyring::Keyring;

/// A question of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The question.
    pub question: &'a Question,
    /// The person's answer to it; none where nobody's would be right.
    pub answer: Option<&'a Answer>,
}

impl Questions {
    /// The questions of the next round for `person`, whose `answers` are given; always [`Questions::ask`] of them,
    /// as long as there are that many questions. Who is unknown, or has too few answers that count, is asked what
    /// somebody would be asked.
    pub fn round<'a>(
        &'a self,
        login: &LoginName,
        person: Option<(&Person, &'a Answers)>,
        keyring: &Keyring,
    ) -> Vec<Asked<'a>> {
        if let Some((person, answers)) = person {
            let own: Vec<Asked<'a>> = self
                .questions
                .iter()
                .filter(|question| self.is_asked(question.kind))
                .filter_map(|question| {
                    let answer = answers.of(&question.id)?;
                    Some(Asked {
                        question,
                        answer: Some(answer),
                    })
                })
                .collect();
            if own.len() >= self.ask {
                let seed = [person.key.as_str().as_bytes(), &answers.rounds.to_be_bytes()];
                return self.choose(own, &seed, keyring);
            }
        }
        let name = local_name(login);
        let typical = self.to_define(name, keyring);
        let nobody = typical.into_iter().map(|question| Asked { question, answer: None });
        self.choose(nobody.collect(), &[name.as_bytes()], keyring)
    }

    /// The questions that somebody is to define answers to: those that everybody answers, and as many others as it
    /// takes, not the same for each.
    pub fn to_define(&self, name: &str, keyring: &Keyring) -> Vec<&Question> {
        let of = |kind| self.questions.iter().filter(move |question| question.kind == kind);
        let mut chosen: Vec<&Question> = of(QuestionKind::Mandatory).collect();
        let mut others: Vec<&Question> = of(QuestionKind::Optional).collect();
        others.sort_by_cached_key(|question| rank(&[b"define", name.as_bytes()], question, keyring));
        chosen.extend(others.into_iter().take(self.define.saturating_sub(chosen.len())));
        chosen.sort_by_key(|question| self.place(question));
        chosen
    }

    fn choose<'a>(&self, mut from: Vec<Asked<'a>>, seed: &[&[u8]], keyring: &Keyring) -> Vec<Asked<'a>> {
        match self.selection {
            Selection::Fixed => {}
            Selection::Random => from.sort_by_cached_key(|asked| rank(seed, asked.question, keyring)),
        }
        from.truncate(self.ask);
        from
    }

    fn place(&self, question: &Question) -> usize {
        let same = |other: &Question| other.id == question.id;
        self.questions.iter().position(same).unwrap_or(usize::MAX)
    }
}

/// A name without what says where it belongs: decoys are the same for every way to write it, as real ones are.
pub fn local_name(login: &LoginName) -> &str {
    match login.form() {
        LoginForm::Plain(name) | LoginForm::Dn(name) | LoginForm::Account(name) => name,
        LoginForm::Domain { user, .. } => user,
        LoginForm::Principal(name) => name.split_once('@').map_or(name, |(user, _)| user),
    }
}

/// A number that nobody without the key file can tell from a random one.
fn rank(seed: &[&[u8]], question: &Question, keyring: &Keyring) -> [u8; 32] {
    let parts = [&[b"questions".as_slice()], seed, &[question.id.as_bytes()]].concat();
    keyring.digest_typed(&parts)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::engine::facts::UserKey;
    use crate::engine::questions::tests::policy;

    fn ids(round: &[Asked<'_>]) -> Vec<String> {
        round.iter().map(|asked| asked.question.id.to_string()).collect()
    }

    fn person() -> Person {
        Person {
            key: UserKey::new("d", "ana"),
            directory: "d".into(),
            dn: "uid=ana".into(),
            login: "ana".into(),
            groups: Vec::new(),
            attributes: BTreeMap::new(),
            enabled: true,
            manager: None,
            sso_managed: None,
        }
    }

    fn answers(questions: &[&str]) -> Answers {
        let answer = |id: &&str| Answer {
            question: (*id).into(),
            own: None,
            hash: [0; 32],
            salt: [0; 16],
            scheme: 1,
        };
        Answers {
            answers: questions.iter().map(answer).collect(),
            ..Answers::default()
        }
    }

    fn login(name: &str) -> LoginName {
        LoginName::parse(name).unwrap()
    }

    #[test]
    fn the_same_are_asked_until_they_are_answered() {
        let (questions, keyring, person) = (policy(), Keyring::from_root(&[7; 32]), person());
        let mut own = answers(&["school", "street", "book", "concert", "word", "own"]);
        let round = |own: &Answers, name: &str| {
            let round = questions.round(&login(name), Some((&person, own)), &keyring);
            assert!(round.iter().all(|asked| asked.answer.is_some()));
            ids(&round)
        };
        let first = round(&own, "ana");
        assert_eq!(first.len(), 2);
        assert_eq!(round(&own, "EX\\ana"), first, "however the name is written");
        let mut seen = BTreeSet::new();
        for _ in 0..32 {
            own.count_right();
            seen.extend(round(&own, "ana"));
        }
        let dialogs: BTreeSet<String> = ["school", "street", "book", "concert"].map(String::from).into();
        assert_eq!(
            seen, dialogs,
            "all of them, and none of helpdesk's or of one's own wording"
        );
    }

    #[test]
    fn nobody_is_asked_what_somebody_would_be() {
        let (questions, keyring, person) = (policy(), Keyring::from_root(&[7; 32]), person());
        let decoy = |name: &str| {
            let round = questions.round(&login(name), None, &keyring);
            assert!(round.len() == 2 && round.iter().all(|asked| asked.answer.is_none()));
            ids(&round)
        };
        assert_eq!(decoy("eve"), decoy("eve"));
        assert_eq!(decoy("eve"), decoy("EX\\eve"));
        assert_eq!(decoy("eve"), decoy("eve@example.org"));
        let all: BTreeSet<Vec<String>> = (0..64).map(|number| decoy(&format!("eve{number}"))).collect();
        assert!(all.len() > 4, "not the same for each");
        // Who has too few answers is asked like nobody.
        let few = answers(&["school"]);
        let round = questions.round(&login("ana"), Some((&person, &few)), &keyring);
        assert_eq!(ids(&round), decoy("ana"));
    }

    #[test]
    fn a_fixed_selection_is_in_the_order_of_the_file() {
        let questions = Questions {
            selection: Selection::Fixed,
            ..policy()
        };
        let (keyring, person) = (Keyring::from_root(&[7; 32]), person());
        let own = answers(&["concert", "book", "street"]);
        let round = questions.round(&login("ana"), Some((&person, &own)), &keyring);
        assert_eq!(ids(&round), ["street", "book"]);
    }

    #[test]
    fn what_is_defined_holds_what_everybody_answers() {
        let (questions, keyring) = (policy(), Keyring::from_root(&[7; 32]));
        let chosen = questions.to_define("ana", &keyring);
        assert_eq!(chosen.len(), 3);
        assert_eq!(chosen.first().map(|question| &*question.id), Some("school"));
    }
}
