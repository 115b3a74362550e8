//! The command line: one file a command.

mod bench;
mod call;
mod check;
mod client;
mod demo;
mod dtmf;
mod ewt;
mod health;
mod ivr;
mod schema;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// What was done on calls that are over.
    Call(call::Call),
    /// Check, try, test and draw call flows, without a telephone.
    Ivr(ivr::Ivr),
    /// Try the wait estimator on what happened at a desk.
    Ewt(ewt::Ewt),
    /// Find the DTMF keys in a recording.
    Dtmf(dtmf::Dtmf),
    /// Print a JSON Schema: config, help-request, ivr-flow, ivr-test, openapi.
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
            Command::Call(call) => call.run().await,
            Command::Ivr(command) => command.run().await,
            Command::Ewt(ewt) => ewt.run(),
            Command::Dtmf(dtmf) => dtmf.run(),
            Command::Schema(schema) => schema.run(),
            Command::Bench(bench) => bench.run().await,
        }
    }
}
