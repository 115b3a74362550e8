use std::fs;

use helpline_core::ivr::flow::{Source, shape_faults, to_json};
use sha2::{Digest, Sha256};

use super::*;

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../../../schemas/ivr-flow.json");
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

/// A flow around one node called `a`, and where its neighbours can be named.
fn with_node(node: &str) -> String {
    format!("helpline: 1\nid: t\nstart: a\nnodes:\n  a: {node}\n  b: {{ type: hangup }}\n")
}

/// A menu whose only item of `say` is `item`.
fn with_item(item: &str) -> String {
    with_node(&format!("{{ type: play, say: [{item}], next: b }}"))
}

/// A flow with these lines at its top.
fn with_top(lines: &str) -> String {
    format!("{lines}\nnodes: {{ a: {{ type: hangup }} }}\n")
}

/// Whether the daemon's structs take the shape of the file.
fn taken(text: &str) -> bool {
    let source = Source {
        file: "t.flow.yaml".into(),
        text: text.into(),
    };
    shape_faults(&source).is_empty()
}

/// Whether the schema takes it.
fn valid(schema: &jsonschema::Validator, text: &str) -> bool {
    let source = Source {
        file: "t.flow.yaml".into(),
        text: text.into(),
    };
    to_json(&source).is_ok_and(|json| schema.is_valid(&json))
}

fn good() -> Vec<String> {
    let mut files: Vec<String> = [
        "{ type: play, say: [{ pause: 1s }], next: b, loop: 3, barge_in: true, title: T }",
        "{ type: menu, say: [{ tone: beep }], keys: { \"1\": { next: b }, \"*\": { label: l, next: a } }, timeout: 6s, tries: 2, type_ahead: true, events: { no_input: { say: [{ pause: 1s }] }, error: { next: b } } }",
        "{ type: collect, say: [{ pause: 1s }], digits: { min: 0, max: 32, terminators: \"#*\", first: 6s, between: 300ms }, match: \"^[0-9]*$\", check: \"true\", save: v, next: b }",
        "{ type: branch, cases: [{ when: \"true\", next: b, label: l }], else: b }",
        "{ type: set, set: { v: \"1\" }, next: b }",
        "{ type: callback, queue: \"q{{call.to}}\", number: call.from, at: now, keep_place: true, say: [{ pause: 1s }], next: b, events: { full: { next: b } } }",
        "{ type: callback, reschedule: \"duration('5m')\", next: b }",
        "{ type: callback, cancel: withdrawn, next: b }",
        "{ type: enqueue, queue: q, place: reserved, max_wait: 90s, next: b, events: { answered: { next: b }, no_agents: { next: b } } }",
        "{ type: enqueue, queue: q, priority: \"5\", music: hold/default, announce: { first: 5s, every: 20s, only_if_better: true, say: [{ pause: 1s }] }, keys: { \"1\": { next: b } }, next: b }",
        "{ type: play, say: [{ pause: 1s }], after: beep, next: b }",
        "{ type: record, say: [{ pause: 1s }], max: 1m, silence: 3s, finish_keys: \"#*\", beep: false, review: true, save: v, next: b, events: { full: { next: b }, no_input: { next: b } } }",
        "{ type: voicemail, box: help-desk, next: b }",
        "{ type: http, request: { method: PATCH, url: \"https://h/{{call.to}}\", headers: { X-A: \"{{call.to}}\" }, json: { aB: \"1\" }, timeout: 2s, retries: 3 }, accept: [200, 404], save: { v: response.status }, wait_say: [{ pause: 1s }], next: b, events: { timeout: { next: b } } }",
        "{ type: webhook, request: { method: POST, url: \"https://h\" }, next: b }",
        "{ type: lookup, by: email, value: call.from, save: v, timeout: 500ms, next: b, events: { miss: { next: b } } }",
        "{ type: transfer, to: \"{{call.to}}\", ring: 20s, caller_id: call.to, say: [{ pause: 1s }], whisper: [{ pause: 1s }], next: b, events: { busy: { next: b }, no_answer: { next: b } } }",
        "{ type: conference, room: r, role: whisper, max_parties: 5, say: [{ pause: 1s }], events: { full: { next: b } } }",
        "{ type: detect, budget: 3s, next: b, events: { machine: { next: b }, fax: { next: b } } }",
        "{ type: wait, for: 5s, music: hold/default, next: b }",
        "{ type: subflow, flow: other-flow, with: { x: \"1\" }, save: { z: \"x\" }, next: b, events: { anything: { next: b } } }",
        "{ type: return, event: sent }",
        "{ type: hangup, cause: 17 }",
    ]
    .iter()
    .map(|node| with_node(node))
    .collect();
    files.extend(
        [
            "{ prompt: p, with: { x: \"1\" }, when: \"true\", barge_in: false }",
            "{ number: \"1\", unit: minute }",
            "{ ordinal: \"1\" }",
            "{ digits: call.from }",
            "{ duration: \"now - now\", round: hour }",
            "{ file: hold/default }",
            "{ tts: \"Hello {{call.to}}\" }",
            "{ ewt: \"now - now\" }",
            "{ date: now }",
            "{ time: now }",
            "{ money: \"'1.50'\", currency: EUR }",
            "{ phone: call.from }",
        ]
        .map(with_item),
    );
    files.extend(
        [
            "helpline: 1\nid: t\nstart: a\ntitle: T\ncalendar: office\nlocales: [en-US, nb-NO]\nlimits: { max_steps: 1, max_duration: 1h }",
            "helpline: 1\nid: t\nstart: a\ninput: { x: { type: map, required: true, fields: { f: timestamp } } }\nvars: { v: { type: string, default: \"\", secret: true } }\noutput: { o: { type: any, default: [1, 2] } }",
            "helpline: 1\nid: t\nstart: a\nprompts: { p: { text: \"a {x}\", slots: { x: { as: duration, round: minute } } } }\nevents: { hangup: { next: a }, exhausted: { next: a } }",
        ]
        .map(with_top),
    );
    files
}

