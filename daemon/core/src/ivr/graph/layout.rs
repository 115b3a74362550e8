//! Where nodes and ways stand: layers from the start downwards (Sugiyama's method). Ways
//! against the stream are set aside, layers follow the longest way, long ways pass through
//! a place in each layer, orders come from barycentres, and columns from least squares.

// Indices come from the very arrays they are used on.
#![allow(clippy::indexing_slicing)]

use std::collections::BTreeSet;

use super::Graph;

/// Size of a character of the words at ways, and room between two lines of them.
const WORD_WIDTH: f64 = 6.1;
const WORD_HEIGHT: f64 = 13.0;
/// Height of a box, and between layers, for ways and their words.
pub(super) const BOX_HEIGHT: f64 = 46.0;
const LAYER_GAP: f64 = 92.0;
/// Between neighbours in a layer.
const GAP: f64 = 36.0;
/// What a long way takes in a layer that it passes.
const PASS_WIDTH: f64 = 14.0;
/// Around the picture.
const MARGIN: f64 = 28.0;
/// Between ways against the stream, at the right.
const LANE: f64 = 22.0;
const SWEEPS: usize = 4;
const ALIGNMENTS: usize = 12;

/// A point, right and down.
pub(super) type Point = (f64, f64);

/// A picture's geometry.
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Upper left corner and width of each node's box.
    pub(super) boxes: Vec<(Point, f64)>,
    /// One for each edge of the graph.
    pub(super) ways: Vec<Way>,
}

/// How an edge runs.
pub(super) struct Way {
    /// Points that it passes, from box to box.
    pub(super) points: Vec<Point>,
    /// It runs against the stream, at the right.
    pub(super) is_back: bool,
    /// Middle of its words.
    pub(super) words: Point,
}

/// A node, or a place that a long way passes.
struct Spot {
    layer: usize,
    width: f64,
    /// Its middle.
    x: f64,
}

/// Spots, and the steps between spots of neighbouring layers.
struct Layers {
    spots: Vec<Spot>,
    steps: Vec<(usize, usize)>,
    /// Spots of each layer, from the left.
    rows: Vec<Vec<usize>>,
    /// The spots each edge passes, both ends included; a way against the stream has only
    /// its ends.
    chains: Vec<Vec<usize>>,
    is_back: Vec<bool>,
}

impl Layout {
    /// Lays out a graph whose boxes have these widths.
    pub(super) fn new(graph: &Graph, widths: &[f64]) -> Layout {
        let mut layers = Layers::new(graph, widths);
        layers.order();
        layers.align();
        layers.draw(graph)
    }
}

impl Layers {
    fn new(graph: &Graph, widths: &[f64]) -> Layers {
        let is_back = against_the_stream(graph);
        let depth = depths(graph, &is_back);
        let mut spots: Vec<Spot> = (widths.iter().zip(&depth))
            .map(|(width, layer)| Spot {
                layer: *layer,
                width: *width,
                x: 0.0,
            })
            .collect();
        let (mut steps, mut chains) = (Vec::new(), Vec::new());
        for (edge, is_back) in graph.edges.iter().zip(&is_back) {
            let mut chain = vec![edge.from];
            if !is_back {
                for layer in depth[edge.from] + 1..depth[edge.to] {
                    chain.push(spots.len());
                    spots.push(Spot {
                        layer,
                        width: PASS_WIDTH,
                        x: 0.0,
                    });
                }
            }
            chain.push(edge.to);
            if !is_back {
                steps.extend(chain.windows(2).map(|pair| (pair[0], pair[1])));
            }
            chains.push(chain);
        }
        let count = spots.iter().map(|spot| spot.layer + 1).max().unwrap_or(0);
        let mut rows = vec![Vec::new(); count];
        for (at, spot) in spots.iter().enumerate() {
            rows[spot.layer].push(at);
        }
        Layers {
            spots,
            steps,
            rows,
            chains,
            is_back,
        }
    }

    /// Spots that a step joins with this one, above or below.
    fn neighbours(&self, spot: usize, above: bool) -> impl Iterator<Item = usize> {
        let steps = self.steps.iter();
        steps.filter_map(move |(upper, lower)| match above {
            true => (*lower == spot).then_some(*upper),
            false => (*upper == spot).then_some(*lower),
        })
    }

    /// Layers, from the second one on in that direction.
    fn sweep(&self, down: bool) -> Vec<usize> {
        let layers = 0..self.rows.len();
        if down {
            layers.skip(1).collect()
        } else {
            layers.rev().skip(1).collect()
        }
    }

