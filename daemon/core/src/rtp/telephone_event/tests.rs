use super::*;
use crate::rng::Rng;
use crate::rtp::jitter::{Out, Reorder};

/// (sequence, timestamp, marker, code, end, duration), 20 ms apart.
type Row = (u16, u32, bool, u8, bool, u16);

fn payload(code: u8, end: bool, duration: u16) -> [u8; 4] {
    let [high, low] = duration.to_be_bytes();
    [code, u8::from(end) << 7 | 10, high, low]
}

fn told(receiver: &mut Receiver) -> String {
    let mut text = String::new();
    while let Some(output) = receiver.poll() {
        match output {
            Output::Down(d) => text.push(d.char()),
            Output::Up(_) => text.push('^'),
        }
    }
    text
}

/// What the packets, one every 20 ms, are heard as: `5^` is a press and its release.
fn hear(rows: &[Row]) -> String {
    let mut receiver = Receiver::default();
    for (n, (sequence, timestamp, marker, code, end, duration)) in rows.iter().enumerate() {
        let packet = Packet {
            marker: *marker,
            payload_type: 101,
            sequence: *sequence,
            timestamp: *timestamp,
            ssrc: 1,
            payload: &payload(*code, *end, *duration),
        };
        receiver.handle(Time::from_millis(n as u64 * 20), Input::Event(&packet));
    }
    told(&mut receiver)
}

#[test]
fn plain_press_is_one_digit() {
    let rows = [
        (1, 800, true, 5, false, 160),
        (2, 800, false, 5, false, 320),
        (3, 800, false, 5, true, 480),
        (4, 800, false, 5, true, 480),
        (5, 800, false, 5, true, 480),
    ];
    assert_eq!(hear(&rows), "5^");
    // Any single packet of it will do, with or without its marker.
    for row in rows {
        assert!(hear(&[row]).starts_with('5'));
    }
    // Ends only, the marker on each.
    assert_eq!(
        hear(&[
            (1, 0, true, 11, true, 800),
            (2, 0, true, 11, true, 800),
            (3, 0, true, 11, true, 800)
        ]),
        "#^"
    );
}

#[test]
fn same_key_again_under_a_new_timestamp_is_a_second_digit() {
    let rows = [
        (1, 800, true, 5, false, 160),
        (2, 800, false, 5, true, 320),
        (3, 1600, false, 5, false, 160),
        (4, 1600, false, 5, true, 320),
    ];
    assert_eq!(hear(&rows), "5^5^");
}

#[test]
fn new_event_ends_one_whose_end_was_lost() {
    let rows = [
        (1, 800, true, 1, false, 160),
        (9, 2400, true, 2, false, 160),
    ];
    assert_eq!(hear(&rows), "1^2");
}

#[test]
fn long_press_goes_on_in_the_next_segment() {
    let rows = [
        (1, 800, true, 7, false, 0xfff0),
        (2, 800, false, 7, false, 0xffff),
        (3, 800 + 0xffff, false, 7, false, 160),
        (4, 800 + 0xffff, false, 7, true, 320),
        (5, 800 + 0xffff, false, 7, true, 320),
    ];
    assert_eq!(hear(&rows), "7^");
}

#[test]
fn timestamp_that_moves_with_every_packet_is_one_press() {
    let rows = [
        (1, 160, true, 2, false, 160),
        (2, 320, false, 2, false, 320),
        (3, 480, false, 2, false, 480),
        (4, 640, false, 2, true, 640),
        (5, 800, false, 2, true, 640),
        (6, 960, false, 2, true, 640),
        (20, 4000, true, 2, false, 160),
        (21, 4160, false, 2, true, 320),
    ];
    assert_eq!(hear(&rows), "2^2^");
}

#[test]
fn one_timestamp_for_several_presses_gives_each() {
    let rows = [
        (1, 0, true, 1, false, 160),
        (2, 0, false, 1, true, 320),
        (10, 0, false, 2, false, 160),
        (11, 0, false, 2, true, 320),
        (20, 0, false, 1, false, 160),
        (21, 0, false, 1, true, 320),
        (30, 0, false, 1, false, 160),
        (31, 0, false, 1, true, 320),
    ];
    assert_eq!(hear(&rows), "1^2^1^1^");
}

