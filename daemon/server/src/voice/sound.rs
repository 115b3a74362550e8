//! Sound files: what they hold becomes one channel of samples, at any rate wanted.

mod decode;
mod rate;
pub(crate) mod wav;

pub(crate) use decode::{Limits, Reader};
pub(crate) use rate::{Stretch, whole};

#[cfg(test)]
mod tests;
