//! The one door: every request enters, moves and ends here, state and outbox rows
//! in one transaction.

mod accept;
mod agents;
mod alarm;
mod attempt;
mod board;
mod booking;
mod budget;
mod callback;
mod caller;
mod correct;
pub mod customers;
mod door;
mod filing;
mod honesty;
mod letter;
mod line;
mod mail;
mod mailbox;
mod message;
mod outlook;
mod pin;
mod staff;
#[cfg(test)]
pub(crate) mod stage;
mod status;
mod taking;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use helpline_core::calendar::Calendar;
use helpline_core::id::{MailInId, NodeId, RequestId};
use helpline_core::ivr::io::{Hours, Queues};
use helpline_core::phone::DialRules;
use helpline_core::queue::admission::Admission;
use helpline_core::queue::ewt::Promise;
use helpline_core::request::HelpRequest;
use helpline_core::request::email::{Authentication, Dsn, FollowUp, Keys, Undelivered};
use helpline_core::rng::Rng;
use helpline_core::smtp::Burst;
use helpline_core::time::{Time, Wall};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};

use self::customers::Customers;
use crate::clock::Clock;
use crate::config::{Config, Queue};
use crate::store::{Counts, Store};

pub use crate::store::Error as StoreError;
pub(crate) use crate::store::{AgentRow, Claimed, Wanted};
pub use crate::store::{Aside, Folder};
pub use agents::{AgentOrdered, AgentView};
pub(crate) use attempt::{Live, LiveProgress, Order, OrderReply, Placed, Trace};
pub use booking::Moved;
pub(crate) use callback::Caller;
pub(crate) use caller::{Stood, Turn};
pub use helpline_core::request::email::request_tag;
pub use honesty::{ERROR_BOUNDS, Record};
pub use mail::SpoolError;
pub use mailbox::Message;
pub use staff::Ordered;
pub use status::Cancelled;

use correct::Doubts;
use door::Door;
use outlook::Estimator;
use pin::Unproven;

/// Requests whose live call has to be ended and whose task has not looked yet.
const CANCELLED_MAX: usize = 1_024;

/// The door to the line. One a daemon, shared by everything that takes, moves or shows
/// requests.
pub struct Desk {
    store: Store,
    door: Arc<Door>,
    config: Arc<Config>,
    keys: Arc<Keys>,
    calendars: BTreeMap<String, Calendar>,
    rules: DialRules,
    clock: Clock,
    seed: u64,
    node: Mutex<NodeId>,
    chance: Mutex<Rng>,
    last_id_at: Mutex<Wall>,
    /// The database's clock at the last look.
    last_look: Mutex<Wall>,
    estimators: BTreeMap<String, Estimator>,
    /// By queue.
    doubts: Mutex<BTreeMap<String, Doubts>>,
    records: Mutex<BTreeMap<String, Record>>,
    ended: Mutex<BTreeMap<&'static str, u64>>,
    replies_withheld: AtomicU64,
    /// Reports of what became of mail, by what they say.
    reports: Mutex<BTreeMap<&'static str, u64>>,
    /// Bytes that wait in the spool, and when that was seen.
    spooled: Mutex<Option<(Time, u64)>>,
    /// Mail that comes in now.
    burst: Mutex<Burst>,
    line_changed: Arc<Notify>,
    mail_waiting: Arc<Notify>,
    cancelled: broadcast::Sender<RequestId>,
    /// How the lines stood at the last look.
    board: ArcSwap<Queues>,
    unproven: Unproven,
    customers: ArcSwap<Customers>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Desk").field(&self.store).finish()
    }
}

