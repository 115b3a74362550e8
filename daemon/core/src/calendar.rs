//! Opening hours in their own zone: when is the help desk open, when does it open next.

use crate::time::Wall;

/// Opening hours of one desk, read once from the configuration.
#[derive(Clone, Debug)]
pub struct Calendar {}

impl Calendar {
    /// Open at all hours, in UTC.
    #[must_use]
    pub fn always() -> Self {
        Calendar {}
    }

    /// Whether the desk is open at `at`.
    #[must_use]
    pub fn is_open(&self, at: Wall) -> bool {
        let _ = at;
        true
    }

    /// The first open instant at or after `at`, within 400 days; `None` if there is none.
    #[must_use]
    pub fn next_open(&self, at: Wall) -> Option<Wall> {
        Some(at)
    }
}
