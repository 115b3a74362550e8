//! Runs a flow in virtual time without audio: a sentence lasts 60 ms a character. The
//! machine is the one that calls run; only the world around it is made up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::flow::FlowSet;
use super::io::{
    CallbackOrder, CallbackReply, HelpChannel, Input, Key, OpId, Output, QueueView, SayItem, Start,
    TakeEnd, Why,
};
use super::machine::{FlowMachine, StartError};
use super::replay::Came;
use crate::time::Time;

mod world;

pub use world::{Lengths, Service, World};

#[cfg(test)]
mod fixtures;
#[cfg(test)]
pub(super) use fixtures::*;

/// What a character of a sentence lasts.
const CHARACTER: Duration = Duration::from_millis(60);
/// A key is down for so long, and the next one follows after as long a pause.
const PRESS: Duration = Duration::from_millis(100);

/// A tone lasts so long.
const TONE: Duration = Duration::from_millis(200);

/// One simulated call.
#[derive(Debug)]
pub struct Sim {
    pub(super) machine: FlowMachine,
    pub(super) now: Time,
    /// Everything that came out, with its time.
    pub(super) log: Vec<(Time, Output)>,
    came: Vec<Came>,
    /// What is being played and until when.
    pub(super) playing: Option<(OpId, Time)>,
    /// Answers to `Join` and `Store`, in their order; without one nothing is answered.
    pub(super) answers: VecDeque<Answer>,
    /// Answer to a `Store` when there is none left in `answers`.
    pub(super) to_orders: Option<Answer>,
    /// A `Join` that waits for its answer.
    pub(super) joining: Option<OpId>,
    /// The `Join` that an agent answered.
    talking: Option<OpId>,
    world: World,
    /// Inputs that come by themselves, with their times.
    coming: Vec<(Time, Input)>,
    taking: Option<world::Taking>,
    /// Recordings made.
    takes: u32,
    transferring: Option<OpId>,
    room: Option<OpId>,
    pub(super) ended: Option<u8>,
}

/// How the world answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The call is joined to a help channel, a flow of that name.
    Joined(String),
    /// An agent of that name takes the call, or takes it over.
    Agent(String),
    /// Nobody took the call, or takes it over from an agent who was lost.
    Left(Why),
    /// Stored, as ordered.
    Done,
    /// Another answer of the desk.
    Reply(CallbackReply),
    /// None at all.
    Silence,
}

impl Sim {
    /// Answers the call: the flow runs until it waits for something.
    ///
    /// # Errors
    /// The flow is unknown or its input does not fit.
    pub fn new(set: Arc<FlowSet>, start: Start) -> Result<Self, StartError> {
        Sim::in_world(set, start, World::default())
    }

    /// The same in a world that is made up.
    ///
    /// # Errors
    /// The flow is unknown or its input does not fit.
    pub fn in_world(set: Arc<FlowSet>, start: Start, world: World) -> Result<Self, StartError> {
        let mut sim = Sim {
            machine: FlowMachine::new(set, start)?,
            now: Time::ZERO,
            log: Vec::new(),
            came: Vec::new(),
            playing: None,
            answers: VecDeque::new(),
            to_orders: None,
            joining: None,
            talking: None,
            world,
            coming: Vec::new(),
            taking: None,
            takes: 0,
            transferring: None,
            room: None,
            ended: None,
        };
        sim.input(Input::Timeout);
        Ok(sim)
    }

