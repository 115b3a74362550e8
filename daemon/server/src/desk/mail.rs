//! Mail that comes in: spooled before the sender hears 250, worked on under a lease,
//! and filed with everything it causes in one transaction.

use std::net::IpAddr;
use std::time::Duration;

use helpline_core::id::MailInId;
use helpline_core::request::HelpRequest;

use super::accept::{Entered, Entry, enter};
use super::budget;
use super::letter::Letters;
use super::locked;
use super::{AcceptError, AckTo, Desk, Filed, Filing, Origin, SpooledMail, StoreError};
use crate::store::outbox::MailBody;
use crate::store::{Conn, MailClaim, NewMail, SPOOL_BYTES_MAX, mail, outbox};

/// How long a look at the spool is good for.
const SPOOL_SEEN_FOR: Duration = Duration::from_secs(1);

/// Why a message was not spooled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// The store did not answer: 451, the sender comes again.
    #[error("the spool did not answer")]
    Unknown,
    /// Too much mail waits: 452.
    #[error("the spool is full")]
    Full,
}

/// A filing with everything its transaction needs; it may run twice.
#[derive(Clone)]
struct File {
    id: MailInId,
    epoch: i64,
    content_hash: String,
    what: What,
    letters: Letters,
}

#[derive(Clone)]
enum What {
    /// A request at the door.
    Enter(Box<Entry>),
    /// Refused before the door.
    Refused(AcceptError),
    Ask {
        reason: &'static str,
        to: Option<AckTo>,
        form_query: String,
        language: String,
    },
    Keep {
        kind: &'static str,
        reason: &'static str,
    },
}

impl Desk {
    /// Spools a message; once this returns `Ok` it survives a power cut. The peer is told by what
    /// it calls itself, and by the user that logged in.
    ///
    /// # Errors
    /// [`SpoolError`]: nothing may be promised to the sender.
    pub async fn spool_mail(
        &self,
        mail_from: Option<String>,
        rcpt: Vec<String>,
        peer: IpAddr,
        (helo, auth_user): (String, Option<String>),
        raw: Vec<u8>,
    ) -> Result<MailInId, SpoolError> {
        if !self.has_spool_for(raw.len()).await? {
            return Err(SpoolError::Full);
        }
        let id = self.new_id(MailInId::new);
        let new = NewMail {
            id: id.clone(),
            peer: peer.to_string(),
            helo,
            auth_user,
            mail_from,
            rcpt,
            raw,
        };
        let spooled = self
            .store
            .write(move |tx| {
                let new = new.clone();
                Box::pin(async move { mail::spool(tx, &new).await })
            })
            .await;
        match spooled {
            Ok(()) => {
                self.mail_waiting.notify_one();
                Ok(id)
            }
            Err(error) => {
                tracing::error!(%error, "a message could not be spooled");
                Err(SpoolError::Unknown)
            }
        }
    }

    /// Whether so many bytes more may wait. How much waits is looked at once in a while; what
    /// came since then is added.
    ///
    /// # Errors
    /// [`SpoolError::Unknown`].
    pub(super) async fn has_spool_for(&self, bytes: usize) -> Result<bool, SpoolError> {
        let now = self.clock.time();
        let known = {
            let mut spooled = locked(&self.spooled);
            let known = spooled.filter(|(at, _)| now.since(*at) < SPOOL_SEEN_FOR);
            if let Some((at, waiting)) = known {
                *spooled = Some((at, waiting + bytes as u64));
            }
            known
        };
        let waiting = match known {
            Some((_, waiting)) => waiting,
            None => {
                let seen = self.store.read(|tx| Box::pin(mail::waiting(tx))).await;
                let waiting = seen.map_err(|error| {
                    tracing::error!(%error, "the spool could not be looked at");
                    SpoolError::Unknown
                })?;
                *locked(&self.spooled) = Some((now, waiting + bytes as u64));
                waiting
            }
        };
        Ok(waiting + bytes as u64 <= SPOOL_BYTES_MAX)
    }

