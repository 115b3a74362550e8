//! Frames, limits, errors, hanging up, languages, secrets.

use std::time::Duration;

use super::*;
use crate::ivr::machine::{FlowMachine, StartError};
use crate::ivr::sim::Answer;

#[test]
fn a_called_flow_takes_inputs_and_hands_back_outputs() {
    let main = "helpline: 1\nid: t\nstart: a\nvars: { v: { type: int } }\nnodes: { a: { type: subflow, flow: u, with: { x: \"20\" }, save: { v: \"z + 1\" }, next: b, events: { odd: { next: odd } } }, b: { type: branch, cases: [{ when: \"v == 42\", next: ok }], else: bad }, odd: { type: hangup, cause: 17 }, ok: { type: hangup, cause: 31 }, bad: { type: hangup, cause: 21 } }";
    let sub = "helpline: 1\nid: u\nstart: a\ninput: { x: { type: int, required: true } }\noutput: { z: { type: int } }\nnodes: { a: { type: set, set: { z: \"x * 2 + 1\" }, next: c }, c: { type: branch, cases: [{ when: \"x > 100\", next: r }], else: q }, q: { type: return }, r: { type: return, event: odd } }";
    let sim = crate::ivr::sim::call(load(&[("t", main), ("u", sub)]), sim::start("t"));
    assert_eq!(sim.ended, Some(31), "{}", sim.trace());
    let sim = crate::ivr::sim::call(
        load(&[("t", &main.replace("\"20\"", "\"200\"")), ("u", sub)]),
        sim::start("t"),
    );
    assert_eq!(sim.ended, Some(17), "{}", sim.trace());
}

#[test]
fn flows_may_call_each_other_five_deep() {
    let flow = |i: u32| {
        format!(
            "helpline: 1\nid: f{i}\nstart: a\nnodes: {{ a: {{ type: subflow, flow: f{}, next: b }}, b: {{ type: return }} }}",
            i + 1
        )
    };
    let mut texts: Vec<(String, String)> = (0..6).map(|i| (format!("f{i}"), flow(i))).collect();
    texts.push((
        "f6".into(),
        "helpline: 1\nid: f6\nstart: a\nnodes: { a: { type: hangup, cause: 17 } }".into(),
    ));
    let refs: Vec<(&str, &str)> = texts
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let set = load(&refs);
    assert_eq!(
        crate::ivr::sim::call(Arc::clone(&set), sim::start("f2")).ended,
        Some(17)
    );
    assert_eq!(crate::ivr::sim::call(set, sim::start("f0")).ended, Some(41));
}

#[test]
fn hanging_up_lets_silent_nodes_run_and_nothing_else() {
    let nodes = "  a: { type: menu, say: [{ prompt: long }], keys: { \"1\": { next: ok } }, events: { hangup: { next: b } } }\n  b: { type: callback, cancel: withdrawn, say: [{ prompt: q }], next: c }\n  c: { type: set, set: { v: \"'x'\" }, next: ok }";
    let mut sim = call(nodes);
    sim.answers.push_back(Answer::Done);
    sim.input(Input::Hangup);
    assert!(sim.traced("store", "withdrawn") && sim.traced("set", "v=x"));
    assert!(!sim.traced("say", "q"), "nobody hears it");
    assert_eq!(sim.ended, Some(31));

    let mut sim = call(nodes);
    sim.input(Input::Hangup);
    sim.input(Input::Hangup);
    sim.press("1");
    sim.wait(Duration::from_secs(10));
    assert_eq!(
        sim.ended,
        Some(16),
        "after ten seconds it is over:\n{}",
        sim.trace()
    );
}

#[test]
fn hanging_up_without_an_exit_ends_the_flow_once() {
    let mut sim = call("  a: { type: play, say: [{ prompt: long }], next: ok }");
    sim.input(Input::Hangup);
    assert_eq!(sim.ended, Some(16));
    let before = sim.log.len();
    for input in [
        Input::Hangup,
        Input::Timeout,
        Input::KeyDown(Key::new('1').unwrap()),
    ] {
        sim.input(input);
    }
    assert_eq!(sim.log.len(), before);
    assert_eq!(sim.machine.deadline(), None);
    assert!(sim.machine.ended());
}

#[test]
fn an_error_on_the_way_to_the_error_exit_ends_the_call() {
    let nodes = "  a: { type: branch, cases: [{ when: \"int(v) > 0\", next: ok }], else: ok, events: { error: { next: b } } }\n  b: { type: branch, cases: [{ when: \"int(v) > 0\", next: ok }], else: ok, events: { error: { next: a } } }";
    assert_eq!(call(nodes).ended, Some(41));
}

