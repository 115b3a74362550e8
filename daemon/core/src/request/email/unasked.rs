//! Mail that asks for nothing: machines, reports, and what nobody can say who wrote it.

use mail_parser::Message;

use super::classify::{People, Verdict};
use super::headers::Headers;
use super::token::Recipient;
use super::{Kind, MailContext, body, dsn};

/// A mail of ours that a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// What it spoke of: a request, or a message that made none.
    pub about: String,
    /// Its kind and number, when the report returned its Message-ID.
    pub mail: Option<(String, u32)>,
}

/// What the headers of a message tell.
pub(super) struct Seen<'a> {
    pub headers: &'a Headers,
    pub people: &'a People,
    pub verdict: Verdict,
    /// What one of its addresses is for.
    pub recipient: Option<Recipient>,
}

impl<'a> Seen<'a> {
    pub(super) fn of(
        message: &Message<'_>,
        headers: &'a Headers,
        people: &'a People,
        context: &MailContext<'_>,
    ) -> Seen<'a> {
        Seen {
            headers,
            people,
            verdict: super::classify::classify(headers, message, people, context),
            recipient: super::follow_up::recipient(headers, &people.recipients, context),
        }
    }
}

/// What a message is that asks for nothing, or of which nobody can say who asks.
pub(super) fn unasked(
    message: &Message<'_>,
    seen: &Seen<'_>,
    context: &MailContext<'_>,
) -> Option<Kind> {
    let is_bounce_address = matches!(seen.recipient, Some(Recipient::Bounce(_)));
    if let Verdict::Machine(reason) = seen.verdict {
        let is_formal = dsn::is_report(seen.headers, message, seen.people.is_mailer());
        // Absence is told to the same address (RFC 3834 §4) and is no report.
        let is_plain = is_bounce_address && reason == "null_sender" && !is_answered(seen.headers);
        return Some(match is_formal || is_plain {
            true => bounce(message, seen.recipient.as_ref(), context),
            false => Kind::Machine { reason },
        });
    }
    if is_bounce_address {
        // Nobody is told this address but mail servers.
        let reason = "bounce_address";
        return Some(Kind::Machine { reason });
    }
    // With several writers nobody can say whom a reply would reach or who asked.
    let reason = "several_from";
    (seen.people.from.len() > 1).then_some(Kind::Quarantine { reason })
}

fn is_answered(headers: &Headers) -> bool {
    let value = headers.first("auto-submitted").unwrap_or_default();
    value.to_ascii_lowercase().starts_with("auto-replied")
}

fn bounce(message: &Message<'_>, recipient: Option<&Recipient>, context: &MailContext<'_>) -> Kind {
    let dsn = dsn::read(message, &body::read(message).text);
    let returned = dsn.message_id.as_deref();
    let returned = returned.and_then(|id| context.keys?.sent_mail(id));
    let of = match (recipient, returned) {
        (Some(Recipient::Bounce(about)), mail) => Some(Undelivered {
            about: about.clone(),
            mail: mail
                .filter(|mail| mail.about == *about)
                .map(|mail| (mail.kind, mail.seq)),
        }),
        (_, Some(mail)) => Some(Undelivered {
            about: mail.about,
            mail: Some((mail.kind, mail.seq)),
        }),
        (_, None) => None,
    };
    let reason = dsn.action.word();
    Kind::Bounce { reason, dsn, of }
}
