//! Tests that talk to real programs: SIPp, baresip, swaks, curl.

mod dtmf;
mod http;
mod mail;
mod sip;
mod streams;
mod talk;
