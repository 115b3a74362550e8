mod callbacks;
mod flows;
mod keys;
mod nodes;
mod shipped;
mod talk;

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
    let prompts: String = PROMPTS
        .iter()
        .map(|(id, text)| format!("  {id}: {{ text: {text:?} }}\n"))
        .collect();
    let mut text = format!(
        "helpline: 1\nid: t\nstart: a\n{top}\nvars: {{ v: {{ type: string }}, s: {{ type: string, secret: true }} }}\nprompts:\n{prompts}nodes:\n{nodes}\n"
    );
    // Lint refuses nodes that nothing leads to.
    for (name, cause) in [("ok", 31), ("bad", 21)] {
        let ends = [" ", ","].map(|end| format!("{name}{end}"));
        if ends.iter().any(|end| {
            nodes.contains(&format!("next: {end}")) || nodes.contains(&format!("else: {end}"))
        }) {
            text.push_str(&format!("  {name}: {{ type: hangup, cause: {cause} }}\n"));
        }
    }
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
    crate::ivr::sim::call(set_of(nodes), sim::start("t"))
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
