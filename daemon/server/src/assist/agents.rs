//! An agent for a call: somebody who is free is rung, joined to the customer, and let go. Who
//! does not lift is followed by the next; a customer whose agent is lost keeps the line.

use std::sync::Arc;
use std::time::Duration;

use helpline_core::agent::{Event, Missed};
use helpline_core::audio::mix::Scene;
use helpline_core::call::{CallReport, End};
use helpline_core::ivr::io::{HelpChannel, OpId, Why};
use helpline_core::phone::PhoneNumber;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::transfer::{MUSIC, REPLACED, Way};
use super::{Asking, Assist, patiently};
use crate::config::Agents;
use crate::desk::{AgentRow, StoreError, Wanted};
use crate::voice::{Call, CallCommand, CallEvent, EngineHandle, Talk};

/// Between two looks for somebody who is free.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Who has phoned in and talked so long need not be called back.
const TALK_SETTLES: Duration = Duration::from_secs(20);

/// Whom a call asks for.
#[derive(Debug)]
pub(crate) struct Seek {
    pub(crate) wanted: Wanted,
    /// The request, or the caller's Call-ID, that agents are kept for.
    pub(crate) serves: String,
    pub(crate) agents: Agents,
    /// Somebody is rung before the customer asks.
    pub(crate) eager: bool,
    /// Who is kept for it.
    pub(crate) first: Option<AgentRow>,
    /// His call, if he has lifted already.
    pub(crate) lifted: Option<Call>,
    /// The customer phoned in: a talk settles what else is open for the number.
    pub(crate) settles: bool,
}

/// The agent's side of a call. Dropped, it lets the agent go.
pub(crate) struct Service {
    orders: mpsc::Sender<Order>,
    told: mpsc::Receiver<String>,
}

enum Order {
    /// The customer asks to be joined.
    Join(OpId),
    /// He no longer does.
    Leave(OpId),
}

impl Service {
    /// The customer asks to be joined.
    pub(crate) fn join(&self, op: OpId) {
        self.order(Order::Join(op));
    }

    /// The customer no longer waits.
    pub(crate) fn leave(&self, op: OpId) {
        self.order(Order::Leave(op));
    }

    fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::warn!("an agent's call does not listen");
        }
    }

    /// Who has just been joined to the customer.
    pub(crate) async fn taken(&mut self) -> String {
        match self.told.recv().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }
}

/// What is to be written, in order.
enum News {
    /// Something happened to an agent.
    Agent(String, Event),
    /// Somebody who phoned in has talked.
    TalkedInbound(PhoneNumber),
}

struct Serving {
    assist: Arc<Assist>,
    engine: EngineHandle,
    asking: Asking,
    seek: Seek,
    /// The customer waits to be joined, or is.
    op: Option<OpId>,
    agent: Option<AgentRow>,
    guest: Option<Call>,
    lifted: bool,
    /// Since when they talk.
    talk: Option<(Talk, Instant)>,
    told: mpsc::Sender<String>,
    news: mpsc::UnboundedSender<News>,
}

impl Assist {
    /// Finds an agent for a call that is answered, or about to be; nothing without an engine.
    pub(crate) fn serve(self: &Arc<Self>, asking: &Asking, mut seek: Seek) -> Option<Service> {
        let engine = self.engine.clone()?;
        let (orders, ordered) = mpsc::channel(8);
        let (told, taken) = mpsc::channel(8);
        let (news, written) = mpsc::unbounded_channel();
        self.tasks
            .spawn(Arc::clone(self).write_news(seek.serves.clone(), written));
        let serving = Serving {
            assist: Arc::clone(self),
            engine,
            asking: asking.clone(),
            op: None,
            agent: seek.first.take(),
            lifted: seek.lifted.is_some(),
            guest: seek.lifted.take(),
            talk: None,
            seek,
            told,
            news,
        };
        self.tasks.spawn(serving.run(ordered));
        Some(Service {
            orders,
            told: taken,
        })
    }

