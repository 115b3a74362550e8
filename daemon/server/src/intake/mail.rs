//! Works on spooled mail: claim, read, file. A message that breaks the reader breaks nothing
//! else: it is read on a thread apart with a time limit, and after three attempts it is set
//! aside for people. A message that ends the whole process is counted by its claim, which
//! is committed before the work begins.

mod reading;

use std::sync::Arc;
use std::time::Duration;

use helpline_core::id::MailInId;
use helpline_core::phone::DialRules;
use helpline_core::queue::admission::Admission;
use helpline_core::request::email::{
    AckParts, Authentication, Envelope, Keys, Kind, MailContext, Proof, Reading, address_key,
    content_hash, read,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::reading::{Broken, Outcome, Readers, With};
use super::mail_auth::Authenticator;
use crate::config::Config;
use crate::desk::{AckTo, Desk, Filed, Filing, ReadMail, SpooledMail};

pub use self::reading::Reader;

/// Loops that take messages from the spool.
const WORKERS: usize = 4;
/// Messages a loop takes at once: what they cause is committed together.
const TAKEN_MAX: u32 = 16;
/// Without a word from the spool it is looked at this often: a lease may have run out.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two looks whether a burst is over.
const BURST_LOOK: Duration = Duration::from_millis(10);
/// How often the bytes of old mail are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
/// Longest pause while the store does not answer.
const STORE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What works on mail; the same for all.
#[derive(Debug)]
struct Office {
    desk: Arc<Desk>,
    config: Arc<Config>,
    readers: Readers,
    authenticator: Option<Arc<Authenticator>>,
    /// Messages that wait for DNS or take long; the others are not kept waiting by them.
    apart: TaskTracker,
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
    let readers = Readers::start(With {
        config: Arc::clone(&config),
        dial: config.dial_rules(),
        keys: Arc::clone(desk.keys()),
        reader,
    });
    let office = Arc::new(Office {
        desk,
        config,
        readers,
        authenticator,
        apart: TaskTracker::new(),
    });
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (office, stop) = (Arc::clone(&office), stop.clone());
        workers.spawn(async move { office.work(&stop).await });
    }
    let (forgetful, stop) = (Arc::clone(&office), stop.clone());
    workers.spawn(async move { forgetful.forget(&stop).await });
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
            if self.desk.is_mail_pouring() {
                tokio::time::sleep(BURST_LOOK).await;
                continue;
            }
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

    async fn forget(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.desk.forget_mail().await {
                tracing::warn!(%error, "mail: old mail is still kept");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(FORGET_EVERY) => {}
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
            this.read_and_file(vec![mail]).await;
        });
        None
    }

    /// Reads messages and files them together. One that takes long is filed by itself, and
    /// nothing waits for it.
    async fn read_and_file(self: &Arc<Self>, lot: Vec<SpooledMail>) {
        let mut rest: Vec<_> = lot.into_iter().map(Arc::new).collect();
        while !rest.is_empty() {
            let Some(lot) = self.readers.read(rest).await else {
                return;
            };
            rest = lot.rest;
            if let Some(late) = lot.late {
                let this = Arc::clone(self);
                self.apart.spawn(async move {
                    let outcome = late.end().await;
                    this.file(Vec::from_iter(outcome)).await;
                });
            }
            self.file(lot.read).await;
        }
    }

    /// What is to be filed of a message.
    fn to_file(&self, outcome: Outcome) -> ReadMail {
        let Outcome { mail, read } = outcome;
        let (content_hash, mut reading) = match read {
            Ok(read) => read,
            Err(broken) => return set_aside(&mail, broken),
        };
        let auth = reading.auth.take();
        let follow_up = reading.follow_up.take();
        let filing = self.filing(&mail, auth.as_ref(), reading);
        // What came for the postmaster asks nothing.
        let is_machine = matches!(filing, Filing::Machine { .. });
        ReadMail {
            id: mail.id.clone(),
            epoch: mail.epoch,
            auth,
            content_hash,
            follow_up: follow_up.filter(|_| !is_machine),
            filing,
        }
    }

    async fn file(&self, read: Vec<Outcome>) {
        let read = read.into_iter().map(|outcome| self.to_file(outcome));
        let read: Vec<ReadMail> = read.collect();
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

    fn filing(
        &self,
        mail: &SpooledMail,
        auth: Option<&Authentication>,
        reading: Reading,
    ) -> Filing {
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
        let unclear = reading.window_unclear.is_some();
        let ack = reading.ack.map(|parts| ack_to(parts, unclear));
        match reading.kind {
            Kind::Request(mut request) => {
                request.language = language;
                let checked = auth.map(Authentication::proof);
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

fn set_aside(mail: &SpooledMail, broken: Broken) -> ReadMail {
    let reason = broken.word();
    tracing::error!(mail.id = %mail.id, reason, "mail: set aside");
    ReadMail {
        id: mail.id.clone(),
        epoch: mail.epoch,
        auth: mail.auth.clone(),
        content_hash: format!("broken-{}", mail.id),
        follow_up: None,
        filing: Filing::Quarantine { reason },
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

fn ack_to(parts: AckParts, unclear: bool) -> AckTo {
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
        unclear,
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
