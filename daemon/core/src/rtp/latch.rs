//! From where a leg's packets may come, and where ours go: the address in the SDP, or a
//! port learned once under rules that nobody else can use to listen in or speak (RTP
//! bleed and injection, CVE-2017-14099, CVE-2025-53399). Never sees a socket.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::packet::Packet;
use crate::time::Time;

/// How long after an answer, or an offer that moves the stream, an address may be learned.
pub const LEARN_LIMIT: Duration = Duration::from_secs(5);
/// In [`Mode::Nat`], after so long without a packet the same source may come from a new
/// port of the same address: its router forgot the old one.
pub const REBIND_AFTER: Duration = Duration::from_secs(2);
/// Packets in sequence that prove a source.
const PROOF: u8 = 4;
/// Senders whose proofs may be under way side by side.
const CANDIDATES: usize = 4;
/// Largest payload of 60 ms of G.711, or of a 20 ms frame of any codec we speak.
const PAYLOAD_BYTES_MAX: usize = 480;

/// Which source a stream may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Exactly the address and port in the SDP.
    #[default]
    Strict,
    /// The address in the SDP, any port, learned once.
    Address,
    /// The address in the SDP or the one the signalling came from, any port, learned once.
    Nat,
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It comes from the peer.
    Take,
    /// It may come from the peer; it proves nothing yet. Drop it.
    Wait,
    /// It completes the proof, or comes from the exact address in the SDP: this is the
    /// peer from now on, and the datagram is one of its packets.
    Lock(SocketAddr),
    /// It comes from somewhere else. Drop it.
    Refuse,
}

/// A source on its way to being the peer.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    from: SocketAddr,
    ssrc: u32,
    next: u16,
    seen: u8,
}

/// The decision of one leg.
#[derive(Clone, Debug)]
pub struct Latch {
    mode: Mode,
    told: SocketAddr,
    signalled: IpAddr,
    learn_until: Time,
    locked: Option<SocketAddr>,
    candidates: [Option<Candidate>; CANDIDATES],
    /// Source of the peer's stream and when it was last heard, for [`Mode::Nat`].
    last: Option<(u32, Time)>,
}

impl Latch {
    /// A stream is agreed on: `told` is the address in the peer's SDP, `signalled` the one
    /// its signalling comes from.
    #[must_use]
    pub fn new(now: Time, mode: Mode, told: SocketAddr, signalled: IpAddr) -> Latch {
        Latch {
            mode,
            told,
            signalled: signalled.to_canonical(),
            learn_until: now + LEARN_LIMIT,
            locked: (mode == Mode::Strict).then_some(told),
            candidates: [None; CANDIDATES],
            last: None,
        }
    }

    /// The one address to send to and to hear from; `None` until it is learned.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.locked
    }

    /// Whether packets of others must be looked at. If not, the kernel may drop them.
    #[must_use]
    pub fn is_open(&self, now: Time) -> bool {
        match (self.mode, self.locked) {
            (Mode::Strict, _) => false,
            (Mode::Address, locked) => locked.is_none(),
            (Mode::Nat, None) => true,
            (Mode::Nat, Some(_)) => self.last.is_some_and(|(_, at)| is_silent(now, at)),
        }
    }

    /// A packet of the peer came.
    pub fn heard(&mut self, now: Time, ssrc: Option<u32>) {
        if let Some(ssrc) = ssrc {
            self.last = Some((ssrc, now));
        }
    }

    /// Judges a datagram. `packet` is what it holds if it is RTP of an agreed payload
    /// type; with SRTP, only if its tag is right.
    pub fn judge(&mut self, now: Time, from: SocketAddr, packet: Option<&Packet<'_>>) -> Verdict {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        if self.locked.is_some_and(|peer| same(peer, from)) {
            return Verdict::Take;
        }
        let Some(packet) = packet.filter(|p| p.payload.len() <= PAYLOAD_BYTES_MAX) else {
            return Verdict::Refuse;
        };
        if !self.may_learn(now, from, packet) {
            return Verdict::Refuse;
        }
        if same(self.told, from) || self.is_proven(from, packet) {
            return self.lock(now, from, packet.ssrc);
        }
        Verdict::Wait
    }

    fn may_learn(&self, now: Time, from: SocketAddr, packet: &Packet<'_>) -> bool {
        let ip = from.ip();
        let is_told = ip == self.told.ip().to_canonical();
        match (self.mode, self.locked) {
            (Mode::Strict, _) | (Mode::Address, Some(_)) => false,
            (Mode::Address, None) => is_told && now <= self.learn_until,
            (Mode::Nat, None) => (is_told || ip == self.signalled) && now <= self.learn_until,
            // The router forgot the port: the same stream goes on from the same address.
            (Mode::Nat, Some(peer)) => {
                let goes_on = |(ssrc, at)| ssrc == packet.ssrc && is_silent(now, at);
                ip == peer.ip().to_canonical() && self.last.is_some_and(goes_on)
            }
        }
    }

    /// Whether this packet is the last of a proof.
    fn is_proven(&mut self, from: SocketAddr, packet: &Packet<'_>) -> bool {
        let known = self
            .candidates
            .iter_mut()
            .find(|c| c.is_some_and(|c| c.from == from));
        let goes_on = |c: &Candidate| c.ssrc == packet.ssrc && c.next == packet.sequence;
        let seen = match &known {
            Some(Some(candidate)) if goes_on(candidate) => candidate.seen + 1,
            _ => 1,
        };
        let place = match known {
            Some(place) => Some(place),
            // A new sender takes the place of the one that has proven least.
            None => self
                .candidates
                .iter_mut()
                .min_by_key(|c| c.map_or(0, |c| c.seen)),
        };
        if let Some(place) = place {
            *place = Some(Candidate {
                from,
                ssrc: packet.ssrc,
                next: packet.sequence.wrapping_add(1),
                seen,
            });
        }
        seen >= PROOF
    }

    fn lock(&mut self, now: Time, from: SocketAddr, ssrc: u32) -> Verdict {
        self.locked = Some(from);
        self.candidates = [None; CANDIDATES];
        self.last = Some((ssrc, now));
        Verdict::Lock(from)
    }
}

