//! Intake by HTTP: the help form and `POST /api/requests`. Both end in `desk.accept`, and an
//! answer is given only after it.

mod api;
mod form;
#[cfg(test)]
mod tests;
mod token;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use helpline_core::phone::DialRules;
use helpline_core::request::Channel;
use helpline_core::request::json::{Agent, ReadContext};
use helpline_core::time::Wall;
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::config::Config;
use crate::desk::{AcceptError, Desk};
use crate::page::Pages;

use super::limit::RateLimit;
use token::FormKey;

/// The description of the API, and the schema it refers to beside itself.
const OPENAPI: &str = include_str!("../../../../schemas/openapi.json");
const SCHEMA: &str = include_str!("../../../../schemas/help-request.json");

/// In which `requests_per_minute` are counted.
const MINUTE: Duration = Duration::from_secs(60);
/// When to come back if the line is full or the store does not answer.
const RETRY_LATER: Duration = Duration::from_secs(60);
/// The same for a store that only has to recover.
const RETRY_SOON: Duration = Duration::from_secs(5);

/// Everything the routes need.
pub struct HttpIntake {
    desk: Arc<Desk>,
    pages: Arc<Pages>,
    clock: Clock,
    dial: DialRules,
    region: Option<String>,
    zone: String,
    language: String,
    queues: Vec<String>,
    agents: Vec<Agent>,
    titles: Vec<String>,
    form_key: FormKey,
    limit: RateLimit,
    counts: Counts,
}

/// An agent as requests may name one.
fn known(agent: &crate::config::Agent, queues: &[crate::config::Queue]) -> Agent {
    let serves =
        |queue: &&crate::config::Queue| queue.agents.are_people() && agent.serves(&queue.name);
    Agent {
        name: agent.name.clone(),
        queues: queues
            .iter()
            .filter(serves)
            .map(|queue| queue.name.clone())
            .collect(),
        skills: agent.skills.clone(),
    }
}

impl HttpIntake {
    /// An intake for the queues and rules of `config`, the same that the desk keeps.
    ///
    /// # Errors
    /// The operating system gives no random key for form tokens.
    pub fn new(
        config: &Config,
        pages: Arc<Pages>,
        clock: Clock,
        desk: Arc<Desk>,
    ) -> anyhow::Result<Arc<Self>> {
        let default = [crate::config::Queue::default()];
        let queues: &[crate::config::Queue] = match config.queue.as_slice() {
            [] => &default,
            some => some,
        };
        Ok(Arc::new(HttpIntake {
            desk,
            pages,
            clock,
            dial: config.dial_rules(),
            region: config.dial.region.clone(),
            zone: config.site.zone.clone(),
            language: config.site.language.clone(),
            queues: queues.iter().map(|queue| queue.name.clone()).collect(),
            agents: config
                .agent
                .iter()
                .map(|agent| known(agent, queues))
                .collect(),
            titles: queues.iter().map(|queue| queue.title.clone()).collect(),
            form_key: FormKey::random().context("key of form tokens")?,
            limit: RateLimit::new(config.http.requests_per_minute, MINUTE),
            counts: Counts::default(),
        }))
    }

    /// The routes `/help` and `/api/requests`, and the description of the latter.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/", get(|| async { Redirect::to("/help") }))
            .route("/help", get(form::show).post(form::take))
            .route("/api/requests", post(api::take))
            .route("/api/openapi.json", get(|| async { described(OPENAPI) }))
            .route(
                "/api/help-request.json",
                get(|| async { described(SCHEMA) }),
            )
            .with_state(Arc::clone(self))
    }

    /// `helpline_requests_total`: channel, outcome and how many.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.counts.read()
    }

    /// Counts a request; `Err` says when to come back. This machine itself is not limited:
    /// programs of the operator, or a proxy that does not tell whom it serves.
    fn count(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        match address {
            Some(address) if !address.is_loopback() => self.limit.take(address, self.clock.time()),
            _ => Ok(()),
        }
    }

    fn context(&self, now: Wall) -> ReadContext<'_> {
        ReadContext {
            queues: &self.queues,
            agents: &self.agents,
            region: self.region.as_deref(),
            zone: &self.zone,
            language: &self.language,
            dial: &self.dial,
            now,
        }
    }
}

