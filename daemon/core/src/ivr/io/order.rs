//! What a machine asks of the world, and how the world answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Key, SayItem};
use crate::time::Wall;

/// The queue a call joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Name of the queue.
    pub queue: String,
    /// With which place.
    pub place: Place,
}

/// The place in line of a call that joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The one its help request holds: entering is the acceptance.
    Reserved,
    /// A new one, as if it had come so much earlier.
    New {
        /// At most 30 minutes: everybody's turn comes.
        head_start: Duration,
    },
}

/// Why a call left the queue untaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Nobody took it in time.
    Timeout,
    /// Nobody is there to take it.
    NoAgents,
    /// The line is full.
    Full,
}

/// How the line stands for one call in it. What is not known is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Its place; 1 is next.
    pub position: Option<u32>,
    /// How many wait.
    pub waiting: Option<u32>,
    /// How many may take calls.
    pub agents: Option<u32>,
    /// Upper bound of the expected wait, as the e-mail tells it.
    pub ewt: Option<Duration>,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// Method of an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // RFC 9110 and RFC 5789 define them
pub enum HttpMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl HttpMethod {
    /// Every method.
    pub const ALL: [HttpMethod; 5] = [
        HttpMethod::Get,
        HttpMethod::Post,
        HttpMethod::Put,
        HttpMethod::Patch,
        HttpMethod::Delete,
    ];

    /// As it is sent.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
        }
    }
}

/// A request to another service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpOrder {
    /// Its method.
    pub method: HttpMethod,
    /// Its address; the shell refuses hosts that are not configured.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body, sent as `application/json`.
    pub json: Option<Value>,
    /// How long the answer may take.
    pub timeout: Duration,
    /// How often it is tried again, if that is safe.
    pub retries: u32,
}

/// How another service answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpReply {
    /// With this.
    Answer {
        /// Status code.
        status: u16,
        /// Headers, names in lower case.
        headers: Vec<(String, String)>,
        /// The body if it was JSON, else null.
        body: Value,
    },
    /// Not in time.
    Timeout,
    /// Not at all, or not so that it can be read; for people.
    Failed(String),
}

/// By what a record is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupBy {
    /// A telephone number.
    Phone,
    /// An e-mail address.
    Email,
    /// The id of a help request.
    Request,
    /// A network address.
    Address,
}

impl LookupBy {
    /// Every way.
    pub const ALL: [LookupBy; 4] = [
        LookupBy::Phone,
        LookupBy::Email,
        LookupBy::Request,
        LookupBy::Address,
    ];

    /// Its word in flows.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            LookupBy::Phone => "phone",
            LookupBy::Email => "email",
            LookupBy::Request => "request",
            LookupBy::Address => "address",
        }
    }
}

/// A record that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// By what.
    pub by: LookupBy,
    /// The value to find.
    pub value: String,
    /// How long it may take.
    pub timeout: Duration,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindReply {
    /// This record: an object.
    Record(Value),
    /// Nothing.
    Miss,
    /// The store could not answer in time.
    Failed,
}

/// A recording of what the caller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOrder {
    /// At most so long.
    pub max: Duration,
    /// So much silence ends it.
    pub silence: Duration,
    /// These keys end it; their tone is cut off.
    pub finish_keys: Vec<Key>,
}

/// A recording that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// Names it; empty if nothing could be written.
    pub id: String,
    /// How long it is.
    pub length: Duration,
    /// Why it ended.
    pub end: TakeEnd,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakeEnd {
    /// By a key.
    Key,
    /// The caller fell silent.
    Silence,
    /// It was as long as it may be.
    Limit,
    /// The caller hung up.
    HungUp,
    /// It could not be written.
    Failed,
}

/// A message for a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Name of the mailbox.
    pub mailbox: String,
    /// The recording.
    pub take: Take,
}

/// How a caller gets to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferMode {
    /// helpline calls the other one and joins the two.
    Bridge,
    /// The caller's side is asked to call (REFER, RFC 3515): the call leaves helpline.
    Blind,
    /// helpline calls the other one, then the caller's side is asked to take its place in
    /// that call (RFC 5589 section 7): the call leaves helpline. Joined if it will not.
    Attended,
}

impl TransferMode {
    /// Every mode.
    pub const ALL: [TransferMode; 3] = [
        TransferMode::Bridge,
        TransferMode::Blind,
        TransferMode::Attended,
    ];

    /// Its word in flows.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            TransferMode::Bridge => "bridge",
            TransferMode::Blind => "blind",
            TransferMode::Attended => "attended",
        }
    }
}

/// A transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferOrder {
    /// A number, or the name of a telephone of ours.
    pub to: String,
    /// By which way.
    pub mode: TransferMode,
    /// How long it may ring.
    pub ring: Duration,
    /// The number shown to the other one.
    pub caller_id: Option<String>,
    /// What the other one hears before the two are joined.
    pub whisper: Vec<SayItem>,
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferReply {
    /// They talked, and the caller is still there.
    Done,
    /// The caller talks to somebody else, and not by us.
    Given,
    /// Busy, or declined.
    Busy,
    /// Nobody answered in time.
    NoAnswer,
    /// Not allowed, not possible, or the network failed; for people.
    Failed(String),
}

/// What a call does in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Hears and is heard.
    Talk,
    /// Only hears.
    Listen,
    /// Hears all, is heard by the second one alone.
    Whisper,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Talk, Role::Listen, Role::Whisper];

    /// Its word in flows.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Role::Talk => "talk",
            Role::Listen => "listen",
            Role::Whisper => "whisper",
        }
    }
}

/// A room to enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its name.
    pub name: String,
    /// What the call does in it.
    pub role: Role,
    /// At most so many calls.
    pub max_parties: u32,
}

/// Why a call is not in its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomReply {
    /// There was no place in it.
    Full,
    /// It could not be opened.
    Failed,
}
