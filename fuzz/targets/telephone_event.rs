//! Telephone events out of hostile packets, through the reorder buffer as on a leg.
//! Each press ends exactly once, before the next one; no more than 20 a second.
#![no_main]

use std::time::Duration;

use helpline_core::rtp::jitter::{Out, Reorder};
use helpline_core::rtp::packet::Packet;
use helpline_core::rtp::telephone_event::{Input, Output, Receiver};
use helpline_core::time::Time;
use libfuzzer_sys::fuzz_target;

/// Bytes of one packet: milliseconds, kind and marker, sequence, timestamp, event block.
const ROW: usize = 12;

fuzz_target!(|data: &[u8]| {
    let (mut buffer, mut receiver) = (Reorder::default(), Receiver::default());
    let (mut now, mut held, mut presses) = (Time::ZERO, None, 0u64);
    for row in data.chunks_exact(ROW) {
        now = now + Duration::from_millis(u64::from(row[0]));
        let packet = Packet {
            marker: row[1] & 1 == 1,
            payload_type: if row[1] & 2 == 0 { 101 } else { 0 },
            sequence: u16::from_be_bytes([row[2], row[3]]),
            timestamp: u32::from_be_bytes([row[4], row[5], row[6], row[7]]),
            ssrc: u32::from(row[1] >> 6),
            payload: &row[8..],
        };
        buffer.push(now, &packet);
        loop {
            match buffer.pop(now) {
                None => break,
                Some(Out::Gap(_)) => {}
                Some(Out::Packet(p)) if p.payload_type == 0 => {
                    receiver.handle(now, Input::Audio(p.timestamp));
                }
                Some(Out::Packet(p)) => receiver.handle(now, Input::Event(&p)),
                Some(Out::Late(p)) if p.payload_type == 101 => {
                    receiver.handle(now, Input::LateEvent(&p));
                }
                Some(Out::Late(_)) => {}
            }
        }
        receiver.handle(now, Input::Timeout);
        while let Some(output) = receiver.poll() {
            held = match (held, output) {
                (None, Output::Down(digit)) => {
                    presses += 1;
                    Some(digit)
                }
                (Some(digit), Output::Up(up)) if digit == up => None,
                (held, output) => panic!("{output:?} while {held:?} is held"),
            };
        }
        let seconds = now.micros() / 1_000_000 + 1;
        assert!(presses <= 20 * (seconds + 1));
    }
});
