//! `helpline bench`: measure on this machine. Each bench prints, last, one JSON object
//! on one line.

mod dial;
mod idle;

use std::process::ExitCode;

use clap::Subcommand;

/// Arguments of `helpline bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// From a POST on an idle daemon to the INVITE at the trunk.
    Dial(dial::Dial),
    /// Memory of an idle daemon in a process of its own.
    Idle(idle::Idle),
}

impl Bench {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Dial(dial) => dial.run().await,
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
