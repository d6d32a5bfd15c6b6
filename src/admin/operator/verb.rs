//! What operators can do: one table of verbs, with whom they concern and which roles have them.

use crate::engine::operator::Role;

/// Writes the table as the enumeration and what is asked of it. Each line: the verb, its word, its manner, whether it
/// takes a confirmation, and the roles that have it; an administrator has them all, and automation those that are
/// listed for it.
macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident, $word:literal, $manner:ident, $confirmed:ident, [$($role:ident),*];)*) => {
        /// Something an operator can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Verb {
            $($(#[$doc])* $verb,)*
        }

        impl Verb {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$verb),*];

            /// The word for it, as in the audit and in the configuration.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$verb => $word,)*
                }
            }

            /// What it does to people.
            pub const fn manner(self) -> Manner {
                match self {
                    $(Self::$verb => Manner::$manner,)*
                }
            }

            /// Whether it gives somebody a way in, or changes what guards everybody: an operator with a second factor
            /// confirms it with a code. Such requests are never GET.
            pub const fn is_sensitive(self) -> bool {
                match self {
                    $(Self::$verb => verbs!(@$confirmed),)*
                }
            }

            /// The roles that have it, besides [`Role::Administrator`], and [`Role::Automation`] where it is listed.
            pub const fn roles(self) -> &'static [Role] {
                match self {
                    $(Self::$verb => &[$(Role::$role),*],)*
                }
            }
        }
    };
    (@confirmed) => { true };
    (@free) => { false };
}

verbs! {
    /// Search people.
    FindUsers, "user.find", Look, free, [Helpdesk, Manager, Auditor];
    /// See one person's record.
    ShowUser, "user.show", Look, free, [Helpdesk, Manager, Auditor];
    /// Forget failures.
    Unlock, "user.unlock", Help, free, [Helpdesk, Manager];
    /// Keep a person out.
    Deny, "user.deny", Act, free, [Helpdesk, Manager];
    /// Let a person who was kept out try again.
    LiftDenial, "user.undeny", Help, free, [Helpdesk, Manager];
    /// See who is denied.
    ListDenials, "user.denials", Look, free, [Helpdesk, Manager, Auditor];
    /// End open sessions, or have the policies decided for them again.
    EndSessions, "session.end", Act, free, [Helpdesk, Manager];
    /// Judge whether a caller is who they say.
    VerifyUser, "user.verify", Help, free, [Helpdesk, Manager];
    /// See which security questions there are, and which of them somebody has answered.
    ReadAnswers, "answers.read", Look, free, [Helpdesk, Auditor];
    /// Define somebody's answers, or let them count again.
    DefineAnswers, "answers.define", Help, free, [Helpdesk];
    /// Lock somebody's answers, have them defined anew, or take them away.
    ChangeAnswers, "answers.change", Act, free, [Helpdesk];
    /// Enrol a token.
    EnrolToken, "token.enrol", Help, confirmed, [Helpdesk];
    /// Revoke or disable a token.
    ChangeToken, "token.change", Act, free, [Helpdesk, Manager];
    /// Enable a token that was switched off.
    EnableToken, "token.enable", Help, free, [Helpdesk];
    /// Bring a token back into step.
    ResyncToken, "token.resync", Help, free, [Helpdesk];
    /// Make the key of a machine that cannot reach us.
    EnrolMachine, "offline.enrol", Help, confirmed, [Helpdesk];
    /// Say the response to what such a machine asks.
    RespondOffline, "offline.respond", Help, confirmed, [Helpdesk];
    /// Make recovery codes.
    NewRecoveryCodes, "recovery-codes.new", Help, confirmed, [Helpdesk];
    /// Issue a passcode.
    IssuePasscode, "passcode.issue", Help, confirmed, [Helpdesk, Manager];
    /// Release the second half of a passcode.
    ReleasePasscode, "passcode.release", Vouch, confirmed, [Manager, SecondHolder];
    /// See which passcodes are live.
    ListPasscodes, "passcode.list", Look, free, [Helpdesk, Manager, SecondHolder, Auditor];
    /// Revoke a passcode.
    RevokePasscode, "passcode.revoke", Act, free, [Helpdesk, Manager];
    /// Check or explain policies.
    ReadPolicy, "policy.read", Run, free, [PolicyAdmin, Auditor];
    /// See how everything is doing, metrics included.
    Status, "status", Run, free, [PolicyAdmin, Helpdesk, Auditor];
    /// Read or verify the audit.
    ReadAudit, "audit.read", Run, free, [Auditor];
    /// Read configuration and policies again.
    Reload, "reload", Run, free, [PolicyAdmin];
    /// See RADIUS clients, and who asks without being one.
    ReadClients, "client.read", Run, free, [PolicyAdmin, Auditor];
    /// Try whether a RADIUS client would be served.
    TestClient, "client.test", Run, free, [PolicyAdmin];
    /// Forget what was learned of a RADIUS client.
    ForgetClient, "client.forget", Run, free, [PolicyAdmin];
    /// Have a code sent that proves nothing.
    TestDelivery, "delivery.test", Run, free, [PolicyAdmin];
    /// Look at open sessions.
    ReadSessions, "session.read", Look, free, [Helpdesk, Manager, Auditor];
    /// See which codes count for longer than one login.
    ReadReuse, "reuse.read", Look, free, [Helpdesk, Auditor];
    /// Let them count no more.
    ClearReuse, "reuse.clear", Act, free, [Helpdesk];
    /// See what people ask to have approved.
    ReadRequests, "request.read", Look, free, [Helpdesk, Manager, Approver, Auditor];
    /// Approve what somebody asks for.
    Approve, "request.approve", Vouch, confirmed, [Manager, Approver];
    /// Deny it.
    DenyRequest, "request.deny", Mild, free, [Manager, Approver];
    /// Put another version of the policies in force.
    ChangePolicy, "policy.change", Run, confirmed, [PolicyAdmin];
    /// Keep the members of a group out.
    DenyGroup, "group.deny", Run, free, [];
    /// Let them try again.
    LiftGroupDenial, "group.undeny", Run, free, [];
    /// Set a generated password.
    ResetPassword, "user.reset", Help, confirmed, [Helpdesk];
    /// Have somebody change their password at the next login.
    ForceChange, "user.must-change", Act, free, [Helpdesk, Manager];
    /// Enable an account in the directory.
    EnableUser, "user.enable", Help, free, [Helpdesk];
    /// Disable it.
    DisableUser, "user.disable", Act, free, [Helpdesk];
    /// Take away all that somebody has enrolled.
    Unregister, "user.unregister", Act, confirmed, [Helpdesk];
    /// Have many people change their passwords.
    ForceChanges, "users.must-change", Bulk, confirmed, [Helpdesk];
    /// See what is to be done later.
    ReadSchedule, "schedule.read", Look, free, [Helpdesk, Auditor];
    /// Have something done later, or not any more.
    ChangeSchedule, "schedule.change", Act, free, [Helpdesk];
    /// Ask for something that somebody else approves.
    AskRequest, "request.ask", Mild, free, [Helpdesk, Manager];
    /// See who acts for whom.
    ReadDelegations, "delegation.read", Run, free, [Manager, Approver, Auditor];
    /// Have somebody else approve in one's place.
    Delegate, "delegation.grant", Run, confirmed, [Manager, Approver];
    /// End that.
    EndDelegation, "delegation.end", Run, free, [Manager, Approver];
    /// See what one may do oneself, and one's own API tokens.
    ReadOwn, "operator.own", Run, free, [PolicyAdmin, Helpdesk, Manager, SecondHolder, Approver, Auditor, Automation];
    /// Issue, regenerate and revoke API tokens of one's own.
    ChangeOwn, "operator.token", Run, confirmed, [PolicyAdmin, Helpdesk, Manager, SecondHolder, Approver];
    /// See who may do what, and everybody's API tokens.
    ReadOperators, "operator.read", Run, free, [Auditor];
    /// Issue, regenerate and revoke anybody's API tokens.
    ChangeOperators, "operator.change", Run, confirmed, [];
    /// Try whether a listener, directory, store, upstream or delivery works.
    TestPart, "test", Run, free, [PolicyAdmin];
    /// Take away audit records that are older than they have to be kept.
    PruneAudit, "audit.prune", Run, confirmed, [];
    /// See reports.
    ReadReports, "report.read", Run, free, [Auditor];
    /// Take a copy of the whole store.
    Backup, "backup", Run, confirmed, [];
    /// Take over tokens of other systems.
    ImportTokens, "token.import", Bulk, confirmed, [];
}

