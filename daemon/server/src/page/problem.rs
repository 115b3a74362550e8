//! Errors for programs: `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use helpline_core::request::FieldError;
use serde_json::json;

/// A problem document. It holds no internals: only what the sender can act on.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    kind: String,
    title: &'static str,
    detail: String,
    fields: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of the type `/problems/{kind}`.
    #[must_use]
    pub fn new(status: StatusCode, kind: &str, title: &'static str, detail: &str) -> Self {
        Problem {
            status,
            kind: kind.to_owned(),
            title,
            detail: detail.to_owned(),
            fields: Vec::new(),
            retry_after: None,
        }
    }

    /// Fields that cannot be used; the first one gives the problem its type.
    #[must_use]
    pub fn fields(status: StatusCode, faults: Vec<FieldError>) -> Self {
        let first = faults.first();
        let kind = first.map_or("bad-request", |fault| fault.kind);
        let detail = first.map_or_else(String::new, ToString::to_string);
        let mut problem = Problem::new(status, kind, "The request cannot be used", &detail);
        problem.fields = faults;
        problem
    }

    /// When to try again, told as `Retry-After` (whole seconds, at least 1).
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("/problems/{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(first) = self.fields.first() {
            body["field"] = first.field.into();
            let all = self.fields.iter().map(|fault| {
                json!({
                    "field": fault.field,
                    "type": format!("/problems/{}", fault.kind),
                    "detail": fault.reason,
                })
            });
            body["errors"] = all.collect();
        }
        let mut answer = (self.status, body.to_string()).into_response();
        let headers = answer.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, retry_after(after));
        }
        answer
    }
}

/// Whole seconds, rounded up, at least 1.
pub(crate) fn retry_after(after: Duration) -> HeaderValue {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}
