//! Telephone numbers: E.164 or nothing, and which of them may be dialled.
//! Only a [`PhoneNumber`] ever reaches a SIP URI; customer text never does.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A telephone number in E.164 form: `+` and 7 to 15 digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Reads what a person typed. `region` (ISO 3166, `DE`) completes national numbers.
    ///
    /// # Errors
    /// [`PhoneError`] says what is wrong in words for that person.
    pub fn parse(text: &str, region: Option<&str>) -> Result<Self, PhoneError> {
        let _ = (text, region);
        Err(PhoneError::Unreadable)
    }

    /// A number read back from a row, where only checked numbers are written.
    #[must_use]
    pub fn from_row(text: &str) -> Self {
        PhoneNumber(text.to_owned())
    }

    /// E.164 with `+`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Shown to strangers: the country and the last two digits, `+49 … 67`.
    #[must_use]
    pub fn masked(&self) -> String {
        String::new()
    }
}

impl fmt::Debug for PhoneNumber {
    /// Never the whole number: debug output ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// Why a text is no telephone number, or one that may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Not a telephone number.
    #[error("this is not a telephone number; write it with the country code, like +49 30 1234567")]
    Unreadable,
    /// A number, but helpline may not call it (region, kind or own number).
    #[error("this number cannot be called from here")]
    NotAllowed,
}

/// Which numbers may be dialled: everything else is refused.
#[derive(Clone, Debug, Default)]
pub struct DialRules {
    /// Regions that may be called, ISO 3166 (`DE`, `US`).
    pub allow: Vec<String>,
    /// The operator's own numbers: calling them would loop.
    pub own: Vec<PhoneNumber>,
    /// Further prefixes (E.164 digits with `+`) never to call.
    pub refuse_prefixes: Vec<String>,
}

impl DialRules {
    /// Whether `number` may be called.
    ///
    /// # Errors
    /// [`PhoneError::NotAllowed`] if any rule forbids it.
    pub fn check(&self, number: &PhoneNumber) -> Result<(), PhoneError> {
        let _ = number;
        Err(PhoneError::NotAllowed)
    }
}