fn bad() -> Vec<String> {
    let mut files: Vec<String> = [
        "{ type: mnu }",
        "{ say: [{ pause: 1s }] }",
        "hangup",
        "{ type: play, say: [{ pause: 1s }] }",
        "{ type: play, say: [], next: b }",
        "{ type: play, say: { pause: 1s }, next: b }",
        "{ type: play, say: [{ pause: 1s }], next: B }",
        "{ type: play, say: [{ pause: 1s }], next: \"\" }",
        "{ type: play, say: [{ pause: 1s }], next: b, loop: 0 }",
        "{ type: play, say: [{ pause: 1s }], next: b, loop: 101 }",
        "{ type: play, say: [{ pause: 1s }], next: b, barge_in: \"true\" }",
        "{ type: play, say: [{ pause: 1s }], next: b, after: tone }",
        "{ type: play, say: [{ pause: 1s }], next: b, tries: 2 }",
        "{ type: play, say: [{ pause: 1s }], next: b, events: { no_input: { next: b } } }",
        "{ type: play, say: [{ pause: 1s }], next: b, events: { error: {} } }",
        "{ type: menu, say: [{ pause: 1s }], keys: {} }",
        "{ type: menu, say: [{ pause: 1s }], keys: { \"12\": { next: b } } }",
        "{ type: menu, say: [{ pause: 1s }], keys: { \"E\": { next: b } } }",
        "{ type: menu, say: [{ pause: 1s }], keys: { \"1\": { label: l } } }",
        "{ type: menu, say: [{ pause: 1s }], keys: { 1: { next: b } } }",
        "{ type: menu, say: [{ pause: 1s }], keys: { \"1\": { next: b } }, timeout: 6 }",
        "{ type: menu, say: [{ pause: 1s }], keys: { \"1\": { next: b } }, timeout: 6 seconds }",
        "{ type: menu, say: [{ pause: 1s }], keys: { \"1\": { next: b } }, tries: 11 }",
        "{ type: menu, say: [{ pause: 1s }], keys: { \"1\": { next: b } }, next: b }",
        "{ type: collect, say: [{ pause: 1s }], digits: { min: 1 }, save: v, next: b }",
        "{ type: collect, say: [{ pause: 1s }], digits: { min: 1, max: 33 }, save: v, next: b }",
        "{ type: collect, say: [{ pause: 1s }], digits: { min: 1, max: 3, terminators: x }, save: v, next: b }",
        "{ type: collect, say: [{ pause: 1s }], digits: { min: 1, max: 3, end: \"#\" }, save: v, next: b }",
        "{ type: collect, say: [{ pause: 1s }], digits: { min: 1, max: 3 }, save: { v: \"1\" }, next: b }",
        "{ type: collect, say: [{ pause: 1s }], digits: { min: 1, max: 3 }, next: b }",
        "{ type: branch, cases: [], else: b }",
        "{ type: branch, cases: [{ when: \"true\" }], else: b }",
        "{ type: branch, cases: [{ when: \"true\", next: b }] }",
        "{ type: branch, cases: [{ when: \"\", next: b }], else: b }",
        "{ type: set, set: {}, next: b }",
        "{ type: set, set: { V: \"1\" }, next: b }",
        "{ type: callback, next: b }",
        "{ type: callback, queue: q, next: b }",
        "{ type: callback, reschedule: now, cancel: refused, next: b }",
        "{ type: callback, cancel: rejected, next: b }",
        "{ type: enqueue, queue: q, place: old }",
        "{ type: enqueue }",
        "{ type: enqueue, queue: q, music: ../hold }",
        "{ type: enqueue, queue: q, music: Hold }",
        "{ type: enqueue, queue: q, keys: { \"1\": { label: l } } }",
        "{ type: enqueue, queue: q, keys: {} }",
        "{ type: enqueue, queue: q, announce: { first: 1s } }",
        "{ type: enqueue, queue: q, announce: { say: [{ pause: 1s }], last: 1s } }",
        "{ type: record, next: b }",
        "{ type: record, save: { v: x }, next: b }",
        "{ type: record, save: v, next: b, finish_keys: x }",
        "{ type: record, save: v, next: b, max: 10 }",
        "{ type: record, save: v, next: b, box: help }",
        "{ type: voicemail, next: b }",
        "{ type: voicemail, box: Help, next: b }",
        "{ type: voicemail, box: help, beep: \"no\", next: b }",
        "{ type: http, next: b }",
        "{ type: http, request: { url: x }, next: b }",
        "{ type: http, request: { method: GET }, next: b }",
        "{ type: http, request: { method: get, url: x }, next: b }",
        "{ type: http, request: { method: GET, url: x, retries: 4 }, next: b }",
        "{ type: http, request: { method: GET, url: x, body: y }, next: b }",
        "{ type: http, request: { method: GET, url: x }, save: v, next: b }",
        "{ type: http, request: { method: GET, url: x }, accept: [199], next: b }",
        "{ type: http, request: { method: GET, url: x }, accept: [], next: b }",
        "{ type: http, request: { method: GET, url: x, json: { a: \"\" } }, next: b }",
        "{ type: http, request: { method: GET, url: x }, next: b, events: { miss: { next: b } } }",
        "{ type: webhook, request: { method: POST, url: x } }",
        "{ type: webhook, request: { method: POST, url: x }, save: { v: x }, next: b }",
        "{ type: lookup, by: name, value: x, save: v, next: b }",
        "{ type: lookup, by: phone, value: x, save: { v: x }, next: b }",
        "{ type: lookup, by: phone, save: v, next: b }",
        "{ type: transfer }",
        "{ type: transfer, to: x, ring: 30 }",
        "{ type: transfer, to: x, whisper: [] }",
        "{ type: transfer, to: x, events: { timeout: { next: b } } }",
        "{ type: conference }",
        "{ type: conference, room: r, role: shout }",
        "{ type: conference, room: r, max_parties: 6 }",
        "{ type: conference, room: r, next: b }",
        "{ type: detect }",
        "{ type: detect, next: b, budget: 4 }",
        "{ type: detect, next: b, events: { human: { next: b } } }",
        "{ type: wait, next: b }",
        "{ type: wait, for: 5s }",
        "{ type: wait, for: 5s, next: b, music: hold.flac }",
        "{ type: subflow, flow: Other }",
        "{ type: subflow, flow: o, save: v }",
        "{ type: return, event: 3 }",
        "{ type: hangup, cause: 0 }",
        "{ type: hangup, cause: 128 }",
        "{ type: hangup, next: b }",
        "{ type: hangup, type: hangup }",
    ]
    .iter()
    .map(|node| with_node(node))
    .collect();
    files.extend(
        [
            "{}",
            "{ prompt: p, pause: 1s }",
            "{ with: { x: \"1\" }, pause: 1s }",
            "{ number: \"1\", round: hour }",
            "{ duration: now, round: day }",
            "{ tone: howler }",
            "{ file: /etc/passwd }",
            "{ file: ../x }",
            "{ money: \"1\", currency: euro }",
            "{ number: \"1\", currency: EUR }",
            "{ date: \"\" }",
            "{ tts: \"\" }",
            "{ pause: soon }",
            "{ number: 5 }",
            "beep",
        ]
        .map(with_item),
    );
    files.extend(
        [
            "",
            "helpline: 2\nid: t\nstart: a",
            "helpline: \"1\"\nid: t\nstart: a",
            "id: t\nstart: a",
            "helpline: 1\nstart: a",
            "helpline: 1\nid: t",
            "helpline: 1\nid: T\nstart: a",
            "helpline: 1\nid: t\nstart: a\non: {}",
            "helpline: 1\nid: t\nstart: yes",
            "helpline: 1\nid: t\nstart: a\nlocales: []",
            "helpline: 1\nid: t\nstart: a\nlocales: [en]",
            "helpline: 1\nid: t\nstart: a\nlocales: [en-US, en-US]",
            "helpline: 1\nid: t\nstart: a\nlimits: { max_steps: 10001 }",
            "helpline: 1\nid: t\nstart: a\nlimits: { steps: 1 }",
            "helpline: 1\nid: t\nstart: a\nvars: { v: { default: 1 } }",
            "helpline: 1\nid: t\nstart: a\nvars: { v: { type: text } }",
            "helpline: 1\nid: t\nstart: a\nvars: { n: { type: int } }",
            "helpline: 1\nid: t\nstart: a\nvars: { v: { type: map, fields: { f: date } } }",
            "helpline: 1\nid: t\nstart: a\nprompts: { p: { slots: {} } }",
            "helpline: 1\nid: t\nstart: a\nprompts: { p: { text: \"\" } }",
            "helpline: 1\nid: t\nstart: a\nprompts: { p: { text: t, slots: { x: { as: weather } } } }",
            "helpline: 1\nid: t\nstart: a\nevents: { no_input: { next: a } }",
            "helpline: 1\nid: t\nstart: a\ntitle:",
        ]
        .map(with_top),
    );
    let long = "x".repeat(1001);
    files.push(with_top(&format!(
        "helpline: 1\nid: t\nstart: a\ntitle: {long}"
    )));
    let long = "x".repeat(41);
    files.push(with_top(&format!("helpline: 1\nid: t\nstart: {long}")));
    files.push("helpline: 1\nid: t\nstart: a\nnodes: {}\n".to_owned());
    files.push("helpline: 1\nid: t\nstart: a\n".to_owned());
    files.push("[1, 2]\n".to_owned());
    files
}

