//! What one leg sends: exactly one packet every 20 ms, prompt, key or silence, on one
//! time line that never stops (RFC 3550): the timestamp grows in silence and holds too.

use std::time::Duration;

use helpline_core::audio::codec::{ENCODED_BYTES_MAX, Encoder};
use helpline_core::audio::dtmf::Digit;
use helpline_core::audio::mix::Sound;
use helpline_core::audio::music::Music;
use helpline_core::audio::player::{Item, Player};
use helpline_core::audio::rate::{Doubler, Halver, WIDE_SAMPLES};
use helpline_core::audio::{Clip, FRAME_SAMPLES, Frame, Law, Rate, tone};
use helpline_core::rng::Rng;
use helpline_core::rtp::packet::{HEADER_BYTES, Packet};
use helpline_core::rtp::telephone_event::Sender;
use helpline_core::sdp::{Codec, Negotiated};

use super::SendDigits;

/// Header and 20 ms of any codec.
const PACKET_BYTES: usize = HEADER_BYTES + ENCODED_BYTES_MAX;
/// A key sent as sound, and the pause after it.
const KEY_ON: Duration = Duration::from_millis(100);
const KEY_OFF: Duration = Duration::from_millis(100);

/// 20 ms at 8 kHz.
pub(super) type Narrow = [i16; FRAME_SAMPLES];

/// The sending side of a leg.
#[derive(Debug)]
pub(super) struct Sending {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    codec: Codec,
    /// For codecs other than G.711.
    encoder: Option<Encoder>,
    doubler: Doubler,
    halver: Halver,
    /// The next packet begins after a real gap.
    marker: bool,
    pub(super) player: Player,
    pub(super) music: Music,
    keys: Sender,
    /// Keys as sound, in place of what plays.
    sounds: Player,
    buffer: [u8; PACKET_BYTES],
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// What goes into a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// Prompt and music of this leg.
    Own,
    /// The mix of a bridge, at the codec's rate.
    Mix(&'a Sound),
}

impl Sending {
    /// Source, sequence and time line begin at random (RFC 3550 §5.1).
    pub(super) fn new(rng: &mut Rng) -> Sending {
        let [low, high, ..] = rng.next_u32().to_le_bytes();
        Sending {
            ssrc: rng.next_u32(),
            sequence: u16::from_le_bytes([low, high]),
            timestamp: rng.next_u32(),
            codec: Codec::Pcmu,
            encoder: None,
            doubler: Doubler::default(),
            halver: Halver::default(),
            marker: true,
            player: Player::default(),
            music: Music::default(),
            keys: Sender::default(),
            sounds: Player::default(),
            buffer: [0; PACKET_BYTES],
            packets: 0,
            bytes: 0,
        }
    }

    /// Speaks this codec from the next packet on; `encoder` is for it.
    pub(super) fn connect(&mut self, codec: Codec, encoder: Encoder) {
        if self.codec != codec {
            self.codec = codec;
            self.encoder = codec.law().is_none().then_some(encoder);
        }
    }

