//! The engine against test phones on loopback, with real media threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::call::{CallReport, End, Settled};
use helpline_core::id::AttemptId;
use helpline_core::ivr::flow::{FlowSet, LocaleSource, Source};
use helpline_core::ivr::io::{CallbackReply, HelpChannel, Hours, Key, Why};
use helpline_core::phone::PhoneNumber;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::media::{Media, MediaConfig};
use super::phone::{
    Behaviour, Digits, Password, PhoneConfig, PhoneEvent, PickUp, Press, TestPhone,
};
use super::prompts::PromptTable;
use super::*;
use crate::clock::Clock;
use crate::config;

mod dns;
mod ends;
mod failover;
mod odd;
mod registration;
mod streams;

const LIMIT: Duration = Duration::from_secs(20);

const CONFIRM: &str = include_str!("../../../../tests/peers/flows/confirm.flow.yaml");

const HELP: &str = include_str!("../../../../tests/peers/flows/help.flow.yaml");

const GREET: &str = include_str!("../../../../tests/peers/flows/greet.flow.yaml");

/// Names a clip that no prompt file delivers: it is left out, and the flow goes on.
const MANIFEST: &str = r#"
voice = "none"
licence = "none"
[phrase]
hello = "Hello."
[clip]
hello = { text = "Hello.", file = "hello.flac", sha256 = "", ms = 1, quality = "draft" }
"#;

const RULES: &str = r#"number = [ [1000, "< n.thousand >"], [100, "< n.hundred >"] ]"#;

fn flows() -> Arc<FlowSet> {
    let source = |name: &str, text: &str| Source {
        file: format!("{name}.flow.yaml"),
        text: text.to_owned(),
    };
    let sources = [
        source("confirm", CONFIRM),
        source("help", HELP),
        source("greet", GREET),
    ];
    let text = |name: &str, text: &str| Source {
        file: format!("prompts/en-US/{name}"),
        text: text.to_owned(),
    };
    let locale = LocaleSource {
        locale: "en-US".into(),
        manifest: text("manifest.toml", MANIFEST),
        rules: text("rules.toml", RULES),
    };
    let (set, faults) = FlowSet::load(&sources, &[locale]);
    Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")))
}

fn media() -> Media {
    Media::start(MediaConfig {
        address: "127.0.0.1".parse().unwrap(),
        ports: (20_000, 29_998),
        threads: 1,
        no_rtp: Duration::from_secs(5),
    })
    .unwrap()
}

struct World {
    voice: Voice,
    callers: mpsc::Receiver<Incoming>,
    engine: EngineHandle,
    media: Media,
}

impl World {
    async fn new(trunk: SocketAddr) -> World {
        World::with(trunk, |_| {}).await
    }

    async fn with(trunk: SocketAddr, change: impl FnOnce(&mut EngineConfig)) -> World {
        let mut config = EngineConfig {
            dial: helpline_core::phone::DialRules::default(),
            queue: "help".into(),
            zone: "UTC".into(),
            env: std::collections::BTreeMap::new(),
            recordings: std::env::temp_dir(),
            tts: (Vec::new(), std::env::temp_dir()),
            codecs: Vec::new(),
            voice: config::Voice {
                sip_listen: "127.0.0.1:0".parse().unwrap(),
                inbound_flow: "greet".into(),
                ..config::Voice::default()
            },
            phones: Vec::new(),
            trunks: vec![config::Trunk {
                name: "t".into(),
                target: trunk.to_string(),
                caller_id: "+4930000000".into(),
                max_channels: 50,
                calls_per_second: 10.0,
                codecs: vec![config::CodecName::Pcmu, config::CodecName::Pcma],
                ..config::Trunk::default()
            }],
            language: "en".into(),
            region: None,
            hours: Arc::new(|| Hours::ALWAYS),
            queues: Arc::new(Arc::default),
        };
        change(&mut config);
        let media = media();
        let set = flows();
        let (voice, callers, engine) = Engine::start(
            config,
            media.clone(),
            PromptTable::default(),
            Arc::new(move || Arc::clone(&set)),
            Clock::system(),
            7,
        )
        .await
        .unwrap();
        World {
            voice,
            callers,
            engine,
            media,
        }
    }

