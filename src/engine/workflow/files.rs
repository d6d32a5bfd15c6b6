//! Reading workflow files, and what is wrong with them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::document::{Document, Faults, Severity, Source, nearest};
use crate::engine::authenticator::Kind;
use crate::engine::workflow::{Action, End, Start, Task, Workflow, Workflows};

/// One workflow file: named after the workflow.
pub(super) fn parse(source: &Source, faults: &mut Faults) -> Option<Workflow> {
    let Some(name) = name(source) else {
        let message = "is not named after a workflow; a name has small letters, digits and hyphens";
        faults.file(source.file(), message);
        return None;
    };
    let document = Document::parse(source, faults)?;
    document.only(&["workflow"], faults);
    let before = faults.0.len();
    let raw: RawWorkflow = document.section("workflow", faults);
    let mut reader = Reader {
        document: &document,
        faults,
    };
    let start = reader.start(raw.starts.as_deref(), name);
    let end = reader.end(raw.ends.as_deref());
    let steps = reader.steps(raw.steps);
    if let Some(start) = start
        && reader.faults.0.len() == before
    {
        reader.check(start, &steps, end);
    }
    let new = faults.0.get(before..).unwrap_or_default();
    let sound = new.iter().all(|fault| fault.severity == Severity::Warning);
    start.filter(|_| sound).map(|start| Workflow {
        name: name.into(),
        start,
        steps,
        end,
        mark: crc32fast::hash(source.text().as_bytes()),
    })
}

impl Workflows {
    /// Tells of workflows in which answers to security questions are all that somebody proves who has forgotten the
    /// password: an error unless the policy allows it, and then a warning all the same. Answers are guessed, looked
    /// up and asked for by others.
    pub fn check_questions(&self, sources: &[Source], allowed: bool, faults: &mut Faults) {
        let recover = self.0.iter().filter(|workflow| workflow.start == Start::Recover);
        for workflow in recover.filter(|workflow| workflow.rests_on_questions_alone()) {
            let own = sources.iter().find(|source| name(source) == Some(&*workflow.name));
            let Some(source) = own else {
                continue;
            };
            let Some(document) = Document::parse(source, &mut Faults::default()) else {
                continue;
            };
            let at = ["workflow", "steps"];
            faults.0.push(if allowed {
                document.warning(&at, "has questions as the only proof: whoever knows the answers has the account")
            } else {
                document.fault(
                    &at,
                    "has questions as the only proof; add a step such as { prove = [\"recovery-code\", \"totp\"] }, or say \
                     only_proof = true in questions.toml",
                )
            });
        }
    }
}

/// The name of the workflow that a file holds.
fn name(source: &Source) -> Option<&str> {
    let name = source.file().file_stem()?.to_str()?;
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    name.bytes().all(plain).then_some(name)
}

#[derive(Default, Deserialize)]
struct RawWorkflow {
    starts: Option<String>,
    #[serde(default)]
    steps: Vec<RawStep>,
    ends: Option<String>,
}

/// A step as far as TOML goes.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawStep {
    Word(String),
    Of(BTreeMap<String, Vec<String>>),
    Strange(IgnoredAny),
}

struct Reader<'d, 's, 'f> {
    document: &'d Document<'s>,
    faults: &'f mut Faults,
}

