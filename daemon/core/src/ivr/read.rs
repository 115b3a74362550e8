//! From the raw file to the typed flow. Every fault of shape is `E002` (an expression
//! that does not compile `E108`), at its place, with what to write instead.

mod ask;
mod connect;
mod desk;
mod node;
mod outside;
mod plain;
mod say;
mod sound;
mod words;

pub use words::duration;

use std::collections::BTreeMap;
use std::time::Duration;

use super::expr::{self, Expr, Value};
use super::fault::{Place, Report, hint};
use super::model::{Code, Decl, Exit, Flow, Kind, Named, Prompt, ReadAs, Role, Target};
use super::raw::{At, Entries, RawDecl, RawExit, RawFlow, RawPrompt, RawSlot};

/// Most nodes of a flow.
const NODES_MAX: usize = 500;

/// Reads a file into a flow; `None` if faults were reported.
pub(super) fn flow(file: &str, raw: &RawFlow, report: &mut Report) -> Option<Flow> {
    let mut reader = Reader {
        file,
        report,
        failed: false,
    };
    let flow = reader.flow(raw);
    if reader.failed { None } else { flow }
}

/// Reads one file, gathers its faults.
struct Reader<'a> {
    file: &'a str,
    report: &'a mut Report,
    failed: bool,
}

