//! Addresses of header fields: `"Name" <sip:user@host;p>;tag=x`, and lists of them
//! (RFC 3261 section 20.10).

/// An address and the parameters of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The URI, without angle brackets; its own parameters and header fields are part of it.
    pub uri: &'a str,
    /// Parameters after it: names as written, values as written, quotes included.
    pub parameters: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Address<'a> {
    /// Reads one address. `None` if it is a list, its quotes or brackets do not close, or
    /// it has no URI.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let [text] = split(text, ',')?[..] else {
            return None;
        };
        let parts = split(text, ';')?;
        let (first, rest) = parts.split_first()?;
        let uri = match first.split_once('<') {
            Some(_) => {
                let open = unquoted(first, '<')?;
                let inner = first.get(open + 1..)?;
                inner.strip_suffix('>')?
            }
            // Without brackets everything after a semicolon belongs to the field, and
            // header fields cannot be told from its own (section 20.10).
            None if first.contains(['?', ',']) => return None,
            None => first,
        };
        let parameters = rest.iter().map(|p| match p.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (p.trim(), None),
        });
        let uri = uri.trim();
        (!uri.is_empty() && !uri.contains(' ')).then(|| Address {
            uri,
            parameters: parameters.collect(),
        })
    }

    /// Value of a parameter; empty if it has none.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut found = self.parameters.iter();
        let found = found.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.unwrap_or_default())
    }

    /// User part of its `sip:` or `sips:` URI, or the number of its `tel:` URI.
    #[must_use]
    pub fn user(&self) -> Option<&'a str> {
        let (scheme, rest) = self.uri.split_once(':')?;
        let user = match scheme.to_ascii_lowercase().as_str() {
            "tel" => rest.split(';').next(),
            "sip" | "sips" => rest
                .split_once('@')
                .map(|(user, _)| user.split([':', ';']).next().unwrap_or(user)),
            _ => None,
        };
        user.filter(|user| !user.is_empty())
    }

    /// A header field that the URI asks for, `?Name=value`, with its escapes undone.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, fields) = self.uri.split_once('?')?;
        let field = fields.split('&').find_map(|f| {
            let (n, value) = f.split_once('=')?;
            n.eq_ignore_ascii_case(name).then_some(value)
        });
        unescape(field?)
    }

    /// The URI without the header fields it asks for.
    #[must_use]
    pub fn bare_uri(&self) -> &'a str {
        self.uri.split_once('?').map_or(self.uri, |(uri, _)| uri)
    }
}

/// The members of a list of addresses. `None` if quotes or brackets do not close.
#[must_use]
pub fn list(text: &str) -> Option<Vec<&str>> {
    split(text, ',')
}

/// Splits outside quotes and angle brackets.
fn split(text: &str, at: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    let mut parts = Vec::new();
    let mut begin = 0;
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !angle => quoted = !quoted,
            _ if quoted => {}
            '<' if angle => return None,
            '<' => angle = true,
            '>' if !angle => return None,
            '>' => angle = false,
            c if c == at && !angle => {
                parts.push(text.get(begin..index)?.trim());
                begin = index + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..)?.trim());
    (!quoted && !angle).then_some(parts)
}

/// Where a character stands outside quotes.
fn unquoted(text: &str, wanted: char) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices().find_map(|(index, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == wanted && !quoted => return Some(index),
            _ => {}
        }
        None
    })
}

/// Writes as `%HH` what a header field of a URI cannot hold (RFC 3261 section 25.1).
pub(super) fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                escaped.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// Undoes `%HH`. `None` for a broken escape, a control character or no UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next()?, rest.next()?];
            let pair = std::str::from_utf8(&pair).ok()?;
            if pair.starts_with('+') {
                return None;
            }
            bytes.push(u8::from_str_radix(pair, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains(|c: char| c.is_control())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_brackets_and_parameters_are_told_apart() {
        for (text, uri, user, tag) in [
            ("<sip:a@b;p=1>;tag=x", "sip:a@b;p=1", Some("a"), Some("x")),
            ("sip:a@b;tag=x", "sip:a@b", Some("a"), Some("x")),
            (
                r#""A <\" ;B" <sips:a:pw@b>; tag = x"#,
                "sips:a:pw@b",
                Some("a"),
                Some("x"),
            ),
            (
                "Ada Lovelace <tel:+49;x=1>",
                "tel:+49;x=1",
                Some("+49"),
                None,
            ),
            ("<sip:b>;lr", "sip:b", None, None),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.uri, address.user()), (uri, user), "{text}");
            assert_eq!(address.parameter("Tag"), tag, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for bad in [
            "",
            "<>",
            "<sip:a@b",
            "sip:a@b>",
            "\"a <sip:a@b>",
            "<sip:a@b> x",
            "<sip:a@b>, <sip:c@d>",
            "sip:a@b?X=1",
            "<<sip:a@b>>",
            "sip: a@b",
        ] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn header_fields_of_a_uri_are_unescaped() {
        let text = "<sip:a@b?X=1&Replaces=c%40d%3Bto-tag%3D1%3Bfrom-tag%3D2>";
        let address = Address::parse(text).unwrap();
        let replaces = address.header("replaces");
        assert_eq!(replaces.as_deref(), Some("c@d;to-tag=1;from-tag=2"));
        assert_eq!(address.bare_uri(), "sip:a@b");
        for bad in ["%0d%0a", "%4", "%+4", "%ff"] {
            let text = format!("<sip:a@b?X={bad}>");
            assert_eq!(Address::parse(&text).unwrap().header("X"), None, "{bad}");
        }
    }

    #[test]
    fn lists_are_split_outside_quotes_and_brackets() {
        let parts = list(r#""a, b" <sip:a,b@c>, sip:d@e"#).unwrap();
        assert_eq!(parts, [r#""a, b" <sip:a,b@c>"#, "sip:d@e"]);
        assert_eq!(list("<a, b"), None);
    }
}