#[test]
fn an_error_in_a_called_flow_reaches_the_caller_of_it() {
    let main = "helpline: 1\nid: t\nstart: a\nnodes: { a: { type: subflow, flow: u, next: ok, events: { error: { next: bad } } }, ok: { type: hangup, cause: 31 }, bad: { type: hangup, cause: 21 } }";
    let sub = "helpline: 1\nid: u\nstart: a\nvars: { v: { type: string } }\nnodes: { a: { type: branch, cases: [{ when: \"int(v) > 0\", next: r }], else: r }, r: { type: return } }";
    assert_eq!(
        crate::ivr::sim::call(load(&[("t", main), ("u", sub)]), sim::start("t")).ended,
        Some(21)
    );
}

#[test]
fn the_number_of_steps_and_the_length_are_limited() {
    let round = "  a: { type: menu, say: [{ prompt: q }], keys: { \"1\": { next: ok }, \"*\": { next: a } } }";
    let set = set_with("limits: { max_steps: 5, max_duration: 1h }", round);
    let mut sim = crate::ivr::sim::call(set, sim::start("t"));
    sim.press("****");
    assert!(sim.ended.is_none());
    sim.press("*");
    assert_eq!(sim.ended, Some(41));
    assert!(sim.traced("event", "limit max_steps"));

    let set = set_with(
        "limits: { max_duration: 3s }",
        "  a: { type: play, say: [{ prompt: long }], next: ok }",
    );
    let mut sim = crate::ivr::sim::call(set, sim::start("t"));
    sim.finish();
    assert_eq!(at(&sim, "event", "limit max_duration"), 3_000);
}

#[test]
fn waiting_in_line_does_not_count_as_length() {
    let set = set_with(
        "limits: { max_duration: 3s }",
        "  a: { type: enqueue, queue: q, place: reserved, max_wait: 60s, next: b }\n  b: { type: play, say: [{ prompt: long }], next: ok }",
    );
    let mut sim = crate::ivr::sim::call(set, sim::start("t"));
    sim.finish();
    assert_eq!(at(&sim, "event", "timeout"), 60_000);
    assert_eq!(at(&sim, "event", "limit max_duration"), 63_000);
}

#[test]
fn a_circle_that_lint_cannot_see_ends_in_an_error() {
    // The clip is skipped, so the play takes no time; the menu is left by its event at once.
    let nodes = "  a: { type: play, say: [{ prompt: q, when: \"false\" }], loop: 100, next: b }\n  b: { type: subflow, flow: u, next: ok, events: { again: { next: a } } }";
    let main = format!(
        "helpline: 1\nid: t\nstart: a\nprompts: {{ q: {{ text: \"0123456789\" }} }}\nnodes:\n{nodes}\n  ok: {{ type: hangup }}\n"
    );
    let sub = "helpline: 1\nid: u\nstart: r\nnodes: { r: { type: return, event: again } }";
    let sources: Vec<_> = [("t", main.as_str()), ("u", sub)]
        .iter()
        .map(|(id, text)| crate::ivr::flow::Source {
            file: format!("{id}.flow.yaml"),
            text: (*text).to_owned(),
        })
        .collect();
    let (set, faults) = FlowSet::load(&sources, &[sim::locale_for("en-US", &PROMPTS)]);
    assert!(
        set.is_none() && faults.iter().any(|f| f.code == "E105"),
        "{faults:#?}"
    );
}

#[test]
fn secrets_are_masked_in_traces_and_recordings() {
    let nodes = "  a: { type: collect, say: [{ prompt: q }], digits: { min: 4, max: 4 }, save: s, next: b }\n  b: { type: play, say: [{ digits: s }], next: ok }";
    let mut sim = call(nodes);
    sim.press("4711");
    sim.finish();
    let log = format!("{:?}", sim.log);
    assert!(
        !sim.trace().contains("4711") && sim.said() == "0123456789 | ******",
        "{log}"
    );
    assert!(sim.traced("key", "masked") && sim.traced("set", "s=******"));
    let masks: Vec<bool> = sim
        .log
        .iter()
        .filter_map(|(_, o)| match o {
            Output::Mask(on) => Some(*on),
            _ => None,
        })
        .collect();
    assert_eq!(masks, [true, false]);
    assert!(log.contains("en-US/n.7"), "it is still read to the caller");
}

