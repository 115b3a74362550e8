//! ICMP's word that nobody is at an address: the kernel keeps it for a UDP socket that
//! asks for it (`IP_RECVERR`), with the address the datagram had gone to.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::broadcast;

/// Addresses that may wait for their readers.
const HEARD_MAX: usize = 64;

/// Tells the addresses nobody is at.
#[derive(Clone, Debug)]
pub(super) struct Unreachable {
    heard: broadcast::Sender<SocketAddr>,
}

impl Unreachable {
    pub(super) fn new() -> Self {
        Unreachable {
            heard: broadcast::Sender::new(HEARD_MAX),
        }
    }

    /// What is told from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<SocketAddr> {
        self.heard.subscribe()
    }

    /// A datagram could not even be sent to `address`.
    pub(super) fn tell(&self, address: SocketAddr) {
        // Without a call under way nobody listens.
        let _ = self.heard.send(address);
    }

    /// Reads the socket's errors for ever; ends if it cannot.
    pub(super) async fn serve(self, socket: Arc<UdpSocket>) {
        if let Err(error) = ask_for_errors(&socket) {
            tracing::debug!(%error, "ICMP errors are not told: a dead trunk is known by its silence");
            return;
        }
        loop {
            if socket.ready(Interest::ERROR).await.is_err() {
                return;
            }
            match socket.try_io(Interest::ERROR, || read_error(&socket)) {
                Ok(Some(address)) => self.tell(address),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

fn ask_for_errors(socket: &UdpSocket) -> nix::Result<()> {
    if socket.local_addr().is_ok_and(|a| a.is_ipv6()) {
        setsockopt(socket, Ipv6RecvErr, &true)
    } else {
        setsockopt(socket, Ipv4RecvErr, &true)
    }
}

/// Takes one error from the queue: where its datagram had gone.
fn read_error(socket: &UdpSocket) -> io::Result<Option<SocketAddr>> {
    // The datagram itself is not wanted, only its address.
    let mut unread = [0; 1];
    let mut parts = [io::IoSliceMut::new(&mut unread)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let error = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, None, flags)?;
    let Some(to) = error.address else {
        return Ok(None);
    };
    let v4 = to
        .as_sockaddr_in()
        .map(|a| SocketAddr::V4(SocketAddrV4::from(*a)));
    let v6 = || {
        to.as_sockaddr_in6()
            .map(|a| SocketAddr::V6(SocketAddrV6::from(*a)))
    };
    Ok(v4.or_else(v6))
}
