//! The engine against SIPp and baresip: other people's ideas of SIP. Each test starts
//! the engine in this process on free loopback ports, and is bounded in time.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use helpline::clock::Clock;
use helpline::config;
use helpline::voice::media::{Media, MediaConfig};
use helpline::voice::prompts::PromptTable;
use helpline::voice::{
    Call, CallCommand, CallEvent, CallPlan, Engine, EngineConfig, EngineHandle, Incoming, Voice,
};
use helpline_core::call::{CallReport, End, Settled};
use helpline_core::id::AttemptId;
use helpline_core::ivr::flow::{FlowSet, LocaleSource, Source};
use helpline_core::ivr::io::{CallbackReply, HelpChannel, Hours};
use helpline_core::phone::PhoneNumber;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::phone::{
    baresip_order, configure_baresip, events_of, loud_samples, peers, scenario, sound_of,
    wait_bound,
};
use crate::support::process::free_run;
use crate::support::sipp::Script;

pub(super) const LIMIT: Duration = Duration::from_secs(30);

fn flows() -> Arc<FlowSet> {
    let flow = |name: &str| Source {
        file: format!("{name}.flow.yaml"),
        text: std::fs::read_to_string(peers().join(format!("flows/{name}.flow.yaml"))).unwrap(),
    };
    let text = |file: &str, text: &str| Source {
        file: file.to_owned(),
        text: text.to_owned(),
    };
    let locale = LocaleSource {
        locale: "en-US".into(),
        manifest: text(
            "manifest.toml",
            "voice = \"none\"\nlicence = \"none\"\n[phrase]\nhello = \"Hello.\"\n[clip]\n\
             hello = { text = \"Hello.\", file = \"hello.flac\", sha256 = \"\", ms = 1, quality = \"draft\" }\n",
        ),
        rules: text("rules.toml", "number = [ [100, \"< n.hundred >\"] ]\n"),
    };
    let sources = [flow("confirm"), flow("help"), flow("greet")];
    let (set, faults) = FlowSet::load(&sources, &[locale]);
    Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")))
}

/// An engine, and where its trunk is.
pub(crate) struct World {
    pub(super) voice: Voice,
    pub(super) callers: mpsc::Receiver<Incoming>,
    pub(crate) engine: EngineHandle,
    pub(super) trunk: u16,
    pub(super) dir: tempfile::TempDir,
    /// How SIPp speaks: its `-t`.
    pub(super) way: &'static str,
}

impl World {
    pub(super) async fn new() -> World {
        World::with(|_, _, _| {}).await
    }

