//! Prompts, recordings and the words of menus.

use std::collections::{BTreeMap, BTreeSet};

use super::Set;
use crate::ivr::fault::{Place, Report, hint};
use crate::ivr::flow::{all_items, reviews};
use crate::ivr::machine::REVIEW_CLIP;
use crate::ivr::model::{Act, Flow, Item, ReadAs, What};
use crate::ivr::say::{Locale, Quality, SentencePart, pieces};

/// Checks the words of one flow.
pub(super) fn check(flow: &Flow, set: &Set<'_>, report: &mut Report) {
    let used = used_prompts(flow, report);
    for (id, prompt) in &flow.prompts {
        let slots: BTreeSet<&str> = prompt.slots.keys().map(String::as_str).collect();
        let text = slots_of(id, &prompt.text);
        let text: BTreeSet<&str> = text.iter().map(String::as_str).collect();
        differ(
            flow,
            prompt.at,
            &format!("the text of \"{id}\""),
            &text,
            &slots,
            report,
        );
        if !used.contains(id.as_str()) {
            report.add(
                &flow.file,
                prompt.at,
                "W201",
                format!("the prompt \"{id}\" is never played"),
            );
        }
    }
    for (i, (name, at)) in flow.locales.iter().enumerate() {
        match set.locales.get(name) {
            Some(locale) => recordings(flow, locale, i == 0, &used, report),
            None => {
                let near = hint(name, set.locales.keys().map(String::as_str));
                report.add(
                    &flow.file,
                    *at,
                    "E107",
                    format!("the locale {name} has no prompts{near}"),
                );
            }
        }
    }
    if let Some(locale) = flow.locales.first().and_then(|(l, _)| set.locales.get(l)) {
        spoken_keys(flow, locale, report);
    }
}

/// Prompts the flow plays; each is declared and gets the slots it wants.
fn used_prompts<'a>(flow: &'a Flow, report: &mut Report) -> BTreeSet<&'a str> {
    let mut used = BTreeSet::new();
    for item in all_items(flow) {
        if let What::Prompt { id, with } = &item.what {
            used.insert(id.as_str());
            match flow.prompts.get(id) {
                None => {
                    let near = hint(id, flow.prompts.keys().map(String::as_str));
                    report.add(
                        &flow.file,
                        item.at,
                        "E106",
                        format!("the prompt \"{id}\" is not declared{near}"),
                    );
                }
                Some(prompt) => {
                    let given: BTreeSet<&str> = with.keys().map(String::as_str).collect();
                    let slots: BTreeSet<&str> = prompt.slots.keys().map(String::as_str).collect();
                    differ(
                        flow,
                        item.at,
                        &format!("`with` of \"{id}\""),
                        &given,
                        &slots,
                        report,
                    );
                }
            }
        }
    }
    used
}

fn differ(
    flow: &Flow,
    at: Place,
    what: &str,
    have: &BTreeSet<&str>,
    want: &BTreeSet<&str>,
    report: &mut Report,
) {
    for slot in have.difference(want) {
        let near = hint(slot, want.iter().copied());
        report.add(
            &flow.file,
            at,
            "E117",
            format!("{what} names the slot \"{slot}\", which `slots` does not{near}"),
        );
    }
    for slot in want.difference(have) {
        report.add(
            &flow.file,
            at,
            "E117",
            format!("{what} leaves out the slot \"{slot}\""),
        );
    }
}

fn slots_of(id: &str, text: &str) -> Vec<String> {
    let slot = |part| match part {
        SentencePart::Slot(name) => Some(name),
        SentencePart::Clip(..) => None,
    };
    pieces(id, text).into_iter().filter_map(slot).collect()
}

/// Whether a locale has everything the flow may play.
fn recordings(
    flow: &Flow,
    locale: &Locale,
    first: bool,
    used: &BTreeSet<&str>,
    report: &mut Report,
) {
    let mut values: BTreeMap<ReadAs, Place> = BTreeMap::new();
    for item in all_items(flow) {
        if let What::Value(read_as, code) = &item.what {
            values.entry(read_as.clone()).or_insert(code.at);
        }
    }
    for (id, prompt) in flow
        .prompts
        .iter()
        .filter(|(id, _)| used.contains(id.as_str()))
    {
        sentence(flow, locale, first, id, &prompt.text, prompt.at, report);
        for (read_as, at) in prompt.slots.values() {
            values.entry(read_as.clone()).or_insert(*at);
        }
    }
    for node in reviews(flow).filter(|_| !locale.clips.contains_key(REVIEW_CLIP)) {
        let message = format!(
            "{} has no clip \"{REVIEW_CLIP}\", which a review needs",
            locale.name
        );
        report.add(&flow.file, node.at, "E107", message);
    }
    for (read_as, at) in values {
        let missing: Vec<String> = locale
            .rules
            .clips(&read_as)
            .into_iter()
            .filter(|id| !locale.clips.contains_key(id))
            .collect();
        if let Some(one) = missing.first() {
            let more = missing.len() - 1;
            let message = format!(
                "{} has no clip \"{one}\" (and {more} more) to read this value; run prompts/build.py",
                locale.name
            );
            report.add(&flow.file, at, "E110", message);
        }
    }
}

