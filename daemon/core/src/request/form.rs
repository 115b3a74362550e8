//! Reader of the help form (`application/x-www-form-urlencoded`). The fields are kept as the
//! customer typed them, so that a form with a fault can be shown again with every value.

use super::json::{Raw, RawWhen, ReadContext, check};
use super::{Channel, FieldError, HelpRequest};

/// Largest body of the form, in bytes.
pub const BODY_BYTES_MAX: usize = 32_768;
/// Most fields of a form; a foreign page may send some of its own, which are ignored.
const FIELDS_MAX: usize = 50;

/// The fields of the form as they came. Missing fields are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormFields {
    /// Name of the queue.
    pub queue: String,
    /// The number to call.
    pub phone: String,
    /// The customer's name.
    pub name: String,
    /// Where the acknowledgement goes.
    pub email: String,
    /// `now` or `at`.
    pub when: String,
    /// `datetime-local` value, read when `when` is `at`.
    pub at: String,
    /// The page the customer was on.
    pub page: String,
    /// What the customer wrote.
    pub note: String,
    /// Language of the form.
    pub lang: String,
    /// IANA zone of `at`.
    pub tz: String,
    /// Skill that is asked for.
    pub skill: String,
    /// Agent who is preferred.
    pub agent: String,
    /// Honeypot: people do not see it and leave it empty.
    pub website: String,
    /// Nonce of the form: sent twice, it is one request.
    pub idem: String,
    /// Form token.
    pub ft: String,
}

impl FormFields {
    /// Splits a form body into its fields.
    ///
    /// # Errors
    /// The body is too long, has too many fields, or names a field twice.
    pub fn decode(body: &[u8]) -> Result<Self, FieldError> {
        let fault = |kind, reason: &str| FieldError {
            field: "body",
            kind,
            reason: reason.to_owned(),
        };
        if body.len() > BODY_BYTES_MAX {
            return Err(fault("too-long", "the form is too long"));
        }
        let mut fields = FormFields::default();
        let mut seen: Vec<String> = Vec::new();
        for (count, (name, value)) in url::form_urlencoded::parse(body).enumerate() {
            if count >= FIELDS_MAX {
                return Err(fault("too-many-fields", "the form has too many fields"));
            }
            let Some(field) = fields.field_mut(&name) else {
                continue;
            };
            *field = value.into_owned();
            if seen.iter().any(|before| *before == name) {
                return Err(fault("given-twice", "the form names a field twice"));
            }
            seen.push(name.into_owned());
        }
        Ok(fields)
    }

