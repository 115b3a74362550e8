//! Who answered a call that was placed: `detect`, and `play` after the beep.

use std::time::Duration;

use super::{FlowMachine, How, State};
use crate::audio::answer::Answerer;
use crate::ivr::io::Output;
use crate::ivr::model::{Act, Target};
use crate::time::Time;

/// How long a machine's beep is waited for.
const BEEP_MAX: Duration = Duration::from_secs(20);
/// A verdict within this time, where a `play` after the beep began to listen.
const BUDGET: Duration = Duration::from_secs(4);

/// What is known of who answered.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// Somebody listens.
    begun: bool,
    pub(super) verdict: Option<Answerer>,
    /// The far end records from now on.
    pub(super) listens: bool,
    watch: Option<Watch>,
}

/// A `detect` node whose exits may still be taken.
#[derive(Debug)]
struct Watch {
    /// Its flow, counted from the bottom, and its place in it.
    frame: usize,
    node: usize,
    until: Time,
}

impl FlowMachine {
    /// Listens beside whatever follows.
    pub(super) fn detect(&mut self, budget: Duration, next: &Target) {
        self.trace("detect", format!("{}ms", budget.as_millis()));
        self.listen(budget);
        if let Some((_, node)) = self.node() {
            self.answerer.watch = Some(Watch {
                frame: self.frames.len() - 1,
                node,
                until: self.now + budget,
            });
        }
        self.goto(next);
    }

    fn listen(&mut self, budget: Duration) {
        if !std::mem::replace(&mut self.answerer.begun, true) {
            self.out.push_back(Output::Detect(budget));
        }
    }

    /// Who presses keys is a person: whatever is heard later changes nothing.
    pub(super) fn a_person_answered(&mut self) {
        self.answerer.watch = None;
    }

    /// The verdict.
    pub(super) fn heard(&mut self, who: Answerer) {
        if self.answerer.verdict.is_some() {
            return;
        }
        self.answerer.verdict = Some(who);
        self.trace("detect", word(who));
        let event = match who {
            Answerer::Machine => "machine",
            Answerer::Fax => "fax",
            Answerer::Human | Answerer::OutOfService | Answerer::Unknown => return,
        };
        let Some(watch) = self.answerer.watch.take() else {
            return;
        };
        let is_free = matches!(
            self.state,
            State::Speaking(..) | State::Asking(_) | State::Resting(_) | State::AwaitingBeep(_)
        );
        let above = self.frames.get(watch.frame + 1..);
        let taken = above.is_none_or(|above| above.iter().any(|f| f.how == How::Joined));
        if !is_free || taken || self.now > watch.until {
            return;
        }
        let exits = self.frames.get(watch.frame).and_then(|frame| {
            let node = frame.flow.nodes.get(watch.node)?;
            node.events.get(event).cloned()
        });
        let Some(exit) = exits else {
            return;
        };
        self.hush();
        self.play_music(None);
        while self.frames.len() > watch.frame + 1 && self.pop_frame().is_some() {}
        if let Some(frame) = self.frames.last_mut() {
            frame.node = watch.node;
        }
        self.trace("event", event);
        self.event_exit(event, &exit);
    }

    /// A `play` node that waits until the far end records.
    pub(super) fn await_beep(&mut self) {
        self.listen(BUDGET);
        self.state = State::AwaitingBeep(self.now + BEEP_MAX);
    }

    /// The beep came, or the far end fell silent.
    pub(super) fn machine_listens(&mut self) {
        self.answerer.listens = true;
        self.trace("detect", "listens");
        if matches!(self.state, State::AwaitingBeep(_)) {
            self.beep_or_silence();
        }
    }

    /// The node speaks at last.
    pub(super) fn beep_or_silence(&mut self) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        if let Some(Act::Play { repeat, .. }) = flow.nodes.get(index).map(|n| &n.act) {
            self.play(*repeat);
        }
    }
}

/// The word of a verdict in traces and expressions.
pub(super) fn word(who: Answerer) -> &'static str {
    match who {
        Answerer::Human => "human",
        Answerer::Machine => "machine",
        Answerer::Fax => "fax",
        Answerer::OutOfService => "out_of_service",
        Answerer::Unknown => "unknown",
    }
}
