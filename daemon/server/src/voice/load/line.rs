//! One caller's voice: what it says, the keys it presses, what it hears.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::audio::dtmf::Digit;
use helpline_core::audio::tone::{self, Tone};
use helpline_core::audio::{Clip, FRAME_SAMPLES, Frame, Law};
use helpline_core::rng::Rng;
use helpline_core::rtp::packet::{HEADER_BYTES, Packet};
use helpline_core::rtp::telephone_event::Sender;
use helpline_core::sdp::Negotiated;
use nix::sys::socket::{setsockopt, sockopt};

use super::arrivals::Arrivals;

/// Slots of 20 ms between two keys, and how many more at most.
const PRESS_EVERY: u64 = 60;
const PRESS_SPREAD: u64 = 40;
const KEYS: [char; 12] = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '0', '*', '#'];

/// How keys are pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presses {
    /// As telephone events (RFC 4733).
    Events,
    /// As sound.
    Sound,
    /// Every second line so, the others so.
    Both,
}

/// The frame by which the bench's flow answers a key: the first of its beep.
pub(super) fn answer_frame() -> Frame {
    let beep = tone::clip(Tone::Beep);
    *beep
        .frame(Law::Mu, 0)
        .unwrap_or(&[Law::Mu.silence(); FRAME_SAMPLES])
}

/// A socket whose datagrams carry the kernel's time of arrival.
pub(super) fn socket(address: IpAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(address, 0))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    Ok(socket)
}

/// A line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: u64,
    pub(super) socket: UdpSocket,
    speech: Arc<Clip>,
    at: usize,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    payload_type: u8,
    event_payload_type: Option<u8>,
    events: Sender,
    /// What is left of a key's sound.
    sound: std::vec::IntoIter<i16>,
    /// Slots until the next key, when keys are pressed.
    press_in: Option<u64>,
    presses: Presses,
    rng: Rng,
    answer: Frame,
    pub(super) arrivals: Arrivals,
}

impl Line {
    pub(super) fn new(
        id: u64,
        socket: UdpSocket,
        agreed: &Negotiated,
        speech: Arc<Clip>,
        seed: u64,
    ) -> Line {
        let mut rng = Rng::new(seed);
        let frames = u64::try_from(speech.frames()).unwrap_or(0);
        Line {
            id,
            socket,
            at: usize::try_from(rng.below(frames.max(1))).unwrap_or(0),
            speech,
            sequence: 0,
            timestamp: rng.next_u32(),
            ssrc: rng.next_u32(),
            payload_type: agreed.payload_type,
            event_payload_type: agreed.event_payload_type,
            events: Sender::default(),
            sound: Vec::new().into_iter(),
            press_in: None,
            presses: Presses::Events,
            rng,
            answer: answer_frame(),
            arrivals: Arrivals::default(),
        }
    }

    pub(super) fn fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Measuring begins; keys are pressed at times of the line's own.
    pub(super) fn measure(&mut self, presses: Option<Presses>) {
        self.arrivals.restart();
        self.press_in = presses.map(|_| self.rng.below(PRESS_EVERY));
        self.presses = match presses {
            Some(Presses::Both) if self.id.is_multiple_of(2) => Presses::Sound,
            Some(Presses::Sound) => Presses::Sound,
            _ => Presses::Events,
        };
    }

    /// No more keys.
    pub(super) fn rest(&mut self) {
        self.press_in = None;
    }

    /// Says 20 ms.
    pub(super) fn speak(&mut self) {
        self.press();
        let mut frame = [Law::Mu.silence(); FRAME_SAMPLES];
        if let Some(said) = self.speech.frame(Law::Mu, self.at) {
            frame = *said;
        }
        self.at = (self.at + 1) % self.speech.frames().max(1);
        for code in &mut frame {
            let Some(sample) = self.sound.next() else {
                break;
            };
            *code = Law::Mu.encode(sample);
        }
        let event = self.events.next(self.timestamp, 160);
        let (payload_type, timestamp, payload): (_, _, &[u8]) =
            match (&event, self.event_payload_type) {
                (Some(event), Some(pt)) => (pt, event.timestamp, &event.payload),
                _ => (self.payload_type, self.timestamp, &frame),
            };
        let packet = Packet {
            marker: event.is_some_and(|e| e.marker),
            payload_type,
            sequence: self.sequence,
            timestamp,
            ssrc: self.ssrc,
            payload,
        };
        let mut bytes = [0; HEADER_BYTES + FRAME_SAMPLES];
        if let Some(length) = packet.write(&mut bytes) {
            // A line whose call is over is refused by the kernel; its call counts as failed.
            let _ = self.socket.send(bytes.get(..length).unwrap_or(&[]));
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
    }

    /// Takes a datagram that came at `micros` of the wall clock.
    pub(super) fn hear(&mut self, bytes: &[u8], micros: i64) {
        let Ok(packet) = Packet::parse(bytes) else {
            return;
        };
        if packet.payload_type != self.payload_type {
            return;
        }
        self.arrivals
            .packet(packet.sequence, packet.timestamp, micros);
        if packet.payload == self.answer {
            self.arrivals.answered();
        }
    }

    fn press(&mut self) {
        let Some(left) = &mut self.press_in else {
            return;
        };
        if *left > 0 {
            *left -= 1;
            return;
        }
        self.press_in = Some(PRESS_EVERY + self.rng.below(PRESS_SPREAD));
        let key = usize::try_from(self.rng.below(12)).unwrap_or(0);
        let digit = KEYS.get(key).and_then(|c| Digit::from_char(*c));
        let Some(digit) = digit else { return };
        match self.presses {
            Presses::Sound => {
                self.sound = tone::key(digit, Duration::from_millis(100)).into_iter();
            }
            _ => self.events.send([digit]),
        }
        self.arrivals.pressed();
    }
}
