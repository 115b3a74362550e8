//! Waiting in line, and the talk with whoever takes the call out of it: `enqueue`. What a
//! caller hears meanwhile is worked out here, from one view of the line, counted from the end
//! of what was said last, so that nothing overlaps.

use std::time::Duration;

use super::{Due, FlowMachine, Speech, State};
use crate::ivr::expr::{self, Value};
use crate::ivr::io::{Join, Key, OpId, Output, Place, QueueFacts, QueueView, Why};
use crate::ivr::model::{Act, Announce, Code, Item, Node};
use crate::time::Time;

/// More would let one kind of caller starve the others.
const HEAD_START_MAX: i64 = 30;

/// A call in a line.
#[derive(Debug)]
pub(super) struct InLine {
    op: OpId,
    until: Time,
    pub(super) speech: Option<Speech>,
    /// Taken; only what is being said is waited for.
    joined: Option<String>,
    /// When the next announcement is due.
    next: Option<Time>,
    /// The first one was due; the others count from the end of the last.
    is_announced: bool,
    told: Told,
}

/// A call that an agent has taken out of the line. Nothing is due by itself.
#[derive(Debug)]
pub(super) struct Talk {
    op: OpId,
    /// For the case that the caller comes back.
    told: Told,
}

/// What the caller was told last.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    position: Option<u32>,
    ewt: Option<Duration>,
}

impl InLine {
    /// What is due by itself.
    pub(super) fn due(&self) -> Vec<(Time, Due)> {
        if self.joined.is_some() {
            return Vec::new();
        }
        let announce = self.next.filter(|_| self.speech.is_none());
        let announce = announce.map(|at| (at, Due::Announce));
        std::iter::once((self.until, Due::Unjoined))
            .chain(announce)
            .collect()
    }
}

impl FlowMachine {
    /// Enters the line of a queue.
    pub(super) fn enqueue(&mut self, node: &Node) {
        let Act::Enqueue {
            queue,
            priority,
            reserved,
            say,
            ..
        } = &node.act
        else {
            return;
        };
        self.keys.forget();
        let Some(queue) = self.fill(queue) else {
            return self.raise("error");
        };
        let Some(place) = self.place(*reserved, priority.as_ref()) else {
            return self.raise("error");
        };
        self.queue = None;
        let segments = self.segments(say, false);
        let speech = self.start(segments);
        let op = self.op();
        let how = match place {
            Place::Reserved => "reserved".to_owned(),
            Place::New { head_start } if head_start.is_zero() => "new".to_owned(),
            Place::New { head_start } => format!("new +{}m", head_start.as_secs() / 60),
        };
        self.trace("join", format!("{queue} {how}"));
        self.out.push_back(Output::Join(op, Join { queue, place }));
        self.pause();
        self.stand_in_line(node, op, speech, Told::default());
    }

    /// Waits from now on, with the music of the node and all of its time.
    fn stand_in_line(&mut self, node: &Node, op: OpId, speech: Option<Speech>, told: Told) {
        let Act::Enqueue {
            music,
            announce,
            max_wait,
            ..
        } = &node.act
        else {
            return;
        };
        self.play_music(music.as_ref().map(|m| m.name.clone()));
        self.state = State::InLine(InLine {
            op,
            until: self.now + *max_wait,
            next: announce.as_ref().map(|a| self.now + a.first),
            speech,
            joined: None,
            is_announced: false,
            told,
        });
    }

    fn place(&self, reserved: bool, priority: Option<&Code>) -> Option<Place> {
        if reserved {
            return Some(Place::Reserved);
        }
        let minutes = match priority {
            None => 0,
            Some(code) => match self.eval(code).ok()? {
                Value::Int(minutes) => minutes.clamp(0, HEAD_START_MAX),
                _ => return None,
            },
        };
        let seconds = u64::try_from(minutes).unwrap_or(0) * 60;
        Some(Place::New {
            head_start: Duration::from_secs(seconds),
        })
    }

    fn announcement(&self) -> Option<Announce> {
        let (flow, index) = self.node()?;
        match &flow.nodes.get(index)?.act {
            Act::Enqueue { announce, .. } => announce.clone(),
            _ => None,
        }
    }

    /// The line moved.
    pub(super) fn line_stands(&mut self, op: OpId, view: QueueView) {
        if matches!(&self.state, State::InLine(line) if line.op == op) {
            self.queue = Some(view);
        }
    }

    /// Tells what is to be told now; of values only what does not disappoint.
    pub(super) fn announce(&mut self) {
        let Some(announce) = self.announcement() else {
            return;
        };
        let State::InLine(mut line) = std::mem::replace(&mut self.state, State::Stepping) else {
            return;
        };
        let view = self.queue.unwrap_or_default();
        let told = line.told;
        let (mut position, mut ewt) = (false, false);
        let mut items: Vec<Item> = Vec::new();
        for item in &announce.say {
            let reads = |field| item.codes().any(|code| code.expr.reads("queue", field));
            let (reads_position, reads_ewt) = (reads("position"), reads("ewt"));
            if reads_position && !is_news(view.position, told.position, announce.only_if_better)
                || reads_ewt && announce.only_if_better && !is_news(view.ewt, told.ewt, true)
            {
                continue;
            }
            position |= reads_position;
            ewt |= reads_ewt;
            items.push(item.clone());
        }
        if position {
            line.told.position = view.position;
        }
        if ewt {
            line.told.ewt = view.ewt;
        }
        let segments = self.segments(&items, false);
        line.speech = self.start(segments);
        line.next = Some(self.now + announce.every);
        line.is_announced = true;
        self.state = State::InLine(line);
    }

