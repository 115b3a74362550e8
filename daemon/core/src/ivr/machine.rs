//! The step machine of a call's flow: inputs with their time in, outputs drained.
//! The same set, start, inputs and times give the same outputs, byte for byte.
//!
//! Start it with `handle(t0, Input::Timeout)`. The rules of keys and timers are told in
//! docs/IVR.md, "Keys and timers".

mod answerer;
mod away;
mod frames;
mod keys;
mod line;
mod message;
mod outside;
mod play;
mod secret;
mod speak;
mod state;
mod step;
mod store;
mod vars;

#[cfg(test)]
mod tests;

pub(super) use message::REVIEW_CLIP;
use state::{Ask, Segment, Speech, State, Then, Timer, Work};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::expr::Value;
use super::flow::FlowSet;
use super::io::{HelpChannel, Input, Key, OpId, Output, QueueView, Start, TakeEnd, TraceLine};
use super::model::{Act, Flow, Node};
use crate::calendar::zone_named;
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
/// What a service may take longer than it was given, on the way.
const GRACE: Duration = Duration::from_secs(1);
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
    /// In which days and times are told.
    zone: TimeZone,
    began: Time,
    now: Time,
    frames: Vec<Frame>,
    budgets: Vec<Budget>,
    state: State,
    pending: Option<Step>,
    /// What a `callback` node may say about its answer.
    callback: Option<Value>,
    /// How the line stands, or stood when it was left.
    queue: Option<QueueView>,
    answerer: answerer::Hearing,
    /// How the message ended that is being delivered.
    kept_as: Option<TakeEnd>,
    /// Music plays beneath.
    music: bool,
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
            zone: zone_named(&start.zone).unwrap_or(TimeZone::UTC),
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
            queue: None,
            answerer: answerer::Hearing::default(),
            kept_as: None,
            music: false,
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

    /// Names the revision of the flows it runs.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.set.hash()
    }

    /// Whether a flow may look at lines it has not joined, and wants [`Input::Queues`].
    #[must_use]
    pub fn reads_queues(&self) -> bool {
        self.set.reads_queues()
    }

    /// What the call began with, and the flows it runs.
    #[must_use]
    pub fn origin(&self) -> (&Start, &FlowSet) {
        (&self.start, &self.set)
    }

    /// The flow it began with.
    #[must_use]
    pub fn flow_name(&self) -> &str {
        &self.start.flow
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
            State::Working(work) => {
                all.push((work.until, Due::Undone));
                all.extend(work.say_at.map(|at| (at, Due::WaitSay)));
            }
            State::Resting(until) => all.push((*until, Due::Rested)),
            State::AwaitingBeep(until) => all.push((*until, Due::NoBeep)),
            State::Reviewing(review) if self.keys.held_until().is_none() => {
                all.extend(review.until.map(|at| (at, Due::Reviewed)));
            }
            State::InLine(line) => all.extend(line.due()),
            State::Asking(_)
            | State::Reviewing(_)
            | State::Fresh
            | State::Stepping
            | State::Recording(_)
            | State::Talking(_)
            | State::Away(_)
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
                Due::Undone => self.undone(),
                Due::WaitSay => self.wait_say(),
                Due::Rested => self.rested(),
                Due::NoBeep => self.beep_or_silence(),
                Due::Reviewed => self.review_over(),
                Due::Announce => self.announce(),
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
            Input::Joined(op, HelpChannel::Agent(name)) => self.talk(op, &name),
            Input::LeftQueue(op, why) => self.left_queue(op, why),
            Input::TalkEnded(op) => self.talk_ended(op),
            Input::TalkBroke(op) => self.talk_broke(op),
            Input::Queue(op, view) => self.line_stands(op, view),
            Input::Stored(op, reply) => self.stored(op, reply),
            Input::Http(op, reply) => self.answered(op, reply),
            Input::Found(op, reply) => self.found(op, reply),
            Input::Recorded(op, take) => self.recorded(op, take),
            Input::Delivered(op, done) => self.delivered(op, done),
            Input::Transferred(op, reply) => self.transferred(op, reply),
            Input::LeftRoom(op, reply) => self.left_room(op, reply),
            Input::Heard(who) => self.heard(who),
            Input::MachineListens => self.machine_listens(),
            Input::Queues(queues) => self.start.queues = queues,
        }
    }

    fn hangup(&mut self) {
        if self.hung_up.is_none() {
            self.hung_up = Some(self.now + AFTER_HANGUP_MAX);
            self.trace("event", "hangup");
            self.keep_reviewed();
            self.resume();
            self.music = false;
            self.state = State::Stepping;
            self.raise("hangup");
        }
    }

    /// The work with this number, if it is what is waited for.
    fn work_done(&mut self, op: OpId) -> bool {
        if !matches!(&self.state, State::Working(work) if work.op == op) {
            return false;
        }
        self.hush();
        true
    }

    /// Begins to wait for an act of the world.
    fn work(&mut self, op: OpId, length: Duration) {
        self.state = State::Working(Work {
            op,
            until: self.now + length,
            speech: None,
            say_at: None,
        });
    }

    /// Nobody answered in time.
    fn undone(&mut self) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        self.hush();
        match flow.nodes.get(index).map(|node| &node.act) {
            Some(Act::Http { .. }) => self.raise("timeout"),
            Some(Act::Callback { .. }) => {
                self.settled = false;
                self.raise("error");
            }
            _ => self.raise("error"),
        }
    }

    /// Stops what is said and leaves the state it belonged to.
    fn hush(&mut self) {
        if let Some(speech) = self.state.speech() {
            self.out.push_back(Output::Stop(speech.op));
        }
        self.state = State::Stepping;
    }

    /// Music from now on, or none.
    fn play_music(&mut self, id: Option<String>) {
        if id.is_some() || std::mem::take(&mut self.music) {
            self.music = id.is_some();
            self.out.push_back(Output::Music(id));
        }
    }

    /// The clock of the flow's limit stands still.
    fn pause(&mut self) {
        if let Some(budget) = self.budgets.last_mut() {
            budget.paused = Some(self.now);
        }
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
    Undone,
    WaitSay,
    Rested,
    NoBeep,
    Reviewed,
    Announce,
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
