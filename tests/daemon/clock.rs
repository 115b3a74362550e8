//! The clock is stepped by an hour, forwards and back: nobody is called twice, nobody is
//! forgotten, and the line goes on at once.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::phone::{refusing_trunk, trunk_config};
use crate::support::process::{Daemon, free_port, http};
use crate::support::sipp::invites;

/// The library of Debian's faketime.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// A request is called within this, whatever the clock did.
const SOON: Duration = Duration::from_secs(20);
/// Steps on and back: a step may fall between any two looks of the daemon.
const ROUNDS: u32 = 5;

#[test]
fn a_clock_stepped_by_an_hour_either_way_stops_nobody_and_repeats_nothing() {
    let trunk_port = free_port();
    let mut daemon = Daemon::new(&trunk_config(trunk_port, "", ""));
    let messages = daemon.dir.path().join("messages");
    // Numbers that do not exist: each is called once, and the request is closed.
    let _sipp = refusing_trunk(trunk_port, "404 Not Found", &messages);
    let offset = daemon.dir.path().join("offset");
    let step = |by: &str| {
        fs::write(offset.with_extension("new"), by).unwrap();
        fs::rename(offset.with_extension("new"), &offset).unwrap();
    };
    step("+0");
    for (name, value) in [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ] {
        daemon.env.push((name.into(), value.into()));
    }
    daemon.start();
    let called = |n: u32| invites(&messages).get(&number(n)).map_or(0, Vec::len);
    let is_called = |daemon: &Daemon, n: u32, when: &str| {
        let end = Instant::now() + SOON;
        while called(n) == 0 {
            assert!(
                Instant::now() < end,
                "{when}: {n} was not called\n{}",
                daemon.log()
            );
            sleep(Duration::from_millis(100));
        }
    };
    daemon.ask(&number(1));
    is_called(&daemon, 1, "before");
    for round in 0..2 * ROUNDS {
        let first = 2 + 2 * round;
        let (step_to, when) = match round % 2 {
            0 => ("+3600", "an hour on"),
            _ => ("+0", "an hour back"),
        };
        // One is asked for in the very moment, one afterwards.
        daemon.ask(&number(first));
        step(step_to);
        is_called(&daemon, first, when);
        daemon.ask(&number(first + 1));
        is_called(&daemon, first + 1, when);
        let ready = http(daemon.ops, "GET", "/readyz", &[], "").unwrap();
        assert_eq!(ready.status, 200, "{when}: {}", ready.body);
    }
    sleep(Duration::from_secs(2));
    for n in 1..4 * ROUNDS + 2 {
        assert_eq!(called(n), 1, "{n}");
    }
    let mails = daemon.rows("select id from outbox where state not in ('sent', 'suppressed')");
    assert!(mails.is_empty(), "{mails:?}\n{}", daemon.log());
    let states = daemon.rows("select distinct state from request");
    assert_eq!(states, [["unreachable"]], "{}", daemon.log());
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

fn number(n: u32) -> String {
    format!("+4420794605{n:02}")
}
