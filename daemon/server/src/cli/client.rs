//! A small HTTP client for the commands that speak to a daemon on this machine.

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// Largest answer read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Status code.
    pub(super) status: u16,
    /// Headers.
    pub(super) headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// GET.
pub(super) async fn get(url: &str) -> anyhow::Result<Answer> {
    send(Method::GET, url, &[], String::new()).await
}

/// POST of `body` with these headers.
pub(super) async fn post(
    url: &str,
    headers: &[(&'static str, &str)],
    body: String,
) -> anyhow::Result<Answer> {
    send(Method::POST, url, headers, body).await
}

async fn send(
    method: Method,
    url: &str,
    headers: &[(&'static str, &str)],
    body: String,
) -> anyhow::Result<Answer> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_str(value)?);
    }
    let request = request.body(Full::new(Bytes::from(body)))?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answer = client.request(request).await.context("no connection")?;
    let (parts, body) = answer.into_parts();
    let body = whole(body).await?;
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

/// The whole body of an answer.
pub(super) async fn whole(body: Incoming) -> anyhow::Result<Bytes> {
    let read = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let read = read.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
    Ok(read.to_bytes())
}
