//! The rules every written request has to meet, whether it came as JSON or as a form.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::{
    Channel, FieldError, HelpRequest, LINE_CHARS_MAX, NOTE_CHARS_MAX, PAGE_BYTES_MAX, When, Whom,
    clean_page, clean_text,
};
use super::error;
use crate::phone::{DialRules, PhoneError, PhoneNumber};
use crate::time::Wall;

/// Furthest a call may be booked ahead.
pub const BOOKING_AHEAD_MAX: Duration = Duration::from_secs(14 * 86_400);
/// Longest address of a mailbox, in bytes (RFC 5321 §4.5.3.1.3, less the angle brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Longest text read as a telephone number, in characters.
pub const PHONE_CHARS_MAX: usize = 64;
/// A form takes a moment to fill in: a time so little in the past is still "now".
const PAST_SLACK: Duration = Duration::from_secs(120);
/// Longest language tag, in bytes (RFC 5646 §4.4.1).
const LANGUAGE_BYTES_MAX: usize = 35;

/// An agent whom a request may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The name.
    pub name: String,
    /// Queues whose calls the agent takes.
    pub queues: Vec<String>,
    /// What the agent knows.
    pub skills: Vec<String>,
}

/// What a reader has to know about the site.
#[derive(Clone, Copy, Debug)]
pub struct ReadContext<'a> {
    /// Names of the configured queues; the first one is taken when none is named.
    pub queues: &'a [String],
    /// Who takes calls, where people do.
    pub agents: &'a [Agent],
    /// Region that completes national numbers (ISO 3166).
    pub region: Option<&'a str>,
    /// IANA zone of the site.
    pub zone: &'a str,
    /// Language of the site, taken when the customer's is unknown.
    pub language: &'a str,
    /// Numbers that may be called.
    pub dial: &'a DialRules,
    /// The time of reading.
    pub now: Wall,
}

/// The fields as the customer wrote them.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Raw<'a> {
    pub(in super::super) channel: Channel,
    pub(in super::super) queue: Option<&'a str>,
    pub(in super::super) phone: Option<&'a str>,
    pub(in super::super) name: Option<&'a str>,
    pub(in super::super) email: Option<&'a str>,
    pub(in super::super) page: Option<&'a str>,
    pub(in super::super) note: Option<&'a str>,
    pub(in super::super) language: Option<&'a str>,
    pub(in super::super) zone: Option<&'a str>,
    pub(in super::super) skill: Option<&'a str>,
    pub(in super::super) agent: Option<&'a str>,
    pub(in super::super) when: RawWhen<'a>,
}

