//! What the caller says is taken down: `record`, and `voicemail`, which sends it.

use std::time::Duration;

use super::{FlowMachine, STORE_MAX, Speech, State, Then};
use crate::ivr::expr::{self, Value};
use crate::ivr::io::{
    Barge, Delivery, Key, OpId, Output, RecordOrder, SayItem, Take, TakeEnd, ToneName,
};
use crate::ivr::model::{Act, Taking};
use crate::time::Time;

/// Less is no message.
const TAKE_MIN: Duration = Duration::from_secs(1);
/// How long a caller may think about his message.
pub(super) const REVIEW: Duration = Duration::from_secs(6);
/// Clip that tells the keys of a review.
pub(in crate::ivr) const REVIEW_CLIP: &str = "record.review";

/// A message that the caller may hear again.
#[derive(Debug)]
pub(super) struct Review {
    take: Take,
    pub(super) speech: Option<Speech>,
    /// Without a key until then it is kept.
    pub(super) until: Option<Time>,
    /// He hears the message, not yet what the keys do.
    is_playing: bool,
}

impl FlowMachine {
    fn taking(&self) -> Option<Taking> {
        let (flow, index) = self.node()?;
        match &flow.nodes.get(index)?.act {
            Act::Record { taking, .. } | Act::Voicemail { taking, .. } => Some(taking.clone()),
            _ => None,
        }
    }

    /// The tone after which the caller speaks.
    pub(super) fn beep(&mut self) {
        // The key that cut the words short means the recording, not a later question.
        self.keys.forget();
        let Some(taking) = self.taking() else {
            return;
        };
        if !taking.beep || self.hung_up.is_some() {
            return self.take_down(&taking);
        }
        let speech = self.say_one(SayItem::Tone(ToneName::Beep), "", "tone", Barge::Never);
        self.state = State::Speaking(speech, Then::Act);
    }

    pub(super) fn take_down(&mut self, taking: &Taking) {
        let op = self.op();
        self.trace("record", format!("at most {}s", taking.max.as_secs()));
        let order = RecordOrder {
            max: taking.max,
            silence: taking.silence,
            finish_keys: taking.finish_keys.clone(),
        };
        self.out.push_back(Output::Record(op, order));
        self.state = State::Recording(op);
    }

    /// The recording has ended.
    pub(super) fn recorded(&mut self, op: OpId, take: Take) {
        if !matches!(self.state, State::Recording(mine) if mine == op) {
            return;
        }
        self.state = State::Stepping;
        let end = match take.end {
            TakeEnd::Key => "key",
            TakeEnd::Silence => "silence",
            TakeEnd::Limit => "limit",
            TakeEnd::HungUp => "hangup",
            TakeEnd::Failed => "failed",
        };
        self.trace("record", format!("{}ms {end}", take.length.as_millis()));
        let hung_up = take.end == TakeEnd::HungUp;
        if take.end == TakeEnd::Failed || take.id.is_empty() {
            self.raise("error");
        } else if take.length < TAKE_MIN {
            self.raise("no_input");
        } else if !hung_up && self.taking().is_some_and(|t| t.review) {
            self.review(take);
            return;
        } else {
            self.keep(take);
        }
        if hung_up {
            // The hang-up itself comes next and says where to go.
            self.pending = None;
            self.state = State::Resting(self.now + STORE_MAX);
        }
    }

    /// The message is good: into the variable, or on its way.
    fn keep(&mut self, take: Take) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        match flow.nodes.get(index).map(|n| &n.act) {
            Some(Act::Record { save, .. }) => {
                let length = i64::try_from(take.length.as_millis()).unwrap_or(i64::MAX);
                let id = Value::from(take.id.as_str());
                let value = expr::map([("id", id), ("ms", Value::Int(length))]);
                if self.assign(&save.name, value) {
                    self.taken(take.end);
                } else {
                    self.raise("error");
                }
            }
            Some(Act::Voicemail { mailbox, .. }) => {
                let op = self.op();
                self.trace("deliver", mailbox.name.clone());
                self.work(op, STORE_MAX);
                self.kept_as = Some(take.end);
                let mailbox = mailbox.name.clone();
                self.out
                    .push_back(Output::Deliver(op, Delivery { mailbox, take }));
            }
            _ => {}
        }
    }

    /// The message is on its way, or could not be stored.
    pub(super) fn delivered(&mut self, op: OpId, done: bool) {
        if self.work_done(op) {
            self.trace("deliver", if done { "done" } else { "failed" });
            match self.kept_as.take() {
                Some(end) if done => self.taken(end),
                _ => self.raise("error"),
            }
        }
    }

    /// On to what follows the message.
    fn taken(&mut self, end: TakeEnd) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        match flow.nodes.get(index) {
            Some(node) if end == TakeEnd::Limit && node.events.contains_key("full") => {
                self.raise("full");
            }
            Some(node) => {
                if let Some(next) = node.next() {
                    self.goto(next);
                }
            }
            None => {}
        }
    }

    fn review(&mut self, take: Take) {
        let speech = self.review_words();
        self.state = State::Reviewing(Review {
            take,
            speech: Some(speech),
            until: None,
            is_playing: false,
        });
    }

    fn review_words(&mut self) -> Speech {
        let clip = format!("{}/{REVIEW_CLIP}", self.lang);
        let locale = self.set.locale(&self.lang);
        let words = locale.and_then(|l| l.clips.get(REVIEW_CLIP));
        let words = words.map(|c| c.text.clone()).unwrap_or_default();
        self.say_one(SayItem::Clip(clip), &words, REVIEW_CLIP, Barge::AnyKey)
    }

    /// What the keys do was told, or the message was heard.
    pub(super) fn review_said(&mut self, mut review: Review) {
        if std::mem::take(&mut review.is_playing) {
            review.speech = Some(self.review_words());
        } else {
            review.speech = None;
            review.until = Some(self.now + REVIEW);
        }
        self.state = State::Reviewing(review);
    }

    /// A key about the message: 1 keeps it, 2 plays it, 3 takes it again.
    pub(super) fn review_key(&mut self, key: Key) {
        self.trace("key", key.char().to_string());
        self.hush_review();
        let State::Reviewing(mut review) = std::mem::replace(&mut self.state, State::Stepping)
        else {
            return;
        };
        match key.char() {
            '1' => return self.keep(review.take),
            '3' => return self.beep(),
            '2' => {
                let item = SayItem::Take(review.take.id.clone());
                review.speech = Some(self.say_one(item, "", "take", Barge::AnyKey));
                review.is_playing = true;
            }
            _ => {
                review.speech = Some(self.review_words());
                review.is_playing = false;
            }
        }
        review.until = None;
        self.state = State::Reviewing(review);
    }

    fn hush_review(&mut self) {
        if let State::Reviewing(review) = &mut self.state
            && let Some(speech) = review.speech.take()
        {
            self.out.push_back(Output::Stop(speech.op));
        }
    }

    /// No key came: a message must not be lost.
    pub(super) fn review_over(&mut self) {
        if let State::Reviewing(review) = std::mem::replace(&mut self.state, State::Stepping) {
            self.keep(review.take);
        }
    }

    /// The caller hung up over his message: it is kept.
    pub(super) fn keep_reviewed(&mut self) {
        if matches!(self.state, State::Reviewing(_)) {
            self.review_over();
            self.pending = None;
        }
    }
}
