//! The quick look: the strongest row and column of 20 ms, and how well they explain them,
//! in all channels side by side.

use fearless_simd::Simd;

use super::HOP;
use super::lanes::{Complexes, Lanes, place};
use super::tables::{ByGroup, NUMBERS, Tones};
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
    pub(super) middles: &'a ByGroup,
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

/// The strongest tone so far.
struct Strongest<V> {
    power: V,
    /// Its place in its group, and its correlations with the hops, oldest first, real and
    /// imaginary.
    all: [V; 9],
}

impl<const L: usize> Last<'_, L> {
    /// Looks at all channels.
    #[inline(always)]
    pub(super) fn look<S: Simd, V: Lanes<S>>(&self, simd: S) -> Seen<L> {
        let number = |number| V::all(simd, number);
        let row = self.pick::<S, V>(simd, 0);
        let column = self.pick::<S, V>(simd, 1);
        // What the tones have in common, and the least squares of both.
        let overlap = (column.window.back(row.window).im).by(column.sample.back(row.sample).im);
        let n = number(SAMPLES);
        let scale = number(1.0).by(n * n - overlap * overlap);
        let apart = |one: Complexes<V>, other: Complexes<V>| {
            let common = other.scaled(number(0.0) - overlap);
            one.scaled(n).plus(common).scaled(scale)
        };
        let (one, other) = (apart(row.sum, column.sum), apart(column.sum, row.sum));
        let explained = one.back(row.sum).re + other.back(column.sum).re;
        let energy = |hop: usize| V::load(simd, &self.hops[hop].energy);
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
        row.tone.store(rows);
        column.tone.store(columns);
        likeness.store(&mut seen.likeness);
        seen
    }

    #[inline(always)]
    fn pick<S: Simd, V: Lanes<S>>(&self, simd: S, group: usize) -> Pick<V> {
        let mut best = Strongest {
            power: V::all(simd, -1.0),
            all: [V::all(simd, 0.0); 9],
        };
        for at in 0..4 {
            best.meet(
                simd,
                place(at),
                self.hops.map(|hop| hop.tone(4 * group + at)),
            );
        }
        let [places, ..] = best.all;
        let of = |table: &[f32; 4]| V::at_places(simd, table, places);
        let turns = |table: &ByGroup| Complexes {
            re: of(&table[group][0]),
            im: of(&table[group][1]),
        };
        let (turn, sum) = best.follow(simd);
        Pick {
            tone: of(&NUMBERS[group]),
            steady: turn.re - of(&self.tones.limit[group]),
            sum: sum.times(turns(self.middles)),
            window: turns(&self.tones.window).times(turn.times(turn)),
            sample: turns(&self.tones.sample),
        }
    }
}

impl<V> Strongest<V> {
    /// Compares itself with another tone. Nothing is decided for a channel alone.
    #[inline(always)]
    fn meet<S: Simd, const L: usize>(
        &mut self,
        simd: S,
        place: f32,
        hops: [(&[f32; L], &[f32; L]); QUICK],
    ) where
        V: Lanes<S>,
    {
        let [h0, h1, h2, h3] = hops;
        let (re0, im0) = (V::load(simd, h0.0), V::load(simd, h0.1));
        let (re1, im1) = (V::load(simd, h1.0), V::load(simd, h1.1));
        let (re2, im2) = (V::load(simd, h2.0), V::load(simd, h2.1));
        let (re3, im3) = (V::load(simd, h3.0), V::load(simd, h3.1));
        let (re, im) = (re0 + re1 + re2 + re3, im0 + im1 + im2 + im3);
        let power = re * re + im * im;
        let place = V::all(simd, place);
        let new = [place, re0, im0, re1, im1, re2, im2, re3, im3];
        self.all = V::where_greater((power, self.power), new, self.all);
        [self.power] = V::where_greater((power, self.power), [power], [self.power]);
    }

    /// How the tone turns between the first three hops and the last three, and all four
    /// added up along that turn, from their middle.
    #[inline(always)]
    fn follow<S: Simd>(self, simd: S) -> (Complexes<V>, Complexes<V>)
    where
        V: Lanes<S>,
    {
        let number = |number| V::all(simd, number);
        let [_, re0, im0, re1, im1, re2, im2, re3, im3] = self.all;
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
