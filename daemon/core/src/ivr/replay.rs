//! A call again: the machine gets what came in on a call that is over, at the same moments.
//! With the flows of that call the same comes out, else the machine is at fault; with newer
//! ones it shows what that caller would have met.

mod past;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::flow::FlowSet;
use super::io::{
    CallFacts, FindReply, Hours, HttpReply, Input, Key, OpId, Output, Queues, Start, TraceLine,
};
use super::machine::{FlowMachine, StartError};
use crate::phone::PhoneNumber;
use crate::time::{Time, Wall};

pub use past::{Again, Past};

/// Kind of the trace line that holds [`Began`].
pub const BEGAN: &str = "start";
/// Kind of a trace line that holds a [`Came`].
pub const CAME: &str = "in";
/// Longest answer of a service or the store that is kept, in bytes of JSON.
const REPLY_MAX: usize = 4_096;

/// What a call began with, as it is stored; without `env`, which may hold keys of services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Began {
    /// Call-ID.
    pub id: String,
    /// The far end's number, if it was known.
    pub from: Option<String>,
    /// The number called.
    pub to: String,
    /// True of a call that helpline placed.
    pub placed: bool,
    /// Queue of the call.
    pub queue: String,
    /// Values of the flow's input.
    pub input: Map<String, Value>,
    /// Language of the customer.
    pub language: String,
    /// The wall clock at the answer.
    pub wall: Wall,
    /// Opening hours.
    pub hours: Hours,
    /// How the lines stood.
    pub queues: Queues,
    /// IANA zone.
    pub zone: String,
    /// A sample stands for a secret of the input.
    #[serde(default, skip_serializing_if = "is_false")]
    pub withheld: bool,
}

impl Began {
    /// What is stored of a start; a sample stands for each secret.
    #[must_use]
    pub fn of(start: &Start, set: &FlowSet) -> Began {
        let mut input = start.input.clone();
        let withheld = set.hide_secrets(&mut input);
        Began {
            id: start.call.id.clone(),
            from: start.call.from.as_ref().map(|n| n.as_str().to_owned()),
            to: start.call.to.clone(),
            placed: start.call.direction == "out",
            queue: start.call.queue.clone(),
            input,
            language: start.language.clone(),
            wall: start.wall,
            hours: start.hours,
            queues: start.queues.as_ref().clone(),
            zone: start.zone.clone(),
            withheld,
        }
    }

    /// The start of this flow again.
    #[must_use]
    pub fn start(self, flow: &str, env: BTreeMap<String, String>) -> Start {
        Start {
            flow: flow.to_owned(),
            call: CallFacts {
                id: self.id,
                from: self.from.as_deref().map(PhoneNumber::from_row),
                to: self.to,
                direction: if self.placed { "out" } else { "in" },
                queue: self.queue,
            },
            input: self.input,
            language: self.language,
            wall: self.wall,
            hours: self.hours,
            queues: Arc::new(self.queues),
            zone: self.zone,
            env,
        }
    }
}

/// Something that came in, as it is stored: nothing secret is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Came {
    /// Microseconds since the answer.
    pub us: u64,
    /// What it was.
    pub input: Input,
    /// A part of it is not here: it was secret, or too long.
    #[serde(default, skip_serializing_if = "is_false")]
    pub withheld: bool,
}

// serde wants a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Came {
    /// Gives a machine an input, and tells what may be stored of it.
    pub fn take(machine: &mut FlowMachine, began: Time, now: Time, input: Input) -> Came {
        let us = u64::try_from(now.since(began).as_micros()).unwrap_or(u64::MAX);
        let plain = match input {
            // Nothing but the time of it matters if another key is down, or none.
            Input::KeyUp(key) if machine.held() != Some(key) => Input::Timeout,
            // The key that is down; which one may be a secret.
            Input::KeyUp(_) => Input::KeyUp(Key::ZERO),
            ref other => other.clone(),
        };
        let secret = machine.keeps_secret(&plain);
        machine.handle(now, input);
        // A key that cuts an announcement belongs to the question that follows.
        let first = matches!(plain, Input::KeyDown(_)) && machine.began_secret();
        let (input, withheld) = match secret || first {
            true => without_secrets(plain),
            false => within_limits(plain),
        };
        Came {
            us,
            input,
            withheld,
        }
    }
}

