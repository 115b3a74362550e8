//! `helpline serve`: the daemon.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use super::ConfigArgs;
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::{Daemon, Passed};
use crate::log;

/// Arguments of `helpline serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        log::init();
        let loaded = match Config::load(self.config.config.as_deref()) {
            Ok(loaded) => loaded,
            Err(faults) => {
                for fault in faults {
                    eprintln!("{fault}");
                }
                return Ok(ExitCode::FAILURE);
            }
        };
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        // Before anybody is told that it serves: a signal nobody handles would end the process.
        let terminate = Arc::new(Mutex::new(signal(SignalKind::terminate())?));
        let interrupt = Arc::new(Mutex::new(signal(SignalKind::interrupt())?));
        let passed = Passed::from_environment()?;
        let daemon = Daemon::start_on(loaded.config, Clock::system(), passed).await?;
        let at = daemon.addresses();
        tracing::info!(
            http = ?at.http, ops = %at.ops, smtp = ?at.smtp, submission = ?at.submission,
            sip = ?at.sip, "serving"
        );
        daemon
            .run(|| {
                let (terminate, interrupt) = (Arc::clone(&terminate), Arc::clone(&interrupt));
                async move {
                    let (mut terminate, mut interrupt) =
                        (terminate.lock().await, interrupt.lock().await);
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                }
            })
            .await?;
        Ok(ExitCode::SUCCESS)
    }
}
