//! What a leg hears from us: a list of items becomes exactly one frame per call, for
//! ever. Item borders do not exist on the wire, and a cut is faded, so nothing clicks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::codec::Codec;
use super::frame::{Clip, FRAME_MS, FRAME_SAMPLES, Frame};
use super::g711::Law;

/// Longest list taken; the rest is left off.
pub const ITEMS_MAX: usize = 256;

/// One thing to play.
#[derive(Clone, Debug)]
pub enum Item {
    /// Recorded or made sound.
    Clip(Arc<Clip>),
    /// Silence, rounded to the nearest frame.
    Pause(Duration),
}

/// Why a list ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayEnd {
    /// Its last frame was given out.
    Done,
    /// A key stopped it.
    Digit,
    /// Another list took its place.
    Replaced,
    /// It was told to stop.
    Stopped,
}

/// The end of a list, once a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The number given to [`Player::play`].
    pub op: u32,
    /// Why.
    pub why: PlayEnd,
}

/// A list that is playing.
#[derive(Debug)]
struct List {
    op: u32,
    items: VecDeque<Item>,
    /// Next frame of the first item.
    at: usize,
    any_key_stops: bool,
    /// Set when the next frame is the last one, faded out.
    cut: Option<PlayEnd>,
}

/// The player of one leg. Plays one list; a new one takes over at the next frame.
#[derive(Debug, Default)]
pub struct Player {
    now: Option<List>,
    next: Option<List>,
    ended: VecDeque<Ended>,
}

impl Player {
    /// Plays `items` from the next frame on. What plays already fades out first within
    /// that frame. With `any_key_stops`, [`Player::key`] ends it.
    pub fn play(&mut self, op: u32, mut items: Vec<Item>, any_key_stops: bool) {
        items.truncate(ITEMS_MAX);
        let list = List {
            op,
            items: items.into(),
            at: 0,
            any_key_stops,
            cut: None,
        };
        if let Some(waiting) = self.next.take() {
            self.end(waiting.op, PlayEnd::Replaced);
        }
        match &mut self.now {
            Some(playing) => {
                playing.cut.get_or_insert(PlayEnd::Replaced);
                self.next = Some(list);
            }
            None => self.now = Some(list),
        }
    }

    /// Stops `op`, if it plays, within one frame.
    pub fn stop(&mut self, op: u32) {
        if self.next.as_ref().is_some_and(|l| l.op == op) {
            self.next = None;
            self.end(op, PlayEnd::Stopped);
        }
        if let Some(playing) = self.now.as_mut().filter(|l| l.op == op) {
            playing.cut.get_or_insert(PlayEnd::Stopped);
        }
    }

    /// A key went down: stops what plays within one frame, if keys may stop it.
    pub fn key(&mut self) {
        if let Some(waiting) = self.next.take_if(|l| l.any_key_stops) {
            self.end(waiting.op, PlayEnd::Digit);
        }
        if let Some(playing) = self.now.as_mut().filter(|l| l.any_key_stops) {
            playing.cut.get_or_insert(PlayEnd::Digit);
        }
    }

    /// Whether anything plays or waits to play.
    #[must_use]
    #[inline]
    pub fn is_playing(&self) -> bool {
        self.now.is_some() || self.next.is_some()
    }

    /// The next frame as it goes into a packet, if a clip plays on and was made for the
    /// codec. [`Player::frame`] goes past it.
    #[must_use]
    pub fn ready(&self, codec: Codec) -> Option<&[u8]> {
        let list = self.now.as_ref().filter(|list| list.cut.is_none())?;
        match list.items.front()? {
            Item::Clip(clip) => clip.payload(codec, list.at),
            Item::Pause(_) => None,
        }
    }

