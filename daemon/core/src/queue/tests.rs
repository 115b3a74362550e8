mod year;

use super::*;

fn facts(state: State) -> RequestFacts {
    RequestFacts {
        state,
        held_reason: None,
        accepted_at: Wall::from_millis(0),
        due_at: None,
        not_after: None,
        not_before: Wall::from_millis(0),
        attempts: 0,
    }
}

const NOW: Wall = Wall::from_millis(60_000);

fn events() -> Vec<Event> {
    let mut all = vec![
        Event::Looked {
            open: true,
            next_open: Some(NOW),
        },
        Event::Looked {
            open: false,
            next_open: None,
        },
        Event::Claimed,
        Event::Intent,
        Event::Released(Release::NumberBusy),
        Event::Answered,
        Event::Connected,
        Event::Cancelled,
        Event::AskedAgain,
        Event::Confirmed,
        Event::TalkedInbound,
        Event::DoNotCall,
        Event::Hastened,
        Event::Rescheduled {
            due: NOW,
            not_after: None,
        },
    ];
    for disposition in Disposition::ALL {
        let mut rng = crate::rng::Rng::new(1);
        let next = retry::next(&retry::History::default(), disposition, NOW, &mut rng);
        all.push(Event::Ended { disposition, next });
    }
    all
}

#[test]
fn another_time_is_chosen_before_a_call_and_not_during_one() {
    let due = NOW + Duration::from_secs(3_600);
    for state in State::ALL {
        let request = facts(state);
        let not_after = Some(due + Duration::from_secs(600));
        let event = Event::Rescheduled { due, not_after };
        let (next, effects) = step(&request, &event, NOW);
        if state.is_open() && !state.has_call() && state != State::Leased {
            assert_eq!(next, State::Scheduled, "{state:?}");
            assert_eq!((effects.due_at, effects.not_before), (Some(due), Some(due)));
            assert_eq!(effects.not_after, not_after);
        } else {
            assert_eq!((next, effects), (state, Effects::default()), "{state:?}");
        }
    }
}

#[test]
fn a_call_back_takes_the_straight_way() {
    let mut request = facts(State::Waiting);
    for (event, want) in [
        (Event::Claimed, State::Leased),
        (Event::Intent, State::Dialling),
        (Event::Answered, State::Answered),
        (Event::Connected, State::Connected),
        (
            Event::Ended {
                disposition: Disposition::Talked,
                next: retry::Next::Done,
            },
            State::Done,
        ),
    ] {
        let (state, effects) = step(&request, &event, NOW);
        assert_eq!(state, want);
        assert_eq!(effects.mail, None, "no mail around a talk");
        request.state = state;
    }
}

#[test]
fn nothing_leaves_a_terminal_state() {
    for state in State::ALL.into_iter().filter(|s| !s.is_open()) {
        for event in events() {
            assert_eq!(
                step(&facts(state), &event, NOW),
                (state, Effects::default())
            );
        }
    }
}

#[test]
fn every_terminal_state_but_a_talk_is_told() {
    for state in State::ALL.into_iter().filter(|s| s.is_open()) {
        for event in events() {
            let (to, effects) = step(&facts(state), &event, NOW);
            let talk = matches!(to, State::Done | State::SettledInbound);
            if !to.is_open() {
                assert_eq!(
                    effects.mail,
                    (!talk).then_some(Mail::Closing),
                    "{state:?} {event:?}"
                );
            }
        }
    }
}

#[test]
fn a_booking_is_never_early() {
    let due = Wall::from_millis(3_600_000);
    let booked = RequestFacts {
        due_at: Some(due),
        not_before: due,
        ..facts(State::Scheduled)
    };
    let open = Event::Looked {
        open: true,
        next_open: Some(due),
    };
    let (state, _) = step(&booked, &open, due - Duration::from_millis(1));
    assert_eq!(state, State::Scheduled);
    let (state, effects) = step(&booked, &open, due);
    assert_eq!(
        (state, effects.rank, effects.not_before),
        (State::Waiting, Some(0), Some(due))
    );
}

#[test]
fn a_closed_desk_holds_until_it_opens() {
    let opens = Wall::from_millis(8_000_000);
    let closed = Event::Looked {
        open: false,
        next_open: Some(opens),
    };
    for state in [State::Scheduled, State::Backoff, State::Waiting] {
        let (to, effects) = step(&facts(state), &closed, NOW);
        assert_eq!(to, State::Held);
        assert_eq!(effects.held_reason, Some(HeldReason::Closed));
        assert_eq!(effects.not_before, Some(opens));
    }
    let held = RequestFacts {
        held_reason: Some(HeldReason::Closed),
        not_before: opens,
        ..facts(State::Held)
    };
    let open = Event::Looked {
        open: true,
        next_open: Some(opens),
    };
    assert_eq!(step(&held, &open, NOW).0, State::Held);
    assert_eq!(step(&held, &open, opens).0, State::Waiting);
}

#[test]
fn an_old_request_is_closed_with_the_right_word() {
    let late = Wall::default() + REQUEST_AGE_MAX;
    let open = Event::Looked {
        open: true,
        next_open: Some(late),
    };
    assert_eq!(step(&facts(State::Waiting), &open, late).0, State::Expired);
    let tried = RequestFacts {
        attempts: 1,
        ..facts(State::Backoff)
    };
    assert_eq!(step(&tried, &open, late).0, State::Unreachable);
    // A booking three days ahead is not old before its time.
    let due = late + Duration::from_secs(86_400);
    let booked = RequestFacts {
        due_at: Some(due),
        not_before: due,
        ..facts(State::Scheduled)
    };
    assert_eq!(step(&booked, &open, late).0, State::Scheduled);
}

