//! Many callers at once, for the bench: one SIP user agent, one RTP socket a call, and a
//! thread that speaks, presses keys and notes when each packet came. It shares no media
//! code with the engine: what it measures it must not be.

mod arrivals;
mod bystander;
mod line;
mod pump;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use helpline_core::audio::Clip;
use helpline_core::rng::Rng;
use helpline_core::sdp::{self, Codec, Local};
use helpline_core::sip::network::Network;
use helpline_core::sip::timer::Limits;
use tokio::sync::Semaphore;

use self::pump::Pump;
use super::sip::{InviteOut, Listen, Peers, Route, SipConfig, SipEvent, SipLeg, SipStack};
use crate::clock::Clock;

pub use arrivals::Heard;
pub use bystander::{Bystander, MachineLate};
pub use line::Presses;

/// How long the end may take.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long a call may take to its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Callers on this machine.
pub struct Load {
    stack: Arc<SipStack>,
    pump: Pump,
    target: SocketAddr,
    seed: std::sync::Mutex<Rng>,
}

/// A call that was answered. Dropping it hangs up.
pub struct LoadCall {
    sip: SipLeg,
    line: Option<u64>,
}

impl Load {
    /// Starts the callers; they call `target` and say `speech` again and again.
    ///
    /// # Errors
    /// No socket, no thread.
    pub async fn start(target: SocketAddr, speech: Arc<Clip>, seed: u64) -> anyhow::Result<Load> {
        let mut rng = Rng::new(seed);
        let (stack, _) = SipStack::start(SipConfig {
            listen: Listen::udp(SocketAddr::new(own_address(target)?, 0)),
            public: None,
            user_agent: "helpline bench".into(),
            peers: Arc::new(Peers::new(
                Network::parse(&target.ip().to_string())
                    .into_iter()
                    .collect(),
            )),
            admission: Arc::new(Semaphore::new(0)),
            demand: None,
            limits: Limits::default(),
            phones: None,
            clock: Clock::system(),
            rng: rng.derive(1),
        })
        .await?;
        let pump = Pump::start(speech, rng.next_u64())?;
        Ok(Load {
            stack,
            pump,
            target,
            seed: rng.into(),
        })
    }

    /// Calls `user` and waits for the answer. With `talk`, the caller speaks and listens
    /// from then on; without, nothing but signalling happens.
    ///
    /// # Errors
    /// Why the call was not answered.
    pub async fn call(&self, user: &str, talk: bool) -> anyhow::Result<LoadCall> {
        let socket = line::socket(self.stack.local().ip())?;
        let local = Local {
            address: socket.local_addr()?,
            session: 1,
            version: 1,
            codecs: vec![Codec::Pcmu],
        };
        let offer = sdp::offer(&local);
        let mut sip = self.stack.invite(InviteOut {
            route: Route::udp(self.target),
            host: self.target.to_string(),
            to: user.to_owned(),
            from: "bench".into(),
            call_id: None,
            sdp: offer.clone(),
            credential: None,
        })?;
        let answer = tokio::time::timeout(ANSWER_LIMIT, answered(&mut sip))
            .await
            .context("not answered within 20 s")??;
        let agreed = sdp::accept_answer(&answer, &offer)?;
        let line = if talk {
            socket.connect(agreed.remote)?;
            let seed = {
                let mut rng = self.seed.lock().unwrap_or_else(|e| e.into_inner());
                rng.next_u64()
            };
            Some(self.pump.add(socket, &agreed, seed))
        } else {
            None
        };
        Ok(LoadCall { sip, line })
    }

    /// From now on packets are noted, and keys are pressed if `presses` says so, until
    /// [`Load::heard`].
    pub fn measure(&self, presses: Option<Presses>) {
        self.pump.measure(presses);
    }

    /// No more keys, so that what was pressed last can still be answered.
    pub fn rest(&self) {
        self.pump.rest();
    }

    /// What all lines heard since [`Load::measure`], and the end of it.
    #[must_use]
    pub fn heard(&self) -> Heard {
        self.pump.heard()
    }

    /// Ends the callers; calls still up must have been dropped before.
    pub async fn stop(self) {
        self.stack.shutdown(STOP_LIMIT).await;
    }

    /// The line of a call that is over says nothing more.
    fn forget(&self, line: u64) {
        self.pump.remove(line);
    }

    /// Waits until the far end hangs up; for calls that must not end.
    pub async fn ended(&self, call: &mut LoadCall) {
        while !matches!(call.sip.next().await, SipEvent::Ended | SipEvent::Failed(_)) {}
        if let Some(line) = call.line.take() {
            self.forget(line);
        }
    }

    /// Hangs up.
    pub fn hang_up(&self, call: LoadCall) {
        if let Some(line) = call.line {
            self.forget(line);
        }
        call.sip.bye(16);
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Load({})", self.target)
    }
}

impl std::fmt::Debug for LoadCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoadCall({:?})", self.line)
    }
}

async fn answered(sip: &mut SipLeg) -> anyhow::Result<String> {
    loop {
        match sip.next().await {
            SipEvent::Answered(Some(answer)) => return Ok(answer),
            SipEvent::Answered(None) => bail!("answered without SDP"),
            SipEvent::Refused { code, .. } => bail!("refused with {code}"),
            SipEvent::Silent => bail!("no answer to the INVITE"),
            SipEvent::Failed(why) => bail!("the INVITE failed: {why}"),
            SipEvent::Ended => bail!("ended before the answer"),
            _ => {}
        }
    }
}

/// The address of this machine that `target` can send to.
fn own_address(target: SocketAddr) -> anyhow::Result<std::net::IpAddr> {
    let any = if target.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let probe = std::net::UdpSocket::bind(any)?;
    probe
        .connect(target)
        .context("the target cannot be reached")?;
    Ok(probe.local_addr()?.ip())
}
