//! Works on spooled mail: claim, read, file. A message that breaks the reader breaks nothing
//! else: it is read on a thread of its own with a time limit, and after three attempts it is
//! set aside for people. A message that ends the whole process is counted by its claim, which
//! is committed before the work begins.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use helpline_core::id::MailInId;
use helpline_core::phone::DialRules;
use helpline_core::queue::admission::Admission;
use helpline_core::request::email::{
    AckParts, Authentication, Envelope, Keys, Kind, MailContext, Proof, Reading, address_key,
    content_hash, read,
};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mail_auth::Authenticator;
use crate::config::Config;
use crate::desk::{AckTo, Desk, Filed, Filing, ReadMail, SpooledMail};

/// Loops that take messages from the spool.
const WORKERS: usize = 4;
/// Messages a loop takes at once: what they cause is committed together.
const TAKEN_MAX: u32 = 16;
/// A message that is read for longer gives its place among those read at once away, so that it
/// keeps no other waiting.
const READ_SOON: Duration = Duration::from_millis(100);
/// So long those that were taken together wait for one another.
const LOT_WAIT: Duration = Duration::from_millis(250);
/// Messages that may be read for longer at once.
const LONG_AT_ONCE: usize = 16;
/// By how much threads that read stand behind others: calls, requests and mail that comes in go
/// first, and what was taken can wait.
const NICE: i32 = 10;
/// Longest work on one message. The reader's own limits keep it far below.
const READ_WAIT: Duration = Duration::from_secs(30);
/// Times a message is tried before it is set aside.
const ATTEMPTS_MAX: u32 = 3;
/// Without a word from the spool it is looked at this often: a lease may have run out.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest pause while the store does not answer.
const STORE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a message is read with; the same for all.
#[derive(Debug)]
struct Office {
    desk: Arc<Desk>,
    config: Arc<Config>,
    dial: DialRules,
    reader: Reader,
    authenticator: Option<Arc<Authenticator>>,
    threads: Threads,
    /// Messages read at once: one for each processor.
    places: Semaphore,
    long: Semaphore,
    /// Messages that wait for DNS or take long; the others are not kept waiting by them.
    apart: TaskTracker,
}

/// Threads that read.
#[derive(Debug)]
struct Threads {
    handle: Handle,
    own: Option<Runtime>,
}

impl Threads {
    fn start() -> Threads {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("mail-reader");
        builder.on_thread_start(|| {
            // Where it is not allowed, they go at the pace of the rest.
            let _ = rustix::process::nice(NICE);
        });
        let own = builder.build().inspect_err(|error| {
            tracing::warn!(%error, "mail is read by the threads of everything else");
        });
        let own = own.ok();
        let handle = own
            .as_ref()
            .map_or_else(Handle::current, |own| own.handle().clone());
        Threads { handle, own }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(own) = self.own.take() {
            // A message beyond its time is not waited for.
            own.shutdown_background();
        }
    }
}

/// Reads one message: content hash and what it asks for.
pub type Reader = fn(&SpooledMail, &Config, &DialRules, &Keys) -> (String, Reading);

/// Why reading gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Panic,
    Timeout,
}

impl Broken {
    const fn word(self) -> &'static str {
        match self {
            Broken::Panic => "panic",
            Broken::Timeout => "timeout",
        }
    }
}

/// Works until `stop`; messages begun are finished.
pub async fn work(
    desk: Arc<Desk>,
    config: Arc<Config>,
    authenticator: Option<Arc<Authenticator>>,
    stop: CancellationToken,
) {
    work_with(desk, config, authenticator, stop, read_mail).await;
}

