//! SIP over TCP and TLS. Streams are read here, not in the stack: its own reader keeps
//! 128 KiB a stream, waits five minutes for the end of a message, and sees messages
//! before our gate. What passes goes to the stack through a channel.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rsipstack::transaction::endpoint::EndpointInnerRef;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard::Guard;
use super::pipe::Pipe;
use super::route::{Route, Transport};

/// Streams at once that peers opened.
const STREAMS_MAX: usize = 1_000;
/// Of these, streams of strangers: trunks and phones always find room.
const STRANGERS_MAX: usize = 800;
/// Streams at once from one address.
const ADDRESS_MAX: usize = 20;
/// A peer that has not sent a whole message in so long is let go.
pub(super) const MESSAGE_LIMIT: Duration = Duration::from_secs(10);
/// How long connecting and the TLS handshake may take together.
const DIAL_LIMIT: Duration = Duration::from_secs(4);
/// Pause after an accept failed: usually no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 256;

/// Why a peer cannot be reached by a stream.
#[derive(Debug, thiserror::Error)]
#[error("no stream to {0}")]
pub(in crate::voice) struct NoStream(SocketAddr);

/// All streams of an endpoint.
pub(super) struct Streams {
    pub(super) endpoint: EndpointInnerRef,
    pub(super) guard: Arc<Guard>,
    pub(super) cancel: CancellationToken,
    /// Our address; streams we open leave from it.
    local: IpAddr,
    tracker: TaskTracker,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Streams that peers opened, by address.
    taken: HashMap<IpAddr, usize>,
    total: usize,
    strangers: usize,
    refused: u64,
    /// Streams we opened.
    dialled: HashMap<(Transport, SocketAddr), Dialled>,
}

struct Dialled {
    state: watch::Receiver<State>,
    token: CancellationToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Dialling,
    Open,
    Closed,
}

/// A peer's place among the streams; given back when dropped.
struct Place {
    streams: Arc<Streams>,
    ip: IpAddr,
    is_stranger: bool,
}

impl Streams {
    pub(super) fn new(
        endpoint: EndpointInnerRef,
        guard: Arc<Guard>,
        cancel: CancellationToken,
        local: IpAddr,
    ) -> Arc<Self> {
        Arc::new(Streams {
            endpoint,
            guard,
            cancel,
            local,
            tracker: TaskTracker::new(),
            table: Mutex::default(),
        })
    }

    /// Accepts streams at `address`, with `tls` encrypted ones. Returns the address bound.
    pub(super) fn listen(
        self: &Arc<Self>,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
    ) -> io::Result<SocketAddr> {
        let socket = socket_of(address)?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let bound = listener.local_addr()?;
        let streams = Arc::clone(self);
        let accept = streams.accept(listener, tls.map(TlsAcceptor::from));
        self.tracker.spawn(accept);
        Ok(bound)
    }

    /// Streams that peers hold open, and how many were turned away.
    pub(super) fn counts(&self) -> (usize, u64) {
        let table = self.table();
        (table.total, table.refused)
    }

    /// Makes sure that a stream to the peer is open; by UDP there is nothing to do.
    pub(super) async fn reach(self: &Arc<Self>, route: &Route) -> Result<(), NoStream> {
        if route.transport == Transport::Udp {
            return Ok(());
        }
        let mut state = self.dialled(route);
        let settled = state.wait_for(|s| *s != State::Dialling).await;
        match settled.map(|s| *s) {
            Ok(State::Open) => Ok(()),
            Ok(State::Dialling | State::Closed) | Err(_) => Err(NoStream(route.address)),
        }
    }

    /// Closes the stream we opened to the peer: it is silent, the next one may not be.
    pub(super) fn hang_up(&self, route: &Route) {
        let key = (route.transport, route.address);
        if let Some(dialled) = self.table().dialled.remove(&key) {
            dialled.token.cancel();
        }
    }

    /// Ends when the stream we opened to the peer does; at once if there is none.
    pub(super) async fn ends(&self, route: &Route) {
        let key = (route.transport, route.address);
        let token = self.table().dialled.get(&key).map(|d| d.token.clone());
        if let Some(token) = token {
            token.cancelled().await;
        }
    }

