//! How much an address may send: a table of token buckets.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::time::Time;

/// How much each address may send: token buckets, one pool for strangers together.
#[derive(Debug)]
pub struct Buckets {
    known: Table,
    each: Table,
    strangers: Bucket,
    answers: Table,
}

#[derive(Debug, Default)]
struct Table {
    of: HashMap<IpAddr, Bucket>,
    purged_at: Time,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Time,
}

/// Addresses remembered at once, in each of the tables.
const ADDRESSES_MAX: usize = 4_096;
/// Datagrams a second and at once, from one trunk.
const KNOWN: (f64, f64) = (2_000.0, 4_000.0);
/// From one stranger.
const STRANGER: (f64, f64) = (20.0, 40.0);
/// From all strangers together.
const STRANGERS: (f64, f64) = (1_000.0, 2_000.0);
/// Stateless answers to one address.
const ANSWERS: (f64, f64) = (10.0, 10.0);

impl Default for Buckets {
    fn default() -> Self {
        Buckets {
            known: Table::default(),
            each: Table::default(),
            strangers: Bucket {
                tokens: STRANGERS.1,
                at: Time::ZERO,
            },
            answers: Table::default(),
        }
    }
}

impl Buckets {
    /// Whether a datagram from `from` may be looked at.
    pub fn admit(&mut self, now: Time, from: IpAddr, known: bool) -> bool {
        if known {
            return self.known.take(now, from, KNOWN);
        }
        self.each.take(now, from, STRANGER) && self.strangers.take(now, STRANGERS)
    }

    /// Whether a stateless answer may be sent to `to`.
    pub fn may_answer(&mut self, now: Time, to: IpAddr) -> bool {
        self.answers.take(now, to, ANSWERS)
    }
}

impl Table {
    fn take(&mut self, now: Time, ip: IpAddr, rate: (f64, f64)) -> bool {
        if self.of.len() >= ADDRESSES_MAX && !self.of.contains_key(&ip) {
            // Once a second at most: a flood of addresses must not cost a walk each.
            if now.since(self.purged_at).as_secs() == 0 {
                return false;
            }
            self.purged_at = now;
            // A bucket that had time to fill says nothing any more.
            self.of.retain(|_, b| now.since(b.at).as_secs() < 5);
            if self.of.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let full = Bucket {
            tokens: rate.1,
            at: now,
        };
        self.of.entry(ip).or_insert(full).take(now, rate)
    }
}

impl Bucket {
    fn take(&mut self, now: Time, (rate, burst): (f64, f64)) -> bool {
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * rate).min(burst);
        self.at = now;
        let ok = self.tokens >= 1.0;
        if ok {
            self.tokens -= 1.0;
        }
        ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_gets_twenty_a_second_and_a_trunk_two_thousand() {
        let mut buckets = Buckets::default();
        let (stranger, trunk) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let pass = |b: &mut Buckets, at, ip, known| {
            (0..10_000)
                .filter(|_| b.admit(Time::from_millis(at), ip, known))
                .count()
        };
        assert_eq!(pass(&mut buckets, 0, stranger, false), 40);
        assert_eq!(pass(&mut buckets, 1_000, stranger, false), 20);
        assert_eq!(pass(&mut buckets, 1_000, trunk, true), 4_000);
        assert_eq!(pass(&mut buckets, 2_000, trunk, true), 2_000);
        assert_eq!(
            (0..99)
                .filter(|_| buckets.may_answer(Time::ZERO, stranger))
                .count(),
            10
        );
    }

    #[test]
    fn a_flood_of_addresses_keeps_the_table_small() {
        let mut buckets = Buckets::default();
        for n in 0..100_000u32 {
            buckets.admit(Time::from_millis(1), IpAddr::from(n.to_be_bytes()), false);
        }
        assert!(buckets.each.of.len() <= ADDRESSES_MAX);
        let (trunk, other) = ("192.0.2.2".parse().unwrap(), "192.0.2.3".parse().unwrap());
        assert!(buckets.admit(Time::from_millis(1), trunk, true));
        // Once it is quiet there is room again.
        assert!(buckets.admit(Time::from_millis(9_000), other, false));
    }
}
