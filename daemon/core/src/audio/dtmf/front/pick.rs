//! The strongest row or column of 20 ms, in all channels side by side.

#![allow(clippy::needless_range_loop)]

use super::tables::TURN_LIMITS;
use super::vector::Hop;

/// A tone in each channel over the last four hops; pairs are real and imaginary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick<const L: usize> {
    /// Row 0-3 or column 4-7.
    pub(super) tone: [usize; L],
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
        tone: [0; L],
        limit: [0.0; L],
        hops: [[[0.0; L]; 2]; 4],
        turn: [[0.0; L]; 2],
        sum: [[0.0; L]; 2],
        held: [0.0; L],
    };
}

impl<const L: usize> Pick<L> {
    /// Takes the strongest tone of a group in each wanted channel; the others keep what
    /// they have.
    #[inline(always)]
    pub(super) fn choose(&mut self, group: usize, hops: [&Hop<L>; 4], wanted: &[bool; L]) {
        let strongest = strongest(group, hops);
        for c in 0..L {
            if !wanted[c] {
                continue;
            }
            let tone = strongest[c] as usize;
            (self.tone[c], self.limit[c]) = (tone, TURN_LIMITS[tone]);
            for (to, hop) in self.hops.iter_mut().zip(hops) {
                (to[0][c], to[1][c]) = (hop.re[tone][c], hop.im[tone][c]);
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

/// The strongest tone of a group over four hops: row 0-3 or column 4-7. Nothing is decided
/// for a channel alone, which would break the vectors up.
#[inline(always)]
fn strongest<const L: usize>(group: usize, hops: [&Hop<L>; 4]) -> [u32; L] {
    let [r0, r1, r2, r3] = hops;
    let (mut best, mut strongest) = ([-1.0f32; L], [0u32; L]);
    for tone in 4 * group..4 * group + 4 {
        for c in 0..L {
            let re = r0.re[tone][c] + r1.re[tone][c] + r2.re[tone][c] + r3.re[tone][c];
            let im = r0.im[tone][c] + r1.im[tone][c] + r2.im[tone][c] + r3.im[tone][c];
            let power = re * re + im * im;
            let better = u32::from(power > best[c]).wrapping_neg();
            strongest[c] ^= (strongest[c] ^ TONE_NUMBERS[tone]) & better;
            best[c] = best[c].max(power);
        }
    }
    strongest
}

/// Tones as vectors hold them.
const TONE_NUMBERS: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
