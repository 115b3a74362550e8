//! What an operator does on the command line, with a daemon that runs.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use super::database::until;
use crate::support::process::Daemon;
use crate::support::smtp::deliver;

fn helpline(daemon: &Daemon, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_helpline"))
        .args(words)
        .arg("--config")
        .arg(daemon.config_path())
        .output()
        .unwrap()
}

/// What a command prints that succeeds.
fn said(daemon: &Daemon, words: &[&str]) -> String {
    let out = helpline(daemon, words);
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words:?}: {complaint}");
    String::from_utf8(out.stdout).unwrap()
}

/// What a command complains of that fails.
fn complaint(daemon: &Daemon, words: &[&str]) -> String {
    let out = helpline(daemon, words);
    assert_eq!(out.status.code(), Some(1), "{words:?}: {out:?}");
    String::from_utf8(out.stderr).unwrap()
}

fn json(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_line_is_listed_shown_changed_and_reported() {
    let mut daemon = Daemon::new("");
    let cannot = complaint(&daemon, &["queue", "list"]);
    assert!(cannot.contains("there is no such database"), "{cannot}");
    daemon.start();
    let socket = daemon.dir.path().join("data/control.sock");
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only the operator may order");

    let added = said(
        &daemon,
        &[
            "queue",
            "add",
            "020 7946 0101",
            "--name",
            "Ada",
            "--email",
            "ada@cust.test",
            "--note",
            "a lamp",
        ],
    );
    let first = added.lines().next().unwrap().to_owned();
    daemon.ask("+442079460102");
    daemon.ask("+442079460103");
    let refused = complaint(&daemon, &["queue", "add", "999"]);
    assert!(refused.contains("phone: "), "{refused}");

    let listed = json(&said(&daemon, &["queue", "list", "--json"]));
    let places: Vec<_> = listed.iter().map(|r| (&r["number"], &r["place"])).collect();
    let place = |number: &str, place: u32| (Value::from(number), Value::from(place));
    assert_eq!(
        places
            .iter()
            .map(|(n, p)| ((*n).clone(), (*p).clone()))
            .collect::<Vec<_>>(),
        [
            place("+442079460101", 1),
            place("+442079460102", 2),
            place("+442079460103", 3)
        ]
    );
    assert_eq!(listed[0]["id"], first);
    assert_eq!(listed[0]["name"], "Ada");
    let table = said(&daemon, &["queue", "list"]);
    assert_eq!(table.lines().count(), 4, "{table}");

    // By its tag, its number, its id, and the end of its id.
    let tag = listed[0]["tag"].as_str().unwrap();
    let tail = &first[first.len() - 8..];
    for named in [tag, "020 7946 0101", &first, tail] {
        let shown = said(&daemon, &["queue", "show", named]);
        assert!(shown.contains(&first), "{named}: {shown}");
        assert!(shown.contains("mail ack to ada@cust.test"), "{shown}");
    }
    let nobody = complaint(&daemon, &["queue", "show", "ZZZZ-ZZZZ"]);
    assert!(nobody.contains("there is no request"), "{nobody}");

    let waits = complaint(&daemon, &["queue", "retry", tag]);
    assert!(waits.contains("is waiting: retry means nothing"), "{waits}");
    let gone = said(&daemon, &["queue", "cancel", tag]);
    assert!(gone.contains("is cancelled"), "{gone}");
    let over = complaint(&daemon, &["queue", "cancel", tag]);
    assert!(
        over.contains("is cancelled: cancel means nothing"),
        "{over}"
    );
    let closing = daemon.rows("select about from outbox where kind = 'closing'");
    assert_eq!(closing, [[first.clone()]], "the customer is told");

    let blocked = said(
        &daemon,
        &["numbers", "block", "020 7946 0102", "--for", "30d"],
    );
    assert!(
        blocked.contains("1 open requests of it have ended"),
        "{blocked}"
    );
    let answer = daemon
        .post_json("{\"phone\":\"+442079460102\"}", &[])
        .unwrap();
    assert_eq!(answer.status, 422, "{}", answer.body);
    said(&daemon, &["numbers", "unblock", "020 7946 0102"]);
    let not = complaint(&daemon, &["numbers", "unblock", "020 7946 0102"]);
    assert!(not.contains("is not on the list"), "{not}");
    let wrong = complaint(&daemon, &["numbers", "block", "hello"]);
    assert!(wrong.contains("is no number"), "{wrong}");

    let report = json(&said(
        &daemon,
        &["report", "--by", "total", "--format", "json"],
    ));
    let count = |key: &str| report[0][key].as_u64().unwrap();
    assert_eq!(
        (
            count("requests"),
            count("open"),
            count("cancelled"),
            count("other")
        ),
        (3, 1, 1, 1)
    );
    let csv = said(&daemon, &["report", "--format", "csv"]);
    assert!(csv.starts_with("queue,when,requests,"), "{csv}");
    let open = json(&said(&daemon, &["queue", "list", "--json"]));
    let all = json(&said(
        &daemon,
        &["queue", "list", "--json", "--since", "1h"],
    ));
    assert_eq!((open.len(), all.len()), (1, 3));

    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    // The store can be read without a daemon; orders cannot be given.
    assert_eq!(json(&said(&daemon, &["queue", "list", "--json"])).len(), 1);
    let down = complaint(&daemon, &["queue", "cancel", "020 7946 0103"]);
    assert!(down.contains("no daemon answers"), "{down}");
}

#[test]
fn mail_that_was_set_aside_is_listed_shown_and_tried_again() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let parts = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".repeat(600);
    let message = format!("From: d@x.test\r\nTo: help@help.test\r\n{parts}\r\n");
    let reply = deliver(daemon.smtp, "d@x.test", &message).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let listed = || said(&daemon, &["spool", "list"]);
    until(Duration::from_secs(20), "it is set aside", || {
        listed().contains("too_many_parts")
    });
    let line = listed();
    let id = line.split_whitespace().next().unwrap();
    assert!(line.contains("smtp") && line.lines().count() == 1, "{line}");
    assert_eq!(said(&daemon, &["spool", "show", id]), message + "\r\n");
    assert!(said(&daemon, &["spool", "retry", id]).contains("again"));
    // It is no better than before, but it was worked on.
    until(Duration::from_secs(20), "it is set aside again", || {
        listed().contains("too_many_parts")
    });
    assert_eq!(
        daemon.rows("select epoch, attempts from mail_in"),
        [["3", "1"]]
    );
    for wrong in ["nobody", "../numbers", ""] {
        let no = complaint(&daemon, &["spool", "retry", wrong]);
        assert!(no.contains("is set aside"), "{no}");
    }
    assert!(complaint(&daemon, &["spool", "show", "nobody"]).contains("no message nobody"));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}
