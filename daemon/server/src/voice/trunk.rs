//! A trunk as the engine uses it: its credentials, its targets as DNS names them, and
//! their state.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use helpline_core::rng::Rng;
use helpline_core::rtp::latch;
use helpline_core::sdp::Codec;
use helpline_core::sip::place::Place;
use helpline_core::sip::targets::{Failure, Input, Output, Target, Targets};
use helpline_core::time::Time;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::engine::EngineError;
use super::registrar::Registered;
use super::resolve::{ResolveError, Resolver};
use super::sip::{Peers, Route, SipStack, TlsClient, Transport, TrunkPeer};
use crate::clock::Clock;
use crate::config::{self, CodecName, MediaRule, SrtpUse};

/// How long a target has to answer an OPTIONS.
const PROBE_LIMIT: Duration = Duration::from_secs(4);
/// When DNS failed it is asked again so soon; what it said last is used meanwhile.
const RESOLVE_AGAIN: Duration = Duration::from_secs(10);
/// How long the start of the daemon waits for DNS.
const FIRST_LIMIT: Duration = Duration::from_secs(5);
/// Calls may still be up at an address that DNS names no more.
const LEFT_FOR: Duration = Duration::from_secs(3_600);
/// Addresses remembered that way.
const LEFT_MAX: usize = 64;
/// A target that refused TCP is not asked for it again so soon.
const NO_TCP_FOR: Duration = Duration::from_secs(600);

/// A trunk.
#[derive(Debug)]
pub(super) struct Trunk {
    pub(super) name: String,
    /// Host part of URIs.
    pub(super) host: String,
    pub(super) credential: Option<(String, String)>,
    pub(super) caller_id: String,
    pub(super) codecs: Vec<Codec>,
    /// From where its packets may come.
    pub(super) media: latch::Mode,
    /// One permit a call.
    pub(super) channels: Arc<Semaphore>,
    pub(super) transport: Transport,
    pub(super) srtp: SrtpUse,
    /// Whether it knows where we are.
    pub(super) registered: Registered,
    realm: Option<String>,
    tls: Option<Arc<TlsClient>>,
    place: Place,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    targets: Targets,
    /// Addresses DNS named until then.
    left: HashMap<SocketAddr, Time>,
    /// Targets without TCP, until then.
    no_tcp: HashMap<SocketAddr, Time>,
}

/// What the watch of a trunk needs.
pub(super) struct Watch {
    pub(super) stack: Arc<SipStack>,
    pub(super) peers: Arc<Peers>,
    pub(super) resolver: Resolver,
    /// Whether our socket is one of IPv4.
    pub(super) ipv4: bool,
}

enum Done {
    Probed(SocketAddr, bool),
    Resolved(Result<(Vec<Target>, Duration), ResolveError>),
}

impl Trunk {
    /// Reads the target, the password and the certificates.
    pub(super) fn open(
        config: &config::Trunk,
        clock: Clock,
        rng: Rng,
    ) -> Result<Trunk, EngineError> {
        let fault = |why: String| EngineError::Trunk(config.name.clone(), why);
        let transport = Transport::from(config.transport);
        let place = Place::parse(&config.target, transport.port())
            .ok_or_else(|| fault(format!("{:?} is no domain or host:port", config.target)))?;
        let credential = match (&config.username, &config.password_file) {
            (Some(username), Some(file)) => {
                let password = config::read_secret(file).map_err(|e| fault(format!("{e:#}")))?;
                Some((username.clone(), password))
            }
            (None, None) => None,
            _ => return Err(fault("username and password_file belong together".into())),
        };
        let tls = match transport {
            Transport::Tls => {
                let own = config.cert_file.as_deref().zip(config.key_file.as_deref());
                let client = TlsClient::new(&place.identity(), config.ca_file.as_deref(), own);
                Some(Arc::new(client.map_err(|e| fault(e.to_string()))?))
            }
            Transport::Udp | Transport::Tcp => None,
        };
        Ok(Trunk {
            name: config.name.clone(),
            host: place.uri_host(transport.port()),
            realm: config.realm.clone().filter(|r| !r.is_empty()),
            credential,
            caller_id: config.caller_id.clone(),
            codecs: config.codecs.iter().map(codec).collect(),
            media: match config.media {
                MediaRule::Strict => latch::Mode::Strict,
                MediaRule::Address => latch::Mode::Address,
                MediaRule::Nat => latch::Mode::Nat,
            },
            channels: Arc::new(Semaphore::new(
                usize::try_from(config.max_channels).unwrap_or(usize::MAX),
            )),
            transport,
            srtp: config.srtp,
            registered: Registered::default(),
            tls,
            place,
            clock,
            state: Mutex::new(State {
                targets: Targets::new(rng),
                left: HashMap::new(),
                no_tcp: HashMap::new(),
            }),
        })
    }

    /// Whether any target answered lately; true until shown otherwise.
    pub(super) fn is_up(&self) -> bool {
        self.state().targets.is_up()
    }

    /// Targets for a call, first choice first.
    pub(super) fn order(&self) -> Vec<SocketAddr> {
        self.state().targets.order(self.clock.time())
    }

    /// Whether there are targets, and all asked for time by Retry-After.
    pub(super) fn is_closed(&self) -> bool {
        self.state().targets.closed_for(self.clock.time()).is_some()
    }

    /// The way to a target.
    pub(super) fn route(&self, address: SocketAddr) -> Route {
        Route {
            transport: self.transport,
            address,
            tls: self.tls.clone(),
        }
    }

    /// Whether one of its targets is at this address.
    pub(super) fn is_at(&self, ip: IpAddr) -> bool {
        let same = |a: SocketAddr| a.ip().to_canonical() == ip.to_canonical();
        self.state().targets.addresses().any(same)
    }