#[test]
fn schema_and_structs_give_the_same_verdict() {
    let schema = schema();
    for (wanted, files) in [(true, good()), (false, bad())] {
        for text in files {
            let verdicts = (valid(&schema, &text), taken(&text));
            assert_eq!(verdicts, (wanted, wanted), "(schema, structs) of:\n{text}");
        }
    }
}

#[test]
fn shipped_flows_fit_the_schema() {
    let schema = schema();
    let flows = flows(&config::Ivr::default(), &[]).unwrap();
    assert_eq!(flows.len(), 7);
    for source in flows {
        let json = to_json(&source).unwrap();
        let faults: Vec<String> = schema.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{}: {faults:#?}", source.file);
    }
}

#[test]
fn every_clip_the_flows_need_is_built_in_and_undamaged() {
    let built_in = Flows::load(&Setting::default()).unwrap();
    let set = built_in.current();
    assert!(set.has("main-menu") && set.has("callback-confirm") && set.has("self-help"));
    let sources = built_in.prompt_sources();
    for id in set.clips() {
        let source = sources.iter().find(|s| s.id == *id).expect(id);
        assert!(source.bytes.starts_with(b"fLaC"), "{id}");
    }
    let manifest: toml::Table = include_str!("../../../../../prompts/en-US/manifest.toml")
        .parse()
        .unwrap();
    for (id, clip) in manifest["clip"].as_table().unwrap() {
        let source = sources
            .iter()
            .find(|s| s.id == format!("en-US/{id}"))
            .unwrap();
        let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&source.bytes));
        assert_eq!(Some(hash.as_str()), clip["sha256"].as_str(), "{id}");
    }
}

