//! Figures that a customer reads on the page and keys in on the call, when so many requests come
//! that nobody vouches for that somebody may be having strangers called.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use helpline_core::request::Channel;
use helpline_core::time::Wall;
use sha2::{Digest as _, Sha256};

use super::locked;

const HOUR: Duration = Duration::from_secs(3_600);

/// How many requests without proof came lately, by queue: the time at which the last of them
/// would have come at the rate that is allowed. Each daemon counts its own.
#[derive(Debug, Default)]
pub(super) struct Unproven(Mutex<BTreeMap<String, Wall>>);

impl Unproven {
    /// Counts one more; whether there are too many.
    pub(super) fn too_many(&self, queue: &str, an_hour: u32, now: Wall) -> bool {
        let interval = HOUR / an_hour.max(1);
        let mut all = locked(&self.0);
        let next = all.entry(queue.to_owned()).or_default();
        // Only what was granted counts, so that a flood does not put the end off.
        if *next > now + (HOUR - interval) {
            return true;
        }
        *next = (*next).max(now) + interval;
        false
    }
}

/// Whether nobody vouches for a number: it was typed in somewhere by somebody.
pub(super) fn is_typed(channel: Channel) -> bool {
    matches!(channel, Channel::Form | Channel::Json)
}

/// The figures of a request, made of the secret of its page.
pub(super) fn of_token(token: &str) -> String {
    let hash = Sha256::digest(format!("pin\n{token}"));
    let number = hash
        .iter()
        .take(4)
        .fold(0u32, |n, b| n << 8 | u32::from(*b));
    format!("{:04}", number % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_an_hour_are_granted_whatever_comes_besides() {
        let unproven = Unproven::default();
        let start = Wall::from_millis(1_795_440_000_000);
        let granted = |from: Wall, many: u64| {
            let at = |n: u64| from + Duration::from_secs(n);
            (0..many)
                .filter(|n| !unproven.too_many("help", 60, at(*n)))
                .count()
        };
        assert_eq!(granted(start, 60), 60);
        assert_eq!(granted(start + Duration::from_secs(60), 3_600), 60);
        assert!(!unproven.too_many("other", 60, start));
        assert_eq!(granted(start + 3 * HOUR, 60), 60);
        assert_eq!(granted(start + 3 * HOUR + Duration::from_secs(60), 1), 1);
    }

    #[test]
    fn figures_belong_to_a_page() {
        assert_eq!(of_token("a"), of_token("a"));
        assert_ne!(of_token("a"), of_token("b"));
        let all = |c: char| c.is_ascii_digit();
        assert!((0..100).all(|n| {
            let pin = of_token(&n.to_string());
            pin.len() == 4 && pin.chars().all(all)
        }));
    }
}
