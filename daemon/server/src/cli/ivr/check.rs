//! `helpline ivr check`: all faults of flows, for people, editors and scripts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use helpline_core::ivr::flow::{Fault, Severity};
use serde_json::json;

use super::super::ConfigArgs;

/// Arguments of `helpline ivr check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints one line a fault:

  FILE:LINE:COLUMN: CODE what is wrong and what to write instead

Codes that begin with E are errors: the daemon would refuse the flows. Those with W are
warnings. docs/IVR.md lists them all.

The flows given are checked together with the built-in ones and those of the
configuration, which they replace by file name; only their own faults are told.

Exit: 0 no error (with --strict: no warning either); 1 otherwise.")]
pub(super) struct Check {
    /// Flow files, or folders of them. Default: all flows of the configuration.
    paths: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON array of faults instead of lines.
    #[arg(long)]
    json: bool,
    /// Warnings count as errors.
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (set, mut faults) = super::load(&self.config, &self.paths)?;
        if !self.paths.is_empty() {
            faults.retain(|fault| self.is_ours(fault));
        }
        if self.json {
            let faults: Vec<_> = faults.iter().map(as_json).collect();
            println!("{}", json!(faults));
        } else {
            for fault in &faults {
                println!("{fault}");
            }
        }
        let errors = faults.iter().filter(|f| f.severity == Severity::Error);
        let (errors, all) = (errors.count(), faults.len());
        let flows: BTreeSet<&str> = set.iter().flat_map(|set| set.names()).collect();
        eprintln!(
            "{} and {}{}",
            counted(errors, "error"),
            counted(all - errors, "warning"),
            if flows.is_empty() {
                String::new()
            } else {
                format!(" in {}", counted(flows.len(), "flow"))
            }
        );
        // A set may also be refused for what lies outside the files that were asked for.
        let refused = errors > 0 || (self.paths.is_empty() && set.is_none());
        Ok(if refused || (self.strict && all > 0) {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    fn is_ours(&self, fault: &Fault) -> bool {
        let file = PathBuf::from(&fault.file);
        self.paths.iter().any(|path| file.starts_with(path))
    }
}

fn as_json(fault: &Fault) -> serde_json::Value {
    json!({
        "file": fault.file,
        "line": fault.line,
        "column": fault.column,
        "code": fault.code,
        "severity": match fault.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": fault.message,
    })
}

fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
