//! What a command line is, before it is parsed.

use memchr::{memchr, memchr2};

/// Whether a line ends in CRLF and holds no other CR and no NUL.
pub(super) fn is_clean(line: &[u8]) -> bool {
    line.strip_suffix(b"\r\n")
        .is_some_and(|text| memchr2(b'\r', 0, text).is_none())
}

pub(super) fn is_bdat(line: &[u8]) -> bool {
    line.get(..4)
        .is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"))
}

/// Tells `<>` from `<postmaster>`, which the parser both gives as an empty address.
pub(super) fn is_null_path(line: &[u8]) -> bool {
    memchr(b'<', line).is_some_and(|at| line.get(at + 1) == Some(&b'>'))
}
