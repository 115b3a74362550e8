//! Mail that speaks of a request already made: which one it names, and what it asks to change.

use super::fields::Fields;
use super::headers::Headers;
use super::scan::{Choice, Rules, Scan, Source};
use super::token::{Keys, Recipient};
use super::unasked::Seen;
use super::window::Found;
use super::{MailContext, country_of, ids, tag, wanted};
use crate::phone::PhoneNumber;
use crate::request::When;

/// Most ids of one header that are looked at, the newest first.
const IDS_MAX: usize = 100;
/// Longest line that can be nothing but a wish to cancel or a greeting, in words.
const WORDS_MAX: usize = 8;

/// Where other mail servers write whom a message came for.
const RECIPIENT_HEADERS: [&str; 4] = [
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "x-envelope-to",
];

/// A mail about a request that was made before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// Which one.
    pub of: Thread,
    /// Who writes; only the customer of the request may change it.
    pub from: Option<String>,
    /// Nothing speaks against the writer being who he says: the rules allow to answer.
    pub is_trusted: bool,
    /// What is asked.
    pub wish: Wish,
}

/// How a mail names a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thread {
    /// By its id, in a token or a Message-ID that we signed.
    Signed(String),
    /// By its tag, in the subject.
    Tag(String),
}

/// What a follow-up asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// No call.
    Cancel,
    /// To be called at another number, or another time, or both.
    Change {
        /// The number that was written, which may be the old one.
        number: Option<PhoneNumber>,
        /// The time.
        when: Option<When>,
        /// Zone of the writer (IANA), if the mail tells it.
        zone: Option<String>,
    },
    /// Another time, in words that are not understood.
    Unclear,
    /// Nothing that a machine understands: for people.
    Nothing,
}

/// What the addresses of a message that are ours are for; one of several.
pub(super) fn recipient(
    headers: &Headers,
    recipients: &[String],
    context: &MailContext<'_>,
) -> Option<Recipient> {
    let keys = context.keys?;
    let traced = RECIPIENT_HEADERS
        .into_iter()
        .flat_map(|name| headers.all(name));
    let plain = |address: &str| address.trim().trim_matches(['<', '>']).to_owned();
    let envelope = context.recipients.iter().map(|r| plain(r));
    envelope
        .chain(traced.take(IDS_MAX).map(plain))
        .chain(recipients.iter().take(IDS_MAX).cloned())
        .find_map(|address| keys.recipient(context.own_addresses, &address))
}

/// The request a message names: by the address it came to, by a mail of ours it answers, by the
/// tag in its subject.
pub(super) fn thread(
    seen: &Seen<'_>,
    subject: Option<&str>,
    keys: Option<&Keys>,
) -> Option<Thread> {
    if let Some(Recipient::Reply(request)) = &seen.recipient {
        return Some(Thread::Signed(request.clone()));
    }
    let answered = |name: &str| -> Vec<String> { seen.headers.all(name).flat_map(ids).collect() };
    let (reply_to, references) = (answered("in-reply-to"), answered("references"));
    let newest_first = references.iter().rev().take(IDS_MAX);
    let known = reply_to.iter().take(IDS_MAX).chain(newest_first);
    let signed = keys.and_then(|keys| {
        known
            .filter_map(|id| keys.sent_mail(id))
            .find(|mail| mail.is_request)
    });
    match signed {
        Some(mail) => Some(Thread::Signed(mail.about)),
        None => tag::in_subject(subject?).map(Thread::Tag),
    }
}

/// What the mail asks. `window` finds the time in it, once the number is known.
pub(super) fn wish(
    reply: &str,
    number: Option<PhoneNumber>,
    context: &MailContext<'_>,
    window: impl FnOnce(Option<&PhoneNumber>) -> Found,
) -> Wish {
    if cancels(reply) {
        return Wish::Cancel;
    }
    let found = window(number.as_ref());
    let is_told = matches!(found, Found::Window { .. });
    if number.is_none() && !is_told {
        return match found {
            Found::Unclear(_) => Wish::Unclear,
            Found::Nothing | Found::Window { .. } => Wish::Nothing,
        };
    }
    let (when, zone, _) = wanted(&found, context);
    Wish::Change {
        number,
        when: is_told.then_some(when),
        zone,
    }
}

