//! Who is calling, and what they may do.

use tokio::net::unix::UCred;
use tokio::task;

use super::api::{ApiError, ErrorKind};

/// The account at the other end of a connection, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Local account name; `#uid` for an account without a name.
    pub name: String,
    /// Root or the process's own account, which are operators without being configured.
    pub own: bool,
}

/// A caller at the moment of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Local account name.
    pub name: String,
    /// Whether it is an operator at all.
    pub known: bool,
}

/// Something an operator can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Search people.
    FindUsers,
    /// See one person's record.
    ShowUser,
    /// Forget failures.
    Unlock,
    /// Keep a person out, or lift that.
    Deny,
    /// See who is denied.
    ListDenials,
    /// End open sessions, or have the policies decided for them again.
    EndSessions,
    /// Judge whether a caller is who they say.
    VerifyUser,
    /// See which security questions there are, and which of them somebody has answered.
    ReadAnswers,
    /// Define somebody's answers, lock them, or take them away.
    ChangeAnswers,
    /// Enrol a token.
    EnrolToken,
    /// Revoke, enable, disable or resynchronise a token.
    ChangeToken,
    /// Make recovery codes.
    NewRecoveryCodes,
    /// Issue a passcode.
    IssuePasscode,
    /// See which passcodes are live.
    ListPasscodes,
    /// Revoke a passcode.
    RevokePasscode,
    /// Check or explain policies.
    ReadPolicy,
    /// See how everything is doing, metrics included.
    Status,
    /// Read or verify the audit.
    ReadAudit,
    /// Read configuration and policies again.
    Reload,
    /// See RADIUS clients, and who asks without being one.
    ReadClients,
    /// Try whether a RADIUS client would be served.
    TestClient,
    /// Forget what was learned of a RADIUS client.
    ForgetClient,
    /// Look at open sessions.
    ReadSessions,
    /// See which codes count for longer than one login.
    ReadReuse,
    /// Let them count no more.
    ClearReuse,
}

impl Verb {
    /// The word for it, as in the audit.
    pub const fn word(self) -> &'static str {
        match self {
            Self::FindUsers => "user.find",
            Self::ShowUser => "user.show",
            Self::Unlock => "user.unlock",
            Self::Deny => "user.deny",
            Self::ListDenials => "user.denials",
            Self::EndSessions => "session.end",
            Self::VerifyUser => "user.verify",
            Self::ReadAnswers => "answers.read",
            Self::ChangeAnswers => "answers.change",
            Self::EnrolToken => "token.enrol",
            Self::ChangeToken => "token.change",
            Self::NewRecoveryCodes => "recovery-codes.new",
            Self::IssuePasscode => "passcode.issue",
            Self::ListPasscodes => "passcode.list",
            Self::RevokePasscode => "passcode.revoke",
            Self::ReadPolicy => "policy.read",
            Self::Status => "status",
            Self::ReadAudit => "audit.read",
            Self::Reload => "reload",
            Self::ReadClients => "client.read",
            Self::TestClient => "client.test",
            Self::ForgetClient => "client.forget",
            Self::ReadSessions => "session.read",
            Self::ReadReuse => "reuse.read",
            Self::ClearReuse => "reuse.clear",
        }
    }
}

/// What it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nobody in particular.
    Nobody,
    /// A person.
    Person {
        /// Whether that is the operator.
        oneself: bool,
    },
}

impl Caller {
    /// Finds out who holds the other end of a connection.
    pub async fn of(peer: UCred) -> Self {
        let uid = peer.uid();
        // Name services may ask the network; that must not hold up others.
        let looked_up = task::spawn_blocking(move || nix::unistd::User::from_uid(uid.into())).await;
        let name = match looked_up {
            Ok(Ok(Some(user))) => Some(user.name),
            Ok(Ok(None) | Err(_)) | Err(_) => None,
        };
        Self {
            name: name.unwrap_or_else(|| format!("#{uid}")),
            own: uid == 0 || uid == nix::unistd::geteuid().as_raw(),
        }
    }