#[test]
fn an_operators_file_replaces_the_built_in_one_and_a_bad_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = Setting {
        ivr: config::Ivr {
            flows: Some(dir.path().into()),
            prompts: None,
            ..config::Ivr::default()
        },
        ..Setting::default()
    };
    let own =
        "helpline: 1\nid: self-help\nstart: end\nnodes: { end: { type: return, event: done } }\n";
    let path = dir.path().join("self-help.flow.yaml");
    fs::write(&path, own).unwrap();
    fs::write(dir.path().join("notes.txt"), "not a flow").unwrap();
    let flows = Flows::load(&config).unwrap();
    let built_in = Flows::load(&Setting::default()).unwrap().current();
    let before = flows.current();
    assert_ne!(before.hash(), built_in.hash());

    fs::write(&path, own.replace("start: end", "start: ned")).unwrap();
    let faults = flows.reload(|_, _| Ok(())).unwrap_err();
    assert!(
        faults[0].contains("self-help.flow.yaml:3:8: E101"),
        "{faults:?}"
    );
    assert!(faults[0].contains("did you mean \"end\"?"), "{faults:?}");
    assert_eq!(flows.current().hash(), before.hash(), "the old set stays");
    assert!(Flows::load(&config).is_err());

    fs::remove_file(&path).unwrap();
    flows.reload(|_, _| Ok(())).unwrap();
    assert_eq!(flows.current().hash(), built_in.hash());

    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(flows.reload(|_, _| Ok(())).unwrap_err()[0].contains("UTF-8"));
    let nowhere = Setting {
        ivr: config::Ivr {
            flows: Some(dir.path().join("nowhere")),
            prompts: None,
            ..config::Ivr::default()
        },
        ..Setting::default()
    };
    assert!(Flows::load(&nowhere).is_err());
}

