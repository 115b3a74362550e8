//! Requests that come at the same time enter together: most of them need nothing but their
//! rows, and those of all are written by three statements. The others enter one by one.
//!
//! There is no timer. Whoever finds nobody at work writes what is there; what comes meanwhile
//! is the next lot.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use helpline_core::queue::State;
use helpline_core::queue::order::Key;
use helpline_core::request::When;
use tokio::sync::oneshot;

use super::accept::{
    ADDRESS_HOUR, Entered, Entry, NUMBER_DAY, NUMBER_MINUTE, accepted, enter, new_row,
};
use super::{AcceptError, StoreError, locked};
use crate::store::{Conn, Lane, Limit, NewRequest, Store, limit, request};

/// Requests in one transaction.
const TOGETHER_MAX: usize = 128;

type Answer = Result<Entered, AcceptError>;

/// Where requests wait to enter.
#[derive(Debug, Default)]
pub(super) struct Door {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<(Entry, oneshot::Sender<Answer>)>,
    /// Somebody writes what waits.
    is_open: bool,
}

impl Door {
    /// Takes a request in; the answer comes after the commit. A caller that goes away leaves
    /// the request in the line.
    pub(super) async fn enter(self: &Arc<Self>, store: &Store, entry: Entry) -> Answer {
        let (reply, answer) = oneshot::channel();
        let opens = {
            let mut waiting = locked(&self.waiting);
            waiting.entries.push((entry, reply));
            !std::mem::replace(&mut waiting.is_open, true)
        };
        if opens {
            tokio::spawn(Arc::clone(self).let_in(store.clone()));
        }
        answer.await.unwrap_or(Err(AcceptError::Unavailable))
    }

    async fn let_in(self: Arc<Self>, store: Store) {
        loop {
            let lot = {
                let mut waiting = locked(&self.waiting);
                let many = waiting.entries.len().min(TOGETHER_MAX);
                if many == 0 {
                    waiting.is_open = false;
                    return;
                }
                let mut lot: Vec<_> = waiting.entries.drain(..many).collect();
                // The order of ids is the order in which they came.
                lot.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
                lot
            };
            let (entries, replies): (Vec<_>, Vec<_>) = lot.into_iter().unzip();
            for (reply, answer) in replies.into_iter().zip(write(&store, entries).await) {
                // Whoever asked may be gone; the row stands all the same.
                let _ = reply.send(answer);
            }
        }
    }
}

/// Writes a lot; one that cannot be written with the others is tried alone.
async fn write(store: &Store, entries: Vec<Entry>) -> Vec<Answer> {
    let written = store.write_lot(Lane::First, entries, |tx, lot| {
        Box::pin(enter_together(tx, lot))
    });
    let answer = |answer: Result<Answer, StoreError>| {
        answer.unwrap_or_else(|error| {
            tracing::error!(%error, "a request could not be stored");
            Err(AcceptError::Unavailable)
        })
    };
    written.await.into_iter().map(answer).collect()
}

/// In the order in which they came: places are told by it.
async fn enter_together(tx: &mut Conn, entries: &[Entry]) -> Result<Vec<Answer>, StoreError> {
    let mut answers = Vec::with_capacity(entries.len());
    let mut rest = entries;
    while let [first, others @ ..] = rest {
        let (run, after) = rest.split_at(plain(rest));
        if run.len() < 2 {
            answers.push(enter(tx, first).await?);
            rest = others;
            continue;
        }
        for (entry, entered) in run.iter().zip(stand_together(tx, run).await?) {
            answers.push(match entered {
                Some(entered) => Ok(entered),
                None => enter(tx, entry).await?,
            });
        }
        rest = after;
    }
    Ok(answers)
}

/// How many at the begin need nothing but a row at the end of a line that is surely not full;
/// each number and address once.
fn plain(entries: &[Entry]) -> usize {
    let (mut numbers, mut networks) = (HashSet::new(), HashSet::new());
    let plain = entries.iter().take_while(|entry| {
        entry.is_bare()
            && entry.request.when == When::Now
            && !entry.line.seen.may_hold(entry.line.waiting_max)
            && numbers.insert(entry.request.number.clone())
            && entry
                .network()
                .is_none_or(|network| networks.insert(network))
    });
    plain.count()
}

/// Takes the limits of plain requests and writes their rows. `None`: this one has to be looked
/// at closer, and nothing of it is left behind.
async fn stand_together(
    tx: &mut Conn,
    entries: &[Entry],
) -> Result<Vec<Option<Entered>>, StoreError> {
    let now = tx.now().await?;
    let taken = take_limits(tx, entries).await?;
    let mut ahead = None;
    let mut rows = Vec::new();
    for (entry, taken) in entries.iter().zip(&taken) {
        if taken.iter().any(|(_, _, granted)| !granted) {
            continue;
        }
        let queue = entry.request.queue.as_str();
        let before = match (entry.line.ahead, &mut ahead) {
            (Some(ahead), _) => ahead,
            (None, Some((counted, last))) if *counted == queue => {
                *last += 1;
                *last
            }
            (None, ahead) => {
                let id = entry.id.clone();
                let key = Key {
                    rank: 1,
                    place_at: now,
                    id,
                };
                let count = request::ahead(tx, queue, &key).await?;
                *ahead = Some((queue, count));
                count
            }
        };
        let (promise, forecast) = entry.promise(before, now);
        let row = NewRequest {
            state: State::Waiting,
            forecast,
            ..new_row(entry, &promise, now)?
        };
        rows.push((row, accepted(entry, Some(before + 1), promise)));
    }
    let (rows, accepted): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let written = request::insert_many(tx, &rows).await?;
    let mut accepted = accepted
        .into_iter()
        .filter(|a| written.contains(a.id.as_str()));
    let mut next = accepted.next();
    let mut entered = Vec::with_capacity(entries.len());
    for (entry, taken) in entries.iter().zip(&taken) {
        if next.as_ref().is_some_and(|a| a.id == entry.id) {
            let accepted = std::mem::replace(&mut next, accepted.next());
            entered.push(accepted.map(|accepted| Entered {
                accepted,
                withheld: false,
            }));
            continue;
        }
        // It will take them again, if it may.
        for (limit, whose, granted) in taken {
            if *granted {
                limit::give_back(tx, *limit, whose).await?;
            }
        }
        entered.push(None);
    }
    Ok(entered)
}

/// What a request takes of limits: which, whose, and whether it was there.
type Taken = Vec<(Limit, String, bool)>;

async fn take_limits(tx: &mut Conn, entries: &[Entry]) -> Result<Vec<Taken>, StoreError> {
    let mut taken: Vec<Taken> = entries.iter().map(|_| Vec::new()).collect();
    for limit in [ADDRESS_HOUR, NUMBER_MINUTE, NUMBER_DAY] {
        let whose = |entry: &Entry| match limit.name == ADDRESS_HOUR.name {
            true => entry.network(),
            false => Some(entry.request.number.as_str().to_owned()),
        };
        let all: Vec<Option<String>> = entries.iter().map(whose).collect();
        let names: Vec<&str> = all.iter().flatten().map(String::as_str).collect();
        if names.is_empty() {
            continue;
        }
        let mut granted = limit::take_many(tx, limit, &names).await?.into_iter();
        for (taken, whose) in taken.iter_mut().zip(all) {
            if let Some(whose) = whose {
                taken.push((limit, whose, granted.next().unwrap_or(false)));
            }
        }
    }
    Ok(taken)
}
