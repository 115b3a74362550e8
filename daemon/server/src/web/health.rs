//! What the operator sees: `/healthz`, `/readyz`, `/health` and `/metrics`, on a listener of
//! their own and never on the public one.

use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::metrics::{ANSWER_BOUNDS, Metrics};
use crate::clock::Clock;

/// A check that answers in more than this has failed.
const CHECK_TIME: Duration = Duration::from_secs(2);

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Whether all is well.
    pub ok: bool,
    /// Whether the daemon is unready without it.
    pub gates: bool,
    /// What is wrong; empty when nothing is.
    pub why: String,
    /// More numbers to show: name and value.
    pub facts: Vec<(&'static str, Value)>,
}

impl Check {
    /// All is well.
    #[must_use]
    pub fn good(gates: bool) -> Self {
        Check {
            ok: true,
            gates,
            ..Check::default()
        }
    }

    /// Something is wrong: `why`, in words for the operator.
    #[must_use]
    pub fn bad(gates: bool, why: impl Into<String>) -> Self {
        Check {
            gates,
            why: why.into(),
            ..Check::default()
        }
    }
}

type Probe = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Check> + Send>> + Send + Sync>;
type Facts =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Vec<(String, String)>> + Send>> + Send + Sync>;

/// Named checks and the facts of `/health`; filled by the daemon at start.
#[derive(Default)]
pub struct Readiness {
    checks: Vec<(String, Probe)>,
    facts: Vec<Facts>,
}

