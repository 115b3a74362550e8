//! What an operator may write besides the configuration: flows, prompts, templates,
//! customers.
//! The same check stands behind `helpline check` and the start.

use std::sync::Arc;

use arc_swap::ArcSwap;
use helpline_core::audio::codec::Codec;
use helpline_core::ivr::flow::FlowSet;

use crate::config::{CodecName, Config};
use crate::desk::Desk;
use crate::desk::customers::Customers;
use crate::notify::dkim::Signer;
use crate::notify::template::Templates;
use crate::voice::flows::{Flows, Setting};
use crate::voice::prompts::{PromptSource, PromptTable, Prompts};

/// Everything read from files, checked together.
pub struct Parts {
    /// Flows and what they say.
    pub flows: Arc<Flows>,
    /// Prompts, decoded and encoded for the wire.
    pub prompts: PromptTable,
    /// Templates of mail.
    pub templates: Templates,
    /// The operator's table of customers.
    pub customers: Customers,
}

impl Parts {
    /// Reads and checks everything, off the event loop.
    ///
    /// # Errors
    /// One line a fault.
    pub async fn load(config: &Arc<Config>) -> anyhow::Result<Parts> {
        let config = Arc::clone(config);
        let loaded = tokio::task::spawn_blocking(move || read(&config)).await?;
        loaded.map_err(|faults| {
            anyhow::anyhow!(
                "{} fault{}:\n{}",
                faults.len(),
                if faults.len() == 1 { "" } else { "s" },
                faults.join("\n")
            )
        })
    }
}

/// Every fault of flows, prompts and templates, one line each.
#[must_use]
pub fn check(config: &Config) -> Vec<String> {
    read(config).err().unwrap_or_default()
}

/// Reads flows, prompts and customers anew, off the event loop. New calls take the new ones, calls
/// under way keep what they have.
///
/// # Errors
/// One line a fault: nothing has changed.
pub(super) fn reload(
    config: &Config,
    flows: &Flows,
    prompts: &PromptTable,
    desk: &Desk,
) -> Result<(), Vec<String>> {
    flows.reload(|set, sources| {
        let mut faults = missing_flows(config, set);
        let customers = Customers::load(config).map_err(|found| faults.extend(found));
        let fresh = reload_prompts(config, prompts, sources).map_err(|found| faults.extend(found));
        let (Ok(customers), Ok(fresh)) = (customers, fresh) else {
            return Err(faults);
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        if let Some(fresh) = fresh {
            prompts.store(fresh);
        }
        desk.know(customers);
        Ok(())
    })
}

/// Recordings that differ from those in use.
fn reload_prompts(
    config: &Config,
    prompts: &PromptTable,
    sources: Vec<PromptSource>,
) -> Result<Option<Arc<Prompts>>, Vec<String>> {
    if prompts.load().are_of(&sources) {
        return Ok(None);
    }
    let fresh = Prompts::load(sources, &codecs(config));
    let fresh = fresh.map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    tracing::info!(
        prompts = fresh.len(),
        bytes = fresh.cache_bytes(),
        "prompts are reloaded"
    );
    Ok(Some(Arc::new(fresh)))
}

fn read(config: &Config) -> Result<Parts, Vec<String>> {
    let mut faults = Vec::new();
    let flows = Flows::load(&Setting::of(config)).map_err(|found| faults.extend(found));
    let sources = flows
        .as_ref()
        .map(Flows::prompt_sources)
        .unwrap_or_default();
    let prompts = Prompts::load(sources, &codecs(config))
        .map_err(|found| faults.extend(found.iter().map(ToString::to_string)));
    let templates = Templates::load(config.mail.templates.as_deref())
        .map_err(|error| faults.push(format!("{error:#}")));
    let signer = Signer::open(config).map_err(|error| faults.push(format!("{error:#}")));
    if let Ok(Some(signer)) = signer {
        tracing::info!(record = signer.record(), "mail is signed");
    }
    if let Ok(flows) = &flows {
        faults.extend(missing_flows(config, &flows.current()));
    }
    let customers = Customers::load(config).map_err(|found| faults.extend(found));
    match (flows, prompts, templates, customers) {
        (Ok(flows), Ok(prompts), Ok(templates), Ok(customers)) if faults.is_empty() => Ok(Parts {
            flows: Arc::new(flows),
            prompts: Arc::new(ArcSwap::from_pointee(prompts)),
            templates,
            customers,
        }),
        _ => Err(faults),
    }
}

/// Codecs of the trunks for which prompts are encoded besides G.711.
pub(super) fn codecs(config: &Config) -> Vec<Codec> {
    let spoken = |name| config.trunk.iter().any(|t| t.codecs.contains(&name));
    let known = [
        (CodecName::G722, Codec::G722),
        (CodecName::Opus, Codec::Opus),
    ];
    let spoken = known.into_iter().filter(|(name, _)| spoken(*name));
    spoken.map(|(_, codec)| codec).collect()
}

/// Flows that the configuration names and nobody wrote.
fn missing_flows(config: &Config, flows: &FlowSet) -> Vec<String> {
    let known: Vec<String> = flows.names().map(|name| name.to_string()).collect();
    let mut named = vec![("voice.inbound_flow".to_owned(), &config.voice.inbound_flow)];
    for queue in &config.queue {
        named.push((
            format!("queue {:?} confirm_flow", queue.name),
            &queue.confirm_flow,
        ));
        named.push((
            format!("queue {:?} help_flow", queue.name),
            &queue.help_flow,
        ));
    }
    named
        .into_iter()
        .filter(|(_, name)| !known.contains(name))
        .map(|(key, name)| {
            format!(
                "{key}: there is no flow {name:?}; known are {}",
                known.join(", ")
            )
        })
        .collect()
}
