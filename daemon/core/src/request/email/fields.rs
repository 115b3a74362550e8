//! Labelled lines: `Phone: 030 1234567`, as forms and prepared mails write them.

/// How many lines that are not blank are looked at from the top.
const LINES_MAX: usize = 12;

/// What the labelled lines say, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub phone: Option<String>,
    pub name: Option<String>,
    pub when: Option<String>,
    pub page: Option<String>,
}

/// Most bytes of a JSON part that are looked at.
const JSON_BYTES_MAX: usize = 64 << 10;

impl Fields {
    /// These, and from `others` what is missing.
    pub(super) fn or(&self, others: &Fields) -> Fields {
        let or = |a: &Option<String>, b: &Option<String>| a.clone().or_else(|| b.clone());
        Fields {
            phone: or(&self.phone, &others.phone),
            name: or(&self.name, &others.name),
            when: or(&self.when, &others.when),
            page: or(&self.page, &others.page),
        }
    }
}

/// The fields of a part in the form of `schemas/help-request.json`.
pub(super) fn of_json(bytes: &[u8]) -> Fields {
    let parsed = match bytes.len() <= JSON_BYTES_MAX {
        true => serde_json::from_slice::<serde_json::Value>(bytes).ok(),
        false => None,
    };
    let parsed = parsed.filter(|value| value["phone"].is_string());
    let text = |name: &str| {
        let value = parsed.as_ref()?.get(name)?.as_str()?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    };
    Fields {
        phone: text("phone"),
        name: text("name"),
        when: text("not_before"),
        page: text("page"),
    }
}

const PHONE: [&str; 14] = [
    "phone",
    "tel",
    "telephone",
    "mobile",
    "cell",
    "callback",
    "telefon",
    "handy",
    "mobil",
    "rückruf",
    "phone number",
    "telefonnummer",
    "call back",
    "number",
];
const NAME: [&str; 1] = ["name"];
const WHEN: [&str; 8] = [
    "time",
    "when",
    "call me at",
    "preferred time",
    "zeit",
    "wann",
    "uhrzeit",
    "termin",
];
const PAGE: [&str; 3] = ["page", "url", "seite"];

/// Reads the labelled lines at the top of `text`; the first of each label counts.
pub(super) fn read(text: &str) -> Fields {
    let mut fields = Fields::default();
    for line in text
        .lines()
        .filter(|l| !l.trim().is_empty())
        .take(LINES_MAX)
    {
        let Some(at) = line.find([':', '=']) else {
            continue;
        };
        let (label, value) = line.split_at(at);
        let label = label
            .trim()
            .trim_start_matches(['*', '-', '•', ' '])
            .trim_end_matches(['*', '.', ' '])
            .to_lowercase();
        let value = value
            .get(1..)
            .unwrap_or_default()
            .trim_matches(['*', ' ', '\t']);
        let field = match label.as_str() {
            l if PHONE.contains(&l) => &mut fields.phone,
            l if NAME.contains(&l) => &mut fields.name,
            l if WHEN.contains(&l) => &mut fields.when,
            l if PAGE.contains(&l) => &mut fields.page,
            _ => continue,
        };
        if field.is_none() && !value.is_empty() {
            *field = Some(value.to_owned());
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labelled_lines_are_read_from_the_top() {
        let text = "Name: Ada\nTel.: 030 1\n* Time = tomorrow 3pm\nPage: https://shop.test/x?a=b\nPhone: second\n\nName: no";
        let fields = read(text);
        assert_eq!(fields.name.as_deref(), Some("Ada"));
        assert_eq!(fields.phone.as_deref(), Some("030 1"));
        assert_eq!(fields.when.as_deref(), Some("tomorrow 3pm"));
        assert_eq!(fields.page.as_deref(), Some("https://shop.test/x?a=b"));
    }

    #[test]
    fn other_lines_are_no_fields() {
        assert_eq!(
            read("I said: hello\nhttps://x.test\nPhone:\n:\n=x"),
            Fields::default()
        );
        let low = format!("{}Phone: 1", "x\n".repeat(20));
        assert_eq!(read(&low), Fields::default());
    }
}
