//! Catalogues of words, one a language, and the choice among them.

use std::collections::BTreeMap;

use anyhow::Context;
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../web/lang"]
struct Catalogues;

type Catalogue = BTreeMap<String, String>;

/// The words of all pages in every language there is.
#[derive(Debug)]
pub struct Words {
    catalogues: BTreeMap<String, Catalogue>,
    site: String,
}

impl Words {
    /// Reads the catalogues. `site` is the language when the customer's is unknown.
    ///
    /// # Errors
    /// A catalogue is no JSON object of strings.
    pub(super) fn new(site: &str) -> anyhow::Result<Self> {
        let mut catalogues = BTreeMap::new();
        for file in Catalogues::iter().filter(|file| file.ends_with(".json")) {
            let bytes = Catalogues::get(&file).context("catalogue vanished")?;
            let words =
                serde_json::from_slice(&bytes.data).with_context(|| format!("catalogue {file}"))?;
            catalogues.insert(file.trim_end_matches(".json").to_owned(), words);
        }
        let mut words = Words {
            catalogues,
            site: "en".to_owned(),
        };
        if let Some(known) = words.known(site) {
            words.site = known.to_owned();
        }
        Ok(words)
    }

    /// All words of `language`.
    #[must_use]
    pub fn all(&self, language: &str) -> Option<&BTreeMap<String, String>> {
        self.catalogues
            .get(language)
            .or_else(|| self.catalogues.get("en"))
    }

    /// One text; a key that is not there is shown as itself.
    #[must_use]
    pub fn get<'a>(&'a self, language: &str, key: &'a str) -> &'a str {
        self.find(language, key).unwrap_or(key)
    }

    /// One text, if there is one.
    #[must_use]
    pub fn find(&self, language: &str, key: &str) -> Option<&str> {
        self.all(language)?.get(key).map(String::as_str)
    }

    /// The language of a page: `lang=`, then `Accept-Language` (RFC 9110 §12.5.4), then the site's.
    #[must_use]
    pub fn choose(&self, wanted: Option<&str>, accept: Option<&str>) -> String {
        let mut ranges: Vec<(u32, &str)> = accept
            .unwrap_or_default()
            .split(',')
            .take(20)
            .map(|range| {
                let (tag, rest) = range.split_once(';').unwrap_or((range, ""));
                (weight(rest), tag)
            })
            .filter(|(weight, _)| *weight > 0)
            .collect();
        ranges.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight)); // stable: first named wins
        wanted
            .into_iter()
            .chain(ranges.into_iter().map(|(_, tag)| tag))
            .find_map(|tag| self.known(tag))
            .unwrap_or(&self.site)
            .to_owned()
    }

    fn known(&self, tag: &str) -> Option<&str> {
        let primary = tag.trim().split(['-', '_']).next()?.to_ascii_lowercase();
        let (name, _) = self.catalogues.get_key_value(&primary)?;
        Some(name)
    }
}

/// `q=0.8` in thousandths; 1000 when it is missing or unreadable.
fn weight(parameters: &str) -> u32 {
    let value = parameters
        .split(';')
        .find_map(|p| p.trim().strip_prefix("q="));
    match value.map(str::parse::<f32>) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to 0..=1000
        Some(Ok(q)) => (q.clamp(0.0, 1.0) * 1000.0) as u32,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_catalogues_have_the_same_keys() {
        let words = Words::new("en").unwrap();
        assert!(words.catalogues.len() >= 2);
        let keys = |c: &Catalogue| c.keys().cloned().collect::<Vec<_>>();
        let english = keys(&words.catalogues["en"]);
        for (language, catalogue) in &words.catalogues {
            assert_eq!(keys(catalogue), english, "{language}");
            assert!(catalogue.values().all(|text| !text.trim().is_empty()));
        }
    }

    #[test]
    fn language_is_the_wanted_then_the_accepted_then_the_sites() {
        let words = Words::new("de-AT").unwrap();
        assert_eq!(words.choose(Some("en-GB"), Some("de")), "en");
        assert_eq!(
            words.choose(Some("tlh"), Some("fr, en;q=0.5, de;q=0.9")),
            "de"
        );
        assert_eq!(words.choose(None, Some("fr;q=1, en;q=0.0")), "de");
        assert_eq!(words.choose(None, Some("en;q=nan;;,,")), "de");
        assert_eq!(words.choose(None, Some("en;q=x;;,,")), "en");
        assert_eq!(words.choose(None, None), "de");
        assert_eq!(Words::new("xx").unwrap().choose(None, None), "en");
    }
}
