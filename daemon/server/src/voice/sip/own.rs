//! Our own addresses, one a transport, as peers learn them from Via and Contact.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rsipstack::sip::prelude::{HeadersExt, ToTypedHeader};
use rsipstack::sip::{Param, Request, Uri};
use rsipstack::transport::SipAddr;

use super::route::Transport;
use super::stack::{Listen, SipError, uri};
use super::streams::Streams;

/// Our addresses. Those of streams are known once they are bound.
#[derive(Clone, Debug)]
pub(super) struct Own {
    udp: SocketAddr,
    streams: Arc<OnceLock<[Option<SocketAddr>; 2]>>,
}

impl Own {
    /// `public` is where datagrams reach us.
    pub(super) fn new(public: SocketAddr) -> Self {
        Own {
            udp: public,
            streams: Arc::default(),
        }
    }

    /// Opens the listeners for streams, and remembers their ports.
    pub(super) fn listen(&self, streams: &Arc<Streams>, listen: &Listen) -> Result<(), SipError> {
        let public = |bound: SocketAddr| SocketAddr::new(self.udp.ip(), bound.port());
        let mut bound = [None; 2];
        if let Some(address) = listen.tcp {
            let at = streams.listen(address, None);
            bound[0] = Some(public(at.map_err(|e| SipError::Bind(address, e))?));
        }
        if let Some((address, tls)) = &listen.tls {
            let at = streams.listen(*address, Some(Arc::clone(tls)));
            bound[1] = Some(public(at.map_err(|e| SipError::Bind(*address, e))?));
        }
        // Set once, here.
        let _ = self.streams.set(bound);
        Ok(())
    }

    /// Where peers can open streams of this transport.
    pub(super) fn stream(&self, transport: Transport) -> Option<SocketAddr> {
        let [tcp, tls] = self.streams.get().copied().unwrap_or_default();
        match transport {
            Transport::Udp => None,
            Transport::Tcp => tcp,
            Transport::Tls => tls,
        }
    }

    /// Without a listener of its own a stream transport names the UDP port: answers and
    /// requests come on the stream we opened (RFC 5923).
    fn address(&self, transport: Transport) -> SocketAddr {
        self.stream(transport).unwrap_or(self.udp)
    }

    /// For a Via.
    pub(super) fn via(&self, transport: Transport) -> SipAddr {
        SipAddr::new(transport.of_stack(), self.address(transport).into())
    }

    /// For a Contact.
    pub(super) fn contact(&self, transport: Transport) -> Uri {
        let mut contact = uri(Some("helpline"), self.address(transport).into());
        if transport != Transport::Udp {
            contact.params.push(Param::Transport(transport.of_stack()));
        }
        contact
    }

    /// The stack knows the UDP socket alone and writes its port into every Via. The
    /// branch stays, so the transaction is the same.
    pub(super) fn put_into_via(&self, request: &mut Request) {
        let Ok(via) = request.via_header_mut() else {
            return;
        };
        // A Via that cannot be read was not written by us: it is left as it is.
        let _ = via.update_first_value(|first| {
            let mut typed = first.typed()?;
            let address = match typed.transport {
                rsipstack::sip::Transport::Tcp => self.stream(Transport::Tcp),
                rsipstack::sip::Transport::Tls => self.stream(Transport::Tls),
                _ => None,
            };
            let Some(address) = address else {
                return Ok(first);
            };
            typed.uri.host_with_port = address.into();
            Ok(typed.into())
        });
    }
}
