//! Telephone events (RFC 4733): what comes in becomes one press a key however it was
//! sent, lost or repeated; what goes out is as plain as can be.

mod sender;

use std::collections::VecDeque;
use std::time::Duration;

use super::packet::Packet;
use crate::audio::dtmf::Digit;
use crate::time::Time;

pub use sender::{EventPacket, Sender};

/// An event without packets for so long is over; its key is remembered.
const SILENT_END: Duration = Duration::from_millis(375);
/// Audio later than the event by so many ms ends it.
const AUDIO_END_MS: u32 = 100;
/// Finished events remembered, so that their stragglers start nothing.
const FINISHED_MAX: usize = 8;
/// Digits a second; more is no finger.
const DIGITS_PER_SECOND_MAX: usize = 20;
/// Two packets of 20 ms.
const TWO_PACKETS_MS: u32 = 40;
/// Units in a ms of the usual clock, 8000 Hz.
const UNITS_PER_MS: u32 = 8;
/// A long event goes on under this much later a timestamp (RFC 4733 §2.5.1.3).
const SEGMENT: u32 = 0xffff;

/// Given to [`Receiver::handle`]. Packets come in sequence ([`super::jitter`]).
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A packet of the negotiated event payload type.
    Event(&'a Packet<'a>),
    /// The same, but its place in the sequence has passed.
    LateEvent(&'a Packet<'a>),
    /// An audio packet of this timestamp.
    Audio(u32),
    /// The deadline has come.
    Timeout,
}

/// A press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Told with the first packet seen, be it an update or an end.
    Down(Digit),
    /// Follows its `Down` exactly once.
    Up(Digit),
}

/// One event block with its place.
#[derive(Clone, Copy, Debug)]
struct Block {
    ssrc: u32,
    timestamp: u32,
    sequence: u16,
    marker: bool,
    code: u8,
    end: bool,
    duration: u16,
    late: bool,
}

/// The event in progress, or the last one.
#[derive(Clone, Copy, Debug)]
struct Current {
    ssrc: u32,
    timestamp: u32,
    sequence: u16,
    code: u8,
    duration: u16,
    heard_at: Time,
    /// Over: by its end packet, a time-out, or audio.
    over: bool,
    /// An end packet was seen.
    ended: bool,
    /// Told as `Down`: not over the rate, and a digit.
    told: bool,
}

/// The receiver of one leg.
#[derive(Debug)]
pub struct Receiver {
    units_per_ms: u32,
    current: Option<Current>,
    finished: VecDeque<(u32, u32, u8)>,
    told_at: VecDeque<Time>,
    out: VecDeque<Output>,
    excess: u64,
    quiet: u64,
}

impl Default for Receiver {
    fn default() -> Self {
        Receiver {
            units_per_ms: UNITS_PER_MS,
            current: None,
            finished: VecDeque::new(),
            told_at: VecDeque::new(),
            out: VecDeque::new(),
            excess: 0,
            quiet: 0,
        }
    }
}

impl Receiver {
    /// The clock of timestamps and durations from now on, Hz: that of the audio codec
    /// (RFC 4733 §2.1). 8000 until told otherwise.
    pub fn set_clock(&mut self, hz: u32) {
        self.units_per_ms = (hz / 1000).max(1);
    }