/// As [`work`], with a reader of the caller's: tests give one that breaks.
pub async fn work_with(
    desk: Arc<Desk>,
    config: Arc<Config>,
    authenticator: Option<Arc<Authenticator>>,
    stop: CancellationToken,
    reader: Reader,
) {
    let dial = config.dial_rules();
    let office = Arc::new(Office {
        desk,
        config,
        dial,
        reader,
        authenticator,
        threads: Threads::start(),
        places: Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
        long: Semaphore::new(LONG_AT_ONCE),
        apart: TaskTracker::new(),
    });
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (office, stop) = (Arc::clone(&office), stop.clone());
        workers.spawn(async move { office.work(&stop).await });
    }
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "mail: a worker ended");
        }
    }
    office.apart.close();
    office.apart.wait().await;
}

impl Office {
    async fn work(self: &Arc<Self>, stop: &CancellationToken) {
        let waiting = self.desk.mail_waiting();
        let mut pause = Duration::from_secs(1);
        while !stop.is_cancelled() {
            let rest = match self.desk.claim_mail(TAKEN_MAX).await {
                Ok(taken) if taken.is_empty() => LOOK_EVERY,
                Ok(taken) => {
                    pause = Duration::from_secs(1);
                    let mut known = Vec::new();
                    for mail in taken {
                        known.extend(self.ask_about(mail).await);
                    }
                    self.read_and_file(known).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "mail: the spool does not answer");
                    pause = (pause * 2).min(STORE_PAUSE_MAX);
                    pause
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = waiting.notified(), if rest == LOOK_EVERY => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Gives a message back of whose origin nothing is asked; another one is worked on once DNS
    /// has answered, by a task of its own.
    async fn ask_about(self: &Arc<Self>, mut mail: SpooledMail) -> Option<SpooledMail> {
        let Some(authenticator) = &self.authenticator else {
            return Some(mail);
        };
        let sender = mail.sender.clone();
        let Some(sender) = sender.filter(|sender| authenticator.concerns(sender.peer)) else {
            return Some(mail);
        };
        let place = authenticator.place().await;
        let (this, authenticator) = (Arc::clone(self), Arc::clone(authenticator));
        self.apart.spawn(async move {
            let (mail_from, raw) = (mail.mail_from.clone(), std::mem::take(&mut mail.raw));
            let Some((raw, checked)) = authenticator.check(sender, mail_from, raw).await else {
                // Left to its lease: the claim has counted the attempt.
                tracing::warn!(mail.id = %mail.id, "mail: checking its origin broke off");
                return;
            };
            drop(place);
            authenticator.note(checked.auth.proof());
            mail.raw = raw;
            mail.auth = Some(checked.auth);
            let read = this.read_one(mail).await;
            this.file(Vec::from_iter(read)).await;
        });
        None
    }

    /// Reads messages and files them together. One that takes long is filed by itself, and
    /// nothing waits for it.
    async fn read_and_file(self: &Arc<Self>, lot: Vec<SpooledMail>) {
        let mut reading = JoinSet::new();
        for mail in lot {
            let this = Arc::clone(self);
            reading.spawn(async move { this.read_one(mail).await });
        }
        let mut read = Vec::new();
        let soon = tokio::time::sleep(LOT_WAIT);
        tokio::pin!(soon);
        loop {
            tokio::select! {
                next = reading.join_next() => match next {
                    Some(next) => read.extend(next.ok().flatten()),
                    None => break,
                },
                () = &mut soon => break,
            }
        }
        self.file(read).await;
        if reading.is_empty() {
            return;
        }
        let this = Arc::clone(self);
        self.apart.spawn(async move {
            while let Some(next) = reading.join_next().await {
                this.file(Vec::from_iter(next.ok().flatten())).await;
            }
        });
    }

    /// Reads a message; `None`: it is left to its lease and tried again later.
    async fn read_one(&self, mut mail: SpooledMail) -> Option<ReadMail> {
        let (content_hash, follow_up, filing) = match self.read_patiently(&mail).await {
            Ok((hash, mut reading)) => {
                mail.auth = reading.auth.take();
                let follow_up = reading.follow_up.take();
                let filing = self.filing(&mail, reading);
                // What came for the postmaster asks nothing.
                let is_machine = matches!(filing, Filing::Machine { .. });
                (hash, follow_up.filter(|_| !is_machine), filing)
            }
            Err(None) => return None,
            Err(Some(broken)) => {
                let reason = broken.word();
                tracing::error!(mail.id = %mail.id, reason, "mail: set aside");
                let hash = format!("broken-{}", mail.id);
                (hash, None, Filing::Quarantine { reason })
            }
        };
        Some(ReadMail {
            id: mail.id,
            epoch: mail.epoch,
            auth: mail.auth,
            content_hash,
            follow_up,
            filing,
        })
    }

    async fn file(&self, read: Vec<ReadMail>) {
        let ids: Vec<MailInId> = read.iter().map(|read| read.id.clone()).collect();
        for (id, filed) in ids.iter().zip(self.desk.file_mails(read).await) {
            match filed {
                Ok(Filed::Request(request)) => {
                    tracing::info!(mail.id = %id, request.id = %request, "mail: a request");
                }
                Ok(filed) => tracing::info!(mail.id = %id, ?filed, "mail: filed"),
                Err(error) => tracing::warn!(mail.id = %id, %error, "mail: not filed"),
            }
        }
    }

    /// Reads, again after a panic, until all attempts are used up. `Err(None)`: the message
    /// is left to its lease and tried again later.
    async fn read_patiently(
        &self,
        mail: &SpooledMail,
    ) -> Result<(String, Reading), Option<Broken>> {
        for attempt in mail.attempts.. {
            let broken = match self.read(mail).await {
                Ok(read) => return Ok(read),
                Err(broken) => broken,
            };
            if attempt >= ATTEMPTS_MAX {
                return Err(Some(broken));
            }
            tracing::warn!(mail.id = %mail.id, reason = broken.word(), attempt, "mail: reading broke off");
            if broken == Broken::Timeout {
                // The lease is half gone and a thread is stuck: not now.
                return Err(None);
            }
        }
        Err(None)
    }

    /// Reads on a thread of its own. The thread of a message beyond the time limit cannot be
    /// ended; it is left to finish and its answer is not waited for.
    async fn read(&self, mail: &SpooledMail) -> Result<(String, Reading), Broken> {
        let (mail, config) = (mail.clone(), Arc::clone(&self.config));
        let (dial, reader) = (self.dial.clone(), self.reader);
        let keys = Arc::clone(self.desk.keys());
        let place = self.places.acquire().await;
        let reading = self.threads.handle.spawn_blocking(move || {
            catch_unwind(AssertUnwindSafe(|| reader(&mail, &config, &dial, &keys)))
        });
        let patient = async {
            tokio::pin!(reading);
            if let Ok(read) = tokio::time::timeout(READ_SOON, &mut reading).await {
                return read;
            }
            let _long = tokio::select! {
                read = &mut reading => return read,
                long = self.long.acquire() => long,
            };
            drop(place);
            reading.await
        };
        match tokio::time::timeout(READ_WAIT, patient).await {
            Ok(Ok(Ok(read))) => Ok(read),
            Ok(Ok(Err(_)) | Err(_)) => Err(Broken::Panic),
            Err(_) => Err(Broken::Timeout),
        }
    }

    fn filing(&self, mail: &SpooledMail, reading: Reading) -> Filing {
        // A mailbox is ours as a whole.
        if !mail.fetched && !mail.rcpt.iter().any(|rcpt| self.is_help_address(rcpt)) {
            // Mail to the postmaster is for people, whatever it says.
            return Filing::Machine {
                reason: "postmaster",
            };
        }
        let language = reading
            .language
            .unwrap_or(&self.config.site.language)
            .to_owned();
        let form_query = form_query(&reading);
        let ack = reading.ack.map(ack_to);
        match reading.kind {
            Kind::Request(mut request) => {
                request.language = language;
                let checked = mail.auth.as_ref().map(Authentication::proof);
                let proof = match mail.submitted {
                    true => Proof::Pass,
                    false => checked.unwrap_or_default(),
                };
                let rule = self.config.mail.proof.into();
                let admission = Admission::of(rule, proof, ack.is_some());
                Filing::Request {
                    request,
                    ack,
                    admission,
                }
            }
            Kind::NeedsInfo { reason } => Filing::NeedsInfo {
                reason,
                ask: ack,
                form_query,
                language,
            },
            Kind::Machine { reason } => Filing::Machine { reason },
            Kind::Bounce { reason, dsn, of } => Filing::Bounce { reason, dsn, of },
            Kind::Quarantine { reason } => Filing::Quarantine { reason },
        }
    }

    fn is_help_address(&self, rcpt: &str) -> bool {
        let own = &self.config.smtp.addresses;
        let given = address_key(rcpt);
        let is_own = given.is_some() && own.iter().any(|own| address_key(own) == given);
        is_own || self.desk.keys().recipient(own, rcpt).is_some()
    }
}

/// The reader of the daemon.
#[must_use]
pub fn read_mail(
    mail: &SpooledMail,
    config: &Config,
    dial: &DialRules,
    keys: &Keys,
) -> (String, Reading) {
    let context = MailContext {
        own_addresses: &config.smtp.addresses,
        zone: &config.site.zone,
        region: config.dial.region.as_deref(),
        dial,
        queue: config.default_queue(),
        received: mail.received_at,
        envelope: match mail.fetched {
            true => Envelope::Unknown,
            false => mail.mail_from.as_deref().into(),
        },
        // A login is the proof; a header about an earlier way is not.
        authserv_ids: match mail.submitted {
            true => &[],
            false => &config.mail.authserv_ids,
        },
        recipients: &mail.rcpt,
        keys: Some(keys),
        checked: mail.auth.as_ref(),
    };
    (content_hash(&mail.raw), read(&mail.raw, &context))
}

fn ack_to(parts: AckParts) -> AckTo {
    let AckParts {
        address,
        in_reply_to,
        references,
        subject,
    } = parts;
    AckTo {
        address,
        in_reply_to,
        references,
        subject,
    }
}

/// What the form is filled with beforehand.
fn form_query(reading: &Reading) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let fields = [
        ("email", &reading.email),
        ("name", &reading.name),
        ("page", &reading.page),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_filled_with_what_is_known() {
        let raw = b"From: A&B <a@cust.test>\r\nTo: help@help.test\r\n\r\nhttps://shop.test/?a=b&c";
        let own = ["help@help.test".to_owned()];
        let context = MailContext {
            own_addresses: &own,
            zone: "UTC",
            region: None,
            dial: &DialRules::default(),
            queue: "help",
            received: helpline_core::time::Wall::from_millis(0),
            envelope: Some("a@cust.test").into(),
            authserv_ids: &[],
            recipients: &[],
            keys: None,
            checked: None,
        };
        assert_eq!(
            form_query(&read(raw, &context)),
            "email=a%40cust.test&name=A%26B&page=https%3A%2F%2Fshop.test%2F%3Fa%3Db%26c"
        );
    }

    #[test]
    fn a_login_counts_for_more_than_a_header() {
        let mut config = Config::default();
        config.mail.authserv_ids = vec!["mx.test".to_owned()];
        let raw = b"Authentication-Results: mx.test; dmarc=fail header.from=cust.test\r\n\
            From: a@cust.test\r\nTo: help@localhost\r\n\r\nplease call me\r\n";
        let silent = |submitted| {
            let mail = SpooledMail {
                id: helpline_core::id::MailInId::from_text("m1"),
                mail_from: Some("a@cust.test".to_owned()),
                rcpt: vec!["help@localhost".to_owned()],
                raw: raw.to_vec(),
                fetched: false,
                sender: None,
                auth: None,
                submitted,
                received_at: helpline_core::time::Wall::from_millis(0),
                attempts: 1,
                epoch: 1,
            };
            read_mail(
                &mail,
                &config,
                &DialRules::default(),
                &Keys::new(&[7; 32], None),
            )
            .1
            .silent_reason
        };
        assert_eq!(silent(false), Some("auth_fail"));
        assert_eq!(silent(true), None);
    }
}
