//! `helpline bench calls`: what does a call cost, and is its sound on time?

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::process::{Process, Usage};
use super::{quantile, speech};
use crate::voice::load::{Bystander, Heard, Load, LoadCall, MachineLate, Presses};

/// INVITEs under way at once.
const UNDER_WAY_MAX: usize = 32;
/// Rest between the last answer and the measurement.
const SETTLE: Duration = Duration::from_secs(2);
/// What was pressed last is answered within this time.
const LAST_ANSWER: Duration = Duration::from_millis(1_500);

/// Arguments of `helpline bench calls`.
///
/// Starts a daemon in a process of its own and calls it over loopback: each call is a
/// SIP dialog with PCMU both ways; the daemon plays prompts without a pause, the caller
/// speaks. Lateness is measured at the caller, by the kernel's time of arrival, against
/// each stream's own clock of 20 ms. `machine_late_ms` is how late threads woke meanwhile
/// that only sleep, one a core and above the daemon's priority: lateness of the machine.
#[derive(Debug, clap::Args)]
pub(super) struct Calls {
    /// Calls at once.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    calls: u32,
    /// Seconds measured, after all calls are up.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Callers press a key every 1.2 to 2 s: half of them as telephone events, half as
    /// sound. The daemon's flow answers each with a beep.
    #[arg(long)]
    digits: bool,
    /// Call this daemon instead of starting one. It has to accept calls from here; for
    /// `--digits` its flow has to answer each key with the tone `beep`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    target: Option<SocketAddr>,
    /// Process of the target, to measure its CPU time and memory.
    #[arg(long, value_name = "PID", requires = "target")]
    pid: Option<u32>,
    /// Seed of the callers' times and keys; default: a new one, printed.
    #[arg(long)]
    seed: Option<u64>,
}

/// What was measured.
struct Measured {
    up: usize,
    failed: usize,
    ramp: Duration,
    answer_ms: Vec<f64>,
    before: Option<Usage>,
    begin: Option<Usage>,
    end: Option<Usage>,
    length: Duration,
    heard: Heard,
    machine: Option<MachineLate>,
}

