//! Keys: what stops audio, what answers a question, what is dropped, and when time is up.

use std::collections::VecDeque;

use super::message::REVIEW;
use super::{AHEAD_MAX, Ask, CAUSE_NORMAL, FlowMachine, HELD_MAX, State, Step, Timer, key_text};
use crate::ivr::expr::Value;
use crate::ivr::io::{Key, Output};
use crate::ivr::model::{Act, Code, Entry, Question};
use crate::time::Time;

/// Keys on their way.
#[derive(Debug, Default)]
pub(super) struct Keys {
    held: Option<Held>,
    /// After a full entry the habitual terminator must not answer the next question.
    swallow: Option<Swallow>,
    /// Interrupted a `play` node and belongs to the next question.
    pub(super) handed: Option<Key>,
    /// The latest key was handed on to a question for a secret.
    pub(super) began_secret: bool,
    /// Came while a silent node worked.
    pub(super) ahead: VecDeque<Key>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    key: Key,
    since: Time,
}

#[derive(Debug)]
struct Swallow {
    keys: Vec<char>,
    timer: Timer,
}

impl Keys {
    /// The key that is down.
    pub(super) fn held(&self) -> Option<Key> {
        self.held.map(|held| held.key)
    }

    /// When a held key counts as released.
    pub(super) fn held_until(&self) -> Option<Time> {
        self.held.map(|h| h.since + HELD_MAX)
    }

    /// Whether a terminator may still be on its way.
    pub(super) fn swallows(&self, now: Time) -> bool {
        self.swallow
            .as_ref()
            .is_some_and(|s| self.held.is_some() || now <= s.timer.due())
    }

    /// Forgets keys that were meant for something that is over.
    pub(super) fn forget(&mut self) {
        self.handed = None;
        self.ahead.clear();
    }
}

impl FlowMachine {
    pub(super) fn key_down(&mut self, key: Key) {
        self.keys.began_secret = false;
        if self.hung_up.is_some() {
            return;
        }
        // The next key cannot go down before the last one came up.
        self.key_up(None);
        self.keys.held = Some(Held {
            key,
            since: self.now,
        });
        if let Some(swallow) = self.keys.swallow.take()
            && self.now <= swallow.timer.due()
            && swallow.keys.contains(&key.char())
        {
            self.trace("key", format!("{} swallowed", key_text(key, self.masked)));
            return;
        }
        self.a_person_answered();
        let may_interrupt = self.may_interrupt();
        match &mut self.state {
            State::Speaking(speech, _) if speech.barge => {
                let op = speech.op;
                self.out.push_back(Output::Stop(op));
                self.trace("key", key_text(key, false));
                self.keys.handed = Some(key);
                self.cut();
            }
            State::Asking(ask) => match ask.speech.take() {
                Some(speech) if !speech.barge => {
                    ask.speech = Some(speech);
                    self.drop_key(key);
                }
                Some(speech) => {
                    self.out.push_back(Output::Stop(speech.op));
                    self.answer(key);
                    self.rearm();
                }
                None => self.answer(key),
            },
            State::AwaitingBeep(_) if may_interrupt => {
                self.trace("key", key_text(key, false));
                self.keys.handed = Some(key);
                self.play(0);
            }
            State::InLine(_) => self.line_key(key),
            State::Reviewing(_) => self.review_key(key),
            State::Working(_) | State::Resting(_) if self.keys.ahead.len() < AHEAD_MAX => {
                self.keys.ahead.push_back(key)
            }
            State::Speaking(..)
            | State::Working(_)
            | State::Resting(_)
            | State::AwaitingBeep(_)
            | State::Recording(_)
            | State::Talking(_)
            | State::Away(_)
            | State::Fresh
            | State::Stepping
            | State::Ended => self.drop_key(key),
        }
    }

    /// Whether a key may cut the `play` node on top.
    fn may_interrupt(&self) -> bool {
        let Some((flow, index)) = self.node() else {
            return false;
        };
        let act = flow.nodes.get(index).map(|n| &n.act);
        matches!(act, Some(Act::Play { barge_in: true, .. }))
    }

