//! What somebody who logs in goes through, told before anybody does: what is asked in which order and in which
//! words, and which workflows can follow from there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::login::first_said;
use crate::engine::policy::{Order, Policy, Rule, Ruling, Subject, Terms, Who};
use crate::engine::request::{Capability, Operation, Protocol, Split};
use crate::engine::texts::{Text, Voice};
use crate::engine::workflow::{Action, End, Start, Task, Workflow};

/// What is asked, and what can follow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// What is asked first, in order.
    pub asked: Vec<AskedFor>,
    /// Workflows that can be come to.
    pub follows: Vec<Following>,
    /// Why nothing follows, or why the client cannot do what the rule asks.
    pub notes: Vec<String>,
}

/// One thing that is asked for, or done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedFor {
    /// What.
    pub what: String,
    /// In which words; none where the client uses its own, or nothing is asked.
    pub text: Option<String>,
}

/// A workflow that can be come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// On which condition.
    pub when: String,
    /// What it starts with.
    pub start: Start,
    /// The rule that allows it.
    pub rule: String,
    /// The workflow's name.
    pub workflow: String,
    /// Its steps.
    pub steps: Vec<AskedFor>,
    /// How it ends.
    pub ends: String,
}

/// Tells what `subject` would go through at a client that can hold conversations of this kind. `four_eyes`: passcodes
/// are handed over in two halves.
pub fn outline(policy: &Policy, subject: &Subject<'_>, capability: Capability, four_eyes: bool) -> Outline {
    let teller = Teller {
        policy,
        subject,
        capability,
        four_eyes,
    };
    let mut outline = Outline::default();
    if let (Some((_, terms)), Operation::Login | Operation::PasswordChange) =
        (teller.rule(subject.operation), subject.operation)
    {
        teller.proofs(terms, &mut outline);
    }
    if subject.origin.protocol == Protocol::Radius {
        match capability {
            Capability::Dialog => outline.follows = teller.follows(),
            Capability::SingleChallenge | Capability::Append(_) | Capability::None => outline
                .notes
                .push("The client's profile holds no dialog, so no workflow follows.".into()),
        }
    }
    outline
}

struct Teller<'a> {
    policy: &'a Policy,
    subject: &'a Subject<'a>,
    capability: Capability,
    four_eyes: bool,
}

