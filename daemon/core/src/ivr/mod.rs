//! Call flows: the language (`flow`), its expressions (`expr`), its checks (`lint`),
//! how values are read aloud (`say`), and the step machine that runs them (`machine`).
//! No clock and no I/O: the same machine serves calls, simulator and tests.

pub mod io;
