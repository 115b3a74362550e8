//! Keys of SRTP in a description (SDES, RFC 4568): one suite, no lifetime shorter than a
//! call, no MKI. A layer of its own: [`unseal`] makes a secure stream look plain to the
//! rest of this module, [`seal`] makes our plain one secure.

use std::fmt;
use std::fmt::Write as _;

use data_encoding::BASE64;

use super::TEXT_BYTES_MAX;

/// The one suite: AES-CM with a 128-bit key, HMAC-SHA1 with an 80-bit tag.
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
const SECURE: &str = "RTP/SAVP";
const PLAIN: &str = "RTP/AVP";
/// Bytes of a master key and of its salt (RFC 3711 section 8.2).
const KEY_BYTES: usize = 16;
const SALT_BYTES: usize = 14;
/// A lifetime of 2^20 packets is nearly six hours, longer than any call.
const LIFETIME_LOG2_MIN: u32 = 20;

/// A master key and its salt. Not shown by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SrtpKey([u8; KEY_BYTES + SALT_BYTES]);

/// The keys of a stream, one a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// Ours, for what we send.
    pub ours: SrtpKey,
    /// The peer's, for what it sends.
    pub theirs: SrtpKey,
}

impl SrtpKey {
    /// A key of these bytes, which must come from the operating system.
    #[must_use]
    pub const fn new(bytes: [u8; 30]) -> Self {
        SrtpKey(bytes)
    }

    /// The master key, 16 bytes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.0.split_at(KEY_BYTES).0
    }

    /// The master salt, 14 bytes.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        self.0.split_at(KEY_BYTES).1
    }

    fn parse(text: &str) -> Option<SrtpKey> {
        let bytes = BASE64.decode(text.as_bytes()).ok()?;
        Some(SrtpKey(bytes.try_into().ok()?))
    }
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SrtpKey(..)")
    }
}

/// Makes the accepted audio stream of our own description secure: `RTP/SAVP`, with our
/// key under `tag`.
#[must_use]
pub fn seal(plain: &str, tag: u32, key: &SrtpKey) -> String {
    let mut text = String::with_capacity(plain.len() + 100);
    let mut open = false;
    let crypto = |text: &mut String| {
        let inline = BASE64.encode(&key.0);
        let _ = write!(text, "a=crypto:{tag} {SUITE} inline:{inline}\r\n"); // a String takes all
    };
    for line in plain.lines() {
        if line.starts_with("m=") && std::mem::take(&mut open) {
            crypto(&mut text);
        }
        match audio(line, PLAIN) {
            Some((head, tail)) => {
                open = true;
                let _ = write!(text, "{head}{SECURE}{tail}\r\n");
            }
            None => {
                let _ = write!(text, "{line}\r\n");
            }
        }
    }
    if open {
        crypto(&mut text);
    }
    text
}

/// Makes the first secure audio stream whose key we can use look plain; its tag and key
/// come along. Without such a stream the text is left as it is, and there is no key.
#[must_use]
pub fn unseal(text: &str) -> (String, Option<(u32, SrtpKey)>) {
    let unchanged = (text.to_owned(), None);
    if text.len() > TEXT_BYTES_MAX {
        return unchanged;
    }
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some((head, tail)) = audio(line, SECURE) else {
            continue;
        };
        let rest = lines.get(at + 1..).unwrap_or_default();
        let section = rest.iter().take_while(|l| !l.starts_with("m="));
        let Some(found) = section.clone().find_map(|l| crypto(l)) else {
            continue;
        };
        let end = at + 1 + section.count();
        let mut plain = String::with_capacity(text.len());
        for (index, line) in lines.iter().enumerate() {
            if index == at {
                let _ = write!(plain, "{head}{PLAIN}{tail}\r\n");
            } else if !(at..end).contains(&index) || !line.starts_with("a=crypto:") {
                let _ = write!(plain, "{line}\r\n");
            }
        }
        return (plain, Some(found));
    }
    unchanged
}

/// The parts of an audio line before and after `protocol`; `None` if it is another line,
/// or a stream that is turned down.
fn audio<'a>(line: &'a str, protocol: &str) -> Option<(&'a str, &'a str)> {
    let rest = line.strip_prefix("m=audio ")?;
    let (port, rest) = rest.split_once(' ')?;
    let end = rest.find(' ').unwrap_or(rest.len());
    let (name, tail) = rest.split_at_checked(end)?;
    let head = line.get(..line.len() - rest.len())?;
    (port != "0" && name.eq_ignore_ascii_case(protocol)).then_some((head, tail))
}

