//! What people type where a telephone number is asked for, brought to ASCII:
//! full-width and other decimal digits, dashes of all lengths, invisible characters.

use unicode_normalization::UnicodeNormalization;

/// The digit zero of scripts whose ten digits follow each other (Unicode category Nd).
const ZEROS: [u32; 22] = [
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66,
    0x0de6, 0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0xff10,
];

/// The ASCII form of one character that matters in a number; others stay as they are.
/// `None` for characters nobody sees (zero width, soft hyphen, marks of direction).
fn to_ascii(c: char) -> Option<char> {
    if c.is_ascii() {
        return Some(c);
    }
    match c {
        '\u{00ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => None,
        '\u{2010}'..='\u{2015}'
        | '\u{2043}'
        | '\u{2212}'
        | '\u{fe58}'
        | '\u{fe63}'
        | '\u{ff0d}' => Some('-'),
        '\u{00a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        _ => Some(ascii_digit(c).unwrap_or(c)),
    }
}

fn ascii_digit(c: char) -> Option<char> {
    let code = u32::from(c);
    let zero = ZEROS
        .iter()
        .find(|zero| (**zero..**zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

/// Compatibility forms dissolved (NFKC), digits, dashes and spaces in ASCII, invisible characters gone.
pub(crate) fn normalize(text: &str) -> String {
    text.nfkc().filter_map(to_ascii).collect()
}

/// Cuts an extension off the end: `,,5`, `x5`, `ext. 12`, `Durchwahl 3`, `#`.
/// Gives the rest and the extension's digits. An extension is told to the agent, never dialled.
pub(crate) fn split_extension(text: &str) -> (&str, Option<&str>) {
    let text = text.trim_end().trim_end_matches('#').trim_end();
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
    if !(1..=6).contains(&digits) {
        return (text, None);
    }
    let (head, extension) = text.split_at(text.len() - digits);
    match strip_marker(head.trim_end_matches([' ', '.', ':'])) {
        Some(rest) => (rest.trim_end(), Some(extension)),
        None => (text, None),
    }
}

/// `text` without the word or sign that announces an extension, if it ends with one behind a digit.
fn strip_marker(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let cut = [",", "#", "extension", "ext", "durchwahl", "dw", "app", "x"]
        .iter()
        .find(|marker| lower.ends_with(**marker))?;
    let rest = text
        .get(..text.len() - cut.len())?
        .trim_end_matches([',', ' ', '.', '#', '-']);
    rest.ends_with(|c: char| c.is_ascii_digit() || c == ')')
        .then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_script_become_ascii() {
        assert_eq!(normalize("＋４９ ٠٣٠ ०१२"), "+49 030 012");
        assert_eq!(normalize("030\u{a0}12\u{200b}3\u{2013}4"), "030 123-4");
    }

    #[test]
    fn extensions_are_cut_and_told() {
        for (text, rest, extension) in [
            ("030 1234567,,5", "030 1234567", Some("5")),
            ("030 1234567 x5", "030 1234567", Some("5")),
            ("020 7946 0018 ext. 12", "020 7946 0018", Some("12")),
            ("030 1234567 Durchwahl 3", "030 1234567", Some("3")),
            ("030 1234567#", "030 1234567", None),
            ("030 1234567", "030 1234567", None),
            (
                "030 1234567, 0171 2345678",
                "030 1234567, 0171 2345678",
                None,
            ),
            ("x5", "x5", None),
        ] {
            assert_eq!(split_extension(text), (rest, extension), "{text}");
        }
    }
}
