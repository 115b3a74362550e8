//! `helpline bench mail`: messages taken a second, each durable before its 250, against
//! Postfix's own test sink, which keeps nothing, in the same run.

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::process::{Process, Usage};
use super::quantile;
use crate::cli::demo;

/// The sink takes its port within this time.
const SINK_LIMIT: Duration = Duration::from_secs(5);

/// Arguments of `helpline bench mail`.
///
/// Needs Debian's package postfix (smtp-source, smtp-sink); nothing of it is started but the
/// two programs. Sink and daemon take turns; the medians are compared. The daemon takes mail
/// first and reads it behind: its CPU time is counted to the last 250, and until all is filed.
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
    /// Where the package postfix lies: `/`, or the folder in which it was unpacked (`dpkg -x`)
    /// without being installed.
    #[arg(long, default_value = "/")]
    postfix: PathBuf,
}

/// What a round gave.
struct Round {
    /// Taken: the sender has its 250.
    per_second: f64,
    /// Read and filed, from the first message sent to the last one filed.
    filed_per_second: f64,
    /// To the last 250.
    taking_micros: f64,
    /// Until the last is filed.
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
        let both = |value: fn(&Round) -> f64| (median(&ours, value), median(&sink, value));
        let (rate, sink_rate) = both(|round| round.per_second);
        let (taking, sink_taking) = both(|round| round.taking_micros);
        let (cpu, sink_cpu) = both(|round| round.cpu_micros);
        let filed = median(&ours, |round| round.filed_per_second);
        println!(
            "helpline takes {rate:.0} messages a second ({:.2} of smtp-sink, which keeps nothing) for {taking:.0} us of CPU \
             ({:.1} times its), and files {filed:.0} for {cpu:.0} us in all",
            rate / sink_rate,
            taking / sink_taking,
        );
        println!(
            "{}",
            serde_json::json!({
                "messages_per_second": rate,
                "filed_per_second": filed,
                "taking_cpu_micros_per_message": taking,
                "cpu_micros_per_message": cpu,
                "sink_messages_per_second": sink_rate,
                "sink_cpu_micros_per_message": sink_cpu,
                "rate_ratio": rate / sink_rate,
                "taking_cpu_ratio": taking / sink_taking,
                "cpu_ratio": cpu / sink_cpu,
                "connections": self.connections,
                "bytes": self.bytes,
            })
        );
        Ok(ExitCode::SUCCESS)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.postfix.join("usr/sbin").join(name));
        command.env("LD_LIBRARY_PATH", self.postfix.join("usr/lib/postfix"));
        command
    }

    async fn sink(&self) -> anyhow::Result<Round> {
        let to = demo::free_tcp()?;
        let mut command = self.program("smtp-sink");
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
        let mut command = self.program("smtp-source");
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
        let (took, taking) = (begun.elapsed(), Usage::of(pid)?.cpu);
        filed().await?;
        let (all, cpu) = (begun.elapsed(), Usage::of(pid)?.cpu);
        let messages = f64::from(self.messages);
        let micros = |cpu: Duration| cpu.saturating_sub(before).as_secs_f64() * 1e6 / messages;
        Ok(Round {
            per_second: messages / took.as_secs_f64(),
            filed_per_second: messages / all.as_secs_f64(),
            taking_micros: micros(taking),
            cpu_micros: micros(cpu),
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
