//! Tones made, not recorded: signals to a caller (ITU-T E.180) and the sound of keys.

use std::f64::consts::TAU;
use std::time::Duration;

use super::dtmf::Digit;
use super::frame::{Clip, SAMPLE_RATE_HZ};

/// RMS of 0 dBm0 on the 16-bit scale: a full-scale sine is +3.17 dBm0 in mu-law (G.711).
pub const RMS_0_DBM0: f64 = 16_086.0;

/// Signals a flow may play; each is finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tone {
    /// 1 kHz for 200 ms.
    Beep,
    /// Busy: half a second on, half a second off, four times.
    Busy,
    /// Ringing: one second on, four seconds off, once.
    Ringback,
    /// Congestion: a quarter of a second on and off, eight times.
    Congestion,
}

/// E.180 recommends 425 Hz for signals that use a single frequency.
const SIGNAL_HZ: f64 = 425.0;
/// Level of all signals: well below speech peaks, clearly heard.
const SIGNAL_DBM0: f64 = -13.0;
/// Ramp at both ends of every tone, so that none clicks.
const RAMP_MS: u32 = 5;
/// Levels of the lower and upper tone of a key.
const ROW_DBM0: f64 = -9.0;
const COLUMN_DBM0: f64 = -7.0;

/// The tone as a clip, whole frames, ready for both laws.
#[must_use]
pub fn clip(tone: Tone) -> Clip {
    let (hz, on_ms, off_ms, times) = match tone {
        Tone::Beep => (1000.0, 200, 0, 1),
        Tone::Busy => (SIGNAL_HZ, 500, 500, 4),
        Tone::Ringback => (SIGNAL_HZ, 1000, 4000, 1),
        Tone::Congestion => (SIGNAL_HZ, 250, 250, 8),
    };
    let mut samples = Vec::new();
    for _ in 0..times {
        samples.extend(burst(&[(hz, SIGNAL_DBM0)], Duration::from_millis(on_ms)));
        let silent = samples.len() + sample_count(Duration::from_millis(off_ms));
        samples.resize(silent, 0);
    }
    Clip::from_pcm(&samples)
}

/// The sound of a key for `length`, 8 kHz linear, as our test phones send it.
#[must_use]
pub fn key(digit: Digit, length: Duration) -> Vec<i16> {
    let (row, column) = digit.pair_hz();
    burst(&[(row, ROW_DBM0), (column, COLUMN_DBM0)], length)
}

/// Sines of (Hz, dBm0) added up, with ramps at both ends.
#[must_use]
pub fn burst(parts: &[(f64, f64)], length: Duration) -> Vec<i16> {
    let count = sample_count(length);
    let ramp = sample_count(Duration::from_millis(u64::from(RAMP_MS))).max(1);
    (0..count)
        .map(|n| {
            let sum: f64 = parts
                .iter()
                .map(|(hz, dbm0)| {
                    amplitude(*dbm0) * (TAU * hz * to_f64(n) / f64::from(SAMPLE_RATE_HZ)).sin()
                })
                .sum();
            let edge = n.min(count - 1 - n);
            let gain = if edge < ramp {
                to_f64(edge) / to_f64(ramp)
            } else {
                1.0
            };
            to_sample(sum * gain)
        })
        .collect()
}

/// Peak of a sine of this level.
#[must_use]
pub fn amplitude(dbm0: f64) -> f64 {
    RMS_0_DBM0 * std::f64::consts::SQRT_2 * 10f64.powf(dbm0 / 20.0)
}

fn sample_count(length: Duration) -> usize {
    usize::try_from(length.as_micros() * u128::from(SAMPLE_RATE_HZ) / 1_000_000)
        .unwrap_or(usize::MAX)
}

#[allow(clippy::cast_precision_loss)] // counts of samples stay far below 2^53
fn to_f64(count: usize) -> f64 {
    count as f64
}

#[allow(clippy::cast_possible_truncation)] // clamped first
fn to_sample(value: f64) -> i16 {
    value
        .round()
        .clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level_dbm0(samples: &[i16]) -> f64 {
        let sum: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
        20.0 * ((sum / to_f64(samples.len())).sqrt() / RMS_0_DBM0).log10()
    }

    #[test]
    fn beep_is_ten_frames_at_its_level() {
        let beep = clip(Tone::Beep);
        assert_eq!(beep.frames(), 10);
        let level = level_dbm0(&beep.pcm());
        assert!((level + 13.0).abs() < 0.5, "{level}");
    }

    #[test]
    fn cadences_have_their_lengths_and_pauses() {
        assert_eq!(clip(Tone::Busy).duration(), Duration::from_secs(4));
        assert_eq!(clip(Tone::Congestion).duration(), Duration::from_secs(4));
        let ring = clip(Tone::Ringback).pcm();
        assert_eq!(ring.len(), 40_000);
        assert!(ring[8000..].iter().all(|s| *s == 0));
        assert!(ring[..8000].iter().any(|s| *s != 0));
    }

    #[test]
    fn key_has_both_tones_and_no_step_at_its_edges() {
        let sound = key(Digit::from_char('5').unwrap(), Duration::from_millis(100));
        assert_eq!(sound.len(), 800);
        assert_eq!((sound[0], sound[799]), (0, 0));
        let level = level_dbm0(&sound[80..720]);
        // -9 and -7 dBm0 together.
        assert!((level + 4.87).abs() < 0.3, "{level}");
    }
}
