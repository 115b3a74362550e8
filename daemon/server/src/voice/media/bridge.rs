//! Legs that hear each other: each gives 20 ms into a mix and takes 20 ms out of it, all
//! in one slot of one thread. Nothing here allocates once it is made.

use helpline_core::audio::mix::{Hears, LEGS_MAX, Mixer, Sound};
use helpline_core::audio::rate::{Doubler, Halver, WIDE_SAMPLES};
use helpline_core::audio::{Codec, Rate};
use helpline_core::rtp::playout::{Heard, Playout};
use helpline_core::time::Time;

use super::sending::Narrow;

/// What a leg needs while it is bridged.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) playout: Playout,
    /// What it says and hears, on the way from and to another rate.
    says: Resample,
    hears: Resample,
    prompt: Resample,
    music: Resample,
}

#[derive(Clone, Debug, Default)]
struct Resample {
    doubler: Doubler,
    halver: Halver,
}

/// One mix on its thread.
#[derive(Debug)]
pub(super) struct Mix {
    pub(super) id: u64,
    /// Ids of its legs, by their places.
    pub(super) legs: [Option<u64>; LEGS_MAX],
    pub(super) mixer: Mixer,
    /// What each leg says in this slot.
    pub(super) said: [Sound; LEGS_MAX],
}

impl Member {
    pub(super) fn new(codec: Codec) -> Member {
        Member {
            playout: Playout::new(codec),
            says: Resample::default(),
            hears: Resample::default(),
            prompt: Resample::default(),
            music: Resample::default(),
        }
    }

    /// What the leg says for 20 ms: at the codec's rate into `own`, at `rate` into `out`.
    pub(super) fn says(
        &mut self,
        now: Time,
        rate: Rate,
        own: &mut Sound,
        out: &mut Sound,
    ) -> Heard {
        let heard = self.playout.frame(now, own);
        let from = self.playout.codec().rate();
        self.says.go(from, rate, own, out);
        heard
    }

    /// What the leg hears, from `rate` to that of its codec.
    pub(super) fn hears(&mut self, rate: Rate, to: Rate, mixed: &Sound, out: &mut Sound) {
        self.hears.go(rate, to, mixed, out);
    }

    /// Its own prompt and music at `rate`.
    pub(super) fn plays(
        &mut self,
        rate: Rate,
        (prompt, music): (Narrow, Option<Narrow>),
    ) -> (Sound, Sound) {
        let mut out = ([0; WIDE_SAMPLES], [0; WIDE_SAMPLES]);
        self.prompt.go_narrow(rate, &prompt, &mut out.0);
        if let Some(music) = music {
            self.music.go_narrow(rate, &music, &mut out.1);
        }
        out
    }
}

impl Resample {
    fn go(&mut self, from: Rate, to: Rate, sound: &Sound, out: &mut Sound) {
        match (from, to) {
            (Rate::Narrow, Rate::Narrow) | (Rate::Wide, Rate::Wide) => *out = *sound,
            (Rate::Wide, Rate::Narrow) => self.halver.halve(sound, out),
            (Rate::Narrow, Rate::Wide) => {
                let narrow = sound.get(..WIDE_SAMPLES / 2).unwrap_or(sound);
                self.doubler.double(narrow, out);
            }
        }
    }

    fn go_narrow(&mut self, to: Rate, sound: &Narrow, out: &mut Sound) {
        match to {
            Rate::Narrow => {
                for (to, from) in out.iter_mut().zip(sound) {
                    *to = *from;
                }
            }
            Rate::Wide => self.doubler.double(sound, out),
        }
    }
}

impl Mix {
    pub(super) fn new(id: u64, hears: &Hears) -> Mix {
        Mix {
            id,
            legs: [None; LEGS_MAX],
            mixer: Mixer::new(Rate::Narrow, hears),
            said: [[0; WIDE_SAMPLES]; LEGS_MAX],
        }
    }

    /// Takes a leg out; it says nothing any more.
    pub(super) fn leave(&mut self, leg: u64) {
        for (place, said) in self.legs.iter_mut().zip(&mut self.said) {
            if *place == Some(leg) {
                *place = None;
                *said = [0; WIDE_SAMPLES];
            }
        }
    }
}
