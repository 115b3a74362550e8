//! A sound file in memory becomes one channel of samples, within limits.

use std::borrow::Cow;
use std::io::Cursor;

use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

/// Largest file.
const FILE_BYTES_MAX: usize = 50_000_000;
/// Longest prompt, seconds.
const SECONDS_MAX: usize = 600;
/// Most channels, and the range of sample rates, that make sense for speech.
const CHANNELS_MAX: usize = 8;
const RATE_HZ: std::ops::RangeInclusive<u32> = 8000..=192_000;
/// Most packets read: a file that lies about its length must not be read for ever.
const PACKETS_MAX: usize = 1_000_000;

/// Decoded sound.
pub(super) struct Mono {
    /// -1.0 to 1.0.
    pub(super) samples: Vec<f32>,
    pub(super) rate_hz: u32,
}

/// Decodes WAV, FLAC, Ogg Vorbis or MP3.
pub(super) fn mono(name: &str, bytes: Cow<'static, [u8]>) -> Result<Mono, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("larger than {} MB", FILE_BYTES_MAX / 1_000_000));
    }
    let mut hint = Hint::new();
    if let Some((_, ending)) = name.rsplit_once('.') {
        hint.with_extension(ending);
    }
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(
            &hint,
            stream,
            FormatOptions::default(),
            MetadataOptions::default(),
        )
        .map_err(|e| format!("no WAV, FLAC, Ogg Vorbis or MP3 file ({e})"))?;
    let track = format
        .default_track(TrackType::Audio)
        .ok_or("no sound in it")?;
    let id = track.id;
    let codec = track.codec_params.as_ref().and_then(|c| c.audio());
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(
            codec.ok_or("its codec is not named")?,
            &AudioDecoderOptions::default(),
        )
        .map_err(|e| format!("its codec cannot be decoded ({e})"))?;
    let mut collected = Collected::default();
    for _ in 0..PACKETS_MAX {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return collected.finish(),
            Err(e) => return Err(format!("cannot be read to its end ({e})")),
        };
        if packet.track_id != id {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(sound) => {
                let spec = sound.spec();
                let (rate, channels) = (spec.rate(), spec.channels().count());
                collected.check(rate, channels)?;
                sound.copy_to_vec_interleaved(&mut collected.packet);
                collected.down_mix(channels)?;
            }
            // One broken packet is a click, not a broken file.
            Err(Error::DecodeError(_)) => {}
            Err(e) => return Err(format!("cannot be decoded ({e})")),
        }
    }
    Err(format!("more than {PACKETS_MAX} packets"))
}

#[derive(Default)]
struct Collected {
    rate_hz: Option<u32>,
    packet: Vec<f32>,
    samples: Vec<f32>,
}

impl Collected {
    fn check(&mut self, rate_hz: u32, channels: usize) -> Result<(), String> {
        if !RATE_HZ.contains(&rate_hz) {
            return Err(format!(
                "its sample rate is {rate_hz} Hz; {} to {} Hz can be used",
                RATE_HZ.start(),
                RATE_HZ.end()
            ));
        }
        if channels == 0 || channels > CHANNELS_MAX {
            return Err(format!(
                "it has {channels} channels; 1 to {CHANNELS_MAX} can be used"
            ));
        }
        if *self.rate_hz.get_or_insert(rate_hz) != rate_hz {
            return Err("its sample rate changes in the middle".into());
        }
        Ok(())
    }

    /// Adds the packet, mean of its channels.
    fn down_mix(&mut self, channels: usize) -> Result<(), String> {
        if channels == 1 {
            self.samples.extend_from_slice(&self.packet);
        } else {
            let count = f32::from(u8::try_from(channels).unwrap_or(1));
            let mean = |frame: &[f32]| frame.iter().sum::<f32>() / count;
            self.samples
                .extend(self.packet.chunks_exact(channels).map(mean));
        }
        let rate = usize::try_from(self.rate_hz.unwrap_or(0)).unwrap_or(0);
        if self.samples.len() > rate * SECONDS_MAX {
            return Err(format!("longer than {} minutes", SECONDS_MAX / 60));
        }
        Ok(())
    }

    fn finish(self) -> Result<Mono, String> {
        let rate_hz = self.rate_hz.ok_or("no sound could be decoded")?;
        if self.samples.is_empty() {
            return Err("no sound could be decoded".into());
        }
        Ok(Mono {
            samples: self.samples,
            rate_hz,
        })
    }
}
