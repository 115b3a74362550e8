//! What a node that carries calls has beside the line: SIP, media, and those who answer.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{parts, seed};
use crate::assist::Assist;
use crate::clock::Clock;
use crate::config::Config;
use crate::desk::Desk;
use crate::dispatch::Means;
use crate::intake;
use crate::services::Services;
use crate::voice::flows::Flows;
use crate::voice::media::{Media, MediaConfig};
use crate::voice::prompts::PromptTable;
use crate::voice::{Engine, EngineConfig, EngineHandle, Incoming, Voice};

/// The running parts that carry calls.
#[derive(Clone)]
pub(super) struct Telephony {
    pub(super) engine: EngineHandle,
    pub(super) media: Media,
}

/// What calls are tied to.
pub(super) struct Ties<'a> {
    pub(super) config: &'a Arc<Config>,
    pub(super) flows: &'a Arc<Flows>,
    pub(super) prompts: &'a PromptTable,
    pub(super) desk: &'a Arc<Desk>,
    pub(super) services: &'a Arc<Services>,
    pub(super) clock: &'a Clock,
    /// Every call is a task of it.
    pub(super) calls: &'a TaskTracker,
    /// Ends calls.
    pub(super) cut: &'a CancellationToken,
}

impl Ties<'_> {
    /// Opens the SIP sockets, answers who calls, and gives what the dialler calls with.
    pub(super) async fn start(&self) -> anyhow::Result<(Telephony, Means)> {
        let media = start_media(self.config)?;
        let (voice, callers, engine) = self.engine(&media).await?;
        let assist = Assist::new(
            Arc::clone(self.desk),
            Arc::clone(self.services),
            voice.clone(),
            Some(engine.clone()),
            Arc::clone(self.config),
            self.calls.clone(),
        );
        self.calls
            .spawn(Arc::clone(&assist).keep_agents(self.cut.clone()));
        self.calls.spawn(intake::phone::serve(
            callers,
            (Arc::clone(self.desk), Arc::clone(&assist)),
            Arc::clone(self.config),
            self.clock.clone(),
            self.calls.clone(),
            self.cut.clone(),
        ));
        Ok((Telephony { engine, media }, Means { voice, assist }))
    }

    async fn engine(
        &self,
        media: &Media,
    ) -> anyhow::Result<(Voice, Receiver<Incoming>, EngineHandle)> {
        let config = self.config;
        let (open_desk, open_clock, queue) = (
            Arc::clone(self.desk),
            self.clock.clone(),
            config.default_queue().to_owned(),
        );
        let seen_desk = Arc::clone(self.desk);
        let engine = EngineConfig {
            dial: config.dial_rules(),
            voice: config.voice.clone(),
            phones: config.phone.clone(),
            trunks: config.trunk.clone(),
            language: config.site.language.clone(),
            region: config.dial.region.clone(),
            queue: config.default_queue().to_owned(),
            zone: config.site.zone.clone(),
            env: config.env(),
            recordings: config.recordings(),
            tts: (config.ivr.tts.clone(), config.spoken()),
            codecs: parts::codecs(config),
            hours: Arc::new(move || open_desk.hours(&queue, open_clock.wall())),
            queues: Arc::new(move || seen_desk.queues()),
        };
        let flows = Arc::clone(self.flows);
        Engine::start(
            engine,
            media.clone(),
            Arc::clone(self.prompts),
            Arc::new(move || flows.current()),
            self.clock.clone(),
            seed()?,
        )
        .await
        .with_context(|| format!("voice.sip_listen: {}", config.voice.sip_listen))
    }
}

fn start_media(config: &Config) -> anyhow::Result<Media> {
    let voice = &config.voice;
    let address = voice
        .public_address
        .filter(|_| voice.sip_listen.ip().is_unspecified());
    let media = Media::start(MediaConfig {
        address: address.unwrap_or_else(|| voice.sip_listen.ip()),
        ports: voice.rtp_ports.0,
        threads: voice.media_threads,
        no_rtp: voice.no_rtp_hangup.0,
    });
    media.context("voice.rtp_ports: the media threads could not start")
}
