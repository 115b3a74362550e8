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
            Some(pt) => self.keys.next(timestamp).map(|event| (pt, event)),
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
