//! Mail that came back, and addresses to which none is sent for a time.

use std::collections::HashSet;
use std::time::Duration;

use helpline_core::request::email::{Undelivered, address_key};
use sha2::{Digest, Sha256};

use super::conn::{Val, args};
use super::many::{self, Many};
use super::{Conn, Error};

/// An address that does not exist gets no mail for so long.
const SUPPRESSED_FOR: Duration = Duration::from_secs(60 * 86_400);
/// Longest word of a status in a row.
const STATUS_CHARS_MAX: usize = 16;

/// A mail that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounced {
    /// Whom it should have reached.
    pub(crate) to: String,
    /// Its kind.
    pub(crate) kind: String,
}

/// Notes that a mail came back: in its row, and with the request it spoke of. Of a report that
/// does not say which mail, the latest one about the same thing is meant. `None`: there is none.
pub(crate) async fn note(
    tx: &mut Conn,
    of: &Undelivered,
    status: Option<&str>,
) -> Result<Option<Bounced>, Error> {
    let status: String = status
        .unwrap_or("failed")
        .chars()
        .take(STATUS_CHARS_MAX)
        .collect();
    let (kind, seq) = match &of.mail {
        Some((kind, seq)) => (kind.as_str(), *seq),
        None => ("", 0),
    };
    let row = tx
        .row(
            "update outbox set bounced = $4
             where id = (select id from outbox where about = $1 and kind <> 'webhook'
               and ($2 = '' or (kind = $2 and seq = $3))
               order by created_at desc, id desc limit 1)
             returning to_addr, kind",
            args![&of.about, kind, seq, &status],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    tx.run(
        "update request set mail_failed = $2 where id = $1",
        args![&of.about, &status],
    )
    .await?;
    Ok(Some(Bounced {
        to: row.text(0)?,
        kind: row.text(1)?,
    }))
}

/// From now on no mail goes to an address, for a time.
pub(crate) async fn suppress(tx: &mut Conn, address: &str, status: &str) -> Result<(), Error> {
    tx.run(
        "insert into mail_suppress (address_hash, status, until, created_at)
         select $1, $2, now_ms + $3, now_ms from clock where true
         on conflict (address_hash) do update set status = excluded.status, until = excluded.until",
        args![hash(address), status, SUPPRESSED_FOR],
    )
    .await
    .map(|_| ())
}

/// Of these addresses, those to which none is sent.
pub(super) async fn suppressed<'a>(
    tx: &mut Conn,
    addresses: &[&'a str],
) -> Result<HashSet<&'a str>, Error> {
    const KNOWN: Many = Many {
        head: "select address_hash from mail_suppress where until > {now} and address_hash in (",
        each: "?",
        between: ", ",
        tail: ")",
    };
    let mut known = HashSet::new();
    for chunk in many::chunks(addresses) {
        let args = chunk.iter().map(|a| Val::from(hash(a))).collect();
        let text = KNOWN.text(chunk.len(), &[], tx);
        for row in tx.rows_of(text, args).await? {
            known.insert(row.text(0)?);
        }
    }
    let mut found: HashSet<&str> = addresses.iter().copied().collect();
    found.retain(|address| known.contains(&hash(address)));
    Ok(found)
}

/// The form in which an address is kept, as numbers on the do-not-call list are.
fn hash(address: &str) -> String {
    let digest = Sha256::new_with_prefix(b"no-mail:");
    let digest = match address_key(address) {
        Some((local, domain)) => digest.chain_update(format!("{local}@{domain}")),
        None => digest.chain_update(address.trim().to_lowercase()),
    };
    data_encoding::HEXLOWER.encode(&digest.finalize())
}
