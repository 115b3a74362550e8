//! The key with which our own mail is signed.

use super::conn::args;
use super::{Conn, Error};

/// Bytes of a key that is made here.
const KEY_BYTES: usize = 32;

/// The key of this database, made by whoever opens it first.
pub(super) async fn keep(tx: &mut Conn) -> Result<String, Error> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|e| Error::Unavailable(format!("no randomness: {e}")))?;
    let secret = data_encoding::HEXLOWER.encode(&bytes);
    tx.run(
        "insert into mail_key (id, secret, created_at) select 1, $1, now_ms from clock
           where true on conflict do nothing",
        args![secret],
    )
    .await?;
    read(tx).await?.ok_or(Error::NotFound)
}

/// The key, if there is one.
pub(super) async fn read(tx: &mut Conn) -> Result<Option<String>, Error> {
    let row = tx.row("select secret from mail_key where id = 1", vec![]);
    row.await?.map(|row| row.text(0)).transpose()
}
