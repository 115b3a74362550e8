//! `helpline health`: is the daemon ready?

use std::process::ExitCode;
use std::time::Duration;

use super::ConfigArgs;
use super::client::get;
use crate::config::Config;

/// Not reachable.
const EXIT_UNREACHABLE: u8 = 3;

/// Arguments of `helpline health`.
#[derive(Debug, clap::Args)]
pub(super) struct Health {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Health {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Ok(loaded) = Config::load(self.config.config.as_deref()) else {
            anyhow::bail!("the configuration has faults; see `helpline check`");
        };
        let url = format!("http://{}/readyz", loaded.config.ops.listen);
        match tokio::time::timeout(Duration::from_secs(5), get(&url)).await {
            Ok(Ok(answer)) => {
                println!("{}", answer.text());
                Ok(if answer.status == 200 {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                })
            }
            Ok(Err(error)) => {
                eprintln!("helpline: {url}: {error:#}");
                Ok(ExitCode::from(EXIT_UNREACHABLE))
            }
            Err(_) => {
                eprintln!("helpline: {url}: no answer within 5 s");
                Ok(ExitCode::from(EXIT_UNREACHABLE))
            }
        }
    }
}
