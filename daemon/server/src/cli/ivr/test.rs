//! `helpline ivr test`: golden tests of flows, and what of the flows they take.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use helpline_core::ivr::flow::{FlowSet, Severity, Source};
use helpline_core::ivr::golden::{Coverage, GoldenTest, update, walk};

use super::super::ConfigArgs;
use crate::voice::flows;

/// How test files end.
const TEST_ENDING: &str = ".test.yaml";
/// Largest test file in bytes; the reader of its text has a limit of its own.
const BYTES_MAX: u64 = 1024 * 1024;

/// Arguments of `helpline ivr test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A test says what a caller does and what must come of it, in virtual time:

  # callback-confirm.refused.test.yaml
  flow: callback-confirm
  given: { input: { request: { queue: web-help, asked_at: \"-7m\" } } }
  steps:
    - expect: { said: \"Press 1 to accept\" }
    - press: \"9\"
    - expect: { does: { store: refused }, end: 16 }

docs/IVR.md explains every word. Without PATHS the built-in tests run.

Exit: 0 all passed and enough is covered; 1 otherwise.")]
pub(super) struct Test {
    /// Test files, or folders of them. Flows beside them are tested in place of the built-in
    /// ones of the same name.
    paths: Vec<PathBuf>,
    /// Least share of the ways of each flow entered that the tests must take, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    min_coverage: u32,
    /// Also walk through every flow so many times as a random caller.
    #[arg(long, value_name = "TIMES", default_value_t = 0)]
    walk: u32,
    /// Seed of the first walk; each further one has the next.
    #[arg(long, default_value_t = 1, requires = "walk")]
    seed: u64,
    /// The flow that takes walking calls which wait in a queue.
    #[arg(
        long,
        value_name = "FLOW",
        default_value = "self-help",
        requires = "walk"
    )]
    help_flow: String,
    /// Name what no test takes.
    #[arg(long)]
    missing: bool,
    /// First put the words that are spoken now in place of those the tests expect (`said`), in
    /// their files. What calls do is never rewritten.
    #[arg(long, requires = "paths")]
    update: bool,
    /// Print the trace of every test, not only of those that fail.
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Test {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut sources = if self.paths.is_empty() {
            flows::built_in_tests()
        } else {
            let mut sources = Vec::new();
            for path in &self.paths {
                sources.extend(read(path)?);
            }
            sources
        };
        if sources.is_empty() {
            bail!("no test found: test files end with {TEST_ENDING}");
        }
        let set = Arc::new(self.flows()?);
        for source in sources.iter_mut().filter(|_| self.update) {
            reword(source, &set)?;
        }
        let mut coverage = Coverage::default();
        let mut failed = 0;
        for source in &sources {
            let passed = match GoldenTest::read(source) {
                Ok(test) => self.one(&test, &set, &mut coverage),
                Err(fault) => {
                    println!("{fault}");
                    false
                }
            };
            failed += usize::from(!passed);
        }
        let covered = self.cover(&set, &coverage);
        let walked = self.walks(&set);
        println!(
            "{} of {} tests passed",
            sources.len() - failed,
            sources.len()
        );
        Ok(if failed == 0 && covered && walked {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// The flows of the configuration, and those beside the tests.
    fn flows(&self) -> anyhow::Result<FlowSet> {
        let mut beside = BTreeSet::new();
        for path in &self.paths {
            let folder = if path.is_dir() {
                Some(path.as_path())
            } else {
                path.parent()
            };
            // Tests lie in a folder `tests` of that of the flows, or beside them.
            let folder = folder.map(|f| {
                if f.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    f
                }
            });
            beside.extend(folder.map(Path::to_owned));
            beside.extend(
                folder
                    .and_then(Path::parent)
                    .filter(|f| f.is_dir())
                    .map(Path::to_owned),
            );
        }
        let paths: Vec<PathBuf> = beside.into_iter().collect();
        let (set, faults) = super::load(&self.config, &paths)?;
        set.with_context(|| {
            let errors = faults.iter().filter(|f| f.severity == Severity::Error);
            errors
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        })
    }

    fn one(&self, test: &GoldenTest, set: &Arc<FlowSet>, coverage: &mut Coverage) -> bool {
        let outcome = test.run(set, coverage);
        let file = &test.file;
        match &outcome.failure {
            None => println!("passed {file}"),
            Some(failure) => println!("{file}:{}: FAILED {}", failure.line, failure.message),
        }
        if self.trace || outcome.failure.is_some() {
            for line in outcome.trace.lines() {
                println!("    {line}");
            }
        }
        outcome.failure.is_none()
    }

    /// Random calls of every flow; the first of each that does not end well is printed as a
    /// test.
    fn walks(&self, set: &Arc<FlowSet>) -> bool {
        let help = Some(self.help_flow.as_str()).filter(|flow| set.has(flow));
        let mut well = true;
        for flow in set.names().filter(|_| self.walk > 0) {
            let seeds = (0..u64::from(self.walk)).map(|n| self.seed.wrapping_add(n));
            let failed = seeds
                .map(|seed| walk(set, flow, help, seed))
                .find_map(|walk| {
                    let why = walk.failure?;
                    Some((why, walk.test))
                });
            match failed {
                None => println!("{flow}: {} random calls ended well", self.walk),
                Some((why, test)) => {
                    well = false;
                    println!("{flow}: FAILED in a random call: {why}\n{test}");
                }
            }
        }
        well
    }

    fn cover(&self, set: &FlowSet, coverage: &Coverage) -> bool {
        let mut enough = true;
        for flow in coverage.flows() {
            let Some(covered) = coverage.of(set, flow) else {
                continue;
            };
            let percent = covered.percent();
            println!(
                "{flow}: {} of {} nodes, {} of {} ways ({percent} %)",
                covered.nodes.0, covered.nodes.1, covered.ways.0, covered.ways.1
            );
            let too_little = percent < usize::try_from(self.min_coverage).unwrap_or(100);
            enough &= !too_little;
            if self.missing || too_little {
                for (line, words) in &covered.missing {
                    println!("    line {line}: {words}");
                }
            }
        }
        enough
    }
}

/// Words that changed are put into the test's file.
fn reword(source: &mut Source, set: &Arc<FlowSet>) -> anyhow::Result<()> {
    // A file that is no test is told of when it should run.
    let Ok((text, reworded)) = update(source, set) else {
        return Ok(());
    };
    for change in &reworded {
        println!(
            "{}:{}: {:?} is now {:?}",
            source.file, change.line, change.was, change.now
        );
    }
    if !reworded.is_empty() {
        fs::write(&source.file, &text).with_context(|| source.file.clone())?;
        source.text = text;
    }
    Ok(())
}

/// The test files of a folder, in order of their names, or the one file.
fn read(path: &Path) -> anyhow::Result<Vec<Source>> {
    let files = if path.is_dir() {
        let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut files = Vec::new();
        for entry in entries {
            let file = entry?.path();
            if file.to_string_lossy().ends_with(TEST_ENDING) {
                files.push(file);
            }
        }
        files.sort();
        files
    } else {
        vec![path.to_owned()]
    };
    files
        .into_iter()
        .map(|file| {
            let name = file.display().to_string();
            let length = fs::metadata(&file).with_context(|| name.clone())?.len();
            if length > BYTES_MAX {
                bail!("{name}: longer than {BYTES_MAX} bytes");
            }
            let text = fs::read_to_string(&file).with_context(|| name.clone())?;
            Ok(Source { file: name, text })
        })
        .collect()
}
