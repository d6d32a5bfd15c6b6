//! A login that somebody else has to approve.
//!
//! It is asked for once the password is right. A client that holds a dialog is told the request's name, and asks
//! again and again until there is an answer; the sealed dialog names the request, which counts for no other. A client
//! without dialogs is refused, and the same login from there goes through once it is approved.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::engine::approval::{self, RequestId, RequestRecord};
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::batch::{Batch, Change, Key};
use crate::engine::dialog::{Dialog, MAX_ROUNDS};
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Facts, Lookup, Person};
use crate::engine::login::ask::Asking;
use crate::engine::login::case::Case;
use crate::engine::login::outcome::{event, prompt, write_user};
use crate::engine::login::tried::Tried;
use crate::engine::login::{Decision, Engine, Step};
use crate::engine::policy::Rule;
use crate::engine::record::{self, UserRecord};
use crate::engine::request::{AuthnRequest, Capability};
use crate::engine::texts::Text;
use crate::engine::verdict::{Denial, Prompt, Verdict};
use crate::secret::Secret;

/// The action that the audit knows the asking by.
const ASKED: &str = "approval.ask";

const APPROVAL: KindSet = KindSet::of(Kind::Approval);

/// How the request of a login stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// There is none, or not any more.
    Absent,
    /// Nobody has said anything.
    Pending,
    /// The login may be.
    Approved,
    /// It may not.
    Denied,
}

/// How the open request of `person` stands, if it was made by this login: by the dialog that names it, or, where there
/// are no dialogs, from the same place.
fn stand(facts: &Facts, person: &Person, request: &AuthnRequest, named: Option<RequestId>, now: Timestamp) -> Stand {
    let (Some(open), Some(found)) = (facts.user.value.approval, &facts.approval) else {
        return Stand::Absent;
    };
    if named.is_some_and(|named| named != open) || !found.is_for(&person.key, &request.origin, now) {
        return Stand::Absent;
    }
    match found.stand(now) {
        approval::Stand::Waiting(_) => Stand::Pending,
        approval::Stand::Approved => Stand::Approved,
        approval::Stand::Denied => Stand::Denied,
        approval::Stand::Cancelled | approval::Stand::Used | approval::Stand::Expired => Stand::Absent,
    }
}

/// Writes a request of `person` into `record` and `batch`; an open one is over with it.
pub(super) fn ask(
    (engine, request, rule): (&Engine, &AuthnRequest, &Rule),
    person: &Person,
    record: &mut UserRecord,
    batch: &mut Batch,
    (nonce, now): (u64, Timestamp),
) -> RequestId {
    let id = RequestId::of(&engine.keyring, nonce, now);
    let asked = RequestRecord::login(request, &person.key, &person.login, now, engine.settings.approval_life);
    let put = Change::Put(record::encode(&asked), Some(asked.expires));
    batch.write.push((Key::request(id), put));
    record.approval = Some(id);
    record.login.clone_from(&person.login);
    batch.audit.push(AuditEvent {
        action: ASKED.into(),
        ..event(
            request,
            Some(person),
            Some(&rule.name),
            KindSet::EMPTY,
            Outcome::Accept,
            Some(&id.to_string()),
            now,
        )
    });
    id
}

/// Makes `prompt` one that waits for the approval called `id`, until `expires` at least.
fn awaiting(
    mut prompt: Prompt,
    engine: &Engine,
    request: &AuthnRequest,
    text: Text,
    id: RequestId,
    expires: Timestamp,
) -> Prompt {
    let voice = engine.policy.texts.voice(&request.origin.manner, None);
    prompt.text = voice.say(text, &[("id", &id.to_string())]);
    prompt.echo = true;
    prompt.dialog.approval = Some(id);
    prompt.dialog.expires = prompt.dialog.expires.max(expires);
    prompt
}

/// Whether an approval is looked for without being asked for, because the client cannot hold a dialog.
fn is_silent(request: &AuthnRequest) -> bool {
    match request.capability {
        // A change of the password is itself the try of the old one: it cannot wait for anything.
        Capability::Append(_) | Capability::None => request.new_password().is_none(),
        Capability::Dialog | Capability::SingleChallenge => false,
    }
}

impl<'a, 'f> Case<'a, 'f> {
    /// Whether the password and an approval would be enough beside `proven`, and the client cannot be asked for the
    /// latter: it is looked for once the password is right.
    pub(super) fn wants_silent_approval(&self, proven: KindSet) -> bool {
        is_silent(self.request)
            && self.requirement.useful_codes(proven).has(Kind::Approval)
            && self.requirement.wants_only_password(proven.union(APPROVAL))
    }

    /// Whether what was typed is for the approval that the dialog waits for, and no code in its place.
    pub(super) fn is_about_approval(&self, typed: &Secret, dialog: &Dialog) -> Option<RequestId> {
        let others = self
            .requirement
            .useful_codes(dialog.proven.with(Kind::Password))
            .without(APPROVAL);
        let digits = typed.expose().iter().any(u8::is_ascii_digit);
        dialog.approval.filter(|_| others.is_empty() || !digits)
    }