/// Tag and key of `a=crypto:1 SUITE inline:KEY|2^31`, if we can do what it asks.
fn crypto(line: &str) -> Option<(u32, SrtpKey)> {
    let mut words = line.strip_prefix("a=crypto:")?.split_ascii_whitespace();
    let tag = words.next()?.parse().ok()?;
    if !words.next()?.eq_ignore_ascii_case(SUITE) {
        return None;
    }
    let mut parts = words.next()?.strip_prefix("inline:")?.split('|');
    let key = SrtpKey::parse(parts.next()?)?;
    // A session parameter changes how packets are made; an MKI makes them longer.
    let is_long = |text: &str| match text.strip_prefix("2^") {
        Some(power) => power.parse::<u32>().is_ok_and(|p| p >= LIFETIME_LOG2_MIN),
        None => text
            .parse::<u64>()
            .is_ok_and(|n| n >= 1 << LIFETIME_LOG2_MIN),
    };
    let lives = parts.next().is_none_or(is_long);
    (lives && parts.next().is_none() && words.next().is_none()).then_some((tag, key))
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, Local, accept_answer, answer, offer};
    use super::*;

    const OURS: SrtpKey = SrtpKey::new([1; 30]);
    const THEIRS: SrtpKey = SrtpKey::new([2; 30]);

    fn local(port: u16) -> Local {
        Local {
            address: ([192, 0, 2, 1], port).into(),
            session: 1,
            version: 1,
            codecs: vec![Codec::Pcmu, Codec::Pcma],
        }
    }

    #[test]
    fn our_own_sealed_offer_negotiates_both_keys() {
        let plain = offer(&local(4_000));
        let sealed = seal(&plain, 1, &OURS);
        assert!(
            sealed.contains("m=audio 4000 RTP/SAVP 0 8 101\r\n"),
            "{sealed}"
        );
        let (opened, key) = unseal(&sealed);
        assert_eq!((opened.as_str(), key), (plain.as_str(), Some((1, OURS))));
        let (text, agreed) = answer(&opened, &local(5_000)).unwrap();
        let sealed = seal(&text, 1, &THEIRS);
        let (opened, key) = unseal(&sealed);
        assert_eq!(key, Some((1, THEIRS)));
        assert_eq!(accept_answer(&opened, &plain).unwrap().codec, agreed.codec);
    }

    fn secure(crypto: &str) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.1\r\nm=video 9 RTP/SAVP 99\r\n\
             a=crypto:9 {SUITE} inline:{v}\r\nm=audio 4000 RTP/SAVP 0\r\n{crypto}a=sendrecv\r\n",
            v = BASE64.encode(&[9; 30])
        )
    }

    #[test]
    fn a_key_is_taken_only_if_all_it_asks_can_be_done() {
        let key = BASE64.encode(&THEIRS.0);
        for (line, usable) in [
            (format!("2 {SUITE} inline:{key}"), true),
            (format!("2 {SUITE} inline:{key}|2^31"), true),
            (format!("2 {SUITE} inline:{key}|2^48"), true),
            (format!("2 {SUITE} inline:{key}|1048576"), true),
            (format!("2 aes_cm_128_hmac_sha1_80 inline:{key}"), true),
            (format!("2 {SUITE} inline:{key}|2^10"), false),
            (format!("2 {SUITE} inline:{key}|1:4"), false),
            (format!("2 {SUITE} inline:{key}|2^31|1:4"), false),
            (format!("2 {SUITE} inline:{key} UNENCRYPTED_SRTP"), false),
            (format!("2 {SUITE} inline:{key} KDR=1"), false),
            (format!("2 {SUITE} inline:{}", &key[..36]), false),
            (format!("2 {SUITE} inline:{key}AAAA"), false),
            (format!("2 AES_CM_128_HMAC_SHA1_32 inline:{key}"), false),
            (format!("x {SUITE} inline:{key}"), false),
            (format!("2 {SUITE}"), false),
            (String::new(), false),
        ] {
            let text = secure(&format!("a=crypto:{line}\r\n"));
            let (plain, found) = unseal(&text);
            assert_eq!(found, usable.then_some((2, THEIRS)), "{line}");
            assert_eq!(plain.contains("m=audio 4000 RTP/AVP 0"), usable);
            assert_eq!(plain == text, !usable);
            // The other stream is not ours to change.
            assert!(plain.contains("m=video 9 RTP/SAVP 99\r\na=crypto:9 "));
        }
    }

    #[test]
    fn the_first_usable_of_several_keys_is_taken() {
        let key = BASE64.encode(&THEIRS.0);
        let lines = format!(
            "a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:{key}\r\na=crypto:2 {SUITE} inline:{key}\r\n"
        );
        let (plain, found) = unseal(&secure(&lines));
        assert_eq!(found, Some((2, THEIRS)));
        assert_eq!(plain.matches("a=crypto").count(), 1, "that of the video");
    }

    #[test]
    fn no_mutation_of_a_description_panics() {
        let key = BASE64.encode(&THEIRS.0);
        let text = secure(&format!("a=crypto:2 {SUITE} inline:{key}|2^31\r\n"));
        let mut rng = crate::rng::Rng::new(4);
        for _ in 0..20_000 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..3 {
                let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                bytes[at] = b"\r\n =|:0m\xc3\xa4"[usize::try_from(rng.below(10)).unwrap()];
            }
            let text = String::from_utf8_lossy(&bytes);
            let (plain, _) = unseal(&text);
            let _ = seal(&plain, 1, &OURS);
            let _ = answer(&plain, &local(5_000));
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{OURS:?}"), "SrtpKey(..)");
    }
}
