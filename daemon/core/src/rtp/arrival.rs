//! How evenly packets arrive: each against the fastest of the last seconds, and the
//! delay under which all but five in a hundred would have been in time.

use std::time::Duration;

use crate::time::Time;

/// Packets looked at: 4 s of 20 ms.
const PACKETS: usize = 200;
/// The fastest packet is looked for in this time and the one before it.
const FASTEST_FOR: Duration = Duration::from_secs(2);
const BUCKET_MS: u32 = 5;
const BUCKETS: usize = 41;

/// Arrivals of one source on one time line. Never allocates.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    clock_hz: u32,
    /// Newest timestamp, and the same counted on without end.
    newest: Option<(u32, i64)>,
    /// Smallest transit of the present and of the last [`FASTEST_FOR`], microseconds.
    fastest: i64,
    fastest_before: i64,
    since: Time,
    /// Which bucket of lateness each of the last packets fell into.
    ring: [u8; PACKETS],
    at: usize,
    filled: usize,
    counts: [u16; BUCKETS],
}

impl Arrivals {
    pub(super) fn new(clock_hz: u32) -> Arrivals {
        Arrivals {
            clock_hz: clock_hz.max(1000),
            newest: None,
            fastest: i64::MAX,
            fastest_before: i64::MAX,
            since: Time::ZERO,
            ring: [0; PACKETS],
            at: 0,
            filled: 0,
            counts: [0; BUCKETS],
        }
    }

    /// A packet of this timestamp came.
    pub(super) fn came(&mut self, now: Time, timestamp: u32) {
        let extended = self.extended(timestamp);
        if self.newest.is_none_or(|(_, newest)| extended > newest) {
            self.newest = Some((timestamp, extended));
        }
        let transit = micros(now) - self.to_micros(extended);
        if now.since(self.since) >= FASTEST_FOR {
            self.since = now;
            self.fastest_before = std::mem::replace(&mut self.fastest, transit);
        }
        self.fastest = self.fastest.min(transit);
        let late = transit - self.fastest.min(self.fastest_before);
        let bucket = late / (i64::from(BUCKET_MS) * 1000);
        self.count(usize::try_from(bucket).unwrap_or(0).min(BUCKETS - 1));
    }

    /// How long after the fastest packets' way a packet of this timestamp would be
    /// played at `when`; negative if before.
    pub(super) fn delay(&self, when: Time, timestamp: u32) -> i64 {
        let fastest = self.fastest.min(self.fastest_before);
        if fastest == i64::MAX {
            return 0;
        }
        micros(when) - self.to_micros(self.extended(timestamp)) - fastest
    }

    /// 95th percentile of lateness; `None` before a second's worth of packets.
    pub(super) fn late_95(&self) -> Option<Duration> {
        if self.filled < PACKETS / 4 {
            return None;
        }
        let mut above = self.filled / 20;
        let mut upper = u64::try_from(BUCKETS).unwrap_or(0) * u64::from(BUCKET_MS);
        for count in self.counts.iter().rev() {
            match above.checked_sub(usize::from(*count)) {
                Some(left) => above = left,
                None => break,
            }
            upper -= u64::from(BUCKET_MS);
        }
        Some(Duration::from_millis(upper))
    }

    fn count(&mut self, bucket: usize) {
        if self.filled == PACKETS {
            let oldest = self.ring.get(self.at).copied().unwrap_or(0);
            if let Some(count) = self.counts.get_mut(usize::from(oldest)) {
                *count = count.saturating_sub(1);
            }
        }
        if let Some(place) = self.ring.get_mut(self.at) {
            *place = u8::try_from(bucket).unwrap_or(0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.at = (self.at + 1) % PACKETS;
        self.filled = (self.filled + 1).min(PACKETS);
    }

    fn extended(&self, timestamp: u32) -> i64 {
        match self.newest {
            None => i64::from(timestamp),
            Some((newest, extended)) => {
                extended + i64::from(timestamp.wrapping_sub(newest).cast_signed())
            }
        }
    }

    fn to_micros(&self, units: i64) -> i64 {
        // Extended timestamps grow by less than 2^43 in a century of calls.
        units.saturating_mul(1000) / i64::from(self.clock_hz / 1000)
    }
}

fn micros(time: Time) -> i64 {
    i64::try_from(time.micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_of_five_in_a_hundred_is_left_out() {
        let mut arrivals = Arrivals::new(8000);
        for n in 0..200u32 {
            // One in 25 comes 100 ms late, one in five 30 ms.
            let late = match n {
                n if n % 25 == 3 => 100,
                n if n % 5 == 1 => 30,
                _ => 0,
            };
            let now = Time::from_millis(u64::from(n) * 20 + late);
            arrivals.came(now, (u32::MAX - 5000).wrapping_add(n * 160));
        }
        assert_eq!(arrivals.late_95(), Some(Duration::from_millis(35)));
        let newest = (u32::MAX - 5000).wrapping_add(199 * 160);
        assert_eq!(
            arrivals.delay(Time::from_millis(199 * 20 + 50), newest),
            50_000
        );
    }

    #[test]
    fn way_that_became_longer_is_the_measure_after_four_seconds() {
        let mut arrivals = Arrivals::new(48_000);
        for n in 0..500u32 {
            let longer = if n < 100 { 0 } else { 60 };
            arrivals.came(Time::from_millis(u64::from(n) * 20 + longer), n * 960);
        }
        assert_eq!(arrivals.late_95(), Some(Duration::from_millis(5)));
    }
}
