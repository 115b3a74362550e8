//! The flows of the repository: golden traces, and walks at random.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::ivr::io::{CallbackReply, HelpChannel, OpId, Why};
use crate::ivr::machine::FlowMachine;
use crate::ivr::sim::{Answer, NOW, shipped, start};

/// Compares with `tests/golden/ivr/NAME.trace`; with `HELPLINE_GOLDEN=1` writes it.
fn golden(name: &str, sim: &Sim) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/golden/ivr/{name}.trace"));
    let trace = sim.trace();
    if std::env::var_os("HELPLINE_GOLDEN").is_some() {
        fs::write(&path, &trace).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(trace, wanted, "{}", path.display());
}

fn confirm(answers: &[Answer]) -> Sim {
    let mut sim = crate::ivr::sim::call(shipped(), start("callback-confirm"));
    sim.answers = answers.to_vec().into();
    assert!(sim.said().starts_with(
        "Hello, this is the help line. You asked us to call you back seven minutes ago."
    ));
    sim.wait_ms(2_000);
    sim
}

#[test]
fn pressing_1_accepts_and_reaches_the_spoken_help() {
    let mut sim = confirm(&[Answer::Joined("self-help".to_owned())]);
    sim.press("1");
    sim.wait_ms(8_000);
    sim.press("2");
    sim.wait_ms(3_000);
    sim.press("9");
    sim.finish();
    assert_eq!(sim.ended, Some(16));
    golden("callback-confirm.accept", &sim);
}

#[test]
fn pressing_2_asks_for_minutes_and_reschedules() {
    let mut sim = confirm(&[Answer::Done]);
    sim.press("2");
    sim.wait_ms(1_000);
    sim.press("300");
    sim.wait_ms(2_000);
    sim.press("45#");
    sim.finish();
    assert!(
        sim.said()
            .contains("We will call you back in forty-five minutes"),
        "{}",
        sim.said()
    );
    let at = sim.log.iter().find_map(|(t, o)| match o {
        Output::Store(_, crate::ivr::io::CallbackOrder::Reschedule { at }) => Some((*t, *at)),
        _ => None,
    });
    let (ordered, at) = at.unwrap();
    assert_eq!(
        at,
        NOW + ordered.since(Time::ZERO) + Duration::from_secs(2_700)
    );
    golden("callback-confirm.later", &sim);
}

#[test]
fn pressing_9_refuses_and_hanging_up_changes_nothing() {
    let mut sim = confirm(&[Answer::Done]);
    sim.press("9");
    assert!(
        sim.said()
            .ends_with("We are sorry. We have removed your number. Goodbye.")
    );
    sim.input(Input::Hangup);
    assert_eq!(sim.ended, Some(16));
    golden("callback-confirm.refused", &sim);
}

#[test]
fn nobody_free_offers_another_time() {
    let mut sim = confirm(&[Answer::Left(Why::NoAgents), Answer::Done]);
    sim.press("1");
    sim.wait_ms(3_000);
    assert!(sim.said().contains("nobody is free"), "{}", sim.said());
    sim.press("5#");
    sim.finish();
    assert!(sim.said().contains("call you back in five minutes"));
}

#[test]
fn the_main_menu_reads_an_account_back_and_calls_back() {
    let mut sim = crate::ivr::sim::call(shipped(), start("main-menu"));
    sim.answers.push_back(Answer::Done);
    sim.press("2"); // interrupts the welcome, handed on: nothing of the menu is heard
    assert!(sim.traced("node", "ask_account") && !sim.traced("say", "main"));
    sim.wait_ms(1_000);
    sim.press("123456#");
    sim.wait_ms(2_000);
    assert!(sim.said().contains("You entered ******"), "{}", sim.said());
    assert!(sim.traced("key", "masked swallowed") || sim.traced("key", "# swallowed"));
    sim.finish_menu("3");
    assert!(
        sim.said()
            .contains("We will call you back. You are number three in line."),
        "{}",
        sim.said()
    );
    assert_eq!(sim.ended, Some(16));
}

#[test]
fn the_main_menu_asks_for_a_number_that_is_withheld() {
    let mut begin = start("main-menu");
    begin.call.from = None;
    begin.hours.open = false;
    let mut sim = crate::ivr::sim::call(shipped(), begin);
    sim.answers
        .extend([Answer::Reply(CallbackReply::BadNumber), Answer::Done]);
    assert!(sim.said().contains("closed"));
    sim.press("3");
    sim.wait_ms(1_000);
    sim.press("4930123456#");
    sim.wait_ms(5_000);
    assert!(
        sim.said().contains("we cannot call that number"),
        "{}",
        sim.said()
    );
    sim.press("3");
    sim.press("49301234567#");
    sim.finish();
    assert!(
        sim.said().contains("We will call you back"),
        "{}",
        sim.said()
    );
}