#[test]
fn press_is_over_after_375_ms_and_its_late_end_is_nothing() {
    let mut receiver = Receiver::default();
    let feed = |receiver: &mut Receiver, ms, end, duration| {
        let packet = Packet {
            marker: false,
            payload_type: 101,
            sequence: 1,
            timestamp: 800,
            ssrc: 1,
            payload: &payload(3, end, duration),
        };
        receiver.handle(Time::from_millis(ms), Input::Event(&packet));
    };
    feed(&mut receiver, 0, false, 160);
    assert_eq!(receiver.deadline(), Some(Time::from_millis(375)));
    receiver.handle(Time::from_millis(374), Input::Timeout);
    assert_eq!(told(&mut receiver), "3");
    receiver.handle(Time::from_millis(375), Input::Timeout);
    assert_eq!(told(&mut receiver), "^");
    feed(&mut receiver, 1696, true, 13_000);
    assert_eq!(told(&mut receiver), "");
    assert_eq!(receiver.deadline(), None);
}

#[test]
fn audio_100_ms_later_ends_a_press() {
    let mut receiver = Receiver::default();
    let packet = Packet {
        marker: true,
        payload_type: 101,
        sequence: 1,
        timestamp: u32::MAX - 100,
        ssrc: 1,
        payload: &payload(3, false, 160),
    };
    receiver.handle(Time::ZERO, Input::Event(&packet));
    let end = (u32::MAX - 100).wrapping_add(160);
    receiver.handle(Time::from_millis(20), Input::Audio(end.wrapping_add(640)));
    assert_eq!(told(&mut receiver), "3");
    receiver.handle(Time::from_millis(40), Input::Audio(end.wrapping_add(800)));
    assert_eq!(told(&mut receiver), "^");
}

#[test]
fn several_events_in_one_packet_are_several_digits() {
    let mut receiver = Receiver::default();
    let both: Vec<u8> = [payload(1, true, 400), payload(2, true, 400)].concat();
    let packet = Packet {
        marker: true,
        payload_type: 101,
        sequence: 1,
        timestamp: 0,
        ssrc: 1,
        payload: &both,
    };
    receiver.handle(Time::ZERO, Input::Event(&packet));
    receiver.handle(Time::ZERO, Input::LateEvent(&packet));
    assert_eq!(told(&mut receiver), "1^2^");
}

#[test]
fn nonsense_is_nothing() {
    for bytes in [&[][..], &[5], &[5, 0, 0], &[17, 0, 0, 1], &[255; 40]] {
        let mut receiver = Receiver::default();
        let packet = Packet {
            marker: false,
            payload_type: 101,
            sequence: 1,
            timestamp: 0,
            ssrc: 1,
            payload: bytes,
        };
        receiver.handle(Time::ZERO, Input::Event(&packet));
        assert_eq!(told(&mut receiver), "", "{bytes:?}");
    }
    assert_eq!(
        hear(&[(1, 0, true, 16, true, 800)]),
        "",
        "flash is no digit"
    );
}

#[test]
fn flood_of_events_is_bounded() {
    let rows: Vec<Row> = (0..50)
        .map(|n| (n, u32::from(n) * 8000, true, 1, true, 80))
        .collect();
    let mut receiver = Receiver::default();
    for (sequence, timestamp, ..) in rows {
        let packet = Packet {
            marker: true,
            payload_type: 101,
            sequence,
            timestamp,
            ssrc: 1,
            payload: &payload(1, true, 80),
        };
        receiver.handle(
            Time::from_millis(u64::from(sequence)),
            Input::Event(&packet),
        );
    }
    assert_eq!(told(&mut receiver), "1^".repeat(20));
    assert_eq!(receiver.excess(), 30);
}

/// One packet of a simulated sender: slot it was sent in, press it belongs to.
struct Sent {
    slot: u64,
    press: Option<usize>,
    row: Row,
}

fn stream(rng: &mut Rng) -> (Vec<u8>, Vec<Sent>) {
    let mut sequence = rng.next_u32() as u16;
    let mut timestamp = rng.next_u32();
    let mut slot = 0;
    let mut sent = Vec::new();
    let mut codes = Vec::new();
    let audio = |count: u64,
                 slot: &mut u64,
                 sequence: &mut u16,
                 timestamp: &mut u32,
                 sent: &mut Vec<Sent>| {
        for _ in 0..count {
            sent.push(Sent {
                slot: *slot,
                press: None,
                row: (*sequence, *timestamp, false, 0, false, 0),
            });
            *slot += 1;
            *sequence = sequence.wrapping_add(1);
            *timestamp = timestamp.wrapping_add(160);
        }
    };
    audio(4, &mut slot, &mut sequence, &mut timestamp, &mut sent);
    for press in 0..3 {
        let code = rng.below(3) as u8;
        codes.push(code);
        let updates = 2 + rng.below(5) as u16;
        let begun = timestamp;
        for n in 0..updates + 3 {
            let end = n >= updates;
            let duration = 160 * (n + 1).min(updates);
            let marker = n == 0 && rng.below(4) > 0;
            sent.push(Sent {
                slot,
                press: Some(press),
                row: (sequence, begun, marker, code, end, duration),
            });
            slot += 1;
            sequence = sequence.wrapping_add(1);
            timestamp = timestamp.wrapping_add(160);
        }
        let pause = 4 + rng.below(3);
        audio(pause, &mut slot, &mut sequence, &mut timestamp, &mut sent);
    }
    (codes, sent)
}

