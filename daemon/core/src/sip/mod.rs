//! What is decided about SIP without a socket: which datagrams may reach the stack,
//! which challenges may be answered, what an INFO body means, what a Reason says, which
//! target of a trunk is asked next.

pub mod digest;
pub mod gate;
pub mod info;
pub mod message;
pub mod network;
pub mod place;
pub mod reason;
pub mod registration;
pub mod stream;
pub mod targets;
