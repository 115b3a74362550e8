//! Facts about numbering plans: which country a number belongs to and of what kind it is.
//! The metadata of the `phonenumber` crate, corrected where it loses the leading zero
//! of national numbers that keep theirs (Italy and others).

use std::cell::RefCell;
use std::collections::VecDeque;

use phonenumber::{Mode, Type, country, metadata::DATABASE};

/// Calling codes of two digits (ITU-T E.164 assignments); 1 and 7 have one, all others three.
const TWO_DIGIT_CODES: [&str; 43] = [
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47",
    "48", "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65",
    "66", "81", "82", "84", "86", "90", "91", "92", "93", "94", "95",
];

/// Where a number belongs and what answers there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// ISO 3166 region; `None` for satellite and other worldwide codes.
    pub region: Option<country::Id>,
    /// What the plan says about the number.
    pub kind: Kind,
}

/// Only an ordinary line may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Fixed, mobile or Voice over IP.
    Ordinary,
    /// Premium, shared cost, toll-free, personal, pager, short, unknown ...
    Other,
}

/// The calling code at the start of E.164 digits (without `+`).
pub(crate) fn calling_code(digits: &str) -> &str {
    let length = match digits.as_bytes().first() {
        Some(b'1' | b'7') => 1,
        _ if digits.starts_with("98") => 2,
        _ if digits
            .get(..2)
            .is_some_and(|two| TWO_DIGIT_CODES.contains(&two)) =>
        {
            2
        }
        _ => 3,
    };
    digits.get(..length).unwrap_or(digits)
}

/// Numbers whose assignment is remembered, a thread.
const REMEMBERED: usize = 64;

thread_local! {
    /// A number is looked up when it is read, and again each time its rules are checked.
    static LAST: RefCell<VecDeque<(String, Option<Assignment>)>> = const { RefCell::new(VecDeque::new()) };
}

/// What the plan knows about E.164 digits (without `+`); `None` if no such number can exist.
pub(crate) fn assignment(digits: &str) -> Option<Assignment> {
    LAST.with_borrow_mut(|last| {
        if let Some((_, known)) = last.iter().find(|(number, _)| number == digits) {
            return *known;
        }
        let assignment = look_up(digits);
        if last.len() >= REMEMBERED {
            last.pop_back();
        }
        last.push_front((digits.to_owned(), assignment));
        assignment
    })
}

fn look_up(digits: &str) -> Option<Assignment> {
    let (code, national) = digits.split_at_checked(calling_code(digits).len())?;
    if !(7..=15).contains(&digits.len()) || national.len() < 7 || code.starts_with('0') {
        return None;
    }
    if keeps_zero(code) {
        return zero_keeping(code, national);
    }
    let number = phonenumber::parse(None, format!("+{digits}")).ok()?;
    // The crate strips what it takes for a trunk prefix. A changed number is another number.
    if !number.is_valid() || e164_digits(&number) != digits {
        return None;
    }
    let kind = match number.number_type(&DATABASE) {
        Type::FixedLine | Type::Mobile | Type::FixedLineOrMobile | Type::Voip => Kind::Ordinary,
        _ => Kind::Other,
    };
    Some(Assignment {
        region: number.country().id(),
        kind,
    })
}

/// Digits of what the crate read, without `+`.
pub(crate) fn e164_digits(number: &phonenumber::PhoneNumber) -> String {
    format!("{}{}", number.code().value(), number.national())
}

/// Plans whose national numbers begin with a zero that belongs to the number.
/// The crate drops that zero, so these are checked here by length and first digits.
pub(crate) fn keeps_zero(code: &str) -> bool {
    matches!(code, "39" | "378" | "225" | "242")
}

fn zero_keeping(code: &str, national: &str) -> Option<Assignment> {
    let length = national.len();
    let first = national.as_bytes().first()?;
    let (region, known, ordinary) = match code {
        "39" if national.starts_with("06698") => (country::VA, length == 10, true),
        // 0 is fixed, 3 is mobile; 1, 4, 7 and 8 are free, shared, personal and premium.
        "39" => (
            country::IT,
            (7..=11).contains(&length),
            (*first == b'0') || (*first == b'3' && length >= 9),
        ),
        "378" => (
            country::SM,
            (7..=10).contains(&length),
            matches!(*first, b'0' | b'6'),
        ),
        "225" => (country::CI, length == 10, matches!(*first, b'0' | b'2')),
        _ => (country::CG, length == 9, matches!(*first, b'0' | b'2')),
    };
    let kind = if ordinary {
        Kind::Ordinary
    } else {
        Kind::Other
    };
    known.then_some(Assignment {
        region: Some(region),
        kind,
    })
}

/// A region by its ISO 3166 name in any case.
pub(crate) fn region_id(name: &str) -> Option<country::Id> {
    name.trim().to_ascii_uppercase().parse().ok()
}

/// Calling code of a region, in digits.
pub(crate) fn region_code(region: country::Id) -> Option<String> {
    DATABASE
        .by_id(region.as_ref())
        .map(|plan| plan.country_code().to_string())
}

/// The prefix of national calls in a region (`0` in most, `1` in the NANP), if it has one.
pub(crate) fn trunk_prefix(region: country::Id) -> Option<&'static str> {
    DATABASE
        .by_id(region.as_ref())
        .and_then(|plan| plan.national_prefix())
}

/// `digits` without the region's prefix for calls abroad (`00`, `011`), if they begin with it.
pub(crate) fn strip_international(digits: &str, region: Option<country::Id>) -> Option<&str> {
    let own = region
        .and_then(|id| DATABASE.by_id(id.as_ref()))
        .and_then(|plan| plan.international_prefix())
        .and_then(|prefix| {
            prefix
                .find(digits)
                .filter(|hit| hit.start() == 0)
                .map(|hit| hit.end())
        });
    match own {
        Some(end) => digits.get(end..),
        // 00 is understood everywhere: no national number begins with it.
        None => digits.strip_prefix("00"),
    }
}

/// The digits of an E.164 number in the groups its country writes, the country code first.
pub(crate) fn groups(number: &str) -> Vec<String> {
    let whole = || vec![number.chars().filter(char::is_ascii_digit).collect()];
    let Ok(parsed) = phonenumber::parse(None, number) else {
        return whole();
    };
    let written = parsed.format().mode(Mode::International).to_string();
    let groups = written.split(|c: char| !c.is_ascii_digit());
    let groups: Vec<String> = groups
        .filter(|group| !group.is_empty())
        .map(str::to_owned)
        .collect();
    // An odd plan must not change what is dialled.
    if groups.concat() == whole().concat() {
        groups
    } else {
        whole()
    }
}
