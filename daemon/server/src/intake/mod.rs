//! The ways in: each makes a `HelpRequest` and ends in `desk.accept`.

pub mod http;
pub mod imap;
pub mod mail;
pub mod mail_auth;
pub mod phone;
pub mod smtp;
