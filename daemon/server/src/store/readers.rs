//! Threads that read the embedded database beside its writer, each with a connection.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::embedded::Embedded;
use super::op::{Answer, Op, answered, any, block_on, stopped};
use super::{Conn, Error, Turn};

/// How many.
const READERS: usize = 4;

enum Order {
    Run(Op, oneshot::Sender<Answer>),
    Close(oneshot::Sender<()>),
}

/// Handle of the readers.
#[derive(Clone)]
pub(super) struct Readers {
    to: mpsc::Sender<Order>,
}

impl Readers {
    /// Starts them; they end at [`Readers::close`].
    pub(super) fn start(file: &Path) -> Result<Readers, Error> {
        let (to, from) = mpsc::channel::<Order>();
        let from = Arc::new(Mutex::new(from));
        let runtime = Handle::current();
        for _ in 0..READERS {
            let conn = Conn::Sqlite(Embedded::reader(file)?);
            let (from, runtime) = (Arc::clone(&from), runtime.clone());
            let serve = move || {
                let _inside = runtime.enter();
                serve(conn, &from);
            };
            let thread = std::thread::Builder::new().name("store-reader".into());
            let started = thread.spawn(serve);
            started.map_err(|e| Error::Unavailable(format!("no thread for the store: {e}")))?;
        }
        Ok(Readers { to })
    }

    /// Runs `op` on one of them.
    pub(super) async fn run<T, F>(&self, op: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> Turn<'c, T> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let sent = self.to.send(Order::Run(any(op), reply));
        sent.map_err(|_| stopped())?;
        answered(answer).await
    }

    /// Finishes what waits and closes the file.
    pub(super) async fn close(&self) {
        let mut closing = Vec::new();
        for _ in 0..READERS {
            let (reply, closed) = oneshot::channel();
            if self.to.send(Order::Close(reply)).is_ok() {
                closing.push(closed);
            }
        }
        for closed in closing {
            // An error means the thread is already gone, which is what was wanted.
            let _ = closed.await;
        }
    }
}

fn serve(mut conn: Conn, from: &Mutex<mpsc::Receiver<Order>>) {
    let next = || {
        let from = from.lock().unwrap_or_else(PoisonError::into_inner);
        from.recv()
    };
    while let Ok(order) = next() {
        match order {
            // Nobody waits any more for what took too long.
            Order::Run(_, reply) if reply.is_closed() => {}
            Order::Run(op, reply) => {
                // Whoever asked may have gone away meanwhile.
                let _ = reply.send(block_on(op(&mut conn)));
            }
            Order::Close(reply) => {
                drop(conn);
                let _ = reply.send(());
                return;
            }
        }
    }
}
