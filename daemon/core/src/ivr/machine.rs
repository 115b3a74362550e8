//! The step machine of a call's flow: inputs with their time in, outputs drained.
//! The same set, start, inputs and times give the same outputs, byte for byte.
//!
//! Start it with `handle(t0, Input::Timeout)`. The rules of keys and timers are told in
//! docs/IVR.md, "Keys and timers".

mod keys;
mod speak;
mod step;
mod vars;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::expr::Value;
use super::flow::FlowSet;
use super::io::{CallbackReply, HelpChannel, Input, Key, OpId, Output, Start, TraceLine, Why};
use super::model::{Flow, Node};
use crate::time::{Time, Wall};

/// A key whose release got lost counts as released after this.
const HELD_MAX: Duration = Duration::from_secs(5);
/// Nodes entered without time passing before the flow counts as turning in a circle.
const STILL_MAX: u32 = 50;
/// How deep flows may call each other.
const DEPTH_MAX: usize = 5;
/// Keys kept for a later question.
const AHEAD_MAX: usize = 32;
/// How long a flow may work on after the customer hung up.
const AFTER_HANGUP_MAX: Duration = Duration::from_secs(10);
/// How long the desk may take to commit.
const STORE_MAX: Duration = Duration::from_secs(10);
/// Q.850: normal call clearing.
const CAUSE_NORMAL: u8 = 16;
/// Q.850: temporary failure.
const CAUSE_FAILURE: u8 = 41;

/// Why a flow cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// No flow of that name.
    #[error("no flow is named {0:?}")]
    NoFlow(String),
    /// An input is missing or of another type.
    #[error("input {name:?} of the flow: {why}")]
    BadInput {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
}

/// One flow being run: the called flows of a call are a stack of these.
#[derive(Debug)]
struct Frame {
    flow: Arc<Flow>,
    node: usize,
    vars: vars::Vars,
    how: How,
}

/// How a frame began, so what its end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Start,
    Subflow,
    /// The help channel of an `enqueue` node.
    Joined,
}

/// Limits of a flow and what it calls; a help channel has its own.
#[derive(Debug)]
struct Budget {
    steps: u32,
    max_steps: u32,
    ends: Time,
    /// Waiting in line and talking do not count.
    paused: Option<Time>,
}

/// A part of a `say` list whose items stop alike.
#[derive(Debug)]
struct Segment {
    items: Vec<super::io::SayItem>,
    text: String,
    trace: String,
    barge: bool,
}

/// What is being said.
#[derive(Debug)]
struct Speech {
    op: OpId,
    barge: bool,
    rest: VecDeque<Segment>,
}

/// A length of time measured from a moment; stands still while a key is held.
#[derive(Clone, Copy, Debug)]
struct Timer {
    from: Time,
    length: Duration,
}

impl Timer {
    fn due(self) -> Time {
        self.from + self.length
    }
}

/// A question being asked.
#[derive(Debug)]
struct Ask {
    speech: Option<Speech>,
    entry: String,
    first: Option<Timer>,
    between: Option<Timer>,
    fails: u32,
}

/// What follows when a speech has ended or was cut.
#[derive(Debug)]
enum Then {
    /// The play node again, so many times.
    Play(u32),
    /// This node.
    Goto(String),
}

#[derive(Debug)]
enum State {
    /// Before the first input.
    Fresh,
    /// Between two steps: only inside `handle`.
    Stepping,
    Speaking(Speech, Then),
    Asking(Ask),
    Storing {
        op: OpId,
        until: Time,
    },
    /// Asked to join; what is said goes on meanwhile.
    Joining {
        op: OpId,
        until: Time,
        speech: Option<Speech>,
        joined: Option<String>,
    },
    Ended,
}

/// What is done next; functions note it and return, so nothing recurses.
#[derive(Debug)]
enum Step {
    Enter(String),
    Raise(String),
    End(u8),
}

/// Runs one call's flow.
#[derive(Debug)]
pub struct FlowMachine {
    set: Arc<FlowSet>,
    start: Start,
    lang: String,
    began: Time,
    now: Time,
    frames: Vec<Frame>,
    budgets: Vec<Budget>,
    state: State,
    pending: Option<Step>,
    /// What a `callback` node may say about its answer.
    callback: Option<Value>,
    keys: keys::Keys,
    /// This call's request was moved or refused: once is enough.
    settled: bool,
    /// An error exit is being taken.
    failing: bool,
    masked: bool,
    hung_up: Option<Time>,
    still: u32,
    next_op: u32,
    out: VecDeque<Output>,
}

