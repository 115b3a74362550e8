//! What every request and every answer has to pass: where a request comes from, how large
//! its body may be and how long it may take, and the headers that keep browsers safe.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};

use super::Problem;

/// A body has to be complete within this time.
pub const BODY_TIME: Duration = Duration::from_secs(15);

/// Which page made the browser send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// One of our own pages.
    Own,
    /// Another site's page.
    Foreign,
    /// No browser, or one that does not tell.
    Unknown,
}

/// Who sent it: `Sec-Fetch-Site` if there is one, else `Origin`. An origin is our own if it is
/// the public address or names the host the request was sent to.
#[must_use]
pub fn sender(headers: &HeaderMap, public_url: &str) -> Sender {
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(site) = headers.get("sec-fetch-site") {
        return match site.as_bytes() {
            b"same-origin" => Sender::Own,
            // Typed in or opened from a bookmark: no page sent it.
            b"none" => Sender::Unknown,
            _ => Sender::Foreign,
        };
    }
    if !headers.contains_key(header::ORIGIN) {
        return Sender::Unknown;
    }
    let Some(origin) = text(header::ORIGIN).and_then(|o| url::Url::parse(o).ok()) else {
        return Sender::Foreign;
    };
    let own = url::Url::parse(public_url).is_ok_and(|own| own.origin() == origin.origin());
    let host = text(header::HOST)
        .and_then(|h| url::Url::parse(&format!("{}://{h}", origin.scheme())).ok());
    let same_host = origin.has_host() && host.is_some_and(|host| host.origin() == origin.origin());
    if own || same_host {
        Sender::Own
    } else {
        Sender::Foreign
    }
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Longer than allowed.
    TooLarge,
    /// Not complete in time.
    TooSlow,
    /// Compressed: refused, a small body could become a huge one.
    Encoded,
    /// The connection broke off.
    Broken,
}

impl BodyError {
    /// The status that says so.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
            BodyError::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            BodyError::Broken => StatusCode::BAD_REQUEST,
        }
    }

    /// The same as a problem document.
    #[must_use]
    pub fn problem(self) -> Problem {
        let (kind, title) = match self {
            BodyError::TooLarge => ("too-large", "The body is too large"),
            BodyError::TooSlow => ("too-slow", "The body did not come in time"),
            BodyError::Encoded => ("encoded", "Content-Encoding is not accepted"),
            BodyError::Broken => ("broken-body", "The body could not be read"),
        };
        Problem::new(self.status(), kind, title, title)
    }
}

/// Reads a body of at most `bytes_max` bytes within [`BODY_TIME`].
///
/// # Errors
/// Too large, too slow, compressed or broken off.
pub async fn read_body(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, BodyError> {
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(BodyError::Encoded);
    }
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(BodyError::TooLarge);
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, bytes_max).collect()).await {
        Err(_) => Err(BodyError::TooSlow),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(BodyError::TooLarge)
        }
        Ok(Err(_)) => Err(BodyError::Broken),
    }
}

/// Adds the security headers to every answer that has not set its own. `https` says whether
/// customers reach us by https, so that browsers may be told to stay there.
pub fn secure(router: Router, https: bool) -> Router {
    router
        .fallback(|| async { StatusCode::NOT_FOUND.into_response() })
        .layer(middleware::from_fn(move |request: Request, next: Next| async move {
            harden(next.run(request).await, https)
        }))
}

fn harden(mut answer: Response, https: bool) -> Response {
    let defaults = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "microphone=(), camera=(), geolocation=()",
        ),
    ];
    let headers = answer.headers_mut();
    for (name, value) in defaults {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if https {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=63072000"),
        );
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn only_our_own_pages_are_own() {
        let who = |pairs| sender(&headers(pairs), "https://help.example");
        assert_eq!(who(&[("sec-fetch-site", "same-origin")]), Sender::Own);
        assert_eq!(who(&[("origin", "https://help.example")]), Sender::Own);
        assert_eq!(who(&[("origin", "https://help.example:443")]), Sender::Own);
        assert_eq!(
            who(&[("origin", "http://127.0.0.1:81"), ("host", "127.0.0.1:81")]),
            Sender::Own
        );
        assert_eq!(who(&[]), Sender::Unknown);
        for foreign in [
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://help.example"),
            ],
            &[("sec-fetch-site", "same-site"), ("host", "x")],
            &[("origin", "null"), ("host", "null")],
            &[
                ("origin", "https://help.example.evil"),
                ("host", "help.example"),
            ],
            &[
                ("origin", "http://help.example"),
                ("host", "help.example:81"),
            ],
            &[("origin", "data:x"), ("host", "x")],
        ] {
            assert_eq!(who(foreign), Sender::Foreign, "{foreign:?}");
        }
    }

    #[tokio::test]
    async fn large_and_compressed_bodies_are_refused() {
        let read = async |pairs, bytes: usize| {
            read_body(&headers(pairs), Body::from(vec![b'x'; bytes]), 100).await
        };
        assert_eq!(read(&[], 100).await.unwrap().len(), 100);
        assert_eq!(read(&[], 101).await, Err(BodyError::TooLarge));
        let length = [("content-length", "101")];
        assert_eq!(read(&length, 1).await, Err(BodyError::TooLarge));
        let gzip = [("content-encoding", "gzip")];
        assert_eq!(read(&gzip, 1).await, Err(BodyError::Encoded));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_body_is_given_up() {
        let (_open, half) = tokio::io::duplex(8);
        let stream = tokio_util::codec::FramedRead::new(half, tokio_util::codec::BytesCodec::new());
        let body = Body::from_stream(stream);
        let read = read_body(&HeaderMap::new(), body, 100).await;
        assert_eq!(read, Err(BodyError::TooSlow));
    }
}
