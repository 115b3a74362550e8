//! How a request travels: the transport, the address, and for TLS whom we trust.

use std::net::SocketAddr;
use std::sync::Arc;

use rsipstack::sip::headers::untyped::Route as RouteField;
use rsipstack::sip::{Header, Request};
use rsipstack::transport::SipAddr;

use crate::config::TransportName;
use crate::tls::TlsClient;

/// Marks a Route that is for the stack alone.
const MARK: &str = "x-helpline-way";

/// A transport of SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::voice) enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream.
    Tls,
}

impl Transport {
    /// The usual port (RFC 3261 section 19.1.2).
    pub(in crate::voice) fn port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }

    /// The SRV prefix (RFC 3263 section 4.1).
    pub(in crate::voice) fn service(self) -> &'static str {
        match self {
            Transport::Udp => "_sip._udp",
            Transport::Tcp => "_sip._tcp",
            Transport::Tls => "_sips._tcp",
        }
    }

    pub(super) fn of_stack(self) -> rsipstack::sip::Transport {
        match self {
            Transport::Udp => rsipstack::sip::Transport::Udp,
            Transport::Tcp => rsipstack::sip::Transport::Tcp,
            Transport::Tls => rsipstack::sip::Transport::Tls,
        }
    }
}

impl From<TransportName> for Transport {
    fn from(name: TransportName) -> Self {
        match name {
            TransportName::Udp => Transport::Udp,
            TransportName::Tcp => Transport::Tcp,
            TransportName::Tls => Transport::Tls,
        }
    }
}

/// The way to a peer.
#[derive(Clone, Debug)]
pub(in crate::voice) struct Route {
    /// Transport.
    pub(in crate::voice) transport: Transport,
    /// Address and port.
    pub(in crate::voice) address: SocketAddr,
    /// With TLS: whom we trust, and what the certificate must name.
    pub(in crate::voice) tls: Option<Arc<TlsClient>>,
}

impl Route {
    /// By datagrams.
    pub(in crate::voice) fn udp(address: SocketAddr) -> Route {
        Route {
            transport: Transport::Udp,
            address,
            tls: None,
        }
    }

    pub(super) fn sip_addr(&self) -> SipAddr {
        SipAddr::new(self.transport.of_stack(), self.address.into())
    }

    /// The way as a Route within the stack, never on the wire ([`unmark`]). The stack
    /// sends a CANCEL to where its Request-URI resolves to; the Route, copied from the
    /// INVITE, makes that the target of the INVITE (RFC 3261 section 9.1).
    pub(super) fn mark(&self) -> Header {
        let (address, transport) = (self.address, self.transport.of_stack());
        let transport = transport.to_string().to_ascii_lowercase();
        let way = format!("<sip:{address};transport={transport};lr;{MARK}>");
        Header::Route(RouteField::new(way))
    }
}

/// Takes the stack's own Route out of a request that leaves.
pub(super) fn unmark(request: &mut Request) {
    request
        .headers
        .retain(|h| !matches!(h, Header::Route(route) if route.value().contains(MARK)));
}
