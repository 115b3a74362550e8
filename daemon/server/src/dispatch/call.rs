//! One outgoing call: its events become rows, its flow's orders are answered. When the
//! store is away the call goes on, and what it wrote down is flushed later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::agent::Event::Gone;
use helpline_core::call::{CallReport, End, Settled};
use helpline_core::id::RequestId;
use helpline_core::ivr::io::{CallbackOrder, CallbackReply, HelpChannel, OpId, TraceLine, Why};
use helpline_core::time::Wall;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Dispatch, Means};
use crate::assist::{Asking, Seek, Service};
use crate::clock::Clock;
use crate::config::{Config, Mode};
use crate::desk::{Caller, Desk, Live, LiveProgress, Order, OrderReply, StoreError, Trace};
use crate::voice::{Call, CallCommand, CallEvent, CallPlan};

/// Trace lines kept of one call.
const TRACE_LINES_MAX: u32 = 2_000;
/// Lines written together.
const TRACE_CHUNK: usize = 64;
/// Between two tries to reach a store that is away.
const RETRY: Duration = Duration::from_secs(1);
/// A flow's order is answered within this time, with a failure if need be.
const ORDER_LIMIT: Duration = Duration::from_secs(5);

/// Something to be written, in order.
enum Write {
    Progress(LiveProgress),
    /// By whom it was taken.
    Taken(String),
    /// Nobody needs the agent who was kept for it.
    Free(String),
    Traces(Vec<Trace>),
    End(CallReport),
    NotPlaced,
    Lost,
}

/// The owner of one call.
pub(super) struct CallTask {
    desk: Arc<Desk>,
    means: Means,
    config: Arc<Config>,
    clock: Clock,
    cut: CancellationToken,
    live: Live,
    began_at: Wall,
    unwritten: VecDeque<Write>,
    traces: Vec<Trace>,
    trace_lines: u32,
    over: bool,
    hung_up: bool,
    /// The customer took the request back before an answer.
    withdrawn: bool,
    /// The agent's side, where people take the calls.
    service: Option<Service>,
}

impl CallTask {
    pub(super) fn new(dispatch: &Dispatch, means: &Means, live: Live) -> CallTask {
        CallTask {
            desk: Arc::clone(&dispatch.desk),
            means: means.clone(),
            config: Arc::clone(&dispatch.config),
            began_at: dispatch.clock.wall(),
            clock: dispatch.clock.clone(),
            cut: dispatch.cut.clone(),
            live,
            unwritten: VecDeque::new(),
            traces: Vec::new(),
            trace_lines: 0,
            over: false,
            hung_up: false,
            withdrawn: false,
            service: None,
        }
    }

    /// Calls, follows the call to its end, and sees everything written.
    /// `lifted`: the call of its agent, who is there already.
    pub(super) async fn run(
        mut self,
        mut withdrawals: broadcast::Receiver<RequestId>,
        lifted: Option<Call>,
    ) {
        let Some(Call {
            mut events,
            commands,
            ..
        }) = self.place().await
        else {
            if let Some(agent) = lifted {
                agent.hang_up().await;
            }
            self.finish(Write::NotPlaced).await;
            return;
        };
        let number = Some(self.live.number.clone());
        let asking = Asking::new(self.caller(), number, commands.clone());
        if lifted.is_some() {
            self.serve(&asking, lifted);
        }
        while !self.over {
            tokio::select! {
                biased;
                event = events.recv() => self.event(event, &asking).await,
                withdrawn = withdrawals.recv() => {
                    if withdrawn.is_ok_and(|id| id == self.live.request) {
                        self.withdrawn = true;
                        self.hang_up(&commands);
                    }
                }
                name = taken(&mut self.service) => self.taken(name),
                () = self.cut.cancelled(), if !self.hung_up => self.hang_up(&commands),
                () = tokio::time::sleep(RETRY), if !self.unwritten.is_empty() => {}
            }
            self.flush(Some(&commands)).await;
        }
        self.write_all().await;
    }

    async fn finish(&mut self, last: Write) {
        self.end(last);
        self.write_all().await;
    }

