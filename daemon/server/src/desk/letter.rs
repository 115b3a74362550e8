//! Mail rows: what is told about a request, written with the change it tells of.

use std::sync::Arc;

use helpline_core::queue::ewt::Promise;
use helpline_core::request::email::{Keys, SentMail};
use helpline_core::time::Wall;
use url::form_urlencoded;

use super::{AckTo, Desk, StoreError, request_tag};
use crate::store::outbox::MailBody;
use crate::store::{Conn, NewOutbox, RequestRow, outbox};

/// Past this an acknowledgement would only confuse.
pub(super) fn stale_at(promise: &Promise) -> Option<Wall> {
    promise.names_times().then_some(promise.to)
}

/// Query of a form that is filled with what the request says.
fn form_query(row: &RequestRow) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("queue", &row.queue);
    if let Some(email) = &row.email {
        query.append_pair("email", email);
    }
    if let Some(page) = &row.page {
        query.append_pair("page", page);
    }
    query.finish()
}

/// Makes mail rows of one site.
#[derive(Clone, Debug)]
pub(super) struct Letters {
    /// Domain of Message-IDs.
    pub(super) domain: String,
    /// What signs them.
    pub(super) keys: Arc<Keys>,
    /// Title of the queue.
    pub(super) title: String,
}

/// The letters of every queue.
#[derive(Clone, Debug)]
pub(super) struct AllLetters {
    queues: Vec<(String, Letters)>,
    /// For a queue that is no longer configured.
    other: Letters,
}

impl Desk {
    pub(super) fn all_letters(&self) -> AllLetters {
        let queues = self.config.queue.iter();
        let letters = |name: &String| (name.clone(), self.letters(name));
        AllLetters {
            queues: queues.map(|queue| letters(&queue.name)).collect(),
            other: self.letters(""),
        }
    }
}

impl AllLetters {
    pub(super) fn of(&self, queue: &str) -> &Letters {
        let own = self.queues.iter().find(|(name, _)| name == queue);
        own.map_or(&self.other, |(_, letters)| letters)
    }
}

impl Letters {
    /// A row of `kind` about a request; nothing if nobody is to be told.
    pub(super) async fn about(
        &self,
        tx: &mut Conn,
        row: &RequestRow,
        mail: &Letter,
    ) -> Result<(), StoreError> {
        let Some(ack) = row.ack_json.as_deref() else {
            return Ok(());
        };
        let Ok(ack) = serde_json::from_str::<AckTo>(ack) else {
            return Err(StoreError::Damaged(
                "whom to tell does not read back".into(),
            ));
        };
        let made_at = tx.now().await?;
        let promise = mail.promise.clone().or_else(|| row.promise.clone());
        let body = MailBody {
            request_tag: Some(request_tag(&row.id)),
            number_masked: Some(row.number.masked()),
            customer_name: row.name.clone(),
            position: mail.position,
            promise,
            made_at: Some(made_at),
            token: Some(row.token.clone()),
            form_query: Some(form_query(row)),
            reason: mail.reason.map(str::to_owned),
            next_at: mail.next_at,
            missed: row.missed,
            unclear: ack.unclear && mail.kind == "ack",
            queue_title: Some(self.title.clone()),
            ..MailBody::default()
        };
        let stale_at = matches!(mail.kind, "ack" | "changed")
            .then(|| body.promise.as_ref().and_then(stale_at))
            .flatten();
        let about = row.id.as_str().to_owned();
        let row = self.row(about, mail.kind, mail.seq, ack, body, &row.language);
        outbox::insert(tx, &NewOutbox { stale_at, ..row }).await
    }

    /// A row about anything else.
    pub(super) fn row(
        &self,
        about: String,
        kind: &'static str,
        seq: u32,
        to: AckTo,
        body: MailBody,
        language: &str,
    ) -> NewOutbox {
        let mail = SentMail {
            is_request: body.request_tag.is_some(),
            about: about.clone(),
            kind: kind.to_owned(),
            seq,
        };
        NewOutbox {
            // One mail of a kind and number about one thing: the id says so, and every
            // retry has the same Message-ID.
            id: format!("{about}.{kind}.{seq}"),
            message_id: self.keys.message_id(&mail, &self.domain),
            about,
            kind,
            seq,
            body: MailBody {
                in_reply_to: to.in_reply_to,
                references: to.references,
                subject: to.subject,
                ..body
            },
            locale: language.to_owned(),
            to_addr: to.address,
            stale_at: None,
        }
    }
}

/// What is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Letter {
    pub(super) kind: &'static str,
    pub(super) seq: u32,
    pub(super) position: Option<u32>,
    /// The promise to tell, when it is not the row's.
    pub(super) promise: Option<Promise>,
    pub(super) reason: Option<&'static str>,
    pub(super) next_at: Option<Wall>,
}
