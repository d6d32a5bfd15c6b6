use std::os::unix::fs::FileTypeExt as _;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;
use crate::accounts::Relation;
use crate::accounts::fixture::Fixture;
use crate::admin::api::{
    ApiError, AskedReport, ClientRow, ClientView, DiffReport, DiffRequest, ErrorKind, ExplainRequest, Explanation,
    ForgetRequest, Forgotten, PartsTested, PolicyReport, PolicySummary, ReloadReport, ReuseList, RollbackReport,
    SentPolicies, SessionList, SessionView, StatusReport, StoreStatus, StrangerView, TestReport, Verification,
    VersionFiles, VersionView,
};
use crate::admin::api::{DeliveryTestRequest, DeliveryTested};
use crate::admin::api::{ReplayLine, ReplayProgress, ReplayRequest};
use crate::admin::client::{AdminClient, ClientError};
use crate::admin::control::{Backup, Health, Helpdesk, OperatorBook, PolicyTools, Upkeep};
use crate::admin::operator::{Book, Operator, Verb};
use crate::admin::{Control, WhichSessions};
use crate::audit::Audit;
use crate::clock::Timestamp;
use crate::engine::denials::GroupDenial;
use crate::engine::{BoxFuture, UserKey};
use crate::metrics::Metrics;

mod approvals;

struct TestControl;

impl PolicyTools for TestControl {
    fn policy_check(&self, sent: Option<SentPolicies>) -> BoxFuture<'_, Result<PolicyReport, ApiError>> {
        Box::pin(async move {
            Ok(PolicyReport {
                path: sent.map_or_else(|| "policies".into(), |sent| sent.path),
                files: Vec::new(),
                rules: 0,
                workflows: Vec::new(),
                languages: Vec::new(),
                faults: Vec::new(),
            })
        })
    }

    fn policy_explain(&self, _: ExplainRequest) -> BoxFuture<'_, Result<Explanation, ApiError>> {
        Box::pin(async { Err(nothing()) })
    }

    fn policy_versions(&self) -> BoxFuture<'_, Result<Vec<VersionView>, ApiError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn policy_version(&self, _: u64) -> BoxFuture<'_, Result<VersionFiles, ApiError>> {
        Box::pin(async { Err(nothing()) })
    }

    fn policy_diff(&self, _: DiffRequest) -> BoxFuture<'_, Result<DiffReport, ApiError>> {
        Box::pin(async { Err(nothing()) })
    }

    fn policy_replay(
        &self,
        _: ReplayRequest,
        _: Arc<Audit>,
        lines: tokio::sync::mpsc::Sender<ReplayLine>,
    ) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for records in 1..=3 {
                let progress = ReplayProgress { records, of: 3 };
                lines.send(ReplayLine::Progress(progress)).await.unwrap();
            }
            lines.send(ReplayLine::Error(nothing())).await.unwrap();
        })
    }

    fn policy_rollback(&self, _: u64, _: String) -> BoxFuture<'_, Result<RollbackReport, ApiError>> {
        Box::pin(async { Err(nothing()) })
    }
}

fn nothing() -> ApiError {
    ApiError::new(ErrorKind::NotFound, "there is nothing here")
}

impl OperatorBook for TestControl {
    fn book(&self) -> Book {
        Book {
            admin: toml::from_str("operators = ['carol']").unwrap(),
            entries: Vec::new(),
        }
    }
}

impl Helpdesk for TestControl {
    fn expel_group<'a>(&'a self, _: &'a GroupDenial) -> BoxFuture<'a, usize> {
        Box::pin(async { 3 })
    }

    fn end_sessions_of_group<'a>(
        &'a self,
        _: &'a GroupDenial,
        _: String,
    ) -> BoxFuture<'a, Result<AskedReport, ApiError>> {
        Box::pin(async { Ok(AskedReport::default()) })
    }
}

