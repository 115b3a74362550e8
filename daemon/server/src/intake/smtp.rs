//! The sockets of the SMTP and LMTP receivers. The conversation itself is a machine in core; here bytes are
//! moved, limits of the whole listener kept, and a message is acknowledged only after
//! `desk.spool_mail` committed it.

mod users;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use helpline_core::request::email::Keys;
use helpline_core::smtp::{
    BUSY, Checked, Conversation, Input, Login, Output, Pressure, Received, Settings, Stored,
};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Wire;
use super::limit::RateLimit;
use super::mail_auth::Authenticator;
use crate::clock::Clock;
use crate::config::Smtp;
use crate::desk::{Desk, Incoming, Sender, SpoolError};
use crate::log::Private;
use crate::tls;

use users::Logins;

/// Bytes of unfinished messages over all connections.
const HELD_BYTES_MAX: usize = 256 << 20;
/// How long a connection waits for others to give memory back before it refuses its message.
const MEMORY_WAIT: Duration = Duration::from_secs(10);
/// Slower than this, a commit counts as not known.
const STORE_WAIT: Duration = Duration::from_secs(30);
/// A peer that does not take our replies is given up after this.
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// After the last reply, what the peer still sends is read for so long, so that the reply arrives.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes read at once; with what waits already, within the machine's limit.
const READ_BYTES: usize = 16 << 10;
/// Longest handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(30);
/// Pause after a failed login: passwords are not tried fast.
const LOGIN_PAUSE: Duration = Duration::from_secs(1);
/// Failed logins of a network in [`FAILED_WINDOW`]; more of it are not looked at.
const FAILED_MAX: u32 = 10;
const FAILED_WINDOW: Duration = Duration::from_secs(600);
/// Pause after a failed accept, which fails again at once when files have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The receiver behind one listener.
#[derive(Debug)]
pub struct Receiver {
    desk: Arc<Desk>,
    clock: Clock,
    settings: Arc<Settings>,
    tls: Option<Arc<ServerConfig>>,
    users: Option<Arc<Logins>>,
    failed_logins: RateLimit,
    connections_max: usize,
    per_address_max: usize,
    held: AtomicUsize,
    open: Mutex<HashMap<IpAddr, usize>>,
    /// Refuses mail that the domain of its writer wants refused.
    refuses: Option<Arc<Authenticator>>,
}

/// What a conversation is held over.
type Stream = Box<dyn Wire>;

/// What is spoken, and with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321, with anybody.
    Smtp,
    /// RFC 5321, with those who log in (RFC 6409).
    Submission,
    /// RFC 2033, with the operator's own mail server.
    Lmtp,
}

/// Where peers come.
#[derive(Debug)]
pub enum Listener {
    /// From anywhere.
    Tcp(TcpListener),
    /// From this machine.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Listener::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Listener::Unix(listener)
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Replies are small and the peer waits for them.
                stream.set_nodelay(true)?;
                // A listener for both families shows an IPv4 peer in IPv6 clothes.
                Ok((Box::new(stream), peer.ip().to_canonical()))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), IpAddr::V4(Ipv4Addr::LOCALHOST)))
            }
        }
    }
}

impl Receiver {
    /// A receiver for the addresses of `config`. With `refuses` it refuses what the domain of
    /// its writer wants refused.
    ///
    /// # Errors
    /// A certificate, key or file of users cannot be used.
    pub fn new(
        config: &Smtp,
        protocol: Protocol,
        desk: Arc<Desk>,
        clock: Clock,
        refuses: Option<Arc<Authenticator>>,
    ) -> anyhow::Result<Arc<Self>> {
        // Greeting and replies name the domain of the first address.
        let host = config
            .addresses
            .first()
            .and_then(|a| a.rsplit_once('@'))
            .map_or("localhost", |(_, domain)| domain);
        let lmtp = protocol == Protocol::Lmtp;
        let tls = match (&config.tls_cert_file, &config.tls_key_file) {
            (Some(chain), Some(key)) if !lmtp => Some(tls::server(chain, key)?),
            _ => None,
        };
        let users = match &config.users_file {
            Some(file) if tls.is_some() => Some(Arc::new(Logins::load(file)?)),
            _ => None,
        };
        let submission = protocol == Protocol::Submission;
        Ok(Arc::new(Receiver {
            refuses: refuses.filter(|_| !lmtp),
            settings: Arc::new(Settings {
                host: host.to_owned(),
                addresses: config.addresses.clone(),
                keys: Keys::clone(desk.keys()),
                message_bytes_max: config.message_bytes_max,
                messages_max: match lmtp {
                    true => u32::MAX,
                    false => config.messages_per_connection_max,
                },
                lmtp,
                starttls: tls.is_some(),
                require_tls: (config.require_tls || submission) && !lmtp,
                auth: users.is_some(),
                require_auth: submission,
            }),
            desk,
            clock,
            tls,
            users,
            failed_logins: RateLimit::new(FAILED_MAX, FAILED_WINDOW),
            connections_max: config.connections_max,
            per_address_max: match lmtp {
                true => config.connections_max,
                false => config.connections_per_address_max,
            },
            held: AtomicUsize::new(0),
            open: Mutex::default(),
        }))
    }

