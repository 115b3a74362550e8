//! Telephone numbers: E.164 or nothing, and which of them may be dialled.
//! Only a [`PhoneNumber`] ever reaches a SIP URI; customer text never does.

mod dial;
mod normal;
mod plan;

use std::fmt;

use phonenumber::country;
use serde::{Deserialize, Serialize};

pub use dial::DialRules;
pub(crate) use normal::{normalize, split_extension};

/// Longest text read as a number, in bytes.
const TEXT_BYTES_MAX: usize = 200;
/// Regions where national numbers are also written without the trunk prefix 0.
const PREFIX_OPTIONAL: [&str; 3] = ["BR", "CN", "IN"];

/// A telephone number in E.164 form: `+` and 7 to 15 digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Reads what a person typed. `region` (ISO 3166, `DE`) completes national numbers.
    /// An extension behind the number is left out: it is never dialled.
    ///
    /// # Errors
    /// [`PhoneError`] says what is wrong in words for that person.
    pub fn parse(text: &str, region: Option<&str>) -> Result<Self, PhoneError> {
        read(text, region.and_then(plan::region_id)).ok_or(PhoneError::Unreadable)
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

    /// The digits in groups as its country writes them, the country code first; text that
    /// is no number is one group.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        plan::groups(&self.0)
    }

    /// Shown to strangers: the country and the last two digits, `+49 … 67`.
    #[must_use]
    pub fn masked(&self) -> String {
        let digits = self.0.strip_prefix('+').unwrap_or_default();
        let code = plan::calling_code(digits);
        match digits.len().checked_sub(2).and_then(|at| digits.get(at..)) {
            Some(last) if digits.len() >= code.len() + 4 => format!("+{code} … {last}"),
            _ => "…".to_owned(),
        }
    }

    /// The region the number belongs to (ISO 3166, `DE`); `None` for worldwide codes.
    #[must_use]
    pub fn region(&self) -> Option<String> {
        let assignment = plan::assignment(self.0.strip_prefix('+')?)?;
        assignment.region.map(|id| id.as_ref().to_owned())
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

/// Whether national numbers of `region` are written with a prefix (`0` in most countries).
pub(crate) fn has_trunk_prefix(region: &str) -> bool {
    plan::region_id(region)
        .and_then(plan::trunk_prefix)
        .is_some()
}

/// Steps from text to number; every doubt gives `None`, since a guess calls a stranger.
fn read(text: &str, region: Option<country::Id>) -> Option<PhoneNumber> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let text = normalize(text);
    let text = text.trim();
    let is_tel = text
        .get(..4)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("tel:"));
    let text = if is_tel { text.get(4..)? } else { text };
    // Parameters (RFC 3966). A local number with a context is not completed.
    let (text, parameters) = text.split_once(';').unwrap_or((text, ""));
    if parameters.to_ascii_lowercase().contains("phone-context")
        && !text.trim_start().starts_with('+')
    {
        return None;
    }
    let (text, _extension) = split_extension(text);
    let written = Written::read(text.trim())?;
    match (
        written.plus,
        plan::strip_international(&written.digits, region),
    ) {
        (true, _) => from_international(&written.digits),
        (false, Some(rest)) => from_international(rest),
        (false, None) => from_national(&written.digits, region?),
    }
}

/// Digits as written, and whether a `+` stood before them.
struct Written {
    plus: bool,
    digits: String,
}

impl Written {
    /// Takes digits, `+` in front, and the signs people put between digits; nothing else.
    /// Letters are refused before any reading: a keypad word or a pause is not guessed at.
    fn read(text: &str) -> Option<Self> {
        let rest = text.trim_start_matches('+');
        let plus = rest.len() < text.len();
        let allowed =
            |c: char| c.is_ascii_digit() || matches!(c, ' ' | '(' | ')' | '.' | '-' | '/');
        if !rest.chars().all(allowed) {
            return None;
        }
        let mut digits: String = rest.chars().filter(char::is_ascii_digit).collect();
        if plus && let Some((before, after)) = rest.split_once("(0)") {
            let of = |part: &str| {
                part.chars()
                    .filter(char::is_ascii_digit)
                    .collect::<String>()
            };
            let code = of(before);
            // `+49 (0)30`: the zero is for callers inside the country, except where it is
            // part of the number.
            if plan::calling_code(&code) == code && !plan::keeps_zero(&code) {
                digits = code + &of(after);
            }
        }
        (!digits.is_empty()).then_some(Written { plus, digits })
    }
}

fn from_international(digits: &str) -> Option<PhoneNumber> {
    plan::assignment(digits)?;
    Some(PhoneNumber(format!("+{digits}")))
}

fn from_national(digits: &str, region: country::Id) -> Option<PhoneNumber> {
    let code = plan::region_code(region)?;
    if plan::keeps_zero(&code) {
        return from_international(&format!("{code}{digits}"));
    }
    let must =
        plan::trunk_prefix(region) == Some("0") && !PREFIX_OPTIONAL.contains(&region.as_ref());
    // Without the prefix it is a local number, and nobody knows of which place.
    if must && !digits.starts_with('0') {
        return None;
    }
    let number = phonenumber::parse(Some(region), digits).ok()?;
    let found = plan::e164_digits(&number);
    let national = found.strip_prefix(code.as_str())?;
    // The crate may rewrite what it reads; the number has to be among the typed digits.
    digits
        .ends_with(national)
        .then(|| from_international(&found))
        .flatten()
}

#[cfg(test)]
mod tests;
