//! What an operator counts of flows: the ways calls take where a flow chooses, how often questions are
//! put, and how soon callers answer. Read from the trace of a call as it comes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::io::TraceLine;

/// Upper bounds of how often a question is put.
pub const TRIES_BOUNDS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0];
/// Upper bounds of the time to the first key, in seconds.
pub const KEY_BOUNDS: &[f64] = &[0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0];

/// One thing to count.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// A way was taken: of a question, a branch, an event or the end of a flow.
    Left {
        /// The flow.
        flow: String,
        /// Name of the exit, without where it leads.
        exit: String,
    },
    /// A question is over that was put so often.
    Tries {
        /// The flow.
        flow: String,
        /// One or more.
        tries: u32,
    },
    /// A caller pressed the first key so long after the question began.
    FirstKey {
        /// The flow.
        flow: String,
        /// Zero for keys that were pressed ahead.
        after: Duration,
    },
}

/// The question a call is at.
#[derive(Debug)]
struct Question {
    flow: String,
    since: Duration,
    tries: u32,
    is_keyed: bool,
}

/// Reads the trace of one call.
#[derive(Debug, Default)]
pub struct Measurer {
    question: Option<Question>,
}

impl Measurer {
    /// What this line, so long after the answer, adds to the counts.
    pub fn read(&mut self, at: Duration, line: &TraceLine) -> Vec<Measure> {
        match (line.kind, line.data.as_str()) {
            ("node", node) => {
                let is_question = node.ends_with(" menu") || node.ends_with(" collect");
                self.question = is_question.then(|| Question {
                    flow: line.flow.clone(),
                    since: at,
                    tries: 1,
                    is_keyed: false,
                });
                Vec::new()
            }
            ("key", key) if !key.contains(' ') => self.first_key(at).into_iter().collect(),
            ("event", "no_input" | "no_match") => {
                if let Some(question) = &mut self.question {
                    question.tries += 1;
                }
                Vec::new()
            }
            // The last try has failed already: it was not followed by one more.
            ("event", "exhausted") => {
                let question = self.question.take();
                let over = question.map(|q| q.over(1));
                over.into_iter().collect()
            }
            ("exit", exit) => {
                let over = self.question.take().map(|q| q.over(0));
                let flow = line.flow.clone();
                let exit = exit_of(exit).to_owned();
                over.into_iter()
                    .chain([Measure::Left { flow, exit }])
                    .collect()
            }
            ("end", _) => self
                .question
                .take()
                .map(|q| q.over(0))
                .into_iter()
                .collect(),
            _ => Vec::new(),
        }
    }

    fn first_key(&mut self, at: Duration) -> Option<Measure> {
        let question = self.question.as_mut().filter(|q| !q.is_keyed)?;
        question.is_keyed = true;
        Some(Measure::FirstKey {
            flow: question.flow.clone(),
            after: at.saturating_sub(question.since),
        })
    }
}

impl Question {
    fn over(self, fewer: u32) -> Measure {
        Measure::Tries {
            flow: self.flow,
            tries: (self.tries - fewer).max(1),
        }
    }
}

/// `menu 1 -> help` is the exit `1`; `return` has no node before it.
fn exit_of(line: &str) -> &str {
    let Some((from, _)) = line.split_once(" -> ") else {
        return line;
    };
    from.split_once(' ').map_or(from, |(_, exit)| exit)
}

/// How values are spread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// How many values are at most as large as each bound.
    pub buckets: Vec<u64>,
    /// How many values there are.
    pub count: u64,
    /// All of them together.
    pub sum: f64,
}

impl Spread {
    /// One more value; `bounds`, ascending, are always the same.
    pub fn add(&mut self, bounds: &[f64], value: f64) {
        self.buckets.resize(bounds.len(), 0);
        for (bucket, bound) in self.buckets.iter_mut().zip(bounds) {
            *bucket += u64::from(value <= *bound);
        }
        self.count += 1;
        self.sum += value;
    }
}

