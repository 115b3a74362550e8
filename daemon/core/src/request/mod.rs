//! What a customer asks for. Every way in (form, JSON, mail, telephone) has a reader
//! that ends in one [`HelpRequest`]; from there on nobody asks where it came from.

pub mod email;
pub mod form;
pub mod json;

use serde::{Deserialize, Serialize};

use crate::phone::PhoneNumber;
use crate::time::Wall;

/// Longest note kept from a customer, in characters.
pub const NOTE_CHARS_MAX: usize = 4_000;
/// Longest one-line field (name, address), in characters.
pub const LINE_CHARS_MAX: usize = 200;
/// Longest page address, in bytes.
pub const PAGE_BYTES_MAX: usize = 2_048;

/// The way a request came in; the word of the `channel` metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The HTML form.
    Form,
    /// `POST /api/requests`.
    Json,
    /// A message taken by the SMTP receiver.
    Smtp,
    /// A caller who asked a flow for a call-back.
    Phone,
}

impl Channel {
    /// The word written in rows, metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Channel::Form => "form",
            Channel::Json => "json",
            Channel::Smtp => "smtp",
            Channel::Phone => "phone",
        }
    }
}

/// When the customer wants the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// As soon as possible, in the order received.
    Now,
    /// Not before `not_before`; past `not_after` (if given) the time has to be asked anew.
    Window {
        /// The call may start from here on, never earlier.
        not_before: Wall,
        /// The call may start up to here.
        not_after: Option<Wall>,
    },
}

/// Whom a request asks for among the agents of its queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whom {
    /// Only somebody who has this skill.
    pub skill: Option<String>,
    /// Rather this one; anybody, if that takes long.
    pub agent: Option<String>,
}

/// One request for help, as every intake makes it and `desk.accept` takes it.
/// All text is cleaned (no controls, no bidirectional overrides) and cut to its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelpRequest {
    /// Name of the queue, known to be configured.
    pub queue: String,
    /// The way in.
    pub channel: Channel,
    /// The number to call.
    pub number: PhoneNumber,
    /// The customer's name as given.
    pub name: Option<String>,
    /// Where the acknowledgement goes; without it there is no mail.
    pub email: Option<String>,
    /// The page the customer was on: http or https, shown, never fetched.
    pub page: Option<String>,
    /// What the customer wrote.
    pub note: Option<String>,
    /// BCP 47 language of the customer, `en` when unknown.
    pub language: String,
    /// IANA zone of the customer, when the browser or the mail told it.
    pub zone: Option<String>,
    /// When to call.
    pub when: When,
    /// Who should.
    #[serde(default)]
    pub whom: Whom,
}

/// A field that cannot be used, with a sentence for the person who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Name of the field as the sender wrote it.
    pub field: &'static str,
    /// Machine-readable kind, the last part of the problem type: `bad-number`, `time-in-past`, ...
    pub kind: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// Removes control characters and bidirectional overrides, trims, and cuts to `chars_max`.
/// Line breaks stay only when `multiline`; an empty rest is `None`.
#[must_use]
pub fn clean_text(text: &str, chars_max: usize, multiline: bool) -> Option<String> {
    let clean: String = text
        .chars()
        .filter(|c| {
            (multiline && matches!(c, '\n' | '\t')) || !(c.is_control() || is_bidi_control(*c))
        })
        .take(chars_max)
        .collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// U+202A-202E and U+2066-2069 reorder what a reader sees; they never get in.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A page address that may be shown as a link: http or https, no user information, in limits.
#[must_use]
pub fn clean_page(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > PAGE_BYTES_MAX {
        return None;
    }
    let url = url::Url::parse(text).ok()?;
    let web = matches!(url.scheme(), "http" | "https");
    let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    (web && plain).then(|| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_and_controls_do_not_get_in() {
        assert_eq!(
            clean_text(" a\u{202e}b\0c\nd ", 100, false).unwrap(),
            "abcd"
        );
        assert_eq!(clean_text("a\nb", 100, true).unwrap(), "a\nb");
        assert_eq!(clean_text(" \u{7} ", 100, true), None);
    }

    #[test]
    fn only_web_pages_are_pages() {
        assert!(clean_page("https://shop.example/basket?id=7").is_some());
        for bad in [
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc",
            "https://u:p@h/",
            "",
        ] {
            assert_eq!(clean_page(bad), None, "{bad}");
        }
    }
}
