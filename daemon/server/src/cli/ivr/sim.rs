//! `helpline ivr sim`: a call of a flow as text, with a clock that runs only when told to.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use helpline_core::ivr::flow::Source;
use helpline_core::ivr::golden::{self, World};
use helpline_core::ivr::io::{Output, QueueView};
use helpline_core::ivr::sim::Sim;
use helpline_core::phone::PhoneNumber;

use super::super::ConfigArgs;
use super::audio::Sounds;
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
  speak 3s     the caller says something for so long
  queue position=2 waiting=5 agents=1 ewt=4m
               the line stands like this for the call that waits in it
  agent        a person takes the call that waits in a queue; talk_ended ends the talk
  hangup       the caller hangs up
  quit         end the simulation

or an event, as in golden tests:

  answered     somebody takes the call that waits in a queue (the flow of --help-flow)
  no_agents    nobody is there to take it
  full         the queue is full, or the room
  human, machine, fax    sound tells who answered; beep: the machine records from now on
  busy, no_answer, talk_ended    how a transfer ends
  talk_broke   the agent is lost, and the call waits again

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
    /// File with the world around the call, as it stands under `given` in a golden test:
    /// services, records, env, the queue.
    #[arg(long, value_name = "FILE")]
    given: Option<PathBuf>,
    /// Write what the caller hears into this WAV file; what is said then lasts as long as
    /// its recordings.
    #[arg(long, value_name = "OUT.wav")]
    audio: Option<PathBuf>,
    /// The flow that takes a call which waits in a queue.
    #[arg(long, value_name = "FLOW", default_value = "self-help")]
    help_flow: String,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Simulate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (set, flow) = super::load_flow(&self.config, &self.flow)?;
        let world = match &self.given {
            Some(path) => World::read(&Source {
                file: path.display().to_string(),
                text: std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
            })
            .map_err(|fault| anyhow::anyhow!("{fault}"))?,
            None => World::default(),
        };
        let wall = Clock::system().wall();
        let mut start = world.start(&flow, wall);
        let input = match &self.input {
            Some(json) => Some(serde_json::from_str(json).context("--input is no JSON object")?),
            None => start.input.is_empty().then(|| set.sample_input(&flow)),
        };
        if let Some(mut input) = input {
            golden::make_absolute(&mut input, wall);
            start.call.direction = if input.is_empty() { "in" } else { "out" };
            start.input = input;
        }
        if let Some(from) = &self.from {
            start.call.from = Some(PhoneNumber::parse(from, None).context("--from")?);
        }
        start.language.clone_from(&self.lang);
        start.hours.open &= !self.closed;
        let mut made = world.made();
        let sounds = match &self.audio {
            Some(_) => Some(Sounds::load(&super::setting(&self.config)?)?),
            None => None,
        };
        made.lengths = sounds.as_ref().map(Sounds::lengths);
        let mut sim = Sim::in_world(Arc::new(set), start, made)?;
        sim.answer_orders(world.orders());
        let help = world.help().unwrap_or(&self.help_flow);
        self.talk(&mut sim, help)?;
        if let (Some(sounds), Some(path)) = (&sounds, &self.audio) {
            sounds.write(&sim, path)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Reads what the caller does, until he or the call has had enough.
    fn talk(&self, sim: &mut Sim, help: &str) -> anyhow::Result<()> {
        let mut shown = 0;
        let asks = std::io::stdin().is_terminal();
        let mut lines = std::io::stdin().lock().lines();
        loop {
            shown = show(sim, shown)?;
            if sim.ended().is_some() {
                return Ok(());
            }
            if asks {
                print!("> ");
                std::io::stdout().flush()?;
            }
            match lines.next().transpose()? {
                None => return Ok(()),
                Some(line) if line.trim() == "quit" => return Ok(()),
                Some(line) => {
                    if let Err(why) = obey(sim, line.trim(), help) {
                        println!("  {why}");
                    }
                }
            }
        }
    }
}

/// Carries out what was typed.
fn obey(sim: &mut Sim, line: &str, help: &str) -> anyhow::Result<()> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let length = golden::duration(rest).filter(|length| *length <= Duration::from_secs(86_400));
    match (word, length) {
        ("", _) => match sim.next_at() {
            Some(at) => sim.wait(at.since(sim.now())),
            None => bail!("nothing more happens by itself: press a key, or hangup"),
        },
        ("hangup", _) => sim.hang_up(),
        ("wait", Some(length)) => sim.wait(length),
        ("speak", Some(length)) => sim.speak(length),
        ("queue", _) => {
            let view = view(rest).with_context(|| format!("{rest:?}: write position=2 ewt=4m"))?;
            if !sim.line(view) {
                bail!("the call does not wait in a queue");
            }
        }
        (keys, None)
            if keys.len() <= LINE_MAX && keys.chars().all(|c| "0123456789*#ABCD".contains(c)) =>
        {
            sim.press(keys);
        }
        ("agent", _) => {
            let taken = golden::happen(sim, "answered", None);
            taken.context("nobody can")?.map_err(anyhow::Error::msg)?;
        }
        (event, _) => match golden::happen(sim, event, Some(help)) {
            Some(happened) => happened.map_err(anyhow::Error::msg)?,
            None => bail!(
                "keys (0-9 * # A-D), an empty line, wait 3s, speak 3s, queue position=2 ewt=4m, an event, hangup or quit"
            ),
        },
    }
    Ok(())
}

/// `position=2 waiting=5 agents=1 ewt=4m`, in any order.
fn view(text: &str) -> Option<QueueView> {
    let mut view = QueueView::default();
    for word in text.split_whitespace() {
        let (name, value) = word.split_once('=')?;
        match name {
            "position" => view.position = Some(value.parse().ok()?),
            "waiting" => view.waiting = Some(value.parse().ok()?),
            "agents" => view.agents = Some(value.parse().ok()?),
            "ewt" => view.ewt = Some(golden::duration(value)?),
            _ => return None,
        }
    }
    Some(view)
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
