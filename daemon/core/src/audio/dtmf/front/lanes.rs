//! One number a channel: a vector of eight for a batch, a plain number for one channel; and
//! two, one for the rows and one for the columns: a vector of sixteen, or a pair.
//!
//! Left to itself the compiler may not make vectors over channels of a loop that decides
//! something; written over `Lanes` it has no choice, and both widths run the same operations.

use std::ops::{Add, Mul, Sub};

use fearless_simd::prelude::*;
use fearless_simd::{f32x8, f32x16};

/// A number of each channel.
pub(super) trait Lanes<S: Simd>:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    /// The same number in every channel.
    fn all(simd: S, number: f32) -> Self;
    /// Takes as many numbers as it is wide.
    fn load<const L: usize>(simd: S, from: &[[f32; L]]) -> Self;
    /// Puts them where [`Lanes::load`] finds them.
    fn store<const L: usize>(self, to: &mut [[f32; L]]);
    /// The square root.
    fn root(self) -> Self;
    /// Divided by as many others.
    fn by(self, other: Self) -> Self;
    /// The smaller ones.
    fn least(self, other: Self) -> Self;
    /// `of` where the first of the pair is the greater one, else `other`; so for several pairs at once.
    fn where_greater<const N: usize>(
        pair: (Self, Self),
        of: [Self; N],
        other: [Self; N],
    ) -> [Self; N];
}

/// A number of each channel for the rows, and one for the columns.
pub(super) trait Groups<S: Simd>: Lanes<S> {
    /// Those of one group.
    type One: Lanes<S>;
    /// Those of the rows, and those of the columns.
    fn apart(self) -> [Self::One; 2];
    /// What stands in the group's table of four at the place that each one's [`place`] names.
    fn at_places(simd: S, tables: &[[f32; 4]; 2], places: Self) -> Self;
}

/// A place in a table of four, as [`Groups::at_places`] takes it: the numbers of its bytes.
pub(super) const fn place(at: usize) -> f32 {
    f32::from_bits([0x0302_0100, 0x0706_0504, 0x0b0a_0908, 0x0f0e_0d0c][at & 3])
}

/// A complex number of each channel.
#[derive(Clone, Copy)]
pub(super) struct Complexes<V> {
    pub(super) re: V,
    pub(super) im: V,
}

