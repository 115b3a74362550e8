//! The server's side of an SMTP (RFC 5321) or LMTP (RFC 2033) conversation: bytes in, replies
//! and whole messages out. It takes mail for its own addresses only and has no queue for others.
//! `250` for a message is said only after the shell answered [`Input::Stored`].

mod auth;
mod burst;
mod chunk;
mod data;
mod line;
mod message;
mod own;
mod reply;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use memchr::memchr;
use smtp_proto::{MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_SMTPUTF8, MailFrom, RcptTo, Request};

use self::auth::Asked;
pub use self::auth::{Checked, Login};
pub use self::burst::Burst;
use self::chunk::Chunks;
use self::data::DataReader;
use self::line::{is_bdat, is_clean, is_null_path};
use self::own::{Ownership, ownership};
use crate::id::MailInId;
use crate::request::email::Keys;
use crate::time::Time;

/// Longest command line, in bytes with CRLF.
pub const COMMAND_BYTES_MAX: usize = 2_048;
/// Most bytes that wait in the machine while a message is stored.
const WAITING_BYTES_MAX: usize = 64 << 10;
/// Most recipients of one message.
pub const RECIPIENTS_MAX: usize = 100;
/// Most errors of one connection.
const ERRORS_MAX: u32 = 10;
/// Longest silence between commands (RFC 5321 §4.5.3.2.7).
const COMMAND_WAIT: Duration = Duration::from_secs(300);
/// Longest silence within DATA.
const BLOCK_WAIT: Duration = Duration::from_secs(180);
/// Longest DATA.
const DATA_WAIT: Duration = Duration::from_secs(1_200);
/// Everything outside DATA, over the whole connection.
const OUTSIDE_WAIT: Duration = Duration::from_secs(600);
/// DATA may be slower than [`MICROS_PER_BYTE`] for so long.
const SLOW_START: Duration = Duration::from_secs(60);
/// 500 bytes a second.
const MICROS_PER_BYTE: u64 = 2_000;

/// What a conversation is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes from the peer, cut anywhere.
    Bytes(&'a [u8]),
    /// The answer to [`Output::Store`].
    Stored(Stored),
    /// How the daemon is doing.
    Pressure(Pressure),
    /// The answer to [`Output::StartTls`]: what follows is encrypted.
    TlsReady,
    /// The answer to [`Output::CheckAuth`].
    AuthChecked(Checked),
    /// `deadline()` has passed.
    Timeout,
}

/// What a conversation wants done, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Write(Vec<u8>),
    /// Store this message and answer with [`Input::Stored`]; until then nothing is read.
    Store(Box<Received>),
    /// Begin TLS once everything is written, and answer with [`Input::TlsReady`]; what the peer
    /// sent in the clear behind its command is lost (RFC 3207 §4.2).
    StartTls,
    /// Check this name and password and answer with [`Input::AuthChecked`]; until then nothing
    /// is read.
    CheckAuth(Box<Login>),
    /// Close the connection once everything is written.
    Close,
}

/// What became of a message given to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Committed: from here on it is ours.
    Kept(MailInId),
    /// The commit failed or was not known in time; the sender tries again.
    Unknown,
    /// The spool is full.
    Full,
    /// Refused for good.
    Refused,
}

/// How the daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Mail is taken.
    Normal,
    /// Disk, spool or memory is full: a message coming in is read to its end and refused for now.
    Full,
    /// The daemon stops: a message coming in is finished, then the connection ends.
    Stopping,
}

/// A whole message with its envelope.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// What the peer calls itself; nothing depends on it.
    pub helo: String,
    /// The user that logged in.
    pub auth_user: Option<String>,
    /// Envelope sender; `None` is `<>`.
    pub mail_from: Option<String>,
    /// Envelope recipients, all of them ours, as written.
    pub rcpt: Vec<String>,
    /// The message, dots removed.
    pub raw: Vec<u8>,
}

/// What all conversations of a listener share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name in greeting and replies.
    pub host: String,
    /// Addresses mail is taken for.
    pub addresses: Vec<String>,
    /// Made of these, an address with a token is ours too.
    pub keys: Keys,
    /// Largest message, in bytes.
    pub message_bytes_max: usize,
    /// Most messages of one connection.
    pub messages_max: u32,
    /// LMTP is spoken.
    pub lmtp: bool,
    /// STARTTLS is offered.
    pub starttls: bool,
    /// No mail is taken in the clear.
    pub require_tls: bool,
    /// AUTH is offered, once encrypted.
    pub auth: bool,
    /// No mail is taken from those who did not log in.
    pub require_auth: bool,
}

/// The line for a peer that finds no free place; the connection is closed after it.
pub const BUSY: &[u8] = b"421 4.3.2 Too many connections, try again\r\n";

