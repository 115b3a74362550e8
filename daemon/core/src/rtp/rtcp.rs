//! RTCP, enough to be polite (RFC 3550 §6): a report every five seconds, a name, a good
//! bye; of what comes in, only the peer's report about us is read.

use super::source::Received;
use crate::time::Wall;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
/// Seconds between 1900 and 1970.
const NTP_OFFSET_SECONDS: u64 = 2_208_988_800;
/// Longest compound packet we send.
pub const REPORT_BYTES_MAX: usize = 128;

/// What a report says about us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Our source.
    pub ssrc: u32,
    /// Time of the report.
    pub wall: Wall,
    /// RTP timestamp of that moment.
    pub timestamp: u32,
    /// Packets sent.
    pub packets: u64,
    /// Payload bytes sent.
    pub bytes: u64,
}

/// What the peer told of our packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Packets lost in all, as the peer counts; negative counts are 0.
    pub lost: u32,
    /// Jitter at the peer, units of 1/8000 s.
    pub jitter: u32,
}

/// A compound report: sender (or, before anything was sent, receiver) report and our
/// name; with `bye` also the end of the stream.
#[must_use]
pub fn report(sent: &Sent, received: &Received, name: u64, bye: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(REPORT_BYTES_MAX);
    let blocks = u8::from(received.ssrc.is_some());
    let about_us = sent.packets > 0;
    let kind = if about_us {
        SENDER_REPORT
    } else {
        RECEIVER_REPORT
    };
    chunk(&mut out, blocks, kind, |body| {
        body.extend(sent.ssrc.to_be_bytes());
        if about_us {
            body.extend(ntp(sent.wall).to_be_bytes());
            body.extend(sent.timestamp.to_be_bytes());
            body.extend(low_half(sent.packets).to_be_bytes());
            body.extend(low_half(sent.bytes).to_be_bytes());
        }
        if let Some(ssrc) = received.ssrc {
            block(body, ssrc, received);
        }
    });
    chunk(&mut out, 1, DESCRIPTION, |body| {
        body.extend(sent.ssrc.to_be_bytes());
        let name = format!("{name:016x}");
        body.push(1); // CNAME
        body.extend(u8::try_from(name.len()).map(u8::to_be_bytes).unwrap_or([0]));
        body.extend(name.as_bytes());
        body.push(0); // end of items
    });
    if bye {
        chunk(&mut out, 1, BYE, |body| {
            body.extend(sent.ssrc.to_be_bytes())
        });
    }
    out
}

