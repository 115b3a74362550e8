//! Pages made by the server: templates, words in the customer's language, security headers.
//! Used by `intake` (the form) and `web` (the status page). Customer text is only ever a
//! value: it is never compiled as a template and always escaped.

mod assets;
mod guard;
mod problem;
mod words;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use handlebars::Handlebars;
use helpline_core::queue::ewt::Promise;
use helpline_core::time::Wall;
use rust_embed::RustEmbed;
use serde_json::{Value, json};

use crate::config;

pub use assets::assets;
pub use guard::{BODY_TIME, BodyError, Sender, read_body, secure, sender};
pub use problem::Problem;
pub(crate) use problem::retry_after;
pub use words::Words;

/// Pages load nothing but our own style sheet and pictures, and nobody may frame them.
const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'";

#[derive(RustEmbed)]
#[folder = "../templates/pages"]
struct Templates;

/// All pages and their words, compiled once at start.
pub struct Pages {
    registry: Handlebars<'static>,
    words: Words,
    site_name: String,
    public_url: String,
    css_href: String,
    icon_href: String,
}

impl Pages {
    /// Compiles the templates. `public_url` is how customers reach us, without a final slash.
    ///
    /// # Errors
    /// A template or a catalogue does not compile; the error names it.
    pub fn new(site: &config::Site, public_url: &str) -> anyhow::Result<Self> {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        for file in Templates::iter().filter(|file| file.ends_with(".hbs")) {
            let name = file.trim_end_matches(".hbs");
            let text = Templates::get(&file)
                .ok_or_else(|| anyhow::anyhow!("page template {file} is missing"))?;
            registry
                .register_template_string(name, std::str::from_utf8(&text.data)?)
                .map_err(|fault| anyhow::anyhow!("page template {file}: {fault}"))?;
        }
        Ok(Pages {
            registry,
            words: Words::new(&site.language)?,
            site_name: site.name.clone(),
            public_url: public_url.trim_end_matches('/').to_owned(),
            css_href: assets::href("helpline.css"),
            icon_href: assets::href("icon.svg"),
        })
    }

    /// How customers reach us, without a final slash.
    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// The catalogues.
    #[must_use]
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// A page as an answer. `data` is an object; the words (`w`), the site's name and the
    /// addresses of the style sheet are added here.
    pub fn answer(
        &self,
        status: StatusCode,
        template: &str,
        language: &str,
        data: Value,
    ) -> Response {
        let mut all = json!({
            "w": self.words.all(language),
            "lang": language,
            "site_name": self.site_name,
            "css_href": self.css_href,
            "icon_href": self.icon_href,
            "refresh": false,
        });
        if let (Some(all), Value::Object(data)) = (all.as_object_mut(), data) {
            all.extend(data);
        }
        match self.registry.render(template, &all) {
            Ok(html) => page(status, html, language),
            Err(error) => {
                tracing::error!(template, %error, "page template failed");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }

    /// A short page that says what went wrong; `text` is a key of the catalogue.
    pub fn error(&self, status: StatusCode, language: &str, text: &str) -> Response {
        let title = match status {
            StatusCode::NOT_FOUND => "not_found_title",
            _ => "error_title",
        };
        let words = |key| self.words.get(language, key);
        self.answer(
            status,
            "error",
            language,
            json!({ "title": words(title), "text": words(text) }),
        )
    }
}

fn page(status: StatusCode, html: String, language: &str) -> Response {
    let mut answer = (status, html).into_response();
    let headers = answer.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, fixed("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, fixed(PAGE_CSP));
    headers.insert(header::CACHE_CONTROL, fixed("no-store"));
    if let Ok(language) = HeaderValue::from_str(language) {
        headers.insert(header::CONTENT_LANGUAGE, language);
    }
    answer
}

/// A time in words of `language`, with its zone named: `24 November 2026, 15:30 (Berlin)`.
#[must_use]
pub fn time_in_words(at: Wall, zone: &str, language: &str) -> String {
    let Some(local) = local(at, zone) else {
        return at.rfc3339();
    };
    let pattern = match language {
        "de" => "%d.%m.%Y, %H:%M Uhr",
        _ => "%-d %B %Y, %H:%M",
    };
    format!("{} ({})", local.strftime(pattern), zone_in_words(zone))
}

/// The place a zone is named after: `Europe/Berlin` is `Berlin`.
#[must_use]
pub fn zone_in_words(zone: &str) -> String {
    zone.rsplit('/').next().unwrap_or(zone).replace('_', " ")
}

/// `at` as a `datetime-local` input writes it, in `zone`.
#[must_use]
pub fn time_for_input(at: Wall, zone: &str) -> String {
    local(at, zone).map_or_else(String::new, |t| t.strftime("%Y-%m-%dT%H:%M").to_string())
}

fn local(at: Wall, zone: &str) -> Option<jiff::civil::DateTime> {
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let at = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
    Some(zone.to_datetime(at))
}

/// A promise for programs, as the API gives it in every place.
pub fn promise_json(promise: &Promise, position: Option<u32>, now: Wall, language: &str) -> Value {
    let time = |at: Wall| promise.names_times().then(|| at.rfc3339());
    let mut json = json!({
        "kind": promise.kind,
        "from": time(promise.from),
        "to": time(promise.to),
        "zone": promise.zone,
        "text": promise.text(position, now, language),
    });
    if let Some(percent) = promise.percent {
        json["percent"] = percent.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    fn pages() -> Pages {
        let site = config::Site {
            name: "<Shop> & Söhne".into(),
            ..config::Site::default()
        };
        Pages::new(&site, "http://help.example/").unwrap()
    }

    #[tokio::test]
    async fn page_escapes_values_and_loads_nothing_inline() {
        let pages = pages();
        let text = "{{x}} <script>alert(1)</script> \u{202e}\r\nSet-Cookie: a=b";
        let data = json!({ "title": text, "text": text });
        let answer = pages.answer(StatusCode::OK, "error", "de", data);
        let csp = answer.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(csp.contains("frame-ancestors 'none'") && !csp.contains("unsafe"));
        assert!(!answer.headers().contains_key("set-cookie"));
        let html = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let html = std::str::from_utf8(&html).unwrap();
        assert!(html.contains("<html lang=\"de\""));
        assert!(html.contains("{{x}} &lt;script&gt;"), "{html}");
        assert!(html.contains("&lt;Shop&gt; &amp; Söhne"));
        assert!(!html.contains("<script") && !html.contains("style="));
    }

    #[test]
    fn times_are_told_in_their_zone() {
        let at = Wall::from_millis(1_795_440_000_000);
        assert_eq!(
            time_in_words(at, "Europe/Berlin", "en"),
            "23 November 2026, 14:20 (Berlin)"
        );
        assert_eq!(
            time_in_words(at, "America/New_York", "de"),
            "23.11.2026, 08:20 Uhr (New York)"
        );
        assert_eq!(time_for_input(at, "Europe/Berlin"), "2026-11-23T14:20");
    }
}
