//! The in-band detector: every 5 ms a quick look whether two DTMF tones explain the last
//! 20 ms, and after four equal answers in a row a strict look at 35 ms. A strict look
//! weighs frequency offset, twist, residue and low-frequency energy together, because
//! speech fails one of them and keys do not.

use std::collections::VecDeque;
use std::f64::consts::{PI, TAU};

use super::Digit;
use super::fit::{Complex, Fit, fit, within_hop};
use super::front::{Front, HOP, hz, omega, to_f64};
use crate::audio::tone::RMS_0_DBM0;

/// What the detector heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySound {
    /// A key's pair began, 31-38 ms ago.
    Begin(Digit),
    /// It ended, some 40 ms ago.
    End(Digit),
}

/// Hops of the quick look.
const QUICK: usize = 4;
/// Hops of the strict look.
const STRICT: usize = 7;
/// Equal quick answers in a row before the strict look.
const RUN: u32 = 4;
/// Failing hops in a row that end a digit: a pause of 40 ms, not a dropout of 20.
const MISSES: u32 = 8;
/// A digit goes on only above this share of its first energy (-7 dB): echoes do not
/// lengthen it.
const GOES_ON: f64 = 0.2;
/// Lost audio holds a digit for so long.
const FROZEN_MS_MAX: u32 = 100;
/// Share of a hop's energy its strongest row and column must hold.
const QUICK_SHARE: f64 = 0.40;
/// Share of 20 ms that two tones must explain.
const QUICK_EXPLAINED: f64 = 0.70;
/// Twist (column over row, dB) of the quick look.
const QUICK_TWIST_DB: (f64, f64) = (-12.0, 8.0);
/// Twist of the strict look; a standard pair has -8 to +4.
const TWIST_DB: (f64, f64) = (-10.5, 6.5);
/// Each tone has at least -47 dBm0.
const TONE_POWER_MIN: f64 = RMS_0_DBM0 * RMS_0_DBM0 * 1.995_262e-5;
/// Residue allowed in the middle of all other limits, and at their edge.
const RESIDUE: (f64, f64) = (0.10, 0.035);
/// Low-frequency energy, as a share of the tones', that needs an explanation.
const LOW_SHARE: f64 = 0.12;
/// Residue allowed when there is low-frequency energy.
const LOW_RESIDUE: f64 = 0.03;

/// A key's row (0-3) and column (4-7).
type Pair = (usize, usize);

#[derive(Clone, Copy, Debug)]
struct Active {
    pair: Pair,
    digit: Digit,
    energy: f64,
    misses: u32,
}

/// The detector of one channel, 8 kHz.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    front: Front,
    /// What the last hops showed, and how many in a row.
    shown: Option<(Pair, u32)>,
    active: Option<Active>,
    frozen_ms: u32,
    out: VecDeque<KeySound>,
}

impl Detector {
    /// Takes sound of any length; drain [`Detector::poll`] afterwards.
    pub fn handle(&mut self, sound: &[i16]) {
        if !sound.is_empty() {
            self.frozen_ms = 0;
        }
        for sample in sound {
            if self.front.sample(*sample) {
                self.hop();
            }
        }
    }

    /// So many milliseconds of sound were lost: what was heard before and after does not
    /// fit together, and a digit in progress may go on behind the gap.
    pub fn freeze(&mut self, millis: u32) {
        self.shown = None;
        let before = self.frozen_ms.max(FROZEN_MS_MAX);
        self.frozen_ms = self.frozen_ms.saturating_add(millis);
        self.miss(self.frozen_ms.saturating_sub(before) / 5);
    }

    /// Starts anew; a digit in progress ends.
    pub fn reset(&mut self) {
        self.end();
        self.front = Front::default();
        self.shown = None;
        self.frozen_ms = 0;
    }

    /// The next sound of a key.
    pub fn poll(&mut self) -> Option<KeySound> {
        self.out.pop_front()
    }

    fn hop(&mut self) {
        let Some(pair) = self.quick_look() else {
            self.shown = None;
            return self.miss(1);
        };
        let run = match self.shown {
            Some((last, run)) if last == pair => run.saturating_add(1),
            _ => 1,
        };
        self.shown = Some((pair, run));
        if let Some(active) = self.active.as_mut().filter(|a| a.pair == pair) {
            if self.front.energy(QUICK) > GOES_ON * active.energy {
                active.misses = 0;
            } else {
                self.miss(1);
            }
            return;
        }
        if run >= RUN
            && self.strict_look(pair)
            && let Some(digit) = Digit::from_pad(pair.0, pair.1 - 4)
        {
            self.end();
            self.active = Some(Active {
                pair,
                digit,
                energy: self.front.energy(QUICK),
                misses: 0,
            });
            self.out.push_back(KeySound::Begin(digit));
            return;
        }
        self.miss(1);
    }

