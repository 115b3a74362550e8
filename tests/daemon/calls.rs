//! Calls of real peers through the whole daemon.

mod agents;
mod callers;
mod customers;
mod line;
mod outside;
mod timing;
mod trunks;

use std::process::Command;
use std::time::Duration;

use crate::support::process::Daemon;

/// Trace lines of the calls whose Call-ID matches `like`, once their flow has ended:
/// kind and data.
fn trace(daemon: &Daemon, like: &str) -> Vec<String> {
    let ended =
        format!("select count(*) from call_trace where call_id like '{like}' and kind = 'end'");
    daemon.wait_row(&ended, "1", Duration::from_secs(15));
    let lines = format!(
        "select kind || ' ' || data from call_trace where call_id like '{like}' order by seq"
    );
    daemon.rows(&lines).into_iter().flatten().collect()
}

/// Fails unless `wanted` are lines of the trace in this order.
fn in_order(trace: &[String], wanted: &[&str]) {
    let mut rest = trace.iter();
    for line in wanted {
        assert!(
            rest.any(|l| l == line),
            "{line:?} is missing or too early:\n{}",
            trace.join("\n")
        );
    }
}

/// What `helpline` prints beside a running daemon; it must succeed.
fn helpline(daemon: &Daemon, words: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_helpline"))
        .args(words)
        .arg("--config")
        .arg(daemon.config_path())
        .envs(daemon.env.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}
