//! What is said: its parts one after another, and what follows.

use super::{Ask, FlowMachine, OpId, State, Step, Then};
use crate::ivr::model::{Act, Item};

impl FlowMachine {
    /// A `play` node: at once, or when the far end listens.
    pub(super) fn enter_play(&mut self) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        let Some(Act::Play {
            barge_in,
            repeat,
            after_beep,
            ..
        }) = flow.nodes.get(index).map(|n| &n.act)
        else {
            return;
        };
        if self.keys.handed.is_some() && *barge_in {
            // The caller is ahead of us: on to the question the key was meant for.
            return self.play(0);
        }
        self.keys.forget();
        if *after_beep && !self.answerer.listens {
            return self.await_beep();
        }
        self.play(*repeat);
    }

    /// Plays the node on top `times` more times, then goes on.
    pub(super) fn play(&mut self, times: u32) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        let Some(Act::Play {
            say,
            barge_in,
            next,
            ..
        }) = flow.nodes.get(index).map(|n| &n.act)
        else {
            return;
        };
        if times > 0 {
            let segments = self.segments(say, *barge_in);
            if let Some(speech) = self.start(segments) {
                self.state = State::Speaking(speech, Then::Play(times - 1));
                return;
            }
        }
        self.state = State::Stepping;
        self.goto(next);
    }

    /// Says a list, then goes on; at once if there is nothing to say or nobody to hear it.
    pub(super) fn speak_then(&mut self, say: &[Item], barge_in: bool, then: Then) {
        if self.hung_up.is_none() {
            let segments = self.segments(say, barge_in);
            if let Some(speech) = self.start(segments) {
                self.state = State::Speaking(speech, then);
                return;
            }
        }
        self.state = State::Stepping;
        self.go_on(then);
    }

    /// What follows a speech.
    fn go_on(&mut self, then: Then) {
        match then {
            Then::Goto(next) => self.pending = Some(Step::Enter(next)),
            Then::Play(left) => self.play(left),
            Then::Beep => self.beep(),
            Then::Act => self.proceed(),
        }
    }

    /// What a node is for, once it has said what it says before.
    fn proceed(&mut self) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        match flow.nodes.get(index).map(|n| &n.act) {
            Some(Act::Record { taking, .. } | Act::Voicemail { taking, .. }) => {
                self.take_down(taking);
            }
            Some(Act::Transfer { .. } | Act::Conference { .. }) => self.go_away(),
            _ => self.raise("error"),
        }
    }

    /// A part of a list was said: the next one, or what follows all.
    pub(super) fn spoken(&mut self, op: OpId) {
        let Some(speech) = self.state.speech().filter(|s| s.op == op) else {
            return;
        };
        let Some(segment) = speech.rest.pop_front() else {
            return self.fell_silent();
        };
        let rest = std::mem::take(&mut speech.rest);
        let next = self.say(segment, rest);
        if let Some(speech) = self.state.speech() {
            *speech = next;
        }
    }

    /// The last item was said, or a key cut it.
    pub(super) fn fell_silent(&mut self) {
        let first = self.first_timer();
        match std::mem::replace(&mut self.state, State::Stepping) {
            State::Speaking(_, then) => self.go_on(then),
            State::Asking(ask) => {
                self.state = State::Asking(Ask {
                    speech: None,
                    first,
                    ..ask
                });
            }
            State::Working(mut work) => {
                work.speech = None;
                self.state = State::Working(work);
            }
            State::Reviewing(review) => self.review_said(review),
            State::InLine(line) => self.line_silent(line),
            other => self.state = other,
        }
    }
}
