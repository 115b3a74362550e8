//! Short name of a request that a person can quote and a subject carries: `[#7KQ2-9F4M]`.
//! Six characters name the request, two check them, so that a slip or any other number in a
//! subject names nothing. A tag is no secret and proves nothing.

use sha2::{Digest as _, Sha256};

use crate::id::RequestId;

/// Neither `I` nor `O`, `0` nor `1`: a person reads it out on the telephone.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
const NAME_BITS: u32 = 30;
const CHARS: usize = 8;

/// The tag of a request.
#[must_use]
pub fn request_tag(id: &RequestId) -> String {
    // The last bits of a UUIDv7 are random.
    let tail: Vec<u8> = id.as_str().bytes().rev().take(8).collect();
    let bits = tail.iter().rev().fold(0_u32, |bits, byte| {
        bits << 4 | char::from(*byte).to_digit(16).unwrap_or(0)
    });
    written(bits & ((1 << NAME_BITS) - 1))
}

fn written(name: u32) -> String {
    let digest = Sha256::new_with_prefix(b"request-tag")
        .chain_update(name.to_be_bytes())
        .finalize();
    let check = digest
        .iter()
        .take(2)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let bits = u64::from(name) << 10 | check & 0x3ff;
    let mut tag = String::with_capacity(CHARS + 1);
    for place in (0..CHARS).rev() {
        if tag.len() == CHARS / 2 {
            tag.push('-');
        }
        let index = usize::try_from(bits >> (5 * place) & 31).unwrap_or(0);
        tag.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'2')));
    }
    tag
}

/// The last seven digits of every id that has this tag, as they stand in the id; `None` if its
/// check characters are wrong.
#[must_use]
pub fn id_end(tag: &str) -> Option<String> {
    let mut bits = 0_u64;
    let mut count = 0;
    for c in tag.bytes().filter(|c| *c != b'-') {
        let c = c.to_ascii_uppercase();
        let value = ALPHABET.iter().position(|a| *a == c)?;
        bits = bits << 5 | u64::try_from(value).ok()?;
        count += 1;
        if count > CHARS {
            return None;
        }
    }
    let name = u32::try_from(bits >> 10).ok()?;
    let is_right = count == CHARS && written(name).eq_ignore_ascii_case(tag);
    is_right.then(|| format!("{:07x}", name & 0x0fff_ffff))
}

/// The first right tag of a subject, as we write it.
pub(super) fn in_subject(subject: &str) -> Option<String> {
    let marks = subject.split("[#").skip(1).take(16);
    let mut tags = marks.filter_map(|rest| rest.split_once(']').map(|(tag, _)| tag.trim()));
    let tag = tags.find(|tag| id_end(tag).is_some())?;
    Some(tag.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01936f3a-0000-7000-8000-0123456789ab";

    #[test]
    fn tags_are_short_readable_and_find_their_request() {
        let tag = request_tag(&RequestId::from_text(ID));
        assert_eq!((tag.len(), &tag[4..5]), (9, "-"));
        assert!(tag.bytes().all(|b| b == b'-' || ALPHABET.contains(&b)));
        let end = id_end(&tag).unwrap();
        assert!(end.len() == 7 && ID.ends_with(&end), "{end}");
        assert_eq!(id_end(&tag.to_lowercase()), Some(end));
        let other = RequestId::from_text("01936f3a-0000-7000-8000-0123456789ac");
        assert_ne!(tag, request_tag(&other));
        // Nonsense gives a tag all the same.
        assert_eq!(request_tag(&RequestId::from_text("é")).len(), 9);
    }

    #[test]
    fn a_subject_names_a_request_by_a_right_tag_only() {
        let tag = request_tag(&RequestId::from_text(ID));
        let subject = format!("AW: [#1234] [#ABCD-EFGH] Your call-back [#{tag}]");
        assert_eq!(in_subject(&subject), Some(tag.clone()));
        let lower = format!("re: [#{}]", tag.to_lowercase());
        assert_eq!(in_subject(&lower), Some(tag.clone()));
        let slip = match tag.strip_prefix('2') {
            Some(rest) => format!("3{rest}"),
            None => format!("2{}", &tag[1..]),
        };
        for none in [
            slip,
            tag.replace('-', ""),
            format!("{tag}A"),
            "-".repeat(9),
            "é".repeat(9),
            String::new(),
        ] {
            assert_eq!(in_subject(&format!("[#{none}]")), None, "{none}");
        }
        assert_eq!(in_subject(&format!("#{tag}")), None);
    }
}
