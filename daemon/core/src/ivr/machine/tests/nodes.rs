//! Nodes that ask others: recordings, services, the store, other people, who answered.

use std::time::Duration;

use super::*;
use crate::audio::answer::Answerer;
use crate::ivr::io::{
    Delivery, FindReply, HttpReply, QueueFacts, QueueView, Queues, RoomReply, Start, TakeEnd,
    TransferReply,
};
use crate::ivr::sim::{Answer, Service, World};

const TOP: &str = "output: { m: { type: map } }";

fn in_world(nodes: &str, world: World) -> Sim {
    let start = Start {
        env: [("CRM".to_owned(), "https://crm.example/v1".to_owned())].into(),
        ..sim::start("t")
    };
    Sim::in_world(set_with(TOP, nodes), start, world).unwrap()
}

fn plain(nodes: &str) -> Sim {
    in_world(nodes, World::default())
}

fn service(url: &str, after_ms: u64, status: u16, body: serde_json::Value) -> World {
    let reply = HttpReply::Answer {
        status,
        headers: vec![("x-kind".into(), "gold".into())],
        body,
    };
    World {
        services: vec![Service {
            method: None,
            url: url.into(),
            after: Duration::from_millis(after_ms),
            reply,
        }],
        ..World::default()
    }
}

fn deliveries(sim: &Sim) -> Vec<Delivery> {
    let delivery = |(_, output): &(Time, Output)| match output {
        Output::Deliver(_, delivery) => Some(delivery.clone()),
        _ => None,
    };
    sim.log.iter().filter_map(delivery).collect()
}

const VOICEMAIL: &str = "  a: { type: voicemail, box: help, say: [{ prompt: q }], max: 30s, silence: 4s, next: ok, events: { error: { next: bad }, no_input: { next: bad }, hangup: { next: ok } } }";

#[test]
fn a_message_is_taken_after_the_beep_and_ends_by_key_silence_or_limit() {
    for (ends, length, end) in [
        ("#", 5_000, TakeEnd::Key),
        ("", 5_000, TakeEnd::Silence),
        ("long", 30_000, TakeEnd::Limit),
    ] {
        let mut sim = plain(VOICEMAIL);
        sim.wait_ms(800); // 600 ms of words, 200 ms of tone
        assert!(sim.traced("record", "at most 30s"), "{}", sim.trace());
        sim.speak(Duration::from_millis(if ends == "long" {
            60_000
        } else {
            5_000
        }));
        if ends == "#" {
            sim.press("#");
        }
        sim.finish();
        let [delivery] = &deliveries(&sim)[..] else {
            panic!("{}", sim.trace());
        };
        assert_eq!(delivery.mailbox, "help");
        assert_eq!(
            (delivery.take.length.as_millis(), delivery.take.end),
            (length, end)
        );
        assert_eq!(sim.ended(), Some(31), "{}", sim.trace());
    }
}

#[test]
fn hanging_up_is_the_normal_end_of_a_message() {
    let mut sim = plain(VOICEMAIL);
    sim.wait_ms(800);
    sim.speak(Duration::from_secs(2));
    sim.hang_up();
    assert_eq!(deliveries(&sim)[0].take.end, TakeEnd::HungUp);
    sim.finish();
    assert_eq!(sim.ended(), Some(31), "{}", sim.trace());
}

#[test]
fn less_than_a_second_is_no_message_and_a_store_that_fails_is_an_error() {
    let mut sim = plain(VOICEMAIL);
    sim.wait_ms(800);
    sim.speak(Duration::from_millis(900));
    sim.finish();
    assert!(sim.traced("event", "no_input"), "{}", sim.trace());
    assert_eq!((deliveries(&sim).len(), sim.ended()), (0, Some(21)));
    let world = World {
        delivers: false,
        ..World::default()
    };
    let mut sim = in_world(VOICEMAIL, world);
    sim.wait_ms(800);
    sim.speak(Duration::from_secs(3));
    sim.finish();
    assert_eq!(sim.ended(), Some(21), "{}", sim.trace());
}