impl FlowMachine {
    /// A machine for one call.
    ///
    /// # Errors
    /// [`StartError`] if the flow is unknown or its input does not fit.
    pub fn new(set: Arc<FlowSet>, start: Start) -> Result<Self, StartError> {
        let flow = set
            .flow(&start.flow)
            .map(Arc::clone)
            .ok_or_else(|| StartError::NoFlow(start.flow.clone()))?;
        let vars = vars::Vars::of_start(&flow, &start.input)?;
        let mut machine = FlowMachine {
            set,
            lang: String::new(),
            began: Time::ZERO,
            now: Time::ZERO,
            frames: vec![Frame {
                flow,
                node: 0,
                vars,
                how: How::Start,
            }],
            budgets: Vec::new(),
            state: State::Fresh,
            pending: None,
            callback: None,
            keys: keys::Keys::default(),
            settled: false,
            failing: false,
            masked: false,
            hung_up: None,
            still: 0,
            next_op: 0,
            out: VecDeque::new(),
            start,
        };
        machine.set_lang(&machine.start.language.clone());
        Ok(machine)
    }

    /// Takes one input. Time that runs backwards counts as standing still.
    pub fn handle(&mut self, now: Time, input: Input) {
        if matches!(self.state, State::Ended) {
            return;
        }
        if matches!(self.state, State::Fresh) {
            self.now = now;
            self.began = now;
            self.begin();
        }
        self.now = self.now.max(now);
        self.still = 0;
        self.failing = false;
        self.fire();
        if !matches!(self.state, State::Ended) {
            self.take(input);
            self.run();
        }
    }