    /// A target answered a call.
    pub(super) fn served(&self, address: SocketAddr) {
        self.handle(Input::Served(address));
    }

    /// A call failed at a target.
    pub(super) fn failed(&self, address: SocketAddr, failure: Failure) {
        self.handle(Input::Failed(address, failure));
    }

    /// Whether a large request may try TCP at a target that is spoken to by UDP.
    pub(super) fn may_have_tcp(&self, address: SocketAddr) -> bool {
        let now = self.clock.time();
        let mut state = self.state();
        state.no_tcp.retain(|_, until| *until > now);
        !state.no_tcp.contains_key(&address)
    }

    /// The target does not speak TCP.
    pub(super) fn has_no_tcp(&self, address: SocketAddr) {
        let until = self.clock.time() + NO_TCP_FOR;
        self.state().no_tcp.insert(address, until);
    }

    /// Asks DNS for the first time. A trunk that is not found now is looked for later.
    pub(super) async fn find(&self, watch: &Watch) -> Duration {
        let resolve = watch
            .resolver
            .resolve(&self.place, self.transport, watch.ipv4);
        match tokio::time::timeout(FIRST_LIMIT, resolve).await {
            Ok(found) => self.resolved(&watch.peers, found),
            Err(_) => {
                tracing::error!(trunk = self.name, "DNS did not find the trunk in time");
                RESOLVE_AGAIN
            }
        }
    }

    /// Asks the targets and DNS from time to time until `stop`; `again` is when DNS is due.
    pub(super) async fn watch(
        self: Arc<Self>,
        watch: Arc<Watch>,
        again: Duration,
        stop: CancellationToken,
    ) {
        let mut tasks = JoinSet::new();
        let mut due = Some(tokio::time::Instant::now() + again);
        loop {
            let pause = {
                let state = self.state();
                let deadline = state.targets.deadline();
                deadline.map(|at| at.since(self.clock.time()))
            };
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = tasks.join_next() => match done {
                    Ok(Done::Probed(address, answered)) => {
                        if !answered {
                            watch.stack.hang_up(&self.route(address));
                        }
                        self.handle(Input::Probed { address, answered });
                    }
                    Ok(Done::Resolved(found)) => {
                        let again = self.resolved(&watch.peers, found);
                        due = Some(tokio::time::Instant::now() + again);
                    }
                    Err(error) => tracing::error!(%error, "a probe of a trunk failed inside"),
                },
                () = at(due) => {
                    due = None;
                    let (trunk, watch) = (Arc::clone(&self), Arc::clone(&watch));
                    tasks.spawn(async move {
                        let (place, transport) = (&trunk.place, trunk.transport);
                        let found = watch.resolver.resolve(place, transport, watch.ipv4);
                        Done::Resolved(found.await)
                    });
                }
                () = after(pause) => {
                    for address in self.handle(Input::Timeout) {
                        let (route, watch) = (self.route(address), Arc::clone(&watch));
                        tasks.spawn(async move {
                            let answered = watch.stack.probe(&route, PROBE_LIMIT).await;
                            Done::Probed(address, answered)
                        });
                    }
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the targets, logs what changed, and gives those to be asked.
    fn handle(&self, input: Input) -> Vec<SocketAddr> {
        let now = self.clock.time();
        let mut probes = Vec::new();
        let mut state = self.state();
        let was_up = state.targets.is_up();
        state.targets.handle(now, input);
        while let Some(output) = state.targets.poll() {
            match output {
                Output::Probe(address) => probes.push(address),
                Output::Up(target) => {
                    tracing::info!(trunk = self.name, %target, "a target answers again");
                }
                Output::Down(target) => {
                    tracing::warn!(trunk = self.name, %target, "a target does not answer");
                }
            }
        }
        match (was_up, state.targets.is_up()) {
            (false, true) => tracing::info!(trunk = self.name, "the trunk answers again"),
            (true, false) => tracing::error!(
                trunk = self.name,
                "the trunk does not answer: check its address and the network"
            ),
            (true, true) | (false, false) => {}
        }
        probes
    }

    /// Takes in what DNS said; when to ask again.
    fn resolved(
        &self,
        peers: &Peers,
        found: Result<(Vec<Target>, Duration), ResolveError>,
    ) -> Duration {
        let (targets, ttl) = match found {
            Ok(found) => found,
            Err(error) => {
                let known = self.state().targets.addresses().count();
                tracing::warn!(trunk = self.name, %error, known, "the trunk was not found");
                return RESOLVE_AGAIN;
            }
        };
        let now = self.clock.time();
        let before: Vec<SocketAddr> = self.state().targets.addresses().collect();
        self.handle(Input::Resolved(targets));
        let mut state = self.state();
        let addresses: Vec<SocketAddr> = state.targets.addresses().collect();
        state
            .left
            .retain(|a, until| *until > now && !addresses.contains(a));
        for gone in before.into_iter().filter(|a| !addresses.contains(a)) {
            if state.left.len() < LEFT_MAX {
                state.left.insert(gone, now + LEFT_FOR);
            }
        }
        peers.set_trunk(&TrunkPeer {
            name: self.name.clone(),
            addresses,
            left: state.left.keys().copied().collect(),
            realm: self.realm.clone(),
        });
        ttl
    }
}

async fn at(due: Option<tokio::time::Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

fn codec(name: &CodecName) -> Codec {
    match name {
        CodecName::Pcmu => Codec::Pcmu,
        CodecName::Pcma => Codec::Pcma,
        CodecName::G722 => Codec::G722,
        CodecName::Opus => Codec::Opus,
    }
}
