//! `helpline ivr graph`: a picture of a flow.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use helpline_core::ivr::graph::Counts;

use super::super::{ConfigArgs, period};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::peek::Peek;

/// Arguments of `helpline ivr graph`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
To look at it:             helpline ivr graph main-menu > main-menu.svg
In a README on a forge:    helpline ivr graph main-menu --format mermaid
With Graphviz:             helpline ivr graph main-menu --format dot | dot -Tpdf > main-menu.pdf

With what calls did:       helpline ivr graph main-menu --counts 24h --config helpline.toml > today.svg

The same flow gives the same bytes, so a picture can be kept under version control.")]
pub(super) struct DrawGraph {
    /// Name of a flow, or a flow file.
    flow: String,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Svg)]
    format: Format,
    /// Show how many calls took each node and way within this time, from their traces: the
    /// more, the thicker. What the flow does not have any more is named on stderr.
    #[arg(long, value_name = "TIME", value_parser = period)]
    counts: Option<Duration>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A picture that any browser shows, light and dark.
    Svg,
    /// Text for Mermaid.
    Mermaid,
    /// Text for Graphviz.
    Dot,
}

impl DrawGraph {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (set, name) = super::load_flow(&self.config, &self.flow)?;
        let mut graph = set
            .graph(&name)
            .context("the flow was there a moment ago")?;
        if let Some(length) = self.counts {
            let counts = self.counted(&name, length).await?;
            for gone in graph.count(&counts) {
                eprintln!("not in the flow any more: {gone}");
            }
        }
        let text = match self.format {
            Format::Svg => graph.svg(),
            Format::Mermaid => graph.mermaid(),
            Format::Dot => graph.dot(),
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn counted(&self, flow: &str, length: Duration) -> anyhow::Result<Counts> {
        let Ok(loaded) = Config::load(self.config.config.as_deref()) else {
            bail!("the configuration has faults; see `helpline check`");
        };
        let store = Peek::open(&loaded.config.store).await?;
        let entered = store.entered(flow, Clock::system().wall() - length).await?;
        let mut counts = Counts::default();
        for call in entered.chunk_by(|(call, _), (next, _)| call == next) {
            counts.add_call(call.iter().map(|(_, node)| node.as_str()));
        }
        Ok(counts)
    }
}
