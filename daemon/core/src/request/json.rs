//! Reader of the body of `POST /api/requests`. Strict: an unknown key, a key given twice and
//! a wrong type are refused with the name of the field, so that a client learns of its fault
//! with the first request and not from a call that never comes.
//!
//! `schemas/help-request.json` describes the same language; a test keeps the two in step.

mod check;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Channel, FieldError, HelpRequest};

pub use check::{
    Agent, BOOKING_AHEAD_MAX, EMAIL_BYTES_MAX, PHONE_CHARS_MAX, ReadContext, local_instant,
};
pub(super) use check::{Raw, RawWhen, check};

/// Largest body of `POST /api/requests`, in bytes.
pub const BODY_BYTES_MAX: usize = 65_536;
/// Deepest nesting that is read at all: `{"when": {"at": ...}}` needs two levels.
const DEPTH_MAX: u32 = 8;

/// The keys of a request.
const KEYS: [&str; 11] = [
    "queue", "phone", "name", "email", "page", "note", "lang", "tz", "when", "skill", "agent",
];

/// Reads the body of `POST /api/requests`.
///
/// # Errors
/// Every field that cannot be used, in the order of the fields; one error for the field `body`
/// if the bytes are no JSON object.
pub fn read(body: &[u8], context: &ReadContext<'_>) -> Result<HelpRequest, Vec<FieldError>> {
    if body.len() > BODY_BYTES_MAX {
        return Err(vec![error("body", "too-long", "the body is too long")]);
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Strict { depth: 0 }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|fault| vec![error("body", "bad-json", fault.to_string())])?;
    let Value::Object(object) = value else {
        return Err(vec![error(
            "body",
            "bad-type",
            "the body must be a JSON object",
        )]);
    };
    read_object(&object, context)
}

fn read_object(
    object: &Map<String, Value>,
    context: &ReadContext<'_>,
) -> Result<HelpRequest, Vec<FieldError>> {
    let mut faults = Vec::new();
    for key in object.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        faults.push(unknown_key("body", key));
    }
    let mut text = |field: &'static str| match object.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.as_str()),
        Some(other) => {
            faults.push(wrong_type(field, "a string", other));
            None
        }
    };
    let mut raw = Raw {
        channel: Channel::Json,
        queue: text("queue"),
        phone: text("phone"),
        name: text("name"),
        email: text("email"),
        page: text("page"),
        note: text("note"),
        language: text("lang"),
        zone: text("tz"),
        skill: text("skill"),
        agent: text("agent"),
        when: RawWhen::Now,
    };
    match read_when(object.get("when"), &mut faults) {
        Some(when) => raw.when = when,
        None if faults.is_empty() => faults.push(wrong_when()),
        None => {}
    }
    match check(&raw, context) {
        Ok(request) if faults.is_empty() => Ok(request),
        Ok(_) => Err(faults),
        Err(more) => {
            // A field of the wrong type was reported above; "missing" would be a second word for it.
            let known: Vec<&str> = faults.iter().map(|fault| fault.field).collect();
            faults.extend(more.into_iter().filter(|e| !known.contains(&e.field)));
            Err(faults)
        }
    }
}

fn read_when<'a>(value: Option<&'a Value>, faults: &mut Vec<FieldError>) -> Option<RawWhen<'a>> {
    let object = match value {
        None | Some(Value::Null) => return Some(RawWhen::Now),
        Some(Value::String(word)) if word == "now" => return Some(RawWhen::Now),
        Some(Value::Object(object)) => object,
        Some(_) => {
            faults.push(wrong_when());
            return None;
        }
    };
    let mut time = |field: &'static str| match object.get(field) {
        None => None,
        Some(Value::String(text)) => Some(text.as_str()),
        Some(other) => {
            faults.push(wrong_type("when", "a time as a string", other));
            None
        }
    };
    let (at, from, to) = (time("at"), time("not_before"), time("not_after"));
    for key in object.keys() {
        if !["at", "not_before", "not_after"].contains(&key.as_str()) {
            faults.push(unknown_key("when", key));
        }
    }
    match (at, from, to) {
        (Some(at), None, None) => Some(RawWhen::At(at)),
        (None, None, None) | (Some(_), _, _) => {
            faults.push(wrong_when());
            None
        }
        (None, not_before, not_after) => Some(RawWhen::Between(not_before, not_after)),
    }
}

fn wrong_when() -> FieldError {
    error(
        "when",
        "bad-when",
        "write \"now\", {\"at\": TIME} or {\"not_before\": TIME, \"not_after\": TIME}",
    )
}

fn unknown_key(field: &'static str, key: &str) -> FieldError {
    let name = super::clean_text(key, 40, false).unwrap_or_default();
    error(
        field,
        "unknown-key",
        format!("there is no key named \"{name}\""),
    )
}

fn wrong_type(field: &'static str, wanted: &str, got: &Value) -> FieldError {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    error(
        field,
        "bad-type",
        format!("this must be {wanted}, not {got}"),
    )
}

fn error(field: &'static str, kind: &'static str, reason: impl Into<String>) -> FieldError {
    FieldError {
        field,
        kind,
        reason: reason.into(),
    }
}

/// Reads any JSON value, but refuses a key given twice (the usual readers silently take the
/// last one) and deep nesting.
struct Strict {
    depth: u32,
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Strict, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Strict {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = from.next_element_seed(self.deeper()?)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let value = from.next_value_seed(self.deeper()?)?;
            if object.contains_key(&key) {
                let name = super::clean_text(&key, 40, false).unwrap_or_default();
                return Err(serde::de::Error::custom(format!(
                    "the key \"{name}\" is given twice"
                )));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
