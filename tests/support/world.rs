//! A whole daemon without a network: store, desk and dialler on a clock that only moves
//! when nothing is left to do, and a trunk that plays a script. The same seed gives the
//! same log, byte for byte. [`World::crash`] drops every task where it stands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use helpline::assist::Assist;
use helpline::clock::Clock;
use helpline::config::{Config, Queue, Trunk};
use helpline::desk::{
    AcceptError, Accepted, AckTo, Cancelled, Desk, IntakeKey, Origin, StatusView,
};
use helpline::dispatch::{Dispatch, Means};
use helpline::services::Services;
use helpline::store::Store;
use helpline::voice::{Call, CallCommand, CallEvent, CallPlan, Voice, VoiceRequest};
use helpline_core::call::{CallReport, End, Settled};
use helpline_core::ivr::io::{CallbackOrder, CallbackReply, HelpChannel, Join, OpId, Place};
use helpline_core::phone::PhoneNumber;
use helpline_core::request::{Channel, HelpRequest, When};
use helpline_core::rng::Rng;
use helpline_core::time::Wall;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// 2026-11-23T13:20:00Z, a Monday.
pub(crate) const START: Wall = Wall::from_millis(1_795_440_000_000);

/// What a customer's telephone does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    Busy,
    /// Rings until the ring limit.
    NoAnswer,
    /// The trunk fails before it rings.
    TrunkFails,
    /// Answers after a while, accepts, and talks for so long.
    Talk(Duration),
    /// Answers and chooses another time, counted from the answer.
    Later(Duration),
    /// Answers and says "I did not ask for this call".
    Stop,
    /// Answers, then the engine loses the call.
    Vanish,
}

/// What the trunk saw and what its customers do.
#[derive(Default)]
pub(crate) struct Script {
    acts: BTreeMap<String, VecDeque<Act>>,
    pub(crate) log: Vec<String>,
    pub(crate) invites: Vec<(Duration, String)>,
    call_ids: BTreeSet<String>,
    up: BTreeSet<String>,
    pub(crate) up_max: usize,
    /// After a power cut nothing is sent any more.
    dead: bool,
}

struct Up {
    runtime: Runtime,
    desk: Arc<Desk>,
    store: Store,
    clock: Clock,
}

/// See the module.
pub(crate) struct World {
    up: Option<Up>,
    dir: tempfile::TempDir,
    config: Arc<Config>,
    seed: u64,
    wall: Wall,
    pub(crate) script: Arc<Mutex<Script>>,
}

/// Customer number `n`.
pub(crate) fn number(n: u32) -> String {
    format!("+4930123{n:04}")
}

/// A request of customer `n`, as soon as possible.
pub(crate) fn request(n: u32) -> HelpRequest {
    HelpRequest {
        whom: helpline_core::request::Whom::default(),
        queue: "help".into(),
        channel: Channel::Json,
        number: PhoneNumber::from_row(&number(n)),
        name: None,
        email: Some(format!("c{n}@example.org")),
        page: Some("https://shop.example/basket".into()),
        note: None,
        language: "en".into(),
        zone: None,
        when: When::Now,
    }
}

/// Its way in, with an idempotency key and an address to acknowledge to.
pub(crate) fn origin(n: u32) -> Origin {
    Origin {
        key: Some(IntakeKey {
            scope: "http",
            key: format!("key-{n}"),
            body_hash: "h".into(),
        }),
        ack: Some(AckTo {
            address: format!("c{n}@example.org"),
            ..AckTo::default()
        }),
        ..Origin::default()
    }
}

/// One queue of `max_calls`, one trunk, German numbers.
pub(crate) fn config(max_calls: u32) -> Config {
    let mut config = Config::default();
    config.dial.allow = vec!["DE".into()];
    config.queue = vec![Queue {
        max_calls,
        ..Queue::default()
    }];
    config.trunk = vec![trunk("carrier")];
    config
}

