//! An agent takes the call out of the line; the flow goes on when the talk has ended.

use std::time::Duration;

use super::*;
use crate::ivr::io::{HelpChannel, OpId, QueueView, Why};
use crate::ivr::sim::Answer;

const LINE: &str = "  a: { type: enqueue, queue: help, say: [{ prompt: q }], music: hold/default, max_wait: 10m, next: bad,
       announce: { first: 10s, every: 30s, only_if_better: true, say: [{ number: queue.position, when: has(queue.position) }, { prompt: sorry }] },
       keys: { \"1\": { next: bad } },
       events: { answered: { next: ok }, no_agents: { next: bad }, timeout: { next: late }, full: { next: full } } }
  late: { type: hangup, cause: 99 }
  full: { type: hangup, cause: 17 }";

fn agent(name: &str) -> Answer {
    Answer::Agent(name.to_owned())
}

/// A call that waits alone for 20 s and then talks to Ann.
fn talking() -> Sim {
    let mut sim = call(LINE);
    sim.wait_ms(20_000);
    assert!(sim.join(agent("Ann")));
    sim
}

/// The number of the call's `Join`.
fn op(sim: &Sim) -> OpId {
    let join = sim.log.iter().find_map(|(_, o)| match o {
        Output::Join(op, _) => Some(*op),
        _ => None,
    });
    join.unwrap()
}

fn music(sim: &Sim) -> Vec<Option<&str>> {
    let music = sim.log.iter().filter_map(|(_, o)| match o {
        Output::Music(id) => Some(id.as_deref()),
        _ => None,
    });
    music.collect()
}

#[test]
fn an_agent_cuts_what_is_said_in_line() {
    // The first words, an announcement, and music alone.
    for (at, stopped) in [(100, 1), (10_100, 1), (20_000, 0)] {
        let mut sim = call(LINE);
        sim.wait_ms(at);
        let (before, said) = (sim.log.len(), sim.playing);
        sim.join(agent("Ann"));
        let came: Vec<_> = sim.log[before..].iter().map(|(_, o)| o.clone()).collect();
        if let Some((op, _)) = said {
            assert_eq!(came[0], Output::Stop(op));
        }
        assert_eq!(came[stopped], Output::Music(None), "{came:?}");
        assert!(matches!(&came[stopped + 1..], [Output::Trace(l)]
            if (l.kind, &*l.data, &*l.node) == ("event", "talk Ann", "a")));
        // The end of the words may already be on its way.
        sim.input(Input::Spoken(said.map_or(OpId(99), |(op, _)| op)));
        assert_eq!((sim.log.len(), sim.ended), (before + came.len(), None));
    }
}

#[test]
fn an_agent_does_not_wait_for_words_that_a_flow_waits_for() {
    let mut sim = call(LINE);
    let op = op(&sim);
    sim.input(Input::Joined(op, HelpChannel::Flow("t".into())));
    sim.join(agent("Ann"));
    sim.wait_ms(1_000);
    assert!(!sim.traced("join", "flow") && stops(&sim) == 1);
}

#[test]
fn the_flow_goes_on_at_answered_when_the_talk_has_ended() {
    let mut sim = talking();
    sim.wait_ms(5_000);
    let before = sim.trace().len();
    assert!(sim.end_talk() && !sim.end_talk());
    let led_to = [
        "event talk_ended",
        "event answered",
        "exit a answered -> ok",
    ]
    .map(|l| format!("+25.000 {l}\n"));
    assert!(
        sim.trace()[before..].starts_with(&led_to.concat()),
        "{}",
        sim.trace()
    );
    assert_eq!(sim.ended, Some(31));
    assert_eq!(music(&sim), [Some("hold/default"), None]);
}

#[test]
fn keys_during_a_talk_do_nothing() {
    let mut sim = talking();
    sim.press("1#5");
    for key in ["1", "#", "5"] {
        assert!(
            sim.traced("key", &format!("{key} dropped")),
            "{}",
            sim.trace()
        );
    }
    assert_eq!((sim.ended, stops(&sim)), (None, 0));
    assert!(!sim.log.iter().any(|(_, o)| matches!(o, Output::Leave(_))));
    // None of them answers what follows.
    sim.end_talk();
    assert_eq!(sim.ended, Some(31));
}

#[test]
fn nothing_ends_a_talk_by_itself() {
    let nodes = LINE.replace("answered: { next: ok }", "answered: { next: b }")
        + "\n  b: { type: play, say: [{ prompt: long }], next: bad }";
    let set = set_with("limits: { max_duration: 3s }", &nodes);
    let mut sim = crate::ivr::sim::call(set, sim::start("t"));
    sim.join(agent("Ann"));
    let words = sim.said();
    assert_eq!(sim.machine.deadline(), None);
    sim.wait(Duration::from_secs(7_200));
    assert_eq!((sim.ended, sim.said()), (None, words), "{}", sim.trace());
    // The flow has all of its time left.
    sim.end_talk();
    sim.finish();
    assert_eq!(at(&sim, "event", "limit max_duration"), 7_203_000);
}

