//! Directories whose passwords an upstream RADIUS server judges: one that has people of its own and leaves
//! only that to it, and one that has nobody.

use std::future::ready;
use std::sync::Arc;

use crate::config::Names;
use crate::directory::{ConnectError, Directory, DirectoryStatus, Link};
use crate::engine::account::{AccountChange, Changed, StateAnswer};
use crate::engine::facts::{Lookup, PasswordOutcome, Person, UserKey};
use crate::engine::request::LoginForm;
use crate::engine::response::{Response, ResponseOutcome};
use crate::engine::{BoxFuture, LoginName};
use crate::secret::Secret;

/// People and groups of a directory, passwords judged by an upstream.
pub struct Checked {
    inner: Arc<dyn Directory>,
    by: Arc<str>,
}

impl Checked {
    /// Has the passwords of `inner` judged by the upstream `by`.
    pub fn new(inner: Arc<dyn Directory>, by: &str) -> Arc<Self> {
        Arc::new(Self { inner, by: by.into() })
    }

    /// The directory itself.
    pub fn inner(&self) -> &Arc<dyn Directory> {
        &self.inner
    }
}

/// Whom nobody lists: every name of one form is somebody, and whether they exist shows when their password is judged.
/// There are no groups, attributes or accounts to change; the record's key is the canonical name.
pub struct Everybody {
    name: Arc<str>,
    by: Arc<str>,
    names: Names,
}

impl Everybody {
    /// A directory called `name`, whose passwords the upstream `by` judges. Only `names` of one form are people:
    /// many upstreams take `ana`, `EXAMPLE\ana` and `ana@example.org` for the same one.
    pub fn new(name: &str, by: &str, names: Names) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            by: by.into(),
            names,
        })
    }

    fn has(&self, login: &LoginName) -> bool {
        // What realms are cut off at.
        let bare = |name: &str| !name.is_empty() && !name.contains(['\\', '/', '@', '%']);
        let formed = match (self.names, login.form()) {
            (Names::Plain, LoginForm::Plain(name)) => bare(name),
            (Names::Principal, LoginForm::Principal(name)) => name.split('@').count() == 2 && name.split('@').all(bare),
            (Names::Domain, LoginForm::Domain { domain, user }) => bare(domain) && bare(user),
            (
                Names::Plain | Names::Principal | Names::Domain,
                LoginForm::Plain(_)
                | LoginForm::Principal(_)
                | LoginForm::Domain { .. }
                | LoginForm::Dn(_)
                | LoginForm::Account(_),
            ) => false,
        };
        formed && login.as_str().len() <= MAX_NAME
    }
}

/// The engine asks the upstream instead; whoever asks the directory is at the wrong door.
fn elsewhere(by: &str) -> PasswordOutcome {
    PasswordOutcome::Unavailable(format!("passwords are judged by the upstream {by}"))
}

impl Directory for Checked {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn password_by(&self) -> Option<&Arc<str>> {
        Some(&self.by)
    }

    fn look_up<'a>(&'a self, login: &'a LoginName) -> BoxFuture<'a, Lookup> {
        self.inner.look_up(login)
    }

