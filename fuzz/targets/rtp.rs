//! RTP packets. What was read can be written, and is then read as the same.
#![no_main]

use helpline_core::rtp::packet::{PACKET_BYTES_MAX, Packet};
use helpline_core::rtp::source::Source;
use helpline_core::time::Time;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(packet) = Packet::parse(data) {
        let mut out = [0; PACKET_BYTES_MAX];
        let length = packet.write(&mut out).expect("it came in one datagram");
        assert_eq!(Packet::parse(&out[..length]), Ok(packet));
    }
    // The same bytes as a row of headers: source, sequence and timestamp of each.
    let mut source = Source::default();
    let mut now = Time::ZERO;
    for row in data.chunks_exact(8) {
        now = now + std::time::Duration::from_millis(u64::from(row[7]));
        let sequence = u16::from_be_bytes([row[1], row[2]]);
        let timestamp = u32::from_be_bytes([row[3], row[4], row[5], row[6]]);
        source.receive(now, u32::from(row[0] & 3), sequence, timestamp);
        let received = source.received();
        assert!(received.packets > 0 || received.lost == 0);
    }
});
