//! Sessions that are ended or changed for an operator: who is asked, what came of it, what is noted of it.

mod refresh;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{error, info};

use crate::admin::WhichSessions;
use crate::admin::api::{ApiError, Asked, AskedReport, AskedSession, ErrorKind};
use crate::clock;
use crate::engine::batch::Batch;
use crate::engine::event::{AuditEvent, Outcome as Came};
use crate::engine::session::SessionRecord;
use crate::metrics::{Asked as Counted, Metrics};
use crate::radius::client::ClientTable;
use crate::radius::dynauth::{self, Named, Outcome, Wish};
use crate::sessions::{Filter, Sessions};
use crate::store::{Durability, Store, StoreError};
use crate::verifier::Verifier;

/// Asks clients about their sessions. Clones share everything; what has begun is finished even when the
/// operator who asked for it has gone.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) store: Arc<dyn Store>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) clients: Arc<ArcSwap<ClientTable>>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) metrics: Metrics,
}

/// Who wants it, for the audit.
pub(super) struct By {
    pub(super) name: String,
    /// `admin` for operators, `server` for what nobody asked for just now.
    pub(super) via: &'static str,
}

impl By {
    pub(super) fn operator(name: String) -> Self {
        Self { name, via: "admin" }
    }
}

/// One session, what its client is to be asked, and why.
pub(super) struct Question {
    pub(super) session: SessionRecord,
    pub(super) wish: Result<Wish, Nothing>,
    /// The rule that it follows from, and the reason.
    pub(super) rule: Option<String>,
    pub(super) because: Option<String>,
}

/// Why there is nothing to ask.
pub(super) enum Nothing {
    /// It is as it should be, as far as can be said.
    Unchanged(String),
    /// What it should be cannot be found out.
    Undecided(String),
}

/// Most sessions that are asked about in one go.
pub(super) const MOST: usize = 10_000;

/// Audit records written together.
const TOGETHER: usize = 200;

impl Ending {
    /// Ends sessions, and returns what became of each.
    pub(super) async fn end(&self, which: WhichSessions, operator: String) -> Result<AskedReport, ApiError> {
        let (sessions, more) = self.chosen(&which).await?;
        let questions = sessions.into_iter().map(|session| Question {
            session,
            wish: Ok(Wish::End),
            rule: None,
            because: None,
        });
        let asked = self
            .ask("session.end", questions.collect(), By::operator(operator))
            .await?;
        Ok(AskedReport { sessions: asked, more })
    }

    /// Asks, notes which sessions end, and writes down what came of it. Goes on when the caller does not.
    pub(super) async fn ask(
        &self,
        action: &'static str,
        questions: Vec<Question>,
        by: By,
    ) -> Result<Vec<AskedSession>, ApiError> {
        let this = self.clone();
        let done = tokio::spawn(async move { this.ask_to_the_end(action, questions, &by).await });
        done.await
            .unwrap_or_else(|error| Err(ApiError::new(ErrorKind::Internal, error.to_string())))
    }

    async fn ask_to_the_end(
        &self,
        action: &'static str,
        questions: Vec<Question>,
        by: &By,
    ) -> Result<Vec<AskedSession>, ApiError> {
        let clients = self.clients.load_full();
        let wishes = questions
            .iter()
            .filter_map(|question| Some((named(&question.session), question.wish.as_ref().ok()?.clone())));
        let mut outcomes = dynauth::ask(wishes.collect(), &clients, clock::now()).await.into_iter();
        let mut asked = Vec::with_capacity(questions.len());
        let mut audit = Vec::with_capacity(questions.len());
        for question in questions {
            let outcome = question.wish.is_ok().then(|| outcomes.next()).flatten();
            if let Some(outcome) = &outcome {
                self.count(&question, outcome);
            }
            let gone = match (&question.wish, &outcome) {
                (Ok(Wish::End), Some(Outcome::Acknowledged)) => {
                    self.note_ending(&question.session).await;
                    false
                }
                (Ok(Wish::End), Some(outcome)) if outcome.says_no_such_session() => {
                    self.close_unknown(&question.session).await
                }
                (Ok(_) | Err(_), Some(_) | None) => false,
            };
            let row = row(&question, outcome.as_ref(), gone);
            info!(
                action,
                operator = by.name,
                session = row.session,
                user = row.login,
                client = row.client,
                asked = row.asked.word(),
                outcome = row.outcome,
                detail = row.detail,
                "session"
            );
            audit.push(event(action, by, &question, &row));
            asked.push(row);
        }
        self.write(audit).await.map_err(unavailable)?;
        Ok(asked)
    }

    /// That the client was asked must not fail because of this: without the note, the session is closed by
    /// its Stop or when nothing more is heard of it.
    async fn note_ending(&self, session: &SessionRecord) {
        let name = session.name();
        if let Err(error) = self.sessions.note_ending(&name, clock::now()).await {
            error!(%error, session = %name, "not noted that the session ends");
        }
    }

