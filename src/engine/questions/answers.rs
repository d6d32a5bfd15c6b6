//! Answers: the rules for new ones, what is computed and stored of them, and what is done to a person's.

use std::fmt;

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::engine::facts::UserKey;
use crate::engine::questions::normalise::{SCHEME, normalise};
use crate::engine::questions::{Question, QuestionKind, Questions};
use crate::engine::record::{Answer, Answers};
use crate::keyring::{KeyError, Keyring};
use crate::secret::Secret;

/// An answer that somebody wants to define.
#[derive(Clone, Debug)]
pub struct NewAnswer {
    /// The question's name in the policy.
    pub question: String,
    /// The wording of a user-defined question.
    pub own: Option<String>,
    /// What was typed.
    pub answer: Secret,
}

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such question.
    #[error("there is no such question")]
    NoSuchQuestion,
    /// A question is answered twice.
    #[error("the question is answered twice")]
    AnsweredTwice,
    /// A user-defined question has no wording, or too long a one; or another question has one of its own.
    #[error("a user-defined question needs its own wording, one line of at most 120 characters; others have none")]
    Wording,
    /// Shorter than the policy allows.
    #[error("too short; at least {0} characters")]
    TooShort(usize),
    /// Longer than the policy allows.
    #[error("too long; at most {0} characters")]
    TooLong(usize),
    /// On the list of answers that nobody may have.
    #[error("too easy to guess")]
    Blocked,
    /// Part of its question, or the question part of it.
    #[error("part of the question")]
    InQuestion,
    /// The person's login name.
    #[error("the same as the login name")]
    LoginName,
    /// The same as another answer.
    #[error("the same as another answer")]
    Duplicate,
}

/// What is wrong with a set of answers as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSet {
    /// One of them, by the question's name.
    #[error("the answer to `{0}`")]
    Answer(String, #[source] Refusal),
    /// A mandatory question is missing.
    #[error("there is no answer to `{0}`, which everybody must answer")]
    Mandatory(String),
    /// Too few of those that dialogs ask.
    #[error("{0} answers to questions that are asked in dialogs; {1} are needed")]
    TooFew(usize, usize),
    /// More than [`Questions::MAX_ANSWERS`].
    #[error("more than {} answers", Questions::MAX_ANSWERS)]
    TooMany,
}

/// One hash to be computed: takes milliseconds and 19 MiB, and so is done outside of the engine.
#[derive(Clone)]
pub struct HashJob {
    /// What is hashed: the normalised answer under the pepper of the key file.
    pub input: Secret,
    /// The salt.
    pub salt: [u8; 16],
    /// Version of the normaliser and of the costs ([`SCHEME`]).
    pub scheme: u8,
}

impl fmt::Debug for HashJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashJob([secret])")
    }
}

/// What came of a [`HashJob`].
#[derive(Clone, Copy)]
pub struct Hashed {
    /// The job's salt.
    pub salt: [u8; 16],
    /// The hash; nothing when too many others were waiting.
    pub hash: Option<[u8; 32]>,
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashed([secret])")
    }
}

/// An answer that is in order, and only has to be hashed.
#[derive(Clone, Debug)]
pub struct Prepared {
    question: String,
    own: Option<Vec<u8>>,
    /// What has to be computed.
    pub job: HashJob,
}

impl Prepared {
    /// The answer as it is stored, with what came of [`Prepared::job`].
    pub fn finish(self, hash: [u8; 32]) -> Answer {
        Answer {
            question: self.question,
            own: self.own,
            hash,
            salt: self.job.salt,
            scheme: self.job.scheme,
        }
    }
}

impl Questions {
    /// Looks at one answer. `login` is the login name as the person types it, `others` the answers that are
    /// defined beside it, normalised.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check<'a>(
        &self,
        given: &NewAnswer,
        login: &str,
        others: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Refusal> {
        let question = self.find(&given.question).ok_or(Refusal::NoSuchQuestion)?;
        if !is_worded(question, given.own.as_deref()) {
            return Err(Refusal::Wording);
        }
        let Some(typed) = given.answer.expose_str() else {
            return Err(Refusal::TooShort(self.shortest));
        };
        let answer = normalise(typed);
        let length = answer.chars().count();
        if length < self.shortest {
            return Err(Refusal::TooShort(self.shortest));
        }
        if length > self.longest {
            return Err(Refusal::TooLong(self.longest));
        }
        if self.blocked.contains(answer.as_str()) {
            return Err(Refusal::Blocked);
        }
        let login = normalise(login);
        let local = local_part(&login);
        if *answer == *login || answer.as_str() == local {
            return Err(Refusal::LoginName);
        }
        let worded = given.own.as_deref().into_iter();
        let mut wordings = question.texts.values().map(|text| &**text).chain(worded);
        if wordings.any(|wording| normalise(wording).contains(answer.as_str())) {
            return Err(Refusal::InQuestion);
        }
        if others.into_iter().any(|other| other == answer.as_str()) {
            return Err(Refusal::Duplicate);
        }
        Ok(())
    }

