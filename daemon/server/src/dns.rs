//! The resolver behind every question to DNS: where a trunk is, and where a mail comes from.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// Tries of a question, per server.
const TRIES: usize = 2;

/// A resolver that asks the server at `server`, or those of the system; one try of a question may
/// take `limit`. So many answers are kept for their time to live.
///
/// # Errors
/// The system names no server, or its configuration cannot be read.
pub(crate) fn resolver(
    server: Option<SocketAddr>,
    limit: Duration,
    answers_kept: u64,
) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        Some(address) => {
            let mut ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for way in &mut ways {
                way.port = address.port();
            }
            let server = NameServerConfig::new(address.ip(), true, ways.to_vec());
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => TokioResolver::builder_tokio()?,
    };
    let options = builder.options_mut();
    options.timeout = limit;
    options.attempts = TRIES;
    options.cache_size = answers_kept;
    builder.build()
}
