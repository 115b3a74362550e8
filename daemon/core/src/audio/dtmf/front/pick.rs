//! The strongest row or column of 20 ms, in all channels side by side.

#![allow(clippy::needless_range_loop)]

use super::tables::TURN_LIMITS;
use super::vector::Hop;

/// A tone in each channel over the last four hops; pairs are real and imaginary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick<const L: usize> {
    /// Row 0-3 or column 4-7.
    pub(super) tone: [f32; L],
    /// The limit of its turn, cos.
    pub(super) limit: [f32; L],
    /// Its correlations, oldest first.
    pub(super) hops: [[[f32; L]; 2]; 4],
    /// Its turn in a hop beyond its own, length 1.
    pub(super) turn: [[f32; L]; 2],
    /// All hops turned to the last one.
    pub(super) sum: [[f32; L]; 2],
    /// About the energy it explains.
    pub(super) held: [f32; L],
}

impl<const L: usize> Pick<L> {
    pub(super) const NONE: Self = Pick {
        tone: [0.0; L],
        limit: [0.0; L],
        hops: [[[0.0; L]; 2]; 4],
        turn: [[0.0; L]; 2],
        sum: [[0.0; L]; 2],
        held: [0.0; L],
    };
}

impl<const L: usize> Pick<L> {
    /// Takes the strongest tone of a group in each channel.
    #[inline(always)]
    pub(super) fn choose(&mut self, group: usize, hops: [&Hop<L>; 4]) {
        if L == 1 {
            self.choose_one(group, hops);
        } else {
            self.choose_all(group, hops);
        }
    }

    /// For one channel, by looking.
    #[inline(always)]
    fn choose_one(&mut self, group: usize, hops: [&Hop<L>; 4]) {
        let (mut chosen, mut best) = (4 * group, -1.0);
        for tone in 4 * group..4 * group + 4 {
            let re: f32 = hops.iter().map(|hop| hop.re[tone][0]).sum();
            let im: f32 = hops.iter().map(|hop| hop.im[tone][0]).sum();
            let power = re * re + im * im;
            if power > best {
                (chosen, best) = (tone, power);
            }
        }
        self.tone[0] = TONE_NUMBERS[chosen];
        self.limit[0] = TURN_LIMITS[chosen];
        for (to, hop) in self.hops.iter_mut().zip(hops) {
            (to[0][0], to[1][0]) = (hop.re[chosen][0], hop.im[chosen][0]);
        }
    }

    /// For channels side by side: nothing is decided for one of them alone, which would
    /// break the vectors up.
    #[inline(always)]
    fn choose_all(&mut self, group: usize, hops: [&Hop<L>; 4]) {
        let limits = &*TURN_LIMITS;
        let mut best = [-1.0f32; L];
        for tone in 4 * group..4 * group + 4 {
            let mut better = [0u32; L];
            for c in 0..L {
                let re: f32 = hops.iter().map(|hop| hop.re[tone][c]).sum();
                let im: f32 = hops.iter().map(|hop| hop.im[tone][c]).sum();
                let power = re * re + im * im;
                better[c] = u32::from(power > best[c]).wrapping_neg();
                best[c] = best[c].max(power);
            }
            take(&better, &mut self.tone, &[TONE_NUMBERS[tone]; L]);
            take(&better, &mut self.limit, &[limits[tone]; L]);
            for (n, hop) in hops.iter().enumerate() {
                take(&better, &mut self.hops[n][0], &hop.re[tone]);
                take(&better, &mut self.hops[n][1], &hop.im[tone]);
            }
        }
    }

    /// How the tone turns between the first three hops and the last three, and all four
    /// added up along that turn.
    #[inline(always)]
    pub(super) fn follow(&mut self) {
        let [r0, r1, r2, r3] = &self.hops;
        for c in 0..L {
            let (re, im) = (r1[0][c] + r2[0][c], r1[1][c] + r2[1][c]);
            let (are, aim) = (r0[0][c] + re, r0[1][c] + im);
            let (bre, bim) = (re + r3[0][c], im + r3[1][c]);
            let (zre, zim) = (bre * are + bim * aim, bim * are - bre * aim);
            let length = 1.0 / (zre * zre + zim * zim + f32::MIN_POSITIVE).sqrt();
            let (cos, sin) = (zre * length, zim * length);
            let (re, im) = (
                r1[0][c] + r0[0][c] * cos - r0[1][c] * sin,
                r1[1][c] + r0[0][c] * sin + r0[1][c] * cos,
            );
            let (re, im) = (
                r2[0][c] + re * cos - im * sin,
                r2[1][c] + re * sin + im * cos,
            );
            let (re, im) = (
                r3[0][c] + re * cos - im * sin,
                r3[1][c] + re * sin + im * cos,
            );
            (self.turn[0][c], self.turn[1][c]) = (cos, sin);
            (self.sum[0][c], self.sum[1][c]) = (re, im);
            // What each hop lost to the offset: the square of x / sin x at half the turn.
            let s = 0.5 - 0.5 * cos;
            let lost = 1.0 + s * (0.3333 + s * (0.1778 + s * (0.1143 + s * 0.11)));
            self.held[c] = (re * re + im * im) * lost * (2.0 / 160.0);
        }
    }
}

/// Takes what is better, bit by bit.
#[inline(always)]
fn take<const L: usize>(better: &[u32; L], to: &mut [f32; L], from: &[f32; L]) {
    for c in 0..L {
        let (old, new) = (to[c].to_bits(), from[c].to_bits());
        to[c] = f32::from_bits(old ^ ((old ^ new) & better[c]));
    }
}

/// Tones as [`Pick`] holds them.
const TONE_NUMBERS: [f32; 8] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
