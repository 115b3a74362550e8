//! Flows that reach out of their call: services, records, messages, other people.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{helpline, in_order, trace};
use crate::support::phone::{
    Keys, refusing_trunk, scenario, scripted_caller, sipp_caller, sipp_trunk,
};
use crate::support::process::{Daemon, free_port, http};
use crate::support::sipp::{Script, sdp};

const LIMIT: Duration = Duration::from_secs(30);
const CALLER: &str = "+442079461001";

/// A service that answers every request with one name; what it was asked.
fn service() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            thread::spawn(move || {
                let mut stream = stream;
                let mut buffer = [0; 8_192];
                let mut text = String::new();
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    text.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        continue;
                    };
                    let length = head.lines().find_map(|l| {
                        let (name, value) = l.split_once(": ")?;
                        name.eq_ignore_ascii_case("content-length").then_some(value)
                    });
                    let length: usize = length.map_or(0, |l| l.parse().unwrap());
                    if body.len() < length {
                        continue;
                    }
                    seen.lock().unwrap().push(std::mem::take(&mut text));
                    let body = "{\"name\":\"Ann\"}";
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    (port, asked)
}

/// A daemon whose callers run this flow.
fn daemon(flow: &str, extra: &str) -> (Daemon, tempfile::TempDir) {
    let flows = tempfile::tempdir().unwrap();
    fs::write(flows.path().join("trial.flow.yaml"), flow).unwrap();
    let daemon = Daemon::new(&format!(
        "[voice]\ninbound_from = [\"127.0.0.1\"]\ninbound_flow = \"trial\"\nno_rtp_hangup = \"2m\"\n\
         {extra}\n[ivr]\nflows = \"{}\"\nwatch = true\nhttp_hosts = [\"HOST\"]\nenv = [\"SERVICE\"]\n",
        flows.path().display()
    ));
    (daemon, flows)
}

