//! Workflows: what a dialog goes through, step by step, as data that an administrator can change.
//!
//! A workflow starts at a known point ([`Start`]) and goes through its tasks in order; where it stands travels in
//! the sealed dialog ([`Course`]). Those that are shipped (`policies/workflows`) are built in.

mod files;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::document::{Faults, Source};
use crate::engine::authenticator::enrolling::Enrolling;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::request::Operation;
use crate::engine::texts::Text;

/// What a workflow starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Everything that the rule requires was proven, and the person would be let in.
    Login,
    /// Everything was proven, and the password is too old, or must be changed.
    Expired,
    /// A passcode was typed in place of the password, and was right.
    Passcode,
    /// The word for a forgotten password was typed in its place.
    Recover,
    /// The password was right, and no second factor is enrolled where the rule wants one to be.
    Enrol,
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Login, Self::Expired, Self::Passcode, Self::Recover, Self::Enrol];

    /// The word for it in files and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Expired => "expired",
            Self::Passcode => "passcode",
            Self::Recover => "recover",
            Self::Enrol => "enrol",
        }
    }

    /// What rules are asked about.
    pub const fn operation(self) -> Operation {
        match self {
            Self::Login | Self::Expired | Self::Enrol => Operation::Login,
            Self::Passcode => Operation::PasswordChange,
            Self::Recover => Operation::Recovery,
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One thing that a workflow has somebody do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Prove one of these, whether or not they have it.
    Prove(Vec<Kind>),
    /// Prove a second factor, if they have one: any that is enrolled. A passcode that was issued in place of a
    /// lost one stands for it.
    Factors,
    /// Answer security questions.
    Questions,
    /// Choose what comes next; what is chosen takes the place of this step.
    Choose(Vec<Action>),
    /// Set a new password, typed twice.
    NewPassword,
    /// Have the account unlocked.
    Unlock,
    /// Enrol a token.
    Enrol,
    /// Define answers to security questions.
    Answers,
}

impl Task {
    /// Whether it is a proof: everybody is asked for those, whatever came of the ones before.
    pub const fn proves(&self) -> bool {
        match self {
            Self::Prove(_) | Self::Questions => true,
            Self::Factors | Self::Choose(_) | Self::NewPassword | Self::Unlock | Self::Enrol | Self::Answers => false,
        }
    }

    /// Whether it is an action, or lets it be chosen.
    pub fn offers(&self, action: Action) -> bool {
        match self {
            Self::Choose(actions) => actions.contains(&action),
            Self::Prove(_)
            | Self::Factors
            | Self::Questions
            | Self::NewPassword
            | Self::Unlock
            | Self::Enrol
            | Self::Answers => *self == action.task(),
        }
    }
}

/// Something that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// [`Task::Unlock`].
    Unlock,
    /// [`Task::NewPassword`].
    NewPassword,
    /// [`Task::Enrol`].
    Enrol,
    /// [`Task::Answers`].
    Answers,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unlock, Self::NewPassword, Self::Enrol, Self::Answers];

    /// What it comes to.
    pub const fn task(self) -> Task {
        match self {
            Self::Unlock => Task::Unlock,
            Self::NewPassword => Task::NewPassword,
            Self::Enrol => Task::Enrol,
            Self::Answers => Task::Answers,
        }
    }

    /// What it is called where it can be chosen.
    pub const fn text(self) -> Text {
        match self {
            Self::Unlock => Text::ChooseUnlock,
            Self::NewPassword => Text::ChooseNewPassword,
            Self::Enrol => Text::ChooseEnrol,
            Self::Answers => Text::ChooseAnswers,
        }
    }

    /// The word for it in files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unlock => "unlock",
            Self::NewPassword => "new-password",
            Self::Enrol => "enrol",
            Self::Answers => "answers",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prove(kinds) => {
                let words: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
                write!(f, "prove {}", words.join(" or "))
            }
            Self::Factors => f.write_str("prove an enrolled second factor"),
            Self::Questions => f.write_str("answer security questions"),
            Self::Choose(actions) => {
                let words: Vec<&str> = actions.iter().map(|action| action.word()).collect();
                write!(f, "choose {}", words.join(" or "))
            }
            Self::NewPassword => f.write_str("set a new password"),
            Self::Unlock => f.write_str("unlock the account"),
            Self::Enrol => f.write_str("enrol a token"),
            Self::Answers => f.write_str("define security answers"),
        }
    }
}

/// How a workflow ends, once every step is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The person is let in.
    Accept,
    /// The person is told what came of it, and logs in anew.
    #[default]
    Reject,
}

/// Steps in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// Its name, unique.
    pub name: Arc<str>,
    /// What it starts with.
    pub start: Start,
    /// What it goes through; at most [`Workflow::MAX_STEPS`].
    pub steps: Vec<Task>,
    /// How it ends.
    pub end: End,
    /// Tells it from what it was before it was changed: a dialog does not go on in another workflow than its own.
    pub mark: u32,
}

impl Workflow {
    /// Most steps of one workflow.
    pub const MAX_STEPS: usize = 16;

