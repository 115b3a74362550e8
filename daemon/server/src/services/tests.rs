use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{any, get};

use super::*;

async fn server(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    host
}

fn client(hosts: &[&str]) -> Services {
    let mut config = Config::default();
    config.ivr.http_hosts = hosts.iter().map(ToString::to_string).collect();
    Services::new(&config, Clock::system()).unwrap()
}

fn order(method: HttpMethod, url: String) -> HttpOrder {
    HttpOrder {
        method,
        url,
        headers: vec![("x-who".into(), "ann".into())],
        json: (method != HttpMethod::Get).then(|| serde_json::json!({ "a": 1 })),
        timeout: Duration::from_millis(500),
        retries: 2,
    }
}

#[tokio::test]
async fn a_service_gets_the_request_and_its_answer_is_read() {
    let echo = |headers: axum::http::HeaderMap, body: String| async move {
        let who = headers["x-who"].to_str().unwrap().to_owned();
        let kind = headers["content-type"].to_str().unwrap().to_owned();
        axum::Json(serde_json::json!({ "who": who, "kind": kind, "body": body }))
    };
    let host = server(Router::new().route("/echo", any(echo))).await;
    let services = client(&[&host]);
    let reply = services
        .send(
            &order(HttpMethod::Post, format!("http://{host}/echo")),
            None,
        )
        .await;
    let HttpReply::Answer { status, body, .. } = reply else {
        panic!("{reply:?}");
    };
    let wanted =
        serde_json::json!({ "who": "ann", "kind": "application/json", "body": "{\"a\":1}" });
    assert_eq!((status, body), (200, wanted));
}

#[tokio::test]
async fn hosts_that_are_not_named_are_never_asked() {
    let services = client(&["127.0.0.1:1"]);
    for url in [
        "http://127.0.0.1:2/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "http://eve@127.0.0.1:1/",
        "nonsense",
        "",
    ] {
        let reply = services
            .send(&order(HttpMethod::Get, url.into()), None)
            .await;
        assert!(matches!(reply, HttpReply::Failed(_)), "{url}: {reply:?}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed_and_large_or_odd_answers_are_refused() {
    let long = vec![1_u8; 100_000];
    let list = serde_json::Value::from(vec![1; 1_001]).to_string();
    let routes = Router::new()
        .route(
            "/away",
            get(|| async { (StatusCode::FOUND, [("location", "/large")]) }),
        )
        .route("/large", get(move || async { long }))
        .route("/list", get(move || async { list }))
        .route("/text", get(|| async { "no JSON" }));
    let host = server(routes).await;
    let services = client(&[&host]);
    let get = async |path: &str| {
        let mut order = order(HttpMethod::Get, format!("http://{host}{path}"));
        order.retries = 0;
        services.send(&order, None).await
    };
    assert!(matches!(
        get("/away").await,
        HttpReply::Answer { status: 302, .. }
    ));
    assert!(matches!(get("/large").await, HttpReply::Failed(_)));
    assert!(matches!(get("/list").await, HttpReply::Failed(_)));
    let text = get("/text").await;
    assert!(matches!(
        text,
        HttpReply::Answer {
            status: 200,
            body: Value::Null,
            ..
        }
    ));
}

#[tokio::test]
async fn only_what_is_safe_is_asked_again_and_a_dead_host_is_left_alone() {
    let asked = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&asked);
    let slow = move || {
        seen.fetch_add(1, Ordering::Relaxed);
        async {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    };
    let host = server(Router::new().route("/slow", any(slow))).await;
    let services = client(&[&host]);
    let url = format!("http://{host}/slow");
    let reply = services
        .send(&order(HttpMethod::Post, url.clone()), None)
        .await;
    assert_eq!(
        (reply, asked.load(Ordering::Relaxed)),
        (HttpReply::Timeout, 1)
    );
    let reply = services
        .send(&order(HttpMethod::Get, url.clone()), None)
        .await;
    assert_eq!(
        (reply, asked.load(Ordering::Relaxed)),
        (HttpReply::Timeout, 4)
    );
    let reply = services
        .send(&order(HttpMethod::Post, url.clone()), None)
        .await;
    assert_eq!(reply, HttpReply::Timeout);
    let reply = services.send(&order(HttpMethod::Get, url), None).await;
    assert!(matches!(reply, HttpReply::Failed(_)), "{reply:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 5);
}
