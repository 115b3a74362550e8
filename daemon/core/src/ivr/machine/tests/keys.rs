//! The rules of keys and timers, one test each.

use std::time::Duration;

use super::*;
use crate::ivr::io::{Barge, SayItem};
use crate::ivr::sim::Answer;

const MENU: &str = "  a: { type: menu, say: [{ prompt: q }], timeout: 6s, tries: 2, keys: { \"1\": { next: ok } }, events: { no_input: { say: [{ prompt: sorry }] }, no_match: { say: [{ prompt: sorry }] }, exhausted: { next: bad } } }";

/// A collect node that saves `v` and goes to `ok`.
fn collect(digits: &str, more: &str) -> String {
    format!(
        "  a: {{ type: collect, say: [{{ prompt: q }}], digits: {{ {digits} }}, save: v, next: ok, tries: 2, events: {{ exhausted: {{ next: bad }} }}{more} }}"
    )
}

#[test]
fn the_first_key_timer_starts_when_the_audio_has_ended() {
    let mut sim = call(MENU);
    sim.wait_ms(6_599);
    assert!(!sim.traced("event", "no_input"));
    sim.wait_ms(1);
    assert_eq!(at(&sim, "event", "no_input"), 6_600);
}

#[test]
fn without_audio_the_first_key_timer_starts_on_entry() {
    let silent = MENU.replacen("{ prompt: q }", "{ prompt: q, when: \"false\" }", 1);
    let mut sim = call(&silent);
    sim.wait_ms(6_000);
    assert_eq!(at(&sim, "event", "no_input"), 6_000);
}

#[test]
fn a_key_cancels_the_first_key_timer_for_good() {
    let mut sim = call(&collect("min: 2, max: 4, first: 2s, between: 5s", ""));
    sim.wait_ms(1_000);
    sim.press("1");
    sim.wait_ms(4_000);
    assert!(!sim.traced("event", "no_"), "{}", sim.trace());
}

#[test]
fn a_key_during_the_prompt_arms_the_timer_between_keys() {
    let mut sim = call(&collect("min: 6, max: 6, between: 3s", ""));
    sim.wait_ms(100);
    sim.press("123");
    assert_eq!(stops(&sim), 1);
    sim.finish();
    // The last key came up at 600 ms; three keys are too few, but something was keyed.
    assert_eq!(ms(first(&sim, "no_match")), 3_600);
}

fn first(sim: &Sim, part: &str) -> Time {
    let found = sim
        .log
        .iter()
        .find(|(_, o)| matches!(o, Output::Trace(l) if l.kind == "event" && l.data == part));
    found.unwrap_or_else(|| panic!("{}", sim.trace())).0
}

#[test]
fn an_entry_of_enough_keys_is_complete_when_time_runs_out() {
    let mut sim = call(&collect("min: 1, max: 6, between: 3s", ""));
    sim.wait_ms(1_000);
    sim.press("12");
    sim.finish();
    assert!(sim.traced("set", "v=12"));
    assert_eq!(at(&sim, "set", "v=12"), 4_300);
    assert_eq!(sim.ended, Some(31));
}

#[test]
fn a_terminator_completes_and_is_not_part_of_the_value() {
    let mut sim = call(&collect("min: 1, max: 6, terminators: \"#\"", ""));
    sim.wait_ms(1_000);
    sim.press("12#");
    assert!(sim.traced("set", "v=12"));
    assert_eq!(sim.ended, Some(31));
}

#[test]
fn a_terminator_as_first_key_is_an_empty_value_or_no_match() {
    let mut sim = call(&collect("min: 0, max: 6, terminators: \"#\"", ""));
    sim.press("#");
    assert!(sim.traced("set", "v="));
    assert_eq!(sim.ended, Some(31));
    let mut sim = call(&collect("min: 1, max: 6, terminators: \"#\"", ""));
    sim.press("#");
    assert!(sim.traced("event", "no_match") && sim.ended.is_none());
}

#[test]
fn a_full_entry_completes_at_once_and_swallows_one_terminator() {
    let nodes = format!(
        "{}\n  m: {{ type: menu, say: [{{ prompt: long }}], tries: 1, keys: {{ \"1\": {{ next: ok }}, \"#\": {{ next: bad }} }}, events: {{ exhausted: {{ next: bad }} }} }}",
        collect("min: 3, max: 3, terminators: \"#\", between: 3s", "")
            .replace("next: ok", "next: m")
    );
    let mut sim = call(&nodes);
    sim.press("123");
    assert_eq!(at(&sim, "set", "v=123"), 400);
    let said = sim.log.iter().rev().find_map(|(_, o)| match o {
        Output::Say { barge, .. } => Some(*barge),
        _ => None,
    });
    assert_eq!(
        said,
        Some(Barge::Never),
        "the swallowed key must not stop the menu"
    );
    sim.press("#");
    assert!(sim.traced("key", "# swallowed") && sim.ended.is_none());
    sim.press("#");
    assert_eq!(sim.ended, Some(21), "only once:\n{}", sim.trace());

    let mut sim = call(&nodes);
    sim.press("123");
    sim.wait_ms(3_000);
    sim.press("#");
    assert_eq!(
        sim.ended,
        Some(21),
        "only within `between`:\n{}",
        sim.trace()
    );
}

