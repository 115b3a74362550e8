//! Works on spooled mail: claim, read, file. A message that breaks the reader breaks nothing
//! else: it is read on a thread of its own with a time limit, and after three attempts it is
//! set aside for people. A message that ends the whole process is counted by its claim, which
//! is committed before the work begins.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use helpline_core::phone::DialRules;
use helpline_core::request::email::{
    AckParts, Envelope, Kind, MailContext, Reading, address_key, content_hash, read,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::desk::{AckTo, Desk, Filed, Filing, SpooledMail};

/// Loops that take messages from the spool.
const WORKERS: usize = 4;
/// Messages a loop takes at once: what they cause is committed together.
const TAKEN_MAX: u32 = 16;
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
}

/// Reads one message: content hash and what it asks for.
pub type Reader = fn(&SpooledMail, &Config, &DialRules) -> (String, Reading);

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
pub async fn work(desk: Arc<Desk>, config: Arc<Config>, stop: CancellationToken) {
    work_with(desk, config, stop, read_mail).await;
}

/// As [`work`], with a reader of the caller's: tests give one that breaks.
pub async fn work_with(
    desk: Arc<Desk>,
    config: Arc<Config>,
    stop: CancellationToken,
    reader: Reader,
) {
    let dial = config.dial_rules();
    let office = Arc::new(Office {
        desk,
        config,
        dial,
        reader,
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
}

impl Office {
    async fn work(&self, stop: &CancellationToken) {
        let waiting = self.desk.mail_waiting();
        let mut pause = Duration::from_secs(1);
        while !stop.is_cancelled() {
            let rest = match self.desk.claim_mail(TAKEN_MAX).await {
                Ok(taken) if taken.is_empty() => LOOK_EVERY,
                Ok(taken) => {
                    pause = Duration::from_secs(1);
                    join_all(taken.into_iter().map(|mail| self.one(mail))).await;
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

    /// Reads and files one message.
    async fn one(&self, mail: SpooledMail) {
        let id = mail.id.clone();
        let (hash, filing) = match self.read_patiently(&mail).await {
            Ok((hash, reading)) => (hash, self.filing(&mail, reading)),
            Err(None) => return,
            Err(Some(broken)) => {
                tracing::error!(mail.id = %id, reason = broken.word(), "mail: set aside");
                let reason = broken.word();
                (format!("broken-{id}"), Filing::Quarantine { reason })
            }
        };
        match self.desk.file_mail(&mail, &hash, filing).await {
            Ok(Filed::Request(request)) => {
                tracing::info!(mail.id = %id, request.id = %request, "mail: a request");
            }
            Ok(filed) => tracing::info!(mail.id = %id, ?filed, "mail: filed"),
            Err(error) => tracing::warn!(mail.id = %id, %error, "mail: not filed"),
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
        let reading = tokio::task::spawn_blocking(move || {
            catch_unwind(AssertUnwindSafe(|| reader(&mail, &config, &dial)))
        });
        match tokio::time::timeout(READ_WAIT, reading).await {
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
                Filing::Request { request, ack }
            }
            Kind::NeedsInfo { reason } => Filing::NeedsInfo {
                reason,
                ask: ack,
                form_query,
                language,
            },
            Kind::Machine { reason } => Filing::Machine { reason },
            Kind::Bounce { reason } => Filing::Bounce { reason },
            Kind::Quarantine { reason } => Filing::Quarantine { reason },
        }
    }

    fn is_help_address(&self, rcpt: &str) -> bool {
        let given = address_key(rcpt);
        given.is_some()
            && self
                .config
                .smtp
                .addresses
                .iter()
                .any(|own| address_key(own) == given)
    }
}

/// The reader of the daemon.
#[must_use]
pub fn read_mail(mail: &SpooledMail, config: &Config, dial: &DialRules) -> (String, Reading) {
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
                submitted,
                received_at: helpline_core::time::Wall::from_millis(0),
                attempts: 1,
                epoch: 1,
            };
            read_mail(&mail, &config, &DialRules::default())
                .1
                .silent_reason
        };
        assert_eq!(silent(false), Some("auth_fail"));
        assert_eq!(silent(true), None);
    }
}
