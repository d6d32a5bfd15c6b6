//! Password Modify on a client's connection (RFC 3062).
//!
//! Who is bound in the directory asks it on their own connection, where it decides by its own rules; policy is asked
//! before, and the audit has the result before the client does. The engine is asked instead where the directory
//! cannot be: by a client that is not bound and gives a name with the old password (or with a passcode, where a rule
//! takes one), in a session that rests on a passcode, where the directory does not know the operation, and where the
//! rule asks for more than was proven with the bind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout};

use super::trial::response;
use super::{Connection, Ended};
use crate::ber::{ENUMERATED, Message, Reader};
use crate::clock;
use crate::directory::{self, Directory};
use crate::engine::authenticator::KindSet;
use crate::engine::dialog::Dialog;
use crate::engine::facts::normalise_dn;
use crate::engine::generated::{self, Shape};
use crate::engine::policy::Rule;
use crate::engine::relayed::{Permit, RelayedChange, RelayedResult, Target};
use crate::engine::{
    AuthnRequest, Capability, Check, Claims, Given, LoginName, Lookup, Origin, Person, Purpose, Verdict,
};
use crate::ldap::bound::Bound;
use crate::ldap::controls::{ControlFault, asks_for_policy};
use crate::ldap::frame::Head;
use crate::ldap::password::{Changed, NEVER, PROVE_MORE, PasswordModify};
use crate::ldap::pump::Event;
use crate::ldap::reply::{Code, EXTENDED_RESPONSE};
use crate::ldap::session::{Session, Standing};
use crate::ldap::translate::login_name;
use crate::secret::Secret;

/// What is known of who is bound besides who they are.
pub(super) struct Identity {
    /// The name they bound with.
    pub(super) login: LoginName,
    /// What they proved then.
    pub(super) proven: KindSet,
    /// What a session for a new password brings back to the engine.
    pub(super) dialog: Option<Dialog>,
}

/// Who makes a change.
enum By {
    /// The directory, asked by who is bound, as this rule lets them.
    Directory(RelayedChange, Arc<str>),
    /// The engine, which has it made; by the rule of a service account, if it is one's.
    Engine(LoginName, Option<Dialog>, Option<Arc<Rule>>),
    /// Nobody; this is the answer.
    Nobody(Changed),
}

fn nobody(code: Code, text: &str) -> By {
    By::Nobody(Changed::plain(code, text))
}

impl Connection {
    /// Deals with a request whose message is `frame`, and answers it.
    pub(super) async fn change_password(
        &mut self,
        session: Session,
        head: &Head,
        frame: &[u8],
        request: &PasswordModify<'_>,
        arrived: Instant,
    ) -> Result<Session, Ended> {
        self.pump.drop_message(head);
        let Some(directory) = (self.shared.directory)() else {
            tracing::warn!(listener = %self.shared.config.name, "no directory of that name is configured");
            let changed = Changed::plain(Code::Unavailable, "the directory is out of reach");
            return Ok(self.answer_change(session, request, &changed, arrived).await);
        };
        let way = directory.password_modify();
        match self.who_changes(&session, directory.as_ref(), request).await {
            By::Directory(change, rule) => {
                self.settled = true;
                self.ask_directory(session, head, frame, &change, &rule).await
            }
            By::Engine(..) if way == directory::PasswordModify::Translated && !is_text(request.new) => {
                // Whoever is meant: passwords are text there.
                let changed = Changed::plain(Code::UnwillingToPerform, "the new password is not UTF-8");
                Ok(self.answer_change(session, request, &changed, arrived).await)
            }
            By::Engine(login, dialog, account) => Ok(self
                .ask_engine(session, directory.name(), request, (login, dialog, account), arrived)
                .await),
            By::Nobody(changed) => Ok(self.answer_change(session, request, &changed, arrived).await),
        }
    }