/// A trunk that is not what limits a scenario.
pub(crate) fn trunk(name: &str) -> Trunk {
    Trunk {
        name: name.into(),
        target: "192.0.2.1:5060".into(),
        caller_id: "+4930555000".into(),
        max_channels: 100,
        calls_per_second: 100.0,
        ..Trunk::default()
    }
}

impl World {
    /// A daemon with two calls at once.
    pub(crate) fn new(seed: u64) -> World {
        World::with(seed, config(2))
    }

    pub(crate) fn with(seed: u64, config: Config) -> World {
        let mut world = World {
            up: None,
            dir: tempfile::tempdir().unwrap(),
            config: Arc::new(config),
            seed,
            wall: START,
            script: Arc::default(),
        };
        world.boot();
        world
    }

    /// Starts the daemon on what its folder holds.
    pub(crate) fn boot(&mut self) {
        stay_on_one_core();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        self.script.lock().unwrap().dead = false;
        let (wall, dir, config) = (self.wall, self.dir.path(), Arc::clone(&self.config));
        let seed = self.seed ^ wall.millis().unsigned_abs();
        let script = Arc::clone(&self.script);
        let (desk, store, clock) = runtime.block_on(async move {
            let clock = Clock::following_tokio(wall);
            let store = Store::open_sqlite(dir, &clock).await.unwrap();
            let desk = Arc::new(Desk::new(
                store.clone(),
                Arc::clone(&config),
                config.calendars(),
                clock.clone(),
                seed,
            ));
            desk.start().await.unwrap();
            let (voice, requests) = Voice::channel();
            tokio::spawn(serve(requests, script, clock.clone()));
            let services = Arc::new(Services::new(&config, clock.clone()).unwrap());
            let calls = TaskTracker::new();
            let assist = Assist::new(
                Arc::clone(&desk),
                services,
                voice.clone(),
                None,
                Arc::clone(&config),
                calls.clone(),
            );
            let dispatch = Dispatch::new(
                Arc::clone(&desk),
                Some(Means { voice, assist }),
                config,
                clock.clone(),
                calls,
                CancellationToken::new(),
                CancellationToken::new(),
            );
            tokio::spawn(dispatch.run());
            (desk, store, clock)
        });
        self.up = Some(Up {
            runtime,
            desk,
            store,
            clock,
        });
    }

    /// Everything stops where it stands; the folder stays.
    pub(crate) fn crash(&mut self) {
        self.wall = self.now();
        self.script.lock().unwrap().dead = true;
        self.up = None;
        let mut script = self.script.lock().unwrap();
        script.up.clear();
    }

    /// The database is gone after so many operations; see [`Store::break_after`].
    pub(crate) fn break_after(&self, operations: u64) {
        self.up().store.break_after(operations);
    }

    fn up(&self) -> &Up {
        self.up.as_ref().unwrap()
    }

    pub(crate) fn now(&self) -> Wall {
        let up = self.up();
        up.runtime.block_on(async { up.clock.wall() })
    }

