//! How well two tones explain a piece of sound: least squares over their amplitudes.

use std::ops::{Add, AddAssign, Mul, Sub};

use super::front::to_f64;

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
    /// Mean power of each tone.
    pub(super) powers: [f64; 2],
}

impl Fit {
    /// Fits two tones to `count` samples whose correlations with them, phases counted from
    /// the middle, are `b`; `overlap` is how much of one tone the other one is, a real
    /// number from there.
    pub(super) fn new(overlap: f64, b: [Complex; 2], count: usize) -> Fit {
        let n = to_f64(count);
        let scale = 1.0 / (n * n - overlap * overlap);
        let a0 = (b[0] * n - b[1] * overlap) * scale;
        let a1 = (b[1] * n - b[0] * overlap) * scale;
        Fit {
            explained: 2.0 * ((a0 * b[0].conjugate()).re + (a1 * b[1].conjugate()).re),
            powers: [2.0 * a0.power(), 2.0 * a1.power()],
        }
    }
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

    /// The same for an angle up to 0.02, from the first terms of both series.
    pub(super) fn small_turn(angle: f64) -> Complex {
        let square = angle * angle;
        Complex {
            re: 1.0 - square / 2.0 * (1.0 - square / 12.0 * (1.0 - square / 30.0)),
            im: angle * (1.0 - square / 6.0 * (1.0 - square / 20.0)),
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
                sum += Complex::turn(-w * (to_f64(n) - 139.5)) * *x;
            }
            sum
        };
        let half = (omega[1] - omega[0]) / 2.0;
        let overlap = (280.0 * half).sin() / half.sin();
        let fit = Fit::new(overlap, omega.map(correlate), 280);
        let energy: f64 = sound.iter().map(|x| x * x).sum();
        assert!((fit.explained / energy - 1.0).abs() < 0.01);
        for (power, peak) in fit.powers.into_iter().zip([1000.0f64, 500.0]) {
            assert!((power / (peak * peak / 2.0) - 1.0).abs() < 0.05, "{power}");
        }
    }

    #[test]
    fn small_turns_are_turns() {
        for angle in [-0.02, -1e-3, 0.0, 1e-9, 0.013, 0.02] {
            let off = Complex::small_turn(angle) - Complex::turn(angle);
            assert!(off.power().sqrt() < 1e-15, "{angle}: {off:?}");
        }
    }
}