impl Teller<'_> {
    /// The rule that lets somebody do `operation`, or that others are asked by.
    fn rule(&self, operation: Operation) -> Option<(&Rule, &Terms)> {
        let subject = Subject {
            operation,
            ..*self.subject
        };
        let own = self.policy.ruling(&subject);
        let lets_in = own.filter(|rule| matches!(rule.ruling, Ruling::Require(_)));
        let rule = lets_in.or_else(|| self.policy.decoy(&subject))?;
        match &rule.ruling {
            Ruling::Require(terms) => Some((rule, terms)),
            Ruling::Deny => None,
        }
    }

    /// How the client is spoken to, or the person once something was proven.
    fn voice(&self, proven: bool) -> Voice<'_> {
        let person = match self.subject.person {
            Who::Known(person) if proven => Some(person),
            Who::Known(_) | Who::Decoy => None,
        };
        self.policy.texts.voice(&self.subject.origin.manner, person)
    }

    /// What the rule has somebody prove, as the client can ask for it.
    fn proofs(&self, terms: &Terms, outline: &mut Outline) {
        let requirement = terms.requirement_for(self.subject.operation);
        let codes = requirement.useful_codes(KindSet::EMPTY);
        let rounds = requirement.fewest_codes();
        let password = match self.subject.operation {
            Operation::Login | Operation::Recovery => "the password",
            Operation::PasswordChange => "the old password",
        };
        let instead = requirement.codes_instead_of_password().codes();
        let first = match (requirement.takes_password(), instead.is_empty()) {
            (true, true) => password.to_owned(),
            (true, false) => format!("{password}, or in its place {}", any_of(instead)),
            (false, _) => any_of(codes),
        };
        let beside = rounds > 0 && requirement.takes_password();
        match self.capability {
            Capability::Append(split) if beside => {
                let place = match split {
                    Split::Separator(mark) => format!("after `{mark}`"),
                    Split::Fixed(count) => format!("as the last {count} characters"),
                };
                outline.asked.push(AskedFor {
                    what: format!("{first}, with {} behind it {place}", any_of(codes)),
                    text: None,
                });
            }
            Capability::Append(_) | Capability::None | Capability::SingleChallenge | Capability::Dialog => {
                outline.asked.push(AskedFor {
                    what: first,
                    text: None,
                });
            }
        }
        let challenges = if beside { rounds } else { rounds.saturating_sub(1) };
        let possible = match self.capability {
            Capability::Dialog => true,
            Capability::SingleChallenge => challenges <= 1,
            Capability::Append(_) => rounds <= 1,
            Capability::None => challenges == 0,
        };
        if !possible {
            let note = "The rule asks for more codes than the client's profile can ask for, so the end is a refusal.";
            outline.notes.push(note.into());
            return;
        }
        if matches!(self.capability, Capability::Append(_)) {
            return;
        }
        let first_proven = terms.order == Order::PasswordFirst;
        let hides = terms.hides_password() && self.subject.operation == Operation::Login;
        let once = self.capability == Capability::SingleChallenge;
        for round in 0..challenges {
            let voice = self.voice((first_proven && !hides) || round > 0);
            let offered = match hides && round == 0 {
                true => first_said(codes, once, voice),
                false => None,
            };
            let text = match (offered, &terms.prompt) {
                (Some(offered), _) => offered,
                (None, Some(own)) => voice.write(&**own),
                (None, None) => voice.say(Text::Code, &[]),
            };
            outline.asked.push(AskedFor {
                what: if round == 0 {
                    any_of(codes)
                } else {
                    "another of them".into()
                },
                text: Some(text),
            });
        }
        if first_proven && challenges > 0 {
            let note = match hides {
                true => "The password is judged first; after a wrong one the same is asked, and the end is a refusal.",
                false => "A code is asked for only once the password is right.",
            };
            outline.notes.push(note.into());
        }
    }

    /// The workflows that can be come to in a dialog.
    fn follows(&self) -> Vec<Following> {
        let login = self.rule(Operation::Login);
        let change = self.rule(Operation::PasswordChange);
        let recovery = self.rule(Operation::Recovery);
        let passcode = KindSet::of(Kind::Passcode);
        let logs_in = |terms: &Terms| terms.requirement.codes_instead_of_password().has(Kind::Passcode);
        let of = |operation| self.subject.operation == operation;
        let mut follows = Vec::new();
        if let Some((rule, terms)) = login.filter(|_| of(Operation::Login)) {
            let when = "once everything is proven".to_owned();
            let own = self.following(when, Start::Login, rule, terms);
            follows.extend(own.filter(|following| !following.steps.is_empty()));
            let changes = change.is_some_and(|(_, terms)| !terms.change.is_impossible());
            let when = "if the password is expired or must be changed".to_owned();
            follows.extend(self.following(when, Start::Expired, rule, terms).filter(|_| changes));
        }
        if let Some((rule, terms)) = login
            && let Some(enrol) = &terms.enrol
            && of(Operation::Login)
        {
            let when = match enrol.grace(self.subject.now) {
                Some(grace) => format!(
                    "after {}, if the password is right and nothing was ever enrolled",
                    grace.written
                ),
                None => "if the password is right and nothing was ever enrolled".to_owned(),
            };
            follows.extend(self.following(when, Start::Enrol, rule, terms));
        }
        if let Some((rule, terms)) = change
            && terms.change.is_met(passcode)
            && !of(Operation::Recovery)
            && !login.is_some_and(|(_, terms)| logs_in(terms))
        {
            let when = "if a passcode is typed in place of the password".to_owned();
            follows.extend(self.following(when, Start::Passcode, rule, terms));
        }
        if let (Some((rule, terms)), Some(word)) = (recovery, &self.subject.origin.manner.recover)
            && !of(Operation::PasswordChange)
        {
            let when = format!("if {word} is typed in place of the password");
            follows.extend(self.following(when, Start::Recover, rule, terms));
        }
        follows
    }

    fn following(&self, when: String, start: Start, rule: &Rule, terms: &Terms) -> Option<Following> {
        let workflow = self.policy.workflows.of(start, &terms.workflows)?;
        let mut steps = Vec::new();
        if start == Start::Passcode && self.four_eyes {
            steps.push(AskedFor {
                what: "the second half of the passcode, where the first was typed alone".into(),
                text: Some(self.voice(false).say(Text::SecondPart, &[])),
            });
        }
        let mut proven = start != Start::Recover;
        for step in &workflow.steps {
            proven |= !step.proves();
            self.step(step, start, self.voice(proven), &mut steps);
        }
        Some(Following {
            when,
            start,
            rule: rule.name.to_string(),
            workflow: workflow.name.to_string(),
            steps,
            ends: self.end(workflow),
        })
    }

    /// What one step asks for.
    fn step(&self, step: &Task, start: Start, voice: Voice<'_>, steps: &mut Vec<AskedFor>) {
        let mut ask = |what: String, text: Option<String>| steps.push(AskedFor { what, text });
        let say = |text: Text| Some(voice.say(text, &[]));
        match step {
            Task::Prove(kinds) => {
                let kinds = kinds.iter().fold(KindSet::EMPTY, |set, kind| set.with(*kind));
                ask(format!("prove {}", any_of(kinds)), say(Text::RecoveryCode));
            }
            Task::Factors => ask(format!("{step}, if there is one"), say(Text::Factor)),
            Task::Questions => {
                let questions = &self.policy.questions;
                let what = if questions.are_configured() {
                    format!(
                        "answer {} security questions, {} right",
                        questions.ask, questions.correct
                    )
                } else {
                    "answer security questions, of which there are none: the end is a refusal".into()
                };
                ask(what, None);
            }
            Task::Choose(actions) => {
                let options: Vec<String> = actions
                    .iter()
                    .enumerate()
                    .map(|(index, action)| format!("{} {}", index + 1, voice.say(action.text(), &[])))
                    .collect();
                let options = options.join("  ");
                let text = (actions.len() > 1).then(|| voice.say(Text::Choose, &[("options", &options)]));
                ask(step.to_string(), text);
            }
            Task::NewPassword => {
                let text = match start {
                    Start::Passcode => Text::PasscodeAccepted,
                    Start::Expired => Text::PasswordExpired,
                    Start::Login | Start::Recover | Start::Enrol => Text::NewPassword,
                };
                ask(step.to_string(), say(text));
                ask("type it again".into(), say(Text::RepeatPassword));
            }
            Task::Enrol => {
                ask(step.to_string(), Some(voice.say(Text::EnrolKey, &[("key", "…")])));
                ask("type its next code".into(), say(Text::EnrolNext));
            }
            Task::Unlock | Task::Answers => ask(step.to_string(), None),
        }
    }

    fn end(&self, workflow: &Workflow) -> String {
        if workflow.end == End::Accept {
            return "let in".into();
        }
        let voice = self.voice(true);
        let does = |action: Action| workflow.steps.iter().any(|step| step.offers(action));
        let mut texts = Vec::new();
        for (action, text) in [
            (Action::Unlock, Text::Unlocked),
            (Action::NewPassword, Text::PasswordChanged),
            (Action::Enrol, Text::Enrolled),
            (Action::Answers, Text::Done),
        ] {
            let said = format!("{:?}", voice.say(text, &[]));
            if does(action) && !texts.contains(&said) {
                texts.push(said);
            }
        }
        if texts.is_empty() {
            texts.push(format!("{:?}", voice.say(Text::Done, &[])));
        }
        format!("not let in, and told {}", texts.join(" or "))
    }
}