    /// Touches what the next packet needs; see [`super::leg::Leg::bring_near`].
    pub(super) fn bring_near(&self) -> (u64, Option<u8>) {
        let ready = self.player.ready(self.codec);
        (self.packets, ready.and_then(|bytes| bytes.first().copied()))
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(super) fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Queues keys to be sent.
    pub(super) fn digits(&mut self, digits: Vec<Digit>, how: SendDigits) {
        match how {
            SendDigits::Rfc4733 => self.keys.send(digits),
            SendDigits::Inband => {
                let items = digits.into_iter().flat_map(|digit| {
                    let sound = Clip::from_pcm(&tone::key(digit, KEY_ON));
                    [Item::Clip(sound.into()), Item::Pause(KEY_OFF)]
                });
                self.sounds.play(0, items.collect(), false);
            }
        }
    }

    /// So many frames were left out: the time line goes on without them.
    pub(super) fn skip(&mut self, frames: u32) {
        let units = frames.wrapping_mul(self.codec.frame_units());
        self.timestamp = self.timestamp.wrapping_add(units);
        self.marker = true;
    }

    /// Prompt and music of this slot for a mix, 8 kHz. What plays goes on during a hold
    /// too: a flow's time does not stop.
    pub(super) fn own(&mut self) -> (Narrow, Option<Narrow>) {
        let is_prompted = self.player.is_playing();
        let mut frame = [Law::Mu.silence(); FRAME_SAMPLES];
        if is_prompted {
            self.player.frame(Law::Mu, &mut frame);
        }
        (decoded(Law::Mu, &frame), self.music.frame(!is_prompted))
    }

    /// The packet of this slot; `None` while the peer does not listen (on hold). What it
    /// says is written into `told`, if that is wanted.
    pub(super) fn packet(
        &mut self,
        negotiated: &Negotiated,
        source: Source<'_>,
        told: Option<&mut Narrow>,
    ) -> Option<&[u8]> {
        let mut bytes = [0; ENCODED_BYTES_MAX];
        let length = self.payload(source, &mut bytes, told);
        let units = self.codec.frame_units();
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(units);
        if !negotiated.direction.sends() {
            self.marker = true;
            return None;
        }
        let event = match negotiated.event_payload_type {
            Some(pt) => {
                let units = u16::try_from(units).unwrap_or(u16::MAX);
                self.keys.next(timestamp, units).map(|event| (pt, event))
            }
            None => None,
        };
        let packet = match &event {
            Some((pt, event)) => Packet {
                marker: event.marker,
                payload_type: *pt,
                sequence: self.sequence,
                timestamp: event.timestamp,
                ssrc: self.ssrc,
                payload: &event.payload,
            },
            None => Packet {
                marker: std::mem::take(&mut self.marker),
                payload_type: negotiated.payload_type,
                sequence: self.sequence,
                timestamp,
                ssrc: self.ssrc,
                payload: bytes.get(..length).filter(|bytes| !bytes.is_empty())?,
            },
        };
        let length = packet.write(&mut self.buffer)?;
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        self.bytes += u64::try_from(packet.payload.len()).unwrap_or(0);
        self.buffer.get(..length)
    }

    /// Encodes what is to be said; the number of bytes.
    fn payload(
        &mut self,
        source: Source<'_>,
        bytes: &mut [u8; ENCODED_BYTES_MAX],
        told: Option<&mut Narrow>,
    ) -> usize {
        let law = self.codec.law();
        let as_frame = law.unwrap_or(Law::Mu);
        let mut frame = [as_frame.silence(); FRAME_SAMPLES];
        let mut ready = None;
        if let Source::Own = source {
            ready = self.ready(bytes);
            if self.own_frame(as_frame, &mut frame) {
                ready = None;
            }
        }
        // What plays goes on behind a key.
        let is_key = self.sounds.is_playing();
        if is_key {
            self.sounds.frame(as_frame, &mut frame);
            while self.sounds.poll().is_some() {}
        }
        match (source, law) {
            (Source::Mix(sound), law) if !is_key => self.encode(law, sound, bytes, told),
            (_, Some(law)) => {
                if let Some(told) = told {
                    *told = decoded(law, &frame);
                }
                fill(bytes, &frame)
            }
            (_, None) => {
                let narrow = decoded(Law::Mu, &frame);
                if let (Some(length), false) = (ready, is_key) {
                    if let Some(told) = told {
                        *told = narrow;
                    }
                    return length;
                }
                let sound = self.at_rate(&narrow);
                if let Some(told) = told {
                    *told = narrow;
                }
                let count = self.codec.rate().frame_samples();
                let encoder = self.encoder.as_mut();
                let sound = sound.get(..count).unwrap_or(&sound);
                encoder.map_or(0, |encoder| encoder.encode(sound, bytes))
            }
        }
    }

    fn encode(
        &mut self,
        law: Option<Law>,
        sound: &Sound,
        bytes: &mut [u8; ENCODED_BYTES_MAX],
        told: Option<&mut Narrow>,
    ) -> usize {
        let rate = self.codec.rate();
        if let Some(told) = told {
            match rate {
                Rate::Narrow => copy(told, sound),
                Rate::Wide => self.halver.halve(sound, told),
            }
        }
        let sound = sound.get(..rate.frame_samples()).unwrap_or(sound);
        match law {
            Some(law) => bytes
                .iter_mut()
                .zip(sound)
                .map(|(to, from)| *to = law.encode(*from))
                .count(),
            None => {
                let encoder = self.encoder.as_mut();
                encoder.map_or(0, |encoder| encoder.encode(sound, bytes))
            }
        }
    }

    /// Copies the prompt's frame, where it was encoded ahead; the number of bytes.
    fn ready(&self, bytes: &mut [u8]) -> Option<usize> {
        let ready = self.player.ready(self.codec)?;
        bytes.get_mut(..ready.len())?.copy_from_slice(ready);
        Some(ready.len())
    }

    /// Prompt and music as a frame ready for the wire; whether there is music in it.
    fn own_frame(&mut self, law: Law, frame: &mut Frame) -> bool {
        let is_prompted = self.player.is_playing();
        self.player.frame(law, frame);
        let Some(music) = self.music.frame(!is_prompted) else {
            return false;
        };
        for (code, sample) in frame.iter_mut().zip(&music) {
            *code = law.encode(law.decode(*code).saturating_add(*sample));
        }
        true
    }

    fn at_rate(&mut self, narrow: &Narrow) -> Sound {
        let mut sound = [0; WIDE_SAMPLES];
        match self.codec.rate() {
            Rate::Narrow => copy(&mut sound, narrow),
            Rate::Wide => self.doubler.double(narrow, &mut sound),
        }
        sound
    }
}

fn decoded(law: Law, frame: &Frame) -> Narrow {
    frame.map(|code| law.decode(code))
}

fn fill(bytes: &mut [u8], frame: &Frame) -> usize {
    let pairs = bytes.iter_mut().zip(frame);
    pairs.map(|(to, from)| *to = *from).count()
}

fn copy(to: &mut [i16], from: &[i16]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use helpline_core::sdp::Direction;

    use super::*;

    fn agreed(events: Option<u8>) -> Negotiated {
        Negotiated {
            remote: ([127, 0, 0, 1], 9).into(),
            codec: Codec::Pcmu,
            payload_type: 0,
            event_payload_type: events,
            direction: Direction::SendRecv,
        }
    }

    fn digit(c: char) -> Digit {
        Digit::from_char(c).unwrap()
    }

    #[test]
    fn frames_left_out_move_the_timestamp_and_not_the_sequence() {
        let mut sending = Sending::new(&mut Rng::new(1));
        let bytes = sending
            .packet(&agreed(None), Source::Own, None)
            .unwrap()
            .to_vec();
        sending.skip(3);
        let after = sending.packet(&agreed(None), Source::Own, None).unwrap();
        let (before, after) = (
            Packet::parse(&bytes).unwrap(),
            Packet::parse(after).unwrap(),
        );
        assert_eq!(after.timestamp, before.timestamp.wrapping_add(4 * 160));
        assert_eq!(after.sequence, before.sequence.wrapping_add(1));
        assert!(after.marker);
    }

    #[test]
    fn audio_after_an_event_stands_where_it_would_have_stood_without() {
        let mut sending = Sending::new(&mut Rng::new(2));
        sending.digits(vec![digit('3')], SendDigits::Rfc4733);
        let start = sending.timestamp();
        let mut types = Vec::new();
        for slot in 0..12u32 {
            let bytes = sending
                .packet(&agreed(Some(101)), Source::Own, None)
                .unwrap();
            let packet = Packet::parse(bytes).unwrap();
            types.push(packet.payload_type);
            let due = if packet.payload_type == 101 {
                0
            } else {
                slot * 160
            };
            assert_eq!(packet.timestamp, start.wrapping_add(due), "slot {slot}");
        }
        assert_eq!(types, [101, 101, 101, 101, 101, 101, 101, 101, 0, 0, 0, 0]);
    }

    #[test]
    fn keys_wait_where_events_were_not_agreed_on() {
        let mut sending = Sending::new(&mut Rng::new(3));
        sending.digits(vec![digit('3')], SendDigits::Rfc4733);
        for _ in 0..20 {
            let bytes = sending.packet(&agreed(None), Source::Own, None).unwrap();
            assert_eq!(Packet::parse(bytes).unwrap().payload_type, 0);
        }
    }

    #[test]
    fn prompt_encoded_ahead_goes_out_as_it_is_but_not_behind_a_key() {
        let wide = vec![500; 8 * FRAME_SAMPLES];
        let clip = Clip::from_pcm(&[500; 4 * FRAME_SAMPLES]).with(Codec::G722, &wide);
        let clip = std::sync::Arc::new(clip);
        let g722 = Negotiated {
            codec: Codec::G722,
            payload_type: 9,
            ..agreed(None)
        };
        let mut sending = Sending::new(&mut Rng::new(5));
        sending.connect(Codec::G722, Encoder::new(Codec::G722));
        let items = vec![Item::Clip(std::sync::Arc::clone(&clip))];
        sending.player.play(1, items, false);
        for index in 0..4 {
            if index == 2 {
                sending.digits(vec![digit('3')], SendDigits::Inband);
            }
            let bytes = sending.packet(&g722, Source::Own, None).unwrap();
            let payload = Packet::parse(bytes).unwrap().payload;
            let is_clip = Some(payload) == clip.payload(Codec::G722, index);
            assert_eq!(is_clip, index < 2, "frame {index}");
        }
        assert!(!sending.player.is_playing(), "it goes on behind the key");
    }

    #[test]
    fn sound_of_a_key_takes_the_place_of_what_plays() {
        let mut sending = Sending::new(&mut Rng::new(4));
        let quiet = Clip::from_pcm(&[10; 160 * 30]);
        sending
            .player
            .play(1, vec![Item::Clip(quiet.into())], false);
        sending.digits(vec![digit('3')], SendDigits::Inband);
        let loud: Vec<bool> = (0..12)
            .map(|_| {
                let bytes = sending.packet(&agreed(None), Source::Own, None).unwrap();
                let payload = Packet::parse(bytes).unwrap().payload;
                payload.iter().any(|c| Law::Mu.decode(*c).abs() > 4000)
            })
            .collect();
        let mut expected = [false; 12];
        expected[..5].fill(true);
        assert_eq!(loud, expected);
    }
}
