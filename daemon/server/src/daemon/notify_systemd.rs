//! Words with systemd: ready, reloading, stopping, and the watchdog. Without systemd
//! (`NOTIFY_SOCKET` unset) every word is a no-op.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use super::telephony::Telephony;
use crate::store::Store;

/// Between two signs of life; the unit's limit is three times this.
const EVERY: Duration = Duration::from_secs(10);
/// The store task must answer within this time; any answer will do, also "database away".
const STORE_LIMIT: Duration = Duration::from_secs(5);
/// A media thread that has not looped for so long is stuck.
const MEDIA_LIMIT: Duration = Duration::from_secs(2);

pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog as long as the event loop, the media threads and the store task live.
pub(super) async fn watchdog(store: Store, telephony: Option<Telephony>, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let store_lives = tokio::time::timeout(STORE_LIMIT, store.ping())
            .await
            .is_ok();
        let telephony = telephony.as_ref();
        let media_lives = telephony.is_none_or(|t| t.media.tick_age() < MEDIA_LIMIT);
        if store_lives && media_lives {
            let calls = telephony.map_or(0, |t| t.engine.active_calls());
            let status = format!("{calls} calls");
            tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        } else {
            tracing::error!(store_lives, media_lives, "a part does not answer");
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd was not told");
    }
}
