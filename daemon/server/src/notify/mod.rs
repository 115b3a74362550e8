//! Mail to customers. Rows of the outbox are written in the transaction that caused them; here
//! they are rendered once, sent, and marked. Delivery is at least once: the Message-ID and
//! the bytes are the same in every try, so a second copy can be told.

pub mod dkim;
pub mod mail;
pub mod template;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use helpline_core::ivr::io::{HttpOrder, HttpReply};
use helpline_core::queue::ewt::PromiseKind;
use helpline_core::rng::Rng;
use helpline_core::time::Wall;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::take_path;
use crate::services::Services;
use crate::store::outbox::OutboxRow;
use crate::store::{self, Store};

use mail::{Letterhead, Mailer, SendError, Sound};
use template::Templates;

/// Rows sent at once; the pool of the relay has as many connections.
const BATCH: u32 = 4;
/// Without a wake-up the outbox is looked at so often: retries become due silently.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Rest after the store did not answer.
const STORE_REST: Duration = Duration::from_secs(5);
/// An acknowledgement without a promised end is stale after this.
const ACK_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// Waits between tries; after the last one the row has failed.
const RETRIES: [Duration; 8] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3_600),
    Duration::from_secs(3 * 3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(12 * 3_600),
    Duration::from_secs(24 * 3_600),
];
/// Longest recording that goes along with a mail: more than ten minutes.
const SOUND_BYTES_MAX: u64 = 5 * 1024 * 1024;
/// Spread of the waits: ± 20 %.
const SPREAD: f64 = 0.2;

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The relay (or the folder) has it.
    Sent,
    /// To be tried again.
    Deferred {
        /// When.
        next_at: Wall,
        /// What the relay said.
        error: String,
    },
    /// Given up.
    Failed {
        /// What the relay said.
        error: String,
    },
    /// Not sent on purpose.
    Suppressed {
        /// `stale`, `bounced_before`.
        reason: &'static str,
    },
}

/// Sends what the outbox holds.
pub struct Notifier {
    store: Store,
    templates: Templates,
    letterhead: Letterhead,
    mailer: Mailer,
    services: Arc<Services>,
    /// Folder for what callers say.
    recordings: PathBuf,
    clock: Clock,
    rng: Mutex<Rng>,
    counts: Counts,
}

/// Mails by result, for `helpline_mail_sent_total`.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    deferred: AtomicU64,
    failed: AtomicU64,
    suppressed: AtomicU64,
}

