//! Where a peer is, as an operator writes it.

use std::net::{IpAddr, SocketAddr};

/// The target of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `192.0.2.1:5060`: no DNS is asked.
    Address(SocketAddr),
    /// `sip.example:5060`: A and AAAA.
    Host(String, u16),
    /// `example`: SRV, else A and AAAA with the usual port.
    Domain(String),
}

impl Place {
    /// Reads `address:port`, `address`, `host:port` or `domain`. `None` if it is none.
    #[must_use]
    pub fn parse(target: &str, usual_port: u16) -> Option<Place> {
        if let Ok(address) = target.parse::<SocketAddr>() {
            return Some(Place::Address(address));
        }
        let bare = target.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Some(Place::Address(SocketAddr::new(ip, usual_port)));
        }
        let is_name = |host: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            !host.is_empty() && host.len() <= 253 && host.chars().all(good)
        };
        match target.rsplit_once(':') {
            Some((host, port)) => {
                let port: u16 = port.parse().ok().filter(|p| *p > 0)?;
                is_name(host).then(|| Place::Host(host.to_owned(), port))
            }
            None => is_name(target).then(|| Place::Domain(target.to_owned())),
        }
    }

    /// Host part of the trunk's URIs; the port is part of it unless it is the usual one.
    #[must_use]
    pub fn uri_host(&self, usual_port: u16) -> String {
        match self {
            Place::Address(address) if address.port() != usual_port => address.to_string(),
            Place::Address(SocketAddr::V6(address)) => format!("[{}]", address.ip()),
            Place::Address(address) => address.ip().to_string(),
            Place::Host(host, port) if *port != usual_port => format!("{host}:{port}"),
            Place::Host(host, _) | Place::Domain(host) => host.clone(),
        }
    }

    /// The name a certificate has to hold (RFC 5922 section 7.1).
    #[must_use]
    pub fn identity(&self) -> String {
        match self {
            Place::Address(address) => address.ip().to_string(),
            Place::Host(host, _) | Place::Domain(host) => host.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_a_host_or_a_domain() {
        let (udp, tls) = (5060, 5061);
        let v4 = |t: &str| Place::Address(t.parse().unwrap());
        for (target, usual, place, host) in [
            (
                "192.0.2.1:5070",
                udp,
                v4("192.0.2.1:5070"),
                "192.0.2.1:5070",
            ),
            ("192.0.2.1", tls, v4("192.0.2.1:5061"), "192.0.2.1"),
            (
                "[2001:db8::1]:5060",
                udp,
                v4("[2001:db8::1]:5060"),
                "[2001:db8::1]",
            ),
            (
                "[2001:db8::1]",
                udp,
                v4("[2001:db8::1]:5060"),
                "[2001:db8::1]",
            ),
            (
                "sip.example:5080",
                udp,
                Place::Host("sip.example".into(), 5080),
                "sip.example:5080",
            ),
            (
                "sip.example:5060",
                udp,
                Place::Host("sip.example".into(), 5060),
                "sip.example",
            ),
            (
                "carrier.example",
                tls,
                Place::Domain("carrier.example".into()),
                "carrier.example",
            ),
        ] {
            let parsed = Place::parse(target, usual);
            assert_eq!(parsed.as_ref(), Some(&place), "{target}");
            assert_eq!(place.uri_host(usual), host);
        }
        for wrong in [
            "",
            "a b",
            "host:",
            "host:0",
            "host:99999",
            "sip:x@y",
            "ü.example",
        ] {
            assert_eq!(Place::parse(wrong, udp), None, "{wrong}");
        }
    }
}
