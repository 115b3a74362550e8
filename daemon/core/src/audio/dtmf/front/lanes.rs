//! One number a channel: a vector of eight for a batch, a plain number for one channel.
//!
//! Left to itself the compiler may not make vectors over channels of a loop that decides
//! something; written over `Lanes` it has no choice, and both widths run the same operations.

use std::ops::{Add, Mul, Sub};

use fearless_simd::f32x8;
use fearless_simd::prelude::*;

/// A number of each channel.
pub(super) trait Lanes<S: Simd>:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    /// The same number in every channel.
    fn all(simd: S, number: f32) -> Self;
    /// Takes the numbers of as many channels as it is wide.
    fn load<const L: usize>(simd: S, from: &[f32; L]) -> Self;
    /// Puts them where [`Lanes::load`] finds them.
    fn store<const L: usize>(self, to: &mut [f32; L]);
    /// The square root.
    fn root(self) -> Self;
    /// Divided by as many others.
    fn by(self, other: Self) -> Self;
    /// The smaller ones.
    fn least(self, other: Self) -> Self;
    /// What stands in a table of four at the place that each channel's [`place`] names.
    fn at_places(simd: S, table: &[f32; 4], places: Self) -> Self;
    /// `of` where the first of the pair is the greater one, else `other`; so for several pairs at once.
    fn where_greater<const N: usize>(
        pair: (Self, Self),
        of: [Self; N],
        other: [Self; N],
    ) -> [Self; N];
}

/// A place in a table of four, as [`Lanes::at_places`] takes it: the numbers of its bytes.
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
    fn load<const L: usize>(_: S, from: &[f32; L]) -> f32 {
        from.first().copied().unwrap_or(0.0)
    }
    #[inline(always)]
    fn store<const L: usize>(self, to: &mut [f32; L]) {
        if let Some(to) = to.first_mut() {
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
    fn at_places(_: S, table: &[f32; 4], places: f32) -> f32 {
        table[(places.to_bits() >> 2 & 3) as usize]
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

impl<S: Simd> Lanes<S> for f32x8<S> {
    #[inline(always)]
    fn all(simd: S, number: f32) -> Self {
        f32x8::splat(simd, number)
    }
    #[inline(always)]
    fn load<const L: usize>(simd: S, from: &[f32; L]) -> Self {
        match from.first_chunk::<8>() {
            Some(eight) => f32x8::load_array_ref(simd, eight),
            None => f32x8::splat(simd, 0.0),
        }
    }
    #[inline(always)]
    fn store<const L: usize>(self, to: &mut [f32; L]) {
        if let Some(to) = to.first_chunk_mut::<8>() {
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
    fn at_places(simd: S, table: &[f32; 4], places: Self) -> Self {
        let [a, b, c, d] = *table;
        // Once for each half of the vector.
        f32x8::load_array(simd, [a, b, c, d, a, b, c, d])
            .swizzle_dyn_within_blocks(places.to_bytes())
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
