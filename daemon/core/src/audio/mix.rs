//! Who hears whom: a matrix of gains, sums of everybody else in 32 bits, a soft knee
//! instead of clipping, and ramps instead of clicks when the matrix changes.

use super::rate::{Rate, WIDE_SAMPLES};

/// Most legs of one call.
pub const LEGS_MAX: usize = 5;

/// Sound of 20 ms at the rate of the mix; of the lower one the first half is used.
pub type Sound = [i16; WIDE_SAMPLES];

/// No gain.
const UNITY: i32 = 1 << SHIFT;
const SHIFT: u32 = 12;
/// A ramp over the whole range takes 5 ms.
const RAMP_MS: i32 = 5;
/// Steps of a ramp are finer than a gain.
const FINE: u32 = 12;
/// Above this a sum is bent: -3 dBFS.
const KNEE: i32 = 23_198;
const CEILING: i32 = 32_767;

/// What a leg can hear beside other legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Own {
    /// The list that plays to it.
    Prompt,
    /// Its music.
    Music,
}

const SOURCES: usize = LEGS_MAX + 2;
const PROMPT: usize = LEGS_MAX;
const MUSIC: usize = LEGS_MAX + 1;

/// Who hears whom, legs by their places in the call: customer 0, agent 1, then those who
/// joined. Nobody ever hears himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hears([[u16; SOURCES]; LEGS_MAX]);

/// The usual states of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scene {
    /// Everybody hears his prompts and music and no one else.
    Apart,
    /// Customer and agent hear each other.
    Talk,
    /// The customer hears music, the agent nothing.
    Hold,
    /// As talk; the supervisor hears both, unheard.
    Listen,
    /// As listen; the agent hears the supervisor too.
    Whisper,
    /// Everybody hears everybody.
    Conference,
    /// The customer hears music, agent and consulted leg (place 2) each other.
    Consult,
}

/// Places of those who have a part in a [`Scene`].
pub const CUSTOMER: usize = 0;
/// The agent, or whoever the customer was joined to.
pub const AGENT: usize = 1;
/// Who joined third: a supervisor, or the one who is consulted.
pub const THIRD: usize = 2;

impl Hears {
    /// Nobody hears anything but the prompts played to him.
    #[must_use]
    pub fn nobody() -> Hears {
        let mut hears = Hears([[0; SOURCES]; LEGS_MAX]);
        for row in &mut hears.0 {
            row[PROMPT] = unity();
        }
        hears
    }

    /// The matrix of a scene.
    #[must_use]
    pub fn of(scene: Scene) -> Hears {
        let mut hears = Hears::nobody();
        let pairs: &[(usize, usize)] = match scene {
            Scene::Apart | Scene::Hold => &[],
            Scene::Talk => &[(CUSTOMER, AGENT), (AGENT, CUSTOMER)],
            Scene::Listen => &[
                (CUSTOMER, AGENT),
                (AGENT, CUSTOMER),
                (THIRD, CUSTOMER),
                (THIRD, AGENT),
            ],
            Scene::Whisper => &[
                (CUSTOMER, AGENT),
                (AGENT, CUSTOMER),
                (AGENT, THIRD),
                (THIRD, CUSTOMER),
                (THIRD, AGENT),
            ],
            Scene::Consult => &[(AGENT, THIRD), (THIRD, AGENT)],
            Scene::Conference => {
                for listener in 0..LEGS_MAX {
                    for speaker in 0..LEGS_MAX {
                        hears.set(listener, speaker, 1.0);
                    }
                }
                &[]
            }
        };
        for (listener, speaker) in pairs {
            hears.set(*listener, *speaker, 1.0);
        }
        match scene {
            Scene::Hold | Scene::Consult => hears.set_own(CUSTOMER, Own::Music, 1.0),
            Scene::Apart => (0..LEGS_MAX).for_each(|leg| hears.set_own(leg, Own::Music, 1.0)),
            Scene::Talk | Scene::Listen | Scene::Whisper | Scene::Conference => {}
        }
        hears
    }

    /// Lets `listener` hear `speaker` at `gain`, 0 to 1. Places past [`LEGS_MAX`] and
    /// oneself are nothing.
    pub fn set(&mut self, listener: usize, speaker: usize, gain: f32) {
        if speaker < LEGS_MAX && listener != speaker {
            self.put(listener, speaker, gain);
        }
    }

    /// Lets `listener` hear what plays to him at `gain`, 0 to 1.
    pub fn set_own(&mut self, listener: usize, own: Own, gain: f32) {
        let source = match own {
            Own::Prompt => PROMPT,
            Own::Music => MUSIC,
        };
        self.put(listener, source, gain);
    }

