//! Calls: SIP signalling, media, and one task a call that owns its flow machine.
//! `voice` knows no queue and no database: what it learns leaves as [`CallEvent`]s.

mod call_task;
mod counters;
mod dial;
mod engine;
pub mod flows;
mod leg;
pub mod load;
pub mod media;
pub mod phone;
pub mod prompts;
mod registrar;
mod reporter;
mod resolve;
mod secrecy;
mod sip;
pub(crate) mod sound;
mod talk;
mod trunk;

pub use counters::EngineCounters;
pub use engine::{Engine, EngineConfig, EngineError, EngineHandle, FlowSource};
pub use talk::Talk;

use std::sync::Arc;
use std::time::Duration;

use helpline_core::audio::Clip;
use helpline_core::audio::answer::{Answerer, Features, Limits};
use helpline_core::call::CallReport;
use helpline_core::id::AttemptId;
use helpline_core::ivr::io::{
    CallbackOrder, CallbackReply, HelpChannel, Join, OpId, TraceLine, Why,
};
use helpline_core::phone::PhoneNumber;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use media::{LegRef, RecordEnd, RecordPlan};

/// Handle to whatever places and answers calls: the engine, or a fake trunk in tests.
#[derive(Clone, Debug)]
pub struct Voice {
    to: mpsc::Sender<VoiceRequest>,
}

/// What is asked of the engine.
#[derive(Debug)]
pub enum VoiceRequest {
    /// Place a call.
    Place {
        /// What to call and how.
        plan: CallPlan,
        /// The call, or why it was not even tried.
        reply: oneshot::Sender<Result<Call, VoiceError>>,
    },
}

/// An outgoing call as `dispatch` wants it. The attempt row is already committed.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// The attempt this call is.
    pub attempt: AttemptId,
    /// SIP Call-ID, fixed in the attempt row.
    pub call_id: String,
    /// Name of the trunk to use.
    pub trunk: String,
    /// Whom to call.
    pub to: PhoneNumber,
    /// How long it may ring.
    pub ring_limit: Duration,
    /// Flow to run after the answer.
    pub flow: String,
    /// Values for the flow's input.
    pub input: serde_json::Map<String, Value>,
    /// Customer's language.
    pub language: String,
    /// Whether the queue is open now (`calendar.open` in flows).
    pub open: bool,
}

/// A call in progress, seen from outside `voice`. Dropping it does not end the call.
#[derive(Debug)]
pub struct Call {
    /// SIP Call-ID.
    pub id: String,
    /// What happens; closed after [`CallEvent::Ended`].
    pub events: mpsc::Receiver<CallEvent>,
    /// Answers to what the flow asked, and orders.
    pub commands: mpsc::Sender<CallCommand>,
}

/// What happens on a call, in order.
#[derive(Debug)]
pub enum CallEvent {
    /// A 180 or 183 came.
    Ringing,
    /// The customer answered.
    Answered,
    /// The flow asks to join the help channel with the place the request holds.
    Join(OpId, Join),
    /// The flow asks the desk to make, move or settle a request.
    Store(OpId, CallbackOrder),
    /// Who answered, as far as sound tells, and what that rests on: once after
    /// [`CallCommand::Detect`].
    Answerer(Answerer, Features),
    /// The machine that answered records from now on.
    MachineListens {
        /// Its beep was heard; otherwise it fell silent or took too long.
        after_beep: bool,
    },
    /// A recording ended: its number, why, and how long it is. `None`: with the call.
    Recorded(u32, Option<RecordEnd>, Duration),
    /// A line of the trace, with milliseconds since the answer.
    Trace(u64, TraceLine),
    /// The end, once, last.
    Ended(CallReport),
}

/// What may be told to a call.
#[derive(Debug)]
pub enum CallCommand {
    /// Answer to [`CallEvent::Join`].
    Joined(OpId, HelpChannel),
    /// Answer to [`CallEvent::Join`]: not taken.
    LeftQueue(OpId, Why),
    /// Answer to [`CallEvent::Store`].
    Stored(OpId, CallbackReply),
    /// Lend the leg, so that it can be joined to others ([`EngineHandle::join`]). Not
    /// answered before the call is.
    Lend(oneshot::Sender<LegRef>),
    /// Music beneath the prompts, round and round; `None` ends it. In a talk it is heard
    /// on hold only.
    Music(Option<Arc<Clip>>),
    /// Record, in place of what is recorded; told by [`CallEvent::Recorded`].
    Record(RecordPlan),
    /// End the recording.
    StopRecording,
    /// Silence in place of both sides from now on, or sound again.
    PauseRecording(bool),
    /// Find out who answered, beside whatever the flow plays.
    Detect(Limits),
    /// End the call: CANCEL before the answer, BYE after it.
    HangUp,
}

/// A caller who phoned in; the flow already runs when this is handed over.
#[derive(Debug)]
pub struct Incoming {
    /// The caller's number, when given and readable.
    pub from: Option<PhoneNumber>,
    /// User part of the called URI.
    pub to: String,
    /// The call; its first event is `Answered`.
    pub call: Call,
}

/// Why a call was not even tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoiceError {
    /// No trunk of that name.
    #[error("no trunk is named {0:?}")]
    NoTrunk(String),
    /// No RTP port or call slot is free.
    #[error("no free channel")]
    NoChannel,
    /// The daemon is stopping.
    #[error("stopping")]
    Draining,
    /// The engine is gone or failed inside.
    #[error("voice engine: {0}")]
    Internal(String),
}

impl Voice {
    /// A handle and the receiving end that an engine, or a test, serves.
    #[must_use]
    pub fn channel() -> (Voice, mpsc::Receiver<VoiceRequest>) {
        let (to, from) = mpsc::channel(256);
        (Voice { to }, from)
    }

    /// Places a call. The INVITE leaves after this returns `Ok`.
    ///
    /// # Errors
    /// [`VoiceError`]: nothing was sent.
    pub async fn place(&self, plan: CallPlan) -> Result<Call, VoiceError> {
        let (reply, answer) = oneshot::channel();
        let gone = || VoiceError::Internal("the engine has stopped".into());
        self.to
            .send(VoiceRequest::Place { plan, reply })
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests;
