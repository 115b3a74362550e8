//! The strict YAML reader: text to structs in which every field may be missing and
//! knows its place, so that later checks can point at the exact word.
//!
//! Kinds of node are told apart after reading: an enum with an internal tag would lose
//! line and column (serde buffers such values).

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Budget, Options, Spanned};

use super::fault::Place;

/// Largest flow file in bytes.
pub(super) const FILE_BYTES_MAX: usize = 256 * 1024;
/// Most keys, values and brackets of a file: a flow of 500 rich nodes has half of it, and a
/// larger file is refused within a tenth of a second.
const EVENTS_MAX: usize = 35_000;

/// A value and its place.
#[derive(Clone, Debug, Default)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: Place,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(from)?;
        Ok(At {
            value: spanned.value,
            at: place(spanned.referenced),
        })
    }
}

fn place(location: serde_saphyr::Location) -> Place {
    Place {
        line: u32::try_from(location.line()).unwrap_or(0),
        column: u32::try_from(location.column()).unwrap_or(0),
    }
}

/// Defines a value that only an unquoted word of its own kind gives: a derived reader
/// would take `"true"` and `"1"` as well.
macro_rules! strict {
    ($(#[$doc:meta])* $name:ident($type:ty) $expects:literal $($visit:item)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $name(pub(super) $type);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Reader;
                impl Visitor<'_> for Reader {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expects)
                    }
                    $($visit)*
                }
                from.deserialize_any(Reader)
            }
        }
    };
}

strict!(
    /// True or false.
    Flag(bool) "true or false"
    fn visit_bool<E: serde::de::Error>(self, b: bool) -> Result<Flag, E> {
        Ok(Flag(b))
    }
);

strict!(
    /// A whole number, not below zero.
    Whole(u64) "a whole number"
    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Whole, E> {
        Ok(Whole(n))
    }
    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Whole, E> {
        u64::try_from(n).map(Whole).map_err(|_| E::custom("a number below zero"))
    }
);

/// A map in the order of the file.
#[derive(Clone, Debug)]
pub(super) struct Entries<V>(pub(super) Vec<(At<String>, V)>);

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Reader<V> {
            type Value = Entries<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<At<String>>()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_map(Reader(PhantomData))
    }
}

/// Defines a struct read from a map: each field optional, every key kept with its place.
macro_rules! raw {
    ($(#[$doc:meta])* $name:ident { $($field:ident $key:literal: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $field: Option<$type>,)*
            /// Every key that was written.
            pub(super) keys: Vec<At<String>>,
        }

        impl $name {
            /// The keys it knows.
            #[allow(dead_code)] // which fields a node knows depends on its type
            pub(super) const KNOWN: &'static [&'static str] = &[$($key),*];
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Reader;
                impl<'de> Visitor<'de> for Reader {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a map")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut out = $name::default();
                        while let Some(key) = map.next_key::<At<String>>()? {
                            match key.value.as_str() {
                                $($key => out.$field = Some(map.next_value()?),)*
                                // Kept in `keys`: the check that follows names it.
                                _ => {
                                    map.next_value::<IgnoredAny>()?;
                                }
                            }
                            out.keys.push(key);
                        }
                        Ok(out)
                    }
                }
                from.deserialize_map(Reader)
            }
        }
    };
}

raw!(
    /// A whole file.
    RawFlow {
        helpline "helpline": At<Whole>,
        id "id": At<String>,
        title "title": At<String>,
        start "start": At<String>,
        locales "locales": At<Vec<At<String>>>,
        calendar "calendar": At<String>,
        limits "limits": At<RawLimits>,
        input "input": Entries<At<RawDecl>>,
        vars "vars": Entries<At<RawDecl>>,
        output "output": Entries<At<RawDecl>>,
        prompts "prompts": Entries<At<RawPrompt>>,
        events "events": Entries<At<RawExit>>,
        nodes "nodes": At<Entries<At<RawNode>>>,
    }
);

raw!(
    /// `limits`.
    RawLimits {
        max_steps "max_steps": At<Whole>,
        max_duration "max_duration": At<String>,
    }
);

raw!(
    /// A declared name.
    RawDecl {
        kind "type": At<String>,
        default "default": At<serde_json::Value>,
        secret "secret": Flag,
        required "required": Flag,
        fields "fields": Entries<At<String>>,
    }
);

