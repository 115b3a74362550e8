//! The dialler calls a telephone of another maker, and a person there decides.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use super::{helpline, in_order, trace};
use crate::support::phone::{Baresip, loud_samples, trunk_config};
use crate::support::process::{Daemon, free_run, http};

/// What a person says who picks up.
const HELLO: Duration = Duration::from_millis(600);
/// What a machine says before its tone; here it falls silent instead.
const GREETING: Duration = Duration::from_secs(3);
/// The number baresip answers to.
const NUMBER: &str = "+4930123456";

/// A daemon, and a baresip that is its trunk and its customer.
struct Home {
    daemon: Daemon,
    baresip: Baresip,
}

impl Home {
    /// Both run, the customer has asked, picks up, speaks for so long and hears the
    /// question.
    fn called(speaks: Duration) -> Home {
        Home::called_after(speaks, "", |_| {})
    }

    /// The same, with more keys of the queue and something that happens before.
    fn called_after(speaks: Duration, queue: &str, before: impl FnOnce(&Daemon)) -> Home {
        // Its SIP over TLS takes the port after the one it is given.
        let port = free_run(2);
        let mut daemon = Daemon::new(&trunk_config(port, "", queue));
        let dir = daemon.dir.path().join("baresip");
        let baresip = Baresip::start(dir, port, speaks, None);
        daemon.start();
        before(&daemon);
        daemon.ask(NUMBER);
        let answered = "select count(*) from attempt where answer_at is not null";
        daemon.wait_row(answered, "1", Duration::from_secs(15));
        // Long enough to hear that somebody speaks.
        sleep(Duration::from_secs(2));
        Home { daemon, baresip }
    }

    fn press(&mut self, key: char) {
        self.baresip.press(key);
    }

    /// Waits for the end of the attempt, and for what it came to.
    fn ends(&self, disposition: &str, state: &str) {
        let sql = "select disposition from attempt where state = 'ended'";
        self.daemon
            .wait_row(sql, disposition, Duration::from_secs(60));
        let sql = "select state from request";
        self.daemon.wait_row(sql, state, Duration::from_secs(5));
    }

    /// The customer has heard a voice; the telephone is put away.
    fn heard_speech(&mut self) {
        self.baresip.program.kill();
        let loud = loud_samples(&self.baresip.dir);
        assert!(loud > 2_000, "{loud} loud samples: no voice was heard");
    }
}

fn call_id(daemon: &Daemon) -> String {
    daemon
        .rows("select distinct call_id from call_trace")
        .remove(0)
        .remove(0)
}

#[test]
fn a_customer_who_accepts_is_helped_and_the_request_is_done() {
    let mut home = Home::called(HELLO);
    home.press('1');
    home.daemon.wait_row(
        "select state from request",
        "connected",
        Duration::from_secs(5),
    );
    // Past the words that announce the help channel.
    sleep(Duration::from_secs(5));
    home.press('9');
    home.ends("talked", "done");
    home.heard_speech();
    let lines = trace(&home.daemon, "%");
    in_order(
        &lines,
        &[
            "exit hello 1 -> proof",
            "join flow self-help",
            "exit topics 9 -> bye",
            "end 16",
        ],
    );
    let again = helpline(&home.daemon, &["ivr", "replay", &call_id(&home.daemon)]);
    assert!(
        again.ends_with("the same flows, the same call\n"),
        "{again}"
    );
    let letters = home
        .daemon
        .rows("select count(*) from outbox where kind <> 'ack'");
    assert_eq!(letters, [["0"]], "a customer who was helped gets no letter");
    let mails = home.daemon.mails();
    let told = mails.iter().filter(|m| m.contains("To: ada@cust.test"));
    assert!(told.count() <= 1, "{mails:?}");
    assert_eq!(home.daemon.stop(), 0, "{}", home.daemon.log());
}

