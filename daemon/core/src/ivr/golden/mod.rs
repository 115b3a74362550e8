//! Golden tests of flows: what a caller does, and what must then be said and done, in
//! virtual time; and which nodes and ways of a flow such tests have taken.

mod coverage;
mod event;
mod file;
mod given;
mod record;
mod run;
#[cfg(test)]
mod tests;
mod update;
mod walk;

pub use coverage::{Coverage, Covered};
pub use event::happen;
pub use file::{GoldenTest, World};
pub use record::{Recorded, record};
pub use run::{Failure, Outcome, make_absolute};
pub use update::{Reworded, update};
pub use walk::{Walk, walk};

pub use super::read::duration;
