//! Signed names of our own mail. A bounce or an answer names what it speaks of by an address or a
//! Message-ID that only we can have made, so nobody can silence or move a stranger by guessing.
//!
//! `help+bID.MAC@` is where bounces of a mail go (VERP), `help+rID.MAC@` is where answers go, and
//! `<rID.KIND.SEQ.MAC@domain>` is the Message-ID. ID is the UUID in 26 letters, MAC 80 bits of
//! HMAC-SHA256 in 16, both lower-case base32: relays lower-case local parts (RFC 5321 §2.4 forbids
//! it, they do). With the plus sign that leaves [`PLUS_LOCAL_MAX`] characters for our own name.

use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::address_key;

/// Longest local part of an own address that leaves room for a token (RFC 5321 §4.5.3.1.1: 64).
pub const PLUS_LOCAL_MAX: usize = 64 - "+r.".len() - ID_CHARS - MAC_CHARS;

const ID_CHARS: usize = 26;
const MAC_CHARS: usize = 16;
const MAC_BYTES: usize = 10;
/// Longest name of a kind of mail.
const KIND_CHARS_MAX: usize = 20;

/// What a signature is for: one of a purpose is worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Bounce,
    Reply,
    MessageId,
    Loop,
}

impl Purpose {
    const fn word(self) -> &'static str {
        match self {
            Purpose::Bounce => "verp",
            Purpose::Reply => "reply",
            Purpose::MessageId => "msgid",
            Purpose::Loop => "loop",
        }
    }
}

/// Signs with one key; believes that and the one before it, so that mail under way survives a
/// change of keys.
#[derive(Clone)]
pub struct Keys {
    current: Hmac<Sha256>,
    previous: Option<Hmac<Sha256>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// What a recipient address of ours is for; each names what a mail of ours spoke of (a request,
/// or a message without one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Reports of what became of a mail.
    Bounce(String),
    /// Answers to mail about a request.
    Reply(String),
}

/// A mail of ours, by its Message-ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMail {
    /// What it spoke of.
    pub about: String,
    /// Whether that is a request.
    pub is_request: bool,
    /// Its kind: `ack`, `changed`, ...
    pub kind: String,
    /// Which one of its kind.
    pub seq: u32,
}

impl Keys {
    /// Keys of any length; 32 random bytes are enough.
    #[must_use]
    pub fn new(current: &[u8], previous: Option<&[u8]>) -> Self {
        Keys {
            current: keyed(current),
            previous: previous.map(keyed),
        }
    }

    /// Where bounces of a mail about `about` go; `None` if that is no UUID, or `own` has no room.
    #[must_use]
    pub fn bounce_address(&self, own: &str, about: &str) -> Option<String> {
        self.plus_address(own, 'b', Purpose::Bounce, about)
    }

    /// Where answers to a mail about the request `about` go; `None` as above.
    #[must_use]
    pub fn reply_address(&self, own: &str, about: &str) -> Option<String> {
        self.plus_address(own, 'r', Purpose::Reply, about)
    }

    fn plus_address(&self, own: &str, mark: char, purpose: Purpose, about: &str) -> Option<String> {
        let (local, domain) = own.rsplit_once('@')?;
        let id = packed(about)?;
        let mac = self.sign(purpose, &id);
        (local.len() <= PLUS_LOCAL_MAX).then(|| format!("{local}+{mark}{id}.{mac}@{domain}"))
    }

    /// A Message-ID without `<>`. What is not about a UUID has one that is not signed.
    #[must_use]
    pub fn message_id(&self, mail: &SentMail, domain: &str) -> String {
        let SentMail {
            about, kind, seq, ..
        } = mail;
        let Some(id) = packed(about) else {
            return format!("{about}.{kind}.{seq}@{domain}");
        };
        let mark = if mail.is_request { 'r' } else { 'm' };
        let name = format!("{mark}{id}.{kind}.{seq}");
        let mac = self.sign(Purpose::MessageId, &name);
        format!("{name}.{mac}@{domain}")
    }

    /// The mark of our own mail.
    #[must_use]
    pub fn loop_mark(&self, message_id: &str) -> String {
        let mac = self.sign(Purpose::Loop, message_id);
        format!("{message_id} {mac}")
    }

    /// Whether we made this mark.
    #[must_use]
    pub fn is_loop_mark(&self, mark: &str) -> bool {
        mark.trim()
            .rsplit_once(' ')
            .is_some_and(|(id, mac)| self.holds(Purpose::Loop, id.trim_end(), mac))
    }