    /// Writes the next 20 ms: the list, or silence.
    pub fn frame(&mut self, law: Law, out: &mut Frame) {
        out.fill(law.silence());
        let Some(list) = &mut self.now else {
            return;
        };
        list.skip_empty();
        match list.items.front() {
            Some(Item::Clip(clip)) => {
                if let Some(frame) = clip.frame(law, list.at) {
                    *out = *frame;
                }
                list.at += 1;
            }
            Some(Item::Pause(_)) => list.at += 1,
            None => {}
        }
        list.skip_empty();
        let why = match list.cut {
            Some(why) => {
                fade_out(law, out);
                why
            }
            None if list.items.is_empty() => PlayEnd::Done,
            None => return,
        };
        let op = list.op;
        self.now = self.next.take();
        self.end(op, why);
    }

    /// Lists that ended since the last call, oldest first.
    pub fn poll(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    fn end(&mut self, op: u32, why: PlayEnd) {
        self.ended.push_back(Ended { op, why });
    }
}

impl List {
    /// Drops items that have no frame left.
    fn skip_empty(&mut self) {
        while let Some(item) = self.items.front() {
            if self.at < item.frames() {
                return;
            }
            self.items.pop_front();
            self.at = 0;
        }
    }
}

impl Item {
    fn frames(&self) -> usize {
        match self {
            Item::Clip(clip) => clip.frames(),
            Item::Pause(length) => {
                let frame = u128::from(FRAME_MS);
                usize::try_from((length.as_millis() + frame / 2) / frame).unwrap_or(usize::MAX)
            }
        }
    }
}

/// Ramps a frame down to silence over its 20 ms.
fn fade_out(law: Law, frame: &mut Frame) {
    let mut left = i32::try_from(FRAME_SAMPLES).unwrap_or(0);
    let all = left;
    for code in frame.iter_mut() {
        let sample = i32::from(law.decode(*code)) * left / all;
        *code = law.encode(i16::try_from(sample).unwrap_or(0));
        left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tone;

    fn clip(frames: usize, sample: i16) -> Item {
        Item::Clip(Arc::new(Clip::from_pcm(&vec![
            sample;
            frames * FRAME_SAMPLES
        ])))
    }

    fn next(player: &mut Player) -> Vec<i16> {
        let mut frame = [0; FRAME_SAMPLES];
        player.frame(Law::Mu, &mut frame);
        frame.iter().map(|c| Law::Mu.decode(*c)).collect()
    }

    fn is_silent(frame: &[i16]) -> bool {
        frame.iter().all(|s| *s == 0)
    }

    #[test]
    fn ten_items_follow_each_other_without_a_gap() {
        let mut player = Player::default();
        player.play(1, (1..=10).map(|n| clip(2, n * 1000)).collect(), false);
        for n in 1..=10i16 {
            for _ in 0..2 {
                let frame = next(&mut player);
                let expected = Law::Mu.decode(Law::Mu.encode(n * 1000));
                assert!(frame.iter().all(|s| *s == expected), "item {n}");
            }
        }
        assert_eq!(
            player.poll(),
            Some(Ended {
                op: 1,
                why: PlayEnd::Done
            })
        );
        assert!(is_silent(&next(&mut player)));
        assert_eq!(player.poll(), None);
    }

    #[test]
    fn list_is_done_with_its_last_frame_not_one_later() {
        let mut player = Player::default();
        player.play(
            1,
            vec![clip(1, 500), Item::Pause(Duration::from_millis(20))],
            false,
        );
        next(&mut player);
        assert_eq!(player.poll(), None);
        next(&mut player);
        assert_eq!(player.poll().map(|e| e.why), Some(PlayEnd::Done));
    }

    #[test]
    fn empty_list_is_done_at_once() {
        let mut player = Player::default();
        player.play(9, vec![Item::Pause(Duration::ZERO), clip(0, 0)], true);
        assert!(is_silent(&next(&mut player)));
        assert_eq!(
            player.poll(),
            Some(Ended {
                op: 9,
                why: PlayEnd::Done
            })
        );
    }

    #[test]
    fn key_fades_the_frame_and_then_there_is_silence() {
        let mut player = Player::default();
        player.play(1, vec![clip(50, 8000)], true);
        next(&mut player);
        player.key();
        let faded = next(&mut player);
        assert!(
            faded[0] > 7000 && faded[159] < 100,
            "{} {}",
            faded[0],
            faded[159]
        );
        let largest_step = faded.windows(2).map(|w| (w[0] - w[1]).abs()).max().unwrap();
        assert!(largest_step < 600, "{largest_step}");
        assert_eq!(
            player.poll(),
            Some(Ended {
                op: 1,
                why: PlayEnd::Digit
            })
        );
        assert!(is_silent(&next(&mut player)));
    }

    #[test]
    fn key_does_not_stop_what_may_not_be_stopped() {
        let mut player = Player::default();
        player.play(1, vec![clip(3, 8000)], false);
        player.key();
        assert!(!is_silent(&next(&mut player)));
        assert!(!is_silent(&next(&mut player)));
        assert_eq!(player.poll(), None);
    }

    #[test]
    fn new_list_replaces_the_old_within_one_frame() {
        let mut player = Player::default();
        player.play(1, vec![clip(50, 8000)], false);
        next(&mut player);
        player.play(2, vec![clip(1, 2000)], false);
        assert!(next(&mut player)[0] > 7000);
        assert_eq!(
            player.poll(),
            Some(Ended {
                op: 1,
                why: PlayEnd::Replaced
            })
        );
        let new = next(&mut player);
        assert!((new[0] - 2000).abs() < 70);
        assert_eq!(
            player.poll(),
            Some(Ended {
                op: 2,
                why: PlayEnd::Done
            })
        );
    }

    #[test]
    fn each_list_ends_exactly_once_however_often_it_is_stopped() {
        let mut player = Player::default();
        player.play(1, vec![clip(5, 100)], true);
        next(&mut player);
        player.play(2, vec![clip(5, 100)], true);
        player.play(3, vec![clip(5, 100)], true);
        player.stop(3);
        player.stop(1);
        player.key();
        for _ in 0..10 {
            next(&mut player);
        }
        let mut ended: Vec<_> = std::iter::from_fn(|| player.poll()).collect();
        ended.sort_by_key(|e| e.op);
        assert_eq!(
            ended,
            [
                Ended {
                    op: 1,
                    why: PlayEnd::Replaced
                },
                Ended {
                    op: 2,
                    why: PlayEnd::Replaced
                },
                Ended {
                    op: 3,
                    why: PlayEnd::Stopped
                },
            ]
        );
        assert!(!player.is_playing());
    }

    #[test]
    fn what_is_ready_is_the_next_frame_until_the_list_is_cut() {
        let sound = vec![3000; 4 * FRAME_SAMPLES];
        let wide = vec![3000; 8 * FRAME_SAMPLES];
        let clip = Arc::new(Clip::from_pcm(&sound).with(Codec::G722, &wide));
        let pause = Item::Pause(Duration::from_millis(20));
        let mut player = Player::default();
        assert_eq!(player.ready(Codec::Pcmu), None);
        player.play(1, vec![pause, Item::Clip(Arc::clone(&clip))], false);
        assert_eq!(player.ready(Codec::G722), None);
        next(&mut player);
        for index in 0..2 {
            for codec in [Codec::Pcmu, Codec::G722] {
                assert_eq!(player.ready(codec), clip.payload(codec, index));
            }
            assert_eq!(player.ready(Codec::Opus), None);
            next(&mut player);
        }
        player.stop(1);
        assert_eq!(player.ready(Codec::G722), None, "the last frame fades");
    }

    #[test]
    fn list_that_never_ends_is_shortened() {
        let mut player = Player::default();
        let one = Arc::new(tone::clip(tone::Tone::Beep));
        player.play(1, vec![Item::Clip(one); ITEMS_MAX + 50], false);
        let mut frames = 0;
        while player.is_playing() {
            next(&mut player);
            frames += 1;
        }
        assert_eq!(frames, ITEMS_MAX * 10);
    }
}
