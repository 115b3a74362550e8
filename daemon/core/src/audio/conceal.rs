//! Makes up for lost sound: the last pitch period is repeated, faded out within 60 ms,
//! then there is silence. Also takes a pitch period out, to catch up unheard.

use super::rate::{Rate, WIDE_SAMPLES};

/// Concealment ends in silence after so long; more would buzz.
pub const CONCEAL_MS: usize = 60;
/// So much of it at full level.
const FULL_MS: usize = 10;
/// Pitch periods looked for, in tenths of a millisecond: 400 to 67 Hz.
const PERIOD_TENTHS: (usize, usize) = (25, 150);
/// How much sound is compared to find the period.
const COMPARE_MS: usize = 10;
/// How long made and real sound, or two periods, are blended.
const BLEND_MS: usize = 5;
/// The longest period and what it is compared with, at the higher rate.
const KEPT: usize = 16 * (PERIOD_TENTHS.1 / 10 + COMPARE_MS);

/// The concealment of one leg's sound. Never allocates.
#[derive(Clone, Debug)]
pub struct Concealer {
    rate: Rate,
    /// The newest sound, oldest first.
    kept: [i16; KEPT],
    /// The period that is repeated, in samples; 0 while nothing is lost.
    period: usize,
    /// Samples made since the loss began.
    made: usize,
}

impl Concealer {
    /// For sound at `rate`.
    #[must_use]
    pub fn new(rate: Rate) -> Concealer {
        Concealer {
            rate,
            kept: [0; KEPT],
            period: 0,
            made: 0,
        }
    }

    /// Sound that came. Its beginning is blended with what was made up before it.
    pub fn received(&mut self, samples: &mut [i16]) {
        if self.period > 0 {
            let blend = samples_in(self.rate, BLEND_MS * 10);
            for (at, sample) in samples.iter_mut().take(blend).enumerate() {
                *sample = blended(self.next(), *sample, at, blend);
            }
            self.period = 0;
            self.made = 0;
        }
        self.keep(samples);
    }

    /// Makes up sound for what is lost.
    pub fn conceal(&mut self, out: &mut [i16]) {
        if self.period == 0 {
            self.period = self.find_period();
        }
        for sample in out {
            *sample = self.next();
        }
    }

    /// Whether the made-up sound has faded to silence.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.made >= samples_in(self.rate, CONCEAL_MS * 10)
    }

    fn next(&mut self) -> i16 {
        let full = samples_in(self.rate, FULL_MS * 10);
        let end = samples_in(self.rate, CONCEAL_MS * 10);
        let at = KEPT - self.period + self.made % self.period.max(1);
        let sample = self.kept.get(at).copied().unwrap_or(0);
        let left = end.saturating_sub(self.made.max(full));
        self.made += 1;
        scaled(sample, left, end - full)
    }

    fn find_period(&self) -> usize {
        let compared = samples_in(self.rate, COMPARE_MS * 10);
        let newest = self.kept.get(KEPT - compared..).unwrap_or(&[]);
        let older = |lag| self.kept.get(KEPT - compared - lag..).unwrap_or(&[]);
        let (low, high) = lags(self.rate);
        best_lag((low..=high).step_by(step(self.rate)), 1.0, newest, older)
    }

    fn keep(&mut self, samples: &[i16]) {
        let count = samples.len().min(KEPT);
        self.kept.rotate_left(count);
        let newest = samples.iter().rev().take(count);
        for (to, from) in self.kept.iter_mut().rev().zip(newest) {
            *to = *from;
        }
    }
}

/// Takes a pitch period, or as many as 15 ms hold, out of a frame of 20 ms, blending over the cut; the samples
/// that are left stand at its beginning. A frame of another length stays as it is.
pub fn shorten(rate: Rate, frame: &mut [i16]) -> usize {
    let length = frame.len();
    if length != rate.frame_samples() || length > WIDE_SAMPLES {
        return length;
    }
    let blend = samples_in(rate, BLEND_MS * 10);
    let start = frame.get(..blend).unwrap_or(&[]);
    let later = |lag| frame.get(lag..).unwrap_or(&[]);
    let (low, high) = lags(rate);
    // The longest first: the more is taken out at once, the sooner it is done.
    let lag = best_lag((low..=high).rev().step_by(step(rate)), 1.03, start, later);
    for at in 0..length - lag {
        let later = frame.get(at + lag).copied().unwrap_or(0);
        if let Some(sample) = frame.get_mut(at) {
            *sample = blended(*sample, later, at.min(blend), blend);
        }
    }
    length - lag
}

/// Whether a frame is so quiet that leaving it out is not heard (below -45 dBm0).
#[must_use]
pub fn is_quiet(frame: &[i16]) -> bool {
    super::meter::level_dbm0(frame) < -45.0
}

/// The first of `lags` whose shifted sound is as like `sound` as any; a later one has to
/// be better by the factor `by`.
fn best_lag<'a>(
    lags: impl Iterator<Item = usize>,
    by: f32,
    sound: &[i16],
    shifted: impl Fn(usize) -> &'a [i16],
) -> usize {
    let mut best = (0.0, None);
    for lag in lags {
        let mut likeness = 0.0f32;
        let mut power = 1.0f32;
        for (a, b) in sound.iter().zip(shifted(lag)) {
            let (a, b) = (f32::from(*a), f32::from(*b));
            likeness += a * b;
            power += b * b;
        }
        let score = likeness / power.sqrt();
        if best.1.is_none() || score > best.0 * by {
            best = (score.max(0.0), Some(lag));
        }
    }
    best.1.unwrap_or(1)
}

