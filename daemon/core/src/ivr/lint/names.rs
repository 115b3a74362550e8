//! Names and expressions: declared, writable, of the right type, no secret let out.
//! CEL has no static types, so each expression is evaluated once on samples.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Set;
use crate::ivr::expr::{self, EvalError, Scope, Value};
use crate::ivr::fault::{Report, hint};
use crate::ivr::model::{
    Act, Code, Decl, Flow, Item, Kind, Node, Order, Part, ReadAs, Request, Role, Target, What,
    all_codes,
};
use crate::time::Wall;

/// Names helpline gives to expressions, now or later; a flow may not declare them.
const BUILT_IN: [&str; 11] = [
    "call", "lang", "digits", "queue", "queues", "callback", "calendar", "now", "detect", "env",
    "response",
];

/// What a place in a flow needs of its expression.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Of(Kind),
    /// A length of time from now, or a moment.
    Moment,
    /// An int, or text of digits.
    Digits,
}

impl Need {
    fn takes(self, value: &Value) -> bool {
        match self {
            Need::Of(kind) => kind.takes(value),
            Need::Moment => Kind::Duration.takes(value) || Kind::Timestamp.takes(value),
            Need::Digits => Kind::Int.takes(value) || Kind::String.takes(value),
        }
    }

    fn words(self) -> String {
        match self {
            Need::Of(kind) => format!("of type {}", kind.word()),
            Need::Moment => "a duration or a timestamp".to_owned(),
            Need::Digits => "an int or a string of digits".to_owned(),
        }
    }
}

/// Checks the names and expressions of one flow.
pub(super) fn check(flow: &Flow, set: &Set<'_>, report: &mut Report) {
    let mut check = Check {
        flow,
        report,
        scope: samples(flow),
        loose: loose(flow),
        used: BTreeSet::new(),
    };
    check.shadows();
    for node in &flow.nodes {
        check.node(node, set);
    }
    for exit in flow.events.values() {
        check.say(&exit.say);
    }
    check.unused();
}

struct Check<'a> {
    flow: &'a Flow,
    report: &'a mut Report,
    scope: Scope,
    /// Names whose shape is not declared, so a sample says nothing about them.
    loose: BTreeSet<String>,
    used: BTreeSet<String>,
}

