//! A stream that ends when its peer sends more than was expected: the parser would keep all of a
//! literal in memory, however long the server says it is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::intake::Wire;

/// How much the peer may still send.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    pub(super) fn new(bytes: usize) -> Allowance {
        Allowance(Arc::new(AtomicUsize::new(bytes)))
    }

    /// From here on so many bytes may come.
    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// The stream.
#[derive(Debug)]
pub(super) struct Metered {
    pub(super) inner: Box<dyn Wire>,
    pub(super) left: Allowance,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, into))?;
        let read = into.filled().len().saturating_sub(before);
        let left = self.left.0.load(Ordering::Relaxed);
        match left.checked_sub(read) {
            Some(left) => {
                self.left.set(left);
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Err(io::Error::other("the server sends more than it said"))),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_sends_too_much_is_not_read() {
        let (mut peer, ours) = tokio::io::duplex(1_000);
        let left = Allowance::new(10);
        let mut ours = Metered {
            inner: Box::new(ours),
            left: left.clone(),
        };
        let mut read = [0; 8];
        peer.write_all(&[1; 8]).await.unwrap();
        ours.read_exact(&mut read).await.unwrap();
        peer.write_all(&[1; 8]).await.unwrap();
        assert!(ours.read_exact(&mut read).await.is_err());
        left.set(100);
        peer.write_all(&[1; 8]).await.unwrap();
        ours.read_exact(&mut read).await.unwrap();
    }
}