fn is_silent(now: Time, last: Time) -> bool {
    now.since(last) >= REBIND_AFTER
}

fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "192.0.2.1:4000";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn latch(mode: Mode) -> Latch {
        Latch::new(Time::ZERO, mode, at(TOLD), at("198.51.100.7:5060").ip())
    }

    fn packet(sequence: u16, ssrc: u32) -> Packet<'static> {
        Packet {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc,
            payload: &[0xff; 160],
        }
    }

    fn feed(latch: &mut Latch, ms: u64, from: &str, sequence: u16, ssrc: u32) -> Verdict {
        let packet = packet(sequence, ssrc);
        latch.judge(Time::from_millis(ms), at(from), Some(&packet))
    }

    #[test]
    fn strict_takes_the_address_in_the_sdp_and_nothing_else_ever() {
        let mut latch = latch(Mode::Strict);
        assert_eq!(latch.peer(), Some(at(TOLD)));
        assert!(!latch.is_open(Time::ZERO));
        assert_eq!(feed(&mut latch, 0, TOLD, 1, 1), Verdict::Take);
        for n in 0..10 {
            for from in ["192.0.2.1:4002", "198.51.100.7:4000", "203.0.113.9:4000"] {
                assert_eq!(feed(&mut latch, 3_000 + n, from, 1, 1), Verdict::Refuse);
            }
        }
    }

    #[test]
    fn port_is_learned_from_four_packets_in_sequence_and_only_once() {
        let mut latch = latch(Mode::Address);
        let moved = "192.0.2.1:4002";
        assert_eq!(latch.peer(), None);
        for n in [7, 8, 9] {
            assert_eq!(feed(&mut latch, 100, moved, n, 5), Verdict::Wait);
        }
        assert_eq!(
            feed(&mut latch, 100, moved, 10, 5),
            Verdict::Lock(at(moved))
        );
        assert_eq!(feed(&mut latch, 120, moved, 11, 5), Verdict::Take);
        assert!(!latch.is_open(Time::from_millis(9_000)));
        // Neither another port nor the one in the SDP changes it any more.
        for n in 0..8 {
            assert_eq!(feed(&mut latch, 4_000, TOLD, n, 6), Verdict::Refuse);
        }
    }

    #[test]
    fn address_in_the_sdp_locks_with_its_first_packet() {
        let mut latch = latch(Mode::Nat);
        feed(&mut latch, 0, "198.51.100.7:9", 1, 2);
        assert_eq!(feed(&mut latch, 5, TOLD, 9, 3), Verdict::Lock(at(TOLD)));
    }

    #[test]
    fn gaps_other_sources_and_strange_payloads_prove_nothing() {
        let mut latch = latch(Mode::Nat);
        let near = "198.51.100.7:9000";
        for n in (0..40).step_by(2) {
            assert_eq!(feed(&mut latch, n, near, n as u16, 5), Verdict::Wait);
        }
        for n in 0..20u32 {
            let verdict = feed(&mut latch, 200, near, n as u16, n);
            assert_eq!(verdict, Verdict::Wait, "a source a packet");
        }
        assert_eq!(latch.judge(Time::ZERO, at(near), None), Verdict::Refuse);
        assert_eq!(feed(&mut latch, 0, "203.0.113.9:9", 1, 1), Verdict::Refuse);
        assert_eq!(latch.peer(), None);
    }

    #[test]
    fn sender_in_between_does_not_spoil_a_proof() {
        let mut latch = latch(Mode::Nat);
        let (peer, other) = ("198.51.100.7:9000", "198.51.100.7:9001");
        for n in 1..4 {
            feed(&mut latch, 0, other, n * 2, 6);
            feed(&mut latch, 0, peer, n, 5);
        }
        assert_eq!(feed(&mut latch, 0, peer, 4, 5), Verdict::Lock(at(peer)));
    }

    #[test]
    fn nothing_is_learned_after_five_seconds() {
        for mode in [Mode::Address, Mode::Nat] {
            let mut latch = latch(mode);
            for n in 0..8 {
                assert_eq!(feed(&mut latch, 5_001, TOLD, n, 5), Verdict::Refuse);
            }
        }
    }

    #[test]
    fn rebinding_needs_silence_the_same_address_and_the_same_source() {
        let mut latch = latch(Mode::Nat);
        assert_eq!(feed(&mut latch, 0, TOLD, 0, 5), Verdict::Lock(at(TOLD)));
        let moved = "192.0.2.1:6000";
        for n in 0..8 {
            assert_eq!(feed(&mut latch, 1_999, moved, n, 5), Verdict::Refuse);
            assert_eq!(feed(&mut latch, 2_100, moved, n, 6), Verdict::Refuse);
            assert_eq!(
                feed(&mut latch, 2_100, "192.0.2.2:6000", n, 5),
                Verdict::Refuse
            );
        }
        for n in 1..4 {
            assert_eq!(feed(&mut latch, 2_200, moved, n, 5), Verdict::Wait);
        }
        assert_eq!(
            feed(&mut latch, 2_200, moved, 4, 5),
            Verdict::Lock(at(moved))
        );
        assert!(!latch.is_open(Time::from_millis(2_300)));
        assert!(latch.is_open(Time::from_millis(4_200)));
    }
}
