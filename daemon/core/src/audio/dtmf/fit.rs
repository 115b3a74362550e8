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

/// Turns whose sines, divided, are the overlap of tones that differ by so many radians a
/// sample, over `count` samples.
pub(super) fn overlap(difference: f64, count: usize) -> (Complex, Complex) {
    (
        Complex::turn(difference * to_f64(count) / 2.0),
        Complex::turn(difference / 2.0),
    )
}

/// Length 1 at half the angle; an angle of half a turn is not told from its opposite.
pub(super) fn half(of: Complex) -> Complex {
    let length = of.power().sqrt();
    let re = f64::midpoint(1.0, of.re / length).max(1e-9).sqrt();
    Complex {
        re,
        im: of.im / (2.0 * length * re),
    }
}

/// x / sin x of an angle up to 1 radian, from its sine, to 0.6 %.
pub(super) fn angle_over_sine(sine: f64) -> f64 {
    let s = sine * sine;
    1.0 + s * (1.0 / 6.0 + s * (0.075 + s * (5.0 / 112.0 + s * (35.0 / 1152.0 + s * 0.0224))))
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
                sum += Complex::turn(-w * (to_f64(n) - 139.5)) * *x;
            }
            sum
        };
        let (window, sample) = overlap(omega[1] - omega[0], 280);
        let fit = Fit::new(window.im / sample.im, omega.map(correlate), 280);
        let energy: f64 = sound.iter().map(|x| x * x).sum();
        assert!((fit.explained / energy - 1.0).abs() < 0.01);
        for (power, peak) in fit.powers.into_iter().zip([1000.0f64, 500.0]) {
            assert!((power / (peak * peak / 2.0) - 1.0).abs() < 0.05, "{power}");
        }
    }

    #[test]
    fn halves_and_arcs_are_those_of_the_angle() {
        for angle in [-1.99, -1.0, -0.1, 0.0, 1e-9, 0.5, 1.5, 1.99] {
            let half = half(Complex::turn(angle) * 7.0);
            assert!((half.angle() - angle / 2.0).abs() < 1e-9, "{angle}");
            let arc = half.im * angle_over_sine(half.im);
            assert!((arc - angle / 2.0).abs() < 0.006, "{angle}: {arc}");
        }
    }
}
