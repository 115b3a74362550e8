//! Steps from node to node: what each type of node does when it is entered, exits,
//! events, and flows that call flows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{
    CAUSE_FAILURE, CAUSE_NORMAL, DEPTH_MAX, FlowMachine, Frame, How, STILL_MAX, STORE_MAX, State,
    Step, Then, vars::Vars,
};
use crate::ivr::expr::{self, Value};
use crate::ivr::io::{CallbackOrder, Join, Output};
use crate::ivr::model::{Act, Code, Exit, Flow, Item, Node, Order, Part, Role, Target};
use crate::time::Wall;

/// A call may be moved this far.
const RESCHEDULE_MAX: Duration = Duration::from_secs(400 * 86_400);

impl FlowMachine {
    /// Steps until the flow waits for something.
    pub(super) fn run(&mut self) {
        while let Some(step) = self.pending.take() {
            match step {
                Step::Enter(name) => self.enter(&name),
                Step::Raise(event) => self.event(&event),
                Step::End(cause) => self.end(cause),
            }
        }
    }

    fn end(&mut self, cause: u8) {
        self.unmask();
        self.trace("end", cause.to_string());
        self.out.push_back(Output::End { cause });
        self.pending = None;
        self.state = State::Ended;
    }

    fn unmask(&mut self) {
        if std::mem::take(&mut self.masked) {
            self.out.push_back(Output::Mask(false));
        }
    }

    fn enter(&mut self, name: &str) {
        self.unmask();
        self.callback = None;
        let Some(flow) = self.frames.last().map(|f| Arc::clone(&f.flow)) else {
            return self.end(CAUSE_FAILURE);
        };
        let Some(index) = flow.index.get(name).copied() else {
            return self.raise("error");
        };
        if let Some(frame) = self.frames.last_mut() {
            frame.node = index;
        }
        let Some(node) = flow.nodes.get(index) else {
            return self.raise("error");
        };
        self.still += 1;
        if let Some(budget) = self.budgets.last_mut() {
            budget.steps += 1;
            if budget.steps > budget.max_steps {
                self.trace("event", "limit max_steps");
                return self.end(CAUSE_FAILURE);
            }
        }
        if self.still > STILL_MAX {
            self.still = 0;
            self.trace("event", "error circle");
            return self.raise("error");
        }
        self.trace("node", format!("{} {}", node.name, node.kind));
        if self.hung_up.is_some() && (node.needs_caller() || matches!(node.act, Act::Play { .. })) {
            return self.end(CAUSE_NORMAL);
        }
        self.act(&flow, node);
    }

    fn act(&mut self, flow: &Flow, node: &Node) {
        match &node.act {
            Act::Play {
                barge_in, repeat, ..
            } => {
                if self.keys.handed.is_some() && *barge_in {
                    // The caller is ahead of us: on to the question the key was meant for.
                    self.play(0);
                } else {
                    self.keys.forget();
                    self.play(*repeat);
                }
            }
            Act::Menu { question, .. } => self.enter_question(question),
            Act::Collect { question, entry } => {
                if flow.decls.get(&entry.save.name).is_some_and(|d| d.secret) {
                    self.masked = true;
                    self.out.push_back(Output::Mask(true));
                }
                self.enter_question(question);
            }
            Act::Branch { cases, otherwise } => self.branch(node, cases, otherwise),
            Act::Set { set, next } => {
                for (to, code) in set {
                    if !self.compute(to, code) {
                        return self.raise("error");
                    }
                }
                self.goto(next);
            }
            Act::Callback { order, next, .. } => self.order(order, next),
            Act::Enqueue {
                queue,
                say,
                max_wait,
                ..
            } => self.enqueue(queue, say, *max_wait),
            Act::Subflow { flow, with, .. } => self.call(flow, with),
            Act::Return { event } => self.leave_frame(event.as_deref()),
            Act::Hangup { cause } => self.pending = Some(Step::End(*cause)),
        }
    }

