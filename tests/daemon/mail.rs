//! Mail through the whole daemon: what swaks sends, what goes back, and what must not.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mail_parser::{Message, MessageParser};

use crate::support::certificates::make_certificates;
use crate::support::process::{Daemon, free_port, http};
use crate::support::smtp::{asking, deliver};

/// Longest wait for anything here.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// A mail that should not be sent would have been by then.
pub(super) const QUIET: Duration = Duration::from_secs(3);

pub(super) fn swaks(daemon: &Daemon, arguments: &[&str]) {
    let out = Command::new("swaks")
        .args(["--server", &format!("127.0.0.1:{}", daemon.smtp)])
        .args(["--timeout", "10"])
        .args(arguments)
        .output()
        .expect("swaks; run tests/run, it installs it");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}");
}

/// The mails sent so far, when there are `count`.
pub(super) fn sent(daemon: &Daemon, count: usize) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    while daemon.mails().len() < count && Instant::now() < end {
        sleep(Duration::from_millis(50));
    }
    let mails = daemon.mails();
    assert_eq!(mails.len(), count, "{mails:#?}\n{}", daemon.log());
    mails
}

pub(super) fn parse(mail: &str) -> Message<'_> {
    MessageParser::default().parse(mail).unwrap()
}

/// The path of the first link that begins with `start` in the text of a mail.
fn link(mail: &Message<'_>, start: &str) -> String {
    let text = mail.body_text(0).unwrap();
    let found = text.split_whitespace().find_map(|word| {
        let (_, path) = word.strip_prefix("http://")?.split_once('/')?;
        path.starts_with(start).then(|| format!("/{path}"))
    });
    found.unwrap_or_else(|| panic!("no link to {start} in {text}"))
}

#[test]
fn a_mail_with_a_number_is_answered_with_place_and_wait_in_its_thread() {
    // A trunk that hears everything and says nothing: whoever is called keeps ringing.
    let trunk = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = trunk.local_addr().unwrap().port();
    let mut daemon = Daemon::new(&format!(
        "[[trunk]]\nname = \"mute\"\ntarget = \"127.0.0.1:{port}\"\ncaller_id = \"+442079460000\"\n\
         [[queue]]\nname = \"help\"\nmax_calls = 1\n"
    ));
    daemon.start();
    for n in 1..=3 {
        daemon.ask(&format!("+44207946050{n}"));
    }
    sent(&daemon, 3);
    swaks(
        &daemon,
        &[
            "--from",
            "ben@cust.test",
            "--to",
            "help@help.test",
            "--header",
            "Subject: The coupon",
            "--header",
            "Message-Id: <q2@cust.test>",
            "--add-header",
            "References: <q1@cust.test>",
            "--body",
            "Please call me on 020 7946 0510.",
        ],
    );
    let mails = sent(&daemon, 4);
    let mail = mails.iter().map(|mail| parse(mail)).find(|mail| {
        let to = mail.to().and_then(|to| to.first());
        to.and_then(|to| to.address()) == Some("ben@cust.test")
    });
    let mail = mail.expect("a mail to Ben");
    assert_eq!(mail.in_reply_to().as_text(), Some("q2@cust.test"));
    let references = mail.references().as_text_list().unwrap();
    assert_eq!(references, ["q1@cust.test", "q2@cust.test"]);
    let header = |name: &'static str| mail.header(name).and_then(|value| value.as_text());
    assert_eq!(header("Auto-Submitted"), Some("auto-replied"));
    assert_eq!(
        mail.from().unwrap().first().unwrap().address(),
        Some("help@help.test")
    );
    let status = link(&mail, "s/");
    let answer = http(daemon.http, "GET", &format!("{status}/status"), &[], "").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["phone_tail"], "10");
    let place = daemon.rows(
        "select json_extract(body_json, '$.position') from outbox where to_addr = 'ben@cust.test'",
    );
    let place: u32 = place[0][0].parse().unwrap();
    assert!((3..=4).contains(&place), "{place}");
    let text = mail.body_text(0).unwrap();
    let told = format!("You are number {place}.");
    assert!(text.contains(&told) && text.contains("between"), "{text}");
}