    async fn place(&self, id: &str, ring_limit: Duration) -> Result<Call, VoiceError> {
        self.voice
            .place(CallPlan {
                attempt: AttemptId::from_text("a"),
                call_id: format!("{id}@test"),
                trunk: "t".into(),
                to: PhoneNumber::from_row("+4930123456"),
                queue: "help".into(),
                caller_id: None,
                ring_limit,
                flow: "confirm".into(),
                input: serde_json::Map::new(),
                language: "en".into(),
                hours: Hours::ALWAYS,
            })
            .await
    }

    /// Waits until no call, dialog or leg is left.
    async fn is_clean(&self) {
        let clean = async {
            while self.engine.active_calls() + self.engine.dialogs() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let left = || (self.engine.active_calls(), self.engine.dialogs());
        assert!(timeout(LIMIT, clean).await.is_ok(), "left: {:?}", left());
    }
}

async fn phone(behaviour: Behaviour, media: &Media) -> (TestPhone, mpsc::Receiver<PhoneEvent>) {
    let config = PhoneConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        behaviour,
        seed: 3,
    };
    TestPhone::start(config, media.clone(), Clock::system())
        .await
        .unwrap()
}

fn press(key: char, after_ms: u64) -> Press {
    Press {
        after: Duration::from_millis(after_ms),
        key: Key::new(key).unwrap(),
    }
}

