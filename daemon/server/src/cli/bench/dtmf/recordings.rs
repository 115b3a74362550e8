//! Talk-off: keys heard where nobody pressed any.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use helpline_core::audio::dtmf::{Detector, KeySound};
use helpline_core::audio::{Law, SAMPLE_RATE_HZ};
use serde_json::{Value, json};

use super::peer::Peer;
use crate::cli::dtmf::LIMITS;
use crate::voice::sound::{Reader, Stretch};

/// Decodes every recording in a folder and below, through mu-law, and counts the keys.
pub(super) fn count(folder: &Path, peer: Option<&Peer>) -> anyhow::Result<Value> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    ensure!(!files.is_empty(), "no recordings in {}", folder.display());
    let (mut samples, mut ours, mut theirs) = (0u64, 0u32, 0u32);
    for file in &files {
        let sound = linear(file)
            .map_err(|why| anyhow::anyhow!(why))
            .with_context(|| file.display().to_string())?;
        samples += u64::try_from(sound.len())?;
        let mut detector = Detector::default();
        detector.handle(&sound);
        detector.finish();
        while let Some(heard) = detector.poll_heard() {
            if let KeySound::Begin(digit) = heard.sound {
                println!("{}: {} at {:?}", file.display(), digit.char(), heard.at);
                ours += 1;
            }
        }
        if let Some(peer) = peer {
            theirs += u32::try_from(peer.hear(&sound, 1)?.keys.len())?;
        }
    }
    let hours = samples as f64 / f64::from(SAMPLE_RATE_HZ) / 3600.0;
    println!("{} files, {hours:.2} hours: {ours} false keys", files.len());
    let mut figures = json!({ "files": files.len(), "hours": hours, "false_keys": ours });
    if let (Some(_), Some(figures)) = (peer, figures.as_object_mut()) {
        figures.insert("against_false_keys".into(), theirs.into());
    }
    Ok(figures)
}

/// All sound files in a folder and below; links are not followed.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if ["wav", "flac", "ogg", "mp3"].contains(&ending) {
            files.push(path);
        }
    }
    Ok(())
}

/// A recording as a call would bring it.
fn linear(file: &Path) -> Result<Vec<i16>, String> {
    let source = File::open(file).map_err(|e| e.to_string())?;
    let mut reader = Reader::open(&file.to_string_lossy(), Box::new(source), LIMITS)?;
    let mut stretch: Option<Stretch> = None;
    let mut sound = Vec::new();
    let mut hear = |samples: &[f32]| {
        #[allow(clippy::cast_possible_truncation)] // clamped first
        let linear = |s: &f32| (s * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
        let coded = |s| Law::Mu.decode(Law::Mu.encode(linear(s)));
        sound.extend(samples.iter().map(coded));
    };
    while let Some(samples) = reader.next()? {
        let samples = samples.to_vec();
        let stretch = match &mut stretch {
            Some(stretch) => stretch,
            None => {
                let rate_hz = reader.rate_hz().unwrap_or(SAMPLE_RATE_HZ);
                stretch.insert(Stretch::new(rate_hz, SAMPLE_RATE_HZ)?)
            }
        };
        stretch.pass(&samples, &mut hear)?;
    }
    if let Some(stretch) = &mut stretch {
        stretch.finish(&mut hear)?;
    }
    Ok(sound)
}
