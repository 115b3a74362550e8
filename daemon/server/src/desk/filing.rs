//! What becomes of mail that was read: all of it, with everything it causes, in one transaction.

use helpline_core::id::{MailInId, RequestId};
use helpline_core::queue::admission::Admission;
use helpline_core::request::HelpRequest;
use helpline_core::request::email::{Action, Authentication, Dsn, Undelivered};

use super::accept::{Entered, Entry, enter};
use super::budget;
use super::letter::Letters;
use super::locked;
use super::thread::{self, Follow, Step};
use super::{AcceptError, AckTo, Desk, Filed, Filing, Origin, ReadMail, StoreError};
use crate::store::bounce::{self, Bounced};
use crate::store::outbox::MailBody;
use crate::store::{Conn, Lane, mail, outbox, request};

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
    /// By which word a report is counted.
    report: Option<&'static str>,
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
    /// Files claimed messages: request, reply, memory of its content and the row of each message
    /// change together or not at all. All are written by one transaction; should one of them
    /// spoil that, each is written by itself.
    ///
    /// The answers are in the order of the messages. [`StoreError::Fenced`]: the lease ran out
    /// and someone else has the message; [`StoreError::Unavailable`]: it will be claimed again.
    pub async fn file_mails(&self, read: Vec<ReadMail>) -> Vec<Result<Filed, StoreError>> {
        let mut prepared = Vec::with_capacity(read.len());
        for read in read {
            prepared.push(self.prepare(read).await);
        }
        let files: Vec<File> = prepared.iter().flatten().cloned().collect();
        let put = self
            .store
            .write_lot(Lane::Behind, files, |tx, lot| Box::pin(put_all(tx, lot)));
        let mut put = put.await.into_iter();
        let mut ended = Vec::new();
        let filed = prepared.into_iter().map(|file| {
            let file = file?;
            let stopped = || Err(StoreError::Unavailable("nothing was filed".into()));
            let put = put.next().unwrap_or_else(stopped)?;
            if let Some(word) = file.report {
                *locked(&self.reports).entry(word).or_default() += 1;
            }
            self.note_reply(put.withheld);
            ended.extend(put.hang_up);
            Ok(put.filed)
        });
        let filed = filed.collect();
        // Once for all: each look at the line is a transaction.
        self.end_calls(ended);
        filed
    }

    async fn prepare(&self, read: ReadMail) -> Result<File, StoreError> {
        let report = report_word(&read.filing);
        let follow = match read.follow_up {
            Some(follow_up) => Some(self.follow(*follow_up, answered(&read.filing)).await?),
            None => None,
        };
        let (what, queue) = self.what(read.filing).await;
        Ok(File {
            id: read.id,
            epoch: read.epoch,
            auth: as_json(read.auth.as_ref())?,
            content_hash: read.content_hash,
            follow,
            what,
            letters: self.letters(&queue),
            report,
        })
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

async fn put_all(tx: &mut Conn, lot: &[File]) -> Result<Vec<Put>, StoreError> {
    let mut put_all = Vec::with_capacity(lot.len());
    for file in lot {
        put_all.push(put(tx, file).await?);
    }
    Ok(put_all)
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
