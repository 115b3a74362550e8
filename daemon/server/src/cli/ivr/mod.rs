//! `helpline ivr`: everything one does with call flows before a caller meets them.

mod audio;
mod check;
mod graph;
mod replay;
mod sim;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use helpline_core::ivr::flow::{Fault, FlowSet, Severity};

use super::ConfigArgs;
use crate::config::Config;
use crate::voice::flows::{self, FLOW_ENDING, Setting};

/// Arguments of `helpline ivr`.
#[derive(Debug, clap::Args)]
pub(super) struct Ivr {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check flows; every fault with file, line and column.
    Check(check::Check),
    /// Run golden tests of flows; tell what of the flows they take.
    Test(test::Test),
    /// Walk through a flow as a caller, in text, with a virtual clock.
    Sim(sim::Simulate),
    /// Run a call that is over once more, with the flows as they are now.
    Replay(replay::Replay),
    /// Draw a flow: as SVG, for Mermaid or for Graphviz.
    Graph(graph::DrawGraph),
}

impl Ivr {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Replay(replay) => replay.run().await,
            Command::Check(check) => check.run(),
            Command::Test(test) => test.run(),
            Command::Sim(sim) => sim.run(),
            Command::Graph(graph) => graph.run().await,
        }
    }
}

/// Where flows are, and what they are checked against.
fn setting(config: &ConfigArgs) -> anyhow::Result<Setting> {
    // Without a configuration nobody knows what will be in it.
    if config.config.is_none() {
        return Ok(Setting::default());
    }
    match Config::load(config.config.as_deref()) {
        Ok(loaded) => Ok(Setting::of(&loaded.config)),
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            bail!("{}", faults.join("\n"));
        }
    }
}

/// Flows and locales as the configuration names them, with other files on top.
fn load(config: &ConfigArgs, paths: &[PathBuf]) -> anyhow::Result<(Option<FlowSet>, Vec<Fault>)> {
    flows::check_with(&setting(config)?, paths).map_err(anyhow::Error::msg)
}

/// A set without errors and the name of the flow that `named` is: a name, or a file that is
/// loaded on top.
fn load_flow(config: &ConfigArgs, named: &str) -> anyhow::Result<(FlowSet, String)> {
    let path = PathBuf::from(named);
    let (paths, name) = if path.is_file() {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.strip_suffix(FLOW_ENDING).unwrap_or(&file).to_owned();
        (vec![path], name)
    } else {
        (Vec::new(), named.to_owned())
    };
    let (set, faults) = load(config, &paths)?;
    let Some(set) = set else {
        let errors = faults.iter().filter(|f| f.severity == Severity::Error);
        let errors: Vec<String> = errors.map(ToString::to_string).collect();
        bail!("{}", errors.join("\n"));
    };
    if !set.has(&name) {
        let names: Vec<&str> = set.names().collect();
        bail!(
            "there is no flow and no file {named:?}; the flows are: {}",
            names.join(", ")
        );
    }
    Ok((set, name))
}
