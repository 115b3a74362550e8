//! The file of a golden test, `FLOW.CASE.test.yaml`, under the strict YAML of flows.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::event::Happens;
use crate::ivr::fault::{Fault, Place, Severity};
use crate::ivr::flow::Source;
use crate::ivr::io::HttpMethod;
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
    /// The flow that is the help channel, for the event `answered`; absent: an agent is.
    pub(super) help: Option<String>,
    /// What becomes of a call-back order.
    pub(super) callback: GivenCallback,
    /// `env`.
    pub(super) env: BTreeMap<String, String>,
    /// The record that a lookup finds; absent: none.
    pub(super) lookup: Option<serde_json::Map<String, serde_json::Value>>,
    /// Services and how they answer; any other address fails.
    pub(super) http: Vec<GivenService>,
    /// How the line stands when the call enters it.
    pub(super) queue: GivenQueue,
    /// `queues`: how lines stand before a call joins one.
    pub(super) queues: BTreeMap<String, GivenLine>,
    /// Whether messages can be stored; yes.
    pub(super) delivers: Option<bool>,
}

/// A service: the first that fits a request answers it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenService {
    /// Requests of this method alone.
    pub(super) method: Option<String>,
    /// Whose address begins so.
    pub(super) url: String,
    /// So much later; at once.
    pub(super) after: Option<String>,
    /// Its answer; absent: it cannot be reached.
    pub(super) reply: Option<GivenReply>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenReply {
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: serde_json::Value,
}

/// How a line stands for the call; what is absent is not known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GivenQueue {
    pub(super) position: Option<u32>,
    pub(super) waiting: Option<u32>,
    pub(super) agents: Option<u32>,
    /// A length of time.
    pub(super) ewt: Option<String>,
}

/// A line seen from outside; one agent, nobody waits, open.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GivenLine {
    pub(super) waiting: u32,
    pub(super) agents: u32,
    /// A length of time.
    pub(super) ewt: Option<String>,
    pub(super) open: bool,
}

impl Default for GivenLine {
    fn default() -> Self {
        GivenLine {
            waiting: 0,
            agents: 1,
            ewt: None,
            open: true,
        }
    }
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
    /// The caller says something for so long.
    pub(super) speak: Option<String>,
    /// The line stands like this from now on.
    pub(super) queue: Option<GivenQueue>,
    pub(super) event: Option<Happens>,
    pub(super) hangup: Option<bool>,
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

/// The start of a file.
const TOP: Place = Place { line: 1, column: 1 };

fn fault(source: &Source, at: Place, code: &'static str, message: String) -> Fault {
    Fault {
        file: source.file.clone(),
        line: at.line,
        column: at.column,
        code,
        severity: Severity::Error,
        message,
    }
}

/// YAML of another shape than it must have.
fn misshapen(source: &Source, at: Place, message: String) -> Fault {
    fault(source, at, "E002", message)
}

/// The whole file as one value.
fn typed<T: DeserializeOwned>(source: &Source) -> Result<T, Fault> {
    raw::typed(&source.text).map_err(|e| fault(source, e.at, e.code, e.message))
}

impl GoldenTest {
    /// Reads a test file.
    ///
    /// # Errors
    /// The first fault: `E001` not YAML, `E002` YAML of another shape.
    pub fn read(source: &Source) -> Result<GoldenTest, Fault> {
        let file: File = typed(source)?;
        if file.steps.is_empty() {
            return Err(misshapen(source, TOP, "a test needs `steps`".to_owned()));
        }
        let given = file.given.check();
        given.map_err(|why| misshapen(source, TOP, why))?;
        for step in &file.steps {
            let checked = step.value.check();
            checked.map_err(|why| misshapen(source, step.at, why))?;
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
            self.speak.is_some(),
            self.queue.is_some(),
            self.event.is_some(),
            self.hangup.is_some(),
        ];
        if verbs.iter().filter(|is_there| **is_there).count() != 1 {
            let verbs = "`expect`, `press`, `wait`, `speak`, `queue`, `event` or `hangup`";
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
            self.speak.as_ref(),
            self.queue.as_ref().and_then(|queue| queue.ewt.as_ref()),
        ];
        lengths.into_iter().flatten().try_for_each(is_length)?;
        if self.hangup == Some(false) {
            return Err("write `hangup: true`".to_owned());
        }
        Ok(())
    }
}

/// The world around a call, as the `given` of a test.
#[derive(Clone, Debug, Default)]
pub struct World(pub(super) Given);

impl World {
    /// Reads a file that holds what stands under `given` in a test.
    ///
    /// # Errors
    /// The first fault: `E001` not YAML, `E002` YAML of another shape.
    pub fn read(source: &Source) -> Result<World, Fault> {
        let given: Given = typed(source)?;
        let checked = given.check();
        checked.map_err(|why| misshapen(source, TOP, why))?;
        Ok(World(given))
    }
}

impl Given {
    fn check(&self) -> Result<(), String> {
        let lines = self.queues.values().filter_map(|line| line.ewt.as_ref());
        self.queue.ewt.iter().chain(lines).try_for_each(is_length)?;
        for service in &self.http {
            service.after.iter().try_for_each(is_length)?;
            if let Some(method) = &service.method
                && !HttpMethod::ALL.iter().any(|m| m.word() == method)
            {
                let known = HttpMethod::ALL.map(HttpMethod::word).join(", ");
                return Err(format!("{method:?} is no method; methods are {known}"));
            }
        }
        Ok(())
    }
}

fn is_length(length: &String) -> Result<(), String> {
    match read::duration(length) {
        Some(_) => Ok(()),
        None => Err(format!(
            "{length:?} is no length of time; write 300ms, 3s or 2m"
        )),
    }
}
