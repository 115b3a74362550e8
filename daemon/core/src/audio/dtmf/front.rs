//! Front end of the detector: a high-pass that keeps dial tone and hum away, and, every
//! 5 ms, the correlation of the sound with the eight DTMF frequencies.

use std::f64::consts::TAU;

use super::fit::Complex;
use super::{COLUMNS_HZ, ROWS_HZ};
use crate::audio::tone::RMS_0_DBM0;

/// Samples in a hop (5 ms).
pub(super) const HOP: usize = 40;
/// Hops remembered.
const HOPS: usize = 16;
/// Filtered samples remembered.
const SAMPLES: usize = 320;
/// Below this power (-50 dBm0) a hop is only measured, not correlated.
const FLOOR_POWER: f64 = RMS_0_DBM0 * RMS_0_DBM0 * 1e-5;

/// What is kept of 5 ms.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hop {
    /// Correlation with rows 0-3 and columns 4-7, from the hop's own start.
    pub(super) tones: [Complex; 8],
    /// Energy behind the filter.
    pub(super) energy: f64,
    /// Energy the filter took away: hum, dial tone, the low part of speech.
    pub(super) low: f64,
}

/// Second-order section, transposed direct form II.
#[derive(Clone, Copy, Debug)]
struct Section {
    b: [f64; 3],
    a: [f64; 2],
    z: [f64; 2],
}

/// The front end of one channel.
#[derive(Clone, Debug)]
pub(super) struct Front {
    sections: [Section; 2],
    /// cos and -sin of each frequency over a hop.
    waves: Box<[[Complex; HOP]; 8]>,
    hops: [Hop; HOPS],
    samples: [f64; SAMPLES],
    /// Hops since the start; the newest is at `count - 1`.
    count: usize,
    /// Samples of the hop being filled, and its unfiltered energy.
    filled: usize,
    raw_energy: f64,
}

/// Angular frequency of row 0-3 or column 4-7, radians a sample.
pub(super) fn omega(tone: usize) -> f64 {
    TAU * hz(tone) / 8000.0
}

/// Frequency of row 0-3 or column 4-7.
pub(super) fn hz(tone: usize) -> f64 {
    if tone < 4 {
        ROWS_HZ[tone & 3]
    } else {
        COLUMNS_HZ[tone & 3]
    }
}

impl Default for Front {
    fn default() -> Self {
        let mut waves = Box::new([[Complex::default(); HOP]; 8]);
        for (tone, wave) in waves.iter_mut().enumerate() {
            for (n, value) in wave.iter_mut().enumerate() {
                *value = Complex::turn(-omega(tone) * to_f64(n));
            }
        }
        // A fourth-order elliptic high-pass at 640 Hz: -0.5 dB there, -36 dB at 440 Hz
        // and below.
        let section = |b, a| Section { b, a, z: [0.0; 2] };
        Front {
            sections: [
                section(
                    [0.533_180_60, -1.053_977_40, 0.533_180_60],
                    [-1.058_725_13, 0.394_785_21],
                ),
                section([1.0, -1.893_047_80, 1.0], [-1.671_059_74, 0.892_688_88]),
            ],
            waves,
            hops: [Hop::default(); HOPS],
            samples: [0.0; SAMPLES],
            count: 0,
            filled: 0,
            raw_energy: 0.0,
        }
    }
}

impl Front {
    /// Takes one sample; true when it completed a hop.
    pub(super) fn sample(&mut self, sample: i16) -> bool {
        let x = f64::from(sample);
        let mut y = x;
        for section in &mut self.sections {
            y = section.pass(y);
        }
        self.raw_energy += x * x;
        self.samples[(self.count * HOP + self.filled) % SAMPLES] = y;
        self.filled += 1;
        if self.filled < HOP {
            return false;
        }
        self.complete();
        true
    }

