//! The reorder buffer under hostile packets. What comes out between two restarts is in
//! order, nothing comes out twice, a gap is given up in time, and draining always ends.
#![no_main]

use std::time::Duration;

use helpline_core::rtp::jitter::{GAP_WAIT, Out, Reorder};
use helpline_core::rtp::packet::Packet;
use helpline_core::time::Time;
use libfuzzer_sys::fuzz_target;

/// Bytes of one packet: milliseconds, source and size, sequence.
const ROW: usize = 4;

fuzz_target!(|data: &[u8]| {
    let sound = [7; 1_500];
    let mut buffer = Reorder::default();
    let (mut now, mut last, mut pushed, mut popped) = (Time::ZERO, None, 0u32, 0u32);
    for row in data.chunks_exact(ROW) {
        now = now + Duration::from_millis(u64::from(row[0]));
        let packet = Packet {
            marker: false,
            payload_type: 0,
            sequence: u16::from_be_bytes([row[2], row[3]]),
            timestamp: 0,
            ssrc: u32::from(row[1] & 3),
            payload: &sound[..usize::from(row[1] >> 2) * 23],
        };
        buffer.push(now, &packet);
        pushed += 1;
        let mut turns = 0;
        while let Some(out) = buffer.pop(now) {
            turns += 1;
            assert!(turns < 64, "draining does not end");
            match out {
                Out::Packet(p) => {
                    popped += 1;
                    if let Some((ssrc, sequence)) = last
                        && ssrc == p.ssrc
                    {
                        let step = p.sequence.wrapping_sub(sequence);
                        assert!(step != 0, "the same packet twice");
                    }
                    last = Some((p.ssrc, p.sequence));
                }
                Out::Late(_) => popped += 1,
                Out::Gap(count) => assert!(count > 0),
            }
        }
        assert!(popped <= pushed);
        if let Some(at) = buffer.deadline() {
            assert!(at > now && at <= now + GAP_WAIT);
        }
    }
});
