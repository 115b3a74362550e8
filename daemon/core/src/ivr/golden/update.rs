//! Puts the words that are spoken now in place of those a golden test expects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::coverage::Coverage;
use super::file::GoldenTest;
use crate::ivr::fault::Fault;
use crate::ivr::flow::{FlowSet, Source};

/// Words are the same but for an edit while they share so much, of 1.
const ALIKE: f64 = 0.5;

/// Words of a test that were replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reworded {
    /// Line of the step.
    pub line: u32,
    /// What the test expected.
    pub was: String,
    /// What is spoken.
    pub now: String,
}

/// A `said` that nobody spoke.
#[derive(Clone, Debug)]
pub(super) struct Unsaid {
    pub(super) wanted: String,
    /// What was spoken instead, in order.
    pub(super) heard: Vec<String>,
}

/// The test's text with each `said` that is spoken in other words now reworded, and what was
/// replaced. What a call does is never rewritten: that is for its author to decide.
///
/// # Errors
/// The text is no golden test.
pub fn update(source: &Source, set: &Arc<FlowSet>) -> Result<(String, Vec<Reworded>), Fault> {
    let mut source = source.clone();
    let mut reworded: Vec<Reworded> = Vec::new();
    loop {
        let test = GoldenTest::read(&source)?;
        let outcome = test.run(set, &mut Coverage::default());
        let change = outcome.failure.and_then(|failure| {
            let unsaid = failure.unsaid?;
            Some(Reworded {
                line: failure.line,
                now: likest(&unsaid)?,
                was: unsaid.wanted,
            })
        });
        // One step is reworded once: a second time would turn in a circle.
        let change = change.filter(|c| reworded.iter().all(|r| r.line != c.line));
        let text = change
            .as_ref()
            .and_then(|c| replace(&test, &source.text, c));
        let (Some(text), Some(change)) = (text, change) else {
            return Ok((source.text, reworded));
        };
        source.text = text;
        reworded.push(change);
    }
}

/// The spoken words that are most like the wanted ones, whole sentences or all of a prompt.
fn likest(unsaid: &Unsaid) -> Option<String> {
    let sentences = unsaid.heard.iter().flat_map(|words| {
        let parts = words.split_inclusive(['.', '?', '!']).map(str::trim);
        parts.chain([words.as_str()])
    });
    let mut best: Option<(f64, &str)> = None;
    for words in sentences.filter(|words| !words.is_empty()) {
        let score = likeness(&unsaid.wanted, words);
        if score >= ALIKE && best.is_none_or(|(most, _)| score > most) {
            best = Some((score, words));
        }
    }
    best.map(|(_, words)| words.to_owned())
}

/// The share of words in common (Dice): 1 for the same words, 0 for none.
fn likeness(one: &str, other: &str) -> f64 {
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for word in words(one) {
        counts.entry(word).or_default().0 += 1;
    }
    for word in words(other) {
        counts.entry(word).or_default().1 += 1;
    }
    let common: u32 = counts.values().map(|(a, b)| a.min(b)).sum();
    let all: u32 = counts.values().map(|(a, b)| a + b).sum();
    f64::from(2 * common) / f64::from(all.max(1))
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|w| !w.is_empty()).map(str::to_lowercase)
}

/// The text with the value of `said` in the step replaced; `None` where it cannot be found.
fn replace(test: &GoldenTest, text: &str, change: &Reworded) -> Option<String> {
    let place = test.steps.iter().position(|s| s.at.line == change.line)?;
    let start = offset_of(text, change.line)?;
    let next = test.steps.get(place + 1).map(|step| step.at.line);
    let end = next.and_then(|line| offset_of(text, line));
    let step = text.get(start..end.unwrap_or(text.len()))?;
    let field = step.match_indices("said:").find(|(at, _)| {
        let before = step.get(..*at).and_then(|t| t.chars().next_back());
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    });
    let after = field?.0 + "said:".len();
    let value = step.get(after..)?;
    let blank = value.len() - value.trim_start().len();
    let length = scalar(&value[blank..], &change.was)?;
    let from = start + after + blank;
    let now = serde_json::to_string(&change.now).ok()?;
    Some([text.get(..from)?, &now, text.get(from + length..)?].concat())
}