impl Calls {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let seed = match self.seed {
            Some(seed) => seed,
            None => getrandom::u64()?,
        };
        let process = match self.target {
            None => Some(Process::start("calls", self.calls, |_| ()).await?),
            Some(_) => None,
        };
        let target = match (&process, self.target) {
            (Some(process), _) => process.sip,
            (None, Some(target)) => target,
            (None, None) => bail!("no target"),
        };
        let pid = process.as_ref().map(Process::pid).or(self.pid);
        let load = Arc::new(Load::start(target, speech()?, seed).await?);
        println!("calling {target}, {} calls, seed {seed}", self.calls);
        let measured = self.measure(&load, pid).await;
        if let Some(load) = Arc::into_inner(load) {
            load.stop().await;
        }
        let measured = measured?;
        let realtime = match &process {
            Some(process) => Some(process.metric("helpline_media_realtime").await? > 0.0),
            None => None,
        };
        self.print(&measured, realtime, seed);
        let well = measured.failed == 0;
        Ok(if well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    async fn measure(&self, load: &Arc<Load>, pid: Option<u32>) -> anyhow::Result<Measured> {
        // The first call makes what is made once; it is not counted.
        let first = load.call("bench", true).await.context("the first call")?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        load.hang_up(first);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let usage = || pid.map(Usage::of).transpose();
        let before = usage()?;
        let began = Instant::now();
        let (calls, refused) = ramp(load, self.calls).await;
        let ramp = began.elapsed();
        println!("{} calls up in {:.1} s", calls.len(), ramp.as_secs_f64());
        let answer_ms = calls.iter().map(|(_, ms)| *ms).collect();
        let hang_up = CancellationToken::new();
        let mut watched = watch(load, calls, &hang_up);
        tokio::time::sleep(SETTLE).await;
        let bystander = Bystander::start();
        load.measure(self.digits.then_some(Presses::Both));
        let (begin, started) = (usage()?, Instant::now());
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        let (end, length) = (usage()?, started.elapsed());
        let machine = bystander.map(Bystander::end);
        if self.digits {
            load.rest();
            tokio::time::sleep(LAST_ANSWER).await;
        }
        let heard = load.heard();
        hang_up.cancel();
        let (mut up, mut ended) = (0, 0);
        while let Some(done) = watched.join_next().await {
            match done? {
                true => up += 1,
                false => ended += 1,
            }
        }
        for fault in &refused {
            eprintln!("helpline: a call failed: {fault}");
        }
        Ok(Measured {
            up,
            failed: refused.len() + ended,
            ramp,
            answer_ms,
            before,
            begin,
            end,
            length,
            heard,
            machine,
        })
    }

    fn print(&self, m: &Measured, realtime: Option<bool>, seed: u64) {
        let calls = f64::from(self.calls);
        let seconds = m.length.as_secs_f64();
        let cpu = |to: &Usage, from: &Usage| (to.cpu - from.cpu).as_secs_f64();
        let percent = both(m.end, m.begin).map(|(to, from)| cpu(&to, &from) / seconds * 100.0);
        let per_call = percent.map(|p| p / calls);
        let rss = both(m.end, m.before).map(|(to, from)| (to.rss_kb - from.rss_kb) / calls);
        let heard = &m.heard;
        let setups = calls / m.ramp.as_secs_f64();
        let mut answer_ms = m.answer_ms.clone();
        answer_ms.sort_by(f64::total_cmp);
        if let (Some(per_call), Some(rss)) = (per_call, rss) {
            println!("{per_call:.4} % of a core and {rss:.0} kB a call");
        }
        println!(
            "packets {} of {}, {} gaps, late by {:.2} ms at most, {:.2} ms in 99 of 100",
            heard.packets,
            heard.expected,
            heard.gaps,
            heard.late_ms(1.0),
            heard.late_ms(0.99)
        );
        println!(
            "{}",
            serde_json::json!({
                "calls": m.up + m.failed,
                "failed": m.failed,
                "seconds": seconds,
                "cpu_percent": percent,
                "cpu_percent_per_call": per_call,
                "rss_kb": m.end.map(|u| u.rss_kb),
                "rss_kb_per_call": rss,
                "packets_sent": heard.packets,
                "packets_expected": heard.expected,
                "late_ms_p50": heard.late_ms(0.5),
                "late_ms_p99": heard.late_ms(0.99),
                "late_ms_max": heard.late_ms(1.0),
                "machine_late_ms_p99": m.machine.map(|late| late.p99_ms),
                "machine_late_ms_max": m.machine.map(|late| late.max_ms),
                "sequence_gaps": heard.gaps,
                "setups_per_second": setups,
                "answer_ms_p50": quantile(&answer_ms, 0.5),
                "answer_ms_p99": quantile(&answer_ms, 0.99),
                "digits_pressed": heard.pressed,
                "digits_heard": heard.heard,
                "digits_doubled": heard.doubled,
                "realtime": realtime,
                "seed": seed,
            })
        );
    }
}

fn both<T>(a: Option<T>, b: Option<T>) -> Option<(T, T)> {
    a.zip(b)
}

/// Calls until `count` are up or refused: the calls with their time to the answer in
/// milliseconds, and why others failed.
async fn ramp(load: &Arc<Load>, count: u32) -> (Vec<(LoadCall, f64)>, Vec<String>) {
    let gate = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        // Never closed.
        let permit = Arc::clone(&gate).acquire_owned().await;
        let load = Arc::clone(load);
        tasks.spawn(async move {
            let _permit = permit;
            let began = Instant::now();
            let call = load.call("bench", true).await;
            call.map(|call| (call, began.elapsed().as_secs_f64() * 1_000.0))
        });
    }
    let (mut calls, mut refused) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(Ok(call)) => calls.push(call),
            Ok(Err(error)) => refused.push(format!("{error:#}")),
            Err(error) => refused.push(error.to_string()),
        }
    }
    (calls, refused)
}

/// One task a call: true if it was still up when it was hung up.
fn watch(
    load: &Arc<Load>,
    calls: Vec<(LoadCall, f64)>,
    hang_up: &CancellationToken,
) -> JoinSet<bool> {
    let mut tasks = JoinSet::new();
    for (mut call, _) in calls {
        let (load, hang_up) = (Arc::clone(load), hang_up.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = load.ended(&mut call) => return false,
                () = hang_up.cancelled() => {}
            }
            load.hang_up(call);
            true
        });
    }
    tasks
}
