//! Trunks that challenge, redirect or say nothing, and calls that are given up.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::phone::{called, refusing_trunk, scenario, sipp_trunk, trunk_config};
use crate::support::process::{Daemon, Program, free_port, http};

const LIMIT: Duration = Duration::from_secs(20);

/// A daemon whose trunk is SIPp with one of our scenarios; the log of its messages.
fn daemon_and_trunk(
    name: &str,
    keys: &[(&str, &str)],
    trunk: &str,
    queue: &str,
) -> (Daemon, Program, PathBuf) {
    let port = free_port();
    let daemon = Daemon::new(&trunk_config(port, trunk, queue));
    let file = scenario(name, keys, daemon.dir.path());
    let log = daemon.dir.path().join("messages");
    let sipp = sipp_trunk(port, &["-sf", file.to_str().unwrap()], &log);
    (daemon, sipp, log)
}

/// Waits until the trunk saw `text`.
fn wait_message(log: &Path, text: &str) {
    let end = Instant::now() + LIMIT;
    while !fs::read_to_string(log).unwrap_or_default().contains(text) {
        assert!(
            Instant::now() < end,
            "no {text:?} came:\n{}",
            fs::read_to_string(log).unwrap_or_default()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

fn wait_attempt(daemon: &Daemon, state: &str) {
    let sql = "select state from attempt order by intent_at desc limit 1";
    daemon.wait_row(sql, state, LIMIT);
}

/// Disposition of the first attempt, state and counted attempts of its request,
/// milliseconds from the intent and from the end to the next try.
fn outcome(daemon: &Daemon) -> (String, String, String, i64, i64) {
    wait_attempt(daemon, "ended");
    let row = daemon.rows(
        "select a.disposition, r.state, r.attempts, r.not_before - a.intent_at, r.not_before - a.end_at \
         from attempt a join request r on r.id = a.request_id order by a.intent_at limit 1",
    );
    let [disposition, state, attempts, intent, end] = &row[0][..] else {
        panic!("{row:?}");
    };
    (
        disposition.clone(),
        state.clone(),
        attempts.clone(),
        intent.parse().unwrap(),
        end.parse().unwrap(),
    )
}

#[test]
fn a_trunk_that_challenges_gets_an_answer_and_the_call_is_answered() {
    // SIPp can verify Authorization, of Proxy-Authorization only its shape.
    let verify = r#"<verifyauth assign_to="proven" username="u" password="secret" />"#;
    let shape = r#"<ereg regexp="Digest username=.u., realm=.sipp., nonce=.c0ffee.*qop=auth, nc=00000001" search_in="hdr" header="Proxy-Authorization:" assign_to="proven" />"#;
    for (status, challenge, check) in [
        ("401 Unauthorized", "WWW-Authenticate", verify),
        (
            "407 Proxy Authentication Required",
            "Proxy-Authenticate",
            shape,
        ),
    ] {
        let keys = [
            ("status", status),
            ("challenge", challenge),
            ("check", check),
        ];
        let (mut daemon, _sipp, log) = daemon_and_trunk("uas_challenge", &keys, "", "");
        let password = daemon.dir.path().join("password");
        fs::write(&password, "secret\n").unwrap();
        let text = fs::read_to_string(daemon.config_path()).unwrap();
        let text = text.replace(
            "name = \"sipp\"\n",
            &format!(
                "name = \"sipp\"\nusername = \"u\"\npassword_file = \"{}\"\n",
                password.display()
            ),
        );
        // SIPp sends no sound, which ends the call.
        let text = text.replace("[voice]\n", "[voice]\nno_rtp_hangup = \"2s\"\n");
        fs::write(daemon.config_path(), text).unwrap();
        daemon.start();
        daemon.ask("+442079461101");
        let (disposition, state, ..) = outcome(&daemon);
        let answered = daemon.rows("select count(*) from attempt where answer_at is not null");
        assert_eq!(answered, [["1"]], "{status}: {disposition}");
        assert_eq!(
            (disposition.as_str(), state.as_str()),
            ("not_confirmed", "backoff")
        );
        wait_message(&log, "BYE sip:");
        let said = fs::read_to_string(&log).unwrap() + &daemon.log();
        assert!(!said.contains("secret"), "{status}: a password was told");
        assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    }
}

#[test]
fn a_redirection_is_never_followed() {
    let port = free_port();
    let mut daemon = Daemon::new(&trunk_config(port, "", ""));
    let log = daemon.dir.path().join("messages");
    let _sipp = refusing_trunk(port, "302 Moved Temporarily", &log);
    daemon.start();
    daemon.ask("+442079461201");
    let (disposition, state, ..) = outcome(&daemon);
    assert_eq!(
        (disposition.as_str(), state.as_str()),
        ("redirected", "unreachable")
    );
    assert_eq!(called(&log), ["+442079461201"]);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

/// A trunk that answers OPTIONS if it `lives`, and never an INVITE. It ends with the
/// sender that is returned.
fn silent_trunk(lives: bool) -> (u16, mpsc::Sender<()>) {
    let port = free_port();
    let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    thread::spawn(move || {
        let mut buf = [0; 4_096];
        while stopped.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
            let Ok((len, from)) = socket.recv_from(&mut buf) else {
                continue;
            };
            let text = String::from_utf8_lossy(&buf[..len]);
            if lives && text.starts_with("OPTIONS") {
                socket.send_to(ok(&text).as_bytes(), from).unwrap();
            }
        }
    });
    (port, stop)
}

/// A 200 to a request without a body.
fn ok(request: &str) -> String {
    let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
    for line in request.lines() {
        if ["Via:", "From:", "Call-ID:", "CSeq:"]
            .iter()
            .any(|name| line.starts_with(name))
        {
            answer += &format!("{line}\r\n");
        } else if line.starts_with("To:") {
            answer += &format!("{line};tag=trunk\r\n");
        }
    }
    answer + "Content-Length: 0\r\n\r\n"
}

#[test]
fn silence_of_a_dead_trunk_burns_no_attempt_of_the_customer() {
    // A socket that says nothing, and a port where none is.
    let (silent, _stop) = silent_trunk(false);
    for port in [silent, free_port()] {
        let mut daemon = Daemon::new(&trunk_config(port, "", ""));
        daemon.start();
        daemon.ask("+442079461301");
        let (disposition, state, attempts, _, after_end) = outcome(&daemon);
        assert_eq!(
            (disposition.as_str(), state.as_str(), attempts.as_str()),
            ("trunk_failed", "backoff", "0")
        );
        assert!((7_900..=12_100).contains(&after_end), "{after_end} ms");
        daemon.kill();
    }
}

#[test]
fn silence_of_a_trunk_that_lives_is_waited_out() {
    let (port, _stop) = silent_trunk(true);
    let mut daemon = Daemon::new(&trunk_config(port, "", "ring_limit = \"10s\""));
    daemon.start();
    daemon.ask("+442079461302");
    let (disposition, state, attempts, after_intent, _) = outcome(&daemon);
    // Nobody knows whether the telephone rang: no second call within two minutes.
    assert_eq!(
        (disposition.as_str(), state.as_str(), attempts.as_str()),
        ("unknown", "backoff", "1")
    );
    assert!(
        (120_000..=121_000).contains(&after_intent),
        "{after_intent} ms"
    );
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

#[test]
fn a_request_cancelled_on_its_page_stops_the_ringing() {
    let (mut daemon, _sipp, log) = daemon_and_trunk("uas_cancel", &[], "", "");
    daemon.start();
    daemon.ask("+442079461401");
    wait_attempt(&daemon, "ringing");
    let token = daemon.rows("select token from request")[0][0].clone();
    let page = format!("/s/{token}/cancel");
    let foreign = [("Origin", "https://elsewhere.test")];
    let refused = http(daemon.http, "POST", &page, &foreign, "").unwrap();
    assert_eq!(refused.status, 403);
    let origin = format!("http://127.0.0.1:{}", daemon.http);
    let own = [("Origin", origin.as_str())];
    let answer = http(daemon.http, "POST", &page, &own, "").unwrap();
    assert_eq!(answer.status, 303, "{}", answer.body);
    let back = format!("location: /s/{token}\r\n");
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains(&back.to_ascii_lowercase()), "{head}");
    wait_message(&log, "CANCEL sip:");
    wait_message(&log, "ACK sip:");
    let (disposition, state, ..) = outcome(&daemon);
    assert_eq!(
        (disposition.as_str(), state.as_str()),
        ("withdrawn", "cancelled")
    );
    assert_eq!(called(&log).len(), 1);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

#[test]
fn an_order_to_stop_lets_the_call_end_and_places_no_other() {
    let port = free_port();
    let config = trunk_config(port, "", "") + "[voice]\nno_rtp_hangup = \"5s\"\n";
    let mut daemon = Daemon::new(&config);
    let log = daemon.dir.path().join("messages");
    let _sipp = sipp_trunk(port, &["-sn", "uas"], &log);
    daemon.start();
    daemon.ask("+442079461501");
    daemon.ask("+442079461502");
    wait_attempt(&daemon, "answered");
    let began = Instant::now();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "the call was cut at once"
    );
    wait_message(&log, "BYE sip:");
    assert_eq!(called(&log), ["+442079461501"]);
    let rows = daemon.rows("select number, state from request order by number");
    assert_eq!(
        rows,
        [["+442079461501", "backoff"], ["+442079461502", "waiting"]]
    );
    let live = daemon.rows("select count(*) from attempt where live = 1");
    assert_eq!(live, [["0"]]);
}

#[test]
fn a_stop_while_the_telephone_rings_takes_the_call_back_and_keeps_the_request() {
    let (mut daemon, _sipp, log) = daemon_and_trunk("uas_cancel", &[], "", "");
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    let text = text + "[stop]\ndrain_limit = \"1s\"\n";
    fs::write(daemon.config_path(), text).unwrap();
    daemon.start();
    daemon.ask("+442079461601");
    wait_attempt(&daemon, "ringing");
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    wait_message(&log, "CANCEL sip:");
    let (disposition, state, _, _, after_end) = outcome(&daemon);
    assert_eq!(
        (disposition.as_str(), state.as_str()),
        ("unknown", "backoff")
    );
    assert!(after_end >= 299_000, "called again after {after_end} ms");
}

#[test]
fn a_second_order_to_stop_cuts_the_call() {
    let port = free_port();
    let mut daemon = Daemon::new(&trunk_config(port, "", ""));
    let log = daemon.dir.path().join("messages");
    let _sipp = sipp_trunk(port, &["-sn", "uas"], &log);
    daemon.start();
    daemon.ask("+442079461701");
    wait_attempt(&daemon, "answered");
    daemon.program().signal(Signal::SIGTERM);
    // The call goes on: nothing tells the far end to end it.
    thread::sleep(Duration::from_millis(700));
    assert!(!fs::read_to_string(&log).unwrap().contains("BYE sip:"));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    wait_message(&log, "BYE sip:");
    let (_, state, ..) = outcome(&daemon);
    assert_eq!(state, "backoff", "the request is lost");
}

#[test]
fn a_request_cancelled_during_the_talk_ends_it_and_is_not_called_again() {
    let port = free_port();
    let mut daemon = Daemon::new(&trunk_config(port, "", ""));
    let log = daemon.dir.path().join("messages");
    let _sipp = sipp_trunk(port, &["-sn", "uas"], &log);
    daemon.start();
    daemon.ask("+442079461801");
    wait_attempt(&daemon, "answered");
    let token = daemon.rows("select token from request")[0][0].clone();
    let origin = format!("http://127.0.0.1:{}", daemon.http);
    let page = format!("/s/{token}/cancel");
    for _ in 0..2 {
        let own = [("Origin", origin.as_str())];
        let answer = http(daemon.http, "POST", &page, &own, "").unwrap();
        assert_eq!(answer.status, 303, "{}", answer.body);
    }
    wait_message(&log, "BYE sip:");
    let (_, state, ..) = outcome(&daemon);
    assert_eq!(state, "cancelled");
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}
