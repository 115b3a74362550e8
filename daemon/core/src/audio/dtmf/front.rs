//! Front end of the detector: a high-pass that keeps dial tone and hum away, and, every
//! 5 ms, the correlation of the sound with the eight DTMF frequencies.
//!
//! Written once for `L` channels side by side: a detector of one channel and a batch of
//! eight run the same operations in the same order, so they agree to the last bit. Loops
//! over `L` (and, for one channel, over tones and time) become vector instructions of
//! whatever the processor has; `fearless_simd` picks them at run time.

mod lanes;
mod pick;
mod tables;
mod vector;

use fearless_simd::{Level, Simd, dispatch, f32x16};

use super::fit::Complex;
use lanes::Both;
use pick::Last;
use tables::{MIDDLES, PERIOD, TONES, TURNS, slot};
use vector::{FLOOR_ENERGY, Hop, Sound, correlate, filter};

pub(super) use tables::{hz, to_f64};
pub(super) use vector::Wave;

/// Samples in a hop (5 ms).
pub(super) const HOP: usize = 40;
/// Hops remembered.
const HOPS: usize = 16;
/// Hops whose filtered samples are remembered.
const SAMPLED: usize = 8;

/// The front end of `L` channels.
#[derive(Clone, Debug)]
pub(super) struct Front<const L: usize> {
    level: Level,
    /// Whether that level multiplies and adds in one step.
    fused: bool,
    /// Samples of the hop being filled, channel by channel.
    input: [[i16; HOP]; L],
    filled: usize,
    /// The last hop as it came.
    raw: Sound<L>,
    /// Input and output of each section, the last two samples.
    past: [[[f32; L]; 2]; 3],
    hops: [Hop<L>; HOPS],
    samples: [Sound<L>; SAMPLED],
    /// Hops since the start, modulo all rings; the newest is at `count - 1`.
    count: usize,
    /// Row and column of the channels whose newest hops show a key.
    tones: [[f32; L]; 2],
    shown: [bool; L],
}

impl<const L: usize> Default for Front<L> {
    fn default() -> Self {
        let hop = Hop {
            re: [[0.0; L]; 8],
            im: [[0.0; L]; 8],
            energy: [0.0; L],
            low: [0.0; L],
        };
        let level = Level::new();
        Front {
            level,
            fused: level.as_avx2().is_some(),
            input: [[0; HOP]; L],
            filled: 0,
            raw: [[0.0; L]; HOP],
            past: [[[0.0; L]; 2]; 3],
            hops: [hop; HOPS],
            samples: [[[0.0; L]; HOP]; SAMPLED],
            count: 0,
            tones: [[0.0; L]; 2],
            shown: [false; L],
        }
    }
}

impl<const L: usize> Front<L> {
    /// Takes the next samples of all channels, up to the end of the hop; returns how many
    /// it took of each and whether the hop is complete. All slices have one length.
    pub(super) fn fill(&mut self, sound: [&[i16]; L], from: usize) -> (usize, bool) {
        let length = sound.first().map_or(0, |s| s.len());
        let take = length.saturating_sub(from).min(HOP - self.filled);
        if take == HOP {
            self.hop(sound, from);
            return (take, true);
        }
        for (to, sound) in self.input.iter_mut().zip(sound) {
            let to = &mut to[self.filled..self.filled + take];
            to.copy_from_slice(&sound[from..from + take]);
        }
        self.filled += take;
        if self.filled < HOP {
            return (take, false);
        }
        self.filled = 0;
        let input = self.input;
        self.hop(input.each_ref().map(|sound| &sound[..]), 0);
        (take, true)
    }

    /// Takes a whole hop.
    fn hop(&mut self, sound: [&[i16]; L], from: usize) {
        let mut whole = [&[0i16; HOP]; L];
        for (to, sound) in whole.iter_mut().zip(sound) {
            if let Some(hop) = sound.get(from..).and_then(<[i16]>::first_chunk) {
                *to = hop;
            }
        }
        if self.fused {
            dispatch!(self.level, simd => self.complete::<_, true>(simd, &whole));
        } else {
            dispatch!(self.level, simd => self.complete::<_, false>(simd, &whole));
        }
    }

    /// Row (0-3) and column (4-7) that a channel's last 20 ms show: loud, most of the last
    /// 5 ms, not too far off their frequencies, and both of them explain the sound.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 7
    pub(super) fn pair(&self, channel: usize) -> Option<(usize, usize)> {
        let [rows, columns] = &self.tones;
        self.shown[channel].then(|| (rows[channel] as usize, columns[channel] as usize))
    }

    /// Correlation of the hop `back` hops before the newest (0-15) with a tone.
    pub(super) fn correlation(&self, channel: usize, back: usize, tone: usize) -> Complex {
        let hop = &self.hops[self.place(back)];
        Complex {
            re: f64::from(hop.re[slot(tone)][channel]),
            im: f64::from(hop.im[slot(tone)][channel]),
        }
    }

