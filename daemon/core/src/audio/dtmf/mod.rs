//! Keys as sound: the sixteen DTMF pairs (ITU-T Q.23) and the detector that finds
//! them in what a caller's telephone sends (`detector`).

// Rings of fixed size, taken modulo their length, and tones numbered 0-7.
#![allow(clippy::indexing_slicing)]

mod detector;
mod fit;
mod front;
mod judge;
pub mod tone_set;

pub use detector::{BATCH, Batch, Detector, Heard, KeySound};

/// One of the sixteen keys, numbered as RFC 4733 §3.2 numbers its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digit(u8);

/// Lower tone of each pair, Hz.
pub const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
/// Upper tone of each pair, Hz.
pub const COLUMNS_HZ: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

const CHARS: &[u8; 16] = b"0123456789*#ABCD";
/// The keypad, row by row.
const PAD: &[u8; 16] = b"123A456B789C*0#D";

impl Digit {
    /// The digit of an RFC 4733 event code, 0-15.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Digit> {
        if code < 16 { Some(Digit(code)) } else { None }
    }

    /// The digit printed on a key: `0`-`9`, `*`, `#`, `A`-`D`.
    #[must_use]
    pub fn from_char(c: char) -> Option<Digit> {
        let c = c.to_ascii_uppercase();
        let at = CHARS.iter().position(|k| char::from(*k) == c)?;
        u8::try_from(at).ok().map(Digit)
    }

    /// The digit in a row and column of the keypad, each 0-3.
    #[must_use]
    pub fn from_pad(row: usize, column: usize) -> Option<Digit> {
        if row > 3 || column > 3 {
            return None;
        }
        PAD.get(row * 4 + column)
            .and_then(|c| Digit::from_char(char::from(*c)))
    }

    /// RFC 4733 event code, 0-15.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// What is printed on the key.
    #[must_use]
    pub fn char(self) -> char {
        CHARS
            .get(usize::from(self.0))
            .map_or('0', |c| char::from(*c))
    }

    /// Lower and upper tone, Hz.
    #[must_use]
    pub fn pair_hz(self) -> (f64, f64) {
        let at = PAD
            .iter()
            .position(|k| char::from(*k) == self.char())
            .unwrap_or(0);
        let row = ROWS_HZ.get(at / 4).copied().unwrap_or(0.0);
        let column = COLUMNS_HZ.get(at % 4).copied().unwrap_or(0.0);
        (row, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_characters_name_the_same_keys() {
        for code in 0..16 {
            let digit = Digit::from_code(code).unwrap();
            assert_eq!(Digit::from_char(digit.char()), Some(digit));
        }
        assert_eq!(Digit::from_code(16), None);
        assert_eq!(Digit::from_char('x'), None);
        assert_eq!(Digit::from_char('#').map(Digit::code), Some(11));
        assert_eq!(Digit::from_char('d').map(Digit::code), Some(15));
    }

    #[test]
    fn pad_gives_the_pairs_of_q23() {
        assert_eq!(Digit::from_char('1').unwrap().pair_hz(), (697.0, 1209.0));
        assert_eq!(Digit::from_char('0').unwrap().pair_hz(), (941.0, 1336.0));
        assert_eq!(Digit::from_char('D').unwrap().pair_hz(), (941.0, 1633.0));
        assert_eq!(Digit::from_pad(2, 2), Digit::from_char('9'));
        assert_eq!(Digit::from_pad(4, 0), None);
    }
}
