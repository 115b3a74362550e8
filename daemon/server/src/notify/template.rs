//! Templates of mails: `KIND.LOCALE.txt.hbs` and `KIND.LOCALE.html.hbs`. The first line of the
//! text is the subject. An operator's folder overrides the built-in ones by file name.
//!
//! Facts are only values, never templates: `{{x}}` in a customer's name stays as it is. Two
//! registries: HTML escapes its values, plain text must not (`&amp;` would be shown).

mod files;
mod names;
mod sample;

use std::path::Path;

use anyhow::Context;
use handlebars::{Handlebars, RenderError, TemplateError};
use helpline_core::queue::ewt::{Promise, PromiseKind};
use helpline_core::request::clean_text;
use helpline_core::time::Wall;
use serde_json::{Value, json};

use crate::store::outbox::{MailBody, OutboxRow};

pub use files::{Format, Origin, TemplateFile, built_in, files};
pub use sample::{ESTIMATES, REASONS, Sample};

/// The mails there are.
pub const KINDS: [&str; 8] = [
    "ack",
    "confirm",
    "changed",
    "needs_info",
    "attempted",
    "closing",
    "voicemail",
    "alarm",
];
/// Longest name greeted with; longer ones are no names.
const NAME_CHARS_MAX: usize = 60;
/// Longest one-line value.
const VALUE_CHARS_MAX: usize = 500;
/// Longest subject, the tag not counted.
const SUBJECT_CHARS_MAX: usize = 100;
/// A mail in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailText {
    /// One line.
    pub subject: String,
    /// Plain text, lines end with LF.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// Language of both.
    pub locale: String,
}

/// All templates, compiled and tried once at start.
pub struct Templates {
    text: Handlebars<'static>,
    html: Handlebars<'static>,
}

impl Templates {
    /// Compiles the built-in templates and those of the operator's `folder`.
    ///
    /// # Errors
    /// All faults, one a line, each with file and line.
    pub fn load(folder: Option<&Path>) -> anyhow::Result<Self> {
        let files = files(folder)?;
        let mut templates = Templates {
            text: Handlebars::new(),
            html: Handlebars::new(),
        };
        templates.text.set_strict_mode(true);
        templates.html.set_strict_mode(true);
        templates.text.register_escape_fn(handlebars::no_escape);
        let mut faults = files::pair_faults(&files);
        for file in &files {
            templates.compile(file, &mut faults);
        }
        if faults.is_empty() {
            for file in &files {
                faults.extend(templates.try_out(file));
            }
        }
        anyhow::ensure!(faults.is_empty(), "mail templates:\n{}", faults.join("\n"));
        Ok(templates)
    }

    fn compile(&mut self, file: &TemplateFile, faults: &mut Vec<String>) {
        if let Some(fault) = file.name_fault().or_else(|| file.subject_fault()) {
            faults.push(fault);
            return;
        }
        let registry = match file.format {
            Format::Html => &mut self.html,
            Format::Text => &mut self.text,
        };
        let name = file.registered_as();
        match registry.register_template_string(name, &file.source) {
            Ok(()) => {
                let compiled = registry.get_template(name);
                faults.extend(compiled.iter().flat_map(|t| names::faults(file, t)));
            }
            Err(fault) => faults.push(compile_fault(file, &fault)),
        }
    }

    /// Renders a template with facts of every sort: a fault that only shows with values is
    /// found at start and not with the first customer.
    fn try_out(&self, file: &TemplateFile) -> Vec<String> {
        if file.is_frame() {
            return Vec::new();
        }
        let registry = match file.format {
            Format::Html => &self.html,
            Format::Text => &self.text,
        };
        let mut faults: Vec<String> = sample::all(&file.kind)
            .iter()
            .map(|sample| facts(&sample.body(), &file.locale, "Site", "http://h"))
            .filter_map(|facts| registry.render(&file.name, &facts).err())
            .map(|fault| render_fault(file, &fault))
            .collect();
        faults.sort();
        faults.dedup();
        faults
    }

