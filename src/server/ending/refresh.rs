//! Open sessions decided again by the policies as they are now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{By, Ending, MOST, Nothing, Question, unavailable};
use crate::admin::api::{ApiError, AskedReport};
use crate::clock::{self, Timestamp};
use crate::engine::account::{AccountState, StateAnswer};
use crate::engine::batch::Key;
use crate::engine::denials::{GroupDenial, GroupDenials};
use crate::engine::login::Engine;
use crate::engine::policy::{self, Subject, Terms, Who};
use crate::engine::record::{self, UserRecord};
use crate::engine::review::Review;
use crate::engine::session::SessionRecord;
use crate::engine::{Denial, LoginName, Lookup, Manner, Operation, Origin, Person, Protocol, Transport, UserKey};
use crate::radius::attribute::NAS_IDENTIFIER;
use crate::radius::dynauth::{Wish, is_change};
use crate::radius::packet::Attributes;
use crate::sessions::Filter;

impl Ending {
    /// Ends the sessions of those who would be refused now, and has the others changed to what their rule
    /// gives now.
    pub(in crate::server) async fn refresh(
        &self,
        user: Option<UserKey>,
        client: Option<String>,
        operator: String,
    ) -> Result<AskedReport, ApiError> {
        let filter = Filter { user, client };
        let (sessions, more) = self.sessions.list(&filter, MOST).await.map_err(unavailable)?;
        let engine = self.verifier.engine();
        let denials = self.verifier.denials().load_full();
        let mut people = People::new(self);
        let mut questions = Vec::with_capacity(sessions.len());
        for session in sessions {
            let known = people.of(&session).await;
            questions.push(question((&engine, &denials), session, known, clock::now()));
        }
        let asked = self.ask("session.refresh", questions, By::operator(operator)).await?;
        Ok(AskedReport { sessions: asked, more })
    }
}

impl Ending {
    /// Ends the sessions of the members of a group, as their directories say now who they are.
    pub(in crate::server) async fn end_of_group(
        &self,
        denial: &GroupDenial,
        operator: String,
    ) -> Result<AskedReport, ApiError> {
        let (sessions, more) = self
            .sessions
            .list(&Filter::default(), MOST)
            .await
            .map_err(unavailable)?;
        let mut people = People::new(self);
        let mut questions = Vec::new();
        for session in sessions {
            let wish = match people.of(&session).await.as_ref() {
                Ok(found) if found.person.as_deref().is_some_and(|person| denial.is_about(person)) => Ok(Wish::End),
                Ok(_) => continue,
                Err(why) => Err(Nothing::Undecided(why.clone())),
            };
            questions.push(Question {
                session,
                wish,
                rule: None,
                because: Some(Denial::Denied.word().to_owned()),
            });
        }
        let asked = self.ask("session.end", questions, By::operator(operator)).await?;
        Ok(AskedReport { sessions: asked, more })
    }
}

/// What is known of the person of a session, or why nothing is.
type Known = Arc<Result<Found, String>>;

struct Found {
    /// Their entry, if there still is one.
    person: Option<Arc<Person>>,
    record: UserRecord,
    /// What the directory says of their account, where rules ask.
    account: Option<AccountState>,
    /// When each of their open sessions began, and its name.
    open: Vec<(Timestamp, String)>,
}

impl Found {
    /// How many were open when this one began: of too many, only the latest are too many.
    fn before(&self, session: &SessionRecord) -> usize {
        let this = (session.started, session.name().to_string());
        self.open.iter().filter(|open| **open < this).count()
    }
}

/// People, each looked up once; a directory that cannot be asked is not asked again.
struct People<'e> {
    ending: &'e Ending,
    known: HashMap<UserKey, Known>,
    unavailable: HashSet<String>,
}

impl<'e> People<'e> {
    fn new(ending: &'e Ending) -> Self {
        Self {
            ending,
            known: HashMap::new(),
            unavailable: HashSet::new(),
        }
    }

    async fn of(&mut self, session: &SessionRecord) -> Known {
        let Some(user) = &session.user else {
            return Arc::new(Err("whose it is is not known".into()));
        };
        if let Some(known) = self.known.get(user) {
            return Arc::clone(known);
        }
        let known = Arc::new(self.look_up(session, user).await);
        self.known.insert(user.clone(), Arc::clone(&known));
        known
    }

