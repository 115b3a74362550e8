//! Header lines as they stand in the message: every value of every name, in order.
//! The parser gives the last of repeated headers only, and a second `Auto-Submitted: no`
//! must not hide the first.

use sha2::{Digest, Sha256};

/// The header lines of one message, unfolded.
#[derive(Debug, Default)]
pub(super) struct Headers {
    lines: Vec<(String, String)>,
}

impl Headers {
    /// Splits the header block off `raw`; gives it and the body behind the blank line.
    pub(super) fn split(raw: &[u8]) -> (Self, &[u8]) {
        let mut lines: Vec<(String, String)> = Vec::new();
        let mut rest = raw;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at(end);
            rest = after;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break;
            }
            let text = decode(line);
            match (text.starts_with([' ', '\t']), lines.last_mut()) {
                (true, Some((_, value))) => value.push_str(&text),
                (true, None) => {}
                (false, _) => {
                    if let Some((name, value)) = text.split_once(':') {
                        lines.push((name.trim_end().to_ascii_lowercase(), value.to_owned()));
                    }
                }
            }
        }
        for (_, value) in &mut lines {
            *value = value.trim().to_owned();
        }
        (Headers { lines }, rest)
    }

    /// All values of `name` (lower case), in order.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first value of `name` (lower case).
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.lines
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether any name fits.
    pub(super) fn any_name(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.lines.iter().any(|(name, _)| fits(name))
    }
}

/// Header bytes outside UTF-8 come from old clients of the western world.
fn decode(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(text) => text.to_owned(),
        Err(_) => encoding_rs::WINDOWS_1252
            .decode_without_bom_handling(line)
            .0
            .into_owned(),
    }
}

/// Names the content of a message: the same mail by another road has the same name, since
/// trace headers do not count. Hex of SHA-256 over From, To, Date, Message-ID, Subject
/// (unfolded) and the body as it came.
#[must_use]
pub fn content_hash(raw: &[u8]) -> String {
    let (headers, body) = Headers::split(super::guard::without_blank_start(raw));
    let mut hash = Sha256::new();
    for name in ["from", "to", "date", "message-id", "subject"] {
        for value in headers.all(name) {
            hash.update(name);
            hash.update((value.len() as u64).to_be_bytes());
            hash.update(value);
        }
    }
    hash.update(b"\0");
    hash.update(body);
    data_encoding::HEXLOWER.encode(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_folded_headers_are_all_there() {
        let raw = b"A: 1\r\nb : x\r\n\ty\r\na:2\r\nnonsense\r\n\r\nbody\r\nA: 3";
        let (headers, body) = Headers::split(raw);
        assert_eq!(headers.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers.first("b"), Some("x\ty"));
        assert_eq!(body, b"body\r\nA: 3");
        let (headers, body) = Headers::split(b" folded\n\n");
        assert_eq!((headers.first("folded"), body), (None, &b""[..]));
    }

    #[test]
    fn the_same_mail_by_another_road_has_the_same_hash() {
        let mail = "From: a@b.test\r\nMessage-ID: <1@b>\r\nSubject: x\r\n y\r\n\r\nhello\r\n";
        let hash = content_hash(mail.as_bytes());
        let road = format!("Received: by z\r\nReturn-Path: <a@b.test>\r\n{mail}");
        assert_eq!(content_hash(road.as_bytes()), hash);
        let refolded = mail.replace("\r\n y", " y");
        assert_eq!(content_hash(refolded.as_bytes()), hash);
        // The same id with other words is another message.
        assert_ne!(
            content_hash(mail.replace("hello", "hallo").as_bytes()),
            hash
        );
        assert_ne!(content_hash(mail.replace("a@b", "c@b").as_bytes()), hash);
        assert_eq!(hash.len(), 64);
        assert_eq!(content_hash(b"").len(), 64);
    }
}
