//! One line for everybody: web and mail feed it, and order received is order called.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::process::{Daemon, Program, free_port, http};

fn swaks(daemon: &Daemon, number: &str) {
    let out = Command::new("swaks")
        .args(["--server", &format!("127.0.0.1:{}", daemon.smtp)])
        .args(["--from", "ben@cust.test", "--to", "help@help.test"])
        .args(["--header", "Subject: Please call", "--timeout", "10"])
        .args(["--body", &format!("Hello, please call me on {number}.")])
        .output()
        .expect("swaks; run tests/run, it installs it");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stdout)
    );
}

fn curl(daemon: &Daemon, number: &str) {
    let out = Command::new("curl")
        .args(["-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}"])
        .args(["-H", "Content-Type: application/json"])
        .args(["-d", &format!("{{\"phone\":\"{number}\"}}")])
        .arg(format!("http://127.0.0.1:{}/api/requests", daemon.http))
        .output()
        .expect("curl; run tests/run, it installs it");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "201");
}

/// A SIPp that refuses every call with `status`; its messages go to `log`.
pub(super) fn refusing_trunk(port: u16, status: &str, log: &Path) -> Program {
    let scenario = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/peers/sipp/uas_refuse.xml"
    );
    // SIPp reads status lines when it loads a scenario: its own keys come too late.
    let text = fs::read_to_string(scenario).unwrap();
    let text = text
        .replace("[status]", status)
        .replace("Reason: [reason]\n", "");
    let file = log.with_extension("xml");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("sipp");
    command
        .arg("-sf")
        .arg(file)
        .args(["-i", "127.0.0.1", "-nostdin", "-p", &port.to_string()])
        .args(["-trace_msg", "-message_file"])
        .arg(log);
    Program::start(command, &log.with_extension("out"))
}

/// Configuration of that trunk, for one call at a time.
pub(super) fn trunk(port: u16) -> String {
    format!(
        "[[trunk]]\nname = \"sipp\"\ntarget = \"127.0.0.1:{port}\"\ncaller_id = \"+442079460000\"\ncalls_per_second = 100.0\n\
         [[queue]]\nname = \"help\"\nmax_calls = 1\n"
    )
}

/// Numbers in the order of their INVITEs.
fn called(log: &Path) -> Vec<String> {
    let mut order = Vec::new();
    for line in fs::read_to_string(log).unwrap_or_default().lines() {
        if let Some(rest) = line.strip_prefix("INVITE sip:")
            && let Some((user, _)) = rest.split_once('@')
            && !order.contains(&user.to_owned())
        {
            order.push(user.to_owned());
        }
    }
    order
}

#[test]
fn swaks_and_curl_feed_one_line_and_order_received_is_order_called() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let numbers: Vec<String> = (1..=8).map(|n| format!("+4420794601{n:02}")).collect();
    for (n, number) in numbers.iter().enumerate() {
        if n % 2 == 0 {
            swaks(&daemon, number);
            // Mail is read after its 250: wait for its request, so that the order is ours.
            let sql = format!("select count(*) from request where number = '{number}'");
            daemon.wait_row(&sql, "1", Duration::from_secs(10));
        } else {
            curl(&daemon, number);
        }
    }
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());

    let port = free_port();
    let log = daemon.dir.path().join("messages");
    let _sipp = refusing_trunk(port, "486 Busy Here", &log);
    daemon.configure(&trunk(port));
    daemon.start();
    let end = Instant::now() + Duration::from_secs(30);
    while called(&log).len() < numbers.len() && Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(called(&log), numbers, "{}", daemon.log());
}

#[test]
fn each_failure_of_the_trunk_has_its_disposition_and_next_try() {
    // Answer, disposition, state of the request afterwards, counted attempts.
    let table = [
        ("486 Busy Here", "busy", "backoff", "1"),
        ("480 Temporarily Unavailable", "no_answer", "backoff", "1"),
        ("404 Not Found", "bad_number", "unreachable", "1"),
        ("503 Service Unavailable", "trunk_failed", "backoff", "0"),
        ("603 Decline", "declined", "backoff", "1"),
        ("403 Forbidden", "trunk_refused", "held", "0"),
    ];
    let (done, all) = mpsc::channel();
    for (n, (status, disposition, state, counted)) in table.into_iter().enumerate() {
        let done = done.clone();
        thread::spawn(move || {
            let port = free_port();
            let mut daemon = Daemon::new(&trunk(port));
            let _sipp = refusing_trunk(port, status, &daemon.dir.path().join("messages"));
            daemon.start();
            daemon.ask(&format!("+44207946020{n}"));
            let sql =
                "select disposition from attempt where state = 'ended' order by intent_at limit 1";
            daemon.wait_row(sql, disposition, Duration::from_secs(20));
            daemon.wait_row("select state from request", state, Duration::from_secs(5));
            let row = daemon.rows("select attempts, not_before - accepted_at from request");
            assert_eq!(row[0][0], counted, "{status}");
            let delay: i64 = row[0][1].parse().unwrap();
            let (least, most) = match disposition {
                "busy" => (90_000, 160_000),
                "no_answer" => (240_000, 380_000),
                "declined" => (1_400_000, 2_200_000),
                "trunk_failed" => (5_000, 40_000),
                _ => (0, i64::MAX),
            };
            assert!(
                (least..=most).contains(&delay),
                "{status}: next try after {delay} ms"
            );
            done.send(status).unwrap();
        });
    }
    drop(done);
    let seen: Vec<&str> = all.iter().collect();
    assert_eq!(seen.len(), table.len(), "only {seen:?} were right");
}

#[test]
fn one_key_gives_one_request_however_often_it_is_sent() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let body = "{\"phone\":\"+442079460300\"}";
    let key = [("Idempotency-Key", "k-1")];
    let first = daemon.post_json(body, &key).unwrap();
    let second = daemon.post_json(body, &key).unwrap();
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(first.body, second.body);

    let (port, (ids, all)) = (daemon.http, mpsc::channel());
    for _ in 0..100 {
        let ids = ids.clone();
        thread::spawn(move || {
            let headers = [
                ("Content-Type", "application/json"),
                ("Idempotency-Key", "k-100"),
            ];
            let body = "{\"phone\":\"+442079460301\"}";
            let answer = http(port, "POST", "/api/requests", &headers, body).unwrap();
            assert_eq!(answer.status, 201, "{}", answer.body);
            let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            ids.send(json["id"].as_str().unwrap().to_owned()).unwrap();
        });
    }
    drop(ids);
    let mut ids: Vec<String> = all.iter().collect();
    assert_eq!(ids.len(), 100);
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let rows = daemon.rows("select count(*) from request where number = '+442079460301'");
    assert_eq!(rows[0][0], "1");

    let other = daemon
        .post_json("{\"phone\":\"+442079460302\"}", &key)
        .unwrap();
    assert_eq!(other.status, 422, "{}", other.body);
}

#[test]
fn an_order_to_stop_is_obeyed_and_forgets_nothing() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let id = daemon.ask("+442079460400")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    daemon.start();
    assert_eq!(daemon.rows("select id from request")[0][0], id);
    let answer = http(daemon.ops, "GET", "/metrics", &[], "").unwrap();
    assert!(
        answer.body.contains("helpline_queue_depth"),
        "{}",
        answer.body
    );
}
