//! Whether somebody speaks: levels of 10 ms against the noise of the line and against
//! what we play ourselves, whose echo must not count.

use super::frame::SAMPLE_RATE_HZ;
use super::meter::{LEVEL_DBM0_MIN, level_dbm0};

/// Length of one look.
pub const LOOK_MS: u32 = 10;
const LOOK_SAMPLES: usize = (SAMPLE_RATE_HZ / 1000 * LOOK_MS) as usize;
/// Speech is louder than this whatever the noise.
const SPEECH_DBM0_MIN: f64 = -45.0;
/// The noise of a line is taken to rise at most so fast, dB a look (3 dB a second).
const FLOOR_RISE_DB: f64 = 0.03;
/// An echo of ours comes back at least so much quieter.
const ECHO_LOSS_DB: f64 = 8.0;
/// And at most so many looks later (250 ms).
const ECHO_LOOKS: usize = 25;

/// One look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Level, dBm0.
    pub level: f64,
    /// Above the noise of the line by this, dB.
    pub above_noise: f64,
    /// Louder than an echo of what we played could be.
    pub is_theirs: bool,
}

/// Looks at what one leg hears. Never allocates.
#[derive(Clone, Debug)]
pub struct Speech {
    samples: [i16; LOOK_SAMPLES],
    filled: usize,
    floor: f64,
    /// Levels of ours, newest at `at`.
    ours: [f64; ECHO_LOOKS],
    at: usize,
}

impl Default for Speech {
    fn default() -> Self {
        Speech {
            samples: [0; LOOK_SAMPLES],
            filled: 0,
            floor: SPEECH_DBM0_MIN,
            ours: [LEVEL_DBM0_MIN; ECHO_LOOKS],
            at: 0,
        }
    }
}

impl Look {
    /// Speech, if louder than the noise by `margin` dB.
    #[must_use]
    pub fn is_speech(&self, margin: f64) -> bool {
        self.is_theirs && self.level > SPEECH_DBM0_MIN && self.above_noise > margin
    }
}

impl Speech {
    /// What we send, 8 kHz, in whole frames.
    pub fn ours(&mut self, samples: &[i16]) {
        for look in samples.chunks(LOOK_SAMPLES) {
            self.at = (self.at + 1) % ECHO_LOOKS;
            if let Some(level) = self.ours.get_mut(self.at) {
                *level = level_dbm0(look);
            }
        }
    }

    /// What they send, 8 kHz: calls `look` with the samples of each 10 ms that is full.
    pub fn heard(&mut self, samples: &[i16], mut look: impl FnMut(Look, &[i16])) {
        for sample in samples {
            if let Some(place) = self.samples.get_mut(self.filled) {
                *place = *sample;
            }
            self.filled += 1;
            if self.filled == LOOK_SAMPLES {
                self.filled = 0;
                look(self.look(), &self.samples);
            }
        }
    }

    fn look(&mut self) -> Look {
        let level = level_dbm0(&self.samples);
        // The floor sinks at once and rises slowly, so speech does not lift it.
        let floor = (self.floor + FLOOR_RISE_DB).min(level);
        self.floor = floor.max(-75.0);
        let ours = self.ours.iter().copied().fold(LEVEL_DBM0_MIN, f64::max);
        Look {
            level,
            above_noise: level - self.floor,
            is_theirs: level > ours - ECHO_LOSS_DB,
        }
    }
}

/// One single tone in a look: its frequency, Hz, if nearly nothing else is there.
/// x\[n\] + x\[n-2\] = 2 cos(w) x\[n-1\] holds for a sine and for nothing else.
#[must_use]
pub fn single_tone_hz(samples: &[i16]) -> Option<f64> {
    let (mut cross, mut power) = (0.0, 0.0);
    for window in samples.windows(3) {
        if let [a, b, c] = *window {
            let (outer, middle) = (f64::from(a) + f64::from(c), f64::from(b));
            cross += outer * middle;
            power += middle * middle;
        }
    }
    // Quieter than -45 dBm0 nothing is looked for.
    if level_dbm0(samples) < SPEECH_DBM0_MIN || power == 0.0 {
        return None;
    }
    let c = cross / power;
    let error: f64 = samples
        .windows(3)
        .map(|w| match *w {
            [x, y, z] => (f64::from(x) + f64::from(z) - c * f64::from(y)).powi(2),
            _ => 0.0,
        })
        .sum();
    // White noise of power p leaves (2 + c^2) p behind.
    if error > 0.02 * (2.0 + c * c) * power || c.abs() >= 2.0 {
        return None;
    }
    Some((c / 2.0).acos() * f64::from(SAMPLE_RATE_HZ) / std::f64::consts::TAU)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::meter::sine;
    use crate::audio::{Law, Rate};
    use crate::rng::Rng;

    fn looks(speech: &mut Speech, samples: &[i16]) -> Vec<Look> {
        let mut all = Vec::new();
        speech.heard(samples, |look, _| all.push(look));
        all
    }

    #[test]
    fn noise_of_the_line_is_learned_and_speech_stands_out() {
        let mut rng = Rng::new(1);
        let mut noise = |n: usize| -> Vec<i16> {
            (0..n)
                .map(|_| (rng.unit() * 400.0 - 200.0) as i16)
                .collect()
        };
        let mut speech = Speech::default();
        // -43 dBm0 of noise: for a moment it could be speech, then it is the floor.
        let first = looks(&mut speech, &noise(16_000));
        assert!(first[150..].iter().all(|look| !look.is_speech(9.0)));
        let voice: Vec<i16> = noise(1600)
            .iter()
            .zip(sine(300.0, -25.0, Rate::Narrow, 1600))
            .map(|(a, b)| a + b)
            .collect();
        assert!(
            looks(&mut speech, &voice)
                .iter()
                .all(|look| look.is_speech(9.0))
        );
    }

    #[test]
    fn echo_of_ours_is_not_theirs() {
        let mut speech = Speech::default();
        let prompt = sine(500.0, -16.0, Rate::Narrow, 1600);
        let echo = sine(500.0, -28.0, Rate::Narrow, 1600);
        speech.ours(&prompt);
        assert!(looks(&mut speech, &echo).iter().all(|look| !look.is_theirs));
        let theirs = sine(300.0, -20.0, Rate::Narrow, 1600);
        speech.ours(&prompt);
        assert!(
            looks(&mut speech, &theirs)
                .iter()
                .all(|look| look.is_speech(9.0))
        );
    }

    #[test]
    fn single_tones_are_named_through_both_laws_and_pairs_are_not() {
        for law in [Law::Mu, Law::A] {
            for hz in [400.0, 950.0, 1100.0, 1400.0, 1800.0, 2000.0, 2100.0] {
                let sound: Vec<i16> = sine(hz, -20.0, Rate::Narrow, 80)
                    .iter()
                    .map(|s| law.decode(law.encode(*s)))
                    .collect();
                let found = single_tone_hz(&sound).unwrap();
                assert!((found / hz - 1.0).abs() < 0.01, "{found} for {hz}");
            }
        }
        let pair = super::super::tone::burst(
            &[(770.0, -9.0), (1336.0, -7.0)],
            std::time::Duration::from_millis(40),
        );
        assert!(pair.chunks(80).all(|look| single_tone_hz(look).is_none()));
    }
}
