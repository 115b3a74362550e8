//! Values as the shipped locales read them: words, since a person can judge those.

use std::time::Duration;

use jiff::civil::DateTime;

use super::{Amount, Locale};
use crate::ivr::fault::Report;
use crate::ivr::model::Round;
use crate::ivr::sim;

fn locale(name: &str) -> Locale {
    let sources = sim::bilingual_locales();
    let source = sources.iter().find(|s| s.locale == name).unwrap();
    Locale::read(source, &mut Report::default()).unwrap()
}

fn number(locale: &Locale, n: u64, unit: Option<&str>) -> String {
    locale.words(&locale.rules.read_number(n, unit).unwrap())
}

#[test]
fn numbers_and_what_is_counted() {
    let (en, fr) = (locale("en-US"), locale("fr-FR"));
    for (n, english, french) in [
        (0, "zero", "zéro"),
        (1, "one", "un"),
        (16, "sixteen", "seize"),
        (21, "twenty-one", "vingt et un"),
        (70, "seventy", "soixante-dix"),
        (71, "seventy-one", "soixante et onze"),
        (77, "seventy-seven", "soixante-dix-sept"),
        (80, "eighty", "quatre-vingts"),
        (81, "eighty-one", "quatre-vingt-un"),
        (91, "ninety-one", "quatre-vingt-onze"),
        (100, "one hundred", "cent"),
        (101, "one hundred one", "cent un"),
        (200, "two hundred", "deux cent"),
        (
            999,
            "nine hundred ninety-nine",
            "neuf cent quatre-vingt-dix-neuf",
        ),
        (1_000, "one thousand", "mille"),
        (2_026, "two thousand twenty-six", "deux mille vingt-six"),
        (1_000_000, "one million", "un million"),
        (2_000_001, "two million one", "deux millions un"),
    ] {
        assert_eq!(number(&en, n, None), english);
        assert_eq!(number(&fr, n, None), french);
    }
    for (n, english, french) in [
        (1, "one minute", "une minute"),
        (21, "twenty-one minutes", "vingt et une minutes"),
        (0, "zero minutes", "zéro minute"),
    ] {
        assert_eq!(number(&en, n, Some("minute")), english);
        assert_eq!(number(&fr, n, Some("minute")), french);
    }
    assert_eq!(number(&fr, 21, Some("day")), "vingt et un jours");
}

#[test]
fn lengths_waits_and_amounts() {
    let (en, fr) = (locale("en-US"), locale("fr-FR"));
    for (seconds, english, french) in [
        (20, "one minute", "une minute"),
        (125, "three minutes", "trois minutes"),
        (3_660, "one hour and one minute", "une heure et une minute"),
        (90_000, "one day and one hour", "un jour et une heure"),
    ] {
        let length = Duration::from_secs(seconds);
        let read = |l: &Locale| l.words(&l.rules.read_duration(length, Round::Minute).unwrap());
        assert_eq!((read(&en), read(&fr)), (english.into(), french.into()));
    }
    for (seconds, english, french) in [
        (1, "less than one minute", "moins d'une minute"),
        (601, "less than fifteen minutes", "moins de quinze minutes"),
        (3_600, "less than one hour", "moins d'une heure"),
        (8_000, "more than two hours", "plus de deux heures"),
    ] {
        let bound = Duration::from_secs(seconds);
        let read = |l: &Locale| l.words(&l.rules.read_ewt(bound).unwrap());
        assert_eq!((read(&en), read(&fr)), (english.into(), french.into()));
    }
    for (text, currency, english, french) in [
        (
            "12.50",
            "USD",
            "twelve dollars and fifty cents",
            "douze dollars et cinquante cents",
        ),
        ("1", "EUR", "one euro", "un euro"),
        ("0.01", "GBP", "one penny", "un penny"),
        ("21", "GBP", "twenty-one pounds", "vingt et une livres"),
    ] {
        let amount = Amount::parse(text, currency).unwrap();
        let read = |l: &Locale| l.words(&l.rules.read_money(amount, currency).unwrap());
        assert_eq!((read(&en), read(&fr)), (english.into(), french.into()));
    }
    for bad in ["", ".5", "1.234", "-1", "1e9", "12,50", "9999999999999"] {
        assert_eq!(Amount::parse(bad, "USD"), None, "{bad:?}");
    }
    assert_eq!(Amount::parse("500.00", "JPY"), Some(Amount::minor(500)));
    assert_eq!(Amount::parse("500.50", "JPY"), None);
}

#[test]
fn days_and_times() {
    let (en, fr) = (locale("en-US"), locale("fr-FR"));
    let at = |text: &str| text.parse::<DateTime>().unwrap();
    let now = at("2026-11-26T23:59:00");
    for (day, english, french) in [
        ("2026-11-26T00:00:00", "today", "aujourd'hui"),
        ("2026-11-27T00:00:00", "tomorrow", "demain"),
        ("2026-11-25T23:00:00", "yesterday", "hier"),
        (
            "2026-12-01T09:00:00",
            "Tuesday December first",
            "mardi premier décembre",
        ),
        (
            "2027-01-31T09:00:00",
            "Sunday January thirty-first",
            "dimanche trente et un janvier",
        ),
    ] {
        let read = |l: &Locale| l.words(&l.rules.read_date(&at(day), &now).unwrap());
        assert_eq!((read(&en), read(&fr)), (english.into(), french.into()));
    }
    for (time, english, french) in [
        ("2026-11-26T00:00:00", "twelve A M", "zéro heure"),
        (
            "2026-11-26T09:05:00",
            "nine oh five A M",
            "neuf heures cinq",
        ),
        (
            "2026-11-26T12:30:00",
            "twelve thirty P M",
            "douze heures trente",
        ),
        ("2026-11-26T21:00:00", "nine P M", "vingt et une heures"),
    ] {
        let read = |l: &Locale| l.words(&l.rules.read_time(&at(time)).unwrap());
        assert_eq!((read(&en), read(&fr)), (english.into(), french.into()));
    }
}

#[test]
fn a_customer_is_called_in_french() {
    let start = crate::ivr::io::Start {
        language: "fr".to_owned(),
        ..sim::start("callback-confirm")
    };
    let sim = sim::call(sim::bilingual(), start);
    let hello = "Bonjour, ici le service d'aide. Vous nous avez demandé de vous rappeler il y a sept minutes";
    assert!(sim.said().starts_with(hello), "{}", sim.said());
}
