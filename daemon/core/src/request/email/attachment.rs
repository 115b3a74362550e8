//! What is attached to a mail: named, never opened.

use mail_parser::{Message, MessagePart, MimeHeaders, PartType};
use serde::Serialize;

/// Longest name kept, in characters.
const NAME_CHARS_MAX: usize = 120;

/// An attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// Name without folders and control characters; only ever shown.
    pub name: Option<String>,
    /// Type and subtype as told, `application/pdf`.
    pub content_type: String,
    /// Bytes after decoding.
    pub size: usize,
}

/// What is attached, in order.
pub(super) fn of(message: &Message<'_>) -> Vec<Attachment> {
    let parts = message.attachments.iter();
    let parts = parts.filter_map(|id| message.parts.get(*id as usize));
    parts.map(attachment).collect()
}

fn attachment(part: &MessagePart<'_>) -> Attachment {
    let kind = part.content_type();
    let content_type = kind.map_or_else(
        || "application/octet-stream".to_owned(),
        |kind| {
            let subtype = kind.subtype().unwrap_or("octet-stream");
            format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase()
        },
    );
    let size = match &part.body {
        PartType::Text(text) | PartType::Html(text) => text.len(),
        PartType::Binary(data) | PartType::InlineBinary(data) => data.len(),
        PartType::Message(_) => part.offset_end.saturating_sub(part.offset_body) as usize,
        PartType::Multipart(_) => 0,
    };
    Attachment {
        name: part.attachment_name().and_then(base_name),
        content_type,
        size,
    }
}

/// The last part of a path, without what a screen would not show.
fn base_name(name: &str) -> Option<String> {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let shown: String = base
        .chars()
        .filter(|c| !is_hidden(*c))
        .take(NAME_CHARS_MAX)
        .collect();
    let shown = shown.trim().trim_matches('.').trim().to_owned();
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless() {
        for (name, shown) in [
            ("a.pdf", Some("a.pdf")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\temp\\x.doc", Some("x.doc")),
            ("/", None),
            ("..", None),
            ("a\0b\u{202e}fdp.exe", Some("abfdp.exe")),
            ("  ", None),
        ] {
            assert_eq!(base_name(name).as_deref(), shown, "{name:?}");
        }
        assert_eq!(
            base_name(&"x".repeat(500)).map(|n| n.len()),
            Some(NAME_CHARS_MAX)
        );
    }
}
