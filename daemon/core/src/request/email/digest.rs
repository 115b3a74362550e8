//! Everything a message says, whoever wrote it.

use mail_parser::Message;

use super::body::{self, Body};
use super::classify::Verdict;
use super::fields::{self, Fields};
use super::follow_up::{self, FollowUp, Wish};
use super::reply_text::{self, Parts};
use super::scan::{Choice, Rules, Scan, Source};
use super::unasked::Seen;
use super::window::{self, Found, Reference};
use super::{MailContext, country_of, language};
use crate::phone::PhoneNumber;
use crate::request::{LINE_CHARS_MAX, clean_page, clean_text};

/// Longest subject (RFC 5322 §2.1.1), in characters.
const SUBJECT_CHARS_MAX: usize = 998;
/// Most links of a text that are looked at.
const LINKS_MAX: usize = 64;

/// What a message says.
pub(super) struct Digest {
    pub subject: Option<String>,
    pub body: Body,
    pub parts: Parts,
    pub email: Option<String>,
    pub name: Option<String>,
    pub page: Option<String>,
    pub language: Option<&'static str>,
    pub scan: Scan,
    pub found: Found,
    /// The earlier request it speaks of, and what it asks of that.
    pub follow_up: Option<FollowUp>,
}

impl Digest {
    pub(super) fn of(message: &Message<'_>, seen: &Seen<'_>, context: &MailContext<'_>) -> Digest {
        let text = Text::read(message, seen, context);
        let scan = text.numbers();
        let number = match scan.choose() {
            Choice::One(number, _) => Some(number),
            Choice::None(_) => None,
        };
        let subject = text.subject.as_deref();
        let from = seen.people.from.first();
        let name = from.and_then(|(name, _)| name.as_deref());
        let name = text.fields.name.as_deref().or(name);
        let page = text.fields.page.as_deref().and_then(clean_page);
        let thread = follow_up::thread(seen, subject, context.keys);
        Digest {
            follow_up: thread.map(|of| FollowUp {
                of,
                from: text.email.clone(),
                is_trusted: seen.verdict == Verdict::Answer,
                wish: text.wish(),
            }),
            found: text.window(number.as_ref(), subject),
            name: name.and_then(|name| clean_text(name, LINE_CHARS_MAX, false)),
            page: page.or_else(|| only_link(&text.parts.reply)),
            scan,
            subject: text.subject,
            body: text.body,
            parts: text.parts,
            email: text.email,
            language: text.language,
        }
    }
}

/// What is written in a message.
struct Text<'a> {
    message: &'a Message<'a>,
    context: &'a MailContext<'a>,
    subject: Option<String>,
    body: Body,
    parts: Parts,
    fields: Fields,
    /// Who writes.
    email: Option<String>,
    language: Option<&'static str>,
}

impl<'a> Text<'a> {
    fn read(message: &'a Message<'a>, seen: &Seen<'_>, context: &'a MailContext<'a>) -> Text<'a> {
        let subject = message.subject();
        let subject = subject.and_then(|s| clean_text(s, SUBJECT_CHARS_MAX, false));
        let body = body::read(message);
        let is_forward = subject.as_deref().is_some_and(is_forward);
        let parts = reply_text::split(&body.text, is_forward);
        let from = seen.people.from.first();
        let told = seen.headers.first("content-language");
        Text {
            message,
            context,
            fields: fields::read(&parts.reply).or(&body.fields),
            email: from.and_then(|(_, address)| clean_text(address, LINE_CHARS_MAX, false)),
            language: told
                .and_then(language::named)
                .or_else(|| language::guess(&parts.reply)),
            subject,
            body,
            parts,
        }
    }

    /// Numbers from all places in order of trust. Quoted text is never searched: it may hold
    /// somebody else's number.
    fn numbers(&self) -> Scan {
        let country = self.email.as_deref().and_then(country_of);
        let regions = self.context.region.into_iter().chain(country.as_deref());
        let rules = Rules {
            regions: regions.collect(),
            dial: self.context.dial,
        };
        let mut scan = Scan::default();
        if let Some(phone) = &self.fields.phone {
            scan.value(phone, Source::Field, &rules);
        }
        for link in &self.body.tel_links {
            scan.value(link, Source::TelLink, &rules);
        }
        for number in &self.body.vcard_numbers {
            scan.value(number, Source::Vcard, &rules);
        }
        let subject = self.subject.as_deref().unwrap_or_default();
        scan.text(&self.parts.reply, Source::Body, &rules);
        scan.text(subject, Source::Subject, &rules);
        scan.text(&self.parts.signature, Source::Signature, &rules);
        scan
    }

    /// When to call: the labelled line, then the text, then the subject.
    fn window(&self, number: Option<&PhoneNumber>, subject: Option<&str>) -> Found {
        let german = self.language == Some("de");
        let reference = Reference::new(self.message.date(), self.context, number, german);
        let places = [
            (self.fields.when.as_deref(), true),
            (Some(self.parts.reply.as_str()), false),
            (subject, false),
        ];
        let mut found = places
            .into_iter()
            .map(|(text, is_field)| window::find(text.unwrap_or_default(), is_field, &reference));
        found
            .find(|found| *found != Found::Nothing)
            .unwrap_or(Found::Nothing)
    }

    /// What it asks of an earlier request. The subject of an answer is older than the answer.
    fn wish(&self) -> Wish {
        let (reply, writer) = (&self.parts.reply, self.email.as_deref());
        let written = follow_up::written_number(self.context, writer, &self.fields, reply);
        follow_up::wish(reply, written, self.context, |number| {
            self.window(number, None)
        })
    }
}

fn is_forward(subject: &str) -> bool {
    let subject = subject.to_ascii_lowercase();
    ["fwd:", "fw:", "wg:", "tr:"]
        .iter()
        .any(|mark| subject.starts_with(mark))
}

/// The page, if the text names exactly one.
fn only_link(text: &str) -> Option<String> {
    let ends = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | ')' | ']');
    let mut links = text
        .split(ends)
        .filter_map(|word| {
            let at = word.find("https://").or_else(|| word.find("http://"))?;
            let link = word.get(at..)?;
            clean_page(link.trim_end_matches(['.', ',', ';', '!', '?', ':', '\'']))
        })
        .take(LINKS_MAX);
    let first = links.next()?;
    links.all(|other| other == first).then_some(first)
}
