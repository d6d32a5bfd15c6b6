//! Sessions that begin although their person is denied: let in just before the denial, reported just after
//! it, they were not there when the denial had the others ended.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::clock::{self, Timestamp};
use crate::engine::batch::Key;
use crate::engine::record::{self, UserRecord};
use crate::engine::session::{Kind, Report, SessionName, SessionRecord};
use crate::engine::verdict::Denial;
use crate::engine::{BoxFuture, Keep, LoginName, Lookup, Outage};
use crate::radius::dynauth::Wish;
use crate::server::ending::{By, Ending, Question};
use crate::store::StoreError;

/// Keeps reports, and once they are kept has it looked whether their sessions may be. Nobody waits for that.
pub(super) struct Watchful {
    inner: Arc<dyn Keep>,
    ending: Ending,
    queue: mpsc::Sender<SessionName>,
}

/// The other end of the queue.
pub(super) struct Watch {
    ending: Ending,
    queue: mpsc::Receiver<SessionName>,
}

/// Sessions that wait to be looked at. Looking is two reads for many at once; beyond it none is remembered.
const WAITING: usize = 4096;

/// Sessions looked at together.
const TOGETHER: usize = 256;

/// Batches of requests under way: clients that do not answer hold up no other.
const UNDER_WAY: usize = 16;

impl Watchful {
    pub(super) fn new(inner: Arc<dyn Keep>, ending: Ending) -> (Self, Watch) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let watch = Watch {
            ending: ending.clone(),
            queue: waiting,
        };
        (Self { inner, ending, queue }, watch)
    }

    /// The session to look at after this report: one that lives, at a client that can be asked to end it.
    fn to_look_at(&self, report: &Report) -> Option<SessionName> {
        match report.kind {
            Kind::Start | Kind::Interim => {}
            Kind::Stop | Kind::On | Kind::Off | Kind::Noted(_) => return None,
        }
        let clients = self.ending.clients.load();
        clients.named(&report.client)?.dynamic.as_ref()?;
        Some(SessionName {
            client: report.client.to_string(),
            nas: report.nas.clone(),
            id: report.id.clone(),
        })
    }
}

impl Keep for Watchful {
    fn keep(&self, report: Report) -> BoxFuture<'_, Result<(), Outage>> {
        Box::pin(async move {
            let name = self.to_look_at(&report);
            self.inner.keep(report).await?;
            if let Some(name) = name
                && let Err(mpsc::error::TrySendError::Full(name)) = self.queue.try_send(name)
            {
                warn!(session = %name, "not looked whether its person is denied: too many reports at once");
            }
            Ok(())
        })
    }
}

