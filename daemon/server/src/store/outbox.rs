//! The outbox: mail that must be sent, written in the transaction that caused it.
//! `notify` claims rows, renders them once, sends them, and marks them.

use helpline_core::queue::ewt::Promise;
use helpline_core::time::Wall;
use serde::{Deserialize, Serialize};

/// A row claimed for sending.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// Row id.
    pub id: String,
    /// What it speaks of: a request id, or a mail id for `needs_info`.
    pub about: String,
    /// Name of the template: `ack` `needs_info` `attempted` `closing`.
    pub kind: String,
    /// Facts for the template.
    pub body: MailBody,
    /// Language of the mail (BCP 47).
    pub locale: String,
    /// The one recipient.
    pub to_addr: String,
    /// Fixed Message-ID without `<>`: the same in every retry.
    pub message_id: String,
    /// The bytes, once rendered: every retry sends the same.
    pub rendered: Option<Vec<u8>>,
    /// Tries so far, this one included.
    pub attempts: u32,
    /// Fence for marking the row.
    pub epoch: i64,
}

/// Facts of a mail. Only values for templates; never a template itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MailBody {
    /// Short name of the request a person can quote, `7KQ2-9F4M`.
    pub request_tag: Option<String>,
    /// The number, masked.
    pub number_masked: Option<String>,
    /// The customer's name.
    pub customer_name: Option<String>,
    /// Place in line, 1 = next.
    pub position: Option<u32>,
    /// What is promised.
    pub promise: Option<Promise>,
    /// When the promise was made.
    pub made_at: Option<Wall>,
    /// Secret of the status page; links are made from it and `http.public_url`.
    pub token: Option<String>,
    /// Query of the prefilled form, for `needs_info` and rebooking links.
    pub form_query: Option<String>,
    /// Why (`needs_info`: `no_phone`...; `closing`: terminal state; `attempted`: disposition word).
    pub reason: Option<String>,
    /// When the next try is due.
    pub next_at: Option<Wall>,
    /// Title of the queue.
    pub queue_title: Option<String>,
    /// Message-ID answered.
    pub in_reply_to: Option<String>,
    /// References, oldest first.
    pub references: Vec<String>,
    /// Subject answered.
    pub subject: Option<String>,
}
