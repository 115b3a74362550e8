//! The text a person wrote, from whichever parts hold it.

use std::sync::LazyLock;

use mail_parser::decoders::html::html_to_text;
use mail_parser::{Message, MimeHeaders, PartType};
use regex::Regex;

use super::charset::text_of;
use super::fields::{self, Fields};

/// Most bytes of text kept.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// Most bytes of HTML read.
const HTML_BYTES_MAX: usize = 256 << 10;
/// Open tags beyond which the slow converter is not used: its time grows with the square.
const HTML_DEPTH_MAX: usize = 500;
/// So wide that no number is wrapped.
const HTML_WIDTH: usize = 10_000;
/// Most `tel:` links looked at.
const TEL_LINKS_MAX: usize = 32;

/// What a message says.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Text with LF line ends, no other controls.
    pub text: String,
    /// Numbers behind `tel:` links of the HTML.
    pub tel_links: Vec<String>,
    /// Numbers on TEL lines of vCards.
    pub vcard_numbers: Vec<String>,
    /// What a JSON part says, as programs send it.
    pub fields: Fields,
}

/// Reads the text parts: plain text if there is any, else HTML.
pub(super) fn read(message: &Message<'_>) -> Body {
    let mut body = Body::default();
    let mut texts = Vec::new();
    for id in &message.text_body {
        texts.extend(part_text(message, *id));
    }
    if texts.iter().all(|text| text.trim().is_empty()) {
        texts.clear();
        for id in &message.html_body {
            texts.extend(part_text(message, *id));
        }
    }
    for part in &message.parts {
        match &part.body {
            PartType::Html(_) => collect_tel_links(&text_of(message, part), &mut body.tel_links),
            PartType::Text(_) if is_vcard(part) => {
                collect_vcard_numbers(&text_of(message, part), &mut body.vcard_numbers);
            }
            _ if is_json(part) => body.fields = body.fields.or(&fields::of_json(part.contents())),
            _ => {}
        }
    }
    body.text = clean(&texts.join("\n\n"));
    body
}

fn is_vcard(part: &mail_parser::MessagePart<'_>) -> bool {
    let subtype = part
        .content_type()
        .and_then(mail_parser::ContentType::subtype);
    subtype.is_some_and(|s| s.eq_ignore_ascii_case("vcard") || s.eq_ignore_ascii_case("x-vcard"))
}

fn is_json(part: &mail_parser::MessagePart<'_>) -> bool {
    part.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("application")
            && kind
                .subtype()
                .is_some_and(|s| s.eq_ignore_ascii_case("json"))
    })
}

fn part_text(message: &Message<'_>, id: u32) -> Option<String> {
    let part = message.parts.get(id as usize)?;
    if is_vcard(part) {
        return None;
    }
    match &part.body {
        PartType::Text(_) => {
            let text = text_of(message, part);
            let kind = part.content_type();
            let attribute = |name| kind.and_then(|k| k.attribute(name)).unwrap_or_default();
            let flowed = attribute("format").eq_ignore_ascii_case("flowed");
            let delete_space = attribute("delsp").eq_ignore_ascii_case("yes");
            Some(if flowed {
                unflow(&text, delete_space)
            } else {
                text
            })
        }
        PartType::Html(_) => Some(html_text(&text_of(message, part))),
        PartType::Binary(_)
        | PartType::InlineBinary(_)
        | PartType::Message(_)
        | PartType::Multipart(_) => None,
    }
}

/// LF line ends, no controls but tab, no invisible marks of direction, cut to the limit.
fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut clean: String = text
        .chars()
        .filter(|c| {
            matches!(c, '\n' | '\t')
                || !(c.is_control()
                    || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        })
        .collect();
    if clean.len() > TEXT_BYTES_MAX {
        clean.truncate(clean.floor_char_boundary(TEXT_BYTES_MAX));
    }
    clean
}

/// Joins lines that were broken for transport only (RFC 3676).
fn unflow(text: &str, delete_space: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open: Option<usize> = None;
    for line in text.lines() {
        let depth = line.bytes().take_while(|b| *b == b'>').count();
        let content = line.get(depth..).unwrap_or_default();
        let content = content.strip_prefix(' ').unwrap_or(content);
        let is_signature = content == "-- ";
        if open != Some(depth) || is_signature {
            if open.is_some() {
                out.push('\n');
            }
            out.push_str(&">".repeat(depth));
            if depth > 0 && !content.is_empty() {
                out.push(' ');
            }
        }
        let flows = content.ends_with(' ') && !is_signature;
        out.push_str(if flows && delete_space {
            content.strip_suffix(' ').unwrap_or(content)
        } else {
            content
        });
        open = flows.then_some(depth);
        if !flows {
            out.push('\n');
        }
    }
    out
}

