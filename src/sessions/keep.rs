//! A report, made durable.

use std::time::Duration;

use tracing::{debug, warn};

use super::{Open, PAGE, Pages, RETRIES, Sessions, outage, readable, started, stopped, write_end};
use crate::clock::{self, Timestamp};
use crate::engine::batch::{Batch, Change as Write, Key, Version};
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::record::{self, decode};
use crate::engine::session::{
    Cause, Change, Ended, GrantRecord, Kind, Owner, Report, SessionName, SessionRecord, apply, ends_with_nas,
};
use crate::engine::{BoxFuture, Keep, LoginName, Lookup, Outage};
use crate::metrics::Accounting;
use crate::store::StoreError;

/// How long the directory may take to say whose a session is. Accounting does not wait for it longer: the
/// next report asks again.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Sessions closed in one batch when a NAS comes back.
const TOGETHER: usize = 200;

impl Keep for Sessions {
    fn keep(&self, report: Report) -> BoxFuture<'_, Result<(), Outage>> {
        Box::pin(async move {
            let kept = match report.kind {
                Kind::Start | Kind::Interim | Kind::Stop => self.keep_session(&report).await,
                Kind::On | Kind::Off => self.close_nas(&report).await,
                Kind::Noted(number) => self.note(&report, number).await,
            };
            self.metrics
                .accounting
                .get_or_create(&Accounting {
                    client: report.client.to_string(),
                    kind: report.kind.word(),
                    outcome: if kept.is_ok() { "kept" } else { "not-kept" },
                })
                .inc();
            match &kept {
                Ok(()) => debug!(
                    client = %report.client,
                    nas = report.nas,
                    session = report.id,
                    kind = report.kind.word(),
                    "accounting"
                ),
                Err(Outage { reason }) => match self.unkept.lock().due(clock::monotonic()) {
                    Some(unlogged) => warn!(
                        client = %report.client,
                        nas = report.nas,
                        session = report.id,
                        kind = report.kind.word(),
                        reason,
                        unlogged,
                        "accounting is not kept, and not acknowledged"
                    ),
                    None => debug!(
                        client = %report.client,
                        nas = report.nas,
                        session = report.id,
                        kind = report.kind.word(),
                        reason,
                        "accounting is not kept, and not acknowledged"
                    ),
                },
            }
            kept
        })
    }
}

/// What is stored about the session of a report.
struct Known {
    name: SessionName,
    open: Option<Open>,
    ended: Option<Ended>,
    ended_version: Version,
}

/// A place among a client's open sessions; given back when dropped, unless it is taken.
struct Place<'s> {
    sessions: &'s Sessions,
    client: &'s str,
    taken: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.sessions.discount(self.client);
        }
    }
}

impl Sessions {
    async fn keep_session(&self, report: &Report) -> Result<(), Outage> {
        let mut owner = None;
        for _ in 0..RETRIES {
            let known = self.known(report).await.map_err(|error| outage(&error))?;
            let owner = match &owner {
                Some(owner) => owner,
                None => owner.insert(self.owner(report, known.open.as_ref()).await),
            };
            if self.keep_once(report, known, owner).await? {
                return Ok(());
            }
        }
        Err(Outage {
            reason: "the records of this session change too fast".into(),
        })
    }

    /// One try; false when the records have changed meanwhile.
    async fn keep_once(&self, report: &Report, known: Known, owner: &Owner) -> Result<bool, Outage> {
        let now = clock::now();
        let Known {
            name,
            open,
            ended,
            ended_version,
        } = known;
        let version = open.as_ref().map_or_else(Version::default, |open| open.version);
        let session = open.as_ref().map(|open| &open.session);
        let change = apply(session, ended, report, owner, now);
        let mut batch = Batch::default();
        // Where nothing changes, what it rests on must be durable all the same.
        batch.expect.push((Key::ended_session(&name), ended_version));
        let mut place = None;
        let mut gone = None;
        match &change {
            Change::None => batch.expect.push((Key::session(&name), version)),
            Change::Opened { session, replaces } => {
                match open.as_ref().filter(|_| *replaces) {
                    Some(Open { session: old, .. }) => {
                        if let Some(user) = old.user.as_ref().filter(|user| session.user.as_ref() != Some(user)) {
                            batch.write.push((Key::session_of(user, &name), Write::Delete));
                        }
                        batch.audit.push(stopped(old, Cause::Replaced, "radius", now));
                    }
                    None => place = Some(self.enter(&report.client)?),
                }
                batch.replace(Key::session(&name), version, Write::Put(record::encode(session), None));
                if ended_version != Version::default() {
                    batch.write.push((Key::ended_session(&name), Write::Delete));
                }
                batch.audit.push(started(session, now));
                self.settle_owner(&mut batch, None, session, &name, report).await?;
            }
            Change::Updated(updated) => {
                batch.replace(Key::session(&name), version, Write::Put(record::encode(updated), None));
                self.settle_owner(&mut batch, session, updated, &name, report).await?;
            }
            Change::Closed {
                session: last,
                was_open,
            } => {
                let cause = Cause::Reported(report.terminate_cause);
                if *was_open {
                    batch.replace(Key::session(&name), version, Write::Delete);
                    gone = Some(last.client.clone());
                } else {
                    batch.expect.push((Key::session(&name), version));
                }
                let ended = Ended {
                    at: report.at,
                    presumed: false,
                };
                write_end(&mut batch, &name, last, ended, now);
                batch.audit.push(stopped(last, cause, "radius", now));
            }
        }
        let done = self.commit(batch).await.map_err(|error| outage(&error))?;
        if done {
            if let Some(place) = &mut place {
                place.taken = true;
            }
            if let Some(client) = gone {
                self.discount(&client);
            }
        }
        Ok(done)
    }

