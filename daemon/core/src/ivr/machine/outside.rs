//! Other services and the store: `http`, `webhook`, `lookup`; and templates.

use std::time::Duration;

use super::vars::read_input;
use super::{FlowMachine, GRACE, Output, State};
use crate::ivr::expr::{self, Value};
use crate::ivr::io::{FindReply, HttpOrder, HttpReply, Lookup, LookupBy, OpId};
use crate::ivr::model::{Act, Code, Part, Request, Target};

/// After this a caller is told that it takes long.
const WAIT_SAY: Duration = Duration::from_secs(2);
/// Longest name that a template may give.
const NAME_BYTES_MAX: usize = 200;
/// Most characters that a program speaks.
const WORDS_MAX: usize = 500;
/// Longest address or header.
const TEXT_BYTES_MAX: usize = 2_000;

impl FlowMachine {
    /// A name from a template: not empty, not too long.
    pub(super) fn fill(&self, parts: &[Part]) -> Option<String> {
        let text = self.filled(parts, |text, value| text.push_str(value))?;
        (!text.is_empty() && text.len() <= NAME_BYTES_MAX).then_some(text)
    }

    /// Words from a template, as many as are spoken.
    pub(super) fn fill_words(&self, parts: &[Part]) -> Option<String> {
        let text = self.filled(parts, |text, value| text.push_str(value))?;
        let text: String = text.chars().take(WORDS_MAX).collect();
        (!text.trim().is_empty()).then_some(text)
    }

    fn filled(&self, parts: &[Part], put: impl Fn(&mut String, &str)) -> Option<String> {
        let mut text = String::new();
        for part in parts {
            let (code, is_plain) = match part {
                Part::Text(t) => {
                    text.push_str(t);
                    continue;
                }
                Part::Code(code) => (code, false),
                Part::Plain(code) => (code, true),
            };
            let value = match self.eval(code) {
                Ok(Value::String(s)) => s.to_string(),
                Ok(Value::Int(i)) => i.to_string(),
                Ok(Value::Bool(b)) => b.to_string(),
                _ => return None,
            };
            if is_plain {
                text.push_str(&value);
            } else {
                put(&mut text, &value);
            }
        }
        (text.len() <= TEXT_BYTES_MAX).then_some(text)
    }

    fn http_order(&self, request: &Request) -> Option<HttpOrder> {
        let url = self.filled(&request.url, percent_encoded)?;
        let mut headers = Vec::new();
        for (name, value) in &request.headers {
            let value = self.filled(value, |text, value| text.push_str(value))?;
            // A line end in a value would begin another header.
            if value.chars().any(char::is_control) {
                return None;
            }
            headers.push((name.clone(), value));
        }
        let json = match &request.json {
            None => None,
            Some(members) => {
                let mut object = serde_json::Map::new();
                for (name, code) in members {
                    let value = self.eval(code).ok()?;
                    object.insert(name.clone(), expr::to_json(&value)?);
                }
                Some(object.into())
            }
        };
        Some(HttpOrder {
            method: request.method,
            url,
            headers,
            json,
            timeout: request.timeout,
            retries: request.retries,
        })
    }

    pub(super) fn ask_service(&mut self, request: &Request) {
        let Some(order) = self.http_order(request) else {
            self.trace("event", "error http: a value does not fit");
            return self.raise("error");
        };
        let patience = order.timeout * (order.retries + 1) + GRACE;
        let op = self.op();
        self.trace("http", shown(&order));
        self.out.push_back(Output::Http(op, order));
        self.work(op, patience);
        let say_at = self.now + WAIT_SAY;
        let says = self.node().is_some_and(|(flow, index)| {
            let act = flow.nodes.get(index).map(|n| &n.act);
            matches!(act, Some(Act::Http { wait_say, .. }) if !wait_say.is_empty())
        });
        if let State::Working(work) = &mut self.state {
            work.say_at = (says && self.hung_up.is_none()).then_some(say_at);
        }
    }

