//! The in-band detector of one channel, and the batch that runs eight side by side.

use std::time::Duration;

use super::Digit;
use super::front::Front;
use super::judge::Judge;

/// What the detector heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySound {
    /// A key's pair began, 31-38 ms ago.
    Begin(Digit),
    /// It ended, some 40 ms ago.
    End(Digit),
}

/// A key sound and when its tone began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What.
    pub sound: KeySound,
    /// When, from the first sample on and within a few milliseconds; lost sound counts.
    pub at: Duration,
}

/// Channels in a [`Batch`].
pub const BATCH: usize = 8;

/// 60 ms: ends a digit and fills the last hop.
const TAIL: [i16; 480] = [0; 480];

/// The detector of one channel, 8 kHz.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    front: Front<1>,
    judge: Judge,
}

impl Detector {
    /// Takes sound of any length; drain [`Detector::poll`] afterwards.
    pub fn handle(&mut self, sound: &[i16]) {
        if !sound.is_empty() {
            self.judge.thaw();
        }
        let mut from = 0;
        while from < sound.len() {
            let (taken, complete) = self.front.fill([sound], from);
            from += taken;
            if complete {
                self.judge.hop(&self.front, 0);
            }
        }
    }

    /// So many milliseconds of sound were lost: what was heard before and after does not
    /// fit together, and a digit in progress may go on behind the gap.
    pub fn freeze(&mut self, millis: u32) {
        self.judge.freeze(millis);
    }

    /// The sound is over: a digit in progress ends.
    pub fn finish(&mut self) {
        self.handle(&TAIL);
    }

    /// Starts anew; a digit in progress ends.
    pub fn reset(&mut self) {
        self.judge.reset();
        self.front = Front::default();
    }

    /// The next sound of a key.
    pub fn poll(&mut self) -> Option<KeySound> {
        self.poll_heard().map(|heard| heard.sound)
    }

    /// The next sound of a key, with its time.
    pub fn poll_heard(&mut self) -> Option<Heard> {
        self.judge.poll()
    }
}

/// Eight channels at 8 kHz side by side: what eight [`Detector`]s hear, at the same
/// samples, for a fraction of their time.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    front: Front<BATCH>,
    judges: [Judge; BATCH],
}

impl Batch {
    /// Takes sound of all channels, equally much of each; what one has more than the
    /// shortest is left. Drain [`Batch::poll`] of each afterwards.
    pub fn handle(&mut self, sound: [&[i16]; BATCH]) {
        let count = sound.iter().map(|s| s.len()).min().unwrap_or(0);
        if count > 0 {
            self.judges.iter_mut().for_each(Judge::thaw);
        }
        let sound = sound.map(|s| s.get(..count).unwrap_or_default());
        let mut from = 0;
        while from < count {
            let (taken, complete) = self.front.fill(sound, from);
            from += taken;
            if complete {
                for (channel, judge) in self.judges.iter_mut().enumerate() {
                    judge.hop(&self.front, channel);
                }
            }
        }
    }

    /// The next sound of a key in channel 0-7, with its time.
    pub fn poll(&mut self, channel: usize) -> Option<Heard> {
        self.judges.get_mut(channel).and_then(Judge::poll)
    }
}

#[cfg(test)]
mod tests;
