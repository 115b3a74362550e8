//! Prompts: files become clips ready for the wire, once, at load. (Being written.)

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use helpline_core::audio::Clip;

/// A prompt file as found.
#[derive(Clone, Debug)]
pub struct PromptSource {
    /// Id under which flows play it: `en-US/hello.0`.
    pub id: String,
    /// File shown in errors; its ending hints at the format.
    pub name: String,
    /// Contents.
    pub bytes: Cow<'static, [u8]>,
}

/// A prompt file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct PromptFault {
    /// The file.
    pub name: String,
    /// What is wrong with it and what would be right.
    pub why: String,
}

/// All prompts, by id.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    clips: HashMap<String, Arc<Clip>>,
}

impl Prompts {
    /// Loads all files on two threads. Takes CPU: call it where blocking is allowed.
    ///
    /// # Errors
    /// Every file that cannot be used, with its reason.
    pub fn load(sources: Vec<PromptSource>) -> Result<Prompts, Vec<PromptFault>> {
        let faults: Vec<PromptFault> = sources
            .into_iter()
            .map(|s| PromptFault {
                name: s.name,
                why: "decoding is being written".into(),
            })
            .collect();
        if faults.is_empty() {
            Ok(Prompts::default())
        } else {
            Err(faults)
        }
    }

    /// The clip of an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Clip>> {
        self.clips.get(id).map(Arc::clone)
    }
}