#[test]
fn a_mail_for_which_nothing_vouches_is_called_after_its_link_was_used() {
    let trunk = UdpSocket::bind("127.0.0.1:0").unwrap();
    trunk.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = trunk.local_addr().unwrap().port();
    let mut daemon = Daemon::new(&format!(
        "[[trunk]]\nname = \"mute\"\ntarget = \"127.0.0.1:{port}\"\ncaller_id = \"+442079460000\"\n"
    ));
    let config = fs::read_to_string(daemon.config_path()).unwrap();
    let keys = "[mail]\nproof = \"link\"\nauthserv_ids = [\"mx.help.test\"]\n";
    fs::write(daemon.config_path(), config.replace("[mail]\n", keys)).unwrap();
    daemon.start();
    let said = deliver(
        daemon.smtp,
        "ben@cust.test",
        &asking("ben@cust.test", "+442079460510"),
    );
    assert!(said.unwrap().starts_with("250 "));
    let mails = sent(&daemon, 1);
    let page = link(&parse(&mails[0]), "s/");
    let state = || {
        let answer = http(daemon.http, "GET", &format!("{page}/status"), &[], "").unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        answer["state"].as_str().unwrap().to_owned()
    };
    let shown = http(daemon.http, "GET", &page, &[], "").unwrap();
    assert!(
        shown.body.contains(&format!("{page}/confirm")),
        "{}",
        shown.body
    );
    assert_eq!(state(), "unverified");
    // What fails the relay's checks is held, and nobody is written to.
    let forged = asking("eve@cust.test", "+442079460511");
    let forged = format!("Authentication-Results: mx.help.test; dmarc=fail\r\n{forged}");
    assert!(
        deliver(daemon.smtp, "eve@cust.test", &forged)
            .unwrap()
            .starts_with("250 ")
    );
    let held = "select held_reason from request where number = '+442079460511'";
    daemon.wait_row(held, "doubtful", PATIENCE);
    // What passes them is called at once.
    let proven = asking("ada@cust.test", "+442079460512");
    let proven = format!("Authentication-Results: mx.help.test; dmarc=pass\r\n{proven}");
    assert!(
        deliver(daemon.smtp, "ada@cust.test", &proven)
            .unwrap()
            .starts_with("250 ")
    );
    sent(&daemon, 2);
    assert!(invited(&trunk).contains("+442079460512"));
    assert_eq!(state(), "unverified", "looking confirms nothing");
    let done = http(daemon.http, "POST", &format!("{page}/confirm"), &[], "").unwrap();
    assert_eq!(done.status, 303, "{}", done.body);
    let end = Instant::now() + PATIENCE;
    while !invited(&trunk).contains("+442079460510") {
        assert!(Instant::now() < end, "{}", daemon.log());
    }
    let never = "select count(*) from attempt where number = '+442079460511'";
    assert_eq!(daemon.rows(never), [["0"]]);
    assert_eq!(daemon.mails().len(), 2, "the forged one was not answered");
}

/// The first line of the next INVITE that the trunk gets; calls that go on keep coming.
fn invited(trunk: &UdpSocket) -> String {
    let mut packet = [0; 4_096];
    loop {
        let length = trunk.recv(&mut packet).expect("an INVITE");
        let text = String::from_utf8_lossy(&packet[..length]).into_owned();
        if text.starts_with("INVITE ") {
            return text.lines().next().unwrap_or_default().to_owned();
        }
    }
}

#[test]
fn a_mail_without_a_number_gets_one_reply_with_the_form_filled_in() {
    let mut daemon = Daemon::new("");
    daemon.start();
    swaks(
        &daemon,
        &[
            "--from",
            "ben+shop@cust.test",
            "--to",
            "help@help.test",
            "--h-From",
            "Ben Cook <ben+shop@cust.test>",
            "--header",
            "Message-Id: <q3@cust.test>",
            "--body",
            "My coupon does not work on https://shop.test/basket?id=7 , please help.",
        ],
    );
    let mails = sent(&daemon, 1);
    let mail = parse(&mails[0]);
    assert_eq!(mail.in_reply_to().as_text(), Some("q3@cust.test"));
    let form = link(&mail, "help?");
    let answer = http(daemon.http, "GET", &form, &[], "").unwrap();
    assert_eq!(answer.status, 200);
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("cache-control: no-store"), "{head}");
    for part in [
        "value=\"ben+shop@cust.test\"",
        "value=\"Ben Cook\"",
        "https://shop.test/basket?id&#x3D;7",
        "name=\"phone\"",
    ] {
        assert!(answer.body.contains(part), "{part} in {}", answer.body);
    }
    sleep(QUIET);
    assert_eq!(daemon.rows("select count(*) from outbox")[0][0], "1");
    assert_eq!(daemon.rows("select count(*) from request")[0][0], "0");
    sent(&daemon, 1);
}