impl Readiness {
    /// Adds a check: `db`, `trunk:NAME`, `smtp`, ...
    pub fn check<F>(
        &mut self,
        name: impl Into<String>,
        probe: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Check> + Send + 'static,
    {
        self.checks
            .push((name.into(), Box::new(move || Box::pin(probe()))));
    }

    /// Adds lines for people, shown by `/health`: name and value.
    pub fn facts<F>(&mut self, read: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Vec<(String, String)>> + Send + 'static,
    {
        self.facts.push(Box::new(move || Box::pin(read())));
    }

    /// Runs every check, at most two seconds each.
    pub async fn run(&self, clock: &Clock) -> Report {
        let mut ready = true;
        let mut checks = Vec::new();
        for (name, probe) in &self.checks {
            let begin = clock.time();
            let check = tokio::time::timeout(CHECK_TIME, probe()).await;
            // No answer may be a broken gate: taken as one.
            let check = check.unwrap_or_else(|_| Check::bad(true, "no answer in two seconds"));
            ready &= check.ok || !check.gates;
            checks.push((name.clone(), check, clock.time().since(begin)));
        }
        Report { ready, checks }
    }
}

/// What the checks found at one moment.
#[derive(Debug)]
pub struct Report {
    /// Whether every check that gates readiness is well.
    pub ready: bool,
    /// Name, finding and how long it took.
    pub checks: Vec<(String, Check, Duration)>,
}

impl Report {
    fn status(&self) -> StatusCode {
        match self.ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The body of `/readyz`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut checks = Map::new();
        for (name, check, took) in &self.checks {
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let mut entry = json!({ "ok": check.ok, "ms": ms });
            if !check.why.is_empty() {
                entry["why"] = check.why.as_str().into();
            }
            for (fact, value) in &check.facts {
                entry[*fact] = value.clone();
            }
            checks.insert(name.clone(), entry);
        }
        json!({ "ready": self.ready, "checks": checks })
    }
}

/// What the routes of the operator need.
pub struct Health {
    readiness: Readiness,
    metrics: Metrics,
    clock: Clock,
}

impl Health {
    /// Puts the parts together.
    #[must_use]
    pub fn new(readiness: Readiness, metrics: Metrics, clock: Clock) -> Arc<Self> {
        Arc::new(Health {
            readiness,
            metrics,
            clock,
        })
    }

    /// `/healthz`, `/readyz`, `/health`, `/metrics`.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .with_state(Arc::clone(self))
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let report = health.readiness.run(&health.clock).await;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (report.status(), headers, format!("{}\n", report.json())).into_response()
}

/// For people: plain text, one line a fact.
async fn health(State(health): State<Arc<Health>>) -> Response {
    let report = health.readiness.run(&health.clock).await;
    let word = if report.ready { "ready" } else { "NOT READY" };
    let up = health.clock.time().micros() / 1_000_000;
    let mut text = format!(
        "helpline {} is {word}\nup {up} s\n\n",
        env!("CARGO_PKG_VERSION")
    );
    for (name, check, _) in &report.checks {
        let word = match (check.ok, check.gates) {
            (true, _) => "ok",
            (false, true) => "FAILED",
            (false, false) => "failed (does not gate)",
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name:<20} {word} {}", check.why);
    }
    for read in &health.readiness.facts {
        let lines = tokio::time::timeout(CHECK_TIME, read()).await;
        for (name, value) in lines.unwrap_or_default() {
            let _ = writeln!(text, "{name:<20} {value}");
        }
    }
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (report.status(), headers, text).into_response()
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, health.metrics.text()).into_response()
}

/// Counts the requests of `router` by route pattern and status class, and how long they took.
pub fn instrument(router: Router, metrics: &Metrics, clock: &Clock) -> Router {
    metrics.counter(
        "helpline_http_requests_total",
        "HTTP requests by route pattern and status class.",
        &["route", "status"],
    );
    metrics.histogram(
        "helpline_http_request_seconds",
        "Time from request to answer.",
        &["route"],
        ANSWER_BOUNDS,
    );
    let (metrics, clock) = (metrics.clone(), clock.clone());
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let (metrics, clock) = (metrics.clone(), clock.clone());
        async move {
            let path = request.extensions().get::<MatchedPath>();
            let route = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
            let begin = clock.time();
            let answer = next.run(request).await;
            let class = format!("{}xx", answer.status().as_u16() / 100);
            let took = clock.time().since(begin).as_secs_f64();
            metrics.add("helpline_http_requests_total", &[&route, &class], 1.0);
            metrics.observe("helpline_http_request_seconds", &[&route], took);
            answer
        }
    }))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt;

    use super::*;

    async fn get_text(router: Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn failing_gate_is_named_and_makes_unready() {
        let router = |db_hangs: bool| {
            let mut readiness = Readiness::default();
            readiness.check("db", move || async move {
                if db_hangs {
                    std::future::pending::<()>().await;
                }
                Check::good(true)
            });
            readiness.check("trunk:a", || async { Check::bad(false, "503") });
            readiness.facts(|| async { vec![("waiting".to_owned(), "7".to_owned())] });
            Health::new(readiness, Metrics::default(), Clock::system()).router()
        };
        let (status, body) = get_text(router(false), "/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["ready"]), (StatusCode::OK, &true.into()));
        assert_eq!(body["checks"]["trunk:a"]["why"], "503");
        let (status, body) = get_text(router(true), "/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["checks"]["db"]["ok"], false);
        let (status, text) = get_text(router(true), "/health").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("NOT READY") && text.contains("waiting              7"));
        assert_eq!(get_text(router(true), "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn routes_are_counted_by_pattern() {
        let metrics = Metrics::default();
        let clock = Clock::system();
        let router = Router::new().route("/s/{token}", get(|| async { "x" }));
        let router = instrument(router, &metrics, &clock);
        assert_eq!(get_text(router, "/s/secret").await.0, StatusCode::OK);
        let health = Health::new(Readiness::default(), metrics, clock);
        let (_, text) = get_text(health.router(), "/metrics").await;
        assert!(
            text.contains("helpline_http_requests_total{route=\"/s/{token}\",status=\"2xx\"} 1"),
            "{text}"
        );
        assert!(!text.contains("secret"));
    }
}