/// The time as the customer wrote it.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum RawWhen<'a> {
    /// As soon as possible.
    Now,
    /// An instant, RFC 3339.
    At(&'a str),
    /// A window, RFC 3339; one side may be open.
    Between(Option<&'a str>, Option<&'a str>),
    /// `datetime-local` of a form, in the customer's zone.
    Local(&'a str),
}

/// Checks every field; hidden fields of a form are only hints and never an error.
///
/// # Errors
/// All fields that cannot be used, in the order of the fields.
pub(in super::super) fn check(
    raw: &Raw<'_>,
    context: &ReadContext<'_>,
) -> Result<HelpRequest, Vec<FieldError>> {
    let mut faults = Faults(Vec::new());
    let hints_only = raw.channel == Channel::Form;
    let queue = faults.take(read_queue(raw.queue, context));
    let number = faults.take(read_phone(raw.phone, context));
    let name = faults.take(read_line("name", raw.name));
    let email = faults.take(read_email(raw.email));
    let page =
        faults.take(read_page(raw.page).or_else(|e| if hints_only { Ok(None) } else { Err(e) }));
    let note = faults.take(read_note(raw.note));
    let language = faults
        .take(read_language(raw.language).or_else(|e| if hints_only { Ok(None) } else { Err(e) }));
    let zone =
        faults.take(read_zone(raw.zone).or_else(|e| if hints_only { Ok(None) } else { Err(e) }));
    let whom = read_whom(raw, queue.as_deref(), context.agents);
    let whom = faults.take(whom.or_else(|e| {
        if hints_only {
            Ok(Whom::default())
        } else {
            Err(e)
        }
    }));
    let zone_used = zone.clone().flatten();
    let zone_used = zone_used.as_deref().unwrap_or(context.zone);
    let when = faults.take(read_when(raw.when, zone_used, context.now));
    match (faults.0.is_empty(), queue, number, when) {
        (true, Some(queue), Some(number), Some(when)) => Ok(HelpRequest {
            queue,
            channel: raw.channel,
            number,
            name: name.flatten(),
            email: email.flatten(),
            page: page.flatten(),
            note: note.flatten(),
            language: language
                .flatten()
                .unwrap_or_else(|| context.language.to_owned()),
            zone: zone.flatten(),
            when,
            whom: whom.unwrap_or_default(),
        }),
        _ => Err(faults.0),
    }
}

struct Faults(Vec<FieldError>);

impl Faults {
    fn take<T>(&mut self, read: Result<T, FieldError>) -> Option<T> {
        read.map_err(|fault| self.0.push(fault)).ok()
    }
}

fn read_queue(text: Option<&str>, context: &ReadContext<'_>) -> Result<String, FieldError> {
    let wanted = text.map(str::trim).filter(|text| !text.is_empty());
    let found = match wanted {
        None => context.queues.first(),
        Some(name) => context.queues.iter().find(|queue| *queue == name),
    };
    found
        .cloned()
        .ok_or_else(|| error("queue", "bad-queue", "there is no such queue"))
}

/// Nobody waits for a skill that nobody has.
fn read_whom(raw: &Raw<'_>, queue: Option<&str>, agents: &[Agent]) -> Result<Whom, FieldError> {
    let serves = |agent: &&Agent| queue.is_none_or(|queue| agent.queues.iter().any(|q| q == queue));
    let given = |text: Option<&str>| {
        let text = text.map(str::trim).filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    let whom = Whom {
        skill: given(raw.skill),
        agent: given(raw.agent),
    };
    let can = |skill: &String| {
        agents
            .iter()
            .filter(serves)
            .any(|a| a.skills.contains(skill))
    };
    if whom.skill.as_ref().is_some_and(|skill| !can(skill)) {
        let why = "nobody who takes the calls of this queue has this skill";
        return Err(error("skill", "bad-skill", why));
    }
    let is = |name: &String| agents.iter().filter(serves).any(|a| a.name == *name);
    if whom.agent.as_ref().is_some_and(|name| !is(name)) {
        let why = "nobody of this name takes the calls of this queue";
        return Err(error("agent", "bad-agent", why));
    }
    Ok(whom)
}

fn read_phone(text: Option<&str>, context: &ReadContext<'_>) -> Result<PhoneNumber, FieldError> {
    let text = text.map(str::trim).unwrap_or_default();
    if text.is_empty() {
        return Err(error("phone", "missing", "the number to call is missing"));
    }
    if text.chars().count() > PHONE_CHARS_MAX {
        return Err(error(
            "phone",
            "too-long",
            format!("a telephone number has at most {PHONE_CHARS_MAX} characters"),
        ));
    }
    let number = PhoneNumber::parse(text, context.region)
        .and_then(|number| context.dial.check(&number).map(|()| number));
    number.map_err(|fault| {
        let kind = match fault {
            PhoneError::Unreadable => "bad-number",
            PhoneError::NotAllowed => "not-allowed",
        };
        error("phone", kind, fault.to_string())
    })
}

fn read_line(field: &'static str, text: Option<&str>) -> Result<Option<String>, FieldError> {
    let text = text.unwrap_or_default().trim();
    if text.chars().count() > LINE_CHARS_MAX {
        return Err(error(
            field,
            "too-long",
            format!("write at most {LINE_CHARS_MAX} characters"),
        ));
    }
    if text.contains(['\r', '\n', '\0']) {
        return Err(error(field, "bad-text", "write this on one line"));
    }
    Ok(clean_text(text, LINE_CHARS_MAX, false))
}

fn read_note(text: Option<&str>) -> Result<Option<String>, FieldError> {
    let text = text.unwrap_or_default().replace("\r\n", "\n");
    let text = text.replace('\r', "\n");
    if text.trim().chars().count() > NOTE_CHARS_MAX {
        return Err(error(
            "note",
            "too-long",
            format!("write at most {NOTE_CHARS_MAX} characters"),
        ));
    }
    Ok(clean_text(text.trim(), NOTE_CHARS_MAX, true))
}

/// A plain address: what a browser's `type=email` accepts, in the limits of RFC 5321. Quoted
/// local parts and address literals are refused: nobody types them, attackers do.
fn read_email(text: Option<&str>) -> Result<Option<String>, FieldError> {
    let text = text.unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    let good = text.len() <= EMAIL_BYTES_MAX
        && text
            .split_once('@')
            .is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain));
    if good {
        return Ok(Some(text.to_owned()));
    }
    Err(error(
        "email",
        "bad-email",
        "this is not an e-mail address; write it like name@example.org",
    ))
}

fn is_local_part(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c);
    (1..=64).contains(&text.len())
        && text.chars().all(allowed)
        && text.split('.').all(|atom| !atom.is_empty())
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn read_page(text: Option<&str>) -> Result<Option<String>, FieldError> {
    let text = text.unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > PAGE_BYTES_MAX {
        return Err(error(
            "page",
            "too-long",
            format!("a page address has at most {PAGE_BYTES_MAX} bytes"),
        ));
    }
    clean_page(text).map(Some).ok_or_else(|| {
        error(
            "page",
            "bad-page",
            "this is not the address of a web page (http or https)",
        )
    })
}

