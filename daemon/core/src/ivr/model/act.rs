//! What each type of node does, with all its fields.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Code, Exit, Item, Part, Target};
use crate::ivr::fault::Place;
use crate::ivr::io::{HttpMethod, Key, LookupBy, Role as RoomRole, TransferMode};

/// Where a question's answer goes and how it is read.
#[derive(Clone, Debug)]
pub(in crate::ivr) struct Question {
    pub(in crate::ivr) say: Vec<Item>,
    pub(in crate::ivr) first: Duration,
    pub(in crate::ivr) tries: u32,
    pub(in crate::ivr) barge_in: bool,
    pub(in crate::ivr) type_ahead: bool,
}

/// `digits`, `match`, `check`, `save` of a `collect`.
#[derive(Clone, Debug)]
pub(in crate::ivr) struct Entry {
    pub(in crate::ivr) min: usize,
    pub(in crate::ivr) max: usize,
    pub(in crate::ivr) terminators: Vec<char>,
    pub(in crate::ivr) between: Duration,
    pub(in crate::ivr) pattern: Option<regex::Regex>,
    pub(in crate::ivr) check: Option<Code>,
    pub(in crate::ivr) save: Target,
    pub(in crate::ivr) next: Target,
}

/// How a message of the caller is taken down.
#[derive(Clone, Debug)]
pub(in crate::ivr) struct Taking {
    pub(in crate::ivr) say: Vec<Item>,
    pub(in crate::ivr) max: Duration,
    pub(in crate::ivr) silence: Duration,
    pub(in crate::ivr) finish_keys: Vec<Key>,
    /// We sound a tone before it.
    pub(in crate::ivr) beep: bool,
    /// The caller may hear it and take it again.
    pub(in crate::ivr) review: bool,
}

/// A name and where it was written.
#[derive(Clone, Debug)]
pub(in crate::ivr) struct Named {
    pub(in crate::ivr) name: String,
    pub(in crate::ivr) at: Place,
}

/// `request` of `http` and `webhook`.
#[derive(Clone, Debug)]
pub(in crate::ivr) struct Request {
    pub(in crate::ivr) method: HttpMethod,
    pub(in crate::ivr) url: Vec<Part>,
    /// Where the address was written.
    pub(in crate::ivr) at: Place,
    pub(in crate::ivr) headers: Vec<(String, Vec<Part>)>,
    /// Members of the body; their names are the service's own.
    pub(in crate::ivr) json: Option<Vec<(String, Code)>>,
    pub(in crate::ivr) timeout: Duration,
    pub(in crate::ivr) retries: u32,
}

/// What a `callback` node orders.
#[derive(Clone, Debug)]
pub(in crate::ivr) enum Order {
    Request {
        queue: Vec<Part>,
        number: Code,
        at: Option<Code>,
        keep_place: bool,
    },
    Reschedule(Code),
    Refused,
    Withdrawn,
}

/// What a caller in line hears now and then.
#[derive(Clone, Debug)]
pub(in crate::ivr) struct Announce {
    pub(in crate::ivr) first: Duration,
    pub(in crate::ivr) every: Duration,
    pub(in crate::ivr) only_if_better: bool,
    pub(in crate::ivr) say: Vec<Item>,
}

