//! The file of a golden test, `FLOW.CASE.test.yaml`, under the strict YAML of flows.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::ivr::fault::{Fault, Severity};
use crate::ivr::flow::Source;
use crate::ivr::raw::{self, At};
use crate::ivr::read;

/// A golden test.
#[derive(Clone, Debug)]
pub struct GoldenTest {
    /// File as it was named.
    pub file: String,
    /// Flow under test.
    pub flow: String,
    pub(super) given: Given,
    pub(super) steps: Vec<At<Step>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    flow: String,
    #[serde(default)]
    given: Given,
    steps: Vec<At<Step>>,
}

/// The world around the call.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Given {
    /// Values of the flow's `input`; text such as `-7m` is that long ago.
    pub(super) input: serde_json::Map<String, serde_json::Value>,
    pub(super) call: GivenCall,
    /// `calendar.open`.
    pub(super) open: Option<bool>,
    /// Language of the customer.
    pub(super) lang: Option<String>,
    /// The flow that is the help channel, for the event `answered`.
    pub(super) help: Option<String>,
    /// What becomes of a call-back order.
    pub(super) callback: GivenCallback,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GivenCall {
    /// The caller's number; absent: withheld.
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum GivenCallback {
    #[default]
    Done,
    BadNumber,
    Full,
    /// The store cannot answer.
    Failed,
}

/// One step: exactly one of its verbs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Step {
    pub(super) expect: Option<Expect>,
    /// Keys, one after another.
    pub(super) press: Option<String>,
    /// A length of time, or `quiet`: until nothing is spoken.
    pub(super) wait: Option<String>,
    pub(super) event: Option<Happens>,
    pub(super) hangup: Option<bool>,
}

/// What may happen to a call that waits in line.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Happens {
    Answered,
    NoAgents,
    Full,
}

/// What must hold at one moment within `within`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expect {
    /// Part of the words begun since the last `expect`.
    pub(super) said: Option<String>,
    /// No part of them.
    pub(super) not_said: Option<String>,
    /// The node the call is in.
    pub(super) node: Option<String>,
    /// Kinds of trace lines since the last `expect`, each with a part of its words.
    pub(super) does: BTreeMap<String, String>,
    /// Q.850 cause the call ended with.
    pub(super) end: Option<u8>,
    /// Nodes entered since the answer, in this order; others may lie between.
    pub(super) path: Vec<String>,
    /// How long it may take; ten minutes.
    pub(super) within: Option<String>,
}

impl GoldenTest {
    /// Reads a test file.
    ///
    /// # Errors
    /// The first fault: `E001` not YAML, `E002` YAML of another shape.
    pub fn read(source: &Source) -> Result<GoldenTest, Fault> {
        let fault = |line, column, code, message| Fault {
            file: source.file.clone(),
            line,
            column,
            code,
            severity: Severity::Error,
            message,
        };
        let file: File = raw::typed(&source.text)
            .map_err(|e| fault(e.at.line, e.at.column, e.code, e.message))?;
        if file.steps.is_empty() {
            return Err(fault(1, 1, "E002", "a test needs `steps`".to_owned()));
        }
        for step in &file.steps {
            step.value
                .check()
                .map_err(|why| fault(step.at.line, step.at.column, "E002", why))?;
        }
        Ok(GoldenTest {
            file: source.file.clone(),
            flow: file.flow,
            given: file.given,
            steps: file.steps,
        })
    }
}

impl Step {
    fn check(&self) -> Result<(), String> {
        let verbs = [
            self.expect.is_some(),
            self.press.is_some(),
            self.wait.is_some(),
            self.event.is_some(),
            self.hangup.is_some(),
        ];
        if verbs.iter().filter(|is_there| **is_there).count() != 1 {
            let verbs = "`expect`, `press`, `wait`, `event` or `hangup`";
            return Err(format!("a step is exactly one of {verbs}"));
        }
        if let Some(keys) = &self.press
            && (keys.is_empty() || !keys.chars().all(|c| "0123456789*#ABCD".contains(c)))
        {
            return Err(format!(
                "`press: {keys}` is not all keys; keys are 0-9, *, # and A-D"
            ));
        }
        let lengths = [
            self.wait.as_ref().filter(|wait| *wait != "quiet"),
            self.expect
                .as_ref()
                .and_then(|expect| expect.within.as_ref()),
        ];
        for length in lengths.into_iter().flatten() {
            if read::duration(length).is_none() {
                return Err(format!(
                    "{length:?} is no length of time; write 300ms, 3s or 2m"
                ));
            }
        }
        if self.hangup == Some(false) {
            return Err("write `hangup: true`".to_owned());
        }
        Ok(())
    }
}
