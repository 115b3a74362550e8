//! Names of a flow and their values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{FlowMachine, StartError};
use crate::ivr::expr::{self, EvalError, Scope, Value};
use crate::ivr::model::{Code, Decl, Flow, Kind, Role};
use crate::ivr::read::coerce;

/// The values of one frame.
#[derive(Debug, Default)]
pub(super) struct Vars(pub(super) BTreeMap<String, Value>);

impl Vars {
    /// Own names at their defaults, inputs from what the starter gave. Names the flow
    /// does not declare are left out: one starter serves many flows.
    pub(super) fn of_start(
        flow: &Flow,
        input: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, StartError> {
        let mut vars = BTreeMap::new();
        for (name, decl) in &flow.decls {
            let bad = |why: &str| StartError::BadInput {
                name: name.clone(),
                why: why.to_owned(),
            };
            let given = input.get(name).filter(|_| decl.role == Role::Input);
            let value = match given {
                Some(json) => read_input(json, decl).map_err(|why| bad(&why))?,
                None if decl.required && decl.role == Role::Input => {
                    return Err(bad("is required"));
                }
                None => decl.default.clone().unwrap_or_else(|| empty(decl.kind)),
            };
            if !expr::fits(&value) {
                return Err(bad("is too large"));
            }
            vars.insert(name.clone(), value);
        }
        Ok(Vars(vars))
    }

    /// For a called flow: inputs as computed.
    pub(super) fn of_call(flow: &Flow, mut given: BTreeMap<String, Value>) -> Option<Self> {
        let mut vars = BTreeMap::new();
        for (name, decl) in &flow.decls {
            let given = given.remove(name).filter(|_| decl.role == Role::Input);
            let value = match given {
                Some(value) if decl.kind.takes(&value) => value,
                Some(_) => return None,
                None if decl.required && decl.role == Role::Input => return None,
                None => decl.default.clone().unwrap_or_else(|| empty(decl.kind)),
            };
            vars.insert(name.clone(), value);
        }
        Some(Vars(vars))
    }
}

/// An input from JSON; declared fields that hold times become times.
pub(super) fn read_input(json: &serde_json::Value, decl: &Decl) -> Result<Value, String> {
    let wrong = |kind: Kind| format!("is not of type {}", kind.word());
    let value = coerce(json, decl.kind).ok_or_else(|| wrong(decl.kind))?;
    let serde_json::Value::Object(object) = json else {
        return Ok(value);
    };
    let mut entries = Vec::new();
    for (field, json) in object {
        let value = match decl.fields.get(field) {
            // A field that is null counts as absent, so `has()` tells.
            Some(_) if json.is_null() => continue,
            Some(kind) => {
                coerce(json, *kind).ok_or_else(|| format!("field {field:?} {}", wrong(*kind)))?
            }
            None => expr::from_json(json),
        };
        entries.push((field.as_str(), value));
    }
    Ok(expr::map(entries))
}

fn empty(kind: Kind) -> Value {
    match kind {
        Kind::String => Value::from(""),
        Kind::Int => Value::Int(0),
        Kind::Number => Value::Float(0.0),
        Kind::Bool => Value::Bool(false),
        Kind::Duration => expr::duration(Duration::ZERO),
        Kind::Map => expr::map([]),
        Kind::List => Value::List(Arc::new(Vec::new())),
        Kind::Timestamp | Kind::Any => Value::Null,
    }
}

impl FlowMachine {
    /// The names an expression reads, as they are now. Only those: to make all of them
    /// would cost more than the expression itself.
    pub(super) fn scope(&self, code: &Code) -> Scope {
        let mut scope = Scope::default();
        for name in code.expr.names() {
            if let Some(value) = self.value_of(name) {
                scope.set(name, value);
            }
        }
        scope
    }

    /// The value of an expression now.
    pub(super) fn eval(&self, code: &Code) -> Result<Value, EvalError> {
        code.expr.eval(&self.scope(code))
    }

    fn value_of(&self, name: &str) -> Option<Value> {
        // A flow cannot declare the names of helpline itself.
        let own = self.frames.last().and_then(|f| f.vars.0.get(name));
        if let Some(value) = own {
            return Some(value.clone());
        }
        let text = |text: &str| Value::from(text);
        Some(match name {
            "call" => {
                let call = &self.start.call;
                let from = call.from.as_ref().map_or("", |p| p.as_str());
                expr::map([
                    ("id", text(&call.id)),
                    ("from", text(from)),
                    ("to", text(&call.to)),
                    ("direction", text(call.direction)),
                    ("queue", text(&call.queue)),
                ])
            }
            "lang" => text(&self.lang),
            "calendar" => {
                let hours = self.start.hours;
                let opens = hours.next_open.and_then(expr::timestamp);
                let open = std::iter::once(("open", Value::Bool(hours.open)));
                expr::map(open.chain(opens.map(|at| ("next_open", at))))
            }
            "now" => expr::timestamp(self.wall())?,
            "callback" => self.callback.clone()?,
            "queue" => super::line::facts(self.queue.as_ref()?),
            "queues" => {
                let lines = self.start.queues.iter();
                expr::map(lines.map(|(name, line)| (name.as_str(), super::line::seen(line))))
            }
            "detect" => {
                let verdict = self.answerer.verdict.map_or("", super::answerer::word);
                expr::map([("verdict", text(verdict))])
            }
            "env" => {
                let env = self.start.env.iter();
                expr::map(env.map(|(name, value)| (name.as_str(), text(value))))
            }
            _ => return None,
        })
    }

    /// Gives a name of the flow on top a value; false if it may not hold it.
    pub(super) fn assign(&mut self, name: &str, value: Value) -> bool {
        if name == "lang" {
            let Value::String(wish) = &value else {
                return false;
            };
            let wish = wish.to_string();
            self.set_lang(&wish);
            self.trace("set", format!("lang={}", self.lang));
            return true;
        }
        let Some(frame) = self.frames.last_mut() else {
            return false;
        };
        let Some(decl) = frame.flow.decls.get(name) else {
            return false;
        };
        if !decl.kind.takes(&value) || !expr::fits(&value) || decl.role == Role::Input {
            return false;
        }
        let shown = if decl.secret {
            "******".to_owned()
        } else {
            expr::show(&value)
        };
        frame.vars.0.insert(name.to_owned(), value);
        self.trace("set", format!("{name}={shown}"));
        true
    }

    /// Why an expression failed, for a trace: such texts quote values, so not for secrets.
    pub(super) fn why(&self, code: &Code, error: &str) -> String {
        if self.masked || self.is_secret(code) {
            "the value does not fit".to_owned()
        } else {
            error.to_owned()
        }
    }
}