    /// Rings an agent. `from`: what his telephone shows.
    pub(crate) async fn ring(
        &self,
        agent: &AgentRow,
        from: Option<&PhoneNumber>,
        agents: &Agents,
    ) -> Result<Call, Missed> {
        let engine = self.engine.as_ref().ok_or(Missed::NoAnswer)?;
        let way = Way::to_phone(&agent.phone);
        let from = from.map(|number| number.as_str().to_owned());
        let placed = self.call_guest(engine, way, from, agents.ring.0).await;
        placed.map_err(|error| {
            tracing::warn!(%error, agent = agent.name, "an agent could not be rung");
            Missed::NoAnswer
        })
    }

    /// Lets an agent who has lifted wait for the customer.
    pub(crate) fn hold(&self, call: &Call) {
        let music = self.engine.as_ref().and_then(|engine| engine.prompt(MUSIC));
        // A call that is over again says so itself.
        let _ = call.commands.try_send(CallCommand::Music(music));
    }

    /// Writes what happened to an agent, however long the store is away.
    ///
    /// # Errors
    /// [`StoreError`]: it is away for too long.
    pub(crate) async fn note_agent(
        &self,
        name: &str,
        serves: &str,
        event: Event,
    ) -> Result<(), StoreError> {
        patiently(|| self.desk.agent(name, serves, event)).await
    }

    /// Writes what happens to the agents of a call, in order.
    async fn write_news(self: Arc<Self>, serves: String, mut news: mpsc::UnboundedReceiver<News>) {
        while let Some(news) = news.recv().await {
            let written = match &news {
                News::Agent(name, event) => self.note_agent(name, &serves, *event).await,
                News::TalkedInbound(number) => patiently(|| self.desk.talked_inbound(number)).await,
            };
            if let Err(error) = written {
                tracing::error!(%error, "what became of an agent cannot be written");
            }
        }
    }
}

