//! Who takes a request back is not called, and a telephone that rings stops ringing.

use std::time::Duration;

use helpline::desk::Cancelled;

use crate::support::world::{Act, World, config, origin, request};

#[test]
fn cancelled_request_is_not_called() {
    let world = World::with(1, config(1));
    world.accept(1);
    let second = world.accept(2);
    world.run(Duration::from_secs(10));
    assert_eq!(world.cancel(&second), Cancelled::Done);
    assert_eq!(world.cancel(&second), Cancelled::AlreadyOver);
    world.run(Duration::from_secs(86_400));
    assert!(world.calls_to(2).is_empty());
    let status = world.status(&second);
    assert_eq!((status.state.as_str(), status.open), ("cancelled", false));
    // The acknowledgement was stale by then.
    assert_eq!(world.mail(&second), ["closing"]);
}

#[test]
fn cancelling_ends_the_ringing() {
    let world = World::new(1);
    world.acts(1, &[Act::NoAnswer]);
    let accepted = world.accept(1);
    world.run(Duration::from_secs(5));
    assert_eq!(world.cancel(&accepted), Cancelled::Done);
    world.run(Duration::from_secs(1));
    assert!(world.log().contains("+5.000 cancelled"), "{}", world.log());
    world.run(Duration::from_secs(86_400));
    assert_eq!(world.calls_to(1).len(), 1);
    assert_eq!(world.status(&accepted).state, "cancelled");
    // The number is free again.
    world
        .try_accept(request(1), helpline::desk::Origin::default())
        .unwrap();
    world.run(Duration::from_secs(10));
    assert_eq!(world.calls_to(1).len(), 2);
}

#[test]
fn asking_twice_gives_one_call() {
    let world = World::with(1, config(1));
    world.accept(9);
    let first = world.accept(1);
    let same_key = world.accept(1);
    assert_eq!((&same_key.id, same_key.fresh), (&first.id, false));
    let other_key = world.try_accept(request(1), origin(77)).unwrap();
    assert!(other_key.fresh && other_key.id != first.id);
    assert_eq!(other_key.position, first.position);
    assert_eq!(world.status(&other_key).state, world.status(&first).state);
    world.run(Duration::from_secs(3_600));
    assert_eq!(world.calls_to(1).len(), 1);
    assert_eq!(world.status(&other_key).state, "done");
}

#[test]
fn a_stranger_cannot_take_a_request_back() {
    let world = World::with(1, config(1));
    world.accept(9);
    let first = world.accept(1);
    let mut stranger = request(1);
    stranger.email = Some("stranger@example.net".into());
    let merged = world.try_accept(stranger, origin(78)).unwrap();
    assert_eq!(world.cancel(&merged), Cancelled::AlreadyOver);
    assert!(world.status(&first).open);
}
