//! What goes into a flow machine and what comes out. The shell carries these between
//! the machine, the media thread of the leg and the desk; it decides nothing.

use std::time::Duration;

use serde_json::Value;

use crate::phone::PhoneNumber;
use crate::time::Wall;

/// A key of the telephone: `0`-`9`, `*`, `#`, `A`-`D`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(char);

impl Key {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u32);

/// What happened, given to `handle`.
#[derive(Clone, Debug, PartialEq)]
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
    /// Answer to [`Output::Join`]: joined to the help channel; for a help flow, its name.
    Joined(OpId, HelpChannel),
    /// Answer to [`Output::Join`]: nobody and nothing took the call.
    LeftQueue(OpId, Why),
    /// Answer to [`Output::Store`]: committed, or why not.
    Stored(OpId, CallbackReply),
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
    /// The customer accepts: take the place the request holds and join the help channel.
    Join(OpId, Join),
    /// Make, move or settle a help request; what is said next waits for `Stored`.
    Store(OpId, CallbackOrder),
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

/// The queue a call joins with the place and request it already holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Name of the queue.
    pub queue: String,
}

/// Who or what took a call that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelpChannel {
    /// A flow of that name, run inside this machine as a frame of its own.
    Flow(String),
}

/// Why a call left the queue untaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody took it in time.
    Timeout,
    /// Nobody is there to take it.
    NoAgents,
    /// The line is full.
    Full,
}

/// What a `callback` node orders.
#[derive(Clone, Debug, PartialEq)]
pub enum CallbackOrder {
    /// A new request for this number.
    Request {
        /// Queue to stand in.
        queue: String,
        /// The number as the flow computed it; the desk checks it.
        number: String,
        /// Booked time, or as soon as possible.
        at: Option<Wall>,
        /// Place of the moment the caller called, not of now.
        keep_place: bool,
    },
    /// Move this call's request to another time.
    Reschedule {
        /// The new time.
        at: Wall,
    },
    /// "I did not ask for this call": the number goes on the do-not-call list.
    Refused,
    /// The customer no longer wants the call.
    Withdrawn,
}

/// The desk's answer to a [`CallbackOrder`], after its commit.
#[derive(Clone, Debug, PartialEq)]
pub enum CallbackReply {
    /// Done.
    Done {
        /// Place in line, when there is one.
        position: Option<u32>,
        /// Upper bound of the expected wait.
        wait: Option<Duration>,
        /// Booked time, when one was asked for.
        at: Option<Wall>,
        /// The number already had a request and keeps that place.
        merged: bool,
    },
    /// Withheld, unreadable or not allowed.
    BadNumber,
    /// The line is full.
    Full,
    /// The store could not answer.
    Failed,
}

/// One line of a call's trace: when, in which node, what kind, what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// Flow whose node it is.
    pub flow: String,
    /// Node in which it happened.
    pub node: String,
    /// `node` `say` `say_error` `key` `event` `exit` `set` `join` `store` `end`.
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
    /// `calendar.open`, as of now.
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
}