impl<V: Copy + Add<Output = V> + Sub<Output = V> + Mul<Output = V>> Complexes<V> {
    /// The product.
    #[inline(always)]
    pub(super) fn times(self, other: Self) -> Self {
        Complexes {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }

    /// The product with the conjugate of the other.
    #[inline(always)]
    pub(super) fn back(self, other: Self) -> Self {
        Complexes {
            re: self.re * other.re + self.im * other.im,
            im: self.im * other.re - self.re * other.im,
        }
    }

    /// The sum.
    #[inline(always)]
    pub(super) fn plus(self, other: Self) -> Self {
        Complexes {
            re: self.re + other.re,
            im: self.im + other.im,
        }
    }

    /// Longer by so much.
    #[inline(always)]
    pub(super) fn scaled(self, by: V) -> Self {
        Complexes {
            re: self.re * by,
            im: self.im * by,
        }
    }

    /// Square of the length.
    #[inline(always)]
    pub(super) fn power(self) -> V {
        self.re * self.re + self.im * self.im
    }
}

impl<S: Simd> Lanes<S> for f32 {
    #[inline(always)]
    fn all(_: S, number: f32) -> f32 {
        number
    }
    #[inline(always)]
    fn load<const L: usize>(_: S, from: &[[f32; L]]) -> f32 {
        from.as_flattened().first().copied().unwrap_or(0.0)
    }
    #[inline(always)]
    fn store<const L: usize>(self, to: &mut [[f32; L]]) {
        if let Some(to) = to.as_flattened_mut().first_mut() {
            *to = self;
        }
    }
    #[inline(always)]
    fn root(self) -> f32 {
        self.sqrt()
    }
    #[inline(always)]
    fn by(self, other: f32) -> f32 {
        self / other
    }
    #[inline(always)]
    fn least(self, other: f32) -> f32 {
        self.min(other)
    }
    #[inline(always)]
    fn where_greater<const N: usize>(
        (a, b): (f32, f32),
        of: [f32; N],
        other: [f32; N],
    ) -> [f32; N] {
        if a > b { of } else { other }
    }
}

/// Row and column of one channel.
#[derive(Clone, Copy)]
pub(super) struct Both([f32; 2]);

impl Both {
    #[inline(always)]
    fn with(self, other: Self, of: impl Fn(f32, f32) -> f32) -> Self {
        Both([of(self.0[0], other.0[0]), of(self.0[1], other.0[1])])
    }
}

impl Add for Both {
    type Output = Both;
    #[inline(always)]
    fn add(self, other: Both) -> Both {
        self.with(other, |a, b| a + b)
    }
}

impl Sub for Both {
    type Output = Both;
    #[inline(always)]
    fn sub(self, other: Both) -> Both {
        self.with(other, |a, b| a - b)
    }
}

impl Mul for Both {
    type Output = Both;
    #[inline(always)]
    fn mul(self, other: Both) -> Both {
        self.with(other, |a, b| a * b)
    }
}

impl<S: Simd> Lanes<S> for Both {
    #[inline(always)]
    fn all(_: S, number: f32) -> Both {
        Both([number; 2])
    }
    #[inline(always)]
    fn load<const L: usize>(_: S, from: &[[f32; L]]) -> Both {
        Both(*from.as_flattened().first_chunk().unwrap_or(&[0.0; 2]))
    }
    #[inline(always)]
    fn store<const L: usize>(self, to: &mut [[f32; L]]) {
        if let Some(to) = to.as_flattened_mut().first_chunk_mut() {
            *to = self.0;
        }
    }
    #[inline(always)]
    fn root(self) -> Both {
        Both([self.0[0].sqrt(), self.0[1].sqrt()])
    }
    #[inline(always)]
    fn by(self, other: Both) -> Both {
        self.with(other, |a, b| a / b)
    }
    #[inline(always)]
    fn least(self, other: Both) -> Both {
        self.with(other, f32::min)
    }
    #[inline(always)]
    fn where_greater<const N: usize>(
        (a, b): (Both, Both),
        of: [Both; N],
        other: [Both; N],
    ) -> [Both; N] {
        let mut to = other;
        for n in 0..N {
            for group in 0..2 {
                if a.0[group] > b.0[group] {
                    to[n].0[group] = of[n].0[group];
                }
            }
        }
        to
    }
}

impl<S: Simd> Groups<S> for Both {
    type One = f32;
    #[inline(always)]
    fn apart(self) -> [f32; 2] {
        self.0
    }
    #[inline(always)]
    fn at_places(_: S, tables: &[[f32; 4]; 2], places: Both) -> Both {
        let at = |place: f32| (place.to_bits() >> 2 & 3) as usize;
        let [row, column] = places.0;
        Both([tables[0][at(row)], tables[1][at(column)]])
    }
}

/// Vectors are alike but for their width.
macro_rules! lanes {
    ($vector:ident, $width:literal) => {
        impl<S: Simd> Lanes<S> for $vector<S> {
            #[inline(always)]
            fn all(simd: S, number: f32) -> Self {
                $vector::splat(simd, number)
            }
            #[inline(always)]
            fn load<const L: usize>(simd: S, from: &[[f32; L]]) -> Self {
                match from.as_flattened().first_chunk::<$width>() {
                    Some(numbers) => $vector::load_array_ref(simd, numbers),
                    None => $vector::splat(simd, 0.0),
                }
            }
            #[inline(always)]
            fn store<const L: usize>(self, to: &mut [[f32; L]]) {
                if let Some(to) = to.as_flattened_mut().first_chunk_mut::<$width>() {
                    *to = self.to_array();
                }
            }
            #[inline(always)]
            fn root(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn by(self, other: Self) -> Self {
                self / other
            }
            #[inline(always)]
            fn least(self, other: Self) -> Self {
                self.min(other)
            }
            #[inline(always)]
            fn where_greater<const N: usize>(
                (a, b): (Self, Self),
                of: [Self; N],
                other: [Self; N],
            ) -> [Self; N] {
                let greater = a.simd_gt(b);
                let mut to = other;
                for n in 0..N {
                    to[n] = greater.select(of[n], other[n]);
                }
                to
            }
        }
    };
}

lanes!(f32x8, 8);
lanes!(f32x16, 16);

impl<S: Simd> Groups<S> for f32x16<S> {
    type One = f32x8<S>;
    #[inline(always)]
    fn apart(self) -> [f32x8<S>; 2] {
        self.split().into()
    }
    #[inline(always)]
    fn at_places(simd: S, tables: &[[f32; 4]; 2], places: Self) -> Self {
        let [[a, b, c, d], [e, f, g, h]] = *tables;
        // Once for each quarter of the vector: two are a group's.
        let table = [a, b, c, d, a, b, c, d, e, f, g, h, e, f, g, h];
        f32x16::load_array(simd, table).swizzle_dyn_within_blocks(places.to_bytes())
    }
}
