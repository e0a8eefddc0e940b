//! Requests that are malformed, too long, too slow or too many.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Daemon, answer, refusal};

#[tokio::test]
async fn what_is_not_the_json_of_the_operation_is_refused() {
    let daemon = Daemon::start().await;
    let administrator = daemon.administrator().await;
    let long = format!("{{\"owner\":\"{}\"}}", "x".repeat(100_000));
    for (media_type, body, expected) in [
        ("application/json", "{", refusal(400, "malformed-request")),
        ("application/json", "", refusal(400, "malformed-request")),
        ("application/json", "[]", refusal(422, "invalid-value")),
        ("application/json", "{\"owner\":1}", refusal(422, "invalid-value")),
        ("text/plain", "{\"owner\":\"admin\"}", refusal(415, "unsupported-media-type")),
        ("application/json", long.as_str(), refusal(413, "body-too-large")),
    ] {
        let request =
            administrator.request(Method::PUT, "/v1/terminals/t").header("content-type", media_type);
        let response = request.body(body.to_owned()).send().await.unwrap();
        assert_eq!(answer(response).await, Err(expected), "{media_type} {}", &body[..body.len().min(40)]);
    }
}

#[tokio::test]
async fn paths_and_methods_that_are_not_offered_are_refused() {
    let daemon = Daemon::start().await;
    let administrator = daemon.administrator().await;
    assert_eq!(administrator.get("/nothing").await, Err(refusal(404, "not-found")));
    assert_eq!(administrator.get("/v1/users?bad=1").await, Err(refusal(400, "malformed-request")));
    assert_eq!(administrator.post("/v1/users", json!({})).await, Err(refusal(405, "method-not-allowed")));
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off() {
    let daemon = Daemon::start_with(|config| config.limits.body = Duration::from_millis(50)).await;
    let mut stream = daemon.connect().await;
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(to_end(&mut stream).await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_off() {
    let daemon = Daemon::start_with(|config| config.limits.header = Duration::from_millis(50)).await;
    let mut stream = daemon.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await.unwrap();
    let _ = to_end(&mut stream).await;
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_off() {
    let daemon = Daemon::start_with(|config| config.limits.handshake = Duration::from_millis(50)).await;
    let mut stream = tokio::net::TcpStream::connect(daemon.host.address()).await.unwrap();
    stream.write_all(&[22, 3, 1]).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn idle_connections_do_not_stop_the_service() {
    let daemon = Daemon::start().await;
    let idle = join_all((0..1000).map(|_| tokio::net::TcpStream::connect(daemon.host.address()))).await;
    let silent = daemon.connect().await;
    daemon.administrator().await.get("/v1/users").await.unwrap();
    drop((idle, silent));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_the_others_served() {
    let daemon = Daemon::start_with(|config| config.limits.connections = 2).await;
    let (first, second) = (daemon.connect().await, daemon.connect().await);
    let mut third = tokio::net::TcpStream::connect(daemon.host.address()).await.unwrap();
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0);
    drop(first);
    let mut second = second;
    second.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(to_end(&mut second).await.starts_with("HTTP/1.1 200 "));
}

async fn to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // The server may close without TLS's farewell; what counts is what came and that it ended.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
