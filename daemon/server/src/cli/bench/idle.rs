//! `helpline bench idle`: what does a daemon cost that has nothing to do?

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::Scratch;
use crate::cli::client::get;
use crate::cli::demo;

/// Arguments of `helpline bench idle`.
#[derive(Debug, clap::Args)]
pub(super) struct Idle {
    /// Seconds of idleness before measuring.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

impl Idle {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let scratch = Scratch::new("idle")?;
        let config = demo::config(&scratch.0, "127.0.0.1:9".parse()?)?;
        let mut config = config;
        config.ops.listen = demo::free_tcp()?;
        config.trunk.clear();
        let file = scratch.0.join("helpline.toml");
        std::fs::write(&file, toml::to_string(&config)?)?;
        let mut daemon = Command::new(std::env::current_exe()?)
            .args(["serve", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let measured = measure(daemon.id(), config.ops.listen.port(), self.seconds).await;
        daemon.kill()?;
        daemon.wait()?;
        let (rss_kb, cpu_percent) = measured?;
        println!(
            "idle for {} s: {rss_kb} kB resident, {cpu_percent:.2} % of a core",
            self.seconds
        );
        println!(
            "{}",
            serde_json::json!({ "rss_kb": rss_kb, "cpu_percent": cpu_percent })
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Resident memory in kB after `seconds` of idleness, and CPU use meanwhile.
async fn measure(pid: u32, ops_port: u16, seconds: u64) -> anyhow::Result<(u64, f64)> {
    let ready = format!("http://127.0.0.1:{ops_port}/readyz");
    for _ in 0..200 {
        if get(&ready).await.is_ok_and(|answer| answer.status == 200) {
            let before = cpu_ticks(pid)?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let used = cpu_ticks(pid)?.saturating_sub(before);
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let rss = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .and_then(|rest| rest.split_whitespace().next())
                .context("no VmRSS")?;
            // A tick is 10 ms.
            let percent = f64::from(u32::try_from(used)?) / f64::from(u32::try_from(seconds)?);
            return Ok((rss.parse()?, percent));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the daemon was not ready within 10 s")
}

/// User and system time in ticks of 10 ms, fields 14 and 15 of `/proc/PID/stat`.
fn cpu_ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').context("odd stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let field =
        |n: usize| -> anyhow::Result<u64> { Ok(fields.get(n).context("short stat")?.parse()?) };
    Ok(field(11)? + field(12)?)
}