    /// Silences `speaker` for everybody.
    pub fn mute(&mut self, speaker: usize) {
        for listener in 0..LEGS_MAX {
            self.set(listener, speaker, 0.0);
        }
    }

    fn put(&mut self, listener: usize, source: usize, gain: f32) {
        let cell = self.0.get_mut(listener).and_then(|row| row.get_mut(source));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0..=1, then 12 bits
        if let Some(cell) = cell {
            *cell = (gain.clamp(0.0, 1.0) * f32::from(unity())).round() as u16;
        }
    }
}

const fn unity() -> u16 {
    1 << SHIFT
}

/// A gain on its way to where it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ramp {
    now: i32,
    to: i32,
}

/// The mix of one call. Never allocates.
#[derive(Clone, Debug)]
pub struct Mixer {
    rate: Rate,
    gains: [[Ramp; SOURCES]; LEGS_MAX],
}

impl Mixer {
    /// A mix at `rate` in which `hears` holds from the first sample on.
    #[must_use]
    pub fn new(rate: Rate, hears: &Hears) -> Mixer {
        let mut mixer = Mixer {
            rate,
            gains: [[Ramp::default(); SOURCES]; LEGS_MAX],
        };
        mixer.set(hears);
        for ramp in mixer.gains.as_flattened_mut() {
            ramp.now = ramp.to;
        }
        mixer
    }

    /// The rate of all sound given and made.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Goes on at another rate, from the next frame on.
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Who hears whom from the next frame on, reached over 5 ms.
    pub fn set(&mut self, hears: &Hears) {
        let gains = self.gains.as_flattened_mut();
        for (ramp, gain) in gains.iter_mut().zip(hears.0.as_flattened()) {
            ramp.to = i32::from(*gain) << FINE;
        }
    }

    /// What `listener` hears for 20 ms, into `out`: every other leg of `legs`, his
    /// prompt and his music, each at its gain.
    pub fn mix(
        &mut self,
        listener: usize,
        legs: &[Sound; LEGS_MAX],
        prompt: &Sound,
        music: &Sound,
        out: &mut Sound,
    ) {
        let mut sums = [0i32; WIDE_SAMPLES];
        let step = (UNITY << FINE) / (self.rate.hz().cast_signed() * RAMP_MS / 1000);
        let count = self.rate.frame_samples();
        if let Some(row) = self.gains.get_mut(listener) {
            let sources = legs.iter().chain([prompt, music]);
            for (ramp, source) in row.iter_mut().zip(sources) {
                ramp.add(step, source, sums.get_mut(..count).unwrap_or_default());
            }
        }
        for (to, sum) in out.iter_mut().zip(&sums) {
            *to = bend(*sum >> SHIFT);
        }
    }
}

impl Ramp {
    fn add(&mut self, step: i32, source: &Sound, sums: &mut [i32]) {
        if self.now == self.to {
            let gain = self.now >> FINE;
            if gain != 0 {
                for (sum, sample) in sums.iter_mut().zip(source) {
                    *sum += i32::from(*sample) * gain;
                }
            }
            return;
        }
        for (sum, sample) in sums.iter_mut().zip(source) {
            let away = self.to - self.now;
            self.now += away.clamp(-step, step);
            *sum += i32::from(*sample) * (self.now >> FINE);
        }
    }
}

