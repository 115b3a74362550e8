//! The one door: every request enters, moves and ends here, state and outbox rows
//! in one transaction.

use std::net::IpAddr;
use std::time::Duration;

use helpline_core::id::{MailInId, RequestId};
use helpline_core::queue::ewt::Promise;
use helpline_core::request::HelpRequest;
use helpline_core::time::Wall;

/// Everything about the way in that is not part of the request itself.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Idempotency key: same key and same body give the same answer.
    pub key: Option<IntakeKey>,
    /// Whom to acknowledge to by mail; `None`: no mail.
    pub ack: Option<AckTo>,
    /// Network address of the sender, for limits and the consent record.
    pub address: Option<IpAddr>,
    /// Place in line of an earlier moment (a caller keeps the place of the call's begin).
    pub place_at: Option<Wall>,
}

/// An idempotency key within its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeKey {
    /// `http`, `form`, `call`.
    pub scope: &'static str,
    /// At most 255 bytes.
    pub key: String,
    /// SHA-256 of the body, hex: the same key with another body is refused.
    pub body_hash: String,
}

/// Where and how to acknowledge by mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckTo {
    /// The one address.
    pub address: String,
    /// Message-ID answered, without `<>`.
    pub in_reply_to: Option<String>,
    /// References of the answered message, without `<>`, oldest first.
    pub references: Vec<String>,
    /// Subject of the answered message.
    pub subject: Option<String>,
}

/// The answer to an accepted request; it is durable when this exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The request (for a merged one, the row that was just made for it).
    pub id: RequestId,
    /// Secret of the status page: `/s/{token}`.
    pub token: String,
    /// Place in line, 1 = next; `None` for a booked time.
    pub position: Option<u32>,
    /// What the customer was told.
    pub promise: Promise,
    /// False when an idempotency key met its earlier answer.
    pub fresh: bool,
}

/// Why a request was not accepted. Nothing was stored, unless the store's answer is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The idempotency key was used with another body.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// The line is full.
    #[error("the line is full")]
    Full,
    /// Too many requests from this number or address.
    #[error("too many requests; try again later")]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// The number may not be called (dial rules or do-not-call list).
    #[error("this number cannot be called from here")]
    NotAllowed,
    /// The chosen time cannot be kept.
    #[error("{0}")]
    BadTime(String),
    /// The store did not answer: the outcome is unknown, repeat with the same key.
    #[error("the request could not be stored; repeat it with the same key")]
    Unavailable,
}

/// A request as its customer may see it.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusView {
    /// The request.
    pub id: RequestId,
    /// State word of the request (`waiting`, `scheduled`, ...); for a merged one, its parent's.
    pub state: String,
    /// Place in line while it waits.
    pub position: Option<u32>,
    /// The promise, as it stands in the row.
    pub promise: Option<Promise>,
    /// The promised range made anew from the live line, while it waits.
    pub estimate: Option<Promise>,
    /// The number, masked.
    pub number_masked: String,
    /// Booked time.
    pub due_at: Option<Wall>,
    /// Next try, while in back-off.
    pub not_before: Option<Wall>,
    /// Last disposition word, if an attempt was made.
    pub last_disposition: Option<String>,
    /// Whether cancel is still possible.
    pub open: bool,
    /// Customer's language.
    pub language: String,
}

/// A message in the spool, claimed for work.
#[derive(Clone, Debug)]
pub struct SpooledMail {
    /// Its row.
    pub id: MailInId,
    /// Envelope sender; `None` is `<>`.
    pub mail_from: Option<String>,
    /// Envelope recipients.
    pub rcpt: Vec<String>,
    /// The bytes after DATA, dots removed.
    pub raw: Vec<u8>,
    /// When DATA ended.
    pub received_at: Wall,
    /// How often work on it has begun, this time included.
    pub attempts: u32,
    /// Fence: filing needs the same number.
    pub epoch: i64,
}

/// What became of a spooled message; filed in one transaction with everything it causes.
#[derive(Clone, Debug)]
pub enum Filing {
    /// A request; acknowledged only if `ack` is given.
    Request {
        /// The request.
        request: Box<HelpRequest>,
        /// Whom to acknowledge to, when the rules allow an automatic reply.
        ack: Option<AckTo>,
    },
    /// A person wrote, but no number can be called.
    NeedsInfo {
        /// `no_phone`, `ambiguous_phone`, `refused_phone`.
        reason: &'static str,
        /// Whom to ask, when the rules allow an automatic reply.
        ask: Option<AckTo>,
        /// Query of the prefilled form (`email=...&page=...`), already percent-encoded.
        form_query: String,
        /// Language of the reply.
        language: String,
    },
    /// Machine mail: stored, never answered.
    Machine {
        /// Which rule matched.
        reason: &'static str,
    },
    /// Cannot be read.
    Quarantine {
        /// Why.
        reason: &'static str,
    },
}

/// What filing came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Filed {
    /// A request stands in line.
    Request(RequestId),
    /// The same content was filed before.
    Duplicate,
    /// The request was not accepted (limits, do-not-call, line full): kept for people.
    Refused(AcceptError),
    /// Filed without a request.
    Kept,
}