/// Shortest and longest period, samples.
const fn lags(rate: Rate) -> (usize, usize) {
    let (low, high) = PERIOD_TENTHS;
    (samples_in(rate, low), samples_in(rate, high))
}

/// Every second lag does at the higher rate.
const fn step(rate: Rate) -> usize {
    samples_in(rate, 10) / 8
}

/// From `before` to `after`, `at` of `all` steps on.
fn blended(before: i16, after: i16, at: usize, all: usize) -> i16 {
    scaled(before, all - at.min(all), all).saturating_add(scaled(after, at.min(all), all))
}

fn scaled(sample: i16, share: usize, all: usize) -> i16 {
    let part = |n: usize| i32::try_from(n).unwrap_or(0);
    i16::try_from(i32::from(sample) * part(share) / part(all).max(1)).unwrap_or(0)
}

const fn samples_in(rate: Rate, tenths_of_ms: usize) -> usize {
    match rate {
        Rate::Narrow => 8 * tenths_of_ms / 10,
        Rate::Wide => 16 * tenths_of_ms / 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::meter::{level_dbm0, snr_db};
    use crate::rng::Rng;

    /// A voice of 110 Hz with overtones.
    fn voice(rate: Rate, samples: usize) -> Vec<i16> {
        (0..samples)
            .map(|n| {
                let turn = std::f64::consts::TAU * 110.0 * n as f64 / f64::from(rate.hz());
                let sum: f64 = (1..12)
                    .map(|h| (turn * f64::from(h)).sin() / f64::from(h))
                    .sum();
                (sum * 3000.0).round() as i16
            })
            .collect()
    }

    fn step_max(sound: &[i16]) -> u16 {
        sound.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap()
    }

    #[test]
    fn one_lost_frame_of_a_voice_is_hardly_heard() {
        for rate in [Rate::Narrow, Rate::Wide] {
            let frame = rate.frame_samples();
            let whole = voice(rate, frame * 20);
            let mut concealer = Concealer::new(rate);
            let mut heard = Vec::new();
            for (n, part) in whole.chunks(frame).enumerate() {
                let mut out = part.to_vec();
                if n == 10 {
                    concealer.conceal(&mut out);
                } else {
                    concealer.received(&mut out);
                }
                heard.extend(out);
            }
            let lost = frame * 10..frame * 11;
            let snr = snr_db(&whole[lost.clone()], &heard[lost]);
            assert!(snr > 8.0, "{rate:?}: {snr} dB");
            // No step that the voice itself does not have.
            assert!(step_max(&heard) < step_max(&whole) * 5 / 4, "{rate:?}");
            assert_eq!(&heard[frame * 12..], &whole[frame * 12..]);
        }
    }

    #[test]
    fn longer_loss_fades_to_silence_within_60_ms() {
        let mut concealer = Concealer::new(Rate::Narrow);
        concealer.received(&mut voice(Rate::Narrow, 800));
        let levels: Vec<f64> = (0..5)
            .map(|_| {
                let mut out = [0; 160];
                concealer.conceal(&mut out);
                level_dbm0(&out)
            })
            .collect();
        assert!(levels[0] > levels[1] && levels[1] > levels[2], "{levels:?}");
        assert!(levels[3] < -90.0 && levels[4] < -90.0, "{levels:?}");
        assert!(concealer.is_silent());
    }

    #[test]
    fn loss_at_the_very_beginning_is_silence() {
        let mut out = [7; 160];
        Concealer::new(Rate::Narrow).conceal(&mut out);
        assert_eq!(out, [0; 160]);
    }

    #[test]
    fn shortened_voice_has_no_step_and_keeps_both_ends() {
        for rate in [Rate::Narrow, Rate::Wide] {
            let whole = voice(rate, rate.frame_samples());
            let mut cut = whole.clone();
            let left = shorten(rate, &mut cut);
            cut.truncate(left);
            // One or more periods of 110 Hz are gone, and nothing else.
            let period = f64::from(rate.hz()) / 110.0;
            let gone = (whole.len() - left) as f64 / period;
            assert!((gone - gone.round()).abs() < 0.05 && gone > 0.5, "{gone}");
            assert_eq!((cut[0], cut.last()), (whole[0], whole.last()));
            assert!(step_max(&cut) <= step_max(&whole) * 5 / 4);
        }
    }

    #[test]
    fn noise_of_any_kind_stays_in_bounds() {
        let mut rng = Rng::new(3);
        let mut concealer = Concealer::new(Rate::Wide);
        for n in 0..200 {
            let mut frame: Vec<i16> = (0..320).map(|_| rng.next_u32() as i16).collect();
            if n % 3 == 0 {
                concealer.conceal(&mut frame);
            } else {
                concealer.received(&mut frame);
            }
            let left = shorten(Rate::Wide, &mut frame);
            assert!((80..=280).contains(&left));
        }
        assert!(is_quiet(&[60; 160]) && !is_quiet(&[600; 160]));
    }
}
