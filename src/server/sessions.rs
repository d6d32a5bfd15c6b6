//! Open sessions for operators.

use crate::admin::api::{ApiError, ErrorKind, SessionList, SessionView};
use crate::clock::{self, Timestamp};
use crate::engine::facts::UserKey;
use crate::engine::session::SessionRecord;
use crate::server::Node;
use crate::sessions::Filter;
use crate::store::StoreError;

impl Node {
    pub(super) async fn session_list(
        &self,
        user: Option<UserKey>,
        client: Option<String>,
        limit: usize,
    ) -> Result<SessionList, ApiError> {
        let filter = Filter { user, client };
        let (found, more) = self
            .sessions
            .list(&filter, limit)
            .await
            .map_err(|error| broken(&error))?;
        let now = clock::now();
        Ok(SessionList {
            sessions: found.into_iter().map(|session| view(session, now)).collect(),
            more,
        })
    }

    pub(super) async fn session_view(&self, name: &str) -> Result<SessionView, ApiError> {
        let now = clock::now();
        if let Some(open) = self.sessions.find(name, now).await.map_err(|error| broken(&error))? {
            return Ok(view(open.session, now));
        }
        let mut found = self.sessions.with_id(name, 2).await.map_err(|error| broken(&error))?;
        match (found.pop(), found.pop()) {
            (Some(session), None) => Ok(view(session, now)),
            (Some(one), Some(other)) => {
                let error = format!("several open sessions have the identifier `{name}`");
                let remedy = format!("name one of them: {}, {}, …", other.name(), one.name());
                Err(ApiError::new(ErrorKind::Refused, error).with_remedy(remedy))
            }
            (None, _) => Err(
                ApiError::new(ErrorKind::NotFound, format!("no session `{name}` is open"))
                    .with_remedy("`portcullis session list` shows the open ones; the audit has those that are over"),
            ),
        }
    }
}

fn broken(error: &StoreError) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, error.to_string()).with_remedy("see `portcullis status` and the server's log")
}

fn view(session: SessionRecord, now: Timestamp) -> SessionView {
    let (name, seconds) = (session.name().to_string(), session.duration(now).as_secs());
    let details = session.details;
    SessionView {
        name,
        login: session.login,
        user: session.user.map(|user| user.to_string()),
        client: session.client,
        service: session.service,
        nas: session.nas,
        id: session.id,
        multi_id: details.multi_id,
        user_name: details.user_name,
        started: session.started,
        start_seen: session.start_seen,
        heard: session.heard,
        ending: session.ending,
        seconds,
        octets_in: session.usage.octets_in,
        octets_out: session.usage.octets_out,
        packets_in: session.usage.packets_in,
        packets_out: session.usage.packets_out,
        address: details.address,
        address6: details.address6,
        calling_station: details.calling_station,
        called_station: details.called_station,
        port: details.port,
        port_id: details.port_id,
        source: session.source,
        encrypted: session.encrypted,
    }
}
