//! Runs a golden test against the machine.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::coverage::Coverage;
use super::event::NOT_IN_LINE;
use super::file::{Expect, Given, GivenCallback, GoldenTest, Step};
use super::update::Unsaid;
use crate::ivr::flow::FlowSet;
use crate::ivr::io::{CallbackReply, Output};
use crate::ivr::read;
use crate::ivr::replay::Came;
use crate::ivr::sim::{Answer, Sim};
use crate::time::{Time, Wall};

/// The wall clock when the call is answered: 2026-11-23, 12:00 UTC.
pub(super) const NOW: Wall = Wall::from_millis(1_795_435_200_000);
/// How long an `expect` may take.
const WITHIN: Duration = Duration::from_secs(600);

/// What became of a test.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// The call's trace as far as it came.
    pub trace: String,
    /// What came in, for a replay.
    pub came: Vec<Came>,
    /// What came out.
    pub log: Vec<(Time, Output)>,
}

/// A step that did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Line of the step.
    pub line: u32,
    /// What was expected and what was there.
    pub message: String,
    /// It is the words alone that did not hold.
    pub(super) unsaid: Option<Unsaid>,
}

impl GoldenTest {
    /// Runs the test; what it takes of the flows is added to `coverage`.
    #[must_use]
    pub fn run(&self, set: &Arc<FlowSet>, coverage: &mut Coverage) -> Outcome {
        let world = self.given.world();
        let sim = match Sim::in_world(Arc::clone(set), self.start(), world) {
            Ok(sim) => sim,
            Err(why) => {
                let failure = Failure {
                    line: 1,
                    message: why.to_string(),
                    unsaid: None,
                };
                return Outcome {
                    failure: Some(failure),
                    trace: String::new(),
                    came: Vec::new(),
                    log: Vec::new(),
                };
            }
        };
        let mut run = Run {
            sim,
            given: &self.given,
            seen: 0,
        };
        run.sim.answer_orders(self.given.callback.answer());
        let failure = self.steps.iter().find_map(|step| {
            let message = run.step(&step.value).err()?;
            Some(Failure {
                line: step.at.line,
                message,
                unsaid: run.unsaid(&step.value),
            })
        });
        coverage.add(run.sim.log());
        Outcome {
            failure,
            trace: run.sim.trace(),
            came: run.sim.came().to_vec(),
            log: run.sim.log().to_vec(),
        }
    }
}

