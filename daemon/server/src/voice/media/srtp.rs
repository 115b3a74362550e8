//! SRTP of one leg (RFC 3711): what is sent is sealed, what comes is opened or dropped.

use std::sync::Arc;

use bytes::BytesMut;
use helpline_core::sdp::sdes::{SrtpKey, SrtpKeys};
use rtc_srtp::context::Context;
use rtc_srtp::crypto::{RTCCryptoProvider, default_provider};
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

/// Packets that may come out of order without being taken for repeated ones.
const WINDOW: usize = 128;
/// Sources of the peer kept: it may change its own a few times.
const SOURCES_MAX: usize = 4;

/// The two directions of a leg.
pub(super) struct Srtp {
    crypto: Arc<dyn RTCCryptoProvider>,
    ours: Context,
    key: SrtpKey,
    /// One context a source, and only for those that proved the key: the library keeps a
    /// state for each source it ever saw, and anybody can make up sources.
    theirs: Vec<(u32, Context)>,
}

impl std::fmt::Debug for Srtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Srtp")
    }
}

impl Srtp {
    /// `None` if the library cannot do it.
    pub(super) fn new(keys: &SrtpKeys) -> Option<Srtp> {
        let crypto = default_provider().ok()?;
        Some(Srtp {
            ours: context(&keys.ours, &*crypto)?,
            key: keys.theirs,
            theirs: Vec::new(),
            crypto,
        })
    }

    /// An RTP packet for the wire.
    pub(super) fn seal(&mut self, packet: &[u8]) -> Option<BytesMut> {
        self.ours.encrypt_rtp(packet).ok()
    }

    /// An RTCP packet for the wire.
    pub(super) fn seal_rtcp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        self.ours.encrypt_rtcp(packet).ok()
    }

    /// The RTP packet in a datagram; `None` if its tag is wrong or it came before.
    pub(super) fn open(&mut self, datagram: &[u8]) -> Option<BytesMut> {
        let source = source(datagram, 8)?;
        let known = self.theirs.iter_mut().find(|(s, _)| *s == source);
        if let Some((_, context)) = known {
            return context.decrypt_rtp(datagram).ok();
        }
        let mut context = context(&self.key, &*self.crypto)?;
        let packet = context.decrypt_rtp(datagram).ok()?;
        if self.theirs.len() == SOURCES_MAX {
            self.theirs.remove(0);
        }
        self.theirs.push((source, context));
        Some(packet)
    }

    /// The RTCP packet in a datagram of a source that proved the key by RTP.
    pub(super) fn open_rtcp(&mut self, datagram: &[u8]) -> Option<BytesMut> {
        let source = source(datagram, 4)?;
        let known = self.theirs.iter_mut().find(|(s, _)| *s == source);
        known.and_then(|(_, context)| context.decrypt_rtcp(datagram).ok())
    }
}

fn context(key: &SrtpKey, crypto: &dyn RTCCryptoProvider) -> Option<Context> {
    Context::new(
        key.key(),
        key.salt(),
        ProtectionProfile::Aes128CmHmacSha1_80,
        Some(srtp_replay_protection(WINDOW)),
        Some(srtcp_replay_protection(WINDOW)),
        crypto.crypto(),
    )
    .ok()
}

/// The source in the four bytes at `at`.
fn source(datagram: &[u8], at: usize) -> Option<u32> {
    let bytes = datagram.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use helpline_core::rng::Rng;
    use helpline_core::rtp::packet::Packet;

    use super::*;

    fn pair() -> (Srtp, Srtp) {
        let (a, b) = (SrtpKey::new([1; 30]), SrtpKey::new([2; 30]));
        let keys = |ours, theirs| Srtp::new(&SrtpKeys { ours, theirs }).unwrap();
        (keys(a, b), keys(b, a))
    }

    fn packet(ssrc: u32, sequence: u16) -> Vec<u8> {
        let packet = Packet {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp: 160,
            ssrc,
            payload: &[7; 160],
        };
        let mut buffer = [0; 200];
        let length = packet.write(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn what_one_seals_the_other_opens_once_and_over_the_end_of_the_numbers() {
        let (mut near, mut far) = pair();
        for n in 0..70_000u32 {
            let sequence = u16::try_from(n % 65_536).unwrap();
            let plain = packet(9, sequence);
            let sealed = near.seal(&plain).unwrap();
            assert_eq!(sealed.len(), plain.len() + 10);
            assert_eq!(far.open(&sealed).unwrap(), plain, "{n}");
            assert!(n % 1_000 != 0 || far.open(&sealed).is_none(), "repeated");
        }
    }

    #[test]
    fn ten_thousand_wrong_tags_change_nothing() {
        let (mut near, mut far) = pair();
        let first = near.seal(&packet(9, 1)).unwrap();
        assert!(far.open(&first).is_some());
        let mut rng = Rng::new(3);
        for n in 0..10_000u32 {
            // Half with the source of the peer, half with one made up.
            let ssrc = if n % 2 == 0 { 9 } else { rng.next_u32() };
            let sequence = u16::try_from(rng.below(65_536)).unwrap();
            let mut forged = packet(ssrc, sequence);
            let mut tag = [0; 10];
            rng.fill(&mut tag);
            forged.extend(tag);
            assert!(far.open(&forged).is_none());
        }
        assert_eq!(far.theirs.len(), 1, "a made-up source is remembered");
        let next = near.seal(&packet(9, 2)).unwrap();
        assert_eq!(far.open(&next).unwrap(), packet(9, 2));
    }

    #[test]
    fn rtcp_is_opened_for_sources_that_are_known() {
        let (mut near, mut far) = pair();
        let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
        let sealed = near.seal_rtcp(&report).unwrap();
        assert!(far.open_rtcp(&sealed).is_none());
        let rtp = near.seal(&packet(9, 1)).unwrap();
        assert!(far.open(&rtp).is_some());
        assert_eq!(far.open_rtcp(&sealed).unwrap(), report[..]);
        for short in 0..12 {
            assert!(far.open(&rtp[..short]).is_none());
            assert!(far.open_rtcp(&sealed[..short]).is_none());
        }
    }
}
