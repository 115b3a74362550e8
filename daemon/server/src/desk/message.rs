//! What flows leave for others: messages for mailboxes, word to other services; and what
//! they ask about customers. Everything that leaves goes through the outbox.

use helpline_core::ivr::io::{Delivery, FindReply, HttpOrder, Lookup, LookupBy};
use helpline_core::phone::PhoneNumber;

use super::{AckTo, Caller, Desk, StoreError};
use crate::store::customer;
use crate::store::outbox::{self, CallerMessage, MailBody};

impl Desk {
    /// A message is on its way: its row is durable.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]. False: there is no such mailbox, or too much waits in it.
    pub(crate) async fn deliver(
        &self,
        number: Option<&PhoneNumber>,
        delivery: &Delivery,
    ) -> Result<bool, StoreError> {
        let mailboxes = &self.config.mailbox;
        let Some(mailbox) = mailboxes.iter().find(|m| m.name == delivery.mailbox) else {
            tracing::error!(mailbox = delivery.mailbox, "there is no such mailbox");
            return Ok(false);
        };
        let Some(to) = &mailbox.to else {
            tracing::info!(recording = delivery.take.id, "a caller left a message");
            return Ok(true);
        };
        let body = MailBody {
            made_at: Some(self.clock.wall()),
            message: Some(CallerMessage {
                take: delivery.take.id.clone(),
                mailbox: mailbox.name.clone(),
                from: number.map(|n| n.as_str().to_owned()),
                millis: u64::try_from(delivery.take.length.as_millis()).unwrap_or(u64::MAX),
                zone: self.config.site.zone.clone(),
            }),
            ..MailBody::default()
        };
        let to = AckTo {
            address: to.clone(),
            ..AckTo::default()
        };
        let letters = self.letters("");
        let language = &self.config.site.language;
        let about = delivery.take.id.clone();
        let row = letters.row(about, "voicemail", 1, to, body, language);
        let most = mailbox.messages_max;
        self.store
            .write(move |tx| {
                let row = row.clone();
                Box::pin(async move {
                    if outbox::waiting(tx, row.kind, &row.to_addr).await? >= i64::from(most) {
                        return Ok(false);
                    }
                    outbox::insert(tx, &row).await?;
                    Ok(true)
                })
            })
            .await
    }

    /// Another service will be told, as often as it takes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn tell_service(
        &self,
        caller: &Caller,
        seq: u32,
        order: HttpOrder,
    ) -> Result<(), StoreError> {
        let to = AckTo {
            address: order.url.clone(),
            ..AckTo::default()
        };
        let letters = self.letters("");
        let body = MailBody {
            made_at: Some(self.clock.wall()),
            webhook: Some(order),
            ..MailBody::default()
        };
        let about = caller.call_id.clone();
        let row = letters.row(about, "webhook", seq, to, body, "en");
        self.store
            .write(move |tx| {
                let row = row.clone();
                Box::pin(async move { outbox::insert(tx, &row).await })
            })
            .await
    }

    /// The record of a customer.
    pub(crate) async fn find(&self, lookup: &Lookup) -> FindReply {
        let by = lookup.by;
        let value = match by {
            // As requests are stored.
            LookupBy::Phone => {
                match PhoneNumber::parse(&lookup.value, self.config.dial.region.as_deref()) {
                    Ok(number) => number.as_str().to_owned(),
                    Err(_) => return FindReply::Miss,
                }
            }
            LookupBy::Email | LookupBy::Request | LookupBy::Address => lookup.value.clone(),
        };
        let found = self.store.read(move |tx| {
            let value = value.clone();
            Box::pin(async move { customer::find(tx, by, &value).await })
        });
        match tokio::time::timeout(lookup.timeout, found).await {
            Ok(Ok(Some(record))) => FindReply::Record(record),
            Ok(Ok(None)) => FindReply::Miss,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a customer could not be looked for");
                FindReply::Failed
            }
            Err(_) => FindReply::Failed,
        }
    }
}
