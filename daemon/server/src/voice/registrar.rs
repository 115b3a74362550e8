//! Keeps a trunk told where we are, so that it sends us its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use helpline_core::rng::Rng;
use helpline_core::sip::registration::{Answer, Registration};
use helpline_core::sip::targets::Failure;
use tokio_util::sync::CancellationToken;

use super::sip::{Register, Route, SipStack};
use super::trunk::Trunk;
use crate::clock::Clock;

/// How long giving a registration up may keep the stop waiting.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// Pause while no target of the trunk is known or open.
const NO_TARGET_PAUSE: Duration = Duration::from_secs(5);

/// Whether a registration holds, for health and metrics.
#[derive(Debug, Default)]
pub(super) struct Registered(AtomicU8);

impl Registered {
    /// `None`: the trunk is one we do not register at.
    pub(super) fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            state => Some(state == 2),
        }
    }

    fn set(&self, holds: bool) -> Option<bool> {
        let before = self.0.swap(1 + u8::from(holds), Ordering::Relaxed);
        (before > 0).then_some(before == 2)
    }
}

/// One trunk's registration.
pub(super) struct Registrar {
    trunk: Arc<Trunk>,
    stack: Arc<SipStack>,
    clock: Clock,
    state: Registration,
    register: Register,
    /// Where the last REGISTER was granted.
    route: Option<Route>,
}

impl Registrar {
    /// For a trunk with credentials; `None` if it has none.
    pub(super) fn new(
        trunk: Arc<Trunk>,
        stack: Arc<SipStack>,
        clock: Clock,
        expires: Duration,
        mut rng: Rng,
    ) -> Option<Registrar> {
        let (username, password) = trunk.credential.clone()?;
        trunk.registered.set(false);
        let register = Register {
            host: trunk.host.clone(),
            username,
            password,
            call_id: format!("{:016x}@helpline", rng.next_u64()),
            cseq: 0,
        };
        Some(Registrar {
            state: Registration::new(clock.time(), expires, rng),
            trunk,
            stack,
            clock,
            register,
            route: None,
        })
    }

    /// Registers and refreshes until `leave`, then gives the registration up.
    pub(super) async fn run(mut self, leave: CancellationToken) {
        self.note();
        loop {
            let now = self.clock.time();
            let pause = self.state.deadline().since(now);
            let lapse = self.state.holds(now);
            tokio::select! {
                () = leave.cancelled() => break,
                () = tokio::time::sleep(pause) => Box::pin(self.refresh(&leave)).await,
                () = stream_ends(&self.stack, self.route.as_ref()), if lapse => {
                    self.route = None;
                    self.state.lost(self.clock.time());
                }
            }
            self.note();
        }
        if let Some(route) = self.route.take() {
            let unregister = self
                .stack
                .register(&mut self.register, &route, Duration::ZERO);
            // A registrar that does not answer forgets us by itself.
            let _ = tokio::time::timeout(LEAVE_LIMIT, unregister).await;
        }
    }

    async fn refresh(&mut self, leave: &CancellationToken) {
        let Some(target) = self.trunk.order().first().copied() else {
            let none = Answer::Refused(503, Some(NO_TARGET_PAUSE));
            self.state.answered(self.clock.time(), none);
            return;
        };
        let route = self.trunk.route(target);
        let expires = self.state.expires();
        let ask = self.stack.register(&mut self.register, &route, expires);
        let Some(answer) = Box::pin(leave.run_until_cancelled(ask)).await else {
            return;
        };
        match answer {
            Answer::Granted(_) => {
                self.trunk.served(target);
                self.route = Some(route);
            }
            // The next REGISTER, or call, goes to another target if there is one.
            Answer::Silent => self.trunk.failed(target, Failure::Silent),
            Answer::TooBrief(_) => {}
            Answer::Refused(code, _) => tracing::error!(
                trunk = self.trunk.name,
                code,
                "the trunk refuses our registration: it sends us no calls"
            ),
        }
        self.state.answered(self.clock.time(), answer);
    }

    fn note(&self) {
        let holds = self.state.holds(self.clock.time());
        let before = self.trunk.registered.set(holds);
        match (before, holds) {
            (None | Some(false), true) => {
                tracing::info!(trunk = self.trunk.name, "registered at the trunk");
            }
            (Some(true), false) => {
                tracing::warn!(
                    trunk = self.trunk.name,
                    "the registration at the trunk is lost"
                );
            }
            (Some(true), true) | (None | Some(false), false) => {}
        }
    }
}

async fn stream_ends(stack: &SipStack, route: Option<&Route>) {
    match route {
        Some(route) => stack.stream_ends(route).await,
        None => std::future::pending().await,
    }
}
