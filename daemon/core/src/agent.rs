//! Agents: what one does, and what changes it. Whoever keeps an agent's row feeds [`step`] with
//! what happened; nothing here knows telephones or queues.

use std::time::Duration;

use crate::time::Wall;

/// A telephone that is gone may come back within this time; then its agent has left.
pub const LAG_MAX: Duration = Duration::from_secs(300);
/// So long a telephone whose call was lost is left alone.
const LAG_MIN: Duration = Duration::from_secs(15);
/// So many offers in a row that nobody took, and somebody should know.
pub const MISSED_MAX: u32 = 2;

/// What an agent does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not at work.
    #[default]
    Offline,
    /// Free: the next call may be his.
    Available,
    /// A request or a caller is kept for him.
    Ringing,
    /// He has taken it.
    Talking,
    /// Work after a talk.
    Wrapup,
    /// At work, but takes no calls.
    Break,
    /// His telephone is gone; he may come back.
    Lagged,
}

impl State {
    /// Every state.
    pub const ALL: [State; 7] = [
        State::Offline,
        State::Available,
        State::Ringing,
        State::Talking,
        State::Wrapup,
        State::Break,
        State::Lagged,
    ];

    /// The word in rows, metrics and answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            State::Offline => "offline",
            State::Available => "available",
            State::Ringing => "ringing",
            State::Talking => "talking",
            State::Wrapup => "wrapup",
            State::Break => "break",
            State::Lagged => "lagged",
        }
    }

    /// A state read back from a row.
    #[must_use]
    pub fn from_word(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether he takes calls now or after the present one.
    #[must_use]
    pub const fn is_at_work(self) -> bool {
        match self {
            State::Available | State::Ringing | State::Talking | State::Wrapup => true,
            State::Offline | State::Break | State::Lagged => false,
        }
    }

    /// Whether he has a call, or one is kept for him.
    #[must_use]
    pub const fn is_busy(self) -> bool {
        matches!(self, State::Ringing | State::Talking)
    }
}

/// What an agent, or somebody for him, asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To take calls.
    Available,
    /// To take none for a while.
    Break,
    /// To leave.
    Offline,
}

impl Wish {
    /// The state that is asked for.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Wish::Available => State::Available,
            Wish::Break => State::Break,
            Wish::Offline => State::Offline,
        }
    }

    /// A wish by the word of its state.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Wish> {
        let all = [Wish::Available, Wish::Break, Wish::Offline];
        all.into_iter().find(|wish| wish.state().word() == word)
    }
}

/// Why an offer was not taken; the reason of the break that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Nobody lifted in time, or the telephone could not be reached.
    NoAnswer,
    /// He refused.
    Declined,
}

impl Missed {
    /// The word in rows and answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Missed::NoAnswer => "no_answer",
            Missed::Declined => "declined",
        }
    }
}

/// What happened to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody asks for a state. In a call it comes after it.
    Asked(Wish),
    /// A request or a caller is kept for him.
    Offered,
    /// He took it.
    Took,
    /// He did not.
    Missed(Missed),
    /// The customer is gone before they talked.
    Gone,
    /// They have talked; so long is left for the work after it.
    Talked(Duration),
    /// Whatever was to end by itself may be over.
    Due,
    /// His telephone is no longer registered, or its daemon died with his call.
    PhoneLost,
    /// It is registered again.
    PhoneBack,
}

/// What a daemon knows of an agent's telephone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phone {
    /// It was registered at this daemon before.
    pub was_here: bool,
    /// It is now.
    pub is_here: bool,
    /// It has not been for so long that it counts as gone.
    pub is_gone: bool,
}

/// What a look at an agent's telephone means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It is registered here, and was not.
    Comes,
    /// It was, and is gone for good.
    Goes,
    /// It was lost in a call, and has been there all the while.
    Stayed,
    /// Nothing; but the agent's state ends by itself.
    Due,
}

impl Sight {
    /// Of an agent who does the same since then; `None`: nothing is to be done.
    #[must_use]
    pub fn of(agent: &Agent, since: Wall, phone: Phone, now: Wall) -> Option<Sight> {
        // A telephone whose call was lost may be dead though it is registered still.
        let lags = agent.state == State::Lagged && now.since(since) >= LAG_MIN;
        match (phone.was_here, phone.is_here, phone.is_gone) {
            (false, true, _) => Some(Sight::Comes),
            (true, _, true) => Some(Sight::Goes),
            (true, true, _) if lags => Some(Sight::Stayed),
            _ => {
                let over = agent.until.is_some_and(|until| until <= now);
                over.then_some(Sight::Due)
            }
        }
    }