#[test]
fn a_key_cuts_the_words_before_a_message_but_not_its_tone() {
    let mut sim = plain(VOICEMAIL);
    sim.wait_ms(200);
    sim.press("5");
    assert_eq!(stops(&sim), 1);
    sim.wait_ms(200);
    assert!(sim.traced("record", "at most"), "{}", sim.trace());
}

#[test]
fn a_caller_may_hear_his_message_and_say_it_again() {
    let nodes = VOICEMAIL.replacen("max: 30s", "review: true, max: 30s", 1);
    let mut sim = plain(&nodes);
    sim.wait_ms(800);
    sim.speak(Duration::from_secs(3));
    sim.press("#");
    sim.press("2");
    let played = |(_, output): &(Time, Output)| match output {
        Output::Say { items, .. } => {
            items.contains(&crate::ivr::io::SayItem::Take("take-1".into()))
        }
        _ => false,
    };
    assert!(sim.log.iter().any(played), "{}", sim.trace());
    sim.press("3");
    sim.wait_ms(400);
    sim.speak(Duration::from_secs(2));
    sim.press("#");
    assert!(deliveries(&sim).is_empty());
    sim.press("1");
    sim.finish();
    assert_eq!(deliveries(&sim).len(), 1);
    assert_eq!(deliveries(&sim)[0].take.id, "take-2");
    // Without a key, and by hanging up, the message is kept too.
    for hangs_up in [false, true] {
        let mut sim = plain(&nodes);
        sim.wait_ms(800);
        sim.speak(Duration::from_secs(3));
        sim.press("#");
        if hangs_up {
            sim.hang_up();
        }
        sim.finish();
        assert_eq!(deliveries(&sim).len(), 1, "{}", sim.trace());
    }
}

#[test]
fn a_recording_is_saved_with_its_length() {
    let mut sim = plain(
        "  a: { type: record, save: m, beep: false, max: 10s, next: b }\n  b: { type: branch, cases: [{ when: \"m.ms == 3000 && m.id == 'take-1'\", next: ok }], else: bad }",
    );
    sim.speak(Duration::from_secs(3));
    sim.finish();
    assert_eq!(sim.ended(), Some(31), "{}", sim.trace());
}