    /// Takes connections until `stop`; then messages coming in are finished, every peer is
    /// told 421, and the function returns when the last connection is closed.
    pub async fn serve(self: Arc<Self>, listener: impl Into<Listener>, stop: CancellationToken) {
        let listener = listener.into();
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, &tasks, &stop).await,
                Err(error) => {
                    tracing::warn!(%error, "smtp: a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .sum()
    }

    async fn admit(
        self: &Arc<Self>,
        mut stream: Stream,
        peer: IpAddr,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let Some(place) = Place::take(self, peer) else {
            // The kernel takes the few bytes at once; a peer that does not wait loses nothing.
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(BUSY)).await;
            return;
        };
        let stop = stop.clone();
        tasks.spawn(async move {
            let receiver = Arc::clone(&place.receiver);
            if let Err(error) = receiver.converse(stream, peer, &stop).await {
                tracing::debug!(%error, "smtp: connection ended");
            }
            drop(place);
        });
    }

    async fn converse(
        &self,
        mut stream: Stream,
        peer: IpAddr,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        let mut conversation = Conversation::new(self.clock.time(), Arc::clone(&self.settings));
        let mut held = Held {
            total: &self.held,
            mine: 0,
        };
        let mut buffer = vec![0; READ_BYTES];
        let mut stopping = false;
        loop {
            match self.act(&mut conversation, &mut stream, peer).await? {
                Next::Read => {}
                Next::Close => return linger(stream).await,
                Next::Encrypt => {
                    stream = self.encrypt(stream).await?;
                    conversation.handle(self.clock.time(), Input::TlsReady);
                    continue;
                }
            }
            self.keep_in_memory(&mut conversation, &mut held).await;
            let now = self.clock.time();
            let wait = conversation
                .deadline()
                .map_or(WRITE_WAIT, |deadline| deadline.since(now));
            tokio::select! {
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    conversation.handle(self.clock.time(), Input::Pressure(Pressure::Stopping));
                }
                read = stream.read(&mut buffer) => {
                    let count = read?;
                    if count == 0 {
                        return Ok(());
                    }
                    let bytes = buffer.get(..count).unwrap_or_default();
                    conversation.handle(self.clock.time(), Input::Bytes(bytes));
                }
                () = tokio::time::sleep(wait) => conversation.handle(self.clock.time(), Input::Timeout),
            }
        }
    }

    async fn encrypt(&self, stream: Stream) -> io::Result<Stream> {
        let config = self.tls.clone().ok_or(io::ErrorKind::Unsupported)?;
        let handshake = TlsAcceptor::from(config).accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE_WAIT, handshake).await??;
        Ok(Box::new(stream))
    }

    /// Does what the conversation wants, as far as it goes by itself.
    async fn act(
        &self,
        conversation: &mut Conversation,
        stream: &mut Stream,
        peer: IpAddr,
    ) -> io::Result<Next> {
        let mut replies = Vec::new();
        while let Some(output) = conversation.poll() {
            match output {
                Output::Write(bytes) => replies.extend_from_slice(&bytes),
                Output::Store(received) => {
                    write(stream, &mut replies).await?;
                    let stored = self.store(*received, peer).await;
                    conversation.handle(self.clock.time(), Input::Stored(stored));
                }
                Output::CheckAuth(login) => {
                    write(stream, &mut replies).await?;
                    let checked = self.check(*login, peer).await;
                    conversation.handle(self.clock.time(), Input::AuthChecked(checked));
                }
                Output::StartTls => {
                    write(stream, &mut replies).await?;
                    return Ok(Next::Encrypt);
                }
                Output::Close => {
                    write(stream, &mut replies).await?;
                    return Ok(Next::Close);
                }
            }
        }
        write(stream, &mut replies).await?;
        Ok(Next::Read)
    }

    async fn check(&self, login: Login, peer: IpAddr) -> Checked {
        let Some(users) = self.users.clone() else {
            return Checked::Wrong;
        };
        if self.failed_logins.is_used_up(peer, self.clock.time()) {
            return Checked::NotNow;
        }
        if users.check(login).await {
            return Checked::Right;
        }
        let told = Private(peer.to_string());
        tracing::warn!(peer = %told, "smtp: a login failed");
        if self.failed_logins.take(peer, self.clock.time()).is_err() {
            return Checked::NotNow;
        }
        tokio::time::sleep(LOGIN_PAUSE).await;
        Checked::Wrong
    }

    async fn store(&self, mut received: Received, peer: IpAddr) -> Stored {
        let peer = peer.to_canonical();
        let held = Held::new(&self.held, received.raw.len());
        if let Some(refused) = self.refuse(&mut received, peer).await {
            return refused;
        }
        let Received {
            helo,
            auth_user,
            mail_from,
            rcpt,
            raw,
        } = received;
        let spool = self.desk.spool_mail(Incoming {
            is_handed: self.settings.lmtp,
            peer,
            helo,
            auth_user,
            mail_from,
            rcpt,
            raw,
        });
        let spooled = tokio::time::timeout(STORE_WAIT, spool).await;
        drop(held);
        match spooled {
            Ok(Ok(id)) => {
                tracing::debug!(mail.id = %id, "smtp: message taken");
                Stored::Kept(id)
            }
            Ok(Err(SpoolError::Full)) => Stored::Full,
            // It may be committed all the same; then the sender's next try is a duplicate.
            Ok(Err(SpoolError::Unknown)) | Err(_) => Stored::Unknown,
        }
    }

    /// Why a message is not taken, if its origin is to be looked at now.
    async fn refuse(&self, received: &mut Received, peer: IpAddr) -> Option<Stored> {
        if received.auth_user.is_some() {
            return None; // a login vouches for it
        }
        let authenticator = self.refuses.as_ref().filter(|a| a.concerns(peer))?;
        let _place = authenticator.place().await;
        let helo = received.helo.clone();
        let (mail_from, raw) = (
            received.mail_from.clone(),
            std::mem::take(&mut received.raw),
        );
        let sender = Sender { peer, helo };
        let Some((raw, checked)) = authenticator.check(sender, mail_from, raw).await else {
            return Some(Stored::Unknown);
        };
        received.raw = raw;
        if !checked.is_unwanted {
            return None;
        }
        authenticator.note(checked.auth.proof());
        tracing::info!("smtp: refused, its domain wants that");
        Some(Stored::Refused)
    }

    /// Waits while all unfinished messages together are too large, then lets go of this one.
    async fn keep_in_memory(&self, conversation: &mut Conversation, held: &mut Held<'_>) {
        held.set(conversation.held());
        if self.held.load(Ordering::Relaxed) <= HELD_BYTES_MAX || held.mine == 0 {
            return;
        }
        let waited = tokio::time::timeout(MEMORY_WAIT, async {
            while self.held.load(Ordering::Relaxed) > HELD_BYTES_MAX {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if waited.await.is_err() {
            tracing::warn!("smtp: no memory for a message");
            let now = self.clock.time();
            // The message is lost to us, the connection is not.
            conversation.handle(now, Input::Pressure(Pressure::Full));
            conversation.handle(now, Input::Pressure(Pressure::Normal));
            held.set(conversation.held());
        }
    }
}

/// What comes after a conversation's wishes.
enum Next {
    Read,
    Encrypt,
    Close,
}

async fn write(stream: &mut Stream, replies: &mut Vec<u8>) -> io::Result<()> {
    if replies.is_empty() {
        return Ok(());
    }
    let writing = async {
        stream.write_all(replies).await?;
        stream.flush().await
    };
    tokio::time::timeout(WRITE_WAIT, writing).await??;
    replies.clear();
    Ok(())
}

/// Closes so that the last reply arrives: closing with unread bytes would reset the connection.
async fn linger(mut stream: Stream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut sink = vec![0; READ_BYTES];
    let _ = tokio::time::timeout(LINGER, async {
        while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
    })
    .await;
    Ok(())
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
struct Place {
    receiver: Arc<Receiver>,
    address: IpAddr,
}

impl Place {
    fn take(receiver: &Arc<Receiver>, peer: IpAddr) -> Option<Self> {
        let address = network(peer);
        let mut open = receiver.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let here = open.get(&address).copied().unwrap_or(0);
        if all >= receiver.connections_max || here >= receiver.per_address_max {
            return None;
        }
        open.insert(address, here + 1);
        Some(Place {
            receiver: Arc::clone(receiver),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .receiver
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Whom limits count as one: an IPv4 address, or the /64 a single IPv6 customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Bytes counted against the limit of the listener, given back when dropped.
struct Held<'a> {
    total: &'a AtomicUsize,
    mine: usize,
}

impl<'a> Held<'a> {
    fn new(total: &'a AtomicUsize, bytes: usize) -> Self {
        let mut held = Held { total, mine: 0 };
        held.set(bytes);
        held
    }

    fn set(&mut self, bytes: usize) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
        self.total.fetch_sub(self.mine, Ordering::Relaxed);
        self.mine = bytes;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_a_customer_once() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn held_bytes_are_given_back() {
        let total = AtomicUsize::new(0);
        let mut one = Held::new(&total, 10);
        let two = Held::new(&total, 5);
        one.set(3);
        assert_eq!(total.load(Ordering::Relaxed), 8);
        drop(two);
        drop(one);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }
}
