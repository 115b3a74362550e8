//! The power goes at every single operation of a story. Whoever was acknowledged is
//! called, and nobody is called a second time for a call that may have rung.

use std::time::Duration;

use crate::support::world::{Act, World, config, number, origin, request};

/// Three customers: one answers, one is busy first, one chooses another time.
const ACTS: [&[Act]; 3] = [
    &[Act::Talk(Duration::from_secs(90))],
    &[Act::Busy],
    &[Act::Later(Duration::from_secs(900))],
];

/// Plays the story with the power going after `operations`; false once it never goes.
fn power_goes_after(operations: u64) -> bool {
    let mut world = World::with(operations, config(2));
    world.break_after(operations);
    let mut acknowledged = Vec::new();
    for (n, acts) in (0_u32..).zip(ACTS) {
        world.acts(n, acts);
        acknowledged.push(world.try_accept(request(n), origin(n)).ok());
        world.run(Duration::from_secs(2));
    }
    world.run(Duration::from_secs(300));
    // Still open to new work: then the power never went.
    let went = world.try_accept(request(9), origin(9)).is_err();
    world.crash();
    let before = world.invites();

    world.boot();
    let mut accepted = Vec::new();
    for (n, acknowledged) in (0_u32..).zip(&acknowledged) {
        // Everybody repeats with the same key, as the answer "unknown" asks for.
        let again = world.try_accept(request(n), origin(n)).unwrap();
        if let Some(first) = acknowledged {
            assert_eq!(again.id, first.id, "acknowledged request {n} was lost");
        }
        accepted.push(again);
    }
    world.run(Duration::from_secs(3 * 3_600));
    for (n, accepted) in (0_u32..).zip(&accepted) {
        let state = world.status(accepted).state;
        // Held: the talk broke off, and only the customer may ask for another call.
        assert!(
            matches!(state.as_str(), "done" | "held"),
            "{operations}: customer {n} is {state}"
        );
        let calls = world.calls_to(n);
        assert!(
            !calls.is_empty(),
            "{operations}: customer {n} was never called"
        );
        let old = before.iter().filter(|(_, to)| *to == number(n)).count();
        if let (Some(last), Some(next)) = (calls.get(old.wrapping_sub(1)), calls.get(old)) {
            let gap = *next - *last;
            assert!(
                gap >= Duration::from_secs(96),
                "{operations}: {n} again after {gap:?}"
            );
        }
    }

    went
}

#[test]
fn the_power_may_go_at_every_operation() {
    let mut operations = 0;
    while power_goes_after(operations) {
        operations += 1;
        assert!(operations < 500, "the story does not end");
    }
    assert!(operations > 30, "only {operations} operations were cut");
}
