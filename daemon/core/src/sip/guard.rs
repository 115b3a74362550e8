//! Digest authentication as a server (RFC 7616, RFC 8760): who proves to be one of our
//! telephones. Nonces need no table: each carries its time and a seal. What is kept is
//! bounded: which counts of a nonce were used, and who failed of late.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, Mac};
use md5::Md5;
use sha2::Sha256;

use super::digest::{Algorithm, parameter, parameters};
use crate::time::Time;

/// How long a nonce is good for.
pub const NONCE_LIFE: Duration = Duration::from_secs(120);
/// Failures a minute and address after which it is not listened to.
pub const FAILURES_MAX: usize = 5;
/// For how long that is.
pub const SILENCE: Duration = Duration::from_secs(60);
/// Nonces whose counts are kept, and addresses whose failures are.
const KEPT_MAX: usize = 4_096;
/// Bytes of a nonce before its seal: time and chance.
const OPEN_BYTES: usize = 16;
/// Bytes of the seal.
const SEAL_BYTES: usize = 16;

/// What is stored of a password: one hash for each algorithm, of this realm only.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    md5: String,
    sha256: String,
}

impl Ha1 {
    /// Of a user name, realm and password (RFC 7616 section 3.4.2).
    #[must_use]
    pub fn new(user: &str, realm: &str, password: &str) -> Self {
        let text = format!("{user}:{realm}:{password}");
        Ha1 {
            md5: hash(Algorithm::Md5, &text),
            sha256: hash(Algorithm::Sha256, &text),
        }
    }

    fn of(&self, algorithm: Algorithm) -> &str {
        match algorithm {
            Algorithm::Md5 => &self.md5,
            Algorithm::Sha256 => &self.sha256,
        }
    }
}

impl std::fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ha1")
    }
}

/// What became of a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// This user knows the password.
    Holds(String),
    /// Right or wrong, it is of yesterday: ask again, with `stale=true`.
    Stale,
    /// Wrong.
    Fails,
}

/// The counts of one nonce that were used, as a window of 64.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    highest: u32,
    seen: u64,
}

/// Makes challenges and judges proofs.
#[derive(Debug)]
pub struct Guard {
    realm: String,
    key: [u8; 32],
    offered: Vec<Algorithm>,
    /// Stands in for an unknown user, so that he costs the same time.
    nobody: Ha1,
    counts: HashMap<String, (Time, Counts)>,
    failures: HashMap<IpAddr, VecDeque<Time>>,
}