/// What a verb does to people, from which follows who may be its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nothing: it concerns the server, or the operator.
    Run,
    /// It shows them.
    Look,
    /// It asks something for them, or says no to what they ask.
    Mild,
    /// It takes something from them; who does it to themselves harms nobody else.
    Act,
    /// It helps them to log in: never oneself.
    Help,
    /// The same for many at once, each of whom is judged alone.
    Bulk,
    /// It agrees, as the second of two people, to what somebody else has begun.
    Vouch,
}

impl Manner {
    /// Whom it may be done to.
    pub const fn reach(self) -> Reach {
        match self {
            Self::Run | Self::Look | Self::Mild | Self::Act => Reach::Anybody,
            Self::Help | Self::Bulk => Reach::Others,
            Self::Vouch => Reach::AsSecond,
        }
    }

    /// Whether it is kept from operators of a lower rank than the person's. Agreeing is not: it takes what somebody
    /// of that rank has begun, and the directory says who may.
    pub const fn heeds_rank(self) -> bool {
        match self {
            Self::Act | Self::Help | Self::Bulk => true,
            Self::Run | Self::Look | Self::Mild | Self::Vouch => false,
        }
    }

    /// Whether people are its targets, one or many.
    pub const fn is_about_people(self) -> bool {
        match self {
            Self::Look | Self::Mild | Self::Act | Self::Help | Self::Bulk | Self::Vouch => true,
            Self::Run => false,
        }
    }

    /// Whether one person is its target, so that a confirmation is asked for once the person is known.
    pub const fn is_about_one(self) -> bool {
        match self {
            Self::Look | Self::Mild | Self::Act | Self::Help | Self::Vouch => true,
            Self::Run | Self::Bulk => false,
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

impl Verb {
    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|verb| verb.word() == word)
    }

    /// Whom it may be done to.
    pub const fn reach(self) -> Reach {
        self.manner().reach()
    }

    /// Whether it is the word of one of several people who must be different ones.
    pub const fn is_ones_word(self) -> bool {
        matches!(
            self,
            Self::AskRequest | Self::Approve | Self::ReleasePasscode | Self::Delegate
        )
    }

    /// Whether it may take the token from somebody by which they confirm.
    pub const fn takes_tokens(self) -> bool {
        matches!(self, Self::ChangeToken)
    }
}
