//! Other services over HTTP: what a flow asks while its caller waits, and what it tells
//! them later. Only hosts of the configuration, no redirects, small answers.

mod breaker;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use helpline_core::ivr::io::{HttpMethod, HttpOrder, HttpReply};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::clock::Clock;
use crate::config::Config;
use breaker::Breaker;

/// Largest answer.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for the answer to a form.
const FORM_WAIT: Duration = Duration::from_secs(30);
/// Longest list in an answer.
const LIST_MAX: usize = 1_000;
/// Most headers of an answer that a flow sees.
const HEADERS_MAX: usize = 50;
/// How we call ourselves.
const AGENT: &str = concat!("helpline/", env!("CARGO_PKG_VERSION"));

/// A client of the configured hosts.
pub struct Services {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    hosts: Vec<String>,
    breakers: Mutex<BTreeMap<String, Breaker>>,
    clock: Clock,
}

/// Why there is no answer.
enum Trouble {
    /// No connection was made: to ask again is safe.
    NotConnected(String),
    Late,
    Other(String),
}

impl Services {
    /// # Errors
    /// The system's certificates cannot be read.
    pub fn new(config: &Config, clock: Clock) -> anyhow::Result<Services> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Services {
            client: Client::builder(TokioExecutor::new()).build(connector),
            hosts: config.ivr.http_hosts.clone(),
            breakers: Mutex::default(),
            clock,
        })
    }

    /// Sends a request and waits for its answer, again if that is safe and wanted. A host
    /// that failed often is left alone for a while: a dead one must not cost every caller
    /// the whole time.
    pub async fn send(&self, order: &HttpOrder, id: Option<&str>) -> HttpReply {
        let host = match self.allowed(&order.url) {
            Ok(host) => host,
            Err(why) => return HttpReply::Failed(why),
        };
        if !self.with_breaker(&host, |breaker, now| breaker.allows(now)) {
            return HttpReply::Failed(format!("{host} failed too often and is left alone"));
        }
        let mut tries = order.retries + 1;
        loop {
            tries -= 1;
            let asked = tokio::time::timeout(order.timeout, self.ask(order, id));
            let trouble = match asked.await.unwrap_or(Err(Trouble::Late)) {
                Ok(reply) => {
                    let is_good = !matches!(reply, HttpReply::Answer { status: 500.., .. });
                    self.with_breaker(&host, |breaker, now| breaker.note(is_good, now));
                    return reply;
                }
                Err(trouble) => trouble,
            };
            self.with_breaker(&host, |breaker, now| breaker.note(false, now));
            let is_safe =
                order.method == HttpMethod::Get || matches!(trouble, Trouble::NotConnected(_));
            if tries == 0 || !is_safe {
                return match trouble {
                    Trouble::Late => HttpReply::Timeout,
                    Trouble::NotConnected(why) | Trouble::Other(why) => HttpReply::Failed(why),
                };
            }
        }
    }

    /// Posts a form to an address of the configuration and reads the answer: status and bytes.
    /// For token endpoints; what flows ask goes through [`Services::send`].
    ///
    /// # Errors
    /// Why there is no answer; without the form.
    pub async fn post_form(&self, url: &str, form: String) -> Result<(u16, Bytes), String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .map_err(|error| error.to_string())?;
        let asked = async {
            let response = self.client.request(request).await;
            let response = response.map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect();
            let body = body.await.map_err(|error| error.to_string())?;
            Ok((status, body.to_bytes()))
        };
        let asked = tokio::time::timeout(FORM_WAIT, asked).await;
        asked.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    fn with_breaker<T>(&self, host: &str, run: impl FnOnce(&mut Breaker, Duration) -> T) -> T {
        let now = self.clock.time();
        let now = Duration::from_micros(now.micros());
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        run(breakers.entry(host.to_owned()).or_default(), now)
    }

    /// The host of an address, if requests may be sent there.
    fn allowed(&self, address: &str) -> Result<String, String> {
        let url = url::Url::parse(address).map_err(|e| format!("no address: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() {
            return Err("an address begins with http:// or https:// and names nobody".into());
        }
        let host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        if self.hosts.contains(&host) {
            Ok(host)
        } else {
            Err(format!("{host} is not in ivr.http_hosts"))
        }
    }

    async fn ask(&self, order: &HttpOrder, id: Option<&str>) -> Result<HttpReply, Trouble> {
        let request = request(order, id).map_err(Trouble::Other)?;
        let response = self.client.request(request).await.map_err(|error| {
            let why = error.to_string();
            if error.is_connect() {
                Trouble::NotConnected(why)
            } else {
                Trouble::Other(why)
            }
        })?;
        let status = response.status().as_u16();
        let headers = response.headers().iter().take(HEADERS_MAX);
        let headers = headers
            .filter_map(|(k, v)| Some((k.as_str().to_owned(), v.to_str().ok()?.to_owned())))
            .collect();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect();
        let body = body
            .await
            .map_err(|e| Trouble::Other(format!("the answer cannot be read: {e}")))?;
        let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
        if !is_small(&body) {
            return Err(Trouble::Other(
                "the answer has a list that is too long".into(),
            ));
        }
        Ok(HttpReply::Answer {
            status,
            headers,
            body,
        })
    }
}

fn request(order: &HttpOrder, id: Option<&str>) -> Result<Request<Full<Bytes>>, String> {
    let method = match order.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    };
    let body = match &order.json {
        Some(json) => Bytes::from(json.to_string()),
        None => Bytes::new(),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(&order.url)
        .header(USER_AGENT, AGENT)
        .body(Full::new(body))
        .map_err(|e| e.to_string())?;
    let headers = request.headers_mut();
    if order.json.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let own = id.map(|id| ("webhook-id", id));
    let given = order.headers.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    for (name, value) in own.into_iter().chain(given) {
        let name = HeaderName::try_from(name).map_err(|e| e.to_string())?;
        let value = HeaderValue::try_from(value).map_err(|e| e.to_string())?;
        headers.insert(name, value);
    }
    Ok(request)
}

/// Whether no list in it is too long for expressions.
fn is_small(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.len() <= LIST_MAX && list.iter().all(is_small),
        Value::Object(map) => map.values().all(is_small),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
