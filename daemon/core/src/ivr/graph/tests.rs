use crate::ivr::sim::shipped;

#[test]
fn same_flow_gives_the_same_picture_and_all_of_it_is_inside() {
    for flow in ["main-menu", "callback-confirm", "self-help"] {
        let graph = shipped().graph(flow).unwrap();
        let svg = graph.svg();
        assert_eq!(svg, shipped().graph(flow).unwrap().svg());
        assert_eq!(svg.matches("<g>").count(), graph.nodes.len());
        assert_eq!(svg.matches("class=\"way").count(), graph.edges.len());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{flow}");
        assert!(!svg.contains("=\"-"), "{flow}: something stands outside");
    }
}

#[test]
fn boxes_of_a_layer_do_not_touch() {
    let graph = shipped().graph("main-menu").unwrap();
    let layout = super::layout::Layout::new(&graph, &vec![120.0; graph.nodes.len()]);
    for (n, ((x, y), width)) in layout.boxes.iter().enumerate() {
        for ((other, other_y), _) in layout.boxes.iter().skip(n + 1) {
            assert!(y != other_y || (x - other).abs() >= *width, "{n}");
        }
    }
}

#[test]
fn names_that_drawing_programs_trip_over_are_wrapped() {
    let graph = shipped().graph("callback-confirm").unwrap();
    assert!(graph.mermaid().contains("n_done"));
    let odd = super::Graph {
        flow: "a\"b".to_owned(),
        title: None,
        nodes: vec![super::GraphNode {
            name: "end".to_owned(),
            kind: "hangup",
            title: Some("a \"b\" | <c> & #".to_owned()),
            is_start: true,
            calls: None,
        }],
        edges: vec![super::GraphEdge {
            from: 0,
            to: 0,
            label: "1 \"x\" | y".to_owned(),
            calls: None,
        }],
    };
    assert_eq!(
        odd.mermaid(),
        "flowchart TD\n  n_end([\"a #quot;b#quot; #124; #lt;c#gt; & #35;<br/><small>hangup</small>\"])\n  n_end -->|\"1 #quot;x#quot; #124; y\"| n_end\n"
    );
    assert!(
        odd.dot()
            .contains("label=\"a \\\"b\\\" | <c> & #\\nhangup\"")
    );
    assert!(odd.svg().contains("a &quot;b&quot; | &lt;c&gt; &amp; #"));
}

#[test]
fn what_is_known_of_keys_is_on_the_ways() {
    let graph = shipped().graph("callback-confirm").unwrap();
    let labels: Vec<&str> = graph.edges.iter().map(|e| e.label.as_str()).collect();
    assert!(labels.iter().any(|l| l.starts_with("1 ")), "{labels:?}");
    assert!(shipped().graph("nothing").is_none());
}

#[test]
fn counts_make_ways_thick_and_name_what_is_gone() {
    let mut counts = super::Counts::default();
    for _ in 0..3 {
        counts.add_call(["hello", "wrong", "wrong"]);
    }
    counts.add_call(["hello", "old", "wrong"]);
    counts.add_call([]);
    let mut graph = shipped().graph("callback-confirm").unwrap();
    let plain = graph.svg();
    let gone = graph.count(&counts);
    assert_eq!(
        gone,
        [
            "node old: 1 calls",
            "way hello -> old: 1 calls",
            "way old -> wrong: 1 calls",
            "way wrong -> wrong: 3 calls"
        ]
    );
    let calls = |name: &str| graph.nodes.iter().find(|n| n.name == name).unwrap().calls;
    assert_eq!(
        (calls("hello"), calls("wrong"), calls("connect")),
        (Some(4), Some(4), Some(0))
    );
    let svg = graph.svg();
    assert!(
        svg.contains("stroke-width: 5.0") && svg.contains("menu (4)"),
        "{svg}"
    );
    assert!(svg.contains("stroke-width: 1.0") && !plain.contains("style=\"stroke"));
    assert!(graph.dot().contains("(3)\"") && graph.mermaid().contains("(3)\"|"));
}

#[test]
fn words_of_ways_do_not_lie_on_each_other() {
    for flow in ["main-menu", "callback-confirm", "self-help"] {
        let graph = shipped().graph(flow).unwrap();
        let layout = super::layout::Layout::new(&graph, &vec![120.0; graph.nodes.len()]);
        let words = graph.edges.iter().zip(&layout.ways);
        let words: Vec<_> = words
            .filter(|(edge, way)| !way.is_back && !edge.label.is_empty())
            .collect();
        for (n, (edge, way)) in words.iter().enumerate() {
            for (other, other_way) in words.iter().skip(n + 1) {
                let wide = 3.0 * (edge.label.len() + other.label.len()) as f64;
                let (x, y) = (
                    way.words.0 - other_way.words.0,
                    way.words.1 - other_way.words.1,
                );
                assert!(
                    x.abs() >= wide || y.abs() >= 12.0,
                    "{flow}: {} {}",
                    edge.label,
                    other.label
                );
            }
        }
    }
}
