//! What works and yet troubles callers or translators: order of words, too many choices,
//! ways that nobody gave, values between prompts.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Set;
use crate::ivr::fault::{Place, Report};
use crate::ivr::flow::Known;
use crate::ivr::model::{Act, Flow, Item, Node, What, all_codes};

/// More choices cannot be kept in mind.
const CHOICES_MAX: usize = 5;
/// More characters than this before the first choice: 20 s at 60 ms each.
const LEAD_CHARACTERS_MAX: usize = 333;

/// Checks one flow.
pub(super) fn check(flow: &Flow, set: &Set<'_>, known: &Known, report: &mut Report) {
    for node in &flow.nodes {
        for say in node.says() {
            barge_order(flow, node, say, report);
            value_between(flow, say, report);
        }
        if let Act::Menu { .. } = &node.act {
            choices(flow, node, report);
        }
        falls_to_error(flow, node, report);
    }
    for code in all_codes(flow).into_iter().filter(|c| c.expr.is_nested()) {
        let message = format!(
            "`{}` has a macro in a macro: its time grows with the square of the list",
            code.expr.source()
        );
        report.add(&flow.file, code.at, "W210", message);
    }
    if known.starts.as_ref().is_some_and(|s| s.contains(&flow.id)) {
        helpless(flow, set, report);
    }
}

/// A legal notice comes first: after something that a key may stop, "stop" would mean two
/// things.
fn barge_order(flow: &Flow, node: &Node, say: &[Item], report: &mut Report) {
    let by_node = match &node.act {
        Act::Play { barge_in, .. } => *barge_in,
        Act::Menu { question, .. } | Act::Collect { question, .. } => question.barge_in,
        _ => false,
    };
    let mut interruptible = false;
    for item in say {
        match item.barge_in {
            Some(false) if interruptible => {
                let message = "`barge_in: false` comes after an item that a key may stop: put what must be heard first";
                report.add(&flow.file, item.at, "E114", message);
            }
            Some(false) => {}
            Some(true) => interruptible = true,
            None => interruptible |= by_node,
        }
    }
}

/// Words around a value are in another order in another language.
fn value_between(flow: &Flow, say: &[Item], report: &mut Report) {
    if flow.locales.len() < 2 || !say.iter().any(|i| matches!(i.what, What::Prompt { .. })) {
        return;
    }
    if let Some(item) = say.iter().find(|i| matches!(i.what, What::Value(..))) {
        let message = "a value between prompts: in another language the words come in another order; make it a slot of a prompt";
        report.add(&flow.file, item.at, "W208", message);
    }
}

fn choices(flow: &Flow, node: &Node, report: &mut Report) {
    let back = |to: &str| to == node.name;
    let keys = node.keys().into_iter().flatten();
    let ways = keys.filter(|(_, exit)| exit.next.as_ref().is_some_and(|to| !back(&to.name)));
    let count = ways.count();
    if count > CHOICES_MAX {
        let message = format!(
            "\"{}\" has {count} choices; more than {CHOICES_MAX} are not kept in mind",
            node.name
        );
        report.add(&flow.file, node.at, "W204", message);
    }
    let mut before = 0;
    for say in node.says() {
        for item in say {
            let What::Prompt { id, .. } = &item.what else {
                continue;
            };
            let text = flow.prompts.get(id).map_or("", |p| p.text.as_str());
            let choice = text.find(|c: char| c.is_ascii_digit());
            before += choice.unwrap_or(text.len());
            if choice.is_some() {
                break;
            }
        }
    }
    if before > LEAD_CHARACTERS_MAX {
        let message = format!(
            "callers of \"{}\" wait more than 20 s for the first choice",
            node.name
        );
        report.add(&flow.file, node.at, "W204", message);
    }
}

/// Events of a node for which neither it nor the flow says where to go, nor `next` does.
fn falls_to_error(flow: &Flow, node: &Node, report: &mut Report) {
    let events: &[&str] = match &node.act {
        Act::Enqueue { .. } => &["timeout", "no_agents", "full"],
        Act::Transfer { .. } => &["busy", "no_answer"],
        Act::Conference { .. } => &["full"],
        _ => return,
    };
    let open =
        |event: &&&str| !node.events.contains_key(**event) && !flow.events.contains_key(**event);
    let open: Vec<&str> = events.iter().filter(open).copied().collect();
    if node.next().is_none() && !open.is_empty() {
        let message = format!(
            "\"{}\" says nothing of {}: it would end as an error",
            node.name,
            open.join(", ")
        );
        report.add(&flow.file, node.at, "W207", message);
    }
}

/// A flow that answers calls must have a way to a person, a call-back or a message.
fn helpless(flow: &Flow, set: &Set<'_>, report: &mut Report) {
    let (mut seen, mut todo) = (BTreeSet::new(), vec![flow.id.clone()]);
    while let Some(id) = todo.pop() {
        let Some(inner) = set.flows.get(&id).map(Arc::clone) else {
            continue;
        };
        if !seen.insert(id) {
            continue;
        }
        for node in &inner.nodes {
            match &node.act {
                Act::Enqueue { .. }
                | Act::Callback { .. }
                | Act::Voicemail { .. }
                | Act::Transfer { .. }
                | Act::Conference { .. } => return,
                Act::Subflow { flow, .. } => todo.push(flow.name.clone()),
                _ => {}
            }
        }
    }
    let at = flow.nodes.first().map_or(Place::default(), |node| node.at);
    let message = "callers of this flow find no way to a person, a call-back or a message";
    report.add(&flow.file, at, "W205", message);
}

/// A key written without quotes is a comment, and the file stays valid without it.
pub(in crate::ivr) fn lost_keys(file: &str, text: &str, report: &mut Report) {
    for (number, line) in (1..).zip(text.lines()) {
        let Some(at) = line.find("#:") else {
            continue;
        };
        let before = line.get(..at).unwrap_or_default().trim_end();
        let is_start = before.is_empty() || before.ends_with(['{', ',']);
        if is_start {
            let column = u32::try_from(at + 1).unwrap_or(0);
            let place = Place {
                line: number,
                column,
            };
            let message = "this is a comment, not a key: write \"#\" in quotes";
            report.add(file, place, "W209", message);
        }
    }
}
