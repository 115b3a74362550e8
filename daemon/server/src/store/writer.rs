//! The one writer of the embedded database. It commits what waits together: the
//! fsync in progress is the time in which the next batch gathers, so there is no timer.
//! One operation's failure rolls back to its savepoint and hurts nobody else; a failed
//! commit answers everybody "unknown", and the file is opened anew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use helpline_core::time::Wall;
use tokio::sync::oneshot;

use super::embedded::{Embedded, Place};
use super::lanes::{Doors, Lane, Lanes, lanes};
use super::op::{Answer, Op, answered, any, block_on, stopped};
use super::{Conn, Error, Turn, migrate};

/// Operations that may wait in a lane; beyond that callers wait to hand theirs over.
const WAITING_MAX: usize = 1_024;
/// Operations in one commit.
const BATCH_MAX: usize = 256;
/// Work in one commit: many share an fsync, and none waits long for the others.
const BATCH_WORK: Duration = Duration::from_millis(40);

enum Order {
    Run(Op, oneshot::Sender<Answer>),
    Close(oneshot::Sender<()>),
}

/// Handle of the writer.
#[derive(Clone)]
pub(super) struct Writer {
    to: Doors<Order>,
}

impl Writer {
    /// Starts the writer; it ends when every handle is gone or at [`Writer::close`]. It has a
    /// thread of its own: its statements run there.
    pub(super) fn start(conn: Conn, place: Place) -> Result<Writer, Error> {
        let (to, from) = lanes(WAITING_MAX);
        let runtime = tokio::runtime::Handle::current();
        let serve = move || {
            let _inside = runtime.enter();
            block_on(serve(Some(conn), place, from));
        };
        let thread = std::thread::Builder::new().name("store-writer".into());
        let started = thread.spawn(serve);
        started.map_err(|e| Error::Unavailable(format!("no thread for the store: {e}")))?;
        Ok(Writer { to })
    }

    /// Runs `op` in the next batch; the answer comes after the commit.
    pub(super) async fn run<T, F>(&self, lane: Lane, op: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> Turn<'c, T> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        if !self.to.send(lane, Order::Run(any(op), reply)).await {
            return Err(stopped());
        }
        answered(answer).await
    }

    /// Commits what waits and closes the file.
    pub(super) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.to.send(Lane::Behind, Order::Close(reply)).await {
            // An error means the task is already gone, which is what was wanted.
            let _ = answer.await;
        }
    }
}

async fn serve(mut conn: Option<Conn>, place: Place, mut from: Lanes<Order>) {
    let mut closer = None;
    while let Some(order) = from.begin().await {
        let (op, reply) = match order {
            Order::Run(op, reply) => (op, reply),
            Order::Close(reply) => {
                closer = Some(reply);
                break;
            }
        };
        let mut answers = Answers::default();
        let ready = match conn.take() {
            Some(conn) => Ok(conn),
            None => Embedded::writer(&place, false).map(Conn::Sqlite),
        };
        let result = match ready {
            Ok(mut open) => {
                let done = batch(&mut open, op, reply, &mut from, &mut answers).await;
                closer = done.as_ref().ok().and_then(|_| answers.closer.take());
                if done.is_ok() {
                    conn = Some(open);
                }
                done
            }
            Err(error) => {
                answers.list.push((reply, Err(error.clone())));
                Err(error)
            }
        };
        if let Err(error) = &result {
            tracing::error!(%error, "a commit failed; the database file is opened anew");
        }
        answers.give(&result);
        if closer.is_some() {
            break;
        }
    }
    drop(conn);
    if let Some(reply) = closer {
        // The closer may have gone away.
        let _ = reply.send(());
    }
}

/// Who has to be answered after the commit.
#[derive(Default)]
struct Answers {
    list: Vec<(oneshot::Sender<Answer>, Answer)>,
    closer: Option<oneshot::Sender<()>>,
}

impl Answers {
    fn give(self, result: &Result<(), Error>) {
        for (reply, answer) in self.list {
            let answer = match result {
                Ok(()) => answer,
                Err(error) => Err(Error::Unavailable(error.to_string())),
            };
            // Whoever asked may have gone away; the change stands all the same.
            let _ = reply.send(answer);
        }
    }
}

