//! The made-up world around a simulated call: other services, the store, the far end.

use std::sync::Arc;
use std::time::Duration;

use super::Sim;
use crate::audio::answer::Answerer;
use crate::ivr::io::{
    FindReply, HttpMethod, HttpOrder, HttpReply, Input, Key, OpId, QueueView, RecordOrder,
    RoomReply, SayItem, Take, TakeEnd, TransferReply,
};
use crate::time::Time;

/// What the world knows and how it answers.
#[derive(Clone, Debug)]
pub struct World {
    /// Other services; the first that fits a request answers it.
    pub services: Vec<Service>,
    /// What a lookup finds.
    pub record: FindReply,
    /// Whether a message can be stored.
    pub delivers: bool,
    /// How a line stands from the start.
    pub queue: QueueView,
    /// How long things said last; without it a sentence lasts 60 ms a character.
    pub lengths: Option<Lengths>,
}

/// Tells how long something said lasts.
#[derive(Clone)]
pub struct Lengths(pub Arc<dyn Fn(&SayItem) -> Duration + Send + Sync>);

impl std::fmt::Debug for Lengths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lengths")
    }
}

impl Default for World {
    fn default() -> Self {
        World {
            services: Vec::new(),
            record: FindReply::Miss,
            delivers: true,
            queue: QueueView::default(),
            lengths: None,
        }
    }
}

/// A service that answers.
#[derive(Clone, Debug)]
pub struct Service {
    /// Requests of this method; `None`: of any.
    pub method: Option<HttpMethod>,
    /// Whose address begins so.
    pub url: String,
    /// So much later.
    pub after: Duration,
    /// In this way.
    pub reply: HttpReply,
}

/// What the caller says into a recording.
#[derive(Debug)]
pub(super) struct Taking {
    op: OpId,
    order: RecordOrder,
    began: Time,
    /// He speaks, or spoke, until then.
    spoken_until: Time,
}

impl Taking {
    fn ends(&self) -> (Time, TakeEnd) {
        let silence = self.spoken_until.max(self.began) + self.order.silence;
        let limit = self.began + self.order.max;
        if limit <= silence {
            (limit, TakeEnd::Limit)
        } else {
            (silence, TakeEnd::Silence)
        }
    }
}

impl Sim {
    /// The answer to a request, when its time has come.
    pub(super) fn serve_http(&mut self, op: OpId, order: &HttpOrder) {
        let fits = |service: &&Service| {
            service.method.is_none_or(|method| method == order.method)
                && order.url.starts_with(&service.url)
        };
        let service = self.world.services.iter().find(fits);
        let (after, reply) = match service {
            Some(service) if service.after > order.timeout => (order.timeout, HttpReply::Timeout),
            Some(service) => (service.after, service.reply.clone()),
            None => {
                let why = format!("no reply is given for {}", order.url);
                (Duration::ZERO, HttpReply::Failed(why))
            }
        };
        self.later(after, Input::Http(op, reply));
    }

    /// An input that comes by itself.
    pub(super) fn later(&mut self, after: Duration, input: Input) {
        self.coming.push((self.now + after, input));
    }

    pub(super) fn begin_take(&mut self, op: OpId, order: RecordOrder) {
        self.taking = Some(Taking {
            op,
            order,
            began: self.now,
            spoken_until: self.now,
        });
    }

    /// When the recording ends by itself.
    pub(super) fn take_ends(&self) -> Option<Time> {
        self.taking.as_ref().map(|taking| taking.ends().0)
    }

    /// Ends the recording; `None` if there is none.
    pub(super) fn end_take(&mut self, end: Option<TakeEnd>) -> Option<Input> {
        let taking = self.taking.take()?;
        self.takes += 1;
        let end = end.unwrap_or_else(|| taking.ends().1);
        let spoken = match end {
            // The silence that ended it is no part of the message.
            TakeEnd::Silence => taking.spoken_until,
            _ => self.now,
        };
        let take = Take {
            id: format!("take-{}", self.takes),
            length: spoken.since(taking.began),
            end,
        };
        Some(Input::Recorded(taking.op, take))
    }

    /// Whether a key ends the recording.
    pub(super) fn finishes(&self, key: Key) -> bool {
        let taking = self.taking.as_ref();
        taking.is_some_and(|taking| taking.order.finish_keys.contains(&key))
    }

    /// The caller speaks for so long.
    pub fn speak(&mut self, length: Duration) {
        let until = self.now + length;
        if let Some(taking) = &mut self.taking {
            taking.spoken_until = until;
        }
        self.wait(length);
    }

    /// The caller hangs up; what was recorded so far is told first.
    pub fn hang_up(&mut self) {
        if let Some(recorded) = self.end_take(Some(TakeEnd::HungUp)) {
            self.input(recorded);
        }
        self.input(Input::Hangup);
    }

    /// Sound tells who answered.
    pub fn hears(&mut self, who: Answerer) {
        self.input(Input::Heard(who));
    }

    /// How the line stands; false if the call waits in none.
    pub fn line(&mut self, view: QueueView) -> bool {
        let Some(op) = self.joining else {
            return false;
        };
        self.input(Input::Queue(op, view));
        true
    }

    /// The agent leaves the talk; false if there is none.
    pub fn end_talk(&mut self) -> bool {
        let Some(op) = self.talking.take() else {
            return false;
        };
        self.input(Input::TalkEnded(op));
        true
    }

    /// The agent is lost and the caller waits in line again; false if there is no talk.
    pub fn break_talk(&mut self) -> bool {
        let Some(op) = self.talking.take() else {
            return false;
        };
        self.joining = Some(op);
        self.input(Input::TalkBroke(op));
        true
    }

    /// How a transfer ends; false if there is none.
    pub fn transfer(&mut self, reply: TransferReply) -> bool {
        let Some(op) = self.transferring.take() else {
            return false;
        };
        self.input(Input::Transferred(op, reply));
        true
    }

    /// Why the call is not in its room; false if it wants into none.
    pub fn leave_room(&mut self, reply: RoomReply) -> bool {
        let Some(op) = self.room.take() else {
            return false;
        };
        self.input(Input::LeftRoom(op, reply));
        true
    }
}
