//! People who phone in: the flow already talks to them; here their orders become
//! requests, and while they are on the line their number is not dialled.

use std::sync::Arc;
use std::time::Duration;

use helpline_core::ivr::io::{
    CallbackReply, HelpChannel, Join, OpId, Place, QueueView, TraceLine, Why,
};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::duty;
use crate::assist::{Asking, Assist, Seek, Service};
use crate::clock::Clock;
use crate::config::Config;
use crate::desk::{AgentRow, Caller, Desk, Stood, StoreError, Trace, Turn, Wanted};
use crate::voice::{Call, CallCommand, CallEvent, Incoming};

/// Trace lines kept of one call.
const TRACE_LINES_MAX: u32 = 2_000;
/// Between two tries to reach a store that is away.
const RETRY: Duration = Duration::from_secs(1);
/// Tries to write the end of a call; past this the next start cleans up.
const END_TRIES: u32 = 600;
/// So often a caller in line is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An order is answered within this time, with a failure if need be.
const ORDER_LIMIT: Duration = Duration::from_secs(5);

/// Serves callers until `cut`, when their calls are ended too. Every call is a task of
/// `calls`.
pub async fn serve(
    mut incoming: mpsc::Receiver<Incoming>,
    (desk, assist): (Arc<Desk>, Arc<Assist>),
    config: Arc<Config>,
    clock: Clock,
    calls: TaskTracker,
    cut: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cut.cancelled() => return,
            next = incoming.recv() => {
                let Some(incoming) = next else { return };
                if let Some(phone) = incoming.phone.as_ref().filter(|_| duty::is_code(&incoming.to)) {
                    let desk = (Arc::clone(&desk), Arc::clone(&config));
                    calls.spawn(duty::serve(desk, phone.clone(), incoming.to, incoming.call));
                    continue;
                }
                let caller = Caller {
                    call_id: incoming.call.id.clone(),
                    began_at: clock.wall(),
                    language: config.site.language.clone(),
                    number: incoming.from.clone(),
                };
                let task = CallerTask {
                    desk: Arc::clone(&desk),
                    assist: Arc::clone(&assist),
                    caller,
                    config: Arc::clone(&config),
                    waiting: None,
                    service: None,
                    traces: Vec::new(),
                    trace_lines: 0,
                };
                calls.spawn(task.run(incoming, cut.clone()));
            }
        }
    }
}

/// The owner of one caller's call.
struct CallerTask {
    desk: Arc<Desk>,
    assist: Arc<Assist>,
    config: Arc<Config>,
    caller: Caller,
    /// The join that waits for its turn, and the queue.
    waiting: Option<Waiting>,
    /// The agent's side, where people take the calls.
    service: Option<Service>,
    traces: Vec<Trace>,
    trace_lines: u32,
}

/// A caller in line.
struct Waiting {
    op: OpId,
    queue: String,
    /// What he knows of the line.
    told: Option<QueueView>,
}

