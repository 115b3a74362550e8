//! Telephone numbers in free text. The number library validates, it does not find: it makes
//! digits of letters and takes dates for numbers. So runs of digits are found here, and only
//! what is left of them after dates, times, addresses and order numbers is asked about.

use std::sync::LazyLock;

use regex::Regex;

use crate::phone::{DialRules, PhoneNumber, has_trunk_prefix, normalize, split_extension};

/// Most runs looked at in one message.
const RUNS_MAX: usize = 32;
/// Fewest digits of a number.
const DIGITS_MIN: usize = 7;
/// Most bytes of one text searched.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Where a number stood, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Field,
    TelLink,
    Vcard,
    Body,
    Subject,
    Signature,
}

/// Numbers found so far.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Each number once, with its best source and the extension behind it.
    pub found: Vec<(PhoneNumber, Source, Option<String>)>,
    /// Whether a number was left out because it may not be called.
    pub refused: bool,
    runs: usize,
}

/// The one number to call, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The number and its extension, for people's eyes only.
    One(PhoneNumber, Option<String>),
    None(&'static str),
}

/// How numbers are completed and judged.
pub(super) struct Rules<'a> {
    /// Regions to try for national numbers, in order.
    pub regions: Vec<&'a str>,
    pub dial: &'a DialRules,
}

/// Words before digits that are no telephone number.
const OTHER_NUMBERS: [&str; 30] = [
    "order",
    "invoice",
    "ref",
    "reference",
    "case",
    "customer",
    "account",
    "item",
    "vat",
    "iban",
    "pin",
    "imei",
    "tracking",
    "fax",
    "telefax",
    "bestell",
    "rechnung",
    "kunden",
    "auftrag",
    "vorgang",
    "konto",
    "sendung",
    "ticket",
    "serial",
    "isbn",
    "steuer",
    "ust",
    "artikel",
    "vertrag",
    "parcel",
];
/// Words of a sentence that speaks of a telephone.
const CUES: [&str; 12] = [
    "call", "phone", "ring", "tel", "mobile", "cell", "anruf", "rufen", "telefon", "erreich",
    "handy", "rückruf",
];

impl Scan {
    /// Looks through a text that is one value: a labelled line, a link, a card.
    pub(super) fn value(&mut self, text: &str, source: Source, rules: &Rules<'_>) {
        let before = (self.found.len(), self.refused);
        self.try_run(text, true, source, rules);
        if (self.found.len(), self.refused) == before {
            self.text(text, source, rules);
        }
    }

    /// Looks through free text, sentence by sentence as lines go.
    pub(super) fn text(&mut self, text: &str, source: Source, rules: &Rules<'_>) {
        let Some(run) = run_pattern() else { return };
        let text = text
            .get(..text.floor_char_boundary(TEXT_BYTES_MAX))
            .unwrap_or_default();
        for line in text.lines() {
            // Digits of other scripts are made plain first; a plain line can be counted at once.
            let digits = line.bytes().filter(u8::is_ascii_digit).count();
            if line.is_ascii() && digits < DIGITS_MIN {
                continue;
            }
            let line = normalize(line);
            let masked = mask(&line);
            for hit in run.find_iter(&masked) {
                if self.runs >= RUNS_MAX {
                    return;
                }
                self.runs += 1;
                if !stands_alone(&masked, hit.start(), hit.end())
                    || is_other_number(&masked, hit.start())
                {
                    continue;
                }
                let labelled = source == Source::Field || has_cue(&line);
                let tail = masked.get(hit.end()..).unwrap_or_default();
                let with_tail = format!("{}{}", hit.as_str(), extension_at(tail));
                let before = (self.found.len(), self.refused);
                self.try_run(&with_tail, labelled, source, rules);
                // `after 2 030 1234567`: an hour may stand right before the number.
                if (self.found.len(), self.refused) == before
                    && let Some(rest) = without_hour(&with_tail)
                {
                    self.try_run(rest, labelled, source, rules);
                }
            }
        }
    }

