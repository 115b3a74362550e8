//! What a transfer asks for (RFC 3515, RFC 3891) and what is told of it (RFC 3420).

use super::address::{Address, escape};

/// Longest Call-ID and tag of a Replaces, bytes.
const TEXT_BYTES_MAX: usize = 256;

/// A dialog that is to be replaced, as the one who replaces it sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// Call-ID.
    pub call_id: String,
    /// Tag of the one who is asked: ours.
    pub to_tag: String,
    /// Tag of the other side.
    pub from_tag: String,
    /// Only if it is not answered yet.
    pub early_only: bool,
}

impl Replaces {
    /// Reads `call-id;to-tag=a;from-tag=b`. `None` without exactly these (RFC 3891 section 6.1).
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next().filter(|id| is_short(id))?;
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for part in parts {
            let (name, text) = part.split_once('=').unwrap_or((part, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "to-tag" if to_tag.is_none() => to_tag = Some(text.trim()),
                "from-tag" if from_tag.is_none() => from_tag = Some(text.trim()),
                "to-tag" | "from-tag" => return None,
                "early-only" => early_only = true,
                _ => {}
            }
        }
        Some(Replaces {
            call_id: call_id.to_owned(),
            to_tag: to_tag.filter(|t| is_short(t))?.to_owned(),
            from_tag: from_tag.filter(|t| is_short(t))?.to_owned(),
            early_only,
        })
    }
}

/// A Refer-To that wants the one who is asked to take the place of somebody in a call:
/// `replaces` as the other side of that call, reached at `uri`, sees it.
#[must_use]
pub fn refer_to(uri: &str, replaces: &Replaces) -> String {
    let Replaces {
        call_id,
        to_tag,
        from_tag,
        ..
    } = replaces;
    let uri = uri.split_once('?').map_or(uri, |(uri, _)| uri);
    let value = escape(&format!("{call_id};to-tag={to_tag};from-tag={from_tag}"));
    format!("<{uri}?Replaces={value}>")
}

fn is_short(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len())
}

/// Where a REFER wants the far end to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To whoever is called so: the user part of a URI.
    User(String),
    /// To the far end of this dialog: an attended transfer.
    Dialog(Replaces),
}

/// Reads a Refer-To. `None` for what is no call: another method, another scheme, no user.
#[must_use]
pub fn target(refer_to: &str) -> Option<Target> {
    let address = Address::parse(refer_to)?;
    let (_, rest) = address.uri.split_once(':')?;
    let parameters = rest.split(['?', ';']).skip(1);
    let mut methods = parameters
        .filter_map(|p| p.split_once('='))
        .filter(|(n, _)| n.eq_ignore_ascii_case("method"));
    if methods.any(|(_, method)| method != "INVITE") {
        return None;
    }
    if let Some(replaces) = address.header("Replaces") {
        return Replaces::parse(&replaces).map(Target::Dialog);
    }
    let user = address.user().filter(|user| is_short(user))?;
    Some(Target::User(user.to_owned()))
}

/// The status line a NOTIFY carries.
#[must_use]
pub fn fragment(code: u16) -> String {
    let reason = match code {
        100 => "Trying",
        180 => "Ringing",
        200 => "OK",
        486 => "Busy Here",
        487 => "Request Terminated",
        503 => "Service Unavailable",
        603 => "Decline",
        _ => "Result",
    };
    format!("SIP/2.0 {code} {reason}\r\n")
}

/// The status code a NOTIFY tells, 100-699.
#[must_use]
pub fn told(body: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(body).ok()?;
    let code = text.strip_prefix("SIP/2.0 ")?.get(..3)?;
    let code: u16 = code
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| code.parse().ok())??;
    (100..700).contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refer_names_a_user_or_a_dialog() {
        let user = |name: &str| Some(Target::User(name.into()));
        let dialog = Replaces {
            call_id: "c@d".into(),
            to_tag: "1".into(),
            from_tag: "2".into(),
            early_only: false,
        };
        for (text, want) in [
            ("<sip:bob@h>", user("bob")),
            ("sip:+49301@h", user("+49301")),
            ("<tel:+49301>", user("+49301")),
            ("<sip:bob@h;method=INVITE>", user("bob")),
            ("<sip:bob@h;method=BYE>", None),
            ("<sip:h>", None),
            ("<http://h>", None),
            ("", None),
            (
                "<sip:bob@h?Replaces=c%40d%3Bto-tag%3D1%3Bfrom-tag%3D2>",
                Some(Target::Dialog(dialog)),
            ),
            ("<sip:bob@h?Replaces=c%40d%3Bto-tag%3D1>", None),
        ] {
            assert_eq!(target(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_to_be_replaced_is_read_as_it_was_written() {
        let replaces = Replaces {
            call_id: "a b%c&d=e@f".into(),
            to_tag: "t>1".into(),
            from_tag: "\u{e9}".into(),
            early_only: false,
        };
        let text = refer_to("sip:bob@h;transport=tcp?Subject=x", &replaces);
        assert!(text.starts_with("<sip:bob@h;transport=tcp?Replaces=a%20b%25c%26d%3De%40f%3B"));
        assert_eq!(target(&text), Some(Target::Dialog(replaces)));
    }

    #[test]
    fn a_dialog_to_replace_needs_both_tags_once() {
        let full = Replaces::parse("c@d ; from-tag=2;To-Tag=1;early-only").unwrap();
        assert_eq!((full.to_tag.as_str(), full.from_tag.as_str()), ("1", "2"));
        assert!(full.early_only);
        for bad in [
            "",
            "c",
            "c;to-tag=1",
            "c;to-tag=;from-tag=2",
            "c;to-tag=1;from-tag=2;to-tag=3",
            ";to-tag=1;from-tag=2",
        ] {
            assert_eq!(Replaces::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_told_of_a_transfer_can_be_read_again() {
        for code in [100, 180, 200, 486, 603, 699] {
            assert_eq!(told(fragment(code).as_bytes()), Some(code));
        }
        for bad in [
            "",
            "SIP/2.0 ",
            "SIP/2.0 20",
            "SIP/2.0 +20 x",
            "SIP/2.0 999 x",
            "HTTP/1.1 200",
        ] {
            assert_eq!(told(bad.as_bytes()), None, "{bad}");
        }
    }
}