    /// The audio of the node is over, whatever of it was still to come.
    fn cut(&mut self) {
        if let State::Speaking(_, super::Then::Play(left)) = &mut self.state {
            *left = 0;
        }
        self.fell_silent();
    }

    /// A key that cut the audio but answered nothing: the first-key timer must run.
    fn rearm(&mut self) {
        let first = self.first_timer();
        if let State::Asking(ask) = &mut self.state
            && self.pending.is_none()
            && ask.speech.is_none()
            && ask.between.is_none()
            && ask.first.is_none()
        {
            ask.first = first;
        }
    }

    pub(super) fn drop_key(&mut self, key: Key) {
        self.trace("key", format!("{} dropped", key_text(key, self.masked)));
    }

    /// `None`: whatever key is held.
    pub(super) fn key_up(&mut self, key: Option<Key>) {
        let Some(held) = self.keys.held.filter(|h| key.is_none_or(|k| k == h.key)) else {
            return;
        };
        self.keys.held = None;
        let now = self.now;
        // Timers stood still while the key was down; one armed meanwhile starts now.
        let shift = |timer: &mut Timer| {
            timer.from = if timer.from >= held.since {
                now
            } else {
                timer.from + now.since(held.since)
            };
        };
        if let Some(swallow) = &mut self.keys.swallow {
            shift(&mut swallow.timer);
        }
        match &mut self.state {
            State::Asking(ask) => {
                ask.first.iter_mut().for_each(shift);
                ask.between.iter_mut().for_each(shift);
            }
            State::Reviewing(review) => review.until = review.until.map(|_| now + REVIEW),
            _ => {}
        }
    }

    pub(super) fn first_timer(&self) -> Option<Timer> {
        let (flow, index) = self.node()?;
        match &flow.nodes.get(index)?.act {
            Act::Menu { question, .. } | Act::Collect { question, .. } => Some(Timer {
                from: self.now,
                length: question.first,
            }),
            _ => None,
        }
    }

