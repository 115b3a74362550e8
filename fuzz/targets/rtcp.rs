//! RTCP. What is told of loss fits its 23 bits; our own report is read back.
#![no_main]

use helpline_core::rtp::rtcp::{self, Sent};
use helpline_core::rtp::source::Received;
use helpline_core::time::Wall;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for ssrc in [0, 1, u32::MAX] {
        if let Some(heard) = rtcp::read(data, ssrc) {
            assert!(heard.lost < 1 << 23);
        }
    }
    let Some((head, _)) = data.split_first_chunk::<24>() else {
        return;
    };
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let sent = Sent {
        ssrc: word(0),
        wall: Wall::from_millis(i64::from(word(4)) * 1_000),
        timestamp: word(8),
        packets: u64::from(word(12)),
        bytes: u64::from(word(16)),
    };
    let received = Received {
        packets: u64::from(word(20)),
        lost: u64::from(word(16)),
        highest: word(8),
        jitter: word(12),
        ssrc: Some(word(4)),
    };
    let report = rtcp::report(&sent, &received, 1, word(20) & 1 == 1);
    let heard = rtcp::read(&report, word(4)).expect("our own report");
    assert_eq!(heard.jitter, received.jitter);
});
