//! One stream: bytes in, messages through the gate to the stack, and back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use helpline_core::sip::stream::{Frame, frame};
use rsipstack::sip::SipMessage;
use rsipstack::transport::channel::ChannelConnection;
use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::guard::Judgement;
use super::route::Transport;
use super::streams::{Bytes, MESSAGE_LIMIT, Streams};

/// A stream without any byte for so long is closed; peers send keep-alives more often
/// (RFC 5626 section 4.4.1).
const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// How long a peer may take to read what we send.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Messages that may wait for a peer that reads slowly; with more it is let go.
const QUEUED_MAX: usize = 256;
/// Bytes asked of the stream at once. An idle stream keeps no more than this.
const READ_BYTES: usize = 2_048;

/// One stream.
pub(super) struct Pipe {
    streams: Arc<Streams>,
    transport: Transport,
    peer: SocketAddr,
    token: CancellationToken,
    buffer: BytesMut,
    /// When the message under way began, or the stream.
    began: Instant,
    /// When the last byte came.
    heard: Instant,
    /// The stack's end, once a message passed.
    stack: Option<Attached>,
}

/// The stack's view of the stream.
struct Attached {
    connection: SipConnection,
    address: SipAddr,
    to_stack: UnboundedSender<TransportEvent>,
    from_stack: UnboundedReceiver<TransportEvent>,
}

enum Next {
    Read(io::Result<usize>),
    Send(Option<Vec<u8>>),
    TooLate,
    Stop,
}

impl Pipe {
    pub(super) fn new(
        streams: Arc<Streams>,
        transport: Transport,
        peer: SocketAddr,
        token: CancellationToken,
    ) -> Self {
        Pipe {
            streams,
            transport,
            peer,
            token,
            buffer: BytesMut::new(),
            began: Instant::now(),
            heard: Instant::now(),
            stack: None,
        }
    }

    /// Makes the stream known to the stack, which may send on it from now on.
    pub(super) async fn attach(&mut self) -> bool {
        let (to_stack, incoming) = unbounded_channel();
        let (outgoing, from_stack) = unbounded_channel();
        let address = SipAddr::new(self.transport.of_stack(), self.peer.into());
        let token = Some(self.token.clone());
        let channel =
            ChannelConnection::create_connection(incoming, outgoing, address.clone(), token).await;
        let Ok(channel) = channel else {
            return false;
        };
        let connection = SipConnection::Channel(channel);
        let layer = &self.streams.endpoint.transport_layer;
        layer.add_connection(connection.clone());
        self.stack = Some(Attached {
            connection,
            address,
            to_stack,
            from_stack,
        });
        true
    }

    /// Carries messages until the peer, the stack or a limit ends it.
    pub(super) async fn run(mut self, mut stream: impl Bytes) {
        self.began = Instant::now();
        self.heard = self.began;
        loop {
            let done = match self.next(&mut stream).await {
                Next::Read(Ok(0)) | Next::TooLate | Next::Stop | Next::Send(None) => true,
                Next::Read(Err(_)) => true,
                Next::Read(Ok(_)) => {
                    self.heard = Instant::now();
                    !self.take(&mut stream).await
                }
                Next::Send(Some(bytes)) => !self.write(&mut stream, &bytes).await,
            };
            if done {
                break;
            }
        }
        // The stack must not choose a stream that ends.
        self.token.cancel();
        let _ = timeout(WRITE_LIMIT, stream.shutdown()).await;
    }

    async fn next(&mut self, stream: &mut impl Bytes) -> Next {
        let limit = if self.stack.is_some() && self.buffer.is_empty() {
            self.heard + IDLE_LIMIT
        } else {
            self.began + MESSAGE_LIMIT
        };
        self.buffer.reserve(READ_BYTES);
        let send = async {
            match &mut self.stack {
                Some(stack) => stack.from_stack.recv().await.map(bytes_of),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.token.cancelled() => Next::Stop,
            bytes = send => Next::Send(bytes),
            read = stream.read_buf(&mut self.buffer) => Next::Read(read),
            () = sleep_until(limit) => Next::TooLate,
        }
    }

    /// Takes the whole messages out of the buffer; false if the stream is over.
    async fn take(&mut self, stream: &mut impl Bytes) -> bool {
        loop {
            match frame(&self.buffer) {
                Frame::Wait => return true,
                Frame::Broken => return false,
                Frame::Pong(length) => drop(self.buffer.split_to(length)),
                Frame::Ping(length) => {
                    drop(self.buffer.split_to(length));
                    if !self.write(stream, b"\r\n").await {
                        return false;
                    }
                }
                Frame::Message(length) => {
                    let message = self.buffer.split_to(length);
                    if !self.judge(stream, &message).await {
                        return false;
                    }
                }
            }
            // What follows is a new message.
            self.began = self.heard;
            if self.buffer.is_empty() {
                // A large message must not keep its room for an idle stream.
                self.buffer = BytesMut::new();
            }
        }
    }

    async fn judge(&mut self, stream: &mut impl Bytes, message: &[u8]) -> bool {
        match self.streams.guard.judge(message, self.peer) {
            Judgement::Pass => self.give(message).await,
            Judgement::Drop => true,
            Judgement::Answer(answer) => self.write(stream, &answer).await,
        }
    }

    async fn give(&mut self, message: &[u8]) -> bool {
        let transport = self.transport.of_stack();
        let read = SipMessage::try_from(message).ok().and_then(|message| {
            SipConnection::update_msg_received(message, self.peer, transport).ok()
        });
        let Some(message) = read else {
            // The gate let it pass and the stack cannot read it: as with a datagram, it is lost.
            return true;
        };
        if self.stack.is_none() && !self.attach().await {
            return false;
        }
        let Some(stack) = &self.stack else {
            return false;
        };
        let (connection, address) = (stack.connection.clone(), stack.address.clone());
        let event = TransportEvent::Incoming(message, connection, address);
        stack.to_stack.send(event).is_ok()
    }

    async fn write(&self, stream: &mut impl Bytes, bytes: &[u8]) -> bool {
        let queued = self.stack.as_ref().map_or(0, |s| s.from_stack.len());
        if queued > QUEUED_MAX {
            return false;
        }
        let write = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        matches!(timeout(WRITE_LIMIT, write).await, Ok(Ok(())))
    }
}

fn bytes_of(event: TransportEvent) -> Vec<u8> {
    match event {
        TransportEvent::Incoming(message, ..) => message.to_bytes(),
        // Never sent on a channel.
        TransportEvent::New(_) | TransportEvent::Closed(_) => Vec::new(),
    }
}
