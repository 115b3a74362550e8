//! A stored call, read from the lines of its trace, and what comes of it when it is run again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{BEGAN, Began, CAME, Came, replay};
use crate::ivr::flow::FlowSet;
use crate::ivr::golden::Recorded;
use crate::ivr::io::TraceLine;
use crate::ivr::machine::StartError;

/// What is stored of a call.
#[derive(Clone, Debug)]
pub struct Past {
    /// The flow it began with.
    pub flow: String,
    /// The revision of the flows it ran.
    pub revision: String,
    /// What came of it.
    pub trace: Vec<Recorded>,
    began: Began,
    came: Vec<Came>,
}

/// A call that was run again.
#[derive(Clone, Debug)]
pub struct Again {
    /// What comes of it now, with the time since the answer.
    pub trace: Vec<(Duration, TraceLine)>,
    /// So many lines at the start are as they were.
    pub alike: usize,
    /// It departs from what is stored.
    pub departs: bool,
    /// It departs behind something that was not stored whole, which may be why.
    pub excused: bool,
}

impl Past {
    /// Reads the lines of one call's trace.
    ///
    /// # Errors
    /// What is missing or cannot be read.
    pub fn read(lines: &[Recorded]) -> Result<Past, String> {
        let first = lines.first().ok_or("nothing is stored of this call")?;
        let began = lines.iter().find(|line| line.kind == BEGAN);
        let began = began
            .ok_or("what came in on this call was not stored: it is older than this version")?;
        let began = serde_json::from_str(&began.data);
        let came = lines.iter().filter(|line| line.kind == CAME);
        let came: Result<_, _> = came.map(|line| serde_json::from_str(&line.data)).collect();
        let revision = lines.iter().find(|line| line.kind == "begin");
        let revision = revision.and_then(|line| line.data.strip_prefix("revision "));
        // What could not be played is told by the call, in no flow's name.
        let told = |line: &&Recorded| {
            ![BEGAN, CAME, "begin"].contains(&line.kind.as_str()) && !line.flow.is_empty()
        };
        Ok(Past {
            flow: first.flow.clone(),
            revision: revision.unwrap_or_default().to_owned(),
            began: began.map_err(|e| format!("how this call began cannot be read: {e}"))?,
            came: came.map_err(|e| format!("a line of what came in cannot be read: {e}"))?,
            trace: lines.iter().filter(told).cloned().collect(),
        })
    }

    /// Milliseconds after the answer at which something first came that is not stored whole.
    #[must_use]
    pub fn withheld_at(&self) -> Option<u64> {
        if self.began.withheld {
            return Some(0);
        }
        let first = self.came.iter().find(|came| came.withheld);
        first.map(|came| came.us / 1_000)
    }

    /// Runs it on these flows.
    ///
    /// # Errors
    /// The flow is unknown or the input does not fit it.
    pub fn again(
        &self,
        set: Arc<FlowSet>,
        env: BTreeMap<String, String>,
    ) -> Result<Again, StartError> {
        let start = self.began.clone().start(&self.flow, env);
        let trace = replay(set, start, self.came.clone())?;
        let both = self.trace.iter().zip(&trace);
        let alike = both.take_while(|(was, (_, now))| is_same(was, now)).count();
        let departed_at = match (self.trace.get(alike), trace.get(alike)) {
            (Some(was), _) => Some(was.at_ms),
            (None, Some((at, _))) => u64::try_from(at.as_millis()).ok(),
            (None, None) => None,
        };
        let excused = departed_at
            .zip(self.withheld_at())
            .is_some_and(|(departed, withheld)| departed >= withheld);
        Ok(Again {
            trace,
            alike,
            departs: departed_at.is_some(),
            excused,
        })
    }
}

/// Times are those of the one who wrote them down; the rest must be the same.
fn is_same(was: &Recorded, now: &TraceLine) -> bool {
    was.flow == now.flow && was.node == now.node && was.kind == now.kind && was.data == now.data
}
