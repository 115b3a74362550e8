//! `helpline numbers`: the do-not-call list.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use helpline_core::phone::PhoneNumber;
use hyper::Method;
use serde_json::json;

use super::{ConfigArgs, control};

/// Arguments of `helpline numbers`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A blocked number is refused at every way in and is not called; its open requests end as
`suppressed`, and a call in progress is ended. The list keeps no digits, only a hash of each
number. The daemon has to run.

Exit: 0 done; 1 it was not on the list, or the daemon cannot be reached.")]
pub(super) struct Numbers {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Never call a number, or not for a time.
    Block {
        /// The number, as people write it.
        number: String,
        /// For so long (`12h`, `90d`); without it until it is unblocked.
        #[arg(long = "for", value_name = "TIME", value_parser = super::period)]
        period: Option<Duration>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Let a number be called again, also one whose owner said "stop".
    Unblock {
        /// The number, as people write it.
        number: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

impl Numbers {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Block {
                number,
                period,
                config,
            } => block(&number, period, &config).await,
            Command::Unblock { number, config } => unblock(&number, &config).await,
        }
    }
}

async fn block(
    number: &str,
    period: Option<Duration>,
    config: &ConfigArgs,
) -> anyhow::Result<ExitCode> {
    let config = config.load()?;
    let number = read(number, config.dial.region.as_deref())?;
    let order = json!({ "number": number.as_str(), "seconds": period.map(|p| p.as_secs()) });
    let (status, answer) = control::order(&config, Method::POST, "/numbers", Some(order)).await?;
    if status != 200 {
        bail!("the daemon answered {status}");
    }
    println!("{} is blocked", number.as_str());
    if let Some(ended) = answer["ended"].as_u64().filter(|ended| *ended > 0) {
        println!("{ended} open requests of it have ended");
    }
    Ok(ExitCode::SUCCESS)
}

async fn unblock(number: &str, config: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = config.load()?;
    let number = read(number, config.dial.region.as_deref())?;
    let path = format!("/numbers/{}", number.as_str());
    let (status, _) = control::order(&config, Method::DELETE, &path, None).await?;
    match status {
        200 => println!("{} may be called again", number.as_str()),
        404 => bail!("{} is not on the list", number.as_str()),
        other => bail!("the daemon answered {other}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A number as people write it.
pub(super) fn read(number: &str, region: Option<&str>) -> anyhow::Result<PhoneNumber> {
    PhoneNumber::parse(number, region).with_context(|| format!("{number:?} is no number"))
}
