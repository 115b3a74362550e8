//! The line as the dialler drives it: timers, claims, leases, recovery.

use std::sync::Arc;
use std::time::Duration;

use helpline_core::agent::Event::Gone;
use helpline_core::id::{CallId, NodeId};
use helpline_core::phone::PhoneNumber;
use helpline_core::queue::{Event, step};
use helpline_core::time::Wall;

use super::accept::follow_up;
use super::agents::leave_nobody_behind;
use super::letter::Letters;
use super::{Desk, StoreError, locked};
use crate::store::{Claimed, Conn, Orphan, Timer};
use crate::store::{agent, call, limit, mail, mailbox, node};
use crate::store::{request, step as clock_step, trunk};

/// A clock that is further back than this was stepped.
const STEP: Duration = Duration::from_secs(2);
/// Bookings that fall due within this time have a call kept free for them.
pub(super) const RESERVE_AHEAD: Duration = Duration::from_secs(120);

/// What a look at the timers found.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// The database's clock.
    pub(crate) now: Wall,
    /// When something becomes due next.
    pub(crate) next: Option<Wall>,
    /// Something changed its state.
    pub(crate) moved: bool,
    /// Queues in which somebody waits to be called now.
    pub(crate) callable: Vec<String>,
}

/// A queue as its timers see it.
#[derive(Clone, Debug)]
struct Clocked {
    timer: Timer,
    next_open: Option<Wall>,
    letters: Letters,
}

impl Desk {
    /// Registers this daemon, brings the trunks up to date if it calls, and ends what an earlier
    /// incarnation left behind: nobody who may have answered is called again at once.
    ///
    /// # Errors
    /// [`StoreError`]; the daemon must not serve before this succeeded.
    pub async fn start(&self) -> Result<(), StoreError> {
        let alone = !self.store.is_shared();
        let calls = self.config.node.role.calls();
        let (node, config) = (self.node(), calls.then(|| Arc::clone(&self.config)));
        self.store
            .write(move |tx| {
                let (node, config) = (node.clone(), config.clone());
                Box::pin(async move {
                    node::start(tx, &node, alone).await?;
                    if let Some(config) = config {
                        trunk::configure(tx, &config.trunk).await?;
                        agent::configure(tx, &config).await?;
                    }
                    if alone {
                        mail::end_leases(tx).await?;
                        mailbox::end_watches(tx).await?;
                        // Nobody knows how the clock went meanwhile.
                        clock_step::mend(tx).await?;
                    }
                    limit::sweep(tx).await
                })
            })
            .await?;
        while self.reap().await? > 0 {}
        Ok(())
    }

    /// Ends this incarnation in good order; its leases are free at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the lease runs out by itself.
    pub async fn stop(&self) -> Result<(), StoreError> {
        let node = self.node();
        self.store
            .write(move |tx| {
                let node = node.clone();
                Box::pin(async move {
                    mailbox::leave(tx, &node).await?;
                    node::stop(tx, &node).await
                })
            })
            .await
    }

    /// Renews the lease of this daemon. Declared dead meanwhile, it starts anew under
    /// another name: what it still has on is fenced.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: without renewal no new call may be placed.
    pub(crate) async fn beat(&self) -> Result<(), StoreError> {
        let node = self.node();
        let alive = self
            .store
            .write(move |tx| {
                let node = node.clone();
                Box::pin(async move { node::beat(tx, &node).await })
            })
            .await?;
        if alive {
            return Ok(());
        }
        tracing::warn!("this daemon was taken for dead; it goes on under a new id");
        let fresh = self.new_id(NodeId::new);
        *locked(&self.node) = fresh.clone();
        self.store
            .write(move |tx| {
                let fresh = fresh.clone();
                Box::pin(async move { node::start(tx, &fresh, false).await })
            })
            .await
    }

