//! Callback and enqueue nodes: what is promised, settled and joined.

use std::time::Duration;

use super::*;
use crate::ivr::io::{CallbackOrder, CallbackReply, HelpChannel, OpId, Why};
use crate::ivr::sim::{Answer, NOW};

const LATER: &str = "  a: { type: callback, reschedule: \"duration('5m')\", say: [{ prompt: q }], next: b, events: { error: { next: bad } } }\n  b: { type: callback, cancel: refused, say: [{ prompt: long }], next: ok }";

fn orders(sim: &Sim) -> Vec<CallbackOrder> {
    let order = |(_, o): &(Time, Output)| match o {
        Output::Store(_, order) => Some(order.clone()),
        _ => None,
    };
    sim.log.iter().filter_map(order).collect()
}

fn with_answers(nodes: &str, answers: &[Answer]) -> Sim {
    let mut start = sim::start("t");
    start.hours.open = true;
    let mut sim = crate::ivr::sim::call(set_of("  a: { type: hangup }"), start);
    sim.answers = answers.to_vec().into();
    // A fresh machine, so that the answers are there from the first step.
    let fresh = crate::ivr::machine::FlowMachine::new(set_of(nodes), sim::start("t")).unwrap();
    sim.machine = fresh;
    sim.log.clear();
    sim.ended = None;
    sim.input(Input::Timeout);
    sim
}

#[test]
fn nothing_is_promised_before_the_commit() {
    let mut sim = call(LATER);
    sim.wait_ms(5_000);
    assert_eq!(sim.said(), "");
    assert_eq!(
        orders(&sim),
        [CallbackOrder::Reschedule {
            at: NOW + Duration::from_secs(300)
        }]
    );
}

#[test]
fn the_first_word_about_the_request_holds() {
    let mut sim = with_answers(LATER, &[Answer::Done, Answer::Done]);
    sim.finish();
    assert_eq!(orders(&sim).len(), 1);
    assert!(sim.traced("store", "ignored"));
    assert!(!sim.traced("say", "long"), "a later order says nothing");
    assert_eq!(sim.ended, Some(31));
}

#[test]
fn an_order_that_failed_settles_nothing() {
    let nodes = LATER.replace("error: { next: bad }", "error: { next: b }");
    let mut sim = with_answers(
        &nodes,
        &[Answer::Reply(CallbackReply::Failed), Answer::Done],
    );
    sim.finish();
    assert_eq!(orders(&sim).len(), 2);
    assert_eq!(orders(&sim)[1], CallbackOrder::Refused);
}

#[test]
fn a_desk_that_never_answers_is_an_error_after_ten_seconds_and_a_late_answer_is_dropped() {
    let mut sim = call(LATER);
    sim.wait_ms(9_999);
    assert!(!sim.traced("event", "error"));
    sim.wait_ms(1);
    assert_eq!(sim.ended, Some(21));
    let before = sim.log.len();
    sim.input(Input::Stored(OpId(1), CallbackReply::Full));
    assert_eq!(sim.log.len(), before);
}

#[test]
fn a_withheld_number_is_a_bad_number_without_asking_the_desk() {
    let nodes = "  a: { type: callback, queue: help, number: call.from, next: ok, events: { bad_number: { next: bad } } }";
    let mut start = sim::start("t");
    start.call.from = None;
    let sim = crate::ivr::sim::call(set_of(nodes), start);
    assert_eq!((sim.ended, orders(&sim).len()), (Some(21), 0));
    for (reply, ended) in [
        (CallbackReply::BadNumber, 21),
        (CallbackReply::Full, 31),
        (CallbackReply::Failed, 41),
    ] {
        let sim = with_answers(nodes, &[Answer::Reply(reply)]);
        assert_eq!(sim.ended, Some(ended));
        let [
            CallbackOrder::Request {
                queue,
                number,
                at: None,
                keep_place: false,
            },
        ] = &orders(&sim)[..]
        else {
            panic!("{:?}", orders(&sim));
        };
        assert_eq!((queue.as_str(), number.as_str()), ("help", "+33140000000"));
    }
}

