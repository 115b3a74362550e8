//! A fault in a flow or prompt file: where it is, what it is, what to do about it.

use std::fmt;

/// A place in a file; lines and columns count from 1, 0 means "somewhere".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The set of flows cannot be used.
    Error,
    /// It can, but somebody should look.
    Warning,
}

/// One finding of the reader or of lint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// File as it was named to [`FlowSet::load`](super::flow::FlowSet::load).
    pub file: String,
    /// Line, from 1; 0 if the fault has no place.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// `E101`, `W201`: the list is in docs/IVR.md.
    pub code: &'static str,
    /// Error or warning; follows from the code.
    pub severity: Severity,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Fault {
    /// `file:line:column: E101 message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {} {}",
            self.file, self.line, self.column, self.code, self.message
        )
    }
}

/// Gathers the faults of a set.
#[derive(Debug, Default)]
pub(super) struct Report {
    faults: Vec<Fault>,
}

impl Report {
    /// Adds a fault; a code that begins with `W` is a warning.
    pub(super) fn add(
        &mut self,
        file: &str,
        at: Place,
        code: &'static str,
        message: impl Into<String>,
    ) {
        let severity = if code.starts_with('W') {
            Severity::Warning
        } else {
            Severity::Error
        };
        self.faults.push(Fault {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            code,
            severity,
            message: message.into(),
        });
    }

    /// Whether any fault so far is an error.
    pub(super) fn has_errors(&self) -> bool {
        self.faults.iter().any(|f| f.severity == Severity::Error)
    }

    /// All faults in the order of files and lines, each once.
    pub(super) fn into_faults(mut self) -> Vec<Fault> {
        self.faults.sort();
        self.faults.dedup();
        self.faults
    }
}

/// `, did you mean "menu"?` if one of `known` is close to `name`, else nothing.
pub(super) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let limit = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|k| (distance(name, k), k))
        .filter(|(d, k)| *d <= limit && *k != name)
        .min()
        .map(|(_, k)| format!(", did you mean \"{k}\"?"))
        .unwrap_or_default()
}

/// Edit distance (insertions, deletions, replacements, swaps of neighbours).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(60).collect(), b.chars().take(60).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let get = |v: &[usize], k: usize| v.get(k).copied().unwrap_or(usize::MAX - 1);
            let mut best = (get(&last, j) + usize::from(x != y))
                .min(get(&last, j + 1) + 1)
                .min(get(&row, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(get(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_proposed_and_a_far_one_is_not() {
        assert_eq!(hint("mneu", ["menu", "main"]), ", did you mean \"menu\"?");
        assert_eq!(hint("mnu", ["menu"]), ", did you mean \"menu\"?");
        assert_eq!(hint("goodbye", ["menu"]), "");
    }

    #[test]
    fn a_fault_prints_file_line_column_and_code() {
        let mut report = Report::default();
        report.add(
            "a.flow.yaml",
            Place { line: 3, column: 9 },
            "W201",
            "unused",
        );
        assert!(!report.has_errors());
        let faults = report.into_faults();
        assert_eq!(faults[0].to_string(), "a.flow.yaml:3:9: W201 unused");
    }
}
