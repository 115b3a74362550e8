//! `helpline ivr replay`: a call that is over, once more, with the flows as they are now.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use helpline_core::ivr::golden::Recorded;
use helpline_core::ivr::replay::{Again, Past};

use super::super::ConfigArgs;
use super::super::call::stored;
use crate::config::Config;

/// Longest file that is read, in bytes.
const FILE_MAX: u64 = 32 * 1024 * 1024;

/// Arguments of `helpline ivr replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The flow machine gets what came in on that call - keys, ends of sentences, answers of services and of
the store - at the same moments. With the flows of that call the same must come out. With newer
flows the lines show what this caller would have met; `-` is what happened, `+` what happens now.

Secrets were never stored: as many zeros stand for their digits, and what services answered to
them is left out, so that a call may depart from there on without anybody's fault. Values of `env`
are not stored either: they are those of today.

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
        let past = Past::read(&lines).map_err(anyhow::Error::msg)?;
        let (set, _) = super::load_flow(&self.config, &past.flow)?;
        let is_same = past.revision == set.hash();
        let again = past.again(Arc::new(set), loaded.config.env())?;
        show(&past, &again)?;
        let flows = if is_same {
            "the same flows"
        } else {
            "other flows"
        };
        let call = if again.departs {
            "another call"
        } else {
            "the same call"
        };
        let withheld = match past.withheld_at() {
            Some(at) => format!(
                ", not all of it is stored from +{}.{:03} on",
                at / 1_000,
                at % 1_000
            ),
            None => String::new(),
        };
        println!("{flows}, {call}{withheld}");
        if is_same && again.departs && !again.excused {
            Ok(ExitCode::FAILURE)
        } else {
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints the call as it was up to where it departs, and both from there on.
fn show(past: &Past, again: &Again) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut line = |sign: char, at: u128, flow: &str, kind: &str, data: &str| {
        let (seconds, millis) = (at / 1_000, at % 1_000);
        writeln!(out, "{sign} +{seconds}.{millis:03} {flow} {kind} {data}")
    };
    for (n, was) in past.trace.iter().enumerate() {
        let sign = if n < again.alike { ' ' } else { '-' };
        line(sign, was.at_ms.into(), &was.flow, &was.kind, &was.data)?;
    }
    for (at, now) in again.trace.iter().skip(again.alike) {
        line('+', at.as_millis(), &now.flow, now.kind, &now.data)?;
    }
    Ok(())
}

/// Lines of `helpline call trace CALL --json`.
fn of_file(path: &Path) -> anyhow::Result<Vec<Recorded>> {
    let length = std::fs::metadata(path).map_or(0, |facts| facts.len());
    if length > FILE_MAX {
        let most = FILE_MAX / 1024 / 1024;
        bail!("{}: longer than {most} MiB", path.display());
    }
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

    #[test]
    fn a_faulty_file_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("call.json");
        std::fs::write(&file, "{}\n").unwrap();
        let why = format!("{:#}", of_file(&file).unwrap_err());
        assert!(
            why.contains("call.json:1") && why.contains("missing field"),
            "{why}"
        );
        let long = std::fs::File::create(&file).unwrap();
        long.set_len(FILE_MAX + 1).unwrap();
        let why = format!("{:#}", of_file(&file).unwrap_err());
        assert!(why.contains("longer than 32 MiB"), "{why}");
    }
}
