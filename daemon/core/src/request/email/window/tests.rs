use super::*;
use crate::phone::DialRules;

/// Monday 2026-11-23 10:00 in Berlin.
const NOW: &str = "2026-11-23T10:00:00+01:00";

fn instant(text: &str) -> Wall {
    Wall::from_millis(text.parse::<Timestamp>().unwrap().as_millisecond())
}

fn reference_at(now: &str, zone: &str, number: Option<&str>) -> Reference {
    let dial = DialRules::default();
    let context = MailContext {
        own_addresses: &[],
        zone,
        region: Some("DE"),
        dial: &dial,
        queue: "help",
        received: instant(now),
        envelope: crate::request::email::Envelope::Null,
        authserv_ids: &[],
        recipients: &[],
        keys: None,
        checked: None,
    };
    let date = DateTime::parse_rfc3339(now).unwrap();
    let number = number.map(PhoneNumber::from_row);
    Reference::new(Some(&date), &context, number.as_ref(), false)
}

/// `11-24 15:00` in 2026 at +01:00; `:59` is the end of the day; `-` is open.
fn end(text: &str) -> Option<Wall> {
    if text == "-" {
        return None;
    }
    let (day, time) = text.split_once(' ').unwrap();
    let time = if time == ":59" {
        "23:59:59".to_owned()
    } else {
        format!("{time}:00")
    };
    Some(instant(&format!("2026-{day}T{time}+01:00")))
}