/// One transaction: the first operation and what already waits behind it.
async fn batch(
    conn: &mut Conn,
    op: Op,
    reply: oneshot::Sender<Answer>,
    from: &mut Lanes<Order>,
    answers: &mut Answers,
) -> Result<(), Error> {
    let begun = Instant::now();
    if let Err(error) = conn.script("begin immediate").await {
        answers.list.push((reply, Err(error.clone())));
        return Err(error);
    }
    // Nearly every operation succeeds, and a savepoint costs half of one: they are taken only
    // once an operation has failed, by all that ran before it too.
    let mut ran: Vec<Op> = Vec::new();
    let mut all_succeed = true;
    let mut next = Some((op, reply));
    while let Some((op, reply)) = next.take() {
        let mut answer = match all_succeed {
            true => op(conn).await,
            false => saved(conn, &op).await,
        };
        if answer.is_err() && all_succeed {
            all_succeed = false;
            answer = match apart(conn, &ran, &op, answers).await {
                Ok(answer) => answer,
                Err(error) => {
                    answers.list.push((reply, Err(error.clone())));
                    return Err(error);
                }
            };
            ran.clear();
        }
        answers.list.push((reply, answer));
        if all_succeed {
            ran.push(op);
        }
        if answers.list.len() < BATCH_MAX && begun.elapsed() < BATCH_WORK {
            match from.also() {
                Some(Order::Run(op, reply)) => next = Some((op, reply)),
                Some(Order::Close(reply)) => answers.closer = Some(reply),
                None => {}
            }
        }
    }
    conn.script("commit").await
}

/// Starts the transaction anew with each operation in a savepoint, those that had succeeded
/// first; the answer of the one that failed.
async fn apart(
    conn: &mut Conn,
    ran: &[Op],
    failed: &Op,
    answers: &mut Answers,
) -> Result<Answer, Error> {
    conn.script("rollback; begin immediate").await?;
    for (op, (_, answer)) in ran.iter().zip(&mut answers.list) {
        *answer = saved(conn, op).await;
    }
    Ok(saved(conn, failed).await)
}

/// Runs one operation inside a savepoint.
async fn saved(conn: &mut Conn, op: &Op) -> Answer {
    conn.script("savepoint op").await?;
    match op(conn).await {
        Ok(value) => {
            conn.script("release op").await?;
            Ok(value)
        }
        Err(error) => {
            conn.script("rollback to op; release op").await?;
            Err(error)
        }
    }
}

/// A connection whose operations run to their end inside the call, without yielding.
/// Used with a virtual clock: tokio would move that clock while it waits for a file.
pub(super) struct Inline {
    open: Mutex<Option<Open>>,
    /// Operations until the database is gone; a test sets it.
    left: AtomicU64,
}

/// The connection and the time its clock shows.
struct Open {
    conn: Conn,
    shows: Option<Wall>,
}

impl Inline {
    pub(super) fn new(conn: Conn) -> Self {
        Inline {
            open: Mutex::new(Some(Open { conn, shows: None })),
            left: AtomicU64::new(u64::MAX),
        }
    }

    /// After `operations` more, each operation fails; the last one before is committed
    /// and its answer lost, as in a power cut.
    pub(super) fn break_after(&self, operations: u64) {
        self.left.store(operations, Ordering::Relaxed);
    }

    /// Counts an operation; whether it runs, and whether its answer arrives.
    fn fuse(&self) -> (bool, bool) {
        match self.left.load(Ordering::Relaxed) {
            u64::MAX => (true, true),
            0 => (false, false),
            n => {
                self.left.store(n - 1, Ordering::Relaxed);
                (true, n > 1)
            }
        }
    }

    pub(super) fn run<T, F>(&self, now: Option<Wall>, op: F) -> Result<T, Error>
    where
        F: for<'c> Fn(&'c mut Conn) -> Turn<'c, T>,
    {
        let gone = || Error::Unavailable("the database is gone".into());
        let (runs, answers) = self.fuse();
        if !runs {
            return Err(gone());
        }
        let mut slot = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Open { conn, shows } = slot
            .as_mut()
            .ok_or_else(|| Error::Unavailable("the store has stopped".into()))?;
        let result = block_on(async {
            // Outside the transaction: a rollback does not turn the clock back.
            if *shows != now {
                migrate::set_clock(conn, now).await?;
                *shows = now;
            }
            conn.script("begin immediate").await?;
            let result = op(conn).await;
            let end = if result.is_ok() { "commit" } else { "rollback" };
            conn.script(end).await?;
            result
        });
        if answers { result } else { Err(gone()) }
    }

    pub(super) fn close(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(open.take());
    }
}
