//! Telling a story as it happens: a line a step with its time, and whether all were seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::STEPS;

/// Prints steps with the time since the begin, and remembers which were seen. Clones tell
/// the same story.
#[derive(Clone)]
pub(super) struct Story {
    began: Instant,
    seen: Arc<Mutex<Vec<&'static str>>>,
}

impl Story {
    pub(super) fn new() -> Self {
        Story {
            began: Instant::now(),
            seen: Arc::default(),
        }
    }

    /// A step that must be seen.
    pub(super) fn step(&self, name: &'static str, text: &str) {
        debug_assert!(STEPS.contains(&name), "{name} is no step");
        self.seen().push(name);
        self.line("✓", text);
    }

    /// Something worth telling.
    pub(super) fn note(&self, text: &str) {
        self.line(" ", text);
    }

    /// A step whose proof is a text of several lines, set apart below it.
    pub(super) fn quote(&self, name: &'static str, text: &str, quoted: &str) {
        let lines: Vec<String> = quoted
            .lines()
            .map(|line| format!("\n              │ {line}"))
            .collect();
        self.step(name, &format!("{text}{}", lines.concat()));
    }

    /// Steps not seen yet, in order.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let seen = self.seen();
        let missing = |name: &&&str| !seen.contains(name);
        STEPS.iter().filter(missing).copied().collect()
    }

    /// One `println!` a line, so that two tellers do not mix within one.
    fn line(&self, mark: &str, text: &str) {
        println!(
            "{:>9.3} s {mark} {text}",
            self.began.elapsed().as_secs_f64()
        );
    }

    fn seen(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
