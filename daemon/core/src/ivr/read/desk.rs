//! Nodes that speak to the desk: `callback` and `enqueue`.

use std::time::Duration;

use super::Reader;
use crate::ivr::fault::{Place, hint};
use crate::ivr::model::{Act, Announce, Order};
use crate::ivr::raw::{At, RawAnnounce, RawNode};

/// Callers are not spoken to more often than this.
const ANNOUNCE_EVERY_MIN: Duration = Duration::from_secs(15);

impl Reader<'_> {
    pub(super) fn callback(&mut self, raw: &RawNode, at: Place) -> Option<Act> {
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

    pub(super) fn enqueue(&mut self, raw: &RawNode) -> Option<Act> {
        let reserved = match raw.place.as_ref().map(|p| (p.value.as_str(), p.at)) {
            Some(("reserved", _)) => true,
            Some(("new", _)) | None => false,
            Some((other, at)) => {
                let near = hint(other, ["new", "reserved"]);
                self.fault(
                    at,
                    format!("`place` is new or reserved, not \"{other}\"{near}"),
                );
                false
            }
        };
        let queue = raw.queue.as_ref().map(|q| self.template(q));
        let priority = raw.priority.as_ref().map(|p| self.code(p));
        let say = raw.say.as_ref().map(|s| self.say(s)).unwrap_or_default();
        let music = raw.music.as_ref().map(|m| self.music(m));
        let announce = raw.announce.as_ref().map(|a| self.announce(a));
        let keys = raw.keys_map.as_ref().map(|k| self.keys(k));
        let max_wait = raw
            .max_wait
            .as_ref()
            .map_or(Some(Duration::from_secs(1800)), |w| self.duration(w));
        let next = self.next(raw);
        Some(Act::Enqueue {
            queue: queue?,
            priority: priority.flatten(),
            reserved,
            say,
            music,
            announce: announce.flatten(),
            keys: keys.unwrap_or_default(),
            max_wait: max_wait?,
            next,
        })
    }

    fn announce(&mut self, raw: &At<RawAnnounce>) -> Option<Announce> {
        let announce = &raw.value;
        self.only(&announce.keys, RawAnnounce::KNOWN, "`announce`");
        let say = self.need(announce.say.as_ref(), raw.at, "say", "`announce`");
        let say = say.map(|say| self.say(say));
        let mut length = |raw: Option<&At<String>>, seconds| {
            raw.map_or(Some(Duration::from_secs(seconds)), |raw| self.duration(raw))
        };
        let first = length(announce.first.as_ref(), 10);
        let every = length(announce.every.as_ref(), 30);
        if let (Some(written), Some(every)) = (&announce.every, every)
            && every < ANNOUNCE_EVERY_MIN
        {
            let min = ANNOUNCE_EVERY_MIN.as_secs();
            self.nonsense(written.at, format!("`every` is at least {min}s"));
        }
        Some(Announce {
            first: first?,
            every: every?,
            only_if_better: announce.only_if_better.is_some_and(|f| f.0),
            say: say?,
        })
    }
}
