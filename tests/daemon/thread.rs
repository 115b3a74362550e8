//! Answers to our mail and reports of what became of it, through the whole daemon.

use std::process::Command;
use std::thread::sleep;

use super::mail::{PATIENCE, QUIET, named, parse, relay_by, sent, swaks};
use crate::support::process::Daemon;
use crate::support::smtp::{asking, deliver, deliver_to};

const STATE: &str = "select state from request order by id desc limit 1";

/// What the daemon wrote to Ada when she asked for a call.
struct Ack {
    reply_to: String,
    message_id: String,
    subject: String,
}

/// Ada asks by mail; `count` mails are sent then.
fn ask(daemon: &Daemon, number: &str, count: usize) -> Ack {
    let reply = deliver(
        daemon.smtp,
        "ada@cust.test",
        &asking("ada@cust.test", number),
    )
    .unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let mails = sent(daemon, count);
    let newest = daemon.rows("select message_id from outbox order by created_at desc, id limit 1");
    let wanted = &newest[0][0];
    let mails = mails.iter().map(|mail| parse(mail));
    let mail = mails
        .into_iter()
        .find(|mail| mail.message_id() == Some(wanted.as_str()));
    let mail = mail.expect("the mail of the last row");
    Ack {
        reply_to: mail
            .reply_to()
            .unwrap()
            .first()
            .unwrap()
            .address()
            .unwrap()
            .to_owned(),
        message_id: wanted.clone(),
        subject: mail.subject().unwrap().to_owned(),
    }
}

/// An answer of a person's; what the receiver says to it.
fn answer(daemon: &Daemon, to: &str, headers: &str, body: &str) -> String {
    let message = format!(
        "From: Ada <ada@cust.test>\r\nTo: <{to}>\r\nMIME-Version: 1.0\r\n{headers}\
         Content-Type: text/plain\r\n\r\n{body}\r\n"
    );
    deliver_to(daemon.smtp, "ada@cust.test", to, &message).unwrap()
}

