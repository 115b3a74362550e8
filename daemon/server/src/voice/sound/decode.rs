//! A sound file is read packet by packet, within limits; its channels become one.

use std::ops::RangeInclusive;

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

/// Most packets without sound in a row: a file that lies about its length must not be
/// read for ever.
const EMPTY_MAX: usize = 100_000;

/// What is accepted.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Samples a second.
    pub(crate) rate_hz: RangeInclusive<u32>,
    /// Most channels.
    pub(crate) channels: usize,
}

/// Reads WAV, FLAC, Ogg Vorbis or MP3.
pub(crate) struct Reader {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    limits: Limits,
    rate_hz: Option<u32>,
    broken: usize,
    packet: Vec<f32>,
    mono: Vec<f32>,
}

impl Reader {
    /// Finds out what the file is; the ending of its name is a hint.
    ///
    /// # Errors
    /// Why it cannot be read, for a person.
    pub(crate) fn open(
        name: &str,
        source: Box<dyn MediaSource>,
        limits: Limits,
    ) -> Result<Reader, String> {
        let mut hint = Hint::new();
        if let Some((_, ending)) = name.rsplit_once('.') {
            hint.with_extension(ending);
        }
        let stream = MediaSourceStream::new(source, Default::default());
        let format = symphonia::default::get_probe()
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
        let codec = track.codec_params.as_ref().and_then(|c| c.audio());
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(
                codec.ok_or("its codec is not named")?,
                &AudioDecoderOptions::default(),
            )
            .map_err(|e| format!("its codec cannot be decoded ({e})"))?;
        Ok(Reader {
            track: track.id,
            format,
            decoder,
            limits,
            rate_hz: None,
            broken: 0,
            packet: Vec::new(),
            mono: Vec::new(),
        })
    }

    /// The next samples, -1.0 to 1.0, the mean of all channels; `None` at the end.
    ///
    /// # Errors
    /// What is wrong with the file. A single broken packet is a click, not a fault.
    pub(crate) fn next(&mut self) -> Result<Option<&[f32]>, String> {
        for _ in 0..EMPTY_MAX {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return self.end(),
                Err(e) => return Err(format!("cannot be read to its end ({e})")),
            };
            if packet.track_id != self.track {
                continue;
            }
            match self.decoder.decode(&packet) {
                Ok(sound) => {
                    let (rate, channels) = (sound.spec().rate(), sound.spec().channels().count());
                    sound.copy_to_vec_interleaved(&mut self.packet);
                    self.check(rate, channels)?;
                    self.down_mix(channels);
                    if !self.mono.is_empty() {
                        return Ok(Some(&self.mono));
                    }
                }
                Err(Error::DecodeError(_)) => self.broken += 1,
                Err(e) => return Err(format!("cannot be decoded ({e})")),
            }
        }
        Err(format!("{EMPTY_MAX} packets without sound"))
    }

    /// Samples a second, known from the first samples on.
    pub(crate) fn rate_hz(&self) -> Option<u32> {
        self.rate_hz
    }

    fn end(&self) -> Result<Option<&[f32]>, String> {
        if self.rate_hz.is_none() && self.broken > 0 {
            return Err("no sound could be decoded".into());
        }
        Ok(None)
    }

    fn check(&mut self, rate_hz: u32, channels: usize) -> Result<(), String> {
        let Limits { rate_hz: rates, .. } = &self.limits;
        if !rates.contains(&rate_hz) {
            return Err(format!(
                "its sample rate is {rate_hz} Hz; {} to {} Hz can be used",
                rates.start(),
                rates.end()
            ));
        }
        let most = self.limits.channels;
        if channels == 0 || channels > most {
            return Err(format!(
                "it has {channels} channels; 1 to {most} can be used"
            ));
        }
        if *self.rate_hz.get_or_insert(rate_hz) != rate_hz {
            return Err("its sample rate changes in the middle".into());
        }
        Ok(())
    }

    fn down_mix(&mut self, channels: usize) {
        self.mono.clear();
        if channels == 1 {
            self.mono.extend_from_slice(&self.packet);
        } else {
            let count = f32::from(u8::try_from(channels).unwrap_or(1));
            let mean = |frame: &[f32]| frame.iter().sum::<f32>() / count;
            self.mono
                .extend(self.packet.chunks_exact(channels).map(mean));
        }
    }
}
