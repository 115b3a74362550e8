//! Runs a flow in virtual time without audio: a sentence lasts 60 ms a character.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::flow::{FlowSet, LocaleSource, Source};
use super::io::{
    CallFacts, CallbackOrder, CallbackReply, HelpChannel, Input, Key, OpId, Output, SayItem, Start,
};
use super::machine::FlowMachine;
use crate::phone::PhoneNumber;
use crate::time::{Time, Wall};

/// The wall clock when a simulated call is answered.
pub(super) const NOW: Wall = Wall::from_millis(1_795_440_000_000);

macro_rules! file {
    ($name:literal) => {
        Source {
            file: $name.to_owned(),
            text: include_str!(concat!("../../../../", $name)).to_owned(),
        }
    };
}

/// The flows of the repository.
pub(super) fn shipped_flows() -> Vec<Source> {
    vec![
        file!("ivr-scripts/callback-confirm.flow.yaml"),
        file!("ivr-scripts/main-menu.flow.yaml"),
        file!("ivr-scripts/self-help.flow.yaml"),
    ]
}

/// The locales of the repository.
pub(super) fn shipped_locales() -> Vec<LocaleSource> {
    vec![LocaleSource {
        locale: "en-US".to_owned(),
        manifest: file!("prompts/en-US/manifest.toml"),
        rules: file!("prompts/en-US/rules.toml"),
    }]
}

/// The shipped set.
pub(super) fn shipped() -> Arc<FlowSet> {
    let (set, faults) = FlowSet::load(&shipped_flows(), &shipped_locales());
    Arc::new(set.unwrap_or_else(|| panic!("{faults:#?}")))
}

/// A locale that has a clip for every prompt of `flows` and for values.
pub(super) fn locale_for(name: &str, phrases: &[(&str, &str)]) -> LocaleSource {
    use std::fmt::Write as _;
    let mut text = String::from("[phrase]\n");
    for (id, sentence) in phrases {
        writeln!(text, "{id} = {sentence:?}").unwrap();
    }
    text.push_str("[clip]\n");
    let mut clip = |id: &str, words: &str| {
        writeln!(text, "{id:?} = {{ text = {words:?}, file = \"x.flac\", sha256 = \"\", ms = 1, quality = \"final\" }}").unwrap();
    };
    for (id, sentence) in phrases {
        for part in super::say::pieces(id, sentence) {
            if let super::say::SentencePart::Clip(id, words) = part {
                clip(&id, &words);
            }
        }
    }
    for n in 0..100 {
        clip(&format!("n.{n}"), &n.to_string());
    }
    for word in [
        "and",
        "n.hundred",
        "n.thousand",
        "n.million",
        "n.billion",
        "key.star",
        "key.pound",
    ] {
        clip(word, word);
    }
    for unit in ["second", "minute", "hour", "day"] {
        clip(&format!("unit.{unit}.one"), unit);
        clip(&format!("unit.{unit}.other"), &format!("{unit}s"));
    }
    for n in 1..=31 {
        clip(&format!("o.{n}"), &format!("number {n}"));
    }
    LocaleSource {
        locale: name.to_owned(),
        manifest: Source {
            file: format!("prompts/{name}/manifest.toml"),
            text,
        },
        rules: Source {
            file: format!("prompts/{name}/rules.toml"),
            ..file!("prompts/en-US/rules.toml")
        },
    }
}

/// A start of `flow` with the request a dialler would give.
pub(super) fn start(flow: &str) -> Start {
    let asked = (NOW - Duration::from_secs(420)).rfc3339();
    let request = serde_json::json!({
        "queue": "web-help", "asked_at": asked, "page_url": "https://shop.example/cart", "attempt": 1
    });
    let mut input = serde_json::Map::new();
    input.insert("request".to_owned(), request);
    Start {
        flow: flow.to_owned(),
        call: CallFacts {
            id: "c1".to_owned(),
            from: Some(PhoneNumber::from_row("+33140000000")),
            to: "100".to_owned(),
            direction: "out",
        },
        input,
        language: "en-US".to_owned(),
        wall: NOW,
        open: true,
    }
}

/// One simulated call.
pub(super) struct Sim {
    pub(super) machine: FlowMachine,
    pub(super) now: Time,
    /// Everything that came out, with its time.
    pub(super) log: Vec<(Time, Output)>,
    /// What is being played and until when.
    pub(super) playing: Option<(OpId, Time)>,
    /// Answers to `Join` and `Store`, in their order; without one nothing is answered.
    pub(super) answers: VecDeque<Answer>,
    pub(super) ended: Option<u8>,
}

/// How the world answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Joined(&'static str),
    Left(super::io::Why),
    Done,
    Reply(CallbackReply),
    Silence,
}

