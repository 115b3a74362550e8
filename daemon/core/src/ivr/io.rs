//! What goes into a flow machine and what comes out. The shell carries these between
//! the machine, the media thread of the leg and the desk; it decides nothing.

mod order;

pub use order::*;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audio::answer::Answerer;
use crate::phone::PhoneNumber;
use crate::time::Wall;

/// A key of the telephone: `0`-`9`, `*`, `#`, `A`-`D`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "char", into = "char")]
pub struct Key(char);

impl From<Key> for char {
    fn from(key: Key) -> char {
        key.0
    }
}

impl TryFrom<char> for Key {
    type Error = String;

    fn try_from(c: char) -> Result<Key, String> {
        Key::new(c).ok_or_else(|| format!("{c:?} is no key"))
    }
}

impl Key {
    /// The key 0.
    pub const ZERO: Key = Key('0');

    /// The key written as `c`, upper case; `None` if there is no such key.
    #[must_use]
    pub fn new(c: char) -> Option<Key> {
        let c = c.to_ascii_uppercase();
        matches!(c, '0'..='9' | '*' | '#' | 'A'..='D').then_some(Key(c))
    }

    /// The key's character.
    #[must_use]
    pub const fn char(self) -> char {
        self.0
    }
}

/// Which keys stop audio on the media thread at once: all or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barge {
    /// No key stops it (`barge_in: false`).
    Never,
    /// Any key stops it within one frame.
    AnyKey,
}

/// Names one outside act of a machine; a reply with an id nobody awaits is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId(pub u32);

/// What happened, given to `handle`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// A key went down (once a press, whatever way it came).
    KeyDown(Key),
    /// The key was let go.
    KeyUp(Key),
    /// The last sample of a [`Output::Say`] was handed to the wire.
    Spoken(OpId),
    /// The deadline of the machine has come.
    Timeout,
    /// The customer hung up.
    Hangup,
    /// Answer to [`Output::Join`]: the help channel takes the call. In a talk: another agent
    /// took over.
    Joined(OpId, HelpChannel),
    /// Answer to [`Output::Join`]: nobody and nothing took the call. In a talk: the agent was
    /// lost and nobody else came.
    LeftQueue(OpId, Why),
    /// The agent has left the talk of this [`Output::Join`], and the caller is still there.
    TalkEnded(OpId),
    /// The agent was lost: the caller waits in line again, under the same number.
    TalkBroke(OpId),
    /// How the line stands for a call that waits in it.
    Queue(OpId, QueueView),
    /// Answer to [`Output::Store`]: committed, or why not.
    Stored(OpId, CallbackReply),
    /// Answer to [`Output::Http`].
    Http(OpId, HttpReply),
    /// Answer to [`Output::Find`]: the record, or that there is none.
    Found(OpId, FindReply),
    /// Answer to [`Output::Record`]: the recording has ended.
    Recorded(OpId, Take),
    /// Answer to [`Output::Deliver`]: whether it is on its way, durably.
    Delivered(OpId, bool),
    /// Answer to [`Output::Transfer`].
    Transferred(OpId, TransferReply),
    /// Answer to [`Output::Conference`]: the room is full, or the call has left it.
    LeftRoom(OpId, RoomReply),
    /// Who answered, as far as sound tells: once after [`Output::Detect`].
    Heard(Answerer),
    /// The machine that answered records from now on: its beep came, or it fell silent.
    MachineListens,
    /// How the lines stand from now on.
    Queues(#[serde(with = "shared")] Arc<Queues>),
}

/// What the machine wants, drained by `poll`.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Play these items one after another, as one list; then `Spoken(op)`.
    Say {
        /// Comes back in `Spoken` and goes into `Stop`.
        op: OpId,
        /// What to play.
        items: Vec<SayItem>,
        /// The words, for traces and captions.
        text: String,
        /// Which keys stop it on the media thread.
        barge: Barge,
    },
    /// Stop what `op` plays, within one frame.
    Stop(OpId),
    /// Digits of a secret are being keyed: the recorder writes silence meanwhile.
    Mask(bool),
    /// Stand in line, or take the place the request holds, and join the help channel.
    Join(OpId, Join),
    /// The caller no longer waits for this `Join`.
    Leave(OpId),
    /// Music beneath the prompts, round and round, by its id; `None` ends it.
    Music(Option<String>),
    /// Make, move or settle a help request; what is said next waits for `Stored`.
    Store(OpId, CallbackOrder),
    /// Ask another service; then `Http(op)`.
    Http(OpId, HttpOrder),
    /// Tell another service, durably; nobody waits for it.
    Webhook(HttpOrder),
    /// Look for a customer's record; then `Found(op)`.
    Find(OpId, Lookup),
    /// Take down what the caller says; then `Recorded(op)`.
    Record(OpId, RecordOrder),
    /// Send a message to a mailbox; then `Delivered(op)`.
    Deliver(OpId, Delivery),
    /// Let the caller talk to somebody else; then `Transferred(op)`.
    Transfer(OpId, TransferOrder),
    /// Bring the caller into a room with others; `LeftRoom(op)` at its end.
    Conference(OpId, Room),
    /// Find out who answered, beside whatever is said: a verdict within this time.
    Detect(Duration),
    /// One line of the call's trace.
    Trace(TraceLine),
    /// The flow is over: hang up with this Q.850 cause.
    End {
        /// Q.850 cause for the Reason header of the BYE; 16 is a normal end.
        cause: u8,
    },
}

