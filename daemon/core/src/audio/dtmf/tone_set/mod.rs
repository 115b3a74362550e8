//! The tone set: presses of all keys at random points of each dimension in which
//! ITU-T Q.24 and its users (AT&T, NTT, ES 201 235-3) draw limits, and what a detector
//! makes of them. Made in memory from a seed, through mu-law or A-law, at random phases
//! and alignments.

mod sound;

use std::time::Duration;

use super::{Detector, Digit, Heard, KeySound};
use crate::rng::Rng;

pub use sound::{Line, Press, Stream};

/// One direction in which presses differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Each tone up to 1.5 % + 2 Hz off.
    Offset,
    /// One tone 3.5 % or more off: not a key.
    FarOffset,
    /// Column over row -8 to +4 dB.
    Twist,
    /// 40 to 400 ms long.
    Length,
    /// 23 ms or less: not a key.
    Short,
    /// Pauses of 40 ms and more, keys doubled.
    Pause,
    /// Up to 10 ms of silence within a press.
    Interruption,
    /// -3 to -36 dBm0 a tone.
    Level,
    /// -55 dBm0 a tone or less: not a key.
    Quiet,
    /// Noise 15 dB and more below each tone.
    Noise,
    /// Echo of up to 20 ms, 10 dB and more below.
    Echo,
    /// Dial tone, -20 to +12 dB.
    DialTone,
    /// Hum of 50, 60 or 180 Hz, as loud as each tone.
    Hum,
    /// Two or four passes through G.711.
    Passes,
    /// A frame of 20 ms lost in each press.
    Loss,
    /// A sample lost or doubled in each press.
    Slip,
    /// 0 dBm0 a tone: the line clips.
    Clip,
    /// Over a voice 15 dB below.
    Voice,
    /// Offset, twist, length, level and noise at once.
    Mixed,
}

/// What became of presses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Keys pressed.
    pub pressed: u32,
    /// Keys heard once that should be, and not heard that should not.
    pub right: u32,
    /// Keys heard that nobody pressed, or once more.
    pub extra: u32,
    /// The greatest difference between a tone's begin or end and what was told.
    pub begin_off: Duration,
    /// As for the begin.
    pub end_off: Duration,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Dimension; 19] = [
        Dimension::Offset,
        Dimension::FarOffset,
        Dimension::Twist,
        Dimension::Length,
        Dimension::Short,
        Dimension::Pause,
        Dimension::Interruption,
        Dimension::Level,
        Dimension::Quiet,
        Dimension::Noise,
        Dimension::Echo,
        Dimension::DialTone,
        Dimension::Hum,
        Dimension::Passes,
        Dimension::Loss,
        Dimension::Slip,
        Dimension::Clip,
        Dimension::Voice,
        Dimension::Mixed,
    ];

    /// Name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Dimension::Offset => "offset",
            Dimension::FarOffset => "far_offset",
            Dimension::Twist => "twist",
            Dimension::Length => "length",
            Dimension::Short => "short",
            Dimension::Pause => "pause",
            Dimension::Interruption => "interruption",
            Dimension::Level => "level",
            Dimension::Quiet => "quiet",
            Dimension::Noise => "noise",
            Dimension::Echo => "echo",
            Dimension::DialTone => "dial_tone",
            Dimension::Hum => "hum",
            Dimension::Passes => "passes",
            Dimension::Loss => "loss",
            Dimension::Slip => "slip",
            Dimension::Clip => "clip",
            Dimension::Voice => "voice",
            Dimension::Mixed => "mixed",
        }
    }

    /// Whether such presses are keys at all.
    #[must_use]
    pub const fn is_key(self) -> bool {
        !matches!(
            self,
            Dimension::FarOffset | Dimension::Short | Dimension::Quiet
        )
    }

    /// The sound of all sixteen keys, once each in random order; doubled for pauses.
    pub fn stream(self, rng: &mut Rng) -> Stream {
        let mut digits: Vec<Digit> = (0..16).filter_map(Digit::from_code).collect();
        for n in (1..digits.len()).rev() {
            let other = rng.below(u64::try_from(n).unwrap_or(0) + 1);
            digits.swap(n, usize::try_from(other).unwrap_or(0));
        }
        if self == Dimension::Pause {
            digits = digits.into_iter().flat_map(|digit| [digit; 2]).collect();
        }
        let presses: Vec<_> = digits.into_iter().map(|d| (d, self.line(rng))).collect();
        Line::sound(rng, &presses)
    }

    /// A random press: this dimension anywhere within its limits, the others moderate.
    fn line(self, rng: &mut Rng) -> Line {
        let mut line = plain(rng);
        let mut between = |low: f64, high: f64| low + (high - low) * rng.unit();
        match self {
            Dimension::Offset => {
                line.row_off = (between(-0.015, 0.015), between(-2.0, 2.0));
                line.column_off = (between(-0.015, 0.015), between(-2.0, 2.0));
            }
            Dimension::FarOffset => {
                let far = between(0.035, 0.05) * if between(0.0, 1.0) < 0.5 { 1.0 } else { -1.0 };
                let which = between(0.0, 3.0);
                let near = (line.row_off, line.column_off);
                line.row_off = if which < 2.0 { (far, 0.0) } else { near.0 };
                line.column_off = if which > 1.0 { (far, 0.0) } else { near.1 };
            }
            Dimension::Twist => line.column_dbm0 = line.row_dbm0 + between(-8.0, 4.0),
            Dimension::Length => line.on_ms = between(40.0, 400.0),
            Dimension::Short => line.on_ms = between(5.0, 23.0),
            Dimension::Pause => {
                (line.on_ms, line.off_ms) = (between(40.0, 100.0), between(40.0, 100.0))
            }
            Dimension::Interruption => {
                line.on_ms = between(100.0, 200.0);
                line.hole_ms = (between(5.0, line.on_ms - 15.0), between(1.0, 10.0));
            }
            Dimension::Level => {
                line.row_dbm0 = between(-36.0, -3.0);
                line.column_dbm0 = line.row_dbm0;
            }
            Dimension::Quiet => {
                line.row_dbm0 = between(-70.0, -55.0);
                line.column_dbm0 = line.row_dbm0;
            }
            Dimension::Noise => line.noise_db = Some(between(15.0, 40.0)),
            Dimension::Echo => line.echo = Some((between(1.0, 20.0), between(10.0, 30.0))),
            Dimension::DialTone => {
                (line.row_dbm0, line.column_dbm0) = (-21.0, -21.0);
                let level = -21.0 + between(-20.0, 12.0);
                line.always = vec![(350.0, level), (440.0, level)];
            }
            Dimension::Hum => {
                (line.row_dbm0, line.column_dbm0) = (-12.0, -12.0);
                let hz = match between(0.0, 3.0) {
                    which if which < 1.0 => 50.0,
                    which if which < 2.0 => 60.0,
                    _ => 180.0,
                };
                line.always = vec![(hz, -12.0)];
            }
            Dimension::Passes => line.passes = if between(0.0, 1.0) < 0.5 { 2 } else { 4 },
            Dimension::Loss => (line.loss, line.on_ms) = (true, between(100.0, 200.0)),
            Dimension::Slip => line.slip = true,
            Dimension::Clip => (line.row_dbm0, line.column_dbm0) = (0.0, 0.0),
            Dimension::Voice => {
                (line.row_dbm0, line.column_dbm0) = (-12.0, -12.0);
                line.voice_dbm0 = Some(-27.0);
            }
            Dimension::Mixed => {
                line.row_off = (between(-0.015, 0.015), 0.0);
                line.column_off = (between(-0.015, 0.015), 0.0);
                line.row_dbm0 = between(-30.0, -8.0);
                line.column_dbm0 = line.row_dbm0 + between(-8.0, 4.0);
                (line.on_ms, line.off_ms) = (between(40.0, 120.0), between(40.0, 80.0));
                line.noise_db = Some(between(18.0, 40.0));
            }
        }
        line
    }

    /// Presses all keys `rounds` times and counts what the detector hears.
    pub fn score(self, rounds: u32, rng: &mut Rng) -> Tally {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            let stream = self.stream(rng);
            tally.add(self, &stream, &hear(&stream));
        }
        tally
    }
}

