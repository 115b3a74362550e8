//! What scenarios and daemon tests stand on.

pub(crate) mod certificates;
pub(crate) mod dovecot;
pub(crate) mod phone;
pub(crate) mod postfix;
pub(crate) mod process;
pub(crate) mod sipp;
pub(crate) mod smtp;
pub(crate) mod world;