#[test]
fn ten_thousand_streams_with_loss_give_each_press_exactly_once() {
    let mut rng = Rng::new(47_330);
    for round in 0..10_000 {
        let (codes, sent) = stream(&mut rng);
        let loss = rng.below(21);
        let mut survived = [false; 3];
        let mut arrivals: Vec<(u64, Row, bool)> = Vec::new();
        for packet in &sent {
            if rng.below(100) < loss {
                continue;
            }
            if let Some(press) = packet.press {
                survived[press] = true;
            }
            for copy in 0..=u64::from(rng.below(20) == 0) {
                // Up to three packets late, and copies later still.
                let delay = if rng.below(5) == 0 {
                    rng.below(3) * 20 + 1
                } else {
                    0
                };
                arrivals.push((
                    packet.slot * 20 + delay + copy * 7,
                    packet.row,
                    packet.press.is_some(),
                ));
            }
        }
        arrivals.sort_by_key(|(at, ..)| *at);
        let heard = listen(&arrivals);
        let expected: String = codes
            .iter()
            .zip(survived)
            .filter(|(_, survived)| *survived)
            .map(|(code, _)| Digit::from_code(*code).unwrap().char())
            .collect();
        let downs: String = heard.chars().filter(|c| *c != '^').collect();
        assert_eq!(downs, expected, "round {round}: {heard}");
        assert_eq!(
            heard.matches('^').count(),
            expected.len(),
            "round {round}: {heard}"
        );
    }
}

/// The way of the packets on a leg: order, then the receiver.
fn listen(arrivals: &[(u64, Row, bool)]) -> String {
    let mut buffer = Reorder::default();
    let mut receiver = Receiver::default();
    let mut take = |buffer: &mut Reorder, now: Time| {
        while let Some(out) = buffer.pop(now) {
            match out {
                Out::Packet(p) if p.payload_type == 101 => receiver.handle(now, Input::Event(&p)),
                Out::Late(p) if p.payload_type == 101 => receiver.handle(now, Input::LateEvent(&p)),
                Out::Packet(p) => receiver.handle(now, Input::Audio(p.timestamp)),
                Out::Gap(_) | Out::Late(_) => {}
            }
        }
        receiver.handle(now, Input::Timeout);
    };
    for (ms, (sequence, timestamp, marker, code, end, duration), is_event) in arrivals {
        let now = Time::from_millis(*ms);
        while let Some(at) = buffer.deadline().filter(|at| *at < now) {
            take(&mut buffer, at);
        }
        let packet = Packet {
            marker: *marker,
            payload_type: if *is_event { 101 } else { 0 },
            sequence: *sequence,
            timestamp: *timestamp,
            ssrc: 1,
            payload: &payload(*code, *end, *duration),
        };
        buffer.push(now, &packet);
        take(&mut buffer, now);
    }
    take(&mut buffer, Time::from_millis(1_000_000));
    told(&mut receiver)
}

#[test]
fn a_straggler_of_another_press_does_not_overlap_the_one_held() {
    let mut receiver = Receiver::default();
    let packet = |sequence, timestamp, bytes| Packet {
        marker: false,
        payload_type: 101,
        sequence,
        timestamp,
        ssrc: 1,
        payload: bytes,
    };
    let (held, late, more) = (
        payload(5, false, 160),
        payload(3, true, 800),
        payload(5, true, 480),
    );
    receiver.handle(Time::ZERO, Input::Event(&packet(9, 1_600, &held)));
    receiver.handle(Time::ZERO, Input::LateEvent(&packet(4, 160, &late)));
    receiver.handle(Time::ZERO, Input::Event(&packet(10, 1_600, &more)));
    assert_eq!(told(&mut receiver), "5^3^");
}
