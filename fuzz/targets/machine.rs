//! Inputs of the flow machine in any order, with numbers that nobody gave out. It ends once
//! and says nothing after it; a call that is hung up settles and ends.
#![no_main]
#![allow(dead_code)]

mod flows;

use std::sync::Arc;
use std::time::Duration;

use helpline_core::audio::answer::Answerer;
use helpline_core::ivr::io::{
    CallbackReply, FindReply, HelpChannel, HttpReply, Input, Key, OpId, Output, QueueView,
    RoomReply, Take, TakeEnd, TransferReply, Why,
};
use helpline_core::ivr::machine::FlowMachine;
use helpline_core::time::Time;
use libfuzzer_sys::fuzz_target;

/// Bytes of an input: what, with which number, after how many milliseconds.
const BYTES: usize = 4;
/// Outputs between two inputs; more is a circle.
const OUTPUTS_MAX: usize = 10_000;

fn input(what: u8, op: OpId, odd: bool) -> Input {
    let key = |n: u8| Key::new(char::from(b"0123456789*#ABCD"[usize::from(n % 16)])).unwrap();
    match what {
        0..64 => Input::KeyDown(key(what)),
        64..128 => Input::KeyUp(key(what)),
        128..160 => Input::Spoken(op),
        160 => Input::Hangup,
        161..166 => Input::Joined(
            op,
            HelpChannel::Flow(if odd { "self-help" } else { "nobody" }.to_owned()),
        ),
        166..171 => Input::Joined(op, HelpChannel::Agent("ada".to_owned())),
        171..176 => Input::LeftQueue(op, if odd { Why::Full } else { Why::NoAgents }),
        176..182 => Input::Queue(
            op,
            QueueView {
                position: Some(u32::from(what)),
                waiting: None,
                agents: odd.then_some(3),
                ewt: Some(Duration::from_secs(600)),
            },
        ),
        182..190 => Input::Stored(
            op,
            if odd {
                CallbackReply::Failed
            } else {
                CallbackReply::Done {
                    position: Some(2),
                    wait: None,
                    at: None,
                    merged: false,
                }
            },
        ),
        190..195 => Input::Http(
            op,
            HttpReply::Answer {
                status: 200,
                headers: Vec::new(),
                body: serde_json::json!({ "balance": "12.50" }),
            },
        ),
        195..200 => Input::Found(
            op,
            if odd {
                FindReply::Miss
            } else {
                FindReply::Failed
            },
        ),
        200..210 => Input::Recorded(
            op,
            Take {
                id: if odd { "take" } else { "" }.to_owned(),
                length: Duration::from_secs(4),
                end: TakeEnd::Key,
            },
        ),
        210..216 => Input::Delivered(op, odd),
        216..222 => Input::Transferred(
            op,
            if odd {
                TransferReply::Given
            } else {
                TransferReply::Busy
            },
        ),
        222..226 => Input::LeftRoom(op, RoomReply::Full),
        226..236 => Input::Heard(if odd {
            Answerer::Machine
        } else {
            Answerer::Human
        }),
        236..240 => Input::MachineListens,
        240..244 => Input::TalkEnded(op),
        244..248 => Input::TalkBroke(op),
        _ => Input::Timeout,
    }
}

/// A call, what it was last asked under which number, and whether it has ended.
struct Run {
    machine: FlowMachine,
    now: Time,
    last: u32,
    ends: u32,
}

impl Run {
    fn handle(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        for n in 0.. {
            assert!(n < OUTPUTS_MAX, "outputs without end");
            let Some(output) = self.machine.poll() else {
                return;
            };
            assert_eq!(self.ends, 0, "{output:?} after the end");
            match output {
                Output::End { .. } => self.ends += 1,
                Output::Say { op, .. }
                | Output::Join(op, _)
                | Output::Store(op, _)
                | Output::Http(op, _)
                | Output::Find(op, _)
                | Output::Record(op, _)
                | Output::Deliver(op, _)
                | Output::Transfer(op, _)
                | Output::Conference(op, _) => self.last = op.0,
                _ => {}
            }
        }
    }

    fn pass(&mut self, length: Duration) {
        let until = self.now + length;
        while let Some(at) = self.machine.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.handle(Input::Timeout);
        }
        self.now = until;
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((first, inputs)) = data.split_first() else {
        return;
    };
    let names: Vec<&str> = flows::SHIPPED.names().collect();
    let flow = names[usize::from(*first) % names.len()];
    let machine = FlowMachine::new(Arc::clone(&flows::SHIPPED), flows::start(flow)).unwrap();
    let mut run = Run {
        machine,
        now: Time::ZERO,
        last: 0,
        ends: 0,
    };
    run.handle(Input::Timeout);
    for bytes in inputs.chunks_exact(BYTES) {
        // Mostly the number that is awaited.
        let op = if bytes[1] < 200 {
            run.last
        } else {
            u32::from(bytes[1])
        };
        let millis = u64::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        run.pass(Duration::from_millis(millis));
        run.handle(input(bytes[0], OpId(op), bytes[1] % 2 == 1));
    }
    run.handle(Input::Hangup);
    // What is still asked is answered in the negative, as the shell does.
    for op in 0..=run.last + 1 {
        run.handle(Input::Stored(OpId(op), CallbackReply::Failed));
        run.handle(Input::Delivered(OpId(op), false));
    }
    run.pass(Duration::from_secs(6 * 3_600));
    assert!(run.machine.ended() && run.ends == 1, "{flow} goes on");
    assert_eq!(run.machine.deadline(), None);
});
