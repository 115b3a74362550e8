//! Everything that can be said of a message without a network or a store, as one JSON object
//! (`schemas/mail.json`): what `helpline mail` prints.

use mail_parser::{DateTime, Message, PartType};
use serde::Serialize;

use super::attachment::{self, Attachment};
use super::authres::{self, Authentication};
use super::charset::{self, CharsetProblem};
use super::digest::Digest;
use super::guard::{self, ReadError};
use super::headers::Headers;
use super::scan::{Choice, Source};
use super::unasked::{Seen, unasked};
use super::window::{self, Found};
use super::{MailContext, ids, parse, people, silence};
use crate::request::clean_text;
use crate::time::Wall;

/// Most ids of `References` told.
const REFERENCES_MAX: usize = 100;
/// Parts whose letters are looked at.
const PARTS_MAX: usize = 250;

/// What a report depends on besides the bytes and the [`MailContext`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ReportContext {
    /// When the message came; without it the topmost `Received`, else `Date`, tells.
    pub now: Option<Wall>,
    /// Offset in which `now` is written, in seconds east of Greenwich.
    pub now_offset: i32,
    /// What is taken when nothing else tells.
    pub clock: Wall,
}

/// A person or a program, as a header names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    name: Option<String>,
    address: Option<String>,
}

/// A number found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhoneCandidate {
    e164: String,
    source: &'static str,
}

/// When the call is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    not_before: Option<String>,
    not_after: Option<String>,
    tz: String,
    matched: String,
}

/// The object; every key is always there, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // each key is described in schemas/mail.json
pub struct Report {
    pub kind: &'static str,
    pub reason: Option<&'static str>,
    pub auto_reply: bool,
    pub from: Option<Party>,
    pub to: Vec<Party>,
    pub cc: Vec<Party>,
    pub subject: Option<String>,
    pub message_id: Option<String>,
    pub in_reply_to: Option<String>,
    pub references: Vec<String>,
    pub date: Option<String>,
    pub now: String,
    pub charset_problems: Vec<CharsetProblem>,
    pub text: String,
    pub reply_text: String,
    pub quoted_text: String,
    pub signature_text: String,
    pub attachments: Vec<Attachment>,
    pub phone_candidates: Vec<PhoneCandidate>,
    pub window: Option<Window>,
    pub window_unclear: Option<String>,
    pub page_url: Option<String>,
    pub locale: String,
    pub auth: Option<Authentication>,
}

/// Reports on a message. Never fails: what cannot be read is a quarantine, and says why. A
/// message that cannot be parsed whole is told by its headers alone. `context.received` is
/// replaced by what `how` and the message say.
#[must_use]
pub fn report(raw: &[u8], context: &MailContext<'_>, how: &ReportContext) -> Report {
    match guard::before_parsing(raw) {
        Ok(raw) => {
            let (raw, problems) = charset::repair_headers(&raw);
            match parse(&raw) {
                Ok(message) => whole(&message, &raw, problems, context, how),
                Err(error) => broken(&raw, error, context, how),
            }
        }
        Err(error) => broken(raw, error, context, how),
    }
}

