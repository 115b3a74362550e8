//! First come, first called, and at once when a call is free.

use std::time::Duration;

use crate::support::world::{Act, World, config, number, trunk};

#[test]
fn order_received_is_order_called() {
    let world = World::new(1);
    for n in 0..20 {
        world.accept(n);
        world.run(Duration::from_millis(100));
    }
    world.run(Duration::from_secs(3_600));
    let called: Vec<_> = world.invites().into_iter().map(|(_, to)| to).collect();
    assert_eq!(
        called,
        (0..20).map(number).collect::<Vec<_>>(),
        "{}",
        world.log()
    );
    assert_eq!(world.script.lock().unwrap().up_max, 2);
}

#[test]
fn an_idle_daemon_calls_at_once() {
    let world = World::new(1);
    world.run(Duration::from_secs(7_200));
    let accepted = world.accept(1);
    assert_eq!(accepted.position, Some(1));
    world.run(Duration::from_millis(300));
    assert_eq!(world.calls_to(1), [Duration::from_secs(7_200)]);
    assert_eq!(world.status(&accepted).state, "dialling");
}

#[test]
fn a_slow_trunk_keeps_the_order() {
    let mut slow = config(10);
    slow.trunk[0].calls_per_second = 1.0;
    slow.trunk[0].max_channels = 3;
    let world = World::with(2, slow);
    for n in 0..12 {
        world.accept(n);
    }
    world.run(Duration::from_secs(3_600));
    let invites = world.invites();
    let called: Vec<_> = invites.iter().map(|(_, to)| to.clone()).collect();
    assert_eq!(called, (0..12).map(number).collect::<Vec<_>>());
    assert!(world.script.lock().unwrap().up_max <= 3);
    for pair in invites.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= Duration::from_secs(1), "{pair:?}");
    }
}

#[test]
fn the_second_trunk_is_tried_at_once() {
    let mut two = config(1);
    two.trunk.push(trunk("second"));
    let world = World::with(3, two);
    world.acts(1, &[Act::TrunkFails]);
    let accepted = world.accept(1);
    world.run(Duration::from_secs(300));
    let calls = world.calls_to(1);
    assert_eq!(calls.len(), 2);
    assert!(calls[1] - calls[0] < Duration::from_secs(1), "{calls:?}");
    assert_eq!(world.status(&accepted).state, "done");
}

#[test]
fn without_a_trunk_nobody_is_called_and_nothing_is_promised() {
    let mut none = config(2);
    none.trunk.clear();
    let world = World::with(4, none);
    let accepted = world.accept(1);
    assert_eq!(
        accepted.promise.kind,
        helpline_core::queue::ewt::PromiseKind::None
    );
    world.run(Duration::from_secs(3_600));
    assert!(world.invites().is_empty());
    assert_eq!(world.status(&accepted).state, "waiting");
}
