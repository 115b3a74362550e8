//! Faults that only a daemon's configuration shows, and habits that callers suffer from.

use std::collections::BTreeSet;

use super::*;

/// The codes of a flow that is checked against this configuration.
fn known_codes(text: &str, known: &Known) -> Vec<&'static str> {
    let source = Source {
        file: "t.flow.yaml".to_owned(),
        text: text.to_owned(),
    };
    let locale = sim::locale_for("en-US", &PROMPTS);
    let (_, faults) = FlowSet::load_for(&[source], &[locale], known);
    faults.iter().map(|f| f.code).collect()
}

fn names(all: &[&str]) -> Option<BTreeSet<String>> {
    Some(all.iter().map(ToString::to_string).collect())
}

#[test]
fn e114_what_must_be_heard_comes_first() {
    let text = BASE.replacen(
        "say: [{ prompt: ask }]",
        "say: [{ pause: 1s }, { prompt: ask, barge_in: false }]",
        1,
    );
    let faults = check(&[("t", &text)]);
    assert_eq!((faults[0].code, faults[0].line), ("E114", 10), "{faults:?}");
    let first = BASE.replacen(
        "say: [{ prompt: ask }]",
        "say: [{ prompt: ask, barge_in: false }, { pause: 1s }]",
        1,
    );
    assert_eq!(check(&[("t", &first)]), []);
}

#[test]
fn e118_what_is_not_configured_is_named() {
    let known = Known {
        queues: names(&["help"]),
        mailboxes: names(&["help"]),
        calendars: names(&["office"]),
        env: names(&["CRM"]),
        hosts: names(&["crm.example"]),
        starts: None,
        files: names(&["hold/default"]),
    };
    let with = |c: &str| BASE.replacen("c: { type: set, set: { v: \"'x' + v\" }, next: d }", c, 1);
    for (node, good) in [
        ("type: enqueue, queue: help, next: d", true),
        ("type: enqueue, queue: sales, next: d", false),
        ("type: enqueue, queue: \"{{v}}\", next: d", true),
        ("type: voicemail, box: help, next: d", true),
        ("type: voicemail, box: other, next: d", false),
        (
            "type: webhook, request: { method: GET, url: \"https://crm.example/x\" }, next: d",
            true,
        ),
        (
            "type: webhook, request: { method: GET, url: \"https://evil.example/x\" }, next: d",
            false,
        ),
        (
            "type: webhook, request: { method: GET, url: \"{{{env.CRM}}}/x\" }, next: d",
            true,
        ),
        (
            "type: webhook, request: { method: GET, url: \"{{{env.ERP}}}/x\" }, next: d",
            false,
        ),
        (
            "type: callback, queue: sales, number: call.from, next: d",
            false,
        ),
    ] {
        let codes = known_codes(&with(&format!("c: {{ {node} }}")), &known);
        let found = codes.contains(&"E118");
        assert_eq!(found, !good, "{node}: {codes:?}");
    }
    for (name, good) in [("help", true), ("sales", false)] {
        let node = format!(
            "c: {{ type: branch, cases: [{{ when: \"queues['{name}'].open\", next: d }}], else: d }}"
        );
        let codes = known_codes(&with(&node), &known);
        assert_eq!(codes.contains(&"E118"), !good, "{name}: {codes:?}");
    }
    let wait = with("c: { type: wait, for: 5s, music: hold/jazz, next: d }");
    assert!(known_codes(&wait, &known).contains(&"E107"));
    let hours = BASE.replacen("start: a", "start: a\ncalendar: shop", 1);
    assert_eq!(known_codes(&hours, &known), ["E118"]);
}

#[test]
fn w204_more_than_five_choices_or_a_long_wait_for_the_first_are_told() {
    let keys: String = (2..=6)
        .map(|n| format!(", \"{n}\": {{ next: c }}"))
        .collect();
    let many = BASE.replacen(
        "\"1\": { next: c }",
        &format!("\"1\": {{ next: c }}{keys}"),
        1,
    );
    assert!(check(&[("t", &many)]).iter().any(|f| f.code == "W204"));
    let again = BASE.replacen(
        "\"1\": { next: c }",
        "\"1\": { next: c }, \"*\": { next: b }",
        1,
    );
    assert!(!check(&[("t", &again)]).iter().any(|f| f.code == "W204"));
    let long = format!("{} press 1.", "x".repeat(400));
    let text = BASE.replacen("To go on, press 1.", &long, 1);
    assert!(check(&[("t", &text)]).iter().any(|f| f.code == "W204"));
}

#[test]
fn w205_a_flow_that_answers_calls_has_a_way_to_help() {
    let known = Known {
        starts: names(&["t"]),
        ..Known::default()
    };
    assert_eq!(known_codes(BASE, &known), ["W205"]);
    let text = BASE.replacen(
        "  d: { type: hangup }",
        "  d: { type: voicemail, box: help, next: e }\n  e: { type: hangup }",
        1,
    );
    assert_eq!(known_codes(&text, &known), Vec::<&str>::new());
}

#[test]
fn w207_events_that_would_be_errors_are_named() {
    let with = |c: &str| BASE.replacen("c: { type: set, set: { v: \"'x' + v\" }, next: d }", c, 1);
    let open = with("c: { type: enqueue, queue: \"{{v}}\", events: { answered: { next: d } } }");
    let faults = check(&[("t", &open)]);
    let fault = faults.iter().find(|f| f.code == "W207").unwrap();
    assert!(
        fault.message.contains("timeout, no_agents, full"),
        "{fault}"
    );
    let closed = with("c: { type: enqueue, queue: \"{{v}}\", next: d }");
    assert_eq!(check(&[("t", &closed)]), []);
}

#[test]
fn w208_a_value_between_prompts_is_told_where_there_are_two_languages() {
    let text = BASE
        .replacen("start: a", "start: a\nlocales: [en-US, fr-FR]", 1)
        .replacen(
            "say: [{ prompt: hello }]",
            "say: [{ prompt: hello }, { number: \"3\" }]",
            1,
        );
    let source = Source {
        file: "t.flow.yaml".to_owned(),
        text,
    };
    let locales = ["en-US", "fr-FR"].map(|name| sim::locale_for(name, &PROMPTS));
    let (_, faults) = FlowSet::load(&[source], &locales);
    assert_eq!(faults[0].code, "W208", "{faults:?}");
}

#[test]
fn w209_a_key_that_is_a_comment_is_found() {
    let text = BASE.replacen(
        "\"1\": { next: c }",
        "\"1\": { next: c },\n    #: { next: d }\n   ",
        1,
    );
    let faults = check(&[("t", &text)]);
    assert_eq!(faults[0].code, "W209", "{faults:?}");
}

#[test]
fn w210_a_macro_in_a_macro_is_told() {
    let text = BASE.replacen(
        "'x' + v",
        "[1].exists(x, [2].exists(y, x == y)) ? 'a' : v",
        1,
    );
    assert_eq!(check(&[("t", &text)])[0].code, "W210");
}