#[test]
fn an_operators_recording_replaces_one_clip_and_none_is_read_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let locale = dir.path().join("en-US");
    fs::create_dir(&locale).unwrap();
    fs::write(locale.join("goodbye.flac"), b"mine").unwrap();
    let config = Setting {
        ivr: config::Ivr {
            flows: None,
            prompts: Some(dir.path().into()),
            ..config::Ivr::default()
        },
        ..Setting::default()
    };
    let flows = Flows::load(&config).unwrap();
    let sources = flows.prompt_sources();
    let clip = sources.iter().find(|s| s.id == "en-US/goodbye").unwrap();
    assert_eq!(clip.bytes.as_ref(), b"mine");
    assert!(sources.len() > 100);

    for name in ["../secret", "/etc/passwd", "a/b.flac", "", ".hidden", "a\0"] {
        assert!(super::clip(&config.ivr, "en-US", name).is_err(), "{name:?}");
    }
    fs::create_dir(dir.path().join("nl-NL")).unwrap();
    assert!(Flows::load(&config).unwrap_err()[0].contains("nl-NL/manifest.toml"));
}

#[test]
fn every_built_in_clip_can_be_decoded() {
    let sources = Flows::load(&Setting::default()).unwrap().prompt_sources();
    let count = sources.len();
    let prompts = crate::voice::prompts::Prompts::load(sources, &[]).unwrap();
    assert_eq!(prompts.len(), count);
    assert!(prompts.get("en-US/hello.0").is_some());
}

