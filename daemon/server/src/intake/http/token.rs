//! Form tokens: a request is made only from a form that we gave out a moment ago. Without
//! them any web page could make its visitors' browsers order calls to somebody's number.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use helpline_core::time::Wall;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// People need a moment to fill in a form; programs do not.
const AGE_MIN: Duration = Duration::from_secs(3);
/// Older forms are shown again, with every value kept.
const AGE_MAX: Duration = Duration::from_secs(2 * 3_600);
/// Bytes of the keyed hash that a token carries.
const TAG_BYTES: usize = 16;

/// The key of form tokens: random, kept in memory only. After a restart a form that is still
/// open is shown once more.
pub(super) struct FormKey([u8; 32]);

impl FormKey {
    /// A key from the operating system.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(FormKey(key))
    }

    /// The token of a form shown at `now`.
    pub(super) fn token(&self, now: Wall) -> String {
        let issued = now.millis().to_string();
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

    /// Whether `token` is ours and of the right age.
    pub(super) fn is_good(&self, token: &str, now: Wall) -> bool {
        let Some((issued, tag)) = token.split_once('.').filter(|_| token.len() < 100) else {
            return false;
        };
        let (Ok(tag), Ok(millis)) = (BASE64URL_NOPAD.decode(tag.as_bytes()), issued.parse()) else {
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
    }

    fn tag(&self, issued: &str) -> Vec<u8> {
        self.mac(issued)
            .map(|mac| mac.finalize().into_bytes().to_vec())
            .unwrap_or_default()
    }

    fn mac(&self, issued: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
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
        let key = FormKey([7; 32]);
        let start = Wall::from_millis(1_795_440_000_000);
        let token = key.token(start);
        let after = |seconds| key.is_good(&token, start + Duration::from_secs(seconds));
        assert!(!after(2) && after(3) && after(7200) && !after(7201));
        assert!(key.is_good(&key.token_of_confirm(start), start));
        assert!(!FormKey([8; 32]).is_good(&token, start + AGE_MIN));
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
}
