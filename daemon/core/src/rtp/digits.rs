//! The one place where key presses become digits. A press may arrive as telephone
//! events, as SIP INFO and as sound, all at once: it is reported exactly once.
//! Telephone events outrank INFO, INFO outranks sound.

use std::collections::VecDeque;
use std::time::Duration;

use crate::audio::dtmf::Digit;
use crate::time::Time;

/// How a press reached us, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigitSource {
    /// Heard in the audio.
    Inband,
    /// SIP INFO, or a browser's message.
    Info,
    /// Telephone events in RTP.
    Rfc4733,
}

/// What is known of a press, given to [`Digits::handle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The first packet of a telephone event.
    EventDown(Digit),
    /// Its end.
    EventUp(Digit),
    /// A whole press told by SIP INFO, and how long it lasted.
    Other(Digit, Duration),
    /// The in-band detector found the beginning of a pair.
    SoundBegin(Digit),
    /// And its end.
    SoundEnd(Digit),
    /// (Re-)negotiated: whether telephone events are agreed on now.
    Negotiated(bool),
    /// The deadline has come.
    Timeout,
}

/// A press, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The key went down.
    Down(Digit, DigitSource),
    /// The key was let go; follows each `Down` exactly once, before the next one.
    Up(Digit),
}

/// Gateways leak 20-60 ms of sound before they cut it and send events: sound waits this
/// long for the event where events were negotiated.
const SOUND_HOLD: Duration = Duration::from_millis(80);
/// The same digit from a better source within this time is the same press.
const SAME_PRESS: Duration = Duration::from_millis(300);
/// Shortest and longest press believed of INFO.
const PRESS_MIN: Duration = Duration::from_millis(40);
const PRESS_MAX: Duration = Duration::from_secs(8);
/// Sounds that may wait at once; a fifth one in 80 ms is noise.
const WAITING_MAX: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Held {
    digit: Digit,
    source: DigitSource,
    /// When it ends by itself.
    until: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    digit: Digit,
    report_at: Time,
    ended: bool,
}

/// The merge of one leg.
#[derive(Debug, Default)]
pub struct Digits {
    events_negotiated: bool,
    /// Best source seen since the negotiation.
    best: Option<DigitSource>,
    last: Option<(Digit, DigitSource, Time)>,
    held: Option<Held>,
    waiting: VecDeque<Waiting>,
    out: VecDeque<Output>,
}

