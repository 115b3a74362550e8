//! What a call settled, derived from what the flow asked and what the desk answered.
//! The first settlement wins; an acceptance nobody took counts only if nothing follows.

use std::collections::BTreeMap;

use super::Settled;
use crate::audio::answer::Answerer;
use crate::ivr::io::{CallbackOrder, CallbackReply, OpId};

/// Keeps what was asked until it is answered.
#[derive(Debug, Default)]
pub struct Ledger {
    asked: BTreeMap<OpId, Settled>,
    settled: Option<Settled>,
    abandoned: bool,
    answerer: Option<Answerer>,
    keyed: bool,
}

impl Ledger {
    /// The flow asked to be joined to the help channel.
    pub fn join_asked(&mut self, op: OpId) {
        self.asked.insert(op, Settled::Accepted);
    }

    /// The flow gave the desk an order. One that settles nothing about this call's
    /// request (a new request of a caller) is not remembered.
    pub fn store_asked(&mut self, op: OpId, order: &CallbackOrder) {
        let would = match order {
            CallbackOrder::Request { .. } => return,
            CallbackOrder::Reschedule { at } => Settled::Later { at: *at },
            CallbackOrder::Refused => Settled::Stop,
            CallbackOrder::Withdrawn => Settled::Withdrawn,
        };
        self.asked.insert(op, would);
    }

    /// The help channel took the call.
    pub fn joined(&mut self, op: OpId) {
        if let Some(settled) = self.asked.remove(&op) {
            self.settled.get_or_insert(settled);
        }
    }

    /// Whoever took the call is lost before it was over: it waits for the next.
    pub fn broke(&mut self, op: OpId) {
        self.settled
            .take_if(|settled| *settled == Settled::Accepted);
        self.asked.insert(op, Settled::Accepted);
    }

    /// Nobody took the call.
    pub fn left(&mut self, op: OpId) {
        self.abandoned |= self.asked.remove(&op).is_some();
    }

    /// The desk answered an order.
    pub fn stored(&mut self, op: OpId, reply: &CallbackReply) {
        let Some(settled) = self.asked.remove(&op) else {
            return;
        };
        match reply {
            CallbackReply::Done { .. } => {
                self.settled.get_or_insert(settled);
            }
            CallbackReply::BadNumber | CallbackReply::Full | CallbackReply::Failed => {}
        }
    }

    /// Sound told who answered.
    pub fn heard(&mut self, who: Answerer) {
        self.answerer.get_or_insert(who);
    }

    /// A key was pressed.
    pub fn keyed(&mut self) {
        self.keyed = true;
    }

    /// Who answered, for the call's report: whoever presses keys is a person, whatever
    /// was heard.
    #[must_use]
    pub fn answerer(&self) -> Option<Answerer> {
        self.answerer.filter(|_| !self.keyed)
    }

    /// Whether an answer of the desk is still outstanding.
    #[must_use]
    pub fn awaits(&self) -> bool {
        !self.asked.is_empty()
    }

    /// What the call settled, for its report.
    #[must_use]
    pub fn settled(&self) -> Option<Settled> {
        self.settled
            .or(self.abandoned.then_some(Settled::Abandoned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    const DONE: CallbackReply = CallbackReply::Done {
        position: None,
        wait: None,
        at: None,
        merged: false,
    };

    #[test]
    fn a_join_that_was_taken_is_an_acceptance() {
        let mut ledger = Ledger::default();
        ledger.join_asked(OpId(1));
        assert!(ledger.awaits());
        assert_eq!(ledger.settled(), None);
        ledger.joined(OpId(1));
        assert!(!ledger.awaits());
        assert_eq!(ledger.settled(), Some(Settled::Accepted));
    }

    #[test]
    fn nobody_there_is_our_fault_unless_something_is_settled_later() {
        let mut ledger = Ledger::default();
        ledger.join_asked(OpId(1));
        ledger.left(OpId(1));
        assert_eq!(ledger.settled(), Some(Settled::Abandoned));
        let at = Wall::from_millis(5);
        ledger.store_asked(OpId(2), &CallbackOrder::Reschedule { at });
        ledger.stored(OpId(2), &DONE);
        assert_eq!(ledger.settled(), Some(Settled::Later { at }));
    }

    #[test]
    fn who_loses_an_agent_has_not_been_helped() {
        let mut ledger = Ledger::default();
        ledger.join_asked(OpId(1));
        ledger.joined(OpId(1));
        ledger.broke(OpId(1));
        assert_eq!(ledger.settled(), None);
        let mut again = Ledger::default();
        again.join_asked(OpId(1));
        again.joined(OpId(1));
        again.broke(OpId(1));
        again.joined(OpId(1));
        assert_eq!(again.settled(), Some(Settled::Accepted));
        ledger.left(OpId(1));
        assert_eq!(ledger.settled(), Some(Settled::Abandoned));
    }

    #[test]
    fn the_first_settlement_wins() {
        let mut ledger = Ledger::default();
        ledger.store_asked(OpId(1), &CallbackOrder::Refused);
        ledger.stored(OpId(1), &DONE);
        ledger.store_asked(OpId(2), &CallbackOrder::Withdrawn);
        ledger.stored(OpId(2), &DONE);
        assert_eq!(ledger.settled(), Some(Settled::Stop));
    }

    #[test]
    fn a_key_is_worth_more_than_what_was_heard() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.answerer(), None);
        ledger.heard(Answerer::Machine);
        ledger.heard(Answerer::Human);
        assert_eq!(
            ledger.answerer(),
            Some(Answerer::Machine),
            "the first counts"
        );
        ledger.keyed();
        assert_eq!(ledger.answerer(), None);
        let mut ledger = Ledger::default();
        ledger.keyed();
        ledger.heard(Answerer::Machine);
        assert_eq!(ledger.answerer(), None);
    }

    #[test]
    fn an_order_that_failed_or_was_never_given_settles_nothing() {
        let mut ledger = Ledger::default();
        ledger.store_asked(OpId(1), &CallbackOrder::Withdrawn);
        ledger.stored(OpId(1), &CallbackReply::Failed);
        ledger.stored(OpId(9), &DONE);
        ledger.joined(OpId(9));
        ledger.left(OpId(9));
        let order = CallbackOrder::Request {
            queue: "help".into(),
            number: "+4930123456".into(),
            at: None,
            keep_place: true,
        };
        ledger.store_asked(OpId(3), &order);
        ledger.stored(OpId(3), &DONE);
        assert_eq!(ledger.settled(), None);
    }
}
