//! Mailboxes of a real Dovecot: what lies there is fetched, answered and moved, once.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::database::until;
use crate::support::dovecot::Dovecot;
use crate::support::process::{Daemon, http};

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

fn asking(n: u32) -> String {
    format!(
        "From: Customer <c{n}@cust{n}.test>\r\nTo: help@help.test\r\nSubject: coupon\r\nMessage-ID: <{n}@cust.test>\r\n\
         Date: Fri, 27 Nov 2026 10:00:00 +0000\r\n\r\nplease call 020 7946 {n:04}\r\n"
    )
}

fn requests(daemon: &Daemon) -> usize {
    daemon.rows("select id from request").len()
}

#[test]
fn mail_is_fetched_answered_and_moved_while_other_mailboxes_are_out_of_order() {
    let dovecot = Dovecot::start(&[]);
    dovecot.deliver("ada", "1", &asking(100));
    dovecot.deliver(
        "ada",
        "2",
        "From: l@x.test\r\nTo: help@help.test\r\nList-Id: <x>\r\n\r\ncall 020 7946 0999\r\n",
    );
    let nested = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".repeat(600);
    dovecot.deliver("ada", "3", &format!("From: d@x.test\r\n{nested}"));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let dead = dovecot.config("dead", "eve", false).replace(
        &format!("port = {}", dovecot.imap),
        &format!("port = {port}"),
    );
    let mut daemon = Daemon::new(&format!("{dead}{}", dovecot.config("help", "ada", true)));
    daemon.start();
    until(PATIENCE, "all is moved", || {
        dovecot.count("ada", "") == 0
            && dovecot.count("ada", "Processed") == 1
            && dovecot.count("ada", "Ignored") == 1
            && dovecot.count("ada", "Failed") == 1
    });
    assert_eq!(requests(&daemon), 1);
    // The server tells of the next one by itself.
    let begun = Instant::now();
    dovecot.deliver("ada", "4", &asking(101));
    until(PATIENCE, "the next one is there", || requests(&daemon) == 2);
    println!("a message is taken after {:?}", begun.elapsed());
    let received =
        daemon.rows("select count(*) from mail_in where received_at is not null and via = 'imap'");
    assert_eq!(received, [["4"]]);
    until(PATIENCE, "the reply is written", || {
        daemon.mails().len() == 2
    });
    // Somebody drags a message back: it is a copy of what was done.
    let processed = dovecot.maildir("ada").join(".Processed");
    let files = ["new", "cur"].map(|part| fs::read_dir(processed.join(part)));
    let mut files = files.into_iter().flatten().flatten().flatten();
    let again = fs::read_to_string(files.next().unwrap().path()).unwrap();
    dovecot.deliver("ada", "5", &again);
    until(PATIENCE, "the copy is put aside", || {
        dovecot.count("ada", "Ignored") == 2
    });
    assert_eq!(requests(&daemon), 2);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

#[test]
fn a_kill_between_fetching_and_moving_and_new_numbers_make_no_second_request() {
    let dovecot = Dovecot::start(&[]);
    let mut daemon = Daemon::new(&dovecot.config("help", "ada", false));
    for n in 0..200 {
        dovecot.deliver("ada", &n.to_string(), &asking(n));
    }
    for moment in [150, 400, 700] {
        daemon.spawn();
        sleep(Duration::from_millis(moment));
        daemon.kill();
    }
    daemon.start();
    until(PATIENCE, "all is moved", || {
        (dovecot.count("ada", "Processed"), dovecot.count("ada", "")) == (200, 0)
    });
    assert_eq!(requests(&daemon), 200);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    // The folder is made anew: every number means something else, the contents are known.
    let maildir = dovecot.maildir("ada");
    for file in [
        "dovecot-uidlist",
        "dovecot.index",
        "dovecot.index.log",
        "dovecot.index.cache",
    ] {
        let _ = fs::remove_file(maildir.join(file));
    }
    for n in 0..20 {
        dovecot.deliver("ada", &format!("again{n}"), &asking(n));
    }
    daemon.start();
    until(PATIENCE, "the copies are put aside", || {
        dovecot.count("ada", "Ignored") == 20
    });
    assert_eq!(requests(&daemon), 200);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

#[test]
fn a_server_that_can_do_little_is_served_all_the_same() {
    let dovecot = Dovecot::start(&["MOVE", "IDLE"]);
    let mut daemon = Daemon::new(&dovecot.config("help", "ada", false));
    dovecot.deliver("ada", "1", &asking(1));
    daemon.start();
    // Copied first and removed after.
    until(PATIENCE, "it is moved", || {
        (dovecot.count("ada", "Processed"), dovecot.count("ada", "")) == (1, 0)
    });
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    drop(dovecot);
    // Without any way to move, a message stays and is known by its number.
    let dovecot = Dovecot::start(&["MOVE", "IDLE", "UIDPLUS"]);
    let mut daemon = Daemon::new(&dovecot.config("help", "ada", false));
    dovecot.deliver("ada", "1", &asking(1));
    daemon.start();
    until(PATIENCE, "it is taken", || requests(&daemon) == 1);
    sleep(Duration::from_secs(3));
    assert_eq!((requests(&daemon), dovecot.count("ada", "")), (1, 1));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

#[test]
fn a_wrong_password_is_told_and_stops_nothing_else() {
    let dovecot = Dovecot::start(&[]);
    let mut daemon = Daemon::new(&dovecot.config("help", "ada", false));
    let config = fs::read_to_string(daemon.config_path()).unwrap();
    fs::write(daemon.dir.path().join("wrong"), "nonsense").unwrap();
    let password = dovecot.folder.path().join("password");
    let wrong = daemon.dir.path().join("wrong");
    let config = config.replace(
        &format!("password_file = \"{}\"", password.display()),
        &format!("password_file = \"{}\"", wrong.display()),
    );
    fs::write(daemon.config_path(), config).unwrap();
    daemon.start();
    until(PATIENCE, "it is told", || {
        let ready = http(daemon.ops, "GET", "/readyz?verbose", &[], "")
            .unwrap()
            .body;
        ready.contains("imap:help") && ready.contains("refused")
    });
    assert!(
        !daemon.log().contains("nonsense"),
        "the password is in the log"
    );
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

/// A server made of lines: what it says for each command, by its name.
fn lying(answers: &'static [(&'static str, &'static str)]) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || lie(&stream, answers));
        }
    });
    port
}

fn lie(stream: &TcpStream, answers: &[(&str, &str)]) {
    let mut out = stream;
    let _ = out.write_all(b"* OK hello\r\n");
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let (tag, command) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        let own = answers.iter().find(|(name, _)| command.starts_with(name));
        let said = match own {
            Some((_, said)) => said.replace("TAG", tag),
            None if command.starts_with("CAPABILITY") => {
                format!("* CAPABILITY IMAP4rev1 MOVE UIDPLUS\r\n{tag} OK\r\n")
            }
            None if command.starts_with("SELECT") => {
                format!("* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n{tag} OK\r\n")
            }
            None => format!("{tag} OK\r\n"),
        };
        if out.write_all(said.as_bytes()).is_err() {
            return;
        }
        if said.ends_with("END") {
            return;
        }
    }
}