    fn field_mut(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "queue" => &mut self.queue,
            "phone" => &mut self.phone,
            "name" => &mut self.name,
            "email" => &mut self.email,
            "when" => &mut self.when,
            "at" => &mut self.at,
            "page" => &mut self.page,
            "note" => &mut self.note,
            "lang" => &mut self.lang,
            "tz" => &mut self.tz,
            "skill" => &mut self.skill,
            "agent" => &mut self.agent,
            "website" => &mut self.website,
            "idem" => &mut self.idem,
            "ft" => &mut self.ft,
            _ => return None,
        })
    }

    /// The request the form asks for. The hidden fields (`page`, `lang`, `tz`, `skill`,
    /// `agent`) are hints: what cannot be used of them is left out.
    ///
    /// # Errors
    /// Every visible field that cannot be used, in the order of the form.
    pub fn read(&self, context: &ReadContext<'_>) -> Result<HelpRequest, Vec<FieldError>> {
        let raw = Raw {
            channel: Channel::Form,
            queue: Some(&self.queue),
            phone: Some(&self.phone),
            name: Some(&self.name),
            email: Some(&self.email),
            page: Some(&self.page),
            note: Some(&self.note),
            language: Some(&self.lang),
            zone: Some(&self.tz),
            skill: Some(&self.skill),
            agent: Some(&self.agent),
            when: match self.when.as_str() {
                "at" => RawWhen::Local(&self.at),
                _ => RawWhen::Now,
            },
        };
        let mut faults: Vec<FieldError> = self.choice_fault().into_iter().collect();
        match check(&raw, context) {
            Ok(request) if faults.is_empty() => Ok(request),
            Ok(_) => Err(faults),
            Err(more) => {
                faults.extend(more);
                Err(faults)
            }
        }
    }

    /// Now or at a time. Whoever typed a time and left "now" chosen is asked: a call at once is
    /// surely not what that person expects.
    fn choice_fault(&self) -> Option<FieldError> {
        let (kind, reason) = match (self.when.as_str(), self.at.trim()) {
            ("" | "now", "") | ("at", _) => return None,
            ("" | "now", _) => (
                "now-or-time",
                "choose as soon as possible or a time, not both",
            ),
            _ => ("bad-when", "choose now or a time"),
        };
        Some(FieldError {
            field: "when",
            kind,
            reason: reason.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::When;
    use super::*;
    use crate::phone::DialRules;
    use crate::time::Wall;

    const NOW: Wall = Wall::from_millis(1_795_440_000_000); // 2026-11-23T13:20:00Z

    fn read(body: &str) -> Result<HelpRequest, Vec<FieldError>> {
        let dial = DialRules {
            allow: vec!["DE".into()],
            ..DialRules::default()
        };
        let queues = ["help".to_owned(), "shop".to_owned()];
        let context = ReadContext {
            queues: &queues,
            agents: &[],
            region: Some("DE"),
            zone: "Europe/Berlin",
            language: "en",
            dial: &dial,
            now: NOW,
        };
        FormFields::decode(body.as_bytes())
            .map_err(|fault| vec![fault])?
            .read(&context)
    }

    #[test]
    fn filled_form_becomes_a_request() {
        let request = read(
            "phone=030+901820&name=Ada+%3Cb%3E&email=ada%40example.org&queue=shop&when=now\
             &page=https%3A%2F%2Fshop.example%2Fb%3Fid%3D7&note=a%0D%0Ab&lang=de-AT&tz=europe/vienna&other=1",
        )
        .unwrap();
        assert_eq!(request.number.as_str(), "+4930901820");
        assert_eq!(request.name.as_deref(), Some("Ada <b>"));
        assert_eq!(request.email.as_deref(), Some("ada@example.org"));
        assert_eq!(request.queue, "shop");
        assert_eq!(request.page.as_deref(), Some("https://shop.example/b?id=7"));
        assert_eq!(request.note.as_deref(), Some("a\nb"));
        assert_eq!(request.language, "de-AT");
        assert_eq!(request.zone.as_deref(), Some("Europe/Vienna"));
        assert_eq!(request.when, When::Now);
    }

    #[test]
    fn local_time_is_read_in_the_zone_beside_it() {
        let request = read("phone=030901820&when=at&at=2026-11-23T16:00&tz=Europe/Berlin").unwrap();
        let at = NOW + Duration::from_secs(100 * 60);
        assert_eq!(
            request.when,
            When::Window {
                not_before: at,
                not_after: None
            }
        );
        let spring = read("phone=030901820&when=at&at=2026-12-01T02:30&tz=Nowhere/Land").unwrap();
        assert_eq!(spring.zone, None);
        assert!(matches!(spring.when, When::Window { .. }));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let faults = read("phone=&email=x&when=at&at=2020-01-01T10:00").unwrap_err();
        let kinds: Vec<_> = faults.iter().map(|f| (f.field, f.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("phone", "missing"),
                ("email", "bad-email"),
                ("when", "time-in-past")
            ]
        );
    }

    #[test]
    fn hidden_fields_are_hints() {
        let request =
            read("phone=030901820&page=javascript:alert(1)&lang=%00%0d&tz=..%2f").unwrap();
        assert_eq!((request.page, request.zone), (None, None));
        assert_eq!(request.language, "en");
    }

    #[test]
    fn hostile_forms_are_refused() {
        for (body, kind) in [
            ("phone=1&phone=2", "given-twice"),
            (&"a=1&".repeat(60), "too-many-fields"),
            (&format!("note={}", "x".repeat(BODY_BYTES_MAX)), "too-long"),
            ("phone=030901820&name=a%0d%0aBcc:+x", "bad-text"),
            ("phone=030901820&when=at", "bad-time"),
            ("phone=030901820&when=at&at=2026-13-40T99:99", "bad-time"),
            ("phone=030901820&when=soon", "bad-when"),
            (
                "phone=030901820&when=now&at=2026-11-24T10:00",
                "now-or-time",
            ),
            ("phone=030901820&at=2026-11-24T10:00", "now-or-time"),
            ("phone=030901820&queue=none", "bad-queue"),
        ] {
            assert_eq!(read(body).unwrap_err()[0].kind, kind, "{body}");
        }
    }
}
