//! Nodes that bring callers together: `transfer` and `conference`.

use std::time::Duration;

use super::Reader;
use crate::ivr::fault::hint;
use crate::ivr::io::{Role, TransferMode};
use crate::ivr::model::Act;
use crate::ivr::raw::{At, RawNode};

impl Reader<'_> {
    pub(super) fn transfer(&mut self, raw: &RawNode) -> Option<Act> {
        let to = raw.to.as_ref().map(|t| self.template(t));
        let ring = raw.ring.as_ref();
        let ring = ring.map_or(Some(Duration::from_secs(30)), |r| self.duration(r));
        let caller_id = raw.caller_id.as_ref().map(|c| self.code(c));
        let say = raw.say.as_ref().map(|s| self.say(s)).unwrap_or_default();
        let whisper = raw.whisper.as_ref().map(|s| self.say(s));
        let next = self.next(raw);
        let modes = TransferMode::ALL.map(|m| (m.word(), m));
        let mode = self.choice(raw.mode.as_ref(), "mode", &modes, TransferMode::Bridge);
        if mode == Some(TransferMode::Blind) {
            for field in ["whisper", "caller_id"] {
                if let Some(key) = raw.keys.iter().find(|key| key.value == field) {
                    let why = "the caller's side makes the call";
                    self.fault(
                        key.at,
                        format!("`{field}` is nothing for `mode: blind`: {why}"),
                    );
                }
            }
        }
        Some(Act::Transfer {
            mode: mode?,
            to: to?,
            ring: ring?,
            caller_id: caller_id.flatten(),
            say,
            whisper: whisper.unwrap_or_default(),
            next,
        })
    }

    pub(super) fn conference(&mut self, raw: &RawNode) -> Option<Act> {
        let room = raw.room.as_ref().map(|r| self.template(r));
        let roles = Role::ALL.map(|r| (r.word(), r));
        let role = self.choice(raw.role.as_ref(), "role", &roles, Role::Talk);
        let parties = raw.max_parties.as_ref();
        let max_parties = parties.map_or(3, |m| self.range(m, 2, 5));
        let say = raw.say.as_ref().map(|s| self.say(s)).unwrap_or_default();
        Some(Act::Conference {
            room: room?,
            role: role?,
            max_parties,
            say,
        })
    }

    /// One of several words; `None` if it is another.
    fn choice<T: Copy>(
        &mut self,
        raw: Option<&At<String>>,
        field: &str,
        choices: &[(&str, T)],
        without: T,
    ) -> Option<T> {
        let Some(raw) = raw else {
            return Some(without);
        };
        let found = choices.iter().find(|(word, _)| *word == raw.value);
        if found.is_none() {
            let words = choices.iter().map(|(word, _)| *word);
            let near = hint(&raw.value, words.clone());
            let words = words.collect::<Vec<_>>().join(" or ");
            let message = format!("`{field}` is {words}, not \"{}\"{near}", raw.value);
            self.fault(raw.at, message);
        }
        found.map(|(_, choice)| *choice)
    }
}
