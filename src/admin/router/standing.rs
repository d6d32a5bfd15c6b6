//! What an operator may do to whom: the question that every route asks, with all that has to be found out for it.

use super::AdminState;
use crate::accounts::{AccountError, Actor, Relation, Subject};
use crate::admin::api::{ApiError, ErrorKind};
use crate::admin::operator::{Confirmation, Operator, Reach, Seen, Target, Verb, authorize, judge, out_of_scope};
use crate::engine::event::Outcome;
use crate::engine::operator::{Grant, Rank, Role};

impl AdminState {
    /// Finds the person and asks whether the operator may do this to them, and may do it now: what takes an approval
    /// has one. A refusal is audited.
    pub(in crate::admin) async fn person(
        &self,
        operator: &Operator,
        verb: Verb,
        user: &str,
        directory: Option<&str>,
    ) -> Result<Subject, ApiError> {
        let subject = self.permitted(operator, verb, user, directory).await?;
        self.warranted(operator, verb, subject).await
    }

    /// Finds the person and asks whether the operator may do this to them at all. A refusal is audited. An operator
    /// whose roles have scopes is told the same of people outside of them as of people whom there is none of.
    pub(in crate::admin) async fn permitted(
        &self,
        operator: &Operator,
        verb: Verb,
        user: &str,
        directory: Option<&str>,
    ) -> Result<Subject, ApiError> {
        // Strangers learn nothing, not even who exists.
        authorize(operator, verb, Target::Nobody)?;
        let subject = match self.accounts.resolve(user, directory).await {
            Err(AccountError::NoSuchUser(_) | AccountError::Ambiguous(..)) if !operator.is_everywhere(verb) => {
                let denied = out_of_scope(operator);
                self.note_refusal(operator, verb, None, user, &denied).await?;
                return Err(denied);
            }
            resolved => resolved?,
        };
        let relation = match verb.reach() {
            Reach::Others => self.accounts.relation(&operator.name, &subject).await?,
            // A code of the token that is taken is asked for while there is one.
            Reach::Anybody
                if verb.takes_tokens()
                    && matches!(operator.confirmation, Confirmation::Due | Confirmation::Unknown(_)) =>
            {
                self.accounts.relation(&operator.name, &subject).await?
            }
            // Who vouches for whom is asked about one request, not about a name.
            Reach::Anybody | Reach::AsSecond => Relation::Other,
        };
        self.allow(operator, verb, &subject, relation).await?;
        Ok(subject)
    }

    /// Asks whether the operator, who is this to the person, may do that. A refusal is audited.
    pub(in crate::admin) async fn allow(
        &self,
        operator: &Operator,
        verb: Verb,
        subject: &Subject,
        relation: Relation,
    ) -> Result<(), ApiError> {
        let seen = self.seen(operator, verb, subject, relation).await?;
        let Err(denied) = authorize(operator, verb, Target::Person(seen)) else {
            return Ok(());
        };
        self.note_refusal(operator, verb, Some(subject), &subject.login, &denied)
            .await?;
        Err(denied)
    }

    /// Whether somebody is one of those to whom the operator may do that, for operations on many people and for lists.
    /// A confirmation is asked for once, by [`authorize`] without a target.
    ///
    /// # Errors
    /// When it depends on a directory that cannot be asked.
    pub(in crate::admin) async fn in_scope(
        &self,
        operator: &Operator,
        verb: Verb,
        subject: &Subject,
    ) -> Result<bool, ApiError> {
        Ok(self.refusal(operator, verb, subject).await?.is_none())
    }

    /// The same with the reason, where they are not.
    ///
    /// # Errors
    /// As there.
    pub(in crate::admin) async fn refusal(
        &self,
        operator: &Operator,
        verb: Verb,
        subject: &Subject,
    ) -> Result<Option<ApiError>, ApiError> {
        let relation = match verb.reach() {
            Reach::Others => self.accounts.relation(&operator.name, subject).await?,
            Reach::Anybody | Reach::AsSecond => Relation::Other,
        };
        let seen = self.seen(operator, verb, subject, relation).await?;
        match judge(operator, verb, Target::Person(seen)) {
            Ok(_) => Ok(None),
            Err(denied) if denied.kind == ErrorKind::Denied => Ok(Some(denied)),
            Err(error) => Err(error),
        }
    }

