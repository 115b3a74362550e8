//! `helpline bench ewt`: how long does an estimate of the wait take?

use std::process::ExitCode;
use std::time::Instant;

use helpline_core::queue::ewt::{Doing, Experience, LiveLine, Serving, Standing, marks};
use helpline_core::rng::Rng;

use super::quantile;

/// Mean handling time, in seconds.
const HANDLING: f64 = 300.0;
/// Calls that were learnt from.
const PAST: u32 = 3_000;

/// Arguments of `helpline bench ewt`.
///
/// Every agent is in a call, each since another moment; each estimate is of another moment.
#[derive(Debug, clap::Args)]
pub(super) struct Ewt {
    /// Agents, or places of the help channel.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    agents: u16,
    /// Requests that wait.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    waiting: u16,
    /// Estimates of each sort.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    count: u32,
}

impl Ewt {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut rng = Rng::new(1);
        let names: Vec<String> = (0..self.agents).map(|agent| agent.to_string()).collect();
        let experience = experience(&names, &mut rng);
        let shifts = [(f64::NEG_INFINITY, f64::INFINITY)];
        let waiting = usize::from(self.waiting);
        let (mut one_ms, mut all_ms) = (Vec::new(), Vec::new());
        for seed in 0..u64::from(self.count) {
            let serving = names.iter().map(|name| Serving {
                name,
                doing: Doing::Busy(-HANDLING * rng.unit()),
                shifts: &shifts,
                can: 0,
            });
            let line = LiveLine {
                now: 0.0,
                serving: serving.collect(),
                standing: vec![Standing::default(); waiting],
                closes: None,
                needs: 0,
            };
            for (marks, took) in [(vec![waiting], &mut one_ms), (marks(waiting), &mut all_ms)] {
                let began = Instant::now();
                let outlook = experience.outlook(&line, &marks, seed);
                took.push(began.elapsed().as_secs_f64() * 1_000.0);
                anyhow::ensure!(outlook.at(waiting).is_some(), "no estimate");
            }
        }
        one_ms.sort_by(f64::total_cmp);
        all_ms.sort_by(f64::total_cmp);
        let told = |ms: &[f64]| (quantile(ms, 0.5), quantile(ms, 0.99));
        let (one, all) = (told(&one_ms), told(&all_ms));
        println!(
            "an estimate takes {:.2} ms (p99 {:.2}), one of the whole line {:.2} ms (p99 {:.2})",
            one.0, one.1, all.0, all.1
        );
        println!(
            "{}",
            serde_json::json!({
                "agents": self.agents,
                "waiting": self.waiting,
                "one_ms_p50": one.0,
                "one_ms_p99": one.1,
                "line_ms_p50": all.0,
                "line_ms_p99": all.1,
            })
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Of a desk that has been at work for a while.
fn experience(names: &[String], rng: &mut Rng) -> Experience {
    let mut experience = Experience::new(HANDLING);
    for (call, name) in (0..PAST).zip(names.iter().cycle()) {
        let took = -HANDLING * (1.0 - rng.unit()).ln();
        experience.handled(name, took);
        match call % 20 {
            0 => experience.withdrawn(took),
            1..4 => experience.unanswered(1, 30.0, Some(300.0)),
            _ => experience.waited(took, None),
        }
    }
    experience
}
