//! How many automatic replies leave: headers do not tell every machine from a person, so a
//! machine that answers each of our replies is stopped by number. Taken in the transaction
//! that writes the reply; over budget the request goes on without one.

use std::time::Duration;

use super::StoreError;
use crate::store::{Conn, Limit, alarm, limit};

const HOUR: Duration = Duration::from_secs(3_600);
/// Replies to one address in any hour, and in any day.
const ADDRESS_HOUR: u32 = 3;
const ADDRESS_DAY: u32 = 6;
/// Replies to mail of one domain: 60 in any hour (30 at once, then one each two minutes).
const DOMAIN: Limit = Limit {
    name: "reply-domain",
    interval: Duration::from_secs(120),
    burst: 30,
};
/// Replies to all mail: 600 in any hour (300 at once, then one each twelve seconds).
const ALL: Limit = Limit {
    name: "reply-all",
    interval: Duration::from_secs(12),
    burst: 300,
};

/// Takes a reply to `address` from the budgets; false: it must not be written. An answer to
/// mail counts for its domain and for all too. The narrow budgets are asked first, so that
/// one address that is over its own takes nothing from the others.
pub(super) async fn take(tx: &mut Conn, address: &str, to_mail: bool) -> Result<bool, StoreError> {
    let address = address.trim().to_lowercase();
    if !limit::take_place(tx, "reply-hour", &address, ADDRESS_HOUR, HOUR).await?
        || !limit::take_place(tx, "reply-day", &address, ADDRESS_DAY, HOUR * 24).await?
    {
        return Ok(false);
    }
    if !to_mail {
        return Ok(true);
    }
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    if limit::take(tx, DOMAIN, domain).await?.is_err() {
        return Ok(false);
    }
    let is_left = limit::take(tx, ALL, "").await?.is_ok();
    if !is_left {
        alarm::note(tx, alarm::BUDGET, None).await?;
    }
    Ok(is_left)
}