    async fn who_changes(&mut self, session: &Session, directory: &dyn Directory, request: &PasswordModify<'_>) -> By {
        use directory::PasswordModify::{Never, Relayed, Translated};
        let way = directory.password_modify();
        if way == Never {
            return nobody(Code::UnwillingToPerform, NEVER);
        }
        let (Some(person), Some(identity)) = (self.bound.as_ref().map(Bound::person), &self.identity) else {
            return match (request.identity, request.old) {
                (Some(name), Some(_)) => match named(name) {
                    Some(login) => {
                        let name = bare(std::str::from_utf8(name).unwrap_or_default());
                        let (login, account) = self.whose_password(directory, name.as_bytes(), login).await;
                        By::Engine(login, None, account)
                    }
                    None => nobody(Code::InvalidCredentials, ""),
                },
                (Some(_), None) | (None, _) => {
                    let text = "bind first, or give the name and the old password";
                    nobody(Code::StrongerAuthRequired, text)
                }
            };
        };
        let other = other_target(person, directory, request.identity).await;
        if other.is_some() && session.standing() == Standing::MustChange {
            let text = "only the own password can be changed until it has been";
            return nobody(Code::InsufficientAccessRights, text);
        }
        let account = || self.account.as_ref().map(|account| Arc::clone(&account.rule));
        let engine = || By::Engine(identity.login.clone(), identity.dialog.clone(), account());
        let provable = other.is_none() && (request.old.is_some() || identity.dialog.is_some());
        // A connection of the service account's would have it change a password with the account's rights.
        let in_directory = self.server_has_rights && self.acting_as.is_none() && self.pump.server.is_some();
        match (&other, way) {
            (None, Relayed) | (Some(_), Relayed | Translated) if in_directory => {}
            _ if provable => return engine(),
            (None, _) => return nobody(Code::UnwillingToPerform, "give the old password with the new one"),
            (Some(_), _) => {
                let text = "only the own password can be changed by who is not bound in the directory";
                return nobody(Code::UnwillingToPerform, text);
            }
        }
        let mut origin = self.origin(directory.name(), session.is_encrypted());
        origin.service_account = account();
        let change = RelayedChange {
            person: Arc::clone(person),
            login: identity.login.clone(),
            proven: identity.proven,
            origin,
            target: other.unwrap_or_else(|| Target::Known(person.key.clone())),
        };
        match self.shared.verify.permit(&change).await {
            Permit::Granted(rule) => By::Directory(change, rule),
            Permit::ProveMore(_) if provable => engine(),
            Permit::ProveMore(_) => nobody(Code::UnwillingToPerform, PROVE_MORE),
            Permit::Refused(_) => nobody(Code::UnwillingToPerform, "the policy does not allow it"),
            Permit::Unavailable(_) => nobody(Code::Unavailable, "the password cannot be changed now"),
        }
    }

    /// Sends the request on as it is, and the answer back as it is once the audit has it. Until then nothing more
    /// is taken from the client, so that neither an abandon nor a client that leaves hides what was done.
    async fn ask_directory(
        &mut self,
        session: Session,
        head: &Head,
        frame: &[u8],
        change: &RelayedChange,
        rule: &str,
    ) -> Result<Session, Ended> {
        if self.pump.outstanding.is_full() {
            let changed = Changed::plain(Code::Busy, "too many operations at once");
            changed.write(head.id, false, None, &mut self.pump.client.outbox);
            return Ok(session);
        }
        // The answer to something else would be taken for what came of the change (RFC 4511 section 4.1.1.1).
        if self.pump.outstanding.is_in_use(head.id) {
            let changed = Changed::plain(Code::ProtocolError, "another operation has this message id");
            changed.write(head.id, false, None, &mut self.pump.client.outbox);
            return Ok(session);
        }
        self.pump
            .outstanding
            .note(head, frame.get(head.offset..).unwrap_or_default());
        let answered = timeout(CHANGE_TIME, self.exchange(&session, head, frame)).await;
        let answer = match answered {
            Ok(Exchanged::Answer(answer)) => answer,
            Ok(Exchanged::Lost) | Err(_) => {
                let written = self.shared.verify.relayed(change, rule, RelayedResult::Lost).await;
                if let Err(outage) = written {
                    tracing::error!(reason = %outage.reason, "a password change is not in the audit");
                }
                return self.server_gone(session).await;
            }
        };
        let code = result_code(&answer);
        let result = code.map_or(RelayedResult::Lost, RelayedResult::Code);
        let out = &mut self.pump.client.outbox;
        match self.shared.verify.relayed(change, rule, result).await {
            Ok(()) => out.extend_from_slice(&answer),
            Err(outage) => {
                tracing::error!(reason = %outage.reason, ?result, "a password change is not in the audit");
                let changed = Changed::plain(Code::Unavailable, "what became of the change cannot be told");
                changed.write(head.id, false, None, out);
            }
        }
        if code == Some(SUCCESS) && change.is_own() {
            if let Some(identity) = &mut self.identity {
                identity.dialog = None;
            }
            // The directory has held this very connection to be restricted, and does so no longer.
            return Ok(session.freed());
        }
        Ok(session)
    }

