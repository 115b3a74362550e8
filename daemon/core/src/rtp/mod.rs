//! Packets of a conversation: RTP and RTCP (RFC 3550), telephone events (RFC 4733),
//! their order, and the one place where a pressed key becomes one digit.

mod arrival;
pub mod digits;
pub mod jitter;
pub mod latch;
pub mod packet;
pub mod playout;
pub mod rtcp;
pub mod source;
pub mod telephone_event;
