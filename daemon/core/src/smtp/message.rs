//! A message within a conversation: read to its end, given to the store, answered.

use super::chunk::Chunks;
use super::data::End;
use super::{Conversation, Envelope, Output, Pressure, Received, State, Stored, reply};
use crate::time::Time;

impl Conversation {
    pub(super) fn read_data(&mut self, now: Time) -> bool {
        let State::Data { reader, .. } = &mut self.state else {
            return false;
        };
        let Some(end) = reader.push(&self.waiting) else {
            self.waiting.clear();
            if reader.is_hopeless() {
                self.end(reply::TOO_LARGE);
            }
            return false;
        };
        self.waiting.drain(..end);
        self.outside_since = now;
        self.heard = now;
        if let State::Data {
            envelope, reader, ..
        } = std::mem::replace(&mut self.state, State::Greeted)
        {
            self.finish(envelope, reader.finish());
        }
        true
    }

    /// A piece was announced: BDAT (RFC 3030).
    pub(super) fn chunk(&mut self, now: Time, size: usize, is_last: bool) {
        if size > 2 * self.settings.message_bytes_max + 1024 {
            return self.end(reply::TOO_LARGE);
        }
        let (envelope, mut chunks, since) = match std::mem::replace(&mut self.state, State::Greeted)
        {
            State::Mail(envelope) if !envelope.rcpt.is_empty() => {
                let mut chunks = Chunks::new(self.settings.message_bytes_max);
                if self.pressure == Pressure::Full {
                    chunks.drop_rest();
                }
                (envelope, chunks, now)
            }
            State::Chunks {
                envelope,
                chunks,
                since,
            } => (envelope, chunks, since),
            // It follows at once all the same, and must not run as commands.
            back => {
                let back = Box::new(back);
                self.state = State::Swallow { left: size, back };
                return;
            }
        };
        chunks.begin(size, is_last);
        let is_empty = chunks.is_between();
        self.outside += now.since(self.outside_since);
        self.outside_since = now;
        self.state = State::Chunks {
            envelope,
            chunks,
            since,
        };
        if is_empty {
            self.read_chunk(now);
        }
    }

    pub(super) fn read_chunk(&mut self, now: Time) -> bool {
        let State::Chunks { chunks, .. } = &mut self.state else {
            return false;
        };
        let taken = chunks.push(&self.waiting);
        self.waiting.drain(..taken);
        if !chunks.is_between() {
            return false;
        }
        self.outside_since = now;
        self.heard = now;
        let goes_on = !chunks.is_last() && !chunks.is_too_large();
        if goes_on {
            let line = format!("250 2.0.0 {} octets received", chunks.size());
            self.say(&line);
        } else if let State::Chunks {
            envelope, chunks, ..
        } = std::mem::replace(&mut self.state, State::Greeted)
        {
            self.finish(envelope, chunks.finish());
        }
        true
    }

    pub(super) fn swallow(&mut self) -> bool {
        let State::Swallow { left, .. } = &mut self.state else {
            return false;
        };
        let taken = (*left).min(self.waiting.len());
        *left -= taken;
        let is_over = *left == 0;
        self.waiting.drain(..taken);
        if is_over
            && let State::Swallow { back, .. } = std::mem::replace(&mut self.state, State::Greeted)
        {
            self.state = *back;
            self.refuse(reply::BAD_ORDER);
        }
        is_over
    }

    /// Says `line` once, or in LMTP once for each recipient.
    fn say_to_each(&mut self, recipients: usize, line: &str) {
        let times = if self.settings.lmtp { recipients } else { 1 };
        (0..times).for_each(|_| self.say(line));
    }

    fn finish(&mut self, envelope: Envelope, end: End) {
        let recipients = envelope.rcpt.len();
        match end {
            End::Whole(raw) => {
                let Envelope {
                    from: mail_from,
                    rcpt,
                } = envelope;
                let received = Received {
                    helo: self.helo.clone(),
                    auth_user: self.user.clone(),
                    mail_from,
                    rcpt,
                    raw,
                };
                self.out.push_back(Output::Store(Box::new(received)));
                self.state = State::Storing { recipients };
                return;
            }
            // What follows damage may be a smuggled second message: nothing more is read.
            End::Damaged => {
                if self.settings.lmtp {
                    self.say_to_each(recipients.saturating_sub(1), reply::DAMAGED);
                }
                return self.end(reply::DAMAGED);
            }
            End::TooLarge => self.refuse_each(recipients, reply::TOO_LARGE),
            End::Circling => self.refuse_each(recipients, reply::CIRCLING),
            End::Dropped => self.say_to_each(recipients, reply::NO_ROOM),
        }
        self.end_if_stopping();
    }

    pub(super) fn stored(&mut self, now: Time, stored: &Stored) {
        let State::Storing { recipients } = self.state else {
            return;
        };
        self.state = State::Greeted;
        self.outside_since = now;
        self.heard = now;
        match stored {
            Stored::Kept(id) => self.say_to_each(recipients, &format!("250 2.0.0 queued as {id}")),
            Stored::Unknown => self.say_to_each(recipients, reply::NOT_STORED),
            Stored::Full => self.say_to_each(recipients, reply::NO_ROOM),
            Stored::Refused => self.refuse_each(recipients, reply::NOT_TAKEN),
        }
        self.end_if_stopping();
    }

    /// Says no to each recipient; it counts as one error.
    fn refuse_each(&mut self, recipients: usize, line: &str) {
        if self.settings.lmtp {
            self.say_to_each(recipients.saturating_sub(1), line);
        }
        self.refuse(line);
    }
}
