//! The sound of presses and what a line does to it.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::audio::dtmf::Digit;
use crate::audio::g711::Law;
use crate::audio::tone::{RMS_0_DBM0, amplitude};
use crate::rng::Rng;

/// How keys are pressed, and the line between them and the detector.
#[derive(Clone, Debug)]
pub struct Line {
    /// Level of the row's tone.
    pub row_dbm0: f64,
    /// Level of the column's tone.
    pub column_dbm0: f64,
    /// How far each tone is off, as a share, and in Hz on top, away from the nominal.
    pub row_off: (f64, f64),
    /// As for the row.
    pub column_off: (f64, f64),
    /// Length of a press, ms.
    pub on_ms: f64,
    /// Pause after it, ms.
    pub off_ms: f64,
    /// Silence within a press: from, length, ms.
    pub hole_ms: (f64, f64),
    /// White noise so far below the weaker tone, dB.
    pub noise_db: Option<f64>,
    /// (Hz, dBm0) that sound all the time.
    pub always: Vec<(f64, f64)>,
    /// Echo: delay in ms, and dB below.
    pub echo: Option<(f64, f64)>,
    /// A voice of this level, as our own prompt sounds in the echo.
    pub voice_dbm0: Option<f64>,
    /// One sample is lost or doubled in each press.
    pub slip: bool,
    /// One frame of 20 ms is lost in each press.
    pub loss: bool,
    /// Passes through G.711, both laws in turn.
    pub passes: u32,
}

/// A press as it was made.
#[derive(Clone, Copy, Debug)]
pub struct Press {
    /// The key.
    pub digit: Digit,
    /// When its tones began.
    pub begin: Duration,
    /// When they ended.
    pub end: Duration,
}

/// A stream of presses.
#[derive(Clone, Debug)]
pub struct Stream {
    /// 8 kHz linear.
    pub sound: Vec<i16>,
    /// What was pressed, in order.
    pub presses: Vec<Press>,
    /// Frames of 160 samples that were lost, by number.
    pub lost: Vec<usize>,
}

/// A frame is lost within a press, as samples.
const FRAME: usize = 160;

impl Line {
    /// The sound of the digits, each pressed in its own way, at a random alignment and
    /// with random phases.
    pub(super) fn sound(rng: &mut Rng, presses: &[(Digit, Line)]) -> Stream {
        let mut wave = vec![0.0; 1200 + below(rng, 80)];
        let mut made = Vec::new();
        let mut lost = Vec::new();
        for (digit, line) in presses {
            let from = wave.len();
            line.press(rng, *digit, &mut wave);
            made.push(Press {
                digit: *digit,
                begin: at(from),
                end: at(wave.len()),
            });
            if line.loss {
                let (first, end) = (from.div_ceil(FRAME), wave.len() / FRAME);
                lost.push(first + below(rng, end.saturating_sub(first)));
            }
            wave.resize(wave.len() + samples(line.off_ms), 0.0);
            let whole = wave.get_mut(from..).unwrap_or_default();
            line.disturb(rng, whole);
        }
        wave.resize(wave.len() + 1200, 0.0);
        if let Some((_, line)) = presses.first() {
            line.surround(rng, &mut wave);
        }
        let passes = presses.first().map_or(1, |(_, line)| line.passes);
        Stream {
            sound: through_g711(rng, &wave, passes),
            presses: made,
            lost,
        }
    }

    /// The two tones of one press.
    fn press(&self, rng: &mut Rng, digit: Digit, wave: &mut Vec<f64>) {
        let (row, column) = digit.pair_hz();
        let off = |hz: f64, (share, more): (f64, f64)| hz * (1.0 + share) + more;
        let (row, column) = (off(row, self.row_off), off(column, self.column_off));
        let phases = (rng.unit() * TAU, rng.unit() * TAU);
        let count = samples(self.on_ms);
        let slip = count / 4 + below(rng, count / 2);
        let step = if rng.below(2) == 0 { 1.0 } else { -1.0 };
        let (hole_from, hole) = (samples(self.hole_ms.0), samples(self.hole_ms.1));
        for n in 0..count {
            let shift = if self.slip && n > slip { step } else { 0.0 };
            let t = (to_f64(n) + shift) * TAU / 8000.0;
            let value = amplitude(self.row_dbm0) * (row * t + phases.0).sin()
                + amplitude(self.column_dbm0) * (column * t + phases.1).sin();
            let in_hole = (hole_from..hole_from + hole).contains(&n);
            wave.push(if in_hole { 0.0 } else { value });
        }
    }

