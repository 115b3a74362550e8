use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn target(port: u16, priority: u16, weight: u16) -> Target {
    Target {
        address: at(port),
        priority,
        weight,
    }
}

fn targets(list: &[Target]) -> Targets {
    let mut targets = Targets::new(Rng::new(1));
    targets.handle(Time::ZERO, Input::Resolved(list.to_vec()));
    targets
}

fn refused(code: u16, q850: Option<u8>) -> Failure {
    Failure::Refused {
        code,
        q850,
        retry_after: None,
    }
}

fn probed(targets: &mut Targets, now: Time, port: u16, answered: bool) {
    let address = at(port);
    targets.handle(now, Input::Probed { address, answered });
}

#[test]
fn fail_over_is_allowed_only_if_the_call_surely_did_not_start() {
    for (failure, before_ringing) in [
        (Failure::NotSent, true),
        (Failure::Silent, true),
        (refused(500, None), true),
        (refused(501, None), false),
        (refused(502, None), true),
        (refused(503, None), true),
        (refused(504, None), true),
        (refused(505, None), false),
        (refused(503, Some(34)), true),
        (refused(480, Some(41)), true),
        (refused(404, Some(38)), true),
        (refused(486, Some(42)), true),
        // The cause weighs more than the code: busy, no answer, rejected.
        (refused(503, Some(17)), false),
        (refused(500, Some(19)), false),
        (refused(502, Some(21)), false),
        (refused(503, Some(3)), false),
        (refused(302, Some(34)), false),
        (refused(603, Some(34)), false),
        (refused(600, None), false),
        (refused(302, None), false),
        (refused(401, None), false),
        (refused(404, None), false),
        (refused(408, None), false),
        (refused(480, None), false),
        (refused(486, None), false),
        (refused(487, None), false),
        (refused(488, None), false),
    ] {
        assert_eq!(failure.allows_next(false), before_ringing, "{failure:?}");
        assert!(!failure.allows_next(true), "{failure:?} after ringing");
    }
}

#[test]
fn an_attempt_asks_each_target_once_and_not_all_of_many() {
    let mut attempt = Attempt::new((1..=9).map(at).collect());
    assert_eq!(attempt.first(), Some(at(1)));
    for port in 2..=4 {
        assert_eq!(attempt.failed(&Failure::NotSent), Verdict::Next(at(port)));
    }
    assert_eq!(attempt.failed(&Failure::NotSent), Verdict::Stands);
}

#[test]
fn lower_priority_comes_first_and_weight_is_a_share() {
    let mut targets = targets(&[target(3, 20, 0), target(1, 10, 75), target(2, 10, 25)]);
    let mut first = BTreeMap::new();
    for _ in 0..4_000 {
        let order = targets.order(Time::ZERO);
        assert_eq!(order.len(), 3);
        assert_eq!(order[2], at(3));
        *first.entry(order[0].port()).or_insert(0) += 1;
    }
    assert!((2_850..=3_150).contains(&first[&1]), "{first:?}");
}

#[test]
fn targets_without_weight_are_chosen_evenly_and_beside_heavy_ones_rarely() {
    let mut even = targets(&[target(1, 0, 0), target(2, 0, 0)]);
    let firsts = (0..1_000).filter(|_| even.order(Time::ZERO)[0] == at(1));
    assert!((400..600).contains(&firsts.count()));
    let mut heavy = targets(&[target(1, 0, 0), target(2, 0, 60)]);
    let light = (0..6_100).filter(|_| heavy.order(Time::ZERO)[0] == at(1));
    assert!((40..200).contains(&light.count()));
}

#[test]
fn two_misses_are_down_and_any_answer_is_up() {
    let mut targets = targets(&[target(1, 0, 0)]);
    assert_eq!(targets.deadline(), Some(Time::ZERO));
    targets.handle(Time::ZERO, Input::Timeout);
    assert_eq!(targets.poll(), Some(Output::Probe(at(1))));
    probed(&mut targets, Time::ZERO, 1, false);
    assert!(targets.is_up());
    probed(&mut targets, Time::ZERO, 1, false);
    assert!(!targets.is_up());
    assert_eq!(targets.poll(), Some(Output::Down(at(1))));
    probed(&mut targets, Time::ZERO, 1, true);
    assert!(targets.is_up());
    assert_eq!(targets.poll(), Some(Output::Up(at(1))));
    assert_eq!(targets.poll(), None);
}

