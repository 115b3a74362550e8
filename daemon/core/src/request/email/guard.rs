//! What a message must be before and after parsing. Parsing recurses into nested messages,
//! and a stack overflow ends the process whatever catches panics, so depth is bounded first.

use std::borrow::Cow;

use mail_parser::{Message, PartType};
use memchr::{memchr, memchr2};

/// Header bytes read; the rest of a longer block is left out.
pub(super) const HEADER_BYTES_MAX: usize = 128 << 10;
/// Times the words `Content-Type` may occur in the bytes.
const CONTENT_TYPES_MAX: usize = 500;
/// Deepest nesting of parts.
const DEPTH_MAX: usize = 20;
/// Most parts.
const PARTS_MAX: usize = 250;
/// Most bytes of all parts after decoding.
const DECODED_BYTES_MAX: usize = 50 << 20;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadError {
    #[error("no_headers")]
    NoHeaders,
    #[error("too_deep")]
    TooDeep,
    #[error("too_many_parts")]
    TooManyParts,
    #[error("too_large")]
    TooLarge,
}

impl ReadError {
    /// The word kept with the quarantined message.
    pub(super) const fn word(self) -> &'static str {
        match self {
            ReadError::NoHeaders => "no_headers",
            ReadError::TooDeep => "too_deep",
            ReadError::TooManyParts => "too_many_parts",
            ReadError::TooLarge => "too_large",
        }
    }
}

/// A message that begins with blank lines would read as one without headers.
pub(super) fn without_blank_start(raw: &[u8]) -> &[u8] {
    let start = raw
        .iter()
        .position(|b| !matches!(b, b'\r' | b'\n'))
        .unwrap_or(raw.len());
    raw.get(start..).unwrap_or_default()
}

/// The bytes to parse, or why they are not parsed at all.
pub(super) fn before_parsing(raw: &[u8]) -> Result<Cow<'_, [u8]>, ReadError> {
    let raw = without_blank_start(raw);
    if content_types(raw) > CONTENT_TYPES_MAX {
        return Err(ReadError::TooManyParts);
    }
    let Some(header_end) = blank_line(raw).filter(|end| *end > HEADER_BYTES_MAX) else {
        return Ok(Cow::Borrowed(raw));
    };
    let kept = raw.get(..HEADER_BYTES_MAX).unwrap_or(raw);
    let kept = kept
        .get(..=memchr::memrchr(b'\n', kept).unwrap_or(0))
        .unwrap_or_default();
    Ok(Cow::Owned(
        [kept, b"\r\n", raw.get(header_end..).unwrap_or_default()].concat(),
    ))
}

/// Where the body begins.
pub(super) fn blank_line(raw: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = memchr(b'\n', raw.get(at..)?) {
        at += next + 1;
        match raw.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

fn content_types(raw: &[u8]) -> usize {
    const WORD: &[u8] = b"content-type";
    let (mut at, mut count) = (0, 0);
    while let Some(next) = raw.get(at..).and_then(|rest| memchr2(b'c', b'C', rest)) {
        at += next;
        let fits = raw
            .get(at..at + WORD.len())
            .is_some_and(|word| word.eq_ignore_ascii_case(WORD));
        count += usize::from(fits);
        at += 1;
    }
    count
}

/// Bounds the tree that came out of parsing.
pub(super) fn after_parsing(message: &Message<'_>) -> Result<(), ReadError> {
    let (mut parts, mut bytes) = (0, 0);
    // Each entry: a message, and how deep its root stands.
    let mut open = vec![(message, 0)];
    while let Some((message, depth)) = open.pop() {
        parts += message.parts.len();
        let mut depths = vec![depth; message.parts.len()];
        for (at, part) in message.parts.iter().enumerate() {
            let here = depths.get(at).copied().unwrap_or(depth);
            if here > DEPTH_MAX {
                return Err(ReadError::TooDeep);
            }
            match &part.body {
                PartType::Multipart(children) => {
                    for child in children {
                        if let Some(below) = depths.get_mut(*child as usize) {
                            *below = here + 1;
                        }
                    }
                }
                PartType::Message(nested) => open.push((nested, here + 1)),
                PartType::Text(text) | PartType::Html(text) => bytes += text.len(),
                PartType::Binary(data) | PartType::InlineBinary(data) => bytes += data.len(),
            }
        }
    }
    match () {
        () if parts > PARTS_MAX => Err(ReadError::TooManyParts),
        () if bytes > DECODED_BYTES_MAX => Err(ReadError::TooLarge),
        () => Ok(()),
    }
}