    /// Orders each layer by where its neighbours stand, down and up; ties keep the file's.
    fn order(&mut self) {
        let mut place = vec![0.0; self.spots.len()];
        let number = |rows: &[Vec<usize>], place: &mut Vec<f64>| {
            for row in rows {
                for (at, spot) in row.iter().enumerate() {
                    place[*spot] = to_f64(at);
                }
            }
        };
        number(&self.rows, &mut place);
        for sweep in 0..2 * SWEEPS {
            let down = sweep % 2 == 0;
            for layer in self.sweep(down) {
                let mut row = std::mem::take(&mut self.rows[layer]);
                let wish = |spot: &usize| {
                    mean(self.neighbours(*spot, down).map(|n| place[n])).unwrap_or(place[*spot])
                };
                let mut wishes: Vec<(f64, usize)> = row.iter().map(|s| (wish(s), *s)).collect();
                wishes.sort_by(|a, b| a.0.total_cmp(&b.0));
                row = wishes.into_iter().map(|(_, spot)| spot).collect();
                self.rows[layer] = row;
                number(&self.rows[layer..=layer], &mut place);
            }
        }
    }

    /// Gives each spot its column: as near to its neighbours as the order allows.
    fn align(&mut self) {
        for layer in 0..self.rows.len() {
            self.settle(layer, |_, _| None);
        }
        for pass in 0..ALIGNMENTS {
            let down = pass % 2 == 0;
            for layer in self.sweep(down) {
                self.settle(layer, |layers, spot| {
                    mean(layers.neighbours(spot, down).map(|n| layers.spots[n].x))
                });
            }
        }
        let left = |spot: &Spot| spot.x - spot.width / 2.0;
        let least = self.spots.iter().map(left).fold(f64::INFINITY, f64::min);
        for spot in &mut self.spots {
            spot.x += MARGIN - least;
        }
    }

    /// Least squares under the order and the gaps: what stands too near is moved together
    /// (isotonic regression, by pooling neighbours).
    fn settle(&mut self, layer: usize, wish: impl Fn(&Layers, usize) -> Option<f64>) {
        let mut pools: Vec<(f64, usize)> = Vec::new();
        let (mut offset, mut offsets, mut before) = (0.0, Vec::new(), 0.0);
        for (at, spot) in self.rows[layer].iter().enumerate() {
            let half = self.spots[*spot].width / 2.0;
            offset += if at == 0 { half } else { before + GAP + half };
            before = half;
            offsets.push(offset);
            let wanted = wish(self, *spot).unwrap_or(self.spots[*spot].x);
            let mut pool = (wanted - offset, 1);
            while let Some(last) = pools.last().copied().filter(|last| last.0 > pool.0) {
                let count = last.1 + pool.1;
                let sum = last.0 * to_f64(last.1) + pool.0 * to_f64(pool.1);
                pool = (sum / to_f64(count), count);
                pools.pop();
            }
            pools.push(pool);
        }
        let shifts = pools
            .iter()
            .flat_map(|(shift, n)| std::iter::repeat_n(*shift, *n));
        for ((spot, offset), shift) in self.rows[layer]
            .clone()
            .into_iter()
            .zip(offsets)
            .zip(shifts)
        {
            self.spots[spot].x = offset + shift;
        }
    }

    fn draw(&self, graph: &Graph) -> Layout {
        let top = |layer: usize| MARGIN + to_f64(layer) * (BOX_HEIGHT + LAYER_GAP);
        let boxes: Vec<(Point, f64)> = (self.spots.iter().take(graph.nodes.len()))
            .map(|spot| ((spot.x - spot.width / 2.0, top(spot.layer)), spot.width))
            .collect();
        let mut width = (self.spots.iter())
            .map(|spot| spot.x + spot.width / 2.0)
            .fold(0.0, f64::max);
        let mut ways = Vec::new();
        let mut lanes = 0;
        for (at, chain) in self.chains.iter().enumerate() {
            if self.is_back[at] {
                lanes += 1;
                ways.push(self.back(chain, &boxes, width + LANE * to_f64(lanes)));
            } else {
                ways.push(self.forward(at, chain, &boxes));
            }
        }
        set_apart(graph, &mut ways);
        // Room for the words of the ways at the right.
        width += if lanes > 0 {
            LANE * to_f64(lanes) + 90.0
        } else {
            0.0
        };
        Layout {
            width: width + MARGIN,
            height: top(self.rows.len()) - LAYER_GAP + MARGIN,
            boxes,
            ways,
        }
    }

    /// Ways leave a box side by side, in the order of where they go.
    fn forward(&self, edge: usize, chain: &[usize], boxes: &[(Point, f64)]) -> Way {
        let goes = |chain: &[usize]| self.spots[chain[1]].x;
        let mut fan: Vec<usize> = (0..self.chains.len())
            .filter(|n| !self.is_back[*n] && self.chains[*n][0] == chain[0])
            .collect();
        fan.sort_by(|a, b| goes(&self.chains[*a]).total_cmp(&goes(&self.chains[*b])));
        let place = fan.iter().position(|n| *n == edge).unwrap_or(0);
        let share = (to_f64(place) + 1.0) / (to_f64(fan.len()) + 1.0);
        let ((left, top), width) = boxes[chain[0]];
        let start = (left + width * share, top + BOX_HEIGHT);
        let mut points = vec![start];
        for spot in &chain[1..chain.len() - 1] {
            let y = MARGIN + to_f64(self.spots[*spot].layer) * (BOX_HEIGHT + LAYER_GAP);
            points.push((self.spots[*spot].x, y));
            points.push((self.spots[*spot].x, y + BOX_HEIGHT));
        }
        let end = chain[chain.len() - 1];
        points.push((self.spots[end].x, boxes[end].0.1));
        // Neighbouring words stand at different heights.
        let down = [0.34, 0.6, 0.47][place % 3];
        let words = along(&points, down);
        Way {
            points,
            is_back: false,
            words,
        }
    }

