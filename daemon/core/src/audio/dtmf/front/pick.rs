//! The quick look: the strongest row and column of 20 ms, and how well they explain them,
//! in all channels side by side.

use std::slice::{from_mut, from_ref};

use fearless_simd::Simd;

use super::HOP;
use super::lanes::{Complexes, Groups, Lanes, place};
use super::tables::{ByPart, NUMBERS, Tones};
use super::vector::Hop;

/// Hops of the quick look.
const QUICK: usize = 4;
/// Its samples.
const SAMPLES: f32 = (QUICK * HOP) as f32;
/// Share of the sound that two tones must explain.
const EXPLAINED: f32 = 0.70;
/// Twist (column over row, power): -12 to +8 dB.
const TWIST: (f32, f32) = (0.063_096, 6.309_573);

/// The last four hops, oldest first, and what the tables hold for them.
#[derive(Clone, Copy)]
pub(super) struct Last<'a, const L: usize> {
    pub(super) hops: [&'a Hop<L>; QUICK],
    pub(super) tones: &'a Tones,
    /// What their phases turn by to count from the middle of the hops.
    pub(super) middles: &'a ByPart,
}

/// Row and column of each channel, and 0 or more where they explain the sound.
pub(super) struct Seen<const L: usize> {
    /// Row 0-3 and column 4-7.
    pub(super) tones: [[f32; L]; 2],
    pub(super) likeness: [f32; L],
}

/// The strongest tone of a group.
struct Pick<V> {
    tone: V,
    /// By how much its turn keeps to the limit, cos.
    steady: V,
    /// Correlation of the four hops with it, at the frequency that it has; its phase counts
    /// from their middle.
    sum: Complexes<V>,
    /// What it turns by over half of the four hops, and over half a sample at its nominal
    /// frequency.
    window: Complexes<V>,
    sample: Complexes<V>,
}

/// A tone of each group: how strong it is, its place in its group, and its correlations with
/// the hops, oldest first, real and imaginary.
type Tone<V> = [V; 10];

impl<const L: usize> Last<'_, L> {
    /// Looks at all channels.
    #[inline(always)]
    pub(super) fn look<S: Simd, V: Groups<S>>(&self, simd: S) -> Seen<L> {
        let number = |number| V::One::all(simd, number);
        let [row, column] = self.pick::<S, V>(simd).apart();
        // What the tones have in common, and the least squares of both.
        let overlap = (column.window.back(row.window).im).by(column.sample.back(row.sample).im);
        let n = number(SAMPLES);
        let scale = number(1.0).by(n * n - overlap * overlap);
        let apart = |one: Complexes<V::One>, other: Complexes<V::One>| {
            let common = other.scaled(number(0.0) - overlap);
            one.scaled(n).plus(common).scaled(scale)
        };
        let (one, other) = (apart(row.sum, column.sum), apart(column.sum, row.sum));
        let explained = one.back(row.sum).re + other.back(column.sum).re;
        let energy = |hop: usize| V::One::load(simd, from_ref(&self.hops[hop].energy));
        let energy = energy(0) + energy(1) + energy(2) + energy(3);
        let (weak, strong) = TWIST;
        let likeness = (row.steady.least(column.steady))
            .least(explained - number(EXPLAINED / 2.0) * energy)
            .least(other.power() - number(weak) * one.power())
            .least(number(strong) * one.power() - other.power());
        let mut seen = Seen {
            tones: [[0.0; L]; 2],
            likeness: [0.0; L],
        };
        let [rows, columns] = &mut seen.tones;
        row.tone.store(from_mut(rows));
        column.tone.store(from_mut(columns));
        likeness.store(from_mut(&mut seen.likeness));
        seen
    }

    /// The strongest row and the strongest column.
    #[inline(always)]
    fn pick<S: Simd, V: Groups<S>>(&self, simd: S) -> Pick<V> {
        let tone = |at| self.tone::<S, V>(simd, at);
        let low = stronger::<S, V>(tone(1), tone(0));
        let high = stronger::<S, V>(tone(3), tone(2));
        let [_, places, hops @ ..] = stronger::<S, V>(high, low);
        let of = |tables: &[[f32; 4]; 2]| V::at_places(simd, tables, places);
        let turns = |[cos, sin]: &ByPart| Complexes {
            re: of(cos),
            im: of(sin),
        };
        let (turn, sum) = follow(simd, hops);
        Pick {
            tone: of(&NUMBERS),
            steady: turn.re - of(&self.tones.limit),
            sum: sum.times(turns(self.middles)),
            window: turns(&self.tones.window).times(turn.times(turn)),
            sample: turns(&self.tones.sample),
        }
    }

    /// The tone at a place of each group.
    #[inline(always)]
    fn tone<S: Simd, V: Lanes<S>>(&self, simd: S, at: usize) -> Tone<V> {
        let [h0, h1, h2, h3] = self.hops.map(|hop| hop.tones(at));
        let (re0, im0) = (V::load(simd, h0.0), V::load(simd, h0.1));
        let (re1, im1) = (V::load(simd, h1.0), V::load(simd, h1.1));
        let (re2, im2) = (V::load(simd, h2.0), V::load(simd, h2.1));
        let (re3, im3) = (V::load(simd, h3.0), V::load(simd, h3.1));
        let (re, im) = (re0 + re1 + re2 + re3, im0 + im1 + im2 + im3);
        let power = re * re + im * im;
        let place = V::all(simd, place(at));
        [power, place, re0, im0, re1, im1, re2, im2, re3, im3]
    }
}

