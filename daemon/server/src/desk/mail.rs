//! Mail that comes in: spooled before the sender hears 250, and worked on under a lease.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use helpline_core::id::MailInId;
use helpline_core::smtp::Burst;
use helpline_core::time::Time;

use super::{Desk, Incoming, Sender, SpooledMail, StoreError, locked};
use crate::store::{MailClaim, NewMail, SPOOL_BYTES_MAX, mail};

/// Words of the ways by which mail comes.
const SMTP: &str = "smtp";
const LMTP: &str = "lmtp";
const IMAP: &str = "imap";
/// How long a look at the spool is good for.
const SPOOL_SEEN_FOR: Duration = Duration::from_secs(1);
/// Messages whose bytes are forgotten by one transaction.
const FORGOTTEN_AT_ONCE: u32 = 200;

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

/// A message on its way to the disk. Whoever waits for it may go away.
struct UnderWay<'a>(&'a Mutex<Burst>);

impl<'a> UnderWay<'a> {
    fn new(burst: &'a Mutex<Burst>, now: Time) -> UnderWay<'a> {
        locked(burst).begin(now);
        UnderWay(burst)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        locked(self.0).end();
    }
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
        let new = Arc::new(NewMail {
            id: id.clone(),
            via: if incoming.is_handed { LMTP } else { SMTP },
            peer: incoming.peer.to_string(),
            helo: incoming.helo,
            auth_user: incoming.auth_user,
            mail_from: incoming.mail_from,
            rcpt: incoming.rcpt,
            raw: incoming.raw,
        });
        let under_way = UnderWay::new(&self.burst, self.clock.time());
        let spooled = self
            .store
            .write(move |tx| {
                let new = Arc::clone(&new);
                Box::pin(async move { mail::spool(tx, &new).await })
            })
            .await;
        drop(under_way);
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

    /// Whether mail that lies there shall wait: a burst comes in, and taking it comes first.
    #[must_use]
    pub fn is_mail_pouring(&self) -> bool {
        locked(&self.burst).holds(self.clock.time())
    }

    /// Takes the next messages for work, up to `limit`, with a lease of a minute.
    /// A message whose work broke off three times is set aside and not given again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn claim_mail(&self, limit: u32) -> Result<Vec<SpooledMail>, StoreError> {
        let claimed = self
            .store
            .write_behind(move |tx| Box::pin(mail::claim(tx, limit)));
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

    /// Forgets the bytes of messages that came more than `mail.keep_days` ago and wait for nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn forget_mail(&self) -> Result<(), StoreError> {
        let kept = Duration::from_secs(u64::from(self.config.mail.keep_days) * 86_400);
        let floor = MailInId::floor(self.clock.wall() - kept);
        loop {
            let floor = floor.clone();
            let forgotten = self.store.write_behind(move |tx| {
                let floor = floor.clone();
                Box::pin(async move { mail::forget_raw(tx, &floor, FORGOTTEN_AT_ONCE).await })
            });
            if forgotten.await? < u64::from(FORGOTTEN_AT_ONCE) {
                return Ok(());
            }
        }
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
}
