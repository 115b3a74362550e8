//! `helpline bench`: measure on this machine. Each bench prints, last, one JSON object
//! on one line.

mod calls;
mod dial;
mod dtmf;
mod ewt;
mod idle;
mod intake;
mod ivr;
mod mail;
mod process;
mod setup;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use helpline_core::audio::Clip;

use crate::voice::flows::{Flows, Setting};
use crate::voice::prompts::Prompts;

/// Arguments of `helpline bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Calls at once: CPU and memory a call, lateness of each packet, digits heard.
    Calls(calls::Calls),
    /// From a POST on an idle daemon to the INVITE at the trunk.
    Dial(dial::Dial),
    /// The in-band detector: its speed, and how often it is right.
    Dtmf(dtmf::Dtmf),
    /// How long an estimate of the wait takes.
    Ewt(ewt::Ewt),
    /// Requests taken a second, each durable before it is acknowledged.
    Intake(intake::Intake),
    /// Steps of a flow a second, and how long the reload of many flows takes.
    Ivr(ivr::Ivr),
    /// Messages taken a second, each durable before its 250, against Postfix's test sink.
    Mail(mail::Mail),
    /// How many calls a second can be set up, and whether memory stays where it was.
    Setup(setup::Setup),
    /// Memory of an idle daemon in a process of its own.
    Idle(idle::Idle),
}

impl Bench {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Calls(calls) => calls.run().await,
            What::Dial(dial) => dial.run().await,
            What::Dtmf(dtmf) => dtmf.run(),
            What::Ewt(ewt) => ewt.run(),
            What::Intake(intake) => intake.run().await,
            What::Ivr(ivr) => ivr.run(),
            What::Mail(mail) => mail.run().await,
            What::Setup(setup) => setup.run().await,
            What::Idle(idle) => idle.run().await,
        }
    }
}

/// The value at `share` (0.5 = median) of `sorted`.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )]
    // a share of a length is a small whole number
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// What the bench's callers say: a quarter of a minute of the shipped prompts.
fn speech() -> anyhow::Result<Arc<Clip>> {
    let words = ["welcome", "main", "ask_number", "accept"];
    let flows =
        Flows::load(&Setting::default()).map_err(|faults| anyhow::anyhow!(faults.join("\n")))?;
    let mut sources = flows.prompt_sources();
    sources.retain(|source| words.iter().any(|word| source.id.ends_with(word)));
    let prompts = Prompts::load(sources, &[]).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let mut said = Vec::new();
    for id in words {
        let clip = prompts.get(&format!("en-US/{id}"));
        said.extend(clip.with_context(|| format!("no prompt {id}"))?.pcm());
    }
    Ok(Arc::new(Clip::from_pcm(&said)))
}

/// A folder of its own, removed when dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> anyhow::Result<Scratch> {
        let dir =
            std::env::temp_dir().join(format!("helpline-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A rest in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::flows;

    /// Prompts are shared by their ids: the benches say what the shipped flows say.
    #[test]
    fn the_flows_of_the_benches_fit_the_shipped_ones() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("bench", include_str!("bench/bench.flow.yaml")),
            ("steps", include_str!("bench/steps.flow.yaml")),
        ] {
            let file = folder.path().join(format!("{name}.flow.yaml"));
            std::fs::write(file, text).unwrap();
        }
        let setting = Setting {
            ivr: crate::config::Ivr {
                flows: Some(folder.path().to_owned()),
                ..crate::config::Ivr::default()
            },
            ..Setting::default()
        };
        let (set, faults) = flows::check(&setting).unwrap();
        assert!(set.is_some() && faults.is_empty(), "{faults:?}");
    }
}
