//! A REFER of ours: the far end shall talk to somebody else from now on (RFC 3515).

use std::future::pending;
use std::time::Duration;

use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::headers::make_header;
use rsipstack::sip::{Method, StatusCodeKind};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::refer::BEHIND_ANSWER;

/// The far end said nothing more in time.
const TIMEOUT: u16 = 408;
/// The REFER could not be sent, or nobody answered it.
const UNREACHABLE: u16 = 503;

/// A REFER whose outcome is not known yet.
pub(super) struct Referral {
    /// The REFER under way.
    asked: Option<JoinHandle<Option<u16>>>,
    /// What it comes to then.
    outcome: u16,
    until: Instant,
}

impl Referral {
    /// Sends it; an outcome comes at the latest after `limit`.
    pub(super) fn send(dialog: &InviteDialog, refer_to: &str, limit: Duration) -> Referral {
        let headers = vec![make_header("Refer-To", refer_to.to_owned())];
        let dialog = dialog.clone();
        let asked = tokio::spawn(async move {
            let answer = dialog.request(Method::Refer, Some(headers), None).await;
            match answer {
                Ok(Some(answer)) if answer.status_code.kind() == StatusCodeKind::Successful => None,
                Ok(Some(answer)) => Some(answer.status_code.code()),
                Ok(None) | Err(_) => Some(UNREACHABLE),
            }
        });
        Referral {
            asked: Some(asked),
            outcome: TIMEOUT,
            until: Instant::now() + limit,
        }
    }

    /// A NOTIFY told the outcome. What follows from it may be a BYE of ours, which must not
    /// overtake the answer to that NOTIFY.
    pub(super) fn told(&mut self, code: u16) {
        self.forget();
        self.outcome = code;
        self.until = Instant::now() + BEHIND_ANSWER;
    }

    fn forget(&mut self) {
        if let Some(asked) = self.asked.take() {
            asked.abort();
        }
    }

    /// What it came to, once it has. Without a referral nothing ever comes. Cancel-safe.
    pub(super) async fn outcome(referral: &mut Option<Referral>) -> u16 {
        let Some(referral) = referral else {
            return pending().await;
        };
        loop {
            let Some(asked) = &mut referral.asked else {
                tokio::time::sleep_until(referral.until).await;
                return referral.outcome;
            };
            let refused = tokio::select! {
                answer = asked => answer.unwrap_or(Some(UNREACHABLE)),
                () = tokio::time::sleep_until(referral.until) => Some(TIMEOUT),
            };
            referral.asked = None;
            if let Some(code) = refused {
                return code;
            }
        }
    }
}

impl Drop for Referral {
    fn drop(&mut self) {
        self.forget();
    }
}
