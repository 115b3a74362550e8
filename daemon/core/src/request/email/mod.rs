//! A mail becomes a help request: what kind of mail it is, who wrote it, what they wrote now,
//! which number to call and when. Pure: raw bytes and a context in, a [`Reading`] out.

mod ack;
mod address;
mod attachment;
mod authres;
mod body;
mod charset;
mod classify;
mod digest;
mod dsn;
mod fields;
mod follow_up;
mod guard;
mod headers;
mod language;
mod reply_text;
mod report;
mod scan;
mod tag;
mod token;
mod unasked;
mod window;

use mail_parser::{Address, HeaderName, Message, MessageParser};

pub use ack::AckParts;
pub use address::address_key;
pub use attachment::Attachment;
pub use authres::{Authentication, Proof, is_aligned};
pub use charset::CharsetProblem;
pub use dsn::{Action, Dsn};
pub use follow_up::{FollowUp, Thread, Wish};
pub use headers::content_hash;
pub use report::{Report, ReportContext, report};
pub use tag::{id_end, request_tag};
pub use token::{Keys, PLUS_LOCAL_MAX, Recipient, SentMail};
pub use unasked::Undelivered;

use self::ack::{ack, reply_address};
use self::classify::{People, Verdict};
use self::digest::Digest;
use self::guard::ReadError;
use self::headers::Headers;
use self::scan::Choice;
use self::unasked::{Seen, unasked};
use self::window::Found;
use super::{Channel, HelpRequest, NOTE_CHARS_MAX, When, clean_text};
use crate::phone::DialRules;
use crate::time::Wall;

/// What reading a mail depends on besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct MailContext<'a> {
    /// The addresses mail is taken for.
    pub own_addresses: &'a [String],
    /// IANA zone of the site.
    pub zone: &'a str,
    /// Region that completes national numbers (ISO 3166).
    pub region: Option<&'a str>,
    /// Which numbers may be called.
    pub dial: &'a DialRules,
    /// Queue of requests by mail.
    pub queue: &'a str,
    /// When DATA ended.
    pub received: Wall,
    /// Envelope sender.
    pub envelope: Envelope<'a>,
    /// Relays whose `Authentication-Results` are believed.
    pub authserv_ids: &'a [String],
    /// Envelope recipients, as far as they are known.
    pub recipients: &'a [String],
    /// With which our own mail is signed; without them no mail of ours is known again.
    pub keys: Option<&'a Keys>,
    /// What our own checks gave; then no header is believed.
    pub checked: Option<&'a Authentication>,
}

/// Who sends a message, by its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope<'a> {
    /// Nobody: `MAIL FROM:<>`.
    Null,
    /// This address.
    From(&'a str),
    /// The envelope is not known: the message is read from a file.
    Unknown,
}

impl<'a> From<Option<&'a str>> for Envelope<'a> {
    /// `None` is `<>`.
    fn from(address: Option<&'a str>) -> Self {
        address.map_or(Envelope::Null, Envelope::From)
    }
}

/// What a mail is and asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What becomes of it.
    pub kind: Kind,
    /// It names a request made before. Should there be none, it is what `kind` says.
    pub follow_up: Option<Box<FollowUp>>,
    /// What is known of where it came from; `None`: nothing was checked.
    pub auth: Option<Authentication>,
    /// Whether one automatic reply may be sent, as far as the mail itself tells.
    pub auto_reply: bool,
    /// Why no automatic reply may be sent, a word of the rules.
    pub silent_reason: Option<&'static str>,
    /// Whom to answer; given only with `auto_reply`.
    pub ack: Option<AckParts>,
    /// Language of the text, `en` or `de`; `None` when it shows neither.
    pub language: Option<&'static str>,
    /// Address of the writer, for the form that asks for what is missing.
    pub email: Option<String>,
    /// Name of the writer.
    pub name: Option<String>,
    /// The page the mail names.
    pub page: Option<String>,
    /// The sentence with a time that was not understood: the reply says so, never quotes it.
    pub window_unclear: Option<String>,
}