    /// `change` gets the configuration, the port of the trunk and a folder.
    pub(crate) async fn with(change: impl FnOnce(&mut EngineConfig, u16, &Path)) -> World {
        // baresip's SIP over TLS takes the port after the one it is given.
        let trunk = free_run(2);
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        std::fs::write(&password, "secret\n").unwrap();
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
                target: format!("127.0.0.1:{trunk}"),
                username: Some("u".into()),
                password_file: Some(password),
                caller_id: "+4930000000".into(),
                max_channels: 50,
                calls_per_second: 10.0,
                codecs: vec![config::CodecName::Pcmu],
                ..config::Trunk::default()
            }],
            language: "en".into(),
            region: None,
            hours: Arc::new(|| Hours::ALWAYS),
            queues: Arc::new(Arc::default),
        };
        change(&mut config, trunk, dir.path());
        let media = Media::start(MediaConfig {
            address: "127.0.0.1".parse().unwrap(),
            ports: (30_000, 32_766),
            threads: 1,
            no_rtp: Duration::from_secs(20),
        })
        .unwrap();
        let set = flows();
        let (voice, callers, engine) = Engine::start(
            config,
            media,
            PromptTable::default(),
            Arc::new(move || Arc::clone(&set)),
            Clock::system(),
            11,
        )
        .await
        .unwrap();
        World {
            voice,
            callers,
            engine,
            trunk,
            dir,
            way: "u1",
        }
    }

    pub(super) async fn place(&self, ring_limit: Duration) -> Call {
        self.place_on("t", ring_limit).await
    }

    pub(super) async fn place_on(&self, trunk: &str, ring_limit: Duration) -> Call {
        self.place_for(trunk, "confirm", ring_limit).await
    }

    pub(super) async fn place_for(&self, trunk: &str, flow: &str, ring_limit: Duration) -> Call {
        let plan = plan(trunk, "attempt-1@test", flow);
        let plan = CallPlan { ring_limit, ..plan };
        self.voice.place(plan).await.unwrap()
    }

    /// A call by a trunk, with a Call-ID and a flow.
    pub(super) async fn place_named(&self, trunk: &str, call_id: &str, flow: &str) -> Call {
        let plan = plan(trunk, call_id, flow);
        self.voice.place(plan).await.unwrap()
    }

    pub(super) async fn is_clean(&self) {
        let clean = async {
            while self.engine.active_calls() + self.engine.dialogs() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(
            timeout(LIMIT, clean).await.is_ok(),
            "calls or dialogs are left"
        );
    }

    /// Starts SIPp with a scenario; as trunk, or, with `target`, as caller.
    pub(super) async fn sipp(&self, name: &str, keys: &[(&str, &str)], calls: bool) -> Sipp {
        let file = scenario(name, keys, self.dir.path());
        self.run_sipp(file, calls).await
    }

    /// Starts SIPp with a script written in the test.
    pub(super) async fn script(&self, script: Script) -> Sipp {
        let (file, calls) = script.write(self.dir.path());
        self.run_sipp(file, calls).await
    }

    async fn run_sipp(&self, file: PathBuf, calls: bool) -> Sipp {
        let mut command = Command::new("sipp");
        if calls {
            let tcp = self.engine.stream_addresses().0;
            let to = if self.way == "t1" { tcp } else { None };
            command.arg(to.unwrap_or(self.engine.sip_address()).to_string());
        }
        command
            .arg("-sf")
            .arg(file)
            .args(["-t", self.way, "-i", "127.0.0.1"])
            .args(["-p", &self.trunk.to_string()])
            .args(["-mi", "127.0.0.1", "-mp", &free_run(4).to_string()])
            .args([
                "-m",
                "1",
                "-nostdin",
                "-trace_err",
                "-timeout",
                "25s",
                "-timeout_error",
            ]);
        command
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut start = || {
            let child = command.spawn();
            child.expect("sipp (package sip-tester) is installed")
        };
        let (mut child, mut starts) = (start(), 1);
        // SIPp may end while it starts, before it has said anything to us.
        while !calls && !self.is_bound_by(&mut child).await {
            assert!(starts < 3, "sipp does not start");
            (child, starts) = (start(), starts + 1);
        }
        Sipp {
            child,
            dir: self.dir.path().to_owned(),
        }
    }

    /// Waits until the trunk's port is taken; `false` if `child` ends before.
    async fn is_bound_by(&self, child: &mut Child) -> bool {
        tokio::select! {
            () = self.is_bound() => true,
            _ = child.wait() => false,
        }
    }

    /// Waits until the trunk's port is taken.
    pub(super) async fn is_bound(&self) {
        let port = self.trunk;
        let wait = tokio::task::spawn_blocking(move || wait_bound(port));
        wait.await.expect("the peer starts");
    }
}

fn plan(trunk: &str, call_id: &str, flow: &str) -> CallPlan {
    CallPlan {
        attempt: AttemptId::from_text("a"),
        call_id: call_id.into(),
        trunk: trunk.into(),
        to: PhoneNumber::from_row("+4930123456"),
        queue: "help".into(),
        caller_id: None,
        ring_limit: LIMIT,
        flow: flow.into(),
        input: serde_json::Map::new(),
        language: "en".into(),
        hours: Hours::ALWAYS,
    }
}

pub(super) struct Sipp {
    child: Child,
    dir: PathBuf,
}

impl Sipp {
    /// Waits for its end; it must have been content.
    pub(super) async fn ends_content(mut self) {
        let status: ExitStatus = timeout(LIMIT, self.child.wait()).await.unwrap().unwrap();
        let mut why = String::new();
        for entry in std::fs::read_dir(&self.dir).unwrap().flatten() {
            if entry.path().extension().is_some_and(|e| e == "log") {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let _ = writeln!(why, "{text}");
            }
        }
        assert!(status.success(), "sipp: {status}\n{why}");
    }
}

