//! Nodes of sound: `play`, `record`, `voicemail`, `detect`, `wait`.

use std::time::Duration;

use super::Reader;
use crate::ivr::io::Key;
use crate::ivr::model::{Act, Named, Taking};
use crate::ivr::raw::{At, RawNode};

impl Reader<'_> {
    pub(super) fn play(&mut self, raw: &RawNode) -> Option<Act> {
        let say = raw.say.as_ref().map(|s| self.say(s));
        let repeat = raw.repeat.as_ref().map_or(1, |r| self.range(r, 1, 100));
        if let Some(after) = raw.after.as_ref().filter(|after| after.value != "beep") {
            let word = &after.value;
            self.fault(after.at, format!("`after` is beep, not \"{word}\""));
        }
        let next = self.next(raw);
        Some(Act::Play {
            say: say?,
            barge_in: raw.barge_in.is_some_and(|f| f.0),
            repeat,
            after_beep: raw.after.is_some(),
            next: next?,
        })
    }

    pub(super) fn record(&mut self, raw: &RawNode) -> Option<Act> {
        let taking = self.taking(raw);
        let save = self.save_name(raw);
        let next = self.next(raw);
        Some(Act::Record {
            taking: taking?,
            save: save?,
            next: next?,
        })
    }

    pub(super) fn voicemail(&mut self, raw: &RawNode) -> Option<Act> {
        let taking = self.taking(raw);
        let mailbox = raw.mailbox.as_ref().filter(|m| self.dashed(m));
        let next = self.next(raw);
        Some(Act::Voicemail {
            taking: taking?,
            mailbox: named(mailbox?),
            next: next?,
        })
    }

    fn taking(&mut self, raw: &RawNode) -> Option<Taking> {
        let say = raw.say.as_ref().map(|s| self.say(s)).unwrap_or_default();
        let mut length = |raw: Option<&At<String>>, seconds| {
            raw.map_or(Some(Duration::from_secs(seconds)), |raw| self.duration(raw))
        };
        let max = length(raw.max.as_ref(), 120);
        let silence = length(raw.silence.as_ref(), 4);
        let keys = match &raw.finish_keys {
            None => vec!['#'],
            Some(keys) => self.key_set(keys),
        };
        Some(Taking {
            say,
            max: max?,
            silence: silence?,
            finish_keys: keys.into_iter().filter_map(Key::new).collect(),
            beep: raw.beep.is_none_or(|f| f.0),
            review: raw.review.is_some_and(|f| f.0),
        })
    }

    pub(super) fn detect(&mut self, raw: &RawNode) -> Option<Act> {
        let budget = raw.budget.as_ref();
        let budget = budget.map_or(Some(Duration::from_secs(4)), |b| self.duration(b));
        let next = self.next(raw);
        Some(Act::Detect {
            budget: budget?,
            next: next?,
        })
    }

    pub(super) fn wait(&mut self, raw: &RawNode) -> Option<Act> {
        let length = raw.length.as_ref().map(|l| self.duration(l));
        let music = raw.music.as_ref().map(|m| self.music(m));
        let next = self.next(raw);
        Some(Act::Wait {
            length: length??,
            music,
            next: next?,
        })
    }

    /// The id of music or another file: `hold/default`.
    pub(super) fn music(&mut self, raw: &At<String>) -> Named {
        if !is_path(&raw.value) {
            let name = raw.value.chars().take(60).collect::<String>();
            self.fault(
                raw.at,
                format!("\"{name}\" is no id of a file: use a-z, 0-9, _ and -, parts divided by /"),
            );
        }
        named(raw)
    }
}

fn named(raw: &At<String>) -> Named {
    Named {
        name: raw.value.clone(),
        at: raw.at,
    }
}

/// `hold/default`: no dots, so that no path leaves its folder.
fn is_path(text: &str) -> bool {
    text.len() <= 100
        && text.split('/').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
        })
}