/// What becomes of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request for a call.
    Request(Box<HelpRequest>),
    /// A person wrote, but no number can be called: `no_phone`, `ambiguous_phone`, `refused_phone`.
    NeedsInfo {
        /// Which of them.
        reason: &'static str,
    },
    /// A machine wrote it: never a request, never answered.
    Machine {
        /// The rule that matched.
        reason: &'static str,
    },
    /// A report of what became of a mail: never a request, never answered.
    Bounce {
        /// What it says: `dsn_failed`, `dsn_delayed`, `dsn_delivered`, `dsn_unparsed`.
        reason: &'static str,
        /// The same in full.
        dsn: Dsn,
        /// Which mail it is about; `None`: none that we know to be ours.
        of: Option<Undelivered>,
    },
    /// It cannot be read, or nobody can say who wrote it: kept for people.
    Quarantine {
        /// Why.
        reason: &'static str,
    },
}

impl Kind {
    /// The word written in rows and reports.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Kind::Request(_) => "request",
            Kind::NeedsInfo { .. } => "needs_info",
            Kind::Machine { .. } => "machine",
            Kind::Bounce { .. } => "bounce",
            Kind::Quarantine { .. } => "quarantine",
        }
    }

    /// The word behind it.
    #[must_use]
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Kind::Request(_) => None,
            Kind::NeedsInfo { reason }
            | Kind::Machine { reason }
            | Kind::Bounce { reason, .. }
            | Kind::Quarantine { reason } => Some(reason),
        }
    }
}

/// Reads a mail. Never fails: what cannot be read is quarantined.
///
/// Nothing here proves who wrote the mail. A request is made all the same, because the call
/// itself asks: it begins with "press 1 if you asked for this call", and nobody else is
/// joined before that.
#[must_use]
pub fn read(raw: &[u8], context: &MailContext<'_>) -> Reading {
    match try_read(raw, context) {
        Ok(reading) => reading,
        Err(error) => silent(
            Kind::Quarantine {
                reason: error.word(),
            },
            error.word(),
        ),
    }
}

fn silent(kind: Kind, reason: &'static str) -> Reading {
    Reading {
        kind,
        follow_up: None,
        auth: None,
        auto_reply: false,
        silent_reason: Some(reason),
        ack: None,
        language: None,
        email: None,
        name: None,
        page: None,
        window_unclear: None,
    }
}

fn try_read(raw: &[u8], context: &MailContext<'_>) -> Result<Reading, ReadError> {
    let raw = guard::before_parsing(raw)?;
    let (raw, _) = charset::repair_headers(&raw);
    let message = parse(&raw)?;
    let (headers, _) = Headers::split(&raw);
    let people = people(&message);
    let seen = Seen::of(&message, &headers, &people, context);
    if let Some(kind) = unasked(&message, &seen, context) {
        let reason = kind.reason().unwrap_or_default();
        return Ok(silent(kind, reason));
    }
    Ok(Digest::of(&message, &seen, context).reading(&seen, context))
}

fn parse(raw: &[u8]) -> Result<Message<'_>, ReadError> {
    let message = MessageParser::default()
        .parse(raw)
        .ok_or(ReadError::NoHeaders)?;
    guard::after_parsing(&message)?;
    Ok(message)
}