/// The one number written in the mail itself: neither its subject nor a signature is a wish.
pub(super) fn written_number(
    context: &MailContext<'_>,
    email: Option<&str>,
    fields: &Fields,
    reply: &str,
) -> Option<PhoneNumber> {
    let country = email.and_then(country_of);
    let regions = context.region.into_iter().chain(country.as_deref());
    let rules = Rules {
        regions: regions.collect(),
        dial: context.dial,
    };
    let mut scan = Scan::default();
    if let Some(phone) = &fields.phone {
        scan.value(phone, Source::Field, &rules);
    }
    scan.text(reply, Source::Body, &rules);
    match scan.choose() {
        Choice::One(number, _) => Some(number),
        Choice::None(_) => None,
    }
}

/// Whether the first line wants nothing but that nobody calls. A greeting may stand before it.
fn cancels(reply: &str) -> bool {
    let mut lines = reply.lines().map(words).filter(|line| !line.is_empty());
    let Some(first) = lines.next() else {
        return false;
    };
    if !is_greeting(&first) {
        return is_cancel(&first);
    }
    is_cancel(&first) || lines.next().is_some_and(|second| is_cancel(&second))
}

/// The words of a line in small letters; none of a line that is longer than a bare wish.
fn words(line: &str) -> Vec<String> {
    let word = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.to_lowercase().replace('\u{2019}', "'")
    };
    let words = line.split_whitespace().map(word);
    words
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX + 1)
        .collect()
}

const GREETINGS: [&str; 12] = [
    "hi", "hello", "hey", "dear", "hallo", "guten", "sehr", "liebe", "lieber", "moin", "good",
    "servus",
];
const CANCELS: [&str; 16] = [
    "cancel",
    "cancelled",
    "canceled",
    "stop",
    "stopp",
    "abbestellen",
    "abbestellt",
    "stornieren",
    "storniere",
    "storno",
    "absagen",
    "absage",
    "abbrechen",
    "canceln",
    "withdraw",
    "zurückziehen",
];
/// Words that add nothing to a wish to cancel.
const FILLERS: [&str; 36] = [
    "please",
    "pls",
    "bitte",
    "thanks",
    "thank",
    "you",
    "danke",
    "vielen",
    "dank",
    "my",
    "the",
    "a",
    "this",
    "it",
    "i",
    "want",
    "to",
    "would",
    "like",
    "request",
    "call",
    "callback",
    "call-back",
    "appointment",
    "ich",
    "möchte",
    "den",
    "die",
    "das",
    "meinen",
    "meine",
    "rückruf",
    "anruf",
    "termin",
    "anfrage",
    "now",
];
/// Whole lines that forbid the call.
const NO_CALLS: [&str; 14] = [
    "do not call",
    "do not call me",
    "don't call",
    "don't call me",
    "please do not call",
    "please do not call me",
    "please don't call",
    "please don't call me",
    "no call please",
    "bitte nicht anrufen",
    "nicht anrufen",
    "bitte nicht mehr anrufen",
    "nicht mehr anrufen",
    "bitte keinen anruf",
];

fn is_greeting(words: &[String]) -> bool {
    let first = words.first().map(String::as_str).unwrap_or_default();
    words.len() <= WORDS_MAX && GREETINGS.contains(&first)
}

fn is_cancel(words: &[String]) -> bool {
    if words.len() > WORDS_MAX {
        return false;
    }
    let line = words.join(" ");
    if NO_CALLS.contains(&line.as_str()) {
        return true;
    }
    let rest: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| !FILLERS.contains(word) && !GREETINGS.contains(word))
        .collect();
    matches!(rest.as_slice(), [verb] if CANCELS.contains(verb))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_wish_on_the_first_line_cancels() {
        for text in [
            "cancel",
            "Cancel.",
            "STOP",
            "\n\nPlease cancel!\n\nIt works again.",
            "please cancel my call",
            "I would like to cancel, thanks",
            "Please don\u{2019}t call me.",
            "Hi,\n\nplease cancel the call.\n",
            "Hello there, \nstop\n",
            "abbestellen",
            "Bitte stornieren",
            "Bitte den Rückruf stornieren.",
            "Guten Tag,\nich möchte den Termin absagen.",
            "bitte nicht mehr anrufen",
        ] {
            assert!(cancels(text), "{text}");
        }
    }

    #[test]
    fn anything_more_does_not_cancel() {
        for text in [
            "",
            "\n \n",
            "Thanks!",
            "please call me",
            "Don't cancel",
            "please do not cancel my call",
            "cancel the order 4711",
            "My order was cancelled by you and I want it back",
            "Please cancel, call me tomorrow instead",
            "The shop says: cancel",
            "Hello,\nthe coupon fails\ncancel",
            "I cannot stop the printer",
            "bitte nicht stornieren",
            "cancel cancel cancel cancel cancel cancel cancel cancel cancel",
        ] {
            assert!(!cancels(text), "{text}");
        }
    }
}
