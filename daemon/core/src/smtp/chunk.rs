//! A message that comes in counted pieces (CHUNKING, RFC 3030). No byte within a piece is a
//! command or an end; what a line may not hold after DATA it may not hold here either.

use memchr::memchr3;

use super::data::{End, HOPS_MAX, LINE_BYTES_MAX, hops};

/// A message under way.
#[derive(Debug)]
pub(super) struct Chunks {
    raw: Vec<u8>,
    bytes_max: usize,
    /// Bytes of the present piece that have not come.
    left: usize,
    size: usize,
    is_last: bool,
    read: u64,
    too_large: bool,
    dropped: bool,
}

impl Chunks {
    pub(super) fn new(bytes_max: usize) -> Self {
        Chunks {
            raw: Vec::new(),
            bytes_max,
            left: 0,
            size: 0,
            is_last: false,
            read: 0,
            too_large: false,
            dropped: false,
        }
    }

    /// A piece of so many bytes follows.
    pub(super) fn begin(&mut self, size: usize, is_last: bool) {
        (self.left, self.size, self.is_last) = (size, size, is_last);
        self.too_large |= size > self.bytes_max.saturating_sub(self.raw.len());
    }

    /// Takes what belongs to the present piece; how much that was.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = self.left.min(bytes.len());
        self.left -= taken;
        self.read += taken as u64;
        if self.too_large || self.dropped {
            self.raw = Vec::new();
        } else {
            self.raw
                .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        }
        taken
    }

    /// Whether the present piece is whole: commands follow.
    pub(super) fn is_between(&self) -> bool {
        self.left == 0
    }

    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.too_large
    }

    /// Size of the present piece.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Bytes taken off the wire so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }

    /// Bytes kept in memory.
    pub(super) fn held(&self) -> usize {
        self.raw.capacity()
    }

    /// Keeps nothing of this message.
    pub(super) fn drop_rest(&mut self) {
        self.dropped = true;
        self.raw = Vec::new();
    }

    /// What came of it, once the last piece is whole.
    pub(super) fn finish(self) -> End {
        match () {
            () if self.too_large => End::TooLarge,
            () if self.dropped => End::Dropped,
            () if !is_lines(&self.raw) => End::Damaged,
            () if hops(&self.raw) > HOPS_MAX => End::Circling,
            () => End::Whole(self.raw),
        }
    }
}

/// Whether CR and LF stand only together, there is no NUL, and no line is endless.
fn is_lines(raw: &[u8]) -> bool {
    let (mut at, mut line) = (0, 0);
    while let Some(found) = raw
        .get(at..)
        .and_then(|rest| memchr3(b'\r', b'\n', 0, rest))
    {
        let end = at + found;
        if raw.get(end..end + 2) != Some(b"\r\n") || end - line > LINE_BYTES_MAX {
            return false;
        }
        at = end + 2;
        line = at;
    }
    raw.len() - line.min(raw.len()) <= LINE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pieces: &[&[u8]], bytes_max: usize) -> End {
        let mut chunks = Chunks::new(bytes_max);
        for (at, piece) in pieces.iter().enumerate() {
            chunks.begin(piece.len(), at + 1 == pieces.len());
            assert_eq!(chunks.push(piece), piece.len());
            assert!(chunks.is_between());
        }
        chunks.finish()
    }

    #[test]
    fn pieces_make_a_message_and_damage_is_seen_across_them() {
        let good = whole(&[b"A: b\r", b"\n\r\nx\r\n.\r\n", b""], 100);
        assert_eq!(good, End::Whole(b"A: b\r\n\r\nx\r\n.\r\n".to_vec()));
        for bad in [&b"a\nb"[..], b"a\rb", b"a\0b", b"a\r", b"\n"] {
            assert_eq!(whole(&[bad], 100), End::Damaged, "{bad:?}");
        }
        assert_eq!(whole(&[b"a\r", b"b\r\n"], 100), End::Damaged);
        assert_eq!(whole(&[b"12345", b"6"], 5), End::TooLarge);
        assert_eq!(
            whole(&[&vec![b'a'; LINE_BYTES_MAX + 1]], 1 << 22),
            End::Damaged
        );
        let circle = b"Received: x\r\n".repeat(HOPS_MAX + 1);
        assert_eq!(whole(&[&circle], 1 << 20), End::Circling);
    }
}
