//! Media: threads of their own that send one packet every 20 ms a leg, hear what
//! comes back, and never wait for anything else. The rest of the daemon talks to them
//! through a bounded ring of commands and a bounded channel of events a leg.

mod bridge;
mod counters;
mod handle;
mod hearing;
mod inbox;
mod leg;
mod ports;
pub(super) mod realtime;
mod recorder;
mod recording;
mod sending;
mod srtp;
mod thread;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use helpline_core::audio::Clip;
use helpline_core::audio::answer::{Answerer, Answering, Features, Limits};
use helpline_core::audio::codec::{Decoder, Encoder};
use helpline_core::audio::dtmf::Digit;
use helpline_core::audio::player::Item;
use helpline_core::audio::tone::{self, Tone};
use helpline_core::ivr::io::{Barge, Key, ToneName};
use helpline_core::rtp::latch;
use helpline_core::sdp::Negotiated;
use helpline_core::sdp::sdes::SrtpKeys;
use tokio::sync::mpsc;

pub use counters::{MediaCounters, MediaReport};
pub use handle::{Bridge, LegRef};
pub use helpline_core::audio::player::PlayEnd;
pub use helpline_core::rtp::digits::DigitSource;
pub use recording::{RECORDING_MAX, RecordEnd, RecordPlan, Samples, Sides};

/// Events of one leg that may wait; a reader that is further behind loses them, counted.
const EVENTS_MAX: usize = 256;

/// How long the length of a recording may take to be told.
const RECORDED_LIMIT: Duration = Duration::from_millis(100);

/// Where and how media runs.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// Address told to peers. Sockets are bound to it, or, if this machine does not have
    /// it (it is mapped by a router), to all addresses.
    pub address: IpAddr,
    /// First and last port; each leg takes an even one and the odd one above it.
    pub ports: (u16, u16),
    /// Media threads; 0 = one less than cores, at least one.
    pub threads: usize,
    /// Without any RTP for so long [`MediaEvent::NoRtp`] is told.
    pub no_rtp: Duration,
}

/// Why media could not start, or a leg could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// Every pair of ports is taken.
    #[error("no free pair of RTP ports in {0}-{1}")]
    NoPort(u16, u16),
    /// The address cannot be bound.
    #[error("RTP sockets cannot be bound: {0}")]
    Bind(std::io::Error),
    /// A thread could not be started.
    #[error("no media thread: {0}")]
    Thread(std::io::Error),
    /// The operating system gave no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    /// All media threads are gone.
    #[error("media has stopped")]
    Stopped,
    /// The leg was closed meanwhile.
    #[error("the leg is closed")]
    Gone,
}

/// Handle to the media threads; they end when the last handle and leg are gone.
#[derive(Clone, Debug)]
pub struct Media {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: MediaConfig,
    threads: Vec<thread::Thread>,
    ports: Arc<ports::Ports>,
    shared: Arc<counters::Shared>,
    recorder: recorder::Recorder,
    tones: Tones,
}

/// The tones a flow may play, made once.
#[derive(Debug)]
struct Tones {
    beep: Arc<Clip>,
    busy: Arc<Clip>,
    ringback: Arc<Clip>,
    congestion: Arc<Clip>,
}

/// One leg's media. Dropping it closes the leg.
#[derive(Debug)]
pub struct MediaLeg {
    /// Where this leg receives RTP, for our SDP; RTCP is the port above it.
    pub local: SocketAddr,
    /// What happens on the leg.
    pub events: mpsc::Receiver<MediaEvent>,
    handle: LegHandle,
}

/// The part of a leg that gives orders; separate so that it can close on drop.
#[derive(Debug)]
struct LegHandle {
    leg: LegRef,
}

/// What happens on a leg, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaEvent {
    /// A key went down, once a press whatever way it came.
    KeyDown(Key, DigitSource),
    /// The key was let go.
    KeyUp(Key),
    /// A list given to [`MediaLeg::play`] ended, once a list.
    PlayEnded {
        /// Its number.
        op: u32,
        /// Why. After `Digit` the `KeyDown` was already told.
        why: PlayEnd,
    },
    /// No RTP came for the configured time although the peer may send. Told again after
    /// each further such time, so a reader may ignore it before the answer.
    NoRtp,
    /// Who answered, as far as sound tells: once after [`MediaLeg::detect`].
    Answerer(Answerer, Features),
    /// The machine that answered records now: once after its [`MediaEvent::Answerer`].
    MachineListens {
        /// Its beep was heard; otherwise it fell silent or took too long.
        after_beep: bool,
    },
    /// A recording ended; not told of one that ends because its leg is closed.
    Recorded {
        /// Its number.
        op: u32,
        /// Why.
        why: RecordEnd,
        /// How long it is.
        length: Duration,
    },
    /// The leg ended by itself (a fault in media); last.
    Closed(MediaReport),
}

/// One thing to play.
#[derive(Clone, Debug)]
pub enum PlayItem {
    /// A prompt.
    Clip(Arc<Clip>),
    /// Silence, rounded to 20 ms.
    Pause(Duration),
    /// A tone.
    Tone(ToneName),
}

