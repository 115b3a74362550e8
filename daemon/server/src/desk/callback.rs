//! A call-back that a flow orders on the telephone.

use helpline_core::ivr::io::{CallbackOrder, CallbackReply, OpId};
use helpline_core::phone::PhoneNumber;
use helpline_core::queue::State;
use helpline_core::queue::ewt::PromiseKind;
use helpline_core::request::{Channel, HelpRequest, When};
use helpline_core::time::Wall;
use sha2::{Digest as _, Sha256};

use super::{AcceptError, Accepted, Desk, IntakeKey, Origin, StoreError};
use crate::store::request;

/// The call on which something is ordered.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// SIP Call-ID.
    pub(crate) call_id: String,
    /// When the call began: the place a caller keeps.
    pub(crate) began_at: Wall,
    /// Language of the call.
    pub(crate) language: String,
    /// The far end's number, if it is known.
    pub(crate) number: Option<PhoneNumber>,
}

impl Desk {
    /// Takes the request a flow orders; the flow speaks only after this answer, which
    /// comes after the commit.
    pub(crate) async fn callback(
        &self,
        caller: &Caller,
        op: OpId,
        order: CallbackOrder,
    ) -> CallbackReply {
        let CallbackOrder::Request {
            queue,
            number,
            at,
            keep_place,
        } = order
        else {
            // The others speak of the request of an outgoing call.
            return CallbackReply::Failed;
        };
        let Ok(number) = PhoneNumber::parse(&number, self.config.dial.region.as_deref()) else {
            return CallbackReply::BadNumber;
        };
        if self.queue(&queue).is_none() {
            tracing::warn!(
                queue,
                "a flow orders a call-back in a queue that does not exist"
            );
            return CallbackReply::Failed;
        }
        let body = format!("{queue}\n{}\n{at:?}", number.as_str());
        let origin = Origin {
            key: Some(IntakeKey {
                scope: "call",
                key: format!("{}/{}", cut(&caller.call_id, 200), op.0),
                body_hash: data_encoding::HEXLOWER.encode(&Sha256::digest(body)),
            }),
            place_at: keep_place.then_some(caller.began_at),
            proven: caller.number.as_ref() == Some(&number),
            ..Origin::default()
        };
        let request = HelpRequest {
            whom: helpline_core::request::Whom::default(),
            queue,
            channel: Channel::Phone,
            number,
            name: None,
            email: None,
            page: None,
            note: None,
            language: caller.language.clone(),
            zone: None,
            when: at.map_or(When::Now, |not_before| When::Window {
                not_before,
                not_after: None,
            }),
        };
        match self.accept(request, origin).await {
            Ok(accepted) => self.told(accepted).await,
            Err(AcceptError::NotAllowed) => CallbackReply::BadNumber,
            Err(AcceptError::Full | AcceptError::TooMany { .. }) => CallbackReply::Full,
            Err(AcceptError::KeyReused | AcceptError::BadTime(_) | AcceptError::Unavailable) => {
                CallbackReply::Failed
            }
        }
    }

    async fn told(&self, accepted: Accepted) -> CallbackReply {
        let promise = &accepted.promise;
        let now = self.clock.wall();
        let (wait, at) = match promise.kind {
            PromiseKind::Range
            | PromiseKind::Short
            | PromiseKind::Straddle
            | PromiseKind::Closed => (Some(promise.to.since(now)), None),
            PromiseKind::Booked => (None, Some(promise.from)),
            PromiseKind::None => (None, None),
        };
        CallbackReply::Done {
            position: accepted.position,
            wait,
            at,
            // Only how it is said depends on it; the request is durable either way.
            merged: self.is_merged(&accepted).await.unwrap_or(false),
        }
    }

    pub(super) async fn is_merged(&self, accepted: &Accepted) -> Result<bool, StoreError> {
        let id = accepted.id.clone();
        let row = self
            .store
            .read(move |tx| {
                let id = id.clone();
                Box::pin(async move { request::by_id(tx, &id).await })
            })
            .await?;
        Ok(row.is_some_and(|row| row.state == State::Merged))
    }
}

/// The first `bytes_max` bytes, whole characters only.
fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}
