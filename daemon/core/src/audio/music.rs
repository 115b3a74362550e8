//! Music beneath the prompts: it goes round for ever, stands still while a prompt plays,
//! and goes on where it was. Fades, never cuts.

use std::sync::Arc;

use super::frame::{Clip, FRAME_SAMPLES};
use super::g711::Law;

/// The music of one leg.
#[derive(Debug, Default)]
pub struct Music {
    clip: Option<Arc<Clip>>,
    /// What comes after the present clip has faded: another, or none.
    next: Option<Option<Arc<Clip>>>,
    at: usize,
    is_heard: bool,
}

impl Music {
    /// Plays `clip` round and round from the next frame on; `None`: no more music.
    pub fn set(&mut self, clip: Option<Arc<Clip>>) {
        self.next = Some(clip.filter(|clip| clip.frames() > 0));
    }

    /// Whether there is any, now or from the next frame on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.clip.is_some() || self.next.as_ref().is_some_and(Option::is_some)
    }

    /// The next 20 ms, 8 kHz, if anything is to be heard of it. Not `wanted` it fades
    /// within this frame and stands still until it is.
    pub fn frame(&mut self, wanted: bool) -> Option<[i16; FRAME_SAMPLES]> {
        if !self.is_heard
            && let Some(next) = self.next.take()
        {
            self.clip = next;
            self.at = 0;
        }
        let clip = self.clip.as_ref()?;
        let before = self.is_heard;
        let after = wanted && self.next.is_none();
        self.is_heard = after;
        if !before && !after {
            return None;
        }
        let mut sound = [0; FRAME_SAMPLES];
        if let Some(frame) = clip.frame(Law::Mu, self.at) {
            for (to, code) in sound.iter_mut().zip(frame) {
                *to = Law::Mu.decode(*code);
            }
        }
        self.at = (self.at + 1) % clip.frames().max(1);
        match (before, after) {
            (false, _) => fade(sound.iter_mut()),
            (_, false) => fade(sound.iter_mut().rev()),
            (true, true) => {}
        }
        Some(sound)
    }
}

/// Ramps up from silence over the frame.
fn fade<'a>(samples: impl Iterator<Item = &'a mut i16>) {
    let all = i32::try_from(FRAME_SAMPLES).unwrap_or(1);
    for (part, sample) in (0..all).zip(samples) {
        *sample = i16::try_from(i32::from(*sample) * part / all).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(samples: &[i16]) -> Arc<Clip> {
        let pcm: Vec<i16> = samples.iter().flat_map(|s| [*s; FRAME_SAMPLES]).collect();
        Arc::new(Clip::from_pcm(&pcm))
    }

    fn loudness(music: &mut Music, wanted: bool) -> i16 {
        let sound = music.frame(wanted);
        sound.map_or(0, |sound| sound.iter().map(|s| s.abs()).max().unwrap())
    }

    #[test]
    fn music_goes_round_and_goes_on_where_it_was() {
        let mut music = Music::default();
        assert!(music.frame(true).is_none() && !music.is_on());
        music.set(Some(clip(&[1000, 2000, 4000])));
        let first = music.frame(true).unwrap();
        assert!(first[0] == 0 && first[159] > 900, "fades in");
        let heard: Vec<i16> = (0..4).map(|_| loudness(&mut music, true)).collect();
        assert_eq!(
            heard.iter().map(|s| (s + 100) / 1000).collect::<Vec<_>>(),
            [2, 4, 1, 2]
        );
        let last = music.frame(false).unwrap();
        assert!(last[0] > 3500 && last[159] < 60, "fades out");
        assert!(music.frame(false).is_none());
        assert!(loudness(&mut music, true) > 900, "goes on");
    }

    #[test]
    fn other_music_follows_when_the_first_has_faded() {
        let mut music = Music::default();
        music.set(Some(clip(&[1000])));
        music.frame(true);
        music.set(Some(clip(&[3000])));
        assert!(music.frame(true).unwrap()[159] < 20);
        music.frame(true);
        assert!(loudness(&mut music, true) > 2800);
        music.set(None);
        music.frame(true);
        assert!(music.frame(true).is_none() && !music.is_on());
    }
}
