//! Which numbers may be dialled: everything not allowed is refused.

use super::plan::{self, Kind};
use super::{PhoneError, PhoneNumber};

/// Codes that belong to no country: satellite, networks, personal and premium worldwide
/// numbers. The metadata calls some of them mobile; a call costs euros a minute.
const WORLDWIDE: [&str; 10] = [
    "+800", "+808", "+870", "+878", "+881", "+882", "+883", "+888", "+979", "+991",
];

/// Which numbers may be dialled: everything else is refused.
#[derive(Clone, Debug, Default)]
pub struct DialRules {
    /// Regions that may be called, ISO 3166 (`DE`, `US`). A calling code is not enough:
    /// +1 is over 20 countries, +44 includes Guernsey, +7 Kazakhstan.
    pub allow: Vec<String>,
    /// The operator's own numbers: calling them would loop.
    pub own: Vec<PhoneNumber>,
    /// Further prefixes (E.164 digits with `+`) never to call.
    pub refuse_prefixes: Vec<String>,
    /// Every region may be called: for looking at a mail, never for dialling.
    pub any_region: bool,
}

impl DialRules {
    /// Whether `number` may be called. Asked when a request is accepted and again before each
    /// INVITE, since the rules may have changed.
    ///
    /// # Errors
    /// [`PhoneError::NotAllowed`] if any rule forbids it.
    pub fn check(&self, number: &PhoneNumber) -> Result<(), PhoneError> {
        let text = number.as_str();
        let digits = text
            .strip_prefix('+')
            .filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        let assignment = digits
            .and_then(plan::assignment)
            .ok_or(PhoneError::NotAllowed)?;
        let refused = assignment.kind != Kind::Ordinary
            || WORLDWIDE.iter().any(|code| text.starts_with(code))
            || self.own.contains(number)
            || self
                .refuse_prefixes
                .iter()
                .any(|prefix| has_prefix(text, prefix));
        let region = assignment.region.ok_or(PhoneError::NotAllowed)?;
        let named = |name: &String| plan::region_id(name) == Some(region);
        let allowed = self.any_region || self.allow.iter().any(named);
        if allowed && !refused {
            Ok(())
        } else {
            Err(PhoneError::NotAllowed)
        }
    }
}

/// Prefixes may be written with spaces and with or without `+`; an empty one refuses nothing.
fn has_prefix(number: &str, prefix: &str) -> bool {
    let digits: String = prefix.chars().filter(char::is_ascii_digit).collect();
    !digits.is_empty()
        && number
            .strip_prefix('+')
            .is_some_and(|n| n.starts_with(&digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str]) -> DialRules {
        DialRules {
            allow: allow.iter().map(|r| (*r).to_owned()).collect(),
            ..DialRules::default()
        }
    }

    fn may_call(rules: &DialRules, number: &str) -> bool {
        rules.check(&PhoneNumber::from_row(number)).is_ok()
    }

    #[test]
    fn nothing_may_be_called_by_default() {
        assert!(!may_call(&DialRules::default(), "+493090182000"));
    }

    #[test]
    fn regions_are_told_apart_within_a_calling_code() {
        let us = rules(&["us"]);
        assert!(may_call(&us, "+14155552671"));
        for other in [
            "+18765550123",
            "+16137827274",
            "+18095551234",
            "+493090182000",
        ] {
            assert!(!may_call(&us, other), "{other}");
        }
        let gb = rules(&["GB"]);
        assert!(may_call(&gb, "+442079460018"));
        assert!(!may_call(&gb, "+441481710153"), "Guernsey");
        assert!(!may_call(&gb, "+447781123456"), "Guernsey mobile");
        let ru = rules(&["RU"]);
        assert!(may_call(&ru, "+74951234567"));
        assert!(!may_call(&ru, "+77172123456"), "Kazakhstan");
    }

    #[test]
    fn costly_and_special_kinds_are_refused() {
        let all = rules(&["DE", "US", "GB", "IT", "CH", "FR"]);
        for number in [
            "+499001123456",
            "+491805123456",
            "+498001234567",
            "+4970012345678",
            "+19005550100",
            "+18005550199",
            "+449098790000",
            "+447012345678",
            "+448431234567",
            "+448001111111",
            "+39899123456",
            "+39800123456",
            "+33899123456",
            "+41900123456",
            "+881612345678",
            "+882161234567",
            "+870773123456",
            "+8835100012345",
            "+97912345678",
            "+80012345678",
            "+88812345678",
            "+87812345678",
        ] {
            assert!(!may_call(&all, number), "{number}");
        }
    }

    #[test]
    fn rows_that_hold_no_number_are_refused() {
        let all = rules(&["DE", "US"]);
        for row in [
            "",
            "+",
            "493090182000",
            "+49110",
            "+49112",
            "+1911",
            "+49309018200x",
            "sip:+493090182000",
            "+49301234567890123",
            "+00493090182",
            "+49 30 90182000",
        ] {
            assert!(!may_call(&all, row), "{row}");
        }
    }

    #[test]
    fn own_numbers_and_prefixes_are_refused() {
        let mut de = rules(&["DE"]);
        assert!(may_call(&de, "+493090182000"));
        de.own.push(PhoneNumber::from_row("+493090182000"));
        assert!(!may_call(&de, "+493090182000"));
        assert!(may_call(&de, "+493090182001"));
        de.refuse_prefixes = vec!["+49 30".into(), " ".into()];
        assert!(!may_call(&de, "+493090182001"));
        assert!(may_call(&de, "+491711234567"));
    }

    #[test]
    fn italian_numbers_keep_their_zero_and_may_be_called() {
        let italy = rules(&["IT"]);
        assert!(may_call(&italy, "+390694801234"));
        assert!(may_call(&italy, "+393331234567"));
        assert!(!may_call(&italy, "+390669812345"), "Vatican");
        assert!(may_call(&rules(&["CI"]), "+2250701234567"));
    }
}
