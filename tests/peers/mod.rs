//! Tests that talk to real programs: SIPp, baresip, swaks, curl.

mod dialog;
mod dtmf;
mod http;
mod mail;
mod phones;
mod sip;
mod streams;
mod talk;
mod timers;

pub(crate) use sip::World;