#[test]
fn other_keys_belong_to_the_value_and_the_pattern_decides() {
    let mut sim = call(&collect("min: 1, max: 3", ", match: \"^[0-9]*$\""));
    sim.press("1*2");
    assert!(sim.traced("event", "no_match") && !sim.traced("set", "v="));
    let mut sim = call(&collect("min: 1, max: 3", ""));
    sim.press("1*A");
    assert!(sim.traced("set", "v=1*A"));
}

#[test]
fn the_check_decides_and_cannot_end_the_flow() {
    let check = collect(
        "min: 1, max: 3, terminators: \"#\"",
        ", check: \"int(digits) <= 240\"",
    );
    let mut sim = call(&check);
    sim.press("241");
    assert!(sim.traced("event", "no_match"));
    sim.press("1*#");
    assert!(sim.traced("event", "exhausted"), "{}", sim.trace());
    let mut sim = call(&check);
    sim.press("007");
    assert!(sim.traced("set", "v=007"), "text keeps its zeros");
}

#[test]
fn a_menu_ignores_letters_and_answers_other_keys_at_once() {
    let mut sim = call(MENU);
    sim.wait_ms(1_000);
    sim.press("A");
    assert!(sim.traced("key", "A dropped") && !sim.traced("event", "no_match"));
    sim.press("5");
    assert_eq!(at(&sim, "event", "no_match"), 1_200);
    sim.finish();
    assert!(sim.ended.is_some());
}

#[test]
fn an_ignored_letter_during_the_prompt_leaves_the_timer_running() {
    let mut sim = call(MENU);
    sim.press("D");
    sim.finish();
    // Released at 100 ms: 6 s later nothing was keyed.
    assert_eq!(ms(first(&sim, "no_input")), 6_100);
}

#[test]
fn timers_stand_still_while_a_key_is_held() {
    let mut sim = call(&collect("min: 1, max: 6, between: 3s", ""));
    sim.wait_ms(1_000);
    down(&mut sim, '1');
    sim.wait_ms(4_000);
    assert!(sim.ended.is_none());
    up(&mut sim, '1');
    sim.finish();
    assert_eq!(at(&sim, "set", "v=1"), 8_000);
}

#[test]
fn a_lost_release_is_made_up_after_five_seconds() {
    let mut sim = call(&collect("min: 1, max: 6, between: 3s", ""));
    sim.wait_ms(1_000);
    down(&mut sim, '1');
    sim.finish();
    assert_eq!(at(&sim, "set", "v=1"), 9_000);
}

#[test]
fn a_second_key_releases_the_first() {
    let mut sim = call(&collect("min: 2, max: 2", ""));
    down(&mut sim, '1');
    down(&mut sim, '2');
    assert!(sim.traced("set", "v=12"));
}

#[test]
fn silence_and_wrong_keys_count_together_and_the_last_one_hears_no_sorry() {
    let mut sim = call(MENU);
    sim.press("5");
    assert_eq!(sim.said().matches("01234 ").count(), 1, "{}", sim.said());
    sim.finish();
    assert!(sim.traced("event", "no_input") && sim.traced("event", "exhausted"));
    assert_eq!(sim.said().matches("01234 0123456789").count(), 1);
    assert_eq!(sim.ended, Some(21));
}

#[test]
fn entering_a_question_anew_starts_counting_at_zero() {
    let again = MENU.replace(
        "\"1\": { next: ok }",
        "\"1\": { next: ok }, \"*\": { next: a }",
    );
    let mut sim = call(&again);
    for _ in 0..5 {
        sim.press("5*");
    }
    assert!(sim.ended.is_none(), "{}", sim.trace());
}

#[test]
fn a_key_stops_all_audio_of_the_node_when_it_goes_down() {
    let mut sim = call(
        "  a: { type: menu, say: [{ prompt: long }, { prompt: q }], keys: { \"1\": { next: b } } }\n  b: { type: play, say: [{ prompt: q }], next: ok }",
    );
    sim.wait_ms(50);
    down(&mut sim, '1');
    assert_eq!(stops(&sim), 1);
    assert_eq!(at(&sim, "node", "b play"), 50);
}

#[test]
fn keys_during_an_item_that_must_be_heard_are_dropped() {
    let nodes = MENU.replacen(
        "[{ prompt: q }]",
        "[{ prompt: long, barge_in: false }, { prompt: q }]",
        1,
    );
    let mut sim = call(&nodes);
    sim.press("1");
    assert!(sim.traced("key", "1 dropped") && stops(&sim) == 0);
    sim.wait_ms(6_100);
    sim.press("1");
    assert_eq!(stops(&sim), 1);
    assert_eq!(sim.ended, Some(31));
}

