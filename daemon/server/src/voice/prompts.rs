//! Prompts: files become clips ready for the wire, once, at load. Decode, one channel,
//! 8 kHz, one loudness, clean ends, both G.711 laws, and G.722 and Opus where a trunk
//! speaks them; in a call nothing is computed.

mod shape;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use helpline_core::audio::codec::Codec;
use helpline_core::audio::{Clip, SAMPLE_RATE_HZ};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, Resampler};
use sha2::{Digest as _, Sha256};

use shape::Shape;

use super::sound::{Limits, Reader, whole};

/// Threads that load; the rest of the machine may be carrying calls.
const THREADS: usize = 2;
/// Largest file.
const FILE_BYTES_MAX: usize = 50_000_000;
/// Longest prompt, seconds.
const SECONDS_MAX: usize = 600;
/// Sample rates and channels that make sense for speech.
const LIMITS: Limits = Limits {
    rate_hz: 8000..=192_000,
    channels: 8,
};

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

/// The prompts in use: a new call takes the table as it is then and keeps it.
pub type PromptTable = Arc<ArcSwap<Prompts>>;

/// All prompts, by id. A clip in use outlives the table it came from.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    clips: HashMap<String, Arc<Clip>>,
    /// SHA-256 of the files they were made from.
    made_from: [u8; 32],
}

impl Prompts {
    /// Loads all files on two threads, encoded in both G.711 laws and in `codecs`. Takes
    /// CPU: call it where blocking is allowed.
    ///
    /// # Errors
    /// Every file that cannot be used, with its reason, in the order given.
    pub fn load(sources: Vec<PromptSource>, codecs: &[Codec]) -> Result<Prompts, Vec<PromptFault>> {
        let made_from = fingerprint(&sources);
        let waiting = Mutex::new(sources.into_iter().enumerate());
        let next = || {
            waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next()
        };
        let work = || {
            let mut loader = Loader {
                codecs,
                resamplers: HashMap::new(),
            };
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
            Ok(Prompts { clips, made_from })
        } else {
            Err(faults)
        }
    }

    /// The clip of an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Clip>> {
        self.clips.get(id).map(Arc::clone)
    }

    /// Whether they were made from these very files: to decode them anew would change
    /// nothing.
    #[must_use]
    pub fn are_of(&self, sources: &[PromptSource]) -> bool {
        self.made_from == fingerprint(sources)
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

    /// Bytes held by all clips in all codecs, for the log.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.clips.values().map(|clip| clip.size_bytes()).sum()
    }
}

fn fingerprint(sources: &[PromptSource]) -> [u8; 32] {
    let mut sha = Sha256::new();
    for source in sources {
        for part in [source.id.as_bytes(), &source.bytes] {
            sha.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            sha.update(part);
        }
    }
    sha.finalize().into()
}

struct Loaded {
    at: usize,
    id: String,
    name: String,
    clip: Result<Clip, String>,
}

/// One thread's loader.
struct Loader<'a> {
    codecs: &'a [Codec],
    /// Prompts of one voice have one rate: its filters, from and to, are made once.
    resamplers: HashMap<(u32, u32), Fft<f32>>,
}

impl Loader<'_> {
    fn load(&mut self, at: usize, source: PromptSource) -> Loaded {
        let PromptSource { id, name, bytes } = source;
        // A file is input: a decoder that fails on it must not take the daemon along.
        let clip = catch_unwind(AssertUnwindSafe(|| self.clip(&name, bytes)))
            .unwrap_or_else(|_| Err("the decoder failed on this file; encode it anew".into()));
        Loaded { at, id, name, clip }
    }

    fn clip(&mut self, name: &str, bytes: Cow<'static, [u8]>) -> Result<Clip, String> {
        let (samples, rate_hz) = mono(name, bytes)?;
        let narrow = self.resample(samples.clone(), rate_hz, SAMPLE_RATE_HZ)?;
        let shape = Shape::of(&narrow)?;
        let mut clip = Clip::from_pcm(&shape.apply(narrow, 1));
        if !self.codecs.is_empty() {
            let wide = self.resample(samples, rate_hz, 2 * SAMPLE_RATE_HZ)?;
            let wide = shape.apply(wide, 2);
            for codec in self.codecs {
                clip = clip.with(*codec, &wide);
            }
        }
        Ok(clip)
    }

    /// Without delay, everything above half the new rate filtered out.
    fn resample(
        &mut self,
        samples: Vec<f32>,
        from_hz: u32,
        to_hz: u32,
    ) -> Result<Vec<f32>, String> {
        if from_hz == to_hz {
            return Ok(samples);
        }
        let resampler = match self.resamplers.entry((from_hz, to_hz)) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(free) => free.insert(whole(from_hz, to_hz)?),
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

/// All samples of a file in memory, one channel, and their rate.
fn mono(name: &str, bytes: Cow<'static, [u8]>) -> Result<(Vec<f32>, u32), String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("larger than {} MB", FILE_BYTES_MAX / 1_000_000));
    }
    let mut reader = Reader::open(name, Box::new(Cursor::new(bytes)), LIMITS)?;
    let mut samples = Vec::new();
    while let Some(more) = reader.next()? {
        samples.extend_from_slice(more);
        let rate = reader.rate_hz().and_then(|hz| usize::try_from(hz).ok());
        if samples.len() > rate.unwrap_or(0) * SECONDS_MAX {
            return Err(format!("longer than {} minutes", SECONDS_MAX / 60));
        }
    }
    match reader.rate_hz() {
        Some(rate_hz) if !samples.is_empty() => Ok((samples, rate_hz)),
        _ => Err("no sound could be decoded".into()),
    }
}

fn not_resampled(error: impl std::fmt::Display) -> String {
    format!("cannot be resampled: {error}")
}

#[cfg(test)]
mod tests;
