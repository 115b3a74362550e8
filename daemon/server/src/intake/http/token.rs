//! Form tokens: a request is made only from a form that we gave out a moment ago. Without
//! them any web page could make its visitors' browsers order calls to somebody's number.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use helpline_core::time::Wall;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// People need a moment to fill in a form; programs do not.
const AGE_MIN: Duration = Duration::from_secs(3);
/// Older forms are shown again, with every value kept.
const AGE_MAX: Duration = Duration::from_secs(2 * 3_600);
/// Requests that one form may make: somebody asks for himself, and perhaps for a second number.
const USES_MAX: u32 = 2;
/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 120;
/// Bytes of the keyed hash that a token carries.
const TAG_BYTES: usize = 16;

/// The key of form tokens: random, kept in memory only. After a restart a form that is still
/// open is shown once more.
pub(super) struct FormKey {
    key: [u8; 32],
    /// Tokens that have made requests, when they are too old, and how many each made.
    used: Mutex<BTreeMap<String, (Wall, u32)>>,
}

impl FormKey {
    /// A key from the operating system.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(FormKey::of(key))
    }

    fn of(key: [u8; 32]) -> Self {
        FormKey {
            key,
            used: Mutex::default(),
        }
    }

    /// The token of a form shown at `now`.
    pub(super) fn token(&self, now: Wall) -> String {
        // Two visits in one millisecond are two.
        let issued = format!("{}~{}", now.millis(), nonce());
        let tag = self.tag(&issued);
        format!(
            "{issued}.{}",
            BASE64URL_NOPAD.encode(tag.get(..TAG_BYTES).unwrap_or(&tag))
        )
    }

    /// The token of a form whose values were typed before (a confirm page): usable at once.
    pub(super) fn token_of_confirm(&self, now: Wall) -> String {
        self.token(now - AGE_MIN)
    }

    /// A form with this token has made a request; a fresh one is needed before long.
    pub(super) fn count(&self, token: &str, now: Wall) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, (until, _)| *until > now);
        used.entry(token.to_owned()).or_insert((now + AGE_MAX, 0)).1 += 1;
    }

    fn is_used_up(&self, token: &str) -> bool {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(token).is_some_and(|(_, uses)| *uses >= USES_MAX)
    }

    /// Whether `token` is ours, of the right age, and not used up.
    pub(super) fn is_good(&self, token: &str, now: Wall) -> bool {
        let Some((issued, tag)) = token
            .split_once('.')
            .filter(|_| token.len() < TOKEN_BYTES_MAX)
        else {
            return false;
        };
        let millis = issued.split('~').next().unwrap_or_default().parse();
        let (Ok(tag), Ok(millis)) = (BASE64URL_NOPAD.decode(tag.as_bytes()), millis) else {
            return false;
        };
        let Some(mac) = self.mac(issued) else {
            return false;
        };
        let issued = Wall::from_millis(millis);
        // The comparison takes the same time for every tag.
        tag.len() == TAG_BYTES
            && mac.verify_truncated_left(&tag).is_ok()
            && issued + AGE_MIN <= now
            && now.since(issued) <= AGE_MAX
            && !self.is_used_up(token)
    }

    fn tag(&self, issued: &str) -> Vec<u8> {
        self.mac(issued)
            .map(|mac| mac.finalize().into_bytes().to_vec())
            .unwrap_or_default()
    }

    fn mac(&self, issued: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(b"form ");
        mac.update(issued.as_bytes());
        Some(mac)
    }
}

/// A random name of 128 bits: the nonce of a form.
pub(super) fn nonce() -> String {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => BASE64URL_NOPAD.encode(&bytes),
        // Without a nonce a double click may give two requests; the line merges them.
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_good_between_three_seconds_and_two_hours() {
        let key = FormKey::of([7; 32]);
        let start = Wall::from_millis(1_795_440_000_000);
        let token = key.token(start);
        let after = |seconds| key.is_good(&token, start + Duration::from_secs(seconds));
        assert!(!after(2) && after(3) && after(7200) && !after(7201));
        assert!(key.is_good(&key.token_of_confirm(start), start));
        assert!(!FormKey::of([8; 32]).is_good(&token, start + AGE_MIN));
        for bad in [
            "",
            ".",
            "1.",
            "1795440000000.",
            "x.y",
            &token[..token.len() - 4],
        ] {
            assert!(!key.is_good(bad, start + AGE_MIN), "{bad}");
        }
        let moved = token.replacen("1795440000000", "1795439000000", 1);
        assert!(!key.is_good(&moved, start));
    }

    #[test]
    fn a_form_makes_two_requests_and_no_third() {
        let key = FormKey::of([7; 32]);
        let start = Wall::from_millis(1_795_440_000_000);
        let (token, other) = (key.token_of_confirm(start), key.token_of_confirm(start));
        for uses in 0..3 {
            assert_eq!(key.is_good(&token, start), uses < 2, "after {uses}");
            key.count(&token, start);
        }
        assert!(key.is_good(&other, start), "another visit");
        // What is too old anyway is not kept.
        key.count(&other, start + AGE_MAX);
        assert_eq!(key.used.lock().unwrap().len(), 1);
    }
}
