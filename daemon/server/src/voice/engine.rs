//! The engine: takes orders to call, answers callers, and keeps one task a call.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use helpline_core::audio::mix::Scene;
use helpline_core::call::End;
use helpline_core::ivr::flow::FlowSet;
use helpline_core::ivr::io::{CallFacts, Start};
use helpline_core::ivr::machine::FlowMachine;
use helpline_core::phone::{DialRules, PhoneNumber};
use helpline_core::rng::Rng;
use helpline_core::rtp::latch;
use helpline_core::sdp::{Codec, Local};
use helpline_core::sip::digest::Algorithm;
use helpline_core::sip::guard::{Guard, Ha1};
use helpline_core::sip::network::Network;
use helpline_core::sip::timer::{self, Limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call_task::{self, Answered, MayDial};
use super::counters::{Counters, EngineCounters};
use super::dial::{Dial, Dialled};
use super::leg::Leg;
use super::media::{Media, MediaLeg, MediaSource};
use super::prompts::PromptTable;
use super::registrar::Registrar;
use super::reporter::Reporter;
use super::resolve::Resolver;
use super::ring::Ring;
use super::secrecy::Secrecy;
use super::sip::{
    Admission, InviteIn, Listen, Peers, Phones, REALM, SipConfig, SipError, SipEvent, SipLeg,
    SipStack, Transport, tls_server,
};
use super::talk::Talk;
use super::trunk::{Trunk, Watch};
use super::{Call, CallCommand, CallEvent, CallPlan, Incoming, Voice, VoiceError, VoiceRequest};
use crate::clock::Clock;
use crate::config::{self, SrtpUse};

/// Events of a call that may wait for their reader.
const EVENTS_MAX: usize = 1_024;
/// Orders and answers that may wait for a call.
const COMMANDS_MAX: usize = 64;
/// Callers handed over that may wait for their reader.
const INCOMING_MAX: usize = 256;
/// How long the word that a call is answered may take to reach its reader.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long a caller's ACK may take: 64 times T1 and a little.
const ACK_LIMIT: Duration = Duration::from_secs(35);
/// How long calls ended by a stop may take for their BYEs.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// What we are called in User-Agent.
const USER_AGENT: &str = concat!("helpline/", env!("CARGO_PKG_VERSION"));

/// Gives the set of flows a new call runs; a call keeps the set it began with.
pub type FlowSource = Arc<dyn Fn() -> Arc<FlowSet> + Send + Sync>;

/// What the engine has to know of the world.
#[derive(Clone)]
pub struct EngineConfig {
    /// Sockets, limits, inbound calls.
    pub voice: config::Voice,
    /// Trunks.
    pub trunks: Vec<config::Trunk>,
    /// Agents' telephones.
    pub phones: Vec<config::Phone>,
    /// What an agent's telephone may transfer its calls to.
    pub dial: DialRules,
    /// Language of callers (BCP 47).
    pub language: String,
    /// Region that completes national caller numbers (ISO 3166).
    pub region: Option<String>,
    /// Whether callers find the queue open now.
    pub open: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineConfig")
            .field("voice", &self.voice)
            .field("language", &self.language)
            .finish_non_exhaustive()
    }
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The SIP socket or stack.
    #[error("{0}")]
    Sip(String),
    /// A trunk: its name and what is wrong.
    #[error("trunk {0:?}: {1}")]
    Trunk(String, String),
    /// A telephone: its name and what is wrong.
    #[error("phone {0:?}: {1}")]
    Phone(String, String),
    /// An entry of `voice.inbound_from`.
    #[error("voice.inbound_from: {0:?} is no network; write it like \"10.0.0.0/8\"")]
    Network(String),
    /// The DNS resolver.
    #[error("voice.dns: {0}")]
    Dns(String),
    /// Certificate or key of SIP over TLS.
    #[error("{0}")]
    Tls(String),
    /// No address could be told to peers.
    #[error("voice.public_address is needed when voice.sip_listen is 0.0.0.0 or ::")]
    PublicAddress,
}

impl From<SipError> for EngineError {
    fn from(error: SipError) -> Self {
        EngineError::Sip(error.to_string())
    }
}

/// Starts engines.
#[derive(Debug)]
pub struct Engine;