/// From where a leg's packets may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaSource {
    /// The rule.
    pub mode: latch::Mode,
    /// Where the peer's signalling comes from, if that is known.
    pub signalled: Option<IpAddr>,
}

/// How [`MediaLeg::send_digits`] sends keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendDigits {
    /// Telephone events, 100 ms on, at least 100 ms off. Needs a negotiated payload type.
    Rfc4733,
    /// Sound, 100 ms on, 100 ms off, instead of what plays.
    Inband,
}

impl Media {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`MediaError::Thread`].
    pub fn start(config: MediaConfig) -> Result<Media, MediaError> {
        let shared = Arc::new(counters::Shared::default());
        let count = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1)),
            n => n,
        };
        let threads = (0..count.max(1))
            .map(|index| thread::Thread::start(index, &shared))
            .collect::<Result<_, _>>()?;
        Ok(Media {
            inner: Arc::new(Inner {
                ports: Arc::new(ports::Ports::new(config.ports)),
                recorder: recorder::Recorder::start(&shared)?,
                tones: Tones::new(),
                config,
                threads,
                shared,
            }),
        })
    }

    /// Opens a leg: binds its pair of ports. Nothing is sent before
    /// [`MediaLeg::connect`].
    ///
    /// # Errors
    /// [`MediaError`]: no port, no random numbers, or media has stopped.
    pub fn open(&self) -> Result<MediaLeg, MediaError> {
        let inner = &self.inner;
        let pair = inner.ports.bind(inner.config.address)?;
        let local = pair.local;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(MediaError::Random)?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let stats = Arc::new(counters::LegStats::default());
        let id = inner.shared.next_leg();
        let leg = leg::Leg::new(leg::Opening {
            id,
            pair,
            seed: u64::from_le_bytes(seed),
            no_rtp: inner.config.no_rtp,
            events,
            stats: Arc::clone(&stats),
            shared: Arc::clone(&inner.shared),
        });
        // The thread with the fewest legs.
        let thread = (0..inner.threads.len())
            .min_by_key(|i| inner.threads.get(*i).map(thread::Thread::legs))
            .unwrap_or(0);
        let handle = LegHandle {
            leg: LegRef::new(self.clone(), thread, id, stats),
        };
        if !handle.leg.order(thread::Command::Open(Box::new(leg))) {
            return Err(MediaError::Stopped);
        }
        Ok(MediaLeg {
            local,
            events: receiver,
            handle,
        })
    }

    /// Whether every media thread runs with real-time priority. False: sound may stutter
    /// under load; the unit has to allow it.
    #[must_use]
    pub fn realtime(&self) -> bool {
        self.inner.threads.iter().all(thread::Thread::is_realtime)
    }

    /// Sums over all legs since the start.
    #[must_use]
    pub fn counters(&self) -> MediaCounters {
        self.inner.shared.snapshot()
    }

    /// How long ago the slowest thread last went round its loop; a healthy one does so
    /// at least every 200 ms. For the watchdog.
    #[must_use]
    pub fn tick_age(&self) -> Duration {
        let now = realtime::now();
        let ages = self.inner.threads.iter().map(|t| now.since(t.stamp()));
        ages.max().unwrap_or_default()
    }
}

impl MediaLeg {
    /// Sends to and listens to what was negotiated; silence until something plays.
    /// Again after a re-INVITE or when a 200 changes what a 183 said.
    pub fn connect(&self, negotiated: &Negotiated, source: MediaSource) {
        let codecs = Box::new(thread::Codecs {
            encoder: Encoder::new(negotiated.codec),
            decoder: Decoder::new(negotiated.codec),
        });
        self.order(thread::Order::Connect(*negotiated, source, codecs));
    }

    /// The leg, to be bridged.
    #[must_use]
    pub fn leg_ref(&self) -> LegRef {
        self.handle.leg.clone()
    }

    /// Music beneath the prompts, round and round: it stands still while a list plays.
    /// `None` ends it. Heard where the scene of a bridge says so, or without a bridge.
    pub fn music(&self, clip: Option<Arc<Clip>>) {
        self.order(thread::Order::Music(clip));
    }

    /// Finds out who answered, beside whatever plays. Told by [`MediaEvent::Answerer`].
    pub fn detect(&self, limits: Limits) {
        let answering = Box::new(Answering::new(limits));
        self.order(thread::Order::Detect(answering));
    }

    /// From now on packets are encrypted with `keys`, or not at all. Comes before
    /// [`MediaLeg::connect`]. False: it cannot be done, and the call must not go on.
    #[must_use]
    pub fn secure(&self, keys: Option<&SrtpKeys>) -> bool {
        // The keys are worked out here, not on the media thread.
        let srtp = keys.map(|keys| srtp::Srtp::new(keys).map(Box::new));
        match srtp {
            None => self.order(thread::Order::Secure(None)),
            Some(Some(srtp)) => self.order(thread::Order::Secure(Some(srtp))),
            Some(None) => return false,
        }
        true
    }

