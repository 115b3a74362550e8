//! The pure core of helpline: it decides, the server does.
//!
//! Rules of this house:
//! - no socket, file, database, thread, clock or operating-system randomness;
//! - time comes in as [`time::Time`] or [`time::Wall`], chance as a seed;
//! - input from the network never panics and never ends a machine: bad input
//!   becomes an output (an answer to send) or a counted drop;
//! - every machine has `handle(now, input)`, `poll() -> Option<Output>` and
//!   `deadline() -> Option<Time>`;
//! - who may import whom is a table in `docs/ARCHITECTURE.md`, kept by
//!   `tests/layering.rs`.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )
)]

pub mod agent;
pub mod audio;
pub mod calendar;
pub mod call;
pub mod id;
pub mod ivr;
pub mod oauth;
pub mod phone;
pub mod queue;
pub mod request;
pub mod rng;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod smtp;
pub mod time;
