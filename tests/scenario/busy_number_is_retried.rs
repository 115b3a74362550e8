//! An attempt that failed is repeated as its disposition says, and never too soon.

use std::time::Duration;

use crate::support::world::{Act, World};

#[test]
fn busy_number_is_retried() {
    let world = World::new(1);
    world.acts(1, &[Act::Busy, Act::NoAnswer]);
    let accepted = world.accept(1);
    world.run(Duration::from_secs(60));
    let status = world.status(&accepted);
    assert_eq!(status.state, "backoff");
    assert_eq!(status.last_disposition.as_deref(), Some("busy"));
    assert!(status.not_before.is_some() && status.open);
    assert_eq!(world.mail(&accepted), ["ack", "attempted"]);
    world.run(Duration::from_secs(3_600));
    let calls = world.calls_to(1);
    assert_eq!(calls.len(), 3, "{calls:?}");
    let (first, second) = (calls[1] - calls[0], calls[2] - calls[1]);
    assert!((96..=145).contains(&first.as_secs()), "{first:?}");
    // Forty seconds of ringing, then five minutes more or less.
    assert!((280..=401).contains(&second.as_secs()), "{second:?}");
    assert_eq!(world.status(&accepted).state, "done");
    assert!(world.mail(&accepted).is_empty(), "no mail after a talk");
}

#[test]
fn a_number_that_stays_busy_is_given_up_and_told() {
    let world = World::new(1);
    world.acts(1, &[Act::Busy; 9]);
    let accepted = world.accept(1);
    world.run(Duration::from_secs(4 * 3_600));
    assert_eq!(world.calls_to(1).len(), 5);
    assert_eq!(world.status(&accepted).state, "unreachable");
    let mail = world.mail(&accepted);
    assert_eq!(mail.last().map(String::as_str), Some("closing"), "{mail:?}");
}

#[test]
fn stop_means_stop() {
    let world = World::new(1);
    world.acts(1, &[Act::Stop]);
    let accepted = world.accept(1);
    world.run(Duration::from_secs(86_400));
    assert_eq!(world.calls_to(1).len(), 1);
    assert_eq!(world.status(&accepted).state, "suppressed");
    let again = world.try_accept(
        crate::support::world::request(1),
        helpline::desk::Origin::default(),
    );
    assert_eq!(again, Err(helpline::desk::AcceptError::NotAllowed));
}

#[test]
fn a_call_that_vanished_after_the_answer_is_not_repeated() {
    let world = World::new(1);
    world.acts(1, &[Act::Vanish]);
    let accepted = world.accept(1);
    world.run(Duration::from_secs(12 * 3_600));
    assert_eq!(world.calls_to(1).len(), 1);
    assert_eq!(world.status(&accepted).state, "held");
    // The customer asks again: the same request comes back.
    let origin = helpline::desk::Origin::default();
    world
        .try_accept(crate::support::world::request(1), origin)
        .unwrap();
    world.run(Duration::from_secs(300));
    assert_eq!(world.calls_to(1).len(), 2);
    assert_eq!(world.status(&accepted).state, "done");
}

#[test]
fn a_store_that_is_away_during_a_call_is_waited_for() {
    let world = World::new(1);
    let accepted = world.accept(1);
    world.run(Duration::from_secs(1));
    world.break_after(0);
    world.run(Duration::from_secs(240));
    world.break_after(u64::MAX);
    world.run(Duration::from_secs(10));
    assert_eq!(world.calls_to(1).len(), 1);
    assert_eq!(world.status(&accepted).state, "done");
}
