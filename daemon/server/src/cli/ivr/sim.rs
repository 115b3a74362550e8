//! `helpline ivr sim`: a call of a flow as text, with a clock that runs only when told to.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use helpline_core::ivr::golden;
use helpline_core::ivr::io::{CallFacts, Input, Output, Start, Why};
use helpline_core::ivr::sim::{Answer, Sim};
use helpline_core::phone::PhoneNumber;

use super::super::ConfigArgs;
use crate::clock::Clock;

/// Longest line that is read, in bytes; more is no key.
const LINE_MAX: usize = 200;

/// Arguments of `helpline ivr sim`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Type, and press Enter:

  12#          press these keys, at once: they interrupt what is said
  (nothing)    let time run until something happens: words end, a timer runs out
  wait 3s      let so much time pass
  answered     somebody takes the call that waits in a queue (the flow of --help-flow)
  no_agents    nobody is there to take it
  full         the queue is full
  hangup       the caller hangs up
  quit         end the simulation

The same from a script:   printf '9\\n\\n' | helpline ivr sim callback-confirm

The clock is virtual: a sentence lasts 60 ms a character, and nothing is stored, called or
sent. A call that is worth keeping becomes a golden test; see `helpline ivr test --help`.

Exit: 0 the call ended or the input did; 1 the flow could not run.")]
pub(super) struct Simulate {
    /// Name of a flow, or a flow file.
    flow: String,
    /// The caller's number in E.164; without it the number is withheld.
    #[arg(long, value_name = "NUMBER")]
    from: Option<String>,
    /// Language of the caller, as `fr-FR`.
    #[arg(long, default_value = "en-US")]
    lang: String,
    /// The calendar says closed.
    #[arg(long)]
    closed: bool,
    /// Values of the flow's input as JSON; text such as "-7m" is so long ago. Default: a
    /// sample of each declared value.
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// The flow that takes a call which waits in a queue.
    #[arg(long, value_name = "FLOW", default_value = "self-help")]
    help_flow: String,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Simulate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (set, flow) = super::load_flow(&self.config, &self.flow)?;
        let mut input = match &self.input {
            Some(json) => serde_json::from_str(json).context("--input is no JSON object")?,
            None => set.sample_input(&flow),
        };
        let wall = Clock::system().wall();
        golden::make_absolute(&mut input, wall);
        let from = self
            .from
            .as_deref()
            .map(|from| PhoneNumber::parse(from, None));
        let start = Start {
            call: CallFacts {
                id: "sim".to_owned(),
                from: from.transpose().context("--from")?,
                to: "100".to_owned(),
                direction: if input.is_empty() { "in" } else { "out" },
            },
            flow,
            input,
            language: self.lang.clone(),
            wall,
            open: !self.closed,
        };
        let mut sim = Sim::new(Arc::new(set), start)?;
        sim.answer_orders(Answer::Done);
        let mut shown = 0;
        let asks = std::io::stdin().is_terminal();
        let mut lines = std::io::stdin().lock().lines();
        loop {
            shown = show(&sim, shown)?;
            if sim.ended().is_some() {
                return Ok(ExitCode::SUCCESS);
            }
            if asks {
                print!("> ");
                std::io::stdout().flush()?;
            }
            match lines.next().transpose()? {
                None => return Ok(ExitCode::SUCCESS),
                Some(line) if line.trim() == "quit" => return Ok(ExitCode::SUCCESS),
                Some(line) => {
                    if let Err(why) = self.obey(&mut sim, line.trim()) {
                        println!("  {why}");
                    }
                }
            }
        }
    }

    fn obey(&self, sim: &mut Sim, line: &str) -> anyhow::Result<()> {
        let join = |sim: &mut Sim, answer| match sim.join(answer) {
            true => Ok(()),
            false => bail!("the call does not wait in a queue"),
        };
        match line {
            "" => {
                match sim.next_at() {
                    Some(at) => sim.wait(at.since(sim.now())),
                    None => bail!("nothing more happens by itself: press a key, or hangup"),
                }
                Ok(())
            }
            "hangup" => {
                sim.input(Input::Hangup);
                Ok(())
            }
            "answered" => join(sim, Answer::Joined(self.help_flow.clone())),
            "no_agents" => join(sim, Answer::Left(Why::NoAgents)),
            "full" => join(sim, Answer::Left(Why::Full)),
            keys if keys.len() <= LINE_MAX
                && keys.chars().all(|c| "0123456789*#ABCD".contains(c)) =>
            {
                sim.press(keys);
                Ok(())
            }
            other => {
                let length = other.strip_prefix("wait ").and_then(golden::duration);
                let Some(length) = length.filter(|length| *length <= Duration::from_secs(86_400))
                else {
                    bail!(
                        "keys (0-9 * # A-D), an empty line, wait 3s, answered, no_agents, full, hangup or quit"
                    );
                };
                sim.wait(length);
                Ok(())
            }
        }
    }
}

/// Prints what came out since `from`; how much there is now.
fn show(sim: &Sim, from: usize) -> anyhow::Result<usize> {
    let mut out = std::io::stdout().lock();
    for (at, output) in sim.log().iter().skip(from) {
        match output {
            Output::Say { text, .. } => writeln!(out, "{at}   \"{text}\"")?,
            Output::Trace(line) if line.kind == "say" => {}
            Output::Trace(line) => writeln!(out, "{at} {} {}", line.kind, line.data)?,
            Output::Stop(_) => writeln!(out, "{at}   (interrupted)")?,
            _ => {}
        }
    }
    Ok(sim.log().len())
}
