//! How many calls took a node or a way, from their traces.

use std::collections::{BTreeMap, BTreeSet};

use super::Graph;

/// What calls of one flow did.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    nodes: BTreeMap<String, u64>,
    ways: BTreeMap<(String, String), u64>,
}

impl Counts {
    /// Adds a call by the nodes of the flow that it entered, in their order. A node counts
    /// once a call, however often it was entered.
    pub fn add_call<'a>(&mut self, nodes: impl IntoIterator<Item = &'a str>) {
        let mut entered = BTreeSet::new();
        let mut taken = BTreeSet::new();
        let mut last = None;
        for node in nodes {
            entered.insert(node);
            taken.extend(last.map(|last| (last, node)));
            last = Some(node);
        }
        for node in entered {
            *self.nodes.entry(node.to_owned()).or_default() += 1;
        }
        for (from, to) in taken {
            let way = (from.to_owned(), to.to_owned());
            *self.ways.entry(way).or_default() += 1;
        }
    }
}

impl Graph {
    /// Writes the counts to nodes and ways; what the flow does not have any more comes
    /// back in words. Ways match by the names of their nodes.
    pub fn count(&mut self, counts: &Counts) -> Vec<String> {
        for node in &mut self.nodes {
            node.calls = Some(counts.nodes.get(&node.name).copied().unwrap_or(0));
        }
        for edge in &mut self.edges {
            edge.calls = Some(0);
        }
        let known = |name: &str| self.nodes.iter().any(|node| node.name == name);
        let gone = counts.nodes.iter().filter(|(name, _)| !known(name));
        let mut gone: Vec<String> = gone
            .map(|(name, calls)| format!("node {name}: {calls} calls"))
            .collect();
        let starts = self.nodes.iter().find(|node| node.is_start);
        let starts = starts.map(|node| node.name.clone()).unwrap_or_default();
        for ((from, to), calls) in &counts.ways {
            match self.way(from, to) {
                Some(edge) => edge.calls = Some(edge.calls.unwrap_or(0) + calls),
                // A flow that is called twice in a call begins anew.
                None if *to == starts => {}
                None => gone.push(format!("way {from} -> {to}: {calls} calls")),
            }
        }
        gone
    }

    /// The way from a node to another; else that of an event that any node may raise.
    fn way(&mut self, from: &str, to: &str) -> Option<&mut super::GraphEdge> {
        let place = |name: &str| self.nodes.iter().position(|node| node.name == name);
        let (from, to, anywhere) = (place(from)?, place(to)?, place("anywhere"));
        let at = |from| (self.edges.iter()).position(|edge| edge.from == from && edge.to == to);
        let at = at(from).or_else(|| at(anywhere?))?;
        self.edges.get_mut(at)
    }
}

impl super::GraphEdge {
    /// What takes it, and how many calls did.
    pub(super) fn words(&self) -> String {
        match self.calls {
            None => self.label.clone(),
            Some(calls) if self.label.is_empty() => format!("({calls})"),
            Some(calls) => format!("{} ({calls})", self.label),
        }
    }
}

impl super::GraphNode {
    /// Its type, and how many calls entered it.
    pub(super) fn below(&self) -> String {
        match self.calls {
            Some(calls) if self.kind != "events" => format!("{} ({calls})", self.kind),
            _ => self.kind.to_owned(),
        }
    }
}
