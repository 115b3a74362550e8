//! Questions: `menu` and `collect`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Reader;
use crate::ivr::model::{Act, Entry, Exit, Question, Target};
use crate::ivr::raw::{At, Entries, RawDigits, RawExit, RawNode, RawSave};

impl Reader<'_> {
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

    pub(super) fn menu(&mut self, raw: &RawNode) -> Option<Act> {
        let first = raw
            .timeout
            .as_ref()
            .map_or(Some(Duration::from_secs(6)), |t| self.duration(t));
        let question = self.question(raw, first.unwrap_or_default());
        let map = raw.keys_map.as_ref()?;
        let keys = self.keys(map);
        Some(Act::Menu {
            question: question?,
            keys,
        })
    }

    /// Keys and what follows each.
    pub(super) fn keys(&mut self, raw: &At<Entries<At<RawExit>>>) -> BTreeMap<char, Exit> {
        if raw.value.0.is_empty() {
            self.fault(raw.at, "`keys` needs at least one key");
        }
        let mut keys = BTreeMap::new();
        for (key, exit) in &raw.value.0 {
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
        keys
    }

    pub(super) fn collect(&mut self, raw: &RawNode) -> Option<Act> {
        let digits = raw.digits.as_ref().map(|d| self.digits(d));
        let pattern = raw.pattern.as_ref().map(|p| self.pattern(p));
        let check = raw.check.as_ref().map(|c| self.code(c));
        let save = self.save_name(raw);
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

    /// `save` where it is one name.
    pub(super) fn save_name(&mut self, raw: &RawNode) -> Option<Target> {
        match raw.save.as_ref()? {
            At {
                value: RawSave::Name(name),
                at,
            } => self.target(&At {
                value: name.clone(),
                at: *at,
            }),
            At { at, .. } => {
                self.fault(*at, "`save` of this node is one name");
                None
            }
        }
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
}
