//! Calls of the simulator, stored as a daemon stores them, and run again.

use super::*;
use crate::ivr::flow::Source;
use crate::ivr::golden::{Coverage, GoldenTest, Recorded, record};
use crate::ivr::io::QueueFacts;
use crate::ivr::sim::{self, Answer, Sim};

fn shown(lines: &[(Duration, TraceLine)]) -> String {
    let line = |(at, line): &(Duration, TraceLine)| {
        let at = Time::ZERO + *at;
        format!("{at} {} {}\n", line.kind, line.data)
    };
    lines.iter().map(line).collect()
}

/// As it is read back from the store.
fn stored(came: &[Came]) -> Vec<Came> {
    let text = serde_json::to_string(came).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn again(set: &Arc<FlowSet>, start: &Start, came: &[Came]) -> String {
    let began = serde_json::to_string(&Began::of(start, set)).unwrap();
    let began: Began = serde_json::from_str(&began).unwrap();
    let start = began.start(&start.flow, start.env.clone());
    shown(&replay(Arc::clone(set), start, stored(came)).unwrap())
}

/// A call as the store has it: lines of its trace, with what came in before what it led to.
fn kept(set: &FlowSet, start: &Start, came: &[Came], log: &[(Time, Output)]) -> Vec<Recorded> {
    let line = |us: u64, node: &str, flow: &str, kind: &str, data: String| Recorded {
        at_ms: us / 1_000,
        flow: flow.to_owned(),
        node: node.to_owned(),
        kind: kind.to_owned(),
        data,
    };
    let revision = format!("revision {}", set.hash());
    let mut lines = vec![
        line(0, "", &start.flow, "begin", revision),
        line(
            0,
            "",
            &start.flow,
            BEGAN,
            serde_json::to_string(&Began::of(start, set)).unwrap(),
        ),
    ];
    let came = came.iter().map(|came| {
        line(
            came.us,
            "",
            &start.flow,
            CAME,
            serde_json::to_string(came).unwrap(),
        )
    });
    lines.extend(came);
    lines.extend(log.iter().filter_map(|(at, output)| match output {
        Output::Trace(told) => {
            let data = told.data.clone();
            Some(line(at.micros(), &told.node, &told.flow, told.kind, data))
        }
        _ => None,
    }));
    lines
}

#[test]
fn every_golden_call_comes_out_the_same_again() {
    let (set, _) = FlowSet::load(&sim::shipped_flows(), &sim::shipped_locales());
    let set = Arc::new(set.unwrap());
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ivr-scripts/tests");
    let (mut whole, mut count) = (0, 0);
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap();
        let file = file.file_name().to_string_lossy().into_owned();
        let source = Source {
            file: file.clone(),
            text,
        };
        let test = GoldenTest::read(&source).unwrap();
        let outcome = test.run(&set, &mut Coverage::default());
        let start = test.start();
        let lines = kept(&set, &start, &outcome.came, &outcome.log);
        let past = Past::read(&lines).unwrap();
        let again = past.again(Arc::clone(&set), start.env).unwrap();
        // Where digits of a secret are zeros a call may go another way, but not before.
        assert!(!again.departs || again.excused, "{file}: {again:?}");
        if past.withheld_at().is_none() {
            assert_eq!(shown(&again.trace), outcome.trace, "{file}");
            whole += 1;
        }
        count += 1;
    }
    assert!(whole > 30 && count > whole, "{whole} of {count}");
}

#[test]
fn only_what_follows_a_secret_is_excused_by_it() {
    let set = flow("", "ask");
    let start = sim::start("t");
    let mut call = Sim::new(Arc::clone(&set), start.clone()).unwrap();
    call.wait(Duration::from_secs(2));
    call.press("1");
    let lines = kept(&set, &start, call.came(), call.log());
    let judged = |withheld: Option<usize>, changed: &str| {
        let mut lines = lines.clone();
        let change = |line: &mut Recorded| line.data = line.data.replacen(changed, "other", 1);
        lines.iter_mut().filter(|l| l.kind != CAME).for_each(change);
        if let Some(nth) = withheld {
            let line = lines
                .iter_mut()
                .filter(|l| l.kind == CAME)
                .nth(nth)
                .unwrap();
            line.data = line.data.replacen('{', "{\"withheld\":true,", 1);
        }
        let again = Past::read(&lines)
            .unwrap()
            .again(Arc::clone(&set), start.env.clone());
        let again = again.unwrap();
        (again.departs, again.excused)
    };
    let key = call
        .came()
        .iter()
        .position(|c| matches!(c.input, Input::KeyDown(_)));
    assert_eq!(judged(None, "nothing"), (false, false));
    assert_eq!(judged(None, "ask 1"), (true, false));
    assert_eq!(judged(key, "ask 1"), (true, true), "what it led to");
    assert_eq!(
        judged(key, "ask menu"),
        (true, false),
        "what came before it"
    );
    assert_eq!(judged(Some(0), "ask menu"), (true, true));
    // A call that was cut ends early.
    let mut cut = lines.clone();
    cut.pop();
    let again = Past::read(&cut)
        .unwrap()
        .again(Arc::clone(&set), start.env.clone());
    assert!(again.is_ok_and(|again| again.departs));
}

