//! Frames of 20 ms and clips made of them, ready for the wire in both laws.

use std::fmt;
use std::time::Duration;

use opus_rs::{Application, OpusEncoder};

use super::codec::{Codec, ENCODED_BYTES_MAX, Encoder};
use super::g711::Law;
use super::rate::WIDE_SAMPLES;

/// Sample rate of the telephone network.
pub const SAMPLE_RATE_HZ: u32 = 8000;
/// Samples, and G.711 bytes, in one frame.
pub const FRAME_SAMPLES: usize = 160;
/// Length of a frame in milliseconds (RFC 3551 §4.2).
pub const FRAME_MS: u32 = 20;

/// One 20 ms frame of G.711.
pub type Frame = [u8; FRAME_SAMPLES];

/// Frames of silence before a clip of G.722 or Opus, cut off again: a splice with what
/// another encoder made then happens in silence.
const LEAD: usize = 2;
/// Rate of Opus clips, bits a second, and the effort: they are encoded once.
const OPUS_BITS_PER_SECOND: i32 = 24_000;
const OPUS_COMPLEXITY: i32 = 9;
/// Opus clips hold what telephones call wideband; their RTP clock is 48 kHz all the same.
const OPUS_HZ: i32 = 16_000;

/// Recorded sound, encoded ahead of time so that playing it copies 160 bytes a frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Clip {
    mu: Box<[Frame]>,
    a: Box<[Frame]>,
    g722: Option<Box<[Frame]>>,
    opus: Option<Packets>,
}

/// Packets of different lengths, one behind the other.
#[derive(Clone, PartialEq, Eq)]
struct Packets {
    bytes: Box<[u8]>,
    /// Where each ends.
    ends: Box<[usize]>,
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
            g722: None,
            opus: None,
        }
    }

    /// Adds the frames of a codec, made from the same sound at 16 kHz: as many as there are
    /// of G.711. G.711 is there already. Opus takes 0.3 ms a frame.
    #[must_use]
    pub fn with(mut self, codec: Codec, wide: &[i16]) -> Clip {
        match codec {
            Codec::Pcmu | Codec::Pcma => {}
            Codec::G722 => self.g722 = Some(g722(wide, self.frames())),
            Codec::Opus => self.opus = opus(wide, self.frames()),
        }
        self
    }

    /// What goes into the packet of frame `index` in a codec; `None` past the end, or if the
    /// clip was not made for it ([`Clip::with`]).
    #[must_use]
    pub fn payload(&self, codec: Codec, index: usize) -> Option<&[u8]> {
        match codec {
            Codec::Pcmu => self.mu.get(index).map(|frame| &frame[..]),
            Codec::Pcma => self.a.get(index).map(|frame| &frame[..]),
            Codec::G722 => self.g722.as_ref()?.get(index).map(|frame| &frame[..]),
            Codec::Opus => self.opus.as_ref()?.get(index),
        }
    }

    /// Bytes held, in all codecs.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let frames = self.mu.len() + self.a.len() + self.g722.as_ref().map_or(0, |f| f.len());
        let opus = self.opus.as_ref();
        frames * FRAME_SAMPLES + opus.map_or(0, |opus| opus.bytes.len() + size_of_val(&*opus.ends))
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

impl Packets {
    fn get(&self, index: usize) -> Option<&[u8]> {
        let before = index.checked_sub(1).and_then(|last| self.ends.get(last));
        self.bytes
            .get(before.copied().unwrap_or(0)..*self.ends.get(index)?)
    }
}

/// `frames` frames of 20 ms behind the lead, the last filled up with silence.
fn chunks(wide: &[i16], frames: usize) -> impl Iterator<Item = [i16; WIDE_SAMPLES]> + '_ {
    (0..LEAD + frames).map(move |at| {
        let mut chunk = [0; WIDE_SAMPLES];
        let from = at.checked_sub(LEAD).map(|frame| frame * WIDE_SAMPLES);
        let sound = from.and_then(|from| wide.get(from..)).unwrap_or_default();
        for (to, from) in chunk.iter_mut().zip(sound) {
            *to = *from;
        }
        chunk
    })
}

fn g722(wide: &[i16], frames: usize) -> Box<[Frame]> {
    let mut encoder = Encoder::new(Codec::G722);
    chunks(wide, frames)
        .map(|chunk| {
            let mut frame = [0; FRAME_SAMPLES];
            encoder.encode(&chunk, &mut frame);
            frame
        })
        .skip(LEAD)
        .collect()
}

/// `None` only if the codec refuses, which it has no reason to.
fn opus(wide: &[i16], frames: usize) -> Option<Packets> {
    let mut encoder = OpusEncoder::new(OPUS_HZ, 1, Application::Voip).ok()?;
    encoder.bitrate_bps = OPUS_BITS_PER_SECOND;
    encoder.complexity = OPUS_COMPLEXITY;
    encoder.use_cbr = false;
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (at, chunk) in chunks(wide, frames).enumerate() {
        let mut packet = [0; ENCODED_BYTES_MAX];
        let length = encoder.encode_i16(&chunk, chunk.len(), &mut packet).ok()?;
        if at >= LEAD {
            bytes.extend_from_slice(packet.get(..length)?);
            ends.push(bytes.len());
        }
    }
    Some(Packets {
        bytes: bytes.into(),
        ends: ends.into(),
    })
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

    #[test]
    fn frames_of_every_codec_hold_the_same_sound() {
        let tone = |rate_hz: f64, n: usize| {
            let turn = std::f64::consts::TAU * 700.0 * n as f64 / rate_hz;
            (8000.0 * turn.sin()) as i16
        };
        // Half a frame is filled up.
        let narrow: Vec<i16> = (0..8080).map(|n| tone(8000.0, n)).collect();
        let wide: Vec<i16> = (0..16_160).map(|n| tone(16_000.0, n)).collect();
        let clip = Clip::from_pcm(&narrow);
        assert_eq!(clip.payload(Codec::G722, 0), None);
        assert_eq!(clip.payload(Codec::Opus, 0), None);
        let clip = clip.with(Codec::G722, &wide).with(Codec::Opus, &wide);
        assert_eq!(clip.frames(), 51);
        for codec in Codec::ALL {
            let mut decoder = super::super::codec::Decoder::new(codec);
            let mut sound = Vec::new();
            for index in 0..clip.frames() {
                let mut out = [0; 960];
                let payload = clip.payload(codec, index).unwrap();
                assert!(payload.len() <= FRAME_SAMPLES);
                let count = decoder.decode(payload, &mut out);
                assert_eq!(count, codec.rate().frame_samples(), "{codec:?}");
                sound.extend_from_slice(&out[..count]);
            }
            assert_eq!(clip.payload(codec, 51), None);
            let middle = &sound[sound.len() / 4..sound.len() / 4 * 3];
            let power: f64 = middle.iter().map(|s| f64::from(*s).powi(2)).sum();
            let level_db = 10.0 * (power / middle.len() as f64 / 32e6).log10();
            assert!(level_db.abs() < 1.0, "{codec:?}: {level_db:.2} dB");
            // 700 crossings of zero a second, each way.
            let ups = middle.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
            assert!(ups.abs_diff(357) <= 2, "{codec:?}: {ups}");
        }
    }
}
