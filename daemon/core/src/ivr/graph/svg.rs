//! The picture itself: one SVG, light and dark, no script, no font of its own.

use std::fmt::Write as _;

use super::layout::{BOX_HEIGHT, Layout, Point, Way};
use super::{Graph, GraphEdge, GraphNode};

/// Widths of a character: of names, and of what is below them.
const NAME_WIDTH: f64 = 7.9;
const KIND_WIDTH: f64 = 6.1;
/// Longest words on a box or a way.
const WORDS_MAX: usize = 34;
/// Light unless the reader wants it dark. No variables: not every program knows them.
const STYLE: &str = "
  svg { font-family: system-ui, 'DejaVu Sans', sans-serif; }
  .paper { fill: #fbfbfa; } .box { fill: #ffffff; stroke: #9aa4ae; }
  .start { stroke: #22272e; stroke-width: 2; }
  .name { fill: #22272e; font-size: 13px; font-weight: 600; } .kind { fill: #6a737d; font-size: 11px; }
  .way { fill: none; stroke: #9aa4ae; stroke-width: 1.4; } .back { stroke-dasharray: 5 3; }
  .tip { fill: #9aa4ae; }
  .words { fill: #22272e; font-size: 11px; } .halo { fill: none; stroke: #fbfbfa; stroke-width: 4px; }
  .asks { fill: #2b6cb0; } .says { fill: #2f855a; } .acts { fill: #b7791f; }
  .ends { fill: #c53030; } .goes { fill: #6b46c1; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #16191d; } .box { fill: #20252b; stroke: #5c6670; } .start { stroke: #e6e8ea; }
    .name, .words { fill: #e6e8ea; } .kind { fill: #9aa4ae; } .halo { stroke: #16191d; }
    .way { stroke: #5c6670; } .tip { fill: #5c6670; }
    .asks { fill: #63a4e8; } .says { fill: #57b98a; } .acts { fill: #e0ab52; }
    .ends { fill: #ef7070; } .goes { fill: #a48bf0; }
  }
";

impl Graph {
    /// An SVG picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let widths: Vec<f64> = self.nodes.iter().map(width).collect();
        let layout = Layout::new(self, &widths);
        let (width, height) = (layout.width.ceil(), layout.height.ceil());
        let title = escaped(self.title.as_deref().unwrap_or(&self.flow));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"10\" \
             markerHeight=\"10\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"tip\" d=\"M0 0 L8 4 L0 8 Z\"/></marker></defs>\n\
             <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n"
        );
        for (edge, way) in self.edges.iter().zip(&layout.ways) {
            let class = if way.is_back { "way back" } else { "way" };
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<path class=\"{class}\"{} marker-end=\"url(#tip)\" d=\"{}\"/>",
                self.thickness(edge),
                curve(way)
            );
        }
        for (node, (corner, width)) in self.nodes.iter().zip(&layout.boxes) {
            draw_node(&mut svg, node, *corner, *width);
        }
        for (edge, way) in self.edges.iter().zip(&layout.ways) {
            let label = edge.words();
            if label.is_empty() {
                continue;
            }
            let ((x, y), anchor) = (way.words, if way.is_back { "start" } else { "middle" });
            let words = escaped(&shortened(&label));
            for class in ["words halo", "words"] {
                let _ = writeln!(
                    svg,
                    "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
                );
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The more calls took a way, the thicker it is.
    fn thickness(&self, edge: &GraphEdge) -> String {
        let most = self.edges.iter().filter_map(|edge| edge.calls).max();
        let (Some(calls), Some(most)) = (edge.calls, most.filter(|most| *most > 0)) else {
            return String::new();
        };
        // Thousandths, so that no picture hangs on the last bits of a float.
        let share = u32::try_from(calls.saturating_mul(1_000) / most).unwrap_or(1_000);
        let width = 1.0 + 4.0 * f64::from(share) / 1_000.0;
        format!(" style=\"stroke-width: {width:.1}\"")
    }
}

fn draw_node(svg: &mut String, node: &GraphNode, (x, y): Point, width: f64) {
    let class = if node.is_start { "box start" } else { "box" };
    let mark = match node.kind {
        "menu" | "collect" | "record" | "voicemail" => "asks",
        "play" | "wait" => "says",
        "hangup" | "return" => "ends",
        "enqueue" | "transfer" | "conference" | "subflow" => "goes",
        _ => "acts",
    };
    let name = escaped(&shortened(words(node)));
    let title = escaped(&node.name);
    let (middle, kind) = (x + width / 2.0 + 2.0, node.below());
    let (name_y, kind_y, low) = (y + 20.0, y + 36.0, BOX_HEIGHT);
    let _ = writeln!(
        svg,
        "<g><title>{title} ({kind})</title>\
         <rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{low}\" rx=\"8\"/>\
         <rect class=\"{mark}\" x=\"{:.1}\" y=\"{:.1}\" width=\"4\" height=\"{}\" rx=\"2\"/>\
         <text class=\"name\" x=\"{middle:.1}\" y=\"{name_y:.1}\" text-anchor=\"middle\">{name}</text>\
         <text class=\"kind\" x=\"{middle:.1}\" y=\"{kind_y:.1}\" text-anchor=\"middle\">{kind}</text></g>",
        x + 6.0,
        y + 9.0,
        low - 18.0
    );
}

fn words(node: &GraphNode) -> &str {
    node.title.as_deref().unwrap_or(&node.name)
}

fn width(node: &GraphNode) -> f64 {
    let long = |text: &str, each: f64| {
        each * f64::from(u16::try_from(text.chars().count()).unwrap_or(u16::MAX))
    };
    let name = long(&shortened(words(node)), NAME_WIDTH);
    (name.max(long(&node.below(), KIND_WIDTH)) + 36.0).max(84.0)
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= WORDS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(WORDS_MAX - 1).collect();
    short.push('…');
    short
}

/// Upright curves between the layers; around corners for ways back.
fn curve(way: &Way) -> String {
    let mut points = way.points.iter();
    let Some((x, y)) = points.next() else {
        return String::new();
    };
    let mut path = format!("M{x:.1} {y:.1}");
    if way.is_back {
        return path + &corners(&way.points);
    }
    let mut last = (*x, *y);
    for (at, (x, y)) in points.enumerate() {
        // Every second step passes a layer of boxes straight down.
        let _ = if at % 2 == 1 {
            write!(path, " L{x:.1} {y:.1}")
        } else {
            let bend = (y - last.1) * 0.5;
            write!(
                path,
                " C{:.1} {:.1} {x:.1} {:.1} {x:.1} {y:.1}",
                last.0,
                last.1 + bend,
                y - bend
            )
        };
        last = (*x, *y);
    }
    path
}

/// Straight ways with round corners of 8.
fn corners(points: &[Point]) -> String {
    let mut path = String::new();
    for three in points.windows(3) {
        let [before, at, after] = three else { continue };
        let near = |other: &Point| {
            let (x, y) = (other.0 - at.0, other.1 - at.1);
            let length = x.hypot(y).max(1.0);
            let share = (8.0 / length).min(0.5);
            (at.0 + x * share, at.1 + y * share)
        };
        let ((ax, ay), (bx, by)) = (near(before), near(after));
        let _ = write!(
            path,
            " L{ax:.1} {ay:.1} Q{:.1} {:.1} {bx:.1} {by:.1}",
            at.0, at.1
        );
    }
    if let Some((x, y)) = points.last() {
        let _ = write!(path, " L{x:.1} {y:.1}");
    }
    path
}

/// Text as XML.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
