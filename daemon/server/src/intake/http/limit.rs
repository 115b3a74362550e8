//! How many requests one network may send a minute. The desk has limits of its own a number
//! and an address; this one keeps a flood away from the store.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use helpline_core::time::Time;

/// Networks remembered at once.
const NETWORKS_MAX: usize = 50_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Counts requests of each network in windows of a minute.
pub(super) struct RateLimit {
    per_minute: u32,
    windows: Mutex<HashMap<IpAddr, (Time, u32)>>,
}

impl RateLimit {
    /// At most `per_minute` requests a minute; 0 switches the limit off.
    pub(super) fn new(per_minute: u32) -> Self {
        RateLimit {
            per_minute,
            windows: Mutex::default(),
        }
    }

    /// Counts a request of `address` at `now`; `Err` says when to come back. This machine itself
    /// is not limited: programs of the operator, or a proxy that does not tell whom it serves.
    pub(super) fn take(&self, address: Option<IpAddr>, now: Time) -> Result<(), Duration> {
        let Some(address) = address.filter(|address| self.per_minute > 0 && !address.is_loopback())
        else {
            return Ok(());
        };
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= NETWORKS_MAX {
            windows.retain(|_, (begin, _)| now.since(*begin) < MINUTE);
            if windows.len() >= NETWORKS_MAX {
                // So many networks at once are an attack; the limits of the desk still hold.
                windows.clear();
            }
        }
        let (begin, count) = windows.entry(network(address)).or_insert((now, 0));
        if now.since(*begin) >= MINUTE {
            (*begin, *count) = (now, 0);
        }
        if *count >= self.per_minute {
            return Err(MINUTE.saturating_sub(now.since(*begin)));
        }
        *count += 1;
        Ok(())
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: one household has all of it.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_is_held_back_and_comes_back() {
        let limit = RateLimit::new(3);
        let take = |address: &str, millis| {
            limit.take(Some(address.parse().unwrap()), Time::from_millis(millis))
        };
        for _ in 0..3 {
            assert_eq!(take("2001:db8::1", 0), Ok(()));
        }
        assert_eq!(
            take("2001:db8::2", 20_000),
            Err(Duration::from_secs(40)),
            "same /64"
        );
        assert_eq!(take("2001:db8:0:1::1", 20_000), Ok(()));
        assert_eq!(take("192.0.2.1", 20_000), Ok(()));
        assert_eq!(take("2001:db8::2", 60_000), Ok(()));
        for _ in 0..10 {
            assert_eq!(take("127.0.0.1", 0), Ok(()));
            assert_eq!(RateLimit::new(0).take(None, Time::ZERO), Ok(()));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let limit = RateLimit::new(1);
        for n in 0..(NETWORKS_MAX as u32 + 10) {
            let _ = limit.take(Some(IpAddr::V4(n.into())), Time::ZERO);
        }
        assert!(limit.windows.lock().unwrap().len() <= NETWORKS_MAX);
    }
}
