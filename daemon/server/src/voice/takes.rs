//! What callers say is taken down into files: for messages, and to hear it again.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::audio::Clip;
use helpline_core::audio::codec::Codec;
use helpline_core::ivr::io::{Input, OpId, RecordOrder, Take, TakeEnd};
use sha2::{Digest as _, Sha256};

use super::media::{Media, RecordEnd, RecordPlan, Samples, Sides};
use super::prompts::{PromptSource, Prompts};
use crate::config::take_path;

/// The recordings of one call.
#[derive(Clone, Debug)]
pub(super) struct Takes {
    folder: PathBuf,
    media: Media,
    codecs: Vec<Codec>,
    /// Begins the names of this call's files.
    call: String,
}

/// A recording that is being made.
#[derive(Debug)]
pub(super) struct Taking {
    pub(super) op: OpId,
    id: String,
    path: PathBuf,
    silence: Duration,
}

impl Takes {
    pub(super) fn new(folder: PathBuf, media: Media, codecs: Vec<Codec>, call_id: &str) -> Takes {
        // A Call-ID is written by strangers, a file name is not.
        let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(call_id));
        Takes {
            folder,
            media,
            codecs,
            call: hash.chars().take(32).collect(),
        }
    }

    /// The recording with this number.
    pub(super) fn begin(&self, op: OpId, order: &RecordOrder) -> Taking {
        let id = format!("{}-{}", self.call, op.0);
        Taking {
            op,
            path: take_path(&self.folder, &id),
            id,
            silence: order.silence,
        }
    }

    /// A recording of this call, to be heard in it.
    pub(super) async fn clip(&self, id: &str) -> Option<Arc<Clip>> {
        let this = self.clone();
        let id = id.to_owned();
        let load = move || {
            this.media.flush_recordings();
            let path = take_path(&this.folder, &id);
            let bytes = match std::fs::read(path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!(%error, take = id, "a recording cannot be read");
                    return None;
                }
            };
            let source = PromptSource {
                id: id.clone(),
                name: format!("{id}.wav"),
                bytes: Cow::Owned(bytes),
            };
            match Prompts::load(vec![source], &this.codecs) {
                Ok(prompts) => prompts.get(&id),
                Err(faults) => {
                    let fault = faults.first().map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(fault, take = id, "a recording cannot be played");
                    None
                }
            }
        };
        tokio::task::spawn_blocking(load).await.ok().flatten()
    }
}

impl Taking {
    /// How it is recorded: what the line carries of the caller alone.
    pub(super) fn plan(&self, order: &RecordOrder) -> RecordPlan {
        RecordPlan {
            op: self.op.0,
            path: self.path.clone(),
            sides: Sides::Theirs,
            samples: Samples::MuLaw,
            limit: Some(order.max),
            finish: order.finish_keys.clone(),
            silence: Some(order.silence),
            announced_by: None,
        }
    }

    /// What the flow hears of its end; `None`: the call ended first.
    pub(super) fn ended(self, why: Option<RecordEnd>, length: Duration) -> Input {
        let (end, length) = match why {
            None => (TakeEnd::HungUp, length),
            Some(RecordEnd::Key(_)) => (TakeEnd::Key, length),
            Some(RecordEnd::Limit) => (TakeEnd::Limit, length),
            // The silence that ended it is in the file, but is no part of the message.
            Some(RecordEnd::Silence) => (TakeEnd::Silence, length.saturating_sub(self.silence)),
            Some(RecordEnd::Stopped | RecordEnd::Unannounced) => (TakeEnd::Failed, length),
        };
        let id = self.id;
        Input::Recorded(self.op, Take { id, length, end })
    }
}