/// Plays the desk: joins to the help flow. What happened, in words, and the report.
pub(super) async fn desk(call: &mut Call) -> (Vec<&'static str>, CallReport, String) {
    let mut words = Vec::new();
    let mut keys = String::new();
    loop {
        let event = timeout(LIMIT, call.events.recv()).await.expect("in time");
        match event.expect("no end without a report") {
            CallEvent::Ringing => words.push("ringing"),
            CallEvent::Answered => words.push("answered"),
            CallEvent::Join(op, _) => {
                words.push("join");
                let joined = CallCommand::Joined(op, HelpChannel::Flow("help".into()));
                call.commands.send(joined).await.unwrap();
            }
            CallEvent::Store(op, _) => {
                let failed = CallCommand::Stored(op, CallbackReply::Failed);
                call.commands.send(failed).await.unwrap();
            }
            CallEvent::Trace(_, line) if line.kind == "key" => {
                keys.extend(line.data.chars().next());
            }
            CallEvent::Transfer(transfer) => {
                words.push("transfer");
                for code in [180, 200] {
                    transfer.progress.send(code).await.unwrap();
                }
            }
            CallEvent::Trace(..)
            | CallEvent::Answerer(..)
            | CallEvent::MachineListens { .. }
            | CallEvent::Recorded(..)
            | CallEvent::Leave(_)
            | CallEvent::Webhook(_) => {}
            CallEvent::Ask(op, ask) => {
                let reply = CallCommand::Reply(op, ask.refused());
                call.commands.send(reply).await.unwrap();
            }
            CallEvent::Ended(report) => return (words, report, keys),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_as_trunk_refuses_and_the_report_names_code_and_cause() {
    for (status, reason, code, q850) in [
        (
            "486 Busy Here",
            "Q.850;cause=17;text=\"busy\"",
            486,
            Some(17),
        ),
        ("480 Temporarily Unavailable", "SIP;cause=480", 480, None),
        ("404 Not Found", "Q.850;cause=1", 404, Some(1)),
        ("503 Service Unavailable", "Q.850;cause=34", 503, Some(34)),
        ("603 Decline", "preemption", 603, None),
        ("302 Moved Temporarily", "SIP;cause=302", 302, None),
    ] {
        let world = World::new().await;
        let keys = [("status", status), ("reason", reason)];
        let sipp = world.sipp("uas_refuse", &keys, false).await;
        let mut call = world.place(LIMIT).await;
        let (words, report, _) = desk(&mut call).await;
        assert_eq!(report.end, End::Refused { code, q850 }, "{status}");
        assert!(words.is_empty() && !report.rang);
        sipp.ends_content().await;
        world.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_as_trunk_challenges_and_accepts_the_answer() {
    // SIPp can verify Authorization, of Proxy-Authorization only its shape.
    let verify = r#"<verifyauth assign_to="proven" username="u" password="secret" />"#;
    let shape = r#"<ereg regexp="Digest username=.u., realm=.sipp., nonce=.c0ffee.*qop=auth, nc=00000001" search_in="hdr" header="Proxy-Authorization:" assign_to="proven" />"#;
    let proxy = "407 Proxy Authentication Required";
    for (status, challenge, check) in [
        ("401 Unauthorized", "WWW-Authenticate", verify),
        (proxy, "Proxy-Authenticate", shape),
    ] {
        let world = World::new().await;
        let keys = [
            ("status", status),
            ("challenge", challenge),
            ("check", check),
        ];
        let sipp = world.sipp("uas_challenge", &keys, false).await;
        let mut call = world.place(LIMIT).await;
        let (words, report, _) = desk(&mut call).await;
        assert_eq!(words, ["ringing", "answered"], "{status}: {:?}", report.end);
        assert_eq!(report.end, End::HungUp { by_customer: false });
        assert_eq!(report.settled, None);
        sipp.ends_content().await;
        world.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_media_counts_as_ringing_and_a_bye_ends_the_call() {
    let world = World::new().await;
    let sipp = world.sipp("uas_early", &[], false).await;
    let mut call = world.place(LIMIT).await;
    let (words, report, _) = desk(&mut call).await;
    assert_eq!(words, ["ringing", "answered"]);
    assert_eq!(report.end, End::HungUp { by_customer: true });
    assert!(report.talked_for >= Duration::from_millis(200));
    sipp.ends_content().await;
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ring_limit_cancels_also_when_the_answer_crosses() {
    for scenario in ["uas_cancel", "uas_crossing"] {
        let world = World::new().await;
        let sipp = world.sipp(scenario, &[], false).await;
        let mut call = world.place(Duration::from_secs(1)).await;
        let (words, report, _) = desk(&mut call).await;
        assert_eq!(
            (words, report.end),
            (vec!["ringing"], End::RingLimit),
            "{scenario}"
        );
        sipp.ends_content().await;
        world.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_sdp_is_ended() {
    let world = World::new().await;
    let sipp = world.sipp("uas_no_media", &[], false).await;
    let mut call = world.place(LIMIT).await;
    let (words, report, _) = desk(&mut call).await;
    assert_eq!((words.len(), report.end), (0, End::NoMedia));
    sipp.ends_content().await;
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_calls_in_and_its_keys_are_heard() {
    let mut world = World::new().await;
    let events = events_of("420", world.dir.path());
    let keys = [("caller", "+4930777777"), ("keys", events.as_str())];
    let sipp = world.sipp("uac_keys", &keys, true).await;
    let mut incoming = timeout(LIMIT, world.callers.recv()).await.unwrap().unwrap();
    assert_eq!(incoming.from, Some(PhoneNumber::from_row("+4930777777")));
    let (words, report, keys) = desk(&mut incoming.call).await;
    assert_eq!((words, keys.as_str()), (vec!["answered"], "420"));
    assert_eq!(report.end, End::HungUp { by_customer: false });
    assert_eq!(world.engine.counters().keys_rfc4733, 3);
    sipp.ends_content().await;
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_only_sound_are_heard() {
    let mut world = World::new().await;
    let file = world.dir.path().join("keys.ulaw");
    std::fs::write(&file, sound_of("420")).unwrap();
    let sipp = world
        .sipp("uac_sound", &[("caller", "+4930777777")], true)
        .await;
    let mut incoming = timeout(LIMIT, world.callers.recv()).await.unwrap().unwrap();
    let (_, report, keys) = desk(&mut incoming.call).await;
    assert_eq!(keys, "420", "{:?}", report.end);
    assert_eq!(world.engine.counters().keys_inband, 3);
    sipp.ends_content().await;
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_offer_and_everything_a_dialog_may_carry_are_answered() {
    for scenario in ["uac_late", "uac_dialog"] {
        let mut world = World::new().await;
        let sipp = world.sipp(scenario, &[], true).await;
        let mut incoming = timeout(LIMIT, world.callers.recv())
            .await
            .expect(scenario)
            .unwrap();
        let (_, report, keys) = desk(&mut incoming.call).await;
        assert_eq!(keys, "420", "{scenario}: {:?}", report.end);
        assert_eq!(world.engine.counters().keys_info, 3);
        sipp.ends_content().await;
        world.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_hangs_up_is_reported_so() {
    let mut world = World::new().await;
    let sipp = world.sipp("uac_bye", &[], true).await;
    let mut incoming = timeout(LIMIT, world.callers.recv()).await.unwrap().unwrap();
    let (_, report, _) = desk(&mut incoming.call).await;
    assert_eq!(report.end, End::HungUp { by_customer: true });
    sipp.ends_content().await;
    world.is_clean().await;
}

/// A baresip in the world's folder; `config` and `account` are added to its files.
pub(super) struct Baresip {
    child: Child,
    orders: tokio::net::TcpStream,
}

impl Baresip {
    pub(super) async fn start(world: &World, config: &str, account: &str) -> Baresip {
        let dir = world.dir.path();
        let control = configure_baresip(dir, world.trunk, Duration::from_secs(60));
        for (file, more) in [("config", config), ("accounts", account)] {
            let mut text = std::fs::read_to_string(dir.join(file)).unwrap();
            if more.contains("audio_codecs=") {
                text = text.replace(";audio_codecs=PCMU/8000/1", "");
            }
            std::fs::write(dir.join(file), text.trim_end().to_owned() + more + "\n").unwrap();
        }
        let child = Command::new("baresip")
            .args(["-f", dir.to_str().unwrap(), "-t", "25"])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(dir.join("said")).unwrap())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("baresip (package baresip-core) is installed");
        world.is_bound().await;
        let orders = timeout(LIMIT, connect(([127, 0, 0, 1], control).into()));
        Baresip {
            child,
            orders: orders.await.unwrap(),
        }
    }

    pub(super) async fn order(&mut self, command: &str, params: &str) {
        let order = baresip_order(command, params);
        self.orders.write_all(order.as_bytes()).await.unwrap();
    }

    pub(super) async fn end(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }
}

/// We call the baresip, it presses 1, the flow plays a tone to it.
pub(super) async fn baresip_is_called(world: &World, mut baresip: Baresip) {
    let dir = world.dir.path();
    let mut call = world.place(LIMIT).await;
    loop {
        match timeout(LIMIT, call.events.recv()).await.unwrap().unwrap() {
            CallEvent::Answered => break,
            CallEvent::Ended(report) => {
                let said = std::fs::read_to_string(dir.join("said")).unwrap_or_default();
                panic!("not answered: {report:?}\n{said}");
            }
            _ => {}
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    baresip.order("sndcode", "1").await;
    let (words, report, keys) = desk(&mut call).await;
    let said = std::fs::read_to_string(dir.join("said")).unwrap_or_default();
    assert_eq!((words, keys.as_str()), (vec!["join"], "1"), "{said}");
    assert_eq!(report.settled, Some(Settled::Accepted));
    assert_eq!(world.engine.counters().keys_rfc4733, 1);
    world.is_clean().await;
    baresip.end().await;
    // The flow's beep is 1 kHz: a fifth of a second of it came through.
    assert!(loud_samples(dir) > 1_000, "baresip heard no beep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_answers_hears_the_tone_and_presses_1() {
    let world = World::new().await;
    let baresip = Baresip::start(&world, "", "").await;
    baresip_is_called(&world, baresip).await;
}

pub(super) async fn connect(to: std::net::SocketAddr) -> tokio::net::TcpStream {
    loop {
        if let Ok(stream) = tokio::net::TcpStream::connect(to).await {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
