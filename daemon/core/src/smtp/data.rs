//! Where a message ends. Only `CRLF . CRLF` does; every other mixture of CR, LF and dots is
//! damage. Two servers that disagree on this let one message carry a second one past the
//! first server's checks (CVE-2023-51764 and its kin), so nothing is guessed or mended here.

use memchr::memchr3;

/// Longest line of a message, in bytes without CRLF.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;
/// Most `Received` lines: beyond that the message runs in a circle (RFC 5321 §6.3).
pub(super) const HOPS_MAX: usize = 50;

/// Where the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the begin of a line.
    LineStart,
    /// Behind a dot at the begin of a line.
    Dot,
    /// Behind `. CR` at the begin of a line.
    DotCr,
    /// Within a line.
    Mid,
    /// Behind a CR within or at the begin of a line.
    Cr,
}

/// How a message came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The message, dots removed.
    Whole(Vec<u8>),
    /// A lone CR, a lone LF, NUL or a line beyond the limit.
    Damaged,
    /// More bytes than allowed.
    TooLarge,
    /// More than [`HOPS_MAX`] `Received` lines.
    Circling,
    /// Let go of while it came in, for want of memory or room.
    Dropped,
}

/// Reads what follows DATA, in pieces of any size.
#[derive(Debug)]
pub(super) struct DataReader {
    state: State,
    raw: Vec<u8>,
    bytes_max: usize,
    line_bytes: usize,
    read: u64,
    damaged: bool,
    too_large: bool,
    dropped: bool,
}

impl DataReader {
    pub(super) fn new(bytes_max: usize) -> Self {
        DataReader {
            state: State::LineStart,
            raw: Vec::new(),
            bytes_max,
            line_bytes: 0,
            read: 0,
            damaged: false,
            too_large: false,
            dropped: false,
        }
    }

    /// Bytes taken off the wire so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }

    /// Bytes kept in memory.
    pub(super) fn held(&self) -> usize {
        self.raw.capacity()
    }

    /// Keeps nothing of this message; the rest is read to its end and thrown away.
    pub(super) fn drop_rest(&mut self) {
        self.dropped = true;
        self.raw = Vec::new();
    }

    /// Whether so much came that draining it is a waste: twice the limit.
    pub(super) fn is_hopeless(&self) -> bool {
        self.read > 2 * self.bytes_max as u64 + 1024
    }

    /// Takes `bytes`. Gives how many belonged to the message when its end is among them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            if self.state == State::Mid {
                let rest = bytes.get(at..).unwrap_or_default();
                let run = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                if run > 0 {
                    self.keep(rest.get(..run).unwrap_or_default());
                    at += run;
                    continue;
                }
            }
            at += 1;
            if self.step(byte) {
                self.read += at as u64;
                return Some(at);
            }
        }
        self.read += bytes.len() as u64;
        None
    }

    /// One byte through the table; true at the end of the message.
    fn step(&mut self, byte: u8) -> bool {
        use State::{Cr, Dot, DotCr, LineStart, Mid};
        self.state = match (self.state, byte) {
            (LineStart, b'.') => Dot,
            (LineStart | Mid, b'\r') => Cr,
            (Dot, b'\r') => DotCr,
            (DotCr, b'\n') => return true,
            (Cr, b'\n') => {
                self.keep(b"\r\n");
                self.line_bytes = 0;
                LineStart
            }
            // A dot before other text was doubled by the sender (RFC 5321 §4.5.2).
            (LineStart | Dot | Mid, byte) if byte != b'\n' && byte != 0 => {
                self.keep(&[byte]);
                Mid
            }
            (DotCr | Cr, b'\r') => {
                self.damaged = true;
                Cr
            }
            (_, _) => {
                self.damaged = true;
                Mid
            }
        };
        false
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.line_bytes += bytes.len();
        self.damaged |= self.line_bytes > LINE_BYTES_MAX + 2;
        self.too_large |= self.raw.len() + bytes.len() > self.bytes_max;
        if self.damaged || self.too_large || self.dropped {
            self.raw = Vec::new();
        } else {
            self.raw.extend_from_slice(bytes);
        }
    }

    /// What came of it, once `push` gave the end.
    pub(super) fn finish(self) -> End {
        match () {
            () if self.damaged => End::Damaged,
            () if self.too_large => End::TooLarge,
            () if self.dropped => End::Dropped,
            () if hops(&self.raw) > HOPS_MAX => End::Circling,
            () => End::Whole(self.raw),
        }
    }
}

/// `Received` lines in the header block.
pub(super) fn hops(raw: &[u8]) -> usize {
    raw.split(|b| *b == b'\n')
        .take_while(|line| !matches!(line, [] | [b'\r']))
        .filter(|line| {
            line.get(..9)
                .is_some_and(|name| name.eq_ignore_ascii_case(b"received:"))
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &[u8]) -> Option<(usize, End)> {
        let mut reader = DataReader::new(1_000_000);
        let end = reader.push(wire)?;
        Some((end, reader.finish()))
    }

    fn read_bytewise(wire: &[u8]) -> Option<(usize, End)> {
        let mut reader = DataReader::new(1_000_000);
        for (at, byte) in wire.iter().enumerate() {
            if reader.push(&[*byte]).is_some() {
                return Some((at + 1, reader.finish()));
            }
        }
        None
    }

    #[test]
    fn only_crlf_dot_crlf_ends_a_message() {
        let endings: [&[u8]; 9] = [
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r\n.\r",
            b"\r\n.\r\r\n",
            b"\r.\r\n",
            b"\n.\r\r\n",
            b"\r\n\0.\r\n",
        ];
        for ending in endings {
            let wire = [
                b"body",
                ending,
                b"MAIL FROM:<evil@x.test>\r\n",
                b"\r\n.\r\n",
            ]
            .concat();
            for got in [read(&wire), read_bytewise(&wire)] {
                assert_eq!(got, Some((wire.len(), End::Damaged)), "{ending:?}");
            }
        }
    }

    #[test]
    fn dots_are_unstuffed_and_an_empty_message_is_one() {
        for (wire, raw) in [
            (&b".\r\n"[..], &b""[..]),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"...a\r\n\r\n.\r\n", b"..a\r\n\r\n"),
            (b"a.b\r\n.c\r\n.\r\n", b"a.b\r\nc\r\n"),
        ] {
            assert_eq!(read(wire), Some((wire.len(), End::Whole(raw.to_vec()))));
            assert_eq!(
                read_bytewise(wire),
                Some((wire.len(), End::Whole(raw.to_vec())))
            );
        }
    }

    #[test]
    fn limits_hold_and_the_end_is_still_found() {
        let mut reader = DataReader::new(10);
        assert_eq!(reader.push(b"0123456789a\r\n.\r\nQUIT"), Some(16));
        assert_eq!(reader.finish(), End::TooLarge);
        let long = [vec![b'x'; LINE_BYTES_MAX + 1], b"\r\n.\r\n".to_vec()].concat();
        let mut reader = DataReader::new(10_000_000);
        reader.push(&long).unwrap();
        assert_eq!(reader.finish(), End::Damaged);
        let circle = [
            "received: x\r\n".repeat(HOPS_MAX + 1),
            "\r\nReceived: y\r\n.\r\n".into(),
        ]
        .concat();
        assert_eq!(read(circle.as_bytes()).unwrap().1, End::Circling);
    }
}
