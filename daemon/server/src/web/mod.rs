//! The web listener and what it shows besides the form: status pages, health, metrics.

mod conn;
pub mod control;
pub mod health;
pub mod metrics;
pub mod status;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use conn::Guarded;

/// What one listener bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address; a proxy on this machine may have all of them.
    pub per_address_max: usize,
    /// A request's headers have to be complete within this time; also the longest rest
    /// between two requests of a connection.
    pub header_time: Duration,
    /// A peer that takes no byte for so long is dropped.
    pub write_time: Duration,
    /// Requests in progress may go on for so long after the stop.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 10_000,
            per_address_max: 100,
            header_time: Duration::from_secs(10),
            write_time: Duration::from_secs(30),
            drain_time: Duration::from_secs(10),
        }
    }
}

/// Serves `router` on `listener` until `stop`; returns when the requests in progress have
/// been answered or `drain_time` is over. Handlers find the peer as `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let tasks = TaskTracker::new();
    let open = Arc::new(Open::default());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = Open::enter(&open, peer.ip(), &limits) else {
                    tracing::debug!("connection refused: too many");
                    continue; // dropped: closed at once
                };
                let router = router.clone();
                let watcher = graceful.watcher();
                tasks.spawn(async move {
                    connection(stream, peer, router, limits, watcher).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: the ones in use come back.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_time, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("connections were still open after the stop");
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    watcher: Watcher,
) {
    // Answers are small and written at once: waiting for more would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let io = TokioIo::new(Guarded::new(stream, limits.write_time));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    // HTTP/1 only: browsers speak HTTP/2 over TLS alone, and that ends at the proxy. Waiting for
    // an HTTP/2 preface would also wait without a limit.
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_headers(64)
        .max_buf_size(64 * 1024);
    let connection = builder.serve_connection(io, service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Connections that are open, in all and by address.
#[derive(Default)]
struct Open(Mutex<HashMap<IpAddr, usize>>);

/// A place among the open connections, given back when dropped.
struct Place {
    open: Arc<Open>,
    address: IpAddr,
}

impl Open {
    fn enter(open: &Arc<Open>, address: IpAddr, limits: &Limits) -> Option<Place> {
        let address = address.to_canonical();
        let mut counts = open.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = counts.get(&address).copied().unwrap_or(0);
        let all: usize = counts.values().sum();
        let crowded = here >= limits.per_address_max && !address.is_loopback();
        if crowded || all >= limits.connections_max {
            return None;
        }
        counts.insert(address, here + 1);
        Some(Place {
            open: Arc::clone(open),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(limits: Limits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route(
            "/",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }),
        );
        let task = tokio::spawn(serve(listener, router, limits, stop.clone()));
        (address, stop, task)
    }

    async fn ask(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .expect("closed in time");
        answer
    }

    #[tokio::test]
    async fn handler_sees_the_peer_and_stop_ends_the_listener() {
        let (address, stop, task) = start(Limits::default()).await;
        let answer = ask(
            address,
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"));
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn slow_and_silent_connections_are_closed() {
        let limits = Limits {
            header_time: Duration::from_millis(200),
            ..Limits::default()
        };
        let (address, _stop, _task) = start(limits).await;
        let slow = ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n").await;
        assert!(!slow.contains("200 OK"), "{slow}");
        ask(address, b"").await;
        let rest = ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(rest.contains("200 OK"), "answered, then closed for idling");
    }

    #[tokio::test]
    async fn many_headers_are_refused() {
        let limits = Limits {
            header_time: Duration::from_millis(500),
            ..Limits::default()
        };
        let (address, _stop, _task) = start(limits).await;
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(70));
        let answer = ask(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[test]
    fn one_address_has_a_share_of_the_places() {
        let limits = Limits {
            connections_max: 5,
            per_address_max: 2,
            ..Limits::default()
        };
        let open = Arc::new(Open::default());
        let enter = |address: &str| Open::enter(&open, address.parse().unwrap(), &limits);
        let one = enter("192.0.2.1");
        let two = enter("::ffff:192.0.2.1");
        assert!(one.is_some() && two.is_some() && enter("192.0.2.1").is_none());
        drop(one);
        let again = enter("192.0.2.1");
        let proxy: Vec<_> = (0..3).map(|_| enter("127.0.0.1")).collect();
        assert!(again.is_some() && proxy.iter().all(Option::is_some));
        assert!(enter("192.0.2.2").is_none(), "all places are taken");
        drop((two, again, proxy));
        assert!(open.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn connection_beyond_the_places_is_closed() {
        let limits = Limits {
            connections_max: 1,
            ..Limits::default()
        };
        let (address, _stop, _task) = start(limits).await;
        let _one = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(5), second.read(&mut byte));
        assert!(!matches!(read.await.expect("closed"), Ok(1..)));
    }
}
