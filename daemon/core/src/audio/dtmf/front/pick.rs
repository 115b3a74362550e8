//! The quick look: the strongest row and column of 20 ms, and how well they explain them,
//! in all channels side by side.

use fearless_simd::Simd;

use super::HOP;
use super::lanes::{Complexes, Lanes};
use super::tables::{Tone, Turns};
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
    pub(super) tones: &'a [Tone; 8],
    /// What their phases turn by to count from the middle of the hops.
    pub(super) middles: &'a Turns,
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

/// The strongest tone so far: its power, and all that depends on which it is.
struct Strongest<V> {
    power: V,
    /// Number, limit, then pairs of real and imaginary: middle, window, sample, and the
    /// correlations of the hops, oldest first.
    all: [V; 16],
}

impl<const L: usize> Last<'_, L> {
    /// Looks at all channels.
    #[inline(always)]
    pub(super) fn look<S: Simd, V: Lanes<S>>(&self, simd: S) -> Seen<L> {
        let number = |number| V::splat(simd, number);
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
            power: V::splat(simd, -1.0),
            all: [V::splat(simd, 0.0); 16],
        };
        for tone in 4 * group..4 * group + 4 {
            best.meet(simd, tone, self);
        }
        best.follow(simd)
    }
}

impl<V> Strongest<V> {
    /// Compares itself with another tone. Nothing is decided for a channel alone.
    #[inline(always)]
    fn meet<S: Simd, const L: usize>(&mut self, simd: S, tone: usize, last: &Last<'_, L>)
    where
        V: Lanes<S>,
    {
        let [h0, h1, h2, h3] = last.hops;
        let re = |hop: &Hop<L>| V::load(simd, &hop.re[tone]);
        let im = |hop: &Hop<L>| V::load(simd, &hop.im[tone]);
        let (re0, im0, re1, im1) = (re(h0), im(h0), re(h1), im(h1));
        let (re2, im2, re3, im3) = (re(h2), im(h2), re(h3), im(h3));
        let (re, im) = (re0 + re1 + re2 + re3, im0 + im1 + im2 + im3);
        let power = re * re + im * im;
        let (at, middle) = (&last.tones[tone], last.middles[tone]);
        let number = |number| V::splat(simd, number);
        let new = [
            number(at.number),
            number(at.limit),
            number(middle.0),
            number(middle.1),
            number(at.window.0),
            number(at.window.1),
            number(at.sample.0),
            number(at.sample.1),
            re0,
            im0,
            re1,
            im1,
            re2,
            im2,
            re3,
            im3,
        ];
        self.all = V::where_greater((power, self.power), new, self.all);
        [self.power] = V::where_greater((power, self.power), [power], [self.power]);
    }

    /// How the tone turns between the first three hops and the last three, and all four
    /// added up along that turn.
    #[inline(always)]
    fn follow<S: Simd>(self, simd: S) -> Pick<V>
    where
        V: Lanes<S>,
    {
        let number = |number| V::splat(simd, number);
        let pair = |at: usize| Complexes {
            re: self.all[at],
            im: self.all[at + 1],
        };
        let hops = [pair(8), pair(10), pair(12), pair(14)];
        let inner = hops[1].plus(hops[2]);
        let turn = inner.plus(hops[3]).back(inner.plus(hops[0]));
        let length = (turn.power() + number(f32::MIN_POSITIVE)).root();
        let turn = turn.scaled(number(1.0).by(length));
        let sum = hops[1].plus(hops[0].times(turn));
        let sum = hops[2].plus(sum.times(turn));
        let sum = hops[3].plus(sum.times(turn));
        // Half the turn; one of half a circle is not told from its opposite, and too far off.
        let re = (number(0.5 + 1e-6) + number(0.5) * turn.re).root();
        let half = Complexes {
            re,
            im: (number(0.5) * turn.im).by(re),
        };
        // From the last of the four hops back to their middle.
        let sum = sum.back(half).back(half).back(half).times(pair(2));
        Pick {
            tone: self.all[0],
            steady: turn.re - self.all[1],
            sum: sum.scaled(arc(simd, half.im)),
            window: pair(4).times(turn.times(turn)),
            sample: pair(6),
        }
    }
}

/// x / sin x of an angle up to 1 radian, from its sine, to 0.6 %: what the sum over a hop
/// lost to the turn in it.
#[inline(always)]
fn arc<S: Simd, V: Lanes<S>>(simd: S, sine: V) -> V {
    let number = |number| V::splat(simd, number);
    let s = sine * sine;
    let arc = number(35.0 / 1152.0) + s * number(0.0224);
    let arc = number(5.0 / 112.0) + s * arc;
    let arc = number(0.075) + s * arc;
    let arc = number(1.0 / 6.0) + s * arc;
    number(1.0) + s * arc
}