fn whole(
    message: &Message<'_>,
    raw: &[u8],
    mut problems: Vec<CharsetProblem>,
    context: &MailContext<'_>,
    how: &ReportContext,
) -> Report {
    let (headers, _) = Headers::split(raw);
    let (received, offset) = received(&headers, message.date(), how);
    let context = &MailContext {
        received,
        ..*context
    };
    let people = people(message);
    let seen = Seen::of(message, &headers, &people, context);
    let digest = Digest::of(message, &seen, context);
    let unasked = unasked(message, &seen, context);
    let (kind, reason) = match (&unasked, digest.scan.choose()) {
        (Some(kind), _) => (kind.word(), kind.reason()),
        (None, _) if digest.follow_up.is_some() => ("follow_up", None),
        (None, Choice::One(..)) => ("request", None),
        (None, Choice::None(reason)) => ("needs_info", Some(reason)),
    };
    let silent = silence(seen.verdict, &people);
    problems.extend(part_problems(message));
    let from = people.from.first().map(|(_, address)| address.as_str());
    Report {
        kind,
        reason: reason.or(silent),
        auto_reply: unasked.is_none() && silent.is_none(),
        window: window_of(&digest.found),
        window_unclear: match &digest.found {
            Found::Unclear(sentence) => Some(sentence.clone()),
            Found::Nothing | Found::Window { .. } => None,
        },
        phone_candidates: candidates(&digest),
        text: digest.body.text,
        reply_text: digest.parts.reply,
        quoted_text: digest.parts.quoted,
        signature_text: digest.parts.signature,
        subject: digest.subject,
        attachments: attachment::of(message),
        charset_problems: problems,
        page_url: digest.page,
        locale: digest.language.unwrap_or("en").to_owned(),
        auth: authres::known(&headers, context, from),
        ..of_headers(Some(message), &headers, window::rfc3339(received, offset))
    }
}

/// What is left of a message that must not be parsed: its headers, read without its parts.
fn broken(raw: &[u8], error: ReadError, context: &MailContext<'_>, how: &ReportContext) -> Report {
    let raw = guard::without_blank_start(raw);
    let end = guard::blank_line(raw).unwrap_or(raw.len());
    let head = raw
        .get(..end.min(guard::HEADER_BYTES_MAX))
        .unwrap_or_default();
    let (head, problems) = charset::repair_headers(head);
    let (headers, _) = Headers::split(&head);
    // `None` without any header: there is nothing to tell then.
    let message = mail_parser::MessageParser::default().parse_headers(head.as_ref());
    let message = message.as_ref();
    let (received, offset) = received(&headers, message.and_then(Message::date), how);
    let from = headers.first("from");
    Report {
        kind: "quarantine",
        reason: Some(error.word()),
        subject: message
            .and_then(Message::subject)
            .and_then(|s| clean_text(s, 998, false)),
        charset_problems: problems,
        auth: authres::known(&headers, context, from),
        ..of_headers(message, &headers, window::rfc3339(received, offset))
    }
}

fn of_headers(message: Option<&Message<'_>>, headers: &Headers, now: String) -> Report {
    let from = parties(message.and_then(Message::from));
    let many = |name: &str| -> Vec<String> {
        let all: Vec<String> = headers.all(name).flat_map(ids).collect();
        all.into_iter().take(REFERENCES_MAX).collect()
    };
    let one = |name: &str| many(name).into_iter().next();
    let of = |name: mail_parser::HeaderName<'static>| -> Vec<Party> {
        let all = message.map(Message::headers).unwrap_or_default().iter();
        all.filter(|h| h.name == name)
            .flat_map(|h| parties(h.value.as_address()))
            .collect()
    };
    Report {
        kind: "quarantine",
        reason: None,
        auto_reply: false,
        from: from.into_iter().next(),
        to: of(mail_parser::HeaderName::To),
        cc: of(mail_parser::HeaderName::Cc),
        subject: None,
        message_id: one("message-id"),
        in_reply_to: one("in-reply-to"),
        references: many("references"),
        date: message
            .and_then(Message::date)
            .filter(|d| d.is_valid())
            .map(date_text),
        now,
        charset_problems: Vec::new(),
        text: String::new(),
        reply_text: String::new(),
        quoted_text: String::new(),
        signature_text: String::new(),
        attachments: Vec::new(),
        phone_candidates: Vec::new(),
        window: None,
        window_unclear: None,
        page_url: None,
        locale: "en".to_owned(),
        auth: None,
    }
}

