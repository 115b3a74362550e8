//! What the caller of a simulation hears, as a WAV file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use helpline_core::audio::{Clip, SAMPLE_RATE_HZ};
use helpline_core::ivr::io::{OpId, Output, SayItem};
use helpline_core::ivr::sim::{Lengths, Sim};
use helpline_core::time::Time;

use crate::voice::flows::{Flows, Setting};
use crate::voice::media::tone_clip;
use crate::voice::prompts::Prompts;
use crate::voice::sound::wav::{Coding, header};

/// Music lies so far beneath words.
const BENEATH: i16 = 4;

/// The recordings of all flows.
pub(super) struct Sounds {
    prompts: Arc<Prompts>,
}

impl Sounds {
    pub(super) fn load(setting: &Setting) -> anyhow::Result<Sounds> {
        let flows = Flows::load(setting).map_err(|f| anyhow::anyhow!(f.join("\n")))?;
        let prompts = Prompts::load(flows.prompt_sources(), &[])
            .map_err(|faults| anyhow::anyhow!("{}", faults[0]))?;
        Ok(Sounds {
            prompts: Arc::new(prompts),
        })
    }

    /// How long things last, for a simulation that is to be heard.
    pub(super) fn lengths(&self) -> Lengths {
        let sounds = Sounds {
            prompts: Arc::clone(&self.prompts),
        };
        Lengths(Arc::new(move |item| match item {
            SayItem::Pause(length) => *length,
            other => sounds.clip(other).map_or(Duration::ZERO, |c| c.duration()),
        }))
    }

    fn clip(&self, item: &SayItem) -> Option<Arc<Clip>> {
        match item {
            SayItem::Clip(id) => self.prompts.get(id),
            SayItem::Tone(name) => Some(Arc::new(tone_clip(*name))),
            // Nobody spoke into a simulation.
            SayItem::Take(_) | SayItem::Speech { .. } | SayItem::Pause(_) => None,
        }
    }

    /// Writes what was heard up to now.
    pub(super) fn write(&self, sim: &Sim, path: &Path) -> anyhow::Result<()> {
        let samples = self.heard(sim);
        let data = u32::try_from(samples.len() * 2).context("the call is too long for a file")?;
        let mut bytes = header(Coding::Linear, 1, data);
        bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        std::fs::write(path, bytes).with_context(|| path.display().to_string())
    }

    fn heard(&self, sim: &Sim) -> Vec<i16> {
        let mut heard = vec![0; at(sim.now())];
        let mut music: Option<(usize, String)> = None;
        for (number, (when, output)) in sim.log().iter().enumerate() {
            match output {
                Output::Say { op, items, .. } => {
                    let stop = stopped(sim, number, *op).unwrap_or(sim.now());
                    self.put(&mut heard, at(*when), at(stop), items);
                }
                Output::Music(id) => {
                    if let Some((since, id)) = music.take() {
                        self.play(&mut heard, since, at(*when), &id);
                    }
                    music = id.clone().map(|id| (at(*when), id));
                }
                _ => {}
            }
        }
        if let Some((since, id)) = music {
            let end = heard.len();
            self.play(&mut heard, since, end, &id);
        }
        heard
    }

    fn put(&self, heard: &mut [i16], mut from: usize, until: usize, items: &[SayItem]) {
        for item in items {
            if let SayItem::Pause(length) = item {
                from += count(*length);
                continue;
            }
            let pcm = self.clip(item).map(|clip| clip.pcm()).unwrap_or_default();
            for (offset, sample) in pcm.iter().enumerate() {
                let place = from + offset;
                if let Some(slot) = heard.get_mut(place).filter(|_| place < until) {
                    *slot = slot.saturating_add(*sample);
                }
            }
            from += pcm.len();
        }
    }

    /// Music round and round, beneath.
    fn play(&self, heard: &mut [i16], from: usize, until: usize, id: &str) {
        let Some(clip) = self.prompts.get(id) else {
            return;
        };
        let pcm = clip.pcm();
        let places = heard.iter_mut().take(until).skip(from);
        for (slot, sample) in places.zip(pcm.iter().cycle()) {
            *slot = slot.saturating_add(sample / BENEATH);
        }
    }
}

/// When what `op` says was stopped.
fn stopped(sim: &Sim, said: usize, op: OpId) -> Option<Time> {
    let mut rest = sim.log().iter().skip(said);
    rest.find_map(|(when, output)| matches!(output, Output::Stop(o) if *o == op).then_some(*when))
}

/// The sample of a moment.
fn at(time: Time) -> usize {
    count(time.since(Time::ZERO))
}

fn count(length: Duration) -> usize {
    let samples = length.as_micros() * u128::from(SAMPLE_RATE_HZ) / 1_000_000;
    usize::try_from(samples).unwrap_or(usize::MAX)
}