    /// Echo and noise over a press and its pause.
    fn disturb(&self, rng: &mut Rng, wave: &mut [f64]) {
        if let Some((delay_ms, below_db)) = self.echo {
            let (delay, gain) = (samples(delay_ms), 10f64.powf(-below_db / 20.0));
            let clean = wave.to_vec();
            for (to, from) in wave.iter_mut().skip(delay).zip(clean) {
                *to += from * gain;
            }
        }
        if let Some(below_db) = self.noise_db {
            let level = self.row_dbm0.min(self.column_dbm0) - below_db;
            for value in wave.iter_mut() {
                *value += normal(rng) * RMS_0_DBM0 * 10f64.powf(level / 20.0);
            }
        }
    }

    /// What sounds all the time.
    fn surround(&self, rng: &mut Rng, wave: &mut [f64]) {
        for (hz, dbm0) in &self.always {
            let phase = rng.unit() * TAU;
            for (n, value) in wave.iter_mut().enumerate() {
                *value += amplitude(*dbm0) * (hz * to_f64(n) * TAU / 8000.0 + phase).sin();
            }
        }
        if let Some(dbm0) = self.voice_dbm0 {
            let voice = voice(rng, wave.len());
            let power: f64 = voice.iter().map(|x| x * x).sum::<f64>() / to_f64(voice.len());
            let gain = RMS_0_DBM0 * 10f64.powf(dbm0 / 20.0) / power.sqrt();
            for (value, voice) in wave.iter_mut().zip(voice) {
                *value += voice * gain;
            }
        }
    }
}

/// A hum of vowels: pulses of a wandering pitch through wandering resonances, four
/// syllables a second.
fn voice(rng: &mut Rng, count: usize) -> Vec<f64> {
    let mut resonances = [(500.0, 0.0, 0.0), (1500.0, 0.0, 0.0), (2500.0, 0.0, 0.0)];
    let (mut pitch_hz, mut phase) = (110.0 + 120.0 * rng.unit(), 0.0);
    (0..count)
        .map(|n| {
            if n % 2000 == 0 {
                resonances[0].0 = 300.0 + 500.0 * rng.unit();
                resonances[1].0 = 900.0 + 1300.0 * rng.unit();
                pitch_hz = 100.0 + 130.0 * rng.unit();
            }
            phase += pitch_hz / 8000.0;
            let mut x = normal(rng) * 0.02;
            if phase >= 1.0 {
                phase -= 1.0;
                x += 1.0;
            }
            let mut sum = 0.0;
            for (hz, y1, y2) in &mut resonances {
                // A pole pair of 80 Hz bandwidth.
                let radius = (-TAU * 40.0 / 8000.0).exp();
                let y = x + 2.0 * radius * (TAU * *hz / 8000.0).cos() * *y1 - radius * radius * *y2;
                (*y2, *y1) = (*y1, y);
                sum += y;
            }
            sum * (TAU * to_f64(n % 2000) / 4000.0).sin()
        })
        .collect()
}

fn through_g711(rng: &mut Rng, wave: &[f64], passes: u32) -> Vec<i16> {
    let first = if rng.below(2) == 0 {
        [Law::Mu, Law::A]
    } else {
        [Law::A, Law::Mu]
    };
    let laws = || {
        first
            .iter()
            .cycle()
            .take(usize::try_from(passes).unwrap_or(1))
    };
    #[allow(clippy::cast_possible_truncation)] // clamped: so a line clips
    let linear = |x: &f64| x.round().clamp(-32_768.0, 32_767.0) as i16;
    wave.iter()
        .map(|x| laws().fold(linear(x), |s, law| law.decode(law.encode(s))))
        .collect()
}

/// Twelve uniform numbers make a normal one.
fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0
}

fn below(rng: &mut Rng, end: usize) -> usize {
    let below = rng.below(u64::try_from(end).unwrap_or(0));
    usize::try_from(below).unwrap_or(0)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few thousand
fn samples(ms: f64) -> usize {
    (ms * 8.0).round().max(0.0) as usize
}

/// The time of a sample.
fn at(sample: usize) -> Duration {
    Duration::from_micros(u64::try_from(sample).unwrap_or(0).saturating_mul(125))
}

#[allow(clippy::cast_precision_loss)] // counts of samples stay far below 2^53
fn to_f64(count: usize) -> f64 {
    count as f64
}
