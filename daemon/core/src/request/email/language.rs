//! The language of a text by its commonest words.

const ENGLISH: [&str; 24] = [
    "the", "and", "is", "you", "my", "to", "of", "please", "call", "me", "have", "with", "for",
    "not", "can", "it", "i", "at", "hello", "hi", "after", "tomorrow", "today", "number",
];
const GERMAN: [&str; 32] = [
    "der", "die", "das", "und", "ist", "ich", "sie", "mich", "bitte", "nicht", "mit", "ein",
    "eine", "zu", "auf", "für", "rufen", "hallo", "mein", "meine", "kann", "habe", "uhr", "morgen",
    "heute", "wir", "guten", "tag", "unter", "nach", "an", "rückruf",
];
/// The longest of them, in bytes.
const WORD_BYTES_MAX: usize = 8;
/// Words looked at.
const WORDS_MAX: usize = 400;

/// The language a `Content-Language` header names, if it is one of ours.
pub(super) fn named(value: &str) -> Option<&'static str> {
    let first = value.split([',', '-', ';', ' ']).next().unwrap_or_default();
    ["en", "de"]
        .into_iter()
        .find(|language| first.eq_ignore_ascii_case(language))
}

/// `de` or `en`; `None` when neither has more of its words in the text.
pub(super) fn guess(text: &str) -> Option<&'static str> {
    let (mut english, mut german) = (0, 0);
    for word in text
        .split(|c: char| !c.is_alphabetic())
        .filter(|w| !w.is_empty())
        .take(WORDS_MAX)
        .filter(|word| word.len() <= WORD_BYTES_MAX)
    {
        let word = word.to_lowercase();
        english += usize::from(ENGLISH.contains(&word.as_str()));
        german += usize::from(GERMAN.contains(&word.as_str()));
    }
    match english.cmp(&german) {
        std::cmp::Ordering::Greater => Some("en"),
        std::cmp::Ordering::Less => Some("de"),
        std::cmp::Ordering::Equal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_longer_than_the_longest() {
        let longest = ENGLISH.iter().chain(&GERMAN).map(|word| word.len()).max();
        assert_eq!(longest, Some(WORD_BYTES_MAX));
    }

    #[test]
    fn two_languages_are_told_apart() {
        assert_eq!(
            guess("Please call me tomorrow, my coupon does not work"),
            Some("en")
        );
        assert_eq!(guess("Bitte rufen Sie mich morgen an"), Some("de"));
        assert_eq!(guess("12345"), None);
        assert_eq!(guess(""), None);
    }
}
