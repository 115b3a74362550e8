//! The UDP socket under the stack, with the gate in front of it: the stack never sees
//! what the gate refuses.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use helpline_core::rng::Rng;
use helpline_core::sip::gate::{Beside, Buckets, Dialog, Fault, Source, Verdict, check};
use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::platform::net::UdpSocket as PlatformSocket;
use tokio::net::UdpSocket;

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
    /// Refused datagrams by label value.
    pub(in crate::voice) fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|(f, n)| (f.word(), *n)).collect()
    }

    fn count(&self, fault: Fault) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(fault).or_default() += 1;
    }
}

/// A UDP socket that gives out only what passed the gate.
pub(super) struct GatedSocket {
    socket: UdpSocket,
    peers: Arc<Peers>,
    clock: Clock,
    state: Mutex<(Buckets, Rng)>,
    counters: GateCounters,
    phones: Option<Arc<Phones>>,
    dialogs: Dialogs,
    admission: Admission,
}

/// The dialogs that exist, known once the stack over the socket runs.
pub(super) type Dialogs = Arc<OnceLock<Weak<DialogLayer>>>;

impl GatedSocket {
    pub(super) fn new(
        socket: UdpSocket,
        peers: Arc<Peers>,
        clock: Clock,
        rng: Rng,
        counters: GateCounters,
        (phones, dialogs, admission): (Option<Arc<Phones>>, Dialogs, Admission),
    ) -> Self {
        GatedSocket {
            socket,
            peers,
            clock,
            state: Mutex::new((Buckets::default(), rng)),
            counters,
            phones,
            dialogs,
            admission,
        }
    }

    /// The bytes to send back, if any; `true` if the stack may have the datagram.
    fn judge(&self, datagram: &[u8], from: SocketAddr) -> (bool, Option<Vec<u8>>) {
        let source = self.peers.source(from.ip());
        let known = source != Source::Stranger;
        let now = self.clock.time();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (buckets, rng) = &mut *state;
        if !buckets.admit(now, from.ip(), known) {
            self.counters.count(Fault::Rate);
            return (false, None);
        }
        let tag = rng.next_u64();
        let beside = Beside {
            source,
            tag,
            // Closed while the daemon stops; then no permit can be had either.
            full: self.admission.is_closed() || self.admission.available_permits() == 0,
            door: None,
        };
        let verdict = match &self.phones {
            None => check(datagram, &beside),
            Some(phones) => phones.at_door(from.ip(), |door| {
                let door = Some(door);
                check(datagram, &Beside { door, ..beside })
            }),
        };
        let verdict = match verdict {
            Verdict::Within(dialog, _) if self.exists(dialog.clone()) => Verdict::Pass,
            Verdict::Within(_, bytes) if bytes.is_empty() => Verdict::Drop(Fault::Dialog),
            Verdict::Within(_, bytes) => Verdict::Answer(Fault::Dialog, bytes),
            verdict => verdict,
        };
        match verdict {
            Verdict::Pass | Verdict::Within(..) => (true, None),
            Verdict::Drop(fault) => {
                self.counters.count(fault);
                (false, None)
            }
            Verdict::Answer(fault, bytes) => {
                self.counters.count(fault);
                (false, buckets.may_answer(now, from.ip()).then_some(bytes))
            }
        }
    }
}

impl GatedSocket {
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

type Boxed<'a, T> = Pin<Box<dyn Future<Output = rsipstack::Result<T>> + Send + 'a>>;

impl PlatformSocket for GatedSocket {
    /// Cancel-safe: a datagram is either judged in the same poll or not yet taken.
    fn recv_from<'life0, 'life1, 'async_trait>(
        &'life0 self,
        buf: &'life1 mut [u8],
    ) -> Boxed<'async_trait, (usize, SocketAddr)>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            loop {
                let (len, from) = self.socket.recv_from(buf).await?;
                // A datagram that fills the buffer was cut off.
                let whole = len < buf.len();
                let datagram = buf.get(..len).filter(|_| whole).unwrap_or_default();
                let (pass, answer) = self.judge(datagram, from);
                if let Some(answer) = answer {
                    // A full send buffer loses the answer; the sender asks again.
                    let _ = self.socket.try_send_to(&answer, from);
                }
                if pass {
                    return Ok((len, from));
                }
            }
        })
    }

    fn send_to<'life0, 'life1, 'async_trait>(
        &'life0 self,
        buf: &'life1 [u8],
        to: SocketAddr,
    ) -> Boxed<'async_trait, usize>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { Ok(self.socket.send_to(buf, to).await?) })
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }
}