#[test]
fn the_nearest_language_of_the_flow_is_taken() {
    let nodes = "  a: { type: set, set: { lang: \"'de'\" }, next: b }\n  b: { type: play, say: [{ prompt: q }], next: ok }";
    for (wish, locales, first, then) in [
        ("fr", "[en-US, fr-FR]", "fr-FR", "en-US"),
        ("FR_fr", "[en-US, fr-FR]", "fr-FR", "en-US"),
        ("", "[fr-FR, en-US]", "fr-FR", "fr-FR"),
        ("en-GB", "[fr-FR, en-US]", "en-US", "fr-FR"),
    ] {
        let mut start = sim::start("t");
        start.language = wish.to_owned();
        let mut nodes = nodes.to_owned();
        for lang in [first, then] {
            let mut sim = crate::ivr::sim::call(
                set_with(&format!("locales: {locales}"), &nodes),
                start.clone(),
            );
            sim.finish();
            let log = format!("{:?}", sim.log);
            if lang == then && nodes.contains("'de'") {
                assert!(log.contains(&format!("{then}/q")), "{wish} {locales}");
            }
            nodes = "  a: { type: play, say: [{ prompt: q }], next: ok }".to_owned();
        }
        let sim = crate::ivr::sim::call(set_with(&format!("locales: {locales}"), &nodes), start);
        assert!(
            format!("{:?}", sim.log).contains(&format!("{first}/q")),
            "{wish} {locales}"
        );
    }
}

#[test]
fn an_item_that_cannot_be_said_is_left_out() {
    let nodes = "  a: { type: play, say: [{ number: \"int(v)\" }, { digits: \"'x'\" }, { ordinal: \"99\" }, { prompt: q, when: \"int(v) > 1\" }, { prompt: sorry }], next: ok }";
    let mut sim = call(nodes);
    sim.finish();
    assert_eq!(sim.said(), "01234");
    assert_eq!(sim.trace().matches("say_error").count(), 4);
    assert_eq!(sim.ended, Some(31));
}

#[test]
fn a_variable_that_grows_too_large_is_an_error() {
    let nodes = "  a: { type: set, set: { v: \"'0123456789abcdef'\" }, next: b }\n  b: { type: set, set: { v: \"v + v\" }, next: m }\n  m: { type: menu, say: [{ prompt: q }], keys: { \"1\": { next: b } }, events: { error: { next: bad } } }";
    let mut sim = call(nodes);
    sim.press("11111111111111");
    assert_eq!(sim.ended, Some(41), "{}", sim.trace());
}

#[test]
fn inputs_are_converted_or_refused() {
    let top = "input: { r: { type: map, fields: { t: timestamp, count: int, d: duration } }, w: { type: int, required: true } }";
    let set = set_with(
        top,
        "  a: { type: branch, cases: [{ when: \"now - r.t == duration('420s') && r.count + 1 == 3 && r.d == duration('5m') && !has(r.x)\", next: ok }], else: bad }",
    );
    let start = |r: serde_json::Value, w: serde_json::Value| {
        let mut start = sim::start("t");
        start.input.insert("r".into(), r);
        start.input.insert("w".into(), w);
        start
    };
    let asked = (sim::NOW - Duration::from_secs(420)).rfc3339();
    let good =
        serde_json::json!({ "t": asked, "count": 2, "d": "5m", "other": [1, { "a": null }] });
    assert_eq!(
        crate::ivr::sim::call(Arc::clone(&set), start(good, 1.into())).ended,
        Some(31)
    );
    for (r, w) in [
        (
            serde_json::json!({ "t": "yesterday" }),
            serde_json::json!(1),
        ),
        (serde_json::json!({ "t": 5 }), serde_json::json!(1)),
        (serde_json::json!({ "count": "2" }), serde_json::json!(1)),
        (
            serde_json::json!({ "count": 99999999999999999999.0 }),
            serde_json::json!(1),
        ),
        (serde_json::json!([]), serde_json::json!(1)),
        (serde_json::json!({}), serde_json::json!("1")),
        (
            serde_json::json!({ "x": "y".repeat(70_000) }),
            serde_json::json!(1),
        ),
    ] {
        let error = FlowMachine::new(Arc::clone(&set), start(r.clone(), w)).unwrap_err();
        assert!(matches!(error, StartError::BadInput { .. }), "{r}: {error}");
    }
    assert!(matches!(
        FlowMachine::new(Arc::clone(&set), sim::start("t")),
        Err(StartError::BadInput { .. })
    ));
    assert!(matches!(
        FlowMachine::new(set, sim::start("nosuch")),
        Err(StartError::NoFlow(_))
    ));
}