impl Digits {
    /// Takes one input; drain [`Digits::poll`] afterwards.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.on_time(now);
        match input {
            Input::EventDown(digit) => self.on_event(now, digit),
            Input::EventUp(digit) => self.up(digit, DigitSource::Rfc4733),
            Input::Other(digit, length) => self.on_other(now, digit, length),
            Input::SoundBegin(digit) => self.on_sound(now, digit),
            Input::SoundEnd(digit) => {
                let waiting = self
                    .waiting
                    .iter_mut()
                    .find(|w| w.digit == digit && !w.ended);
                match waiting {
                    Some(waiting) => waiting.ended = true,
                    None => self.up(digit, DigitSource::Inband),
                }
            }
            Input::Negotiated(events) => {
                if events != self.events_negotiated {
                    self.events_negotiated = events;
                    self.best = None;
                }
            }
            Input::Timeout => {}
        }
    }

    /// The next press or release.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call [`Digits::handle`] with `Timeout`.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let waiting = self.waiting.front().map(|w| w.report_at);
        let held = self.held.and_then(|h| h.until);
        waiting.into_iter().chain(held).min()
    }

    /// Whether listening for sound is still of use: not once a better source was seen.
    #[must_use]
    pub fn wants_sound(&self) -> bool {
        self.best.is_none_or(|best| best == DigitSource::Inband)
    }

    fn on_time(&mut self, now: Time) {
        if let Some(held) = self.held.filter(|h| h.until.is_some_and(|at| at <= now)) {
            self.up(held.digit, held.source);
        }
        while let Some(sound) = self.waiting.pop_front_if(|w| w.report_at <= now) {
            self.sounded(now, sound);
        }
    }

    fn on_event(&mut self, now: Time, digit: Digit) {
        self.best = Some(DigitSource::Rfc4733);
        // Sound of this press is the press itself; sound of another key came before it.
        let waiting = std::mem::take(&mut self.waiting);
        for sound in waiting.into_iter().filter(|w| w.digit != digit) {
            self.sounded(now, sound);
        }
        if self.is_same_press(now, digit, DigitSource::Rfc4733) {
            self.take_over(DigitSource::Rfc4733, None);
        } else {
            self.down(now, digit, DigitSource::Rfc4733, None);
        }
    }

    fn on_other(&mut self, now: Time, digit: Digit, length: Duration) {
        if self.best == Some(DigitSource::Rfc4733) {
            return;
        }
        self.best = Some(DigitSource::Info);
        let waiting = std::mem::take(&mut self.waiting);
        for sound in waiting.into_iter().filter(|w| w.digit != digit) {
            self.sounded(now, sound);
        }
        let until = Some(now + length.clamp(PRESS_MIN, PRESS_MAX));
        if self.is_same_press(now, digit, DigitSource::Info) {
            self.take_over(DigitSource::Info, until);
        } else {
            self.down(now, digit, DigitSource::Info, until);
        }
    }

    fn on_sound(&mut self, now: Time, digit: Digit) {
        if !self.wants_sound() {
            return;
        }
        if !self.events_negotiated {
            self.best = Some(DigitSource::Inband);
            self.down(now, digit, DigitSource::Inband, None);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(Waiting {
                digit,
                report_at: now + SOUND_HOLD,
                ended: false,
            });
        }
    }

    /// A sound that no better source claimed.
    fn sounded(&mut self, now: Time, sound: Waiting) {
        if self.best.is_none() {
            self.best = Some(DigitSource::Inband);
        }
        self.down(now, sound.digit, DigitSource::Inband, None);
        if sound.ended {
            self.up(sound.digit, DigitSource::Inband);
        }
    }

    fn is_same_press(&self, now: Time, digit: Digit, source: DigitSource) -> bool {
        self.last.is_some_and(|(last, from, at)| {
            last == digit && from < source && now.since(at) <= SAME_PRESS
        })
    }

    /// The press was reported already; from here on the better source tells its end.
    fn take_over(&mut self, source: DigitSource, until: Option<Time>) {
        if let Some((_, from, _)) = &mut self.last {
            *from = source;
        }
        if let Some(held) = &mut self.held {
            held.source = source;
            held.until = until;
        }
    }

    fn down(&mut self, now: Time, digit: Digit, source: DigitSource, until: Option<Time>) {
        if let Some(held) = self.held.take() {
            self.out.push_back(Output::Up(held.digit));
        }
        self.out.push_back(Output::Down(digit, source));
        self.last = Some((digit, source, now));
        self.held = Some(Held {
            digit,
            source,
            until,
        });
    }

    fn up(&mut self, digit: Digit, source: DigitSource) {
        if self
            .held
            .take_if(|h| h.digit == digit && h.source == source)
            .is_some()
        {
            self.out.push_back(Output::Up(digit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds (ms, input) and gives what came out as text: `+120 down 5 Rfc4733`.
    fn run(events_negotiated: bool, inputs: &[(u64, Input)]) -> Vec<String> {
        let mut digits = Digits::default();
        let mut lines = Vec::new();
        digits.handle(Time::ZERO, Input::Negotiated(events_negotiated));
        let mut drain = |digits: &mut Digits, at: Time| {
            while let Some(output) = digits.poll() {
                let at = at.micros() / 1000;
                lines.push(match output {
                    Output::Down(d, source) => format!("+{at} down {} {source:?}", d.char()),
                    Output::Up(d) => format!("+{at} up {}", d.char()),
                });
            }
        };
        for (ms, input) in inputs {
            let now = Time::from_millis(*ms);
            while let Some(at) = digits.deadline().filter(|at| *at <= now) {
                digits.handle(at, Input::Timeout);
                drain(&mut digits, at);
            }
            digits.handle(now, *input);
            drain(&mut digits, now);
        }
        while let Some(at) = digits.deadline() {
            digits.handle(at, Input::Timeout);
            drain(&mut digits, at);
        }
        lines
    }

    fn d(c: char) -> Digit {
        Digit::from_char(c).unwrap()
    }

    #[test]
    fn press_told_three_ways_is_one_digit() {
        let lines = run(
            true,
            &[
                (40, Input::SoundBegin(d('5'))),
                (60, Input::EventDown(d('5'))),
                (70, Input::Other(d('5'), Duration::from_millis(160))),
                (100, Input::SoundEnd(d('5'))),
                (160, Input::EventUp(d('5'))),
                (500, Input::EventDown(d('5'))),
                (540, Input::SoundBegin(d('5'))),
                (600, Input::EventUp(d('5'))),
            ],
        );
        assert_eq!(
            lines,
            [
                "+60 down 5 Rfc4733",
                "+160 up 5",
                "+500 down 5 Rfc4733",
                "+600 up 5"
            ]
        );
    }

    #[test]
    fn sound_is_reported_at_once_when_events_were_not_negotiated() {
        let lines = run(
            false,
            &[
                (35, Input::SoundBegin(d('1'))),
                (100, Input::SoundEnd(d('1'))),
            ],
        );
        assert_eq!(lines, ["+35 down 1 Inband", "+100 up 1"]);
    }

    #[test]
    fn sound_waits_80_ms_for_an_event_that_was_negotiated() {
        let lines = run(
            true,
            &[
                (35, Input::SoundBegin(d('1'))),
                (60, Input::SoundEnd(d('1'))),
            ],
        );
        assert_eq!(lines, ["+115 down 1 Inband", "+115 up 1"]);
    }

    #[test]
    fn late_event_for_a_sound_already_reported_is_swallowed_and_tells_its_end() {
        let lines = run(
            true,
            &[
                (0, Input::SoundBegin(d('1'))),
                (100, Input::EventDown(d('1'))),
                (120, Input::SoundEnd(d('1'))),
                (180, Input::EventUp(d('1'))),
            ],
        );
        assert_eq!(lines, ["+80 down 1 Inband", "+180 up 1"]);
    }

    #[test]
    fn sound_of_another_key_before_an_event_keeps_its_place() {
        let lines = run(
            true,
            &[
                (0, Input::SoundBegin(d('1'))),
                (40, Input::SoundEnd(d('1'))),
                (70, Input::EventDown(d('2'))),
                (170, Input::EventUp(d('2'))),
            ],
        );
        assert_eq!(
            lines,
            [
                "+70 down 1 Inband",
                "+70 up 1",
                "+70 down 2 Rfc4733",
                "+170 up 2"
            ]
        );
    }

    #[test]
    fn info_ends_by_its_own_duration_and_two_quick_ones_are_two() {
        let press = |c| Input::Other(d(c), Duration::from_millis(160));
        let lines = run(
            false,
            &[(0, press('7')), (200, press('7')), (210, press('8'))],
        );
        assert_eq!(
            lines,
            [
                "+0 down 7 Info",
                "+160 up 7",
                "+200 down 7 Info",
                "+210 up 7",
                "+210 down 8 Info",
                "+370 up 8"
            ]
        );
    }

    #[test]
    fn absurd_info_durations_are_bounded() {
        let lines = run(
            false,
            &[
                (0, Input::Other(d('1'), Duration::ZERO)),
                (
                    100,
                    Input::Other(d('2'), Duration::from_secs(u64::MAX / 1000)),
                ),
            ],
        );
        assert_eq!(
            lines,
            [
                "+0 down 1 Info",
                "+40 up 1",
                "+100 down 2 Info",
                "+8100 up 2"
            ]
        );
    }

    #[test]
    fn events_silence_the_lower_sources_for_good_until_renegotiated() {
        let lines = run(
            true,
            &[
                (0, Input::EventDown(d('1'))),
                (50, Input::EventUp(d('1'))),
                (1000, Input::SoundBegin(d('2'))),
                (1050, Input::SoundEnd(d('2'))),
                (2000, Input::Other(d('3'), Duration::from_millis(100))),
                (3000, Input::Negotiated(false)),
                (3100, Input::SoundBegin(d('4'))),
                (3200, Input::SoundEnd(d('4'))),
            ],
        );
        assert_eq!(
            lines,
            [
                "+0 down 1 Rfc4733",
                "+50 up 1",
                "+3100 down 4 Inband",
                "+3200 up 4"
            ]
        );
    }

    #[test]
    fn release_without_a_press_is_nothing() {
        let lines = run(
            true,
            &[(0, Input::EventUp(d('1'))), (10, Input::SoundEnd(d('1')))],
        );
        assert!(lines.is_empty());
    }
}
