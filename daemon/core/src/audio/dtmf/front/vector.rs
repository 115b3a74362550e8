//! What is done to every sample and every hop, for all channels side by side.

// The loops run over channels, and several arrays at once.
#![allow(clippy::needless_range_loop)]

use std::slice::{from_mut, from_ref};

use fearless_simd::prelude::*;
use fearless_simd::{f32x8, f32x16, i16x8, i32x4, i32x8};

use super::lanes::Lanes;
use super::tables::{HALF_SAMPLE, Turns, WAVES, WIDE_WAVES, Wide};
use super::{Complex, HOP};
use crate::audio::tone::RMS_0_DBM0;

/// Below this power (-50 dBm0) a hop is only measured, not correlated.
#[allow(clippy::cast_possible_truncation)]
pub(super) const FLOOR_ENERGY: f32 = (RMS_0_DBM0 * RMS_0_DBM0 * 1e-5 * 40.0) as f32;
/// Share of a hop's energy its strongest row and column must hold.
const PAIR_SHARE: f32 = 0.40;
/// A fourth-order elliptic high-pass at 640 Hz in two sections: -0.5 dB there, -36 dB at
/// 440 Hz and below. Both numerators are symmetric: (outer, middle).
const SECTIONS: [Section; 2] = [
    Section {
        b: (0.533_180_6, -1.053_977_4),
        a: (-1.058_725_1, 0.394_785_2),
    },
    Section {
        b: (1.0, -1.893_047_8),
        a: (-1.671_059_7, 0.892_688_9),
    },
];

struct Section {
    b: (f32, f32),
    a: (f32, f32),
}

/// A hop of sound in `L` channels.
pub(super) type Sound<const L: usize> = [[f32; L]; HOP];

/// What is kept of 5 ms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop<const L: usize> {
    /// Correlation with the tone of each [`slot`](super::tables::slot), real and imaginary.
    /// Phases count from the middle of hop 0, so that sums over hops need no turning.
    pub(super) re: [[f32; L]; 8],
    pub(super) im: [[f32; L]; 8],
    /// Energy behind the filter.
    pub(super) energy: [f32; L],
    /// Energy the filter took away: hum, dial tone, the low part of speech.
    pub(super) low: [f32; L],
}

impl<const L: usize> Hop<L> {
    /// Correlation with the row and the column at a place of their groups, real and imaginary.
    #[inline(always)]
    pub(super) fn tones(&self, at: usize) -> (&[[f32; L]], &[[f32; L]]) {
        (&self.re[2 * at..2 * at + 2], &self.im[2 * at..2 * at + 2])
    }
}

/// A tone over the samples of a hop: cos and -sin; and what it turns by, backwards, in half
/// a sample, a hop, and half of 35 ms.
pub(in crate::audio::dtmf) struct Wave {
    cos: [f32; HOP],
    sin: [f32; HOP],
    pub(in crate::audio::dtmf) half_sample: Complex,
    pub(in crate::audio::dtmf) hop: Complex,
    pub(in crate::audio::dtmf) half_strict: Complex,
}

impl Wave {
    /// Row 0-3 or column 4-7, off its frequency by a few hundredths of a radian a sample.
    #[allow(clippy::cast_possible_truncation)] // single precision is enough for 35 ms
    pub(in crate::audio::dtmf) fn new(tone: usize, offset: f64) -> Wave {
        let half_sample = HALF_SAMPLE[tone] * Complex::small_turn(-offset / 2.0);
        let mut turns = [Complex::ONE; HOP];
        turns[1] = half_sample * half_sample;
        // By doubling: few products wait for others.
        for n in 2..HOP {
            turns[n] = turns[n / 2] * turns[n - n / 2];
        }
        let hop = turns[HOP - 1] * turns[1];
        Wave {
            cos: turns.map(|turn| turn.re as f32),
            sin: turns.map(|turn| turn.im as f32),
            half_sample,
            hop,
            // Three and a half hops.
            half_strict: hop * hop * hop * turns[HOP / 2],
        }
    }

    #[inline(always)]
    pub(super) fn correlate(&self, hop: &[f32; HOP]) -> Complex {
        let (mut re, mut im) = ([0.0f32; 8], [0.0f32; 8]);
        for at in (0..HOP).step_by(8) {
            for n in 0..8 {
                re[n] += hop[at + n] * self.cos[at + n];
                im[n] += hop[at + n] * self.sin[at + n];
            }
        }
        Complex {
            re: f64::from(re.iter().sum::<f32>()),
            im: f64::from(im.iter().sum::<f32>()),
        }
    }
}

