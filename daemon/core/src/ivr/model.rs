//! A flow as the machine runs it: every word already checked for its shape.

mod act;

pub(super) use act::*;

use std::collections::BTreeMap;
use std::time::Duration;

use super::expr::{Expr, Value};
use super::fault::Place;
use super::io::ToneName;

/// A whole flow.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) file: String,
    pub(super) id: String,
    pub(super) title: Option<String>,
    pub(super) start: Target,
    /// Opening hours behind `calendar`.
    pub(super) calendar: Option<Named>,
    /// The first is the language of the texts and the fallback.
    pub(super) locales: Vec<(String, Place)>,
    pub(super) max_steps: u32,
    pub(super) max_duration: Duration,
    pub(super) decls: BTreeMap<String, Decl>,
    pub(super) prompts: BTreeMap<String, Prompt>,
    pub(super) events: BTreeMap<String, Exit>,
    /// In the order of the file.
    pub(super) nodes: Vec<Node>,
    pub(super) index: BTreeMap<String, usize>,
}

impl Flow {
    /// The node named `name`.
    pub(super) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(*self.index.get(name)?)
    }
}

/// Who may write a declared name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Input,
    Var,
    Output,
}

/// The type of a declared name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Int,
    Number,
    Bool,
    Duration,
    Timestamp,
    Map,
    List,
    Any,
}

impl Kind {
    /// Every type and its word.
    pub(super) const WORDS: [(&'static str, Kind); 9] = [
        ("string", Kind::String),
        ("int", Kind::Int),
        ("number", Kind::Number),
        ("bool", Kind::Bool),
        ("duration", Kind::Duration),
        ("timestamp", Kind::Timestamp),
        ("map", Kind::Map),
        ("list", Kind::List),
        ("any", Kind::Any),
    ];

    /// The type's word.
    pub(super) fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, k)| *k == self)
            .map_or("any", |(w, _)| w)
    }

    /// Whether a value is of this type.
    pub(super) fn takes(self, value: &Value) -> bool {
        match self {
            Kind::String => matches!(value, Value::String(_)),
            Kind::Int => matches!(value, Value::Int(_) | Value::UInt(_)),
            Kind::Number => matches!(value, Value::Int(_) | Value::UInt(_) | Value::Float(_)),
            Kind::Bool => matches!(value, Value::Bool(_)),
            Kind::Duration => matches!(value, Value::Duration(_)),
            Kind::Timestamp => matches!(value, Value::Timestamp(_)),
            Kind::Map => matches!(value, Value::Map(_)),
            Kind::List => matches!(value, Value::List(_)),
            Kind::Any => true,
        }
    }
}

/// A name of `input`, `vars` or `output`.
#[derive(Clone, Debug)]
pub(super) struct Decl {
    pub(super) at: Place,
    pub(super) role: Role,
    pub(super) kind: Kind,
    pub(super) default: Option<Value>,
    pub(super) secret: bool,
    pub(super) required: bool,
    pub(super) fields: BTreeMap<String, Kind>,
}

/// A prompt of this flow.
#[derive(Clone, Debug)]
pub(super) struct Prompt {
    pub(super) at: Place,
    pub(super) text: String,
    pub(super) slots: BTreeMap<String, (ReadAs, Place)>,
}

/// The smallest unit a length of time is read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Round {
    Second,
    Minute,
    Hour,
}

/// How a value is read aloud.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReadAs {
    Number {
        unit: Option<String>,
    },
    Ordinal,
    Digits,
    Duration(Round),
    /// The upper bound of a wait.
    Ewt,
    Date,
    Time,
    Money {
        currency: String,
    },
    Phone,
}

/// The name of a node, and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) at: Place,
}

impl ReadAs {
    /// Every word.
    pub(super) const WORDS: [&'static str; 9] = [
        "number", "ordinal", "digits", "duration", "ewt", "date", "time", "money", "phone",
    ];

    /// The word of it in files and traces.
    pub(super) fn word(&self) -> &'static str {
        match self {
            ReadAs::Number { .. } => "number",
            ReadAs::Ordinal => "ordinal",
            ReadAs::Digits => "digits",
            ReadAs::Duration(_) => "duration",
            ReadAs::Ewt => "ewt",
            ReadAs::Date => "date",
            ReadAs::Time => "time",
            ReadAs::Money { .. } => "money",
            ReadAs::Phone => "phone",
        }
    }
}

/// What follows a key or an event.
#[derive(Clone, Debug)]
pub(super) struct Exit {
    pub(super) at: Place,
    /// What it means, for people.
    pub(super) label: Option<String>,
    pub(super) say: Vec<Item>,
    pub(super) next: Option<Target>,
}

/// An expression and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) expr: Expr,
    pub(super) at: Place,
}

/// One thing to say.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) at: Place,
    pub(super) what: What,
    pub(super) when: Option<Code>,
    pub(super) barge_in: Option<bool>,
}

