//! The gate with its state: what every datagram and every message of a stream passes
//! before the stack sees it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use helpline_core::rng::Rng;
use helpline_core::sip::gate::{Buckets, Fault, Source, Verdict, check};

use super::peers::Peers;
use crate::clock::Clock;

/// What the gate refused, by reason.
#[derive(Clone, Debug, Default)]
pub(in crate::voice) struct GateCounters {
    refused: Arc<Mutex<BTreeMap<Fault, u64>>>,
}

impl GateCounters {
    /// Refused messages by label value.
    pub(in crate::voice) fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|(f, n)| (f.word(), *n)).collect()
    }

    fn count(&self, fault: Fault) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(fault).or_default() += 1;
    }
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The stack may have it.
    Pass,
    /// It is forgotten.
    Drop,
    /// These bytes go back, and it is forgotten.
    Answer(Vec<u8>),
}

/// The gate and what it remembers of addresses.
pub(super) struct Guard {
    peers: Arc<Peers>,
    clock: Clock,
    state: Mutex<(Buckets, Rng)>,
    counters: GateCounters,
}

impl Guard {
    pub(super) fn new(peers: Arc<Peers>, clock: Clock, rng: Rng, counters: GateCounters) -> Self {
        Guard {
            peers,
            clock,
            state: Mutex::new((Buckets::default(), rng)),
            counters,
        }
    }

    /// Whether the address is that of a trunk or of somebody who may call.
    pub(super) fn knows(&self, ip: IpAddr) -> bool {
        self.peers.source(ip) != Source::Stranger
    }

    /// Whether a new stream of `ip` may be looked at.
    pub(super) fn admits(&self, ip: IpAddr) -> bool {
        let (now, known) = (self.clock.time(), self.knows(ip));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = state.0.admit(now, ip, known);
        if !admitted {
            self.counters.count(Fault::Rate);
        }
        admitted
    }

    /// What becomes of `message`, a datagram or a whole message of a stream.
    pub(super) fn judge(&self, message: &[u8], from: SocketAddr) -> Judgement {
        let source = self.peers.source(from.ip());
        let known = source != Source::Stranger;
        let now = self.clock.time();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (buckets, rng) = &mut *state;
        if !buckets.admit(now, from.ip(), known) {
            self.counters.count(Fault::Rate);
            return Judgement::Drop;
        }
        match check(message, source, rng.next_u64()) {
            Verdict::Pass => Judgement::Pass,
            Verdict::Drop(fault) => {
                self.counters.count(fault);
                Judgement::Drop
            }
            Verdict::Answer(fault, bytes) => {
                self.counters.count(fault);
                if buckets.may_answer(now, from.ip()) {
                    Judgement::Answer(bytes)
                } else {
                    Judgement::Drop
                }
            }
        }
    }
}
