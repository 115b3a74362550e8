//! Nodes: which fields and events each type has.

use super::Reader;
use crate::ivr::fault::{Place, hint};
use crate::ivr::model::{Act, Node, Target};
use crate::ivr::raw::{At, RawNode};

/// A type of node: its fields besides `type`, `title`, `events`, which of them are
/// required, and its events besides `error` and `hangup` (`*`: any name).
struct Shape {
    kind: &'static str,
    fields: &'static [&'static str],
    required: &'static [&'static str],
    events: &'static [&'static str],
}

const QUESTION_EVENTS: &[&str] = &["no_input", "no_match", "exhausted"];

/// The types of this version.
const SHAPES: &[Shape] = &[
    Shape {
        kind: "play",
        fields: &["say", "barge_in", "loop", "after", "next"],
        required: &["say", "next"],
        events: &[],
    },
    Shape {
        kind: "menu",
        fields: &["say", "keys", "timeout", "barge_in", "type_ahead", "tries"],
        required: &["say", "keys"],
        events: QUESTION_EVENTS,
    },
    Shape {
        kind: "collect",
        fields: &[
            "say",
            "digits",
            "match",
            "check",
            "save",
            "next",
            "barge_in",
            "type_ahead",
            "tries",
        ],
        required: &["say", "digits", "save", "next"],
        events: QUESTION_EVENTS,
    },
    Shape {
        kind: "record",
        fields: &[
            "say",
            "max",
            "silence",
            "finish_keys",
            "beep",
            "review",
            "save",
            "next",
        ],
        required: &["save", "next"],
        events: &["no_input", "full"],
    },
    Shape {
        kind: "voicemail",
        fields: &[
            "say",
            "max",
            "silence",
            "finish_keys",
            "beep",
            "review",
            "box",
            "next",
        ],
        required: &["box", "next"],
        events: &["no_input", "full"],
    },
    Shape {
        kind: "branch",
        fields: &["cases", "else"],
        required: &["cases", "else"],
        events: &[],
    },
    Shape {
        kind: "set",
        fields: &["set", "next"],
        required: &["set", "next"],
        events: &[],
    },
    Shape {
        kind: "http",
        fields: &["request", "accept", "save", "wait_say", "next"],
        required: &["request", "next"],
        events: &["timeout"],
    },
    Shape {
        kind: "webhook",
        fields: &["request", "next"],
        required: &["request", "next"],
        events: &[],
    },
    Shape {
        kind: "lookup",
        fields: &["by", "value", "save", "timeout", "next"],
        required: &["by", "value", "save", "next"],
        events: &["miss"],
    },
    Shape {
        kind: "callback",
        fields: &[
            "queue",
            "number",
            "at",
            "keep_place",
            "reschedule",
            "cancel",
            "say",
            "next",
        ],
        required: &["next"],
        events: &["bad_number", "full"],
    },
    Shape {
        kind: "enqueue",
        fields: &[
            "queue", "priority", "place", "say", "music", "announce", "keys", "max_wait", "next",
        ],
        required: &["queue"],
        events: &["answered", "timeout", "no_agents", "full"],
    },
    Shape {
        kind: "transfer",
        fields: &["to", "mode", "ring", "caller_id", "say", "whisper", "next"],
        required: &["to"],
        events: &["busy", "no_answer"],
    },
    Shape {
        kind: "conference",
        fields: &["room", "role", "max_parties", "say"],
        required: &["room"],
        events: &["full"],
    },
    Shape {
        kind: "detect",
        fields: &["budget", "next"],
        required: &["next"],
        events: &["machine", "fax"],
    },
    Shape {
        kind: "wait",
        fields: &["for", "music", "next"],
        required: &["for", "next"],
        events: &[],
    },
    Shape {
        kind: "subflow",
        fields: &["flow", "with", "save", "next"],
        required: &["flow"],
        events: &["*"],
    },
    Shape {
        kind: "return",
        fields: &["event"],
        required: &[],
        events: &[],
    },
    Shape {
        kind: "hangup",
        fields: &["cause"],
        required: &[],
        events: &[],
    },
];

impl Reader<'_> {
    /// One node; `None` if it cannot be read.
    pub(super) fn node(&mut self, name: &At<String>, raw: &At<RawNode>) -> Option<Node> {
        let kind = self.need(raw.value.kind.as_ref(), name.at, "type", "a node")?;
        let Some(shape) = SHAPES.iter().find(|s| s.kind == kind.value) else {
            let known: Vec<&str> = SHAPES.iter().map(|s| s.kind).collect();
            let near = hint(&kind.value, known.iter().copied());
            let (word, known) = (&kind.value, known.join(", "));
            let message = format!("no node type is named \"{word}\" (types: {known}){near}");
            self.fault(kind.at, message);
            return None;
        };
        let allowed: Vec<&str> = ["type", "title", "events"]
            .iter()
            .chain(shape.fields)
            .copied()
            .collect();
        let what = format!("a {} node", shape.kind);
        self.only(&raw.value.keys, &allowed, &what);
        let mut complete = true;
        for field in shape.required {
            if !raw.value.keys.iter().any(|k| k.value == *field) {
                complete = false;
                self.fault(name.at, format!("{what} needs the field \"{field}\""));
            }
        }
        if let Some(title) = &raw.value.title {
            self.text(title);
        }
        let mut events: Vec<&str> = vec!["error", "hangup"];
        events.extend(shape.events);
        let any = shape.events.contains(&"*");
        let events = self.exits(
            raw.value.events.as_ref(),
            if any { &[] } else { &events },
            &what,
        );
        let act = self.act(shape.kind, &raw.value, name.at);
        if !complete {
            return None;
        }
        Some(Node {
            name: name.value.clone(),
            title: raw.value.title.as_ref().map(|title| title.value.clone()),
            at: name.at,
            kind: shape.kind,
            events,
            act: act?,
        })
    }

    fn act(&mut self, kind: &str, raw: &RawNode, at: Place) -> Option<Act> {
        match kind {
            "play" => self.play(raw),
            "menu" => self.menu(raw),
            "collect" => self.collect(raw),
            "record" => self.record(raw),
            "voicemail" => self.voicemail(raw),
            "branch" => self.branch(raw),
            "set" => {
                let set = raw.set.as_ref().map(|s| self.assignments(s));
                let next = self.next(raw);
                Some(Act::Set {
                    set: set?,
                    next: next?,
                })
            }
            "http" => self.http(raw),
            "webhook" => self.webhook(raw),
            "lookup" => self.lookup(raw),
            "callback" => self.callback(raw, at),
            "enqueue" => self.enqueue(raw),
            "transfer" => self.transfer(raw),
            "conference" => self.conference(raw),
            "detect" => self.detect(raw),
            "wait" => self.wait(raw),
            "subflow" => self.subflow(raw),
            "return" => {
                let event = raw
                    .event
                    .as_ref()
                    .filter(|e| self.name(e))
                    .map(|e| e.value.clone());
                Some(Act::Return { event })
            }
            "hangup" => {
                let cause = raw.cause.as_ref().map_or(16, |c| self.range(c, 1, 127));
                Some(Act::Hangup {
                    cause: u8::try_from(cause).unwrap_or(16),
                })
            }
            _ => None,
        }
    }

    pub(super) fn next(&mut self, raw: &RawNode) -> Option<Target> {
        raw.next.as_ref().and_then(|n| self.target(n))
    }
}
