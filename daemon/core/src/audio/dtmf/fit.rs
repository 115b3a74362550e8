//! How well two tones explain a piece of sound: least squares over their amplitudes.

use std::ops::{Add, AddAssign, Mul, Sub};

use super::front::{HOP, to_f64};

/// A complex number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Complex {
    pub(super) re: f64,
    pub(super) im: f64,
}

/// What the two tones make of the sound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    /// Energy the two tones explain.
    pub(super) explained: f64,
    /// Mean power of the weaker tone.
    pub(super) weaker_power: f64,
    /// Column over row, dB.
    pub(super) twist_db: f64,
}

/// Fits tones of angular frequencies `omega` to `count` samples whose correlations with
/// them are `b`.
pub(super) fn fit(omega: [f64; 2], b: [Complex; 2], count: usize) -> Fit {
    let n = to_f64(count);
    let difference = omega[1] - omega[0];
    let overlap = Complex::turn(difference * (n - 1.0) / 2.0)
        * ((difference * n / 2.0).sin() / (difference / 2.0).sin());
    let determinant = n * n - overlap.power();
    let a0 = (b[0] * n - overlap * b[1]) * (1.0 / determinant);
    let a1 = (b[1] * n - overlap.conjugate() * b[0]) * (1.0 / determinant);
    let explained = 2.0 * ((a0 * b[0].conjugate()).re + (a1 * b[1].conjugate()).re);
    Fit {
        explained,
        weaker_power: 2.0 * a0.power().min(a1.power()),
        twist_db: 10.0 * (a1.power() / a0.power()).log10(),
    }
}

/// Corrects a sum of hops that were correlated at the nominal frequency for a tone
/// `offset` radians a sample off it.
pub(super) fn within_hop(offset: f64) -> Complex {
    let half = offset / 2.0;
    let hop = to_f64(HOP);
    let gain = if offset.abs() < 1e-12 {
        1.0
    } else {
        hop * half.sin() / (hop * half).sin()
    };
    Complex::turn(-(hop - 1.0) * half) * gain
}

impl Complex {
    pub(super) const ONE: Complex = Complex { re: 1.0, im: 0.0 };

    /// Length 1 at this angle, radians.
    pub(super) fn turn(angle: f64) -> Complex {
        Complex {
            re: angle.cos(),
            im: angle.sin(),
        }
    }

    pub(super) fn conjugate(self) -> Complex {
        Complex {
            re: self.re,
            im: -self.im,
        }
    }

    /// Square of the length.
    pub(super) fn power(self) -> f64 {
        self.re * self.re + self.im * self.im
    }

    pub(super) fn angle(self) -> f64 {
        self.im.atan2(self.re)
    }
}

impl Add for Complex {
    type Output = Complex;
    fn add(self, other: Complex) -> Complex {
        Complex {
            re: self.re + other.re,
            im: self.im + other.im,
        }
    }
}

impl AddAssign for Complex {
    fn add_assign(&mut self, other: Complex) {
        *self = *self + other;
    }
}

impl Sub for Complex {
    type Output = Complex;
    fn sub(self, other: Complex) -> Complex {
        Complex {
            re: self.re - other.re,
            im: self.im - other.im,
        }
    }
}

impl Mul for Complex {
    type Output = Complex;
    fn mul(self, other: Complex) -> Complex {
        Complex {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }
}

impl Mul<f64> for Complex {
    type Output = Complex;
    fn mul(self, factor: f64) -> Complex {
        Complex {
            re: self.re * factor,
            im: self.im * factor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tones_are_found_with_their_levels_and_explain_everything() {
        let omega = [0.55, 1.1];
        let tones = [(1000.0, 0.3), (500.0, 2.0)];
        let sound: Vec<f64> = (0..280)
            .map(|n| {
                let wave = |i: usize| tones[i].0 * (omega[i] * to_f64(n) + tones[i].1).cos();
                wave(0) + wave(1)
            })
            .collect();
        let correlate = |w: f64| {
            let mut sum = Complex::default();
            for (n, x) in sound.iter().enumerate() {
                sum += Complex::turn(-w * to_f64(n)) * *x;
            }
            sum
        };
        let fit = fit(omega, omega.map(correlate), 280);
        let energy: f64 = sound.iter().map(|x| x * x).sum();
        assert!((fit.explained / energy - 1.0).abs() < 0.01);
        assert!((fit.twist_db + 6.02).abs() < 0.1, "{}", fit.twist_db);
        assert!((fit.weaker_power / (500.0 * 500.0 / 2.0) - 1.0).abs() < 0.05);
    }
}