    /// Takes the next messages for work, up to `limit`, with a lease of a minute.
    /// A message whose work broke off three times is set aside and not given again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn claim_mail(&self, limit: u32) -> Result<Vec<SpooledMail>, StoreError> {
        let claimed = self.store.write(move |tx| Box::pin(mail::claim(tx, limit)));
        let claimed = claimed.await?;
        let spooled = |c: MailClaim| SpooledMail {
            id: c.id,
            mail_from: c.mail_from,
            rcpt: c.rcpt,
            raw: c.raw,
            fetched: c.fetched,
            submitted: c.submitted,
            received_at: c.received_at,
            attempts: c.attempts,
            epoch: c.epoch,
        };
        Ok(claimed.into_iter().map(spooled).collect())
    }

    /// Has a message that was set aside worked on again; false if none of this id is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn retry_mail(&self, id: &MailInId) -> Result<bool, StoreError> {
        let id = id.clone();
        let again = self.store.write(move |tx| {
            let id = id.clone();
            Box::pin(async move { mail::again(tx, &id).await })
        });
        let again = again.await?;
        self.mail_waiting.notify_one();
        Ok(again)
    }

    /// Files a claimed message: request, reply, memory of its content and the message's
    /// own row change together or not at all.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]: the lease ran out and someone else has the message;
    /// [`StoreError::Unavailable`]: it will be claimed again.
    pub async fn file_mail(
        &self,
        spooled: &SpooledMail,
        content_hash: &str,
        filing: Filing,
    ) -> Result<Filed, StoreError> {
        let (what, queue) = self.what(filing).await;
        let file = File {
            id: spooled.id.clone(),
            epoch: spooled.epoch,
            content_hash: content_hash.to_owned(),
            what,
            letters: self.letters(&queue),
        };
        let (filed, withheld) = self
            .store
            .write(move |tx| {
                let file = file.clone();
                Box::pin(async move { put(tx, &file).await })
            })
            .await?;
        self.note_reply(withheld);
        self.wake_line();
        self.wake_mail();
        Ok(filed)
    }

    /// What a filing needs, and the queue it speaks for.
    async fn what(&self, filing: Filing) -> (What, String) {
        let keep = |kind, reason| (What::Keep { kind, reason }, String::new());
        match filing {
            Filing::Request { request, ack } => {
                let queue = request.queue.clone();
                (self.at_the_door(*request, ack).await, queue)
            }
            Filing::NeedsInfo {
                reason,
                ask,
                form_query,
                language,
            } => (
                What::Ask {
                    reason,
                    to: ask,
                    form_query,
                    language,
                },
                self.config.default_queue().to_owned(),
            ),
            Filing::Machine { reason } => keep("machine", reason),
            Filing::Bounce { reason } => keep("bounce", reason),
            Filing::Quarantine { reason } => keep("quarantine", reason),
        }
    }

    async fn at_the_door(&self, request: HelpRequest, ack: Option<AckTo>) -> What {
        let origin = Origin {
            ack,
            ..Origin::default()
        };
        match self.entry(request, origin).await {
            Ok(entry) => What::Enter(Box::new(entry)),
            Err(refused) => What::Refused(refused),
        }
    }
}

/// The word of a refusal in the message's row.
const fn refusal(error: &AcceptError) -> &'static str {
    match error {
        AcceptError::KeyReused => "key_reused",
        AcceptError::Full => "full",
        AcceptError::TooMany { .. } => "too_many",
        AcceptError::NotAllowed => "not_allowed",
        AcceptError::BadTime(_) => "bad_time",
        AcceptError::Unavailable => "unavailable",
    }
}

/// What was filed, and whether a reply to it was withheld.
async fn put(tx: &mut Conn, file: &File) -> Result<(Filed, bool), StoreError> {
    let (id, epoch, hash) = (&file.id, file.epoch, file.content_hash.as_str());
    let fresh = mail::see(tx, hash, id).await?;
    match &file.what {
        What::Keep { kind, reason } => {
            mail::done(tx, id, epoch, kind, Some(reason), hash, None).await?;
            Ok((Filed::Kept, false))
        }
        _ if !fresh => {
            mail::done(tx, id, epoch, "duplicate", None, hash, None).await?;
            Ok((Filed::Duplicate, false))
        }
        What::Enter(entry) => match enter(tx, entry).await? {
            Ok(Entered { accepted, withheld }) => {
                let request = Some(&accepted.id);
                mail::done(tx, id, epoch, "request", None, hash, request).await?;
                Ok((Filed::Request(accepted.id), withheld))
            }
            Err(error) => refuse(tx, file, error).await,
        },
        What::Refused(error) => refuse(tx, file, error.clone()).await,
        What::Ask { reason, .. } => {
            let withheld = !ask(tx, file).await?;
            mail::done(tx, id, epoch, "needs_info", Some(reason), hash, None).await?;
            Ok((Filed::Kept, withheld))
        }
    }
}

/// Writes the question for a number, if somebody may be asked; false if the budget of
/// replies withholds it.
async fn ask(tx: &mut Conn, file: &File) -> Result<bool, StoreError> {
    let What::Ask {
        reason,
        to: Some(to),
        form_query,
        language,
    } = &file.what
    else {
        return Ok(true);
    };
    if !budget::take(tx, &to.address, true).await? {
        return Ok(false);
    }
    let body = MailBody {
        reason: Some((*reason).to_owned()),
        form_query: Some(form_query.clone()),
        queue_title: Some(file.letters.title.clone()),
        made_at: Some(tx.now().await?),
        ..MailBody::default()
    };
    let about = file.id.as_str().to_owned();
    let row = file
        .letters
        .row(about, "needs_info", 0, to.clone(), body, language);
    outbox::insert(tx, &row).await?;
    Ok(true)
}

/// Kept for people; its content is forgotten, so that a later copy may be accepted.
async fn refuse(
    tx: &mut Conn,
    file: &File,
    error: AcceptError,
) -> Result<(Filed, bool), StoreError> {
    let hash = file.content_hash.as_str();
    mail::unsee(tx, hash, &file.id).await?;
    let reason = Some(refusal(&error));
    mail::done(tx, &file.id, file.epoch, "refused", reason, hash, None).await?;
    Ok((Filed::Refused(error), false))
}
