//! Whether whoever asks for calls asks for them to trouble others.

use std::time::Duration;

use crate::call::Disposition;

/// Calls so far back are looked at, and a source that troubles others is refused for so long.
pub const QUARANTINE: Duration = Duration::from_secs(24 * 3_600);

/// What became of the calls that one source asked for, in the last [`QUARANTINE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Customers who talked with us.
    pub talked: u32,
    /// Called people who said that they never asked (key 9, SIP 607).
    pub stopped: u32,
    /// Calls declined by hand.
    pub declined: u32,
    /// Calls that nobody took.
    pub unanswered: u32,
}

impl Heard {
    /// Counts what became of a call.
    pub fn count(&mut self, disposition: Disposition) {
        let counter = match disposition {
            Disposition::Talked => &mut self.talked,
            Disposition::Stop | Disposition::Unwanted => &mut self.stopped,
            Disposition::Declined => &mut self.declined,
            Disposition::NoAnswer => &mut self.unanswered,
            _ => return,
        };
        *counter += 1;
    }

    /// Whether nothing more may come from this source for now: two people were called who never
    /// asked, or three calls were unwelcome. One alone may have forgotten, or have a number that
    /// was mistyped; that number is not called again in any case. A source that a talk came
    /// from is an office whose people share an address, not one person who gives away the
    /// numbers of others.
    #[must_use]
    pub const fn is_harassment(&self) -> bool {
        let angry = self.stopped + self.declined;
        self.talked == 0 && (self.stopped >= 2 || (angry >= 1 && angry + self.unanswered >= 3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Disposition as D;

    #[test]
    fn unwelcome_calls_are_harassment_and_an_office_is_not() {
        for (calls, harasses) in [
            (&[D::Stop][..], false),
            (&[D::Stop, D::Unwanted], true),
            (&[D::Stop, D::NoAnswer, D::NoAnswer], true),
            (&[D::Stop, D::Declined], false),
            (&[D::NoAnswer, D::Declined, D::NoAnswer], true),
            (&[D::NoAnswer, D::NoAnswer, D::NoAnswer], false),
            (&[D::Declined, D::Declined, D::NoAnswer], true),
            (&[D::Busy, D::Machine, D::BadNumber, D::ShortHangup], false),
            (&[D::Talked, D::Stop, D::Stop], false),
            (&[], false),
        ] {
            let mut heard = Heard::default();
            calls.iter().for_each(|d| heard.count(*d));
            assert_eq!(heard.is_harassment(), harasses, "{calls:?}");
        }
    }
}
