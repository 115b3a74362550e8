//! Whom we listen to and how well it arrives: validity of a source, loss and jitter
//! (RFC 3550 appendix A.1, A.3, A.8).

use std::time::Duration;

use crate::time::Time;

/// A step of the sequence larger than this is no loss but a new beginning.
const DROPOUT_MAX: u16 = 3000;
/// The clock of all codecs but Opus, Hz.
const CLOCK_HZ: u32 = 8000;
/// A change of transit past this is a pause or a new time line, no jitter.
const CHANGE_MAX_SECONDS: u32 = 1;

/// Whether a packet may be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Of the source we listen to.
    Play,
    /// Of another source, or far away in sequence: only a second one in sequence makes
    /// it the source we listen to.
    Doubt,
}

/// Statistics of what is received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Packets that came.
    pub packets: u64,
    /// Packets that should have come and did not, never negative.
    pub lost: u64,
    /// Extended highest sequence number: cycles in the upper half.
    pub highest: u32,
    /// Interarrival jitter in units of the RTP clock.
    pub jitter: u32,
    /// The source; `None` before the first packet.
    pub ssrc: Option<u32>,
}

/// The receiving side of one leg.
#[derive(Clone, Debug)]
pub struct Source {
    clock_hz: u32,
    ssrc: Option<u32>,
    base: u32,
    highest: u32,
    /// Packets of this source since `base`.
    packets: u64,
    /// Counts of sources before this one.
    packets_before: u64,
    lost_before: u64,
    /// Source and sequence that would confirm a doubted packet.
    doubted: Option<(u32, u16)>,
    transit: Option<u32>,
    /// Jitter times 16, units of the RTP clock.
    jitter_16: u32,
}

impl Default for Source {
    fn default() -> Self {
        Source {
            clock_hz: CLOCK_HZ,
            ssrc: None,
            base: 0,
            highest: 0,
            packets: 0,
            packets_before: 0,
            lost_before: 0,
            doubted: None,
            transit: None,
            jitter_16: 0,
        }
    }
}

impl Source {
    /// The clock of the timestamps from now on, Hz; 8000 until told otherwise.
    pub fn set_clock(&mut self, hz: u32) {
        if self.clock_hz != hz.max(1) {
            self.clock_hz = hz.max(1);
            self.transit = None;
            self.jitter_16 = 0;
        }
    }

    /// Judges and counts a packet that came from the right address.
    pub fn receive(&mut self, now: Time, ssrc: u32, sequence: u16, timestamp: u32) -> Verdict {
        let expected = self.doubted.take();
        match self.ssrc {
            // The address was checked: the first source needs no probation, and its
            // first packet may be the only one of an event.
            None => self.begin(ssrc, sequence),
            Some(current) if current != ssrc || self.is_far(sequence) => {
                if expected != Some((ssrc, sequence)) {
                    self.doubted = Some((ssrc, sequence.wrapping_add(1)));
                    return Verdict::Doubt;
                }
                self.begin(ssrc, sequence);
            }
            Some(_) => self.advance(sequence),
        }
        self.packets += 1;
        self.measure(now, timestamp);
        Verdict::Play
    }

    /// What is known now.
    #[must_use]
    pub fn received(&self) -> Received {
        Received {
            packets: self.packets_before + self.packets,
            lost: self.lost_before + self.lost(),
            highest: self.highest,
            jitter: self.jitter_16 >> 4,
            ssrc: self.ssrc,
        }
    }