    /// Looks at a whole set of answers of `user`, and says what has to be hashed. `salts` are random octets, one
    /// for each answer.
    ///
    /// # Errors
    /// The first thing that is wrong; then nothing is to be stored.
    pub fn prepare(
        &self,
        given: &[NewAnswer],
        login: &str,
        user: &UserKey,
        keyring: &Keyring,
        mut salts: impl FnMut() -> [u8; 16],
    ) -> Result<Vec<Prepared>, BadSet> {
        if given.len() > Self::MAX_ANSWERS {
            return Err(BadSet::TooMany);
        }
        let mut before: Vec<Zeroizing<String>> = Vec::new();
        let mut prepared: Vec<Prepared> = Vec::new();
        for new in given {
            let refused = |refusal| BadSet::Answer(new.question.clone(), refusal);
            if prepared.iter().any(|other| other.question == new.question) {
                return Err(refused(Refusal::AnsweredTwice));
            }
            self.check(new, login, before.iter().map(|other| other.as_str()))
                .map_err(refused)?;
            before.push(normalise(new.answer.expose_str().unwrap_or_default()));
            prepared.push(prepare_one(new, user, keyring, salts()));
        }
        let has = |question: &Question| given.iter().any(|new| *new.question == *question.id);
        let mandatory = self.questions.iter().filter(|one| one.kind == QuestionKind::Mandatory);
        if let Some(missing) = mandatory.into_iter().find(|question| !has(question)) {
            return Err(BadSet::Mandatory(missing.id.to_string()));
        }
        let asked = self.questions.iter().filter(|one| self.is_asked(one.kind) && has(one));
        let count = asked.count();
        if count < self.define {
            return Err(BadSet::TooFew(count, self.define));
        }
        Ok(prepared)
    }
}

/// One answer that has passed [`Questions::check`].
pub(in crate::engine) fn prepare_one(new: &NewAnswer, user: &UserKey, keyring: &Keyring, salt: [u8; 16]) -> Prepared {
    Prepared {
        job: job(user, &new.question, &new.answer, salt, SCHEME, keyring),
        own: new
            .own
            .as_ref()
            .map(|own| keyring.seal(&place(user, &new.question), own.as_bytes())),
        question: new.question.clone(),
    }
}

impl Answer {
    /// What has to be computed to judge `typed` against it.
    pub fn job(&self, user: &UserKey, typed: &Secret, keyring: &Keyring) -> HashJob {
        job(user, &self.question, typed, self.salt, self.scheme, keyring)
    }

    /// Whether what came of [`Answer::job`] says that the answer was right. Takes the same time either way.
    pub fn is(&self, hash: &[u8; 32]) -> bool {
        Secret::new(self.hash).matches(hash)
    }

    /// The person's own wording of a user-defined question.
    ///
    /// # Errors
    /// When it does not open.
    pub fn wording(&self, user: &UserKey, keyring: &Keyring) -> Result<Option<String>, KeyError> {
        let Some(sealed) = &self.own else { return Ok(None) };
        let text = keyring.open(&place(user, &self.question), sealed)?;
        Ok(text.expose_str().map(str::to_owned))
    }

    /// Seals the wording anew; false where there is none.
    pub(in crate::engine) fn reseal(&mut self, user: &UserKey, old: &Keyring, new: &Keyring) -> Result<bool, KeyError> {
        let Some(sealed) = &mut self.own else { return Ok(false) };
        let place = place(user, &self.question);
        *sealed = new.seal(&place, old.open(&place, sealed)?.expose());
        Ok(true)
    }
}

