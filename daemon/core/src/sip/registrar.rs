//! Where our telephones are (RFC 3261 section 10), for as long as they say so. Only those
//! whose proof held come here. A telephone is called where its REGISTER came from, not
//! where its Contact points: behind a NAT the two differ.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::address::{self, Address};
use crate::time::Time;

/// Places at which one telephone may be registered at once.
pub const BINDINGS_MAX: usize = 3;
/// Shortest and longest registration, seconds: short, so that a NAT's memory and a restart
/// of the daemon are soon made good.
pub const EXPIRES: (u32, u32) = (60, 300);
/// Longest Contact URI kept, bytes.
const URI_BYTES_MAX: usize = 256;

/// One place a telephone is registered at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Contact URI: the Request-URI of a call to it.
    pub contact: String,
    /// Where its REGISTER came from: where a call to it is sent.
    pub source: SocketAddr,
    /// User-Agent.
    pub agent: String,
    call_id: String,
    cseq: u32,
    expires_at: Time,
}

/// A REGISTER whose proof held.
#[derive(Clone, Debug)]
pub struct Register<'a> {
    /// Values of its Contact fields.
    pub contacts: Vec<&'a str>,
    /// Value of Expires.
    pub expires: Option<&'a str>,
    /// Call-ID.
    pub call_id: &'a str,
    /// Number of CSeq.
    pub cseq: u32,
    /// Where it came from.
    pub source: SocketAddr,
    /// User-Agent.
    pub agent: &'a str,
}

/// What is answered to a REGISTER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 200 with these Contact values: all that is registered now.
    Bound(Vec<String>),
    /// 423 with Min-Expires.
    TooBrief,
    /// 400: a Contact that cannot be read, or `*` beside something else.
    Malformed,
    /// 500: older than what is known (RFC 3261 section 10.3 step 7).
    OutOfOrder,
}

/// All registrations, by user name.
#[derive(Debug, Default)]
pub struct Registrar {
    of: BTreeMap<String, Vec<Binding>>,
}

/// A Contact of a REGISTER.
struct Wish {
    uri: String,
    seconds: u32,
}

impl Registrar {
    /// Carries out a REGISTER of `user`: all of it or nothing.
    pub fn register(&mut self, now: Time, user: &str, register: &Register<'_>) -> Outcome {
        self.expire(now);
        let bindings = self.of.entry(user.to_owned()).or_default();
        let outcome = apply(now, bindings, register);
        if bindings.is_empty() {
            self.of.remove(user);
        }
        outcome
    }

    /// Where `user` is registered, the latest first.
    #[must_use]
    pub fn bindings(&self, now: Time, user: &str) -> Vec<Binding> {
        let bindings = self.of.get(user).into_iter().flatten();
        let mut live: Vec<_> = bindings.filter(|b| b.expires_at > now).cloned().collect();
        live.sort_by_key(|b| std::cmp::Reverse(b.expires_at));
        live
    }

    /// Every user and place.
    #[must_use]
    pub fn all(&self, now: Time) -> Vec<(String, Binding)> {
        let users = self.of.keys();
        users
            .flat_map(|user| {
                self.bindings(now, user)
                    .into_iter()
                    .map(|b| (user.clone(), b))
            })
            .collect()
    }

    /// Whether a telephone is registered from exactly this address.
    #[must_use]
    pub fn knows(&self, now: Time, source: SocketAddr) -> bool {
        let mut bindings = self.of.values().flatten();
        bindings.any(|b| b.source == source && b.expires_at > now)
    }

    /// Forgets a place that answers no more, unless it registered anew meanwhile.
    pub fn lost(&mut self, user: &str, lost: &Binding) {
        if let Some(bindings) = self.of.get_mut(user) {
            bindings.retain(|b| b != lost);
            if bindings.is_empty() {
                self.of.remove(user);
            }
        }
    }

    fn expire(&mut self, now: Time) {
        self.of.retain(|_, bindings| {
            bindings.retain(|b| b.expires_at > now);
            !bindings.is_empty()
        });
    }
}

