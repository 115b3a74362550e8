//! Graphs as text that other programs draw.

use std::fmt::Write as _;

use super::Graph;

impl Graph {
    /// A Mermaid flowchart. Names get a prefix: a node called `end` would break it.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        for node in &self.nodes {
            let words = mermaid_words(node.title.as_deref().unwrap_or(&node.name));
            let (open, close) = match node.kind {
                "menu" | "collect" => ("{{", "}}"),
                "branch" => ("{", "}"),
                "hangup" | "return" => ("([", "])"),
                _ => ("[", "]"),
            };
            let kind = node.below();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  n_{}{open}\"{words}<br/><small>{kind}</small>\"{close}",
                node.name
            );
        }
        for edge in &self.edges {
            let (from, to) = self.names(edge.from, edge.to);
            let label = edge.words();
            let _ = if label.is_empty() {
                writeln!(text, "  n_{from} --> n_{to}")
            } else {
                writeln!(text, "  n_{from} -->|\"{}\"| n_{to}", mermaid_words(&label))
            };
        }
        text
    }

    /// A Graphviz digraph.
    #[must_use]
    pub fn dot(&self) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut text = format!(
            "digraph \"{}\" {{\n  node [shape=box, style=rounded];\n",
            quoted(&self.flow)
        );
        for node in &self.nodes {
            let words = quoted(node.title.as_deref().unwrap_or(&node.name));
            let _ = writeln!(
                text,
                "  \"{}\" [label=\"{words}\\n{}\"];",
                node.name,
                node.below()
            );
        }
        for edge in &self.edges {
            let (from, to) = self.names(edge.from, edge.to);
            let _ = writeln!(
                text,
                "  \"{from}\" -> \"{to}\" [label=\"{}\"];",
                quoted(&edge.words())
            );
        }
        text.push_str("}\n");
        text
    }

    fn names(&self, from: usize, to: usize) -> (&str, &str) {
        let name = |at: usize| self.nodes.get(at).map_or("", |node| node.name.as_str());
        (name(from), name(to))
    }
}

/// Words inside quotes of Mermaid, which has entities of its own.
fn mermaid_words(text: &str) -> String {
    let mut words = String::new();
    for c in text.chars() {
        match c {
            '"' => words.push_str("#quot;"),
            '#' => words.push_str("#35;"),
            '|' => words.push_str("#124;"),
            '<' => words.push_str("#lt;"),
            '>' => words.push_str("#gt;"),
            c => words.push(c),
        }
    }
    words
}
