//! `helpline bench mail`: messages taken a second, each durable before its 250, against
//! Postfix's own test sink, which keeps nothing, in the same run.

use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::process::{Process, Usage};
use super::quantile;
use crate::cli::demo;

/// Debian's package postfix puts its test programs here.
const FOLDER: &str = "/usr/sbin";
/// The sink takes its port within this time.
const SINK_LIMIT: Duration = Duration::from_secs(5);

/// Arguments of `helpline bench mail`.
///
/// Needs Debian's package postfix (smtp-source, smtp-sink); nothing of it is started but the
/// two programs. Sink and daemon take turns; the medians are compared. The daemon takes mail
/// first and reads it behind: its CPU time is counted until all is read.
#[derive(Debug, clap::Args)]
pub(super) struct Mail {
    /// Messages of a round.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    messages: u32,
    /// Connections at once; each carries many messages.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    connections: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    bytes: u32,
    /// Rounds of each.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
}

/// What a round gave.
struct Round {
    /// Taken: the sender has its 250.
    per_second: f64,
    /// Read and filed, from the first message sent to the last one filed.
    filed_per_second: f64,
    cpu_micros: f64,
}

impl Mail {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (mut sink, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            sink.push(self.sink().await?);
            ours.push(self.daemon().await?);
        }
        let median = |rounds: &[Round], value: fn(&Round) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            quantile(&values, 0.5)
        };
        let rate = |rounds: &[Round]| median(rounds, |round| round.per_second);
        let filed = |rounds: &[Round]| median(rounds, |round| round.filed_per_second);
        let cpu = |rounds: &[Round]| median(rounds, |round| round.cpu_micros);
        println!(
            "helpline takes {:.0} messages a second and files {:.0}, {:.0} us of CPU each; smtp-sink {:.0} and {:.0} us",
            rate(&ours),
            filed(&ours),
            cpu(&ours),
            rate(&sink),
            cpu(&sink)
        );
        println!(
            "{}",
            serde_json::json!({
                "messages_per_second": rate(&ours),
                "filed_per_second": filed(&ours),
                "cpu_micros_per_message": cpu(&ours),
                "sink_messages_per_second": rate(&sink),
                "sink_cpu_micros_per_message": cpu(&sink),
                "rate_ratio": rate(&ours) / rate(&sink),
                "cpu_ratio": cpu(&ours) / cpu(&sink),
                "connections": self.connections,
                "bytes": self.bytes,
            })
        );
        Ok(ExitCode::SUCCESS)
    }

    async fn sink(&self) -> anyhow::Result<Round> {
        let to = demo::free_tcp()?;
        let mut command = Command::new(format!("{FOLDER}/smtp-sink"));
        // Postfix's programs want to be another user when they are started by root.
        command
            .args(["-u", "nobody"])
            .args(["-c", &to.to_string(), "1024"]);
        let sink = Ended(quiet(command)?);
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(to).await.is_err() {
            ensure!(begun.elapsed() < SINK_LIMIT, "smtp-sink does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.round(&to.to_string(), sink.0.id(), async || Ok(()))
            .await
    }

    async fn daemon(&self) -> anyhow::Result<Round> {
        let to = demo::free_tcp()?;
        let daemon = Process::start_with("mail", |config| {
            config.smtp.listen = to;
            config.smtp.addresses = vec!["help@help.test".into()];
            config.smtp.connections_max = 1_000;
            config.smtp.connections_per_address_max = 1_000;
            config.smtp.messages_per_connection_max = u32::MAX;
        })
        .await?;
        self.round(&to.to_string(), daemon.pid(), async || {
            daemon.mail_is_filed().await
        })
        .await
    }

    async fn round(
        &self,
        to: &str,
        pid: u32,
        filed: impl AsyncFnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Round> {
        let mut command = Command::new(format!("{FOLDER}/smtp-source"));
        command
            .arg("-d")
            .args(["-s", &self.connections.to_string()])
            .args(["-l", &self.bytes.to_string()])
            .args(["-m", &self.messages.to_string()])
            .args(["-f", "a@x.test", "-t", "help@help.test", to]);
        let before = Usage::of(pid)?.cpu;
        let begun = Instant::now();
        let mut source = quiet(command)?;
        let ended = tokio::task::spawn_blocking(move || source.wait()).await??;
        ensure!(ended.success(), "smtp-source: {ended}");
        let took = begun.elapsed();
        filed().await?;
        let all = begun.elapsed();
        let cpu = Usage::of(pid)?.cpu.saturating_sub(before);
        let messages = f64::from(self.messages);
        Ok(Round {
            per_second: messages / took.as_secs_f64(),
            filed_per_second: messages / all.as_secs_f64(),
            cpu_micros: cpu.as_secs_f64() * 1e6 / messages,
        })
    }
}

fn quiet(mut command: Command) -> anyhow::Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("{name}: install Debian's package postfix"))
}

/// A program that is ended when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
