//! What is heard in a call: what its flow says and plays, and what is recorded.

use std::time::Duration;

use helpline_core::ivr::io::{Barge, OpId, RecordOrder, SayItem, TraceLine};

use super::{GAP, Task};
use crate::voice::CallCommand;
use crate::voice::media::PlayItem;

impl Task {
    /// What concerns only the sound of the leg; nothing once the call has ended.
    pub(super) fn on_sound(&mut self, command: CallCommand) {
        let Some(leg) = &self.leg else {
            return;
        };
        match command {
            // Whoever asked may have given up.
            CallCommand::Lend(to) => drop(to.send(leg.media.leg_ref())),
            CallCommand::Music(clip) => leg.media.music(clip),
            CallCommand::Record(plan) => {
                self.recording = Some(plan.op);
                leg.media.record(plan);
                self.mask();
            }
            CallCommand::StopRecording => leg.media.stop_recording(),
            CallCommand::PauseRecording(paused) => {
                self.paused = paused;
                self.mask();
            }
            CallCommand::Detect(limits) => leg.media.detect(limits),
            CallCommand::Joined(..)
            | CallCommand::LeftQueue(..)
            | CallCommand::TalkEnded(_)
            | CallCommand::TalkBroke(_)
            | CallCommand::Stored(..)
            | CallCommand::Reply(..)
            | CallCommand::Queue(..)
            | CallCommand::Say(..)
            | CallCommand::Hold(_)
            | CallCommand::Place(_)
            | CallCommand::GiveTo(..)
            | CallCommand::HangUp => {}
        }
    }

    pub(super) fn mask(&self) {
        if let Some(leg) = &self.leg {
            leg.media.pause_recording(self.masked || self.paused);
        }
    }

    pub(super) async fn say(&mut self, op: OpId, items: Vec<SayItem>, barge: Barge) {
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            match item {
                SayItem::Clip(id) => match self.prompts.get(&id) {
                    Some(clip) => list.push(PlayItem::Clip(clip)),
                    None => self.say_error(&id),
                },
                SayItem::Take(id) => match self.takes.clip(&id).await {
                    Some(clip) => list.push(PlayItem::Clip(clip)),
                    None => self.say_error(&id),
                },
                SayItem::Speech { locale, text } => {
                    let spoken = match &self.tts {
                        Some(tts) => tts.clip(&locale, &text).await,
                        None => None,
                    };
                    match spoken {
                        Some(clip) => list.push(PlayItem::Clip(clip)),
                        None => self.say_error("tts"),
                    }
                }
                SayItem::Pause(length) => list.push(PlayItem::Pause(length)),
                SayItem::Tone(name) => list.push(PlayItem::Tone(name)),
            }
        }
        let Some(leg) = &self.leg else {
            self.unheard.push_back((self.clock.time() + GAP, op));
            return;
        };
        if list.is_empty() {
            list.push(PlayItem::Pause(GAP));
        }
        leg.media.play(op.0, list, barge);
    }

    pub(super) fn music(&mut self, id: Option<String>) {
        let clip = id.as_deref().and_then(|id| self.prompts.get(id));
        if let (Some(id), None) = (&id, &clip) {
            self.say_error(id);
        }
        if let Some(leg) = &self.leg {
            leg.media.music(clip);
        }
    }

    /// Takes down what the caller says from now on.
    pub(super) fn take_down(&mut self, op: OpId, order: &RecordOrder) {
        let taking = self.takes.begin(op, order);
        match &self.leg {
            Some(leg) => {
                leg.media.record(taking.plan(order));
                self.mask();
                self.taking = Some(taking);
            }
            None => self.refused.push_back(taking.ended(None, Duration::ZERO)),
        }
    }

    pub(super) fn say_error(&mut self, id: &str) {
        self.counters.say_errors.add();
        self.trace(TraceLine {
            flow: String::new(),
            node: String::new(),
            kind: "say_error",
            data: format!("no clip {id}"),
        });
    }
}
