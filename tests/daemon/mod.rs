//! The built binary as a whole, with real peers around it.

mod calls;
mod crash;
mod database;
mod faults;
mod line;
mod mail;
