//! One recording on its media thread: which sound goes into it, from when on, and what
//! ends it. The file is the writer's.

use std::path::PathBuf;
use std::time::Duration;

use helpline_core::audio::player::{Ended, PlayEnd};
use helpline_core::audio::speech::Speech;
use helpline_core::audio::tape::{Both, Tape};
use helpline_core::audio::{FRAME_MS, FRAME_SAMPLES};
use helpline_core::ivr::io::Key;

use super::DigitSource;
use super::recorder::Tap;

/// Longest recording, whatever is asked for.
pub const RECORDING_MAX: Duration = Duration::from_secs(60 * 60);
/// The tape gives out what is so many frames old.
const BEHIND: u32 = 9;
/// The end that a key cuts off. One that came as sound was told up to 145 ms after its
/// sound began; before one that came as an event, gateways leak up to 60 ms of it.
const KEY_SOUND: u32 = BEHIND;
const KEY_EVENT: u32 = 5;
/// Louder than the noise of the line by this it is not silence, dB.
const SILENCE_DB: f64 = 6.0;
const FRAME: Duration = Duration::from_millis(FRAME_MS as u64);

/// What goes into a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sides {
    /// Left what the leg says, right what we say to it.
    Both,
    /// Both in one channel.
    Mixed,
    /// Only what the leg says: voice mail.
    #[default]
    Theirs,
}

/// How samples are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Samples {
    /// 16 bits, 128 kbit/s a channel.
    #[default]
    Linear,
    /// Mu-law, half of that, and what the line itself carries.
    MuLaw,
}

/// A recording as asked for.
#[derive(Clone, Debug, Default)]
pub struct RecordPlan {
    /// Told with its end.
    pub op: u32,
    /// The WAV file, made anew.
    pub path: PathBuf,
    /// Which sides.
    pub sides: Sides,
    /// How.
    pub samples: Samples,
    /// At most so long; [`RECORDING_MAX`] without.
    pub limit: Option<Duration>,
    /// These keys end it, and their sound is cut off.
    pub finish: Vec<Key>,
    /// So much silence of the leg ends it.
    pub silence: Option<Duration>,
    /// The list with this number announces the recording: nothing is written before it
    /// was played to its end, and nothing at all if it was not.
    pub announced_by: Option<u32>,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordEnd {
    /// It was told to.
    Stopped,
    /// As long as it may be.
    Limit,
    /// The key that ends it.
    Key(Key),
    /// Nobody spoke for so long.
    Silence,
    /// The announcement was broken off: nothing was written.
    Unannounced,
}

/// A recording.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) plan: RecordPlan,
    tap: Tap,
    tape: Tape,
    speech: Speech,
    quiet: Duration,
    /// Frames put in.
    turns: u32,
    /// Frames given to the writer.
    written: u32,
    waits: bool,
    is_paused: bool,
    end: Option<RecordEnd>,
    /// Frames that are cut off the end.
    cut: u32,
}

impl Recording {
    pub(super) fn new(plan: RecordPlan, tap: Tap) -> Recording {
        Recording {
            waits: plan.announced_by.is_some(),
            plan,
            tap,
            tape: Tape::default(),
            speech: Speech::default(),
            quiet: Duration::ZERO,
            turns: 0,
            written: 0,
            is_paused: false,
            end: None,
            cut: 0,
        }
    }

    /// Sound of a packet, 8 kHz, and its timestamp in samples of 8 kHz.
    pub(super) fn heard(&mut self, ssrc: u32, timestamp: u32, samples: &[i16]) {
        self.listen(samples);
        if !self.is_paused {
            self.tape.heard(ssrc, timestamp, samples);
        }
    }

    /// Sound that is in pace with us.
    pub(super) fn heard_now(&mut self, samples: &[i16]) {
        self.listen(samples);
        if !self.is_paused {
            self.tape.heard_now(samples);
        }
    }

    /// 20 ms have passed in which we sent this.
    pub(super) fn ours(&mut self, samples: &[i16; FRAME_SAMPLES]) {
        if self.waits || self.end.is_some() {
            return;
        }
        let silence = [0; FRAME_SAMPLES];
        let both = self
            .tape
            .turn(if self.is_paused { &silence } else { samples });
        self.turns = self.turns.saturating_add(1);
        // Older than the recording.
        if self.turns > BEHIND {
            self.write(&both);
        }
        self.quiet += FRAME;
        let is_silent = |longest| self.quiet >= longest;
        if self.length() >= self.plan.limit.unwrap_or(RECORDING_MAX).min(RECORDING_MAX) {
            self.end = Some(RecordEnd::Limit);
        } else if self.plan.silence.is_some_and(is_silent) {
            self.end = Some(RecordEnd::Silence);
        }
    }

    /// A list was played.
    pub(super) fn played(&mut self, ended: &Ended) {
        if self.waits && self.plan.announced_by == Some(ended.op) {
            if ended.why == PlayEnd::Done {
                self.waits = false;
            } else {
                self.end = Some(RecordEnd::Unannounced);
            }
        }
    }

    /// A key went down.
    pub(super) fn key(&mut self, key: Key, source: DigitSource) {
        if !self.waits && self.end.is_none() && self.plan.finish.contains(&key) {
            self.end = Some(RecordEnd::Key(key));
            self.cut = match source {
                DigitSource::Inband => KEY_SOUND,
                DigitSource::Info | DigitSource::Rfc4733 => KEY_EVENT,
            };
        }
    }

    /// Silence in place of both sides: card numbers and the like.
    pub(super) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    pub(super) fn stop(&mut self) {
        self.end.get_or_insert(RecordEnd::Stopped);
    }

    /// Why it is over, if it is.
    pub(super) fn end(&self) -> Option<RecordEnd> {
        self.end
    }

    /// Writes what the tape still holds; the length of all.
    pub(super) fn finish(&mut self) -> Duration {
        let left = self.turns.min(BEHIND);
        let left = match self.end {
            Some(RecordEnd::Limit) => 0,
            _ => left.saturating_sub(self.cut),
        };
        // Of a recording shorter than the tape, the older part is not its own.
        for _ in self.turns..BEHIND {
            self.tape.turn(&[0; FRAME_SAMPLES]);
        }
        for _ in 0..left {
            let both = self.tape.turn(&[0; FRAME_SAMPLES]);
            self.write(&both);
        }
        self.length()
    }

    fn length(&self) -> Duration {
        FRAME.saturating_mul(self.written)
    }

    fn write(&mut self, both: &Both) {
        self.tap.push(both);
        self.written = self.written.saturating_add(1);
    }

    fn listen(&mut self, samples: &[i16]) {
        if self.plan.silence.is_some() {
            let quiet = &mut self.quiet;
            self.speech.heard(samples, |look, _| {
                if look.is_speech(SILENCE_DB) {
                    *quiet = Duration::ZERO;
                }
            });
        }
    }
}
