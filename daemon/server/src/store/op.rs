//! Operations handed to a thread of the embedded database, whatever they answer.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::oneshot;

use super::{Conn, Error, Turn};

pub(super) type Answer = Result<Box<dyn Any + Send>, Error>;
/// An operation whose answer may be of any type.
pub(super) type Op =
    Box<dyn for<'c> Fn(&'c mut Conn) -> Turn<'c, Box<dyn Any + Send>> + Send + Sync>;

/// Hides the type of an operation's answer.
pub(super) fn any<T, F>(op: F) -> Op
where
    T: Send + 'static,
    F: for<'c> Fn(&'c mut Conn) -> Turn<'c, T> + Send + Sync + 'static,
{
    Box::new(move |conn| {
        let turn = op(conn);
        Box::pin(async move {
            let value: Box<dyn Any + Send> = Box::new(turn.await?);
            Ok(value)
        })
    })
}

/// Waits for an answer of that type.
pub(super) async fn answered<T: 'static>(answer: oneshot::Receiver<Answer>) -> Result<T, Error> {
    let value = answer.await.map_err(|_| stopped())??;
    value
        .downcast::<T>()
        .map(|boxed| *boxed)
        .map_err(|_| Error::Damaged("an answer has the wrong type".into()))
}

pub(super) fn stopped() -> Error {
    Error::Unavailable("the store has stopped".into())
}

/// Wakes a parked thread.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives `future` on this thread.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
