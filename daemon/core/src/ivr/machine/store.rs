//! Orders of `callback` nodes: said is only what the desk has committed.

use std::time::Duration;

use super::{FlowMachine, STORE_MAX, Then};
use crate::ivr::expr::{self, Value};
use crate::ivr::io::{CallbackOrder, CallbackReply, OpId, Output};
use crate::ivr::model::{Act, Code, Order, Target};
use crate::time::Wall;

/// A call may be moved this far.
const RESCHEDULE_MAX: Duration = Duration::from_secs(400 * 86_400);

impl FlowMachine {
    pub(super) fn order(&mut self, order: &Order, next: &Target) {
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
                    (self.fill(queue), self.eval(number))
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
        self.work(op, STORE_MAX);
    }

    /// A moment from a length of time or a timestamp, not in the past, not too far.
    fn moment(&self, code: &Code) -> Option<Wall> {
        let value = self.eval(code).ok()?;
        let now = self.wall();
        let at = expr::to_wall(&value).or_else(|| Some(now + expr::to_duration(&value)?))?;
        (at >= now && at.since(now) <= RESCHEDULE_MAX).then_some(at)
    }

    /// The desk has committed: only now anything is promised.
    fn after_store(
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
        self.speak_then(say, false, Then::Goto(next.name.clone()));
    }

    /// The desk's answer.
    pub(super) fn stored(&mut self, op: OpId, reply: CallbackReply) {
        if !self.work_done(op) {
            return;
        }
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
}
