//! Where a flow can go: targets, reachability, ends, cycles, calls of other flows.

use std::collections::{BTreeMap, BTreeSet};

use super::Set;
use crate::ivr::edges::{Edge, edges};
use crate::ivr::fault::{Place, Report, hint};
use crate::ivr::model::{Act, Flow, Node, Role, Target};

/// Events that come at any time rather than from what the node does.
const AT_ANY_TIME: [&str; 2] = ["error", "hangup"];

/// Every target a node or, for it, the flow names.
fn targets<'a>(flow: &'a Flow, node: &'a Node) -> Vec<&'a Target> {
    let mut all: Vec<&Target> = node.next().into_iter().collect();
    if let Act::Branch { cases, otherwise } = &node.act {
        all.extend(cases.iter().map(|(_, to, _)| to));
        all.push(otherwise);
    }
    all.extend(
        node.exits()
            .into_iter()
            .filter_map(|(_, e)| e.next.as_ref()),
    );
    all.extend(flow.events.values().filter_map(|e| e.next.as_ref()));
    all
}

/// Nodes reached from the start over the edges `keep` lets pass.
fn reach<'a>(
    flow: &'a Flow,
    edges: &[Edge<'a>],
    keep: impl Fn(&Edge<'_>) -> bool,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<&str> = flow
        .node(&flow.start.name)
        .map(|n| n.name.as_str())
        .into_iter()
        .collect();
    while let Some(name) = todo.pop() {
        if seen.insert(name) {
            for edge in edges.iter().filter(|e| e.from.name == name && keep(e)) {
                todo.extend(flow.node(&edge.to.name).map(|n| n.name.as_str()));
            }
        }
    }
    seen
}

/// The checks of one flow's graph.
pub(super) fn check(flow: &Flow, report: &mut Report) {
    unknown_targets(flow, report);
    let edges = edges(flow);
    let reached = reach(flow, &edges, |_| true);
    if !reached.is_empty() {
        for node in flow
            .nodes
            .iter()
            .filter(|n| !reached.contains(n.name.as_str()))
        {
            report.add(
                &flow.file,
                node.at,
                "E102",
                format!("nothing leads to the node \"{}\"", node.name),
            );
        }
    }
    dead_exits(flow, report);
    endless(flow, &edges, &reached, report);
    silent_cycles(flow, &edges, report);
    let before = reach(flow, &edges, |e| e.exit != "hangup");
    for node in &flow.nodes {
        if !node.is_silent()
            && reached.contains(node.name.as_str())
            && !before.contains(node.name.as_str())
        {
            report.add(
                &flow.file,
                node.at,
                "E112",
                format!(
                    "\"{}\" needs the caller, but is reached only after hanging up",
                    node.name
                ),
            );
        }
    }
    for node in &flow.nodes {
        let asks = matches!(node.act, Act::Menu { .. } | Act::Collect { .. });
        if asks && !node.events.contains_key("exhausted") && !flow.events.contains_key("exhausted")
        {
            let name = &node.name;
            report.add(
                &flow.file,
                node.at,
                "W202",
                format!(
                    "\"{name}\" has no `exhausted` event: after the last try the call just ends"
                ),
            );
        }
    }
}

fn unknown_targets(flow: &Flow, report: &mut Report) {
    let mut all: BTreeMap<(Place, &str), ()> = BTreeMap::new();
    all.insert((flow.start.at, &flow.start.name), ());
    for node in &flow.nodes {
        for target in targets(flow, node) {
            all.insert((target.at, &target.name), ());
        }
    }
    for (at, name) in all.into_keys() {
        if flow.node(name).is_none() {
            let near = hint(name, flow.nodes.iter().map(|n| n.name.as_str()));
            report.add(
                &flow.file,
                at,
                "E101",
                format!("the node \"{name}\" does not exist{near}"),
            );
        }
    }
    let mut names = BTreeSet::new();
    for node in &flow.nodes {
        if !names.insert(&node.name) {
            report.add(
                &flow.file,
                node.at,
                "E101",
                format!("two nodes are named \"{}\"", node.name),
            );
        }
    }
}

/// Exits without a target where asking again is no answer.
fn dead_exits(flow: &Flow, report: &mut Report) {
    let mut dead = |at, name: &str| {
        report.add(
            &flow.file,
            at,
            "E103",
            format!("the exit \"{name}\" leads nowhere: write `next`"),
        );
    };
    for node in &flow.nodes {
        for (name, exit) in node.exits() {
            if exit.next.is_none() && !matches!(name.as_str(), "no_input" | "no_match") {
                dead(exit.at, &name);
            }
        }
    }
    for (name, exit) in flow.events.iter().filter(|(_, e)| e.next.is_none()) {
        dead(exit.at, name);
    }
    for node in &flow.nodes {
        if let Act::Enqueue { next: None, .. } = node.act
            && !node.events.contains_key("answered")
        {
            let message = format!(
                "\"{}\" has neither `next` nor an `answered` event: nothing follows the talk",
                node.name
            );
            report.add(&flow.file, node.at, "E103", message);
        }
    }
}

/// Nodes from which no way leads to an end of the flow.
fn endless(flow: &Flow, edges: &[Edge<'_>], reached: &BTreeSet<&str>, report: &mut Report) {
    let ends = |node: &Node| match &node.act {
        Act::Hangup { .. } | Act::Return { .. } => true,
        // After the last try the call ends by itself.
        Act::Menu { .. } | Act::Collect { .. } => {
            !node.events.contains_key("exhausted") && !flow.events.contains_key("exhausted")
        }
        _ => false,
    };
    let mut good: BTreeSet<&str> = flow
        .nodes
        .iter()
        .filter(|n| ends(n))
        .map(|n| n.name.as_str())
        .collect();
    loop {
        let more: Vec<&str> = edges
            .iter()
            .filter(|e| !AT_ANY_TIME.contains(&e.exit.as_str()))
            .filter(|e| good.contains(e.to.name.as_str()) && !good.contains(e.from.name.as_str()))
            .map(|e| e.from.name.as_str())
            .collect();
        if more.is_empty() {
            break;
        }
        good.extend(more);
    }
    let bad: Vec<&Node> = flow
        .nodes
        .iter()
        .filter(|n| reached.contains(n.name.as_str()) && !good.contains(n.name.as_str()))
        // A node with an unknown target is a fault of its own.
        .filter(|n| {
            targets(flow, n)
                .iter()
                .all(|t| flow.node(&t.name).is_some())
        })
        .collect();
    if let Some(first) = bad.first() {
        let names: Vec<&str> = bad.iter().map(|n| n.name.as_str()).collect();
        report.add(
            &flow.file,
            first.at,
            "E104",
            format!("no way leads to an end from: {}", names.join(", ")),
        );
    }
}

/// Circles in which nobody is asked anything would turn for ever.
fn silent_cycles(flow: &Flow, edges: &[Edge<'_>], report: &mut Report) {
    let silent: Vec<(&str, &str)> = edges
        .iter()
        .filter(|e| !AT_ANY_TIME.contains(&e.exit.as_str()))
        .filter(|e| !e.from.needs_caller())
        .map(|e| (e.from.name.as_str(), e.to.name.as_str()))
        .collect();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for node in &flow.nodes {
        let mut seen = BTreeSet::new();
        let mut todo = vec![node.name.as_str()];
        while let Some(name) = todo.pop() {
            for (_, to) in silent.iter().filter(|(from, _)| *from == name) {
                if seen.insert(*to) {
                    todo.push(to);
                }
            }
        }
        if seen.contains(node.name.as_str()) && !told.contains(node.name.as_str()) {
            told.extend(seen.iter().copied());
            let message = format!(
                "\"{}\" comes back to itself without asking the caller anything",
                node.name
            );
            report.add(&flow.file, node.at, "E105", message);
        }
    }
}

/// Subflow nodes: the flow exists, its inputs are given, its events are used.
pub(super) fn calls(flow: &Flow, set: &Set<'_>, report: &mut Report) {
    for node in &flow.nodes {
        let Act::Subflow {
            flow: called,
            with,
            next,
            ..
        } = &node.act
        else {
            continue;
        };
        let Some(other) = set.flows.get(&called.name) else {
            if !set.unread.contains(&called.name) {
                let near = hint(&called.name, set.flows.keys().map(String::as_str));
                report.add(
                    &flow.file,
                    called.at,
                    "E115",
                    format!("the flow \"{}\" does not exist{near}", called.name),
                );
            }
            continue;
        };
        let inputs: Vec<_> = other
            .decls
            .iter()
            .filter(|(_, d)| d.role == Role::Input)
            .collect();
        for (name, decl) in &inputs {
            if decl.required && !with.iter().any(|(to, _)| to.name == **name) {
                report.add(
                    &flow.file,
                    node.at,
                    "E115",
                    format!(
                        "the flow \"{}\" needs the input \"{name}\" ({})",
                        called.name,
                        decl.kind.word()
                    ),
                );
            }
        }
        for (to, _) in with {
            if !inputs.iter().any(|(name, _)| **name == to.name) {
                let near = hint(&to.name, inputs.iter().map(|(n, _)| n.as_str()));
                report.add(
                    &flow.file,
                    to.at,
                    "E115",
                    format!(
                        "the flow \"{}\" has no input \"{}\"{near}",
                        called.name, to.name
                    ),
                );
            }
        }
        returns(flow, node, other, next.is_some(), report);
    }
}

/// Events a called flow returns with must have somewhere to go.
fn returns(flow: &Flow, node: &Node, other: &Flow, has_next: bool, report: &mut Report) {
    let mut events = BTreeSet::new();
    for inner in &other.nodes {
        if let Act::Return { event } = &inner.act {
            events.insert(event.as_deref());
        }
    }
    for event in &events {
        let known = match event {
            None => has_next,
            Some(name) => has_next || node.events.contains_key(*name),
        };
        if !known {
            let what = event.map_or_else(|| "`next`".to_owned(), |e| format!("the event \"{e}\""));
            report.add(
                &flow.file,
                node.at,
                "E103",
                format!(
                    "\"{}\" may return by {what}, which leads nowhere here",
                    other.id
                ),
            );
        }
    }
    for (name, exit) in &node.events {
        if !AT_ANY_TIME.contains(&name.as_str()) && !events.contains(&Some(name.as_str())) {
            let near = hint(name, events.iter().flatten().copied());
            report.add(
                &flow.file,
                exit.at,
                "E115",
                format!(
                    "the flow \"{}\" never returns with \"{name}\"{near}",
                    other.id
                ),
            );
        }
    }
}

/// Flows that call themselves, straight or in a circle.
pub(super) fn recursion(set: &Set<'_>, report: &mut Report) {
    let calls = |name: &str| -> Vec<(&str, Place)> {
        let nodes = set
            .flows
            .get(name)
            .map(|f| f.nodes.as_slice())
            .unwrap_or_default();
        nodes
            .iter()
            .filter_map(|n| match &n.act {
                Act::Subflow { flow, .. } => Some((flow.name.as_str(), flow.at)),
                _ => None,
            })
            .collect()
    };
    for flow in set.flows.values() {
        for (first, at) in calls(&flow.id) {
            let mut seen = BTreeSet::new();
            let mut todo = vec![first];
            while let Some(name) = todo.pop() {
                if seen.insert(name) {
                    todo.extend(calls(name).into_iter().map(|(n, _)| n));
                }
            }
            if seen.contains(flow.id.as_str()) {
                report.add(
                    &flow.file,
                    at,
                    "E115",
                    format!(
                        "calling \"{first}\" comes back to this flow: flows cannot call themselves"
                    ),
                );
            }
        }
    }
}