fn parties(list: Option<&mail_parser::Address<'_>>) -> Vec<Party> {
    let addresses = list.into_iter().flat_map(mail_parser::Address::iter);
    let clean = |text: &str| clean_text(text, 998, false);
    addresses
        .map(|address| Party {
            name: address.name().and_then(clean),
            address: address.address().and_then(clean),
        })
        .filter(|party| party.name.is_some() || party.address.is_some())
        .collect()
}

fn candidates(digest: &Digest) -> Vec<PhoneCandidate> {
    let mut found: Vec<_> = digest.scan.found.iter().collect();
    // Stable: of one source the first one stays first.
    found.sort_by_key(|(_, source, _)| *source);
    found
        .into_iter()
        .map(|(number, source, _)| PhoneCandidate {
            e164: number.as_str().to_owned(),
            source: match source {
                Source::Field => "field",
                Source::TelLink => "tel",
                Source::Vcard => "vcard",
                Source::Body => "body",
                Source::Subject => "subject",
                Source::Signature => "signature",
            },
        })
        .collect()
}

fn window_of(found: &Found) -> Option<Window> {
    match found {
        Found::Nothing | Found::Unclear(_) => None,
        Found::Window {
            not_before,
            not_after,
            clock,
            matched,
        } => Some(Window {
            not_before: not_before.map(|at| clock.rfc3339(at)),
            not_after: not_after.map(|at| clock.rfc3339(at)),
            tz: clock.name(),
            matched: matched.clone(),
        }),
    }
}

/// When the message came, and the offset in which that was told.
fn received(headers: &Headers, date: Option<&DateTime>, how: &ReportContext) -> (Wall, i32) {
    if let Some(now) = how.now {
        return (now, how.now_offset);
    }
    let traced = headers.first("received").and_then(|value| {
        let (_, stamp) = value.rsplit_once(';')?;
        let raw = format!("Date: {}\r\n\r\n", stamp.trim());
        let message = mail_parser::MessageParser::default().parse_headers(raw.as_bytes())?;
        message.date().copied()
    });
    let told = traced.as_ref().or(date).filter(|date| date.is_valid());
    match told {
        Some(date) => {
            let at = Wall::from_millis(date.to_timestamp().saturating_mul(1_000));
            (at, window::offset_seconds(date).unwrap_or(0))
        }
        None => (how.clock, how.now_offset),
    }
}

/// RFC 3339 with the sender's offset.
fn date_text(date: &DateTime) -> String {
    let at = Wall::from_millis(date.to_timestamp().saturating_mul(1_000));
    window::rfc3339(at, window::offset_seconds(date).unwrap_or(0))
}

/// Letters that had to be repaired in the text parts.
fn part_problems(message: &Message<'_>) -> Vec<CharsetProblem> {
    let places = places(message);
    let parts = message.parts.iter().zip(&places).take(PARTS_MAX);
    parts
        .filter(|(part, _)| matches!(part.body, PartType::Text(_) | PartType::Html(_)))
        .filter_map(|(part, place)| charset::problem_of(message, part, place))
        .collect()
}

/// The number of each part as IMAP counts them (RFC 3501 §6.4.5): a message of one part is `1`.
fn places(message: &Message<'_>) -> Vec<String> {
    let mut places = vec![String::from("1"); message.parts.len()];
    let is_multipart = |id: usize| {
        let part = message.parts.get(id);
        part.is_some_and(|part| matches!(part.body, PartType::Multipart(_)))
    };
    for (id, part) in message.parts.iter().enumerate() {
        let PartType::Multipart(children) = &part.body else {
            continue;
        };
        let above = match id {
            0 => String::new(),
            _ => places
                .get(id)
                .map_or_else(String::new, |place| format!("{place}.")),
        };
        for (number, child) in children.iter().enumerate() {
            if let Some(place) = places.get_mut(*child as usize) {
                *place = format!("{above}{}", number + 1);
            }
        }
    }
    if is_multipart(0)
        && let Some(root) = places.first_mut()
    {
        root.clear();
    }
    places
}
