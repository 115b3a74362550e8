//! Checks over a whole set of flows: the graph (`E101`-`E105`, `E112`, `E115`), the names
//! and expressions (`E108`, `E109`, `E111`, `E113`), the words (`E106`, `E107`, `E110`,
//! `E116`, `E117`), what is configured outside (`E118`), and what merely deserves a look
//! (`W...`).

mod graph;
mod habit;
mod known;
mod names;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fault::Report;
use super::flow::Known;
use super::model::Flow;
use super::say::Locale;

/// What the checks look at.
struct Set<'a> {
    flows: &'a BTreeMap<String, Arc<Flow>>,
    locales: &'a BTreeMap<String, Locale>,
    /// Names of flows whose file could not be read.
    unread: &'a BTreeSet<String>,
}

/// Checks all flows against each other and against the locales.
pub(super) fn check(
    flows: &BTreeMap<String, Arc<Flow>>,
    locales: &BTreeMap<String, Locale>,
    unread: &BTreeSet<String>,
    known: &Known,
    report: &mut Report,
) {
    let set = Set {
        flows,
        locales,
        unread,
    };
    for flow in flows.values() {
        graph::check(flow, report);
        graph::calls(flow, &set, report);
        names::check(flow, &set, report);
        words::check(flow, &set, report);
        known::check(flow, known, report);
        habit::check(flow, &set, known, report);
    }
    graph::recursion(&set, report);
    words::shared_ids(&set, report);
}

pub(super) use habit::lost_keys;

#[cfg(test)]
mod tests;