raw!(
    /// A prompt.
    RawPrompt {
        text "text": At<String>,
        slots "slots": Entries<At<RawSlot>>,
    }
);

raw!(
    /// How a slot is read.
    RawSlot {
        read_as "as": At<String>,
        round "round": At<String>,
        unit "unit": At<String>,
        currency "currency": At<String>,
    }
);

raw!(
    /// An exit, of a key or an event.
    RawExit {
        label "label": At<String>,
        say "say": At<Vec<At<RawItem>>>,
        next "next": At<String>,
    }
);

raw!(
    /// One thing to say.
    RawItem {
        prompt "prompt": At<String>,
        with "with": Entries<At<String>>,
        file "file": At<String>,
        tts "tts": At<String>,
        number "number": At<String>,
        ordinal "ordinal": At<String>,
        digits "digits": At<String>,
        duration "duration": At<String>,
        ewt "ewt": At<String>,
        date "date": At<String>,
        time "time": At<String>,
        money "money": At<String>,
        phone "phone": At<String>,
        pause "pause": At<String>,
        tone "tone": At<String>,
        round "round": At<String>,
        unit "unit": At<String>,
        currency "currency": At<String>,
        when "when": At<String>,
        barge_in "barge_in": Flag,
    }
);

raw!(
    /// `digits` of a `collect` node.
    RawDigits {
        min "min": At<Whole>,
        max "max": At<Whole>,
        terminators "terminators": At<String>,
        first "first": At<String>,
        between "between": At<String>,
    }
);

raw!(
    /// A case of a `branch` node.
    RawCase {
        when "when": At<String>,
        next "next": At<String>,
        label "label": At<String>,
    }
);

raw!(
    /// `request` of an `http` or `webhook` node.
    RawRequest {
        method "method": At<String>,
        url "url": At<String>,
        headers "headers": Entries<At<String>>,
        json "json": Entries<At<String>>,
        timeout "timeout": At<String>,
        retries "retries": At<Whole>,
    }
);

raw!(
    /// `announce` of an `enqueue` node.
    RawAnnounce {
        first "first": At<String>,
        every "every": At<String>,
        only_if_better "only_if_better": Flag,
        say "say": At<Vec<At<RawItem>>>,
    }
);

raw!(
    /// A node of any type.
    RawNode {
        kind "type": At<String>,
        title "title": At<String>,
        next "next": At<String>,
        say "say": At<Vec<At<RawItem>>>,
        events "events": Entries<At<RawExit>>,
        keys_map "keys": At<Entries<At<RawExit>>>,
        barge_in "barge_in": Flag,
        type_ahead "type_ahead": Flag,
        repeat "loop": At<Whole>,
        after "after": At<String>,
        timeout "timeout": At<String>,
        tries "tries": At<Whole>,
        digits "digits": At<RawDigits>,
        pattern "match": At<String>,
        check "check": At<String>,
        save "save": At<RawSave>,
        max "max": At<String>,
        silence "silence": At<String>,
        finish_keys "finish_keys": At<String>,
        beep "beep": Flag,
        review "review": Flag,
        mailbox "box": At<String>,
        cases "cases": At<Vec<At<RawCase>>>,
        otherwise "else": At<String>,
        set "set": At<Entries<At<String>>>,
        request "request": At<RawRequest>,
        accept "accept": At<Vec<At<Whole>>>,
        wait_say "wait_say": At<Vec<At<RawItem>>>,
        by "by": At<String>,
        value "value": At<String>,
        queue "queue": At<String>,
        priority "priority": At<String>,
        place "place": At<String>,
        music "music": At<String>,
        announce "announce": At<RawAnnounce>,
        max_wait "max_wait": At<String>,
        number "number": At<String>,
        book "at": At<String>,
        keep_place "keep_place": Flag,
        reschedule "reschedule": At<String>,
        cancel "cancel": At<String>,
        to "to": At<String>,
        ring "ring": At<String>,
        caller_id "caller_id": At<String>,
        whisper "whisper": At<Vec<At<RawItem>>>,
        mode "mode": At<String>,
        room "room": At<String>,
        role "role": At<String>,
        max_parties "max_parties": At<Whole>,
        budget "budget": At<String>,
        length "for": At<String>,
        flow "flow": At<String>,
        with "with": At<Entries<At<String>>>,
        event "event": At<String>,
        cause "cause": At<Whole>,
    }
);

