//! `helpline ivr graph`: a picture of a flow.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use super::super::ConfigArgs;

/// Arguments of `helpline ivr graph`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
To look at it:             helpline ivr graph main-menu > main-menu.svg
In a README on a forge:    helpline ivr graph main-menu --format mermaid
With Graphviz:             helpline ivr graph main-menu --format dot | dot -Tpdf > main-menu.pdf

The same flow gives the same bytes, so a picture can be kept under version control.")]
pub(super) struct DrawGraph {
    /// Name of a flow, or a flow file.
    flow: String,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Svg)]
    format: Format,
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
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (set, name) = super::load_flow(&self.config, &self.flow)?;
        let graph = set
            .graph(&name)
            .context("the flow was there a moment ago")?;
        let text = match self.format {
            Format::Svg => graph.svg(),
            Format::Mermaid => graph.mermaid(),
            Format::Dot => graph.dot(),
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
