//! The gate with its state: what every datagram and every message of a stream passes
//! before the stack sees it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use helpline_core::rng::Rng;
use helpline_core::sip::gate::{Beside, Buckets, Dialog, Fault, Source, Verdict, check};
use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog_layer::DialogLayer;

use super::peers::Peers;
use super::phones::Phones;
use super::stack::Admission;
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
    pub(super) peers: Arc<Peers>,
    pub(super) clock: Clock,
    pub(super) state: Mutex<(Buckets, Rng)>,
    pub(super) counters: GateCounters,
    pub(super) phones: Option<Arc<Phones>>,
    pub(super) dialogs: Dialogs,
    pub(super) admission: Admission,
}

/// The dialogs that exist, known once the stack runs.
pub(super) type Dialogs = Arc<OnceLock<Weak<DialogLayer>>>;

impl Guard {
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
        let beside = Beside {
            source,
            tag: rng.next_u64(),
            // Closed while the daemon stops; then no permit can be had either.
            full: self.admission.is_closed() || self.admission.available_permits() == 0,
            door: None,
        };
        match self.check(message, &beside, from) {
            Verdict::Pass | Verdict::Within(..) => Judgement::Pass,
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

    /// The gate's verdict, with what only we can tell: whether a dialog exists.
    fn check(&self, message: &[u8], beside: &Beside<'_>, from: SocketAddr) -> Verdict {
        let verdict = match &self.phones {
            None => check(message, beside),
            Some(phones) => phones.at_door(from.ip(), |door| {
                let door = Some(door);
                check(message, &Beside { door, ..*beside })
            }),
        };
        match verdict {
            Verdict::Within(dialog, bytes) if !self.exists(dialog.clone()) => {
                if bytes.is_empty() {
                    Verdict::Drop(Fault::Dialog)
                } else {
                    Verdict::Answer(Fault::Dialog, bytes)
                }
            }
            verdict => verdict,
        }
    }

    fn exists(&self, dialog: Dialog) -> bool {
        let id = DialogId {
            call_id: dialog.call_id,
            local_tag: dialog.local_tag,
            remote_tag: dialog.remote_tag,
        };
        let layer = self.dialogs.get().and_then(Weak::upgrade);
        layer.is_some_and(|layer| layer.get_dialog(&id).is_some())
    }
}
