//! Text of a part from its bytes. An unknown or false charset label costs a few letters at
//! most, never the message.

use std::borrow::Cow;
use std::collections::BTreeSet;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Encoding as Transfer, Message, MessagePart, MimeHeaders};
use serde::Serialize;

/// Labels seen in the wild that no list knows.
const ALIASES: [(&str, &str); 8] = [
    ("1252", "windows-1252"),
    ("cp1252", "windows-1252"),
    ("cp932", "shift_jis"),
    ("ms932", "shift_jis"),
    ("utf8mb4", "utf-8"),
    ("cp936", "gbk"),
    ("cp949", "euc-kr"),
    ("8859_1", "windows-1252"),
];

/// Something about letters that had to be repaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CharsetProblem {
    /// The part, `1.2`, or `headers`.
    pub part: String,
    /// The label it came with.
    pub charset: Option<String>,
    /// `unknown_charset`, `invalid_bytes` or `undeclared_8bit`.
    pub problem: &'static str,
    /// What it was read as.
    pub used: String,
}

/// Text, and what had to be done to read it: the problem and the encoding used.
type Decoded = (String, Option<(&'static str, String)>);

/// The text of a part, decoded anew from its bytes.
pub(super) fn text_of(message: &Message<'_>, part: &MessagePart<'_>) -> String {
    decoded(message, part).0
}

/// The same, and what had to be repaired; `place` is the number of the part.
pub(super) fn problem_of(
    message: &Message<'_>,
    part: &MessagePart<'_>,
    place: &str,
) -> Option<CharsetProblem> {
    let (problem, used) = decoded(message, part).1?;
    Some(CharsetProblem {
        part: place.to_owned(),
        charset: label_of(part).map(str::to_owned),
        problem,
        used,
    })
}

fn label_of<'a>(part: &'a MessagePart<'_>) -> Option<&'a str> {
    part.content_type()
        .and_then(|kind| kind.attribute("charset"))
}

fn decoded(message: &Message<'_>, part: &MessagePart<'_>) -> Decoded {
    let range = part.offset_body as usize..part.offset_end as usize;
    let raw = message.raw_message.get(range).unwrap_or_default();
    let bytes = match part.encoding {
        Transfer::None => None,
        Transfer::QuotedPrintable => quoted_printable_decode(raw),
        Transfer::Base64 => base64_decode(raw),
    };
    match (part.encoding, bytes) {
        (Transfer::None, _) => decode(raw, label_of(part)),
        (_, Some(bytes)) => decode(&bytes, label_of(part)),
        // Broken transfer encoding: what the parser made of it is better than nothing.
        (_, None) => (part.text_contents().unwrap_or_default().to_owned(), None),
    }
}

/// Bytes to text by the label, if it is known and fits, else by what the bytes look like.
fn decode(bytes: &[u8], label: Option<&str>) -> Decoded {
    let label = label.unwrap_or_default().trim().to_ascii_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == label);
    let known = alias.map_or(label.as_str(), |(_, name)| name);
    let repaired = |problem: &'static str, used: &str| Some((problem, used.to_owned()));
    if known.is_empty()
        || is_ascii_label(known)
        || Encoding::for_label(known.as_bytes()) == Some(UTF_8)
    {
        let (text, used) = guess(bytes);
        let problem = match used {
            _ if text.is_ascii() => None,
            _ if known.is_empty() => repaired("undeclared_8bit", used),
            "utf-8" if !is_ascii_label(known) => {
                alias.and_then(|_| repaired("unknown_charset", used))
            }
            _ => repaired("invalid_bytes", used),
        };
        return (text, problem);
    }
    if let Some(encoding) = Encoding::for_label(known.as_bytes()) {
        let (text, _, had_errors) = encoding.decode(bytes);
        let used = encoding.name().to_ascii_lowercase();
        let problem = match alias {
            Some(_) => repaired("unknown_charset", &used),
            None if had_errors => repaired("invalid_bytes", &used),
            None => None,
        };
        return (text.into_owned(), problem);
    }
    if let Some(decoder) = charset_decoder(known.as_bytes()) {
        return (decoder(bytes), None);
    }
    let (text, used) = guess(bytes);
    (text, repaired("unknown_charset", used))
}

/// Header lines as the parser can read them: bytes that are not UTF-8, and labels of encoded
/// words that nobody knows, are replaced before it sees them.
pub(super) fn repair_headers(raw: &[u8]) -> (Cow<'_, [u8]>, Vec<CharsetProblem>) {
    let end = super::guard::blank_line(raw).unwrap_or(raw.len());
    let (head, body) = raw.split_at_checked(end).unwrap_or((raw, &[]));
    let mut problems = Vec::new();
    let mut repaired: Cow<'_, str> = match std::str::from_utf8(head) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            problems.push(CharsetProblem {
                part: "headers".to_owned(),
                charset: None,
                problem: "undeclared_8bit",
                used: "windows-1252".to_owned(),
            });
            // Line by line: one in UTF-8 may stand beside one that is not.
            let lines = head
                .split_inclusive(|b| *b == b'\n')
                .map(|line| guess(line).0);
            Cow::Owned(lines.collect())
        }
    };
    let labels: BTreeSet<String> = repaired
        .split("=?")
        .skip(1)
        .filter_map(|word| word.split_once('?'))
        .map(|(label, _)| label.to_owned())
        .filter(|label| (1..=40).contains(&label.len()) && is_strange(label))
        .take(20)
        .collect();
    for label in labels {
        let alias = ALIASES
            .iter()
            .find(|(alias, _)| label.eq_ignore_ascii_case(alias));
        let used = alias.map_or("windows-1252", |(_, name)| name);
        repaired = Cow::Owned(repaired.replace(&format!("=?{label}?"), &format!("=?{used}?")));
        problems.push(CharsetProblem {
            part: "headers".to_owned(),
            charset: Some(label),
            problem: "unknown_charset",
            used: used.to_owned(),
        });
    }
    match repaired {
        Cow::Borrowed(_) => (Cow::Borrowed(raw), problems),
        Cow::Owned(text) => (Cow::Owned([text.as_bytes(), body].concat()), problems),
    }
}

