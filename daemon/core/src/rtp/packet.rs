//! One RTP packet (RFC 3550 §5.1): read with every bound checked, written into a buffer.

/// Bytes of a header without contributing sources or extension.
pub const HEADER_BYTES: usize = 12;
/// Largest datagram read, bytes.
pub const PACKET_BYTES_MAX: usize = 1500;
const VERSION: u8 = 2;

/// A packet; the payload is borrowed from the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Marker: a talk spurt or an event begins.
    pub marker: bool,
    /// Payload type, 0-127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// What is carried, without padding.
    pub payload: &'a [u8],
}

/// Why a datagram is no RTP packet. Such a datagram is counted and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Shorter than its own fields say, or longer than [`PACKET_BYTES_MAX`].
    #[error("its length does not fit its fields")]
    Length,
    /// Not version 2.
    #[error("not RTP version 2")]
    Version,
    /// More padding than payload, or a padding count of zero.
    #[error("bad padding")]
    Padding,
}

impl<'a> Packet<'a> {
    /// Reads a datagram. Contributing sources and a header extension are skipped.
    ///
    /// # Errors
    /// [`RtpError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, RtpError> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(RtpError::Length);
        }
        let (head, rest) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(RtpError::Length)?;
        let [flags, kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *head;
        if flags >> 6 != VERSION {
            return Err(RtpError::Version);
        }
        let sources = usize::from(flags & 0x0f) * 4;
        let mut rest = rest.get(sources..).ok_or(RtpError::Length)?;
        if flags & 0x10 != 0 {
            rest = skip_extension(rest)?;
        }
        if flags & 0x20 != 0 {
            rest = cut_padding(rest)?;
        }
        Ok(Packet {
            marker: kind & 0x80 != 0,
            payload_type: kind & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            payload: rest,
        })
    }

    /// Writes the packet to the front of `out` and gives its length; `None`, with `out`
    /// in any state, if it does not fit.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let length = HEADER_BYTES + self.payload.len();
        let (head, rest) = out
            .get_mut(..length)?
            .split_first_chunk_mut::<HEADER_BYTES>()?;
        let marker = if self.marker { 0x80 } else { 0 };
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = self.ssrc.to_be_bytes();
        let kind = marker | (self.payload_type & 0x7f);
        *head = [VERSION << 6, kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3];
        rest.copy_from_slice(self.payload);
        Some(length)
    }
}

fn skip_extension(bytes: &[u8]) -> Result<&[u8], RtpError> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(RtpError::Length)?;
    let [_, _, high, low] = *head;
    let words = usize::from(u16::from_be_bytes([high, low]));
    rest.get(words * 4..).ok_or(RtpError::Length)
}

fn cut_padding(bytes: &[u8]) -> Result<&[u8], RtpError> {
    let count = usize::from(*bytes.last().ok_or(RtpError::Padding)?);
    let end = bytes.len().checked_sub(count).ok_or(RtpError::Padding)?;
    if count == 0 {
        return Err(RtpError::Padding);
    }
    bytes.get(..end).ok_or(RtpError::Padding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const PACKET: Packet<'static> = Packet {
        marker: true,
        payload_type: 101,
        sequence: 0xfffe,
        timestamp: 0x8000_0001,
        ssrc: 0xdead_beef,
        payload: &[1, 2, 3, 4],
    };

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = [0; 32];
        let length = PACKET.write(&mut out).unwrap();
        assert_eq!(length, 16);
        assert_eq!(Packet::parse(&out[..length]), Ok(PACKET));
    }

    #[test]
    fn packet_that_does_not_fit_is_not_written() {
        assert_eq!(PACKET.write(&mut [0; 15]), None);
        assert_eq!(PACKET.write(&mut []), None);
    }

    #[test]
    fn sources_extension_and_padding_are_skipped() {
        let mut bytes = vec![0x80 | 0x20 | 0x10 | 2, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend([9; 8]); // two contributing sources
        bytes.extend([0xbe, 0xde, 0, 1, 7, 7, 7, 7]); // one word of extension
        bytes.extend([5, 6, 0, 0, 3]); // two bytes of payload, three of padding
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload, [5, 6]);
        assert_eq!(packet.sequence, 1);
    }

    #[test]
    fn lies_about_lengths_are_refused() {
        let plain = [0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        assert!(Packet::parse(&plain).is_ok_and(|p| p.payload.is_empty()));
        assert_eq!(Packet::parse(&[]), Err(RtpError::Length));
        assert_eq!(Packet::parse(&plain[..11]), Err(RtpError::Length));
        let with = |flags: u8, tail: &[u8]| {
            let mut bytes = plain.to_vec();
            bytes[0] = flags;
            bytes.extend(tail);
            Packet::parse(&bytes).map(|p| p.payload.len())
        };
        assert_eq!(with(0x40, &[]), Err(RtpError::Version));
        assert_eq!(with(0x8f, &[0; 59]), Err(RtpError::Length));
        assert_eq!(with(0x90, &[0, 0, 0]), Err(RtpError::Length));
        assert_eq!(with(0x90, &[0, 0, 0xff, 0xff]), Err(RtpError::Length));
        assert_eq!(with(0xa0, &[]), Err(RtpError::Padding));
        assert_eq!(with(0xa0, &[1, 0]), Err(RtpError::Padding));
        assert_eq!(with(0xa0, &[1, 3]), Err(RtpError::Padding));
        assert_eq!(with(0xa0, &[1, 2]), Ok(0));
        assert_eq!(with(0x80, &[0; 1489]), Err(RtpError::Length));
    }

    #[test]
    fn random_datagrams_never_break_the_reader() {
        let mut rng = Rng::new(4);
        for _ in 0..20_000 {
            let mut bytes = vec![0; usize::try_from(rng.below(80)).unwrap()];
            rng.fill(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = *first & 0x3f | 0x80;
            }
            if let Ok(packet) = Packet::parse(&bytes) {
                assert!(packet.payload.len() + HEADER_BYTES <= bytes.len());
            }
        }
    }
}
