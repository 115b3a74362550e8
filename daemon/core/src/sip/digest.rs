//! Digest challenges (RFC 7616, RFC 8760) on both sides: which challenge is answered and
//! in which words the stack can read it, and reading what a caller answered.

use super::reason::split_quoted;

/// A hash of the digest scheme that we answer; the better one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RFC 2617.
    Md5,
    /// RFC 8760.
    Sha256,
}

impl Algorithm {
    /// The name on the wire.
    #[must_use]
    pub const fn wire(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    fn read(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "MD5" => Some(Algorithm::Md5),
            "SHA-256" | "SHA256" => Some(Algorithm::Sha256),
            _ => None,
        }
    }
}

/// The parameters of a `Digest` header value: names in lower case, values without quotes.
/// `None` for another scheme.
#[must_use]
pub fn parameters(value: &str) -> Option<Vec<(String, String)>> {
    let (scheme, rest) = value.trim().split_once([' ', '\t'])?;
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let pairs = split_quoted(rest, ',').into_iter().filter_map(|p| {
        let (name, text) = p.split_once('=')?;
        let text = text.trim();
        let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        Some((
            name.trim().to_ascii_lowercase(),
            bare.unwrap_or(text).to_owned(),
        ))
    });
    Some(pairs.collect())
}

/// Value of the parameter `name` (lower case).
#[must_use]
pub fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut found = parameters.iter().filter(|(n, _)| n == name);
    found.next().map(|(_, v)| v.as_str())
}

/// The strongest challenge we can answer, rewritten so that the stack reads it:
/// `qop` is the single word `auth`, SHA-256 is spelt `SHA256`. `None` if there is none,
/// or none for the `realm` that is asked for.
#[must_use]
pub fn choose<'a>(
    challenges: impl Iterator<Item = &'a str>,
    realm: Option<&str>,
) -> Option<String> {
    let usable = challenges.filter_map(|c| usable(c, realm));
    usable
        .max_by_key(|(algorithm, _)| *algorithm)
        .map(|(_, text)| text)
}

fn usable(challenge: &str, realm: Option<&str>) -> Option<(Algorithm, String)> {
    let given = parameters(challenge)?;
    let get = |name| parameter(&given, name);
    let named = get("realm")?;
    // What is written between quotes again must not close them.
    let texts = [Some(named), get("nonce"), get("opaque")];
    if !texts.into_iter().flatten().all(is_quotable) {
        return None;
    }
    if realm.is_some_and(|r| r != named) {
        return None;
    }
    let algorithm = Algorithm::read(get("algorithm").unwrap_or("MD5"))?;
    let mut text = format!("Digest realm=\"{named}\", nonce=\"{}\"", get("nonce")?);
    text.push_str(match algorithm {
        Algorithm::Md5 => ", algorithm=MD5",
        Algorithm::Sha256 => ", algorithm=SHA256",
    });
    if let Some(opaque) = get("opaque") {
        text.push_str(&format!(", opaque=\"{opaque}\""));
    }
    if let Some(stale) = get("stale") {
        let stale = stale.eq_ignore_ascii_case("true");
        text.push_str(&format!(", stale={stale}"));
    }
    if let Some(list) = get("qop") {
        // `auth-int` alone cannot be answered: the stack hashes no body.
        if !list
            .split(',')
            .any(|q| q.trim().eq_ignore_ascii_case("auth"))
        {
            return None;
        }
        text.push_str(", qop=\"auth\"");
    }
    Some((algorithm, text))
}

/// Whether a text may stand between double quotes as it is.
fn is_quotable(text: &str) -> bool {
    let mut escaped = false;
    let clean = text.chars().all(|c| {
        let bare = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        !bare && !c.is_control()
    });
    clean && !escaped
}

/// An Authorization value of the stack in the words of the standard:
/// `algorithm=SHA-256`, `qop=auth` without quotes (RFC 7616 section 3.4).
#[must_use]
pub fn to_wire(authorization: &str) -> String {
    let parts = split_quoted(authorization, ',')
        .into_iter()
        .map(|p| match p.trim() {
            "algorithm=SHA256" => " algorithm=SHA-256",
            "qop=\"auth\"" => " qop=auth",
            _ => p,
        });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"Digest realm="a, b", nonce="n\"1", qop="auth-int,auth", algorithm=MD5"#;

    #[test]
    fn a_list_of_qops_becomes_auth() {
        let text = choose([LIST].into_iter(), None).unwrap();
        assert_eq!(
            text,
            r#"Digest realm="a, b", nonce="n\"1", algorithm=MD5, qop="auth""#
        );
    }

    #[test]
    fn the_strongest_known_algorithm_is_taken() {
        let strong = r#"digest Realm="a", nonce="2", algorithm=sha-256, opaque="o", stale=TRUE"#;
        let alien = r#"Digest realm="a", nonce="3", algorithm=SHA-512-256"#;
        let text = choose([LIST, strong, alien, "Basic realm=\"a\""].into_iter(), None);
        assert_eq!(
            text.as_deref(),
            Some(r#"Digest realm="a", nonce="2", algorithm=SHA256, opaque="o", stale=true"#)
        );
    }

    #[test]
    fn another_realm_or_an_unusable_challenge_is_not_answered() {
        assert_eq!(choose([LIST].into_iter(), Some("other")), None);
        assert!(choose([LIST].into_iter(), Some("a, b")).is_some());
        for bad in [
            "",
            "Digest",
            "Digest realm=\"a\"",
            "Digest nonce=\"a\"",
            "Digest realm=\"a\", nonce=\"1\", qop=\"auth-int\"",
            "Digest realm=\"a\", nonce=\"1\", algorithm=MD5-sess",
            "Digest realm=\"a\", nonce=1\", qop=\"auth\"",
            "Digest realm=\"a\", nonce=\"\\\", opaque=\"\"",
        ] {
            assert_eq!(choose([bad].into_iter(), None), None, "{bad}");
        }
    }

    #[test]
    fn what_the_stack_writes_is_put_into_the_words_of_the_standard() {
        let stack = r#"Digest username="u", realm="algorithm=SHA256", algorithm=SHA256, qop="auth", nc=00000001, cnonce="c""#;
        assert_eq!(
            to_wire(stack),
            r#"Digest username="u", realm="algorithm=SHA256", algorithm=SHA-256, qop=auth, nc=00000001, cnonce="c""#
        );
    }
}
