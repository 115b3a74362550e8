//! The ways in: each reads what came and ends at the desk.

pub mod mail;
pub mod phone;
pub mod smtp;