    /// Tries until everything is written; a process that ends before leaves it to the
    /// recovery of the next start.
    async fn write_all(&mut self) {
        loop {
            self.flush(None).await;
            if self.unwritten.is_empty() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn plan(&self) -> Option<CallPlan> {
        let live = &self.live;
        let queue = self.desk.queue(&live.queue)?;
        let request = json!({
            "queue": live.queue,
            "asked_at": live.asked_at.rfc3339(),
            "page_url": live.page.clone().unwrap_or_default(),
            "attempt": live.attempt_no,
            "pin": live.pin.clone().unwrap_or_default(),
        });
        let mut input = serde_json::Map::new();
        input.insert("request".into(), request);
        Some(CallPlan {
            attempt: live.attempt.clone(),
            call_id: live.call_id.clone(),
            trunk: live.trunk.clone(),
            to: live.number.clone(),
            caller_id: None,
            ring_limit: live.ring_limit,
            flow: queue.confirm_flow.clone(),
            queue: live.queue.clone(),
            input,
            language: live.language.clone(),
            hours: self.desk.hours(&live.queue, self.clock.wall()),
        })
    }

    fn caller(&self) -> Caller {
        Caller {
            call_id: self.live.call_id.clone(),
            began_at: self.began_at,
            language: self.live.language.clone(),
            number: Some(self.live.number.clone()),
        }
    }

    async fn event(&mut self, event: Option<CallEvent>, asking: &Asking) {
        let commands = &asking.commands;
        let progress = |p| Write::Progress(p);
        match event {
            Some(CallEvent::Ringing) => self.unwritten.push_back(progress(LiveProgress::Ringing)),
            Some(CallEvent::Answered) => {
                self.unwritten.push_back(progress(LiveProgress::Answered));
                if self.service.is_none() && self.has_agents() {
                    self.serve(asking, None);
                }
            }
            Some(CallEvent::Join(op, _)) if self.has_agents() => match &self.service {
                Some(service) => service.join(op),
                None => self.tell(commands, CallCommand::LeftQueue(op, Why::NoAgents)),
            },
            Some(CallEvent::Leave(op)) => {
                if let Some(service) = &self.service {
                    service.leave(op);
                }
            }
            Some(CallEvent::Join(op, _)) => {
                // The customer hears the answer at once; the row may follow.
                let flow = self.desk.queue(&self.live.queue).map_or_else(
                    || self.config.voice.inbound_flow.clone(),
                    |queue| queue.help_flow.clone(),
                );
                self.tell(commands, CallCommand::Joined(op, HelpChannel::Flow(flow)));
                self.unwritten.push_back(progress(LiveProgress::Connected));
            }
            Some(CallEvent::Store(op, order)) => {
                let reply = self.order(op, order).await;
                self.tell(commands, CallCommand::Stored(op, reply));
            }
            Some(CallEvent::Ask(op, ask)) => self.means.assist.ask(asking, op, ask),
            Some(CallEvent::Webhook(order)) => self.means.assist.webhook(asking, order),
            // The flow has heard of these itself.
            Some(
                CallEvent::Answerer(..)
                | CallEvent::MachineListens { .. }
                | CallEvent::Recorded(..),
            ) => {}
            // Nobody here may move a call about: dropping it declines.
            Some(CallEvent::Transfer(_)) => {}
            Some(CallEvent::Trace(at_ms, line)) => self.trace(at_ms, line),
            Some(CallEvent::Ended(report)) => self.end(Write::End(self.judge(report))),
            None => self.end(Write::Lost),
        }
    }

    /// Only we know why a call was given up: a stop withdraws nothing.
    fn judge(&self, mut report: CallReport) -> CallReport {
        if self.withdrawn && report.end == End::Cancelled {
            report.settled.get_or_insert(Settled::Withdrawn);
        }
        report
    }

    fn end(&mut self, last: Write) {
        self.over = true;
        self.cut_traces();
        self.unwritten.push_back(last);
        // The agent's side, where there is one, sees for itself that the call is over.
        self.service = None;
        if let Some(agent) = self.live.agent.take() {
            self.unwritten.push_back(Write::Free(agent.name));
        }
    }

    fn has_agents(&self) -> bool {
        let queue = self.desk.queue(&self.live.queue);
        queue.is_some_and(|queue| queue.agents.are_people())
    }

    /// Looks for an agent, or goes on with the one who has lifted.
    fn serve(&mut self, asking: &Asking, lifted: Option<Call>) {
        let Some(queue) = self.desk.queue(&self.live.queue) else {
            return;
        };
        let seek = Seek {
            wanted: self.live.wanted.clone(),
            serves: self.live.request.as_str().to_owned(),
            agents: queue.agents.clone(),
            // Nobody's time is spent on a number that anybody may have typed in.
            eager: queue.agents.mode == Mode::Reserved && self.live.proven,
            first: self.live.agent.take(),
            lifted,
            settles: false,
        };
        self.service = self.means.assist.serve(asking, seek);
    }

    /// Somebody talks to the customer.
    fn taken(&mut self, name: String) {
        let connected = Write::Progress(LiveProgress::Connected);
        self.unwritten.extend([connected, Write::Taken(name)]);
    }

    async fn place(&mut self) -> Option<Call> {
        let plan = self.plan()?;
        match self.means.voice.place(plan).await {
            Ok(call) => Some(call),
            Err(error) => {
                tracing::warn!(%error, call.id = %self.live.call_id, "a call was not placed");
                None
            }
        }
    }

    fn trace(&mut self, at_ms: u64, line: TraceLine) {
        if self.trace_lines >= TRACE_LINES_MAX {
            return;
        }
        self.trace_lines += 1;
        self.traces.push(Trace {
            seq: self.trace_lines,
            at_ms,
            flow: line.flow,
            node: line.node,
            kind: line.kind.into(),
            data: line.data,
        });
        if self.traces.len() >= TRACE_CHUNK {
            self.cut_traces();
        }
    }

    fn cut_traces(&mut self) {
        if !self.traces.is_empty() {
            let lines = std::mem::take(&mut self.traces);
            self.unwritten.push_back(Write::Traces(lines));
        }
    }

    async fn order(&mut self, op: OpId, order: CallbackOrder) -> CallbackReply {
        let wanted = match order {
            CallbackOrder::Reschedule { at } => Order::Later(at),
            CallbackOrder::Refused => Order::Stop,
            CallbackOrder::Withdrawn => Order::Withdraw,
            CallbackOrder::Request { .. } => {
                let caller = self.caller();
                let taken = self.desk.callback(&caller, op, order);
                return tokio::time::timeout(ORDER_LIMIT, taken)
                    .await
                    .unwrap_or(CallbackReply::Failed);
            }
        };
        let done = self.desk.order(&self.live, wanted);
        match tokio::time::timeout(ORDER_LIMIT, done).await {
            Ok(Ok(OrderReply::Done)) => CallbackReply::Done {
                position: None,
                wait: None,
                at: match wanted {
                    Order::Later(at) => Some(at),
                    Order::Stop | Order::Withdraw => None,
                },
                merged: false,
            },
            Ok(Ok(OrderReply::BadTime) | Err(_)) | Err(_) => CallbackReply::Failed,
        }
    }

    /// Writes what waits, in order, until the store does not answer.
    async fn flush(&mut self, commands: Option<&mpsc::Sender<CallCommand>>) {
        while let Some(write) = self.unwritten.front() {
            let done = match write {
                Write::Progress(progress) => self.desk.progress(&self.live, *progress).await,
                Write::Taken(name) => self.desk.taken_by(&self.live, name).await,
                Write::Free(name) => {
                    let request = self.live.request.as_str();
                    self.desk.agent(name, request, Gone).await
                }
                Write::Traces(lines) => {
                    let call_id = &self.live.call_id;
                    self.desk.trace(call_id, "out", lines.clone()).await
                }
                Write::End(report) => self.desk.settle(&self.live, report).await.map(|_| ()),
                Write::NotPlaced => self.desk.not_placed(&self.live).await.map(|_| ()),
                Write::Lost => self.desk.lost(&self.live).await,
            };
            match done {
                Ok(()) => {}
                Err(error) if error.is_temporary() => {
                    tracing::warn!(%error, call.id = %self.live.call_id, "written later");
                    return;
                }
                Err(StoreError::Fenced) => {
                    tracing::warn!(call.id = %self.live.call_id, "the attempt was taken over");
                    if let Some(commands) = commands {
                        self.hang_up(commands);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, call.id = %self.live.call_id, "cannot be written");
                }
            }
            self.unwritten.pop_front();
        }
    }

    fn hang_up(&mut self, commands: &mpsc::Sender<CallCommand>) {
        if !self.hung_up {
            self.hung_up = true;
            self.tell(commands, CallCommand::HangUp);
        }
    }

    /// Never waits: the call may be waiting for us to take its next event.
    fn tell(&self, commands: &mpsc::Sender<CallCommand>, command: CallCommand) {
        if commands.try_send(command).is_err() && !self.over {
            tracing::warn!(call.id = %self.live.call_id, "the call no longer listens");
        }
    }
}

/// Who took the call, when somebody has.
async fn taken(service: &mut Option<Service>) -> String {
    match service {
        Some(service) => service.taken().await,
        None => std::future::pending().await,
    }
}
