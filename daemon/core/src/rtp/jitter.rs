//! Order, not delay: packets in sequence pass at once, a gap waits at most 60 ms for
//! what is missing and is then told, never filled. For flows, detector and recorder.

use std::time::Duration;

use super::packet::Packet;
use crate::time::Time;

/// How long a gap waits.
pub const GAP_WAIT: Duration = Duration::from_millis(60);
/// Packets kept while a gap waits; one more ends the wait.
const SLOTS: usize = 8;
/// Largest payload kept: 60 ms of G.711. Longer ones are cut off.
pub const PAYLOAD_BYTES_MAX: usize = 480;
/// A sequence number further away than this starts a new stream (RFC 3550 A.1).
const JUMP_MAX: i16 = 3000;

/// What comes out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out<'a> {
    /// The next packet in sequence.
    Packet(Packet<'a>),
    /// So many packets are missing here.
    Gap(u16),
    /// A packet whose place has passed; of use only to telephone events.
    Late(Packet<'a>),
}

#[derive(Clone, Debug)]
struct Slot {
    used: bool,
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    length: usize,
    late: bool,
    payload: [u8; PAYLOAD_BYTES_MAX],
}

/// Puts the packets of one leg back into sequence. Allocates once.
#[derive(Clone, Debug)]
pub struct Reorder {
    slots: Vec<Slot>,
    /// Source of the stream now played.
    ssrc: Option<u32>,
    /// Sequence number that comes next.
    next: u16,
    /// Packets kept.
    waiting: usize,
    /// Since when a packet waits behind a gap.
    waiting_since: Option<Time>,
    /// Gap to tell before the next packet.
    gap: u16,
}

impl Default for Reorder {
    fn default() -> Self {
        let slot = Slot {
            used: false,
            marker: false,
            payload_type: 0,
            sequence: 0,
            timestamp: 0,
            ssrc: 0,
            length: 0,
            late: false,
            payload: [0; PAYLOAD_BYTES_MAX],
        };
        Reorder {
            slots: vec![slot; SLOTS],
            ssrc: None,
            next: 0,
            waiting: 0,
            waiting_since: None,
            gap: 0,
        }
    }
}

impl Reorder {
    /// Whether the packet is the next one while nothing waits: it need not be pushed,
    /// take it at once. Nearly every packet is.
    #[inline]
    pub fn pass(&mut self, packet: &Packet<'_>) -> bool {
        let is_next = self.ssrc == Some(packet.ssrc)
            && packet.sequence == self.next
            && self.waiting == 0
            && self.gap == 0;
        if is_next {
            self.next = self.next.wrapping_add(1);
        }
        is_next
    }

    /// Takes a packet; drain [`Reorder::pop`] after each. A new source or a jump of the
    /// sequence starts afresh.
    pub fn push(&mut self, now: Time, packet: &Packet<'_>) {
        let distance = packet.sequence.wrapping_sub(self.next).cast_signed();
        if self.ssrc != Some(packet.ssrc) || distance.unsigned_abs() > JUMP_MAX.unsigned_abs() {
            self.restart(packet);
        }
        let late = packet.sequence.wrapping_sub(self.next).cast_signed() < 0;
        let twice = |s: &Slot| s.used && s.sequence == packet.sequence && s.late == late;
        if self.slots.iter().any(twice) {
            return;
        }
        if let Some(slot) = self.slots.iter_mut().find(|s| !s.used) {
            slot.fill(packet, late);
            self.waiting += 1;
        }
        // A full buffer waits no longer.
        let full = self.waiting == SLOTS;
        if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
        if full {
            self.give_gap_up();
        }
    }

    /// The next thing in order, or `None` until more comes or [`Reorder::deadline`].
    pub fn pop(&mut self, now: Time) -> Option<Out<'_>> {
        if self.waiting == 0 && self.gap == 0 {
            return None;
        }
        if let Some(at) = self.slots.iter().position(|s| s.used && s.late) {
            return self.take(at).map(Out::Late);
        }
        if self.deadline().is_some_and(|at| at <= now) {
            self.give_gap_up();
        }
        if self.gap > 0 {
            return Some(Out::Gap(std::mem::take(&mut self.gap)));
        }
        let next = self.next;
        let at = self
            .slots
            .iter()
            .position(|s| s.used && s.sequence == next)?;
        self.next = next.wrapping_add(1);
        // The wait of whatever is still behind a gap begins anew with each packet that
        // passes before it.
        self.waiting_since = (self.waiting > 1).then_some(now);
        self.take(at).map(Out::Packet)
    }

    /// When a waiting gap is given up: call [`Reorder::pop`] then.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.waiting_since
            .filter(|_| self.waiting > 0)
            .map(|since| since + GAP_WAIT)
    }

    /// Forgets everything: the codec or the peer changed.
    pub fn reset(&mut self) {
        self.ssrc = None;
        self.gap = 0;
        self.waiting = 0;
        self.waiting_since = None;
        for slot in &mut self.slots {
            slot.used = false;
        }
    }

    fn restart(&mut self, packet: &Packet<'_>) {
        self.reset();
        self.ssrc = Some(packet.ssrc);
        self.next = packet.sequence;
    }

    /// Moves on to the oldest packet at hand.
    fn give_gap_up(&mut self) {
        let next = self.next;
        let nearest = self
            .slots
            .iter()
            .filter(|s| s.used && !s.late)
            .map(|s| s.sequence.wrapping_sub(next))
            .min();
        if let Some(missing) = nearest {
            self.gap = self.gap.saturating_add(missing);
            self.next = next.wrapping_add(missing);
        }
        self.waiting_since = None;
    }

    fn take(&mut self, at: usize) -> Option<Packet<'_>> {
        let slot = self.slots.get_mut(at)?;
        slot.used = false;
        self.waiting = self.waiting.saturating_sub(1);
        Some(Packet {
            marker: slot.marker,
            payload_type: slot.payload_type,
            sequence: slot.sequence,
            timestamp: slot.timestamp,
            ssrc: slot.ssrc,
            payload: slot.payload.get(..slot.length).unwrap_or(&[]),
        })
    }
}

