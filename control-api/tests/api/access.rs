//! Nobody gets in without the right token: every operation of the document is tried.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Daemon, answer, refusal};

/// Operations that need no token.
const PUBLIC: [&str; 4] = ["GET /healthz", "GET /readyz", "GET /metrics", "POST /v1/sessions"];

/// Operations that only an administrator may call.
const ADMINISTRATION: [&str; 17] = [
    "/v1/host-key/rotation",
    "/v1/users",
    "/v1/users/{user}",
    "/v1/cards",
    "/v1/cards/{terminal}",
    "/v1/cards/{terminal}/park",
    "/v1/cards/{terminal}/wake",
    "/v1/cards/{terminal}/restore",
    "/v1/cards/{terminal}/adopt",
    "/v1/cards/{terminal}/certification",
    "/v1/cards/{terminal}/protocols",
    "/v1/cards/{terminal}/profiles",
    "/v1/cards/{terminal}/profiles/{iccid}",
    "/v1/anchor",
    "/v1/audit",
    "/v1/orphans",
    "/v1/orphans/{orphan}",
];

async fn operations(daemon: &Daemon) -> Vec<(Method, String)> {
    let document = daemon.anonymous().get("/openapi.json").await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let operations = |(path, item): (&String, &Value)| {
        let methods: Vec<_> = item.as_object().unwrap().keys().cloned().collect();
        let path = path.clone();
        methods.into_iter().map(move |method| (method.to_uppercase().parse().unwrap(), path.clone()))
    };
    paths.iter().flat_map(operations).collect()
}

fn filled(path: &str) -> String {
    path.replace("{terminal}", "till").replace("{user}", "bob").replace(['{', '}'], "")
}

#[tokio::test]
async fn every_operation_refuses_who_is_not_logged_in() {
    let daemon = Daemon::start().await;
    daemon.terminal("till", "alice").await;
    let operations = operations(&daemon).await;
    assert!(operations.len() >= 15, "the document lists the operations");
    for (method, path) in operations {
        if PUBLIC.contains(&&*format!("{method} {path}")) {
            continue;
        }
        for token in [None, Some("wrong".to_owned())] {
            let mut client = daemon.anonymous();
            client.token = token;
            let response = client.request(method.clone(), &filled(&path)).send().await.unwrap();
            assert_eq!(answer(response).await, Err(refusal(401, "unauthenticated")), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_operation_on_a_terminal_refuses_another_user() {
    let daemon = Daemon::start().await;
    daemon.terminal("till", "alice").await;
    let mallory = daemon.user("mallory").await;
    let administration: Vec<_> = ADMINISTRATION.iter().collect();
    for (method, path) in operations(&daemon).await {
        if path == "/v1/sessions/current" {
            continue;
        }
        let response = mallory.request(method.clone(), &filled(&path)).send().await.unwrap();
        let administrative = administration.iter().any(|prefix| **prefix == path)
            || (path == "/v1/terminals/{terminal}" && method != Method::GET)
            || (path == "/v1/cards/{terminal}/pairings" && method == Method::PUT);
        if administrative {
            assert_eq!(answer(response).await, Err(refusal(403, "administrator-only")), "{method} {path}");
        } else if path.contains("{terminal}") {
            assert_eq!(answer(response).await, Err(refusal(403, "terminal-not-assigned")), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn an_unknown_terminal_looks_like_another_users() {
    let daemon = Daemon::start().await;
    let mallory = daemon.user("mallory").await;
    assert_eq!(mallory.get("/v1/terminals/nothing").await, Err(refusal(403, "terminal-not-assigned")));
    let administrator = daemon.administrator().await;
    assert_eq!(administrator.get("/v1/terminals/nothing").await, Err(refusal(404, "not-found")));
}

#[tokio::test]
async fn users_list_their_own_terminals_and_administrators_all() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till-a", "alice").await;
    daemon.terminal("till-b", "bob").await;
    let own = json!([{ "terminal": "till-a", "owner": "alice" }]);
    assert_eq!(alice.get("/v1/terminals").await.unwrap()["terminals"], own);
    let all = daemon.administrator().await.get("/v1/terminals?limit=1").await.unwrap();
    assert_eq!((&all["terminals"], &all["next"]), (&own, &json!("till-a")));
    let rest = daemon.administrator().await.get("/v1/terminals?after=till-a").await.unwrap();
    assert_eq!(rest["terminals"], json!([{ "terminal": "till-b", "owner": "bob" }]));
}
