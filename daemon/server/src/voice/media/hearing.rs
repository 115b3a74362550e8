//! What one leg hears: packets of the right source become digits, and sound for the
//! recorder. Runs inside the leg's slot and owns no socket.

use std::time::Duration;

use helpline_core::audio::answer::{self, Answering};
use helpline_core::audio::codec::{DECODED_SAMPLES_MAX, Decoder};
use helpline_core::audio::dtmf::{Detector, KeySound};
use helpline_core::audio::player::Ended;
use helpline_core::audio::rate::{Halver, WIDE_SAMPLES};
use helpline_core::audio::{FRAME_SAMPLES, Law, Rate};
use helpline_core::ivr::io::Key;
use helpline_core::rtp::digits::{self, DigitSource, Digits};
use helpline_core::rtp::jitter::{Out, PAYLOAD_BYTES_MAX, Reorder};
use helpline_core::rtp::packet::Packet;
use helpline_core::rtp::playout::{Heard, Playout};
use helpline_core::rtp::source::{Source, Verdict};
use helpline_core::rtp::telephone_event::{self, Receiver};
use helpline_core::sdp::{Codec, Negotiated};
use helpline_core::time::Time;

use super::recording::{RecordEnd, Recording};

/// Lost packets told to the detector at once; a longer gap is a pause.
const GAP_PACKETS_MAX: u32 = 50;
const FRAME: Duration = Duration::from_millis(20);
/// Without sound for so long, whoever waits for an answerer is told that time passes.
const SOUNDLESS: Duration = Duration::from_millis(100);

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
    codec: Option<Codec>,
    /// For codecs other than G.711, while nothing is bridged.
    decoder: Option<Decoder>,
    halver: Halver,
    /// Sound comes from the playout of a bridge.
    is_bridged: bool,
    payload_type: u8,
    event_payload_type: Option<u8>,
    events: Receiver,
    detector: Detector,
    digits: Digits,
    recording: Option<Box<Recording>>,
    answering: Option<Box<Answering>>,
    /// How far the sound given to `answering` is behind the time.
    soundless: Duration,
}

impl Hearing {
    /// Touches what the next packet needs; see [`super::leg::Leg::bring_near`].
    pub(super) fn bring_near(&self) -> (Option<u32>, bool, bool) {
        let ssrc = self.source.received().ssrc;
        (
            ssrc,
            self.ear.codec.is_some(),
            self.ear.digits.wants_sound(),
        )
    }

    /// Listens to what was negotiated, from the next packet on. `decoder` is for its
    /// codec.
    pub(super) fn connect(&mut self, now: Time, negotiated: &Negotiated, decoder: Decoder) {
        let codec = negotiated.codec;
        if self.ear.codec != Some(codec) || self.ear.payload_type != negotiated.payload_type {
            self.reorder.reset();
            self.ear.reset_detector(now);
            self.ear.decoder = codec.law().is_none().then_some(decoder);
            self.source.set_clock(codec.clock_hz());
            self.ear.events.set_clock(codec.clock_hz());
        }
        self.ear.codec = Some(codec);
        self.ear.payload_type = negotiated.payload_type;
        self.ear.event_payload_type = negotiated.event_payload_type;
        let events = negotiated.event_payload_type.is_some();
        self.digit(now, digits::Input::Negotiated(events));
    }

    /// Whether sound comes from a playout from now on, or straight from the packets.
    pub(super) fn bridged(&mut self, is_bridged: bool) {
        self.ear.is_bridged = is_bridged;
    }

    /// Records from now on, in place of what is recorded.
    pub(super) fn record(&mut self, recording: Box<Recording>) {
        self.ear.recording = Some(recording);
    }

    pub(super) fn recording(&mut self) -> Option<&mut Recording> {
        self.ear.recording.as_deref_mut()
    }

    /// The recording that is over, if one is: number, why, length.
    pub(super) fn recorded(&mut self) -> Option<(u32, RecordEnd, Duration)> {
        let recording = self.ear.recording.as_deref_mut()?;
        let end = recording.end()?;
        let recorded = (recording.plan.op, end, recording.finish());
        self.ear.recording = None;
        Some(recorded)
    }

    /// Finds out who answered, from now on.
    pub(super) fn detect(&mut self, answering: Box<Answering>) {
        self.ear.answering = Some(answering);
        self.ear.soundless = Duration::ZERO;
    }

    pub(super) fn poll_answerer(&mut self) -> Option<answer::Output> {
        let answering = self.ear.answering.as_deref_mut()?;
        let output = answering.poll();
        if output.is_none() && answering.is_done() {
            self.ear.answering = None;
        }
        output
    }

    /// Whether [`Hearing::ours`] has a use.
    pub(super) fn wants_ours(&self) -> bool {
        self.ear.recording.is_some() || self.ear.answering.is_some()
    }

    /// 20 ms have passed in which we sent this.
    pub(super) fn ours(&mut self, sound: &[i16; FRAME_SAMPLES]) {
        if let Some(recording) = &mut self.ear.recording {
            recording.ours(sound);
        }
        if let Some(answering) = &mut self.ear.answering {
            answering.ours(sound);
            self.ear.soundless += FRAME;
            if self.ear.soundless >= SOUNDLESS {
                self.ear.soundless = self.ear.soundless.saturating_sub(FRAME);
                answering.missing(FRAME);
            }
        }
    }

