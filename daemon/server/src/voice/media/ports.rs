//! Ports of RTP: an even one and the odd one above it a leg, chosen at random, both
//! bound before anybody is told of them.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use helpline_core::time::Time;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::MediaError;
use super::realtime;

/// Stragglers of the last call must not be heard by the next one.
const REST: Duration = Duration::from_secs(60);
/// Pairs tried before giving up on ports that others on this machine hold.
const TRIES_MAX: usize = 64;
/// Room for 64 KiB of packets that came while we slept.
const RECEIVE_BUFFER_BYTES: usize = 65_536;
/// Expedited forwarding (RFC 3246), as IP_TOS wants it.
const TOS_VOICE: u32 = 0xb8;

/// The pool of pairs.
#[derive(Debug)]
pub(super) struct Ports {
    range: (u16, u16),
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Even ports in use or resting.
    busy: HashSet<u16>,
    /// When an even port was given back, oldest first.
    resting: VecDeque<(Time, u16)>,
}

impl Taken {
    /// Whoever has rested long enough is free again.
    fn wake(&mut self, now: Time) {
        while let Some((_, port)) = self
            .resting
            .pop_front_if(|(since, _)| now.since(*since) >= REST)
        {
            self.busy.remove(&port);
        }
    }
}

/// The two sockets of a leg; gives its ports back when dropped.
#[derive(Debug)]
pub(super) struct Pair {
    /// Address and port told to the peer.
    pub(super) local: SocketAddr,
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: UdpSocket,
    _lease: Lease,
}

#[derive(Debug)]
struct Lease {
    even: u16,
    ports: Arc<Ports>,
}

impl Ports {
    pub(super) fn new(range: (u16, u16)) -> Ports {
        Ports {
            range,
            taken: Mutex::default(),
        }
    }

    /// Takes a random free pair and binds it on `address`.
    pub(super) fn bind(self: &Arc<Self>, address: IpAddr) -> Result<Pair, MediaError> {
        let mut failed = None;
        for _ in 0..TRIES_MAX {
            let even = self.take().map_err(MediaError::Random)?;
            let Some(even) = even else { break };
            let lease = Lease {
                even,
                ports: Arc::clone(self),
            };
            match bind_pair(address, even) {
                Ok((rtp, rtcp)) => {
                    return Ok(Pair {
                        local: SocketAddr::new(address, even),
                        rtp,
                        rtcp,
                        _lease: lease,
                    });
                }
                Err(error) => failed = Some(error),
            }
        }
        let (low, high) = self.range;
        Err(match failed {
            Some(e) if e.kind() != std::io::ErrorKind::AddrInUse => MediaError::Bind(e),
            _ => MediaError::NoPort(low, high),
        })
    }

    /// A random even port that is neither in use nor resting; if all rest, the one that
    /// has rested longest; none if all are in use.
    fn take(&self) -> Result<Option<u16>, getrandom::Error> {
        let (low, high) = self.range;
        let first = low.next_multiple_of(2);
        let pairs = if high > first {
            (high - first).div_ceil(2)
        } else {
            0
        };
        let start = getrandom::u32()?;
        let now = realtime::now();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.wake(now);
        // A call costs the same whether a hundred ports rest or all of them.
        if taken.busy.len() >= usize::from(pairs) {
            return Ok(taken.resting.pop_front().map(|(_, port)| port));
        }
        let free = (0..u32::from(pairs))
            .map(|step| (start % u32::from(pairs) + step) % u32::from(pairs))
            .filter_map(|at| u16::try_from(at).ok())
            .map(|at| first + at * 2)
            .find(|port| !taken.busy.contains(port));
        if let Some(port) = free {
            taken.busy.insert(port);
        }
        Ok(free)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut taken = self
            .ports
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        taken.resting.push_back((realtime::now(), self.even));
    }
}

fn bind_pair(address: IpAddr, even: u16) -> std::io::Result<(UdpSocket, UdpSocket)> {
    Ok((bind(address, even)?, bind(address, even + 1)?))
}