impl Watch {
    /// Looks at sessions until `shutdown`, and has those ended whose people are denied.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let room = Arc::new(Semaphore::new(UNDER_WAY));
        let mut names = Vec::with_capacity(TOGETHER);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                count = self.queue.recv_many(&mut names, TOGETHER) => if count == 0 { return },
            }
            let questions = match self.denied(&names).await {
                Ok(questions) => questions,
                Err(error) => {
                    error!(%error, "not looked whether the people of new sessions are denied");
                    Vec::new()
                }
            };
            names.clear();
            if questions.is_empty() {
                continue;
            }
            let place = tokio::select! {
                () = shutdown.cancelled() => return,
                place = Arc::clone(&room).acquire_owned() => place,
            };
            let ending = self.ending.clone();
            tokio::spawn(async move {
                let _place = place;
                let by = By {
                    name: "portcullis".into(),
                    via: "server",
                };
                if let Err(error) = ending.ask("session.end", questions, by).await {
                    error!(
                        error = error.error,
                        "not written down what became of sessions of denied people"
                    );
                }
            });
        }
    }

    /// The sessions among these that are open, not ending yet, and of people who are denied now.
    async fn denied(&self, names: &[SessionName]) -> Result<Vec<Question>, StoreError> {
        let (store, now) = (&self.ending.store, clock::now());
        let mut keys: Vec<Key> = names.iter().map(Key::session).collect();
        keys.sort_unstable();
        keys.dedup();
        let found = store.read(&keys, now).await?;
        let sessions = found.iter().filter_map(|found| found.value.as_deref());
        let sessions = sessions.filter_map(|octets| record::decode::<SessionRecord>(octets).ok());
        let sessions: Vec<_> = sessions
            .filter(|session| session.ending.is_none())
            .filter_map(|session| Some((Key::user(session.user.as_ref()?), session)))
            .collect();
        let people: Vec<Key> = sessions.iter().map(|(person, _)| person.clone()).collect();
        let found = store.read(&people, now).await?;
        let is_denied =
            |octets: &[u8]| record::decode::<UserRecord>(octets).is_ok_and(|user| user.denial(now).is_some());
        let mut questions = Vec::new();
        for ((_, session), person) in sessions.into_iter().zip(found) {
            if person.value.as_deref().is_some_and(is_denied) || self.is_in_denied_group(&session, now).await {
                questions.push(Question {
                    session,
                    wish: Ok(Wish::End),
                    rule: None,
                    because: Some(Denial::Denied.word().to_owned()),
                });
            }
        }
        Ok(questions)
    }

    /// Whether the directory says that a session's person is in a group that is denied. One that cannot be asked says
    /// nothing: the next report is looked at again.
    async fn is_in_denied_group(&self, session: &SessionRecord, now: Timestamp) -> bool {
        let denials = self.ending.verifier.denials().load_full();
        if denials.0.is_empty() {
            return false;
        }
        let Some((user, directory)) = session
            .user
            .as_ref()
            .and_then(|user| Some((user, user.as_str().split_once(':')?.0)))
        else {
            return false;
        };
        let Some(directory) = self.ending.verifier.directories().get(directory).cloned() else {
            return false;
        };
        let Ok(login) = LoginName::parse(&session.login) else {
            return false;
        };
        match directory.look_up(&login).await {
            Lookup::Found(person) => person.key == *user && denials.of(&person, now).is_some(),
            Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arc_swap::ArcSwap;

    use super::*;
    use crate::config;
    use crate::engine::authenticator::enrolling::TotpKey;
    use crate::engine::dialog::Lifetime;
    use crate::engine::policy::Policy;
    use crate::engine::session::tests::report;
    use crate::engine::texts::Texts;
    use crate::engine::throttle::Limit;
    use crate::engine::{Engine, Settings};
    use crate::keyring::Keyring;
    use crate::metrics::Metrics;
    use crate::radius::client::ClientTable;
    use crate::secret::Secret;
    use crate::sessions::{self, Sessions};
    use crate::store::Store;
    use crate::store::memory::MemoryStore;
    use crate::verifier::{Directories, Verifier};

    /// Keeps everything but what is about the session `lost`.
    struct Stub;

    impl Keep for Stub {
        fn keep(&self, report: Report) -> BoxFuture<'_, Result<(), Outage>> {
            Box::pin(async move {
                match report.id.as_str() {
                    "lost" => Err(Outage { reason: "lost".into() }),
                    _ => Ok(()),
                }
            })
        }
    }

    /// One client, `vpn`, with these lines.
    async fn watchful(lines: &str) -> (Watchful, Watch) {
        let keyring = Arc::new(Keyring::from_root(&[1; 32]));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&keyring)));
        let limit = Limit {
            failures: 5,
            window: Duration::from_secs(60),
        };
        let settings = Settings {
            limit,
            lifetime: Lifetime {
                step: Duration::from_secs(60),
                whole: Duration::from_secs(60),
            },
            start_within: Duration::from_secs(60),
            approval_life: Duration::from_secs(300),
            four_eyes: false,
        };
        let engine = Engine {
            policy: Arc::new(Policy::default()),
            keyring,
            settings,
            draw: || TotpKey::new([0; 20]),
        };
        let metrics = Metrics::default();
        let sessions = Sessions::load(
            Arc::clone(&store),
            Arc::new(|_| None),
            sessions::Settings::default(),
            metrics.clone(),
        );
        let client: config::Client =
            toml::from_str(&format!("name = 'vpn'\naddress = ['192.0.2.0/24']\n{lines}")).unwrap();
        let table = ClientTable::build(
            [(&client, &Secret::new("a secret of 22 octets."), "corp".into())],
            &Texts::default(),
        );
        let ending = Ending {
            sessions: Arc::new(sessions.await.unwrap()),
            clients: Arc::new(ArcSwap::from_pointee(table.unwrap())),
            verifier: Arc::new(Verifier::new(
                Arc::clone(&store),
                engine,
                Directories::new(),
                limit,
                metrics.clone(),
            )),
            store,
            metrics,
        };
        Watchful::new(Arc::new(Stub), ending)
    }

    #[tokio::test]
    async fn only_what_is_kept_lives_and_can_be_ended_is_looked_at() {
        let (keep, mut watch) = watchful("dynamic_authorization = {}").await;
        for (kind, id) in [
            (Kind::Start, "1"),
            (Kind::Start, "lost"),
            (Kind::Stop, "2"),
            (Kind::On, ""),
            (Kind::Noted(9), "3"),
            (Kind::Interim, "4"),
        ] {
            assert_eq!(keep.keep(report(kind, id, 0)).await.is_err(), id == "lost");
        }
        let mut looked_at = Vec::new();
        while let Ok(name) = watch.queue.try_recv() {
            looked_at.push(name.id);
        }
        assert_eq!(looked_at, ["1", "4"]);

        let (keep, mut watch) = watchful("").await;
        keep.keep(report(Kind::Start, "1", 0)).await.unwrap();
        assert!(watch.queue.try_recv().is_err(), "the client cannot be asked");
    }

    #[tokio::test]
    async fn nobody_waits_when_more_is_reported_than_looked_at() {
        let (keep, mut watch) = watchful("dynamic_authorization = {}").await;
        for number in 0..WAITING + 10 {
            keep.keep(report(Kind::Start, &number.to_string(), 0)).await.unwrap();
        }
        let mut waiting = 0;
        while watch.queue.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, WAITING);
    }
}