/// What an item says.
#[derive(Clone, Debug)]
pub(super) enum What {
    Prompt {
        id: String,
        with: BTreeMap<String, Code>,
    },
    Value(ReadAs, Code),
    /// A sound file beside the locales.
    File(Named),
    /// Words that a program speaks.
    Tts(Vec<Part>),
    Pause(Duration),
    Tone(ToneName),
}

/// Text with expressions: `{{request.queue}}`.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Text(String),
    /// `{{..}}`: in an address it is encoded.
    Code(Code),
    /// `{{{env..}}}`: as it is.
    Plain(Code),
}

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) at: Place,
    pub(super) kind: &'static str,
    pub(super) events: BTreeMap<String, Exit>,
    pub(super) act: Act,
}

impl Node {
    /// The node's own `next`.
    pub(super) fn next(&self) -> Option<&Target> {
        match &self.act {
            Act::Play { next, .. }
            | Act::Record { next, .. }
            | Act::Voicemail { next, .. }
            | Act::Set { next, .. }
            | Act::Http { next, .. }
            | Act::Webhook { next, .. }
            | Act::Lookup { next, .. }
            | Act::Callback { next, .. }
            | Act::Detect { next, .. }
            | Act::Wait { next, .. } => Some(next),
            Act::Collect { entry, .. } => Some(&entry.next),
            Act::Enqueue { next, .. } | Act::Transfer { next, .. } | Act::Subflow { next, .. } => {
                next.as_ref()
            }
            Act::Menu { .. }
            | Act::Branch { .. }
            | Act::Conference { .. }
            | Act::Return { .. }
            | Act::Hangup { .. } => None,
        }
    }

    /// Every list the node itself says.
    pub(super) fn says(&self) -> Vec<&[Item]> {
        match &self.act {
            Act::Play { say, .. } | Act::Callback { say, .. } | Act::Conference { say, .. } => {
                vec![say]
            }
            Act::Menu { question, .. } | Act::Collect { question, .. } => vec![&question.say],
            Act::Record { taking, .. } | Act::Voicemail { taking, .. } => vec![&taking.say],
            Act::Http { wait_say, .. } => vec![wait_say],
            Act::Enqueue { say, announce, .. } => {
                let announced = announce.as_ref().map(|announce| announce.say.as_slice());
                std::iter::once(say.as_slice()).chain(announced).collect()
            }
            Act::Transfer { say, whisper, .. } => vec![say, whisper],
            Act::Branch { .. }
            | Act::Set { .. }
            | Act::Webhook { .. }
            | Act::Lookup { .. }
            | Act::Detect { .. }
            | Act::Wait { .. }
            | Act::Subflow { .. }
            | Act::Return { .. }
            | Act::Hangup { .. } => Vec::new(),
        }
    }

    /// Whether it works without the caller: such nodes run on after a hang-up.
    pub(super) fn is_silent(&self) -> bool {
        matches!(
            self.act,
            Act::Branch { .. }
                | Act::Set { .. }
                | Act::Http { .. }
                | Act::Webhook { .. }
                | Act::Lookup { .. }
                | Act::Callback { .. }
                | Act::Subflow { .. }
                | Act::Return { .. }
                | Act::Hangup { .. }
        )
    }

    /// Whether it waits for the caller, or for whoever takes the call: a circle through
    /// it does not turn by itself.
    pub(super) fn needs_caller(&self) -> bool {
        matches!(
            self.act,
            Act::Menu { .. }
                | Act::Collect { .. }
                | Act::Record { .. }
                | Act::Voicemail { .. }
                | Act::Enqueue { .. }
                | Act::Transfer { .. }
                | Act::Conference { .. }
        )
    }

    /// What its keys lead to: those of a menu, and those that work in a queue.
    pub(super) fn keys(&self) -> Option<&BTreeMap<char, Exit>> {
        match &self.act {
            Act::Menu { keys, .. } | Act::Enqueue { keys, .. } => Some(keys),
            _ => None,
        }
    }

    /// Exits of keys and events, with the word of each.
    pub(super) fn exits(&self) -> Vec<(String, &Exit)> {
        let keys = self.keys().into_iter().flatten();
        let keys = keys.map(|(key, exit)| (key.to_string(), exit));
        let events = self.events.iter().map(|(name, exit)| (name.clone(), exit));
        keys.chain(events).collect()
    }
}

impl Item {
    /// Every expression in it.
    pub(super) fn codes(&self) -> impl Iterator<Item = &Code> {
        let of_what: Vec<&Code> = match &self.what {
            What::Prompt { with, .. } => with.values().collect(),
            What::Value(_, code) => vec![code],
            What::Tts(parts) => act::in_parts(parts).collect(),
            What::File(_) | What::Pause(_) | What::Tone(_) => Vec::new(),
        };
        self.when.iter().chain(of_what)
    }
}

/// Every expression of a flow.
pub(super) fn all_codes(flow: &Flow) -> Vec<&Code> {
    let items = super::flow::all_items(flow)
        .into_iter()
        .flat_map(Item::codes);
    let acts = flow.nodes.iter().flat_map(|node| node.act.codes());
    items.chain(acts).collect()
}
