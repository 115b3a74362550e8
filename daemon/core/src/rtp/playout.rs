//! The adaptive jitter buffer of a bridged leg: packets in, 20 ms of sound out for ever.
//! Its delay follows how unevenly packets come, 20 to 200 ms; what is missing is
//! concealed, and the drift of the sender's clock shows as a delay to be mended too.

use std::time::Duration;

use super::arrival::Arrivals;
use super::jitter::PAYLOAD_BYTES_MAX;
use super::packet::Packet;
use crate::audio::codec::{Codec, DECODED_SAMPLES_MAX, Decoder};
use crate::audio::conceal::{self, CONCEAL_MS, Concealer};
use crate::audio::rate::WIDE_SAMPLES;
use crate::time::Time;

/// Packets kept.
pub const PACKETS_MAX: usize = 50;
/// Least and greatest delay aimed at.
pub const TARGET_MIN: Duration = Duration::from_millis(20);
/// See [`TARGET_MIN`].
pub const TARGET_MAX: Duration = Duration::from_millis(200);
/// Aimed at until a second of packets is known.
const TARGET_FIRST: Duration = Duration::from_millis(40);
/// Above the target by this, the delay is made shorter: more than a frame, so that a
/// delay just made longer by one is left alone.
const SLACK_MICROS: i64 = 30_000;
/// Above the target by this, packets are dropped at once.
const EXCESS_MICROS: i64 = 250_000;
/// Shortened at most once in this time.
const SHORTEN_EVERY: Duration = Duration::from_secs(1);
/// A timestamp further away than this begins another time line.
const JUMP_SECONDS: u32 = 2;

/// Room for what one packet holds and a frame before it.
const STORE: usize = DECODED_SAMPLES_MAX + WIDE_SAMPLES;

/// What a frame was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Sound that came, all of it.
    Sound,
    /// Made up, at least in part: not for detectors.
    Concealed,
    /// Silence, for nothing came for too long to make up.
    Nothing,
}

/// What became of packets and frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// Packets that came after their turn.
    pub late: u64,
    /// Packets left out to catch up, or because too many waited.
    pub dropped: u64,
    /// Frames made up, in whole or part.
    pub concealed: u64,
    /// Times the delay was made shorter by a pitch period or a quiet frame.
    pub shortened: u64,
}

#[derive(Clone, Debug)]
struct Slot {
    used: bool,
    timestamp: u32,
    length: usize,
    payload: [u8; PAYLOAD_BYTES_MAX],
}

/// The playing side of one source. Allocates when made, and never again.
#[derive(Debug)]
pub struct Playout {
    codec: Codec,
    decoder: Decoder,
    concealer: Concealer,
    arrivals: Arrivals,
    slots: Vec<Slot>,
    ssrc: Option<u32>,
    /// Timestamp that plays next.
    next: Option<u32>,
    /// Units made up since the last packet, while nothing was there to play.
    waited: u32,
    /// Decoded and not yet played.
    store: [i16; STORE],
    stored: usize,
    /// How much of the store, from its begin, ends with sound that was made up.
    made_up: usize,
    /// Samples made up since the last real one.
    conceals_for: usize,
    /// Aimed at before the present time line is known well enough.
    target_before: Duration,
    shortened_at: Option<Time>,
    /// Of the packet played last, microseconds.
    delay: i64,
    played: Played,
}

/// What to do for the next piece of sound.
enum Step {
    /// Play the packet in this slot; shorten it if the flag is set.
    Play(usize, bool),
    /// Make something up.
    Conceal,
}

impl Playout {
    /// For packets of `codec`.
    #[must_use]
    pub fn new(codec: Codec) -> Playout {
        let slot = Slot {
            used: false,
            timestamp: 0,
            length: 0,
            payload: [0; PAYLOAD_BYTES_MAX],
        };
        Playout {
            codec,
            decoder: Decoder::new(codec),
            concealer: Concealer::new(codec.rate()),
            arrivals: Arrivals::new(codec.clock_hz()),
            slots: vec![slot; PACKETS_MAX],
            ssrc: None,
            next: None,
            waited: 0,
            store: [0; STORE],
            stored: 0,
            made_up: 0,
            conceals_for: usize::MAX / 2,
            target_before: TARGET_FIRST,
            shortened_at: None,
            delay: 0,
            played: Played::default(),
        }
    }

