//! `helpline check`: everything an operator wrote, checked as the start does it.

use std::process::ExitCode;

use super::ConfigArgs;
use crate::config::Config;
use crate::daemon;

/// Arguments of `helpline check`.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let loaded = match Config::load(self.config.config.as_deref()) {
            Ok(loaded) => loaded,
            Err(faults) => {
                for fault in &faults {
                    eprintln!("{fault}");
                }
                eprintln!("{} in the configuration", count(faults.len()));
                return Ok(ExitCode::FAILURE);
            }
        };
        for warning in &loaded.warnings {
            eprintln!("warning: {warning}");
        }
        let faults = daemon::check(&loaded.config);
        for fault in &faults {
            eprintln!("{fault}");
        }
        if !faults.is_empty() {
            eprintln!("{}", count(faults.len()));
            return Ok(ExitCode::FAILURE);
        }
        println!("configuration, flows, prompts and templates are in order");
        Ok(ExitCode::SUCCESS)
    }
}

fn count(n: usize) -> String {
    if n == 1 {
        "1 fault".to_owned()
    } else {
        format!("{n} faults")
    }
}