/// The running engine, for health, metrics and the stop. Clones are the same engine.
#[derive(Clone)]
pub struct EngineHandle {
    shared: Arc<Shared>,
}

struct Shared {
    config: EngineConfig,
    stack: Arc<SipStack>,
    media: Media,
    prompts: PromptTable,
    flows: FlowSource,
    clock: Clock,
    trunks: HashMap<String, Arc<Trunk>>,
    phones: Option<Arc<Phones>>,
    admission: Admission,
    active: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    rng: std::sync::Mutex<Rng>,
    incoming: mpsc::Sender<Incoming>,
    /// Ends every call.
    stop: CancellationToken,
    /// Ends the engine's own tasks.
    quit: CancellationToken,
    /// Ends registrations: trunks shall send no more calls.
    leave: CancellationToken,
    registrations: TaskTracker,
    calls: TaskTracker,
}

impl Engine {
    /// Binds the SIP socket, resolves the trunks and starts to serve. Callers come out of
    /// the receiver; their flow already runs. Prompts and flows must belong together.
    ///
    /// # Errors
    /// [`EngineError`] names the key to mend.
    pub async fn start(
        config: EngineConfig,
        media: Media,
        prompts: PromptTable,
        flows: FlowSource,
        clock: Clock,
        seed: u64,
    ) -> Result<(Voice, mpsc::Receiver<Incoming>, EngineHandle), EngineError> {
        let mut rng = Rng::new(seed);
        let listen = config.voice.sip_listen;
        let public = match config.voice.public_address {
            Some(ip) => SocketAddr::new(ip, listen.port()),
            None if listen.ip().is_unspecified() => return Err(EngineError::PublicAddress),
            None => listen,
        };
        let mut trunks = HashMap::new();
        for trunk in &config.trunks {
            let opened = Trunk::open(trunk, clock.clone(), rng.derive(3))?;
            trunks.insert(trunk.name.clone(), Arc::new(opened));
        }
        let phones = open_phones(&config, &clock, &mut rng)?;
        let peers = Arc::new(peers(&config)?);
        let dns = config.voice.dns;
        let resolver = Resolver::new(dns).map_err(|e| EngineError::Dns(e.to_string()))?;
        let admission = Arc::new(Semaphore::new(config.voice.max_calls));
        let (stack, invites) = SipStack::start(SipConfig {
            listen: sockets(&config.voice)?,
            public: Some(public),
            user_agent: USER_AGENT.into(),
            peers: Arc::clone(&peers),
            admission: Arc::clone(&admission),
            demand: None,
            limits: limits(config.voice.session_expires.0),
            phones: phones.clone(),
            clock: clock.clone(),
            rng: rng.derive(1),
        })
        .await?;
        let (voice, requests) = Voice::channel();
        let (incoming, callers) = mpsc::channel(INCOMING_MAX);
        let shared = Arc::new(Shared {
            config,
            stack,
            media,
            prompts,
            flows,
            clock,
            trunks,
            phones,
            admission,
            active: Arc::default(),
            counters: Arc::default(),
            rng: std::sync::Mutex::new(rng.derive(2)),
            incoming,
            stop: CancellationToken::new(),
            quit: CancellationToken::new(),
            leave: CancellationToken::new(),
            registrations: TaskTracker::new(),
            calls: TaskTracker::new(),
        });
        if let Some(phones) = &shared.phones {
            let stack = Arc::clone(&shared.stack);
            tokio::spawn(Arc::clone(phones).watch(stack, shared.quit.clone()));
        }
        let watch = Arc::new(Watch {
            stack: Arc::clone(&shared.stack),
            peers,
            resolver,
            ipv4: listen.is_ipv4(),
        });
        find_and_watch(&shared, &watch).await;
        register(&shared, &mut rng);
        tokio::spawn(serve(Arc::clone(&shared), requests, invites));
        Ok((voice, callers, EngineHandle { shared }))
    }
}

impl EngineHandle {
    /// Lets answered calls hear each other; their places are those in `calls`, at most
    /// five: customer, agent, whoever joined third. May take the time of a frame.
    ///
    /// # Errors
    /// [`VoiceError::NoChannel`] for more than five, [`VoiceError::Internal`] if a call
    /// has ended.
    pub async fn join(
        &self,
        calls: &[&mpsc::Sender<CallCommand>],
        scene: Scene,
    ) -> Result<Talk, VoiceError> {
        Talk::begin(&self.shared.media, calls, scene).await
    }