    /// Jitter as a time.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        let units = u64::from(self.jitter_16 >> 4);
        Duration::from_micros(units * 1_000_000 / u64::from(self.clock_hz))
    }

    fn lost(&self) -> u64 {
        if self.ssrc.is_none() {
            return 0;
        }
        let expected = u64::from(self.highest.wrapping_sub(self.base)) + 1;
        expected.saturating_sub(self.packets)
    }

    fn begin(&mut self, ssrc: u32, sequence: u16) {
        self.lost_before += self.lost();
        self.packets_before += self.packets;
        self.packets = 0;
        self.ssrc = Some(ssrc);
        self.base = u32::from(sequence);
        self.highest = u32::from(sequence);
        self.transit = None;
    }

    fn is_far(&self, sequence: u16) -> bool {
        let step = sequence.wrapping_sub(self.sequence()).cast_signed();
        step.unsigned_abs() > DROPOUT_MAX
    }

    fn advance(&mut self, sequence: u16) {
        let step = sequence.wrapping_sub(self.sequence());
        if step.cast_signed() > 0 {
            self.highest = self.highest.wrapping_add(u32::from(step));
        }
    }

    #[allow(clippy::cast_possible_truncation)] // the lower half is the sequence number
    fn sequence(&self) -> u16 {
        self.highest as u16
    }

    /// RFC 3550 A.8.
    #[allow(clippy::cast_possible_truncation)] // differences modulo 2^32 are what is meant
    fn measure(&mut self, now: Time, timestamp: u32) {
        let clock = u128::from(self.clock_hz);
        let arrival = (u128::from(now.micros()) * clock / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let change = transit.wrapping_sub(last).cast_signed().unsigned_abs();
            if change < CHANGE_MAX_SECONDS * self.clock_hz {
                self.jitter_16 = self.jitter_16 + change - ((self.jitter_16 + 8) >> 4);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(source: &mut Source, ms: u64, ssrc: u32, sequence: u16) -> Verdict {
        source.receive(
            Time::from_millis(ms),
            ssrc,
            sequence,
            u32::from(sequence) * 160,
        )
    }

    #[test]
    fn loss_is_counted_across_the_wrap_and_reordering() {
        let mut source = Source::default();
        for sequence in [65_533, 65_535, 65_534, 1, 2, 5] {
            assert_eq!(feed(&mut source, 0, 7, sequence), Verdict::Play);
        }
        let received = source.received();
        // Missing: 0, 3, 4.
        assert_eq!((received.packets, received.lost), (6, 3));
        assert_eq!(received.highest, 65_536 + 5);
    }

    #[test]
    fn duplicates_do_not_make_loss_negative() {
        let mut source = Source::default();
        for _ in 0..5 {
            feed(&mut source, 0, 7, 1);
        }
        assert_eq!(source.received().lost, 0);
    }

    #[test]
    fn new_source_needs_two_packets_in_sequence() {
        let mut source = Source::default();
        feed(&mut source, 0, 7, 1);
        assert_eq!(feed(&mut source, 20, 8, 100), Verdict::Doubt);
        assert_eq!(feed(&mut source, 21, 7, 2), Verdict::Play);
        assert_eq!(feed(&mut source, 40, 8, 101), Verdict::Doubt);
        assert_eq!(feed(&mut source, 60, 8, 102), Verdict::Play);
        assert_eq!(source.received().ssrc, Some(8));
        assert_eq!(source.received().packets, 3);
    }

    #[test]
    fn even_arrivals_have_no_jitter_and_uneven_ones_have() {
        let mut even = Source::default();
        let mut uneven = Source::default();
        for n in 0..200u16 {
            feed(&mut even, u64::from(n) * 20, 1, n);
            feed(&mut uneven, u64::from(n) * 20 + u64::from(n % 2) * 10, 1, n);
        }
        assert_eq!(even.jitter(), Duration::ZERO);
        let jitter = uneven.jitter().as_millis();
        assert!((8..=10).contains(&jitter), "{jitter} ms");
        let mut opus = Source::default();
        opus.set_clock(48_000);
        for n in 0..200u16 {
            let now = Time::from_millis(u64::from(n) * 20 + u64::from(n % 2) * 10);
            opus.receive(now, 1, n, u32::from(n) * 960);
        }
        let jitter = opus.jitter().as_millis();
        assert!((8..=10).contains(&jitter), "{jitter} ms");
    }
}