    /// The codec it was made for.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes an audio packet. A new source or a jump of its timestamps begins a new time
    /// line; the delay aimed at stays.
    pub fn push(&mut self, now: Time, packet: &Packet<'_>) {
        let far = |next: u32| {
            let away = packet.timestamp.wrapping_sub(next).cast_signed();
            away.unsigned_abs() > JUMP_SECONDS * self.codec.clock_hz()
        };
        if self.ssrc != Some(packet.ssrc) || self.next.is_some_and(far) {
            self.restart(packet);
        }
        self.arrivals.came(now, packet.timestamp);
        let next = *self.next.get_or_insert(packet.timestamp);
        if packet.timestamp.wrapping_sub(next).cast_signed() < 0 {
            self.played.late += 1;
            return;
        }
        let twice = |s: &Slot| s.used && s.timestamp == packet.timestamp;
        if self.slots.iter().any(twice) || packet.payload.len() > PAYLOAD_BYTES_MAX {
            return;
        }
        if self.slots.iter().all(|s| s.used)
            && let Some(first) = self.first()
        {
            self.leave_out(first);
        }
        if let Some(slot) = self.slots.iter_mut().find(|s| !s.used) {
            slot.fill(packet);
        }
    }

    /// The next 20 ms, at the codec's rate, into the beginning of `out`.
    pub fn frame(&mut self, now: Time, out: &mut [i16; WIDE_SAMPLES]) -> Heard {
        let count = self.codec.rate().frame_samples();
        while self.stored < count {
            match self.step(now) {
                Step::Play(slot, shorten) => self.play(now, slot, shorten),
                Step::Conceal => self.conceal(),
            }
        }
        for (to, from) in out.iter_mut().zip(self.store.iter().take(count)) {
            *to = *from;
        }
        self.store.copy_within(count..self.stored.min(STORE), 0);
        self.stored -= count;
        let made_up = self.made_up > 0;
        self.made_up = self.made_up.saturating_sub(count);
        if !made_up {
            return Heard::Sound;
        }
        self.played.concealed += 1;
        let silent = self.conceals_for > conceal_samples(self.codec) + count;
        if silent {
            Heard::Nothing
        } else {
            Heard::Concealed
        }
    }

    /// The delay aimed at: all but 5 % of the packets of the last 4 s would be in time.
    #[must_use]
    pub fn target(&self) -> Duration {
        match self.arrivals.late_95() {
            Some(late) => late.clamp(TARGET_MIN, TARGET_MAX),
            None => self.target_before,
        }
    }