/// Text of HTML; nothing is fetched and nothing of the markup is kept.
fn html_text(html: &str) -> String {
    let html = html
        .get(..html.floor_char_boundary(HTML_BYTES_MAX))
        .unwrap_or_default();
    if open_tags(html) > HTML_DEPTH_MAX {
        return html_to_text(html);
    }
    html2text::config::plain_no_decorate()
        .link_footnotes(false)
        .no_table_borders()
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), HTML_WIDTH)
        .unwrap_or_else(|_| html_to_text(html))
}

/// The deepest nesting if no tag closes by itself: too high is safe.
fn open_tags(html: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let bytes = html.as_bytes();
    for at in memchr::memchr_iter(b'<', bytes) {
        match bytes.get(at + 1) {
            Some(b'/') => depth = depth.saturating_sub(1),
            Some(c)
                if c.is_ascii_alphabetic() && !is_void(bytes.get(at + 1..).unwrap_or_default()) =>
            {
                depth += 1;
                deepest = deepest.max(depth);
            }
            _ => {}
        }
    }
    deepest
}

/// Elements that never hold others.
fn is_void(tag: &[u8]) -> bool {
    [
        "br", "img", "hr", "meta", "link", "input", "col", "p>", "p ", "li",
    ]
    .iter()
    .any(|name| {
        tag.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    })
}

fn collect_tel_links(html: &str, into: &mut Vec<String>) {
    static LINK: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"(?i)href\s*=\s*["']?\s*tel:([^"'<>\s]{3,80})"#).ok());
    let Some(link) = LINK.as_ref() else { return };
    let room = TEL_LINKS_MAX.saturating_sub(into.len());
    let found = link
        .captures_iter(html)
        .filter_map(|hit| hit.get(1))
        .take(room);
    into.extend(found.map(|number| percent_decoded(number.as_str())));
}

fn percent_decoded(text: &str) -> String {
    text.replace("%20", " ")
        .replace("%2B", "+")
        .replace("%2b", "+")
        .replace("%28", "(")
        .replace("%29", ")")
}

fn collect_vcard_numbers(card: &str, into: &mut Vec<String>) {
    let room = TEL_LINKS_MAX.saturating_sub(into.len());
    let lines = card.lines().filter_map(|line| line.split_once(':'));
    let found = lines.filter(|(name, _)| {
        let name = name.split(';').next().unwrap_or_default();
        name.rsplit('.')
            .next()
            .is_some_and(|n| n.eq_ignore_ascii_case("TEL"))
    });
    into.extend(
        found
            .take(room)
            .map(|(_, value)| value.trim().trim_start_matches("tel:").to_owned()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flowed_lines_are_joined_and_signatures_stay() {
        assert_eq!(
            unflow("call me \nnow\n> a \n> b\n-- \nAda\n", false),
            "call me now\n> a b\n-- \nAda\n"
        );
        assert_eq!(unflow("012 \n345\n", true), "012345\n");
        assert_eq!(unflow(" From x\n", false), "From x\n");
    }

    #[test]
    fn html_becomes_text_without_wrapping_numbers() {
        let html = "<table><tr><td>Phone</td><td>030 1234567</td></tr></table><blockquote>old</blockquote><script>x()</script>";
        let text = html_text(html);
        assert!(text.contains("030 1234567"), "{text}");
        assert!(text.contains("> old"), "{text}");
        assert!(!text.contains("x()"), "{text}");
    }

    #[test]
    fn deeply_nested_html_is_read_in_time() {
        let html = format!("{}deep 030 1234567", "<div>".repeat(50_000));
        assert!(html_text(&html).contains("030 1234567"));
    }

    #[test]
    fn links_and_cards_give_numbers() {
        let mut links = Vec::new();
        collect_tel_links(
            "<a HREF = 'tel:+49%2030-123'>x</a><a href=tel:112>",
            &mut links,
        );
        assert_eq!(links, ["+49 30-123", "112"]);
        let mut cards = Vec::new();
        collect_vcard_numbers(
            "BEGIN:VCARD\nitem1.TEL;TYPE=cell:+49 171 1\nNOTE:x\nTEL:tel:+1\n",
            &mut cards,
        );
        assert_eq!(cards, ["+49 171 1", "+1"]);
    }
}
