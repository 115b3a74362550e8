//! Who is on duty: an agent's telephone that is registered here makes him one of this node's;
//! one that is gone for a while takes him out of the line.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Assist;

/// Between two looks at the telephones.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A telephone that restarts is back within this time.
const GONE_AFTER: Duration = Duration::from_secs(15);

impl Assist {
    /// Keeps the states of agents in step with their telephones, until `end`.
    pub(crate) async fn keep_agents(self: Arc<Self>, end: CancellationToken) {
        let Some(engine) = self
            .engine
            .clone()
            .filter(|_| !self.config.agent.is_empty())
        else {
            return;
        };
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lost = BTreeMap::<String, Instant>::new();
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                now = looks.tick() => {
                    let (here, away): (Vec<_>, Vec<_>) =
                        engine.phones().into_iter().partition(|(_, registered)| *registered);
                    let here: BTreeSet<_> = here.into_iter().map(|(name, _)| name).collect();
                    lost.retain(|name, _| !here.contains(name));
                    let away = away.into_iter().map(|(name, _)| name);
                    let gone = away.filter(|name| {
                        now - *lost.entry(name.clone()).or_insert(now) >= GONE_AFTER
                    });
                    let gone = gone.collect();
                    if let Err(error) = self.desk.phones_seen(&here, &gone).await {
                        tracing::debug!(%error, "agents are looked at again");
                    }
                }
            }
        }
    }
}