    /// Energy that the filter took from the hop `back` hops before the newest.
    pub(super) fn low(&self, channel: usize, back: usize) -> f64 {
        f64::from(self.hops[self.place(back)].low[channel])
    }

    /// Energy of the last `count` hops behind the filter.
    pub(super) fn energy(&self, channel: usize, count: usize) -> f64 {
        let of = |back| f64::from(self.hops[self.place(back)].energy[channel]);
        (0..count).map(of).sum()
    }

    /// Correlations of the last `N` hops, at most 8, oldest first, with two tones whose
    /// turns over the samples of a hop are given; each hop from its own start.
    pub(super) fn correlations<const N: usize>(
        &self,
        channel: usize,
        turns: &[Wave; 2],
    ) -> [[Complex; N]; 2] {
        let mut sound = [[0.0f32; HOP]; N];
        for (n, hop) in sound.iter_mut().enumerate() {
            let from = &self.samples[(self.count + SAMPLED - N + n) % SAMPLED];
            for (to, sample) in hop.iter_mut().zip(from) {
                *to = sample[channel];
            }
        }
        dispatch!(self.level, _simd => turns.each_ref().map(
            #[inline(always)]
            |wave| sound.each_ref().map(
                #[inline(always)]
                |hop| wave.correlate(hop)
            )
        ))
    }

    fn place(&self, back: usize) -> usize {
        (self.count + 2 * HOPS - 1 - back % HOPS) % HOPS
    }

    /// Filters and measures the hop that was filled.
    #[inline(always)]
    fn complete<S: Simd, const FUSED: bool>(&mut self, simd: S, sound: &[&[i16; HOP]; L]) {
        let input = &mut self.raw;
        vector::interleave(simd, sound, input);
        let filtered = &mut self.samples[self.count % SAMPLED];
        let [raw, energy] = filter::<L, FUSED>(input, filtered, &mut self.past);
        let hop = &mut self.hops[self.count % HOPS];
        hop.energy = energy;
        for (c, raw) in raw.into_iter().enumerate() {
            hop.low[c] = (raw - hop.energy[c]).max(0.0);
        }
        let mut surplus = [-1.0; L];
        if hop.energy.iter().any(|e| *e >= FLOOR_ENERGY) {
            surplus = correlate::<S, L, FUSED>(simd, filtered, hop, &TURNS[self.count % PERIOD]);
        } else {
            (hop.re, hop.im) = ([[0.0; L]; 8], [[0.0; L]; 8]);
        }
        // Wraps to where all rings begin.
        self.count = (self.count + 1) % (HOPS * SAMPLED * PERIOD);
        self.shown = surplus.map(|surplus| surplus >= 0.0);
        if self.shown.contains(&true) {
            self.look(simd);
        }
    }

    /// Takes the quick look at channels whose last hop showed a pair.
    #[inline(always)]
    fn look<S: Simd>(&mut self, simd: S) {
        let last = Last {
            hops: [3, 2, 1, 0].map(|back| &self.hops[self.place(back)]),
            tones: &TONES,
            middles: &MIDDLES[(self.count + PERIOD - 1) % PERIOD],
        };
        let seen = if L == 8 {
            last.look::<S, f32x16<S>>(simd)
        } else {
            last.look::<S, Both>(simd)
        };
        self.tones = seen.tones;
        for (shown, likeness) in self.shown.iter_mut().zip(seen.likeness) {
            *shown &= likeness >= 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tables::omega;
    use super::*;
    use crate::audio::tone;
    use std::time::Duration;

    fn fed(sound: &[i16]) -> Front<1> {
        let mut front = Front::default();
        let mut at = 0;
        while at < sound.len() {
            at += front.fill([sound], at).0;
        }
        front
    }

    fn response_db(hz: f64) -> f64 {
        let sound = tone::burst(&[(hz, -6.0)], Duration::from_millis(400));
        // The last whole hops of the steady part: the ramp at the end is one hop.
        let front = fed(&sound[..sound.len() - HOP]);
        let part = &sound[sound.len() - 9 * HOP..sound.len() - HOP];
        let power: f64 = part.iter().map(|s| f64::from(*s).powi(2)).sum();
        10.0 * (front.energy(0, 8) / power).log10()
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

    #[test]
    fn correlations_are_those_of_the_filtered_samples() {
        let sound = tone::burst(
            &[(770.0, -10.0), (1477.0, -12.0)],
            Duration::from_millis(65),
        );
        let front = fed(&sound);
        let hops = sound.len() / HOP;
        let last = front.samples[(front.count + SAMPLED - 1) % SAMPLED];
        for tone in 0..8 {
            let mut sum = Complex::default();
            for (n, [x]) in last.iter().enumerate() {
                let from_middle_of_first = to_f64((hops - 1) * HOP + n) - 19.5;
                sum += Complex::turn(-omega(tone) * from_middle_of_first) * f64::from(*x);
            }
            let got = front.correlation(0, 0, tone);
            let off = (got - sum).power().sqrt();
            assert!(
                off < 1e-3 * sum.power().sqrt().max(1000.0),
                "{tone}: {got:?} {sum:?}"
            );
        }
    }
}
