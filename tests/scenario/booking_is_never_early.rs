//! A booked call comes at its time, not before, and soon after.

use std::collections::BTreeMap;
use std::time::Duration;

use helpline::config::CalendarHours;
use helpline::desk::AcceptError;
use helpline_core::request::{HelpRequest, When};

use crate::support::world::{Act, START, World, config, origin, request};

fn booked(n: u32, after: Duration) -> HelpRequest {
    HelpRequest {
        whom: helpline_core::request::Whom::default(),
        when: When::Window {
            not_before: START + after,
            not_after: None,
        },
        ..request(n)
    }
}

#[test]
fn booking_is_never_early() {
    let world = World::new(1);
    let due = Duration::from_millis(3_600_123);
    let accepted = world.try_accept(booked(1, due), origin(1)).unwrap();
    assert_eq!(accepted.position, None);
    // The line is never empty around the booked time.
    for n in 10..40 {
        world.accept(n);
    }
    for n in 40..50 {
        world.run(Duration::from_secs(360));
        world.accept(n);
    }
    world.run(Duration::from_secs(600));
    let calls = world.calls_to(1);
    assert_eq!(calls.len(), 1);
    assert!(calls[0] >= due, "{calls:?}");
    assert!(calls[0] <= due + Duration::from_secs(1), "{calls:?}");
}

#[test]
fn a_time_chosen_on_the_telephone_is_kept() {
    let world = World::new(1);
    world.acts(1, &[Act::Later(Duration::from_secs(1_800))]);
    let accepted = world.accept(1);
    world.run(Duration::from_secs(60));
    let status = world.status(&accepted);
    assert_eq!(status.state, "scheduled");
    let due = status.due_at.unwrap().since(START);
    world.run(Duration::from_secs(3_600));
    let calls = world.calls_to(1);
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1], due);
}

#[test]
fn impossible_times_are_refused() {
    let world = World::new(1);
    for seconds in [15 * 86_400, 4_000_000_000] {
        let far = booked(1, Duration::from_secs(seconds));
        let refused = world.try_accept(far, origin(1));
        assert!(
            matches!(refused, Err(AcceptError::BadTime(_))),
            "{refused:?}"
        );
    }
    world.run(Duration::from_secs(3_600));
    let passed = world.try_accept(booked(1, Duration::from_secs(60)), origin(1));
    assert!(matches!(passed, Err(AcceptError::BadTime(_))), "{passed:?}");
    // A refused request leaves its key free.
    world.accept(1);
}

#[test]
fn nobody_is_called_while_the_desk_is_closed() {
    let mut closing = config(1);
    closing.queue[0].calendar = "day".into();
    closing.calendar.insert(
        "day".into(),
        CalendarHours {
            zone: "UTC".into(),
            week: BTreeMap::from([("mon-fri".into(), vec!["08:00-14:00".into()])]),
            days: BTreeMap::new(),
        },
    );
    // The world begins on a Monday at 13:20.
    let world = World::with(1, closing);
    world.acts(1, &[Act::NoAnswer, Act::NoAnswer]);
    world.accept(1);
    world.run(Duration::from_secs(3_600));
    let late = world.accept(2);
    world.run(Duration::from_secs(60));
    assert_eq!(world.status(&late).state, "held");
    assert_eq!(world.status(&late).position, Some(1));
    let at_night = booked(3, Duration::from_secs(8 * 3_600));
    let refused = world.try_accept(at_night, origin(3));
    assert!(
        matches!(refused, Err(AcceptError::BadTime(_))),
        "{refused:?}"
    );
    world.run(Duration::from_secs(86_400));
    let opens = Duration::from_secs((24 - 13) * 3_600 - 20 * 60 + 8 * 3_600);
    let closes = Duration::from_secs(40 * 60);
    for (at, to) in world.invites() {
        assert!(at < closes || at >= opens, "{to} was called at {at:?}");
    }
    assert_eq!(world.status(&late).state, "done");
}
