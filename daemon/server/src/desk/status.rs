//! What a customer may see of a request, and taking it back.

use helpline_core::queue::{Event, HeldReason, State};

use super::staff::advance;
use super::{Desk, StatusView, StoreError};
use crate::store::{Conn, RequestRow, request};

/// What became of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The request is withdrawn; a call in progress is being ended.
    Done,
    /// It was over already.
    AlreadyOver,
    /// No request has this secret.
    NotFound,
}

/// Longest secret looked up; they have 22 characters.
const TOKEN_BYTES_MAX: usize = 64;

impl Desk {
    /// A request by the secret of its status page; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn status(&self, token: &str) -> Result<Option<StatusView>, StoreError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let secret = token.to_owned();
        let found = self
            .store
            .read(move |tx| {
                let secret = secret.clone();
                Box::pin(async move { find(tx, &secret).await })
            })
            .await?;
        let Some((own, row)) = found else {
            return Ok(None);
        };
        let seen = self.outlook(&row.queue).await;
        let zone = self.zone_of(row.zone.as_deref()).to_owned();
        let skill = row.skill.clone();
        let viewed = self.store.read(move |tx| {
            let (own, row) = (own.clone(), row.clone());
            Box::pin(async move { Ok((view(tx, &own, &row).await?, tx.now().await?)) })
        });
        let (mut view, now) = viewed.await?;
        let ahead = view.position.map(|position| position.saturating_sub(1));
        view.estimate = ahead.map(|ahead| seen.promise((ahead, &skill), now, &zone).0);
        Ok(Some(view))
    }

    /// Takes a request back by the secret of its status page.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn cancel(&self, token: &str) -> Result<Cancelled, StoreError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(Cancelled::NotFound);
        }
        let secret = token.to_owned();
        let letters = self.all_letters();
        let done = self.store.write(move |tx| {
            let (secret, letters) = (secret.clone(), letters.clone());
            Box::pin(async move {
                let Some((own, row)) = find(tx, &secret).await? else {
                    return Ok((Cancelled::NotFound, None));
                };
                if !may_change(&own, &row) {
                    return Ok((Cancelled::AlreadyOver, None));
                }
                let done = advance(tx, &letters, &row, &Event::Cancelled, "cancelled").await?;
                Ok(match done {
                    Some((_, hang_up)) => (Cancelled::Done, hang_up),
                    None => (Cancelled::AlreadyOver, None),
                })
            })
        });
        let (answer, hang_up) = done.await?;
        if answer == Cancelled::Done {
            self.end_calls(hang_up);
        }
        Ok(answer)
    }
}

impl Desk {
    /// Uses the link of a confirmation, by the secret of the status page; false if no request
    /// has it. Whoever holds it has read our answer to a mail about this number, so a request
    /// that stands for theirs is confirmed too. One that needs no confirmation stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn confirm(&self, token: &str) -> Result<bool, StoreError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(false);
        }
        let secret = token.to_owned();
        let letters = self.all_letters();
        let done = self.store.write(move |tx| {
            let (secret, letters) = (secret.clone(), letters.clone());
            Box::pin(async move {
                let Some((_, row)) = find(tx, &secret).await? else {
                    return Ok(false);
                };
                advance(tx, &letters, &row, &Event::Confirmed, "confirmed").await?;
                Ok(true)
            })
        });
        let found = done.await?;
        self.wake_line();
        Ok(found)
    }
}

/// The row of a secret, and the one whose state counts: for a merged row its parent.
pub(super) async fn find(
    tx: &mut Conn,
    token: &str,
) -> Result<Option<(RequestRow, RequestRow)>, StoreError> {
    match request::by_token(tx, token).await? {
        Some(own) => with_parent(tx, own).await.map(Some),
        None => Ok(None),
    }
}

/// A row, and the one whose state counts.
pub(super) async fn with_parent(
    tx: &mut Conn,
    own: RequestRow,
) -> Result<(RequestRow, RequestRow), StoreError> {
    let mut row = own.clone();
    // A parent may have been merged in turn; the chain is short, and bounded here.
    for _ in 0..8 {
        let Some(parent) = row.parent.clone().filter(|_| row.state == State::Merged) else {
            break;
        };
        row = request::by_id(tx, &parent)
            .await?
            .ok_or(StoreError::NotFound)?;
    }
    Ok((own, row))
}

/// Whoever asked for the same number a second time may take the first request back, or move
/// it, only with the same mail address: else a stranger could do so with somebody's call.
pub(super) fn may_change(own: &RequestRow, row: &RequestRow) -> bool {
    own.id == row.id || own.email == row.email
}

async fn last_disposition(tx: &mut Conn, row: &RequestRow) -> Result<Option<String>, StoreError> {
    let history = crate::store::attempt::history(tx, &row.id).await?;
    Ok(history.last().map(|d| d.word().to_owned()))
}

/// The word for the customer: who has to confirm is told so.
fn shown(row: &RequestRow) -> &'static str {
    match row.held_reason {
        Some(HeldReason::Unverified) => HeldReason::Unverified.word(),
        _ => row.state.word(),
    }
}

async fn view(tx: &mut Conn, own: &RequestRow, row: &RequestRow) -> Result<StatusView, StoreError> {
    let mut view = StatusView {
        id: own.id.clone(),
        state: shown(row).to_owned(),
        position: None,
        promise: row.promise.clone(),
        estimate: None,
        number_masked: row.number.masked(),
        pin: row.pin.clone().filter(|_| row.state.is_open()),
        due_at: row.due_at,
        not_before: (row.state == State::Backoff).then_some(row.not_before),
        last_disposition: last_disposition(tx, row).await?,
        open: row.state.is_open(),
        language: own.language.clone(),
    };
    let closed = row.held_reason == Some(HeldReason::Closed);
    let stands = row.state == State::Waiting || (row.state == State::Held && closed);
    if stands && row.due_at.is_none() {
        let ahead = request::ahead(tx, &row.queue, &row.key()).await?;
        view.position = Some(ahead + 1);
    }
    Ok(view)
}