impl Check<'_> {
    fn fault(&mut self, at: crate::ivr::fault::Place, code: &'static str, message: String) {
        self.report.add(&self.flow.file, at, code, message);
    }

    fn shadows(&mut self) {
        for (name, decl) in &self.flow.decls {
            if BUILT_IN.contains(&name.as_str()) {
                self.fault(
                    decl.at,
                    "E111",
                    format!("\"{name}\" is a name of helpline itself: choose another"),
                );
            }
        }
    }

    fn unused(&mut self) {
        for (name, decl) in &self.flow.decls {
            if decl.role == Role::Var && !self.used.contains(name) {
                self.fault(
                    decl.at,
                    "W201",
                    format!("the variable \"{name}\" is never read"),
                );
            }
        }
    }

    fn node(&mut self, node: &Node, set: &Set<'_>) {
        for (_, exit) in node.exits() {
            self.say(&exit.say);
        }
        for say in node.says() {
            match &node.act {
                Act::Callback { .. } => self.with("callback", callback_sample(), |c| c.say(say)),
                Act::Enqueue { .. } => self.with("queue", queue_sample(), |c| c.say(say)),
                _ => self.say(say),
            }
        }
        match &node.act {
            Act::Collect { entry, .. } => {
                if let Some(code) = &entry.check {
                    self.with("digits", Value::from("1"), |c| {
                        c.code(code, Some(Need::Of(Kind::Bool)))
                    });
                    // What was keyed may be wanted for nothing but its check.
                    self.used.insert(entry.save.name.clone());
                }
                self.writable(&entry.save, Some(Kind::String));
            }
            Act::Record { save, .. } | Act::Lookup { save, .. } => {
                self.writable(save, Some(Kind::Map));
                if let Act::Lookup { value, .. } = &node.act {
                    self.code(value, Some(Need::Of(Kind::String)));
                }
            }
            Act::Branch { cases, .. } => {
                for (when, _, _) in cases {
                    self.code(when, Some(Need::Of(Kind::Bool)));
                }
            }
            Act::Set { set, .. } => {
                for (to, code) in set {
                    self.assign(to, code);
                }
            }
            Act::Http { request, save, .. } => {
                self.request(request);
                self.response(save);
            }
            Act::Webhook { request, .. } => self.request(request),
            Act::Callback { order, .. } => self.order(order),
            Act::Enqueue {
                queue, priority, ..
            } => {
                self.parts(queue, "a queue's name");
                if let Some(code) = priority {
                    self.code(code, Some(Need::Of(Kind::Int)));
                }
            }
            Act::Transfer { to, caller_id, .. } => {
                self.parts(to, "a telephone number");
                if let Some(code) = caller_id {
                    self.code(code, Some(Need::Of(Kind::String)));
                }
            }
            Act::Conference { room, .. } => self.parts(room, "a room's name"),
            Act::Subflow {
                flow, with, save, ..
            } => self.call(flow, with, save, set),
            Act::Play { .. }
            | Act::Menu { .. }
            | Act::Voicemail { .. }
            | Act::Detect { .. }
            | Act::Wait { .. }
            | Act::Return { .. }
            | Act::Hangup { .. } => {}
        }
    }

    fn request(&mut self, request: &Request) {
        self.parts(&request.url, "an address");
        for (_, value) in &request.headers {
            self.parts(value, "a header");
        }
        // A body may hold a secret: it goes to a service of the operator, encrypted.
        for (_, code) in request.json.iter().flatten() {
            self.code(code, None);
        }
    }

    /// What a service answers has any shape, so only the names are checked.
    fn response(&mut self, save: &[(Target, Code)]) {
        let (scope, loose) = (self.scope.clone(), self.loose.clone());
        self.scope.set("response", expr::map([]));
        self.loose.insert("response".to_owned());
        for (to, code) in save {
            self.assign(to, code);
        }
        (self.scope, self.loose) = (scope, loose);
    }

    fn order(&mut self, order: &Order) {
        match order {
            Order::Request {
                queue, number, at, ..
            } => {
                self.parts(queue, "a queue's name");
                self.code(number, Some(Need::Of(Kind::String)));
                if let Some(at) = at {
                    self.code(at, Some(Need::Moment));
                }
            }
            Order::Reschedule(code) => self.code(code, Some(Need::Moment)),
            Order::Refused | Order::Withdrawn => {}
        }
    }

    fn parts(&mut self, parts: &[Part], what: &str) {
        for part in parts {
            if let Part::Code(code) | Part::Plain(code) = part {
                self.code(code, None);
                self.no_secret(code, what);
            }
        }
    }

    fn call(
        &mut self,
        called: &Target,
        with: &[(Target, Code)],
        save: &[(Target, Code)],
        set: &Set<'_>,
    ) {
        let other = set.flows.get(&called.name).map(Arc::clone);
        let decl = |name: &str| other.as_ref().and_then(|o| o.decls.get(name).cloned());
        for (to, code) in with {
            let input = decl(&to.name);
            self.code(code, input.as_ref().map(|d| Need::Of(d.kind)));
            if input.is_some_and(|d| !d.secret) {
                self.no_secret(code, &format!("the plain input \"{}\"", to.name));
            }
        }
        // `save` reads what the called flow hands back, by its names.
        let (scope, loose) = (self.scope.clone(), self.loose.clone());
        let outputs = other
            .iter()
            .flat_map(|o| &o.decls)
            .filter(|(_, d)| d.role == Role::Output);
        for (name, decl) in outputs {
            add_sample(&mut self.scope, &mut self.loose, name, decl);
        }
        for (to, code) in save {
            self.assign(to, code);
        }
        (self.scope, self.loose) = (scope, loose);
    }

    fn assign(&mut self, to: &Target, code: &Code) {
        let kind = self.writable(to, None);
        self.code(code, kind.map(Need::Of));
        if self.flow.decls.get(&to.name).is_none_or(|d| !d.secret) {
            self.no_secret(code, &format!("the plain name \"{}\"", to.name));
        }
    }

    /// The type of a name that may be written.
    fn writable(&mut self, to: &Target, gives: Option<Kind>) -> Option<Kind> {
        if to.name == "lang" {
            return Some(Kind::String);
        }
        match self.flow.decls.get(&to.name) {
            Some(decl) if decl.role == Role::Input => {
                self.fault(
                    to.at,
                    "E109",
                    format!("\"{}\" is an input and cannot be written", to.name),
                );
                None
            }
            Some(decl) => {
                if let Some(gives) = gives
                    && decl.kind != gives
                    && decl.kind != Kind::Any
                {
                    let (want, have) = (gives.word(), decl.kind.word());
                    self.fault(
                        to.at,
                        "E108",
                        format!(
                            "\"{}\" is of type {have}, but this is saved as {want}",
                            to.name
                        ),
                    );
                }
                Some(decl.kind)
            }
            None => {
                let near = hint(&to.name, self.flow.decls.keys().map(String::as_str));
                let what = if BUILT_IN.contains(&to.name.as_str()) {
                    "cannot be written"
                } else {
                    "is not declared under `vars` or `output`"
                };
                self.fault(to.at, "E109", format!("\"{}\" {what}{near}", to.name));
                None
            }
        }
    }

    fn say(&mut self, items: &[Item]) {
        for item in items {
            if let Some(when) = &item.when {
                self.code(when, Some(Need::Of(Kind::Bool)));
            }
            match &item.what {
                What::Prompt { id, with } => {
                    let flow = self.flow;
                    let slots = flow.prompts.get(id).map(|p| &p.slots);
                    for (slot, code) in with {
                        let read_as = slots.and_then(|s| s.get(slot)).map(|(r, _)| r);
                        self.code(code, read_as.map(need_of));
                    }
                }
                What::Value(read_as, code) => self.code(code, Some(need_of(read_as))),
                What::Tts(parts) => self.parts(parts, "words that a program speaks"),
                What::File(_) | What::Pause(_) | What::Tone(_) => {}
            }
        }
    }

    /// Evaluates with one more name, then forgets it.
    fn with(&mut self, name: &str, value: Value, run: impl FnOnce(&mut Self)) {
        let scope = self.scope.clone();
        self.scope.set(name, value);
        run(self);
        self.scope = scope;
    }

    fn code(&mut self, code: &Code, need: Option<Need>) {
        let mut known = true;
        for name in code.expr.names() {
            self.used.insert(name.clone());
            if !self.scope.has(name) {
                known = false;
                let near = hint(name, self.scope.names());
                let message = format!(
                    "`{}`: the name \"{name}\" is not known here{near}",
                    code.expr.source()
                );
                self.report.add(&self.flow.file, code.at, "E108", message);
            }
        }
        // A line that a value names has no sample.
        let names = code.expr.names();
        let any_line = names.contains("queues") && code.expr.fields_of("queues").next().is_none();
        if !known || any_line || names.iter().any(|n| self.loose.contains(n)) {
            return;
        }
        match code.expr.eval(&self.scope) {
            Ok(value) if need.is_none_or(|n| n.takes(&value)) => {}
            Ok(value) => {
                let want = need.map(Need::words).unwrap_or_default();
                let message = format!(
                    "`{}` gives {}, but this place needs a value {want}",
                    code.expr.source(),
                    expr::type_name(&value)
                );
                self.fault(code.at, "E108", message);
            }
            // A value a real call would not have; the types fit.
            Err(EvalError::Value(_)) => {}
            Err(EvalError::Shape(why)) => {
                self.fault(code.at, "E108", format!("`{}`: {why}", code.expr.source()));
            }
        }
    }

    fn no_secret(&mut self, code: &Code, to: &str) {
        let flow = self.flow;
        for name in code.expr.names() {
            if flow.decls.get(name).is_some_and(|d| d.secret) {
                self.fault(
                    code.at,
                    "E113",
                    format!("the secret \"{name}\" would leave through {to}"),
                );
            }
        }
    }
}