impl Reader<'_, '_, '_> {
    fn start(&mut self, word: Option<&str>, name: &str) -> Option<Start> {
        let words = Start::ALL.map(Start::word);
        let Some(word) = word else {
            let message = format!("does not say what it `starts` with: {}", words.join(", "));
            self.error(&["workflow"], message);
            return None;
        };
        let Some(start) = Start::ALL.into_iter().find(|start| start.word() == word) else {
            self.unknown(&["workflow", "starts"], word, "no start", &words);
            return None;
        };
        if name != start.word() && words.contains(&name) {
            let message = format!(
                "is `{start}`, but the file is named after what `{name}` starts with, which nothing would be followed \
                 from; give the file another name"
            );
            self.error(&["workflow", "starts"], message);
        }
        Some(start)
    }

    fn end(&mut self, word: Option<&str>) -> End {
        let Some(word) = word else {
            return End::default();
        };
        let found = END_WORDS.into_iter().find(|(known, _)| *known == word);
        match found {
            Some((_, end)) => end,
            None => {
                self.unknown(&["workflow", "ends"], word, "no end", &END_WORDS.map(|(word, _)| word));
                End::default()
            }
        }
    }

    fn steps(&mut self, raw: Vec<RawStep>) -> Vec<Task> {
        if raw.len() > Workflow::MAX_STEPS {
            let message = format!("has more than {} steps", Workflow::MAX_STEPS);
            self.error(&["workflow", "steps"], message);
        }
        let mut steps = Vec::with_capacity(raw.len());
        for (index, raw) in raw.into_iter().enumerate() {
            let index = index.to_string();
            let at = ["workflow", "steps", index.as_str()];
            match raw {
                RawStep::Word(word) => match simple(&word) {
                    Some(task) => steps.push(task),
                    None if LISTS.contains(&word.as_str()) => {
                        self.error(&at, format!("lacks its list; write {{ {word} = [\"…\"] }}"));
                    }
                    None => self.unknown(&at, &word, "no step", &step_words()),
                },
                RawStep::Of(table) => {
                    if table.len() != 1 {
                        self.error(&at, "must have one key; write each step by itself");
                    }
                    for (key, list) in table {
                        steps.extend(self.listed(&at, &key, list));
                    }
                }
                RawStep::Strange(_) => {
                    self.error(&at, format!("is no step; there are {}", step_words().join(", ")));
                }
            }
        }
        steps
    }

    /// A step that comes with a list.
    fn listed(&mut self, at: &[&str], key: &str, list: Vec<String>) -> Option<Task> {
        let path = [at, &[key]].concat();
        let prove = key == PROVE;
        if !LISTS.contains(&key) {
            self.unknown(&path, key, "no step with a list", &LISTS);
            return None;
        }
        if list.is_empty() {
            self.error(&path, "is an empty list, which nobody could get past; list something");
            return None;
        }
        let mut kinds = Vec::new();
        let mut actions = Vec::new();
        for (position, word) in list.iter().enumerate() {
            let position = position.to_string();
            let path = [&path[..], &[position.as_str()]].concat();
            if list.iter().filter(|other| *other == word).count() > 1 {
                self.error(&path, "is listed twice");
            } else if prove {
                kinds.extend(self.kind(&path, word));
            } else {
                let action = Action::ALL.into_iter().find(|action| action.word() == word);
                match action {
                    Some(action) => actions.push(action),
                    None => self.unknown(&path, word, "nothing to choose", &Action::ALL.map(Action::word)),
                }
            }
        }
        Some(if prove {
            Task::Prove(kinds)
        } else {
            Task::Choose(actions)
        })
    }

    fn kind(&mut self, path: &[&str], word: &str) -> Option<Kind> {
        let provable = |kind: &Kind| why_not_asked(*kind).is_none();
        let words: Vec<&str> = Kind::ALL
            .iter()
            .filter(|kind| provable(kind))
            .map(|kind| kind.word())
            .collect();
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.word() == word) else {
            self.unknown(path, word, "no authenticator", &words);
            return None;
        };
        if let Some(reason) = why_not_asked(kind) {
            self.error(path, reason);
            return None;
        }
        Some(kind)
    }

    /// What a workflow of sound parts would come to.
    fn check(&mut self, start: Start, steps: &[Task], end: End) {
        for (index, step) in steps.iter().enumerate() {
            let index = index.to_string();
            let at = ["workflow", "steps", index.as_str()];
            match (start, step) {
                (Start::Recover, Task::Factors) => self.error(
                    &at,
                    "is asked of those alone who have enrolled something, which would tell who has; write \
                     { prove = [\"recovery-code\", \"totp\"] }, which everybody is asked",
                ),
                (Start::Enrol, Task::Factors) => {
                    self.warn(&at, "does nothing: whoever comes here has no second factor");
                }
                (Start::Login, Task::NewPassword) => {
                    self.warn(&at, "has everybody set a new password at every login");
                }
                (Start::Login | Start::Expired | Start::Enrol, step) if step.offers(Action::Unlock) => {
                    self.warn(
                        &at,
                        "has nothing to unlock: whoever comes here has given the right password, and is not locked",
                    );
                }
                (Start::Login | Start::Expired | Start::Passcode | Start::Recover | Start::Enrol, _) => {}
            }
        }
        let acts = |action: Action| steps.iter().any(|step| step.offers(action));
        match (start, end) {
            (Start::Recover, _) => self.check_recovery(steps, end),
            (Start::Passcode, End::Accept) => self.warn(
                &["workflow", "ends"],
                "is \"accept\": whoever has the passcode is let in by it, rather than with the new password",
            ),
            (Start::Expired, End::Accept) if !acts(Action::NewPassword) => self.warn(
                &["workflow", "steps"],
                "sets no new password, and so lets people in whose password is too old",
            ),
            (Start::Enrol, End::Accept) if !acts(Action::Enrol) => {
                self.warn(
                    &["workflow", "steps"],
                    "enrols nothing, and so lets people in with a password alone",
                );
            }
            (Start::Login, End::Reject) => {
                self.warn(
                    &["workflow"],
                    "does not end with \"accept\": nobody would ever be let in",
                );
            }
            (Start::Login | Start::Passcode | Start::Expired | Start::Enrol, _) => {}
        }
    }

    /// Of somebody who has typed nothing but a name, everything has to be proven, and before anything is done.
    fn check_recovery(&mut self, steps: &[Task], end: End) {
        let proof = |step: &Task| matches!(step, Task::Prove(_) | Task::Questions);
        let proofs = steps.iter().filter(|step| proof(step)).count();
        if proofs == 0 {
            self.error(
                &["workflow", "steps"],
                "asks for no proof: whoever knows a name would have the account; begin with a step such as \
                 { prove = [\"recovery-code\", \"totp\"] }",
            );
        }
        let first_action = steps.iter().position(|step| !proof(step)).unwrap_or(steps.len());
        for (index, _) in steps
            .iter()
            .enumerate()
            .filter(|(index, step)| *index > first_action && proof(step))
        {
            let at = ["workflow", "steps", &index.to_string()];
            self.error(&at, "comes too late: everything is proven before anything is done");
        }
        if let Some(Task::Prove(kinds)) = steps.first()
            && let Some(sent) = kinds.iter().find(|kind| is_sent(**kind))
        {
            let message = format!(
                "lists `{sent}` before anything is proven: whoever knows a name could have messages sent to its owner"
            );
            self.warn(&["workflow", "steps", "0", PROVE], message);
        }
        if end == End::Accept {
            self.warn(
                &["workflow", "ends"],
                "is \"accept\": people are let in without the password and the proofs that the login's rule asks for",
            );
        }
    }

    fn unknown(&mut self, path: &[&str], word: &str, what: &str, known: &[&str]) {
        let hint = nearest(word, known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        self.error(
            path,
            format!("`{word}` is {what}; there are {}{hint}", known.join(", ")),
        );
    }

    fn error(&mut self, path: &[&str], message: impl Into<String>) {
        self.faults.0.push(self.document.fault(path, message));
    }

    fn warn(&mut self, path: &[&str], message: impl Into<String>) {
        self.faults.0.push(self.document.warning(path, message));
    }
}