    /// It takes long: the caller is told.
    pub(super) fn wait_say(&mut self) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        let Some(Act::Http { wait_say, .. }) = flow.nodes.get(index).map(|n| &n.act) else {
            return;
        };
        let segments = self.segments(wait_say, false);
        let speech = self.start(segments);
        if let State::Working(work) = &mut self.state {
            work.say_at = None;
            work.speech = speech;
        }
    }

    /// A service answered.
    pub(super) fn answered(&mut self, op: OpId, reply: HttpReply) {
        if !self.work_done(op) {
            return;
        }
        let Some((flow, index)) = self.node() else {
            return;
        };
        let Some(Act::Http {
            accept, save, next, ..
        }) = flow.nodes.get(index).map(|n| &n.act)
        else {
            return;
        };
        match reply {
            HttpReply::Timeout => self.raise("timeout"),
            HttpReply::Failed(why) => {
                self.trace("event", format!("error http: {why}"));
                self.raise("error");
            }
            HttpReply::Answer {
                status,
                headers,
                body,
            } => {
                self.trace("http", status.to_string());
                let good = match accept.as_slice() {
                    [] => (200..300).contains(&status),
                    list => list.contains(&status),
                };
                if good && self.save_response(save, status, &headers, &body) {
                    self.goto(next);
                } else {
                    self.raise("error");
                }
            }
        }
    }

    fn save_response(
        &mut self,
        save: &[(Target, Code)],
        status: u16,
        headers: &[(String, String)],
        body: &serde_json::Value,
    ) -> bool {
        let headers = headers.iter();
        let headers = headers.map(|(k, v)| (k.as_str(), Value::from(v.as_str())));
        let response = expr::map([
            ("status", Value::Int(status.into())),
            ("headers", expr::map(headers)),
            ("body", expr::from_json(body)),
        ]);
        for (to, code) in save {
            let mut scope = self.scope(code);
            scope.set("response", response.clone());
            match code.expr.eval(&scope) {
                Ok(value) => {
                    if !self.assign(&to.name, value) {
                        let name = &to.name;
                        self.trace("event", format!("error {name}: the value does not fit"));
                        return false;
                    }
                }
                Err(why) => {
                    // The answer may hold what a secret was exchanged for.
                    let secret = self.is_secret_name(&to.name);
                    let why = if secret {
                        String::new()
                    } else {
                        why.to_string()
                    };
                    self.trace("event", format!("error {}: {why}", to.name));
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn tell_service(&mut self, request: &Request, next: &Target) {
        match self.http_order(request) {
            Some(order) => {
                self.trace("webhook", shown(&order));
                self.out.push_back(Output::Webhook(order));
                self.goto(next);
            }
            None => {
                self.trace("event", "error webhook: a value does not fit");
                self.raise("error");
            }
        }
    }

    pub(super) fn look_up(&mut self, by: LookupBy, value: &Code, timeout: Duration) {
        let Ok(Value::String(value)) = self.eval(value) else {
            return self.raise("error");
        };
        self.trace("lookup", by.word());
        if value.is_empty() {
            return self.raise("miss");
        }
        let op = self.op();
        let lookup = Lookup {
            by,
            value: value.to_string(),
            timeout,
        };
        self.out.push_back(Output::Find(op, lookup));
        self.work(op, timeout);
    }

    /// The store answered.
    pub(super) fn found(&mut self, op: OpId, reply: FindReply) {
        if !self.work_done(op) {
            return;
        }
        let Some((flow, index)) = self.node() else {
            return;
        };
        let Some(Act::Lookup { save, next, .. }) = flow.nodes.get(index).map(|n| &n.act) else {
            return;
        };
        match reply {
            FindReply::Miss => self.raise("miss"),
            FindReply::Failed => self.raise("error"),
            FindReply::Record(json) => {
                let decl = flow.decls.get(&save.name);
                let value = decl.and_then(|decl| read_input(&json, decl).ok());
                if value.is_some_and(|value| self.assign(&save.name, value)) {
                    self.goto(next);
                } else {
                    self.raise("error");
                }
            }
        }
    }
}

/// A request in a trace: what follows `?` may say too much.
fn shown(order: &HttpOrder) -> String {
    let address = order.url.split('?').next().unwrap_or_default();
    let address: String = address.chars().take(200).collect();
    format!("{} {address}", order.method.word())
}

/// Everything but the unreserved characters of RFC 3986 is encoded, so that a value stays
/// one part of an address.
fn percent_encoded(text: &mut String, value: &str) {
    use std::fmt::Write as _;
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}
