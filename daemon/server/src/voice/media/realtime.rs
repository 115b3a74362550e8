//! The clock of the media threads and their priority: the one file of media that talks
//! to the kernel without a safe wrapper.
#![allow(unsafe_code)]

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use helpline_core::time::{Time, Wall};

/// Of media threads: above ordinary ones, below the kernel's own.
pub(super) const PRIORITY: i32 = 20;

/// The machine's monotonic clock. Media packets follow real time even where a test's
/// clock is paused.
pub(in crate::voice) fn now() -> Time {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writes; CLOCK_MONOTONIC exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Time::from_micros(seconds * 1_000_000 + nanos / 1000)
}

/// The time of day, for RTCP sender reports alone: a peer lines up sound by it.
pub(super) fn wall() -> Wall {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Wall::from_millis(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
}

/// Sleeps until `at` on the clock of [`now`]; an absolute time does not drift.
pub(in crate::voice) fn sleep_until(at: Time) {
    let time = libc::timespec {
        tv_sec: i64::try_from(at.micros() / 1_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(at.micros() % 1_000_000 * 1000).unwrap_or(0),
    };
    // SAFETY: `time` is valid for reads; the remaining-time pointer may be null for an
    // absolute sleep. An early return by a signal only makes the caller look at the clock.
    unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_MONOTONIC,
            libc::TIMER_ABSTIME,
            &raw const time,
            std::ptr::null_mut(),
        );
    }
}

/// Asks for real-time priority for the calling thread; false where it is not allowed.
pub(in crate::voice) fn raise_priority(priority: i32) -> bool {
    let param = libc::sched_param {
        sched_priority: priority,
    };
    // Children of this thread must not inherit it.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 names the calling thread; `param` is valid for reads.
    unsafe { libc::sched_setscheduler(0, policy, &raw const param) == 0 }
}

/// Lets a socket hear from anybody again; false if the kernel refuses.
pub(super) fn disconnect(socket: &std::net::UdpSocket) -> bool {
    let nobody = libc::sockaddr {
        sa_family: 0, // AF_UNSPEC
        sa_data: [0; 14],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).unwrap_or(0);
    // SAFETY: `nobody` is valid for reads of `length` bytes, the descriptor is open.
    unsafe { libc::connect(socket.as_raw_fd(), &raw const nobody, length) == 0 }
}

/// Waits a moment on behalf of a test.
#[cfg(test)]
pub(super) fn pause(length: Duration) {
    sleep_until(now() + length);
}

/// The shortest slice of time media works in.
pub(in crate::voice) const PHASE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disconnected_socket_hears_from_anybody() {
        let bind = |port| std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap();
        // The kernel takes a port that it chose itself away again.
        let ours = bind(super::super::ports::free_range(2));
        let (peer, other) = (bind(0), bind(0));
        ours.connect(peer.local_addr().unwrap()).unwrap();
        assert!(disconnect(&ours));
        other.send_to(b"x", ours.local_addr().unwrap()).unwrap();
        let (length, from) = ours.recv_from(&mut [0; 4]).unwrap();
        assert_eq!((length, from), (1, other.local_addr().unwrap()));
    }

    #[test]
    fn sleep_ends_at_the_time_asked_for_and_not_before() {
        let at = now() + Duration::from_millis(10);
        sleep_until(at);
        assert!(now() >= at);
        sleep_until(Time::ZERO); // the past: at once
        assert!(now().since(at) < Duration::from_secs(5));
    }
}
