//! The outbox: mail that must be sent, written in the transaction that caused it.
//! `notify` claims rows, renders them once, sends them, and marks them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::ivr::io::HttpOrder;
use helpline_core::queue::ewt::Promise;
use helpline_core::time::Wall;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::conn::args;
use super::{Conn, Error, Store, bounce};

/// Time to send one mail; past this another worker may try.
const LEASE: Duration = Duration::from_secs(120);

/// A row claimed for sending.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// Row id.
    pub id: String,
    /// What it speaks of: a request id, or a mail id for `needs_info`.
    pub about: String,
    /// Name of the template: `ack` `needs_info` `attempted` `closing` `voicemail`
    /// `alarm`; or `webhook`.
    pub kind: String,
    /// Facts for the template.
    pub body: MailBody,
    /// Language of the mail (BCP 47).
    pub locale: String,
    /// The one recipient.
    pub to_addr: String,
    /// Fixed Message-ID without `<>`: the same in every retry.
    pub message_id: String,
    /// The bytes, once rendered: every retry sends the same.
    pub rendered: Option<Vec<u8>>,
    /// Tries so far, this one included.
    pub attempts: u32,
    /// Fence for marking the row.
    pub epoch: i64,
    /// There is no such address: an earlier mail came back.
    pub is_unreachable: bool,
}

/// Facts of a mail. Only values for templates; never a template itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MailBody {
    /// Short name of the request a person can quote, `7KQ2-9F4M`.
    pub request_tag: Option<String>,
    /// The number, masked.
    pub number_masked: Option<String>,
    /// The customer's name.
    pub customer_name: Option<String>,
    /// Place in line, 1 = next.
    pub position: Option<u32>,
    /// What is promised.
    pub promise: Option<Promise>,
    /// When the promise was made.
    pub made_at: Option<Wall>,
    /// Secret of the status page; links are made from it and `http.public_url`.
    pub token: Option<String>,
    /// Query of the prefilled form, for `needs_info` and rebooking links.
    pub form_query: Option<String>,
    /// Why (`needs_info`: `no_phone`...; `closing`: terminal state; `attempted`: disposition word;
    /// `changed`: `chosen`, `number`, `unclear`, `bad_time`).
    pub reason: Option<String>,
    /// When the next try is due.
    pub next_at: Option<Wall>,
    /// The time promised before has passed.
    pub missed: bool,
    /// The time that the customer wrote was not understood.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unclear: bool,
    /// Title of the queue.
    pub queue_title: Option<String>,
    /// Message-ID answered.
    pub in_reply_to: Option<String>,
    /// References, oldest first.
    pub references: Vec<String>,
    /// Subject answered.
    pub subject: Option<String>,
    /// A caller's message, for `voicemail`.
    pub message: Option<CallerMessage>,
    /// What the operator has to know, for `alarm`.
    pub alarm: Option<AlarmFacts>,
    /// What another service is told, for `webhook`: no mail at all.
    pub webhook: Option<HttpOrder>,
}

/// A message that a caller left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallerMessage {
    /// Name of the recording.
    pub take: String,
    /// The mailbox it was left in.
    pub mailbox: String,
    /// The caller's number, if it was given.
    pub from: Option<String>,
    /// How long it is.
    pub millis: u64,
    /// IANA zone in which its time is told.
    pub zone: String,
}

/// What the operator has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmFacts {
    /// The mailbox it is about, if it is about one.
    pub mailbox: Option<String>,
    /// What was seen.
    pub detail: Option<String>,
}

/// A mail as it is written in the transaction that causes it.
#[derive(Clone, Debug)]
pub(crate) struct NewOutbox {
    pub(crate) id: String,
    pub(crate) about: String,
    pub(crate) kind: &'static str,
    pub(crate) seq: u32,
    pub(crate) body: MailBody,
    pub(crate) locale: String,
    pub(crate) to_addr: String,
    pub(crate) message_id: String,
    pub(crate) stale_at: Option<Wall>,
}