/// A hash that nobody's answer comes to, of the same cost: for who has none.
pub fn decoy_job(typed: &Secret, keyring: &Keyring) -> HashJob {
    let answer = normalise(typed.expose_str().unwrap_or_default());
    HashJob {
        input: Secret::new(keyring.pepper(&[b"nobody", answer.as_bytes()])),
        salt: [0; 16],
        scheme: SCHEME,
    }
}

fn job(user: &UserKey, question: &str, typed: &Secret, salt: [u8; 16], scheme: u8, keyring: &Keyring) -> HashJob {
    let answer = normalise(typed.expose_str().unwrap_or_default());
    let parts = [user.as_str().as_bytes(), question.as_bytes(), answer.as_bytes()];
    HashJob {
        input: Secret::new(keyring.pepper(&parts)),
        salt,
        scheme,
    }
}

/// What is done to a person's answers.
impl Answers {
    /// Puts `answers` in place of those that there are. A lock stays: it is an operator's to lift.
    pub fn define(&mut self, answers: Vec<Answer>, questions: &Questions, now: Timestamp) {
        self.answers = answers;
        self.policy = questions.digest;
        self.failures = 0;
        self.must_update = false;
        self.confirmed = now;
        self.draft = None;
    }

    /// Whether any answers are defined: a draft alone is none.
    pub fn are_defined(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Whether they count in a dialog.
    pub fn count(&self) -> bool {
        self.are_defined() && !self.locked && !self.must_update
    }

    /// The answer to a question.
    pub fn of(&self, question: &str) -> Option<&Answer> {
        self.answers.iter().find(|answer| answer.question == question)
    }

    /// A round was right: other questions are asked next time.
    pub fn count_right(&mut self) {
        self.failures = 0;
        self.rounds = self.rounds.wrapping_add(1);
    }

    /// A round was wrong, or helpdesk found an answer wrong. True when this has locked them.
    pub fn count_wrong(&mut self, questions: &Questions) -> bool {
        self.failures = self.failures.saturating_add(1);
        let full = questions.lock_after > 0 && self.failures >= questions.lock_after;
        let locks = full && !self.locked;
        self.locked |= full;
        locks
    }

    /// They count no more until an operator unlocks them.
    pub fn lock(&mut self) {
        self.locked = true;
    }

    /// They count again.
    pub fn unlock(&mut self) {
        self.locked = false;
        self.failures = 0;
    }

    /// They count no more until they are defined anew.
    pub fn require_update(&mut self) {
        self.must_update = true;
    }

    /// Why they are to be defined anew after the next login; `None` when they are not.
    pub fn due(&self, questions: &Questions, now: Timestamp) -> Option<Due> {
        if self.locked {
            return None;
        }
        if self.must_update {
            return Some(Due::Required);
        }
        if self.policy != questions.digest {
            return Some(Due::PolicyChanged);
        }
        let days = u64::from(questions.reconfirm_days);
        let old = now.secs().saturating_sub(self.confirmed.secs()) >= days * 86_400;
        (days > 0 && old).then_some(Due::Reconfirm)
    }
}

/// Why answers are to be defined anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// There are none.
    Missing,
    /// An operator said so.
    Required,
    /// The question policy is another one than when they were defined.
    PolicyChanged,
    /// They were defined too long ago.
    Reconfirm,
}

impl Due {
    /// The word for it in listings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Required => "must-update",
            Self::PolicyChanged => "policy-changed",
            Self::Reconfirm => "reconfirm",
        }
    }
}

/// Why somebody is to define answers after a login; `None` when they are not.
pub fn due(answers: Option<&Answers>, questions: &Questions, now: Timestamp) -> Option<Due> {
    if !questions.are_configured() {
        return None;
    }
    match answers.filter(|answers| answers.are_defined() || answers.locked) {
        Some(answers) => answers.due(questions, now),
        None => Some(Due::Missing),
    }
}

/// Whether a question has its wording where it has to have one, and only there.
fn is_worded(question: &Question, own: Option<&str>) -> bool {
    match (question.kind, own) {
        (QuestionKind::UserDefined, Some(own)) => {
            let length = own.trim().chars().count();
            length > 0 && own.chars().count() <= crate::engine::policy::MAX_PROMPT && !own.chars().any(char::is_control)
        }
        (QuestionKind::UserDefined, None) => false,
        (QuestionKind::Mandatory | QuestionKind::Optional | QuestionKind::Helpdesk, own) => own.is_none(),
    }
}