    /// Lets `time` pass.
    pub(crate) fn run(&self, time: Duration) {
        let runtime = &self.up().runtime;
        runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// What customer `n` does when called, one act a call; afterwards a talk of two minutes.
    pub(crate) fn acts(&self, n: u32, acts: &[Act]) {
        let mut script = self.script.lock().unwrap();
        script
            .acts
            .insert(number(n), acts.iter().copied().collect());
    }

    pub(crate) fn accept(&self, n: u32) -> Accepted {
        self.try_accept(request(n), origin(n)).unwrap()
    }

    pub(crate) fn try_accept(
        &self,
        request: HelpRequest,
        origin: Origin,
    ) -> Result<Accepted, AcceptError> {
        let up = self.up();
        up.runtime.block_on(up.desk.accept(request, origin))
    }

    pub(crate) fn status(&self, accepted: &Accepted) -> StatusView {
        let up = self.up();
        let status = up.runtime.block_on(up.desk.status(&accepted.token));
        status.unwrap().unwrap()
    }

    pub(crate) fn cancel(&self, accepted: &Accepted) -> Cancelled {
        let up = self.up();
        up.runtime
            .block_on(up.desk.cancel(&accepted.token))
            .unwrap()
    }

    /// Kinds of mail about a request that would leave now, in order.
    pub(crate) fn mail(&self, accepted: &Accepted) -> Vec<String> {
        let up = self.up();
        let mut kinds = Vec::new();
        up.runtime.block_on(async {
            loop {
                let rows = up.store.claim_outbox(100).await.unwrap();
                if rows.is_empty() {
                    return;
                }
                for row in rows {
                    up.store.outbox_sent(&row).await.unwrap();
                    if row.about == accepted.id.as_str() {
                        kinds.push(row.kind);
                    }
                }
            }
        });
        kinds
    }

    /// Numbers called so far, with the time since the start of the world.
    pub(crate) fn invites(&self) -> Vec<(Duration, String)> {
        self.script.lock().unwrap().invites.clone()
    }

    /// Times at which customer `n` was called.
    pub(crate) fn calls_to(&self, n: u32) -> Vec<Duration> {
        let wanted = number(n);
        let calls = self.invites().into_iter();
        calls
            .filter(|(_, to)| *to == wanted)
            .map(|(at, _)| at)
            .collect()
    }

    pub(crate) fn log(&self) -> String {
        self.script.lock().unwrap().log.join("\n")
    }
}

/// The world and the thread of its database take turns: on two cores each turn would wake
/// an idle core, which takes longer than the turn. Only this test's threads are bound.
fn stay_on_one_core() {
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};

    let mut here = CpuSet::new();
    // Where it is not allowed the world is merely slower.
    let _ = sched_getcpu()
        .and_then(|core| here.set(core))
        .and_then(|()| sched_setaffinity(nix::unistd::Pid::from_raw(0), &here));
}

async fn serve(
    mut requests: mpsc::Receiver<VoiceRequest>,
    script: Arc<Mutex<Script>>,
    clock: Clock,
) {
    while let Some(VoiceRequest::Place { plan, reply }) = requests.recv().await {
        let (events_in, events) = mpsc::channel(64);
        let (commands, commands_out) = mpsc::channel(64);
        let call = Call {
            id: plan.call_id.clone(),
            events,
            commands,
        };
        let act = invite(&script, &plan, clock.wall());
        let phone = Phone {
            script: Arc::clone(&script),
            clock: clock.clone(),
            events: events_in,
            commands: commands_out,
            plan,
        };
        tokio::spawn(phone.play(act));
        // A dialler that is gone does not care.
        let _ = reply.send(Ok(call));
    }
}

/// Notes an INVITE and checks what must hold for every one.
fn invite(script: &Mutex<Script>, plan: &CallPlan, now: Wall) -> Act {
    let mut script = script.lock().unwrap();
    let to = plan.to.as_str().to_owned();
    let at = now.since(START);
    if !script.dead {
        assert!(
            script.call_ids.insert(plan.call_id.clone()),
            "an attempt was called twice"
        );
        assert!(
            script.up.insert(to.clone()),
            "{to} was called while on a call"
        );
        script.up_max = script.up_max.max(script.up.len());
        let attempt = &plan.input["request"]["attempt"];
        script
            .log
            .push(format!("{} INVITE {to} attempt {attempt}", stamp(at)));
        script.invites.push((at, to.clone()));
    }
    let acts = script.acts.entry(to).or_default();
    acts.pop_front()
        .unwrap_or(Act::Talk(Duration::from_secs(120)))
}

fn stamp(at: Duration) -> String {
    format!("+{}.{:03}", at.as_secs(), at.subsec_millis())
}

/// One customer's telephone during one call.
struct Phone {
    script: Arc<Mutex<Script>>,
    clock: Clock,
    events: mpsc::Sender<CallEvent>,
    commands: mpsc::Receiver<CallCommand>,
    plan: CallPlan,
}