impl Reader<'_> {
    /// Notes a fault of shape.
    fn fault(&mut self, at: Place, message: impl Into<String>) {
        self.failed = true;
        self.report.add(self.file, at, "E002", message);
    }

    /// Notes values that do not fit each other or the world: the schema cannot say it.
    fn nonsense(&mut self, at: Place, message: impl Into<String>) {
        self.failed = true;
        self.report.add(self.file, at, "E108", message);
    }

    /// Faults every key that is not in `allowed`.
    fn only(&mut self, keys: &[At<String>], allowed: &[&str], what: &str) {
        for key in keys {
            if !allowed.contains(&key.value.as_str()) {
                let near = hint(&key.value, allowed.iter().copied());
                let list = allowed.join(", ");
                let name = &key.value;
                self.fault(
                    key.at,
                    format!("{what} has no field \"{name}\" (fields: {list}){near}"),
                );
            }
        }
    }

    /// The value of a required field.
    fn need<'v, T>(
        &mut self,
        value: Option<&'v T>,
        at: Place,
        field: &str,
        what: &str,
    ) -> Option<&'v T> {
        if value.is_none() {
            self.fault(at, format!("{what} needs the field \"{field}\""));
        }
        value
    }

    fn flow(&mut self, raw: &RawFlow) -> Option<Flow> {
        let top = Place { line: 1, column: 1 };
        self.only(&raw.keys, RawFlow::KNOWN, "a flow");
        match self.need(raw.helpline.as_ref(), top, "helpline", "a flow") {
            Some(version) if version.value.0 != 1 => {
                self.fault(version.at, "this is not format 1: write `helpline: 1`");
            }
            _ => {}
        }
        let id = self.need(raw.id.as_ref(), top, "id", "a flow").cloned();
        if let Some(id) = &id {
            self.dashed(id);
        }
        if let Some(title) = &raw.title {
            self.text(title);
        }
        if let Some(calendar) = &raw.calendar {
            self.dashed(calendar);
        }
        let start = self
            .need(raw.start.as_ref(), top, "start", "a flow")
            .and_then(|s| self.target(s));
        let (max_steps, max_duration) = self.limits(raw);
        let decls = self.decls(raw);
        let locales = self.locales(raw);
        let prompts = self.prompts(raw.prompts.as_ref());
        let events = self.exits(
            raw.events.as_ref(),
            &["error", "hangup", "exhausted"],
            "the flow",
        );
        let nodes = self.nodes(raw)?;
        let index = nodes
            .iter()
            .enumerate()
            .map(|(i, n)| (n.name.clone(), i))
            .collect();
        Some(Flow {
            file: self.file.to_owned(),
            id: id?.value,
            title: raw.title.as_ref().map(|title| title.value.clone()),
            start: start?,
            calendar: raw.calendar.as_ref().map(|calendar| Named {
                name: calendar.value.clone(),
                at: calendar.at,
            }),
            locales,
            max_steps,
            max_duration,
            decls,
            prompts,
            events,
            nodes,
            index,
        })
    }

    fn nodes(&mut self, raw: &RawFlow) -> Option<Vec<super::model::Node>> {
        let top = Place { line: 1, column: 1 };
        let entries = self.need(raw.nodes.as_ref(), top, "nodes", "a flow")?;
        let count = entries.value.0.len();
        if count == 0 || count > NODES_MAX {
            self.fault(
                entries.at,
                format!("a flow has 1 to {NODES_MAX} nodes, this one {count}"),
            );
        }
        let mut nodes = Vec::new();
        for (name, node) in &entries.value.0 {
            self.name(name);
            nodes.extend(self.node(name, node));
        }
        Some(nodes)
    }

    fn locales(&mut self, raw: &RawFlow) -> Vec<(String, Place)> {
        let Some(list) = &raw.locales else {
            return vec![("en-US".to_owned(), Place::default())];
        };
        if list.value.is_empty() {
            self.fault(list.at, "`locales` is empty: name at least one, like en-US");
        }
        let mut seen = Vec::new();
        for locale in &list.value {
            if !words::is_locale(&locale.value) {
                let name = &locale.value;
                self.fault(
                    locale.at,
                    format!("\"{name}\" is no locale; write it like en-US"),
                );
            }
            if seen.iter().any(|(l, _)| *l == locale.value) {
                self.fault(locale.at, format!("\"{}\" is listed twice", locale.value));
            }
            seen.push((locale.value.clone(), locale.at));
        }
        seen
    }

    fn limits(&mut self, raw: &RawFlow) -> (u32, Duration) {
        let (mut steps, mut length) = (200, Duration::from_secs(600));
        if let Some(limits) = &raw.limits {
            self.only(&limits.value.keys, super::raw::RawLimits::KNOWN, "`limits`");
            if let Some(max) = &limits.value.max_steps {
                steps = self.range(max, 1, 10_000);
            }
            if let Some(max) = &limits.value.max_duration {
                length = self.duration(max).unwrap_or(length);
            }
        }
        (steps, length)
    }

    fn decls(&mut self, raw: &RawFlow) -> BTreeMap<String, Decl> {
        let mut decls = BTreeMap::new();
        let lists = [
            (&raw.input, Role::Input),
            (&raw.vars, Role::Var),
            (&raw.output, Role::Output),
        ];
        for (list, role) in lists {
            for (name, decl) in list.iter().flat_map(|l| &l.0) {
                self.name(name);
                if let Some(decl) = self.decl(name, decl, role)
                    && decls.insert(name.value.clone(), decl).is_some()
                {
                    self.fault(name.at, format!("\"{}\" is declared twice", name.value));
                }
            }
        }
        decls
    }

    fn decl(&mut self, name: &At<String>, raw: &At<RawDecl>, role: Role) -> Option<Decl> {
        self.only(&raw.value.keys, RawDecl::KNOWN, "a declaration");
        let kind = self.need(raw.value.kind.as_ref(), raw.at, "type", "a declaration")?;
        let kind = self.kind(kind)?;
        let mut fields = BTreeMap::new();
        for (field, of) in raw.value.fields.iter().flat_map(|f| &f.0) {
            self.name(field);
            if let Some(of) = self.kind(of) {
                fields.insert(field.value.clone(), of);
            }
        }
        let default = match &raw.value.default {
            None => None,
            Some(json) => {
                let value = coerce(&json.value, kind);
                if value.is_none() {
                    // The schema takes any literal here, so this is a fault of meaning.
                    self.failed = true;
                    self.report.add(
                        self.file,
                        json.at,
                        "E108",
                        format!("the default is not of type {}", kind.word()),
                    );
                }
                value
            }
        };
        Some(Decl {
            at: name.at,
            role,
            kind,
            default,
            secret: raw.value.secret.is_some_and(|f| f.0),
            required: raw.value.required.is_some_and(|f| f.0),
            fields,
        })
    }

    fn kind(&mut self, word: &At<String>) -> Option<Kind> {
        let found = Kind::WORDS
            .iter()
            .find(|(w, _)| *w == word.value)
            .map(|(_, k)| *k);
        if found.is_none() {
            let known = Kind::WORDS.map(|(w, _)| w);
            let near = hint(&word.value, known);
            self.fault(
                word.at,
                format!(
                    "no type is named \"{}\" (types: {}){near}",
                    word.value,
                    known.join(", ")
                ),
            );
        }
        found
    }

    fn prompts(&mut self, raw: Option<&Entries<At<RawPrompt>>>) -> BTreeMap<String, Prompt> {
        let mut prompts = BTreeMap::new();
        for (id, prompt) in raw.iter().flat_map(|p| &p.0) {
            self.name(id);
            self.only(&prompt.value.keys, RawPrompt::KNOWN, "a prompt");
            let Some(text) = self.need(prompt.value.text.as_ref(), prompt.at, "text", "a prompt")
            else {
                continue;
            };
            self.text(text);
            let mut slots = BTreeMap::new();
            for (name, slot) in prompt.value.slots.iter().flat_map(|s| &s.0) {
                self.name(name);
                if let Some(read_as) = self.slot(slot) {
                    slots.insert(name.value.clone(), (read_as, name.at));
                }
            }
            let text = text.value.clone();
            prompts.insert(
                id.value.clone(),
                Prompt {
                    at: id.at,
                    text,
                    slots,
                },
            );
        }
        prompts
    }

    fn slot(&mut self, raw: &At<RawSlot>) -> Option<ReadAs> {
        let slot = &raw.value;
        self.only(&slot.keys, RawSlot::KNOWN, "a slot");
        let word = self.need(slot.read_as.as_ref(), raw.at, "as", "a slot")?;
        let with = say::With {
            round: slot.round.as_ref(),
            unit: slot.unit.as_ref(),
            currency: slot.currency.as_ref(),
        };
        self.read_as(&word.value, word.at, &with)
    }

    /// Exits under `events`; only the names of `allowed` (empty: any name).
    fn exits(
        &mut self,
        raw: Option<&Entries<At<RawExit>>>,
        allowed: &[&str],
        what: &str,
    ) -> BTreeMap<String, Exit> {
        let mut exits = BTreeMap::new();
        for (name, exit) in raw.iter().flat_map(|e| &e.0) {
            self.name(name);
            if !allowed.is_empty() && !allowed.contains(&name.value.as_str()) {
                let near = hint(&name.value, allowed.iter().copied());
                self.fault(
                    name.at,
                    format!(
                        "{what} has no event \"{}\" (events: {}){near}",
                        name.value,
                        allowed.join(", ")
                    ),
                );
            }
            exits.insert(name.value.clone(), self.exit(exit, name.at));
        }
        exits
    }

    fn exit(&mut self, raw: &At<RawExit>, at: Place) -> Exit {
        let exit = &raw.value;
        self.only(&exit.keys, RawExit::KNOWN, "an exit");
        if exit.keys.is_empty() {
            self.fault(raw.at, "an exit needs `next`, `say` or `label`");
        }
        if let Some(label) = &exit.label {
            self.text(label);
        }
        Exit {
            at,
            label: exit.label.as_ref().map(|label| label.value.clone()),
            say: exit.say.as_ref().map(|s| self.say(s)).unwrap_or_default(),
            next: exit.next.as_ref().and_then(|n| self.target(n)),
        }
    }

    fn target(&mut self, raw: &At<String>) -> Option<Target> {
        self.name(raw).then(|| Target {
            name: raw.value.clone(),
            at: raw.at,
        })
    }

    fn code(&mut self, raw: &At<String>) -> Option<Code> {
        if raw.value.is_empty() || raw.value.chars().count() > expr::EXPR_BYTES_MAX {
            self.fault(
                raw.at,
                format!("an expression has 1 to {} characters", expr::EXPR_BYTES_MAX),
            );
            return None;
        }
        match Expr::compile(&raw.value) {
            Ok(expr) => Some(Code { expr, at: raw.at }),
            Err(why) => {
                self.failed = true;
                self.report.add(
                    self.file,
                    raw.at,
                    "E108",
                    format!("`{}` is no expression: {why}", raw.value),
                );
                None
            }
        }
    }
}

/// A JSON value as a declared type; times are text in JSON.
pub(super) fn coerce(json: &serde_json::Value, kind: Kind) -> Option<Value> {
    let value = match (kind, json) {
        (Kind::Duration, serde_json::Value::String(s)) => expr::duration(words::duration(s)?),
        (Kind::Timestamp, serde_json::Value::String(s)) => {
            Value::Timestamp(chrono::DateTime::parse_from_rfc3339(s).ok()?)
        }
        _ => expr::from_json(json),
    };
    kind.takes(&value).then_some(value)
}