fn need_of(read_as: &ReadAs) -> Need {
    match read_as {
        ReadAs::Number { .. } | ReadAs::Ordinal | ReadAs::Digits => Need::Digits,
        ReadAs::Money { .. } => Need::Digits,
        ReadAs::Duration(_) | ReadAs::Ewt => Need::Of(Kind::Duration),
        ReadAs::Date | ReadAs::Time => Need::Of(Kind::Timestamp),
        ReadAs::Phone => Need::Of(Kind::String),
    }
}

/// Sample values for every name an expression of this flow may read.
fn samples(flow: &Flow) -> Scope {
    let mut scope = Scope::default();
    let text = |s: &str| Value::from(s);
    let call = ["id", "from", "to", "direction", "queue"].map(|name| (name, text("1")));
    scope.set("call", expr::map(call));
    scope.set("lang", "en-US");
    scope.set("detect", expr::map([("verdict", text("human"))]));
    scope.set("env", expr::map([]));
    // Left, a queue still tells how it stood.
    let waits = |node: &Node| matches!(node.act, Act::Enqueue { .. });
    if flow.nodes.iter().any(waits) {
        scope.set("queue", queue_sample());
    }
    let at = expr::timestamp(Wall::from_millis(1_795_440_000_000)).unwrap_or(Value::Null);
    // Which queues there are is checked against the configuration.
    let codes = all_codes(flow);
    let named = codes.iter().flat_map(|code| code.expr.fields_of("queues"));
    scope.set("queues", expr::map(named.map(|name| (name, line_sample()))));
    let calendar = [("open", Value::Bool(true)), ("next_open", at)];
    scope.set("calendar", expr::map(calendar));
    if let Some(now) = expr::timestamp(Wall::from_millis(1_795_440_000_000)) {
        scope.set("now", now);
    }
    let mut ignore = BTreeSet::new();
    for (name, decl) in &flow.decls {
        add_sample(&mut scope, &mut ignore, name, decl);
    }
    scope
}