    /// Ends attempts and leases that nobody works on any more; how many there were.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn reap(&self) -> Result<usize, StoreError> {
        let leases = self.store.is_shared();
        let orphans = self
            .store
            .write(move |tx| {
                Box::pin(async move {
                    let orphans = node::orphans(tx, leases).await?;
                    leave_nobody_behind(tx).await?;
                    Ok(orphans)
                })
            })
            .await?;
        for orphan in &orphans {
            match orphan {
                Orphan::Attempt(attempt) => self.finish_orphan(attempt).await?,
                Orphan::Leased(id, epoch) => {
                    let (id, epoch) = (id.clone(), *epoch);
                    self.store
                        .write(move |tx| {
                            let id = id.clone();
                            Box::pin(async move {
                                request::release(tx, &id, epoch, Duration::ZERO).await
                            })
                        })
                        .await?;
                }
            }
        }
        Ok(orphans.len())
    }

    /// Forgets limits and keys that no longer matter.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        self.store.write(|tx| Box::pin(limit::sweep(tx))).await
    }

    /// Moves every request whose timer came. `ages`: look for old ones too.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn look(&self, ages: bool) -> Result<Look, StoreError> {
        let now = self.clock.wall();
        let queues: Vec<_> = self
            .config
            .queue
            .iter()
            .map(|queue| Clocked {
                timer: Timer {
                    queue: queue.name.clone(),
                    closed: !self.is_open(&queue.name, now),
                    ages,
                },
                next_open: self.next_open(&queue.name, now),
                letters: self.letters(&queue.name),
            })
            .collect();
        let (look, mailed) = self
            .store
            .write(move |tx| {
                let queues = queues.clone();
                Box::pin(async move { look_at(tx, &queues).await })
            })
            .await?;
        if mailed {
            self.wake_mail();
        }
        self.mend_after_step(look.now).await?;
        Ok(look)
    }

    /// A clock that went back would let everybody wait until it comes round again.
    async fn mend_after_step(&self, now: Wall) -> Result<(), StoreError> {
        let last = std::mem::replace(&mut *locked(&self.last_look), now);
        if last.since(now) < STEP {
            return Ok(());
        }
        tracing::warn!(back = ?last.since(now), "the clock was stepped back");
        self.store
            .write(|tx| Box::pin(clock_step::mend(tx)))
            .await?;
        self.wake_mail();
        self.wake_line();
        Ok(())
    }

    /// Gives back what was taken and not placed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the lease runs out by itself.
    pub(crate) async fn give_back(&self, claimed: &Claimed) -> Result<(), StoreError> {
        let (id, epoch) = (claimed.row.id.clone(), claimed.row.epoch);
        if let Some(agent) = &claimed.agent {
            self.agent(&agent.name, id.as_str(), Gone).await?;
        }
        self.store
            .write(move |tx| {
                let id = id.clone();
                Box::pin(async move {
                    request::release(tx, &id, epoch, Duration::ZERO)
                        .await
                        .map(|_| ())
                })
            })
            .await
    }

    /// A caller phoned in: while the call lasts the number is not dialled.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn caller_begins(
        &self,
        call_id: &str,
        number: Option<&PhoneNumber>,
    ) -> Result<(), StoreError> {
        let (id, node) = (self.new_id(CallId::new), self.node());
        let (call_id, number) = (call_id.to_owned(), number.cloned());
        self.store
            .write(move |tx| {
                let (id, node, call_id) = (id.clone(), node.clone(), call_id.clone());
                let number = number.clone();
                Box::pin(async move {
                    call::inbound_begins(tx, &id, &call_id, &node, number.as_ref()).await
                })
            })
            .await
    }

    /// The caller's call is over.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn caller_ends(&self, call_id: &str) -> Result<(), StoreError> {
        let call_id = call_id.to_owned();
        self.store
            .write(move |tx| {
                let call_id = call_id.clone();
                Box::pin(async move { call::inbound_ends(tx, &call_id).await })
            })
            .await?;
        self.wake_line();
        Ok(())
    }
}

async fn look_at(tx: &mut Conn, queues: &[Clocked]) -> Result<(Look, bool), StoreError> {
    let now = tx.now().await?;
    let (mut mailed, mut moved) = (false, false);
    for queue in queues {
        let event = Event::Looked {
            open: !queue.timer.closed,
            next_open: queue.next_open,
        };
        for row in request::due(tx, &queue.timer).await? {
            let (state, effects) = step(&row.facts(), &event, now);
            if state == row.state && effects.not_before.is_none() {
                continue;
            }
            request::apply(tx, &row, state, &effects).await?;
            follow_up(tx, &queue.letters, &row, state, &effects, state.word()).await?;
            mailed |= effects.mail.is_some();
            moved = true;
        }
    }
    let next = request::next_timer(tx).await?;
    let callable = request::callable(tx).await?;
    let look = Look {
        now,
        next,
        moved,
        callable,
    };
    Ok((look, mailed))
}