impl<V> Pick<V> {
    /// The row's, and the column's.
    #[inline(always)]
    fn apart<S: Simd>(self) -> [Pick<V::One>; 2]
    where
        V: Groups<S>,
    {
        let two = |pair: Complexes<V>| {
            let ([re, other_re], [im, other_im]) = (pair.re.apart(), pair.im.apart());
            let other = Complexes {
                re: other_re,
                im: other_im,
            };
            [Complexes { re, im }, other]
        };
        let (tones, steadies) = (self.tone.apart(), self.steady.apart());
        let (sums, windows, samples) = (two(self.sum), two(self.window), two(self.sample));
        [0, 1].map(|group| Pick {
            tone: tones[group],
            steady: steadies[group],
            sum: sums[group],
            window: windows[group],
            sample: samples[group],
        })
    }
}

/// The stronger one of each group and channel; the second when they are equal.
#[inline(always)]
fn stronger<S: Simd, V: Lanes<S>>(one: Tone<V>, other: Tone<V>) -> Tone<V> {
    V::where_greater((one[0], other[0]), one, other)
}

/// How a tone turns between the first three hops and the last three, and all four added up
/// along that turn, from their middle.
#[inline(always)]
fn follow<S: Simd, V: Lanes<S>>(simd: S, hops: [V; 8]) -> (Complexes<V>, Complexes<V>) {
    let number = |number| V::all(simd, number);
    let [re0, im0, re1, im1, re2, im2, re3, im3] = hops;
    let pair = |re, im| Complexes { re, im };
    let (h0, h1, h2, h3) = (
        pair(re0, im0),
        pair(re1, im1),
        pair(re2, im2),
        pair(re3, im3),
    );
    let inner = h1.plus(h2);
    let turn = inner.plus(h3).back(inner.plus(h0));
    let length = (turn.power() + number(f32::MIN_POSITIVE)).root();
    let turn = turn.scaled(number(1.0).by(length));
    let sum = h1.plus(h0.times(turn));
    let sum = h2.plus(sum.times(turn));
    let sum = h3.plus(sum.times(turn));
    // Half the turn; one of half a circle is not told from its opposite, and too far off.
    let re = (number(0.5 + 1e-6) + number(0.5) * turn.re).root();
    let half = Complexes {
        re,
        im: (number(0.5) * turn.im).by(re),
    };
    // From the last of the four hops back to their middle.
    let sum = sum.back(half).back(half).back(half);
    (turn, sum.scaled(arc(simd, half.im)))
}

/// x / sin x of an angle up to 1 radian, from its sine, to 0.6 %: what the sum over a hop
/// lost to the turn in it.
#[inline(always)]
fn arc<S: Simd, V: Lanes<S>>(simd: S, sine: V) -> V {
    let number = |number| V::all(simd, number);
    let s = sine * sine;
    let arc = number(35.0 / 1152.0) + s * number(0.0224);
    let arc = number(5.0 / 112.0) + s * arc;
    let arc = number(0.075) + s * arc;
    let arc = number(1.0 / 6.0) + s * arc;
    number(1.0) + s * arc
}
