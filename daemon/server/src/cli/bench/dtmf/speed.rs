//! Seconds of sound in a CPU second.

use std::time::Duration;

use helpline_core::audio::dtmf::tone_set::Dimension;
use helpline_core::audio::dtmf::{BATCH, Batch, Detector, KeySound};
use helpline_core::rng::Rng;
use nix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value};

use super::peer::Peer;
use crate::cli::bench::speech;

/// All take turns, so that they have the same weather, and the fastest of so many passes counts.
const PASSES: u32 = 7;
/// A frame, as calls bring it.
const FRAME: usize = 160;

/// Measures one channel, eight side by side, and the peer, on the same samples.
pub(super) fn measure(
    seconds: u32,
    rng: &mut Rng,
    peer: Option<&Peer>,
) -> anyhow::Result<Map<String, Value>> {
    let sound = mixture(seconds, rng)?;
    let mut figures = Map::new();
    let mut tell = |name: &str, cpu: Duration, keys: usize| {
        let speed = f64::from(seconds) / cpu.as_secs_f64();
        println!("{name:8} {speed:8.0} channel-seconds a CPU second, {keys} keys heard");
        figures.insert(format!("{name}_channel_s_per_cpu_s"), speed.round().into());
        figures.insert(format!("{name}_keys"), keys.into());
    };
    let (mut one, mut eight, mut theirs) = (Best::default(), Best::default(), Best::default());
    for _ in 0..PASSES {
        one.pass(timed(|| single(&sound))?);
        eight.pass(timed(|| batch(&sound))?);
        if let Some(peer) = peer {
            let said = peer.hear(&sound, 1)?;
            theirs.pass((said.cpu, said.keys.len()));
        }
    }
    for (name, best) in [("single", one), ("batch", eight), ("against", theirs)] {
        if let Some((cpu, keys)) = best.0 {
            tell(name, cpu, keys);
        }
    }
    Ok(figures)
}

/// Half speech, a quarter keys, a quarter silence, in pieces of a few seconds.
fn mixture(seconds: u32, rng: &mut Rng) -> anyhow::Result<Vec<i16>> {
    let speech = speech()?.pcm();
    let wanted = usize::try_from(seconds)? * 8000;
    let mut sound = Vec::with_capacity(wanted + 80_000);
    while sound.len() < wanted {
        let keys = Dimension::Mixed.stream(rng).sound;
        let from = usize::try_from(rng.below(u64::try_from(speech.len())?))?;
        sound.extend(speech.iter().cycle().skip(from).take(2 * keys.len()));
        sound.resize(sound.len() + keys.len(), 0);
        sound.extend(keys);
    }
    sound.truncate(wanted);
    Ok(sound)
}

/// The fastest pass, and the keys heard in it.
#[derive(Default)]
struct Best(Option<(Duration, usize)>);

impl Best {
    fn pass(&mut self, pass: (Duration, usize)) {
        self.0 = Some(self.0.map_or(pass, |best| best.min(pass)));
    }
}

fn timed(pass: impl Fn() -> usize) -> anyhow::Result<(Duration, usize)> {
    let before = cpu()?;
    let keys = pass();
    Ok((cpu()?.saturating_sub(before), keys))
}

/// CPU time of this thread.
fn cpu() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn single(sound: &[i16]) -> usize {
    let mut detector = Detector::default();
    let mut keys = 0;
    for frame in sound.chunks(FRAME) {
        detector.handle(frame);
        while let Some(heard) = detector.poll() {
            keys += usize::from(matches!(heard, KeySound::Begin(_)));
        }
    }
    keys
}

/// The same sound cut into eight channels.
fn batch(sound: &[i16]) -> usize {
    let length = sound.len() / BATCH;
    let mut batch = Batch::default();
    let mut keys = 0;
    for at in (0..length).step_by(FRAME) {
        let frame = |channel: usize| {
            let from = channel * length;
            let piece = from + at..from + (at + FRAME).min(length);
            sound.get(piece).unwrap_or_default()
        };
        batch.handle(std::array::from_fn(frame));
        for channel in 0..BATCH {
            while let Some(heard) = batch.poll(channel) {
                keys += usize::from(matches!(heard.sound, KeySound::Begin(_)));
            }
        }
    }
    keys
}
