//! Session timers (RFC 4028): a call whose far end is gone ends within the time both
//! agreed on, because somebody has to say in time that it still lives.

use std::time::Duration;

use crate::time::Time;

/// The least anybody may accept, seconds (RFC 4028 section 4).
pub const MIN_SE: u32 = 90;
/// The most a 422 may demand, seconds: more than a day is no session timer.
const DEMAND_MAX: u32 = 86_400;
/// How long before its end a session counts as dead at most (section 10).
const MARGIN: Duration = Duration::from_secs(32);
/// Pause after a refresh that crossed one of the peer, or failed for a reason that may pass.
const RETRY: Duration = Duration::from_secs(5);

/// What we want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What we ask for and the most we answer, seconds.
    pub expires: u32,
    /// The least we accept, seconds: [`MIN_SE`] but in tests.
    pub least: u32,
}

impl Default for Limits {
    /// Half an hour, as RFC 4028 section 4 recommends.
    fn default() -> Self {
        Limits {
            expires: 1_800,
            least: MIN_SE,
        }
    }
}

/// Who refreshes, named as in one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// Whoever sent the request.
    Uac,
    /// Whoever answered it.
    Uas,
}

/// What a request says about session timers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Value of Session-Expires.
    pub session_expires: Option<&'a str>,
    /// Value of Min-SE.
    pub min_se: Option<&'a str>,
    /// `timer` is among its Supported or Require options.
    pub supports: bool,
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Length of the session without a refresh, seconds.
    pub expires: u32,
    /// Who refreshes.
    pub refresher: Refresher,
    /// We are the refresher.
    pub ours: bool,
    /// The peer knows session timers: a 200 of ours says `Require: timer`, and a refresh it
    /// refuses is none. To others any answer is a sign of life.
    pub firm: bool,
}

impl Agreed {
    /// Value of Session-Expires.
    #[must_use]
    pub fn field(&self) -> String {
        let refresher = match self.refresher {
            Refresher::Uac => "uac",
            Refresher::Uas => "uas",
        };
        format!("{};refresher={refresher}", self.expires)
    }
}

/// Value of Session-Expires in a request of ours; with `again` it asks for at least what a
/// 422 demanded.
#[must_use]
pub fn request_field(limits: Limits, again: Option<u32>, refresher: Option<Refresher>) -> String {
    let expires = limits.expires.max(again.unwrap_or(0));
    match refresher {
        Some(Refresher::Uac) => format!("{expires};refresher=uac"),
        Some(Refresher::Uas) => format!("{expires};refresher=uas"),
        None => expires.to_string(),
    }
}

/// Answers a request (section 9): never longer than it asks for, its refresher is kept.
///
/// # Errors
/// The least we accept, for the Min-SE of a 422.
pub fn answer(limits: Limits, asked: Asked<'_>) -> Result<Agreed, u32> {
    let Limits {
        expires: most,
        least,
    } = limits;
    let wish = asked.session_expires.and_then(read);
    if let Some((expires, _)) = wish
        && expires < least
        && asked.supports
    {
        return Err(least);
    }
    let floor = asked.min_se.and_then(number).unwrap_or(0).max(least);
    let expires = match wish {
        // Who does not know the extension passed on what a proxy put in: that one lives
        // with ours.
        Some((expires, _)) if expires >= least => expires.min(most.max(floor)),
        Some(_) | None => most.max(floor),
    };
    let refresher = match wish.and_then(|(_, refresher)| refresher) {
        Some(refresher) if asked.supports => refresher,
        None if asked.supports => Refresher::Uac,
        Some(_) | None => Refresher::Uas,
    };
    Ok(Agreed {
        expires,
        refresher,
        ours: refresher == Refresher::Uas,
        firm: asked.supports,
    })
}

/// Reads what a 2xx to a request of ours says. `None`: the peer runs no timer; we ask from
/// time to time all the same, so that a dead one is found.
#[must_use]
pub fn accepted(limits: Limits, session_expires: Option<&str>) -> Agreed {
    let told = session_expires.and_then(read);
    let (expires, refresher) = told.unwrap_or((limits.expires, None));
    let refresher = refresher.unwrap_or(Refresher::Uac);
    Agreed {
        expires: expires.max(limits.least),
        refresher,
        ours: refresher == Refresher::Uac,
        firm: told.is_some(),
    }
}