impl CallerTask {
    async fn run(mut self, incoming: Incoming, cut: CancellationToken) {
        let Incoming { from, call, .. } = incoming;
        let Call {
            mut events,
            commands,
            ..
        } = call;
        let begun = self.desk.caller_begins(&self.caller.call_id, from.as_ref());
        if let Err(error) = begun.await {
            // The caller is served all the same; only the dialler may ring a busy line.
            tracing::warn!(%error, "a caller could not be noted");
        }
        let asking = Asking::new(self.caller.clone(), from, commands.clone());
        let mut hung_up = false;
        // Events must not put it off: a caller who keys a lot has his turn as well.
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => {
                        if self.event(event, &asking).await {
                            break;
                        }
                    }
                    None => break,
                },
                _ = look.tick(), if self.waiting.is_some() => {
                    self.look(&asking).await;
                }
                () = cut.cancelled(), if !hung_up => {
                    hung_up = true;
                    self.tell(&commands, CallCommand::HangUp);
                }
            }
        }
        self.finish().await;
    }

    /// Deals with one event; true at the end of the call.
    async fn event(&mut self, event: CallEvent, asking: &Asking) -> bool {
        let commands = &asking.commands;
        match event {
            CallEvent::Ringing
            | CallEvent::Answered
            | CallEvent::Answerer(..)
            | CallEvent::MachineListens { .. }
            | CallEvent::Recorded(..) => {}
            CallEvent::Leave(op) => {
                self.leave().await;
                // One that has ended waits for this.
                self.tell(commands, CallCommand::LeftQueue(op, Why::Timeout));
            }
            CallEvent::Ask(op, ask) => self.assist.ask(asking, op, ask),
            CallEvent::Webhook(order) => self.assist.webhook(asking, order),
            CallEvent::Join(op, join) => self.join(op, join, asking).await,
            CallEvent::Store(op, order) => {
                let taken = self.desk.callback(&self.caller, op, order);
                let reply = tokio::time::timeout(ORDER_LIMIT, taken)
                    .await
                    .unwrap_or(CallbackReply::Failed);
                self.tell(commands, CallCommand::Stored(op, reply));
            }
            // Nobody here may move a call about: dropping it declines.
            CallEvent::Transfer(_) => {}
            CallEvent::Trace(at_ms, line) => self.trace(at_ms, line),
            CallEvent::Ended(_) => return true,
        }
        false
    }

    /// Stands in line. A place that a request holds is of calls that were placed.
    async fn join(&mut self, op: OpId, join: Join, asking: &Asking) {
        let commands = &asking.commands;
        self.service = None;
        let Place::New { head_start } = join.place else {
            self.tell(commands, CallCommand::LeftQueue(op, Why::NoAgents));
            return;
        };
        let call_id = &self.caller.call_id;
        let stood = self.desk.caller_stands(call_id, &join.queue, head_start);
        let stood = tokio::time::timeout(ORDER_LIMIT, stood).await;
        match stood {
            Ok(Ok(Stood::At(place))) => {
                // A call-back out of the line keeps this place.
                self.caller.began_at = place;
                self.waiting = Some(Waiting {
                    op,
                    queue: join.queue,
                    told: None,
                });
                self.look(asking).await;
            }
            Ok(Ok(Stood::Full)) => self.tell(commands, CallCommand::LeftQueue(op, Why::Full)),
            Ok(Ok(Stood::NoAgents) | Err(_)) | Err(_) => {
                self.tell(commands, CallCommand::LeftQueue(op, Why::NoAgents));
            }
        }
    }

    /// Whether it is this caller's turn, or what he may hear of the line. A store that is
    /// away is asked again.
    async fn look(&mut self, asking: &Asking) {
        let commands = &asking.commands;
        let Some(waiting) = &self.waiting else {
            return;
        };
        let (op, queue) = (waiting.op, waiting.queue.clone());
        let turn = self.desk.caller_turn(&self.caller.call_id, &queue);
        match tokio::time::timeout(ORDER_LIMIT, turn).await {
            Ok(Ok(Turn::Now(Some(agent)))) => {
                self.waiting = None;
                self.serve(op, &queue, *agent, asking);
            }
            Ok(Ok(Turn::Now(None))) => {
                self.waiting = None;
                let flow = self.desk.queue(&queue).map_or_else(
                    || self.config.voice.inbound_flow.clone(),
                    |queue| queue.help_flow.clone(),
                );
                self.tell(commands, CallCommand::Joined(op, HelpChannel::Flow(flow)));
            }
            Ok(Ok(Turn::Gone)) => {
                self.waiting = None;
                self.tell(commands, CallCommand::LeftQueue(op, Why::NoAgents));
            }
            Ok(Ok(Turn::Waits(view))) => {
                if self.waiting.as_ref().is_some_and(|w| w.told != Some(view)) {
                    self.tell(commands, CallCommand::Queue(op, view));
                }
                if let Some(waiting) = &mut self.waiting {
                    waiting.told = Some(view);
                }
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }

    /// The agent who is kept for him takes the call.
    fn serve(&mut self, op: OpId, queue: &str, agent: AgentRow, asking: &Asking) {
        let agents = self.desk.queue(queue).map(|queue| queue.agents.clone());
        let seek = Seek {
            wanted: Wanted {
                queue: queue.to_owned(),
                ..Wanted::default()
            },
            serves: self.caller.call_id.clone(),
            agents: agents.unwrap_or_default(),
            eager: false,
            first: Some(agent),
            lifted: None,
            settles: true,
        };
        self.service = self.assist.serve(asking, seek);
        match &self.service {
            Some(service) => service.join(op),
            None => self.tell(&asking.commands, CallCommand::LeftQueue(op, Why::NoAgents)),
        }
    }

    /// The caller no longer waits.
    async fn leave(&mut self) {
        self.waiting = None;
        self.service = None;
        let left = self.desk.caller_leaves(&self.caller.call_id);
        if !matches!(tokio::time::timeout(ORDER_LIMIT, left).await, Ok(Ok(()))) {
            tracing::warn!(call.id = %self.caller.call_id, "a place in line is given up late");
        }
    }

    fn trace(&mut self, at_ms: u64, line: TraceLine) {
        if self.trace_lines < TRACE_LINES_MAX {
            self.trace_lines += 1;
            self.traces.push(Trace {
                seq: self.trace_lines,
                at_ms,
                flow: line.flow,
                node: line.node,
                kind: line.kind.into(),
                data: line.data,
            });
        }
    }

    async fn finish(self) {
        for _ in 0..END_TRIES {
            match self.write_end().await {
                Ok(()) => return,
                Err(error) if error.is_temporary() => tokio::time::sleep(RETRY).await,
                Err(error) => {
                    tracing::error!(%error, call.id = %self.caller.call_id, "cannot be written");
                    return;
                }
            }
        }
    }

    async fn write_end(&self) -> Result<(), StoreError> {
        let call_id = &self.caller.call_id;
        self.desk.caller_ends(call_id).await?;
        self.desk.trace(call_id, "in", self.traces.clone()).await
    }

    /// Never waits: the call may be waiting for us to take its next event.
    fn tell(&self, commands: &mpsc::Sender<CallCommand>, command: CallCommand) {
        if commands.try_send(command).is_err() {
            tracing::debug!(call.id = %self.caller.call_id, "the call no longer listens");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use helpline_core::call::{CallReport, End};
    use helpline_core::ivr::io::{CallbackOrder, Join, OpId, Place};
    use helpline_core::phone::PhoneNumber;
    use helpline_core::time::Wall;

    use super::*;
    use crate::services::Services;
    use crate::voice::Voice;

    /// A caller from `+49 30 1234567`, and the far side of the call.
    fn caller() -> (
        Incoming,
        mpsc::Sender<CallEvent>,
        mpsc::Receiver<CallCommand>,
    ) {
        let (events_in, events) = mpsc::channel(8);
        let (commands, commands_out) = mpsc::channel(8);
        let call = Call {
            id: "abc@192.0.2.7".into(),
            events,
            commands,
        };
        let incoming = Incoming {
            from: Some(PhoneNumber::from_row("+49301234567")),
            to: "help".into(),
            phone: None,
            call,
        };
        (incoming, events_in, commands_out)
    }

    async fn desk(dir: &std::path::Path, clock: &Clock) -> (Arc<Desk>, Arc<Config>) {
        let mut config = Config::default();
        config.dial.allow = vec!["DE".into()];
        config.queue = vec![crate::config::Queue::default()];
        let config = Arc::new(config);
        let store = Desk::test_store(dir, clock).await;
        let calendars = config.calendars();
        let desk = Desk::new(store, Arc::clone(&config), calendars, clock.clone(), 1);
        desk.start().await.unwrap();
        (Arc::new(desk), config)
    }

    fn order(number: &str, queue: &str) -> CallbackOrder {
        CallbackOrder::Request {
            queue: queue.into(),
            number: number.into(),
            at: None,
            keep_place: true,
        }
    }

    #[tokio::test]
    async fn a_caller_gets_a_durable_request_and_honest_answers() {
        let clock = Clock::following_tokio(Wall::from_millis(1_795_440_000_000));
        let dir = tempfile::tempdir().unwrap();
        let (desk, config) = desk(dir.path(), &clock).await;
        let (to, incoming) = mpsc::channel(1);
        let (calls, cut) = (TaskTracker::new(), CancellationToken::new());
        let services = Arc::new(Services::new(&config, clock.clone()).unwrap());
        let (voice, _) = Voice::channel();
        let assist = Assist::new(
            Arc::clone(&desk),
            services,
            voice,
            None,
            Arc::clone(&config),
            calls.clone(),
        );
        let serving = serve(
            incoming,
            (Arc::clone(&desk), assist),
            config,
            clock,
            calls.clone(),
            cut,
        );
        let serving = tokio::spawn(serving);
        let (call, events, mut commands) = caller();
        to.send(call).await.unwrap();
        events.send(CallEvent::Answered).await.unwrap();
        let join = Join {
            queue: "help".into(),
            place: Place::Reserved,
        };
        events.send(CallEvent::Join(OpId(1), join)).await.unwrap();
        let left = commands.recv().await.unwrap();
        assert!(matches!(
            left,
            CallCommand::LeftQueue(OpId(1), Why::NoAgents)
        ));
        let mut ask = async |op, order| {
            events
                .send(CallEvent::Store(OpId(op), order))
                .await
                .unwrap();
            match commands.recv().await.unwrap() {
                CallCommand::Stored(OpId(answered), reply) if answered == op => reply,
                other => panic!("{other:?}"),
            }
        };
        for bad in ["", "112", "+1 212 555 0100", "sip:eve@example.org"] {
            assert_eq!(
                ask(2, order(bad, "help")).await,
                CallbackReply::BadNumber,
                "{bad}"
            );
        }
        assert_eq!(
            ask(3, order("+49301234567", "nowhere")).await,
            CallbackReply::Failed
        );
        assert_eq!(ask(4, CallbackOrder::Refused).await, CallbackReply::Failed);
        let done = ask(5, order("+49301234567", "help")).await;
        let CallbackReply::Done {
            position, merged, ..
        } = done
        else {
            panic!("{done:?}");
        };
        assert_eq!((position, merged), (Some(1), false));
        // Asked again, the number keeps its place.
        let again = ask(6, order("+49301234567", "help")).await;
        let CallbackReply::Done {
            position, merged, ..
        } = again
        else {
            panic!("{again:?}");
        };
        assert_eq!((position, merged), (Some(1), true));
        assert_eq!(desk.snapshot().await.unwrap().counts.inbound, 1);
        let report = CallReport {
            end: End::HungUp { by_customer: true },
            rang: false,
            talked_for: Duration::from_secs(9),
            settled: None,
            answerer: None,
        };
        events.send(CallEvent::Ended(report)).await.unwrap();
        drop(to);
        serving.await.unwrap();
        calls.close();
        calls.wait().await;
        let counts = desk.snapshot().await.unwrap().counts;
        assert_eq!(counts.inbound, 0);
        assert_eq!(counts.requests, [("help".into(), "waiting".into(), 1)]);
    }
}