/// The step that a word alone stands for.
fn simple(word: &str) -> Option<Task> {
    let mut tasks = SIMPLE.iter();
    tasks.find(|(known, _)| *known == word).map(|(_, task)| task.clone())
}

fn step_words() -> Vec<&'static str> {
    SIMPLE.iter().map(|(word, _)| *word).chain(LISTS).collect()
}

/// Why a step does not ask for this kind.
const fn why_not_asked(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Password => Some("is no step: the password is what a dialog begins with"),
        Kind::Certificate | Kind::Sasl => Some("is nothing that could be typed in a dialog"),
        Kind::Radius => Some("is asked for by rules alone, not by steps"),
        Kind::Questions => Some("is a step by itself; write \"questions\""),
        Kind::Totp
        | Kind::Hotp
        | Kind::RecoveryCode
        | Kind::Passcode
        | Kind::YubicoOtp
        | Kind::EmailCode
        | Kind::GatewayCode
        | Kind::Approval
        | Kind::Ocra => None,
    }
}

/// Whether asking for it has a message sent to somebody.
const fn is_sent(kind: Kind) -> bool {
    matches!(kind, Kind::EmailCode | Kind::GatewayCode | Kind::Approval)
}

const PROVE: &str = "prove";

/// Steps that come with a list.
const LISTS: [&str; 2] = [PROVE, "choose"];

/// Steps that do not.
const SIMPLE: [(&str, Task); 6] = [
    ("factors", Task::Factors),
    ("questions", Task::Questions),
    ("new-password", Task::NewPassword),
    ("unlock", Task::Unlock),
    ("enrol", Task::Enrol),
    ("answers", Task::Answers),
];

