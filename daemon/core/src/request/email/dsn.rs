//! Delivery reports (RFC 3464, RFC 6522) and what older mailers write in their place: what
//! became of a mail of ours.

use std::sync::LazyLock;

use mail_parser::{Message, MimeHeaders};
use regex::Regex;

use super::headers::Headers;

/// Bytes of a report that are looked at.
const BYTES_MAX: usize = 64 << 10;

/// What a report says of one mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dsn {
    /// What became of it.
    pub action: Action,
    /// Enhanced status code (RFC 3463), `5.1.1`.
    pub status: Option<String>,
    /// Whether the report says so in its fields, not only in words for people.
    pub is_formal: bool,
    /// Message-ID of the returned mail, without `<>`.
    pub message_id: Option<String>,
}

impl Dsn {
    /// Whether there is no such address (RFC 3463 §3.2): other mail to it fails as well. Words
    /// alone do not say it: `5.1.26` is also a day in January.
    #[must_use]
    pub fn has_no_address(&self) -> bool {
        let status = self.status.as_deref().unwrap_or_default();
        self.is_formal && self.action == Action::Failed && status.starts_with("5.1.")
    }
}

/// What became of a mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// It will not arrive.
    Failed,
    /// It may still arrive.
    Delayed,
    /// It arrived, or left for where nobody reports.
    Delivered,
    /// The report does not say.
    #[default]
    Unknown,
}

impl Action {
    /// The reason written with a bounce.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Action::Failed => "dsn_failed",
            Action::Delayed => "dsn_delayed",
            Action::Delivered => "dsn_delivered",
            Action::Unknown => "dsn_unparsed",
        }
    }
}

/// Whether a message reports what became of another one, by its form or by who wrote it.
pub(super) fn is_report(headers: &Headers, message: &Message<'_>, by_mailer: bool) -> bool {
    by_mailer
        || headers.first("x-failed-recipients").is_some()
        || message.parts.iter().any(|part| is_status(part))
}

fn is_status(part: &mail_parser::MessagePart<'_>) -> bool {
    part.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("message")
            && kind.subtype().is_some_and(|s| {
                s.eq_ignore_ascii_case("delivery-status")
                    || s.eq_ignore_ascii_case("global-delivery-status")
            })
    })
}

/// Reads the report. `text` is what it says to people.
pub(super) fn read(message: &Message<'_>, text: &str) -> Dsn {
    let raw = |part: &mail_parser::MessagePart<'_>| {
        let range = part.offset_body as usize..part.offset_end as usize;
        let bytes = message.raw_message.get(range).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(..bytes.len().min(BYTES_MAX)).unwrap_or_default())
            .into_owned()
    };
    let mut dsn = Dsn::default();
    for part in message.parts.iter().filter(|part| is_status(part)) {
        for (name, value) in fields(&raw(part)) {
            match name.as_str() {
                "action" => dsn.action = worse(dsn.action, action(&value)),
                "status" => {
                    dsn.status = dsn.status.take().or_else(|| status(&value));
                    dsn.is_formal = dsn.status.is_some();
                }
                _ => {}
            }
        }
    }
    if dsn.action == Action::Unknown {
        dsn.status = dsn.status.take().or_else(|| status_in_words(text));
        dsn.action = match dsn.status.as_deref().and_then(|s| s.chars().next()) {
            Some('5') => Action::Failed,
            Some('4') => Action::Delayed,
            _ => Action::Unknown,
        };
    }
    dsn.message_id = message.parts.iter().find_map(|part| {
        let kind = part.content_type()?;
        let returned = matches!(
            kind.subtype()
                .unwrap_or_default()
                .to_ascii_lowercase()
                .as_str(),
            "rfc822" | "rfc822-headers" | "global" | "global-headers"
        );
        let fields = returned.then(|| fields(&raw(part)))?;
        let id = fields.into_iter().find(|(name, _)| name == "message-id")?.1;
        super::ids(&id).into_iter().next()
    });
    dsn
}

/// With several recipients the mail failed if it failed for one of them.
fn worse(a: Action, b: Action) -> Action {
    let rank = |action| match action {
        Action::Failed => 3,
        Action::Delayed => 2,
        Action::Delivered => 1,
        Action::Unknown => 0,
    };
    if rank(b) > rank(a) { b } else { a }
}