#[test]
fn a_time_in_the_past_or_beyond_a_year_is_an_error() {
    for code in [
        "now - duration('1m')",
        "duration('9601h')",
        "timestamp('2020-01-01T00:00:00Z')",
    ] {
        let nodes = LATER.replace("duration('5m')", code);
        let sim = call(&nodes);
        assert_eq!((sim.ended, orders(&sim).len()), (Some(21), 0), "{code}");
    }
}

#[test]
fn the_answer_can_be_read_aloud_and_an_absent_part_is_skipped() {
    let nodes = "  a: { type: callback, cancel: withdrawn, say: [{ number: \"callback.position\" }, { duration: \"callback.ewt\" }, { prompt: q, when: \"!callback.merged\" }], next: ok }";
    let mut sim = with_answers(nodes, &[Answer::Done]);
    sim.finish();
    assert_eq!(sim.said(), "3 0123456789");
    assert!(sim.traced("say_error", "ewt"));
}

const LINE: &str = "  a: { type: enqueue, queue: \"{{v}}x-{{call.to}}\", place: reserved, say: [{ prompt: q }], max_wait: 90s, next: ok, events: { no_agents: { say: [{ prompt: sorry }], next: bad } } }";

#[test]
fn a_help_flow_begins_when_the_announcement_has_been_heard() {
    let help = "helpline: 1\nid: h\nstart: a\nprompts: { sorry: { text: \"01234\" } }\nnodes: { a: { type: play, say: [{ prompt: sorry }], next: b }, b: { type: return } }";
    let main = format!(
        "helpline: 1\nid: t\nstart: a\nprompts: {{ q: {{ text: \"0123456789\" }}, sorry: {{ text: \"01234\" }} }}\nvars: {{ v: {{ type: string }} }}\nnodes:\n{LINE}\n  ok: {{ type: hangup, cause: 31 }}\n  bad: {{ type: hangup, cause: 21 }}\n"
    );
    let mut sim = crate::ivr::sim::call(load(&[("t", &main), ("h", help)]), sim::start("t"));
    let join = sim.log.iter().find_map(|(_, o)| match o {
        Output::Join(op, join) => Some((*op, join.queue.clone())),
        _ => None,
    });
    let (op, queue) = join.unwrap();
    assert_eq!(queue, "x-100");
    sim.input(Input::Joined(op, HelpChannel::Flow("h".into())));
    sim.wait_ms(599);
    assert!(!sim.traced("join", "flow h"));
    sim.wait_ms(1);
    assert_eq!(at(&sim, "join", "flow h"), 600);
    sim.finish();
    assert!(sim.traced("event", "answered"));
    assert_eq!(sim.ended, Some(31));
}

#[test]
fn a_call_that_was_taken_does_not_time_out_during_the_announcement() {
    let nodes = LINE.replace("max_wait: 90s", "max_wait: 100ms");
    let mut sim = with_answers(&nodes, &[Answer::Joined("t".to_owned())]);
    sim.wait_ms(599);
    assert!(!sim.traced("event", "timeout"), "{}", sim.trace());
    sim.wait_ms(1);
    assert!(sim.traced("join", "flow t"));
}

#[test]
fn leaving_the_line_untaken_stops_the_announcement() {
    let mut sim = with_answers(LINE, &[Answer::Left(Why::NoAgents)]);
    assert_eq!(stops(&sim), 1);
    sim.finish();
    assert_eq!(sim.ended, Some(21));
    let sim = with_answers(LINE, &[Answer::Left(Why::Full)]);
    assert_eq!(sim.ended, Some(31), "an event without an exit takes `next`");
}

#[test]
fn an_unknown_help_flow_is_an_error() {
    let mut sim = with_answers(LINE, &[Answer::Joined("nosuch".to_owned())]);
    sim.finish();
    assert_eq!(sim.ended, Some(41));
}

#[test]
fn answers_to_other_acts_are_dropped() {
    let mut sim = call(LINE);
    sim.input(Input::LeftQueue(OpId(99), Why::Full));
    sim.input(Input::Joined(OpId(99), HelpChannel::Flow("t".into())));
    sim.input(Input::Spoken(OpId(99)));
    sim.input(Input::Stored(OpId(99), CallbackReply::Full));
    assert!(sim.ended.is_none());
    sim.wait_ms(90_000);
    assert_eq!(at(&sim, "event", "timeout"), 90_000);
}