    /// Keeps those rows of a list that the operator may see, where `key` is the person's: a row about nobody known is
    /// for those whose roles have no scope.
    ///
    /// # Errors
    /// When it depends on a directory that cannot be asked.
    pub(in crate::admin) async fn only_in_scope<T>(
        &self,
        operator: &Operator,
        verb: Verb,
        rows: Vec<T>,
        key: impl Fn(&T) -> Option<&str>,
    ) -> Result<Vec<T>, ApiError> {
        if operator.is_everywhere(verb) {
            return Ok(rows);
        }
        let mut kept = Vec::new();
        for row in rows {
            let Some(key) = key(&row) else { continue };
            if self.may_see(operator, verb, key).await? {
                kept.push(row);
            }
        }
        Ok(kept)
    }

    /// Whether somebody of whom only the key is known is one of them.
    ///
    /// # Errors
    /// As for [`AdminState::in_scope`].
    pub(in crate::admin) async fn may_see(&self, operator: &Operator, verb: Verb, key: &str) -> Result<bool, ApiError> {
        match self.accounts.person_of_key(key).await {
            Ok(subject) => self.in_scope(operator, verb, &subject).await,
            Err(AccountError::NoSuchUser(_)) => Ok(operator.is_everywhere(verb)),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks whether the operator may do something to everybody at once: one whose role knows a scope or a higher rank
    /// has to name people.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub(in crate::admin) fn everybody(&self, operator: &Operator, verb: Verb) -> Result<(), ApiError> {
        if operator.is_everywhere(verb) && !verb.manner().asks_rank(operator) {
            return Ok(());
        }
        let error = format!("`{}` may not do {} to everybody at once", operator.name, verb.word());
        Err(ApiError::new(ErrorKind::Denied, error).with_remedy("name a person"))
    }

    /// A person as the operator stands to them, as far as the verb asks.
    async fn seen<'s>(
        &self,
        operator: &Operator,
        verb: Verb,
        subject: &'s Subject,
        relation: Relation,
    ) -> Result<Seen<'s>, ApiError> {
        let manages = |grant: &Grant| grant.role == Role::Manager;
        let report = operator.grants.iter().any(manages)
            && !operator.is_everywhere(verb)
            && self.accounts.manages(&operator.name, subject).await?;
        let rank = if verb.manner().asks_rank(operator) {
            self.rank_of(operator, subject).await?
        } else {
            Rank::None
        };
        Ok(Seen {
            relation,
            report,
            rank,
            person: subject.person.as_deref(),
        })
    }

    /// How much is lost with somebody's account, as far as it is more than the operator's own.
    async fn rank_of(&self, operator: &Operator, subject: &Subject) -> Result<Rank, ApiError> {
        if self.accounts.is_privileged(subject) {
            return Ok(Rank::Highest);
        }
        // The lowest of the operator's roles: which of them counts is judged afterwards.
        let own = operator.grants.iter().map(|grant| grant.role.rank()).min();
        let higher = self.control.book().higher_than(own.unwrap_or_default());
        let mut rank = subject
            .person
            .as_deref()
            .map_or(Rank::None, |person| higher.in_directory(person));
        for (account, of) in higher.all_accounts(&subject.login).await {
            if of <= rank {
                break;
            }
            if self.accounts.relation(&account, subject).await? == Relation::Oneself {
                rank = of;
            }
        }
        Ok(rank)
    }

    async fn note_refusal(
        &self,
        operator: &Operator,
        verb: Verb,
        subject: Option<&Subject>,
        whom: &str,
        refusal: &ApiError,
    ) -> Result<(), ApiError> {
        if refusal.kind != ErrorKind::Denied {
            return Ok(());
        }
        let by = Actor::now(&operator.name);
        let what = format!("{whom}: {}", refusal.error);
        Ok(self
            .accounts
            .note(verb.word(), by, subject, Outcome::Reject, &what)
            .await?)
    }
}
