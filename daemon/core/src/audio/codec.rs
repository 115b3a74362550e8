//! The codecs of a live call: G.711 (own tables), G.722 and Opus. One frame of 20 ms in,
//! one payload out, and back; what is lost, Opus conceals by itself.

use std::fmt;

use audio_codec::g722::{G722Decoder, G722Encoder};
use audio_codec::{Decoder as _, Encoder as _};
use opus_rs::{Application, OpusDecoder, OpusEncoder};

use super::g711::Law;
use super::rate::{Rate, to_sample};

/// Audio codecs spoken on a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 mu-law, static payload type 0.
    Pcmu,
    /// G.711 A-law, static payload type 8.
    Pcma,
    /// G.722 at 64 kbit/s, static payload type 9.
    G722,
    /// Opus (RFC 6716), a dynamic payload type.
    Opus,
}

/// Room for one encoded frame of any codec, bytes.
pub const ENCODED_BYTES_MAX: usize = 400;
/// Samples that one packet may hold: 120 ms of Opus, 60 ms of G.711 or G.722.
pub const DECODED_SAMPLES_MAX: usize = 960;

/// What Opus may use, bits a second: past this 8 kHz sound gets no better.
const OPUS_BITS_PER_SECOND: i32 = 24_000;
/// Live Opus is coded at the least effort: 0.3 % of a core a leg, and at 8 kHz as good.
const OPUS_COMPLEXITY: i32 = 1;

impl Codec {
    /// All of them, in the order of payload types.
    pub const ALL: [Codec; 4] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];

    /// Payload type: static (RFC 3551 §6), or the one under which we offer it.
    #[must_use]
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::G722 => 9,
            Codec::Opus => 96,
        }
    }

    /// Whether the payload type stands for the codec without an `rtpmap`.
    #[must_use]
    pub const fn is_static(self) -> bool {
        !matches!(self, Codec::Opus)
    }

    /// Name in `rtpmap`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::G722 => "G722",
            Codec::Opus => "opus",
        }
    }

    /// Clock of its RTP timestamps, Hz. That of G.722 is 8000 although it samples at 16
    /// kHz (RFC 3551 §4.5.2), that of Opus 48000 whatever it samples at (RFC 7587 §4.1).
    #[must_use]
    pub const fn clock_hz(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => 8000,
            Codec::Opus => 48_000,
        }
    }

    /// Channels told in `rtpmap`; Opus always says two (RFC 7587 §7).
    #[must_use]
    pub const fn channels(self) -> u8 {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => 1,
            Codec::Opus => 2,
        }
    }

    /// Sample rate of what we encode and decode. Opus could do more; but what it is
    /// bridged to is nearly always a telephone, and this costs a third.
    #[must_use]
    pub const fn rate(self) -> Rate {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::Opus => Rate::Narrow,
            Codec::G722 => Rate::Wide,
        }
    }

    /// Units of its RTP clock in 20 ms.
    #[must_use]
    pub const fn frame_units(self) -> u32 {
        self.clock_hz() / 50
    }

    /// The companding law, for G.711.
    #[must_use]
    pub const fn law(self) -> Option<Law> {
        match self {
            Codec::Pcmu => Some(Law::Mu),
            Codec::Pcma => Some(Law::A),
            Codec::G722 | Codec::Opus => None,
        }
    }
}

/// The sending half of a codec. Making one may allocate; encoding does not.
pub struct Encoder(Encoding);

enum Encoding {
    G711(Law),
    G722(Box<G722Encoder>),
    Opus(Option<Box<OpusEncoder>>),
}

/// The receiving half of a codec. Making one may allocate; decoding does not.
pub struct Decoder(Decoding);

enum Decoding {
    G711(Law),
    G722(Box<G722Decoder>),
    Opus(Option<Box<OpusDecoder>>),
}

impl Encoder {
    /// An encoder at the start of its stream.
    #[must_use]
    pub fn new(codec: Codec) -> Encoder {
        Encoder(match codec {
            Codec::Pcmu => Encoding::G711(Law::Mu),
            Codec::Pcma => Encoding::G711(Law::A),
            Codec::G722 => Encoding::G722(Box::default()),
            Codec::Opus => {
                let hz = codec.rate().hz().cast_signed();
                // Refused are only rates that Opus does not have.
                let made = OpusEncoder::new(hz, 1, Application::Voip).ok();
                Encoding::Opus(made.map(|mut encoder| {
                    encoder.bitrate_bps = OPUS_BITS_PER_SECOND;
                    encoder.complexity = OPUS_COMPLEXITY;
                    encoder.use_cbr = false;
                    Box::new(encoder)
                }))
            }
        })
    }

    /// Encodes 20 ms at the codec's [`Codec::rate`] into `out` of
    /// [`ENCODED_BYTES_MAX`]; the number of bytes, 0 if it cannot.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        match &mut self.0 {
            Encoding::G711(law) => out
                .iter_mut()
                .zip(samples)
                .map(|(to, from)| *to = law.encode(*from))
                .count(),
            Encoding::G722(encoder) => encoder.encode_into(samples, out).unwrap_or(0),
            Encoding::Opus(encoder) => encoder.as_mut().map_or(0, |encoder| {
                encoder.encode_i16(samples, samples.len(), out).unwrap_or(0)
            }),
        }
    }
}

impl Decoder {
    /// A decoder at the start of its stream.
    #[must_use]
    pub fn new(codec: Codec) -> Decoder {
        Decoder(match codec {
            Codec::Pcmu => Decoding::G711(Law::Mu),
            Codec::Pcma => Decoding::G711(Law::A),
            Codec::G722 => Decoding::G722(Box::default()),
            Codec::Opus => {
                let made = OpusDecoder::new(codec.rate().hz().cast_signed(), 1);
                Decoding::Opus(made.ok().map(Box::new))
            }
        })
    }

