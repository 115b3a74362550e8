//! `Authentication-Results` (RFC 8601) that a relay of the operator's wrote. Only the topmost
//! one of a believed authserv-id counts: a sender can write any number of others below it.

use serde::Serialize;

use super::MailContext;
use super::address::address_key;
use super::headers::Headers;

/// What checks of a message's origin gave, in the words of RFC 8601.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Authentication {
    /// Whether the client may send for the envelope sender (RFC 7208).
    pub spf: String,
    /// Whether a signature of the From domain holds (RFC 6376).
    pub dkim: String,
    /// What the From domain's policy says (RFC 7489).
    pub dmarc: String,
    /// `header` or `dns`.
    pub method: &'static str,
    /// A signature that holds is of the From domain, or of a domain above or below it.
    #[serde(skip)]
    pub is_aligned: bool,
}

/// What the checks come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// The From domain vouches for the message.
    Pass,
    /// Nothing is published, or nothing was checked.
    #[default]
    None,
    /// It is forged, as far as its domain says.
    Fail,
    /// It could not be found out for now.
    TempError,
}

const RESULTS: [&str; 9] = [
    "pass",
    "fail",
    "softfail",
    "neutral",
    "none",
    "temperror",
    "permerror",
    "policy",
    "hardfail",
];

impl Proof {
    /// The word of metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Proof::Pass => "pass",
            Proof::None => "none",
            Proof::Fail => "fail",
            Proof::TempError => "temperror",
        }
    }
}

impl Authentication {
    /// What it comes to, by DMARC, else by an aligned signature, else by SPF.
    #[must_use]
    pub fn proof(&self) -> Proof {
        let is_signed = self.dkim == "pass" && self.is_aligned;
        match self.dmarc.as_str() {
            "pass" => Proof::Pass,
            _ if is_signed => Proof::Pass,
            "fail" => Proof::Fail,
            "temperror" => Proof::TempError,
            _ if self.spf == "fail" => Proof::Fail,
            _ if self.spf == "temperror" || self.dkim == "temperror" => Proof::TempError,
            _ => Proof::None,
        }
    }
}

/// What is known of a message's origin: by our own checks, else by a believed relay.
pub(super) fn known(
    headers: &Headers,
    context: &MailContext<'_>,
    from: Option<&str>,
) -> Option<Authentication> {
    match context.checked {
        // Whoever speaks to us directly can have written any header.
        Some(checked) => Some(checked.clone()),
        None => read(headers, context.authserv_ids, from),
    }
}

/// Reads the topmost header, if one of `believed` wrote it.
fn read(headers: &Headers, believed: &[String], from: Option<&str>) -> Option<Authentication> {
    let value = without_comments(headers.first("authentication-results")?);
    let mut parts = split(&value).into_iter();
    let id = parts.next()?;
    let id = id.split_whitespace().next()?.trim_matches('"').to_owned();
    if !believed.iter().any(|own| own.eq_ignore_ascii_case(&id)) {
        return None;
    }
    let mut found = Authentication {
        spf: "none".to_owned(),
        dkim: "none".to_owned(),
        dmarc: "none".to_owned(),
        method: "header",
        is_aligned: false,
    };
    for part in parts {
        let mut words = part.split_whitespace();
        let Some((method, result)) = words.next().and_then(|word| word.split_once('=')) else {
            continue;
        };
        let result = result.to_ascii_lowercase();
        if !RESULTS.contains(&result.as_str()) {
            continue;
        }
        // `dkim/1=pass` names the version of the method.
        match method
            .split('/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_str()
        {
            "spf" => found.spf = result,
            "dmarc" => found.dmarc = result,
            "dkim" => {
                let aligned = result == "pass" && words.any(|word| signs(word, from));
                // One signature that holds is enough, and ours counts most.
                if aligned || (found.dkim != "pass" && !found.is_aligned) {
                    found.dkim = result;
                }
                found.is_aligned |= aligned;
            }
            _ => {}
        }
    }
    Some(found)
}

/// Whether a property names a signing domain that belongs to the From address.
fn signs(property: &str, from: Option<&str>) -> bool {
    let Some((name, value)) = property.split_once('=') else {
        return false;
    };
    let value = value.trim_matches('"').trim_end_matches('.');
    let signer = match name.to_ascii_lowercase().as_str() {
        "header.d" => value,
        "header.i" => value.rsplit_once('@').map_or(value, |(_, domain)| domain),
        _ => return false,
    };
    from.is_some_and(|from| is_aligned(signer, from))
}

/// Whether a signing domain is that of the From address, or one above or below it.
#[must_use]
pub fn is_aligned(signer: &str, from: &str) -> bool {
    let Some((_, domain)) = address_key(from) else {
        return false;
    };
    let signer = signer.to_ascii_lowercase();
    let below = |a: &str, b: &str| a.strip_suffix(b).is_some_and(|rest| rest.ends_with('.'));
    // A domain of one label signs for nobody but itself.
    signer == domain
        || (signer.contains('.') && below(&domain, &signer))
        || (domain.contains('.') && below(&signer, &domain))
}

/// Comments cut, also nested ones; quoted strings stay whole.
fn without_comments(value: &str) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0_u32, false, false);
    for c in value.chars() {
        let special = !std::mem::replace(&mut escaped, false);
        match c {
            '\\' if special => escaped = true,
            '"' if special && depth == 0 => quoted = !quoted,
            '(' if special && !quoted => depth += 1,
            ')' if special && !quoted && depth > 0 => {
                depth -= 1;
                out.push(' ');
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            out.push(c);
        }
    }
    out
}