    fn miss(&mut self, hops: u32) {
        if let Some(active) = &mut self.active {
            active.misses = active.misses.saturating_add(hops);
            if active.misses >= MISSES {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        if let Some(active) = self.active.take() {
            self.out.push_back(KeySound::End(active.digit));
        }
    }

    /// The key that the last 20 ms show, if any.
    fn quick_look(&self) -> Option<Pair> {
        if !self.front.is_loud() {
            return None;
        }
        let hop = self.front.hop(0);
        let row = strongest(0, |tone| hop.tones[tone].power());
        let column = strongest(4, |tone| hop.tones[tone].power());
        let strong = hop.tones[row].power() + hop.tones[column].power();
        if 2.0 * strong / to_f64(HOP) < QUICK_SHARE * hop.energy {
            return None;
        }
        let whole = |tone| self.front.window(tone, 0.0, QUICK - 1, QUICK, |_| 1.0);
        let row = strongest(0, |tone| whole(tone).power());
        let column = strongest(4, |tone| whole(tone).power());
        let offsets = [row, column].map(|tone| self.offset(tone, QUICK, |_| 1.0));
        for (tone, offset) in [row, column].into_iter().zip(offsets) {
            if offset.abs() > limit(tone, 0.035, 6.0) {
                return None;
            }
        }
        let fit = self.hop_fit([row, column], offsets);
        let (low, high) = QUICK_TWIST_DB;
        let fits = fit.explained >= QUICK_EXPLAINED * self.front.energy(QUICK)
            && (low..=high).contains(&fit.twist_db);
        fits.then_some((row, column))
    }

    /// Whether the last 35 ms are that key beyond doubt.
    fn strict_look(&self, (row, column): Pair) -> bool {
        let tones = [row, column];
        // Hann weights: the sums overlap in five hops and do not see their own ends.
        let hann = |j: usize| (PI * (to_f64(j) + 0.5) / 6.0).sin().powi(2);
        let offsets = tones.map(|tone| self.offset(tone, STRICT, hann));
        let limits = tones.map(|tone| limit(tone, 0.0195, 2.0));
        let fit = self.sample_fit(tones, offsets);
        let (low, high) = TWIST_DB;
        let twist = if fit.twist_db > 0.0 {
            fit.twist_db / high
        } else {
            fit.twist_db / low
        };
        let edge = (offsets[0].abs() / limits[0])
            .max(offsets[1].abs() / limits[1])
            .max(twist);
        // Also refuses what is no number.
        if !(edge <= 1.0 && fit.weaker_power >= TONE_POWER_MIN) {
            return false;
        }
        let residue = 1.0 - fit.explained / self.front.energy(STRICT);
        // A bad residue and an edge offset do not come together in a real key.
        let steepness = (RESIDUE.0 - RESIDUE.1) / 0.5;
        let allowed = RESIDUE.0 - steepness * (edge - 0.5).max(0.0);
        residue <= allowed && self.low_band_is_explained(&fit, residue)
    }

    /// Dial tone and hum were there before the key; the low part of a voice was not.
    fn low_band_is_explained(&self, fit: &Fit, residue: f64) -> bool {
        // The first hop holds what the filter spilled at the onset.
        let sum: f64 = (0..STRICT - 1).map(|back| self.front.hop(back).low).sum();
        let low = sum * to_f64(STRICT) / to_f64(STRICT - 1);
        if low <= LOW_SHARE * fit.explained {
            return true;
        }
        let before: f64 = (STRICT + 1..2 * STRICT + 1)
            .map(|back| self.front.hop(back).low)
            .sum();
        let as_before = low <= 2.0 * before && before <= 2.0 * low;
        residue <= LOW_RESIDUE && (as_before || low - before <= LOW_SHARE * fit.explained)
    }

    /// How far a tone is off its nominal frequency, radians a sample: the turn between
    /// two windows that begin one hop apart and end with the newest of `count` hops.
    fn offset(&self, tone: usize, count: usize, weight: impl Fn(usize) -> f64) -> f64 {
        let first = self.front.window(tone, 0.0, count - 1, count - 1, &weight);
        let second = self.front.window(tone, 0.0, count - 2, count - 1, &weight);
        let turn = (second * first.conjugate()).angle() - omega(tone) * to_f64(HOP);
        wrap(turn) / to_f64(HOP)
    }

    /// Fit over the last 20 ms from the sums of the hops.
    fn hop_fit(&self, tones: [usize; 2], offsets: [f64; 2]) -> Fit {
        let of = |i: usize| {
            let sum = self
                .front
                .window(tones[i], offsets[i], QUICK - 1, QUICK, |_| 1.0);
            sum * within_hop(offsets[i])
        };
        let frequencies = [0, 1].map(|i| omega(tones[i]) + offsets[i]);
        fit(frequencies, [of(0), of(1)], QUICK * HOP)
    }

    /// Fit over the last 35 ms from the samples themselves: the sums of hops are exact
    /// only at the nominal frequency.
    fn sample_fit(&self, tones: [usize; 2], offsets: [f64; 2]) -> Fit {
        let count = STRICT * HOP;
        let frequencies = [0, 1].map(|i| omega(tones[i]) + offsets[i]);
        let of = |frequency: f64| {
            let step = Complex::turn(-frequency);
            let mut turn = Complex::ONE;
            let mut sum = Complex::default();
            for sample in self.front.filtered(count) {
                sum += turn * sample;
                turn = turn * step;
            }
            sum
        };
        fit(frequencies, frequencies.map(of), count)
    }
}

/// The tone of four, from `first` on, with the greatest power.
fn strongest(first: usize, power: impl Fn(usize) -> f64) -> usize {
    let mut best = (first, power(first));
    for tone in first + 1..first + 4 {
        let power = power(tone);
        if power > best.1 {
            best = (tone, power);
        }
    }
    best.0
}

/// A share of the tone's frequency and some Hz, in radians a sample.
fn limit(tone: usize, share: f64, more_hz: f64) -> f64 {
    TAU * (share * hz(tone) + more_hz) / 8000.0
}

/// An angle between -π and π.
fn wrap(angle: f64) -> f64 {
    angle - TAU * (angle / TAU).round()
}

#[cfg(test)]
mod tests;
