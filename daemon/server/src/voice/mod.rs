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
mod ring;
mod secrecy;
mod sip;
pub(crate) mod sound;
mod takes;
mod talk;
mod trunk;
mod tts;

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
    CallbackOrder, CallbackReply, Delivery, FindReply, HelpChannel, Hours, HttpOrder, HttpReply,
    Input, Join, Lookup, OpId, QueueView, Room, RoomReply, SayItem, TraceLine, TransferOrder,
    TransferReply, Why,
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
    /// The number shown instead of the trunk's own.
    pub caller_id: Option<String>,
    /// How long it may ring.
    pub ring_limit: Duration,
    /// Flow to run after the answer.
    pub flow: String,
    /// The queue it is for, `call.queue` in the flow.
    pub queue: String,
    /// Values for the flow's input.
    pub input: serde_json::Map<String, Value>,
    /// Customer's language.
    pub language: String,
    /// When the queue is open (`calendar` in flows).
    pub hours: Hours,
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

impl Call {
    /// Asks for its end; one that is over has nobody who listens.
    pub(crate) async fn hang_up(&self) {
        let _ = self.commands.send(CallCommand::HangUp).await;
    }

    /// Waits for its end; false if that takes longer than `limit`.
    pub(crate) async fn ends(&mut self, limit: Duration) -> bool {
        let ended = async {
            while let Some(event) = self.events.recv().await {
                if let CallEvent::Ended(_) = event {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, ended).await.is_ok()
    }
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
    /// The flow no longer waits for this join.
    Leave(OpId),
    /// The flow asks the desk to make, move or settle a request.
    Store(OpId, CallbackOrder),
    /// The flow asks for something else; answered by [`CallCommand::Reply`].
    Ask(OpId, Ask),
    /// The flow tells another service something; nobody waits for it.
    Webhook(HttpOrder),
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
    /// The telephone at the far end asks for a transfer.
    Transfer(Transfer),
    /// A line of the trace, with milliseconds since the answer.
    Trace(u64, TraceLine),
    /// The end, once, last.
    Ended(CallReport),
}

/// A transfer that a telephone of ours asks for: whoever it talks to is to talk to
/// somebody else. The owner of the call carries it out, or drops it, which declines.
#[derive(Debug)]
pub struct Transfer {
    /// To whom.
    pub to: TransferTo,
    /// SIP codes for the telephone: 180 while it rings, at last 200 or why not.
    pub progress: mpsc::Sender<u16>,
}

/// Where a transfer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferTo {
    /// To another telephone of ours, by its user name.
    Phone(String),
    /// To a number the dial rules allow.
    Number(PhoneNumber),
    /// To the far end of another call of ours, by its Call-ID: the two are to be joined.
    Call(String),
}

/// What a flow asks of the world outside its call.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Another service.
    Http(HttpOrder),
    /// A customer's record.
    Find(Lookup),
    /// To send a message.
    Deliver(Delivery),
    /// To let the caller talk to somebody else.
    Transfer(TransferOrder),
    /// To bring the caller into a room.
    Conference(Room),
}

/// The answer to an [`Ask`] of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// How the service answered.
    Http(HttpReply),
    /// What was found.
    Found(FindReply),
    /// Whether the message is durable.
    Delivered(bool),
    /// How the transfer ended.
    Transferred(TransferReply),
    /// Why the call is not in its room.
    LeftRoom(RoomReply),
}

impl Ask {
    /// The answer when there is nobody to answer.
    #[must_use]
    pub fn refused(&self) -> Reply {
        let why = || "nobody serves this call".to_owned();
        match self {
            Ask::Http(_) => Reply::Http(HttpReply::Failed(why())),
            Ask::Find(_) => Reply::Found(FindReply::Failed),
            Ask::Deliver(_) => Reply::Delivered(false),
            Ask::Transfer(_) => Reply::Transferred(TransferReply::Failed(why())),
            Ask::Conference(_) => Reply::LeftRoom(RoomReply::Failed),
        }
    }
}

impl Reply {
    fn input(self, op: OpId) -> Input {
        match self {
            Reply::Http(reply) => Input::Http(op, reply),
            Reply::Found(reply) => Input::Found(op, reply),
            Reply::Delivered(done) => Input::Delivered(op, done),
            Reply::Transferred(reply) => Input::Transferred(op, reply),
            Reply::LeftRoom(reply) => Input::LeftRoom(op, reply),
        }
    }
}

/// What may be told to a call.
#[derive(Debug)]
pub enum CallCommand {
    /// Answer to [`CallEvent::Join`].
    Joined(OpId, HelpChannel),
    /// Answer to [`CallEvent::Join`]: not taken.
    LeftQueue(OpId, Why),
    /// The agent has left, the caller is still there.
    TalkEnded(OpId),
    /// The agent is lost: the caller waits again, with the same join.
    TalkBroke(OpId),
    /// Answer to [`CallEvent::Store`].
    Stored(OpId, CallbackReply),
    /// Answer to [`CallEvent::Ask`].
    Reply(OpId, Reply),
    /// How the line stands for the join with this number.
    Queue(OpId, QueueView),
    /// Play clips to the far end over the flow; told when they were heard, dropped if
    /// they were not.
    Say(Vec<SayItem>, oneshot::Sender<()>),
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
    /// Put the far end on hold by re-INVITE, or take it back.
    Hold(bool),
    /// Tell our place in this call, for [`CallCommand::GiveTo`]. Not answered before the
    /// call is.
    Place(oneshot::Sender<String>),
    /// Ask the far end, which is put on hold before, to take our place in another call;
    /// whether it has. If not, it is off hold again.
    GiveTo(String, oneshot::Sender<bool>),
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
    /// The telephone of ours that it is.
    pub phone: Option<String>,
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