impl Sim {
    pub(super) fn new(set: Arc<FlowSet>, start: Start) -> Self {
        let machine = FlowMachine::new(set, start).unwrap();
        let mut sim = Sim {
            machine,
            now: Time::ZERO,
            log: Vec::new(),
            playing: None,
            answers: VecDeque::new(),
            ended: None,
        };
        sim.input(Input::Timeout);
        sim
    }

    pub(super) fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.machine.handle(self.now, input);
            while let Some(output) = self.machine.poll() {
                match &output {
                    Output::Say {
                        op, text, items, ..
                    } => {
                        let pause: Duration = items
                            .iter()
                            .map(|i| match i {
                                SayItem::Pause(d) => *d,
                                SayItem::Clip(_) | SayItem::Tone(_) => Duration::ZERO,
                            })
                            .sum();
                        let length =
                            Duration::from_millis(60) * u32::try_from(text.len()).unwrap() + pause;
                        self.playing = Some((*op, self.now + length));
                    }
                    Output::Stop(op) => {
                        if self.playing.is_some_and(|(p, _)| p == *op) {
                            self.playing = None;
                        }
                    }
                    Output::Join(op, _) => match self.answers.pop_front() {
                        Some(Answer::Joined(flow)) => {
                            inputs.push_back(Input::Joined(*op, HelpChannel::Flow(flow.to_owned())))
                        }
                        Some(Answer::Left(why)) => inputs.push_back(Input::LeftQueue(*op, why)),
                        _ => {}
                    },
                    Output::Store(op, order) => match self.answers.pop_front() {
                        Some(Answer::Done) => {
                            let at = match order {
                                CallbackOrder::Reschedule { at } => Some(*at),
                                _ => None,
                            };
                            let reply = CallbackReply::Done {
                                position: Some(3),
                                wait: None,
                                at,
                                merged: false,
                            };
                            inputs.push_back(Input::Stored(*op, reply));
                        }
                        Some(Answer::Reply(reply)) => inputs.push_back(Input::Stored(*op, reply)),
                        _ => {}
                    },
                    Output::End { cause } => {
                        assert!(self.ended.is_none(), "two ends");
                        self.ended = Some(*cause);
                    }
                    Output::Mask(_) | Output::Trace(_) => {}
                }
                self.log.push((self.now, output));
            }
        }
    }

    /// Lets virtual time pass.
    pub(super) fn wait(&mut self, length: Duration) {
        let until = self.now + length;
        loop {
            let next = [self.machine.deadline(), self.playing.map(|(_, t)| t)]
                .into_iter()
                .flatten()
                .min();
            match next {
                Some(at) if at <= until && self.ended.is_none() => {
                    self.now = self.now.max(at);
                    match self.playing {
                        Some((op, end)) if end <= self.now => {
                            self.playing = None;
                            self.input(Input::Spoken(op));
                        }
                        _ => self.input(Input::Timeout),
                    }
                }
                _ => break,
            }
        }
        self.now = until;
    }

    pub(super) fn wait_ms(&mut self, ms: u64) {
        self.wait(Duration::from_millis(ms));
    }

    /// Presses keys: 100 ms down, 100 ms apart.
    pub(super) fn press(&mut self, keys: &str) {
        for key in keys.chars().map(|c| Key::new(c).unwrap()) {
            self.input(Input::KeyDown(key));
            self.wait_ms(100);
            self.input(Input::KeyUp(key));
            self.wait_ms(100);
        }
    }

    /// Until nothing more can happen by itself, or ten minutes have gone.
    pub(super) fn finish(&mut self) {
        self.wait(Duration::from_secs(700));
    }

    /// Trace lines as golden files hold them.
    pub(super) fn trace(&self) -> String {
        let mut text = String::new();
        for (at, output) in &self.log {
            if let Output::Trace(line) = output {
                text.push_str(&format!("{at} {} {}\n", line.kind, line.data));
            }
        }
        text
    }

    /// Everything said so far, in one line.
    pub(super) fn said(&self) -> String {
        let text = |(_, o): &(Time, Output)| match o {
            Output::Say { text, .. } => Some(text.clone()),
            _ => None,
        };
        self.log
            .iter()
            .filter_map(text)
            .collect::<Vec<_>>()
            .join(" | ")
    }

    /// Whether a trace line of this kind holds this text.
    pub(super) fn traced(&self, kind: &str, part: &str) -> bool {
        self.log
            .iter()
            .any(|(_, o)| matches!(o, Output::Trace(l) if l.kind == kind && l.data.contains(part)))
    }

    /// When the last trace line of this kind with this text came.
    pub(super) fn when(&self, kind: &str, part: &str) -> Option<Time> {
        self.log.iter().rev().find_map(|(at, o)| match o {
            Output::Trace(l) if l.kind == kind && l.data.contains(part) => Some(*at),
            _ => None,
        })
    }
}
