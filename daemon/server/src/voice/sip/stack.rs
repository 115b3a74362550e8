//! The endpoint: one UDP socket and the streams behind the gate, requests in and INVITEs out.

mod serve;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use helpline_core::rng::Rng;
use helpline_core::sip::gate::{self, Buckets};
use helpline_core::sip::timer::{self, Limits};
use rsipstack::EndpointBuilder;
use rsipstack::dialog::authenticate::Credential;
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::dialog::invitation::InviteOption;
use rsipstack::sip::headers::make_header;
use rsipstack::sip::headers::untyped::{Allow, ContentType};
use rsipstack::sip::{
    Auth, Header, HostWithPort, Method, Scheme, SipMessage, StatusCodeKind, Uri, typed,
};
use rsipstack::transaction::endpoint::{EndpointOption, TransportEventInspector};
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use rsipstack::transaction::transaction::Transaction;
use rsipstack::transaction::{Endpoint, make_tag};
use rsipstack::transport::udp::UdpConnection;
use rsipstack::transport::{SipConnection, TransportEvent, TransportLayer};
use rustls::ServerConfig;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::{AuthInspector, is_local};
use super::demand::Demand;
use super::guard::{Dialogs, GateCounters, Guard, Judgement};
use super::leg::SipLeg;
use super::own::Own;
use super::peers::Peers;
use super::phones::Phones;
use super::route::{Route, Transport};
use super::socket::GatedSocket;
use super::streams::{NoStream, Streams};
use super::unreachable::{Nobody, Unreachable};
use super::upkeep::Upkeep;
use crate::clock::Clock;

/// Requests being served at once; further ones are dropped and come again.
const SERVED_MAX: u32 = 4_000;
/// New calls that may wait for the engine.
const INVITES_MAX: usize = 64;

/// Whether and how many calls are taken: one permit a call; closed while draining.
pub(in crate::voice) type Admission = Arc<Semaphore>;

/// How the stack runs.
pub(in crate::voice) struct SipConfig {
    /// Where peers may come.
    pub(in crate::voice) listen: Listen,
    /// Address told to peers in Via and Contact, if it differs.
    pub(in crate::voice) public: Option<SocketAddr>,
    /// User-Agent.
    pub(in crate::voice) user_agent: String,
    /// Known addresses.
    pub(in crate::voice) peers: Arc<Peers>,
    /// Calls at once.
    pub(in crate::voice) admission: Admission,
    /// What a caller has to prove; only the test phone demands it.
    pub(in crate::voice) demand: Option<Demand>,
    /// What we want of session timers.
    pub(in crate::voice) limits: Limits,
    /// Our telephones; `None`: nobody registers.
    pub(in crate::voice) phones: Option<Arc<Phones>>,
    /// For the gate's limits.
    pub(in crate::voice) clock: Clock,
    /// For tags of stateless answers.
    pub(in crate::voice) rng: Rng,
}

/// The sockets of an endpoint.
#[derive(Clone)]
pub(in crate::voice) struct Listen {
    /// Datagrams.
    pub(in crate::voice) udp: SocketAddr,
    /// Streams.
    pub(in crate::voice) tcp: Option<SocketAddr>,
    /// Encrypted streams, with our certificate.
    pub(in crate::voice) tls: Option<(SocketAddr, Arc<ServerConfig>)>,
}

impl Listen {
    /// Datagrams alone.
    pub(in crate::voice) fn udp(address: SocketAddr) -> Self {
        Listen {
            udp: address,
            tcp: None,
            tls: None,
        }
    }
}

/// Why the stack could not start or send.
#[derive(Debug, thiserror::Error)]
pub(in crate::voice) enum SipError {
    /// The socket could not be bound.
    #[error("SIP socket {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    /// The stack refused.
    #[error("SIP stack: {0}")]
    Stack(Box<rsipstack::Error>),
    /// A user, host or number that makes no URI.
    #[error("not a SIP URI: {0}")]
    Uri(String),
}

impl From<rsipstack::Error> for SipError {
    fn from(error: rsipstack::Error) -> Self {
        SipError::Stack(Box::new(error))
    }
}

/// An INVITE to send.
pub(in crate::voice) struct InviteOut {
    /// The way it goes.
    pub(in crate::voice) route: Route,
    /// Host part of the URIs: the trunk's name.
    pub(in crate::voice) host: String,
    /// User part of the called URI, or all of it if it has a scheme.
    pub(in crate::voice) to: String,
    /// User part of the calling URI.
    pub(in crate::voice) from: String,
    /// Call-ID; without one the stack makes one.
    pub(in crate::voice) call_id: Option<String>,
    /// The offer.
    pub(in crate::voice) sdp: String,
    /// User name and password for challenges.
    pub(in crate::voice) credential: Option<(String, String)>,
}

