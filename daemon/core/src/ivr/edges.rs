//! Where a flow can go: one list of ways, for lint, graph and coverage.

use super::model::{Act, Flow, Node, Target};

/// One way from a node to another.
pub(super) struct Edge<'a> {
    pub(super) from: &'a Node,
    /// `next`, a key, `case` or the case's label, `else`, or an event.
    pub(super) exit: String,
    /// What it means, for people.
    pub(super) label: Option<&'a str>,
    pub(super) to: &'a Target,
}

/// Every way out of every node, in the order of the file; the flow's own events leave
/// every node that may raise them.
pub(super) fn edges(flow: &Flow) -> Vec<Edge<'_>> {
    flow.nodes
        .iter()
        .flat_map(|node| own(node).into_iter().chain(inherited(flow, node)))
        .collect()
}

/// The ways out that a node names itself.
pub(super) fn own(node: &Node) -> Vec<Edge<'_>> {
    let mut edges = Vec::new();
    let mut add = |exit: &str, label, to| {
        edges.push(Edge {
            from: node,
            exit: exit.to_owned(),
            label,
            to,
        });
    };
    if let Act::Branch { cases, otherwise } = &node.act {
        for (_, to, label) in cases {
            add(label.as_deref().unwrap_or("case"), None, to);
        }
        add("else", None, otherwise);
    }
    for (name, exit) in node.exits() {
        if let Some(to) = &exit.next {
            add(&name, exit.label.as_deref(), to);
        }
    }
    if let Some(next) = node.next() {
        add("next", None, next);
    }
    edges
}

/// The flow's events that may arise in a node and are not its own.
fn inherited<'a>(flow: &'a Flow, node: &'a Node) -> impl Iterator<Item = Edge<'a>> {
    let events = flow.events.iter();
    let events = events.filter(|(name, _)| !node.events.contains_key(*name));
    let events = events.filter(|(name, _)| may_raise(node, name));
    events.filter_map(|(name, exit)| {
        Some(Edge {
            from: node,
            exit: name.clone(),
            label: exit.label.as_deref(),
            to: exit.next.as_ref()?,
        })
    })
}

/// Whether `name`, an event of the flow, can arise in `node`.
fn may_raise(node: &Node, name: &str) -> bool {
    match name {
        "exhausted" => matches!(node.act, Act::Menu { .. } | Act::Collect { .. }),
        _ => !matches!(node.act, Act::Hangup { .. } | Act::Return { .. }),
    }
}
