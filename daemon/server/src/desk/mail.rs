//! Mail that comes in: spooled before the sender hears 250, worked on under a lease,
//! and filed with everything it causes in one transaction.

use std::time::Duration;

use helpline_core::id::{MailInId, RequestId};
use helpline_core::queue::admission::Admission;
use helpline_core::request::HelpRequest;
use helpline_core::request::email::{Action, Authentication, Dsn, FollowUp, Undelivered};

use super::accept::{Entered, Entry, enter};
use super::budget;
use super::letter::Letters;
use super::locked;
use super::thread::{self, Follow, Step};
use super::{
    AcceptError, AckTo, Desk, Filed, Filing, Incoming, Origin, Sender, SpooledMail, StoreError,
};
use crate::store::bounce::{self, Bounced};
use crate::store::outbox::MailBody;
use crate::store::{Conn, MailClaim, NewMail, SPOOL_BYTES_MAX, mail, outbox, request};

/// Words of the ways by which mail comes.
const SMTP: &str = "smtp";
const LMTP: &str = "lmtp";
const IMAP: &str = "imap";
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
    /// What is known of its origin, as JSON.
    auth: Option<String>,
    content_hash: String,
    /// What it asks of a request made before; without such a request, it is `what`.
    follow: Option<Follow>,
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
    Bounce {
        reason: &'static str,
        dsn: Dsn,
        of: Option<Undelivered>,
    },
}