/// One thing to play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SayItem {
    /// A recorded clip: `LOCALE/ID`, `en-US/hello.0`.
    Clip(String),
    /// Silence.
    Pause(Duration),
    /// A tone.
    Tone(ToneName),
    /// What was recorded in this call.
    Take(String),
    /// Words that a program speaks.
    Speech {
        /// In this language.
        locale: String,
        /// These.
        text: String,
    },
}

/// Tones a flow may play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToneName {
    /// 1 kHz for 200 ms.
    Beep,
    /// Busy tone.
    Busy,
    /// Ringing tone.
    Ringback,
    /// Congestion tone.
    Congestion,
}

/// Who or what took a call that joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HelpChannel {
    /// A flow of that name, run inside this machine as a frame of its own.
    Flow(String),
    /// An agent of that name; the talk lasts until [`Input::TalkEnded`].
    Agent(String),
}

/// One line of a call's trace: when, in which node, what kind, what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// Flow whose node it is.
    pub flow: String,
    /// Node in which it happened.
    pub node: String,
    /// `node` `say` `say_error` `key` `event` `exit` `set` `join` `store` `http` `webhook`
    /// `lookup` `record` `deliver` `transfer` `conference` `detect` `end`.
    pub kind: &'static str,
    /// Rest of the line; secrets are already masked.
    pub data: String,
}

/// How a flow begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Name of the flow.
    pub flow: String,
    /// Facts about the call.
    pub call: CallFacts,
    /// Values for the flow's `input`, by name.
    pub input: serde_json::Map<String, Value>,
    /// Language of the customer (BCP 47); the nearest locale of the flow is taken.
    pub language: String,
    /// The wall clock at the moment given to the first `handle`.
    pub wall: Wall,
    /// `calendar`, as of now.
    pub hours: Hours,
    /// `queues`, as of now; later ones come by [`Input::Queues`].
    pub queues: Arc<Queues>,
    /// IANA zone in which days and times are told; UTC if there is none of that name.
    pub zone: String,
    /// `env`: names and values that flows may read.
    pub env: BTreeMap<String, String>,
}

/// `calendar` in expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// Whether the desk is open.
    pub open: bool,
    /// When it opens next, now if it is open; `None`: nobody knows.
    pub next_open: Option<Wall>,
}

impl Hours {
    /// Of a desk that never closes.
    pub const ALWAYS: Hours = Hours {
        open: true,
        next_open: None,
    };
}

/// `queues` in expressions: how each line stands, by the name of its queue.
pub type Queues = BTreeMap<String, QueueFacts>;

/// One map behind every call.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Queues;

    pub(super) fn serialize<S: Serializer>(lines: &Arc<Queues>, to: S) -> Result<S::Ok, S::Error> {
        lines.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Queues>, D::Error> {
        Queues::deserialize(from).map(Arc::new)
    }
}

/// How a line stands for whoever has not joined it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFacts {
    /// How many wait in it.
    pub waiting: u32,
    /// How many may take calls.
    pub agents: u32,
    /// Upper bound of the wait of whoever joined now; `None`: nobody knows.
    pub ewt: Option<Duration>,
    /// Whether the queue is open.
    pub open: bool,
}

/// `call` in expressions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFacts {
    /// Id of the call.
    pub id: String,
    /// Number of the far end; `None` when withheld.
    pub from: Option<PhoneNumber>,
    /// Number that was called.
    pub to: String,
    /// `in` or `out`.
    pub direction: &'static str,
    /// The queue of the request that is called back; the first one for a caller.
    pub queue: String,
}
