//! What an operator may write besides the configuration: flows, prompts, templates.
//! The same check stands behind `helpline check` and the start.

use std::sync::Arc;

use arc_swap::ArcSwap;
use helpline_core::audio::codec::Codec;
use helpline_core::ivr::flow::FlowSet;

use crate::config::{CodecName, Config};
use crate::notify::template::Templates;
use crate::voice::flows::{Flows, Setting};
use crate::voice::prompts::{PromptTable, Prompts};

/// Everything read from files, checked together.
pub struct Parts {
    /// Flows and what they say.
    pub flows: Arc<Flows>,
    /// Prompts, decoded and encoded for the wire.
    pub prompts: PromptTable,
    /// Templates of mail.
    pub templates: Templates,
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

/// Reads flows and prompts anew, off the event loop. New calls take the new ones, calls
/// under way keep what they have.
///
/// # Errors
/// One line a fault: nothing has changed.
pub(super) fn reload(
    config: &Config,
    flows: &Flows,
    prompts: &PromptTable,
) -> Result<(), Vec<String>> {
    flows.reload(|set, sources| {
        let mut faults = missing_flows(config, set);
        if faults.is_empty() && prompts.load().are_of(&sources) {
            return Ok(());
        }
        match Prompts::load(sources, &codecs(config)) {
            Ok(fresh) if faults.is_empty() => {
                tracing::info!(
                    prompts = fresh.len(),
                    bytes = fresh.cache_bytes(),
                    "prompts are reloaded"
                );
                prompts.store(Arc::new(fresh));
                return Ok(());
            }
            Ok(_) => {}
            Err(found) => faults.extend(found.iter().map(ToString::to_string)),
        }
        Err(faults)
    })
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
    if let Ok(flows) = &flows {
        faults.extend(missing_flows(config, &flows.current()));
    }
    match (flows, prompts, templates) {
        (Ok(flows), Ok(prompts), Ok(templates)) if faults.is_empty() => Ok(Parts {
            flows: Arc::new(flows),
            prompts: Arc::new(ArcSwap::from_pointee(prompts)),
            templates,
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