/// The Min-SE of a 422, if it lets us try again.
#[must_use]
pub fn demanded(min_se: Option<&str>) -> Option<u32> {
    let number = min_se.and_then(number);
    number.filter(|n| (1..=DEMAND_MAX).contains(n))
}

fn read(value: &str) -> Option<(u32, Option<Refresher>)> {
    let mut parts = value.split(';');
    let expires = number(parts.next()?)?;
    let refresher = parts.find_map(|p| {
        let (name, value) = p.split_once('=')?;
        let named = name.trim().eq_ignore_ascii_case("refresher");
        match value.trim().to_ascii_lowercase().as_str() {
            "uac" if named => Some(Refresher::Uac),
            "uas" if named => Some(Refresher::Uas),
            _ => None,
        }
    });
    Some((expires, refresher))
}

fn number(text: &str) -> Option<u32> {
    let text = text.split(';').next().unwrap_or_default().trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Given to [`Timer::handle`].
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// A 2xx to an INVITE, re-INVITE or UPDATE was sent or came.
    Agreed(Agreed),
    /// Our refresh failed with this code; 408 also if nothing came.
    Failed(u16),
    /// The deadline has come.
    Timeout,
}

/// Told by [`Timer::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Refresh the session now.
    Refresh,
    /// The session is dead: end it with a BYE.
    Expired,
}

/// The timer of one dialog.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer {
    session: Option<Session>,
    out: Option<Output>,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    /// When it counts as dead.
    dead_at: Time,
    /// When we refresh; `None` while it is the peer's turn or a refresh is under way.
    refresh_at: Option<Time>,
    agreed: Agreed,
}

