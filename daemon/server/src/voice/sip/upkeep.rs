//! What a dialog needs while it stands: refreshes (RFC 4028) and offers of our own, one
//! at a time. An offer that crosses one of the peer waits and is made again (RFC 3261
//! section 14.1).

use std::time::Duration;

use helpline_core::rng::Rng;
use helpline_core::sip::timer::{self, Agreed, Asked, Input, Limits, Output, Timer};
use helpline_core::time::Time;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::headers::make_header;
use rsipstack::sip::{Header, Headers, Response, StatusCodeKind};
use tokio::task::JoinHandle;

use super::auth::is_local;
use super::leg::body;
use super::phones::fields;
use super::stack::sdp_type;
use crate::clock::Clock;

/// How often an offer that crosses one of the peer is made again.
const GLARES_MAX: u32 = 5;

/// What came of the upkeep.
#[derive(Debug)]
pub(super) enum Upkept {
    /// The session is dead.
    Expired,
    /// A refresh by re-INVITE was answered with this description.
    Refreshed(Option<String>),
    /// Our offer was answered with this description, or refused with this code; 408 also
    /// if nothing came.
    Offered(Result<Option<String>, u16>),
}

/// A request of ours that is under way.
#[derive(Debug)]
struct Running {
    /// Our offer; `None` for a refresh.
    offer: Option<Offer>,
    /// It carries a description.
    describes: bool,
    task: JoinHandle<Option<Response>>,
}

#[derive(Debug)]
struct Offer {
    sdp: String,
    at: Time,
    glares: u32,
}

/// The upkeep of one dialog.
#[derive(Debug)]
pub(super) struct Upkeep {
    clock: Clock,
    rng: Rng,
    limits: Limits,
    timer: Timer,
    allows_update: bool,
    /// Our description as last sent: what a refresh by re-INVITE repeats.
    description: Option<String>,
    offer: Option<Offer>,
    running: Option<Running>,
}

impl Upkeep {
    pub(super) fn new(clock: Clock, rng: Rng, limits: Limits) -> Self {
        Upkeep {
            limits,
            clock,
            rng,
            timer: Timer::default(),
            allows_update: false,
            description: None,
            offer: None,
            running: None,
        }
    }

    /// A 2xx agreed on this, in either direction.
    pub(super) fn agreed(&mut self, agreed: Agreed) {
        self.timer.handle(self.clock.time(), Input::Agreed(agreed));
    }

    /// What we want of session timers.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Our description as last sent.
    pub(super) fn described(&mut self, sdp: &str) {
        self.description = Some(sdp.to_owned());
    }

    /// Notes from a message of the peer whether it knows UPDATE; one that lists no methods
    /// says nothing.
    pub(super) fn allows(&mut self, headers: &Headers) {
        let mut listed = fields(headers, "Allow")
            .flat_map(|v| v.split(','))
            .peekable();
        if listed.peek().is_some() {
            self.allows_update = listed.any(|m| m.trim() == "UPDATE");
        }
    }

    /// Makes an offer as soon as nothing else is under way; the last one wins.
    pub(super) fn offer(&mut self, sdp: String) {
        let at = self.clock.time();
        self.offer = Some(Offer { sdp, at, glares: 0 });
    }

    /// Whether an offer of ours is under way: one of the peer gets a 491.
    pub(super) fn is_offering(&self) -> bool {
        self.running.as_ref().is_some_and(|r| r.describes)
    }

    /// Waits for the next thing to tell. Cancel-safe.
    pub(super) async fn next(&mut self, dialog: &InviteDialog) -> Upkept {
        loop {
            if let Some(running) = &mut self.running {
                let response = (&mut running.task).await.ok().flatten();
                if let Some(upkept) = self.finished(response) {
                    return upkept;
                }
                continue;
            }
            let now = self.clock.time();
            match self.timer.poll() {
                Some(Output::Expired) => return Upkept::Expired,
                Some(Output::Refresh) => {
                    self.refresh(dialog);
                    continue;
                }
                None => {}
            }
            if let Some(offer) = self.offer.take_if(|o| o.at <= now) {
                let sdp = Some(offer.sdp.clone());
                self.send(dialog, Some(offer), sdp);
                continue;
            }
            let due = [self.timer.deadline(), self.offer.as_ref().map(|o| o.at)];
            match due.into_iter().flatten().min() {
                Some(at) => tokio::time::sleep(at.since(now)).await,
                None => std::future::pending().await,
            }
            self.timer.handle(self.clock.time(), Input::Timeout);
        }
    }