impl Phone {
    async fn play(mut self, act: Act) {
        let spread = Rng::new(self.plan.attempt.as_str().bytes().map(u64::from).sum()).below(3_000);
        let ring = Duration::from_millis(3_000 + spread);
        let report = match act {
            Act::Busy => refused(486, false),
            Act::TrunkFails => refused(503, false),
            Act::NoAnswer => {
                self.say(CallEvent::Ringing).await;
                match self.wait(self.plan.ring_limit).await {
                    true => ended(End::RingLimit, Duration::ZERO, None),
                    false => ended(End::Cancelled, Duration::ZERO, None),
                }
            }
            Act::Talk(_) | Act::Later(_) | Act::Stop | Act::Vanish => {
                self.say(CallEvent::Ringing).await;
                match self.wait(ring).await {
                    false => ended(End::Cancelled, Duration::ZERO, None),
                    true => {
                        self.say(CallEvent::Answered).await;
                        match self.answered(act).await {
                            Some(report) => report,
                            None => return self.over("vanished"),
                        }
                    }
                }
            }
        };
        // Why a call was taken back is not known at this end of the line.
        self.over(match report.end {
            End::Cancelled => "cancelled",
            _ => helpline_core::call::disposition::of(&report).word(),
        });
        self.say(CallEvent::Ended(report)).await;
    }

    async fn answered(&mut self, act: Act) -> Option<CallReport> {
        let by_customer = End::HungUp { by_customer: true };
        match act {
            Act::Talk(length) => {
                let join = Join {
                    queue: "help".into(),
                    place: Place::Reserved,
                };
                self.say(CallEvent::Join(OpId(1), join)).await;
                match self.commands.recv().await {
                    Some(CallCommand::Joined(OpId(1), HelpChannel::Flow(flow))) => {
                        assert_eq!(flow, "self-help");
                    }
                    other => panic!("{other:?} is no answer to a join"),
                }
                let whole = self.wait(length).await;
                let end = End::HungUp { by_customer: whole };
                Some(ended(end, length, Some(Settled::Accepted)))
            }
            Act::Later(after) => {
                let at = self.clock.wall() + after;
                let order = CallbackOrder::Reschedule { at };
                let settled = self.order(order).await.then_some(Settled::Later { at });
                Some(ended(by_customer, Duration::from_secs(10), settled))
            }
            Act::Stop => {
                let done = self.order(CallbackOrder::Refused).await;
                let settled = done.then_some(Settled::Stop);
                Some(ended(by_customer, Duration::from_secs(10), settled))
            }
            Act::Vanish => None,
            Act::Busy | Act::NoAnswer | Act::TrunkFails => panic!("{act:?} does not answer"),
        }
    }

    async fn order(&mut self, order: CallbackOrder) -> bool {
        self.say(CallEvent::Store(OpId(2), order)).await;
        matches!(
            self.commands.recv().await,
            Some(CallCommand::Stored(OpId(2), CallbackReply::Done { .. }))
        )
    }

    /// Waits; false if the call was ended from our side meanwhile.
    async fn wait(&mut self, time: Duration) -> bool {
        let over = tokio::time::sleep(time);
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(CallCommand::HangUp) => return false,
                    Some(_) => {}
                    None => { (&mut over).await; return true }
                },
                () = &mut over => return true,
            }
        }
    }

    async fn say(&self, event: CallEvent) {
        // Whoever placed the call may be gone.
        let _ = self.events.send(event).await;
    }

    fn over(&self, word: &str) {
        let mut script = self.script.lock().unwrap();
        let to = self.plan.to.as_str();
        script.up.remove(to);
        let line = format!("{} {word} {to}", stamp(self.clock.wall().since(START)));
        script.log.push(line);
    }
}

fn refused(code: u16, rang: bool) -> CallReport {
    CallReport {
        rang,
        ..ended(End::Refused { code, q850: None }, Duration::ZERO, None)
    }
}

fn ended(end: End, talked_for: Duration, settled: Option<Settled>) -> CallReport {
    CallReport {
        end,
        rang: true,
        talked_for,
        settled,
        answerer: None,
    }
}
