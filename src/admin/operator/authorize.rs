//! The one place that decides what an operator may do.

use super::{Confirmation, Manner, Operator, Reach, Verb};
use crate::accounts::Relation;
use crate::admin::api::{ApiError, ErrorKind};
use crate::engine::Person;
use crate::engine::operator::{Grant, Rank, Role};

/// What it is done to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Nobody in particular.
    Nobody,
    /// A person.
    Person(Seen<'a>),
}

/// A person as the operator stands to them. What a verb does not ask for need not be found out.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Who the person is to the operator.
    pub relation: Relation,
    /// Whether the operator is the person's manager.
    pub report: bool,
    /// How much is lost with the person's account: privileged people stand as high as administrators.
    pub rank: Rank,
    /// As the directory describes them; `None` when no directory knows them any more.
    pub person: Option<&'a Person>,
}

/// Decides what an operator may do, confirmation included.
///
/// # Errors
/// [`ErrorKind::Denied`] with the reason; [`ErrorKind::Confirm`] when a code is asked for;
/// [`ErrorKind::Unavailable`] when it depends on a directory that cannot be asked.
pub fn authorize(operator: &Operator, verb: Verb, target: Target<'_>) -> Result<(), ApiError> {
    let granted = judge(operator, verb, target)?;
    let lent = operator.lent && verb.is_ones_word();
    let (now, disarms) = match target {
        Target::Nobody => (!verb.manner().is_about_one() || (lent && !verb.is_sensitive()), false),
        // Without the token that a code is asked of, none would be asked for any more.
        Target::Person(seen) => (true, verb.takes_tokens() && seen.relation == Relation::Oneself),
    };
    // What a program may do is listed verb by verb, and nobody is there to type a code.
    let listed = !lent && !disarms && granted.iter().any(|grant| grant.role == Role::Automation);
    if !now || !(verb.is_sensitive() || lent || disarms) || listed {
        return Ok(());
    }
    match &operator.confirmation {
        Confirmation::NotNeeded if lent => Err(borrowed(operator, verb)),
        Confirmation::NotNeeded | Confirmation::Given => Ok(()),
        Confirmation::Due => {
            let error = ApiError::new(ErrorKind::Confirm, format!("{} takes a code of your own", verb.word()));
            Err(error.with_remedy("send the same request again with the code in the header Portcullis-Confirm"))
        }
        Confirmation::Impossible => {
            let error = format!("{} takes a code, and `{}` has no token", verb.word(), operator.name);
            Err(denied(error).with_remedy("have another operator enrol one for you: `portcullis token enrol`"))
        }
        Confirmation::Unknown(reason) => {
            let error = format!("whether `{}` has a token cannot be told: {reason}", operator.name);
            Err(ApiError::new(ErrorKind::Unavailable, error).with_remedy("see `portcullis status`"))
        }
    }
}

/// The same without the confirmation: the roles by which the operator may do it, never none.
///
/// # Errors
/// As there.
pub fn judge<'o>(operator: &'o Operator, verb: Verb, target: Target<'_>) -> Result<Vec<&'o Grant>, ApiError> {
    if !operator.is_known() {
        return Err(stranger(operator));
    }
    let able: Vec<&Grant> = operator.grants.iter().filter(|grant| has(grant, verb)).collect();
    if able.is_empty() {
        return Err(incapable(operator, verb));
    }
    let Target::Person(seen) = target else {
        return Ok(able);
    };
    separate(operator, verb, seen.relation)?;
    let reaching: Vec<&Grant> = able.into_iter().filter(|grant| reaches(grant, seen)).collect();
    if reaching.is_empty() {
        return Err(out_of_scope(operator));
    }
    if !verb.manner().heeds_rank() {
        return Ok(reaching);
    }
    let high: Vec<&Grant> = reaching
        .into_iter()
        .filter(|grant| grant.role.rank() >= seen.rank)
        .collect();
    if high.is_empty() {
        let error = "that person is privileged, or an operator of a higher role";
        return Err(denied(error).with_remedy("ask an administrator to do it"));
    }
    Ok(high)
}

