//! The command line: one file a command.

mod agent;
mod bench;
mod call;
mod check;
mod client;
mod control;
mod demo;
mod dtmf;
mod ewt;
mod health;
mod ivr;
mod mail;
mod numbers;
mod queue;
mod report;
mod schema;
mod serve;
mod smtp_user;
mod spool;
mod templates;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;

use crate::config::{Config, Period};

/// Calls people back: one durable line for requests from web, mail and telephone.
///
/// Start with `helpline demo`: it shows the whole way of two requests on this machine,
/// without a trunk or a mail server. `helpline serve` is the daemon.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Serve(serve::Serve),
    /// Show the whole way of two help requests on this machine, in about half a minute.
    Demo(demo::Demo),
    /// Check configuration, flows, prompts and templates; every fault with file and line.
    Check(check::Check),
    /// Ask a running daemon whether it is ready (exit 0 ready, 1 not ready, 3 not reachable).
    Health(health::Health),
    /// Look at the line: list, show, cancel, retry and add requests.
    Queue(queue::Queue),
    /// Mail that was set aside: list, show and retry messages.
    Spool(spool::Spool),
    /// A password, and its line for the file of those who may log in to send mail.
    SmtpUser(smtp_user::SmtpUser),
    /// Who takes calls: list them, and let one start, pause or leave.
    Agent(agent::Agent),
    /// The do-not-call list: block and unblock numbers.
    Numbers(numbers::Numbers),
    /// Waits, outcomes and how promises were kept, by queue and day.
    Report(report::Report),
    /// What was done on calls that are over.
    Call(call::Call),
    /// Check, try, test and draw call flows, without a telephone.
    Ivr(ivr::Ivr),
    /// Try the wait estimator on what happened at a desk.
    Ewt(ewt::Ewt),
    /// Show what is understood of a mail: kind, text, numbers, time.
    Mail(mail::Mail),
    /// The texts of mails: list, export, check and preview templates.
    Templates(templates::Templates),
    /// Find the DTMF keys in a recording.
    Dtmf(dtmf::Dtmf),
    /// Print a JSON Schema: config, help-request, ivr-flow, ivr-test, mail, openapi.
    Schema(schema::Schema),
    /// Measure on this machine.
    Bench(bench::Bench),
}

/// The configuration file of a command.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file; without it the defaults (loopback, SQLite, mail to a folder).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The configuration, if it has no fault.
    fn load(&self) -> anyhow::Result<Config> {
        match Config::load(self.config.as_deref()) {
            Ok(loaded) => Ok(loaded.config),
            Err(_) => anyhow::bail!("the configuration has faults; see `helpline check`"),
        }
    }
}

/// A length of time on the command line, written as in the configuration.
fn period(text: &str) -> Result<Duration, String> {
    let read = Period::deserialize(text.into_deserializer());
    let read: Result<Period, serde::de::value::Error> = read;
    read.map(|Period(length)| length)
        .map_err(|_| "write a length of time: 24h, 90m, 7d".to_owned())
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// What stopped it, with its cause.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => serve.run().await,
            Command::Demo(demo) => demo.run().await,
            Command::Check(check) => check.run(),
            Command::Health(health) => health.run().await,
            Command::Queue(queue) => queue.run().await,
            Command::Spool(spool) => spool.run().await,
            Command::SmtpUser(user) => user.run(),
            Command::Agent(agent) => agent.run().await,
            Command::Numbers(numbers) => numbers.run().await,
            Command::Report(report) => report.run().await,
            Command::Call(call) => call.run().await,
            Command::Ivr(command) => command.run().await,
            Command::Ewt(ewt) => ewt.run(),
            Command::Mail(mail) => mail.run().await,
            Command::Templates(templates) => templates.run(),
            Command::Dtmf(dtmf) => dtmf.run(),
            Command::Schema(schema) => schema.run(),
            Command::Bench(bench) => bench.run().await,
        }
    }
}
