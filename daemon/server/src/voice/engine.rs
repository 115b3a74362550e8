//! The engine: takes orders to call, answers callers, and keeps one task a call.

mod calls;
mod open;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use helpline_core::audio::Clip;
use helpline_core::audio::codec::Codec;
use helpline_core::audio::mix::Scene;
use helpline_core::ivr::flow::FlowSet;
use helpline_core::ivr::io::{Hours, Queues};
use helpline_core::phone::DialRules;
use helpline_core::rng::Rng;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::counters::{Counters, EngineCounters};
use super::media::Media;
use super::prompts::PromptTable;
use super::resolve::Resolver;
use super::sip::{Admission, InviteIn, Phones, SipConfig, SipError, SipStack, Transport};
use super::talk::Talk;
use super::trunk::{Trunk, Watch};
use super::tts::Tts;
use super::{CallCommand, Incoming, Voice, VoiceError, VoiceRequest};
use crate::clock::Clock;
use crate::config;

use open::{find_and_watch, limits, open_phones, peers, register, sockets};

/// Callers handed over that may wait for their reader.
const INCOMING_MAX: usize = 256;
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
    /// The queue of callers who phone in.
    pub queue: String,
    /// IANA zone in which days and times are told.
    pub zone: String,
    /// `env` of flows.
    pub env: BTreeMap<String, String>,
    /// Folder for what callers say.
    pub recordings: PathBuf,
    /// Program that speaks, and the folder for what it spoke.
    pub tts: (Vec<String>, PathBuf),
    /// Codecs in which sound is kept besides G.711.
    pub codecs: Vec<Codec>,
    /// When callers find the queue open, as of now.
    pub hours: Arc<dyn Fn() -> Hours + Send + Sync>,
    /// How the lines stand.
    pub queues: Board,
}

/// How the lines stand, as of now.
pub(super) type Board = Arc<dyn Fn() -> Arc<Queues> + Send + Sync>;

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
    tts: Option<Arc<Tts>>,
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
        let (command, spoken) = config.tts.clone();
        let tts = Tts::new(command, spoken, config.codecs.clone());
        let shared = Arc::new(Shared {
            tts,
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

    /// A prompt or sound file as calls have it now.
    #[must_use]
    pub fn prompt(&self, id: &str) -> Option<Arc<Clip>> {
        self.shared.prompts.load().get(id)
    }

    /// A Call-ID that no other call has.
    #[must_use]
    pub fn new_call_id(&self) -> String {
        let shared = &self.shared;
        let mut rng = shared.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let (a, b) = (rng.next_u64(), rng.next_u64());
        format!("{a:016x}{b:016x}@{}", shared.stack.local().ip())
    }

    /// Waits until all recordings that have ended are in their files.
    pub async fn flush_recordings(&self) {
        let media = self.shared.media.clone();
        let flush = move || media.flush_recordings();
        // A task that fails has nothing more to write.
        let _ = tokio::task::spawn_blocking(flush).await;
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