    fn back(&self, chain: &[usize], boxes: &[(Point, f64)], lane: f64) -> Way {
        let right = |spot: usize, down: f64| {
            let ((left, top), width) = boxes[spot];
            (left + width, top + BOX_HEIGHT * down)
        };
        let (start, end) = (right(chain[0], 0.68), right(chain[1], 0.32));
        if chain[0] == chain[1] {
            let out = start.0 + 26.0;
            return Way {
                points: vec![start, (out, start.1), (out, end.1), end],
                is_back: true,
                words: (out + 4.0, f64::midpoint(start.1, end.1) + 4.0),
            };
        }
        Way {
            points: vec![start, (lane, start.1), (lane, end.1), end],
            is_back: true,
            words: (lane + 4.0, f64::midpoint(start.1, end.1)),
        }
    }
}

/// Edges that lead back to a node on the way to them, from the start and then in the
/// order of the file.
fn against_the_stream(graph: &Graph) -> Vec<bool> {
    let count = graph.nodes.len();
    let mut is_back = vec![false; graph.edges.len()];
    let (mut done, mut open) = (vec![false; count], BTreeSet::new());
    let start = graph.nodes.iter().position(|node| node.is_start);
    for root in start.into_iter().chain(0..count) {
        // A node and how many of its edges were followed.
        let mut trail = vec![(root, 0)];
        if done[root] {
            continue;
        }
        open.insert(root);
        while let Some((node, followed)) = trail.pop() {
            let mut out = graph
                .edges
                .iter()
                .enumerate()
                .filter(|(_, e)| e.from == node);
            match out.nth(followed) {
                None => {
                    open.remove(&node);
                    done[node] = true;
                }
                Some((at, edge)) => {
                    trail.push((node, followed + 1));
                    if open.contains(&edge.to) {
                        is_back[at] = true;
                    } else if !done[edge.to] {
                        open.insert(edge.to);
                        trail.push((edge.to, 0));
                    }
                }
            }
        }
    }
    is_back
}

/// The layer of each node: the longest way to it.
fn depths(graph: &Graph, is_back: &[bool]) -> Vec<usize> {
    let mut depth = vec![0; graph.nodes.len()];
    // Without ways back no way is longer than there are nodes.
    for _ in 0..graph.nodes.len() {
        let mut changed = false;
        for (edge, _) in graph.edges.iter().zip(is_back).filter(|(_, back)| !**back) {
            if depth[edge.to] <= depth[edge.from] {
                depth[edge.to] = depth[edge.from] + 1;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    depth
}

fn mean(of: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = of.fold((0.0, 0), |(sum, count), x| (sum + x, count + 1));
    (count > 0).then(|| sum / to_f64(count))
}

/// How far across a way is that is so far down: it leaves and arrives upright.
fn smooth(down: f64) -> f64 {
    down * down * (3.0 - 2.0 * down)
}

#[allow(clippy::cast_precision_loss)] // small counts
fn to_f64(count: usize) -> f64 {
    count as f64
}

/// A place on the first step of a way, so far down.
fn along(points: &[Point], down: f64) -> Point {
    let (first, second) = (points[0], points[1]);
    (
        first.0 + (second.0 - first.0) * smooth(down),
        first.1 + (second.1 - first.1) * down,
    )
}

/// Words of ways that cross move along their ways until they lie on no others, if there
/// is such a place.
fn set_apart(graph: &Graph, ways: &mut [Way]) {
    let mut taken: Vec<(Point, f64)> = Vec::new();
    for (edge, way) in graph.edges.iter().zip(ways) {
        if way.is_back || edge.label.is_empty() {
            continue;
        }
        let width = WORD_WIDTH * to_f64(edge.label.chars().count());
        let is_free = |at: Point| {
            !(taken.iter()).any(|(other, wide)| {
                (at.0 - other.0).abs() < (width + wide) / 2.0 + 4.0
                    && (at.1 - other.1).abs() < WORD_HEIGHT
            })
        };
        let places = [0.47, 0.34, 0.6, 0.24, 0.72, 0.82].map(|down| along(&way.points, down));
        let free = std::iter::once(way.words)
            .chain(places)
            .find(|at| is_free(*at));
        way.words = free.unwrap_or(way.words);
        taken.push((way.words, width));
    }
}