/// `totp, hotp or recovery-code`
fn any_of(kinds: KindSet) -> String {
    let words: Vec<&str> = kinds.iter().map(Kind::word).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => "nothing".into(),
    }
}

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, steps: &[AskedFor]| {
            for (index, step) in steps.iter().enumerate() {
                write!(f, "\n  {}. {step}", index + 1)?;
            }
            Ok(())
        };
        if !self.asked.is_empty() {
            f.write_str("Asked for, in order:")?;
            list(f, &self.asked)?;
        }
        for (index, note) in self.notes.iter().enumerate() {
            if index > 0 || !self.asked.is_empty() {
                f.write_str("\n")?;
            }
            f.write_str(note)?;
        }
        for (index, following) in self.follows.iter().enumerate() {
            if index > 0 || !self.asked.is_empty() || !self.notes.is_empty() {
                f.write_str("\n")?;
            }
            let Following {
                when, rule, workflow, ..
            } = following;
            write!(f, "Then, {when}: workflow \"{workflow}\" (by rule \"{rule}\")")?;
            list(f, &following.steps)?;
            write!(f, "\n  => {}", following.ends)?;
        }
        Ok(())
    }
}

impl fmt::Display for AskedFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.text {
            Some(text) => write!(f, ": {text:?}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::dictionary::Dictionary;
    use crate::document::{Faults, Source};
    use crate::engine::policy;
    use crate::engine::request::{LoginName, Manner, Origin, Transport};

    const RULES: &str = r#"
[[rule]]
name = "passcodes"
when = { operation = ["password-change"], protocol = ["radius"] }
require = { any = ["password", "passcode"] }

[[rule]]
name = "forgotten"
when = { operation = ["recovery"] }
require = "recovery-code"

[[rule]]
name = "two codes"
when = { service = ["vault"] }
require = { all = ["password", "totp", "hotp"] }

[[rule]]
name = "by mail"
when = { service = ["mail"] }
require = { all = ["password", { any = ["totp", "email-code", "gateway-code"] }] }

[[rule]]
name = "allowed"
when = { service = ["allowed"] }
require = { all = ["password", "approval"] }

[[rule]]
name = "staff"
require = { all = ["password", { any = ["totp", "recovery-code"] }] }
enrol = "now"
"#;

    fn told(service: &str, capability: Capability, operation: Operation, manner: Manner) -> String {
        let mut faults = Faults::default();
        let source = Source::new(Path::new("p.toml"), RULES);
        let policy = policy::parse(&[source], Dictionary::shipped(), &mut faults);
        assert!(faults.0.is_empty(), "{faults}");
        let origin = Origin {
            protocol: Protocol::Radius,
            service: service.into(),
            client: "c1".into(),
            directory: "corp".into(),
            source: [192, 0, 2, 1].into(),
            nas_identifier: None,
            calling_station: None,
            called_station: None,
            listener: None,
            application: None,
            transport: Transport::Udp,
            service_account: None,
            manner,
        };
        let login = LoginName::parse("ana").unwrap();
        let subject = Subject {
            login: &login,
            origin: &origin,
            person: Who::Decoy,
            operation,
            sessions: None,
            known: policy::Known::default(),
            now: Timestamp::from_secs(1_767_600_000),
        };
        let outline = outline(&policy, &subject, capability, true);
        let json = serde_json::to_string(&outline).unwrap();
        assert_eq!(serde_json::from_str::<Outline>(&json).unwrap(), outline);
        outline.to_string()
    }

    #[test]
    fn a_dialog_is_told_to_its_ends() {
        let manner = Manner {
            recover: Some(Arc::from("?recover")),
            ..Manner::default()
        };
        insta::assert_snapshot!(told("vpn", Capability::Dialog, Operation::Login, manner.clone()));
        insta::assert_snapshot!(told("vpn", Capability::Dialog, Operation::Recovery, manner));
    }

    #[test]
    fn what_has_to_be_asked_for_is_told_in_its_own_words() {
        let told = |service, capability| told(service, capability, Operation::Login, Manner::default());
        let mail = told("mail", Capability::Dialog);
        assert!(
            mail.contains(r#""Code, or 0 usual 1 e-mail 2 text message:""#),
            "{mail}"
        );
        assert!(mail.contains("after a wrong one the same is asked"), "{mail}");
        let once = told("mail", Capability::SingleChallenge);
        assert!(once.contains(r#""Enter the 6-digit code""#), "{once}");
        let approval = told("allowed", Capability::Dialog);
        assert!(
            approval.contains(r#""Approval … asked for. Type ok when it is given:""#),
            "{approval}"
        );
    }

    #[test]
    fn other_clients_are_told_what_they_can_ask() {
        let manner = Manner {
            language: Some(Arc::from("de")),
            ..Manner::default()
        };
        let append = Capability::Append(Split::Separator(','));
        insta::assert_snapshot!(told("vpn", append, Operation::Login, manner.clone()));
        insta::assert_snapshot!(told(
            "vpn",
            Capability::SingleChallenge,
            Operation::Login,
            manner.clone()
        ));
        insta::assert_snapshot!(told(
            "vault",
            Capability::SingleChallenge,
            Operation::Login,
            manner.clone()
        ));
        insta::assert_snapshot!(told("vault", Capability::Dialog, Operation::Login, manner.clone()));
        insta::assert_snapshot!(told("vpn", Capability::None, Operation::Login, manner));
    }
}