/// Where a line begins, counted from 1. As in YAML, a carriage return ends one as well.
fn offset_of(text: &str, line: u32) -> Option<usize> {
    let before = usize::try_from(line).ok()?.checked_sub(1)?;
    let bytes = text.as_bytes();
    let ends = text.match_indices(['\n', '\r']).map(|(at, _)| at + 1);
    let ends = ends.filter(|end| !bytes.get(end - 1..).is_some_and(|b| b.starts_with(b"\r\n")));
    std::iter::once(0).chain(ends).nth(before)
}

/// Length of the scalar that `text` begins with, if it stands for `value`.
fn scalar(text: &str, value: &str) -> Option<usize> {
    let quoted = match text.chars().next()? {
        '"' => serde_json::to_string(value).ok()?,
        '\'' => format!("'{}'", value.replace('\'', "''")),
        _ => value.to_owned(),
    };
    text.starts_with(&quoted).then_some(quoted.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ivr::sim;

    const FLOW: &str = "helpline: 1
id: t
start: a
prompts:
  hello: { text: \"Welcome at the help line.\" }
  ask: { text: \"To talk to us now, press 1.\" }
  bye: { text: \"Good bye.\" }
nodes:
  a: { type: play, say: [{ prompt: hello }], next: b }
  b: { type: menu, say: [{ prompt: ask }], keys: { \"1\": { next: c } }, events: { exhausted: { next: d } } }
  c: { type: play, say: [{ prompt: bye }], next: d }
  d: { type: hangup }
";

    fn updated(steps: &str) -> (String, Vec<Reworded>) {
        let source = |file: &str, text: &str| Source {
            file: file.to_owned(),
            text: text.to_owned(),
        };
        let locale = sim::locale_for(
            "en-US",
            &[
                ("hello", "Welcome at the help line."),
                ("ask", "To talk to us now, press 1."),
                ("bye", "Good bye."),
            ],
        );
        let (set, faults) = FlowSet::load(&[source("t.flow.yaml", FLOW)], &[locale]);
        let set = Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")));
        let test = source("t.test.yaml", &format!("flow: t\nsteps:\n{steps}"));
        update(&test, &set).unwrap()
    }

    #[test]
    fn words_that_changed_are_replaced_and_nothing_else() {
        let (text, reworded) = updated(
            "  - expect: { said: \"Welcome to the help line\" } # as ever
  - expect:
      not_said: Goodbye
      said: 'To talk to us, press 1'
  - press: \"1\"
  - expect: { said: Good bye., end: 16 }
",
        );
        assert_eq!(
            text,
            "flow: t
steps:
  - expect: { said: \"Welcome at the help line.\" } # as ever
  - expect:
      not_said: Goodbye
      said: \"To talk to us now, press 1.\"
  - press: \"1\"
  - expect: { said: Good bye., end: 16 }
"
        );
        assert_eq!(reworded.len(), 2);
        assert_eq!(
            (reworded[1].line, &*reworded[1].was),
            (4, "To talk to us, press 1")
        );
    }

    #[test]
    fn lines_end_as_in_yaml() {
        let text = "a\nb\r\nc\rd";
        let lines = (1..6).map(|line| offset_of(text, line));
        assert!(lines.eq([Some(0), Some(2), Some(5), Some(7), None]));
        assert_eq!(offset_of(text, 0), None);
    }

    #[test]
    fn what_is_not_a_change_of_words_stays() {
        for steps in [
            "  - expect: { said: \"Something of quite another sort\" }\n",
            "  - expect: { not_said: \"Welcome at\" }\n",
            "  - expect: { node: c }\n",
            "  - expect: { said: \"Welcome at the help line\" }\n",
        ] {
            let (text, reworded) = updated(steps);
            assert!(text.ends_with(steps) && reworded.is_empty(), "{text}");
        }
    }
}