/// Where a conversation stands.
#[derive(Debug)]
enum State {
    /// No HELO yet.
    Connected,
    /// HELO said, no message begun.
    Greeted,
    /// A sender is known, perhaps recipients.
    Mail(Envelope),
    /// A message comes in.
    Data {
        envelope: Envelope,
        reader: DataReader,
        since: Time,
    },
    /// A message comes in by pieces.
    Chunks {
        envelope: Envelope,
        chunks: Chunks,
        since: Time,
    },
    /// A piece that nobody wants is read to its end.
    Swallow { left: usize, back: Box<State> },
    /// A message for so many recipients is being stored.
    Storing { recipients: usize },
    /// TLS begins.
    TlsWait,
    /// The next line answers a question of AUTH.
    Auth(Asked),
    /// Name and password are being checked.
    AuthWait { user: String },
    /// Nothing more is said.
    Closed,
}

#[derive(Debug)]
struct Envelope {
    from: Option<String>,
    rcpt: Vec<String>,
}

/// One SMTP conversation.
#[derive(Debug)]
pub struct Conversation {
    settings: Arc<Settings>,
    state: State,
    helo: String,
    pressure: Pressure,
    encrypted: bool,
    /// Who logged in.
    user: Option<String>,
    /// Logins that failed.
    failures: u32,
    waiting: Vec<u8>,
    out: VecDeque<Output>,
    errors: u32,
    messages: u32,
    heard: Time,
    outside_since: Time,
    outside: Duration,
}

impl Conversation {
    /// A conversation that begins at `now` with the greeting.
    #[must_use]
    pub fn new(now: Time, settings: Arc<Settings>) -> Self {
        let protocol = if settings.lmtp { "LMTP" } else { "ESMTP" };
        let greeting = format!("220 {} {protocol}", settings.host);
        let mut conversation = Conversation {
            settings,
            state: State::Connected,
            helo: String::new(),
            pressure: Pressure::Normal,
            encrypted: false,
            user: None,
            failures: 0,
            waiting: Vec::new(),
            out: VecDeque::new(),
            errors: 0,
            messages: 0,
            heard: now,
            outside_since: now,
            outside: Duration::ZERO,
        };
        conversation.say(&greeting);
        conversation
    }

