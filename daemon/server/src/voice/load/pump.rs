//! The thread that moves all lines: 20 phases of a millisecond, in each a twentieth of
//! the lines speaks; what came is read later, for the kernel stamped it.

use std::collections::HashSet;
use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use helpline_core::audio::Clip;
use helpline_core::sdp::Negotiated;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use nix::sys::time::TimeSpec;

use super::arrivals::Heard;
use super::line::{Line, Presses};

const PHASES: usize = 20;
const PHASE: Duration = Duration::from_millis(1);
/// A line is read every so many frames: a few packets a system call.
const READ_EVERY: u64 = 4;
/// Datagrams a read.
const BATCH: usize = 16;
const DATAGRAM_BYTES: usize = 256;

/// Handle to the thread.
pub(super) struct Pump {
    state: Arc<Mutex<State>>,
    speech: Arc<Clip>,
    next_id: AtomicU64,
    seed: u64,
}

#[derive(Default)]
struct State {
    phases: [Vec<Line>; PHASES],
    /// Since when is measured.
    since: Option<Instant>,
    quit: bool,
    /// Lines to drop.
    gone: HashSet<u64>,
}

impl Pump {
    pub(super) fn start(speech: Arc<Clip>, seed: u64) -> std::io::Result<Pump> {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("bench-lines".into())
            .spawn(move || run(&shared))?;
        Ok(Pump {
            state,
            speech,
            next_id: AtomicU64::new(0),
            seed,
        })
    }

    /// A new line; its number.
    pub(super) fn add(&self, socket: UdpSocket, agreed: &Negotiated, seed: u64) -> u64 {
        let id = self.next_id.fetch_add(1, Relaxed);
        let speech = Arc::clone(&self.speech);
        let line = Line::new(id, socket, agreed, speech, seed ^ self.seed);
        let mut state = lock(&self.state);
        if let Some(lines) = state.phases.iter_mut().min_by_key(|lines| lines.len()) {
            lines.push(line);
        }
        id
    }

    pub(super) fn remove(&self, id: u64) {
        lock(&self.state).gone.insert(id);
    }

    pub(super) fn measure(&self, presses: Option<Presses>) {
        let mut reader = Reader::new();
        let mut state = lock(&self.state);
        for line in state.phases.iter_mut().flatten() {
            reader.read(line);
            line.measure(presses);
        }
        state.since = Some(Instant::now());
    }

    pub(super) fn rest(&self) {
        for line in lock(&self.state).phases.iter_mut().flatten() {
            line.rest();
        }
    }

    pub(super) fn heard(&self) -> Heard {
        let mut reader = Reader::new();
        let mut heard = Heard::default();
        let mut state = lock(&self.state);
        let measured = state.since.map_or(Duration::ZERO, |since| since.elapsed());
        for line in state.phases.iter_mut().flatten() {
            reader.read(line);
            heard.add(&line.arrivals, measured);
        }
        heard.late_micros.sort_unstable();
        heard
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        lock(&self.state).quit = true;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(shared: &Mutex<State>) {
    let mut reader = Reader::new();
    let mut due = Instant::now();
    for round in 0u64.. {
        for phase in 0..PHASES {
            due += PHASE;
            // Behind, the packets go out at once: the far end must not lack any.
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let mut state = lock(shared);
            if state.quit {
                return;
            }
            let State { phases, gone, .. } = &mut *state;
            let Some(lines) = phases.get_mut(phase) else {
                continue;
            };
            if !gone.is_empty() {
                lines.retain(|line| !gone.remove(&line.id));
            }
            for line in lines {
                line.speak();
                if (round + line.id).is_multiple_of(READ_EVERY) {
                    reader.read(line);
                }
            }
        }
    }
}

/// Buffers for reading many datagrams at once.
struct Reader {
    headers: MultiHeaders<SockaddrStorage>,
    buffers: [[u8; DATAGRAM_BYTES]; BATCH],
}

impl Reader {
    fn new() -> Reader {
        Reader {
            headers: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec))),
            buffers: [[0; DATAGRAM_BYTES]; BATCH],
        }
    }

    /// Everything that waits at a line.
    fn read(&mut self, line: &mut Line) {
        while self.batch(line) == BATCH {}
    }

    fn batch(&mut self, line: &mut Line) -> usize {
        let mut came = [(0, 0i64); BATCH];
        let mut count = 0;
        {
            let mut slices: Vec<_> = self
                .buffers
                .iter_mut()
                .map(|buffer| [IoSliceMut::new(buffer)])
                .collect();
            let flags = MsgFlags::MSG_DONTWAIT;
            let fd = line.fd();
            let Ok(results) = recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None)
            else {
                return 0; // nothing waits, or the far end is gone
            };
            for (to, message) in came.iter_mut().zip(results) {
                let stamp = message.cmsgs().ok().and_then(|mut messages| {
                    messages.find_map(|message| match message {
                        ControlMessageOwned::ScmTimestampns(time) => Some(time),
                        _ => None,
                    })
                });
                let micros = stamp.map_or(0, |t| t.tv_sec() * 1_000_000 + t.tv_nsec() / 1_000);
                *to = (message.bytes, micros);
                count += 1;
            }
        }
        for (buffer, (length, micros)) in self.buffers.iter().zip(came).take(count) {
            line.hear(buffer.get(..length).unwrap_or(&[]), micros);
        }
        count
    }
}
