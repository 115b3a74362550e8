//! Sees to it that the operator is told by mail what nobody else would notice.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::desk::{Desk, StoreError};
use crate::intake::imap::Mailboxes;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(10);

/// Looks until `end`. A store that is away is asked again later.
pub(super) async fn watch(
    desk: Arc<Desk>,
    mailboxes: Option<Arc<Mailboxes>>,
    end: CancellationToken,
) {
    let mut looks = tokio::time::interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = looks.tick() => {}
        }
        if let Err(error) = look(&desk, mailboxes.as_deref()).await {
            tracing::debug!(%error, "the operator is told later");
        }
    }
}

async fn look(desk: &Desk, mailboxes: Option<&Mailboxes>) -> Result<(), StoreError> {
    for (name, condition) in mailboxes.map(Mailboxes::conditions).unwrap_or_default() {
        if condition.is_out_of_order() {
            desk.note_mailbox(&name, &condition.in_words()).await?;
        }
    }
    desk.tell_operator().await.map(|_| ())
}
