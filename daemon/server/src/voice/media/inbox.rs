//! Reading what waits at a socket: many datagrams a system call, into buffers that all
//! legs of a thread share.

use std::io::{ErrorKind, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use helpline_core::rtp::packet::PACKET_BYTES_MAX;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};

/// Datagrams read in one slot; a flood waits, and then overflows its own socket.
pub(super) const DATAGRAMS_MAX: usize = 16;

/// Room for a slot's datagrams.
pub(super) struct Inbox {
    headers: MultiHeaders<()>,
    /// One byte more than a packet may have, so that a longer one is seen to be longer.
    buffers: Box<[[u8; PACKET_BYTES_MAX + 1]; DATAGRAMS_MAX]>,
    lengths: [usize; DATAGRAMS_MAX],
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        Inbox {
            headers: MultiHeaders::preallocate(DATAGRAMS_MAX, None),
            buffers: Box::new([[0; PACKET_BYTES_MAX + 1]; DATAGRAMS_MAX]),
            lengths: [0; DATAGRAMS_MAX],
        }
    }

    /// Reads what waits at a socket that the kernel keeps to one peer; how many came.
    pub(super) fn read(&mut self, socket: &UdpSocket) -> usize {
        match self.try_read(socket) {
            Ok(count) => count,
            Err(Errno::EAGAIN) => 0,
            // An answer "port unreachable" to what we sent: told once, in place of what waits.
            Err(_) => self.try_read(socket).unwrap_or(0),
        }
    }

    /// Reads one datagram, if any waits.
    pub(super) fn read_one(&mut self, socket: &UdpSocket) -> usize {
        let [buffer, ..] = &mut *self.buffers;
        let [length, ..] = &mut self.lengths;
        for _ in 0..2 {
            match socket.recv(buffer) {
                Ok(received) => {
                    *length = received;
                    return 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
                // An answer "port unreachable", as above.
                Err(_) => {}
            }
        }
        0
    }

    fn try_read(&mut self, socket: &UdpSocket) -> nix::Result<usize> {
        let mut slices = self.buffers.each_mut().map(|b| [IoSliceMut::new(b)]);
        let fd = socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None)?;
        let mut count = 0;
        for (length, message) in self.lengths.iter_mut().zip(messages) {
            *length = message.bytes;
            count += 1;
        }
        Ok(count)
    }

    /// Datagram `index` of the last read.
    pub(super) fn datagram(&self, index: usize) -> &[u8] {
        let length = self.lengths.get(index).copied().unwrap_or(0);
        let buffer = self.buffers.get(index);
        buffer.and_then(|b| b.get(..length)).unwrap_or(&[])
    }
}
