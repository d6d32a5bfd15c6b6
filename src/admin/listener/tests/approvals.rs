//! What takes an approval, and delegations, through the routes.

use super::*;
use crate::accounts::Answer;
use crate::clock;
use crate::engine::approval::Action;
use crate::engine::approval::{About, Approver, Rule};

#[tokio::test]
async fn what_takes_an_approval_names_the_request_that_has_it() {
    let served = Served::start();
    let site = &served.site;
    site.main.set_manager("ana", "ben");
    site.four_eyes.lock().rules = Arc::new([Rule {
        actions: vec![Action::Passcode, Action::TokenEnrol, Action::Disable],
        about: About::Everybody,
        levels: vec![Approver::Manager],
        life: Rule::DEFAULT_LIFE,
    }]);
    let issue = json!({ "user": "ana", "minutes": 15 });
    let refused = served.post("/v1/passcode/issue", issue.clone()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied);
    let remedy = refused.remedy.unwrap();
    assert!(remedy.contains("portcullis request new passcode ana"), "{remedy}");
    // Another way to do the same is no way around.
    let key = json!({ "user": "ana", "public": "vvvvvvvvvvvv", "private": "000000000000", "key": "0".repeat(32) });
    let import = served
        .post("/v1/token/import-yubico", json!({ "keys": [key] }))
        .await
        .unwrap();
    assert!(
        import[0]["error"].as_str().unwrap().contains("takes an approval"),
        "{import}"
    );

    let new = |action: &str, parameters: Value| json!({ "action": action, "user": "ana", "reason": "phone lost", "parameters": parameters });
    for (action, parameters, kind) in [
        ("everything", json!({}), ErrorKind::Invalid),
        ("login", json!({}), ErrorKind::Invalid),
        ("passcode", json!({ "hours": "1" }), ErrorKind::Invalid),
        ("unlock", json!({}), ErrorKind::Refused),
    ] {
        let refused = served
            .post("/v1/request/new", new(action, parameters))
            .await
            .unwrap_err();
        assert_eq!(refused.kind, kind, "{action}: {refused}");
    }
    let asked = served
        .post("/v1/request/new", new("passcode", json!({ "minutes": "15" })))
        .await
        .unwrap();
    assert_eq!(
        (&asked["state"], &asked["parameters"][0]),
        (&json!("pending"), &json!("minutes=15"))
    );
    let id = asked["id"].as_str().unwrap().to_owned();
    let own = served
        .post("/v1/request/approve", json!({ "id": id }))
        .await
        .unwrap_err();
    assert_eq!(own.kind, ErrorKind::Denied, "who asks does not approve");
    let ana = site.subject("ana").await;
    let ben = Actor::now("ben");
    site.accounts
        .decide_request(&ana, &id, Answer::Approve(""), ben)
        .await
        .unwrap();

    let other = json!({ "user": "ana", "minutes": 480 });
    let under = async |body: &Value, id: &str| {
        let client = served.client.clone().under(Some(id.to_owned()));
        api(client.post::<Value>("/v1/passcode/issue", body).await)
    };
    for (body, id, kind) in [
        (&other, id.as_str(), ErrorKind::Denied),
        (&issue, "ZZZZZZ", ErrorKind::NotFound),
        (&issue, "no id", ErrorKind::NotFound),
    ] {
        assert_eq!(under(body, id).await.unwrap_err().kind, kind, "{id} {body}");
    }
    // Values in the order of the fields, which no approval would bind.
    let listed = json!(["ana", null, 480, true, true]);
    assert_eq!(under(&listed, &id).await.unwrap_err().kind, ErrorKind::Invalid);
    let issued = under(&issue, &id).await.unwrap();
    assert!(issued["code"].is_string(), "shown to who asked, this once");
    assert_eq!(under(&issue, &id).await.unwrap_err().kind, ErrorKind::Refused);
    let listed = served.get("/v1/requests?all=true").await.unwrap();
    assert_eq!(listed[0]["state"], "used");
    assert!(served.get("/v1/requests").await.unwrap().as_array().unwrap().is_empty());
    let audited = site.audited().await;
    assert_eq!(
        audited.iter().filter(|event| *event == "request.use accept").count(),
        1,
        "{audited:?}"
    );
    assert_eq!(
        audited.iter().filter(|event| *event == "passcode.issue reject").count(),
        5,
        "{audited:?}"
    );
}