#[test]
fn what_cannot_be_run_again_is_refused_in_plain_words() {
    let line = |kind: &str, data: &str| Recorded {
        at_ms: 0,
        flow: "t".into(),
        node: String::new(),
        kind: kind.into(),
        data: data.into(),
    };
    let set = flow("", "ask");
    let began = serde_json::to_string(&Began::of(&sim::start("t"), &set)).unwrap();
    for (lines, says) in [
        (vec![], "nothing is stored"),
        (vec![line("begin", "revision 1")], "older than this version"),
        (vec![line(BEGAN, "{}")], "how this call began"),
        (
            vec![line(BEGAN, &began), line(CAME, "{")],
            "what came in cannot be read",
        ),
        (
            vec![
                line(BEGAN, &began),
                line(CAME, "{\"us\":1,\"input\":{\"key_down\":\"x\"}}"),
            ],
            "is no key",
        ),
    ] {
        let refused = Past::read(&lines).err().unwrap_or_default();
        assert!(refused.contains(says), "{refused:?}: {says}");
    }
    // Times that run backwards or far ahead, and answers to nothing, are only odd.
    let odd = [
        line(BEGAN, &began),
        line(CAME, "{\"us\":18446744073709551615,\"input\":\"timeout\"}"),
        line(CAME, "{\"us\":0,\"input\":{\"spoken\":4294967295}}"),
        line(
            CAME,
            "{\"us\":0,\"input\":{\"joined\":[7,{\"flow\":\"nowhere\"}]}}",
        ),
        line(CAME, "{\"us\":0,\"input\":\"hangup\"}"),
    ];
    assert!(
        Past::read(&odd)
            .unwrap()
            .again(set, BTreeMap::new())
            .is_ok()
    );
}

