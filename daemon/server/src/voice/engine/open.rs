//! What an engine is made of: read from the configuration before it serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::rng::Rng;
use helpline_core::sip::digest::Algorithm;
use helpline_core::sip::guard::{Guard, Ha1};
use helpline_core::sip::network::Network;
use helpline_core::sip::timer::{self, Limits};

use super::{EngineConfig, EngineError, Shared};
use crate::clock::Clock;
use crate::config;
use crate::voice::registrar::Registrar;
use crate::voice::sip::{Listen, Peers, Phones, REALM, tls_server};
use crate::voice::trunk::Watch;

pub(super) fn limits(session_expires: Duration) -> Limits {
    let expires = u32::try_from(session_expires.as_secs()).unwrap_or(u32::MAX);
    Limits {
        expires,
        // The check of the configuration allows no less; tests have no minutes to wait.
        least: timer::MIN_SE.min(expires),
    }
}

/// Reads the passwords; they are kept as hashes only.
pub(super) fn open_phones(
    config: &EngineConfig,
    clock: &Clock,
    rng: &mut Rng,
) -> Result<Option<Arc<Phones>>, EngineError> {
    if config.phones.is_empty() {
        return Ok(None);
    }
    let mut accounts = BTreeMap::new();
    for phone in &config.phones {
        let name = &phone.username;
        let password = config::read_secret(&phone.password_file)
            .map_err(|e| EngineError::Phone(name.clone(), e.to_string()))?;
        let ha1 = Ha1::new(name, REALM, password.trim_end_matches(['\r', '\n']));
        accounts.insert(name.clone(), ha1);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| EngineError::Sip(e.to_string()))?;
    let offered = match config.voice.phone_digest {
        config::PhoneDigest::Md5 => vec![Algorithm::Md5],
        config::PhoneDigest::Sha256 => vec![Algorithm::Sha256],
        config::PhoneDigest::Both => vec![Algorithm::Sha256, Algorithm::Md5],
    };
    let guard = Guard::new(REALM, key, offered);
    let phones = Phones::new(accounts, guard, clock.clone(), rng.derive(4));
    Ok(Some(Arc::new(phones)))
}

pub(super) fn peers(config: &EngineConfig) -> Result<Peers, EngineError> {
    let networks = config.voice.inbound_from.iter();
    let callers = networks
        .map(|text| Network::parse(text).ok_or_else(|| EngineError::Network(text.clone())))
        .collect::<Result<_, _>>()?;
    Ok(Peers::new(callers))
}

pub(super) fn sockets(config: &config::Voice) -> Result<Listen, EngineError> {
    let tls = match (
        config.sip_tls_listen,
        &config.tls_cert_file,
        &config.tls_key_file,
    ) {
        (None, ..) => None,
        (Some(address), Some(chain), Some(key)) => {
            let server = tls_server(chain, key).map_err(|e| EngineError::Tls(e.to_string()))?;
            Some((address, server))
        }
        (Some(_), ..) => {
            let why = "voice.sip_tls_listen needs tls_cert_file and tls_key_file";
            return Err(EngineError::Tls(why.into()));
        }
    };
    Ok(Listen {
        udp: config.sip_listen,
        tcp: config.sip_tcp_listen,
        tls,
    })
}

/// Finds all trunks, at once because DNS may be slow, and goes on to watch them.
pub(super) async fn find_and_watch(shared: &Arc<Shared>, watch: &Arc<Watch>) {
    let mut finding = tokio::task::JoinSet::new();
    for trunk in shared.trunks.values() {
        let (trunk, watch) = (Arc::clone(trunk), Arc::clone(watch));
        let stop = shared.quit.clone();
        finding.spawn(async move {
            let again = trunk.find(&watch).await;
            tokio::spawn(trunk.watch(watch, again, stop));
        });
    }
    finding.join_all().await;
}

/// Registers at the trunks that want it.
pub(super) fn register(shared: &Arc<Shared>, rng: &mut Rng) {
    for config in shared.config.trunks.iter().filter(|t| t.register) {
        let registrar = shared.trunks.get(&config.name).and_then(|trunk| {
            let (trunk, stack) = (Arc::clone(trunk), Arc::clone(&shared.stack));
            let clock = shared.clock.clone();
            Registrar::new(
                trunk,
                stack,
                clock,
                config.register_expires.0,
                rng.derive(4),
            )
        });
        if let Some(registrar) = registrar {
            let leave = shared.leave.clone();
            shared.registrations.spawn(registrar.run(leave));
        }
    }
}