/// Sample by sample instead of channel by channel.
#[inline(always)]
pub(super) fn interleave<S: Simd, const L: usize>(
    simd: S,
    sound: &[&[i16; HOP]; L],
    to: &mut Sound<L>,
) {
    let channels = sound.first_chunk::<8>();
    let Some(channels) = channels.filter(|_| L == 8 && cfg!(target_endian = "little")) else {
        for (n, to) in to.iter_mut().enumerate() {
            for c in 0..L {
                to[c] = f32::from(sound[c][n]);
            }
        }
        return;
    };
    for (block, to) in to.chunks_exact_mut(8).enumerate() {
        // Two samples as one number, four channels at a time.
        let [a, b, c, d, e, f, g, h] = channels;
        let low = transposed(simd, [a, b, c, d], 8 * block);
        let high = transposed(simd, [e, f, g, h], 8 * block);
        for n in 0..4 {
            let both: i32x8<S> = low[n].combine(high[n]);
            f32x8::float_from((both << 16) >> 16).store(from_mut(&mut to[2 * n]));
            f32x8::float_from(both >> 16).store(from_mut(&mut to[2 * n + 1]));
        }
    }
}

/// Eight samples of four channels, two in each number: by time instead of by channel.
#[inline(always)]
fn transposed<S: Simd>(simd: S, channels: [&[i16; HOP]; 4], from: usize) -> [i32x4<S>; 4] {
    let mut rows = [i32x4::splat(simd, 0); 4];
    for (row, channel) in rows.iter_mut().zip(channels) {
        if let Some(eight) = channel[from..].first_chunk::<8>() {
            *row = i16x8::load_array_ref(simd, eight).bitcast();
        }
    }
    // Twice the halves shuffled into each other.
    for _ in 0..2 {
        let [a, b, c, d] = rows;
        let (ac, bd) = (a.interleave(c), b.interleave(d));
        rows = [ac.0, ac.1, bd.0, bd.1];
    }
    rows
}

/// `a * b + c`, in one step where the processor has it: a call of a library elsewhere.
#[inline(always)]
fn add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Both sections over a hop; `past` holds what they remember of the one before. Returns the
/// energy of each channel before and behind them: squares are added while the processor waits
/// for the sections.
#[inline(always)]
pub(super) fn filter<const L: usize, const FUSED: bool>(
    x: &Sound<L>,
    y: &mut Sound<L>,
    past: &mut [[[f32; L]; 2]; 3],
) -> [[f32; L]; 2] {
    // Number by number: copied whole, the numbers of one channel would be kept as integers.
    let (mut x2, mut x1) = ([0.0; L], [0.0; L]);
    let (mut u2, mut u1) = ([0.0; L], [0.0; L]);
    let (mut y2, mut y1) = ([0.0; L], [0.0; L]);
    for c in 0..L {
        (x2[c], x1[c]) = (past[0][0][c], past[0][1][c]);
        (u2[c], u1[c]) = (past[1][0][c], past[1][1][c]);
        (y2[c], y1[c]) = (past[2][0][c], past[2][1][c]);
    }
    let (mut before, mut behind) = ([0.0; L], [0.0; L]);
    let [first, second] = &SECTIONS;
    for (x, y) in x.iter().zip(y.iter_mut()) {
        for c in 0..L {
            // In this order a sample waits for one product of the last only.
            let ahead = add::<FUSED>(first.b.1, x1[c], first.b.0 * (x[c] + x2[c]));
            let ahead = add::<FUSED>(-first.a.1, u2[c], ahead);
            let u = add::<FUSED>(-first.a.0, u1[c], ahead);
            let ahead = add::<FUSED>(second.b.1, u1[c], second.b.0 * (u + u2[c]));
            let ahead = add::<FUSED>(-second.a.1, y2[c], ahead);
            y[c] = add::<FUSED>(-second.a.0, y1[c], ahead);
            before[c] = add::<FUSED>(x[c], x[c], before[c]);
            behind[c] = add::<FUSED>(y[c], y[c], behind[c]);
            (x2[c], x1[c]) = (x1[c], x[c]);
            (u2[c], u1[c]) = (u1[c], u);
            (y2[c], y1[c]) = (y1[c], y[c]);
        }
    }
    // What rings on below anything audible would end as numbers that processors are slow at.
    let audible = |x: f32| if x.abs() < 1e-15 { 0.0 } else { x };
    for c in 0..L {
        (past[0][0][c], past[0][1][c]) = (x2[c], x1[c]);
        (past[1][0][c], past[1][1][c]) = (audible(u2[c]), audible(u1[c]));
        (past[2][0][c], past[2][1][c]) = (audible(y2[c]), audible(y1[c]));
    }
    [before, behind]
}

