//! The rules of one channel: every 5 ms a quick look whether two DTMF tones explain the
//! last 20 ms, and after four equal answers in a row a strict look at 35 ms. A strict look
//! weighs frequency offset, twist, residue and low-frequency energy together, because
//! speech fails one of them and keys do not.

use std::collections::VecDeque;
use std::f64::consts::{PI, TAU};
use std::sync::LazyLock;
use std::time::Duration;

use super::fit::{Complex, Fit};
use super::front::{Front, HOP, Wave, hz, to_f64};
use super::{Digit, Heard, KeySound};
use crate::audio::tone::RMS_0_DBM0;

/// Hops of the quick look.
const QUICK: usize = 4;
/// Hops of the strict look; half of them is what `Wave::half_strict` turns by.
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
/// Twist of the strict look, dB; a standard pair has -8 to +4.
const TWIST_DB: (f64, f64) = (-10.5, 6.5);
/// Each tone has at least -47 dBm0.
const TONE_POWER_MIN: f64 = RMS_0_DBM0 * RMS_0_DBM0 * 1.995_262e-5;
/// Residue allowed in the middle of all other limits, and at their edge.
const RESIDUE: (f64, f64) = (0.10, 0.035);
/// Low-frequency energy, as a share of the tones', that needs an explanation.
const LOW_SHARE: f64 = 0.12;
/// Residue allowed when there is low-frequency energy.
const LOW_RESIDUE: f64 = 0.03;
/// A key began about so long before the end of the first hop that showed it, and ended so
/// long before the end of the last one (measured, see the tests), µs.
const BEGIN_LAG_US: u64 = 17_500;
const END_LAG_US: u64 = 2_500;
/// One hop, µs.
const HOP_US: u64 = 5_000;

/// A key's row (0-3) and column (4-7).
type Pair = (usize, usize);

#[derive(Clone, Copy, Debug)]
struct Active {
    pair: Pair,
    digit: Digit,
    energy: f64,
    misses: u32,
    /// End of the last hop that showed it, µs.
    shown_us: u64,
}

/// What one channel has shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Judge {
    /// What the last hops showed, how many in a row, and the end of the first, µs.
    shown: Option<(Pair, u32, u64)>,
    active: Option<Active>,
    frozen_ms: u32,
    /// End of the newest hop since the start, lost sound included, µs.
    now_us: u64,
    out: VecDeque<Heard>,
}

impl Judge {
    /// Sound is coming again.
    pub(super) fn thaw(&mut self) {
        self.frozen_ms = 0;
    }

    /// So many milliseconds of sound were lost.
    pub(super) fn freeze(&mut self, millis: u32) {
        self.shown = None;
        self.now_us += u64::from(millis) * 1000;
        let before = self.frozen_ms.max(FROZEN_MS_MAX);
        self.frozen_ms = self.frozen_ms.saturating_add(millis);
        self.miss(self.frozen_ms.saturating_sub(before) / 5);
    }

    /// Forgets what it saw; a digit in progress ends. Time goes on.
    pub(super) fn reset(&mut self) {
        self.end();
        self.shown = None;
        self.frozen_ms = 0;
    }

    pub(super) fn poll(&mut self) -> Option<Heard> {
        self.out.pop_front()
    }

    /// Whether there is nothing to poll.
    #[cfg(test)]
    pub(super) fn is_silent(&self) -> bool {
        self.out.is_empty()
    }

    /// A hop is complete.
    pub(super) fn hop<const L: usize>(&mut self, front: &Front<L>, channel: usize) {
        self.now_us += HOP_US;
        let Some(pair) = front.pair(channel) else {
            self.shown = None;
            return self.miss(1);
        };
        let (run, first_us) = match self.shown {
            Some((last, run, first_us)) if last == pair => (run.saturating_add(1), first_us),
            _ => (1, self.now_us),
        };
        self.shown = Some((pair, run, first_us));
        if let Some(active) = self.active.as_mut().filter(|a| a.pair == pair) {
            if front.energy(channel, QUICK) > GOES_ON * active.energy {
                active.misses = 0;
                active.shown_us = self.now_us;
            } else {
                self.miss(1);
            }
            return;
        }
        if run >= RUN
            && (Look { front, channel }).strict(pair)
            && let Some(digit) = Digit::from_pad(pair.0, pair.1 - 4)
        {
            self.begin(pair, digit, front.energy(channel, QUICK), first_us);
            return;
        }
        self.miss(1);
    }

