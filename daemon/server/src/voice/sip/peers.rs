//! Which addresses are what: trunks, callers, strangers.

use std::net::{IpAddr, SocketAddr};

use helpline_core::sip::gate::Source;
use helpline_core::sip::network::Network;

/// The addresses we know.
#[derive(Clone, Debug, Default)]
pub(in crate::voice) struct Peers {
    /// Trunks, resolved.
    pub(in crate::voice) trunks: Vec<TrunkPeer>,
    /// Networks that may call besides the trunks.
    pub(in crate::voice) callers: Vec<Network>,
}

/// A trunk as the network sees it.
#[derive(Clone, Debug)]
pub(in crate::voice) struct TrunkPeer {
    /// Where it is.
    pub(in crate::voice) address: SocketAddr,
    /// Realm its challenges must name.
    pub(in crate::voice) realm: Option<String>,
}

impl Peers {
    /// What is known of `ip`.
    pub(super) fn source(&self, ip: IpAddr) -> Source {
        let ip = ip.to_canonical();
        if self
            .trunks
            .iter()
            .any(|t| t.address.ip().to_canonical() == ip)
        {
            Source::Trunk
        } else if self.callers.iter().any(|n| n.contains(ip)) {
            Source::Caller
        } else {
            Source::Stranger
        }
    }

    /// The trunks at `ip`.
    pub(super) fn trunks_at(&self, ip: IpAddr) -> impl Iterator<Item = &TrunkPeer> {
        let ip = ip.to_canonical();
        self.trunks
            .iter()
            .filter(move |t| t.address.ip().to_canonical() == ip)
    }
}