/// Writes a mail; the same kind and number about one thing is written once.
pub(crate) async fn insert(tx: &mut Conn, mail: &NewOutbox) -> Result<(), Error> {
    let body = serde_json::to_string(&mail.body).map_err(|e| Error::Damaged(e.to_string()))?;
    tx.run(
        "insert into outbox (id, about, kind, seq, body_json, locale, to_addr, message_id, state,
           next_at, stale_at, created_at)
         select $1, $2, $3, $4, $5, $6, $7, $8, 'pending', now_ms, $9, now_ms from clock
           where true on conflict do nothing",
        args![
            &mail.id,
            &mail.about,
            mail.kind,
            mail.seq,
            body,
            &mail.locale,
            &mail.to_addr,
            &mail.message_id,
            mail.stale_at,
        ],
    )
    .await
    .map(|_| ())
}

/// How many of a kind wait for a recipient.
pub(crate) async fn waiting(tx: &mut Conn, kind: &str, to: &str) -> Result<i64, Error> {
    tx.int(
        "select count(*) from outbox where kind = $1 and to_addr = $2
           and state in ('pending', 'sending', 'deferred')",
        args![kind, to],
    )
    .await
}

/// An acknowledgement tells of a call to come: once the request is over, or the promised
/// time has passed, it would only confuse. The condition of the index stands in it word by word.
async fn suppress_stale(tx: &mut Conn) -> Result<(), Error> {
    tx.run(
        "update outbox set state = 'suppressed', last_error = 'stale'
         where state in ('pending', 'sending', 'deferred') and state <> 'sending'
           and kind in ('ack', 'changed') and next_at <= {now}
           and (stale_at < {now} or exists (select 1 from request r
             left join request p on p.id = r.parent
             where r.id = outbox.about
               and coalesce(p.open, r.open) = 0))",
        vec![],
    )
    .await
    .map(|_| ())
}

async fn claim(tx: &mut Conn, limit: u32) -> Result<Vec<OutboxRow>, Error> {
    suppress_stale(tx).await?;
    // Mail about one thing leaves in the order it was written.
    let rows = tx
        .rows(
            "with c as (select id from outbox where state in ('pending', 'sending', 'deferred')
                 and next_at <= {now} and (lease_until is null or lease_until <= {now})
                 and not exists (select 1 from outbox o where o.about = outbox.about
                   and o.state in ('pending', 'sending', 'deferred')
                   and (o.created_at < outbox.created_at
                     or (o.created_at = outbox.created_at and o.id < outbox.id)))
               order by next_at, id limit $1 {lock})
             update outbox set state = 'sending', attempts = attempts + 1, epoch = epoch + 1,
               lease_until = {now} + $2
             where id in (select id from c) and (lease_until is null or lease_until <= {now})
             returning id, about, kind, body_json, locale, to_addr, message_id, rendered,
               attempts, epoch",
            args![limit, LEASE],
        )
        .await?;
    let mut claimed = Vec::new();
    for row in &rows {
        claimed.push(OutboxRow {
            id: row.text(0)?,
            about: row.text(1)?,
            kind: row.text(2)?,
            body: serde_json::from_str(&row.text(3)?).map_err(|e| Error::Damaged(e.to_string()))?,
            locale: row.text(4)?,
            to_addr: row.text(5)?,
            message_id: row.text(6)?,
            rendered: row.opt_bytes(7)?,
            attempts: row.count(8)?,
            epoch: row.int(9)?,
            is_unreachable: false,
        });
    }
    let addresses: Vec<&str> = claimed.iter().map(|row| row.to_addr.as_str()).collect();
    let dead = bounce::suppressed(tx, &addresses).await?;
    let dead: HashSet<String> = dead.into_iter().map(str::to_owned).collect();
    for row in &mut claimed {
        row.is_unreachable = dead.contains(&row.to_addr);
    }
    claimed.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(claimed)
}

/// How a claimed row is marked.
#[derive(Clone)]
enum Mark {
    Sent,
    Deferred(Wall, String),
    Failed(String),
    Suppressed(String),
    Rendered(Vec<u8>),
}

