use super::{Coverage, GoldenTest, walk};
use crate::ivr::flow::Source;
use crate::ivr::sim::shipped;

fn source(text: &str) -> Source {
    Source {
        file: "t.test.yaml".to_owned(),
        text: text.to_owned(),
    }
}

fn failure(steps: &str) -> Option<(u32, String)> {
    let given = "given: { input: { request: { queue: web-help, asked_at: \"-7m\" } } }";
    let text = format!("flow: callback-confirm\n{given}\nsteps:\n{steps}");
    let test = GoldenTest::read(&source(&text)).unwrap();
    let outcome = test.run(&shipped(), &mut Coverage::default());
    outcome
        .failure
        .map(|failure| (failure.line, failure.message))
}

#[test]
fn what_holds_passes_and_what_does_not_names_its_line() {
    let good = "  - expect: { said: \"Press 1 to accept\", node: hello }
  - press: \"9\"
  - expect: { does: { store: refused }, said: \"We have removed your number\" }
  - hangup: true
  - expect: { end: 16, path: [hello, wrong] }
";
    assert_eq!(failure(good), None);
    let (line, message) = failure(&good.replace("removed your", "kept your")).unwrap();
    assert_eq!(line, 6);
    assert!(message.contains("We have removed"), "{message}");
    let (line, message) = failure(&good.replace("path: [hello", "path: [wrong, hello")).unwrap();
    assert_eq!(
        (line, message.contains("hello wrong")),
        (8, true),
        "{message}"
    );
    let (line, _) = failure(&good.replace("store: refused", "store: withdrawn")).unwrap();
    assert_eq!(line, 6);
    let (line, message) = failure("  - event: full\n").unwrap();
    assert!(line == 4 && message.contains("does not wait"), "{message}");
    let (_, message) = failure("  - expect: { end: 31 }\n").unwrap();
    assert!(message.contains("cause 16"), "{message}");
    let (line, message) = failure("  - wait: 2h\n  - press: \"1\"\n").unwrap();
    assert!(line == 5 && message.contains("had ended"), "{message}");
}

#[test]
fn a_talk_ends_as_the_test_says() {
    let talk = "  - expect: { said: \"Press 1 to accept\" }
  - press: \"1\"
  - event: answered
  - expect: { does: { event: talk }, node: connect }
  - wait: 2h
  - event: talk_broke
  - wait: 5s
  - event: answered
  - event: talk_ended
  - expect: { does: { event: answered }, end: 16, path: [hello, connect, done] }
";
    assert_eq!(failure(talk), None);
    let (line, message) = failure(&talk.replace("talk_broke", "no_answer")).unwrap();
    assert!(line == 9 && message.contains("transferred"), "{message}");
    for event in ["talk_broke", "talk_ended"] {
        let early = format!("  - event: {event}\n{talk}");
        assert_eq!(failure(&early).map(|(line, _)| line), Some(4), "{event}");
    }
}

#[test]
fn files_that_are_no_tests_are_refused_with_their_place() {
    for (bad, line, part) in [
        ("", 1, ""),
        ("flow: a\nsteps: []\n", 1, "steps"),
        (
            "flow: a\nsteps:\n  - { press: \"1\", wait: 3s }\n",
            3,
            "exactly one",
        ),
        ("flow: a\nsteps:\n  - {}\n", 3, "exactly one"),
        ("flow: a\nsteps:\n  - press: \"1x\"\n", 3, "keys"),
        ("flow: a\nsteps:\n  - wait: soon\n", 3, "length of time"),
        ("flow: a\nsteps:\n  - expect: { within: 9 }\n", 3, ""),
        ("flow: a\nsteps:\n  - expect: { sayd: x }\n", 3, "sayd"),
        ("flow: a\nsteps:\n  - event: never\n", 3, "never"),
        ("flow: a\nsteps:\n  - hangup: false\n", 3, "hangup"),
        (
            "flow: a\ngiven: { callback: maybe }\nsteps:\n  - hangup: true\n",
            2,
            "maybe",
        ),
    ] {
        let fault = GoldenTest::read(&source(bad)).expect_err(bad);
        assert_eq!(fault.line, line, "{bad:?}: {fault}");
        assert!(fault.message.contains(part), "{bad:?}: {fault}");
    }
}

#[test]
fn unknown_flow_is_a_failure_and_nothing_is_covered() {
    let test = GoldenTest::read(&source("flow: none\nsteps:\n  - hangup: true\n")).unwrap();
    let mut coverage = Coverage::default();
    let outcome = test.run(&shipped(), &mut coverage);
    assert!(outcome.failure.unwrap().message.contains("none"));
    let covered = coverage.of(&shipped(), "main-menu").unwrap();
    assert_eq!(
        (covered.nodes.0, covered.ways.0, covered.percent()),
        (0, 0, 0)
    );
    assert_eq!(covered.missing.len(), covered.nodes.1 + covered.ways.1);
    assert!(coverage.of(&shipped(), "none").is_none());
}

/// A flow helps, or an agent.
const HELP: [Option<&str>; 2] = [Some("self-help"), None];

#[test]
fn random_callers_of_the_shipped_flows_all_end_well() {
    let [flow, agent] = HELP;
    for (name, help) in [
        ("main-menu", flow),
        ("callback-confirm", flow),
        ("self-help", flow),
        ("wait-in-line", agent),
    ] {
        for seed in 0..100 {
            let walk = walk(&shipped(), name, help, seed);
            assert!(walk.failure.is_none(), "{:?}\n{}", walk.failure, walk.test);
        }
    }
}

#[test]
fn a_walk_is_a_test_that_does_the_same() {
    let set = shipped();
    let mut talks = 0;
    let [flow, agent] = HELP;
    let flows = [("callback-confirm", flow), ("wait-in-line", agent)];
    for (seed, (name, help)) in (0..50).flat_map(|seed| flows.map(|flow| (seed, flow))) {
        let walk = walk(&set, name, help, seed);
        let test = GoldenTest::read(&source(&walk.test)).expect(&walk.test);
        let outcome = test.run(&set, &mut Coverage::default());
        assert!(
            outcome.failure.is_none(),
            "{:?}\n{}",
            outcome.failure,
            walk.test
        );
        talks += usize::from(walk.test.contains("event: talk_ended"));
    }
    assert!(talks > 0);
}
