//! A flow as a picture: Mermaid, Graphviz DOT, or an SVG of our own.
//!
//! The same flow gives the same bytes. Events that any node may raise are drawn from one
//! node named "anywhere", or they would bury all else.

mod counts;
mod layout;
mod svg;
#[cfg(test)]
mod tests;
mod text;

pub use counts::Counts;

use std::collections::BTreeMap;

use super::edges;
use super::flow::FlowSet;
use super::model::Flow;

/// A flow's nodes and the ways between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Name of the flow.
    pub flow: String,
    /// Its title, for people.
    pub title: Option<String>,
    /// In the order of the file; the flow's own events, if it has some, come last.
    pub nodes: Vec<GraphNode>,
    /// In the order of the file; ways between the same two nodes are one.
    pub edges: Vec<GraphEdge>,
}

/// A node of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    /// Name in the file; `anywhere` for the flow's own events.
    pub name: String,
    /// `menu`, `play` and so on; `events` for the flow's own.
    pub kind: &'static str,
    /// Its title, for people.
    pub title: Option<String>,
    /// Whether calls begin here.
    pub is_start: bool,
    /// How many calls entered it, once counted.
    pub calls: Option<u64>,
}

/// A way from a node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphEdge {
    /// Index of the node it leaves.
    pub from: usize,
    /// Index of the node it leads to.
    pub to: usize,
    /// What takes it: keys with their meaning, cases, events; nothing for `next` alone.
    pub label: String,
    /// How many calls took it, once counted.
    pub calls: Option<u64>,
}

impl FlowSet {
    /// The graph of a flow; `None` if there is no such flow.
    #[must_use]
    pub fn graph(&self, flow: &str) -> Option<Graph> {
        self.flow(flow).map(|flow| Graph::of(flow))
    }
}

impl Graph {
    fn of(flow: &Flow) -> Graph {
        let mut nodes: Vec<GraphNode> = (flow.nodes.iter())
            .map(|node| GraphNode {
                name: node.name.clone(),
                kind: node.kind,
                title: node.title.clone(),
                is_start: node.name == flow.start.name,
                calls: None,
            })
            .collect();
        let mut ways = Vec::new();
        for (from, node) in flow.nodes.iter().enumerate() {
            for edge in edges::own(node) {
                ways.push((from, edge.to.name.clone(), words(&edge.exit, edge.label)));
            }
        }
        let events = flow.events.iter();
        let events: Vec<_> = events
            .filter_map(|(name, exit)| Some((name, exit.next.as_ref()?)))
            .collect();
        if !events.is_empty() {
            for (name, to) in events {
                ways.push((nodes.len(), to.name.clone(), name.clone()));
            }
            nodes.push(GraphNode {
                name: "anywhere".to_owned(),
                kind: "events",
                title: None,
                is_start: false,
                calls: None,
            });
        }
        let mut edges: Vec<GraphEdge> = Vec::new();
        let mut known = BTreeMap::new();
        for (from, to, label) in ways {
            let Some(to) = flow.index.get(&to).copied() else {
                continue; // lint has named it
            };
            let at = *known.entry((from, to)).or_insert(edges.len());
            match edges.get_mut(at) {
                None => edges.push(GraphEdge {
                    from,
                    to,
                    label,
                    calls: None,
                }),
                Some(edge) if edge.label.is_empty() => edge.label = label,
                Some(edge) if label.is_empty() => edge.label.push_str(", next"),
                Some(edge) => {
                    edge.label.push_str(", ");
                    edge.label.push_str(&label);
                }
            }
        }
        Graph {
            flow: flow.id.clone(),
            title: flow.title.clone(),
            nodes,
            edges,
        }
    }
}

/// What takes an exit, in a picture: `1 web help`, `no_input`, nothing for `next`.
fn words(exit: &str, label: Option<&str>) -> String {
    match (exit, label) {
        ("next", _) => String::new(),
        (exit, Some(label)) => format!("{exit} {label}"),
        (exit, None) => exit.to_owned(),
    }
}
