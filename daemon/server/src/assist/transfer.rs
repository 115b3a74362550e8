//! Transfers: somebody else is called, hears what he is to know, and the two are joined, or
//! the caller's side takes the call over.

use std::time::Duration;

use helpline_core::audio::mix::Scene;
use helpline_core::call::{CallReport, End};
use helpline_core::id::AttemptId;
use helpline_core::ivr::io::{Hours, TransferMode, TransferOrder, TransferReply};
use helpline_core::phone::PhoneNumber;
use tokio::sync::oneshot;

use super::{Asking, Assist};
use crate::voice::{Call, CallCommand, CallEvent, CallPlan, EngineHandle, Talk, VoiceError};

/// The flow that the other side runs.
const GUEST_FLOW: &str = "guest";
/// Heard by the caller while it rings.
pub(super) const MUSIC: &str = "hold/default";

/// A call whose place was taken ends within this time.
pub(super) const REPLACED: Duration = Duration::from_secs(5);

/// Whom to call, and by what.
pub(super) struct Way {
    trunk: String,
    to: PhoneNumber,
}

impl Way {
    /// To a telephone that registers here.
    pub(super) fn to_phone(username: &str) -> Way {
        Way {
            trunk: format!("phone:{username}"),
            to: PhoneNumber::from_row(username),
        }
    }
}

impl Assist {
    /// Lets the caller talk to somebody; returns when they have talked or will not.
    pub(super) async fn transfer(
        &self,
        engine: &EngineHandle,
        asking: &Asking,
        order: TransferOrder,
    ) -> TransferReply {
        let ways = match self.ways(&order.to) {
            Ok(ways) => ways,
            Err(why) => return TransferReply::Failed(why),
        };
        let music = engine.prompt(MUSIC);
        self.tell(asking, CallCommand::Music(music));
        let mut reply = TransferReply::Failed("there is no way to call".to_owned());
        for way in ways {
            let from = order.caller_id.clone();
            let placed = self.call_guest(engine, way, from, order.ring).await;
            match placed {
                Ok(guest) => {
                    reply = self.host(engine, asking, guest, &order).await;
                    break;
                }
                Err(error) => reply = TransferReply::Failed(error.to_string()),
            }
        }
        self.tell(asking, CallCommand::Music(None));
        reply
    }

    /// A telephone of ours by its name, else a number that may be dialled, by every trunk.
    fn ways(&self, to: &str) -> Result<Vec<Way>, String> {
        if self.config.phone.iter().any(|phone| phone.username == to) {
            return Ok(vec![Way::to_phone(to)]);
        }
        let region = self.config.dial.region.as_deref();
        let number = PhoneNumber::parse(to, region).map_err(|e| format!("{to:?}: {e}"))?;
        let rules = self.config.dial_rules();
        rules.check(&number).map_err(|e| e.to_string())?;
        let trunks = self.config.trunk.iter();
        let ways = trunks.map(|trunk| Way {
            trunk: trunk.name.clone(),
            to: number.clone(),
        });
        Ok(ways.collect())
    }

    /// Calls somebody who hears the caller, not a flow.
    pub(super) async fn call_guest(
        &self,
        engine: &EngineHandle,
        way: Way,
        caller_id: Option<String>,
        ring_limit: Duration,
    ) -> Result<Call, VoiceError> {
        let call_id = engine.new_call_id();
        self.voice
            .place(CallPlan {
                attempt: AttemptId::from_text(&call_id),
                call_id,
                trunk: way.trunk,
                to: way.to,
                caller_id,
                ring_limit,
                flow: GUEST_FLOW.to_owned(),
                queue: String::new(),
                input: serde_json::Map::new(),
                language: self.config.site.language.clone(),
                hours: Hours::ALWAYS,
            })
            .await
    }

    /// From the ringing to the end of the talk. Whoever hangs up first ends it; a caller
    /// who does is gone, and so the other one is let go.
    async fn host(
        &self,
        engine: &EngineHandle,
        asking: &Asking,
        mut guest: Call,
        order: &TransferOrder,
    ) -> TransferReply {
        let mut talk: Option<Talk> = None;
        let mut answered = false;
        let (mut whispered, mut whisper) = (None, order.whisper.clone());
        loop {
            let event = tokio::select! {
                event = guest.events.recv() => event,
                () = asking.commands.closed() => {
                    // The other side may already be gone too.
                    guest.hang_up().await;
                    return TransferReply::Done;
                }
                _ = heard(&mut whispered) => {
                    whispered = None;
                    if order.mode == TransferMode::Attended && self.give(asking, &guest).await {
                        self.let_go(guest).await;
                        return TransferReply::Given;
                    }
                    talk = self.together(engine, asking, &guest).await;
                    if talk.is_none() {
                        guest.hang_up().await;
                    }
                    continue;
                }
            };
            match event {
                Some(CallEvent::Answered) => {
                    answered = true;
                    let (said, is_said) = oneshot::channel();
                    whispered = Some(is_said);
                    let items = std::mem::take(&mut whisper);
                    if items.is_empty() {
                        // Nothing to say was said.
                        let _ = said.send(());
                    } else {
                        let _ = guest.commands.send(CallCommand::Say(items, said)).await;
                    }
                }
                Some(CallEvent::Ended(report)) => {
                    drop(talk);
                    return ended(&report, answered);
                }
                None => return TransferReply::Failed("the call broke off".to_owned()),
                Some(_) => {}
            }
        }
    }

    /// The caller's side takes our place in the guest's call; whether it does.
    async fn give(&self, asking: &Asking, guest: &Call) -> bool {
        let (to, place) = oneshot::channel();
        if guest.commands.send(CallCommand::Place(to)).await.is_err() {
            return false;
        }
        let Ok(place) = place.await else {
            return false;
        };
        let (given, is_given) = oneshot::channel();
        let command = CallCommand::GiveTo(place, given);
        if asking.commands.send(command).await.is_err() {
            return false;
        }
        is_given.await.unwrap_or(false)
    }

    /// Whose place was taken is told so by a BYE; one who forgets it is hung up on.
    async fn let_go(&self, mut guest: Call) {
        if !guest.ends(REPLACED).await {
            guest.hang_up().await;
        }
    }

    async fn together(&self, engine: &EngineHandle, asking: &Asking, guest: &Call) -> Option<Talk> {
        self.tell(asking, CallCommand::Music(None));
        let calls = [&asking.commands, &guest.commands];
        match engine.join(&calls, Scene::Talk).await {
            Ok(talk) => Some(talk),
            Err(error) => {
                tracing::warn!(%error, "a transfer could not be joined");
                None
            }
        }
    }

    /// What a call that is over needs no more.
    pub(super) fn tell(&self, asking: &Asking, command: CallCommand) {
        if asking.commands.try_send(command).is_err() {
            tracing::debug!(
                call.id = asking.caller.call_id,
                "the call no longer listens"
            );
        }
    }
}

/// Waits for the end of what is said, if something is.
async fn heard(whispered: &mut Option<oneshot::Receiver<()>>) {
    match whispered {
        // A list that broke off was said as far as it could be.
        Some(said) => drop(said.await),
        None => std::future::pending().await,
    }
}

fn ended(report: &CallReport, answered: bool) -> TransferReply {
    if answered {
        return TransferReply::Done;
    }
    match report.end {
        end if end.is_refusal() => TransferReply::Busy,
        End::RingLimit | End::Silent | End::Cancelled => TransferReply::NoAnswer,
        End::Refused {
            code: 408 | 480 | 487,
            ..
        } => TransferReply::NoAnswer,
        other => TransferReply::Failed(format!("{other:?}")),
    }
}
