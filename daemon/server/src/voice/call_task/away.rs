//! Calls that are given away: the far end calls somebody else itself.

use std::time::Duration;

use helpline_core::ivr::io::{Input, OpId, TransferOrder, TransferReply};
use tokio::sync::oneshot;

use super::Task;

/// The far end may take longer to tell than the other telephone rings.
const TELLING: Duration = Duration::from_secs(10);

/// Who waits for what comes of a REFER.
pub(super) enum Referring {
    /// The flow, for a blind transfer.
    Flow(OpId),
    /// The far end is put on hold: only then it may be asked to take this place.
    Holding(String, oneshot::Sender<bool>),
    /// Whoever gives the call to somebody he has called.
    Giver(oneshot::Sender<bool>),
}

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
        self.referring = Some(Referring::Flow(op));
    }

    /// An attended transfer: the far end shall take our place in another call.
    pub(super) fn give_to(&mut self, place: String, given: oneshot::Sender<bool>) {
        if let Some(leg) = &mut self.leg {
            leg.hold(true);
            self.referring = Some(Referring::Holding(place, given));
        }
    }

    /// A re-INVITE of ours was answered, or refused.
    pub(super) fn held(&mut self, is_held: bool) {
        match self.referring.take() {
            Some(Referring::Holding(place, given)) => {
                if let Some(leg) = self.leg.as_mut().filter(|_| is_held) {
                    leg.sip.refer_to(&place, TELLING);
                    self.referring = Some(Referring::Giver(given));
                }
            }
            other => self.referring = other,
        }
    }

    /// What came of it.
    pub(super) async fn referred(&mut self, code: u16) {
        match self.referring.take() {
            Some(Referring::Flow(op)) => {
                self.feed(Input::Transferred(op, outcome(code))).await;
            }
            Some(Referring::Giver(given)) => {
                let is_given = (200..300).contains(&code);
                if let Some(leg) = self.leg.as_mut().filter(|_| !is_given) {
                    leg.hold(false);
                }
                // Whoever waited may have gone.
                let _ = given.send(is_given);
            }
            other => self.referring = other,
        }
    }
}

fn outcome(code: u16) -> TransferReply {
    match code {
        200..=299 => TransferReply::Given,
        486 | 600 | 603 => TransferReply::Busy,
        408 | 480 | 487 => TransferReply::NoAnswer,
        _ => TransferReply::Failed(format!("the far end answered {code}")),
    }
}