    /// No new calls; those in progress may go on for `limit`, then they are ended.
    /// Returns when everything has stopped; every call has given its report.
    pub async fn drain(&self, limit: Duration) {
        let shared = &self.shared;
        shared.admission.close();
        shared.calls.close();
        shared.leave.cancel();
        shared.registrations.close();
        if tokio::time::timeout(limit, shared.calls.wait())
            .await
            .is_err()
        {
            shared.stop.cancel();
            // A flow may still settle something after its call: at most ten seconds.
            let rest = STOP_LIMIT + Duration::from_secs(10);
            if tokio::time::timeout(rest, shared.calls.wait())
                .await
                .is_err()
            {
                tracing::error!("calls did not end");
            }
        }
        // Each has a limit of its own.
        shared.registrations.wait().await;
        shared.quit.cancel();
        shared.stack.shutdown(STOP_LIMIT).await;
    }

    /// Calls in progress, both directions.
    #[must_use]
    pub fn active_calls(&self) -> usize {
        self.shared.active.load(Ordering::Relaxed)
    }

    /// Whether the trunk answered lately; `None` if there is no such trunk.
    #[must_use]
    pub fn trunk_up(&self, name: &str) -> Option<bool> {
        self.shared.trunks.get(name).map(|t| t.is_up())
    }

    /// Whether the registration at the trunk holds; `None` if there is no such trunk, or
    /// none is wanted.
    #[must_use]
    pub fn trunk_registered(&self, name: &str) -> Option<bool> {
        self.shared.trunks.get(name)?.registered.get()
    }

    /// Agents' telephones, and whether each is registered.
    #[must_use]
    pub fn phones(&self) -> Vec<(String, bool)> {
        let phones = self.shared.phones.as_ref();
        phones.map(|p| p.all()).unwrap_or_default()
    }

    /// Proofs of telephones that failed since the start.
    #[must_use]
    pub fn failed_proofs(&self) -> u64 {
        let phones = self.shared.phones.as_ref();
        phones.map_or(0, |p| p.failures())
    }

    /// Counters for metrics.
    #[must_use]
    pub fn counters(&self) -> EngineCounters {
        self.shared
            .counters
            .snapshot(self.shared.stack.gate().snapshot())
    }

    /// Address of the SIP socket.
    #[must_use]
    pub fn sip_address(&self) -> SocketAddr {
        self.shared.stack.local()
    }

    /// Where peers can open SIP streams: by TCP, by TLS.
    #[must_use]
    pub fn stream_addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let stack = &self.shared.stack;
        let of = |transport| stack.stream_address(transport);
        (of(Transport::Tcp), of(Transport::Tls))
    }

    /// SIP streams that peers hold open, and how many were turned away.
    #[must_use]
    pub fn sip_streams(&self) -> (usize, u64) {
        self.shared.stack.streams()
    }

    /// SIP dialogs that exist; 0 when no call is in progress.
    #[must_use]
    pub fn dialogs(&self) -> usize {
        self.shared.stack.dialogs()
    }
}

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineHandle")
            .field("active_calls", &self.active_calls())
            .finish_non_exhaustive()
    }
}

fn limits(session_expires: Duration) -> Limits {
    let expires = u32::try_from(session_expires.as_secs()).unwrap_or(u32::MAX);
    Limits {
        expires,
        // The check of the configuration allows no less; tests have no minutes to wait.
        least: timer::MIN_SE.min(expires),
    }
}

/// Reads the passwords; they are kept as hashes only.
fn open_phones(
    config: &EngineConfig,
    clock: &Clock,
    rng: &mut Rng,
) -> Result<Option<Arc<Phones>>, EngineError> {
    if config.phones.is_empty() {
        return Ok(None);
    }
    let mut accounts = BTreeMap::new();
    for phone in &config.phones {
        let name = &phone.username;
        let password = config::read_secret(&phone.password_file)
            .map_err(|e| EngineError::Phone(name.clone(), e.to_string()))?;
        let ha1 = Ha1::new(name, REALM, password.trim_end_matches(['\r', '\n']));
        accounts.insert(name.clone(), ha1);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| EngineError::Sip(e.to_string()))?;
    let offered = match config.voice.phone_digest {
        config::PhoneDigest::Md5 => vec![Algorithm::Md5],
        config::PhoneDigest::Sha256 => vec![Algorithm::Sha256],
        config::PhoneDigest::Both => vec![Algorithm::Sha256, Algorithm::Md5],
    };
    let guard = Guard::new(REALM, key, offered);
    let phones = Phones::new(accounts, guard, clock.clone(), rng.derive(4));
    Ok(Some(Arc::new(phones)))
}

