//! A telephone for tests, the demo and the bench: a small SIP user agent made of the
//! same parts as the engine. It answers, rejects, demands a password, presses keys,
//! records what it hears, hangs up; and it can call.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::audio::Clip;
use helpline_core::ivr::io::Key;
use helpline_core::rng::Rng;
use helpline_core::sdp::{self, Codec, Local};
use helpline_core::sip::digest::Algorithm;
use helpline_core::sip::network::Network;
use helpline_core::sip::timer::Limits;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::leg::Leg;
use super::media::{Media, MediaEvent, MediaSource, RecordPlan, SendDigits};
use super::sip::{
    Demand, InviteIn, InviteOut, Listen, Peers, Route, SipConfig, SipEvent, SipLeg, SipStack,
};
use crate::clock::Clock;

/// Events that may wait for a reader; further ones are lost.
const EVENTS_MAX: usize = 1_024;
/// Calls at once.
const CALLS_MAX: usize = 2_000;
/// How long the end may take.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// What a phone is.
#[derive(Clone, Debug)]
pub struct PhoneConfig {
    /// SIP socket; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What it does with calls.
    pub behaviour: Behaviour,
    /// For tags.
    pub seed: u64,
}

/// What a phone does with a call.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// How long it rings before `pick_up`. Zero: no 180 is sent.
    pub ring: Duration,
    /// What follows.
    pub pick_up: PickUp,
    /// A caller has to prove this first.
    pub password: Option<Password>,
    /// Keys pressed, each so long after the answer.
    pub presses: Vec<Press>,
    /// How keys are sent.
    pub digits: Digits,
    /// It hangs up so long after the answer; without it, it waits for the far end.
    pub hang_up_after: Option<Duration>,
    /// Codecs it speaks, the preferred one first; empty: both laws of G.711.
    pub codecs: Vec<Codec>,
    /// What it says, round and round, once the call is up.
    pub says: Option<Arc<Clip>>,
    /// What it hears goes into this folder: a WAV file a call, named after who was called.
    pub record_to: Option<PathBuf>,
}

/// How a ringing phone goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PickUp {
    /// It answers.
    #[default]
    Answer,
    /// It refuses with this SIP code.
    Reject(u16),
    /// It rings on until the caller gives up.
    Never,
}

/// How a phone sends keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Digits {
    /// RFC 4733.
    #[default]
    Rfc4733,
    /// As sound.
    Inband,
}

/// A key to press.
#[derive(Clone, Copy, Debug)]
pub struct Press {
    /// How long after the answer.
    pub after: Duration,
    /// The key.
    pub key: Key,
}

/// What a caller has to prove.
#[derive(Clone, Debug)]
pub struct Password {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Realm.
    pub realm: String,
    /// 407 instead of 401.
    pub proxy: bool,
    /// SHA-256 is offered besides MD5.
    pub sha256: bool,
}

/// What happened at a phone; `call` is the SIP Call-ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhoneEvent {
    /// A call came in: user parts of the two URIs.
    Rang {
        /// The call.
        call: String,
        /// Who calls.
        from: Option<String>,
        /// Whom.
        to: String,
    },
    /// The call is up.
    Answered {
        /// The call.
        call: String,
    },
    /// A key was sent.
    Pressed {
        /// The call.
        call: String,
        /// The key.
        key: char,
    },
    /// A key was heard from the far end.
    Heard {
        /// The call.
        call: String,
        /// The key.
        key: char,
    },
    /// The call is over.
    Over {
        /// The call.
        call: String,
        /// SIP code of a refusal of a call this phone made.
        refused: Option<u16>,
        /// The far end ended it.
        by_far_end: bool,
    },
}

/// A running phone. [`TestPhone::stop`] ends it; dropping it alone does not.
pub struct TestPhone {
    shared: Arc<Shared>,
}

struct Shared {
    stack: Arc<SipStack>,
    media: Media,
    behaviour: Behaviour,
    events: mpsc::Sender<PhoneEvent>,
    stop: CancellationToken,
    calls: TaskTracker,
}