    fn verify<'a>(&'a self, _person: &'a Person, _password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(ready(elsewhere(&self.by)))
    }

    fn verify_response<'a>(&'a self, _person: &'a Person, _response: &'a Response) -> BoxFuture<'a, ResponseOutcome> {
        Box::pin(ready(ResponseOutcome::Impossible))
    }

    fn verify_nobody<'a>(&'a self, _password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(ready(elsewhere(&self.by)))
    }

    fn change<'a>(&'a self, person: &'a Person, change: AccountChange<'a>) -> BoxFuture<'a, Changed> {
        self.inner.change(person, change)
    }

    fn state<'a>(&'a self, person: &'a Person) -> BoxFuture<'a, StateAnswer> {
        self.inner.state(person)
    }

    fn state_of_nobody(&self) -> BoxFuture<'_, StateAnswer> {
        self.inner.state_of_nobody()
    }

    fn manager<'a>(&'a self, person: &'a Person) -> BoxFuture<'a, Lookup> {
        self.inner.manager(person)
    }

    fn connect(&self) -> BoxFuture<'_, Result<Link, ConnectError>> {
        self.inner.connect()
    }

    fn authorizes(&self) -> bool {
        self.inner.authorizes()
    }

    fn connect_authorized(&self) -> BoxFuture<'_, Result<Link, ConnectError>> {
        self.inner.connect_authorized()
    }

    fn forget_look_ups(&self) {
        self.inner.forget_look_ups();
    }

    fn probe(&self) -> BoxFuture<'_, DirectoryStatus> {
        self.inner.probe()
    }

    fn status(&self) -> DirectoryStatus {
        self.inner.status()
    }
}

impl Directory for Everybody {
    fn name(&self) -> &str {
        &self.name
    }

    fn password_by(&self) -> Option<&Arc<str>> {
        Some(&self.by)
    }

    fn look_up<'a>(&'a self, login: &'a LoginName) -> BoxFuture<'a, Lookup> {
        let lookup = if self.has(login) {
            Lookup::Found(Arc::new(Person {
                key: UserKey::new(&self.name, login.as_str()),
                directory: Arc::clone(&self.name),
                dn: String::new(),
                login: login.as_str().to_owned(),
                groups: Vec::new(),
                attributes: Default::default(),
                enabled: true,
                manager: None,
                sso_managed: None,
            }))
        } else {
            Lookup::Unknown
        };
        Box::pin(ready(lookup))
    }

    fn verify<'a>(&'a self, _person: &'a Person, _password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(ready(elsewhere(&self.by)))
    }

    fn verify_nobody<'a>(&'a self, _password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(ready(elsewhere(&self.by)))
    }

    fn connect(&self) -> BoxFuture<'_, Result<Link, ConnectError>> {
        let why = format!("the directory {} has no entries", self.name);
        Box::pin(ready(Err(ConnectError::Unreachable(why))))
    }

    fn forget_look_ups(&self) {}

    fn probe(&self) -> BoxFuture<'_, DirectoryStatus> {
        Box::pin(ready(self.status()))
    }

    fn status(&self) -> DirectoryStatus {
        DirectoryStatus {
            name: self.name.to_string(),
            kind: "radius".into(),
            servers: Vec::new(),
            queue: 0,
            max_connection_age: None,
        }
    }
}

/// Longest name that makes a key of at most 255 octets beside a directory's name of usual length.
const MAX_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_exists_under_one_name() {
        let key = async |names: Names, name: &str| {
            let directory = Everybody::new("token", "duo", names);
            assert_eq!(directory.password_by().map(|by| &**by), Some("duo"));
            match directory.look_up(&LoginName::parse(name).unwrap()).await {
                Lookup::Found(person) => Some(person.key.to_string()),
                Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_) => None,
            }
        };
        let forms = ["ana", "ana@example.org", "EXAMPLE\\ana"];
        let all = [Names::Plain, Names::Principal, Names::Domain];
        for (at, names) in all.into_iter().enumerate() {
            for (other, form) in forms.iter().enumerate() {
                assert_eq!(key(names, form).await.is_some(), at == other, "{names:?} {form}");
            }
            for alias in [
                "\\ana",
                "ana\\",
                "x/ana",
                "ana%x",
                "x\\ana@x",
                "ana@x@y",
                "@",
                "x\\y\\ana",
                "x\\y/ana",
            ] {
                assert_eq!(key(names, alias).await, None, "{names:?} {alias}");
            }
        }
        assert_eq!(key(Names::Plain, "ana").await, key(Names::Plain, " ANA ").await);
        assert_eq!(key(Names::Plain, &"x".repeat(201)).await, None);
    }
}
