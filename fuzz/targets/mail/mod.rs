//! What the targets of mail share: a desk, and the same message around each text.

use helpline_core::phone::DialRules;
use helpline_core::request::email::{Envelope, Keys, MailContext, Report, ReportContext, report};
use helpline_core::time::Wall;

/// Friday, 27 November 2026, 10:00 UTC.
pub const NOW: Wall = Wall::from_millis(1_795_773_600_000);

/// Who takes mail: a desk in Britain that may call Germany too.
pub struct Desk {
    own: [String; 1],
    authserv_ids: Vec<String>,
    dial: DialRules,
    keys: Keys,
}

impl Desk {
    pub fn new(authserv_ids: &[&str]) -> Self {
        Desk {
            own: ["help@help.test".to_owned()],
            authserv_ids: authserv_ids.iter().map(|id| (*id).to_owned()).collect(),
            dial: DialRules {
                allow: vec!["GB".to_owned(), "DE".to_owned()],
                ..DialRules::default()
            },
            keys: Keys::new(&[7; 32], None),
        }
    }

    pub fn context(&self) -> MailContext<'_> {
        MailContext {
            own_addresses: &self.own,
            zone: "Europe/London",
            region: Some("GB"),
            dial: &self.dial,
            queue: "help",
            received: NOW,
            envelope: Envelope::From("ada@cust.test"),
            authserv_ids: &self.authserv_ids,
            recipients: &self.own,
            keys: Some(&self.keys),
            checked: None,
        }
    }

    /// The report on a message, as JSON.
    pub fn report(&self, raw: &[u8], now: Wall) -> serde_json::Value {
        let how = ReportContext {
            now: Some(now),
            ..ReportContext::default()
        };
        let report: Report = report(raw, &self.context(), &how);
        serde_json::to_value(report).expect("a report is JSON")
    }
}

/// A plain message of a person, with these headers besides.
pub fn message(headers: &str, text: &str) -> Vec<u8> {
    format!(
        "{headers}From: Ada <ada@cust.test>\r\nTo: help@help.test\r\nSubject: call\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n{text}"
    )
    .into_bytes()
}
