//! What flows leave for others: messages for mailboxes, word to other services; and what
//! they ask about customers. Everything that leaves goes through the outbox.

use helpline_core::ivr::io::{Delivery, FindReply, HttpOrder, Lookup, LookupBy};
use helpline_core::phone::PhoneNumber;
use serde_json::Value;

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

    /// The record of a customer: what the operator's table says, and the latest request.
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
        let wanted = value.clone();
        let found = self.store.read(move |tx| {
            let value = wanted.clone();
            Box::pin(async move { customer::find(tx, by, &value).await })
        });
        let found = match tokio::time::timeout(lookup.timeout, found).await {
            Ok(Ok(found)) => Some(found.unwrap_or_default()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a customer could not be looked for");
                None
            }
            Err(_) => None,
        };
        let word = |name| found.as_ref()?.get(name)?.as_str();
        let (mut number, mut email) = (word("number"), word("email"));
        match by {
            LookupBy::Phone => number = Some(&value),
            LookupBy::Email => email = Some(&value),
            LookupBy::Request | LookupBy::Address => {}
        }
        let customers = self.customers.load();
        match (customers.find(number, email), found.clone()) {
            (None, None) => FindReply::Failed,
            (None, Some(found)) if found.is_empty() => FindReply::Miss,
            (None, Some(found)) => FindReply::Record(Value::Object(found)),
            // What the operator says of a customer is worth more than what he once wrote.
            (Some(known), found) => {
                let mut record = found.unwrap_or_default();
                record.extend(known.clone());
                FindReply::Record(Value::Object(record))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::desk::Origin;
    use crate::desk::customers::Customers;
    use crate::desk::stage::{Stage, config, request};
    use helpline_core::request::HelpRequest;

    async fn find(stage: &Stage, by: LookupBy, value: &str) -> FindReply {
        let lookup = Lookup {
            by,
            value: value.to_owned(),
            timeout: Duration::from_secs(5),
        };
        stage.desk.find(&lookup).await
    }

    #[tokio::test]
    async fn the_operators_table_and_the_latest_request_are_one_record() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("customers.csv");
        let text =
            "number,email,name,tier\n030 1234567,ada@cust.test,Ada L.,gold\n,bo@cust.test,Bo,\n";
        std::fs::write(&table, text).unwrap();
        let mut config = config();
        config.ivr.customers = Some(table);
        let stage = Stage::new(config.clone()).await;
        let ada = "+49301234567";
        assert_eq!(find(&stage, LookupBy::Phone, ada).await, FindReply::Miss);
        stage.desk.know(Customers::load(&config).unwrap());
        let FindReply::Record(record) = find(&stage, LookupBy::Phone, "030 1234567").await else {
            panic!("she is in the table");
        };
        assert_eq!(
            (&record["tier"], record.get("queue")),
            (&"gold".into(), None)
        );
        let request = HelpRequest {
            whom: helpline_core::request::Whom::default(),
            number: PhoneNumber::from_row(ada),
            name: Some("ada".into()),
            ..request(1)
        };
        let accepted = stage.desk.accept(request, Origin::default()).await.unwrap();
        let by_request = find(&stage, LookupBy::Request, accepted.id.as_str()).await;
        assert_eq!(find(&stage, LookupBy::Phone, ada).await, by_request);
        let FindReply::Record(record) = by_request else {
            panic!("she has asked");
        };
        assert_eq!(
            (&record["name"], &record["queue"]),
            (&"Ada L.".into(), &"help".into())
        );
        // The table is there when the store is not.
        stage.lose_the_store();
        let bo = find(&stage, LookupBy::Email, "BO@cust.test").await;
        assert!(
            matches!(&bo, FindReply::Record(r) if r["name"] == "Bo"),
            "{bo:?}"
        );
        assert_eq!(
            find(&stage, LookupBy::Phone, "+49307654321").await,
            FindReply::Failed
        );
    }
}