/// What a node does.
#[derive(Clone, Debug)]
pub(in crate::ivr) enum Act {
    Play {
        say: Vec<Item>,
        barge_in: bool,
        repeat: u32,
        /// Not before the far end's tone, or its silence.
        after_beep: bool,
        next: Target,
    },
    Menu {
        question: Question,
        keys: BTreeMap<char, Exit>,
    },
    Collect {
        question: Question,
        entry: Entry,
    },
    Record {
        taking: Taking,
        save: Target,
        next: Target,
    },
    Voicemail {
        taking: Taking,
        mailbox: Named,
        next: Target,
    },
    Branch {
        cases: Vec<(Code, Target, Option<String>)>,
        otherwise: Target,
    },
    Set {
        set: Vec<(Target, Code)>,
        next: Target,
    },
    Http {
        request: Request,
        /// Statuses that count as an answer; empty: all of 200 to 299.
        accept: Vec<u16>,
        save: Vec<(Target, Code)>,
        wait_say: Vec<Item>,
        next: Target,
    },
    Webhook {
        request: Request,
        next: Target,
    },
    Lookup {
        by: LookupBy,
        value: Code,
        save: Target,
        timeout: Duration,
        next: Target,
    },
    Callback {
        order: Order,
        say: Vec<Item>,
        next: Target,
    },
    Enqueue {
        queue: Vec<Part>,
        priority: Option<Code>,
        /// With the place and request the call already holds.
        reserved: bool,
        say: Vec<Item>,
        music: Option<Named>,
        announce: Option<Announce>,
        keys: BTreeMap<char, Exit>,
        max_wait: Duration,
        next: Option<Target>,
    },
    Transfer {
        to: Vec<Part>,
        ring: Duration,
        caller_id: Option<Code>,
        say: Vec<Item>,
        whisper: Vec<Item>,
        /// By which way.
        mode: TransferMode,
        next: Option<Target>,
    },
    Conference {
        room: Vec<Part>,
        role: RoomRole,
        max_parties: u32,
        say: Vec<Item>,
    },
    Detect {
        budget: Duration,
        next: Target,
    },
    Wait {
        length: Duration,
        music: Option<Named>,
        next: Target,
    },
    Subflow {
        flow: Target,
        with: Vec<(Target, Code)>,
        save: Vec<(Target, Code)>,
        next: Option<Target>,
    },
    Return {
        event: Option<String>,
    },
    Hangup {
        cause: u8,
    },
}

/// The expressions in a text.
pub(super) fn in_parts(parts: &[Part]) -> impl Iterator<Item = &Code> {
    parts.iter().filter_map(|part| match part {
        Part::Text(_) => None,
        Part::Code(code) | Part::Plain(code) => Some(code),
    })
}

impl Request {
    pub(in crate::ivr) fn codes(&self) -> impl Iterator<Item = &Code> {
        let headers = self.headers.iter().flat_map(|(_, value)| in_parts(value));
        let json = self.json.iter().flatten().map(|(_, code)| code);
        in_parts(&self.url).chain(headers).chain(json)
    }
}

impl Act {
    /// Every expression of its own, without those of what it says.
    pub(in crate::ivr) fn codes(&self) -> Vec<&Code> {
        fn of(list: &[(Target, Code)]) -> impl Iterator<Item = &Code> {
            list.iter().map(|(_, code)| code)
        }
        match self {
            Act::Collect { entry, .. } => entry.check.iter().collect(),
            Act::Branch { cases, .. } => cases.iter().map(|(when, _, _)| when).collect(),
            Act::Set { set, .. } => of(set).collect(),
            Act::Http { request, save, .. } => request.codes().chain(of(save)).collect(),
            Act::Webhook { request, .. } => request.codes().collect(),
            Act::Lookup { value, .. } => vec![value],
            Act::Callback { order, .. } => match order {
                Order::Request {
                    queue, number, at, ..
                } => in_parts(queue).chain([number]).chain(at).collect(),
                Order::Reschedule(code) => vec![code],
                Order::Refused | Order::Withdrawn => Vec::new(),
            },
            Act::Enqueue {
                queue, priority, ..
            } => in_parts(queue).chain(priority).collect(),
            Act::Transfer { to, caller_id, .. } => in_parts(to).chain(caller_id).collect(),
            Act::Conference { room, .. } => in_parts(room).collect(),
            Act::Subflow { with, save, .. } => of(with).chain(of(save)).collect(),
            Act::Play { .. }
            | Act::Menu { .. }
            | Act::Record { .. }
            | Act::Voicemail { .. }
            | Act::Detect { .. }
            | Act::Wait { .. }
            | Act::Return { .. }
            | Act::Hangup { .. } => Vec::new(),
        }
    }
}
