//! Cutting a byte stream into SIP messages (RFC 3261 section 18.3, RFC 5626 section 3.5.1).
//! On a stream Content-Length says where a message ends, so one that cannot be trusted
//! ends the stream: everything behind it would be read at a wrong place.

use super::message::LINE_BYTES_MAX;

/// Largest head of a message, start line and header fields, in bytes.
const HEAD_BYTES_MAX: usize = 16_384;
/// Largest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 65_536;

/// What stands at the front of the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Nothing whole yet.
    Wait,
    /// A keep-alive of that many bytes that wants a CR LF back.
    Ping(usize),
    /// Line ends of that many bytes between messages: the answer to a keep-alive.
    Pong(usize),
    /// A message of that many bytes.
    Message(usize),
    /// No message can come of it: close the stream.
    Broken,
}

/// Looks at the front of `bytes`.
#[must_use]
pub fn frame(bytes: &[u8]) -> Frame {
    if bytes.starts_with(b"\r\n\r\n") {
        return Frame::Ping(4);
    }
    if bytes.starts_with(b"\r\n") {
        return Frame::Pong(2);
    }
    let searched = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = searched.windows(4).position(|w| w == b"\r\n\r\n") else {
        let first_line = searched.iter().position(|&b| b == b'\n');
        let endless = first_line.is_none() && bytes.len() > LINE_BYTES_MAX;
        return if endless || bytes.len() >= HEAD_BYTES_MAX {
            Frame::Broken
        } else {
            Frame::Wait
        };
    };
    let head = bytes.get(..end).unwrap_or_default();
    let Some(body) = content_length(head) else {
        return Frame::Broken;
    };
    let whole = end + 4 + body;
    if whole > MESSAGE_BYTES_MAX {
        Frame::Broken
    } else if bytes.len() < whole {
        Frame::Wait
    } else {
        Frame::Message(whole)
    }
}

/// The one Content-Length of a head; 0 if there is none. `None` if it is no number, is
/// folded, or there are two.
fn content_length(head: &[u8]) -> Option<usize> {
    let mut found = None;
    let mut lines = head.split(|&b| b == b'\n').peekable();
    while let Some(line) = lines.next() {
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            continue;
        };
        let (name, value) = line.split_at_checked(colon)?;
        let name = name.trim_ascii();
        if !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"l") {
            continue;
        }
        let folded = lines
            .peek()
            .is_some_and(|next| next.starts_with(b" ") || next.starts_with(b"\t"));
        let text = std::str::from_utf8(value.get(1..)?).ok()?.trim();
        let plain = (1..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if folded || !plain || found.is_some() {
            return None;
        }
        found = Some(text.parse().ok()?);
    }
    Some(found.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: &str, body: &str) -> Vec<u8> {
        format!("INVITE sip:a@b SIP/2.0\r\nVia: x\r\n{length}\r\n\r\n{body}").into_bytes()
    }

    #[test]
    fn a_message_is_cut_at_its_length_and_not_before_its_last_byte() {
        let whole = message("Content-Length: 5", "v=0\r\n");
        for end in 0..whole.len() {
            assert_eq!(frame(&whole[..end]), Frame::Wait, "{end}");
        }
        assert_eq!(frame(&whole), Frame::Message(whole.len()));
        let two = [whole.clone(), whole.clone()].concat();
        assert_eq!(frame(&two), Frame::Message(whole.len()));
    }

    #[test]
    fn the_length_is_read_in_each_of_its_forms() {
        for (field, body) in [
            ("l: 3", 3),
            ("CONTENT-LENGTH :3", 3),
            ("Content-Length:\t003 ", 3),
            ("Subject: none", 0),
        ] {
            let bytes = message(field, "abcdef");
            assert_eq!(
                frame(&bytes),
                Frame::Message(bytes.len() - 6 + body),
                "{field}"
            );
        }
    }

    #[test]
    fn a_length_that_cannot_be_trusted_breaks_the_stream() {
        for field in [
            "Content-Length: -1",
            "Content-Length: +1",
            "Content-Length: 1 2",
            "Content-Length: 0x10",
            "Content-Length:",
            "Content-Length: 9999999",
            "Content-Length: 65530",
            "Content-Length: 1\r\nl: 1",
            "Content-Length: 1\r\n 0",
        ] {
            assert_eq!(frame(&message(field, "abc")), Frame::Broken, "{field}");
        }
    }

    #[test]
    fn keep_alives_stand_between_messages() {
        assert_eq!(frame(b"\r\n\r\nINVITE"), Frame::Ping(4));
        assert_eq!(frame(b"\r\nINVITE"), Frame::Pong(2));
        assert_eq!(frame(b"\r"), Frame::Wait);
        assert_eq!(frame(b""), Frame::Wait);
    }

    #[test]
    fn a_head_without_end_breaks_the_stream() {
        assert_eq!(frame(&vec![b'a'; LINE_BYTES_MAX]), Frame::Wait);
        assert_eq!(frame(&vec![b'a'; LINE_BYTES_MAX + 1]), Frame::Broken);
        let lines = b"a: b\r\n".repeat(HEAD_BYTES_MAX / 6);
        assert_eq!(frame(&lines), Frame::Wait);
        let lines = b"a: b\r\n".repeat(HEAD_BYTES_MAX / 6 + 1);
        assert_eq!(frame(&lines), Frame::Broken);
    }
}