    /// Decodes a payload into `out` of [`DECODED_SAMPLES_MAX`]; the number of samples, 0
    /// if it is none of this codec. What does not fit is left off.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        match &mut self.0 {
            Decoding::G711(law) => out
                .iter_mut()
                .zip(payload)
                .map(|(to, from)| *to = law.decode(*from))
                .count(),
            Decoding::G722(decoder) => {
                let room = payload.get(..out.len() / 2).unwrap_or(payload);
                decoder.decode_into(room, out).unwrap_or(0)
            }
            // One byte is a frame that the peer left out, not sound.
            Decoding::Opus(decoder) if payload.len() > 1 => {
                decode_opus(decoder, payload, DECODED_SAMPLES_MAX, out)
            }
            Decoding::Opus(_) => 0,
        }
    }

    /// Opus makes up 20 ms for a lost packet by itself; false for the other codecs.
    pub fn conceal(&mut self, out: &mut [i16]) -> bool {
        match &mut self.0 {
            Decoding::G711(_) | Decoding::G722(_) => false,
            Decoding::Opus(decoder) => {
                let count = Codec::Opus.rate().frame_samples();
                decode_opus(decoder, &[], count, out) == count
            }
        }
    }
}

fn decode_opus(
    decoder: &mut Option<Box<OpusDecoder>>,
    payload: &[u8],
    count_max: usize,
    out: &mut [i16],
) -> usize {
    let mut sound = [0.0f32; DECODED_SAMPLES_MAX];
    let Some(decoder) = decoder else {
        return 0;
    };
    let room = sound.get_mut(..count_max).unwrap_or_default();
    let Ok(count) = decoder.decode(payload, count_max, room) else {
        return 0;
    };
    out.iter_mut()
        .zip(sound.iter().take(count))
        .map(|(to, from)| *to = to_sample(from * 32_768.0))
        .count()
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Encoding::G711(Law::Mu) => "Encoder(PCMU)",
            Encoding::G711(Law::A) => "Encoder(PCMA)",
            Encoding::G722(_) => "Encoder(G722)",
            Encoding::Opus(_) => "Encoder(opus)",
        })
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Decoding::G711(Law::Mu) => "Decoder(PCMU)",
            Decoding::G711(Law::A) => "Decoder(PCMA)",
            Decoding::G722(_) => "Decoder(G722)",
            Decoding::Opus(_) => "Decoder(opus)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::meter::{level_dbm0, sine, snr_db, tone_dbm0};
    use crate::rng::Rng;

    fn there_and_back(codec: Codec, sound: &[i16]) -> Vec<i16> {
        let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
        let mut bytes = [0; ENCODED_BYTES_MAX];
        let mut out = [0; DECODED_SAMPLES_MAX];
        let mut heard = Vec::new();
        for frame in sound.chunks(codec.rate().frame_samples()) {
            let length = encoder.encode(frame, &mut bytes);
            assert!(length > 0);
            let count = decoder.decode(&bytes[..length], &mut out);
            heard.extend(&out[..count]);
        }
        heard
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        for codec in Codec::ALL {
            let rate = codec.rate();
            let sound = sine(1020.0, -10.0, rate, rate.frame_samples() * 100);
            let heard = there_and_back(codec, &sound);
            assert_eq!(heard.len(), sound.len(), "{codec:?}");
            let heard = &heard[rate.frame_samples() * 50..];
            let cycles = 1020.0 / f64::from(rate.hz());
            let tone = tone_dbm0(heard, cycles);
            assert!((tone + 10.0).abs() < 1.0, "{codec:?}: {tone} dBm0");
            let level = level_dbm0(heard);
            assert!((level - tone).abs() < 0.5, "{codec:?}: {level} dBm0");
        }
    }

    #[test]
    fn g722_keeps_what_the_telephone_band_cannot_hold() {
        let sound = sine(6000.0, -15.0, Rate::Wide, 16_000);
        let heard = there_and_back(Codec::G722, &sound);
        let tone = tone_dbm0(&heard[3200..], 6000.0 / 16_000.0);
        assert!((tone + 15.0).abs() < 1.5, "{tone} dBm0");
        // The standard's two filters delay by 22 samples.
        let low = sine(1020.0, -10.0, Rate::Wide, 16_000);
        let heard = there_and_back(Codec::G722, &low);
        let snr = snr_db(&low[3200..12_000], &heard[3222..]);
        assert!(snr > 35.0, "{snr} dB");
    }

    #[test]
    fn opus_conceals_and_the_others_leave_it_to_us() {
        for codec in Codec::ALL {
            let mut out = [0; DECODED_SAMPLES_MAX];
            let conceals = Decoder::new(codec).conceal(&mut out);
            assert_eq!(conceals, codec == Codec::Opus);
        }
    }

    #[test]
    fn any_bytes_decode_to_a_bounded_number_of_samples() {
        let mut rng = Rng::new(20_261_125);
        for codec in Codec::ALL {
            let mut decoder = Decoder::new(codec);
            for _ in 0..2000 {
                let length = usize::try_from(rng.below(500)).unwrap();
                let mut payload = vec![0; length];
                rng.fill(&mut payload);
                let mut out = [0; DECODED_SAMPLES_MAX];
                assert!(decoder.decode(&payload, &mut out) <= DECODED_SAMPLES_MAX);
            }
        }
    }
}
