//! Transfers: a REFER of a telephone of ours, and telling it what came of it (RFC 3515).

use std::time::Duration;

use helpline_core::sip::transfer;
use rsipstack::dialog::dialog::TransactionHandle;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::headers::make_header;
use rsipstack::sip::{Header, StatusCode};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// How long a transfer may take; after that it counts as failed.
const TRANSFER_LIMIT: Duration = Duration::from_secs(120);
/// The 202 is sent by the transaction's own task; a NOTIFY may overtake it (RFC 3515
/// section 2.4.4), but not every telephone takes that.
pub(super) const BEHIND_ANSWER: Duration = Duration::from_millis(50);

/// Where a transfer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::voice) enum ReferTo {
    /// To a telephone of ours, by its user name.
    Phone(String),
    /// To whatever is called so.
    User(String),
    /// To the far end of this call of ours, by its Call-ID.
    Call(String),
}

/// A REFER that waits for its answer.
#[derive(Debug)]
pub(in crate::voice) struct Refer {
    pub(super) to: ReferTo,
    pub(super) handle: TransactionHandle,
    pub(super) dialog: Subscriber,
    pub(super) tracker: TaskTracker,
}

/// The dialog that is told.
pub(super) struct Subscriber(pub(super) InviteDialog);

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscriber({})", self.0.id())
    }
}

impl Refer {
    /// Where to.
    pub(in crate::voice) fn to(&self) -> &ReferTo {
        &self.to
    }

    /// Not carried out.
    pub(in crate::voice) async fn refuse(self, code: u16) {
        answer(&self.handle, code).await;
    }

    /// 202; what becomes of it are the codes sent into the returned channel, of which the
    /// first final one is the last. Dropping the channel before that means 503.
    pub(in crate::voice) async fn accept(self) -> mpsc::Sender<u16> {
        answer(&self.handle, 202).await;
        let (codes, mut told) = mpsc::channel(8);
        let Subscriber(dialog) = self.dialog;
        self.tracker.spawn(async move {
            tokio::time::sleep(BEHIND_ANSWER).await;
            notify(&dialog, 100).await;
            let last = async {
                while let Some(code) = told.recv().await {
                    if code >= 200 {
                        return code;
                    }
                    notify(&dialog, code).await;
                }
                503
            };
            let last = tokio::time::timeout(TRANSFER_LIMIT, last).await;
            notify(&dialog, last.unwrap_or(503)).await;
        });
        codes
    }
}

async fn answer(handle: &TransactionHandle, code: u16) {
    let code = StatusCode::from(code);
    if handle.respond(code, None, None).await.is_err() {
        tracing::debug!("a REFER was gone before its answer");
    }
}

async fn notify(dialog: &InviteDialog, code: u16) {
    let state = if code >= 200 {
        "terminated;reason=noresource"
    } else {
        "active;expires=120"
    };
    let headers: Vec<Header> = vec![
        make_header("Event", "refer".into()),
        make_header("Subscription-State", state.into()),
        make_header("Content-Type", "message/sipfrag;version=2.0".into()),
    ];
    let body = transfer::fragment(code).into_bytes();
    if let Err(error) = dialog.notify(Some(headers), Some(body)).await {
        tracing::debug!(%error, "a NOTIFY could not be sent");
    }
}
