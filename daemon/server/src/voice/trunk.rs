//! A trunk as the engine uses it: resolved, with its credentials and its state.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use helpline_core::rng::Rng;
use helpline_core::rtp::latch;
use helpline_core::sdp::Codec;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::engine::EngineError;
use super::sip::SipStack;
use crate::config::{self, CodecName, MediaRule};

/// How often a trunk that is up is asked.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// How long it has to answer.
const PROBE_LIMIT: Duration = Duration::from_secs(4);
/// Unanswered questions after which it is down.
const MISSES_MAX: u32 = 2;
/// First and longest pause between questions to a trunk that is down.
const RECHECK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// A trunk.
#[derive(Debug)]
pub(super) struct Trunk {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// Host part of URIs.
    pub(super) host: String,
    pub(super) realm: Option<String>,
    pub(super) credential: Option<(String, String)>,
    pub(super) caller_id: String,
    pub(super) codecs: Vec<Codec>,
    /// From where its packets may come.
    pub(super) media: latch::Mode,
    /// One permit a call.
    pub(super) channels: Arc<Semaphore>,
    up: AtomicBool,
    misses: AtomicU32,
}

impl Trunk {
    /// Resolves the target and reads the password.
    pub(super) async fn open(config: &config::Trunk, ipv4: bool) -> Result<Trunk, EngineError> {
        let fault = |why: String| EngineError::Trunk(config.name.clone(), why);
        let (host, _) = config
            .target
            .rsplit_once(':')
            .ok_or_else(|| fault("target must be host:port".into()))?;
        let address = tokio::net::lookup_host(config.target.as_str())
            .await
            .map_err(|e| fault(format!("{}: {e}", config.target)))?
            .find(|a| a.is_ipv4() == ipv4)
            .ok_or_else(|| fault(format!("{} has no usable address", config.target)))?;
        let credential = match (&config.username, &config.password_file) {
            (Some(username), Some(file)) => {
                let password = tokio::fs::read_to_string(file)
                    .await
                    .map_err(|e| fault(format!("{}: {e}", file.display())))?;
                let password = password.trim_end_matches(['\r', '\n']).to_owned();
                Some((username.clone(), password))
            }
            (None, None) => None,
            _ => return Err(fault("username and password_file belong together".into())),
        };
        Ok(Trunk {
            name: config.name.clone(),
            address,
            // The port is part of the URI unless it is the usual one.
            host: if address.port() == 5060 {
                host.to_owned()
            } else {
                config.target.clone()
            },
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
            up: AtomicBool::new(true),
            misses: AtomicU32::new(0),
        })
    }

    /// Whether it answered lately; true until shown otherwise.
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Notes that it answered, or that it surely does not.
    pub(super) fn set_up(&self, up: bool) {
        self.misses
            .store(if up { 0 } else { MISSES_MAX }, Ordering::Relaxed);
        if self.up.swap(up, Ordering::Relaxed) != up {
            if up {
                tracing::info!(trunk = self.name, "the trunk answers again");
            } else {
                tracing::error!(
                    trunk = self.name,
                    "the trunk does not answer: check its address and the network"
                );
            }
        }
    }

    /// Asks it from time to time until `stop`.
    pub(super) async fn watch(
        self: Arc<Self>,
        stack: Arc<SipStack>,
        stop: CancellationToken,
        mut rng: Rng,
    ) {
        let mut recheck = RECHECK.0;
        loop {
            if stack.probe(self.address, PROBE_LIMIT).await {
                self.set_up(true);
                recheck = RECHECK.0;
            } else if self.misses.fetch_add(1, Ordering::Relaxed) + 1 >= MISSES_MAX {
                self.set_up(false);
            }
            let pause = if self.misses.load(Ordering::Relaxed) == 0 {
                PROBE_EVERY
            } else {
                recheck = (recheck * 2).min(RECHECK.1);
                recheck / 2
            };
            tokio::select! {
                () = tokio::time::sleep(rng.jitter(pause, 0.1)) => {}
                () = stop.cancelled() => return,
            }
        }
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
