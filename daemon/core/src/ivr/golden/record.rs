//! A call that took place, as a golden test that does the same.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// A line of a stored trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Milliseconds since the answer.
    pub at_ms: u64,
    /// Flow of the line.
    pub flow: String,
    /// Node of the line.
    pub node: String,
    /// What kind of line it is.
    pub kind: String,
    /// The rest of it.
    pub data: String,
}

/// A number that belongs to nobody, in place of the caller's.
const NUMBER: &str = "+33199001234";

/// The test. Keys of secrets were never written down: `0` stands for each. What the world
/// around the call was like is not in a trace but for the answers: `given` needs a look.
#[must_use]
pub fn record(name: &str, input: &serde_json::Value, lines: &[Recorded]) -> String {
    let flow = lines.first().map_or("", |line| line.flow.as_str());
    let mut test = format!("# Recorded from the call {name}.\nflow: {flow}\n");
    // Writing to a string cannot fail; JSON is YAML as well.
    let _ = writeln!(test, "given:\n  call: {{ from: \"{NUMBER}\" }}");
    if input.as_object().is_some_and(|o| !o.is_empty()) {
        let _ = writeln!(test, "  input: {input}");
    }
    let help = lines.iter().find_map(|line| {
        let flow = line.data.strip_prefix("flow ")?;
        (line.kind == "join").then_some(flow)
    });
    if let Some(help) = help {
        let _ = writeln!(test, "  help: {help}");
    }
    services(lines, &mut test);
    test.push_str("steps:\n");
    let mut node = "";
    let mut told = "";
    for line in lines {
        if line.kind == "node" {
            node = &line.node;
        }
        let Some(step) = step(line) else {
            continue;
        };
        if node != told && line.kind != "end" {
            let _ = writeln!(test, "  - expect: {{ node: {node} }}");
            told = node;
        }
        let _ = writeln!(test, "  - {step}");
    }
    let path = lines.iter().filter(|line| line.kind == "node");
    let path: Vec<&str> = path.map(|line| line.node.as_str()).collect();
    let end = lines.iter().find(|line| line.kind == "end");
    let end = end.map_or(String::new(), |line| format!(", end: {}", line.data));
    let _ = writeln!(
        test,
        "  - expect: {{ path: [{}]{end}, within: 1h }}",
        path.join(", ")
    );
    test
}

/// What services answered, in the order they were asked.
fn services(lines: &[Recorded], test: &mut String) {
    let mut asked = None;
    let mut seen = false;
    for line in lines.iter().filter(|line| line.kind == "http") {
        match line.data.split_once(' ') {
            Some((method, url)) => asked = Some((method, url)),
            None => {
                let (Some((method, url)), Ok(status)) = (asked.take(), line.data.parse::<u16>())
                else {
                    continue;
                };
                if !std::mem::replace(&mut seen, true) {
                    test.push_str("  http: # bodies are not in a trace\n");
                }
                let _ = writeln!(
                    test,
                    "    - {{ method: {method}, url: {url:?}, reply: {{ status: {status}, body: {{}} }} }}"
                );
            }
        }
    }
}

/// What somebody did.
fn step(line: &Recorded) -> Option<String> {
    let (kind, data) = (line.kind.as_str(), line.data.as_str());
    let (word, rest) = data.split_once(' ').unwrap_or((data, ""));
    match kind {
        "key" if rest != "swallowed" || word == "masked" => {
            let key = if word == "masked" { "0" } else { word };
            Some(format!("press: \"{key}\""))
        }
        "key" => Some(format!("press: \"{word}\"")),
        "event" if word == "hangup" => Some("hangup: true".to_owned()),
        "event" if matches!(word, "no_agents" | "busy" | "no_answer" | "machine" | "fax") => {
            Some(format!("event: {word}"))
        }
        "event" if word == "talk" => Some("event: answered".to_owned()),
        "event" if matches!(word, "talk_ended" | "talk_broke") => Some(format!("event: {word}")),
        "event" if matches!(word, "no_input" | "timeout") => {
            Some(format!("expect: {{ does: {{ event: {word} }} }}"))
        }
        "join" if word == "flow" => Some("event: answered".to_owned()),
        "transfer" if word == "done" => Some("event: talk_ended".to_owned()),
        "detect" if word == "listens" => Some("event: beep".to_owned()),
        "record" if word.ends_with("ms") => {
            let length = word.strip_suffix("ms")?;
            Some(format!("speak: {length}ms"))
        }
        _ => None,
    }
}
