//! The two sample rates of a talk, 8 and 16 kHz, and the way between them: a half-band
//! filter, flat to 3.4 kHz, 1.4 ms of delay each way.

use std::f32::consts::PI;

/// Sample rate of sound while it is neither encoded nor on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// 8 kHz: the telephone network.
    Narrow,
    /// 16 kHz: G.722.
    Wide,
}

/// Samples of 20 ms at the higher rate: room for a frame of either.
pub const WIDE_SAMPLES: usize = 320;

/// Taps of the filter; every second one but the middle is zero.
const TAPS: usize = 47;
/// Samples before and after the middle tap that count: odd distances from it.
const SIDE: usize = TAPS.div_ceil(4);
/// Samples kept from one call to the next.
const KEPT: usize = TAPS - 1;
/// Shape of the Kaiser window: 55 dB down from 4.6 kHz on.
const KAISER_BETA: f32 = 5.2;

impl Rate {
    /// Samples a second.
    #[must_use]
    pub const fn hz(self) -> u32 {
        match self {
            Rate::Narrow => 8000,
            Rate::Wide => 16_000,
        }
    }

    /// Samples in a frame of 20 ms.
    #[must_use]
    pub const fn frame_samples(self) -> usize {
        match self {
            Rate::Narrow => WIDE_SAMPLES / 2,
            Rate::Wide => WIDE_SAMPLES,
        }
    }
}

/// Weights at distances 1, 3, 5 ... from the middle tap, whose own weight is one half.
#[derive(Clone, Debug)]
struct HalfBand([f32; SIDE]);

impl HalfBand {
    fn new() -> HalfBand {
        let mut weights = [0.0; SIDE];
        for (weight, distance) in weights.iter_mut().zip((1u8..).step_by(2)) {
            let x = f32::from(distance);
            // sin(pi x / 2) of an odd number is plus or minus one.
            let sign = if distance % 4 == 1 { 1.0 } else { -1.0 };
            *weight = sign / (PI * x) * kaiser(x / 24.0);
        }
        // Exactly one half in sum, so that a constant keeps its level in both phases.
        let sum: f32 = weights.iter().sum::<f32>() * 2.0;
        for weight in &mut weights {
            *weight *= 0.5 / sum;
        }
        HalfBand(weights)
    }

    /// The weighted sum of both neighbourhoods: `before` backwards and `after` forwards
    /// in steps of `step` from the sample in the middle.
    fn sides<'a>(
        &self,
        before: impl Iterator<Item = &'a f32>,
        after: impl Iterator<Item = &'a f32>,
    ) -> f32 {
        let pairs = before.zip(after).zip(&self.0);
        pairs.map(|((a, b), weight)| (a + b) * weight).sum()
    }
}

/// 16 kHz to 8 kHz.
#[derive(Clone, Debug)]
pub struct Halver {
    filter: HalfBand,
    kept: [f32; KEPT],
}

impl Default for Halver {
    fn default() -> Self {
        Halver {
            filter: HalfBand::new(),
            kept: [0.0; KEPT],
        }
    }
}

impl Halver {
    /// Writes half as many samples as it is given, an even number up to
    /// [`WIDE_SAMPLES`]; more are left off.
    pub fn halve(&mut self, wide: &[i16], narrow: &mut [i16]) {
        let mut line = [0.0; KEPT + WIDE_SAMPLES];
        let count = fill(&mut line, &self.kept, wide);
        let middle = KEPT / 2;
        for (at, out) in (middle..).step_by(2).zip(narrow.iter_mut().take(count / 2)) {
            let (before, after) = line.split_at(at);
            let Some((center, after)) = after.split_first() else {
                break;
            };
            let sides = self
                .filter
                .sides(before.iter().rev().step_by(2), after.iter().step_by(2));
            *out = to_sample(0.5 * center + sides);
        }
        keep(&mut self.kept, &line, count);
    }
}

/// 8 kHz to 16 kHz.
#[derive(Clone, Debug)]
pub struct Doubler {
    filter: HalfBand,
    kept: [f32; KEPT / 2],
}