    fn goto(&mut self, to: &Target) {
        self.pending = Some(Step::Enter(to.name.clone()));
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

    fn branch(
        &mut self,
        node: &Node,
        cases: &[(Code, Target, Option<String>)],
        otherwise: &Target,
    ) {
        let scope = self.scope();
        for (when, to, label) in cases {
            match when.expr.test(&scope) {
                Ok(true) => {
                    let label = label.as_deref().unwrap_or("case");
                    self.exit_line(label, &to.name);
                    return self.goto(to);
                }
                Ok(false) => {}
                Err(why) => {
                    let why = self.why(when, &why.to_string());
                    self.trace("event", format!("error {}: {why}", node.name));
                    return self.raise("error");
                }
            }
        }
        self.exit_line("else", &otherwise.name);
        self.goto(otherwise);
    }

    fn compute(&mut self, to: &Target, code: &Code) -> bool {
        match code.expr.eval(&self.scope()) {
            Ok(value) => self.assign(&to.name, value),
            Err(why) => {
                let why = self.why(code, &why.to_string());
                self.trace("event", format!("error {}: {why}", to.name));
                false
            }
        }
    }

    fn fill(&self, parts: &[Part]) -> Option<String> {
        let mut text = String::new();
        let scope = self.scope();
        for part in parts {
            match part {
                Part::Text(t) => text.push_str(t),
                Part::Code(code) => match code.expr.eval(&scope) {
                    Ok(Value::String(s)) => text.push_str(&s),
                    Ok(Value::Int(i)) => text.push_str(&i.to_string()),
                    _ => return None,
                },
            }
        }
        (!text.is_empty() && text.len() <= 200).then_some(text)
    }

    fn order(&mut self, order: &Order, next: &Target) {
        let settles = !matches!(order, Order::Request { .. });
        if settles && self.settled {
            // The first word holds: what comes after must not call a customer again.
            self.trace("store", "ignored: already settled");
            return self.goto(next);
        }
        let (order, line) = match order {
            Order::Request {
                queue,
                number,
                at,
                keep_place,
            } => {
                let (Some(queue), Ok(Value::String(number))) =
                    (self.fill(queue), number.expr.eval(&self.scope()))
                else {
                    return self.raise("error");
                };
                if number.is_empty() {
                    return self.raise("bad_number");
                }
                let at = match at {
                    None => None,
                    Some(code) => match self.moment(code) {
                        Some(at) => Some(at),
                        None => return self.raise("error"),
                    },
                };
                let line = format!("request {queue}");
                (
                    CallbackOrder::Request {
                        queue,
                        number: number.to_string(),
                        at,
                        keep_place: *keep_place,
                    },
                    line,
                )
            }
            Order::Reschedule(code) => match self.moment(code) {
                Some(at) => (
                    CallbackOrder::Reschedule { at },
                    format!("reschedule {}", at.rfc3339()),
                ),
                None => return self.raise("error"),
            },
            Order::Refused => (CallbackOrder::Refused, "refused".to_owned()),
            Order::Withdrawn => (CallbackOrder::Withdrawn, "withdrawn".to_owned()),
        };
        self.settled |= settles;
        let op = self.op();
        self.trace("store", line);
        self.out.push_back(Output::Store(op, order));
        self.state = State::Storing {
            op,
            until: self.now + STORE_MAX,
        };
    }

    /// A moment from a length of time or a timestamp, not in the past, not too far.
    fn moment(&self, code: &Code) -> Option<Wall> {
        let value = code.expr.eval(&self.scope()).ok()?;
        let now = self.wall();
        let at = expr::to_wall(&value).or_else(|| Some(now + expr::to_duration(&value)?))?;
        (at >= now && at.since(now) <= RESCHEDULE_MAX).then_some(at)
    }

    /// The desk has committed: only now anything is promised.
    pub(super) fn after_store(
        &mut self,
        position: Option<u32>,
        wait: Option<Duration>,
        at: Option<Wall>,
        merged: bool,
    ) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        let Some(Act::Callback { say, next, .. }) = flow.nodes.get(index).map(|n| &n.act) else {
            return;
        };
        let mut facts = vec![("merged", Value::Bool(merged))];
        facts.extend(position.map(|p| ("position", Value::Int(p.into()))));
        facts.extend(wait.map(|w| ("ewt", expr::duration(w))));
        facts.extend(at.and_then(expr::timestamp).map(|a| ("at", a)));
        self.callback = Some(expr::map(facts));
        self.speak_then(say, false, next);
    }

    fn speak_then(&mut self, say: &[Item], barge_in: bool, next: &Target) {
        if self.hung_up.is_none() {
            let segments = self.segments(say, barge_in);
            if let Some(speech) = self.start(segments) {
                self.state = State::Speaking(speech, Then::Goto(next.name.clone()));
                return;
            }
        }
        self.state = State::Stepping;
        self.goto(next);
    }

    fn enqueue(&mut self, queue: &[Part], say: &[Item], max_wait: Duration) {
        self.keys.forget();
        let Some(queue) = self.fill(queue) else {
            return self.raise("error");
        };
        let segments = self.segments(say, false);
        let speech = self.start(segments);
        let op = self.op();
        self.trace("join", format!("{queue} reserved"));
        self.out.push_back(Output::Join(op, Join { queue }));
        if let Some(budget) = self.budgets.last_mut() {
            budget.paused = Some(self.now);
        }
        self.state = State::Joining {
            op,
            until: self.now + max_wait,
            speech,
            joined: None,
        };
    }

    /// The help channel is a flow: it runs on top, with limits of its own.
    pub(super) fn enter_channel(&mut self, name: &str) {
        self.state = State::Stepping;
        let flow = self.set.flow(name).map(Arc::clone);
        let vars = flow
            .as_ref()
            .and_then(|f| Vars::of_start(f, &self.start.input).ok());
        let (Some(flow), Some(vars)) = (flow, vars) else {
            self.trace("event", format!("error help channel {name}"));
            self.resume();
            return self.raise("error");
        };
        if self.frames.len() >= DEPTH_MAX {
            self.resume();
            return self.raise("error");
        }
        self.trace("join", format!("flow {name}"));
        self.push_budget(&flow);
        self.push_frame(flow, vars, How::Joined);
    }