/// A press in the middle of all limits.
fn plain(rng: &mut Rng) -> Line {
    let mut between = |low: f64, high: f64| low + (high - low) * rng.unit();
    let row_dbm0 = between(-20.0, -8.0);
    Line {
        row_dbm0,
        column_dbm0: row_dbm0 + between(-4.0, 2.0),
        row_off: (between(-0.008, 0.008), 0.0),
        column_off: (between(-0.008, 0.008), 0.0),
        on_ms: between(50.0, 120.0),
        off_ms: between(60.0, 120.0),
        hole_ms: (0.0, 0.0),
        noise_db: None,
        always: Vec::new(),
        echo: None,
        voice_dbm0: None,
        slip: false,
        loss: false,
        passes: 1,
    }
}

/// What the detector hears in a stream, frame by frame.
#[must_use]
pub fn hear(stream: &Stream) -> Vec<Heard> {
    let mut detector = Detector::default();
    for (n, frame) in stream.sound.chunks(160).enumerate() {
        if stream.lost.contains(&n) {
            detector.freeze(20);
        } else {
            detector.handle(frame);
        }
    }
    detector.finish();
    std::iter::from_fn(|| detector.poll_heard()).collect()
}

/// A begin may be told so far from the press it belongs to.
const NEAR: Duration = Duration::from_millis(45);

impl Tally {
    /// Counts a stream: a press is heard if its key began once at about its time.
    pub fn add(&mut self, dimension: Dimension, stream: &Stream, heard: &[Heard]) {
        let mut keys = spans(heard);
        for press in &stream.presses {
            let belongs = |(digit, begin, _): &(Digit, Duration, Duration)| {
                *digit == press.digit && *begin + NEAR >= press.begin && *begin <= press.end + NEAR
            };
            let found = keys.iter().position(belongs).map(|at| keys.remove(at));
            if let Some((_, begin, end)) = found {
                self.begin_off = self.begin_off.max(begin.abs_diff(press.begin));
                self.end_off = self.end_off.max(end.abs_diff(press.end));
            }
            self.pressed += 1;
            self.right += u32::from(found.is_some() == dimension.is_key());
        }
        self.extra += u32::try_from(keys.len()).unwrap_or(u32::MAX);
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Tally) {
        self.pressed += other.pressed;
        self.right += other.right;
        self.extra += other.extra;
        self.begin_off = self.begin_off.max(other.begin_off);
        self.end_off = self.end_off.max(other.end_off);
    }

    /// Right decisions of all, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        f64::from(self.right) / f64::from(self.pressed.max(1))
    }
}

/// Begins with their ends.
fn spans(heard: &[Heard]) -> Vec<(Digit, Duration, Duration)> {
    let mut spans: Vec<(Digit, Duration, Duration)> = Vec::new();
    for one in heard {
        match one.sound {
            KeySound::Begin(digit) => spans.push((digit, one.at, one.at)),
            KeySound::End(_) => {
                if let Some(last) = spans.last_mut() {
                    last.2 = one.at;
                }
            }
        }
    }
    spans
}