fn peers(config: &EngineConfig) -> Result<Peers, EngineError> {
    let networks = config.voice.inbound_from.iter();
    let callers = networks
        .map(|text| Network::parse(text).ok_or_else(|| EngineError::Network(text.clone())))
        .collect::<Result<_, _>>()?;
    Ok(Peers::new(callers))
}

fn sockets(config: &config::Voice) -> Result<Listen, EngineError> {
    let tls = match (
        config.sip_tls_listen,
        &config.tls_cert_file,
        &config.tls_key_file,
    ) {
        (None, ..) => None,
        (Some(address), Some(chain), Some(key)) => {
            let server = tls_server(chain, key).map_err(|e| EngineError::Tls(e.to_string()))?;
            Some((address, server))
        }
        (Some(_), ..) => {
            let why = "voice.sip_tls_listen needs tls_cert_file and tls_key_file";
            return Err(EngineError::Tls(why.into()));
        }
    };
    Ok(Listen {
        udp: config.sip_listen,
        tcp: config.sip_tcp_listen,
        tls,
    })
}

/// Finds all trunks, at once because DNS may be slow, and goes on to watch them.
async fn find_and_watch(shared: &Arc<Shared>, watch: &Arc<Watch>) {
    let mut finding = tokio::task::JoinSet::new();
    for trunk in shared.trunks.values() {
        let (trunk, watch) = (Arc::clone(trunk), Arc::clone(watch));
        let stop = shared.quit.clone();
        finding.spawn(async move {
            let again = trunk.find(&watch).await;
            tokio::spawn(trunk.watch(watch, again, stop));
        });
    }
    finding.join_all().await;
}