#[test]
fn a_language_is_added_by_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let locale = dir.path().join("prompts/nl-NL");
    fs::create_dir_all(&locale).unwrap();
    let mut manifest = String::from("phrase.minutes = \"Il y a {ago}.\"\n[clip]\n");
    let mut clip = |id: &str, words: &str| {
        fs::write(locale.join(format!("{id}.flac")), b"fLaC").unwrap();
        manifest.push_str(&format!(
            "{id:?} = {{ text = {words:?}, file = \"{id}.flac\", sha256 = \"\", ms = 1, quality = \"final\" }}\n"
        ));
    };
    clip("minutes.0", "Il y a");
    (0..100).for_each(|n| clip(&format!("n.{n}"), "x"));
    for id in ["n.1.f", "n.cent", "unit.minute.one", "unit.minute.other"] {
        clip(id, "x");
    }
    fs::write(locale.join("manifest.toml"), manifest).unwrap();
    let rules = "number = [[200, \"< n.cent >\", 100], [100, \"n.cent >\"]]\nplural = { one = \"n < 2\" }\ngender = { f = [1] }\nunit = { minute = { gender = \"f\" } }\nduration = [[\"true\", \"{m minute}\"]]\n";
    fs::write(locale.join("rules.toml"), rules).unwrap();
    let own = dir.path().join("flows");
    fs::create_dir(&own).unwrap();
    let flow = "helpline: 1\nid: salut\nstart: a\nlocales: [nl-NL]\nprompts: { minutes: { text: \"Il y a {ago}.\", slots: { ago: { as: duration } } } }\nnodes: { a: { type: play, say: [{ prompt: minutes, with: { ago: \"duration('5m')\" } }], next: b }, b: { type: hangup } }\n";
    fs::write(own.join("salut.flow.yaml"), flow).unwrap();
    let config = Setting {
        ivr: config::Ivr {
            flows: Some(own),
            prompts: Some(dir.path().join("prompts")),
            ..config::Ivr::default()
        },
        ..Setting::default()
    };
    let flows = Flows::load(&config).unwrap();
    assert!(flows.current().has("salut"));
    assert!(flows.current().clips().contains("nl-NL/n.1.f"));

    fs::remove_file(locale.join("n.cent.flac")).unwrap();
    let faults = flows.reload(|_, _| Ok(())).unwrap_err();
    assert!(faults[0].contains("n.cent"), "{faults:?}");
}

#[test]
fn schema_and_reader_agree_on_golden_tests() {
    let text = include_str!("../../../../../schemas/ivr-test.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap();
    let both = |source: &Source| {
        let read = helpline_core::ivr::golden::GoldenTest::read(source).is_ok();
        (read, valid(&schema, &source.text))
    };
    let tests = built_in_tests();
    assert!(tests.len() > 10);
    for test in &tests {
        assert_eq!(both(test), (true, true), "{}", test.file);
    }
    for bad in [
        "flow: a",
        "flow: a\nsteps: []",
        "flow: a\nsteps: [{}]",
        "flow: a\nsteps: [{ press: \"1\", wait: 3s }]",
        "flow: a\nsteps: [{ press: \"1x\" }]",
        "flow: a\nsteps: [{ press: \"\" }]",
        "flow: a\nsteps: [{ wait: soon }]",
        "flow: a\nsteps: [{ expect: { within: 3 } }]",
        "flow: a\nsteps: [{ expect: { sayd: x } }]",
        "flow: a\nsteps: [{ expect: { end: none } }]",
        "flow: a\nsteps: [{ event: never }]",
        "flow: a\nsteps: [{ hangup: false }]",
        "flow: a\ngiven: { callback: maybe }\nsteps: [{ hangup: true }]",
        "flow: a\ngiven: { phone: x }\nsteps: [{ hangup: true }]",
        "flow: a\nmore: 1\nsteps: [{ hangup: true }]",
    ] {
        let source = Source {
            file: "t.test.yaml".into(),
            text: bad.into(),
        };
        assert_eq!(both(&source), (false, false), "{bad}");
    }
}
