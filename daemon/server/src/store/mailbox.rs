//! Mail that lies in mailboxes: which of it is in the spool, and which may be put aside there.

use std::time::Duration;

use helpline_core::id::{MailInId, NodeId};
use helpline_core::oauth::Tokens;
use helpline_core::time::Wall;

use super::conn::args;
use super::{Conn, Error, alarm, mail};

/// A node looks after a mailbox for so long without a word.
const LEASE: Duration = Duration::from_secs(60);

/// A mailbox at one value of its UIDVALIDITY (RFC 3501 §2.3.1.1): under another one the same
/// numbers name other messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Name in the configuration.
    pub mailbox: String,
    /// UIDVALIDITY.
    pub validity: u32,
}

/// A message as it was fetched.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) id: MailInId,
    pub(crate) uid: u32,
    pub(crate) received_at: Option<Wall>,
    pub(crate) raw: Vec<u8>,
    /// Why it is set aside unread.
    pub(crate) set_aside: Option<&'static str>,
}

/// Where a message goes once it is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aside {
    /// A person wrote it and something was done.
    Processed,
    /// A machine wrote it, or it was there before.
    Ignored,
    /// Nobody could read it.
    Failed,
}

impl Aside {
    /// Name of the folder.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Aside::Processed => "Processed",
            Aside::Ignored => "Ignored",
            Aside::Failed => "Failed",
        }
    }
}

/// Takes a mailbox, or keeps it; false while another node has it.
pub(crate) async fn watch(tx: &mut Conn, name: &str, node: &NodeId) -> Result<bool, Error> {
    let row = tx
        .row(
            "insert into mailbox_watch (name, node, lease_until, created_at)
             select $1, $2, now_ms + $3, now_ms from clock where true
             on conflict (name) do update set node = excluded.node,
               lease_until = excluded.lease_until
               where mailbox_watch.node = excluded.node or mailbox_watch.lease_until < {now}
             returning name",
            args![name, node.as_str(), LEASE],
        )
        .await?;
    Ok(row.is_some())
}

/// Gives up the mailboxes of a node that stops.
pub(crate) async fn leave(tx: &mut Conn, node: &NodeId) -> Result<(), Error> {
    tx.run(
        "delete from mailbox_watch where node = $1",
        args![node.as_str()],
    )
    .await
    .map(|_| ())
}

/// After a start alone nobody else looks after anything.
pub(crate) async fn end_watches(tx: &mut Conn) -> Result<(), Error> {
    tx.run("delete from mailbox_watch", vec![])
        .await
        .map(|_| ())
}

/// Numbers of a folder that are in the spool, from `first` on.
pub(crate) async fn known(tx: &mut Conn, folder: &Folder, first: u32) -> Result<Vec<u32>, Error> {
    let rows = tx
        .rows(
            "select uid from mail_in where mailbox = $1 and uid_validity = $2 and uid >= $3",
            args![
                &folder.mailbox,
                i64::from(folder.validity),
                i64::from(first)
            ],
        )
        .await?;
    rows.iter().map(|row| row.count(0)).collect()
}

/// Spools messages that are not there yet.
pub(crate) async fn spool(
    tx: &mut Conn,
    folder: &Folder,
    messages: &[Fetched],
) -> Result<(), Error> {
    for message in messages {
        let state = match message.set_aside {
            Some(reason) => {
                alarm::note(tx, alarm::QUARANTINE, Some(reason)).await?;
                "quarantined"
            }
            None => "spooled",
        };
        let new = tx.run(
            "insert into mail_in (id, peer, helo, rcpt, size_bytes, state, kind, reason, via,
               received_at, mailbox, uid_validity, uid, created_at)
             values ($1, '', '', '[]', $2, $3, $4, $5, 'imap', $6, $7, $8, $9, {now})
             on conflict do nothing",
            args![
                message.id.as_str(),
                i64::try_from(message.raw.len()).unwrap_or(i64::MAX),
                state,
                message.set_aside.map(|_| "quarantine"),
                message.set_aside,
                message.received_at,
                &folder.mailbox,
                i64::from(folder.validity),
                i64::from(message.uid),
            ],
        );
        if new.await? > 0 {
            mail::keep_raw(tx, &message.id, &message.raw).await?;
        }
    }
    Ok(())
}

/// The tokens of a mailbox, if they were got with what `client` is the hash of.
pub(crate) async fn tokens(
    tx: &mut Conn,
    name: &str,
    client: &str,
) -> Result<Option<Tokens>, Error> {
    let rows = tx
        .rows(
            "select access_token, refresh_token, refresh_at from mailbox_token
             where name = $1 and client = $2",
            args![name, client],
        )
        .await?;
    let row = rows.first();
    row.map(|row| {
        Ok(Tokens {
            access: row.text(0)?,
            refresh: row.text(1)?,
            refresh_at: row.wall(2)?,
        })
    })
    .transpose()
}

/// Keeps both tokens of an answer, which belong together.
pub(crate) async fn keep_tokens(
    tx: &mut Conn,
    name: &str,
    client: &str,
    tokens: &Tokens,
) -> Result<(), Error> {
    tx.run(
        "insert into mailbox_token (name, client, access_token, refresh_token, refresh_at)
         values ($1, $2, $3, $4, $5)
         on conflict (name) do update set client = excluded.client,
           access_token = excluded.access_token, refresh_token = excluded.refresh_token,
           refresh_at = excluded.refresh_at",
        args![
            name,
            client,
            &tokens.access,
            &tokens.refresh,
            tokens.refresh_at
        ],
    )
    .await
    .map(|_| ())
}

/// Numbers of a folder that are in the spool and not put aside, and where those go that are
/// dealt with.
pub(crate) async fn open(
    tx: &mut Conn,
    folder: &Folder,
) -> Result<Vec<(u32, Option<Aside>)>, Error> {
    let rows = tx
        .rows(
            "select uid, state, kind from mail_in
             where mailbox = $1 and uid_validity = $2 and put_aside = 0 order by uid",
            args![&folder.mailbox, i64::from(folder.validity)],
        )
        .await?;
    let mut open = Vec::new();
    for row in &rows {
        let (state, kind) = (row.text(1)?, row.opt_text(2)?);
        let aside = match (state.as_str(), kind.as_deref()) {
            ("quarantined", _) => Some(Aside::Failed),
            ("done", Some("machine" | "bounce" | "duplicate")) => Some(Aside::Ignored),
            ("done", _) => Some(Aside::Processed),
            _ => None,
        };
        open.push((row.count(0)?, aside));
    }
    Ok(open)
}

/// Notes that messages were put aside, or are not there any more.
pub(crate) async fn closed(tx: &mut Conn, folder: &Folder, uids: &[u32]) -> Result<(), Error> {
    for uid in uids {
        tx.run(
            "update mail_in set put_aside = 1
             where mailbox = $1 and uid_validity = $2 and uid = $3",
            args![&folder.mailbox, i64::from(folder.validity), i64::from(*uid)],
        )
        .await?;
    }
    Ok(())
}
