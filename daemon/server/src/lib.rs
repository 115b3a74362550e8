//! helpline: a daemon that calls people back. One pure core decides
//! (`helpline-core`), this crate touches the world. Read `daemon.rs` first.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod assist;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod desk;
pub mod dispatch;
mod dns;
pub mod intake;
pub mod log;
pub mod notify;
pub mod page;
pub mod services;
pub mod store;
mod tls;
pub mod voice;
pub mod web;