impl Slot {
    fn fill(&mut self, packet: &Packet<'_>, late: bool) {
        self.used = true;
        self.late = late;
        self.marker = packet.marker;
        self.payload_type = packet.payload_type;
        self.sequence = packet.sequence;
        self.timestamp = packet.timestamp;
        self.ssrc = packet.ssrc;
        self.length = packet.payload.len().min(PAYLOAD_BYTES_MAX);
        for (to, from) in self.payload.iter_mut().zip(packet.payload) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn packet(sequence: u16, ssrc: u32) -> Packet<'static> {
        Packet {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc,
            payload: &[7; 160],
        }
    }

    fn drain(buffer: &mut Reorder, ms: u64) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(next) = buffer.pop(Time::from_millis(ms)) {
            out.push(match next {
                Out::Packet(p) => p.sequence.to_string(),
                Out::Gap(n) => format!("gap {n}"),
                Out::Late(p) => format!("late {}", p.sequence),
            });
        }
        out
    }

    fn feed(buffer: &mut Reorder, ms: u64, sequence: u16) -> Vec<String> {
        buffer.push(Time::from_millis(ms), &packet(sequence, 1));
        drain(buffer, ms)
    }

    #[test]
    fn packets_in_order_pass_at_once_across_the_wrap() {
        let mut buffer = Reorder::default();
        for (n, sequence) in [65_534, 65_535, 0, 1].into_iter().enumerate() {
            assert_eq!(
                feed(&mut buffer, n as u64 * 20, sequence),
                [sequence.to_string()]
            );
        }
        assert_eq!(buffer.deadline(), None);
    }

    #[test]
    fn packet_passes_only_as_the_next_one_with_nothing_waiting() {
        let mut buffer = Reorder::default();
        assert!(!buffer.pass(&packet(10, 1)), "a stream begins with a push");
        feed(&mut buffer, 0, 10);
        assert!(buffer.pass(&packet(11, 1)));
        assert!(!buffer.pass(&packet(11, 1)), "twice");
        assert!(!buffer.pass(&packet(12, 2)), "another source");
        assert!(feed(&mut buffer, 20, 13).is_empty());
        assert!(!buffer.pass(&packet(12, 1)), "one waits behind it");
        assert_eq!(feed(&mut buffer, 25, 12), ["12", "13"]);
        assert!(buffer.pass(&packet(14, 1)));
    }

    #[test]
    fn swapped_packets_come_out_in_order() {
        let mut buffer = Reorder::default();
        feed(&mut buffer, 0, 10);
        assert!(feed(&mut buffer, 20, 12).is_empty());
        assert_eq!(feed(&mut buffer, 30, 11), ["11", "12"]);
    }

    #[test]
    fn gap_is_told_after_60_ms_and_not_before() {
        let mut buffer = Reorder::default();
        feed(&mut buffer, 0, 10);
        assert!(feed(&mut buffer, 40, 13).is_empty());
        assert_eq!(buffer.deadline(), Some(Time::from_millis(100)));
        assert!(drain(&mut buffer, 99).is_empty());
        assert_eq!(drain(&mut buffer, 100), ["gap 2", "13"]);
        assert_eq!(feed(&mut buffer, 101, 12), ["late 12"]);
        assert_eq!(feed(&mut buffer, 110, 14), ["14"]);
    }

    #[test]
    fn duplicates_pass_once() {
        let mut buffer = Reorder::default();
        feed(&mut buffer, 0, 10);
        assert_eq!(feed(&mut buffer, 1, 10), ["late 10"]);
        assert!(feed(&mut buffer, 20, 12).is_empty());
        assert!(feed(&mut buffer, 20, 12).is_empty());
        assert_eq!(feed(&mut buffer, 21, 11), ["11", "12"]);
    }

    #[test]
    fn full_buffer_does_not_wait() {
        let mut buffer = Reorder::default();
        feed(&mut buffer, 0, 10);
        for n in 0..7 {
            assert!(feed(&mut buffer, 1, 12 + n).is_empty());
        }
        let out = feed(&mut buffer, 2, 19);
        assert_eq!(out.first().map(String::as_str), Some("gap 1"));
        assert_eq!(out.len(), 9);
    }

    #[test]
    fn new_source_or_a_jump_starts_afresh() {
        let mut buffer = Reorder::default();
        feed(&mut buffer, 0, 10);
        feed(&mut buffer, 0, 12);
        buffer.push(Time::from_millis(1), &packet(40_000, 1));
        assert_eq!(drain(&mut buffer, 1), ["40000"]);
        buffer.push(Time::from_millis(2), &packet(5, 2));
        assert_eq!(drain(&mut buffer, 2), ["5"]);
    }

    #[test]
    fn oversized_payload_is_cut() {
        let mut buffer = Reorder::default();
        let long = [9; 1400];
        buffer.push(
            Time::ZERO,
            &Packet {
                payload: &long,
                ..packet(1, 1)
            },
        );
        let Some(Out::Packet(got)) = buffer.pop(Time::ZERO) else {
            panic!("no packet")
        };
        assert_eq!(got.payload.len(), PAYLOAD_BYTES_MAX);
    }

    #[test]
    fn random_streams_come_out_in_order_with_every_loss_told() {
        let mut rng = Rng::new(9);
        for _ in 0..300 {
            let mut buffer = Reorder::default();
            let start = rng.next_u32() as u16;
            let mut arrivals: Vec<(u64, u16)> = Vec::new();
            for n in 0..100u16 {
                if n == 0 {
                    arrivals.push((0, 0));
                } else if rng.below(10) > 0 {
                    arrivals.push((u64::from(n) * 20 + rng.below(40), n));
                }
            }
            arrivals.sort_unstable();
            let (mut seen, mut expected) = (Vec::new(), 0u16);
            let mut take = |buffer: &mut Reorder, now| {
                while let Some(out) = buffer.pop(now) {
                    match out {
                        Out::Packet(p) => {
                            let n = p.sequence.wrapping_sub(start);
                            assert_eq!(n, expected);
                            seen.push(n);
                            expected = n + 1;
                        }
                        Out::Gap(n) => expected += n,
                        Out::Late(_) => panic!("40 ms of jitter are never late"),
                    }
                }
            };
            for (ms, n) in &arrivals {
                while let Some(at) = buffer.deadline().filter(|at| *at < Time::from_millis(*ms)) {
                    take(&mut buffer, at);
                }
                let now = Time::from_millis(*ms);
                buffer.push(now, &packet(start.wrapping_add(*n), 1));
                take(&mut buffer, now);
            }
            while let Some(at) = buffer.deadline() {
                take(&mut buffer, at);
            }
            assert_eq!(seen.len(), arrivals.len());
        }
    }
}