/// Plays the desk until the end; what happened, in words, and the report.
async fn desk(call: &mut Call, help: Option<&str>) -> (Vec<String>, CallReport) {
    let mut words = Vec::new();
    loop {
        let event = timeout(LIMIT, call.events.recv()).await.expect("in time");
        match event.expect("no end without a report") {
            CallEvent::Ringing => words.push("ringing".into()),
            CallEvent::Answered => words.push("answered".into()),
            CallEvent::Join(op, _) => {
                words.push("join".into());
                let answer = match help {
                    Some(flow) => CallCommand::Joined(op, HelpChannel::Flow(flow.into())),
                    None => CallCommand::LeftQueue(op, Why::NoAgents),
                };
                call.commands.send(answer).await.unwrap();
            }
            CallEvent::Store(op, _) => {
                words.push("store".into());
                let done = CallbackReply::Done {
                    position: None,
                    wait: None,
                    at: None,
                    merged: false,
                };
                call.commands
                    .send(CallCommand::Stored(op, done))
                    .await
                    .unwrap();
            }
            CallEvent::Trace(..)
            | CallEvent::Transfer(_)
            | CallEvent::Answerer(..)
            | CallEvent::MachineListens { .. }
            | CallEvent::Recorded(..)
            | CallEvent::Leave(_)
            | CallEvent::Webhook(_) => {}
            CallEvent::Ask(op, ask) => {
                let reply = CallCommand::Reply(op, ask.refused());
                call.commands.send(reply).await.unwrap();
            }
            CallEvent::Ended(report) => {
                assert!(
                    call.events.recv().await.is_none(),
                    "the report is the last event"
                );
                return (words, report);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_who_presses_1_is_joined_and_talked_to() {
    for digits in [Digits::Rfc4733, Digits::Inband] {
        let behaviour = Behaviour {
            ring: Duration::from_millis(100),
            presses: vec![press('1', 700)],
            digits,
            ..Behaviour::default()
        };
        let (phone, mut heard) = phone(behaviour, &media()).await;
        let world = World::new(phone.address()).await;
        let mut call = world.place("accept", LIMIT).await.unwrap();
        let (words, report) = desk(&mut call, Some("help")).await;
        assert_eq!(words, ["ringing", "answered", "join"], "{digits:?}");
        assert_eq!(report.end, End::HungUp { by_customer: false });
        assert_eq!(report.settled, Some(Settled::Accepted));
        assert!(report.rang && report.talked_for > Duration::from_millis(700));
        world.is_clean().await;
        assert!(
            matches!(heard.recv().await, Some(PhoneEvent::Rang { to, .. }) if to == "+4930123456")
        );
        phone.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_key_settles_is_in_the_report() {
    for (key, help, want) in [
        ('9', None, Some(Settled::Stop)),
        ('1', None, Some(Settled::Abandoned)),
        ('5', None, None),
    ] {
        let behaviour = Behaviour {
            presses: vec![press(key, 600)],
            ..Behaviour::default()
        };
        let (phone, _heard) = phone(behaviour, &media()).await;
        let world = World::new(phone.address()).await;
        let mut call = world.place("settle", LIMIT).await.unwrap();
        let (_, report) = desk(&mut call, help).await;
        assert_eq!(report.settled, want, "{key}");
        assert!(!report.rang);
        world.is_clean().await;
        phone.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_who_hangs_up_ends_the_call() {
    let behaviour = Behaviour {
        hang_up_after: Some(Duration::from_millis(300)),
        ..Behaviour::default()
    };
    let (phone, _heard) = phone(behaviour, &media()).await;
    let world = World::new(phone.address()).await;
    let mut call = world.place("bye", LIMIT).await.unwrap();
    let (words, report) = desk(&mut call, None).await;
    assert_eq!(words, ["answered"]);
    assert_eq!(report.end, End::HungUp { by_customer: true });
    assert!(report.talked_for < Duration::from_secs(2));
    world.is_clean().await;
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_names_its_code() {
    for code in [404, 480, 486, 503, 603] {
        let behaviour = Behaviour {
            pick_up: PickUp::Reject(code),
            ..Behaviour::default()
        };
        let (phone, _heard) = phone(behaviour, &media()).await;
        let world = World::new(phone.address()).await;
        let mut call = world.place("refused", LIMIT).await.unwrap();
        let (_, report) = desk(&mut call, None).await;
        assert_eq!(report.end, End::Refused { code, q850: None });
        world.is_clean().await;
        phone.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ring_limit_and_a_withdrawal_stop_the_ringing() {
    let behaviour = Behaviour {
        ring: Duration::from_millis(10),
        pick_up: PickUp::Never,
        ..Behaviour::default()
    };
    let (phone, mut heard) = phone(behaviour, &media()).await;
    let world = World::new(phone.address()).await;
    let mut call = world
        .place("ring", Duration::from_millis(600))
        .await
        .unwrap();
    let (words, report) = desk(&mut call, None).await;
    assert_eq!(
        (words, report.end),
        (vec!["ringing".to_owned()], End::RingLimit)
    );
    assert!(report.rang);

    let mut call = world.place("withdrawn", LIMIT).await.unwrap();
    while !matches!(call.events.recv().await, Some(CallEvent::Ringing)) {}
    call.commands.send(CallCommand::HangUp).await.unwrap();
    let (_, report) = desk(&mut call, None).await;
    assert_eq!(report.end, End::Cancelled);
    let mut over = 0;
    while over < 2 {
        let event = timeout(LIMIT, heard.recv())
            .await
            .expect("the phone stops ringing");
        over += usize::from(matches!(
            event,
            Some(PhoneEvent::Over {
                by_far_end: true,
                ..
            })
        ));
    }
    world.is_clean().await;
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_trunk_is_known_in_seconds() {
    // Bound, and nobody reads it.
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let world = World::new(dead.local_addr().unwrap()).await;
    let began = Instant::now();
    let mut call = world.place("dead", Duration::from_secs(60)).await.unwrap();
    let (words, report) = desk(&mut call, None).await;
    assert_eq!((words.len(), report.end), (0, End::Unreachable));
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(world.engine.trunk_up("t"), Some(false));
    assert_eq!(world.engine.trunk_up("other"), None);
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_challenges_are_answered_with_the_strongest_algorithm() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    for (proxy, sha256, realm, want_answer) in [
        (false, false, None, true),
        (true, false, Some("pbx"), true),
        (false, true, None, true),
        (true, true, None, true),
        (false, false, Some("another"), false),
    ] {
        let behaviour = Behaviour {
            password: Some(Password {
                username: "u".into(),
                password: "secret".into(),
                realm: "pbx".into(),
                proxy,
                sha256,
            }),
            hang_up_after: Some(Duration::from_millis(100)),
            ..Behaviour::default()
        };
        let (phone, _heard) = phone(behaviour, &media()).await;
        let world = World::with(phone.address(), |config| {
            config.trunks[0].username = Some("u".into());
            config.trunks[0].password_file = Some(file.clone());
            config.trunks[0].realm = realm.map(str::to_owned);
        })
        .await;
        let mut call = world.place("digest", LIMIT).await.unwrap();
        let (words, report) = desk(&mut call, None).await;
        assert_eq!(
            words == ["answered"],
            want_answer,
            "{proxy} {sha256} {:?}",
            report.end
        );
        if !want_answer {
            let code = 401;
            assert_eq!(report.end, End::Refused { code, q850: None });
        }
        world.is_clean().await;
        phone.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_answered_and_handed_over() {
    let behaviour = Behaviour {
        presses: vec![press('4', 600), press('2', 1_000), press('0', 1_400)],
        ..Behaviour::default()
    };
    let (phone, mut heard) = phone(behaviour, &media()).await;
    let mut world = World::new(phone.address()).await;
    phone
        .call(world.engine.sip_address(), "help", "+4930777777")
        .unwrap();
    let mut incoming = timeout(LIMIT, world.callers.recv()).await.unwrap().unwrap();
    assert_eq!(incoming.from, Some(PhoneNumber::from_row("+4930777777")));
    assert_eq!(incoming.to, "help");
    assert!(matches!(
        incoming.call.events.recv().await,
        Some(CallEvent::Answered)
    ));
    let mut keys = String::new();
    loop {
        match timeout(LIMIT, incoming.call.events.recv())
            .await
            .unwrap()
            .unwrap()
        {
            CallEvent::Trace(_, line) if line.kind == "key" => {
                keys.push(line.data.chars().next().unwrap_or('?'));
            }
            CallEvent::Ended(report) => {
                assert_eq!(report.end, End::HungUp { by_customer: false });
                break;
            }
            _ => {}
        }
    }
    assert_eq!(keys, "420");
    let counters = world.engine.counters();
    assert_eq!((counters.say_errors, counters.keys_rfc4733), (1, 3));
    loop {
        if let PhoneEvent::Over { by_far_end, .. } = heard.recv().await.unwrap() {
            assert!(by_far_end);
            break;
        }
    }
    world.is_clean().await;
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_full_lines_and_a_stopping_daemon_refuse() {
    let dead = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let (phone, mut heard) = phone(Behaviour::default(), &media()).await;
    let mut over = async |world: &World| {
        phone
            .call(world.engine.sip_address(), "help", "+4930777777")
            .unwrap();
        loop {
            let event = timeout(LIMIT, heard.recv()).await.unwrap().unwrap();
            if let PhoneEvent::Over { refused, .. } = event {
                return refused;
            }
        }
    };
    let world = World::new(dead.local_addr().unwrap()).await;
    assert_eq!(over(&world).await, Some(403));
    assert_eq!(world.engine.counters().gate, [("stranger", 1)]);
    let world = World::with(dead.local_addr().unwrap(), |config| {
        config.voice.inbound_from = vec!["127.0.0.0/8".into()];
        config.voice.max_calls = 0;
    })
    .await;
    assert_eq!(over(&world).await, Some(503));
    let no_flow = World::with(dead.local_addr().unwrap(), |config| {
        config.voice.inbound_from = vec!["127.0.0.0/8".into()];
        config.voice.inbound_flow = "nowhere".into();
    })
    .await;
    assert_eq!(over(&no_flow).await, Some(503));
    assert_eq!(no_flow.engine.counters().incoming_refused, 1);
    assert_eq!(
        world.place("full", LIMIT).await.unwrap_err(),
        VoiceError::NoChannel
    );
    drop(world);
    phone.stop().await;
}
