//! What flows ask of the world outside their call: other services, customers' records,
//! mailboxes, other people. Whoever owns a call hands it over here; each ask is a task of
//! its own, so that nothing a flow asks for delays the call or its owner.

mod agents;
mod duty;
mod rooms;
mod transfer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use helpline_core::ivr::io::{HttpOrder, OpId};
use helpline_core::phone::PhoneNumber;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::desk::{Caller, Desk, StoreError};
use crate::services::Services;
use crate::voice::{Ask, CallCommand, EngineHandle, Reply, Voice};

use rooms::Rooms;

pub(crate) use agents::{Seek, Service, lifts};

/// How long the store may take to keep a message.
const STORE_LIMIT: Duration = Duration::from_secs(8);
/// Between two tries to write what nobody waits for.
const RETRY: Duration = Duration::from_secs(1);
const RETRIES: u32 = 60;

/// Serves the asks of all calls of a daemon.
pub struct Assist {
    desk: Arc<Desk>,
    services: Arc<Services>,
    voice: Voice,
    engine: Option<EngineHandle>,
    config: Arc<Config>,
    rooms: Rooms,
    /// Asks under way; whoever stops the daemon waits for them.
    tasks: TaskTracker,
}

/// A call that asks.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) caller: Caller,
    /// The far end's number, if it is known.
    pub(crate) number: Option<PhoneNumber>,
    pub(crate) commands: mpsc::Sender<CallCommand>,
    /// Words to other services, counted over the call.
    pub(crate) webhooks: Arc<AtomicU32>,
}

impl Asking {
    pub(crate) fn new(
        caller: Caller,
        number: Option<PhoneNumber>,
        commands: mpsc::Sender<CallCommand>,
    ) -> Asking {
        Asking {
            caller,
            number,
            commands,
            webhooks: Arc::default(),
        }
    }
}

impl Assist {
    /// For the calls of this engine; without one nobody can be joined to anybody. Every
    /// ask is a task of `tasks`.
    #[must_use]
    pub fn new(
        desk: Arc<Desk>,
        services: Arc<Services>,
        voice: Voice,
        engine: Option<EngineHandle>,
        config: Arc<Config>,
        tasks: TaskTracker,
    ) -> Arc<Assist> {
        Arc::new(Assist {
            desk,
            services,
            voice,
            engine,
            config,
            rooms: Rooms::default(),
            tasks,
        })
    }

    /// Does what is asked and answers the call.
    pub(crate) fn ask(self: &Arc<Self>, asking: &Asking, op: OpId, ask: Ask) {
        let (this, asking) = (Arc::clone(self), asking.clone());
        let nobody = ask.refused();
        self.tasks.spawn(async move {
            let reply = match ask {
                Ask::Http(order) => Reply::Http(this.services.send(&order, None).await),
                Ask::Find(lookup) => Reply::Found(this.desk.find(&lookup).await),
                Ask::Deliver(delivery) => {
                    if let Some(engine) = &this.engine {
                        // The mail takes the file as it is then.
                        engine.flush_recordings().await;
                    }
                    let kept = this.desk.deliver(asking.number.as_ref(), &delivery);
                    let kept = tokio::time::timeout(STORE_LIMIT, kept).await;
                    Reply::Delivered(matches!(kept, Ok(Ok(true))))
                }
                Ask::Transfer(order) => match &this.engine {
                    Some(engine) => Reply::Transferred(this.transfer(engine, &asking, order).await),
                    None => nobody,
                },
                Ask::Conference(room) => match &this.engine {
                    Some(engine) => match this.rooms.enter(engine, &room, &asking.commands).await {
                        Ok(()) => return,
                        Err(why) => Reply::LeftRoom(why),
                    },
                    None => nobody,
                },
            };
            // A call that is over waits for nothing.
            let _ = asking.commands.send(CallCommand::Reply(op, reply)).await;
        });
    }

    /// Another service will be told; the call does not wait.
    pub(crate) fn webhook(self: &Arc<Self>, asking: &Asking, order: HttpOrder) {
        let seq = asking.webhooks.fetch_add(1, Ordering::Relaxed) + 1;
        let (this, caller) = (Arc::clone(self), asking.caller.clone());
        self.tasks.spawn(async move {
            let tell = || this.desk.tell_service(&caller, seq, order.clone());
            if let Err(error) = patiently(tell).await {
                tracing::error!(%error, call.id = caller.call_id, "a webhook is lost");
            }
        });
    }
}

/// Writes something for which nobody waits: a store that is away for a while is waited for.
async fn patiently<F>(write: impl Fn() -> F) -> Result<(), StoreError>
where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut tries = 0;
    loop {
        match write().await {
            Err(error) if error.is_temporary() && tries < RETRIES => {
                tries += 1;
                tokio::time::sleep(RETRY).await;
            }
            done => return done,
        }
    }
}
