//! The admin front end: HTTP and JSON over a Unix socket and over TLS, for the command line and for `curl`.
//!
//! The caller is who the kernel says, by the account of the socket's peer, or whose API token it shows, also over TLS;
//! [`operator::authorize`] decides in one place what it may do.

pub mod api;
pub mod client;
pub mod control;
mod extract;
mod guesses;
pub mod listener;
pub mod operator;
pub mod remote;
pub mod router;

pub use guesses::Guesses;

use control::{Health, Helpdesk, OperatorBook, PolicyTools, Upkeep};

use crate::engine::{BoxFuture, UserKey};
use api::{
    ApiError, AskedReport, ClientRow, ClientView, DeliveryTestRequest, DeliveryTested, ForgetRequest, Forgotten,
    ReloadReport, ReuseList, SessionList, SessionView, StatusReport, StrangerView, TestReport,
};

/// Which sessions are to end.
#[derive(Clone, Debug)]
pub enum WhichSessions {
    /// All of a person, or those at one client.
    Of(UserKey, Option<String>),
    /// The one of this name or Acct-Session-Id, at one client if there are several.
    Called(String, Option<String>),
}

/// What the admin front end asks of the process that it is part of.
pub trait Control: PolicyTools + OperatorBook + Helpdesk + Health + Upkeep {
    /// Reads configuration and policies again, for an operator of that name; keeps the old ones when the new ones are
    /// broken.
    fn reload(&self, by: String) -> BoxFuture<'_, Result<ReloadReport, ApiError>>;

    /// How everything is doing. With `probe`, every directory and upstream server is asked now.
    fn status(&self, probe: bool) -> BoxFuture<'_, StatusReport>;

    /// Closes the LDAP connections that a person is bound on. Returns how many there were.
    fn expel(&self, user: &UserKey) -> usize;

    /// Has clients end sessions, for an operator of that name. What has begun goes on when the caller does not.
    fn end_sessions(&self, which: WhichSessions, operator: String) -> BoxFuture<'_, Result<AskedReport, ApiError>>;

    /// Decides open sessions again, of one person or everybody, at one client or all.
    fn refresh_sessions(
        &self,
        user: Option<UserKey>,
        client: Option<String>,
        operator: String,
    ) -> BoxFuture<'_, Result<AskedReport, ApiError>>;

    /// All RADIUS clients, as they are configured.
    fn clients(&self) -> Vec<ClientRow>;

    /// One RADIUS client.
    fn client(&self, name: &str) -> Result<ClientView, ApiError>;

    /// Who sends RADIUS packets without being a client.
    fn strangers(&self) -> Vec<StrangerView>;

    /// Looks for what would keep a RADIUS client from being served.
    fn test_client(&self, name: String) -> BoxFuture<'_, Result<TestReport, ApiError>>;

    /// Sends a code that proves nothing.
    fn test_delivery(&self, request: DeliveryTestRequest) -> BoxFuture<'_, Result<DeliveryTested, ApiError>>;

    /// Forgets what was learned of a RADIUS client, on behalf of an operator, whom the audit names.
    fn forget_client(&self, request: ForgetRequest, operator: String) -> BoxFuture<'_, Result<Forgotten, ApiError>>;

    /// Open sessions, of one person and of one client where given, at most `limit`.
    fn sessions(
        &self,
        user: Option<UserKey>,
        client: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, Result<SessionList, ApiError>>;

    /// Codes that count for longer than one login, of one person or of everybody, at most `limit`.
    fn reused(&self, user: Option<&UserKey>, limit: usize) -> ReuseList;

    /// Lets them count no more. Returns how many there were.
    fn clear_reused(&self, user: Option<&UserKey>) -> usize;

    /// An open session, by its name or its identifier.
    fn session(&self, name: String) -> BoxFuture<'_, Result<SessionView, ApiError>>;
}
