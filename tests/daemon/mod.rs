//! The built binary as a whole, with real peers around it.

mod alarm;
mod calls;
mod clock;
mod crash;
mod crash_mail;
mod database;
mod disk;
mod dtmf;
mod ewt;
mod faults;
mod flood;
mod imap;
mod ivr;
mod line;
mod mail;
mod mail_load;
mod nodes;
mod oauth;
mod operator;
mod proxy;
mod reading;
mod readme;
mod reload;
mod service;
mod templates;
mod thread;
