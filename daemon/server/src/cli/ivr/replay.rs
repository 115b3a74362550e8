//! `helpline ivr replay`: a call that is over, once more, with the flows as they are now.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use helpline_core::ivr::flow::FlowSet;
use helpline_core::ivr::golden::Recorded;
use helpline_core::ivr::io::TraceLine;
use helpline_core::ivr::replay::{BEGAN, Began, CAME, Came, replay};

use super::super::ConfigArgs;
use super::super::call::stored;
use crate::config::Config;

/// Arguments of `helpline ivr replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The flow machine gets what came in on that call - keys, ends of sentences, answers of services and of
the store - at the same moments. With the flows of that call the same must come out. With newer
flows the lines show what this caller would have met; `-` is what happened, `+` what happens now.

Secrets were never stored: as many zeros stand for their digits, and what services answered to
them is left out, so that a call may depart there without anybody's fault.

Exit: 0 the same, or other flows; 1 the same flows, and something else came out.")]
pub(super) struct Replay {
    /// SIP Call-ID or its beginning, or a file of `helpline call trace CALL --json`.
    call: String,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Replay {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Ok(loaded) = Config::load(self.config.config.as_deref()) else {
            bail!("the configuration has faults; see `helpline check`");
        };
        let lines = if Path::new(&self.call).is_file() {
            of_file(Path::new(&self.call))?
        } else {
            stored(&loaded.config, &self.call).await?.1
        };
        let (set, _) = super::load_flow(&self.config, &flow_of(&lines)?)?;
        let past = Past::read(&lines)?;
        let is_same = past.revision == set.hash();
        let met = past.again(set, loaded.config.env())?;
        let departed = show(&past.trace, &met)?;
        let mut words = vec![if is_same {
            "the same flows"
        } else {
            "other flows"
        }];
        words.push(if departed {
            "another call"
        } else {
            "the same call"
        });
        if past.withheld {
            words.push("secrets of it were not stored");
        }
        println!("{}", words.join(", "));
        let at_fault = is_same && departed && !past.withheld;
        Ok(if at_fault {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// What is stored of a call.
struct Past {
    flow: String,
    revision: String,
    began: Began,
    came: Vec<Came>,
    trace: Vec<Recorded>,
    withheld: bool,
}

fn flow_of(lines: &[Recorded]) -> anyhow::Result<String> {
    let first = lines.first().context("nothing is stored of this call")?;
    Ok(first.flow.clone())
}

impl Past {
    fn read(lines: &[Recorded]) -> anyhow::Result<Past> {
        let began = lines.iter().find(|line| line.kind == BEGAN);
        let Some(began) = began else {
            bail!("what came in on this call was not stored: it is older than this version");
        };
        let began = serde_json::from_str(&began.data);
        let came = lines.iter().filter(|line| line.kind == CAME);
        let came: Result<Vec<Came>, _> = came.map(|l| serde_json::from_str(&l.data)).collect();
        let came = came.context("a line of what came in cannot be read")?;
        let revision = lines.iter().find(|line| line.kind == "begin");
        let revision = revision.and_then(|line| line.data.strip_prefix("revision "));
        // What could not be played is told by the call, in no flow's name.
        let told = |line: &&Recorded| {
            ![BEGAN, CAME, "begin"].contains(&line.kind.as_str()) && !line.flow.is_empty()
        };
        Ok(Past {
            flow: flow_of(lines)?,
            revision: revision.unwrap_or_default().to_owned(),
            began: began.context("how this call began cannot be read")?,
            withheld: came.iter().any(|came| came.withheld),
            came,
            trace: lines.iter().filter(told).cloned().collect(),
        })
    }

    fn again(
        &self,
        set: FlowSet,
        env: BTreeMap<String, String>,
    ) -> anyhow::Result<Vec<(u128, TraceLine)>> {
        let start = self.began.clone().start(&self.flow, env);
        let met = replay(Arc::new(set), start, self.came.clone())?;
        Ok(met
            .into_iter()
            .map(|(at, line)| (at.as_millis(), line))
            .collect())
    }
}

/// Prints the call as it was up to where it departs, and both from there on; whether it does.
fn show(was: &[Recorded], met: &[(u128, TraceLine)]) -> anyhow::Result<bool> {
    let alike = was.iter().zip(met).take_while(|(was, (_, met))| {
        was.flow == met.flow && was.node == met.node && was.kind == met.kind && was.data == met.data
    });
    let alike = alike.count();
    let mut out = std::io::stdout().lock();
    let mut line = |sign: char, at: u128, flow: &str, kind: &str, data: &str| {
        writeln!(
            out,
            "{sign} +{}.{:03} {flow} {kind} {data}",
            at / 1_000,
            at % 1_000
        )
    };
    for (n, was) in was.iter().enumerate() {
        let sign = if n < alike { ' ' } else { '-' };
        line(sign, was.at_ms.into(), &was.flow, &was.kind, &was.data)?;
    }
    for (at, met) in met.iter().skip(alike) {
        line('+', *at, &met.flow, met.kind, &met.data)?;
    }
    Ok(alike < was.len().max(met.len()))
}

/// Lines of `helpline call trace CALL --json`.
fn of_file(path: &Path) -> anyhow::Result<Vec<Recorded>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let line = |(n, line): (usize, &str)| {
        let line = serde_json::from_str::<Recorded>(line);
        line.with_context(|| format!("{}:{}", path.display(), n + 1))
    };
    text.lines().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, data: &str) -> Recorded {
        Recorded {
            at_ms: 0,
            flow: "t".into(),
            node: String::new(),
            kind: kind.into(),
            data: data.into(),
        }
    }

    #[test]
    fn what_cannot_be_run_again_is_refused_in_plain_words() {
        let refused = |lines: &[Recorded]| match Past::read(lines) {
            Ok(_) => panic!("{lines:?}"),
            Err(why) => format!("{why:#}"),
        };
        assert!(refused(&[]).contains("older than this version"));
        assert!(refused(&[line("begin", "revision 1")]).contains("older than this version"));
        assert!(refused(&[line(BEGAN, "{}")]).contains("how this call began"));
        let broken = [
            line(BEGAN, "{}"),
            line(CAME, "{\"us\":1,\"input\":{\"key_down\":\"x\"}}"),
        ];
        assert!(
            refused(&broken).contains("is no key"),
            "{}",
            refused(&broken)
        );
        assert!(flow_of(&[]).is_err());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("call.json");
        std::fs::write(&file, "{}\n").unwrap();
        let why = format!("{:#}", of_file(&file).unwrap_err());
        assert!(
            why.contains("call.json:1") && why.contains("missing field"),
            "{why}"
        );
    }

    #[test]
    fn the_first_line_that_departs_is_found() {
        let was = [line("node", "a"), line("key", "1")];
        let met = |data: &str| {
            ["a", data].map(|data| {
                let kind = if data == "a" { "node" } else { "key" };
                let line = TraceLine {
                    flow: "t".into(),
                    node: String::new(),
                    kind,
                    data: data.into(),
                };
                (0, line)
            })
        };
        assert!(!show(&was, &met("1")).unwrap());
        assert!(show(&was, &met("2")).unwrap());
        assert!(show(&was, &met("1")[..1]).unwrap());
    }
}
