//! How often one network may do something. The desk has limits of its own a number and an
//! address; these keep a flood away from the store, and a guesser from passwords.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use helpline_core::time::Time;

/// Networks remembered at once.
const NETWORKS_MAX: usize = 50_000;

/// Counts what each network does in windows of time.
#[derive(Debug)]
pub(super) struct RateLimit {
    max: u32,
    window: Duration,
    windows: Mutex<HashMap<IpAddr, (Time, u32)>>,
}

impl RateLimit {
    /// At most `max` in a `window`; 0 switches the limit off.
    pub(super) fn new(max: u32, window: Duration) -> Self {
        RateLimit {
            max,
            window,
            windows: Mutex::default(),
        }
    }

    /// Counts one of `address` at `now`; `Err` says when to come back.
    pub(super) fn take(&self, address: IpAddr, now: Time) -> Result<(), Duration> {
        if self.max == 0 {
            return Ok(());
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= NETWORKS_MAX {
            windows.retain(|_, (begin, _)| now.since(*begin) < self.window);
            if windows.len() >= NETWORKS_MAX {
                // So many networks at once are an attack; the limits of the desk still hold.
                windows.clear();
            }
        }
        let (begin, count) = windows.entry(network(address)).or_insert((now, 0));
        if now.since(*begin) >= self.window {
            (*begin, *count) = (now, 0);
        }
        if *count >= self.max {
            return Err(self.window.saturating_sub(now.since(*begin)));
        }
        *count += 1;
        Ok(())
    }

    /// Whether `address` has done it as often as it may.
    pub(super) fn is_used_up(&self, address: IpAddr, now: Time) -> bool {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.get(&network(address));
        let fresh = window.filter(|(begin, _)| now.since(*begin) < self.window);
        self.max > 0 && fresh.is_some_and(|(_, count)| *count >= self.max)
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

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn one_network_is_held_back_and_comes_back() {
        let limit = RateLimit::new(3, MINUTE);
        let is_used_up =
            |millis| limit.is_used_up("2001:db8::3".parse().unwrap(), Time::from_millis(millis));
        assert!(!is_used_up(0));
        let take =
            |address: &str, millis| limit.take(address.parse().unwrap(), Time::from_millis(millis));
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
        assert!(is_used_up(20_000) && !is_used_up(60_000));
        assert_eq!(take("2001:db8::2", 60_000), Ok(()));
        let none = RateLimit::new(0, MINUTE);
        for _ in 0..10 {
            assert_eq!(none.take("192.0.2.1".parse().unwrap(), Time::ZERO), Ok(()));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let limit = RateLimit::new(1, MINUTE);
        for n in 0..(NETWORKS_MAX as u32 + 10) {
            let _ = limit.take(IpAddr::V4(n.into()), Time::ZERO);
        }
        assert!(limit.windows.lock().unwrap().len() <= NETWORKS_MAX);
    }
}