/// A request outside a dialog.
pub(super) struct Outside<'a> {
    pub(super) method: Method,
    pub(super) route: &'a Route,
    /// Request-URI.
    pub(super) target: Uri,
    pub(super) from: Uri,
    pub(super) to: Uri,
    pub(super) cseq: u32,
    /// Without one the stack makes one.
    pub(super) call_id: Option<String>,
    pub(super) headers: Vec<Header>,
}

/// An INVITE that came in and was admitted.
pub(in crate::voice) struct InviteIn {
    /// User part of the caller's URI: the asserted identity if there is one.
    pub(in crate::voice) from: Option<String>,
    /// The telephone of ours that called, proven.
    pub(in crate::voice) phone: Option<String>,
    /// User part of the called URI.
    pub(in crate::voice) to: String,
    /// Where it came from.
    pub(in crate::voice) source: Option<IpAddr>,
    /// The offer; `None` if the peer wants ours.
    pub(in crate::voice) sdp: Option<String>,
    /// The leg, not yet answered.
    pub(in crate::voice) leg: SipLeg,
    /// The call's place among `max_calls`.
    pub(in crate::voice) permit: OwnedSemaphorePermit,
}

/// The running endpoint. Dropping the last handle does not stop it: call [`SipStack::shutdown`].
pub(in crate::voice) struct SipStack {
    layer: Arc<DialogLayer>,
    endpoint: Endpoint,
    own: Own,
    local: SocketAddr,
    streams: Arc<Streams>,
    unreachable: Unreachable,
    admission: Admission,
    demand: Option<Demand>,
    peers: Arc<Peers>,
    limits: Limits,
    phones: Option<Arc<Phones>>,
    clock: Clock,
    rng: Mutex<Rng>,
    invites: mpsc::Sender<InviteIn>,
    served: AtomicU32,
    cancel: CancellationToken,
    tracker: TaskTracker,
    gate: GateCounters,
}

impl SipStack {
    /// Binds the sockets and starts to serve; incoming calls come out of the receiver.
    pub(in crate::voice) async fn start(
        config: SipConfig,
    ) -> Result<(Arc<SipStack>, mpsc::Receiver<InviteIn>), SipError> {
        let bind = |e| SipError::Bind(config.listen.udp, e);
        let socket = UdpSocket::bind(config.listen.udp).await.map_err(bind)?;
        let local = socket.local_addr().map_err(bind)?;
        let socket = Arc::new(socket);
        let public = config.public.map_or(local, |p| with_port(p, local.port()));
        let cancel = CancellationToken::new();
        let gate = GateCounters::default();
        let peers = config.peers;
        let dialogs = Dialogs::default();
        let mut rng = config.rng;
        let guard = Arc::new(Guard {
            peers: Arc::clone(&peers),
            clock: config.clock.clone(),
            state: Mutex::new((Buckets::default(), rng.derive(1))),
            counters: gate.clone(),
            phones: config.phones.clone(),
            dialogs: Arc::clone(&dialogs),
            admission: Arc::clone(&config.admission),
        });
        let unreachable = Unreachable::new(Arc::clone(&socket));
        let errors = unreachable.clone().serve();
        let gated = GatedSocket::new(socket, Arc::clone(&guard), unreachable.clone());
        let connection =
            UdpConnection::from_socket(Arc::new(gated), Some(public), Some(cancel.child_token()))
                .await?;
        let own = Own::new(public);
        let transport = TransportLayer::new(cancel.child_token());
        transport.add_transport(connection.into());
        let endpoint = EndpointBuilder::new()
            .with_transport_layer(transport)
            .with_cancel_token(cancel.child_token())
            .with_user_agent(&config.user_agent)
            .with_inspector(Box::new(AuthInspector {
                peers: Arc::clone(&peers),
                phones: config.phones.clone(),
                own: own.clone(),
            }))
            .with_transport_inspector(Box::new(StackStreams(Arc::clone(&guard))))
            .with_option(EndpointOption {
                callid_suffix: Some(public.ip().to_string()),
                ..EndpointOption::default()
            })
            .build();
        let streams = Streams::new(
            Arc::clone(&endpoint.inner),
            guard,
            cancel.child_token(),
            local.ip(),
        );
        own.listen(&streams, &config.listen)?;
        let incoming = endpoint.incoming_transactions()?;
        let (invites, receiver) = mpsc::channel(INVITES_MAX);
        let layer = Arc::new(DialogLayer::new(Arc::clone(&endpoint.inner)));
        // Set once, here.
        let _ = dialogs.set(Arc::downgrade(&layer));
        let stack = Arc::new(SipStack {
            layer,
            own,
            endpoint,
            local,
            streams,
            unreachable,
            admission: config.admission,
            demand: config.demand,
            peers,
            limits: config.limits,
            phones: config.phones,
            clock: config.clock,
            rng: Mutex::new(rng.derive(2)),
            invites,
            served: AtomicU32::new(0),
            cancel,
            tracker: TaskTracker::new(),
            gate,
        });
        let inner = Arc::clone(&stack.endpoint.inner);
        stack.tracker.spawn(async move { inner.serve().await });
        let server = Arc::clone(&stack);
        stack.tracker.spawn(server.serve(incoming));
        let ended = stack.cancel.clone();
        tokio::spawn(async move { ended.run_until_cancelled(errors).await });
        Ok((stack, receiver))
    }