#[test]
fn after_many_strangers_a_customer_keys_in_the_figures_of_the_page() {
    let tomorrow = Command::new("date")
        .args(["-u", "-d", "tomorrow 12:00", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    let tomorrow = String::from_utf8(tomorrow.stdout).unwrap();
    let mut home = Home::called_after(HELLO, "unproven_per_hour = 1", |daemon| {
        let when = tomorrow.trim();
        let body = format!("{{\"phone\":\"+442079461007\",\"when\":{{\"at\":\"{when}\"}}}}");
        assert_eq!(daemon.post_json(&body, &[]).unwrap().status, 201);
    });
    let pin = "select pin from request where pin is not null";
    let pin = home.daemon.rows(pin).remove(0).remove(0);
    home.press('1');
    for wrong in "0000".chars() {
        home.press(wrong);
    }
    sleep(Duration::from_secs(3));
    let state = "select state from request where pin is not null";
    assert_eq!(home.daemon.rows(state), [["answered"]]);
    for key in pin.chars() {
        home.press(key);
    }
    home.daemon
        .wait_row(state, "connected", Duration::from_secs(5));
    let page = "select '/s/' || token from request where pin is not null";
    let page = home.daemon.rows(page).remove(0).remove(0);
    let page = http(home.daemon.http, "GET", &page, &[], "").unwrap();
    assert!(page.body.contains(&pin), "{}", page.body);
    home.baresip.order("hangup", "");
    home.daemon.wait_row(state, "done", Duration::from_secs(15));
    assert_eq!(home.daemon.stop(), 0, "{}", home.daemon.log());
}

#[test]
fn a_customer_who_wants_a_later_call_gets_it_at_that_time() {
    let mut home = Home::called(HELLO);
    home.press('2');
    home.press('3');
    home.press('0');
    home.press('#');
    home.ends("later", "scheduled");
    home.heard_speech();
    let row = home.daemon.rows(
        "select r.not_before - a.end_at, r.attempts, a.settled from request r join attempt a on a.request_id = r.id",
    );
    let delay: i64 = row[0][0].parse().unwrap();
    // Thirty minutes from the key, and a few seconds of farewell before the end.
    assert!(
        (1_780_000..=1_800_000).contains(&delay),
        "{delay} ms after the end"
    );
    assert_eq!(row[0][1..], ["0", "later"]);
    in_order(
        &trace(&home.daemon, "%"),
        &["exit hello 2 -> ask_when", "store done", "end 16"],
    );
    assert_eq!(home.daemon.stop(), 0, "{}", home.daemon.log());
}

#[test]
fn a_number_whose_owner_did_not_ask_is_never_called_again() {
    // He talks so long that he is taken for a machine; his key counts all the same.
    let mut home = Home::called(GREETING);
    home.press('9');
    home.ends("stop", "suppressed");
    home.heard_speech();
    let taken_for_a_machine = [
        "exit who machine -> first_time",
        "exit perhaps_a_person 9 -> wrong",
    ];
    in_order(&trace(&home.daemon, "%"), &taken_for_a_machine);
    // However it is written.
    for number in [NUMBER, "+49 (30) 123 456", "0049 30 123456"] {
        let body = format!("{{\"phone\":\"{number}\"}}");
        let answer = home.daemon.post_json(&body, &[]).unwrap();
        assert_eq!(answer.status, 422, "{number}: {}", answer.body);
    }
    let requests = home.daemon.rows("select count(*) from request");
    assert_eq!(requests, [["1"]], "a refused number has a request");
    let attempts = home.daemon.rows("select count(*) from attempt");
    assert_eq!(attempts, [["1"]]);
    assert_eq!(home.daemon.stop(), 0, "{}", home.daemon.log());
}

#[test]
fn a_machine_is_left_one_message_and_the_customer_is_called_again() {
    let mut home = Home::called(GREETING);
    home.ends("machine", "backoff");
    home.heard_speech();
    in_order(
        &trace(&home.daemon, "%"),
        &[
            "detect machine",
            "exit who machine -> first_time",
            "detect listens",
            "say machine",
            "say accept",
            "end 16",
        ],
    );
    let told = "select count(*) from outbox where kind = 'attempted'";
    assert_eq!(home.daemon.rows(told), [["1"]]);
    assert_eq!(home.daemon.stop(), 0, "{}", home.daemon.log());
}