    /// Feeds one thing.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Bytes(bytes) => {
                self.heard = now;
                self.waiting.extend_from_slice(bytes);
            }
            Input::Stored(stored) => self.stored(now, &stored),
            Input::Pressure(pressure) => self.press(pressure),
            Input::TlsReady => {
                if matches!(self.state, State::TlsWait) {
                    self.encrypted = true;
                    self.state = State::Connected;
                    self.heard = now;
                }
            }
            Input::AuthChecked(checked) => self.auth_checked(now, checked),
            Input::Timeout => {
                if self.deadline().is_some_and(|deadline| deadline <= now) {
                    self.end(reply::IDLE);
                }
            }
        }
        self.advance(now);
    }

    /// The next thing to do; drain until `None` after every `handle`.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call `handle(now, Input::Timeout)` next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let since_of = |read: u64, since: Time| {
            let slow = Duration::from_micros(read.saturating_mul(MICROS_PER_BYTE));
            let slow = since + slow.max(SLOW_START);
            Some(slow.min(since + DATA_WAIT).min(self.heard + BLOCK_WAIT))
        };
        match &self.state {
            State::Data { reader, since, .. } => since_of(reader.bytes_read(), *since),
            State::Chunks { chunks, since, .. } if !chunks.is_between() => {
                since_of(chunks.bytes_read(), *since)
            }
            State::Connected
            | State::Greeted
            | State::Mail(_)
            | State::Auth(_)
            | State::Chunks { .. }
            | State::Swallow { .. } => {
                let outside = self.outside_since + OUTSIDE_WAIT.saturating_sub(self.outside);
                Some(outside.min(self.heard + COMMAND_WAIT))
            }
            State::Storing { .. } | State::TlsWait | State::AuthWait { .. } | State::Closed => None,
        }
    }

    /// False while a message is stored, a login checked, or the conversation is over: the shell stops reading.
    #[must_use]
    pub fn reading(&self) -> bool {
        !matches!(
            self.state,
            State::Storing { .. } | State::TlsWait | State::AuthWait { .. } | State::Closed
        )
    }

    /// Bytes of the unfinished message held in memory.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.state {
            State::Data { reader, .. } => reader.held(),
            State::Chunks { chunks, .. } => chunks.held(),
            State::Connected
            | State::Greeted
            | State::Mail(_)
            | State::Swallow { .. }
            | State::Storing { .. }
            | State::TlsWait
            | State::Auth(_)
            | State::AuthWait { .. }
            | State::Closed => 0,
        }
    }

    /// Works through the bytes that wait, as far as the state allows.
    fn advance(&mut self, now: Time) {
        loop {
            let more = match &mut self.state {
                State::Storing { .. } | State::AuthWait { .. } => {
                    if self.waiting.len() > WAITING_BYTES_MAX {
                        self.end(reply::TOO_LONG);
                    }
                    false
                }
                State::TlsWait | State::Closed => {
                    self.waiting = Vec::new();
                    false
                }
                State::Data { .. } => self.read_data(now),
                State::Chunks { chunks, .. } if !chunks.is_between() => self.read_chunk(now),
                State::Swallow { .. } => self.swallow(),
                State::Connected
                | State::Greeted
                | State::Mail(_)
                | State::Auth(_)
                | State::Chunks { .. } => self.read_command(now),
            };
            if !more {
                return;
            }
        }
    }

    fn press(&mut self, pressure: Pressure) {
        self.pressure = pressure;
        match (&mut self.state, pressure) {
            (State::Data { reader, .. }, Pressure::Full) => reader.drop_rest(),
            (State::Chunks { chunks, .. }, Pressure::Full) => chunks.drop_rest(),
            (
                State::Connected | State::Greeted | State::Mail(_) | State::Auth(_),
                Pressure::Stopping,
            ) => {
                self.end(reply::STOPPING);
            }
            _ => {}
        }
    }

    fn end_if_stopping(&mut self) {
        if self.pressure == Pressure::Stopping && self.reading() {
            self.end(reply::STOPPING);
        }
    }

    /// Takes one command line; false when none is complete.
    fn read_command(&mut self, now: Time) -> bool {
        let Some(end) = memchr(b'\n', &self.waiting) else {
            if self.waiting.len() > COMMAND_BYTES_MAX {
                // The rest of a cut line must not run as a command of its own.
                self.end(reply::TOO_LONG);
            }
            return false;
        };
        let line: Vec<u8> = self.waiting.drain(..=end).collect();
        if line.len() > COMMAND_BYTES_MAX {
            self.end(reply::TOO_LONG);
        } else if !is_clean(&line) {
            self.refuse(reply::SYNTAX);
        } else if matches!(self.state, State::Auth(_)) {
            self.auth_line(&line);
        } else {
            match Request::parse(&mut line.iter()) {
                Ok(request) => self.command(now, request, &line),
                // A piece of nobody knows what size follows: it must not run as commands.
                Err(error) if is_bdat(&line) => self.end(reply::to_parse_error(&error)),
                Err(error) => self.refuse(reply::to_parse_error(&error)),
            }
        }
        true
    }

    fn command(&mut self, now: Time, request: Request<std::borrow::Cow<'_, str>>, line: &[u8]) {
        match request {
            Request::Ehlo { host } if !self.settings.lmtp => self.greet(&host, true),
            Request::Helo { host } if !self.settings.lmtp => self.greet(&host, false),
            Request::Lhlo { host } if self.settings.lmtp => self.greet(&host, true),
            Request::Mail { from } => self.mail(&from, line),
            Request::Rcpt { to } => self.rcpt(&to, line),
            Request::Data => self.data(now),
            Request::Rset => {
                if matches!(self.state, State::Mail(_) | State::Chunks { .. }) {
                    self.state = State::Greeted;
                }
                self.say(reply::RESET);
            }
            Request::Noop { .. } => self.say(reply::RESET),
            Request::Help { .. } => self.say(reply::HELP),
            Request::Vrfy { .. } => self.say(reply::VERIFY),
            Request::Quit => self.end(reply::BYE),
            Request::Bdat {
                chunk_size,
                is_last,
            } => self.chunk(now, chunk_size, is_last),
            Request::StartTls if self.settings.starttls && !self.encrypted => self.start_tls(),
            Request::Lhlo { .. } | Request::Ehlo { .. } | Request::Helo { .. } => {
                self.refuse(reply::UNKNOWN_COMMAND)
            }
            Request::Auth {
                mechanism,
                initial_response,
            } => self.auth(mechanism, &initial_response),
            Request::Expn { .. }
            | Request::Etrn { .. }
            | Request::Atrn { .. }
            | Request::Burl { .. }
            | Request::StartTls => self.refuse(reply::NOT_OFFERED),
        }
    }

    /// Everything said in the clear is forgotten, and what waits behind the command too.
    fn start_tls(&mut self) {
        self.say(reply::TLS_GO_AHEAD);
        self.out.push_back(Output::StartTls);
        self.helo = String::new();
        self.waiting = Vec::new();
        self.state = State::TlsWait;
    }

    fn greet(&mut self, helo: &str, extended: bool) {
        helo.clone_into(&mut self.helo);
        self.state = State::Greeted;
        let host = self.settings.host.clone();
        if !extended {
            return self.say(&format!("250 {host}"));
        }
        let size = format!("SIZE {}", self.settings.message_bytes_max);
        self.say(&format!("250-{host}"));
        for offer in ["PIPELINING", &size, "8BITMIME", "SMTPUTF8", "CHUNKING"] {
            self.say(&format!("250-{offer}"));
        }
        if self.settings.starttls && !self.encrypted {
            self.say("250-STARTTLS");
        }
        if self.offers_auth() {
            self.say("250-AUTH PLAIN LOGIN");
        }
        self.say("250 ENHANCEDSTATUSCODES");
    }

    fn mail(&mut self, from: &MailFrom<std::borrow::Cow<'_, str>>, line: &[u8]) {
        if !matches!(self.state, State::Greeted) {
            return self.refuse(reply::BAD_ORDER);
        }
        if self.settings.require_tls && !self.encrypted {
            return self.refuse(reply::NEEDS_TLS);
        }
        if self.settings.require_auth && self.user.is_none() {
            return self.refuse(reply::NEEDS_AUTH);
        }
        if self.messages >= self.settings.messages_max {
            return self.end(reply::TOO_MANY_MESSAGES);
        }
        if self.pressure == Pressure::Full {
            return self.say(reply::NO_ROOM);
        }
        let known = MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | MAIL_SMTPUTF8;
        let only_known = from.flags & !known == 0
            && from.trans_id.is_none()
            && from.env_id.is_none()
            && from.solicit.is_none()
            && from.mtrk.is_none()
            // RFC 4954 §5 wants it taken where AUTH is spoken; nothing depends on it.
            && (from.auth.is_none() || self.offers_auth())
            && (from.by, from.hold_for, from.hold_until, from.mt_priority) == (0, 0, 0, 0);
        if !only_known {
            return self.refuse(reply::PARAMETER);
        }
        if from.size > self.settings.message_bytes_max {
            return self.refuse(reply::TOO_LARGE);
        }
        if !from.address.is_ascii() && from.flags & MAIL_SMTPUTF8 == 0 {
            return self.refuse(reply::NEEDS_UTF8);
        }
        let from = match (from.address.is_empty(), is_null_path(line)) {
            (true, true) => None,
            (true, false) => Some("postmaster".to_owned()),
            (false, _) => Some(from.address.to_string()),
        };
        self.messages += 1;
        self.state = State::Mail(Envelope {
            from,
            rcpt: Vec::new(),
        });
        self.say(reply::SENDER_OK);
    }

    fn rcpt(&mut self, to: &RcptTo<std::borrow::Cow<'_, str>>, line: &[u8]) {
        let State::Mail(envelope) = &mut self.state else {
            return self.refuse(reply::BAD_ORDER);
        };
        if to.address.is_empty() && is_null_path(line) {
            return self.refuse(reply::NO_RECIPIENT);
        }
        if to.flags != 0 || to.orcpt.is_some() || to.rrvs != 0 {
            return self.refuse(reply::PARAMETER);
        }
        let address = if to.address.is_empty() {
            "postmaster"
        } else {
            &*to.address
        };
        match ownership(&self.settings.addresses, &self.settings.keys, address) {
            Ownership::Ours if envelope.rcpt.len() >= RECIPIENTS_MAX => {
                self.refuse(reply::TOO_MANY_RECIPIENTS)
            }
            Ownership::Ours => {
                envelope.rcpt.push(address.to_owned());
                self.say(reply::RECIPIENT_OK);
            }
            Ownership::UnknownHere => self.refuse(reply::UNKNOWN_RECIPIENT),
            Ownership::Elsewhere => self.refuse(reply::NO_RELAY),
        }
    }

    fn data(&mut self, now: Time) {
        match std::mem::replace(&mut self.state, State::Greeted) {
            State::Mail(envelope) if !envelope.rcpt.is_empty() => {
                let mut reader = DataReader::new(self.settings.message_bytes_max);
                if self.pressure == Pressure::Full {
                    reader.drop_rest();
                }
                self.outside += now.since(self.outside_since);
                self.state = State::Data {
                    envelope,
                    reader,
                    since: now,
                };
                self.say(reply::GO_AHEAD);
            }
            before => {
                self.state = before;
                self.refuse(reply::BAD_ORDER);
            }
        }
    }

    fn say(&mut self, line: &str) {
        self.out
            .push_back(Output::Write(format!("{line}\r\n").into_bytes()));
    }

    /// Says no; too often ends the conversation.
    fn refuse(&mut self, line: &str) {
        self.say(line);
        self.errors += 1;
        if self.errors >= ERRORS_MAX {
            self.end(reply::TOO_MANY_ERRORS);
        }
    }

    /// Says the last line.
    fn end(&mut self, line: &str) {
        self.say(line);
        self.out.push_back(Output::Close);
        self.state = State::Closed;
        self.waiting = Vec::new();
    }
}

#[cfg(test)]
mod tests;