    /// One key of the answer.
    pub(super) fn answer(&mut self, key: Key) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        match flow.nodes.get(index).map(|n| &n.act) {
            Some(Act::Menu { keys, .. }) => match keys.get(&key.char()) {
                Some(exit) => {
                    self.trace("key", key_text(key, self.masked));
                    self.exit(&key.char().to_string(), exit);
                }
                // In-band detectors take speech for A-D now and then (talk-off).
                None if key.char().is_ascii_alphabetic() => self.drop_key(key),
                None => {
                    self.trace("key", key_text(key, self.masked));
                    self.stop_timers();
                    self.fail("no_match");
                }
            },
            Some(Act::Collect { entry, .. }) => {
                self.trace("key", key_text(key, self.masked));
                self.digit(key, entry);
            }
            _ => {}
        }
    }

    fn stop_timers(&mut self) {
        if let State::Asking(ask) = &mut self.state {
            ask.first = None;
            ask.between = None;
        }
    }

    fn digit(&mut self, key: Key, entry: &Entry) {
        self.stop_timers();
        let now = self.now;
        let State::Asking(ask) = &mut self.state else {
            return;
        };
        if entry.terminators.contains(&key.char()) {
            self.complete();
            return;
        }
        ask.entry.push(key.char());
        let timer = Timer {
            from: now,
            length: entry.between,
        };
        if ask.entry.len() >= entry.max {
            if !entry.terminators.is_empty() {
                self.keys.swallow = Some(Swallow {
                    keys: entry.terminators.clone(),
                    timer,
                });
            }
            self.complete();
        } else {
            ask.between = Some(timer);
        }
    }

    /// The entry is over: by a terminator, its length, or the time between two keys.
    pub(super) fn complete(&mut self) {
        self.stop_timers();
        let Some((flow, index)) = self.node() else {
            return;
        };
        let (Some(Act::Collect { entry, .. }), State::Asking(ask)) =
            (flow.nodes.get(index).map(|n| &n.act), &self.state)
        else {
            return;
        };
        let value = ask.entry.clone();
        if value.len() < entry.min || entry.pattern.as_ref().is_some_and(|p| !p.is_match(&value)) {
            self.fail("no_match");
            return;
        }
        match self.check(entry.check.as_ref(), &value) {
            Ok(true) => {}
            Ok(false) => {
                self.fail("no_match");
                return;
            }
            Err(why) => {
                self.trace("event", format!("error check: {why}"));
                self.raise("error");
                return;
            }
        }
        self.state = State::Stepping;
        if self.assign(&entry.save.name, Value::from(value)) {
            self.exit_line("next", &entry.next.name);
            self.pending = Some(Step::Enter(entry.next.name.clone()));
        } else {
            self.raise("error");
        }
    }

    fn check(&self, check: Option<&Code>, digits: &str) -> Result<bool, String> {
        let Some(code) = check else {
            return Ok(true);
        };
        let mut scope = self.scope(code);
        scope.set("digits", digits);
        match code.expr.test(&scope) {
            // Keys such as `*` in `int(digits)` are a wrong answer, not a fault of the flow.
            Err(crate::ivr::expr::EvalError::Value(_)) => Ok(false),
            other => other.map_err(|e| self.why(code, &e.to_string())),
        }
    }

    /// The question was not answered: once more, or on to what the events say.
    pub(super) fn fail(&mut self, event: &str) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        let (Some(node), State::Asking(ask)) = (flow.nodes.get(index), &mut self.state) else {
            return;
        };
        let (Act::Menu { question, .. } | Act::Collect { question, .. }) = &node.act else {
            return;
        };
        let fails = ask.fails + 1;
        self.trace("event", event);
        if fails >= question.tries {
            self.state = State::Stepping;
            self.trace("event", "exhausted");
            match node
                .events
                .get("exhausted")
                .or_else(|| flow.events.get("exhausted"))
            {
                Some(exit) => self.event_exit("exhausted", exit),
                None => self.pending = Some(Step::End(CAUSE_NORMAL)),
            }
            return;
        }
        match node.events.get(event) {
            Some(exit) if exit.next.is_some() => {
                self.state = State::Stepping;
                self.event_exit(event, exit);
            }
            exit => {
                let sorry = exit.map(|e| e.say.as_slice()).unwrap_or_default();
                let mut items = sorry.to_vec();
                items.extend_from_slice(&question.say);
                self.ask(question, &items, fails);
            }
        }
    }

    /// Puts the question; without audio the first-key timer runs at once.
    pub(super) fn ask(
        &mut self,
        question: &Question,
        items: &[crate::ivr::model::Item],
        fails: u32,
    ) {
        let segments = self.segments(items, question.barge_in);
        let speech = self.start(segments);
        let first = match speech {
            Some(_) => None,
            None => Some(Timer {
                from: self.now,
                length: question.first,
            }),
        };
        self.state = State::Asking(Ask {
            speech,
            entry: String::new(),
            first,
            between: None,
            fails,
        });
    }

    /// Enters a question: keys that were meant for it are taken before any of its audio.
    pub(super) fn enter_question(&mut self, question: &Question) {
        let handed = self.keys.handed.take();
        if let Some(key) = handed.filter(|_| self.masked) {
            self.mask_told(key);
        }
        let mut keys: VecDeque<Key> = handed.into_iter().collect();
        let ahead = std::mem::take(&mut self.keys.ahead);
        if question.type_ahead {
            keys.extend(ahead);
        } else {
            for key in ahead {
                self.drop_key(key);
            }
        }
        self.state = State::Asking(Ask {
            speech: None,
            entry: String::new(),
            first: None,
            between: None,
            fails: 0,
        });
        while let Some(key) = keys.pop_front() {
            self.answer(key);
            let moved_on = self.pending.is_some();
            let spoken_to = matches!(&self.state, State::Asking(ask) if ask.speech.is_some());
            if moved_on || spoken_to || !matches!(self.state, State::Asking(_)) {
                self.keys.ahead = keys;
                return;
            }
        }
        if matches!(&self.state, State::Asking(ask) if ask.entry.is_empty() && ask.first.is_none())
        {
            self.ask(question, &question.say, 0);
        }
    }
}