impl Notifier {
    /// `seed` spreads the retries.
    pub fn new(
        store: Store,
        templates: Templates,
        letterhead: Letterhead,
        (mailer, services): (Mailer, Arc<Services>),
        recordings: PathBuf,
        clock: Clock,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Notifier {
            store,
            templates,
            letterhead,
            mailer,
            services,
            recordings,
            clock,
            rng: Mutex::new(Rng::new(seed)),
            counts: Counts::default(),
        })
    }

    /// Sends until `stop`. A mail that is being sent is finished first.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let wake = self.store.outbox_wake();
        while !stop.is_cancelled() {
            // Asked for before looking, so that a row written meanwhile is not slept over.
            let woken = wake.notified();
            let rest = match self.pass().await {
                Ok(0) => LOOK_EVERY,
                Ok(_) => continue,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "outbox not readable");
                    STORE_REST
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = woken => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Sends everything that is due now; for the end of the daemon.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn flush(self: &Arc<Self>) -> anyhow::Result<()> {
        while self.pass().await? > 0 {}
        Ok(())
    }

    /// `helpline_mail_sent_total`: result and how many.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("sent", read(&self.counts.sent)),
            ("deferred", read(&self.counts.deferred)),
            ("failed", read(&self.counts.failed)),
            ("suppressed", read(&self.counts.suppressed)),
        ]
    }

    /// One batch; how many rows it had.
    async fn pass(self: &Arc<Self>) -> anyhow::Result<usize> {
        let rows = self.store.claim_outbox(BATCH).await?;
        let count = rows.len();
        let mut tasks = JoinSet::new();
        for row in rows {
            let this = Arc::clone(self);
            tasks.spawn(async move { this.deliver(&row).await });
        }
        while let Some(done) = tasks.join_next().await {
            if let Err(error) = done {
                tracing::error!(%error, "a mail was not handled; its lease will expire");
            }
        }
        Ok(count)
    }

    /// Renders, sends and marks one row.
    async fn deliver(&self, row: &OutboxRow) {
        let verdict = match self.attempt(row).await {
            Ok(verdict) => verdict,
            Err(error) => {
                // The store does not keep the bytes: nothing was sent, the lease expires.
                tracing::error!(
                    id = row.id,
                    error = format!("{error:#}"),
                    "mail not prepared"
                );
                return;
            }
        };
        let counter = match &verdict {
            Verdict::Sent => &self.counts.sent,
            Verdict::Deferred { .. } => &self.counts.deferred,
            Verdict::Failed { .. } => &self.counts.failed,
            Verdict::Suppressed { .. } => &self.counts.suppressed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        match &verdict {
            Verdict::Failed { error } => {
                tracing::error!(id = row.id, kind = row.kind, error, "mail given up");
            }
            Verdict::Deferred { error, .. } => {
                tracing::warn!(id = row.id, kind = row.kind, error, "mail deferred");
            }
            Verdict::Sent | Verdict::Suppressed { .. } => {
                tracing::info!(id = row.id, kind = row.kind, ?verdict, "mail");
            }
        }
        if let Err(error) = self.mark(row, &verdict).await {
            tracing::error!(id = row.id, %error, "mail not marked");
        }
    }

    /// Writes the verdict; a row that another worker has taken over stays as it is.
    async fn mark(&self, row: &OutboxRow, verdict: &Verdict) -> Result<(), store::Error> {
        match verdict {
            Verdict::Sent => self.store.outbox_sent(row).await,
            Verdict::Deferred { next_at, error } => {
                self.store.outbox_deferred(row, *next_at, error).await
            }
            Verdict::Failed { error } => self.store.outbox_failed(row, error).await,
            Verdict::Suppressed { reason } => self.store.outbox_suppressed(row, reason).await,
        }
    }

    async fn attempt(&self, row: &OutboxRow) -> anyhow::Result<Verdict> {
        let now = self.clock.wall();
        if is_stale(row, now) {
            return Ok(Verdict::Suppressed { reason: "stale" });
        }
        if row.is_unreachable {
            return Ok(Verdict::Suppressed {
                reason: "bounced_before",
            });
        }
        if let Some(order) = &row.body.webhook {
            return Ok(self.tell(row, order, now).await);
        }
        let bytes = match &row.rendered {
            Some(bytes) => bytes.clone(),
            None => match self.render(row, self.sound(row).await, now) {
                Ok(bytes) => {
                    self.store.outbox_rendered(row, &bytes).await?;
                    bytes
                }
                // The same facts give the same fault in every try.
                Err(fault) => {
                    return Ok(Verdict::Failed {
                        error: format!("{fault:#}"),
                    });
                }
            },
        };
        let sent = self.mailer.send(&self.letterhead, row, &bytes).await;
        Ok(match sent {
            Ok(()) => Verdict::Sent,
            Err(SendError::Permanent(error)) => Verdict::Failed { error },
            Err(SendError::Transient(error)) => self.try_again(row, now, error),
        })
    }

    /// Tells another service. 410 means that it wants to hear no more.
    async fn tell(&self, row: &OutboxRow, order: &HttpOrder, now: Wall) -> Verdict {
        match self.services.send(order, Some(&row.id)).await {
            HttpReply::Answer {
                status: 200..300, ..
            } => Verdict::Sent,
            HttpReply::Answer { status: 410, .. } => Verdict::Failed {
                error: "410 Gone".to_owned(),
            },
            HttpReply::Answer { status, .. } => {
                self.try_again(row, now, format!("status {status}"))
            }
            HttpReply::Timeout => self.try_again(row, now, "no answer in time".to_owned()),
            HttpReply::Failed(why) => self.try_again(row, now, why),
        }
    }

    /// The sound of a caller's message; one that is too long stays on the machine.
    async fn sound(&self, row: &OutboxRow) -> Option<Sound> {
        let message = row.body.message.as_ref()?;
        let path = take_path(&self.recordings, &message.take);
        let length = tokio::fs::metadata(&path).await.ok()?.len();
        if length > SOUND_BYTES_MAX {
            return None;
        }
        let bytes = tokio::fs::read(&path).await.ok()?;
        let name = format!("{}.wav", message.take);
        Some(Sound { name, bytes })
    }

    fn render(&self, row: &OutboxRow, sound: Option<Sound>, now: Wall) -> anyhow::Result<Vec<u8>> {
        let text =
            self.templates
                .render(row, &self.letterhead.site_name, &self.letterhead.public_url)?;
        mail::compose(&self.letterhead, row, &text, sound, now)
    }

    fn try_again(&self, row: &OutboxRow, now: Wall, error: String) -> Verdict {
        let tries = usize::try_from(row.attempts.max(1)).unwrap_or(usize::MAX);
        let Some(wait) = RETRIES.get(tries - 1) else {
            return Verdict::Failed { error };
        };
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Verdict::Deferred {
            next_at: now + rng.jitter(*wait, SPREAD),
            error,
        }
    }
}

/// An estimate told a day late is a lie: what tells one is dropped once the promised end
/// has passed.
fn is_stale(row: &OutboxRow, now: Wall) -> bool {
    if !matches!(row.kind.as_str(), "ack" | "changed" | "confirm") {
        return false;
    }
    let promise = row.body.promise.as_ref();
    match promise.filter(|promise| promise.kind != PromiseKind::None) {
        Some(promise) => promise.to < now,
        None => row.body.made_at.is_some_and(|made| made + ACK_LIFE < now),
    }
}

#[cfg(test)]
mod tests;