impl Digest {
    fn reading(self, seen: &Seen<'_>, context: &MailContext<'_>) -> Reading {
        let (when, zone, window_unclear) = wanted(&self.found, context);
        let kind = match self.scan.choose() {
            Choice::None(reason) => Kind::NeedsInfo { reason },
            Choice::One(number, extension) => Kind::Request(Box::new(HelpRequest {
                whom: crate::request::Whom::default(),
                queue: context.queue.to_owned(),
                channel: Channel::Smtp,
                number,
                name: self.name.clone(),
                email: self.email.clone(),
                page: self.page.clone(),
                note: note(
                    self.subject.as_deref(),
                    &self.parts.reply,
                    extension.as_deref(),
                ),
                language: self.language.unwrap_or("en").to_owned(),
                zone,
                when,
            })),
        };
        let silent_reason = silence(seen.verdict, seen.people);
        let ack = silent_reason
            .is_none()
            .then(|| ack(seen.headers, seen.people, self.subject))
            .flatten();
        let from = seen
            .people
            .from
            .first()
            .map(|(_, address)| address.as_str());
        Reading {
            kind,
            follow_up: self.follow_up.map(Box::new),
            auth: authres::known(seen.headers, context, from),
            auto_reply: ack.is_some(),
            silent_reason,
            ack,
            language: self.language,
            email: self.email,
            name: self.name,
            page: self.page,
            window_unclear,
        }
    }
}

/// Why no automatic reply may be sent.
fn silence(verdict: Verdict, people: &People) -> Option<&'static str> {
    match verdict {
        Verdict::Silent(reason) | Verdict::Machine(reason) => Some(reason),
        Verdict::Answer => reply_address(people).is_none().then_some("no_address"),
    }
}

/// When to call, the zone told by the mail, and a sentence that was not understood.
fn wanted(found: &Found, context: &MailContext<'_>) -> (When, Option<String>, Option<String>) {
    match found {
        Found::Nothing => (When::Now, None, None),
        Found::Unclear(sentence) => (When::Now, None, Some(sentence.clone())),
        Found::Window {
            not_before: None,
            not_after: None,
            ..
        } => (When::Now, None, None),
        Found::Window {
            not_before,
            not_after,
            clock,
            ..
        } => {
            let when = When::Window {
                not_before: not_before.unwrap_or(context.received),
                not_after: *not_after,
            };
            (when, clock.told().map(str::to_owned), None)
        }
    }
}

fn note(subject: Option<&str>, reply: &str, extension: Option<&str>) -> Option<String> {
    let mut note = subject.map(|s| format!("{s}\n\n")).unwrap_or_default();
    if let Some(extension) = extension {
        note = format!("Extension {extension}\n{note}");
    }
    clean_text(&(note + reply.trim()), NOTE_CHARS_MAX, true)
}

/// Country of an address by its top-level domain, `UK` being `GB`.
fn country_of(address: &str) -> Option<String> {
    let top = address.rsplit_once('.')?.1.to_ascii_uppercase();
    let top = if top == "UK" { "GB".to_owned() } else { top };
    (top.len() == 2).then_some(top)
}

/// Message ids of a header value: `<[!-~]+@[!-~]+>`, without `<>`.
fn ids(value: &str) -> Vec<String> {
    let printable = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b'<')
    };
    value
        .split('<')
        .skip(1)
        .filter_map(|rest| rest.split_once('>').map(|(id, _)| id))
        .filter(|id| {
            id.len() <= 250
                && id
                    .split_once('@')
                    .is_some_and(|(l, r)| printable(l) && printable(r))
        })
        .map(str::to_owned)
        .take(100)
        .collect()
}

fn people(message: &Message<'_>) -> People {
    let addresses = |name: HeaderName<'static>| {
        let headers = message.headers().iter().filter(move |h| h.name == name);
        let lists = headers.filter_map(|h| h.value.as_address());
        lists.flat_map(Address::iter).filter_map(|a| {
            a.address()
                .map(|x| (a.name().map(str::to_owned), x.trim().to_owned()))
        })
    };
    let plain = |name| addresses(name).map(|(_, address)| address);
    People {
        from: addresses(HeaderName::From).collect(),
        sender: plain(HeaderName::Sender).collect(),
        reply_to: plain(HeaderName::ReplyTo).collect(),
        recipients: [
            HeaderName::To,
            HeaderName::Cc,
            HeaderName::ResentTo,
            HeaderName::ResentCc,
        ]
        .into_iter()
        .flat_map(plain)
        .collect(),
    }
}

#[cfg(test)]
mod tests;
