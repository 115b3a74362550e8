//! Sound as the telephone network carries it: 8000 samples a second, 20 ms frames,
//! G.711. Machines here take frames and give frames; sockets are elsewhere.

pub mod dtmf;
pub mod frame;
pub mod g711;
pub mod player;
pub mod tone;

pub use frame::{Clip, FRAME_MS, FRAME_SAMPLES, Frame, SAMPLE_RATE_HZ};
pub use g711::Law;