impl TestPhone {
    /// Starts a phone; `media` may be shared with other phones.
    ///
    /// # Errors
    /// The socket could not be bound.
    pub async fn start(
        config: PhoneConfig,
        media: Media,
        clock: Clock,
    ) -> anyhow::Result<(TestPhone, mpsc::Receiver<PhoneEvent>)> {
        let anyone = ["0.0.0.0/0", "::/0"];
        let password = config.behaviour.password.as_ref();
        let (stack, invites) = SipStack::start(SipConfig {
            listen: Listen::udp(config.listen),
            public: None,
            user_agent: "helpline test phone".into(),
            peers: Arc::new(Peers::new(
                anyone.iter().filter_map(|n| Network::parse(n)).collect(),
            )),
            admission: Arc::new(Semaphore::new(CALLS_MAX)),
            limits: Limits::default(),
            phones: None,
            demand: password.map(|p| demand(p, config.seed)),
            clock,
            rng: Rng::new(config.seed),
        })
        .await?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            stack,
            media,
            behaviour: config.behaviour,
            events,
            stop: CancellationToken::new(),
            calls: TaskTracker::new(),
        });
        tokio::spawn(serve(Arc::clone(&shared), invites));
        Ok((TestPhone { shared }, receiver))
    }

    /// Address of its SIP socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.stack.local()
    }

    /// SIP dialogs it holds.
    #[must_use]
    pub fn dialogs(&self) -> usize {
        self.shared.stack.dialogs()
    }

    /// Calls `user` at `target`; what happens comes as events, with the keys, the
    /// recording and the hang-up of its behaviour. Returns the Call-ID.
    ///
    /// # Errors
    /// No port is free or the URI cannot be built.
    pub fn call(&self, target: SocketAddr, user: &str, from: &str) -> anyhow::Result<String> {
        let media = self.shared.media.open()?;
        let local = local(media.local, &self.shared.behaviour);
        let offer = sdp::offer(&local);
        let sip = self.shared.stack.invite(InviteOut {
            route: Route::udp(target),
            host: target.to_string(),
            to: user.to_owned(),
            from: from.to_owned(),
            call_id: None,
            sdp: offer.clone(),
            credential: None,
        })?;
        let id = sip.call_id();
        let shared = Arc::clone(&self.shared);
        let (call, user) = (id.clone(), user.to_owned());
        self.shared.calls.spawn(Box::pin(async move {
            let (refused, by_far_end) = match shared.placed(sip, &offer).await {
                Ok((sip, agreed)) => {
                    let leg = Leg::new(sip, media, MediaSource::default(), local, offer, agreed);
                    (None, shared.talk(leg, &call, &user).await)
                }
                Err(refused) => (refused, true),
            };
            shared.tell(PhoneEvent::Over {
                call,
                refused,
                by_far_end,
            });
        }));
        Ok(id)
    }

    /// Ends all calls and the phone.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.shared.calls.close();
        // A call that hangs is cut by the end of the stack.
        let _ = tokio::time::timeout(STOP_LIMIT, self.shared.calls.wait()).await;
        self.shared.stack.shutdown(STOP_LIMIT).await;
    }
}

impl std::fmt::Debug for TestPhone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TestPhone({})", self.address())
    }
}

fn demand(password: &Password, seed: u64) -> Demand {
    let mut algorithms = vec![Algorithm::Md5];
    if password.sha256 {
        algorithms.push(Algorithm::Sha256);
    }
    Demand {
        username: password.username.clone(),
        password: password.password.clone(),
        realm: password.realm.clone(),
        proxy: password.proxy,
        algorithms,
        nonce: format!("{:016x}", Rng::new(seed ^ 0x6e6f_6e63).next_u64()),
    }
}

fn local(address: SocketAddr, behaviour: &Behaviour) -> Local {
    let codecs = match &behaviour.codecs[..] {
        [] => vec![Codec::Pcmu, Codec::Pcma],
        codecs => codecs.to_vec(),
    };
    Local {
        address,
        session: 1,
        version: 1,
        codecs,
    }
}

async fn serve(shared: Arc<Shared>, mut invites: mpsc::Receiver<InviteIn>) {
    loop {
        let invite = tokio::select! {
            invite = invites.recv() => invite,
            () = shared.stop.cancelled() => None,
        };
        let Some(invite) = invite else { return };
        let phone = Arc::clone(&shared);
        shared.calls.spawn(Box::pin(async move {
            let call = invite.leg.call_id();
            let by_far_end = phone.take(invite, &call).await;
            phone.tell(PhoneEvent::Over {
                call,
                refused: None,
                by_far_end,
            });
        }));
    }
}

impl Shared {
    /// Nobody has to listen to a phone: an event that finds no room is lost.
    fn tell(&self, event: PhoneEvent) {
        let _ = self.events.try_send(event);
    }