fn helpline(daemon: &Daemon, words: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_helpline"))
        .args(words)
        .arg("--config")
        .arg(daemon.config_path())
        .output()
        .unwrap();
    assert!(out.status.success(), "{words:?}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn an_answer_to_our_mail_cancels_and_is_shown_to_the_operator() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let ack = ask(&daemon, "+442079460601", 1);
    assert!(ack.reply_to.starts_with("help+r") && ack.reply_to.ends_with("@help.test"));
    let body =
        "Please cancel.\r\n\r\nOn Monday, 23 November 2026 help@help.test wrote:\r\n> We call you.";
    let reply = answer(&daemon, &ack.reply_to, "", body);
    assert!(reply.starts_with("250"), "{reply}");
    daemon.wait_row(STATE, "cancelled", PATIENCE);
    // Told as by the page, in the same thread.
    let mails = sent(&daemon, 2);
    assert!(mails.iter().any(|mail| mail.contains("X-Helpline-Loop: ")));
    daemon.wait_row(
        "select count(*) from outbox where kind = 'closing'",
        "1",
        PATIENCE,
    );
    let id = daemon.rows("select id from request")[0][0].clone();
    let shown = helpline(&daemon, &["queue", "show", &id]);
    assert!(shown.contains("answer follow_up: cancelled"), "{shown}");
    // The same is understood without a daemon.
    let file = daemon.dir.path().join("answer.eml");
    let text = format!(
        "From: ada@cust.test\r\nTo: help@help.test\r\nIn-Reply-To: <{}>\r\n\r\ncancel\r\n",
        ack.message_id
    );
    std::fs::write(&file, text).unwrap();
    let report = helpline(&daemon, &["mail", file.to_str().unwrap()]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["kind"], "follow_up");
    let forged = std::fs::read_to_string(&file)
        .unwrap()
        .replace(".ack.", ".closing.");
    std::fs::write(&file, forged).unwrap();
    let report = helpline(&daemon, &["mail", file.to_str().unwrap()]);
    assert!(report.contains("\"kind\":\"needs_info\""), "{report}");
}

#[test]
fn an_answer_with_another_time_moves_the_call() {
    let mut daemon = Daemon::new("[site]\nzone = \"Europe/London\"\n");
    daemon.start();
    let ack = ask(&daemon, "+442079460602", 1);
    // To the plain address, as from clients that ignore Reply-To.
    let answered = format!("In-Reply-To: <{}>\r\n", ack.message_id);
    answer(
        &daemon,
        "help@help.test",
        &answered,
        "Please call tomorrow at 3pm instead.",
    );
    daemon.wait_row(STATE, "scheduled", PATIENCE);
    let due = "select strftime('%H:%M', due_at / 1000, 'unixepoch') from request";
    let due = daemon.rows(due)[0][0].clone();
    assert!(due == "15:00" || due == "14:00", "15:00 in London: {due}");
    let mails = sent(&daemon, 2);
    let said = mails
        .iter()
        .filter(|mail| mail.contains("changed as you asked"));
    assert_eq!(said.count(), 1, "{mails:#?}");
    // By the tag alone, and in other words.
    let subject = format!("Subject: Re: {}\r\n", ack.subject);
    assert!(subject.contains("[#"), "{subject}");
    answer(
        &daemon,
        "help@help.test",
        &subject,
        "Use 020 7946 0699 for the call, please.",
    );
    daemon.wait_row("select number from request", "+442079460699", PATIENCE);
    sent(&daemon, 3);
}

#[test]
fn a_time_that_is_not_understood_is_told_with_the_request_and_with_the_answer() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let body = "Please call me any day except Friday, +44 20 7946 0604.";
    answer(&daemon, "help@help.test", "", body);
    let said = |count: usize| {
        let mails = sent(&daemon, count);
        let text = |mail: &String| parse(mail).body_text(0).unwrap().into_owned();
        mails.iter().map(text).collect::<Vec<_>>()
    };
    let first = said(1).remove(0);
    assert!(first.contains("did not understand the time"), "{first}");
    let id = "select message_id from outbox where kind = 'ack'";
    let answered = format!("In-Reply-To: <{}>\r\n", daemon.rows(id)[0][0]);
    for _ in 0..2 {
        answer(
            &daemon,
            "help@help.test",
            &answered,
            "Not on Tuesday, please.",
        );
    }
    let second = said(2);
    let told = second
        .iter()
        .filter(|text| text.contains("nothing was changed"));
    assert_eq!(told.count(), 1, "{second:#?}");
    sleep(QUIET);
    assert_eq!(said(2).len(), 2, "it is told once");
}

#[test]
fn what_is_forged_or_comes_from_others_changes_nothing() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let ack = ask(&daemon, "+442079460603", 1);
    let forged = ack.reply_to.replacen("+r", "+ra", 1);
    let reply = answer(&daemon, &forged, "", "cancel");
    assert!(reply.starts_with("550 5.1.1"), "{reply}");
    let plain = ack.reply_to.replacen("+r", "+b", 1);
    let reply = answer(&daemon, &plain, "", "cancel");
    assert!(reply.starts_with("550 5.1.1"), "{reply}");
    let bob = format!(
        "From: bob@cust.test\r\nTo: <{}>\r\n\r\ncancel\r\n",
        ack.reply_to
    );
    let reply = deliver_to(daemon.smtp, "bob@cust.test", &ack.reply_to, &bob).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let kept = "select reason from mail_in where kind = 'follow_up'";
    daemon.wait_row(kept, "unverified", PATIENCE);
    assert_eq!(daemon.rows(STATE)[0][0], "waiting");
    sleep(QUIET);
    sent(&daemon, 1);
}

