//! kill -9 at any moment: no acknowledged request is lost, no attempt is called twice.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::support::process::{Daemon, Program, free_port};

/// Moments of the kill after the first request, in milliseconds: through accept, claim,
/// intent, INVITE, ringing, answer, talk, end and mail.
const MOMENTS_MS: [u64; 14] = [
    0, 5, 10, 20, 40, 60, 90, 130, 200, 300, 450, 700, 1_200, 2_500,
];

#[test]
fn a_kill_between_any_two_steps_loses_nothing_and_calls_nobody_twice() {
    for (round, moment) in MOMENTS_MS.into_iter().enumerate() {
        one_round(round, Duration::from_millis(moment));
    }
}

fn one_round(round: usize, moment: Duration) {
    let trunk_port = free_port();
    let trunk = format!(
        "[[trunk]]\nname = \"sipp\"\ntarget = \"127.0.0.1:{trunk_port}\"\ncaller_id = \"+442079460000\"\ncalls_per_second = 50.0\n"
    );
    let mut daemon = Daemon::new(&trunk);
    let messages = daemon.dir.path().join("sipp.messages");
    let mut command = Command::new("sipp");
    command
        .args([
            "-sn",
            "uas",
            "-i",
            "127.0.0.1",
            "-nostdin",
            "-trace_msg",
            "-message_file",
        ])
        .arg(&messages)
        .args(["-p", &trunk_port.to_string()]);
    let sipp = Program::start(command, &daemon.dir.path().join("sipp.log"));
    daemon.start();
    let asked: Vec<String> = (0..3)
        .map(|n| {
            daemon.ask(&format!("+44207946{:04}", 100 + round * 10 + n))["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    sleep(moment);
    daemon.kill();
    daemon.start();
    // Long enough for a daemon that would call again at once to be caught doing so.
    sleep(Duration::from_millis(1_500));

    let stored: Vec<String> = daemon
        .rows("select id from request")
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    for id in &asked {
        assert!(stored.contains(id), "killed after {moment:?}: {id} is lost");
    }
    for (number, calls) in invites(&fs::read_to_string(&messages).unwrap_or_default()) {
        assert!(
            calls.len() <= 1,
            "killed after {moment:?}: {number} was called by {calls:?}\n{}",
            daemon.log()
        );
    }
    let acks = daemon.rows(
        "select about, count(*) from outbox where kind = 'ack' group by about having count(*) > 1",
    );
    assert!(acks.is_empty(), "second acknowledgement: {acks:?}");
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    drop(sipp);
}

/// Called user to the Call-IDs of its INVITEs, from SIPp's message log.
pub(super) fn invites(log: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut user = None;
    for line in log.lines() {
        if let Some(rest) = line.strip_prefix("INVITE sip:") {
            user = rest.split('@').next().map(str::to_owned);
        } else if line.starts_with("SIP/2.0") || line.starts_with("-----") {
            user = None;
        } else if line.to_ascii_lowercase().starts_with("call-id:")
            && let Some(user) = user.take()
        {
            let id = line[8..].trim().to_owned();
            let calls = found.entry(user).or_default();
            if !calls.contains(&id) {
                calls.push(id);
            }
        }
    }
    found
}
