//! All prompts alike: no rumble, one loudness, no silence or click at the ends.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};
use std::ops::Range;

use helpline_core::audio::{FRAME_SAMPLES, SAMPLE_RATE_HZ};

/// Active speech has this RMS of 32768 (RFC 7874 §4).
const RMS_TARGET: f64 = 2600.0 / 32_768.0;
/// Gain up or down at most, dB.
const GAIN_DB_MAX: f64 = 20.0;
/// No sample beyond -3 dB of full scale: gain is held back, nothing is compressed.
const PEAK_MAX: f64 = 0.708;
/// Rumble below this is not for the telephone.
const HIGH_PASS_HZ: f64 = 80.0;
/// Loudness is measured above this, where the ear is.
const MEASURE_HZ: f64 = 300.0;
/// Frames this far below the loudest twentieth are pauses.
const ACTIVE_DB: f64 = 15.0;
/// Quieter than -50 dB of full scale is silence.
const SILENCE: f32 = 0.003_162;
/// What is left of silence at both ends, samples (20 ms).
const MARGIN: usize = 160;
/// Fade at both ends, samples (5 ms).
const FADE: usize = 40;

/// What was done to a prompt at 8 kHz, to do the same at a multiple of it.
pub(super) struct Shape {
    gain: f32,
    kept: Range<usize>,
}

impl Shape {
    /// What 8 kHz samples, -1.0 to 1.0, need.
    pub(super) fn of(samples: &[f32]) -> Result<Shape, String> {
        if !samples.iter().all(|s| s.is_finite()) {
            return Err("it holds samples that are no numbers".into());
        }
        let mut samples = samples.to_vec();
        high_pass(&mut samples, HIGH_PASS_HZ, SAMPLE_RATE_HZ);
        let gain = gain(&samples).ok_or("it holds nothing but silence")?;
        for sample in &mut samples {
            *sample *= gain;
        }
        let kept = trim(&samples).ok_or("it holds nothing but silence")?;
        Ok(Shape { gain, kept })
    }

    /// Shapes samples of `times` 8 kHz into 16-bit ones.
    pub(super) fn apply(&self, mut samples: Vec<f32>, times: u32) -> Vec<i16> {
        high_pass(&mut samples, HIGH_PASS_HZ, SAMPLE_RATE_HZ * times);
        let times = usize::try_from(times).unwrap_or(1);
        samples.resize(samples.len().max(self.kept.end * times), 0.0);
        let kept = self.kept.start * times..self.kept.end * times;
        let mut samples = samples.get(kept).unwrap_or_default().to_vec();
        for sample in &mut samples {
            *sample *= self.gain;
        }
        fade(&mut samples, FADE * times);
        samples.into_iter().map(to_16_bit).collect()
    }
}

/// Second-order Butterworth high-pass, in place.
fn high_pass(samples: &mut [f32], hz: f64, rate_hz: u32) {
    let w = TAU * hz / f64::from(rate_hz);
    let alpha = w.sin() * FRAC_1_SQRT_2;
    let a0 = 1.0 + alpha;
    let b0 = f64::midpoint(1.0, w.cos()) / a0;
    let (b1, b2) = (-2.0 * b0, b0);
    let (a1, a2) = (-2.0 * w.cos() / a0, (1.0 - alpha) / a0);
    let (mut z0, mut z1) = (0.0, 0.0);
    for sample in samples {
        let x = f64::from(*sample);
        let y = b0 * x + z0;
        z0 = b1 * x - a1 * y + z1;
        z1 = b2 * x - a2 * y;
        *sample = to_f32(y);
    }
}

/// The factor that brings active speech to its level; none if there is only silence.
fn gain(samples: &[f32]) -> Option<f32> {
    let mut measured = samples.to_vec();
    high_pass(&mut measured, MEASURE_HZ, SAMPLE_RATE_HZ);
    let mut powers: Vec<f64> = measured
        .chunks(FRAME_SAMPLES)
        .map(|frame| mean(frame.iter().map(|s| f64::from(*s).powi(2))))
        .collect();
    powers.sort_unstable_by(|a, b| b.total_cmp(a));
    let loudest = powers.get(..powers.len().div_ceil(20))?;
    let floor = mean(loudest.iter().copied()) * 10f64.powf(-ACTIVE_DB / 10.0);
    let active = mean(powers.iter().copied().take_while(|p| *p >= floor));
    let rms = active.sqrt();
    // Nothing that could be heard even at full gain.
    if rms < f64::from(SILENCE) / 10.0 {
        return None;
    }
    let peak = samples.iter().fold(0f32, |peak, s| peak.max(s.abs()));
    let most = 10f64.powf(GAIN_DB_MAX / 20.0);
    let gain = (RMS_TARGET / rms).clamp(1.0 / most, most);
    Some(to_f32(gain.min(PEAK_MAX / f64::from(peak))))
}

/// The part that is no silence, with a margin.
fn trim(samples: &[f32]) -> Option<Range<usize>> {
    let loud = |s: &f32| s.abs() > SILENCE;
    let first = samples.iter().position(loud)?;
    let last = samples.iter().rposition(loud)?;
    Some(first.saturating_sub(MARGIN)..(last + 1 + MARGIN).min(samples.len()))
}

fn fade(samples: &mut [f32], length: usize) {
    let ramp = |at: usize| to_f32(f64::from(u16::try_from(at).unwrap_or(0)) / to_f64(length));
    for (at, sample) in samples.iter_mut().take(length).enumerate() {
        *sample *= ramp(at);
    }
    for (at, sample) in samples.iter_mut().rev().take(length).enumerate() {
        *sample *= ramp(at);
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, n), v| (sum + v, n + 1));
    if count == 0 { 0.0 } else { sum / to_f64(count) }
}

#[allow(clippy::cast_precision_loss)] // counts of samples stay far below 2^53
fn to_f64(count: usize) -> f64 {
    count as f64
}

#[allow(clippy::cast_possible_truncation)] // sound needs no more
fn to_f32(value: f64) -> f32 {
    value as f32
}

#[allow(clippy::cast_possible_truncation)] // clamped first
fn to_16_bit(sample: f32) -> i16 {
    (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
}
