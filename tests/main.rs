//! The one integration test binary: `tests/run` builds and runs it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod daemon;
mod dialogue;
mod layering;
mod peers;
mod plans;
mod portable_sql;
mod scenario;
mod store;
mod support;