    fn call(&mut self, called: &Target, with: &[(Target, Code)]) {
        let flow = self.set.flow(&called.name).map(Arc::clone);
        let scope = self.scope();
        let mut given = BTreeMap::new();
        for (to, code) in with {
            match code.expr.eval(&scope) {
                Ok(value) if expr::fits(&value) => given.insert(to.name.clone(), value),
                _ => return self.raise("error"),
            };
        }
        let vars = flow.as_ref().and_then(|f| Vars::of_call(f, given));
        match (flow, vars) {
            (Some(flow), Some(vars)) if self.frames.len() < DEPTH_MAX => {
                self.push_frame(flow, vars, How::Subflow)
            }
            _ => self.raise("error"),
        }
    }

    fn push_frame(&mut self, flow: Arc<Flow>, vars: Vars, how: How) {
        let start = flow.start.name.clone();
        self.frames.push(Frame {
            flow,
            node: 0,
            vars,
            how,
        });
        let wish = self.lang.clone();
        self.set_lang(&wish);
        self.pending = Some(Step::Enter(start));
    }

    /// Takes the frame on top away and goes back to the language of the one below.
    fn pop_frame(&mut self) -> Option<Frame> {
        if self.frames.len() < 2 {
            return None;
        }
        let frame = self.frames.pop()?;
        if frame.how == How::Joined {
            self.budgets.pop();
            self.resume();
        }
        let wish = self.lang.clone();
        self.set_lang(&wish);
        Some(frame)
    }

    fn leave_frame(&mut self, event: Option<&str>) {
        let line = event.map_or_else(|| "return".to_owned(), |e| format!("return {e}"));
        self.trace("exit", line);
        let Some(frame) = self.pop_frame() else {
            self.pending = Some(Step::End(CAUSE_NORMAL));
            return;
        };
        if frame.how == How::Joined {
            return self.raise("answered");
        }
        let Some((flow, index)) = self.node() else {
            return;
        };
        let Some(Act::Subflow { save, next, .. }) = flow.nodes.get(index).map(|n| &n.act) else {
            return;
        };
        let mut scope = self.scope();
        let outputs = frame
            .flow
            .decls
            .iter()
            .filter(|(_, d)| d.role == Role::Output);
        for (name, _) in outputs {
            if let Some(value) = frame.vars.0.get(name) {
                scope.set(name, value.clone());
            }
        }
        for (to, code) in save {
            let saved = code
                .expr
                .eval(&scope)
                .is_ok_and(|value| self.assign(&to.name, value));
            if !saved {
                return self.raise("error");
            }
        }
        match (event, next) {
            (Some(event), _) => self.raise(event),
            (None, Some(next)) => self.goto(next),
            (None, None) => self.raise("error"),
        }
    }

    /// An event of the node on top: its own exits, the flow's, then what is built in.
    fn event(&mut self, event: &str) {
        self.unmask();
        let Some((flow, index)) = self.node() else {
            return self.end(CAUSE_FAILURE);
        };
        let Some(node) = flow.nodes.get(index) else {
            return self.end(CAUSE_FAILURE);
        };
        if event == "error" && std::mem::replace(&mut self.failing, true) {
            return self.end(CAUSE_FAILURE);
        }
        if event != "hangup" {
            self.trace("event", event);
        }
        if let Some(exit) = node.events.get(event).or_else(|| flow.events.get(event)) {
            return self.event_exit(event, exit);
        }
        match event {
            "hangup" | "error" => {
                // The flow below may know what to do.
                if self.pop_frame().is_some() {
                    self.failing = false;
                    self.raise(event);
                } else {
                    self.end(if event == "error" {
                        CAUSE_FAILURE
                    } else {
                        CAUSE_NORMAL
                    });
                }
            }
            "exhausted" => self.end(CAUSE_NORMAL),
            _ => match node.next() {
                Some(next) => {
                    self.exit_line(event, &next.name);
                    self.goto(next);
                }
                None => self.raise("error"),
            },
        }
    }

    /// Takes an exit of an event: keys meant for what is over are forgotten.
    pub(super) fn event_exit(&mut self, event: &str, exit: &Exit) {
        self.keys.forget();
        self.exit(event, exit);
    }

    /// Takes an exit: what it says first, then its node.
    pub(super) fn exit(&mut self, label: &str, exit: &Exit) {
        self.state = State::Stepping;
        match &exit.next {
            Some(next) => {
                self.exit_line(label, &next.name);
                self.speak_then(&exit.say, true, next);
            }
            // Lint refuses such exits (E103).
            None => self.raise("error"),
        }
    }

    pub(super) fn exit_line(&mut self, label: &str, to: &str) {
        let node = self
            .node()
            .map(|(flow, i)| super::name_of(&flow, i))
            .unwrap_or_default();
        self.trace("exit", format!("{node} {label} -> {to}"));
    }
}
