//! Two daemons on one PostgreSQL: one is killed, the other frozen, and the line goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::database::{Database, daemon_on, until};
use crate::support::phone::{sipp_trunk, trunk_config};
use crate::support::process::{Daemon, Program, free_port, http};
use crate::support::sipp::{Invite, Script, invites};

/// Clients that ask at once.
const CLIENTS: u32 = 8;
/// Calls at once, of both daemons together.
const CALLS: u32 = 30;
/// Calls a second of both together: the line is longer than they can call at once.
const RATE: f64 = 50.0;
/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(400);
/// A daemon that is frozen so long is taken for dead by the other one: its lease is 30 s.
const FROZEN: Duration = Duration::from_secs(40);
const FROZEN_LONG: Duration = Duration::from_secs(60);
/// A call whose outcome nobody knows is not repeated before this (two minutes).
const UNKNOWN_REST: Duration = Duration::from_secs(119);

#[test]
fn of_two_daemons_one_dies_and_one_freezes_and_nobody_is_called_twice() {
    story(1_500, FROZEN);
}

#[test]
#[ignore = "six minutes; run by hand: cargo test --test all ten_thousand_requests -- --ignored --nocapture"]
fn ten_thousand_requests_on_two_daemons_of_which_one_dies_and_one_freezes() {
    story(10_000, FROZEN_LONG);
}

fn story(requests: u32, frozen: Duration) {
    let database = Database::start();
    let trunk_port = free_port();
    let config = trunk_config(trunk_port, "max_channels = 100\n", "waiting_max = 100000\n")
        .replace("max_calls = 1\n", &format!("max_calls = {CALLS}\n"))
        .replace(
            "calls_per_second = 100.0",
            &format!("calls_per_second = {RATE:?}"),
        );
    let (mut a, mut b) = (daemon_on(&database, &config), daemon_on(&database, &config));
    let messages = a.dir.path().join("messages");
    let _sipp = declining_trunk(trunk_port, &messages);
    a.start();
    b.start();
    let begun = Instant::now();
    let ports = [a.http, b.http];
    thread::scope(|all| {
        for client in 0..CLIENTS {
            all.spawn(move || ask(client, requests, ports));
        }
        let called = |share: u32| {
            until(LIMIT, "many are called", || {
                invites(&messages).len() as u32 > requests / share
            });
            println!("one of {share} is called after {:?}", begun.elapsed());
        };
        called(5);
        a.kill();
        sleep(Duration::from_secs(1));
        a.start();
        called(3);
        b.program().signal(Signal::SIGSTOP);
        sleep(frozen);
        b.program().signal(Signal::SIGCONT);
    });
    println!("all acknowledged after {:?}", begun.elapsed());
    until(LIMIT, "everybody is called", || {
        invites(&messages).len() as u32 >= requests
    });
    println!("all called after {:?}", begun.elapsed());
    // Whatever would be called twice at once is, by now.
    sleep(Duration::from_secs(3));
    check(&a, &invites(&messages), requests);
    assert_eq!(a.stop(), 0, "{}", a.log());
    assert_eq!(b.stop(), 0, "{}", b.log());
}

/// A trunk whose customers let it ring for half a second and decline: they are tried again
/// after half an hour, so whoever is called within the test a second time is called twice.
fn declining_trunk(port: u16, messages: &Path) -> Program {
    let script = Script::called()
        .await_request("INVITE", &[])
        .answer("180 Ringing", "", "")
        .pause(500)
        .answer("603 Decline", "", "")
        .await_request("ACK", &[]);
    let (file, _) = script.write(messages.parent().unwrap());
    sipp_trunk(port, &["-sf", file.to_str().unwrap()], messages)
}

/// Asks for every eighth number, by turns of either daemon, until one of them says yes: the
/// key makes it one request, however often it was sent.
fn ask(client: u32, requests: u32, ports: [u16; 2]) {
    for n in (client..requests).step_by(CLIENTS as usize) {
        let body = format!("{{\"phone\":\"{}\"}}", number(n));
        let key = format!("key-{n}");
        let headers = [
            ("Content-Type", "application/json"),
            ("Idempotency-Key", &key),
        ];
        let end = Instant::now() + LIMIT;
        for turn in n / CLIENTS.. {
            let port = ports[turn as usize % 2];
            match http(port, "POST", "/api/requests", &headers, &body) {
                Ok(answer) if answer.status == 201 => break,
                Ok(answer) if ![0, 503].contains(&answer.status) => panic!("{}", answer.body),
                // Dead (in the middle of the answer, perhaps), frozen, or without its database.
                _ => assert!(Instant::now() < end, "nobody takes {n}"),
            }
        }
    }
}

fn number(n: u32) -> String {
    format!("+44207947{n:04}")
}

fn check(daemon: &Daemon, invites: &BTreeMap<String, Vec<Invite>>, asked: u32) {
    let rows = requests(daemon);
    assert_eq!(rows.len() as u32, asked, "a request is lost");
    let mut again = 0;
    for row in &rows {
        let number = row["number"].as_str().unwrap();
        let calls = &invites[number];
        for pair in calls.windows(2) {
            let gap = pair[1].at.saturating_sub(pair[0].at);
            assert!(gap >= UNKNOWN_REST, "{number} was called twice: {calls:?}");
            again += 1;
        }
    }
    // Only calls that were under way when a daemon died, or froze, may be repeated.
    assert!(again <= 2 * CALLS, "{again} calls were repeated");
    // The order of first calls against the order of acceptance, those aside who were passed
    // over while a dead daemon held them. Whoever was promised a time that passed was moved
    // forward, and overtakes by right.
    let rows: Vec<Value> = rows
        .into_iter()
        .filter(|row| row["missed"] == false)
        .collect();
    println!("{} were moved forward", asked as usize - rows.len());
    let first = |row: &Value| invites[row["number"].as_str().unwrap()][0].at;
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|n| first(&rows[*n]));
    let places = order.iter().enumerate();
    let passed = places.filter(|(called, asked)| **asked + CALLS as usize <= *called);
    let passed = passed.count();
    println!("{again} repeated after two minutes; {passed} called later than their place");
    assert!(passed <= 4 * CALLS as usize, "{passed} were passed over");
}

/// All requests in the order in which they were accepted.
fn requests(daemon: &Daemon) -> Vec<Value> {
    let out = Command::new(env!("CARGO_BIN_EXE_helpline"))
        .args([
            "queue", "list", "--json", "--since", "1d", "--limit", "100000", "--config",
        ])
        .arg(daemon.config_path())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut rows: Vec<Value> = rows.collect();
    rows.sort_by_key(|row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (text("accepted_at"), text("id"))
    });
    rows
}