#[test]
fn a_target_that_misses_is_asked_again_after_5_10_20_40_60_60_seconds() {
    let mut targets = targets(&[target(1, 0, 0)]);
    let mut now = Time::ZERO;
    for seconds in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
        targets.handle(now, Input::Timeout);
        probed(&mut targets, now, 1, false);
        let next = targets.deadline().unwrap();
        let pause = next.since(now).as_secs_f64();
        assert!((pause / seconds - 1.0).abs() < 0.101, "{pause} {seconds}");
        now = next;
    }
    probed(&mut targets, now, 1, true);
    let pause = targets.deadline().unwrap().since(now).as_secs_f64();
    assert!((27.0..=33.0).contains(&pause), "{pause}");
}

#[test]
fn a_target_that_is_down_comes_last_whatever_its_priority() {
    let mut targets = targets(&[target(1, 0, 0), target(2, 10, 0)]);
    targets.handle(Time::ZERO, Input::Failed(at(1), Failure::Silent));
    assert_eq!(targets.order(Time::ZERO), [at(2), at(1)]);
    assert!(targets.is_up());
    targets.handle(Time::ZERO, Input::Failed(at(2), Failure::NotSent));
    assert!(!targets.is_up());
    assert_eq!(targets.order(Time::ZERO), [at(1), at(2)]);
    targets.handle(Time::ZERO, Input::Served(at(2)));
    assert_eq!(targets.order(Time::ZERO), [at(2), at(1)]);
}

#[test]
fn retry_after_closes_a_target_for_its_time_and_ten_minutes_at_most() {
    let seconds = |s: u64| Time::from_millis(s * 1_000);
    for (asked, closed) in [(7, 7), (86_400, 600)] {
        let mut targets = targets(&[target(1, 0, 0), target(2, 10, 0)]);
        let failure = Failure::Refused {
            code: 503,
            q850: None,
            retry_after: Some(Duration::from_secs(asked)),
        };
        targets.handle(Time::ZERO, Input::Failed(at(1), failure));
        assert_eq!(targets.order(seconds(closed - 1)), [at(2)]);
        assert_eq!(targets.closed_for(Time::ZERO), None);
        targets.handle(Time::ZERO, Input::Failed(at(2), failure));
        assert!(targets.order(seconds(closed - 1)).is_empty());
        let left = targets.closed_for(seconds(closed - 1));
        assert_eq!(left, Some(Duration::from_secs(1)));
        assert_eq!(targets.order(seconds(closed)), [at(1), at(2)]);
        assert!(targets.is_up(), "a target that asks for time is not down");
    }
}

#[test]
fn five_failed_calls_make_a_target_the_last_resort_until_one_is_served() {
    let seconds = |s: u64| Time::from_millis(s * 1_000);
    let mut targets = targets(&[target(1, 0, 0), target(2, 10, 0)]);
    for _ in 0..4 {
        targets.handle(Time::ZERO, Input::Failed(at(1), refused(500, None)));
    }
    assert_eq!(targets.order(Time::ZERO)[0], at(1));
    targets.handle(Time::ZERO, Input::Failed(at(1), refused(500, None)));
    assert_eq!(targets.order(seconds(29)), [at(2), at(1)]);
    // OPTIONS answered do not mend it.
    probed(&mut targets, seconds(1), 1, true);
    assert_eq!(targets.order(seconds(29))[0], at(2));
    // One call is let through, and decides.
    assert_eq!(targets.order(seconds(30))[0], at(1));
    targets.handle(seconds(30), Input::Failed(at(1), refused(500, None)));
    assert_eq!(targets.order(seconds(59))[0], at(2));
    targets.handle(seconds(60), Input::Served(at(1)));
    targets.handle(seconds(60), Input::Failed(at(1), refused(500, None)));
    assert_eq!(targets.order(seconds(61))[0], at(1));
}