/// Numbers for health and metrics.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// How the rows stand.
    pub counts: Counts,
    /// Attempts that ended since the daemon started, by disposition word.
    pub attempts: Vec<(&'static str, u64)>,
    /// Automatic replies not sent since the daemon started, their budget being used up.
    pub replies_withheld: u64,
    /// Reports of what became of mail since the daemon started, by what they say.
    pub reports: Vec<(&'static str, u64)>,
}

impl Desk {
    /// A desk over an open store. `calendars` are the opening hours of each queue by its
    /// name; a queue without is always open. `seed` drives retry spread and ids, never a
    /// secret.
    #[must_use]
    pub fn new(
        store: Store,
        config: Arc<Config>,
        calendars: BTreeMap<String, Calendar>,
        clock: Clock,
        seed: u64,
    ) -> Desk {
        let mut chance = Rng::new(seed);
        let node = NodeId::new(clock.wall(), &mut chance);
        let queues = config.queue.iter();
        let estimators = queues.map(|q| (q.name.clone(), Estimator::new(q)));
        Desk {
            rules: config.dial_rules(),
            estimators: estimators.collect(),
            doubts: Mutex::default(),
            records: Mutex::default(),
            keys: Arc::new(Keys::new(store.mail_key(), None)),
            store,
            door: Arc::default(),
            config,
            calendars,
            clock,
            seed,
            node: Mutex::new(node),
            chance: Mutex::new(chance),
            last_id_at: Mutex::default(),
            last_look: Mutex::default(),
            ended: Mutex::default(),
            replies_withheld: AtomicU64::new(0),
            reports: Mutex::default(),
            spooled: Mutex::default(),
            burst: Mutex::default(),
            line_changed: Arc::new(Notify::new()),
            mail_waiting: Arc::new(Notify::new()),
            cancelled: broadcast::channel(CANCELLED_MAX).0,
            board: ArcSwap::default(),
            unproven: Unproven::default(),
            customers: ArcSwap::default(),
        }
    }

    /// The operator's keys for our own mail, in place of the database's.
    pub fn sign_with(&mut self, keys: Keys) {
        self.keys = Arc::new(keys);
    }

    /// With which our own mail is signed.
    #[must_use]
    pub const fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Numbers for health and metrics.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let counts = self.store.counts().await?;
        let attempts = locked(&self.ended)
            .iter()
            .map(|(disposition, n)| (*disposition, *n))
            .collect();
        Ok(Snapshot {
            counts,
            attempts,
            replies_withheld: self.replies_withheld.load(Ordering::Relaxed),
            reports: locked(&self.reports)
                .iter()
                .map(|(a, n)| (*a, *n))
                .collect(),
        })
    }

    /// How promises were kept since the daemon started, by queue.
    #[must_use]
    pub fn records(&self) -> BTreeMap<String, Record> {
        locked(&self.records).clone()
    }

    /// Of each queue that was looked at: how long the last look took, and the median wait at
    /// the end of the line over what Erlang's formula says.
    #[must_use]
    pub fn estimates(&self) -> Vec<(String, Duration, Option<f64>)> {
        let seen = self.estimators.iter();
        let seen = seen.filter_map(|(queue, estimator)| Some((queue, estimator.seen()?)));
        seen.map(|(queue, seen)| {
            let ratio = seen.against_formula.filter(|(_, formula)| *formula > 0.0);
            let ratio = ratio.map(|(simulated, formula)| simulated / formula);
            (queue.clone(), seen.took, ratio)
        })
        .collect()
    }

    /// Told whenever something in the line may have become callable.
    #[must_use]
    pub fn line_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.line_changed)
    }

    /// Told whenever a message was spooled.
    #[must_use]
    pub fn mail_waiting(&self) -> Arc<Notify> {
        Arc::clone(&self.mail_waiting)
    }

    /// Requests that were withdrawn: whoever has a call on for one ends it.
    #[must_use]
    pub fn cancellations(&self) -> broadcast::Receiver<RequestId> {
        self.cancelled.subscribe()
    }

    /// The queue of that name.
    #[must_use]
    pub fn queue(&self, name: &str) -> Option<&Queue> {
        self.config.queue.iter().find(|q| q.name == name)
    }

    /// Whether the queue is open at `at`.
    #[must_use]
    pub fn is_open(&self, queue: &str, at: Wall) -> bool {
        self.calendars.get(queue).is_none_or(|c| c.is_open(at))
    }

    /// Whether other daemons use the same database.
    pub(crate) const fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// The customers that flows find from now on.
    pub(crate) fn know(&self, customers: Customers) {
        if !customers.is_empty() {
            tracing::info!(
                customers = customers.len(),
                "the table of customers is read"
            );
        }
        self.customers.store(Arc::new(customers));
    }

    /// The opening hours of a queue, for the calls of its flows.
    #[must_use]
    pub fn hours(&self, queue: &str, at: Wall) -> Hours {
        Hours {
            open: self.is_open(queue, at),
            next_open: self.next_open(queue, at),
        }
    }

    fn next_open(&self, queue: &str, at: Wall) -> Option<Wall> {
        match self.calendars.get(queue) {
            Some(calendar) => calendar.next_open(at),
            None => Some(at),
        }
    }

    fn node(&self) -> NodeId {
        locked(&self.node).clone()
    }

    /// A new id, later than every earlier one: within a millisecond too, ids keep the
    /// order in which requests came.
    fn new_id<T>(&self, make: fn(Wall, &mut Rng) -> T) -> T {
        let at = {
            let mut last = locked(&self.last_id_at);
            *last = self.clock.wall().max(*last + Duration::from_millis(1));
            *last
        };
        make(at, &mut locked(&self.chance))
    }

    /// A secret of 128 bits for a status page.
    fn new_token(&self) -> Result<String, StoreError> {
        let mut bytes = [0; 16];
        if self.clock.is_virtual() {
            locked(&self.chance).fill(&mut bytes);
        } else {
            getrandom::fill(&mut bytes)
                .map_err(|e| StoreError::Unavailable(format!("no randomness: {e}")))?;
        }
        Ok(data_encoding::BASE64URL_NOPAD.encode(&bytes))
    }

    /// Counts a reply that was not written because its budget is used up.
    fn note_reply(&self, withheld: bool) {
        if withheld {
            self.replies_withheld.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wake_line(&self) {
        self.line_changed.notify_one();
    }

    fn wake_mail(&self) {
        self.store.outbox_wake().notify_one();
    }
}

/// A lock is only held for a few instructions; a panic in between leaves plain numbers.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    /// Whether it has to be proven before it stands in line.
    pub admission: Admission,
    /// Somebody called from the number himself.
    pub proven: bool,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckTo {
    /// The one address.
    pub address: String,
    /// Message-ID answered, without `<>`.
    pub in_reply_to: Option<String>,
    /// References of the answered message, without `<>`, oldest first.
    pub references: Vec<String>,
    /// Subject of the answered message.
    pub subject: Option<String>,
    /// It names a time in words that were not understood.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unclear: bool,
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
    /// Figures that the customer keys in on the call.
    pub pin: Option<String>,
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

/// A message as it comes in, with its envelope.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// By a mail server of the operator's (LMTP), else by SMTP.
    pub is_handed: bool,
    /// Who brings it.
    pub peer: IpAddr,
    /// What the peer calls itself.
    pub helo: String,
    /// Who logged in to send it.
    pub auth_user: Option<String>,
    /// Envelope sender; `None` is `<>`.
    pub mail_from: Option<String>,
    /// Envelope recipients.
    pub rcpt: Vec<String>,
    /// The bytes after DATA, dots removed.
    pub raw: Vec<u8>,
}

/// Who brought a message by SMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its address.
    pub peer: IpAddr,
    /// What it calls itself.
    pub helo: String,
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
    /// It was fetched from a mailbox: its envelope is not known.
    pub fetched: bool,
    /// Who brought it by SMTP; `None`: the operator's own server or a mailbox did.
    pub sender: Option<Sender>,
    /// What is known of its origin; written down with what becomes of it.
    pub auth: Option<Authentication>,
    /// Its sender logged in: nothing else has to vouch for it.
    pub submitted: bool,
    /// When DATA ended, or it came to the mailbox.
    pub received_at: Wall,
    /// How often work on it has begun, this time included.
    pub attempts: u32,
    /// Fence: filing needs the same number.
    pub epoch: i64,
}

/// A claimed message that was read.
#[derive(Clone, Debug)]
pub struct ReadMail {
    /// Its row.
    pub id: MailInId,
    /// Fence: filing needs the number of the claim.
    pub epoch: i64,
    /// What is known of its origin.
    pub auth: Option<Authentication>,
    /// By which a copy is known again.
    pub content_hash: String,
    /// What it asks of a request made before. Should there be no such request, `filing` stands.
    pub follow_up: Option<Box<FollowUp>>,
    /// What is to become of it.
    pub filing: Filing,
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
        /// Whether it has to be proven before it stands in line.
        admission: Admission,
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
    /// A report of what became of a mail: stored, never answered.
    Bounce {
        /// What it says in a word.
        reason: &'static str,
        /// The same in full.
        dsn: Dsn,
        /// The mail of ours that it is about.
        of: Option<Undelivered>,
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
    /// It spoke of a request made before; what was done, or why nothing was.
    FollowUp(RequestId, &'static str),
    /// Filed without a request.
    Kept,
}