#[tokio::test]
async fn a_rule_for_one_way_is_not_evaded_by_another() {
    let served = Served::start();
    served.site.four_eyes.lock().rules = Arc::new([Rule {
        actions: vec![Action::KeyEnrol, Action::AnswersUnlock],
        about: About::Everybody,
        levels: vec![Approver::Manager],
        life: Rule::DEFAULT_LIFE,
    }]);
    let key = json!({ "user": "ana", "public": "vvvvvvvvvvvv", "private": "000000000000", "key": "0".repeat(32) });
    let import = served.post("/v1/token/import-yubico", json!({ "keys": [key] })).await;
    let import = import.unwrap().to_string();
    assert!(import.contains("takes an approval"), "{import}");
    for (path, body) in [
        ("/v1/user/unlock", json!({ "user": "ana", "answers": true })),
        ("/v1/answers/unlock", json!({ "user": "ana" })),
        ("/v1/answers/reconfirm", json!({ "user": "ana" })),
        ("/v1/user/unregister", json!({ "user": "ana", "as_new": true })),
    ] {
        let refused = served.post(path, body).await.unwrap_err();
        assert!(refused.error.contains("takes an approval"), "{path}: {refused}");
    }
    served
        .post("/v1/user/unlock", json!({ "user": "ana", "profile": true }))
        .await
        .unwrap();
    let audited = served.site.audited().await;
    let refused = audited.iter().filter(|event| event.ends_with(" reject"));
    assert_eq!(refused.count(), 5, "{audited:?}");
}

#[tokio::test]
async fn delegations_are_made_listed_and_ended() {
    let served = Served::start();
    let add = |scope: &str, until: &str| json!({ "to": "ben", "scope": [scope], "until": until, "reason": "on leave" });
    let tomorrow = (clock::now() + Rule::DEFAULT_LIFE).to_string();
    for wrong in [
        add("passcode", &tomorrow),
        add("all", "2020-01-01T00:00:00Z"),
        add("all", "2999-01-01T00:00:00Z"),
    ] {
        let refused = served.post("/v1/delegation/add", wrong).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid, "{refused}");
    }
    let made = served
        .post("/v1/delegation/add", add("action=login,passcode", &tomorrow))
        .await
        .unwrap();
    assert_eq!(made["scope"], json!(["action=login", "action=passcode"]));
    let listed = served.get("/v1/delegations").await.unwrap();
    assert_eq!(listed[0]["id"], made["id"]);
    let end = json!({ "id": made["id"] });
    served.post("/v1/delegation/end", end.clone()).await.unwrap();
    assert_eq!(
        served.post("/v1/delegation/end", end).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    assert_eq!(
        served.site.audited().await,
        ["delegation.grant accept", "delegation.end accept"]
    );
}

#[tokio::test]
async fn strangers_ask_for_nothing() {
    for (target, body) in [
        ("/v1/request/new", r#"{"action":"unlock","user":"ana","reason":"x"}"#),
        ("/v1/request/cancel", r#"{"id":"ZZZZZZ"}"#),
        (
            "/v1/delegation/add",
            r#"{"to":"ben","scope":["all"],"until":"2030-01-01T00:00:00Z","reason":"x"}"#,
        ),
        ("/v1/delegation/end", r#"{"id":"ZZZZZZ"}"#),
    ] {
        let answer = as_account("mallory", &post(target, body)).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
    }
}
