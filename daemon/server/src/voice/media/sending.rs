//! What one leg sends: exactly one packet every 20 ms, prompt, key or silence, on one
//! time line that never stops (RFC 3550): the timestamp grows in silence and holds too.

use std::time::Duration;

use helpline_core::audio::dtmf::Digit;
use helpline_core::audio::player::{Item, Player};
use helpline_core::audio::{Clip, FRAME_SAMPLES, Frame, Law, tone};
use helpline_core::rng::Rng;
use helpline_core::rtp::packet::{HEADER_BYTES, Packet};
use helpline_core::rtp::telephone_event::Sender;
use helpline_core::sdp::Negotiated;

use super::SendDigits;
use super::hearing::law;

/// Header and 20 ms of G.711.
const PACKET_BYTES: usize = HEADER_BYTES + FRAME_SAMPLES;
/// Timestamp units of a frame.
const FRAME_UNITS: u32 = 160;
/// A key sent as sound, and the pause after it.
const KEY_ON: Duration = Duration::from_millis(100);
const KEY_OFF: Duration = Duration::from_millis(100);

/// The sending side of a leg.
#[derive(Debug)]
pub(super) struct Sending {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// The next packet begins after a real gap.
    marker: bool,
    pub(super) player: Player,
    keys: Sender,
    /// Keys as sound, in place of what plays.
    sounds: Player,
    buffer: [u8; PACKET_BYTES],
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Sending {
    /// Source, sequence and time line begin at random (RFC 3550 §5.1).
    pub(super) fn new(rng: &mut Rng) -> Sending {
        let [low, high, ..] = rng.next_u32().to_le_bytes();
        Sending {
            ssrc: rng.next_u32(),
            sequence: u16::from_le_bytes([low, high]),
            timestamp: rng.next_u32(),
            marker: true,
            player: Player::default(),
            keys: Sender::default(),
            sounds: Player::default(),
            buffer: [0; PACKET_BYTES],
            packets: 0,
            bytes: 0,
        }
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
        let units = frames.wrapping_mul(FRAME_UNITS);
        self.timestamp = self.timestamp.wrapping_add(units);
        self.marker = true;
    }

    /// The packet of this slot; `None` while the peer does not listen (on hold).
    pub(super) fn packet(&mut self, negotiated: &Negotiated) -> Option<&[u8]> {
        let law = law(negotiated.codec);
        let mut frame = [law.silence(); FRAME_SAMPLES];
        // What plays goes on during a hold and behind a key: a flow's time does not stop.
        self.player.frame(law, &mut frame);
        self.sound_of_keys(law, &mut frame);
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(FRAME_UNITS);
        if !negotiated.direction.sends() {
            self.marker = true;
            return None;
        }
        let event = match negotiated.event_payload_type {
            Some(pt) => self.keys.next(timestamp, 160).map(|event| (pt, event)),
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
                payload: &frame,
            },
        };
        let length = packet.write(&mut self.buffer)?;
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        self.bytes += u64::try_from(packet.payload.len()).unwrap_or(0);
        self.buffer.get(..length)
    }

    fn sound_of_keys(&mut self, law: Law, frame: &mut Frame) {
        if self.sounds.is_playing() {
            self.sounds.frame(law, frame);
            while self.sounds.poll().is_some() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use helpline_core::sdp::{Codec, Direction};

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
        let bytes = sending.packet(&agreed(None)).unwrap().to_vec();
        sending.skip(3);
        let after = sending.packet(&agreed(None)).unwrap();
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
            let bytes = sending.packet(&agreed(Some(101))).unwrap();
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
            let bytes = sending.packet(&agreed(None)).unwrap();
            assert_eq!(Packet::parse(bytes).unwrap().payload_type, 0);
        }
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
                let bytes = sending.packet(&agreed(None)).unwrap();
                let payload = Packet::parse(bytes).unwrap().payload;
                payload.iter().any(|c| Law::Mu.decode(*c).abs() > 4000)
            })
            .collect();
        let mut expected = [false; 12];
        expected[..5].fill(true);
        assert_eq!(loud, expected);
    }
}