/// Digits become zeros, and what was answered is left out.
fn without_secrets(input: Input) -> (Input, bool) {
    let zero = |key: Key| {
        if key.char().is_ascii_digit() {
            Key::ZERO
        } else {
            key
        }
    };
    match input {
        Input::KeyDown(key) => (Input::KeyDown(zero(key)), true),
        Input::Http(op, reply) => (Input::Http(op, without_body(reply)), true),
        Input::Found(op, FindReply::Record(_)) => {
            let empty = FindReply::Record(Value::Object(Map::new()));
            (Input::Found(op, empty), true)
        }
        other => (other, false),
    }
}

fn within_limits(input: Input) -> (Input, bool) {
    let from_outside = matches!(input, Input::Http(..) | Input::Found(..));
    if !from_outside {
        return (input, false);
    }
    let length = serde_json::to_string(&input).map_or(0, |text| text.len());
    if length > REPLY_MAX {
        without_secrets(input)
    } else {
        (input, false)
    }
}

fn without_body(reply: HttpReply) -> HttpReply {
    match reply {
        HttpReply::Answer { status, .. } => HttpReply::Answer {
            status,
            headers: Vec::new(),
            body: Value::Null,
        },
        other => other,
    }
}

/// Runs a call again; the trace that comes out, with its time since the answer.
///
/// Answers go to whatever of their kind is asked now, so that newer flows are answered as
/// well as can be.
///
/// # Errors
/// The flow is unknown or the input does not fit it.
pub fn replay(
    set: Arc<FlowSet>,
    start: Start,
    inputs: Vec<Came>,
) -> Result<Vec<(Duration, TraceLine)>, StartError> {
    let mut machine = FlowMachine::new(set, start)?;
    let mut asked = Asked::default();
    let mut lines = Vec::new();
    for came in inputs {
        let input = match asked.answer(came.input) {
            Input::KeyUp(key) => Input::KeyUp(machine.held().unwrap_or(key)),
            other => other,
        };
        machine.handle(Time::from_micros(came.us), input);
        while let Some(output) = machine.poll() {
            asked.note(&output);
            if let Output::Trace(line) = output {
                lines.push((Duration::from_micros(came.us), line));
            }
        }
    }
    Ok(lines)
}

/// The latest order of each kind.
#[derive(Default)]
struct Asked(BTreeMap<&'static str, OpId>);

impl Asked {
    fn note(&mut self, output: &Output) {
        let (kind, op) = match output {
            Output::Say { op, .. } => ("say", *op),
            Output::Join(op, _) => ("join", *op),
            Output::Store(op, _) => ("store", *op),
            Output::Http(op, _) => ("http", *op),
            Output::Find(op, _) => ("find", *op),
            Output::Record(op, _) => ("record", *op),
            Output::Deliver(op, _) => ("deliver", *op),
            Output::Transfer(op, _) => ("transfer", *op),
            Output::Conference(op, _) => ("conference", *op),
            Output::Stop(_)
            | Output::Leave(_)
            | Output::Mask(_)
            | Output::Music(_)
            | Output::Webhook(_)
            | Output::Detect(_)
            | Output::Trace(_)
            | Output::End { .. } => return,
        };
        self.0.insert(kind, op);
    }

    fn answer(&self, input: Input) -> Input {
        let to = |kind, op| self.0.get(kind).copied().unwrap_or(op);
        match input {
            Input::Spoken(op) => Input::Spoken(to("say", op)),
            Input::Joined(op, channel) => Input::Joined(to("join", op), channel),
            Input::LeftQueue(op, why) => Input::LeftQueue(to("join", op), why),
            Input::TalkEnded(op) => Input::TalkEnded(to("join", op)),
            Input::TalkBroke(op) => Input::TalkBroke(to("join", op)),
            Input::Queue(op, view) => Input::Queue(to("join", op), view),
            Input::Stored(op, reply) => Input::Stored(to("store", op), reply),
            Input::Http(op, reply) => Input::Http(to("http", op), reply),
            Input::Found(op, reply) => Input::Found(to("find", op), reply),
            Input::Recorded(op, take) => Input::Recorded(to("record", op), take),
            Input::Delivered(op, done) => Input::Delivered(to("deliver", op), done),
            Input::Transferred(op, reply) => Input::Transferred(to("transfer", op), reply),
            Input::LeftRoom(op, reply) => Input::LeftRoom(to("conference", op), reply),
            Input::KeyDown(_)
            | Input::KeyUp(_)
            | Input::Timeout
            | Input::Hangup
            | Input::Heard(_)
            | Input::MachineListens
            | Input::Queues(_) => input,
        }
    }
}
