//! Sends keys as telephone events: one timestamp a key, the marker on its first packet,
//! an update every 20 ms, the end three times, then a pause.

use std::collections::VecDeque;

use crate::audio::dtmf::Digit;

/// Keys that may wait.
const WAITING_MAX: usize = 64;
/// Updates of a key: 100 ms.
const UPDATES: u16 = 5;
/// The end is sent so often (RFC 4733 §2.5.1.4).
const ENDS: u16 = 3;
/// Slots of 20 ms from the begin of a key to that of the next: 100 ms on, 100 ms off.
const SLOTS: u16 = 10;
/// -10 dBm0.
const VOLUME: u8 = 10;

/// What to send instead of audio in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPacket {
    /// Payload.
    pub payload: [u8; 4],
    /// RTP timestamp: that of the first packet of the key.
    pub timestamp: u32,
    /// First packet of the key.
    pub marker: bool,
}

/// Keys to be sent on one leg.
#[derive(Debug, Default)]
pub struct Sender {
    waiting: VecDeque<Digit>,
    /// Key, its timestamp, slots since its begin.
    current: Option<(Digit, u32, u16)>,
}

impl Sender {
    /// Sends `digits` after those still waiting; those beyond 64 are left out.
    pub fn send(&mut self, digits: impl IntoIterator<Item = Digit>) {
        let room = WAITING_MAX - self.waiting.len().min(WAITING_MAX);
        self.waiting.extend(digits.into_iter().take(room));
    }

    /// Called once every 20 ms with the timestamp audio would have, and how many units of
    /// its clock 20 ms are, at most 13,000; `None`: send audio.
    pub fn next(&mut self, timestamp: u32, units: u16) -> Option<EventPacket> {
        if self.current.is_none() {
            let digit = self.waiting.pop_front()?;
            self.current = Some((digit, timestamp, 0));
        }
        let (digit, begun, slot) = self.current.as_mut()?;
        let (digit, begun, at) = (*digit, *begun, *slot);
        *slot += 1;
        if *slot == SLOTS {
            self.current = None;
        }
        if at >= UPDATES + ENDS {
            return None;
        }
        let end = if at >= UPDATES { 0x80 } else { 0 };
        let [high, low] = ((at + 1).min(UPDATES).saturating_mul(units)).to_be_bytes();
        Some(EventPacket {
            payload: [digit.code(), end | VOLUME, high, low],
            timestamp: begun,
            marker: at == 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_five_updates_three_ends_and_a_pause() {
        let mut sender = Sender::default();
        let digit = Digit::from_char('#').unwrap();
        sender.send([digit, digit]);
        let mut timestamp = 1000;
        let mut slots = Vec::new();
        for _ in 0..20 {
            slots.push(sender.next(timestamp, 160));
            timestamp += 160;
        }
        let first = slots[0].unwrap();
        assert_eq!(first.payload, [11, 10, 0, 160]);
        assert!(first.marker && !slots[1].unwrap().marker);
        assert_eq!(slots[4].unwrap().payload, [11, 10, 3, 32]);
        for end in &slots[5..8] {
            assert_eq!(end.unwrap().payload, [11, 0x8a, 3, 32]);
            assert_eq!(end.unwrap().timestamp, 1000);
        }
        assert_eq!(slots[8..10], [None, None]);
        assert_eq!(slots[10].unwrap().timestamp, 2600);
        assert_eq!(sender.next(timestamp, 160), None);
    }

    #[test]
    fn duration_counts_in_the_clock_of_the_codec() {
        let mut sender = Sender::default();
        sender.send([Digit::from_char('1').unwrap()]);
        let last = (0..8).filter_map(|n| sender.next(n * 960, 960)).last();
        assert_eq!(last.unwrap().payload, [1, 0x8a, 0x12, 0xc0]);
    }

    #[test]
    fn queue_of_keys_is_bounded() {
        let mut sender = Sender::default();
        sender.send(vec![Digit::from_char('1').unwrap(); 1000]);
        let marks = (0..20_000)
            .filter_map(|n| sender.next(n, 160))
            .filter(|p| p.marker);
        assert_eq!(marks.count(), WAITING_MAX);
    }
}