    fn refresh(&mut self, dialog: &InviteDialog) {
        let sdp = self.description.clone().filter(|_| !self.allows_update);
        self.send(dialog, None, sdp);
    }

    /// A re-INVITE with a description, or an UPDATE without.
    fn send(&mut self, dialog: &InviteDialog, offer: Option<Offer>, sdp: Option<String>) {
        let refresher = Some(timer::Refresher::Uac);
        let mut headers = vec![
            make_header("Supported", "timer, replaces".into()),
            make_header(
                "Session-Expires",
                timer::request_field(self.limits, None, refresher),
            ),
            make_header("Min-SE", self.limits.least.to_string()),
        ];
        let (dialog, describes) = (dialog.clone(), sdp.is_some());
        let task = tokio::spawn(async move {
            let done = match sdp {
                Some(sdp) => {
                    headers.push(sdp_type());
                    dialog.reinvite(Some(headers), Some(sdp.into_bytes())).await
                }
                None => dialog.update(Some(headers), None).await,
            };
            done.unwrap_or_else(|error| {
                tracing::debug!(%error, "a request within a dialog failed");
                None
            })
        });
        self.running = Some(Running {
            offer,
            describes,
            task,
        });
    }

    fn finished(&mut self, response: Option<Response>) -> Option<Upkept> {
        let running = self.running.take()?;
        let now = self.clock.time();
        let response = response.filter(|r| !is_local(r));
        let code = response.as_ref().map_or(408, |r| r.status_code.code());
        if let Some(response) = &response
            && response.status_code.kind() == StatusCodeKind::Successful
        {
            let expires = fields(&response.headers, "Session-Expires").next();
            self.timer
                .handle(now, Input::Agreed(timer::accepted(self.limits, expires)));
            let answer = body(&response.body);
            let Some(offer) = running.offer else {
                return running.describes.then_some(Upkept::Refreshed(answer));
            };
            self.description = Some(offer.sdp);
            return Some(Upkept::Offered(Ok(answer)));
        }
        let Some(mut offer) = running.offer else {
            self.timer.handle(now, Input::Failed(code));
            return None;
        };
        if code != 491 || offer.glares >= GLARES_MAX {
            return Some(Upkept::Offered(Err(code)));
        }
        offer.glares += 1;
        offer.at = now + self.pause();
        // A newer one takes its place.
        self.offer.get_or_insert(offer);
        None
    }

    /// 2.1 to 4 s, in steps of 10 ms (RFC 3261 section 14.1).
    fn pause(&mut self) -> Duration {
        Duration::from_millis(2_100 + 10 * self.rng.below(190))
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.task.abort();
        }
    }
}

/// What a request says about session timers.
pub(super) fn asked(headers: &Headers) -> Asked<'_> {
    let knows = ["Supported", "Require"].into_iter();
    let mut options = knows
        .flat_map(|name| fields(headers, name))
        .flat_map(|v| v.split(','));
    Asked {
        session_expires: fields(headers, "Session-Expires").next(),
        min_se: fields(headers, "Min-SE").next(),
        supports: options.any(|o| o.trim().eq_ignore_ascii_case("timer")),
    }
}

/// The fields of a 2xx.
pub(super) fn answer_fields(agreed: &Agreed) -> Vec<Header> {
    let mut headers = vec![
        make_header("Supported", "timer, replaces".into()),
        make_header("Session-Expires", agreed.field()),
    ];
    if agreed.firm {
        headers.push(make_header("Require", "timer".into()));
    }
    headers
}
