//! The shape of a SIP message (RFC 3261 section 7), read strictly: CR LF line ends, no
//! folding, no control characters. This is not a parser for the call, it is what
//! the gate looks at before the stack sees a datagram.

/// Longest line in bytes.
pub const LINE_BYTES_MAX: usize = 4_096;
/// Most header fields of a message.
pub const HEADERS_MAX: usize = 200;

/// A message cut into its parts; every piece borrows from the datagram.
#[derive(Debug)]
pub struct Message<'a> {
    /// First line.
    pub start: StartLine<'a>,
    /// Header fields in order: name as written, value without outer blanks.
    pub headers: Vec<(&'a str, &'a str)>,
    /// Everything after the empty line.
    pub body: &'a [u8],
}

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// `METHOD uri version`.
    Request {
        /// Method as written (methods are case-sensitive).
        method: &'a str,
        /// Request-URI.
        uri: &'a str,
        /// `SIP/2.0`, or whatever stood there.
        version: &'a str,
    },
    /// `SIP/2.0 code reason`.
    Response {
        /// Status code, 100-699.
        code: u16,
    },
}

/// Why a datagram has not the shape of a SIP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The first line is neither a request nor a status line.
    #[error("no start line")]
    StartLine,
    /// A bad byte, a folded or nameless line, or a blank before the colon.
    #[error("bad header line")]
    HeaderLine,
    /// A line or the number of lines is over the limit.
    #[error("too long")]
    TooLong,
}

/// Cuts a datagram into start line, header fields and body.
/// With a broken header the fields read so far come along: they may be enough to answer.
///
/// # Errors
/// [`ShapeError`] and, when the start line could be read, what was read until then.
pub fn read(datagram: &[u8]) -> Result<Message<'_>, (ShapeError, Option<Message<'_>>)> {
    let (head, body) = split_head(datagram);
    let mut lines = head.split(|&b| b == b'\n');
    let first = lines.next().and_then(|l| text_line(l).ok());
    let Some(start) = first.and_then(start_line) else {
        return Err((ShapeError::StartLine, None));
    };
    let mut message = Message {
        start,
        headers: Vec::with_capacity(16),
        body,
    };
    let mut fault = None;
    for line in lines {
        let field = text_line(line).and_then(header_line);
        match field {
            Ok(_) if message.headers.len() == HEADERS_MAX => {
                return Err((ShapeError::TooLong, Some(message)));
            }
            Ok(field) => message.headers.push(field),
            // The rest is still worth reading, so that an answer finds what it copies.
            Err(first) => fault = fault.or(Some(first)),
        }
    }
    match fault {
        Some(fault) => Err((fault, Some(message))),
        None => Ok(message),
    }
}

impl<'a> Message<'a> {
    /// Values of all fields named `long`, or `short` in the compact form (RFC 3261 section 7.3.3).
    pub fn all(&self, long: &str, short: Option<&str>) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(name, _)| {
                name.eq_ignore_ascii_case(long)
                    || short.is_some_and(|s| name.eq_ignore_ascii_case(s))
            })
            .map(|(_, value)| *value)
    }

    /// Value of the first field of that name.
    #[must_use]
    pub fn first(&self, long: &str, short: Option<&str>) -> Option<&'a str> {
        self.all(long, short).next()
    }
}

fn split_head(datagram: &[u8]) -> (&[u8], &[u8]) {
    let end = datagram.windows(4).position(|w| w == b"\r\n\r\n");
    match end {
        // The head keeps the CR of its last line, as every other line does.
        Some(at) => datagram
            .split_at_checked(at + 1)
            .map_or((datagram, &[]), |(h, rest)| {
                (h, rest.get(3..).unwrap_or_default())
            }),
        None => (datagram.strip_suffix(b"\n").unwrap_or(datagram), &[]),
    }
}

/// A line without its CR: UTF-8, no NUL, no bare CR, no other control character but tab.
fn text_line(line: &[u8]) -> Result<&str, ShapeError> {
    let line = line.strip_suffix(b"\r").ok_or(ShapeError::HeaderLine)?;
    if line.len() > LINE_BYTES_MAX {
        return Err(ShapeError::TooLong);
    }
    if line.iter().any(|&b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        return Err(ShapeError::HeaderLine);
    }
    std::str::from_utf8(line).map_err(|_| ShapeError::HeaderLine)
}

fn start_line(line: &str) -> Option<StartLine<'_>> {
    if let Some(rest) = line.strip_prefix("SIP/2.0 ") {
        let code = rest.split(' ').next()?;
        let code: u16 = (code.len() == 3).then(|| code.parse().ok())??;
        return (100..700)
            .contains(&code)
            .then_some(StartLine::Response { code });
    }
    let mut parts = line.split(' ');
    let (method, uri, version) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && !uri.is_empty();
    (whole && is_token(method) && version.starts_with("SIP/")).then_some(StartLine::Request {
        method,
        uri,
        version,
    })
}

fn header_line(line: &str) -> Result<(&str, &str), ShapeError> {
    let (name, value) = line.split_once(':').ok_or(ShapeError::HeaderLine)?;
    // A blank before the colon, a control byte in the name and a folded line all end
    // here: two readers could understand them differently.
    if !is_token(name) {
        return Err(ShapeError::HeaderLine);
    }
    Ok((name, value.trim_matches([' ', '\t'])))
}

/// `token` of RFC 3261 section 25.1.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_cut_into_its_parts() {
        let m = read(b"INVITE sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP h\r\nTo:\t<sip:a@b> \r\n\r\nbody")
            .unwrap();
        assert_eq!(
            m.start,
            StartLine::Request {
                method: "INVITE",
                uri: "sip:a@b",
                version: "SIP/2.0"
            }
        );
        assert_eq!(m.first("Via", Some("v")), Some("SIP/2.0/UDP h"));
        assert_eq!(m.first("to", None), Some("<sip:a@b>"));
        assert_eq!(m.body, b"body");
    }

    #[test]
    fn control_characters_blanks_and_folding_in_names_are_refused() {
        for bad in [
            &b"OPTIONS sip:a SIP/2.0\r\nX\x01: a\r\n\r\n"[..],
            b"OPTIONS sip:a SIP/2.0\r\nX-Foo : a\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nX: a\r\n b\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nX: a\0b\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nX: a\rb\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nX: a\nY: b\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nX: \xff\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nno colon\r\n\r\n",
        ] {
            let (fault, partial) = read(bad).unwrap_err();
            assert_eq!(fault, ShapeError::HeaderLine, "{bad:?}");
            assert!(partial.is_some());
        }
    }

    #[test]
    fn lines_and_their_number_are_limited() {
        let long = format!("OPTIONS sip:a SIP/2.0\r\nX: {}\r\n\r\n", "a".repeat(4_100));
        assert_eq!(read(long.as_bytes()).unwrap_err().0, ShapeError::TooLong);
        let many = format!("OPTIONS sip:a SIP/2.0\r\n{}\r\n", "X: a\r\n".repeat(201));
        assert_eq!(read(many.as_bytes()).unwrap_err().0, ShapeError::TooLong);
    }

    #[test]
    fn status_lines_need_three_digits() {
        assert!(read(b"SIP/2.0 200 OK\r\n\r\n").is_ok());
        for bad in [
            "SIP/2.0 20 OK",
            "SIP/2.0 2000 OK",
            "SIP/2.0 999 X",
            "SIP/2.0 abc",
        ] {
            assert!(read(format!("{bad}\r\n\r\n").as_bytes()).is_err(), "{bad}");
        }
    }
}
