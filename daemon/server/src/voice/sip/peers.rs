//! Which addresses are what: trunks, callers, strangers. Trunks move with DNS, so the
//! table of them is changed while it is read.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use helpline_core::sip::gate::Source;
use helpline_core::sip::network::Network;

/// The addresses we know.
#[derive(Debug, Default)]
pub(in crate::voice) struct Peers {
    /// Trunks, resolved.
    trunks: ArcSwap<Vec<TrunkPeer>>,
    /// Networks that may call besides the trunks.
    callers: Vec<Network>,
}

/// A trunk as the network sees it.
#[derive(Clone, Debug)]
pub(in crate::voice) struct TrunkPeer {
    /// Its name.
    pub(in crate::voice) name: String,
    /// Where it is now. Credentials are proven to these alone.
    pub(in crate::voice) addresses: Vec<SocketAddr>,
    /// Where it was not long ago: calls may still be up there.
    pub(in crate::voice) left: Vec<SocketAddr>,
    /// Realm its challenges must name.
    pub(in crate::voice) realm: Option<String>,
}

impl Peers {
    /// No trunks yet; `callers` may call.
    pub(in crate::voice) fn new(callers: Vec<Network>) -> Self {
        Peers {
            trunks: ArcSwap::default(),
            callers,
        }
    }

    /// Puts a trunk in place of what was known of it.
    pub(in crate::voice) fn set_trunk(&self, trunk: &TrunkPeer) {
        self.trunks.rcu(|trunks| {
            let others = trunks.iter().filter(|t| t.name != trunk.name);
            others.chain([trunk]).cloned().collect::<Vec<_>>()
        });
    }

    /// What is known of `ip`.
    pub(super) fn source(&self, ip: IpAddr) -> Source {
        let ip = ip.to_canonical();
        let is_at = |a: &SocketAddr| a.ip().to_canonical() == ip;
        let trunks = self.trunks.load();
        if trunks
            .iter()
            .any(|t| t.addresses.iter().chain(&t.left).any(is_at))
        {
            Source::Trunk
        } else if self.callers.iter().any(|n| n.contains(ip)) {
            Source::Caller
        } else {
            Source::Stranger
        }
    }

    /// The realms of the trunks that are at `ip` now; `None` within: any realm.
    pub(super) fn realms_at(&self, ip: IpAddr) -> Vec<Option<String>> {
        let ip = ip.to_canonical();
        let trunks: Arc<Vec<TrunkPeer>> = self.trunks.load_full();
        let at = trunks
            .iter()
            .filter(|t| t.addresses.iter().any(|a| a.ip().to_canonical() == ip));
        at.map(|t| t.realm.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_a_trunk_left_may_end_its_calls_but_gets_no_password() {
        let peers = Peers::new(Vec::new());
        let (now, before) = ("192.0.2.1:5060", "192.0.2.2:5060");
        let (now, before): (SocketAddr, SocketAddr) =
            (now.parse().unwrap(), before.parse().unwrap());
        let mut trunk = TrunkPeer {
            name: "a".into(),
            addresses: vec![now],
            left: vec![before],
            realm: Some("r".into()),
        };
        peers.set_trunk(&trunk);
        assert_eq!(peers.source(now.ip()), Source::Trunk);
        assert_eq!(peers.source(before.ip()), Source::Trunk);
        assert_eq!(peers.realms_at(now.ip()), [Some("r".to_owned())]);
        assert!(peers.realms_at(before.ip()).is_empty());
        trunk.left.clear();
        peers.set_trunk(&trunk);
        assert_eq!(peers.source(before.ip()), Source::Stranger);
    }
}
