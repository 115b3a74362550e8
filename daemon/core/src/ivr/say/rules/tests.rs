use super::*;
use crate::ivr::model::{ReadAs, Round};

const ENGLISH: &str = r##"
number = [ [1_000_000, "< n.million >"], [1000, "< n.thousand >"], [100, "< n.hundred >"] ]
plural = { one = "n == 1" }
unit = { second = {}, minute = {}, hour = {}, day = {} }
duration = [ ["d > 0 && h > 0", "{d day} and {h hour}"], ["d > 0", "{d day}"], ["h > 0 && m > 0", "{h hour} and {m minute}"], ["h > 0", "{h hour}"], ["m > 0 && s > 0", "{m minute} and {s second}"], ["m > 0", "{m minute}"], ["true", "{s second}"] ]
keys = { "*" = "star", "#" = "pound" }
"##;
const FRENCH: &str = r#"
number = [ [1_000_000, "< n.million.{p} >"], [2000, "< n.mille >", 1000], [1000, "n.mille >"], [200, "< n.cent >", 100], [100, "n.cent >"] ]
plural = { one = "n == 0 || n == 1" }
gender = { f = [1, 21, 31, 41, 51, 61, 81] }
unit = { minute = { gender = "f" } }
"#;

fn rules(text: &str) -> Rules {
    Rules::convert(toml::from_str(text).unwrap()).unwrap()
}

fn clips(bits: Result<Vec<Bit>, String>) -> String {
    let ids: Vec<String> = bits
        .unwrap()
        .into_iter()
        .filter_map(|b| match b {
            Bit::Clip(id) => Some(id),
            Bit::Pause(_) => None,
        })
        .collect();
    ids.join(" ")
}

#[test]
fn english_numbers_are_read_in_order() {
    let r = rules(ENGLISH);
    for (n, want) in [
        (0, "n.0"),
        (21, "n.21"),
        (100, "n.1 n.hundred"),
        (115, "n.1 n.hundred n.15"),
        (2_345, "n.2 n.thousand n.3 n.hundred n.45"),
        (1_000_001, "n.1 n.million n.1"),
    ] {
        assert_eq!(clips(r.read_number(n, None)), want, "{n}");
    }
    assert!(r.read_number(u64::MAX, None).is_err());
}

#[test]
fn french_leaves_out_one_before_cent_and_puts_minutes_in_the_feminine() {
    let r = rules(FRENCH);
    assert_eq!(clips(r.read_number(121, None)), "n.cent n.21");
    assert_eq!(clips(r.read_number(2100, None)), "n.2 n.mille n.cent");
    assert_eq!(clips(r.read_number(2_000_000, None)), "n.2 n.million.other");
    assert_eq!(
        clips(r.read_number(21, Some("minute"))),
        "n.21.f unit.minute.other"
    );
    assert_eq!(
        clips(r.read_number(0, Some("minute"))),
        "n.0 unit.minute.one"
    );
}

#[test]
fn lengths_of_time_are_rounded_up() {
    let r = rules(ENGLISH);
    for (seconds, round, want) in [
        (20, Round::Minute, "n.1 unit.minute.one"),
        (0, Round::Minute, "n.1 unit.minute.one"),
        (61, Round::Minute, "n.2 unit.minute.other"),
        (125, Round::Minute, "n.3 unit.minute.other"),
        (
            125,
            Round::Second,
            "n.2 unit.minute.other and n.5 unit.second.other",
        ),
        (3_600, Round::Minute, "n.1 unit.hour.one"),
        (
            5_400,
            Round::Minute,
            "n.1 unit.hour.one and n.30 unit.minute.other",
        ),
        (5_400, Round::Hour, "n.2 unit.hour.other"),
        (
            90_000,
            Round::Minute,
            "n.1 unit.day.one and n.1 unit.hour.one",
        ),
    ] {
        let bits = r.read_duration(Duration::from_secs(seconds), round);
        assert_eq!(clips(bits), want, "{seconds} {round:?}");
    }
    assert!(r.read_duration(Duration::MAX, Round::Minute).is_err());
}

#[test]
fn digits_are_read_in_groups_and_nothing_else_is() {
    let r = rules(ENGLISH);
    let bits = r.read_digits("1234*").unwrap();
    assert_eq!(bits.len(), 9);
    assert_eq!(bits[5], Bit::Pause(Duration::from_millis(300)));
    assert_eq!(bits[8], Bit::Clip("key.star".into()));
    for bad in ["", "a", "1.5", &"1".repeat(65)] {
        assert!(r.read_digits(bad).is_err(), "{bad}");
    }
    assert!(Rules::read_ordinal(0).is_err() && Rules::read_ordinal(32).is_err());
}

#[test]
fn every_clip_a_value_needs_is_listed_before() {
    let r = rules(ENGLISH);
    let known = r.clips(&ReadAs::Duration(Round::Minute));
    assert!(!known.contains("unit.second.one"));
    for seconds in (0..2_000_000).step_by(3_777) {
        for bit in r
            .read_duration(Duration::from_secs(seconds), Round::Minute)
            .unwrap()
        {
            if let Bit::Clip(id) = bit {
                assert!(known.contains(&id), "{id}");
            }
        }
    }
}

#[test]
fn rules_that_run_in_a_circle_are_refused() {
    for bad in [
        "number = [ [0, \"< >\"] ]",
        "number = [ [100, \"<\", 1] ]",
        "number = [ [100, \"{x\"] ]",
        "number = [ [100, \"<\", 200] ]",
        "number = []\nplural = { one = \"n ==\" }",
    ] {
        assert!(
            Rules::convert(toml::from_str(bad).unwrap()).is_err(),
            "{bad}"
        );
    }
}
