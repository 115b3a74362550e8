//! Requests as they enter the line, several by one statement.

use std::collections::HashSet;

use helpline_core::id::RequestId;
use helpline_core::queue::ewt::{Forecast, Promise};
use helpline_core::queue::{HeldReason, State};
use helpline_core::request::HelpRequest;
use helpline_core::time::Wall;

use super::json;
use crate::store::conn::{Val, args};
use crate::store::many::{self, Many};
use crate::store::{Conn, Error, limit};

/// A request as it enters.
#[derive(Clone, Debug)]
pub(crate) struct NewRequest {
    pub(crate) id: RequestId,
    pub(crate) request: HelpRequest,
    pub(crate) state: State,
    pub(crate) held_reason: Option<HeldReason>,
    pub(crate) place_at: Wall,
    pub(crate) not_before: Wall,
    pub(crate) due_at: Option<Wall>,
    pub(crate) not_after: Option<Wall>,
    pub(crate) token: String,
    pub(crate) ack_json: Option<String>,
    pub(crate) promise: Promise,
    /// What the promise was made of.
    pub(crate) forecast: Option<Forecast>,
    pub(crate) stale_at: Option<Wall>,
    pub(crate) address: Option<String>,
    /// Whom it counts for, if it came by web or mail.
    pub(crate) source: Option<String>,
    /// The customer called from the number himself.
    pub(crate) proven: bool,
    /// What he has to key in on the call.
    pub(crate) pin: Option<String>,
    pub(crate) parent: Option<RequestId>,
    pub(crate) accepted_at: Wall,
}

/// Writes a request; false if the number already has an open one in this queue, or may not be
/// called, or nothing is taken from its source.
pub(crate) async fn insert(tx: &mut Conn, new: &NewRequest) -> Result<bool, Error> {
    let written = insert_many(tx, std::slice::from_ref(new)).await?;
    Ok(!written.is_empty())
}

/// Writes requests; the ids of those that were written, see [`insert`].
pub(crate) async fn insert_many(
    tx: &mut Conn,
    new: &[NewRequest],
) -> Result<HashSet<String>, Error> {
    const INSERT: Many = Many {
        head: "insert into request (id, queue, state, open, place_at, not_before, due_at,
                 not_after, number, channel, name, email, page, note, language, zone, token,
                 ack_json, promise_json, stale_at, parent, consent_at, consent_address,
                 accepted_at, estimate_json, created_at, held_reason, skill, prefers,
                 proven, pin) values",
        each: "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        between: ", ",
        tail: "on conflict do nothing returning id",
    };
    let barred = barred(tx, new).await?;
    let is_free = |new: &&NewRequest| {
        let is_barred = |name: &String| barred.contains(name);
        !is_barred(&limit::hash(&new.request.number)) && !new.source.as_ref().is_some_and(is_barred)
    };
    let free: Vec<&NewRequest> = new.iter().filter(is_free).collect();
    let mut written = HashSet::new();
    for chunk in many::chunks(&free) {
        let mut args = Vec::new();
        for new in chunk {
            args.extend(values(new)?);
        }
        let text = INSERT.text(chunk.len(), &[], tx);
        for row in tx.rows_of(text, args).await? {
            written.insert(row.text(0)?);
        }
    }
    Ok(written)
}

/// Of the numbers and sources of these, those from or to which nothing is taken.
async fn barred(tx: &mut Conn, new: &[NewRequest]) -> Result<HashSet<String>, Error> {
    const NUMBERS: Many = Many {
        head: "select number_hash from suppressed where (until is null or until > {now})
                 and number_hash in (",
        each: "?",
        between: ", ",
        tail: ")",
    };
    const SOURCES: Many = Many {
        head: "select source from quarantine where until > {now} and source in (",
        each: "?",
        between: ", ",
        tail: ")",
    };
    let numbers: Vec<String> = new.iter().map(|n| limit::hash(&n.request.number)).collect();
    let sources: Vec<String> = new.iter().filter_map(|n| n.source.clone()).collect();
    let mut barred = HashSet::new();
    for (statement, names) in [(NUMBERS, numbers), (SOURCES, sources)] {
        for chunk in many::chunks(&names) {
            let args = chunk.iter().map(|name| Val::from(name.as_str())).collect();
            let text = statement.text(chunk.len(), &[], tx);
            for row in tx.rows_of(text, args).await? {
                barred.insert(row.text(0)?);
            }
        }
    }
    Ok(barred)
}

fn values(new: &NewRequest) -> Result<Vec<Val>, Error> {
    let r = &new.request;
    Ok(args![
        new.id.as_str(),
        &r.queue,
        new.state.word(),
        new.state.is_open(),
        new.place_at,
        new.not_before,
        new.due_at,
        new.not_after,
        r.number.as_str(),
        r.channel.word(),
        r.name.clone(),
        r.email.clone(),
        r.page.clone(),
        r.note.clone(),
        &r.language,
        r.zone.clone(),
        &new.token,
        new.ack_json.clone(),
        json(&new.promise)?,
        new.stale_at,
        new.parent.as_ref().map(RequestId::as_str),
        new.accepted_at,
        new.address.clone(),
        new.accepted_at,
        new.forecast.as_ref().map(json).transpose()?,
        new.accepted_at,
        new.held_reason.map(HeldReason::word),
        r.whom.skill.clone().unwrap_or_default(),
        r.whom.agent.clone(),
        new.proven,
        new.pin.clone(),
    ])
}