    pub(super) fn played(&mut self, ended: &Ended) {
        if let Some(recording) = &mut self.ear.recording {
            recording.played(ended);
        }
    }

    pub(super) fn key(&mut self, key: Key, source: DigitSource) {
        if let Some(recording) = &mut self.ear.recording {
            recording.key(key, source);
        }
    }

    /// 20 ms from the playout of a bridge, at the codec's rate.
    pub(super) fn paced(&mut self, now: Time, heard: Heard, sound: &[i16; WIDE_SAMPLES]) {
        self.ear.paced(now, heard, sound);
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
        let codec = self.ear.codec?;
        let packet = Packet::parse(bytes).ok()?;
        if packet.payload.len() > PAYLOAD_BYTES_MAX && codec.law().is_none() {
            return None; // cut off it would be another sound
        }
        let known = packet.payload_type == self.ear.payload_type
            || Some(packet.payload_type) == self.ear.event_payload_type;
        known.then_some(packet)
    }

    /// Takes one datagram of the right source. False if it is none we can use.
    /// `playout` is that of a bridged leg.
    pub(super) fn datagram(
        &mut self,
        now: Time,
        bytes: &[u8],
        playout: Option<&mut Playout>,
    ) -> bool {
        let Some(packet) = self.packet(bytes) else {
            return false;
        };
        let verdict = self
            .source
            .receive(now, packet.ssrc, packet.sequence, packet.timestamp);
        if verdict == Verdict::Doubt {
            return true;
        }
        if let Some(playout) = playout
            && packet.payload_type == self.ear.payload_type
        {
            playout.push(now, &packet);
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
            Out::Gap(missing) if !self.is_bridged => {
                let packets = u32::from(missing).min(GAP_PACKETS_MAX);
                self.detector.freeze(packets * 20);
                pass_sounds_on(&mut self.detector, &mut self.digits, now);
            }
            Out::Gap(_) | Out::Late(_) => {}
        }
    }

    fn sound(&mut self, now: Time, packet: &Packet<'_>) {
        self.event(now, telephone_event::Input::Audio(packet.timestamp));
        let (Some(codec), false) = (self.codec, self.is_bridged) else {
            return;
        };
        if !self.wants_sound() {
            return;
        }
        let mut sound = [0i16; DECODED_SAMPLES_MAX];
        let count = match codec.law() {
            Some(law) => decode(law, packet.payload, &mut sound),
            None => {
                let decoder = self.decoder.as_mut();
                decoder.map_or(0, |d| d.decode(packet.payload, &mut sound))
            }
        };
        let mut narrow = [0i16; DECODED_SAMPLES_MAX];
        let heard = sound.get(..count).unwrap_or(&[]);
        let heard = self.narrowed(codec.rate(), heard, &mut narrow);
        if let Some(recording) = &mut self.recording {
            let units = codec.clock_hz() / Rate::Narrow.hz();
            recording.heard(packet.ssrc, packet.timestamp / units, heard);
        }
        self.analyse(now, heard);
    }

    /// Sound of a bridge. What was made up is for ears only.
    fn paced(&mut self, now: Time, heard: Heard, sound: &[i16; WIDE_SAMPLES]) {
        let Some(codec) = self.codec.filter(|_| self.wants_sound()) else {
            return;
        };
        if heard != Heard::Sound {
            self.detector.freeze(20);
            pass_sounds_on(&mut self.detector, &mut self.digits, now);
            return;
        }
        let mut narrow = [0i16; DECODED_SAMPLES_MAX];
        let sound = sound.get(..codec.rate().frame_samples()).unwrap_or(sound);
        let sound = self.narrowed(codec.rate(), sound, &mut narrow);
        if let Some(recording) = &mut self.recording {
            recording.heard_now(sound);
        }
        self.analyse(now, sound);
    }

    fn wants_sound(&self) -> bool {
        self.digits.wants_sound() || self.recording.is_some() || self.answering.is_some()
    }

    /// The sound at 8 kHz.
    fn narrowed<'a>(&mut self, rate: Rate, sound: &'a [i16], room: &'a mut [i16]) -> &'a [i16] {
        match rate {
            Rate::Narrow => sound,
            Rate::Wide => {
                for (from, to) in sound
                    .chunks(WIDE_SAMPLES)
                    .zip(room.chunks_mut(WIDE_SAMPLES / 2))
                {
                    self.halver.halve(from, to);
                }
                room.get(..sound.len() / 2).unwrap_or(&[])
            }
        }
    }

    fn analyse(&mut self, now: Time, sound: &[i16]) {
        if let Some(answering) = &mut self.answering {
            answering.heard(sound);
            let length = u64::try_from(sound.len()).unwrap_or(0) * 125;
            self.soundless = self.soundless.saturating_sub(Duration::from_micros(length));
        }
        if self.digits.wants_sound() {
            self.detector.handle(sound);
            pass_sounds_on(&mut self.detector, &mut self.digits, now);
        }
    }

    fn tick(&mut self, now: Time) {
        self.event(now, telephone_event::Input::Timeout);
        self.digits.handle(now, digits::Input::Timeout);
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

fn decode(law: Law, payload: &[u8], out: &mut [i16]) -> usize {
    out.iter_mut()
        .zip(payload)
        .map(|(to, code)| *to = law.decode(*code))
        .count()
}