/// `save`: one name, or names and expressions.
#[derive(Clone, Debug)]
pub(super) enum RawSave {
    /// `save: minutes`.
    Name(String),
    /// `save: { name: expression }`.
    Names(Entries<At<String>>),
}

impl<'de> Deserialize<'de> for RawSave {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RawSave;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or a map of names and expressions")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RawSave, E> {
                Ok(RawSave::Name(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawSave, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<At<String>>()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(RawSave::Names(Entries(entries)))
            }
        }
        from.deserialize_any(Reader)
    }
}

/// A file that could not be read: where and why.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    pub(super) at: Place,
    /// `E001` not YAML, `E002` YAML of another shape.
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// Reads a flow file.
pub(super) fn read(text: &str) -> Result<RawFlow, Unreadable> {
    typed(text)
}

/// Any other file under the same strict rules, read into a type of its own.
pub(super) fn typed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    to_json(text)?;
    serde_saphyr::from_str_with_options(text, options()).map_err(|e| unreadable(&e, "E002"))
}

/// The file as plain JSON, under the same strict rules.
pub(super) fn to_json(text: &str) -> Result<serde_json::Value, Unreadable> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Unreadable {
            at: Place::default(),
            code: "E001",
            message: format!("the file is longer than {FILE_BYTES_MAX} bytes"),
        });
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|e| unreadable(&e, "E001"))
}

fn unreadable(error: &serde_saphyr::Error, code: &'static str) -> Unreadable {
    let text = error.without_snippet().to_string();
    // The place is told apart from the message; the library's text ends with it.
    let message = text.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or_default();
    let message = match message.starts_with("budget breached: Events") {
        true => "the file is too large: it has more than 35000 keys, values and brackets",
        false => message,
    };
    Unreadable {
        at: error.location().map(place).unwrap_or_default(),
        code,
        message: message.trim().chars().take(300).collect(),
    }
}

/// YAML without its traps: no aliases, merges, tags or second document, no text that
/// another reader would take for a number or a truth value.
fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_aliases = 0;
    budget.max_anchors = 0;
    budget.max_documents = 1;
    budget.max_depth = 16;
    budget.max_events = EVENTS_MAX;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.duplicate_keys = DuplicateKeyPolicy::Error;
    options.merge_keys = MergeKeyPolicy::Error;
    options.strict_booleans = true;
    options.no_schema = true;
    options.reject_unsupported_tags = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options.with_snippet = false;
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_knows_its_place() {
        let flow = read("id: a\nnodes:\n  one: { type: play, next: two }\n").unwrap();
        let (name, node) = &flow.nodes.as_ref().unwrap().value.0[0];
        assert_eq!(
            (name.value.as_str(), name.at.line, name.at.column),
            ("one", 3, 3)
        );
        let next = node.value.next.as_ref().unwrap();
        assert_eq!(
            (next.value.as_str(), next.at.line, next.at.column),
            ("two", 3, 28)
        );
        assert_eq!(node.value.keys[1].at.column, 22);
    }

    #[test]
    fn the_traps_of_yaml_are_refused() {
        for (bad, code) in [
            ("a: [", "E001"),
            ("a: &x 1\nb: *x\n", "E001"),
            ("a: 1\na: 2\n", "E001"),
            ("<<: { a: 1 }\n", "E001"),
            ("a: !odd 1\n", "E001"),
            ("a: 1\n---\nb: 2\n", "E001"),
            ("a:\n\tb: 1\n", "E001"),
            ("nodes: { a: { keys: { 1: { next: b } } } }", "E001"),
            ("id: 12\n", "E002"),
            ("id: true\n", "E002"),
            ("id:\n", "E002"),
            ("id: [a]\n", "E002"),
            ("nodes: []\n", "E002"),
            ("helpline: one\n", "E002"),
            ("nodes: { a: { barge_in: yes } }", "E002"),
            ("nodes: { a: { tries: -1 } }", "E002"),
            ("[1, 2]", "E002"),
        ] {
            let error = read(bad).expect_err(bad);
            assert_eq!(error.code, code, "{bad:?}: {}", error.message);
            assert!(!error.message.is_empty(), "{bad:?}");
        }
        let deep = format!("a: {}{}", "[".repeat(20), "]".repeat(20));
        assert_eq!(read(&deep).unwrap_err().code, "E001");
        let long = format!("# {}\n", "x".repeat(FILE_BYTES_MAX));
        assert_eq!(read(&long).unwrap_err().code, "E001");
    }
}
