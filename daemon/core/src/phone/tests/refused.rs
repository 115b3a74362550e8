//! Numbers that must not be dialled, in every spelling, however much is allowed.

use std::collections::BTreeSet;

use super::super::{DialRules, PhoneNumber};

/// Every region whose numbers stand below may be called.
const ALLOWED: [&str; 8] = ["DE", "GB", "US", "FR", "IT", "CH", "AT", "ES"];

/// In E.164: costly, special, nobody's, or of a region that is not allowed.
const NEVER: [(&str, &[&str]); 12] = [
    (
        "premium rate",
        &[
            "+499001123456",
            "+499003123456",
            "+448712345678",
            "+449098790000",
            "+449061234567",
            "+19005550100",
            "+19765551234",
            "+33899123456",
            "+33891123456",
            "+39899123456",
            "+41900123456",
            "+41906123456",
            "+43900123456",
            "+43930123456",
            "+34806123456",
        ],
    ),
    (
        "shared cost",
        &[
            "+491805123456",
            "+491806123456",
            "+448431234567",
            "+448451234567",
            "+43810123456",
            "+41848123456",
            "+34901123456",
            "+39848123456",
        ],
    ),
    (
        "free of charge for the caller, paid by us",
        &[
            "+498001234567",
            "+18005550199",
            "+18885550100",
            "+448001111111",
            "+33800123456",
            "+39800123456",
            "+41800123456",
            "+43800123456",
            "+34900123456",
        ],
    ),
    (
        "personal numbers and pagers",
        &[
            "+4970012345678",
            "+447012345678",
            "+447612345678",
            "+15005550100",
        ],
    ),
    (
        "service and company numbers",
        &["+4918012345", "+443001234567890123", "+4932"],
    ),
    (
        "emergency and short codes",
        &[
            "+49110", "+49112", "+44999", "+44112", "+1911", "+1988", "+3315", "+33112", "+39113",
            "+41117", "+43133", "+34112",
        ],
    ),
    (
        "satellites",
        &[
            "+870773123456",
            "+881612345678",
            "+881712345678",
            "+882161234567",
            "+8835100012345",
            "+8821300123456",
        ],
    ),
    (
        "numbers of no country",
        &[
            "+80012345678",
            "+80812345678",
            "+87812345678",
            "+88812345678",
            "+97912345678",
            "+9911234567",
            "+2101234567",
            "+9991234567",
        ],
    ),
    (
        "other countries",
        &[
            "+5355512345",
            "+2217712345678",
            "+25261234567",
            "+37120123456",
            "+23276123456",
            "+8613812345678",
            "+919812345678",
            "+61412345678",
            "+77172123456",
            "+74951234567",
        ],
    ),
    (
        "countries behind the code of an allowed one",
        &[
            "+18765550123",
            "+18095551234",
            "+16137827274",
            "+12425550123",
            "+12685550123",
            "+14415550123",
            "+16645550123",
            "+441481710153",
            "+441534123456",
            "+441624123456",
            "+447781123456",
            "+447509123456",
            "+390669812345",
            "+423233123456",
        ],
    ),
    (
        "too short or too long",
        &[
            "+49",
            "+493",
            "+4930",
            "+1",
            "+1415555",
            "+44207946",
            "+49301234567890123",
            "+141555526711234",
        ],
    ),
    (
        "no numbers",
        &["+", "+0", "+00493012345678", "+999999999999999"],
    ),
];

/// How people, and those who try, write a number.
fn spellings(e164: &str) -> Vec<String> {
    let digits = e164.trim_start_matches('+');
    let half = digits.len() / 2;
    let (head, tail) = digits.split_at(half);
    let wide = |d: char| char::from_u32(0xff10 + d.to_digit(10).unwrap()).unwrap();
    vec![
        e164.to_owned(),
        format!("00{digits}"),
        format!("+{head} {tail}"),
        format!("+{head}-{tail}"),
        format!("tel:+{digits}"),
        format!("＋{}", digits.chars().map(wide).collect::<String>()),
        format!("+{head}\u{200b}{tail}"),
        format!("++{digits}"),
        format!("+{digits},,5"),
    ]
}

#[test]
fn nothing_costly_special_or_foreign_is_dialled_in_any_spelling() {
    let rules = DialRules {
        allow: ALLOWED.map(str::to_owned).to_vec(),
        own: vec![PhoneNumber::from_row("+4930555000")],
        refuse_prefixes: vec!["+4930666".into()],
        any_region: false,
    };
    let mut tried = BTreeSet::new();
    let mut try_all = |e164: &str, why: &str| {
        for spelling in spellings(e164) {
            for region in [None, Some("DE"), Some("US"), Some("GB")] {
                if let Ok(number) = PhoneNumber::parse(&spelling, region) {
                    let refused = rules.check(&number).is_err();
                    assert!(
                        refused,
                        "{why}: {spelling:?} would be dialled as {number:?}"
                    );
                }
            }
            // Nor would a row that says so.
            let row = PhoneNumber::from_row(&spelling);
            assert!(rules.check(&row).is_err(), "{why}: a row of {spelling:?}");
            tried.insert(spelling);
        }
    };
    for (why, numbers) in NEVER {
        for number in numbers {
            try_all(number, why);
        }
    }
    // The spellings are such that a number is read: one that may be called would be.
    for spelling in spellings("+493090182000") {
        let number = PhoneNumber::parse(&spelling, Some("DE")).unwrap();
        assert_eq!(rules.check(&number), Ok(()), "{spelling:?}");
    }
    try_all("+4930555000", "our own number");
    try_all("+493066612345", "a prefix the operator refuses");
    assert!(tried.len() >= 300, "only {} were tried", tried.len());
}

#[test]
fn what_could_reach_a_uri_or_another_number_is_refused() {
    let rules = DialRules {
        allow: ALLOWED.map(str::to_owned).to_vec(),
        ..DialRules::default()
    };
    for text in [
        "sip:+4930901820@evil.test",
        "+4930901820@evil.test",
        "+4930901820;phone-context=evil",
        "+4930901820\r\nRoute: <sip:evil.test>",
        "+4930901820%0d%0a",
        "+4930901820>",
        "<+4930901820",
        "+4930901820?Replaces=x",
        "+4930901820/../..",
        "*31#+4930901820",
        "#31#030901820",
        "*67 415 555 2671",
        "*#06#",
        "+49(30)901820p123",
        "1-900-FLOWERS",
        "1800FLOWERS",
        "+1-415-CALL-NOW",
        "030901820 oder 0900 1123456",
        "sips:110@de",
        "+49\u{0}30901820",
    ] {
        for region in [None, Some("DE"), Some("US")] {
            if let Ok(number) = PhoneNumber::parse(text, region) {
                // An extension or a parameter may be cut; what is left is a plain number.
                let plain = number.as_str().strip_prefix('+').unwrap();
                assert!(
                    plain.bytes().all(|b| b.is_ascii_digit()),
                    "{text:?}: {number:?}"
                );
                assert!(
                    rules.check(&number).is_err() || number.as_str() == "+4930901820",
                    "{text:?} would be dialled as {number:?}"
                );
            }
        }
    }
}
