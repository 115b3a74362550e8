//! Who is next: the key of the line, and the place shown to a customer.

use std::time::Duration;

use crate::id::RequestId;
use crate::time::Wall;

/// Greatest head start any request may get.
pub const BOOST_MAX: Duration = Duration::from_secs(30 * 60);
/// Head start of a request whose promise was missed, given once.
pub const MISSED_PROMISE_BOOST: Duration = Duration::from_secs(10 * 60);

/// The key of the line; smaller is earlier. Ids are made in order of time, so they
/// decide between requests of the same millisecond.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// 0 = a booking that is due, 1 = everything else.
    pub rank: i64,
    /// Time of acceptance less the boost.
    pub place_at: Wall,
    /// The request.
    pub id: RequestId,
}

/// The place of a request: its acceptance less its head start. A head start is never
/// absolute priority, so nobody starves.
#[must_use]
pub fn place_at(accepted_at: Wall, boost: Duration) -> Wall {
    accepted_at - boost.min(BOOST_MAX)
}

/// The place shown: a request that returns from a retry may push others back by one,
/// and nobody likes to see that; a greater change is shown honestly.
#[must_use]
pub fn shown_position(before: Option<u32>, now: u32) -> u32 {
    match before {
        Some(old) if now > old && now - old <= 2 => old,
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(rank: i64, place: i64, id: &str) -> Key {
        Key {
            rank,
            place_at: Wall::from_millis(place),
            id: RequestId::from_text(id),
        }
    }

    #[test]
    fn bookings_come_first_then_time_then_id() {
        let mut line = [
            key(1, 5, "b"),
            key(1, 5, "a"),
            key(0, 9, "c"),
            key(1, 4, "d"),
        ];
        line.sort();
        let ids: Vec<_> = line.iter().map(|k| k.id.as_str()).collect();
        assert_eq!(ids, ["c", "d", "a", "b"]);
    }

    #[test]
    fn a_boost_is_a_head_start_with_a_limit() {
        let at = Wall::from_millis(10_000_000);
        assert_eq!(
            place_at(at, Duration::from_secs(600)),
            at - Duration::from_secs(600)
        );
        assert_eq!(place_at(at, Duration::from_secs(90_000)), at - BOOST_MAX);
    }

    #[test]
    fn a_small_step_back_is_not_shown() {
        assert_eq!(shown_position(Some(4), 5), 4);
        assert_eq!(shown_position(Some(4), 7), 7);
        assert_eq!(shown_position(Some(4), 3), 3);
        assert_eq!(shown_position(None, 9), 9);
    }
}