/// Whether a role has a verb.
pub(super) fn has(grant: &Grant, verb: Verb) -> bool {
    match grant.role {
        Role::Administrator => true,
        Role::Automation => grant.verbs.iter().any(|word| word == verb.word()) || verb.roles().contains(&grant.role),
        Role::PolicyAdmin | Role::Helpdesk | Role::Manager | Role::SecondHolder | Role::Approver | Role::Auditor => {
            verb.roles().contains(&grant.role)
        }
    }
}

/// The refusal for somebody outside of every scope: the same whether there is such a person or not.
pub(crate) fn out_of_scope(operator: &Operator) -> ApiError {
    let error = format!("there is no such person in the scope of `{}`", operator.name);
    unresolved(operator, denied(error)).with_remedy("`portcullis operator show` tells your roles and their scopes")
}

fn reaches(grant: &Grant, seen: Seen<'_>) -> bool {
    (grant.role != Role::Manager || seen.report) && grant.includes(seen.person)
}

/// What no role may: to help oneself, and to be two of the people whom something takes.
fn separate(operator: &Operator, verb: Verb, relation: Relation) -> Result<(), ApiError> {
    let (error, remedy) = match (verb.reach(), relation) {
        (Reach::Anybody, _) | (Reach::Others, Relation::Other | Relation::Second | Relation::Issuer) => return Ok(()),
        (Reach::AsSecond, Relation::Second) if !operator.own => return Ok(()),
        (Reach::Others | Reach::AsSecond, Relation::Oneself) => {
            ("nobody may do that for themselves", "ask another operator to do it")
        }
        (Reach::AsSecond, Relation::Issuer) => (
            "who issued it, asked for it or has approved it already may not do that as well",
            "the person's manager, or a member of the configured group, may",
        ),
        (Reach::AsSecond, Relation::Second) => (
            "root and the server's own account are nobody in particular, and vouch for nobody",
            "the person's manager, or a member of the configured group, may under their own account",
        ),
        (Reach::AsSecond, Relation::Other) => (
            "only the person's manager, or a member of the configured group, may do that",
            "`portcullis user show USER` names the manager; docs/configuration.md says how the group is configured",
        ),
    };
    Err(denied(error).with_remedy(remedy))
}

fn borrowed(operator: &Operator, verb: Verb) -> ApiError {
    let error = format!(
        "{} is one's own word, and somebody else has issued the API token `{}`",
        verb.word(),
        operator.name
    );
    denied(error).with_remedy("act from the account itself, or by a token that it has issued, or confirm with its code")
}

fn stranger(operator: &Operator) -> ApiError {
    let error = format!("`{}` is not an operator of this server", operator.name);
    unresolved(operator, denied(error))
        .with_remedy("run it as root, or have the account added to admin.operators or an [[operator]] and reload")
}

fn incapable(operator: &Operator, verb: Verb) -> ApiError {
    let mut roles: Vec<&str> = operator.grants.iter().map(|grant| grant.role.word()).collect();
    roles.dedup();
    let error = format!("`{}` ({}) may not do {}", operator.name, roles.join(", "), verb.word());
    let mut takes: Vec<&str> = verb.roles().iter().map(|role| role.word()).collect();
    takes.push(Role::Administrator.word());
    unresolved(operator, denied(error)).with_remedy(format!("it takes the role {}", takes.join(" or ")))
}

/// What may be a refusal for want of a directory's word is an outage.
fn unresolved(operator: &Operator, refusal: ApiError) -> ApiError {
    match &operator.unresolved {
        None => refusal,
        Some(reason) => ApiError::new(
            ErrorKind::Unavailable,
            format!("{}, as far as is known: {reason}", refusal.error),
        ),
    }
}

fn denied(error: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::Denied, error)
}

impl Manner {
    /// Whether a person's rank has to be found out.
    pub(crate) fn asks_rank(self, operator: &Operator) -> bool {
        self.heeds_rank() && !operator.is_administrator()
    }
}