impl Serving {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        if self.seek.eager && self.guest.is_none() {
            self.ring().await;
        }
        loop {
            let looks = self.agent.is_none() && (self.op.is_some() || self.seek.eager);
            tokio::select! {
                biased;
                () = self.asking.commands.closed() => break,
                order = orders.recv() => match order {
                    Some(Order::Join(op)) => self.joins(op).await,
                    Some(Order::Leave(op)) => {
                        if self.op.take_if(|known| *known == op).is_some() {
                            // One that has ended waits for this.
                            self.tell(CallCommand::LeftQueue(op, Why::Timeout));
                            self.let_go().await;
                        }
                    }
                    None => break,
                },
                event = next(&mut self.guest) => self.event(event).await,
                () = tokio::time::sleep(LOOK_EVERY), if looks => self.look().await,
            }
        }
        self.let_go().await;
    }

    async fn joins(&mut self, op: OpId) {
        self.op = Some(op);
        match (&self.agent, &self.guest) {
            (None, _) => self.look().await,
            (Some(_), None) => self.ring().await,
            (Some(_), Some(_)) => self.together().await,
        }
    }

    /// Keeps the next who is free. With nobody at work the customer need not wait.
    async fn look(&mut self) {
        let desk = &self.assist.desk;
        match desk.next_agent(&self.seek.wanted, &self.seek.serves).await {
            Ok(Some(row)) => {
                self.agent = Some(row);
                self.ring().await;
            }
            Ok(None) => {
                let hope = desk.has_agents(&self.seek.wanted).await.unwrap_or(true);
                if let Some(op) = self.op.take_if(|_| !hope) {
                    self.tell(CallCommand::LeftQueue(op, Why::NoAgents));
                }
            }
            Err(error) => tracing::debug!(%error, "agents are looked for again"),
        }
    }

    async fn ring(&mut self) {
        let Some(agent) = self.agent.clone() else {
            return;
        };
        let (from, agents) = (self.asking.number.as_ref(), &self.seek.agents);
        match self.assist.ring(&agent, from, agents).await {
            Ok(call) => self.guest = Some(call),
            Err(why) => self.is_over(Event::Missed(why)),
        }
    }

    async fn event(&mut self, event: Option<CallEvent>) {
        match event {
            Some(CallEvent::Answered) => {
                self.lifted = true;
                self.note(Event::Took);
                self.together().await;
                if let Some(guest) = self.guest.as_ref().filter(|_| self.talk.is_none()) {
                    self.assist.hold(guest);
                }
            }
            Some(CallEvent::Ended(report)) => self.ended(Some(&report)),
            None => self.ended(None),
            // Nobody here may move a call about: dropping it declines.
            Some(_) => {}
        }
    }

    /// The agent's call is over.
    fn ended(&mut self, report: Option<&CallReport>) {
        let left = report.is_some_and(|r| matches!(r.end, End::HungUp { by_customer: true }));
        let talked = self.talk_is_over();
        let event = match (self.lifted, left) {
            (true, true) => Event::Talked(self.seek.agents.wrap_up.0),
            (true, false) => Event::PhoneLost,
            (false, _) => Event::Missed(report.map_or(Missed::NoAnswer, missed)),
        };
        self.is_over(event);
        if !talked {
            return;
        }
        if left {
            if let Some(op) = self.op.take() {
                self.tell(CallCommand::TalkEnded(op));
            }
        } else if let Some(op) = self.op {
            self.tell(CallCommand::TalkBroke(op));
        }
    }

    /// The agent is no longer needed.
    async fn let_go(&mut self) {
        let talked = self.talk_is_over();
        if let Some(mut guest) = self.guest.take() {
            guest.hang_up().await;
            if !guest.ends(REPLACED).await {
                tracing::warn!("an agent's call does not end");
            }
        }
        self.is_over(match talked {
            true => Event::Talked(self.seek.agents.wrap_up.0),
            false => Event::Gone,
        });
    }

    /// Joins the two as soon as both are there.
    async fn together(&mut self) {
        let (Some(op), Some(agent), Some(guest)) = (self.op, &self.agent, &self.guest) else {
            return;
        };
        if !self.lifted || self.talk.is_some() {
            return;
        }
        let name = agent.name.clone();
        self.tell(CallCommand::Joined(op, HelpChannel::Agent(name.clone())));
        let _ = guest.commands.try_send(CallCommand::Music(None));
        let calls = [&self.asking.commands, &guest.commands];
        match self.engine.join(&calls, Scene::Talk).await {
            Ok(talk) => {
                self.talk = Some((talk, Instant::now()));
                if self.told.try_send(name).is_err() {
                    tracing::debug!("nobody wants to know who took a call");
                }
            }
            // Whichever of the two is over says so itself.
            Err(error) => tracing::warn!(%error, "an agent could not be joined"),
        }
    }

    /// Whether they talked.
    fn talk_is_over(&mut self) -> bool {
        let Some((_, began)) = self.talk.take() else {
            return false;
        };
        if let Some(number) = self.asking.number.clone()
            && self.seek.settles
            && began.elapsed() >= TALK_SETTLES
        {
            // Whoever writes lives as long as this.
            let _ = self.news.send(News::TalkedInbound(number));
        }
        true
    }

    fn is_over(&mut self, event: Event) {
        self.note(event);
        self.agent = None;
        self.guest = None;
        self.lifted = false;
    }

    fn note(&self, event: Event) {
        if let Some(agent) = &self.agent {
            // Whoever writes lives as long as this.
            let _ = self.news.send(News::Agent(agent.name.clone(), event));
        }
    }

    fn tell(&self, command: CallCommand) {
        self.assist.tell(&self.asking, command);
    }
}

/// The next event of a call, if there is one.
async fn next(guest: &mut Option<Call>) -> Option<CallEvent> {
    match guest {
        Some(guest) => guest.events.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits until an agent lifts.
pub(crate) async fn lifts(call: &mut Call) -> Result<(), Missed> {
    while let Some(event) = call.events.recv().await {
        match event {
            CallEvent::Answered => return Ok(()),
            CallEvent::Ended(report) => return Err(missed(&report)),
            _ => {}
        }
    }
    Err(Missed::NoAnswer)
}

/// Why an agent did not lift.
fn missed(report: &CallReport) -> Missed {
    match report.end.is_refusal() {
        true => Missed::Declined,
        false => Missed::NoAnswer,
    }
}