fn described(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The address a request came from, if the listener told it. A proxy on this machine says whom
/// it speaks for in `X-Forwarded-For`; of that list only the last entry is the proxy's own word.
struct Peer(Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let told = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let direct = told.map(|ConnectInfo(address)| address.ip().to_canonical());
        let forwarded = || {
            let last = parts
                .headers
                .get_all("x-forwarded-for")
                .iter()
                .next_back()?;
            let last: IpAddr = last
                .to_str()
                .ok()?
                .rsplit(',')
                .next()?
                .trim()
                .parse()
                .ok()?;
            Some(last.to_canonical())
        };
        let proxied = direct.filter(IpAddr::is_loopback).and_then(|_| forwarded());
        Ok(Peer(proxied.or(direct)))
    }
}

/// SHA-256 of the parts, each with its length before it, so that no two lists look the same.
fn body_hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    data_encoding::HEXLOWER.encode(&hash.finalize())
}

/// How a refusal of the desk is told.
struct Refusal {
    status: StatusCode,
    /// Word of the fault, without spaces.
    kind: &'static str,
    /// When another try makes sense; `None`: never with this request.
    retry_after: Option<Duration>,
}

fn refusal(error: &AcceptError) -> Refusal {
    let (status, kind, retry_after) = match error {
        AcceptError::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "key-reused", None),
        AcceptError::NotAllowed => (StatusCode::UNPROCESSABLE_ENTITY, "not-allowed", None),
        AcceptError::BadTime(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad-time", None),
        AcceptError::TooMany { retry_after } => (
            StatusCode::TOO_MANY_REQUESTS,
            "too-many",
            Some(*retry_after),
        ),
        AcceptError::Full => (
            StatusCode::TOO_MANY_REQUESTS,
            "line-full",
            Some(RETRY_LATER),
        ),
        AcceptError::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            Some(RETRY_SOON),
        ),
    };
    Refusal {
        status,
        kind,
        retry_after,
    }
}

/// The word of the metric for a refusal.
fn outcome(error: &AcceptError) -> Outcome {
    match error {
        AcceptError::Unavailable => Outcome::Error,
        AcceptError::KeyReused
        | AcceptError::Full
        | AcceptError::TooMany { .. }
        | AcceptError::NotAllowed
        | AcceptError::BadTime(_) => Outcome::Refused,
    }
}

/// What became of a request, for the metric.
#[derive(Clone, Copy)]
enum Outcome {
    Accepted,
    Refused,
    Error,
}

/// Counters by channel and outcome.
#[derive(Default)]
struct Counts {
    form: [AtomicU64; 3],
    json: [AtomicU64; 3],
}

impl Counts {
    fn add(&self, channel: Channel, outcome: Outcome) {
        let row = match channel {
            Channel::Form => &self.form,
            Channel::Json | Channel::Smtp | Channel::Phone => &self.json,
        };
        let [accepted, refused, error] = row;
        let counter = match outcome {
            Outcome::Accepted => accepted,
            Outcome::Refused => refused,
            Outcome::Error => error,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> Vec<(&'static str, &'static str, u64)> {
        let words = ["accepted", "refused", "error"];
        let rows = [("form", &self.form), ("json", &self.json)];
        let row = |(channel, row): (&'static str, &[AtomicU64; 3])| {
            let values: Vec<u64> = row.iter().map(|c| c.load(Ordering::Relaxed)).collect();
            words
                .into_iter()
                .zip(values)
                .map(move |(outcome, value)| (channel, outcome, value))
        };
        rows.into_iter().flat_map(row).collect()
    }
}
