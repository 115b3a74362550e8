//! Prompts: files become clips ready for the wire, once, at load. Decode, one channel,
//! 8 kHz, one loudness, clean ends, both G.711 laws; in a call nothing is computed.

mod decode;
mod shape;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use helpline_core::audio::{Clip, SAMPLE_RATE_HZ};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

/// Threads that load; the rest of the machine may be carrying calls.
const THREADS: usize = 2;
/// Samples the resampler takes at once.
const CHUNK: usize = 4096;

/// A prompt file as found.
#[derive(Clone, Debug)]
pub struct PromptSource {
    /// Id under which flows play it: `en-US/hello.0`.
    pub id: String,
    /// File shown in errors; its ending hints at the format.
    pub name: String,
    /// Contents.
    pub bytes: Cow<'static, [u8]>,
}

/// A prompt file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct PromptFault {
    /// The file.
    pub name: String,
    /// What is wrong with it and what would be right.
    pub why: String,
}

/// All prompts, by id. A clip in use outlives the table it came from.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    clips: HashMap<String, Arc<Clip>>,
}

impl Prompts {
    /// Loads all files on two threads. Takes CPU: call it where blocking is allowed.
    ///
    /// # Errors
    /// Every file that cannot be used, with its reason, in the order given.
    pub fn load(sources: Vec<PromptSource>) -> Result<Prompts, Vec<PromptFault>> {
        let waiting = Mutex::new(sources.into_iter().enumerate());
        let next = || {
            waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next()
        };
        let work = || {
            let mut loader = Loader::default();
            std::iter::from_fn(next)
                .map(|(at, source)| loader.load(at, source))
                .collect::<Vec<_>>()
        };
        let mut loaded = std::thread::scope(|scope| {
            let others: Vec<_> = (1..THREADS).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            // A loader catches what a decoder may do: a thread has nothing to fail on.
            all.extend(others.into_iter().filter_map(|t| t.join().ok()).flatten());
            all
        });
        loaded.sort_by_key(|one| one.at);
        let mut clips = HashMap::new();
        let mut faults = Vec::new();
        for Loaded { id, name, clip, .. } in loaded {
            match clip {
                Ok(_) if clips.contains_key(&id) => faults.push(PromptFault {
                    name,
                    why: format!("another file is already the prompt {id:?}; remove one"),
                }),
                Ok(clip) => drop(clips.insert(id, Arc::new(clip))),
                Err(why) => faults.push(PromptFault { name, why }),
            }
        }
        if faults.is_empty() {
            Ok(Prompts { clips })
        } else {
            Err(faults)
        }
    }

    /// The clip of an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Clip>> {
        self.clips.get(id).map(Arc::clone)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clips.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clips.is_empty()
    }

    /// Bytes held by all clips, both laws, for `/metrics`.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        let frames: usize = self.clips.values().map(|clip| clip.frames()).sum();
        frames * helpline_core::audio::FRAME_SAMPLES * 2
    }
}

struct Loaded {
    at: usize,
    id: String,
    name: String,
    clip: Result<Clip, String>,
}

/// One thread's loader.
#[derive(Default)]
struct Loader {
    /// Prompts of one voice have one rate: its filter is made once.
    resamplers: HashMap<u32, Fft<f32>>,
}

impl Loader {
    fn load(&mut self, at: usize, source: PromptSource) -> Loaded {
        let PromptSource { id, name, bytes } = source;
        // A file is input: a decoder that fails on it must not take the daemon along.
        let clip = catch_unwind(AssertUnwindSafe(|| self.clip(&name, bytes)))
            .unwrap_or_else(|_| Err("the decoder failed on this file; encode it anew".into()));
        Loaded { at, id, name, clip }
    }

    fn clip(&mut self, name: &str, bytes: Cow<'static, [u8]>) -> Result<Clip, String> {
        let sound = decode::mono(name, bytes)?;
        let samples = self.resample(sound.samples, sound.rate_hz)?;
        let samples = shape::shape(samples)?;
        Ok(Clip::from_pcm(&samples))
    }

    /// Without delay, everything above 4 kHz filtered out.
    fn resample(&mut self, samples: Vec<f32>, rate_hz: u32) -> Result<Vec<f32>, String> {
        if rate_hz == SAMPLE_RATE_HZ {
            return Ok(samples);
        }
        let resampler = match self.resamplers.entry(rate_hz) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(free) => free.insert(resampler(rate_hz)?),
        };
        let frames = samples.len();
        let input = InterleavedSlice::new(&samples, 1, frames).map_err(not_resampled)?;
        // Begins from its initial state with each clip.
        let output = resampler
            .process_all(&input, frames, None)
            .map_err(not_resampled)?;
        Ok(output.take_data())
    }
}

fn resampler(rate_hz: u32) -> Result<Fft<f32>, String> {
    Fft::new_custom(
        usize::try_from(rate_hz).map_err(not_resampled)?,
        usize::try_from(SAMPLE_RATE_HZ).map_err(not_resampled)?,
        CHUNK,
        1,
        1,
        WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    )
    .map_err(not_resampled)
}

fn not_resampled(error: impl std::fmt::Display) -> String {
    format!("cannot be resampled to 8 kHz: {error}")
}

#[cfg(test)]
mod tests;
