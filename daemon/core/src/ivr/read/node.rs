//! Nodes: which fields and events each type has, and what they become.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Reader;
use crate::ivr::fault::{Place, hint};
use crate::ivr::model::{Act, Code, Entry, Node, Order, Question, Target};
use crate::ivr::raw::{At, Entries, RawCase, RawDigits, RawNode, RawSave};

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
        fields: &["say", "barge_in", "loop", "next"],
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
        fields: &["queue", "place", "say", "max_wait", "next"],
        required: &["queue", "place"],
        events: &["answered", "timeout", "no_agents", "full"],
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

/// Types of the language that this version does not run.
const LATER: [&str; 9] = [
    "record",
    "voicemail",
    "http",
    "webhook",
    "lookup",
    "transfer",
    "conference",
    "detect",
    "wait",
];

impl Reader<'_> {
    /// One node; `None` if it cannot be read.
    pub(super) fn node(&mut self, name: &At<String>, raw: &At<RawNode>) -> Option<Node> {
        let kind = self.need(raw.value.kind.as_ref(), name.at, "type", "a node")?;
        let Some(shape) = SHAPES.iter().find(|s| s.kind == kind.value) else {
            let known: Vec<&str> = SHAPES.iter().map(|s| s.kind).collect();
            let near = hint(&kind.value, known.iter().copied());
            let word = &kind.value;
            self.fault(
                kind.at,
                if LATER.contains(&word.as_str()) {
                    format!(
                        "nodes of type \"{word}\" are not supported by this version (types: {})",
                        known.join(", ")
                    )
                } else {
                    format!(
                        "no node type is named \"{word}\" (types: {}){near}",
                        known.join(", ")
                    )
                },
            );
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
            "play" => {
                let say = raw.say.as_ref().map(|s| self.say(s));
                let repeat = raw.repeat.as_ref().map_or(1, |r| self.range(r, 1, 100));
                let next = self.next(raw);
                Some(Act::Play {
                    say: say?,
                    barge_in: raw.barge_in.is_some_and(|f| f.0),
                    repeat,
                    next: next?,
                })
            }
            "menu" => self.menu(raw),
            "collect" => self.collect(raw),
            "branch" => self.branch(raw),
            "set" => {
                let set = raw.set.as_ref().map(|s| self.assignments(s));
                let next = self.next(raw);
                Some(Act::Set {
                    set: set?,
                    next: next?,
                })
            }
            "callback" => self.callback(raw, at),
            "enqueue" => self.enqueue(raw),
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

    fn next(&mut self, raw: &RawNode) -> Option<Target> {
        raw.next.as_ref().and_then(|n| self.target(n))
    }

    fn question(&mut self, raw: &RawNode, first: Duration) -> Option<Question> {
        let tries = raw.tries.as_ref().map_or(3, |t| self.range(t, 1, 10));
        let say = raw.say.as_ref().map(|s| self.say(s))?;
        Some(Question {
            say,
            first,
            tries,
            barge_in: raw.barge_in.is_none_or(|f| f.0),
            type_ahead: raw.type_ahead.is_some_and(|f| f.0),
        })
    }

    fn menu(&mut self, raw: &RawNode) -> Option<Act> {
        let first = raw
            .timeout
            .as_ref()
            .map_or(Some(Duration::from_secs(6)), |t| self.duration(t));
        let question = self.question(raw, first.unwrap_or_default());
        let map = raw.keys_map.as_ref()?;
        if map.value.0.is_empty() {
            self.fault(map.at, "a menu needs at least one key");
        }
        let mut keys = BTreeMap::new();
        for (key, exit) in &map.value.0 {
            let to = self.exit(exit, key.at);
            if exit.value.next.is_none() {
                self.fault(
                    key.at,
                    format!("key \"{}\" needs the field \"next\"", key.value),
                );
            }
            if let Some(c) = self.key(&key.value, key.at) {
                keys.insert(c, to);
            }
        }
        Some(Act::Menu {
            question: question?,
            keys,
        })
    }

    fn collect(&mut self, raw: &RawNode) -> Option<Act> {
        let digits = raw.digits.as_ref().map(|d| self.digits(d));
        let pattern = raw.pattern.as_ref().map(|p| self.pattern(p));
        let check = raw.check.as_ref().map(|c| self.code(c));
        let save = match raw.save.as_ref() {
            Some(At {
                value: RawSave::Name(name),
                at,
            }) => self.target(&At {
                value: name.clone(),
                at: *at,
            }),
            Some(At { at, .. }) => {
                self.fault(*at, "`save` of a collect node is one name");
                None
            }
            None => None,
        };
        let next = self.next(raw);
        let (min, max, terminators, first, between) = digits??;
        let question = self.question(raw, first)?;
        let entry = Entry {
            min,
            max,
            terminators,
            between,
            pattern: pattern.flatten(),
            check: check.flatten(),
            save: save?,
            next: next?,
        };
        Some(Act::Collect { question, entry })
    }

    #[allow(clippy::type_complexity)] // the five fields of `digits`, in their order
    fn digits(
        &mut self,
        raw: &At<RawDigits>,
    ) -> Option<(usize, usize, Vec<char>, Duration, Duration)> {
        let digits = &raw.value;
        self.only(&digits.keys, RawDigits::KNOWN, "`digits`");
        let min = self.need(digits.min.as_ref(), raw.at, "min", "`digits`");
        let max = self.need(digits.max.as_ref(), raw.at, "max", "`digits`");
        let min = min.map(|m| self.range(m, 0, 32));
        let max_value = max.map(|m| self.range(m, 1, 32));
        let terminators = digits
            .terminators
            .as_ref()
            .map(|t| self.key_set(t))
            .unwrap_or_default();
        let first = digits
            .first
            .as_ref()
            .map_or(Some(Duration::from_secs(6)), |d| self.duration(d));
        let between = digits
            .between
            .as_ref()
            .map_or(Some(Duration::from_secs(3)), |d| self.duration(d));
        let (min, max_value) = (min?, max_value?);
        if min > max_value {
            // Two numbers that do not fit each other: the schema cannot say it.
            self.failed = true;
            self.report.add(
                self.file,
                raw.at,
                "E108",
                format!("`min` {min} is above `max` {max_value}"),
            );
            return None;
        }
        Some((
            usize::try_from(min).unwrap_or(0),
            usize::try_from(max_value).unwrap_or(1),
            terminators,
            first?,
            between?,
        ))
    }

    fn pattern(&mut self, raw: &At<String>) -> Option<regex::Regex> {
        if raw.value.chars().count() > 200 {
            self.fault(raw.at, "`match` has at most 200 characters");
            return None;
        }
        let built = regex::RegexBuilder::new(&raw.value)
            .size_limit(100_000)
            .build();
        if built.is_err() {
            self.failed = true;
            self.report.add(
                self.file,
                raw.at,
                "E108",
                "`match` is no regular expression",
            );
        }
        built.ok()
    }

    fn branch(&mut self, raw: &RawNode) -> Option<Act> {
        let list = raw.cases.as_ref()?;
        if list.value.is_empty() {
            self.fault(list.at, "a branch node needs at least one case");
        }
        let mut cases = Vec::new();
        for case in &list.value {
            self.only(&case.value.keys, RawCase::KNOWN, "a case");
            if let Some(label) = &case.value.label {
                self.text(label);
            }
            let when = self
                .need(case.value.when.as_ref(), case.at, "when", "a case")
                .and_then(|w| self.code(w));
            let next = self
                .need(case.value.next.as_ref(), case.at, "next", "a case")
                .and_then(|n| self.target(n));
            if let (Some(when), Some(next)) = (when, next) {
                cases.push((
                    when,
                    next,
                    case.value.label.as_ref().map(|l| l.value.clone()),
                ));
            }
        }
        let otherwise = raw.otherwise.as_ref().and_then(|o| self.target(o))?;
        Some(Act::Branch { cases, otherwise })
    }

    fn assignments(&mut self, raw: &At<Entries<At<String>>>) -> Vec<(Target, Code)> {
        if raw.value.0.is_empty() {
            self.fault(raw.at, "the map is empty: write `name: expression`");
        }
        let mut list = Vec::new();
        for (name, code) in &raw.value.0 {
            let to = self.target(name);
            let code = self.code(code);
            list.extend(to.zip(code));
        }
        list
    }

    fn callback(&mut self, raw: &RawNode, at: Place) -> Option<Act> {
        let ways = [
            raw.queue.is_some() && raw.number.is_some(),
            raw.reschedule.is_some(),
            raw.cancel.is_some(),
        ];
        if ways.iter().filter(|w| **w).count() != 1 {
            self.fault(
                at,
                "a callback node has either `queue` with `number`, or `reschedule`, or `cancel`",
            );
            return None;
        }
        let say = raw.say.as_ref().map(|s| self.say(s)).unwrap_or_default();
        let queue = raw.queue.as_ref().map(|q| self.template(q));
        let number = raw.number.as_ref().map(|n| self.code(n));
        let book = raw.book.as_ref().map(|b| self.code(b));
        let next = self.next(raw);
        let order = if let Some(cancel) = &raw.cancel {
            match cancel.value.as_str() {
                "refused" => Order::Refused,
                "withdrawn" => Order::Withdrawn,
                other => {
                    let near = hint(other, ["refused", "withdrawn"]);
                    self.fault(
                        cancel.at,
                        format!("`cancel` is refused or withdrawn, not \"{other}\"{near}"),
                    );
                    return None;
                }
            }
        } else if let Some(reschedule) = &raw.reschedule {
            Order::Reschedule(self.code(reschedule)?)
        } else {
            Order::Request {
                queue: queue?,
                number: number??,
                at: book.flatten(),
                keep_place: raw.keep_place.is_some_and(|f| f.0),
            }
        };
        Some(Act::Callback {
            order,
            say,
            next: next?,
        })
    }

    fn enqueue(&mut self, raw: &RawNode) -> Option<Act> {
        match raw.place.as_ref().map(|p| (p.value.as_str(), p.at)) {
            Some(("reserved", _)) | None => {}
            Some(("new", at)) => {
                self.fault(
                    at,
                    "`place: new` is not supported by this version: write `place: reserved`",
                );
            }
            Some((other, at)) => self.fault(at, format!("`place` is reserved, not \"{other}\"")),
        }
        let queue = raw.queue.as_ref().map(|q| self.template(q));
        let say = raw.say.as_ref().map(|s| self.say(s)).unwrap_or_default();
        let max_wait = raw
            .max_wait
            .as_ref()
            .map_or(Some(Duration::from_secs(1800)), |w| self.duration(w));
        let next = self.next(raw);
        Some(Act::Enqueue {
            queue: queue?,
            say,
            max_wait: max_wait?,
            next,
        })
    }

    fn subflow(&mut self, raw: &RawNode) -> Option<Act> {
        let flow = raw
            .flow
            .as_ref()
            .filter(|f| self.dashed(f))
            .map(|f| Target {
                name: f.value.clone(),
                at: f.at,
            });
        let with = raw
            .with
            .as_ref()
            .map(|w| self.pairs(&w.value))
            .unwrap_or_default();
        let save = match raw.save.as_ref() {
            None => Vec::new(),
            Some(At {
                value: RawSave::Names(names),
                at,
            }) => self.assignments(&At {
                value: names.clone(),
                at: *at,
            }),
            Some(At { at, .. }) => {
                self.fault(
                    *at,
                    "`save` of a subflow node is a map: `{ name: expression }`",
                );
                Vec::new()
            }
        };
        let next = self.next(raw);
        Some(Act::Subflow {
            flow: flow?,
            with,
            save,
            next,
        })
    }

    fn pairs(&mut self, raw: &Entries<At<String>>) -> Vec<(Target, Code)> {
        let mut list = Vec::new();
        for (name, code) in &raw.0 {
            let to = self.target(name);
            let code = self.code(code);
            list.extend(to.zip(code));
        }
        list
    }
}
