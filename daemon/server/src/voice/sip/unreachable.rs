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

/// Words that may wait for their readers.
const HEARD_MAX: usize = 64;
/// Of a datagram that comes back so much is looked at for its Call-ID.
const QUOTED_BYTES: usize = 1_024;

/// Nobody is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::voice) struct Nobody {
    /// Where.
    pub(in crate::voice) at: SocketAddr,
    /// Call-ID of the datagram, if enough of it came back.
    pub(in crate::voice) call_id: Option<String>,
}

/// Tells where nobody is.
#[derive(Clone, Debug)]
pub(super) struct Unreachable {
    socket: Arc<UdpSocket>,
    heard: broadcast::Sender<Nobody>,
}

impl Unreachable {
    /// Without the kernel's help a dead peer is known by its silence alone.
    pub(super) fn new(socket: Arc<UdpSocket>) -> Self {
        if let Err(error) = ask_for_errors(&socket) {
            tracing::debug!(%error, "ICMP errors are not told");
        }
        Unreachable {
            socket,
            heard: broadcast::Sender::new(HEARD_MAX),
        }
    }

    /// What is told from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Nobody> {
        self.heard.subscribe()
    }

    /// A datagram could not even be sent.
    pub(super) fn tell(&self, datagram: &[u8], at: SocketAddr) {
        let call_id = call_id(datagram);
        // Without a call under way nobody listens.
        let _ = self.heard.send(Nobody { at, call_id });
    }

    /// Looks at the errors that wait. The wake-up for them is sometimes missed, so those
    /// in a hurry look by themselves.
    pub(super) fn look(&self) {
        while let Ok(error) = read_error(&self.socket) {
            if let Some((quoted, at)) = error {
                self.tell(&quoted, at);
            }
        }
    }

    /// Looks whenever the socket has errors, for ever.
    pub(super) async fn serve(self) {
        while self.socket.ready(Interest::ERROR).await.is_ok() {
            // The readiness is given back by the read that finds nothing.
            let _ = self.socket.try_io(Interest::ERROR, || {
                self.look();
                Err::<(), _>(io::ErrorKind::WouldBlock.into())
            });
        }
    }
}

/// The Call-ID of a request of ours, perhaps cut short behind it.
fn call_id(datagram: &[u8]) -> Option<String> {
    let line = datagram
        .split(|&b| b == b'\n')
        .find_map(|l| l.strip_prefix(b"Call-ID: "))?;
    let line = line.strip_suffix(b"\r")?;
    Some(String::from_utf8_lossy(line).into_owned())
}

fn ask_for_errors(socket: &UdpSocket) -> nix::Result<()> {
    if socket.local_addr().is_ok_and(|a| a.is_ipv6()) {
        setsockopt(socket, Ipv6RecvErr, &true)
    } else {
        setsockopt(socket, Ipv4RecvErr, &true)
    }
}

/// Takes one error from the queue: what of its datagram came back, and where it had gone.
fn read_error(socket: &UdpSocket) -> io::Result<Option<(Vec<u8>, SocketAddr)>> {
    let mut quoted = vec![0; QUOTED_BYTES];
    let mut parts = [io::IoSliceMut::new(&mut quoted)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let error = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, None, flags)?;
    let (bytes, to) = (error.bytes, error.address);
    quoted.truncate(bytes);
    let address = to.and_then(|to| {
        let v4 = to.as_sockaddr_in();
        let v4 = v4.map(|a| SocketAddr::V4(SocketAddrV4::from(*a)));
        let v6 = to.as_sockaddr_in6();
        v4.or(v6.map(|a| SocketAddr::V6(SocketAddrV6::from(*a))))
    });
    Ok(address.map(|address| (quoted, address)))
}
