//! Measures of sound: level, one frequency, likeness. For detectors and for tests.

use super::tone::RMS_0_DBM0;

/// Below this a level is told as this.
pub const LEVEL_DBM0_MIN: f64 = -96.0;

/// Level of a stretch of sound, dBm0 (RMS).
#[must_use]
pub fn level_dbm0(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return LEVEL_DBM0_MIN;
    }
    let sum: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    to_dbm0((sum / count(samples)).sqrt())
}

/// Level of one frequency in a stretch of sound (Goertzel), dBm0. `cycles` is the
/// frequency as a share of the sample rate.
#[must_use]
pub fn tone_dbm0(samples: &[i16], cycles: f64) -> f64 {
    let turn = std::f64::consts::TAU * cycles;
    let coefficient = 2.0 * turn.cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        let now = f64::from(*sample) + coefficient * last - before;
        before = last;
        last = now;
    }
    let power = last * last + before * before - coefficient * last * before;
    let amplitude = 2.0 * power.max(0.0).sqrt() / count(samples).max(1.0);
    to_dbm0(amplitude / std::f64::consts::SQRT_2)
}

fn to_dbm0(rms: f64) -> f64 {
    (20.0 * (rms / RMS_0_DBM0).log10()).max(LEVEL_DBM0_MIN)
}

#[allow(clippy::cast_precision_loss)] // counts of samples stay far below 2^53
fn count(samples: &[i16]) -> f64 {
    samples.len() as f64
}

/// A sine of this level, for tests.
#[cfg(test)]
#[must_use]
pub(crate) fn sine(hz: f64, dbm0: f64, rate: super::Rate, samples: usize) -> Vec<i16> {
    let peak = super::tone::amplitude(dbm0);
    let turn = std::f64::consts::TAU * hz / f64::from(rate.hz());
    (0..samples)
        .map(|n| (peak * (turn * n as f64).sin()).round() as i16)
        .collect()
}

/// How much stronger `wanted` is than its difference to `got`, dB, for tests.
#[cfg(test)]
#[must_use]
pub(crate) fn snr_db(wanted: &[i16], got: &[i16]) -> f64 {
    let (mut signal, mut noise) = (0.0, 1e-9);
    for (a, b) in wanted.iter().zip(got) {
        signal += f64::from(*a).powi(2);
        noise += (f64::from(*a) - f64::from(*b)).powi(2);
    }
    10.0 * (signal / noise).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Rate;

    #[test]
    fn level_and_frequency_of_a_sine_are_read() {
        let sound = sine(1000.0, -20.0, Rate::Narrow, 1600);
        assert!((level_dbm0(&sound) + 20.0).abs() < 0.05);
        assert!((tone_dbm0(&sound, 0.125) + 20.0).abs() < 0.05);
        assert!(tone_dbm0(&sound, 0.25) < -70.0);
        assert!(level_dbm0(&[0; 160]) <= LEVEL_DBM0_MIN);
    }
}
