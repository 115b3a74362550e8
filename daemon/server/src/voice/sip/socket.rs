//! The UDP socket under the stack, with the gate in front of it: the stack never sees
//! what the gate refuses.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use rsipstack::platform::net::UdpSocket as PlatformSocket;
use tokio::net::UdpSocket;

use super::guard::{Guard, Judgement};
use super::unreachable::Unreachable;

/// A UDP socket that gives out only what passed the gate.
pub(super) struct GatedSocket {
    socket: Arc<UdpSocket>,
    guard: Arc<Guard>,
    unreachable: Unreachable,
}

impl GatedSocket {
    pub(super) fn new(socket: Arc<UdpSocket>, guard: Arc<Guard>, unreachable: Unreachable) -> Self {
        GatedSocket {
            socket,
            guard,
            unreachable,
        }
    }
}

/// Whether the error belongs to a datagram that was sent earlier, perhaps to another
/// peer: the kernel reports it by the next call, whatever that is.
fn is_of_another(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
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
                let (len, from) = match self.socket.recv_from(buf).await {
                    Ok(received) => received,
                    // Its address is in the queue of errors.
                    Err(error) if is_of_another(&error) => continue,
                    Err(error) => return Err(error.into()),
                };
                // A datagram that fills the buffer was cut off.
                let datagram = buf.get(..len).filter(|_| len < buf.len());
                match self.guard.judge(datagram.unwrap_or_default(), from) {
                    Judgement::Pass => return Ok((len, from)),
                    Judgement::Drop => {}
                    Judgement::Answer(answer) => {
                        // A full send buffer loses the answer; the sender asks again.
                        let _ = self.socket.try_send_to(&answer, from);
                    }
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
        Box::pin(async move {
            let mut sent = self.socket.send_to(buf, to).await;
            if sent.as_ref().is_err_and(is_of_another) {
                sent = self.socket.send_to(buf, to).await;
            }
            if sent.is_err() {
                self.unreachable.tell(buf, to);
            }
            Ok(sent?)
        })
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }
}
