//! Which nodes and ways of the flows were taken.

use std::collections::{BTreeMap, BTreeSet};

use crate::ivr::edges;
use crate::ivr::flow::FlowSet;
use crate::ivr::io::Output;
use crate::ivr::model::Flow;
use crate::time::Time;

/// Nodes entered and ways taken, gathered from the logs of calls.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    nodes: BTreeSet<(String, String)>,
    /// Flow, node left, exit, node entered.
    ways: BTreeSet<(String, String, String, String)>,
}

/// Coverage of one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Nodes entered, and nodes in all.
    pub nodes: (usize, usize),
    /// Ways taken, and ways in all; an event of the flow counts once, whatever node raised it.
    pub ways: (usize, usize),
    /// What was not taken: line in the file, and words for people.
    pub missing: Vec<(u32, String)>,
}

impl Covered {
    /// Share of the ways that were taken, in percent, rounded down.
    #[must_use]
    pub fn percent(&self) -> usize {
        let (taken, all) = self.ways;
        (taken * 100).checked_div(all).unwrap_or(100)
    }
}

impl Coverage {
    /// Adds what a call took.
    pub fn add(&mut self, log: &[(Time, Output)]) {
        // Where each flow of the call is, and whether an exit has said where it goes next.
        let mut at: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
        for (_, output) in log {
            let Output::Trace(line) = output else {
                continue;
            };
            match line.kind {
                "node" => {
                    let before = at.insert(&line.flow, (&line.node, false));
                    if let Some((from, false)) = before {
                        self.way(&line.flow, from, "next", &line.node);
                    }
                    self.nodes.insert((line.flow.clone(), line.node.clone()));
                }
                "exit" => {
                    // `menu 1 -> help`; a return names no node.
                    if let Some((words, to)) = line.data.split_once(" -> ")
                        && let Some((from, exit)) = words.split_once(' ')
                    {
                        self.way(&line.flow, from, exit, to);
                        at.insert(&line.flow, (&line.node, true));
                    }
                }
                _ => {}
            }
        }
    }

    fn way(&mut self, flow: &str, from: &str, exit: &str, to: &str) {
        let owned = |text: &str| text.to_owned();
        self.ways
            .insert((owned(flow), owned(from), owned(exit), owned(to)));
    }

    /// Flows of which a node was entered, sorted.
    #[must_use]
    pub fn flows(&self) -> BTreeSet<&str> {
        self.nodes.iter().map(|(flow, _)| flow.as_str()).collect()
    }

    /// What of a flow was taken; `None` if there is no such flow.
    #[must_use]
    pub fn of(&self, set: &FlowSet, flow: &str) -> Option<Covered> {
        let flow = set.flow(flow)?;
        let mut covered = Covered {
            nodes: (0, flow.nodes.len()),
            ways: (0, 0),
            missing: Vec::new(),
        };
        for node in &flow.nodes {
            if self.nodes.contains(&(flow.id.clone(), node.name.clone())) {
                covered.nodes.0 += 1;
            } else {
                let words = format!("the node {} was never entered", node.name);
                covered.missing.push((node.at.line, words));
            }
            for edge in edges::own(node) {
                let (exit, to) = (&edge.exit, &edge.to.name);
                let taken = self.took(flow, Some(&node.name), exit, to);
                let words = format!("{} {exit} -> {to} was never taken", node.name);
                covered.count(taken, edge.to.at.line, words);
            }
        }
        for (name, exit) in &flow.events {
            if let Some(to) = &exit.next {
                let taken = self.took(flow, None, name, &to.name);
                let words = format!("{name} -> {} was never taken", to.name);
                covered.count(taken, to.at.line, words);
            }
        }
        covered.missing.sort();
        Some(covered)
    }

    /// Whether a way was taken; `None`: from a node that has no such event of its own.
    fn took(&self, flow: &Flow, from: Option<&str>, exit: &str, to: &str) -> bool {
        self.ways.iter().any(|(id, node, by, target)| {
            let is_own = flow
                .node(node)
                .is_some_and(|node| node.events.contains_key(by));
            *id == flow.id
                && target == to
                && match from {
                    // An event without an exit takes the node's `next`.
                    Some(from) => node == from && (by == exit || (exit == "next" && !is_own)),
                    None => by == exit && !is_own,
                }
        })
    }
}

impl Covered {
    fn count(&mut self, taken: bool, line: u32, words: String) {
        self.ways.1 += 1;
        if taken {
            self.ways.0 += 1;
        } else {
            self.missing.push((line, words));
        }
    }
}
