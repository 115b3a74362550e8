//! Whom an automatic reply goes to, and in which thread.

use super::classify::People;
use super::headers::Headers;
use super::{address_key, ids};

/// Most ids kept of `References`, and most bytes of them.
const REFERENCES_MAX: usize = 20;
const REFERENCES_BYTES_MAX: usize = 2_000;

/// Whom and what an automatic reply answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckParts {
    /// The one address.
    pub address: String,
    /// Message-ID without `<>`.
    pub in_reply_to: Option<String>,
    /// References without `<>`, oldest first, this message's own id last.
    pub references: Vec<String>,
    /// Subject, decoded and cleaned.
    pub subject: Option<String>,
}

/// To exactly one address: From, or Reply-To if it is one address of the same domain.
/// Any other Reply-To would make us write to people who never wrote.
pub(super) fn ack(headers: &Headers, people: &People, subject: Option<String>) -> Option<AckParts> {
    let address = reply_address(people)?;
    let in_reply_to = headers
        .first("message-id")
        .and_then(|v| ids(v).into_iter().next());
    let mut references: Vec<String> = headers.all("references").flat_map(ids).collect();
    references.extend(in_reply_to.clone());
    let mut bytes = 0;
    let kept = references.iter().rev().take_while(|id| {
        bytes += id.len() + 3;
        bytes < REFERENCES_BYTES_MAX
    });
    let keep = kept.take(REFERENCES_MAX).count();
    let references = references.split_off(references.len() - keep);
    Some(AckParts {
        address,
        in_reply_to,
        references,
        subject,
    })
}

/// The one address that may be answered.
pub(super) fn reply_address(people: &People) -> Option<String> {
    let (_, from) = people.from.first()?;
    let domain = address_key(from)?.1;
    let reply_to = match people.reply_to.as_slice() {
        [one] => address_key(one).filter(|(_, d)| *d == domain).map(|_| one),
        _ => None,
    };
    let address = reply_to.unwrap_or(from).trim().to_owned();
    is_plain_address(&address).then_some(address)
}

/// An address that cannot carry anything else into a command or a header.
fn is_plain_address(address: &str) -> bool {
    let fine = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.@".contains(c);
    address.len() <= 254 && address.chars().all(fine) && address.matches('@').count() == 1
}