fn apply(now: Time, bindings: &mut Vec<Binding>, register: &Register<'_>) -> Outcome {
    let older = |b: &Binding| b.call_id == register.call_id && b.cseq >= register.cseq;
    if register.contacts == ["*"] {
        if register.expires != Some("0") {
            return Outcome::Malformed;
        }
        if bindings.iter().any(older) {
            return Outcome::OutOfOrder;
        }
        bindings.clear();
        return Outcome::Bound(Vec::new());
    }
    let wishes = match wishes(register) {
        Ok(wishes) => wishes,
        Err(outcome) => return outcome,
    };
    let touched = |b: &Binding| wishes.iter().any(|w| w.uri == b.contact);
    if bindings.iter().any(|b| touched(b) && older(b)) {
        return Outcome::OutOfOrder;
    }
    for Wish { uri, seconds } in wishes {
        bindings.retain(|b| b.contact != uri);
        if seconds > 0 {
            make_room(bindings);
            bindings.push(Binding {
                contact: uri,
                source: register.source,
                agent: register.agent.to_owned(),
                call_id: register.call_id.to_owned(),
                cseq: register.cseq,
                expires_at: now + Duration::from_secs(seconds.into()),
            });
        }
    }
    let told = bindings.iter().map(|b| {
        let rest = b.expires_at.since(now).as_secs();
        format!("<{}>;expires={rest}", b.contact)
    });
    Outcome::Bound(told.collect())
}

/// A telephone that was restarted comes with a new Contact: the place that would end
/// first makes room.
fn make_room(bindings: &mut Vec<Binding>) {
    while bindings.len() >= BINDINGS_MAX {
        let first = bindings
            .iter()
            .enumerate()
            .min_by_key(|(_, b)| b.expires_at);
        let Some(at) = first.map(|(at, _)| at) else {
            return;
        };
        bindings.remove(at);
    }
}