    /// The next output, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call `handle(now, Input::Timeout)` at the latest; `None` when it has ended.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if matches!(self.state, State::Fresh) {
            return Some(Time::ZERO);
        }
        self.due().map(|(at, _)| at)
    }

    /// Whether [`Output::End`] has been given.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn begin(&mut self) {
        self.state = State::Stepping;
        if let Some(frame) = self.frames.first() {
            let flow = Arc::clone(&frame.flow);
            self.push_budget(&flow);
            self.pending = Some(Step::Enter(flow.start.name.clone()));
        }
        self.run();
    }

    fn push_budget(&mut self, flow: &Flow) {
        self.budgets.push(Budget {
            steps: 0,
            max_steps: flow.max_steps,
            ends: self.now + flow.max_duration,
            paused: None,
        });
    }

    /// What is due first, and what it is.
    fn due(&self) -> Option<(Time, Due)> {
        let mut all: Vec<(Time, Due)> = Vec::new();
        all.extend(self.keys.held_until().map(|t| (t, Due::Release)));
        all.extend(self.hung_up.map(|t| (t, Due::AfterHangup)));
        if let Some(budget) = self.budgets.last()
            && budget.paused.is_none()
        {
            all.push((budget.ends, Due::TooLong));
        }
        match &self.state {
            State::Ended => return None,
            State::Asking(ask) if self.keys.held_until().is_none() => {
                all.extend(ask.first.map(|t| (t.due(), Due::NoInput)));
                all.extend(ask.between.map(|t| (t.due(), Due::Between)));
            }
            State::Storing { until, .. } => all.push((*until, Due::Unstored)),
            // Once taken, only the announcement is waited for.
            State::Joining {
                until,
                joined: None,
                ..
            } => all.push((*until, Due::Unjoined)),
            State::Asking(_)
            | State::Joining { .. }
            | State::Fresh
            | State::Stepping
            | State::Speaking(..) => {}
        }
        all.into_iter().min()
    }

    /// Does everything that is due by now.
    fn fire(&mut self) {
        while let Some((at, due)) = self.due() {
            if at > self.now {
                return;
            }
            match due {
                Due::Release => self.key_up(None),
                Due::AfterHangup => self.pending = Some(Step::End(CAUSE_NORMAL)),
                Due::TooLong => {
                    self.trace("event", "limit max_duration");
                    self.pending = Some(Step::End(CAUSE_FAILURE));
                }
                Due::NoInput => self.fail("no_input"),
                Due::Between => self.complete(),
                Due::Unstored => {
                    self.settled = false;
                    self.raise("error");
                }
                Due::Unjoined => self.leave("timeout"),
            }
            self.run();
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::KeyDown(key) => self.key_down(key),
            Input::KeyUp(key) => self.key_up(Some(key)),
            Input::Spoken(op) => self.spoken(op),
            Input::Timeout => {}
            Input::Hangup => self.hangup(),
            Input::Joined(op, HelpChannel::Flow(name)) => self.joined(op, name),
            Input::LeftQueue(op, why) => {
                if matches!(self.state, State::Joining { op: mine, .. } if mine == op) {
                    self.leave(match why {
                        Why::Timeout => "timeout",
                        Why::NoAgents => "no_agents",
                        Why::Full => "full",
                    });
                }
            }
            Input::Stored(op, reply) => self.stored(op, reply),
        }
    }

    fn hangup(&mut self) {
        if self.hung_up.is_none() {
            self.hung_up = Some(self.now + AFTER_HANGUP_MAX);
            self.trace("event", "hangup");
            self.resume();
            self.state = State::Stepping;
            self.raise("hangup");
        }
    }

    fn spoken(&mut self, op: OpId) {
        let speech = match &mut self.state {
            State::Speaking(speech, _) => Some(speech),
            State::Asking(ask) => ask.speech.as_mut(),
            State::Joining { speech, .. } => speech.as_mut(),
            State::Fresh | State::Stepping | State::Storing { .. } | State::Ended => None,
        };
        let Some(speech) = speech.filter(|s| s.op == op) else {
            return;
        };
        if let Some(segment) = speech.rest.pop_front() {
            let rest = std::mem::take(&mut speech.rest);
            let next = self.say(segment, rest);
            match &mut self.state {
                State::Speaking(speech, _) => *speech = next,
                State::Asking(ask) => ask.speech = Some(next),
                State::Joining { speech, .. } => *speech = Some(next),
                State::Fresh | State::Stepping | State::Storing { .. } | State::Ended => {}
            }
            return;
        }
        self.fell_silent();
    }

    /// The last item was said, or a key cut it.
    fn fell_silent(&mut self) {
        let first = self.first_timer();
        match std::mem::replace(&mut self.state, State::Stepping) {
            State::Speaking(_, Then::Goto(next)) => self.pending = Some(Step::Enter(next)),
            State::Speaking(_, Then::Play(left)) => self.play(left),
            State::Asking(ask) => {
                self.state = State::Asking(Ask {
                    speech: None,
                    first,
                    ..ask
                });
            }
            State::Joining {
                op, until, joined, ..
            } => match joined {
                Some(name) => self.enter_channel(&name),
                None => {
                    self.state = State::Joining {
                        op,
                        until,
                        speech: None,
                        joined,
                    }
                }
            },
            other => self.state = other,
        }
    }

    fn stored(&mut self, op: OpId, reply: CallbackReply) {
        if !matches!(self.state, State::Storing { op: mine, .. } if mine == op) {
            return;
        }
        self.state = State::Stepping;
        match reply {
            CallbackReply::Done {
                position,
                wait,
                at,
                merged,
            } => {
                self.trace("store", "done");
                self.after_store(position, wait, at, merged);
            }
            CallbackReply::BadNumber => self.raise("bad_number"),
            CallbackReply::Full => self.raise("full"),
            CallbackReply::Failed => {
                self.settled = false;
                self.raise("error");
            }
        }
    }

    fn joined(&mut self, op: OpId, name: String) {
        match &mut self.state {
            // A flow waits, unlike a person: the announcement is heard to its end.
            State::Joining {
                op: mine,
                speech: Some(_),
                joined,
                ..
            } if *mine == op => *joined = Some(name),
            State::Joining {
                op: mine,
                speech: None,
                ..
            } if *mine == op => self.enter_channel(&name),
            _ => {}
        }
    }

    /// Leaves the line untaken.
    fn leave(&mut self, why: &str) {
        if let State::Joining {
            speech: Some(speech),
            ..
        } = &self.state
        {
            self.out.push_back(Output::Stop(speech.op));
        }
        self.resume();
        self.state = State::Stepping;
        self.raise(why);
    }

    /// The clock of the flow's limit runs again.
    fn resume(&mut self) {
        if let Some(budget) = self.budgets.last_mut()
            && let Some(since) = budget.paused.take()
        {
            budget.ends = budget.ends + self.now.since(since);
        }
    }

    fn raise(&mut self, event: &str) {
        self.pending = Some(Step::Raise(event.to_owned()));
    }

    fn op(&mut self) -> OpId {
        self.next_op = self.next_op.wrapping_add(1);
        OpId(self.next_op)
    }

    fn trace(&mut self, kind: &'static str, data: impl Into<String>) {
        let (flow, node) = self
            .node()
            .map(|(flow, i)| (flow.id.clone(), name_of(&flow, i)))
            .unwrap_or_default();
        self.out.push_back(Output::Trace(TraceLine {
            flow,
            node,
            kind,
            data: data.into(),
        }));
    }

    /// The flow on top and the index of its node.
    fn node(&self) -> Option<(Arc<Flow>, usize)> {
        self.frames.last().map(|f| (Arc::clone(&f.flow), f.node))
    }

    fn wall(&self) -> Wall {
        self.start.wall + self.now.since(self.began)
    }

    /// The wish for a language becomes the nearest locale of the flow on top.
    fn set_lang(&mut self, wish: &str) {
        let Some(frame) = self.frames.last() else {
            return;
        };
        let locales = frame.flow.locales.iter().map(|(l, _)| l.as_str());
        let wish = wish.to_ascii_lowercase().replace('_', "-");
        let language = |l: &str| l.split('-').next().unwrap_or_default().to_ascii_lowercase();
        let near = locales
            .clone()
            .find(|l| l.to_ascii_lowercase() == wish)
            .or_else(|| locales.clone().find(|l| language(l) == language(&wish)))
            .or_else(|| locales.clone().next());
        self.lang = near.unwrap_or_default().to_owned();
    }
}

/// What can be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Release,
    AfterHangup,
    TooLong,
    NoInput,
    Between,
    Unstored,
    Unjoined,
}

fn name_of(flow: &Flow, index: usize) -> String {
    flow.nodes
        .get(index)
        .map(|n: &Node| n.name.clone())
        .unwrap_or_default()
}

/// A key in a trace.
fn key_text(key: Key, masked: bool) -> String {
    if masked {
        "masked".to_owned()
    } else {
        key.char().to_string()
    }
}