    /// Enters a session under its person when that has become known, and takes the login that it came of
    /// off those under way.
    async fn settle_owner(
        &self,
        batch: &mut Batch,
        before: Option<&SessionRecord>,
        session: &SessionRecord,
        name: &SessionName,
        report: &Report,
    ) -> Result<(), Outage> {
        let Some(user) = &session.user else { return Ok(()) };
        if before.is_some_and(|before| before.user.is_some()) {
            return Ok(());
        }
        batch
            .write
            .push((Key::session_of(user, name), Write::Put(vec![1], None)));
        let key = Key::grants(user);
        let found = self.store.read(std::slice::from_ref(&key), clock::now()).await;
        let found = found
            .map_err(|error| outage(&error))?
            .into_iter()
            .next()
            .unwrap_or_default();
        let Some(octets) = found.value else { return Ok(()) };
        let grants: GrantRecord = decode(&octets).map_err(|error| outage(&StoreError(error.to_string())))?;
        let rest = grants.clone().without(report.class.as_ref(), &report.client);
        if rest == grants {
            return Ok(());
        }
        let write = match rest.expires() {
            Some(expires) => Write::Put(record::encode(&rest), Some(expires)),
            None => Write::Delete,
        };
        batch.replace(key, found.version, write);
        Ok(())
    }

    async fn known(&self, report: &Report) -> Result<Known, StoreError> {
        let name = SessionName {
            client: report.client.to_string(),
            nas: report.nas.clone(),
            id: report.id.clone(),
        };
        let keys = [Key::session(&name), Key::ended_session(&name)];
        let mut found = self.store.read(&keys, clock::now()).await?.into_iter();
        let (session, ended) = (found.next().unwrap_or_default(), found.next().unwrap_or_default());
        let bad = |error: record::BadRecord| StoreError(error.to_string());
        let open = session.value.as_deref().map(decode).transpose().map_err(bad)?;
        let version = session.version;
        Ok(Known {
            name,
            open: open.map(|session| Open { session, version }),
            ended: ended.value.as_deref().map(decode).transpose().map_err(bad)?,
            ended_version: ended.version,
        })
    }

    /// Whose the session is: by the Class that we gave out, else by what the directory says of the name.
    async fn owner(&self, report: &Report, open: Option<&Open>) -> Owner {
        let typed = report.details.user_name.clone().unwrap_or_default();
        if let Some(class) = &report.class {
            let login = if typed.is_empty() {
                class.user.to_string()
            } else {
                typed
            };
            return Owner {
                user: Some(class.user.clone()),
                login,
                unresolved: false,
            };
        }
        let asked = open.is_some_and(|open| open.session.user.is_some() || !open.session.unresolved);
        let name = LoginName::parse(&typed).ok().filter(|_| !asked);
        let (Some(name), Some(directory)) = (name, (self.directories)(&report.directory)) else {
            return Owner {
                user: None,
                login: typed,
                unresolved: false,
            };
        };
        let lookup = tokio::time::timeout(LOOK_UP, directory.look_up(&name)).await;
        match lookup {
            Ok(Lookup::Found(person)) => Owner {
                user: Some(person.key.clone()),
                login: person.login.clone(),
                unresolved: false,
            },
            Ok(Lookup::Unknown | Lookup::Ambiguous) => Owner {
                user: None,
                login: typed,
                unresolved: false,
            },
            Ok(Lookup::Unavailable(_)) | Err(_) => Owner {
                user: None,
                login: typed,
                unresolved: true,
            },
        }
    }

