//! Text of a part from its bytes. An unknown or false charset label costs a few letters at
//! most, never the message.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Encoding as Transfer, Message, MessagePart, MimeHeaders};

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

/// The text of a part, decoded anew from its bytes.
pub(super) fn text_of(message: &Message<'_>, part: &MessagePart<'_>) -> String {
    let range = part.offset_body as usize..part.offset_end as usize;
    let raw = message.raw_message.get(range).unwrap_or_default();
    let decoded = match part.encoding {
        Transfer::None => None,
        Transfer::QuotedPrintable => quoted_printable_decode(raw),
        Transfer::Base64 => base64_decode(raw),
    };
    let label = part
        .content_type()
        .and_then(|kind| kind.attribute("charset"));
    match (part.encoding, decoded) {
        (Transfer::None, _) => decode(raw, label),
        (_, Some(bytes)) => decode(&bytes, label),
        // Broken transfer encoding: what the parser made of it is better than nothing.
        (_, None) => part.text_contents().unwrap_or_default().to_owned(),
    }
}

/// Bytes to text by the label, if it is known and fits, else by what the bytes look like.
fn decode(bytes: &[u8], label: Option<&str>) -> String {
    let label = label.unwrap_or_default().trim().to_ascii_lowercase();
    let known = ALIASES
        .iter()
        .find(|(alias, _)| *alias == label)
        .map_or(label.as_str(), |(_, name)| name);
    match Encoding::for_label(known.as_bytes()) {
        Some(encoding) if encoding != UTF_8 && !is_ascii_label(known) => {
            encoding.decode(bytes).0.into_owned()
        }
        None if !known.is_empty() && !is_ascii_label(known) => {
            match charset_decoder(known.as_bytes()) {
                Some(decoder) => decoder(bytes),
                None => guess(bytes),
            }
        }
        _ => guess(bytes),
    }
}

fn is_ascii_label(label: &str) -> bool {
    matches!(label, "us-ascii" | "ascii" | "ansi_x3.4-1968")
}

/// UTF-8 if it is valid, else Windows-1252, in which every byte has a meaning.
fn guess(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => WINDOWS_1252
            .decode_without_bom_handling(bytes)
            .0
            .into_owned(),
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
            assert_eq!(decode(bytes, label), text, "{label:?}");
        }
    }
}
