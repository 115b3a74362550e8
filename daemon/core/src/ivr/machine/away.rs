//! The caller with somebody else: `transfer` and `conference`; and `wait`, with nobody.

use super::{CAUSE_NORMAL, FlowMachine, State, Step};
use crate::ivr::expr::Value;
use crate::ivr::io::{OpId, Output, Room, RoomReply, TransferMode, TransferOrder, TransferReply};
use crate::ivr::model::Act;

impl FlowMachine {
    /// Brings the caller to whom the node on top names.
    pub(super) fn go_away(&mut self) {
        let Some((flow, index)) = self.node() else {
            return;
        };
        match flow.nodes.get(index).map(|n| &n.act) {
            Some(Act::Transfer {
                to,
                ring,
                caller_id,
                whisper,
                mode,
                ..
            }) => {
                let caller_id = match caller_id {
                    None => None,
                    Some(code) => match self.eval(code) {
                        Ok(Value::String(number)) => Some(number.to_string()),
                        _ => return self.raise("error"),
                    },
                };
                let Some(to) = self.fill(to) else {
                    return self.raise("error");
                };
                let whisper = self.segments(whisper, false);
                let whisper = whisper.into_iter().flat_map(|s| s.items).collect();
                let op = self.op();
                let line = match mode {
                    TransferMode::Bridge => to.clone(),
                    TransferMode::Blind | TransferMode::Attended => format!("{to} {}", mode.word()),
                };
                self.trace("transfer", line);
                let order = TransferOrder {
                    to,
                    mode: *mode,
                    ring: *ring,
                    caller_id,
                    whisper,
                };
                self.out.push_back(Output::Transfer(op, order));
                self.is_away(op);
            }
            Some(Act::Conference {
                room,
                role,
                max_parties,
                ..
            }) => {
                let Some(name) = self.fill(room) else {
                    return self.raise("error");
                };
                let op = self.op();
                self.trace("conference", format!("{name} {}", role.word()));
                let room = Room {
                    name,
                    role: *role,
                    max_parties: *max_parties,
                };
                self.out.push_back(Output::Conference(op, room));
                self.is_away(op);
            }
            _ => self.raise("error"),
        }
    }

    fn is_away(&mut self, op: OpId) {
        self.pause();
        self.state = State::Away(op);
    }

    /// Whether the caller was away with this number; he is here again.
    fn is_back(&mut self, op: OpId) -> bool {
        let is_back = matches!(self.state, State::Away(mine) if mine == op);
        if is_back {
            self.resume();
            self.state = State::Stepping;
        }
        is_back
    }

    pub(super) fn transferred(&mut self, op: OpId, reply: TransferReply) {
        if !self.is_back(op) {
            return;
        }
        match reply {
            TransferReply::Done => {
                self.trace("transfer", "done");
                let next = self.node().and_then(|(flow, index)| {
                    let next = flow.nodes.get(index)?.next()?;
                    Some(next.name.clone())
                });
                self.pending = Some(match next {
                    Some(next) => Step::Enter(next),
                    None => Step::End(CAUSE_NORMAL),
                });
            }
            TransferReply::Given => {
                self.trace("transfer", "given");
                self.hangup();
            }
            TransferReply::Busy => self.raise("busy"),
            TransferReply::NoAnswer => self.raise("no_answer"),
            TransferReply::Failed(why) => {
                self.trace("event", format!("error transfer: {why}"));
                self.raise("error");
            }
        }
    }

    pub(super) fn left_room(&mut self, op: OpId, reply: RoomReply) {
        if self.is_back(op) {
            self.raise(match reply {
                RoomReply::Full => "full",
                RoomReply::Failed => "error",
            });
        }
    }

    /// A `wait` node is over.
    pub(super) fn rested(&mut self) {
        self.play_music(None);
        self.state = State::Stepping;
        let Some((flow, index)) = self.node() else {
            return;
        };
        if let Some(Act::Wait { next, .. }) = flow.nodes.get(index).map(|n| &n.act) {
            self.goto(next);
        }
    }
}
