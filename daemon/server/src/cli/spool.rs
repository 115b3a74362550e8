//! `helpline spool`: mail that was set aside for people.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use helpline_core::id::MailInId;
use hyper::Method;

use super::{ConfigArgs, control};
use crate::store::peek::Peek;

/// Arguments of `helpline spool`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Set aside is what cannot be read (`too_deep`, `too_many_parts`, `no_headers`), is too large, names
several writers, or broke its reader three times. Nothing of it was answered or called.

Exit: 0 done; 1 there is no such message, or the daemon or its database cannot be reached.")]
pub(super) struct Spool {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List messages that were set aside, the latest first.
    List {
        /// So many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Write a message as it came to the standard output: `helpline spool show ID | helpline mail -`.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Have a message worked on again, as if it had just come. The daemon has to run.
    Retry {
        /// Its id.
        id: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

impl Spool {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List { limit, config } => list(limit, &config).await,
            Command::Show { id, config } => show(&id, &config).await,
            Command::Retry { id, config } => retry(&id, &config).await,
        }
    }
}

async fn list(limit: u32, config: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let peek = Peek::open(&config.load()?.store).await?;
    let mut out = std::io::stdout().lock();
    for mail in peek.set_aside(limit).await? {
        writeln!(
            out,
            "{}  {}  {:>9}  {:<15}  {}",
            mail.id,
            mail.received_at.rfc3339(),
            mail.size,
            mail.reason.as_deref().unwrap_or("-"),
            mail.mailbox.as_deref().unwrap_or("smtp"),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(id: &str, config: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let peek = Peek::open(&config.load()?.store).await?;
    let raw = peek.mail(&MailInId::from_text(id)).await?;
    let gone = || format!("there is no message {id}, or its bytes are gone (mail.keep_days)");
    let raw = raw.with_context(gone)?;
    std::io::stdout().lock().write_all(&raw)?;
    Ok(ExitCode::SUCCESS)
}

async fn retry(id: &str, config: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = config.load()?;
    let plain = id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let path = format!("/mail/{id}/retry");
    let status = match plain {
        true => control::order(&config, Method::POST, &path, None).await?.0,
        false => 404,
    };
    match status {
        200 => println!("{id} is worked on again"),
        404 => bail!("no message {id} is set aside, or its bytes are gone (mail.keep_days)"),
        other => bail!("the daemon answered {other}"),
    }
    Ok(ExitCode::SUCCESS)
}
