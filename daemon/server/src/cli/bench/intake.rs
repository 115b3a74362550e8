//! `helpline bench intake`: how many requests a second are taken into the line, each durable
//! before it is acknowledged?

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;

use super::process::{Process, Usage};
use super::quantile;
use crate::cli::client::Poster;
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
        let urls: Vec<_> = nodes
            .iter()
            .map(|node| format!("http://{}/api/requests", node.http))
            .collect();
        let before = usage(&nodes)?;
        let length = Duration::from_secs(self.seconds.into());
        let seen = self.post(&urls, length).await?;
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

    async fn post(&self, urls: &[String], length: Duration) -> anyhow::Result<Vec<Seen>> {
        let mut clients = JoinSet::new();
        let failures = Arc::new(AtomicU32::new(0));
        let begin = Instant::now();
        let warm = begin + length.mul_f64(WARM_UP);
        for (client, url) in (0..self.clients).zip(urls.iter().cycle()) {
            let (url, failures, clients_all) = (url.clone(), Arc::clone(&failures), self.clients);
            clients.spawn(async move {
                let poster = Poster::new();
                let mut seen = Seen::default();
                let numbers = (client..NUMBERS).step_by(usize::try_from(clients_all)?);
                for number in numbers {
                    if begin.elapsed() >= length || failures.load(Ordering::Relaxed) > 0 {
                        break;
                    }
                    let body = format!("{{\"phone\":\"+44207{number:07}\"}}");
                    let asked = Instant::now();
                    let answer = poster.json(&url, body).await?;
                    if answer.status != 201 {
                        failures.fetch_add(1, Ordering::Relaxed);
                        seen.refused = Some(format!("{}: {}", answer.status, answer.text()));
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

/// CPU time of all daemons.
fn usage(nodes: &[Process]) -> anyhow::Result<Duration> {
    nodes
        .iter()
        .map(|node| Ok(Usage::of(node.pid())?.cpu))
        .sum()
}
