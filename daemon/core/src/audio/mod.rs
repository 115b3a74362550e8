//! Sound as the telephone network carries it: 20 ms frames, 8000 samples a second, 16000
//! where both ends of a talk can. Machines here take frames and give frames; sockets are
//! elsewhere.

pub mod answer;
pub mod codec;
pub mod conceal;
pub mod dtmf;
pub mod frame;
pub mod g711;
pub mod meter;
pub mod mix;
pub mod music;
pub mod player;
pub mod rate;
pub mod speech;
pub mod tape;
pub mod tone;

pub use codec::Codec;
pub use frame::{Clip, FRAME_MS, FRAME_SAMPLES, Frame, SAMPLE_RATE_HZ};
pub use g711::Law;
pub use rate::Rate;