fn wishes(register: &Register<'_>) -> Result<Vec<Wish>, Outcome> {
    let mut wishes = Vec::new();
    for value in &register.contacts {
        for one in address::list(value).ok_or(Outcome::Malformed)? {
            let contact = Address::parse(one).ok_or(Outcome::Malformed)?;
            let scheme = contact.uri.split(':').next().unwrap_or_default();
            let is_sip = ["sip", "sips"]
                .iter()
                .any(|s| scheme.eq_ignore_ascii_case(s));
            let clean = contact.uri.len() <= URI_BYTES_MAX && !contact.uri.contains(['?', '"']);
            if !is_sip || !clean || wishes.len() >= BINDINGS_MAX {
                return Err(Outcome::Malformed);
            }
            let asked = contact.parameter("expires").or(register.expires);
            let seconds = match asked.map(str::parse::<u32>) {
                Some(Ok(0)) => 0,
                Some(Ok(few)) if few < EXPIRES.0 => return Err(Outcome::TooBrief),
                Some(Ok(seconds)) => seconds.min(EXPIRES.1),
                // What cannot be read counts as not said (section 20.19).
                Some(Err(_)) | None => EXPIRES.1,
            };
            let uri = contact.uri.to_owned();
            wishes.push(Wish { uri, seconds });
        }
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register<'a>(contacts: &[&'a str], expires: Option<&'a str>, cseq: u32) -> Register<'a> {
        Register {
            contacts: contacts.to_vec(),
            expires,
            call_id: "c",
            cseq,
            source: "192.0.2.9:40000".parse().unwrap(),
            agent: "x",
        }
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    fn bound(list: &[&str]) -> Outcome {
        Outcome::Bound(list.iter().map(|s| (*s).to_owned()).collect())
    }

    #[test]
    fn a_registration_lasts_as_long_as_asked_within_limits() {
        for (contact, expires, want) in [
            ("<sip:a@h>", None, bound(&["<sip:a@h>;expires=300"])),
            ("<sip:a@h>", Some("3600"), bound(&["<sip:a@h>;expires=300"])),
            ("<sip:a@h>", Some("60"), bound(&["<sip:a@h>;expires=60"])),
            (
                "<sip:a@h>;expires=90",
                Some("60"),
                bound(&["<sip:a@h>;expires=90"]),
            ),
            ("<sip:a@h>", Some("59"), Outcome::TooBrief),
            ("<sip:a@h>", Some("x"), bound(&["<sip:a@h>;expires=300"])),
            ("<sip:a@h>", Some("0"), bound(&[])),
            ("<sip:a@h", None, Outcome::Malformed),
            ("<http://h>", None, Outcome::Malformed),
            ("<sip:a@h?X=1>", None, Outcome::Malformed),
            ("*", Some("60"), Outcome::Malformed),
            ("*", None, Outcome::Malformed),
        ] {
            let mut registrar = Registrar::default();
            let got = registrar.register(at(0), "ada", &register(&[contact], expires, 1));
            assert_eq!(got, want, "{contact} {expires:?}");
        }
    }

    #[test]
    fn a_call_goes_to_where_the_register_came_from_until_it_expires() {
        let mut registrar = Registrar::default();
        registrar.register(
            at(0),
            "ada",
            &register(&["<sip:a@10.0.0.1>"], Some("60"), 1),
        );
        let source = "192.0.2.9:40000".parse().unwrap();
        assert_eq!(registrar.bindings(at(59), "ada")[0].source, source);
        assert!(registrar.knows(at(59), source));
        assert!(registrar.bindings(at(60), "ada").is_empty());
        assert!(!registrar.knows(at(60), source));
        assert!(registrar.bindings(at(1), "eve").is_empty());
    }

    #[test]
    fn a_register_without_contact_asks_and_a_star_removes_all() {
        let mut registrar = Registrar::default();
        registrar.register(at(0), "ada", &register(&["<sip:a@h>, <sip:b@h>"], None, 1));
        let all = bound(&["<sip:a@h>;expires=290", "<sip:b@h>;expires=290"]);
        assert_eq!(
            registrar.register(at(10), "ada", &register(&[], None, 2)),
            all
        );
        let star = register(&["*"], Some("0"), 1);
        assert_eq!(
            registrar.register(at(10), "ada", &star),
            Outcome::OutOfOrder
        );
        let star = register(&["*"], Some("0"), 3);
        assert_eq!(registrar.register(at(10), "ada", &star), bound(&[]));
        assert!(registrar.all(at(10)).is_empty());
    }

    #[test]
    fn an_older_register_of_the_same_call_changes_nothing() {
        let mut registrar = Registrar::default();
        registrar.register(at(0), "ada", &register(&["<sip:a@h>"], None, 5));
        let late = register(&["<sip:a@h>"], Some("0"), 4);
        assert_eq!(registrar.register(at(1), "ada", &late), Outcome::OutOfOrder);
        // After a restart the telephone counts anew, in a call of its own.
        let mut anew = register(&["<sip:a@h>"], Some("0"), 1);
        anew.call_id = "d";
        assert_eq!(registrar.register(at(1), "ada", &anew), bound(&[]));
    }

    #[test]
    fn a_fourth_place_takes_that_of_the_first() {
        let mut registrar = Registrar::default();
        for n in 0..4u32 {
            let contact = format!("<sip:{n}@h>");
            let ask = register(&[&contact], None, n + 1);
            registrar.register(at(n.into()), "ada", &ask);
        }
        let places = registrar.bindings(at(4), "ada");
        let names: Vec<_> = places.iter().map(|b| b.contact.as_str()).collect();
        assert_eq!(names, ["sip:3@h", "sip:2@h", "sip:1@h"]);
    }

    #[test]
    fn a_lost_place_is_forgotten_but_not_one_that_came_back() {
        let mut registrar = Registrar::default();
        registrar.register(at(0), "ada", &register(&["<sip:a@h>"], None, 1));
        let old = registrar.bindings(at(1), "ada").remove(0);
        registrar.register(at(2), "ada", &register(&["<sip:a@h>"], None, 2));
        registrar.lost("ada", &old);
        let new = registrar.bindings(at(3), "ada").remove(0);
        registrar.lost("ada", &new);
        assert!(registrar.bindings(at(3), "ada").is_empty());
    }
}
