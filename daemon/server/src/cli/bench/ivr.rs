//! `helpline bench ivr`: how many steps of a flow a second, and how long does a reload take?

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use helpline_core::ivr::flow::{FlowSet, Severity};
use helpline_core::ivr::golden::World;
use helpline_core::ivr::io::{Input, Key, Output};
use helpline_core::ivr::machine::FlowMachine;
use helpline_core::time::{Time, Wall};
use serde_json::json;

use super::Scratch;
use crate::voice::flows::{self, Setting};
use crate::{config, voice::flows::Flows};

/// The flow whose steps are counted.
const STEPS: &str = include_str!("steps.flow.yaml");
/// A flow for the reload, which is there so many times under other names.
const FLOW: &str = include_str!("../../../../../ivr-scripts/wait-in-line.flow.yaml");
/// Key presses between two looks at the clock.
const BATCH: u32 = 1_000;

/// Arguments of `helpline bench ivr`.
///
/// Steps: nodes entered by one flow machine on one core, with the questions, expressions
/// and trace lines between them, as a call has them but for the sound. Reload: reading,
/// checking and swapping in a folder of flows.
#[derive(Debug, clap::Args)]
pub(super) struct Ivr {
    /// How long steps are counted.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Flows of the reload.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    flows: u32,
}

impl Ivr {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = Scratch::new("ivr")?;
        let steps = steps(&folder, Duration::from_secs(self.seconds))?;
        let folder = Scratch::new("ivr-reload")?;
        for number in 0..self.flows {
            let id = format!("bench-{number}");
            let text = FLOW.replace("id: wait-in-line", &format!("id: {id}"));
            std::fs::write(folder.0.join(format!("{id}.flow.yaml")), text)?;
        }
        let setting = setting(&folder);
        let flows = Flows::load(&setting).map_err(|faults| anyhow::anyhow!(faults.join("\n")))?;
        let began = Instant::now();
        let reloaded = flows.reload(|_, _| Ok(()));
        let reload = began.elapsed();
        reloaded.map_err(|faults| anyhow::anyhow!(faults.join("\n")))?;
        let figures = json!({
            "steps_per_second": steps,
            "flows": self.flows,
            "reload_ms": reload.as_secs_f64() * 1_000.0,
        });
        println!("{figures}");
        Ok(ExitCode::SUCCESS)
    }
}

fn setting(folder: &Scratch) -> Setting {
    Setting {
        ivr: config::Ivr {
            flows: Some(folder.0.clone()),
            ..config::Ivr::default()
        },
        ..Setting::default()
    }
}

/// Nodes entered in a second.
fn steps(folder: &Scratch, length: Duration) -> anyhow::Result<f64> {
    std::fs::write(folder.0.join("steps.flow.yaml"), STEPS)?;
    let (set, faults) = flows::check(&setting(folder)).map_err(anyhow::Error::msg)?;
    let error = faults.iter().find(|f| f.severity == Severity::Error);
    let set = Arc::new(set.with_context(|| format!("{error:?}"))?);
    let key = Key::new('1').context("a key")?;
    let mut nodes = 0_u32;
    let began = Instant::now();
    while began.elapsed() < length {
        nodes += walk(&set, key)?;
    }
    Ok(f64::from(nodes) / began.elapsed().as_secs_f64())
}

/// A call in which a key is pressed again and again.
fn walk(set: &Arc<FlowSet>, key: Key) -> anyhow::Result<u32> {
    let start = World::default().start("steps", Wall::default());
    let mut machine = FlowMachine::new(Arc::clone(set), start)?;
    let mut now = Time::ZERO;
    let mut nodes = 0;
    machine.handle(now, Input::Timeout);
    for _ in 0..BATCH {
        now = now + Duration::from_millis(100);
        machine.handle(now, Input::KeyDown(key));
        now = now + Duration::from_millis(100);
        machine.handle(now, Input::KeyUp(key));
        while let Some(output) = machine.poll() {
            nodes += u32::from(matches!(&output, Output::Trace(line) if line.kind == "node"));
        }
    }
    Ok(nodes)
}