impl Desk {
    /// Spools a message; once this returns `Ok` it survives a power cut. The peer is told by what
    /// it calls itself, and by the user that logged in.
    ///
    /// # Errors
    /// [`SpoolError`]: nothing may be promised to the sender.
    pub async fn spool_mail(&self, incoming: Incoming) -> Result<MailInId, SpoolError> {
        if !self.has_spool_for(incoming.raw.len()).await? {
            return Err(SpoolError::Full);
        }
        let id = self.new_id(MailInId::new);
        let new = NewMail {
            id: id.clone(),
            via: if incoming.is_handed { LMTP } else { SMTP },
            peer: incoming.peer.to_string(),
            helo: incoming.helo,
            auth_user: incoming.auth_user,
            mail_from: incoming.mail_from,
            rcpt: incoming.rcpt,
            raw: incoming.raw,
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
            fetched: c.via == IMAP,
            sender: match c.peer.parse() {
                Ok(peer) if c.via == SMTP && !c.submitted => Some(Sender { peer, helo: c.helo }),
                _ => None,
            },
            auth: None,
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
        self.file(spooled, content_hash, None, filing).await
    }

    /// Files a claimed message that names a request made before: what it asks of that one is
    /// done. Should there be no such request, it is filed as `otherwise`.
    ///
    /// # Errors
    /// As [`Desk::file_mail`].
    pub async fn file_follow_up(
        &self,
        spooled: &SpooledMail,
        content_hash: &str,
        follow_up: FollowUp,
        otherwise: Filing,
    ) -> Result<Filed, StoreError> {
        let follow = self.follow(follow_up, answered(&otherwise)).await?;
        self.file(spooled, content_hash, Some(follow), otherwise)
            .await
    }

    async fn file(
        &self,
        spooled: &SpooledMail,
        content_hash: &str,
        follow: Option<Follow>,
        filing: Filing,
    ) -> Result<Filed, StoreError> {
        let report = report_word(&filing);
        let (what, queue) = self.what(filing).await;
        let file = File {
            id: spooled.id.clone(),
            epoch: spooled.epoch,
            auth: as_json(spooled.auth.as_ref())?,
            content_hash: content_hash.to_owned(),
            follow,
            what,
            letters: self.letters(&queue),
        };
        let Put {
            filed,
            withheld,
            hang_up,
        } = self
            .store
            .write(move |tx| {
                let file = file.clone();
                Box::pin(async move { put(tx, &file).await })
            })
            .await?;
        if let Some(word) = report {
            *locked(&self.reports).entry(word).or_default() += 1;
        }
        self.note_reply(withheld);
        self.end_calls(hang_up);
        Ok(filed)
    }

    /// What a filing needs, and the queue it speaks for.
    async fn what(&self, filing: Filing) -> (What, String) {
        let keep = |kind, reason| (What::Keep { kind, reason }, String::new());
        match filing {
            Filing::Request {
                request,
                ack,
                admission,
            } => {
                let queue = request.queue.clone();
                (self.at_the_door(*request, ack, admission).await, queue)
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
            Filing::Bounce { reason, dsn, of } => (What::Bounce { reason, dsn, of }, String::new()),
            Filing::Quarantine { reason } => keep("quarantine", reason),
        }
    }

    async fn at_the_door(
        &self,
        request: HelpRequest,
        ack: Option<AckTo>,
        admission: Admission,
    ) -> What {
        let origin = Origin {
            ack,
            admission,
            ..Origin::default()
        };
        match self.entry(request, origin).await {
            Ok(entry) => What::Enter(Box::new(entry)),
            Err(refused) => What::Refused(refused),
        }
    }
}

fn as_json(auth: Option<&Authentication>) -> Result<Option<String>, StoreError> {
    let json = auth.map(serde_json::to_string).transpose();
    json.map_err(|error| StoreError::Damaged(error.to_string()))
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

/// Whom a filing would answer.
fn answered(filing: &Filing) -> Option<AckTo> {
    match filing {
        Filing::Request { ack, .. } => ack.clone(),
        Filing::NeedsInfo { ask, .. } => ask.clone(),
        Filing::Machine { .. } | Filing::Bounce { .. } | Filing::Quarantine { .. } => None,
    }
}

/// By which word a report is counted.
const fn report_word(filing: &Filing) -> Option<&'static str> {
    match filing {
        Filing::Bounce { of: None, .. } => Some("not_ours"),
        Filing::Bounce { dsn, .. } => Some(match dsn.action {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Unknown => "unparsed",
        }),
        _ => None,
    }
}

/// What was filed.
struct Put {
    filed: Filed,
    /// A reply to it was withheld.
    withheld: bool,
    /// A live call has to be ended.
    hang_up: Option<RequestId>,
}

impl From<(Filed, bool)> for Put {
    fn from((filed, withheld): (Filed, bool)) -> Self {
        Put {
            filed,
            withheld,
            hang_up: None,
        }
    }
}

async fn put(tx: &mut Conn, file: &File) -> Result<Put, StoreError> {
    let (id, epoch, hash) = (&file.id, file.epoch, file.content_hash.as_str());
    if let Some(auth) = &file.auth {
        mail::keep_auth(tx, id, epoch, auth).await?;
    }
    let fresh = mail::see(tx, hash, id).await?;
    match &file.what {
        What::Keep { kind, reason } => {
            mail::done(tx, id, epoch, kind, Some(reason), hash, None).await?;
            return Ok((Filed::Kept, false).into());
        }
        _ if !fresh => {
            mail::done(tx, id, epoch, "duplicate", None, hash, None).await?;
            return Ok((Filed::Duplicate, false).into());
        }
        _ => {}
    }
    let step = match &file.follow {
        Some(follow) => thread::put(tx, follow).await?,
        None => Step::ByItself,
    };
    match step {
        Step::ByItself => put_by_itself(tx, file).await.map(Put::from),
        Step::Again(entry) => put_request(tx, file, entry).await.map(Put::from),
        Step::Done(followed) => {
            let (request, reason) = (followed.request, followed.reason);
            let about = Some(&request);
            mail::done(tx, id, epoch, "follow_up", Some(reason), hash, about).await?;
            Ok(Put {
                filed: Filed::FollowUp(request, reason),
                withheld: followed.withheld,
                hang_up: followed.hang_up,
            })
        }
    }
}

/// What was filed, and whether a reply to it was withheld.
async fn put_by_itself(tx: &mut Conn, file: &File) -> Result<(Filed, bool), StoreError> {
    let (id, epoch, hash) = (&file.id, file.epoch, file.content_hash.as_str());
    match &file.what {
        What::Enter(entry) => put_request(tx, file, entry).await,
        What::Refused(error) => refuse(tx, file, error.clone()).await,
        What::Ask { reason, .. } => {
            let withheld = !ask(tx, file).await?;
            mail::done(tx, id, epoch, "needs_info", Some(reason), hash, None).await?;
            Ok((Filed::Kept, withheld))
        }
        What::Bounce { reason, dsn, of } => {
            let request = came_back(tx, dsn, of.as_ref()).await?;
            let request = request.as_ref();
            mail::done(tx, id, epoch, "bounce", Some(reason), hash, request).await?;
            Ok((Filed::Kept, false))
        }
        What::Keep { kind, reason } => {
            mail::done(tx, id, epoch, kind, Some(reason), hash, None).await?;
            Ok((Filed::Kept, false))
        }
    }
}

async fn put_request(
    tx: &mut Conn,
    file: &File,
    entry: &Entry,
) -> Result<(Filed, bool), StoreError> {
    let (id, epoch, hash) = (&file.id, file.epoch, file.content_hash.as_str());
    match enter(tx, entry).await? {
        Ok(Entered { accepted, withheld }) => {
            let request = Some(&accepted.id);
            mail::done(tx, id, epoch, "request", None, hash, request).await?;
            Ok((Filed::Request(accepted.id), withheld))
        }
        Err(error) => refuse(tx, file, error).await,
    }
}

/// Notes with the request and the mail that it came back; a report that it is late, or arrived,
/// changes nothing. The request that the mail spoke of, if it did.
async fn came_back(
    tx: &mut Conn,
    dsn: &Dsn,
    of: Option<&Undelivered>,
) -> Result<Option<RequestId>, StoreError> {
    let Some(of) = of else { return Ok(None) };
    let about = RequestId::from_text(&of.about);
    if dsn.action == Action::Failed
        && let Some(Bounced { to, kind }) = bounce::note(tx, of, dsn.status.as_deref()).await?
    {
        tracing::warn!(about = %about, kind, status = dsn.status, "a mail came back");
        // The operator's own mailboxes are not given up.
        if dsn.has_no_address() && kind != "voicemail" {
            let status = dsn.status.as_deref().unwrap_or_default();
            bounce::suppress(tx, &to, status).await?;
        }
    }
    Ok(request::by_id(tx, &about).await?.map(|row| row.id))
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
