//! From one sample rate to another, without delay, everything above half the lower rate
//! filtered out.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

/// Samples the resampler takes at once, about.
const CHUNK: usize = 4096;

/// Resamples whole pieces of sound, each from its beginning.
///
/// # Errors
/// Why these rates do not go together.
pub(crate) fn whole(from_hz: u32, to_hz: u32) -> Result<Fft<f32>, String> {
    let size = |hz: u32| usize::try_from(hz).map_err(failed);
    let window = WindowFunction::BlackmanHarris2;
    Fft::new_custom(
        size(from_hz)?,
        size(to_hz)?,
        CHUNK,
        1,
        1,
        window,
        FixedSync::Both,
    )
    .map_err(failed)
}

/// Resamples a stream piece by piece, in bounded memory.
pub(crate) struct Stretch {
    /// None where nothing is to be done.
    resampler: Option<Fft<f32>>,
    ratio: (u64, u64),
    waiting: Vec<f32>,
    output: Vec<f32>,
    /// What the filter delays, not yet dropped.
    delay: usize,
    taken: u64,
    given: u64,
}

impl Stretch {
    /// From one rate to another.
    ///
    /// # Errors
    /// Why these rates do not go together.
    pub(crate) fn new(from_hz: u32, to_hz: u32) -> Result<Stretch, String> {
        let resampler = (from_hz != to_hz)
            .then(|| whole(from_hz, to_hz))
            .transpose()?;
        Ok(Stretch {
            delay: resampler.as_ref().map_or(0, Resampler::output_delay),
            output: vec![0.0; resampler.as_ref().map_or(0, Resampler::output_frames_max)],
            resampler,
            ratio: (u64::from(from_hz), u64::from(to_hz)),
            waiting: Vec::new(),
            taken: 0,
            given: 0,
        })
    }

    /// Takes samples and gives what is ready.
    ///
    /// # Errors
    /// A fault of the resampler.
    pub(crate) fn pass(
        &mut self,
        samples: &[f32],
        mut give: impl FnMut(&[f32]),
    ) -> Result<(), String> {
        self.taken += samples.len() as u64;
        if self.resampler.is_none() {
            self.given += samples.len() as u64;
            give(samples);
            return Ok(());
        }
        // A sample that is no number would spoil all around it.
        let number = |s: &f32| if s.is_finite() { *s } else { 0.0 };
        self.waiting.extend(samples.iter().map(number));
        self.work(u64::MAX, &mut give)
    }

    /// The sound is over: gives the rest.
    ///
    /// # Errors
    /// A fault of the resampler.
    pub(crate) fn finish(&mut self, mut give: impl FnMut(&[f32])) -> Result<(), String> {
        let end = (self.taken * self.ratio.1).div_ceil(self.ratio.0);
        while self.given < end {
            let Some(resampler) = &self.resampler else {
                break;
            };
            let more = self.waiting.len() + resampler.input_frames_next();
            self.waiting.resize(more, 0.0);
            self.work(end, &mut give)?;
        }
        Ok(())
    }

    /// Resamples whole chunks; nothing beyond sample `end` is given.
    fn work(&mut self, end: u64, give: &mut impl FnMut(&[f32])) -> Result<(), String> {
        let Some(resampler) = &mut self.resampler else {
            return Ok(());
        };
        let mut from = 0;
        while let Some(chunk) = self.waiting.get(from..from + resampler.input_frames_next()) {
            let frames = self.output.len();
            let input = InterleavedSlice::new(chunk, 1, chunk.len()).map_err(failed)?;
            let mut output =
                InterleavedSlice::new_mut(&mut self.output, 1, frames).map_err(failed)?;
            let (read, made) = resampler
                .process_into_buffer(&input, &mut output, None)
                .map_err(failed)?;
            from += read;
            let drop = self.delay.min(made);
            self.delay -= drop;
            let left = usize::try_from(end - self.given).unwrap_or(usize::MAX);
            let sound = self.output.get(drop..made.min(drop.saturating_add(left)));
            let sound = sound.unwrap_or_default();
            self.given += sound.len() as u64;
            give(sound);
        }
        self.waiting.drain(..from);
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> String {
    format!("cannot be resampled: {error}")
}