fn bind(address: IpAddr, port: u16) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(SocketAddr::new(address, port)),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // Both are wishes: a kernel that refuses them still carries the call.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    if address.is_ipv4() {
        let _ = socket.set_tos_v4(TOS_VOICE);
    }
    let bound = socket.bind(&SockAddr::from(SocketAddr::new(address, port)));
    match bound {
        // An address mapped by a router is not ours to bind.
        Err(e) if e.kind() == std::io::ErrorKind::AddrNotAvailable => {
            let any: IpAddr = match address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            socket.bind(&SockAddr::from(SocketAddr::new(any, port)))?;
        }
        other => other?,
    }
    Ok(socket.into())
}

/// First of `count` ports, an even one, that nobody on this machine holds now: tests run
/// beside each other and beside other programs.
#[cfg(test)]
pub(super) fn free_range(count: u16) -> u16 {
    /// Given to other tests of this process.
    static GIVEN: Mutex<Vec<(u16, u16)>> = Mutex::new(Vec::new());
    let is_free = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        // Below the ports the kernel gives to clients.
        let random = u16::try_from(getrandom::u32().unwrap() % 5000).unwrap();
        let low = 20_000 + random * 2;
        let end = low + count;
        let overlaps = given.iter().any(|(l, e)| *l < end && low < *e);
        if !overlaps && (low..end).all(is_free) {
            given.push((low, end));
            return low;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn pairs_are_even_and_odd_and_never_shared() {
        let low = free_range(40);
        let ports = Arc::new(Ports::new((low + 1, low + 40)));
        let pairs: Vec<_> = (0..19).map(|_| ports.bind(LOOPBACK).unwrap()).collect();
        let mut seen = HashSet::new();
        for pair in &pairs {
            assert_eq!(pair.local.port() % 2, 0);
            assert_eq!(
                pair.rtcp.local_addr().unwrap().port(),
                pair.local.port() + 1
            );
            assert!((low + 2..low + 40).contains(&pair.local.port()));
            assert!(seen.insert(pair.local.port()));
        }
        assert!(matches!(
            ports.bind(LOOPBACK),
            Err(MediaError::NoPort(first, last)) if (first, last) == (low + 1, low + 40)
        ));
        drop(pairs);
        assert!(
            ports.bind(LOOPBACK).is_ok(),
            "rested ports serve when nothing else is left"
        );
    }

    #[test]
    fn freed_pair_rests_while_others_are_fresh() {
        let low = free_range(4);
        let ports = Arc::new(Ports::new((low, low + 3)));
        let first = ports.bind(LOOPBACK).unwrap();
        let port = first.local.port();
        drop(first);
        assert_ne!(ports.bind(LOOPBACK).unwrap().local.port(), port);
    }

    #[test]
    fn ports_wake_in_the_order_they_were_given_back() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut taken = Taken {
            busy: [10, 12, 14].into(),
            resting: [(at(0), 12), (at(5), 10)].into(),
        };
        taken.wake(at(59));
        assert_eq!(taken.busy.len(), 3);
        taken.wake(at(60));
        assert_eq!(taken.busy, [10, 14].into());
        taken.wake(at(200));
        assert_eq!((taken.busy, taken.resting.len()), ([14].into(), 0));
    }

    #[test]
    fn port_held_by_another_program_is_passed_over() {
        let low = free_range(4);
        let other = UdpSocket::bind((LOOPBACK, low + 1)).unwrap();
        let ports = Arc::new(Ports::new((low, low + 3)));
        assert_eq!(ports.bind(LOOPBACK).unwrap().local.port(), low + 2);
        drop(other);
    }

    #[test]
    fn range_without_a_pair_is_refused() {
        let ports = Arc::new(Ports::new((20_001, 20_002)));
        assert!(matches!(ports.bind(LOOPBACK), Err(MediaError::NoPort(..))));
    }
}