    fn try_run(&mut self, run: &str, labelled: bool, source: Source, rules: &Rules<'_>) {
        let normal = normalize(run);
        let (number, extension) = split_extension(&normal);
        let extension = extension.map(str::to_owned);
        let Some(read) = read_run(number, labelled, rules) else {
            return;
        };
        if rules.dial.check(&read).is_err() {
            self.refused = true;
            return;
        }
        match self.found.iter_mut().find(|(known, _, _)| *known == read) {
            Some(known) => {
                known.1 = known.1.min(source);
                known.2 = known.2.take().or(extension);
            }
            None => self.found.push((read, source, extension)),
        }
    }

    /// Takes the number of the best source, if it names exactly one.
    pub(super) fn choose(&self) -> Choice {
        let Some(best) = self.found.iter().map(|(_, source, _)| *source).min() else {
            return Choice::None(if self.refused {
                "refused_phone"
            } else {
                "no_phone"
            });
        };
        let mut of_best = self.found.iter().filter(|(_, source, _)| *source == best);
        match (of_best.next(), of_best.next()) {
            (Some((number, _, extension)), None) => Choice::One(number.clone(), extension.clone()),
            _ => Choice::None("ambiguous_phone"),
        }
    }
}

/// A run without a first group of one or two digits, if a national prefix follows it.
fn without_hour(run: &str) -> Option<&str> {
    let (first, rest) = run.split_once(' ')?;
    let is_hour = first.len() <= 2 && first.bytes().all(|b| b.is_ascii_digit());
    (is_hour && rest.starts_with(['0', '('])).then_some(rest)
}

fn read_run(run: &str, labelled: bool, rules: &Rules<'_>) -> Option<PhoneNumber> {
    if run.trim_start().starts_with('+') {
        return PhoneNumber::parse(run, None).ok();
    }
    rules
        .regions
        .iter()
        .find_map(|region| {
            // Where national numbers have no prefix, any number would do: it needs a word beside it.
            let plain = has_trunk_prefix(region) || labelled;
            PhoneNumber::parse(run, Some(region)).ok().filter(|n| {
                plain || run.starts_with("00") || n.region().as_deref() != Some(*region)
            })
        })
        .or_else(|| PhoneNumber::parse(run, None).ok())
}

fn run_pattern() -> Option<&'static Regex> {
    static RUN: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\+{0,2}\(?[0-9](?:(?:[ ()\-/]{0,3}|\.)[0-9]){6,17}").ok());
    RUN.as_ref()
}

/// A run that touches letters or signs of an address is part of something else.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let touches = |c: char| {
        c.is_alphanumeric() || matches!(c, '@' | '#' | '_' | '+' | '&' | '=' | '$' | '€' | '%')
    };
    let before = text.get(..start).and_then(|t| t.chars().next_back());
    let after = text.get(end..).and_then(|t| t.chars().next());
    let tel = text
        .get(..start)
        .is_some_and(|t| t.to_ascii_lowercase().ends_with("tel:"));
    // `x5` behind a number is an extension, not a word.
    let extension = !extension_at(text.get(end..).unwrap_or_default()).is_empty();
    (tel || !before.is_some_and(touches)) && (extension || !after.is_some_and(touches))
}

/// The extension at the begin of what follows a number, as written; empty if there is none.
fn extension_at(tail: &str) -> &str {
    static EXTENSION: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)^\s{0,2}[,.]{0,2}\s{0,2}(?:extension|ext|durchwahl|dw|app|x)[. :]{0,2}[0-9]{1,6}\b").ok()
    });
    EXTENSION
        .as_ref()
        .and_then(|pattern| pattern.find(tail))
        .map_or("", |hit| hit.as_str())
}

/// Whether one of the two words before the run names another kind of number.
fn is_other_number(text: &str, start: usize) -> bool {
    let before = text.get(..start).unwrap_or_default().to_lowercase();
    let words: Vec<&str> = before
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .collect();
    words.iter().rev().take(2).any(|word| {
        OTHER_NUMBERS
            .iter()
            .any(|other| *word == *other || (other.len() > 4 && word.starts_with(other)))
    })
}