    /// The mail of a row. A language without templates is told in English.
    ///
    /// # Errors
    /// A kind without templates, or a template that fails on these facts.
    pub fn render(
        &self,
        row: &OutboxRow,
        site_name: &str,
        public_url: &str,
    ) -> anyhow::Result<MailText> {
        let wanted = row.locale.split('-').next().unwrap_or_default();
        let wanted = wanted.to_ascii_lowercase();
        let locale = [wanted.as_str(), "en"]
            .into_iter()
            .find(|locale| {
                self.text.has_template(&file(&row.kind, locale, "txt"))
                    && self.html.has_template(&file(&row.kind, locale, "html"))
            })
            .with_context(|| format!("there is no mail template of the kind {:?}", row.kind))?;
        let facts = facts(&row.body, locale, site_name, public_url);
        let text = self.text.render(&file(&row.kind, locale, "txt"), &facts)?;
        let html = self.html.render(&file(&row.kind, locale, "html"), &facts)?;
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let subject = first.strip_prefix("Subject:").unwrap_or(first);
        Ok(MailText {
            subject: clean_text(subject, SUBJECT_CHARS_MAX, false).unwrap_or_default(),
            text: tidy(rest),
            html,
            locale: locale.to_owned(),
        })
    }
}

fn file(kind: &str, locale: &str, end: &str) -> String {
    format!("{kind}.{locale}.{end}.hbs")
}

fn compile_fault(file: &TemplateFile, fault: &TemplateError) -> String {
    let line = fault.pos().map_or(1, |(line, _)| line);
    file.fault(line, fault.reason())
}

fn render_fault(file: &TemplateFile, fault: &RenderError) -> String {
    file.fault(fault.line_no.unwrap_or(1), fault.reason())
}

/// The values templates may name; all are there, those without a fact are null.
fn facts(body: &MailBody, locale: &str, site_name: &str, public_url: &str) -> Value {
    let line = |text: &Option<String>| {
        text.as_deref()
            .and_then(|text| clean_text(text, VALUE_CHARS_MAX, false))
    };
    let zone = body.promise.as_ref().map_or("UTC", |p| p.zone.as_str());
    let made_at = body.made_at.unwrap_or_default();
    let promise = body.promise.as_ref();
    let message = body.message.as_ref();
    let alarm = body.alarm.as_ref();
    let token = body.token.as_deref().filter(|token| is_plain(token, "-_"));
    let query = body
        .form_query
        .as_deref()
        .filter(|query| is_plain(query, "-_.~*%&=+"));
    let form_url = match query {
        Some(query) => format!("{public_url}/help?{query}"),
        None => format!("{public_url}/help"),
    };
    json!({
        "site_name": clean_text(site_name, VALUE_CHARS_MAX, false),
        "locale": locale,
        "request_tag": line(&body.request_tag),
        "number_masked": line(&body.number_masked).unwrap_or_else(|| "…".to_owned()),
        "customer_name": line(&body.customer_name).filter(|name| is_name(name)),
        "position": body.position,
        "promise_text": promise.map(|p| p.text(body.position, made_at, locale)),
        "estimate": estimate(promise),
        "missed": body.missed,
        "unclear": body.unclear,
        "queue_title": line(&body.queue_title),
        "reason": line(&body.reason),
        "next_at_text": body.next_at.map(|at| time_in_words(at, zone, locale)),
        "status_url": token.map(|token| format!("{public_url}/s/{token}")),
        "form_url": form_url,
        "caller_number": message.and_then(|m| line(&m.from)),
        "mailbox": message.map(|m| m.mailbox.clone()).or_else(|| alarm.and_then(|a| line(&a.mailbox))),
        "detail": alarm.and_then(|a| line(&a.detail)),
        "message_length": message.map(|m| length_in_words(m.millis)),
        "message_at": message.map(|m| time_in_words(made_at, &m.zone, locale)),
        "recording": message.map(|m| m.take.as_str()),
    })
}

/// The promise in parts, for templates in languages that `promise_text` does not speak. Always
/// there, so that `estimate.kind` can be asked for in any mail.
fn estimate(promise: Option<&Promise>) -> Value {
    let named = promise.filter(|promise| promise.names_times());
    let local = |at: Wall| named.map(|p| local_time(at, &p.zone, "%Y-%m-%d %H:%M"));
    json!({
        "kind": promise.map_or(PromiseKind::None, |promise| promise.kind),
        "from": named.and_then(|promise| local(promise.from)),
        "to": named.and_then(|promise| local(promise.to)),
        "zone": named.map(|promise| place(&promise.zone)),
        "percent": named.and_then(|promise| promise.percent),
    })
}