    /// Whether it is closed here as well. When that fails it is left for the look for silent sessions.
    async fn close_unknown(&self, session: &SessionRecord) -> bool {
        match self.sessions.close_unknown(session, clock::now()).await {
            Ok(closed) => closed,
            Err(error) => {
                error!(%error, session = %session.name(), "not closed, though its client has no such session");
                false
            }
        }
    }

    fn count(&self, question: &Question, outcome: &Outcome) {
        let Ok(wish) = &question.wish else { return };
        let client = question.session.client.clone();
        self.metrics.unproven(&client, outcome.unproven());
        let labels = Counted {
            client,
            kind: kind(wish).word(),
            outcome: outcome.word(),
        };
        self.metrics.asked.get_or_create(&labels).inc();
    }

    async fn write(&self, audit: Vec<AuditEvent>) -> Result<(), StoreError> {
        for some in audit.chunks(TOGETHER) {
            let batch = Batch {
                audit: some.to_vec(),
                ..Batch::default()
            };
            self.store
                .commit(batch, Durability::Durable)
                .await
                .map_err(|error| StoreError(error.to_string()))?;
        }
        Ok(())
    }

    async fn chosen(&self, which: &WhichSessions) -> Result<(Vec<SessionRecord>, bool), ApiError> {
        match which {
            WhichSessions::Of(user, client) => {
                let filter = Filter {
                    user: Some(user.clone()),
                    client: client.clone(),
                };
                self.sessions.list(&filter, MOST).await.map_err(unavailable)
            }
            WhichSessions::Called(name, client) => Ok((vec![self.called(name, client.as_deref()).await?], false)),
        }
    }

    async fn called(&self, name: &str, client: Option<&str>) -> Result<SessionRecord, ApiError> {
        if let Some(open) = self.sessions.find(name, clock::now()).await.map_err(unavailable)? {
            return Ok(open.session);
        }
        let mut found = self.sessions.with_id(name, AMBIGUOUS).await.map_err(unavailable)?;
        found.retain(|session| client.is_none_or(|client| client == session.client));
        match found.len() {
            0 => Err(
                ApiError::new(ErrorKind::NotFound, format!("no open session is called `{name}`"))
                    .with_remedy("`portcullis session list` shows the open ones"),
            ),
            1 => Ok(found.remove(0)),
            _ => {
                let names: Vec<String> = found.iter().map(|session| session.name().to_string()).collect();
                let error = format!("`{name}` could be more than one session: {}", names.join(", "));
                Err(ApiError::new(ErrorKind::Refused, error).with_remedy("give the whole name of the session"))
            }
        }
    }
}

/// Sessions of one Acct-Session-Id that are named when it could be any of them.
const AMBIGUOUS: usize = 100;

fn named(session: &SessionRecord) -> Named {
    Named {
        client: session.client.clone(),
        source: session.source,
        encrypted: session.encrypted,
        identity: session.details.identity.clone(),
    }
}

fn kind(wish: &Wish) -> Asked {
    match wish {
        Wish::End => Asked::Disconnect,
        Wish::Change(_) => Asked::Change,
    }
}

/// `gone`: the client has no such session, and it is closed here.
fn row(question: &Question, outcome: Option<&Outcome>, gone: bool) -> AskedSession {
    let (asked, word, detail) = match (&question.wish, outcome) {
        (Err(Nothing::Unchanged(why)), _) => (Asked::Nothing, "unchanged", why.clone()),
        (Err(Nothing::Undecided(why)), _) => (Asked::Nothing, "undecided", why.clone()),
        (Ok(wish), outcome) => {
            let word = match outcome {
                Some(_) if gone => "gone",
                Some(outcome) => outcome.word(),
                None => "unsent",
            };
            let mut detail = outcome.map(ToString::to_string).unwrap_or_default();
            if gone {
                detail.push_str("; closed here");
            }
            (kind(wish), word, detail)
        }
    };
    let session = &question.session;
    AskedSession {
        session: session.name().to_string(),
        user: session.user.as_ref().map(ToString::to_string),
        login: session.login.clone(),
        client: session.client.clone(),
        asked,
        because: question.because.clone(),
        outcome: word.to_owned(),
        detail,
    }
}

fn event(action: &str, by: &By, question: &Question, row: &AskedSession) -> AuditEvent {
    let session = &question.session;
    let mut what = format!("{}: {} {}", row.session, row.asked.word(), row.outcome);
    if !row.detail.is_empty() {
        what.push_str(": ");
        what.push_str(&row.detail);
    }
    if let Some(because) = &row.because {
        what.push_str(&format!(" ({because})"));
    }
    AuditEvent {
        at: clock::now(),
        action: action.into(),
        actor: by.name.clone(),
        target: row.user.clone(),
        via: by.via.into(),
        client: Some(session.client.clone()),
        source: Some(session.source),
        rule: question.rule.clone(),
        factors: Vec::new(),
        outcome: match row.outcome.as_str() {
            "acknowledged" | "gone" | "unchanged" => Came::Accept,
            "refused" => Came::Reject,
            _ => Came::Unavailable,
        },
        reason: Some(what),
        context: None,
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: StoreError) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, error.to_string()).with_remedy("see `portcullis status`")
}
