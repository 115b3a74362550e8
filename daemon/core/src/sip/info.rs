//! INFO bodies that carry a digit: `application/dtmf-relay` and `application/dtmf`.
//! No RFC defines them; gateways send them all the same. A digit is given as the
//! character of its key, so that this module knows nothing of flows.

/// Length assumed when the body names none, in milliseconds.
const MILLIS_DEFAULT: u16 = 160;
/// Longest length believed, in milliseconds.
const MILLIS_MAX: u16 = 6_000;

/// What an INFO request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Info {
    /// Key `0`-`9`, `*`, `#`, `A`-`D` was pressed.
    Digit {
        /// The key's character.
        key: char,
        /// How long it was held, in milliseconds.
        millis: u16,
    },
    /// Nothing for us, but well-formed: an empty INFO (RFC 2976 liveness) or flash.
    Nothing,
    /// A kind of body we do not read: answer 415.
    Unknown,
}

/// Reads an INFO body of the given Content-Type.
#[must_use]
pub fn read(content_type: Option<&str>, body: &[u8]) -> Info {
    let kind = content_type.unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let text = std::str::from_utf8(body).unwrap_or_default();
    match kind.as_str() {
        "application/dtmf-relay" => relay(text),
        "application/dtmf" => digit(text, MILLIS_DEFAULT),
        _ if body.is_empty() => Info::Nothing,
        _ => Info::Unknown,
    }
}

fn relay(text: &str) -> Info {
    let field = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case(name)
                .then_some(value.trim())
        })
    };
    let millis = field("Duration").and_then(|d| d.parse().ok());
    let millis = millis.unwrap_or(MILLIS_DEFAULT).clamp(40, MILLIS_MAX);
    field("Signal").map_or(Info::Nothing, |signal| digit(signal, millis))
}

fn digit(text: &str, millis: u16) -> Info {
    let text = text.trim();
    let key = match text {
        "10" => Some('*'),
        "11" => Some('#'),
        "12" => Some('A'),
        "13" => Some('B'),
        "14" => Some('C'),
        "15" => Some('D'),
        _ => {
            let mut chars = text.chars();
            let first = chars.next().map(|c| c.to_ascii_uppercase());
            first.filter(|c| chars.next().is_none() && "0123456789*#ABCD".contains(*c))
        }
    };
    key.map_or(Info::Nothing, |key| Info::Digit { key, millis })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_in_every_way_gateways_write_them() {
        for (kind, body, want) in [
            (
                "application/dtmf-relay",
                "Signal=5\r\nDuration=160\r\n",
                Some(('5', 160)),
            ),
            (
                "Application/DTMF-Relay; x=y",
                "signal= #\nduration = 90",
                Some(('#', 90)),
            ),
            ("application/dtmf-relay", "Signal=11", Some(('#', 160))),
            (
                "application/dtmf-relay",
                "Signal=1\r\nDuration=99999999",
                Some(('1', 160)),
            ),
            (
                "application/dtmf-relay",
                "Signal=1\r\nDuration=60000",
                Some(('1', 6_000)),
            ),
            ("application/dtmf", " 5\r\n", Some(('5', 160))),
            ("application/dtmf", "10", Some(('*', 160))),
            ("application/dtmf", "d", Some(('D', 160))),
            ("application/dtmf", "16", None),
            ("application/dtmf", "55", None),
            ("application/dtmf", "", None),
            ("application/dtmf-relay", "Duration=5", None),
        ] {
            let want = want.map_or(Info::Nothing, |(key, millis)| Info::Digit { key, millis });
            assert_eq!(read(Some(kind), body.as_bytes()), want, "{kind} {body}");
        }
    }

    #[test]
    fn an_empty_info_is_fine_and_another_kind_is_not() {
        assert_eq!(read(None, b""), Info::Nothing);
        assert_eq!(read(Some("text/plain"), b"5"), Info::Unknown);
        assert_eq!(read(None, b"5"), Info::Unknown);
        assert_eq!(read(Some("application/dtmf"), b"\xff"), Info::Nothing);
    }
}