/// Parts between semicolons that stand in no quoted string.
fn split(value: &str) -> Vec<String> {
    let (mut parts, mut quoted) = (vec![String::new()], false);
    for c in value.chars() {
        quoted ^= c == '"';
        match parts.last_mut() {
            Some(part) if c != ';' || quoted => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(header: &str) -> Option<Authentication> {
        let raw = format!("{header}\r\n\r\n");
        let (headers, _) = Headers::split(raw.as_bytes());
        read(
            &headers,
            &["mx.help.test".to_owned()],
            Some("ada@cust.test"),
        )
    }

    #[test]
    fn the_topmost_one_of_a_believed_relay_counts() {
        let found = results(
            "Authentication-Results: mx.help.test (a; (b)) 1; spf=pass smtp.mailfrom=cust.test;\r\n \
             dkim=pass (ok) header.d=Cust.test header.s=s1; dmarc=pass (p=reject) header.from=cust.test",
        )
        .unwrap();
        assert_eq!(
            (
                found.spf.as_str(),
                found.dkim.as_str(),
                found.dmarc.as_str()
            ),
            ("pass", "pass", "pass")
        );
        assert!(found.is_aligned);
        assert_eq!(found.proof(), Proof::Pass);
        let forged = "Authentication-Results: evil.test; dmarc=pass\r\nAuthentication-Results: mx.help.test; dmarc=fail";
        assert_eq!(results(forged), None, "ours is not the topmost");
        let below = "Authentication-Results: mx.help.test; dmarc=fail\r\nAuthentication-Results: mx.help.test; dmarc=pass";
        assert_eq!(results(below).unwrap().proof(), Proof::Fail);
        assert_eq!(
            results("Authentication-Results: mx.help.test.evil.test; dmarc=pass"),
            None
        );
        assert_eq!(results("Subject: x"), None);
    }

    #[test]
    fn a_header_is_not_believed_where_we_checked_ourselves() {
        let raw = b"Authentication-Results: mx.help.test; dmarc=pass\r\n\r\n";
        let (headers, _) = Headers::split(raw);
        let checked = Authentication {
            spf: "fail".to_owned(),
            dkim: "none".to_owned(),
            dmarc: "fail".to_owned(),
            method: "dns",
            is_aligned: false,
        };
        let believed = ["mx.help.test".to_owned()];
        let mut context = MailContext {
            own_addresses: &[],
            zone: "UTC",
            region: None,
            dial: &crate::phone::DialRules::default(),
            queue: "help",
            received: crate::time::Wall::default(),
            envelope: super::super::Envelope::Unknown,
            authserv_ids: &believed,
            recipients: &[],
            keys: None,
            checked: Some(&checked),
        };
        let from = Some("ada@cust.test");
        assert_eq!(known(&headers, &context, from), Some(checked.clone()));
        context.checked = None;
        let relayed = known(&headers, &context, from).unwrap();
        assert_eq!((relayed.proof(), relayed.method), (Proof::Pass, "header"));
    }

    #[test]
    fn each_way_to_a_proof() {
        for (results_text, proof) in [
            ("none", Proof::None),
            ("spf=pass", Proof::None),
            ("spf=softfail; dkim=none; dmarc=none", Proof::None),
            ("spf=fail", Proof::Fail),
            ("spf=fail; dkim=pass header.d=cust.test", Proof::Pass),
            ("dkim=pass header.i=@mail.cust.test", Proof::Pass),
            ("dkim=pass header.d=other.test", Proof::None),
            ("dkim=pass header.d=test", Proof::None),
            ("dkim=pass header.d=xcust.test", Proof::None),
            (
                "dkim=fail header.d=other.test; dkim=pass header.d=cust.test",
                Proof::Pass,
            ),
            (
                "dkim=pass header.d=cust.test; dkim=fail header.d=other.test",
                Proof::Pass,
            ),
            ("dmarc=temperror", Proof::TempError),
            ("spf=temperror", Proof::TempError),
            ("dmarc=fail; dkim=temperror", Proof::Fail),
            ("dmarc=nonsense; =; spf", Proof::None),
            ("spf=none reason=\"a; dmarc=pass\"", Proof::None),
        ] {
            let found = results(&format!(
                "Authentication-Results: mx.help.test; {results_text}"
            ));
            assert_eq!(found.unwrap().proof(), proof, "{results_text}");
        }
    }
}
