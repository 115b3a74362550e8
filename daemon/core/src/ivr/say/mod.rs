//! How words and values become clips: locales are data, this code knows no language.

mod locale;
mod needs;
mod rules;
mod table;
mod values;

pub(super) use locale::{Locale, Quality, SentencePart, pieces};
pub(super) use rules::{Bit, Rules};
pub(super) use values::Amount;

#[cfg(test)]
mod tests;