    /// The delay of what was played last, against a packet on the fastest way.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.delay).unwrap_or(0))
    }

    /// Counts since it was made.
    #[must_use]
    pub fn played(&self) -> Played {
        self.played
    }

    fn restart(&mut self, packet: &Packet<'_>) {
        self.target_before = self.target();
        self.ssrc = Some(packet.ssrc);
        self.next = None;
        self.waited = 0;
        self.arrivals = Arrivals::new(self.codec.clock_hz());
        for slot in &mut self.slots {
            slot.used = false;
        }
    }

    fn step(&mut self, now: Time) -> Step {
        let target = micros(self.target());
        loop {
            let (Some(first), Some(next)) = (self.first(), self.next) else {
                self.waited = self.waited.saturating_add(self.codec.frame_units());
                return Step::Conceal;
            };
            let timestamp = self.slots.get(first).map_or(next, |s| s.timestamp);
            let gap = timestamp.wrapping_sub(next);
            if gap > self.waited.saturating_add(self.codec.frame_units() / 2) {
                // Lost, or so late that it has to be made up.
                self.next = Some(next.wrapping_add(gap.min(self.codec.frame_units())));
                return Step::Conceal;
            }
            let delay = self.delay_of(now, timestamp);
            if delay > target + EXCESS_MICROS {
                self.leave_out(first);
                continue;
            }
            if delay < target {
                return Step::Conceal; // so it becomes longer
            }
            self.delay = delay;
            let rested = self
                .shortened_at
                .is_none_or(|at| now.since(at) >= SHORTEN_EVERY);
            return Step::Play(first, rested && delay > target + SLACK_MICROS);
        }
    }

    fn play(&mut self, now: Time, at: usize, shorten: bool) {
        let mut sound = [0; DECODED_SAMPLES_MAX];
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        slot.used = false;
        let timestamp = slot.timestamp;
        let payload = slot.payload.get(..slot.length).unwrap_or(&[]);
        let count = self.decoder.decode(payload, &mut sound);
        self.waited = 0;
        if count == 0 {
            // Not of this codec, or a frame the peer left out.
            self.next = Some(timestamp.wrapping_add(self.codec.frame_units()));
            return self.conceal();
        }
        self.next = Some(timestamp.wrapping_add(self.units(count)));
        let sound = sound.get_mut(..count).unwrap_or_default();
        if self.codec != Codec::Opus {
            self.concealer.received(sound);
        }
        self.conceals_for = 0;
        let left = if shorten {
            self.shorten(now, sound)
        } else {
            count
        };
        self.put(sound.get(..left).unwrap_or(&[]));
    }

    /// The samples that are left.
    fn shorten(&mut self, now: Time, sound: &mut [i16]) -> usize {
        self.shortened_at = Some(now);
        self.played.shortened += 1;
        if conceal::is_quiet(sound) {
            return sound
                .len()
                .saturating_sub(self.codec.rate().frame_samples());
        }
        conceal::shorten(self.codec.rate(), sound)
    }

    /// 20 ms of made-up sound, silence once that would be too much of it.
    fn conceal(&mut self) {
        let mut sound = [0; WIDE_SAMPLES];
        let count = self.codec.rate().frame_samples();
        let sound = sound.get_mut(..count).unwrap_or_default();
        if self.conceals_for < conceal_samples(self.codec) && !self.decoder.conceal(sound) {
            self.concealer.conceal(sound);
        }
        self.conceals_for = self.conceals_for.saturating_add(count);
        self.put(sound);
        self.made_up = self.stored;
    }

    fn put(&mut self, sound: &[i16]) {
        let room = self.store.iter_mut().skip(self.stored);
        self.stored += room.zip(sound).map(|(to, from)| *to = *from).count();
    }

    /// Drops a packet and what lies before it.
    fn leave_out(&mut self, at: usize) {
        if let Some(slot) = self.slots.get_mut(at) {
            slot.used = false;
            self.next = Some(slot.timestamp.wrapping_add(self.codec.frame_units()));
            self.played.dropped += 1;
        }
    }

    /// The slot that plays first.
    fn first(&self) -> Option<usize> {
        let next = self.next?;
        let used = self.slots.iter().enumerate().filter(|(_, s)| s.used);
        used.min_by_key(|(_, s)| s.timestamp.wrapping_sub(next))
            .map(|(at, _)| at)
    }

    /// Delay of `timestamp` if it were played after what is stored.
    fn delay_of(&self, now: Time, timestamp: u32) -> i64 {
        let stored = u64::try_from(self.stored).unwrap_or(0) * 1_000_000;
        let stored = Duration::from_micros(stored / u64::from(self.codec.rate().hz()));
        self.arrivals.delay(now + stored, timestamp)
    }

    fn units(&self, samples: usize) -> u32 {
        let samples = u32::try_from(samples).unwrap_or(0);
        let hz = self.codec.rate().hz() / 1000;
        samples.saturating_mul(self.codec.clock_hz() / 1000) / hz
    }
}

impl Slot {
    fn fill(&mut self, packet: &Packet<'_>) {
        self.used = true;
        self.timestamp = packet.timestamp;
        self.length = packet.payload.len().min(PAYLOAD_BYTES_MAX);
        for (to, from) in self.payload.iter_mut().zip(packet.payload) {
            *to = *from;
        }
    }
}

fn conceal_samples(codec: Codec) -> usize {
    codec.rate().frame_samples() * CONCEAL_MS / 20
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
