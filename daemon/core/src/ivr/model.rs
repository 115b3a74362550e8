//! A flow as the machine runs it: every word already checked for its shape.

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
    Number { unit: Option<String> },
    Ordinal,
    Digits,
    Duration(Round),
}

/// The name of a node, and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) at: Place,
}

impl ReadAs {
    /// The word of it in files and traces.
    pub(super) fn word(&self) -> &'static str {
        match self {
            ReadAs::Number { .. } => "number",
            ReadAs::Ordinal => "ordinal",
            ReadAs::Digits => "digits",
            ReadAs::Duration(_) => "duration",
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
    Pause(Duration),
    Tone(ToneName),
}

/// Text with expressions: `{{request.queue}}`.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Text(String),
    Code(Code),
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

/// Where a question's answer goes and how it is read.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) say: Vec<Item>,
    pub(super) first: Duration,
    pub(super) tries: u32,
    pub(super) barge_in: bool,
    pub(super) type_ahead: bool,
}

/// `digits`, `match`, `check`, `save` of a `collect`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) terminators: Vec<char>,
    pub(super) between: Duration,
    pub(super) pattern: Option<regex::Regex>,
    pub(super) check: Option<Code>,
    pub(super) save: Target,
    pub(super) next: Target,
}

/// What a `callback` node orders.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Request {
        queue: Vec<Part>,
        number: Code,
        at: Option<Code>,
        keep_place: bool,
    },
    Reschedule(Code),
    Refused,
    Withdrawn,
}

/// What a node does.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Play {
        say: Vec<Item>,
        barge_in: bool,
        repeat: u32,
        next: Target,
    },
    Menu {
        question: Question,
        keys: BTreeMap<char, Exit>,
    },
    Collect {
        question: Question,
        entry: Entry,
    },
    Branch {
        cases: Vec<(Code, Target, Option<String>)>,
        otherwise: Target,
    },
    Set {
        set: Vec<(Target, Code)>,
        next: Target,
    },
    Callback {
        order: Order,
        say: Vec<Item>,
        next: Target,
    },
    Enqueue {
        queue: Vec<Part>,
        say: Vec<Item>,
        max_wait: Duration,
        next: Option<Target>,
    },
    Subflow {
        flow: Target,
        with: Vec<(Target, Code)>,
        save: Vec<(Target, Code)>,
        next: Option<Target>,
    },
    Return {
        event: Option<String>,
    },
    Hangup {
        cause: u8,
    },
}

impl Node {
    /// The node's own `next`.
    pub(super) fn next(&self) -> Option<&Target> {
        match &self.act {
            Act::Play { next, .. } | Act::Set { next, .. } | Act::Callback { next, .. } => {
                Some(next)
            }
            Act::Collect { entry, .. } => Some(&entry.next),
            Act::Enqueue { next, .. } | Act::Subflow { next, .. } => next.as_ref(),
            Act::Menu { .. } | Act::Branch { .. } | Act::Return { .. } | Act::Hangup { .. } => None,
        }
    }

    /// What the node itself says.
    pub(super) fn say(&self) -> &[Item] {
        match &self.act {
            Act::Play { say, .. } | Act::Callback { say, .. } | Act::Enqueue { say, .. } => say,
            Act::Menu { question, .. } | Act::Collect { question, .. } => &question.say,
            Act::Branch { .. }
            | Act::Set { .. }
            | Act::Subflow { .. }
            | Act::Return { .. }
            | Act::Hangup { .. } => &[],
        }
    }

    /// Whether it waits for the caller (or for whoever takes the call).
    pub(super) fn needs_caller(&self) -> bool {
        matches!(
            self.act,
            Act::Menu { .. } | Act::Collect { .. } | Act::Enqueue { .. }
        )
    }

    /// Exits of keys and events, with the word of each.
    pub(super) fn exits(&self) -> Vec<(String, &Exit)> {
        let mut exits: Vec<(String, &Exit)> = Vec::new();
        if let Act::Menu { keys, .. } = &self.act {
            exits.extend(keys.iter().map(|(k, e)| (k.to_string(), e)));
        }
        exits.extend(self.events.iter().map(|(n, e)| (n.clone(), e)));
        exits
    }
}
