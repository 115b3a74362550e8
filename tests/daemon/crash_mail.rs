//! Mail through the built binary: kill -9 while it comes in, and a machine that answers
//! whatever it gets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::process::{Daemon, http};
use crate::support::smtp::{asking, deliver};

/// Moments of the kill after the first client began, in milliseconds: through connect,
/// spool, claim, reading, filing and sending of several messages at once.
const MOMENTS_MS: [u64; 9] = [2, 8, 15, 25, 40, 70, 120, 200, 350];
const CLIENTS: usize = 4;
const SOON: Duration = Duration::from_secs(20);

/// A message and whether its 250 was heard.
struct Sent {
    number: String,
    from: String,
    acknowledged: bool,
}

#[test]
fn a_kill_while_mail_comes_in_loses_nothing_and_answers_once() {
    let mut acknowledged = 0;
    let mut broken = 0;
    for moment in MOMENTS_MS {
        let sent = one_round(Duration::from_millis(moment));
        acknowledged += sent.iter().filter(|s| s.acknowledged).count();
        broken += sent.iter().filter(|s| !s.acknowledged).count();
    }
    println!("{acknowledged} messages acknowledged, {broken} broken off");
    assert!(acknowledged > 0 && broken > 0, "no kill hit the intake");
}

fn one_round(moment: Duration) -> Vec<Sent> {
    let mut daemon = Daemon::new("");
    daemon.start();
    let (port, over) = (daemon.smtp, AtomicBool::new(false));
    let sent: Vec<Sent> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let over = &over;
                    move || send(port, client, over)
                })
            })
            .collect();
        thread::sleep(moment);
        daemon.kill();
        over.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });

    daemon.start();
    // A sender who heard nothing sends the same bytes again.
    for message in sent.iter().filter(|s| !s.acknowledged) {
        let again = deliver(port, &message.from, &asking(&message.from, &message.number));
        assert!(
            again.as_ref().is_ok_and(|r| r.starts_with("250")),
            "{again:?}"
        );
    }
    daemon.wait_row(
        "select count(*) from mail_in where state not in ('done', 'quarantined')",
        "0",
        SOON,
    );
    let spooled = daemon.rows("select mail_from, kind from mail_in order by kind");
    let requests = daemon.rows(
        "select r.number, count(o.id) from request r left join outbox o on o.about = r.id
         and o.kind = 'ack' group by r.id",
    );
    for message in &sent {
        let of = |rows: &[Vec<String>], key: &str| -> Vec<String> {
            let own = rows.iter().filter(|row| row[0] == key);
            own.map(|row| row[1].clone()).collect()
        };
        let (number, kinds) = (&message.number, of(&spooled, &message.from));
        // A copy only if the sender had to come again.
        assert!(
            kinds == ["request"] || (!message.acknowledged && kinds == ["duplicate", "request"]),
            "killed after {moment:?}: {number} is {kinds:?}\n{}",
            daemon.log()
        );
        let acks = of(&requests, number);
        assert_eq!(acks, ["1"], "killed after {moment:?}: acks of {number}");
    }
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    sent
}

/// Sends one message after another until the receiver is gone.
fn send(port: u16, client: usize, over: &AtomicBool) -> Vec<Sent> {
    let mut sent = Vec::new();
    for n in 0..40 {
        let id = client * 100 + n;
        let number = format!("+44207946{id:04}");
        // A domain of its own: one domain gets only so many replies an hour.
        let from = format!("c{id}@d{id}.test");
        let reply = deliver(port, &from, &asking(&from, &number));
        let acknowledged = reply.is_ok_and(|r| r.starts_with("250"));
        sent.push(Sent {
            number,
            from,
            acknowledged,
        });
        if !acknowledged || over.load(Ordering::Relaxed) {
            break;
        }
    }
    sent
}

/// A machine without any header that says so: it answers each mail with a new one that
/// quotes it, from a mailbox that names a telephone number every second time.
#[test]
fn a_machine_that_answers_everything_gets_three_replies() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let robot = "robot@machine.test";
    let (mut answered, mut sent) = (0, 0);
    let say = |n: usize, quoted: &str| {
        let number = format!("+44207946070{n}");
        let text = match n % 2 {
            0 => asking(robot, &number),
            _ => asking(robot, &number).replace(&format!(" on {number}"), ""),
        };
        let reply = deliver(
            daemon.smtp,
            robot,
            &format!("{text}\r\n\r\nAnswer {n} to:{quoted}"),
        );
        assert!(
            reply.as_ref().is_ok_and(|r| r.starts_with("250")),
            "{reply:?}"
        );
    };
    say(0, "");
    let mut quiet_since = Instant::now();
    while sent < 9 && quiet_since.elapsed() < Duration::from_secs(4) {
        let mails = daemon.mails();
        for mail in &mails[answered..] {
            assert!(mail.contains(robot), "{mail}");
            sent += 1;
            let tag = mail
                .lines()
                .find(|l| l.starts_with("Message-ID"))
                .unwrap_or_default();
            say(sent, &format!("\r\n> {tag}"));
            quiet_since = Instant::now();
        }
        answered = mails.len();
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.mails().len(), 3, "{}", daemon.log());
    // All four were read, and the last two requests stand in line all the same.
    let filed = daemon.rows("select kind, count(*) from mail_in group by kind order by kind");
    assert_eq!(filed, [["needs_info", "2"], ["request", "2"]]);
    // The numbers are read every two seconds.
    let end = Instant::now() + SOON;
    loop {
        let metrics = http(daemon.ops, "GET", "/metrics", &[], "").unwrap().body;
        if metrics.contains("\nhelpline_replies_withheld_total 1\n") {
            break;
        }
        assert!(Instant::now() < end, "{metrics}");
        thread::sleep(Duration::from_millis(200));
    }
}