impl Health for TestControl {
    fn test_parts(&self, name: Option<String>) -> BoxFuture<'_, Result<PartsTested, ApiError>> {
        Box::pin(async move {
            match name {
                Some(name) => Err(ApiError::new(ErrorKind::NotFound, name)),
                None => Ok(PartsTested { parts: Vec::new() }),
            }
        })
    }
}
impl Upkeep for TestControl {
    fn backup(&self) -> BoxFuture<'_, Result<Backup, ApiError>> {
        Box::pin(async {
            let (sender, pieces) = tokio::sync::mpsc::channel(2);
            for piece in ["half ", "and half"] {
                sender.send(Ok(piece.into())).await.unwrap();
            }
            Ok(Backup {
                revision: 7,
                audit_sequence: 3,
                pieces,
            })
        })
    }
}

impl Control for TestControl {
    fn reload(&self, _: String) -> BoxFuture<'_, Result<ReloadReport, ApiError>> {
        Box::pin(async { Err(ApiError::new(ErrorKind::Faulty, "portcullis.toml:3:1: nonsense")) })
    }

    fn status(&self, _: bool) -> BoxFuture<'_, StatusReport> {
        Box::pin(async {
            StatusReport {
                version: "0".into(),
                node: "test".into(),
                pid: 1,
                started: Timestamp::default(),
                config: "portcullis.toml".into(),
                loaded: Timestamp::default(),
                policies: PolicySummary {
                    path: "policies".into(),
                    rules: 1,
                    version: "1".into(),
                },
                nodes: Vec::new(),
                streams: Vec::new(),
                listeners: Vec::new(),
                directories: Vec::new(),
                upstreams: Vec::new(),
                deliveries: Vec::new(),
                store: StoreStatus {
                    kind: "memory".into(),
                    location: String::new(),
                    revision: 0,
                    audit_sequence: 0,
                    size: 0,
                    queue: 0,
                    error: None,
                },
                sessions: 0,
            }
        })
    }

    fn expel(&self, _: &UserKey) -> usize {
        2
    }

    fn end_sessions(&self, _: WhichSessions, _: String) -> BoxFuture<'_, Result<AskedReport, ApiError>> {
        Box::pin(async { Ok(AskedReport::default()) })
    }

    fn refresh_sessions(
        &self,
        _: Option<UserKey>,
        _: Option<String>,
        _: String,
    ) -> BoxFuture<'_, Result<AskedReport, ApiError>> {
        Box::pin(async { Ok(AskedReport::default()) })
    }

    fn sessions(
        &self,
        _: Option<UserKey>,
        _: Option<String>,
        _: usize,
    ) -> BoxFuture<'_, Result<SessionList, ApiError>> {
        Box::pin(async {
            Ok(SessionList {
                sessions: Vec::new(),
                more: false,
            })
        })
    }

    fn session(&self, name: String) -> BoxFuture<'_, Result<SessionView, ApiError>> {
        Box::pin(async move {
            Err(ApiError::new(
                ErrorKind::NotFound,
                format!("no session `{name}` is open"),
            ))
        })
    }

    fn reused(&self, _: Option<&UserKey>, _: usize) -> ReuseList {
        ReuseList {
            reused: Vec::new(),
            more: false,
        }
    }

    fn clear_reused(&self, user: Option<&UserKey>) -> usize {
        if user.is_some() { 1 } else { 2 }
    }

    fn clients(&self) -> Vec<ClientRow> {
        Vec::new()
    }

    fn client(&self, name: &str) -> Result<ClientView, ApiError> {
        Err(ApiError::new(
            ErrorKind::NotFound,
            format!("there is no RADIUS client \"{name}\""),
        ))
    }

    fn strangers(&self) -> Vec<StrangerView> {
        Vec::new()
    }

    fn test_client(&self, name: String) -> BoxFuture<'_, Result<TestReport, ApiError>> {
        Box::pin(async move { Err(ApiError::new(ErrorKind::NotFound, name)) })
    }

    fn test_delivery(&self, request: DeliveryTestRequest) -> BoxFuture<'_, Result<DeliveryTested, ApiError>> {
        Box::pin(async move { Err(ApiError::new(ErrorKind::NotFound, request.delivery)) })
    }

    fn forget_client(&self, request: ForgetRequest, operator: String) -> BoxFuture<'_, Result<Forgotten, ApiError>> {
        Box::pin(async move {
            let error = format!("{operator} may not forget {}", request.client);
            Err(ApiError::new(ErrorKind::Unavailable, error))
        })
    }
}

