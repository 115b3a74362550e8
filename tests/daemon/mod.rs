//! The built binary as a whole, with real peers around it.

mod calls;
mod crash;
mod faults;
mod line;
mod mail;
mod readme;
mod service;
