//! How words and values become clips: locales are data, this code knows no language.

mod locale;
mod rules;

pub(super) use locale::{Locale, Quality, SentencePart, pieces};
pub(super) use rules::{Bit, Rules};