    async fn exchange(&mut self, session: &Session, head: &Head, frame: &[u8]) -> Exchanged {
        let Some(server) = &mut self.pump.server else {
            return Exchanged::Lost;
        };
        server.outbox.reserve_exact(frame.len());
        server.outbox.extend_from_slice(frame);
        if server.send().await.is_err() {
            return Exchanged::Lost;
        }
        match self.pump.await_answer(session, head.id).await {
            Event::Answered(head) => Exchanged::Answer(self.pump.take_answer(&head)),
            Event::ClientGone if !self.pump.is_amid_message() => {
                // What came of it is to be known all the same.
                let mut late = Vec::new();
                let Some(server) = &mut self.pump.server else {
                    return Exchanged::Lost;
                };
                match response(server, (EXTENDED_RESPONSE, head.id), &self.pump.outstanding, &mut late).await {
                    Ok(head) => Exchanged::Answer(self.pump.take_answer(&head)),
                    Err(_) => Exchanged::Lost,
                }
            }
            Event::ClientGone
            | Event::ServerGone
            | Event::Dismissed
            | Event::Drained
            | Event::Message(_)
            | Event::ClientMisbehaved(_) => Exchanged::Lost,
        }
    }

    async fn ask_engine(
        &mut self,
        session: Session,
        directory: &str,
        request: &PasswordModify<'_>,
        (login, dialog, account): (LoginName, Option<Dialog>, Option<Arc<Rule>>),
        arrived: Instant,
    ) -> Session {
        let wants_policy = match asks_for_policy(request.controls) {
            Ok(wants) => wants,
            Err(fault) => {
                let changed = match fault {
                    ControlFault::Critical => {
                        Changed::plain(Code::UnavailableCriticalExtension, "a critical control is not known")
                    }
                    ControlFault::Malformed(_) | ControlFault::Value => {
                        Changed::plain(Code::ProtocolError, "the controls cannot be read")
                    }
                };
                return self.answer_change(session, request, &changed, arrived).await;
            }
        };
        let (new, generated) = match request.new {
            Some(new) => (Secret::new(new), None),
            None => {
                let made = made_up();
                (made.clone(), Some(made))
            }
        };
        let shared = Arc::clone(&self.shared);
        let certificate = self.shown.as_ref().and_then(|shown| shown.login(&shared, self.peer));
        let origin = Origin {
            service_account: account,
            ..self.origin(directory, session.is_encrypted())
        };
        // No code stands behind a service account's password.
        let capability = match &origin.service_account {
            Some(_) => Capability::None,
            None => Capability::Append(self.shared.config.append.0),
        };
        let question = AuthnRequest {
            claims: Claims {
                certificate: certificate.cloned(),
                ..Claims::default()
            },
            login,
            given: Given::Typed(request.old.map(Secret::new).unwrap_or_default()),
            dialog,
            origin,
            capability,
            purpose: Purpose::NewPassword(new),
        };
        let verdict = shared.verify.verify(question, Check::Directory).await;
        let changed = Changed::by(&verdict, self.bound.is_some());
        self.hold_back(&changed, arrived).await;
        let out = &mut self.pump.client.outbox;
        changed.write(request.id, wants_policy, generated.as_ref(), out);
        self.after(session, &verdict)
    }