    /// The hop `back` hops before the newest, 0-15.
    pub(super) fn hop(&self, back: usize) -> &Hop {
        &self.hops[(self.count + 2 * HOPS - 1 - back % HOPS) % HOPS]
    }

    /// Whether the newest hop is loud enough to be looked at.
    pub(super) fn is_loud(&self) -> bool {
        self.hop(0).energy >= FLOOR_POWER * to_f64(HOP)
    }

    /// The last `count` filtered samples, oldest first; at most 320.
    pub(super) fn filtered(&self, count: usize) -> impl Iterator<Item = f64> + '_ {
        let end = self.count * HOP + SAMPLES;
        (end - count..end).map(|n| self.samples[n % SAMPLES])
    }

    /// Energy of the last `count` hops.
    pub(super) fn energy(&self, count: usize) -> f64 {
        (0..count).map(|back| self.hop(back).energy).sum()
    }

    /// Correlation of `count` hops, the first one `back` hops before the newest, with a
    /// tone `offset` radians a sample off its nominal frequency, each hop weighed.
    pub(super) fn window(
        &self,
        tone: usize,
        offset: f64,
        back: usize,
        count: usize,
        weight: impl Fn(usize) -> f64,
    ) -> Complex {
        let step = Complex::turn(-(omega(tone) + offset) * to_f64(HOP));
        let mut turn = Complex::ONE;
        let mut sum = Complex::default();
        for j in 0..count {
            sum += self.hop(back - j).tones[tone] * turn * weight(j);
            turn = turn * step;
        }
        sum
    }

    fn complete(&mut self) {
        let start = self.count * HOP;
        let hop = &mut self.hops[self.count % HOPS];
        let samples = &self.samples;
        let filtered = |n: usize| samples[(start + n) % SAMPLES];
        hop.energy = (0..HOP).map(|n| filtered(n) * filtered(n)).sum();
        hop.low = (self.raw_energy - hop.energy).max(0.0);
        hop.tones = [Complex::default(); 8];
        if hop.energy >= FLOOR_POWER * to_f64(HOP) {
            for (sum, wave) in hop.tones.iter_mut().zip(self.waves.iter()) {
                for (n, value) in wave.iter().enumerate() {
                    *sum += *value * filtered(n);
                }
            }
        }
        self.raw_energy = 0.0;
        self.filled = 0;
        // Wraps to where both rings begin.
        self.count = (self.count + 1) % (HOPS * SAMPLES);
    }
}

impl Section {
    fn pass(&mut self, x: f64) -> f64 {
        let y = self.b[0] * x + self.z[0];
        self.z[0] = self.b[1] * x - self.a[0] * y + self.z[1];
        self.z[1] = self.b[2] * x - self.a[1] * y;
        y
    }
}

#[allow(clippy::cast_precision_loss)] // small counts
pub(super) fn to_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tone;
    use std::time::Duration;

    fn response_db(hz: f64) -> f64 {
        let mut front = Front::default();
        let sound = tone::burst(&[(hz, -6.0)], Duration::from_millis(400));
        for sample in &sound {
            front.sample(*sample);
        }
        // The last whole hops of the steady part: the ramp at the end is one hop.
        let out: f64 = (1..9).map(|back| front.hop(back).energy).sum();
        let part = &sound[sound.len() - 9 * HOP..sound.len() - HOP];
        let power: f64 = part.iter().map(|s| f64::from(*s).powi(2)).sum();
        10.0 * (out / power).log10()
    }

    #[test]
    fn filter_stops_dial_tone_and_hum_and_passes_keys() {
        for hz in [60.0, 350.0, 425.0, 440.0] {
            assert!(response_db(hz) < -33.0, "{hz} Hz: {}", response_db(hz));
        }
        for hz in [697.0, 941.0, 1209.0, 1633.0] {
            assert!(response_db(hz).abs() < 0.6, "{hz} Hz: {}", response_db(hz));
        }
    }
}