const HTTP: &str = "  a: { type: http, request: { method: POST, url: \"{{{env.CRM}}}/who?q={{call.from}}\", headers: { x-a: \"{{call.to}}\" }, json: { n: \"call.from\", l: \"[1, 2]\" }, timeout: 3s }, save: { v: \"response.body.name + response.headers['x-kind']\" }, wait_say: [{ prompt: long }], next: b, events: { error: { next: bad }, timeout: { next: late } } }
  b: { type: branch, cases: [{ when: \"v == 'Anngold'\", next: ok }], else: bad }
  late: { type: hangup, cause: 99 }";

#[test]
fn a_service_is_asked_and_its_answer_saved() {
    let body = serde_json::json!({ "name": "Ann" });
    let mut sim = in_world(HTTP, service("https://crm.example/v1/who", 300, 200, body));
    let order = sim.log.iter().find_map(|(_, output)| match output {
        Output::Http(_, order) => Some(order.clone()),
        _ => None,
    });
    let order = order.unwrap();
    assert_eq!(order.url, "https://crm.example/v1/who?q=%2B33140000000");
    assert_eq!(order.headers, [("x-a".to_owned(), "100".to_owned())]);
    let json = serde_json::json!({ "n": "+33140000000", "l": [1, 2] });
    assert_eq!(order.json, Some(json));
    sim.finish();
    assert_eq!(sim.ended(), Some(31), "{}", sim.trace());
    // The query is no business of a trace.
    assert!(sim.traced("http", "POST https://crm.example/v1/who") && !sim.traced("http", "%2B33"));
}

#[test]
fn a_service_that_fails_or_is_late_has_ways_of_its_own() {
    let url = "https://crm.example";
    let body = serde_json::json!({ "name": "Ann" });
    for (world, cause) in [
        (service(url, 0, 500, body.clone()), 21),
        (service(url, 0, 200, serde_json::Value::Null), 21),
        (service("https://other.example", 0, 200, body.clone()), 21),
        (service(url, 9_000, 200, body.clone()), 99),
    ] {
        let mut sim = in_world(HTTP, world);
        sim.finish();
        assert_eq!(sim.ended(), Some(cause), "{}", sim.trace());
    }
    // One that never answers at all: the machine's own limit.
    let mut silent = in_world(HTTP, service(url, 100, 200, body));
    silent.forget_what_comes();
    silent.finish();
    assert_eq!(silent.ended(), Some(99), "{}", silent.trace());
}

#[test]
fn a_caller_is_told_when_a_service_takes_long_and_the_answer_cuts_that() {
    let body = serde_json::json!({ "name": "Ann" });
    let mut sim = in_world(HTTP, service("https://crm.example", 2_500, 200, body));
    sim.wait_ms(2_100);
    assert!(sim.said().contains("0123456789"), "{}", sim.trace());
    sim.finish();
    assert_eq!((stops(&sim), sim.ended()), (1, Some(31)));
}

#[test]
fn a_webhook_is_not_waited_for() {
    let mut sim = plain(
        "  a: { type: webhook, request: { method: POST, url: \"{{{env.CRM}}}/hook\", json: { v: \"call.to\" } }, next: ok }",
    );
    sim.finish();
    let sent = sim.log.iter().any(|(_, o)| matches!(o, Output::Webhook(_)));
    assert!(sent && sim.ended() == Some(31), "{}", sim.trace());
}

#[test]
fn a_record_is_found_missed_or_not_to_be_had() {
    let nodes = "  a: { type: lookup, by: phone, value: call.from, save: m, next: b, events: { miss: { next: gone }, error: { next: bad } } }
  b: { type: branch, cases: [{ when: \"m.tier == 'gold'\", next: ok }], else: bad }
  gone: { type: hangup, cause: 99 }";
    let gold = serde_json::json!({ "tier": "gold" });
    for (record, cause) in [
        (FindReply::Record(gold), 31),
        (FindReply::Miss, 99),
        (FindReply::Failed, 21),
        (FindReply::Record("text".into()), 21),
    ] {
        let world = World {
            record,
            ..World::default()
        };
        let mut sim = in_world(nodes, world);
        sim.finish();
        assert_eq!(sim.ended(), Some(cause), "{}", sim.trace());
    }
}

const DETECT: &str = "  a: { type: detect, budget: 4s, next: ask, events: { machine: { next: drop }, fax: { next: bad } } }
  ask: { type: menu, say: [{ prompt: long }], keys: { \"1\": { next: ok } }, events: { exhausted: { next: bad } } }
  drop: { type: play, after: beep, say: [{ prompt: q }], next: ok }";

#[test]
fn who_answered_is_found_out_beside_the_prompt() {
    let mut sim = plain(DETECT);
    assert_eq!(sim.said(), PROMPTS[2].1, "the greeting is not late");
    sim.wait_ms(2_000);
    sim.hears(Answerer::Machine);
    assert_eq!(stops(&sim), 1);
    assert!(sim.traced("exit", "machine -> drop"), "{}", sim.trace());
    sim.wait_ms(3_000);
    assert_eq!(sim.said(), PROMPTS[2].1);
    sim.input(Input::MachineListens);
    assert!(sim.said().ends_with(PROMPTS[0].1));
    sim.finish();
    assert_eq!(sim.ended(), Some(31));
}

#[test]
fn a_key_is_the_truth_and_a_late_verdict_changes_nothing() {
    let mut sim = plain(DETECT);
    sim.press("2");
    sim.hears(Answerer::Machine);
    assert!(!sim.traced("exit", "machine"), "{}", sim.trace());
    let mut sim = plain(DETECT);
    sim.wait_ms(4_500);
    sim.hears(Answerer::Machine);
    assert!(!sim.traced("exit", "machine"), "{}", sim.trace());
    let mut sim = plain(DETECT);
    sim.hears(Answerer::Human);
    sim.hears(Answerer::Machine);
    assert!(!sim.traced("exit", "machine"), "{}", sim.trace());
}

#[test]
fn lines_are_seen_before_one_is_joined_and_as_they_stand_now() {
    let line = |waiting| QueueFacts {
        waiting,
        agents: 2,
        ewt: Some(Duration::from_secs(240)),
        open: true,
    };
    let lines = |waiting| Arc::new(Queues::from([("sales".to_owned(), line(waiting))]));
    let nodes = "  a: { type: wait, for: 5s, next: b }
  b: { type: branch, cases: [{ when: \"queues['sales'].open && queues['sales'].waiting < 3 && queues['sales'].ewt <= duration('4m')\", next: ok }], else: bad }";
    let flows = set_with(TOP, nodes);
    let mut begin = sim::start("t");
    begin.queues = lines(1);
    for (later, cause) in [(None, 31), (Some(lines(3)), 21)] {
        let mut sim = Sim::new(Arc::clone(&flows), begin.clone()).unwrap();
        sim.wait_ms(1_000);
        if let Some(lines) = later {
            sim.input(Input::Queues(lines));
        }
        sim.finish();
        assert_eq!(sim.ended(), Some(cause), "{}", sim.trace());
    }
    // A queue that is not there is an error of the flow, not of the machine.
    begin.queues = Arc::default();
    let mut sim = Sim::new(flows, begin).unwrap();
    sim.finish();
    assert_eq!(sim.ended(), Some(41), "{}", sim.trace());
}

#[test]
fn a_caller_who_was_given_away_is_gone() {
    let nodes = "  a: { type: transfer, mode: blind, to: \"+4912345\", next: bad, events: { busy: { next: ok }, hangup: { next: note } } }
  note: { type: set, set: { v: \"'gone'\" }, next: end }
  end: { type: hangup }";
    let mut sim = plain(nodes);
    assert!(sim.traced("transfer", "+4912345 blind"), "{}", sim.trace());
    let op = sim.log.iter().find_map(|(_, o)| match o {
        Output::Transfer(op, _) => Some(*op),
        _ => None,
    });
    sim.input(Input::Transferred(op.unwrap(), TransferReply::Given));
    assert!(sim.traced("set", "v=gone"), "{}", sim.trace());
    assert_eq!(sim.ended(), Some(16));
    let mut sim = plain(nodes);
    sim.input(Input::Transferred(op.unwrap(), TransferReply::Busy));
    assert_eq!(sim.ended(), Some(31));
}

#[test]
fn a_key_before_the_beep_is_a_persons_and_answers_what_follows() {
    let flow = |barge_in: &str| {
        plain(&format!(
            "  a: {{ type: play, after: beep, {barge_in}say: [{{ prompt: q }}], next: b }}
  b: {{ type: menu, say: [{{ prompt: q }}], keys: {{ \"1\": {{ next: ok }} }}, events: {{ exhausted: {{ next: bad }} }} }}"
        ))
    };
    let mut sim = flow("barge_in: true, ");
    sim.wait_ms(1_000);
    sim.press("1");
    assert!(sim.traced("exit", "1 -> ok"), "{}", sim.trace());
    assert_eq!(sim.said(), "");
    let mut sim = flow("");
    sim.wait_ms(1_000);
    sim.press("1");
    assert!(sim.traced("key", "1 dropped"), "{}", sim.trace());
}

#[test]
fn a_beep_that_never_comes_is_waited_for_twenty_seconds() {
    let mut sim = plain("  a: { type: play, after: beep, say: [{ prompt: q }], next: ok }");
    let detects = sim.log.iter().any(|(_, o)| matches!(o, Output::Detect(_)));
    assert!(detects, "{}", sim.trace());
    sim.wait_ms(19_900);
    assert_eq!(sim.said(), "");
    sim.wait_ms(200);
    assert_eq!(sim.said(), PROMPTS[0].1);
}

#[test]
fn waiting_lasts_as_long_as_it_says_with_music() {
    let mut sim = plain("  a: { type: wait, for: 7s, music: hold/default, next: ok }");
    sim.wait_ms(6_900);
    assert_eq!(sim.ended(), None);
    sim.wait_ms(200);
    assert_eq!(sim.ended(), Some(31));
    let music = sim.log.iter().filter_map(|(_, o)| match o {
        Output::Music(music) => Some(music.clone()),
        _ => None,
    });
    assert_eq!(
        music.collect::<Vec<_>>(),
        [Some("hold/default".to_owned()), None]
    );
}

#[test]
fn a_transfer_ends_in_every_way() {
    let nodes = "  a: { type: transfer, to: \"{{call.from}}\", ring: 20s, caller_id: call.to, say: [{ prompt: q }], whisper: [{ prompt: sorry }], next: ok, events: { busy: { next: bad }, no_answer: { next: gone }, error: { next: err } } }
  gone: { type: hangup, cause: 98 }
  err: { type: hangup, cause: 99 }";
    for (reply, cause) in [
        (TransferReply::Done, 31),
        (TransferReply::Busy, 21),
        (TransferReply::NoAnswer, 98),
        (TransferReply::Failed("no trunk".into()), 99),
    ] {
        let mut sim = plain(nodes);
        assert!(!sim.transfer(TransferReply::Done), "not before it was said");
        sim.wait_ms(700);
        // A talk may be longer than the flow.
        sim.wait(Duration::from_secs(3_000));
        assert!(sim.transfer(reply), "{}", sim.trace());
        assert_eq!(sim.ended(), Some(cause), "{}", sim.trace());
    }
    let mut sim = plain(nodes);
    sim.wait_ms(700);
    sim.hang_up();
    assert_eq!(sim.ended(), Some(16));
}

#[test]
fn a_room_is_left_by_hanging_up_or_never_entered() {
    let nodes = "  a: { type: conference, room: \"r-{{call.to}}\", role: listen, max_parties: 4, events: { full: { next: bad } } }";
    let mut sim = plain(nodes);
    let room = sim.log.iter().find_map(|(_, output)| match output {
        Output::Conference(_, room) => Some((room.name.clone(), room.max_parties)),
        _ => None,
    });
    assert_eq!(room, Some(("r-100".to_owned(), 4)));
    sim.leave_room(RoomReply::Full);
    assert_eq!(sim.ended(), Some(21));
    let mut sim = plain(nodes);
    sim.hang_up();
    assert_eq!(sim.ended(), Some(16));
}

const LINE: &str = "  a: { type: enqueue, queue: help, priority: \"50\", say: [{ prompt: q }], music: hold/default, max_wait: 10m, next: ok,
       announce: { first: 10s, every: 30s, only_if_better: true, say: [{ number: queue.position }, { duration: queue.ewt, when: has(queue.ewt) }, { prompt: sorry }] },
       keys: { \"1\": { next: bad } }, events: { no_agents: { next: bad }, timeout: { next: late }, full: { next: bad } } }
  late: { type: hangup, cause: 99 }";

fn stands(position: u32, minutes: u64) -> QueueView {
    QueueView {
        position: Some(position),
        ewt: Some(Duration::from_secs(60 * minutes)),
        ..QueueView::default()
    }
}

#[test]
fn a_caller_in_line_hears_a_place_that_never_gets_worse() {
    let mut sim = plain(LINE);
    assert!(sim.traced("join", "help new +30m"), "{}", sim.trace());
    sim.line(stands(3, 9));
    sim.wait_ms(9_900);
    assert_eq!(sim.said(), PROMPTS[0].1);
    sim.wait_ms(200);
    assert!(sim.said().ends_with("3 9 minutes 01234"), "{}", sim.said());
    let before = sim.said().len();
    // Worse is not told, and neither is the same again; the rest is.
    sim.line(stands(4, 12));
    sim.wait_ms(32_000);
    assert_eq!(&sim.said()[before..], " | 01234");
    let before = sim.said().len();
    sim.line(stands(2, 9));
    sim.wait_ms(32_000);
    assert_eq!(&sim.said()[before..], " | 2 01234");
}

#[test]
fn announcements_are_counted_from_the_end_of_the_last_one() {
    let mut sim = plain(LINE);
    sim.line(stands(3, 9));
    sim.wait(Duration::from_secs(120));
    let said = sim.log.iter().filter_map(|(at, o)| match o {
        Output::Say { .. } => Some(ms(*at)),
        _ => None,
    });
    let begun: Vec<u64> = said.collect();
    // Said at 0 and 10 s; then 30 s after the end of what was said.
    assert_eq!(begun[1], 10_000);
    assert!(begun[2] > 40_000 && begun[2] < 42_000, "{begun:?}");
    assert_eq!(begun[3] - begun[2], 30_300, "{begun:?}");
}

#[test]
fn a_listed_key_works_during_music_and_words_and_others_are_dropped() {
    for at in [100, 5_000, 10_050] {
        let mut sim = plain(LINE);
        sim.line(stands(3, 9));
        sim.wait_ms(at);
        sim.press("2");
        assert_eq!((sim.ended(), stops(&sim)), (None, 0), "{}", sim.trace());
        sim.press("1");
        assert_eq!(sim.ended(), Some(21), "{}", sim.trace());
        let left = sim
            .log
            .iter()
            .filter(|(_, o)| matches!(o, Output::Leave(_)));
        assert_eq!(left.count(), 1);
    }
}

#[test]
fn a_line_is_left_in_time_and_for_the_desks_reasons() {
    let mut sim = plain(LINE);
    sim.wait(Duration::from_secs(601));
    assert_eq!(sim.ended(), Some(99), "{}", sim.trace());
    let mut sim = plain(LINE);
    sim.join(Answer::Left(crate::ivr::io::Why::NoAgents));
    assert_eq!(sim.ended(), Some(21));
}

#[test]
fn values_of_every_kind_are_read() {
    let nodes = "  a: { type: play, say: [{ money: \"'12.50'\" }, { money: \"99\", currency: EUR }, { date: now }, { date: \"now + duration('24h')\" }, { time: \"timestamp('2026-11-26T09:05:00Z')\" }, { ewt: \"duration('11m')\" }, { phone: call.from }, { tts: \"Extension {{call.to}}\" }], next: ok }";
    let mut sim = plain(nodes);
    sim.finish();
    let said = "12 dollars and 50 cents 99 euro cents today tomorrow 9 oh 5 am less than 15 minutes 3 3 1 4 0 0 0 0 0 0 0 Extension 100";
    assert_eq!(sim.said(), said, "{}", sim.trace());
}

#[test]
fn whatever_node_a_caller_hangs_up_in_the_call_ends_and_nothing_is_left() {
    for nodes in [VOICEMAIL, HTTP, DETECT, LINE] {
        for at in [0, 300, 700, 900, 2_100, 11_000, 45_000] {
            let mut sim = plain(nodes);
            sim.wait_ms(at);
            sim.hang_up();
            sim.finish();
            assert!(sim.ended().is_some(), "{at}\n{}", sim.trace());
            assert!(sim.machine.deadline().is_none());
        }
    }
}

#[test]
fn a_closed_desk_can_say_when_it_opens() {
    let nodes = "  a: { type: play, say: [{ date: calendar.next_open, when: has(calendar.next_open) }, { time: calendar.next_open, when: has(calendar.next_open) }, { prompt: q }], next: ok }";
    let mut start = sim::start("t");
    let mut said = |next_open| {
        start.hours.next_open = next_open;
        Sim::new(set_of(nodes), start.clone()).unwrap().said()
    };
    assert_eq!(said(None), PROMPTS[0].1);
    // The call comes at 13:20 on Monday.
    let opens = sim::NOW + Duration::from_secs(19 * 3_600 + 40 * 60);
    assert_eq!(said(Some(opens)), format!("tomorrow 9 am {}", PROMPTS[0].1));
}