    /// What happens to the agent.
    #[must_use]
    pub const fn event(self) -> Event {
        match self {
            Sight::Comes | Sight::Stayed => Event::PhoneBack,
            Sight::Goes => Event::PhoneLost,
            Sight::Due => Event::Due,
        }
    }
}

/// What is kept of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// What he does.
    pub state: State,
    /// Why he takes no calls, if that was not his choice.
    pub reason: Option<Missed>,
    /// What comes after the call, the work after it, or the lag.
    pub wanted: Option<Wish>,
    /// Offers in a row that he did not take.
    pub missed: u32,
    /// When the state ends by itself.
    pub until: Option<Wall>,
}

/// What becomes of an agent; `None`: the event means nothing now.
#[must_use]
pub fn step(agent: &Agent, event: Event, now: Wall) -> Option<Agent> {
    use State as S;
    let over = agent.until.is_some_and(|until| until <= now);
    match (agent.state, event) {
        // What is asked for during a call waits for its end.
        (S::Ringing | S::Talking, Event::Asked(wish)) => Some(Agent {
            wanted: Some(wish),
            ..agent.clone()
        }),
        (_, Event::Asked(wish)) => Some(Agent {
            missed: agent.missed,
            ..asked(wish)
        }),
        (S::Available, Event::Offered) => Some(agent.now_in(S::Ringing)),
        (S::Ringing, Event::Took) => Some(Agent {
            missed: 0,
            ..agent.now_in(S::Talking)
        }),
        (S::Ringing, Event::Missed(why)) => Some(agent.missed(why)),
        (S::Ringing | S::Talking, Event::Gone) => Some(agent.free()),
        (S::Talking, Event::Talked(work)) if work.is_zero() => Some(agent.free()),
        (S::Talking, Event::Talked(work)) => Some(Agent {
            until: Some(now + work),
            ..agent.now_in(S::Wrapup)
        }),
        (S::Wrapup, Event::Due) if over => Some(agent.free()),
        (S::Lagged, Event::Due) if over => Some(asked(Wish::Offline)),
        (S::Lagged, Event::PhoneBack) => Some(agent.free()),
        (S::Available | S::Wrapup | S::Break | S::Ringing | S::Talking, Event::PhoneLost) => {
            Some(agent.lagged(now))
        }
        _ => None,
    }
}

/// As somebody asked for it.
fn asked(wish: Wish) -> Agent {
    Agent {
        state: wish.state(),
        ..Agent::default()
    }
}

impl Agent {
    fn now_in(&self, state: State) -> Agent {
        Agent {
            state,
            until: None,
            ..self.clone()
        }
    }

    /// After a call, the work after it, or a lag: what was asked for meanwhile, else free.
    fn free(&self) -> Agent {
        Agent {
            missed: self.missed,
            ..asked(self.wanted.unwrap_or(Wish::Available))
        }
    }

    /// He may have gone: the next call is not for him before he says so.
    fn missed(&self, why: Missed) -> Agent {
        let wish = self.wanted.filter(|wish| *wish != Wish::Available);
        Agent {
            reason: Some(why),
            missed: self.missed + 1,
            ..asked(wish.unwrap_or(Wish::Break))
        }
    }

