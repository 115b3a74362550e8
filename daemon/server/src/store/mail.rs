//! The mail spool: what stands behind a 250, and what became of it. The condition of the index of
//! what is in work stands in statements word by word: SQLite knows it by that.

use std::time::Duration;

use helpline_core::id::{MailInId, RequestId};
use helpline_core::time::Wall;

use super::conn::{Row, args};
use super::{Conn, Error, alarm};

/// Raw bytes that may wait in the spool; beyond that mail is told to come later.
pub const SPOOL_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Work on one message.
const LEASE: Duration = Duration::from_secs(60);
/// A message that breaks its worker so often is set aside.
const ATTEMPTS_MAX: u32 = 3;

/// A message as it was received.
#[derive(Clone, Debug)]
pub(crate) struct NewMail {
    pub(crate) id: MailInId,
    /// `smtp` or `lmtp`.
    pub(crate) via: &'static str,
    pub(crate) peer: String,
    pub(crate) helo: String,
    /// Who logged in to send it.
    pub(crate) auth_user: Option<String>,
    pub(crate) mail_from: Option<String>,
    pub(crate) rcpt: Vec<String>,
    pub(crate) raw: Vec<u8>,
}

/// A message claimed for work.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) id: MailInId,
    pub(crate) mail_from: Option<String>,
    pub(crate) rcpt: Vec<String>,
    pub(crate) raw: Vec<u8>,
    /// How it came: `smtp`, `lmtp` or `imap`.
    pub(crate) via: String,
    pub(crate) peer: String,
    pub(crate) helo: String,
    /// Its sender logged in.
    pub(crate) submitted: bool,
    pub(crate) received_at: Wall,
    pub(crate) attempts: u32,
    pub(crate) epoch: i64,
}

/// Bytes of messages that wait in the spool.
pub(crate) async fn waiting(tx: &mut Conn) -> Result<u64, Error> {
    let bytes = tx
        .int(
            "select cast(coalesce(sum(size_bytes), 0) as bigint) from mail_in
             where state in ('spooled', 'working')",
            vec![],
        )
        .await?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Spools a message.
pub(crate) async fn spool(tx: &mut Conn, mail: &NewMail) -> Result<(), Error> {
    let rcpt = serde_json::to_string(&mail.rcpt).map_err(|e| Error::Damaged(e.to_string()))?;
    tx.run(
        "insert into mail_in (id, via, peer, helo, auth_user, mail_from, rcpt, size_bytes, state,
           created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 'spooled', {now})",
        args![
            mail.id.as_str(),
            mail.via,
            &mail.peer,
            &mail.helo,
            mail.auth_user.clone(),
            mail.mail_from.clone(),
            rcpt,
            i64::try_from(mail.raw.len()).unwrap_or(i64::MAX),
        ],
    )
    .await?;
    keep_raw(tx, &mail.id, &mail.raw).await
}

/// Keeps the bytes of a message.
pub(super) async fn keep_raw(tx: &mut Conn, id: &MailInId, raw: &[u8]) -> Result<(), Error> {
    tx.run(
        "insert into mail_raw (id, raw) values ($1, $2)",
        args![id.as_str(), raw.to_vec()],
    )
    .await
    .map(|_| ())
}

/// Claims the oldest messages, up to `limit`. The count of attempts is committed before work begins, so
/// it survives a crash; a message that used them up is set aside.
pub(crate) async fn claim(tx: &mut Conn, limit: u32) -> Result<Vec<Claim>, Error> {
    let broken = tx
        .rows(
        "update mail_in set state = 'quarantined', kind = 'quarantine', reason = 'breaks_worker',
           lease_until = null, moved_at = {now}
         where state in ('spooled', 'working') and state = 'working' and lease_until <= {now}
           and attempts >= $1
         returning id",
        args![ATTEMPTS_MAX],
    )
    .await?;
    if !broken.is_empty() {
        alarm::note(tx, alarm::QUARANTINE, Some("breaks_worker")).await?;
    }
    let rows = tx
        .rows(
            "with c as (select id from mail_in where state in ('spooled', 'working')
                 and (state = 'spooled' or lease_until <= {now})
               order by attempts, created_at, id limit $2 {lock})
             update mail_in set state = 'working', attempts = attempts + 1, epoch = epoch + 1,
               lease_until = {now} + $1
             where id in (select id from c) and state in ('spooled', 'working')
             returning id, mail_from, rcpt, (select raw from mail_raw r where r.id = mail_in.id),
               coalesce(received_at, created_at), attempts, epoch,
               via, peer, helo, case when auth_user is not null then 1 else 0 end",
            args![LEASE, limit],
        )
        .await?;
    rows.iter().map(claimed).collect()
}

fn claimed(row: &Row) -> Result<Claim, Error> {
    Ok(Claim {
        id: MailInId::from_text(&row.text(0)?),
        mail_from: row.opt_text(1)?,
        rcpt: serde_json::from_str(&row.text(2)?).map_err(|e| Error::Damaged(e.to_string()))?,
        raw: row.opt_bytes(3)?.unwrap_or_default(),
        received_at: row.wall(4)?,
        attempts: row.count(5)?,
        epoch: row.int(6)?,
        via: row.text(7)?,
        peer: row.text(8)?,
        helo: row.text(9)?,
        submitted: row.int(10)? == 1,
    })
}