/// A report as Postfix writes it (RFC 3464), about the mail with this id.
fn postfix_report(to: &str, message_id: &str, action: &str, status: &str) -> String {
    format!(
        "Date: Mon, 23 Nov 2026 10:00:00 +0100 (CET)\r\n\
         From: MAILER-DAEMON@relay.test (Mail Delivery System)\r\n\
         Subject: Undelivered Mail Returned to Sender\r\nTo: {to}\r\n\
         Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\
         \tboundary=\"3A9F140B2C.1795424400/relay.test\"\r\n\
         Message-Id: <20261123090000.D1E0A40B2D@relay.test>\r\n\r\n\
         This is a MIME-encapsulated message.\r\n\r\n\
         --3A9F140B2C.1795424400/relay.test\r\nContent-Description: Notification\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\r\n\
         This is the mail system at host relay.test.\r\n\r\n\
         --3A9F140B2C.1795424400/relay.test\r\nContent-Description: Delivery report\r\n\
         Content-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; relay.test\r\nX-Postfix-Queue-ID: 3A9F140B2C\r\n\
         X-Postfix-Sender: rfc822; {to}\r\nArrival-Date: Mon, 23 Nov 2026 10:00:00 +0100 (CET)\r\n\r\n\
         Final-Recipient: rfc822; ada@cust.test\r\nOriginal-Recipient: rfc822;ada@cust.test\r\n\
         Action: {action}\r\nStatus: {status}\r\nRemote-MTA: dns; mx.cust.test\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 <ada@cust.test>: Recipient address\r\n\
         \x20   rejected: User unknown\r\n\r\n\
         --3A9F140B2C.1795424400/relay.test\r\nContent-Description: Undelivered Message Headers\r\n\
         Content-Type: text/rfc822-headers\r\n\r\n\
         Return-Path: <{to}>\r\nFrom: Help desk <help@help.test>\r\nTo: ada@cust.test\r\n\
         Message-ID: <{message_id}>\r\nAuto-Submitted: auto-replied\r\n\r\n\
         --3A9F140B2C.1795424400/relay.test--\r\n"
    )
}

#[test]
fn a_report_of_the_relay_flags_the_request_and_stops_mail_to_a_dead_address() {
    // The mail of one goes to two, which tells by which envelope sender it came.
    let (mut one, mut two) = (named("one"), named("two"));
    relay_by(&one, &two);
    one.start();
    two.start();
    let body = ["--body", "Call me on 020 7946 0604."];
    let to = ["--from", "help@two.test", "--to", "help@one.test"];
    swaks(&one, &[&to[..], &body[..]].concat());
    two.wait_row("select count(*) from mail_in", "1", PATIENCE);
    let sender = two
        .rows("select mail_from from mail_in")
        .remove(0)
        .remove(0);
    assert!(sender.starts_with("help+b"), "{sender}");
    let id = one
        .rows("select message_id from outbox")
        .remove(0)
        .remove(0);
    let report = |to: &str, action: &str, status: &str, id: &str| {
        let message = postfix_report(to, id, action, status);
        let reply = deliver_to(one.smtp, "", to, &message).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    };
    report(&sender, "delayed", "4.4.1", &id);
    report(
        "help@one.test",
        "failed",
        "5.1.1",
        &id.replace(".ack.", ".closing."),
    );
    let bounces = "select count(*) from mail_in where kind = 'bounce' and state = 'done'";
    one.wait_row(bounces, "2", PATIENCE);
    let flagged = "select coalesce(mail_failed, '-') from request";
    assert_eq!(
        one.rows(flagged)[0][0],
        "-",
        "a delay and a forgery change nothing"
    );
    report(&sender, "failed", "5.1.1", &id);
    one.wait_row(flagged, "5.1.1", PATIENCE);
    assert_eq!(one.rows("select bounced from outbox")[0][0], "5.1.1");
    assert_eq!(one.rows(STATE)[0][0], "waiting", "the call still happens");
    let request = one.rows("select id from request").remove(0).remove(0);
    let shown = helpline(&one, &["queue", "show", &request]);
    let words = "mail does not reach this customer, the call still happens (5.1.1)";
    assert!(
        shown.contains(words) && shown.contains("bounced (5.1.1)"),
        "{shown}"
    );
    let json = helpline(&one, &["queue", "show", &request, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["mail_failed"], "5.1.1");
    // The next request of that address is taken, and no mail leaves.
    let body = ["--body", "Call me on 020 7946 0605."];
    swaks(&one, &[&to[..], &body[..]].concat());
    let last =
        "select state || ' ' || coalesce(last_error, '') from outbox order by id desc limit 1";
    one.wait_row(last, "suppressed bounced_before", PATIENCE);
    assert_eq!(one.rows("select count(*) from request")[0][0], "2");
    sleep(QUIET);
    assert_eq!(two.rows("select count(*) from mail_in")[0][0], "1");
    assert_eq!(
        one.rows("select count(*) from outbox")[0][0],
        "2",
        "reports are not answered"
    );
}