    /// Takes one input; drain [`Receiver::poll`] afterwards.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Event(packet) => self.packet(now, packet, false),
            Input::LateEvent(packet) => self.packet(now, packet, true),
            Input::Audio(timestamp) => self.audio(timestamp),
            Input::Timeout => {}
        }
        if self.deadline().is_some_and(|at| at <= now) {
            self.finish();
        }
    }

    /// The next press or release.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When an event without packets is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.current
            .filter(|c| !c.over)
            .map(|c| c.heard_at + SILENT_END)
    }

    /// Presses beyond 20 a second, not told.
    #[must_use]
    pub fn excess(&self) -> u64 {
        self.excess
    }

    /// Packets quieter than -55 dBm0, which the standard lets a receiver drop.
    #[must_use]
    pub fn quiet(&self) -> u64 {
        self.quiet
    }

    fn packet(&mut self, now: Time, packet: &Packet<'_>, late: bool) {
        let mut timestamp = packet.timestamp;
        for block in packet.payload.chunks_exact(4) {
            let [code, flags, high, low] = *block else {
                return;
            };
            let duration = u16::from_be_bytes([high, low]);
            if flags & 0x3f > 55 {
                self.quiet += 1;
            }
            if code <= 16 {
                self.block(
                    now,
                    Block {
                        ssrc: packet.ssrc,
                        timestamp,
                        sequence: packet.sequence,
                        marker: packet.marker,
                        code,
                        end: flags & 0x80 != 0,
                        duration,
                        late,
                    },
                );
            }
            // Further events in one packet follow each other (RFC 4733 §2.5.1.5).
            timestamp = timestamp.wrapping_add(u32::from(duration));
        }
    }

    fn block(&mut self, now: Time, block: Block) {
        let two_packets = TWO_PACKETS_MS * self.units_per_ms;
        let Some(current) = &mut self.current else {
            return self.begin(now, block);
        };
        let same_key = current.ssrc == block.ssrc && current.timestamp == block.timestamp;
        if same_key && current.code == block.code && !current.restarted(&block) {
            current.update(now, &block);
        } else if block.late {
            self.straggler(now, block);
        } else if same_key {
            // Senders that keep one timestamp for several presses.
            self.begin(now, block);
        } else if current.continues_in(&block, two_packets) {
            let old = (current.ssrc, current.timestamp, current.code);
            current.timestamp = block.timestamp;
            if current.duration > block.duration {
                current.duration = block.duration; // a new segment counts from zero
            }
            current.update(now, &block);
            self.remember(old);
        } else if !self.knows(&block) {
            self.begin(now, block);
        }
        if self.current.is_some_and(|c| c.ended && !c.over) {
            self.finish();
        }
    }

    /// A packet whose place has passed: of a press already told, or all that is left of
    /// one whose other packets were lost.
    fn straggler(&mut self, now: Time, block: Block) {
        if self.knows(&block) {
            return;
        }
        // It is told whole, so what is held ends first: presses never overlap.
        self.finish();
        if let Some(digit) = self.tell(now, block.code) {
            self.out.push_back(Output::Up(digit));
        }
        self.remember((block.ssrc, block.timestamp, block.code));
    }

    fn begin(&mut self, now: Time, block: Block) {
        self.finish();
        if let Some(old) = self.current.take() {
            self.remember((old.ssrc, old.timestamp, old.code));
        }
        let told = self.tell(now, block.code).is_some();
        self.current = Some(Current {
            ssrc: block.ssrc,
            timestamp: block.timestamp,
            sequence: block.sequence,
            code: block.code,
            duration: block.duration,
            heard_at: now,
            over: false,
            ended: block.end,
            told,
        });
        if block.end {
            self.finish();
        }
    }

    /// Tells a press, unless it is no digit or one too many.
    fn tell(&mut self, now: Time, code: u8) -> Option<Digit> {
        let digit = Digit::from_code(code)?;
        let second = Duration::from_secs(1);
        while self
            .told_at
            .pop_front_if(|at| now.since(*at) >= second)
            .is_some()
        {}
        if self.told_at.len() >= DIGITS_PER_SECOND_MAX {
            self.excess += 1;
            return None;
        }
        self.told_at.push_back(now);
        self.out.push_back(Output::Down(digit));
        Some(digit)
    }

    fn audio(&mut self, timestamp: u32) {
        let later = self.current.is_some_and(|c| {
            let end = c.timestamp.wrapping_add(u32::from(c.duration));
            let past = timestamp.wrapping_sub(end).cast_signed();
            past >= (AUDIO_END_MS * self.units_per_ms).cast_signed()
        });
        if later {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(current) = self.current.as_mut().filter(|c| !c.over) {
            current.over = true;
            if let Some(digit) = Digit::from_code(current.code).filter(|_| current.told) {
                self.out.push_back(Output::Up(digit));
            }
        }
    }

    fn knows(&self, block: &Block) -> bool {
        let key = (block.ssrc, block.timestamp, block.code);
        self.finished.contains(&key)
    }

    fn remember(&mut self, key: (u32, u32, u8)) {
        if self.finished.len() == FINISHED_MAX {
            self.finished.pop_front();
        }
        self.finished.push_back(key);
    }
}

impl Current {
    fn update(&mut self, now: Time, block: &Block) {
        self.duration = self.duration.max(block.duration);
        self.ended |= block.end;
        if !block.late {
            self.sequence = block.sequence;
        }
        if !self.over {
            self.heard_at = now;
        }
    }

    /// Same timestamp and code, but a new press: the duration began anew after the end,
    /// and not in the next packet.
    fn restarted(&self, block: &Block) -> bool {
        let step = block.sequence.wrapping_sub(self.sequence);
        self.ended && !block.late && block.duration < self.duration && step > 1
    }

    /// Another timestamp, but the same press: the next segment of a long one, or a
    /// sender that moves the timestamp with every packet.
    fn continues_in(&self, block: &Block, two_packets: u32) -> bool {
        if self.ssrc != block.ssrc || self.code != block.code || block.marker {
            return false;
        }
        let step = block.timestamp.wrapping_sub(self.timestamp);
        if step == SEGMENT && !self.ended {
            return true;
        }
        let contiguous = block.sequence == self.sequence.wrapping_add(1);
        let repeats_end = self.ended && block.end && block.duration == self.duration;
        let goes_on = !self.ended && block.duration >= self.duration;
        contiguous && step <= two_packets && (goes_on || repeats_end)
    }
}

#[cfg(test)]
mod tests;
