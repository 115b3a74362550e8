mod callbacks;
mod flows;
mod keys;
mod shipped;

use std::sync::Arc;

use super::super::flow::FlowSet;
use super::super::io::{Input, Key, Output};
use super::super::sim::{self, Sim};
use crate::time::Time;

/// A flow `t` of these nodes. Prompt `q` lasts 600 ms, `sorry` 300 ms, `long` 6 s.
fn set_of(nodes: &str) -> Arc<FlowSet> {
    set_with("", nodes)
}

/// The same with more lines at the top.
fn set_with(top: &str, nodes: &str) -> Arc<FlowSet> {
    let (long, ..) = PROMPTS[2];
    let prompts: String = PROMPTS
        .iter()
        .map(|(id, text)| format!("  {id}: {{ text: {text:?} }}\n"))
        .collect();
    assert_eq!(long, "long");
    let text = format!(
        "helpline: 1\nid: t\nstart: a\n{top}\nvars: {{ v: {{ type: string }}, s: {{ type: string, secret: true }} }}\nprompts:\n{prompts}nodes:\n{nodes}\n  ok: {{ type: hangup, cause: 31 }}\n  no: {{ type: hangup, cause: 21 }}\n"
    );
    load(&[("t", &text)])
}

const PROMPTS: [(&str, &str); 3] = [
    ("q", "0123456789"),
    ("sorry", "01234"),
    (
        "long",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    ),
];

fn load(flows: &[(&str, &str)]) -> Arc<FlowSet> {
    let sources: Vec<_> = flows
        .iter()
        .map(|(id, text)| super::super::flow::Source {
            file: format!("{id}.flow.yaml"),
            text: (*text).to_owned(),
        })
        .collect();
    let locales = [
        sim::locale_for("en-US", &PROMPTS),
        sim::locale_for("fr-FR", &PROMPTS),
    ];
    let (set, faults) = FlowSet::load(&sources, &locales);
    Arc::new(set.unwrap_or_else(|| panic!("{faults:#?}")))
}

fn call(nodes: &str) -> Sim {
    Sim::new(set_of(nodes), sim::start("t"))
}

fn down(sim: &mut Sim, key: char) {
    sim.input(Input::KeyDown(Key::new(key).unwrap()));
}

fn up(sim: &mut Sim, key: char) {
    sim.input(Input::KeyUp(Key::new(key).unwrap()));
}

fn ms(t: Time) -> u64 {
    t.micros() / 1000
}

fn at(sim: &Sim, kind: &str, part: &str) -> u64 {
    ms(sim
        .when(kind, part)
        .unwrap_or_else(|| panic!("no {kind} {part}:\n{}", sim.trace())))
}

fn stops(sim: &Sim) -> usize {
    sim.log
        .iter()
        .filter(|(_, o)| matches!(o, Output::Stop(_)))
        .count()
}
