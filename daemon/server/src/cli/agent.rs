//! `helpline agent`: who takes calls, and who does now.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use hyper::Method;
use serde_json::Value;

use super::{ConfigArgs, control};

/// Arguments of `helpline agent`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Agents are configured: [[agent]] names one, the telephone, the queues and the skills. One takes
calls who is `available`, and can be so only while the telephone is registered. Whoever does not
lift goes into a break; whose telephone is gone is `lagged`, and after five minutes `offline`.
The daemon has to run.

Exit: 0 done; 1 there is no such agent, the telephone is not registered, or the daemon cannot be
reached.")]
pub(super) struct Agent {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every agent: state, since when, telephone, queues, skills.
    List {
        /// Print JSON, an object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Let an agent take calls, pause, or leave; in a call it comes after it.
    Set {
        /// The agent.
        name: String,
        /// What the agent does from now on.
        state: Wanted,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wanted {
    Available,
    Break,
    Offline,
}

impl Wanted {
    const fn word(self) -> &'static str {
        match self {
            Wanted::Available => "available",
            Wanted::Break => "break",
            Wanted::Offline => "offline",
        }
    }
}

impl Agent {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List { json, config } => list(json, &config).await,
            Command::Set {
                name,
                state,
                config,
            } => set(&name, state, &config).await,
        }
    }
}

async fn list(json: bool, config: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = config.load()?;
    let (status, agents) = control::order(&config, Method::GET, "/agents", None).await?;
    if status != 200 {
        bail!("the daemon answered {status}");
    }
    if !json {
        println!(
            "{:<16} {:<10} {:<25} {:<12} {:<5} {:<20} skills",
            "agent", "state", "since", "phone", "reg.", "queues"
        );
    }
    for agent in agents.as_array().into_iter().flatten() {
        if json {
            println!("{agent}");
        } else {
            print(agent);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(agent: &Value) {
    let text = |key: &str| agent[key].as_str().unwrap_or_default();
    let words = |key: &str| {
        let words = agent[key].as_array().into_iter().flatten();
        words
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut state = text("state").to_owned();
    for more in ["reason", "wanted"] {
        if let Some(word) = agent[more].as_str() {
            state = format!("{state}/{word}");
        }
    }
    let registered = if agent["registered"] == true {
        "yes"
    } else {
        "no"
    };
    println!(
        "{:<16} {state:<10} {:<25} {:<12} {registered:<5} {:<20} {}",
        text("name"),
        text("since"),
        text("phone"),
        words("queues"),
        words("skills")
    );
}

async fn set(name: &str, state: Wanted, config: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = config.load()?;
    if !config.agent.iter().any(|agent| agent.name == name) {
        bail!("there is no [[agent]] named {name:?}");
    }
    let path = format!("/agents/{name}/{}", state.word());
    let (status, answer) = control::order(&config, Method::POST, &path, None).await?;
    match status {
        200 => {
            let now = answer["state"].as_str().unwrap_or_default();
            if now == state.word() {
                println!("{name} is {now}");
            } else {
                println!("{name} is {now}; {} comes after the call", state.word());
            }
            Ok(ExitCode::SUCCESS)
        }
        404 => bail!("the daemon knows no agent named {name:?}"),
        409 => bail!("the telephone of {name:?} is not registered"),
        other => bail!("the daemon answered {other}"),
    }
}
