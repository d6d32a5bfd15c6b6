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
    /// Whether it is root, or the process's own account.
    pub own: bool,
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
    /// Judge whether a caller is who they say.
    VerifyUser,
    /// See which security questions there are, and which of them somebody has answered.
    ReadAnswers,
    /// Define somebody's answers, or let them count again.
    DefineAnswers,
    /// Lock somebody's answers, have them defined anew, or take them away.
    ChangeAnswers,
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
    /// Put another version of the policies in force.
    ChangePolicy,
    /// Keep the members of a group out.
    DenyGroup,
    /// Let them try again.
    LiftGroupDenial,
    /// Set a generated password.
    ResetPassword,
    /// Have somebody change their password at the next login.
    ForceChange,
    /// Enable an account in the directory.
    EnableUser,
    /// Disable it.
    DisableUser,
    /// Take away all that somebody has enrolled.
    Unregister,
    /// Have many people change their passwords.
    ForceChanges,
    /// See what is to be done later.
    ReadSchedule,
    /// Have something done later, or not any more.
    ChangeSchedule,
    /// Ask for something that somebody else approves.
    AskRequest,
    /// See who acts for whom.
    ReadDelegations,
    /// Have somebody else approve in one's place.
    Delegate,
    /// End that.
    EndDelegation,
    /// See who may do what, and which API tokens there are.
    ReadOperators,
    /// Issue, regenerate and revoke API tokens.
    ChangeOperators,
    /// Try whether a listener, directory, store, upstream or delivery works.
    TestPart,
    /// Take away audit records that are older than they have to be kept.
    PruneAudit,
    /// See reports.
    ReadReports,
    /// Take a copy of the whole store.
    Backup,
    /// Take over tokens of other systems.
    ImportTokens,
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
            Self::VerifyUser => "user.verify",
            Self::ReadAnswers => "answers.read",
            Self::DefineAnswers => "answers.define",
            Self::ChangeAnswers => "answers.change",
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
            Self::ChangePolicy => "policy.change",
            Self::DenyGroup => "group.deny",
            Self::LiftGroupDenial => "group.undeny",
            Self::ResetPassword => "user.reset",
            Self::ForceChange => "user.must-change",
            Self::EnableUser => "user.enable",
            Self::DisableUser => "user.disable",
            Self::Unregister => "user.unregister",
            Self::ForceChanges => "users.must-change",
            Self::ReadSchedule => "schedule.read",
            Self::ChangeSchedule => "schedule.change",
            Self::AskRequest => "request.ask",
            Self::ReadDelegations => "delegation.read",
            Self::Delegate => "delegation.grant",
            Self::EndDelegation => "delegation.end",
            Self::ReadOperators => "operator.read",
            Self::ChangeOperators => "operator.change",
            Self::TestPart => "test",
            Self::PruneAudit => "audit.prune",
            Self::ReadReports => "report.read",
            Self::Backup => "backup",
            Self::ImportTokens => "token.import",
        }
    }

    /// Whom it may be done to.
    pub const fn reach(self) -> Reach {
        match self {
            Self::Unlock
            | Self::LiftDenial
            | Self::VerifyUser
            | Self::DefineAnswers
            | Self::EnrolToken
            | Self::EnableToken
            | Self::ResyncToken
            | Self::NewRecoveryCodes
            | Self::EnrolMachine
            | Self::RespondOffline
            | Self::IssuePasscode
            | Self::ResetPassword
            | Self::EnableUser => Reach::Others,
            Self::ReleasePasscode | Self::Approve => Reach::AsSecond,
            Self::FindUsers
            | Self::ShowUser
            // Who keeps themselves out, or takes their own token away, harms nobody else.
            | Self::Deny
            | Self::ListDenials
            | Self::EndSessions
            | Self::ReadAnswers
            | Self::ChangeAnswers
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
            | Self::TestDelivery
            | Self::ChangePolicy
            | Self::DenyGroup
            | Self::LiftGroupDenial
            | Self::ForceChange
            | Self::DisableUser
            | Self::Unregister
            | Self::ForceChanges
            | Self::ReadSchedule
            | Self::ChangeSchedule
            | Self::AskRequest
            | Self::ReadDelegations
            | Self::Delegate
            | Self::EndDelegation
            | Self::ReadOperators
            | Self::ChangeOperators
            | Self::TestPart
            | Self::PruneAudit
            | Self::ReadReports
            | Self::Backup
            | Self::ImportTokens => Reach::Anybody,
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
            own: self.own,
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
            "who issued it, asked for it or has approved it already may not do that as well",
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
            own: false,
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
            (Verb::VerifyUser, others),
            (Verb::ReadAnswers, anybody),
            (Verb::DefineAnswers, others),
            (Verb::ChangeAnswers, anybody),
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
            (Verb::ChangePolicy, anybody),
            (Verb::DenyGroup, anybody),
            (Verb::LiftGroupDenial, anybody),
            (Verb::ResetPassword, others),
            (Verb::ForceChange, anybody),
            (Verb::EnableUser, others),
            (Verb::DisableUser, anybody),
            (Verb::Unregister, anybody),
            (Verb::ForceChanges, anybody),
            (Verb::ReadSchedule, anybody),
            (Verb::ChangeSchedule, anybody),
            (Verb::AskRequest, anybody),
            (Verb::ReadDelegations, anybody),
            (Verb::Delegate, anybody),
            (Verb::EndDelegation, anybody),
            (Verb::ReadOperators, anybody),
            (Verb::ChangeOperators, anybody),
            (Verb::TestPart, anybody),
            (Verb::PruneAudit, anybody),
            (Verb::ReadReports, anybody),
            (Verb::Backup, anybody),
            (Verb::ImportTokens, anybody),
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