/// The peer's report about `ssrc` in a compound packet, if there is one. Anything else,
/// broken packets included, is nothing.
#[must_use]
pub fn read(mut bytes: &[u8], ssrc: u32) -> Option<Heard> {
    while let Some((head, _)) = bytes.split_first_chunk::<4>() {
        let [flags, kind, high, low] = *head;
        if flags >> 6 != 2 {
            return None;
        }
        let length = 4 + usize::from(u16::from_be_bytes([high, low])) * 4;
        let packet = bytes.get(4..length)?;
        bytes = bytes.get(length..)?;
        let skip = match kind {
            SENDER_REPORT => 24,
            RECEIVER_REPORT => 4,
            _ => continue,
        };
        let blocks = packet.get(skip..)?.chunks_exact(24);
        for block in blocks.take(usize::from(flags & 0x1f)) {
            if word(block, 0)? == ssrc {
                let lost = word(block, 4)? & 0x00ff_ffff;
                return Some(Heard {
                    // The upper half of 24 bits is negative: duplicates.
                    lost: if lost & 0x0080_0000 == 0 { lost } else { 0 },
                    jitter: word(block, 12)?,
                });
            }
        }
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let (word, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

/// One packet of a compound: header, body, zeroes up to a whole word.
fn chunk(out: &mut Vec<u8>, count: u8, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::with_capacity(64);
    write(&mut body);
    body.resize(body.len().next_multiple_of(4), 0);
    let words = u16::try_from(body.len() / 4).unwrap_or(0);
    out.push(0x80 | (count & 0x1f));
    out.push(kind);
    out.extend(words.to_be_bytes());
    out.extend(body);
}

fn block(body: &mut Vec<u8>, ssrc: u32, received: &Received) {
    let lost = u32::try_from(received.lost.min(0x007f_ffff)).unwrap_or(0);
    let expected = received.lost.saturating_add(received.packets).max(1);
    let share = u32::try_from(received.lost.saturating_mul(255) / expected).unwrap_or(0);
    body.extend(ssrc.to_be_bytes());
    body.extend(((share << 24) | lost).to_be_bytes());
    body.extend(received.highest.to_be_bytes());
    body.extend(received.jitter.to_be_bytes());
    body.extend([0; 8]); // no sender report echoed: the peer measures no round trip
}

/// 64-bit NTP time.
fn ntp(wall: Wall) -> u64 {
    let millis = u64::try_from(wall.millis()).unwrap_or(0);
    let seconds = (millis / 1000).wrapping_add(NTP_OFFSET_SECONDS);
    (seconds << 32) | (((millis % 1000) << 32) / 1000)
}

#[allow(clippy::cast_possible_truncation)] // counters wrap on the wire
fn low_half(count: u64) -> u32 {
    count as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const SENT: Sent = Sent {
        ssrc: 0x0102_0304,
        wall: Wall::from_millis(1_500),
        timestamp: 99,
        packets: 10,
        bytes: 1600,
    };

    fn received(lost: u64) -> Received {
        Received {
            packets: 90,
            lost,
            highest: 0x0001_0005,
            jitter: 17,
            ssrc: Some(0xaabb_ccdd),
        }
    }

    #[test]
    fn report_of_one_side_is_read_by_the_other() {
        let bytes = report(&SENT, &received(10), 5, true);
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.len() <= REPORT_BYTES_MAX);
        assert_eq!(
            read(&bytes, 0xaabb_ccdd),
            Some(Heard {
                lost: 10,
                jitter: 17
            })
        );
        assert_eq!(read(&bytes, 1), None);
    }

    #[test]
    fn report_before_the_first_packet_is_a_receiver_report() {
        let sent = Sent { packets: 0, ..SENT };
        let bytes = report(&sent, &received(0), 5, false);
        assert_eq!(bytes[1], RECEIVER_REPORT);
        assert_eq!(read(&bytes, 0xaabb_ccdd).map(|h| h.lost), Some(0));
        let bytes = report(&sent, &Received::default(), 5, false);
        assert_eq!(bytes[..4], [0x80, RECEIVER_REPORT, 0, 1]);
    }

    #[test]
    fn sender_report_carries_time_and_counts() {
        let bytes = report(&SENT, &Received::default(), 5, false);
        assert_eq!(bytes[..4], [0x80, SENDER_REPORT, 0, 6]);
        assert_eq!(word(&bytes, 8), Some(2_208_988_801)); // 1.5 s after 1970
        assert_eq!(word(&bytes, 12), Some(0x8000_0000));
        assert_eq!(word(&bytes, 20), Some(10));
        assert_eq!(word(&bytes, 24), Some(1600));
    }

    #[test]
    fn negative_loss_and_lies_about_lengths_are_nothing() {
        let mut bytes = report(&SENT, &received(10), 5, false);
        bytes[33] = 0xff;
        assert_eq!(read(&bytes, 0xaabb_ccdd).map(|h| h.lost), Some(0));
        bytes[3] = 0xff;
        assert_eq!(read(&bytes, 0xaabb_ccdd), None);
        assert_eq!(read(&[], 1), None);
        assert_eq!(read(&[0x9f, 201, 0, 0], 1), None);
        let mut rng = Rng::new(3);
        for _ in 0..5000 {
            let mut bytes = report(&SENT, &received(1), 5, true);
            for _ in 0..4 {
                let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                bytes[at] = rng.next_u32() as u8;
            }
            let _ = read(&bytes, 0xaabb_ccdd); // returns, whatever it says
        }
    }
}