#[test]
fn a_window_that_passed_closes_the_request() {
    let window = RequestFacts {
        not_after: Some(NOW - Duration::from_secs(1)),
        ..facts(State::Waiting)
    };
    let open = Event::Looked {
        open: true,
        next_open: Some(NOW),
    };
    let (state, effects) = step(&window, &open, NOW);
    assert_eq!((state, effects.mail), (State::Expired, Some(Mail::Closing)));
}

#[test]
fn cancelling_ends_a_live_leg() {
    for state in State::ALL.into_iter().filter(|s| s.is_open()) {
        let (to, effects) = step(&facts(state), &Event::Cancelled, NOW);
        assert_eq!((to, effects.hang_up), (State::Cancelled, state.has_call()));
    }
}

#[test]
fn an_interrupted_talk_waits_for_the_customer() {
    let next = retry::Next::Hold(HeldReason::Interrupted);
    let broken = Event::Ended {
        disposition: Disposition::Interrupted,
        next,
    };
    let (state, effects) = step(&facts(State::Connected), &broken, NOW);
    assert_eq!((state, effects.mail), (State::Held, Some(Mail::Attempted)));
    let held = RequestFacts {
        held_reason: effects.held_reason,
        not_before: effects.not_before.unwrap(),
        ..facts(State::Held)
    };
    let open = Event::Looked {
        open: true,
        next_open: Some(NOW),
    };
    assert_eq!(
        step(&held, &open, NOW + Duration::from_secs(60)).0,
        State::Held
    );
    assert_eq!(step(&held, &Event::AskedAgain, NOW).0, State::Waiting);
    assert_eq!(step(&held, &open, NOW + INTERRUPTED_HOLD).0, State::Done);
}

/// Held until it is proven, for a time or for the line.
fn unproven(reason: HeldReason, due_at: Option<Wall>) -> RequestFacts {
    RequestFacts {
        held_reason: Some(reason),
        due_at,
        not_before: NOW + Duration::from_secs(86_400),
        ..facts(State::Held)
    }
}

#[test]
fn what_is_unproven_waits_for_its_proof_and_ends_in_silence() {
    let due = NOW + Duration::from_secs(7_200);
    for reason in [HeldReason::Unverified, HeldReason::Doubtful] {
        for due_at in [None, Some(due)] {
            let request = unproven(reason, due_at);
            for open in [true, false] {
                let looked = Event::Looked {
                    open,
                    next_open: Some(NOW),
                };
                let still = (State::Held, Effects::default());
                let before = request.not_before - Duration::from_millis(1);
                assert_eq!(step(&request, &looked, before), still);
                let over = (State::Expired, Effects::default());
                assert_eq!(step(&request, &looked, request.not_before), over);
            }
            for event in [Event::AskedAgain, Event::Claimed, Event::Intent] {
                assert_eq!(step(&request, &event, NOW).0, State::Held, "{event:?}");
            }
        }
    }
}

#[test]
fn a_proof_gives_the_place_that_was_asked_for() {
    let due = NOW + Duration::from_secs(7_200);
    let asked = unproven(HeldReason::Unverified, None);
    let booked = unproven(HeldReason::Unverified, Some(due));
    let missed = unproven(HeldReason::Unverified, Some(NOW));
    let doubtful = unproven(HeldReason::Doubtful, None);
    let doubtful_booked = unproven(HeldReason::Doubtful, Some(due));
    for (request, event, want) in [
        (&asked, Event::Confirmed, (State::Waiting, NOW, None)),
        (&asked, Event::Hastened, (State::Waiting, NOW, None)),
        (&booked, Event::Confirmed, (State::Scheduled, due, None)),
        (&booked, Event::Hastened, (State::Scheduled, due, None)),
        (&missed, Event::Confirmed, (State::Waiting, NOW, Some(0))),
        (&doubtful, Event::Hastened, (State::Waiting, NOW, None)),
        (
            &doubtful_booked,
            Event::Hastened,
            (State::Scheduled, due, None),
        ),
    ] {
        let (state, effects) = step(request, &event, NOW);
        let got = (state, effects.not_before.unwrap(), effects.rank);
        assert_eq!(got, want, "{request:?} {event:?}");
        assert_eq!(effects.mail, None);
    }
}

#[test]
fn a_link_confirms_nothing_else() {
    for state in State::ALL {
        let reasons = [
            None,
            Some(HeldReason::Closed),
            Some(HeldReason::Interrupted),
            Some(HeldReason::TrunkRefused),
            Some(HeldReason::Doubtful),
        ];
        for held_reason in reasons {
            let request = RequestFacts {
                held_reason,
                ..facts(state)
            };
            let still = (state, Effects::default());
            assert_eq!(step(&request, &Event::Confirmed, NOW), still, "{request:?}");
        }
    }
}

#[test]
fn words_read_back() {
    for state in State::ALL {
        assert_eq!(State::from_word(state.word()), Some(state));
    }
    for word in [
        "closed",
        "interrupted",
        "trunk_refused",
        "unverified",
        "doubtful",
    ] {
        assert_eq!(
            HeldReason::from_word(word).map(HeldReason::word),
            Some(word)
        );
    }
    assert_eq!(State::from_word("wrapup"), None);
}