/// In a flow's input, text such as `-7m` becomes the moment so long before the call.
pub fn make_absolute(input: &mut serde_json::Map<String, Value>, call: Wall) {
    fn absolute(value: &mut Value, call: Wall) {
        match value {
            Value::String(text) => {
                if let Some(ago) = text.strip_prefix('-').and_then(read::duration) {
                    *text = (call - ago).rfc3339();
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| absolute(value, call)),
            Value::Object(fields) => make_absolute(fields, call),
            _ => {}
        }
    }
    input.values_mut().for_each(|value| absolute(value, call));
}

impl GivenCallback {
    pub(super) fn answer(self) -> Answer {
        match self {
            GivenCallback::Done => Answer::Done,
            GivenCallback::BadNumber => Answer::Reply(CallbackReply::BadNumber),
            GivenCallback::Full => Answer::Reply(CallbackReply::Full),
            GivenCallback::Failed => Answer::Reply(CallbackReply::Failed),
        }
    }
}

/// A test on its way.
struct Run<'a> {
    sim: Sim,
    given: &'a Given,
    /// Lines of the log that the last `expect` has seen.
    seen: usize,
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Some(expect) = &step.expect {
            return self.expect(expect);
        }
        if let Some(cause) = self.sim.ended() {
            return Err(format!("the call had ended (cause {cause})"));
        }
        if let Some(keys) = &step.press {
            self.sim.press(keys);
        }
        match step.wait.as_deref() {
            Some("quiet") => self.sim.until_quiet(),
            Some(length) => self.sim.wait(read::duration(length).unwrap_or_default()),
            None => {}
        }
        if let Some(length) = &step.speak {
            self.sim.speak(read::duration(length).unwrap_or_default());
        }
        if let Some(queue) = &step.queue
            && !self.sim.line(queue.view())
        {
            return Err(NOT_IN_LINE.to_owned());
        }
        if step.hangup.is_some() {
            self.sim.hang_up();
        }
        match step.event {
            Some(event) => event.befall(&mut self.sim, self.given.help.as_deref()),
            None => Ok(()),
        }
    }

    /// Lets time run until all holds, or nothing more can happen.
    fn expect(&mut self, expect: &Expect) -> Result<(), String> {
        let within = expect.within.as_deref().and_then(read::duration);
        let until = self.sim.now() + within.unwrap_or(WITHIN);
        loop {
            let missing = self.missing(expect);
            let Some(missing) = missing else {
                self.seen = self.sim.log().len();
                return Ok(());
            };
            match self.sim.next_at().filter(|at| *at <= until) {
                Some(at) => self.sim.wait(at.since(self.sim.now())),
                None => return Err(missing),
            }
        }
    }

    /// What does not hold now.
    fn missing(&self, expect: &Expect) -> Option<String> {
        let heard = self.said();
        let nodes = self.nodes();
        let node = nodes.last().map_or("", String::as_str);
        if let Some(said) = expect.said.as_ref().filter(|said| !heard.contains(*said)) {
            return Some(format!("{said:?} was not said; heard was {heard:?}"));
        }
        if let Some(said) = expect
            .not_said
            .as_ref()
            .filter(|said| heard.contains(*said))
        {
            return Some(format!("{said:?} was said: {heard:?}"));
        }
        if let Some(wanted) = expect.node.as_ref().filter(|wanted| *wanted != node) {
            return Some(format!("the call is in {node:?}, not in {wanted:?}"));
        }
        for (kind, words) in &expect.does {
            if !self.done(kind, words) {
                return Some(format!("no line `{kind} ... {words}` in the trace"));
            }
        }
        let mut rest = nodes.iter();
        if let Some(lost) = expect.path.iter().find(|name| !rest.any(|n| n == *name)) {
            return Some(format!("{lost:?} is not on the way {}", nodes.join(" ")));
        }
        let ended = self.sim.ended();
        (expect.end.is_some() && expect.end != ended).then(|| match ended {
            Some(cause) => format!("the call ended with cause {cause}"),
            None => format!("the call goes on, in {node:?}"),
        })
    }

    /// The words that a step waited for in vain.
    fn unsaid(&self, step: &Step) -> Option<Unsaid> {
        let wanted = step.expect.as_ref()?.said.clone()?;
        (!self.said().contains(&wanted)).then(|| Unsaid {
            wanted,
            heard: self.spoken().map(str::to_owned).collect(),
        })
    }

    /// Words begun since the last `expect`.
    fn said(&self) -> String {
        self.spoken().collect::<Vec<_>>().join(" ")
    }

    fn spoken(&self) -> impl Iterator<Item = &str> {
        let outputs = self.sim.log().iter().skip(self.seen);
        outputs.filter_map(|(_, output)| match output {
            Output::Say { text, .. } => Some(text.as_str()),
            _ => None,
        })
    }

    fn nodes(&self) -> Vec<String> {
        let lines = self
            .sim
            .log()
            .iter()
            .filter_map(|(_, output)| match output {
                Output::Trace(line) if line.kind == "node" => Some(line.node.clone()),
                _ => None,
            });
        lines.collect()
    }

    fn done(&self, kind: &str, words: &str) -> bool {
        let mut lines = self.sim.log().iter().skip(self.seen);
        lines.any(|(_, output)| {
            matches!(output, Output::Trace(line) if line.kind == kind && line.data.contains(words))
        })
    }
}