impl Default for Doubler {
    fn default() -> Self {
        Doubler {
            filter: HalfBand::new(),
            kept: [0.0; KEPT / 2],
        }
    }
}

impl Doubler {
    /// Writes twice as many samples as it is given, up to half of [`WIDE_SAMPLES`]; more
    /// are left off.
    pub fn double(&mut self, narrow: &[i16], wide: &mut [i16]) {
        let mut line = [0.0; KEPT / 2 + WIDE_SAMPLES / 2];
        let count = fill(&mut line, &self.kept, narrow);
        // Between two samples of the input lies the one made of both sides; the other
        // output is the input itself, delayed.
        for (at, out) in (SIDE..).zip(wide.chunks_exact_mut(2)).take(count) {
            let (before, after) = line.split_at(at);
            let made = 2.0 * self.filter.sides(before.iter().rev(), after.iter());
            let own = after.first().copied().unwrap_or(0.0);
            if let [first, second] = out {
                *first = to_sample(made);
                *second = to_sample(own);
            }
        }
        keep(&mut self.kept, &line, count);
    }
}

/// Puts what was kept and what came into one line; the number that came.
fn fill(line: &mut [f32], kept: &[f32], came: &[i16]) -> usize {
    for (to, from) in line.iter_mut().zip(kept) {
        *to = *from;
    }
    let room = line.iter_mut().skip(kept.len());
    room.zip(came)
        .map(|(to, from)| *to = f32::from(*from))
        .count()
}

fn keep(kept: &mut [f32], line: &[f32], count: usize) {
    for (to, from) in kept.iter_mut().zip(line.iter().skip(count)) {
        *to = *from;
    }
}

/// Kaiser window at `x` of -1..1.
fn kaiser(x: f32) -> f32 {
    bessel(KAISER_BETA * (1.0 - x * x).max(0.0).sqrt()) / bessel(KAISER_BETA)
}

/// Modified Bessel function of the first kind, order zero.
fn bessel(x: f32) -> f32 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..20u8 {
        term *= (x / (2.0 * f32::from(n))).powi(2);
        sum += term;
    }
    sum
}

#[allow(clippy::cast_possible_truncation)] // clamped first
pub(super) fn to_sample(value: f32) -> i16 {
    value
        .round()
        .clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::meter::{level_dbm0, sine, snr_db};

    #[test]
    fn down_and_up_keep_the_voice_band() {
        for hz in [300.0, 1000.0, 2000.0, 3400.0] {
            let narrow = sine(hz, -10.0, Rate::Narrow, 8000);
            let mut wide = vec![0; 16_000];
            let mut doubler = Doubler::default();
            for (from, to) in narrow.chunks(160).zip(wide.chunks_mut(320)) {
                doubler.double(from, to);
            }
            let mut back = vec![0; 8000];
            let mut halver = Halver::default();
            for (from, to) in wide.chunks(320).zip(back.chunks_mut(160)) {
                halver.halve(from, to);
            }
            for sound in [&wide[2000..], &back[1000..]] {
                let level = level_dbm0(sound);
                assert!((level + 10.0).abs() < 0.1, "{hz} Hz: {level} dBm0");
            }
            // Both ways: 23 samples of 16 kHz each, 23 of 8 kHz in all.
            let snr = snr_db(&narrow[1000..7000], &back[1023..]);
            assert!(snr > 40.0, "{hz} Hz: {snr} dB");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_taken_out() {
        for hz in [4700.0, 5500.0, 7000.0] {
            let wide = sine(hz, -3.0, Rate::Wide, 16_000);
            let mut narrow = vec![0; 8000];
            let mut halver = Halver::default();
            for (from, to) in wide.chunks(320).zip(narrow.chunks_mut(160)) {
                halver.halve(from, to);
            }
            let level = level_dbm0(&narrow[1000..]);
            assert!(level < -53.0, "{hz} Hz: {level} dBm0");
        }
    }
}
