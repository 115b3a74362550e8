//! What one leg hears: packets of the right source become digits, and sound for the
//! recorder. Runs inside the leg's slot and owns no socket.

use helpline_core::audio::dtmf::{Detector, KeySound};
use helpline_core::audio::{FRAME_SAMPLES, Law};
use helpline_core::rtp::digits::{self, Digits};
use helpline_core::rtp::jitter::{Out, PAYLOAD_BYTES_MAX, Reorder};
use helpline_core::rtp::packet::Packet;
use helpline_core::rtp::source::{Source, Verdict};
use helpline_core::rtp::telephone_event::{self, Receiver};
use helpline_core::sdp::{Codec, Negotiated};
use helpline_core::time::Time;

use super::recorder::Tap;

/// Longest silence written into a recording for one gap (10 s): a peer's timestamps are
/// not to be trusted with a disk.
const GAP_SAMPLES_MAX: u32 = 80_000;
/// Lost packets told to the detector at once; a longer gap is a pause.
const GAP_PACKETS_MAX: u32 = 50;

/// The receiving side of a leg.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    pub(super) source: Source,
    reorder: Reorder,
    ear: Ear,
}

/// What becomes of packets once they are in order.
#[derive(Debug, Default)]
struct Ear {
    law: Option<Law>,
    payload_type: u8,
    event_payload_type: Option<u8>,
    events: Receiver,
    detector: Detector,
    digits: Digits,
    recording: Option<Recording>,
}

/// A recording and where on its time line we are.
#[derive(Debug)]
struct Recording {
    tap: Tap,
    begun: Time,
    /// Samples pushed.
    written: u32,
    /// Source, its timestamp and the sample that belongs to it.
    anchor: Option<(u32, u32, u32)>,
}

pub(super) fn law(codec: Codec) -> Law {
    codec.law().unwrap_or(Law::Mu)
}

impl Hearing {
    /// Listens to what was negotiated, from the next packet on.
    pub(super) fn connect(&mut self, now: Time, negotiated: &Negotiated) {
        let law = law(negotiated.codec);
        if self.ear.law != Some(law) || self.ear.payload_type != negotiated.payload_type {
            self.reorder.reset();
            self.ear.reset_detector(now);
        }
        self.ear.law = Some(law);
        self.ear.payload_type = negotiated.payload_type;
        self.ear.event_payload_type = negotiated.event_payload_type;
        let events = negotiated.event_payload_type.is_some();
        self.digit(now, digits::Input::Negotiated(events));
    }

    pub(super) fn record(&mut self, now: Time, tap: Tap) {
        self.ear.recording = Some(Recording {
            tap,
            begun: now,
            written: 0,
            anchor: None,
        });
    }

    /// Something about digits that did not come as a packet.
    pub(super) fn digit(&mut self, now: Time, input: digits::Input) {
        self.ear.digits.handle(now, input);
    }

    /// The next digit heard, oldest first.
    pub(super) fn poll_digit(&mut self) -> Option<digits::Output> {
        self.ear.digits.poll()
    }

    /// The packet in a datagram, if it is one of those agreed on.
    pub(super) fn packet<'a>(&self, bytes: &'a [u8]) -> Option<Packet<'a>> {
        self.ear.law?;
        let packet = Packet::parse(bytes).ok()?;
        let known = packet.payload_type == self.ear.payload_type
            || Some(packet.payload_type) == self.ear.event_payload_type;
        known.then_some(packet)
    }

    /// Takes one datagram of the right source. False if it is none we can use.
    pub(super) fn datagram(&mut self, now: Time, bytes: &[u8]) -> bool {
        let Some(packet) = self.packet(bytes) else {
            return false;
        };
        let verdict = self
            .source
            .receive(now, packet.ssrc, packet.sequence, packet.timestamp);
        if verdict == Verdict::Doubt {
            return true;
        }
        if self.reorder.pass(&packet) {
            self.ear.hear(now, Out::Packet(packet));
        } else {
            self.reorder.push(now, &packet);
            self.drain(now);
        }
        true
    }

    /// Once a slot, after the datagrams: whatever waited long enough.
    pub(super) fn tick(&mut self, now: Time) {
        self.drain(now);
        self.ear.tick(now);
    }

    fn drain(&mut self, now: Time) {
        while let Some(out) = self.reorder.pop(now) {
            self.ear.hear(now, out);
        }
    }
}

