//! What a machine waits for.

use std::collections::VecDeque;
use std::time::Duration;

use super::{line, message};
use crate::ivr::io::{OpId, SayItem};
use crate::time::Time;

/// A part of a `say` list whose items stop alike.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) items: Vec<SayItem>,
    pub(super) text: String,
    pub(super) trace: String,
    pub(super) barge: bool,
}

/// What is being said.
#[derive(Debug)]
pub(super) struct Speech {
    pub(super) op: OpId,
    pub(super) barge: bool,
    pub(super) rest: VecDeque<Segment>,
}

/// A length of time measured from a moment; stands still while a key is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    pub(super) from: Time,
    pub(super) length: Duration,
}

impl Timer {
    pub(super) fn due(self) -> Time {
        self.from + self.length
    }
}

/// A question being asked.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) speech: Option<Speech>,
    pub(super) entry: String,
    pub(super) first: Option<Timer>,
    pub(super) between: Option<Timer>,
    pub(super) fails: u32,
}

/// What follows when a speech has ended or was cut.
#[derive(Debug)]
pub(super) enum Then {
    /// The play node again, so many times.
    Play(u32),
    /// This node.
    Goto(String),
    /// The tone before a recording.
    Beep,
    /// What the node is for: recording, calling somebody, entering a room.
    Act,
}

/// An act of the world that is waited for without the caller.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) op: OpId,
    /// It counts as failed from then on.
    pub(super) until: Time,
    /// What the caller hears meanwhile.
    pub(super) speech: Option<Speech>,
    /// When he is told that it takes long.
    pub(super) say_at: Option<Time>,
}

#[derive(Debug)]
pub(super) enum State {
    /// Before the first input.
    Fresh,
    /// Between two steps: only inside `handle`.
    Stepping,
    Speaking(Speech, Then),
    Asking(Ask),
    Working(Work),
    /// Nothing but time passes.
    Resting(Time),
    /// The far end's tone is waited for.
    AwaitingBeep(Time),
    /// What the caller says is taken down.
    Recording(OpId),
    Reviewing(message::Review),
    InLine(line::InLine),
    /// With an agent of the line.
    Talking(line::Talk),
    /// With somebody else.
    Away(OpId),
    Ended,
}

impl State {
    /// What is being said in it.
    pub(super) fn speech(&mut self) -> Option<&mut Speech> {
        match self {
            State::Speaking(speech, _) => Some(speech),
            State::Asking(ask) => ask.speech.as_mut(),
            State::Working(work) => work.speech.as_mut(),
            State::Reviewing(review) => review.speech.as_mut(),
            State::InLine(line) => line.speech.as_mut(),
            State::Fresh
            | State::Stepping
            | State::Resting(_)
            | State::AwaitingBeep(_)
            | State::Recording(_)
            | State::Talking(_)
            | State::Away(_)
            | State::Ended => None,
        }
    }
}