impl Sim {
    fn finish_menu(&mut self, keys: &str) {
        self.wait_ms(6_000);
        self.press(keys);
        self.finish();
    }
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut sim = confirm(&[Answer::Joined("self-help".to_owned())]);
        sim.press("1");
        sim.wait_ms(5_000);
        sim.press("19");
        sim.finish();
        format!("{:?}", sim.log)
    };
    assert_eq!(run(), run());
}

/// Numbers for walks (`SplitMix64`): the same seed walks the same way.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Where a random walk stands.
struct Walk {
    machine: FlowMachine,
    now: Time,
    playing: Option<OpId>,
    said: Option<OpId>,
    joining: Option<OpId>,
    talking: Option<OpId>,
    storing: Option<OpId>,
    settled: u32,
    nodes: u32,
    ended: u32,
}

impl Walk {
    fn take(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        while let Some(output) = self.machine.poll() {
            assert_eq!(self.ended, 0, "an output after the end: {output:?}");
            match output {
                Output::Say { op, items, .. } => {
                    assert!(!items.is_empty());
                    self.playing = Some(op);
                    self.said = Some(op);
                }
                Output::Stop(op) => {
                    // It may just have ended by itself.
                    assert_eq!(self.said, Some(op), "stopped what was not said last");
                    self.playing = None;
                }
                Output::Join(op, _) => self.joining = Some(op),
                Output::Store(op, order) => {
                    self.storing = Some(op);
                    if !matches!(order, crate::ivr::io::CallbackOrder::Request { .. }) {
                        self.settled += 1;
                    }
                }
                Output::Trace(line) => self.nodes += u32::from(line.kind == "node"),
                Output::End { .. } => self.ended += 1,
                _ => {}
            }
        }
    }

    fn random(&mut self, rng: &mut Rng) -> Input {
        let key = |rng: &mut Rng| {
            Key::new(
                "0123456789*#ABCD"
                    .chars()
                    .nth(rng.below(16) as usize)
                    .unwrap(),
            )
            .unwrap()
        };
        let op = OpId(rng.below(40) as u32);
        match rng.below(20) {
            0..=5 => Input::KeyDown(key(rng)),
            6..=8 => Input::KeyUp(key(rng)),
            9..=12 => self.playing.take().map_or(Input::Timeout, Input::Spoken),
            13 => match (self.joining.take(), rng.below(2)) {
                (None, _) => Input::Timeout,
                (Some(op), 0) => Input::Joined(op, HelpChannel::Flow("self-help".into())),
                (Some(op), _) => {
                    self.talking = Some(op);
                    Input::Joined(op, HelpChannel::Agent("Ann".into()))
                }
            },
            14 => self
                .joining
                .take()
                .map_or(Input::Timeout, |op| Input::LeftQueue(op, Why::NoAgents)),
            15 => self.storing.take().map_or(Input::Timeout, |op| {
                Input::Stored(
                    op,
                    CallbackReply::Done {
                        position: Some(2),
                        wait: None,
                        at: None,
                        merged: false,
                    },
                )
            }),
            16 => self
                .storing
                .take()
                .map_or(Input::Timeout, |op| Input::Stored(op, CallbackReply::Full)),
            17 if rng.below(30) == 0 => Input::Hangup,
            18 => Input::Spoken(op),
            19 => match (self.talking.take(), rng.below(2)) {
                (None, _) => Input::Timeout,
                (Some(op), 0) => Input::TalkEnded(op),
                (Some(op), _) => {
                    self.joining = Some(op);
                    Input::TalkBroke(op)
                }
            },
            _ => Input::Timeout,
        }
    }
}

#[test]
fn ten_thousand_random_walks_end_within_the_limits() {
    let set = shipped();
    for seed in 0..10_000u64 {
        let mut rng = Rng(seed);
        let flow = ["callback-confirm", "main-menu", "self-help"][(seed % 3) as usize];
        let mut begin = start(flow);
        begin.hours.open = rng.below(2) == 0;
        if rng.below(3) == 0 {
            begin.call.from = None;
        }
        let mut walk = Walk {
            machine: FlowMachine::new(Arc::clone(&set), begin).unwrap(),
            now: Time::from_millis(rng.below(1_000_000)),
            playing: None,
            said: None,
            joining: None,
            talking: None,
            storing: None,
            settled: 0,
            nodes: 0,
            ended: 0,
        };
        walk.take(Input::Timeout);
        let mut steps = 0;
        while walk.ended == 0 {
            steps += 1;
            assert!(steps < 5_000, "seed {seed} does not end");
            // Either some time passes, or exactly what the machine asked for.
            walk.now = match walk.machine.deadline() {
                Some(at) if rng.below(3) == 0 => at.max(walk.now),
                _ => walk.now + Duration::from_millis(rng.below(3_000)),
            };
            let input = walk.random(&mut rng);
            walk.take(input);
        }
        assert!(
            walk.settled <= 1,
            "seed {seed} settled {} times",
            walk.settled
        );
        assert!(walk.nodes <= 401, "seed {seed}: {} nodes", walk.nodes);
        assert_eq!(walk.machine.deadline(), None);
    }
}