impl Ear {
    fn hear(&mut self, now: Time, out: Out<'_>) {
        let is_event = |packet: &Packet<'_>| Some(packet.payload_type) == self.event_payload_type;
        match out {
            Out::Packet(packet) if is_event(&packet) => {
                self.event(now, telephone_event::Input::Event(&packet));
            }
            Out::Late(packet) if is_event(&packet) => {
                self.event(now, telephone_event::Input::LateEvent(&packet));
            }
            Out::Packet(packet) => self.sound(now, &packet),
            Out::Gap(missing) => {
                let packets = u32::from(missing).min(GAP_PACKETS_MAX);
                self.detector.freeze(packets * 20);
                pass_sounds_on(&mut self.detector, &mut self.digits, now);
            }
            Out::Late(_) => {}
        }
    }

    fn sound(&mut self, now: Time, packet: &Packet<'_>) {
        self.event(now, telephone_event::Input::Audio(packet.timestamp));
        let wanted = self.digits.wants_sound();
        let (Some(law), true) = (self.law, wanted || self.recording.is_some()) else {
            return;
        };
        let mut sound = [0i16; PAYLOAD_BYTES_MAX];
        for (to, code) in sound.iter_mut().zip(packet.payload) {
            *to = law.decode(*code);
        }
        let heard = sound.get(..packet.payload.len()).unwrap_or(&sound);
        if let Some(recording) = &mut self.recording {
            recording.sound(packet.ssrc, packet.timestamp, heard);
        }
        if wanted {
            self.detector.handle(heard);
            pass_sounds_on(&mut self.detector, &mut self.digits, now);
        }
    }

    fn tick(&mut self, now: Time) {
        self.event(now, telephone_event::Input::Timeout);
        self.digits.handle(now, digits::Input::Timeout);
        if let Some(recording) = &mut self.recording {
            recording.catch_up(now);
        }
    }

    fn event(&mut self, now: Time, input: telephone_event::Input<'_>) {
        self.events.handle(now, input);
        while let Some(output) = self.events.poll() {
            let input = match output {
                telephone_event::Output::Down(digit) => digits::Input::EventDown(digit),
                telephone_event::Output::Up(digit) => digits::Input::EventUp(digit),
            };
            self.digits.handle(now, input);
        }
    }

    fn reset_detector(&mut self, now: Time) {
        self.detector.reset();
        pass_sounds_on(&mut self.detector, &mut self.digits, now);
    }
}

fn pass_sounds_on(detector: &mut Detector, digits: &mut Digits, now: Time) {
    while let Some(sound) = detector.poll() {
        let input = match sound {
            KeySound::Begin(digit) => digits::Input::SoundBegin(digit),
            KeySound::End(digit) => digits::Input::SoundEnd(digit),
        };
        digits.handle(now, input);
    }
}

impl Recording {
    /// Sound of a packet, put at its place by the peer's timestamps.
    fn sound(&mut self, ssrc: u32, timestamp: u32, samples: &[i16]) {
        let count = u32::try_from(samples.len()).unwrap_or(0);
        let place = match self.anchor {
            Some((from, stamp, sample)) if from == ssrc => {
                sample.wrapping_add(timestamp.wrapping_sub(stamp))
            }
            // A new source begins where we are.
            _ => self.written,
        };
        let ahead = place.wrapping_sub(self.written).cast_signed();
        let place = if (0..=GAP_SAMPLES_MAX.cast_signed()).contains(&ahead) {
            self.tap.silence(ahead.unsigned_abs());
            place
        } else if ahead < 0 && ahead > -GAP_SAMPLES_MAX.cast_signed() {
            // Silence already stands there: what comes now is later than its place.
            self.written
        } else {
            self.written // another time line
        };
        self.tap.sound(samples);
        self.written = place.wrapping_add(count);
        self.anchor = Some((ssrc, timestamp.wrapping_add(count), self.written));
    }

    /// Keeps the time line true while nothing comes: behind our clock by more than
    /// 200 ms, silence is written.
    fn catch_up(&mut self, now: Time) {
        let samples = now.since(self.begun).as_micros() / 125;
        let due = u32::try_from(samples).unwrap_or(u32::MAX);
        let allowed = self.written.saturating_add(1600);
        if due > allowed {
            let frame = u32::try_from(FRAME_SAMPLES).unwrap_or(0);
            let missing = (due - allowed).next_multiple_of(frame);
            self.tap.silence(missing);
            self.written = self.written.saturating_add(missing);
        }
    }
}