#[test]
fn a_new_answer_of_dns_keeps_what_is_known_and_forgets_the_rest() {
    let mut targets = targets(&[target(1, 0, 0), target(2, 0, 0)]);
    targets.handle(Time::ZERO, Input::Failed(at(1), Failure::Silent));
    let again = vec![target(1, 5, 0), target(3, 9, 0), target(3, 1, 1)];
    targets.handle(Time::ZERO, Input::Resolved(again));
    assert_eq!(targets.addresses().collect::<Vec<_>>(), [at(1), at(3)]);
    assert_eq!(targets.order(Time::ZERO), [at(3), at(1)]);
    // A word about one that is gone changes nothing.
    probed(&mut targets, Time::ZERO, 2, false);
    targets.handle(Time::ZERO, Input::Served(at(2)));
    assert_eq!(targets.addresses().count(), 2);
}

/// What a target of the model does with an INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Unreachable,
    Dead,
    Refuses(u16, Option<u8>),
    RingsThenRefuses(u16, Option<u8>),
    Answers,
}

fn peer(rng: &mut Rng) -> Peer {
    let codes = [302, 404, 480, 486, 488, 500, 501, 502, 503, 504, 600, 603];
    let code = codes[usize::try_from(rng.below(12)).unwrap()];
    let causes = [None, None, Some(17), Some(19), Some(34), Some(38), Some(41)];
    let cause = causes[usize::try_from(rng.below(7)).unwrap()];
    match rng.below(5) {
        0 => Peer::Unreachable,
        1 => Peer::Dead,
        2 => Peer::Refuses(code, cause),
        3 => Peer::RingsThenRefuses(code, cause),
        _ => Peer::Answers,
    }
}

/// Plays an attempt against the model: the targets whose telephone rang.
fn play(targets: &mut Targets, now: Time, peers: &BTreeMap<SocketAddr, Peer>) -> Vec<SocketAddr> {
    let mut rang = Vec::new();
    let mut asked = BTreeSet::new();
    let mut attempt = Attempt::new(targets.order(now));
    let mut next = attempt.first();
    while let Some(address) = next {
        assert!(asked.insert(address), "asked twice");
        let failure = match peers[&address] {
            Peer::Unreachable => Failure::NotSent,
            Peer::Dead => Failure::Silent,
            Peer::Refuses(code, cause) => refused(code, cause),
            Peer::RingsThenRefuses(code, cause) => {
                rang.push(address);
                attempt.ringing();
                refused(code, cause)
            }
            Peer::Answers => {
                rang.push(address);
                targets.handle(now, Input::Served(address));
                return rang;
            }
        };
        // A telephone also rang unheard where the cause says so.
        if let Failure::Refused {
            q850: Some(17 | 19),
            ..
        } = failure
        {
            rang.push(address);
            rang.dedup();
        }
        targets.handle(now, Input::Failed(address, failure));
        next = match attempt.failed(&failure) {
            Verdict::Next(next) => Some(next),
            Verdict::Stands => None,
        };
    }
    rang
}

#[test]
fn in_ten_thousand_random_worlds_never_two_telephones_ring() {
    for seed in 0..10_000 {
        let mut rng = Rng::new(seed);
        let list: Vec<Target> = (0..=rng.below(6))
            .map(|n| {
                let small = |r: &mut Rng, n| u16::try_from(r.below(n)).unwrap();
                let (priority, weight) = (small(&mut rng, 3), small(&mut rng, 100));
                target(u16::try_from(n).unwrap() + 1, priority, weight)
            })
            .collect();
        let peers: BTreeMap<_, _> = list.iter().map(|t| (t.address, peer(&mut rng))).collect();
        let mut targets = Targets::new(rng.derive(1));
        targets.handle(Time::ZERO, Input::Resolved(list));
        for call in 0..8 {
            let now = Time::from_millis(call * 7_000);
            let rang = play(&mut targets, now, &peers);
            assert!(rang.len() <= 1, "seed {seed}: {rang:?} of {peers:?}");
            while targets.poll().is_some() {}
        }
    }
}