#[test]
fn a_caller_is_known_a_service_is_asked_and_a_message_is_mailed_with_its_sound() {
    let flow = "helpline: 1
id: trial
start: known
locales: [en-US]
vars:
  who: { type: map, fields: { name: string, requests: int } }
  name: { type: string, default: \"\" }
prompts: { vm_ok: { text: \"Thank you. Your message is on its way.\" } }
nodes:
  known: { type: lookup, by: phone, value: call.from, save: who, next: line, events: { miss: { next: stranger } } }
  line: { type: branch, cases: [{ when: \"queues['help'].open && queues['help'].waiting <= 1\", next: ask }], else: stranger }
  stranger: { type: play, say: [{ pause: 2s }], next: nobody }
  nobody: { type: hangup, cause: 21 }
  ask: { type: http, request: { method: POST, url: \"{{{env.SERVICE}}}/who?n={{call.from}}\", json: { requests: who.requests } }, save: { name: response.body.name }, next: tell, events: { error: { next: stranger }, timeout: { next: stranger } } }
  tell: { type: webhook, request: { method: PUT, url: \"{{{env.SERVICE}}}/called\", headers: { X-Name: \"{{name}}\" }, json: { name: name } }, next: message }
  message: { type: voicemail, box: desk, max: 20s, silence: 15s, review: true, next: thanks, events: { no_input: { next: stranger }, error: { next: stranger } } }
  thanks: { type: play, say: [{ prompt: vm_ok }], next: end }
  end: { type: hangup }
";
    let (port, asked) = service();
    let (mut daemon, _flows) = daemon(
        flow,
        "[[mailbox]]\nname = \"desk\"\nto = \"desk@firm.test\"",
    );
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    let text = text.replace("HOST", &format!("127.0.0.1:{port}"));
    fs::write(daemon.config_path(), text).unwrap();
    let address = format!("http://127.0.0.1:{port}");
    daemon.env.push(("SERVICE".into(), address));
    daemon.start();
    let mut early = sipp_caller(&daemon, "early", CALLER, Keys::Sound, "");
    assert_eq!(
        early.exit_code(LIMIT),
        0,
        "{}\n{}",
        early.log(),
        daemon.log()
    );
    in_order(
        &trace(&daemon, "early-%"),
        &["lookup phone", "event miss", "end 21"],
    );

    daemon.ask(CALLER);
    // Two seconds, the key that ends the message, then hear it, then send it.
    let mut caller = sipp_caller(&daemon, "known", CALLER, Keys::Sound, ",,5,,#,,2,,,,,1");
    assert_eq!(
        caller.exit_code(LIMIT),
        0,
        "{}\n{}",
        caller.log(),
        daemon.log()
    );
    let lines = trace(&daemon, "known-%");
    in_order(
        &lines,
        &[
            "lookup phone",
            &format!("http POST http://127.0.0.1:{port}/who"),
            "http 200",
            "set name=Ann",
            &format!("webhook PUT http://127.0.0.1:{port}/called"),
            "say tone",
            "record at most 20s",
            "say record.review",
            "key 2",
            "say take",
            "key 1",
            "deliver desk",
            "deliver done",
            "end 16",
        ],
    );
    let end = Instant::now() + LIMIT;
    let mail = loop {
        let mail = daemon.mails().into_iter().find(|m| m.contains("audio/wav"));
        if let Some(mail) = mail {
            break mail;
        }
        assert!(Instant::now() < end, "no mail:\n{}", daemon.log());
        thread::sleep(Duration::from_millis(100));
    };
    assert!(
        mail.contains("To: desk@firm.test") && mail.contains(CALLER),
        "{mail}"
    );
    // Four seconds and more of mu-law, in base64.
    assert!(mail.len() > 40_000, "{} bytes", mail.len());
    while asked.lock().unwrap().len() < 2 {
        assert!(Instant::now() < end, "{:?}", asked.lock().unwrap());
        thread::sleep(Duration::from_millis(100));
    }
    let asked = asked.lock().unwrap();
    assert!(
        asked[0].contains("POST /who?n=%2B442079461001") && asked[0].ends_with("{\"requests\":1}")
    );
    assert!(asked[1].contains("PUT /called") && asked[1].to_lowercase().contains("x-name: ann"));
    assert!(asked[1].contains("webhook-id: "), "{}", asked[1]);

    // What was done can be read while the daemon runs, and becomes a test.
    let list = helpline(&daemon, &["call", "trace"]);
    assert!(
        list.contains("trial") && list.lines().count() == 2,
        "{list}"
    );
    let told = helpline(&daemon, &["call", "trace", "known"]);
    assert!(
        told.starts_with("+0.") && told.contains("trial begin revision "),
        "{told}"
    );
    assert!(
        !lines.iter().any(|l| l.starts_with("say_error")),
        "{}\n{}",
        lines.join("\n"),
        daemon.log()
    );
    let again = helpline(&daemon, &["ivr", "replay", "known"]);
    assert!(
        again.ends_with("the same flows, the same call\n"),
        "{again}"
    );
    let counts = ["ivr", "graph", "trial", "--format", "dot", "--counts", "1h"];
    let graph = helpline(&daemon, &counts);
    assert!(graph.contains("lookup (2)"), "{graph}");
    let test = helpline(&daemon, &["call", "trace", "known", "--record"]);
    assert!(
        !test.contains(CALLER) && test.contains("press: \"2\""),
        "{test}"
    );
}

#[test]
fn a_caller_is_transferred_and_comes_back() {
    let flow = "helpline: 1
id: trial
start: first
locales: [en-US]
prompts: { goodbye: { text: \"Goodbye.\" } }
nodes:
  first: { type: play, say: [{ pause: 2s }], next: away }
  away: { type: transfer, to: \"02079461234\", ring: 10s, whisper: [{ prompt: goodbye }], next: back, events: { busy: { next: busy }, no_answer: { next: busy }, error: { next: wrong } } }
  back: { type: hangup, cause: 31 }
  busy: { type: hangup, cause: 17 }
  wrong: { type: hangup, cause: 41 }
";
    for (answers, wanted) in [(true, "end 31"), (false, "end 17")] {
        let port = free_port();
        let trunk = format!(
            "[[trunk]]\nname = \"sipp\"\ntarget = \"127.0.0.1:{port}\"\ncaller_id = \"+442079460000\"\ncalls_per_second = 100.0\n"
        );
        let (mut daemon, _flows) = daemon(flow, &trunk);
        let log = daemon.dir.path().join("messages");
        let _trunk = if answers {
            let file = scenario("uas_early", &[], daemon.dir.path());
            sipp_trunk(port, &["-sf", file.to_str().unwrap()], &log)
        } else {
            refusing_trunk(port, "486 Busy Here", &log)
        };
        daemon.start();
        let mut caller = sipp_caller(&daemon, "caller", CALLER, Keys::Sound, "");
        let code = caller.exit_code(LIMIT);
        assert_eq!(code, 0, "{}\n{}", caller.log(), daemon.log());
        let lines = trace(&daemon, "caller-%");
        in_order(&lines, &["transfer 02079461234", wanted]);
        let messages = fs::read_to_string(&log).unwrap();
        assert!(messages.contains("INVITE sip:+442079461234@"), "{messages}");
    }
}

/// A caller whose side is asked to call somebody else; `told` follows the answer to REFER.
fn referred(told: impl Fn(Script) -> Script) -> Script {
    let asked = Script::caller(CALLER)
        .send("INVITE", "", &sdp(1, "sendrecv"))
        .expect(200, &[])
        .send("ACK", "", "")
        .await_request("REFER", &["Refer-To: <sip:.442079461234@127.0.0.1"]);
    told(asked)
}

fn notify(script: Script, code: &str, state: &str) -> Script {
    let fields = format!("Event: refer\nSubscription-State: {state}\n");
    let body = format!("SIP/2.0 {code}\n");
    script.send("NOTIFY", &fields, &body).expect(200, &[])
}

#[test]
fn a_caller_is_given_away_or_stays_if_his_side_will_not() {
    let flow = |to: &str| {
        format!(
            "helpline: 1
id: trial
start: away
locales: [en-US]
nodes:
  away: {{ type: transfer, mode: blind, to: \"{to}\", ring: 10s, next: wrong, events: {{ busy: {{ next: busy }}, no_answer: {{ next: wrong }}, error: {{ next: refused }} }} }}
  busy: {{ type: hangup, cause: 17 }}
  refused: {{ type: hangup, cause: 21 }}
  wrong: {{ type: hangup, cause: 41 }}
"
        )
    };
    let accepted = |script: Script| {
        notify(
            script.answer("202 Accepted", "", ""),
            "100 Trying",
            "active",
        )
    };
    let scripts = [
        (
            "given",
            referred(|s| notify(accepted(s), "200 OK", "terminated")),
            "end 16",
        ),
        (
            "busy",
            referred(|s| notify(accepted(s), "486 Busy Here", "terminated")),
            "end 17",
        ),
        (
            "stays",
            referred(|s| s.answer("405 Method Not Allowed", "", "")),
            "end 21",
        ),
    ];
    let (mut daemon, _flows) = daemon(&flow("02079461234"), "");
    daemon.start();
    for (name, script, wanted) in scripts {
        let mut caller = scripted_caller(&daemon, name, script.ended_by(&[]));
        let code = caller.exit_code(LIMIT);
        assert_eq!(code, 0, "{name}: {}\n{}", caller.log(), daemon.log());
        let lines = trace(&daemon, &format!("{name}-%"));
        in_order(&lines, &["transfer 02079461234 blind", wanted]);
    }
    // A number that may not be dialled is referred to nobody.
    let (mut daemon, _flows) = self::daemon(&flow("+882161234567"), "");
    daemon.start();
    let script = Script::caller(CALLER)
        .send("INVITE", "", &sdp(1, "sendrecv"))
        .expect(200, &[])
        .send("ACK", "", "")
        .ended_by(&[]);
    let mut caller = scripted_caller(&daemon, "dear", script);
    assert_eq!(caller.exit_code(LIMIT), 0, "{}", caller.log());
    in_order(&trace(&daemon, "dear-%"), &["end 21"]);
}

/// The caller's side is put on hold, then asked to take our place in the other call.
fn held_and_referred() -> Script {
    Script::caller(CALLER)
        .send("INVITE", "", &sdp(1, "sendrecv"))
        .expect(200, &[])
        .send("ACK", "", "")
        .await_request("INVITE", &["a=sendonly"])
        .answer("200 OK", "", &sdp(2, "recvonly"))
        .await_request("ACK", &[])
        .await_request(
            "REFER",
            &["Refer-To: <sip:trunk@127.0.0.1:[0-9]+[?]Replaces=.*%3Bto-tag%3D[0-9]+uas[0-9]+%3Bfrom-tag%3D"],
        )
}

#[test]
fn a_caller_takes_over_the_call_to_the_other_one_or_is_joined_to_him() {
    let flow = "helpline: 1
id: trial
start: away
locales: [en-US]
nodes:
  away: { type: transfer, mode: attended, to: \"02079461234\", ring: 10s, next: back, events: { busy: { next: wrong }, no_answer: { next: wrong }, error: { next: wrong } } }
  back: { type: hangup, cause: 31 }
  wrong: { type: hangup, cause: 41 }
";
    let takes = notify(
        notify(
            held_and_referred().answer("202 Accepted", "", ""),
            "100 Trying",
            "active",
        ),
        "200 OK",
        "terminated",
    );
    let declines = held_and_referred()
        .answer("603 Decline", "", "")
        .await_request("INVITE", &["a=sendrecv"])
        .answer("200 OK", "", &sdp(3, "sendrecv"))
        .await_request("ACK", &[]);
    let refuses_hold = Script::caller(CALLER)
        .send("INVITE", "", &sdp(1, "sendrecv"))
        .expect(200, &[])
        .send("ACK", "", "")
        .await_request("INVITE", &["a=sendonly"])
        .answer("488 Not Acceptable Here", "", "")
        .await_request("ACK", &[]);
    for (name, script, wanted) in [
        ("takes", takes, ["transfer given", "end 16"]),
        ("declines", declines, ["transfer done", "end 31"]),
        ("will_not_hold", refuses_hold, ["transfer done", "end 31"]),
    ] {
        let port = free_port();
        let trunk = format!(
            "[[trunk]]\nname = \"sipp\"\ntarget = \"127.0.0.1:{port}\"\ncaller_id = \"+442079460000\"\ncalls_per_second = 100.0\n"
        );
        let (mut daemon, _flows) = daemon(flow, &trunk);
        let log = daemon.dir.path().join("messages");
        // Whose place was taken hangs up; else he has talked for two seconds.
        let (guest, _) = Script::called()
            .pick_up("")
            .pause(2_000)
            .bye()
            .write(daemon.dir.path());
        let _trunk = sipp_trunk(port, &["-sf", guest.to_str().unwrap()], &log);
        daemon.start();
        let mut caller = scripted_caller(&daemon, name, script.ended_by(&[]));
        let code = caller.exit_code(LIMIT);
        assert_eq!(code, 0, "{name}: {}\n{}", caller.log(), daemon.log());
        let lines = trace(&daemon, &format!("{name}-%"));
        in_order(
            &lines,
            &["transfer 02079461234 attended", wanted[0], wanted[1]],
        );
    }
}

#[test]
fn a_changed_flow_is_taken_up_and_a_faulty_one_is_shown() {
    let flow = |cause: u32| {
        format!(
            "helpline: 1\nid: trial\nstart: rest\nlocales: [en-US]\nnodes:\n  rest: {{ type: play, say: [{{ pause: 2s }}], next: end }}\n  end: {{ type: hangup, cause: {cause} }}\n"
        )
    };
    let (mut daemon, flows) = daemon(&flow(21), "");
    daemon.start();
    let file = flows.path().join("trial.flow.yaml");
    let wait = |daemon: &Daemon, part: &str| {
        let end = Instant::now() + LIMIT;
        loop {
            let ready = http(daemon.ops, "GET", "/readyz", &[], "").unwrap();
            if ready.body.contains(part) {
                return ready;
            }
            assert!(
                Instant::now() < end,
                "{part}: {}\n{}",
                ready.body,
                daemon.log()
            );
            thread::sleep(Duration::from_millis(100));
        }
    };
    // Whoever watches sees the folder first, then the change.
    thread::sleep(Duration::from_millis(2_500));
    fs::write(&file, flow(21).replace("start: rest", "start: rset")).unwrap();
    let ready = wait(&daemon, "the old flows serve: ");
    assert!(
        ready.status == 200 && ready.body.contains("E101"),
        "{}",
        ready.body
    );
    let call = |daemon: &Daemon, name: &str| {
        let mut sipp = sipp_caller(daemon, name, CALLER, Keys::Events, "");
        assert_eq!(sipp.exit_code(LIMIT), 0, "{}\n{}", sipp.log(), daemon.log());
        trace(daemon, &format!("{name}-%"))
    };
    let old = call(&daemon, "old");
    in_order(&old, &["end 21"]);
    fs::write(&file, flow(31)).unwrap();
    let end = Instant::now() + LIMIT;
    while !daemon.log().contains("flows and prompts were read again") {
        assert!(Instant::now() < end, "{}", daemon.log());
        thread::sleep(Duration::from_millis(100));
    }
    let new = call(&daemon, "new");
    in_order(&new, &["end 31"]);
    assert_ne!(old[0], new[0], "each call names its revision");
    assert!(old[0].starts_with("begin revision "), "{old:?}");
    let ready = http(daemon.ops, "GET", "/readyz", &[], "").unwrap();
    assert!(
        !ready.body.contains("the old flows serve"),
        "{}",
        ready.body
    );
}
