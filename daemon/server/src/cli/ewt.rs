//! `helpline ewt replay TRACE`: what the wait estimator would have said at each request.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;
use helpline_core::queue::ewt::{Event, Experience, Forecast, Learner};
use serde::Deserialize;
use serde_json::Value;

/// First bytes of a gzip file (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Longest line, in bytes.
const LINE_MAX: u64 = 64 * 1024;
/// A line that is no event.
const MALFORMED: u8 = 2;

/// Arguments of `helpline ewt`.
#[derive(Debug, clap::Args)]
pub(super) struct Ewt {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read a trace and print an estimate for each request.
    Replay(Replay),
}

/// Arguments of `helpline ewt replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A trace is JSON Lines in the order of time; `t` is seconds since its start:

  {\"t\":0,\"ev\":\"roster\",\"agent\":1,\"on\":28800,\"off\":57600}     a planned shift; off may be null
  {\"t\":28800,\"ev\":\"agent_on\",\"agent\":1}                      also agent_off, break_start, break_end
  {\"t\":28860,\"ev\":\"request\",\"id\":7,\"kind\":\"asap\",\"must_wait\":true}
  {\"t\":28861,\"ev\":\"request\",\"id\":8,\"kind\":\"scheduled\",\"due\":36000}
  {\"t\":29100,\"ev\":\"dial\",\"id\":7,\"agent\":1,\"attempt\":1}
  {\"t\":29130,\"ev\":\"end\",\"id\":7,\"agent\":1,\"outcome\":\"no_answer\",\"retry_at\":29430}
  {\"t\":29430,\"ev\":\"ready\",\"id\":7,\"attempt\":2}                also due (a booked one joins), cancel

For each asap request one line is printed, in seconds, from what was known by then:

  {\"id\":7,\"mean\":107.2,\"p50\":60.5,\"p90\":403.5,\"p10\":12.0}

Nine of ten waits should be at or below p90. Other words of `ev` and other fields are ignored.

Exit: 0 the trace was read; 1 it cannot be opened; 2 a line of it is no event.")]
struct Replay {
    /// The trace, plain or gzip; `-` is the standard input.
    trace: PathBuf,
    /// Simulated futures a request; without it 256, or 64 with more than 40 agents.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(10..))]
    paths: Option<u16>,
    /// Mean handling time before any call has ended, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    handling: u32,
}

/// A line of a trace.
#[derive(Debug, Deserialize)]
struct Line {
    t: f64,
    ev: String,
    agent: Option<Value>,
    on: Option<f64>,
    off: Option<f64>,
    id: Option<u64>,
    kind: Option<String>,
    due: Option<f64>,
    must_wait: Option<bool>,
    outcome: Option<String>,
    retry_at: Option<f64>,
}

impl Ewt {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Command::Replay(replay) = self.command;
        replay.run()
    }
}

impl Replay {
    fn run(self) -> anyhow::Result<ExitCode> {
        let mut experience = Experience::new(f64::from(self.handling));
        if let Some(paths) = self.paths {
            experience = experience.with_paths(usize::from(paths));
        }
        let mut learner = Learner::new(experience);
        let mut trace = open(&self.trace)?;
        let mut out = io::stdout().lock();
        let mut bytes = Vec::new();
        for number in 1_u64.. {
            bytes.clear();
            let read = trace.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes);
            let told = match read {
                Ok(0) => break,
                Ok(_) => answer(&mut learner, &bytes),
                Err(error) => Err(error.to_string()),
            };
            match told {
                Ok(Some((id, forecast))) => print(&mut out, id, forecast)?,
                Ok(None) => {}
                Err(why) => {
                    eprintln!("{}:{number}: {why}", self.trace.display());
                    return Ok(ExitCode::from(MALFORMED));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A file of any of the forms, to be read by lines.
fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let plain: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| path.display().to_string())?)
    };
    let mut plain = BufReader::new(plain);
    let first = plain
        .fill_buf()
        .with_context(|| path.display().to_string())?;
    Ok(if first.starts_with(&GZIP) {
        Box::new(BufReader::new(MultiGzDecoder::new(plain)))
    } else {
        Box::new(plain)
    })
}

/// The learner takes a line; the estimate, if it is a request for a call at once.
fn answer(learner: &mut Learner, bytes: &[u8]) -> Result<Option<(u64, Forecast)>, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let line: Line = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let (now, must_wait) = (line.t, line.must_wait.unwrap_or(true));
    let Some(event) = event(line)? else {
        return Ok(None);
    };
    let asked = match event {
        Event::Asked(id) => Some(id),
        _ => None,
    };
    learner.take(now, event);
    let Some(id) = asked else {
        return Ok(None);
    };
    // Somebody is free: nobody waits, and there is nothing to learn from.
    let forecast = must_wait.then(|| learner.forecast(now, id, id)).flatten();
    Ok(Some((id, forecast.unwrap_or_default())))
}

fn event(line: Line) -> Result<Option<Event>, String> {
    let ev = line.ev.as_str();
    let missing = |field: &str| format!("{ev} needs `{field}`");
    let agent = || match &line.agent {
        Some(Value::String(name)) => Ok(name.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(missing("agent")),
    };
    let id = || line.id.ok_or_else(|| missing("id"));
    Ok(Some(match ev {
        "roster" => Event::Shift {
            agent: agent()?,
            begin: line.on.ok_or_else(|| missing("on"))?,
            end: line.off,
        },
        "agent_on" => Event::SignIn(agent()?),
        "agent_off" => Event::SignOut(agent()?),
        "break_start" => Event::Break(agent()?),
        "break_end" => Event::Back(agent()?),
        "request" => match line.kind.as_deref() {
            Some("asap") => Event::Asked(id()?),
            Some("scheduled") => Event::Booked {
                id: id()?,
                due: line.due.ok_or_else(|| missing("due"))?,
            },
            _ => return Err("`kind` of a request is asap or scheduled".to_owned()),
        },
        "due" | "ready" => Event::Joins(id()?),
        "cancel" => Event::Withdrawn(id()?),
        "dial" => Event::Dialled {
            id: id()?,
            agent: agent()?,
        },
        "end" => Event::Ended {
            id: id()?,
            agent: agent()?,
            unanswered: match line.outcome.as_deref() {
                Some("done") => None,
                Some("no_answer") => Some(line.retry_at),
                _ => return Err("`outcome` is done or no_answer".to_owned()),
            },
        },
        _ => return Ok(None),
    }))
}

/// Whoever reads it may read it line by line.
fn print(out: &mut impl Write, id: u64, forecast: Forecast) -> io::Result<()> {
    let Forecast {
        mean,
        p10,
        p50,
        p90,
        ..
    } = forecast;
    writeln!(
        out,
        "{{\"id\":{id},\"mean\":{mean:.1},\"p50\":{p50:.1},\"p90\":{p90:.1},\"p10\":{p10:.1}}}"
    )?;
    out.flush()
}
