//! A way into a mailbox by OAuth 2.0 (RFC 6749 §6): what a token endpoint answers, and how long
//! a token is used.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::time::Wall;

/// A token is replaced so long before it ends.
const REFRESH_BEFORE: Duration = Duration::from_secs(300);
/// What an endpoint calls shorter is taken as this long: it must not be asked all the time.
const LIFE_MIN: Duration = Duration::from_secs(60);
/// How long a token lives whose endpoint does not say.
const LIFE_USUAL: Duration = Duration::from_secs(3_600);
/// Longest life that is believed.
const LIFE_MAX: Duration = Duration::from_secs(86_400);
/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16_384;
/// Longest word of an error that is told.
const WORD_CHARS_MAX: usize = 40;

/// Both tokens of one answer; shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// What a mail server takes.
    pub access: String,
    /// With what the next one is got; some endpoints give a new one each time, after which the
    /// one before is worth nothing.
    pub refresh: String,
    /// From then on a new one is got.
    pub refresh_at: Wall,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Tokens(.., {})", self.refresh_at.rfc3339())
    }
}

/// Why there are no tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// The consent is withdrawn or over, or the client is not known: asking again changes nothing.
    #[error(
        "the token endpoint says {0}: give consent anew and put the new refresh token into refresh_token_file"
    )]
    Revoked(String),
    /// The endpoint is out of order.
    #[error("the token endpoint: {0}")]
    Broken(String),
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
    #[serde(default)]
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Denied {
    error: String,
}

/// The form that asks for new tokens.
#[must_use]
pub fn refresh_form(
    client_id: &str,
    client_secret: Option<&str>,
    scope: Option<&str>,
    refresh: &str,
) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token");
    form.append_pair("client_id", client_id);
    form.append_pair("refresh_token", refresh);
    for (name, value) in [("client_secret", client_secret), ("scope", scope)] {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    form.finish()
}

/// Reads an answer to [`refresh_form`] that came at `now`; `used` is the refresh token sent,
/// which stays when the answer brings none.
///
/// # Errors
/// [`TokenFault`]; it holds no token.
pub fn read_answer(status: u16, body: &[u8], now: Wall, used: &str) -> Result<Tokens, TokenFault> {
    if status != 200 {
        return Err(denied(status, body));
    }
    let odd = |why: &str| TokenFault::Broken(why.to_owned());
    let granted: Granted =
        serde_json::from_slice(body).map_err(|_| odd("its answer holds no access token"))?;
    let refresh = granted.refresh_token.filter(|token| !token.is_empty());
    let refresh = refresh.unwrap_or_else(|| used.to_owned());
    for token in [&granted.access_token, &refresh] {
        // It becomes part of a command.
        let is_plain = token.bytes().all(|c| c.is_ascii_graphic());
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !is_plain {
            return Err(odd("its answer holds no token that can be used"));
        }
    }
    let life = life(granted.expires_in.as_ref());
    Ok(Tokens {
        access: granted.access_token,
        refresh,
        refresh_at: now + (life - REFRESH_BEFORE.min(life / 2)),
    })
}

/// Some endpoints write the number as text.
fn life(expires_in: Option<&serde_json::Value>) -> Duration {
    let seconds = expires_in.and_then(|value| match value {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    });
    let life = seconds.map_or(LIFE_USUAL, Duration::from_secs);
    life.clamp(LIFE_MIN, LIFE_MAX)
}

fn denied(status: u16, body: &[u8]) -> TokenFault {
    let denied: Option<Denied> = serde_json::from_slice(body).ok();
    let word = denied.map(|denied| {
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let word = denied.error.chars().filter(plain).take(WORD_CHARS_MAX);
        word.collect::<String>()
    });
    match word.as_deref() {
        Some(
            "invalid_grant"
            | "invalid_client"
            | "unauthorized_client"
            | "invalid_scope"
            | "unsupported_grant_type",
        ) if (400..500).contains(&status) => TokenFault::Revoked(word.unwrap_or_default()),
        Some(word) => TokenFault::Broken(format!("status {status}, {word}")),
        None => TokenFault::Broken(format!("status {status}")),
    }
}