/// After a start nobody works on anything: what was claimed may be claimed again at once.
pub(crate) async fn end_leases(tx: &mut Conn) -> Result<(), Error> {
    tx.run(
        "update mail_in set lease_until = {now}
         where state in ('spooled', 'working') and state = 'working'",
        vec![],
    )
    .await
    .map(|_| ())
}

/// Keeps what the checks of a message's origin gave, as JSON. [`Error::Fenced`] if someone else
/// has the message.
pub(crate) async fn keep_auth(
    tx: &mut Conn,
    id: &MailInId,
    epoch: i64,
    auth: &str,
) -> Result<(), Error> {
    tx.change(
        "update mail_in set auth = $3 where id = $1 and epoch = $2 and state = 'working'",
        args![id.as_str(), epoch, auth],
    )
    .await
}

/// Marks a message as dealt with. [`Error::Fenced`] if someone else has it.
pub(crate) async fn done(
    tx: &mut Conn,
    id: &MailInId,
    epoch: i64,
    kind: &str,
    reason: Option<&str>,
    content_hash: &str,
    request: Option<&RequestId>,
) -> Result<(), Error> {
    let state = if kind == "quarantine" {
        alarm::note(tx, alarm::QUARANTINE, reason).await?;
        "quarantined"
    } else {
        "done"
    };
    tx.change(
        "update mail_in set state = $3, kind = $4, reason = $5, content_hash = $6,
           request_id = $7, lease_until = null, moved_at = {now}
         where id = $1 and epoch = $2 and state = 'working'",
        args![
            id.as_str(),
            epoch,
            state,
            kind,
            reason,
            content_hash,
            request.map(RequestId::as_str)
        ],
    )
    .await
}

/// Remembers a content; false if it was filed before.
pub(crate) async fn see(tx: &mut Conn, content_hash: &str, id: &MailInId) -> Result<bool, Error> {
    let seen = tx
        .run(
            "insert into mail_seen (content_hash, mail_in_id, created_at)
             values ($1, $2, {now}) on conflict do nothing",
            args![content_hash, id.as_str()],
        )
        .await?;
    Ok(seen > 0)
}

/// Forgets a content: its request was refused, a later copy may be accepted.
pub(crate) async fn unsee(tx: &mut Conn, content_hash: &str, id: &MailInId) -> Result<(), Error> {
    tx.run(
        "delete from mail_seen where content_hash = $1 and mail_in_id = $2",
        args![content_hash, id.as_str()],
    )
    .await
    .map(|_| ())
}

/// A message that was set aside.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// Its id.
    pub id: String,
    /// Why, a word.
    pub reason: Option<String>,
    /// Mailbox it was fetched from; `None`: it came by SMTP.
    pub mailbox: Option<String>,
    /// Its bytes.
    pub size: u64,
    /// When it came.
    pub received_at: Wall,
}

/// Messages that were set aside, the latest first.
pub(crate) async fn set_aside(tx: &mut Conn, limit: u32) -> Result<Vec<SetAside>, Error> {
    let rows = tx
        .rows(
            "select id, reason, mailbox, size_bytes, coalesce(received_at, created_at)
             from mail_in where state = 'quarantined' order by created_at desc, id desc limit $1",
            args![limit],
        )
        .await?;
    let read = |row: &Row| {
        Ok(SetAside {
            id: row.text(0)?,
            reason: row.opt_text(1)?,
            mailbox: row.opt_text(2)?,
            size: u64::try_from(row.int(3)?).unwrap_or(0),
            received_at: row.wall(4)?,
        })
    };
    rows.iter().map(read).collect()
}

/// The bytes of a message as it came; `None` if there is none of this id, or they are gone.
pub(crate) async fn raw(tx: &mut Conn, id: &MailInId) -> Result<Option<Vec<u8>>, Error> {
    let row = tx
        .row("select raw from mail_raw where id = $1", args![id.as_str()])
        .await?;
    row.map_or(Ok(None), |row| row.opt_bytes(0))
}

/// Forgets the bytes of messages that came before `floor` and wait for nothing, up to `limit`;
/// how many.
pub(crate) async fn forget_raw(tx: &mut Conn, floor: &MailInId, limit: u32) -> Result<u64, Error> {
    tx.run(
        "delete from mail_raw where id in (select r.id from mail_raw r join mail_in m on m.id = r.id
           where r.id < $1 and m.state in ('done', 'quarantined') order by r.id limit $2)",
        args![floor.as_str(), limit],
    )
    .await
}

/// Has a message that was set aside worked on again, as if it had just come; false if none of
/// this id is set aside, or its bytes are gone.
pub(crate) async fn again(tx: &mut Conn, id: &MailInId) -> Result<bool, Error> {
    let row = tx
        .row(
            "update mail_in set state = 'spooled', attempts = 0, epoch = epoch + 1, kind = null,
               reason = null, moved_at = null
             where id = $1 and state = 'quarantined'
               and exists (select 1 from mail_raw r where r.id = mail_in.id)
             returning content_hash",
            args![id.as_str()],
        )
        .await?;
    let Some(row) = row else { return Ok(false) };
    if let Some(hash) = row.opt_text(0)? {
        unsee(tx, &hash, id).await?;
    }
    Ok(true)
}
