//! `helpline bench dtmf`: how fast and how right is the in-band detector?

mod peer;
mod recordings;
mod speed;

use std::path::PathBuf;
use std::process::ExitCode;

use helpline_core::audio::dtmf::tone_set::{Dimension, Stream, Tally};
use helpline_core::audio::dtmf::{Heard, KeySound};
use helpline_core::rng::Rng;
use serde_json::{Map, Value, json};

use peer::Peer;

/// Arguments of `helpline bench dtmf`.
///
/// Speed: seconds of sound a CPU second on a mixture of speech, keys and silence, one channel
/// and eight side by side. Accuracy: the tone set, random presses of all keys in each
/// dimension where standards draw limits, from a seed never seen before.
#[derive(Debug, clap::Args)]
pub(super) struct Dtmf {
    /// Presses in each dimension of the tone set.
    #[arg(long, default_value_t = 1_600, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    presses: u32,
    /// Seconds of the mixture.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=36_000))]
    seconds: u32,
    /// Repeat the run of this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// A program that detects in the very same samples; tests/peers/spandsp.c says how.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// Instead of all that: count keys in the recordings of this folder, which hold none.
    #[arg(long, value_name = "FOLDER")]
    recordings: Option<PathBuf>,
}

impl Dtmf {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let peer = self.against.map(Peer);
        if let Some(folder) = &self.recordings {
            println!("{}", recordings::count(folder, peer.as_ref())?);
            return Ok(ExitCode::SUCCESS);
        }
        let seed = match self.seed {
            Some(seed) => seed,
            None => getrandom::u64()?,
        };
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let mut figures = speed::measure(self.seconds, &mut rng, peer.as_ref())?;
        figures.insert("seed".into(), seed.into());
        figures.insert(
            "tone_set".into(),
            tone_set(self.presses.div_ceil(16), &mut rng, peer.as_ref())?,
        );
        println!("{}", Value::Object(figures));
        Ok(ExitCode::SUCCESS)
    }
}

/// Scores the tone set, dimension by dimension.
fn tone_set(rounds: u32, rng: &mut Rng, peer: Option<&Peer>) -> anyhow::Result<Value> {
    println!(
        "{:14} {:>8} {:>9} {:>6}   against",
        "dimension", "presses", "right", "extra"
    );
    let (mut all, mut all_theirs) = (Tally::default(), Tally::default());
    let mut dimensions = Map::new();
    for dimension in Dimension::ALL {
        let streams: Vec<Stream> = (0..rounds).map(|_| dimension.stream(rng)).collect();
        let mut ours = Tally::default();
        for stream in &streams {
            let heard = helpline_core::audio::dtmf::tone_set::hear(stream);
            ours.add(dimension, stream, &heard);
        }
        let theirs = peer
            .map(|peer| against(peer, dimension, &streams))
            .transpose()?;
        println!(
            "{:14} {}   {}",
            dimension.name(),
            row(&ours),
            theirs.as_ref().map(row).unwrap_or_default()
        );
        let mut figures = json!({ "right": ours.share(), "extra": ours.extra });
        if let (Some(theirs), Some(figures)) = (&theirs, figures.as_object_mut()) {
            figures.insert("against_right".into(), theirs.share().into());
            figures.insert("against_extra".into(), theirs.extra.into());
            all_theirs.merge(theirs);
        }
        dimensions.insert(dimension.name().into(), figures);
        all.merge(&ours);
    }
    println!(
        "{:14} {}   {}",
        "all",
        row(&all),
        if peer.is_some() {
            row(&all_theirs)
        } else {
            String::new()
        }
    );
    let mut figures = json!({
        "presses": all.pressed,
        "right": all.share(),
        "extra": all.extra,
        "dimensions": dimensions,
    });
    if let (Some(_), Some(figures)) = (peer, figures.as_object_mut()) {
        figures.insert("against_right".into(), all_theirs.share().into());
        figures.insert("against_extra".into(), all_theirs.extra.into());
    }
    Ok(figures)
}

fn row(tally: &Tally) -> String {
    let (share, extra) = (tally.share() * 100.0, tally.extra);
    format!("{:8} {share:8.3}% {extra:6}", tally.pressed)
}

/// What the peer makes of the same presses, one stream after the other; lost frames are
/// silence to it.
fn against(peer: &Peer, dimension: Dimension, streams: &[Stream]) -> anyhow::Result<Tally> {
    let mut sound = Vec::new();
    let mut whole = Stream {
        sound: Vec::new(),
        presses: Vec::new(),
        lost: Vec::new(),
    };
    for stream in streams {
        let from = std::time::Duration::from_micros(sound.len() as u64 * 125);
        sound.extend_from_slice(&stream.sound);
        let frames = sound.len() - stream.sound.len();
        for lost in &stream.lost {
            let at = frames + lost * 160;
            let end = (at + 160).min(sound.len());
            if let Some(frame) = sound.get_mut(at..end) {
                frame.fill(0);
            }
        }
        whole.presses.extend(stream.presses.iter().map(|press| {
            let mut press = *press;
            press.begin += from;
            press.end += from;
            press
        }));
    }
    let heard: Vec<Heard> = peer
        .hear(&sound, 1)?
        .keys
        .into_iter()
        .map(|(digit, at)| Heard {
            sound: KeySound::Begin(digit),
            at,
        })
        .collect();
    let mut tally = Tally::default();
    tally.add(dimension, &whole, &heard);
    Ok(tally)
}