impl Timer {
    /// Takes one input; ask [`Timer::poll`] afterwards.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Agreed(agreed) => self.begin(now, agreed),
            // The peer knows no such call any more, or nobody is there (section 10).
            Input::Failed(408 | 481) => self.expire(),
            Input::Failed(_) => match &mut self.session {
                Some(session) if session.agreed.firm => {
                    session.refresh_at = Some(now + RETRY);
                }
                Some(session) => {
                    let agreed = session.agreed;
                    self.begin(now, agreed);
                }
                None => {}
            },
            Input::Timeout => self.timeout(now),
        }
    }

    /// What is to be done now.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.take()
    }

    /// When to handle [`Input::Timeout`].
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let session = self.session?;
        Some(
            session
                .refresh_at
                .map_or(session.dead_at, |at| at.min(session.dead_at)),
        )
    }

    fn begin(&mut self, now: Time, agreed: Agreed) {
        let length = Duration::from_secs(agreed.expires.into());
        self.session = Some(Session {
            dead_at: now + (length - MARGIN.min(length / 3)),
            refresh_at: agreed.ours.then_some(now + length / 2),
            agreed,
        });
    }

    fn timeout(&mut self, now: Time) {
        let Some(session) = &mut self.session else {
            return;
        };
        if now >= session.dead_at {
            self.expire();
        } else if session.refresh_at.is_some_and(|at| now >= at) {
            session.refresh_at = None;
            self.out = Some(Output::Refresh);
        }
    }

    fn expire(&mut self) {
        if self.session.take().is_some() {
            self.out = Some(Output::Expired);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        expires: 1_800,
        least: MIN_SE,
    };

    fn asked<'a>(expires: &'a str, min_se: &'a str, supports: bool) -> Asked<'a> {
        let given = |text: &'a str| (!text.is_empty()).then_some(text);
        Asked {
            session_expires: given(expires),
            min_se: given(min_se),
            supports,
        }
    }

    #[test]
    fn an_answer_is_never_longer_than_asked_and_never_below_the_least() {
        for (expires, min_se, supports, want) in [
            ("90", "", true, Ok("90;refresher=uac")),
            ("1800", "", true, Ok("1800;refresher=uac")),
            ("7200", "", true, Ok("1800;refresher=uac")),
            ("7200", "3600", true, Ok("3600;refresher=uac")),
            ("600;refresher=uas", "", true, Ok("600;refresher=uas")),
            ("600 ; Refresher = UAC", "", true, Ok("600;refresher=uac")),
            ("89", "", true, Err(90)),
            ("0", "", true, Err(90)),
            ("", "", true, Ok("1800;refresher=uac")),
            ("", "", false, Ok("1800;refresher=uas")),
            ("600", "", false, Ok("600;refresher=uas")),
            ("600;refresher=uac", "", false, Ok("600;refresher=uas")),
            ("60", "", false, Ok("1800;refresher=uas")),
            ("x", "y", true, Ok("1800;refresher=uac")),
        ] {
            let got = answer(LIMITS, asked(expires, min_se, supports));
            let text = got.map(|a| a.field());
            assert_eq!(
                text,
                want.map(str::to_owned),
                "{expires} {min_se} {supports}"
            );
            if let Ok(agreed) = got {
                assert_eq!(agreed.firm, supports);
                assert_eq!(agreed.ours, agreed.refresher == Refresher::Uas);
            }
        }
    }

    #[test]
    fn the_callers_side_reads_the_answer_and_a_422() {
        let plain = accepted(LIMITS, Some("600;refresher=uas"));
        assert_eq!((plain.expires, plain.ours), (600, false));
        assert!(accepted(LIMITS, Some("600")).ours);
        assert!(accepted(LIMITS, None).ours && !accepted(LIMITS, None).firm);
        assert_eq!(accepted(LIMITS, Some("1")).expires, 90);
        assert_eq!(demanded(Some("3600")), Some(3_600));
        for bad in [None, Some("x"), Some("0"), Some("86401"), Some("-1")] {
            assert_eq!(demanded(bad), None);
        }
        assert_eq!(request_field(LIMITS, None, None), "1800");
        assert_eq!(request_field(LIMITS, Some(3_600), None), "3600");
        assert_eq!(
            request_field(LIMITS, Some(90), Some(Refresher::Uac)),
            "1800;refresher=uac"
        );
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    fn agreed(expires: u32, ours: bool) -> Input {
        Input::Agreed(Agreed {
            expires,
            refresher: Refresher::Uac,
            ours,
            firm: true,
        })
    }

    #[test]
    fn the_refresher_refreshes_at_half_time_and_gives_up_before_the_end() {
        let mut timer = Timer::default();
        timer.handle(at(0), agreed(1_800, true));
        assert_eq!(timer.deadline(), Some(at(900)));
        timer.handle(at(900), Input::Timeout);
        assert_eq!(timer.poll(), Some(Output::Refresh));
        timer.handle(at(901), agreed(1_800, true));
        assert_eq!(timer.deadline(), Some(at(1_801)));
        timer.handle(at(1_801), Input::Timeout);
        assert_eq!(timer.poll(), Some(Output::Refresh));
        // Nothing comes of it.
        assert_eq!(timer.deadline(), Some(at(901 + 1_800 - 32)));
        timer.handle(at(2_669), Input::Timeout);
        assert_eq!(timer.poll(), Some(Output::Expired));
        assert_eq!(timer.deadline(), None);
    }

    #[test]
    fn the_other_side_ends_the_call_when_no_refresh_comes() {
        let mut timer = Timer::default();
        timer.handle(at(0), agreed(90, false));
        assert_eq!(timer.deadline(), Some(at(60)));
        timer.handle(at(50), agreed(90, false));
        timer.handle(at(60), Input::Timeout);
        assert_eq!(timer.poll(), None);
        timer.handle(at(110), Input::Timeout);
        assert_eq!(timer.poll(), Some(Output::Expired));
    }

    #[test]
    fn a_refresh_that_crossed_is_tried_again_and_a_dead_peer_is_not() {
        let mut timer = Timer::default();
        timer.handle(at(0), agreed(90, true));
        timer.handle(at(45), Input::Timeout);
        assert_eq!(timer.poll(), Some(Output::Refresh));
        timer.handle(at(46), Input::Failed(491));
        assert_eq!(timer.deadline(), Some(at(51)));
        timer.handle(at(51), Input::Timeout);
        assert_eq!(timer.poll(), Some(Output::Refresh));
        timer.handle(at(52), Input::Failed(481));
        assert_eq!(timer.poll(), Some(Output::Expired));
        // One that knows no timers may refuse: it lives.
        let mut timer = Timer::default();
        timer.handle(at(0), Input::Agreed(accepted(LIMITS, None)));
        timer.handle(at(900), Input::Timeout);
        assert_eq!(timer.poll(), Some(Output::Refresh));
        timer.handle(at(901), Input::Failed(405));
        assert_eq!(timer.deadline(), Some(at(1_801)));
        timer.handle(at(901), Input::Failed(481));
        assert_eq!(timer.poll(), Some(Output::Expired));
        // Twice dead is dead once.
        timer.handle(at(53), Input::Failed(408));
        assert_eq!(timer.poll(), None);
    }
}