fn sentence(
    flow: &Flow,
    locale: &Locale,
    first: bool,
    id: &str,
    text: &str,
    at: Place,
    report: &mut Report,
) {
    let Some(phrase) = locale.phrases.get(id) else {
        let message = format!(
            "{} has no sentence for the prompt \"{id}\"; add it to {} with prompts/build.py",
            locale.name, locale.file
        );
        report.add(&flow.file, at, "E107", message);
        return;
    };
    if first && phrase != text {
        report.add(
            &flow.file,
            at,
            "W203",
            format!("the recording of \"{id}\" says \"{phrase}\"; run prompts/build.py"),
        );
    }
    let (mine, theirs) = (slots_of(id, text), slots_of(id, phrase));
    let (mine, theirs): (BTreeSet<&str>, BTreeSet<&str>) = (
        mine.iter().map(String::as_str).collect(),
        theirs.iter().map(String::as_str).collect(),
    );
    differ(
        flow,
        at,
        &format!("the {} sentence of \"{id}\"", locale.name),
        &theirs,
        &mine,
        report,
    );
    for part in pieces(id, phrase) {
        if let SentencePart::Clip(clip, words) = part {
            recording(flow, locale, &clip, &words, at, report);
        }
    }
}

/// Whether one clip is recorded, final, and says the words of the sentence.
fn recording(
    flow: &Flow,
    locale: &Locale,
    clip: &str,
    words: &str,
    at: Place,
    report: &mut Report,
) {
    let name = &locale.name;
    let mut add = |code, message| report.add(&flow.file, at, code, message);
    match locale.clips.get(clip) {
        None => add(
            "E107",
            format!("{name} has no clip \"{clip}\"; run prompts/build.py"),
        ),
        Some(c) if c.quality == Quality::Draft => {
            add("W206", format!("the clip {name}/{clip} is a draft"))
        }
        Some(c) if c.text != words => {
            let said = &c.text;
            add(
                "W203",
                format!("the clip {name}/{clip} says \"{said}\"; run prompts/build.py"),
            );
        }
        Some(_) => {}
    }
}

/// Prompt ids are global: two flows may share one only with equal words.
pub(super) fn shared_ids(set: &Set<'_>, report: &mut Report) {
    let mut seen: BTreeMap<&str, (&Flow, &str)> = BTreeMap::new();
    for flow in set.flows.values() {
        for (id, prompt) in &flow.prompts {
            match seen.get(id.as_str()) {
                Some((other, text)) if *text != prompt.text => {
                    let message = format!(
                        "the prompt \"{id}\" has other words in {}: use another id or the same words",
                        other.file
                    );
                    report.add(&flow.file, prompt.at, "E116", message);
                }
                Some(_) => {}
                None => {
                    seen.insert(id, (flow, &prompt.text));
                }
            }
        }
    }
}

/// A menu's text and its keys must agree.
fn spoken_keys(flow: &Flow, locale: &Locale, report: &mut Report) {
    let press = &locale.rules.press;
    if press.is_empty() {
        return;
    }
    for node in &flow.nodes {
        let Act::Menu { question, keys } = &node.act else {
            continue;
        };
        let text = menu_text(flow, &question.say).to_lowercase();
        let mut words = text
            .split(|c: char| !c.is_alphanumeric() && !matches!(c, '*' | '#'))
            .filter(|w| !w.is_empty());
        let mut said: BTreeSet<char> = BTreeSet::new();
        while let Some(word) = words.next() {
            if word == press.as_str()
                && let Some(named) = words.next()
                && let Some(key) = "0123456789*#"
                    .chars()
                    .find(|k| locale.rules.key_word(*k) == named || k.to_string() == named)
            {
                said.insert(key);
            }
        }
        for key in said.iter().filter(|k| !keys.contains_key(k)) {
            report.add(
                &flow.file,
                node.at,
                "W211",
                format!(
                    "the text of \"{}\" says \"{press} {}\", but `keys` has no \"{key}\"",
                    node.name,
                    locale.rules.key_word(*key)
                ),
            );
        }
        for (key, exit) in keys.iter().filter(|(k, _)| !said.contains(k)) {
            report.add(
                &flow.file,
                exit.at,
                "W211",
                format!(
                    "`keys` has \"{key}\", but the text of \"{}\" never says \"{press} {}\"",
                    node.name,
                    locale.rules.key_word(*key)
                ),
            );
        }
    }
}

fn menu_text(flow: &Flow, say: &[Item]) -> String {
    let text = |item: &Item| match &item.what {
        What::Prompt { id, .. } => flow.prompts.get(id).map(|p| p.text.clone()),
        _ => None,
    };
    say.iter().filter_map(text).collect::<Vec<_>>().join(" ")
}
