//! The routes over a desk and its store.

#[path = "schema.rs"]
mod schema;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::config::CalendarHours;
use crate::desk::stage::{NOW, Stage, config};

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4000);

struct World {
    router: Router,
    stage: Stage,
    intake: Arc<HttpIntake>,
}

/// An intake whose desk may keep other rules than itself.
async fn world_of(config: &Config, desk: Config) -> World {
    let stage = Stage::new(desk).await;
    let pages = Arc::new(Pages::new(&config.site, "http://help.example").unwrap());
    let (clock, desk) = (stage.clock.clone(), Arc::clone(&stage.desk));
    let intake = HttpIntake::new(config, pages, clock, desk).unwrap();
    World {
        router: crate::page::secure(intake.router(), false),
        stage,
        intake,
    }
}

async fn world() -> World {
    world_of(&config(), config()).await
}

impl World {
    async fn ask(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let mut request = request;
        request.extensions_mut().insert(ConnectInfo(PEER));
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn json(&self, body: &str) -> (StatusCode, HeaderMap, Value) {
        self.json_with(&[], body).await
    }

    async fn json_with(
        &self,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, HeaderMap, Value) {
        let mut request = Request::post("/api/requests");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (status, headers, body) = self.ask(request).await;
        (status, headers, serde_json::from_str(&body).unwrap())
    }

    async fn form(&self, origin: &str, body: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::post("/help")
            .header("origin", origin)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.ask(request).await
    }

    /// A form as our page gave it out four seconds ago, with `fields` typed in.
    async fn typed(&self, fields: &str) -> (StatusCode, HeaderMap, String) {
        let token = self.intake.form_key.token(NOW - Duration::from_secs(4));
        self.form(OWN, &format!("{fields}&idem=n0nce&ft={token}"))
            .await
    }

    /// Number, channel, language, state and sender of every request, in the order taken.
    async fn taken(&self) -> Vec<[String; 5]> {
        self.stage
            .rows(
                "select number, channel, language, state, coalesce(consent_address, '')
             from request order by id",
            )
            .await
    }

    /// Scope, key and length of the hash of every idempotency key.
    async fn keys(&self) -> Vec<[String; 3]> {
        self.stage.rows("select scope, key, cast(length(body_hash) as text) from intake_key order by scope, key",
        )
        .await
    }
}

const OWN: &str = "http://help.example";
const GOOD: &str = r#"{"phone":"+49 30 901820","email":"ada@example.org"}"#;

#[tokio::test(start_paused = true)]
async fn json_request_is_created_with_place_and_estimate() {
    let world = world().await;
    for number in ["+49 30 901821", "+49 30 901822"] {
        let body = format!(r#"{{"phone":"{number}"}}"#);
        assert_eq!(world.json(&body).await.0, StatusCode::CREATED);
    }
    let (status, headers, body) = world.json_with(&[("idempotency-key", "k1")], GOOD).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let [[id, token]] = world
        .stage
        .rows::<2>("select id, token from request where number = '+4930901820'")
        .await
        .try_into()
        .unwrap();
    let page = format!("http://help.example/s/{token}");
    assert_eq!(headers["location"], page);
    assert_eq!(body["status_url"], page);
    assert_eq!(body["id"], id);
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(
        headers["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("frame-ancestors 'none'")
    );
    assert_eq!(body["position"], 3);
    assert_eq!(body["estimate"]["kind"], "range");
    assert_eq!(body["estimate"]["from"], "2026-11-23T13:20:00.000Z");
    let text = body["estimate"]["text"].as_str().unwrap();
    assert!(text.contains("between 14:20 and 14:"), "{text}");
    let taken = &world.taken().await[2];
    let wanted = ["+4930901820", "json", "en", "waiting", "192.0.2.1"];
    assert_eq!(*taken, wanted);
    let mails = world
        .stage
        .rows::<2>("select about, to_addr from outbox")
        .await;
    assert_eq!(mails, [[id, "ada@example.org".into()]]);
    assert_eq!(world.keys().await, [["http", "k1", "64"]]);
    assert!(world.intake.counts().contains(&("json", "accepted", 3)));
}

#[tokio::test(start_paused = true)]
async fn wrong_json_is_a_problem_that_names_the_field() {
    let world = world().await;
    let long = format!(
        r#"{{"phone":"+4930901820","note":"{}"}}"#,
        "x".repeat(70_000)
    );
    for (body, status, kind, field) in [
        ("{", 400, "bad-json", "body"),
        ("", 400, "bad-json", "body"),
        ("[]", 422, "bad-type", "body"),
        (r#"{"phone":5}"#, 422, "bad-type", "phone"),
        (
            r#"{"phone":"+4930901820","x":1}"#,
            422,
            "unknown-key",
            "body",
        ),
        (
            r#"{"phone":"+1 212 555 0100"}"#,
            422,
            "not-allowed",
            "phone",
        ),
        (
            r#"{"phone":"+4930901820","when":{"at":"2020-01-01T00:00:00Z"}}"#,
            422,
            "time-in-past",
            "when",
        ),
    ] {
        let (got, headers, problem) = world.json(body).await;
        assert_eq!(got.as_u16(), status, "{body}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{body}");
        assert_eq!(problem["field"], field, "{body}");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
    assert_eq!(world.json(&long).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(world.taken().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn wrong_headers_are_refused_before_the_body_is_read() {
    let world = world().await;
    let key = "k".repeat(256);
    for (header, value, status) in [
        ("content-type", "text/plain", 415),
        ("content-type", "application/x-www-form-urlencoded", 415),
        ("content-encoding", "gzip", 415),
        ("origin", "https://shop.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("idempotency-key", "", 400),
        ("idempotency-key", &key, 400),
        ("idempotency-key", "schlüssel", 400),
    ] {
        let (got, _, problem) = world.json_with(&[(header, value)], GOOD).await;
        assert_eq!(got.as_u16(), status, "{header}: {value}: {problem}");
    }
    assert!(world.taken().await.is_empty());
    let own = [
        ("origin", OWN),
        ("content-type", "application/json; charset=utf-8"),
    ];
    assert_eq!(world.json_with(&own, GOOD).await.0, StatusCode::CREATED);
}

/// A world whose desk refuses customer +4930901820 for the reason named.
async fn refusing(kind: &str) -> World {
    let mut desk = config();
    match kind {
        "not-allowed" => desk.dial.allow = vec!["FR".into()],
        "line-full" => desk.queue[0].waiting_max = 0,
        "bad-time" => {
            desk.queue[0].calendar = "mornings".into();
            let week = BTreeMap::from([("mon-sun".into(), vec!["08:00-09:00".into()])]);
            let hours = CalendarHours {
                zone: "Europe/Berlin".into(),
                week,
                ..CalendarHours::default()
            };
            desk.calendar.insert("mornings".into(), hours);
        }
        _ => {}
    }
    let world = world_of(&config(), desk).await;
    match kind {
        "key-reused" => {
            let body = r#"{"phone":"+49 30 901821"}"#;
            world.json_with(&[("idempotency-key", "k1")], body).await;
            world.typed("phone=030901821&when=now").await;
        }
        "too-many" => {
            for _ in 0..5 {
                assert_eq!(world.json(GOOD).await.0, StatusCode::CREATED);
            }
        }
        "unavailable" => world.stage.lose_the_store(),
        _ => {}
    }
    world
}

#[tokio::test(start_paused = true)]
async fn refusals_of_the_desk_have_their_status() {
    for (kind, status, retry) in [
        ("key-reused", 422, None),
        ("not-allowed", 422, None),
        ("bad-time", 422, None),
        ("line-full", 429, Some("60")),
        ("too-many", 429, Some("12")),
        ("unavailable", 503, Some("5")),
    ] {
        let world = refusing(kind).await;
        let (body, when) = match kind {
            "bad-time" => (
                r#"{"phone":"030901820","when":{"at":"2026-11-24T12:00:00Z"}}"#,
                "when=at&at=2026-11-24T13:00",
            ),
            _ => (GOOD, "when=now"),
        };
        let key = [("idempotency-key", "k1")];
        let (got, headers, problem) = world.json_with(&key, body).await;
        assert_eq!(got.as_u16(), status, "{kind}: {problem}");
        assert_eq!(problem["type"], format!("/problems/{kind}"));
        let after = headers.get("retry-after").map(|v| v.to_str().unwrap());
        assert_eq!(after, retry, "{kind}");
        let (got, headers, html) = world.typed(&format!("phone=030901820&{when}")).await;
        match kind {
            "key-reused" => assert!(got == 200 && html.contains("sent already"), "{html}"),
            _ => assert!(
                got == status && html.contains("role=\"alert\""),
                "{kind}: {html}"
            ),
        }
        let after = headers.get("retry-after").map(|v| v.to_str().unwrap());
        assert_eq!(after, retry, "{kind}");
        assert!(html.contains("value=\"030901820\""), "values are kept");
    }
}

#[tokio::test(start_paused = true)]
async fn flood_from_one_network_is_held_back() {
    let mut narrow = config();
    narrow.http.requests_per_minute = 2;
    let world = world_of(&narrow, config()).await;
    assert_eq!(world.json(GOOD).await.0, StatusCode::CREATED);
    assert_eq!(
        world.typed("phone=030901820").await.0,
        StatusCode::SEE_OTHER
    );
    let (status, headers, _) = world.json(GOOD).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(headers["retry-after"], "60");
    assert_eq!(
        world.typed("phone=030901820").await.0,
        StatusCode::TOO_MANY_REQUESTS
    );
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(world.json(GOOD).await.0, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn only_a_proxy_on_this_machine_speaks_for_others() {
    let world = world().await;
    for (n, (peer, forwarded, wanted)) in (0..).zip([
        ("127.0.0.1:1", "198.51.100.7, 203.0.113.9", "203.0.113.9"),
        ("[::1]:1", "2001:db8::1", "2001:db8::1"),
        ("127.0.0.1:1", "nonsense", "127.0.0.1"),
        ("192.0.2.1:1", "203.0.113.9", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:1", "203.0.113.9", "192.0.2.1"),
    ]) {
        let body = format!(r#"{{"phone":"+49 30 90182{n}"}}"#);
        let mut request = Request::post("/api/requests")
            .header("content-type", "application/json")
            .header("x-forwarded-for", forwarded)
            .body(Body::from(body))
            .unwrap();
        let peer: SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        world.router.clone().oneshot(request).await.unwrap();
        let [.., address] = world.taken().await.pop().unwrap();
        assert_eq!(address, wanted, "{peer} {forwarded}");
        assert_eq!(world.taken().await.len(), n + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn form_is_prefilled_from_query_and_referer() {
    let world = world().await;
    let show = async |path: &str, referer: &str| {
        let request = Request::get(path)
            .header("referer", referer)
            .header("accept-language", "fr, de;q=0.5")
            .body(Body::empty())
            .unwrap();
        world.ask(request).await
    };
    let (status, headers, html) = show("/help", "https://shop.example/basket?id=7").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-language"], "de");
    assert!(
        html.contains("<bdi>https://shop.example/basket?id&#x3D;7</bdi>"),
        "{html}"
    );
    assert!(html.contains("name=\"when\" value=\"now\" checked"));
    assert!(html.contains("Ortszeit Berlin"));
    assert!(html.contains("min=\"2026-11-23T14:30\""));
    assert!(!html.contains("<select"), "one queue is no choice");
    let query = "/help?lang=en&phone=%2B4930901820&email=a%40b.de&page=javascript:alert(1)&name=%22%3E%3Cscript%3E%7B%7Bx%7D%7D";
    let (_, _, html) = show(query, "http://help.example/help").await;
    assert!(html.contains("value=\"+4930901820\"") && html.contains("value=\"a@b.de\""));
    assert!(
        html.contains("value=\"&quot;&gt;&lt;script&gt;{{x}}\""),
        "{html}"
    );
    assert!(!html.contains("javascript") && !html.contains("<script"));
    assert!(
        !html.contains("help.example/help"),
        "own page is no page of the customer"
    );
}

#[tokio::test(start_paused = true)]
async fn typed_form_becomes_a_request_and_leads_to_its_page() {
    let world = world().await;
    let typed = "phone=030+901820&email=ada%40example.org&name=Ada&when=at&at=2026-11-24T10:00&tz=Europe/Berlin&lang=de";
    let (status, headers, _) = world.typed(typed).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let [[token, due]] = world
        .stage
        .rows::<2>("select token, cast(due_at as text) from request")
        .await
        .try_into()
        .unwrap();
    let page = format!("/s/{token}");
    assert_eq!(headers["location"], page);
    let at = Wall::from_millis(NOW.millis() + ((20 * 60) - 20) * 60_000);
    assert_eq!(due, at.millis().to_string());
    let wanted = ["+4930901820", "form", "de", "scheduled", "192.0.2.1"];
    assert_eq!(world.taken().await, [wanted]);
    assert_eq!(world.keys().await, [["form", "n0nce", "64"]]);
    // A double click sends the same fields: the same answer, and no second request.
    let (status, headers, _) = world.typed(typed).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(headers["location"], page);
    // Other fields under the same nonce are no double click.
    let (status, _, html) = world.typed("phone=030+901821").await;
    assert!(
        status == StatusCode::OK && html.contains("sent already"),
        "{html}"
    );
    assert_eq!(world.taken().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn faulty_form_comes_back_with_summary_and_every_value() {
    let world = world().await;
    let (status, _, html) = world
        .typed("phone=12&name=%3Cb%3EAda&email=nobody&when=at&at=2020-01-01T10:00&note=a%0d%0ab&lang=en")
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    for part in [
        "href=\"#phone\"",
        "href=\"#email\"",
        "href=\"#at\"",
        "autofocus",
        "id=\"phone-error\"",
        "aria-invalid=\"true\"",
        "aria-describedby=\"at-zone when-error\"",
        "value=\"12\"",
        "value=\"&lt;b&gt;Ada\"",
        "value=\"nobody\"",
        "value=\"2020-01-01T10:00\"",
        "value=\"at\" checked",
        "value=\"n0nce\"",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(world.taken().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn foreign_early_or_tokenless_form_has_to_be_confirmed() {
    let world = world().await;
    let good = world.intake.form_key.token(NOW - Duration::from_secs(4));
    let early = world.intake.form_key.token(NOW - Duration::from_secs(1));
    let with = |token: &str| format!("phone=030901820&page=https://shop.example/&ft={token}");
    for (origin, body) in [
        ("https://shop.example", with(&good)),
        ("null", with(&good)),
        (OWN, with(&early)),
        (OWN, with("1.x")),
        (OWN, "phone=030901820".to_owned()),
    ] {
        let (status, _, html) = world.form(origin, &body).await;
        assert_eq!(status, StatusCode::OK, "{origin} {body}");
        assert!(html.contains("Please check and confirm") && html.contains("value=\"030901820\""));
    }
    assert!(world.taken().await.is_empty());
    // The confirm page itself works at once.
    let (_, _, html) = world.form("https://shop.example", &with("")).await;
    let token = html.split("name=\"ft\" value=\"").nth(1).unwrap();
    let token = token.split('"').next().unwrap().replace("&#x3D;", "=");
    let (status, _, _) = world.form(OWN, &with(&token)).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(world.taken().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn trap_and_large_forms_store_nothing() {
    let world = world().await;
    let (status, headers, _) = world.typed("phone=030901820&website=x").await;
    assert_eq!(status, StatusCode::SEE_OTHER, "looks like success");
    assert!(headers["location"].to_str().unwrap().starts_with("/s/"));
    let large = format!("note={}", "x".repeat(33_000));
    assert_eq!(world.typed(&large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let twice = world.typed("phone=1&phone=2").await;
    assert_eq!(twice.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(world.taken().await.is_empty());
}