#[test]
fn a_play_node_is_not_interrupted_unless_it_says_so() {
    let mut sim = call(&format!(
        "  a: {{ type: play, say: [{{ prompt: long }}], next: m }}\n{}",
        MENU.replacen("  a:", "  m:", 1)
    ));
    sim.press("1");
    assert!(sim.traced("key", "1 dropped") && sim.ended.is_none());
    sim.wait_ms(6_000);
    assert!(sim.traced("node", "m menu"));
}

#[test]
fn a_key_that_interrupts_a_play_answers_the_next_question_before_its_audio() {
    let nodes = format!(
        "  a: {{ type: play, say: [{{ prompt: long }}], barge_in: true, next: p }}\n  p: {{ type: play, say: [{{ prompt: long }}], barge_in: true, loop: 3, next: m }}\n{}",
        MENU.replacen("  a:", "  m:", 1)
    );
    let mut sim = call(&nodes);
    sim.wait_ms(500);
    down(&mut sim, '1');
    assert_eq!(sim.ended, Some(31), "{}", sim.trace());
    assert!(!sim.traced("say", "q"));
}

#[test]
fn a_handed_key_begins_an_entry_and_no_prompt_follows() {
    let nodes = format!(
        "  a: {{ type: play, say: [{{ prompt: long }}], barge_in: true, next: c }}\n{}",
        collect("min: 3, max: 3, between: 3s", "").replacen("  a:", "  c:", 1)
    );
    let mut sim = call(&nodes);
    sim.press("12");
    sim.wait_ms(2_000);
    assert!(!sim.traced("say", "q"));
    sim.press("3");
    assert!(sim.traced("set", "v=123"));
}

#[test]
fn keys_while_the_desk_works_are_dropped_unless_the_question_takes_them() {
    for (type_ahead, wanted) in [("", None), (", type_ahead: true", Some(31))] {
        let nodes = format!(
            "  a: {{ type: callback, cancel: withdrawn, next: m }}\n  m: {{ type: menu, say: [{{ prompt: q }}], keys: {{ \"1\": {{ next: ok }} }}{type_ahead} }}"
        );
        let mut sim = call(&nodes);
        sim.press("1");
        let op = sim.log.iter().find_map(|(_, o)| match o {
            Output::Store(op, _) => Some(*op),
            _ => None,
        });
        let done = crate::ivr::io::CallbackReply::Done {
            position: None,
            wait: None,
            at: None,
            merged: false,
        };
        sim.input(Input::Stored(op.unwrap(), done));
        assert_eq!(sim.ended, wanted, "{type_ahead}\n{}", sim.trace());
        assert_eq!(sim.traced("key", "1 dropped"), wanted.is_none());
    }
}

#[test]
fn an_exit_taken_by_an_event_forgets_keys() {
    let nodes = format!(
        "  a: {{ type: play, say: [{{ prompt: long }}], barge_in: true, next: b }}\n  b: {{ type: branch, cases: [{{ when: \"int(v) > 0\", next: ok }}], else: ok, events: {{ error: {{ next: m }} }} }}\n{}",
        MENU.replacen("  a:", "  m:", 1)
    );
    let mut sim = call(&nodes);
    sim.press("1");
    assert!(
        sim.ended.is_none() && sim.traced("node", "m menu"),
        "{}",
        sim.trace()
    );
}

#[test]
fn silence_between_items_is_part_of_the_audio() {
    let sim = call(
        "  a: { type: play, say: [{ prompt: q }, { prompt: sorry }, { tone: beep }, { pause: 1s }, { prompt: q }], next: ok }",
    );
    let items = sim.log.iter().find_map(|(_, o)| match o {
        Output::Say { items, .. } => Some(items.clone()),
        _ => None,
    });
    let gap = SayItem::Pause(Duration::from_millis(150));
    let clip = |id: &str| SayItem::Clip(format!("en-US/{id}"));
    assert_eq!(
        items.unwrap(),
        [
            clip("q"),
            gap.clone(),
            clip("sorry"),
            gap,
            SayItem::Tone(crate::ivr::io::ToneName::Beep),
            SayItem::Pause(Duration::from_secs(1)),
            clip("q"),
        ]
    );
}

#[test]
fn keys_during_an_announcement_of_the_line_are_dropped() {
    let mut sim = call(
        "  a: { type: enqueue, queue: q, place: reserved, say: [{ prompt: long }], next: ok }",
    );
    sim.press("1");
    assert!(sim.traced("key", "1 dropped") && stops(&sim) == 0);
    let _ = Answer::Silence; // nobody answered the join; max_wait is 30 minutes
    sim.wait(Duration::from_secs(1_800));
    assert!(sim.traced("event", "timeout"));
    assert_eq!(sim.ended, Some(31));
}