impl Guard {
    /// Of a realm; `key` seals nonces and comes from the operating system. `offered` are
    /// the algorithms, the preferred one first; no other is accepted.
    #[must_use]
    pub fn new(realm: &str, key: [u8; 32], offered: Vec<Algorithm>) -> Self {
        Guard {
            realm: realm.to_owned(),
            key,
            offered,
            nobody: Ha1::new("", realm, &HEXLOWER.encode(&key)),
            counts: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// Values of WWW-Authenticate fields, one an algorithm. `stale` tells the client to try
    /// again without asking its user.
    #[must_use]
    pub fn challenges(&self, now: Time, chance: u64, stale: bool) -> Vec<String> {
        let nonce = self.nonce(now, chance);
        let stale = if stale { ", stale=true" } else { "" };
        let one = |algorithm: &Algorithm| {
            let (realm, name) = (&self.realm, algorithm.wire());
            format!(
                "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={name}, qop=\"auth\"{stale}"
            )
        };
        self.offered.iter().map(one).collect()
    }

    /// Whether an Authorization value names a nonce of ours that is still good. Cheap, and
    /// remembers nothing: the gate asks before the stack sees the request.
    #[must_use]
    pub fn is_fresh(&self, now: Time, authorization: &str) -> bool {
        let given = parameters(authorization);
        let nonce = given.as_deref().and_then(|g| parameter(g, "nonce"));
        nonce.is_some_and(|nonce| self.age(now, nonce).is_some_and(|age| age <= NONCE_LIFE))
    }

    /// Judges the proof of a request. A proof holds once: its count is used up.
    pub fn judge<'h>(
        &mut self,
        now: Time,
        (method, uri): (&str, &str),
        authorization: &str,
        ha1: impl Fn(&str) -> Option<&'h Ha1>,
    ) -> Proof {
        let Some(given) = parameters(authorization) else {
            return Proof::Fails;
        };
        let get = |name| parameter(&given, name).unwrap_or_default();
        let (nonce, user) = (get("nonce"), get("username"));
        let algorithm = match get("algorithm") {
            "" => Some(Algorithm::Md5),
            name if name.eq_ignore_ascii_case("MD5") => Some(Algorithm::Md5),
            name if name.eq_ignore_ascii_case("SHA-256") => Some(Algorithm::Sha256),
            _ => None,
        };
        let digits = |nc: &&str| nc.len() == 8 && nc.bytes().all(|b| b.is_ascii_hexdigit());
        let count = Some(get("nc")).filter(digits);
        let count = count.and_then(|nc| u32::from_str_radix(nc, 16).ok());
        let algorithm = algorithm.filter(|a| self.offered.contains(a));
        let (Some(algorithm), Some(count)) = (algorithm, count) else {
            return Proof::Fails;
        };
        // Without `qop` nothing would hold a proof from being used again.
        if get("realm") != self.realm || get("uri") != uri || get("qop") != "auth" {
            return Proof::Fails;
        }
        let known = ha1(user);
        let secret = known.unwrap_or(&self.nobody).of(algorithm);
        let ha2 = hash(algorithm, &format!("{method}:{uri}"));
        let (nc, cnonce) = (get("nc"), get("cnonce"));
        let text = format!("{secret}:{nonce}:{nc}:{cnonce}:auth:{ha2}");
        let right = is_equal(&hash(algorithm, &text), get("response")) && known.is_some();
        match self.age(now, nonce) {
            None => Proof::Stale, // sealed by another daemon, or by nobody
            Some(age) if age > NONCE_LIFE => Proof::Stale,
            Some(_) if !right => Proof::Fails,
            Some(_) if !self.use_up(now, nonce, count) => Proof::Stale,
            Some(_) => Proof::Holds(user.to_owned()),
        }
    }

    /// Notes that a proof from `from` failed.
    pub fn failed(&mut self, now: Time, from: IpAddr) {
        if self.failures.len() >= KEPT_MAX {
            let fresh =
                |times: &VecDeque<Time>| times.back().is_some_and(|t| now.since(*t) < SILENCE);
            self.failures.retain(|_, times| fresh(times));
        }
        if self.failures.len() < KEPT_MAX || self.failures.contains_key(&from) {
            let times = self.failures.entry(from).or_default();
            times.push_back(now);
            while times.len() > FAILURES_MAX {
                times.pop_front();
            }
        }
    }

    /// Whether proofs from `from` are not looked at for now.
    #[must_use]
    pub fn is_silenced(&self, now: Time, from: IpAddr) -> bool {
        self.failures.get(&from).is_some_and(|times| {
            let recent = times.iter().filter(|t| now.since(**t) < SILENCE);
            recent.count() >= FAILURES_MAX
        })
    }

    fn nonce(&self, now: Time, chance: u64) -> String {
        let mut bytes = Vec::with_capacity(OPEN_BYTES + SEAL_BYTES);
        bytes.extend(now.micros().to_be_bytes());
        bytes.extend(chance.to_be_bytes());
        if let Some(mac) = self.seal(&bytes) {
            let seal = mac.finalize().into_bytes();
            bytes.extend(seal.iter().take(SEAL_BYTES));
        }
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// How old a nonce is; `None` if it is not one of ours.
    fn age(&self, now: Time, nonce: &str) -> Option<Duration> {
        let bytes = BASE64URL_NOPAD.decode(nonce.as_bytes()).ok()?;
        let (open, seal) = bytes.split_at_checked(OPEN_BYTES)?;
        if seal.len() != SEAL_BYTES {
            return None;
        }
        self.seal(open)?.verify_truncated_left(seal).ok()?;
        let (made, _) = open.split_first_chunk::<8>()?;
        Some(now.since(Time::from_micros(u64::from_be_bytes(*made))))
    }

    fn seal(&self, open: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(open);
        mac.update(self.realm.as_bytes());
        Some(mac)
    }

    /// Marks a count as used; `false` if it was, or is too old to tell.
    fn use_up(&mut self, now: Time, nonce: &str, count: u32) -> bool {
        if self.counts.len() >= KEPT_MAX && !self.counts.contains_key(nonce) {
            self.counts
                .retain(|_, (at, _)| now.since(*at) <= NONCE_LIFE);
            if self.counts.len() >= KEPT_MAX {
                return false;
            }
        }
        let (_, counts) = self
            .counts
            .entry(nonce.to_owned())
            .or_insert((now, Counts::default()));
        counts.take(count)
    }
}

impl Counts {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let step = count - self.highest;
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1u64.checked_shl(self.highest - count).unwrap_or(0);
        let free = count > 0 && bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        free
    }
}

fn hash(algorithm: Algorithm, text: &str) -> String {
    match algorithm {
        Algorithm::Md5 => HEXLOWER.encode(&<Md5 as md5::Digest>::digest(text)),
        Algorithm::Sha256 => HEXLOWER.encode(&<Sha256 as sha2::Digest>::digest(text)),
    }
}

/// Compares without telling by its time where two texts differ.
fn is_equal(one: &str, other: &str) -> bool {
    let pairs = one.bytes().zip(other.bytes());
    one.len() == other.len() && pairs.fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