#[test]
fn a_secret_of_the_input_is_a_sample_and_told_as_withheld() {
    let text = "helpline: 1
id: t
start: a
input: { pin: { type: string, required: true, secret: true }, plain: { type: string, required: true } }
nodes:
  a: { type: branch, cases: [{ when: \"pin == '4711' && plain != ''\", next: b }], else: c }
  b: { type: hangup, cause: 31 }
  c: { type: hangup, cause: 21 }
";
    let source = Source {
        file: "t.flow.yaml".to_owned(),
        text: text.to_owned(),
    };
    let (set, faults) = FlowSet::load(&[source], &[sim::locale_for("en-US", &[])]);
    let set = Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")));
    let mut start = sim::start("t");
    start.input.insert("pin".into(), "4711".into());
    start.input.insert("plain".into(), "x".into());
    let call = Sim::new(Arc::clone(&set), start.clone()).unwrap();
    let lines = kept(&set, &start, call.came(), call.log());
    assert!(!lines.iter().any(|line| line.data.contains("4711")));
    let again = Past::read(&lines)
        .unwrap()
        .again(set, BTreeMap::new())
        .unwrap();
    assert!(again.departs && again.excused, "{again:?}");
}

#[test]
fn how_lines_stood_is_kept() {
    let text = "helpline: 1
id: t
start: a
nodes:
  a: { type: wait, for: 5s, next: b }
  b: { type: branch, cases: [{ when: \"queues.help.waiting > 2\", next: d }], else: c }
  c: { type: hangup, cause: 21 }
  d: { type: hangup, cause: 31 }
";
    let source = Source {
        file: "t.flow.yaml".to_owned(),
        text: text.to_owned(),
    };
    let (set, faults) = FlowSet::load(&[source], &[sim::locale_for("en-US", &[])]);
    let set = Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")));
    let line = QueueFacts {
        waiting: 3,
        agents: 1,
        ewt: Some(Duration::from_secs(60)),
        open: true,
    };
    let start = sim::start("t");
    let mut call = Sim::new(Arc::clone(&set), start.clone()).unwrap();
    call.input(Input::Queues(Arc::new([("help".to_owned(), line)].into())));
    call.wait(Duration::from_secs(6));
    assert_eq!(call.ended(), Some(31));
    assert_eq!(again(&set, &start, call.came()), call.trace());
}

#[test]
fn a_talk_comes_out_the_same_again_and_as_a_test() {
    let (set, _) = FlowSet::load(&sim::shipped_flows(), &sim::shipped_locales());
    let set = Arc::new(set.unwrap());
    let start = sim::start("callback-confirm");
    let mut call = Sim::new(Arc::clone(&set), start.clone()).unwrap();
    call.press("1");
    let agent = |name: &str| Answer::Agent(name.to_owned());
    assert!(call.join(agent("Ann")));
    call.wait(Duration::from_secs(600));
    call.press("2");
    assert!(call.join(agent("Ben")) && call.break_talk());
    call.wait(Duration::from_secs(9));
    assert!(call.join(agent("Ann")));
    call.wait(Duration::from_secs(60));
    assert!(call.end_talk());
    call.finish();
    assert_eq!(call.ended(), Some(16), "{}", call.trace());
    assert_eq!(again(&set, &start, call.came()), call.trace());
    let lines = kept(&set, &start, call.came(), call.log());
    let text = record("c1", &start.input.into(), &lines);
    let file = "c1.test.yaml".to_owned();
    let test = GoldenTest::read(&Source { file, text }).unwrap();
    let outcome = test.run(&set, &mut Coverage::default());
    assert!(outcome.failure.is_none(), "{outcome:?}");
    for line in ["event talk_broke", "key 2 dropped", "event talk_ended"] {
        assert!(outcome.trace.contains(line), "{}", outcome.trace);
    }
}

const SECRET: &str = "helpline: 1
id: t
start: hello
vars: { pin: { type: string, secret: true } }
prompts: { q: { text: \"Hello.\" } }
nodes:
  hello: { type: play, say: [{ prompt: q }], barge_in: true, next: ask }
  ask: { type: collect, say: [{ prompt: q }], digits: { min: 4, max: 4 }, save: pin, next: tell, events: { exhausted: { next: end } } }
  tell: { type: http, request: { method: POST, url: \"https://crm.example/\", json: { pin: pin } }, save: { pin: response.body.new }, next: end }
  end: { type: hangup }
";

#[test]
fn no_secret_is_stored_and_as_many_digits_stand_for_it() {
    let source = Source {
        file: "t.flow.yaml".to_owned(),
        text: SECRET.to_owned(),
    };
    let locale = sim::locale_for("en-US", &[("q", "Hello.")]);
    let (set, faults) = FlowSet::load(&[source], &[locale]);
    let set = Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")));
    let world = sim::World {
        services: vec![sim::Service {
            method: None,
            url: "https://crm.example/".to_owned(),
            after: Duration::ZERO,
            reply: HttpReply::Answer {
                status: 200,
                headers: vec![("x-new".to_owned(), "7777".to_owned())],
                body: serde_json::json!({ "new": "7777" }),
            },
        }],
        ..sim::World::default()
    };
    let start = sim::start("t");
    let mut call = Sim::in_world(Arc::clone(&set), start.clone(), world).unwrap();
    // The first key cuts the announcement: it belongs to the entry already.
    call.press("4711");
    call.wait(Duration::from_secs(5));
    let text = serde_json::to_string(call.came()).unwrap() + &call.trace();
    for secret in ["\"4\"", "\"7\"", "\"1\"", "key 4", "7777"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let keys = call
        .came()
        .iter()
        .filter(|c| c.input == Input::KeyDown(Key::ZERO));
    assert_eq!(keys.count(), 4);
    let again = again(&set, &start, call.came());
    assert!(again.contains("set pin=******"), "{again}");
}

/// A menu with more nodes before it.
fn flow(more: &str, first: &str) -> Arc<FlowSet> {
    let text = format!(
        "helpline: 1
id: t
start: {first}
prompts: {{ q: {{ text: \"Press 1.\" }} }}
nodes:
{more}  ask: {{ type: menu, say: [{{ prompt: q }}], keys: {{ \"1\": {{ next: end }} }}, events: {{ exhausted: {{ next: end }} }} }}
  end: {{ type: hangup }}
"
    );
    let source = Source {
        file: "t.flow.yaml".to_owned(),
        text,
    };
    let locale = sim::locale_for("en-US", &[("q", "Press 1.")]);
    let (set, faults) = FlowSet::load(&[source], &[locale]);
    Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")))
}

#[test]
fn newer_flows_are_answered_as_well_as_can_be() {
    let old = flow("", "ask");
    let mut call = Sim::new(Arc::clone(&old), sim::start("t")).unwrap();
    call.wait(Duration::from_secs(2));
    call.press("1");
    let new = flow(
        "  first: { type: play, say: [{ prompt: q }], next: ask }\n",
        "first",
    );
    let met = again(&new, &sim::start("t"), call.came());
    assert!(
        met.contains("node first play") && met.contains("exit ask 1 -> end"),
        "{met}"
    );
    assert_eq!(again(&old, &sim::start("t"), call.came()), call.trace());
}