async fn mark(tx: &mut Conn, id: &str, epoch: i64, mark: Mark) -> Result<(), Error> {
    match mark {
        Mark::Rendered(bytes) => {
            tx.change(
                "update outbox set rendered = $3
                 where id = $1 and epoch = $2 and state = 'sending'",
                args![id, epoch, bytes],
            )
            .await
        }
        Mark::Sent => {
            tx.change(
                "update outbox set state = 'sent', lease_until = null, last_error = null,
                   sent_at = {now} where id = $1 and epoch = $2 and state = 'sending'",
                args![id, epoch],
            )
            .await
        }
        Mark::Deferred(next_at, error) => {
            tx.change(
                "update outbox set state = 'deferred', lease_until = null, next_at = $3,
                   last_error = $4 where id = $1 and epoch = $2 and state = 'sending'",
                args![id, epoch, next_at, error],
            )
            .await
        }
        Mark::Failed(error) => over(tx, id, epoch, "failed", error).await,
        Mark::Suppressed(reason) => over(tx, id, epoch, "suppressed", reason).await,
    }
}

async fn over(
    tx: &mut Conn,
    id: &str,
    epoch: i64,
    state: &'static str,
    why: String,
) -> Result<(), Error> {
    tx.change(
        "update outbox set state = $3, lease_until = null, last_error = $4
         where id = $1 and epoch = $2 and state = 'sending'",
        args![id, epoch, state, why],
    )
    .await
}

impl Store {
    /// Claims up to `limit` rows that may be sent now. Acknowledgements that came too
    /// late are suppressed here and never claimed.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn claim_outbox(&self, limit: u32) -> Result<Vec<OutboxRow>, Error> {
        self.write(move |tx| Box::pin(claim(tx, limit))).await
    }

    async fn mark_outbox(&self, row: &OutboxRow, how: Mark) -> Result<(), Error> {
        let (id, epoch) = (row.id.clone(), row.epoch);
        self.write(move |tx| {
            let (id, how) = (id.clone(), how.clone());
            Box::pin(async move { mark(tx, &id, epoch, how).await })
        })
        .await
    }

    /// Keeps the bytes of a mail: every retry sends the same.
    ///
    /// # Errors
    /// [`Error::Fenced`] if another worker has the row; [`Error::Unavailable`].
    pub async fn outbox_rendered(&self, row: &OutboxRow, bytes: &[u8]) -> Result<(), Error> {
        self.mark_outbox(row, Mark::Rendered(bytes.to_vec())).await
    }

    /// The relay took the mail.
    ///
    /// # Errors
    /// As [`Store::outbox_rendered`].
    pub async fn outbox_sent(&self, row: &OutboxRow) -> Result<(), Error> {
        self.mark_outbox(row, Mark::Sent).await
    }

    /// To be tried again at `next_at`.
    ///
    /// # Errors
    /// As [`Store::outbox_rendered`].
    pub async fn outbox_deferred(
        &self,
        row: &OutboxRow,
        next_at: Wall,
        error: &str,
    ) -> Result<(), Error> {
        self.mark_outbox(row, Mark::Deferred(next_at, error.to_owned()))
            .await
    }

    /// Given up.
    ///
    /// # Errors
    /// As [`Store::outbox_rendered`].
    pub async fn outbox_failed(&self, row: &OutboxRow, error: &str) -> Result<(), Error> {
        self.mark_outbox(row, Mark::Failed(error.to_owned())).await
    }

    /// Not to be sent after all.
    ///
    /// # Errors
    /// As [`Store::outbox_rendered`].
    pub async fn outbox_suppressed(&self, row: &OutboxRow, reason: &str) -> Result<(), Error> {
        self.mark_outbox(row, Mark::Suppressed(reason.to_owned()))
            .await
    }

    /// Told whenever a row was written.
    #[must_use]
    pub fn outbox_wake(&self) -> Arc<Notify> {
        Arc::clone(&self.outbox_wake)
    }
}
