//! kill -9 at any moment: no acknowledged request is lost, no attempt is called twice.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::support::process::{Daemon, Program, free_port};
use crate::support::sipp::invites;

/// Moments of the kill after the first request, in milliseconds: through accept, claim,
/// intent, INVITE, ringing, answer, talk, end and mail.
const MOMENTS_MS: [u64; 14] = [
    0, 5, 10, 20, 40, 60, 90, 130, 200, 300, 450, 700, 1_200, 2_500,
];

/// System calls in which the daemon is killed by the test that runs by hand: each write and
/// sync of the database, each datagram, each answer to a client.
const POSITIONS: u32 = 200;
/// Of those, the ones that are tried each time.
const EACH_TIME: usize = 10;

fn positions(positions: impl Iterator<Item = u32> + Send) {
    let (tried, killed) = (AtomicU32::new(0), AtomicU32::new(0));
    let left = Mutex::new(positions);
    thread::scope(|all| {
        for _ in 0..4 {
            all.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some(position) = next else { return };
                    let died = one_round(position, &Kill::InCall(position));
                    tried.fetch_add(1, Ordering::Relaxed);
                    killed.fetch_add(u32::from(died), Ordering::Relaxed);
                }
            });
        }
    });
    let (tried, killed) = (tried.into_inner(), killed.into_inner());
    println!("{killed} of {tried} were killed in a call, the others after the story");
    assert!(
        killed * 2 > tried,
        "only {killed} of {tried} were killed in a call"
    );
}

#[test]
fn a_kill_in_a_system_call_loses_nothing_and_calls_nobody_twice() {
    positions((1..=POSITIONS).step_by(POSITIONS as usize / EACH_TIME));
}

#[test]
#[ignore = "ten minutes; run by hand: cargo test --test all crash -- --ignored"]
fn a_kill_in_any_of_two_hundred_system_calls_loses_nothing_and_calls_nobody_twice() {
    positions(1..=POSITIONS);
}

/// When the daemon dies.
#[derive(Debug)]
enum Kill {
    After(Duration),
    /// In this system call of a thread.
    InCall(u32),
}

#[test]
fn a_kill_between_any_two_steps_loses_nothing_and_calls_nobody_twice() {
    for (round, moment) in (0..).zip(MOMENTS_MS) {
        one_round(round, &Kill::After(Duration::from_millis(moment)));
    }
}

/// One daemon's death and what is left; whether it died where it was meant to.
fn one_round(round: u32, kill: &Kill) -> bool {
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
    let (asked, died) = match kill {
        Kill::After(moment) => {
            daemon.start();
            let asked = ask(&daemon, round);
            assert_eq!(asked.len(), 3, "{}", daemon.log());
            sleep(*moment);
            daemon.kill();
            (asked, true)
        }
        Kill::InCall(position) => {
            daemon.with_tables();
            let calls = "fdatasync,pwrite64,sendto,sendmsg,writev";
            daemon.tamper(calls, &format!("signal=SIGKILL:when={position}"));
            daemon.spawn();
            let seen = until_it_dies(&mut daemon, round);
            daemon.leave_alone();
            seen
        }
    };
    daemon.start();
    // Long enough for a daemon that would call again at once to be caught doing so.
    sleep(Duration::from_millis(1_500));

    let stored: Vec<String> = daemon
        .rows("select id from request")
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    for id in &asked {
        assert!(stored.contains(id), "{kill:?}: {id} is lost");
    }
    for (number, calls) in invites(&messages) {
        assert!(
            calls.len() <= 1,
            "{kill:?}: {number} was called by {calls:?}\n{}",
            daemon.log()
        );
    }
    let acks = daemon.rows(
        "select about, count(*) from outbox where kind = 'ack' group by about having count(*) > 1",
    );
    assert!(acks.is_empty(), "second acknowledgement: {acks:?}");
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    drop(sipp);
    died
}

/// Three customers ask; those who were told yes.
fn ask(daemon: &Daemon, round: u32) -> Vec<String> {
    let mut asked = Vec::new();
    for n in 0..3 {
        let body = format!(
            "{{\"phone\":\"+44207946{:04}\",\"email\":\"ada@cust.test\"}}",
            100 + round % 90 * 10 + n
        );
        if let Ok(answer) = daemon.post_json(&body, &[])
            && answer.status == 201
        {
            let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            asked.push(json["id"].as_str().unwrap().to_owned());
        }
    }
    asked
}

/// Customers ask while the daemon starts, runs and dies; who was told yes, and whether it died
/// by itself.
fn until_it_dies(daemon: &mut Daemon, round: u32) -> (Vec<String>, bool) {
    let end = Instant::now() + Duration::from_secs(20);
    let mut asked = Vec::new();
    while asked.is_empty() && Instant::now() < end && !daemon.program().ends(Duration::ZERO) {
        asked = ask(daemon, round);
        sleep(Duration::from_millis(20));
    }
    let died = daemon.program().ends(Duration::from_secs(4));
    // The story was over before: its end is a kill like any other.
    daemon.kill();
    (asked, died)
}