/// The counts of all calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// How often ways were taken, by flow and exit.
    pub left: BTreeMap<(String, String), u64>,
    /// How often questions were put, by flow; bounds are [`TRIES_BOUNDS`].
    pub tries: BTreeMap<String, Spread>,
    /// Seconds to the first key, by flow; bounds are [`KEY_BOUNDS`].
    pub first_key: BTreeMap<String, Spread>,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, measure: Measure) {
        match measure {
            Measure::Left { flow, exit } => *self.left.entry((flow, exit)).or_default() += 1,
            Measure::Tries { flow, tries } => {
                let spread = self.tries.entry(flow).or_default();
                spread.add(TRIES_BOUNDS, f64::from(tries));
            }
            Measure::FirstKey { flow, after } => {
                let spread = self.first_key.entry(flow).or_default();
                spread.add(KEY_BOUNDS, after.as_secs_f64());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ivr::io::Output;
    use crate::ivr::sim::{self, Sim};
    use crate::time::Time;

    fn tally(keys: &[(u64, &str)]) -> Tally {
        let mut call = Sim::new(sim::shipped(), sim::start("satisfaction")).unwrap();
        for (seconds, keys) in keys {
            call.wait(Duration::from_secs(*seconds));
            call.press(keys);
        }
        call.wait(Duration::from_secs(120));
        let (mut measurer, mut tally) = (Measurer::default(), Tally::default());
        for (at, output) in call.log() {
            if let Output::Trace(line) = output {
                for measure in measurer.read(at.since(Time::ZERO), line) {
                    tally.add(measure);
                }
            }
        }
        tally
    }

    #[test]
    fn tries_and_the_first_key_of_a_question_are_counted() {
        let answered = tally(&[(2, "5")]);
        let (tries, key) = (
            &answered.tries["satisfaction"],
            &answered.first_key["satisfaction"],
        );
        assert_eq!((tries.count, tries.buckets[0]), (1, 1), "{answered:?}");
        assert_eq!((key.count, key.buckets[2]), (1, 1), "{answered:?}");
        assert!((key.sum - 2.0).abs() < 0.1, "{answered:?}");
        let left = |exit: &str| {
            let way = ("satisfaction".to_owned(), exit.to_owned());
            answered.left.get(&way).copied()
        };
        assert_eq!((left("next"), left("exhausted")), (Some(1), None));
    }

    #[test]
    fn a_question_nobody_answers_counts_its_tries_once() {
        let silent = tally(&[]);
        let tries = &silent.tries["satisfaction"];
        assert_eq!(tries.count, 1, "{silent:?}");
        assert!(silent.first_key.is_empty(), "{silent:?}");
        assert!((tries.sum - 2.0).abs() < f64::EPSILON, "{silent:?}");
        let way = ("satisfaction".to_owned(), "exhausted".to_owned());
        assert_eq!(silent.left[&way], 1);
    }

    #[test]
    fn what_is_no_answer_is_no_first_key() {
        let line = |kind, data: &str| TraceLine {
            flow: "t".into(),
            node: "a".into(),
            kind,
            data: data.into(),
        };
        let mut measurer = Measurer::default();
        let at = Duration::from_secs;
        assert_eq!(measurer.read(at(0), &line("node", "a menu")), []);
        assert_eq!(measurer.read(at(1), &line("key", "1 dropped")), []);
        let key = measurer.read(at(3), &line("key", "masked"));
        let flow = "t".to_owned();
        assert_eq!(
            key,
            [Measure::FirstKey {
                flow: flow.clone(),
                after: at(3)
            }]
        );
        assert_eq!(measurer.read(at(3), &line("event", "no_match")), []);
        let over = measurer.read(at(4), &line("exit", "a two words -> b"));
        assert_eq!(
            over,
            [
                Measure::Tries {
                    flow: flow.clone(),
                    tries: 2
                },
                Measure::Left {
                    flow: flow.clone(),
                    exit: "two words".into()
                }
            ]
        );
        let back = measurer.read(at(5), &line("exit", "return done"));
        assert_eq!(
            back,
            [Measure::Left {
                flow,
                exit: "return done".into()
            }]
        );
    }
}