    /// Waits until every stream is closed; they close when the endpoint is cancelled.
    pub(super) async fn closed(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.cancel.cancelled() => return,
            };
            match accepted {
                Ok((stream, from)) => {
                    let Some(place) = self.place(from.ip()) else {
                        continue;
                    };
                    let streams = Arc::clone(&self);
                    let tls = tls.clone();
                    self.tracker
                        .spawn(streams.welcome(stream, from, tls, place));
                }
                Err(error) => {
                    tracing::debug!(%error, "a SIP stream could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn place(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        let is_stranger = !self.guard.knows(ip);
        let admitted = self.guard.admits(ip);
        let mut table = self.table();
        let of_address = table.taken.get(&ip).copied().unwrap_or_default();
        let room = admitted
            && of_address < ADDRESS_MAX
            && table.total < STREAMS_MAX
            && (!is_stranger || table.strangers < STRANGERS_MAX);
        if !room {
            table.refused += 1;
            return None;
        }
        table.taken.insert(ip, of_address + 1);
        table.total += 1;
        table.strangers += usize::from(is_stranger);
        Some(Place {
            streams: Arc::clone(self),
            ip,
            is_stranger,
        })
    }

    /// Serves a peer that came, until one of us is done.
    async fn welcome(
        self: Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        tls: Option<TlsAcceptor>,
        _place: Place,
    ) {
        // Small messages must not wait for each other.
        let _ = stream.set_nodelay(true);
        let token = self.cancel.child_token();
        match tls {
            None => {
                Pipe::new(self, Transport::Tcp, from, token)
                    .run(stream)
                    .await
            }
            Some(tls) => {
                let shaken = tokio::select! {
                    shaken = timeout(MESSAGE_LIMIT, tls.accept(stream)) => shaken,
                    () = token.cancelled() => return,
                };
                match shaken {
                    Ok(Ok(stream)) => {
                        let pipe = Pipe::new(self, Transport::Tls, from, token);
                        pipe.run(Box::new(stream)).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
            }
        }
    }

    /// The stream to the peer; it is opened if there is none.
    fn dialled(self: &Arc<Self>, route: &Route) -> watch::Receiver<State> {
        let key = (route.transport, route.address);
        let mut table = self.table();
        if let Some(dialled) = table.dialled.get(&key)
            && *dialled.state.borrow() != State::Closed
        {
            return dialled.state.clone();
        }
        let (set, state) = watch::channel(State::Dialling);
        let token = self.cancel.child_token();
        let entry = Dialled {
            state: state.clone(),
            token: token.clone(),
        };
        table.dialled.insert(key, entry);
        let streams = Arc::clone(self);
        self.tracker.spawn(streams.dial(route.clone(), set, token));
        state
    }

    async fn dial(
        self: Arc<Self>,
        route: Route,
        state: watch::Sender<State>,
        token: CancellationToken,
    ) {
        match timeout(DIAL_LIMIT, self.connect(&route)).await {
            Ok(Ok(stream)) => {
                let mut pipe = Pipe::new(self, route.transport, route.address, token);
                if pipe.attach().await {
                    state.send_replace(State::Open);
                    pipe.run(stream).await;
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "a SIP stream could not be opened"),
            Err(_) => tracing::debug!("opening a SIP stream took too long"),
        }
        state.send_replace(State::Closed);
    }

    async fn connect(&self, route: &Route) -> io::Result<Box<dyn Bytes>> {
        let socket = socket_of(route.address)?;
        if !self.local.is_unspecified() && self.local.is_ipv4() == route.address.is_ipv4() {
            socket.bind(SocketAddr::new(self.local, 0))?;
        }
        let stream = socket.connect(route.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &route.tls else {
            return Ok(Box::new(stream));
        };
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let stream = connector.connect(tls.name.clone(), stream).await?;
        Ok(Box::new(stream))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.streams.table();
        table.total -= 1;
        table.strangers -= usize::from(self.is_stranger);
        if let Some(count) = table.taken.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                table.taken.remove(&self.ip);
            }
        }
    }
}

/// A plain or an encrypted stream.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

fn socket_of(address: SocketAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
}
