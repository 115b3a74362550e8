//! Calls that are given away: the far end calls somebody else itself.

use std::time::Duration;

use helpline_core::ivr::io::{Input, OpId, TransferOrder, TransferReply};

use super::Task;

/// The far end may take longer to tell than the other telephone rings.
const TELLING: Duration = Duration::from_secs(10);

impl Task {
    /// A blind transfer: a REFER to a number that may be dialled.
    pub(super) fn give_away(&mut self, op: OpId, order: &TransferOrder) {
        let number = (self.may_dial)(&order.to);
        let (Some(number), Some(leg)) = (number, &mut self.leg) else {
            let why = format!("{:?} is no number that may be dialled", order.to);
            let reply = TransferReply::Failed(why);
            self.refused.push_back(Input::Transferred(op, reply));
            return;
        };
        leg.sip.refer(number.as_str(), order.ring + TELLING);
        self.referring = Some(op);
    }

    /// What came of it.
    pub(super) async fn referred(&mut self, code: u16) {
        if let Some(op) = self.referring.take() {
            self.feed(Input::Transferred(op, outcome(code))).await;
        }
    }
}

fn outcome(code: u16) -> TransferReply {
    match code {
        200..=299 => TransferReply::Done,
        486 | 600 | 603 => TransferReply::Busy,
        408 | 480 | 487 => TransferReply::NoAnswer,
        _ => TransferReply::Failed(format!("the far end answered {code}")),
    }
}