/// `ana` of `ana@example.org` and of `EXAMPLE\ana`.
fn local_part(login: &str) -> &str {
    let user = login.split_once('\\').map_or(login, |(_, user)| user);
    user.split_once('@').map_or(user, |(user, _)| user)
}

/// The place that the wording of a user-defined question is sealed to.
fn place(user: &UserKey, question: &str) -> Vec<u8> {
    format!("question/{user}/{question}").into_bytes()
}

#[cfg(test)]
pub(in crate::engine) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::questions::tests::policy;

    fn keyring() -> Keyring {
        Keyring::from_root(&[7; 32])
    }

    fn ana() -> UserKey {
        UserKey::new("d", "ana")
    }

    fn new(question: &str, answer: &str) -> NewAnswer {
        NewAnswer {
            question: question.into(),
            own: None,
            answer: Secret::new(answer),
        }
    }

    /// In place of the slow hash.
    pub(in crate::engine) fn cheap(job: &HashJob) -> [u8; 32] {
        let mut hash = [0; 32];
        let octets = [job.input.expose(), &job.salt].concat();
        hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &octets).as_ref());
        hash
    }

    fn prepare(given: &[NewAnswer]) -> Result<Vec<Prepared>, BadSet> {
        policy().prepare(given, "ana", &ana(), &keyring(), || [3; 16])
    }

    fn whole() -> Vec<NewAnswer> {
        ["school", "street", "book"]
            .map(|id| new(id, &format!("the {id}s name")))
            .into()
    }

    #[test]
    fn rules_of_answers() {
        let check = |answer: NewAnswer| policy().check(&answer, "EXAMPLE\\Ana.B@example.org", ["rex"]);
        assert_eq!(check(new("school", "St. Mary's")), Ok(()));
        assert_eq!(check(new("nothing", "St. Mary's")), Err(Refusal::NoSuchQuestion));
        assert_eq!(check(new("school", "  ab ")), Err(Refusal::TooShort(3)));
        assert_eq!(check(new("school", &"a".repeat(41))), Err(Refusal::TooLong(40)));
        assert_eq!(
            check(new("school", &"ab ".repeat(13))),
            Ok(()),
            "38 characters, normalised"
        );
        assert_eq!(check(new("school", "PASS  word")), Err(Refusal::Blocked));
        assert_eq!(check(new("school", "SCHOOL")), Err(Refusal::InQuestion));
        assert_eq!(
            check(new("school", "schule")),
            Err(Refusal::InQuestion),
            "in any language"
        );
        assert_eq!(check(new("school", "ana.b")), Err(Refusal::LoginName));
        assert_eq!(check(new("school", "Rex")), Err(Refusal::Duplicate));
        assert_eq!(check(new("own", "Rex")), Err(Refusal::Wording));
        let own = |own: &str| NewAnswer {
            own: Some(own.into()),
            ..new("own", "fluffy")
        };
        assert_eq!(check(own("My first pet?")), Ok(()));
        assert_eq!(check(own("Was it fluffy?")), Err(Refusal::InQuestion));
        assert_eq!(check(own(&"a".repeat(121))), Err(Refusal::Wording));
        let invalid = NewAnswer {
            answer: Secret::new([0xff, 0xfe, 0xfd, 0xfc]),
            ..new("school", "")
        };
        assert_eq!(check(invalid), Err(Refusal::TooShort(3)));
    }

    #[test]
    fn sets_of_answers() {
        assert_eq!(prepare(&whole()).unwrap().len(), 3);
        let few = &whole()[..2];
        assert_eq!(prepare(few).unwrap_err(), BadSet::TooFew(2, 3));
        let without = [new("street", "abc"), new("book", "def"), new("concert", "ghi")];
        assert_eq!(prepare(&without).unwrap_err(), BadSet::Mandatory("school".into()));
        let twice = [new("school", "abc"), new("school", "def")];
        let expected = BadSet::Answer("school".into(), Refusal::AnsweredTwice);
        assert_eq!(prepare(&twice).unwrap_err(), expected);
        // Helpdesk's are no part of those that dialogs ask.
        let helpdesk = [new("school", "abc"), new("street", "def"), new("word", "ghi")];
        assert_eq!(prepare(&helpdesk).unwrap_err(), BadSet::TooFew(2, 3));
    }

    #[test]
    fn an_answer_is_known_again_and_nothing_else() {
        let prepared = prepare(&whole()).unwrap();
        let hash = cheap(&prepared[0].job);
        let answer = prepared[0].clone().finish(hash);
        let judged = |typed: &str| answer.is(&cheap(&answer.job(&ana(), &Secret::new(typed), &keyring())));
        assert!(judged("the schools name"));
        assert!(judged(" The  Schools NAME"));
        assert!(!judged("the streets name"));
        // Of somebody else, or with another key file, it is another one.
        let typed = Secret::new("the schools name");
        let other = UserKey::new("d", "bob");
        assert!(!answer.is(&cheap(&answer.job(&other, &typed, &keyring()))));
        let foreign = Keyring::from_root(&[8; 32]);
        assert!(!answer.is(&cheap(&answer.job(&ana(), &typed, &foreign))));
        assert_eq!(
            format!("{:?}", answer.job(&ana(), &typed, &keyring())),
            "HashJob([secret])"
        );
    }

    #[test]
    fn a_wording_of_ones_own_is_sealed_to_its_person() {
        let own = NewAnswer {
            own: Some("My first pet?".into()),
            ..new("own", "fluffy")
        };
        let answer = prepare_one(&own, &ana(), &keyring(), [1; 16]).finish([0; 32]);
        assert_eq!(
            answer.wording(&ana(), &keyring()).unwrap().as_deref(),
            Some("My first pet?")
        );
        assert!(answer.wording(&UserKey::new("d", "bob"), &keyring()).is_err());
    }

    #[test]
    fn wrong_rounds_lock() {
        let questions = policy();
        let mut answers = Answers::default();
        let stored = prepare(&whole())
            .unwrap()
            .into_iter()
            .map(|one| one.finish([1; 32]))
            .collect();
        answers.define(stored, &questions, Timestamp::from_secs(10));
        assert!(answers.count());
        assert!(!answers.count_wrong(&questions));
        answers.count_right();
        assert_eq!((answers.failures, answers.rounds), (0, 1));
        assert!(!answers.count_wrong(&questions));
        assert!(answers.count_wrong(&questions), "the second in a row");
        assert!(!answers.count_wrong(&questions), "locked already");
        assert!(answers.locked && !answers.count());
        let again = answers.answers.clone();
        answers.define(again, &questions, Timestamp::from_secs(20));
        assert!(answers.locked, "only an operator unlocks");
        answers.unlock();
        assert!(answers.count());
        answers.require_update();
        assert!(!answers.count());
    }

    #[test]
    fn when_answers_are_due() {
        let questions = Questions {
            reconfirm_days: 10,
            ..policy()
        };
        let at = |days: u64| Timestamp::from_secs(days * 86_400);
        assert_eq!(due(None, &questions, at(0)), Some(Due::Missing));
        assert_eq!(due(None, &Questions::default(), at(0)), None, "no questions");
        let mut answers = Answers::default();
        assert_eq!(due(Some(&answers), &questions, at(0)), Some(Due::Missing));
        let stored = prepare(&whole())
            .unwrap()
            .into_iter()
            .map(|one| one.finish([1; 32]))
            .collect();
        answers.define(stored, &questions, at(1));
        assert_eq!(due(Some(&answers), &questions, at(10)), None);
        assert_eq!(due(Some(&answers), &questions, at(11)), Some(Due::Reconfirm));
        let other = Questions {
            digest: 1,
            ..questions.clone()
        };
        assert_eq!(due(Some(&answers), &other, at(1)), Some(Due::PolicyChanged));
        answers.require_update();
        assert_eq!(due(Some(&answers), &questions, at(1)), Some(Due::Required));
        answers.lock();
        assert_eq!(due(Some(&answers), &questions, at(1)), None);
    }

    proptest! {
        #[test]
        fn no_two_answers_of_a_set_mean_the_same(words in proptest::collection::vec("[a-cA-C ]{0,5}", 3)) {
            let ids = ["school", "street", "book"];
            let given: Vec<NewAnswer> = ids.iter().zip(&words).map(|(id, word)| new(id, word)).collect();
            if prepare(&given).is_ok() {
                let normal: std::collections::BTreeSet<String> =
                    words.iter().map(|word| normalise(word).to_string()).collect();
                prop_assert_eq!(normal.len(), 3);
                prop_assert!(normal.iter().all(|answer| answer.chars().count() >= 3));
            }
        }
    }
}
