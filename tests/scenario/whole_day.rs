//! A day of everything, twice.

use std::time::{Duration, Instant};

use helpline_core::request::When;
use helpline_core::rng::Rng;

use crate::support::world::{Act, World, config, origin, request};

/// Two hundred customers over a day, some busy, some away, some with a booked time.
fn day(seed: u64) -> (World, String) {
    let mut rng = Rng::new(seed);
    let world = World::with(seed, config(3));
    let mut accepted = Vec::new();
    for n in 0..200 {
        let acts: &[Act] = match rng.below(10) {
            0 | 1 => &[Act::Busy, Act::Busy],
            2 => &[Act::NoAnswer],
            3 => &[Act::NoAnswer; 9],
            4 => &[Act::TrunkFails],
            5 => &[Act::Later(Duration::from_secs(4_000))],
            _ => &[],
        };
        let talk = Act::Talk(Duration::from_secs(30 + rng.below(300)));
        let acts: Vec<_> = acts.iter().copied().chain([talk]).collect();
        world.acts(n, &acts);
        let mut new = request(n);
        if rng.below(10) == 0 {
            let ahead = Duration::from_secs(600 + rng.below(20_000));
            new.when = When::Window {
                not_before: world.now() + ahead,
                not_after: None,
            };
        }
        accepted.push(world.try_accept(new, origin(n)).unwrap());
        world.run(Duration::from_millis(rng.below(860_000)));
    }
    world.run(Duration::from_secs(86_400));
    let mut log = world.log();
    for (n, accepted) in accepted.iter().enumerate() {
        let status = world.status(accepted);
        assert!(!status.open, "customer {n} is {}", status.state);
        log.push_str(&format!("\n{n} {}", status.state));
    }
    (world, log)
}

#[test]
fn a_day_of_two_hundred_requests_ends_and_repeats() {
    let begun = Instant::now();
    let (world, log) = day(7);
    let took = begun.elapsed();
    println!("a day of 200 requests: {:.2} s", took.as_secs_f64());
    assert!(world.script.lock().unwrap().up_max <= 3);
    assert!(world.invites().len() > 250, "{}", world.invites().len());
    let (_, again) = day(7);
    assert!(log == again, "the same seed gave another day");
    let (_, other) = day(8);
    assert!(log != other);
}
