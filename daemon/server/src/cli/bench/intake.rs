//! `helpline bench intake`: how many requests a second are taken into the line, each durable
//! before it is acknowledged?

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::process::{Process, Usage};
use super::quantile;
use crate::config::Config;

/// What is measured begins after this share of the time: connections stand by then.
const WARM_UP: f64 = 0.2;
/// Numbers of one exchange, London's: each client has a share of its own.
const NUMBERS: u32 = 10_000_000;

/// Arguments of `helpline bench intake`.
///
/// Starts daemons in processes of their own. Each client posts JSON over one connection,
/// the next request as soon as the last is acknowledged, for another number each time.
#[derive(Debug, clap::Args)]
pub(super) struct Intake {
    /// Clients at once, shared among the daemons.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    clients: u32,
    /// How long they post.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// A file with the URL of an empty PostgreSQL database; without it SQLite is measured.
    #[arg(long, value_name = "FILE")]
    postgres_url_file: Option<PathBuf>,
    /// Daemons on that database.
    #[arg(long, default_value_t = 1, requires = "postgres_url_file", value_parser = clap::value_parser!(u32).range(1..=8))]
    nodes: u32,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    answer_ms: Vec<f64>,
    refused: Option<String>,
}

impl Intake {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut nodes = Vec::new();
        for number in 0..self.nodes {
            let name = format!("intake-{number}");
            nodes.push(Process::start_with(&name, |config| self.fit(config)).await?);
        }
        let addresses: Vec<_> = nodes.iter().map(|node| node.http).collect();
        let before = usage(&nodes)?;
        let length = Duration::from_secs(self.seconds.into());
        let seen = self.post(&addresses, length).await?;
        let cpu = usage(&nodes)?.saturating_sub(before);
        let total: usize = seen.iter().map(|seen| seen.answer_ms.len()).sum();
        let refused = seen.iter().find_map(|seen| seen.refused.clone());
        ensure!(refused.is_none(), "a request was refused: {refused:?}");
        let mut standing = 0.0;
        for node in &nodes {
            standing = f64::max(standing, node.standing().await?);
        }
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let acknowledged = total as f64;
        ensure!(
            standing >= acknowledged,
            "{acknowledged} were acknowledged, {standing} stand in the line"
        );
        self.tell(seen, acknowledged, cpu)
    }

    fn fit(&self, config: &mut Config) {
        config.http.requests_per_minute = u32::MAX;
        config
            .store
            .postgres_url_file
            .clone_from(&self.postgres_url_file);
        for queue in &mut config.queue {
            queue.waiting_max = u32::MAX;
        }
    }

    async fn post(&self, nodes: &[SocketAddr], length: Duration) -> anyhow::Result<Vec<Seen>> {
        let mut clients = JoinSet::new();
        let failures = Arc::new(AtomicU32::new(0));
        let begin = Instant::now();
        let warm = begin + length.mul_f64(WARM_UP);
        for (client, address) in (0..self.clients).zip(nodes.iter().copied().cycle()) {
            let (failures, clients_all) = (Arc::clone(&failures), self.clients);
            clients.spawn(async move {
                let mut poster = Poster::connect(address).await?;
                let mut seen = Seen::default();
                let numbers = (client..NUMBERS).step_by(usize::try_from(clients_all)?);
                for number in numbers {
                    if begin.elapsed() >= length || failures.load(Ordering::Relaxed) > 0 {
                        break;
                    }
                    let body = format!("{{\"phone\":\"+44207{number:07}\"}}");
                    let asked = Instant::now();
                    let answer = poster.post(&body).await?;
                    if !answer.starts_with("HTTP/1.1 201 ") {
                        failures.fetch_add(1, Ordering::Relaxed);
                        seen.refused = Some(answer.to_owned());
                    } else if asked >= warm {
                        seen.answer_ms.push(asked.elapsed().as_secs_f64() * 1_000.0);
                    }
                }
                anyhow::Ok(seen)
            });
        }
        let mut all = Vec::new();
        while let Some(seen) = clients.join_next().await {
            all.push(seen.context("a client ended")??);
        }
        Ok(all)
    }

    fn tell(&self, seen: Vec<Seen>, total: f64, cpu: Duration) -> anyhow::Result<ExitCode> {
        let mut answer_ms: Vec<f64> = seen.into_iter().flat_map(|seen| seen.answer_ms).collect();
        answer_ms.sort_by(f64::total_cmp);
        let rate = total / (f64::from(self.seconds) * (1.0 - WARM_UP));
        let (p50, p99) = (quantile(&answer_ms, 0.5), quantile(&answer_ms, 0.99));
        println!(
            "{rate:.0} requests a second by {} clients; acknowledged in {p50:.1} ms (median), {p99:.1} ms (p99)",
            self.clients
        );
        println!(
            "{}",
            serde_json::json!({
                "store": if self.postgres_url_file.is_some() { "postgres" } else { "sqlite" },
                "nodes": self.nodes,
                "clients": self.clients,
                "requests_per_second": rate,
                "answer_ms_p50": p50,
                "answer_ms_p99": p99,
                "answer_ms_max": quantile(&answer_ms, 1.0),
                "cpu_ms_per_request": cpu.as_secs_f64() * 1_000.0 * (1.0 - WARM_UP) / total,
            })
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// A connection that is kept, and costs next to nothing beside the daemon: client and daemon
/// share the machine.
struct Poster {
    stream: TcpStream,
    head: String,
    answer: Vec<u8>,
}

impl Poster {
    async fn connect(to: SocketAddr) -> anyhow::Result<Poster> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "POST /api/requests HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\nContent-Length: "
        );
        Ok(Poster {
            stream,
            head,
            answer: Vec::new(),
        })
    }

    /// Sends a request; the whole answer.
    async fn post(&mut self, body: &str) -> anyhow::Result<&str> {
        let request = format!("{}{}\r\n\r\n{body}", self.head, body.len());
        self.stream.write_all(request.as_bytes()).await?;
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the daemon closed the connection");
            if is_whole(&self.answer) {
                return Ok(std::str::from_utf8(&self.answer)?);
            }
        }
    }
}

/// Whether an answer is all there, by its Content-Length.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|l| l.trim().parse().ok()).unwrap_or(0);
    answer.len() >= end + 4 + length
}

/// CPU time of all daemons.
fn usage(nodes: &[Process]) -> anyhow::Result<Duration> {
    nodes
        .iter()
        .map(|node| Ok(Usage::of(node.pid())?.cpu))
        .sum()
}