const END_WORDS: [(&str, End); 2] = [("accept", End::Accept), ("reject", End::Reject)];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(name: &str, text: &str) -> (Workflows, Vec<String>) {
        let mut faults = Faults::default();
        let workflows = Workflows::parse(&[Source::new(Path::new(name), text)], &mut faults);
        (workflows, faults.0.iter().map(ToString::to_string).collect())
    }

    fn faults_of(name: &str, lines: &str) -> Vec<String> {
        read(name, &format!("[workflow]\n{lines}\n")).1
    }

    #[test]
    fn a_file_replaces_the_workflow_of_its_name_and_others_stay() {
        let text = "[workflow]\nstarts = \"recover\"\nsteps = [{ prove = [\"totp\"] }, \"unlock\"]\n";
        let (own, faults) = read("vpn-recover.toml", text);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(own.iter().count(), 6);
        assert_eq!(&*own.of(Start::Recover, &[]).unwrap().name, "recover");
        let chosen = own.of(Start::Recover, &["vpn-recover".into()]).unwrap();
        assert_eq!(chosen.to_string(), "prove totp, unlock the account");
        assert_eq!(chosen.end, End::Reject);
        let (replaced, _) = read("recover.toml", text);
        assert_eq!(replaced.iter().count(), 5);
        let (one, other) = (own.named("recover").unwrap(), replaced.named("recover").unwrap());
        assert_ne!(one.mark, other.mark, "dialogs under way end");
        let (again, _) = read("recover.toml", text);
        assert_eq!(again.named("recover").unwrap().mark, other.mark);
    }

    #[test]
    fn two_files_of_one_name_are_told() {
        let text = "[workflow]\nstarts = \"login\"\nends = \"accept\"\n";
        let sources = ["a/x.toml", "b/x.toml"].map(|name| Source::new(Path::new(name), text));
        let mut faults = Faults::default();
        Workflows::parse(&sources, &mut faults);
        assert_eq!(
            faults.to_string(),
            "b/x.toml: is the second workflow named \"x\"; name it otherwise"
        );
    }

    #[test]
    fn faults_of_words_have_places_and_suggestions() {
        let lines = r#"starts = "recovr"
ends = "acept"
end = 1
steps = [
    "question",
    "prove",
    { prove = [] },
    { prove = ["topt", "password", "certificate", "questions", "totp", "totp"] },
    { choose = ["unlok"] },
    { chose = ["unlock"] },
    { prove = ["totp"], choose = ["unlock"] },
    7,
]"#;
        let steps = "factors, questions, new-password, unlock, enrol, answers, prove, choose";
        let provable = "totp, hotp, recovery-code, passcode, yubico-otp, email-code, gateway-code, approval, ocra";
        assert_eq!(
            faults_of("x.toml", lines),
            [
                "x.toml:4:1: workflow.end: unknown key; did you mean `ends`?".to_owned(),
                "x.toml:2:10: workflow.starts: `recovr` is no start; there are login, expired, passcode, recover, enrol; did you mean `recover`?".into(),
                "x.toml:3:8: workflow.ends: `acept` is no end; there are accept, reject; did you mean `accept`?".into(),
                format!("x.toml:6:5: workflow.steps[0]: `question` is no step; there are {steps}; did you mean `questions`?"),
                "x.toml:7:5: workflow.steps[1]: lacks its list; write { prove = [\"…\"] }".into(),
                "x.toml:8:15: workflow.steps[2].prove: is an empty list, which nobody could get past; list something".into(),
                format!("x.toml:9:16: workflow.steps[3].prove[0]: `topt` is no authenticator; there are {provable}; did you mean `totp`?"),
                "x.toml:9:24: workflow.steps[3].prove[1]: is no step: the password is what a dialog begins with".into(),
                "x.toml:9:36: workflow.steps[3].prove[2]: is nothing that could be typed in a dialog".into(),
                "x.toml:9:51: workflow.steps[3].prove[3]: is a step by itself; write \"questions\"".into(),
                "x.toml:9:64: workflow.steps[3].prove[4]: is listed twice".into(),
                "x.toml:9:72: workflow.steps[3].prove[5]: is listed twice".into(),
                "x.toml:10:17: workflow.steps[4].choose[0]: `unlok` is nothing to choose; there are unlock, new-password, enrol, answers; did you mean `unlock`?".into(),
                "x.toml:11:15: workflow.steps[5].chose: `chose` is no step with a list; there are prove, choose; did you mean `choose`?".into(),
                "x.toml:12:5: workflow.steps[6]: must have one key; write each step by itself".into(),
                format!("x.toml:13:5: workflow.steps[7]: is no step; there are {steps}"),
            ]
        );
        assert_eq!(
            faults_of("x.toml", ""),
            ["x.toml:1:1: workflow: does not say what it `starts` with: login, expired, passcode, recover, enrol"]
        );
        let many = vec!["\"answers\""; 17].join(", ");
        assert_eq!(
            faults_of("x.toml", &format!("starts = \"passcode\"\nsteps = [{many}]")),
            ["x.toml:3:9: workflow.steps: has more than 16 steps"]
        );
        assert_eq!(
            read("My flow.toml", "").1,
            ["My flow.toml: is not named after a workflow; a name has small letters, digits and hyphens"]
        );
    }

    #[test]
    fn a_workflow_is_not_named_after_another_start() {
        assert_eq!(
            faults_of("recover.toml", "starts = \"login\"\nends = \"accept\""),
            [
                "recover.toml:2:10: workflow.starts: is `login`, but the file is named after what `recover` starts with, which nothing would be followed from; give the file another name"
            ]
        );
    }

    #[test]
    fn what_a_workflow_would_come_to_is_told() {
        let recover = |steps: &str| faults_of("x.toml", &format!("starts = \"recover\"\nsteps = [{steps}]"));
        for (steps, told) in [
            (
                "\"factors\"",
                "x.toml:3:10: workflow.steps[0]: is asked of those alone who have enrolled",
            ),
            ("\"unlock\"", "x.toml:3:9: workflow.steps: asks for no proof"),
            (
                "{ prove = [\"totp\"] }, \"unlock\", \"questions\"",
                "x.toml:3:42: workflow.steps[2]: comes too late",
            ),
            (
                "{ prove = [\"email-code\"] }, \"unlock\"",
                "x.toml:3:20: warning: workflow.steps[0].prove: lists `email-code` before anything is proven",
            ),
        ] {
            let faults = recover(steps);
            assert!(faults[0].starts_with(told), "{steps}: {faults:?}");
        }
        assert!(recover("\"questions\", { prove = [\"email-code\"] }, \"unlock\"").is_empty());
        for (start, lines, told) in [
            (
                "recover",
                "ends = \"accept\"\nsteps = [\"questions\"]",
                "3:8: warning: workflow.ends: is \"accept\"",
            ),
            (
                "passcode",
                "ends = \"accept\"",
                "3:8: warning: workflow.ends: is \"accept\"",
            ),
            (
                "enrol",
                "ends = \"accept\"\nsteps = [\"factors\", \"enrol\"]",
                "4:10: warning: workflow.steps[0]: does nothing",
            ),
            (
                "enrol",
                "ends = \"accept\"",
                "1:1: warning: workflow.steps: enrols nothing",
            ),
            (
                "expired",
                "ends = \"accept\"",
                "1:1: warning: workflow.steps: sets no new password",
            ),
            ("login", "", "1:1: warning: workflow: does not end with \"accept\""),
            (
                "login",
                "ends = \"accept\"\nsteps = [\"new-password\"]",
                "4:10: warning: workflow.steps[0]: has everybody",
            ),
            (
                "expired",
                "ends = \"accept\"\nsteps = [\"new-password\", { choose = [\"unlock\"] }]",
                "4:26: warning: workflow.steps[1]: has nothing to unlock",
            ),
        ] {
            let faults = faults_of("x.toml", &format!("starts = \"{start}\"\n{lines}"));
            assert_eq!(faults.len(), 1, "{start} {lines}: {faults:?}");
            assert!(faults[0].starts_with(&format!("x.toml:{told}")), "{faults:?}");
        }
    }

    #[test]
    fn questions_are_the_only_proof_by_word_alone() {
        let text = "[workflow]\nstarts = \"recover\"\nsteps = [\"questions\", \"unlock\"]\n";
        let source = Source::new(Path::new("recover.toml"), text);
        let told = |allowed: bool| {
            let mut faults = Faults::default();
            let workflows = Workflows::parse(std::slice::from_ref(&source), &mut faults);
            workflows.check_questions(std::slice::from_ref(&source), allowed, &mut faults);
            faults.to_string()
        };
        assert!(told(false).starts_with("recover.toml:3:9: workflow.steps: has questions as the only proof; add"));
        assert!(told(true).starts_with("recover.toml:3:9: warning: workflow.steps: has questions as the only proof:"));
        let mut faults = Faults::default();
        Workflows::default().check_questions(&[], false, &mut faults);
        assert!(faults.0.is_empty(), "{faults}");
    }
}
