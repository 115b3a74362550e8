//! Random callers: whatever keys come and whenever, a call of a flow ends well.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::{event, run};
use crate::ivr::flow::FlowSet;
use crate::ivr::io::{CallFacts, Hours, Input, Output, Start, Why};
use crate::ivr::sim::{Answer, Sim};
use crate::phone::PhoneNumber;
use crate::rng::Rng;

/// What a caller does at most before only time passes.
const ACTS_MAX: u64 = 60;
/// More than any flow may last, queue and all.
const LAST: Duration = Duration::from_secs(4 * 3600);

/// A random call.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Why it did not end well, if it did not.
    pub failure: Option<String>,
    /// What was done, as a golden test that does the same.
    pub test: String,
}

/// Walks through a flow as a caller who does anything; the same seed walks alike. In a
/// queue the call is answered by a flow `help`, if there is one, else by an agent.
#[must_use]
pub fn walk(set: &Arc<FlowSet>, flow: &str, help: Option<&str>, seed: u64) -> Walk {
    let mut rng = Rng::new(seed);
    let mut test = format!("# A random call, seed {seed}.\nflow: {flow}\ngiven:\n");
    let mut input = set.sample_input(flow);
    let from = rng.below(2) == 0;
    // Writing to a string cannot fail; JSON is YAML as well.
    let _ = writeln!(test, "  input: {}", serde_json::Value::from(input.clone()));
    if from {
        test.push_str("  call: { from: \"+33140000000\" }\n");
    }
    if let Some(help) = help {
        let _ = writeln!(test, "  help: {help}");
    }
    test.push_str("steps:\n");
    run::make_absolute(&mut input, run::NOW);
    let start = Start {
        flow: flow.to_owned(),
        call: CallFacts {
            id: "walk".to_owned(),
            from: from.then(|| PhoneNumber::from_row("+33140000000")),
            to: "100".to_owned(),
            direction: if input.is_empty() { "in" } else { "out" },
            queue: "help".to_owned(),
        },
        input,
        language: "en-US".to_owned(),
        wall: run::NOW,
        hours: Hours::ALWAYS,
        queues: Arc::default(),
        env: BTreeMap::new(),
        zone: "UTC".to_owned(),
    };
    let mut sim = match Sim::new(Arc::clone(set), start) {
        Ok(sim) => sim,
        Err(why) => {
            let failure = Some(why.to_string());
            return Walk { failure, test };
        }
    };
    sim.answer_orders(Answer::Done);
    for _ in 0..=rng.below(ACTS_MAX) {
        if sim.ended().is_some() {
            break;
        }
        act(&mut sim, &mut rng, help, &mut test);
    }
    // Agents talk as long as they like, but not for ever.
    if sim.ended().is_none() && sim.end_talk() {
        test.push_str("  - event: talk_ended\n");
    }
    sim.wait(LAST);
    let failure = fault(&sim);
    Walk { failure, test }
}

/// Does something, and writes it down.
fn act(sim: &mut Sim, rng: &mut Rng, help: Option<&str>, test: &mut String) {
    let event = match rng.below(6) {
        0 => Some(("full", Answer::Left(Why::Full))),
        1 => Some(("no_agents", Answer::Left(Why::NoAgents))),
        2 => Some(("answered", event::taken(help))),
        3 if sim.end_talk() => {
            test.push_str("  - event: talk_ended\n");
            return;
        }
        _ => None,
    };
    if let Some((word, answer)) = event
        && sim.join(answer)
    {
        let _ = writeln!(test, "  - event: {word}");
        return;
    }
    match rng.below(20) {
        0 => {
            test.push_str("  - hangup: true\n");
            sim.input(Input::Hangup);
        }
        1..=6 => {
            let length = rng.below(12_000);
            let _ = writeln!(test, "  - wait: {length}ms");
            sim.wait(Duration::from_millis(length));
        }
        what => {
            // Mostly one key, now and then a whole number.
            let count = if what > 17 { 1 + rng.below(16) } else { 1 };
            let keys: String = (0..count).map(|_| key(rng)).collect();
            let _ = writeln!(test, "  - press: \"{keys}\"");
            sim.press(&keys);
        }
    }
}

fn key(rng: &mut Rng) -> char {
    let keys = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A',
    ];
    let at = usize::try_from(rng.below(13)).unwrap_or(0);
    keys.get(at).copied().unwrap_or('0')
}

/// What no call may do.
fn fault(sim: &Sim) -> Option<String> {
    let ends = sim
        .log()
        .iter()
        .filter(|(_, output)| matches!(output, Output::End { .. }));
    match ends.count() {
        0 => return Some("the call never ends".to_owned()),
        1 => {}
        count => return Some(format!("the call ends {count} times")),
    }
    if !matches!(sim.log().last(), Some((_, Output::End { .. }))) {
        return Some("something follows the end of the call".to_owned());
    }
    let settled = sim.log().iter().filter(|(_, output)| match output {
        Output::Store(_, order) => !matches!(order, crate::ivr::io::CallbackOrder::Request { .. }),
        _ => false,
    });
    let settled = settled.count();
    if settled > 1 {
        return Some(format!("the request was settled {settled} times"));
    }
    let limit = |line: &&(crate::time::Time, Output)| matches!(&line.1, Output::Trace(line) if line.kind == "event" && line.data.starts_with("limit"));
    let (at, _) = sim.log().iter().find(limit)?;
    Some(format!("a limit of the flow was reached at {at}"))
}
