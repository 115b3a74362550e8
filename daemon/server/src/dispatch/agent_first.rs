//! A request whose agent lifts first: he is rung, and only then is the customer called. If he
//! does not, the request goes back to its place and nothing counts.

use helpline_core::agent::{Event, Missed};
use helpline_core::id::RequestId;
use tokio::sync::broadcast;

use super::call::CallTask;
use super::{Dispatch, Means};
use crate::assist::lifts;
use crate::desk::{AgentRow, Claimed, Placed, StoreError};
use crate::voice::Call;

/// A claimed request and the agent who is kept for it.
pub(super) struct AgentFirst {
    dispatch: Dispatch,
    means: Means,
    request: Claimed,
}

impl AgentFirst {
    pub(super) fn new(dispatch: &Dispatch, means: &Means, request: Claimed) -> AgentFirst {
        AgentFirst {
            dispatch: dispatch.clone(),
            means: means.clone(),
            request,
        }
    }

    pub(super) async fn run(self, mut withdrawals: broadcast::Receiver<RequestId>) {
        let Some(agent) = self.request.agent.clone() else {
            return;
        };
        let mut call = match self.ring(&agent).await {
            Ok(call) => call,
            Err(why) => return self.back(&agent, Event::Missed(why)).await,
        };
        let lifted = tokio::select! {
            lifted = lifts(&mut call) => lifted.map_err(Event::Missed),
            () = self.dispatch.stop.cancelled() => Err(Event::Gone),
            () = self.withdrawn(&mut withdrawals) => Err(Event::Gone),
        };
        if let Err(event) = lifted {
            call.hang_up().await;
            return self.back(&agent, event).await;
        }
        self.means.assist.hold(&call);
        let taken = self.tell(&agent, Event::Took).await;
        let placed = match taken {
            Ok(()) => self.dispatch.desk.place(&self.request).await,
            Err(error) => Err(error),
        };
        match placed {
            Ok(Placed::Go(live)) => {
                let task = CallTask::new(&self.dispatch, &self.means, *live);
                task.run(withdrawals, Some(call)).await;
            }
            Ok(Placed::NoRoom | Placed::Gone) => call.hang_up().await,
            Err(error) => {
                tracing::warn!(%error, "a customer was not called though an agent waits");
                call.hang_up().await;
                self.back(&agent, Event::Gone).await;
            }
        }
    }

    async fn ring(&self, agent: &AgentRow) -> Result<Call, Missed> {
        let row = &self.request.row;
        let Some(queue) = self.dispatch.desk.queue(&row.queue) else {
            return Err(Missed::NoAnswer);
        };
        let number = Some(&row.number);
        self.means.assist.ring(agent, number, &queue.agents).await
    }

    async fn withdrawn(&self, withdrawals: &mut broadcast::Receiver<RequestId>) {
        loop {
            match withdrawals.recv().await {
                Ok(id) if id == self.request.row.id => return,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            }
        }
    }

    /// Nobody is called now: the request keeps its place.
    async fn back(&self, agent: &AgentRow, event: Event) {
        if let Err(error) = self.tell(agent, event).await {
            tracing::error!(%error, agent = agent.name, "cannot be written");
        }
        // A lease that cannot be given back runs out by itself.
        if let Err(error) = self.dispatch.desk.give_back(&self.request).await {
            tracing::warn!(%error, "a request goes back into the line later");
        }
        self.dispatch.desk.line_changed().notify_one();
    }

    async fn tell(&self, agent: &AgentRow, event: Event) -> Result<(), StoreError> {
        let request = self.request.row.id.as_str();
        self.means
            .assist
            .note_agent(&agent.name, request, event)
            .await
    }
}
