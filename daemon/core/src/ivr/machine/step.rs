//! Steps from node to node: what each type of node does when it is entered, its exits
//! and events.

use std::sync::Arc;

use super::{CAUSE_FAILURE, CAUSE_NORMAL, FlowMachine, STILL_MAX, State, Step, Then};
use crate::ivr::io::Output;
use crate::ivr::model::{Act, Code, Exit, Flow, Node, Target};

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
        if self.hung_up.is_some() && !node.is_silent() {
            return self.end(CAUSE_NORMAL);
        }
        self.act(&flow, node);
    }

    fn act(&mut self, flow: &Flow, node: &Node) {
        match &node.act {
            Act::Play { .. } => self.enter_play(),
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
            Act::Record { taking, .. } | Act::Voicemail { taking, .. } => {
                self.keys.forget();
                self.speak_then(&taking.say, true, Then::Beep);
            }
            Act::Http { request, .. } => self.ask_service(request),
            Act::Webhook { request, next } => self.tell_service(request, next),
            Act::Lookup {
                by, value, timeout, ..
            } => self.look_up(*by, value, *timeout),
            Act::Enqueue { .. } => self.enqueue(node),
            Act::Transfer { say, .. } | Act::Conference { say, .. } => {
                self.keys.forget();
                self.speak_then(say, false, Then::Act);
            }
            Act::Detect { budget, next } => self.detect(*budget, next),
            Act::Wait { length, music, .. } => {
                self.play_music(music.as_ref().map(|m| m.name.clone()));
                self.state = State::Resting(self.now + *length);
            }
            Act::Subflow { flow, with, .. } => self.call(flow, with),
            Act::Return { event } => self.leave_frame(event.as_deref()),
            Act::Hangup { cause } => self.pending = Some(Step::End(*cause)),
        }
    }

    pub(super) fn goto(&mut self, to: &Target) {
        self.pending = Some(Step::Enter(to.name.clone()));
    }

    fn branch(
        &mut self,
        node: &Node,
        cases: &[(Code, Target, Option<String>)],
        otherwise: &Target,
    ) {
        for (when, to, label) in cases {
            match when.expr.test(&self.scope(when)) {
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
        match self.eval(code) {
            Ok(value) => self.assign(&to.name, value),
            Err(why) => {
                let why = self.why(code, &why.to_string());
                self.trace("event", format!("error {}: {why}", to.name));
                false
            }
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
                self.speak_then(&exit.say, true, Then::Goto(next.name.clone()));
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