fn has_cue(line: &str) -> bool {
    let lower = line.to_lowercase();
    lower
        .split(|c: char| !c.is_alphabetic())
        .any(|word| CUES.iter().any(|cue| word.starts_with(cue)))
}

/// Overwrites addresses, dates and times, so that no run begins, ends or lives in one.
fn mask(line: &str) -> String {
    static OTHERS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
        [
            r"[^\s<>@]+@[^\s<>@]+",
            r"(?i)\b(?:https?|ftp|sips?|mailto|www)[:.][^\s<>]+",
            r"(?:^|[^0-9.+/\-])([0-9]{4}-[0-9]{1,2}-[0-9]{1,2})(?:T[0-9:]+)?(?:$|[^0-9\-])",
            r"(?:^|[^0-9.+/\-(])((?:0?[1-9]|[12][0-9]|3[01])\.\s?(?:0?[1-9]|1[0-2])\.(?:\s?(?:19|20)?[0-9]{2})?)(?:$|[^0-9.])",
            r"(?:^|[^0-9.+/\-(])((?:0?[1-9]|[12][0-9]|3[01])/(?:0?[1-9]|[12][0-9]|3[01])(?:/(?:19|20)?[0-9]{2})?)(?:$|[^0-9/])",
            r"(?:^|[^0-9.+/\-(])((?:[01]?[0-9]|2[0-4])[:.][0-5][0-9](?:\s?-\s?(?:[01]?[0-9]|2[0-4])[:.][0-5][0-9])?)(?:$|[^0-9.:])",
            r"(?i)(?:^|[^0-9.+/\-(])([0-9]{1,2}\s?(?:uhr|am|pm|h|o'clock))\b",
        ]
        .iter()
        .filter_map(|pattern| Regex::new(pattern).ok())
        .collect()
    });
    let mut masked = line.to_owned();
    for pattern in OTHERS.iter() {
        // Neighbours share the character between them, so a second pass sees the others.
        for _ in 0..2 {
            let spans: Vec<(usize, usize)> = pattern
                .captures_iter(&masked)
                .filter_map(|hit| hit.get(1).or_else(|| hit.get(0)))
                .map(|span| (span.start(), span.end()))
                .collect();
            for (start, end) in spans {
                masked.replace_range(start..end, &"|".repeat(end - start));
            }
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> DialRules {
        let allow = ["GB", "US", "DE", "FR", "IT", "ES", "DK"];
        DialRules {
            allow: allow.iter().map(|r| (*r).into()).collect(),
            ..DialRules::default()
        }
    }

    fn scan(text: &str, region: &str) -> Scan {
        let dial = rules();
        let mut scan = Scan::default();
        scan.text(
            text,
            Source::Body,
            &Rules {
                regions: vec![region],
                dial: &dial,
            },
        );
        scan
    }

    #[test]
    fn numbers_are_found_in_sentences() {
        for (text, region, e164, extension) in [
            (
                "call me on 020 7946 0018 please",
                "GB",
                "+442079460018",
                None,
            ),
            ("+44 (0)20 7946 0018", "GB", "+442079460018", None),
            ("(0044 20 7946 0018)", "GB", "+442079460018", None),
            ("my number is (415) 555-2671.", "US", "+14155552671", None),
            ("415.555.2671", "US", "+14155552671", None),
            ("+1 415 555 2671", "DE", "+14155552671", None),
            ("Tel.: 030/1234567", "DE", "+49301234567", None),
            ("Tel:030 - 123 45 67!", "DE", "+49301234567", None),
            (
                "am 24.11.2026 um 15:30 unter 0171 1234567 bitte",
                "DE",
                "+491711234567",
                None,
            ),
            ("8.30-9.15 oder 0171 1234567", "DE", "+491711234567", None),
            ("15 Uhr, 0171 1234567", "DE", "+491711234567", None),
            ("24/11 030 1234567", "DE", "+49301234567", None),
            ("+49 (0) 171 / 123 45 67", "DE", "+491711234567", None),
            ("01 23 45 67 89", "FR", "+33123456789", None),
            ("06.12.34.56.78", "FR", "+33612345678", None),
            ("011 44 20 7946 0018", "US", "+442079460018", None),
            ("020 7946 0018 ext 12", "GB", "+442079460018", Some("12")),
            ("030 1234567 Durchwahl 5", "DE", "+49301234567", Some("5")),
            ("call 030 1234567x5", "DE", "+49301234567", Some("5")),
            ("tel:+49-30-1234567", "DE", "+49301234567", None),
            ("telefon ０３０ １２３４５６７", "DE", "+49301234567", None),
            ("call me: 612 345 678", "ES", "+34612345678", None),
            (
                "write to a1234567@x.test or call 030 1234567",
                "DE",
                "+49301234567",
                None,
            ),
            (
                "order 4155550000, call 4155552671",
                "US",
                "+14155552671",
                None,
            ),
        ] {
            let scan = scan(text, region);
            let expected = Choice::One(PhoneNumber::from_row(e164), extension.map(str::to_owned));
            assert_eq!(scan.choose(), expected, "{text}: {scan:?}");
        }
    }

    #[test]
    fn other_digits_are_no_numbers() {
        for (text, region) in [
            ("555-2671", "US"),
            ("10115", "DE"),
            ("112", "DE"),
            ("1234567890123", "US"),
            ("order 4155552671", "US"),
            ("order no. 4155552671", "US"),
            ("Rechnungsnummer 030 1234567", "DE"),
            ("Fax: 030 1234567", "DE"),
            ("24.11.2026", "DE"),
            ("2026-11-24", "DE"),
            ("3/12/2026", "US"),
            ("24.11.2026 15:30", "DE"),
            ("https://shop.test/0301234567", "DE"),
            ("0301234567@shop.test", "DE"),
            ("ref_0301234567", "DE"),
            ("DE89370400440532013000", "DE"),
            ("#0301234567", "DE"),
            ("612 345 678", "ES"),
            ("+1-415-CALL-NOW", "US"),
            ("", "DE"),
        ] {
            let scan = scan(text, region);
            assert_eq!(scan.choose(), Choice::None("no_phone"), "{text}: {scan:?}");
        }
    }

    #[test]
    fn numbers_that_may_not_be_called_are_told_apart() {
        for (text, region) in [
            ("900-555-0100", "US"),
            ("1-800-555-0199", "US"),
            ("0900 1 123456", "DE"),
            ("0180 5 123456", "DE"),
            ("+881 6 31234567", "DE"),
            ("+18765550123", "US"),
        ] {
            assert_eq!(
                scan(text, region).choose(),
                Choice::None("refused_phone"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_best_source_decides_and_two_equals_do_not() {
        let dial = rules();
        let rules = Rules {
            regions: vec!["DE"],
            dial: &dial,
        };
        let mut scan = Scan::default();
        scan.text("030 1234567 or 030 7654321", Source::Signature, &rules);
        assert_eq!(scan.choose(), Choice::None("ambiguous_phone"));
        scan.text("030 1111111", Source::Body, &rules);
        assert_eq!(
            scan.choose(),
            Choice::One(PhoneNumber::from_row("+49301111111"), None)
        );
        scan.value("+49 30 7654321", Source::Field, &rules);
        assert_eq!(
            scan.choose(),
            Choice::One(PhoneNumber::from_row("+49307654321"), None)
        );
        assert_eq!(scan.found.len(), 3, "each number once: {scan:?}");
    }

    #[test]
    fn endless_digits_are_read_in_time() {
        let text = "0171 1234567 ".repeat(50_000);
        assert!(scan(&text, "DE").found.len() <= RUNS_MAX);
        scan(&"1".repeat(500_000), "DE");
        scan(&"1.2/".repeat(100_000), "DE");
    }
}