/// A served socket.
struct Served {
    site: Fixture,
    folder: tempfile::TempDir,
    client: AdminClient,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

fn state_of(site: &Fixture) -> AdminState {
    AdminState {
        accounts: Arc::clone(&site.accounts),
        audit: Arc::new(Audit::new(Arc::clone(&site.store) as _, Arc::clone(&site.keyring))),
        metrics: Metrics::default(),
        control: Arc::new(TestControl),
        guesses: Arc::default(),
    }
}

impl Served {
    fn start() -> Self {
        let site = Fixture::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let socket = AdminSocket::bind(&path, None).unwrap();
        let state = state_of(&site);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(socket.serve(state, async {
            let _ = stopped.await;
        }));
        Self {
            site,
            client: AdminClient::new(path),
            folder,
            stop,
            serving,
        }
    }

    async fn get(&self, target: &str) -> Result<Value, ApiError> {
        api(self.client.get(target, &()).await)
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, ApiError> {
        api(self.client.post(path, &body).await)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }
}

fn api(answer: Result<Value, ClientError>) -> Result<Value, ApiError> {
    answer.map_err(|error| {
        let ClientError::Api(error) = error else {
            panic!("{error:?}");
        };
        error
    })
}

#[tokio::test]
async fn a_person_from_enrolment_to_clean_up() {
    let served = Served::start();
    let enrolled = served
        .post("/v1/token/enrol", json!({ "user": "ana", "label": "phone" }))
        .await
        .unwrap();
    assert!(
        enrolled["uri"]
            .as_str()
            .unwrap()
            .starts_with("otpauth://totp/Portcullis:ana?")
    );
    assert_eq!(enrolled["token"]["kind"], "totp");
    let user = served.get("/v1/user?user=ana").await.unwrap();
    assert_eq!(user["tokens"][0]["label"], "phone");
    assert!(
        user["tokens"][0]["enrolled"].as_str().unwrap().ends_with('Z'),
        "RFC 3339"
    );
    assert!(
        !user.to_string().contains(enrolled["seed"].as_str().unwrap()),
        "shown once"
    );
    assert_eq!(
        served
            .get("/v1/tokens?user=ana")
            .await
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let codes = served
        .post("/v1/recovery-codes/new", json!({ "user": "ana" }))
        .await
        .unwrap();
    assert_eq!(codes["codes"].as_array().unwrap().len(), 10);
    let issued = served
        .post("/v1/passcode/issue", json!({ "user": "ana", "minutes": 5 }))
        .await
        .unwrap();
    assert_eq!(issued["code"].as_str().unwrap().len(), 10);
    let live = served.get("/v1/passcodes").await.unwrap();
    assert_eq!(live[0]["login"], "ana");
    assert!(live[0].get("code").is_none());
    for (path, body) in [
        ("/v1/passcode/revoke", json!({ "user": "ana" })),
        ("/v1/token/disable", json!({ "user": "ana", "token": "phone" })),
        ("/v1/token/enable", json!({ "user": "ana", "token": "1" })),
        ("/v1/token/revoke", json!({ "user": "ana", "token": "1" })),
        ("/v1/user/unlock", json!({ "user": "ana" })),
    ] {
        served.post(path, body).await.unwrap();
    }
    assert_eq!(
        served.get("/v1/users?text=an").await.unwrap()["users"][0]["login"],
        "ana"
    );

    let audit = served.get("/v1/audit?user=ana").await.unwrap();
    let actions: Vec<&str> = audit["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "token.enrol",
            "recovery-codes.new",
            "passcode.issue",
            "passcode.revoke",
            "token.disable",
            "token.enable",
            "token.revoke",
            "user.unlock",
            "user.unlock"
        ]
    );
    let text = audit.to_string();
    for secret in [&enrolled["seed"], &issued["code"], &codes["codes"][0]] {
        assert!(!text.contains(secret.as_str().unwrap()), "no secrets in the audit");
    }
    let last = served.get("/v1/audit?last=1").await.unwrap();
    assert_eq!(
        (&last["records"][0]["sequence"], &last["next"]),
        (&json!(9), &json!(10))
    );
    let verified = served.get("/v1/audit/verify").await.unwrap();
    let verified: Verification = serde_json::from_value(verified).unwrap();
    assert!(matches!(verified, Verification::Whole(whole) if whole.records == 9));
}

#[tokio::test]
async fn errors_are_json_with_their_kind() {
    let served = Served::start();
    let kind = |answer: Result<Value, ApiError>| answer.unwrap_err().kind;
    assert_eq!(kind(served.get("/v1/user?user=nobody").await), ErrorKind::NotFound);
    assert_eq!(kind(served.get("/v1/user").await), ErrorKind::Invalid);
    assert_eq!(
        kind(served.get("/v1/user?user=ana&colour=red").await),
        ErrorKind::Invalid
    );
    assert_eq!(kind(served.get("/v1/nowhere").await), ErrorKind::NotFound);
    assert_eq!(kind(served.get("/v1/reload").await), ErrorKind::Invalid);
    assert_eq!(
        kind(served.post("/v1/user/unlock", json!({ "usr": "ana" })).await),
        ErrorKind::Invalid
    );
    assert_eq!(kind(served.get("/v1/audit?from=1&last=2").await), ErrorKind::Invalid);
    assert_eq!(kind(served.get("/v1/audit?since=yesterday").await), ErrorKind::Invalid);
    assert_eq!(kind(served.get("/v1/audit/verify?noted=x").await), ErrorKind::Invalid);
    served.site.main.set_down(true);
    assert_eq!(kind(served.get("/v1/user?user=ana").await), ErrorKind::Unavailable);
    let large = json!({ "user": "x".repeat(crate::admin::api::MAX_REQUEST) });
    assert_eq!(kind(served.post("/v1/user/unlock", large).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_refused_reload_is_audited() {
    let served = Served::start();
    let refused = served.post("/v1/reload", json!(null)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Faulty);
    assert_eq!(served.site.audited().await, ["reload reject"]);
}

#[tokio::test]
async fn curl_speaks_to_it() {
    let served = Served::start();
    let curl = async |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "10", "--unix-socket"])
            .arg(served.path())
            .args(["--write-out", "\n%{http_code}"])
            .args(arguments);
        let output = tokio::task::spawn_blocking(move || curl.output()).await.unwrap().ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        text.rsplit_once('\n')
            .map(|(body, code)| (code.to_owned(), body.to_owned()))
    };
    let Some((code, body)) = curl(&["http://localhost/v1/status"]).await else {
        eprintln!("skipped: no curl here");
        return;
    };
    assert_eq!(code, "200");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["node"], "test");
    let (code, _) = curl(&["-d", r#"{"user":"ana"}"#, "http://localhost/v1/user/unlock"])
        .await
        .unwrap();
    assert_eq!(code, "200", "whatever content type curl claims");
    let (code, body) = curl(&["http://localhost/v1/user?user=nobody"]).await.unwrap();
    assert_eq!(code, "404");
    assert!(body.contains("\"remedy\""), "{body}");
    let (code, _) = curl(&["-X", "DELETE", "http://localhost/v1/status"]).await.unwrap();
    assert_eq!(code, "405");
    let (code, body) = curl(&["http://localhost/metrics"]).await.unwrap();
    assert_eq!(code, "200");
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn the_socket_is_guarded_and_removed_at_the_end() {
    let served = Served::start();
    let path = served.path();
    let found = std::fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    assert!(matches!(AdminSocket::bind(&path, None), Err(SocketError::InUse(_))));
    // A connection that says nothing does not hold up the end.
    let mut silent = UnixStream::connect(&path).await.unwrap();
    served.client.get::<Value>("/v1/status", &()).await.unwrap();
    served.stop.send(()).unwrap();
    served.serving.await.unwrap();
    assert!(!path.exists());
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0, "closed");
}

#[tokio::test]
async fn what_is_in_the_way_is_judged_before_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left over by a process that ended badly");
    let socket = AdminSocket::bind(&path, None).unwrap();
    drop(socket);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(
        AdminSocket::bind(&path, None),
        Err(SocketError::NotASocket(_))
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let nobodys = AdminSocket::bind(&folder.path().join("other.sock"), Some("no-such-group"));
    assert!(matches!(nobodys, Err(SocketError::NoSuchGroup(_))));
}

#[tokio::test]
async fn octets_that_are_no_request_end_the_connection() {
    let served = Served::start();
    for octets in [&b"\0\x01\x02\r\n\r\n"[..], &[b'A'; 100_000]] {
        let mut stream = UnixStream::connect(served.path()).await.unwrap();
        let _ = stream.write_all(octets).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    served.get("/v1/status").await.unwrap();
}

/// What a caller gets that is neither root nor the process's own account.
async fn as_account(name: &str, request: &str) -> String {
    let site = Fixture::new();
    let (near, mut far) = UnixStream::pair().unwrap();
    let caller = Caller::Local {
        name: name.into(),
        own: false,
    };
    let (_ending, ended) = watch::channel(());
    let serving = tokio::spawn(serve_caller(near, state_of(&site), caller, ended));
    far.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    far.read_to_string(&mut answer).await.unwrap();
    serving.await.unwrap();
    let changed = site.audited().await;
    assert!(name == "carol" || changed.is_empty(), "{changed:?}");
    answer
}

#[tokio::test]
async fn strangers_get_nothing_at_any_door() {
    let ana = r#"{"user":"ana"}"#;
    let token = r#"{"user":"ana","token":"1"}"#;
    let doors = [
        ("GET", "/v1/status", ""),
        ("POST", "/v1/reload", "null"),
        ("GET", "/v1/users?text=a", ""),
        ("GET", "/v1/user?user=ana", ""),
        ("GET", "/v1/user?user=nobody", ""),
        ("POST", "/v1/user/unlock", ana),
        ("GET", "/v1/tokens?user=ana", ""),
        ("POST", "/v1/token/enrol", ana),
        ("POST", "/v1/token/revoke", token),
        ("POST", "/v1/token/enable", token),
        ("POST", "/v1/token/disable", token),
        (
            "POST",
            "/v1/token/resync",
            r#"{"user":"ana","token":"1","first":"1","second":"2"}"#,
        ),
        ("POST", "/v1/recovery-codes/new", ana),
        ("GET", "/v1/passcodes", ""),
        ("POST", "/v1/passcode/issue", ana),
        ("POST", "/v1/passcode/release", r#"{"id":"x"}"#),
        ("POST", "/v1/passcode/revoke", ana),
        ("GET", "/v1/requests", ""),
        ("GET", "/v1/request?id=x", ""),
        ("POST", "/v1/request/approve", r#"{"id":"x"}"#),
        ("POST", "/v1/request/deny", r#"{"id":"x"}"#),
        ("GET", "/v1/reuse", ""),
        ("POST", "/v1/reuse/clear", ana),
        ("POST", "/v1/policy/check", "null"),
        ("POST", "/v1/policy/explain", r#"{"user":"ana","client":"vpn"}"#),
        ("GET", "/v1/policy/versions", ""),
        ("GET", "/v1/policy/version?version=1", ""),
        ("POST", "/v1/policy/diff", "{}"),
        ("POST", "/v1/policy/rollback", r#"{"version":1}"#),
        (
            "POST",
            "/v1/policy/replay",
            r#"{"policies":{"path":"p","files":[]},"since":"2030-01-01T00:00:00Z"}"#,
        ),
        ("GET", "/v1/audit", ""),
        ("GET", "/v1/audit/verify", ""),
        ("GET", "/metrics", ""),
    ];
    for (method, target, body) in doors {
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let answer = as_account("mallory", &request).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{method} {target}: {answer}");
        assert!(answer.contains("`mallory` is not an operator"), "{answer}");
        let answer = as_account("carol", &request).await;
        assert!(!answer.starts_with("HTTP/1.1 403 "), "{method} {target}: {answer}");
    }
}

/// One request by POST.
fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn lines_come_one_by_one() {
    let answer = as_account(
        "carol",
        &post(
            "/v1/policy/replay",
            r#"{"policies":{"path":"p","files":[]},"since":"2030-01-01T00:00:00Z"}"#,
        ),
    )
    .await;
    assert!(answer.contains("application/x-ndjson"), "{answer}");
    for records in 1..=3 {
        assert!(
            answer.contains(&format!("{{\"progress\":{{\"records\":{records},\"of\":3}}}}\n")),
            "{answer}"
        );
    }
    assert!(answer.contains("{\"error\":{"), "{answer}");
}

/// Policies may be larger than other requests.
#[tokio::test]
async fn policy_files_have_room() {
    let body = |octets: usize| {
        let text = "#".repeat(octets);
        format!(r#"{{"path":"p","files":[{{"name":"a.toml","text":"{text}"}}]}}"#)
    };
    let answer = as_account("carol", &post("/v1/policy/check", &body(1 << 20))).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = as_account("carol", &post("/v1/policy/explain", &body(70_000))).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn nobody_helps_themselves() {
    let carol = r#"{"user":"carol"}"#;
    let token = r#"{"user":"carol","token":"1"}"#;
    let resync = r#"{"user":"carol","token":"1","first":"1","second":"2"}"#;
    let helping = [
        ("/v1/user/unlock", carol),
        ("/v1/user/undeny", carol),
        ("/v1/token/enrol", carol),
        ("/v1/token/enable", token),
        ("/v1/token/resync", resync),
        ("/v1/recovery-codes/new", carol),
        ("/v1/passcode/issue", carol),
    ];
    for (target, body) in helping {
        let answer = as_account("carol", &post(target, body)).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
        assert!(answer.contains("for themselves"), "{answer}");
        let other = as_account("carol", &post(target, &body.replace("carol", "ana"))).await;
        assert!(!other.starts_with("HTTP/1.1 403 "), "{target}: {other}");
    }
    // What harms nobody else is their own business.
    let harmless = [
        ("/v1/user/deny", r#"{"user":"carol","reason":"away"}"#),
        ("/v1/token/disable", token),
        ("/v1/token/revoke", token),
        ("/v1/passcode/revoke", carol),
    ];
    for (target, body) in harmless {
        let answer = as_account("carol", &post(target, body)).await;
        assert!(!answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
    }
}

#[tokio::test]
async fn refusals_to_help_oneself_are_audited() {
    let site = Fixture::new();
    site.main.alias("carol-admin", "carol");
    let operator = Operator::administrator("carol-admin");
    let state = state_of(&site);
    let carol = site.subject("carol").await;
    let relation = site.accounts.relation(&operator.name, &carol).await.unwrap();
    assert_eq!(relation, Relation::Oneself, "by another name");
    let refused = state.allow(&operator, Verb::NewRecoveryCodes, &carol, relation).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(site.audited().await, ["recovery-codes.new reject"]);
}

#[tokio::test]
async fn a_passcode_goes_through_two_hands() {
    let served = Served::start();
    let site = &served.site;
    site.four_eyes.lock().passcodes = true;
    let issue = json!({ "user": "ana" });
    let nobody = served.post("/v1/passcode/issue", issue.clone()).await.unwrap_err();
    assert_eq!(nobody.kind, ErrorKind::Refused, "{nobody}");
    site.main.set_manager("ana", "ben");
    let issued = served.post("/v1/passcode/issue", issue).await.unwrap();
    assert_eq!(issued["passcode"]["state"], "waiting-for-release");
    assert_eq!(issued["second"]["manager"], "ben");
    // The account that runs this is nobody's manager, and has issued it.
    let release = json!({ "id": issued["passcode"]["id"] });
    let denied = served.post("/v1/passcode/release", release).await.unwrap_err();
    assert_eq!(denied.kind, ErrorKind::Denied);
    assert!(denied.error.contains("issued"), "{denied}");
    let missing = served.post("/v1/passcode/release", json!({ "id": "x" })).await;
    assert_eq!(missing.unwrap_err().kind, ErrorKind::NotFound);
    let listed = served.get("/v1/passcodes").await.unwrap().to_string();
    assert!(!listed.contains(issued["code"].as_str().unwrap()), "metadata only");
    assert_eq!(
        served.site.audited().await,
        ["passcode.issue accept", "passcode.release reject"]
    );
}
