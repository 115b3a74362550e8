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

impl Detector {
    /// Takes sound.
    pub fn handle(&mut self, _sound: &[i16]) {}
    /// Lost audio.
    pub fn freeze(&mut self, _millis: u32) {}
    /// Starts anew.
    pub fn reset(&mut self) {}
    /// The next sound of a key.
    pub fn poll(&mut self) -> Option<KeySound> {
        None
    }
}
