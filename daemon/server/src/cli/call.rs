//! `helpline call`: what was done on calls that are over.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use helpline_core::ivr::golden::{Recorded, record};
use helpline_core::ivr::replay::{BEGAN, CAME};
use serde_json::json;

use super::ConfigArgs;
use crate::config::Config;
use crate::store::peek::Peek;
use crate::voice::flows::{self, Setting};

/// Arguments of `helpline call`.
#[derive(Debug, clap::Args)]
pub(super) struct Call {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The steps of a call's flow, or the latest calls that have any.
    Trace(TraceCall),
}

/// Arguments of `helpline call trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line is the time since the answer, the flow, what happened, and what to:

  +1.480 main-menu key 2

The daemon may run meanwhile. Secrets are not in traces. --json also prints what came in,
for `helpline ivr replay`.

Exit: 0 printed; 1 there is no such call.")]
struct TraceCall {
    /// SIP Call-ID, or its beginning; without it the latest calls are listed.
    call: Option<String>,
    /// Print a golden test that does the same, for `helpline ivr test`.
    #[arg(long, requires = "call")]
    record: bool,
    /// Print JSON, an object a line.
    #[arg(long, conflicts_with = "record")]
    json: bool,
    /// How many calls are listed.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    last: u32,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Call {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Command::Trace(trace) = self.command;
        trace.run().await
    }
}

impl TraceCall {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let store = Peek::open(&config.store).await?;
        match &self.call {
            Some(call) => self.one(&store, call, &config).await,
            None => self.list(&store).await,
        }
    }

    async fn list(&self, store: &Peek) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout().lock();
        for call in store.traced(self.last).await? {
            let (at, seconds) = (call.at.rfc3339(), call.length_ms / 1_000);
            if self.json {
                let line = json!({
                    "call": call.call_id, "direction": call.direction, "flow": call.flow,
                    "at": at, "length_ms": call.length_ms,
                });
                writeln!(out, "{line}")?;
            } else {
                let (direction, flow) = (&call.direction, &call.flow);
                writeln!(
                    out,
                    "{at} {direction:3} {flow:20} {seconds:4} s  {}",
                    call.call_id
                )?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn one(&self, store: &Peek, named: &str, config: &Config) -> anyhow::Result<ExitCode> {
        let (call, lines) = lines_of(store, named).await?;
        let mut out = std::io::stdout().lock();
        if self.record {
            // What the dialler gave is not in a trace: a sample stands for it.
            let (set, _) = flows::check(&Setting::of(config)).map_err(anyhow::Error::msg)?;
            let flow = lines.first().map_or("", |line| line.flow.as_str());
            let input = set.map(|set| set.sample_input(flow)).unwrap_or_default();
            write!(out, "{}", record(&call, &input.into(), &lines))?;
            return Ok(ExitCode::SUCCESS);
        }
        for line in &lines {
            let (at, flow, kind, data) = (line.at_ms, &line.flow, &line.kind, &line.data);
            if self.json {
                writeln!(out, "{}", serde_json::to_string(line)?)?;
            } else if ![BEGAN, CAME].contains(&kind.as_str()) {
                writeln!(
                    out,
                    "+{}.{:03} {flow} {kind} {data}",
                    at / 1_000,
                    at % 1_000
                )?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the store has of a call, which may be named by the beginning of its Call-ID; that
/// Call-ID and the lines of its trace.
pub(super) async fn stored(
    config: &Config,
    named: &str,
) -> anyhow::Result<(String, Vec<Recorded>)> {
    lines_of(&Peek::open(&config.store).await?, named).await
}

async fn lines_of(store: &Peek, named: &str) -> anyhow::Result<(String, Vec<Recorded>)> {
    let mut lines = store.trace_of(named).await?;
    let mut call = named.to_owned();
    if lines.is_empty() {
        let latest = store.traced(10_000).await?;
        let found = latest.into_iter().find(|c| c.call_id.starts_with(named));
        if let Some(found) = found {
            call = found.call_id;
            lines = store.trace_of(&call).await?;
        }
    }
    if lines.is_empty() {
        bail!("no call {named:?} has a trace; `helpline call trace` lists the latest");
    }
    let lines: Vec<Recorded> = lines
        .into_iter()
        .map(|line| Recorded {
            at_ms: line.at_ms,
            flow: line.flow,
            node: line.node,
            kind: line.kind.into_owned(),
            data: line.data,
        })
        .collect();
    Ok((call, lines))
}