#[test]
fn machines_are_kept_and_never_answered() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let to = ["--to", "help@help.test", "--body", "Call +44 20 7946 0520."];
    for (from, header) in [
        ("ben@cust.test", "Auto-Submitted: auto-replied"),
        ("<>", "X-Test: bounce"),
        ("news@cust.test", "List-Id: News <news.cust.test>"),
    ] {
        let more = [
            "--from",
            from,
            "--add-header",
            header,
            "--h-From",
            "x@cust.test",
        ];
        swaks(&daemon, &[&more[..], &to[..]].concat());
    }
    let done = "select count(*) from mail_in where state = 'done' and kind = 'machine'";
    daemon.wait_row(done, "3", PATIENCE);
    let mut reasons = daemon.rows("select reason from mail_in order by reason");
    reasons.sort();
    assert_eq!(
        reasons,
        [["auto_submitted"], ["list"], ["null_sender"]],
        "each by its own rule"
    );
    sleep(QUIET);
    assert_eq!(daemon.rows("select count(*) from outbox")[0][0], "0");
    assert_eq!(daemon.rows("select count(*) from request")[0][0], "0");
    sent(&daemon, 0);
}

/// A daemon for `help@NAME.test`, not started.
pub(super) fn named(name: &str) -> Daemon {
    let daemon = Daemon::new("");
    rewrite(&daemon, "help@help.test", &format!("help@{name}.test"));
    daemon
}

/// `daemon` sends its mail by `relay`.
pub(super) fn relay_by(daemon: &Daemon, relay: &Daemon) {
    let port = relay.smtp;
    let key =
        format!("[mail]\nrelay = {{ host = \"127.0.0.1\", port = {port}, tls = \"none\" }}\n");
    rewrite(daemon, "[mail]\n", &key);
}

pub(super) fn rewrite(daemon: &Daemon, old: &str, new: &str) {
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    assert!(text.contains(old), "{text}");
    fs::write(daemon.config_path(), text.replace(old, new)).unwrap();
}

#[test]
fn two_daemons_that_write_to_each_other_stop_at_one_reply() {
    let (mut one, mut two) = (named("one"), named("two"));
    relay_by(&one, &two);
    relay_by(&two, &one);
    one.start();
    two.start();
    // From the address of the other: the reply goes there, through its SMTP receiver.
    for body in ["Call me on 020 7946 0530.", "Nothing to call here."] {
        let to = ["--from", "help@two.test", "--to", "help@one.test"];
        swaks(&one, &[&to[..], &["--body", body]].concat());
    }
    let machines = "select count(*) from mail_in where state = 'done' and kind = 'machine'";
    two.wait_row(machines, "2", PATIENCE);
    one.wait_row(
        "select count(*) from outbox where state = 'sent'",
        "2",
        PATIENCE,
    );
    sleep(QUIET);
    assert_eq!(one.rows("select count(*) from mail_in")[0][0], "2");
    assert_eq!(two.rows("select count(*) from mail_in")[0][0], "2");
    assert_eq!(two.rows("select count(*) from outbox")[0][0], "0");
    // What arrived is what was meant: whole, and from the right sender.
    let kept = "select mail_from, rcpt, reason from mail_in order by id";
    for row in two.rows(kept) {
        let (local, domain) = row[0].split_once('@').unwrap();
        assert!(
            local.starts_with("help+b") && domain == "one.test",
            "{row:?}"
        );
        assert_eq!(row[1], "[\"help@two.test\"]");
        assert_eq!(row[2], "auto_submitted");
    }
}

#[test]
fn mail_waits_for_a_relay_that_is_down_and_leaves_when_it_is_back() {
    let (mut one, mut two) = (named("one"), named("two"));
    relay_by(&one, &two);
    one.start();
    let to = ["--from", "help@two.test", "--to", "help@one.test"];
    let body = ["--body", "Call me on 020 7946 0540."];
    swaks(&one, &[&to[..], &body[..]].concat());
    one.wait_row("select state from outbox", "deferred", PATIENCE);
    let row =
        "select attempts, next_at - created_at, last_error, hex(rendered), message_id from outbox";
    let before = one.rows(row).remove(0);
    assert_eq!(before[0], "1");
    let wait: i64 = before[1].parse().unwrap();
    assert!((48_000..=80_000).contains(&wait), "a minute ± 20 %: {wait}");
    assert!(!before[2].is_empty() && before[3].len() > 1_000);

    // The minute passes: as rows, not in this test.
    assert_eq!(one.stop(), 0, "{}", one.log());
    two.start();
    one.execute("update outbox set next_at = created_at");
    one.start();
    one.wait_row("select state from outbox", "sent", PATIENCE);
    let after = one.rows(row).remove(0);
    assert_eq!(after[0], "2");
    assert_eq!(after[3..], before[3..], "the same bytes in every try");
    let arrived = "select count(*) from mail_in where mail_from like 'help+b%@one.test'";
    two.wait_row(arrived, "1", PATIENCE);
}

