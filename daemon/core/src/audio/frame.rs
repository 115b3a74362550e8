//! Frames of 20 ms and clips made of them, ready for the wire in both laws.

use std::fmt;
use std::time::Duration;

use super::g711::Law;

/// Sample rate of the telephone network.
pub const SAMPLE_RATE_HZ: u32 = 8000;
/// Samples, and G.711 bytes, in one frame.
pub const FRAME_SAMPLES: usize = 160;
/// Length of a frame in milliseconds (RFC 3551 §4.2).
pub const FRAME_MS: u32 = 20;

/// One 20 ms frame of G.711.
pub type Frame = [u8; FRAME_SAMPLES];

/// Recorded sound, encoded ahead of time so that playing it copies 160 bytes a frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Clip {
    mu: Box<[Frame]>,
    a: Box<[Frame]>,
}

impl Clip {
    /// Encodes linear samples at 8 kHz; the last frame is filled up with silence.
    #[must_use]
    pub fn from_pcm(samples: &[i16]) -> Clip {
        let encode = |law: Law| {
            samples
                .chunks(FRAME_SAMPLES)
                .map(|chunk| {
                    let mut frame = [law.silence(); FRAME_SAMPLES];
                    for (to, from) in frame.iter_mut().zip(chunk) {
                        *to = law.encode(*from);
                    }
                    frame
                })
                .collect()
        };
        Clip {
            mu: encode(Law::Mu),
            a: encode(Law::A),
        }
    }

    /// Number of 20 ms frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.mu.len()
    }

    /// Length; always a whole number of frames.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_millis(u64::from(FRAME_MS))
            .saturating_mul(u32::try_from(self.frames()).unwrap_or(u32::MAX))
    }

    /// Frame `index`, counted from 0; `None` past the end.
    #[must_use]
    pub fn frame(&self, law: Law, index: usize) -> Option<&Frame> {
        match law {
            Law::Mu => self.mu.get(index),
            Law::A => self.a.get(index),
        }
    }

    /// The sound as mu-law decodes it, for meters and tests.
    #[must_use]
    pub fn pcm(&self) -> Vec<i16> {
        self.mu
            .iter()
            .flatten()
            .map(|code| Law::Mu.decode(*code))
            .collect()
    }
}

impl fmt::Debug for Clip {
    /// Only the length: the bytes say nothing to a reader.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clip({:?})", self.duration())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_frame_is_filled_with_silence() {
        let clip = Clip::from_pcm(&[1000; 161]);
        assert_eq!(clip.frames(), 2);
        assert_eq!(clip.duration(), Duration::from_millis(40));
        for law in [Law::Mu, Law::A] {
            let last = clip.frame(law, 1).unwrap();
            assert_eq!(last[0], law.encode(1000));
            assert!(last[1..].iter().all(|c| *c == law.silence()));
            assert!(clip.frame(law, 2).is_none());
        }
    }

    #[test]
    fn clip_of_nothing_has_no_frame() {
        assert_eq!(Clip::from_pcm(&[]).frames(), 0);
    }
}