fn is_plain(text: &str, others: &str) -> bool {
    !text.is_empty()
        && text.len() <= 4_096
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// A form takes any text as a name, and any address as the recipient: what looks like an
/// advertisement is not repeated to somebody who may never have asked for it.
fn is_name(text: &str) -> bool {
    let lower = text.to_lowercase();
    text.chars().count() <= NAME_CHARS_MAX
        && !["://", "www.", "@"].iter().any(|part| lower.contains(part))
}

fn time_in_words(at: Wall, zone: &str, locale: &str) -> String {
    let pattern = match locale {
        "de" => "%d.%m.%Y, %H:%M Uhr",
        _ => "%-d %B %Y, %H:%M",
    };
    format!("{} ({})", local_time(at, zone, pattern), place(zone))
}

/// The town of a zone.
fn place(zone: &str) -> String {
    zone.rsplit('/').next().unwrap_or(zone).replace('_', " ")
}

fn local_time(at: Wall, zone: &str, pattern: &str) -> String {
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let Ok(at) = jiff::Timestamp::from_millisecond(at.millis()) else {
        return at.rfc3339();
    };
    zone.to_datetime(at).strftime(pattern).to_string()
}

/// `0:07`, `2:30`.
fn length_in_words(millis: u64) -> String {
    let seconds = millis.div_ceil(1_000);
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Blocks that are left out leave blank lines behind: at most one stays.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut blank = true; // none at the beginning
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() && blank {
            continue;
        }
        blank = line.is_empty();
        tidy.push_str(line);
        tidy.push('\n');
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(name: &str, source: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), source).unwrap();
        match Templates::load(Some(folder.path())) {
            Ok(_) => panic!("{name} was taken"),
            Err(fault) => format!("{fault:#}"),
        }
    }

    fn row(kind: &str, locale: &str, body: MailBody) -> OutboxRow {
        OutboxRow {
            id: "1".into(),
            about: "1".into(),
            kind: kind.into(),
            body,
            locale: locale.into(),
            to_addr: "a@b.de".into(),
            message_id: "x@y".into(),
            rendered: None,
            attempts: 1,
            epoch: 1,
            is_unreachable: false,
        }
    }

    #[test]
    fn every_kind_has_both_forms_in_english_and_german() {
        let templates = Templates::load(None).unwrap();
        for kind in KINDS {
            for (locale, used) in [("en", "en"), ("de-AT", "de"), ("fr", "en"), ("", "en")] {
                let mail = templates
                    .render(&row(kind, locale, MailBody::default()), "Site", "http://h")
                    .unwrap();
                assert_eq!(mail.locale, used);
                assert!(!mail.subject.is_empty() && mail.text.contains("Site"));
                assert!(mail.html.contains("</html>") && !mail.text.contains("\n\n\n"));
            }
        }
        assert!(
            templates
                .render(
                    &row("unknown", "en", MailBody::default()),
                    "Site",
                    "http://h"
                )
                .is_err()
        );
    }

    #[test]
    fn hostile_values_stay_values() {
        let templates = Templates::load(None).unwrap();
        let body = MailBody {
            customer_name: Some("{{x}} <b>&\u{202e}\r\nBcc: e\0".into()),
            request_tag: Some("{{{form_url}}}".into()),
            token: Some("a\"><script>".into()),
            form_query: Some("x=\"><script>".into()),
            ..MailBody::default()
        };
        let mail = templates
            .render(&row("ack", "en", body), "<Site>", "http://h")
            .unwrap();
        assert!(
            mail.text.contains("Hello {{x}} <b>&Bcc: e,"),
            "{}",
            mail.text
        );
        assert!(mail.text.contains("{{{form_url}}}"));
        assert!(
            mail.html.contains("{{x}} &lt;b&gt;&amp;Bcc"),
            "{}",
            mail.html
        );
        assert!(!mail.html.contains("<script") && !mail.html.contains("/s/"));
        let advert = MailBody {
            customer_name: Some("Win at WWW.evil.example".into()),
            ..MailBody::default()
        };
        let mail = templates
            .render(&row("ack", "en", advert), "S", "http://h")
            .unwrap();
        assert!(!mail.text.contains("evil") && mail.text.starts_with("Hello,"));
    }

    #[test]
    fn faults_name_file_and_line() {
        let name = "ack.en.txt.hbs";
        let unclosed = fault_of(name, "Subject: x\n{{#if reason}}\n");
        assert!(unclosed.contains("ack.en.txt.hbs:"), "{unclosed}");
        let unknown = fault_of(name, "Subject: x\n\n{{nobody_knows_this}}\n");
        assert!(unknown.contains("ack.en.txt.hbs:3:"), "{unknown}");
        assert!(fault_of(name, "Hello").contains("ack.en.txt.hbs:1: the first line"));
        let raw = fault_of("ack.en.html.hbs", "<p>\n{{{customer_name}}}</p>");
        assert!(
            raw.contains("ack.en.html.hbs:2: values must be escaped"),
            "{raw}"
        );
        for raw in [
            "{{&customer_name}}",
            "{{#if missed}}{{~{customer_name}~}}{{/if}}",
        ] {
            let raw = fault_of("ack.en.html.hbs", raw);
            assert!(raw.contains("ack.en.html.hbs:1: values must be"), "{raw}");
        }
        assert!(fault_of("acknowledge.en.txt.hbs", "Subject: x\n").contains("the name must be"));
        assert!(Templates::load(Some(Path::new("/nonexistent"))).is_err());
    }

    #[test]
    fn names_are_checked_where_no_trial_comes_past() {
        for (source, line, why) in [
            (
                "{{#if (eq reason \"never\")}}\n{{nobody}}\n{{/if}}",
                3,
                "\"nobody\"",
            ),
            (
                "{{#if missed}}{{else if position}}{{nobody}}{{/if}}",
                2,
                "\"nobody\"",
            ),
            ("{{#if (eq nobody \"x\")}}{{/if}}", 2, "\"nobody\""),
            (
                "{{#if false}}{{estimate.when}}{{/if}}",
                2,
                "\"estimate.when\"",
            ),
            (
                "{{#if false}}{{@root.nobody}}{{/if}}",
                2,
                "\"@root.nobody\"",
            ),
            (
                "{{#if false}}{{upper reason}}{{/if}}",
                2,
                "no helper \"upper\"",
            ),
            ("{{#if false}}{{log reason}}{{/if}}", 2, "no helper \"log\""),
            ("{{#if false}}{{> mail}}{{/if}}", 2, "no part \"mail\""),
        ] {
            let fault = fault_of("ack.en.txt.hbs", &format!("Subject: x\n{source}"));
            let place = format!("ack.en.txt.hbs:{line}: ");
            assert!(
                fault.contains(&place) && fault.contains(why),
                "{source}: {fault}"
            );
        }
        let lonely = fault_of("ack.fr.txt.hbs", "Subject: x\n");
        assert!(lonely.contains("ack.fr.txt.hbs:1: it is never used without ack.fr.html.hbs"));
    }

    #[test]
    fn estimates_are_told_in_parts_too() {
        let folder = tempfile::tempdir().unwrap();
        let source = "Subject: x\n{{#with estimate}}{{kind}} {{from}} {{to}} {{zone}} {{percent}}{{/with}} {{#if (eq estimate.kind \"booked\")}}b{{/if}}";
        std::fs::write(folder.path().join("ack.en.txt.hbs"), source).unwrap();
        let templates = Templates::load(Some(folder.path())).unwrap();
        let text = |estimate| {
            let sample = Sample {
                kind: "ack".into(),
                estimate,
                ..Sample::default()
            };
            let mail = templates.render(&sample.row("en"), "S", "http://h");
            mail.unwrap().text
        };
        assert_eq!(
            text(Some(PromiseKind::Straddle)),
            "straddle 2026-11-02 17:00 2026-11-03 10:00 UTC 60\n"
        );
        assert!(text(Some(PromiseKind::Booked)).ends_with("UTC  b\n"));
        assert_eq!(text(None), "none\n");
    }

    #[test]
    fn folder_overrides_by_file_name() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "ack.en.txt.hbs",
            "Subject: Mine {{request_tag}}\nBody {{number_masked}}\n",
        );
        write("ack.fr.txt.hbs", "Subject: Bonjour\nBonjour\n");
        write("ack.fr.html.hbs", "{{#> mail}}<p>Bonjour</p>{{/mail}}");
        write("notes.md", "not a template");
        let templates = Templates::load(Some(folder.path())).unwrap();
        let body = MailBody {
            request_tag: Some("T".into()),
            ..MailBody::default()
        };
        let mail = templates
            .render(&row("ack", "en", body.clone()), "S", "http://h")
            .unwrap();
        assert_eq!(
            (mail.subject.as_str(), mail.text.as_str()),
            ("Mine T", "Body …\n")
        );
        let mail = templates
            .render(&row("ack", "fr-CA", body), "S", "http://h")
            .unwrap();
        assert_eq!(mail.subject, "Bonjour");
    }
}
