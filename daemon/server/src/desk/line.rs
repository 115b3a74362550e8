//! The line as the dialler drives it: timers, claims, leases, recovery.

use std::time::Duration;

use helpline_core::id::{CallId, NodeId};
use helpline_core::phone::PhoneNumber;
use helpline_core::queue::{Event, pacing, step};
use helpline_core::time::Wall;

use super::accept::follow_up;
use super::letter::Letters;
use super::{Desk, StoreError, locked};
use crate::store::{Claimed, Conn, Orphan, Timer};
use crate::store::{call, caller, claim, limit, mail, mailbox, node};
use crate::store::{request, step as clock_step, trunk};

/// A clock that is further back than this was stepped.
const STEP: Duration = Duration::from_secs(2);
/// Bookings that fall due within this time have a call kept free for them.
const RESERVE_AHEAD: Duration = Duration::from_secs(120);

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

/// Requests taken for calling.
#[derive(Debug)]
pub(crate) struct Room {
    /// In the order of the line.
    pub(crate) claimed: Vec<Claimed>,
    /// When a trunk has room again, if that is what is missing.
    pub(crate) next: Option<Wall>,
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
        let (node, trunks) = (self.node(), calls.then(|| self.config.trunk.clone()));
        self.store
            .write(move |tx| {
                let (node, trunks) = (node.clone(), trunks.clone());
                Box::pin(async move {
                    node::start(tx, &node, alone).await?;
                    if let Some(trunks) = trunks {
                        trunk::configure(tx, &trunks).await?;
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
            .write(move |tx| Box::pin(node::orphans(tx, leases)))
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

    /// Takes what may be called now from a queue.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn take(&self, queue: &str) -> Result<Room, StoreError> {
        let Some(config) = self.queue(queue) else {
            return Ok(Room {
                claimed: Vec::new(),
                next: None,
            });
        };
        let (name, node, max_calls) = (queue.to_owned(), self.node(), config.max_calls);
        let node_max = u32::try_from(self.config.voice.max_calls).unwrap_or(u32::MAX);
        self.store
            .write(move |tx| {
                let (name, node) = (name.clone(), node.clone());
                Box::pin(async move { take(tx, &name, &node, max_calls, node_max).await })
            })
            .await
    }

    /// Gives back what was taken and not placed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the lease runs out by itself.
    pub(crate) async fn give_back(&self, claimed: &Claimed) -> Result<(), StoreError> {
        let (id, epoch) = (claimed.0.id.clone(), claimed.0.epoch);
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

/// Takes requests for so many places of the help channel; each caller who waits before
/// them has one.
async fn among_callers(
    tx: &mut Conn,
    queue: &str,
    node: &NodeId,
    mut rest: u32,
) -> Result<Vec<Claimed>, StoreError> {
    let mut claimed = Vec::new();
    for place in caller::places(tx, queue, rest).await? {
        let more = claim::claim(tx, queue, node, 1, Some(place), rest).await?;
        rest = rest.saturating_sub(u32::try_from(more.len()).unwrap_or(u32::MAX));
        claimed.extend(more);
        if rest == 0 {
            return Ok(claimed);
        }
        rest -= 1;
    }
    if rest > 0 {
        claimed.extend(claim::claim(tx, queue, node, 1, None, rest).await?);
    }
    Ok(claimed)
}

async fn take(
    tx: &mut Conn,
    queue: &str,
    node: &NodeId,
    max_calls: u32,
    node_max: u32,
) -> Result<Room, StoreError> {
    let now = tx.now().await?;
    let trunks = trunk::all(tx).await?;
    let free = trunks
        .iter()
        .map(|t| t.room(now))
        .fold(0, u32::saturating_add);
    let (up, node_up) = claim::up(tx, queue, node).await?;
    let start = pacing::start(&pacing::View {
        max_calls,
        up,
        bookings_soon: request::bookings_until(tx, queue, now + RESERVE_AHEAD).await?,
        free_channels: free,
        node_room: node_max.saturating_sub(node_up),
    });
    let mut claimed = Vec::new();
    if start.bookings > start.anyone {
        claimed = claim::claim(tx, queue, node, 0, None, start.bookings).await?;
    }
    let taken = u32::try_from(claimed.len()).unwrap_or(u32::MAX);
    let rest = start.anyone.min(start.bookings.saturating_sub(taken));
    claimed.extend(among_callers(tx, queue, node, rest).await?);
    let next = match free {
        0 => trunks.iter().filter_map(|t| t.next_room(now)).min(),
        _ => None,
    };
    Ok(Room { claimed, next })
}