    /// The caller as an operator, if it is one of the `configured` now.
    pub fn as_operator(&self, configured: &[String]) -> Operator {
        Operator {
            name: self.name.clone(),
            known: self.own || configured.contains(&self.name),
        }
    }
}

/// The one place that decides what an operator may do.
///
/// # Errors
/// [`ErrorKind::Denied`] with the reason.
pub fn authorize(operator: &Operator, verb: Verb, target: Target) -> Result<(), ApiError> {
    if !operator.known {
        let denied = ApiError::new(
            ErrorKind::Denied,
            format!("`{}` is not an operator of this server", operator.name),
        );
        return Err(denied.with_remedy("run it as root, or have the account added to admin.operators and reload"));
    }
    match (verb, target) {
        (Verb::IssuePasscode, Target::Person { oneself: true }) => {
            let denied = ApiError::new(ErrorKind::Denied, "nobody may issue a passcode for themselves");
            Err(denied.with_remedy("ask another operator to issue it"))
        }
        (Verb::VerifyUser, Target::Person { oneself: true }) => {
            let denied = ApiError::new(ErrorKind::Denied, "nobody may vouch for themselves");
            Err(denied.with_remedy("have another operator do it"))
        }
        (Verb::ChangeAnswers, Target::Person { oneself: true }) => {
            let denied = ApiError::new(ErrorKind::Denied, "nobody may change their own answers as an operator");
            Err(denied.with_remedy("define them at a login, or have another operator do it"))
        }
        (
            Verb::FindUsers
            | Verb::ShowUser
            | Verb::Unlock
            // Who denies themselves harms nobody else.
            | Verb::Deny
            | Verb::ListDenials
            | Verb::EndSessions
            | Verb::VerifyUser
            | Verb::ReadAnswers
            | Verb::ChangeAnswers
            | Verb::EnrolToken
            | Verb::ChangeToken
            | Verb::NewRecoveryCodes
            | Verb::IssuePasscode
            | Verb::ListPasscodes
            | Verb::RevokePasscode
            | Verb::ReadPolicy
            | Verb::Status
            | Verb::ReadAudit
            | Verb::Reload
            | Verb::ReadClients
            | Verb::ReadSessions
            | Verb::ReadReuse
            | Verb::ClearReuse
            | Verb::TestClient
            | Verb::ForgetClient,
            Target::Nobody | Target::Person { .. },
        ) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(known: bool) -> Operator {
        Operator {
            name: "carol".into(),
            known,
        }
    }

    #[test]
    fn strangers_may_nothing() {
        let denied = authorize(&operator(false), Verb::Status, Target::Nobody).unwrap_err();
        assert_eq!(denied.kind, ErrorKind::Denied);
    }

    #[test]
    fn nobody_issues_a_passcode_for_themselves() {
        let oneself = Target::Person { oneself: true };
        assert!(authorize(&operator(true), Verb::IssuePasscode, oneself).is_err());
        assert!(authorize(&operator(true), Verb::IssuePasscode, Target::Person { oneself: false }).is_ok());
        assert!(authorize(&operator(true), Verb::RevokePasscode, oneself).is_ok());
    }

    #[test]
    fn nobody_is_their_own_helpdesk() {
        let oneself = Target::Person { oneself: true };
        for verb in [Verb::VerifyUser, Verb::ChangeAnswers] {
            assert!(authorize(&operator(true), verb, oneself).is_err(), "{verb:?}");
            assert!(authorize(&operator(true), verb, Target::Person { oneself: false }).is_ok());
        }
        assert!(authorize(&operator(true), Verb::ReadAnswers, oneself).is_ok());
    }

    #[tokio::test]
    async fn the_kernel_says_who_is_calling() {
        let (near, _far) = tokio::net::UnixStream::pair().unwrap();
        let own = Caller::of(near.peer_cred().unwrap()).await;
        assert!(own.own);
        assert!(own.as_operator(&[]).known, "the process's own account always is");
    }

    #[test]
    fn configured_accounts_are_operators() {
        let carol = Caller {
            name: "carol".into(),
            own: false,
        };
        assert!(carol.as_operator(&["ben".into(), "carol".into()]).known);
        assert!(!carol.as_operator(&["carola".into()]).known);
    }
}