    /// The words in line are said.
    pub(super) fn line_silent(&mut self, mut line: InLine) {
        line.speech = None;
        if let Some(name) = line.joined.take() {
            self.play_music(None);
            return self.enter_channel(&name);
        }
        if line.is_announced
            && let Some(announce) = self.announcement()
        {
            line.next = Some(self.now + announce.every);
        }
        self.state = State::InLine(line);
    }

    /// A help flow takes the call.
    pub(super) fn joined(&mut self, op: OpId, name: String) {
        let State::InLine(line) = &mut self.state else {
            return;
        };
        if line.op != op {
            return;
        }
        if line.speech.is_some() {
            // A flow waits, unlike a person: the announcement is heard to its end.
            line.joined = Some(name);
        } else {
            self.play_music(None);
            self.enter_channel(&name);
        }
    }

    /// An agent takes the call out of the line, or over from another one. He is not kept
    /// waiting: whatever is being said stops.
    pub(super) fn talk(&mut self, op: OpId, name: &str) {
        if let State::InLine(line) = &self.state
            && line.op == op
        {
            let told = line.told;
            self.hush();
            self.play_music(None);
            self.state = State::Talking(Talk { op, told });
        }
        if self.talks(op) {
            self.trace("event", format!("talk {name}"));
        }
    }

    fn talks(&self, op: OpId) -> bool {
        matches!(&self.state, State::Talking(talk) if talk.op == op)
    }

    /// The agent has left, the caller has not.
    pub(super) fn talk_ended(&mut self, op: OpId) {
        if self.talks(op) {
            self.trace("event", "talk_ended");
            self.out_of_line("answered");
        }
    }

    /// The agent was lost: back into the line, of which nothing is known yet.
    pub(super) fn talk_broke(&mut self, op: OpId) {
        let (State::Talking(talk), Some((flow, index))) = (&self.state, self.node()) else {
            return;
        };
        let told = talk.told;
        if let Some(node) = flow.nodes.get(index).filter(|_| talk.op == op) {
            self.trace("event", "talk_broke");
            self.queue = None;
            self.stand_in_line(node, op, None, told);
        }
    }

    pub(super) fn left_queue(&mut self, op: OpId, why: Why) {
        let waits =
            matches!(&self.state, State::InLine(line) if line.op == op && line.joined.is_none());
        if waits || self.talks(op) {
            self.out_of_line(match why {
                Why::Timeout => "timeout",
                Why::NoAgents => "no_agents",
                Why::Full => "full",
            });
        }
    }

    /// Gives the place up.
    pub(super) fn leave(&mut self, why: &str) {
        if let State::InLine(line) = &self.state {
            self.out.push_back(Output::Leave(line.op));
        }
        self.out_of_line(why);
    }

    fn out_of_line(&mut self, why: &str) {
        self.hush();
        self.play_music(None);
        self.resume();
        self.raise(why);
    }

    /// A key in line: those the node lists work at any time.
    pub(super) fn line_key(&mut self, key: Key) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        let exit = match flow.nodes.get(index).map(|n| &n.act) {
            Some(Act::Enqueue { keys, .. }) => keys.get(&key.char()),
            _ => None,
        };
        let State::InLine(line) = &self.state else {
            return;
        };
        let op = line.op;
        let Some(exit) = exit.filter(|_| line.joined.is_none()) else {
            return self.drop_key(key);
        };
        self.trace("key", key.char().to_string());
        self.out.push_back(Output::Leave(op));
        self.hush();
        self.play_music(None);
        self.resume();
        self.exit(&key.char().to_string(), exit);
    }
}

/// Whether a value may be told: never a worse one; with `only_if_better` nor the same again.
fn is_news<T: PartialOrd>(value: Option<T>, told: Option<T>, only_if_better: bool) -> bool {
    match (value, told) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(value), Some(told)) => value < told || (!only_if_better && value == told),
    }
}

/// `queue` in expressions; what is not known is absent.
pub(super) fn facts(view: &QueueView) -> Value {
    let count = |name, n: Option<u32>| n.map(|n| (name, Value::Int(n.into())));
    let facts = [
        count("position", view.position),
        count("waiting", view.waiting),
        count("agents", view.agents),
        view.ewt.map(|ewt| ("ewt", expr::duration(ewt))),
    ];
    expr::map(facts.into_iter().flatten())
}

/// A line as `queues` shows it.
pub(super) fn seen(line: &QueueFacts) -> Value {
    let facts = [
        Some(("waiting", Value::Int(line.waiting.into()))),
        Some(("agents", Value::Int(line.agents.into()))),
        Some(("open", Value::Bool(line.open))),
        line.ewt.map(|ewt| ("ewt", expr::duration(ewt))),
    ];
    expr::map(facts.into_iter().flatten())
}
