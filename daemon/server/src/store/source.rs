//! Where requests come from, and whether anything is taken from there.

use std::time::Duration;

use helpline_core::call::Disposition;
use helpline_core::id::RequestId;
use helpline_core::queue::harass::{Heard, QUARANTINE};

use super::conn::args;
use super::{Conn, Error};

/// The network address of a web request as a source.
#[must_use]
pub(crate) fn of_address(address: &str) -> String {
    format!("address:{address}")
}

/// The sender of a mail as a source.
#[must_use]
pub(crate) fn of_sender(address: &str) -> String {
    format!("mail:{}", address.trim().to_lowercase())
}

/// What became of the calls that the source of this request asked for; the source too. `None`
/// for a request of a caller or an operator.
pub(crate) async fn heard(tx: &mut Conn, id: &RequestId) -> Result<Option<(String, Heard)>, Error> {
    let row = tx
        .row(
            "select channel, consent_address, email from request where id = $1",
            args![id.as_str()],
        )
        .await?
        .ok_or(Error::NotFound)?;
    let by_mail = row.text(0)? == "smtp";
    let (sql, value) = match (row.opt_text(1)?, row.opt_text(2)?) {
        (_, Some(email)) if by_mail => (BY_SENDER, email),
        (Some(address), _) if !by_mail => (BY_ADDRESS, address),
        _ => return Ok(None),
    };
    let source = match by_mail {
        true => of_sender(&value),
        false => of_address(&value),
    };
    let mut heard = Heard::default();
    for row in &tx.rows(sql, args![value, QUARANTINE]).await? {
        if let Some(disposition) = Disposition::from_word(&row.text(0)?) {
            heard.count(disposition);
        }
    }
    Ok(Some((source, heard)))
}

const BY_ADDRESS: &str = "select a.disposition from request r
  join attempt a on a.request_id = r.id
  where r.consent_address = $1 and r.created_at > {now} - 2 * $2 and a.live = 0
    and a.end_at > {now} - $2";
const BY_SENDER: &str = "select a.disposition from request r
  join attempt a on a.request_id = r.id
  where r.email = $1 and r.created_at > {now} - 2 * $2 and r.channel = 'smtp' and a.live = 0
    and a.end_at > {now} - $2";

/// Takes nothing more from a source for a while.
pub(crate) async fn quarantine(tx: &mut Conn, source: &str) -> Result<(), Error> {
    tx.run(
        "insert into quarantine (source, until, created_at)
         select $1, now_ms + $2, now_ms from clock where true
         on conflict (source) do update set until = excluded.until",
        args![source, QUARANTINE],
    )
    .await
    .map(|_| ())
}

/// How long nothing is taken from a source yet.
pub(crate) async fn quarantined(tx: &mut Conn, source: &str) -> Result<Option<Duration>, Error> {
    let row = tx
        .row(
            "select until - {now} from quarantine where source = $1 and until > {now}",
            args![source],
        )
        .await?;
    let left = row.map(|row| row.int(0)).transpose()?;
    Ok(left.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
}