#[test]
fn hanging_up_ends_a_talk() {
    let mut sim = talking();
    sim.hang_up();
    assert!(sim.traced("event", "hangup") && !sim.traced("event", "answered"));
    assert_eq!((sim.ended, sim.machine.deadline()), (Some(16), None));
    let parting = LINE.replace(
        "full: { next: full }",
        "full: { next: full }, hangup: { next: ok }",
    );
    let mut sim = call(&parting);
    sim.join(agent("Ann"));
    sim.hang_up();
    assert_eq!(at(&sim, "exit", "a hangup -> ok"), 0);
}

#[test]
fn a_lost_agent_whom_nobody_replaces_is_told_as_in_line() {
    for (why, cause) in [(Why::NoAgents, 21), (Why::Timeout, 99), (Why::Full, 17)] {
        let mut sim = talking();
        assert!(sim.join(Answer::Left(why)));
        assert_eq!(sim.ended, Some(cause), "{}", sim.trace());
    }
}

#[test]
fn another_agent_may_take_a_talk_over() {
    let mut sim = talking();
    let before = sim.log.len();
    sim.join(agent("Ben"));
    assert_eq!(at(&sim, "event", "talk Ben"), 20_000);
    assert_eq!(sim.log.len(), before + 1);
    sim.end_talk();
    assert_eq!(sim.ended, Some(31));
}

#[test]
fn a_broken_talk_leads_back_into_the_line() {
    let mut sim = talking();
    sim.wait(Duration::from_secs(3_600));
    assert!(sim.break_talk() && !sim.break_talk());
    assert_eq!(at(&sim, "event", "talk_broke"), 3_620_000);
    assert_eq!(
        music(&sim),
        [Some("hold/default"), None, Some("hold/default")]
    );
    // All of the wait begins anew, under the same number, announcements too.
    let words = sim.said();
    sim.wait_ms(9_999);
    assert_eq!(sim.said(), words);
    sim.wait_ms(1);
    assert_eq!(sim.said(), words + " | 01234");
    let mut other = call(LINE);
    other.join(agent("Ann"));
    other.break_talk();
    other.wait(Duration::from_secs(600));
    assert_eq!(other.ended, Some(99), "{}", other.trace());
    assert!(
        other
            .log
            .contains(&(Time::from_millis(600_000), Output::Leave(op(&other))))
    );
    // And an agent may come again.
    sim.join(agent("Ben"));
    sim.end_talk();
    assert_eq!(sim.ended, Some(31));
}

#[test]
fn what_was_told_before_a_broken_talk_still_holds() {
    let stands = |position| QueueView {
        position: Some(position),
        ..QueueView::default()
    };
    let mut sim = call(LINE);
    sim.line(stands(3));
    sim.wait_ms(20_000);
    assert!(sim.said().ends_with("3 01234"));
    sim.line(stands(2));
    sim.join(agent("Ann"));
    // Where he stood before the talk is old, and a worse place is not told.
    for place in [None, Some(4)] {
        sim.break_talk();
        place
            .into_iter()
            .for_each(|place| assert!(sim.line(stands(place))));
        let before = sim.said().len();
        sim.wait_ms(11_000);
        assert_eq!(&sim.said()[before..], " | 01234");
        sim.join(agent("Ann"));
    }
    sim.break_talk();
    sim.line(stands(1));
    sim.wait_ms(11_000);
    assert!(sim.said().ends_with("1 01234"), "{}", sim.said());
}

#[test]
fn what_does_not_belong_to_the_talk_is_dropped() {
    let mut sim = call(LINE);
    let op = op(&sim);
    let before = sim.log.len();
    // Nobody talks yet.
    sim.input(Input::TalkEnded(op));
    sim.input(Input::TalkBroke(op));
    sim.input(Input::Joined(OpId(99), HelpChannel::Agent("Eve".into())));
    assert_eq!((sim.log.len(), sim.ended), (before, None));
    sim.join(agent("Ann"));
    let before = sim.log.len();
    for input in [
        Input::TalkEnded(OpId(99)),
        Input::TalkBroke(OpId(99)),
        Input::LeftQueue(OpId(99), Why::NoAgents),
        Input::Joined(OpId(99), HelpChannel::Agent("Eve".into())),
        Input::Joined(op, HelpChannel::Flow("t".into())),
    ] {
        sim.input(input);
        assert_eq!((sim.log.len(), sim.ended), (before, None));
    }
    sim.input(Input::TalkEnded(op));
    assert_eq!(sim.ended, Some(31));
}