    /// Plays `items` as one list from the next frame on, in place of what plays. Ends in
    /// exactly one [`MediaEvent::PlayEnded`] with this `op`. With [`Barge::AnyKey`] a key
    /// stops it on the media thread itself, in the slot in which the key arrives.
    pub fn play(&self, op: u32, items: Vec<PlayItem>, barge: Barge) {
        let tones = &self.handle.leg.media().inner.tones;
        let items = items
            .into_iter()
            .map(|item| match item {
                PlayItem::Clip(clip) => Item::Clip(clip),
                PlayItem::Pause(length) => Item::Pause(length),
                PlayItem::Tone(name) => Item::Clip(tones.get(name)),
            })
            .collect();
        let any_key_stops = barge == Barge::AnyKey;
        self.order(thread::Order::Play {
            op,
            items,
            any_key_stops,
        });
    }

    /// Stops `op`, if it still plays, within one frame.
    pub fn stop(&self, op: u32) {
        self.order(thread::Order::Stop(op));
    }

    /// A whole press told by SIP INFO, `millis` long: goes into the one merge.
    pub fn other_digit(&self, key: Key, millis: u32) {
        if let Some(digit) = Digit::from_char(key.char()) {
            let length = Duration::from_millis(u64::from(millis));
            self.order(thread::Order::Other(digit, length));
        }
    }

    /// Sends keys, after those still being sent.
    pub fn send_digits(&self, keys: Vec<Key>, how: SendDigits) {
        let digits = keys
            .into_iter()
            .filter_map(|key| Digit::from_char(key.char()))
            .collect();
        self.order(thread::Order::SendDigits(digits, how));
    }

    /// Records into a WAV file, in place of what is recorded. Complete when its end was
    /// told, or the leg closed, and [`Media::flush_recordings`] returned. The end is told
    /// by [`MediaEvent::Recorded`].
    pub fn record(&self, plan: RecordPlan) {
        let tap = self.handle.leg.media().inner.recorder.open(&plan);
        let recording = Box::new(recording::Recording::new(plan, tap));
        self.order(thread::Order::Record(recording));
    }

    /// Ends the recording.
    pub fn stop_recording(&self) {
        self.order(thread::Order::StopRecording);
    }

    /// Ends the recording and waits, at most a tenth of a second, for its length; other
    /// events that come meanwhile are lost.
    pub async fn end_recording(&mut self) -> Duration {
        self.stop_recording();
        let recorded = async {
            while let Some(event) = self.events.recv().await {
                if let MediaEvent::Recorded { length, .. } = event {
                    return length;
                }
            }
            Duration::ZERO
        };
        tokio::time::timeout(RECORDED_LIMIT, recorded)
            .await
            .unwrap_or_default()
    }

    /// Silence in place of both sides until told otherwise, for what must not be kept:
    /// card numbers, keys of a secret.
    pub fn pause_recording(&self, is_paused: bool) {
        self.order(thread::Order::PauseRecording(is_paused));
    }

    /// Closes the leg and tells how it was.
    #[must_use]
    pub fn close(self) -> MediaReport {
        self.handle.leg.stats().report()
    }

    /// The report so far.
    #[must_use]
    pub fn report(&self) -> MediaReport {
        self.handle.leg.stats().report()
    }

    fn order(&self, order: thread::Order) {
        // A thread that is gone closed the leg: its events ended.
        let leg = &self.handle.leg;
        leg.order(thread::Command::Order(leg.id(), order));
    }
}

impl Media {
    /// Waits until all recordings of closed legs are on disk; for test phones.
    pub fn flush_recordings(&self) {
        // Only when the threads have let go of their legs is the last frame on its way.
        for thread in &self.inner.threads {
            thread.sync();
        }
        self.inner.recorder.flush();
    }
}

impl Media {
    /// Whether the thread took it.
    fn send(&self, thread: usize, command: thread::Command) -> bool {
        let threads = &self.inner.threads;
        threads.get(thread).is_some_and(|t| t.send(command))
    }
}

impl Drop for LegHandle {
    fn drop(&mut self) {
        self.leg.order(thread::Command::Close(self.leg.id()));
    }
}

/// The sound of a tone.
#[must_use]
pub fn tone_clip(name: ToneName) -> Clip {
    tone::clip(match name {
        ToneName::Beep => Tone::Beep,
        ToneName::Busy => Tone::Busy,
        ToneName::Ringback => Tone::Ringback,
        ToneName::Congestion => Tone::Congestion,
    })
}

impl Tones {
    fn new() -> Tones {
        let make = |name| Arc::new(tone_clip(name));
        Tones {
            beep: make(ToneName::Beep),
            busy: make(ToneName::Busy),
            ringback: make(ToneName::Ringback),
            congestion: make(ToneName::Congestion),
        }
    }

    fn get(&self, name: ToneName) -> Arc<Clip> {
        Arc::clone(match name {
            ToneName::Beep => &self.beep,
            ToneName::Busy => &self.busy,
            ToneName::Ringback => &self.ringback,
            ToneName::Congestion => &self.congestion,
        })
    }
}

#[cfg(test)]
mod tests;
