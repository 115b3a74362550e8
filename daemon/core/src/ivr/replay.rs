//! A call again: the machine gets what came in on a call that is over, at the same moments.
//! With the flows of that call the same comes out, else the machine is at fault; with newer
//! ones it shows what that caller would have met.

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
}

impl Began {
    /// What is stored of a start; a sample stands for each secret.
    #[must_use]
    pub fn of(start: &Start, set: &FlowSet) -> Began {
        let mut input = start.input.clone();
        set.hide_secrets(&start.flow, &mut input);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ivr::flow::Source;
    use crate::ivr::golden::{Coverage, GoldenTest};
    use crate::ivr::sim::{self, Sim};

    fn shown(lines: &[(Duration, TraceLine)]) -> String {
        let line = |(at, line): &(Duration, TraceLine)| {
            let at = Time::ZERO + *at;
            format!("{at} {} {}\n", line.kind, line.data)
        };
        lines.iter().map(line).collect()
    }

    /// As it is read back from the store.
    fn stored(came: &[Came]) -> Vec<Came> {
        let text = serde_json::to_string(came).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn again(set: &Arc<FlowSet>, start: &Start, came: &[Came]) -> String {
        let began = serde_json::to_string(&Began::of(start, set)).unwrap();
        let began: Began = serde_json::from_str(&began).unwrap();
        let start = began.start(&start.flow, start.env.clone());
        shown(&replay(Arc::clone(set), start, stored(came)).unwrap())
    }

    #[test]
    fn every_golden_call_comes_out_the_same_again() {
        let (set, _) = FlowSet::load(&sim::shipped_flows(), &sim::shipped_locales());
        let set = Arc::new(set.unwrap());
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ivr-scripts/tests");
        let (mut count, mut withheld) = (0, 0);
        for file in std::fs::read_dir(folder).unwrap().flatten() {
            let text = std::fs::read_to_string(file.path()).unwrap();
            let file = file.file_name().to_string_lossy().into_owned();
            let test = GoldenTest::read(&Source {
                file: file.clone(),
                text,
            })
            .unwrap();
            let outcome = test.run(&set, &mut Coverage::default());
            count += 1;
            if outcome.came.iter().any(|came| came.withheld) {
                withheld += 1;
                continue;
            }
            assert_eq!(
                again(&set, &test.start(), &outcome.came),
                outcome.trace,
                "{file}"
            );
        }
        assert!(count - withheld > 30, "{count} {withheld}");
    }

    const SECRET: &str = "helpline: 1
id: t
start: hello
vars: { pin: { type: string, secret: true } }
prompts: { q: { text: \"Hello.\" } }
nodes:
  hello: { type: play, say: [{ prompt: q }], barge_in: true, next: ask }
  ask: { type: collect, say: [{ prompt: q }], digits: { min: 4, max: 4 }, save: pin, next: tell, events: { exhausted: { next: end } } }
  tell: { type: http, request: { method: POST, url: \"https://crm.example/\", json: { pin: pin } }, save: { pin: response.body.new }, next: end }
  end: { type: hangup }
";

    #[test]
    fn no_secret_is_stored_and_as_many_digits_stand_for_it() {
        let source = Source {
            file: "t.flow.yaml".to_owned(),
            text: SECRET.to_owned(),
        };
        let locale = sim::locale_for("en-US", &[("q", "Hello.")]);
        let (set, faults) = FlowSet::load(&[source], &[locale]);
        let set = Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")));
        let world = sim::World {
            services: vec![sim::Service {
                method: None,
                url: "https://crm.example/".to_owned(),
                after: Duration::ZERO,
                reply: HttpReply::Answer {
                    status: 200,
                    headers: vec![("x-new".to_owned(), "7777".to_owned())],
                    body: serde_json::json!({ "new": "7777" }),
                },
            }],
            ..sim::World::default()
        };
        let start = sim::start("t");
        let mut call = Sim::in_world(Arc::clone(&set), start.clone(), world).unwrap();
        // The first key cuts the announcement: it belongs to the entry already.
        call.press("4711");
        call.wait(Duration::from_secs(5));
        let text = serde_json::to_string(call.came()).unwrap() + &call.trace();
        for secret in ["\"4\"", "\"7\"", "\"1\"", "key 4", "7777"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let keys = call
            .came()
            .iter()
            .filter(|c| c.input == Input::KeyDown(Key::ZERO));
        assert_eq!(keys.count(), 4);
        let again = again(&set, &start, call.came());
        assert!(again.contains("set pin=******"), "{again}");
    }

    #[test]
    fn newer_flows_are_answered_as_well_as_can_be() {
        let flow = |more: &str, first: &str| {
            let text = format!(
                "helpline: 1
id: t
start: {first}
prompts: {{ q: {{ text: \"Press 1.\" }} }}
nodes:
{more}  ask: {{ type: menu, say: [{{ prompt: q }}], keys: {{ \"1\": {{ next: end }} }}, events: {{ exhausted: {{ next: end }} }} }}
  end: {{ type: hangup }}
"
            );
            let source = Source {
                file: "t.flow.yaml".to_owned(),
                text,
            };
            let locale = sim::locale_for("en-US", &[("q", "Press 1.")]);
            let (set, faults) = FlowSet::load(&[source], &[locale]);
            Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")))
        };
        let old = flow("", "ask");
        let mut call = Sim::new(Arc::clone(&old), sim::start("t")).unwrap();
        call.wait(Duration::from_secs(2));
        call.press("1");
        let new = flow(
            "  first: { type: play, say: [{ prompt: q }], next: ask }\n",
            "first",
        );
        let met = again(&new, &sim::start("t"), call.came());
        assert!(
            met.contains("node first play") && met.contains("exit ask 1 -> end"),
            "{met}"
        );
        assert_eq!(again(&old, &sim::start("t"), call.came()), call.trace());
    }
}
