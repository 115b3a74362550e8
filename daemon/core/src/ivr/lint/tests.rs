//! One bad file a code, at its place; and the shipped flows, which are clean.

use super::super::fault::{Fault, Severity};
use super::super::flow::{FlowSet, Known, Source};
use super::super::sim;

mod damaged;
mod known;
mod manual;

const PROMPTS: [(&str, &str); 3] = [
    ("hello", "Hello."),
    ("ask", "To go on, press 1."),
    ("later", "In {wait}."),
];

fn check(flows: &[(&str, &str)]) -> Vec<Fault> {
    let sources: Vec<Source> = flows
        .iter()
        .map(|(id, text)| Source {
            file: format!("{id}.flow.yaml"),
            text: (*text).to_owned(),
        })
        .collect();
    let (set, faults) = FlowSet::load(&sources, &[sim::locale_for("en-US", &PROMPTS)]);
    let errors = faults.iter().any(|f| f.severity == Severity::Error);
    assert_eq!(set.is_none(), errors);
    faults
}

/// The base of most cases: clean, every line known.
const BASE: &str = "helpline: 1
id: t
start: a
vars: { v: { type: string } }
prompts:
  hello: { text: \"Hello.\" }
  ask: { text: \"To go on, press 1.\" }
nodes:
  a: { type: play, say: [{ prompt: hello }], next: b }
  b: { type: menu, say: [{ prompt: ask }], keys: { \"1\": { next: c } }, events: { exhausted: { next: d } } }
  c: { type: set, set: { v: \"'x' + v\" }, next: d }
  d: { type: hangup }
";

/// Exactly these faults, as `line:column code`, with this text in the first message.
fn expect(from: &str, to: &str, wanted: &[&str], says: &str) {
    assert!(BASE.contains(from), "{from}");
    let text = BASE.replacen(from, to, 1);
    let faults = check(&[("t", &text)]);
    let have: Vec<String> = faults
        .iter()
        .map(|f| format!("{}:{} {}", f.line, f.column, f.code))
        .collect();
    assert_eq!(have, wanted, "{to}\n{faults:#?}");
    if let Some(first) = faults.first() {
        assert!(first.message.contains(says), "{first}");
    }
}

#[test]
fn the_base_and_the_shipped_flows_are_clean() {
    assert_eq!(check(&[("t", BASE)]), []);
    let (set, faults) = FlowSet::load(&sim::shipped_flows(), &sim::shipped_locales());
    assert_eq!(faults, []);
    let set = set.unwrap();
    let names: Vec<&str> = set.names().collect();
    let all = [
        "callback-confirm",
        "guest",
        "main-menu",
        "satisfaction",
        "self-help",
        "voicemail",
        "wait-in-line",
    ];
    assert_eq!(names, all);
    assert!(set.clips().contains("en-US/hello.0") && set.clips().contains("en-US/n.99"));
    assert_eq!(set.hash().len(), 64);
}

#[test]
fn e001_a_file_that_is_no_yaml_is_refused_at_its_place() {
    let faults = check(&[("t", "helpline: 1\nid: [\n")]);
    assert_eq!(faults[0].code, "E001");
    assert!(faults[0].line >= 2, "{}", faults[0]);
    let faults = check(&[("t", &BASE.replace("type: hangup", "type: &x hangup"))]);
    assert_eq!(faults[0].code, "E001");
}

#[test]
fn e002_a_wrong_shape_names_field_and_remedy() {
    expect(
        "next: b",
        "nxet: b",
        &["9:3 E002", "9:46 E002"],
        "needs the field \"next\"",
    );
    let text = BASE.replacen("next: b", "nxet: b", 1);
    assert!(
        check(&[("t", &text)])[1]
            .message
            .contains("did you mean \"next\"?")
    );
    expect(
        "type: set",
        "type: sett",
        &["11:14 E002"],
        "did you mean \"set\"?",
    );
    expect(
        "type: hangup",
        "type: hangpu",
        &["12:14 E002"],
        "did you mean \"hangup\"?",
    );
    expect(
        "type: hangup",
        "type: hangup, cause: 200",
        &["12:29 E002"],
        "1 to 127",
    );
    expect("id: t", "id: u", &["1:1 E002"], "must be named u.flow.yaml");
}

#[test]
fn e101_an_unknown_target_is_pointed_at() {
    expect(
        "next: b",
        "next: bb",
        &["9:52 E101", "10:3 E102", "11:3 E102", "12:3 E102"],
        "did you mean \"b\"?",
    );
    let start = BASE.replacen("start: a", "start: x", 1);
    assert_eq!(check(&[("t", &start)])[0].code, "E101");
}

#[test]
fn e102_a_node_nothing_leads_to_is_told() {
    expect(
        "  d: { type: hangup }\n",
        "  d: { type: hangup }\n  e: { type: hangup }\n",
        &["13:3 E102"],
        "\"e\"",
    );
}

#[test]
fn e103_an_exit_leading_nowhere_is_told() {
    expect(
        "exhausted: { next: d }",
        "exhausted: { label: x }",
        &["10:82 E103"],
        "\"exhausted\"",
    );
    expect(
        "type: set, set: { v: \"'x' + v\" }, next: d",
        "type: enqueue, queue: \"{{v}}\", place: reserved",
        &["11:3 E103", "11:3 E104", "11:3 W207"],
        "nothing follows the talk",
    );
}

#[test]
fn e104_nodes_without_a_way_to_an_end_are_named() {
    let text = BASE
        .replacen("exhausted: { next: d }", "exhausted: { next: a }", 1)
        .replacen("'x' + v\" }, next: d", "'x' + v\" }, next: b", 1);
    let faults = check(&[("t", &text)]);
    let have: Vec<_> = faults.iter().map(|f| (f.code, f.line)).collect();
    assert_eq!(have, [("E104", 9), ("E102", 12)]);
    assert!(
        faults[0].message.ends_with("from: a, b, c"),
        "{}",
        faults[0]
    );
    expect("'x' + v\" }, next: d", "'x' + v\" }, next: b", &[], "");
}

#[test]
fn e105_a_circle_without_a_question_is_told() {
    expect(
        "'x' + v\" }, next: d",
        "'x' + v\" }, next: c",
        &["11:3 E104", "11:3 E105"],
        "from: c",
    );
}

#[test]
fn e106_an_undeclared_prompt_is_told() {
    expect(
        "prompt: hello }], next",
        "prompt: helo }], next",
        &["6:3 W201", "9:26 E106"],
        "never played",
    );
    let text = BASE.replacen("prompt: hello }], next", "prompt: helo }], next", 1);
    assert!(
        check(&[("t", &text)])[1]
            .message
            .contains("did you mean \"hello\"?")
    );
}

#[test]
fn e107_a_missing_recording_is_told() {
    expect(
        "vars:",
        "locales: [de-DE]\nvars:",
        &["4:11 E107"],
        "de-DE has no prompts",
    );
    let more = BASE.replacen(
        "hello: { text: \"Hello.\" }",
        "hello: { text: \"Hello.\" }\n  neu: { text: \"New.\" }",
        1,
    );
    let more = more.replacen(
        "say: [{ prompt: hello }]",
        "say: [{ prompt: hello }, { prompt: neu }]",
        1,
    );
    let faults = check(&[("t", &more)]);
    assert_eq!((faults[0].code, faults[0].line), ("E107", 7));
    assert!(faults[0].message.contains("prompts/build.py"));
}

#[test]
fn e108_an_expression_that_cannot_work_is_told() {
    let at = "11:29 E108";
    expect("\"'x' + v\"", "\"'x' +\"", &[at], "no expression");
    expect(
        "\"'x' + v\"",
        "\"v + vv\"",
        &[at],
        "\"vv\" is not known here, did you mean \"v\"?",
    );
    expect("\"'x' + v\"", "\"v + 1\"", &[at], "");
    expect(
        "\"'x' + v\"",
        "\"size(v)\"",
        &[at],
        "gives an int, but this place needs a value of type string",
    );
    expect(
        "\"'x' + v\"",
        "\"v + digits\"",
        &[at],
        "\"digits\" is not known here",
    );
    expect(
        "{ prompt: hello }]",
        "{ prompt: hello, when: \"size(v)\" }]",
        &["9:49 E108"],
        "bool",
    );
    expect("\"'x' + v\"", "\"v + string(int(v))\"", &[], "");
}

#[test]
fn e002_a_call_that_is_given_away_has_no_words_and_no_number_of_ours() {
    let with = |fields: &str| {
        let node = format!("c: {{ type: transfer, to: \"{{{{v}}}}\", {fields}next: d }}");
        let text = BASE.replacen(
            "c: { type: set, set: { v: \"'x' + v\" }, next: d }",
            &node,
            1,
        );
        let faults = check(&[("t", &text)]);
        faults.first().map(ToString::to_string).unwrap_or_default()
    };
    assert_eq!(with("mode: blind, "), "");
    assert!(with("mode: blnd, ").contains("`mode` is bridge or blind or attended"));
    let whisper = with("mode: blind, whisper: [{ prompt: hello }], ");
    assert!(
        whisper.contains("`whisper` is nothing for `mode: blind`"),
        "{whisper}"
    );
    let caller_id = with("mode: blind, caller_id: v, ");
    assert!(caller_id.contains("`caller_id` is nothing"), "{caller_id}");
}

#[test]
fn e108_lines_are_read_by_their_facts() {
    let with = |when: &str| {
        let node =
            format!("c: {{ type: branch, cases: [{{ when: \"{when}\", next: d }}], else: d }}");
        let text = BASE.replacen(
            "c: { type: set, set: { v: \"'x' + v\" }, next: d }",
            &node,
            1,
        );
        check(&[("t", &text)])
            .iter()
            .map(|f| f.code)
            .collect::<Vec<_>>()
    };
    // `v` is no longer used.
    for good in [
        "queues['help'].open && queues['help'].waiting < 5",
        "has(queues['help'].ewt) && queues['help'].ewt < duration('10m')",
        "queues.help.agents > 0",
        "queues[v].open",
    ] {
        assert!(!with(good).contains(&"E108"), "{good}: {:?}", with(good));
    }
    for bad in [
        "queues['help'].waitng < 5",
        "queues['help'].waiting",
        "queues['help'].ewt < 600",
    ] {
        assert!(with(bad).contains(&"E108"), "{bad}: {:?}", with(bad));
    }
}

#[test]
fn e109_only_declared_names_that_are_not_inputs_can_be_written() {
    expect(
        "set: { v:",
        "set: { vv:",
        &["11:26 E109"],
        "is not declared under `vars` or `output`, did you mean \"v\"?",
    );
    expect(
        "set: { v:",
        "set: { now:",
        &["11:26 E109"],
        "cannot be written",
    );
    let input = BASE.replacen("vars:", "input:", 1);
    let faults = check(&[("t", &input)]);
    assert_eq!(
        (faults[0].code, faults[0].line, faults[0].column),
        ("E109", 11, 26)
    );
}

#[test]
fn e110_a_value_without_recordings_is_told() {
    expect(
        "{ prompt: hello }]",
        "{ prompt: hello }, { number: \"1\", unit: apple }]",
        &["9:55 E110"],
        "unit.apple.one",
    );
}

#[test]
fn e111_a_name_of_helpline_itself_cannot_be_declared() {
    expect(
        "vars: { v:",
        "vars: { call: { type: string }, v:",
        &["4:9 E111", "4:9 W201"],
        "\"call\"",
    );
}

#[test]
fn e112_audio_after_hanging_up_is_told() {
    let nodes = "keys: { \"1\": { next: c } }, events: { hangup: { next: e },";
    let text = BASE.replacen("keys: { \"1\": { next: c } }, events: {", nodes, 1)
        + "  e: { type: play, say: [{ prompt: hello }], next: d }\n";
    let faults = check(&[("t", &text)]);
    assert_eq!((faults[0].code, faults[0].line), ("E112", 13));
}

#[test]
fn e113_a_secret_cannot_leave() {
    let secret = BASE.replacen("type: string", "type: string, secret: true", 1);
    assert_eq!(check(&[("t", &secret)]), [], "secret to secret is allowed");
    let plain = secret
        .replacen("vars: { v:", "vars: { w: { type: string }, v:", 1)
        .replacen("set: { v:", "set: { w:", 1);
    let places = [
        plain,
        secret.replacen(
            "say: [{ prompt: hello }]",
            "say: [{ tts: \"It is {{v}}.\" }]",
            1,
        ),
        told_by(&secret, "url: \"https://crm.example/{{v}}\""),
        told_by(
            &secret,
            "url: \"https://crm.example/\", headers: { X-Account: \"{{v}}\" }",
        ),
    ];
    for text in &places {
        let codes: Vec<_> = check(&[("t", text)]).iter().map(|f| f.code).collect();
        assert!(codes.contains(&"E113"), "{codes:?}\n{text}");
    }
    let body = told_by(
        &secret,
        "url: \"https://crm.example/\", json: { account: v }",
    );
    assert_eq!(
        check(&[("t", &body)]),
        [],
        "the body of a request may carry one"
    );
}

/// The flow with a webhook of this request at its start.
fn told_by(flow: &str, request: &str) -> String {
    let node = format!("webhook, request: {{ method: POST, {request} }}, next: b");
    flow.replacen("play, say: [{ prompt: hello }], next: b", &node, 1)
        .replacen("  hello: { text: \"Hello.\" }\n", "", 1)
}

const SUB: &str = "helpline: 1\nid: u\nstart: a\ninput: { x: { type: int, required: true } }\nnodes: { a: { type: branch, cases: [{ when: \"x > 1\", next: b }], else: c }, b: { type: return, event: done }, c: { type: return } }\n";

fn subflow(node: &str) -> Vec<String> {
    let text = BASE
        .replacen("type: set, set: { v: \"'x' + v\" }, next: d", node, 1)
        .replacen("vars: { v: { type: string } }\n", "", 1);
    check(&[("t", &text), ("u", SUB)])
        .iter()
        .map(|f| f.code.to_owned())
        .collect()
}

#[test]
fn e115_calls_of_other_flows_are_checked() {
    let codes = |node| subflow(node).join(" ");
    assert_eq!(
        codes("type: subflow, flow: u, with: { x: \"1\" }, next: d, events: { done: { next: d } }"),
        ""
    );
    assert_eq!(codes("type: subflow, flow: uu, next: d"), "E115");
    assert_eq!(codes("type: subflow, flow: u, next: d"), "E115");
    assert_eq!(
        codes("type: subflow, flow: u, with: { x: \"1\", z: \"1\" }, next: d"),
        "E115"
    );
    assert_eq!(
        codes("type: subflow, flow: u, with: { x: \"1\" }, next: d, events: { dnoe: { next: d } }"),
        "E115"
    );
    assert_eq!(codes("type: subflow, flow: t, next: d"), "E115");
    assert_eq!(
        codes("type: subflow, flow: u, with: { x: \"'1'\" }, next: d"),
        "E108"
    );
    let faults =
        subflow("type: subflow, flow: u, with: { x: \"1\" }, events: { done: { next: d } }");
    assert_eq!(faults, ["E103"], "a plain return leads nowhere");
}

#[test]
fn e116_one_prompt_id_has_one_wording() {
    let other = BASE
        .replacen("id: t", "id: u", 1)
        .replacen("\"Hello.\"", "\"Hi.\"", 1);
    let faults = check(&[("t", BASE), ("u", &other)]);
    assert!(
        faults
            .iter()
            .any(|f| f.code == "E116" && f.file == "u.flow.yaml" && f.line == 6),
        "{faults:#?}"
    );
}

#[test]
fn e117_slots_of_text_declaration_and_use_must_agree() {
    let with = |prompt: &str, item: &str| {
        let text = BASE
            .replacen("hello: { text: \"Hello.\" }", prompt, 1)
            .replacen("{ prompt: hello }", item, 1);
        check(&[("t", &text)])
            .iter()
            .map(|f| f.code)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let good = "later: { text: \"In {wait}.\", slots: { wait: { as: duration } } }";
    let item = "{ prompt: later, with: { wait: \"duration('5m')\" } }";
    assert_eq!(with(good, item), "");
    assert_eq!(with(good, "{ prompt: later }"), "E117");
    assert_eq!(with(good, &item.replace("wait:", "weit:")), "E117 E117");
    assert_eq!(with("later: { text: \"In {wait}.\" }", item), "E117 E117");
    assert_eq!(with(good, &item.replace("duration('5m')", "5")), "E108");
}

#[test]
fn w201_what_is_never_used_is_told() {
    expect(
        "vars: { v:",
        "vars: { w: { type: string }, v:",
        &["4:9 W201"],
        "\"w\"",
    );
}

#[test]
fn w202_a_question_without_a_last_way_is_told() {
    expect(
        ", events: { exhausted: { next: d } }",
        "",
        &["10:3 W202"],
        "exhausted",
    );
}

#[test]
fn w203_words_that_differ_from_the_recording_are_told() {
    expect("\"Hello.\"", "\"Hallo.\"", &["6:3 W203"], "\"Hello.\"");
}

#[test]
fn w203_and_w206_a_clip_of_other_words_and_a_draft_are_told() {
    let good = sim::locale_for("en-US", &PROMPTS);
    for (from, to, code) in [
        ("text = \"Hello.\"", "text = \"Hi.\"", "W203"),
        ("\"final\"", "\"draft\"", "W206"),
    ] {
        let mut locale = good.clone();
        locale.manifest.text = locale.manifest.text.replacen(from, to, 1);
        let flows = [Source {
            file: "t.flow.yaml".into(),
            text: BASE.into(),
        }];
        let (set, faults) = FlowSet::load(&flows, &[locale]);
        assert!(set.is_some());
        let have: Vec<_> = faults.iter().map(|f| (f.code, f.line)).collect();
        assert_eq!(have, [(code, 6)]);
    }
}

#[test]
fn w211_a_menus_text_and_keys_must_agree() {
    expect(
        "press 1.\" }",
        "press 1. Or press star.\" }",
        &["7:3 W203", "10:3 W211"],
        "",
    );
    expect(
        "\"1\": { next: c }",
        "\"1\": { next: c }, \"2\": { next: d }",
        &["10:70 W211"],
        "\"2\"",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault_not_many() {
    let main = BASE
        .replacen(
            "type: set, set: { v: \"'x' + v\" }, next: d",
            "type: subflow, flow: u, next: d",
            1,
        )
        .replacen("vars: { v: { type: string } }\n", "", 1);
    let faults = check(&[("t", &main), ("u", "helpline: 1\nid: u\nstart: [\n")]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
}

#[test]
fn damaged_locales_are_faults_not_panics() {
    let good = sim::locale_for("en-US", &PROMPTS);
    for (manifest, rules) in [
        ("phrase = 1", good.rules.text.as_str()),
        ("[clip]\na = { text = 1 }", good.rules.text.as_str()),
        ("\u{0}", good.rules.text.as_str()),
        (good.manifest.text.as_str(), "number = 5"),
        (
            good.manifest.text.as_str(),
            "number = []\nplural = { one = \"(\" }",
        ),
        (good.manifest.text.as_str(), ""),
    ] {
        let mut locale = good.clone();
        locale.manifest.text = manifest.to_owned();
        locale.rules.text = rules.to_owned();
        let flows = [Source {
            file: "t.flow.yaml".into(),
            text: BASE.into(),
        }];
        let (set, faults) = FlowSet::load(&flows, &[locale]);
        assert!(set.is_none());
        assert!(
            faults.iter().any(|f| matches!(f.code, "E001" | "E002")),
            "{faults:#?}"
        );
    }
}
