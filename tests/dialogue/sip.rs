//! Messages that broke others, sent to the engine one by one; the first answer to each is
//! written beside it. How the files are read stands at the top of each.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use helpline::config;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::peers::World;

/// How long the engine has to answer; silence is silence after so long.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
const SILENCE: Duration = Duration::from_millis(150);

struct Case {
    name: String,
    head: Vec<String>,
    body: Vec<String>,
    want: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_odd_message_is_answered_as_written_and_the_engine_lives() {
    let world = World::with(|config, _, dir| {
        config.voice.inbound_from = vec!["127.0.0.1".into()];
        let password_file = dir.join("ada");
        fs::write(&password_file, "opensesame").unwrap();
        config.phones = vec![config::Phone {
            username: "ada".into(),
            password_file,
        }];
    })
    .await;
    let there = world.engine.sip_address();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dialogue/sip");
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in ["valid", "invalid", "application"] {
        let text = fs::read_to_string(folder.join(format!("{file}.talk"))).unwrap();
        for case in read(&text) {
            count += 1;
            // Refusals to one address are ten a second.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let got = say(&case, there).await;
            if got != case.want {
                wrong.push(format!("{}: {got}, wanted {}", case.name, case.want));
            }
            assert!(lives(there).await, "no life after {}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 55, "messages are missing: {count}");
}

/// Sends a message from a port of its own; the code of the answer, and its Unsupported.
async fn say(case: &Case, there: SocketAddr) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let here = socket.local_addr().unwrap();
    socket
        .send_to(&bytes(case, here, there), there)
        .await
        .unwrap();
    let limit = if case.want == "none" {
        SILENCE
    } else {
        ANSWER_LIMIT
    };
    let end = Instant::now() + limit;
    let mut buffer = [0; 9_000];
    while let Ok(received) = timeout_at(end, socket.recv(&mut buffer)).await {
        let text = String::from_utf8_lossy(&buffer[..received.unwrap()]).into_owned();
        let Some(code) = text.strip_prefix("SIP/2.0 ").map(|rest| &rest[..3]) else {
            return format!("a request: {text}");
        };
        if code == "100" {
            continue;
        }
        let unsupported = text.lines().find(|l| l.starts_with("Unsupported:"));
        return match unsupported {
            Some(line) => format!("{code} {line}"),
            None => code.to_owned(),
        };
    }
    "none".into()
}

async fn lives(there: SocketAddr) -> bool {
    let line = |l: &str| l.to_owned();
    let head = [
        "OPTIONS sip:help@{there} SIP/2.0",
        "Via: SIP/2.0/UDP {here};branch=z9hG4bK{here}",
        "From: <sip:caller@{here}>;tag=1",
        "To: <sip:help@{there}>",
        "Call-ID: {here}",
        "CSeq: 1 OPTIONS",
        "Content-Length: 0",
    ];
    let case = Case {
        name: "life".into(),
        head: head.iter().copied().map(line).collect(),
        body: Vec::new(),
        want: "200".into(),
    };
    say(&case, there).await == "200"
}

fn bytes(case: &Case, here: SocketAddr, there: SocketAddr) -> Vec<u8> {
    let fill = |line: &String, length: usize| {
        let text = line
            .replace("{here}", &here.to_string())
            .replace("{there}", &there.to_string())
            .replace("{name}", &case.name)
            .replace("{length}", &length.to_string());
        [unescape(&text), b"\r\n".to_vec()].concat()
    };
    let body: Vec<u8> = case.body.iter().flat_map(|l| fill(l, 0)).collect();
    let mut all: Vec<u8> = case.head.iter().flat_map(|l| fill(l, body.len())).collect();
    all.extend(b"\r\n");
    all.extend(body);
    all
}

/// `\xHH`, `\t` and `\\`.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => match rest.next().unwrap() {
                b'x' => {
                    let pair = [rest.next().unwrap(), rest.next().unwrap()];
                    let pair = std::str::from_utf8(&pair).unwrap();
                    out.push(u8::from_str_radix(pair, 16).unwrap());
                }
                b't' => out.push(b'\t'),
                other => out.push(other),
            },
            byte => out.push(byte),
        }
    }
    out
}

fn read(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut in_body = false;
    for line in text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        if mark == "==" {
            let name = rest.split(':').next().unwrap().to_owned();
            in_body = false;
            cases.push(Case {
                name,
                head: Vec::new(),
                body: Vec::new(),
                want: String::new(),
            });
            continue;
        }
        let case = cases.last_mut().expect("a name comes first");
        match mark {
            "->" if !in_body && rest.is_empty() => in_body = true,
            "->" if in_body => case.body.push(rest.to_owned()),
            "->" => case.head.push(rest.to_owned()),
            "<-" => rest.clone_into(&mut case.want),
            _ => panic!("{line}"),
        }
    }
    cases
}