    /// The UDP socket's address.
    pub(in crate::voice) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Where peers can open streams of this transport.
    pub(in crate::voice) fn stream_address(&self, transport: Transport) -> Option<SocketAddr> {
        self.own.stream(transport)
    }

    /// Streams that peers hold open, and how many were turned away.
    pub(in crate::voice) fn streams(&self) -> (usize, u64) {
        self.streams.counts()
    }

    /// Makes sure that a request can leave on this way. Nothing was sent if it fails.
    pub(in crate::voice) async fn reach(&self, route: &Route) -> Result<(), NoStream> {
        self.streams.reach(route).await
    }

    /// Closes the stream to a peer that is silent on it.
    pub(in crate::voice) fn hang_up(&self, route: &Route) {
        self.streams.hang_up(route);
    }

    /// Tells from now on where, as ICMP says, nobody is.
    pub(in crate::voice) fn unreachable(&self) -> broadcast::Receiver<Nobody> {
        self.unreachable.listen()
    }

    /// Looks whether ICMP said something.
    pub(in crate::voice) fn look_for_unreachable(&self) {
        self.unreachable.look();
    }

    /// What the gate refused.
    pub(in crate::voice) fn gate(&self) -> &GateCounters {
        &self.gate
    }

    /// Dialogs that exist.
    pub(in crate::voice) fn dialogs(&self) -> usize {
        self.layer.len()
    }

    /// Sends an INVITE. What becomes of it are the events of the leg. With a stream,
    /// [`SipStack::reach`] comes first.
    pub(in crate::voice) fn invite(&self, invite: InviteOut) -> Result<SipLeg, SipError> {
        let (states, events) = self.layer.new_dialog_state_channel();
        let option = self.invite_option(invite)?;
        let (dialog, task) = self.layer.do_invite_async(option.clone(), states)?;
        Ok(SipLeg::outgoing(
            (dialog, events),
            (task, option),
            &self.layer,
            &self.tracker,
            self.upkeep(),
        ))
    }

    fn upkeep(&self) -> Upkeep {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Upkeep::new(self.clock.clone(), rng.derive(3), self.limits)
    }

    fn invite_option(&self, invite: InviteOut) -> Result<InviteOption, SipError> {
        let host = HostWithPort::try_from(invite.host.as_str())
            .map_err(|_| SipError::Uri(invite.host.clone()))?;
        let callee = if invite.to.contains(':') {
            Uri::try_from(invite.to.as_str()).map_err(|_| SipError::Uri(invite.to.clone()))?
        } else {
            uri(Some(&invite.to), host.clone())
        };
        Ok(InviteOption {
            caller: uri(Some(&invite.from), host),
            callee,
            destination: Some(invite.route.sip_addr()),
            content_type: Some("application/sdp".into()),
            offer: Some(invite.sdp.into_bytes()),
            contact: self.own.contact(invite.route.transport),
            credential: invite.credential.map(|(username, password)| Credential {
                username,
                password,
                ..Credential::default()
            }),
            headers: Some(vec![
                Header::Allow(Allow::new(gate::METHODS.join(", "))),
                make_header("Supported", "timer, replaces".into()),
                make_header(
                    "Session-Expires",
                    timer::request_field(self.limits, None, None),
                ),
                make_header("Min-SE", self.limits.least.to_string()),
                invite.route.mark(),
            ]),
            call_id: invite.call_id,
            ..InviteOption::default()
        })
    }