    /// The step of this number, from zero.
    pub fn step(&self, number: u8) -> Option<&Task> {
        self.steps.get(usize::from(number))
    }

    /// Whether security questions are all that is proven in it.
    pub fn rests_on_questions_alone(&self) -> bool {
        self.proofs() == KindSet::of(Kind::Questions) && !self.steps.contains(&Task::Factors)
    }

    /// What is proven in it, at most.
    pub fn proofs(&self) -> KindSet {
        self.steps.iter().fold(KindSet::EMPTY, |proofs, step| match step {
            Task::Prove(kinds) => kinds.iter().fold(proofs, |proofs, kind| proofs.with(*kind)),
            Task::Questions => proofs.with(Kind::Questions),
            Task::Factors | Task::Choose(_) | Task::NewPassword | Task::Unlock | Task::Enrol | Task::Answers => proofs,
        })
    }
}

impl fmt::Display for Workflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{step}")?;
        }
        Ok(())
    }
}

/// All workflows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflows(Vec<Arc<Workflow>>);

impl Default for Workflows {
    fn default() -> Self {
        BUILT_IN.clone()
    }
}

impl Workflows {
    /// Reads workflow files; what they do not replace by its name stays as it is built in.
    pub fn parse(sources: &[Source], faults: &mut Faults) -> Self {
        let mut workflows = Self::default();
        let mut names = Vec::new();
        for source in sources {
            let Some(workflow) = files::parse(source, faults) else {
                continue;
            };
            if names.contains(&workflow.name) {
                let message = format!("is the second workflow named \"{}\"; name it otherwise", workflow.name);
                faults.file(source.file(), message);
                continue;
            }
            names.push(Arc::clone(&workflow.name));
            match workflows.0.iter_mut().find(|other| other.name == workflow.name) {
                Some(built_in) => *built_in = Arc::new(workflow),
                None => workflows.0.push(Arc::new(workflow)),
            }
        }
        workflows
    }

    /// The workflow of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Workflow>> {
        self.0.iter().find(|workflow| &*workflow.name == name)
    }

    /// The workflow that is followed from `start`: the one that `chosen` names, else the one named after the start.
    pub fn of(&self, start: Start, chosen: &[Arc<str>]) -> Option<&Arc<Workflow>> {
        let from = || self.0.iter().filter(|workflow| workflow.start == start);
        from()
            .find(|workflow| chosen.contains(&workflow.name))
            .or_else(|| from().find(|workflow| &*workflow.name == start.word()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.0.iter()
    }
}

/// The workflows as shipped.
static BUILT_IN: LazyLock<Workflows> = LazyLock::new(|| {
    let mut faults = Faults::default();
    let files = [
        ("login.toml", include_str!("../../policies/workflows/login.toml")),
        ("expired.toml", include_str!("../../policies/workflows/expired.toml")),
        ("passcode.toml", include_str!("../../policies/workflows/passcode.toml")),
        ("recover.toml", include_str!("../../policies/workflows/recover.toml")),
        ("enrol.toml", include_str!("../../policies/workflows/enrol.toml")),
    ];
    let sources = files.map(|(name, text)| Source::new(Path::new(name), text));
    let workflows = sources.iter().filter_map(|source| files::parse(source, &mut faults));
    Workflows(workflows.map(Arc::new).collect())
});

/// Where a dialog stands in a workflow. It travels in State, so it is small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// What it started with.
    pub start: Start,
    /// [`Workflow::mark`].
    pub mark: u32,
    /// The step that was asked about, from zero.
    pub step: u8,
    /// The action that was chosen in place of the step.
    pub chosen: Option<Action>,
    /// What was asked.
    pub at: At,
    /// The session that it goes on in ([`crate::engine::record::Helped::id`]), once there is one.
    pub session: Option<u64>,
    /// What has been proven to be wrong or missing: it goes on all the same, and nothing comes of it.
    pub spoilt: bool,
}

/// What was asked, within one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum At {
    /// The first thing, or the only one.
    Asked,
    /// The second part of a passcode: here is the first, normalised.
    SecondPart(String),
    /// The new password again: here are the first octets of [`crate::keyring::Keyring::digest_code`] of it.
    Repeat([u8; 12]),
    /// A code of the key of a token that is being enrolled.
    Enrolling(Enrolling),
    /// A security question.
    Answer(Answered),
    /// A security question that a rule asks beside other factors, outside of any workflow.
    Factor(Answered),
    /// An answer that is being defined.
    Define(Defining),
}

/// How far a round of security questions has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Answers that are in.
    pub number: u8,
    /// A bit for each of them that was right.
    pub right: u8,
    /// Tells the round from others.
    pub round: u32,
}

/// How far somebody has come with defining answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defining {
    /// [`crate::engine::record::Draft::id`].
    pub draft: u64,
    /// By what those that are in are known again: short keyed digests.
    pub marks: Vec<[u8; 4]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_has_its_workflow() {
        let workflows = Workflows::default();
        for start in Start::ALL {
            let workflow = workflows.of(start, &[]).unwrap();
            assert_eq!((&*workflow.name, workflow.start), (start.word(), start));
        }
        assert_eq!(workflows.iter().count(), 5);
    }
}