#[test]
fn a_server_that_lies_costs_nothing_but_its_own_mailbox() {
    const ONE: (&str, &str) = ("UID SEARCH", "* SEARCH 1\r\nTAG OK\r\n");
    const SIZE: (&str, &str) = (
        "UID FETCH 1 (UID RFC822",
        "* 1 FETCH (UID 1 RFC822.SIZE 10)\r\nTAG OK\r\n",
    );
    let liars: [&'static [(&str, &str)]; 6] = [
        // A literal of a gigabyte, of which much comes.
        &[
            ONE,
            SIZE,
            ("UID FETCH", "* 1 FETCH (UID 1 BODY[] {1000000000}\r\n"),
        ],
        // The number that was asked for never comes.
        &[
            ONE,
            SIZE,
            (
                "UID FETCH",
                "* 1 FETCH (UID 99 BODY[] {2}\r\nhi)\r\nTAG OK\r\n",
            ),
        ],
        // No after the data, and the end within a literal.
        &[ONE, SIZE, ("UID FETCH", "TAG NO later\r\n")],
        &[
            ONE,
            SIZE,
            ("UID FETCH", "* 1 FETCH (UID 1 BODY[] {500}\r\nhalfEND"),
        ],
        &[("LOGIN", "TAG BAD what\r\n")],
        &[("UID SEARCH", "nonsense \0\r\n")],
    ];
    let dovecot = Dovecot::start(&[]);
    let mut config = String::new();
    for (n, liar) in liars.into_iter().enumerate() {
        let port = lying(liar);
        let one = dovecot.config(&format!("liar{n}"), "eve", false);
        config += &one.replace(
            &format!("port = {}", dovecot.imap),
            &format!("port = {port}"),
        );
    }
    config += &dovecot.config("help", "ada", false);
    let mut daemon = Daemon::new(&config);
    dovecot.deliver("ada", "1", &asking(1));
    daemon.start();
    until(PATIENCE, "the honest one is served", || {
        dovecot.count("ada", "Processed") == 1
    });
    sleep(Duration::from_secs(3));
    dovecot.deliver("ada", "2", &asking(2));
    until(PATIENCE, "and still is", || requests(&daemon) == 2);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

#[test]
fn a_frozen_server_is_left_and_found_again() {
    let dovecot = Dovecot::start(&[]);
    let mut daemon = Daemon::new(&dovecot.config("help", "ada", false));
    daemon.start();
    dovecot.deliver("ada", "1", &asking(1));
    until(PATIENCE, "it is served", || requests(&daemon) == 1);
    let told = |daemon: &Daemon| {
        let ready = http(daemon.ops, "GET", "/readyz?verbose", &[], "")
            .unwrap()
            .body;
        ready.contains("the server does not answer")
    };
    assert!(!told(&daemon));
    dovecot.signal(Signal::SIGSTOP);
    until(Duration::from_secs(60), "the silence is told", || {
        told(&daemon)
    });
    dovecot.signal(Signal::SIGCONT);
    dovecot.deliver("ada", "2", &asking(2));
    until(Duration::from_secs(60), "it goes on", || {
        requests(&daemon) == 2
    });
    until(PATIENCE, "nothing is told any more", || !told(&daemon));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}