    /// Asks whether anything answers at the end of `route`: any final answer counts.
    pub(in crate::voice) async fn probe(&self, route: &Route, limit: Duration) -> bool {
        let ask = async {
            self.reach(route).await.ok()?;
            let mut tx = self.options(route).ok()?;
            tx.send().await.ok()?;
            while let Some(message) = tx.receive().await {
                if let SipMessage::Response(response) = message
                    && response.status_code.kind() != StatusCodeKind::Provisional
                {
                    return Some(!is_local(&response));
                }
            }
            None
        };
        tokio::time::timeout(limit, ask).await.ok().flatten() == Some(true)
    }

    fn options(&self, route: &Route) -> Result<Transaction, SipError> {
        let to = uri(None, route.address.into());
        self.outside(Outside {
            method: Method::Options,
            route,
            target: to.clone(),
            from: self.own.contact(route.transport),
            to,
            cseq: 1,
            call_id: None,
            headers: Vec::new(),
        })
    }

    /// A request outside a dialog, not yet sent.
    pub(super) fn outside(&self, request: Outside<'_>) -> Result<Transaction, SipError> {
        let inner = &self.endpoint.inner;
        let from = typed::From {
            display_name: None,
            uri: request.from,
            params: vec![],
        };
        let to = typed::To {
            display_name: None,
            uri: request.to,
            params: vec![],
        };
        let via = inner.get_via(Some(self.own.via(request.route.transport)), None)?;
        let mut message = inner.make_request(
            request.method,
            request.target,
            via,
            from.with_tag(make_tag()),
            to,
            request.cseq,
            request.call_id.map(Into::into),
        );
        message.headers.extend(request.headers);
        let key = TransactionKey::from_request(&message, TransactionRole::Client)?;
        let mut tx = Transaction::new_client(key, message, Arc::clone(inner), None);
        tx.destination = Some(request.route.sip_addr());
        Ok(tx)
    }

    pub(super) fn own(&self) -> &Own {
        &self.own
    }

    /// Ends when the stream to the peer does; at once if there is none, never by UDP.
    pub(in crate::voice) async fn stream_ends(&self, route: &Route) {
        match route.transport {
            Transport::Udp => std::future::pending().await,
            Transport::Tcp | Transport::Tls => self.streams.ends(route).await,
        }
    }

    /// Stops the endpoint and waits for its tasks, at most `limit`.
    pub(in crate::voice) async fn shutdown(&self, limit: Duration) {
        self.tracker.close();
        // Tasks that end on their own (BYEs under way) first, then the endpoint.
        let quiet = async {
            while self.tracker.len() > 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let quiet = tokio::time::timeout(limit, quiet).await.is_ok();
        self.cancel.cancel();
        if !quiet
            || tokio::time::timeout(limit, self.tracker.wait())
                .await
                .is_err()
        {
            tracing::warn!("SIP tasks were still running at the stop");
        }
        // A peer that does not read may hold its stream for a moment longer.
        let _ = tokio::time::timeout(limit, self.streams.closed()).await;
    }
}

/// Streams the stack opens itself, to a Contact that asks for TCP: what comes on them
/// passes the gate too, as it was read.
struct StackStreams(Arc<Guard>);

impl TransportEventInspector for StackStreams {
    fn handle<'life0, 'async_trait>(
        &'life0 self,
        event: TransportEvent,
    ) -> Pin<Box<dyn Future<Output = Option<TransportEvent>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            if let TransportEvent::Incoming(message, SipConnection::Tcp(_), from) = &event {
                let from = from.get_socketaddr().ok()?;
                if self.0.judge(&message.to_bytes(), from) != Judgement::Pass {
                    return None;
                }
            }
            Some(event)
        })
    }
}

/// `address`, with `port` if it has none.
fn with_port(address: SocketAddr, port: u16) -> SocketAddr {
    match address.port() {
        0 => SocketAddr::new(address.ip(), port),
        _ => address,
    }
}

pub(super) fn uri(user: Option<&str>, host: HostWithPort) -> Uri {
    Uri {
        scheme: Some(Scheme::Sip),
        auth: user.map(|user| Auth {
            user: user.to_owned(),
            password: None,
        }),
        host_with_port: host,
        ..Uri::default()
    }
}

/// The header field of an SDP body.
pub(super) fn sdp_type() -> Header {
    Header::ContentType(ContentType::new("application/sdp"))
}