    async fn look_up(&mut self, session: &SessionRecord, user: &UserKey) -> Result<Found, String> {
        let name = &session.directory;
        let verifier = &self.ending.verifier;
        let Some(directory) = verifier.directories().get(name).cloned() else {
            return Err(format!("there is no directory `{name}`"));
        };
        if self.unavailable.contains(name) {
            return Err(format!("directory `{name}` cannot be asked"));
        }
        let login = LoginName::parse(&session.login).map_err(|error| error.to_string())?;
        let person = match directory.look_up(&login).await {
            Lookup::Found(person) if person.key == *user => Some(person),
            // The name is somebody else's now: the person it was has gone.
            Lookup::Found(_) | Lookup::Unknown => None,
            Lookup::Ambiguous => return Err(format!("`{}` could be more than one person", session.login)),
            Lookup::Unavailable(reason) => {
                self.unavailable.insert(name.clone());
                return Err(format!("directory `{name}` cannot be asked: {reason}"));
            }
        };
        let asked = verifier.engine().policy.asks_credential();
        let account = match person.as_ref().filter(|_| asked) {
            Some(person) => match directory.state(person).await {
                StateAnswer::Known(state) => Some(state),
                StateAnswer::Unsupported | StateAnswer::Unknown => None,
                StateAnswer::Unavailable(reason) => {
                    self.unavailable.insert(name.clone());
                    return Err(format!("directory `{name}` cannot be asked: {reason}"));
                }
            },
            None => None,
        };
        let key = Key::user(user);
        let found = self.ending.store.read(std::slice::from_ref(&key), clock::now()).await;
        let found = found.map_err(|error| error.to_string())?;
        let octets = found.into_iter().next().and_then(|found| found.value);
        let record = octets.as_deref().map(record::decode).transpose();
        let theirs = Filter {
            user: Some(user.clone()),
            client: None,
        };
        let (open, _) = self
            .ending
            .sessions
            .list(&theirs, MOST)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Found {
            person,
            account,
            record: record.map_err(|error| error.to_string())?.unwrap_or_default(),
            open: open
                .iter()
                .map(|session| (session.started, session.name().to_string()))
                .collect(),
        })
    }
}

fn question(
    (engine, denials): (&Engine, &GroupDenials),
    session: SessionRecord,
    known: Known,
    now: Timestamp,
) -> Question {
    let (person, found) = match known.as_ref() {
        Ok(found) => (found.person.as_deref(), found),
        Err(why) => {
            return Question {
                session,
                wish: Err(Nothing::Undecided(why.clone())),
                rule: None,
                because: None,
            };
        }
    };
    let origin = origin(&session);
    let decided = LoginName::parse(&session.login).map(|login| {
        let subject = Subject {
            login: &login,
            origin: &origin,
            person: person.map_or(Who::Decoy, Who::Known),
            operation: Operation::Login,
            sessions: Some(found.before(&session)),
            known: policy::Known {
                account: found.account.as_ref(),
                record: Some(&found.record),
                // They count against nobody who is in.
                failures: Some(0),
            },
            now,
        };
        engine.review(&subject, &found.record, denials)
    });
    let (wish, rule, because) = match (decided, person) {
        (Err(error), _) => (Err(Nothing::Undecided(error.to_string())), None, None),
        // What is not known would be taken against the person.
        (Ok(Review::Out(Denial::Policy, _)), _) if engine.policy.asks_listener() => {
            let why = "rules ask for the listener, and nobody knows which one the login came to";
            (Err(Nothing::Undecided(why.into())), None, None)
        }
        (Ok(Review::Out(denial, rule)), _) => (Ok(Wish::End), rule, Some(denial.word().to_owned())),
        (Ok(Review::In(rule, terms)), Some(person)) => (change(terms, person), Some(rule), None),
        // A rule lets nobody in whom no directory knows.
        (Ok(Review::In(..)), None) => (Ok(Wish::End), None, None),
    };
    let rule = rule.map(|rule| rule.name.to_string());
    let because = because.or_else(|| rule.as_ref().map(|rule| format!("rule \"{rule}\"")));
    Question {
        session,
        wish,
        rule,
        because,
    }
}

/// Where a login at this session's client would come from.
fn origin(session: &SessionRecord) -> Origin {
    let nas_identifier = Attributes::new(&session.details.identity)
        .find(|attribute| attribute.kind == NAS_IDENTIFIER)
        .and_then(|attribute| String::from_utf8(attribute.value.to_vec()).ok());
    Origin {
        protocol: Protocol::Radius,
        service: session.service.as_str().into(),
        client: session.client.as_str().into(),
        directory: session.directory.as_str().into(),
        source: session.source,
        nas_identifier,
        calling_station: session.details.calling_station.clone(),
        called_station: session.details.called_station.clone(),
        listener: None,
        application: None,
        transport: if session.encrypted {
            Transport::Tls
        } else {
            Transport::Udp
        },
        service_account: None,
        manner: Manner::default(),
    }
}

/// What the rule gives this person, as far as it can be changed.
fn change(terms: &Terms, person: &Person) -> Result<Wish, Nothing> {
    let mut pairs = terms
        .reply
        .pairs(person, &[])
        .map_err(|error| Nothing::Undecided(error.to_string()))?;
    pairs.retain(is_change);
    if pairs.is_empty() {
        return Err(Nothing::Unchanged(
            "the rule gives no attributes that could be changed".into(),
        ));
    }
    Ok(Wish::Change(pairs))
}