    /// Gives the machine an input now, and the answers of the world to what it wants.
    pub fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let came = Came::take(&mut self.machine, Time::ZERO, self.now, input);
            self.came.push(came);
            while let Some(output) = self.machine.poll() {
                inputs.extend(self.serve(&output));
                self.log.push((self.now, output));
            }
        }
    }

    /// Takes note of an output; the world's answer, if it has one at once.
    fn serve(&mut self, output: &Output) -> Option<Input> {
        match output {
            Output::Say {
                op, text, items, ..
            } => {
                let length = match &self.world.lengths {
                    Some(Lengths(length)) => items.iter().map(|item| length(item)).sum(),
                    None => spoken_in(text, items),
                };
                self.playing = Some((*op, self.now + length));
            }
            Output::Stop(op) => {
                if self.playing.is_some_and(|(p, _)| p == *op) {
                    self.playing = None;
                }
            }
            Output::Join(op, _) => {
                self.joining = Some(*op);
                if !self.answers.is_empty() {
                    return self.answer_join();
                }
                if self.world.queue != QueueView::default() {
                    return Some(Input::Queue(*op, self.world.queue));
                }
            }
            Output::Leave(_) => self.joining = None,
            Output::Http(op, order) => self.serve_http(*op, order),
            Output::Find(op, _) => {
                let found = Input::Found(*op, self.world.record.clone());
                self.later(Duration::ZERO, found);
            }
            Output::Record(op, order) => self.begin_take(*op, order.clone()),
            Output::Deliver(op, _) => {
                let delivered = Input::Delivered(*op, self.world.delivers);
                self.later(Duration::ZERO, delivered);
            }
            Output::Transfer(op, _) => self.transferring = Some(*op),
            Output::Conference(op, _) => self.room = Some(*op),
            Output::Store(op, order) => return self.answer_store(*op, order),
            Output::End { cause } => self.ended = Some(*cause),
            Output::Mask(_)
            | Output::Music(_)
            | Output::Webhook(_)
            | Output::Detect(_)
            | Output::Trace(_) => {}
        }
        None
    }

    /// The next answer to the `Join` that waits, or that an agent answered.
    fn answer_join(&mut self) -> Option<Input> {
        match self.answers.pop_front()? {
            Answer::Joined(flow) => {
                let op = self.joining.take()?;
                Some(Input::Joined(op, HelpChannel::Flow(flow)))
            }
            Answer::Agent(name) => {
                self.talking = self.joining.take().or(self.talking);
                Some(Input::Joined(self.talking?, HelpChannel::Agent(name)))
            }
            Answer::Left(why) => {
                let op = self.joining.take().or_else(|| self.talking.take())?;
                Some(Input::LeftQueue(op, why))
            }
            Answer::Done | Answer::Reply(_) | Answer::Silence => None,
        }
    }

    fn answer_store(&mut self, op: OpId, order: &CallbackOrder) -> Option<Input> {
        let answer = self.answers.pop_front();
        match answer.or_else(|| self.to_orders.clone())? {
            Answer::Done => {
                let at = match order {
                    CallbackOrder::Reschedule { at } => Some(*at),
                    _ => None,
                };
                let reply = CallbackReply::Done {
                    position: Some(3),
                    wait: None,
                    at,
                    merged: false,
                };
                Some(Input::Stored(op, reply))
            }
            Answer::Reply(reply) => Some(Input::Stored(op, reply)),
            Answer::Joined(_) | Answer::Agent(_) | Answer::Left(_) | Answer::Silence => None,
        }
    }

    /// Answers the `Join` that waits, or that an agent answered; false if there is none.
    pub fn join(&mut self, answer: Answer) -> bool {
        if self.joining.or(self.talking).is_none() {
            return false;
        }
        self.answers.push_front(answer);
        if let Some(input) = self.answer_join() {
            self.input(input);
        }
        true
    }

    /// Answers each order to the desk, from now on, in this way.
    pub fn answer_orders(&mut self, answer: Answer) {
        self.to_orders = Some(answer);
    }

    /// Lets time run until nothing is spoken.
    pub fn until_quiet(&mut self) {
        while let (Some(_), Some(at)) = (self.playing, self.next_at()) {
            self.wait(at.since(self.now));
        }
    }

    /// When something happens by itself next; `None` when nothing does.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        let ends = self.playing.map(|(_, end)| end);
        let coming = self.coming.iter().map(|(at, _)| *at);
        let by_itself = ends.into_iter().chain(self.take_ends()).chain(coming);
        let next = self.machine.deadline().into_iter().chain(by_itself).min();
        next.filter(|_| self.ended.is_none())
    }

    /// Lets virtual time pass.
    pub fn wait(&mut self, length: Duration) {
        let until = self.now + length;
        while let Some(at) = self.next_at().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let input = self.due_input();
            self.input(input);
        }
        self.now = until;
    }

    /// What is due now.
    fn due_input(&mut self) -> Input {
        let due = self.coming.iter().position(|(at, _)| *at <= self.now);
        if let Some(due) = due {
            return self.coming.remove(due).1;
        }
        if let Some((op, _)) = self.playing.take_if(|(_, end)| *end <= self.now) {
            return Input::Spoken(op);
        }
        let ends = self.take_ends().filter(|at| *at <= self.now);
        let recorded = ends.and_then(|_| self.end_take(None));
        recorded.unwrap_or(Input::Timeout)
    }

    /// Presses keys: 100 ms down, 100 ms apart. What is no key is left out.
    pub fn press(&mut self, keys: &str) {
        for key in keys.chars().filter_map(Key::new) {
            if self.finishes(key)
                && let Some(recorded) = self.end_take(Some(TakeEnd::Key))
            {
                self.input(recorded);
                self.wait(2 * PRESS);
                continue;
            }
            self.input(Input::KeyDown(key));
            self.wait(PRESS);
            self.input(Input::KeyUp(key));
            self.wait(PRESS);
        }
    }

    /// Everything that came out so far, with its time since the answer.
    #[must_use]
    pub fn log(&self) -> &[(Time, Output)] {
        &self.log
    }

    /// What came in so far, as a daemon stores it.
    #[must_use]
    pub fn came(&self) -> &[Came] {
        &self.came
    }

    /// The Q.850 cause the call ended with, once it has.
    #[must_use]
    pub fn ended(&self) -> Option<u8> {
        self.ended
    }

    /// Virtual time since the answer.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The call's trace, a line a step.
    #[must_use]
    pub fn trace(&self) -> String {
        let lines = self.log.iter().filter_map(|(at, output)| match output {
            Output::Trace(line) => Some(format!("{at} {} {}\n", line.kind, line.data)),
            _ => None,
        });
        lines.collect()
    }
}

fn spoken_in(text: &str, items: &[SayItem]) -> Duration {
    let pauses = items.iter().map(|item| match item {
        SayItem::Pause(length) => *length,
        SayItem::Tone(_) => TONE,
        SayItem::Clip(_) | SayItem::Take(_) | SayItem::Speech { .. } => Duration::ZERO,
    });
    let characters = u32::try_from(text.len()).unwrap_or(u32::MAX);
    CHARACTER.saturating_mul(characters) + pauses.sum::<Duration>()
}