/// Correlates a hop with all tones; those of channels that are too quiet stay 0. Returns how
/// much more than its share the strongest row and column hold; below 0 also when the hop is
/// too quiet.
#[inline(always)]
pub(super) fn correlate<S: Simd, const L: usize, const FUSED: bool>(
    simd: S,
    sound: &Sound<L>,
    hop: &mut Hop<L>,
    turns: &Turns,
) -> [f32; L] {
    if L == 8 {
        return correlate_eight::<S, L, FUSED>(simd, sound, hop, turns);
    }
    let waves = &*WAVES;
    let (mut re, mut im) = ([[0.0f32; L]; 8], [[0.0f32; L]; 8]);
    for (n, (cos, sin)) in waves.cos.iter().zip(&waves.sin).enumerate() {
        for c in 0..L {
            let (one, other) = (sound[n][c], sound[HOP - 1 - n][c]);
            for slot in 0..8 {
                re[slot][c] = add::<FUSED>(one + other, cos[slot], re[slot][c]);
                im[slot][c] = add::<FUSED>(one - other, sin[slot], im[slot][c]);
            }
        }
    }
    let mut surplus = [0.0; L];
    for c in 0..L {
        let loud = f32::from(u8::from(hop.energy[c] >= FLOOR_ENERGY));
        let mut strongest = [0.0f32; 2];
        for slot in 0..8 {
            let (re, im) = (re[slot][c] * loud, im[slot][c] * loud);
            strongest[slot & 1] = strongest[slot & 1].max(re * re + im * im);
            let (cos, sin) = turns[slot];
            hop.re[slot][c] = re * cos - im * sin;
            hop.im[slot][c] = re * sin + im * cos;
        }
        let share = (strongest[0] + strongest[1]) * (2.0 / 40.0);
        surplus[c] = (share - PAIR_SHARE * hop.energy[c]).min(hop.energy[c] - FLOOR_ENERGY);
    }
    surplus
}

/// The same for eight channels, in vectors over channels, rows beside columns: left to itself
/// the compiler may choose vectors over tones, and turn rows into columns all the time.
#[inline(always)]
fn correlate_eight<S: Simd, const L: usize, const FUSED: bool>(
    simd: S,
    sound: &Sound<L>,
    hop: &mut Hop<L>,
    turns: &Turns,
) -> [f32; L] {
    let waves = &*WIDE_WAVES;
    let nothing = f32x16::splat(simd, 0.0);
    let (mut re, mut im) = ([nothing; 4], [nothing; 4]);
    let eight = |n: usize| f32x8::load(simd, from_ref(&sound[n]));
    for (n, cos) in waves.cos.iter().enumerate() {
        let even = eight(n) + eight(HOP - 1 - n);
        let even = even.combine(even);
        for at in 0..4 {
            re[at] = add_wide::<S, FUSED>(even, &cos[at], re[at]);
        }
    }
    for (n, sin) in waves.sin.iter().enumerate() {
        let odd = eight(n) - eight(HOP - 1 - n);
        let odd = odd.combine(odd);
        for at in 0..4 {
            im[at] = add_wide::<S, FUSED>(odd, &sin[at], im[at]);
        }
    }
    let energy = f32x8::load(simd, from_ref(&hop.energy));
    let (loud, quiet) = (f32x8::splat(simd, 1.0), f32x8::splat(simd, 0.0));
    let loud = energy.simd_ge(FLOOR_ENERGY).select(loud, quiet);
    let loud = loud.combine(loud);
    let mut strongest = nothing;
    for at in 0..4 {
        let (re, im) = (re[at] * loud, im[at] * loud);
        strongest = strongest.max(re * re + im * im);
        let ((row_re, column_re), (row_im, column_im)) = (re.split(), im.split());
        for (slot, re, im) in [(2 * at, row_re, row_im), (2 * at + 1, column_re, column_im)] {
            let (cos, sin) = turns[slot];
            (re * cos - im * sin).store(from_mut(&mut hop.re[slot]));
            (re * sin + im * cos).store(from_mut(&mut hop.im[slot]));
        }
    }
    let (row, column) = strongest.split();
    let share = (row + column) * (2.0 / 40.0);
    let surplus = (share - energy * PAIR_SHARE).min(energy - FLOOR_ENERGY);
    let mut to = [0.0; L];
    surplus.store(from_mut(&mut to));
    to
}

/// [`add`] of eight channels, for a row and a column.
#[inline(always)]
fn add_wide<S: Simd, const FUSED: bool>(a: f32x16<S>, b: &Wide, c: f32x16<S>) -> f32x16<S> {
    let b = f32x16::load_array_ref(a.simd, &b.0);
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}