fn loose(flow: &Flow) -> BTreeSet<String> {
    let (mut scope, mut loose) = (Scope::default(), BTreeSet::from(["env".to_owned()]));
    for (name, decl) in &flow.decls {
        add_sample(&mut scope, &mut loose, name, decl);
    }
    loose
}

fn add_sample(scope: &mut Scope, loose: &mut BTreeSet<String>, name: &str, decl: &Decl) {
    let open_map = decl.kind == Kind::Map && decl.fields.is_empty();
    let inner = decl
        .fields
        .values()
        .any(|k| matches!(k, Kind::Any | Kind::Map | Kind::List));
    if open_map || inner || matches!(decl.kind, Kind::Any | Kind::List) {
        loose.insert(name.to_owned());
    } else {
        loose.remove(name);
    }
    let value = if decl.kind == Kind::Map {
        expr::map(decl.fields.iter().map(|(n, k)| (n.as_str(), sample(*k))))
    } else {
        sample(decl.kind)
    };
    scope.set(name, value);
}

/// `1` as text can be read as a number, added to a unit, compared.
fn sample(kind: Kind) -> Value {
    match kind {
        Kind::String => Value::from("1"),
        Kind::Int => Value::Int(1),
        Kind::Number => Value::Float(1.0),
        Kind::Bool => Value::Bool(true),
        Kind::Duration => expr::duration(Duration::from_secs(60)),
        Kind::Timestamp => {
            expr::timestamp(Wall::from_millis(1_795_439_000_000)).unwrap_or(Value::Null)
        }
        Kind::Map => expr::map([]),
        Kind::List => Value::List(Arc::new(Vec::new())),
        Kind::Any => Value::Null,
    }
}

fn line_sample() -> Value {
    expr::map([
        ("waiting", Value::Int(1)),
        ("agents", Value::Int(1)),
        ("ewt", expr::duration(Duration::from_secs(60))),
        ("open", Value::Bool(true)),
    ])
}

fn queue_sample() -> Value {
    expr::map([
        ("position", Value::Int(1)),
        ("waiting", Value::Int(1)),
        ("agents", Value::Int(1)),
        ("ewt", expr::duration(Duration::from_secs(60))),
    ])
}

fn callback_sample() -> Value {
    let now = expr::timestamp(Wall::from_millis(1_795_440_000_000)).unwrap_or(Value::Null);
    expr::map([
        ("position", Value::Int(1)),
        ("ewt", expr::duration(Duration::from_secs(60))),
        ("at", now),
        ("merged", Value::Bool(false)),
    ])
}