    /// What an address is for, if it is one of `own` with a token that we made.
    #[must_use]
    pub fn recipient(&self, own: &[String], address: &str) -> Option<Recipient> {
        let (local, domain) = address_key(address)?;
        let detail = own
            .iter()
            .filter_map(|own| address_key(own))
            .find_map(|o| {
                let rest = local.strip_prefix(o.0.as_str())?.strip_prefix('+')?;
                (o.1 == domain).then(|| rest.to_owned())
            })?;
        let (id, mac) = detail.get(1..)?.split_once('.')?;
        let id = id.to_ascii_lowercase();
        let about = unpacked(&id)?;
        match detail.chars().next()? {
            'b' if self.holds(Purpose::Bounce, &id, mac) => Some(Recipient::Bounce(about)),
            'r' if self.holds(Purpose::Reply, &id, mac) => Some(Recipient::Reply(about)),
            _ => None,
        }
    }

    /// The mail a Message-ID (without `<>`) names, if we made it.
    #[must_use]
    pub fn sent_mail(&self, message_id: &str) -> Option<SentMail> {
        let (local, _) = message_id.trim().rsplit_once('@')?;
        let local = local.to_ascii_lowercase();
        let (name, mac) = local.rsplit_once('.')?;
        let mut parts = name.split('.');
        let (id, kind, seq) = (parts.next()?, parts.next()?, parts.next()?);
        let is_request = match id.chars().next()? {
            'r' => true,
            'm' => false,
            _ => return None,
        };
        let mail = SentMail {
            about: unpacked(id.get(1..)?)?,
            is_request,
            kind: kind.to_owned(),
            seq: seq.parse().ok()?,
        };
        let is_whole = parts.next().is_none() && kind.len() <= KIND_CHARS_MAX;
        (is_whole && self.holds(Purpose::MessageId, name, mac)).then_some(mail)
    }

    fn sign(&self, purpose: Purpose, text: &str) -> String {
        let mac = mac(&self.current, purpose, text).finalize().into_bytes();
        let mac = mac.get(..MAC_BYTES).unwrap_or_default();
        BASE32_NOPAD.encode(mac).to_ascii_lowercase()
    }

    /// Compares in constant time.
    fn holds(&self, purpose: Purpose, text: &str, told: &str) -> bool {
        let Ok(told) = BASE32_NOPAD_NOCASE.decode(told.as_bytes()) else {
            return false;
        };
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        told.len() == MAC_BYTES
            && keys.any(|key| mac(key, purpose, text).verify_truncated_left(&told).is_ok())
    }
}

/// Hashed, so that a key of any length is one of the length that is never refused.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    for (to, byte) in block.iter_mut().zip(Sha256::digest(key)) {
        *to = byte;
    }
    Hmac::new(&block.into())
}

fn mac(key: &Hmac<Sha256>, purpose: Purpose, text: &str) -> Hmac<Sha256> {
    // The zero byte parts the two: no purpose and text read as another pair.
    key.clone()
        .chain_update(purpose.word())
        .chain_update([0])
        .chain_update(text)
}

/// A UUID in 26 letters; `None` if it is not one as we write it.
fn packed(id: &str) -> Option<String> {
    let uuid = uuid::Uuid::parse_str(id).ok()?;
    let packed = BASE32_NOPAD.encode(uuid.as_bytes()).to_ascii_lowercase();
    (uuid.hyphenated().to_string() == id).then_some(packed)
}