/// Above the knee a sum comes ever closer to full scale and never reaches past it.
fn bend(sum: i32) -> i16 {
    let size = sum.abs();
    let bent = if size <= KNEE {
        size
    } else {
        let span = CEILING - KNEE;
        let over = size - KNEE;
        // At most 7 * 32768 - KNEE, times 2^14: fits.
        KNEE + span * over.min(200_000) / (over.min(200_000) + span)
    };
    i16::try_from(bent * sum.signum()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::meter::{level_dbm0, sine, tone_dbm0};

    const TONES: [f64; LEGS_MAX] = [400.0, 700.0, 1100.0, 1500.0, 1900.0];
    const MUSIC_HZ: f64 = 2300.0;

    /// One second of everybody's tone; what each hears of each, dBm0.
    fn heard(mixer: &mut Mixer) -> Vec<Vec<i16>> {
        let rate = mixer.rate();
        let frame = rate.frame_samples();
        let tone = |hz| sine(hz, -20.0, rate, frame * 50);
        let sources = TONES.map(tone);
        let music = tone(MUSIC_HZ);
        let cut = |from: &[i16], n: usize| {
            let mut sound = [0; WIDE_SAMPLES];
            sound[..frame].copy_from_slice(&from[n * frame..(n + 1) * frame]);
            sound
        };
        let mut out = vec![Vec::new(); LEGS_MAX];
        for n in 0..50 {
            let legs = std::array::from_fn(|leg| cut(&sources[leg], n));
            for (listener, all) in out.iter_mut().enumerate() {
                let mut mixed = [0; WIDE_SAMPLES];
                let nothing = [0; WIDE_SAMPLES];
                mixer.mix(listener, &legs, &nothing, &cut(&music, n), &mut mixed);
                all.extend(&mixed[..frame]);
            }
        }
        out
    }

    fn hears(sound: &[i16], rate: Rate, hz: f64) -> bool {
        let level = tone_dbm0(sound, hz / f64::from(rate.hz()));
        assert!(!(-70.0..=-21.0).contains(&level), "{level} dBm0 of {hz} Hz");
        level > -21.0
    }

    #[test]
    fn each_scene_lets_hear_exactly_whom_it_should() {
        // Per scene: whom customer, agent and third hear; who hears music.
        type Row = (Scene, [&'static [usize]; 3], &'static [usize]);
        let table: [Row; 7] = [
            (Scene::Apart, [&[], &[], &[]], &[0, 1, 2]),
            (Scene::Talk, [&[1], &[0], &[]], &[]),
            (Scene::Hold, [&[], &[], &[]], &[0]),
            (Scene::Listen, [&[1], &[0], &[0, 1]], &[]),
            (Scene::Whisper, [&[1], &[0, 2], &[0, 1]], &[]),
            (
                Scene::Conference,
                [&[1, 2, 3, 4], &[0, 2, 3, 4], &[0, 1, 3, 4]],
                &[],
            ),
            (Scene::Consult, [&[], &[2], &[1]], &[0]),
        ];
        for (scene, expected, music) in table {
            for rate in [Rate::Narrow, Rate::Wide] {
                let got = heard(&mut Mixer::new(rate, &Hears::of(scene)));
                for (listener, whom) in expected.iter().enumerate() {
                    for (speaker, hz) in TONES.iter().enumerate() {
                        let does = hears(&got[listener], rate, *hz);
                        assert_eq!(
                            does,
                            whom.contains(&speaker),
                            "{scene:?} {listener} {speaker}"
                        );
                    }
                    let plays = hears(&got[listener], rate, MUSIC_HZ);
                    assert_eq!(plays, music.contains(&listener), "{scene:?} {listener}");
                }
            }
        }
    }

    #[test]
    fn muted_leg_still_hears() {
        let mut matrix = Hears::of(Scene::Talk);
        matrix.mute(CUSTOMER);
        let got = heard(&mut Mixer::new(Rate::Narrow, &matrix));
        assert!(hears(&got[CUSTOMER], Rate::Narrow, TONES[AGENT]));
        assert!(!hears(&got[AGENT], Rate::Narrow, TONES[CUSTOMER]));
    }

    #[test]
    fn change_is_a_ramp_of_five_milliseconds() {
        let mut mixer = Mixer::new(Rate::Narrow, &Hears::of(Scene::Hold));
        mixer.set(&Hears::of(Scene::Talk));
        let mut legs = [[0; WIDE_SAMPLES]; LEGS_MAX];
        legs[CUSTOMER] = [8000; WIDE_SAMPLES];
        let mut out = [0; WIDE_SAMPLES];
        let nothing = [0; WIDE_SAMPLES];
        mixer.mix(AGENT, &legs, &nothing, &nothing, &mut out);
        let steps = out[..160].windows(2).map(|w| w[1] - w[0]);
        assert!(steps.clone().all(|step| (0..=201).contains(&step)));
        assert!(out[38] < 8000 && out[40] == 8000, "{:?}", &out[36..42]);
    }

    #[test]
    fn loud_sums_are_bent_and_never_wrap() {
        assert_eq!(bend(23_000), 23_000);
        let mut last = 0;
        for sum in (0..240_000).step_by(100) {
            let bent = bend(sum);
            assert!(bent >= last && bend(-sum) == -bent, "{sum}");
            last = bent;
        }
        assert!(last > 32_000);
        let mut mixer = Mixer::new(Rate::Narrow, &Hears::of(Scene::Conference));
        let legs = [[i16::MIN; WIDE_SAMPLES]; LEGS_MAX];
        let mut out = [0; WIDE_SAMPLES];
        mixer.mix(0, &legs, &legs[0], &legs[0], &mut out);
        assert!(level_dbm0(&out[..160]) > 3.0 && out[..160].iter().all(|s| *s < -31_000));
    }
}
