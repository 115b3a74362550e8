//! `helpline bench dial`: how long until the customer's phone is called?

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::{Scratch, quantile};
use crate::cli::client::post;
use crate::cli::demo;
use crate::clock::Clock;
use crate::daemon::Daemon;
use crate::voice::phone::{Behaviour, PhoneEvent, PickUp};

/// Rest between two requests, so that each meets an idle daemon.
const REST: Duration = Duration::from_millis(300);

/// Arguments of `helpline bench dial`.
#[derive(Debug, clap::Args)]
pub(super) struct Dial {
    /// Requests, one after another.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=900))]
    count: u32,
}

impl Dial {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let scratch = Scratch::new("dial")?;
        let behaviour = Behaviour {
            pick_up: PickUp::Reject(486),
            ..Behaviour::default()
        };
        let (phone, mut rings) = demo::start_phone(behaviour).await?;
        let mut config = demo::config(&scratch.0, phone.address())?;
        config.http.requests_per_minute = u32::MAX;
        for trunk in &mut config.trunk {
            trunk.calls_per_second = 1_000.0;
        }
        let daemon = Daemon::start(config, Clock::system()).await?;
        let http = daemon.addresses().http.context("no web listener")?;
        let url = format!("http://{http}/api/requests");
        let mut invite_ms = Vec::new();
        let mut answer_ms = Vec::new();
        for n in 0..self.count {
            tokio::time::sleep(REST).await;
            let body = format!("{{\"phone\":\"+44207946{:04}\"}}", 100 + n);
            let began = Instant::now();
            let answer = tokio::spawn({
                let url = url.clone();
                async move { post(&url, &[("content-type", "application/json")], body).await }
            });
            let rang = loop {
                let event = tokio::time::timeout(Duration::from_secs(10), rings.recv()).await;
                match event
                    .context("no INVITE within 10 s")?
                    .context("the phone is gone")?
                {
                    PhoneEvent::Rang { .. } => break began.elapsed(),
                    _ => continue,
                }
            };
            invite_ms.push(rang.as_secs_f64() * 1_000.0);
            let answer = answer.await??;
            ensure!(answer.status == 201, "{}: {}", answer.status, answer.text());
            answer_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        daemon.stop(Duration::ZERO).await;
        phone.stop().await;
        invite_ms.sort_by(f64::total_cmp);
        answer_ms.sort_by(f64::total_cmp);
        println!(
            "from POST to INVITE: median {:.1} ms, slowest {:.1} ms",
            quantile(&invite_ms, 0.5),
            quantile(&invite_ms, 1.0)
        );
        println!(
            "{}",
            serde_json::json!({
                "requests": self.count,
                "invite_ms_p50": quantile(&invite_ms, 0.5),
                "invite_ms_p99": quantile(&invite_ms, 0.99),
                "invite_ms_max": quantile(&invite_ms, 1.0),
                "answer_ms_p50": quantile(&answer_ms, 0.5),
                "answer_ms_max": quantile(&answer_ms, 1.0),
            })
        );
        Ok(ExitCode::SUCCESS)
    }
}