    fn lagged(&self, now: Wall) -> Agent {
        let back = match self.state {
            State::Break => Wish::Break,
            _ => self.wanted.unwrap_or(Wish::Available),
        };
        Agent {
            wanted: Some(back),
            until: Some(now + LAG_MAX),
            ..self.now_in(State::Lagged)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall::from_millis(1_000_000);
    const WORK: Duration = Duration::from_secs(30);

    fn after(events: &[Event]) -> Agent {
        let mut agent = Agent::default();
        for event in events {
            let next = step(&agent, *event, NOW);
            agent = next.unwrap_or_else(|| panic!("{event:?} means nothing in {agent:?}"));
        }
        agent
    }

    const ON: Event = Event::Asked(Wish::Available);

    #[test]
    fn a_call_is_offered_taken_and_followed_by_work() {
        let agent = after(&[ON, Event::Offered, Event::Took, Event::Talked(WORK)]);
        assert_eq!(
            (agent.state, agent.until),
            (State::Wrapup, Some(NOW + WORK))
        );
        assert_eq!(step(&agent, Event::Due, NOW), None, "not yet");
        let free = step(&agent, Event::Due, NOW + WORK).unwrap();
        assert_eq!(free.state, State::Available);
        let none = after(&[
            ON,
            Event::Offered,
            Event::Took,
            Event::Talked(Duration::ZERO),
        ]);
        assert_eq!(none.state, State::Available);
    }

    #[test]
    fn who_does_not_take_an_offer_gets_no_other() {
        let agent = after(&[ON, Event::Offered, Event::Missed(Missed::NoAnswer)]);
        let seen = (agent.state, agent.reason, agent.missed);
        assert_eq!(seen, (State::Break, Some(Missed::NoAnswer), 1));
        assert_eq!(step(&agent, Event::Offered, NOW), None);
        let back = step(&agent, ON, NOW).unwrap();
        assert_eq!((back.state, back.missed), (State::Available, 1));
        let missed = Event::Missed(Missed::NoAnswer);
        let again = after(&[ON, Event::Offered, missed, ON, Event::Offered, missed]);
        assert_eq!(again.missed, MISSED_MAX);
        let took = after(&[ON, Event::Offered, missed, ON, Event::Offered, Event::Took]);
        assert_eq!(took.missed, 0);
    }

    #[test]
    fn what_is_asked_for_in_a_call_comes_after_it() {
        let leave = Event::Asked(Wish::Offline);
        for (events, want) in [
            (vec![ON, Event::Offered, leave, Event::Gone], State::Offline),
            (
                vec![ON, Event::Offered, leave, Event::Missed(Missed::Declined)],
                State::Offline,
            ),
            (
                vec![
                    ON,
                    Event::Offered,
                    Event::Took,
                    leave,
                    Event::Talked(Duration::ZERO),
                ],
                State::Offline,
            ),
            (vec![ON, Event::Offered, Event::Gone], State::Available),
            (
                vec![ON, Event::Offered, Event::Took, Event::Gone],
                State::Available,
            ),
        ] {
            assert_eq!(after(&events).state, want, "{events:?}");
        }
        let work = after(&[ON, Event::Offered, Event::Took, leave, Event::Talked(WORK)]);
        assert_eq!(work.state, State::Wrapup);
        assert_eq!(
            step(&work, Event::Due, NOW + WORK).unwrap().state,
            State::Offline
        );
    }

    #[test]
    fn a_telephone_that_comes_back_brings_its_agent_back() {
        for (events, want) in [
            (vec![ON], State::Available),
            (vec![Event::Asked(Wish::Break)], State::Break),
            (vec![ON, Event::Offered, Event::Took], State::Available),
        ] {
            let mut events = events;
            events.push(Event::PhoneLost);
            let agent = after(&events);
            assert_eq!(agent.state, State::Lagged);
            let back = step(&agent, Event::PhoneBack, NOW).unwrap();
            assert_eq!(back.state, want, "{events:?}");
            let gone = step(&agent, Event::Due, NOW + LAG_MAX).unwrap();
            assert_eq!(gone.state, State::Offline);
        }
        assert_eq!(step(&Agent::default(), Event::PhoneLost, NOW), None);
    }

    #[test]
    fn a_look_at_a_telephone_means_one_thing() {
        let lagged = after(&[ON, Event::PhoneLost]);
        let work = after(&[ON, Event::Offered, Event::Took, Event::Talked(WORK)]);
        let free = after(&[ON]);
        for (agent, (was_here, is_here, is_gone), later, want) in [
            (&free, (false, true, false), 0, Some(Sight::Comes)),
            (&free, (true, true, false), 0, None),
            (&free, (true, false, false), 0, None),
            (&free, (true, false, true), 0, Some(Sight::Goes)),
            (&free, (false, false, true), 0, None),
            (&lagged, (true, true, false), 14, None),
            (&lagged, (true, true, false), 15, Some(Sight::Stayed)),
            (&lagged, (false, true, false), 0, Some(Sight::Comes)),
            (&lagged, (false, false, true), 300, Some(Sight::Due)),
            (&work, (true, true, false), 29, None),
            (&work, (true, true, false), 30, Some(Sight::Due)),
        ] {
            let phone = Phone {
                was_here,
                is_here,
                is_gone,
            };
            let now = NOW + Duration::from_secs(later);
            let sight = Sight::of(agent, NOW, phone, now);
            assert_eq!(sight, want, "{agent:?} {phone:?} {later}");
        }
    }

    #[test]
    fn only_who_is_free_is_offered_anything() {
        for state in State::ALL {
            let agent = Agent {
                state,
                ..Agent::default()
            };
            let offered = step(&agent, Event::Offered, NOW).is_some();
            assert_eq!(offered, state == State::Available, "{state:?}");
            assert_eq!(State::from_word(state.word()), Some(state));
        }
        assert_eq!(Wish::from_word("talking"), None);
        assert_eq!(Wish::from_word("break"), Some(Wish::Break));
    }
}