#[test]
fn times_as_people_write_them_are_understood() {
    let reference = reference_at(NOW, "Europe/Berlin", None);
    for (text, matched, from, to) in [
        (
            "call me tomorrow after 3pm",
            "tomorrow after 3pm",
            "11-24 15:00",
            "11-24 :59",
        ),
        (
            "please ring me tomorrow at 15:30",
            "tomorrow at 15:30",
            "11-24 15:30",
            "11-24 16:00",
        ),
        (
            "call today after 4",
            "today after 4",
            "11-23 16:00",
            "11-23 :59",
        ),
        ("call me after 3pm", "after 3pm", "11-23 15:00", "11-23 :59"),
        ("Call me after 9.", "after 9", "-", "11-23 :59"),
        ("call me before 5pm", "before 5pm", "-", "11-23 17:00"),
        (
            "call me before 9am",
            "before 9am",
            "11-24 00:00",
            "11-24 09:00",
        ),
        ("call me at 3", "at 3", "11-23 15:00", "11-23 15:30"),
        ("call me at 9", "at 9", "11-24 09:00", "11-24 09:30"),
        (
            "call me around 3pm",
            "around 3pm",
            "11-23 14:30",
            "11-23 15:30",
        ),
        (
            "tomorrow morning",
            "tomorrow morning",
            "11-24 08:00",
            "11-24 12:00",
        ),
        (
            "tomorrow morning at 9",
            "tomorrow morning at 9",
            "11-24 09:00",
            "11-24 09:30",
        ),
        (
            "call me this afternoon",
            "this afternoon",
            "11-23 12:00",
            "11-23 18:00",
        ),
        (
            "tonight after 7",
            "tonight after 7",
            "11-23 19:00",
            "11-23 21:00",
        ),
        (
            "this evening is best",
            "this evening",
            "11-23 18:00",
            "11-23 21:00",
        ),
        (
            "Monday between 9 and 11",
            "Monday between 9 and 11",
            "-",
            "11-23 11:00",
        ),
        (
            "Monday at 9am",
            "Monday at 9am",
            "11-30 09:00",
            "11-30 09:30",
        ),
        (
            "Friday at 10am",
            "Friday at 10am",
            "11-27 10:00",
            "11-27 10:30",
        ),
        (
            "next Friday at 10am",
            "next Friday at 10am",
            "12-04 10:00",
            "12-04 10:30",
        ),
        (
            "this Friday afternoon",
            "this Friday afternoon",
            "11-27 12:00",
            "11-27 18:00",
        ),
        (
            "call me on Wednesday",
            "Wednesday",
            "11-25 00:00",
            "11-25 :59",
        ),
        ("call Wed 2-4pm", "Wed 2-4pm", "11-25 14:00", "11-25 16:00"),
        (
            "tomorrow 11-1pm",
            "tomorrow 11-1pm",
            "11-24 11:00",
            "11-24 13:00",
        ),
        ("tomorrow 9-5", "tomorrow 9-5", "11-24 09:00", "11-24 17:00"),
        (
            "Thursday from 4 to 6",
            "Thursday from 4 to 6",
            "11-26 16:00",
            "11-26 18:00",
        ),
        (
            "between 11 and 2 tomorrow",
            "between 11 and 2 tomorrow",
            "11-24 11:00",
            "11-24 14:00",
        ),
        (
            "Tuesday 8.30-9.15",
            "Tuesday 8.30-9.15",
            "11-24 08:30",
            "11-24 09:15",
        ),
        (
            "call in 2 hours",
            "in 2 hours",
            "11-23 12:00",
            "11-23 12:30",
        ),
        (
            "in half an hour please",
            "in half an hour",
            "11-23 10:30",
            "11-23 11:00",
        ),
        ("within 3 hours", "within 3 hours", "-", "11-23 13:00"),
        ("call me in 3 days", "in 3 days", "11-26 00:00", "11-26 :59"),
        ("next week", "next week", "11-30 00:00", "12-06 :59"),
        ("by tomorrow please", "by tomorrow", "-", "11-24 :59"),
        ("before Friday", "before Friday", "-", "11-26 :59"),
        ("after Wednesday", "after Wednesday", "11-26 00:00", "-"),
        (
            "not before 2pm tomorrow",
            "not before 2pm tomorrow",
            "11-24 14:00",
            "11-24 :59",
        ),
        (
            "don't call before noon",
            "don't call before noon",
            "11-23 12:00",
            "11-23 :59",
        ),
        (
            "tomorrow, no later than 11:30",
            "tomorrow, no later than 11:30",
            "11-24 00:00",
            "11-24 11:30",
        ),
        (
            "Nov 25th, 3:30 pm",
            "Nov 25th, 3:30 pm",
            "11-25 15:30",
            "11-25 16:00",
        ),
        (
            "24.11. at 15:30",
            "24.11. at 15:30",
            "11-24 15:30",
            "11-24 16:00",
        ),
        ("11/24 at 2pm", "11/24 at 2pm", "11-24 14:00", "11-24 14:30"),
        ("3/12 at 10am", "3/12 at 10am", "12-03 10:00", "12-03 10:30"),
        (
            "the 1st at noon",
            "the 1st at noon",
            "12-01 12:00",
            "12-01 12:30",
        ),
        (
            "tomorrow half past three",
            "tomorrow half past three",
            "11-24 15:30",
            "11-24 16:00",
        ),
        (
            "quarter to four tomorrow",
            "quarter to four tomorrow",
            "11-24 15:45",
            "11-24 16:15",
        ),
        ("3pm onwards", "3pm onwards", "11-23 15:00", "11-23 :59"),
        (
            "day after tomorrow, lunchtime",
            "day after tomorrow, lunchtime",
            "11-25 12:00",
            "11-25 14:00",
        ),
        ("call me ASAP", "ASAP", "-", "-"),
        (
            "I called you on Monday, please call me back tomorrow after 3pm",
            "tomorrow after 3pm",
            "11-24 15:00",
            "11-24 :59",
        ),
        (
            "Please call me. Tomorrow after 3pm would be best.",
            "Tomorrow after 3pm",
            "11-24 15:00",
            "11-24 :59",
        ),
        (
            "Bitte rufen Sie mich morgen nach 15 Uhr an",
            "morgen nach 15 Uhr",
            "11-24 15:00",
            "11-24 :59",
        ),
        (
            "heute Nachmittag",
            "heute Nachmittag",
            "11-23 12:00",
            "11-23 18:00",
        ),
        ("morgen früh", "morgen früh", "11-24 08:00", "11-24 10:00"),
        (
            "am Freitag zwischen 9 und 11 Uhr",
            "Freitag zwischen 9 und 11 Uhr",
            "11-27 09:00",
            "11-27 11:00",
        ),
        (
            "übermorgen um halb vier",
            "übermorgen um halb vier",
            "11-25 15:30",
            "11-25 16:00",
        ),
        (
            "Bitte gegen 16 Uhr anrufen",
            "gegen 16 Uhr",
            "11-23 15:30",
            "11-23 16:30",
        ),
        (
            "bitte nicht vor 14 Uhr",
            "nicht vor 14 Uhr",
            "11-23 14:00",
            "11-23 :59",
        ),
        ("bis Freitag", "bis Freitag", "-", "11-27 :59"),
        (
            "nächsten Dienstag um 8:15 Uhr",
            "nächsten Dienstag um 8:15 Uhr",
            "12-01 08:15",
            "12-01 08:45",
        ),
        (
            "24.11. um 15:30 Uhr",
            "24.11. um 15:30 Uhr",
            "11-24 15:30",
            "11-24 16:00",
        ),
        (
            "in zwei Stunden",
            "in zwei Stunden",
            "11-23 12:00",
            "11-23 12:30",
        ),
        (
            "Rückruf bitte um 7 Uhr",
            "um 7 Uhr",
            "11-24 07:00",
            "11-24 07:30",
        ),
    ] {
        match find(text, false, &reference) {
            Found::Window {
                not_before,
                not_after,
                matched: words,
                ..
            } => {
                let got = (
                    not_before.map(Wall::rfc3339),
                    not_after.map(Wall::rfc3339),
                    words.as_str(),
                );
                assert_eq!(
                    got,
                    (
                        end(from).map(Wall::rfc3339),
                        end(to).map(Wall::rfc3339),
                        matched
                    ),
                    "{text}"
                );
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn times_nobody_asked_a_call_for_are_left_alone() {
    let reference = reference_at(NOW, "Europe/Berlin", None);
    for text in [
        "I may call on 5 items",
        "I live at 12 May Street",
        "please call me, I live at 12 May Street",
        "order 2026-1123 from 10:30",
        "I bought it on Monday",
        "It broke yesterday after 3pm",
        "Invoice 3/12 is wrong",
        "Ich habe am Montag bestellt",
        "call me at 030 1234567",
        "call me on +49 30 1234567",
        "call 20 7946 0018 please",
        "My basket has 3 items from 2 shops, call 030 1234567",
        "please call me 24/7",
        "I sat on it, please call",
        "",
        "😀 .... 99:99 0/0 0.0.0 -- ,,",
    ] {
        assert_eq!(find(text, false, &reference), Found::Nothing, "{text}");
    }
}

#[test]
fn times_that_cannot_be_kept_are_asked_about() {
    let reference = reference_at(NOW, "Europe/Berlin", None);
    for text in [
        "20 November at 10am",
        "Tuesday 25 November",
        "call me any day except Friday",
        "Am Freitag bin ich nicht erreichbar",
        "please call, but not Friday",
        "please call on 2027-06-01 at 10:00",
        "please call on 2026-11-20",
        "please don't call on Friday",
    ] {
        assert!(
            matches!(find(text, false, &reference), Found::Unclear(_)),
            "{text}: {:?}",
            find(text, false, &reference)
        );
    }
    let late = reference_at("2026-11-23T16:00:00+01:00", "Europe/Berlin", None);
    assert!(matches!(
        find("call me this morning", false, &late),
        Found::Unclear(_)
    ));
}

fn window(text: &str, reference: &Reference) -> (Option<String>, Option<String>, Option<String>) {
    match find(text, false, reference) {
        Found::Window {
            not_before,
            not_after,
            clock,
            ..
        } => (
            not_before.map(Wall::rfc3339),
            not_after.map(Wall::rfc3339),
            clock.told().map(str::to_owned),
        ),
        other => panic!("{text}: {other:?}"),
    }
}

fn utc(
    from: &str,
    to: &str,
    zone: Option<&str>,
) -> (Option<String>, Option<String>, Option<String>) {
    let full = |t: &str| (t != "-").then(|| instant(t).rfc3339());
    (full(from), full(to), zone.map(str::to_owned))
}

#[test]
fn the_clock_meant_is_the_named_one_then_the_telephones() {
    let reference = reference_at(NOW, "Europe/Berlin", None);
    assert_eq!(
        window("call at 3pm London time tomorrow", &reference),
        utc(
            "2026-11-24T15:00:00Z",
            "2026-11-24T15:30:00Z",
            Some("Europe/London")
        )
    );
    assert_eq!(
        window("tomorrow at 9am ET", &reference),
        utc(
            "2026-11-24T14:00:00Z",
            "2026-11-24T14:30:00Z",
            Some("America/New_York")
        )
    );
    assert_eq!(
        window("tomorrow at 9am UTC+2 please", &reference),
        utc("2026-11-24T07:00:00Z", "2026-11-24T07:30:00Z", None)
    );
    let british = reference_at(NOW, "Europe/Berlin", Some("+442079460018"));
    assert_eq!(
        window("call me tomorrow after 3pm", &british),
        utc(
            "2026-11-24T15:00:00Z",
            "2026-11-24T23:59:59Z",
            Some("Europe/London")
        )
    );
    // A writer elsewhere: the offset of the Date header.
    let abroad = reference_at("2026-11-23T10:00:00-05:00", "Europe/Berlin", None);
    assert_eq!(
        window("call me tomorrow at 9am", &abroad),
        utc("2026-11-24T14:00:00Z", "2026-11-24T14:30:00Z", None)
    );
}

#[test]
fn a_start_that_has_passed_is_at_once() {
    let late = reference_at("2026-11-23T16:00:00+01:00", "Europe/Berlin", None);
    assert_eq!(
        window("call me after 3pm", &late),
        utc("-", "2026-11-23T22:59:59Z", None)
    );
}

#[test]
fn skipped_and_doubled_hours_have_one_meaning() {
    let spring = reference_at("2027-03-27T10:00:00+01:00", "Europe/Berlin", None);
    assert_eq!(
        window("call tomorrow at 2:30 am", &spring),
        utc("2027-03-28T01:30:00Z", "2027-03-28T02:00:00Z", None)
    );
    let autumn = reference_at("2026-10-24T10:00:00+02:00", "Europe/Berlin", None);
    assert_eq!(
        window("call tomorrow at 2:30 am", &autumn),
        utc("2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", None)
    );
}

#[test]
fn endless_text_is_read_in_time() {
    let reference = reference_at(NOW, "Europe/Berlin", None);
    find(&"please call ".repeat(50_000), false, &reference);
    find(&"a.b, please ".repeat(20_000), false, &reference);
    find(
        &"tomorrow tomorrow before between 3 and ".repeat(5_000),
        false,
        &reference,
    );
}

#[test]
fn times_written_by_programs_are_taken_from_fields_only() {
    let reference = reference_at(NOW, "Europe/Berlin", None);
    let text = "2026-11-24T15:00-05:00/PT2H";
    let Found::Window {
        not_before,
        not_after,
        ..
    } = find(text, true, &reference)
    else {
        panic!("{:?}", find(text, true, &reference));
    };
    assert_eq!(not_before, Some(instant("2026-11-24T20:00:00Z")));
    assert_eq!(not_after, Some(instant("2026-11-24T22:00:00Z")));
    for bad in [
        "2026-11-20T15:00Z",
        "2027-11-24T15:00Z",
        "2026-11-23T08:00Z/PT10M",
    ] {
        assert!(
            matches!(find(bad, true, &reference), Found::Unclear(_)),
            "{bad}"
        );
    }
    assert!(!matches!(
        machine_time("2026-11-24T15:00Z/-PT9H", &reference),
        Some(Found::Window { .. })
    ));
}

#[test]
fn more_times_are_understood() {
    let reference = reference_at(NOW, "Europe/Berlin", None);
    let mut wrong = Vec::new();
    let lines = include_str!("more.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split(" | ").collect();
        let found = find(parts[0], false, &reference);
        let fits = match (parts[1], &found) {
            ("nothing", found) => *found == Found::Nothing,
            ("unclear", found) => matches!(found, Found::Unclear(_)),
            (
                words,
                Found::Window {
                    not_before,
                    not_after,
                    matched,
                    ..
                },
            ) => matched == words && (*not_before, *not_after) == (end(parts[2]), end(parts[3])),
            _ => false,
        };
        if !fits {
            wrong.push(format!("{line}\n    {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
