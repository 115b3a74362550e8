//! What is heard of hostile packets: reordered, delayed, decoded. Every frame comes, the
//! delay stays bounded, and no payload stops a decoder.
#![no_main]

use std::time::Duration;

use helpline_core::audio::Codec;
use helpline_core::audio::rate::WIDE_SAMPLES;
use helpline_core::rtp::packet::Packet;
use helpline_core::rtp::playout::Playout;
use helpline_core::time::Time;
use libfuzzer_sys::fuzz_target;

/// Bytes before a payload: milliseconds, source, sequence, timestamp, length.
const HEAD: usize = 9;

fuzz_target!(|data: &[u8]| {
    let Some((first, mut rest)) = data.split_first() else {
        return;
    };
    let codec = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus][usize::from(first & 3)];
    let mut playout = Playout::new(codec);
    let (mut now, mut slot) = (Time::ZERO, Time::ZERO);
    let mut sound = [0; WIDE_SAMPLES];
    while let Some((head, tail)) = rest.split_at_checked(HEAD) {
        let (payload, tail) = tail.split_at(usize::from(head[8]).min(tail.len()));
        rest = tail;
        now = now + Duration::from_millis(u64::from(head[0]));
        let packet = Packet {
            marker: head[1] & 1 == 1,
            payload_type: 0,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from(head[1] >> 6),
            payload,
        };
        playout.push(now, &packet);
        while slot <= now {
            slot = slot + Duration::from_millis(20);
            playout.frame(slot, &mut sound);
        }
        assert!(
            playout.delay() <= Duration::from_secs(2),
            "{:?}",
            playout.delay()
        );
    }
});