/// Registers at the trunks that want it.
fn register(shared: &Arc<Shared>, rng: &mut Rng) {
    for config in shared.config.trunks.iter().filter(|t| t.register) {
        let registrar = shared.trunks.get(&config.name).and_then(|trunk| {
            let (trunk, stack) = (Arc::clone(trunk), Arc::clone(&shared.stack));
            let clock = shared.clock.clone();
            Registrar::new(
                trunk,
                stack,
                clock,
                config.register_expires.0,
                rng.derive(4),
            )
        });
        if let Some(registrar) = registrar {
            let leave = shared.leave.clone();
            shared.registrations.spawn(registrar.run(leave));
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    mut requests: mpsc::Receiver<VoiceRequest>,
    mut invites: mpsc::Receiver<InviteIn>,
) {
    loop {
        tokio::select! {
            Some(VoiceRequest::Place { plan, reply }) = requests.recv() => {
                let prepared = shared.prepare(plan);
                let (call, outgoing) = match prepared {
                    Ok((call, outgoing)) => (Ok(call), Some(outgoing)),
                    Err(error) => (Err(error), None),
                };
                // Whoever asked may be gone: then nobody is called.
                if reply.send(call).is_ok() && let Some(outgoing) = outgoing {
                    let shared = Arc::clone(&shared);
                    shared.clone().calls.spawn(Box::pin(shared.call_out(outgoing)));
                }
            }
            Some(invite) = invites.recv() => {
                let shared = Arc::clone(&shared);
                shared.clone().calls.spawn(Box::pin(shared.call_in(invite)));
            }
            () = shared.quit.cancelled() => return,
            else => return,
        }
    }
}

/// An outgoing call that may be dialled.
struct Outgoing {
    plan: CallPlan,
    way: Way,
    media: MediaLeg,
    flows: Arc<FlowSet>,
    events: mpsc::Sender<CallEvent>,
    commands: mpsc::Receiver<CallCommand>,
    /// Held for the length of the call.
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// What carries an outgoing call.
#[derive(Clone)]
enum Way {
    Trunk(Arc<Trunk>),
    /// A telephone of ours, by its user name.
    Phone(String),
}

/// A plan names a telephone instead of a trunk with this before its user name.
const PHONE: &str = "phone:";

impl Shared {
    fn session(&self) -> u64 {
        let mut rng = self
            .rng
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Readers of `o=` may keep it in a signed number.
        rng.next_u64() >> 2
    }

    fn prepare(&self, plan: CallPlan) -> Result<(Call, Outgoing), VoiceError> {
        let way = self.way(&plan.trunk)?;
        let take = |semaphore: &Arc<Semaphore>| {
            Arc::clone(semaphore)
                .try_acquire_owned()
                .map_err(|e| match e {
                    TryAcquireError::Closed => VoiceError::Draining,
                    TryAcquireError::NoPermits => VoiceError::NoChannel,
                })
        };
        let channel = match &way {
            Way::Trunk(trunk) => Some(take(&trunk.channels)?),
            Way::Phone(_) => None,
        };
        let permits = (take(&self.admission)?, channel);
        let flows = (self.flows)();
        // A flow that cannot begin is known before anybody's telephone rings.
        FlowMachine::new(Arc::clone(&flows), self.start_out(&plan))
            .map_err(|e| VoiceError::Internal(format!("flow {:?}: {e}", plan.flow)))?;
        let media = self.media.open().map_err(|e| {
            tracing::warn!(error = %e, "no media for a call");
            VoiceError::NoChannel
        })?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let call = Call {
            id: plan.call_id.clone(),
            events: receiver,
            commands: sender,
        };
        let outgoing = Outgoing {
            plan,
            way,
            media,
            flows,
            events,
            commands,
            _permits: permits,
        };
        Ok((call, outgoing))
    }

    fn way(&self, name: &str) -> Result<Way, VoiceError> {
        let none = || VoiceError::NoTrunk(name.to_owned());
        if let Some(user) = name.strip_prefix(PHONE) {
            let known = self.phones.as_ref().is_some_and(|p| p.has(user));
            return known.then(|| Way::Phone(user.to_owned())).ok_or_else(none);
        }
        let trunk = self.trunks.get(name).ok_or_else(none)?;
        Ok(Way::Trunk(Arc::clone(trunk)))
    }

    /// Rings a telephone of ours.
    async fn ring(&self, user: &str, plan: &CallPlan, media: MediaLeg) -> Dialled {
        let Some(phones) = &self.phones else {
            return Dialled::Over(End::Unreachable);
        };
        let ring = Ring {
            stack: &self.stack,
            phones,
            user,
            from: "helpline",
            call_id: Some(plan.call_id.clone()),
            ring_limit: plan.ring_limit,
            session: self.session(),
            stop: &self.stop,
        };
        match ring.run(media).await {
            Ok(leg) => Dialled::Up(leg),
            Err(end) => Dialled::Over(end),
        }
    }

    fn start_out(&self, plan: &CallPlan) -> Start {
        Start {
            flow: plan.flow.clone(),
            call: CallFacts {
                id: plan.call_id.clone(),
                from: self
                    .trunks
                    .get(&plan.trunk)
                    .map(|t| PhoneNumber::from_row(&t.caller_id)),
                to: plan.to.as_str().to_owned(),
                direction: "out",
            },
            input: plan.input.clone(),
            language: plan.language.clone(),
            wall: self.clock.wall(),
            open: plan.open,
        }
    }

    async fn call_out(self: Arc<Self>, mut call: Outgoing) {
        let mut reporter = Reporter::new(&self.active, &self.counters, call.events.clone());
        self.counters.placed.add();
        let dialled = match &call.way {
            Way::Phone(user) => Box::pin(self.ring(user, &call.plan, call.media)).await,
            Way::Trunk(trunk) => {
                let dial = Dial {
                    stack: &self.stack,
                    trunk,
                    to: call.plan.to.as_str(),
                    call_id: call.plan.call_id.clone(),
                    ring_limit: call.plan.ring_limit,
                    session: self.session(),
                    events: &call.events,
                    stop: &self.stop,
                    rang: &mut reporter.report.rang,
                };
                Box::pin(dial.run(call.media, &mut call.commands)).await
            }
        };
        match dialled {
            Dialled::Over(end) => {
                match end {
                    End::Refused { .. } => self.counters.refused.add(),
                    End::Unreachable => self.counters.unreachable.add(),
                    _ => self.counters.unanswered.add(),
                }
                reporter.report.end = end;
            }
            Dialled::Up(leg) => {
                self.counters.answered.add();
                // A reader that went away does not end the call.
                let _ = call
                    .events
                    .send_timeout(CallEvent::Answered, ANSWER_LIMIT)
                    .await;
                let start = self.start_out(&call.plan);
                let flows = call.flows;
                self.talk(
                    leg,
                    flows,
                    start,
                    call.events,
                    &mut call.commands,
                    &mut reporter,
                )
                .await;
            }
        }
        reporter.tell().await;
    }

    /// Runs the flow of an answered call and fills in the report.
    async fn talk(
        &self,
        leg: Leg,
        flows: Arc<FlowSet>,
        start: Start,
        events: mpsc::Sender<CallEvent>,
        commands: &mut mpsc::Receiver<CallCommand>,
        reporter: &mut Reporter,
    ) {
        reporter.report.end = End::HungUp { by_customer: false };
        let machine = match FlowMachine::new(flows, start) {
            Ok(machine) => machine,
            Err(error) => {
                tracing::error!(%error, "a flow could not begin: the call is ended");
                leg.close(41);
                return;
            }
        };
        let answered = Answered {
            leg,
            machine,
            prompts: self.prompts.load_full(),
            events,
            clock: self.clock.clone(),
            limit: self.config.voice.call_limit.0,
            stop: self.stop.clone(),
            counters: Arc::clone(&self.counters),
            may_dial: self.may_dial(),
        };
        let outcome = Box::pin(call_task::run(answered, commands)).await;
        reporter.report.end = End::HungUp {
            by_customer: outcome.by_customer,
        };
        reporter.report.talked_for = outcome.talked_for;
        reporter.report.settled = outcome.settled;
    }

    async fn call_in(self: Arc<Self>, invite: InviteIn) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (sender, mut commands) = mpsc::channel(COMMANDS_MAX);
        let from = invite.from.as_deref().and_then(|f| self.number(f));
        let to = invite.to.clone();
        let id = invite.leg.call_id();
        let _permit = invite.permit;
        let flows = (self.flows)();
        let begins = self.start_in(&id, from.as_ref(), &to);
        if let Err(error) = FlowMachine::new(Arc::clone(&flows), begins) {
            tracing::error!(%error, "voice.inbound_flow cannot begin: callers are refused");
            self.counters.incoming_refused.add();
            invite.leg.reject(503);
            return;
        }
        let source = match invite.phone {
            // A telephone may sit behind a NAT.
            Some(_) => MediaSource {
                mode: latch::Mode::Nat,
                signalled: invite.source,
            },
            None => self.media_source(invite.source),
        };
        let Some(leg) = Box::pin(self.answer(invite.leg, invite.sdp, source)).await else {
            self.counters.incoming_refused.add();
            return;
        };
        let mut reporter = Reporter::new(&self.active, &self.counters, events.clone());
        self.counters.incoming.add();
        let start = self.start_in(&id, from.as_ref(), &to);
        let call = Call {
            id,
            events: receiver,
            commands: sender,
        };
        let handed = self.incoming.try_send(Incoming { from, to, call });
        // The channel was made above and is empty; a reader that is gone needs no event.
        let _ = events.try_send(CallEvent::Answered);
        if handed.is_err() {
            tracing::warn!("nobody takes callers: the flow runs without a desk");
        }
        self.talk(leg, flows, start, events, &mut commands, &mut reporter)
            .await;
        reporter.tell().await;
    }

    /// What callers may speak: G.711, and whatever else a trunk is allowed.
    fn codecs_in(&self) -> Vec<Codec> {
        let allowed = self.trunks.values().flat_map(|t| t.codecs.clone());
        let mut codecs = Vec::new();
        for codec in allowed.chain([Codec::Pcmu, Codec::Pcma]) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        codecs
    }

    fn start_in(&self, id: &str, from: Option<&PhoneNumber>, to: &str) -> Start {
        Start {
            flow: self.config.voice.inbound_flow.clone(),
            call: CallFacts {
                id: id.to_owned(),
                from: from.cloned(),
                to: to.to_owned(),
                direction: "in",
            },
            input: serde_json::Map::new(),
            language: self.config.language.clone(),
            wall: self.clock.wall(),
            open: (self.config.open)(),
        }
    }

    /// Answers a caller: with our answer, or with our offer when none came. `None` if
    /// the call was refused or went away.
    async fn answer(
        &self,
        mut sip: SipLeg,
        offer: Option<String>,
        source: MediaSource,
    ) -> Option<Leg> {
        let Ok(media) = self.media.open() else {
            sip.reject(503);
            return None;
        };
        let local = Local {
            address: media.local,
            session: self.session(),
            version: 1,
            codecs: self.codecs_in(),
        };
        let Some(secrecy) = self.secrecy_with(source.signalled, sip.is_secret()) else {
            sip.reject(488);
            return None;
        };
        let answered = match &offer {
            Some(theirs) => match secrecy.answer(theirs, &local) {
                Ok((ours, agreed)) => (ours, Some(agreed)),
                Err(error) => {
                    tracing::info!(%error, "a caller's offer cannot be answered");
                    sip.reject(488);
                    return None;
                }
            },
            None => (secrecy.offer(&local), None),
        };
        let (ours, agreed) = answered;
        sip.accept(ours.clone());
        let acked = tokio::time::timeout(ACK_LIMIT, acknowledged(sip)).await;
        let (sip, answer) = acked.ok().flatten()?;
        let agreed = match agreed {
            Some(agreed) => agreed,
            None => match answer.map(|a| secrecy.accept(&a, &ours)) {
                Some(Ok(agreed)) => agreed,
                Some(Err(_)) | None => {
                    sip.bye(47);
                    return None;
                }
            },
        };
        Some(Leg::new(sip, media, source, local, ours, agreed))
    }

    /// Whether the media of a caller at `source` is encrypted: as its trunk says. Anybody
    /// else may have it if the keys are not seen by others. `None`: it must be, and cannot.
    fn secrecy_with(&self, source: Option<IpAddr>, is_secret: bool) -> Option<Secrecy> {
        let sends = |t: &&config::Trunk| {
            let trunk = self.trunks.get(&t.name);
            source.is_some_and(|ip| trunk.is_some_and(|t| t.is_at(ip)))
        };
        let trunk = self.config.trunks.iter().find(sends);
        let wanted = match trunk {
            Some(trunk) if is_secret || trunk.srtp_over_plain_sip => trunk.srtp,
            // A key that anyone may read protects nothing.
            Some(trunk) if trunk.srtp == SrtpUse::Required => return None,
            Some(_) => SrtpUse::Off,
            None if is_secret => SrtpUse::Optional,
            None => SrtpUse::Off,
        };
        Secrecy::new(wanted)
    }

    /// From where the packets of a caller at `source` may come: as its trunk says, else
    /// only from the address in its SDP.
    fn media_source(&self, source: Option<IpAddr>) -> MediaSource {
        let sends = |t: &&Arc<Trunk>| source.is_some_and(|ip| t.is_at(ip));
        let mode = self.trunks.values().find(sends).map(|t| t.media);
        MediaSource {
            mode: mode.unwrap_or_default(),
            signalled: source,
        }
    }

    /// What a telephone may be transferred to.
    fn may_dial(&self) -> MayDial {
        let (rules, region) = (self.config.dial.clone(), self.config.region.clone());
        Arc::new(move |user| {
            let number = PhoneNumber::parse(user, region.as_deref()).ok()?;
            rules.check(&number).ok().map(|()| number)
        })
    }

    /// A caller's number, if it is given and one.
    fn number(&self, user: &str) -> Option<PhoneNumber> {
        let digits = user.strip_prefix('+').unwrap_or_default();
        if (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Some(PhoneNumber::from_row(user));
        }
        PhoneNumber::parse(user, self.config.region.as_deref()).ok()
    }
}

/// Waits for the caller's ACK; its SDP comes along. `None` if the caller went away.
async fn acknowledged(mut sip: SipLeg) -> Option<(SipLeg, Option<String>)> {
    let lost = sip.stream_lost();
    tokio::pin!(lost);
    loop {
        let event = tokio::select! {
            biased;
            event = sip.next() => event,
            // Our 200 cannot reach the caller, and no ACK can come.
            () = &mut lost => {
                sip.forget();
                return None;
            }
        };
        match event {
            SipEvent::Acked(answer) => return Some((sip, answer)),
            SipEvent::Ended | SipEvent::Failed(_) | SipEvent::Silent => return None,
            _ => {}
        }
    }
}