fn action(value: &str) -> Action {
    let word = value
        .split([' ', '(', ';', '\t'])
        .next()
        .unwrap_or_default();
    match word.to_ascii_lowercase().as_str() {
        "failed" => Action::Failed,
        "delayed" => Action::Delayed,
        "delivered" | "relayed" | "expanded" => Action::Delivered,
        _ => Action::Unknown,
    }
}

fn status(value: &str) -> Option<String> {
    let code = value.split([' ', '(', ';', '\t']).next()?;
    let mut figures = code.split('.');
    let class = figures.next()?;
    let rest: Vec<&str> = figures.collect();
    let number = |n: &&str| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit());
    (matches!(class, "2" | "4" | "5") && rest.len() == 2 && rest.iter().all(number))
        .then(|| code.to_owned())
}

/// `550 5.1.1 no such user`, or a reply code alone.
fn status_in_words(text: &str) -> Option<String> {
    static CODE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?:^|[^0-9.])(?:([45])[0-9]{2}[ \-]+)?#?([45]\.[0-9]{1,3}\.[0-9]{1,3})(?:$|[^0-9.])|(?:^|[^0-9.])([45])[0-5][0-9][ \-][A-Za-z<]").ok()
    });
    let text = text.get(..text.floor_char_boundary(BYTES_MAX))?;
    let found = CODE.as_ref()?.captures(text)?;
    match (found.get(2), found.get(3)) {
        (Some(code), _) => Some(code.as_str().to_owned()),
        (None, Some(class)) => Some(format!("{}.0.0", class.as_str())),
        (None, None) => None,
    }
}

/// `Name: value` lines, unfolded, names in small letters.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                *value = format!("{value} {}", line.trim()).trim().to_owned();
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;

    fn report(status: &str, returned: &str) -> Dsn {
        let raw = format!(
            "From: MAILER-DAEMON@mx.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; \
             report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nSorry, 550 5.7.1 in words.\r\n--b\r\n\
             Content-Type: message/delivery-status\r\n\r\n{status}\r\n--b\r\nContent-Type: {returned}\r\n\r\n\
             Message-ID: <r1.ack.abc@help.test>\r\nSubject: x\r\n\r\n--b--\r\n"
        );
        let message = MessageParser::default().parse(raw.as_bytes()).unwrap();
        read(&message, "Sorry, 550 5.7.1 in words.")
    }

    #[test]
    fn reports_are_read_by_their_fields() {
        let groups = "Reporting-MTA: dns; mx.test\r\n\r\nFinal-Recipient: rfc822; a@x.test\r\nAction: failed\r\nStatus: 5.1.1 (bad)\r\n";
        let dsn = report(groups, "message/rfc822");
        assert_eq!(
            (dsn.action, dsn.status.as_deref()),
            (Action::Failed, Some("5.1.1"))
        );
        assert_eq!(dsn.message_id.as_deref(), Some("r1.ack.abc@help.test"));
        for (status, action) in [
            ("Action: delayed\r\nStatus: 4.4.1\r\n", Action::Delayed),
            ("ACTION:\r\n relayed\r\n", Action::Delivered),
            (
                "Action: delivered\r\n\r\nAction: failed\r\n",
                Action::Failed,
            ),
            ("Action: failed\r\n\r\nAction: delayed\r\n", Action::Failed),
            // Nothing there: the words to people decide.
            ("Nonsense\r\n", Action::Failed),
        ] {
            assert_eq!(
                report(status, "text/rfc822-headers").action,
                action,
                "{status}"
            );
        }
    }

    #[test]
    fn words_tell_what_fields_do_not() {
        for (text, status) in [
            (
                "<a@x.test>: host mx[192.0.2.1] said: 550 5.1.1 unknown",
                Some("5.1.1"),
            ),
            ("Remote host said: 550 No such user", Some("5.0.0")),
            ("#5.4.4 no such host", Some("5.4.4")),
            ("will retry: 451 try later", Some("4.0.0")),
            ("on 24.5.2026 at 5.30", None),
            ("call 550 123456", None),
            ("", None),
        ] {
            assert_eq!(status_in_words(text).as_deref(), status, "{text}");
        }
    }
}