    fn begin(&mut self, pair: Pair, digit: Digit, energy: f64, first_us: u64) {
        self.end();
        self.active = Some(Active {
            pair,
            digit,
            energy,
            misses: 0,
            shown_us: self.now_us,
        });
        self.out.push_back(Heard {
            sound: KeySound::Begin(digit),
            at: Duration::from_micros(first_us.saturating_sub(BEGIN_LAG_US)),
        });
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
            self.out.push_back(Heard {
                sound: KeySound::End(active.digit),
                at: Duration::from_micros(active.shown_us.saturating_sub(END_LAG_US)),
            });
        }
    }
}

/// The last 35 ms of a channel.
struct Look<'a, const L: usize> {
    front: &'a Front<L>,
    channel: usize,
}

impl<const L: usize> Look<'_, L> {
    /// Whether the last 35 ms are that key beyond doubt.
    fn strict(&self, (row, column): Pair) -> bool {
        let tones = [row, column];
        let offsets = tones.map(|tone| self.turn(tone).angle() / to_f64(HOP));
        let limits = tones.map(|tone| limit(tone, 0.0195, 2.0));
        let offset = (offsets[0].abs() / limits[0]).max(offsets[1].abs() / limits[1]);
        if offset > 1.0 {
            return false;
        }
        let fit = self.sample_fit(tones, offsets);
        let (low, high) = TWIST_DB;
        let twist_db = 10.0 * (fit.powers[1] / fit.powers[0]).log10();
        let twist = twist_db / if twist_db > 0.0 { high } else { low };
        let edge = offset.max(twist);
        // Also refuses what is no number.
        if !(edge <= 1.0 && fit.powers[0].min(fit.powers[1]) >= TONE_POWER_MIN) {
            return false;
        }
        let residue = 1.0 - fit.explained / self.front.energy(self.channel, STRICT);
        // A bad residue and an edge offset do not come together in a real key.
        let steepness = (RESIDUE.0 - RESIDUE.1) / 0.5;
        let allowed = RESIDUE.0 - steepness * (edge - 0.5).max(0.0);
        residue <= allowed && self.low_band_is_explained(&fit, residue)
    }

    /// Dial tone and hum were there before the key; the low part of a voice was not.
    fn low_band_is_explained(&self, fit: &Fit, residue: f64) -> bool {
        let low = |back| self.front.low(self.channel, back);
        // The first hop holds what the filter spilled at the onset.
        let sum: f64 = (0..STRICT - 1).map(low).sum();
        let during = sum * to_f64(STRICT) / to_f64(STRICT - 1);
        if during <= LOW_SHARE * fit.explained {
            return true;
        }
        let before: f64 = (STRICT + 1..2 * STRICT + 1).map(low).sum();
        let as_before = during <= 2.0 * before && before <= 2.0 * during;
        residue <= LOW_RESIDUE && (as_before || during - before <= LOW_SHARE * fit.explained)
    }

    /// Correlation of six hops, the first one `back` hops before the newest, with a tone.
    /// Hann weights: two such sums overlap in five hops and do not see their own ends.
    fn window(&self, tone: usize, back: usize) -> Complex {
        let mut sum = Complex::default();
        for (j, weight) in HANN.iter().enumerate() {
            sum += self.front.correlation(self.channel, back - j, tone) * *weight;
        }
        sum
    }

    /// The turn of a tone, in a hop and beyond its own, over the last 35 ms.
    fn turn(&self, tone: usize) -> Complex {
        let first = self.window(tone, STRICT - 1);
        let second = self.window(tone, STRICT - 2);
        second * first.conjugate()
    }

    /// Fit over the last 35 ms from the samples themselves: the sums of hops are exact
    /// only at the nominal frequency.
    fn sample_fit(&self, tones: [usize; 2], offsets: [f64; 2]) -> Fit {
        let waves = [0, 1].map(|i| Wave::new(tones[i], offsets[i]));
        let hops = self.front.correlations::<STRICT>(self.channel, &waves);
        let of = |i: usize| {
            let wave = &waves[i];
            // From the middle of the first sample to the middle of all.
            let mut turn = wave.half_strict.conjugate() * wave.half_sample;
            let mut sum = Complex::default();
            for hop in hops[i] {
                sum += turn * hop;
                turn = turn * wave.hop;
            }
            sum
        };
        let [row, column] = &waves;
        let window = row.half_strict * column.half_strict.conjugate();
        let sample = row.half_sample * column.half_sample.conjugate();
        Fit::new(window.im / sample.im, [of(0), of(1)], STRICT * HOP)
    }
}

/// Hann weights of six hops.
static HANN: LazyLock<[f64; STRICT - 1]> = LazyLock::new(|| {
    std::array::from_fn(|j| (PI * (to_f64(j) + 0.5) / to_f64(STRICT - 1)).sin().powi(2))
});

/// A share of the tone's frequency and some Hz, in radians a sample.
fn limit(tone: usize, share: f64, more_hz: f64) -> f64 {
    TAU * (share * hz(tone) + more_hz) / 8000.0
}
