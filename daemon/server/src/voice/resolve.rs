//! Where a trunk is, by DNS: SRV, else A and AAAA (RFC 3263 section 4.2), with the time
//! the answer holds.

use std::net::SocketAddr;
use std::time::Duration;

use helpline_core::sip::place::Place;
use helpline_core::sip::targets::{TARGETS_MAX, Target};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, Record};

use super::sip::Transport;
use crate::dns;

/// How long one question to a DNS server may take.
const QUERY_LIMIT: Duration = Duration::from_secs(2);
/// An answer is held so long at least and at most, whatever its time to live.
const HELD: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3_600));
/// SRV records looked at.
const SERVICES_MAX: usize = 16;

/// Why a place could not be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// DNS did not answer, or answered with a failure.
    #[error("DNS: {0}")]
    Dns(Box<NetError>),
    /// DNS answered, and there is nothing.
    #[error("DNS knows no usable address of {0}")]
    Nothing(String),
}

/// Asks DNS.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    dns: TokioResolver,
}

impl Resolver {
    /// Asks the server at `dns`, or those of the system.
    pub(super) fn new(dns: Option<SocketAddr>) -> Result<Resolver, ResolveError> {
        // What is learnt is kept by the trunk for its time; a second store would double it.
        let dns = dns::resolver(dns, QUERY_LIMIT, 0);
        let dns = dns.map_err(|e| ResolveError::Dns(Box::new(e)))?;
        Ok(Resolver { dns })
    }

    /// The targets of `place` and how long they hold. Only addresses of the family of
    /// our own socket can be reached.
    pub(super) async fn resolve(
        &self,
        place: &Place,
        transport: Transport,
        ipv4: bool,
    ) -> Result<(Vec<Target>, Duration), ResolveError> {
        let (mut found, ttl) = match place {
            Place::Address(address) => {
                let one = Target {
                    address: *address,
                    priority: 0,
                    weight: 0,
                };
                (vec![one], HELD.1)
            }
            Place::Host(host, port) => self.host(host, *port, (0, 0)).await?,
            Place::Domain(domain) => match self.services(domain, transport).await? {
                Some(found) => found,
                None => self.host(domain, transport.port(), (0, 0)).await?,
            },
        };
        found.retain(|t| t.address.is_ipv4() == ipv4);
        found.truncate(TARGETS_MAX);
        if found.is_empty() {
            return Err(ResolveError::Nothing(place.identity()));
        }
        Ok((found, ttl.clamp(HELD.0, HELD.1)))
    }

    /// What the SRV records of `domain` say; `None` if there are none.
    async fn services(
        &self,
        domain: &str,
        transport: Transport,
    ) -> Result<Option<(Vec<Target>, Duration)>, ResolveError> {
        let name = format!("{}.{}.", transport.service(), domain.trim_end_matches('.'));
        let answer = match self.dns.srv_lookup(name).await {
            Ok(answer) => answer,
            Err(error) if error.is_no_records_found() => return Ok(None),
            Err(error) => return Err(ResolveError::Dns(Box::new(error))),
        };
        let mut ttl = HELD.1;
        let mut found = Vec::new();
        let mut failure = None;
        for record in answer.answers().iter().take(SERVICES_MAX) {
            let RData::SRV(srv) = &record.data else {
                continue;
            };
            ttl = ttl.min(life(record));
            // A single dot: the service is decidedly not there (RFC 2782).
            if srv.target.is_root() {
                continue;
            }
            let host = srv.target.to_utf8();
            match self.host(&host, srv.port, (srv.priority, srv.weight)).await {
                Ok((targets, life)) => {
                    ttl = ttl.min(life);
                    found.extend(targets);
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            // One host of several may be missing; none at all is a failure.
            Some(error) if found.is_empty() => Err(error),
            Some(_) => Ok(Some((found, HELD.0))),
            None => Ok(Some((found, ttl))),
        }
    }

    /// The addresses of a host.
    async fn host(
        &self,
        host: &str,
        port: u16,
        (priority, weight): (u16, u16),
    ) -> Result<(Vec<Target>, Duration), ResolveError> {
        let answer = match self.dns.lookup_ip(host).await {
            Ok(answer) => answer,
            Err(error) if error.is_no_records_found() => {
                return Err(ResolveError::Nothing(host.to_owned()));
            }
            Err(error) => return Err(ResolveError::Dns(Box::new(error))),
        };
        let records = answer.as_lookup().answers();
        let ttl = records.iter().map(life).min().unwrap_or(HELD.0);
        let targets = answer.iter().map(|ip| Target {
            address: SocketAddr::new(ip, port),
            priority,
            weight,
        });
        Ok((targets.collect(), ttl))
    }
}

fn life(record: &Record) -> Duration {
    Duration::from_secs(u64::from(record.ttl))
}