fn read_language(text: Option<&str>) -> Result<Option<String>, FieldError> {
    let text = text.unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    let mut parts = text.split('-');
    let primary = parts.next().unwrap_or_default();
    let good = text.len() <= LANGUAGE_BYTES_MAX
        && (2..=3).contains(&primary.len())
        && primary.chars().all(|c| c.is_ascii_alphabetic())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric())
        });
    if good {
        let rest = text.get(primary.len()..).unwrap_or_default();
        return Ok(Some(format!("{}{rest}", primary.to_ascii_lowercase())));
    }
    Err(error(
        "lang",
        "bad-language",
        "this is not a language tag; write it like de or en-GB",
    ))
}

fn read_zone(text: Option<&str>) -> Result<Option<String>, FieldError> {
    let text = text.unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    let zone = (text.len() <= 64)
        .then(|| TimeZone::get(text).ok())
        .flatten();
    // The database's own spelling, so that one zone has one name in rows and texts.
    let name = zone.and_then(|zone| zone.iana_name().map(str::to_owned));
    name.map(Some).ok_or_else(|| {
        error(
            "tz",
            "bad-zone",
            "this is not a time zone; write it like Europe/Berlin",
        )
    })
}

fn read_when(raw: RawWhen<'_>, zone: &str, now: Wall) -> Result<When, FieldError> {
    let (not_before, not_after) = match raw {
        RawWhen::Now => return Ok(When::Now),
        RawWhen::At(at) => (instant(at)?, None),
        RawWhen::Local(text) => (local_instant(text, zone)?, None),
        RawWhen::Between(from, to) => {
            (from.map_or(Ok(now), instant)?, to.map(instant).transpose()?)
        }
    };
    let last = not_after.unwrap_or(not_before);
    if not_after.is_some_and(|to| to <= not_before) && last > now {
        return Err(error(
            "when",
            "bad-window",
            "the window must end after it begins",
        ));
    }
    if last + PAST_SLACK < now {
        return Err(error("when", "time-in-past", "this time has passed"));
    }
    if last > now + BOOKING_AHEAD_MAX {
        return Err(error(
            "when",
            "time-too-far",
            "calls can be booked up to 14 days ahead",
        ));
    }
    // A window that has begun and stays open is as good as now.
    if not_before <= now && not_after.is_none() {
        return Ok(When::Now);
    }
    Ok(When::Window {
        not_before,
        not_after,
    })
}

/// An instant in RFC 3339 §5.6: date, `T`, time with seconds, offset.
fn instant(text: &str) -> Result<Wall, FieldError> {
    let parsed = is_rfc3339(text)
        .then(|| text.to_ascii_uppercase().parse::<Timestamp>().ok())
        .flatten();
    parsed
        .map(|at| Wall::from_millis(at.as_millisecond()))
        .ok_or_else(|| {
            error(
                "when",
                "bad-time",
                "write the time with its offset, like 2026-11-23T14:30:00+01:00",
            )
        })
}

/// Jiff reads more forms than RFC 3339 has (spaces, missing seconds, zone annotations); the
/// schema promises only these.
fn is_rfc3339(text: &str) -> bool {
    let shape = |text: &str, pattern: &str| {
        text.len() == pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(c, p)| match p {
                b'9' => c.is_ascii_digit(),
                _ => c.eq_ignore_ascii_case(&p),
            })
    };
    let Some((main, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let fraction = rest.strip_prefix('.').map_or(0, |digits| {
        1 + digits.bytes().take_while(u8::is_ascii_digit).count()
    });
    let offset = rest.get(fraction..).unwrap_or_default();
    let sign_made_plus = offset.replacen('-', "+", 1);
    shape(main, "9999-99-99T99:99:99")
        && (fraction == 0 || (2..=10).contains(&fraction))
        && (shape(offset, "Z") || shape(&sign_made_plus, "+99:99"))
}

/// A `datetime-local` value in `zone`. A time that a clock change skips moves on by the gap, one
/// that comes twice is the first: the customer is then waiting, not yet gone.
///
/// # Errors
/// What stands there is no time, or the zone is none.
pub fn local_instant(text: &str, zone: &str) -> Result<Wall, FieldError> {
    let bad = || error("when", "bad-time", "choose a day and a time");
    let text = text.trim();
    if text.is_empty() || text.len() > 23 || !text.contains('T') || text.contains('[') {
        return Err(bad());
    }
    let local: DateTime = text.parse().map_err(|_| bad())?;
    let zone = TimeZone::get(zone).map_err(|_| bad())?;
    let at = zone
        .to_ambiguous_zoned_datetime(local)
        .compatible()
        .map_err(|_| bad())?;
    Ok(Wall::from_millis(at.timestamp().as_millisecond()))
}
