//! Flows that call flows, and the flow that is a help channel.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::vars::Vars;
use super::{CAUSE_NORMAL, DEPTH_MAX, FlowMachine, Frame, How, State, Step};
use crate::ivr::expr::{self, Value};
use crate::ivr::model::{Act, Code, Flow, Role, Target};

impl FlowMachine {
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

    pub(super) fn call(&mut self, called: &Target, with: &[(Target, Code)]) {
        let flow = self.set.flow(&called.name).map(Arc::clone);
        let mut given = BTreeMap::new();
        for (to, code) in with {
            match self.eval(code) {
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
    pub(super) fn pop_frame(&mut self) -> Option<Frame> {
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

    pub(super) fn leave_frame(&mut self, event: Option<&str>) {
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
        let outputs = frame
            .flow
            .decls
            .iter()
            .filter(|(_, d)| d.role == Role::Output);
        let outputs: Vec<(&String, &Value)> = outputs
            .filter_map(|(name, _)| Some((name, frame.vars.0.get(name)?)))
            .collect();
        for (to, code) in save {
            let mut scope = self.scope(code);
            for (name, value) in &outputs {
                scope.set(name, (*value).clone());
            }
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
}