    /// Somebody says that the approval `id` is given. Who did not get as far as to ask for one waits for ever.
    pub(super) fn answer_approval(self, id: RequestId, dialog: &Dialog) -> Step<'a> {
        let mut record = self.record();
        let stand = match (&self.facts.lookup, self.blocked) {
            (Lookup::Found(person), None) if dialog.proven.has(Kind::Password) || dialog.outdated => {
                stand(self.facts, person, self.request, Some(id), self.now)
            }
            (Lookup::Found(_) | Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_), _) => Stand::Absent,
        };
        match stand {
            Stand::Approved => {
                record.to_mut().approval = None;
                let proven = dialog.proven.with(Kind::Approval);
                self.proceed(proven, dialog.password.clone(), record, Some(dialog))
            }
            Stand::Denied => self.refuse(Denial::ApprovalDenied, record),
            Stand::Absent | Stand::Pending
                if self.request.capability == Capability::Dialog && dialog.round < MAX_ROUNDS =>
            {
                self.await_approval(id, dialog)
            }
            Stand::Absent | Stand::Pending => self.refuse(self.blocked.unwrap_or(Denial::ApprovalPending), record),
        }
    }

    /// Asks again.
    fn await_approval(self, id: RequestId, dialog: &Dialog) -> Step<'a> {
        let Self {
            engine, request, now, ..
        } = self;
        let proven = dialog.proven;
        let held = dialog.password.clone();
        let mut prompt = prompt(engine, request, String::new(), proven, held, Some(dialog), now);
        prompt.dialog.outdated = dialog.outdated;
        Step::Decided(Decision {
            verdict: Verdict::Challenge(awaiting(
                prompt,
                engine,
                request,
                Text::ApprovalPending,
                id,
                dialog.expires,
            )),
            batch: Batch::default(),
            rule: Some(Arc::clone(&self.rule.name)),
            proven,
            reuse: None,
        })
    }
}

impl<'a> Asking<'a, '_> {
    /// Asks somebody else for an approval, if it is `real`; it looks so in any case.
    pub(super) fn ask_approval(mut self, real: bool) -> Step<'a> {
        let whence = (self.engine, self.request, self.rule);
        let moment = (self.nonce, self.now);
        let id = match self.person.clone().filter(|_| real) {
            Some(person) => ask(whence, &person, self.record.to_mut(), &mut self.batch, moment),
            None => RequestId::of(&self.engine.keyring, self.nonce, self.now),
        };
        if self.batch.audit.is_empty() {
            // Whoever it is, the answer waits for something to be written.
            let nobody = Some(self.untold.unwrap_or(Denial::UnknownUser).word());
            let rule = Some(&*self.rule.name);
            let event = event(
                self.request,
                None,
                rule,
                KindSet::EMPTY,
                Outcome::Reject,
                nobody,
                self.now,
            );
            self.batch.audit.push(event);
        }
        let expires = self.now + self.engine.settings.approval_life;
        let prompt = awaiting(
            self.prompt(),
            self.engine,
            self.request,
            Text::ApprovalAsked,
            id,
            expires,
        );
        self.decide(prompt)
    }
}

impl<'a> Tried<'a, '_> {
    /// Whether an approval is all that is missing beside `proven`, and the client cannot be asked for it.
    pub(super) fn lacks_silent_approval(&self, proven: KindSet) -> bool {
        is_silent(self.request)
            && self.requirement.useful_codes(proven).has(Kind::Approval)
            && self.requirement.is_met(proven.union(APPROVAL))
    }

    /// Goes on with an approval that was given to this login before, or asks for one and refuses.
    pub(super) fn look_for_approval(mut self, proven: KindSet) -> Step<'a> {
        match stand(self.facts, &self.person, self.request, None, self.now) {
            Stand::Approved => {
                self.approved = true;
                self.advance(proven.union(APPROVAL), None)
            }
            Stand::Denied => self.barred(Denial::ApprovalDenied),
            Stand::Pending => self.barred(Denial::ApprovalPending),
            Stand::Absent => {
                let mut batch = Batch::default();
                self.end_attempt(&mut batch);
                let mut record = self.judged_record().into_owned();
                let whence = (self.engine, self.request, self.rule);
                ask(whence, &self.person, &mut record, &mut batch, (self.nonce, self.now));
                write_user(&mut batch, &self.person, &self.facts.user, &record);
                self.rejected(Denial::ApprovalPending, None, batch)
            }
        }
    }

    /// `record` without the approval that this login uses up.
    pub(super) fn without_used_approval<'r>(&self, record: Cow<'r, UserRecord>) -> Cow<'r, UserRecord> {
        if !self.approved {
            return record;
        }
        let mut record = record.into_owned();
        record.approval = None;
        Cow::Owned(record)
    }
}