/// What XOAUTH2 sends first.
#[must_use]
pub fn sasl_text(user: &str, access: &str) -> String {
    format!("user={user}\x01auth=Bearer {access}\x01\x01")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall::from_millis(1_000_000);

    fn granted(body: &str) -> Result<Tokens, TokenFault> {
        read_answer(200, body.as_bytes(), NOW, "old")
    }

    fn used_for(body: &str) -> u64 {
        granted(body).unwrap().refresh_at.since(NOW).as_secs()
    }

    #[test]
    fn a_rotated_refresh_token_takes_the_place_of_the_old_one() {
        let tokens = granted(r#"{"access_token":"a","expires_in":3600,"refresh_token":"new"}"#);
        assert_eq!(tokens.unwrap().refresh, "new");
        let tokens = granted(r#"{"access_token":"a","refresh_token":""}"#).unwrap();
        assert_eq!(
            (tokens.access.as_str(), tokens.refresh.as_str()),
            ("a", "old")
        );
        assert!(!format!("{tokens:?}").contains("old"));
    }

    #[test]
    fn tokens_are_replaced_before_they_end_and_not_all_the_time() {
        assert_eq!(used_for(r#"{"access_token":"a","expires_in":3600}"#), 3_300);
        assert_eq!(
            used_for(r#"{"access_token":"a","expires_in":"3600"}"#),
            3_300
        );
        assert_eq!(used_for(r#"{"access_token":"a"}"#), 3_300);
        assert_eq!(used_for(r#"{"access_token":"a","expires_in":400}"#), 200);
        assert_eq!(used_for(r#"{"access_token":"a","expires_in":0}"#), 30);
        assert_eq!(used_for(r#"{"access_token":"a","expires_in":-5}"#), 3_300);
        let ever = r#"{"access_token":"a","expires_in":18446744073709551615}"#;
        assert_eq!(used_for(ever), 86_100);
    }

    #[test]
    fn only_a_refusal_for_good_ends_the_trying() {
        let refused = |status, body: &str| read_answer(status, body.as_bytes(), NOW, "x");
        for word in ["invalid_grant", "invalid_client", "unauthorized_client"] {
            let body = format!("{{\"error\":\"{word}\",\"error_description\":\"d\"}}");
            assert_eq!(refused(400, &body), Err(TokenFault::Revoked(word.into())));
        }
        for (status, body, why) in [
            (
                400,
                r#"{"error":"temporarily_unavailable"}"#,
                "status 400, temporarily_unavailable",
            ),
            (
                503,
                r#"{"error":"invalid_grant"}"#,
                "status 503, invalid_grant",
            ),
            (500, "<html>", "status 500"),
            (302, "", "status 302"),
            (429, r#"{"error":"slow\r\ndown é"}"#, "status 429, slowdown"),
        ] {
            assert_eq!(refused(status, body), Err(TokenFault::Broken(why.into())));
        }
    }

    #[test]
    fn what_is_no_token_is_not_used() {
        let long = format!(
            "{{\"access_token\":\"{}\"}}",
            "a".repeat(TOKEN_BYTES_MAX + 1)
        );
        for body in [
            "",
            "[]",
            "{}",
            "{\"access_token\":\"\"}",
            "{\"access_token\":7}",
            "{\"access_token\":\"a\\u0001b\"}",
            "{\"access_token\":\"a\",\"refresh_token\":\"a b\"}",
            &long,
        ] {
            assert!(
                matches!(granted(body), Err(TokenFault::Broken(_))),
                "{body}"
            );
        }
    }

    #[test]
    fn the_form_and_the_first_words_are_as_written_down() {
        assert_eq!(
            refresh_form("id", Some("s&x"), Some("https://mail.test/"), "r+1"),
            "grant_type=refresh_token&client_id=id&refresh_token=r%2B1&client_secret=s%26x&scope=https%3A%2F%2Fmail.test%2F"
        );
        assert_eq!(
            sasl_text("a@b.test", "T"),
            "user=a@b.test\x01auth=Bearer T\x01\x01"
        );
    }
}
