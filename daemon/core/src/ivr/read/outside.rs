//! Nodes that ask others: `http`, `webhook`, `lookup`.

use std::time::Duration;

use super::Reader;
use crate::ivr::fault::hint;
use crate::ivr::io::{HttpMethod, LookupBy};
use crate::ivr::model::{Act, Request};
use crate::ivr::raw::{At, RawNode, RawRequest, Whole};

/// A caller waits for it.
const TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// Most statuses of `accept`.
const ACCEPT_MAX: usize = 50;

impl Reader<'_> {
    pub(super) fn http(&mut self, raw: &RawNode) -> Option<Act> {
        let request = raw.request.as_ref().map(|r| self.request(r));
        let accept = raw.accept.as_ref().map(|a| self.accept(a));
        let save = self.save_names(raw);
        let wait_say = raw.wait_say.as_ref().map(|s| self.say(s));
        let next = self.next(raw);
        Some(Act::Http {
            request: request??,
            accept: accept.unwrap_or_default(),
            save,
            wait_say: wait_say.unwrap_or_default(),
            next: next?,
        })
    }

    pub(super) fn webhook(&mut self, raw: &RawNode) -> Option<Act> {
        let request = raw.request.as_ref().map(|r| self.request(r));
        let next = self.next(raw);
        Some(Act::Webhook {
            request: request??,
            next: next?,
        })
    }

    pub(super) fn lookup(&mut self, raw: &RawNode) -> Option<Act> {
        let by = raw.by.as_ref().map(|by| {
            let words = LookupBy::ALL.map(LookupBy::word);
            let found = LookupBy::ALL.into_iter().find(|b| b.word() == by.value);
            if found.is_none() {
                let near = hint(&by.value, words);
                let words = words.join(", ");
                self.fault(by.at, format!("`by` is one of {words}{near}"));
            }
            found
        });
        let value = raw.value.as_ref().map(|v| self.code(v));
        let save = self.save_name(raw);
        let timeout = raw.timeout.as_ref();
        let timeout = timeout.map_or(Some(Duration::from_secs(1)), |t| self.patience(t));
        let next = self.next(raw);
        Some(Act::Lookup {
            by: by??,
            value: value??,
            save: save?,
            timeout: timeout?,
            next: next?,
        })
    }

    fn request(&mut self, raw: &At<RawRequest>) -> Option<Request> {
        let request = &raw.value;
        self.only(&request.keys, RawRequest::KNOWN, "`request`");
        let method = self.need(request.method.as_ref(), raw.at, "method", "`request`");
        let method = method.and_then(|method| {
            let words = HttpMethod::ALL.map(HttpMethod::word);
            let found = HttpMethod::ALL
                .into_iter()
                .find(|m| m.word() == method.value);
            if found.is_none() {
                let near = hint(&method.value, words);
                let words = words.join(", ");
                self.fault(method.at, format!("`method` is one of {words}{near}"));
            }
            found
        });
        let url = self.need(request.url.as_ref(), raw.at, "url", "`request`");
        let url = url.map(|url| (self.address(url), url.at));
        let mut headers = Vec::new();
        for (name, value) in request.headers.iter().flat_map(|h| &h.0) {
            if !is_token(&name.value) {
                let message = format!("{:?} cannot be the name of a header", name.value);
                self.nonsense(name.at, message);
            }
            headers.push((name.value.clone(), self.template(value)));
        }
        let json = request.json.as_ref().map(|json| {
            let members = json.0.iter();
            let members =
                members.filter_map(|(name, code)| Some((name.value.clone(), self.code(code)?)));
            members.collect()
        });
        let timeout = request.timeout.as_ref();
        let timeout = timeout.map_or(Some(Duration::from_secs(2)), |t| self.patience(t));
        let retries = request.retries.as_ref().map_or(0, |r| self.range(r, 0, 3));
        let (url, at) = url?;
        Some(Request {
            method: method?,
            url,
            at,
            headers,
            json,
            timeout: timeout?,
            retries,
        })
    }

    /// A length of time that a caller has to wait.
    fn patience(&mut self, raw: &At<String>) -> Option<Duration> {
        let length = self.duration(raw)?;
        if length > TIMEOUT_MAX || length.is_zero() {
            self.nonsense(
                raw.at,
                "a timeout is above 0s and at most 10s: the caller waits",
            );
        }
        Some(length)
    }

    fn accept(&mut self, raw: &At<Vec<At<Whole>>>) -> Vec<u16> {
        if raw.value.is_empty() || raw.value.len() > ACCEPT_MAX {
            self.fault(raw.at, format!("`accept` has 1 to {ACCEPT_MAX} statuses"));
        }
        let statuses = raw.value.iter().map(|status| self.range(status, 200, 499));
        statuses.filter_map(|s| u16::try_from(s).ok()).collect()
    }
}

/// A token of RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
