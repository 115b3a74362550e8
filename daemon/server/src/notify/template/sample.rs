//! Made-up facts, with which templates are tried and shown.

use std::time::Duration;

use helpline_core::queue::ewt::{Promise, PromiseKind};
use helpline_core::time::Wall;

use crate::store::outbox::{AlarmFacts, CallerMessage, MailBody, OutboxRow};

/// The sorts of estimates.
pub const ESTIMATES: [PromiseKind; 6] = [
    PromiseKind::Range,
    PromiseKind::Short,
    PromiseKind::Straddle,
    PromiseKind::Closed,
    PromiseKind::Booked,
    PromiseKind::None,
];
/// What a template may ask `reason` for.
pub const REASONS: [&str; 14] = [
    "no_phone",
    "ambiguous_phone",
    "refused_phone",
    "cancelled",
    "unreachable",
    "expired",
    "done",
    "not_confirmed",
    "machine",
    "chosen",
    "number",
    "mailbox",
    "quarantine",
    "budget",
];
/// Monday, 2 November 2026, 09:00 UTC.
const MADE_AT: Wall = Wall::from_millis(1_793_610_000_000);

/// Facts of one mail that nobody gets.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Which mail.
    pub kind: String,
    /// What is promised, if anything.
    pub estimate: Option<PromiseKind>,
    /// Why the mail is written.
    pub reason: Option<String>,
    /// The customer's name.
    pub name: Option<String>,
    /// Without every fact that may be missing.
    pub bare: bool,
}

/// One sample of each sort.
pub(super) fn all(kind: &str) -> Vec<Sample> {
    let reasons = || REASONS.map(|reason| Some(reason.to_owned()));
    let with = |estimate, reason, bare| Sample {
        kind: kind.to_owned(),
        estimate,
        reason,
        name: Some("{{x}} <b>".to_owned()),
        bare,
    };
    let by_estimate = ESTIMATES.map(|estimate| with(Some(estimate), None, false));
    let by_reason = reasons().map(|reason| with(Some(PromiseKind::Booked), reason, false));
    let bare = reasons().map(|reason| with(None, reason, true));
    let mut all: Vec<Sample> = by_estimate.into_iter().chain(by_reason).collect();
    all.extend(bare);
    all.push(with(None, None, true));
    all
}

impl Sample {
    /// The facts as a row of the outbox holds them.
    #[must_use]
    pub fn body(&self) -> MailBody {
        let reason = self.reason.clone();
        if self.bare {
            return MailBody {
                reason,
                ..MailBody::default()
            };
        }
        MailBody {
            request_tag: Some("7KQ2-9F4M".into()),
            number_masked: Some("+44 … 00".into()),
            customer_name: self.name.clone(),
            position: Some(3),
            promise: self.estimate.map(promise),
            made_at: Some(MADE_AT),
            token: Some("sample".into()),
            reason,
            next_at: Some(MADE_AT + Duration::from_secs(1_800)),
            missed: true,
            unclear: true,
            queue_title: Some("Help".into()),
            message: Some(CallerMessage {
                take: "sample".into(),
                mailbox: "help".into(),
                from: Some("+442079460100".into()),
                millis: 75_000,
                zone: "UTC".into(),
            }),
            alarm: (self.kind == "alarm").then(|| AlarmFacts {
                mailbox: Some("help".into()),
                detail: Some("refused: no".into()),
            }),
            ..MailBody::default()
        }
    }

    /// The row of the outbox that would cause the mail.
    #[must_use]
    pub fn row(&self, locale: &str) -> OutboxRow {
        OutboxRow {
            id: "sample".into(),
            about: "sample".into(),
            kind: self.kind.clone(),
            body: self.body(),
            locale: locale.to_owned(),
            to_addr: String::new(),
            message_id: String::new(),
            rendered: None,
            is_unreachable: false,
            attempts: 1,
            epoch: 1,
        }
    }
}

fn promise(kind: PromiseKind) -> Promise {
    let hours = |n: u64| MADE_AT + Duration::from_secs(n * 3_600);
    let (from, to) = match kind {
        PromiseKind::Range => (hours(1), hours(2)),
        PromiseKind::Short => (MADE_AT, MADE_AT + Duration::from_secs(300)),
        PromiseKind::Straddle => (hours(8), hours(25)),
        PromiseKind::Closed => (hours(23), hours(24)),
        PromiseKind::Booked => (hours(30), hours(30)),
        PromiseKind::None => (MADE_AT, MADE_AT),
    };
    let straddles = kind == PromiseKind::Straddle;
    Promise {
        kind,
        from,
        to,
        zone: "UTC".into(),
        percent: straddles.then_some(60),
        gap: straddles.then_some((hours(9), hours(23))),
    }
}
