//! Call flows: the language (`flow`), its expressions (`expr`), its checks (`lint`),
//! how values are read aloud (`say`), and the step machine that runs them (`machine`).
//! No clock and no I/O: the same machine serves calls, simulator and tests.

mod edges;
pub mod expr;
pub mod fault;
pub mod flow;
pub mod golden;
pub mod graph;
pub mod io;
mod lint;
pub mod machine;
pub mod measure;
mod model;
mod raw;
mod read;
pub mod replay;
mod say;

pub mod sim;
