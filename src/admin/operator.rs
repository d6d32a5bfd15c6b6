//! Who is calling, and what they may do.

use tokio::net::unix::UCred;
use tokio::task;

use super::api::{ApiError, ErrorKind};
use crate::accounts::Relation;

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
    /// Keep a person out.
    Deny,
    /// Let a person who was kept out try again.
    LiftDenial,
    /// See who is denied.
    ListDenials,
    /// End open sessions, or have the policies decided for them again.
    EndSessions,
    /// Enrol a token.
    EnrolToken,
    /// Revoke or disable a token.
    ChangeToken,
    /// Enable a token that was switched off.
    EnableToken,
    /// Bring a token back into step.
    ResyncToken,
    /// Make the key of a machine that cannot reach us.
    EnrolMachine,
    /// Say the response to what such a machine asks.
    RespondOffline,
    /// Make recovery codes.
    NewRecoveryCodes,
    /// Issue a passcode.
    IssuePasscode,
    /// Release the second half of a passcode.
    ReleasePasscode,
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
    /// Have a code sent that proves nothing.
    TestDelivery,
    /// Look at open sessions.
    ReadSessions,
    /// See which codes count for longer than one login.
    ReadReuse,
    /// Let them count no more.
    ClearReuse,
    /// See what people ask to have approved.
    ReadRequests,
    /// Approve what somebody asks for.
    Approve,
    /// Deny it.
    DenyRequest,
}

impl Verb {
    /// The word for it, as in the audit.
    pub const fn word(self) -> &'static str {
        match self {
            Self::FindUsers => "user.find",
            Self::ShowUser => "user.show",
            Self::Unlock => "user.unlock",
            Self::Deny => "user.deny",
            Self::LiftDenial => "user.undeny",
            Self::ListDenials => "user.denials",
            Self::EndSessions => "session.end",
            Self::EnrolToken => "token.enrol",
            Self::ChangeToken => "token.change",
            Self::EnableToken => "token.enable",
            Self::ResyncToken => "token.resync",
            Self::EnrolMachine => "offline.enrol",
            Self::RespondOffline => "offline.respond",
            Self::NewRecoveryCodes => "recovery-codes.new",
            Self::IssuePasscode => "passcode.issue",
            Self::ReleasePasscode => "passcode.release",
            Self::ListPasscodes => "passcode.list",
            Self::RevokePasscode => "passcode.revoke",
            Self::ReadPolicy => "policy.read",
            Self::Status => "status",
            Self::ReadAudit => "audit.read",
            Self::Reload => "reload",
            Self::ReadClients => "client.read",
            Self::TestClient => "client.test",
            Self::ForgetClient => "client.forget",
            Self::TestDelivery => "delivery.test",
            Self::ReadSessions => "session.read",
            Self::ReadReuse => "reuse.read",
            Self::ClearReuse => "reuse.clear",
            Self::ReadRequests => "request.read",
            Self::Approve => "request.approve",
            Self::DenyRequest => "request.deny",
        }
    }

    /// Whom it may be done to.
    pub const fn reach(self) -> Reach {
        match self {
            Self::Unlock
            | Self::LiftDenial
            | Self::EnrolToken
            | Self::EnableToken
            | Self::ResyncToken
            | Self::NewRecoveryCodes
            | Self::EnrolMachine
            | Self::RespondOffline
            | Self::IssuePasscode => Reach::Others,
            Self::ReleasePasscode | Self::Approve => Reach::AsSecond,
            Self::FindUsers
            | Self::ShowUser
            // Who keeps themselves out, or takes their own token away, harms nobody else.
            | Self::Deny
            | Self::ListDenials
            | Self::EndSessions
            | Self::ChangeToken
            | Self::ListPasscodes
            | Self::RevokePasscode
            | Self::ReadPolicy
            | Self::Status
            | Self::ReadAudit
            | Self::Reload
            | Self::ReadClients
            | Self::TestClient
            | Self::ForgetClient
            | Self::ReadSessions
            | Self::ReadReuse
            | Self::ClearReuse
            | Self::ReadRequests
            | Self::DenyRequest
            | Self::TestDelivery => Reach::Anybody,
        }
    }
}

/// Whom something may be done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anybody.
    Anybody,
    /// Anybody but oneself: it helps somebody to log in.
    Others,
    /// Those whom the operator vouches for as the second of two people.
    AsSecond,
}

/// What it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nobody in particular.
    Nobody,
    /// A person, who is this to the operator.
    Person(Relation),
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
    let (error, remedy) = match (verb.reach(), target) {
        (Reach::Anybody, _) | (Reach::Others | Reach::AsSecond, Target::Nobody) => return Ok(()),
        (Reach::Others, Target::Person(Relation::Other | Relation::Second | Relation::Issuer))
        | (Reach::AsSecond, Target::Person(Relation::Second)) => return Ok(()),
        (Reach::Others | Reach::AsSecond, Target::Person(Relation::Oneself)) => {
            ("nobody may do that for themselves", "ask another operator to do it")
        }
        (Reach::AsSecond, Target::Person(Relation::Issuer)) => (
            "who issued a passcode may not release its second half",
            "the person's manager, or a member of the configured group, may",
        ),
        (Reach::AsSecond, Target::Person(Relation::Other)) => (
            "only the person's manager, or a member of the configured group, may do that",
            "`portcullis user show USER` names the manager; docs/configuration.md says how the group is configured",
        ),
    };
    Err(ApiError::new(ErrorKind::Denied, error).with_remedy(remedy))
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

    /// Every verb, and whether it may be done to oneself, to somebody one vouches for, to somebody whom one has issued
    /// a passcode for, and to others.
    #[test]
    fn who_may_do_what_to_whom() {
        let anybody = [true, true, true, true];
        let others = [false, true, true, true];
        let second = [false, true, false, false];
        let matrix = [
            (Verb::FindUsers, anybody),
            (Verb::ShowUser, anybody),
            (Verb::Unlock, others),
            (Verb::Deny, anybody),
            (Verb::LiftDenial, others),
            (Verb::ListDenials, anybody),
            (Verb::EndSessions, anybody),
            (Verb::EnrolToken, others),
            (Verb::ChangeToken, anybody),
            (Verb::EnableToken, others),
            (Verb::ResyncToken, others),
            (Verb::NewRecoveryCodes, others),
            (Verb::EnrolMachine, others),
            (Verb::RespondOffline, others),
            (Verb::IssuePasscode, others),
            (Verb::ReleasePasscode, second),
            (Verb::ListPasscodes, anybody),
            (Verb::RevokePasscode, anybody),
            (Verb::ReadPolicy, anybody),
            (Verb::Status, anybody),
            (Verb::ReadAudit, anybody),
            (Verb::Reload, anybody),
            (Verb::ReadClients, anybody),
            (Verb::TestClient, anybody),
            (Verb::ForgetClient, anybody),
            (Verb::ReadSessions, anybody),
            (Verb::ReadReuse, anybody),
            (Verb::ClearReuse, anybody),
            (Verb::ReadRequests, anybody),
            (Verb::Approve, second),
            (Verb::DenyRequest, anybody),
        ];
        let relations = [Relation::Oneself, Relation::Second, Relation::Issuer, Relation::Other];
        for (verb, expected) in matrix {
            for (relation, may) in relations.into_iter().zip(expected) {
                let target = Target::Person(relation);
                let allowed = authorize(&operator(true), verb, target);
                assert_eq!(allowed.is_ok(), may, "{} {relation:?}", verb.word());
                assert!(authorize(&operator(false), verb, target).is_err(), "{}", verb.word());
            }
        }
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