    /// A place for one more open session of the client.
    fn enter<'s>(&'s self, client: &'s str) -> Result<Place<'s>, Outage> {
        let most = self.settings.load().of(client).most;
        let open = self.counts.lock().get(client).copied().unwrap_or(0);
        if open >= most {
            return Err(Outage {
                reason: format!("client {client} has {open} open sessions, the most it may have (max_sessions)"),
            });
        }
        self.count(client, 1);
        Ok(Place {
            sessions: self,
            client,
            taken: false,
        })
    }

    /// What changes no session is written down all the same, and so acknowledged.
    async fn note(&self, report: &Report, number: u32) -> Result<(), Outage> {
        let user = report.details.user_name.clone().unwrap_or_default();
        let what = format!(
            "Acct-Status-Type {number} ({}), session {}",
            report.kind.word(),
            report.id
        );
        let event = about_nas("session.note", &user, report, what);
        let batch = Batch {
            audit: vec![event],
            ..Batch::default()
        };
        self.commit(batch).await.map(|_| ()).map_err(|error| outage(&error))
    }

    /// Accounting-On and Accounting-Off: the sessions of the NAS are over.
    async fn close_nas(&self, report: &Report) -> Result<(), Outage> {
        let busy = |_| Outage {
            reason: "too many Accounting-On and -Off at once".into(),
        };
        let _waiting = self.resets_waiting.try_acquire().map_err(busy)?;
        let _place = self.resets.acquire().await.map_err(|_| Outage {
            reason: "the server is stopping".into(),
        })?;
        let prefix = Key::sessions_of_nas(&report.client, &report.nas);
        let mut closed = 0;
        for _ in 0..RETRIES {
            let (over, left) = self
                .close_nas_once(&prefix, report)
                .await
                .map_err(|error| outage(&error))?;
            closed += over;
            if !left {
                return self.note_reset(report, closed).await.map_err(|error| outage(&error));
            }
        }
        Err(Outage {
            reason: "the sessions of this NAS change too fast".into(),
        })
    }

    /// Closes what it finds: how many, and whether some changed meanwhile and are left.
    async fn close_nas_once(&self, prefix: &[u8], report: &Report) -> Result<(usize, bool), StoreError> {
        let now = clock::now();
        let (mut closed, mut left) = (0, false);
        let mut pages = Pages::under(prefix.to_vec());
        while let Some(page) = pages.next(&*self.store).await? {
            for some in page.chunks(TOGETHER) {
                let open = self.still_open(some, now).await?;
                let over: Vec<Open> = open
                    .into_iter()
                    .filter(|open| ends_with_nas(&open.session, report))
                    .collect();
                if over.is_empty() {
                    continue;
                }
                if self.close_all(&over, Cause::NasReboot, "radius", now).await? {
                    closed += over.len();
                } else {
                    left = true;
                }
            }
        }
        Ok((closed, left))
    }

    /// Writes down that the NAS came or went. What another report has closed is durable with it.
    async fn note_reset(&self, report: &Report, closed: usize) -> Result<(), StoreError> {
        let what = if report.kind == Kind::On { "begins" } else { "ends" };
        let what = format!("the NAS {what} accounting; {closed} sessions closed");
        let event = about_nas("session.reset", &report.nas, report, what);
        let batch = Batch {
            audit: vec![event],
            ..Batch::default()
        };
        self.commit(batch).await.map(|_| ())
    }

    /// The sessions of a page with their versions, as far as they are open now.
    pub(super) async fn still_open(&self, page: &[(Key, Vec<u8>)], now: Timestamp) -> Result<Vec<Open>, StoreError> {
        debug_assert!(page.len() <= PAGE);
        let keys: Vec<Key> = page.iter().map(|(key, _)| key.clone()).collect();
        let found = self.store.read(&keys, now).await?;
        Ok(found
            .into_iter()
            .filter_map(|found| {
                let session = readable(found.value.as_deref()?)?;
                Some(Open {
                    session,
                    version: found.version,
                })
            })
            .collect())
    }
}

fn about_nas(action: &str, actor: &str, report: &Report, what: String) -> AuditEvent {
    AuditEvent {
        at: clock::now(),
        action: action.into(),
        actor: actor.into(),
        target: None,
        via: "radius".into(),
        client: Some(report.client.to_string()),
        source: Some(report.source),
        rule: None,
        factors: Vec::new(),
        outcome: Outcome::Accept,
        reason: Some(what),
        context: None,
    }
}
