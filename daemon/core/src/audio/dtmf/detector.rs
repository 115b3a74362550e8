//! (being written)

use super::Digit;

/// What the detector heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySound {
    /// A key's pair began.
    Begin(Digit),
    /// It ended.
    End(Digit),
}

/// Finds keys in 8 kHz sound.
#[derive(Clone, Debug, Default)]
pub struct Detector {}
