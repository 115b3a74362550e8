//! kill -9 under the load of Postfix's own test client: what it heard a 250 for is there, and
//! one message stays one request, however often it is sent.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::support::postfix::smtp_source;
use crate::support::process::{Daemon, Program};
use crate::support::smtp::asking;

/// Moments of the kill after the client began, in milliseconds.
const MOMENTS_MS: [u64; 7] = [30, 80, 150, 250, 400, 600, 900];
/// More than the daemon takes until it is killed.
const ENDLESS: u32 = 100_000;
/// Messages sent to the end afterwards.
const AGAIN: u32 = 30;
/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_kill_under_load_loses_no_acknowledged_message_and_makes_no_second_request() {
    let mut daemon = Daemon::new("");
    let message = daemon.dir.path().join("message");
    let text = asking("ada@cust.test", "+442079460000").replace("\r\n", "\n");
    fs::write(&message, text).unwrap();
    let log = daemon.dir.path().join("smtp-source");
    let mut acknowledged = BTreeSet::new();
    for moment in MOMENTS_MS {
        daemon.start();
        let mut source = Program::start(smtp_source(daemon.smtp, &message, ENDLESS), &log);
        sleep(Duration::from_millis(moment));
        daemon.kill();
        assert!(source.ends(PATIENCE), "{}", source.log());
        acknowledged.extend(queued(&source.log()));
    }
    let under_load = acknowledged.len();

    daemon.start();
    let mut source = Program::start(smtp_source(daemon.smtp, &message, AGAIN), &log);
    assert_eq!(source.exit_code(PATIENCE), 0, "{}", source.log());
    acknowledged.extend(queued(&source.log()));
    println!("{under_load} messages acknowledged under load, {AGAIN} afterwards");
    assert_eq!(acknowledged.len(), under_load + AGAIN as usize);
    assert!(under_load > 0, "no kill came under load");

    daemon.wait_row(
        "select count(*) from mail_in where state in ('spooled', 'working')",
        "0",
        PATIENCE,
    );
    let kept = daemon.rows("select id from mail_in where state = 'done'");
    let kept: BTreeSet<String> = kept.into_iter().flatten().collect();
    let lost: Vec<&String> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "lost: {lost:?}\n{}", daemon.log());
    let kinds = daemon.rows("select kind, count(*) from mail_in group by kind order by kind");
    let copies = (kept.len() - 1).to_string();
    assert_eq!(kinds, [["duplicate", copies.as_str()], ["request", "1"]]);
    let made = daemon.rows("select count(*) from request");
    assert_eq!(made, [["1"]], "{}", daemon.log());
    let replies = daemon.rows("select kind, count(*) from outbox group by kind");
    assert_eq!(replies, [["ack", "1"]]);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

/// Ids of messages for which the client heard a 250.
fn queued(log: &str) -> impl Iterator<Item = String> {
    let ids = log
        .lines()
        .filter_map(|line| line.split_once("<<< 250 2.0.0 queued as "));
    ids.map(|(_, id)| id.trim_end().to_owned())
}