#[test]
fn mail_comes_encrypted_and_from_a_mail_server_in_front() {
    let mut daemon = Daemon::new("");
    let dir = daemon.dir.path().to_owned();
    make_certificates(&dir);
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    let at = dir.display();
    let keys = format!(
        "[smtp]\ntls_cert_file = \"{at}/cert.pem\"\ntls_key_file = \"{at}/key.pem\"\nrequire_tls = true\n\
         lmtp = \"{at}/lmtp.sock\"\n"
    );
    fs::write(daemon.config_path(), text.replace("[smtp]\n", &keys)).unwrap();
    daemon.start();
    let to = ["--to", "help@help.test", "--from", "ada@cust.test"];
    swaks(
        &daemon,
        &[&to[..], &["--tls", "--body", "call 020 7946 0101"]].concat(),
    );
    let plain = Command::new("swaks")
        .args(["--server", &format!("127.0.0.1:{}", daemon.smtp)])
        .args(to)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(
        !plain.status.success() && said.contains("530 5.7.0"),
        "{said}"
    );
    let local = Command::new("swaks")
        .args(["--protocol", "LMTP", "--socket", &format!("{at}/lmtp.sock")])
        .args(to)
        .args(["--body", "call 020 7946 0102"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&local.stdout).into_owned();
    assert!(local.status.success(), "{said}");
    assert!(
        said.contains("LHLO") && said.contains("250 2.0.0 queued"),
        "{said}"
    );
    assert_eq!(sent(&daemon, 2).len(), 2);
    // The socket of an earlier process does not stand in the way of the next.
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

#[test]
fn those_who_log_in_are_taken_on_the_submission_port() {
    let mut daemon = Daemon::new("");
    let dir = daemon.dir.path().to_owned();
    make_certificates(&dir);
    let made = Command::new(env!("CARGO_BIN_EXE_helpline"))
        .args(["smtp-user", "web-shop"])
        .output()
        .unwrap();
    fs::write(dir.join("users"), &made.stdout).unwrap();
    let told = String::from_utf8(made.stderr).unwrap();
    let password = told.trim().rsplit(' ').next().unwrap();
    let (submission, at) = (free_port(), dir.display());
    let keys = format!(
        "[smtp]\ntls_cert_file = \"{at}/cert.pem\"\ntls_key_file = \"{at}/key.pem\"\n\
         users_file = \"{at}/users\"\nsubmission = \"127.0.0.1:{submission}\"\n"
    );
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    fs::write(daemon.config_path(), text.replace("[smtp]\n", &keys)).unwrap();
    daemon.start();
    let swaks = |port: u16, more: &[&str]| {
        let out = Command::new("swaks")
            .args([
                "--server",
                &format!("127.0.0.1:{port}"),
                "--from",
                "ada@cust.test",
            ])
            .args(["--body", "call 020 7946 0101"])
            .args(more)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        (out.status.success(), said)
    };
    let login = |mechanism, password| {
        let user = ["--auth-user", "web-shop", "--auth-password", password];
        [&["--tls", "--auth", mechanism][..], &user].concat()
    };
    let help = ["--to", "help@help.test"];

    let (went, said) = swaks(submission, &[&help[..], &["--tls"]].concat());
    assert!(!went && said.contains("530 5.7.0 Log in first"), "{said}");
    let plain = [&help[..], &login("PLAIN", password)[1..]].concat();
    let (went, said) = swaks(submission, &plain);
    assert!(!went && !said.contains("AUTH PLAIN"), "{said}");
    let wrong = [&help[..], &login("PLAIN", "wrong")].concat();
    let (went, said) = swaks(submission, &wrong);
    assert!(!went && said.contains("535 5.7.8"), "{said}");
    let elsewhere = [
        &["--to", "eve@elsewhere.test"][..],
        &login("PLAIN", password),
    ]
    .concat();
    let (went, said) = swaks(submission, &elsewhere);
    assert!(
        !went && said.contains("235 ") && said.contains("550 5.7.1"),
        "{said}"
    );
    for (port, mechanism) in [
        (submission, "PLAIN"),
        (submission, "LOGIN"),
        (daemon.smtp, "PLAIN"),
    ] {
        let (went, said) = swaks(port, &[&help[..], &login(mechanism, password)].concat());
        assert!(went, "{said}");
    }
    let senders = daemon.rows("select coalesce(auth_user, '') from mail_in");
    assert_eq!(senders, [["web-shop"], ["web-shop"], ["web-shop"]]);
    // Who guesses is not listened to any more, whatever the next guess is.
    std::thread::scope(|guesses| {
        for _ in 0..9 {
            guesses.spawn(|| swaks(submission, &wrong));
        }
    });
    let guessed = [&help[..], &login("PLAIN", password)].concat();
    let (went, said) = swaks(submission, &guessed);
    assert!(!went && said.contains("421 4.7.0"), "{said}");
    let log = daemon.log();
    assert!(
        log.contains("a login failed") && !log.contains(password),
        "{log}"
    );
}