fn unpacked(text: &str) -> Option<String> {
    let bytes = BASE32_NOPAD_NOCASE.decode(text.as_bytes()).ok()?;
    let uuid = uuid::Uuid::from_slice(&bytes).ok()?;
    Some(uuid.hyphenated().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01936f3a-0000-7000-8000-0123456789ab";
    const OTHER: &str = "01936f3a-0000-7000-8000-0123456789ac";
    const OWN: &str = "help@help.test";

    fn keys() -> Keys {
        Keys::new(b"a key of these tests", None)
    }

    fn read(keys: &Keys, address: &str) -> Option<Recipient> {
        keys.recipient(&[OWN.to_owned()], address)
    }

    fn ack() -> SentMail {
        SentMail {
            about: ID.to_owned(),
            is_request: true,
            kind: "ack".to_owned(),
            seq: 1,
        }
    }

    #[test]
    fn addresses_say_what_they_are_for_and_are_short_enough() {
        let keys = keys();
        let bounce = keys.bounce_address(OWN, ID).unwrap();
        let reply = keys.reply_address(OWN, ID).unwrap();
        assert!(bounce.starts_with("help+b") && reply.starts_with("help+r"));
        assert_eq!(read(&keys, &bounce), Some(Recipient::Bounce(ID.into())));
        assert_eq!(read(&keys, &reply), Some(Recipient::Reply(ID.into())));
        assert_eq!(
            read(&keys, &reply.to_uppercase()),
            Some(Recipient::Reply(ID.into()))
        );
        let long = format!("{}@help.test", "a".repeat(PLUS_LOCAL_MAX));
        let full = keys.reply_address(&long, ID).unwrap();
        assert_eq!(full.split('@').next().unwrap().len(), 64);
        assert!(keys.recipient(std::slice::from_ref(&long), &full).is_some());
        assert_eq!(keys.reply_address(&format!("a{long}"), ID), None);
        for no_uuid in ["", "x", &ID.to_uppercase(), &ID.replace('-', "")] {
            assert_eq!(keys.reply_address(OWN, no_uuid), None, "{no_uuid}");
        }
    }

    #[test]
    fn what_we_did_not_sign_names_nothing() {
        let keys = keys();
        let reply = keys.reply_address(OWN, ID).unwrap();
        let other = keys.reply_address(OWN, OTHER).unwrap();
        let mac = |address: &str| address.split(['.', '@']).nth(1).unwrap().to_owned();
        let with = |address: &str, mac_of: &str| address.replace(&mac(address), &mac(mac_of));
        let bounce = keys.bounce_address(OWN, ID).unwrap();
        for forged in [
            with(&reply, &other),
            with(&reply, &bounce),
            reply.replacen("+r", "+b", 1),
            reply.replace(&mac(&reply), ""),
            reply.replace(&mac(&reply), "aaaa"),
            reply.replace(&mac(&reply), &"ä".repeat(8)),
            reply.replace("help.test", "other.test"),
            reply.replacen("help", "desk", 1),
            "help+r@help.test".into(),
            "help+é@help.test".into(),
            "help+@help.test".into(),
            OWN.into(),
            format!("help+r{}.{}@help.test", "a".repeat(4_000), "a".repeat(16)),
        ] {
            assert_eq!(read(&keys, &forged), None, "{forged}");
        }
        assert_eq!(read(&Keys::new(b"another key", None), &reply), None);
    }

    #[test]
    fn message_ids_name_the_mail() {
        let keys = keys();
        let id = keys.message_id(&ack(), "help.test");
        assert_eq!(keys.sent_mail(&id), Some(ack()));
        assert_eq!(keys.sent_mail(&id.to_uppercase()), Some(ack()));
        let asked = SentMail {
            is_request: false,
            kind: "needs_info".into(),
            ..ack()
        };
        let asks = keys.message_id(&asked, "help.test");
        assert_eq!(keys.sent_mail(&asks), Some(asked));
        for forged in [
            id.replace(".ack.", ".closing."),
            id.replace(".1.", ".2."),
            id.replacen('r', "m", 1),
            id.replace('@', "x@"),
            id.replace(".1.", ".1.1."),
            "r.ack.1.x@help.test".into(),
            "1@cust.test".into(),
            String::new(),
        ] {
            assert_eq!(keys.sent_mail(&forged), None, "{forged}");
        }
        let plain = SentMail {
            about: "call-7".into(),
            ..ack()
        };
        let plain = keys.message_id(&plain, "help.test");
        assert_eq!(plain, "call-7.ack.1@help.test");
        assert_eq!(keys.sent_mail(&plain), None);
    }

    #[test]
    fn the_key_before_is_still_believed_and_the_one_before_that_is_not() {
        let old = keys();
        let (address, id) = (
            old.bounce_address(OWN, ID).unwrap(),
            old.message_id(&ack(), "help.test"),
        );
        let next = Keys::new(b"the next key", Some(b"a key of these tests"));
        assert!(read(&next, &address).is_some() && next.sent_mail(&id).is_some());
        assert_ne!(next.bounce_address(OWN, ID).unwrap(), address);
        let last = Keys::new(b"a third key", Some(b"the next key"));
        assert_eq!((read(&last, &address), last.sent_mail(&id)), (None, None));
        assert!(!format!("{next:?}").contains("key of"));
    }

    #[test]
    fn our_own_loop_mark_is_known() {
        let keys = keys();
        let mark = keys.loop_mark("r1@help.test");
        assert!(keys.is_loop_mark(&mark) && keys.is_loop_mark(&format!(" {mark} ")));
        for forged in ["", "help.test", &mark.replace("r1", "r2")] {
            assert!(!keys.is_loop_mark(forged), "{forged}");
        }
    }
}
