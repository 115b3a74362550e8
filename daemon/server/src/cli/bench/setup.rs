//! `helpline bench setup`: how fast are calls set up, and does each leave memory as it was?

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use super::process::{Process, Usage};
use super::{quantile, speech};
use crate::config::Config;
use crate::voice::load::Load;

/// Arguments of `helpline bench setup`.
///
/// Starts a daemon in a process of its own. Each call is an INVITE, its 200 and ACK, the
/// start of the flow and of media, and a BYE at once.
#[derive(Debug, clap::Args)]
pub(super) struct Setup {
    /// Calls, in all.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// Calls under way at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=500))]
    at_once: u32,
    /// Call this daemon instead of starting one. It has to accept calls from here.
    #[arg(long, value_name = "ADDRESS:PORT")]
    target: Option<SocketAddr>,
    /// Process of the target, to measure its CPU time and memory.
    #[arg(long, value_name = "PID", requires = "target")]
    pid: Option<u32>,
    /// Lots in which the calls come; memory is looked at after each.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    lots: u32,
    /// Seconds of rest after a lot. An ended call is remembered for 32 s, so that an answer that
    /// got lost can be repeated (RFC 3261 timer J): a longer rest shows what stays for ever.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=600))]
    rest: u32,
    /// MiB for the store (`store.cache_mib`). The daemon's own 64 fill in the course of some ten
    /// thousand calls; with little, what calls leave behind is not hidden by it.
    #[arg(
        long,
        default_value_t = 64,
        value_name = "MIB",
        conflicts_with = "target"
    )]
    cache_mib: u32,
}

/// One lot of the calls.
#[derive(Default)]
struct Round {
    answer_ms: Vec<f64>,
    failed: Vec<String>,
    length: Duration,
}

impl Setup {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let process = match self.target {
            None => {
                let cache = |config: &mut Config| config.store.cache_mib = self.cache_mib;
                Some(Process::start("setup", 1_000, cache).await?)
            }
            Some(_) => None,
        };
        let target = match (&process, self.target) {
            (Some(process), _) => process.sip,
            (None, Some(target)) => target,
            (None, None) => bail!("no target"),
        };
        let pid = process.as_ref().map(Process::pid).or(self.pid);
        let usage = || pid.map(Usage::of).transpose();
        let load = Arc::new(Load::start(target, speech()?, getrandom::u64()?).await?);
        let begin = usage()?;
        let (mut answer_ms, mut failed) = (Vec::new(), Vec::new());
        let (mut length, mut rss_kb, mut end) = (Duration::ZERO, Vec::new(), begin);
        for lot in 0..self.lots {
            let calls = self.share(lot + 1) - self.share(lot);
            let round = self.round(&load, calls).await?;
            answer_ms.extend(round.answer_ms);
            failed.extend(round.failed);
            length += round.length;
            tokio::time::sleep(Duration::from_secs(self.rest.into())).await;
            end = usage()?;
            rss_kb.push(end.map(|u| u.rss_kb));
        }
        answer_ms.sort_by(f64::total_cmp);
        for fault in failed.iter().take(10) {
            eprintln!("helpline: a call failed: {fault}");
        }
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        let per_second = answer_ms.len() as f64 / length.as_secs_f64();
        let cpu_ms = begin
            .zip(end)
            .map(|(from, to)| (to.cpu - from.cpu).as_secs_f64() * 1_000.0 / f64::from(self.calls));
        println!("{per_second:.0} calls a second, {} failed", failed.len());
        println!(
            "{}",
            serde_json::json!({
                "calls": self.calls,
                "failed": failed.len(),
                "setups_per_second": per_second,
                "answer_ms_p50": quantile(&answer_ms, 0.5),
                "answer_ms_p99": quantile(&answer_ms, 0.99),
                "answer_ms_max": quantile(&answer_ms, 1.0),
                "cpu_ms_per_call": cpu_ms,
                "rss_kb_begin": begin.map(|u| u.rss_kb),
                "rss_kb_after_each_lot": rss_kb,
            })
        );
        Ok(if failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// Calls of the first lots together.
    fn share(&self, lots: u32) -> u32 {
        let calls = u64::from(self.calls) * u64::from(lots) / u64::from(self.lots);
        u32::try_from(calls).unwrap_or(self.calls)
    }

    async fn round(&self, load: &Arc<Load>, calls: u32) -> anyhow::Result<Round> {
        let left = Arc::new(AtomicU32::new(calls));
        let began = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..self.at_once {
            let (load, left) = (Arc::clone(load), Arc::clone(&left));
            workers.spawn(async move {
                let mut round = Round::default();
                while left
                    .fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    let began = Instant::now();
                    match load.call("bench", false).await {
                        Ok(call) => {
                            round
                                .answer_ms
                                .push(began.elapsed().as_secs_f64() * 1_000.0);
                            load.hang_up(call);
                        }
                        Err(error) => round.failed.push(format!("{error:#}")),
                    }
                }
                round
            });
        }
        let mut sum = Round::default();
        while let Some(round) = workers.join_next().await {
            let round = round.context("a worker broke")?;
            sum.answer_ms.extend(round.answer_ms);
            sum.failed.extend(round.failed);
        }
        sum.length = began.elapsed();
        Ok(sum)
    }
}