    /// A session for a new password ends with it, and with too many that were not taken: the client binds with the
    /// new one, and nothing rests on the old one any more.
    fn after(&mut self, session: Session, verdict: &Verdict) -> Session {
        let dialog = self.identity.as_mut().and_then(|identity| identity.dialog.as_mut());
        match (session.standing(), verdict, dialog) {
            (Standing::MustChange, Verdict::Reject(_), Some(dialog)) if dialog.round < MOST_REFUSED => {
                dialog.round += 1;
                session
            }
            (Standing::MustChange, Verdict::Unavailable(_), Some(_)) => session,
            (Standing::MustChange, _, _) => session.ended(),
            (Standing::Anonymous | Standing::Bound, _, _) => session,
        }
    }

    async fn answer_change(
        &mut self,
        session: Session,
        request: &PasswordModify<'_>,
        changed: &Changed,
        arrived: Instant,
    ) -> Session {
        self.hold_back(changed, arrived).await;
        let wants_policy = asks_for_policy(request.controls).unwrap_or(false);
        changed.write(request.id, wants_policy, None, &mut self.pump.client.outbox);
        session
    }

    /// A guess is answered no sooner than that of a bind.
    async fn hold_back(&mut self, changed: &Changed, arrived: Instant) {
        if changed.code == Code::InvalidCredentials {
            sleep_until((arrived + self.shared.config.reject_delay).into()).await;
        }
    }
}

/// What came of asking the directory.
enum Exchanged {
    Answer(zeroize::Zeroizing<Vec<u8>>),
    Lost,
}

/// Whose password is meant, if it is not that of `person`.
async fn other_target(person: &Person, directory: &dyn Directory, identity: Option<&[u8]>) -> Option<Target> {
    let identity = identity?;
    let text = String::from_utf8_lossy(identity);
    if normalise_dn(bare(&text)) == normalise_dn(&person.dn) {
        return None;
    }
    let lookup = match named(identity) {
        Some(login) => directory.look_up(&login).await,
        None => Lookup::Unknown,
    };
    match lookup {
        Lookup::Found(found) if found.key == person.key => None,
        Lookup::Found(found) => Some(Target::Known(found.key.clone())),
        Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_) => {
            let printable = |character: &char| !character.is_control();
            let name = text.chars().filter(printable).take(LONGEST_NAME).collect();
            Some(Target::Named(name))
        }
    }
}

/// A name without the mark of an authorization identity (RFC 4513 section 5.2.1.8), which some clients write.
fn bare(name: &str) -> &str {
    let marked = name.strip_prefix("dn:").or_else(|| name.strip_prefix("u:"));
    marked.unwrap_or(name)
}

/// The name that a request means; `None` for one that never matches anyone.
fn named(identity: &[u8]) -> Option<LoginName> {
    login_name(bare(std::str::from_utf8(identity).ok()?))
}

fn is_text(password: Option<&[u8]>) -> bool {
    password.is_none_or(|password| std::str::from_utf8(password).is_ok())
}

fn result_code(answer: &[u8]) -> Option<i32> {
    let message = Message::read(answer).ok()?;
    let tag = message.operation.tag == EXTENDED_RESPONSE;
    let code = Reader::new(message.operation.content).integer(ENUMERATED).ok()?;
    tag.then_some(code)
}

fn made_up() -> Secret {
    loop {
        let random = zeroize::Zeroizing::new(clock::random::<192>());
        if let Some(made) = generated::password(random.as_slice(), Shape::default()) {
            return made;
        }
    }
}

/// Longest wait for what a directory makes of a change.
const CHANGE_TIME: Duration = Duration::from_secs(15);
/// Refusals that a session for a new password may bring, so that it finds out little of earlier ones.
const MOST_REFUSED: u8 = 10;
/// Longest name of somebody unknown that goes into the audit, in characters.
const LONGEST_NAME: usize = 256;

const SUCCESS: i32 = 0;