    /// The leg once the far end answered, or the code of its refusal.
    async fn placed(
        &self,
        mut sip: SipLeg,
        offer: &str,
    ) -> Result<(SipLeg, sdp::Negotiated), Option<u16>> {
        loop {
            let event = tokio::select! {
                event = sip.next() => event,
                () = self.stop.cancelled() => return Err(None),
            };
            match event {
                SipEvent::Answered(answer) => {
                    let agreed = answer.and_then(|a| sdp::accept_answer(&a, offer).ok());
                    return agreed.map(|agreed| (sip, agreed)).ok_or(None);
                }
                SipEvent::Refused { code, .. } => return Err(Some(code)),
                SipEvent::Silent | SipEvent::Failed(_) | SipEvent::Ended => return Err(None),
                _ => {}
            }
        }
    }

    /// Rings, and answers or not. True if the far end ended it.
    async fn take(&self, invite: InviteIn, call: &str) -> bool {
        let InviteIn {
            from,
            to,
            source: _,
            sdp: offer,
            leg: mut sip,
            permit: _permit,
            phone: _,
        } = invite;
        self.tell(PhoneEvent::Rang {
            call: call.to_owned(),
            from,
            to: to.clone(),
        });
        if !self.behaviour.ring.is_zero() {
            sip.ring();
            let until = match self.behaviour.pick_up {
                PickUp::Never => None,
                PickUp::Answer | PickUp::Reject(_) => Some(Instant::now() + self.behaviour.ring),
            };
            if self.gone_by(&mut sip, until).await {
                return true;
            }
        }
        if let PickUp::Reject(code) = self.behaviour.pick_up {
            sip.reject(code);
            return false;
        }
        let Ok(media) = self.media.open() else {
            sip.reject(503);
            return false;
        };
        let local = local(media.local, &self.behaviour);
        let Some(Ok((answer, agreed))) = offer.map(|o| sdp::answer(&o, &local)) else {
            sip.reject(488);
            return false;
        };
        sip.accept(answer.clone());
        let leg = Leg::new(sip, media, MediaSource::default(), local, answer, agreed);
        self.talk(leg, call, &to).await
    }

    /// Whether the caller gave up before `until`.
    async fn gone_by(&self, sip: &mut SipLeg, until: Option<Instant>) -> bool {
        let wait = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(wait);
        loop {
            tokio::select! {
                event = sip.next() => if matches!(event, SipEvent::Ended) { return true },
                () = &mut wait => return false,
                () = self.stop.cancelled() => return false,
            }
        }
    }

    /// Presses, listens and hangs up. True if the far end ended it.
    async fn talk(&self, mut leg: Leg, call: &str, called: &str) -> bool {
        let answered = Instant::now();
        let call = call.to_owned();
        self.tell(PhoneEvent::Answered { call: call.clone() });
        leg.media.music(self.behaviour.says.clone());
        if let Some(folder) = &self.behaviour.record_to {
            // The far end chose this text: only what cannot lead elsewhere becomes a name.
            let name: String = called
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '+')
                .collect();
            leg.media.record(RecordPlan {
                path: folder.join(format!("heard-{name}.wav")),
                ..RecordPlan::default()
            });
        }
        let mut presses = self.behaviour.presses.clone();
        presses.sort_by_key(|p| p.after);
        let mut presses = presses.into_iter().peekable();
        let end = self.behaviour.hang_up_after.map(|after| answered + after);
        loop {
            let press = presses.peek().map(|p| answered + p.after);
            tokio::select! {
                event = leg.sip.next() => match event {
                    SipEvent::Reoffer(reoffer) => leg.reoffer(reoffer).await,
                    SipEvent::Acked(answer) => leg.acked(answer),
                    SipEvent::Reanswered(answer) => leg.reanswered(answer),
                    SipEvent::Refreshed(answer) => leg.refreshed(answer),
                    SipEvent::Ended | SipEvent::Failed(_) => return true,
                    _ => {}
                },
                event = leg.media.events.recv() => match event {
                    Some(MediaEvent::KeyDown(key, _)) => {
                        self.tell(PhoneEvent::Heard { call: call.clone(), key: key.char() });
                    }
                    Some(MediaEvent::Closed(_)) | None => {
                        leg.close(41);
                        return false;
                    }
                    Some(_) => {}
                },
                () = until(press) => if let Some(Press { key, .. }) = presses.next() {
                    let how = match self.behaviour.digits {
                        Digits::Rfc4733 => SendDigits::Rfc4733,
                        Digits::Inband => SendDigits::Inband,
                    };
                    leg.media.send_digits(vec![key], how);
                    self.tell(PhoneEvent::Pressed { call: call.clone(), key: key.char() });
                },
                () = until(end) => {
                    leg.close(16);
                    return false;
                }
                () = self.stop.cancelled() => {
                    leg.close(16);
                    return false;
                }
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