/// A label that no list knows; RFC 2231 lets a language stand behind it.
fn is_strange(label: &str) -> bool {
    let name = label
        .split('*')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    Encoding::for_label(name.as_bytes()).is_none() && charset_decoder(name.as_bytes()).is_none()
}

fn is_ascii_label(label: &str) -> bool {
    matches!(label, "us-ascii" | "ascii" | "ansi_x3.4-1968")
}

/// UTF-8 if it is valid, else Windows-1252, in which every byte has a meaning; which it was.
fn guess(bytes: &[u8]) -> (String, &'static str) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), "utf-8"),
        Err(_) => {
            let (text, _) = WINDOWS_1252.decode_without_bom_handling(bytes);
            (text.into_owned(), "windows-1252")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_unknown_or_false_keep_the_letters() {
        for (bytes, label, text) in [
            (&b"gr\xfc\xdfe"[..], Some("iso-8859-1"), "grüße"),
            (b"gr\xfc\xdfe", Some("utf-8"), "grüße"),
            (b"gr\xfc\xdfe", Some("us-ascii"), "grüße"),
            (b"gr\xfc\xdfe", Some("1252"), "grüße"),
            (b"gr\xfc\xdfe", Some("x-unknown"), "grüße"),
            (b"gr\xfc\xdfe", None, "grüße"),
            ("grüße".as_bytes(), None, "grüße"),
            ("grüße".as_bytes(), Some("x-unknown"), "grüße"),
            ("grüße".as_bytes(), Some("utf8mb4"), "grüße"),
            (b"\x1b$B4A;z\x1b(B", Some("iso-2022-jp"), "漢字"),
            (b"\x8a\xbf\x8e\x9a", Some("cp932"), "漢字"),
            (b"\xe0", Some("windows-1257"), "ą"),
        ] {
            assert_eq!(decode(bytes, label).0, text, "{label:?}");
        }
    }

    #[test]
    fn what_was_repaired_is_told() {
        for (bytes, label, problem) in [
            (&b"gr\xfc\xdfe"[..], Some("iso-8859-1"), None),
            (b"ascii", None, None),
            (b"ascii", Some("us-ascii"), None),
            ("grüße".as_bytes(), Some("utf-8"), None),
            ("grüße".as_bytes(), None, Some(("undeclared_8bit", "utf-8"))),
            (
                b"gr\xfc\xdfe",
                None,
                Some(("undeclared_8bit", "windows-1252")),
            ),
            (
                b"gr\xfc\xdfe",
                Some("utf-8"),
                Some(("invalid_bytes", "windows-1252")),
            ),
            (
                b"gr\xfc\xdfe",
                Some("us-ascii"),
                Some(("invalid_bytes", "windows-1252")),
            ),
            (
                b"gr\xfc\xdfe",
                Some("1252"),
                Some(("unknown_charset", "windows-1252")),
            ),
            (
                b"gr\xfc\xdfe",
                Some("x-unknown"),
                Some(("unknown_charset", "windows-1252")),
            ),
            (
                b"\x8a\xbf",
                Some("cp932"),
                Some(("unknown_charset", "shift_jis")),
            ),
        ] {
            let told = decode(bytes, label).1;
            let told = told
                .as_ref()
                .map(|(problem, used)| (*problem, used.as_str()));
            assert_eq!(told, problem, "{label:?}");
        }
    }

    #[test]
    fn headers_are_repaired_before_they_are_read() {
        let raw =
            b"Subject: gr\xfc\xdfe\r\nFrom: =?1252?Q?J=FCrgen?= <j@cust.test>\r\n\r\nbody \xfc";
        let (repaired, problems) = repair_headers(raw);
        let text = String::from_utf8_lossy(&repaired);
        assert!(
            text.starts_with("Subject: gr\u{fc}\u{df}e\r\nFrom: =?windows-1252?Q?J=FCrgen?="),
            "{text}"
        );
        assert!(repaired.ends_with(b"body \xfc"));
        let kinds: Vec<_> = problems.iter().map(|p| p.problem).collect();
        assert_eq!(kinds, ["undeclared_8bit", "unknown_charset"]);
        let good = b"Subject: =?utf-8?Q?x?=\r\n\r\n";
        assert!(matches!(repair_headers(good), (Cow::Borrowed(_), p) if p.is_empty()));
    }
}
